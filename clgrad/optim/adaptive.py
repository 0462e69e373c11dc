"""Adagrad, Adadelta and RMSprop: rates by element, from the gradients' squares."""

from __future__ import annotations

from typing import Any

from ..core.errors import bad
from ..families.optimize import Update
from .fused import DECAY, DECAYED, SIGN, Fused, Numbers

# Duchi et al. 2011, with diagonal matrices.
_ADAGRAD = Update(
    "adagrad", scalars=(*DECAYED, "rate", "eps"), states=(("", "sum"),),
    lines=(
        SIGN, DECAY,
        ("", "sum += g * g;"),
        ("", "p -= rate * g / (sqrt(sum) + eps);"),
    ))

# Zeiler 2012, Algorithm 1, with a learning rate.
_ADADELTA = Update(
    "adadelta", scalars=(*DECAYED, "lr", "rho", "rest", "eps"), states=(("", "square_avg"), ("", "acc_delta")),
    lines=(
        SIGN, DECAY,
        ("", "square_avg = rho * square_avg + rest * g * g;"),
        ("", "REAL delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g;"),
        ("", "acc_delta = rho * acc_delta + rest * delta * delta;"),
        ("", "p -= lr * delta;"),
    ))

# Tieleman and Hinton 2012, lecture 6.5; centred: Graves 2013, section 4.2, with eps outside of the root.
_RMSPROP = Update(
    "rmsprop", scalars=(*DECAYED, "lr", "alpha", "rest", "eps", "momentum"),
    states=(("", "square_avg"), ("momentum", "momentum_buffer"), ("centered", "grad_avg")),
    lines=(
        SIGN, DECAY,
        ("", "square_avg = alpha * square_avg + rest * g * g;"),
        ("centered", "grad_avg = alpha * grad_avg + rest * g;"),
        ("centered", "g /= sqrt(square_avg - grad_avg * grad_avg) + eps;"),
        ("-centered", "g /= sqrt(square_avg) + eps;"),
        ("momentum", "momentum_buffer = momentum * momentum_buffer + g;"),
        ("momentum", "p -= lr * momentum_buffer;"),
        ("-momentum", "p -= lr * g;"),
    ))


class Adagrad(Fused):
    """p -= rate * g / (sqrt(sum of g²) + eps), with rate = lr / (1 + (t - 1) * lr_decay) at step t.

    The sum begins as ``initial_accumulator_value``, and exists from the optimiser's construction on.
    """

    update = _ADAGRAD

    def __init__(self, params: Any, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, fused: bool | None = None) -> None:
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                                  "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
                                  "maximize": maximize, "differentiable": differentiable, "fused": fused})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        self._place(group["params"], group, self._options(group))
        for p in group["params"]:
            self._enter(p, group)

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def starts(self, group: dict[str, Any]) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        return *self.decayed(group), group["lr"] / (1 + (step - 1) * group["lr_decay"]), group["eps"]


class Adadelta(Fused):
    """p -= lr * d with d = g * sqrt(mean of d² + eps) / sqrt(mean of g² + eps); the means decay by ``rho``."""

    update = _ADADELTA

    def __init__(self, params: Any, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
                 foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False,
                 differentiable: bool = False) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay,
                                  "maximize": maximize, "capturable": capturable, "foreach": foreach,
                                  "differentiable": differentiable})

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr", "rho", "eps", "weight_decay")
        if group["rho"] > 1:
            raise ValueError(bad(self._name, f"rho={group['rho']}", "0 <= rho <= 1", "Change rho."))

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        return *self.decayed(group), group["lr"], group["rho"], 1 - group["rho"], group["eps"]


class RMSprop(Fused):
    """p -= lr * g / (sqrt(mean of g²) + eps); the mean decays by ``alpha``.

    ``centered`` takes the variance for the mean square; ``momentum`` sums the steps, the older ones decayed by it.
    """

    update = _RMSPROP
    flags = ("momentum", "centered")

    def __init__(self, params: Any, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
                 momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                                  "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
                                  "maximize": maximize, "differentiable": differentiable})

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr", "eps", "momentum", "weight_decay", "alpha")

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        return (*self.decayed(group), group["lr"], group["alpha"], 1 - group["alpha"], group["eps"],
                group["momentum"])
