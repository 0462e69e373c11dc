"""Normalisations: one kernel forward, one (and a small sum for the weights) backward, whatever the kind of rows.

The kinds differ in what is a row and what shares a weight (families/norm.py): layer, group (instance: a channel a
group), batch. Statistics are results of the record, so that derivatives of any order reach x through them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..families import norm as family
from ..families.norm import rows_of
from ..table import Case
from .declare import driver, elementwise
from .elementwise import astype
from .reduce import sum
from .shape import reshape


def _ref(x: Any, weight: Any = None, bias: Any = None, scheme: str = "layer", size: int = 1, eps: float = 1e-5,
         rms: bool = False, running: Any = None) -> tuple:
    rows = rows_of(x.shape, scheme, size)
    v = x.astype(np.float64).reshape(rows.view)
    mean = np.zeros(rows.statistic) if rms else v.mean(rows.axes, keepdims=True)
    rstd = 1 / np.sqrt(((v - mean)**2).mean(rows.axes, keepdims=True) + eps)
    out = (v - mean) * rstd
    for a, f in ((weight, np.multiply), (bias, np.add)):
        out = out if a is None else f(out, a.astype(np.float64).reshape(rows.weight))
    kept = np.float64 if x.dtype == np.float64 else np.float32
    return out.reshape(x.shape).astype(x.dtype), mean.reshape(-1).astype(kept), rstd.reshape(-1).astype(kept)


def _backward_ref(dy: Any, x: Any, mean: Any, rstd: Any, weight: Any = None, scheme: str = "layer", size: int = 1,
                  rms: bool = False, wanted: bool = False) -> tuple:
    rows = rows_of(x.shape, scheme, size)
    v, g, mean, rstd = (a.astype(np.float64) for a in (x, dy, mean, rstd))
    mean, rstd = (0 if rms else mean.reshape(rows.statistic)), rstd.reshape(rows.statistic)
    h, g = (v.reshape(rows.view) - mean) * rstd, g.reshape(rows.view)
    a = g if weight is None else g * weight.astype(np.float64).reshape(rows.weight)

    def average(t: Any) -> Any:
        return t.mean(rows.axes, keepdims=True)

    dx = rstd * (a - (0 if rms else average(a)) - h * average(a * h))
    shared = tuple(i for i, n in enumerate(rows.weight) if n == 1)
    kept = np.float64 if x.dtype == np.float64 else np.float32
    slopes = tuple(t.sum(shared).reshape(-1).astype(kept) for t in (g * h, g)) if wanted else ()
    return dx.reshape(x.shape).astype(x.dtype), *slopes


def _gradient(g: Any, x: Any, weight: Any, out: Any, needs: Any, weight_shape: Any, bias_shape: Any, scheme: str,
              size: int, rms: bool) -> tuple:
    _, mean, rstd = out
    rows = rows_of(x.shape, scheme, size)
    dx = dw = db = None
    if g[0] is not None:
        wanted = needs[1] or needs[2]
        dx, *slopes = norm_rows_backward(g[0], x, mean, rstd, weight, scheme, size, rms, wanted)
        if wanted:
            dw = reshape(slopes[0], weight_shape) if needs[1] else None
            db = reshape(slopes[1], bias_shape) if needs[2] else None
    # what second and higher orders send into the statistics
    count = rows.P * rows.Q
    if g[1] is not None and not rms:
        dx = _plus(dx, x, reshape(g[1] / count, rows.statistic), rows)
    if g[2] is not None:
        h = (_apart(x, rows) - (0 if rms else reshape(mean, rows.statistic))) * reshape(rstd, rows.statistic)
        dx = _plus(dx, x, h * reshape(g[2] * rstd * rstd * (-1 / count), rows.statistic), rows)
    return dx, dw, db


def _apart(x: Any, rows: Any) -> Any:
    """x in the dtype of statistics, with the axes of a row apart."""
    return reshape(astype(x, x.dtype.accumulator), rows.view)


def _plus(dx: Any, x: Any, more: Any, rows: Any) -> Any:
    total = more if dx is None else _apart(dx, rows) + more
    return reshape(total.expand(rows.view), x.shape)


def _backward_gradient(g: Any, dy: Any, x: Any, mean: Any, rstd: Any, weight: Any, weight_shape: Any, scheme: str,
                       size: int, rms: bool) -> tuple:
    """With h = (x - mean) * rstd and B the map from dy * weight to dx, which is its own transpose:

    to dy        weight * B(G) + Gw * h + Gb          to weight  sum of dy * B(G)
    through h    H = Gw * dy - rstd * (G * mean(a * h) + a * mean(G * h)), a = dy * weight
    """
    rows = rows_of(x.shape, scheme, size)
    G, Gw, Gb = (*g, None, None)[:3]
    shared = tuple(i for i, n in enumerate(rows.weight) if n == 1)
    v, y, r = _apart(x, rows), _apart(dy, rows), reshape(rstd, rows.statistic)
    centered = v if rms else v - reshape(mean, rows.statistic)
    h = centered * r
    w = None if weight is None else reshape(astype(weight, v.dtype), rows.weight)
    a = y if w is None else y * w
    to_dy = to_weight = H = None
    to_rstd = 0.0
    count = rows.P * rows.Q

    def over_row(t: Any) -> Any:
        return sum(t, rows.axes, True)

    if G is not None:
        through = norm_rows_backward(G, x, mean, rstd, None, scheme, size, rms, False)[0]
        through = _apart(through, rows)
        G = _apart(G, rows)
        to_dy = through if w is None else through * w
        to_weight = None if w is None else reshape(sum(y * through, shared), weight_shape)
        H = (G * over_row(a * h) + a * over_row(G * h)) * (r * (-1 / count))
        to_rstd = over_row(a * through) / r
    if Gw is not None:
        Gw = reshape(Gw, rows.weight)
        to_dy = h * Gw if to_dy is None else to_dy + h * Gw
        H = y * Gw if H is None else H + y * Gw
    if Gb is not None:
        Gb = reshape(Gb, rows.weight)
        to_dy = Gb.expand(rows.view) if to_dy is None else to_dy + Gb
    if H is None:
        return reshape(to_dy, x.shape), None, None, None, to_weight
    to_x = H * r
    to_mean = None if rms else reshape(-over_row(to_x), (-1,))
    to_rstd = reshape(over_row(H * centered) + to_rstd, (-1,))
    return reshape(to_dy, x.shape), reshape(to_x, x.shape), to_mean, to_rstd, to_weight


_KINDS = (((3, 5), (5,), {"scheme": "layer", "size": 1}), ((2, 3, 40), (3, 40), {"scheme": "layer", "size": 2}),
          ((2, 6, 35), (6,), {"scheme": "group", "size": 2}), ((3, 4, 2), (4,), {"scheme": "group", "size": 4}),
          ((3, 4, 40), (4,), {"scheme": "batch", "size": 0}), ((5, 19), (19,), {"scheme": "batch", "size": 0}))
_CASES = (
    *(Case((x, w, w), attrs) for x, w, attrs in _KINDS),
    Case(((3, 40),), {"rms": True}), Case(((3, 40), (40,)), {"rms": True, "eps": 1e-3}), Case(((0, 3), (3,), (3,))),
    Case(((2, 4, 3),), {"scheme": "group", "size": 2}), Case(((4, 3, 2),), {"scheme": "batch", "size": 0}))
_BACK = (
    *(Case((x, x, (rows_of(x, **attrs).rows,), (rows_of(x, **attrs).rows,), w), {**attrs, "wanted": True})
      for x, w, attrs in _KINDS),
    Case(((3, 40), (3, 40), (3,), (3,), (40,)), {"rms": True, "wanted": True}),
    Case(((3, 40), (3, 40), (3,), (3,)), {}))

norm_rows = driver("norm_rows", "x, weight=None, bias=None, scheme='layer', size=1, eps=1e-5, rms=False, running=None",
                   "norm", tensors=("x", "weight", "bias"), run=family.norm, grad=_gradient, ref=_ref,
                   kinds="f", cases=_CASES, several=True, public=False, method=False,
                   doc="Rows of x at mean 0 and variance 1, times weight plus bias, their means, and 1 / deviations.")
norm_rows_backward = driver(
    "norm_rows_backward", "dy, x, mean, rstd, weight=None, scheme='layer', size=1, rms=False, wanted=False", "norm",
    tensors=("dy", "x", "mean", "rstd", "weight"), run=family.norm_backward, grad=_backward_gradient, kinds="f",
    ref=_backward_ref, cases=_BACK, several=True, public=False, method=False,
    doc="Gradients of norm_rows: of x and, where wanted, of weight and bias.")
normalized = elementwise(
    "normalized", "x, mean, rstd, weight, bias", c="(x - mean) * rstd * weight + bias", dtype="float", kinds="f",
    grad=[lambda g, rstd, weight: g * (rstd * weight), lambda g, rstd, weight: -g * (rstd * weight),
          lambda g, x, mean, weight: g * ((x - mean) * weight), lambda g, x, mean, rstd: g * ((x - mean) * rstd),
          lambda g: g], ref=lambda x, mean, rstd, weight, bias: (x - mean) * rstd * weight + bias,
    cases=(Case(((2, 3, 5), (3, 1), (3, 1), (3, 1), (3, 1))), Case(((4, 3), (3,), (3,), (3,), (3,)))),
    public=False, method=False, doc="(x - mean) * rstd * weight + bias: batch norm by given statistics.")
