## Reading and writing at rows: positions that several index arrays name together.
##
##   rows:   rows[b] = rows[b] * size + at[b]             (one index array after the other; -1 where out of range)
##   get:    out[o, b, i] = x[o, rows[b], i]
##   put:    x[o, rows[b], i] = v[o, b, i]                          (in the order of b: the last one stays)
##   add:    x[o, rows[b], i] += v[o, b, i]                         (in the order of b)
##   along, along_add:  x[..., at[..., j, ...], ...] = or += v[..., j, ...]                    (in the order of j)
##
## o, rows[b] and i are each a linear position over a group of x's axes (those before, those indexed, those after); its
## sizes and strides say where it lies, so x may have any memory order. An index out of range touches no memory: it is
## written to `fault`, which the host reads at its next synchronisation.
<%!
    PARAMS = {"local": (32, 64, 128, 256), "groups_per_unit": (1, 2, 4, 8, 16, 32, 64),
              "least": (512, 2048, 8192),  # wide: elements of a work-item
              "bands": (1, 2, 4, 8, 128, 512, 2048),  # parts of the rows, a compute unit: each part reads all of the index
              "strip": (128, 512, 2048),  # wide: elements behind the indexed axes that one work-item takes
              "listed": (1 << 10, 1 << 12, 1 << 14, 1 << 16)}  # wide: rows from which on they are listed (bucket.mako)
    DEFAULT = {"wide": {"groups_per_unit": 4, "least": 2048, "bands": 4, "strip": 512, "listed": 1 << 12},
               "many": {"groups_per_unit": 32, "local": 128, "bands": 512}}

    def valid(params, facts):
        return params.get("local", 1) <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    GROUPS = ("o", "k", "i")
    W = prelude.vector_width(T) if vectors else 1
    groups = "".join(f"index_t {g}_{what}{r}, " for g in GROUPS for what in "ds" for r in range(rank))

    def step(target, linear, group):
        """Statement: add to `target` where `linear` lies in a group of axes."""
        if rank == 1:
            return f"{target} += ({linear}) * {group}_s0;"
        lines = [f"{{ index_t rest = {linear};"]
        for r in reversed(range(rank)):
            lines.append(f"{target} += {f'(rest % {group}_d{r})' if r else 'rest'} * {group}_s{r};")
            lines.append(f"rest /= {group}_d{r};" if r else "")
        return " ".join(lines) + " }"

    def write(value, to, source):
        """Statement: what put, add and along do with one element."""
        loaded = prelude.load(ctype, T, value, source)
        total = f"{prelude.load(ctype, T, 'x', to)} + {loaded}" if kind in ("add", "along_add") else loaded
        return prelude.store(ctype, T, "x", to, total)
%>
${prelude.extensions(ctype, T)}
typedef ${index} index_t;
${prelude.ahead() if listed or kind == "get" else ""}
${prelude.stream() if stream else ""}

% if kind in ("rows", "along", "along_add"):
static inline index_t checked(${itype} i, index_t size, index_t axis, global long *fault)
{
    const long position = ${"(long)i" if itype.startswith("u") else "i < 0 ? (long)i + size : (long)i"};
    if (position >= 0 && position < size) return (index_t)position;
    fault[1] = (long)i;
    fault[2] = axis;
    fault[3] = size;
    fault[0] = 1;
    return -1;
}
% endif

% if kind == "rows":
<%def name="one_row()">\
const index_t row = checked(at[at_offset + b], size, axis, fault);
        const ${ctype} before = first ? 0 : rows[b];
        rows[b] = (row < 0 || before < 0) ? -1 : before * (${ctype})size + row;\
</%def>\
kernel void ${function}(global ${ctype} *rows, const global ${itype} *at, index_t at_offset, global long *fault,
                        index_t size, index_t axis, index_t first, index_t count)
{
% if form == "wide":
    const index_t share = (count + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t last = min((index_t)(get_global_id(0) + 1) * share, count);
    index_t b = get_global_id(0) * share;
    while (b < last) {
        if (b + 8 <= last) {  // eight of them, if none is wrong
            long8 row = ${"" if itype == "long" else "convert_long8"}(vload8(0, at + at_offset + b));
    % if not itype.startswith("u"):
            row += (row >> 63) & (long8)(size);
    % endif
            long8 before = (long8)(0);
            if (!first) before = ${"" if ctype == "long" else "convert_long8"}(vload8(0, rows + b));
            if (!any((row < (long8)(0)) | (row >= (long8)(size)) | (before < (long8)(0)))) {
                vstore8(${"" if ctype == "long" else "convert_int8"}(before * (long8)(size) + row), 0, rows + b);
                b += 8;
                continue;
            }
        }
        ${one_row()}
        ++b;
    }
% else:
    for (index_t b = get_global_id(0); b < count; b += get_global_size(0)) {
        ${one_row()}
    }
% endif
}
% elif kind == "get":
    % if vectors:
static inline index_t place(const global ${itype} *rows, index_t u, index_t count, index_t x_offset, index_t o_s0,
                            index_t k_s0)
{
    const index_t o = u / count, row = rows[u - o * count];
    return row < 0 ? -1 : x_offset + o * o_s0 + row * k_s0;
}

    % endif
kernel void ${function}(global ${ctype} *out, const global ${ctype} *x, index_t x_offset, const global ${itype} *rows,
                        ${groups}index_t count, index_t inner, index_t units)
{
% if form == "wide":
    // A unit is one row of one o: `inner` elements.
% if vectors:
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = min((index_t)get_global_id(0) * share, units);
    const index_t last = min(first + share, units);
    ${prelude.rows_moved(T, W, stream, "u < last ? place(rows, u, count, x_offset, o_s0, k_s0) : -1")}
% else:
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t o = u / count;
        const index_t row = rows[u - o * count];
        if (row < 0) {
            for (index_t i = 0; i < inner; ++i) ${prelude.store(ctype, T, "out", "u * inner + i", f"({T})0")}
            continue;
        }
        index_t base = x_offset;
        ${step("base", "o", "o")}
        ${step("base", "row", "k")}
        for (index_t i = 0; i < inner; ++i) {
            index_t from = base;
            ${step("from", "i", "i")}
            ${prelude.store(ctype, T, "out", "u * inner + i", prelude.load(ctype, T, "x", "from"))}
        }
    }
% endif
% else:
    for (index_t e = get_global_id(0); e < units * inner; e += get_global_size(0)) {
        const index_t u = e / inner;
        const index_t o = u / count;
        const index_t row = rows[u - o * count];
        if (row < 0) {
            ${prelude.store(ctype, T, "out", "e", f"({T})0")}
            continue;
        }
        index_t from = x_offset;
        ${step("from", "o", "o")}
        ${step("from", "row", "k")}
        ${step("from", "e - u * inner", "i")}
        ${prelude.store(ctype, T, "out", "e", prelude.load(ctype, T, "x", "from"))}
    }
% endif
}
% elif kind in ("put", "add"):
kernel void ${function}(global ${ctype} *x, index_t x_offset, const global ${ctype} *v, index_t v_offset,
                        index_t v_step, ${"const global ulong *items, const global uint *bounds, index_t ends" if listed else f"const global {itype} *rows"},
                        ${"index_t width, index_t total, " if fresh else ""}${groups}index_t count, index_t inner, index_t bands, index_t strip, index_t strips,
                        index_t units)
{
    // A unit owns a strip of i of one o, in those rows that fall into its band: no two units write the same element, so
    // the order of writes is that of b on every device. Either it reads every row, and a hash says which are its own
    // (`bands` is a power of two); or bands are buckets, and their rows are listed (see bucket.mako). Fresh memory is
    // cleared on the way, `width` rows of a bucket while they are near.
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const uint band = (uint)(u % bands);
        const index_t i0 = ((u / bands) % strips) * strip;
        const index_t i1 = min(i0 + strip, inner);
        const index_t o = u / (bands * strips);
        index_t base = x_offset;
        ${step("base", "o", "o")}
    % if fresh:
        for (index_t row = (index_t)band * width, past = min(row + width, total); row < past; ++row) {
            index_t line = base, i = i0;
            ${step("line", "row", "k")}
        % if vectors:
            for (; i + ${W} <= i1; i += ${W}) vstore${W}((${prelude.vec(T, W)})(0), 0, x + line + i);
        % endif
            for (; i < i1; ++i) {
                index_t to = line;
                ${step("to", "i", "i")}
                ${prelude.store(ctype, T, "x", "to", f"({T})(0)")}
            }
        }
    % endif
    % if listed == "values":
<%
    carried = f"items[2 * e + 1]" if size == 8 else f"({prelude.TYPES[size]})(items[e] >> 32)"
    value = carried if ctype == prelude.TYPES[size] else f"as_{ctype}({carried})"
    to = "line"
%>\
        for (uint e = bounds[band], end = bounds[ends + band]; e < end; ++e) {
            index_t line = base;
            ${step("line", f"(uint)items[{'2 * e' if size == 8 else 'e'}]", "k")}
            x[line] = ${"x[line] + " if kind == "add" else ""}${value};
        }
    % else:
        % if listed:
        const uint end = bounds[ends + band];
        for (uint e = bounds[band]; e < end; ++e) {
            const index_t row = (uint)items[e], b = (index_t)(items[e] >> 32);
        % else:
        for (index_t b = 0; b < count; ++b) {
            const index_t row = rows[b];
            if (row < 0 || ((((uint)row * 2654435761u) >> 16) & (uint)(bands - 1)) != band) continue;
        % endif
            index_t line = base;
            ${step("line", "row", "k")}
            index_t i = i0;
% if vectors:
            const index_t from = v_offset + (o * count + b) * inner;
    % if listed:
            // rows lie anywhere: those of the next item are called while these are worked on
            const ulong next = items[min(e + 1, end - 1)];
            const index_t next_from = v_offset + (o * count + (index_t)(next >> 32)) * inner;
            const index_t next_line = base + (index_t)(uint)next * k_s0;
    % endif
            for (; i + ${W} <= i1; i += ${W}) {
    % if listed:
                AHEAD(v + next_from + i, 0);
                ${"" if stream else "AHEAD(x + next_line + i, 1);"}
    % endif
    % if kind == "add":
                vstore${W}(vload${W}(0, x + line + i) + vload${W}(0, v + from + i), 0, x + line + i);
    % elif stream:
                STREAM(vload${W}(0, v + from + i), (global ${prelude.vec(T, W)} *)(x + line + i));
    % else:
                vstore${W}(vload${W}(0, v + from + i), 0, x + line + i);
    % endif
            }
% endif
            for (; i < i1; ++i) {
                index_t to = line;
                ${step("to", "i", "i")}
                ${write("v", "to", "v_offset + ((o * count + b) * inner + i) * v_step")}
            }
        }
    % endif
    }
    ${"mem_fence(CLK_GLOBAL_MEM_FENCE);  // streamed stores are not ordered with others" if stream else ""}
}
% else:
<%
    sizes = "".join(f"index_t d{r}, " for r in range(rank))
    steps = "".join(f"index_t {v}_s{r}, " for v in ("x", "at", "v") for r in range(rank))
    lines = [r for r in range(rank) if r != axis]
%>
kernel void ${function}(global ${ctype} *x, index_t x_offset, const global ${ctype} *v, index_t v_offset,
                        const global ${itype} *at, index_t at_offset, global long *fault, ${sizes}${steps}index_t size,
                        index_t named, index_t band, index_t bands, index_t units)
{
    // A unit owns one line of `x` along the axis, or a band of it, and takes the index in its order.
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t r0 = (u % bands) * band;
        const index_t r1 = min(r0 + band, size);
        index_t rest = u / bands, line = x_offset, where = at_offset, from_line = v_offset;
        % for r in reversed(lines):
        {
            const index_t c = rest % d${r};
            line += c * x_s${r};
            where += c * at_s${r};
            from_line += c * v_s${r};
            rest /= d${r};
        }
        % endfor
        for (index_t j = 0; j < d${axis}; ++j) {
            const index_t row = checked(at[where + j * at_s${axis}], size, named, fault);
            if (row < r0 || row >= r1) continue;
            const index_t to = line + row * x_s${axis};
            ${write("v", "to", f"from_line + j * v_s{axis}")}
        }
    }
}
% endif
