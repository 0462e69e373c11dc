<%!
# C[b] = A[b] @ B[b] of float16 or bfloat16 by the matrix units of a many-core device, summed in float32.
#
# A warp of 32 work-items multiplies a fragment of A (16 rows x 16 of k) by one of B (16 of k x 8 columns) at once. Each
# work-item holds a share of them in registers, two 16-bit values a register, as the PTX manual draws it for
# mma.m16n8k16. With g = lane / 4 and t = lane % 4:
#
#   A   4 registers: rows g and g + 8 at k = 2t, 2t + 1; then the same rows at k = 2t + 8, 2t + 9
#   B   2 registers: column g at k = 2t, 2t + 1, and at k = 2t + 8, 2t + 9
#   C   4 floats:    row g, columns 2t and 2t + 1; row g + 8, the same columns
#
# unit: "ptx", NVIDIA's instruction (compute capability 8.0 on), or "emulated": its meaning, in local memory and plain C,
# so that all else of the kernel can be tested on any device.
PARAMS = {
    "warps_m": (1, 2, 4),        # warps of a group, fragments of a warp, and steps of k between two barriers
    "warps_n": (1, 2, 4),
    "fragments_m": (1, 2, 4),
    "fragments_n": (2, 4, 8),
    "tile_k": (16, 32, 64),
}
# Registers are those that NVIDIA's assembler (ptxas 12.4, sm_80) allocates, none of them spilled; 8 warps of 64 x 32 results
# read 24 words of fragments for 16 products of two, 4 warps of 32 x 32 results 16 for 8.
#
#   tile         work-items   registers   local memory   an SM with 64 K registers holds
#   128 x 128    256          164         40 KB          1 group, 8 warps: each has 16 products in flight
#   64 x 64      128          126         20 KB          4 groups, 16 warps (2 where local memory ends at 64 KB)
TILES = ({"warps_m": 2, "warps_n": 4, "fragments_m": 4, "fragments_n": 4, "tile_k": 32},
         {"warps_m": 2, "warps_n": 2, "fragments_m": 2, "fragments_n": 4, "tile_k": 32})
DEFAULT = {"many": TILES[1]}


def tile(params):
    """Rows and columns of the result that a group computes, and its work-items."""
    return (params["warps_m"] * params["fragments_m"] * 16, params["warps_n"] * params["fragments_n"] * 8,
            params["warps_m"] * params["warps_n"] * 32)


def pitch(tile_k):
    """Words of a line of a slab: 8 lines, four words apart from a multiple of 8, begin at 8 different banks of 32, and each
    line at a vector of 16 bytes."""
    return tile_k // 2 + 4


def local_bytes(params):
    """Local memory: two buffers for a slab of A and one of B; the results pass through it in the end, a strip at a time."""
    rows, columns, _ = tile(params)
    return 4 * max(2 * (rows + columns) * pitch(params["tile_k"]), params["warps_m"] * 16 * (columns + 8))


def valid(params, facts):
    """Whether these parameters can run on a device with these facts."""
    rows, columns, items = tile(params)
    copied = [n * params["tile_k"] for n in (rows, columns)]
    return (items <= facts.max_work_group_size and local_bytes(params) <= min(facts.local_mem_size, 48 * 1024)
            and rows % 32 == columns % 32 == 0 and not any(n % (8 * items) for n in copied)
            and 64 + 4 * params["fragments_m"] * (params["fragments_n"] + 1) + sum(copied) // items // 2 <= 255)
%>
<%namespace name="product" file="matmul.mako"/>\
<%
prelude = context.lookup.get_template("prelude.mako").module
rows, columns, items = tile({"warps_m": warps_m, "warps_n": warps_n, "fragments_m": fragments_m,
                             "fragments_n": fragments_n, "tile_k": tile_k})
line = pitch(tile_k)
slab_a, slab = rows * line, (rows + columns) * line
words = max(2 * slab, warps_m * 16 * (columns + 8))
strip = columns + 8      # words of a line of the results on their way out: rows g, g + 1 are 8 banks apart
pieces_a, pieces_b = rows * tile_k // 8 // items, columns * tile_k // 8 // items
each = [(i, j) for i in range(fragments_m) for j in range(fragments_n)]
sides = (("A", rows, a_along, pieces_a, "a_row", "a_k", "m0", "M", 0),
         ("B", columns, b_along, pieces_b, "b_column", "b_k", "n0", "N", slab_a))
%>\
${prelude.extensions(acc, ctype, out)}\
${product.activations({1, 4})}\
% if unit == "ptx":
// d = a * b + d for one fragment each; all 32 work-items of a warp come here together.
static inline float4 multiply(const uint4 a, const uint2 b, const float4 d)
{
    float d0 = d.x, d1 = d.y, d2 = d.z, d3 = d.w;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.${'f16.f16' if ctype == 'half' else 'bf16.bf16'}.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
    return (float4)(d0, d1, d2, d3);
}
#define MULTIPLY(a, b, d) multiply(a, b, d)
% else:
static inline float value_of(const uint word, const int second)
{
    const ushort bits = (ushort)(second ? word >> 16 : word);
% if ctype == "half":
    return vload_half(0, (const half *)&bits);
% else:
    return as_float((uint)bits << 16);
% endif
}
// The same through local memory: work-items show each other what they hold, then each finds its four rows and columns.
static inline float4 multiply(const uint4 a, const uint2 b, float4 d, local uint *shown, const int lane)
{
    const uint held[6] = {a.x, a.y, a.z, a.w, b.x, b.y};
    float sums[4];
    for (int r = 0; r < 6; r++) shown[r * 32 + lane] = held[r];
    vstore4(d, 0, sums);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int c = 0; c < 4; c++) {
        const int row = lane / 4 + c / 2 * 8, column = lane % 4 * 2 + c % 2;
        for (int k = 0; k < 16; k++) {
            const uint x = shown[(row / 8 + k / 8 * 2) * 32 + row % 8 * 4 + k % 8 / 2];
            const uint y = shown[(4 + k / 8) * 32 + column * 4 + k % 8 / 2];
            sums[c] += value_of(x, k % 2) * value_of(y, k % 2);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return vload4(0, sums);
}
#define MULTIPLY(a, b, d) multiply(a, b, d, shown + item / 32 * 192, lane)
% endif
% for n in (4, 8):
// The first `count` of ${n} values, `step` elements apart, as they are stored; zeros for the others.
static inline ushort${n} fetch${n}(global const ushort *p, const bool aligned, const ${index} count, const ${index} step)
{
    if (aligned && count >= ${n}) return *(global const ushort${n} *)p;
    ushort${n} v = 0;
% for i in range(n):
    if (count > ${i}) v.s${i} = p[${i} * step];
% endfor
    return v;
}
% endfor
<%def name="places(p, tile, along)">\
## Along k: 8 values of one line. Along the lines: 4 lines at two values of k, which share a word; 8 neighbours take 32
## lines, so that they read whole pieces of memory and yet not all write to the same banks.
<% e = f"(item + {p * items})" if p else "item" %>\
% if along == "k":
const int k = ${e} % ${tile_k // 8} * 8, i = ${e} / ${tile_k // 8};\
% else:
const int i = (${e} % 8 + ${e} / 32 % ${tile // 32} * 8) * 4, k = (${e} / 8 % 4 + ${e} / ${tile} * 4) * 2;\
% endif
</%def>\
<%def name="ahead(k0)">\
% for name, tile, along, count, line_step, step, first, end, start in sides:
% for p in range(count):
        {
            ${places(p, tile, along)}
            const ${index} x = ${first} + i, y = ${k0} + k;
            global const ushort *p = ${name}0 + min(x, ${end} - 1) * ${line_step} + min(y, k1 - 1) * ${step};
% if along == "k":
            ${name.lower()}${p} = as_uint4(fetch8(p, ${name.lower()}_aligned, x < ${end} ? k1 - y : 0, ${step}));
% else:
            const ushort4 even = fetch4(p, ${name.lower()}_aligned, y < k1 ? ${end} - x : 0, ${line_step});
            const ushort4 odd = fetch4(p + ${step}, ${name.lower()}_aligned, y + 1 < k1 ? ${end} - x : 0, ${line_step});
            ${name.lower()}${p} = convert_uint4(even) | convert_uint4(odd) << 16;
% endif
        }
% endfor
% endfor
</%def>\
<%def name="keep(buffer)">\
% for name, tile, along, count, line_step, step, first, end, start in sides:
% for p in range(count):
        {
            ${places(p, tile, along)}
            local uint *to = words + ${buffer} * ${slab} + ${start} + i * ${line} + k / 2;
% if along == "k":
            *(local uint4 *)to = ${name.lower()}${p};
% else:
% for lane in range(4):
            to[${lane * line}] = ${name.lower()}${p}.s${lane};
% endfor
% endif
        }
% endfor
% endfor
</%def>\

//             tile_k=${f"{tile_k:<3}"}      columns=${f"{columns:<4}"}
//           +-----+   +-----+-----+    ${warps_m} x ${warps_n} warps of ${fragments_m} x ${fragments_n} fragments. Slabs lie in local memory line by line, k
//   rows=   |  A  |   |  B  |     |    innermost for both operands, a word for two values of k; those of the next
//   ${f"{rows:<4}"}    +-----+   +-----+-----+    step are on their way to registers meanwhile.
__attribute__((reqd_work_group_size(${items}, 1, 1)))
kernel void matrix(const ${index} M, const ${index} N, const ${index} K, const ${index} chunk, const ${index} splits,
                   global const ${ctype} *restrict A, const ${index} a_offset, const ${index} a_b, const ${index} a_row, const ${index} a_k,
                   global const ${ctype} *restrict B, const ${index} b_offset, const ${index} b_b, const ${index} b_k, const ${index} b_column,
                   global ${out} *restrict C, const ${index} c_b, const ${index} c_split${product.ending_parameters()})
{
    local uint4 slabs[${words // 4}];
    local uint *const words = (local uint *)slabs;
% if unit != "ptx":
    local uint shown[${items * 6}];
% endif
    const int item = get_local_id(0), lane = item % 32;
    const int first_row = item / 32 / ${warps_n} * ${fragments_m * 16}, first_column = item / 32 % ${warps_n} * ${fragments_n * 8};
    const ${index} panels = (N + ${columns - 1}) / ${columns};
    const ${index} tiles = (M + ${rows - 1}) / ${rows};
    ${index} g = get_group_id(0);
    const ${index} n0 = g % panels * ${columns};  g /= panels;
    const ${index} m0 = g % tiles * ${rows};  g /= tiles;
    const ${index} split = g % splits;
    const ${index} b = g / splits;
    const ${index} k1 = min(K, (split + 1) * chunk);
    global const ushort *A0 = (global const ushort *)A + a_offset + b * a_b;
    global const ushort *B0 = (global const ushort *)B + b_offset + b * b_b;
    const bool a_aligned = ${product.is_aligned("A0", 8, "a_k", "a_row") if a_along == "k" else product.is_aligned("A0", 4, "a_row", "a_k")};
    const bool b_aligned = ${product.is_aligned("B0", 8, "b_k", "b_column") if b_along == "k" else product.is_aligned("B0", 4, "b_column", "b_k")};
    float4 ${", ".join(f"c{i}_{j} = 0" for i, j in each)};
    uint4 ${", ".join([f"a{p}" for p in range(pieces_a)] + [f"b{p}" for p in range(pieces_b)])};
    int now = 0;
${ahead("split * chunk")}\
${keep("0")}\
    barrier(CLK_LOCAL_MEM_FENCE);
    for (${index} k0 = split * chunk; k0 < k1; k0 += ${tile_k}) {
        // beyond the last step there is nothing to read: zeros, which nobody adds
${ahead(f"k0 + {tile_k}")}\
        local const uint *p = words + now * ${slab} + (first_row + lane / 4) * ${line} + lane % 4;
        local const uint *q = words + now * ${slab} + ${slab_a} + (first_column + lane / 4) * ${line} + lane % 4;
        for (int k = 0; k < ${tile_k // 2}; k += 8) {
% for i in range(fragments_m):
            const uint4 x${i} = (uint4)(p[k + ${16 * i * line}], p[k + ${(16 * i + 8) * line}], p[k + ${16 * i * line + 4}], p[k + ${(16 * i + 8) * line + 4}]);
% endfor
% for j in range(fragments_n):
            {
                const uint2 y = (uint2)(q[k + ${8 * j * line}], q[k + ${8 * j * line + 4}]);
% for i in range(fragments_m):
                c${i}_${j} = MULTIPLY(x${i}, y, c${i}_${j});
% endfor
            }
% endfor
        }
        now = 1 - now;
${keep("now")}\
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    // Out through local memory, a fragment's rows of every warp at a time, so that neighbours store neighbouring results.
    const ${index} m = m0, n = n0;
    global ${out} *c = C + split * c_split + b * c_b + m * N + n;
${product.ending_start("b", "m", "n")}\
    const bool c_aligned = ${product.is_aligned("C", 4, "1", "N", out)};
    local uint *to = words + (item / 32 / ${warps_n} * 16 + lane / 4) * ${strip} + first_column + lane % 4 * 2;
% for i in range(fragments_m):
% if i:
    barrier(CLK_LOCAL_MEM_FENCE);
% endif
% for j in range(fragments_n):
    vstore2(as_uint2(c${i}_${j}.lo), 0, to + ${j * 8});
    vstore2(as_uint2(c${i}_${j}.hi), 0, to + ${j * 8 + 8 * strip});
% endfor
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = item; e < ${warps_m * 16 * columns // 4}; e += ${items}) {
        const int r = e / ${columns // 4}, at = e % ${columns // 4} * 4;
        const ${index} i = r / 16 * ${fragments_m * 16} + ${i * 16} + r % 16;
        if (m + i < M) {
            float4 v = as_float4(*(local const uint4 *)(words + r * ${strip} + at));
${product.ended_vector(4, "i", "at")}\
        }
    }
% endfor
}
