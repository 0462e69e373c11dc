"""What layers compute, as functions: PyTorch's names and argument order. Inputs are Arrays or Variables.

Losses take ``reduction``: ``"mean"``, ``"sum"`` or ``"none"`` (a loss an element or sample).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import ShapeError, bad
from ..ops import elementwise as ops
from ..ops import pool
from ..ops.index import one_hot as one_hot
from ..ops.keywords import overwrite
from ..ops.manipulate import pad as pad
from ..ops.matmul import linear as _linear
from ..ops.matmul import matmul
from ..ops.methods import refuse_recorded
from ..ops.shape import flatten as flatten
from ..ops.shape import permute, reshape
from ..ops.softmax import log_softmax as _log_softmax
from ..ops.softmax import softmax as _softmax
from .functional_activation import alpha_dropout as alpha_dropout
from .functional_activation import celu as celu
from .functional_activation import check_probability as check_probability
from .functional_activation import dropout as dropout
from .functional_activation import dropout1d as dropout1d
from .functional_activation import dropout2d as dropout2d
from .functional_activation import dropout3d as dropout3d
from .functional_activation import elu as elu
from .functional_activation import feature_alpha_dropout as feature_alpha_dropout
from .functional_activation import glu as glu
from .functional_activation import gumbel_softmax as gumbel_softmax
from .functional_activation import hardshrink as hardshrink
from .functional_activation import hardsigmoid as hardsigmoid
from .functional_activation import hardswish as hardswish
from .functional_activation import hardtanh as hardtanh
from .functional_activation import leaky_relu as leaky_relu
from .functional_activation import logsigmoid as logsigmoid
from .functional_activation import mish as mish
from .functional_activation import prelu as prelu
from .functional_activation import relu6 as relu6
from .functional_activation import rrelu as rrelu
from .functional_activation import selu as selu
from .functional_activation import softmin as softmin
from .functional_activation import softshrink as softshrink
from .functional_activation import softsign as softsign
from .functional_activation import tanhshrink as tanhshrink
from .functional_activation import threshold as threshold
from .functional_attention import scaled_dot_product_attention as scaled_dot_product_attention
from .functional_loss import binary_cross_entropy as binary_cross_entropy
from .functional_loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from .functional_loss import cosine_embedding_loss as cosine_embedding_loss
from .functional_loss import cosine_similarity as cosine_similarity
from .functional_loss import cross_entropy as cross_entropy
from .functional_loss import gaussian_nll_loss as gaussian_nll_loss
from .functional_loss import hinge_embedding_loss as hinge_embedding_loss
from .functional_loss import huber_loss as huber_loss
from .functional_loss import kl_div as kl_div
from .functional_loss import l1_loss as l1_loss
from .functional_loss import margin_ranking_loss as margin_ranking_loss
from .functional_loss import mse_loss as mse_loss
from .functional_loss import multi_margin_loss as multi_margin_loss
from .functional_loss import multilabel_margin_loss as multilabel_margin_loss
from .functional_loss import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from .functional_loss import nll_loss as nll_loss
from .functional_loss import pairwise_distance as pairwise_distance
from .functional_loss import poisson_nll_loss as poisson_nll_loss
from .functional_loss import smooth_l1_loss as smooth_l1_loss
from .functional_loss import soft_margin_loss as soft_margin_loss
from .functional_loss import triplet_margin_loss as triplet_margin_loss
from .functional_loss import triplet_margin_with_distance_loss as triplet_margin_with_distance_loss
from .functional_norm import batch_norm as batch_norm
from .functional_norm import group_norm as group_norm
from .functional_norm import instance_norm as instance_norm
from .functional_norm import layer_norm as layer_norm
from .functional_norm import local_response_norm as local_response_norm
from .functional_norm import normalize as normalize
from .functional_norm import rms_norm as rms_norm
from .functional_space import *
from .functional_sparse import embedding as embedding
from .functional_sparse import embedding_bag as embedding_bag

gelu, sigmoid, tanh = ops.gelu, ops.sigmoid, ops.tanh


def silu(input: Any, inplace: bool = False) -> Any:
    """x * sigmoid(x), also called swish; the result is a new array, whatever ``inplace`` says."""
    return ops.silu(input)


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


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """input1 @ weight[o] @ input2 for each output o: (..., in1), (..., in2), weight (out, in1, in2), bias (out,)."""
    if weight.ndim != 3 or (input1.shape[-1], input2.shape[-1]) != weight.shape[1:] or (
            input1.shape[:-1] != input2.shape[:-1]):
        raise ShapeError(bad("bilinear", f"{input1.shape}, {input2.shape} and weight {weight.shape}",
                             "(..., in1), (..., in2) and (out, in1, in2)", "Check the last axes."))
    lead = input1.shape[:-1]
    rows = reshape(input1, (-1, 1, input1.shape[-1])) if input1.ndim != 1 else reshape(input1, (1, 1, -1))
    out, in1, in2 = weight.shape
    # (rows, out * in2): products with the first input; then with the second
    first = matmul(reshape(rows, (-1, in1)), reshape(permute(weight, (1, 0, 2)), (in1, out * in2)))
    result = matmul(reshape(first, (-1, out, in2)), reshape(input2, (-1, in2, 1)))
    result = reshape(result, (*lead, out))
    return result if bias is None else result + bias


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """x @ weight.T + bias: x (..., in), weight (out, in), bias (out,)."""
    return _linear(input, weight, bias)


def _writing(function: Callable) -> Callable:
    """The form of an activation that writes over its input, which the graph must not record."""
    name = function.__name__

    def write(input: Any, *args: Any, **named: Any) -> Any:
        refuse_recorded(name, input)
        return overwrite(name, input, function(input, *args, **named))

    write.__name__ = write.__qualname__ = f"{name}_"
    write.__doc__ = f"{function.__doc__} Writes over the input."
    return write


relu_, elu_, celu_, selu_ = map(_writing, (relu, elu, celu, selu))
leaky_relu_, hardtanh_, rrelu_, threshold_ = map(_writing, (leaky_relu, hardtanh, rrelu, threshold))


def _with_indices(function: Callable) -> Callable:
    def with_indices(*args: Any, **named: Any) -> tuple:
        return function(*args, **{**named, "return_indices": True})

    with_indices.__name__ = with_indices.__qualname__ = f"{function.__name__}_with_indices"
    with_indices.__doc__ = f"{function.__name__} with ``return_indices``: (values, indices)."
    return with_indices


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    _with_indices, (pool.max_pool1d, pool.max_pool2d, pool.max_pool3d))
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = map(
    _with_indices, (pool.adaptive_max_pool1d, pool.adaptive_max_pool2d, pool.adaptive_max_pool3d))
