"""Host side of indexing by several arrays: index arrays become rows, and rows are read, written or added to.

A row is a linear position over the axes that are indexed, in their order; -1 stands for one that was out of range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ..core import dtypes
from ..core.errors import DTypeError, bad
from ..ndarray import Array, empty, full, layout_of, same_device
from ..runtime.device import Device
from ..runtime.launch import Launch, fill, watch
from ..runtime.program import kernel
from . import bucket
from .index import check_along, check_index, moved, turned, worth_turning
from .plans import INT_BYTES, Plans, form, index_type, letter, parameters, spread, streamed
from .ramp import ramp
from .reduce import merged

_MOST_BANDS = 1 << 15
_REACH = 1 << 22  # bytes over which writes along an axis may scatter before listing them pays
_LISTED = object()  # the plan of writes along an axis that are listed
_BUFFERS = ("rows", "at", "fault", "out", "x", "values", "items", "bounds")  # among the names of a launch's arguments
_plans = Plans()


def _step(op: str, kind: str, x: Array, index: Array, itype: str, params: dict[str, int], units: int, work: int,
          args: list, nbytes: int, **values: Any) -> Launch:
    """A launch of the kernel for ``units`` of ``work`` elements each."""
    device, i = x.device, letter(itype)
    types = {"ctype": x.dtype.c, "T": x.dtype.compute} if kind in ("add", "along_add", "rows") else moved(x)
    signature = "".join("P" if a in _BUFFERS else i for a in args)
    k = kernel(device, "fancy", "fancy", signature, op, kind=kind, itype=index.dtype.c, index=itype, form=form(device),
               **{**types, "rank": 1, "axis": 0, "vectors": False, "listed": "", "size": 0, "stream": False,
                  "fresh": False, **values})
    return Launch(k, *spread(device, k, params, units, work), args, nbytes=nbytes)


def _parameters(x: Array, kind: str, total: int, count: int, beside: int) -> dict[str, int]:
    """By the rows that there are, those that are named, and the elements beside each."""
    return parameters(x.device, "fancy", x.dtype.name, kind, (total, count, beside))


def _vectors(x: Array, rank: int, groups: list[int], inner: int) -> bool:
    """Whether elements behind the indexed axes lie side by side, in vectors worth it (see _groups for the list)."""
    return x.device.wide_core and rank == 1 and groups[-1] == 1 and inner >= 8 and x.itemsize <= 8


def rows_of(op: str, x: Array, items: Sequence[tuple[Array, int, int]], shape: tuple[int, ...]) -> Array:
    """Rows, of ``shape``, that index arrays name together; each comes with the size and the number of its axis."""
    total = prod(size for _, size, _ in items)
    rows = empty(shape, dtypes.int32 if total < INT_BYTES else dtypes.int64, x.device)
    if rows.size == 0:
        return rows
    for number, (index, size, axis) in enumerate(items):
        check_index(op, index)
        same_device(op, (x, index))
        index = index.expand(shape).contiguous()
        key = ("rows", index._layout or layout_of(index), rows.dtype, total, size, axis, number == 0)
        step = _plans.get(key)
        if step is None:
            step = _plans.put(key, _step(
                op, "rows", rows, index, index_type(rows.nbytes, index.storage.nbytes, total),
                _parameters(rows, "rows", size, rows.size, 1), rows.size, 1,
                ["rows", "at", "at_offset", "fault", size, axis, int(number == 0), rows.size],
                rows.nbytes + index.nbytes))
        step(rows.storage.buffer, index.storage.buffer, index.offset, watch(x.device, op))
    return rows


def result_shape(x: Array, rows: Array, axes: tuple[int, ...], at: int) -> tuple[int, ...]:
    """The shape that x[rows] has: the rows' shape stands before the ``at``-th axis that is not indexed."""
    rest = tuple(n for a, n in enumerate(x.shape) if a not in axes)
    return (*rest[:at], *rows.shape, *rest[at:])


def _groups(x: Array, axes: tuple[int, ...], at: int) -> tuple[int, list[int], int, int]:
    """The kernel's rank, its group arguments, and the element counts before and after the indexed axes.

    Ranks 2 and 3 share a kernel: sizes are filled up with ones.
    """
    rest = [a for a in range(x.ndim) if a not in axes]
    groups = [merged(x, g) for g in (rest[:at], axes, rest[at:])]
    longest = max(map(len, groups))
    rank = 1 if longest <= 1 else max(3, longest)
    args: list[int] = []
    for g in groups:
        g = [*[(1, 0)] * (rank - len(g)), *g]
        args += [n for n, _ in g] + [s for _, s in g]
    return rank, args, prod(x.shape[a] for a in rest[:at]), prod(x.shape[a] for a in rest[at:])


def get(op: str, x: Array, rows: Array, axes: tuple[int, ...], at: int) -> Array:
    """x at ``rows`` of its ``axes``."""
    out = empty(result_shape(x, rows, axes, at), x.dtype, same_device(op, (x, rows)))
    if out.size == 0:
        return out
    rows = _aligned(rows.contiguous())
    key = ("get", x._layout or layout_of(x), rows._layout or layout_of(rows), axes, at)
    step = _plans.get(key)
    if step is None:
        step = _plans.put(key, _get_step(op, out, x, rows, axes, at))
    step(out.storage.buffer, x.storage.buffer, x.offset, rows.storage.buffer)
    return out


def _get_step(op: str, out: Array, x: Array, rows: Array, axes: tuple[int, ...], at: int) -> Launch:
    rank, groups, outer, inner = _groups(x, axes, at)
    vectors = _vectors(x, rank, groups, inner)
    units, wide = outer * rows.size, x.device.wide_core
    return _step(op, "get", x, rows, index_type(x.storage.nbytes, out.nbytes, rows.storage.nbytes, x.size),
                 _parameters(x, "get", prod(x.shape[a] for a in axes), rows.size, outer * inner),
                 units if wide else units * inner, inner if wide else 1,
                 ["out", "x", "x_offset", "rows", *groups, rows.size, inner, units], 2 * out.nbytes, rank=rank,
                 vectors=vectors, stream=vectors and inner % 16 == 0 and streamed(x.device, out.nbytes, x.itemsize))


def _aligned(rows: Array) -> Array:
    """Rows that begin where their memory does."""
    return rows.clone() if rows.offset else rows


def put(op: str, x: Array, rows: Array, values: Array, axes: tuple[int, ...], at: int, accumulate: bool,
        fresh: bool = False) -> Array:
    """Write ``values`` over x itself at ``rows`` of its ``axes``, or add them; of equal rows the last one stays.

    ``values`` has x's dtype and the shape that x has at the rows. ``fresh`` memory, all of it x's, is made zero first.
    """
    same_device(op, (x, rows, values))
    if values.dtype is not x.dtype:
        raise DTypeError(bad(op, f"values of {values.dtype}", f"{x.dtype}, the array's dtype", "Convert with .to()."))
    if values.size == 0:
        return x
    rows = _aligned(rows.contiguous())
    step = 1
    if not any(s for n, s in zip(values.shape, values.strides) if n > 1):
        step = 0
    elif values.storage is x.storage or not values.is_contiguous():
        values = values.clone().contiguous()
    if values.storage is x.storage:
        values = values.view((), (), values.offset).clone()
    key = ("put", x._layout or layout_of(x), values._layout or layout_of(values), rows._layout or layout_of(rows), axes,
           at, accumulate, x.offset % 16, fresh)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _put_plan(op, x, rows, values, axes, at, accumulate, step, fresh))
    if plan.listed:
        by = bucket.listed(op, rows, plan.total, values if plan.listed == "values" else None)
        source = by.items.storage.buffer, by.bounds.storage.buffer
    else:
        source = (rows.storage.buffer,)
    if fresh and not plan.listed:
        fill(x.device, x.storage.buffer, x.dtype.np.type(0), x.size)
    plan.launch(x.storage.buffer, x.offset, values.storage.buffer, values.offset, *source)
    x.storage.version += 1
    return x


@dataclass(frozen=True, eq=False)
class _Put:
    launch: Launch
    listed: str  # what is listed by buckets first: values, positions, or nothing
    total: int  # rows that there are


def _put_plan(op: str, x: Array, rows: Array, values: Array, axes: tuple[int, ...], at: int, accumulate: bool,
              step: int, fresh: bool) -> _Put:
    rank, groups, outer, inner = _groups(x, axes, at)
    i = index_type(x.storage.nbytes, values.size * values.itemsize, values.storage.nbytes, rows.storage.nbytes, x.size)
    total, kind, name = prod(x.shape[a] for a in axes), "add" if accumulate else "put", ""
    params = _parameters(x, kind, total, rows.size, outer * inner)
    vectors = step == 1 and _vectors(x, rank, groups, inner) and not (accumulate and x.dtype.kind == "c")
    width = 8 if x.itemsize == 8 else 16
    stream = (vectors and not accumulate and streamed(x.device, values.size * values.itemsize, x.itemsize) and
              not any(v % width for v in (x.offset, groups[1], groups[3])))
    strip = params["strip"] if x.device.wide_core else 1
    strips = -(-inner // strip)
    if x.device.wide_core and bucket.worth(rows.size, total, params["listed"]):
        single = outer == inner == step == 1 and x.itemsize <= 8 and (not accumulate or x.dtype.c == x.dtype.compute)
        name = "values" if single else "positions"
        by = bucket.plan_of(op, rows, total, values if single else None)
        bands, source = by.number, ["items", "bounds", by.ends, *((by.width, total) if fresh else ())]
    else:
        bands, source = _bands(x.device, outer * strips, rows.size, total, params["bands"]), ["rows"]
    units = outer * strips * bands
    return _Put(_step(op, kind, x, rows, i, params, units, rows.size,
                      ["x", "x_offset", "values", "values_offset", step, *source, *groups, rows.size, inner, bands,
                       strip, strips, units], 2 * values.size * values.itemsize, rank=rank, vectors=vectors,
                      stream=stream, listed=name, fresh=fresh and bool(name),
                      size=x.itemsize if name == "values" else 0), name, total)


def take_add(op: str, g: Array, index: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Zeros of ``shape`` with g's slices added at the positions of ``index``, in its order: take in reverse."""
    if g.size == 0:
        return full(shape, 0, g.dtype, g.device)
    out = empty(shape, g.dtype.accumulator, g.device)
    sizes = prod(shape[:axis]), prod(shape[axis + 1:])
    target = out.reshape((sizes[0], shape[axis], sizes[1]))
    values = g.astype(out.dtype).contiguous().reshape((sizes[0], index.size, sizes[1]))
    rows = rows_of(op, target, [(index.contiguous().reshape((index.size,)), shape[axis], axis)], (index.size,))
    put(op, target, rows, values, (1,), 1, True, fresh=True)
    out.storage.version = 0
    return out.astype(g.dtype)


def _bands(device: Device, lines: int, count: int, rows: int, share: int) -> int:
    """Into how many parts (a power of two) the rows are cut, so that every core has work: ``share`` parts each."""
    if count <= 256:
        return 1
    wanted = -(-device.facts.compute_units * share // lines)
    return min(1 << (max(1, min(wanted, rows)) - 1).bit_length(), _MOST_BANDS)


def put_along(op: str, x: Array, index: Array, src: Array, axis: int) -> Array:
    """Write src over x itself at ``index`` along ``axis``, in the order of the index."""
    _check_written(op, x, index, src, axis)
    return _along(op, x, index, src, axis, axis, False)


def written_along(op: str, x: Array, index: Array, src: Array, axis: int, accumulate: bool) -> Array:
    """A copy of x with src written at ``index`` along ``axis``, or added there, in the order of the index."""
    _check_written(op, x, index, src, axis)
    dtype = x.dtype.accumulator if accumulate else x.dtype  # sums of storage types are kept in float32
    turn = worth_turning(x, index, axis)
    if turn:
        src = src.view(index.shape, src.strides, src.offset)
        x, index, src = turned(x, axis), turned(index, axis).contiguous(), turned(src, axis).contiguous()
    out = x.astype(dtype).contiguous()
    if out.storage is x.storage:
        out = out.clone()
    _along(op, out, index, src.astype(dtype), x.ndim - 1 if turn else axis, axis, accumulate)
    out.storage.version = 0
    out = out.astype(x.dtype)
    return turned(out, axis).contiguous() if turn else out


def _check_written(op: str, x: Array, index: Array, src: Array, axis: int) -> None:
    check_along(op, x, index, axis, src)
    same_device(op, (x, index, src))
    if src.dtype is not x.dtype:
        raise DTypeError(bad(op, f"src of {src.dtype}", f"{x.dtype}, the array's dtype", "Convert it with .to()."))


def _along(op: str, x: Array, index: Array, src: Array, axis: int, named: int, accumulate: bool) -> Array:
    """Write src over x itself, or add it to x; errors name the axis ``named``."""
    if index.size == 0:
        return x
    if index.storage is x.storage:
        index = index.clone()
    if src.storage is x.storage:
        src = src.clone()
    key = ("along", x._layout or layout_of(x), src._layout or layout_of(src), index._layout or layout_of(index), axis,
           named, accumulate)
    step = _plans.get(key)
    if step is None:
        step = _plans.put(key, _along_step(op, x, index, src, axis, named, accumulate))
    if step is _LISTED:
        return _listed(op, x, index, src, axis, named, accumulate)
    step(x.storage.buffer, x.offset, src.storage.buffer, src.offset, index.storage.buffer, index.offset,
         watch(x.device, op))
    x.storage.version += 1
    return x


def _along_step(op: str, x: Array, index: Array, src: Array, axis: int, named: int, accumulate: bool) -> Any:
    """The launch that writes line by line, or _LISTED."""
    device, size, length = x.device, x.shape[axis], index.shape[axis]
    lines, kind = index.size // length, "along_add" if accumulate else "along"
    params = _parameters(x, kind, size, length, lines)
    wanted = device.facts.compute_units * (4 if device.wide_core else 512)
    bands = max(1, min(size, -(-wanted // lines))) if length > 256 else 1  # each reads the whole index
    if device.wide_core and bucket.worth(index.size, x.size, params["listed"]) and (
            bands > 1 or size * x.itemsize > _REACH):
        return _LISTED
    band = -(-size // bands)
    bands = -(-size // band)
    return _step(
        op, kind, x, index, index_type(x.storage.nbytes, src.storage.nbytes, index.storage.nbytes, x.size, index.size),
        params, lines * bands, length,
        ["x", "x_offset", "values", "values_offset", "at", "at_offset", "fault", *index.shape, *x.strides,
         *index.strides, *src.strides, size, named, band, bands, lines * bands], 2 * index.size * x.itemsize,
        rank=x.ndim, axis=axis)


def _listed(op: str, x: Array, index: Array, src: Array, axis: int, named: int, accumulate: bool) -> Array:
    """The same with the index listed by buckets: every axis of x is named, the others by their own positions."""
    axes = [a for a in range(x.ndim) if a == axis or index.shape[a] > 1]
    x, index, src = (a.view(tuple(a.shape[r] for r in axes), tuple(a.strides[r] for r in axes), a.offset)
                     for a in (x, index, src))
    items = []
    for r, a in enumerate(axes):
        own = index
        if a != axis:
            own = ramp(index.shape[r], 0, 1, dtypes.int32, x.device)
            own = own.reshape((-1, *(1,) * (index.ndim - r - 1)))
        items.append((own, x.shape[r], named))
    src = src.view(index.shape, src.strides, src.offset)
    return put(op, x, rows_of(op, x, items, index.shape), src, tuple(range(x.ndim)), 0, accumulate)
