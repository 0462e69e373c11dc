## How the work-items of a team, which share a row, join what each of them has found; and a kernel that shows whether a
## device does it right.
##
## A team is a power of two of neighbouring work-items, several teams a work-group. `joining` says how they meet:
##
##   tree       in local memory, by halves: log2(team) barriers, and two more
##   shuffle    inside a sub-group lanes whose numbers differ in one bit swap values (cl_khr_subgroup_shuffle), log2(wave)
##              times without a barrier; a team of several sub-groups then reads a value of each from local memory
##   intel      the same by cl_intel_subgroups
##   ptx        the same by NVIDIA's instruction, where a sub-group is a warp of 32
##   built_in   sums and maxima of whole sub-groups by the functions of cl_khr_subgroups or OpenCL 3.0; all else as a tree
##   emulatedN  a shuffle with sub-groups of N, in local memory and plain C, so that the text can be tested anywhere
##
##   item   0 1 2 3 4 5 6 7     d = 1: 0-1 2-3 4-5 6-7     d = 2: 0-2 1-3 4-6 5-7     d = 4: 0-4 1-5 2-6 3-7
##
## What a work-item is called follows its sub-group, not its place in the work-group: nothing says that drivers number both
## alike. Of a sub-group size that is no power of two the largest one that divides it is swapped across (`wave`), and so no
## partner is ever beyond a team, nor in the last sub-group's missing part. Both partners join in the same order, so that all
## lanes of a team hold the same bits, the same in every run.
##
## A swap is one instruction for 4 bytes, and two for 8. On an NVIDIA SM 128 work-items sum in 5 swaps, 4 reads and 2
## barriers; as a tree in 7 rounds of 3 accesses and 9 barriers.
<%!
    SIZES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "long": 8, "ulong": 8,
             "double": 8}
    FUNCTIONS = {"shuffle": "sub_group_shuffle_xor(x, (uint)d)", "intel": "intel_sub_group_shuffle_xor(x, (uint)d)"}
    WARP = 32  # of NVIDIA's

    def emulated(joining):
        """The size of emulated sub-groups, or 0."""
        return int(joining.removeprefix("emulated")) if joining.startswith("emulated") else 0

    def swaps(joining):
        """Whether lanes swap values."""
        return joining not in ("tree", "built_in")

    def opening(joining, group, *types):
        """Functions for values of these types, before the kernel."""
        if not swaps(joining):
            return ""
        text = ""
        if joining == "ptx":
            mask = (1 << min(group, WARP)) - 1  # of the lanes that come here, which are all there are
            text = f"""static inline uint swap_word(const uint x, const int d)
{{
    uint r;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, {mask:#x};" : "=r"(r) : "r"(x), "r"(d));
    return r;
}}
"""
        elif emulated(joining):
            text = """static inline uint shown_word(const uint x, const int d, const int item, local uint *shown)
{
    barrier(CLK_LOCAL_MEM_FENCE);
    shown[item] = x;
    barrier(CLK_LOCAL_MEM_FENCE);
    return shown[item ^ d];
}
"""
        else:
            text = f"static inline uint swap_word(const uint x, const int d) {{ return {FUNCTIONS[joining]}; }}\n"
        more, rest = (", const int item, local uint *shown", ", item, shown") if emulated(joining) else ("", "")
        word = "shown_word" if emulated(joining) else "swap_word"
        for t in dict.fromkeys(types):
            body = {4: f"return as_{t}({word}(as_uint(x), d{rest}));",
                    8: f"const uint2 w = as_uint2(x); const uint low = {word}(w.x, d{rest}); "
                       f"return as_{t}((uint2)(low, {word}(w.y, d{rest})));"}.get(
                SIZES[t], f"return ({t})as_int({word}(as_uint((int)x), d{rest}));")
            text += f"static inline {t} swap_{t}(const {t} x, const int d{more}) {{ {body} }}\n"
        return text

    def place(joining, group, *types):
        """Statements that open the kernel: local memory for these types, ``item``, and ``wave``, items that swap."""
        count = -(-group // WARP) if joining == "ptx" else group
        text = "".join(f"local {t} tile{i}[{count}];\n    " for i, t in enumerate(types))
        if joining == "tree":
            return text + "const int item = get_local_id(0);"
        if joining == "ptx":
            return text + f"const int item = get_local_id(0), wave = {WARP};"
        if emulated(joining):  # numbered from behind, as a driver might
            size = emulated(joining)
            return text + f"""local uint shown[{group}];
    const int item = {group - 1} - (int)get_local_id(0), wave = {size & -size};"""
        return text + """const int members = (int)get_max_sub_group_size(), wave = members & -members;
    const int item = (int)(get_sub_group_id() * members + get_sub_group_local_id());"""

    def shown(names, place="item"):
        return " ".join(f"tile{i}[{place}] = {n};" for i, n in enumerate(names))

    def tree(names, types, text):
        others = " ".join(f"const {t} {n}_other = tile{i}[item + half_way];" for i, (n, t) in enumerate(zip(names, types)))
        return f"""{shown(names)}
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int half_way = team / 2; half_way > 0; half_way /= 2) {{
            if (lane < half_way) {{
                {others}
                {text}
                {shown(names)}
            }}
            barrier(CLK_LOCAL_MEM_FENCE);
        }}
        {" ".join(f"{n} = tile{i}[item - lane];" for i, n in enumerate(names))}
        barrier(CLK_LOCAL_MEM_FENCE);"""

    def across(names, types, text):
        """From a value a wave to one a team, where that is larger."""
        others = " ".join(f"const {t} {n}_other = tile{i}[first + p];" for i, (n, t) in enumerate(zip(names, types)))
        return f"""if (team > wave) {{
            const int first = (item - lane) / wave;
            if (lane % wave == 0) {{ {shown(names, "item / wave")} }}
            barrier(CLK_LOCAL_MEM_FENCE);
            {" ".join(f"{n} = tile{i}[first];" for i, n in enumerate(names))}
            for (int p = 1; p < team / wave; ++p) {{
                {others}
                {text}
            }}
            barrier(CLK_LOCAL_MEM_FENCE);
        }}"""

    def swapped(joining, name, ctype):
        """Expression: the partner's value."""
        return f"swap_{ctype}({name}, d{', item, shown' if emulated(joining) else ''})"

    def join(joining, names, types, text, built_in=""):
        """Statements after which the variables ``names`` of all ``lane``s of a ``team`` are joined. ``text`` joins each
        with its ``_other``, which comes later; ``built_in`` is add or max, where a sub-group can do that by itself. Every
        work-item comes here."""
        if joining == "tree" or joining == "built_in" and not built_in:
            return tree(names, types, text)
        if joining == "built_in":
            whole = " ".join(f"{n} = sub_group_reduce_{built_in}({n});" for n in names)
            return f"""if (team % members == 0) {{
            {whole}
            {across(names, types, text)}
        }} else {{
            {tree(names, types, text)}
        }}"""
        if built_in == "add":  # the same in either order
            partners = " ".join(f"const {t} {n}_other = {swapped(joining, n, t)};" for n, t in zip(names, types))
        else:
            partners = "const bool upper = lane & d; " + " ".join(
                f"const {t} {n}_swapped = {swapped(joining, n, t)}, {n}_other = upper ? {n} : {n}_swapped; "
                f"{n} = upper ? {n}_swapped : {n};" for n, t in zip(names, types))
        return f"""for (int d = 1; d < min(team, wave); d *= 2) {{
            {partners}
            {text}
        }}
        {across(names, types, text)}"""

    def scan(joining, group, names, types, starts, text):
        """Statements after which the variables ``names`` are joined over all of a work-group, and new ones, ``_before``,
        over the ``lane``s before: ``starts`` where there is none. A butterfly that keeps what came from below."""
        fresh = " ".join(f"{t} {n}_before = {start};" for n, t, start in zip(names, types, starts))
        if joining in ("tree", "built_in"):  # Hillis and Steele's (1986)
            mine = " ".join(f"const {t} {n}_other = {n}; {n} = tile{i}[lane - reach];"
                            for i, (n, t) in enumerate(zip(names, types)))
            return f"""{fresh}
            {shown(names)}
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int reach = 1; reach < {group}; reach *= 2) {{
                if (lane >= reach) {{
                    {mine}
                    {text}
                }}
                barrier(CLK_LOCAL_MEM_FENCE);
                {shown(names)}
                barrier(CLK_LOCAL_MEM_FENCE);
            }}
            if (lane > 0) {{ {" ".join(f"{n}_before = tile{i}[lane - 1];" for i, n in enumerate(names))} }}
            {" ".join(f"{n} = tile{i}[{group - 1}];" for i, n in enumerate(names))}
            barrier(CLK_LOCAL_MEM_FENCE);"""
        swap = " ".join(f"const {t} {n}_swapped = {swapped(joining, n, t)};" for n, t in zip(names, types))
        below = " ".join(f"{t} {n} = {n}_swapped; const {t} {n}_other = {n}_before;" for n, t in zip(names, types))
        pair = " ".join(f"const {t} {n}_other = upper ? {n} : {n}_swapped; {n} = upper ? {n}_swapped : {n};"
                        for n, t in zip(names, types))
        prior = " ".join(f"{t} {n}_prior = {n}_before;" for n, t in zip(names, types))
        until = " ".join(f"{n}_prior = p == mine ? {n} : {n}_prior;" for n in names)
        others = " ".join(f"const {t} {n}_other = tile{i}[p];" for i, (n, t) in enumerate(zip(names, types)))
        behind = " ".join(f"{t} {n} = {n}_prior; const {t} {n}_other = {n}_before;" for n, t in zip(names, types))
        return f"""{fresh}
            for (int d = 1; d < min({group}, wave); d *= 2) {{
                const bool upper = lane & d, some = lane & (d - 1);  // whether a lane of this half comes before
                {swap}
                if (upper) {{
                    {below}
                    if (some) {{ {text} }}
                    {" ".join(f"{n}_before = {n};" for n in names)}
                }}
                {pair}
                {text}
            }}
            if ({group} > wave) {{
                const int mine = item / wave;
                {prior}
                if (lane % wave == 0) {{ {shown(names, "mine")} }}
                barrier(CLK_LOCAL_MEM_FENCE);
                {" ".join(f"{n} = tile{i}[0];" for i, n in enumerate(names))}
                for (int p = 1; p < {group} / wave; ++p) {{
                    {others}
                    {until}
                    {text}
                }}
                if (mine > 0) {{
                    {behind}
                    if (lane % wave) {{ {text} }}
                    {" ".join(f"{n}_before = {n};" for n in names)}
                }}
                barrier(CLK_LOCAL_MEM_FENCE);
            }}"""
%>
<%
    T = ctype
    values = ["x", "m", "at"]
    types = [T, T, "int"]
%>
% if T == "double":
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
% endif
${opening(joining, group, *types)}
// Teams of every size: their sums, and the largest value with its first place. Every work-item writes what it got.
kernel void ${function}(global ${T} *sums, global ${T} *largest, global int *places, const global ${T} *a, const int n,
                        const int team)
{
    ${place(joining, group, *types)}
    const int lane = item % team;
    for (int start = get_group_id(0) * ${group}; start < n; start += get_num_groups(0) * ${group}) {
        int at = start + item;
        ${T} x = a[at], m = x, y = x;
        ${join(joining, ["x"], [T], "x += x_other;", "add")}
        ${join(joining, ["y"], [T], "y = max(y, y_other);" if T in ("int", "long") else "y = fmax(y, y_other);", "max")}
        ${join(joining, ["m", "at"], [T, "int"], "if (m_other > m || (m_other == m && at_other < at)) { m = m_other; at = at_other; }")}
        sums[start + item] = x;
        largest[start + item] = m == y ? y : -1;
        places[start + item] = at;
    }
}
