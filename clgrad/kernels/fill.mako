## out[i] = one of the eight bytes of `pattern`, in turn, for every byte i below n: an element's bytes repeated, for wide
## cores. Vectors, which begin at multiples of their size, are written past the caches where `stream`.
<%
    prelude = context.lookup.get_template("prelude.mako").module
%>
${prelude.stream() if stream else ""}
kernel void fill(global uchar *out, ulong pattern, long n)
{
    const long vectors = n / 64, share = (vectors + get_global_size(0) - 1) / get_global_size(0);
    const long first = min((long)get_global_id(0) * share, vectors), last = min(first + share, vectors);
    const ulong8 v = (ulong8)(pattern);
    global ulong8 *to = (global ulong8 *)out;
    for (long i = first; i < last; ++i) ${"STREAM(v, to + i);" if stream else "to[i] = v;"}
    ${"mem_fence(CLK_GLOBAL_MEM_FENCE);  // streamed stores are not ordered with others" if stream else ""}
    const long tail = get_global_id(0) ? n : vectors * 64;
    for (long i = tail; i < n; ++i) out[i] = (uchar)(pattern >> (i % 8 * 8));
}
