"""Dropout, of elements and of whole channels."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .module import Module


class _Dropout(Module):
    """Passes its input, ``p`` and whether it trains to ``function``. ``inplace`` is accepted and changes nothing."""

    function: Any

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        F.check_probability(p)
        self.p = p
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return type(self).function(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, zeroes each element with probability ``p`` and scales the others by 1 / (1 - p); else nothing.

    Srivastava et al. 2014. The draws come from the device's default generator (``clgrad.manual_seed``).
    """

    function = F.dropout


class Dropout1d(_Dropout):
    """Zeroes whole channels of (N, C, L) or (C, L) in training, and scales the others by 1 / (1 - p)."""

    function = F.dropout1d


class Dropout2d(_Dropout):
    """Zeroes whole channels of (N, C, H, W) in training, and scales the others by 1 / (1 - p)."""

    function = F.dropout2d


class Dropout3d(_Dropout):
    """Zeroes whole channels of (N, C, D, H, W) or (C, D, H, W) in training, and scales the others by 1 / (1 - p)."""

    function = F.dropout3d


class AlphaDropout(_Dropout):
    """In training, dropout that keeps the mean and variance of selu's outputs."""

    function = F.alpha_dropout


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels (axis 1)."""

    function = F.feature_alpha_dropout
