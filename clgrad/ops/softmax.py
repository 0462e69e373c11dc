"""softmax, log_softmax and logsumexp: one kernel forward, one backward; the backward passes are records too."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..families.softmax import Softmax
from ..table import Case
from .declare import composite, driver
from .elementwise import astype, exp
from .reduce import sum
from .shape import permute, reshape, unsqueeze

_CASES = (Case(((3, 5),), {"dim": -1}), Case(((3, 5),), {"dim": 0}), Case(((2, 70, 3),), {"dim": 1}),
          Case(((2, 0),), {"dim": 0}), Case(((2, 3, 35),), {"dim": 1}), Case(((),), {"dim": 0}))
_PAIRS = tuple(Case(c.shapes * 2, c.attrs) for c in _CASES[:3])


def _softmax_ref(x: Any, dim: int) -> Any:
    rows = x if x.ndim else x[None]
    e = np.exp(rows - np.max(rows, axis=dim, keepdims=True, initial=-np.inf))
    return (e / e.sum(axis=dim, keepdims=True)).reshape(x.shape)


def _log_softmax_ref(x: Any, dim: int) -> Any:
    return np.log(_softmax_ref(x, dim))


softmax = driver("softmax", "x, dim", "softmax", run=Softmax("softmax"), ref=_softmax_ref, cases=_CASES, kinds="f",
                  grad=[lambda g, out, dim: _softmax_backward(g, out, dim)],
                  doc="exp(x) / sum(exp(x)) along ``dim``, computed from x - max(x).")
_softmax_backward = driver("softmax_backward", "dy, y, dim", "softmax", tensors=("dy", "y"), kinds="f",
                           run=Softmax("softmax_backward"), public=False, method=False, cases=_PAIRS,
                           grad=[lambda g, y, dim: _softmax_backward(g, y, dim),
                                 lambda g, dy, y, dim: g * (dy - sum(dy * y, dim, True)) - dy * sum(g * y, dim, True)],
                           ref=lambda dy, y, dim: y * (dy - (dy * y).sum(dim, keepdims=True)),
                           doc="Gradient of softmax from dy and its value y.")
log_softmax = driver("log_softmax", "x, dim", "softmax", run=Softmax("log_softmax"), ref=_log_softmax_ref, kinds="f",
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


logsumexp = composite("logsumexp", "x, dim=None, keepdim=False", "softmax", run=_logsumexp,
                      ref=lambda x, dim=None, keepdim=False: np.logaddexp.reduce(x, axis=dim, keepdims=keepdim),
                      cases=(Case(((3, 5),)), Case(((2, 3, 4),), {"dim": (0, 2), "keepdim": True}),
                             Case(((3, 5),), {"dim": 1})),
                      doc="log(sum(exp(x))) over ``dim`` (None: all axes), without overflow.")
