"""Elementwise records: arithmetic, comparison, logic, bits, functions of one variable, activations.

C expressions hold for scalars and for vectors: ``T`` is the type computed in, ``ZERO``, ``ONE`` and ``K(0.5)`` are
constants of it; beside OpenCL C's functions there are those of kernels/functions.mako. Where an op takes complex
numbers too, ``c`` has an entry for them, made of the functions in kernels/complex.mako. Derivatives of holomorphic
functions are written as for reals: the engine conjugates. Formulas without a note are textbook definitions.
"""

from __future__ import annotations

import builtins
import cmath
import math
import warnings
from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..core.dtypes import DType
from ..core.errors import DTypeError, bad
from ..families.elementwise import Elementwise, Expression
from ..ndarray import Array, empty, full
from ..table import ZERO_GRAD, Case, NoGrad
from .declare import FLOAT, TRUTH, composite, driver, elementwise, rule_of
from .second import through

_ANY, _NUMBERS = "biufc", "iufc"  # dtype kinds: all, and all but bool
_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


# Arithmetic --------------------------------------------------------------------------------------------------------

add = elementwise("add", "x, y", c="x + y", grad=[lambda g: g, lambda g: g], ref=np.add, operator="add",
                  kinds=_ANY, options={"alpha": lambda alpha, x, y: add(x, y * alpha)},
                  doc="x + y, elementwise (y times ``alpha``, with it); on bools, logical or.")
sub = elementwise("sub", "x, y", c="x - y", grad=[lambda g: g, lambda g: -g], ref=np.subtract, operator="sub",
                  kinds=_NUMBERS, aliases=("subtract",), options={"alpha": lambda alpha, x, y: sub(x, y * alpha)},
                  doc="x - y, elementwise; times ``alpha``, with it.")
mul = elementwise("mul", "x, y", c={"c": "c_mul(x, y)", "biuf": "x * y"}, ref=np.multiply, kinds=_ANY,
                  grad=[lambda g, y: g * y, lambda g, x: g * x], operator="mul", aliases=("multiply",),
                  doc="x * y, elementwise; on bools, logical and.")
div = elementwise("div", "x, y", c={"c": "c_div(x, y)", "f": "x / y"}, dtype=FLOAT, kinds=_ANY,
                  domain=((-3, 3), (0.5, 3)),
                  grad=[lambda g, y: g / y, lambda g, y, out: -g * out / y], ref=np.divide, operator="truediv",
                  aliases=("divide", "true_divide"), options={"rounding_mode": lambda mode, x, y: _rounded(mode, x, y)},
                  doc="x / y, elementwise; integers give the default float. With ``rounding_mode`` 'floor' or 'trunc' "
                      "the quotient rounded so, of integers an integer.")
neg = elementwise("neg", "x", c="-x", grad=[lambda g: -g], ref=np.negative, kinds=_NUMBERS, operator="neg",
                  aliases=("negative",), doc="-x; unsigned integers wrap.")
positive = elementwise("positive", "x", c="x", grad=[lambda g: g], ref=np.positive, kinds=_NUMBERS, operator="pos",
                       doc="+x: a copy.")

# Integer division traps on zero and on the lowest number by -1 on CPUs; both are defined here (0, and the wrap).
_INT_DIVIDE = """
static inline T floor_quotient(T x, T y)
{
    if (y == 0) return 0;
    %s
    T q = x / y;
    return (x %% y != 0 && ((x < 0) != (y < 0))) ? q - 1 : q;
}
static inline T floor_modulo(T x, T y)
{
    if (y == 0) return 0;
    %s
    T r = x %% y;
    return (r != 0 && ((r < 0) != (y < 0))) ? r + y : r;
}
static inline T trunc_modulo(T x, T y)
{
    if (y == 0) return 0;
    %s
    return x %% y;
}
"""
# Python's rule (also NumPy's): the remainder has the divisor's sign, and the quotient is corrected from it, because
# floor(x / y) is off by one where x / y rounds up to an integer.
_FLOAT_DIVIDE = """
static inline T floor_modulo(T x, T y)
{
    T r = fmod(x, y);
    if (r != 0) return ((r < 0) != (y < 0)) ? r + y : r;
    return y == 0 ? r : copysign((T)0, y);
}
static inline T floor_quotient(T x, T y)
{
    if (y == 0) return x / y;
    T r = fmod(x, y);
    T q = (x - r) / y;
    if (r != 0 && ((r < 0) != (y < 0))) q -= 1;
    if (q == 0) return copysign((T)0, x / y);
    T whole = floor(q);
    return (q - whole > (T)0.5f) ? whole + 1 : whole;
}
static inline T trunc_modulo(T x, T y) { return fmod(x, y); }
"""


def _division(name: str, function: str, grad: Any, ref: Any, doc: str, **fields: Any) -> Any:
    wrap = ("if (y == -1) return -x;", "if (y == -1) return 0;", "if (y == -1) return 0;")
    header = {"f": _FLOAT_DIVIDE, "i": _INT_DIVIDE % wrap, "u": _INT_DIVIDE % ("", "", "")}
    return elementwise(name, "x, y", c=f"{function}(x, y)", grad=grad, ref=ref, kinds="iuf", header=header, doc=doc,
                       **fields)


floor_divide = _division("floor_divide", "floor_quotient", [ZERO_GRAD, ZERO_GRAD], np.floor_divide, operator="floordiv",
                         doc="Largest integer not above x / y. Integer division by zero gives 0, as in NumPy.",
                         domain=((-9, 9), (0.5, 3)))
remainder = _division("remainder", "floor_modulo", [lambda g: g, lambda g, x, y: -g * floor_divide(x, y)],
                      np.remainder, operator="mod", domain=((-9, 9), (0.7, 3)),
                      doc="x - floor_divide(x, y) * y: has the divisor's sign. Integer modulo zero gives 0.")
fmod = _division("fmod", "trunc_modulo", [lambda g: g, lambda g, x, y: -g * trunc(x / y)], np.fmod,
                 domain=((-9, 9), (0.7, 3)), doc="C's remainder: has the dividend's sign. Integer modulo zero gives 0.")


def _rounded(mode: str, x: Any, y: Any) -> Any:
    if mode == "floor":
        return floor_divide(x, y)
    if mode != "trunc":
        raise ValueError(bad("div", f"rounding_mode={mode!r}", "None, 'floor' or 'trunc'", "Pass one of these."))
    if "f" in (x.dtype.kind if hasattr(x, "dtype") else "fi"[isinstance(x, int)], y.dtype.kind if hasattr(y, "dtype")
               else "fi"[isinstance(y, int)]):
        return trunc(div(x, y))
    return floor_divide(sub(x, fmod(x, y)), y)


# Powers ------------------------------------------------------------------------------------------------------------

# Exponentiation by squaring; a negative exponent of an integer is refused on the host where it is a Python number,
# and gives what NumPy's truncation gives (0, 1 or -1) where it is an array.
_INT_POWER = """
static inline T int_power(T x, T y)
{
    if (y < 0) return x == 1 ? 1 : (x == (T)-1 ? ((y & 1) ? x : 1) : 0);
    T result = 1;
    for (; y > 0; y >>= 1) {
        if (y & 1) result *= x;
        x *= x;
    }
    return result;
}
"""


def _power_rule(op: str, operands: Any) -> tuple[DType, DType]:
    compute = dtypes.result_type(*operands)
    return (dtypes.int8,) * 2 if compute is dtypes.bool_ else (compute, compute)


power = elementwise(
    "power", "x, y", c={"c": "c_pow(x, y)", "f": "pow(x, y)", "iu": "int_power(x, y)"}, dtype=_power_rule, kinds=_ANY,
    header={"iu": _INT_POWER}, domain=((0.3, 3), (0, 2)), method=False, public=False, ref=np.power,
    grad=[lambda g, x, y: _power_slope(g, x, y), lambda g, x, y, out: _exponent_slope(g, x, y, out)],
    cases=(Case(((3, 5), (3, 5))), Case(((3, 1), (5,))), Case(((2, 0), (1,)))),
    doc="x to the power y by the general formula; see pow.")
square = elementwise("square", "x", c={"c": "c_mul(x, x)", "iuf": "x * x"}, ref=np.square, kinds=_NUMBERS,
                     grad=[lambda g, x: _square_backward(g, x)], doc="x * x.")
_square_backward = elementwise("square_backward", "dy, x", c={"c": "c_mul(dy, x + x)", "f": "dy * (x + x)"}, kinds="fc",
                               grad=[lambda g, x: _square_backward(g, x), lambda g, dy: _square_backward(g, dy)],
                               ref=lambda dy, x: dy * 2 * x, public=False, method=False, doc="dy * 2 * x.")
sqrt = elementwise("sqrt", "x", c={"c": "c_sqrt(x)", "f": "sqrt(x)"}, dtype=FLOAT, domain=(0.2, 4),
                   grad=[lambda g, out: g * 0.5 / out], ref=np.sqrt, kinds=_ANY, doc="Square root; NaN below zero.")
rsqrt = elementwise("rsqrt", "x", c={"c": "c_div(ONE, c_sqrt(x))", "f": "ONE / sqrt(x)"}, dtype=FLOAT, kinds=_ANY,
                    domain=(0.2, 4),
                    grad=[lambda g, x, out: g * -0.5 * out / x], ref=lambda x: 1 / np.sqrt(x),
                    doc="1 / sqrt(x), from the exact root: drivers' rsqrt differ by several ulp.")
reciprocal = elementwise("reciprocal", "x", c={"c": "c_div(ONE, x)", "f": "ONE / x"}, dtype=FLOAT, kinds=_ANY,
                         domain=(0.4, 3), ref=lambda x: 1 / x,
                         grad=[lambda g, out: -g * square(out)], doc="1 / x.")


def _power_slope(g: Any, x: Any, y: Any) -> Any:
    """y * x**(y - 1), and 0 where y is 0, also at x = 0."""
    if isinstance(y, (int, float, complex)):
        return g * (power(x, y - 1) * y) if y else g * 0.0
    return g * where(ne(y, 0), y * power(x, y - 1), 0.0)


def _exponent_slope(g: Any, x: Any, y: Any, out: Any) -> Any:
    """x**y * log(x), and 0 at x = 0 for y >= 0, where x**y stays 0."""
    if isinstance(x, (int, float)) and out.dtype.kind != "c":
        if x == 0:
            return where(ge(y, 0), 0.0, g * out * -math.inf)
        return g * out * (math.log(x) if x > 0 else math.nan)
    if isinstance(x, (int, float, complex)):
        return g * out * cmath.log(x) if x else g * 0.0
    never = eq(x, 0) if out.dtype.kind == "c" else logical_and(eq(x, 0), ge(y, 0))
    return where(never, 0.0, g * out * log(where(eq(x, 0), 1.0, x)))


def _pow(x: Any, y: Any) -> Any:
    if isinstance(y, (int, float)) and not isinstance(y, bool) and not isinstance(x, (int, float)):
        integer = x.dtype.kind in "iu"
        if integer and isinstance(y, int) and y < 0:
            raise DTypeError(bad("pow", f"the exponent {y} for {x.dtype.name}", "an exponent of 0 or more",
                                 "Integers have no negative powers: convert to float32 first."))
        if y == 2 and x.dtype.kind != "b" and (isinstance(y, int) or not integer):
            return square(x)
        if x.dtype.kind in "fc" and y in (0.5, -1, 1):
            return {0.5: sqrt, -1: reciprocal, 1: positive}[y](x)
    return power(x, y)


pow = composite("pow", "x, y", "elementwise", tensors=("x", "y"), run=_pow, operator="pow",
                ref=lambda x, y: np.power(x, y), domain=((0.3, 3), (0, 2)), keywords={"y": "exponent"}, inplace=True,
                cases=(Case(((3, 5), (3, 5))), Case(((4,),), {"y": 2}),
                       Case(((4,),), {"y": 3}), Case(((4,),), {"y": 0.5})),
                kinds=_NUMBERS, doc="x to the power y. The exponents 2, 1/2, 1 and -1 take their own kernels.")

# Comparison and logic ----------------------------------------------------------------------------------------------

_NO = [ZERO_GRAD, ZERO_GRAD]
eq = elementwise("eq", "x, y", c={"c": "all(x == y)", "biuf": "x == y"}, dtype=TRUTH, grad=_NO, ref=np.equal,
                 operator="eq", kinds=_ANY, doc="x == y, elementwise.", domain=(-2, 2))
ne = elementwise("ne", "x, y", c={"c": "any(x != y)", "biuf": "x != y"}, dtype=TRUTH, grad=_NO, ref=np.not_equal,
                 operator="ne", aliases=("not_equal",), kinds=_ANY, doc="x != y, elementwise.")
lt = elementwise("lt", "x, y", c="x < y", dtype=TRUTH, grad=_NO, ref=np.less, operator="lt", aliases=("less",),
                 doc="x < y, elementwise.")
le = elementwise("le", "x, y", c="x <= y", dtype=TRUTH, grad=_NO, ref=np.less_equal, operator="le",
                 aliases=("less_equal",), doc="x <= y, elementwise.")
gt = elementwise("gt", "x, y", c="x > y", dtype=TRUTH, grad=_NO, ref=np.greater, operator="gt", aliases=("greater",),
                 doc="x > y, elementwise.")
ge = elementwise("ge", "x, y", c="x >= y", dtype=TRUTH, grad=_NO, ref=np.greater_equal, operator="ge",
                 aliases=("greater_equal",), doc="x >= y, elementwise.")
logical_and = elementwise("logical_and", "x, y", c="(x != ZERO) && (y != ZERO)", dtype=TRUTH, grad=_NO,
                          ref=np.logical_and, doc="Whether both are nonzero.")
logical_or = elementwise("logical_or", "x, y", c="(x != ZERO) || (y != ZERO)", dtype=TRUTH, grad=_NO,
                         ref=np.logical_or, doc="Whether one is nonzero.")
logical_xor = elementwise("logical_xor", "x, y", c="(x != ZERO) != (y != ZERO)", dtype=TRUTH, grad=_NO,
                          ref=np.logical_xor, doc="Whether exactly one is nonzero.")
logical_not = elementwise("logical_not", "x", c={"c": "all(x == ZERO)", "biuf": "x == ZERO"}, dtype=TRUTH,
                          grad=[ZERO_GRAD], ref=np.logical_not, kinds=_ANY, doc="Whether it is zero.")
isnan = elementwise("isnan", "x", c={"c": "any(isnan(x))", "f": "isnan(x)", "biu": "x != x"}, dtype=TRUTH, kinds=_ANY,
                    grad=[ZERO_GRAD], ref=np.isnan, doc="Whether it is not a number.")
isinf = elementwise("isinf", "x", c={"c": "any(isinf(x))", "f": "isinf(x)", "biu": "x != x"}, dtype=TRUTH, kinds=_ANY,
                    grad=[ZERO_GRAD], ref=np.isinf, doc="Whether it is infinite.")
isfinite = elementwise("isfinite", "x", c={"c": "all(isfinite(x))", "f": "isfinite(x)", "biu": "x == x"}, dtype=TRUTH,
                       grad=[ZERO_GRAD], ref=np.isfinite, kinds=_ANY, doc="Whether it is neither infinite nor NaN.")

bitwise_and = elementwise("bitwise_and", "x, y", c="x & y", grad=_NO, ref=np.bitwise_and, kinds="biu", operator="and",
                          doc="x & y, bit by bit.")
bitwise_or = elementwise("bitwise_or", "x, y", c="x | y", grad=_NO, ref=np.bitwise_or, kinds="biu", operator="or",
                         doc="x | y, bit by bit.")
bitwise_xor = elementwise("bitwise_xor", "x, y", c="x ^ y", grad=_NO, ref=np.bitwise_xor, kinds="biu", operator="xor",
                          doc="x ^ y, bit by bit.")
bitwise_not = elementwise("bitwise_not", "x", c={"iu": "~x", "b": "ONE - x"}, grad=[ZERO_GRAD], ref=np.bitwise_not,
                          kinds="biu", operator="invert", aliases=("bitwise_invert",),
                          doc="~x, bit by bit; on bools, logical not.")
# C leaves shifts by the width or more undefined; NumPy gives 0, or the sign.
_SHIFTS = """
static inline T shift_left(T x, T y) { return (y < 0 || y >= (T)(8 * sizeof(T))) ? 0 : x << y; }
static inline T shift_right(T x, T y) { return (y < 0 || y >= (T)(8 * sizeof(T))) ? (x < 0 ? -1 : 0) : x >> y; }
"""
bitwise_left_shift = elementwise("bitwise_left_shift", "x, y", c="shift_left(x, y)", header=_SHIFTS, grad=_NO,
                                 ref=np.left_shift, kinds="iu", operator="lshift", domain=((0, 9), (0, 5)),
                                 doc="x * 2**y; 0 where y reaches the width.")
bitwise_right_shift = elementwise("bitwise_right_shift", "x, y", c="shift_right(x, y)", header=_SHIFTS, grad=_NO,
                                  ref=np.right_shift, kinds="iu", operator="rshift", domain=((0, 90), (0, 5)),
                                  doc="x // 2**y, keeping the sign.")

# Selection ---------------------------------------------------------------------------------------------------------


def _where_rule(op: str, operands: Any) -> tuple[DType, DType]:
    if operands[0] is not dtypes.bool_:
        raise DTypeError(bad(op, f"a condition of {operands[0]}", "bool", "Compare first, as x > 0."))
    result = dtypes.result_type(*operands[1:])
    return result, result


where = elementwise("where", "condition, x, y", dtype=_where_rule, kinds=_ANY,
                    c={"c": "(condition.x != 0) ? x : y", "biuf": "(condition != ZERO) ? x : y"},
                    grad=[ZERO_GRAD, lambda g, condition: where(condition, g, 0.0),
                          lambda g, condition: where(condition, 0.0, g)],
                    ref=np.where, method=False, synonyms={"x": "x", "y": "y"},
                    fewer=lambda condition: _count().nonzero(condition, as_tuple=True),
                    doc="x where the condition (bool) holds, else y. Without both, nonzero(condition, as_tuple=True).")


def _count() -> Any:
    from . import count

    return count


# NaN passes through both, as in NumPy; the gradient of a tie is shared, as in PyTorch.
maximum = elementwise("maximum", "x, y", c="(x != x) ? x : (((x < y) || (y != y)) ? y : x)", ref=np.maximum,
                      grad=[lambda g, x, y: g * _share(x, y), lambda g, x, y: g * _share(y, x)],
                      doc="The larger, elementwise; NaN if either is.")
minimum = elementwise("minimum", "x, y", c="(x != x) ? x : (((x > y) || (y != y)) ? y : x)", ref=np.minimum,
                      grad=[lambda g, x, y: g * _share(y, x), lambda g, x, y: g * _share(x, y)],
                      doc="The smaller, elementwise; NaN if either is.")
_share = elementwise("share", "x, y", c="(x > y) ? ONE : ((x == y) ? K(0.5) : ZERO)", dtype=FLOAT, grad=_NO,
                     ref=lambda x, y: np.where(x > y, 1.0, np.where(x == y, 0.5, 0.0)), public=False, method=False,
                     kinds="f",
                     doc="Part of maximum(x, y) that is x: 1, 0, or 1/2 at a tie.")
_clamp_min = elementwise("clamp_min", "x, low", c="((x < low) || (low != low)) ? low : x", ref=np.maximum,
                         grad=[lambda g, x, low: _at_least(g, x, low),
                               lambda g, x, low: where(lt(x, low), g, 0.0)],
                         doc="x, but at least ``low``.", keywords={"low": "min"})
_clamp_max = elementwise("clamp_max", "x, high", c="((x > high) || (high != high)) ? high : x", ref=np.minimum,
                         grad=[lambda g, x, high: _at_most(g, x, high),
                               lambda g, x, high: where(gt(x, high), g, 0.0)],
                         doc="x, but at most ``high``.", keywords={"high": "max"})
_at_least = elementwise("at_least", "dy, x, low", c="(x >= low) ? dy : ZERO", kinds="f", public=False, method=False,
                        grad=[lambda g, x, low: _at_least(g, x, low), ZERO_GRAD, ZERO_GRAD],
                        ref=lambda dy, x, low: np.where(x >= low, dy, 0), doc="dy where x is at least ``low``, else 0.")
_at_most = elementwise("at_most", "dy, x, high", c="(x <= high) ? dy : ZERO", kinds="f", public=False, method=False,
                       grad=[lambda g, x, high: _at_most(g, x, high), ZERO_GRAD, ZERO_GRAD],
                       ref=lambda dy, x, high: np.where(x <= high, dy, 0),
                       doc="dy where x is at most ``high``, else 0.")


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    if min is None and max is None:
        raise TypeError("clamp: got neither min nor max; expected one of them. Pass min=, max= or both.")
    if min is not None:
        x = _clamp_min(x, min)
    return x if max is None else _clamp_max(x, max)


clamp = composite("clamp", "x, min=None, max=None", "elementwise", run=_clamp, aliases=("clip",), kinds="iuf",
                  inplace=True,
                  ref=lambda x, min=None, max=None: np.clip(x, min, max), domain=(-3, 3),
                  cases=(Case(((3, 5),), {"min": 0}), Case(((3, 5),), {"max": 1}),
                         Case(((7,),), {"min": -1, "max": 1})),
                  doc="x limited to [min, max]; either may be None, a number or an array.")

# Sign and rounding -------------------------------------------------------------------------------------------------

def _real_rule(op: str, operands: Any) -> tuple[DType, DType]:
    compute = dtypes.result_type(*operands)
    return compute, compute.real


abs = elementwise("abs", "x", c={"c": "(T)(hypot(x.x, x.y), 0)", "f": "fabs(x)", "i": "(x < ZERO) ? -x : x", "bu": "x"},
                  grad=[lambda g, x: g * (sgn(x) if x.dtype.kind == "c" else sign(x))], dtype=_real_rule, kinds=_ANY,
                  ref=np.abs, operator="abs", holomorphic=False, aliases=("absolute",),
                  doc="Absolute value; zero slope at zero.")
_SIGN = {"fi": "(x > ZERO) ? ONE : ((x < ZERO) ? -ONE : ((x == ZERO) ? ZERO : x))", "u": "(x > ZERO) ? ONE : ZERO"}
sign = elementwise("sign", "x", c=_SIGN,
                   kinds="iuf", grad=[ZERO_GRAD], ref=np.sign, doc="-1, 0 or 1; NaN of NaN. Of complex numbers: sgn.")


def _sgn_slope(g: Any, x: Any, out: Any) -> Any:
    """z / |z| moves with the angle of z alone: g without its part along z, over |z|. Zero for reals."""
    if x.dtype.kind != "c":
        return g * 0.0
    size = abs(x)
    across = (g - out * (out.conj() * g).real) / where(eq(size, 0), 1.0, size)
    return where(eq(size, 0), 0.0, across)


sgn = elementwise("sgn", "x", c={"c": "c_sign(x)", **_SIGN}, kinds=_NUMBERS, holomorphic=False, ref=np.sign,
                  grad=[_sgn_slope], doc="Sign, also of complex numbers: z / abs(z), and 0 at 0.")
floor = elementwise("floor", "x", c={"f": "floor(x)", "biu": "x"}, grad=[ZERO_GRAD], ref=np.floor,
                    doc="Largest integer not above x.")
ceil = elementwise("ceil", "x", c={"f": "ceil(x)", "biu": "x"}, grad=[ZERO_GRAD], ref=np.ceil,
                   doc="Smallest integer not below x.")
trunc = elementwise("trunc", "x", c={"f": "trunc(x)", "biu": "x"}, aliases=("fix",), grad=[ZERO_GRAD], ref=np.trunc,
                    doc="x without its fraction.")
round = elementwise("round", "x", c={"fc": "rint(x)", "iu": "x"}, kinds=_NUMBERS, grad=[ZERO_GRAD], ref=np.round,
                    options={"decimals": lambda decimals, x: _round_to(x, decimals)},
                    doc="Nearest integer, halves to even; of complex numbers, of each part. With ``decimals`` the "
                        "nearest multiple of 10**-decimals.")


def _round_to(x: Any, decimals: int) -> Any:
    if x.dtype.kind in "iu":
        if decimals >= 0:
            return round(x)
        raise DTypeError(bad("round", f"decimals={decimals} for {x.dtype}", "0 or more for integers",
                             "Convert to float32 first."))
    scale = 10.0 ** builtins.abs(decimals)
    return round(x * scale) / scale if decimals >= 0 else round(x / scale) * scale


# Exponentials, logarithms, trigonometry -----------------------------------------------------------------------------


def _real(name: str, c: str, grad: Any, ref: Any, doc: str, domain: tuple = (-3, 3), **fields: Any) -> Any:
    """A function of one real variable: integers give the default float."""
    return elementwise(name, "x", c=c, dtype=FLOAT, grad=[grad], ref=ref, doc=doc, domain=domain, **fields)


def _analytic(name: str, grad: Any, ref: Any, doc: str, domain: tuple = (-3, 3), c: str | None = None,
              z: str | None = None, **fields: Any) -> Any:
    """A function of one real or complex variable. Without ``c`` or ``z`` its name is that of the C function, and
    behind ``c_`` that of the complex one."""
    return _real(name, {"c": z or f"c_{name}(x)", "f": c or f"{name}(x)"}, grad, ref, doc, domain, kinds=_ANY, **fields)


exp = _analytic("exp", lambda g, out: g * out, np.exp, "e to the power x.")
exp2 = _analytic("exp2", lambda g, out: g * out * math.log(2), np.exp2, "2 to the power x.",
                 z="c_exp(x * (R)0.69314718055994530942)")
expm1 = _analytic("expm1", lambda g, out: g * (out + 1), np.expm1, "exp(x) - 1, exact near zero.")
log = _analytic("log", lambda g, x: g / x, np.log, "Natural logarithm.", (0.2, 4))
log2 = _analytic("log2", lambda g, x: g / (x * math.log(2)), np.log2, "Logarithm to base 2.", (0.2, 4),
                 z="c_log(x) * (R)1.44269504088896340736")
log10 = _analytic("log10", lambda g, x: g / (x * math.log(10)), np.log10, "Logarithm to base 10.", (0.2, 4),
                  z="c_log(x) * (R)0.43429448190325182765")
log1p = _analytic("log1p", lambda g, x: g / (x + 1), np.log1p, "log(1 + x), exact near zero.", (-0.6, 3))
sin = _analytic("sin", lambda g, x: g * cos(x), np.sin, "Sine of x in radians.")
cos = _analytic("cos", lambda g, x: -g * sin(x), np.cos, "Cosine of x in radians.")
tan = _analytic("tan", lambda g, out: g * (square(out) + 1), np.tan, "Tangent of x in radians.", (-1.2, 1.2))
asin = _analytic("asin", lambda g, x: g * rsqrt(1 - square(x)), np.arcsin, "Inverse sine, in radians.",
             (-0.9, 0.9), aliases=("arcsin",))
acos = _analytic("acos", lambda g, x: -g * rsqrt(1 - square(x)), np.arccos, "Inverse cosine, in radians.",
             (-0.9, 0.9), aliases=("arccos",))
atan = _analytic("atan", lambda g, x: g / (square(x) + 1), np.arctan, "Inverse tangent, in radians.",
             aliases=("arctan",))
sinh = _analytic("sinh", lambda g, x: g * cosh(x), np.sinh, "Hyperbolic sine.")
cosh = _analytic("cosh", lambda g, x: g * sinh(x), np.cosh, "Hyperbolic cosine.")
asinh = _analytic("asinh", lambda g, x: g * rsqrt(square(x) + 1), np.arcsinh, "Inverse hyperbolic sine.",
              aliases=("arcsinh",))
acosh = _analytic("acosh", lambda g, x: g * rsqrt(square(x) - 1), np.arccosh, "Inverse hyperbolic cosine.",
              (1.2, 4), aliases=("arccosh",))
atanh = _analytic("atanh", lambda g, x: g / (1 - square(x)), np.arctanh, "Inverse hyperbolic tangent.",
              (-0.9, 0.9), aliases=("arctanh",))
erf = _real("erf", "erf(x)", lambda g, x: g * exp(-square(x)) * (2 / math.sqrt(math.pi)), _erf, "Error function.")
erfc = _real("erfc", "erfc(x)", lambda g, x: -g * exp(-square(x)) * (2 / math.sqrt(math.pi)), _erfc, "1 - erf(x).")
atan2 = elementwise("atan2", "x, y", c="atan2(x, y)", dtype=FLOAT, domain=(0.3, 3), ref=np.arctan2,
                    aliases=("arctan2",), grad=[lambda g, x, y: g * y / (square(x) + square(y)),
                                                lambda g, x, y: -g * x / (square(x) + square(y))],
                    doc="Angle of the point (y, x) in radians, in its quadrant.")
hypot = elementwise("hypot", "x, y", c="hypot(x, y)", dtype=FLOAT, domain=(0.3, 3), ref=np.hypot,
                    grad=[lambda g, x, out: g * x / out, lambda g, y, out: g * y / out],
                    doc="sqrt(x*x + y*y) without overflow.")
# From the nearer end, so that weights 0 and 1 give the ends themselves.
lerp = elementwise("lerp", "x, end, weight", kinds="f",
                   c="(fabs(weight) < K(0.5)) ? x + weight * (end - x) : end - (end - x) * (ONE - weight)",
                   grad=[lambda g, weight: g * (1 - weight), lambda g, weight: g * weight,
                         lambda g, x, end: g * (end - x)],
                   ref=lambda x, end, weight: np.where(np.abs(weight) < 0.5, x + weight * (end - x),
                                                       end - (end - x) * (1 - weight)),
                   cases=(Case(((3, 4), (4,), (3, 1))),),
                   doc="x + weight * (end - x).")
_following = Elementwise(Expression("nextafter", ("x", "y"), "(x == y) ? y : nextafter(x, y)", rule_of(FLOAT, "f")))


def _nextafter(x: Any, y: Any) -> Array:
    d = dtypes.result_type(*(a.dtype if isinstance(a, Array) else a for a in (x, y)))
    if d.c == d.compute or d.kind != "f":
        return _following(x, y)
    # Neighbours in a storage type are neighbours as integers: sign and magnitude.
    x, y = (astype(a, d) if isinstance(a, Array) else full((), a, d, other.device) for a, other in ((x, y), (y, x)))
    shape = shapes.broadcast("nextafter", x.shape, y.shape)
    x, y = (_COPIES(Array(a.storage, shape, shapes.expand_strides(a.shape, a.strides, shape), a.offset, d),
                    out=empty(shape, d, a.device)) for a in (x, y))
    bits, goal = (Array(a.storage, a.shape, a.strides, a.offset, dtypes.int16) for a in (x, y))
    step = where(eq(gt(y, x), gt(x, 0)), bits + 1, bits - 1)
    step = where(eq(x, 0), where(gt(y, 0), 1, goal * 0 - 32767), step)
    out = where(eq(x, y), goal, step)
    out = Array(out.storage, shape, out.strides, out.offset, d)
    return where(logical_or(isnan(x), isnan(y)), math.nan, out)


nextafter = driver("nextafter", "x, y", "elementwise", tensors=("x", "y"), kinds="f", ref=np.nextafter, run=_nextafter,
                   inplace=True,
                   grad=[NoGrad("it steps from one float to the next")] * 2,
                   cases=(Case(((3, 5), (3, 5))), Case(((4,), (1,)))),
                   doc="The neighbour of x in the direction of y, in their dtype; y where they are equal.")
logaddexp = elementwise("logaddexp", "x, y", dtype=FLOAT, ref=np.logaddexp,
                        c="(x == y) ? x + K(0.6931471805599453) : fmax(x, y) + log1p(exp(-fabs(x - y)))",
                        grad=[lambda g, x, y: g * sigmoid(x - y), lambda g, x, y: g * sigmoid(y - x)],
                        doc="log(exp(x) + exp(y)) without overflow.")

# Activations; their first derivatives are records of their own, so that a backward is one launch ---------------------


def _backward(name: str, args: str, c: Any, grad: Any, ref: Any, doc: str) -> Any:
    return elementwise(name, args, c=c, dtype=FLOAT, grad=grad, ref=ref, doc=doc, public=False, method=False,
                       kinds="f" if isinstance(c, str) else "fc")


def _slope(name: str, c: str, formula: Any, ref: Any, doc: str, **fields: Any) -> Any:
    """dy times the slope of a function at x, in one launch; its own derivatives are those of ``formula``."""
    return elementwise(name, "dy, x", c=c, dtype=FLOAT, ref=ref, doc=doc, public=False, method=False, kinds="f",
                       grad=lambda g, dy, x: tuple(through(lambda a, b: (formula(a, b),), (dy, x), (g,))), **fields)


def _sigmoid_ref(x: Any) -> Any:
    return 1 / (1 + np.exp(-1.0 * x))


sigmoid = _analytic("sigmoid", lambda g, out: _sigmoid_backward(g, out), _sigmoid_ref, "1 / (1 + exp(-x)).",
                    c="ONE / (ONE + exp(-x))", z="c_div(ONE, ONE + c_exp(-x))")
_sigmoid_backward = _backward("sigmoid_backward", "dy, y",
                              {"c": "c_mul(dy, c_mul(y, ONE - y))", "f": "dy * (y * (ONE - y))"},
                              [lambda g, y: _sigmoid_backward(g, y), lambda g, dy, y: g * dy * (1 - y * 2)],
                              lambda dy, y: dy * y * (1 - y), "dy times the slope of sigmoid where its value is y.")
tanh = _analytic("tanh", lambda g, out: _tanh_backward(g, out), np.tanh, "Hyperbolic tangent.")
_tanh_backward = _backward("tanh_backward", "dy, y", {"c": "c_mul(dy, ONE - c_mul(y, y))", "f": "dy * (ONE - y * y)"},
                           [lambda g, y: _tanh_backward(g, y), lambda g, dy, y: g * dy * y * -2.0],
                           lambda dy, y: dy * (1 - y * y), "dy times the slope of tanh where its value is y.")
relu = elementwise("relu", "x", c={"f": "(x > ZERO) ? x : ((x != x) ? x : ZERO)", "iu": "(x > ZERO) ? x : ZERO"},
                   kinds="iuf", grad=[lambda g, out: _relu_backward(g, out)], ref=lambda x: np.maximum(x, 0),
                   doc="x where positive, else 0; NaN of NaN.")
_relu_backward = _backward("relu_backward", "dy, y", "(y > ZERO) ? dy : ZERO",
                           [lambda g, y: _relu_backward(g, y), ZERO_GRAD],
                           lambda dy, y: np.where(y > 0, dy, 0), "dy where relu's value y is positive, else 0.")
kept_backward = elementwise("kept_backward", "dy, y, factor", c="(y > ZERO) ? dy * factor : ZERO", kinds="f",
                            grad=[lambda g, y, factor: kept_backward(g, y, factor), ZERO_GRAD, ZERO_GRAD],
                            ref=lambda dy, y, factor: np.where(y > 0, dy * factor, 0), method=False, public=False,
                            cases=(Case(((3, 5), (3, 5)), {"factor": 1.25}), Case(((0, 4), (0, 4)), {"factor": 2.0})),
                            doc="dy * factor where y, a relu's value behind dropout, is positive, else 0.")
silu = _real("silu", "x / (ONE + exp(-x))", lambda g, x: _silu_backward(g, x), lambda x: x * _sigmoid_ref(x),
             "x * sigmoid(x), also called swish.")
_LOGISTIC = "(ONE / (ONE + exp(-x)))"
_silu_backward = _slope("silu_backward", f"dy * ({_LOGISTIC} * (ONE + x * (ONE - {_LOGISTIC})))",
                        lambda dy, x: dy * sigmoid(x) * (x * (1 - sigmoid(x)) + 1),
                        lambda dy, x: dy * _sigmoid_ref(x) * (1 + x * (1 - _sigmoid_ref(x))), "dy times silu's slope.")
softplus = _real("softplus", "fmax(x, ZERO) + log1p(exp(-fabs(x)))", lambda g, x: g * sigmoid(x),
                 lambda x: np.logaddexp(x, 0), "log(1 + exp(x)): smooth maximum of x and zero.", (-20, 20))

_ROOT_HALF, _ROOT_TWO_PI = math.sqrt(0.5), math.sqrt(2 * math.pi)
_GELU_K, _GELU_C = math.sqrt(2 / math.pi), 0.044715


def _normal_slope(dy: Any, x: Any) -> Any:
    return dy * ((erf(x * _ROOT_HALF) + 1) * 0.5 + x * exp(square(x) * -0.5) / _ROOT_TWO_PI)


def _gelu_tanh_slope(dy: Any, x: Any) -> Any:
    t = tanh((x + square(x) * x * _GELU_C) * _GELU_K)
    return dy * ((t + 1) * 0.5 + x * (1 - square(t)) * (square(x) * (3 * _GELU_C) + 1) * (0.5 * _GELU_K))


def _gelu_tanh_slope_ref(dy: Any, x: Any) -> Any:
    t = np.tanh(_GELU_K * (x + _GELU_C * x**3))
    return dy * ((t + 1) * 0.5 + x * (1 - t * t) * (x * x * (3 * _GELU_C) + 1) * (0.5 * _GELU_K))


_gelu_erf = _real("gelu_erf", "x * normal_below(x)", lambda g, x: _gelu_erf_backward(g, x),
                  lambda x: 0.5 * x * (1 + _erf(x * _ROOT_HALF)), "x times the normal distribution function at x.",
                  public=False, method=False)
_gelu_erf_backward = _slope(
    "gelu_erf_backward",
    "dy * (normal_below(x) + x * normal_density(x))",
    _normal_slope,
    lambda dy, x: dy * (0.5 * (1 + _erf(x * _ROOT_HALF)) + x * np.exp(-0.5 * x * x) / _ROOT_TWO_PI),
    "dy times the slope of gelu.")
_HALF_TANH = "(ONE / (ONE + exp(K(-1.5957691216057308) * (x + K(0.044715) * x * x * x))))"  # (1 + tanh(u)) / 2
_gelu_tanh = _real("gelu_tanh", f"x * {_HALF_TANH}", lambda g, x: _gelu_tanh_backward(g, x),
                   lambda x: 0.5 * x * (1 + np.tanh(_GELU_K * (x + _GELU_C * x**3))),
                   "The tanh approximation of gelu, by 1 + tanh(u) = 2 / (1 + exp(-2u)).", public=False, method=False)
_gelu_tanh_backward = _slope(
    "gelu_tanh_backward", f"dy * ({_HALF_TANH} + x * {_HALF_TANH} * (ONE - {_HALF_TANH}) * "
    "(K(1.5957691216057308) + K(0.21406444881780073) * x * x))", _gelu_tanh_slope, _gelu_tanh_slope_ref,
    "dy times the slope of gelu's tanh approximation.")


def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate not in ("none", "tanh"):
        raise ValueError(bad("gelu", f"approximate={approximate!r}", "'none' or 'tanh'", "Pass one of these."))
    return _gelu_tanh(x) if approximate == "tanh" else _gelu_erf(x)


gelu = composite("gelu", "x, approximate='none'", "elementwise", run=_gelu, kinds="biuf",
                 ref=lambda x, approximate="none": 0.5 * x * (1 + _erf(x * _ROOT_HALF)) if approximate == "none" else
                 0.5 * x * (1 + np.tanh(_GELU_K * (x + _GELU_C * x**3))),
                 cases=(Case(((3, 5),)), Case(((4,),), {"approximate": "tanh"})),
                 doc="x * P(N <= x), N standard normal (Hendrycks and Gimpel 2016); 'tanh' for their approximation.")

# Conversion ---------------------------------------------------------------------------------------------------------


def _cast_rule(target: DType) -> Any:
    return lambda op, operands: (target if target.kind == "c" else operands[0], target)


_CASTS = {d: Elementwise(Expression(f"to_{d.name}", ("x",), "x", _cast_rule(d))) for d in dtypes.ALL}
_COPIES = Elementwise(Expression("clone", ("x",), "x", lambda op, operands: (dtypes.result_type(*operands),) * 2))


def _astype(x: Any, dtype: Any) -> Any:
    target = dtypes.dtype(dtype)
    if not isinstance(x, Array):
        raise DTypeError(bad("astype", type(x).__name__, "an array", "Use clgrad.tensor()."))
    if x.dtype.kind == "c" and target.kind not in "cb":
        warnings.warn(f"astype: {x.dtype.name} to {target.name} discards the imaginary part; take .real to say so",
                      np.exceptions.ComplexWarning, stacklevel=4)
    return x if x.dtype is target else _CASTS[target](x)


astype = driver("astype", "x, dtype", "elementwise", run=_astype,
                grad=[lambda g, x_dtype: (g if x_dtype.kind == "c" else g.real).astype(x_dtype)],
                ref=lambda x, dtype: x.real.astype(dtypes.dtype(dtype).np), domain=(0, 3),
                cases=(Case(((3, 5),), {"dtype": "float64"}), Case(((2, 3),), {"dtype": "int32"})),
                doc="The values in another dtype; the array itself where it has it already. Floats truncate to ints.")
clone = driver("clone", "x", "elementwise", run=_COPIES, grad=[lambda g: g], ref=np.copy, cases=(Case(((3, 5),)),
                                                                                             Case(((0,),))),
               options={"memory_format": lambda layout, x: clone(x)},
               doc="A copy in memory of its own, in the same memory order where that has no gaps. ``memory_format`` "
                   "is PyTorch's hint, and changes nothing here.")


def _contiguous(x: Array) -> Array:
    return x if x.is_contiguous() else _COPIES(x, out=empty(x.shape, x.dtype, x.device))


contiguous = driver("contiguous", "x", "elementwise", run=_contiguous, grad=[lambda g: g], ref=np.ascontiguousarray,
                    cases=(Case(((3, 5),)),), options={"memory_format": lambda layout, x: contiguous(x)},
                    doc="The array with its elements row-major: itself, or a copy, whatever ``memory_format`` says.")


def assign(target: Array, value: Any) -> Array:
    """Write ``value``, broadcast and converted, over ``target``; DTypeError for complex numbers over reals."""
    if target.dtype.kind not in "cb" and (value.dtype.kind == "c" if isinstance(value, Array) else
                                          isinstance(value, (complex, np.complexfloating))):
        raise DTypeError(bad("setitem", "complex numbers", f"reals, which {target.dtype} can hold",
                             "Write .real, .imag or abs() of them."))
    return _COPIES.into(target, value, any_cast=True)
