## Loads, stores and types shared by the families. Half is a storage type: it is loaded to float and rounded on store.
<%!
    SIZES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "half": 2, "int": 4, "uint": 4, "float": 4,
             "long": 8, "ulong": 8, "double": 8}
    MASKS = {1: "char", 2: "short", 4: "int", 8: "long"}

    def vec(ctype, width):
        return ctype if width == 1 else f"{ctype}{width}"

    def mask_type(T):
        """Type that a comparison of vectors of T yields, and that ?: wants as its condition."""
        return MASKS[SIZES[T]]

    def vector_width(T):
        """Elements of one 64-byte vector for 4- and 8-byte types; 16 for the narrow ones."""
        return 8 if SIZES[T] == 8 else 16

    def load(ctype, T, pointer, index, width=1):
        """Expression: `width` elements from pointer[index] on, as T."""
        if ctype == "half":
            value = f"vload_half({index}, {pointer})" if width == 1 else f"vload_half{width}(0, {pointer} + ({index}))"
            ctype = "float"
        else:
            value = f"{pointer}[{index}]" if width == 1 else f"vload{width}(0, {pointer} + ({index}))"
        return value if ctype == T else f"convert_{vec(T, width)}({value})"

    def store(ctype, T, pointer, index, value, width=1):
        """Statement: write `width` elements of type T to pointer[index] on."""
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
        return f"vstore{width}({value}, 0, {pointer} + ({index}));"

    def extensions(*ctypes):
        return "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n" if "double" in ctypes else ""
%>
