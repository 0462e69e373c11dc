## out[o] = the first r at which a[kept(o) + reduced(r)] is best: largest or smallest, and NaN above both, as NumPy.
##
## Positions r = 0..R-1 count the reduced dimensions row-major. They are cut into `pieces`; the second launch chooses
## among the pieces' winners (`paired`: values and their positions), the lower position at a tie.
##
## group: on many-core devices, where the reduced dimensions are innermost in memory, `team` work-items walk a piece
## together, and their winners meet as teams.mako says; else one work-item a piece, neighbours at neighbouring outputs.
<%!
    # Pieces are so many a compute unit, where lines are fewer, and of so many elements at least; the launch has so many
    # groups a unit.
    PARAMS = {"local": (32, 64, 128), "pieces": (2, 4, 8, 64, 256, 1024), "piece": (256, 1024, 4096),
              "groups_per_unit": (2, 4, 8, 16, 32)}
    DEFAULT = {"wide": {"local": 1, "pieces": 4, "piece": 1024, "groups_per_unit": 4},
               "many": {"local": 64, "pieces": 256, "piece": 1024, "groups_per_unit": 16}}

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    teams = context.lookup.get_template("teams.mako").module
    types = [T, "long"]  # of the best, and where it is
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
