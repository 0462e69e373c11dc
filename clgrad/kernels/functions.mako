## Functions as expressions that hold for vectors: those of float that CPU drivers call element by element, or that take
## fewer instructions here, within 2 ulp; and such as OpenCL C has not, for every type. Selections, not fmin and fmax,
## limit arguments: NaN passes through. The polynomials are minimax fits of the functions named beside them; log, which
## drivers have for vectors, is theirs.
##
## An exponential is 2 to the n times the exponential of r, |r| <= log(2) / 2: adding 1.5 * 2^23 rounds to the integer n
## and leaves it, with the bias of a float's exponent, in the low bits of t, which a shift makes a float. The two parts
## of log(2) take n of them from the argument exactly.
<%!
    import re

    def horner(x, *coefficients):
        """The polynomial with these coefficients, lowest first."""
        text = f"K({coefficients[-1]!r})"
        for c in coefficients[-2::-1]:
            text = f"(K({c!r}) + {x} * {text})"
        return text

    ERF = (0.12837916612625122, -0.3761262595653534, 0.11283600330352783, -0.026854444295167923, 0.005189534276723862,
           -0.0008020831155590713, 7.88908582762815e-05)   # erf(sqrt(z)) / sqrt(z) - 1 for z in [0, 1]
    ERFC = (0.0003536091244313866, 1.1270405054092407, 0.6382248997688293, 0.10303806513547897, -0.0218056607991457,
            0.002939695492386818, -0.00018558323790784925)  # -log(erfc(x)) for x in [1, 4]
    NORMAL = ((1.2533141374588013, 1.0960230827331543, 0.45736202597618103, 0.10119828581809998, 0.010220937430858612),
              (1.0, 1.6723848581314087, 1.1992876529693604, 0.4674270451068878, 0.10120509564876556,
               0.010220808908343315))                   # P(N > x) / (density of N at x) for x in [0, 14]

    EXP = (1.0, 1.0, 0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.008368714712560177,
           0.0013814602280035615)                       # exp(x) for x in [-log(2) / 2, log(2) / 2]
    EXP2 = (1.0, 0.6931470036506653, 0.24022242426872253, 0.05550733581185341, 0.009671512991189957,
            0.001326472731307149)                       # 2 to the x for x in [-1 / 2, 1 / 2], within 2e-7

    def parts(lift, of=1):
        """Statements: ``of`` * b is n log(2) + of * r, and the low bits of t are those of the exponent of 2 to the
        n + lift."""
        magic = 12582912 + 127 + lift
        return f"""
    const T t = b * K({of * 1.442695041!r}) + K({magic}.0), n = t - K({magic}.0);
    const T r = (b - n * K({0.693359375 / of!r})) - n * K({-0.00021219444 / of!r});"""

    def power(c, of=1):
        """The polynomial of exp(of * r), times c."""
        return horner("r", *(e * of ** k * c for k, e in enumerate(EXP)))

    def falling(of=1, scale=1):
        """Statements: `e` is scale * exp(of * b), -104 <= of * b <= 70. The power of 2 is taken 24 higher, in reach of a
        float for the least n, and the polynomial as much lower."""
        return f"""{parts(24, of)}
    const T e = {power(scale * 2.0 ** -24, of)} * AS_T(AS_INT(t) << 23);"""

    BODIES = {
        # up to 2 to the 128 by an n one less; the least in two steps
        "exp": f"""
    const T a = (x < K(-104.0)) ? K(-104.0) : x, b = (a > K(88.8)) ? K(88.8) : a;{parts(-1)}
    const INT low = b < K(-64.0), more = low ? (INT)(64) : (INT)(0);
    const T e = {power(2)} * AS_T((AS_INT(t) + more) << 23);
    return low ? e * K({2.0 ** -64!r}) : e;""",
        # from 14.42 on it is 0, and must be: an infinity times it is no number
        "normal_density": f"""
    const T a = fabs(x), most = (a > K(14.42)) ? K(14.42) : a, b = most * most;{falling(-0.5, 0.3989422804014327)}
    return e;""",
        "erf": f"""
    const T a = fabs(x), z = x * x, c = (a > K(4.0)) ? K(4.0) : a, b = {horner("c", *ERFC)};{falling(-1)}
    return (a < ONE) ? x + x * {horner("z", *ERF)} : copysign(ONE - e, x);""",
        # by m = (exp(2|x|) - 1) / 2 = 2^n (exp(2r) - 1) / 2 + (2^n - 1) / 2 as m / (m + 1)
        "tanh": f"""
    const T a = fabs(x), b = (a > K(9.05)) ? K(9.05) : a;{parts(0, 2)}
    const T s = AS_T(AS_INT(t) << 23), q = r + r * r * {horner("r", *(c * 2 ** k / 2 for k, c in enumerate(EXP) if k > 1))};
    const T m = s * q + (s * K(0.5) - K(0.5));
    return copysign(m / (m + ONE), x);""",
        # what rounding 1 + x took away, by the logarithm's slope there
        "log1p": """
    const T u = ONE + x, l = log(u);
    const T all = l + (x - (u - ONE)) / u;
    return (x == ZERO) ? x : ((u > ZERO && u < K(1e38)) ? all : l);""",
    }

    # the density of a normal N, and P(N <= x), without cancellation for negative x
    NEW = {
        "normal_density": dict.fromkeys(("float", "double"), """
    return K(0.3989422804014327) * exp(K(-0.5) * x * x);"""),
        "normal_below": {"float": f"""
    const T a = fabs(x), b = (a > K(14.0)) ? K(14.0) : a;
    const T tail = normal_density(x) * ({horner("b", *NORMAL[0])} / {horner("b", *NORMAL[1])});
    return (x > ZERO) ? ONE - tail : tail;""", "double": """
    return K(0.5) * erfc(x * K(-0.7071067811865476));"""},
    }

    def used(expr, T, form):
        """Name and body of those of the functions that an expression calls, those first that others call."""
        found = {n: body[T] for n, body in NEW.items() if T in body}
        if form == "wide" and T == "float":
            found = {**BODIES, **{n: found[n] for n in found if n not in BODIES}}
        calls = lambda n, body: re.search(rf"\b{n}\(", body)
        return {n: body for i, (n, body) in enumerate(found.items())
                if calls(n, expr) or any(calls(n, b) and calls(o, expr) for o, b in list(found.items())[i + 1:])}

    def text(functions, w):
        """The functions for vectors of w, where T, K, ZERO and ONE are defined for these."""
        v = "" if w == 1 else w
        bits = {"INT": f"int{v}", "AS_INT": f"as_int{v}", "AS_T": f"as_float{v}"} if functions else {}
        types = "".join(f"#undef {name}\n#define {name} {t}\n" for name, t in bits.items())
        return types + "".join(f"static inline T {n}_{w}(T x)\n{{{body}\n}}\n#define {n} {n}_{w}\n"
                                for n, body in functions.items())

    def softly(vec, T):
        """exp_soft(x) for vectors of this type: exp(x) for x up to 70."""
        if T != "float":
            return f"static inline {vec} exp_soft({vec} x) {{ return exp(x); }}\n"
        return f"""#define T {vec}
#define K(v) ((T)(v##f))
#define AS_INT as_{vec.replace("float", "int")}
#define AS_T as_{vec}
static inline T exp_soft(T x)
{{
    const T b = (x < K(-104.0)) ? K(-104.0) : x;{falling()}
    return e;
}}
#undef T
#undef K
#undef AS_INT
#undef AS_T
"""

    def onto(vec, T):
        """exp_onto(sum, x) for vectors of this type: sum + exp(x) for x up to 88, where a float below 2 to the -126 is
        zero. Of large -x last digits are lost, which no sum that counts has room for."""
        if T != "float":
            return f"static inline {vec} exp_onto({vec} sum, {vec} x) {{ return sum + exp(x); }}\n"
        return f"""#define K(v) (({vec})(v##f))
static inline {vec} exp_onto({vec} sum, {vec} x)
{{
    const {vec} b = (x < K(-88.0)) ? K(-88.0) : x;
    const {vec} t = b * K(1.442695041) + K({12582912 + 127}.0), r = b * K(1.442695041) - (t - K({12582912 + 127}.0));
    return {horner("r", *EXP2)} * as_{vec}(as_{vec.replace("float", "int")}(t) << 23) + sum;
}}
#undef K
"""
%>
