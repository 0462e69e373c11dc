"""Adam and AdamW."""

from __future__ import annotations

from math import sqrt
from typing import Any

from ..families.optimize import Update
from .optimizer import Optimizer

# Kingma and Ba 2015, Algorithm 1; decoupled decay: Loshchilov and Hutter 2019; amsgrad: Reddi et al. 2018. The bias
# corrections come from the host: step_size = lr / (1 - beta1^t), scale = 1 / sqrt(1 - beta2^t); keep = 1 - lr * decay.
UPDATE = Update(
    "adam", scalars=("step_size", "beta1", "rest1", "beta2", "rest2", "eps", "scale", "weight_decay", "keep"),
    states=(("", "exp_avg"), ("", "exp_avg_sq"), ("amsgrad", "max_exp_avg_sq")),
    lines=(
        ("maximize", "g = -g;"),
        ("weight_decay -decoupled_weight_decay", "g += weight_decay * p;"),
        ("weight_decay decoupled_weight_decay", "p *= keep;"),
        ("", "exp_avg = beta1 * exp_avg + rest1 * g;"),
        ("", "exp_avg_sq = beta2 * exp_avg_sq + rest2 * g * g;"),
        ("amsgrad", "max_exp_avg_sq = (exp_avg_sq > max_exp_avg_sq || exp_avg_sq != exp_avg_sq) "
                    "? exp_avg_sq : max_exp_avg_sq;"),
        ("amsgrad", "p -= step_size * exp_avg / (sqrt(max_exp_avg_sq) * scale + eps);"),
        ("-amsgrad", "p -= step_size * exp_avg / (sqrt(exp_avg_sq) * scale + eps);"),
    ))


class Adam(Optimizer):
    """p -= lr * m / (sqrt(v) + eps), with m and v the bias-corrected means of the gradient and of its square.

    ``betas`` are the means' decay rates. ``weight_decay`` adds ``weight_decay * p`` to the gradient, or, with
    ``decoupled_weight_decay``, shrinks p by ``lr * weight_decay`` beside it. ``amsgrad`` divides by the largest mean
    square so far; ``maximize`` climbs. Defaults and trajectories are PyTorch's.
    """

    update = UPDATE

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
                 decoupled_weight_decay: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad, "maximize": maximize,
                                  "decoupled_weight_decay": decoupled_weight_decay})

    def check(self, group: dict[str, Any]) -> None:
        for key in ("lr", "eps", "weight_decay"):
            self.require(group, key)
        self.require(group, "betas", below=1.0)

    def options(self, group: dict[str, Any]) -> frozenset[str]:
        return frozenset(o for o in ("maximize", "weight_decay", "amsgrad", "decoupled_weight_decay") if group[o])

    def scalars(self, group: dict[str, Any], step: int) -> tuple[float, ...]:
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        return (lr / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, group["eps"], 1 / sqrt(1 - beta2**step),
                decay, 1 - lr * decay)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): p shrinks by ``lr * weight_decay`` a step."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
