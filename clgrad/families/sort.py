"""Host side of sorting, searching and compaction. Sorts are stable, along the last axis of contiguous arrays."""

from __future__ import annotations

from typing import Any

from .. import kernels
from ..core import dtypes
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array, empty, same_device
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel
from . import index as index_family
from . import radix
from .plans import blocks, form, index_type, letter, parameters, workers

_LEAST = 1024  # elements a wide-core work-item should have at least
_VALUES = {"what": "", "raw": ""}  # of the template, where nothing depends on them


def _kernel(device: Device, function: str, pointers: str, integers: int, index: str, kind: str, packed: bool,
            ctype: str = "", T: str = "") -> Kernel:
    return kernel(device, "sort", function, pointers.replace("o", letter(index)) + letter(index) * integers, function,
                  form=form(device), kind=kind, packed=packed, index=index, ctype=ctype, T=T, **_VALUES)


def _run(k: Kernel, units: int, items: int, *args: Any, nbytes: int = 0, local: int | None = None) -> None:
    """Launch over ``units`` that hold ``items`` elements together."""
    device = k.device
    if device.wide_core:
        gsize, lsize = (min(units, workers(device, items, 8, _LEAST)),), (1,)
    else:
        gsize, lsize = blocks(device, units, min(local or _defaults(device)["local"], k.max_local), 32)
    launch(k, gsize, lsize, *args, units, nbytes=nbytes)


def _defaults(device: Device) -> dict[str, int]:
    return kernels.template("sort").module.DEFAULT[form(device)]


def _params(x: Array) -> dict[str, int]:
    """The parameters for sorting x's lines, of which there is one at least."""
    K = x.shape[-1]
    return parameters(x.device, "sort", x.dtype.name, "lines", (x.size // K, K))


class _Items:
    """Keys and positions being sorted: one array of integers, or two where a key has 64 bits."""

    def __init__(self, n: int, packed: bool, device: Device) -> None:
        self._key = empty((n,), dtypes.uint64, device)
        self._at = None if packed else empty((n,), dtypes.uint32, device)

    @property
    def buffers(self) -> tuple:
        return self._key.storage.buffer, None if self._at is None else self._at.storage.buffer


def argsort(op: str, x: Array, descending: bool) -> Array:
    """Positions (int64) that sort x, contiguous, along its last axis; equal elements keep their order."""
    return order(op, x, descending, False, True)[1]


def order(op: str, x: Array, descending: bool, values: bool, places: bool) -> tuple[Array | None, Array | None]:
    """The elements of x, contiguous, sorted along its last axis, and their positions (int64); equal elements keep
    their order. What is not wanted is None."""
    check_kind(op, "biuf", x.dtype)
    if x.size == 0:
        return (x.clone() if values else None), (empty(x.shape, dtypes.int64, x.device) if places else None)
    K = x.shape[-1]
    if K >= 1 << 31:
        raise ShapeError(bad(op, f"{K} elements in a line", "fewer than 2**31", "Sort parts and merge them."))
    if _by_network(x):
        return _network(op, x, K, descending, values, places)
    if by_digits(x):
        return radix.order(op, x, descending, values, places)
    at = _merged(op, x, descending)
    return (index_family.take_along(op, x, at, x.ndim - 1) if values else None), at


def _by_network(x: Array) -> bool:
    """Whether lines are short enough to sort several at a time, and keys leave room for positions."""
    return x.device.wide_core and x.dtype.itemsize < 8 and x.shape[-1] <= _params(x)["network"]


def _network(op: str, x: Array, keep: int, descending: bool, values: bool, places: bool) -> tuple:
    """The first ``keep`` of each line's sorted elements, and their positions; None for what is not wanted."""
    K, device = x.shape[-1], x.device
    shape = (*x.shape[:-1], keep)
    out = [empty(shape, d, device) for d, wanted in ((x.dtype, values), (dtypes.int64, places)) if wanted]
    what = "both" if values and places else "values" if values else "places"
    index = index_type(x.storage.nbytes, x.size * 8)
    o = letter(index)
    k = kernel(device, "sort", "network", "P" * len(out) + f"P{o}{o}{o}ii{o}{o}", op, form=form(device),
               kind="network", packed=True, index=index, ctype=x.dtype.c, T=x.dtype.compute, what=what,
               raw=index_family.moved(x)["ctype"])
    lines = x.size // K
    _run(k, -(-lines // 8), x.size, *(a.storage.buffer for a in out), x.storage.buffer, x.offset, K, keep,
         int(descending), max(16, 1 << (K - 1).bit_length()), lines, nbytes=x.nbytes)
    return out[0] if values else None, out[-1] if places else None


def by_digits(x: Array) -> bool:
    """Whether lines are long enough, and the cores wide enough, to sort by digits."""
    return x.device.wide_core and x.size > 0 and x.shape[-1] >= radix.parameter(x, "line")


def smallest(op: str, x: Array, k: int, descending: bool) -> tuple[Array, Array]:
    """The k first elements of each line of x, contiguous, and their positions (int64), as sorting would give them."""
    K = x.shape[-1]
    if x.size > 0 and k > 0 and _by_network(x):
        check_kind(op, "biuf", x.dtype)
        return _network(op, x, k, descending, True, True)
    if x.size > 0 and radix.are_few(x, k):
        check_kind(op, "biuf", x.dtype)
        return radix.few(op, x, k, descending)
    if 0 < 8 * k <= K and by_digits(x):
        check_kind(op, "biuf", x.dtype)
        values, at = radix.smallest(op, x, k, descending)
        values, inner = order(op, values, descending, True, True)
        return values, index_family.take_along(op, at, inner, x.ndim - 1)
    values, at = order(op, x, descending, True, True)
    first = (*x.shape[:-1], k)
    return values.view(first, values.strides, 0), at.view(first, at.strides, 0)


def ranked(op: str, x: Array, ranks: int | Array) -> Array:
    """Positions (int64, a last axis of 1) of the elements that sorting x, contiguous and not empty, would put at
    ``ranks``: one for all lines, or an int64 array with one a line."""
    if by_digits(x):
        check_kind(op, "biuf", x.dtype)
        return radix.ranked(op, x, ranks if isinstance(ranks, int) else ranks.contiguous())
    at = argsort(op, x, False)
    if isinstance(ranks, int):
        return at.view((*x.shape[:-1], 1), at.strides, ranks)
    return index_family.take_along(op, at, ranks, x.ndim - 1)


def _merged(op: str, x: Array, descending: bool) -> Array:
    """Positions that sort x, by merging."""
    device, K = x.device, x.shape[-1]
    params = _params(x)
    local = params["local"]
    out = empty(x.shape, dtypes.int64, device)
    packed, n, lines = x.dtype.itemsize < 8, x.size, x.size // K
    index = index_type(x.storage.nbytes, n * 8)
    items, others = _Items(n, packed, device), _Items(n, packed, device)
    integer = letter(index)
    keys = kernel(device, "sort", "keys", f"PPP{integer}{integer}i{integer}", "keys", form=form(device), kind="keys",
                  packed=packed, index=index, ctype=x.dtype.c, T=x.dtype.compute, **_VALUES)
    _run(keys, n, n, *items.buffers, x.storage.buffer, x.offset, K, int(descending), nbytes=x.nbytes + 8 * n,
         local=local)

    block = _block(device, n, K, params["block"])
    count = -(-K // block)
    runs = _kernel(device, "runs", "PPPP", 4, index, "sort", packed)
    _run(runs, lines * count, n, *items.buffers, *others.buffers, K, block, count, nbytes=16 * n, local=local)
    if (block.bit_length() - 5) % 2:
        items, others = others, items
    merge = _kernel(device, "merge", "PPPP", 5, index, "sort", packed)
    while block < K:
        chunk = min(params["chunk"], 2 * block)
        chunks = -(-K // chunk)
        _run(merge, lines * chunks, n, *others.buffers, *items.buffers, K, block, chunk, chunks, nbytes=16 * n,
             local=local)
        items, others = others, items
        block *= 2
    positions = _kernel(device, "positions", "PPP", 1, index, "sort", packed)
    _run(positions, n, n, out.storage.buffer, *items.buffers, nbytes=16 * n, local=local)
    return out


def _block(device: Device, n: int, K: int, most: int) -> int:
    """Elements that one work-item sorts: a power of two, 16 at least, small enough that every core has some."""
    block = 16
    while block < min(K, most, -(-n // (4 * device.facts.compute_units))):
        block *= 2
    return block


def invert(at: Array) -> Array:
    """The inverse of permutations along the last axis: out[.., at[.., j]] = j."""
    at = at.contiguous()
    out = empty(at.shape, dtypes.int64, at.device)
    if out.size:
        k = _kernel(at.device, "invert", "PPo", 2, index_type(at.storage.nbytes), "sort", True)
        _run(k, at.size, at.size, out.storage.buffer, at.storage.buffer, at.offset, at.shape[-1], nbytes=2 * at.nbytes)
    return out


def compact(counts: Array, total: int) -> Array:
    """Positions (int64) in a flat running count at which it rises; ``total`` is its last element."""
    counts = counts.contiguous()
    out = empty((total,), dtypes.int64, counts.device)
    if total:
        k = _kernel(counts.device, "compact", "PPo", 1, index_type(counts.storage.nbytes), "sort", True)
        _run(k, counts.size, counts.size, out.storage.buffer, counts.storage.buffer, counts.offset,
             nbytes=counts.nbytes)
    return out


def search(op: str, line: Array, x: Array, right: bool) -> Array:
    """For each element of x, how many of a sorted line stand before it; with ``right``, before or equal."""
    device = same_device(op, (line, x))
    if not line.ndim or (line.ndim > 1 and line.shape[:-1] != x.shape[:-1]):
        raise ShapeError(bad(op, f"sorted lines {line.shape} and values {x.shape}",
                             "one sorted line, or as many as the values have", "Reshape or expand them."))
    common = dtypes.promote(line.dtype, x.dtype)
    check_kind(op, "biuf", common)
    line, x = line.astype(common).contiguous(), x.astype(common).contiguous()
    out = empty(x.shape, dtypes.int64, device)
    if out.size:
        index = index_type(line.storage.nbytes, x.storage.nbytes, out.nbytes)
        o = letter(index)
        k = kernel(device, "sort", "search", f"PP{o}P{o}{o}{o}{o}i{o}", op, form=form(device), kind="search",
                   packed=True, index=index, ctype=common.c, T=common.compute, **_VALUES)
        K = line.shape[-1]
        _run(k, out.size, 16 * out.size, out.storage.buffer, line.storage.buffer, line.offset, x.storage.buffer,
             x.offset, K, x.shape[-1] if line.ndim > 1 else out.size, K, int(right), nbytes=2 * out.nbytes)
    return out
