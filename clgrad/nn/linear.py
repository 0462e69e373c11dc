"""Linear, Identity, Flatten."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from .. import factories
from ..core.errors import bad
from ..families import random
from ..ops.activation import dropped_plus
from ..ops.matmul import linear_plus, linear_relu, linear_relu_dropped
from ..ops.shape import flatten
from . import functional as F
from . import init
from .dropout import Dropout
from .module import Module, Parameter


class Identity(Module):
    """Gives its input; takes and ignores any arguments, so that it can stand in for another layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """Joins the axes from ``start_dim`` to ``end_dim``: (N, ...) becomes (N, product) by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Any:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Linear(Module):
    """x @ weight.T + bias: (..., in_features) to (..., out_features).

    ``weight`` is (out_features, in_features), ``bias`` (out_features,); both begin uniform in
    +-1/sqrt(in_features), which is PyTorch's kaiming_uniform with a = sqrt(5).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(factories.empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(factories.empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.kaiming_uniform_(self.weight, a=sqrt(5))
        if self.bias is not None:
            bound = 1 / sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


_CALL = Module.__call__


def untouched(module: Any, kind: type) -> bool:
    """Whether a module does just what its class says: it is no subclass's, no hook sees it, its forward is its own, and
    nobody listens to the calls of modules, as who draws a graph of them does."""
    return (type(module) is kind and module._hooks is None and "forward" not in module.__dict__ and
            kind.__call__ is _CALL)


def then_relu(layer: Any, input: Any) -> Any:
    """relu(layer(input)), in one launch for a plain Linear."""
    return linear_relu(input, layer.weight, layer.bias) if untouched(layer, Linear) else F.relu(layer(input))


def then_relu_dropout(layer: Any, input: Any, last: Any) -> Any:
    """last(relu(layer(input))), where ``last`` is a Dropout: one node of the graph for a plain Linear."""
    if not (untouched(layer, Linear) and untouched(last, Dropout) and last.training and 0 < last.p < 1 and
            input.dtype is layer.weight.dtype):
        return last(then_relu(layer, input))
    n = prod(input.shape[:-1]) * layer.out_features
    return linear_relu_dropped(input, layer.weight, layer.bias, 1 - last.p, 1 / (1 - last.p), *random.draws(n))


def plus_dropout(residual: Any, input: Any, last: Any) -> Any:
    """residual + last(input), where ``last`` is a Dropout: in one launch for a plain one that draws."""
    if untouched(last, Dropout) and last.training and 0 < last.p < 1 and (
            residual.shape == input.shape and residual.dtype is input.dtype):
        return dropped_plus(input, residual, 1 - last.p, 1 / (1 - last.p), *random.draws(prod(input.shape)))
    return residual + last(input)


def then_plus(layer: Any, input: Any, residual: Any) -> Any:
    """residual + layer(input), in one launch for a plain Linear whose result has the residual's shape."""
    if untouched(layer, Linear) and residual.shape == (*input.shape[:-1], layer.out_features):
        return linear_plus(input, layer.weight, layer.bias, residual)
    return residual + layer(input)


class NonDynamicallyQuantizableLinear(Linear):
    """Linear under the name that PyTorch's MultiheadAttention prints for its last product."""


class Bilinear(Module):
    """x1 @ A @ x2 + bias: ``weight`` (out, in1, in2) and ``bias`` (out,), uniform in +-1/sqrt(in1_features)."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        if in1_features <= 0:
            raise ValueError(bad("Bilinear", f"in1_features={in1_features}", "a positive size", "Give one."))
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(factories.empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(factories.empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / sqrt(self.in1_features)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Any:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class CosineSimilarity(Module):
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along ``dim``."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Any, x2: Any) -> Any:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
