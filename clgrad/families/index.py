"""Host side of index kernels. Out-of-range indices are found on the device and raised at the next synchronisation."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import kernels
from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array, empty, same_device
from ..runtime.device import Device
from ..runtime.launch import launch, watch
from ..runtime.program import Kernel, kernel
from .plans import blocks, form, index_type, letter, streamed


def check_index(op: str, index: Any) -> None:
    """DTypeError unless ``index`` is an integer array."""
    if not isinstance(index, Array) or index.dtype.kind not in "iu":
        got = index.dtype if isinstance(index, Array) else type(index).__name__
        raise DTypeError(bad(op, f"an index of {got}", "an integer array", "Convert it with .to(int64)."))


def _kernel(op: str, kind: str, x: Array, index: Array, signature: str, itype: str, **values: Any) -> Kernel:
    return kernel(x.device, "index", "index_op", signature, op, kind=kind, itype=index.dtype.c, index=itype,
                  form=form(x.device), **{"ctype": x.dtype.c, "T": x.dtype.compute, "rank": 0, "axis": 0,
                                                "stream": False, **values})


def moved(x: Array) -> dict[str, str]:
    """The template's types where elements only move: any type of their size."""
    raw = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong", 16: "ulong2"}[x.itemsize]
    return {"ctype": raw, "T": raw}


def _sizes(device: Device, k: Kernel, units: int, work: int) -> tuple[tuple[int], tuple[int]]:
    """Launch sizes for ``units`` of ``work`` elements each."""
    if device.wide_core:
        return (max(1, min(units, device.facts.compute_units * 4, -(-units * work // 2048))),), (1,)
    return blocks(device, units, min(kernels.template("index").module.DEFAULT["many"]["local"], k.max_local), 32)


def banded(device: Device, size: int, lines: int, length: int) -> tuple[int, int]:
    """Size and number of the bands that a destination axis is cut into, so that ``lines`` of them occupy the device.

    Each band's unit reads the whole index of ``length`` positions, which pays for long ones only.
    """
    wanted = device.facts.compute_units * (4 if device.wide_core else 512)
    bands = max(1, min(size, -(-wanted // lines))) if length > 256 else 1
    band = -(-size // bands)
    return band, -(-size // band)


def take(op: str, x: Array, index: Array, axis: int) -> Array:
    """x's slices along ``axis`` at the positions of ``index``, whose shape replaces the axis."""
    check_index(op, index)
    device = same_device(op, (x, index))
    out = empty((*x.shape[:axis], *index.shape, *x.shape[axis + 1:]), x.dtype, device)
    if out.size == 0:
        return out
    x, index = x.contiguous(), index.contiguous()
    outer, inner, length = prod(x.shape[:axis]), prod(x.shape[axis + 1:]), index.size
    if inner == 1 and device.wide_core:  # elements, not rows
        index = index.reshape((1, length)).expand((outer, length))
        _along(op, out, x.reshape((outer, x.shape[axis])), index, 1, axis)
        return out
    i = index_type(x.storage.nbytes, out.nbytes, index.storage.nbytes)
    c = letter(i)
    k = _kernel(op, "take", x, index, "PP" + c + "P" + c + "P" + c * 5, i, **moved(x),
                stream=inner % 16 == 0 and streamed(device, out.nbytes, x.itemsize))
    units = outer * length
    gsize, lsize = _sizes(device, k, units if device.wide_core else units * inner, inner)
    launch(k, gsize, lsize, out.storage.buffer, x.storage.buffer, x.offset, index.storage.buffer, index.offset,
           watch(device, op), x.shape[axis], length, inner, axis, units, nbytes=2 * out.nbytes)
    return out


def _accumulator(d: DType) -> DType:
    """Sums of storage types are kept in float32."""
    return d.accumulator


def check_along(op: str, x: Array, index: Array, axis: int, src: Array | None = None) -> None:
    """Ranks equal; off the axis no larger than the array indexed (and nowhere larger than ``src``)."""
    check_index(op, index)
    fits = index.ndim == x.ndim and all(n <= m for a, (n, m) in enumerate(zip(index.shape, x.shape)) if a != axis)
    if src is not None:
        fits = fits and src.ndim == x.ndim and all(n <= m for n, m in zip(index.shape, src.shape))
    if not fits:
        shapes_given = ", ".join(str(a.shape) for a in (x, index, src) if a is not None)
        raise ShapeError(bad(op, shapes_given, f"an index of the array's rank, no larger than it off axis {axis}"
                             + (" and nowhere larger than src" if src is not None else ""), "Reshape or expand it."))


def take_along(op: str, x: Array, index: Array, axis: int) -> Array:
    """out[.., j, ..] = x[.., index[.., j, ..], ..] along ``axis``; the result has index's shape."""
    check_along(op, x, index, axis)
    device = same_device(op, (x, index))
    out = empty(index.shape, x.dtype, device)
    if out.size == 0:
        return out
    _along(op, out, x, index, axis, axis)
    return out


def _along(op: str, out: Array, x: Array, index: Array, axis: int, named: int) -> None:
    """Fill ``out``, contiguous; errors name the axis ``named``."""
    device, rank, final = x.device, x.ndim, index.shape[-1]
    i = index_type(x.storage.nbytes, out.nbytes, index.storage.nbytes, x.size)
    c = letter(i)
    k = _kernel(op, "along", x, index, "PP" + c + "P" + c + "P" + c * (3 * rank + 5), i, rank=rank, axis=axis,
                **moved(x))
    rows, segment, segments = index.size // final, 1, final
    if device.wide_core:
        segments = min(-(-4 * device.facts.compute_units // rows), -(-final // 2048))
        segment = -(-final // segments)
        segments = -(-final // segment)
    gsize, lsize = _sizes(device, k, rows * segments, segment)
    launch(k, gsize, lsize, out.storage.buffer, x.storage.buffer, x.offset, index.storage.buffer, index.offset,
           watch(device, op), *index.shape, *x.strides, *index.strides, x.shape[axis], named, segment, segments,
           rows * segments, nbytes=2 * out.nbytes)


def add_along(op: str, x: Array, index: Array, src: Array, axis: int) -> Array:
    """A copy of x with src added at ``index`` along ``axis``, in the order of the index."""
    check_along(op, x, index, axis, src)
    device = same_device(op, (x, index, src))
    if src.dtype is not x.dtype:
        raise DTypeError(bad(op, f"src of {src.dtype}", f"{x.dtype}, the array's dtype", "Convert it with .to()."))
    accumulate = _accumulator(x.dtype)
    out = x.astype(accumulate)
    out = out.clone().contiguous() if out is x else out.contiguous()
    if index.size == 0:
        return out.astype(x.dtype)
    src = src.astype(accumulate)
    i = index_type(out.storage.nbytes, src.storage.nbytes, index.storage.nbytes, index.size)
    c = letter(i)
    rank, size = x.ndim, x.shape[axis]
    k = _kernel(op, "along_add", out, index, "P" + c + "P" + c + "P" + c + "P" + c * (4 * rank + 4), i, rank=rank,
                axis=axis)
    lines = index.size // index.shape[axis]
    band, bands = banded(device, size, lines, index.shape[axis])
    gsize, lsize = _sizes(device, k, lines * bands, index.shape[axis])
    launch(k, gsize, lsize, out.storage.buffer, out.offset, src.storage.buffer, src.offset, index.storage.buffer,
           index.offset, watch(device, op), *index.shape, *out.strides, *index.strides, *src.strides, size, band, bands,
           lines * bands, nbytes=2 * src.nbytes)
    return out.astype(x.dtype)


def one_hot(op: str, index: Array, classes: int) -> Array:
    """int64 zeros of shape (*index.shape, classes) with a one at each index."""
    check_index(op, index)
    out = empty((*index.shape, classes), dtypes.int64, index.device)
    if out.size == 0:
        return out
    index = index.contiguous()
    i = index_type(out.nbytes, index.storage.nbytes)
    c = letter(i)
    k = _kernel(op, "one_hot", out, index, "PP" + c + "P" + c * 2, i)
    gsize, lsize = _sizes(index.device, k, index.size, classes)
    launch(k, gsize, lsize, out.storage.buffer, index.storage.buffer, index.offset, watch(index.device, op), classes,
           index.size, nbytes=out.nbytes)
    return out


