"""SGD, and ASGD, which averages its path."""

from __future__ import annotations

from typing import Any

from ..core.errors import bad
from ..families.optimize import Update
from .fused import DECAY, DECAYED, SIGN, Fused, Numbers

# Sutskever et al. 2013 in PyTorch's form, where the learning rate multiplies the momentum too. The first update has
# decay = 0 and mix = 1: the buffer begins as the gradient itself.
_SGD = Update(
    "sgd", scalars=(*DECAYED, "lr", "momentum", "decay", "mix", "nesterov"),
    states=(("momentum", "momentum_buffer"),),
    lines=(
        SIGN, DECAY,
        ("momentum", "momentum_buffer = decay * momentum_buffer + mix * g;"),
        ("momentum", "if (nesterov > 0) g += momentum * momentum_buffer; else g = momentum_buffer;"),
        ("", "p -= lr * g;"),
    ))

# Polyak and Juditsky 1992 in Bottou's form: eta is the step's rate, mu the weight of the newest point in the average.
_ASGD = Update(
    "asgd", scalars=(*DECAYED, "eta", "shrink", "mu"), states=(("", "ax"),),
    lines=(
        SIGN, DECAY,
        ("", "p = shrink * p - eta * g;"),
        ("", "ax = mu == 1 ? p : ax + mu * (p - ax);"),
    ))


class SGD(Fused):
    """p -= lr * g, with g the gradient, plus ``weight_decay * p``, smoothed by ``momentum``.

    The buffer is b = momentum * b + (1 - dampening) * g and replaces g, or with ``nesterov`` g + momentum * b does.
    ``maximize`` climbs. Defaults and trajectories are PyTorch's.
    """

    update = _SGD
    numbers = ()
    flags = ("momentum",)

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
                                  "differentiable": differentiable, "fused": fused})

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(bad(self._name, f"nesterov=True with momentum={group['momentum']} and "
                                 f"dampening={group['dampening']}", "momentum > 0 and dampening = 0",
                                 "Change one of them."))

    def begin(self, group: dict[str, Any]) -> Numbers:
        return ()

    def advance(self, group: dict[str, Any], numbers: Numbers, fresh: bool) -> tuple[Numbers, Numbers]:
        momentum = group["momentum"]
        decay, mix = (0.0, 1.0) if fresh else (momentum, 1.0 - group["dampening"])
        return (), (*self.decayed(group), group["lr"], momentum, decay, mix, float(group["nesterov"]))


class ASGD(Fused):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992): ``state[p]["ax"]`` is the path's average.

    p -= eta * (g + lambd * p), with eta = lr / (1 + lambd * lr * t) ** alpha from the second step on; the average
    begins after ``t0`` steps and follows p until then.
    """

    update = _ASGD
    numbers = ("step", "eta", "mu")

    def __init__(self, params: Any, lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
                 weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        super().__init__(params, {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
                                  "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
                                  "capturable": capturable})

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr", "weight_decay")

    def begin(self, group: dict[str, Any]) -> Numbers:
        return 0, group["lr"], 1.0

    def advance(self, group: dict[str, Any], numbers: Numbers, fresh: bool) -> tuple[Numbers, Numbers]:
        (count, eta, mu), lr, lambd = numbers, group["lr"], group["lambd"]
        step = count + 1
        after = step, lr / (1 + lambd * lr * step) ** group["alpha"], 1 / max(1, step - group["t0"])
        return after, (*self.decayed(group), eta, 1 - lambd * eta, mu)
