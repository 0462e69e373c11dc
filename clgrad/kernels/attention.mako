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
##   queries   the same walk for dq; also delta_i = do_i . out_i
##   keys      tiles of keys walk over tiles of queries for dk and dv, and over the heads that share them
##   keep      the dropout factors themselves, as an array, for the derivative of the derivative
##
## A tile of `rows` walks over tiles of `columns`. Its operands are packed, columns transposed too, so that
##
##             columns            wide: rows x columns products are built 4 rows x 2 vectors at a time in registers
##            +-------+           many: a lane a pair (row, column), operands in local memory
##       rows |  s_ij |
##            +-------+           a row without any key allowed gives 0
##
## keep_ij is drawn from the counter (seed, position): forward and backward see the same.
<%!
    PARAMS = {"rows": (4, 8, 16, 32, 64), "columns": (4, 8, 16, 32)}
    DEFAULT = {"wide": {"rows": 64, "columns": 32}, "many": {"rows": 16, "columns": 16}}

    def valid(params, facts):
        return params["rows"] * params["columns"] <= facts.max_work_group_size or facts.wide_core
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    wide = form == "wide"
    W = prelude.vector_width(T) if wide else 1
    V = prelude.vec(T, W)
    by_keys = kind == "keys"

    def kept(i, j):
        """The dropout factor of a pair."""
        return f"keep_of(((ulong)(b * heads + h) * L + {i}) * S + {j}, seed, least, factor)"

    backward = kind in ("queries", "keys")
    R, C = rows, columns
%>
${prelude.extensions(T, ctype)}
typedef ${index} index_t;
typedef ${T} T;
% if dropout or kind == "keep":
// Philox2x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
static inline T keep_of(ulong position, ulong seed, uint least, T factor)
{
    uint low = (uint)position, high = (uint)(position >> 32) ^ (uint)(seed >> 32), key = (uint)seed;
    for (int round = 0; round < 10; ++round, key += 0x9E3779B9u) {
        const uint product = low * 0xD256D193u;
        low = mul_hi(low, 0xD256D193u) ^ key ^ high;
        high = product;
    }
    return low >= least ? factor : (T)0;
}
% endif
% if kind == "keep":
kernel void ${function}(global ${ctype} *out, ulong n, ulong seed, uint least, T factor)
{
    for (ulong i = get_global_id(0); i < n; i += get_global_size(0)) {
        ${prelude.store(ctype, T, "out", "i", "keep_of(i, seed, least, factor)")}
    }
}
% else:
<%
    # (name, has it) of the arrays read: each with offset and strides of batch, head, row
    arrays = [("q", True), ("k", True), ("v", True), ("o", backward), ("dy", backward)]
    arrays = [a for a, present in arrays if present]
    outs = {"forward": ["out"], "queries": ["dq"], "keys": ["dk", "dv"]}[kind]
%>
kernel void ${function}(
% for a in outs:
    global ${ctype} *${a},
% endfor
    global T *lse,
% if backward:
    global T *delta,
% endif
% for a in arrays:
    const global ${ctype} *${a}, index_t ${a}_offset, index_t ${a}_b, index_t ${a}_h, index_t ${a}_i,
% endfor
    const global ${mtype} *mask, index_t mask_offset, index_t mask_b, index_t mask_h, index_t mask_i, index_t mask_j,
    T scale, ulong seed, uint least, T factor,
    index_t heads, index_t shared, index_t L, index_t S, int E, int F, index_t tiles, index_t units)
{
<%
    # The tile's rows are queries (or keys), its columns the others: their count, first array, second array, depths.
    row_count, column_count = ("S", "L") if by_keys else ("L", "S")
    A, B = ("k", "q") if by_keys else ("q", "k")          # products over E
    A2, B2 = ("v", "dy") if by_keys else ("dy", "v")      # products over F
    i_of = (lambda r, c: f"(j0 + {c})") if by_keys else (lambda r, c: f"(i0 + {r})")
    j_of = (lambda r, c: f"(i0 + {r})") if by_keys else (lambda r, c: f"(j0 + {c})")
    lane_code = not wide
%>
% if wide:
    T as[${R * D}], bt[${D * C}], s[${R * C}];
    T bs[${C * D}], y[${R * D}];
    % if backward:
    T a2[${R * D}], b2t[${D * C}], d[${R * C}];
    % endif
    % if by_keys:
    T b2[${C * D}], y2[${R * D}];
    % endif
    T most[${R}], sum[${R}];
% else:
    // One more column keeps neighbouring rows in different banks.
    local T as[${R * (D + 1)}], bs[${C * (D + 1)}], s[${R * (C + 1)}];
    % if backward or kind == "forward":
    local T b2[${C * (D + 1)}];
    % endif
    % if backward:
    local T a2[${R * (D + 1)}], d[${R * (C + 1)}];
    % endif
    const int lane = get_local_id(0), lr = lane / ${C}, lc = lane % ${C};
% endif
    for (index_t u = ${"get_global_id(0)" if wide else "get_group_id(0)"}; u < units; u += ${"get_global_size(0)" if wide else "get_num_groups(0)"}) {
        const index_t tile = u % tiles, pair = u / tiles;
        const index_t b = pair / ${"(heads / shared)" if by_keys else "heads"};
        const index_t first_head = (pair - b * ${"(heads / shared)) * shared" if by_keys else "heads)"};
        const index_t i0 = tile * ${R};
        const int rows = (int)min((index_t)${R}, ${row_count} - i0);
<%def name="pointer(name, head)">\
const global ${ctype} *${name}_at = ${name} + ${name}_offset + b * ${name}_b + ${head} * ${name}_h;\
</%def>\
<%def name="pack(into, source, start, count, tile_rows, depth)">\
% if wide:
            for (int n = 0; n < ${f"(rows + 3) / 4 * {4 * D}" if count == "rows" else tile_rows * D}; ++n) ${into}[n] = 0;
            for (int r = 0; r < ${count}; ++r)
                for (int e = 0; e < ${depth}; ++e) ${into}[r * ${D} + e] = ${prelude.load(ctype, T, f"{source}_at", f"({start} + r) * {source}_i + e")};
% else:
            for (int n = lane; n < ${tile_rows * D}; n += ${R * C}) {
                const int r = n / ${D}, e = n % ${D};
                ${into}[r * ${D + 1} + e] = r < ${count} && e < ${depth} ? ${prelude.load(ctype, T, f"{source}_at", f"({start} + r) * {source}_i + e")} : (T)0;
            }
% endif
</%def>\
<%def name="pack_across(into, source, start, count, depth)">\
            for (int e = 0; e < ${depth}; ++e)
                for (int c = 0; c < ${C}; ++c) ${into}[e * ${C} + c] = 0;
            for (int c = 0; c < ${count}; ++c)
                for (int e = 0; e < ${depth}; ++e) ${into}[e * ${C} + c] = ${prelude.load(ctype, T, f"{source}_at", f"({start} + c) * {source}_i + e")};
</%def>\
## into[r][c] = a[r] . b[c]
<%def name="products(into, a, bt, b, depth)">\
% if wide:
            for (int r = 0; r < rows; r += 4) {
    % for v in range(0, C // W, 2):
                {
        % for x in range(4):
                    ${V} p${x}0 = (${V})(0), p${x}1 = (${V})(0);
        % endfor
                    for (int e = 0; e < ${depth}; ++e) {
                        const ${V} b0 = vload${W}(0, ${bt} + e * ${C} + ${v * W}), b1 = vload${W}(0, ${bt} + e * ${C} + ${(v + 1) * W});
        % for x in range(4):
                        p${x}0 += ${a}[(r + ${x}) * ${D} + e] * b0;
                        p${x}1 += ${a}[(r + ${x}) * ${D} + e] * b1;
        % endfor
                    }
        % for x in range(4):
                    vstore${W}(p${x}0, 0, ${into} + (r + ${x}) * ${C} + ${v * W});
                    vstore${W}(p${x}1, 0, ${into} + (r + ${x}) * ${C} + ${(v + 1) * W});
        % endfor
                }
    % endfor
            }
% else:
            {
                T p = 0;
                for (int e = 0; e < ${depth}; ++e) p += ${a}[lr * ${D + 1} + e] * ${b}[lc * ${D + 1} + e];
                ${into}[lr * ${C + 1} + lc] = p;
            }
% endif
</%def>\
## y[r] += sum over c of s[r][c] * b[c]
<%def name="gather(y, s, b, depth)">\
% if wide:
            for (int r = 0; r < rows; r += 4)
                for (int e = 0; e < ${depth}; e += ${W}) {
    % for x in range(4):
                    ${V} p${x} = vload${W}(0, ${y} + (r + ${x}) * ${D} + e);
    % endfor
                    for (int c = 0; c < ${C}; ++c) {
                        const ${V} value = vload${W}(0, ${b} + c * ${D} + e);
    % for x in range(4):
                        p${x} += ${s}[(r + ${x}) * ${C} + c] * value;
    % endfor
                    }
    % for x in range(4):
                    vstore${W}(p${x}, 0, ${y} + (r + ${x}) * ${D} + e);
    % endfor
                }
% else:
            for (int t = 0; t < ${max(D // C, 1)}; ++t) {
                T p = 0;
                for (int c = 0; c < ${C}; ++c) p += ${s}[lr * ${C + 1} + c] * ${b}[c * ${D + 1} + lc + t * ${C}];
                ${y}[t] += p;
            }
% endif
</%def>\
<%def name="allowed(i, j)">\
${f"{j} <= {i} && " if causal else ""}${"mask_at[" + i + " * mask_i + " + j + " * mask_j] != 0 && " if masked == "bool" else ""}1\
</%def>\
<%def name="added(i, j)">\
${" + " + prelude.load(mtype, T, "mask_at", i + " * mask_i + " + j + " * mask_j") if masked == "float" else ""}\
</%def>\
<%def name="barrier_here()">\
% if not wide:
            barrier(CLK_LOCAL_MEM_FENCE);
% endif
</%def>\
% if wide:
        for (int n = 0; n < (rows + 3) / 4 * ${4 * D}; ++n) y[n] = 0;
    % if by_keys:
        for (int n = 0; n < (rows + 3) / 4 * ${4 * D}; ++n) y2[n] = 0;
    % endif
% else:
        T y[${max(D // C, 1)}];
        for (int t = 0; t < ${max(D // C, 1)}; ++t) y[t] = 0;
    % if by_keys:
        T y2[${max(D // C, 1)}];
        for (int t = 0; t < ${max(D // C, 1)}; ++t) y2[t] = 0;
    % endif
        const bool inside = lr < rows;
% endif
% if by_keys:
        for (index_t h = first_head; h < first_head + shared; ++h) {
            const index_t hk = h / shared;
% else:
        {
            const index_t h = first_head, hk = h / shared;
% endif
            ${pointer("q", "h")}
            ${pointer("k", "hk")}
            ${pointer("v", "hk")}
% if backward:
            ${pointer("o", "h")}
            ${pointer("dy", "h")}
            global T *const delta_at = delta + (b * heads + h) * L;
% endif
            global T *const lse_at = lse + (b * heads + h) * L;
% if masked:
            const global ${mtype} *mask_at = mask + mask_offset + b * mask_b + h * mask_h;
% endif
            ${barrier_here()}
            ${pack("as", A, "i0", "rows", R, "E")}
% if backward:
            ${pack("a2", A2, "i0", "rows", R, "F")}
% endif
            ${barrier_here()}
% if kind == "queries" and wide:
            for (int r = 0; r < rows; ++r) {
                T total = 0;
                for (int e = 0; e < F; ++e) total += a2[r * ${D} + e] * ${prelude.load(ctype, T, "o_at", "(i0 + r) * o_i + e")};
                most[r] = lse_at[i0 + r];
                sum[r] = delta_at[i0 + r] = total;
            }
% elif kind == "queries":
            T row_lse = 0, row_delta = 0;
            if (inside) {
                for (int e = 0; e < F; ++e) row_delta += a2[lr * ${D + 1} + e] * ${prelude.load(ctype, T, "o_at", "(i0 + lr) * o_i + e")};
                row_lse = lse_at[i0 + lr];
                if (lc == 0) delta_at[i0 + lr] = row_delta;
            }
% elif kind == "forward" and wide:
            for (int r = 0; r < ${R}; ++r) {
                most[r] = -INFINITY;
                sum[r] = 0;
            }
% elif kind == "forward":
            T row_most = -INFINITY, row_sum = 0;
% endif
<%
    # causal: queries see keys up to their own place, keys are seen from there on
    start = "i0 / %d * %d" % (C, C) if causal and by_keys else "0"
    stop = f"min(S, i0 + rows)" if causal and not by_keys else column_count
%>
            const index_t stop = ${stop};
            for (index_t j0 = ${start}; j0 < stop; j0 += ${C}) {
                const int columns = (int)min((index_t)${C}, ${column_count} - j0);
                ${barrier_here()}
% if wide:
                ${pack_across("bt", B, "j0", "columns", "E")}
    % if backward:
                ${pack_across("b2t", B2, "j0", "columns", "F")}
                ${pack("bs", B, "j0", "columns", C, "E")}
        % if by_keys:
                ${pack("b2", B2, "j0", "columns", C, "F")}
        % endif
    % else:
                ${pack("bs", "v", "j0", "columns", C, "F")}
    % endif
% else:
                ${pack("bs", B, "j0", "columns", C, "E")}
                ${pack("b2", B2, "j0", "columns", C, "F")}
% endif
                ${barrier_here()}
                ${products("s", "as", "bt", "bs", "E")}
% if backward:
                ${products("d", "a2", "b2t", "b2", "F")}
% endif
% if wide and kind == "forward":
                for (int r = 0; r < rows; ++r) {
                    T *const line = s + r * ${C};
                    T top = most[r];
    % if masked or causal:
                    for (int c = 0; c < ${C}; ++c) {
                        const index_t i = i0 + r, j = min(j0 + c, S - 1);
                        line[c] = ${allowed("i", "j")} ? line[c] * scale${added("i", "j")} : -INFINITY;
                    }
    % else:
                    for (int c = 0; c < ${C}; ++c) line[c] *= scale;
    % endif
                    for (int c = columns; c < ${C}; ++c) line[c] = -INFINITY;
                    ${V} high = vload${W}(0, line);
    % for v in range(1, C // W):
                    high = fmax(high, vload${W}(${v}, line));
    % endfor
                    T lanes[${W}];
                    vstore${W}(high, 0, lanes);
                    for (int c = 0; c < ${W}; ++c) top = fmax(top, lanes[c]);
                    const T zero = top == -INFINITY ? (T)0 : top;
                    const T old = exp(most[r] - zero);
                    ${V} part = (${V})(0);
    % for v in range(C // W):
                    {
                        const ${V} p = exp(vload${W}(${v}, line) - zero);
                        part += p;
                        vstore${W}(p, ${v}, line);
                    }
    % endfor
                    vstore${W}(part, 0, lanes);
                    T total = 0;
                    for (int c = 0; c < ${W}; ++c) total += lanes[c];
                    sum[r] = sum[r] * old + total;
                    most[r] = top;
    % if dropout:
                    for (int c = 0; c < columns; ++c) line[c] *= ${kept("(i0 + r)", "(j0 + c)")};
    % endif
                    for (int e = 0; e < ${D}; e += ${W}) vstore${W}(vload${W}(0, y + r * ${D} + e) * old, 0, y + r * ${D} + e);
                }
                ${gather("y", "s", "bs", "F")}
% elif wide:
                for (int r = 0; r < rows; ++r) {
                    T *const line = s + r * ${C};
                    T *const slope = d + r * ${C};
    % if by_keys:
                    T own[${C}], less[${C}];
                    for (int c = 0; c < ${C}; ++c) {
                        const index_t i = min(j0 + c, L - 1);
                        own[c] = lse_at[i];
                        less[c] = delta_at[i];
                    }
    % endif
                    for (int c = 0; c < ${C}; ++c) {
                        const index_t ${"i = min(j0 + c, L - 1), j = i0 + r" if by_keys else "i = i0 + r, j = min(j0 + c, S - 1)"};
                        const T value = ${allowed("i", "j")} ? line[c] * scale${added("i", "j")} : -INFINITY;
                        line[c] = value - ${"own[c]" if by_keys else "most[r]"};
                    }
                    for (int c = columns; c < ${C}; ++c) line[c] = -INFINITY;
    % for v in range(C // W):
                    vstore${W}(exp(vload${W}(${v}, line)), ${v}, line);
    % endfor
                    for (int c = 0; c < ${C}; ++c) {
    % if dropout:
                        const T keep = ${kept(i_of("r", "c"), j_of("r", "c"))};
                        slope[c] = line[c] * (keep * slope[c] - ${"less[c]" if by_keys else "sum[r]"});
        % if by_keys:
                        line[c] *= keep;
        % endif
    % else:
                        slope[c] = line[c] * (slope[c] - ${"less[c]" if by_keys else "sum[r]"});
    % endif
                    }
                }
                ${gather("y", "d", "bs", "E")}
    % if by_keys:
                ${gather("y2", "s", "b2", "F")}
    % endif
% else:
                {
                    const bool real = inside && lc < columns;
                    const index_t i = min(${i_of("lr", "lc")}, L - 1), j = min(${j_of("lr", "lc")}, S - 1);
                    const bool seen = real && ${allowed("i", "j")};
                    const T value = seen ? s[lr * ${C + 1} + lc] * scale${added("i", "j")} : -INFINITY;
    % if kind == "forward":
                    s[lr * ${C + 1} + lc] = value;
                    barrier(CLK_LOCAL_MEM_FENCE);
                    T top = row_most;
                    for (int c = 0; c < ${C}; ++c) top = fmax(top, s[lr * ${C + 1} + c]);
                    const T zero = top == -INFINITY ? (T)0 : top;
                    const T old = exp(row_most - zero);
                    row_most = top;
                    T total = 0;
                    for (int c = 0; c < ${C}; ++c) total += exp(s[lr * ${C + 1} + c] - zero);
                    row_sum = row_sum * old + total;
                    for (int t = 0; t < ${max(D // C, 1)}; ++t) y[t] *= old;
                    barrier(CLK_LOCAL_MEM_FENCE);
                    s[lr * ${C + 1} + lc] = exp(value - zero)${" * " + kept("i", "j") if dropout else ""};
                    barrier(CLK_LOCAL_MEM_FENCE);
    % else:
                    const T p = exp(value - ${"lse_at[i]" if by_keys else "row_lse"});
                    const T keep = ${kept("i", "j") if dropout else "1"};
                    s[lr * ${C + 1} + lc] = p * keep;
                    d[lr * ${C + 1} + lc] = p * (keep * d[lr * ${C + 1} + lc] - ${"delta_at[i]" if by_keys else "row_delta"});
                    barrier(CLK_LOCAL_MEM_FENCE);
    % endif
                }
    % if kind == "forward":
                ${gather("y", "s", "b2", "F")}
    % else:
                ${gather("y", "d", "bs", "E")}
        % if by_keys:
                ${gather("y2", "s", "b2", "F")}
        % endif
    % endif
                barrier(CLK_LOCAL_MEM_FENCE);
% endif
            }
% if kind == "forward" and wide:
            for (int r = 0; r < rows; ++r) {
                // A row that no key is allowed for: exp(s - lse) must be 0, not NaN.
                const T share = sum[r] == 0 ? (T)0 : 1 / sum[r];
                lse_at[i0 + r] = sum[r] == 0 ? INFINITY : most[r] + log(sum[r]);
                global ${ctype} *const line = out + ((b * heads + h) * L + i0 + r) * F;
                for (int e = 0; e < F; ++e) ${prelude.store(ctype, T, "line", "e", f"y[r * {D} + e] * share")}
            }
% elif kind == "forward":
            if (inside) {
                const T share = row_sum == 0 ? (T)0 : 1 / row_sum;
                if (lc == 0) lse_at[i0 + lr] = row_sum == 0 ? INFINITY : row_most + log(row_sum);
                global ${ctype} *const line = out + ((b * heads + h) * L + i0 + lr) * F;
                for (int e = lc, t = 0; e < F; e += ${C}, ++t) ${prelude.store(ctype, T, "line", "e", "y[t] * share")}
            }
% endif
        }
% if backward:
<%
    results = [("dq", "y", "E", "scale * ", "L")] if kind == "queries" else [
        ("dk", "y", "E", "scale * ", "S"), ("dv", "y2", "F", "", "S")]
%>
    % for name, values, depth, factor_text, length in results:
        % if wide:
        for (int r = 0; r < rows; ++r) {
            global ${ctype} *const line = ${name} + (pair * ${length} + i0 + r) * ${depth};
            for (int e = 0; e < ${depth}; ++e) ${prelude.store(ctype, T, "line", "e", f"{factor_text}{values}[r * {D} + e]")}
        }
        % else:
        if (inside) {
            global ${ctype} *const line = ${name} + (pair * ${length} + i0 + lr) * ${depth};
            for (int e = lc, t = 0; e < ${depth}; e += ${C}, ++t) ${prelude.store(ctype, T, "line", "e", f"{factor_text}{values}[t]")}
        }
        % endif
    % endfor
% endif
    }
}
% endif
