"""Searching sorted arrays, compaction, and counting."""

from __future__ import annotations

import builtins
from collections import namedtuple
from math import prod
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes, shapes
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..families import sort as family
from ..families.ramp import ramp
from ..ndarray import Array, full
from ..table import ZERO_GRAD, Case
from .complex import parts
from .declare import composite, driver
from .elementwise import (
    clamp,
    eq,
    isnan,
    logical_or,
    ne,
    where,
)
from .index import take, take_backward
from .methods import is_recorded
from .reduce import amax, amin, any, sum
from .scan import _cumsum, _like
from .shape import cat, reshape, stack
from .sort import _moved, sorted_values

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
    differ = lines[1:] != lines[:-1]
    differ = reshape(differ, (-1,)) if lines.shape[1] == 1 else any(differ, 1)
    return cat([full((builtins.min(1, lines.shape[0]),), 1, dtypes.bool_, lines.device), differ])


def _lexicographic(lines: Array, places: bool) -> tuple[Array, Array | None]:
    """Lines (2-d) sorted by their first element, equal ones by the next, and so on, stably; and from where each came,
    if that is asked for or was needed."""
    if lines.shape[1] == 1:
        ordered, order = family.order("unique", lines[:, 0].contiguous(), False, True, places)
        return reshape(ordered, lines.shape), order
    order = ramp(lines.shape[0], 0, 1, dtypes.int64, lines.device)
    for column in reversed(range(lines.shape[1])):
        key = take(lines[:, column], order, 0).contiguous()
        order = take(order, family.argsort("unique", key, False), 0)
    return take(lines, order, 0), order


def _as_they_lie(lines: Array, places: bool) -> tuple[Array, Array | None]:
    return lines, None


def _runs(op: str, x: Any, in_order: Any, return_inverse: bool, return_counts: bool, dim: int | None) -> Any:
    """Distinct slices of x: runs of equal ones once ``in_order(lines, places)`` has put them in order."""
    moved = reshape(x, (-1,)) if dim is None else _moved(x, shapes.axis_index(op, dim, x.ndim), 0)
    n = moved.shape[0]
    plain = unwrap(moved)
    lines = (parts(plain) if plain.dtype.kind == "c" else plain).reshape((n, prod(plain.shape[1:]) * (
        2 if plain.dtype.kind == "c" else 1)))
    ordered, order = in_order(lines, return_inverse or is_recorded(moved))
    at, counts = _places(_starts(ordered))
    if order is None and ordered is not lines:  # the values alone were sorted
        chosen = _like(x, reshape(take(ordered, at, 0), (at.size, *moved.shape[1:])))
    else:
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
    return _runs("unique_consecutive", x, _as_they_lie, return_inverse, return_counts, dim)


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
