<%!
# Parts of the random kernels whose bits are the same on every device: Philox, and functions of a real variable.
#
# What keeps the bits equal: integers, and floats only through *, fma, exact +/- and exact or correctly rounded conversions. A product never
# feeds a + (a compiler may contract that), no library function or division is called (their last bits are the driver's), and no denormal occurs.
# A + or - of two results of fma rounds the same everywhere, too. Errors: a few ulp.
# |N| = x R(log v) for x = 1 - 2p, v = 4p(1 - p) = 1 - x^2, after M. Giles, "Approximating the erfinv function", GPU Computing Gems (2011).
# Chebyshev interpolants, highest power first, computed with 45 digits; the relative (log: absolute) error stands behind each.
# log: log(1 + f), sqrt(1/2) - 1 <= f <= sqrt(2) - 1.  centre: R(u), -5 <= u <= 0, in u + 2.5.
# tail: R(-s^2) in s - 3, sqrt(5) <= s, to s = 4 in double.  deep: in s - 5, to s = 6.62, the last that 63 bits reach.
# log_ratio: log(1 + f)/f, same f as log.  exp: |x| <= log(2)/2.  tan: tan(pi x)/x in x^2, |x| <= 1/4.
# gamma: (3 (f - log(1 + f)) - 3 f^2/2 + f^3)/f^4, same f.  deviance: ((1 + f) log(1 + f) - f)/f^2, same f.
# stirling: k (log k! - (k + 1/2) log k + k - log(2 pi)/2) in 1/k, k >= 1: it decides on acceptance only, hence 13 digits in double.
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
    "log_ratio": (   # 7.5e-09
        -0.07451186329126358, 0.12806610763072968, -0.13266031444072723, 0.14199650287628174, -0.1660836935043335,
        0.20000939071178436, -0.2500157952308655, 0.33333346247673035, -0.49999988079071045, 1.0),
    "exp": (   # 2.1e-08
        0.0013941213255748153, 0.008375209756195545, 0.04166635125875473, 0.16666413843631744, 0.5, 1.0, 1.0),
    "tan": (   # 2.8e-08
        581358.5, -18167.453125, 14619.125, 2443.917724609375, 655.5859985351562, 162.9541778564453, 40.80290603637695,
        10.335424423217773, 3.1415927410125732),
    "gamma": (   # 8.9e-08
        0.19162380695343018, -0.31376373767852783, 0.31588175892829895, -0.33127084374427795, 0.37398555874824524,
        -0.4286029636859894, 0.5000197887420654, -0.5999999046325684, 0.7499999403953552),
    "deviance": (   # 1.5e-08
        0.00859671551734209, -0.015465853735804558, 0.018498456105589867, -0.023731369525194168, 0.03329287841916084,
        -0.050001177936792374, 0.08333411812782288, -0.1666666567325592, 0.5),
    "stirling": (   # 3.1e-08
        7.424847717629746e-05, -0.0003967248776461929, 0.0008631972596049309, -0.0008541048737242818,
        1.7995864254771732e-05, 0.0008039753302000463, -2.958742015835014e-06, -0.002777485176920891,
        -9.800825040429118e-09, 0.0833333358168602),
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
    "log_ratio": (   # 4.8e-18
        0.021919155801837793, -0.05350137200611579, 0.06064616772790468, -0.05219226625599391, 0.050301966719505035,
        -0.054728309249345436, 0.0590140935866318, -0.06261215190426186, 0.0666607148372999, -0.07142019400400886,
        0.07692290097990571, -0.08333371277509923, 0.09090911260595849, -0.09999998939375075, 0.1111111103364897,
        -0.12500000017790405, 0.14285714287043255, -0.16666666666501256, 0.19999999999989307, -0.25000000000000716,
        0.33333333333333365, -0.5, 1.0),
    "exp": (   # 3.5e-19
        2.0921669745705126e-09, 2.5114995257692174e-08, 2.7557251634312097e-07, 2.7557224580477215e-06,
        2.480158735040281e-05, 0.00019841269909626037, 0.0013888888888871753, 0.008333333333309335, 0.04166666666666669,
        0.16666666666666702, 0.5, 1.0, 1.0),
    "tan": (   # 3.9e-17
        530894154480.85724, -165904423275.26788, 35513915607.36204, -3175514351.753171, 486269621.366707,
        24007723.261593424, 11506600.377243072, 2642769.4295064984, 668229.5274111028, 166873.21784860117,
        41721.69200076857, 10430.378758320803, 2607.5995175010485, 651.9097560891014, 162.9999519754141,
        40.802624638037294, 10.33542556009994, 3.141592653589793),
    "gamma": (   # 1.1e-15
        0.07745547997911545, -0.1704300193726206, 0.1815226333632812, -0.16018842902579278, 0.16162340359190064,
        -0.17541924056971026, 0.18789271504890317, -0.2001166024661607, 0.21426944853442523, -0.23076284251767046,
        0.25000034420081674, -0.2727274618022483, 0.29999999705893104, -0.3333333304193044, 0.3749999999977568,
        -0.42857142859149294, 0.5000000000000998, -0.5999999999999597, 0.7499999999999999),
    "deviance": (   # 4.1e-17
        0.0015028245664122346, -0.003403126166175809, 0.003848542880990286, -0.003723635052047673, 0.004074734244683152,
        -0.004742184558283271, 0.005501620136189901, -0.00641241482288109, 0.007575464618107394, -0.009090791448350231,
        0.011111117257240007, -0.013888892362178914, 0.017857142805833115, -0.023809523756056074, 0.033333333333273873,
        -0.05000000000036799, 0.0833333333333352, -0.16666666666666594, 0.5),
    "stirling": (   # 1.7e-13
        -4.918976770649714e-05, 0.00040032449588308386, -0.0014411524521615881, 0.0029586571177085477,
        -0.003621997828669866, 0.002211482827519291, 0.0005166943692867948, -0.002284110527502017,
        0.0018546594709938993, -0.0002859262870387407, -0.0005407341927568402, -7.002272165198617e-06,
        0.0007942348559638514, -2.9334476132544502e-08, -0.002777777004851297, -8.05302769839986e-12,
        0.08333333333334726),
}

def hexadecimal(c):
    """A C literal that no compiler can misread."""
    digits, exponent = float(c).hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}"

class Types:
    """Names of the types that a kernel computes in, and of constants: floats or doubles, V of them at once ("" for one)."""

    def __init__(self, double, V):
        self.double, self.V, self.draw = double, V, 64 if double else 32
        real, uint, sint = ("double", "ulong", "long") if double else ("float", "uint", "int")
        self.real, self.REAL, self.BITS, self.SIGNED = real, f"{real}{V}", f"{uint}{V}", f"{sint}{V}"
        self.suffix, self.table = ("L", DOUBLE) if double else ("", FLOAT)
        self.magnitude = f"0x{2 ** (self.draw - 1) - 1:x}{self.suffix}"
        self.sign_bit = f"0x{2 ** (self.draw - 1):x}U{self.suffix}"
        self.half_root, self.mantissa = ("0x3fe6a09e667f3bcdL", 52) if double else ("0x3f3504f3", 23)

    def literal(self, c):
        plain = abs(c) in (0, 0.5, 1, 1.5, 2.5, 3, 4, 5)
        return (str(float(c)) if plain else hexadecimal(c)) + ("" if self.double else "f")

    def all(self, c):
        """The constant in every lane."""
        return f"({self.REAL})({self.literal(c)})"

    def integer(self, m):
        """Signed integers below 2^31 in size, as reals: conversions of 63 bits are slow in places."""
        return f"convert_{self.REAL}(convert_int{self.V}({m}))" if self.double else f"convert_{self.REAL}({m})"
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
## The polynomial of that name.
<%def name="polynomial(t, name)">\
${t.REAL} ${name}_polynomial(${t.REAL} x)
{
    ${t.REAL} y = ${t.all(t.table[name][0])};
% for c in t.table[name][1:]:
    y = fma(y, x, ${t.all(c)});
% endfor
    return y;
}
</%def>\
<%def name="centred(t)">\
// (m + 1/2) scale for 0 <= m < 2^${t.draw - 1}: never 0
${t.REAL} centred(${t.SIGNED} m, ${t.real} scale)
{
% if t.double:
    // two exact conversions and one rounding: conversions of 63 bits are slow in places
    const ${t.REAL} high = convert_${t.REAL}(convert_int${t.V}(m >> 32)), low = convert_${t.REAL}(convert_uint${t.V}(m & (long)LOW));
    return fma(fma(high, (${t.REAL})(0x1p32), low), (${t.REAL})(scale), (${t.REAL})(0.5 * scale));
% else:
    return fma(convert_${t.REAL}(m), (${t.REAL})(scale), (${t.REAL})(0.5f * scale));
% endif
}
</%def>\
<%def name="root(t)">\
// sqrt(y), y normal: r -> 1/sqrt(y) from the exponent-halving guess (Lomont 2003) by Newton's r (3/2 - y r^2 / 2), then one step on y r itself
${t.REAL} square_root(const ${t.REAL} y)
{
    const ${t.REAL} minus_half = y * ${t.literal(-0.5)};
    ${t.REAL} r = as_${t.REAL}((${t.SIGNED})(${"0x5fe6eb50c7b537a9L" if t.double else "0x5f3759df"}) - (as_${t.SIGNED}(y) >> 1));
% for step in range(3 if t.double else 2):
    r = r * fma(minus_half * r, r, ${t.all(1.5)});
% endfor
    const ${t.REAL} s = y * r;
    return fma(fma(-s, s, y), r * ${t.literal(0.5)}, s);
}
</%def>\
## Normals need centred and root.
<%def name="normal(t)">\
% for name in ("log", "centre", "tail", "deep")[:4 if t.double else 3]:
${polynomial(t, name)}
% endfor
// log(v) = e log(2) + log(1 + f), v = (1 + f) 2^e, sqrt(1/2) <= 1 + f < sqrt(2): the bits of sqrt(1/2) subtracted leave e in the exponent field
${t.REAL} logarithm(${t.REAL} v)
{
    const ${t.SIGNED} e = (as_${t.SIGNED}(v) - ${t.half_root}) >> ${t.mantissa};
    const ${t.REAL} f = as_${t.REAL}(as_${t.SIGNED}(v) - (e << ${t.mantissa})) - ${t.literal(1)};
    return fma(${t.integer("e")}, ${t.all(0.6931471805599453 if t.double else 0.6931471824645996)}, log_polynomial(f));
}

// R(log 4p(1 - p)): Phi^-1(1 - p) = (1 - 2p) R, 0 < p <= 1/2             (Giles 2010: polynomials, a square root in the tail)
${t.REAL} radial(${t.REAL} p)
{
    const ${t.REAL} p4 = p * ${t.literal(4)}, u = logarithm(fma(-p4, p, p4));
    ${t.REAL} r = centre_polynomial(u + ${t.literal(2.5)});
    const ${t.SIGNED} rare = u < ${t.literal(-5)};
    if (${"any(rare)" if t.V else "rare"}) {
        // the other lanes take the root of 5, for nothing
        const ${t.REAL} s = square_root(rare ? -u : ${t.all(5)});
% if t.double:
        const ${t.REAL} tail = s > ${t.literal(4)} ? deep_polynomial(s - ${t.literal(5)}) : tail_polynomial(s - ${t.literal(3)});
        r = rare ? tail : r;
% else:
        r = rare ? tail_polynomial(s - ${t.literal(3)}) : r;
% endif
    }
    return r;
}

// From the top bit a sign, from the others m: p = (m + 1/2) 2^-${t.draw}, x = 1 - 2p (from ~m, so exact where it is small), |N| = x R
// with |N| from ${"2^-63 to 9.1" if t.double else "2^-31 to 6.3"}.
${t.REAL} normal(${t.BITS} bits)
{
    const ${t.SIGNED} m = as_${t.SIGNED}(bits) & ${t.magnitude};
    const ${t.REAL} p = centred(m, ${t.literal(2.0 ** -t.draw)}), x = centred(m ^ ${t.magnitude}, ${t.literal(2.0 ** (1 - t.draw))});
    return as_${t.REAL}(as_${t.BITS}(x * radial(p)) | (bits & ${t.sign_bit}));
}
</%def>\
<%def name="logs(t)">\
${polynomial(t, "log_ratio")}
// e log(2) + log(1 + f), to the last bits also where f is small and e = 0
${t.REAL} log_of(${t.SIGNED} e, ${t.REAL} f)
{
    return fma(${t.integer("e")}, ${t.all(0.6931471805599453)}, f * log_ratio_polynomial(f));
}

// v normal and positive
${t.REAL} natural_log(${t.REAL} v)
{
    const ${t.SIGNED} e = (as_${t.SIGNED}(v) - ${t.half_root}) >> ${t.mantissa};
    return log_of(e, as_${t.REAL}(as_${t.SIGNED}(v) - (e << ${t.mantissa})) - ${t.literal(1)});
}
</%def>\
## Needs centred and logs.
<%def name="exponential(t)">\
// -log of (m + 1/2) 2^-${t.draw} or of 1 minus that, as the top bit says, m the others: from 2^-${t.draw + 1} to ${round((t.draw + 1) * 0.6931, 1)}, never 0
${t.REAL} exponential(${t.BITS} bits)
{
    const ${t.SIGNED} upper = as_${t.SIGNED}(bits) < 0;
    const ${t.REAL} p = centred(as_${t.SIGNED}(bits) & ${t.magnitude}, ${t.literal(2.0 ** -t.draw)}), v = upper ? p : ${t.literal(1)} - p;
    const ${t.SIGNED} e = (as_${t.SIGNED}(v) - ${t.half_root}) >> ${t.mantissa}, near_one = (${t.SIGNED})(e == 0);
    const ${t.REAL} f = as_${t.REAL}(as_${t.SIGNED}(v) - (e << ${t.mantissa})) - ${t.literal(1)};
    return -log_of(e, near_one ? -p : f);   // p < 1/2: only 1 - p comes near 1, and -p is its distance without a rounding
}
</%def>\
<%def name="power(t)">\
<%
if t.double:
    magic, low, high, ln2_high, ln2_low = 1.5 * 2.0 ** 52, -707.5, 709.78, 0.6931471803691238, 1.9082149292705877e-10
else:
    magic, low, high, ln2_high, ln2_low = 1.5 * 2.0 ** 23, -86.5, 88.72, 0.693359375, -2.12194440e-4
%>\
${polynomial(t, "exp")}
// exp(x) = 2^n exp(x - n log(2)), n the nearest integer, which adding 3 2^${t.mantissa - 1} leaves in the low bits. 0 below ${low}, infinite above ${high}.
${t.REAL} power_of_e(${t.REAL} x)
{
    const ${t.REAL} y = fmin(fmax(x, ${t.all(low)}), ${t.all(high)}), shifted = fma(y, ${t.all(1.4426950408889634)}, ${t.all(magic)});
    const ${t.REAL} n = shifted - ${t.literal(magic)}, r = fma(n, ${t.all(-ln2_low)}, fma(n, ${t.all(-ln2_high)}, y));
    const ${t.SIGNED} exponent = as_${t.SIGNED}(shifted) - as_${t.SIGNED}(${t.all(magic)});
    const ${t.REAL} result = as_${t.REAL}(as_${t.SIGNED}(exp_polynomial(r)) + (exponent << ${t.mantissa}));
    return x < ${t.literal(low)} ? ${t.all(0)} : (x > ${t.literal(high)} ? (${t.REAL})(INFINITY) : result);
}
</%def>\
<%def name="division(t)">\
// a / b for b within 2^-${1000 if t.double else 120} .. 2^${1000 if t.double else 120}: 1/b from a guess by Newton's r (2 - b r), then one step on a r itself
${t.REAL} quotient(${t.REAL} a, ${t.REAL} b)
{
    ${t.REAL} r = as_${t.REAL}((${t.SIGNED})(${"0x7fde6238502484baL" if t.double else "0x7ef311c7"}) - as_${t.SIGNED}(b));
% for step in range(4 if t.double else 3):
    r = fma(r, fma(-b, r, ${t.all(1)}), r);
% endfor
    const ${t.REAL} q = a * r;
    return fma(fma(-b, q, a), r, q);
}
</%def>\
