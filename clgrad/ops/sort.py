"""Scans, sorting, and what is made of them: order statistics, searches, compaction and counting."""

from __future__ import annotations

import builtins
from collections import namedtuple
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes, shapes
from ..core.dtypes import DType, check_kind
from ..core.errors import ShapeError, bad
from ..families import index as index_family
from ..families import sort as family
from ..families.ramp import ramp
from ..families.scan import Recurrence, Scan
from ..ndarray import Array, from_host, full
from ..table import ZERO_GRAD, Case
from .complex import parts, view_as_complex
from .declare import composite, driver
from .elementwise import (
    astype,
    ceil,
    clamp,
    eq,
    exp,
    floor,
    isnan,
    log,
    logical_not,
    logical_or,
    ne,
    round,
    where,
)
from .index import take, take_along, take_backward
from .methods import is_recorded
from .reduce import amax, amin, any, argmax, sum
from .shape import cat, flip, narrow, permute, reshape, stack

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

# Sorting ------------------------------------------------------------------------------------------------------------

SortResult = namedtuple("sort", ["values", "indices"])
_SORTS = (Case(((5, 7),)), Case(((40, 3),), {"dim": 0, "descending": True}), Case(((2, 3, 19),), {"dim": 1}),
          Case(((0, 4),)), Case(((),)), Case(((5000,),), {"descending": True}))


def _lines(x: Array, dim: int) -> Array:
    """``dim`` last, and contiguous."""
    return _moved(x, dim, -1).contiguous()


def _moved(x: Any, dim: int, to: int) -> Any:
    order = [a for a in range(x.ndim) if a != dim % x.ndim]
    order.insert(to % x.ndim, dim % x.ndim)
    return permute(x, order)


def _argsort(x: Array, dim: int, descending: bool, stable: bool, op: str = "argsort") -> Array:
    axis = shapes.axis_index(op, dim, max(x.ndim, 1))
    line = _at_least_1d(x)
    return reshape(_moved(family.argsort(op, _lines(line, axis), descending), -1, axis), x.shape)


def _argsort_ref(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    line = x.reshape(x.shape or 1)
    if not descending:
        return np.argsort(line, dim, kind="stable").reshape(x.shape)
    back = line.shape[dim] - 1 - np.argsort(np.flip(line, dim), dim, kind="stable")
    return np.flip(back, dim).reshape(x.shape)


def _sort_ref(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> tuple:
    at = _argsort_ref(x, dim, descending)
    return (np.take_along_axis(x, at, dim) if x.ndim else x.copy()), at


argsort = driver("argsort", "x, dim=-1, descending=False, stable=False", "sort", kinds="biuf", run=_argsort,
                 grad=[ZERO_GRAD],
                 ref=_argsort_ref, cases=_SORTS,
                 doc="Positions (int64) that sort along ``dim``. Always stable; NaN is larger than any number.")
_invert = driver("invert_permutation", "at, dim", "sort", tensors=("at",), grad=[ZERO_GRAD], kinds="", public=False,
                 method=False, ref=lambda at, dim: np.argsort(at, dim), cases=(),
                 run=lambda at, dim: _moved(family.invert(_lines(at, dim)), -1, dim % at.ndim),
                 doc="The inverse of permutations along ``dim``.")
_permuted = driver("permuted_along", "x, at, dim", "sort", tensors=("x", "at"), public=False, method=False,
                   run=lambda x, at, dim: index_family.take_along("sort", x, at, dim % x.ndim),
                   ref=lambda x, at, dim: np.take_along_axis(x, at, dim),
                   cases=(Case(((2, 3), np.array([[2, 0, 1], [1, 0, 2]])), {"dim": 1}),),
                   grad=[lambda g, at, dim: _permuted(g, _invert(at, dim), dim), ZERO_GRAD],
                   doc="take_along with a permutation of each line, whose derivative is the inverse one.")


def _sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    axis = shapes.axis_index("sort", dim, builtins.max(x.ndim, 1))
    if not x.ndim:
        return SortResult(x.clone(), argsort(x))
    if is_recorded(x):
        at = argsort(x, axis, descending)
        return SortResult(_permuted(x, at, axis), at)
    pair = family.order("sort", _lines(unwrap(x), axis), descending, True, True)
    return SortResult(*(_like(x, _moved(a, -1, axis)) for a in pair))


def sorted_values(x: Any, dim: int = -1, descending: bool = False) -> Any:
    """The values of sort alone, which cost less than with their positions."""
    if not x.ndim or is_recorded(x):
        return sort(x, dim, descending).values
    axis = shapes.axis_index("sort", dim, x.ndim)
    values = family.order("sort", _lines(unwrap(x), axis), descending, True, False)[0]
    return _like(x, _moved(values, -1, axis))


sort = composite("sort", "x, dim=-1, descending=False, stable=False", "sort", kinds="biuf", run=_sort, several=True,
                 ref=_sort_ref,
                 cases=_SORTS, doc="Sorted along ``dim``: (values, indices). Always stable; NaN is larger than any "
                                   "number, so last, or first when descending.")
msort = composite("msort", "x", "sort", kinds="biuf", run=lambda x: sorted_values(x, 0), ref=lambda x: np.sort(x, 0),
                  cases=(Case(((7, 3),)),), doc="The values sorted along the first axis.")

# Order statistics ---------------------------------------------------------------------------------------------------

TopkResult = namedtuple("topk", ["values", "indices"])
ModeResult = namedtuple("mode", ["values", "indices"])
KthvalueResult = namedtuple("kthvalue", ["values", "indices"])
MedianResult = namedtuple("median", ["values", "indices"])


def _length(op: str, x: Any, dim: int) -> tuple[int, int]:
    """The axis meant, and its length; that of a 0-d array is 1."""
    axis = shapes.axis_index(op, dim, builtins.max(x.ndim, 1))
    return axis, (x.shape or (1,))[axis]


def _topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    axis, K = _length("topk", x, dim)
    if not 0 <= k <= K:
        raise ShapeError(bad("topk", f"k={k} for {K} elements on axis {axis}", f"0 <= k <= {K}", "Choose a smaller k."))
    line = _at_least_1d(x)
    pair = family.smallest("topk", _lines(unwrap(line), axis), k, largest)
    values, at = (_moved(a, -1, axis) for a in pair)
    values, at = take_along(line, at, axis) if is_recorded(x) else _like(x, values), _like(x, at)
    return TopkResult(values, at) if x.ndim else TopkResult(reshape(values, () if k else (0,)),
                                                            reshape(at, () if k else (0,)))


def _topk_ref(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple:
    return tuple(np.take(r, range(k), dim) for r in _sort_ref(x, dim, largest))


topk = composite("topk", "x, k, dim=-1, largest=True, sorted=True", "sort", kinds="biuf", run=_topk, several=True,
                 ref=_topk_ref,
                 cases=(Case(((5, 7),), {"k": 3}), Case(((9, 2),), {"k": 2, "dim": 0, "largest": False}),
                        Case(((4,),), {"k": 0})),
                 doc="The ``k`` largest elements along ``dim`` (or smallest): (values, indices), in order always; the "
                     "first of equals. NaN is larger than any number.")


def _ranked(op: str, x: Any, dim: int, keepdim: bool, rank: Any, result: type) -> Any:
    """(values, indices) of the elements whose rank along ``dim`` ``rank(x, axis, length)`` says."""
    axis, K = _length(op, x, dim)
    if K == 0:
        raise ShapeError(bad(op, f"shape {x.shape} over dim={dim}", "at least one element", "Test .numel() first."))
    line = _at_least_1d(x)
    at = _moved(family.ranked(op, _lines(unwrap(line), axis), rank(unwrap(line), axis, K)), -1, axis)
    values = take_along(line, at, axis)
    shape = shapes.reduced(x.shape, (axis,) if x.ndim else (), keepdim)
    return result(reshape(values, shape), _like(x, reshape(at, shape)))


def _kthvalue(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    axis, K = _length("kthvalue", x, dim)
    if not 1 <= k <= K:
        raise ShapeError(bad("kthvalue", f"k={k} for {K} elements on axis {axis}", f"1 <= k <= {K}",
                             "The smallest is k=1."))
    return _ranked("kthvalue", x, axis, keepdim, lambda *_: k - 1, KthvalueResult)


def _kthvalue_ref(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> tuple:
    return tuple(np.take(r, [k - 1] if keepdim else k - 1, dim) for r in _sort_ref(x, dim))


kthvalue = composite("kthvalue", "x, k, dim=-1, keepdim=False", "sort", kinds="biuf", run=_kthvalue, several=True,
                     ref=_kthvalue_ref,
                     cases=(Case(((5, 7),), {"k": 3}), Case(((9, 2),), {"k": 9, "dim": 0, "keepdim": True})),
                     doc="The ``k``-th smallest element along ``dim``: (values, indices), the first of equals.")


def _median_rank(x: Array, axis: int, K: int) -> Any:
    """The lower middle; or that of the first NaN, if there is one."""
    if x.dtype.kind != "f":
        return (K - 1) // 2
    numbers = _moved(sum(x == x, axis, True), axis, -1)
    return where(numbers < K, numbers, (K - 1) // 2)


def _median(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return _ranked("median", reshape(x, (-1,)), 0, False, _median_rank, MedianResult).values
    return _ranked("median", x, dim, keepdim, _median_rank, MedianResult)


def _median_ref(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    line = np.sort(x, None)
    return line[-1] if line[-1] != line[-1] else line[(x.size - 1) // 2]


median = composite("median", "x, dim=None, keepdim=False", "sort", kinds="biuf", run=_median, ref=_median_ref,
                   cases=(Case(((3, 5),)), Case(((6,),)), Case(((),))),
                   doc="Lower median of all elements; with ``dim``, a pair (values, indices). NaN if there is one.")


def _at_ranks(values: Any, rank: Array, method: str) -> Any:
    """Entries of sorted lines (the last axis) at float ranks, which have as many lines."""
    low, high = floor(rank), ceil(rank)
    if method == "nearest":
        low = high = round(rank)
    elif method in ("lower", "higher"):
        low = high = low if method == "lower" else high
    first = take_along(values, low.astype(dtypes.int64), -1)
    if low is high:
        return first
    share = astype(rank - low, values.dtype) if method == "linear" else 0.5
    return first + (take_along(values, high.astype(dtypes.int64), -1) - first) * share


def _host_quantile(values: Any, K: int, q: float, method: str) -> Any:
    """The same for a rank known to the host: by views."""
    rank = q * (K - 1)
    low, high = int(rank), -int(-rank // 1)
    if method in ("nearest", "lower", "higher"):
        return narrow(values, -1, {"nearest": builtins.round(rank), "lower": low, "higher": high}[method], 1)
    first = narrow(values, -1, low, 1)
    share = rank - low if method == "linear" else 0.5
    return first + (narrow(values, -1, high, 1) - first) * share if high > low else first


def _quantile(x: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    return _quantiles("quantile", x, q, dim, keepdim, interpolation)


def _nanquantile(x: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
interpolation: str = "linear") -> Any:
    return _quantiles("nanquantile", x, q, dim, keepdim, interpolation)


def _quantiles(op: str, x: Any, q: Any, dim: int | None, keepdim: bool, method: str) -> Any:
    check_kind(op, "f", x.dtype)
    if method not in _METHODS:
        raise ValueError(bad(op, f"interpolation={method!r}", f"one of {', '.join(_METHODS)}", "Pass one of these."))
    line = reshape(x, (-1,)) if dim is None else _at_least_1d(x)
    axis, K = _length(op, line, -1 if dim is None else dim)
    if K == 0:
        raise ShapeError(bad(op, f"shape {x.shape} over dim={dim}", "at least one element", "Test .numel() first."))
    kept = shapes.reduced(x.shape, tuple(range(x.ndim)) if dim is None else (axis,) if x.ndim else (), keepdim)
    given = isinstance(q, (Array, Variable))
    wanted = () if given else tuple(q) if isinstance(q, Sequence) else (q,)
    for v in wanted:
        if not 0 <= v <= 1:
            raise ValueError(bad(op, f"q={v}", "0 <= q <= 1", "A percentage is divided by 100."))
    values = sorted_values(_moved(line, axis, -1))
    last = narrow(values, -1, K - 1, 1)
    if given or op == "nanquantile":
        real = dtypes.float64 if x.device.facts.fp64 else dtypes.float32
        share = reshape(unwrap(q).astype(real), (-1,)) if given else from_host(wanted, real, x.device)
        count = sum(logical_not(isnan(unwrap(values))), -1, True) if op == "nanquantile" else full(
            (*values.shape[:-1], 1), K, dtypes.int64, x.device)
        found = _at_ranks(values, clamp(astype(count - 1, real), 0) * share, method)
    else:
        found = cat([_host_quantile(values, K, v, method) for v in wanted], -1)
    if op == "quantile":
        found = where(isnan(unwrap(last)), last, found)
    several = q.shape if given else (len(wanted),) if isinstance(q, Sequence) else ()
    return reshape(_moved(found, -1, 0), (*several, *kept))


_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")
_QUANTILE_CASES = (Case(((3, 5),), {"q": 0.3}), Case(((7, 3),), {"q": [0.0, 0.25, 1.0], "dim": 0}),
                   Case(((2, 6),), {"q": np.array([0.5, 0.9]), "dim": 1, "keepdim": True}),
                   *(Case(((2, 6),), {"q": 0.3, "dim": 1, "interpolation": m}) for m in _METHODS[1:]))
quantile = composite("quantile", "x, q, dim=None, keepdim=False, *, interpolation='linear'", "sort", run=_quantile,
                     kinds="f", ref=lambda x, q, dim=None, keepdim=False, interpolation="linear": np.quantile(
                         x, q, dim, keepdims=keepdim, method=interpolation), cases=_QUANTILE_CASES,
                     doc="Quantile ``q`` (a number, several, or an array of them) over ``dim``, or of all elements: "
                         "between neighbours as ``interpolation`` says (linear, lower, higher, midpoint, nearest). "
                         "Several come along a new first axis. NaN if there is one.")
nanquantile = composite("nanquantile", "x, q, dim=None, keepdim=False, *, interpolation='linear'", "sort", kinds="f",
                        run=_nanquantile, ref=lambda x, q, dim=None, keepdim=False, interpolation="linear":
                        np.nanquantile(x, q, dim, keepdims=keepdim, method=interpolation), cases=_QUANTILE_CASES,
                        doc="Quantile of what is not NaN: see quantile. NaN where nothing is left.")


def _nanmedian_rank(x: Array, axis: int, K: int) -> Any:
    """The lower middle of what stands before the NaNs."""
    if x.dtype.kind != "f":
        return (K - 1) // 2
    return _moved(clamp((sum(x == x, axis, True) - 1) // 2, 0), axis, -1)


def _nanmedian(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return _ranked("nanmedian", reshape(x, (-1,)), 0, False, _nanmedian_rank, MedianResult).values
    return _ranked("nanmedian", x, dim, keepdim, _nanmedian_rank, MedianResult)


nanmedian = composite("nanmedian", "x, dim=None, keepdim=False", "sort", kinds="biuf", run=_nanmedian, ref=_median_ref,
                      cases=(Case(((3, 5),)), Case(((6,),))),
                      doc="Lower median of what is not NaN; with ``dim``, a pair (values, indices).")


def _mode(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    axis, K = _length("mode", x, dim)
    if K == 0:
        raise ShapeError(bad("mode", f"shape {x.shape} over dim={dim}", "at least one element", "Test .numel() first."))
    line = _moved(_at_least_1d(x), axis, -1)
    values, at = sort(line)
    flat = unwrap(values)
    place = ramp(K, 0, 1, dtypes.int64, x.device)
    starts = cat([full((*flat.shape[:-1], 1), 1, dtypes.bool_, x.device), flat[..., 1:] != flat[..., :-1]], -1)
    run = place - cummax(where(starts, place, 0), -1).values  # earlier elements of the same value
    most = argmax(run, -1, True)
    shape = shapes.reduced(x.shape, (axis,) if x.ndim else (), keepdim)
    return ModeResult(*(reshape(take_along(found, most, -1), shape) for found in (values, at)))


def _mode_ref(x: Any, dim: int = -1, keepdim: bool = False) -> tuple:
    def of(line: Any) -> tuple:
        values, counts = np.unique(line, return_counts=True)
        value = values[counts.argmax()]
        return value, np.flatnonzero(line == value)[-1]

    lines = np.moveaxis(x, dim, -1)
    found = [of(line) for line in lines.reshape(-1, lines.shape[-1])]
    shape = np.take(x, [0] if keepdim else 0, dim).shape
    return tuple(np.array(v).astype(d).reshape(shape) for v, d in zip(zip(*found), (x.dtype, np.int64)))


mode = composite("mode", "x, dim=-1, keepdim=False", "sort", kinds="biuf", run=_mode, several=True, ref=_mode_ref,
                 cases=(Case((np.array([[3, 1, 1, 3, 2], [4, 4, 0, 5, 4]]),)),
                        Case((np.array([[2, 2], [1, 2], [1, 3]]),), {"dim": 0, "keepdim": True})),
                 doc="The most frequent element along ``dim``, the smallest of equally frequent ones: (values, "
                     "indices), the index of its last occurrence.")

# Searching and compaction -------------------------------------------------------------------------------------------


def _searchsorted(sorted_sequence: Array, values: Any, out_int32: bool, right: bool, op: str = "searchsorted") -> Array:
    if not isinstance(values, Array):
        values = full((), values, dtypes.weak(sorted_sequence.dtype, type(values)), sorted_sequence.device)
    found = family.search(op, sorted_sequence, values, right)
    return found.astype(dtypes.int32) if out_int32 else found


def _sided(side: str, line: Any, x: Any, out_int32: bool, right: bool) -> Any:
    if side not in ("left", "right") or (right and side == "left"):
        raise ValueError(bad("searchsorted", f"side={side!r}, right={right}", "'left' or 'right'", "Give one of them."))
    return searchsorted(line, x, out_int32=out_int32, right=side == "right")


_STEPS = np.array([0, 1, 1, 2], np.uint8)
searchsorted = driver("searchsorted", "sorted_sequence, values, *, out_int32=False, right=False", "sort", kinds="biuf",
                      tensors=("sorted_sequence", "values"), run=_searchsorted, grad=[ZERO_GRAD, ZERO_GRAD],
                      keywords={"values": "input"}, options={"side": _sided},
                      method=False, cases=(Case((_STEPS, (3, 5))), Case((_STEPS, (40,)), {"right": True})),
                      ref=lambda line, x, out_int32=False, right=False: np.searchsorted(
                          line, x, "right" if right else "left"),
                      doc="How many elements of a sorted line (the last axis) stand before each value; with ``right``, "
                          "before or equal. Either one line, or one for each line of the values. NaN stands last.")
bucketize = driver("bucketize", "x, boundaries, *, out_int32=False, right=False", "sort", kinds="biuf",
                   grad=[ZERO_GRAD, ZERO_GRAD],
                   tensors=("x", "boundaries"), cases=(Case(((3, 5), _STEPS)), Case(((3, 5), _STEPS), {"right": True})),
                   run=lambda x, line, out_int32, right: _searchsorted(line, x, out_int32, right, "bucketize"),
                   ref=lambda x, line, out_int32=False, right=False: np.searchsorted(
                       line, x, "right" if right else "left"),
                   doc="The bucket of each element: how many of the sorted ``boundaries`` stand before it, or, with "
                       "``right``, before or equal.")
count_nonzero = composite("count_nonzero", "x, dim=None", "sort", run=lambda x, dim=None: sum(x != 0, dim),
                          ref=lambda x, dim=None: np.count_nonzero(x, dim), domain=(-0.6, 2.4),
                          cases=(Case(((3, 5),), {"dim": 1}), Case(((0, 4),), {"dim": 0})),
                          doc="Number of elements that are not zero, over ``dim`` or all (int64).")


def _places(mask: Array) -> tuple[Array, Array]:
    """Flat positions at which a mask is not zero, and the running count of them. Copies one number to the host."""
    counts = _cumsum(reshape(mask, (-1,)) != 0, 0)
    return family.compact(counts, int(counts[-1].item()) if counts.size else 0), counts


def _nonzero(x: Array, as_tuple: bool) -> Any:
    at, columns = _places(x)[0], []
    for n in reversed(x.shape):
        columns.append(at % n if n else at)
        at = at // n if n else at
    columns.reverse()
    if as_tuple:
        return tuple(columns)
    return stack(columns, 1) if columns else reshape(at, (at.size, 1))[:, :0]


nonzero = composite("nonzero", "x, *, as_tuple=False", "sort",
                    run=lambda x, *, as_tuple=False: _all_like(x, _nonzero(unwrap(x), as_tuple)),
                    ref=lambda x, as_tuple=False: np.argwhere(x), domain=(-0.6, 2.4),
                    cases=(Case(((3, 5),)), Case(((2, 3, 4),)), Case(((0, 4),)), Case(((5000,),))),
                    doc="Indices (int64, one a row) of the elements that are not zero; ``as_tuple``: a column an axis. "
                        "Their number is copied to the host.")


def _all_like(x: Any, results: Any) -> Any:
    return tuple(_like(x, r) for r in results) if isinstance(results, tuple) else _like(x, results)

# Counting -----------------------------------------------------------------------------------------------------------

HistogramResult = namedtuple("histogram", ["hist", "bin_edges"])


def _starts(lines: Array) -> Array:
    """Of lines (2-d) in order: which differs from the one before."""
    differ = any(lines[1:] != lines[:-1], 1)
    return cat([full((builtins.min(1, lines.shape[0]),), 1, dtypes.bool_, lines.device), differ])


def _lexicographic(lines: Array) -> Array:
    """Positions that sort lines (2-d) by their first element, equal ones by the next, and so on; stable."""
    order = ramp(lines.shape[0], 0, 1, dtypes.int64, lines.device)
    for column in reversed(range(lines.shape[1])):
        key = take(lines[:, column], order, 0).contiguous()
        order = take(order, family.argsort("unique", key, False), 0)
    return order


def _runs(op: str, x: Any, in_order: Any, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """Distinct slices of x: runs of equal ones once ``in_order(lines)`` has said in which order to look at them."""
    moved = reshape(x, (-1,)) if dim is None else _moved(x, shapes.axis_index(op, dim, x.ndim), 0)
    n = moved.shape[0]
    plain = unwrap(moved)
    lines = (parts(plain) if plain.dtype.kind == "c" else plain).reshape((n, prod(plain.shape[1:]) * (
        2 if plain.dtype.kind == "c" else 1)))
    order = in_order(lines)
    starts = _starts(lines if order is None else take(lines, order, 0))
    at, counts = _places(starts)
    chosen = take(moved, at if order is None else take(order, at, 0), 0)
    result = [chosen if dim is None else _moved(chosen, 0, shapes.axis_index(op, dim, x.ndim))]
    if return_inverse:
        inverse = counts - 1 if order is None else take(counts - 1, family.invert(order), 0)
        result.append(_like(x, reshape(inverse, x.shape) if dim is None else inverse))
    if return_counts:
        ends = builtins.min(1, n)
        result.append(_like(x, cat([at[1:], full((ends,), n, dtypes.int64, x.device)]) - at))
    return tuple(result) if len(result) > 1 else result[0]


def _unique(x: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
            dim: int | None = None) -> Any:
    return _runs("unique", x, _lexicographic, return_inverse, return_counts, dim)


def _unique_consecutive(x: Any, return_inverse: bool = False, return_counts: bool = False,
dim: int | None = None) -> Any:
    return _runs("unique_consecutive", x, lambda lines: None, return_inverse, return_counts, dim)


unique = composite("unique", "x, sorted=True, return_inverse=False, return_counts=False, dim=None", "sort", run=_unique,
                   ref=lambda x, dim=None, **_: np.unique(x, axis=dim, equal_nan=False),
                   cases=(Case(((3, 5),)), Case(((0,),)), Case((np.array([[2, 1], [0, 3], [2, 1]]),), {"dim": 0})),
                   doc="Distinct elements of all, or slices along ``dim``, in (lexicographic) order always; with "
                       "``return_inverse`` also where each went, with ``return_counts`` how often each came. NaNs are "
                       "distinct. The gradient goes to the first of equals. Their number is copied to the host.")
unique_consecutive = composite("unique_consecutive", "x, return_inverse=False, return_counts=False, dim=None", "sort",
                               run=_unique_consecutive, ref=lambda x, dim=None: x.reshape(-1)[np.flatnonzero(
                                   np.concatenate([[True] * min(1, x.size), x.reshape(-1)[1:] != x.reshape(-1)[:-1]]))],
                               cases=(Case((np.array([1, 1, 2, 2, 3, 1]),)),),
                               doc="Elements, or slices along ``dim``, without those equal to the one before them.")


def _isin(x: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    if not isinstance(x, (Array, Variable)):
        x = full((), x, dtypes.of_scalar(x), test_elements.device)
    if not isinstance(test_elements, (Array, Variable)):
        return ne(x, test_elements) if invert else eq(x, test_elements)
    line = sorted_values(reshape(unwrap(test_elements), (-1,)))
    if not line.size:
        return _like(x, full(x.shape, invert, dtypes.bool_, x.device))
    common = dtypes.result_type(line.dtype, x.dtype)
    line, values = line.astype(common), unwrap(x).astype(common)
    at = clamp(family.search("isin", line, values, False), max=line.size - 1)
    found = take(line, at, 0)
    return _like(x, ne(found, values) if invert else eq(found, values))


isin = composite("isin", "x, test_elements, *, assume_unique=False, invert=False", "sort", kinds="biuf", run=_isin,
                 keywords={"x": "elements"},
                 tensors=("x", "test_elements"), method=False,
                 ref=lambda x, test_elements, invert=False: np.isin(x, test_elements, invert=invert),
                 cases=(Case(((3, 5), (4,))), Case((np.arange(6), np.array([4, 1, 1])), {"invert": True})),
                 doc="Whether each element is among the test elements; with ``invert`` whether it is not.")


def _between(edges: Array) -> Array:
    return edges[1:] - edges[:-1]


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    if x.ndim != 1 or x.dtype.kind not in "iu":
        raise ShapeError(bad("bincount", f"shape {x.shape} of {x.dtype}", "one line of non-negative integers",
                             "Flatten it, and convert it with .to(int64)."))
    if weights is not None and weights.shape != x.shape:
        raise ShapeError(bad("bincount", f"weights of shape {weights.shape}", f"{x.shape}", "Give one an element."))
    n, at = minlength, unwrap(x)
    if at.size:
        line = sorted_values(at)
        ends = line[::builtins.max(at.size - 1, 1)].tolist()
        if ends[0] < 0:
            raise ValueError(bad("bincount", f"the element {ends[0]}", "non-negative integers", "Add an offset."))
        n = builtins.max(n, ends[-1] + 1)
    if weights is not None:
        floats = weights if weights.dtype.kind == "f" else weights.to(dtypes.floating(weights.dtype))
        return take_backward(floats, at, (n,), 0)
    if not at.size:
        return _like(x, full((n,), 0, dtypes.int64, x.device))
    edges = ramp(n + 1, 0, 1, dtypes.int64, x.device)
    return _like(x, _between(family.search("bincount", line.astype(dtypes.int64), edges, False)))


bincount = composite("bincount", "x, weights=None, minlength=0", "sort", kinds="biuf", run=_bincount,
                     ref=lambda x, weights=None, minlength=0: np.bincount(x, weights, minlength),
                     cases=(Case((np.array([3, 0, 3, 1]),)), Case((np.arange(5000) % 7,), {"minlength": 9})),
                     doc="How often each non-negative integer comes (int64), or the sum of its ``weights``, added in "
                         "order: same bits every run. The range of x is copied to the host.")


def _range(op: str, x: Array, low: float, high: float, margin: float) -> tuple[float, float]:
    """The range given, or where its ends are equal that of x; never empty."""
    if low == high and x.size:
        low, high = (float(v) for v in stack([amin(x), amax(x)]).tolist())
    if not (low <= high and high - low < float("inf")):
        raise ValueError(bad(op, f"the range {low} to {high}", "a finite one, from low to high", "Give min and max."))
    return (low - margin, high + margin) if low == high else (low, high)


def _counted(x: Array, edges: Array) -> Array:
    """Elements in each half-open bin, and in the last with its end."""
    line = sorted_values(reshape(x, (-1,)))
    inner = family.search("histogram", line, edges[:-1], False)
    return _between(cat([inner, family.search("histogram", line, edges[-1:], True)]))


def _weighed(x: Array, edges: Array, weight: Array) -> Array:
    """Sums of weights in the same bins, added in the order of x; what is outside goes into a bin that is dropped."""
    if weight.shape != x.shape:
        raise ShapeError(bad("histogram", f"weight of shape {weight.shape}", f"{x.shape}", "Give one an element."))
    flat, bins = x.reshape((-1,)), edges.size - 1
    place = family.search("histogram", edges, flat, True) - 1
    place = where(flat == edges[-1:], bins - 1, place)
    outside = logical_or(place < 0, logical_or(place >= bins, isnan(flat)))
    return take_backward(weight.reshape((-1,)).astype(x.dtype), where(outside, bins, place), (bins + 1,), 0)[:bins]


def _histc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    check_kind("histc", "f", x.dtype)
    low, high = _range("histc", unwrap(x), min, max, 1.0)
    edges = ramp(bins + 1, low, (high - low) / bins, x.dtype, x.device, high)
    return _like(x, _counted(unwrap(x), edges).astype(x.dtype))


histc = composite("histc", "x, bins=100, min=0, max=0", "sort", run=_histc, kinds="f",
                  ref=lambda x, bins=100, min=0, max=0: np.histogram(
                      x, bins, None if min == max else (min, max))[0].astype(x.dtype),
                  cases=(Case(((3, 50),), {"bins": 4, "min": -2, "max": 2}),),
                  doc="Number of elements in each of ``bins`` equal parts of ``min`` to ``max`` (equal ends: the range "
                      "of x, copied to the host), in x's dtype. What is outside, and NaN, is not counted.")


def _histogram(x: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    check_kind("histogram", "f", x.dtype)
    edges = unwrap(bins)
    if not isinstance(edges, Array):
        low, high = _range("histogram", unwrap(x), *(range or (0.0, 0.0)), 0.5)
        edges = ramp(bins + 1, low, (high - low) / bins, x.dtype, x.device, high)
    line = unwrap(x)
    hist = _counted(line, edges).astype(x.dtype) if weight is None else _weighed(line, edges, unwrap(weight))
    if density:
        hist = hist / (_between(edges) * sum(hist))
    return HistogramResult(_like(x, hist), _like(x, edges))


histogram = composite("histogram", "x, bins, *, range=None, weight=None, density=False", "sort", run=_histogram,
                      kinds="f",
                      several=True, cases=(Case(((3, 50),), {"bins": 4, "range": (-2.0, 2.0)}),
                                           Case(((3, 50),), {"bins": 2, "range": (-2.0, 2.0), "density": True})),
                      ref=lambda x, bins, range=None, weight=None, density=False: tuple(
                          r.astype(x.dtype) for r in np.histogram(x, bins, range, density, weight)),
                      doc="(hist, bin_edges): number of elements (with ``density``, their share over the width) in "
                          "bins of equal width over ``range`` or x's own, or between the edges that an array ``bins`` "
                          "gives.")
