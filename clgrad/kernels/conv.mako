## Convolutions and their gradients, as sums over shifted windows: one formula, three readings of it.
<%!
# C[g,m,j] = sum over r of A[g,m,r] * X[g, j0, r0, at]      at = j * j_step + r * r_step + base, an axis at a time
#
#                        m              j                  r                  A         X
#   convolution          out channel    (n, od, oh, ow)    (ic, kd, kh, kw)   weights   input
#   input gradient       in channel     (n, id, ih, iw)    (oc, kd, kh, kw)   weights   gradient of the result
#   weight gradient      out channel    (ic, kd, kh, kw)   (n, od, oh, ow)    gradient  input
#
# wide: [pad ->] pack -> tile [-> sum]   X is read in place, or first copied with its margins; never unrolled to columns
#                     -> strip           few lanes m (depthwise): vectors run along the last axis of j
#                     -> dots [-> sum]   few lanes m and many terms (gradients of few outputs' weights): along the last axis of r
# many: tile [-> sum]                    an implicit matrix product in local memory, margins by a test
PARAMS = {
    "points": (8,),              # wide: j of a register tile
    "vectors": (1, 2),
    "width": (4, 8, 16),
    "sums": (12, 16, 24),        # wide: vectors of sums that few lanes are given
    "least_work": (2**17, 2**18, 2**19, 2**20),  # wide: multiply-adds that pay for a work-item
    "group_m": (4, 8, 16),       # many: work-items, results of each, and steps of r
    "group_n": (8, 16, 32),
    "block_m": (2, 4, 8),
    "block_n": (2, 4),
    "tile_k": (8, 16),
}
# wide: lanes and rows, of which the kernel for few lanes holds the sums; the pair of least work is taken
STRIPS = ((6, 4), (4, 6), (3, 7), (2, 8), (1, 8), (1, 4))
# 64 x 64 results by 128 work-items: 120 registers each (NVIDIA's assembler, sm_80) and 9 KB of local memory, so that an SM
# with 64 K registers holds 4 groups, 16 warps; a step reads 2 vectors of A and 4 values of X for 32 multiply-adds.
_MANY = {"group_m": 8, "group_n": 16, "block_m": 8, "block_n": 4, "tile_k": 8}
DEFAULT = {
    "wide": {4: {"points": 8, "vectors": 2, "width": 16, "sums": 24, "least_work": 2**19},
             8: {"points": 8, "vectors": 2, "width": 8, "sums": 24, "least_work": 2**19}},
    "many": {4: _MANY, 8: dict(_MANY, block_m=4)},
}


def local_bytes(params, itemsize):
    """Local memory of the many-core tile: two slabs of A, padded, two of X, and two of five numbers a step."""
    rows, columns = params["group_m"] * params["block_m"], params["group_n"] * params["block_n"]
    return 2 * params["tile_k"] * ((rows + columns) * itemsize + 16 + 5 * 8)


def valid(params, facts, itemsize=4):
    """Whether these parameters, which hold the keys of one form, can run on a device with these facts."""
    if "group_m" in params:
        items = params["group_m"] * params["group_n"]
        return (params["group_m"] >= params["block_n"]  # a work-item copies values of one point only
                and params["block_m"] % (16 // itemsize) == 0 and params["tile_k"] <= items
                and params["group_m"] * params["block_m"] * params["tile_k"] % items == 0
                and params["group_n"] * params["block_n"] * params["tile_k"] % items == 0
                and params["group_m"] * params["group_n"] <= facts.max_work_group_size
                and local_bytes(params, itemsize) <= facts.local_mem_size)
    return params["width"] * itemsize <= 64
%>
<%
prelude = context.lookup.get_template("prelude.mako").module
T = acc
I = {4: "int", 8: "long"}[prelude.SIZES[T]]


def load(pointer, i, w=1):
    return prelude.load(ctype, T, pointer, i, w)


def store(i, value, w=1):
    return prelude.store(out, T, "out", i, value, w)


def V(w):
    return prelude.vec(T, w)


def interleaved(names, width, fresh):
    """One perfect shuffle of vectors laid end to end: statements, and the names they define."""
    half, made, text = len(names) // 2, [], []
    for i in range(half):
        for part in ("lo", "hi"):
            name = f"{fresh}{len(made)}"
            made.append(name)
            text.append(f"{V(width)} {name}; {name}.even = {names[i]}.{part}; {name}.odd = {names[i + half]}.{part};")
    return text, made
%>\
${prelude.extensions(T, ctype, out)}\
typedef ${index} index_t;
typedef ${T} T;
${{("wide", "pad"): wide_pad, ("wide", "pack"): wide_pack, ("wide", "tile"): wide_tile,
   ("wide", "strip"): wide_strip, ("wide", "dots"): wide_dots,
   ("many", "tile"): many_tile}[form, part]()}

<%def name="frame(unit)">\
// Rows [from, to) of a plane of W columns: source[h + low_h, w + low_w], zero outside of it.
void frame(index_t from, index_t to, index_t W, const global ${ctype} *restrict source, index_t s_h, index_t s_w, index_t SH,
           index_t SW, index_t low_h, index_t low_w, global T *restrict plane)
{
    const index_t begin = clamp(-low_w, (index_t)0, W), end = clamp(SW - low_w, begin, W);
    for (index_t h = from; h < to; h++) {
        global T *p = plane + h * W;
        const bool inside = h + low_h >= 0 && h + low_h < SH;
        const index_t first = inside ? begin : W, last = inside ? end : W;
        const global ${ctype} *s = source + ((h + low_h) * s_h + low_w * s_w);
        index_t i = 0;
        for (; i + 8 <= first; i += 8) vstore8((${V(8)})0, 0, p + i);
        for (; i < first; i++) p[i] = 0;
% if unit:
        for (; i + 8 <= last; i += 8) vstore8(${load("s", "i", 8)}, 0, p + i);
        for (; i < last; i++) p[i] = ${load("s", "i")};
% else:
        for (; i < last; i++) p[i] = ${load("s", "i * s_w")};
% endif
        for (; i < W; i++) p[i] = 0;
    }
}
</%def>

<%def name="wide_pad()">\
${frame(unit)}
// padded[n][c][d][h][w] = source, shifted by its margins, zero outside of it; so many rows h a work-item.
kernel void pad(index_t rows, index_t each, index_t C, index_t D, index_t H, index_t W,
                const global ${ctype} *restrict source, index_t offset, index_t s_n, index_t s_c, index_t s_d,
                index_t s_h, index_t s_w, index_t SD, index_t SH, index_t SW, index_t low_d, index_t low_h,
                index_t low_w, global T *restrict padded)
{
    const index_t last = min(rows, (index_t)(get_global_id(0) + 1) * each);
    index_t next = 0;
    for (index_t row = get_global_id(0) * each; row < last; row = next) {
        const index_t plane = row / H, h = row - plane * H, d = plane % D + low_d, c = plane / D % C, n = plane / D / C;
        next = min(last, row - h + H);
        frame(h, h + next - row, W, source + (offset + n * s_n + c * s_c + d * s_d), s_h, s_w,
              d >= 0 && d < SD ? SH : 0, SW, low_h, low_w, padded + plane * H * W);
    }
}
</%def>

<%def name="wide_pack()">\
<% lanes = vectors * width %>\
// packed[g][panel][1 + r][lane] = A[g, panel*${lanes} + lane, r], zero beyond the last lane; row 0 holds the bias, or zeros.
// A work-item packs `each` rows of one panel.
kernel void pack(index_t M, index_t panels, index_t R, index_t each, index_t R1, index_t R2, index_t R3,
                 const global ${ctype} *restrict A, index_t offset, index_t shift, index_t a_g, index_t a_m,
                 index_t a_r0, index_t a_r1, index_t a_r2, index_t a_r3, index_t biased,
                 const global ${ctype} *restrict bias, index_t b_offset, index_t b_stride, global T *restrict packed)
{
    const index_t chunks = max((R + each - 1) / each, (index_t)1);  // the row of the bias is there without a term, too
    const index_t chunk = get_global_id(0) % chunks, panel = get_global_id(0) / chunks;
    const index_t g = panel / panels, m0 = panel % panels * ${lanes};
    const int count = min((index_t)${lanes}, M - m0);
    global T *p = packed + panel * (R + 1) * ${lanes};
    if (chunk == 0)
        for (int i = 0; i < ${lanes}; i++)
            p[i] = biased && i < count ? ${load("bias", "b_offset + (g * M + m0 + i) * b_stride")} : 0;
    const index_t first = chunk * each, last = min(R, first + each);
    const global ${ctype} *a = A + (offset + shift + g * a_g + m0 * a_m);
    index_t r = first;
% if along == "r" and lanes >= 8:
    // Runs of ${points} along r, which lie together in memory, are turned in registers, 8 lanes at a time and these down all
    // rows, so that memory is read in few straight lines. Lanes beyond the last repeat it: nobody stores what comes of them.
    const index_t run = R1 * R2 * R3, whole = first + (last - first) / ${points} * ${points};
    for (int i = 0; i < ${lanes}; i += 8) {
        for (r = first; r < whole; r += ${points}) {
            const index_t within = r % run;
            const global ${ctype} *s = a + (r / run * a_r0 + within);
            global T *q = p + (r + 1) * ${lanes} + i;
            if (within + ${points} > run) {
                for (int k = 0; k < ${points}; k++)
                    for (int l = 0; l < 8; l++)
                        q[k * ${lanes} + l] = ${load("a", "(r + k) / run * a_r0 + (r + k) % run + min(i + l, count - 1) * a_m")};
            } else {
<% names = [f"v{i}" for i in range(8)] %>\
% for i in range(8):
                const ${V(8)} v${i} = ${load("s", f"min(i + {i}, count - 1) * a_m", 8)};
% endfor
% for round_ in range(3):
<% text, names = interleaved(names, 8, "xyz"[round_]) %>\
% for line in text:
                ${line}
% endfor
% endfor
% for i in range(8):
                vstore8(${names[i]}, 0, q + ${i * lanes});
% endfor
            }
        }
    }
    r = whole;
% elif along == "r" and lanes == 1:
    // one lane: whole runs are copied as they lie
    const index_t run = R1 * R2 * R3;
    for (index_t next = r; r < last; r = next) {
        next = min(last, r - r % run + run);
        const global ${ctype} *s = a + (r / run * a_r0 + r % run);
        const index_t n = next - r;
        index_t i = 0;
        for (; i + 8 <= n; i += 8) vstore8(${load("s", "i", 8)}, 0, p + r + 1 + i);
        for (; i < n; i++) p[r + 1 + i] = ${load("s", "i")};
    }
% endif
    index_t r3 = 0, r2 = 0, r1 = 0, r0 = 0;
    if (r < last) { r3 = r % R3; r2 = r / R3 % R2; r1 = r / R3 / R2 % R1; r0 = r / R3 / R2 / R1; }
    for (; r < last; r++) {
        const index_t at = r0 * a_r0 + r1 * a_r1 + r2 * a_r2 + r3 * a_r3;
        { const bool w = ++r3 == R3; r3 = w ? 0 : r3; r2 += w;
          const bool h = r2 == R2; r2 = h ? 0 : r2; r1 += h;
          const bool d = r1 == R1; r1 = d ? 0 : r1; r0 += d; }
        global T *row = p + (r + 1) * ${lanes};
        for (int i = 0; i < count; i++) row[i] = ${load("a", "at + i * a_m")};
        for (int i = count; i < ${lanes}; i++) row[i] = 0;
    }
}
</%def>

<%def name="step(number)">\
            // the next point, in the order of memory
            { const bool w = ++j3 == J3; j3 = w ? 0 : j3; j2 += w;
              const bool h = j2 == J2; j2 = h ? 0 : j2; j1 += h;
              const bool d = j1 == J1; j1 = d ? 0 : j1; j0 += d; }
</%def>
<%def name="wide_tile()">\
<%
lanes = vectors * width
each = [(i, v) for i in range(points) for v in range(vectors)]
%>\
// A work-item owns one panel of A (${lanes} lanes of m, all of r, kept in cache) and walks over `group` tiles of ${points} points j.
//
//        r            ${lanes} lanes         The sums of a tile, ${points} points x ${vectors} vectors, stay in registers: for each r
//   +--------+     +-----+-----+     it loads ${vectors} vectors of A and multiplies each by the values of X at ${points}
//   |X[j0+r] |  r  |A    |     |     points, each read through a pointer of its own, so that points may lie in
//   |X[j1+r] |     +-----+-----+     different rows and images.
//
kernel void tile(index_t J, index_t M, index_t panels, index_t group, index_t splits, index_t chunk, index_t J1,
                 index_t J2, index_t J3, index_t R0, index_t R1, index_t R2, index_t R3,
                 const global T *restrict X, index_t x_offset, index_t x_shift, index_t x_g, index_t xj0, index_t xj1,
                 index_t xj2, index_t xj3, index_t xr0, index_t xr1, index_t xr2, index_t xr3,
                 const global T *restrict A, global ${out} *restrict out, index_t o_shift, index_t o_g, index_t o_m,
                 index_t oj0, index_t oj1, index_t oj2, index_t oj3, index_t run, index_t o_split)
{
    const index_t tiles = (J + ${points - 1}) / ${points};
    const index_t groups = (tiles + group - 1) / group;
    index_t id = get_global_id(0);
    const index_t t0 = id % groups * group;  id /= groups;
    const index_t panel = id % panels;  id /= panels;
    const index_t split = id % splits;
    const index_t g = id / splits;
    const index_t first = split * chunk, last = min(R0, first + chunk);
    const index_t inner = R1 * R2 * R3;
    const int count = min((index_t)${lanes}, M - panel * ${lanes});
    const global T *a = A + (g * panels + panel) * (R0 * inner + 1) * ${lanes};
    const global T *x = X + (x_offset + x_shift + g * x_g);
    out += o_shift + g * o_g + panel * ${lanes} * o_m + split * o_split;
    index_t j3 = t0 * ${points} % J3, j2 = t0 * ${points} / J3 % J2, j1 = t0 * ${points} / J3 / J2 % J1,
            j0 = t0 * ${points} / J3 / J2 / J1;

    for (index_t t = t0; t < min(tiles, t0 + group); t++) {
        const int full = J - t * ${points} >= ${points};
        // points beyond the last are read where the first is, and not stored
        const index_t origin = j0 * xj0 + j1 * xj1 + j2 * xj2 + j3 * xj3;
        const index_t start = j0 * oj0 + j1 * oj1 + j2 * oj2 + j3 * oj3;
        index_t place[${points}];
% for i in range(points):
        const global T *x${i} = x + (${"origin" if i == 0 else f"t * {points} + {i} < J ? j0 * xj0 + j1 * xj1 + j2 * xj2 + j3 * xj3 : origin"});
        place[${i}] = j0 * oj0 + j1 * oj1 + j2 * oj2 + j3 * oj3;
${step(i)}\
% endfor
% for v in range(vectors):
        const ${V(width)} b${v} = split == 0 ? vload${width}(${v}, a) : (${V(width)})0;
% endfor
% for i, v in each:
        ${V(width)} c${i}_${v} = b${v};
% endfor
        const global T *q = a + (1 + first * inner) * ${lanes};
        for (index_t r0 = first; r0 < last; r0++)
        for (index_t r1 = 0; r1 < R1; r1++)
        for (index_t r2 = 0; r2 < R2; r2++) {
            index_t at = r0 * xr0 + r1 * xr1 + r2 * xr2;
<% steps = taps or 1 %>\
            for (index_t r3 = 0; r3 < ${"1" if taps else "R3"}; r3++) {
% for s in range(steps):
                {
% for v in range(vectors):
                const ${V(width)} q${v} = vload${width}(${v + s * vectors}, q);
% endfor
% for i in range(points):
                { const T p = x${i}[at];\
% for v in range(vectors):
 c${i}_${v} += p * q${v};\
% endfor
 }
% endfor
                at += xr3;
                }
% endfor
                q += ${steps * lanes};
            }
        }
% for v in range(vectors):
        {
            // from a vector a point to ${points} points a lane, which lie together in memory
            T turned[${points * width}];
<% names = [f"c{i}_{v}" for i in range(points)] %>\
% for round_ in range(3):
<% text, names = interleaved(names, width, "xyz"[round_]) %>\
% for line in text:
            ${line}
% endfor
% endfor
% for i in range(points):
            vstore${width}(${names[i]}, ${i}, turned);
% endfor
            const int mine = min(${width}, count - ${v * width});
            if (full && start % run + ${points} <= run) {
                for (int i = 0; i < mine; i++) {
                    ${store(f"start + (i + {v * width}) * o_m", f"vload{points}(i, turned)", points)}
                }
            } else {
                const int points = full ? ${points} : J - t * ${points};
                for (int i = 0; i < mine; i++)
                    for (int j = 0; j < points; j++) {
                        ${store(f"place[j] + (i + {v * width}) * o_m", f"turned[i * {points} + j]")}
                    }
            }
        }
% endfor
    }
}
</%def>

<%def name="wide_strip()">\
<% each = [(i, m) for i in range(rows) for m in range(lanes)] %>\
// A work-item owns ${rows} rows (j2) of ${lanes} lanes m: ${width} neighbouring points a vector, r by r. Rows beyond the last repeat it,
// and the last vector of a row reaches back over points already done, so that nothing branches.
kernel void strip(index_t units, index_t each, index_t M, index_t J1, index_t J2, index_t J3, index_t R0, index_t R1,
                  index_t R2, index_t R3, const global T *restrict X, index_t x_offset, index_t x_shift, index_t x_g,
                  index_t xj0, index_t xj1, index_t xj2, index_t xr0, index_t xr1, index_t xr2, index_t xr3, index_t images,
                  const global T *restrict A, global ${out} *restrict out, index_t o_shift, index_t o_g, index_t o_m,
                  index_t oj0, index_t oj1, index_t oj2, index_t oj3)
{
    const index_t blocks = (J2 + ${rows - 1}) / ${rows}, panels = (M + ${lanes - 1}) / ${lanes};
    const index_t end = min(units, (index_t)(get_global_id(0) + 1) * each);
    for (index_t u = get_global_id(0) * each; u < end; u++) {
        const index_t j2 = u % blocks * ${rows}, j1 = u / blocks % J1, panel = u / blocks / J1 % panels;
        const index_t j0 = u / blocks / J1 / panels % images, g = u / blocks / J1 / panels / images;
        const global T *x = X + (x_offset + x_shift + g * x_g + j0 * xj0 + j1 * xj1);
        const global T *a = A + (g * panels + panel) * (R0 * R1 * R2 * R3 + 1) * ${lanes};
        const index_t base = o_shift + g * o_g + panel * ${lanes} * o_m + j0 * oj0 + j1 * oj1;
        const int count = min((index_t)${lanes}, M - panel * ${lanes});
% for i in range(rows):
        const global T *x${i} = x + min(j2 + ${i}, J2 - 1) * xj2;
        const index_t o${i} = base + min(j2 + ${i}, J2 - 1) * oj2;
% endfor
        for (index_t next = 0; next < J3; next += ${width}) {
            const index_t j3 = min(next, J3 - ${width});
% for i, m in each:
            ${V(width)} c${i}_${m} = a[${m}];
% endfor
            const global T *q = a + ${lanes};
            for (index_t r0 = 0; r0 < R0; r0++)
            for (index_t r1 = 0; r1 < R1; r1++)
            for (index_t r2 = 0; r2 < R2; r2++) {
                index_t at = r0 * xr0 + r1 * xr1 + r2 * xr2 + j3;
                for (index_t r3 = 0; r3 < R3; r3++) {
% for i in range(rows):
                    { const ${V(width)} p = vload${width}(0, x${i} + at);\
% for m in range(lanes):
 c${i}_${m} += p * q[${m}];\
% endfor
 }
% endfor
                    at += xr3;
                    q += ${lanes};
                }
            }
% for i, m in each:
            if (${m} < count) {
% if spread:
                T turned[${width}];
                vstore${width}(c${i}_${m}, 0, turned);
                for (int k = 0; k < ${width}; k++) {
                    ${store(f"o{i} + {m} * o_m + (j3 + k) * oj3", "turned[k]")}
                }
% else:
                ${store(f"o{i} + {m} * o_m + j3", f"c{i}_{m}", width)}
% endif
            }
% endfor
        }
    }
}
</%def>

<%def name="dots_step(at, shown)">\
% for m in range(lanes):
                const ${V(width)} q${m} = ${shown(load(f"a{m}", f"term + {at}", width))};
% endfor
% for i in range(points):
                { const ${V(width)} p = ${shown(f"vload{width}(0, x{i} + place + {at})")};\
% for m in range(lanes):
 c${i}_${m} += p * q${m};\
% endfor
 }
% endfor
</%def>

<%def name="wide_dots()">\
<% each = [(i, m) for i in range(points) for m in range(lanes)] %>\
// Few lanes m and many terms: a work-item sums ${points} points j of ${lanes} lanes in vectors that run along r3, where both operands
// lie together, and adds up their elements at the end. What is left of a row is read with what comes before it, masked.
kernel void dots(index_t J, index_t M, index_t splits, index_t chunk, index_t J1, index_t J2, index_t J3, index_t R0,
                 index_t R1, index_t R2, index_t R3, const global T *restrict X, index_t x_offset, index_t x_shift,
                 index_t x_g, index_t xj0, index_t xj1, index_t xj2, index_t xj3, index_t xr0, index_t xr1, index_t xr2,
                 const global ${ctype} *restrict A, index_t a_offset, index_t a_g, index_t a_m, index_t ar0, index_t ar1,
                 index_t ar2, global ${out} *restrict out, index_t o_shift, index_t o_g, index_t o_m,
                 index_t oj0, index_t oj1, index_t oj2, index_t oj3, index_t o_split)
{
    const index_t tiles = (J + ${points - 1}) / ${points}, panels = (M + ${lanes - 1}) / ${lanes};
    index_t id = get_global_id(0);
    const index_t t = id % tiles;  id /= tiles;
    const index_t panel = id % panels;  id /= panels;
    const index_t split = id % splits;
    const index_t g = id / splits;
    const index_t first = split * chunk, last = min(R0, first + chunk);
    const index_t whole = R3 / ${width} * ${width}, rest = R3 - ${width};
    const ${I}${width} fresh = (${I})(whole - rest) <= (${I}${width})(${", ".join(map(str, range(width)))});
% for m in range(lanes):
    const global ${ctype} *a${m} = A + (a_offset + g * a_g + min(panel * ${lanes} + ${m}, M - 1) * a_m);
% endfor
    const global T *x = X + (x_offset + x_shift + g * x_g);
% for i in range(points):
    const index_t n${i} = min(t * ${points} + ${i}, J - 1);
    const global T *x${i} = x + (n${i} / J3 / J2 / J1 * xj0 + n${i} / J3 / J2 % J1 * xj1 + n${i} / J3 % J2 * xj2 + n${i} % J3 * xj3);
    const index_t to${i} = n${i} / J3 / J2 / J1 * oj0 + n${i} / J3 / J2 % J1 * oj1 + n${i} / J3 % J2 * oj2 + n${i} % J3 * oj3;
    ${V(width)} ${", ".join(f"c{i}_{m} = 0" for m in range(lanes))};
% endfor
    for (index_t r0 = first; r0 < last; r0++)
    for (index_t r1 = 0; r1 < R1; r1++)
    for (index_t r2 = 0; r2 < R2; r2++) {
        const index_t place = r0 * xr0 + r1 * xr1 + r2 * xr2, term = r0 * ar0 + r1 * ar1 + r2 * ar2;
        for (index_t r = 0; r < whole; r += ${width}) {
${dots_step("r", str)}\
        }
        if (whole < R3) {
${dots_step("rest", lambda value: f"as_{V(width)}(as_{I}{width}({value}) & fresh)")}\
        }
    }
    out += o_shift + g * o_g + panel * ${lanes} * o_m + split * o_split;
% for i, m in each:
    if (t * ${points} + ${i} < J && panel * ${lanes} + ${m} < M) {
<% name, left = f"c{i}_{m}", width // 2 %>\
% while left > 1:
        const ${V(left)} s${left} = ${name}.lo + ${name}.hi;
<% name, left = f"s{left}", left // 2 %>\
% endwhile
        ${store(f"to{i} + {m} * o_m", f"{name}.lo + {name}.hi")}
    }
% endfor
}
</%def>

<%def name="many_tile()">\
<%
tile_m, tile_n, items = group_m * block_m, group_n * block_n, group_m * group_n
L = 16 // prelude.SIZES[T]                    # values of A that are read at once
copied_a, copied_x = tile_m * tile_k // items, tile_n * tile_k // items
terms = ("r_w", "r_h", "r_d", "r_x", "r_a")   # of a step r: its shift along each axis of space, and what it adds to places
%>\
// ${group_m} x ${group_n} work-items copy a slab of A (${tile_m} x ${tile_k}) and one of X (${tile_k} x ${tile_n}) to local memory, zeros in the margins and
// beyond the edges, and each sums ${block_m} x ${block_n} results in registers. Neighbours read and write neighbouring points.
// The slabs of the next step are on their way to registers meanwhile; where its terms lie, for which r is divided, has been
// found by ${tile_k} work-items for all, a step before.
__attribute__((reqd_work_group_size(${items}, 1, 1)))
kernel void tile(index_t J, index_t M, index_t splits, index_t chunk, index_t R, index_t J1, index_t J2, index_t J3,
                 index_t R1, index_t R2, index_t R3,
                 const global ${ctype} *restrict X, index_t x_offset, index_t x_g, index_t xj0, index_t xr0,
                 index_t x_d, index_t x_h, index_t x_w, index_t SD, index_t SH, index_t SW,
                 index_t jd, index_t jh, index_t jw, index_t rd, index_t rh, index_t rw,
                 index_t low_d, index_t low_h, index_t low_w,
                 const global ${ctype} *restrict A, index_t a_offset, index_t a_shift, index_t a_g, index_t a_m,
                 index_t ar0, index_t ar1, index_t ar2, index_t ar3,
                 index_t biased, const global ${ctype} *restrict bias, index_t b_offset, index_t b_stride,
                 global ${out} *restrict out, index_t o_shift, index_t o_g, index_t o_m, index_t oj0, index_t oj1,
                 index_t oj2, index_t oj3, index_t o_split)
{
    // One vector of padding keeps a column of stores off one bank.
    local ${V(L)} As[2][${tile_k}][${tile_m // L + 1}];
    local T Xs[2][${tile_k}][${tile_n}];
    local index_t ${", ".join(f"{t}[2][{tile_k}]" for t in terms)};
    const int item = get_local_id(0), row = item / ${group_n}, column = item % ${group_n};
    const index_t columns = (J + ${tile_n - 1}) / ${tile_n};
    const index_t rows = (M + ${tile_m - 1}) / ${tile_m};
    index_t id = get_group_id(0);
    const index_t n0 = id % columns * ${tile_n};  id /= columns;
    const index_t m0 = id % rows * ${tile_m};  id /= rows;
    const index_t split = id % splits;
    const index_t g = id / splits;
    const index_t last = min(R, (split + 1) * chunk);
    A += a_offset + a_shift + g * a_g;
    X += x_offset + g * x_g;
    // the point whose values this work-item copies, always the same one
    const index_t mine = min(n0 + item % ${tile_n}, J - 1);
    const index_t at_w = mine % J3 * jw + low_w, at_h = mine / J3 % J2 * jh + low_h,
                  at_d = mine / J3 / J2 % J1 * jd + low_d;
    const index_t at = mine / J3 / J2 / J1 * xj0 + at_d * x_d + at_h * x_h + at_w * x_w;
<%def name="find(buffer, k0)">\
    if (item < ${tile_k}) {
        const index_t r = min(${k0} + item, last - 1), w = r % R3, h = r / R3 % R2, d = r / R3 / R2 % R1, r0 = r / R3 / R2 / R1;
        r_w[${buffer}][item] = w * rw;
        r_h[${buffer}][item] = h * rh;
        r_d[${buffer}][item] = d * rd;
        r_x[${buffer}][item] = r0 * xr0 + d * rd * x_d + h * rh * x_h + w * rw * x_w;
        r_a[${buffer}][item] = r0 * ar0 + d * ar1 + h * ar2 + w * ar3;
    }
</%def>\
<%def name="ahead(buffer, k0)">\
% for p in range(copied_a):
        {
            const int e = item + ${p * items}, k = e % ${tile_k}, m = e / ${tile_k};
            const bool inside = m0 + m < M && ${k0} + k < last;
            const index_t place = (m0 + m) * a_m + r_a[${buffer}][k];
            a${p} = inside ? ${load("A", "inside ? place : 0")} : (T)0;
        }
% endfor
% for p in range(copied_x):
        {
            const int k = item / ${tile_n} + ${p * (items // tile_n)};
            const index_t w = at_w + r_w[${buffer}][k], h = at_h + r_h[${buffer}][k], d = at_d + r_d[${buffer}][k];
            const bool inside = ${k0} + k < last && w >= 0 && w < SW && h >= 0 && h < SH && d >= 0 && d < SD;
            const index_t place = at + r_x[${buffer}][k];
            x${p} = inside ? ${load("X", "inside ? place : 0")} : (T)0;
        }
% endfor
</%def>\
<%def name="keep(buffer)">\
% for p in range(copied_a):
        ((local T *)As[${buffer}][(item + ${p * items}) % ${tile_k}])[(item + ${p * items}) / ${tile_k}] = a${p};
% endfor
% for p in range(copied_x):
        Xs[${buffer}][item / ${tile_n} + ${p * (items // tile_n)}][item % ${tile_n}] = x${p};
% endfor
</%def>\
% for i in range(block_m):
    T ${", ".join(f"c{i}_{j} = 0" for j in range(block_n))};
% endfor
    T ${", ".join([f"a{p}" for p in range(copied_a)] + [f"x{p}" for p in range(copied_x)])};
    const index_t first = split * chunk;
    int now = 0;
${find("0", "first")}\
${find("1", f"first + {tile_k}")}\
    barrier(CLK_LOCAL_MEM_FENCE);
${ahead("0", "first")}\
${keep("0")}\
    barrier(CLK_LOCAL_MEM_FENCE);
    for (index_t k0 = first; k0 < last; k0 += ${tile_k}) {
        const int next = 1 - now;
${ahead("next", f"k0 + {tile_k}")}\
#pragma unroll 8
        for (int k = 0; k < ${tile_k}; k++) {
% for j in range(block_n):
            const T q${j} = Xs[now][k][column + ${j * group_n}];
% endfor
% for i in range(block_m // L):
            { const ${V(L)} p = As[now][k][row + ${i * group_m}];
% for lane in range(L):
             \
% for j in range(block_n):
 c${i * L + lane}_${j} += p.s${lane} * q${j};\
% endfor

% endfor
            }
% endfor
        }
        // the terms of this step were read before the last barrier
${find("now", f"k0 + {2 * tile_k}")}\
${keep("next")}\
        now = next;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    out += o_shift + g * o_g + split * o_split;
% for j in range(block_n):
    {
        const index_t j = n0 + column + ${j * group_n};
        const index_t at = j / J3 / J2 / J1 * oj0 + j / J3 / J2 % J1 * oj1 + j / J3 % J2 * oj2 + j % J3 * oj3;
% for i in range(block_m):
        {
            const index_t m = m0 + (row + ${i // L * group_m}) * ${L} + ${i % L};
            if (j < J && m < M) {
                const T b = biased && split == 0 ? ${load("bias", "b_offset + (g * M + m) * b_stride")} : (T)0;
                ${store("at + m * o_m", f"c{i}_{j} + b")}
            }
        }
% endfor
    }
% endfor
}
</%def>
