## out[o] = the first r at which a[kept(o) + reduced(r)] is best: largest or smallest, and NaN above both, as NumPy.
##
## Positions r = 0..R-1 count the reduced dimensions row-major. They are cut into `pieces`; the second launch chooses
## among the pieces' winners (`paired`: values and their positions), the lower position at a tie.
##
## group: on many-core devices, where the reduced dimensions are innermost in memory, `team` work-items walk a piece
## together, and their winners meet as teams.mako says; else one work-item a piece, neighbours at neighbouring outputs.
##
## On wide-core devices a lane of a vector keeps its best and where that was: the lanes of `rows` are neighbours of one
## line, of which the best is chosen last; those of `columns` are results of their own, COLUMNS vectors of them walked down
## together, so that memory is read in long stretches.
<%!
    # Pieces are so many a compute unit, where lines are fewer, and of so many elements at least; the launch has so many
    # groups a unit.
    PARAMS = {"local": (32, 64, 128), "pieces": (2, 4, 8, 64, 256, 1024), "piece": (256, 1024, 4096),
              "groups_per_unit": (2, 4, 8, 16, 32)}
    DEFAULT = {"wide": {"local": 1, "pieces": 64, "piece": 1024, "groups_per_unit": 32},
               "many": {"local": 64, "pieces": 256, "piece": 1024, "groups_per_unit": 16}}

    COLUMNS = 8

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    teams = context.lookup.get_template("teams.mako").module
    types = [T, "long"]  # of the best, and where it is
    vectors = layout in ("rows", "columns")
    W = prelude.vector_width(T) if vectors else 1
    V, I = prelude.vec(T, W), "long" if T in ("double", "long", "ulong") else "int"
    VI = prelude.vec(I, W)
    real = T in ("float", "double")

    def better_lanes(x, m):
        """Lanes in which x wins over m, which was before it: a NaN over what is none."""
        worse = {">": "<=", "<": ">="}[better]
        return f"~({x} {worse} {m}) & ({m} == {m})" if real else f"{x} {better} {m}"
    signature = "".join(f"index_t d{r}, index_t s{r}, " for r in range(kept)) + \
        "".join(f"index_t e{r}, index_t t{r}, " for r in range(reduced))
%>
${prelude.extensions(T, ctype)}
typedef ${index} index_t;

// Whether x at position i wins over y at position j; a negative position stands for "none yet".
static inline int wins(${T} x, long i, ${T} y, long j)
{
    if (i < 0) return 0;
    if (j < 0) return 1;
    const int x_nan = x != x, y_nan = y != y;
    if (x_nan || y_nan) return x_nan && (!y_nan || i < j);
    return x ${better} y || (x == y && i < j);
}

% if layout == "group":
${teams.opening(joining, group, *types)}
% endif
kernel void ${function}(global long *positions, global ${T} *values, const global ${ctype} *a, index_t a_offset,
                        const global long *known, ${signature}index_t R, index_t pieces, index_t piece,
                        index_t outputs, index_t units, const int team)
{
% if layout == "columns":
<% d, t = f"d{kept - 1}", "t0" %>\
    const index_t strips = (${d} + ${COLUMNS * W} - 1) / ${COLUMNS * W}, rows = outputs / ${d};
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t c0 = u % strips * ${COLUMNS * W}, row = u / strips % rows, p = u / strips / rows;
        const index_t r0 = p * piece, r1 = min(r0 + piece, R), end = min(c0 + ${COLUMNS * W}, ${d});
        const index_t out = p * outputs + row * ${d};
        index_t o = row, base = a_offset;
    % for r in reversed(range(kept - 1)):
        base += (${f"o % d{r}" if r else "o"}) * s${r};
        ${f"o /= d{r};" if r else ""}
    % endfor
        const int vectors = (int)((end - c0) / ${W});
        ${V} best[${COLUMNS}];
        ${VI} at[${COLUMNS}];
        for (int v = 0; v < vectors; ++v) {
            best[v] = ${prelude.load(ctype, T, "a", f"base + r0 * {t} + c0 + v * {W}", W)};
            at[v] = (${VI})(0);
        }
        for (index_t r = vectors ? r0 + 1 : r1; r < r1; ++r)
            for (int v = 0; v < vectors; ++v) {
                const ${V} x = ${prelude.load(ctype, T, "a", f"base + r * {t} + c0 + v * {W}", W)};
                const ${VI} won = ${better_lanes("x", "best[v]")};
                best[v] = won ? x : best[v];
                at[v] = won ? (${VI})((${I})(r - r0)) : at[v];
            }
        for (int v = 0; v < vectors; ++v) {
            ${T} bests[${W}];
            ${I} ats[${W}];
            vstore${W}(best[v], 0, bests);
            vstore${W}(at[v], 0, ats);
            for (int l = 0; l < ${W}; ++l) {
                positions[out + c0 + v * ${W} + l] = r0 + ats[l];
    % if not last:
                values[out + c0 + v * ${W} + l] = bests[l];
    % endif
            }
        }
        for (index_t c = c0 + vectors * ${W}; c < end; ++c) {
            ${T} only = 0;
            long where = -1;
            for (index_t r = r0; r < r1; ++r) {
                const ${T} x = ${prelude.load(ctype, T, "a", f"base + r * {t} + c")};
                if (wins(x, r, only, where)) {
                    only = x;
                    where = r;
                }
            }
            positions[out + c] = where;
    % if not last:
            values[out + c] = only;
    % endif
        }
    }
}
% else:
% if layout == "group":
    ${teams.place(joining, group, *types)}
    const int lane = item % team;
    for (index_t u0 = (index_t)get_group_id(0) * (${group} / team); u0 < units;
         u0 += (index_t)get_num_groups(0) * (${group} / team)) {
        const bool real = u0 + item / team < units;  // if not, the last again, of nothing: all come to every barrier
        const index_t u = min(u0 + item / team, units - 1);
% else:
    const int lane = 0;
    const bool real = true;
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
% endif
        const index_t p = u / outputs;
        index_t o = u - p * outputs;
        const index_t r1 = real ? min((p + 1) * piece, R) : 0;
        index_t base = a_offset;
        % for r in reversed(range(kept)):
        base += (${f"o % d{r}" if r else "o"}) * s${r};
        ${f"o /= d{r};" if r else ""}
        % endfor
        ${T} best = 0;
        long at = -1;
% if layout == "rows":
        const index_t r0 = p * piece, count = r1 - r0;
        index_t k = 0;
        base += r0;
        if (count >= ${W}) {
            ${V} bests = ${prelude.load(ctype, T, "a", "base", W)};
            ${VI} ats = (${VI})(0);
            for (k = ${W}; k + ${W} <= count; k += ${W}) {
                const ${V} x = ${prelude.load(ctype, T, "a", "base + k", W)};
                const ${VI} won = ${better_lanes("x", "bests")};
                bests = won ? x : bests;
                ats = won ? (${VI})((${I})k) : ats;
            }
            ${T} best_of[${W}];
            ${I} at_of[${W}];
            vstore${W}(bests, 0, best_of);
            vstore${W}(ats, 0, at_of);
            for (int l = 0; l < ${W}; ++l) {
                const long position = r0 + at_of[l] + l;
                if (wins(best_of[l], position, best, at)) {
                    best = best_of[l];
                    at = position;
                }
            }
        }
        for (; k < count; ++k) {
            const ${T} x = ${prelude.load(ctype, T, "a", "base + k")};
            if (wins(x, r0 + k, best, at)) {
                best = x;
                at = r0 + k;
            }
        }
% else:
        for (index_t r = p * piece + lane; r < r1; r += ${"team" if layout == "group" else 1}) {
            index_t q = r, i = base;
            % for r in reversed(range(reduced)):
            i += (${f"q % e{r}" if r else "q"}) * t${r};
            ${f"q /= e{r};" if r else ""}
            % endfor
            const ${T} x = ${prelude.load(ctype, T, "a", "i")};
            const long position = ${"known[i]" if paired else "r"};
            if (wins(x, position, best, at)) {
                best = x;
                at = position;
            }
        }
% endif
        % if layout == "group":
        ${teams.join(joining, ["best", "at"], types, "if (wins(best_other, at_other, best, at)) { best = best_other; at = at_other; }")}
        % endif
        if (real && lane == 0) {
            positions[u] = at;
        % if not last:
            values[u] = best;
        % endif
        }
    }
}
% endif
