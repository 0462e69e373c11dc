"""Host side of index kernels. Out-of-range indices are found on the device and raised at the next synchronisation."""

from __future__ import annotations

from math import prod
from typing import Any

from ..core import dtypes
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array, empty, layout_of, same_device
from ..runtime.launch import Launch, watch
from ..runtime.program import kernel
from .plans import Plans, form, index_type, letter, parameters, spread, streamed

_plans = Plans()
_BUFFERS = ("out", "x", "at", "src", "fault")  # among the names of a launch's arguments

_TURNED = 1 << 16  # elements of an index from which on it pays to have its axis last


def check_index(op: str, index: Any) -> None:
    """DTypeError unless ``index`` is an integer array."""
    if not isinstance(index, Array) or index.dtype.kind not in "iu":
        got = index.dtype if isinstance(index, Array) else type(index).__name__
        raise DTypeError(bad(op, f"an index of {got}", "an integer array", "Convert it with .to(int64)."))


def _step(op: str, kind: str, x: Array, index: Array, itype: str, sizes: tuple[int, int, int], units: int, work: int,
          args: list, nbytes: int, whole: bool = False, **values: Any) -> Launch:
    """A launch of the kernel for ``units`` of ``work`` elements each. ``sizes``, by which parameters are looked up, are
    those of the axis that is indexed, of the index along it, and what lies beside; ``whole`` says that results are
    vectors, for as many bytes as are read."""
    device, i = x.device, letter(itype)
    params = parameters(device, "index", x.dtype.name, kind, sizes)
    stream = whole and streamed(device, nbytes // 2, x.itemsize, params["stream"])
    signature = "".join("P" if a in _BUFFERS else i for a in args)
    k = kernel(device, "index", "index_op", signature, op, kind=kind, itype=index.dtype.c, index=itype,
               form=form(device), **{"ctype": x.dtype.c, "T": x.dtype.compute, "rank": 0, "axis": 0, "stream": stream,
                                     **values})
    return Launch(k, *spread(device, k, params, units, work), args, nbytes=nbytes)


def moved(x: Array) -> dict[str, str]:
    """The template's types where elements only move: any type of their size."""
    raw = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong", 16: "ulong2"}[x.itemsize]
    return {"ctype": raw, "T": raw}


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
    key = ("take", x._layout or layout_of(x), index._layout or layout_of(index), axis)
    step = _plans.get(key)
    if step is None:
        units = outer * length
        step = _plans.put(key, _step(
            op, "take", x, index, index_type(x.storage.nbytes, out.nbytes, index.storage.nbytes),
            (x.shape[axis], units, inner), units if device.wide_core else units * inner, inner,
            ["out", "x", "x_offset", "at", "at_offset", "fault", x.shape[axis], length, inner, axis, units],
            2 * out.nbytes, device.wide_core and inner % 16 == 0, **moved(x)))
    step(out.storage.buffer, x.storage.buffer, x.offset, index.storage.buffer, index.offset, watch(device, op))
    return out


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
    if worth_turning(x, index, axis):
        x, index = turned(x, axis).contiguous(), turned(index, axis).contiguous()
        out = empty(index.shape, x.dtype, device)
        _along(op, out, x, index, x.ndim - 1, axis)
        return turned(out, axis).contiguous()
    out = empty(index.shape, x.dtype, device)
    if out.size:
        _along(op, out, x, index, axis, axis)
    return out


def worth_turning(x: Array, index: Array, axis: int) -> bool:
    """Whether to lay lines along ``axis`` side by side first: elements that an index names down a column lie in as many
    lines of memory, and a cache does not hold these where they are a power of two apart."""
    return (x.device.wide_core and index.size >= _TURNED and x.size <= 2 * index.size and index.shape[axis] >= 16 and
            prod(index.shape[axis + 1:]) > 1)


def turned(x: Array, axis: int) -> Array:
    """A view with ``axis`` and the last one exchanged."""
    def swap(values: tuple[int, ...]) -> tuple[int, ...]:
        values = list(values)
        values[axis], values[-1] = values[-1], values[axis]
        return tuple(values)

    return x.view(swap(x.shape), swap(x.strides), x.offset)


def _along(op: str, out: Array, x: Array, index: Array, axis: int, named: int) -> None:
    """Fill ``out``, contiguous; errors name the axis ``named``."""
    key = ("along", x._layout or layout_of(x), index._layout or layout_of(index), axis, named)
    step = _plans.get(key)
    if step is None:
        step = _plans.put(key, _along_step(op, out, x, index, axis, named))
    step(out.storage.buffer, x.storage.buffer, x.offset, index.storage.buffer, index.offset, watch(x.device, op))


def _along_step(op: str, out: Array, x: Array, index: Array, axis: int, named: int) -> Launch:
    device, rank, final = x.device, x.ndim, index.shape[-1]
    rows, segment, segments = index.size // final, 1, final
    if device.wide_core:
        segments = min(-(-4 * device.facts.compute_units // rows), -(-final // 2048))
        segment = -(-final // segments)
        segments = -(-final // segment)
    length = index.shape[axis]
    return _step(op, "along", x, index, index_type(x.storage.nbytes, out.nbytes, index.storage.nbytes, x.size),
                 (x.shape[axis], length, index.size // length), rows * segments, segment,
                 ["out", "x", "x_offset", "at", "at_offset", "fault", *index.shape, *x.strides, *index.strides,
                  x.shape[axis], named, segment, segments, rows * segments], 2 * out.nbytes, device.wide_core,
                  rank=rank, axis=axis,
                 **moved(x))


def one_hot(op: str, index: Array, classes: int) -> Array:
    """int64 zeros of shape (*index.shape, classes) with a one at each index."""
    check_index(op, index)
    out = empty((*index.shape, classes), dtypes.int64, index.device)
    if out.size == 0:
        return out
    index = index.contiguous()
    key = ("one_hot", index._layout or layout_of(index), classes)
    step = _plans.get(key)
    if step is None:
        step = _plans.put(key, _step(
            op, "one_hot", out, index, index_type(out.nbytes, index.storage.nbytes), (classes, index.size, 1),
            index.size, classes, ["out", "at", "at_offset", "fault", classes, index.size], out.nbytes))
    step(out.storage.buffer, index.storage.buffer, index.offset, watch(index.device, op))
    return out


