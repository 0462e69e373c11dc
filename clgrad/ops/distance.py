"""Norms, distances and vector products."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array
from ..table import Case
from .declare import composite, driver
from .elementwise import (
    abs,
    astype,
    eq,
    pow,
    sgn,
    sign,
    sqrt,
    square,
    where,
)
from .manipulate import _roll
from .reduce import _at_extreme, _kept, amax, amin, sum
from .shape import expand, unsqueeze

_FAMILY = "manipulate"

# Distances and norms -------------------------------------------------------------------------------------------------


def _vector_norm(x: Array, ord: Any, dim: Any, keepdim: bool, dtype: Any) -> Array:
    x = x if dtype is None else astype(x, dtypes.dtype(dtype))
    check_kind("vector_norm", "fc", x.dtype)
    if x.dtype.kind == "c":
        return _norm_of(abs(x), ord, dim, keepdim)
    return astype(_norm_of(astype(x, x.dtype.accumulator), ord, dim, keepdim), x.dtype)


def _norm_of(x: Array, ord: Any, dim: Any, keepdim: bool) -> Array:
    if ord == 2:
        return sqrt(sum(square(x), dim, keepdim))
    if ord == 0:
        return sum(astype(x != 0, x.dtype), dim, keepdim)
    size = abs(x)
    if ord == 1:
        return sum(size, dim, keepdim)
    if ord in (inf, -inf):
        return (amax if ord > 0 else amin)(size, dim, keepdim)
    return pow(sum(pow(size, ord), dim, keepdim), 1 / ord)


def _norm_slope(g: Any, x: Any, out: Any, ord: Any, dim: Any, keepdim: bool) -> Any:
    """d norm / dx, with 0 where the norm is 0, as PyTorch has it. A complex x moves its absolute values."""
    if x.dtype.kind == "c":
        return _norm_slope(g, abs(x), out, ord, dim, keepdim) * sgn(x)
    if ord == 0:
        return x * 0.0
    if ord in (inf, -inf):
        return _at_extreme(g, abs(x), out, dim, keepdim) * sign(x)
    g = _kept(g, x.shape, dim, keepdim)
    if ord == 1:
        return g * sign(x)
    length = _kept(out, x.shape, dim, keepdim)
    length = where(eq(length, 0), 1.0, length)
    if ord == 2:
        return g / length * x
    ratio = abs(x) / length
    return g * sign(x) * (pow(ratio, ord - 1) if ord > 1 else where(eq(ratio, 0), 0.0, pow(
        where(eq(ratio, 0), 1.0, ratio), ord - 1)))


def _norm_ref(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    axes = tuple(range(x.ndim)) if dim is None else dim
    size = np.abs(x)
    if ord == 0:
        return (x != 0).sum(axes, keepdims=keepdim).astype(size.dtype)
    if ord in (inf, -inf):
        return (np.max if ord > 0 else np.min)(size, axes, keepdims=keepdim)
    return (size**ord).sum(axes, keepdims=keepdim) ** (1 / ord)


vector_norm = driver("vector_norm", "x, ord=2, dim=None, keepdim=False, *, dtype=None", _FAMILY, run=_vector_norm,
                     holomorphic=False, grad=[_norm_slope], ref=_norm_ref, method=False, kinds="fc",
                     keywords={"x": "x"},
                     cases=(Case(((3, 4),), {"dim": 1}), Case(((3, 4),), {"ord": 1, "keepdim": True, "dim": 0}),
                            Case(((3, 4),), {"ord": inf, "dim": -1}), Case(((3, 4),), {"ord": 3})),
                     doc="(sum |x|**ord)**(1/ord) over ``dim``; inf and -inf give the largest and smallest |x|, 0 the "
                         "number of nonzeros. The slope at zero is zero.")


def _norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if isinstance(p, str) and p != "fro":
        raise ValueError(bad("norm", f"p={p!r}", "'fro' or a number", "Use linalg.matrix_norm for norms of matrices."))
    x = x if dtype is None else astype(x, dtype)
    return vector_norm(x, 2 if p in ("fro", None) else p, dim, keepdim)


norm = composite("norm", "x, p='fro', dim=None, keepdim=False, dtype=None", _FAMILY, run=_norm, kinds="fc",
                 ref=lambda x, p="fro", dim=None, keepdim=False: _norm_ref(x, 2 if p == "fro" else p, dim, keepdim),
                 cases=(Case(((3, 4),)), Case(((3, 4),), {"p": 1, "dim": 0})),
                 doc="Norm of the elements over ``dim``, of order p ('fro' is 2): vector_norm.")


def _cdist(x: Any, y: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(bad("cdist", f"shapes {x.shape} and {y.shape}", "(..., P, M) and (..., R, M)",
                             "Rows are points of one dimension."))
    return vector_norm(unsqueeze(x, -2) - unsqueeze(y, -3), p, -1)


cdist = composite("cdist", "x, y, p=2.0, compute_mode=None", _FAMILY, tensors=("x", "y"), run=_cdist, kinds="f",
                  keywords={"x": "x1", "y": "x2"},
                  ref=lambda x, y, p=2.0: _norm_ref(x[..., :, None, :] - y[..., None, :, :], p, -1), method=False,
                  cases=(Case(((3, 4), (5, 4))), Case(((2, 3, 4), (2, 2, 4)), {"p": 1.0})),
                  doc="Distance of order p of each row of x to each row of y, from the differences themselves.")


def _cross(x: Any, y: Any, dim: int | None = None) -> Any:
    shape = shapes.broadcast("cross", x.shape, y.shape)
    threes = [a for a, n in enumerate(shape) if n == 3]
    axis = (threes or [None])[0] if dim is None else shapes.axis_index("cross", dim, len(shape))
    if axis is None or shape[axis] != 3:
        raise ShapeError(bad("cross", f"shapes {x.shape} and {y.shape}, dim={dim}", "an axis of size 3", "Name it."))
    x, y = expand(x, shape), expand(y, shape)
    return _roll(x, -1, axis) * _roll(y, -2, axis) - _roll(x, -2, axis) * _roll(y, -1, axis)


cross = composite("cross", "x, y, dim=None", _FAMILY, tensors=("x", "y"), run=_cross, kinds="iuf",
                  ref=lambda x, y, dim=None: np.cross(x, y, axis=-1 if dim is None else dim),
                  cases=(Case(((2, 3), (2, 3))), Case(((3, 2), (3, 2)), {"dim": 0})),
                  doc="Vector product along an axis of size 3 (the first such one unless named).")
