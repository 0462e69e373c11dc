"""Activation layers."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .module import Module


class _MaybeInplace(Module):
    """``inplace`` is PyTorch's; the result is a new array either way, as the graph may need the input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_MaybeInplace):
    """max(x, 0), elementwise. ``inplace`` is accepted and changes nothing: the result is a new array."""

    def forward(self, input: Any) -> Any:
        return F.relu(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), elementwise."""

    def forward(self, input: Any) -> Any:
        return F.sigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent, elementwise."""

    def forward(self, input: Any) -> Any:
        return F.tanh(input)


class SiLU(_MaybeInplace):
    """x * sigmoid(x), elementwise. ``inplace`` is accepted and changes nothing: the result is a new array."""

    def forward(self, input: Any) -> Any:
        return F.silu(input)


class GELU(Module):
    """x * P(N <= x), N standard normal; ``approximate="tanh"`` for the formula of Hendrycks and Gimpel 2016."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Any:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, elementwise; x itself where beta * x exceeds ``threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Any) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _Along(Module):
    """A function along one axis."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Along):
    """exp(x) / sum(exp(x)) along ``dim``, which must be given."""

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim)


class LogSoftmax(_Along):
    """log(softmax(x)) along ``dim``, which must be given."""

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim)
