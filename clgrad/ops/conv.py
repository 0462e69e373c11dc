"""Convolutions over one to three axes of space. Three records carry them, each the derivative of the others:
``convolution``, ``convolution_input`` (also the transposed convolution) and ``convolution_weight``.

They take (N, C, spatial) and (O, C / groups, taps) with parameters in full: strides and dilations an axis, margins as
pairs (before, after) an axis. The public functions complete PyTorch's short forms.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..families.conv import Forward, Geometry, InputGradient, WeightGradient, convolve, repeated, zeros
from ..families.matmul import matmul as product
from ..ndarray import Array, same_device
from ..table import Case
from .declare import composite, driver
from .elementwise import add
from .reduce import sum
from .shape import getitem, squeeze, unsqueeze

Pairs = tuple[tuple[int, int], ...]


def _geometry(stride: tuple, padding: Pairs, dilation: tuple, groups: int) -> Geometry:
    """Parameters over three axes; those that are missing come first."""
    lead = 3 - len(stride)
    return Geometry((1,) * lead + stride, (0,) * lead + tuple(a for a, _ in padding), (1,) * lead + dilation, groups)


def _operands(op: str, *arrays: Array | None) -> list:
    """The arrays in their common float dtype, on one device."""
    given = [a for a in arrays if a is not None]
    same_device(op, given)
    check_kind(op, "f", *(a.dtype for a in given))
    dtype = dtypes.result_type(*(a.dtype for a in given))
    return [a if a is None or a.dtype is dtype else a.astype(dtype) for a in arrays]


def _biased(out: Array, bias: Array | None) -> Array:
    if bias is not None and out.size:
        add.op.run(out, bias.reshape((-1,) + (1,) * (out.ndim - 2)), out=out)
    return out


def output_size(n: int, taps: int, stride: int, margins: int, dilation: int) -> int:
    """Results along an axis of n elements and ``margins`` in all."""
    return (n + margins - dilation * (taps - 1) - 1) // stride + 1


def _convolution(x: Array, weight: Array, bias: Array | None, stride: tuple, padding: Pairs, dilation: tuple,
                 groups: int) -> Array:
    parameters = stride, padding, dilation, groups
    out = repeated("convolution", x, weight, bias, parameters)
    if out is not None:
        return out
    x, weight, bias = _operands("convolution", x, weight, bias)
    size = tuple(output_size(n, k, s, a + b, d) for n, k, s, (a, b), d in zip(
        x.shape[2:], weight.shape[2:], stride, padding, dilation))
    shape = (x.shape[0], weight.shape[0], *size)
    if not x.size or not weight.size or 0 in shape:
        return _biased(zeros(shape, x.dtype, x.device), bias)
    if _is_product(x, weight, stride, padding, groups):
        rows = x.reshape((*x.shape[:2], -1))
        return _biased(product(weight.reshape(weight.shape[:2]), rows).reshape(shape), bias)
    how = Forward(_geometry(*parameters), (1,) * (3 - len(size)) + size)
    return convolve("convolution", x, weight, bias, parameters, shape, how)


def _is_product(x: Array, weight: Array, stride: tuple, padding: Pairs, groups: int) -> bool:
    """Whether one tap that touches each point once makes it a product of matrices that is large enough for one."""
    return (prod(weight.shape[2:]) == 1 and groups == 1 and set(stride) == {1} and not any(map(any, padding))
            and prod(x.shape[2:]) >= 64 and weight.shape[0] >= 4)


def _convolution_input(g: Array, weight: Array, bias: Array | None, size: tuple, stride: tuple, padding: Pairs,
                       dilation: tuple, groups: int) -> Array:
    parameters = stride, padding, dilation, groups, tuple(size)
    out = repeated("convolution_input", g, weight, bias, parameters)
    if out is not None:
        return out
    g, weight, bias = _operands("convolution_input", g, weight, bias)
    shape = (g.shape[0], weight.shape[1] * groups, *size)
    if not g.size or not weight.size or 0 in shape:
        return _biased(zeros(shape, g.dtype, g.device), bias)
    if _is_product(g, weight, stride, padding, groups):
        rows = g.reshape((*g.shape[:2], -1))
        return _biased(product(weight.reshape(weight.shape[:2]).T, rows).reshape(shape), bias)
    how = InputGradient(_geometry(*parameters[:4]), (1,) * (3 - len(size)) + tuple(size))
    return convolve("convolution_input", g, weight, bias, parameters, shape, how)


def _convolution_weight(g: Array, x: Array, size: tuple, stride: tuple, padding: Pairs, dilation: tuple,
                        groups: int) -> Array:
    parameters = stride, padding, dilation, groups, tuple(size)
    out = repeated("convolution_weight", x, g, None, parameters)
    if out is not None:
        return out
    g, x = _operands("convolution_weight", g, x)
    shape = (g.shape[1], x.shape[1] // groups, *size)
    if not g.size or not x.size or 0 in shape:
        return zeros(shape, g.dtype, g.device)
    how = WeightGradient(_geometry(*parameters[:4]), (1,) * (3 - len(size)) + tuple(size))
    return convolve("convolution_weight", x, g, None, parameters, shape, how)


def _channel_sum(g: Any) -> Any:
    """The gradient of a bias: summed over all axes but that of the channels."""
    return sum(g, (0, *range(2, g.ndim)))


def _first(out: Any, shape: tuple[int, ...]) -> Any:
    """The results of ``shape``: an output padding of a stride or more lets a convolution see results beyond."""
    return out if out.shape == shape else getitem(out, tuple(slice(n) for n in shape))


# References: the definitions, written with NumPy's strided windows over an input spread and padded by hand.


def _windows(x: Any, taps: tuple, stride: tuple, padding: Pairs, dilation: tuple) -> Any:
    """(N, C, results, taps): the inputs each result sees."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    reach = tuple(d * (k - 1) + 1 for k, d in zip(taps, dilation))
    views = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, x.ndim)))
    results = tuple(slice(None, None, s) for s in stride)
    return views[(slice(None), slice(None), *results, *(slice(None, None, d) for d in dilation))]


def _grouped(f: Any, groups: int, *split: tuple[Any, int]) -> list:
    """f of each group's share of arrays that are split along an axis."""
    return [f(*parts) for parts in zip(*(np.split(a, groups, axis) for a, axis in split))]


def _convolution_ref(x: Any, weight: Any, bias: Any = None, stride: Any = None, padding: Any = None,
                     dilation: Any = None, groups: int = 1) -> Any:
    rank = x.ndim - 2
    views = _windows(x, weight.shape[2:], stride, padding, dilation)
    axes = tuple(range(2 + rank, 2 + 2 * rank))
    out = np.concatenate(_grouped(lambda v, w: np.moveaxis(np.tensordot(v, w, ((1, *axes), (1, *range(2, 2 + rank)))),
                                                           -1, 1), groups, (views, 1), (weight, 0)), 1)
    return out if bias is None else out + bias.reshape((-1,) + (1,) * rank)


def _weight_ref(g: Any, x: Any, size: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    rank = x.ndim - 2
    views = _windows(x, size, stride, padding, dilation)[(slice(None), slice(None), *(slice(n) for n in g.shape[2:]))]
    axes = (0, *range(2, 2 + rank))
    return np.concatenate(_grouped(lambda a, v: np.tensordot(a, v, (axes, axes)), groups, (g, 1), (views, 1)), 0)


def _input_ref(g: Any, weight: Any, bias: Any = None, size: Any = None, stride: Any = None, padding: Any = None,
               dilation: Any = None, groups: int = 1) -> Any:
    """Each result's gradient, added where its taps lie."""
    outs, C = weight.shape[0] // groups, weight.shape[1]
    whole = np.zeros((g.shape[0], C * groups, *(n + a + b for n, (a, b) in zip(size, padding))), g.dtype)
    for tap in np.ndindex(weight.shape[2:]):
        region = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(
            tap, dilation, g.shape[2:], stride))
        for k in range(groups):
            mine = slice(k * outs, (k + 1) * outs)
            part = np.tensordot(weight[(mine, slice(None), *tap)], g[:, mine], ((0,), (1,)))
            whole[(slice(None), slice(k * C, (k + 1) * C), *region)] += np.moveaxis(part, 0, 1)
    out = whole[(slice(None), slice(None), *(slice(a, a + n) for n, (a, _) in zip(size, padding)))]
    return out if bias is None else out + bias.reshape((-1,) + (1,) * (g.ndim - 2))


def _parameters(stride: tuple, padding: Pairs, dilation: tuple, groups: int) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


_A = _parameters((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
_B = _parameters((2, 3), ((2, 1), (0, 2)), (1, 2), 2)
_C = _parameters((2,), ((1, 1),), (3,), 4)
_D = _parameters((1, 2, 1), ((0, 0), (1, 1), (1, 0)), (1, 1, 2), 1)

convolution = driver(
    "convolution", "x, weight, bias=None, stride=None, padding=None, dilation=None, groups=1", "conv",
    tensors=("x", "weight", "bias"), run=_convolution, ref=_convolution_ref, kinds="f", public=False, method=False,
    grad=[lambda g, weight, x_shape, stride, padding, dilation, groups: convolution_input(
              g, weight, None, x_shape[2:], stride, padding, dilation, groups),
          lambda g, x, weight_shape, stride, padding, dilation, groups: convolution_weight(
              g, x, weight_shape[2:], stride, padding, dilation, groups),
          lambda g: _channel_sum(g)],
    cases=(Case(((2, 3, 5, 6), (4, 3, 3, 3), (4,)), _A), Case(((2, 4, 7, 8), (6, 2, 3, 2)), _B),
           Case(((2, 4, 13), (4, 1, 3), (4,)), _C), Case(((1, 2, 3, 5, 4), (3, 2, 2, 3, 2)), _D)),
    doc="Cross-correlation of (N, C, spatial) with (O, C / groups, taps), plus a bias; every parameter in full.")
convolution_input = driver(
    "convolution_input", "g_out, weight, bias=None, size=None, stride=None, padding=None, dilation=None, groups=1",
    "conv", tensors=("g_out", "weight", "bias"), run=_convolution_input, ref=_input_ref, kinds="f", public=False,
    method=False,
    grad=[lambda g, weight, g_out_shape, stride, padding, dilation, groups: _first(convolution(
              g, weight, None, stride, padding, dilation, groups), g_out_shape),
          lambda g, g_out, weight_shape, stride, padding, dilation, groups: convolution_weight(
              g_out, g, weight_shape[2:], stride, padding, dilation, groups),
          lambda g: _channel_sum(g)],
    cases=(Case(((2, 4, 5, 6), (4, 3, 3, 3), (3,)), {"size": (5, 6), **_A}),
           Case(((2, 6, 4, 3), (6, 2, 3, 2)), {"size": (7, 8), **_B}),
           Case(((2, 4, 5), (4, 1, 3), (4,)), {"size": (13,), **_C}),
           Case(((1, 3, 2, 3, 3), (3, 2, 2, 3, 2)), {"size": (3, 5, 4), **_D})),
    doc="Gradient of convolution in its input of ``size`` in space; plus a bias it is the transposed convolution.")
convolution_weight = driver(
    "convolution_weight", "g_out, x, size, stride, padding, dilation, groups", "conv", tensors=("g_out", "x"),
    run=_convolution_weight, ref=_weight_ref, kinds="f", public=False, method=False,
    grad=[lambda g, x, g_out_shape, stride, padding, dilation, groups: _first(convolution(
              x, g, None, stride, padding, dilation, groups), g_out_shape),
          lambda g, g_out, x_shape, stride, padding, dilation, groups: convolution_input(
              g_out, g, None, x_shape[2:], stride, padding, dilation, groups)],
    cases=(Case(((2, 4, 5, 6), (2, 3, 5, 6)), {"size": (3, 3), **_A}),
           Case(((2, 6, 4, 3), (2, 4, 7, 8)), {"size": (3, 2), **_B}),
           Case(((2, 4, 5), (2, 4, 13)), {"size": (3,), **_C}),
           Case(((1, 3, 2, 3, 3), (1, 2, 3, 5, 4)), {"size": (2, 3, 2), **_D})),
    doc="Gradient of convolution in its weight of ``size`` taps, summed over the batch in one fixed order.")


# What users call ----------------------------------------------------------------------------------------------------


def per_axis(op: str, name: str, value: Any, rank: int, least: int = 0) -> tuple[int, ...]:
    """A parameter as an int an axis: one for all, or one each."""
    try:
        given = tuple(map(operator.index, value)) if isinstance(value, Iterable) else (operator.index(value),) * rank
    except TypeError:
        raise TypeError(bad(op, f"{name}={value!r}", f"an int or {rank} ints", "Pass whole numbers.")) from None
    if len(given) == 1:
        given *= rank
    if len(given) != rank:
        raise ShapeError(bad(op, f"{name}={value!r}", f"an int or {rank} ints", "Give one number an axis of space."))
    if min(given, default=least) < least:
        raise ValueError(bad(op, f"{name}={value!r}", f"{least} or more", "Give a larger number."))
    return given


def same_margins(taps: tuple, dilation: tuple) -> Pairs:
    """Margins that keep the size; of an odd number the larger part comes after."""
    totals = [d * (k - 1) for k, d in zip(taps, dilation)]
    return tuple((t // 2, t - t // 2) for t in totals)


def _margins(op: str, padding: Any, taps: tuple, stride: tuple, dilation: tuple) -> Pairs:
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(bad(op, f"padding={padding!r}", "'same', 'valid' or numbers", "Pass one of these."))
        if padding == "valid":
            return ((0, 0),) * len(taps)
        if set(stride) != {1}:
            raise ValueError(bad(op, f"padding='same' with stride={stride}", "a stride of 1",
                                 "Give the margins as numbers."))
        return same_margins(taps, dilation)
    return tuple((p, p) for p in per_axis(op, "padding", padding, len(taps)))


def _check(op: str, input: tuple, weight: tuple, bias: tuple | None, groups: int, rank: int, transposed: bool) -> None:
    """ShapeError where the operands' shapes do not fit."""
    if len(input) not in (rank + 1, rank + 2):
        raise ShapeError(bad(op, f"input {input}", f"{rank + 2} dimensions (N, C, ...) or {rank + 1} (C, ...)",
                             "Add or remove an axis."))
    if len(weight) != rank + 2:
        raise ShapeError(bad(op, f"weight {weight}", f"{rank + 2} dimensions", "It is (O, C / groups, taps)."))
    groups = operator.index(groups)
    if groups < 1 or weight[0] % groups:
        raise ValueError(bad(op, f"groups={groups} for weight {weight}", "a divisor of its first size",
                             "Channels are split evenly into groups."))
    channels = input[-rank - 1]
    inputs, outputs = (weight[0], weight[1] * groups) if transposed else (weight[1] * groups, weight[0])
    if channels != inputs:
        raise ShapeError(bad(op, f"input {input} with {channels} channels for weight {weight} and groups={groups}",
                             f"{inputs} channels", "Channels must match."))
    if 0 in weight[2:]:
        raise ShapeError(bad(op, f"weight {weight}", "one tap or more an axis", "Give the kernel a size."))
    if bias not in (None, (outputs,)):
        raise ShapeError(bad(op, f"bias {bias} for weight {weight}", f"({outputs},)",
                             "Give one bias a channel of the result."))


def hashable(value: Any) -> Any:
    """A parameter as a cache can hold it."""
    return tuple(value) if isinstance(value, list) else value


@lru_cache(4096, typed=True)  # typed: a stride of 1.0 is an error though 1 is none
def _completed(op: str, rank: int, input: tuple, weight: tuple, bias: tuple | None, stride: Any, padding: Any,
               dilation: Any, groups: int) -> tuple:
    """A convolution's parameters in full, checked: stride, margins, dilation, groups."""
    _check(op, input, weight, bias, groups, rank, False)
    stride, dilation = per_axis(op, "stride", stride, rank, 1), per_axis(op, "dilation", dilation, rank, 1)
    margins = _margins(op, padding, weight[2:], stride, dilation)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(weight[2:], dilation))
    if any(n + a + b < r for n, (a, b), r in zip(input[-rank:], margins, reach)):
        raise ShapeError(bad(op, f"input {input} with padding {padding!r}", f"at least the kernel's reach, {reach}",
                             "Pad more, or use a smaller kernel or dilation."))
    return stride, margins, dilation, groups


def _conv(rank: int, name: str) -> Any:
    def run(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
            groups: int = 1) -> Any:
        full = _completed(name, rank, input.shape, weight.shape, None if bias is None else bias.shape,
                          hashable(stride), hashable(padding), hashable(dilation), groups)
        if input.ndim == rank + 2:
            return convolution(input, weight, bias, *full)
        return squeeze(convolution(unsqueeze(input, 0), weight, bias, *full), 0)

    return run


def _transposed(rank: int, name: str) -> Any:
    def run(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
            groups: int = 1, dilation: Any = 1) -> Any:
        _check(name, input.shape, weight.shape, None if bias is None else bias.shape, groups, rank, True)
        single = input.ndim == rank + 1
        stride = per_axis(name, "stride", stride, rank, 1)
        dilation = per_axis(name, "dilation", dilation, rank, 1)
        padding = per_axis(name, "padding", padding, rank)
        extra = per_axis(name, "output_padding", output_padding, rank)
        for e, s, d in zip(extra, stride, dilation):
            if e >= max(s, d):
                raise ValueError(bad(name, f"output_padding={output_padding}", f"less than the stride {stride} or the "
                                     f"dilation {dilation}", "It chooses among sizes that one input size can mean."))
        size = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 + e for n, s, p, d, k, e in zip(
            input.shape[-rank:], stride, padding, dilation, weight.shape[2:], extra))
        if min(size) < 1:
            raise ShapeError(bad(name, f"input {input.shape} with padding {padding}", f"a result, not one of {size}",
                                 "Pad less."))
        x = unsqueeze(input, 0) if single else input
        out = convolution_input(x, weight, bias, size, stride, tuple((p, p) for p in padding), dilation, groups)
        return squeeze(out, 0) if single else out

    return run


def _full_ref(rank: int) -> Any:
    """The reference of a short form: its parameters completed, then the definition."""
    def ref(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
            groups: int = 1) -> Any:
        stride, dilation = (per_axis("", "", v, rank) for v in (stride, dilation))
        margins = _margins("", padding, weight.shape[2:], stride, dilation)
        single = input.ndim == rank + 1
        out = _convolution_ref(input[None] if single else input, weight, bias, stride, margins, dilation, groups)
        return out[0] if single else out

    return ref


def _transposed_ref(rank: int) -> Any:
    def ref(input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
            groups: int = 1, dilation: Any = 1) -> Any:
        stride, padding, extra, dilation = (per_axis("", "", v, rank) for v in (
            stride, padding, output_padding, dilation))
        single = input.ndim == rank + 1
        x = input[None] if single else input
        size = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 + e for n, s, p, d, k, e in zip(
            x.shape[2:], stride, padding, dilation, weight.shape[2:], extra))
        out = _input_ref(x, weight, bias, size, stride, tuple((p, p) for p in padding), dilation, groups)
        return out[0] if single else out

    return ref


_CONV_ARGS = "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1"
_TRANSPOSED_ARGS = "input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1"
_SPACE = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
_CONV_CASES = {
    1: (Case(((2, 3, 9), (4, 3, 3), (4,)), {"padding": "same"}), Case(((4, 9), (4, 2, 2)), {"stride": 2, "groups": 2})),
    2: (Case(((2, 3, 6, 5), (4, 3, 3, 2), (4,)), {"padding": (1, 0), "stride": (2, 1)}),
        Case(((0, 3, 6, 5), (4, 3, 3, 2), (4,))), Case(((1, 3, 9, 8), (5, 3, 1, 1), (5,)))),
    3: (Case(((1, 2, 4, 3, 5), (2, 2, 2, 2, 2), (2,)), {"padding": 1, "dilation": (1, 2, 1)}),),
}
_TRANSPOSED_CASES = {
    1: (Case(((2, 3, 5), (3, 4, 3), (4,)), {"stride": 2, "output_padding": 1}),),
    2: (Case(((2, 4, 3, 4), (4, 2, 3, 2), (4,)),
             {"stride": (2, 3), "padding": 1, "output_padding": (1, 0), "groups": 2}),
        Case(((3, 4, 3), (3, 2, 2, 2)), {"dilation": 2, "output_padding": 1})),
    3: (Case(((1, 2, 2, 3, 2), (2, 2, 2, 2, 2), (2,)), {"stride": 2}),),
}


def _declare(rank: int, transposed: bool) -> Any:
    name = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    run = (_transposed if transposed else _conv)(rank, name)
    where = "(C, O / groups, taps)" if transposed else "(O, C / groups, taps)"
    meaning = (f"Transposed convolution of {_SPACE[rank]} with {where}: the gradient of a convolution in its input."
               if transposed else
               f"Convolution (the kernel is not flipped) of {_SPACE[rank]} with {where}; padding also 'same', 'valid'.")
    if rank == 2:  # families/winograd.py
        meaning += " CPU devices take 3x3 taps at step one by blocks of 4x4 results: a NaN or infinity fills its block."
    return composite(name, _TRANSPOSED_ARGS if transposed else _CONV_ARGS, "conv", tensors=("input", "weight", "bias"),
                     run=run, ref=_transposed_ref(rank) if transposed else _full_ref(rank), kinds="f",
                     method=False, cases=(_TRANSPOSED_CASES if transposed else _CONV_CASES)[rank], doc=meaning)


conv1d, conv2d, conv3d = (_declare(rank, False) for rank in (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = (_declare(rank, True) for rank in (1, 2, 3))
