<%!
# C[b] = A[b] @ B[b].  One rendering holds one `part`:
#   wide: [pack ->] tile | dot | vector [-> sum]      work-group size 1, registers, no local memory
#   many:           tile | vector       [-> sum]      local-memory tiles
# The operands' strides and sizes choose the parts, so a program never builds a kernel that it does not launch.
# The part that stores the result may end it first: activation(sum + before) + after, a bias and a residual by name.
PARAMS = {
    # wide: a tile of tile_m rows by vectors*width columns lives in registers
    "tile_m": (1, 2, 4, 6, 8, 12, 16),
    "vectors": (1, 2, 3, 4),
    "width": (4, 8, 16),
    "least_work": (2**17, 2**18, 2**19),  # multiply-adds that pay for a work-item
    "panel_bytes": (2**16, 2**17, 2**18, 2**19),  # of A's tiles that stay in the nearest large cache while panels of B pass
    "pack_a_bytes": (2**20, 2**22, 2**25),  # an operand from this size on is packed although its strides would do
    "pack_b_bytes": (2**22, 2**23, 2**24),
    # a panel of B beyond far_bytes does not stay in a core's own caches while the tiles of A pass: K is split, to near_bytes
    "far_bytes": (2**18, 2**19, 2**20, 2**21),
    "near_bytes": (2**17, 2**18, 2**19),
    "dot_rows": (0, 128, 512),  # rows of A up to which dot products are taken where both operands run along k
    "dot_pair_rows": (0, 32, 128),  # the same where neighbours along k are multiplied two by two: their panels are halved, too
    "vector_least": (2**12, 2**14, 2**16),  # elements of a matrix that pay for a work-item where the other is a vector
    # many: a group of group_m x group_n work-items, each with block_m x block_n results, steps through K by tile_k;
    # with two buffers the next slabs are written while others still read the last ones
    "group_m": (4, 8, 16),
    "group_n": (8, 16, 32),
    "block_m": (2, 4, 8),
    "block_n": (2, 4, 8),
    "tile_k": (8, 16, 32),
    "buffers": (1, 2),
}
# Tiles that are chosen from, rows x vectors, by the work that the edges of a problem waste. Few, because each is a kernel
# to build. With a vector register for each sum, one for each vector of B and one for a value of A, 6 x 4 fills 29 of the
# 32 of AVX-512 and loads least, 10 for 24 multiply-adds; each other tile suits edges that it does not.
TILES = ((6, 4), (8, 3), (8, 2), (8, 1), (2, 4))
_WIDE = {"tile_m": 6, "vectors": 4, "width": 16, "least_work": 2**18, "panel_bytes": 2**17, "pack_a_bytes": 2**20,
         "pack_b_bytes": 2**23, "far_bytes": 2**19, "near_bytes": 2**18, "dot_rows": 128, "dot_pair_rows": 32,
         "vector_least": 2**14}
# Tiles of the many-core form, with 32-bit sums. Registers are those that NVIDIA's assembler (ptxas 12.4, sm_80) allocates,
# none of them spilled; groups and warps are those that an SM with 64 K registers and 64 KB of local memory holds.
#
#   tile        work-items   block   registers   local memory   an SM holds
#   64 x 128    128          8 x 8   139         12.5 KB        3 groups, 12 of 64 warps, each with 64 sums in flight
#   64 x 64     128          8 x 4   85          8.5 KB         5 groups, 20 warps
#   64 x 64     256          4 x 4   64          17.0 KB        3 groups, 24 warps
#   32 x 32     64           4 x 4   80          9.0 KB         7 groups, 14 warps: small results
#
# An AMD SIMD (512 vector registers a lane) keeps 3 wavefronts of the first and 5 to 8 of the others, its CU 64 KB of local
# memory. An Intel vector engine has 4 KB of registers a thread, 64 for a work-item of a sub-group of 16: blocks of 4 x 4 fit,
# so that GPUs that share their memory with a CPU choose among the last two.
def _blocks(group_m, group_n, block_m, block_n, tile_k):
    return {"group_m": group_m, "group_n": group_n, "block_m": block_m, "block_n": block_n, "tile_k": tile_k, "buffers": 2}


MANY_TILES = {4: (_blocks(8, 16, 8, 8, 8), _blocks(8, 16, 8, 4, 8), _blocks(16, 16, 4, 4, 16), _blocks(8, 8, 4, 4, 16)),
              8: (_blocks(8, 16, 4, 4, 8), _blocks(8, 16, 4, 2, 8), _blocks(16, 16, 2, 2, 16), _blocks(8, 8, 2, 2, 16))}
DEFAULT = {                                    # by form and size of the accumulator
    "wide": {4: _WIDE, 8: dict(_WIDE, width=8)},
    "many": {size: tiles[2] for size, tiles in MANY_TILES.items()},
}


def local_bytes(params, itemsize):
    """Local memory of the many-core tile: slabs of A and of B, each line of them with one vector of padding."""
    rows = params["group_m"] * params["block_m"]
    columns = params["group_n"] * params["block_n"]
    return params["buffers"] * params["tile_k"] * (rows * itemsize + 16 + columns * itemsize + 16)


def registers(params, itemsize):
    """32-bit registers of a work-item of the many-core tile, about: two dozen for places, and a quarter more than its sums,
    its values of A and B and what it fetches ahead."""
    m, n = params["block_m"], params["block_n"]
    ahead = params["tile_k"] * (m * params["group_m"] + n * params["group_n"]) // (params["group_m"] * params["group_n"])
    return 24 + (m * n + m + n + ahead) * itemsize * 5 // 16


def valid(params, facts, itemsize=4):
    """Whether these parameters, which hold the keys of one form, can run on a device with these facts."""
    if "group_m" in params:
        items, width = params["group_m"] * params["group_n"], 16 // itemsize
        copied = [params["group_" + side] * params["block_" + side] * params["tile_k"] for side in "mn"]
        return (items <= facts.max_work_group_size and local_bytes(params, itemsize) <= facts.local_mem_size
                and params["block_m"] % width == params["block_n"] % width == params["tile_k"] % width == 0
                and not any(n % (items * width) for n in copied)      # whole vectors for every work-item to copy
                and registers(params, itemsize) * max(items, 256) <= 2**16)
    if params["width"] * itemsize > 64:        # wider than any CPU's registers
        return False
    return params["tile_m"] * params["vectors"] + params["vectors"] + 1 <= 32


def same_bits(ctype, acc):
    """The storage type read as the accumulator: float, double, and 32- and 64-bit integers, whose sums are unsigned so that they wrap."""
    return ctype in (acc, {"uint": "int", "ulong": "long"}.get(acc))


def lanes(acc):
    """Accumulators in a vector of 16 bytes, which many-core devices load and store at once."""
    return 4 if acc in ("float", "uint") else 2


def pieces(n):
    """n lanes as vectors of 16, 8, 4, 2 and 1, largest first: [(first, size)]."""
    first, parts = 0, []
    for size in (16, 8, 4, 2, 1):
        while n - first >= size:
            parts.append((first, size))
            first += size
    return parts
%>
<% prelude = context.lookup.get_template("prelude.mako").module %>\
${prelude.extensions(acc, ctype, out)}\
${activations({1, 4, context.get("width", 1)} if form == "wide" else {1, lanes(acc)})}\
% if form == "wide":
${{"pack": wide_pack, "tile": wide_tile, "dot": wide_dot, "vector": wide_vector, "sum": wide_sum}[part]()}
% else:
${{"tile": many_tile, "vector": many_vector, "sum": many_sum}[part]()}
% endif

## The activation of an ending, for values alone and for vectors.
<%def name="activations(widths)">\
% if activation:
<%
    prelude, functions = (context.lookup.get_template(f"{name}.mako").module for name in ("prelude", "functions"))
    own = functions.used(activation[1], acc, form)
%>\
% for n in sorted(widths):
#define T ${prelude.vec(acc, n)}
#define K(v) ((T)(${'v' if acc == 'double' else 'v##f'}))
#define ZERO ((T)(0))
#define ONE ((T)(1))
${functions.text(own, n)}\
static inline T activate${n}(T ${activation[0]}) { return ${activation[1]}; }
% for name in own:
#undef ${name}
% endfor
#undef T
#undef K
#undef ZERO
#undef ONE
% endfor
% endif
</%def>\
<%def name="madd(c, a, b)">\
${c} += ${a} * ${b};\
</%def>
## Neighbours along k, two 16-bit values a word, which an instruction multiplies and adds two by two.
<%def name="words(n)">\
typedef uint${n} words${n} __attribute__((aligned(2)));
#define WORDS${n}(p) (*(global const words${n} *)(p))
</%def>\
<%def name="add_products(width)">\
% if pairs == "avx512_bf16":
// Products are exact and sums rounded once each; values below the normal ones count as zeros.
static inline float${width} add_products(float${width} c, const uint${width} a, const uint${width} b)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
}
% else:
static inline float${width} add_products(const float${width} c, const uint${width} a, const uint${width} b)
{
    return c + as_float${width}(a & 0xffff0000u) * as_float${width}(b & 0xffff0000u)
             + as_float${width}(a << 16) * as_float${width}(b << 16);
}
% endif
</%def>\
## Storage to accumulator: half and bf16 have no arithmetic of their own, small integers wrap when they are stored.
<%def name="load(pointer)">\
% if ctype == "half":
vload_half(0, ${pointer})\
% elif ctype == "bf16":
bf16_load1(*(${pointer}))\
% else:
(${acc})(*(${pointer}))\
% endif
</%def>
<%def name="load_vector(n, pointer)">\
% if ctype == "half":
vload_half${n}(0, ${pointer})\
% elif ctype == "bf16":
bf16_load${n}(vload${n}(0, ${pointer}))\
% elif ctype == acc:
vload${n}(0, ${pointer})\
% elif same_bits(ctype, acc):
as_${acc}${n}(vload${n}(0, ${pointer}))\
% else:
convert_${acc}${n}(vload${n}(0, ${pointer}))\
% endif
</%def>
## The one place where results leave: `out` is the storage type, or the accumulator's for a partial sum.
<%def name="store(value, pointer, kept='')">\
<% type = kept or out %>\
% if type == "half":
vstore_half_rte(${value}, 0, ${pointer});\
% elif type == "bf16":
*(${pointer}) = bf16_round1(${value});\
% else:
*(${pointer}) = (${type})(${value});\
% endif
</%def>
<%def name="store_vector(n, value, pointer)">\
% if out == "half":
vstore_half${n}_rte(${value}, 0, ${pointer});\
% elif out == "bf16":
vstore${n}(bf16_round${n}(${value}), 0, ${pointer});\
% else:
vstore${n}(convert_${out}${n}(${value}), 0, ${pointer});\
% endif
</%def>

## The end of a sum: `before` and `after` are how a term runs along N, "v" at unit stride, "z" one value a row, "" for
## none. The kernel names the terms E0 and E1; their strides are those of the batch and of the row.
<%def name="ending_parameters()">\
% for i, mode in enumerate((before, after)):
% if mode:
,
                 global const ${ctype} *restrict E${i}, const ${index} e${i}_offset, const ${index} e${i}_b, const ${index} e${i}_row\
% endif
% endfor
</%def>
## Pointers x0, x1 to the terms of one row (and column: of result m, n).
<%def name="ending_start(b, m, n)">\
% for i, mode in enumerate((before, after)):
% if mode:
        global const ${ctype} *x${i} = E${i} + e${i}_offset + ${b} * e${i}_b + ${m} * e${i}_row${f" + {n}" if mode == "v" else ""};
% endif
% endfor
</%def>
## n values of the row `i` below the start, from column `j` on.
<%def name="ended(n, value, i='0', j='0')">\
<%
def term(number, mode):
    place = f"x{number}" + (f" + {i} * e{number}_row" if i != "0" else "") + (f" + {j}" if mode == "v" and j != "0" else "")
    if n == 1:
        return capture(load, place)
    return capture(load_vector, n, place) if mode == "v" else f"({acc}{n})({capture(load, place)})"
text = f"({value} + {term(0, before)})" if before else value
if activation:
    text = f"activate{n}({text})"
if after:
    text = f"({text} + {term(1, after)})"
%>\
${text}\
</%def>

## A panel holds accumulators, or the words of pairs: k then counts pairs, of which the last may lack its second value.
<%def name="copy_panel(tile, along, block)">\
<%
held = "uint" if pairs else acc
def lane_vector(n, first):
    if not pairs:
        return capture(load_vector, n, f"s + k * stride_k + {first}")
    low, high = (f"convert_uint{n}(vload{n}(0, s + (2 * k{second}) * stride_k + {first}))" for second in ("", " + 1"))
    return f"{low} | {high} << 16"
def k_vector(row):
    return f"WORDS{block}(s + {row}2 * k)" if pairs else capture(load_vector, block, f"s + {row}k")
def single(lane):
    if not pairs:
        return capture(load, f"s + {lane} * stride_lane + k * stride_k")
    return f"pair(s + {lane} * stride_lane + 2 * k * stride_k, stride_k, 2 * k + 1 < K)"
%>\
% if pairs:
${words(block)}\
static inline uint pair(global const ushort *s, const ${index} step, const bool both)
{
    return (uint)s[0] | (both ? (uint)s[step] << 16 : 0u);
}
% endif
// p[k * ${tile} + lane] = s[lane, k], zero beyond the last lane, for k from k0 to k1
static inline void copy_panel(global ${held} *restrict p, global const ${ctype} *restrict s, const ${index} stride_lane,
                              const ${index} stride_k, const ${index} lanes, const ${index} k0, const ${index} k1${f", const {index} K" if pairs else ""})
{
    ${index} k = k0;
    const ${index} whole = ${"min(k1, K / 2)" if pairs else "k1"};
% if along == "lane":
    if (lanes == ${tile})
        for (; k < whole; k++) {
% for first, n in pieces(tile):
% if n == 1:
            p[k * ${tile} + ${first}] = ${single(first)};
% else:
            vstore${n}(${lane_vector(n, first)}, 0, p + k * ${tile} + ${first});
% endif
% endfor
        }
% elif along == "k" and tile == 1:
    for (; k + ${block} <= whole; k += ${block}) vstore${block}(${k_vector("")}, 0, p + k);
% elif along == "k" and tile >= block:
    // ${block} x ${block} values at a time are transposed in registers: round after round, pairs of rows are split into even and odd.
    // The last block of lanes and of k reaches back over values already copied rather than beyond the end.
    for (; lanes >= ${block} && whole - k0 >= ${block} && k < whole; k += ${block}) {
        k = min(k, whole - ${block});
        for (int next = 0; next < lanes; next += ${block}) {
            const int i = min(next, (int)lanes - ${block});
<% names = [f"r{i}" for i in range(block)]; V = f"{held}{block}" %>\
% for i in range(block):
            const ${V} r${i} = ${k_vector(f"(i + {i}) * stride_lane + ")};
% endfor
% for r in range(block.bit_length() - 1):
<% last = names; half = block // 2; names = [f"{'tuvw'[r]}{i}" for i in range(block)] %>\
% for i in range(half):
<% x, y = last[2 * i], last[2 * i + 1] %>\
            const ${V} ${names[i]} = (${V})(${x}.even, ${y}.even), ${names[i + half]} = (${V})(${x}.odd, ${y}.odd);
% endfor
% endfor
% for i in range(block):
            vstore${block}(${names[i]}, 0, p + (k + ${i}) * ${tile} + i);
% endfor
        }
        for (${index} j = k; j < k + ${block}; j++)
            for (int i = lanes; i < ${tile}; i++) p[j * ${tile} + i] = 0;
    }
% endif
    for (; k < k1; k++)
        for (int i = 0; i < ${tile}; i++)
            p[k * ${tile} + i] = i < lanes ? ${single("i")} : 0;
}
</%def>
<%def name="wide_pack()">\
<%
    prelude = context.lookup.get_template("prelude.mako").module
    reach = 1 << (tile - 1).bit_length() if along == "lane" and 1 < tile <= 16 and not pairs else 0
%>\
${prelude.whole_store(f"{acc}{reach}") if reach and (acc, reach) not in prelude.WHOLE else ""}\
${copy_panel(tile, along, block)}\
// packed[b][panel][k][lane] = source[b, panel*${tile} + lane, k], zero beyond the last lane.
// A work-item copies `chunk` values of k of `run` panels, so that the core reads memory in straight lines, along k or along
// the lanes; panels vary fastest, so that neighbouring work-items read on along the same lines of memory.
% if totals:
// totals[chunk][lane] = sum over the chunk's k
% endif
kernel void pack(const ${index} L, const ${index} K, const ${index} chunk, const ${index} run, global const ${ctype} *restrict source,
                 const ${index} offset, const ${index} stride_b, const ${index} stride_lane, const ${index} stride_k,
                 global ${"uint" if pairs else acc} *restrict packed${f", global {acc} *restrict totals" if totals else ""})
{
    const ${index} depth = ${"(K + 1) / 2" if pairs else "K"};
    const ${index} chunks = (depth + chunk - 1) / chunk;
    const ${index} panels = (L + ${tile - 1}) / ${tile};
    const ${index} runs = (panels + run - 1) / run;
    const ${index} g = get_global_id(0);
    const ${index} first = g % runs * run, last = min(panels, first + run);
    const ${index} b = g / runs / chunks;
    const ${index} k0 = g / runs % chunks * chunk, k1 = min(depth, k0 + chunk);
    for (${index} panel = first; panel < last; panel++) {
        global ${"uint" if pairs else acc} *p = packed + (b * panels + panel) * depth * ${tile};
        global const ${ctype} *s = source + offset + b * stride_b + panel * ${tile} * stride_lane;
        const ${index} lanes = L - panel * ${tile};
% if totals:
        global ${acc} *t = totals + (k0 / chunk * panels + panel) * ${tile};
% endif
% if reach:
        if (lanes >= ${reach}) {
            // A vector reaches into the next panel: the next k overwrites what it stored there, and the last k stores its own.
% if totals:
            ${acc}${reach} sum = 0;
% endif
#pragma unroll 4
            for (${index} k = k0; k < k1 - 1; k++) {
                const ${acc}${reach} v = ${load_vector(reach, "s + k * stride_k")};
                STORE_${acc}${reach}(v, p + k * ${tile});
% if totals:
                sum += v;
% endif
            }
            const ${acc}${reach} v = ${load_vector(reach, "s + (k1 - 1) * stride_k")};
            ${store_pieces("p + (k1 - 1) * %d" % tile, "v", tile)}
% if totals:
            sum += v;
            ${store_pieces("t", "sum", tile)}
% endif
            continue;
        }
% endif
        copy_panel(p, s, stride_lane, stride_k, min((${index})${tile}, lanes), k0, k1${", K" if pairs else ""});
% if totals:
        for (int i = 0; i < ${tile}; i++) {
            ${acc} sum = 0;
            for (${index} k = k0; k < k1; k++) sum += p[k * ${tile} + i];
            t[i] = sum;
        }
% endif
    }
}
</%def>
## The first n lanes of a vector.
<%def name="store_pieces(pointer, v, n)">\
% for first, count in pieces(n):
${f"vstore{count}({v}.s{''.join('0123456789abcdef'[first:first + count])}, 0, {pointer} + {first}); " if count > 1 else f"({pointer})[{first}] = {v}.s{'0123456789abcdef'[first]}; "}\
% endfor
</%def>

<%def name="wide_tile()">\
<%
tile_n = vectors * width
V = f"{acc}{width}"
each = [(i, v) for i in range(tile_m) for v in range(vectors)]
held = "uint" if pairs else acc
def value_of_a(pointer, i):
    return f"(*(global const word *)({pointer} + {i}))" if pairs else f"{pointer}[{i}]"
def times(c, x, q):
    return f"{c} = add_products({c}, {x}, {q});" if pairs else capture(madd, c, x, q)
%>
% if packs:
${copy_panel(tile_n, packs[0], packs[1])}\
% endif
% if pairs:
typedef uint word __attribute__((aligned(2)));
${add_products(width)}\
% endif
// C[b,m,n] = sum over k of A[b,m,k] * B[b,k,n]
//
//            k        tile_n=${tile_n}        a work-item owns one panel of B (tile_n columns, kept in
//         +-----+    +--+--+--+      cache) and walks down `group` tiles of A; the ${tile_m} x ${tile_n} sums of
//  tile_m |A    | k  |B |  |  |      a tile stay in registers: per k it loads ${vectors} vectors of B and
//   =${f"{tile_m:<5}"} +-----+    +--+--+--+      multiplies each by ${tile_m} broadcast values of A.
//         |     |
// An edge tile is moved back inside (row <= last_m, column <= last_n) and stores only what is its own;
// packed operands are padded with zeros instead, and their last_m, last_n are out of reach.
% if packs:
// A work-item packs its panel of B itself: it walks down all tiles, so nobody else wants the panel.
% endif
% if totals:
// The work-items of the first panel also add up the sums of A's rows over k, which came with its panels in `parts` parts.
% endif
kernel void tile(const ${index} M, const ${index} N, const ${index} K, const ${index} chunk, const ${index} splits, const ${index} group,
                 global const ${"ushort" if pairs else acc} *restrict A, const ${index} a_offset, const ${index} a_b, const ${index} a_tile,
                 const ${index} a_row, const ${index} a_k, const ${index} last_m,
                 global const ${ctype if packs else held} *restrict B, const ${index} b_offset, const ${index} b_b, const ${index} b_panel,
                 const ${index} b_k, const ${index} last_n,
% if packs:
                 global ${held} *restrict packed, const ${index} b_lane,
% endif
                 global ${out} *restrict C, const ${index} c_b, const ${index} c_split${ending_parameters()}\
% if totals:
,
                 global const ${acc} *restrict totals, const ${index} parts, global ${ctype} *restrict sums\
% endif
)
{
    const ${index} panels = (N + ${tile_n - 1}) / ${tile_n};
    const ${index} tiles = (M + ${tile_m - 1}) / ${tile_m};
    const ${index} groups = (tiles + group - 1) / group;
    ${index} g = get_global_id(0);
    const ${index} t0 = g % groups * group;  g /= groups;
    const ${index} panel = g % panels;  g /= panels;
    const ${index} split = g % splits;
    const ${index} b = g / splits;
    const ${index} k0 = split * chunk;
    const ${index} k1 = min(K, k0 + chunk);
    const ${index} n0 = min(panel * ${tile_n}, last_n);
% if packs:
    global ${held} *B0 = packed + (${index})get_global_id(0) * chunk * ${tile_n};
    copy_panel(B0 - k0 * ${tile_n}, B + b_offset + b * b_b + panel * b_panel, b_lane, b_k, min((${index})${tile_n}, N - n0), k0, k1${", 2 * k1" if pairs else ""});
% else:
    global const ${held} *B0 = B + b_offset + b * b_b + panel * b_panel - (panel * ${tile_n} - n0) + k0 * b_k;
% endif

    for (${index} t = t0; t < min(tiles, t0 + group); t++) {
        const ${index} m0 = min(t * ${tile_m}, last_m);
        global const ${"ushort" if pairs else acc} *a = A + a_offset + b * a_b + t * a_tile - (t * ${tile_m} - m0) * a_row + k0 * a_k;
        global const ${held} *q = B0;
% for i, v in each:
        ${V} c${i}_${v} = 0;
% endfor
% if rows == "strided":
% for i in range(0, tile_m, 4):
        global const ${"ushort" if pairs else acc} *a${i} = a + ${i} * a_row;
% endfor
% endif
        for (${index} k = k0; k < k1; k++) {
% for v in range(vectors):
            const ${held}${width} q${v} = vload${width}(${v}, q);
% endfor
% for i in range(tile_m):
% if rows == "strided":
            { const ${held}${width} x = ${value_of_a(f"a{i // 4 * 4}", f"{i % 4} * a_row")};\
% else:
            { const ${held}${width} x = ${value_of_a("a", 2 * i if pairs else i)};\
% endif
% for v in range(vectors):
 ${times(f"c{i}_{v}", "x", f"q{v}")}\
% endfor
 }
% endfor
            q += ${tile_n if packs else "b_k"};
% if rows == "strided":
% for i in range(0, tile_m, 4):
            a${i} += a_k;
% endfor
% else:
            a += a_k;
% endif
        }
        global ${out} *c = C + split * c_split + b * c_b + m0 * N + n0;
${ending_start("b", "m0", "n0")}\
        if (m0 == t * ${tile_m} && m0 + ${tile_m} <= M && n0 == panel * ${tile_n} && n0 + ${tile_n} <= N) {
% for i, v in each:
            ${store_vector(width, capture(ended, width, f"c{i}_{v}", str(i), str(v * width)), f"c + {i} * N + {v * width}")}
% endfor
        } else {
            const ${V} sums[${tile_m * vectors}] = {${", ".join(f"c{i}_{v}" for i, v in each)}};
            const ${acc} *edge = (const ${acc} *)sums;
            for (${index} i = t * ${tile_m} - m0; i < min((${index})${tile_m}, M - m0); i++)
                for (${index} j = panel * ${tile_n} - n0; j < min((${index})${tile_n}, N - n0); j++) {
                    ${store(capture(ended, 1, f"edge[i * {tile_n} + j]", "i", "j"), "c + i * N + j")}
                }
        }
    }
% if totals:
    if (panel == 0 && split == 0)
        for (${index} m = t0 * ${tile_m}; m < min(M, (t0 + group) * ${tile_m}); m++) {
            ${acc} sum = 0;
            for (${index} i = 0; i < parts; i++) sum += totals[i * tiles * ${tile_m} + m];
            ${store("sum", "sums + m", ctype)}
        }
% endif
}
</%def>

<%def name="wide_dot()">\
<% V = f"{acc}{width}"; each = [(i, j) for i in range(4) for j in range(4)]; mask = "long" if acc in ("double", "ulong") else "int"
held, step = (f"uint{width}", 2 * width) if pairs else (V, width)
def along_k(row):
    return f"WORDS{width}({row} + k)" if pairs else capture(load_vector, width, f"{row} + k")
def fresh_of(value):
    return f"{value} & fresh" if pairs else f"fresh ? {value} : ({V})0"
def times(c, x, q):
    return f"{c} = add_products({c}, {x}, {q});" if pairs else capture(madd, c, x, q)
%>\
% if pairs:
${words(width)}\
${add_products(width)}\
% endif
// C[b,m,n] = sum over k of A[b,m,k] * B[b,k,n] where both have unit stride along k: x @ w.T and q @ k.T without packing
//
//        +-----k---->       +-----k---->     a work-item sums 4 rows of A times 4 columns of B in 16 vectors that run
//   4    |A vectors  x  4   |B vectors       along k, and adds up their lanes at the end; it walks down `group` tiles
//        +---------->       +---------->     of A while its 4 columns of B stay in the cache.
kernel void dot_tile(const ${index} M, const ${index} N, const ${index} K, const ${index} chunk, const ${index} splits, const ${index} group,
                global const ${ctype} *restrict A, const ${index} a_offset, const ${index} a_b, const ${index} a_row,
                global const ${ctype} *restrict B, const ${index} b_offset, const ${index} b_b, const ${index} b_column,
                global ${out} *restrict C, const ${index} c_b, const ${index} c_split${ending_parameters()})
{
    const ${index} panels = (N + 3) / 4;
    const ${index} tiles = (M + 3) / 4;
    const ${index} groups = (tiles + group - 1) / group;
    ${index} g = get_global_id(0);
    const ${index} n0 = g % panels * 4;  g /= panels;
    const ${index} t0 = g % groups * group;  g /= groups;
    const ${index} split = g % splits;
    const ${index} b = g / splits;
    const ${index} k0 = split * chunk;
    const ${index} k1 = min(K, k0 + chunk);
    // rows and columns beyond the last repeat it, so that the inner loop has no branch
% for j in range(4):
    global const ${ctype} *b${j} = B + b_offset + b * b_b + min(n0 + ${j}, N - 1) * b_column;
% endfor
    for (${index} m0 = t0 * 4; m0 < min(M, (t0 + group) * 4); m0 += 4) {
% for i in range(4):
        global const ${ctype} *a${i} = A + a_offset + b * a_b + min(m0 + ${i}, M - 1) * a_row;
% endfor
        ${V} ${", ".join(f"c{i}_{j} = 0" for i, j in each)};
        ${index} k = k0;
        for (; k + ${step} <= k1; k += ${step}) {
% for j in range(4):
            const ${held} q${j} = ${along_k(f"b{j}")};
% endfor
% for i in range(4):
            { const ${held} x = ${along_k(f"a{i}")};\
% for j in range(4):
 ${times(f"c{i}_{j}", "x", f"q{j}")}\
% endfor
 }
% endfor
        }
        if (k < k1) {
            // the last ${step} of K (which is no smaller): values already summed, or of another split, count as zero
            k = k1 - ${step};
% if pairs:
            const uint${width} first = (uint${width})(${", ".join(str(2 * i) for i in range(width))}) + (uint)((k1 - k0) % ${step});
            const uint${width} fresh = (first >= ${step}u ? (uint${width})0xffffu : (uint${width})0)
                                     | (first + 1u >= ${step}u ? (uint${width})0xffff0000u : (uint${width})0);
% else:
            const ${mask}${width} fresh = (${mask}${width})(${", ".join(map(str, range(width)))}) >= (${mask})(${width} - (k1 - k0) % ${width});
% endif
% for j in range(4):
            const ${held} q${j} = ${fresh_of(along_k(f"b{j}"))};
% endfor
% for i in range(4):
            { const ${held} x = ${fresh_of(along_k(f"a{i}"))};\
% for j in range(4):
 ${times(f"c{i}_{j}", "x", f"q{j}")}\
% endfor
 }
% endfor
        }
        ${acc} sums[16];
<% names = [f"c{i}_{j}" for i, j in each] %>\
% for r in range(width.bit_length() - 1):
<% last = names; names = [f"s{r}_{i}" for i in range(len(last) // 2)] %>\
% for i, name in enumerate(names):
<% x, y = last[2 * i], last[2 * i + 1] %>\
        const ${V} ${name} = (${V})(${x}.even, ${y}.even) + (${V})(${x}.odd, ${y}.odd);
% endfor
% endfor
% for i, name in enumerate(names):
        vstore${width}(${name}, ${i}, sums);
% endfor
        global ${out} *c = C + split * c_split + b * c_b + m0 * N + n0;
${ending_start("b", "m0", "n0")}\
        if (n0 + 4 <= N)
            for (int i = 0; i < min((${index})4, M - m0); i++) {
                ${store_vector(4, capture(ended, 4, "vload4(i, sums)", "i"), "c + i * N")}
            }
        else
            for (int i = 0; i < min((${index})4, M - m0); i++)
                for (int j = 0; j < N - n0; j++) {
                    ${store(capture(ended, 1, "sums[4 * i + j]", "i", "j"), "c + i * N + j")}
                }
    }
}
</%def>

<%def name="wide_vector()">\
<% V = f"{acc}{width}"; span = 16384 // (8 if acc in ("double", "ulong") else 4) // 4; %>\
// y[b,i] = sum over k of W[b,i,k] * x[b,k]: a matrix and a vector, W read once in long straight lines.
//   along k (W has unit stride there): a work-item takes `rows` results, four at a time, each summed in vectors
//   along out: eight lines of W at a time are added to `rows` (at most ${span}) sums that stay in the nearest cache
kernel void vector(const ${index} L, const ${index} K, const ${index} chunk, const ${index} splits, const ${index} rows,
                   global const ${acc} *restrict x, const ${index} x_offset, const ${index} x_b,
                   global const ${ctype} *restrict W, const ${index} w_offset, const ${index} w_b, const ${index} w_out, const ${index} w_k,
                   global ${out} *restrict C, const ${index} c_b, const ${index} c_split${ending_parameters()})
{
    const ${index} blocks = (L + rows - 1) / rows;
    ${index} g = get_global_id(0);
    const ${index} i0 = g % blocks * rows;  g /= blocks;
    const ${index} split = g % splits;
    const ${index} b = g / splits;
    const ${index} k0 = split * chunk;
    const ${index} k1 = min(K, k0 + chunk);
    const int n = min(rows, L - i0);
    x += x_offset + b * x_b;
    W += w_offset + b * w_b + i0 * w_out;
    global ${out} *c = C + split * c_split + b * c_b + i0;
${ending_start("b", "i0", "0")}\
% if along == "out":
    ${acc} sums[${span}];
    for (int i = 0; i < n; i++) sums[i] = 0;
    ${index} k = k0;
% for lines in (8, 1):
    for (; k + ${lines} <= k1; k += ${lines}) {
        global const ${ctype} *w = W + k * w_k;
        int i = 0;
        for (; i + ${width} <= n; i += ${width}) {
            ${V} s = vload${width}(0, sums + i);
% for r in range(lines):
            ${madd("s", f"({V})x[k + {r}]", capture(load_vector, width, f"w + {r} * w_k + i"))}
% endfor
            vstore${width}(s, 0, sums + i);
        }
        for (; i < n; i++)
            sums[i] += \
% for r in range(lines):
${" + " if r else ""}x[k + ${r}] * ${load(f"w + {r} * w_k + i")}\
% endfor
;
    }
% endfor
    int i = 0;
% if not (before or after or activation):
    for (; i + ${width} <= n; i += ${width}) { ${store_vector(width, f"vload{width}(0, sums + i)", "c + i")} }
% endif
    for (; i < n; i++) { ${store(capture(ended, 1, "sums[i]", "i"), "c + i")} }
% elif along == "k":
    // rows beyond the last repeat it, so that the inner loop has no branch
    for (int i = 0; i < n; i += 4) {
% for r in range(4):
        global const ${ctype} *w${r} = W + min(i + ${r}, n - 1) * w_out;
        ${V} s${r} = 0, u${r} = 0;
        ${acc} c${r} = 0;
% endfor
        ${index} k = k0;
        for (; k + ${2 * width} <= k1; k += ${2 * width}) {
            const ${V} x0 = vload${width}(0, x + k), x1 = vload${width}(0, x + k + ${width});
% for r in range(4):
            ${madd(f"s{r}", "x0", capture(load_vector, width, f"w{r} + k"))}
            ${madd(f"u{r}", "x1", capture(load_vector, width, f"w{r} + k + {width}"))}
% endfor
        }
        for (; k < k1; k++) {
% for r in range(4):
            c${r} += x[k] * ${load(f"w{r} + k")};
% endfor
        }
% for r in range(4):
        if (i + ${r} < n) {
            const ${V} s = s${r} + u${r};
            c${r} += ${" + ".join(f"s.s{'0123456789abcdef'[j]}" for j in range(width))};
            ${store(capture(ended, 1, f"c{r}", f"(i + {r})"), f"c + i + {r}")}
        }
% endfor
    }
% else:
    for (int i = 0; i < n; i++) {
        ${acc} s = 0;
        for (${index} k = k0; k < k1; k++) s += x[k] * ${load("W + i * w_out + k * w_k")};
        ${store(capture(ended, 1, "s", "i"), "c + i")}
    }
% endif
}
</%def>

## n values, n * their size a power of two, from an address that is a multiple of it: one load, one store.
<%def name="load_aligned(n, pointer)">\
% if ctype == "half":
vloada_half${n}(0, ${pointer})\
% elif ctype == "bf16":
bf16_load${n}(*(global const ushort${n} *)(${pointer}))\
% elif ctype == acc:
*(global const ${ctype}${n} *)(${pointer})\
% elif same_bits(ctype, acc):
as_${acc}${n}(*(global const ${ctype}${n} *)(${pointer}))\
% else:
convert_${acc}${n}(*(global const ${ctype}${n} *)(${pointer}))\
% endif
</%def>
<%def name="store_aligned(n, value, pointer)">\
% if out == "half":
vstorea_half${n}_rte(${value}, 0, ${pointer});\
% elif out == "bf16":
*(global ushort${n} *)(${pointer}) = bf16_round${n}(${value});\
% else:
*(global ${out}${n} *)(${pointer}) = convert_${out}${n}(${value});\
% endif
</%def>
<%def name="fetch(n)">\
// The first `count` of ${n} values, `step` elements apart; zeros for the others. `aligned` when one load can have them all.
static inline ${acc}${n} fetch(global const ${ctype} *p, const bool aligned, const ${index} count, const ${index} step)
{
    if (aligned && count >= ${n}) return ${load_aligned(n, "p")};
    ${acc}${n} v = 0;
% for i in range(n):
    if (count > ${i}) v.s${i} = ${load(f"p + {i} * step")};
% endfor
    return v;
}
</%def>
## Whether all vectors of an operand can be had by one load each: its unit stride lies along them, its lines begin at
## multiples of their size.
<%def name="is_aligned(pointer, n, step, line, kept='')">\
${step} == 1 && (${line} & ${n - 1}) == 0 && ((size_t)${pointer} & (${n} * sizeof(${kept or ctype}) - 1)) == 0\
</%def>

## The vector v ends and leaves, or what of it lies before the edge: row i and column `at` from the results' place m, n on.
<%def name="ended_vector(L, i, at)">\
                const ${index} left = N - n - ${at};
                if (left >= ${L}) {
                    v = ${ended(L, "v", i, str(at))};
                    if (c_aligned) { ${store_aligned(L, "v", f"c + {i} * N + {at}")} } else { ${store_vector(L, "v", f"c + {i} * N + {at}")} }
                } else {
                    ${acc} edge[${L}];
                    vstore${L}(v, 0, edge);
                    for (int j = 0; j < left; j++) { ${store(capture(ended, 1, "edge[j]", i, f"({at} + j)"), f"c + {i} * N + {at} + j")} }
                }
</%def>

<%def name="many_tile()">\
<%
L = lanes(acc)
V = f"{acc}{L}"
tile_m, tile_n, items = group_m * block_m, group_n * block_n, group_m * group_n
pieces_a, pieces_b = (tile * tile_k // L // items for tile in (tile_m, tile_n))
%>
// C[b,m,n] = sum over k of A[b,m,k] * B[b,k,n]
//
//            tile_k=${f"{tile_k:<3}"}          tile_n=${tile_n}       ${group_m} x ${group_n} work-items copy a slab of A and one of B to local memory,
//          +--+--+--+    +-----+-----+   zeros beyond the edges, and each sums ${block_m} x ${block_n} results in registers.
//  tile_m  |A |->|  |  k |  B  |     |   They are vectors of ${L}, group_m and group_n vectors apart: neighbours read
//   =${f"{tile_m:<5}"}  +--+--+--+    +-----+-----+   neighbouring local vectors and store neighbouring results.
//                        |  v  |         The slabs of the next step are on their way to registers meanwhile.
//
${fetch(L)}\
__attribute__((reqd_work_group_size(${items}, 1, 1)))
kernel void tile(const ${index} M, const ${index} N, const ${index} K, const ${index} chunk, const ${index} splits,
                 global const ${ctype} *restrict A, const ${index} a_offset, const ${index} a_b, const ${index} a_row, const ${index} a_k,
                 global const ${ctype} *restrict B, const ${index} b_offset, const ${index} b_b, const ${index} b_k, const ${index} b_column,
                 global ${out} *restrict C, const ${index} c_b, const ${index} c_split${ending_parameters()})
{
    // One vector of padding a line: where vectors of A run along k their lanes go to ${L} lines, and without it neighbours
    // would write to the same few banks.
    local ${V} As[${buffers}][${tile_k}][${tile_m // L + 1}], Bs[${buffers}][${tile_k}][${tile_n // L + 1}];
    const int item = get_local_id(0), row = item / ${group_n}, column = item % ${group_n};
    const ${index} panels = (N + ${tile_n - 1}) / ${tile_n};
    const ${index} tiles = (M + ${tile_m - 1}) / ${tile_m};
    ${index} g = get_group_id(0);
    const ${index} n0 = g % panels * ${tile_n};  g /= panels;
    const ${index} m0 = g % tiles * ${tile_m};  g /= tiles;
    const ${index} split = g % splits;
    const ${index} b = g / splits;
    const ${index} k1 = min(K, (split + 1) * chunk);
    A += a_offset + b * a_b;
    B += b_offset + b * b_b;
    const bool a_aligned = ${is_aligned("A", L, "a_k", "a_row") if a_along == "k" else is_aligned("A", L, "a_row", "a_k")};
    const bool b_aligned = ${is_aligned("B", L, "b_k", "b_column") if b_along == "k" else is_aligned("B", L, "b_column", "b_k")};
% for i in range(block_m):
    ${V} ${", ".join(f"c{i}_{j} = 0" for j in range(block_n // L))};
% endfor
    ${V} ${", ".join([f"a{p}" for p in range(pieces_a)] + [f"b{p}" for p in range(pieces_b)])};
    int now = 0;
<%def name="places(p, tile, along)">\
## Neighbouring work-items take neighbouring memory: along k, or along the rows when those have unit stride.
<% e = f"(item + {p * items})" if p else "item" %>\
% if along == "k":
const int k = ${e} % ${tile_k // L} * ${L}, i = ${e} / ${tile_k // L};\
% else:
const int i = ${e} % ${tile // L} * ${L}, k = ${e} / ${tile // L};\
% endif
</%def>\
<%def name="ahead(k0)">\
% for name, tile, along, count, line, step, first, end in (("A", tile_m, a_along, pieces_a, "a_row", "a_k", "m0", "M"), ("B", tile_n, b_along, pieces_b, "b_column", "b_k", "n0", "N")):
% for p in range(count):
        {
            ${places(p, tile, along)}
            const ${index} x = ${first} + i, y = ${k0} + k;
            ${name.lower()}${p} = fetch(${name} + min(x, ${end} - 1) * ${line} + min(y, k1 - 1) * ${step}, ${name.lower()}_aligned, \
% if along == "k":
x < ${end} ? k1 - y : 0, ${step});
% else:
y < k1 ? ${end} - x : 0, ${line});
% endif
        }
% endfor
% endfor
</%def>\
<%def name="keep(buffer)">\
% for name, tile, along, count in (("A", tile_m, a_along, pieces_a), ("B", tile_n, b_along, pieces_b)):
% for p in range(count):
        {
            ${places(p, tile, along)}
% if along == "k":
% for lane in range(L):
            ((local ${acc} *)${name}s[${buffer}][k + ${lane}])[i] = ${name.lower()}${p}.s${lane};
% endfor
% else:
            ${name}s[${buffer}][k][i / ${L}] = ${name.lower()}${p};
% endif
        }
% endfor
% endfor
</%def>\
${ahead("split * chunk")}\
${keep("0")}\
    barrier(CLK_LOCAL_MEM_FENCE);
    for (${index} k0 = split * chunk; k0 < k1; k0 += ${tile_k}) {
        // beyond the last step there is nothing to read: zeros, which nobody adds
${ahead(f"k0 + {tile_k}")}\
#pragma unroll 8
        for (int k = 0; k < ${tile_k}; k++) {
% for j in range(block_n // L):
            const ${V} q${j} = Bs[now][k][column + ${j * group_n}];
% endfor
% for i in range(block_m // L):
            { const ${V} x = As[now][k][row + ${i * group_m}];
% for lane in range(L):
             \
% for j in range(block_n // L):
 ${madd(f"c{i * L + lane}_{j}", f"x.s{lane}", f"q{j}")}\
% endfor

% endfor
            }
% endfor
        }
% if buffers == 2:
        now = 1 - now;
% else:
        barrier(CLK_LOCAL_MEM_FENCE);
% endif
${keep("now")}\
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const ${index} m = m0 + row * ${L}, n = n0 + column * ${L};
    global ${out} *c = C + split * c_split + b * c_b + m * N + n;
${ending_start("b", "m", "n")}\
    const bool c_aligned = ${is_aligned("C", L, "1", "N", out)};
    // One row at a time, chosen among the registers: the text of an ending stands here once, not ${block_m} times.
    for (int r = 0; r < ${block_m}; r++) {
        const ${index} i = r / ${L} * ${group_m * L} + r % ${L};
        if (m + i < M) {
% for j in range(block_n // L):
<% at = j * group_n * L %>\
            {
                ${V} v = c0_${j};
% for i in range(1, block_m):
                v = r == ${i} ? c${i}_${j} : v;
% endfor
${ended_vector(L, "i", at)}\
            }
% endfor
        }
    }
}
</%def>

<%def name="many_vector()">\
<%
items = group_m * group_n
L = lanes(acc)
V = f"{acc}{L}"
%>
// y[b,i] = sum over k of W[b,i,k] * x[b,k]
//   along out: a work-item per result
//   along k:   ${team} work-items a result, their sums met in a tree in local memory, ${items // team} results a group
% if along == "k":
${fetch(L)}\
% endif
__attribute__((reqd_work_group_size(${items}, 1, 1)))
kernel void vector(const ${index} L, const ${index} K, const ${index} chunk, const ${index} splits,
                   global const ${ctype} *restrict x, const ${index} x_offset, const ${index} x_b, const ${index} x_k,
                   global const ${ctype} *restrict W, const ${index} w_offset, const ${index} w_b, const ${index} w_out, const ${index} w_k,
                   global ${out} *restrict C, const ${index} c_b, const ${index} c_split${ending_parameters()})
{
    const int item = get_local_id(0);
    ${index} g = get_group_id(0);
<% count = items // team if along == "k" else items %>\
    const ${index} blocks = (L + ${count - 1}) / ${count};
    const ${index} i = g % blocks * ${count} + item${f" / {team}" if along == "k" else ""};  g /= blocks;
    const ${index} split = g % splits;
    const ${index} b = g / splits;
    const ${index} k0 = split * chunk;
    const ${index} k1 = min(K, k0 + chunk);
    global const ${ctype} *xb = x + x_offset + b * x_b, *w = W + w_offset + b * w_b + i * w_out;
    ${acc} s = 0;
${ending_start("b", "i", "0")}\
% if along == "k":
    local ${acc} sums[${items}];
    const int lane = item % ${team};
    ${V} v = 0;
    if (i < L) {
        const bool x_aligned = ${is_aligned("xb", L, "x_k", "0")}, w_aligned = ${is_aligned("w", L, "w_k", "0")};
        for (${index} k = k0 + lane * ${L}; k < k1; k += ${team * L})
            v += fetch(xb + k * x_k, x_aligned, k1 - k, x_k) * fetch(w + k * w_k, w_aligned, k1 - k, w_k);
    }
    sums[item] = ${" + ".join(f"v.s{j}" for j in range(L))};
    for (int half_way = ${team // 2}; half_way > 0; half_way /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_way) sums[item] += sums[item + half_way];
    }
    if (lane == 0 && i < L) { ${store(capture(ended, 1, "sums[item]"), "C + split * c_split + b * c_b + i")} }
% else:
    if (i < L) {
        for (${index} k = k0; k < k1; k++) s += ${load("xb + k * x_k")} * ${load("w + k * w_k")};
        ${store(capture(ended, 1, "s"), "C + split * c_split + b * c_b + i")}
    }
% endif
}
</%def>

<%def name="partial_sum(width)">\
// C[i] = sum over s of P[s, i]: the partial sums of a split K, added in one fixed order. i walks rows of N results.
kernel void sum(const ${index} count, const ${index} M, const ${index} N, const ${index} splits, const ${index} each,
                global const ${acc} *restrict P, global ${out} *restrict C${ending_parameters()})
{
    ${index} i = get_global_id(0) * each;
    const ${index} end = min(count, i + each);
    while (i < end) {
        const ${index} row = i / N, column = i % N, stop = min(end, i + N - column);
${ending_start("(row / M)", "(row % M)", "column")}\
        const ${index} first = i;
% if width > 1:
        for (; i + ${width} <= stop; i += ${width}) {
            ${acc}${width} s = 0;
            for (${index} j = 0; j < splits; j++) s += vload${width}(0, P + j * count + i);
            ${store_vector(width, capture(ended, width, "s", "0", "i - first"), "C + i")}
        }
% endif
        for (; i < stop; i++) {
            ${acc} s = 0;
            for (${index} j = 0; j < splits; j++) s += P[j * count + i];
            ${store(capture(ended, 1, "s", "0", "(i - first)"), "C + i")}
        }
    }
}
</%def>
<%def name="wide_sum()">${partial_sum(width)}</%def>
<%def name="many_sum()">${partial_sum(1)}</%def>
