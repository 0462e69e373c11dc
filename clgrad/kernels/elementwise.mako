## out[i] = f(a[i], b[i], ...) for every element i; the expression comes from the op's record.
##
## flat:     all arrays have one memory order without gaps, so i counts memory positions.
## strided:  the collapsed dimensions are walked row by row; the innermost one is the row, cut into segments so that
##           a few long rows still occupy every core.
## tiled:    strided, where an operand's memory runs along the last dimension but one (mode t), DOWN x ACROSS elements a
##           unit, and the next unit is the one below: squares of W x W are read along its memory, a vector a line, and
##           transposed in registers, so that every line of memory is touched once (wide-core only).
##
## A large flat or tiled result is written past the caches (`stream`): its lines need not be read before, and do not
## displace each other where they are a power of two apart (wide-core only).
##
##               q ->  out            out[p][q] = f(square[q][p], ...)
##             p       v v v v        log2(W) steps: in step d, vectors r and r + d swap their lanes
##             |       t stands on end: its lines run along p        that differ in bit d: (a b / c d) to (a c / b d)
## Operand modes: v unit stride along the row (or flat), z one element a row, g any stride, b one element in all,
## k a scalar argument, t transposed (see tiled).
<%!
    PARAMS = {"groups_per_unit": (1, 2, 4, 8, 16), "local": (64, 128, 256),
              "stream": (1 << 22, 1 << 23, 1 << 24, 1 << 25)}  # bytes of a result from which on it is streamed
    DOWN, ACROSS = 256, 16
    DEFAULT = {"wide": {"groups_per_unit": 4, "local": 1, "stream": 1 << 24},
               "many": {"groups_per_unit": 16, "local": 256, "stream": 1 << 24}}

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    W = prelude.vector_width(T) if vector else 1
    if form == "many":
        W = 4 if vector and layout == "flat" and T not in prelude.PARTS else 1
    whole = form == "many" and W > 1  # vectors are loaded and stored where they are aligned only
    functions = context.lookup.get_template("functions.mako").module
    own = functions.used(expr, T, form)
    n_in = len(ins)
    widths = sorted({1, W}, reverse=True)
    modes = [mode for _, mode in ins]
    row_width = W if "g" not in modes and out_mode == "v" else 1
    part = prelude.PARTS.get(T)  # of a complex number
    scalar_type = "long" if T in ("char", "short", "int", "long", "uchar", "ushort", "uint") else T
%>
${prelude.extensions(T, out, *[c for c, _ in ins])}
typedef ${index} index_t;
% for w in widths:

#define T ${prelude.vec(T, w)}
    % if part:
#define R ${part}
#define K(v) ((T)(${'v' if part == 'double' else 'v##f'}, 0))
#define ZERO ((T)(0, 0))
#define ONE ((T)(1, 0))
<%include file="complex.mako" args="part=part"/>
    % else:
#define K(v) ((T)(${'v' if T == 'double' else 'v##f'}))
#define ZERO ((T)(0))
#define ONE ((T)(1))
    % endif
% if w == 1:
${header}
% endif
${functions.text(own, w)}\
static inline ${prelude.vec(prelude.mask_type(T), w) if mask and w > 1 else 'int' if mask else 'T'} apply${w}(${', '.join(f'T {n}' for n in names) or 'void'})
{
    return ${expr};
}
    % for name in own:
#undef ${name}
    % endfor
#undef T
#undef K
#undef ZERO
#undef ONE
% endfor
<%
    # A mask is -1 or 0 in each lane of a vector, 1 or 0 in a scalar; bools in memory are 1 or 0.
    def stored(value, w):
        if mask:
            if w == 1:
                return prelude.store(out, "int", "out", "o", f"({value}) != 0")
            return prelude.store(out, prelude.mask_type(T), "out", "o", f"-({value})", w, whole)
        if out_bool and part:
            return prelude.store(out, "int", "out", "o", f"any(({value}) != ({T})(0))")
        if out_bool:
            kind = prelude.mask_type(T)
            zero = f"({prelude.vec(T, w)})(0)"
            if w == 1:
                return prelude.store(out, "int", "out", "o", f"({value}) != 0")
            return prelude.store(out, kind, "out", "o", f"-(({value}) != {zero})", w, whole)
        return prelude.store(out, T, "out", "o", value, w, whole)

    def read(j, w, p=0):
        """Operand j at the current position."""
        ctype, mode = ins[j]
        if mode == "k" and part:
            return f"({T})(k{j}, k{j}_imag)"
        if mode == "k":
            return f"({prelude.vec(T, w)})(k{j})" if w > 1 else f"({T})k{j}"
        if mode == "t" and w > 1:
            return f"t{j}_{p}"
        if mode in "bz":
            return f"({prelude.vec(T, w)})(c{j})" if w > 1 else f"c{j}"
        return prelude.load(ctype, T, f"a{j}", f"i{j}", w, whole)

    def evaluate(w, p=0):
        return f"apply{w}({', '.join(read(j, w, p) for j in range(n_in))})"

    def parameter(j, ctype, mode):
        if mode != "k":
            return f"const global {ctype} *a{j}, index_t a{j}_offset"
        return f"{part} k{j}, {part} k{j}_imag" if part else f"{scalar_type} k{j}"

    buffers = ", ".join(parameter(j, c, m) for j, (c, m) in enumerate(ins))
    buffers = (buffers + ", ") if buffers else ""
%>

<%def name="flat_indices()">\
const index_t o = out_offset + i;
        % for j, (c, m) in enumerate(ins):
            % if m == "v":
        const index_t i${j} = a${j}_offset + i;
            % endif
        % endfor
</%def>
<%def name="tile_body()">
<%
        moving = [("o", "out")] + [(f"i{j}", f"a{j}") for j, (c, m) in enumerate(ins) if m not in "kb"]
        across = [j for j, (c, m) in enumerate(ins) if m == "t"]
        lines = " & ".join(f"(i{j}_s{rank - 2} == 1)" for j in across)
%>
        const index_t q0 = j0, q1 = min(j0 + segment, d${rank - 1});
        % for v, _ in moving:
        base_${v} -= j0 * ${v}_s${rank - 1};
        % endfor
        % if stream:
        const int aligned = ((base_o | j0 | o_s${rank - 2}) & ${W - 1}) == 0;
        % endif
        for (index_t pb = p0; pb < p1; pb += ${W}) {
            for (index_t qb = q0; qb < q1; qb += ${W}) {
        % if row_width > 1:
                if ((pb + ${W} <= p1) & (qb + ${W} <= q1) & ${lines}) {
            % for j in across:
                % for q in range(W):
                    ${prelude.vec(T, W)} t${j}_${q} = ${prelude.load(ins[j][0], T, f"a{j}", f"base_i{j} + pb + (qb + {q}) * i{j}_s{rank - 1}", W)};
                % endfor
                    ${prelude.transpose(T, W, f"t{j}_")}
            % endfor
            % for p in range(W):
                    {
                % for v, _ in moving:
                    % if v[1:] not in [str(j) for j in across]:
                        const index_t ${v} = base_${v} + (pb + ${p}) * ${v}_s${rank - 2} + qb * ${v}_s${rank - 1};
                    % endif
                % endfor
                % for j, (c, m) in enumerate(ins):
                    % if m == "z":
                        const ${T} c${j} = ${prelude.load(c, T, f"a{j}", f"i{j}")};
                    % endif
                % endfor
                % if stream:
                        const ${prelude.vec(T, W)} value = ${evaluate(W, p)};
                        if (aligned) STREAM(value, (global ${prelude.vec(T, W)} *)(out + o));
                        else ${stored("value", W)}
                % else:
                        ${stored(evaluate(W, p), W)}
                % endif
                    }
            % endfor
                    continue;
                }
        % endif
                const index_t pe = min(pb + ${W}, p1), qe = min(qb + ${W}, q1);
                for (index_t p = pb; p < pe; ++p) {
                    for (index_t q = qb; q < qe; ++q) {
        % for v, _ in moving:
                        const index_t ${v} = base_${v} + p * ${v}_s${rank - 2} + q * ${v}_s${rank - 1};
        % endfor
        % for j, (c, m) in enumerate(ins):
            % if m == "z":
                        const ${T} c${j} = ${prelude.load(c, T, f"a{j}", f"i{j}")};
            % endif
        % endfor
                        ${stored(evaluate(1), 1)}
                    }
                }
            }
        }
</%def>\
% if stream:
${prelude.stream()}
% endif
kernel void ${function}(global ${out} *out, index_t out_offset, ${buffers}
% if layout == "flat":
                        index_t n)
{
% for j, (c, m) in enumerate(ins):
    % if m == "b":
    const ${T} c${j} = ${prelude.load(c, T, f"a{j}", f"a{j}_offset")};
    % endif
% endfor
% if form == "wide":
    // Each work-item takes one stretch of memory, a multiple of the vector width long.
    const index_t share = ((n + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0) + ${W - 1}) / ${W} * ${W};
    index_t i = (index_t)get_global_id(0) * share;
    const index_t end = min(i + share, n);
    % if stream:
    if ((out_offset & ${W - 1}) == 0) {
        for (; i + ${W} <= end; i += ${W}) {
            ${flat_indices()}
            STREAM((${evaluate(W)}), (global ${prelude.vec(T, W)} *)(out + o));
        }
        mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    }
    % endif
    % if W > 1:
    for (; i + ${W} <= end; i += ${W}) {
        ${flat_indices()}
        ${stored(evaluate(W), W)}
    }
    % endif
    for (; i < end; ++i) {
% else:
    index_t first = 0;
    % if whole:
    // Four neighbours a work-item, where all arrays begin at whole vectors: as many bytes by a quarter of the requests.
    if (${prelude.whole([(out, "out + out_offset"), *((c, f"a{j} + a{j}_offset") for j, (c, m) in enumerate(ins) if m == "v")], W)}) {
        first = n / ${W} * ${W};
        for (index_t i = ${W} * (index_t)get_global_id(0); i < first; i += ${W} * (index_t)get_global_size(0)) {
            ${flat_indices()}
            ${stored(evaluate(W), W)}
        }
    }
    % endif
    for (index_t i = first + (index_t)get_global_id(0); i < n; i += get_global_size(0)) {
% endif
        ${flat_indices()}
        ${stored(evaluate(1), 1)}
    }
}
% else:
<%
    strided = [("o", "out")] + [(f"i{j}", f"a{j}") for j, (c, m) in enumerate(ins) if m not in "kb"]
    outer = rank - (2 if layout == "tiled" else 1)
    sizes = "".join(f"index_t d{r}, " for r in range(rank))
    steps = ", ".join(f"index_t {v}_s{r}" for v, _ in strided for r in range(rank))
%>
                        ${sizes}${steps}, index_t segment, index_t segments, index_t units)
{
% for j, (c, m) in enumerate(ins):
    % if m == "b":
    const ${T} c${j} = ${prelude.load(c, T, f"a{j}", f"a{j}_offset")};
    % endif
% endfor
% if form == "wide":
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = (index_t)get_global_id(0) * share;
    const index_t last = min(first + share, units);
    for (index_t u = first; u < last; ++u) {
% if layout == "tiled":
        const index_t blocks = (d${rank - 2} + ${DOWN - 1}) / ${DOWN};
        index_t row = u / blocks / segments;
        const index_t j0 = u / blocks % segments * segment;
% else:
        index_t row = u / segments;
        const index_t j0 = (u - row * segments) * segment;
% endif
% if layout == "tiled":
        const index_t p0 = u % blocks * ${DOWN}, p1 = min(p0 + ${DOWN}, d${rank - 2});
% endif
        % for v, base in strided:
        index_t base_${v} = ${base}_offset + j0 * ${v}_s${rank - 1};
        % endfor
        % for r in reversed(range(outer)):
        {
            const index_t at = ${f"row % d{r}" if r else "row"};
            % for v, _ in strided:
            base_${v} += at * ${v}_s${r};
            % endfor
            ${f"row /= d{r};" if r else ""}
        }
        % endfor
% if layout == "tiled":
        ${tile_body()}
% else:
        % for v, _ in strided:
        index_t ${v} = base_${v};
        % endfor
        index_t count = min(segment, d${rank - 1} - j0);
    % for j, (c, m) in enumerate(ins):
        % if m == "z":
        const ${T} c${j} = ${prelude.load(c, T, f"a{j}", f"i{j}")};
        % endif
    % endfor
        % if row_width > 1:
        for (; count >= ${row_width}; count -= ${row_width}) {
            ${stored(evaluate(row_width), row_width)}
            % for v, _ in strided:
            ${v} += ${row_width} * ${v}_s${rank - 1};
            % endfor
        }
        % endif
        for (; count > 0; --count) {
            ${stored(evaluate(1), 1)}
            % for v, _ in strided:
            ${v} += ${v}_s${rank - 1};
            % endfor
        }
% endif
    }
    % if stream:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
}
% else:
    // One element a work-item: neighbours in a group touch neighbours in memory.
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        index_t row = u;
        % for v, base in strided:
        index_t ${v} = ${base}_offset;
        % endfor
        % for r in reversed(range(rank)):
        {
            const index_t at = ${f"row % d{r}" if r else "row"};
            % for v, _ in strided:
            ${v} += at * ${v}_s${r};
            % endfor
            ${f"row /= d{r};" if r else ""}
        }
        % endfor
        % for j, (c, m) in enumerate(ins):
            % if m == "z":
        const ${T} c${j} = ${prelude.load(c, T, f"a{j}", f"i{j}")};
            % endif
        % endfor
        ${stored(evaluate(1), 1)}
    }
}
% endif
% endif
