## Arithmetic and functions of a complex variable. T is the complex type, R the type of its parts, K(v) a constant.
## Branch cuts and signed zeros are those of C99's annex G, but for tanh at infinity, whose zero has the sign of the
## imaginary part, as the array API standard wants it; asin, acos, acosh, atanh and tanh follow W. Kahan, "Branch
## cuts for complex elementary functions" (1987); division is R. L. Smith's (1962).
<%page args="part"/>\
<%
    double = part == "double"
    large, tiny = ("1e300", "1e-290") if double else ("1e37f", "1e-30f")
    up, down = ("0x1p54", "0x1p-27") if double else ("0x1p24f", "0x1p-12f")
    flat, far, near = ("22", "1e18", "700") if double else ("11", "1e9f", "85")  # tanh is 1; 1/z; exp still finite
    def r(v):
        return v if double else v + "f"
%>
static inline T c_mul(T a, T b) { return (T)(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
static inline T c_times_i(T a) { return (T)(-a.y, a.x); }
static inline T c_over_i(T a) { return (T)(a.y, -a.x); }

static inline T c_quotient(T a, T b)
{
    if (fabs(b.x) >= fabs(b.y)) {
        if (b.x == 0 && b.y == 0) return (T)(a.x / fabs(b.x), a.y / fabs(b.x));
        const R ratio = b.y / b.x, whole = 1 / (b.x + b.y * ratio);
        return (T)((a.x + a.y * ratio) * whole, (a.y - a.x * ratio) * whole);
    }
    const R ratio = b.x / b.y, whole = 1 / (b.y + b.x * ratio);
    return (T)((a.x * ratio + a.y) * whole, (a.y * ratio - a.x) * whole);
}

// Powers of two keep sums and reciprocals in range.
static inline T c_div(T a, T b)
{
    const R most = fmax(fabs(a.x), fabs(a.y)), below = fmax(fabs(b.x), fabs(b.y));
    R scale = 1;
    if (most > ${large}) { a *= ${r("0.25")}; scale = 4; }
    if (below > ${large}) { b *= ${r("0.25")}; scale *= ${r("0.25")}; }
    else if (below < ${tiny}) { b *= ${up}; scale *= ${up}; }
    const T q = c_quotient(a, b);
    return scale == 1 ? q : q * scale;
}

static inline T c_sqrt(T z)
{
    if (z.x == 0 && z.y == 0) return (T)(0, z.y);
    if (isinf(z.y)) return (T)(INFINITY, z.y);
    if (isnan(z.x)) return (T)(NAN, NAN);
    if (isinf(z.x)) {
        const R other = z.y - z.y;  // 0, or NaN of NaN
        return z.x < 0 ? (T)(fabs(other), copysign(z.x, z.y)) : (T)(z.x, copysign(other, z.y));
    }
    R scale = 1;  // so that neither hypot nor the sum leaves the range
    const R size = fmax(fabs(z.x), fabs(z.y));
    if (size > ${large}) { z *= ${r("0.25")}; scale = 2; }
    else if (size < ${tiny}) { z *= ${up}; scale = ${down}; }
    const R t = sqrt((fabs(z.x) + hypot(z.x, z.y)) * ${r("0.5")});
    return scale * (z.x >= 0 ? (T)(t, z.y / (2 * t)) : (T)(fabs(z.y) / (2 * t), copysign(t, z.y)));
}

static inline T c_exp(T z)
{
    if (z.y == 0) return (T)(exp(z.x), z.y);
    if (z.x == 0) return (T)(cos(z.y), sin(z.y));
    if (isinf(z.x) && !isfinite(z.y)) return z.x < 0 ? (T)(0, 0) : (T)(INFINITY, NAN);
    const R half_way = exp(z.x * ${r("0.5")}), c = cos(z.y), s = sin(z.y);
    if (fabs(z.x) > ${near} && isfinite(z.x)) return (T)(half_way * c * half_way, half_way * s * half_way);
    const R e = exp(z.x);
    return (T)(e * c, e * s);
}

static inline T c_log(T z)
{
    const R most = fmax(fabs(z.x), fabs(z.y)), least = fmin(fabs(z.x), fabs(z.y));
    R size = log(hypot(z.x, z.y));
    if (most > ${r("0.7")} && most < ${r("1.4")} && !isnan(z.x + z.y))  // where the logarithm is near zero and hypot has lost its digits
        size = ${r("0.5")} * log1p((most - 1) * (most + 1) + least * least);
    return (T)(size, atan2(z.y, z.x));
}

static inline T c_sinh(T z)
{
    if (z.y == 0) return (T)(sinh(z.x), z.y);
    if (z.x == 0) return (T)(z.x, sin(z.y));
    if (isinf(z.x) && !isfinite(z.y)) return (T)(z.x, NAN);
    if (fabs(z.x) > ${near} && isfinite(z.x)) {
        const R half_way = exp(fabs(z.x) * ${r("0.5")}) * ${r("0.5")};
        return (T)(copysign(half_way, z.x) * cos(z.y) * half_way * 2, half_way * sin(z.y) * half_way * 2);
    }
    return (T)(sinh(z.x) * cos(z.y), cosh(z.x) * sin(z.y));
}

static inline T c_cosh(T z)
{
    if (z.y == 0) return (T)(cosh(z.x), copysign((R)1, z.x) * z.y);
    if (z.x == 0) return (T)(cos(z.y), isfinite(z.y) ? z.x * sin(z.y) : z.x);
    if (isinf(z.x) && !isfinite(z.y)) return (T)(INFINITY, NAN);
    if (fabs(z.x) > ${near} && isfinite(z.x)) {
        const R half_way = exp(fabs(z.x) * ${r("0.5")}) * ${r("0.5")};
        return (T)(half_way * cos(z.y) * half_way * 2, copysign(half_way, z.x) * sin(z.y) * half_way * 2);
    }
    return (T)(cosh(z.x) * cos(z.y), sinh(z.x) * sin(z.y));
}

static inline T c_tanh(T z)
{
    if (isinf(z.x)) return (T)(copysign((R)1, z.x), copysign((R)0, z.y));
    if (z.y == 0) return (T)(tanh(z.x), z.y);
    if (!isfinite(z.y)) return (T)(z.x == 0 ? z.x : NAN, NAN);
    if (fabs(z.x) > ${flat})
        return (T)(copysign((R)1, z.x), 4 * sin(z.y) * cos(z.y) * exp(-2 * fabs(z.x)));
    const R t = tan(z.y), beta = 1 + t * t, s = sinh(z.x), rho = sqrt(1 + s * s);
    const R below = 1 + beta * s * s;
    return (T)(beta * rho * s / below, t / below);
}

static inline T c_sin(T z) { return c_over_i(c_sinh(c_times_i(z))); }
static inline T c_cos(T z) { return c_cosh(c_times_i(z)); }
static inline T c_tan(T z) { return c_over_i(c_tanh(c_times_i(z))); }

#define PI ((R)${r("3.14159265358979323846")})
#define FINITE(z) (isfinite(z.x) && isfinite(z.y))

static inline T c_asin_of_finite(T z)
{
    const T a = c_sqrt((T)(1 - z.x, -z.y)), b = c_sqrt((T)(1 + z.x, z.y));
    return (T)(atan2(z.x, a.x * b.x - a.y * b.y), asinh(a.x * b.y - a.y * b.x));
}

static inline T c_asinh(T z)
{
    if (FINITE(z)) return c_over_i(c_asin_of_finite(c_times_i(z)));
    if (isinf(z.x)) return (T)(z.x, isnan(z.y) ? NAN : copysign(isinf(z.y) ? PI / 4 : 0, z.y));
    if (isinf(z.y)) return (T)(copysign((R)INFINITY, z.x), isnan(z.x) ? NAN : copysign(PI / 2, z.y));
    return (T)(NAN, z.y == 0 ? z.y : NAN);
}

static inline T c_asin(T z) { return FINITE(z) ? c_asin_of_finite(z) : c_over_i(c_asinh(c_times_i(z))); }

static inline T c_acos(T z)
{
    if (isinf(z.y)) return (T)(isnan(z.x) ? NAN : isinf(z.x) ? (z.x < 0 ? 3 * PI / 4 : PI / 4) : PI / 2, -z.y);
    if (isinf(z.x)) return (T)(isnan(z.y) ? NAN : z.x < 0 ? PI : 0, copysign((R)INFINITY, -z.y));
    if (isnan(z.x) || isnan(z.y)) return (T)(z.x == 0 ? PI / 2 : NAN, NAN);
    const T a = c_sqrt((T)(1 - z.x, -z.y)), b = c_sqrt((T)(1 + z.x, z.y));
    return (T)(2 * atan2(a.x, b.x), asinh(b.x * a.y - b.y * a.x));
}

static inline T c_acosh(T z)
{
    if (!FINITE(z)) {
        const T w = c_acos(z);
        return (T)(fabs(w.y), copysign(w.x, z.y));
    }
    const T a = c_sqrt((T)(z.x - 1, z.y)), b = c_sqrt((T)(z.x + 1, z.y));
    return (T)(asinh(a.x * b.x + a.y * b.y), 2 * atan2(a.y, b.x));
}

static inline T c_atanh(T z)
{
    const R x = fabs(z.x);
    if (x == 0 && isnan(z.y)) return z;
    if (isnan(z.x) && !isinf(z.y)) return (T)(NAN, NAN);
    if (fmax(x, fabs(z.y)) > ${far}) {
        const R re = isinf(z.x) || isinf(z.y) ? 0 : fabs(c_div((T)(1, 0), z).x);
        return (T)(copysign(re, z.x),
                   isnan(z.y) ? NAN : copysign((R)${r("1.57079632679489661923")}, z.y));
    }
    const R re = log1p(4 * x / ((1 - x) * (1 - x) + z.y * z.y)) * ${r("0.25")};
    return (T)(copysign(re, z.x), atan2(2 * z.y, (1 - x) * (1 + x) - z.y * z.y) * ${r("0.5")});
}

static inline T c_atan(T z) { return c_over_i(c_atanh(c_times_i(z))); }

static inline T c_expm1(T z)
{
    if (z.y == 0) return (T)(expm1(z.x) + 0, z.y);
    if (isinf(z.x) && !isfinite(z.y)) return z.x < 0 ? (T)(-1, 0) : (T)(INFINITY, NAN);
    const R s = sin(z.y * ${r("0.5")});
    return (T)(expm1(z.x) * cos(z.y) - 2 * s * s, exp(z.x) * sin(z.y));
}

static inline T c_log1p(T z)
{
    if (!(fabs(z.x) + fabs(z.y) <= ${r("0.5")})) return c_log((T)(1 + z.x, z.y));
    return (T)(${r("0.5")} * log1p(z.x * (2 + z.x) + z.y * z.y), atan2(z.y, 1 + z.x));
}

// Small whole exponents by squaring, as NumPy, so that their results are exact where they can be.
static inline T c_pow(T x, T y)
{
    if (y.x == 0 && y.y == 0) return (T)(1, 0);
    if (x.x == 0 && x.y == 0) return y.x > 0 && y.y == 0 ? (T)(0, 0) : (T)(NAN, NAN);
    if (y.y == 0 && y.x == rint(y.x) && fabs(y.x) <= 100) {
        T result = (T)(1, 0);
        for (int n = abs((int)y.x); n > 0; n >>= 1) {
            if (n & 1) result = c_mul(result, x);
            x = c_mul(x, x);
        }
        return y.x < 0 ? c_div((T)(1, 0), result) : result;
    }
    return c_exp(c_mul(y, c_log(x)));
}

static inline T c_sign(T z)
{
    const R size = hypot(z.x, z.y);
    return size == 0 ? (T)(0, 0) : z / size;
}
