## One axis of x, of shape (outer, N, inner), resampled to O positions; several axes are resampled one after the other.
##
##   out[u, o, k] = sum over t of weight_t(o) * x[u, index_t(o), k]
##   back:  dx[u, i, k] = sum over o near i of weight_t(o) * g[u, o, k] where index_t(o) = i
##   add:   the same by outer lines u: a work-item adds each o to where it was read from, in order
##
## wide: positions are worked out once for all k, and where inner is 1 once for a block of outer lines.
##
## Where o lies in x ("source"):  nearest        floor(o * scale)
##                                nearest-exact  floor((o + 1/2) * scale)
##                                linear, cubic  (o + 1/2) * scale - 1/2, or o * scale with corners aligned
## Cubic weights are Keys' (1981) with a = -3/4; positions beyond the ends repeat them.
<%!
    PARAMS = {"local": (32, 64, 128, 256), "groups_per_unit": (2, 4, 8, 16, 32),
              "least": (1024, 4096, 16384),  # wide: elements of a work-item, times what each reads
              "lines": (1, 4, 8, 16)}  # wide: outer lines for which positions are worked out once
    DEFAULT = {"wide": {"groups_per_unit": 2, "least": 4096, "lines": 8}, "many": {"local": 128, "groups_per_unit": 32}}

    def valid(params, facts):
        return params.get("local", 1) <= facts.max_work_group_size

    TAPS = {"nearest": 1, "nearest-exact": 1, "linear": 2, "cubic": 4}
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    taps = TAPS[mode]
    C = "float" if taps == 1 else T  # PyTorch finds neighbours in float32, whatever the dtype

    def x(i):
        return prelude.load(ctype, T, "x", i)
%>\
${prelude.extensions(T, ctype)}
typedef ${index} index_t;
typedef ${T} T;
typedef ${C} C;

static inline void taps_of(index_t o, index_t N, C scale, index_t *at, T *weight)
{
% if taps == 1:
    at[0] = min((index_t)floor(${"(o + 0.5f)" if mode == "nearest-exact" else "o"} * scale), N - 1);
    weight[0] = 1;
% else:
    % if align:
    const C source = o * scale;
    % else:
    const C source = ${"fmax(" if mode == "linear" else ""}(o + (C)0.5) * scale - (C)0.5${", (C)0)" if mode == "linear" else ""};
    % endif
    % if mode == "linear":
    at[0] = min((index_t)source, N - 1);
    at[1] = min(at[0] + 1, N - 1);
    weight[1] = clamp(source - at[0], (C)0, (C)1);
    weight[0] = 1 - weight[1];
    % else:
    const C a = (C)-0.75, whole = floor(source);
    const C t = source - whole, u = 1 - t, far_t = t + 1, far_u = u + 1;
    for (int i = 0; i < 4; i++) at[i] = clamp((index_t)whole + i - 1, (index_t)0, N - 1);
    weight[0] = ((a * far_t - 5 * a) * far_t + 8 * a) * far_t - 4 * a;
    weight[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    weight[2] = ((a + 2) * u - (a + 3)) * u * u + 1;
    weight[3] = ((a * far_u - 5 * a) * far_u + 8 * a) * far_u - 4 * a;
    % endif
% endif
}

kernel void ${function}(global ${ctype} *restrict out, const global ${ctype} *restrict x, index_t x_offset, index_t N,
                        index_t O, index_t inner, ${C} scale, index_t units, index_t each)
{
    x += x_offset;
% if way == "add" or way == "lines":
    // units are blocks of outer lines
    const index_t first = get_global_id(0) * each, last = min(units, first + each);
    index_t at[${taps}];
    T weight[${taps}];
    % if way == "add":
    for (index_t i = first * N * inner; i < last * N * inner; i++) out[i] = 0;
    for (index_t o = 0; o < O; o++) {
        taps_of(o, N, scale, at, weight);
        for (index_t u = first; u < last; u++) {
        % for t in range(taps):
            global ${ctype} *to${t} = out + (u * N + at[${t}]) * inner;
        % endfor
            const global ${ctype} *g = x + (u * O + o) * inner;
        % for t in range(taps):
            for (index_t k = 0; k < inner; k++) to${t}[k] += weight[${t}] * g[k];
        % endfor
        }
    }
    % else:
    for (index_t o = 0; o < O; o++) {
        taps_of(o, N, scale, at, weight);
        for (index_t u = first; u < last; u++) {
            T sum = 0;
        % for t in range(taps):
            sum += weight[${t}] * ${x(f"u * N + at[{t}]")};
        % endfor
            ${prelude.store(ctype, T, "out", "u * O + o", "sum")}
        }
    }
    % endif
% elif form == "wide":
    const index_t first = get_global_id(0) * each, last = min(units, first + each);
    for (index_t u = first; u < last; u++) {
${unit()}
        for (index_t k = 0; k < inner; k++) {
${element()}
        }
    }
% else:
    for (index_t e = get_global_id(0); e < units * inner; e += get_global_size(0)) {
        const index_t u = e / inner, k = e % inner;
${unit()}
${element()}
    }
% endif
}

<%def name="unit()">\
% if back:
<% shift = 0 if align or mode == "nearest" else 0.5 %>\
        // results that may have read i: the source's formula turned round, and rounded outwards; the ends take what was clamped
        const index_t i = u % N, row = u / N;
        const C low = (i - (C)${taps // 2} + (C)${shift if taps > 1 else 0}) / scale - (C)${shift} - (C)0.125;
        const C high = (i + (C)${max(1, taps // 2)} + (C)${shift if taps > 1 else 0}) / scale - (C)${shift} + (C)1.125;
        const index_t from = i == 0 || scale == 0 ? 0 : (index_t)clamp(low, (C)0, (C)O);
        const index_t to = i == N - 1 || scale == 0 ? O : (index_t)clamp(high, (C)0, (C)O);
% else:
        const index_t o = u % O, row = u / O;
        index_t at[${taps}];
        T weight[${taps}];
        taps_of(o, N, scale, at, weight);
% endif
</%def>
<%def name="element()">\
            T sum = 0;
% if back:
            for (index_t o = from; o < to; o++) {
                index_t at[${taps}];
                T weight[${taps}];
                taps_of(o, N, scale, at, weight);
                T w = 0;
    % for t in range(taps):
                w += at[${t}] == i ? weight[${t}] : (T)0;
    % endfor
                sum += w == 0 ? (T)0 : w * ${x("(row * O + o) * inner + k")};
            }
% else:
    % for t in range(taps):
            sum += weight[${t}] * ${x(f"(row * N + at[{t}]) * inner + k")};
    % endfor
% endif
            ${prelude.store(ctype, T, "out", "u * inner + k", "sum")}
</%def>
