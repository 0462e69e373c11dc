<%!
# Random numbers from a counter: element i is a pure function of (seed, offset, stream, i), the same bits on every device.
#
#   kind         fills out[n] with                             ctype             draw      counters used
#   uniform      [0, 1)                                        float half double  32, 64   ceil(n/4), double ceil(n/2)
#   normal       N(0, 1), by inversion                         float half double  32, 64   ceil(n/4), double ceil(n/2)
#   bernoulli    1 with probability p, else 0                  uchar              32       ceil(n/4)
#   randint      low .. low + range - 1 (range 0: 2^64)        char .. ulong      64       ceil(n/2)
#   permutation  0 .. n-1 in random order                      long               -        1
#
# What keeps the bits equal: integers, and floats only through *, fma, exact +/- and exact or correctly rounded conversions. A product never
# feeds a + (a compiler may contract that), no library function or division is called (their last bits are the driver's), and no denormal occurs.

PARAMS = {"lanes": (1, 4, 8, 16)}   # 128-bit counters that a work-item turns at once
DEFAULT = {"wide": {"lanes": 8}, "many": {"lanes": 1}}

def valid(params, facts):
    """`facts` do not matter: no local memory, no barrier, any global and local size."""
    return (params["lanes"] == 1) == (params["form"] == "many")

# |N| = x R(log v) for x = 1 - 2p, v = 4p(1 - p) = 1 - x^2, after M. Giles, "Approximating the erfinv function", GPU Computing Gems (2011).
# Chebyshev interpolants, highest power first, computed with 45 digits; the relative (log: absolute) error stands behind each.
# log: log(1 + f), sqrt(1/2) - 1 <= f <= sqrt(2) - 1.  centre: R(u), -5 <= u <= 0, in u + 2.5.
# tail: R(-s^2) in s - 3, sqrt(5) <= s, to s = 4 in double.  deep: in s - 5, to s = 6.62, the last that 63 bits reach.
FLOAT = {
    "log": (   # 6.1e-9
        0.0828670784831047, -0.1436072587966919, 0.15130046010017395, -0.16572409868240356, 0.19935809075832367,
        -0.2500101923942566, 0.3333507180213928, -0.5000001192092896, 0.9999998807907104, 6.788987705341754e-10),
    "centre": (   # 6.4e-9
        1.2631651280514689e-08, 3.3002041988083874e-08, -6.620376780119841e-07, -4.8988149501383305e-06, 7.0320634222298395e-06,
        0.0003087926597800106, 0.0017716226866468787, -0.005907725542783737, -0.34880203008651733, 2.1233134269714355),
    "tail": (   # 1.6e-8
        -3.140380067634396e-05, 0.00019179204537067562, -0.0003757432568818331, -0.00012456453987397254, 0.002052036812528968,
        -0.00506496662274003, 0.008059593848884106, -0.01080459076911211, 0.013355404138565063, 1.416582465171814, 4.006434440612793),
}
DOUBLE = {
    "log": (   # 1.2e-17
        -0.02677082877676623, 0.06228998353905379, -0.06878845849920087, 0.06042208023030567, -0.06024103524763906,
        0.06603810299340418, -0.07161316558074746, 0.07700069255212379, -0.08332591224884314, 0.09090403404177881,
        -0.10000009268991746, 0.11111130207325398, -0.1250000032336989, 0.14285713868134575, -0.1666666665375084,
        0.20000000004943275, -0.25000000000156225, 0.3333333333330653, -0.4999999999999938, 1.0000000000000004, -3.691628534306795e-18),
    "centre": (   # 2.2e-17
        -2.326859306239138e-19, 3.589562335389115e-18, 3.768263792500738e-17, -1.4337418990416418e-16, -2.6787264386924898e-15,
        -4.493066208251816e-15, 1.0763051257153743e-13, 7.596844612567403e-13, -1.289008962418514e-12, -4.399329856891935e-11,
        -1.6915025410822527e-10, 1.2831368726961076e-09, 1.5360013240911848e-08, 1.8974204701303758e-08, -6.770196976409107e-07,
        -4.831829754381931e-06, 7.065523527997019e-06, 0.0003086524838202352, 0.0017715965129182088, -0.005907619380163793,
        -0.34880202439905444, 2.12331346701467),
    "tail": (   # 4.4e-17
        5.929539505632776e-09, -1.1000966783904436e-08, -5.912188194179521e-08, 2.3183605161573097e-07, -1.5357996689731217e-07,
        -8.926880980035448e-07, 2.8575472523566945e-06, -2.354264684882119e-06, -8.42380422679051e-06, 3.102892233487578e-05,
        -3.234415157620246e-05, -6.570758961634251e-05, 0.0002906438283818112, -0.00040039793165738496, -0.00021057366788152613,
        0.0020983214289138122, -0.005032894765448119, 0.008040062082211528, -0.010809973505265854, 0.013357985333006552,
        1.4165827613936282, 4.006434210649835),
    "deep": (   # 6.6e-17
        2.0597368898211606e-12, -1.6027361995028416e-11, 3.8221560366559e-11, 4.467371464338065e-11, -5.442508030889437e-10,
        1.9530654458108835e-09, -5.029864215247965e-09, 1.0978705682167348e-08, -2.146418946089742e-08, 4.107978047440896e-08,
        -9.559756068210446e-08, 3.2391836281983143e-07, -1.4043373975429882e-06, 6.400806369192039e-06, -2.7834230124299568e-05,
        0.0001074735528879695, -0.0003040985115423134, -0.00019617874141638773, 1.4287806194832773, 6.858803409112112),
}
SHIFT = {"float": 8, "half": 21, "double": 11}   # bits that a uniform number has no room for
UNSIGNED = {"char": "uchar", "short": "ushort", "int": "uint", "long": "ulong"}

def hexadecimal(c):
    """A C literal that no compiler can misread."""
    digits, exponent = float(c).hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}"
%>
<%
wide, double, feistel = form == "wide", ctype == "double", kind == "permutation"
table = DOUBLE if double else FLOAT
draw = 64 if double or kind == "randint" else 32
V = (16 if wide else 2) if feistel else 512 // draw if wide else 128 // draw   # elements of a vector
E = V if feistel else lanes * 128 // draw                                         # of a chunk: one trip round the loop
real, uint, sint = ("double", "ulong", "long") if draw == 64 else ("float", "uint", "int")
REAL, BITS, SIGNED = f"{real}{V}", f"{uint}{V}", f"{sint}{V}"
ramp = lambda width: ", ".join(map(str, range(width)))
literal = lambda c: (str(float(c)) if abs(c) in (0.5, 1, 1.5, 2.5, 3, 4, 5) else hexadecimal(c)) + ("" if double else "f")
magnitude, sign_bit = (f"0x{2 ** (draw - 1) - 1:x}", f"0x{2 ** (draw - 1):x}U")
if draw == 64:
    magnitude, sign_bit = magnitude + "L", sign_bit + "L"
%>\
## hi, lo: the halves of a 32 x 32 bit product. CPUs have it for vectors of 64-bit lanes; words in such carry rubbish above bit 31, masked here.
<%def name="multiply(word, hi, lo, a, m)">\
% if word == "uint":
const uint ${lo} = ${a} * ${m}U, ${hi} = mul_hi(${a}, ${m}U);\
% else:
const ${word} ${lo} = (${a} & LOW) * ${m}UL, ${hi} = ${lo} >> 32;\
% endif
</%def>\
<%def name="philox4x32(word)">\
// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
void philox4x32(${word} *a, ${word} *b, ${word} *c, ${word} *d, uint key0, uint key1)
{
    for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9U, key1 += 0xBB67AE85U) {
        ${multiply(word, "hi0", "lo0", "*a", "0xD2511F53")}
        ${multiply(word, "hi1", "lo1", "*c", "0xCD9E8D57")}
        *a = hi1 ^ *b ^ key0;
        *c = hi0 ^ *d ^ key1;
        *b = lo1;
        *d = lo0;
    }
}
</%def>\
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

% if feistel:
${philox4x32("uint")}
// the round function: first word of Philox2x32-7 (Random123 has known answers for 7 rounds)
ulong${V} mix(ulong${V} a, ulong counter1, uint key)
{
    ulong${V} b = (ulong${V})(counter1);
    for (int round = 0; round < 7; ++round, key += 0x9E3779B9U) {
        ${multiply(f"ulong{V}", "hi", "lo", "a", "0xD256D193")}
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
${philox4x32(word)}
% if kind == "normal":
// (m + 1/2) scale for 0 <= m < 2^${draw - 1}: never 0
${REAL} centred(${SIGNED} m, ${real} scale)
{
% if double:
    // two exact conversions and one rounding: conversions of 63 bits are slow in places
    const ${REAL} high = convert_${REAL}(convert_int${V}(m >> 32)), low = convert_${REAL}(convert_uint${V}(m & (long)LOW));
    return fma(fma(high, (${REAL})(0x1p32), low), (${REAL})(scale), (${REAL})(0.5 * scale));
% else:
    return fma(convert_${REAL}(m), (${REAL})(scale), (${REAL})(0.5f * scale));
% endif
}
% for name in table:

${REAL} ${name}_polynomial(${REAL} t)
{
    ${REAL} y = (${REAL})(${literal(table[name][0])});
% for c in table[name][1:]:
    y = fma(y, t, (${REAL})(${literal(c)}));
% endfor
    return y;
}
% endfor

// log(v) = e log(2) + log(1 + f), v = (1 + f) 2^e, sqrt(1/2) <= 1 + f < sqrt(2): the bits of sqrt(1/2) subtracted leave e in the exponent field
${REAL} logarithm(${REAL} v)
{
<% half_root, mantissa = ("0x3fe6a09e667f3bcdL", 52) if double else ("0x3f3504f3", 23) %>\
    const ${SIGNED} e = (as_${SIGNED}(v) - ${half_root}) >> ${mantissa};
    const ${REAL} f = as_${REAL}(as_${SIGNED}(v) - (e << ${mantissa})) - ${literal(1)};
% if double:
    return fma(convert_${REAL}(convert_int${V}(e)), (${REAL})(${literal(0.6931471805599453)}), log_polynomial(f));
% else:
    return fma(convert_${REAL}(e), (${REAL})(${literal(0.6931471824645996)}), log_polynomial(f));
% endif
}

// sqrt(y), y in [5, 44]: r -> 1/sqrt(y) from the exponent-halving guess (Lomont 2003) by Newton's r (3/2 - y r^2 / 2), then one step on y r itself
${REAL} square_root(const ${REAL} y)
{
    const ${REAL} minus_half = y * ${literal(-0.5)};
    ${REAL} r = as_${REAL}((${SIGNED})(${"0x5fe6eb50c7b537a9L" if double else "0x5f3759df"}) - (as_${SIGNED}(y) >> 1));
% for step in range(3 if double else 2):
    r = r * fma(minus_half * r, r, (${REAL})(${literal(1.5)}));
% endfor
    const ${REAL} s = y * r;
    return fma(fma(-s, s, y), r * ${literal(0.5)}, s);
}

// From the top bit a sign, from the others m: p = (m + 1/2) 2^-${draw}, x = 1 - 2p (from ~m, so exact where it is small) and
//   |N| = Phi^-1(1 - p) = x R(u),  u = log(4p(1 - p))          (Giles 2010: polynomials, a square root in the tail)
// with |N| from ${"2^-63 to 9.1" if double else "2^-31 to 6.3"}.
${REAL} value(${BITS} bits)
{
    const ${SIGNED} m = as_${SIGNED}(bits) & ${magnitude};
    const ${REAL} p = centred(m, ${literal(2.0 ** -draw)}), x = centred(m ^ ${magnitude}, ${literal(2.0 ** (1 - draw))});
    const ${REAL} p4 = p * ${literal(4)}, u = logarithm(fma(-p4, p, p4));
    ${REAL} r = centre_polynomial(u + ${literal(2.5)});
    const ${SIGNED} rare = u < ${literal(-5)};
    if (any(rare)) {
        // the other lanes take the root of 5, for nothing
        const ${REAL} s = square_root(select((${REAL})(${literal(5)}), -u, rare));
% if double:
        const ${REAL} tail = select(tail_polynomial(s - ${literal(3)}), deep_polynomial(s - ${literal(5)}), s > ${literal(4)});
        r = select(r, tail, rare);
% else:
        r = select(r, tail_polynomial(s - ${literal(3)}), rare);
% endif
    }
    return as_${REAL}(as_${BITS}(x * r) | (bits & ${sign_bit}));
}
% elif kind == "randint" and wide:
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
<%
arguments = {"bernoulli": ", const float p", "randint": ", const long low, const ulong range"}.get(kind, "")
pass_on = {"bernoulli": ", p", "randint": ", low, range"}.get(kind, "")
%>
% if kind == "uniform":
// ${draw - SHIFT[ctype]} bits, each exact in ${ctype}: [0, 1), never rounded to 1
${element}${V} value(${BITS} bits)
{
    return convert_${REAL}(as_${SIGNED}(bits >> ${SHIFT[ctype]})) * ${literal(2.0 ** (SHIFT[ctype] - draw))};
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
        store(out, chunk * ${E} + ${part * V}, n, value(${"pairs" if draw == 64 else f"as_{BITS}(pairs)"}${pass_on}));
% endfor
% else:
        const ulong block = offset + (ulong)chunk;
        uint a = (uint)block, b = (uint)(block >> 32), c = (uint)stream, d = (uint)(stream >> 32);
        philox4x32(&a, &b, &c, &d, key0, key1);
        store(out, chunk * ${E}, n, value((${BITS})(${"a | (ulong)b << 32, c | (ulong)d << 32" if draw == 64 else "a, b, c, d"})${pass_on}));
% endif
    }
}
% endif
