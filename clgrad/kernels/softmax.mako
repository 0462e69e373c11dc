## Rows of length K, `inner` elements apart from one position to the next (1 when the axis is the last).
##
##   softmax        exp(x - m) / sum exp(x - m)       m = max of the row, so that exp cannot overflow
##   log_softmax    x - m - log(sum exp(x - m))
##   logsumexp      m + log(sum exp(x - m))           one number a row
##   softmax_backward      y * (dy - sum(dy * y))
##   log_softmax_backward  dy - exp(y) * sum(dy)
##   cross_entropy           log(sum exp(x)) - x[t]         t = y[row], a class; 0 where t == ignore
##   cross_entropy_backward  g * (softmax(x) - (k == t))    g one number a row; only for inner == 1
##
## wide, rows:     one work-item a row, vectors along it; exponentials of a row of up to KEPT elements wait for their sum
##                 in private memory, where it is short enough (`kept`), and the next row is fetched meanwhile. A large
##                 result is written past the caches (`stream`).
## wide, columns:  a strip of up to STRIP vectors of neighbouring rows (inner > 1), a lane a row: memory is read in long
##                 stretches, BLOCK positions at a time for their maximum, then for the sum while they are in the cache.
## many, group:    `span` work-items a row, as many rows a work-group as there is room for; partial results meet as
##                 teams.mako says. At 128 work-items and 32 registers the 2048 of an NVIDIA SM are all there, with 0.5 KB a
##                 group, or 16 bytes where they meet in sub-groups.
##                 Rows of a multiple of four elements are read by vectors, where the arrays begin at one (`quads`).
##                 Few rows, longer than their groups could read in the time of another launch, are cut into pieces of at
##                 least PIECE elements (`stage`): "part" keeps a piece's maximum and sum, "last" joins those of its row, in
##                 order, and writes a piece. The row is read two or three times, by all units, instead of by one a row.
## many, serial:   one work-item a row, for inner > 1, where neighbours read neighbours.
<%!
    PARAMS = {"local": (32, 64, 128, 256), "strip": (4, 8, 16, 32), "kept": (1024, 2048, 4096),
              "stream": (1 << 22, 1 << 23, 1 << 24, 1 << 25)}  # bytes of a result from which on it is streamed
    DEFAULT = {"wide": {"local": 1, "strip": 16, "kept": 4096, "stream": 1 << 24},
               "many": {"local": 128, "strip": 1, "kept": 0, "stream": 1 << 24}}
    PIECE = 8192  # elements: what an NVIDIA SM reads in about a microsecond, a quarter of what a launch takes
    BLOCK = 8  # positions of a strip between two looks at the maximum

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    functions = context.lookup.get_template("functions.mako").module
    teams = context.lookup.get_template("teams.mako").module
    W = prelude.vector_width(T) if form == "wide" else 1
    backward = kind in ("softmax_backward", "log_softmax_backward")
    classes = kind.startswith("cross_entropy")
    single = kind in ("logsumexp", "cross_entropy")
    ytype = "long" if classes else ctype

    whole = layout == "group"  # vectors are loaded and stored where they are aligned only

    def x(i, w=1):
        return prelude.load(ctype, T, "x", i, w, whole)

    def y(i, w=1):
        return prelude.load(ctype, T, "y", i, w, whole)

    def put(i, value, w=1):
        return prelude.store(ctype, T, "out", i, value, w, whole)

    def marked(w):
        """Minus 1 in the lane of the class; a comparison of vectors yields -1."""
        lanes = prelude.vec(index, w)
        return "- (k == t)" if w == 1 else f"+ convert_{prelude.vec(T, w)}(({lanes})(k) + ({lanes})(0, 1, 2, 3) == ({lanes})(t))"

    def walked(body):
        """Statements: body(w), of w elements from k on, for all of a team's elements: by vectors where they are whole."""
        one = f"for (index_t k = k0 + lane; k < stop; k += team) {body(1)}"
        if not quads:
            return one
        return f"""if (aligned)
            for (index_t k = k0 + 4 * lane; k < stop; k += 4 * team) {body(4)}
        else
            {one}"""

    def exp(w):
        """The exponential of what is at most about 0."""
        return "exp_soft" if w > 1 and form == "wide" else "exp"

    def term(i, w, m):
        """What is summed over a row."""
        return {"softmax_backward": f"{x(i, w)} * {y(i, w)}", "log_softmax_backward": x(i, w)}.get(
            kind, f"{exp(w)}({x(i, w)} - {m})")

    def summed(s, i, m):
        """The lanes' sum with their next term."""
        return f"{s} + {term(i, W, m)}" if backward or W == 1 else f"exp_onto({s}, {x(i, W)} - {m})"

    def result(i, w, m, s):
        """What is stored at a position; s is the sum, or for log_softmax m + log(sum)."""
        return {"softmax": f"{exp(w)}({x(i, w)} - {m}) * {s}", "log_softmax": f"{x(i, w)} - {s}",
                "softmax_backward": f"{y(i, w)} * ({x(i, w)} - {s})",
                "log_softmax_backward": f"{x(i, w)} - {exp(w)}({y(i, w)}) * {s}",
                "cross_entropy_backward": f"{exp(w)}({x(i, w)} - {s})"}[kind]

    def settle(m, s):
        """From the sum to what `result` takes."""
        return {"softmax": f"1 / {s}", "softmax_backward": s, "log_softmax_backward": s}.get(kind, f"{m} + log({s})")

    waits = short and kind in ("softmax", "cross_entropy_backward")
    itype = prelude.mask_type(T)
    I = prelude.vec(itype, W)
    one_number = "s" if kind == "logsumexp" else f"t < 0 ? (T)0 : s - {x('at + t')}"
    more = ""
    if classes:
        more = ", long ignored, global long *fault"
    if kind == "cross_entropy_backward":
        more += f", const global {ctype} *g, index_t g_offset, index_t g_stride"
    if stage:  # a piece's maximum, then all pieces' sums
        more += f", global {T} *parts, index_t piece, index_t pieces"

    def finite(m):
        """What is subtracted instead of a piece's maximum."""
        return f"({f'isinf({m})' if kind == 'logsumexp' else f'{m} == -INFINITY'} ? (T)0 : {m})"
%>
<%def name="target()">\
% if classes:
const index_t t = class_of(y[u], ignored, K, fault);
    % if not single:
        const T scale = t < 0 ? (T)0 : ${prelude.load(ctype, T, "g", "g_offset + u * g_stride")};\
    % endif
% endif
</%def>\
${prelude.extensions(T, ctype)}
typedef ${index} index_t;
typedef ${T} T;
% if form == "wide":
${prelude.joined(T, W)}
${prelude.stream()}${prelude.ahead()}\
${functions.softly(prelude.vec(T, W), T)}${functions.onto(prelude.vec(T, W), T)}\
% endif
% if layout == "group":
${teams.opening(joining, group, T)}\
% if quads:
${prelude.joined(T, 4)}\
% endif
% endif
% if classes:
// The class of a row: -1 where it is ignored, or out of range, which is reported.
static inline index_t class_of(long t, long ignored, index_t K, global long *fault)
{
    if (t == ignored) return -1;
    if (t >= 0 && t < K) return (index_t)t;
    fault[1] = t;
    fault[2] = 1;
    fault[3] = K;
    fault[0] = 1;
    return -1;
}

% endif
kernel void ${function}(global ${ctype} *out, const global ${ctype} *x, index_t x_offset,
                        const global ${ytype} *y, index_t y_offset, index_t K, index_t inner, index_t span, index_t units${more})
{
    x += x_offset;
    y += y_offset;
% if form == "wide" and layout == "rows":
<% V = prelude.vec(T, W) %>
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = (index_t)get_global_id(0) * share;
    const index_t last = min(first + share, units);
    % if waits:
    ${V} row[${kept // W}];
    % endif
    % if classes and not single and not waits:
    const ${I} lanes = (${I})(${", ".join(map(str, range(W)))});
    % endif
    for (index_t u = first; u < last; ++u) {
        const index_t at = u * K;
        ${target()}
        index_t k = 0;
        T m = 0, s = 0;
        % if not backward:
        ${V} ${", ".join(f"top{j} = ({V})(-INFINITY)" for j in range(4))};
        for (; k + ${4 * W} <= K; k += ${4 * W}) {
            % for j in range(4):
            const ${V} v${j} = ${x(f"at + k + {j * W}", W)};
            top${j} = (v${j} > top${j}) ? v${j} : top${j};
            % endfor
        }
        for (; k + ${W} <= K; k += ${W}) {
            const ${V} v0 = ${x("at + k", W)};
            top0 = (v0 > top0) ? v0 : top0;
        }
        m = max_of(fmax(fmax(top0, top1), fmax(top2, top3)));
        for (; k < K; ++k) m = fmax(m, ${x("at + k")});
            % if kind == "logsumexp":
        m = isinf(m) ? (T)0 : m;
            % endif
        % endif
        ${V} sum0 = (${V})(0), sum1 = (${V})(0);
        k = 0;
        % for n in (2, 1):
        for (; k + ${n * W} <= K; k += ${n * W}) {
            % for j in range(n):
                % if waits:
            const ${V} e${j} = ${term(f"at + k + {j * W}", W, "m")};
            sum${j} += e${j};
            row[k / ${W} + ${j}] = e${j};
                % else:
            sum${j} = ${summed(f"sum{j}", f"at + k + {j * W}", "m")};
                % endif
                % if short:
            AHEAD(x + at + K + k + ${j * W}, 0);
                    % if backward:
            AHEAD(y + at + K + k + ${j * W}, 0);
                    % endif
                % endif
            % endfor
        }
        % endfor
        s = sum_of(sum0 + sum1);
        for (; k < K; ++k) s += ${term("at + k", 1, "m")};
        % if waits and classes:  # so that a row is (exp(x - m) - (k == t) * s) / s * g
        if ((t >= 0) & (t < K / ${W} * ${W})) ((T *)row)[t] -= s;
        const T part = scale / s;
        % elif waits:
        const T part = 1 / s;
        % endif
        s = ${settle("m", "s")};
        % if single:
        ${put("u", one_number)}
        % else:
        for (k = 0; k + ${W} <= K; k += ${W}) {
            ${V} v = ${f"row[k / {W}] * part" if waits else result("at + k", W, "m", "s")};
            % if classes and not waits:
            v -= (lanes == (${I})((${itype})clamp(t - k, (index_t)-1, (index_t)${W}))) ? (${V})(1) : (${V})(0);
            v *= scale;
            % endif
            % if stream:
            STREAM(v, (global ${V} *)(out + at + k));
            % else:
            ${put("at + k", "v", W)}
            % endif
        }
            % if classes:
        for (; k < K; ++k) ${put("at + k", f"(exp({x('at + k')} - s) - (k == t)) * scale")}
            % else:
        for (; k < K; ++k) ${put("at + k", result("at + k", 1, "m", "s"))}
            % endif
        % endif
    }
    % if stream:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
% elif form == "wide":
<% V = prelude.vec(T, W) %>
    const index_t strips = (inner + span - 1) / span;
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t o = u / strips;
        const index_t i0 = (u - o * strips) * span, columns = min(span, inner - i0);
        const int vectors = (int)(columns / ${W});
        const index_t first = o * K * inner + i0;
        ${V} ms[${strip}], ss[${strip}];
        for (int v = 0; v < vectors; ++v) {
            ms[v] = (${V})(${"0" if backward else "-INFINITY"});
            ss[v] = (${V})(0);
        }
        for (index_t k0 = 0; k0 < K; k0 += ${BLOCK}) {
            const index_t k1 = min(k0 + ${BLOCK}, K);
            for (int v = 0; v < vectors; ++v) {
                const index_t at = first + v * ${W};
                ${V} s = ss[v];
        % if backward:
                const ${V} zero = ms[v];
        % else:
                ${V} m = ms[v];
                for (index_t k = k0; k < k1; ++k) {
                    const ${V} value = ${x("at + k * inner", W)};
                    m = (value > m) ? value : m;
                }
            % if kind == "logsumexp":
                const ${V} zero = isinf(m) ? (${V})(0) : m, before = isinf(ms[v]) ? (${V})(0) : ms[v];
            % else:
                const ${V} zero = (m == (${V})(-INFINITY)) ? (${V})(0) : m, before = ms[v];
            % endif
                s = (ms[v] == (${V})(-INFINITY)) ? (${V})(0) : s * exp(before - zero);
                ms[v] = m;
        % endif
                for (index_t k = k0; k < k1; ++k) {
                    s = ${summed("s", "at + k * inner", "zero")};
                    AHEAD(x + at + (k + ${BLOCK}) * inner, 0);
        % if backward:
                    AHEAD(y + at + (k + ${BLOCK}) * inner, 0);
        % endif
                }
                ss[v] = s;
            }
        }
        for (int v = 0; v < vectors; ++v) {
        % if kind == "logsumexp":
            ms[v] = isinf(ms[v]) ? (${V})(0) : ms[v];
        % endif
            ss[v] = ${settle("ms[v]", "ss[v]")};
        % if kind == "logsumexp":
            ${put(f"o * inner + i0 + v * {W}", "ss[v]", W)}
        % endif
        }
        % if kind != "logsumexp":
        for (index_t k = 0; k < K; ++k)
            for (int v = 0; v < vectors; ++v) {
                const index_t at = first + k * inner + v * ${W};
                const ${V} value = ${result("at", W, "ms[v]", "ss[v]")};
            % if stream:
                STREAM(value, (global ${V} *)(out + at));
            % else:
                ${put("at", "value", W)}
            % endif
            }
        % endif
        for (index_t i = i0 + vectors * ${W}; i < i0 + columns; ++i) {
            const index_t at = o * K * inner + i;
            T m = ${"0" if backward else "-INFINITY"}, s = 0;
            % if not backward:
            for (index_t k = 0; k < K; ++k) m = fmax(m, ${x("at + k * inner")});
                % if kind == "logsumexp":
            m = isinf(m) ? (T)0 : m;
                % endif
            % endif
            for (index_t k = 0; k < K; ++k) s += ${term("at + k * inner", 1, "m")};
            s = ${settle("m", "s")};
            % if kind == "logsumexp":
            ${put("o * inner + i", "s")}
            % else:
            for (index_t k = 0; k < K; ++k) ${put("at + k * inner", result("at + k * inner", 1, "m", "s"))}
            % endif
        }
    }
    % if stream:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
% elif layout == "group":
    ${teams.place(joining, group, T)}
    // A row (or a piece of one) that is none repeats the last, of length 0: every work-item comes to every barrier.
    const int team = (int)span, lane = item % team, rows = ${group} / team;
    % if quads:
    const bool aligned = ${prelude.whole([(ctype, "x"), *([(ctype, "y")] if backward else []), *([] if single or stage == "part" else [(ctype, "out")])], 4)};
    % endif
    for (index_t u0 = (index_t)get_group_id(0) * rows; u0 < units; u0 += (index_t)get_num_groups(0) * rows) {
        const bool real = u0 + item / team < units;
    % if stage and not (single and stage == "last"):
        const index_t one = min(u0 + item / team, units - 1), u = one / pieces, k0 = (one - u * pieces) * piece;
        const index_t at = u * K, stop = real ? min(k0 + piece, K) : k0;
    % else:
        const index_t u = min(u0 + item / team, units - 1), k0 = 0, at = u * K, stop = real ? K : 0;
    % endif
    % if stage != "part":
        ${target()}
    % endif
        T m = ${"0" if backward else "-INFINITY"}, s = 0;
    % if stage == "last":
        const global T *of_row = parts + 2 * u * pieces;
        % if not backward:
        for (index_t p = lane; p < pieces; p += team) m = fmax(m, of_row[2 * p]);
        ${teams.join(joining, ["m"], [T], "m = fmax(m, m_other);", "max")}
            % if kind == "logsumexp":
        m = isinf(m) ? (T)0 : m;
            % endif
        % endif
        for (index_t p = lane; p < pieces; p += team) {
            const T sum = of_row[2 * p + 1];
        % if backward:
            s += sum;
        % else:
            const T most = of_row[2 * p];
            s += sum == 0 ? (T)0 : sum * exp(${finite("most")} - m);
        % endif
        }
    % else:
        % if not backward:
        ${walked(lambda w: f"m = fmax(m, {x('at + k')});" if w == 1 else f"m = fmax(m, max_of({x('at + k', w)}));")}
        ${teams.join(joining, ["m"], [T], "m = fmax(m, m_other);", "max")}
            % if stage:
        const T most = m;
        m = ${finite("m")};
            % elif kind == "logsumexp":
        m = isinf(m) ? (T)0 : m;
            % endif
        % endif
        ${walked(lambda w: f"s += {term('at + k', w, 'm')};" if w == 1 else f"s += sum_of({term('at + k', w, 'm')});")}
    % endif
        ${teams.join(joining, ["s"], [T], "s += s_other;", "add")}
    % if stage == "part":
        if (real && lane == 0) {
            parts[2 * one] = ${"0" if backward else "most"};
            parts[2 * one + 1] = s;
        }
    % else:
        s = ${settle("m", "s")};
        % if single:
        if (real && lane == 0) ${put("u", one_number)}
        % elif classes:
        ${walked(lambda w: put("at + k", f"(exp({x('at + k', w)} - s) {marked(w)}) * scale", w))}
        % else:
        ${walked(lambda w: put("at + k", result("at + k", w, "m", "s"), w))}
        % endif
    % endif
    }
% else:
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t o = u / inner;
        const index_t at = o * K * inner + u - o * inner;
        ${target()}
        T m = ${"0" if backward else "-INFINITY"}, s = 0;
        % if not backward:
        for (index_t k = 0; k < K; ++k) m = fmax(m, ${x("at + k * inner")});
            % if kind == "logsumexp":
        m = isinf(m) ? (T)0 : m;
            % endif
        % endif
        for (index_t k = 0; k < K; ++k) s += ${term("at + k * inner", 1, "m")};
        s = ${settle("m", "s")};
        % if single:
        ${put("u", one_number)}
        % elif classes:
        for (index_t k = 0; k < K; ++k)
            ${put("at + k", f"(exp({x('at + k')} - s) - (k == t)) * scale")}
        % else:
        for (index_t k = 0; k < K; ++k) ${put("at + k * inner", result("at + k * inner", 1, "m", "s"))}
        % endif
    }
% endif
}
