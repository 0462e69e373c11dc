## out[o] = final(combine over r of map(a[kept(o) + reduced(r)]))
##
## kept() and reduced() walk the collapsed kept and reduced dimensions. The reduced positions 0..R-1 are cut into
## `pieces`; with more than one, a second launch combines the partial results, in a fixed order: same bits every run.
##
##   rows:     reduced memory is innermost            columns:  kept memory is innermost
##             [ r r r r r r r r ] -> o                         [ o o o o ]   vectors of neighbouring results,
##             lanes of a vector, combined last                 [ o o o o ]   and a strip of them, walked down
##                                                              [ o o o o ]
##
## Work-items of a many-core device that share a row read it by vectors of four where each of its pieces is made of whole
## ones (`quads`) and memory begins at one: a request is 16 bytes then, and a quarter as many are on their way.
##
## Float sums are blocked: a block's sum is formed apart and added to the total, so that error grows with the number
## of blocks and the length of one, not with their product (Higham 1993, "The accuracy of floating point summation").
##
## Loops have one condition each: with two, one CPU driver's vectoriser read beyond short integer rows of negative
## stride when the combination was a maximum.
<%!
    PARAMS = {"local": (64, 128, 256), "groups_per_unit": (2, 4, 8)}
    DEFAULT = {"wide": {"local": 1, "groups_per_unit": 4}, "many": {"local": 128, "groups_per_unit": 8}}
    STRIP = 128  # vectors of neighbouring columns that a unit takes at most
    ROWS = 8  # walked down together: as many streams of memory at once, which one core follows better than one
    BLOCK = 512  # steps of a vector loop between two additions to the total

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    teams = context.lookup.get_template("teams.mako").module
    W = prelude.vector_width(T) if form == "wide" else 1
    V = prelude.vec(T, W)
    U = 4  # independent accumulators, to hide the latency of an addition
    kept_args = "".join(f", d{r}, s{r}" for r in range(kept))
    red_args = "".join(f", e{r}, t{r}" for r in range(reduced - 1))
    inner, step = f"e{reduced - 1}", f"t{reduced - 1}"

    def load(index, width):
        return prelude.load(ctype, T, "a", index, width)

    def row(r):
        """Where the columns of row r of the reduced positions begin."""
        if reduced == 1:
            return f"base + {r} * {step} + c0"
        q = f"({r} / {inner})"
        return f"base + reduced_position({q}{red_args}) + ({r} - {q} * {inner}) * {step} + c0"

    def join(values):
        values = list(values)
        while len(values) > 1:
            values = [f"combine{W}({x}, {y})" for x, y in zip(values[::2], values[1::2])]
        return values[0]
%>
${prelude.extensions(T, ctype, out)}
typedef ${index} index_t;
% for w in sorted({1, W, 4 if quads else 1}):
#define T ${prelude.vec(T, w)}
#define ZERO ((T)(0))
#define ONE ((T)(1))
static inline T combine${w}(T a, T b) { return ${combine}; }
static inline T map${w}(T x) { return ${map}; }
#undef T
#undef ZERO
#undef ONE
% endfor
#define T ${T}
% if quads:
typedef ${prelude.vec(T, 4)} T4;
% endif
#define IDENTITY ((T)(${identity}))
static inline T finish(T a, long count) { return ${final if last else "a"}; }

// Position of the kept index o: all dimensions for rows, all but the innermost for columns.
static inline index_t kept_position(index_t o${"".join(f", index_t d{r}, index_t s{r}" for r in range(kept))})
{
    index_t at = 0;
    % for r in reversed(range(kept)):
    at += (${f"o % d{r}" if r else "o"}) * s${r};
    ${f"o /= d{r};" if r else ""}
    % endfor
    return at;
}

// Position of row q of the reduced dimensions: all but the innermost.
static inline index_t reduced_position(index_t q${"".join(f", index_t e{r}, index_t t{r}" for r in range(reduced - 1))})
{
    index_t at = 0;
    % for r in reversed(range(reduced - 1)):
    at += (${f"q % e{r}" if r else "q"}) * t${r};
    ${f"q /= e{r};" if r else ""}
    % endfor
    return at;
}
<%
    signature = "".join(f"index_t d{r}, index_t s{r}, " for r in range(kept)) + \
        "".join(f"index_t e{r}, index_t t{r}, " for r in range(reduced))

    def result(where, value):
        if out_bool:
            return prelude.store(out, "int", "out", where, f"{value} != 0")
        return prelude.store(out, T, "out", where, value)
%>
% if layout == "group":
${teams.opening(joining, group, T)}\
% endif
kernel void ${function}(global ${out} *out, const global ${ctype} *a, index_t a_offset, ${signature}index_t R,
                        index_t pieces, index_t piece, index_t outputs, index_t columns, index_t strip, index_t units,
                        long count)
{
% if form == "many":
    % if layout == "group":
    // `strip` work-items a result, as many results a work-group as there is room for. One that is none repeats the last, of
    // nothing: every work-item comes to every barrier.
    ${teams.place(joining, group, T)}
    const int team = (int)strip, lane = item % team, teams = ${group} / team;
    % if quads:
    const bool aligned = ${prelude.whole([(ctype, "a + a_offset")], 4)};
    % endif
    for (index_t u0 = (index_t)get_group_id(0) * teams; u0 < units; u0 += (index_t)get_num_groups(0) * teams) {
        const bool real = u0 + item / team < units;
        const index_t u = min(u0 + item / team, units - 1);
    % else:
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
    % endif
        const index_t o = u % outputs;
        const index_t p = u / outputs;
        const index_t r1 = ${"!real ? 0 : " if layout == "group" else ""}min((p + 1) * piece, R);
        const index_t base = a_offset + kept_position(o${kept_args});
        T total = IDENTITY;
<% stride = "team" if layout == "group" else 1 %>\
    % if quads:
        if (aligned) {
            T4 lanes = (T4)(IDENTITY);
            for (index_t r = p * piece + 4 * lane; r < r1;) {
                T4 part = (T4)(IDENTITY);
                const index_t stop = min(r + ${4 * BLOCK} * team, r1);
                for (; r < stop; r += 4 * team)
                    part = combine4(part, map4(${prelude.load(ctype, T, "a", "base + r", 4, True)}));
                lanes = combine4(lanes, part);
            }
            total = combine1(combine1(lanes.x, lanes.y), combine1(lanes.z, lanes.w));
        } else
    % endif
        for (index_t r = p * piece${" + lane" if layout == "group" else ""}; r < r1;) {
            T part = IDENTITY;
            const index_t stop = min(r + ${BLOCK} * ${stride}, r1);
            for (; r < stop; r += ${stride}) {
    % if reduced == 1:
                const index_t i = base + r * ${step};
    % else:
                const index_t q = r / ${inner};
                const index_t i = base + reduced_position(q${red_args}) + (r - q * ${inner}) * ${step};
    % endif
                part = combine1(part, map1(${load("i", 1)}));
            }
            total = combine1(total, part);
        }
    % if layout == "group":
        ${teams.join(joining, ["total"], [T], "total = combine1(total, total_other);", "add" if combine == "a + b" else "")}
        if (real && lane == 0)
            ${result("u", f"finish(total, count)")}
    % else:
        ${result("u", f"finish(total, count)")}
    % endif
    }
}
% elif layout == "rows":
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = (index_t)get_global_id(0) * share;
    const index_t last = min(first + share, units);
    for (index_t u = first; u < last; ++u) {
        const index_t o = u % outputs;
        const index_t p = u / outputs;
        const index_t r1 = min((p + 1) * piece, R);
        const index_t base = a_offset + kept_position(o${kept_args});
        T total = IDENTITY;
        ${V} lanes = (${V})(IDENTITY);
        for (index_t r = p * piece; r < r1;) {
            const index_t q = r / ${inner};
            const index_t j = r - q * ${inner};
            index_t left = min(${inner} - j, r1 - r);
            index_t i = base + reduced_position(q${red_args}) + j * ${step};
            r += left;
            % if unit:
            while (left >= ${W * U}) {
                % for v in range(U):
                ${V} v${v} = (${V})(IDENTITY);
                % endfor
                const int steps = (int)min(left / ${W * U}, (index_t)${BLOCK});
                for (int b = 0; b < steps; ++b) {
                    % for v in range(U):
                    v${v} = combine${W}(v${v}, map${W}(${load(f"i + {v * W}", W)}));
                    % endfor
                    i += ${W * U};
                }
                left -= steps * ${W * U};
                lanes = combine${W}(lanes, ${join(f"v{v}" for v in range(U))});
            }
            for (; left >= ${W}; left -= ${W}, i += ${W})
                lanes = combine${W}(lanes, map${W}(${load("i", W)}));
            % endif
            while (left > 0) {
                const int steps = (int)min(left, (index_t)${BLOCK});
                T part = IDENTITY;
                for (int b = 0; b < steps; ++b)
                    part = combine1(part, map1(${load(f"i + b * {step}", 1)}));
                total = combine1(total, part);
                i += steps * ${step};
                left -= steps;
            }
        }
        % if unit:
        T lane[${W}];
        vstore${W}(lanes, 0, lane);
        for (int w = ${W} / 2; w > 0; w /= 2)
            for (int l = 0; l < w; ++l)
                lane[l] = combine1(lane[l], lane[l + w]);
        total = combine1(total, lane[0]);
        % endif
        ${result("u", "finish(total, count)")}
    }
}
% else:
    // u counts strips of neighbouring columns, row of kept dimensions by row, piece by piece.
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = (index_t)get_global_id(0) * share;
    const index_t last = min(first + share, units);
    const index_t blocks = (columns + strip - 1) / strip;
    const index_t rows = outputs / columns;
    for (index_t u = first; u < last; ++u) {
        const index_t c0 = (u % blocks) * strip;
        const index_t row = (u / blocks) % rows;
        const index_t p = u / (blocks * rows);
        const index_t r0 = p * piece;
        const index_t r1 = min(r0 + piece, R);
        const index_t base = a_offset + kept_position(row${kept_args});
        const index_t o = p * outputs + row * columns;
        const index_t end = min(c0 + strip, columns);
        const int vectors = (int)((end - c0) / ${W});
        index_t c = c0 + vectors * ${W};
        // A strip is wide, so that memory is read in long stretches, one after the other: that is what prefetchers see.
        ${V} sum[${STRIP}], part[${STRIP}];
        for (int v = 0; v < vectors; ++v) sum[v] = (${V})(IDENTITY);
        for (index_t r = vectors ? r0 : r1; r < r1;) {
            for (int v = 0; v < vectors; ++v) part[v] = (${V})(IDENTITY);
            const index_t stop = min(r + ${BLOCK}, r1);
            const index_t apart = ${step} == end - c0 ? r : stop;  // rows side by side are one stream, best left whole
            for (; r + ${ROWS} <= apart; r += ${ROWS}) {
    % for n in range(ROWS):
                const index_t i${n} = ${row(f"(r + {n})")};
    % endfor
                for (int v = 0; v < vectors; ++v)
                    part[v] = combine${W}(part[v], ${join(f"map{W}({load(f'i{n} + v * {W}', W)})" for n in range(ROWS))});
            }
            for (; r < stop; ++r) {
                const index_t i = ${row("r")};
                for (int v = 0; v < vectors; ++v)
                    part[v] = combine${W}(part[v], map${W}(${load(f"i + v * {W}", W)}));
            }
            for (int v = 0; v < vectors; ++v) sum[v] = combine${W}(sum[v], part[v]);
        }
        for (int v = 0; v < vectors; ++v) {
            T lane[${W}];
            vstore${W}(sum[v], 0, lane);
            for (int l = 0; l < ${W}; ++l)
                ${result(f"o + c0 + v * {W} + l", "finish(lane[l], count)")}
        }
        for (; c < end; ++c) {
            T total = IDENTITY;
            for (index_t r = r0; r < r1;) {
                T part = IDENTITY;
                const index_t stop = min(r + ${BLOCK}, r1);
                for (; r < stop; ++r) {
                    const index_t q = r / ${inner};
                    const index_t i = base + reduced_position(q${red_args}) + (r - q * ${inner}) * ${step} + c;
                    part = combine1(part, map1(${load("i", 1)}));
                }
                total = combine1(total, part);
            }
            ${result("o + c", "finish(total, count)")}
        }
    }
}
% endif
