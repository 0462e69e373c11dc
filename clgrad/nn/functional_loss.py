"""Losses as functions: PyTorch's names and argument order. Inputs are Arrays or Variables.

``reduction`` is ``"mean"``, ``"sum"`` or ``"none"`` (a loss an element or sample); PyTorch's older ``size_average`` and
``reduce`` take its place where one of them is given.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import log as log_of
from math import pi
from typing import Any

from ..core import dtypes
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array
from ..ops import elementwise as ops
from ..ops.activation import logsigmoid
from ..ops.distance import norm
from ..ops.index import one_hot, take, take_along
from ..ops.loss import bce, bce_logits, huber
from ..ops.reduce import any as some
from ..ops.reduce import sum as total
from ..ops.scan import cumprod
from ..ops.shape import reshape, squeeze, unsqueeze
from ..ops.softmax import cross_entropy_rows, per_counted
from ..ops.softmax import log_softmax as _log_softmax


def legacy(size_average: Any, reduce: Any, reduction: str) -> str:
    """``reduction``, or what PyTorch's older arguments say it is."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _constant(x: Any) -> Any:
    """Outside the graph, as PyTorch takes targets that are chosen by."""
    return x.detach() if hasattr(x, "detach") else x


def _weighted(op: str, loss: Any, weight: Any, reduction: str) -> Any:
    """A loss of values with a weight for each; the mean is over the weights' sum."""
    if weight is None:
        return _reduce(op, loss, reduction)
    if weight.shape != loss.shape:
        raise ShapeError(bad(op, f"weight of shape {weight.shape}", f"{loss.shape}", "Give each element a weight."))
    _check_reduction(op, reduction)
    loss = loss * weight
    return loss if reduction == "none" else total(loss) if reduction == "sum" else total(loss) / total(weight)


def mse_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
             weight: Any = None) -> Any:
    """(input - target)^2; with ``weight``, a weight for each, and the mean is over these."""
    _check_sizes("mse_loss", input, target)
    return _weighted("mse_loss", ops.square(input - target), weight, legacy(size_average, reduce, reduction))


def l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
            weight: Any = None) -> Any:
    """|input - target|; with ``weight``, a weight for each, and the mean is over these."""
    _check_sizes("l1_loss", input, target)
    return _weighted("l1_loss", ops.abs(input - target), weight, legacy(size_average, reduce, reduction))


def smooth_l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
                   beta: float = 1.0) -> Any:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target (Girshick 2015)."""
    if beta < 0:
        raise ValueError(bad("smooth_l1_loss", f"beta={beta}", "0 or more", "It is a width."))
    _check_sizes("smooth_l1_loss", input, target)
    d = input - target
    loss = huber(d, float(beta)) * (1 / beta) if beta else ops.abs(d)
    return _reduce("smooth_l1_loss", loss, legacy(size_average, reduce, reduction))


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """d^2 / 2 where |d| < delta, else delta * (|d| - delta / 2), for d = input - target (Huber 1964).

    With ``weight`` each is scaled; unlike mse_loss, the mean is over elements, as in PyTorch."""
    if delta <= 0:
        raise ValueError(bad("huber_loss", f"delta={delta}", "a positive number", "It is a width."))
    _check_sizes("huber_loss", input, target)
    loss = huber(input - target, float(delta))
    if weight is not None:
        if weight.shape != loss.shape:
            raise ShapeError(bad("huber_loss", f"weight of shape {weight.shape}", f"{loss.shape}",
                                 "Give each element a weight."))
        loss = loss * weight
    return _reduce("huber_loss", loss, reduction)


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


def nll_loss(input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
             reduce: Any = None, reduction: str = "mean") -> Any:
    """-weight[target] * input[target] from log-probabilities (N, C), (N, C, d1, ...) or (C,).

    ``target`` holds class indices: (N,), (N, d1, ...) or (). ``weight`` is (C,). The mean is over the weights of the
    targets; those equal to ``ignore_index`` count for nothing.
    """
    reduction = legacy(size_average, reduce, reduction)
    axis = _check_classes("nll_loss", input, target, weight, reduction)
    _check_indices("nll_loss", input, target, axis)
    loss, counted = _chosen(input, target, weight, ignore_index, axis)
    return _finish(loss, counted, reduction)


def cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
                  reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0) -> Any:
    """nll_loss of log_softmax: from scores (N, C), (N, C, d1, ...) or (C,).

    ``target`` holds class indices, without the axis of classes, or probabilities of input's shape and a float dtype.
    ``label_smoothing`` mixes that part of the uniform distribution into the target (Szegedy et al. 2016).
    """
    reduction = legacy(size_average, reduce, reduction)
    axis = _check_classes("cross_entropy", input, target, weight, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(bad("cross_entropy", f"label_smoothing={label_smoothing}", "0 <= label_smoothing <= 1",
                             "It is the part of the target that is spread evenly."))
    if input.ndim == 2 and weight is None and not label_smoothing and target.dtype.kind in "iu":
        _check_indices("cross_entropy", input, target, axis)
        loss = cross_entropy_rows(input, target, ignore_index)
        if reduction != "mean":
            return _reduce("cross_entropy", loss, reduction)
        return per_counted(loss, target, ignore_index)
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


# Probabilities -------------------------------------------------------------------------------------------------------


def _same_shape(op: str, input: Any, target: Any) -> None:
    if input.shape != target.shape:
        raise ShapeError(bad(op, f"target of shape {target.shape}", f"input's {input.shape}", "Reshape one."))


def _scaled(op: str, loss: Any, weight: Any, reduction: str) -> Any:
    """A loss times weights that broadcast; the mean is over elements."""
    return _reduce(op, loss if weight is None else loss * weight, reduction)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None, reduce: Any = None,
                         reduction: str = "mean") -> Any:
    """-(target * log(input) + (1 - target) * log(1 - input)) of probabilities; logarithms are at least -100."""
    _same_shape("binary_cross_entropy", input, target)
    return _scaled("binary_cross_entropy", bce(input, target), weight, legacy(size_average, reduce, reduction))


def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                                     reduce: Any = None, reduction: str = "mean", pos_weight: Any = None) -> Any:
    """binary_cross_entropy of sigmoid(input), without overflow; ``pos_weight`` scales the positive part."""
    op = "binary_cross_entropy_with_logits"
    _same_shape(op, input, target)
    if pos_weight is None:
        loss = bce_logits(input, target)
    else:
        loss = (1 - target) * input + ((pos_weight - 1) * target + 1) * ops.softplus(-input)
    return _scaled(op, loss, weight, legacy(size_average, reduce, reduction))


def kl_div(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
           log_target: bool = False) -> Any:
    """target * (log(target) - input), input log-probabilities; with ``log_target`` the target is too.

    ``reduction="batchmean"`` is the sum over the first axis' length: the divergence itself.
    """
    reduction = legacy(size_average, reduce, reduction)
    if log_target:
        loss = ops.exp(target) * (target - input)
    else:
        positive = ops.gt(_constant(target), 0)
        loss = ops.where(positive, target * (ops.log(ops.where(positive, target, 1.0)) - input), -target * input)
    if reduction == "batchmean":
        return total(loss) / input.shape[0] if input.ndim else loss
    return _reduce("kl_div", loss, reduction)


def gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Any:
    """(log(var) + (input - target)^2 / var) / 2, var at least ``eps`` (Nix and Weigend 1994); ``full`` adds the
    constant. ``var`` is a number, or has input's shape, with the last axis missing or 1 where it is shared."""
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError(bad("gaussian_nll_loss", f"var={var}", "0 or more", "It is a variance."))
        var = input.detach() * 0 + var if hasattr(input, "detach") else input * 0 + var
    elif var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = unsqueeze(var, -1)
        elif var.ndim != input.ndim or sum(a != b for a, b in zip(var.shape, input.shape)) != 1 or 1 not in (
                a for a, b in zip(var.shape, input.shape) if a != b):
            raise ShapeError(bad("gaussian_nll_loss", f"var of shape {var.shape} for input {input.shape}",
                                 f"{input.shape}, or without its last axis", "Give each value a variance."))
    fixed = _constant(var)
    var = var + (ops.clamp(fixed, min=eps) - fixed)  # limited in value, yet the gradient goes through
    loss = (ops.log(var) + ops.square(input - target) / var) * 0.5
    return _reduce("gaussian_nll_loss", loss + 0.5 * log_of(2 * pi) if full else loss, reduction)


def poisson_nll_loss(input: Any, target: Any, log_input: bool = True, full: bool = False, size_average: Any = None,
                     eps: float = 1e-8, reduce: Any = None, reduction: str = "mean") -> Any:
    """exp(input) - target * input, or of a rate itself (not ``log_input``) input - target * log(input + eps); ``full``
    adds Stirling's approximation of log(target!)."""
    loss = ops.exp(input) - target * input if log_input else input - target * ops.log(input + eps)
    if full:
        large = ops.gt(_constant(target), 1)
        t = ops.where(large, target, 1.0)
        loss = loss + ops.where(large, t * ops.log(t) - t + ops.log(t * (2 * pi)) * 0.5, 0.0)
    return _reduce("poisson_nll_loss", loss, legacy(size_average, reduce, reduction))


# Distances and margins -----------------------------------------------------------------------------------------------


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of x1 - x2 + eps along the last axis."""
    return norm(x1 - x2 + eps, p, -1, keepdim)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along ``dim``; the arrays broadcast."""
    lengths = [ops.clamp(norm(x, 2, dim, True), min=eps) for x in (x1, x2)]
    return total((x1 / lengths[0]) * (x2 / lengths[1]), dim)


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None,
                          reduce: Any = None, reduction: str = "mean") -> Any:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1, for rows (N, D), or (D,) and a 0-d target."""
    if target.ndim not in (0, 1) or input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1:
        raise ShapeError(bad("cosine_embedding_loss", f"{input1.shape}, {input2.shape} and target {target.shape}",
                             "(N, D), (N, D) and (N,), or (D,), (D,) and ()", "Reshape them."))
    squares = [total(ops.square(x), -1) + 1e-12 for x in (input1, input2)]
    cos = total(input1 * input2, -1) / ops.sqrt(squares[0] * squares[1])
    loss = ops.where(ops.eq(target, 1), 1 - cos, 0.0) + ops.where(ops.eq(target, -1), ops.relu(cos - margin), 0.0)
    return _reduce("cosine_embedding_loss", loss, legacy(size_average, reduce, reduction))


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None,
                        reduce: Any = None, reduction: str = "mean") -> Any:
    """max(0, -target * (input1 - input2) + margin), target 1 where input1 should be larger, else -1."""
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(bad("margin_ranking_loss", f"{input1.shape}, {input2.shape} and target {target.shape}",
                             "as many dimensions each", "Reshape them."))
    loss = ops.relu(-target * (input1 - input2) + margin)
    return _reduce("margin_ranking_loss", loss, legacy(size_average, reduce, reduction))


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, size_average: Any = None, reduce: Any = None,
                         reduction: str = "mean") -> Any:
    """input where the target is 1, max(0, margin - input) where it is -1."""
    loss = ops.where(ops.ne(target, 1), ops.relu(margin - input), 0.0) + ops.where(ops.ne(target, -1), input, 0.0)
    return _reduce("hinge_embedding_loss", loss, legacy(size_average, reduce, reduction))


def soft_margin_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                     reduction: str = "mean") -> Any:
    """log(1 + exp(-target * input)), target 1 or -1."""
    _same_shape("soft_margin_loss", input, target)
    return _reduce("soft_margin_loss", ops.softplus(-target * input), legacy(size_average, reduce, reduction))


def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, size_average: Any = None, reduce: Any = None,
                        reduction: str = "mean") -> Any:
    """max(0, |anchor - positive| - |anchor - negative| + margin); ``swap`` takes the negative's distance from the
    positive where that is smaller (Balntas et al. 2016)."""
    def distance(a: Any, b: Any) -> Any:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=legacy(size_average, reduce, reduction))


def triplet_margin_with_distance_loss(anchor: Any, positive: Any, negative: Any, *,
                                      distance_function: Callable | None = None, margin: float = 1.0,
                                      swap: bool = False, reduction: str = "mean") -> Any:
    """:func:`triplet_margin_loss` with a distance of one's own."""
    if margin <= 0:
        raise ValueError(bad("triplet_margin_loss", f"margin={margin}", "a positive number", "It is a distance."))
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(bad("triplet_margin_loss", f"{anchor.shape}, {positive.shape} and {negative.shape}",
                             "as many dimensions each", "Reshape them."))
    distance = pairwise_distance if distance_function is None else distance_function
    far = distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    return _reduce("triplet_margin_loss", ops.relu(distance(anchor, positive) - far + margin), reduction)


def multi_margin_loss(input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
                      size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> Any:
    """sum over j other than the target of weight * max(0, margin - input[target] + input[j])^p, over the number of
    classes: (N, C) and (N,), or (C,) and ()."""
    if p not in (1, 2):
        raise ValueError(bad("multi_margin_loss", f"p={p}", "1 or 2", "Pass one of these."))
    rows = input if input.ndim == 2 else unsqueeze(input, 0)
    labels = reshape(_constant(target), (-1,))
    if rows.ndim != 2 or labels.shape != rows.shape[:1]:
        raise ShapeError(bad("multi_margin_loss", f"input {input.shape} and target {target.shape}",
                             "(N, C) and (N,), or (C,) and ()", "Targets are class indices."))
    own = take_along(rows, unsqueeze(labels, 1), 1)
    loss = ops.relu(rows - own + margin)
    loss = ops.square(loss) if p == 2 else loss
    if weight is not None:
        loss = loss * unsqueeze(take(weight, labels, 0), 1)
    others = ops.eq(one_hot(labels, rows.shape[1]), 0)
    loss = total(ops.where(others, loss, 0.0), 1) / rows.shape[1]
    return _reduce("multi_margin_loss", loss if input.ndim == 2 else squeeze(loss, 0),
                   legacy(size_average, reduce, reduction))


def multilabel_margin_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                           reduction: str = "mean") -> Any:
    """sum over targets y and classes i that are none of max(0, 1 - input[y] + input[i]), over the number of classes.

    A row of targets holds class indices and ends at the first -1. (N, C) or (C,) both. Takes memory for N x C x C.
    """
    _same_shape("multilabel_margin_loss", input, target)
    rows = input if input.ndim == 2 else reshape(input, (1, -1))
    labels = reshape(_constant(target), rows.shape)
    valid = cumprod(ops.astype(ops.ge(labels, 0), dtypes.int64), 1)
    at = labels * valid
    classes = rows.shape[1]
    chosen = some(one_hot(at, classes) * unsqueeze(valid, 2), 1)
    loss = ops.relu(1 - unsqueeze(take_along(rows, at, 1), 2) + unsqueeze(rows, 1))
    counted = ops.gt(unsqueeze(valid, 2), 0) & ops.logical_not(unsqueeze(chosen, 1))
    loss = total(ops.where(counted, loss, 0.0), (1, 2)) / classes
    return _reduce("multilabel_margin_loss", loss if input.ndim == 2 else squeeze(loss, 0),
                   legacy(size_average, reduce, reduction))


def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                                reduce: Any = None, reduction: str = "mean") -> Any:
    """binary_cross_entropy_with_logits, its mean over the classes (the last axis) first."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    return _reduce("multilabel_soft_margin_loss", loss.mean(-1), legacy(size_average, reduce, reduction))
