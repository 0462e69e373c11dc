"""Records of losses whose formula is one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..table import ZERO_GRAD, Case
from .activation import hardtanh
from .declare import elementwise
from .elementwise import clamp, log, sigmoid


def _record(name: str, c: str, grad: list, ref: Any, doc: str, **fields: Any) -> Any:
    return elementwise(name, fields.pop("args", "x, y"), c=c, dtype="float", kinds="f", grad=grad, ref=ref, doc=doc,
                       public=False, method=False, **fields)


huber = _record("huber", "(fabs(x) < delta) ? K(0.5) * x * x : delta * (fabs(x) - K(0.5) * delta)",
                [lambda g, x, delta: g * hardtanh(x, -delta, delta), ZERO_GRAD],
                lambda x, delta: np.where(np.abs(x) < delta, 0.5 * x * x, delta * (np.abs(x) - 0.5 * delta)),
                "x * x / 2 where |x| < delta, else its tangent.", args="x, delta",
                cases=(Case(((3, 5),), {"delta": 0.7}),))
bce = _record("binary_cross_entropy_unit",
              "-(y * ((log(x) < K(-100.0)) ? K(-100.0) : log(x)) + "
              "(ONE - y) * ((log1p(-x) < K(-100.0)) ? K(-100.0) : log1p(-x)))",
              [lambda g, x, y: g * (x - y) / clamp(x * (1 - x), min=1e-12),
               lambda g, x: g * (clamp(log(1 - x), min=-100.0) - clamp(log(x), min=-100.0))],
              lambda x, y: -(y * np.maximum(np.log(x), -100) + (1 - y) * np.maximum(np.log1p(-x), -100)),
              "Cross-entropy of the probability x with the target y.", domain=(0.1, 0.9),
              cases=(Case(((3, 5), (3, 5))),))
bce_logits = _record("binary_cross_entropy_logits", "fmax(x, ZERO) - x * y + log1p(exp(-fabs(x)))",
                     [lambda g, x, y: g * (sigmoid(x) - y), lambda g, x: -g * x],
                     lambda x, y: np.logaddexp(x, 0) - x * y, "Cross-entropy of sigmoid(x) with the target y.",
                     cases=(Case(((3, 5), (3, 5))),))
