## Rows brought to mean 0 and variance 1 (or, rms, to mean square 1), and the gradients.
##
##   forward    y = (x - m) * r * weight + bias           r = 1 / sqrt(var + eps); rms: m = 0, var = mean of x * x
##   backward   dx = r * (a - mean(a) - h * mean(a * h))  a = dy * weight, h = (x - m) * r; rms: without mean(a)
##              dweight = sum of dy * h, dbias = sum of dy, over the elements that share a weight
##
## Row u is P segments of Q neighbours: element (p, q) lies at u * row_step + p * step + q.
##   layer   P = 1, a weight an element (q)
##   group   P = channels of a group, Q = places; a weight a segment; where there is one place, P = 1, Q = channels of a
##           group, and a weight an element, that of group g from g * Q on
##   batch   P = samples, Q = places, rows lie side by side; a weight a row
##
## Variances are taken about the mean, block by block while a block is in the cache, and joined by the formula of Chan,
## Golub and LeVeque (1979); so that one pass over memory loses no digits to a large mean.
##
## wide, rows:     one work-item a row, vectors along q; the next row is fetched meanwhile, where it is short. A large
##                 result is written past the caches (`stream`).
##                 Of rows up to SEVERAL elements (P = 1) as many go together as a vector has `lanes`: their sums are the
##                 lanes of a vector, which takes three additions a row, and so are deviations and their reciprocals.
## wide, columns:  Q = 1 and rows side by side: strips of up to STRIP vectors, a lane a row, so that memory is read in
##                 long stretches; STACK elements of a row at a time are averaged, then squared while in the cache.
## many, group:    `span` work-items a row, as many rows a work-group as there is room for; partial results meet as
##                 teams.mako says: in 1.5 KB for 128 work-items.
##                 Rows of a multiple of four elements are read by vectors, where the arrays begin at one (`quads`).
##                 NVIDIA's assembler (sm_80) takes 63 to 72 registers for that, and 40 to 44 for single elements: an SM
##                 with 64 K of them holds 896 work-items with 16 bytes on their way each, or 1408 with 4.
##                 Few rows, much longer than PIECE elements, are cut into pieces (`stage`): "part" keeps what a piece adds
##                 to its row's statistics or sums, "last" joins those of its row, in order, and writes a piece.
## many, serial:   Q = 1 and rows side by side: one work-item a row, neighbours read neighbours.
##
## The sums for weights: `row` writes them; `segment` writes one a sample, `element` one a worker, for a reduction after.
<%!
    PARAMS = {"local": (32, 64, 128, 256), "strip": (4, 8, 16, 32),
              # elements of a row up to which several rows go together: forward; in the backward a quarter as many
              "several": (0, 32, 64, 128, 256, 512),
              "stream": (1 << 22, 1 << 23, 1 << 24, 1 << 25)}  # bytes of a result from which on it is streamed
    DEFAULT = {"wide": {"local": 1, "strip": 16, "stream": 1 << 24, "several": 128},
               "many": {"local": 128, "strip": 1, "stream": 1 << 24}}
    BLOCK, STACK = 2048, 8
    PIECE = 8192  # elements, as of softmax
    NEXT = 4  # elements of a column that are fetched ahead while its gradient is written
    SHORT = 8192  # elements of a row that is fetched ahead

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    team_work = context.lookup.get_template("teams.mako").module
    W = prelude.vector_width(T) if form == "wide" else 1
    forward = kind == "forward"
    joined = not (layout in ("columns", "serial") or affine == "row")  # a row is one stretch of memory

    CHAN = """const T d = m_other - m, share = n_other / fmax(n + n_other, (T)1);
            m += d * share; m2 += m2_other + d * d * share * n; n += n_other;"""

    whole = layout == "group"  # vectors are loaded and stored where they are aligned only

    def x(i, w=1):
        return prelude.load(ctype, T, "x", i, w, whole)

    def dy(i, w=1):
        return prelude.load(ctype, T, "dy", i, w, whole)

    def weight(i, w=1):
        return prelude.load(wtype, T, "weight", i, w, whole)

    def bias(i, w=1):
        return prelude.load(wtype, T, "bias", i, w, whole)

    def put(i, value, w=1):
        return prelude.store(ctype, T, "out", i, value, w, whole)

    def walked(body):
        """Statements: body(w), of w elements from k on, for all of a team's elements: by vectors where they are whole."""
        one = f"for (index_t k = k0 + lane; k < stop; k += team) {{ {body(1)} }}"
        if not quads:
            return one
        return f"""if (aligned)
            for (index_t k = k0 + 4 * lane; k < stop; k += 4 * team) {{ {body(4)} }}
        else
            {one}"""

    def aligned():
        """Condition: all that a team reads and writes by vectors begins at one."""
        own = affine == "element"
        used = [(ctype, "x"), *([] if forward else [(ctype, "dy")]), *([] if stage == "part" else [(ctype, "out")]),
                *([(wtype, "weight")] if own and has_weight else []),
                *([(wtype, "bias")] if own and has_bias and forward else [])]
        return prelude.whole(used, 4)

    def putv(i, value, w=W):
        """The same of a vector, past the caches where that is wanted."""
        return f"STREAM(({value}), (global {vec(w)} *)(out + {i}));" if stream and w > 1 else put(i, value, w)

    def place(q):
        """Where the weight of a row's element q lies."""
        return f"own + {q}" if grouped else q

    def vec(w):
        return prelude.vec(T, w)

    def result(at, q, w, center):
        """y at a position; q is where an element's own weight lies, and a shared one is in `scale` and `shift`."""
        value = f"({x(at, w)} - {center}) * r" if center else f"{x(at, w)} * r"
        scale = weight(place(q), w) if affine == "element" else "scale"
        shift = bias(place(q), w) if affine == "element" else "shift"
        return value + (f" * {scale}" if has_weight else "") + (f" + {shift}" if has_bias else "")

    def normal(at, w=1):
        return f"({x(at, w)}{'' if rms else ' - m'}) * r"
%>
${prelude.extensions(T, ctype, wtype, rtype)}
typedef ${index} index_t;
typedef ${T} T;
% if form == "wide":
${prelude.joined(T, W)}
${prelude.stream()}${prelude.ahead()}\
% endif
<%def name="lanes_sum(into, vector)">\
${into} += sum_of(${vector});\
</%def>\
<%def name="own_weights(advance)">\
% if affine == "element" and grouped:
    % if advance:
        own = own + Q == groups * Q ? 0 : own + Q;
    % else:
    index_t own = first % groups * Q;  // where this row's weights begin
    % endif
% endif
</%def>\
<%def name="settle(u)">\
        // The row's statistics: kept for the gradients, and mixed into the running ones.
        mean[${u}] = ${"0" if rms else "m"};
        rstd[${u}] = r;
% if running:
        {
    % if running == "cumulative":
            const T part = (T)1 / (T)count[count_offset];
    % else:
            const T part = momentum;
    % endif
            const T unbiased = m2 / (total - 1);
            const index_t rm = running_mean_offset + ${u}, rv = running_var_offset + ${u};
            ${prelude.store(rtype, T, "running_mean", "rm", f"(1 - part) * {prelude.load(rtype, T, 'running_mean', 'rm')} + part * m")}
            ${prelude.store(rtype, T, "running_var", "rv", f"(1 - part) * {prelude.load(rtype, T, 'running_var', 'rv')} + part * unbiased")}
        }
% endif
</%def>\
<%def name="settle_lanes(w)">\
            ${prelude.store(T, T, "mean", "u", "m", w)}
            ${prelude.store(T, T, "rstd", "u", "r", w)}
% if running:
            {
                const T part = ${"(T)1 / (T)count[count_offset]" if running == "cumulative" else "momentum"};
                const ${vec(w)} unbiased = m2 / (total - 1);
                const index_t rm = running_mean_offset + u, rv = running_var_offset + u;
                ${prelude.store(rtype, T, "running_mean", "rm", f"(1 - part) * {prelude.load(rtype, T, 'running_mean', 'rm', w)} + part * m", w)}
                ${prelude.store(rtype, T, "running_var", "rv", f"(1 - part) * {prelude.load(rtype, T, 'running_var', 'rv', w)} + part * unbiased", w)}
            }
% endif
</%def>\
<%def name="shared(p)">\
% if affine == "segment":
    % if has_weight:
            const T scale = ${weight(f"(u % groups) * P + {p}")};
    % endif
    % if has_bias:
            const T shift = ${bias(f"(u % groups) * P + {p}")};
    % endif
% elif affine == "row":
    % if has_weight:
            const T scale = ${weight("u")};
    % endif
    % if has_bias:
            const T shift = ${bias("u")};
    % endif
% endif
</%def>\
## As many rows at once as there are lanes, each walked in vectors of as many elements.
<%def name="several()">\
<% V, w = vec(lanes), lanes %>\
    for (; u + ${lanes} <= last; u += ${lanes}) {
        ${V} parts[${lanes}];
    % if forward:
        T ms[${lanes}], rs[${lanes}];
        % if rms:
        const ${V} m = (${V})(0);
        % else:
        for (int row = 0; row < ${lanes}; ++row) {
            const index_t at = (u + row) * row_step;
            ${V} v1 = (${V})(0);
            T t1 = 0;
            index_t q;
            for (q = 0; q + ${lanes} <= Q; q += ${lanes}) {
                v1 += ${x("at + q", lanes)};
                AHEAD(x + at + ${lanes} * Q + q, 0);
            }
            for (; q < Q; ++q) t1 += ${x("at + q")};
            v1.s0 += t1;
            parts[row] = v1;
        }
        ${prelude.row_sums(T, lanes, "parts", "total_of")}
        const ${V} m = total_of / total;
        % endif
        vstore${lanes}(m, 0, ms);
        for (int row = 0; row < ${lanes}; ++row) {
            const index_t at = (u + row) * row_step;
            const T m = ms[row];
            ${V} v1 = (${V})(0);
            T t1 = 0;
            index_t q;
            for (q = 0; q + ${lanes} <= Q; q += ${lanes}) {
                const ${V} d = ${x("at + q", lanes)} - m;
                v1 += d * d;
            }
            for (; q < Q; ++q) {
                const T d = ${x("at + q")} - m;
                t1 += d * d;
            }
            v1.s0 += t1;
            parts[row] = v1;
        }
        ${prelude.row_sums(T, lanes, "parts", "squares_of")}
        const ${V} r = 1 / sqrt(squares_of / total + eps);
        vstore${lanes}(r, 0, rs);
        ${prelude.store(T, T, "mean", "u", "m", lanes)}
        ${prelude.store(T, T, "rstd", "u", "r", lanes)}
        for (int row = 0; row < ${lanes}; ++row) {
            const index_t at = (u + row) * row_step;
            const T m = ms[row], r = rs[row];
            index_t q;
            for (q = 0; q + ${lanes} <= Q; q += ${lanes}) ${putv("at + q", result("at + q", "q", lanes, "" if rms else "m"), lanes)}
            for (; q < Q; ++q) ${put("at + q", result("at + q", "q", 1, "" if rms else "m"))}
            ${own_weights(True)}
        }
    % else:
        ${V} others[${lanes}];
        T ones[${lanes}], twos[${lanes}];
        % if grouped:
        const index_t begin = own;
        % endif
        for (int row = 0; row < ${lanes}; ++row) {
            const index_t at = (u + row) * row_step;
            const T r = rstd[u + row]${"" if rms else ", m = mean[u + row]"};
            ${V} v1 = (${V})(0), v2 = v1;
            T t1 = 0, t2 = 0;
            index_t q;
        % for w, walk in ((lanes, f"for (q = 0; q + {lanes} <= Q; q += {lanes})"), (1, "for (; q < Q; ++q)")):
            ${walk} {
                ${gathered("at + q", w)}
            }
        % endfor
            v1.s0 += t1;
            v2.s0 += t2;
            parts[row] = v1;
            others[row] = v2;
            ${own_weights(True)}
        }
        ${prelude.row_sums(T, lanes, "parts", "sum_a")}
        ${prelude.row_sums(T, lanes, "others", "sum_ah")}
        vstore${lanes}(sum_a / total, 0, ones);
        vstore${lanes}(sum_ah / total, 0, twos);
        % if grouped:
        own = begin;
        % endif
        for (int row = 0; row < ${lanes}; ++row) {
            const index_t at = (u + row) * row_step;
            const T r = rstd[u + row]${"" if rms else ", m = mean[u + row]"};
            const T s1 = ${"0" if rms else "ones[row]"}, s2 = twos[row];
            index_t q;
        % for w, walk in ((lanes, f"for (q = 0; q + {lanes} <= Q; q += {lanes})"), (1, "for (; q < Q; ++q)")):
            ${walk} {
                ${spread("at + q", w)}
            }
        % endfor
            ${own_weights(True)}
        }
    % endif
    }
</%def>\
## What element q of a row adds to the sums of the backward: its own weight's, and the row's.
<%def name="gathered(at, w)">\
                const ${vec(w)} g = ${dy(at, w)}, h = ${normal(at, w)};
            % if wanted and affine == "element":
                ${prelude.store(T, T, "slopes", place("q"), f"{prelude.load(T, T, 'slopes', place('q'), w)} + g * h", w)}
                ${prelude.store(T, T, "shifts", place("q"), f"{prelude.load(T, T, 'shifts', place('q'), w)} + g", w)}
            % endif
            % if short and w > 1:
                AHEAD(x + ${at} + ${lanes or 1} * P * Q, 0);
                AHEAD(dy + ${at} + ${lanes or 1} * P * Q, 0);
            % endif
<% scaled = f"g * {weight(place('q'), w)}" if affine == "element" and has_weight else "g" %>
                const ${vec(w)} a = ${scaled};
                ${"v" if w > 1 else "t"}1 += a;
                ${"v" if w > 1 else "t"}2 += a * h;
</%def>\
## Its gradient.
<%def name="spread(at, w)">\
                const ${vec(w)} g = ${dy(at, w)}, h = ${normal(at, w)};
<% scaled = "g" if not has_weight else f"g * {weight(place('q'), w)}" if affine == "element" else "g * scale" %>
                ${putv(at, f"r * ({scaled} - s1 - h * s2)", w)}
</%def>\
% if layout == "group":
${team_work.opening(joining, group, T)}\
    % if quads:
${prelude.joined(T, 4)}\
    % endif
% endif
kernel void ${function}(global ${ctype} *out, const global ${ctype} *x, index_t x_offset,
% if not forward:
                        const global ${ctype} *dy, index_t dy_offset, global T *sums,
% endif
                        const global ${wtype} *weight, index_t weight_offset,
% if forward:
                        const global ${wtype} *bias, index_t bias_offset, T eps,
% endif
% if running:
                        global ${rtype} *running_mean, index_t running_mean_offset,
                        global ${rtype} *running_var, index_t running_var_offset, T momentum,
                        const global long *count, index_t count_offset,
% endif
                        global T *mean, global T *rstd, index_t P, index_t Q, index_t step, index_t row_step,
                        index_t groups, index_t rows, index_t span, index_t units${", global T *parts, index_t piece, index_t pieces" if stage else ""})
{
    x += x_offset;
    weight += weight_offset;
% if forward:
    bias += bias_offset;
% else:
    dy += dy_offset;
% endif
    const T total = (T)P * (T)Q;
% if form == "wide" and layout == "rows":
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = (index_t)get_global_id(0) * share;
    const index_t last = min(first + share, units);
    ${own_weights(False)}
<% V = vec(W) %>
    index_t u = first;
    % if not forward and wanted and affine == "element":
    global T *const slopes = sums + (index_t)get_global_id(0) * groups * Q;
    global T *const shifts = slopes + (index_t)get_global_size(0) * groups * Q;
    for (index_t q = 0; q < groups * Q; ++q) slopes[q] = 0;
    for (index_t q = 0; q < groups * Q; ++q) shifts[q] = 0;
    % endif
    % if lanes:
    ${several()}
    % endif
    % if forward:
    for (; u < last; ++u) {
        const index_t base = u * row_step;
        T m = 0, m2 = 0;
        {
            index_t seen = 0;
            const index_t segments = ${"1" if joined else "P"}, length = ${"P * Q" if joined else "Q"};
            for (index_t p = 0; p < segments; ++p)
                for (index_t q0 = 0; q0 < length; q0 += ${BLOCK}) {
                    const index_t at = base + p * step + q0, n = min(length - q0, (index_t)${BLOCK});
                    index_t q;
                    T center = 0, square = 0;
        % if not rms:
                    ${V} sum0 = (${V})(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
                    q = 0;
            % for many in (4, 1):
                    for (; q + ${many * W} <= n; q += ${many * W}) {
                % for j in range(many):
                        sum${j} += ${x(f"at + q + {j * W}", W)};
                % endfor
                    }
            % endfor
                    ${lanes_sum("center", "(sum0 + sum1) + (sum2 + sum3)")}
                    for (; q < n; ++q) center += ${x("at + q")};
                    center /= (T)n;
        % endif
                    ${V} squares0 = (${V})(0), squares1 = squares0, squares2 = squares0, squares3 = squares0;
                    q = 0;
            % for many in (4, 1):
                    for (; q + ${many * W} <= n; q += ${many * W}) {
                % for j in range(many):
                        const ${V} d${j} = ${x(f"at + q + {j * W}", W)} - center;
                        squares${j} += d${j} * d${j};
                    % if short:
                        AHEAD(x + at + P * Q + q + ${j * W}, 0);
                    % endif
                % endfor
                    }
            % endfor
                    ${lanes_sum("square", "(squares0 + squares1) + (squares2 + squares3)")}
                    for (; q < n; ++q) {
                        const T d = ${x("at + q")} - center;
                        square += d * d;
                    }
        % if rms:
                    m2 += square;
        % else:
                    const T d = center - m, part = (T)n / (T)(seen + n);
                    m += d * part;
                    m2 += square + d * d * part * (T)seen;
                    seen += n;
        % endif
                }
        }
        const T r = 1 / sqrt(m2 / total + eps);
        ${settle("u")}
        for (index_t p = 0; p < P; ++p) {
            const index_t at = base + p * step;
            index_t q;
            ${shared("p")}
            for (q = 0; q + ${W} <= Q; q += ${W}) ${putv("at + q", result("at + q", "q", W, "" if rms else "m"))}
            for (; q < Q; ++q) ${put("at + q", result("at + q", "q", 1, "" if rms else "m"))}
        }
        ${own_weights(True)}
    }
    % else:
    for (; u < last; ++u) {
        const index_t base = u * row_step;
        const T r = rstd[u];
        % if not rms:
        const T m = mean[u];
        % endif
        T s1 = 0, s2 = 0;
        % if wanted and affine == "row":
        T slope = 0, shift_sum = 0;
        % endif
        for (index_t p = 0; p < P; ++p) {
            const index_t at = base + p * step;
            index_t q;
            ${V} v1 = (${V})(0), v2 = (${V})(0);
            T t1 = 0, t2 = 0;
            ${shared("p")}
        % for w, walk in ((W, f"for (q = 0; q + {W} <= Q; q += {W})"), (1, "for (; q < Q; ++q)")):
            ${walk} {
                ${gathered("at + q", w)}
            }
        % endfor
            ${lanes_sum("t1", "v1")}
            ${lanes_sum("t2", "v2")}
        % if wanted and affine == "segment":
            const index_t cell = u * P + p;
            sums[cell] = t2;
            sums[rows * P + cell] = t1;
        % endif
            s1 += t1${" * scale" if affine in ("segment", "row") and has_weight else ""};
            s2 += t2${" * scale" if affine in ("segment", "row") and has_weight else ""};
        % if wanted and affine == "row":
            slope += t2;
            shift_sum += t1;
        % endif
        }
        % if wanted and affine == "row":
        sums[u] = slope;
        sums[rows + u] = shift_sum;
        % endif
        s1 = ${"0" if rms else "s1 / total"};
        s2 /= total;
        for (index_t p = 0; p < P; ++p) {
            const index_t at = base + p * step;
            index_t q;
            ${shared("p")}
        % for w, walk in ((W, f"for (q = 0; q + {W} <= Q; q += {W})"), (1, "for (; q < Q; ++q)")):
            ${walk} {
                ${spread("at + q", w)}
            }
        % endfor
        }
        ${own_weights(True)}
    }
    % endif
    % if stream:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
% elif form == "wide" or layout == "serial":
    % if form == "wide":
<% V = vec(W) %>
    const index_t strips = (rows + span - 1) / span;
    for (index_t one = get_global_id(0); one < strips; one += get_global_size(0)) {
        const index_t u0 = one * span, end = min(u0 + span, rows);
        const int vectors = (int)((end - u0) / ${W});
        % if forward:
        ${V} ms[${strip}], squares[${strip}];
        for (int v = 0; v < vectors; ++v) ms[v] = squares[v] = (${V})(0);
        for (index_t p0 = 0; p0 < P; p0 += ${STACK}) {
            const index_t p1 = min(p0 + ${STACK}, P);
            const T n = (T)(p1 - p0), part = n / (T)p1;
            for (int v = 0; v < vectors; ++v) {
                const index_t u = u0 + v * ${W};
                ${V} center = (${V})(0), square = (${V})(0);
                for (index_t p = p0; p < p1; ++p) center += ${x("p * step + u", W)};
                center /= n;
                for (index_t p = p0; p < p1; ++p) {
                    const ${V} d = ${x("p * step + u", W)} - center;
                    square += d * d;
                    AHEAD(x + (p + ${STACK}) * step + u, 0);
                }
                const ${V} d = center - ms[v];
                ms[v] += d * part;
                squares[v] += square + d * d * (part * (T)p0);
            }
        }
        for (int v = 0; v < vectors; ++v) {
            const index_t u = u0 + v * ${W};
            const ${V} m = ms[v], m2 = squares[v], r = 1 / sqrt(m2 / total + eps);
            ${settle_lanes(W)}
            squares[v] = r;
        }
        for (index_t p = 0; p < P; ++p)
            for (int v = 0; v < vectors; ++v) {
                const index_t u = u0 + v * ${W};
                const ${V} m = ms[v], r = squares[v];
            % if has_weight:
                const ${V} scale = ${weight("u", W)};
            % endif
            % if has_bias:
                const ${V} shift = ${bias("u", W)};
            % endif
                ${putv("p * step + u", result("p * step + u", "u", W, "m"))}
            }
        % else:
        ${V} firsts[${strip}], seconds[${strip}];
        for (int v = 0; v < vectors; ++v) firsts[v] = seconds[v] = (${V})(0);
        for (index_t p0 = 0; p0 < P; p0 += ${STACK}) {
            const index_t p1 = min(p0 + ${STACK}, P);
            for (int v = 0; v < vectors; ++v) {
                const index_t u = u0 + v * ${W};
                const ${V} m = ${prelude.load(T, T, "mean", "u", W)}, r = ${prelude.load(T, T, "rstd", "u", W)};
                ${V} one = firsts[v], two = seconds[v];
                for (index_t p = p0; p < p1; ++p) {
                    const ${V} g = ${dy("p * step + u", W)};
                    one += g;
                    two += g * ${normal("p * step + u", W)};
                    AHEAD(x + (p + ${STACK}) * step + u, 0);
                    AHEAD(dy + (p + ${STACK}) * step + u, 0);
                }
                firsts[v] = one;
                seconds[v] = two;
            }
        }
        for (int v = 0; v < vectors; ++v) {
            const index_t u = u0 + v * ${W};
            % if wanted:
            ${prelude.store(T, T, "sums", "u", "seconds[v]", W)}
            ${prelude.store(T, T, "sums", "rows + u", "firsts[v]", W)}
            % endif
            firsts[v] /= total;
            seconds[v] /= total;
        }
        for (index_t p = 0; p < P; ++p)
            for (int v = 0; v < vectors; ++v) {
                const index_t u = u0 + v * ${W};
                const ${V} m = ${prelude.load(T, T, "mean", "u", W)}, r = ${prelude.load(T, T, "rstd", "u", W)};
            % if has_weight:
                const ${V} scale = ${weight("u", W)};
            % endif
                const ${V} g = ${dy("p * step + u", W)}, h = ${normal("p * step + u", W)};
                AHEAD(x + (p + ${NEXT}) * step + u, 0);
                AHEAD(dy + (p + ${NEXT}) * step + u, 0);
                ${putv("p * step + u", f"r{' * scale' if has_weight else ''} * (g - firsts[v] - h * seconds[v])")}
            }
        % endif
        for (index_t u = u0 + vectors * ${W}; u < end; ++u) {
    % else:
    for (index_t one = get_global_id(0); one < rows; one += get_global_size(0)) {
        const index_t u = one;
        {
    % endif
<% w, V = 1, "T" %>
        % if has_weight:
            const ${V} scale = ${weight("u", w)};
        % endif
        % if forward:
            % if has_bias:
            const ${V} shift = ${bias("u", w)};
            % endif
            ${V} m = (${V})(0), m2 = (${V})(0);
            for (index_t p = 0; p < P; ++p) {
                const ${V} d = ${x("p * step + u", w)} - m;
                m += d / (T)(p + 1);
                m2 += d * (${x("p * step + u", w)} - m);
            }
            const ${V} r = 1 / sqrt(m2 / total + eps);
            ${settle_lanes(1)}
            for (index_t p = 0; p < P; ++p) ${put("p * step + u", result("p * step + u", "u", w, "m"), w)}
        % else:
            const ${V} m = ${prelude.load(T, T, "mean", "u", w)}, r = ${prelude.load(T, T, "rstd", "u", w)};
            ${V} s1 = (${V})(0), s2 = (${V})(0);
            for (index_t p = 0; p < P; ++p) {
                const ${V} g = ${dy("p * step + u", w)};
                s1 += g;
                s2 += g * ${normal("p * step + u", w)};
            }
            % if wanted:
            ${prelude.store(T, T, "sums", "u", "s2", w)}
            ${prelude.store(T, T, "sums", "rows + u", "s1", w)}
            % endif
            s1 /= total;
            s2 /= total;
            for (index_t p = 0; p < P; ++p) {
                const ${V} g = ${dy("p * step + u", w)}, h = ${normal("p * step + u", w)};
                ${put("p * step + u", f"r{' * scale' if has_weight else ''} * (g - s1 - h * s2)", w)}
            }
        % endif
        }
    }
% else:
    // A team of work-items a row. Position k of a row is (k / Q, k % Q); where the row is one stretch that is base + k.
    // A row (or a piece of one) that is none repeats the last, of length 0: every work-item comes to every barrier.
    ${team_work.place(joining, group, T, T, T)}
    const int team = (int)span, lane = item % team, teams = ${group} / team;
    % if quads:
    const bool aligned = ${aligned()};
    % endif
<%
    at = "base + k" if joined else "base + k / Q * step + k % Q"

    def summed(value, w):
        return value if w == 1 else f"sum_of({value})"

    def segment_of():
        return capture(shared, "(k / Q)") if affine == "segment" else ""

    def added(sums, value, w):
        """Statement: what a weight's element gets from this row."""
        to = f"{sums} + {place('k')}"
        if w > 1:
            return f"vstore{w}({value if stage else f'vload{w}(0, {to}) + {value}'}, 0, {to});"
        return f"*({to}) {'' if stage else '+'}= {value};"

    def gradient_sums(w):
        """The sums of a row's gradient, and what its weights get."""
        V = vec(w)
        own = added("slopes", "g * h", w) + added("shifts", "g", w) if wanted and affine == "element" else ""
        scaled = f"g * {weight(place('k'), w)}" if affine == "element" and has_weight else "g"
        return f"""const index_t at = {at};
            const {V} g = {dy("at", w)}, h = {normal("at", w)};
            {own}
            const {V} a = {scaled};
            s1 += {summed("a", w)};
            s2 += {summed("a * h", w)};"""

    def slope(w):
        """The gradient at k."""
        scaled = "g" if not has_weight else f"g * {weight(place('k'), w)}" if affine == "element" else "g * scale"
        return f"""{segment_of()}
            const index_t at = {at};
            const {vec(w)} g = {dy("at", w)}, h = {normal("at", w)};
            {put("at", f"r * ({scaled} - s1 - h * s2)", w)}"""
%>
<%def name="row_of()">\
        const bool real = u0 + item / team < units;
    % if stage:
        const index_t one = min(u0 + item / team, units - 1), u = one / pieces, k0 = (one - u * pieces) * piece;
        const index_t stop = real ? min(k0 + piece, P * Q) : k0;
    % else:
        const index_t u = min(u0 + item / team, units - 1), k0 = 0, stop = real ? P * Q : 0;
    % endif
        const index_t base = u * row_step;
    % if grouped:
        const index_t own = u % groups * Q;
    % endif
</%def>\
<%def name="meet(*names)">
        // Sums of the lanes' values, in every lane.
        ${team_work.join(joining, names, [T] * len(names), " ".join(f"{n} += {n}_other;" for n in names), "add")}
</%def>\
    % if forward:
    for (index_t u0 = (index_t)get_group_id(0) * teams; u0 < units; u0 += (index_t)get_num_groups(0) * teams) {
${row_of()}\
        T m = 0, m2 = 0, n = 0;
    % if stage == "last":
        for (index_t p = lane; p < pieces; p += team) {
            const global T *part = parts + 3 * (u * pieces + p);
        % if rms:
            m2 += part[1];
        % else:
            const T m_other = part[0], m2_other = part[1], n_other = part[2];
            ${CHAN}
        % endif
        }
    % else:
        % if rms:
        ${walked(lambda w: f"const {vec(w)} value = {x(at, w)}; m2 += {summed('value * value', w)};")}
        % else:
            % if quads:
        if (aligned) {
            ${vec(4)} middle = (${vec(4)})(0), squares = (${vec(4)})(0);  // of each lane of the vectors
            for (index_t k = k0 + 4 * lane; k < stop; k += 4 * team) {
                const ${vec(4)} value = ${x(at, 4)}, d = value - middle;
                n += 1;
                middle += d / n;
                squares += d * (value - middle);
            }
            m = sum_of(middle) / 4;
            middle -= m;
            m2 = sum_of(squares) + n * sum_of(middle * middle);
            n *= 4;
        } else
            % endif
        for (index_t k = k0 + lane; k < stop; k += team) {
            const T value = ${x(at)}, d = value - m;
            n += 1;
            m += d / n;
            m2 += d * (value - m);
        }
        % endif
    % endif
        % if rms:
        ${meet("m2")}
        % else:
        ${team_work.join(joining, ["m", "m2", "n"], [T] * 3, CHAN)}
        % endif
    % if stage == "part":
        if (real && lane == 0) {
            parts[3 * one] = m;
            parts[3 * one + 1] = m2;
            parts[3 * one + 2] = n;
        }
    % else:
        const T r = 1 / sqrt(m2 / total + eps);
        if (real && lane == 0 && k0 == 0) {
            ${settle("u")}
        }
        ${shared("0") if affine == "row" else ""}
        ${walked(lambda w: segment_of() + put(at, result(at, "k", w, "" if rms else "m"), w))}
    % endif
    }
    % else:
        % if wanted and affine == "element" and not stage:
    // A lane owns the positions it walks over, in every row: nobody else adds to them.
    global T *const slopes = sums + ((index_t)get_group_id(0) * teams + item / team) * groups * Q;
    global T *const shifts = slopes + (index_t)get_num_groups(0) * teams * groups * Q;
    for (index_t g = 0; g < groups; ++g) {
            % if quads:
        if (aligned)
            for (index_t q = 4 * lane; q < Q; q += 4 * team) {
                vstore4((${vec(4)})(0), 0, slopes + g * Q + q);
                vstore4((${vec(4)})(0), 0, shifts + g * Q + q);
            }
        else
            % endif
        for (index_t q = lane; q < Q; q += team) slopes[g * Q + q] = shifts[g * Q + q] = 0;
    }
        % endif
    for (index_t u0 = (index_t)get_group_id(0) * teams; u0 < units; u0 += (index_t)get_num_groups(0) * teams) {
${row_of()}\
        const T r = rstd[u];
        % if not rms:
        const T m = mean[u];
        % endif
        T s1 = 0, s2 = 0;
    % if stage == "last":
        for (index_t p = lane; p < pieces; p += team) {
            const global T *part = parts + 2 * (u * pieces + p);
            s1 += part[0];
            s2 += part[1];
        }
        ${meet("s1", "s2")}
    % else:
        % if affine == "segment":
        const index_t p1 = stop / Q;
        % endif
        % if wanted and affine == "element" and stage:
        // A row has sums of its own: those of the groups' rows lie side by side.
        global T *const slopes = sums + u / groups * groups * Q;
        global T *const shifts = slopes + rows * Q;
        % endif
        % if affine == "segment" and segments == "lanes":
        // Short segments: a lane takes whole ones.
        for (index_t p = k0 / Q + lane; p < p1; p += team) {
            T t1 = 0, t2 = 0;
            ${shared("p")}
            for (index_t q = 0; q < Q; ++q) {
                const index_t at = base + p * Q + q;
                const T g = ${dy("at")};
                t1 += g;
                t2 += g * ${normal("at")};
            }
            % if wanted:
            sums[u * P + p] = t2;
            sums[rows * P + u * P + p] = t1;
            % endif
            s1 += t1${" * scale" if has_weight else ""};
            s2 += t2${" * scale" if has_weight else ""};
        }
        ${meet("s1", "s2")}
        % elif affine == "segment":
        for (index_t i = 0; i < ${"piece / Q" if stage else "P"}; ++i) {
            const index_t p = min(k0 / Q + i, P - 1), q1 = k0 / Q + i < p1 ? Q : 0;
            T t1 = 0, t2 = 0;
            ${shared("p")}
            for (index_t q = lane; q < q1; q += team) {
                const index_t at = base + p * Q + q;
                const T g = ${dy("at")};
                t1 += g;
                t2 += g * ${normal("at")};
            }
            ${meet("t1", "t2")}
            % if wanted:
            if (q1 > 0 && lane == 0) {
                sums[u * P + p] = t2;
                sums[rows * P + u * P + p] = t1;
            }
            % endif
            s1 += t1${" * scale" if has_weight else ""};
            s2 += t2${" * scale" if has_weight else ""};
        }
        % else:
        ${walked(gradient_sums)}
        ${meet("s1", "s2")}
        % endif
    % endif
    % if stage == "part":
        if (real && lane == 0) {
            parts[2 * one] = s1;
            parts[2 * one + 1] = s2;
        }
    % else:
        % if affine == "row":
        ${shared("0")}
            % if wanted:
        if (real && lane == 0 && k0 == 0) {
            sums[u] = s2;
            sums[rows + u] = s1;
        }
            % endif
            % if has_weight:
        s1 *= scale;
        s2 *= scale;
            % endif
        % endif
        s1 = ${"0" if rms else "s1 / total"};
        s2 /= total;
        ${walked(slope)}
    % endif
    }
    % endif
% endif
}
