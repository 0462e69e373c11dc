"""What layers compute, as functions: PyTorch's names and argument order. Inputs are Arrays or Variables.

Losses take ``reduction``: ``"mean"``, ``"sum"`` or ``"none"`` (a loss an element or sample).
"""

from __future__ import annotations

import warnings
from typing import Any

from ..core import dtypes
from ..core.errors import DTypeError, ShapeError, bad
from ..families import random
from ..ndarray import Array
from ..ops import elementwise as ops
from ..ops.index import take, take_along
from ..ops.manipulate import pad as pad
from ..ops.matmul import linear as _linear
from ..ops.reduce import sum as total
from ..ops.shape import flatten as flatten
from ..ops.shape import reshape, squeeze, unsqueeze
from ..ops.softmax import cross_entropy_rows
from ..ops.softmax import log_softmax as _log_softmax
from ..ops.softmax import softmax as _softmax
from .functional_space import *
from .functional_attention import scaled_dot_product_attention as scaled_dot_product_attention
from .functional_norm import batch_norm as batch_norm
from .functional_norm import group_norm as group_norm
from .functional_norm import instance_norm as instance_norm
from .functional_norm import layer_norm as layer_norm
from .functional_norm import local_response_norm as local_response_norm
from .functional_norm import normalize as normalize
from .functional_norm import rms_norm as rms_norm

gelu, sigmoid, silu, tanh = ops.gelu, ops.sigmoid, ops.silu, ops.tanh


def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0); the result is a new array, whatever ``inplace`` says."""
    return ops.relu(input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x exceeds ``threshold``.

    From a threshold of 20 on the formula itself is used everywhere: it neither overflows nor differs there.
    """
    smooth = ops.softplus(input) if beta == 1 else ops.softplus(input * beta) / beta
    return smooth if threshold >= 20 else ops.where(ops.gt(input * beta, threshold), input, smooth)


def softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along ``dim``, converted to ``dtype`` first where one is given."""
    return _softmax(_converted(input, dtype), _axis("softmax", dim))


def log_softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """log(softmax(x)) along ``dim``, converted to ``dtype`` first where one is given."""
    return _log_softmax(_converted(input, dtype), _axis("log_softmax", dim))


def _axis(op: str, dim: int | None) -> int:
    if dim is None:
        raise TypeError(bad(op, "dim=None", "an int", "Name the axis of the classes, as dim=-1."))
    return dim


def _converted(input: Any, dtype: Any) -> Any:
    return input if dtype is None else ops.astype(input, dtype)


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """x @ weight.T + bias: x (..., in), weight (out, in), bias (out,)."""
    return _linear(input, weight, bias)


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero each element with probability ``p`` and scale the others by 1 / (1 - p); the input itself without
    ``training``. The result is a new array, whatever ``inplace`` says."""
    check_probability(p)
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0
    return input * random.bernoulli(input.shape, 1 - p, input.device, None) * (1 / (1 - p))


def check_probability(p: float) -> None:
    """ValueError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ValueError(bad("dropout", f"p={p}", "0 <= p <= 1", "p is the probability of a zero."))


# Losses ------------------------------------------------------------------------------------------------------------


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """(input - target)^2."""
    _check_sizes("mse_loss", input, target)
    return _reduce("mse_loss", ops.square(input - target), reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """|input - target|."""
    _check_sizes("l1_loss", input, target)
    return _reduce("l1_loss", ops.abs(input - target), reduction)


def _check_sizes(op: str, input: Any, target: Any) -> None:
    if input.shape != target.shape:
        warnings.warn(bad(op, f"target of shape {target.shape}", f"input's {input.shape}",
                          "They are broadcast, which is rarely meant: reshape one."), stacklevel=4)


def _reduce(op: str, loss: Any, reduction: str) -> Any:
    _check_reduction(op, reduction)
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def _check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(bad(op, f"reduction={reduction!r}", "'none', 'mean' or 'sum'", "Pass one of these."))


def nll_loss(input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """-weight[target] * input[target] from log-probabilities (N, C), (N, C, d1, ...) or (C,).

    ``target`` holds class indices: (N,), (N, d1, ...) or (). ``weight`` is (C,). The mean is over the weights of the
    targets; those equal to ``ignore_index`` count for nothing.
    """
    axis = _check_classes("nll_loss", input, target, weight, reduction)
    _check_indices("nll_loss", input, target, axis)
    loss, counted = _chosen(input, target, weight, ignore_index, axis)
    return _finish(loss, counted, reduction)


def cross_entropy(input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Any:
    """nll_loss of log_softmax: from scores (N, C), (N, C, d1, ...) or (C,).

    ``target`` holds class indices, without the axis of classes, or probabilities of input's shape and a float dtype.
    ``label_smoothing`` mixes that part of the uniform distribution into the target (Szegedy et al. 2016).
    """
    axis = _check_classes("cross_entropy", input, target, weight, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(bad("cross_entropy", f"label_smoothing={label_smoothing}", "0 <= label_smoothing <= 1",
                             "It is the part of the target that is spread evenly."))
    if input.ndim == 2 and weight is None and not label_smoothing and target.dtype.kind in "iu":
        _check_indices("cross_entropy", input, target, axis)
        loss = cross_entropy_rows(input, target, ignore_index)
        if reduction != "mean":
            return _reduce("cross_entropy", loss, reduction)
        return total(loss) / total(ops.ne(target, ignore_index), dtype=loss.dtype)
    log_p = _log_softmax(input, axis)
    if target.dtype.kind == "f":
        if ignore_index >= 0:
            raise DTypeError(bad("cross_entropy", f"ignore_index={ignore_index} with probabilities",
                                 "class indices as the target", "Leave ignore_index out, or pass indices."))
        return _soft_target_loss(log_p, target, weight, reduction, label_smoothing, axis)
    _check_indices("cross_entropy", input, target, axis)
    loss, counted = _chosen(log_p, target, weight, ignore_index, axis)
    if label_smoothing:
        even = total(log_p if weight is None else log_p * _along(weight, log_p, axis), axis)
        even = ops.where(ops.ne(target, ignore_index), even, 0.0)
        loss = loss * (1 - label_smoothing) - even * (label_smoothing / input.shape[axis])
    return _finish(loss, counted, reduction)


def _soft_target_loss(log_p: Any, target: Any, weight: Any, reduction: str, smoothing: float, axis: int) -> Any:
    """-sum(target * weight * log_p) over the classes; the mean is over samples."""
    if target.shape != log_p.shape:
        raise ShapeError(bad("cross_entropy", f"probabilities of shape {target.shape}", f"input's {log_p.shape}",
                             "Class indices must have an integer dtype."))
    if smoothing:
        target = target * (1 - smoothing) + smoothing / log_p.shape[axis]
    product = log_p * target
    loss = -total(product if weight is None else product * _along(weight, log_p, axis), axis)
    return _reduce("cross_entropy", loss, reduction)


def _check_classes(op: str, input: Any, target: Any, weight: Any, reduction: str) -> int:
    """The axis of the classes."""
    _check_reduction(op, reduction)
    if input.ndim == 0:
        raise ShapeError(bad(op, "a 0-d input", "(C,), (N, C) or (N, C, d1, ...)", "Give it an axis of classes."))
    axis = 0 if input.ndim == 1 else 1
    if weight is not None and weight.shape != (input.shape[axis],):
        raise ShapeError(bad(op, f"weight of shape {weight.shape}", f"({input.shape[axis]},), one a class",
                             "Give each class a weight."))
    return axis


def _check_indices(op: str, input: Any, target: Any, axis: int) -> None:
    if target.dtype.kind not in "iu":
        raise DTypeError(bad(op, f"target of {target.dtype}", "an integer dtype", "Convert it with .to(int64)."))
    expected = tuple(n for a, n in enumerate(input.shape) if a != axis)
    if target.shape != expected:
        raise ShapeError(bad(op, f"target of shape {target.shape} for input {input.shape}", f"{expected}",
                             "Targets are class indices, one a sample."))


def _chosen(log_p: Any, target: Any, weight: Any, ignore_index: int, axis: int) -> tuple[Any, Any]:
    """Loss of each sample, and what it counts for in the mean: its weight, or 0 where ignored."""
    target = target.detach() if not isinstance(target, Array) else target
    counted = ops.ne(target, ignore_index)
    # Read as unsigned, a negative class is out of range and reported, where an index would count from the end.
    index = ops.astype(ops.where(counted, target, 0), dtypes.uint64)
    loss = -squeeze(take_along(log_p, unsqueeze(index, axis), axis), axis)
    if weight is not None:
        weights = reshape(take(weight, reshape(index, (-1,)), 0), target.shape)
        loss, counted = loss * weights, ops.where(counted, weights, 0.0)
    else:
        counted = ops.astype(counted, log_p.dtype)
    return ops.where(ops.ne(target, ignore_index), loss, 0.0), counted


def _along(weight: Any, like: Any, axis: int) -> Any:
    """Class weights with axes to broadcast against ``like``."""
    return reshape(weight, tuple(-1 if a == axis else 1 for a in range(like.ndim)))


def _finish(loss: Any, counted: Any, reduction: str) -> Any:
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / counted.sum()
