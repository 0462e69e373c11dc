## Reading at positions that an index array names.
##
##   take:       out[o, j, i] = x[o, index[j], i]
##   along:      out[..., j, ...] = x[..., index[..., j, ...], ...]
##   one_hot:    out[i, c] = (index[i] == c)
##
## A negative index counts from the end. One that is out of range touches no memory: it is written to `fault`, which the
## host reads at its next synchronisation, and the element becomes zero.
<%!
    PARAMS = {"local": (32, 64, 128, 256), "groups_per_unit": (1, 2, 4, 8, 16, 32, 64),
              "least": (512, 2048, 8192),  # wide: elements of a work-item
              "stream": (1 << 20, 1 << 22, 1 << 24)}  # wide: bytes of rows from which on they are written past the caches
    DEFAULT = {"wide": {"groups_per_unit": 4, "least": 2048, "stream": 1 << 22}, "many": {"groups_per_unit": 32, "local": 128}}

    def valid(params, facts):
        return params.get("local", 1) <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    W = 1 if T == "ulong2" else prelude.vector_width(T)
    V = prelude.vec(T, W)
%>
${prelude.extensions(ctype, T)}
typedef ${index} index_t;

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

% if kind == "take":
    % if form == "wide":
${prelude.ahead()}
${prelude.stream() if stream else ""}
static inline index_t place(const global ${itype} *at, index_t u, index_t length, index_t rows, index_t inner,
                            index_t x_offset, index_t axis, global long *fault)
{
    const index_t o = u / length, row = checked(at[u - o * length], rows, axis, fault);
    return row < 0 ? -1 : x_offset + (o * rows + row) * inner;
}

    % endif
kernel void ${function}(global ${ctype} *out, const global ${ctype} *x, index_t x_offset, const global ${itype} *at,
                        index_t at_offset, global long *fault, index_t rows, index_t length, index_t inner,
                        index_t axis, index_t units)
{
    // A unit is one row of `inner` neighbouring elements (or one element of it, for many cores).
% if form == "wide":
    const index_t share = (units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0);
    const index_t first = min((index_t)get_global_id(0) * share, units);
    const index_t last = min(first + share, units);
    ${prelude.rows_moved(T, W, stream, "u < last ? place(at + at_offset, u, length, rows, inner, x_offset, axis, fault) : -1")}
% else:
    for (index_t e = get_global_id(0); e < units * inner; e += get_global_size(0)) {
        const index_t u = e / inner;
        const index_t o = u / length;
        const index_t row = checked(at[at_offset + u - o * length], rows, axis, fault);
        const index_t from = x_offset + (o * rows + row) * inner + e - u * inner;
        if (row < 0) ${prelude.store(ctype, T, "out", "e", f"({T})0")}
        else ${prelude.store(ctype, T, "out", "e", prelude.load(ctype, T, "x", "from"))}
    }
% endif
}
% elif kind == "one_hot":
kernel void ${function}(global ${ctype} *out, const global ${itype} *at, index_t at_offset, global long *fault,
                        index_t classes, index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t hot = checked(at[at_offset + u], classes, 0, fault);
        for (index_t c = 0; c < classes; ++c)
            out[u * classes + c] = c == hot;
    }
}
% else:
<%
    sizes = "".join(f"index_t d{r}, " for r in range(rank))
    steps = "".join(f"index_t {v}_s{r}, " for v in ("x", "at") for r in range(rank))
    final = rank - 1
    NEAR = 1 << 15  # elements of a line up to which the next one is called while it is read

    def place(linear, x_to, at_to=""):
        """Statements: add to x_to, and to at_to, where the line (of many cores, the element) numbered `linear` begins."""
        text = f"{{ index_t rest = {linear};"
        for r in reversed(range(final if form == "wide" else rank)):
            at = f"(rest % d{r})" if r else "rest"
            text += f" {at_to} += {at} * at_s{r};" if at_to else ""
            text += f" {x_to} += {at} * x_s{r};" if r != axis else ""
            text += f" rest /= d{r};" if r else ""
        return text + " }"
%>
% if form == "wide":
${prelude.ahead()}
${prelude.stream() if stream else ""}
% endif
kernel void ${function}(global ${ctype} *out, const global ${ctype} *x, index_t x_offset, const global ${itype} *at,
                        index_t at_offset, global long *fault, ${sizes}${steps}index_t size, index_t named,
                        index_t segment, index_t segments, index_t units)
{
    // A unit is a segment of a row of the result (or an element of it, for many cores).
    ${prelude.each(form)} {
        index_t from = x_offset, where = at_offset;
        ${place("u / segments" if form == "wide" else "u", "from", "where")}
    % if form == "wide":
        % if axis == final:
        // The next line is called, in order, while this one is read anywhere: where both fit a core's own cache.
        const bool near = (segments == 1) & (size >= 64) & (size <= ${NEAR}) & (u + 1 < units);
        index_t next = x_offset;
        if (near) ${place("u + 1", "next")}
        % endif
<% step = "0" if axis == final else f"x_s{final}" %>\
        const index_t j1 = min(u % segments * segment + segment, d${final});
        const index_t o = u / segments * d${final};
        index_t j = u % segments * segment;
        while (j < j1) {
            if ((j + 8 <= j1) & (at_s${final} == 1)) {  // eight of them, if none is wrong
                long8 i = ${"" if itype == "long" else "convert_long8"}(vload8(0, at + where + j));
                % if not itype.startswith("u"):
                i += (i >> 63) & (long8)(size);
                % endif
                if (!any((i < (long8)(0)) | (i >= (long8)(size)))) {
                    index_t lane[8];
                    vstore8(${"" if index == "long" else "convert_int8"}(i) * (${index}8)(x_s${axis}), 0, lane);
<% element = lambda l: f"x[from + (j + {l}) * {step} + lane[{l}]]" %>\
                % if axis == final:
                    if (near) AHEAD(x + next + min(j, size) * x_s${axis}, 0);
                % endif
                % if W > 1 and axis == final:
                    if (near) {  // elsewhere loads of single elements overlap better
                        const ${T}8 found = (${T}8)(${", ".join(map(element, range(8)))});
                    % if stream:
                        if (((o + j) & 7) == 0) STREAM(found, (global ${T}8 *)(out + o + j));
                        else
                    % endif
                        vstore8(found, 0, out + o + j);
                    } else
                % endif
                    {
                    % for l in range(8):
                        out[o + j + ${l}] = ${element(l)};
                    % endfor
                    }
                    j += 8;
                    continue;
                }
            }
            const index_t own = checked(at[where + j * at_s${final}], size, named, fault);
            if (own < 0) out[o + j] = (${T})(0);
            else out[o + j] = x[from + j * ${step} + own * x_s${axis}];
            ++j;
        }
    % else:
        const index_t own = checked(at[where], size, named, fault);
        if (own < 0) out[u] = (${T})(0);
        else out[u] = x[from + own * x_s${axis}];
    % endif
    }
    ${"mem_fence(CLK_GLOBAL_MEM_FENCE);  // streamed stores are not ordered with others" if stream else ""}
}
% endif
