## out[o, k, i] = join over j <= k of x[o, j, i]
##
## A line has K elements, `inner` apart, and is cut into segments. With more than one, `totals` first joins the parts of
## each but the last (its own segments are those parts), and `scan` starts a segment from the totals before it, joined in
## order: same bits every run.
##
##   rows:     inner is 1      [ k k k k ] [ k k k k ] ...   blocks scanned apart, then joined to the carry
##   columns:  inner above 1   [ i i i i ]                   neighbouring lines, walked down together
##                             [ i i i i ]
##   With `vector`, a block of a row is one vector, scanned in log2(W) steps (Hillis, Steele 1986, "Data parallel
##   algorithms"): in step d each lane is joined to the one d before it. Columns are strips of vectors.
##   group:    inner is 1      a work-group scans its tile, GROUP lanes of ITEMS elements each, as teams.mako says
##
## Float sums carry what rounding took from them (Knuth's two-sum), so that error does not grow with the length.
<%!
    PARAMS = {"group": (32, 64, 128, 256)}
    DEFAULT = {"wide": {"group": 1}, "many": {"group": 128}}

    def valid(params, facts):
        return params["group"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    teams = context.lookup.get_template("teams.mako").module
    ITEMS = 4   # neighbouring elements of a lane
    BLOCK = 16  # elements of a row joined before the carry is needed
    TURNS = 8   # blocks of four vectors whose lanes are totalled together
    ROWS = 4    # walked down together: as many streams of memory at once, which one core follows better than one
    APART = 8   # vectors scanned apart: enough that their steps hide each other's latency
    JOINED = 4  # of them, whose totals are joined plainly before the carry takes them
    STRIP = 8192 // prelude.SIZES[T] if vector else 16 if form == "wide" else 1
    W = (8 if prelude.SIZES[T] == 8 else 16) if vector else 1
    V = prelude.vec(T, W)
    VECTORS = STRIP // W
    names, types = (["v", "at"], [T, index]) if positions else (["v"], [T])  # of what work-items pass on
    here, other = ("item_of(v, at)", "item_of(v_other, at_other)") if positions else ("item_of(v, 0)", "item_of(v_other, 0)")
    both = f"const item_t r = join({here}, {other}); v = r.v;" + (" at = r.at;" if positions else "")

    def shifted(v, d):
        """The lanes of a vector d places on, the identity before them."""
        return f"({V})({', '.join(['IDENTITY'] * d + [f'{v}.s{l:x}' for l in range(W - d)])})"

    def load(index):
        return prelude.load(ctype, T, "x", index)

    def written(index, value):
        """Statement: a vector of the result."""
        if stream:
            return f"STREAM({value}, (global {V} *)(out + {index}));"
        return prelude.store(out, T, "out", index, value, W)
%>
${prelude.extensions(T, ctype, out)}
${prelude.stream() if stream else ""}
typedef ${index} index_t;
#define T ${T}

typedef struct {
    T v;
% if positions:
    index_t at;
% endif
} item;
typedef item item_t;  // where a work-item's number has that name

static inline item item_of(T v, index_t k)
{
    item r;
    r.v = v;
% if positions:
    r.at = k;
% endif
    return r;
}

// b comes after a.
static inline item join(item a, item b)
{
% if positions:
    return (b.v != b.v || (a.v == a.v && b.v ${better} a.v)) ? b : a;
% else:
    item r;
    r.v = ${combine};
    return r;
% endif
}

% if exact:
typedef struct { T v; T low; } carry_t;

static inline carry_t start(void)
{
    carry_t r = {0, 0};
    return r;
}

static inline carry_t advance(carry_t a, item b)
{
    carry_t r;
    r.v = a.v + b.v;
    const T z = r.v - a.v;
    const T low = (a.v - (r.v - z)) + (b.v - z);
    r.low = a.low + ((low == low) ? low : (T)0);  // an infinite sum has no remainder
    return r;
}

static inline item value(carry_t a) { return item_of(a.v + a.low, 0); }
static inline item after(carry_t a, item b) { return item_of(a.v + (a.low + b.v), 0); }
% else:
typedef item carry_t;

static inline carry_t start(void) { return item_of((T)(${identity}), 0); }
static inline carry_t advance(carry_t a, item b) { return join(a, b); }
static inline item value(carry_t a) { return a; }
static inline item after(carry_t a, item b) { return join(a, b); }
% endif

static inline item total_of(const global T *totals, const global index_t *places, index_t t)
{
% if positions:
    return item_of(totals[t], places[t]);
% else:
    return item_of(totals[t], 0);
% endif
}

static inline void keep_total(global T *totals, global index_t *places, index_t t, item r)
{
    totals[t] = r.v;
% if positions:
    places[t] = r.at;
% endif
}

static inline void put(global ${out} *out, index_t e, item r)
{
% if positions:
    out[e] = r.at;
% else:
    ${prelude.store(out, T, "out", "e", "r.v")}
% endif
}

% if vector:
#define IDENTITY ((T)(${identity}))
typedef struct { ${V} v; } lanes_t;

static inline ${V} join_lanes(${V} v, ${V} w)
{
    lanes_t a = {v}, b = {w};
    return ${combine};
}

static inline ${V} scanned(${V} v)
{
    % for d in [1 << bit for bit in range(W.bit_length() - 1)]:
    v = join_lanes(${shifted("v", d)}, v);
    % endfor
    return v;
}

// The same carry for a vector of lines.
static inline ${V} advance_lanes(${V} *low, ${V} v, ${V} x)
{
    % if exact:
    const ${V} r = v + x, z = r - v;
    const ${V} l = (v - (r - z)) + (x - z);
    *low += select((${V})(0), l, l == l);
    return r;
    % else:
    return join_lanes(v, x);
    % endif
}
% endif

% if layout == "group":
${teams.opening(joining, group, *types)}
% endif
% for name in ("totals", "scan"):
<%
    scan = name == "scan"
    target = f"global {out} *out, const global T *totals, const global index_t *places" if scan else \
        "global T *totals, global index_t *places"
%>
kernel void ${name}(${target}, const global ${ctype} *x, index_t x_offset, index_t K, index_t inner, index_t segments,
    index_t segment, index_t parts, index_t strips, index_t across, index_t units)
{
% if layout == "group":
    ${teams.place(joining, group, *types)}
    const int lane = item;
    for (index_t u = get_group_id(0); u < units; u += get_num_groups(0)) {
% else:
    ${prelude.each(form)} {
% endif
        const index_t strip = u % strips;
        const index_t s = (u / strips) % segments;
        const index_t o = u / strips / segments;
        const index_t k0 = s * segment;
        const index_t k1 = min(k0 + segment, K);
% if layout == "columns":
        const index_t i0 = strip * across;
        const index_t width = min(across, inner - i0);
        const index_t line = o * inner + i0;
    % if vector:
        const int vectors = (int)(width / ${W});
        const index_t done = vectors * ${W};
        if (vectors > 0) {
            ${V} run[${VECTORS}], low[${VECTORS}];
            T lane[${W}], lane_low[${W}];
            for (int c = 0; c < vectors; ++c) {
                for (int l = 0; l < ${W}; ++l) {
                    carry_t carry = start();
        % if scan:
                    for (index_t p = 0; p < s * parts; ++p)
                        carry = advance(carry, total_of(totals, places, (line + c * ${W} + l) * ((segments - 1) * parts) + p));
        % endif
                    lane[l] = carry.v;
                    lane_low[l] = ${"carry.low" if exact else "0"};
                }
                run[c] = vload${W}(0, lane);
                low[c] = vload${W}(0, lane_low);
            }
            index_t k = k0;
        % for rows in (ROWS, 1):
            for (; k + ${rows} <= k1; k += ${rows}) {
                const index_t e0 = (o * K + k) * inner + i0;
                % for r in range(1, rows):
                const index_t e${r} = e${r - 1} + inner;
                % endfor
                for (int c = 0; c < vectors; ++c) {
                % for r in range(rows):
                    const ${V} x${r} = ${prelude.load(ctype, T, "x", f"x_offset + e{r} + c * {W}", W)};
                % endfor
                    ${V} sum = run[c], rest = low[c];
                % for r in range(rows):
                    sum = advance_lanes(&rest, sum, x${r});
                    ${f"const {V} all{r} = sum{' + rest' if exact else ''};" if scan else ""}
                % endfor
                % for r in range(rows if scan else 0):
                    ${written(f"e{r} + c * {W}", f"all{r}")}
                % endfor
                    run[c] = sum;
                    low[c] = rest;
                }
            }
        % endfor
        % if not scan:
            for (int c = 0; c < vectors; ++c) {
                vstore${W}(${"run[c] + low[c]" if exact else "run[c]"}, 0, lane);
                for (int l = 0; l < ${W}; ++l) totals[(line + c * ${W} + l) * segments + s] = lane[l];
            }
        % endif
        }
    % else:
        const index_t done = 0;
    % endif
        carry_t carry[${STRIP}];
        for (index_t c = done; c < width; ++c) carry[c] = start();
    % if scan:
        for (index_t p = 0; p < s * parts; ++p)
            for (index_t c = done; c < width; ++c)
                carry[c] = advance(carry[c], total_of(totals, places, (line + c) * ((segments - 1) * parts) + p));
    % endif
    % for bound, when in ((STRIP, f"width == {STRIP}"), ("width", "done < width" if vector else f"width < {STRIP}"))[1 if vector else 0:2 if STRIP > 1 else 1]:
        if (${when})
        for (index_t k = k0; k < k1; ++k) {
            const index_t e = (o * K + k) * inner + i0;
            for (index_t c = done; c < ${bound}; ++c) {
                carry[c] = advance(carry[c], item_of(${load("x_offset + e + c")}, k));
        % if scan:
                put(out, e + c, value(carry[c]));
        % endif
            }
        }
    % endfor
    % if not scan:
        for (index_t c = done; c < width; ++c)
            keep_total(totals, places, (line + c) * segments + s, value(carry[c]));
    % endif
% else:
        const index_t base = o * K;
        carry_t carry = start();
    % if scan:
        for (index_t p = 0; p < s * parts; ++p)
            carry = advance(carry, total_of(totals, places, o * ((segments - 1) * parts) + p));
    % endif
    % if layout == "rows" and vector:
        index_t k = k0;
        % if scan:
        for (; k + ${APART * W} <= k1; k += ${APART * W}) {
            // all apart, then all written: stores past the caches want to come one after the other
            % for j in range(APART):
            const ${V} part${j} = scanned(${prelude.load(ctype, T, "x", f"x_offset + base + k + {j * W}", W)});
            % endfor
            % for g in range(APART // JOINED):
            const carry_t carry${g} = ${f"advance(carry{g - 1}, item_of(before{g - 1}_{JOINED}, k))" if g else "carry"};
            const T before${g}_0 = IDENTITY;  // of this group
            % for j in range(JOINED):
            const T before${g}_${j + 1} = join(item_of(before${g}_${j}, k), item_of(part${g * JOINED + j}.s${f"{W - 1:x}"}, k)).v;
            % endfor
            % endfor
            % for j in range(APART):
<% g, l = divmod(j, JOINED) %>\
            {
                const ${V} own = ${f"part{j} + ({V})(carry{g}.low + before{g}_{l})" if exact else f"join_lanes(({V})(before{g}_{l}), part{j})"};
                const ${V} all = join_lanes((${V})(carry${g}.v), own);
                ${written(f"base + k + {j * W}", "all")}
            }
            % endfor
            carry = advance(carry${APART // JOINED - 1}, item_of(before${APART // JOINED - 1}_${JOINED}, k));
        }
        % else:
        for (; k + ${TURNS * 4 * W} <= k1; k += ${TURNS * 4 * W}) {
            % for j in range(4):
            ${V} part${j} = ${prelude.load(ctype, T, "x", f"x_offset + base + k + {j * W}", W)};
            % endfor
            for (int t = 1; t < ${TURNS}; ++t) {
                const index_t e = x_offset + base + k + t * ${4 * W};
                % for j in range(4):
                part${j} = join_lanes(part${j}, ${prelude.load(ctype, T, "x", f"e + {j * W}", W)});
                % endfor
            }
            T lane[${W}];
            vstore${W}(join_lanes(join_lanes(part0, part1), join_lanes(part2, part3)), 0, lane);
            % for half in [W >> n for n in range(1, W.bit_length())]:
            for (int l = 0; l < ${half}; ++l) lane[l] = join(item_of(lane[l], k), item_of(lane[l + ${half}], k)).v;
            % endfor
            carry = advance(carry, item_of(lane[0], k));
        }
        % endif
        for (; k < k1; ++k) {
            carry = advance(carry, item_of(${load("x_offset + base + k")}, k));
        % if scan:
            put(out, base + k, value(carry));
        % endif
        }
        % if not scan:
        keep_total(totals, places, o * segments + s, value(carry));
        % endif
    % elif layout == "rows":
        index_t k = k0;
        for (; k + ${BLOCK} <= k1; k += ${BLOCK}) {
            item part[${BLOCK}];
            part[0] = item_of(${load("x_offset + base + k")}, k);
            for (int j = 1; j < ${BLOCK}; ++j)
                part[j] = join(part[j - 1], item_of(${load("x_offset + base + k + j")}, k + j));
        % if scan:
            for (int j = 0; j < ${BLOCK}; ++j)
                put(out, base + k + j, after(carry, part[j]));
        % endif
            carry = advance(carry, part[${BLOCK - 1}]);
        }
        for (; k < k1; ++k) {
            carry = advance(carry, item_of(${load("x_offset + base + k")}, k));
        % if scan:
            put(out, base + k, value(carry));
        % endif
        }
        % if not scan:
        keep_total(totals, places, o * segments + s, value(carry));
        % endif
    % else:
        for (index_t t = k0; t < k1; t += ${group * ITEMS}) {
            const index_t k = t + lane * ${ITEMS};
            item_t part[${ITEMS}];
            item_t sum = item_of((T)(${identity}), 0);
            for (int j = 0; j < ${ITEMS}; ++j) {
                if (k + j < k1)
                    sum = join(sum, item_of(${load("x_offset + base + k + j")}, k + j));
                part[j] = sum;
            }
            T v = sum.v;
    % if positions:
            index_t at = sum.at;
    % endif
            ${teams.scan(joining, group, names, types, [f"(T)({identity})", "0"], both)}
        % if scan:
            for (int j = 0; j < ${ITEMS}; ++j)
                if (k + j < k1)
                    put(out, base + k + j, after(carry, join(item_of(v_before, ${"at_before" if positions else "0"}), part[j])));
        % endif
            carry = advance(carry, item_of(v, ${"at" if positions else "0"}));
        }
        % if not scan:
        if (lane == 0)
            keep_total(totals, places, o * segments + s, value(carry));
        % endif
    % endif
% endif
    }
    % if stream and scan:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
}
% endfor
