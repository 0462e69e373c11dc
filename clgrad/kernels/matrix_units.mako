<%!
# C[b] = A[b] @ B[b] of float16 or bfloat16 by the matrix units of a many-core device, summed in float32.
#
# The work-items of a sub-group (a warp, a wave) multiply a fragment of A by one of B at once. Each holds a share of them in
# registers, two 16-bit values along k a word; which share, the vendor says: the PTX manual's drawing of mma.m16n8k16, AMD's
# matrix instruction calculator for v_wmma_f32_16x16x16 (RDNA 3) and v_mfma_f32_32x32x8 (CDNA 2), and Intel's text of
# cl_intel_subgroup_matrix_multiply_accumulate, whose sub-groups have 8 work-items on some devices and 16 on others.
#
# A unit's fragments are m x k of A, k x n of B and m x n of results. "a" and "b": line and word of k of the first register of
# a work-item, then how far each register lies from it; "results": row and column, likewise. What a register of A holds where
# it is no word: "a_type". "registers": 32-bit ones that a work-item may have.
#
# A unit's name with "emulated " before it means the same in local memory and plain C, so that all else of the kernel can be
# tested on any device: where PLACES, written the other way round, says that a value is kept.
_EIGHT = range(8)
UNITS = {
    "ptx": {"lanes": 32, "m": 16, "n": 8, "k": 16, "registers": 255,
            "a": ("lane / 4", "lane % 4", [(0, 0), (8, 0), (0, 4), (8, 4)]),
            "b": ("lane / 4", "lane % 4", [(0, 0), (0, 4)]),
            "results": ("lane / 4", "lane % 4 * 2", [(0, 0), (0, 1), (8, 0), (8, 1)])},
    "wmma": {"lanes": 32, "m": 16, "n": 16, "k": 16, "registers": 128,
             "a": ("lane % 16", "0", [(0, r) for r in _EIGHT]), "b": ("lane % 16", "0", [(0, r) for r in _EIGHT]),
             "results": ("lane / 16", "lane % 16", [(2 * r, 0) for r in _EIGHT])},
    "mfma": {"lanes": 64, "m": 32, "n": 32, "k": 8, "registers": 256,
             "a": ("lane % 32", "lane / 32 * 2", [(0, 0), (0, 1)]), "b": ("lane % 32", "lane / 32 * 2", [(0, 0), (0, 1)]),
             "results": ("lane / 32 * 4", "lane % 32", [(r // 4 * 8 + r % 4, 0) for r in range(16)])},
    "dpas8": {"lanes": 8, "m": 8, "n": 8, "k": 16, "registers": 128,
              "a": ("0", "lane", [(r, 0) for r in _EIGHT]), "b": ("lane", "0", [(0, r) for r in _EIGHT]),
              "results": ("0", "lane", [(r, 0) for r in _EIGHT])},
    "dpas16": {"lanes": 16, "m": 8, "n": 16, "k": 16, "registers": 128, "a_type": "ushort",
               "a": ("0", "lane", [(r, 0) for r in _EIGHT]), "b": ("lane", "0", [(0, r) for r in _EIGHT]),
               "results": ("0", "lane", [(r, 0) for r in _EIGHT])},
}
# Register and lane of A[i][k], of B[k][j] and of result [i][j]. RDNA 3 wants A and B twice, in the lanes from 16 on as well.
PLACES = {
    "ptx": (("i / 8 + k / 8 * 2", "i % 8 * 4 + k % 8 / 2"), ("k / 8", "j * 4 + k % 8 / 2"),
            ("i / 8 * 2 + j % 2", "i % 8 * 4 + j / 2")),
    "wmma": (("k / 2", "i + lane / 16 * 16"), ("k / 2", "j + lane / 16 * 16"), ("i / 2", "i % 2 * 16 + j")),
    "mfma": (("k % 4 / 2", "i + k / 4 * 32"), ("k % 4 / 2", "j + k / 4 * 32"), ("i / 8 * 4 + i % 4", "j + i / 4 % 2 * 32")),
    "dpas8": (("i", "k / 2"), ("k / 2", "j"), ("i", "j")),
    "dpas16": (("i", "k"), ("k / 2", "j"), ("i", "j")),
}
PARAMS = {
    "warps_m": (1, 2, 4),        # sub-groups of a group, fragments of one, and steps of k between two barriers
    "warps_n": (1, 2, 4, 8),
    "fragments_m": (1, 2, 4),
    "fragments_n": (1, 2, 4, 8),
    "tile_k": (16, 32, 64),
}
# Registers are those that NVIDIA's assembler (ptxas 12.4, sm_80) allocates, none of them spilled; 8 warps of 64 x 32 results
# read 24 words of fragments for 16 products of two, 4 warps of 32 x 32 results 16 for 8.
#
#   tile         work-items   registers   local memory   an SM with 64 K registers holds
#   128 x 128    256          164         40 KB          1 group, 8 warps: each has 16 products in flight
#   64 x 64      128          126         20 KB          4 groups, 16 warps (2 where local memory ends at 64 KB)
#
# AMD's are those of clang 15 for gfx1100 (which grants a work-item 128 of these groups: 128 x 128 results would be spilled)
# and gfx90a (those of the sums apart), none spilled either. Intel's compiler was not at hand: half of a work-item's 128
# words are sums and fragments.
#
#   tile              work-items   registers   local memory
#   wmma 64 x 128     256          90 to 96    30 KB
#   wmma 64 x 64      128          96 to 114   20 KB
#   mfma 128 x 128    256          88 + 64     40 KB
#   mfma 64 x 64      256          44 + 16     20 KB
def _tile(warps_m, warps_n, fragments_m, fragments_n):
    return {"warps_m": warps_m, "warps_n": warps_n, "fragments_m": fragments_m, "fragments_n": fragments_n, "tile_k": 32}


TILES = {"ptx": (_tile(2, 4, 4, 4), _tile(2, 2, 2, 4)), "wmma": (_tile(2, 4, 2, 2), _tile(2, 2, 2, 2)),
         "mfma": (_tile(2, 2, 2, 2), _tile(2, 2, 1, 1)), "dpas8": (_tile(4, 8, 2, 2), _tile(4, 4, 2, 2)),
         "dpas16": (_tile(4, 4, 2, 2), _tile(4, 2, 2, 2))}
DEFAULT = {"many": TILES["ptx"][1]}


def shape(unit):
    """A unit's fragments, emulated or not."""
    return UNITS[unit.removeprefix("emulated ")]


def tile(params, unit):
    """Rows and columns of the result that a group computes, and its work-items."""
    u = shape(unit)
    return (params["warps_m"] * params["fragments_m"] * u["m"], params["warps_n"] * params["fragments_n"] * u["n"],
            params["warps_m"] * params["warps_n"] * u["lanes"])


def words_of(unit):
    """32-bit registers of a work-item for a fragment of A, of B and of results."""
    u = shape(unit)
    return len(u["a"][2]) // (2 if "a_type" in u else 1), len(u["b"][2]), len(u["results"][2])


def pitch(tile_k):
    """Words of a line of a slab: 8 lines, four words apart from a multiple of 8, begin at 8 different banks of 32, and each
    line at a vector of 16 bytes."""
    return tile_k // 2 + 4


def local_bytes(params, unit):
    """Local memory: two buffers for a slab of A and one of B; the results pass through it in the end, a strip at a time."""
    rows, columns, _ = tile(params, unit)
    return 4 * max(2 * (rows + columns) * pitch(params["tile_k"]), params["warps_m"] * shape(unit)["m"] * (columns + 8))


def cost(params, unit):
    """What a result costs: its products, and the words of fragments read for them."""
    u, (a, b, _) = shape(unit), words_of(unit)
    return 1 + (a / params["fragments_n"] + b / params["fragments_m"]) * 16 * u["lanes"] / (u["m"] * u["n"] * u["k"])


def valid(params, facts, unit="ptx"):
    """Whether these parameters can run on a device with these facts."""
    rows, columns, items = tile(params, unit)
    copied, m, (a, b, d) = [n * params["tile_k"] for n in (rows, columns)], params["fragments_m"], words_of(unit)
    held = d * m * params["fragments_n"] + a * m + b + sum(copied) // items // 2
    spare = 62 if unit.endswith("ptx") else shape(unit)["registers"] // 4
    return (items <= facts.max_work_group_size and local_bytes(params, unit) <= min(facts.local_mem_size, 48 * 1024)
            and rows % 32 == columns % 32 == 0 and not any(n % (8 * items) for n in copied)
            and params["tile_k"] % shape(unit)["k"] == 0 and spare + held <= shape(unit)["registers"])
%>
<%namespace name="product" file="matmul.mako"/>\
<%
prelude = context.lookup.get_template("prelude.mako").module
rows, columns, items = tile({"warps_m": warps_m, "warps_n": warps_n, "fragments_m": fragments_m,
                             "fragments_n": fragments_n, "tile_k": tile_k}, unit)
u, emulated, name_of_unit = shape(unit), unit.startswith("emulated "), unit.removeprefix("emulated ")
lanes, m_, n_, k_ = u["lanes"], u["m"], u["n"], u["k"]
a_type = u.get("a_type", "uint")
(a_line, a_word, a_held), (b_line, b_word, b_held), (d_row, d_column, d_held) = u["a"], u["b"], u["results"]
A_TYPE, B_TYPE, D_TYPE = f"{a_type}{len(a_held)}", f"uint{len(b_held)}", f"float{len(d_held)}"
f16 = ctype == "half"
line = pitch(tile_k)
slab_a, slab = rows * line, (rows + columns) * line
words = max(2 * slab, warps_m * m_ * (columns + 8))
shown = max(len(a_held) + len(b_held), len(d_held)) * lanes  # words of a sub-group, where a unit is emulated
strip = columns + 8      # words of a line of the results on their way out: rows g, g + 1 are 8 banks apart
pieces_a, pieces_b = rows * tile_k // 8 // items, columns * tile_k // 8 // items
each = [(i, j) for i in range(fragments_m) for j in range(fragments_n)]
sides = (("A", rows, a_along, pieces_a, "a_row", "a_k", "m0", "M", 0),
         ("B", columns, b_along, pieces_b, "b_column", "b_k", "n0", "N", slab_a))

def fragment(kind, base, first, held):
    """A fragment's registers, from local memory; those that lie side by side by vectors."""
    per = 2 if kind == "ushort" else 1
    at = [f"{base}[{'2 * k' if per == 2 else 'k'} + {(first + r) * line * per + w}]" for r, w in held]
    if len(held) > 1 and all(place == (0, r) for r, place in enumerate(held)):
        size = min(4, len(held))
        at = [f"*(local const uint{size} *)({base} + k + {first * line + r})" for r in range(0, len(held), size)]
    return at[0] if len(at) == 1 else f"({kind}{len(held)})({', '.join(at)})"
%>\
${prelude.extensions(acc, ctype, out)}\
${product.activations({1, 4})}\
// d = a * b + d for one fragment each; all work-items of a sub-group come here together.
% if emulated:
<% (a_register, a_lane), (b_register, b_lane), (d_register, d_lane) = PLACES[name_of_unit] %>\
static inline float value_of(const uint word, const int second)
{
    const ushort bits = (ushort)(second ? word >> 16 : word);
% if f16:
    return vload_half(0, (const half *)&bits);
% else:
    return as_float((uint)bits << 16);
% endif
}
// Work-items show each other what they hold, then each computes some of the results and shows them.
static inline ${D_TYPE} multiply(const ${A_TYPE} a, const ${B_TYPE} b, const ${D_TYPE} d, local uint *shown, const int lane)
{
    float sums[${len(d_held)}];
% for r in range(len(a_held)):
    shown[${r * lanes} + lane] = a.s${"%x" % r};
% endfor
% for r in range(len(b_held)):
    shown[${(len(a_held) + r) * lanes} + lane] = b.s${"%x" % r};
% endfor
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = 0; e < ${len(d_held)}; e++) {
        const int i = (e * ${lanes} + lane) / ${n_}, j = (e * ${lanes} + lane) % ${n_};
        sums[e] = 0;
        for (int k = 0; k < ${k_}; k++) {
            const uint x = shown[(${a_register}) * ${lanes} + ${a_lane}];
            const uint y = shown[(${len(a_held)} + ${b_register}) * ${lanes} + ${b_lane}];
            sums[e] += value_of(x, ${"0" if a_type == "ushort" else "k % 2"}) * value_of(y, k % 2);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = 0; e < ${len(d_held)}; e++) {
        const int i = (e * ${lanes} + lane) / ${n_}, j = (e * ${lanes} + lane) % ${n_};
        shown[(${d_register}) * ${lanes} + ${d_lane}] = as_uint(sums[e]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const ${D_TYPE} product = (${D_TYPE})(${", ".join(f"as_float(shown[{r * lanes} + lane])" for r in range(len(d_held)))});
    barrier(CLK_LOCAL_MEM_FENCE);
    return d + product;
}
#define MULTIPLY(a, b, d) multiply(a, b, d, shown + item / ${lanes} * ${shown}, lane)
% elif unit == "ptx":
static inline float4 multiply(const uint4 a, const uint2 b, const float4 d)
{
    float d0 = d.x, d1 = d.y, d2 = d.z, d3 = d.w;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.${'f16.f16' if f16 else 'bf16.bf16'}.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
    return (float4)(d0, d1, d2, d3);
}
#define MULTIPLY(a, b, d) multiply(a, b, d)
% elif unit == "wmma":
% if f16:
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define MULTIPLY(a, b, d) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(as_half16(a), as_half16(b), d)
% else:
#define MULTIPLY(a, b, d) __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(as_short16(a), as_short16(b), d)
% endif
% elif unit == "mfma":
% if f16:
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#define MULTIPLY(a, b, d) __builtin_amdgcn_mfma_f32_32x32x8f16(as_half4(a), as_half4(b), d, 0, 0, 0)
% else:
#define MULTIPLY(a, b, d) __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(as_short4(a), as_short4(b), d, 0, 0, 0)
% endif
% else:
<% kind = "f16" if f16 else "bf16" %>\
#define MULTIPLY(a, b, d) intel_sub_group_${kind}_${kind}_matrix_mad_k16(as_${"short8" if a_type == "ushort" else "int8"}(a), as_int8(b), d)
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
//           +-----+   +-----+-----+    ${warps_m} x ${warps_n} sub-groups of ${fragments_m} x ${fragments_n} fragments. Slabs lie in local memory line by line, k
//   rows=   |  A  |   |  B  |     |    innermost for both operands, a word for two values of k; those of the next
//   ${f"{rows:<4}"}    +-----+   +-----+-----+    step are on their way to registers meanwhile.
__attribute__((reqd_work_group_size(${items}, 1, 1)))
% if unit.startswith("dpas"):
__attribute__((intel_reqd_sub_group_size(${lanes})))
% endif
kernel void matrix(const ${index} M, const ${index} N, const ${index} K, const ${index} chunk, const ${index} splits,
                   global const ${ctype} *restrict A, const ${index} a_offset, const ${index} a_b, const ${index} a_row, const ${index} a_k,
                   global const ${ctype} *restrict B, const ${index} b_offset, const ${index} b_b, const ${index} b_k, const ${index} b_column,
                   global ${out} *restrict C, const ${index} c_b, const ${index} c_split${product.ending_parameters()})
{
    local uint4 slabs[${words // 4}];
    local uint *const words = (local uint *)slabs;
% if emulated:
    local uint shown[${items // lanes * shown}];
% endif
    const int item = get_local_id(0), lane = item % ${lanes};
    const int first_row = item / ${lanes} / ${warps_n} * ${fragments_m * m_}, first_column = item / ${lanes} % ${warps_n} * ${fragments_n * n_};
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
    ${D_TYPE} ${", ".join(f"c{i}_{j} = 0" for i, j in each)};
    uint4 ${", ".join([f"a{p}" for p in range(pieces_a)] + [f"b{p}" for p in range(pieces_b)])};
    int now = 0;
${ahead("split * chunk")}\
${keep("0")}\
    barrier(CLK_LOCAL_MEM_FENCE);
    for (${index} k0 = split * chunk; k0 < k1; k0 += ${tile_k}) {
        // beyond the last step there is nothing to read: zeros, which nobody adds
${ahead(f"k0 + {tile_k}")}\
        local const ${a_type} *p = (local const ${a_type} *)(words + now * ${slab} + (first_row + ${a_line}) * ${line}) + ${a_word};
        local const uint *q = words + now * ${slab} + ${slab_a} + (first_column + ${b_line}) * ${line} + ${b_word};
        for (int k = 0; k < ${tile_k // 2}; k += ${k_ // 2}) {
% for i in range(fragments_m):
            const ${A_TYPE} x${i} = ${fragment(a_type, "p", i * m_, a_held)};
% endfor
% for j in range(fragments_n):
            {
                const ${B_TYPE} y = ${fragment("uint", "q", j * n_, b_held)};
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
    // Out through local memory, a fragment's rows of every sub-group at a time, so that neighbours store neighbouring results.
    const ${index} m = m0, n = n0;
    global ${out} *c = C + split * c_split + b * c_b + m * N + n;
${product.ending_start("b", "m", "n")}\
    const bool c_aligned = ${product.is_aligned("C", 4, "1", "N", out)};
    local uint *to = words + (item / ${lanes} / ${warps_n} * ${m_} + ${d_row}) * ${strip} + first_column + ${d_column};
% for i in range(fragments_m):
% if i:
    barrier(CLK_LOCAL_MEM_FENCE);
% endif
% for j in range(fragments_n):
% for r, (row, column) in enumerate(d_held):
% if unit.endswith("ptx"):
% if column == 0:
    vstore2(as_uint2(c${i}_${j}.s${r}${r + 1}), 0, to + ${j * n_ + row * strip});
% endif
% else:
    to[${j * n_ + row * strip + column}] = as_uint(c${i}_${j}.s${"%x" % r});
% endif
% endfor
% endfor
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = item; e < ${warps_m * m_ * columns // 4}; e += ${items}) {
        const int r = e / ${columns // 4}, at = e % ${columns // 4} * 4;
        const ${index} i = r / ${m_} * ${fragments_m * m_} + ${i * m_} + r % ${m_};
        if (m + i < M) {
            float4 v = as_float4(*(local const uint4 *)(words + r * ${strip} + at));
${product.ended_vector(4, "i", "at")}\
        }
    }
% endfor
}
