"""Sorting, and order statistics made of it."""

from __future__ import annotations

import builtins
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes, shapes
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..families import index as index_family
from ..families import sort as family
from ..families.ramp import ramp
from ..ndarray import Array, from_host, full
from ..table import ZERO_GRAD, Case
from .declare import composite, driver
from .elementwise import (
    astype,
    ceil,
    clamp,
    floor,
    isnan,
    logical_not,
    round,
    where,
)
from .index import take_along
from .methods import is_recorded
from .reduce import argmax, sum
from .scan import _at_least_1d, _like, cummax
from .shape import _ints, cat, narrow, permute, reshape

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
    k, = _ints(k)
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
