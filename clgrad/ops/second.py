"""Derivatives of backward passes whose formula is long: by differentiating the formula written in public ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.engine import grad
from ..autograd.mode import enable_grad
from ..autograd.variable import Variable
from ..ndarray import Array


def through(formula: Callable, inputs: Sequence[Any], gs: Sequence[Any]) -> list:
    """Gradients of ``inputs`` (None for those that want none) from those of ``formula(*inputs)``, a tuple.

    Arrays stand for constants of the walk that asked (no higher order follows); Variables keep their place in the
    graph, so that a higher order can.
    """
    recorded = any(isinstance(x, Variable) for x in (*inputs, *gs))

    def leaf(x: Any) -> Any:
        if isinstance(x, Array) and x.dtype.kind == "f":
            return Variable(x, requires_grad=not recorded)
        return x

    leaves = [leaf(x) for x in inputs]
    with enable_grad():
        outs = formula(*leaves)
        pairs = [(o, g) for o, g in zip(outs, gs) if g is not None and isinstance(o, Variable) and o.requires_grad]
        wanted = [i for i, x in enumerate(leaves) if isinstance(x, Variable) and x.requires_grad]
        result: list = [None] * len(leaves)
        if pairs and wanted:
            found = grad([o for o, _ in pairs], [leaves[i] for i in wanted], [g for _, g in pairs],
                         create_graph=recorded, allow_unused=True)
            for i, g in zip(wanted, found):
                result[i] = g if recorded or g is None else g.data
    return result
