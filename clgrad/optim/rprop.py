"""Rprop: steps by the gradient's sign."""

from __future__ import annotations

from typing import Any

from ..core.errors import bad
from ..families.optimize import Update
from .fused import SIGN, SIGNED, Fused, Numbers

# Riedmiller and Braun 1993, the form that forgets the gradient where its sign changed.
_RPROP = Update(
    "rprop", scalars=(*SIGNED, "smaller", "larger", "least", "most"), states=(("", "prev"), ("", "step_size")),
    lines=(
        SIGN,
        ("", "REAL turn = g * prev;"),
        ("", "step_size *= turn > 0 ? (REAL)(larger) : (turn < 0 ? (REAL)(smaller) : (REAL)(1));"),
        ("", "step_size = fmin(fmax(step_size, (REAL)(least)), (REAL)(most));"),
        ("", "g = turn < 0 ? (REAL)(0) : g;"),
        ("", "p -= g > 0 ? step_size : (g < 0 ? -step_size : (REAL)(0));"),
        ("", "prev = g;"),
    ))


class Rprop(Fused):
    """p -= sign(g) * s, where s grows by ``etas[1]`` while an element's gradient keeps its sign, shrinks by
    ``etas[0]`` when it turns (and p stays for a step), and lies between ``step_sizes``. It begins as ``lr``.

    For gradients of all data, not of batches, whose signs flicker.
    """

    update = _RPROP

    def __init__(self, params: Any, lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                 step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False) -> None:
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
                                  "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr")
        smaller, larger = group["etas"]
        if not 0.0 < smaller < 1.0 < larger:
            raise ValueError(bad(self._name, f"etas={group['etas']}", "0 < etas[0] < 1 < etas[1]", "Change etas."))

    def starts(self, group: dict[str, Any]) -> dict[str, float]:
        return {"step_size": group["lr"]}

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        return (-1.0 if group["maximize"] else 1.0, *group["etas"], *group["step_sizes"])
