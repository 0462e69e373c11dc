"""Activations and dropouts as functions: PyTorch's names and argument order.

``inplace`` is accepted everywhere PyTorch has it: the result is a new array either way, as the graph may need the
input. Code that uses the result, as PyTorch's documentation asks, is the same.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ..autograd.mode import no_grad
from ..core.errors import ShapeError, bad
from ..core.shapes import axis_index
from ..factories import rand_like
from ..families import random
from ..ndarray import Array
from ..ops import activation as ops
from ..ops.elementwise import log, neg
from ..ops.index import one_hot
from ..ops.reduce import argmax
from ..ops.shape import permute, reshape
from ..ops.softmax import softmax as _softmax


def relu6(input: Any, inplace: bool = False) -> Any:
    """x limited to [0, 6]."""
    return ops.hardtanh(input, 0.0, 6.0)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where positive, else x * negative_slope."""
    return ops.leaky(input, float(negative_slope))


def prelu(input: Any, weight: Any) -> Any:
    """leaky_relu with learned slopes: one, or one a channel (axis 1)."""
    if weight.ndim > 1 or (weight.size if isinstance(weight, Array) else weight.numel()) not in (
            1, input.shape[1] if input.ndim > 1 else 1):
        raise ShapeError(bad("prelu", f"weight {weight.shape} for input {input.shape}", "one slope, or one a channel",
                             "Axis 1 of the input is its channels."))
    if input.ndim > 1:
        weight = reshape(weight, (1, -1) + (1,) * (input.ndim - 2))
    elif weight.ndim > input.ndim:
        weight = reshape(weight, ())
    return ops.leaky(input, weight)


def rrelu(input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Any:
    """leaky_relu with slopes drawn from [lower, upper) in training, their mean otherwise (Xu et al. 2015)."""
    if lower > upper:
        raise ValueError(bad("rrelu", f"lower={lower}, upper={upper}", "lower <= upper", "Exchange them."))
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    with no_grad():
        slopes = rand_like(input) * (upper - lower) + lower
    return ops.leaky(input, slopes.data if isinstance(input, Array) else slopes)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where positive, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""
    return ops.exponential(input, float(alpha), 1.0, 1.0)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""
    if not alpha:
        raise ZeroDivisionError(bad("celu", "alpha=0", "another number", "x is divided by it."))
    return ops.exponential(input, float(alpha), 1.0, 1 / alpha)


def selu(input: Any, inplace: bool = False) -> Any:
    """The elu that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return ops.exponential(input, 1.6732632423543772, 1.0507009873554805, 1.0)


def mish(input: Any, inplace: bool = False) -> Any:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return ops.mish(input)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError(bad("hardtanh", f"min_val={min_val}, max_val={max_val}", "min_val <= max_val",
                             "Exchange them."))
    return ops.hardtanh(input, float(min_val), float(max_val))


def hardswish(input: Any, inplace: bool = False) -> Any:
    """x * hardsigmoid(x) (Howard et al. 2019)."""
    return ops.hardswish(input)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """x / 6 + 1/2, limited to [0, 1]."""
    return ops.hardsigmoid(input)


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """0 where |x| <= lambd, else x."""
    return ops.hardshrink(input, float(lambd))


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x drawn to zero by lambd, and 0 within it."""
    if lambd < 0:
        raise ValueError(bad("softshrink", f"lambd={lambd}", "0 or more", "It is a width."))
    return ops.softshrink(input, float(lambd))


def tanhshrink(input: Any) -> Any:
    """x - tanh(x)."""
    return ops.tanhshrink(input)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where it is above ``threshold``, else ``value``."""
    return ops.threshold(input, float(threshold), float(value))


def softsign(input: Any) -> Any:
    """x / (1 + |x|)."""
    return ops.softsign(input)


def logsigmoid(input: Any) -> Any:
    """log(sigmoid(x)), without overflow."""
    return ops.logsigmoid(input)


def glu(input: Any, dim: int = -1) -> Any:
    """The first half along ``dim`` times the sigmoid of the second (Dauphin et al. 2017)."""
    return ops.glu(input, dim)


def softmin(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """softmax(-x) along ``dim``."""
    if dim is None:
        raise TypeError(bad("softmin", "dim=None", "an int", "Name the axis of the classes, as dim=-1."))
    return _softmax(neg(input if dtype is None else input.astype(dtype)), dim)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """softmax of (logits + Gumbel noise) / tau; with ``hard`` one-hot, with the soft one's gradient (Jang et al. 2017).
    ``eps`` is PyTorch's, and unused there too."""
    with no_grad():
        noise = -log(-log(1 - rand_like(logits)))  # of (0, 1]; the double logarithm of 1 is infinite, of 0 never drawn
    soft = _softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    axis = axis_index("gumbel_softmax", dim, logits.ndim)
    with no_grad():
        chosen = one_hot(argmax(soft, axis), logits.shape[axis]).astype(logits.dtype)
        order = [*range(axis), logits.ndim - 1, *range(axis, logits.ndim - 1)]
        chosen = permute(chosen, order)
    return chosen - soft.detach() + soft


# Dropout -------------------------------------------------------------------------------------------------------------


def check_probability(p: float) -> None:
    """ValueError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ValueError(bad("dropout", f"p={p}", "0 <= p <= 1", "p is the probability of a zero."))


def _kept(shape: tuple[int, ...], p: float, input: Any) -> Any:
    return random.bernoulli(shape, 1 - p, input.device, None)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero each element with probability ``p`` and scale the others by 1 / (1 - p); the input itself without
    ``training``. The result is a new array, whatever ``inplace`` says."""
    return _dropped(input, input.shape, p, training)


def _dropped(input: Any, shape: tuple[int, ...], p: float, training: bool) -> Any:
    check_probability(p)
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0
    if shape == input.shape and input.dtype.kind == "f":
        return ops.dropped(input, 1 - p, 1 / (1 - p), *random.draws(prod(shape)))
    return input * _kept(shape, p, input) * (1 / (1 - p))


def _channel_shape(op: str, input: Any, batched: tuple[int, ...], single: tuple[int, ...]) -> tuple[int, ...]:
    """A factor a channel: axis 1, or axis 0 of an input without the axis of samples."""
    if input.ndim in batched:
        return (*input.shape[:2], *(1,) * (input.ndim - 2))
    if input.ndim in single:
        return (input.shape[0], *(1,) * (input.ndim - 1))
    raise ShapeError(bad(op, f"a {input.ndim}-dimensional input", f"{sorted((*batched, *single))} dimensions",
                         "Channels are axis 1, or axis 0 of one sample."))


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, L) or (C, L) with probability ``p``."""
    return _dropped(input, _channel_shape("dropout1d", input, (3,), (2,)), p, training)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, H, W) with probability ``p``; three axes are (N, C, L), as in PyTorch."""
    return _dropped(input, _channel_shape("dropout2d", input, (2, 3, 4), ()), p, training)


def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W) with probability ``p``."""
    return _dropped(input, _channel_shape("dropout3d", input, (5,), (4,)), p, training)


def _alpha(input: Any, shape: tuple[int, ...], p: float, training: bool) -> Any:
    """selu's lowest value in place of zero, scaled and shifted so that mean and variance stay (Klambauer et al. 2017).
    """
    check_probability(p)
    if not training or p == 0:
        return input
    low = -1.6732632423543772 * 1.0507009873554805
    if p == 1:
        return input * 0.0
    scale = ((1 - p) * (1 + p * low * low)) ** -0.5
    kept = _kept(shape, p, input).astype(input.dtype)
    return input * (kept * scale) + ((1 - kept) * (low * scale) - scale * low * p)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps the mean and variance of selu's outputs."""
    return _alpha(input, input.shape, p, training)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """alpha_dropout of whole channels (axis 1)."""
    return _alpha(input, _channel_shape("feature_alpha_dropout", input, (2, 3, 4, 5), ()), p, training)
