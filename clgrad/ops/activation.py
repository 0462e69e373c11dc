"""Activation records beyond those of ops/elementwise.py: one launch forward, one backward.

``T`` expressions hold for scalars and vectors. A slope is a record of its own, so that a backward is one launch; NaN
passes through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError, bad
from ..core.shapes import axis_index
from ..families import random
from ..table import ZERO_GRAD, Case
from .declare import composite, driver, elementwise
from .elementwise import exp, minimum, sigmoid, softplus, square, tanh, where
from .second import through
from .shape import chunk

_ONE = (Case(((3, 5),)), Case(((0, 4),)), Case(((130,),)))


def _record(name: str, args: str, c: str, grad: Any, ref: Any, doc: str, numbers: tuple = (), **fields: Any) -> Any:
    """A record of x (and dy) and of numbers that are operands too, so that their values build no kernel."""
    tensors = args.replace(" ", "").split(",")
    arrays = len(tensors) - len(numbers)
    fields.setdefault("cases", tuple(Case(c.shapes * arrays, dict(zip(tensors[arrays:], numbers))) for c in _ONE))
    return elementwise(name, args, c=c, dtype="float", kinds="f", grad=grad, ref=ref, doc=doc, public=False,
                       method=False, **fields)


def _no_grads(rules: list, count: int) -> list:
    return rules + [ZERO_GRAD] * (count - len(rules))


# Leaky ReLU, with a number or (PReLU, RReLU) an array as its slope ---------------------------------------------------

leaky = _record("leaky", "x, slope", "(x > ZERO) ? x : x * slope",
                [lambda g, x, slope: leaky_backward(g, x, slope), lambda g, x: g * minimum(x, 0.0)],
                lambda x, slope: np.where(x > 0, x, x * slope), "x where positive, else x * slope.",
                cases=(Case(((3, 5), (5,))), Case(((3, 5),), {"slope": 0.1})))
leaky_backward = _record("leaky_backward", "dy, x, slope", "(x > ZERO) ? dy : dy * slope",
                         [lambda g, x, slope: leaky_backward(g, x, slope), ZERO_GRAD,
                          lambda g, dy, x: where(x > 0, 0.0, g * dy)],
                         lambda dy, x, slope: np.where(x > 0, dy, dy * slope),
                         "dy, times slope where x is not positive.",
                         cases=(Case(((3, 5), (3, 5), (5,))), Case(((3, 5), (3, 5)), {"slope": 0.1})))

# Exponential linear units: scale * (x or alpha * (exp(inner * x) - 1)) ------------------------------------------------

_ELU = (1.2, 1.1, 0.7)


def _elu_curve(g: Any, dy: Any, x: Any, alpha: float, scale: float, inner: float) -> Any:
    return where(x > 0, 0.0, g * dy * exp(minimum(x, 0.0) * inner) * (scale * alpha * inner * inner))


exponential = _record("exponential_unit", "x, alpha, scale, inner",
                      "(x > ZERO) ? x * scale : alpha * scale * expm1(x * inner)",
                      _no_grads([lambda g, x, alpha, scale, inner: exponential_backward(g, x, alpha, scale, inner)], 4),
                      lambda x, alpha, scale, inner: np.where(x > 0, x * scale,
                                                              alpha * scale * np.expm1(np.minimum(x, 0) * inner)),
                      "scale * x where positive, else scale * alpha * (exp(inner * x) - 1).", _ELU)
exponential_backward = _record(
    "exponential_unit_backward", "dy, x, alpha, scale, inner",
    "(x > ZERO) ? dy * scale : dy * alpha * scale * inner * exp(x * inner)",
    _no_grads([lambda g, x, alpha, scale, inner: exponential_backward(g, x, alpha, scale, inner), _elu_curve], 5),
    lambda dy, x, alpha, scale, inner: np.where(x > 0, dy * scale,
                                                dy * alpha * scale * inner * np.exp(np.minimum(x, 0) * inner)),
    "dy times the slope of the exponential unit.", _ELU)

# Piecewise linear -----------------------------------------------------------------------------------------------------

_BAND = (-0.8, 1.1)
hardtanh = _record("hardtanh_band", "x, low, high", "(x < low) ? low : ((x > high) ? high : x)",
                   _no_grads([lambda g, x, low, high: inside(g, x, low, high)], 3),
                   lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x)),
                   "x limited to [low, high].", _BAND)
inside = _record("inside_band", "dy, x, low, high", "((x > low) && (x < high)) ? dy : ZERO",
                 _no_grads([lambda g, x, low, high: inside(g, x, low, high)], 4),
                 lambda dy, x, low, high: np.where((x > low) & (x < high), dy, 0), "dy where low < x < high, else 0.",
                 _BAND)
hardsigmoid = _record("hardsigmoid_unit", "x",
                      "(x <= K(-3.0)) ? ZERO : ((x >= K(3.0)) ? ONE : x / K(6.0) + K(0.5))",
                      [lambda g, x: inside(g, x, -3.0, 3.0) * (1 / 6)],
                      lambda x: np.clip(x / 6 + 0.5, 0, 1), "x / 6 + 1/2, limited to [0, 1].", domain=(-5, 5))
hardswish = _record("hardswish_unit", "x",
                    "(x <= K(-3.0)) ? ZERO : ((x >= K(3.0)) ? x : x * (x / K(6.0) + K(0.5)))",
                    [lambda g, x: hardswish_backward(g, x)],
                    lambda x: np.where(x <= -3, 0, np.where(x >= 3, x, x * (x / 6 + 0.5))),
                    "x * hardsigmoid(x) (Howard et al. 2019).", domain=(-5, 5))
hardswish_backward = _record("hardswish_backward", "dy, x",
                             "(x <= K(-3.0)) ? ZERO : ((x >= K(3.0)) ? dy : dy * (x / K(3.0) + K(0.5)))",
                             [lambda g, x: hardswish_backward(g, x), lambda g, dy, x: inside(g * dy, x, -3.0, 3.0) / 3],
                             lambda dy, x: np.where(x <= -3, 0, np.where(x >= 3, dy, dy * (x / 3 + 0.5))),
                             "dy times the slope of hardswish.", domain=(-5, 5))
hardshrink = _record("hardshrink_unit", "x, width", "(fabs(x) <= width) ? ZERO : x",
                     [lambda g, x, width: outside(g, x, width), ZERO_GRAD],
                     lambda x, width: np.where(np.abs(x) <= width, 0, x), "0 where |x| <= width, else x.", (0.7,))
outside = _record("outside_width", "dy, x, width", "(fabs(x) <= width) ? ZERO : dy",
                  [lambda g, x, width: outside(g, x, width), ZERO_GRAD, ZERO_GRAD],
                  lambda dy, x, width: np.where(np.abs(x) <= width, 0, dy), "0 where |x| <= width, else dy.", (0.7,))
softshrink = _record("softshrink_unit", "x, width",
                     "(x > width) ? x - width : ((x < -width) ? x + width : x * ZERO)",
                     [lambda g, x, width: outside(g, x, width), ZERO_GRAD],
                     lambda x, width: np.where(x > width, x - width, np.where(x < -width, x + width, x * 0)),
                     "x drawn to zero by width.",
                     (0.7,))
threshold = _record("threshold_unit", "x, least, value", "(x <= least) ? value : x",
                    [lambda g, x, least: above(g, x, least), ZERO_GRAD, ZERO_GRAD],
                    lambda x, least, value: np.where(x <= least, value, x), "x above least, else value.", (0.3, -2.0))
above = _record("above_least", "dy, x, least", "(x <= least) ? ZERO : dy",
                [lambda g, x, least: above(g, x, least), ZERO_GRAD, ZERO_GRAD],
                lambda dy, x, least: np.where(x <= least, 0, dy), "dy where x is above least, else 0.", (0.3,))

# Smooth ---------------------------------------------------------------------------------------------------------------

tanhshrink = _record("tanhshrink_unit", "x", "x - tanh(x)", [lambda g, x: g * square(tanh(x))],
                     lambda x: x - np.tanh(x), "x - tanh(x).")
softsign = _record("softsign_unit", "x", "x / (ONE + fabs(x))", [lambda g, x: g / square(abs(x) + 1)],
                   lambda x: x / (1 + np.abs(x)), "x / (1 + |x|).")
logsigmoid = _record("log_sigmoid", "x", "fmin(x, ZERO) - log1p(exp(-fabs(x)))", [lambda g, x: g * sigmoid(-x)],
                     lambda x: -np.logaddexp(-x, 0), "log(sigmoid(x)), without overflow.")
_EXP = "exp(fmin(x, K(20.0)))"  # beyond, tanh(softplus(x)) is 1
_ODDS = f"({_EXP} * ({_EXP} + K(2.0)))"  # with e = exp(x), tanh(softplus(x)) = n / (n + 2), n = e * (e + 2)
mish = _record("mish_unit", "x", f"x * ({_ODDS} / ({_ODDS} + K(2.0)))", [lambda g, x: mish_backward(g, x)],
               lambda x: x * np.tanh(np.logaddexp(x, 0)), "x * tanh(softplus(x)) (Misra 2019).")


def _mish_slope(dy: Any, x: Any) -> Any:
    t = tanh(softplus(x))
    return dy * (t + x * (1 - square(t)) * sigmoid(x))


def _mish_backward_ref(dy: Any, x: Any) -> Any:
    t = np.tanh(np.logaddexp(x, 0))
    return np.where(x > 40, dy, dy * (t + x * (1 - t * t) / (1 + np.exp(-x))))


mish_backward = _record(
    "mish_backward", "dy, x", f"(x > K(20.0)) ? dy : dy * ({_ODDS} / ({_ODDS} + K(2.0)) + "
    f"x * (K(4.0) * {_EXP} * (ONE + {_EXP})) / (({_ODDS} + K(2.0)) * ({_ODDS} + K(2.0))))",
    lambda g, dy, x: tuple(through(lambda a, b: (_mish_slope(a, b),), (dy, x), (g,))), _mish_backward_ref,
    "dy times the slope of mish.")
gated = _record("gated", "x, y", "x / (ONE + exp(-y))",
                [lambda g, y: g * sigmoid(y), lambda g, x, y: gated(g * x, y) * sigmoid(-y)],
                lambda x, y: x / (1 + np.exp(-y)), "x * sigmoid(y).", cases=(Case(((3, 5), (3, 5))),))


def _glu(x: Any, dim: int = -1) -> Any:
    axis = axis_index("glu", dim, x.ndim)
    if not x.ndim or x.shape[axis] % 2:
        raise ShapeError(bad("glu", f"shape {x.shape} along dim={dim}", "an even size", "It is cut into halves."))
    return gated(*chunk(x, 2, axis)) if x.shape[axis] else x


def _glu_ref(x: Any, dim: int = -1) -> Any:
    a, b = np.split(x, 2, dim)
    return a / (1 + np.exp(-b))


glu = composite("glu", "x, dim=-1", "elementwise", run=_glu, ref=_glu_ref, kinds="f", public=False, method=False,
                cases=(Case(((3, 4),)), Case(((4, 3),), {"dim": 0})),
                doc="The first half along ``dim`` times the sigmoid of the second (Dauphin et al. 2017).")

# No mask is kept: the backward draws the same numbers again. The reference holds where all are kept, or none.
dropped = driver("dropped", "x, p, factor, seed, offset", "random", run=random.dropout, kinds="f", public=False,
                 method=False, grad=[lambda g, p, factor, seed, offset: dropped(g, p, factor, seed, offset)],
                 ref=lambda x, p, factor, seed, offset: x * (factor * (p > 0)),
                 cases=tuple(Case(shapes, {"p": p, "factor": 1.25, "seed": 5, "offset": 7}) for shapes, p in (
                     (((3, 5),), 1.0), (((130,),), 0.0), (((0, 4),), 1.0), (((),), 1.0))),
                 doc="x * factor with probability p, else 0, by the random numbers of a place in a generator's stream.")


def _dropped_plus(x: Any, residual: Any, p: float, factor: float, seed: int, offset: int) -> Any:
    if x.shape != residual.shape or x.dtype is not residual.dtype:
        raise ShapeError(bad("dropped_plus", f"x {x.shape} {x.dtype.name} and residual {residual.shape} "
                             f"{residual.dtype.name}", "one shape and dtype", "Add them apart."))
    return random.dropout(x, p, factor, seed, offset, plus=residual)


dropped_plus = driver("dropped_plus", "x, residual, p, factor, seed, offset", "random", tensors=("x", "residual"),
                      run=_dropped_plus, kinds="f", public=False, method=False,
                      grad=[lambda g, p, factor, seed, offset: dropped(g, p, factor, seed, offset), lambda g: g],
                      ref=lambda x, residual, p, factor, seed, offset: x * (factor * (p > 0)) + residual,
                      cases=tuple(Case(shapes * 2, {"p": p, "factor": 1.25, "seed": 5, "offset": 7}) for shapes, p in (
                          (((3, 5),), 1.0), (((130,),), 0.0), (((0, 4),), 1.0), (((),), 1.0))),
                      doc="dropped(x) + residual in one launch.")
