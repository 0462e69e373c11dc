"""Dropout."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .module import Module


class Dropout(Module):
    """In training, zeroes each element with probability ``p`` and scales the others by 1 / (1 - p); else nothing.

    Srivastava et al. 2014. The draws come from the device's default generator (``clgrad.manual_seed``). ``inplace`` is
    accepted and changes nothing: the result is a new array.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        F.check_probability(p)
        self.p = p
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
