## Functions as expressions that hold for vectors: those of float that CPU drivers call element by element, within 2 ulp,
## and such as OpenCL C has not, for every type. Selections, not fmin and fmax, limit arguments: NaN passes through. The
## polynomials are minimax fits of the functions named beside them; exp and log, which drivers have for vectors, are
## theirs.
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
    TANH = (-0.33333277702331543, 0.13331328332424164, -0.05372919887304306, 0.020601915195584297,
            -0.005660697352141142)                          # (tanh(sqrt(z)) / sqrt(z) - 1) / z for z in [0, 0.4]

    NORMAL = ((0.5, 0.43724995851516724, 0.18246105313301086, 0.040372274816036224, 0.004077563993632793),
              (1.0, 1.6723848581314087, 1.1992876529693604, 0.4674270451068878, 0.10120509564876556,
               0.010220808908343315))                   # P(N > x) * exp(x * x / 2) for x in [0, 14]

    EXP = (1.0, 1.0, 0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.008368714712560177,
           0.0013814602280035615)                       # exp(x) for x in [-log(2) / 2, log(2) / 2]

    BODIES = {
        "erf": f"""
    const T a = fabs(x), z = x * x, b = (a > K(4.0)) ? K(4.0) : a;
    const T tail = ONE - exp(-{horner("b", *ERFC)});
    return (a < ONE) ? x + x * {horner("z", *ERF)} : copysign(tail, x);""",
        "tanh": f"""
    const T a = fabs(x), z = x * x;
    const T tail = ONE - K(2.0) / (exp(a + a) + ONE);
    return (a < K(0.6)) ? x * (ONE + z * {horner("z", *TANH)}) : copysign(tail, x);""",
        # what rounding 1 + x took away, by the logarithm's slope there
        "log1p": """
    const T u = ONE + x, l = log(u);
    const T all = l + (x - (u - ONE)) / u;
    return (x == ZERO) ? x : ((u > ZERO && u < K(1e38)) ? all : l);""",
    }

    # P(N <= x) of a normal N, without cancellation for negative x
    NEW = {
        "normal_below": {"float": f"""
    const T a = fabs(x), b = (a > K(14.0)) ? K(14.0) : a;
    const T tail = exp(K(-0.5) * x * x) * ({horner("b", *NORMAL[0])} / {horner("b", *NORMAL[1])});
    return (x > ZERO) ? ONE - tail : tail;""", "double": """
    return K(0.5) * erfc(x * K(-0.7071067811865476));"""},
    }

    def used(expr, T, form):
        """Name and body of those of the functions that an expression calls."""
        found = {n: body for n, body in BODIES.items() if form == "wide" and T == "float"}
        found |= {n: body[T] for n, body in NEW.items() if T in body}
        return {n: body for n, body in found.items() if re.search(rf"\b{n}\(", expr)}

    def text(functions, w):
        """The functions for vectors of w, where T, K, ZERO and ONE are defined for these."""
        return "".join(f"static inline T {n}_{w}(T x)\n{{{body}\n}}\n#define {n} {n}_{w}\n"
                       for n, body in functions.items())

    def softly(vec, T):
        """exp_soft(x) for vectors of this type: exp(x) for x up to 88, where a float below 2 to the -126 is zero. A float
        is 2 to the n, n in the low bits of `t`, times the exponential of what is left, which the two parts of log(2)
        take from x exactly; a NaN stays one."""
        if T != "float":
            return f"static inline {vec} exp_soft({vec} x) {{ return exp(x); }}\n"
        whole = vec.replace("float", "int")
        return f"""#define K(v) v##f
static inline {vec} exp_soft({vec} x)
{{
    const {vec} t = x * 1.442695041f + 12582912.0f, n = t - 12582912.0f;
    const {vec} r = (x - n * 0.693359375f) - n * -0.00021219444f;
    const {vec} part = {horner("r", *EXP)};
    const {vec} v = part * as_{vec}((as_{whole}(t) << 23) + 0x3f800000);
    return (x < -87.33654f) ? ({vec})(0) : v;
}}
#undef K
"""
%>
