## Stable sorting of lines of K elements by their digits, least significant first (Knuth, vol. 3, 5.2.5), for wide cores.
##
##   lines:     a unit sorts its own lines, all passes, in scratch memory that stays in its cache
##   count:     counts[line, chunk, digit] = how often a digit comes in a chunk of a line
##   scatter:   a pass: a unit finds where its chunk's elements of each digit begin, from all counts before, and moves them
##
##       x ->  | chunk 0 | chunk 1 | ...      ->     | digit 0: chunk 0, chunk 1, ... | digit 1: chunk 0, ... |
##
##   tally, narrow:  the key of a line's need-th element, digit by digit from the most significant one: how often a
##                   digit comes among the keys that begin as the one sought; then which digit it is, and what is needed
##                   among its elements
##   collect:        the elements up to that key, and of those equal to it the first ones needed, in their order
##   find:           the position of the need-th element
##
##   few:            the k smallest of a part of a line, in order, for small k. Of a chunk the least keys are found by lanes:
##                   the k-th of those is a bound, which few others reach. They are inserted into a sorted list, and
##                   no further key is looked at but those below its last one
##
## What moves is the element itself, as it lies in memory, alone or with its position; its key is computed anew in each
## pass, by vectors. So nothing is encoded before or decoded behind, and -0, +0 and NaNs of all kinds keep their bits
## though their keys are one. The first pass reads x, the last writes what is wanted: values, positions or both.
##
## A key orders as its element does: an unsigned integer, NaN the largest, -0 as 0; `flip` (all ones) turns the order.
<%!
    PARAMS = {"chunk": (1 << 14, 1 << 15, 1 << 16), "line": (256, 512, 1024, 2048, 4096)}
    DEFAULT = {"wide": {"chunk": 1 << 15, "line": 4096}}

    def valid(params, facts):
        return facts.wide_core

    TYPES = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong"}
    SIGNED = {1: "char", 2: "short", 4: "int", 8: "long"}
    INFINITY = {"half": 0x7c00, "bf16": 0x7f80, "float": 0x7f800000, "double": 0x7ff0000000000000}
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    B = TYPES[size]
    W = 8 if size == 8 else 16
    K = "uint" if size < 8 else "ulong"  # of keys while they are computed
    ones = (1 << 8 * size) - 1
    top = 1 << (8 * size - 1)
    suffix = "ul" if size == 8 else "u"
    # An item is an element alone, or with its position: in one integer, or two where the element has 64 bits.
    item = B if what == "values" else "ulong" if size < 8 else "ulong2"

    def value_of(v):
        return v if what == "values" else f"({B})({v} >> 32)" if size < 8 else f"{v}.x"

    def place_of(v):
        return f"(uint){v}" if size < 8 else f"(uint){v}.y"

    def item_of(value, place):
        if what == "values":
            return value
        return f"((ulong){value} << 32) | (uint)({place})" if size < 8 else f"(ulong2)({value}, {place})"
%>
typedef ${index} index_t;
typedef ${B} element;
typedef ${item} item;

% for w in (1, W):
<% V, U = prelude.vec(K, w), prelude.vec("uint", w) %>\
static inline ${V} key${w}(${prelude.vec(B, w)} raw, ulong flip)
{
    ${V} bits = ${f"convert_{V}(raw)" if B != K else "raw"};
    % if kind_of == "f":
    const ${V} size = bits & (${V})(${hex(top - 1)}${suffix});
        % if w == 1:
    bits = size ? bits : 0;
    ${V} key = bits ^ ((bits & ${hex(top)}${suffix}) ? ${hex(ones)}${suffix} : ${hex(top)}${suffix});
    key = (size > ${hex(INFINITY[ctype])}${suffix}) ? ${hex(ones)}${suffix} : key;
        % else:
    bits &= as_${V}(size != (${V})(0));
    const ${V} negative = as_${V}((bits & (${V})(${hex(top)}${suffix})) != (${V})(0));
    ${V} key = bits ^ ((negative & (${V})(${hex(ones)}${suffix})) | (${V})(${hex(top)}${suffix}));
    key |= as_${V}(size > (${V})(${hex(INFINITY[ctype])}${suffix})) & (${V})(${hex(ones)}${suffix});
        % endif
    return key ^ (${V})((${K})flip);
    % elif kind_of == "i":
    return bits ^ (${V})(${hex(top)}${suffix} ^ (${K})flip);
    % else:
    return bits ^ (${V})((${K})flip);
    % endif
}

static inline ${U} digit${w}(${prelude.vec(B, w)} raw, ulong flip, uint shift)
{
    return ${"" if K == "uint" else f"convert_{U}"}((key${w}(raw, flip) >> shift) & (${V})(255${suffix}));
}

% endfor
<%def name="digits(first, at, width)">\
    % if first:
    const ${prelude.vec(B, width)} raw = ${"from[" + at + "]" if width == 1 else f"vload{width}(0, from + {at})"};
    % elif what == "values":
    const ${prelude.vec(B, width)} raw = ${"from[" + at + "]" if width == 1 else f"vload{width}(0, from + {at})"};
    % elif size < 8:
    const ${prelude.vec(B, width)} raw = convert_${prelude.vec(B, width)}(${"from[" + at + "]" if width == 1 else f"vload{width}(0, from + {at})"} >> 32);
    % elif width == 1:
    const ulong raw = from[${at}].x;
    % else:
    const ${prelude.vec(B, width)} raw = (${prelude.vec(B, width)})(${", ".join(f"from[{at} + {j}].x" for j in range(width))});
    % endif
    const ${prelude.vec("uint", width)} d = digit${width}(raw, flip, shift);
</%def>

% for first in (True, False):
<% source = "element" if first else "item"; name = "first" if first else "next" %>
// How often each digit comes in from[k0 .. k1 - 1]; four tables, so that equal neighbours do not wait for each other.
static inline void tally_${name}(uint *tables, const global ${source} *from, uint k0, uint k1, ulong flip, uint shift)
{
    for (int t = 0; t < 1024; ++t) tables[t] = 0;
    uint k = k0;
    for (; k + ${W} <= k1; k += ${W}) {
        ${digits(first, "k", W)}
        uint lane[${W}];
        vstore${W}(d, 0, lane);
        % for j in range(W):
        tables[${256 * (j % 4)} + lane[${j}]]++;
        % endfor
    }
    for (; k < k1; ++k) {
        ${digits(first, "k", 1)}
        tables[d]++;
    }
    for (int t = 0; t < 256; ++t)
        tables[t] += tables[t + 256] + tables[t + 512] + tables[t + 768];
}

% for last in (False, True):
<%
    role = name + ("_last" if last else "")
    values, places = what in ("values", "both"), what in ("places", "both")
    if not last:
        target, pass_on = "global item *to", "to"
    else:
        target = ", ".join(["global element *to"] * values + ["global long *at"] * places)
        pass_on = ", ".join(["to"] * values + ["at"] * places)

    def read(k):
        return item_of(f"from[{k}]", k) if first else f"from[{k}]"

    def write(o, v):
        if not last:
            return f"to[{o}] = {v};"
        return (f"to[{o}] = {value_of(v)};" if values else "") + (f" at[{o}] = {place_of(v)};" if places else "")
%>
// Items k0 .. k1 - 1 go to where the next of their digit belongs.
static inline void move_${role}(${target}, uint *next, const global ${source} *from, uint k0, uint k1, ulong flip,
                                uint shift)
{
    uint k = k0;
    for (; k + ${W} <= k1; k += ${W}) {
        ${digits(first, "k", W)}
        uint lane[${W}];
        vstore${W}(d, 0, lane);
        % for j in range(W):
        {
            const item v = ${read(f"k + {j}")};
            const uint g = lane[${j}];
            const uint o = next[g]++;
            ${write("o", "v")}
        }
        % endfor
    }
    for (; k < k1; ++k) {
        ${digits(first, "k", 1)}
        const item v = ${read("k")};
        const uint o = next[d]++;
        ${write("o", "v")}
    }
}

// The same where all items have one digit.
static inline void copy_${role}(${target}, uint next, const global ${source} *from, uint k0, uint k1)
{
    for (uint k = k0; k < k1; ++k) {
        const item v = ${read("k")};
        ${write("next + k - k0", "v")}
    }
}

% if kind == "passes":
<%
    pointers = target if not last else ", ".join(["global element *to_lines"] * values + ["global long *at_lines"] * places)
    if not last:
        pointers = "global item *to_lines"
%>
kernel void scatter_${role}(${pointers}, const global ${source} *lines, index_t offset, const global uint *counts,
                            index_t K, index_t chunk, index_t chunks, ulong flip, uint shift, index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t own = u % chunks;
        const index_t base = u / chunks * K;
        const global uint *table = counts + u / chunks * chunks * 256;
        uint next[256], total[256];
        for (int d = 0; d < 256; ++d) next[d] = 0;
        for (index_t c = 0; c < own; ++c)
            for (int d = 0; d < 256; ++d) next[d] += table[c * 256 + d];
        for (int d = 0; d < 256; ++d) total[d] = next[d];
        for (index_t c = own; c < chunks; ++c)
            for (int d = 0; d < 256; ++d) total[d] += table[c * 256 + d];
        uint before = 0;
        for (int d = 0; d < 256; ++d) {
            next[d] += before;
            before += total[d];
        }
        const uint k0 = own * chunk, k1 = min(k0 + (uint)chunk, (uint)K);
        const global ${source} *from = lines + offset + base;
        % if not last or values:
        global ${"element" if last else "item"} *to = to_lines + base;
        % endif
        % if last and places:
        global long *at = at_lines + base;
        % endif
        ${digits(first, "k0", 1)}
        if (table[own * 256 + d] == k1 - k0) copy_${role}(${pass_on}, next[d], from, k0, k1);
        else move_${role}(${pass_on}, next, from, k0, k1, flip, shift);
    }
}
% endif
% endfor

% if kind == "passes":
kernel void count_${name}(global uint *counts, const global ${source} *lines, index_t offset, index_t K, index_t chunk,
                          index_t chunks, ulong flip, uint shift, index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const uint k0 = u % chunks * chunk;
        uint tables[1024];
        tally_${name}(tables, lines + offset + u / chunks * K, k0, min(k0 + (uint)chunk, (uint)K), flip, shift);
        for (int d = 0; d < 256; ++d) counts[u * 256 + d] = tables[d];
    }
}
% endif
% endfor

% if kind == "lines":
<%
    values, places = what in ("values", "both"), what in ("places", "both")
    outs = ["to"] * values + ["at"] * places
    out_parameters = ["global element *to_lines"] * values + ["global long *at_lines"] * places
%>
kernel void lines(${", ".join(out_parameters)}, const global element *x, index_t offset, global item *scratch, index_t K,
                  ulong flip, index_t units)
{
    global item *own = scratch + (index_t)get_global_id(0) * 2 * K;
    ${prelude.each("wide")} {
        const global element *from = x + offset + u * K;
        % if values:
        global element *to = to_lines + u * K;
        % endif
        % if places:
        global long *at = at_lines + u * K;
        % endif
        // No pass changes how often a digit comes, so one reading counts those of all.
        uint next[${256 * size}];
        for (int t = 0; t < ${256 * size}; ++t) next[t] = 0;
        uint k = 0;
        for (; k + ${W} <= (uint)K; k += ${W}) {
            uint lane[${W}];
            % for p in range(size):
            {
                const uint shift = ${8 * p};
                ${digits(True, "k", W)}
                vstore${W}(d, 0, lane);
                % for j in range(W):
                next[${256 * p} + lane[${j}]]++;
                % endfor
            }
            % endfor
        }
        for (; k < (uint)K; ++k) {
            % for p in range(size):
            {
                const uint shift = ${8 * p};
                ${digits(True, "k", 1)}
                next[${256 * p} + d]++;
            }
            % endfor
        }
        // A pass in which all elements have one digit would move nothing.
        int passes = 0;
        uint shifts[${size}];
        % for p in range(size):
        {
            const uint shift = ${8 * p};
            ${digits(True, "0", 1)}
            shifts[passes] = shift;
            passes += next[${256 * p} + d] != (uint)K;
            uint before = 0;
            for (int t = ${256 * p}; t < ${256 * (p + 1)}; ++t) {
                const uint n = next[t];
                next[t] = before;
                before += n;
            }
        }
        % endfor
        if (passes == 0) {
            copy_first_last(${", ".join(outs)}, 0, from, 0, K);
        } else if (passes == 1) {
            move_first_last(${", ".join(outs)}, next + 32 * shifts[0], from, 0, K, flip, shifts[0]);
        } else {
            global item *here = own, *there = own + K;
            move_first(here, next + 32 * shifts[0], from, 0, K, flip, shifts[0]);
            for (int p = 1; p < passes - 1; ++p) {
                move_next(there, next + 32 * shifts[p], here, 0, K, flip, shifts[p]);
                global item *t = here;
                here = there;
                there = t;
            }
            move_next_last(${", ".join(outs)}, next + 32 * shifts[passes - 1], here, 0, K, flip, shifts[passes - 1]);
        }
    }
}
% endif

% if kind == "few":
<%
    LISTED = 8  # items of a vector
    LANES = 2 * LISTED * vectors // W  # vectors of least keys: twice as many keys as items
    LAST = f"list[{vectors - 1}].s7"
%>\
// Puts an item, key above position, into a sorted list whose last one it is below; that one leaves.
static inline void insert(ulong8 *list, ulong item)
{
    ulong before = 0;
    % for c in range(vectors):
    {
        const ulong8 old = list[${c}], from = (ulong8)(before, old.s0123, old.s456);
        const ulong8 high = from > (ulong8)(item) ? from : (ulong8)(item);
        before = old.s7;
        list[${c}] = old < high ? old : high;
    }
    % endfor
}

// any(), in few steps
static inline int some(int16 v)
{
    const long8 w = as_long8(v);
    const long4 x = w.lo | w.hi;
    const long2 y = x.lo | x.hi;
    return (y.x | y.y) != 0;
}

// Of k places the last ones of the list; before them zeros, that nothing is below.
static inline void clear(ulong8 *list, int k)
{
    for (int i = 0; i < ${LISTED * vectors}; ++i)
        ((ulong *)list)[i] = i < ${LISTED * vectors} - k ? 0 : 0xfffffffffffffffful;
}

kernel void few(global element *values, global long *at, const global element *x, index_t offset, index_t K, index_t k,
                index_t chunk, index_t part, index_t parts, ulong flip, index_t units)
{
    ${prelude.each("wide")} {
        const global element *from = x + offset + u / parts * K;
        const uint end = min((uint)(u % parts * part) + (uint)part, (uint)K);
        ulong8 list[${vectors}];
        clear(list, k);
        uint k1;
        for (uint k0 = u % parts * part; k0 < end; k0 = k1) {
            k1 = min(k0 + (uint)chunk, end);
            uint16 least[${LANES}];
            for (int v = 0; v < ${LANES}; ++v) least[v] = (uint16)(0xffffffffu);
            uint e = k0;
            for (; e + ${W * LANES} <= k1; e += ${W * LANES}) {
                % for v in range(LANES):
                {
                    const uint16 key = key16(vload16(0, from + e + ${16 * v}), flip);
                    least[${v}] = key < least[${v}] ? key : least[${v}];
                }
                % endfor
            }
            uint bound = ${LAST} >> 32;
            int reached = 0;
            for (int v = 0; v < ${W * LANES}; ++v) reached += ((uint *)least)[v] <= bound;
            if (reached >= k) {
                ulong8 kept[${vectors}];
                % for c in range(vectors):
                kept[${c}] = list[${c}];
                % endfor
                clear(list, k);
                for (int v = 0; v < ${W * LANES}; ++v) {
                    const ulong item = (ulong)((uint *)least)[v] << 32;
                    if (item < ${LAST}) insert(list, item);
                }
                bound = ${LAST} >> 32;
                % for c in range(vectors):
                list[${c}] = kept[${c}];
                % endfor
            }
            if (reached == 0) k0 = e;  // the rest of the chunk was not looked at
            for (e = k0; e + 32 <= k1; e += 32) {
                const uint16 low = key16(vload16(0, from + e), flip), high = key16(vload16(0, from + e + 16), flip);
                if (some((low <= (uint16)(bound)) | (high <= (uint16)(bound)))) {
                    uint lane[32];
                    vstore16(low, 0, lane);
                    vstore16(high, 1, lane);
                    for (int j = 0; j < 32; ++j) {
                        const ulong item = ((ulong)lane[j] << 32) | (e + j);
                        if (lane[j] <= bound && item < ${LAST}) insert(list, item);
                    }
                    bound = min(bound, (uint)(${LAST} >> 32));
                }
            }
            for (; e < k1; ++e) {
                const ulong item = ((ulong)key1(from[e], flip) << 32) | e;
                if (item < ${LAST}) insert(list, item);
            }
        }
        for (int i = 0; i < k; ++i) {
            const uint place = (uint)((ulong *)list)[${LISTED * vectors} - k + i];
            values[u * k + i] = from[place];
            at[u * k + i] = place;
        }
    }
}
% endif

% if kind == "select":
kernel void tally_top(global uint *counts, const global element *x, index_t offset, index_t K, index_t chunk,
                      index_t chunks, ulong flip, index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const uint k0 = u % chunks * chunk;
        uint tables[1024];
        tally_first(tables, x + offset + u / chunks * K, k0, min(k0 + (uint)chunk, (uint)K), flip, ${8 * size - 8});
        for (int d = 0; d < 256; ++d) counts[u * 256 + d] = tables[d];
    }
}

    % if size > 1:
kernel void tally_rest(global uint *counts, const global ulong *prefixes, const global element *x, index_t offset,
                       index_t K, index_t chunk, index_t chunks, ulong flip, uint shift, index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const global element *from = x + offset + u / chunks * K;
        const ${K} prefix = prefixes[u / chunks];
        const uint k1 = min((uint)(u % chunks * chunk) + (uint)chunk, (uint)K);
        uint k = u % chunks * chunk;
        uint tables[4 * 272];  // the 257th counts the others
        for (int t = 0; t < 4 * 272; ++t) tables[t] = 0;
<% V = prelude.vec(K, W) %>\
        for (; k + ${W} <= k1; k += ${W}) {
            const ${V} key = key${W}(vload${W}(0, from + k), flip) >> shift;
            const ${prelude.vec("int" if size < 8 else "long", W)} others = (key >> 8) != (${V})(prefix);
            if (!all(others)) {
                ${K} lane[${W}];
                vstore${W}(select(key & (${V})(255), (${V})(256), others), 0, lane);
                % for j in range(W):
                tables[${272 * (j % 4)} + lane[${j}]]++;
                % endfor
            }
        }
        for (; k < k1; ++k) {
            const ${K} key = key1(from[k], flip) >> shift;
            tables[(key >> 8 == prefix) ? key & 255 : 256]++;
        }
        for (int d = 0; d < 256; ++d)
            counts[u * 256 + d] = tables[d] + tables[d + 272] + tables[d + 544] + tables[d + 816];
    }
}

    % endif
kernel void narrow(global ulong *prefixes, global long *needs, global uint *less, global uint *equal,
                   const global uint *counts, const global long *ranks, index_t ranks_offset, index_t k, int first,
                   index_t chunks, index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const global uint *table = counts + u * chunks * 256;
        uint total[256];
        for (int d = 0; d < 256; ++d) total[d] = 0;
        for (index_t c = 0; c < chunks; ++c)
            for (int d = 0; d < 256; ++d) total[d] += table[c * 256 + d];
        long need = needs[u];
        if (first) need = k;
        if (first && k == 0) need = ranks[ranks_offset + u] + 1;
        uint own = 0;
        for (int d = 0; d < 255; ++d) {
            if (own == d && need > total[d]) {
                need -= total[d];
                own = d + 1;
            }
        }
        prefixes[u] = first ? own : (prefixes[u] << 8) | own;
        needs[u] = need;
        for (index_t c = 0; c < chunks; ++c) {
            uint before = first ? 0 : less[u * chunks + c];
            for (uint d = 0; d < own; ++d) before += table[c * 256 + d];
            less[u * chunks + c] = before;
            equal[u * chunks + c] = table[c * 256 + own];
        }
    }
}

kernel void collect(global element *values, global long *at, const global ulong *prefixes, const global long *needs,
                    const global uint *less, const global uint *equal, const global element *x, index_t offset,
                    index_t K, index_t k, index_t chunk, index_t chunks, ulong flip, index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t line = u / chunks;
        const global element *from = x + offset + line * K;
        const ${K} bound = prefixes[line];
        uint ties = needs[line];  // how many of the equal ones are still wanted
        index_t o = line * k;
        for (index_t c = line * chunks; c < u; ++c) {
            const uint used = min(equal[c], ties);
            ties -= used;
            o += less[c] + used;
        }
        const uint k1 = min((uint)(u % chunks * chunk) + (uint)chunk, (uint)K);
        uint e = u % chunks * chunk;
        for (; e + ${W} <= k1; e += ${W}) {
            const ${V} keys = key${W}(vload${W}(0, from + e), flip);
            if (any(keys <= (${V})(bound))) {
                ${K} lane[${W}];
                vstore${W}(keys, 0, lane);
                for (int j = 0; j < ${W}; ++j) {
                    const int tied = lane[j] == bound;
                    if (lane[j] < bound || (tied && ties > 0)) {
                        values[o] = from[e + j];
                        at[o++] = e + j;
                        ties -= tied;
                    }
                }
            }
        }
        for (; e < k1; ++e) {
            const ${K} key = key1(from[e], flip);
            const int tied = key == bound;
            if (key < bound || (tied && ties > 0)) {
                values[o] = from[e];
                at[o++] = e;
                ties -= tied;
            }
        }
    }
}

kernel void find(global long *at, const global ulong *prefixes, const global long *needs, const global uint *equal,
                 const global element *x, index_t offset, index_t K, index_t chunk, index_t chunks, ulong flip,
                 index_t units)
{
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const global element *from = x + offset + u * K;
        const ${K} sought = prefixes[u];
        uint need = needs[u];
        index_t c = 0;
        while (need > equal[u * chunks + c]) need -= equal[u * chunks + c++];
        uint e = c * chunk;
        int open = 1;
        while (open) {
            need -= key1(from[e], flip) == sought;
            open = need > 0;
            e += open;
        }
        at[u] = e;
    }
}
% endif
