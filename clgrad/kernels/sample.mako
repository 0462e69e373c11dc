<%!
# Random numbers that take a varying number of draws, or parameters from arrays: element i owns the Philox counters offset + i, its attempts
# told apart by the stream word, so that it is a pure function of (seed, offset, i, its parameters), whatever the launch.
#
#   kind       out[i]                                                                  parameters
#   gamma      gamma(a, 1) (Marsaglia, Tsang 2000), NaN unless a >= 0                  a array
#   beta       beta(a, b) from two of these, NaN unless a, b > 0                       a, b arrays
#   poisson    Poisson(a), NaN unless a >= 0                                           a array
#   tail       shift + scale N, N >= a >= 1 truncated to a range                       numbers
#   race       when event i of weight a[i] comes: E / (a[i] / its row's largest)       a array, the rows' largest
#   weights    floor(a[i] 2^bits / its row's largest), within a factor of 2: integers  a array, the rows' largest
#   pick       the first j of row i / samples with cumulative weight above a draw      cumulative weights
#
# Rejection stops after BOUND attempts, with a value near the mode, which no run will see: an attempt is accepted with probability 0.95 (gamma),
# 0.84 (poisson) or 0.65 (tail) at least. Its test is made of reproducible.mako's functions alone, hence falls the same on every device.

BOUND = 64
SIZES = {"wide": {"groups_per_unit": 4, "least": 64}, "many": {"groups_per_unit": 16, "local": 128}}
%>
<%namespace name="r" file="reproducible.mako"/>\
<%
wide, double = form == "wide", real == "double"
t = r.module.Types(double, "")
REAL, BITS, SIGNED, literal = t.REAL, t.BITS, t.SIGNED, t.literal
integer = kind in ("weights", "pick")
PARTS = {"gamma": "centred root normal logs exponential division power", "beta": "centred root normal logs exponential division power",
         "poisson": "centred root logs exponential division power", "tail": "centred logs exponential", "race": "centred logs exponential division"}
POLYNOMIALS = {"gamma": ["gamma"], "beta": ["gamma"], "poisson": ["deviance", "stirling"]}
tiny = 2.0 ** (-14 if ctype == "half" else -1022 if double else -126)
arrays = {"gamma": [real], "beta": [real, real], "poisson": [real], "race": [real, real], "weights": [t.BITS, t.BITS], "pick": ["ulong"]}.get(kind, [])
numbers = {"tail": [(real, name) for name in "start rate_inverse mass_above mass scale shift least most".split()],
           "race": [("index_t", "columns")], "weights": [("index_t", "columns"), ("int", "bits")],
           "pick": [("index_t", "columns"), ("index_t", "samples")]}.get(kind, [])
%>\
% if double:
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
% endif
#pragma OPENCL FP_CONTRACT OFF
#define LOW 0xffffffffUL
#define BOUND ${BOUND}
typedef ${index} index_t;

% if kind != "weights":
${r.philox4x32("uint")}
// 128 bits of element `block` of the stream, for its attempt of that number
void draw(ulong block, uint attempt, uint key0, uint key1, ${"ulong *w" if integer else BITS + " *w"})
{
    uint a = (uint)block, b = (uint)(block >> 32), c = attempt, d = 0;
    philox4x32(&a, &b, &c, &d, key0, key1);
% if double or integer:
    w[0] = a | (ulong)b << 32;
    w[1] = c | (ulong)d << 32;
% else:
    w[0] = a;
    w[1] = b;
    w[2] = c;
    w[3] = d;
% endif
}
% endif
% for part in PARTS.get(kind, "").split():
${getattr(r, part)(t)}
% endfor
% for name in POLYNOMIALS.get(kind, []):
${r.polynomial(t, name)}
% endfor
<% words = 2 if double or integer else 4 %>\
% if kind in ("gamma", "beta"):

// Marsaglia, Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000): d v is accepted, v = (1 + N / sqrt(9d))^3, d = a - 1/3,
// where  E >= d (v - 1 - log v) - N^2/2 =: d s(u),  u = N / sqrt(9d),  whose first terms cancel: near 0, s = u^4 times a polynomial.
// Below a = 1: gamma(a) = gamma(a + 1) U^(1/a). *boost = -log(U)/a, to be subtracted from the result's logarithm.
${REAL} marsaglia_tsang(${REAL} a, ${REAL} *boost, ulong block, uint first, uint key0, uint key1)
{
    ${BITS} w[${words}];
    *boost = 0;
    ${REAL} d = a - ${literal(1 / 3)};
    if (a < 1) {
        draw(block, first + BOUND, key0, key1, w);
        *boost = quotient(exponential(w[0]), fmax(a, ${literal(2.0 ** (-900 if double else -100))}));
        d = a + ${literal(2 / 3)};
    }
    const ${REAL} c = quotient(${literal(1 / 3)}, square_root(d));
    ${REAL} result = d;
    for (uint attempt = 0; attempt < BOUND;) {
        draw(block, first + attempt, key0, key1, w);
        const ${REAL} v = fma(c, normal(w[0]), ${literal(1)}), u = v - ${literal(1)}, u2 = u * u;
        ${REAL} s = u2 * u2 * gamma_polynomial(u);
        if (fabs(u) > ${literal(0.29)})
            s = fma(${literal(3)}, u - natural_log(fmax(v, ${literal(2.0 ** -60)})), u2 * (u - ${literal(1.5)}));
        const int accepted = (v > 0) & (exponential(w[1]) >= d * s);
        result = accepted ? d * (v * v * v) : result;
        attempt = accepted ? BOUND : attempt + 1;
    }
    return result;
}
% endif
% if kind == "gamma":

// Never 0 for a > 0, so that its logarithm is finite: at least the smallest normal number of the array's dtype
${REAL} sample(${REAL} a, ulong block, uint key0, uint key1)
{
    if (!(a >= 0))
        return NAN;
    if (a == 0 || a == INFINITY)
        return a;
    ${REAL} boost;
    const ${REAL} size = marsaglia_tsang(a, &boost, block, 0, key0, key1);
    return fmax(size * power_of_e(-boost), ${literal(tiny)});
}
% elif kind == "beta":

// G / (G + H), G ~ gamma(a), H ~ gamma(b), from the logarithm of H / G, for both may be too small for a number of their own
${REAL} sample(${REAL} a, ${REAL} b, ulong block, uint key0, uint key1)
{
    if (!(a > 0 && b > 0 && a < INFINITY && b < INFINITY))
        return NAN;
    ${REAL} boost_a, boost_b;
    const ${REAL} g = marsaglia_tsang(a, &boost_a, block, 0, key0, key1), h = marsaglia_tsang(b, &boost_b, block, 1 << 16, key0, key1);
    const ${REAL} odds = quotient(h, g) * power_of_e(boost_a - boost_b);
    return odds > ${literal(2.0 ** (1000 if double else 120))} ? 0 : quotient(${literal(1)}, ${literal(1)} + odds);
}
% elif kind == "poisson":

// Products of uniforms until one falls to exp(-a): their number less one (Knuth); for a < 10
${REAL} by_products(${REAL} a, ulong block, uint key0, uint key1)
{
    ${BITS} w[${words}];
    const ${REAL} end = power_of_e(-a);
    ${REAL} product = 1, count = 0;
    for (uint attempt = 0; attempt < BOUND; attempt = product > end ? attempt + 1 : BOUND) {
        draw(block, attempt, key0, key1, w);
        for (int j = 0; j < ${words}; ++j) {
            product = product * centred(as_${SIGNED}(w[j] >> 1), ${literal(2.0 ** (1 - t.draw))});
            count = product > end ? count + ${literal(1)} : count;
        }
    }
    return count;
}

// -log P(k), by the distance from the mean (Loader, "Fast and accurate computation of binomial probabilities", 2000), for nothing to cancel:
//   a D(k/a - 1) + log(2 pi k)/2 + stirling(1/k)/k,  D(f) = (1 + f) log(1 + f) - f
${REAL} minus_log_probability(${REAL} k, ${REAL} a)
{
    const ${REAL} one_k = quotient(${literal(1)}, fmax(k, ${literal(1)})), f = quotient(k - a, a), more = ${literal(1)} + f;
    ${REAL} deviance = f * f * deviance_polynomial(f);
    if (f < ${literal(-0.29)} || f > ${literal(0.41)})
        deviance = fma(more, natural_log(fmax(more, ${literal(2.0 ** -60)})), -f);
    const ${REAL} rest = fma(natural_log(k * ${literal(6.283185307179586)}), ${literal(0.5)}, one_k * stirling_polynomial(one_k));
    return k < 1 ? a : fma(a, deviance, rest);
}

// PTRS of Hoermann, "The transformed rejection method for generating Poisson random variables", Insurance: Mathematics and Economics 12 (1993)
${REAL} transformed_rejection(${REAL} a, ulong block, uint key0, uint key1)
{
    ${BITS} w[${words}];
    const ${REAL} wide = fma(square_root(a), ${literal(2.53)}, ${literal(0.931)}), high = fma(wide, ${literal(0.02483)}, ${literal(-0.059)});
    const ${REAL} inverse = ${literal(1.1239)} + quotient(${literal(1.1328)}, wide - ${literal(3.4)});
    const ${REAL} squeeze = -natural_log(${literal(0.9277)} - quotient(${literal(3.6224)}, wide - ${literal(2)})), log_inverse = natural_log(inverse);
    ${REAL} result = floor(a);
    for (uint attempt = 0; attempt < BOUND;) {
        draw(block, attempt, key0, key1, w);
        const ${SIGNED} m = as_${SIGNED}(w[0]) & ${t.magnitude};
        const ${REAL} u = centred(m, ${literal(2.0 ** -t.draw)}), distance = centred(m ^ ${t.magnitude}, ${literal(2.0 ** -t.draw)});   // 1/2 - u
        const ${REAL} signed_u = as_${SIGNED}(w[0]) < 0 ? -u : u, e = exponential(w[1]);
        const ${REAL} slope = quotient(high * ${literal(2)}, distance) + wide;
        const ${REAL} k = floor(fma(slope, signed_u, ${literal(0.43)}) + a);
        int accepted = (distance >= ${literal(0.07)}) & (e >= squeeze);
        if (!accepted && k >= 0)
            accepted = e >= log_inverse - natural_log(quotient(high, distance * distance) + wide) + minus_log_probability(k, a);
        result = accepted ? k : result;
        attempt = accepted ? BOUND : attempt + 1;
    }
    return result;
}

${REAL} sample(${REAL} a, ulong block, uint key0, uint key1)
{
    if (!(a >= 0))
        return NAN;
    if (a == INFINITY)
        return a;
    return a < 10 ? by_products(a, block, key0, key1) : transformed_rejection(a, block, key0, key1);
}
% elif kind == "tail":

// N = start + y, y exponential of rate `start`, cut off at the range's length, accepted with probability exp(-y^2/2): the product of both densities
// is the normal's. mass of the exponential lies within the range, mass_above = 1 - mass. (Robert, "Simulation of truncated normal variables", 1995)
${REAL} sample(ulong block, uint key0, uint key1${"".join(f", {T} {name}" for T, name in numbers)})
{
    ${BITS} w[${words}];
    ${REAL} result = start;
    for (uint attempt = 0; attempt < BOUND;) {
        draw(block, attempt, key0, key1, w);
        const ${REAL} p = centred(as_${SIGNED}(w[0]) & ${t.magnitude}, ${literal(2.0 ** -t.draw)});
        const ${REAL} left = fma(-p, mass, ${literal(1)}), below = p * mass, upper = fma(p, mass, mass_above);
        // -log of 1 - U mass, U = p or 1 - p as the top bit says
        const ${SIGNED} e = (as_${SIGNED}(left) - ${t.half_root}) >> ${t.mantissa};
        const ${REAL} f = as_${REAL}(as_${SIGNED}(left) - (e << ${t.mantissa})) - ${literal(1)};
        const ${REAL} waited = -(as_${SIGNED}(w[0]) < 0 ? natural_log(upper) : log_of(e, e == 0 ? -below : f)), y = waited * rate_inverse;
        const int accepted = exponential(w[1]) >= y * y * ${literal(0.5)};
        result = accepted ? fma(waited, rate_inverse, start) : result;
        attempt = accepted ? BOUND : attempt + 1;
    }
    return fmin(fmax(fma(result, scale, shift), least), most);
}
% elif kind == "race":

// The order of arrival is that of draws without replacement (Efraimidis, Spirakis 2006); weight 0 never arrives
${REAL} sample(${REAL} a, ${REAL} largest, ulong block, uint key0, uint key1)
{
    ${BITS} w[${words}];
    if (!(a > 0))
        return INFINITY;
    const ${REAL} unit = largest > ${literal(2.0 ** 60)} ? ${literal(2.0 ** -64)} : largest < ${literal(2.0 ** -60)} ? ${literal(2.0 ** 64)} : ${literal(1)};
    draw(block, 0, key0, key1, w);
    const ${REAL} weight = quotient(a * unit, largest * unit);
    return quotient(exponential(w[0]), fmax(weight, ${literal(2.0 ** -115)}));
}
% elif kind == "weights":

// The bit patterns of a and of the row's largest, as integers: sums of these are exact, whatever their order. 2^bits times the number of columns is
// below 2^62. What is below 2^-bits of the largest is never drawn.
ulong sample(${BITS} a, ${BITS} largest, int bits)
{
    const int field = (int)(a >> ${t.mantissa}) & ${2047 if double else 255}, top = (int)(largest >> ${t.mantissa}) & ${2047 if double else 255};
    const ulong mantissa = (a & ${hex(2 ** t.mantissa - 1)}U${t.suffix}) | (field ? ${hex(2 ** t.mantissa)}UL : 0UL);
    const int left = bits - ${t.mantissa + 1} - (max(top, 1) - max(field, 1));
    return left >= 0 ? mantissa << left : left > -64 ? mantissa >> -left : 0UL;
}
% elif kind == "pick":

// Binary search: the first column whose cumulative weight exceeds floor(bits total / 2^64)
long sample(global const ulong *cumulative, index_t columns, ulong block, uint key0, uint key1)
{
    ulong w[2];
    draw(block, 0, key0, key1, w);
    const ulong point = mul_hi(w[0], cumulative[columns - 1]);
    index_t low = 0, high = columns - 1;
    while (low < high) {
        const index_t middle = low + (high - low) / 2;
        const int above = cumulative[middle] > point;
        high = above ? middle : high;
        low = above ? low : middle + 1;
    }
    return low;
}
% endif

kernel void sample_${kind}(global ${ctype} *out, const index_t n, const uint key0, const uint key1, const ulong offset\
% for j, T in enumerate(arrays):
, global const ${T} *a${j}, const index_t start${j}, const index_t step${j}\
% endfor
% for T, name in numbers:
, const ${T} ${name}\
% endfor
)
{
    const index_t size = get_global_size(0), id = get_global_id(0);
% if wide:
    const index_t share = n / size + (n % size != 0), begin = min(share * id, n), end = min(begin + share, n);
    for (index_t i = begin; i < end; ++i) {
% else:
    for (index_t i = id; i < n; i += size) {
% endif
% if kind in ("race", "weights"):
        const ${arrays[0]} a = a0[start0 + i * step0], largest = a1[start1 + i / columns];
% elif kind != "pick":
% for j, T in enumerate(arrays):
        const ${T} ${"ab"[j]} = a${j}[start${j} + i * step${j}];
% endfor
% endif
<%
value = {"weights": "sample(a, largest, bits)", "race": "sample(a, largest, offset + (ulong)i, key0, key1)",
         "pick": "sample(a0 + start0 + i / samples * columns, columns, offset + (ulong)i, key0, key1)",
         "beta": "sample(a, b, offset + (ulong)i, key0, key1)",
         "tail": f"sample(offset + (ulong)i, key0, key1{''.join(', ' + name for _, name in numbers)})"}.get(
             kind, "sample(a, offset + (ulong)i, key0, key1)")
%>\
% if ctype == "half":
        vstore_half_rte(${value}, i, out);
% else:
        out[i] = ${value};
% endif
    }
}
