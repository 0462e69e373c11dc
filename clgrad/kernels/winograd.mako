## Winograd convolution F(4x4, 3x3): windows of 3 x 3 at step one, and their gradient by the weights. A quarter of the products.
<%!
# Tiles of 4 x 4 results, or of 4 x 4 gradients, meet 6 x 6 inputs. Both are evaluated at 6 x 6 points, multiplied there and
# summed, and the sums are interpolated (Lavin and Gray, arXiv:1509.09308; Toom-Cook).
#
#   result            y = A^T [ sum over c of (G w G^T) * (B^T x B) ] A         w 3 x 3, y 4 x 4, for each tile
#   weight gradient   dw = A'^T [ sum over tiles of (G' dy G'^T) * (B^T x B) ] A'    dy 4 x 4, dw 3 x 3
#
# x -> spread -> V --+
#                    +-> product  -> y        forward, and the gradient by the input (taps reversed by their strides)
# w -> filters -> U -+
# x -> spread -> V --+
#                    +-> gradient -> dw
# dy -> lanes -> D --+
#
# The points 0, +-3/4, +-3/2 and infinity keep the rounding error within twice that of a direct sum in float32 (measured over
# 256 channels of normal numbers); the textbook's 0, +-1, +-2 lose five times more. All coefficients of B are exact.
A, B = 0.75, 1.5
POINTS = 36
PARAMS = {
    "width": (8, 16),            # lanes of a vector; two of them make a panel of outputs
    "group": (1, 2, 4, 8),       # blocks of tiles (or of inputs) that pass over one point's operand while it is in cache
    "gain": (1.25, 1.5, 2.0),    # least ratio of a direct sum's products to these
    "channels": (64, 32, 16, 8), # least number of channels that are summed,
    "tiles": (64, 8),            # and least number of tiles: with fewer, the evaluation at the points is not worth its while
    "share": (2**20, 2**21, 2**22, 2**23),  # elements of V, U or D that are made before they are used
}
_WIDE = {"group": 4, "gain": 1.5, "channels": 8, "tiles": 8}
DEFAULT = {"wide": {4: dict(_WIDE, width=16, share=2**21), 8: dict(_WIDE, width=8, share=2**20)}}


def valid(params, facts, itemsize=4):
    """Whether these parameters can run on a device with these facts."""
    return params["width"] * itemsize <= 64
%>
<%
prelude = context.lookup.get_template("prelude.mako").module
T = acc
lanes = 2 * width
kept = 8 * lanes + width  # from one point's sums to the next: not a power of two, which would meet few sets of a cache
rounds = {8: 3, 16: 4}[width]
I = {4: "int", 8: "long"}[prelude.SIZES[T]]


def store(i, value, w=1):
    return prelude.store(out, T, "out", i, value, w)


def load(pointer, i, w=1):
    return prelude.load(ctype, T, pointer, i, w)


def V(w):
    return prelude.vec(T, w)


def number(value):
    return f"{value!r}f" if T == "float" else repr(value)


def scaled(scale, name):
    return name if scale == 1 else f"{number(scale)} * {name}"


def input_points(v, d, kind):
    """B^T d: six inputs at the six points, as statements that define v."""
    a, b = number(A), number(B)
    aa, bb, both, product = number(A * A), number(B * B), number(A * A + B * B), number(A * A * B * B)
    return [
        f"const {kind} {v[0]} = {d[4]} - {both} * {d[2]} + {product} * {d[0]};",
        f"const {kind} {v[1]}e = {d[4]} - {bb} * {d[2]}, {v[1]}o = {d[3]} - {bb} * {d[1]};",
        f"const {kind} {v[1]} = {v[1]}e + {a} * {v[1]}o, {v[2]} = {v[1]}e - {a} * {v[1]}o;",
        f"const {kind} {v[3]}e = {d[4]} - {aa} * {d[2]}, {v[3]}o = {d[3]} - {aa} * {d[1]};",
        f"const {kind} {v[3]} = {v[3]}e + {b} * {v[3]}o, {v[4]} = {v[3]}e - {b} * {v[3]}o;",
        f"const {kind} {v[5]} = {d[5]} - {both} * {d[3]} + {product} * {d[1]};",
    ]


def filter_points(v, w, kind):
    """G w: three taps or four at the six points."""
    lines = [f"const {kind} {v[0]} = {number(1 / (A * A * B * B))} * {w[0]}, {v[5]} = {w[-1]};"]
    for x, y, plus, minus in ((A, B, v[1], v[2]), (B, A, v[3], v[4])):
        scale = 1 / (2 * x * x * (x * x - y * y))
        even = " + ".join(f"{number(scale * x**i)} * {w[i]}" for i in range(0, len(w), 2))
        odd = " + ".join(f"{number(scale * x**i)} * {w[i]}" for i in range(1, len(w), 2))
        lines += [f"const {kind} {plus}e = {even}, {plus}o = {odd};",
                  f"const {kind} {plus} = {plus}e + {plus}o, {minus} = {plus}e - {plus}o;"]
    return lines


def results(y, m, kind):
    """A^T m: the sums at six points as three or four results."""
    sums = [f"{y[0]}{part}" for part in ("sa", "da", "sb", "db")]
    lines = [f"const {kind} {sums[0]} = {m[1]} + {m[2]}, {sums[1]} = {m[1]} - {m[2]}, "
             f"{sums[2]} = {m[3]} + {m[4]}, {sums[3]} = {m[3]} - {m[4]};"]
    for i, name in enumerate(y):
        terms = [scaled(A**i, sums[i % 2]), scaled(B**i, sums[2 + i % 2])]
        terms += [m[0]] * (i == 0) + [m[5]] * (i == len(y) - 1)
        lines.append(f"const {kind} {name} = {' + '.join(terms)};")
    return lines


def turned(names, count, kind, half, fresh):
    """Perfect shuffles of vectors laid end to end: lines, and the names of the result."""
    lines = []
    for round_ in range(count):
        made = []
        for i in range(len(names) // 2):
            for part in ("lo", "hi"):
                name = f"{fresh}{round_}_{len(made)}"
                made.append(name)
                lines.append(f"{kind} {name}; {name}.even = {names[i]}.{part}; {name}.odd = {names[i + half]}.{part};")
        names = made
    return lines, names
%>\
${prelude.extensions(T, ctype, out)}\
typedef ${index} index_t;
typedef ${T} T;
${{"spread": spread, "filters": filters, "product": product, "lanes": lane_points, "gradient": gradient}[part]()}

<%def name="to_columns(i, columns)">\
% for line in input_points([f"v{j}" for j in range(6)], columns, V(8)):
                ${line}
% endfor
                ${" ".join(f"h{i}_{j} = v{j};" for j in range(6))}
</%def>

<%def name="spread()">\
// V[g][block][point][c][8] (or with the points first): the inputs of 8 tiles at every point. A work-item makes `each` channels
// of a block. Of 8 tiles that lie side by side, 6 rows are taken apart into the 6 columns of each, a vector a column; of others
// the rows are fetched tile by tile, and turned. Then rows and columns go to their points, all in registers. Columns outside of
// X are masked, so that a row is read as it lies; only where even its neighbours end is it read one by one.
kernel void spread(index_t blocks, index_t first, index_t tiles, index_t TY, index_t TX, index_t C, index_t each,
                   index_t SH, index_t SW, const global T *restrict X, index_t x_offset, index_t x_g, index_t x_n,
                   index_t x_c, index_t x_h, index_t lowest, index_t highest, index_t low_h, index_t low_w, index_t v_g,
                   index_t v_block, index_t v_point, index_t v_c8, global T *restrict V)
{
    const index_t chunks = (C + each - 1) / each;
    index_t id = get_global_id(0);
    const index_t chunk = id % chunks;  id /= chunks;
    const index_t block = id % blocks, g = id / blocks;
    const index_t begin = (first + block) * 8;
    const index_t c_end = min(C, (chunk + 1) * each);
    X += x_offset;
    V += g * v_g + block * v_block;
    const ${I}8 lane = (${I}8)(0, 1, 2, 3, 4, 5, 6, 7);
    const index_t left = begin % TX * 4 + low_w, top = begin / TX % TY * 4 + low_h;
    const index_t start = g * x_g + begin / TX / TY * x_n + top * x_h + left;
    const int together = begin + 8 <= tiles && begin % TX + 8 <= TX;
    const ${I}8 column = lane * 4 + (${I})left;
% for j in range(6):
    const ${I}8 in${j} = (column >= ${-j}) & (column < (${I})(SW - ${j}));
% endfor
    index_t starts[8], tops[8];  // of each tile; one beyond the last has no rows
    ${I} inside[64];
    for (int k = 0; k < 8; k++) {
        const index_t t = begin + k, y = t / TX % TY * 4 + low_h, x = t % TX * 4 + low_w;
        starts[k] = g * x_g + t / TX / TY * x_n + y * x_h + x;
        tops[k] = t < tiles ? y : SH;
        vstore8((lane + (${I})x >= 0) & (lane + (${I})x < (${I})SW), k, inside);
    }
    for (index_t c = chunk * each; c < c_end; c++) {
% for i in range(6):
        ${V(8)} ${", ".join(f"h{i}_{j} = 0" for j in range(6))};
% endfor
        if (together) {
% for i in range(6):
            if (top + ${i} >= 0 && top + ${i} < SH) {
                const index_t row = start + c * x_c + ${i} * x_h;
                ${V(16)} a, b, far, beyond;
                if (row >= lowest && row + 36 <= highest) {
                    a = vload16(0, X + row); b = vload16(1, X + row);
                    far = vload16(0, X + row + 4); beyond = vload16(0, X + row + 20);
                } else {
                    T line[36];
                    for (int k = 0; k < 36; k++) line[k] = left + k >= 0 && left + k < SW ? X[row + k] : 0;
                    a = vload16(0, line); b = vload16(1, line);
                    far = vload16(0, line + 4); beyond = vload16(0, line + 20);
                }
                ${V(16)} even, odd, even4, odd4;
                even.lo = a.even; even.hi = b.even; odd.lo = a.odd; odd.hi = b.odd;
                even4.lo = far.even; even4.hi = beyond.even; odd4.lo = far.odd; odd4.hi = beyond.odd;
% for j, name in enumerate(("even.even", "odd.even", "even.odd", "odd.odd", "even4.even", "odd4.even")):
                const ${V(8)} d${j} = as_${V(8)}(as_${I}8(${name}) & in${j});
% endfor
${to_columns(i, [f"d{j}" for j in range(6)])}\
            }
% endfor
        } else {
            T patch[6 * 64];
            for (int k = 0; k < 8; k++) {
                const ${I}8 mask = vload8(k, inside);
                for (int i = 0; i < 6; i++) {
                    const index_t row = starts[k] + c * x_c + i * x_h;
                    T *to = patch + (i * 64 + k * 8);
                    if (tops[k] + i < 0 || tops[k] + i >= SH)
                        vstore8((${V(8)})0, 0, to);
                    else if (row >= lowest && row + 8 <= highest)
                        vstore8(as_${V(8)}(as_${I}8(vload8(0, X + row)) & mask), 0, to);
                    else
                        for (int j = 0; j < 8; j++) to[j] = inside[k * 8 + j] ? X[row + j] : 0;
                }
            }
% for i in range(6):
            {
<% lines, names = turned([f"l{k}" for k in range(8)], 3, V(8), 4, "s") %>\
% for k in range(8):
                const ${V(8)} l${k} = vload8(${k + 8 * i}, patch);
% endfor
% for line in lines:
                ${line}
% endfor
${to_columns(i, names[:6])}\
            }
% endfor
        }
        global T *v = V + (c / 8 * v_c8 + c % 8 * 8);
% for j in range(6):
% for line in input_points([f"v{i}_{j}" for i in range(6)], [f"h{i}_{j}" for i in range(6)], V(8)):
        ${line}
% endfor
% for i in range(6):
        vstore8(v${i}_${j}, 0, v + ${i * 6 + j} * v_point);
% endfor
% endfor
    }
}
</%def>

<%def name="filters()">\
// U[g][panel][point][c][lane]: the taps of ${lanes} outputs at every point, and a last row [lane] of bias. A work-item makes
// `each` channels of a panel.
kernel void filters(index_t M, index_t panels, index_t first, index_t C, index_t each,
                    const global ${ctype} *restrict A, index_t offset, index_t shift, index_t a_g, index_t a_m, index_t a_c,
                    index_t a_h, index_t a_w, index_t biased, const global ${ctype} *restrict bias, index_t b_offset,
                    index_t b_stride, index_t u_point, global T *restrict U)
{
    const index_t chunks = (C + each - 1) / each;
    const index_t chunk = get_global_id(0) % chunks, mine = get_global_id(0) / chunks;
    const index_t g = (first + mine) / panels, m0 = (first + mine) % panels * ${lanes};
    const int count = min((index_t)${lanes}, M - m0);
    const global ${ctype} *a = A + (offset + shift + g * a_g + m0 * a_m);
    global T *u = U + mine * (${POINTS} * u_point + ${lanes});
    if (chunk == 0)
        for (int i = 0; i < ${lanes}; i++)
            u[${POINTS} * u_point + i] = biased && i < count ? ${load("bias", "b_offset + (g * M + m0 + i) * b_stride")} : 0;
    // Eight channels at a time, so that what is read lies together and the taps wait in cache. Where the nine taps of a plane are
    // neighbours, eight planes are turned in registers; lanes beyond the last repeat it: nobody stores what comes of them.
    T taps[8 * 9 * ${lanes}];
    for (int i = 0; i < ${8 * 9 * lanes}; i++) taps[i] = 0;
    const int dense = a_h == 3 * a_w && a_w * a_w == 1, back = a_w < 0 ? -8 : 0;
    const index_t stop = min(C, (chunk + 1) * each);
    for (index_t c0 = chunk * each; c0 < stop; c0 += 8) {
        const int some = min((index_t)8, stop - c0);
        if (dense) {
            for (int i = 0; i < ${lanes}; i += 8)
                for (int k = 0; k < some; k++) {
                    const global ${ctype} *s = a + ((c0 + k) * a_c + back);
<% lines, names = turned([f"l{i}" for i in range(8)], 3, V(8), 4, "s") %>\
% for i in range(8):
                    const index_t at${i} = min(i + ${i}, count - 1) * a_m;
                    const ${V(8)} l${i} = ${load("s", f"at{i}", 8)};
% endfor
% for line in lines:
                    ${line}
% endfor
                    T *to = taps + (k * ${9 * lanes} + i);
% for j, name in enumerate([*names, f"({V(8)})({', '.join(load('s', f'at{i} + 8') for i in range(8))})"]):
                    vstore8(${name}, 0, to + (a_w < 0 ? ${8 - j} : ${j}) * ${lanes});
% endfor
                }
        } else {
            for (int i = 0; i < count; i++)
                for (int k = 0; k < some; k++) {
                    const index_t at = i * a_m + (c0 + k) * a_c;
% for k in range(9):
                    taps[k * ${9 * lanes} + ${k * lanes} + i] = ${load("a", f"at + {k // 3} * a_h + {k % 3} * a_w")};
% endfor
                }
        }
        for (int kv = 0; kv < some * 2; kv++) {
            const T *w = taps + kv / 2 * ${9 * lanes} + kv % 2 * ${width};
            global T *to = u + (c0 + kv / 2) * ${lanes} + kv % 2 * ${width};
% for k in range(9):
            const ${V(width)} w${k} = vload${width}(${2 * k}, w);
% endfor
% for x in range(3):
% for line in filter_points([f"c{y}_{x}" for y in range(6)], [f"w{y * 3 + x}" for y in range(3)], V(width)):
            ${line}
% endfor
% endfor
% for y in range(6):
% for line in filter_points([f"p{y}_{x}" for x in range(6)], [f"c{y}_{x}" for x in range(3)], V(width)):
            ${line}
% endfor
% for x in range(6):
            vstore${width}(p${y}_${x}, 0, to + ${y * 6 + x} * u_point);
% endfor
% endfor
        }
    }
}
</%def>

<%def name="sums(x)">\
% for v in range(2):
                    const ${V(width)} q${v} = vload${width}(${v}, q);
% endfor
% for i in range(8):
                    { const T p = ${x(i)}; c${i}_0 += p * q0; c${i}_1 += p * q1; }
% endfor
</%def>

<%def name="product()">\
// A work-item owns `each` pairs of a panel of ${lanes} outputs and `group` blocks of 8 tiles. For each point it sums over the channels
// with 8 tiles x 2 vectors in registers; the sums of all points wait in `held`, in cache, to be interpolated.
kernel void product(index_t units, index_t each, index_t first, index_t panels, index_t first_panel, index_t some_panels,
                    index_t blocks, index_t group, index_t M, index_t C, index_t tiles, index_t TY, index_t TX, index_t OH,
                    index_t OW, const global T *restrict V, index_t v_g, index_t v_block, index_t v_point,
                    const global T *restrict U, index_t u_point, global ${out} *restrict out, index_t o_shift, index_t o_g, index_t o_m, index_t o_n, index_t o_h,
                    index_t o_w, global T *restrict scratch)
{
    global T *held = scratch + get_global_id(0) * group * ${POINTS * kept};
    const index_t groups = (blocks + group - 1) / group;
    for (index_t unit = get_global_id(0) * each; unit < min(units, (index_t)(get_global_id(0) + 1) * each); unit++) {
        const index_t mine = unit / groups, b0 = unit % groups * group, b1 = min(blocks, b0 + group);
        const index_t g = (first_panel + mine) / panels, m0 = (first_panel + mine) % panels * ${lanes};
        const global T *u = U + mine * (${POINTS} * u_point + ${lanes});
        const int count = min((index_t)${lanes}, M - m0);
        for (index_t point = 0; point < ${POINTS}; point++)
            for (index_t b = b0; b < b1; b++) {
                const global T *x = V + (g * v_g + b * v_block + point * v_point);
                const global T *q = u + point * u_point;
% for i in range(8):
                ${V(width)} c${i}_0 = 0, c${i}_1 = 0;
% endfor
                for (index_t c = 0; c < C; c++) {
${sums(lambda i: f"x[{i}]")}\
                    x += 8;
                    q += ${lanes};
                }
                global T *h = held + ((b - b0) * ${POINTS} + point) * ${kept};
% for i in range(8):
                vstore${width}(c${i}_0, ${2 * i}, h); vstore${width}(c${i}_1, ${2 * i + 1}, h);
% endfor
            }
        for (index_t b = b0; b < b1; b++)
            for (index_t i = 0; i < min((index_t)8, tiles - (first + b) * 8); i++) {
                const index_t t = (first + b) * 8 + i;
                const index_t tx = t % TX, ty = t / TX % TY, n = t / TX / TY;
                const int rows = min((index_t)4, OH - ty * 4), columns = min((index_t)4, OW - tx * 4);
                const index_t to = o_shift + g * o_g + m0 * o_m + n * o_n + ty * 4 * o_h + tx * 4 * o_w;
                for (int v = 0; v < 2; v++) {
                    const global T *h = held + ((b - b0) * ${POINTS * kept} + (i * 2 + v) * ${width});
                    const ${V(width)} bias = vload${width}(v, u + ${POINTS} * u_point);
% for p in range(POINTS):
                    const ${V(width)} m${p} = vload${width}(0, h + ${p * kept});
% endfor
% for x in range(6):
% for line in results([f"c{y}_{x}" for y in range(4)], [f"m{y * 6 + x}" for y in range(6)], V(width)):
                    ${line}
% endfor
% endfor
% for y in range(4):
% for line in results([f"y{y}_{x}" for x in range(4)], [f"c{y}_{x}" for x in range(6)], V(width)):
                    ${line}
% endfor
% endfor
% for y in range(4):
% for x in range(4):
                    const ${V(width)} r${y * 4 + x} = y${y}_${x} + bias;
% endfor
% endfor
                    T flat[16 * ${width}];
<% lines, names = turned([f"r{i}" for i in range(16)], 4, V(width), 8, "s") %>\
% for line in lines:
                    ${line}
% endfor
% for i in range(16):
                    vstore${width}(${names[i]}, ${i}, flat);
% endfor
                    const int some = min(${width}, count - v * ${width});
                    if (rows == 4 && columns == 4 && o_w == 1) {
                        for (int l = 0; l < some; l++) {
% for y in range(4):
                            ${store(f"to + (v * {width} + l) * o_m + {y} * o_h", f"vload4({y}, flat + l * 16)", 4)}
% endfor
                        }
                    } else {
                        for (int l = 0; l < some; l++)
                            for (int k = 0; k < rows; k++)
                                for (int j = 0; j < columns; j++) {
                                    ${store(f"to + (v * {width} + l) * o_m + k * o_h + j * o_w", "flat[l * 16 + k * 4 + j]")}
                                }
                    }
                }
            }
    }
}
</%def>

<%def name="lane_points()">\
// D[g][panel][point][tile][lane]: tiles of 4 x 4 of ${lanes} planes at every point, zeros beyond the last tile. A work-item makes a block of
// 8 tiles of a panel.
kernel void lanes(index_t M, index_t panels, index_t blocks, index_t first, index_t tiles, index_t TY, index_t TX,
                  index_t SH, index_t SW, const global ${ctype} *restrict A, index_t offset, index_t a_g, index_t a_m,
                  index_t a_n, index_t a_h, index_t a_w, index_t d_point, global T *restrict D)
{
    const index_t block = get_global_id(0) % blocks, mine = get_global_id(0) / blocks;
    const index_t g = mine / panels, m0 = mine % panels * ${lanes};
    const int count = min((index_t)${lanes}, M - m0);
    T flat[16 * ${lanes}];
    for (index_t i = 0; i < 8; i++) {
        const index_t t = (first + block) * 8 + i;
        const index_t tx = t % TX, ty = t / TX % TY, n = t / TX / TY;
        const int rows = t < tiles ? min((index_t)4, SH - ty * 4) : 0, columns = min((index_t)4, SW - tx * 4);
        const global ${ctype} *a = A + (offset + g * a_g + m0 * a_m + (t < tiles ? n * a_n + ty * 4 * a_h + tx * 4 * a_w : 0));
        if (rows == 4 && columns == 4 && a_w == 1 && count == ${lanes}) {
            for (int l = 0; l < ${lanes}; l++) {
% for y in range(4):
                vstore4(${load("a", f"l * a_m + {y} * a_h", 4)}, ${y}, flat + l * 16);
% endfor
            }
        } else {
            for (int l = 0; l < ${16 * lanes}; l++) flat[l] = 0;
            for (int l = 0; l < count; l++)
                for (int k = 0; k < rows; k++)
                    for (int j = 0; j < columns; j++)
                        flat[l * 16 + k * 4 + j] = ${load("a", "l * a_m + k * a_h + j * a_w")};
        }
        for (int v = 0; v < 2; v++) {
            const T *f = flat + v * ${16 * width};
% for k in range(16):
            const ${V(width)} f${k} = vload${width}(${k}, f);
% endfor
<% lines, names = turned([f"f{k}" for k in range(16)], rounds, V(width), 8, "s") %>\
% for line in lines:
            ${line}
% endfor
            global T *to = D + (mine * ${POINTS} * d_point + (block * 8 + i) * ${lanes} + v * ${width});
% for x in range(4):
% for line in filter_points([f"c{y}_{x}" for y in range(6)], [names[y * 4 + x] for y in range(4)], V(width)):
            ${line}
% endfor
% endfor
% for y in range(6):
% for line in filter_points([f"p{y}_{x}" for x in range(6)], [f"c{y}_{x}" for x in range(4)], V(width)):
            ${line}
% endfor
% for x in range(6):
            vstore${width}(p${y}_${x}, 0, to + ${y * 6 + x} * d_point);
% endfor
% endfor
        }
    }
}
</%def>

<%def name="gradient()">\
// A work-item owns `group` blocks of 8 inputs c and a panel of ${lanes} outputs: for each point it sums over the tiles with 8 c x 2 vectors in
// registers; the sums wait in `held` to be interpolated.
kernel void gradient(index_t units, index_t each, index_t panels, index_t blocks, index_t group, index_t M, index_t C,
                     index_t eights, const global T *restrict V, index_t v_g, index_t v_point,
                     const global T *restrict D, index_t d_point, global ${out} *restrict out, index_t o_shift, index_t o_g, index_t o_m,
                     global T *restrict scratch)
{
    global T *held = scratch + get_global_id(0) * group * ${POINTS * kept};
    const index_t groups = (eights + group - 1) / group;
    for (index_t unit = get_global_id(0) * each; unit < min(units, (index_t)(get_global_id(0) + 1) * each); unit++) {
        const index_t mine = unit / groups, e0 = unit % groups * group, e1 = min(eights, e0 + group);
        const index_t g = mine / panels, m0 = mine % panels * ${lanes};
        const int count = min((index_t)${lanes}, M - m0);
        for (index_t point = 0; point < ${POINTS}; point++)
            for (index_t e = e0; e < e1; e++) {
                const global T *x = V + (g * v_g + point * v_point + e * blocks * 64);
                const global T *q = D + (mine * ${POINTS} + point) * d_point;
% for i in range(8):
                ${V(width)} c${i}_0 = 0, c${i}_1 = 0;
% endfor
                for (index_t b = 0; b < blocks; b++) {
% for k in range(8):
                    {
${sums(lambda i: f"x[{i * 8 + k}]")}\
                    q += ${lanes};
                    }
% endfor
                    x += 64;
                }
                global T *h = held + ((e - e0) * ${POINTS} + point) * ${kept};
% for i in range(8):
                vstore${width}(c${i}_0, ${2 * i}, h); vstore${width}(c${i}_1, ${2 * i + 1}, h);
% endfor
            }
        for (index_t e = e0; e < e1; e++) {
            const int some = min((index_t)8, C - e * 8);
            T flat[8 * 9 * ${lanes}];
            for (int i = 0; i < some; i++)
                for (int v = 0; v < 2; v++) {
                    const global T *h = held + ((e - e0) * ${POINTS * kept} + (i * 2 + v) * ${width});
% for p in range(POINTS):
                    const ${V(width)} m${p} = vload${width}(0, h + ${p * kept});
% endfor
% for x in range(6):
% for line in results([f"c{y}_{x}" for y in range(3)], [f"m{y * 6 + x}" for y in range(6)], V(width)):
                    ${line}
% endfor
% endfor
% for y in range(3):
% for line in results([f"y{y}_{x}" for x in range(3)], [f"c{y}_{x}" for x in range(6)], V(width)):
                    ${line}
% endfor
% for x in range(3):
                    vstore${width}(y${y}_${x}, v, flat + (i * 9 + ${y * 3 + x}) * ${lanes});
% endfor
% endfor
                }
            for (int v = 0; v < 2; v++) {
                const int here = min(${width}, count - v * ${width});
                for (int r = 0; r < 9; r++) {
                    T rows[8 * ${width}];
<% lines, names = turned([f"f{i}" for i in range(8)], 3, V(width), 4, "s") %>\
% for i in range(8):
                    const ${V(width)} f${i} = vload${width}(v + (r * 8 + ${i}) * 2, flat);
% endfor
% for line in lines:
                    ${line}
% endfor
% for i in range(8):
                    vstore${width}(${names[i]}, ${i}, rows);
% endfor
                    const index_t to = o_shift + g * o_g + (m0 + v * ${width}) * o_m + e * 72 + r * 8;
                    if (some == 8) {
                        for (int l = 0; l < here; l++) {
                            ${store("to + l * o_m", "vload8(l, rows)", 8)}
                        }
                    } else {
                        const int left = min(some * 9 - r * 8, 8);
                        for (int l = 0; l < here; l++)
                            for (int i = 0; i < left; i++) {
                                ${store("to + l * o_m + i", "rows[l * 8 + i]")}
                            }
                    }
                }
            }
        }
    }
}
</%def>
