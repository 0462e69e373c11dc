"""Pooling over one to three axes of space, and the unfolding of windows into columns and back.

Each gradient gathers: a pooled maximum's where its index says so, an average's by the same windows seen from the
input. So every derivative is one of these records, and sums have one order.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..autograd.mode import is_grad_enabled
from ..autograd.variable import Variable
from ..core import dtypes
from ..core.errors import ShapeError, bad
from ..families.pool import Pool, Windows
from ..ndarray import full
from ..table import ZERO_GRAD, Case
from .conv import hashable, per_axis
from .declare import composite, driver
from .elementwise import abs, astype, relu, sign
from .fancy import scatter
from .reduce import mean
from .shape import reshape

_windows = lru_cache(4096)(Windows)
_max, _argmax, _both, _pick, _spread, _mean, _unmean, _columns, _fold = (
    Pool(kind) for kind in ("max", "argmax", "both", "pick", "spread", "mean", "unmean", "columns", "fold"))


# References: windows by name of their elements, from the definition -------------------------------------------------


def _spans(w: Windows) -> list[list[list[int]]]:
    """For each axis and result, the input's elements that its window holds."""
    spans = []
    for a, (n, o) in enumerate(zip(w.space, w.size)):
        if w.taps is None:
            spans.append([list(range(i * n // o, -(-(i + 1) * n // o))) for i in range(o)])
        else:
            starts = [i * w.stride[a] - w.low[a] for i in range(o)]
            spans.append([[p for p in (s + t * w.dilation[a] for t in range(w.taps[a])) if 0 <= p < n] for s in starts])
    return spans


def _each(w: Windows) -> Any:
    """Every result's position, and the block of the input that its window selects."""
    spans = _spans(w)
    for o in np.ndindex(w.size):
        yield o, np.ix_(*(spans[a][i] for a, i in enumerate(o)))


def _planes(x: Any, w: Windows) -> Any:
    return x.reshape(-1, *x.shape[x.ndim - len(w.space):])


def _index_ref(x: Any, windows: Windows) -> Any:
    out = np.zeros((prod(x.shape[:x.ndim - len(windows.space)]), *windows.size), np.int32)
    where = np.arange(prod(windows.space)).reshape(windows.space)
    for n, plane in enumerate(_planes(x, windows)):
        for o, block in _each(windows):
            out[(n, *o)] = where[block].reshape(-1)[np.argmax(plane[block])]
    return out.reshape(*x.shape[:x.ndim - len(windows.space)], *windows.size)


def _pick_ref(x: Any, index: Any, windows: Windows) -> Any:
    rows = x.reshape(-1, prod(windows.space))
    return np.take_along_axis(rows, index.reshape(len(rows), -1), 1).reshape(index.shape)


def _spread_ref(g_out: Any, index: Any, windows: Windows) -> Any:
    lead = g_out.shape[:g_out.ndim - len(windows.size)]
    out = np.zeros((prod(lead), prod(windows.space)), g_out.dtype)
    for row, i, g in zip(out, index.reshape(len(out), -1), g_out.reshape(len(out), -1)):
        np.add.at(row, i, g)
    return out.reshape(*lead, *windows.space)


def _sizes_ref(windows: Windows, include_pad: bool, divisor: int) -> Any:
    """What each result is divided by."""
    if divisor:
        return np.full(windows.size, divisor, np.float64)
    counts = [[len(s) for s in axis] for axis in _spans(windows)]
    if include_pad and windows.taps is not None:
        counts = [[min(o * s - p + k, n + p) - (o * s - p) for o in range(size)] for n, size, k, s, p in zip(
            windows.space, windows.size, windows.taps, windows.stride, windows.low)]
    total = np.ones(())
    for axis in counts:
        total = np.multiply.outer(total, axis)
    return total


def _mean_ref(x: Any, windows: Windows, include_pad: bool = True, divisor: int = 0) -> Any:
    size = _sizes_ref(windows, include_pad, divisor).astype(x.dtype)
    out = np.zeros((len(_planes(x, windows)), *windows.size), x.dtype)
    for n, plane in enumerate(_planes(x, windows)):
        for o, block in _each(windows):
            out[(n, *o)] = plane[block].sum() / size[o]
    return out.reshape(*x.shape[:x.ndim - len(windows.space)], *windows.size)


def _unmean_ref(g_out: Any, windows: Windows, include_pad: bool = True, divisor: int = 0) -> Any:
    size = _sizes_ref(windows, include_pad, divisor).astype(g_out.dtype)
    lead = g_out.shape[:g_out.ndim - len(windows.size)]
    out = np.zeros((prod(lead), *windows.space), g_out.dtype)
    for n, plane in enumerate(g_out.reshape(-1, *windows.size)):
        for o, block in _each(windows):
            out[n][block] += plane[o] / size[o]
    return out.reshape(*lead, *windows.space)


def _columns_ref(x: Any, windows: Windows) -> Any:
    w = windows
    padded = np.pad(x, ((0, 0), *((p, p + k * d + s) for p, k, d, s in zip(w.low, w.taps, w.dilation, w.stride))))
    out = np.zeros((len(x), *w.taps, *w.size), x.dtype)
    for tap in np.ndindex(w.taps):
        region = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(
            tap, w.dilation, w.size, w.stride))
        out[(slice(None), *tap)] = padded[(slice(None), *region)]
    return out


def _fold_ref(g_out: Any, windows: Windows) -> Any:
    w = windows
    out = np.zeros((len(g_out), *(n + 2 * p for n, p in zip(w.space, w.low))), g_out.dtype)
    for tap in np.ndindex(w.taps):
        region = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(
            tap, w.dilation, w.size, w.stride))
        out[(slice(None), *region)] += g_out[(slice(None), *tap)]
    return out[(slice(None), *(slice(p, p + n) for n, p in zip(w.space, w.low)))]


# Records ------------------------------------------------------------------------------------------------------------

_PLAIN = _windows((5, 6), (3, 3), (2, 3), (2, 2), (1, 1), (1, 1))
_SPREAD = _windows((7,), (3,), (3,), (1,), (1,), (3,))
_ADAPTIVE = _windows((5, 7), (3, 4))
_DEEP = _windows((4, 3, 4), (2, 2, 3), (2, 2, 2), (2, 1, 1), (0, 0, 0), (1, 1, 1))


def _cases(shape: str, extra: Any = None, windows: tuple = (_PLAIN, _SPREAD, _ADAPTIVE, _DEEP)) -> tuple[Case, ...]:
    """A case for each kind of window over arrays of its input's ("space") or result's ("size") shape."""
    made = []
    for w in windows:
        arrays = ((2, *getattr(w, shape)),)
        if extra is not None:
            arrays += (extra(w),)
        made.append(Case(arrays, {"windows": w}))
    return tuple(made)


def _some_index(w: Windows) -> np.ndarray:
    """The index of a maximum of one fixed input."""
    return _index_ref(np.random.default_rng(3).random((2, *w.space)), w)


_OPTIONS = (Case(((2, 5, 6),), {"windows": _PLAIN, "include_pad": False}),
            Case(((2, 5, 6),), {"windows": _PLAIN, "divisor": 5}))
_HIDDEN: dict[str, Any] = {"public": False, "method": False, "kinds": "f"}

pool_index = driver("pool_index", "x, windows", "pool", run=_argmax, ref=_index_ref, grad=[ZERO_GRAD],
                    cases=_cases("space"), **_HIDDEN,
                    doc="Where each window's largest element lies within its plane (the first; the last NaN); -1 if it "
                        "holds none.")
pool_max = driver("pool_max", "x, windows", "pool", run=_max,
                  ref=lambda x, windows: _pick_ref(x, _index_ref(x, windows), windows),
                  grad=[lambda g, x, windows: pool_spread(g, pool_index(x, windows), windows)],
                  cases=_cases("space"), **_HIDDEN, doc="Each window's largest element.")
pool_both = driver("pool_both", "x, windows", "pool", several=True, run=_both.both,
                   ref=lambda x, windows: (_pick_ref(x, _index_ref(x, windows), windows), _index_ref(x, windows)),
                   grad=lambda g, out, windows: (pool_spread(g[0], out[1], windows),), cases=_cases("space"), **_HIDDEN,
                   doc="Each window's largest element and where it lies, as a gradient wants them.")
pool_pick = driver("pool_pick", "x, index, windows", "pool", tensors=("x", "index"), ref=_pick_ref,
                   run=lambda x, index, windows: _pick(x, windows, index),
                   grad=[lambda g, index, windows: pool_spread(g, index, windows), ZERO_GRAD],
                   cases=_cases("space", _some_index), **_HIDDEN,
                   doc="Of each plane the elements at an index of pool_index's; zero for -1.")
pool_spread = driver("pool_spread", "g_out, index, windows", "pool", tensors=("g_out", "index"), ref=_spread_ref,
                     run=lambda g_out, index, windows: _spread(g_out, windows, index),
                     grad=[lambda g, index, windows: pool_pick(g, index, windows), ZERO_GRAD],
                     cases=_cases("size", _some_index), **_HIDDEN,
                     doc="Zeros of the input's size with values added where an index of pool_index's says.")
pool_mean = driver("pool_mean", "x, windows, include_pad=True, divisor=0", "pool", ref=_mean_ref,
                   run=lambda x, windows, include_pad, divisor: _mean(x, windows, None, include_pad, divisor),
                   grad=[lambda g, windows, include_pad, divisor: pool_unmean(g, windows, include_pad, divisor)],
                   cases=_cases("space", windows=(_PLAIN, _ADAPTIVE, _DEEP)) + _OPTIONS, **_HIDDEN,
                   doc="Each window's sum, divided by its size or by ``divisor``.")
pool_unmean = driver("pool_unmean", "g_out, windows, include_pad=True, divisor=0", "pool", tensors=("g_out",),
                     run=lambda g, windows, include_pad, divisor: _unmean(g, windows, None, include_pad, divisor),
                     grad=[lambda g, windows, include_pad, divisor: pool_mean(g, windows, include_pad, divisor)],
                     ref=_unmean_ref, cases=_cases("size", windows=(_PLAIN, _ADAPTIVE, _DEEP)), **_HIDDEN,
                     doc="The gradient of pool_mean: each result's share, added over the windows that hold an element.")
pool_columns = driver("pool_columns", "x, windows", "pool", run=_columns, ref=_columns_ref,
                      grad=[lambda g, windows: pool_fold(g, windows)], cases=_cases("space", windows=(_PLAIN, _SPREAD)),
                      **_HIDDEN, doc="Planes of windows: of each tap, the elements that it meets; zero in the margins.")
pool_fold = driver("pool_fold", "g_out, windows", "pool", tensors=("g_out",), run=_fold, ref=_fold_ref,
                   grad=[lambda g, windows: pool_columns(g, windows)],
                   cases=tuple(Case(((2, *w.taps, *w.size),), {"windows": w}) for w in (_PLAIN, _SPREAD)), **_HIDDEN,
                   doc="The sum of what pool_columns laid out, where it came from.")

# What users call ----------------------------------------------------------------------------------------------------


def pooled_size(n: int, taps: int, stride: int, margin: int, dilation: int, ceil_mode: bool) -> int:
    """Results along an axis. Rounded up, no window may begin in the far margin."""
    span = n + 2 * margin - dilation * (taps - 1) - 1
    size = (span + (stride - 1 if ceil_mode else 0)) // stride + 1
    return size - 1 if ceil_mode and (size - 1) * stride >= n + margin else size


def _space(op: str, shape: tuple, rank: int) -> tuple[int, ...]:
    if len(shape) not in (rank + 1, rank + 2):
        raise ShapeError(bad(op, f"input {shape}", f"{rank + 2} dimensions (N, C, ...) or {rank + 1} (C, ...)",
                             "Add or remove an axis."))
    if 0 in shape[1 if len(shape) == rank + 2 else 0:]:
        raise ShapeError(bad(op, f"input {shape}", "no empty axis but the batch's", "Give it elements."))
    return tuple(shape[-rank:])


def windows_of(op: str, input: Any, rank: int, *parameters: Any) -> Windows:
    """The windows that PyTorch's parameters mean: kernel_size, stride, padding, dilation, ceil_mode."""
    return _windows_of(op, tuple(input.shape), rank, *map(hashable, parameters))


@lru_cache(4096, typed=True)
def _windows_of(op: str, shape: tuple, rank: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
                ceil_mode: bool) -> Windows:
    space = _space(op, shape, rank)
    taps = per_axis(op, "kernel_size", kernel_size, rank, 1)
    empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    stride = taps if empty else per_axis(op, "stride", stride, rank, 1)
    low, dilation = per_axis(op, "padding", padding, rank), per_axis(op, "dilation", dilation, rank, 1)
    if any(p > (d * (k - 1) + 1) // 2 for p, k, d in zip(low, taps, dilation)):
        raise ValueError(bad(op, f"padding={padding} for kernel_size={kernel_size}",
                             "at most half of the kernel's reach", "Pad the input with F.pad for more."))
    size = tuple(pooled_size(*axis, ceil_mode) for axis in zip(space, taps, stride, low, dilation))
    if min(size) < 1:
        raise ShapeError(bad(op, f"input {shape} for kernel_size={kernel_size}", f"a result, not one of {size}",
                             "Use a smaller kernel, or pad."))
    return _windows(space, size, taps, stride, low, dilation)


def _maxima(input: Any, windows: Windows, return_indices: bool) -> Any:
    wanted = isinstance(input, Variable) and input.requires_grad and is_grad_enabled()
    if not return_indices and not wanted:
        return pool_max(input, windows)
    values, index = pool_both(input, windows)
    return (values, astype(index, dtypes.int64)) if return_indices else values


def _max_pool(rank: int) -> Any:
    def run(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
            ceil_mode: bool = False, return_indices: bool = False) -> Any:
        w = windows_of(f"max_pool{rank}d", input, rank, kernel_size, stride, padding, dilation, ceil_mode)
        return _maxima(input, w, return_indices)

    return run


def _avg_pool(rank: int) -> Any:
    def run(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
            count_include_pad: bool = True, divisor_override: int | None = None) -> Any:
        op = f"avg_pool{rank}d"
        if divisor_override == 0:
            raise ValueError(bad(op, "divisor_override=0", "another number or None", "It divides each window's sum."))
        w = windows_of(op, input, rank, kernel_size, stride, padding, 1, ceil_mode)
        return pool_mean(input, w, bool(count_include_pad), divisor_override or 0)

    return run


def _adaptive(op: str, input: Any, output_size: Any, rank: int) -> Windows:
    space = _space(op, input.shape, rank)
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    if len(given) == 1:
        given *= rank
    if len(given) != rank:
        raise ShapeError(bad(op, f"output_size={output_size}", f"an int or {rank} ints or Nones", "None keeps a size."))
    size = per_axis(op, "output_size", tuple(n if s is None else s for n, s in zip(space, given)), rank)
    return _windows(space, size)


def _adaptive_avg(rank: int) -> Any:
    def run(input: Any, output_size: Any) -> Any:
        w = _adaptive(f"adaptive_avg_pool{rank}d", input, output_size, rank)
        if set(w.size) == {1}:
            return mean(input, tuple(range(-rank, 0)), True)
        return pool_mean(input, w)

    return run


def _adaptive_max(rank: int) -> Any:
    def run(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        return _maxima(input, _adaptive(f"adaptive_max_pool{rank}d", input, output_size, rank), return_indices)

    return run


def _lp_pool(rank: int) -> Any:
    def run(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
        w = windows_of(f"lp_pool{rank}d", input, rank, kernel_size, stride, 0, 1, ceil_mode)
        out = pool_mean(input ** norm_type, w, True, 1)
        # rounded up, the last windows are smaller, and weigh as much as whole ones (PyTorch's rule)
        if ceil_mode:
            out = pool_mean(input ** norm_type, w, True, 0) * prod(w.taps)
        return (sign(out) * relu(abs(out))) ** (1.0 / norm_type)

    return run


def _unpool(rank: int) -> Any:
    def run(input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
            output_size: Any = None) -> Any:
        op = f"max_unpool{rank}d"
        space = _space(op, input.shape, rank)
        if indices.shape != input.shape:
            raise ShapeError(bad(op, f"indices {indices.shape} for input {input.shape}", "one shape",
                                 "Take both from one max_pool with return_indices=True."))
        taps = per_axis(op, "kernel_size", kernel_size, rank, 1)
        stride = taps if stride is None else per_axis(op, "stride", stride, rank, 1)
        low = per_axis(op, "padding", padding, rank)
        size = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(space, stride, low, taps))
        if output_size is not None:
            wanted = tuple(output_size)[-rank:]
            if len(wanted) != rank or any(not n - s < o < n + s for o, n, s in zip(wanted, size, stride)):
                raise ShapeError(bad(op, f"output_size={tuple(output_size)}", f"less than the stride from {size}",
                                     "It is the size that was pooled."))
            size = wanted
        lead = input.shape[:-rank]
        rows, at = reshape(input, (prod(lead), prod(space))), reshape(indices, (prod(lead), prod(space)))
        blank = full((prod(lead), prod(size)), 0, input.dtype, input.device)
        return reshape(scatter(blank, 1, at, rows), (*lead, *size))

    return run


def _max_ref(rank: int) -> Any:
    def ref(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
            ceil_mode: bool = False) -> Any:
        w = windows_of("", input, rank, kernel_size, stride, padding, dilation, ceil_mode)
        return _pick_ref(input, _index_ref(input, w), w)

    return ref


def _avg_ref(rank: int) -> Any:
    def ref(input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
            count_include_pad: bool = True, divisor_override: Any = None) -> Any:
        w = windows_of("", input, rank, kernel_size, stride, padding, 1, ceil_mode)
        return _mean_ref(input, w, count_include_pad, divisor_override or 0)

    return ref


def _adaptive_max_ref(rank: int) -> Any:
    def ref(input: Any, output_size: Any) -> Any:
        w = _adaptive("", input, output_size, rank)
        return _pick_ref(input, _index_ref(input, w), w)

    return ref


def _lp_ref(rank: int) -> Any:
    def ref(input: Any, norm_type: Any, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
        w = windows_of("", input, rank, kernel_size, stride, 0, 1, ceil_mode)
        return _mean_ref(input ** norm_type, w, True, 1) ** (1 / norm_type)

    return ref


def _unpool_ref(input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    out = np.zeros((*input.shape[:-1], (input.shape[-1] - 1) * stride + kernel_size), input.dtype)
    np.put_along_axis(out, indices, input, -1)
    return out


_MAX_ARGS = "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False"
_AVG_ARGS = "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True"
_WHERE = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
_SAMPLES = {1: (2, 3, 7), 2: (2, 2, 5, 6), 3: (1, 2, 4, 3, 5)}


def _pooling(name: str, rank: int, args: str, run: Any, ref: Any, meaning: str, attrs: dict, **fields: Any) -> Any:
    return composite(f"{name}{rank}d", args, "pool", tensors=("input",), run=run, ref=ref, kinds="f", method=False,
                     cases=(Case((_SAMPLES[rank],), attrs),), doc=meaning.format(_WHERE[rank]), **fields)


max_pool1d, max_pool2d, max_pool3d = (_pooling(
    "max_pool", r, _MAX_ARGS, _max_pool(r), _max_ref(r), "Largest element of each window of {}; with return_indices "
    "also where it lies in its plane (int64).", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True})
    for r in (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = (_pooling(
    "avg_pool", r, _AVG_ARGS + ("" if r == 1 else ", divisor_override=None"), _avg_pool(r), _avg_ref(r),
    "Mean of each window of {}.", {"kernel_size": 2, "padding": 1, "count_include_pad": False}) for r in (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (_pooling(
    "adaptive_avg_pool", r, "input, output_size", _adaptive_avg(r),
    lambda input, output_size, r=r: _mean_ref(input, _adaptive("", input, output_size, r)),
    "Means of windows that cover {} evenly, ``output_size`` of them (None keeps a size).", {"output_size": 2})
    for r in (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_pooling(
    "adaptive_max_pool", r, "input, output_size, return_indices=False", _adaptive_max(r), _adaptive_max_ref(r),
    "Largest elements of windows that cover {} evenly, ``output_size`` of them.", {"output_size": 2})
    for r in (1, 2, 3))
lp_pool1d, lp_pool2d = (_pooling(
    "lp_pool", r, "input, norm_type, kernel_size, stride=None, ceil_mode=False", _lp_pool(r), _lp_ref(r),
    "(sum of x**norm_type)**(1 / norm_type) over each window of {}.", {"norm_type": 2, "kernel_size": 2})
    for r in (1, 2))
max_unpool1d, max_unpool2d, max_unpool3d = (composite(
    f"max_unpool{r}d", "input, indices, kernel_size, stride=None, padding=0, output_size=None", "pool",
    tensors=("input", "indices"), run=_unpool(r), ref=_unpool_ref, kinds="f", method=False,
    cases=(Case(((1, 2, 3), np.array([[[1, 2, 5], [0, 3, 4]]])), {"kernel_size": 2, "stride": 2}),) if r == 1 else (),
    doc=f"The inverse of max_pool{r}d as far as there is one: zeros, and values where ``indices`` say.")
    for r in (1, 2, 3))


# Columns ------------------------------------------------------------------------------------------------------------


def _unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    if input.ndim not in (3, 4):
        raise ShapeError(bad("unfold", f"input {input.shape}", "(N, C, H, W) or (C, H, W)", "Add or remove an axis."))
    taps, dilation, low, stride = _square("unfold", kernel_size, dilation, padding, stride)
    space = tuple(input.shape[-2:])
    w = _windows(space, _blocks("unfold", space, taps, stride, low, dilation), taps, stride, low, dilation)
    out = pool_columns(input, w)
    return reshape(out, (*input.shape[:-3], input.shape[-3] * prod(taps), prod(w.size)))


def _square(op: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple:
    return (per_axis(op, "kernel_size", kernel_size, 2, 1), per_axis(op, "dilation", dilation, 2, 1),
            per_axis(op, "padding", padding, 2), per_axis(op, "stride", stride, 2, 1))


def _blocks(op: str, space: tuple, taps: tuple, stride: tuple, low: tuple, dilation: tuple) -> tuple:
    size = tuple(pooled_size(*axis, False) for axis in zip(space, taps, stride, low, dilation))
    if min(size) < 1:
        raise ShapeError(bad(op, f"size {space} for kernel_size={taps}", f"a block, not {size} of them", "Pad more."))
    return size


def _folded(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
            stride: Any = 1) -> Any:
    taps, dilation, low, stride = _square("fold", kernel_size, dilation, padding, stride)
    space = per_axis("fold", "output_size", output_size, 2, 1)
    size = _blocks("fold", space, taps, stride, low, dilation)
    if input.ndim not in (2, 3) or input.shape[-2] % prod(taps) or input.shape[-1] != prod(size):
        raise ShapeError(bad("fold", f"input {input.shape}", f"(N, C * {prod(taps)}, {prod(size)})",
                             "The columns of an unfold with the same parameters."))
    w = _windows(space, size, taps, stride, low, dilation)
    return pool_fold(reshape(input, (*input.shape[:-2], input.shape[-2] // prod(taps), *taps, *size)), w)


def _unfold_ref(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    taps, dilation, low, stride = _square("", kernel_size, dilation, padding, stride)
    space = input.shape[-2:]
    w = _windows(space, _blocks("", space, taps, stride, low, dilation), taps, stride, low, dilation)
    return _columns_ref(input.reshape(-1, *space), w).reshape(*input.shape[:-3], -1, prod(w.size))


def _folded_ref(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
                stride: Any = 1) -> Any:
    taps, dilation, low, stride = _square("", kernel_size, dilation, padding, stride)
    size = _blocks("", output_size, taps, stride, low, dilation)
    w = _windows(tuple(output_size), size, taps, stride, low, dilation)
    return _fold_ref(input.reshape(-1, *taps, *size), w).reshape(*input.shape[:-2], -1, *output_size)


# PyTorch's Tensor.unfold is something else, so these two live in nn.functional alone.
unfold = composite("unfold_columns", "input, kernel_size, dilation=1, padding=0, stride=1", "pool", tensors=("input",),
                   run=_unfold, ref=_unfold_ref, kinds="f", method=False, public=False,
                   cases=(Case(((2, 2, 5, 6),), {"kernel_size": (2, 3), "stride": 2, "padding": 1}),),
                   doc="Sliding blocks of (N, C, H, W) as columns: (N, C * taps, blocks).")
fold = composite("fold_columns", "input, output_size, kernel_size, dilation=1, padding=0, stride=1", "pool",
                 tensors=("input",), run=_folded, ref=_folded_ref, kinds="f", method=False, public=False,
                 cases=(Case(((2, 12, 9),), {"output_size": (5, 6), "kernel_size": (2, 3), "stride": 2,
                                             "padding": 1}),),
                 doc="Columns (N, C * taps, blocks) added up where unfold takes them from: (N, C, H, W).")
