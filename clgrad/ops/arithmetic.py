"""PyTorch's further elementwise names: most are made of the records in ops/elementwise.py."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.dtypes import check_kind
from ..table import ZERO_GRAD, Case, NoGrad
from .declare import FLOAT, SAME, TRUTH, composite, elementwise, rule_of
from .distance import vector_norm
from .elementwise import (
    astype,
    div,
    eq,
    exp2,
    ge,
    isnan,
    logical_not,
    logical_or,
    mul,
    pow,
    sign,
    sub,
    trunc,
)

_FAMILY = "elementwise"
_ONE, _TWO = (Case(((3, 5),)), Case(((0, 4),))), (Case(((3, 5), (5,))), Case(((2, 0), (1,))))
_NO = [ZERO_GRAD, ZERO_GRAD]


def _pair(name: str, c: Any, grad: Any, ref: Any, doc: str, dtype: Any = SAME, **fields: Any) -> Any:
    return elementwise(name, "x, y", c=c, dtype=dtype, grad=grad, ref=ref, doc=doc, cases=_TWO, **fields)


# Sums with a product or a quotient ------------------------------------------------------------------------------------


def _plus(name: str, combine: Any, ref: Any, what: str, kinds: str) -> Any:
    def run(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
        term = combine(tensor1, tensor2)
        return x + (term if value == 1 else term * value)

    return composite(name, "x, tensor1, tensor2, *, value=1", _FAMILY, tensors=("x", "tensor1", "tensor2"), run=run,
                     kinds=kinds, domain=((-3, 3), (-3, 3), (0.5, 3)), inplace=True, doc=f"x + value * ({what}).",
                     ref=lambda x, y, z, value=1: x + value * ref(y, z),
                     cases=(Case(((3, 5), (3, 1), (5,))), Case(((4,), (4,), (4,)), {"value": 2})))


addcmul = _plus("addcmul", mul, np.multiply, "tensor1 * tensor2", "iufc")
addcdiv = _plus("addcdiv", div, np.divide, "tensor1 / tensor2", "fc")


def _rsub(x: Any, y: Any, *, alpha: Any = 1) -> Any:
    return sub(y, x if alpha == 1 else x * alpha)


rsub = composite("rsub", "x, y, *, alpha=1", _FAMILY, tensors=("x", "y"), run=_rsub, kinds="iufc", method=False,
                 ref=lambda x, y, alpha=1: y - alpha * x, cases=(Case(((3, 5), (5,)), {"alpha": 2}),),
                 doc="y - alpha * x: subtraction with its operands exchanged.")

# Larger and smaller, NaN left out -------------------------------------------------------------------------------------

fmax = _pair("fmax", {"f": "((y != y) || (x >= y)) ? x : y", "iub": "(x >= y) ? x : y"},
             [lambda g, x, y: g * _first(x, y), lambda g, x, y: g * logical_not(_first(x, y))], np.fmax,
             "The larger, elementwise; of NaN and a number the number. A tie's gradient is the first's.")
fmin = _pair("fmin", {"f": "((y != y) || (x <= y)) ? x : y", "iub": "(x <= y) ? x : y"},
             [lambda g, x, y: g * _first(-x, -y), lambda g, x, y: g * logical_not(_first(-x, -y))], np.fmin,
             "The smaller, elementwise; of NaN and a number the number. A tie's gradient is the first's.")


def _first(x: Any, y: Any) -> Any:
    return logical_or(ge(x, y), isnan(y))


# Signs, parts and powers of two ---------------------------------------------------------------------------------------

copysign = _pair("copysign", "copysign(x, y)", [lambda g, x, out: g * (sign(x) * sign(out)), ZERO_GRAD], np.copysign,
                 "x with the sign of y; integers give the default float.", rule_of(FLOAT, "biuf"), kinds="f")
signbit = elementwise("signbit", "x", c={"f": "signbit(x)", "i": "x < ZERO", "ub": "x != x"}, dtype=TRUTH,
                      grad=[ZERO_GRAD], ref=np.signbit, cases=_ONE, kinds="iuf",
                      doc="Whether the sign bit is set: negative, or -0.")
frac = composite("frac", "x", _FAMILY, run=lambda x: x - trunc(x), kinds="f", inplace=True, cases=_ONE,
                 ref=lambda x: x - np.trunc(x), doc="x - trunc(x): the part behind the point, with x's sign.")
heaviside = _pair("heaviside", "(x == ZERO) ? y : ((x > ZERO) ? ONE : ZERO)",
                  [NoGrad("it is a step"), NoGrad("it is a step")],
                  lambda x, y: np.where(x == 0, y, (x > 0).astype(x.dtype)),
                  "0 where x is negative (or NaN), 1 where positive, y where 0.", kinds="iuf",
                  keywords={"y": "values"})
ldexp = composite("ldexp", "x, y", _FAMILY, tensors=("x", "y"), run=lambda x, y: x * exp2(y), kinds="f",
                  inplace=True, ref=lambda x, y: x * np.exp2(y), cases=(Case(((3, 5), (5,))),),
                  doc="x * 2**y.")
deg2rad = composite("deg2rad", "x", _FAMILY, run=lambda x: x * (math.pi / 180), ref=np.deg2rad, cases=_ONE[:1],
                    kinds="iuf", inplace=True, doc="Degrees as radians.")
rad2deg = composite("rad2deg", "x", _FAMILY, run=lambda x: x * (180 / math.pi), ref=np.rad2deg, cases=_ONE[:1],
                    kinds="iuf", inplace=True, doc="Radians as degrees.")

_MANTISSA = """
static inline T mantissa_of(T x) { int e; return frexp(x, &e); }
static inline T exponent_of(T x) { int e; frexp(x, &e); return (isfinite(x) && x != 0) ? (T)e : (T)0; }
"""


def _exponent_rule(op: str, operands: Any) -> tuple:
    check_kind(op, "f", *operands)
    return operands[0], dtypes.int32


_mantissa = elementwise("frexp_mantissa", "x", c="mantissa_of(x)", header=_MANTISSA, kinds="f", cases=_ONE[:1],
                        ref=lambda x: np.frexp(x)[0], public=False, method=False,
                        grad=[lambda g, x: g * exp2(-astype(_exponent(x), x.dtype))],
                        doc="The mantissa of frexp.")
_exponent = elementwise("frexp_exponent", "x", c="exponent_of(x)", header=_MANTISSA, kinds="f", cases=_ONE[:1],
                        ref=lambda x: np.where(np.isfinite(x), np.frexp(np.where(np.isfinite(x), x, 0))[1], 0).astype(
                            np.int32), dtype=_exponent_rule, grad=[ZERO_GRAD], public=False, method=False,
                        doc="The exponent of frexp.")
FrexpResult = namedtuple("frexp", ["mantissa", "exponent"])


def _frexp(x: Any) -> Any:
    check_kind("frexp", "f", x.dtype)
    return FrexpResult(_mantissa(x), _exponent(x))


frexp = composite("frexp", "x", _FAMILY, run=_frexp, kinds="f", several=True, ref=np.frexp, cases=_ONE[:1],
                  doc="(mantissa, exponent): x = mantissa * 2**exponent, with a mantissa in [1/2, 1) and an int32 "
                      "exponent, 0 for what has none.")


def _float_power(x: Any, y: Any) -> Any:
    given = [a.dtype for a in (x, y) if hasattr(a, "dtype")]
    target = dtypes.complex128 if any(d.kind == "c" for d in given) else dtypes.float64
    x, y = (astype(a, target) if hasattr(a, "dtype") else a for a in (x, y))
    return pow(x, y)


float_power = composite("float_power", "x, y", _FAMILY, tensors=("x", "y"), run=_float_power, kinds="f",
                        keywords={"y": "exponent"}, domain=((0.3, 3), (0, 2)), cases=(),
                        ref=lambda x, y: np.float_power(x, y), inplace=True,
                        doc="x to the power y, in float64 (complex128 of complex numbers).")


def _infinite(name: str, value: float, ref: Any) -> Any:
    def run(x: Any) -> Any:
        check_kind(name, "biuf", x.dtype)
        return eq(x, value) if x.dtype.kind == "f" else astype(x * 0, dtypes.bool_)

    return composite(name, "x", _FAMILY, run=run, kinds="iuf", ref=lambda x: ref(x) if x.dtype.kind == "f" else
                     np.zeros(x.shape, bool), cases=_ONE[:1], doc=f"Whether it is {value}.")


isposinf, isneginf = _infinite("isposinf", math.inf, np.isposinf), _infinite("isneginf", -math.inf, np.isneginf)
logaddexp2 = _pair("logaddexp2", "(x == y) ? x + ONE : fmax(x, y) + log1p(exp2(-fabs(x - y))) * K(1.4426950408889634)",
                   [lambda g, x, y: g / (exp2(y - x) + 1), lambda g, x, y: g / (exp2(x - y) + 1)], np.logaddexp2,
                   "log2(2**x + 2**y) without overflow.", rule_of(FLOAT, "biuf"), kinds="f")

# Integers -------------------------------------------------------------------------------------------------------------

_GCD = """
static inline T gcd_of(T x, T y)
{
    while (y != 0) {
        const T r = %s;
        x = y;
        y = r;
    }
    return %s;
}
static inline T lcm_of(T x, T y)
{
    const T d = gcd_of(x, y);
    if (d == 0) return 0;
    const T m = x / d * y;
    return %s;
}
"""
_DIVISORS = {"i": _GCD % ("(y == -1) ? 0 : x % y", "(x < 0) ? -x : x", "(m < 0) ? -m : m"),
             "u": _GCD % ("x % y", "x", "m")}
gcd = _pair("gcd", "gcd_of(x, y)", _NO, np.gcd, "Greatest common divisor; gcd(0, 0) is 0.", kinds="iu",
            header=_DIVISORS, domain=(-60, 60))
lcm = _pair("lcm", "lcm_of(x, y)", _NO, np.lcm, "Least common multiple; 0 where either is 0.", kinds="iu",
            header=_DIVISORS, domain=(-9, 9))


def _dist(x: Any, y: Any, p: float = 2) -> Any:
    return vector_norm(x - y, p)


dist = composite("dist", "x, y, p=2", "manipulate", tensors=("x", "y"), run=_dist, kinds="fc",
                 ref=lambda x, y, p=2: np.asarray(np.linalg.norm((x - y).ravel(), p)),
                 cases=(Case(((3, 4), (4,))), Case(((3,), (3,)), {"p": 1})), doc="Norm of order p of x - y.")
