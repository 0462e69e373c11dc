## One launch of a Fourier transform: lines of n points, transformed along q by passes of small radices.
##
##   y[line, q] = scale * sum over p of x[line, p] * root(n)^(p q)        root(n) = exp(-2 pi i / n)
##
## A pass of radix r joins transforms of l points to such of l r points (Stockham's ordering, which needs no bit
## reversal): with m = n / r, j = 0 .. m - 1 and k = j % l it reads j + s m, turns it by root(l r)^(k s), and writes the
## r-point transform to (j - k) r + k + s l. Which radices: six bits each of `radices`, the first pass lowest.
##
##   wide:  a work-item has LANES neighbouring lines, one a vector lane, in two scratch buffers of its own
##   many:  a work-group has as many lines as two buffers of local memory hold
##
## Longer transforms are two launches, n = n1 n2 (W. M. Gentleman, G. Sande, "Fast Fourier transforms: for fun and
## profit", 1966): the place p of an element is then affine in the line's last index as well, and `turns` holds what
## goes between them. A line is numbered by (b0, b1, b2); where it is read and written:
##
##   p = e le + b0 p0 + b1 p1 + b2 p2      x[x_offset + b0 x0 + b1 x1 + b2 x2 + p xe]      zero from n_in (x ends) or end on
##   q = e se + b2 si                      y[y_offset + b0 y0 + b1 y1 + b2 y2 + q ye]      dropped from n_out on
<%!
    import math

    PARAMS = {"points": (512, 1024, 2048, 4096),  # of a line that one launch transforms, if local memory holds so many
              "groups_per_unit": (2, 4, 8, 16, 32),
              "split": (128, 256, 512, 1024),  # wide: points from which on a few lines are split, to fill vector lanes
              "group": (32, 64, 128, 256)}
    DEFAULT = {"wide": {"points": 2048, "groups_per_unit": 4, "split": 256},
               "many": {"points": 2048, "groups_per_unit": 16, "group": 128}}
    LANES = {"float": 8, "double": 4}
    RADICES = (2, 3, 4, 5, 7, 8)  # those with a butterfly of their own; others are summed term by term

    # How a line is read: as it lies; pairs of reals as one complex number; half a Hermitian spectrum, whole by
    # symmetry; the same, folded to half its length; the transform of pairs, unfolded to half the spectrum of the reals.
    # And how it is written.
    READ = {"plain": 0, "pairs": 1, "hermitian": 2, "folded": 3, "unfolded": 4}
    WRITE = {"plain": 0, "pairs": 1, "unfolded": 2}

    def valid(params, facts):
        return params.get("group", 1) <= facts.max_work_group_size

    def numbers(r):
        """Cosine and sine of 2 pi k / r."""
        return [(math.cos(2 * math.pi * k / r), math.sin(2 * math.pi * k / r)) for k in range(r)]
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    wide = form == "wide"
    real_in, real_out = ctype == R, out == R
    T = R + "2"
    lanes = LANES[R] if wide else 1
    V = R + str(lanes) if wide else R
    suffix = "f" if R == "float" else ""

    def literal(value):
        return repr(float(value)) + suffix
%>
${prelude.extensions(ctype, out, T)}
typedef ${index} index_t;
#define R ${R}
#define T ${T}
#define V ${V}
#define LANES ${lanes}

typedef struct { V x; V y; } point;

static inline point plus(point a, point b) { a.x += b.x; a.y += b.y; return a; }
static inline point minus(point a, point b) { a.x -= b.x; a.y -= b.y; return a; }

static inline point turned(point a, T w)
{
    point r;
    r.x = a.x * w.x - a.y * w.y;
    r.y = a.x * w.y + a.y * w.x;
    return r;
}

static inline point over_i(point a)
{
    point r;
    r.x = a.y;
    r.y = -a.x;
    return r;
}

static inline T product(T a, T b) { return (T)(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }

## Transforms of r points in place, in order ---------------------------------------------------------------------------
static inline void dft2(point *a)
{
    const point b = a[1];
    a[1] = minus(a[0], b);
    a[0] = plus(a[0], b);
}

static inline void dft4(point *a)
{
    const point b0 = plus(a[0], a[2]), b1 = minus(a[0], a[2]);
    const point b2 = plus(a[1], a[3]), b3 = over_i(minus(a[1], a[3]));
    a[0] = plus(b0, b2);
    a[1] = plus(b1, b3);
    a[2] = minus(b0, b2);
    a[3] = minus(b1, b3);
}

static inline void dft8(point *a)
{
    point even[4] = {a[0], a[2], a[4], a[6]}, odd[4] = {a[1], a[3], a[5], a[7]};
    dft4(even);
    dft4(odd);
    const R half_root = ${literal(0.7071067811865475244)};
    odd[1] = turned(odd[1], (T)(half_root, -half_root));
    odd[2] = over_i(odd[2]);
    odd[3] = turned(odd[3], (T)(-half_root, -half_root));
% for k in range(4):
    a[${k}] = plus(even[${k}], odd[${k}]);
    a[${k + 4}] = minus(even[${k}], odd[${k}]);
% endfor
}

% for r in (3, 5, 7):
<%
    turns = numbers(r)
    pairs = range(1, (r + 1) // 2)
%>
// a[j] and a[r - j] enter by their sum and difference.
static inline void dft${r}(point *a)
{
    const point a0 = a[0];
    % for j in pairs:
    const point s${j} = plus(a[${j}], a[${r - j}]), d${j} = over_i(minus(a[${j}], a[${r - j}]));
    % endfor
    a[0].x = a0.x ${"".join(f" + s{j}.x" for j in pairs)};
    a[0].y = a0.y ${"".join(f" + s{j}.y" for j in pairs)};
    % for k in pairs:
    {
        point c, s;
        % for part in "xy":
        c.${part} = a0.${part} ${"".join(f" + s{j}.{part} * {literal(turns[j * k % r][0])}" for j in pairs)};
        s.${part} = ${" + ".join(f"d{j}.{part} * {literal(turns[j * k % r][1])}" for j in pairs)};
        % endfor
        a[${k}] = plus(c, s);
        a[${r - k}] = minus(c, s);
    }
    % endfor
}
% endfor

## Elements ------------------------------------------------------------------------------------------------------------
// Entry q of a real signal's spectrum, from two of the transform of its pairs.
static inline T unfolded(T z, T mirror, T w)
{
    const T even = (T)(z.x + mirror.x, z.y - mirror.y), odd = (T)(z.y + mirror.y, mirror.x - z.x);
    return (even + product(odd, w)) * ${literal(0.5)};
}

// Element p of a line that starts at `base`, conjugated where flip is -1. `whole` are the roots of `signal`, the length
// of the real signal.
static inline T fetch(const global ${ctype} *x, index_t base, index_t stride, index_t p, index_t n_in, int how,
                      index_t signal, R flip, const global T *whole)
{
% if real_in:
    if (how == ${READ["pairs"]}) {
        T v = (T)(0, 0);
        if (2 * p < n_in) v.x = x[base + 2 * p * stride];
        if (2 * p + 1 < n_in) v.y = x[base + (2 * p + 1) * stride];
        return v;
    }
    return (T)(p < n_in ? x[base + p * stride] : (R)0, 0);
% else:
    if (how == ${READ["plain"]}) {
        const T v = p < n_in ? x[base + p * stride] : (T)(0, 0);
        return (T)(v.x, v.y * flip);
    }
    if (how == ${READ["unfolded"]}) {
        const index_t half_n = signal / 2;
        return unfolded(x[base + (p == half_n ? 0 : p) * stride], x[base + (p == 0 ? 0 : half_n - p) * stride],
                        whole[p]);
    }
    const index_t other = how == ${READ["folded"]} ? signal / 2 - p : signal - p;
    const index_t first = how == ${READ["folded"]} ? p : min(p, other);
    T a = first < n_in ? x[base + first * stride] : (T)(0, 0);
    a.y = (first == 0 || 2 * first == signal) ? (R)0 : a.y * flip;
    if (how == ${READ["hermitian"]})
        return (T)(a.x, first == p ? a.y : -a.y);
    T b = other < n_in ? x[base + other * stride] : (T)(0, 0);
    b.y = (other == 0 || 2 * other == signal) ? (R)0 : b.y * -flip;
    const T d = product(a - b, whole[p]);
    return a + b + (T)(-d.y, d.x);
% endif
}

static inline void deliver(global ${out} *y, index_t base, index_t stride, index_t q, int how, T v)
{
% if real_out:
    if (how == ${WRITE["pairs"]}) {
        y[base + 2 * q * stride] = v.x;
        y[base + (2 * q + 1) * stride] = v.y;
    } else
        y[base + q * stride] = v.x;
% else:
    y[base + q * stride] = v;
% endif
}

% if wide:
#define SPACE global
#define CELL V
#define GET(from, i) ((point){from[2 * (i)], from[2 * (i) + 1]})
#define PUT(to, i, v) { to[2 * (i)] = (v).x; to[2 * (i) + 1] = (v).y; }
#define AT(from, i, c) ((T)(((const global R *)from)[2 * (i) * LANES + (c)], ${""}\
((const global R *)from)[(2 * (i) + 1) * LANES + (c)]))
% else:
#define SPACE local
#define CELL T
#define GET(from, i) ((point){from[i].x, from[i].y})
#define PUT(to, i, v) to[i] = (T)((v).x, (v).y);
% endif

## One butterfly of radix r: j is its place, `at` where its line starts ------------------------------------------------
<%def name="butterfly(r)">
    point a[${r}];
    a[0] = GET(from, at + j);
    % for s in range(1, r):
    a[${s}] = turned(GET(from, at + j + ${s} * m), roots[${s} * k * apart]);
    % endfor
    dft${r}(a);
    const index_t put = at + (j - k) * ${r} + k;
    % for s in range(r):
    PUT(to, put + ${s} * l, a[${s}]);
    % endfor
</%def>
<%def name="any_butterfly()">
    for (index_t q = 0; q < r; ++q) {
        const index_t turn = (k + q * l) * apart;
        index_t place = turn;
        point sum = GET(from, at + j);
        for (index_t s = 1; s < r; ++s) {
            sum = plus(sum, turned(GET(from, at + j + s * m), roots[place]));
            place += turn;
            place -= place >= n ? n : 0;
        }
        PUT(to, at + (j - k) * r + k + q * l, sum);
    }
</%def>
<%def name="one(r)">
% if r:
${butterfly(r)}
% else:
${any_butterfly()}
% endif
</%def>
<%def name="everywhere(r)">
% if wide:
    const index_t at = 0;
    for (index_t k = 0; k < l; ++k)
        for (index_t j = k; j < m; j += l) {
            ${one(r)}
        }
% else:
    for (index_t b = get_local_id(0); b < held * m; b += get_local_size(0)) {
        const index_t at = b / m * n, j = b % m, k = j % l;
        ${one(r)}
    }
% endif
</%def>
% for r in (*RADICES, 0):
static inline void pass${r}(const SPACE CELL *from, SPACE CELL *to, const global T *roots, const index_t n,
                            const index_t r, const index_t l, const index_t held)
{
    const index_t m = n / r, apart = n / (l * r);
    ${everywhere(r)}
}
% endfor

static inline void one_pass(const SPACE CELL *from, SPACE CELL *to, const global T *roots, const index_t n, const int r,
                            const index_t l, const index_t held)
{
    switch (r) {
% for r in RADICES:
    case ${r}: pass${r}(from, to, roots, n, ${r}, l, held); break;
% endfor
    default: pass0(from, to, roots, n, r, l, held);
    }
}

kernel void fft(global ${out} *y, const index_t y_offset, const global ${ctype} *x, const index_t x_offset,
    const global T *roots, const global T *whole, const global T *factors_in, const global T *factors_out,
    global R *scratch, const index_t n, const index_t lines, const index_t d1, const index_t d2,
    const index_t x0, const index_t x1, const index_t x2, const index_t xe,
    const index_t p0, const index_t p1, const index_t p2, const index_t le, const index_t end, const index_t n_in, const index_t signal,
    const index_t y0, const index_t y1, const index_t y2, const index_t ye,
    const index_t se, const index_t si, const index_t n_out, const index_t most_held,
    const int read, const int write, const int factor_in, const int factor_out, const int across_in,
    const int across_out, const ulong radices, const R flip, const R scale, const R scale_y)
{
    const index_t units = (lines + most_held - 1) / most_held;
    const index_t written = write == ${WRITE["unfolded"]} ? n + 1 : n;
<%def name="line_of(number)">
    const index_t b2 = (${number}) % d2, b1 = (${number}) / d2 % d1, b0 = (${number}) / d2 / d1;
</%def>
<%def name="reading(store)">
    T v = (T)(0, 0);
    if (p < end) {
        v = fetch(x, base, xe, p, n_in, read, signal, flip, whole);
        if (factor_in == 1) v = product(v, factors_in[p]);
        if (factor_in == 2) v = product(v, factors_in[e * inner]);
    }
    ${store}
</%def>
<%def name="writing(get)">
    if (q < n_out) {
        T v;
        if (write == ${WRITE["unfolded"]})
            v = unfolded(${get("e == n ? 0 : e")}, ${get("e == 0 ? 0 : n - e")}, whole[e]);
        else
            v = ${get("e")};
        if (factor_out) v = product(v, factors_out[q]);
        deliver(y, base, ye, q, write, (T)(v.x * scale, v.y * scale_y));
    }
</%def>
% if wide:
    global V *from = (global V *)(scratch + get_global_id(0) * n * 4 * LANES);
    global V *to = from + 2 * n;
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        index_t start[LANES], place[LANES], inners[LANES];
        for (int c = 0; c < LANES; ++c) {
            const index_t line = min(u * LANES + c, lines - 1);  // lanes past the end repeat the last line
            ${line_of("line")}
            start[c] = x_offset + b0 * x0 + b1 * x1 + b2 * x2;
            place[c] = b0 * p0 + b1 * p1 + b2 * p2;
            inners[c] = b2;
        }
        for (index_t e = 0; e < n; ++e)
            for (int c = 0; c < LANES; ++c) {
                const index_t base = start[c], p = place[c] + e * le, inner = inners[c];
                ${reading("((global R *)from)[2 * e * LANES + c] = v.x; ((global R *)from)[(2 * e + 1) * LANES + c] = v.y;")}
            }
        index_t l = 1;
        for (ulong rest = radices; rest != 0; rest >>= 6) {
            const int r = (int)(rest & 63);
            one_pass(from, to, roots, n, r, l, 1);
            l *= r;
            global V *swap = from;
            from = to;
            to = swap;
        }
        const int width = (int)min((index_t)LANES, lines - u * LANES);
        for (int c = 0; c < width; ++c) {
            ${line_of("u * LANES + c")}
            start[c] = y_offset + b0 * y0 + b1 * y1 + b2 * y2;
            inners[c] = b2 * si;
        }
        for (index_t e = 0; e < written; ++e)
            for (int c = 0; c < width; ++c) {
                const index_t base = start[c], q = e * se + inners[c];
                ${writing(lambda i: f"AT(from, ({i}), c)")}
            }
    }
% else:
    local T cells[2 * ${points}];
    for (index_t u = get_group_id(0); u < units; u += get_num_groups(0)) {
        local T *from = cells, *to = cells + ${points};
        const index_t held = min(most_held, lines - u * most_held);
        for (index_t i = get_local_id(0); i < held * n; i += get_local_size(0)) {
            const index_t c = across_in ? i % held : i / n, e = across_in ? i / held : i % n;
            ${line_of("u * most_held + c")}
            const index_t base = x_offset + b0 * x0 + b1 * x1 + b2 * x2, inner = b2;
            const index_t p = e * le + b0 * p0 + b1 * p1 + b2 * p2;
            ${reading("from[c * n + e] = v;")}
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        index_t l = 1;
        for (ulong rest = radices; rest != 0; rest >>= 6) {
            const int r = (int)(rest & 63);
            one_pass(from, to, roots, n, r, l, held);
            l *= r;
            local T *swap = from;
            from = to;
            to = swap;
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        for (index_t i = get_local_id(0); i < held * written; i += get_local_size(0)) {
            const index_t c = across_out ? i % held : i / written, e = across_out ? i / held : i % written;
            ${line_of("u * most_held + c")}
            const index_t base = y_offset + b0 * y0 + b1 * y1 + b2 * y2, q = e * se + b2 * si;
            ${writing(lambda i: f"from[c * n + ({i})]")}
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
% endif
}
