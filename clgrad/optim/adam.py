"""Adam and its relatives: AdamW, Adamax, NAdam, RAdam."""

from __future__ import annotations

from math import sqrt
from typing import Any

from ..families.optimize import Update
from .fused import DECAY, DECAYED, SIGN, Fused, Numbers

_GRADIENT = (
    SIGN, DECAY,
    ("", "p *= keep;"),
    ("", "exp_avg = beta1 * exp_avg + rest1 * g;"),
)
_SQUARE = ("", "exp_avg_sq = beta2 * exp_avg_sq + rest2 * g * g;")
_BETAS = (*DECAYED, "keep", "beta1", "rest1", "beta2", "rest2", "eps")

# Kingma and Ba 2015, Algorithm 1; decoupled decay: Loshchilov and Hutter 2019; amsgrad: Reddi et al. 2018. The bias
# corrections come from the host: step_size = lr / (1 - beta1^t), scale = 1 / sqrt(1 - beta2^t); decay is
# in weight_decay or, decoupled, in keep = 1 - lr * decay.
_ADAM = Update(
    "adam", scalars=(*_BETAS, "step_size", "scale"),
    states=(("", "exp_avg"), ("", "exp_avg_sq"), ("amsgrad", "max_exp_avg_sq")),
    lines=(
        *_GRADIENT, _SQUARE,
        ("amsgrad", "max_exp_avg_sq = (exp_avg_sq > max_exp_avg_sq || exp_avg_sq != exp_avg_sq) "
                    "? exp_avg_sq : max_exp_avg_sq;"),
        ("amsgrad", "p -= step_size * exp_avg / (sqrt(max_exp_avg_sq) * scale + eps);"),
        ("-amsgrad", "p -= step_size * exp_avg / (sqrt(exp_avg_sq) * scale + eps);"),
    ))

# Kingma and Ba 2015, Algorithm 2; eps keeps the norm above zero, and a NaN stays one.
_ADAMAX = Update(
    "adamax", scalars=(*_BETAS, "step_size"), states=(("", "exp_avg"), ("", "exp_inf")),
    lines=(
        *_GRADIENT,
        ("", "REAL size = fabs(g) + eps;"),
        ("", "exp_inf *= beta2;"),
        ("", "exp_inf = (size > exp_inf || size != size) ? size : exp_inf;"),
        ("", "p -= step_size * exp_avg / exp_inf;"),
    ))

# Dozat 2016: momentum that looks ahead, its rate rising with the steps.
_NADAM = Update(
    "nadam", scalars=(*_BETAS, "now", "ahead", "scale"), states=(("", "exp_avg"), ("", "exp_avg_sq")),
    lines=(
        *_GRADIENT, _SQUARE,
        ("", "p -= (now * g + ahead * exp_avg) / (sqrt(exp_avg_sq) * scale + eps);"),
    ))

# Liu et al. 2020, Algorithm 2: while the mean square says too little (adaptive = 0), plain momentum.
_RADAM = Update(
    "radam", scalars=(*_BETAS, "plain", "adaptive"), states=(("", "exp_avg"), ("", "exp_avg_sq")),
    lines=(
        *_GRADIENT, _SQUARE,
        ("", "REAL rate = (REAL)(plain);"),
        ("", "if (adaptive > 0) rate = adaptive / (sqrt(exp_avg_sq) + eps);"),
        ("", "p -= rate * exp_avg;"),
    ))


class _Moments(Fused):
    """What Adam's relatives share: their checks and the scalars of the running means."""

    def check(self, group: dict[str, Any]) -> None:
        self.check_mode(group)
        self.require(group, "lr", "eps", "weight_decay")
        self.require(group, "betas", below=1.0)

    def means(self, group: dict[str, Any]) -> Numbers:
        """Values of the scalars ``_BETAS``."""
        (beta1, beta2), (sign, decay), keep = group["betas"], self.decayed(group), 1.0
        if group.get("decoupled_weight_decay"):
            decay, keep = 0.0, 1 - group["lr"] * decay
        return sign, decay, keep, beta1, 1 - beta1, beta2, 1 - beta2, group["eps"]


class Adam(_Moments):
    """p -= lr * m / (sqrt(v) + eps), with m and v the bias-corrected means of the gradient and of its square.

    ``betas`` are the means' decay rates. ``weight_decay`` adds ``weight_decay * p`` to the gradient, or, with
    ``decoupled_weight_decay``, shrinks p by ``lr * weight_decay`` beside it. ``amsgrad`` divides by the largest mean
    square so far; ``maximize`` climbs. Defaults and trajectories are PyTorch's.
    """

    update = _ADAM
    flags = ("amsgrad",)

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, decoupled_weight_decay: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
                                  "capturable": capturable, "differentiable": differentiable, "fused": fused,
                                  "decoupled_weight_decay": decoupled_weight_decay})

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        beta1, beta2 = group["betas"]
        return *self.means(group), group["lr"] / (1 - beta1**step), 1 / sqrt(1 - beta2**step)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): p shrinks by ``lr * weight_decay`` a step."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused,
                         decoupled_weight_decay=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # whatever a checkpoint of another kind of Adam says
            group["decoupled_weight_decay"] = True


class Adamax(_Moments):
    """p -= lr * m / u, with m the bias-corrected mean gradient and u = max(beta2 * u, |g| + eps).

    Kingma and Ba 2015, section 7.1.
    """

    update = _ADAMAX

    def __init__(self, params: Any, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
                                  "capturable": capturable})

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        return *self.means(group), group["lr"] / (1 - group["betas"][0]**step)


class NAdam(_Moments):
    """Adam with Nesterov's momentum (Dozat 2016). The momentum at step t is mu = beta1 * (1 - 0.96^(t *
    momentum_decay) / 2); ``state[p]["mu_product"]`` is the product of those so far, for the bias correction.
    """

    update = _NADAM
    numbers = ("step", "mu_product")

    def __init__(self, params: Any, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
                                  "maximize": maximize, "foreach": foreach, "capturable": capturable,
                                  "differentiable": differentiable})

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        self.require(group, "momentum_decay")

    def begin(self, group: dict[str, Any]) -> Numbers:
        return 0, 1.0

    def advance(self, group: dict[str, Any], numbers: Numbers, fresh: bool) -> tuple[Numbers, Numbers]:
        (beta1, beta2), lr, step = group["betas"], group["lr"], numbers[0] + 1
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        product = numbers[1] * mu
        return (step, product), (*self.means(group), lr * (1 - mu) / (1 - product),
                                 lr * following / (1 - product * following), 1 / sqrt(1 - beta2**step))


class RAdam(_Moments):
    """Adam whose rate is rectified while the mean square rests on few gradients (Liu et al. 2020).

    As long as the mean's length is at most 5, steps are lr * m without a divisor.
    """

    update = _RADAM

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "maximize": maximize, "foreach": foreach, "capturable": capturable,
                                  "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable})

    def scalars(self, group: dict[str, Any], step: int) -> Numbers:
        beta1, beta2 = group["betas"]
        rate, correction = group["lr"] / (1 - beta1**step), 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction
        if length <= 5:
            return *self.means(group), rate, 0.0
        rectify = sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        return *self.means(group), 0.0, rate * rectify * sqrt(correction)
