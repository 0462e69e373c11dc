"""Scans: sums, products, extremes along an axis so far."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes, shapes
from ..core.dtypes import DType, check_kind
from ..families.scan import Recurrence, Scan
from ..ndarray import Array
from ..table import Case
from .complex import parts, view_as_complex
from .declare import composite, driver
from .elementwise import (
    exp,
    log,
    where,
)
from .index import take_along
from .shape import flip, reshape

# Scans --------------------------------------------------------------------------------------------------------------

_LOGADD = ("(a.v != a.v) ? a.v : (b.v != b.v) ? b.v : (a.v == b.v && a.v - b.v != 0) ? a.v : "
           "fmax(a.v, b.v) + log1p(exp(-fabs(a.v - b.v)))")


def _ordered(op: str) -> Any:
    def rule(d: DType) -> DType:
        check_kind(op, "biuf", d)
        return d

    return rule


_cumsum = Scan(Recurrence("cumsum", "0", dtypes.summing, "a.v + b.v", exact=True))
_cumprod = Scan(Recurrence("cumprod", "1", dtypes.summing,
                           {"c": "(T)(a.v.x * b.v.x - a.v.y * b.v.y, a.v.x * b.v.y + a.v.y * b.v.x)",
                           "biuf": "a.v * b.v"}))
_logcumsumexp = Scan(Recurrence("logcumsumexp", "-INFINITY", dtypes.floating, _LOGADD))
_cummax = Scan(Recurrence("cummax", "lowest", _ordered("cummax"), better=">="))
_cummin = Scan(Recurrence("cummin", "highest", _ordered("cummin"), better="<="))

_SCANS = (Case(((5, 7),), {"dim": 1}), Case(((40, 3),), {"dim": 0}), Case(((2, 3, 19),), {"dim": -2}),
          Case(((0, 4),), {"dim": 0}), Case(((),), {"dim": 0}))
_LONG = Case(((9001,),), {"dim": 0})


def _typed(scan: Scan) -> Any:
    def run(x: Array, dim: int, dtype: Any) -> Array:
        wanted = None if dtype is None else dtypes.dtype(dtype)
        if "c" in x.dtype.kind + (wanted or x.dtype).kind:
            x, wanted = x if wanted is None else x.astype(wanted), None
        if x.dtype.kind == "c" and scan is _cumsum:  # sums of the parts, which lie side by side
            axis = shapes.axis_index("cumsum", dim, max(x.ndim, 1))
            flat = x.reshape((-1,)) if not x.ndim else x
            return view_as_complex.op.run(scan(parts(flat), axis)).reshape(x.shape)
        return scan(x, dim, wanted)

    return run


def _ref(f: Any) -> Any:
    """NumPy's scan with our argument names; a 0-d array has one element in any order."""
    return lambda x, dim, dtype=None: f(x.reshape(x.shape or 1), axis=dim, dtype=dtype).reshape(x.shape)


def _from_the_end(scan: Any, x: Any, dim: int) -> Any:
    return flip(scan(flip(x, (dim,)), dim), (dim,)) if x.ndim else x


def _cumprod_gradient(g: Any, x: Any, out: Any, dim: int) -> Any:
    """By division before a line's first zero; at it, the products without it; behind it every product is zero.

    The last is a constant here, so second derivatives between two elements that are zero are not seen, as in prod.
    """
    zero = x == 0
    count = cumsum(zero, dim)
    first = zero & (count == 1)
    before = _from_the_end(cumsum, g * out, dim) / where(zero, 1.0, x)
    at = _from_the_end(cumsum, g * cumprod(where(first, 1.0, x), dim), dim)
    return where(count == 0, before, where(first, at, 0.0))


def _exp_scan(g: Any, up: Any, down: Any, dim: int, reverse: bool) -> Any:
    """In logarithms, those of positive and negative g apart, so that nothing overflows."""
    def part(size: Any) -> Any:
        terms = where(size > 0, log(where(size > 0, size, 1.0)) + down, -float("inf"))
        return exp((_from_the_end(_logcumsumexp, terms, dim) if reverse else _logcumsumexp(terms, dim)) + up)

    return part(g) - part(-g)


def _exp_scan_gradient(g: Any, out: Any, g_out: Any, up: Any, down: Any, dim: int, reverse: bool) -> tuple:
    back = exp_scan(g, down, up, dim, not reverse)
    return back, g * out, g_out * back


def _exp_scan_ref(g: Any, up: Any, down: Any, dim: int, reverse: bool) -> Any:
    terms = g * np.exp(down)
    return np.exp(up) * (np.flip(np.cumsum(np.flip(terms, dim), dim), dim) if reverse else np.cumsum(terms, dim))


exp_scan = driver("exp_scan", "g_out, up, down, dim, reverse", "sort", tensors=("g_out", "up", "down"), kinds="f",
                  run=_exp_scan, grad=_exp_scan_gradient, ref=_exp_scan_ref, public=False, method=False,
                  cases=(Case(((2, 5), (2, 5), (2, 5)), {"dim": 1, "reverse": True}),),
                  doc="exp(up_k) times the sum of g_j exp(down_j) over j up to k, or from k on: linear in g, and its "
                      "own transpose with the roles exchanged.")
cumsum = driver("cumsum", "x, dim, *, dtype=None", "reduce", inplace=True,
                run=_typed(_cumsum), ref=_ref(np.cumsum),
                cases=(*_SCANS, _LONG), grad=[lambda g, dim: _from_the_end(cumsum, g, dim)],
                doc="Sums of the elements up to each along ``dim``. Integers and bools are summed in 64 bits.")
cumprod = driver("cumprod", "x, dim, *, dtype=None", "reduce", inplace=True,
                run=_typed(_cumprod), ref=_ref(np.cumprod),
                 domain=(0.5, 1.5), cases=_SCANS,
                 grad=[lambda g, x, out, dim: _cumprod_gradient(g, x, out, dim)],
                 doc="Products of the elements up to each along ``dim``. Integers and bools are multiplied in 64 bits.")
logcumsumexp = driver("logcumsumexp", "x, dim", "reduce", run=_logcumsumexp, kinds="f", cases=_SCANS,
                      ref=lambda x, dim: np.logaddexp.accumulate(x.reshape(x.shape or 1), dim).reshape(x.shape),
                      grad=[lambda g, x, out, dim: exp_scan(g, x, -out, dim, True)],
                      doc="Logarithm of the sums of exponentials up to each element along ``dim``.")

CummaxResult = namedtuple("cummax", ["values", "indices"])
CumminResult = namedtuple("cummin", ["values", "indices"])


def _at_least_1d(x: Any) -> Any:
    return x if x.ndim else reshape(x, (1,))


def _extremes_ref(better: Any) -> Any:
    """(values, positions) so far along an axis: NaN once there is one, the last of equals."""
    def ref(x: Any, dim: int) -> tuple:
        lines = np.moveaxis(x.reshape(x.shape or 1), dim, -1)
        at = np.zeros(lines.shape, np.int64)
        for where_ in np.ndindex(lines.shape[:-1]):
            line, best = lines[where_], 0
            for k, v in enumerate(line):
                if v != v or (line[best] == line[best] and better(v, line[best])):
                    best = k
                at[where_][k] = best
        at = np.moveaxis(at, -1, dim)
        return np.take_along_axis(x.reshape(x.shape or 1), at, dim).reshape(x.shape), at.reshape(x.shape)

    return ref


def _extremes(positions: Any, result: type) -> Any:
    def run(x: Any, dim: int) -> Any:
        line = _at_least_1d(x)
        at = positions(unwrap(line), dim)
        return result(reshape(take_along(line, at, dim), x.shape), _like(x, reshape(at, x.shape)))

    return run


def _like(x: Any, result: Any) -> Any:
    """A result without a gradient, as a Variable where x is one."""
    return Variable(result) if isinstance(x, Variable) and not isinstance(result, Variable) else result


cummax = composite("cummax", "x, dim", "sort", kinds="biuf", run=_extremes(_cummax, CummaxResult), several=True,
                   ref=_extremes_ref(lambda a, b: a >= b), cases=_SCANS,
                   doc="Largest element up to each along ``dim``: (values, indices), the last of equals; NaN is "
                       "largest.")
cummin = composite("cummin", "x, dim", "sort", kinds="biuf", run=_extremes(_cummin, CumminResult), several=True,
                   ref=_extremes_ref(lambda a, b: a <= b), cases=_SCANS,
                   doc="Smallest element up to each along ``dim``: (values, indices), the last of equals; NaN is "
                       "smallest.")
