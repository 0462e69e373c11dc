## Loads, stores and types shared by the families. half and bf16 are storage types: they are loaded to float and
## rounded on store. A complex number is a vector of two, and never part of a longer one: its kernels are scalar.
<%!
    SIZES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "half": 2, "bf16": 2, "int": 4, "uint": 4, "float": 4,
             "long": 8, "ulong": 8, "double": 8}
    TYPES = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong"}  # unsigned integers by size
    MASKS = {1: "char", 2: "short", 4: "int", 8: "long"}
    PARTS = {"float2": "float", "double2": "double"}  # complex types, and the type of their parts

    WHOLE = (("float", 16), ("double", 8))  # vectors that CPU drivers' vstore would cut into pieces of 16 and 32 bytes

    def vec(ctype, width):
        return ctype if width == 1 else f"{ctype}{width}"

    def mask_type(T):
        """Type that a comparison of vectors of T yields, and that ?: wants as its condition."""
        return MASKS[SIZES[T]]

    def vector_width(T):
        """Elements of one 64-byte vector for 4- and 8-byte types; 16 for the narrow ones, 1 for complex ones."""
        return 1 if T in PARTS else 8 if SIZES[T] == 8 else 16

    def whole(pointers, width):
        """Condition: that these (ctype, pointer expression) begin at whole vectors of `width`, as GPUs load them at once."""
        return " && ".join(f"((size_t)({p}) & {width * SIZES[c] - 1}) == 0" for c, p in dict.fromkeys(pointers)) or "true"

    def load(ctype, T, pointer, index, width=1, aligned=False):
        """Expression: `width` elements from pointer[index] on, as T; of a whole vector where it is known as `aligned`."""
        if aligned and width > 1:
            if ctype == "half":
                value, ctype = f"vloada_half{width}(0, {pointer} + ({index}))", "float"
            elif ctype == "bf16":
                value = f"bf16_load{width}(*(const global ushort{width} *)({pointer} + ({index})))"
                ctype = "float"
            else:
                value = f"*(const global {ctype}{width} *)({pointer} + ({index}))"
            return value if ctype == T else f"convert_{vec(T, width)}({value})"
        if T in PARTS and ctype not in PARTS:
            return f"({T})({load(ctype, PARTS[T], pointer, index)}, 0)"
        if ctype == "half":
            value = f"vload_half({index}, {pointer})" if width == 1 else f"vload_half{width}(0, {pointer} + ({index}))"
            ctype = "float"
        elif ctype == "bf16":
            value = f"{pointer}[{index}]" if width == 1 else f"vload{width}(0, {pointer} + ({index}))"
            value = f"bf16_load{width}({value})"
            ctype = "float"
        else:
            value = f"{pointer}[{index}]" if width == 1 else f"vload{width}(0, {pointer} + ({index}))"
        return value if ctype == T else f"convert_{vec(T, width)}({value})"

    def store(ctype, T, pointer, index, value, width=1, aligned=False):
        """Statement: write `width` elements of type T to pointer[index] on, a whole vector where it is `aligned`."""
        if aligned and width > 1:
            if ctype in ("half", "bf16") and T != "float":
                value = f"convert_{vec('float', width)}({value})"
            if ctype == "half":
                return f"vstorea_half{width}_rte({value}, 0, {pointer} + ({index}));"
            if ctype == "bf16":
                return f"*(global ushort{width} *)({pointer} + ({index})) = bf16_round{width}({value});"
            value = value if ctype == T else f"convert_{vec(ctype, width)}({value})"
            return f"*(global {ctype}{width} *)({pointer} + ({index})) = {value};"
        if T in PARTS and ctype not in PARTS:
            return store(ctype, PARTS[T], pointer, index, f"({value}).x")
        if ctype in PARTS and T not in PARTS:
            return f"{pointer}[{index}] = ({ctype})({value}, 0);"
        if ctype == "bf16":
            if T != "float":
                value = f"convert_{vec('float', width)}({value})"
            value = f"bf16_round{width}({value})"
            return f"{pointer}[{index}] = {value};" if width == 1 else f"vstore{width}({value}, 0, {pointer} + ({index}));"
        if ctype == "half":
            if T != "float":
                value = f"convert_{vec('float', width)}({value})"
            if width == 1:
                return f"vstore_half_rte({value}, {index}, {pointer});"
            return f"vstore_half{width}_rte({value}, 0, {pointer} + ({index}));"
        if ctype != T:
            value = f"convert_{vec(ctype, width)}({value})"
        if width == 1:
            return f"{pointer}[{index}] = {value};"
        if (ctype, width) in WHOLE:
            return f"STORE_{vec(ctype, width)}({value}, {pointer} + ({index}));"
        return f"vstore{width}({value}, 0, {pointer} + ({index}));"

    def swapped(T, W, a, b, d, upper):
        """Lanes of vectors a and b after step d of a transposition: those of the first of the two, or of the second."""
        lanes = [(a, l + d * upper) if not l & d else (b, l - d + d * upper) for l in range(W)]
        return f"({vec(T, W)})({', '.join(f'{v}.s{l:x}' for v, l in lanes)})"

    def transpose(T, W, name):
        """Statements: the square of vectors {name}0 to {name}W-1 transposed. In step d, vectors r and r + d swap their
        lanes that differ in bit d."""
        text = ""
        for d in (1 << bit for bit in range(W.bit_length() - 1)):
            for r in (r for r in range(W) if not r & d):
                text += f"""{{
                    const {vec(T, W)} x = {name}{r}, y = {name}{r + d};
                    {name}{r} = {swapped(T, W, 'x', 'y', d, 0)};
                    {name}{r + d} = {swapped(T, W, 'x', 'y', d, 1)};
                }}
                """
        return text

    def row_sums(T, W, source, into):
        """Statements: a vector {into} whose lane r is the sum of the lanes of source[r]. In step d, what is left of rows r
        and r + d is added into one vector: its lanes with bit d are the latter's."""
        V = vec(T, W)
        text = "".join(f"const {V} {into}_0_{r} = {source}[{r}];\n" for r in range(W))
        for step in range(W.bit_length() - 1):
            d = 1 << step
            for r in range(0, W, 2 * d):
                pair = f"{into}_{step}_{r}", f"{into}_{step}_{r + d}"
                text += (f"const {V} {into}_{step + 1}_{r} = {swapped(T, W, *pair, d, 0)}\n"
                         f"    + {swapped(T, W, *pair, d, 1)};\n")
        return text + f"const {V} {into} = {into}_{W.bit_length() - 1}_0;"

    def joined(T, W):
        """Functions sum_of and max_of (without NaN) of the lanes of a vector, by halves."""
        text = ""
        for name, two in (("sum_of", "{0} + {1}"), ("max_of", "fmax({0}, {1})")):
            steps, value, w = "", "v", W
            while w > 2:
                w //= 2
                steps += f"    const {vec(T, w)} v{w} = {two.format(value + '.lo', value + '.hi')};\n"
                value = f"v{w}"
            last = two.format(value + ".x", value + ".y")
            text += f"static inline {T} {name}({vec(T, W)} v)\n{{\n{steps}    return {last};\n}}\n"
        return text

    # bfloat16 is the upper half of a float; rounding is to nearest, ties to even, and NaN stays a NaN.
    def bf16(width):
        u, f = vec("uint", width), vec("float", width)
        narrow = vec("ushort", width)
        return f"""
static inline {f} bf16_load{width}({narrow} v) {{ return as_{f}(convert_{u}(v) << 16); }}
static inline {narrow} bf16_round{width}({f} v)
{{
    const {u} bits = as_{u}(v);
    const {u} rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return convert_{narrow}(v != v ? ({u})(0x7fc0u) : rounded);
}}
"""

    def whole_store(v):
        """A store to global memory through a vector type that may begin at any element."""
        part = v.rstrip("0123456789")
        return f"""#if defined(__clang__)
typedef {v} {v}_anywhere __attribute__((aligned(sizeof({part}))));
#define STORE_{v}(value, to) (*(global {v}_anywhere *)(to) = (value))
#else
#define STORE_{v}(value, to) vstore{v.removeprefix(part)}(value, 0, to)
#endif
"""

    def stream():
        """A store to global memory past the caches, of a vector to where it is aligned; an ordinary one elsewhere."""
        return """#ifdef __has_builtin
    #if __has_builtin(__builtin_nontemporal_store)
        #define STREAM(value, to) __builtin_nontemporal_store(value, to)
    #endif
#endif
#ifndef STREAM
    #define STREAM(value, to) *(to) = (value)
#endif
"""

    def ahead():
        """A hint that memory will soon be read, or written as well where ``write`` is 1. Code kept as SPIR has none."""
        return """#if defined(__has_builtin) && !defined(__SPIR__)
    #if __has_builtin(__builtin_prefetch)
        #define AHEAD(at, write) __builtin_prefetch(at, write)
    #endif
#endif
#ifndef AHEAD
    #define AHEAD(at, write)
#endif
"""

    NEAR = 1 << 15  # elements of four rows up to which those of the next four are called while they are moved

    def rows_moved(T, W, streamed, place):
        """Statements: out's rows first .. last - 1, of `inner` elements each, read from x + place, an expression in u that
        is below 0 where there is nothing to read: zeros then, if u is below last. Four rows go together, so that their
        lines of memory are waited for at once."""
        V, four = vec(T, W), range(4)
        loads = "".join(f"const {V} v{r} = vload{W}(0, x + from{r} + i);\n" for r in four)
        write = "STREAM(v{0}, (global {1} *)(out + to + {0} * inner + i));" if streamed else \
            "vstore{2}(v{0}, 0, out + to + {0} * inner + i);"
        stores = "".join(write.format(r, V, W) + "\n" for r in four)
        calls = "".join(f"AHEAD(x + called{r} + i, 0);\n" for r in four)
        vectors = f"for (; i + {W} <= inner; i += {W}) {{\n{calls}{loads}{stores}}}\n" if W > 1 else ""
        each = lambda text: "\n".join(text.format(r) for r in four)
        return f"""
    index_t next[4];
    for (int r = 0; r < 4; ++r) {{
        const index_t u = first + r;
        next[r] = {place};
    }}
    for (index_t t = first; t < last; t += 4) {{
        {each("const index_t from{0} = next[{0}];")}
        for (int r = 0; r < 4; ++r) {{
            const index_t u = t + 4 + r;
            next[r] = {place};
        }}
        const index_t to = t * inner;
        if (min(min(from0, from1), min(from2, from3)) >= 0) {{
            const int near = inner <= {NEAR // 4};
            {each("const index_t called{0} = (near & (next[{0}] >= 0)) ? next[{0}] : from{0};")}
            index_t i = 0;
            {vectors}
            for (; i < inner; ++i) {{
                {each("out[to + {0} * inner + i] = x[from{0} + i];")}
            }}
        }} else {{
            const index_t from[4] = {{from0, from1, from2, from3}};
            for (int r = 0; r < (int)min(last - t, (index_t)4); ++r) {{
                if (from[r] < 0)
                    for (index_t i = 0; i < inner; ++i) out[to + r * inner + i] = ({T})(0);
                else
                    for (index_t i = 0; i < inner; ++i) out[to + r * inner + i] = x[from[r] + i];
            }}
        }}
    }}
    {"mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others" if streamed else ""}"""

    def each(form):
        """The head of a loop over units: on wide cores each work-item takes neighbours, so that it walks through memory."""
        if form == "many":
            return "for (index_t u = get_global_id(0); u < units; u += get_global_size(0))"
        share = "((units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0))"
        return f"for (index_t u = (index_t)get_global_id(0) * {share}, u_end = min(u + {share}, units); u < u_end; ++u)"

    def extensions(*ctypes):
        """Text that opens a kernel over these types."""
        text = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n" if {"double", "double2"} & set(ctypes) else ""
        text += "".join(whole_store(vec(c, w)) for c, w in WHOLE if c in ctypes)
        if "bf16" in ctypes:
            text += "typedef ushort bf16;\n" + "".join(bf16(w) for w in (1, 2, 4, 8, 16))
        return text
%>
