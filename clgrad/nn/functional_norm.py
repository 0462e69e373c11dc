"""Normalisations as functions: PyTorch's names and argument order."""

from __future__ import annotations

from math import prod
from typing import Any

from ..autograd.mode import no_grad
from ..autograd.variable import unwrap
from ..core.dtypes import finfo
from ..core.errors import ShapeError, bad
from ..ops.distance import norm as vector_norm
from ..ops.elementwise import assign, astype, clamp, rsqrt
from ..ops.manipulate import pad
from ..ops.norm import norm_rows, normalized
from ..ops.reduce import mean, var
from ..ops.shape import reshape


def _channels(op: str, input: Any, *vectors: Any) -> None:
    """ShapeError unless input is (N, C, ...) and every vector (C,)."""
    if input.ndim < 2:
        raise ShapeError(bad(op, f"input of shape {input.shape}", "(N, C, ...)", "Axis 1 is the channels."))
    wrong = [v.shape for v in vectors if v is not None and v.shape != (input.shape[1],)]
    if wrong:
        raise ShapeError(bad(op, f"a vector of shape {wrong[0]} for input {input.shape}", f"({input.shape[1]},)",
                             "Statistics, weight and bias have one element a channel."))


def _several(op: str, count: int, shape: tuple[int, ...]) -> None:
    if count == 1:
        raise ShapeError(bad(op, f"one value a channel in training (input {shape})", "more than one value",
                             "Their deviation is zero: use a larger batch, or .eval()."))


def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel of (N, C, ...) (Ioffe and Szegedy 2015).

    In training by the batch's statistics, which are mixed into the running ones (with the unbiased variance) by
    ``momentum``; otherwise by the running ones.
    """
    return batch_norm_counted(input, running_mean, running_var, weight, bias, training, momentum, eps, None)


def batch_norm_counted(input: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool,
                       momentum: float | None, eps: float, count: Any) -> Any:
    """:func:`batch_norm`; with ``momentum`` None, running statistics are averages over ``count`` batches (an int64
    array, which the kernel reads)."""
    _channels("batch_norm", input, running_mean, running_var, weight, bias)
    if training:
        _several("batch_norm", input.shape[0] * prod(input.shape[2:]), input.shape)
        running = None
        if running_mean is not None and running_var is not None:
            state = [unwrap(running_mean), unwrap(running_var)]
            if state[0].dtype is not state[1].dtype or not all(a.is_contiguous() for a in state):
                raise ShapeError(bad("batch_norm", "running statistics that differ in dtype or are strided views",
                                     "contiguous arrays of one dtype", "Clone them."))
            running = (*state, momentum, unwrap(count))
        return norm_rows(input, weight, bias, "batch", 0, eps, False, running)[0]
    if running_mean is None or running_var is None:
        raise ShapeError(bad("batch_norm", "no running statistics outside training", "running_mean and running_var",
                             "Pass them, or training=True."))
    shape = (1, -1) + (1,) * (input.ndim - 2)

    def spread(a: Any, otherwise: float) -> Any:
        return otherwise if a is None else reshape(a, shape)

    rstd = rsqrt(running_var + eps)
    out = normalized(input, spread(running_mean, 0.0), spread(rstd, 1.0), spread(weight, 1.0), spread(bias, 0.0))
    return astype(out, input.dtype)


def instance_norm(input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
                  use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Any:
    """batch_norm of each sample by itself: (N, C, ...) (Ulyanov et al. 2016). Running statistics are averages over the
    samples of a batch."""
    _channels("instance_norm", input, running_mean, running_var, weight, bias)
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    _several("instance_norm", prod(input.shape[2:]), input.shape)
    if running_mean is not None and running_var is not None and input.shape[0]:
        with no_grad():
            axes = tuple(range(2, input.ndim))
            x = unwrap(input)
            for running, now in ((running_mean, mean(x, axes)), (running_var, var(x, axes))):
                running = unwrap(running)
                assign(running, running * (1 - momentum) + mean(now, 0) * momentum)
    return norm_rows(input, weight, bias, "group", input.shape[1], eps)[0]


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalises each sample's channels of (N, C, ...) in ``num_groups`` groups (Wu and He 2018)."""
    _channels("group_norm", input, weight, bias)
    if num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(bad("group_norm", f"{input.shape[1]} channels in {num_groups} groups",
                             "a number of groups that divides the channels", "Choose another."))
    return norm_rows(input, weight, bias, "group", num_groups, eps)[0]


def _normalized_shape(op: str, input: Any, shape: Any, *affine: Any) -> tuple[int, ...]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not shape or input.shape[max(input.ndim - len(shape), 0):] != shape:
        raise ShapeError(bad(op, f"input {input.shape} for normalized_shape {shape}", "an input that ends in it",
                             "It is the shape of the last axes."))
    wrong = [a.shape for a in affine if a is not None and a.shape != shape]
    if wrong:
        raise ShapeError(bad(op, f"weight or bias of shape {wrong[0]}", f"{shape}", "Give it normalized_shape."))
    return shape


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, those of ``normalized_shape`` (Ba et al. 2016).
    """
    shape = _normalized_shape("layer_norm", input, normalized_shape, weight, bias)
    return norm_rows(input, weight, bias, "layer", len(shape), eps)[0]


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """x / sqrt(mean(x * x) + eps) * weight over the last axes (Zhang and Sennrich 2019); without ``eps``, the
    dtype's machine epsilon."""
    shape = _normalized_shape("rms_norm", input, normalized_shape, weight)
    eps = finfo(input.dtype.accumulator).eps if eps is None else eps
    return norm_rows(input, weight, None, "layer", len(shape), eps, True)[0]


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """x / (k + alpha * mean of squares over ``size`` neighbouring channels)^beta, for (N, C, ...) (Krizhevsky et al.
    2012); channels beyond the ends count as zeros."""
    if input.ndim < 3:
        raise ShapeError(bad("local_response_norm", f"input of shape {input.shape}",
                             "(N, C, ...) of three axes or more", "Axis 1 is the channels."))
    squares = pad(input * input, (0, 0) * (input.ndim - 2) + (size // 2, (size - 1) // 2))
    total = squares[:, :input.shape[1]]
    for first in range(1, size):
        total = total + squares[:, first:first + input.shape[1]]
    return input / (total * (alpha / size) + k) ** beta


def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Any:
    """x / max(norm, eps), norms of order ``p`` over ``dim``."""
    return input / clamp(vector_norm(input, p, dim, True), min=eps)
