## Stable sorting of lines of K elements, and what goes with it.
##
##   keys:       key[e] orders as x[e]: an unsigned integer, NaN the largest, -0 as 0, negated to descend
##   runs:       sorts blocks: 16 elements by a network in registers, then merged in pairs up to the block
##   merge:      dst[o] = the o-th of two sorted neighbours of `width` elements; a unit writes `chunk` elements, and finds
##               where they begin on the merge path (Green, Odeh, Birk 2014, "Merge path"), so that all have equal work
##   network:    short lines, eight at a time, a lane each: blocks of 16 by a network in registers, then merged in pairs
##               (Batcher 1968, "Sorting networks and their applications": bitonic merges); the first `keep` are written
##   positions:  out[e] = where in its line the e-th of the sorted elements was
##   invert:     out[l, at[l, j]] = j
##   compact:    out[count[e] - 1] = e, for every e where the running count rises
##   search:     out[e] = number of elements of a sorted line before value e (or not behind it)
##
## An item is (key, position); positions make equal keys differ, so every order found is the stable one. `packed`: keys of
## 32 bits share an integer with the position; else two arrays hold them.
<%!
    PARAMS = {"network": (0, 128, 256, 512), "local": (32, 64, 128, 256), "block": (16, 64, 1024, 4096, 8192), "chunk": (16, 32, 64, 1024, 4096)}
    DEFAULT = {"wide": {"network": 512, "local": 1, "block": 4096, "chunk": 4096},  # network: longest line sorted by one
               "many": {"network": 0, "local": 64, "block": 16, "chunk": 32}}
    LONGEST = 512  # elements of a line in a network's private memory

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size and params["network"] <= LONGEST

    def network(n):
        """Batcher's odd-even merge sort of n (a power of two) values, as pairs to be put in order."""
        pairs = []
        p = 1
        while p < n:
            k = p
            while k:
                for j in range(k % p, n - k, 2 * k):
                    for i in range(min(k, n - j - k)):
                        if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                            pairs.append((i + j, i + j + k))
                k //= 2
            p *= 2
        return pairs
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
%>
${prelude.extensions(ctype, T)}
typedef ${index} index_t;
% if form == "wide":
#define EACH(u, units) index_t u = (index_t)get_global_id(0) * SHARE(units); \
    u < min((index_t)(get_global_id(0) + 1) * SHARE(units), units); ++u
#define SHARE(units) ((units + (index_t)get_global_size(0) - 1) / (index_t)get_global_size(0))
% else:
#define EACH(u, units) index_t u = get_global_id(0); u < units; u += get_global_size(0)
% endif

% if kind in ("keys", "network"):
static inline ${"uint" if packed else "ulong"} key_of(${T} x)
{
% if T == "float":
    if (x != x) return 0xffffffffu;
    const uint bits = (x == 0) ? 0u : as_uint(x);
    return (bits >> 31) ? ~bits : bits | 0x80000000u;
% elif T == "double":
    if (x != x) return 0xfffffffffffffffful;
    const ulong bits = (x == 0) ? 0ul : as_ulong(x);
    return (bits >> 63) ? ~bits : bits | 0x8000000000000000ul;
% elif ctype == "long":
    return (ulong)x ^ 0x8000000000000000ul;
% elif ctype in ("char", "short", "int"):
    return (uint)(int)x ^ 0x80000000u;
% else:
    return x;
% endif
}

% if kind == "keys":
kernel void keys(global ulong *key, global uint *at, const global ${ctype} *x, index_t x_offset, index_t K, int descending,
                 index_t units)
{
    for (EACH(u, units)) {
        const uint k = u % K;
% if packed:
        const uint own = key_of(${prelude.load(ctype, T, "x", "x_offset + u")});
        key[u] = ((ulong)(descending ? ~own : own) << 32) | k;
% else:
        const ulong own = key_of(${prelude.load(ctype, T, "x", "x_offset + u")});
        key[u] = descending ? ~own : own;
        at[u] = k;
% endif
    }
}
% else:
<%def name="ordered(a, b)">{ const ulong8 low = min(${a}, ${b}); ${b} = max(${a}, ${b}); ${a} = low; }</%def>\
// Puts v[a + e] and v[b + e], or v[b - e] where `turned`, in order for all e below n.
static inline void pairs(ulong8 *v, int a, int b, int n, int turned)
{
    if (turned) {
        for (int e = 0; e < n; ++e) ${ordered("v[a + e]", "v[b - e]")}
    } else {
        for (int e = 0; e < n; ++e) ${ordered("v[a + e]", "v[b + e]")}
    }
}

kernel void network(${"global " + raw + " *values, " if what != "places" else ""}${"global long *at, " if what != "values" else ""}const global ${ctype} *x, index_t x_offset, index_t K, index_t keep,
                    int descending, int padded, index_t lines, index_t units)
{
    ulong8 v[${LONGEST}];
    for (EACH(u, units)) {
        for (int l = 0; l < 8; ++l) {
            const index_t from = x_offset + min(u * 8 + l, lines - 1) * K;
            for (int k = 0; k < K; ++k) {
                const uint own = key_of(${prelude.load(ctype, T, "x", "from + k")});
                ((ulong *)v)[k * 8 + l] = ((ulong)(descending ? ~own : own) << 32) | k;
            }
        }
        for (int k = K; k < padded; ++k) v[k] = (ulong8)(0xfffffffffffffffful);
        for (int t = 0; t < padded; t += 16) {
            % for j in range(16):
            ulong8 v${j} = v[t + ${j}];
            % endfor
            % for a, b in network(16):
            ${ordered(f"v{a}", f"v{b}")}
            % endfor
            % for j in range(16):
            v[t + ${j}] = v${j};
            % endfor
        }
        for (int width = 16; width < padded; width *= 2) {
            for (int t = 0; t < padded; t += 2 * width)
                pairs(v, t, t + 2 * width - 1, width, 1);
            for (int half_way = width / 2; half_way >= 16; half_way /= 2)
                for (int t = 0; t < padded; t += 2 * half_way)
                    pairs(v, t, t + half_way, half_way, 0);
            for (int t = 0; t < padded; t += 16) {
                % for j in range(16):
                ulong8 v${j} = v[t + ${j}];
                % endfor
                % for k in (8, 4, 2, 1):
                    % for j in [j for j in range(16) if not j & k]:
                ${ordered(f"v{j}", f"v{j + k}")}
                    % endfor
                % endfor
                % for j in range(16):
                v[t + ${j}] = v${j};
                % endfor
            }
        }
        for (int l = 0; l < min((index_t)8, lines - u * 8); ++l) {
            const index_t line = u * 8 + l;
            for (int k = 0; k < keep; ++k) {
                const uint place = (uint)((ulong *)v)[k * 8 + l];
                % if what != "places":
                values[line * keep + k] = ((const global ${raw} *)x)[x_offset + line * K + place];
                % endif
                % if what != "values":
                at[line * keep + k] = place;
                % endif
            }
        }
    }
}
% endif
% elif kind == "search":
// NaN stands behind every number.
static inline int before(${T} a, ${T} b) { return a < b || (b != b && a == a); }

kernel void search(global long *out, const global ${ctype} *line, index_t line_offset, const global ${ctype} *x,
                   index_t x_offset, index_t K, index_t M, index_t pitch, int right, index_t units)
{
    for (EACH(u, units)) {
        const ${T} v = ${prelude.load(ctype, T, "x", "x_offset + u")};
        const index_t base = line_offset + u / M * pitch;
        index_t low = 0, high = K;
        while (low < high) {
            const index_t mid = low + (high - low) / 2;
            const ${T} own = ${prelude.load(ctype, T, "line", "base + mid")};
            if (right ? !before(v, own) : before(own, v)) low = mid + 1;
            else high = mid;
        }
        out[u] = low;
    }
}
% else:
% if packed:
typedef ulong item;
#define PAD 0xfffffffffffffffful
static inline int less(item a, item b) { return a < b; }
static inline item get(const global ulong *key, const global uint *at, index_t e) { return key[e]; }
static inline void put(global ulong *key, global uint *at, index_t e, item v) { key[e] = v; }
static inline item pick(int first, item a, item b) { return first ? a : b; }
static inline uint place(item v) { return (uint)v; }
% else:
typedef struct { ulong key; uint at; } item;
static inline int less(item a, item b) { return (a.key < b.key) | ((a.key == b.key) & (a.at < b.at)); }
static inline item get(const global ulong *key, const global uint *at, index_t e)
{
    item v;
    v.key = key[e];
    v.at = at[e];
    return v;
}
static inline void put(global ulong *key, global uint *at, index_t e, item v)
{
    key[e] = v.key;
    at[e] = v.at;
}
static inline item pick(int first, item a, item b)
{
    item v;
    v.key = first ? a.key : b.key;
    v.at = first ? a.at : b.at;
    return v;
}
static inline uint place(item v) { return v.at; }
% endif

// How many of the first d elements of the merged line come from a (na long); the rest come from b (nb long).
static inline index_t split(const global ulong *key, const global uint *at, index_t a, index_t na, index_t b, index_t nb,
                            index_t d)
{
    index_t low = max(d - nb, (index_t)0), high = min(d, na);
    while (low < high) {
        const index_t mid = low + (high - low) / 2;
        if (less(get(key, at, a + mid), get(key, at, b + d - 1 - mid))) low = mid + 1;
        else high = mid;
    }
    return low;
}

// Elements o0 .. o1 - 1 of the merge of a (na long) and its neighbour b (nb long).
static inline void merge_part(global ulong *to_key, global uint *to_at, const global ulong *key, const global uint *at,
                              index_t a, index_t na, index_t nb, index_t o0, index_t o1)
{
    const index_t b = a + na;
    const index_t i0 = o0 ? split(key, at, a, na, b, nb, o0) : 0;
    const index_t i1 = (o1 < na + nb) ? split(key, at, a, na, b, nb, o1) : na;
    const index_t j0 = o0 - i0, j1 = o1 - i1, back = (o1 - o0) / 2, ahead = o1 - o0 - back;
    index_t i = a + i0, j = b + j0, o = a + o0;
    // From both ends at once, two chains that do not wait for each other. A side that runs out is read one element too
    // far: that is harmless where the neighbour is in the line, for it then loses every comparison.
    if (((i0 > 0 && i1 < na) || i1 - i0 >= ahead) && ((j0 > 0 && j1 < nb) || j1 - j0 >= ahead)) {
        index_t p = a + i1 - 1, q = b + j1 - 1, r = a + o1 - 1;
        for (index_t n = 0; n < back; ++n) {
            const item x = get(key, at, i), y = get(key, at, j), s = get(key, at, p), t = get(key, at, q);
            const int first = less(x, y), last = less(s, t);
            put(to_key, to_at, o++, pick(first, x, y));
            put(to_key, to_at, r--, pick(last, t, s));
            i += first;
            j += !first;
            q -= last;
            p -= !last;
        }
        if (ahead > back) {
            const item x = get(key, at, i), y = get(key, at, j);
            put(to_key, to_at, o, pick(less(x, y), x, y));
        }
    } else {
        while (i < a + i1 && j < b + j1) {
            for (index_t n = min(a + i1 - i, b + j1 - j); n > 0; --n) {
                const item x = get(key, at, i), y = get(key, at, j);
                const int first = less(x, y);
                put(to_key, to_at, o++, pick(first, x, y));
                i += first;
                j += !first;
            }
        }
        for (; i < a + i1; ++i) put(to_key, to_at, o++, get(key, at, i));
        for (; j < b + j1; ++j) put(to_key, to_at, o++, get(key, at, j));
    }
}

kernel void runs(global ulong *key, global uint *at, global ulong *other_key, global uint *other_at, index_t K,
                 index_t block, index_t blocks, index_t units)
{
    for (EACH(u, units)) {
        const index_t own = (u % blocks) * block;
        const index_t base = u / blocks * K + own;
        const index_t n = min(block, K - own);
        for (index_t t = 0; t < n; t += 16) {
% if not packed:
            item PAD;
            PAD.key = 0xfffffffffffffffful;
            PAD.at = 0xffffffffu;
% endif
            % for j in range(16):
            item v${j} = PAD;
            % endfor
            const index_t full = min((index_t)16, n - t);
            % for j in range(16):
            if (${j} < full) v${j} = get(key, at, base + t + ${j});
            % endfor
            % for a, b in network(16):
            { const int c = less(v${b}, v${a}); const item x = pick(c, v${b}, v${a}); v${b} = pick(c, v${a}, v${b}); v${a} = x; }
            % endfor
            % for j in range(16):
            if (${j} < full) put(key, at, base + t + ${j}, v${j});
            % endfor
        }
        // An odd number of these leaves the block in the other arrays, for short lines too.
        global ulong *from_key = key, *to_key = other_key;
        global uint *from_at = at, *to_at = other_at;
        for (index_t width = 16; width < block; width *= 2) {
            for (index_t t = 0; t < n; t += 2 * width) {
                const index_t both = min(2 * width, n - t), na = min(width, both);
                merge_part(to_key, to_at, from_key, from_at, base + t, na, both - na, 0, both);
            }
            global ulong *k = from_key;
            global uint *p = from_at;
            from_key = to_key;
            from_at = to_at;
            to_key = k;
            to_at = p;
        }
    }
}

kernel void merge(global ulong *to_key, global uint *to_at, const global ulong *key, const global uint *at, index_t K,
                  index_t width, index_t chunk, index_t chunks, index_t units)
{
    // Both are powers of two, and a chunk is no longer than two widths, so it lies in one pair.
    for (EACH(u, units)) {
        const index_t base = u / chunks * K;
        const index_t o0 = (u % chunks) * chunk;
        const index_t pair = o0 & ~(2 * width - 1);
        const index_t both = min(2 * width, K - pair), na = min(width, both);
        merge_part(to_key, to_at, key, at, base + pair, na, both - na, o0 - pair, min(o0 + chunk - pair, both));
    }
}

kernel void positions(global long *out, const global ulong *key, const global uint *at, index_t units)
{
    for (EACH(u, units))
        out[u] = place(get(key, at, u));
}

kernel void invert(global long *out, const global long *at, index_t at_offset, index_t K, index_t units)
{
    for (EACH(u, units)) {
        const index_t k = u % K;
        out[u - k + (index_t)at[at_offset + u]] = k;
    }
}

kernel void compact(global long *out, const global long *count, index_t count_offset, index_t units)
{
    for (EACH(u, units)) {
        const long own = count[count_offset + u];
        if (own > (u ? count[count_offset + u - 1] : 0))
            out[own - 1] = u;
    }
}
% endif
