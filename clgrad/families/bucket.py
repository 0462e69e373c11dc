"""Host side of listing a long index by buckets of the rows that it names, so that writes stay in a cache."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import dtypes
from ..ndarray import Array, Layout, fresh, layout_of
from ..runtime.launch import Launch
from ..runtime.program import kernel
from .plans import INT_BYTES, Plans, index_type, letter, parameters, workers

_plans = Plans()


@dataclass(frozen=True, eq=False)
class Buckets:
    """Items by bucket (see the kernel). ``bounds`` says where those of each of the ``number`` buckets begin and, from
    ``ends`` on, where they end."""

    items: Array
    bounds: Array
    ends: int
    number: int


@dataclass(frozen=True, eq=False)
class _Plan:
    count: Launch
    starts: Launch
    spread: Launch
    bounds: Layout
    items: Layout
    ends: int
    number: int
    width: int  # rows of a bucket


def worth(length: int, total: int, least: int) -> bool:
    """Whether a wide-core device lists an index of ``length`` rows of ``total``: ``least`` of them, or more."""
    return least <= length < INT_BYTES and 1 < total < INT_BYTES


def listed(op: str, rows: Array, total: int, values: Array | None) -> Buckets:
    """Positions of the contiguous ``rows``, which are below ``total``, by bucket; or, where they are given, values:
    one a row, contiguous, of 8 bytes at most."""
    plan = plan_of(op, rows, total, values)
    bounds, items = fresh(plan.bounds), fresh(plan.items)
    plan.count(bounds.storage.buffer, rows.storage.buffer)
    plan.starts(bounds.storage.buffer)
    plan.spread(items.storage.buffer, bounds.storage.buffer, rows.storage.buffer,
                (rows if values is None else values).storage.buffer, 0 if values is None else values.offset)
    return Buckets(items, bounds, plan.ends, plan.number)


def plan_of(op: str, rows: Array, total: int, values: Array | None) -> _Plan:
    """How ``listed`` does it: ``number`` buckets, and where their ends stand (see Buckets)."""
    key = (rows._layout or layout_of(rows), total, None if values is None else values._layout or layout_of(values))
    plan = _plans.get(key)
    return _plans.put(key, _plan(op, rows, total, values)) if plan is None else plan


def _plan(op: str, rows: Array, total: int, values: Array | None) -> _Plan:
    device, length = rows.device, rows.size
    params = parameters(device, "bucket", "int32" if values is None else values.dtype.name, "lists", (total, length))
    most = params["buckets"]
    shift = max(0, (total - 1).bit_length() - (most - 1).bit_length())
    chunks = workers(device, length, params["groups_per_unit"], params["least"])
    chunk = -(-length // chunks)
    size = values.itemsize if values is not None else 4
    bounds = Layout.dense((chunks + 1, most), dtypes.uint32, device)
    items = Layout.dense((length, 2 if size == 8 else 1), dtypes.uint64, device)
    index = index_type(items.nbytes, (length + chunk) * 4, *(() if values is None else (values.storage.nbytes,)))

    def step(function: str, signature: str, units: int, *args: object, nbytes: int = 0) -> Launch:
        k = kernel(device, "bucket", function, signature.replace("o", letter(index)), op, index=index, size=size,
                   values=values is not None, buckets=most)
        return Launch(k, (units,), (1,), args, nbytes=nbytes)

    return _Plan(step("count", "PPooi", chunks, "bounds", "rows", length, chunk, shift, nbytes=rows.nbytes),
                 step("starts", "Pi", 1, "bounds", chunks),
                 step("spread", "PPPPoooi", chunks, "items", "bounds", "rows", "given", "offset", length, chunk, shift,
                      nbytes=rows.nbytes + items.nbytes),
                 bounds, items, chunks * most, ((total - 1) >> shift) + 1, 1 << shift)
