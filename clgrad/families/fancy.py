"""Host side of indexing by several arrays: index arrays become rows, and rows are read, written or added to.

A row is a linear position over the axes that are indexed, in their order; -1 stands for one that was out of range.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..core import dtypes
from ..core.errors import DTypeError, bad
from ..ndarray import Array, empty, full, same_device
from ..runtime.device import Device
from ..runtime.launch import launch, watch
from ..runtime.program import Kernel, kernel
from . import bucket
from .index import banded, check_along, check_index, moved
from .plans import INT_BYTES, blocks, form, index_type, letter, streamed, workers

_LOCAL, _GROUPS = 128, 32
_MOST_BANDS = 1 << 15


def _kernel(op: str, kind: str, x: Array, index: Array, signature: str, itype: str, **values: Any) -> Kernel:
    types = {"ctype": x.dtype.c, "T": x.dtype.compute} if kind in ("add", "rows") else moved(x)
    return kernel(x.device, "fancy", "fancy", signature, op, kind=kind, itype=index.dtype.c, index=itype,
                  form=form(x.device), **{**types, "rank": 1, "axis": 0, "vectors": False, "listed": "", "size": 0,
                                          "stream": False, **values})


def _vectors(x: Array, rank: int, groups: list[int], inner: int) -> bool:
    """Whether elements behind the indexed axes lie side by side, in vectors worth it (see _groups for the list)."""
    return x.device.wide_core and rank == 1 and groups[-1] == 1 and inner >= 8 and x.itemsize <= 8


def _sizes(device: Device, k: Kernel, units: int, work: int) -> tuple[tuple[int], tuple[int]]:
    """Launch sizes for ``units`` of ``work`` elements each."""
    if device.wide_core:
        return (min(units, workers(device, units * work, 4, 2048)),), (1,)
    return blocks(device, units, min(_LOCAL, k.max_local), _GROUPS)


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
        i = index_type(rows.nbytes, index.storage.nbytes, total)
        c = letter(i)
        k = _kernel(op, "rows", rows, index, "PP" + c + "P" + c * 4, i)
        gsize, lsize = _sizes(x.device, k, rows.size, 1)
        launch(k, gsize, lsize, rows.storage.buffer, index.storage.buffer, index.offset, watch(x.device, op), size,
               axis, int(number == 0), rows.size, nbytes=rows.nbytes + index.nbytes)
    return rows


def result_shape(x: Array, rows: Array, axes: tuple[int, ...], at: int) -> tuple[int, ...]:
    """The shape that x[rows] has: the rows' shape stands before the ``at``-th axis that is not indexed."""
    rest = tuple(n for a, n in enumerate(x.shape) if a not in axes)
    return (*rest[:at], *rows.shape, *rest[at:])


def _merged(x: Array, axes: Sequence[int]) -> list[tuple[int, int]]:
    """Size and stride of axes, neighbours made one where the strides allow; their order stays."""
    merged: list[tuple[int, int]] = []
    for a in axes:
        n, s = x.shape[a], x.strides[a]
        if n == 1:
            continue
        if merged and merged[-1][1] == n * s:
            merged[-1] = (merged[-1][0] * n, s)
        else:
            merged.append((n, s))
    return merged


def _groups(x: Array, axes: tuple[int, ...], at: int) -> tuple[int, list[int], int, int]:
    """The kernel's rank, its group arguments, and the element counts before and after the indexed axes.

    Ranks 2 and 3 share a kernel: sizes are filled up with ones.
    """
    rest = [a for a in range(x.ndim) if a not in axes]
    groups = [_merged(x, g) for g in (rest[:at], axes, rest[at:])]
    longest = max(map(len, groups))
    rank = 1 if longest <= 1 else max(3, longest)
    args: list[int] = []
    for g in groups:
        g = [(1, 0)] * (rank - len(g)) + g
        args += [n for n, _ in g] + [s for _, s in g]
    return rank, args, prod(x.shape[a] for a in rest[:at]), prod(x.shape[a] for a in rest[at:])


def get(op: str, x: Array, rows: Array, axes: tuple[int, ...], at: int) -> Array:
    """x at ``rows`` of its ``axes``."""
    out = empty(result_shape(x, rows, axes, at), x.dtype, same_device(op, (x, rows)))
    if out.size == 0:
        return out
    rows = rows.contiguous()
    rank, groups, outer, inner = _groups(x, axes, at)
    i = index_type(x.storage.nbytes, out.nbytes, rows.storage.nbytes, x.size)
    c = letter(i)
    vectors = _vectors(x, rank, groups, inner)
    k = _kernel(op, "get", x, rows, "PP" + c + "P" + c * (6 * rank + 3), i, rank=rank,
                vectors=vectors,
                stream=vectors and inner % 16 == 0 and streamed(x.device, out.nbytes, x.itemsize))
    units = outer * rows.size
    wide = x.device.wide_core
    gsize, lsize = _sizes(x.device, k, units if wide else units * inner, inner if wide else 1)
    launch(k, gsize, lsize, out.storage.buffer, x.storage.buffer, x.offset, _aligned(rows).storage.buffer, *groups,
           rows.size, inner, units, nbytes=2 * out.nbytes)
    return out


def _aligned(rows: Array) -> Array:
    """Rows that begin where their memory does."""
    return rows.clone() if rows.offset else rows


def put(op: str, x: Array, rows: Array, values: Array, axes: tuple[int, ...], at: int, accumulate: bool) -> Array:
    """Write ``values`` over x itself at ``rows`` of its ``axes``, or add them; of equal rows the last one stays.

    ``values`` has x's dtype and the shape that x has at the rows.
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
    rank, groups, outer, inner = _groups(x, axes, at)
    i = index_type(x.storage.nbytes, values.size * values.itemsize, values.storage.nbytes, rows.storage.nbytes, x.size)
    c = letter(i)
    wide, total = x.device.wide_core, prod(x.shape[a] for a in axes)
    vectors = step == 1 and _vectors(x, rank, groups, inner) and not (accumulate and x.dtype.kind == "c")
    kind, name = ("add" if accumulate else "put"), ""
    width = 8 if x.itemsize == 8 else 16
    stream = (vectors and not accumulate and streamed(x.device, values.size * values.itemsize, x.itemsize) and
              not any(v % width for v in (x.offset, groups[1], groups[3])))
    strip = 512 if wide else 1
    strips = -(-inner // strip)
    if bucket.worth(rows, total):
        single = outer == inner == step == 1 and x.itemsize <= 8 and (not accumulate or x.dtype.c == x.dtype.compute)
        name = "values" if single else "positions"
        by = bucket.listed(op, rows, total, values if single else None)
        bands, source = by.number, (by.items.storage.buffer, by.bounds.storage.buffer, by.ends)
    else:
        bands, source = _bands(x.device, outer * strips, rows.size, total), (rows.storage.buffer,)
    k = _kernel(op, kind, x, rows, f"P{c}P{c}{c}{f'PP{c}' if name else 'P'}" + c * (6 * rank + 6), i, rank=rank,
                vectors=vectors, stream=stream, listed=name, size=x.itemsize if name == "values" else 0)
    units = outer * strips * bands
    gsize, lsize = _sizes(x.device, k, units, rows.size)
    launch(k, gsize, lsize, x.storage.buffer, x.offset, values.storage.buffer, values.offset, step, *source, *groups,
           rows.size, inner, bands, strip, strips, units, nbytes=2 * values.size * values.itemsize)
    x.storage.version += 1
    return x


def take_add(op: str, g: Array, index: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Zeros of ``shape`` with g's slices added at the positions of ``index``, in its order: take in reverse."""
    out = full(shape, 0, g.dtype.accumulator, g.device)
    if g.size == 0:
        return out.astype(g.dtype)
    sizes = prod(shape[:axis]), prod(shape[axis + 1:])
    target = out.reshape((sizes[0], shape[axis], sizes[1]))
    values = g.astype(out.dtype).contiguous().reshape((sizes[0], index.size, sizes[1]))
    rows = rows_of(op, target, [(index.contiguous().reshape((index.size,)), shape[axis], axis)], (index.size,))
    put(op, target, rows, values, (1,), 1, True)
    out.storage.version = 0
    return out.astype(g.dtype)


def _bands(device: Device, lines: int, count: int, rows: int) -> int:
    """Into how many parts (a power of two) the rows are cut, so that every core has work."""
    if count <= 256:
        return 1
    share = 4 if device.wide_core else 512  # every part reads all rows
    wanted = -(-device.facts.compute_units * share // lines)
    return min(1 << (max(1, min(wanted, rows)) - 1).bit_length(), _MOST_BANDS)


def put_along(op: str, x: Array, index: Array, src: Array, axis: int) -> Array:
    """Write src over x itself at ``index`` along ``axis``, in the order of the index."""
    check_along(op, x, index, axis, src)
    device = same_device(op, (x, index, src))
    if src.dtype is not x.dtype:
        raise DTypeError(bad(op, f"src of {src.dtype}", f"{x.dtype}, the array's dtype", "Convert it with .to()."))
    if index.size == 0:
        return x
    if index.storage is x.storage:
        index = index.clone()
    if src.storage is x.storage:
        src = src.clone()
    i = index_type(x.storage.nbytes, src.storage.nbytes, index.storage.nbytes, x.size, index.size)
    c = letter(i)
    rank, size = x.ndim, x.shape[axis]
    k = _kernel(op, "along", x, index, "P" + c + "P" + c + "P" + c + "P" + c * (4 * rank + 4), i, rank=rank, axis=axis)
    lines = index.size // index.shape[axis]
    band, bands = banded(device, size, lines, index.shape[axis])
    gsize, lsize = _sizes(device, k, lines * bands, index.shape[axis])
    launch(k, gsize, lsize, x.storage.buffer, x.offset, src.storage.buffer, src.offset, index.storage.buffer,
           index.offset, watch(device, op), *index.shape, *x.strides, *index.strides, *src.strides, size, band, bands,
           lines * bands, nbytes=2 * index.size * x.itemsize)
    x.storage.version += 1
    return x
