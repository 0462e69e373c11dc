"""softmax, log_softmax and logsumexp: one kernel forward, one backward; the backward passes are records too."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..families.counted import per_counted as _mean
from ..families.softmax import Softmax
from ..ndarray import full
from ..table import ZERO_GRAD, Case
from .declare import composite, driver
from .elementwise import astype, exp
from .reduce import sum
from .shape import expand, permute, reshape, unsqueeze

_CASES = (Case(((3, 5),), {"dim": -1}), Case(((3, 5),), {"dim": 0}), Case(((2, 70, 3),), {"dim": 1}),
          Case(((2, 0),), {"dim": 0}), Case(((2, 3, 35),), {"dim": 1}), Case(((),), {"dim": 0}))
_PAIRS = tuple(Case(c.shapes * 2, c.attrs) for c in _CASES[:3])


def _softmax_ref(x: Any, dim: int) -> Any:
    rows = x if x.ndim else x[None]
    e = np.exp(rows - np.max(rows, axis=dim, keepdims=True, initial=-np.inf))
    return (e / e.sum(axis=dim, keepdims=True)).reshape(x.shape)


def _log_softmax_ref(x: Any, dim: int) -> Any:
    return np.log(_softmax_ref(x, dim))


softmax = driver("softmax", "x, dim", "softmax", options={"dtype": lambda d, x, dim: softmax(astype(x, d), dim)},
                  run=Softmax("softmax"), ref=_softmax_ref, cases=_CASES, kinds="f",
                  grad=[lambda g, out, dim: softmax_backward(g, out, dim)],
                  doc="exp(x) / sum(exp(x)) along ``dim``, computed from x - max(x).")
softmax_backward = driver("softmax_backward", "dy, y, dim", "softmax", tensors=("dy", "y"), kinds="f",
                           run=Softmax("softmax_backward"), public=False, method=False, cases=_PAIRS,
                           grad=[lambda g, y, dim: softmax_backward(g, y, dim),
                                 lambda g, dy, y, dim: g * (dy - sum(dy * y, dim, True)) - dy * sum(g * y, dim, True)],
                           ref=lambda dy, y, dim: y * (dy - (dy * y).sum(dim, keepdims=True)),
                           doc="Gradient of softmax from dy and its value y.")
log_softmax = driver("log_softmax", "x, dim", "softmax", run=Softmax("log_softmax"), ref=_log_softmax_ref, kinds="f",
                     options={"dtype": lambda d, x, dim: log_softmax(astype(x, d), dim)},
                     cases=_CASES, grad=[lambda g, out, dim: _log_softmax_backward(g, out, dim)],
                     doc="log(softmax(x)) along ``dim``, without forming the softmax.")
_log_softmax_backward = driver("log_softmax_backward", "dy, y, dim", "softmax", tensors=("dy", "y"), kinds="f",
                               run=Softmax("log_softmax_backward"), public=False, method=False, cases=_PAIRS,
                               grad=[lambda g, y, dim: g - sum(g * exp(y), dim, True),
                                     lambda g, dy, y, dim: -g * exp(y) * sum(dy, dim, True)],
                               ref=lambda dy, y, dim: dy - np.exp(y) * dy.sum(dim, keepdims=True),
                               doc="Gradient of log_softmax from dy and its value y.")
_row_logsumexp = driver("row_logsumexp", "x, dim", "softmax", run=Softmax("logsumexp"), public=False, method=False,
                        kinds="f", cases=_CASES[:3], ref=lambda x, dim: np.logaddexp.reduce(x, axis=dim),
                        grad=[lambda g, x, out, dim: unsqueeze(g, dim) * exp(x - unsqueeze(out, dim))],
                        doc="log(sum(exp(x))) along one axis.")


def _logsumexp(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Several axes are first made one, at the end."""
    x = astype(x, dtypes.floating(x.dtype))
    axes = shapes.axis_tuple("logsumexp", dim, x.ndim)
    kept = [a for a in range(x.ndim) if a not in axes]
    if x.ndim:
        rows = reshape(permute(x, (*kept, *axes)), (*(x.shape[a] for a in kept), -1)) if len(axes) != 1 else x
        out = _row_logsumexp(rows, axes[0] if len(axes) == 1 else len(kept))
    else:
        out = x
    return reshape(out, shapes.reduced(x.shape, axes, keepdim))


logsumexp = composite("logsumexp", "x, dim=None, keepdim=False", "softmax", run=_logsumexp, kinds="biuf",
                      ref=lambda x, dim=None, keepdim=False: np.logaddexp.reduce(x, axis=dim, keepdims=keepdim),
                      cases=(Case(((3, 5),)), Case(((2, 3, 4),), {"dim": (0, 2), "keepdim": True}),
                             Case(((3, 5),), {"dim": 1})),
                      doc="log(sum(exp(x))) over ``dim`` (None: all axes), without overflow.")

# Cross entropy of class indices, by row: the scores are read once forward and once backward, no log_softmax is kept.


def _cross_entropy_ref(x: Any, target: Any, ignore_index: int = -100) -> Any:
    losses = -_log_softmax_ref(x, 1)[np.arange(len(x)), np.where(target == ignore_index, 0, target)]
    return np.where(target == ignore_index, 0, losses)


def _cross_entropy_backward_ref(g_rows: Any, x: Any, target: Any, ignore_index: int) -> Any:
    slope = _softmax_ref(x, 1)
    slope[np.arange(len(x)), target] -= 1
    return slope * (g_rows * (target != ignore_index))[:, None]


def _cross_entropy_slope(g: Any, g_rows: Any, x: Any, target: Any, ignore_index: int) -> Any:
    """d/dx of g_rows * (softmax(x) - onehot), where the target is not ignored: softmax's own slope."""
    kept = astype(target != ignore_index, x.dtype) * g_rows
    return softmax_backward(g * unsqueeze(kept, 1), softmax(x, 1), 1)


_ROWS = np.array([2, 0, 4, 3])
cross_entropy_rows = driver("cross_entropy_rows", "x, target, ignore_index=-100", "softmax", tensors=("x", "target"),
                            run=Softmax("cross_entropy").classes, kinds="f", public=False, method=False,
                            cases=(Case(((4, 5), _ROWS)), Case(((4, 70), _ROWS), {"ignore_index": 3})),
                            grad=[lambda g, x, target, ignore_index: cross_entropy_backward(g, x, target, ignore_index),
                                  ZERO_GRAD], ref=_cross_entropy_ref,
                            doc="Of each row of scores (N, K), log(sum(exp(x))) - x[target]; 0 where it is ignored.")
_backward = Softmax("cross_entropy_backward")
cross_entropy_backward = driver(
    "cross_entropy_backward", "g_rows, x, target, ignore_index", "softmax", tensors=("g_rows", "x", "target"),
    run=lambda g_rows, x, target, ignore_index: _backward.classes(x, target, ignore_index, g_rows), kinds="f",
    public=False, method=False, ref=_cross_entropy_backward_ref,
    cases=(Case(((4,), (4, 5), _ROWS), {"ignore_index": -100}), Case(((4,), (4, 70), _ROWS), {"ignore_index": 3})),
    grad=[lambda g, x, target, ignore_index: sum(g * cross_entropy_backward(_ones(x), x, target, ignore_index), 1),
          lambda g, g_rows, x, target, ignore_index: _cross_entropy_slope(g, g_rows, x, target, ignore_index),
          ZERO_GRAD],
    doc="Gradient of cross_entropy_rows: g * (softmax(x) - onehot(target)).")


# The mean over rows that are not ignored. It is its own derivative: the gradient of each row is g over their number.
per_counted = driver("per_counted", "x, target, ignore_index=-100", "softmax", tensors=("x", "target"), run=_mean,
                     kinds="f", public=False, method=False,
                     cases=(Case(((4,), _ROWS)), Case(((40,), np.arange(40) % 7), {"ignore_index": 3})),
                     grad=[lambda g, x_shape, target, ignore_index: expand(
                         per_counted(g, target, ignore_index), x_shape), ZERO_GRAD],
                     ref=lambda x, target, ignore_index=-100: x.sum() / (target != ignore_index).sum(),
                     doc="sum(x) / (number of targets that are not ignored), in one launch.")


def _ones(x: Any) -> Any:
    return full(x.shape[:1], 1, x.dtype, x.device)
