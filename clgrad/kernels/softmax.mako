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
## wide, rows:     one work-item a row, vectors along it.
## wide, columns:  one work-item a strip of neighbouring rows (inner > 1), a vector lane a row.
## many, group:    one work-group a row, partial results meet in local memory.
## many, serial:   one work-item a row, for short rows and for inner > 1, where neighbours read neighbours.
<%!
    PARAMS = {"local": (32, 64, 128, 256)}
    DEFAULT = {"wide": {"local": 1}, "many": {"local": 128}}

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    W = prelude.vector_width(T) if form == "wide" else 1
    backward = kind in ("softmax_backward", "log_softmax_backward")
    classes = kind.startswith("cross_entropy")
    single = kind in ("logsumexp", "cross_entropy")
    ytype = "long" if classes else ctype

    def x(i, w=1):
        return prelude.load(ctype, T, "x", i, w)

    def y(i, w=1):
        return prelude.load(ctype, T, "y", i, w)

    def put(i, value, w=1):
        return prelude.store(ctype, T, "out", i, value, w)

    def term(i, w, m):
        """What is summed over a row."""
        return {"softmax_backward": f"{x(i, w)} * {y(i, w)}", "log_softmax_backward": x(i, w)}.get(
            kind, f"exp({x(i, w)} - {m})")

    def result(i, w, m, s):
        """What is stored at a position; s is the sum, or for log_softmax m + log(sum)."""
        return {"softmax": f"exp({x(i, w)} - {m}) * {s}", "log_softmax": f"{x(i, w)} - {s}",
                "softmax_backward": f"{y(i, w)} * ({x(i, w)} - {s})",
                "log_softmax_backward": f"{x(i, w)} - exp({y(i, w)}) * {s}",
                "cross_entropy_backward": f"exp({x(i, w)} - {s}) * scale"}[kind]

    def settle(m, s):
        """From the sum to what `result` takes."""
        return {"softmax": f"1 / {s}", "softmax_backward": s, "log_softmax_backward": s}.get(kind, f"{m} + log({s})")

    one_number = "s" if kind == "logsumexp" else f"t < 0 ? (T)0 : s - {x('at + t')}"
    more = ""
    if classes:
        more = ", long ignored, global long *fault"
    if kind == "cross_entropy_backward":
        more += f", const global {ctype} *g, index_t g_offset, index_t g_stride"
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
                        const global ${ytype} *y, index_t y_offset, index_t K, index_t inner, index_t units${more})
{
    x += x_offset;
    y += y_offset;
% if form == "wide" and layout == "rows":
<% V = prelude.vec(T, W) %>
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = (index_t)get_global_id(0) * share;
    const index_t last = min(first + share, units);
    for (index_t u = first; u < last; ++u) {
        const index_t at = u * K;
        ${target()}
        index_t k;
        T lane[${W}];
        T m = 0, s = 0;
        % if not backward:
        ${V} top = (${V})(-INFINITY);
        for (k = 0; k + ${W} <= K; k += ${W}) top = fmax(top, ${x("at + k", W)});
        vstore${W}(top, 0, lane);
        m = lane[0];
        for (int l = 1; l < ${W}; ++l) m = fmax(m, lane[l]);
        for (; k < K; ++k) m = fmax(m, ${x("at + k")});
            % if kind == "logsumexp":
        m = isinf(m) ? (T)0 : m;
            % endif
        % endif
        ${V} sums = (${V})(0);
        for (k = 0; k + ${W} <= K; k += ${W}) sums += ${term("at + k", W, "m")};
        vstore${W}(sums, 0, lane);
        for (int l = 0; l < ${W}; ++l) s += lane[l];
        for (; k < K; ++k) s += ${term("at + k", 1, "m")};
        s = ${settle("m", "s")};
        % if single:
        ${put("u", one_number)}
        % else:
        for (k = 0; k + ${W} <= K; k += ${W}) ${put("at + k", result("at + k", W, "m", "s"), W)}
        for (; k < K; ++k) ${put("at + k", result("at + k", 1, "m", "s"))}
            % if classes:
        if (t >= 0) ${put("at + t", f"(exp({x('at + t')} - s) - 1) * scale")}
            % endif
        % endif
    }
% elif form == "wide":
    // A unit is a strip of up to ${W} rows that lie side by side.
    const index_t strips = (inner + ${W - 1}) / ${W};
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t o = u / strips;
        const index_t i0 = (u - o * strips) * ${W};
        index_t i = i0;
        % for w, condition in ((W, f"if (i0 + {W} <= inner)"), (1, "else for (; i < inner; ++i)")):
<% V = prelude.vec(T, w) %>
        ${condition} {
            const index_t at = o * K * inner + i;
            ${V} m = (${V})(${"0" if backward else "-INFINITY"}), s = (${V})(0);
            % if not backward:
            for (index_t k = 0; k < K; ++k) m = fmax(m, ${x("at + k * inner", w)});
                % if kind == "logsumexp":
            m = isinf(m) ? (${V})(0) : m;
                % endif
            % endif
            for (index_t k = 0; k < K; ++k) s += ${term("at + k * inner", w, "m")};
            s = ${settle("m", "s")};
            % if kind == "logsumexp":
            ${put("o * inner + i", "s", w)}
            % else:
            for (index_t k = 0; k < K; ++k) ${put("at + k * inner", result("at + k * inner", w, "m", "s"), w)}
            % endif
        }
        % endfor
    }
% elif layout == "group":
    local T lanes[${group}];
    const int lane = get_local_id(0);
    for (index_t u = get_group_id(0); u < units; u += get_num_groups(0)) {
        const index_t at = u * K;
        ${target()}
        T m = ${"0" if backward else "-INFINITY"}, s = 0;
        % if not backward:
        for (index_t k = lane; k < K; k += ${group}) m = fmax(m, ${x("at + k")});
        lanes[lane] = m;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int half_way = ${group} / 2; half_way > 0; half_way /= 2) {
            if (lane < half_way) lanes[lane] = fmax(lanes[lane], lanes[lane + half_way]);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        m = lanes[0];
            % if kind == "logsumexp":
        m = isinf(m) ? (T)0 : m;
            % endif
        barrier(CLK_LOCAL_MEM_FENCE);
        % endif
        for (index_t k = lane; k < K; k += ${group}) s += ${term("at + k", 1, "m")};
        lanes[lane] = s;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int half_way = ${group} / 2; half_way > 0; half_way /= 2) {
            if (lane < half_way) lanes[lane] += lanes[lane + half_way];
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        s = lanes[0];
        s = ${settle("m", "s")};
        barrier(CLK_LOCAL_MEM_FENCE);
        % if single:
        if (lane == 0) ${put("u", one_number)}
        % elif classes:
        for (index_t k = lane; k < K; k += ${group})
            ${put("at + k", f"(exp({x('at + k')} - s) - (k == t)) * scale")}
        % else:
        for (index_t k = lane; k < K; k += ${group}) ${put("at + k", result("at + k", 1, "m", "s"))}
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
