## Attention without the matrix of scores: for a batch b, a head h, queries i and keys j
##
##   s_ij = scale * q_i . k_j + mask_ij      -inf where j > i (causal) or a bool mask is false
##   out_i = sum_j exp(s_ij - lse_i) * keep_ij * v_j        lse_i = log sum_j exp(s_ij)
##
## and, with p_ij = exp(s_ij - lse_i) and d_ij = do_i . v_j,
##
##   e_ij = p_ij * (keep_ij * d_ij - do_i . out_i)
##   dq_i = scale * sum_j e_ij k_j     dk_j = scale * sum_i e_ij q_i     dv_j = sum_i keep_ij p_ij do_i
##
##   forward   tiles of queries walk over tiles of keys; maximum and sum are renewed on the way (Milakov and
##             Gimelshein 2018; Dao et al. 2022)
##   backward  (wide) tiles of keys walk over tiles of queries, and over the heads that share them: dk and dv stay with
##             the tile, each tile adds its share to dq. A work-item owns all tiles of its keys' heads, so that the sums
##             have one order; where there are too few heads, every `parts`-th tile, and a dq of its own
##   queries   (many) the forward walk for dq; also delta_i = do_i . out_i
##   keys      (many) tiles of keys walk over tiles of queries for dk and dv
##   keep      the dropout factors themselves, as an array, for the derivative of the derivative
##
## A tile of `rows` walks over tiles of `columns`; a row without any key allowed gives 0.
##
##                rows            wide: a vector lane a row, so that maxima, sums and factors of rows stay in their lanes.
##            +----------+        The rows' operands are packed on end (a vector holds one feature of W rows), the
##    columns |   s_ij   |        columns' are read where they lie, an element against all rows: blocks of `reach`
##            +----------+        columns, or features, times all of the tile's vectors are built in registers.
##                                many: BLOCK x BLOCK pairs (row, column) a work-item, operands in local memory, read in
##                                vectors along the features
##
## keep_ij is drawn from the counter (seed, position): forward and backward see the same. A counter yields two words, for
## keys 2n and 2n + 1 of a query.
<%!
    PARAMS = {"rows": (4, 8, 16, 32, 64), "columns": (4, 8, 16, 32, 64),
              # wide, backward: work-items a compute unit, for which few heads' keys are shared out, and the keys of one
              "shares": (1, 2, 4, 8), "least_keys": (16, 32, 64, 128)}
    # many: 32 x 32 pairs of 64 features by 256 work-items take 80 registers each and 22 KB of local memory forwards (NVIDIA's
    # assembler, sm_80; an SM with 64 K registers and 100 KB holds 3 groups, 24 warps), 96 and 39 KB for queries (2 groups),
    # 171 and 43 KB for keys (1 group). A step along the features reads 4 vectors of 16 bytes for 16 multiply-adds.
    DEFAULT = {"wide": {"rows": 64, "columns": 32, "shares": 4, "least_keys": 64}, "many": {"rows": 32, "columns": 32}}
    BLOCK = 2
    REGISTERS = 16  # of sums in a block: enough to hide the latency of multiplications, and room for operands

    def valid(params, facts):
        return params["rows"] * params["columns"] <= facts.max_work_group_size * BLOCK * BLOCK or facts.wide_core

    def local_bytes(kind, side, depth, itemsize):
        """Local memory of a many-core tile: operands of rows and columns, and pairs, each line with a vector more."""
        copies = 1 if kind == "forward" else 2
        return copies * (2 * side * (depth * itemsize + 16) + side * (-(-side * itemsize // 16) * 16 + 16))
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    wide = form == "wide"
    W = prelude.vector_width(T) if wide else 1
    V = prelude.vec(T, W)
    by_keys = kind in ("keys", "backward")

    def kept(i, j):
        """The dropout factor of a pair."""
        return f"keep_of((b * heads + h) * (ulong)L + {i}, {j}, S, seed, least, factor_kept)"

    backward = kind in ("queries", "keys", "backward")
    R, C = rows, columns
    NV = max(R // W, 1)           # vectors of a tile's rows
    reach = max(1, min(8, REGISTERS // NV))
    cast = ctype != T             # columns are converted by tiles
    SPACE = "" if cast else "const global "
%>
${prelude.extensions(T, ctype)}
typedef ${index} index_t;
typedef ${T} T;
% if dropout or kind == "keep":
// Philox2x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
static inline T keep_of(ulong row, ulong j, ulong S, ulong seed, uint least, T factor)
{
    const ulong position = row * ((S + 1) / 2) + j / 2;
    uint low = (uint)position, high = (uint)(position >> 32) ^ (uint)(seed >> 32), key = (uint)seed;
    for (int round = 0; round < 10; ++round, key += 0x9E3779B9u) {
        const uint product = low * 0xD256D193u;
        low = mul_hi(low, 0xD256D193u) ^ key ^ high;
        high = product;
    }
    return (j % 2 ? high : low) >= least ? factor : (T)0;
}
% endif
% if wide and kind != "keep":
typedef ${V} V;
${prelude.joined(T, W) if backward else ""}
<% U, M = prelude.vec("uint", W), prelude.vec(prelude.mask_type(T), W) %>
    % if dropout:
<% L = f"ulong{W // 2}" %>\
// The words of a vector of positions, given by their halves. Products of 64 bits hold both that a round wants: those of the
// even lanes, and those of the odd.
static inline void words_of(${U} *lows, ${U} *highs, ulong seed)
{
    uint key = (uint)seed;
    ${U} low = *lows, high = *highs ^ (uint)(seed >> 32);
    for (int round = 0; round < 10; ++round, key += 0x9E3779B9u) {
        const ${L} even = (as_${L}(low) & 0xffffffffUL) * 0xD256D193UL, odd = (as_${L}(low) >> 32) * 0xD256D193UL;
        low = as_${U}((even >> 32) | (odd & 0xffffffff00000000UL)) ^ key ^ high;
        high = as_${U}((even & 0xffffffffUL) | (odd << 32));
    }
    *lows = low;
    *highs = high;
}
static inline V keep_all(${U} word, uint least, T factor)
{
    return (${"convert_long8(word >= least)" if W == 8 else "(word >= least)"} ? (V)(factor) : (V)(0));
}
    % endif

// to[e * ${NV} + v], lane l: factor times element e of row v * ${W} + l; 0 beyond the rows
static inline void pack(V *to, const global ${ctype} *from, index_t step, int rows, int depth, T factor)
{
    for (int v = 0; v < ${NV}; ++v, from += ${W} * step) {
        const int lanes = rows - v * ${W};
        int e = 0;
        if (lanes >= ${W}) {
            for (; e + ${W} <= depth; e += ${W}) {
    % for r in range(W):
                V t${r} = ${prelude.load(ctype, T, "from", f"{r} * step + e", W)};
    % endfor
                ${prelude.transpose(T, W, "t")}
    % for r in range(W):
                to[(e + ${r}) * ${NV} + v] = t${r} * factor;
    % endfor
            }
        }
        for (; e < depth; ++e) {
            T line[${W}];
            for (int l = 0; l < ${W}; ++l) line[l] = 0;
            for (int l = 0; l < min(lanes, ${W}); ++l) line[l] = factor * ${prelude.load(ctype, T, "from", "l * step + e")};
            to[e * ${NV} + v] = vload${W}(0, line);
        }
    }
}

// The way back: row v * ${W} + l, element e, is lane l of from[e * ${NV} + v], times factor[v]
static inline void unpack(global ${ctype} *to, index_t step, const V *from, const V *factor, int rows, int depth)
{
    for (int v = 0; v < ${NV}; ++v, to += ${W} * step) {
        const int lanes = rows - v * ${W};
        int e = 0;
        if (lanes >= ${W}) {
            for (; e + ${W} <= depth; e += ${W}) {
    % for r in range(W):
                V t${r} = from[(e + ${r}) * ${NV} + v] * factor[v];
    % endfor
                ${prelude.transpose(T, W, "t")}
    % for r in range(W):
                ${prelude.store(ctype, T, "to", f"{r} * step + e", f"t{r}", W)}
    % endfor
            }
        }
        for (; e < depth; ++e) {
            T line[${W}];
            vstore${W}(from[e * ${NV} + v] * factor[v], 0, line);
            for (int l = 0; l < min(lanes, ${W}); ++l) ${prelude.store(ctype, T, "to", "l * step + e", "line[l]")}
        }
    }
}

    % if cast:
// Rows of b as T, ${D} elements apart
static inline void convert_rows(T *to, const global ${ctype} *from, index_t step, int rows, int depth)
{
    for (int r = 0; r < rows; ++r, from += step, to += ${D}) {
        int e = 0;
        for (; e + ${W} <= depth; e += ${W}) vstore${W}(${prelude.load(ctype, T, "from", "e", W)}, 0, to + e);
        for (; e < depth; ++e) to[e] = ${prelude.load(ctype, T, "from", "e")};
    }
}

    % endif
// s[c] = sum over e of b[c][e] * a[e]: a vector a row of b and ${W} rows of a
static inline void products(V *s, const V *a, ${SPACE}T *b, index_t step, int columns, int depth)
{
    int c = 0;
    % for x in sorted({1, reach}, reverse=True):
    for (; c + ${x} <= columns; c += ${x}) {
        ${SPACE}T *const b0 = b + c * step;
        % for i in range(1, x):
        ${SPACE}T *const b${i} = b${i - 1} + step;
        % endfor
        V ${", ".join(f"p{i}{v} = (V)(0)" for i in range(x) for v in range(NV))};
        for (int e = 0; e < depth; ++e) {
            const V ${", ".join(f"a{v} = a[e * {NV} + {v}]" for v in range(NV))};
        % for i in range(x):
            const T f${i} = b${i}[e];
            % for v in range(NV):
            p${i}${v} += f${i} * a${v};
            % endfor
        % endfor
        }
        % for i in range(x):
            % for v in range(NV):
        s[(c + ${i}) * ${NV} + ${v}] = p${i}${v};
            % endfor
        % endfor
    }
    % endfor
}

// y[e] = y[e] * old + sum over c of b[c][e] * s[c]
static inline void gather(V *y, const V *s, ${SPACE}T *b, index_t step, int columns, int depth${", const V *old" if kind == "forward" else ""})
{
    int e = 0;
    % for x in sorted({1, reach}, reverse=True):
    for (; e + ${x} <= depth; e += ${x}) {
        % for i in range(x):
            % for v in range(NV):
        V p${i}${v} = y[(e + ${i}) * ${NV} + ${v}]${f" * old[{v}]" if kind == "forward" else ""};
            % endfor
        % endfor
        ${SPACE}T *at = b + e;
        for (int c = 0; c < columns; ++c, at += step) {
            const V ${", ".join(f"s{v} = s[c * {NV} + {v}]" for v in range(NV))};
        % for i in range(x):
            const T f${i} = at[${i}];
            % for v in range(NV):
            p${i}${v} += f${i} * s${v};
            % endfor
        % endfor
        }
        % for i in range(x):
            % for v in range(NV):
        y[(e + ${i}) * ${NV} + ${v}] = p${i}${v};
            % endfor
        % endfor
    }
    % endfor
}
    % if backward:

<% most = max(1, min(4, D // W)); blocks = [(c, n) for n in sorted({1, most}, reverse=True) for c in sorted({1, REGISTERS // most}, reverse=True)] %>\
// y[c][e] += sum over r of s[c][r] * b[r][e], where s holds its rows' values in vectors: a vector ${W} elements of y
static inline void spread(global T *y, index_t y_step, const T *s, ${SPACE}T *b, index_t step, int columns, int rows, int depth)
{
    int e = 0;
        % for n in sorted({1, most}, reverse=True):
    for (; e + ${n * W} <= depth; e += ${n * W}) {
        int c = 0;
            % for x in sorted({1, REGISTERS // most}, reverse=True):
        for (; c + ${x} <= columns; c += ${x}) {
            global T *const to = y + c * y_step + e;
            const T *from = s + c * ${R};
            ${SPACE}T *at = b + e;
                % for i in range(x):
                    % for v in range(n):
            V p${i}${v} = vload${W}(0, to + ${i} * y_step + ${v * W});
                    % endfor
                % endfor
            for (int r = 0; r < rows; ++r, at += step) {
                const V ${", ".join(f"b{v} = vload{W}({v}, at)" for v in range(n))};
                % for i in range(x):
                const T f${i} = from[${i * R} + r];
                    % for v in range(n):
                p${i}${v} += f${i} * b${v};
                    % endfor
                % endfor
            }
                % for i in range(x):
                    % for v in range(n):
            ${prelude.store(T, T, "to", f"{i} * y_step + {v * W}", f"p{i}{v}", W)}
                    % endfor
                % endfor
        }
            % endfor
    }
        % endfor
    for (; e < depth; ++e)
        for (int c = 0; c < columns; ++c) {
            T p = y[c * y_step + e];
            for (int r = 0; r < rows; ++r) p += s[c * ${R} + r] * b[r * step + e];
            y[c * y_step + e] = p;
        }
}

static inline T dot_of(const global ${ctype} *x, const global ${ctype} *y, int depth)
{
    V all = (V)(0);
    T rest = 0;
    int e = 0;
    for (; e + ${W} <= depth; e += ${W}) all += ${prelude.load(ctype, T, "x", "e", W)} * ${prelude.load(ctype, T, "y", "e", W)};
    for (; e < depth; ++e) rest += ${prelude.load(ctype, T, "x", "e")} * ${prelude.load(ctype, T, "y", "e")};
    return sum_of(all) + rest;
}
    % endif
% endif
% if kind == "keep":
kernel void ${function}(global ${ctype} *out, ulong n, ulong S, ulong seed, uint least, T factor)
{
    for (ulong i = get_global_id(0); i < n; i += get_global_size(0)) {
        ${prelude.store(ctype, T, "out", "i", "keep_of(i / S, i % S, S, seed, least, factor)")}
    }
}
% else:
<%
    # (name, has it) of the arrays read: each with offset and strides of batch, head, row
    arrays = [("q", True), ("k", True), ("v", True), ("o", backward), ("dy", backward)]
    arrays = [a for a, present in arrays if present]
    outs = {"forward": ["out"], "queries": ["dq"], "keys": ["dk", "dv"], "backward": ["dk", "dv"]}[kind]
%>
kernel void ${function}(
% for a in outs:
    global ${ctype} *${a}, index_t ${a}_offset, index_t ${a}_b, index_t ${a}_h, index_t ${a}_i,
% endfor
% if kind == "backward":
    global T *dq, index_t dq_offset, index_t dq_b, index_t dq_h, index_t dq_i, index_t parts, index_t dq_part, index_t delta_part,
% endif
    global T *lse,
% if backward:
    global T *delta,
% endif
% for a in arrays:
    const global ${ctype} *${a}, index_t ${a}_offset, index_t ${a}_b, index_t ${a}_h, index_t ${a}_i,
% endfor
    const global ${mtype} *mask, index_t mask_offset, index_t mask_b, index_t mask_h, index_t mask_i, index_t mask_j,
    T scale, ulong seed, uint least, T factor_kept,
    index_t heads, index_t shared, index_t L, index_t S, int E, int F, index_t tiles, index_t units)
{
% for a in outs + ["dq"] * (kind == "backward"):
    ${a} += ${a}_offset;
% endfor
<%
    # The tile's rows are queries (or keys), its columns the others: their count, first array, second array, depths.
    row_count, column_count = ("S", "L") if by_keys else ("L", "S")
    A, B = ("k", "q") if by_keys else ("q", "k")          # products over E
    A2, B2 = ("v", "dy") if by_keys else ("dy", "v")      # products over F
    i_of = (lambda r, c: f"(j0 + {c})") if by_keys else (lambda r, c: f"(i0 + {r})")
    j_of = (lambda r, c: f"(i0 + {r})") if by_keys else (lambda r, c: f"(j0 + {c})")
    # causal: queries see keys up to their own place, keys are seen from there on
    start = "i0 / %d * %d" % (C, C) if causal and by_keys else "0"
    stop = f"min(S, i0 + rows)" if causal and not by_keys else column_count

    results = [("dq", "y", "E", "scale * ")] if kind == "queries" else [
        ("dk", "y", "E", "scale * "), ("dv", "y2", "F", "")]
%>
<%def name="unit()">\
const index_t tile = u % tiles, pair = u / tiles;
        const index_t b = pair / ${"(heads / shared)" if by_keys else "heads"};
        const index_t own_head = pair - b * ${"(heads / shared)" if by_keys else "heads"};
        const index_t i0 = tile * ${R};
        const int rows = (int)min((index_t)${R}, ${row_count} - i0);
</%def>\
<%def name="pointer(name, head)">\
const global ${ctype} *${name}_at = ${name} + ${name}_offset + b * ${name}_b + ${head} * ${name}_h;\
</%def>\
<%def name="head_of()">\
% if by_keys:
        for (index_t h = own_head * shared; h < (own_head + 1) * shared; ++h) {
            const index_t hk = own_head;
% else:
        {
            const index_t h = own_head, hk = h / shared;
% endif
            ${pointer("q", "h")}
            ${pointer("k", "hk")}
            ${pointer("v", "hk")}
% if backward:
            ${pointer("o", "h")}
            ${pointer("dy", "h")}
            global T *const delta_at = delta + ${"part * delta_part + " if wide else ""}(b * heads + h) * L;
% endif
            global T *const lse_at = lse + (b * heads + h) * L;
% if masked:
            const global ${mtype} *mask_at = mask + mask_offset + b * mask_b + h * mask_h;
% endif
</%def>\
<%def name="allowed(i, j)">\
${f"{j} <= {i} && " if causal else ""}${"mask_at[" + i + " * mask_i + " + j + " * mask_j] != 0 && " if masked == "bool" else ""}1\
</%def>\
<%def name="added(i, j)">\
${" + " + prelude.load(mtype, T, "mask_at", i + " * mask_i + " + j + " * mask_j") if masked == "float" else ""}\
</%def>\
% if wide:
    V a[${D * NV}], s[${C * NV}], y[${D * NV}], factor[${NV}];
    % if backward:
    V a2[${D * NV}], d[${C * NV}], y2[${D * NV}];
    % else:
    V most[${NV}], sum[${NV}];
    % endif
    % if cast:
    T bs[${C * D}], b2[${C * D}]${f", own[{R * D}]" if backward else ""};
    % endif
<%
    int_lanes = prelude.mask_type(T)
    Lanes = prelude.vec(int_lanes, W)
    # arrays of a tile's columns: those multiplied with `a`, and the others
    bs, b2 = ("q", "dy") if backward else ("k", "v")

    def column(name, copy):
        return f"{copy}, {D}" if cast else f"{name}_at + j0 * {name}_i, {name}_i"
%>
    ${Lanes} place[${NV}];
    for (int v = 0; v < ${NV}; ++v) place[v] = (${Lanes})(${", ".join(map(str, range(W)))}) + v * ${W};
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
<%def name="next_columns()">\
                const int columns = (int)min((index_t)${C}, ${column_count} - j0);
    % if cast:
                convert_rows(bs, ${bs}_at + j0 * ${bs}_i, ${bs}_i, columns, E);
                convert_rows(b2, ${b2}_at + j0 * ${b2}_i, ${b2}_i, columns, F);
    % endif
                products(s, a, ${column(bs, "bs")}, columns, E);
    % if masked:
                {
                    T *const pairs = (T *)s;
                    for (int c = 0; c < columns; ++c)
                        for (int r = 0; r < rows; ++r) {
                            const index_t i = ${i_of("r", "c")}, j = ${j_of("r", "c")};
                            T *const pair_at = pairs + c * ${R} + r;
        % if masked == "bool":
                            if (mask_at[i * mask_i + j * mask_j] == 0) *pair_at = -INFINITY;
        % else:
                            *pair_at += ${prelude.load(mtype, T, "mask_at", "i * mask_i + j * mask_j")};
        % endif
                        }
                }
    % endif
    % if causal:
                if (${"j0 < i0 + rows" if by_keys else "j0 + columns > i0"}) {
                    for (int c = 0; c < columns; ++c) {
                        const ${int_lanes} own_place = (${int_lanes})(j0 - i0) + c;
                        for (int v = 0; v < ${NV}; ++v)
                            s[c * ${NV} + v] = (place[v] ${"<=" if by_keys else ">="} own_place) ? s[c * ${NV} + v] : (V)(-INFINITY);
                    }
                }
    % endif
</%def>\
    % if backward:
        const index_t part = u % parts, pair = u / parts;
        const index_t b = pair / (heads / shared), own_head = pair - b * (heads / shared);
        for (index_t h = own_head * shared; h < (own_head + 1) * shared; ++h) {
            global T *const delta_at = delta + part * delta_part + (b * heads + h) * L;
            ${pointer("o", "h")}
            ${pointer("dy", "h")}
            global T *const dq_at = dq + part * dq_part + b * dq_b + h * dq_h;
            for (index_t i = 0; i < L; ++i) {
                delta_at[i] = dot_of(o_at + i * o_i, dy_at + i * dy_i, F);
                for (int e = 0; e < E; ++e) dq_at[i * dq_i + e] = 0;
            }
        }
        for (index_t tile = part; tile < tiles; tile += parts) {
            const index_t i0 = tile * ${R};
            const int rows = (int)min((index_t)${R}, S - i0);
            const global ${ctype} *const k_rows = k + k_offset + b * k_b + own_head * k_h + i0 * k_i;
            pack(a, k_rows, k_i, rows, E, scale);
            pack(a2, v + v_offset + b * v_b + own_head * v_h + i0 * v_i, v_i, rows, F, 1);
        % if cast:
            convert_rows(own, k_rows, k_i, rows, E);
        % endif
            for (int n = 0; n < E * ${NV}; ++n) y[n] = (V)(0);
            for (int n = 0; n < F * ${NV}; ++n) y2[n] = (V)(0);
        ${head_of()}
            global T *const dq_at = dq + part * dq_part + b * dq_b + h * dq_h;
            for (index_t j0 = ${start}; j0 < L; j0 += ${C}) {
                ${next_columns()}
                products(d, a2, ${column(b2, "b2")}, columns, F);
                for (int c = 0; c < columns; ++c) {
                    const T line_lse = lse_at[j0 + c], line_delta = delta_at[j0 + c];
        % if dropout:
                    V keep[${NV + NV % 2}];
                    const ulong position = ((b * heads + h) * (ulong)L + j0 + c) * ((S + 1) / 2) + i0 / 2;
                    for (int v = 0; v < ${NV}; v += 2) {
                        ${U} low = (uint)position + ${"convert_uint8(" if W == 8 else "as_uint16("}place[v / 2]);
                        ${U} high = (uint)(position >> 32) - as_${U}(low < (uint)position);
                        words_of(&low, &high, seed);
                        keep[v] = keep_all((${U})(${", ".join(f"{w}.s{l:x}" for l in range(W // 2) for w in ("low", "high"))}), least, factor_kept);
                        keep[v + 1] = keep_all((${U})(${", ".join(f"{w}.s{l:x}" for l in range(W // 2, W) for w in ("low", "high"))}), least, factor_kept);
                    }
        % endif
                    for (int v = 0; v < ${NV}; ++v) {
                        const int n = c * ${NV} + v;
                        const V p = exp(s[n] - line_lse);
        % if dropout:
                        d[n] = scale * p * (keep[v] * d[n] - line_delta);
                        s[n] = p * keep[v];
        % else:
                        d[n] = scale * p * (d[n] - line_delta);
                        s[n] = p;
        % endif
                    }
                }
                gather(y, d, ${column(bs, "bs")}, columns, E);
                gather(y2, s, ${column(b2, "b2")}, columns, F);
                spread(dq_at + j0 * dq_i, dq_i, (const T *)d, ${f"own, {D}" if cast else "k_rows, k_i"}, columns, rows, E);
            }
        }
            for (int v = 0; v < ${NV}; ++v) factor[v] = (V)(1);
            unpack(dk + b * dk_b + own_head * dk_h + i0 * dk_i, dk_i, y, factor, rows, E);
            unpack(dv + b * dv_b + own_head * dv_h + i0 * dv_i, dv_i, y2, factor, rows, F);
        }
    }
    % else:
        ${unit()}
        ${head_of()}
            pack(a, q_at + i0 * q_i, q_i, rows, E, scale);
            for (int v = 0; v < ${NV}; ++v) {
                most[v] = (V)(-INFINITY);
                sum[v] = (V)(0);
            }
            for (int n = 0; n < F * ${NV}; ++n) y[n] = (V)(0);
        % if dropout:
            ${U} low[${NV}], high[${NV}];  // of the position of each row's first pair
            for (int v = 0; v < ${NV}; ++v) {
                uint lows[${W}], highs[${W}];
                for (int l = 0; l < ${W}; ++l) {
                    const ulong position = ((b * heads + h) * (ulong)L + i0 + v * ${W} + l) * ((S + 1) / 2);
                    lows[l] = (uint)position;
                    highs[l] = (uint)(position >> 32);
                }
                low[v] = vload${W}(0, lows);
                high[v] = vload${W}(0, highs);
            }
        % endif
            const index_t stop = ${stop};
            for (index_t j0 = 0; j0 < stop; j0 += ${C}) {
                ${next_columns()}
                for (int v = 0; v < ${NV}; ++v) {
                    V top = most[v], part = (V)(0);
                    for (int c = 0; c < columns; ++c) top = (s[c * ${NV} + v] > top) ? s[c * ${NV} + v] : top;
                    const V zero = (top == (V)(-INFINITY)) ? (V)(0) : top;
                    for (int c = 0; c < columns; ++c) {
                        const V p = exp(s[c * ${NV} + v] - zero);
                        part += p;
                        s[c * ${NV} + v] = p;
                    }
        % if dropout:
                    for (int c = 0; c < columns; c += 2) {
                        ${U} first = low[v] + (uint)((j0 + c) / 2), second = high[v] - as_${U}(first < low[v]);
                        words_of(&first, &second, seed);
                        s[c * ${NV} + v] *= keep_all(first, least, factor_kept);
                        if (c + 1 < columns) s[(c + 1) * ${NV} + v] *= keep_all(second, least, factor_kept);
                    }
        % endif
                    factor[v] = exp(most[v] - zero);
                    sum[v] = sum[v] * factor[v] + part;
                    most[v] = top;
                }
                gather(y, s, ${column(b2, "b2")}, columns, F, factor);
            }
            for (int v = 0; v < ${NV}; ++v) {
                // A row that no key is allowed for: exp(s - lse) must be 0, not NaN.
                T line[${W}];
                factor[v] = (sum[v] == (V)(0)) ? (V)(0) : 1 / sum[v];
                vstore${W}((sum[v] == (V)(0)) ? (V)(INFINITY) : most[v] + log(sum[v]), 0, line);
                for (int l = 0; l < min(rows - v * ${W}, ${W}); ++l) lse_at[i0 + v * ${W} + l] = line[l];
            }
            unpack(out + b * out_b + h * out_h + i0 * out_i, out_i, y, factor, rows, F);
        }
    }
    % endif
% else:
<%
    # A work-item of RL x CL has BLOCK x BLOCK pairs, RL rows and CL columns apart, and of its rows' sums `turns` vectors of
    # `w` elements. Lines are padded by a vector, so that those of neighbouring columns begin at different banks.
    word = 4 if T == "float" else 2                       # of a vector of 16 bytes
    RL, CL = R // BLOCK, C // BLOCK
    line, short_line = D + word, C + (-C % word) + word   # elements of a line of operands, and of pairs
    w = max(1, min(word, D // CL))
    turns = D // (CL * w)
    Q, Y = prelude.vec(T, word), prelude.vec(T, w)
    side = range(BLOCK)
    pairs = [(i, j) for i in side for j in side]
    own = [(i, t) for i in side for t in range(turns)]
    summed = ["y"] + (["z"] if by_keys else [])
%>
    local ${Q} as[${R * line // word}], bs[${C * line // word}], s[${R * short_line // word}];
    % if backward:
    local ${Q} a2[${R * line // word}], b2[${C * line // word}], d[${R * short_line // word}];
    % endif
    const int lane = get_local_id(0), lr = lane / ${CL}, lc = lane % ${CL};
    for (index_t u = get_group_id(0); u < units; u += get_num_groups(0)) {
        ${unit()}
<%def name="pack(into, source, start, count, tile_rows, depth)">\
            for (int n = lane; n < ${tile_rows * D}; n += ${RL * CL}) {
                const int r = n / ${D}, e = n % ${D};
                ((local T *)${into})[r * ${line} + e] = r < ${count} && e < ${depth} ? ${prelude.load(ctype, T, f"{source}_at", f"({start} + r) * {source}_i + e")} : (T)0;
            }
</%def>\
## {name}{i}_{j} = a[row i] . b[column j], zeros beyond the depth
<%def name="products(name, a, b, depth)">\
            T ${", ".join(f"{name}{i}_{j} = 0" for i, j in pairs)};
            for (int e = 0; e < (${depth} + ${word - 1}) / ${word}; ++e) {
% for i in side:
                const ${Q} x${i} = ${a}[(lr + ${i * RL}) * ${line // word} + e];
% endfor
% for j in side:
                { const ${Q} v = ${b}[(lc + ${j * CL}) * ${line // word} + e];
% for i in side:
                  ${name}${i}_${j} += ${" + ".join(f"x{i}.s{l} * v.s{l}" for l in range(word))};
% endfor
                }
% endfor
            }
</%def>\
## {y}{i}_{t} += sum over c of s[row i][c] * b[c]
<%def name="gather(y, s, b)">\
            for (int c = 0; c < ${C}; ++c) {
% for t in range(turns):
                const ${Y} v${t} = ((local const ${Y} *)${b})[c * ${line // w} + lc + ${t * CL}];
% endfor
% for i in side:
                { const T x = ((local const T *)${s})[(lr + ${i * RL}) * ${short_line} + c];\
% for t in range(turns):
 ${y}${i}_${t} += x * v${t};\
% endfor
 }
% endfor
            }
</%def>\
<%def name="pair(array, i, j)">((local T *)${array})[(lr + ${i * RL}) * ${short_line} + lc + ${j * CL}]</%def>\
        ${Y} ${", ".join(f"{y}{i}_{t} = 0" for y in summed for i, t in own)};
        ${head_of()}
            barrier(CLK_LOCAL_MEM_FENCE);
            ${pack("as", A, "i0", "rows", R, "E")}
% if backward:
            ${pack("a2", A2, "i0", "rows", R, "F")}
% endif
% if kind == "queries":
            barrier(CLK_LOCAL_MEM_FENCE);
% for i in side:
            T lse${i} = 0, delta${i} = 0;
            if (lr + ${i * RL} < rows) {
                for (int e = 0; e < F; ++e) delta${i} += ((local const T *)a2)[(lr + ${i * RL}) * ${line} + e] * ${prelude.load(ctype, T, "o_at", f"(i0 + lr + {i * RL}) * o_i + e")};
                lse${i} = lse_at[i0 + lr + ${i * RL}];
                if (lc == 0) delta_at[i0 + lr + ${i * RL}] = delta${i};
            }
% endfor
% elif kind == "forward":
            T ${", ".join(f"most{i} = -INFINITY, sum{i} = 0" for i in side)};  // of a row; of its own columns
% endif
            const index_t stop = ${stop};
            for (index_t j0 = ${start}; j0 < stop; j0 += ${C}) {
                const int columns = (int)min((index_t)${C}, ${column_count} - j0);
                barrier(CLK_LOCAL_MEM_FENCE);
                ${pack("bs", B, "j0", "columns", C, "E")}
% if backward:
                ${pack("b2", B2, "j0", "columns", C, "F")}
% endif
                barrier(CLK_LOCAL_MEM_FENCE);
                ${products("p", "as", "bs", "E")}
% if backward:
                ${products("d", "a2", "b2", "F")}
% endif
% for i, j in pairs:
                {
                    const int r = lr + ${i * RL}, c = lc + ${j * CL};
                    const bool real = r < rows && c < columns;
                    const index_t i = min(${i_of("r", "c")}, L - 1), j = min(${j_of("r", "c")}, S - 1);
                    const bool seen = real && ${allowed("i", "j")};
                    p${i}_${j} = seen ? p${i}_${j} * scale${added("i", "j")} : -INFINITY;
    % if kind == "forward":
                    ${pair("s", i, j)} = p${i}_${j};
    % else:
                    const T p = exp(p${i}_${j} - ${"lse_at[i]" if by_keys else f"lse{i}"});
                    const T keep = ${kept("i", "j") if dropout else "1"};
                    ${pair("s", i, j)} = p * keep;
                    ${pair("d", i, j)} = p * (keep * d${i}_${j} - ${"delta_at[i]" if by_keys else f"delta{i}"});
    % endif
                }
% endfor
                barrier(CLK_LOCAL_MEM_FENCE);
    % if kind == "forward":
                // the keys have been read: the values take their place
                ${pack("bs", B2, "j0", "columns", C, "F")}
% for i in side:
                {
                    T top = most${i};
                    for (int c = 0; c < ${C}; ++c) top = fmax(top, ((local const T *)s)[(lr + ${i * RL}) * ${short_line} + c]);
                    const T zero = top == -INFINITY ? (T)0 : top, old = exp(most${i} - zero);
                    most${i} = top;
                    sum${i} *= old;
% for t in range(turns):
                    y${i}_${t} *= old;
% endfor
% for j in side:
                    p${i}_${j} = exp(p${i}_${j} - zero);
                    sum${i} += p${i}_${j};
% endfor
                }
% endfor
                barrier(CLK_LOCAL_MEM_FENCE);
% for i, j in pairs:
                {
% if dropout:
                    const int r = lr + ${i * RL}, c = lc + ${j * CL};
                    const index_t i = min(${i_of("r", "c")}, L - 1), j = min(${j_of("r", "c")}, S - 1);
% endif
                    ${pair("s", i, j)} = p${i}_${j}${" * " + kept("i", "j") if dropout else ""};
                }
% endfor
                barrier(CLK_LOCAL_MEM_FENCE);
                ${gather("y", "s", "bs")}
    % else:
                ${gather("y", "d", "bs")}
        % if by_keys:
                ${gather("z", "s", "b2")}
        % endif
    % endif
            }
% if kind == "forward":
            // a row's sum is that of all who had columns of it
            barrier(CLK_LOCAL_MEM_FENCE);
% for i in side:
            ${pair("s", i, 0)} = sum${i};
% endfor
            barrier(CLK_LOCAL_MEM_FENCE);
% for i in side:
            if (lr + ${i * RL} < rows) {
                T total = 0;
                for (int c = 0; c < ${CL}; ++c) total += ((local const T *)s)[(lr + ${i * RL}) * ${short_line} + c];
                const T share = total == 0 ? (T)0 : 1 / total;
                if (lc == 0) lse_at[i0 + lr + ${i * RL}] = total == 0 ? INFINITY : most${i} + log(total);
                global ${ctype} *const to = out + b * out_b + h * out_h + (i0 + lr + ${i * RL}) * out_i;
                ${put("y", i, "F", "* share")}
            }
% endfor
% endif
        }
% if backward:
    % for name, values, depth, factor in results:
% for i in side:
        if (lr + ${i * RL} < rows) {
            global ${ctype} *const to = ${name} + ${f"b * {name}_b + own_head * {name}_h"} + (i0 + lr + ${i * RL}) * ${name}_i;
            ${put({"y": "y", "y2": "z"}[values], i, depth, factor and "* scale")}
        }
% endfor
    % endfor
% endif
    }
<%def name="put(y, i, depth, factor)">\
% for t in range(turns):
% for l in range(w):
            if ((lc + ${t * CL}) * ${w} + ${l} < ${depth}) ${prelude.store(ctype, T, "to", f"(lc + {t * CL}) * {w} + {l}", f"{y}{i}_{t}{f'.s{l}' if w > 1 else ''} {factor}")}
% endfor
% endfor
</%def>\
% endif
}
% endif
