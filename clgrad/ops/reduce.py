"""Reductions over any set of axes: records of one kernel, and statistics made of them."""

from __future__ import annotations

import builtins
from collections import namedtuple
from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..core.dtypes import DType, check_kind
from ..core.errors import DTypeError, bad
from ..families.reduce import ArgReduce, Reduce, Reduction
from ..ndarray import Array
from ..table import ZERO_GRAD, Case
from .complex import parts, view_as_complex
from .declare import composite, driver
from .elementwise import astype, isnan, logical_not, maximum, minimum, ne, sqrt, square, where
from .index import take_along
from .shape import expand, reshape, squeeze

_CASES = (Case(((3, 5),)), Case(((3, 5),), {"dim": 0}), Case(((3, 5),), {"dim": -1, "keepdim": True}),
          Case(((2, 3, 4),), {"dim": (0, 2)}), Case(((2, 3, 4),), {"dim": 1}), Case(((),)),
          Case(((70, 33),), {"dim": 0}), Case(((2, 300),), {"dim": 1}))
_EMPTY = (Case(((0, 4),)), Case(((0, 4),), {"dim": 0}), Case(((4, 0),), {"dim": 1}))


def _spread(g: Any, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Any:
    """A gradient of the reduced shape, read at every element that was reduced."""
    if not keepdim:
        axes = shapes.axis_tuple("reduce", dim, len(shape))
        g = reshape(g, shapes.reduced(shape, axes, True))
    return expand(g, shape)


def _kept(out: Any, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Any:
    """A result with its reduced axes as size 1, so that it broadcasts against the input."""
    return out if keepdim else reshape(out, shapes.reduced(shape, shapes.axis_tuple("reduce", dim, len(shape)), True))


def _np(f: Any) -> Any:
    """NumPy's reduction with our argument names."""
    return lambda x, dim=None, keepdim=False, **kw: f(x, axis=tuple(dim) if isinstance(dim, list) else dim,
                                                     keepdims=keepdim, **kw)


def _summing(d: DType) -> tuple[DType, DType]:
    return (dtypes.summing(d),) * 2


def _ordered(op: str) -> Any:
    def rule(d: DType) -> tuple[DType, DType]:
        check_kind(op, "biuf", d)
        return d, d

    return rule


def _floating(d: DType) -> tuple[DType, DType]:
    return (dtypes.floating(d),) * 2


def _truth(d: DType) -> tuple[DType, DType]:
    return d, dtypes.bool_


_LARGER = {"f": "(a != a) ? a : (((b != b) || (b > a)) ? b : a)", "biu": "(b > a) ? b : a"}
_SMALLER = {"f": "(a != a) ? a : (((b != b) || (b < a)) ? b : a)", "biu": "(b < a) ? b : a"}
_sum = Reduce(Reduction("sum", "a + b", "0", _summing))
_prod = Reduce(Reduction("prod", {"c": "(T)(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x)", "biuf": "a * b"}, "1",
                         _summing))
_mean = Reduce(Reduction("mean", "a + b", "0", _floating, final="a / (T)count"))
_amax = Reduce(Reduction("amax", _LARGER, "lowest", _ordered("amax"), empty=False))
_amin = Reduce(Reduction("amin", _SMALLER, "highest", _ordered("amin"), empty=False))
_any = Reduce(Reduction("any", "(a > b) ? a : b", "0", _truth, map="(x != ZERO) ? ONE : ZERO"))
_all = Reduce(Reduction("all", "(a < b) ? a : b", "1", _truth, map="(x != ZERO) ? ONE : ZERO"))


def _by_parts(reduce: Reduce, x: Array, dim: Any, keepdim: bool) -> Array:
    """A sum of complex numbers is the sums of their parts, which lie side by side."""
    axes = shapes.axis_tuple(reduce.reduction.name, dim, x.ndim)
    return view_as_complex.op.run(reduce(parts(x), axes, keepdim))


def _run_typed(reduce: Reduce, name: str, kinds: str = "biufc") -> Any:
    """A reduction whose ``dtype`` argument says what to accumulate in and return."""
    def run(x: Any, dim: Any, keepdim: bool, dtype: Any) -> Any:
        wanted = None if dtype is None else dtypes.dtype(dtype)
        if wanted is not None:
            check_kind(name, kinds, wanted)
            if "c" in wanted.kind + x.dtype.kind:
                x, wanted = x.astype(wanted), None
        if x.dtype.kind == "c" and name != "prod":
            return _by_parts(reduce, x, dim, keepdim)
        return reduce(x, dim, keepdim, accumulate=wanted)

    return run


def _truthful(reduce: Reduce) -> Any:
    """Any and all of complex numbers, by which of them are not zero."""
    def run(x: Any, dim: Any, keepdim: bool) -> Any:
        return reduce(ne(x, 0) if x.dtype.kind == "c" else x, dim, keepdim)

    return run


_ARGS = "x, dim=None, keepdim=False"
sum = driver("sum", _ARGS + ", *, dtype=None", "reduce", run=_run_typed(_sum, "sum"), ref=_np(np.sum),
             cases=_CASES + _EMPTY,
             grad=[lambda g, x_shape, dim, keepdim: _spread(g, x_shape, dim, keepdim)],
             doc="Sum over ``dim`` (None: all axes; an int or several). Integers and bools are summed in 64 bits.")
mean = driver("mean", _ARGS + ", *, dtype=None", "reduce", run=_run_typed(_mean, "mean", "fc"), ref=_np(np.mean),
              cases=_CASES,
              grad=[lambda g, x_shape, dim, keepdim: _spread(g / _count(x_shape, dim), x_shape, dim, keepdim)],
              doc="Arithmetic mean over ``dim``; of integers in the default float; NaN of nothing.")
prod = driver("prod", _ARGS + ", *, dtype=None", "reduce", run=_run_typed(_prod, "prod"), ref=_np(np.prod),
              cases=_CASES[:5] + _EMPTY, domain=(0.5, 1.5),
              grad=[lambda g, x, dim, keepdim: _prod_gradient(g, x, dim, keepdim)],
              doc="Product over ``dim``. Integers and bools are multiplied in 64 bits.")
amax = driver("amax", _ARGS, "reduce", run=_amax, kinds="biuf", ref=_np(np.max), cases=_CASES,
              grad=[lambda g, x, out, dim, keepdim: _at_extreme(g, x, out, dim, keepdim)],
              doc="Largest value over ``dim``; NaN if there is one. Ties share the gradient.")
amin = driver("amin", _ARGS, "reduce", run=_amin, kinds="biuf", ref=_np(np.min), cases=_CASES,
              grad=[lambda g, x, out, dim, keepdim: _at_extreme(g, x, out, dim, keepdim)],
              doc="Smallest value over ``dim``; NaN if there is one. Ties share the gradient.")
any = driver("any", _ARGS, "reduce", run=_truthful(_any), ref=_np(np.any), cases=_CASES + _EMPTY, grad=[ZERO_GRAD],
             doc="Whether some element over ``dim`` is nonzero.", domain=(-0.6, 0.6))
all = driver("all", _ARGS, "reduce", run=_truthful(_all), ref=_np(np.all), cases=_CASES + _EMPTY, grad=[ZERO_GRAD],
             doc="Whether every element over ``dim`` is nonzero.")
_SINGLE = tuple(c for c in _CASES if not isinstance(c.attrs.get("dim"), tuple))
argmax = driver("argmax", _ARGS, "reduce", run=ArgReduce("argmax", ">"), kinds="biuf", ref=_np(np.argmax),
                cases=_SINGLE,
                grad=[ZERO_GRAD], doc="Position (int64) of the first largest element along ``dim``, or in the "
                                      "flattened array. A NaN counts as largest.")
argmin = driver("argmin", _ARGS, "reduce", run=ArgReduce("argmin", "<"), kinds="biuf", ref=_np(np.argmin),
                cases=_SINGLE,
                grad=[ZERO_GRAD], doc="Position (int64) of the first smallest element along ``dim``, or in the "
                                      "flattened array. A NaN counts as smallest.")


def _count(shape: tuple[int, ...], dim: Any) -> int:
    count = 1
    for a in shapes.axis_tuple("mean", dim, len(shape)):
        count *= shape[a]
    return count


def _at_extreme(g: Any, x: Any, out: Any, dim: Any, keepdim: bool) -> Any:
    chosen = astype(x == _kept(out, x.shape, dim, keepdim), g.dtype)
    return _kept(g, x.shape, dim, keepdim) * chosen / sum(chosen, dim, True)


def _prod_gradient(g: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    """d prod / dx_i is the product of the others: by division where nothing is zero, and apart where one is.

    With one zero, only its own slope is nonzero: the product of the rest. With more, every slope is zero.
    """
    zero = x == 0
    rest = where(zero, 1.0, x)
    zeros = sum(zero, dim, True)
    others = prod(rest, dim, True) / rest
    slope = where(zeros == 0, others, where((zeros == 1) & zero, others, 0.0))
    return _kept(g, x.shape, dim, keepdim) * slope


# Statistics and extremes made of the above --------------------------------------------------------------------------


def _correction(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, Any]:
    """``dim`` and ``correction`` of a call in either of PyTorch's forms; ``var(x, False)`` says unbiased, not dim."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError("var: got both unbiased and correction; expected one of them.")
    return dim, correction if correction is not None else 1 if unbiased is None else int(unbiased)


def _var(x: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
         correction: float | None = None) -> Any:
    check_kind("var", "fc", x.dtype)
    dim, correction = _correction(dim, unbiased, correction)
    count = _count(x.shape, dim)
    deviation = x - mean(x, dim, True)
    divisor = builtins.max(count - correction, 0)
    parts_of = (deviation.real, deviation.imag) if x.dtype.kind == "c" else (deviation,)
    total = builtins.sum(sum(square(d), dim, keepdim) for d in parts_of)
    return total / divisor if divisor else total * float("nan")


_STAT_CASES = tuple(c for c in _CASES if c.shapes != ((),))
_STAT_ARGS = "x, dim=None, unbiased=None, keepdim=False, *, correction=None"


def _spread_ref(f: Any) -> Any:
    def ref(x: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, correction: Any = None) -> Any:
        dim, ddof = _correction(dim, unbiased, correction)
        return f(x, axis=dim, keepdims=keepdim, ddof=ddof)

    return ref


var = composite("var", _STAT_ARGS, "reduce", run=_var, kinds="fc", ref=_spread_ref(np.var),
                cases=(*_STAT_CASES, Case(((3, 5),), {"dim": 1, "unbiased": False})),
                doc="Variance over ``dim``, about the mean computed first; divided by count - ``correction`` (1 unless "
                    "said otherwise, and 0 with ``unbiased=False``).")
std = composite("std", _STAT_ARGS, "reduce", kinds="fc", cases=_STAT_CASES, ref=_spread_ref(np.std),
                run=lambda *given, **named: sqrt(_var(*given, **named)),
                doc="Standard deviation over ``dim``: root of the variance.")

MaxResult = namedtuple("max", ["values", "indices"])
MinResult = namedtuple("min", ["values", "indices"])


def _extreme(name: str, full: Any, position: Any, elementwise: Any, result: type) -> Any:
    """PyTorch's max and min: of all, of two arrays, or (values, indices) along one axis."""
    def run(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return full(x)
        if not isinstance(dim, int):
            if hasattr(dim, "storage"):
                return elementwise(x, dim)
            raise DTypeError(bad(name, f"dim={dim!r}", "an int, or another array", f"For several axes use a{name}."))
        at = position(x, dim, True)
        values = take_along(x, at, dim)
        return result(values, at) if keepdim else result(squeeze(values, dim), squeeze(at, dim))

    return run


max = composite("max", _ARGS, "reduce", run=_extreme("max", amax, argmax, maximum, MaxResult), kinds="biuf",
                options={"other": lambda y, x, dim, keepdim: maximum(x, y)},
                cases=(Case(((3, 5),)),),
                ref=lambda x, dim=None, keepdim=False: np.max(x, axis=dim, keepdims=keepdim),
                doc="Largest element of all; with ``dim``, a pair (values, indices); with an array, maximum(x, dim).")
min = composite("min", _ARGS, "reduce", run=_extreme("min", amin, argmin, minimum, MinResult), kinds="biuf",
                options={"other": lambda y, x, dim, keepdim: minimum(x, y)},
                cases=(Case(((3, 5),)),),
                ref=lambda x, dim=None, keepdim=False: np.min(x, axis=dim, keepdims=keepdim),
                doc="Smallest element of all; with ``dim``, a pair (values, indices); with an array, minimum(x, dim).")


def _nansum(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    return sum(where(isnan(x), 0.0, x) if x.dtype.kind in "fc" else x, dim, keepdim, dtype=dtype)


def _nanmean(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    check_kind("nanmean", "fc", x.dtype)
    total = _nansum(x, dim, keepdim, dtype=dtype)
    return total / astype(sum(logical_not(isnan(x)), dim, keepdim), total.dtype.real)


def _moments(spread: Any, result: type) -> Any:
    def run(x: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Any:
        dim, correction = _correction(dim, unbiased, correction)
        return result(spread(x, dim, None, keepdim, correction=correction), mean(x, dim, keepdim))

    return run


def _moments_ref(f: Any) -> Any:
    return lambda x, dim=None, keepdim=False: (f(x, axis=dim, keepdims=keepdim, ddof=1), np.mean(x, dim,
                                                                                                 keepdims=keepdim))


def _aminmax(x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    return AminmaxResult(amin(x, dim, keepdim), amax(x, dim, keepdim))


VarMeanResult, StdMeanResult = namedtuple("var_mean", ["var", "mean"]), namedtuple("std_mean", ["std", "mean"])
AminmaxResult = namedtuple("aminmax", ["min", "max"])
nansum = composite("nansum", _ARGS + ", *, dtype=None", "reduce", run=_nansum, ref=_np(np.nansum), cases=_CASES[:3],
                   doc="Sum over ``dim`` of what is not NaN.")
nanmean = composite("nanmean", _ARGS + ", *, dtype=None", "reduce", run=_nanmean, ref=_np(np.nanmean), kinds="fc",
                    cases=_CASES[:3], doc="Mean over ``dim`` of what is not NaN; NaN of nothing.")
var_mean = composite("var_mean", _STAT_ARGS, "reduce", run=_moments(var, VarMeanResult), kinds="fc",
                     several=True, cases=_STAT_CASES[:3], method=False, ref=_moments_ref(np.var),
                     doc="(var, mean) over ``dim``.")
std_mean = composite("std_mean", _STAT_ARGS, "reduce", run=_moments(std, StdMeanResult), kinds="fc",
                     several=True, cases=_STAT_CASES[:3], method=False, ref=_moments_ref(np.std),
                     doc="(std, mean) over ``dim``.")
aminmax = composite("aminmax", "x, *, dim=None, keepdim=False", "reduce", run=_aminmax, kinds="biuf", several=True,
                    cases=(Case(((3, 5),)), Case(((3, 5),), {"dim": 1})),
                    ref=lambda x, dim=None, keepdim=False: (np.min(x, dim, keepdims=keepdim),
                                                            np.max(x, dim, keepdims=keepdim)),
                    doc="(min, max) over ``dim``; NaN if there is one.")
