"""The rest of PyTorch's activation layers, declared from a table: constructor, forward and repr follow from it."""

from __future__ import annotations

from typing import Any

from .. import factories
from ..core.errors import ShapeError, bad
from ..ops.softmax import softmax
from . import functional_activation as F
from . import init
from .module import Module, Parameter


def _layer(name: str, function: Any, args: str, doc: str, show: str | None = None) -> type:
    """A layer whose constructor takes ``args`` and keeps them, and whose forward passes them to ``function``.

    ``show`` is its extra_repr as a format of its attributes; PyTorch adds ``inplace=True`` only where it is set.
    """
    names = [a.split("=")[0].strip() for a in args.split(",") if a.strip()]
    body = "".join(f"    self.{n} = {n}\n" for n in names)
    scope: dict[str, Any] = {"Module": Module}
    exec(f"def __init__(self{', ' if args else ''}{args}):\n    Module.__init__(self)\n{body}", scope)

    def forward(self: Any, input: Any) -> Any:
        return function(input, **{n: getattr(self, n) for n in names})

    def extra_repr(self: Any) -> str:
        text = "" if show is None else show.format(**self.__dict__)
        if not getattr(self, "inplace", False):
            return text
        return f"{text}, inplace=True" if text else "inplace=True"

    return type(name, (Module,), {"__init__": scope["__init__"], "forward": forward, "extra_repr": extra_repr,
                                  "__doc__": doc, "__module__": __name__})


ReLU6 = _layer("ReLU6", F.relu6, "inplace=False", "x limited to [0, 6].")
LeakyReLU = _layer("LeakyReLU", F.leaky_relu, "negative_slope=0.01, inplace=False",
                   "x where positive, else x * negative_slope.", "negative_slope={negative_slope}")
ELU = _layer("ELU", F.elu, "alpha=1.0, inplace=False", "x where positive, else alpha * (exp(x) - 1).", "alpha={alpha}")
CELU = _layer("CELU", F.celu, "alpha=1.0, inplace=False",
              "max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)).", "alpha={alpha}")
SELU = _layer("SELU", F.selu, "inplace=False", "The elu that keeps mean 0 and variance 1 (Klambauer et al. 2017).")
Mish = _layer("Mish", F.mish, "inplace=False", "x * tanh(softplus(x)) (Misra 2019).")
Hardswish = _layer("Hardswish", F.hardswish, "inplace=False", "x * hardsigmoid(x).")
Hardsigmoid = _layer("Hardsigmoid", F.hardsigmoid, "inplace=False", "x / 6 + 1/2, limited to [0, 1].")
Hardshrink = _layer("Hardshrink", F.hardshrink, "lambd=0.5", "0 where |x| <= lambd, else x.", "{lambd}")
Softshrink = _layer("Softshrink", F.softshrink, "lambd=0.5", "x drawn to zero by lambd, and 0 within it.", "{lambd}")
Tanhshrink = _layer("Tanhshrink", F.tanhshrink, "", "x - tanh(x).")
Threshold = _layer("Threshold", F.threshold, "threshold, value, inplace=False",
                   "x where it is above ``threshold``, else ``value``.", "threshold={threshold}, value={value}")
Softsign = _layer("Softsign", F.softsign, "", "x / (1 + |x|).")
LogSigmoid = _layer("LogSigmoid", F.logsigmoid, "", "log(sigmoid(x)), without overflow.")
GLU = _layer("GLU", F.glu, "dim=-1", "The first half along ``dim`` times the sigmoid of the second.", "dim={dim}")
Softmin = _layer("Softmin", F.softmin, "dim=None", "softmax(-x) along ``dim``, which must be given.", "dim={dim}")


class Hardtanh(Module):
    """x limited to [min_val, max_val]. ``min_value`` and ``max_value`` are older names of these."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False,
                 min_value: float | None = None, max_value: float | None = None) -> None:
        super().__init__()
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}{', inplace=True' if self.inplace else ''}"


class PReLU(Module):
    """leaky_relu with a learned slope, or one a channel (axis 1); ``weight`` is (num_parameters,) and begins at
    ``init``."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(factories.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every slope as at first."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """leaky_relu with slopes drawn from [lower, upper) in training, their mean otherwise."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        return F.rrelu(input, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}{', inplace=True' if self.inplace else ''}"


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Any) -> Any:
        if input.ndim not in (3, 4):
            raise ShapeError(bad("Softmax2d", f"a {input.ndim}-dimensional input", "3 or 4 dimensions", "Reshape it."))
        return softmax(input, -3)
