"""Lion."""

from __future__ import annotations

from typing import Any

from ..families.optimize import Update
from .fused import SIGN, SIGNED, Fused, Numbers

# Chen et al. 2023, Algorithm 2: one rate mixes the direction, the other the momentum that is kept.
_LION = Update(
    "lion", scalars=(*SIGNED, "lr", "beta1", "rest1", "beta2", "rest2", "keep"), states=(("", "exp_avg"),),
    lines=(
        SIGN,
        ("", "p *= keep;"),
        ("", "REAL direction = beta1 * exp_avg + rest1 * g;"),
        ("", "p -= direction > 0 ? (REAL)(lr) : (direction < 0 ? (REAL)(-lr) : (REAL)(0));"),
        ("", "exp_avg = beta2 * exp_avg + rest2 * g;"),
    ))


class Lion(Fused):
    """p -= lr * sign(beta1 * m + (1 - beta1) * g), with m = beta2 * m + (1 - beta2) * g kept (Chen et al. 2023).

    ``weight_decay`` is decoupled: p shrinks by ``lr * weight_decay`` beside it. Signs make steps larger than Adam's:
    take a rate 3 to 10 times smaller, and a decay larger by as much.
    """

    update = _LION
    numbers = ()

    def __init__(self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0, *, maximize: bool = False, foreach: bool | None = None,
                 capturable: bool = False, differentiable: bool = False, fused: bool | None = None) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize,
                                  "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
                                  "fused": fused})

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr", "weight_decay")
        self.require(group, "betas", below=1.0)

    def begin(self, group: dict[str, Any]) -> Numbers:
        return ()

    def advance(self, group: dict[str, Any], numbers: Numbers, fresh: bool) -> tuple[Numbers, Numbers]:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        sign, decay = self.decayed(group)
        return (), (sign, lr, beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr * decay)
