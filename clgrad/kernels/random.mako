<%!
# Random numbers from a counter: element i is a pure function of (seed, offset, stream, i), the same bits on every device.
#
#   kind         fills out[n] with                             ctype             draw      counters used
#   uniform      low + scale [0, 1), at most below             float half double  32, 64   ceil(n/4), double ceil(n/2)
#   normal       shift + scale N, by inversion                 float half double  32, 64   ceil(n/4), double ceil(n/2)
#   truncated    the same, N between two quantiles             the same, as all below unless said otherwise
#   log_normal   exp(shift + scale N)
#   exponential  scale E, by inversion
#   gumbel       shift - scale log(E)
#   cauchy       shift + scale tan(pi (U - 1/2))
#   geometric    1 + floor(scale E), saturating                any               32, double 64
#   bernoulli    1 with probability p, else 0                  uchar              32       ceil(n/4)
#   dropout      x[i] factor with probability p, else 0 (+ y) float half bf16 double  32   ceil(n/4), of bernoulli's stream
#   randint      low .. low + range - 1 (range 0: 2^64)        char .. ulong      64       ceil(n/2)
#   permutation  0 .. n-1 in random order                      long               -        1
#
# reproducible.mako says what keeps the bits equal.

PARAMS = {"lanes": (4, 8, 16),   # wide: 128-bit counters that a work-item turns at once
          "groups_per_unit": (2, 4, 8, 16, 32),
          "least": (256, 1024, 4096, 16384),   # wide: elements of a work-item
          "local": (32, 64, 128, 256)}
DEFAULT = {"wide": {"lanes": 16, "groups_per_unit": 4, "least": 1024},
           "many": {"lanes": 1, "groups_per_unit": 16, "local": 128}}

def valid(params, facts):
    return params.get("local", 1) <= facts.max_work_group_size

SHIFT = {"float": 8, "half": 21, "double": 11}   # bits that a uniform number has no room for
UNSIGNED = {"char": "uchar", "short": "ushort", "int": "uint", "long": "ulong"}
%>
<%namespace name="r" file="reproducible.mako"/>\
<%
wide, feistel, dropout = form == "wide", kind == "permutation", kind == "dropout"
double = ctype == "double" and not dropout
prelude = context.lookup.get_template("prelude.mako").module
draw = 64 if double or kind == "randint" else 32
V = (16 if wide else 2) if feistel else 512 // draw if wide else 128 // draw   # elements of a vector
E = V if feistel else lanes * 128 // draw                                         # of a chunk: one trip round the loop
t = r.module.Types(draw == 64, V)
REAL, BITS, SIGNED, literal = t.REAL, t.BITS, t.SIGNED, t.literal
ramp = lambda width: ", ".join(map(str, range(width)))
# A kind's arguments, and the parts of reproducible.mako that it is made of.
REALS = {"uniform": "scale low below", "normal": "scale shift", "truncated": "from above between apart scale shift least most",
         "log_normal": "scale shift", "exponential": "scale", "gumbel": "scale shift", "cauchy": "scale shift", "geometric": "scale"}
PARTS = {"normal": "centred root normal", "truncated": "centred root normal", "log_normal": "centred root normal power",
         "exponential": "centred logs exponential", "gumbel": "centred logs exponential", "geometric": "centred logs exponential",
         "cauchy": "centred division"}
T = "double" if ctype == "double" else "float"   # of dropout's factor
named = {"bernoulli": [("float", "p")], "dropout": [("float", "p"), (T, "factor"), *((t, name + end) for name in ("xy" if plus else "x") for t, end in ((f"const global {ctype} *", ""), ("index_t", "_offset")))], "randint": [("long", "low"), ("ulong", "range")]}.get(
    kind, [(t.real, name) for name in REALS.get(kind, "").split()])
arguments, pass_on = "".join(f", const {T} {name}" for T, name in named), "".join(f", {name}" for _, name in named)
%>\
## On a CPU a work-item makes one run of chunks (its own cache lines and pages); on a GPU neighbours make neighbouring chunks (coalescing).
<%def name="chunks()">\
const index_t chunks = n / ${E} + (n % ${E} != 0), size = get_global_size(0), id = get_global_id(0);
% if wide:
    const index_t share = chunks / size + (chunks % size != 0), first = min(share * id, chunks), last = min(first + share, chunks);
    for (index_t chunk = first; chunk < last; ++chunk)\
% else:
    for (index_t chunk = id; chunk < chunks; chunk += size)\
% endif
</%def>\
% if double:
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
% endif
#pragma OPENCL FP_CONTRACT OFF
#define LOW 0xffffffffUL
typedef ${index} index_t;

% if dropout:
${prelude.extensions(T, ctype)}
<% Ts = prelude.vec(T, V) %>
<%
    def dropped(at, keep, width=1):
        value = f"{prelude.load(ctype, T, 'x', f'x_offset + {at}', width)} * {keep}"
        return f"{value} + {prelude.load(ctype, T, 'y', f'y_offset + {at}', width)}" if plus else value
%>\
// out[i .. i + ${V - 1}], as far as n: x times factor where the uniform number is below p, else times 0${", plus y" if plus else ""}
static inline void drop(global ${ctype} *out, const index_t i, const index_t n, const ${BITS} bits${arguments})
{
    const ${REAL} unit = convert_${REAL}(as_${SIGNED}(bits >> 8)) * ${literal(2.0 ** -24)};
    const ${Ts} keep = ${f"convert_long{V}(unit < p)" if T == "double" else "(unit < p)"} ? (${Ts})(factor) : (${Ts})(0);
    if (n - i >= ${V}) {
        ${prelude.store(ctype, T, "out", "i", dropped("i", "keep", V), V)}
        return;
    }
    ${T} tail[${V}];
    vstore${V}(keep, 0, tail);
    for (index_t j = i; j < n; ++j) ${prelude.store(ctype, T, "out", "j", dropped("j", "tail[j - i]"))}
}
% else:
<% element = "float" if ctype == "half" else ctype %>\
% if wide:
// out[i .. i + ${V - 1}] = values, as far as n
% else:
// out[i .. i + ${V - 1}] = values, as far as n; out starts a buffer, hence is aligned: one transaction, where vstore may be ${V}
% endif
void store(global ${ctype} *out, const index_t i, const index_t n, const ${element}${V} values)
{
    if (n - i >= ${V}) {
% if ctype == "half":
        vstore${"" if wide else "a"}_half${V}_rte(values, 0, out + i);
% elif wide:
        vstore${V}(values, 0, out + i);
% else:
        *(global ${ctype}${V} *)(out + i) = values;
% endif
        return;
    }
    ${element} tail[${V}];
    vstore${V}(values, 0, tail);
    for (index_t j = i; j < n; ++j)
% if ctype == "half":
        vstore_half_rte(tail[j - i], j, out);
% else:
        out[j] = tail[j - i];
% endif
}
% endif

% if feistel:
${r.philox4x32("uint")}
// the round function: first word of Philox2x32-7 (Random123 has known answers for 7 rounds)
ulong${V} mix(ulong${V} a, ulong counter1, uint key)
{
    ulong${V} b = (ulong${V})(counter1);
    for (int round = 0; round < 7; ++round, key += 0x9E3779B9U) {
        ${r.multiply(f"ulong{V}", "hi", "lo", "a", "0xD256D193")}
        a = hi ^ b ^ key;
        b = lo;
    }
    return a & LOW;
}

// A bijection of the pairs (left, right), each in [0, side): eight rounds of  left, right -> right, (left + F(right)) mod side
ulong${V} feistel(ulong${V} *left, ulong${V} *right, ulong side, const uint *k)
{
    for (uint round = 0; round < 8; ++round) {
        const ulong${V} sum = *left + (mix(*right, k[(round + 1) & 3] ^ round, k[round & 3]) * side >> 32);
        *left = *right;
        *right = min(sum, sum - side);   // below side the difference wraps to something huge
    }
    return *left * side + *right;
}

// out[i] = where the bijection of [0, side^2) sends i, applied again until that is below n; side = ceil(sqrt(max(n, 256))).
// The walk from i < n returns below n, at i at the latest, so this permutes [0, n) (Black, Rogaway, "Ciphers with arbitrary finite domains",
// CT-RSA 2002, for the walk and for a Feistel network modulo side). side^2 <= n + 2 sqrt(n) + 1 from n = 256 on, so that walks are rare there.
// Quality: four rounds with random functions suffice as side grows (Luby, Rackoff 1988). Here are eight, for small sides; each function is
// Philox2x32-7 under its own 64 of the 128 bits that Philox4x32-10 makes of seed, offset and stream; below n = 256 more cells are permuted
// than used. Tests: all permutations of 4 and 5, positions and neighbours at 50, parity at 256. Beyond n = 2^40 F, 32 bits, gets too coarse for side.
kernel void random_permutation(global long *out, const index_t n, const uint key0, const uint key1, const ulong offset, const ulong stream,
                               const ulong side)
{
    uint k[4] = {(uint)offset, (uint)(offset >> 32), (uint)stream, (uint)(stream >> 32)};
    philox4x32(k, k + 1, k + 2, k + 3, key0, key1);
    ${chunks()} {
        const index_t i = chunk * ${V};
        // One division a vector: a row of side >= 16 ends at most once within it. Lanes beyond n repeat n - 1, for their walks have to end too.
        const ulong${V} lane = min((ulong${V})(${ramp(V)}), (ulong${V})((ulong)(n - 1 - i)));
        const ulong${V} place = lane + (ulong)i % side, wrapped = as_ulong${V}(place >= (ulong${V})(side)) & 1UL;
        ulong${V} left = wrapped + (ulong)i / side, right = place - wrapped * side;
        ulong${V} y = feistel(&left, &right, side, k);
        for (long${V} outside = y >= (ulong${V})((ulong)n); any(outside); outside = y >= (ulong${V})((ulong)n))
            y = select(y, feistel(&left, &right, side, k), outside);
        store(out, i, n, as_long${V}(y));
    }
}
% else:
<% word = f"ulong{lanes}" if wide else "uint" %>\
${r.philox4x32(word)}
% for part in PARTS.get(kind, "").split():
${getattr(r, part)(t)}
% endfor
% if kind == "randint" and wide:
// the high 64 bits of u m from 32-bit halves, which CPUs multiply in vectors; no sum overflows
ulong${V} multiply_high(ulong${V} u, ulong m)
{
    const ulong${V} high = u >> 32, low = u & LOW;
    const ulong${V} t = high * (m & LOW) + (low * (m & LOW) >> 32);
    if (m <= LOW)
        return t >> 32;
    return high * (m >> 32) + (t >> 32) + ((low * (m >> 32) + (t & LOW)) >> 32);
}
% endif

% if kind == "uniform":
// ${draw - SHIFT[ctype]} bits, each exact in ${ctype}: [0, 1), never rounded to 1; nor is the result to the end of its range
${element}${V} value(${BITS} bits${arguments})
{
    const ${REAL} unit = convert_${REAL}(as_${SIGNED}(bits >> ${SHIFT[ctype]})) * ${literal(2.0 ** (SHIFT[ctype] - draw))};
    return fmin(fma(unit, (${REAL})(scale), (${REAL})(low)), (${REAL})(below));
}
% elif kind == "normal":
${REAL} value(${BITS} bits${arguments})
{
    return fma(normal(bits), (${REAL})(scale), (${REAL})(shift));
}
% elif kind == "truncated":
// The normal whose distribution function is p = from + U between; above: what lies over the range, apart = above - from. U of ${draw - 4} bits
// keeps p and q = 1 - p where the polynomials were fitted, for ranges that reach within one of the centre.
${REAL} value(${BITS} bits${arguments})
{
    const ${SIGNED} m = as_${SIGNED}(bits >> 4);
    const ${REAL} u = centred(m, ${literal(2.0 ** (4 - draw))}), v = centred(m ^ ${hex(2 ** (draw - 4) - 1)}${t.suffix}, ${literal(2.0 ** (4 - draw))});
    const ${REAL} p = fma(u, (${REAL})(between), (${REAL})(from)), q = fma(v, (${REAL})(between), (${REAL})(above));
    const ${REAL} x = fma(u - v, (${REAL})(between), (${REAL})(-apart));   // p - q, exact where it is small
    const ${REAL} z = x * radial(fmin(fmin(p, q), ${t.all(0.5)}));
    return fmin(fmax(fma(z, (${REAL})(scale), (${REAL})(shift)), (${REAL})(least)), (${REAL})(most));
}
% elif kind == "log_normal":
${REAL} value(${BITS} bits${arguments})
{
    return power_of_e(fma(normal(bits), (${REAL})(scale), (${REAL})(shift)));
}
% elif kind == "exponential":
${REAL} value(${BITS} bits${arguments})
{
    return exponential(bits) * scale;
}
% elif kind == "gumbel":
${REAL} value(${BITS} bits${arguments})
{
    return fma(natural_log(exponential(bits)), (${REAL})(-scale), (${REAL})(shift));
}
% elif kind == "geometric":
// The waiting time of a rate scale^-1 = -log(1 - p), counted in whole steps; beyond 2^${t.mantissa + 1} it is a multiple of more
${"float" if ctype == "half" else ctype}${V} value(${BITS} bits${arguments})
{
    const ${REAL} steps = floor(exponential(bits) * scale) + ${literal(1)};
% if ctype in ("float", "half", "double"):
    return steps;
% else:
    return convert_${ctype}${V}_sat(steps);
% endif
}
% elif kind == "cauchy":
${r.polynomial(t, "tan")}
// tan(pi p), p in (0, 1/2), as 1/tan(pi (1/2 - p)) from 1/4 on; the top bit is the sign
${REAL} value(${BITS} bits${arguments})
{
    const ${SIGNED} m = as_${SIGNED}(bits) & ${t.magnitude};
    const ${REAL} p = centred(m, ${literal(2.0 ** -draw)}), q = centred(m ^ ${t.magnitude}, ${literal(2.0 ** -draw)}), near = fmin(p, q);
    const ${REAL} tangent = near * tan_polynomial(near * near);
    const ${REAL} size = p > q ? quotient(${t.all(1)}, tangent) : tangent;
    return fma(as_${REAL}(as_${BITS}(size) | (bits & ${t.sign_bit})), (${REAL})(scale), (${REAL})(shift));
}
% elif kind == "bernoulli":
// uniform < p
uchar${V} value(${BITS} bits, float p)
{
    return convert_uchar${V}((convert_${REAL}(as_${SIGNED}(bits >> 8)) * ${literal(2.0 ** -24)} < p) & 1);
}
% elif kind == "randint":
// low + floor(bits range / 2^64), range 0 meaning 2^64: a value's probability is off by less than 2^-64
${ctype}${V} value(${BITS} bits, long low, ulong range)
{
    const ${BITS} above = range ? ${"multiply_high(bits, range)" if wide else f"mul_hi(bits, ({BITS})(range))"} : bits;
    return as_${ctype}${V}(convert_${UNSIGNED.get(ctype, ctype)}${V}(above + (ulong)low));
}
% endif

% if draw == 64:
// out[i] = value(words 2(i % 2), the lower, and 2(i % 2) + 1 of philox(offset + i / 2, stream))
% else:
// out[i] = value(word i % 4 of philox(offset + i / 4, stream))
% endif
kernel void random_${kind}(global ${ctype} *out, const index_t n, const uint key0, const uint key1, const ulong offset,
                            const ulong stream${arguments})
{
    ${chunks()} {
% if wide:
        const ulong${lanes} block = (ulong${lanes})(${ramp(lanes)}) + (offset + (ulong)chunk * ${lanes});
        ulong${lanes} a = block, b = block >> 32, c = (ulong${lanes})(stream), d = c >> 32;
        philox4x32(&a, &b, &c, &d, key0, key1);
        // pairs of words, in the order of a little-endian store
        const ulong${lanes} even = (a & LOW) | (b << 32), odd = (c & LOW) | (d << 32);
        ulong8 pairs;
% for part, four in enumerate(["s0123", "s4567", "s89ab", "scdef"][:lanes // 4]):
        pairs.even = even.${four};
        pairs.odd = odd.${four};
    % if dropout:
        if (chunk * ${E} + ${part * V} < n) drop(out, chunk * ${E} + ${part * V}, n, as_${BITS}(pairs)${pass_on});
    % else:
        store(out, chunk * ${E} + ${part * V}, n, value(${"pairs" if draw == 64 else f"as_{BITS}(pairs)"}${pass_on}));
    % endif
% endfor
% else:
        const ulong block = offset + (ulong)chunk;
        uint a = (uint)block, b = (uint)(block >> 32), c = (uint)stream, d = (uint)(stream >> 32);
        philox4x32(&a, &b, &c, &d, key0, key1);
    % if dropout:
        drop(out, chunk * ${E}, n, (${BITS})(a, b, c, d)${pass_on});
    % else:
        store(out, chunk * ${E}, n, value((${BITS})(${"a | (ulong)b << 32, c | (ulong)d << 32" if draw == 64 else "a, b, c, d"})${pass_on}));
    % endif
% endif
    }
}
% endif
