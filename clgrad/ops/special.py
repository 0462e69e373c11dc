"""Special functions: the gamma function's kin, Bessel functions, inverses of the error function, logarithms of ratios.

C text computes in the dtype itself, float32 or float64, by series whose lengths suffice for float64; a source stands
with each. References are SciPy's, which tests install.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from ..core.errors import bad
from ..table import Case, NoGrad
from .declare import FLOAT, composite, elementwise, rule_of
from .elementwise import clamp, cos, eq, erfc, exp, log, log1p, reciprocal, sign, square, where

_CASES = (Case(((3, 5),)), Case(((0, 4),)))
_PAIRS = (Case(((3, 5), (5,))), Case(((4,),), {"y": 0.75}))


def _scipy(name: str) -> Any:
    """SciPy's function, imported when a test calls it."""
    return lambda *args, **named: getattr(importlib.import_module("scipy.special"), name)(*args, *named.values())


def _of_one(name: str, c: str, grad: Any, ref: Any, doc: str, domain: tuple = (-3, 3), header: str = "",
            **fields: Any) -> Any:
    """A function of one real variable; integers give the default float."""
    return elementwise(name, "x", c=c, dtype=rule_of(FLOAT, "biuf"), kinds="f", grad=[grad], ref=ref, doc=doc,
                       domain=domain, header={"f": header} if header else "", cases=_CASES, **fields)


def _of_two(name: str, c: str, grad: Any, ref: Any, doc: str, domain: tuple = (0.3, 3), header: str = "",
            cases: tuple = _PAIRS, **fields: Any) -> Any:
    return elementwise(name, "x, y", c=c, dtype=rule_of(FLOAT, "biuf"), kinds="f", grad=grad, ref=ref, doc=doc,
                       domain=domain, header={"f": header} if header else "", cases=cases, **fields)


# The gamma function ---------------------------------------------------------------------------------------------------

# psi(x) = psi(x + 1) - 1/x up to 10, then the asymptotic series (Abramowitz and Stegun 6.3.18), whose remainder is
# below 1e-15 from there on; below 1/2, psi(1 - x) - pi / tan(pi x) (6.3.7).
_DIGAMMA = """
static inline T psi_above(T x)
{
    T result = 0;
    const int steps = (x < 10) ? (int)(K(10.0) - x) + 1 : 0;
    for (int i = 0; i < steps; ++i) {
        result -= 1 / x;
        x += 1;
    }
    const T r = 1 / (x * x);
    const T tail = r * (K(0.08333333333333333) - r * (K(0.008333333333333333) - r * (K(0.003968253968253968)
        - r * (K(0.004166666666666667) - r * (K(0.007575757575757576) - r * (K(0.021092796092796094)
        - r * K(0.08333333333333333)))))));
    return result + log(x) - K(0.5) / x - tail;
}
static inline T psi(T x)
{
    if (x == 0) return copysign((T)INFINITY, -x);
    if (x >= K(0.5) || x != x) return psi_above(x);
    if (x == floor(x)) return NAN;
    return psi_above(1 - x) - K(3.141592653589793) / tan(K(3.141592653589793) * (x - rint(x)));
}
"""
# Sum over k >= 0 of (q + k)**-s: terms up to q + 12 (further where q is negative), the rest by Euler-Maclaurin, with
# B_2j / (2j)! as coefficients (Abramowitz and Stegun 23.1.30).
_ZETA = """
__constant T EULER[8] = {K(0.08333333333333333), K(-0.001388888888888889), K(3.3068783068783068e-05),
    K(-8.267195767195767e-07), K(2.08767569878681e-08), K(-5.284190138687493e-10), K(1.3382536530684679e-11),
    K(-3.3896802963225829e-13)};
static inline T hurwitz(T s, T q)
{
    if (s != s || q != q) return NAN;
    if (isinf(q) || isinf(s)) return (s == 1) ? (T)INFINITY : ((q > 0 && s > 1 && !isinf(s)) ? (T)0 : (T)NAN);
    if (s == 1) return INFINITY;
    if (s < 1) return NAN;
    if (q <= 0 && q == floor(q)) return INFINITY;
    if (q <= 0 && s != floor(s)) return NAN;
    const int steps = 12 + ((q < 0) ? (int)fmin(-q, K(100000.0)) : 0);
    T sum = 0;
    for (int k = 0; k < steps; ++k) sum += pow(q + k, -s);
    const T w = q + steps;
    const T last = pow(w, -s);
    T term = s * last / w;
    T rest = last * w / (s - 1) + last * K(0.5);
    for (int j = 0; j < 8; ++j) {
        rest += EULER[j] * term;
        term *= (s + (2 * j + 1)) * (s + (2 * j + 2)) / (w * w);
    }
    return sum + rest;
}
"""


def _finite(f: Any, at: float, value: float) -> Any:
    """A reference, with its value at an infinity set right."""
    return lambda x: np.where(np.asarray(x) == at, np.asarray(value, np.asarray(x).dtype), f(x))


lgamma = _of_one("lgamma", "lgamma(x)", lambda g, x: g * digamma(x), _finite(_scipy("gammaln"), -math.inf, math.inf),
                 "Logarithm of the gamma function's absolute value.", (0.2, 9))
digamma = _of_one("digamma", "psi(x)", lambda g, x: g * polygamma(1, x), _finite(_scipy("psi"), -math.inf, math.nan),
                  "Slope of lgamma. At 0 infinite, at negative integers NaN.", (0.2, 12), _DIGAMMA)
def _hurwitz_ref(x: Any, y: Any) -> Any:
    at_infinity = np.where(np.isposinf(x) & (y > 1) & np.isfinite(y), 0, np.where(y == 1, np.inf, np.nan))
    values = np.where(np.isinf(x) | np.isinf(y), at_infinity, _scipy("zeta")(y, x))
    return np.where(np.isnan(x) | np.isnan(y), np.nan, values).astype(np.result_type(x))


_hurwitz = _of_two("hurwitz_zeta", "hurwitz(y, x)",
                   [lambda g, x, y: -g * y * _hurwitz(x, y + 1.0), NoGrad("no formula for the slope in the exponent")],
                   _hurwitz_ref, "Sum over k of (x + k)**-y: zeta with its arguments exchanged.", (0.3, 9), _ZETA,
                   (Case(((3, 5),), {"y": 2.5}), Case(((4,),), {"y": 7.0})), public=False, method=False)
zeta = composite("zeta", "x, y", "elementwise", tensors=("x", "y"), run=lambda x, y: _hurwitz(y, x), kinds="f",
                 ref=lambda x, y: _scipy("zeta")(x, y), cases=(), public=False, method=False,
                 doc="Hurwitz zeta function: the sum over k of (y + k)**-x, for x > 1.")


def _polygamma(n: int, x: Any) -> Any:
    if not isinstance(n, int) or n < 0:
        raise ValueError(bad("polygamma", f"n={n!r}", "an int of 0 or more", "It is the order of the derivative."))
    if n == 0:
        return digamma(x)
    return _hurwitz(x, float(n + 1)) * ((-1.0) ** (n + 1) * math.gamma(n + 1))


polygamma = composite("polygamma", "n, x", "elementwise", tensors=(), run=_polygamma, method=False, kinds="f",
                      ref=lambda n, x: _scipy("polygamma")(n, x), cases=(),
                      doc="n-th derivative of digamma: (-1)**(n + 1) n! zeta(n + 1, x) (Abramowitz and Stegun 6.4.10).")


def _mvlgamma(x: Any, p: int) -> Any:
    if p < 1:
        raise ValueError(bad("mvlgamma", f"p={p}", "1 or more", "It is the dimension."))
    total = lgamma(x)
    for i in range(1, p):
        total = total + lgamma(x - i / 2)
    return total + p * (p - 1) / 4 * math.log(math.pi)


mvlgamma = composite("mvlgamma", "x, p", "elementwise", run=_mvlgamma, kinds="f", domain=(1.2, 6), inplace=True,
                     ref=lambda x, p: np.asarray(_scipy("multigammaln")(x, p)).astype(x.dtype),
                     cases=(Case(((3, 5),), {"p": 2}), Case(((4,),), {"p": 3})),
                     doc="Logarithm of the multivariate gamma function of dimension p, for x > (p - 1) / 2.")

# Bessel functions of the first kind, modified -------------------------------------------------------------------------

# exp(-|x|) I_n(x): up to 16 the power series (Abramowitz and Stegun 9.6.10), all of whose terms are positive; from
# there on the asymptotic one (9.7.1), whose least term is below 1e-13.
_BESSEL = """
static inline T bessel_scaled(T x, int n)
{
    const T a = fabs(x);
    T sum = 1, term = 1;
    if (a <= 16) {
        const T q = a * a / 4;
        for (int k = 1; k < 48; ++k) {
            term *= q / (T)(k * (k + n));
            sum += term;
        }
        sum *= exp(-a) * (n ? a / 2 : (T)1);
    } else if (isinf(a)) {
        sum = 0;
    } else {
        const T m = 4 * n * n;
        for (int k = 1; k < 28; ++k) {
            const T odd = 2 * k - 1;
            term *= (odd * odd - m) / (8 * k * a);
            sum += term;
        }
        sum /= sqrt(K(6.283185307179586) * a);
    }
    return (n && x < 0) ? -sum : sum;
}
static inline T bessel(T x, int n)
{
    const T a = fabs(x), root = exp(a / 2);
    if (isinf(a)) return (n && x < 0) ? -INFINITY : INFINITY;
    return bessel_scaled(x, n) * root * root;
}
"""


def _bessel_ref(name: str, odd: bool) -> Any:
    f = _scipy(name)
    return lambda x: np.where(np.isinf(x), np.sign(x) * np.inf if odd else np.inf, f(x)).astype(np.asarray(x).dtype)


def _over(x: Any) -> Any:
    """1 / x, and 0 at 0."""
    return where(eq(x, 0), 0.0, reciprocal(where(eq(x, 0), 1.0, x)))


i0 = _of_one("i0", "bessel(x, 0)", lambda g, x: g * i1(x), _bessel_ref("i0", False),
             "Modified Bessel function of the first kind, order 0.", (-5, 5), _BESSEL)
i0e = _of_one("i0e", "bessel_scaled(x, 0)", lambda g, x, out: g * (i1e(x) - sign(x) * out), _scipy("i0e"),
              "exp(-|x|) i0(x), without overflow.", (0.2, 20), _BESSEL, public=False, method=False)
i1 = _of_one("i1", "bessel(x, 1)", lambda g, x, out: g * where(eq(x, 0), 0.5, i0(x) - out * _over(x)),
             _bessel_ref("i1", True), "Modified Bessel function of the first kind, order 1.", (-5, 5), _BESSEL,
             public=False, method=False)
i1e = _of_one("i1e", "bessel_scaled(x, 1)",
              lambda g, x, out: g * where(eq(x, 0), 0.5, i0e(x) - out * (sign(x) + _over(x))), _scipy("i1e"),
              "exp(-|x|) i1(x), without overflow.", (0.2, 20), _BESSEL, public=False, method=False)

# The error function's inverse -----------------------------------------------------------------------------------------

# A start within 3e-3 (Winitzki 2008: erf(y)**2 is nearly 1 - exp(-y**2 (4/pi + a y**2) / (1 + a y**2))), then Halley's
# method on erfc(y) = 1 - |x|, which keeps its digits near 1 where 1 - |x| is exact; on erf(y) = |x| near 0.
_ERFINV = """
static inline T inverse_erf(T x)
{
    const T a = fabs(x);
    if (!(a < 1)) return (a == 1) ? copysign((T)INFINITY, x) : (T)NAN;
    const T rest = 1 - a;
    const T l = log1p(-a) + log1p(a);
    const T b = K(4.330746750799873) + l * K(0.5);
    T y = sqrt(fmax(sqrt(b * b - l * K(6.802721088435374)) - b, (T)0));
    for (int i = 0; i < 4; ++i) {
        const T off = (a < K(0.5)) ? erf(y) - a : rest - erfc(y);
        const T step = off * K(0.886226925452758) * exp(y * y);
        y -= step / (1 + y * step);
    }
    return copysign(y, x);
}
"""
erfinv = _of_one("erfinv", "inverse_erf(x)", lambda g, out: g * exp(square(out)) * (math.sqrt(math.pi) / 2),
                 _scipy("erfinv"), "The number whose erf is x; infinite at -1 and 1, NaN beyond.", (-0.95, 0.95),
                 _ERFINV)

# Logarithms of ratios and products ------------------------------------------------------------------------------------

_logit = _of_one("logit_unit", "log(x / (ONE - x))", lambda g, x: g / (x * (1 - x)), _scipy("logit"),
                 "log(x / (1 - x)).", (0.05, 0.95), public=False, method=False)


def _clamped_logit(x: Any, eps: float | None = None) -> Any:
    return _logit(x if eps is None else clamp(x, eps, 1 - eps))


logit = composite("logit", "x, eps=None", "elementwise", run=_clamped_logit, kinds="f", domain=(0.05, 0.95),
                  ref=lambda x, eps=None: _scipy("logit")(x if eps is None else np.clip(x, eps, 1 - eps)).astype(
                      x.dtype),
                  cases=(Case(((3, 5),)), Case(((4,),), {"eps": 0.1})), inplace=True,
                  doc="log(x / (1 - x)): sigmoid's inverse. With ``eps`` x is first limited to [eps, 1 - eps].")
sinc = _of_one("sinc", "(x == ZERO) ? ONE : sinpi(x) / (K(3.141592653589793) * x)", lambda g, x: g * _sinc_slope(x),
               np.sinc, "sin(pi x) / (pi x), and 1 at 0.", vector=True)


def _sinc_slope(x: Any) -> Any:
    return (cos(x * math.pi) - sinc(x)) * _over(x)


xlogy = _of_two("xlogy", "((x == ZERO) && (y == y)) ? ZERO : x * log(y)",
                [lambda g, x, y: g * log(where(eq(x, 0), 1.0, y)), lambda g, x, y: g * (x / y)], _scipy("xlogy"),
                "x * log(y), and 0 where x is 0 and y a number.")
xlog1py = _of_two("xlog1py", "((x == ZERO) && (y == y)) ? ZERO : x * log1p(y)",
                  [lambda g, x, y: g * log1p(where(eq(x, 0), 0.0, y)), lambda g, x, y: g * (x / (y + 1))],
                  _scipy("xlog1py"), "x * log1p(y), and 0 where x is 0 and y a number.", public=False, method=False)
entr = _of_one("entr", "(x > ZERO) ? -x * log(x) : ((x == ZERO) ? ZERO : ((x != x) ? x : -K(1.0) / ZERO))",
               lambda g, x: g * (-log(x) - 1), _scipy("entr"),
               "-x log(x), 0 at 0 and negative infinity below.", (0.1, 3), public=False, method=False)
_ROOT_HALF = math.sqrt(0.5)
ndtr = composite("ndtr", "x", "elementwise", run=lambda x: erfc(x * -_ROOT_HALF) * 0.5, kinds="f", public=False,
                 method=False, ref=lambda x: _scipy("ndtr")(x).astype(x.dtype), cases=_CASES,
                 doc="Distribution function of the standard normal distribution.")
