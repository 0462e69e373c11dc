"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Any

from ..core.errors import bad
from ..families.optimize import Update
from .optimizer import Optimizer

# Sutskever et al. 2013 in PyTorch's form, where the learning rate multiplies the momentum too. The first update has
# decay = 0 and mix = 1: the buffer begins as the gradient itself.
UPDATE = Update(
    "sgd", scalars=("lr", "weight_decay", "momentum", "decay", "mix"),
    states=(("momentum", "momentum_buffer"),),
    lines=(
        ("maximize", "g = -g;"),
        ("weight_decay", "g += weight_decay * p;"),
        ("momentum", "momentum_buffer = decay * momentum_buffer + mix * g;"),
        ("momentum nesterov", "g += momentum * momentum_buffer;"),
        ("momentum -nesterov", "g = momentum_buffer;"),
        ("", "p -= lr * g;"),
    ))


class SGD(Optimizer):
    """p -= lr * g, with g the gradient, plus ``weight_decay * p``, smoothed by ``momentum``.

    The buffer is b = momentum * b + (1 - dampening) * g and replaces g, or with ``nesterov`` g + momentum * b does.
    ``maximize`` climbs. Defaults and trajectories are PyTorch's.
    """

    update = UPDATE
    counted = False

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        for key in ("lr", "momentum", "weight_decay"):
            self.require(group, key)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(bad(self.name, f"nesterov=True with momentum={group['momentum']} and "
                                 f"dampening={group['dampening']}", "momentum > 0 and dampening = 0",
                                 "Change one of them."))

    def options(self, group: dict[str, Any]) -> frozenset[str]:
        return frozenset(o for o in ("maximize", "weight_decay", "momentum", "nesterov") if group[o])

    def scalars(self, group: dict[str, Any], step: int) -> tuple[float, ...]:
        momentum = group["momentum"]
        decay, mix = (0.0, 1.0) if step == 1 else (momentum, 1.0 - group["dampening"])
        return group["lr"], group["weight_decay"], momentum, decay, mix
