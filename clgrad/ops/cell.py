"""Recurrent cells: what follows a step's matrix products is one launch, and so is its gradient.

The values of the gates are results of the records, so that derivatives of any order reach the inputs through them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..families.cell import Cell
from ..table import Case
from .declare import driver, elementwise
from .elementwise import _relu_backward, _tanh_backward, tanh
from .second import through
from .shape import cat, chunk


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _wide(f: Any) -> Any:
    """A reference computed in float64 and returned in its first input's dtype."""
    def ref(*arrays: Any) -> tuple:
        return tuple(a.astype(arrays[0].dtype) for a in f(*(a.astype(np.float64) for a in arrays)))

    return ref


@_wide
def _lstm_ref(x: Any, h: Any, c: Any) -> tuple:
    i, f, g, o = np.split(x + h, 4, 1)
    i, f, g, o = _logistic(i), _logistic(f), np.tanh(g), _logistic(o)
    c_new = f * c + i * g
    return o * np.tanh(c_new), c_new, np.concatenate([i, f, g, o], 1)


def _lstm_slopes(dh: Any, dc: Any, kept: Any, c: Any, c_new: Any, *, tanh: Any = tanh, cut: Any = chunk,
                 join: Any = cat) -> tuple:
    i, f, g, o = cut(kept, 4, 1)
    t = tanh(c_new)
    d = dc + dh * o * (1 - t * t)
    return join([d * g * i * (1 - i), d * c * f * (1 - f), d * i * (1 - g * g), dh * t * o * (1 - o)], 1), d * f


def _gru_slopes(dh: Any, kept: Any, h: Any, state: Any, *, cut: Any = chunk, join: Any = cat) -> tuple:
    r, z, c = cut(kept, 3, 1)
    dn, dz = dh * (1 - z) * (1 - c * c), dh * (state - c) * z * (1 - z)
    dr = dn * cut(h, 3, 1)[2] * r * (1 - r)
    return join([dr, dz, dn], 1), join([dr, dz, dn * r], 1), dh * z


def _zeros(like: Any) -> Any:
    return (like if not hasattr(like, "detach") else like.detach()) * 0.0


def _kept_slope(g: Any, kept: Any, gates: int, by_tanh: int) -> list:
    """What a gradient of the gates' values (second order) sends to their arguments, a part a gate."""
    parts = zip(chunk(g, gates, 1), chunk(kept, gates, 1))
    return [d * (1 - y * y) if at == by_tanh else d * y * (1 - y) for at, (d, y) in enumerate(parts)]


def _lstm_gradient(g: Any, c: Any, out: Any, h: Any) -> tuple:
    dh, dc, dkept = g
    _, c_new, kept = out
    slopes = back = None
    if dh is not None or dc is not None:
        slopes, back = lstm_backward(_zeros(c_new) if dh is None else dh, _zeros(c_new) if dc is None else dc, kept, c,
                                     c_new)
    if dkept is not None:
        more = cat(_kept_slope(dkept, kept, 4, 2), 1)
        slopes = more if slopes is None else slopes + more
    return slopes, slopes, back


def _gru_gradient(g: Any, h: Any, state: Any, out: Any) -> tuple:
    dh, dkept = g
    kept = out[1]
    dx = dp = back = None
    if dh is not None:
        dx, dp, back = gru_backward(dh, kept, h, state)
    if dkept is not None:
        dr, dz, dn = _kept_slope(dkept, kept, 3, 2)
        r = chunk(kept, 3, 1)[0]
        dr = dr + dn * chunk(h, 3, 1)[2] * r * (1 - r)
        more = cat([dr, dz, dn], 1), cat([dr, dz, dn * r], 1)
        dx, dp = more if dx is None else (dx + more[0], dp + more[1])
    return dx, dp, back


@_wide
def _gru_ref(x: Any, h: Any, state: Any) -> tuple:
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, 1), np.split(h, 3, 1)
    r, z = _logistic(xr + hr), _logistic(xz + hz)
    c = np.tanh(xn + r * hn)
    return c + z * (state - c), np.concatenate([r, z, c], 1)


_FOUR = Case(((3, 20), (3, 20), (3, 5))), Case(((2, 132), (2, 132), (2, 33)))
_THREE = Case(((3, 15), (3, 15), (3, 5))), Case(((2, 99), (2, 99), (2, 33)))

lstm_step = driver("lstm_step", "x, h, c", "cell", tensors=("x", "h", "c"), run=Cell("lstm", (4, 4, 1), (1, 1, 4)),
                   grad=_lstm_gradient, ref=_lstm_ref, kinds="f", cases=_FOUR, several=True, public=False, method=False,
                   doc="h', c' and the four gates' values of an LSTM's step from its products with input and state.")
lstm_backward = driver(
    "lstm_step_backward", "dh, dc, kept, c, c_new", "cell", tensors=("dh", "dc", "kept", "c", "c_new"),
    run=Cell("lstm_backward", (1, 1, 4, 1, 1), (4, 1)), kinds="f", several=True, public=False, method=False,
    grad=lambda g, dh, dc, kept, c, c_new: tuple(through(_lstm_slopes, (dh, dc, kept, c, c_new), g)),
    ref=_wide(lambda *a: _lstm_slopes(*a, tanh=np.tanh, cut=np.split, join=np.concatenate)),
    cases=tuple(Case((c.shapes[2], c.shapes[2], c.shapes[0], c.shapes[2], c.shapes[2])) for c in _FOUR),
    doc="Slopes of an LSTM's step in the gates' arguments, and the gradient of c.")
gru_step = driver("gru_step", "x, h, state", "cell", tensors=("x", "h", "state"), run=Cell("gru", (3, 3, 1), (1, 3)),
                  grad=_gru_gradient, ref=_gru_ref, kinds="f", cases=_THREE, several=True, public=False, method=False,
                  doc="h' and the gates' values of a GRU's step from its products with input and state.")
gru_backward = driver(
    "gru_step_backward", "dh, kept, h, state", "cell", tensors=("dh", "kept", "h", "state"),
    run=Cell("gru_backward", (1, 3, 3, 1), (3, 3, 1)), kinds="f", several=True, public=False, method=False,
    grad=lambda g, dh, kept, h, state: tuple(through(_gru_slopes, (dh, kept, h, state), g)),
    ref=_wide(lambda *a: _gru_slopes(*a, cut=np.split, join=np.concatenate)),
    cases=tuple(Case((c.shapes[2], c.shapes[0], c.shapes[1], c.shapes[2])) for c in _THREE),
    doc="Gradients of a GRU's step in its products with input and state, and in the state.")
tanh_step = elementwise("tanh_step", "x, y", c="tanh(x + y)", dtype="float", kinds="f", public=False, method=False,
                        grad=[lambda g, out: _tanh_backward(g, out)] * 2, ref=lambda x, y: np.tanh(x + y),
                        cases=(Case(((3, 5), (3, 5))),), doc="tanh(x + y): a step of a plain recurrent layer.")
relu_step = elementwise("relu_step", "x, y", c="((x + y) < ZERO) ? ZERO : (x + y)", dtype="float", kinds="f",
                        public=False, method=False, grad=[lambda g, out: _relu_backward(g, out)] * 2,
                        ref=lambda x, y: np.maximum(x + y, 0), cases=(Case(((3, 5), (3, 5))),),
                        doc="max(x + y, 0): a step of a plain recurrent layer.")
