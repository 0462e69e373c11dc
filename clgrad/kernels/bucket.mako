## A long index in the order of what it names, for wide cores: one stable pass of counting, by buckets of 2^shift
## neighbouring rows. What is then written for a bucket stays in a cache, and no two buckets have a row in common.
##
##   count:   counts[chunk, bucket] = how many rows of a chunk of the index fall into a bucket
##   starts:  where the items of each chunk and bucket begin; behind the last chunk's, where those of each bucket end
##   spread:  items[next of the bucket] = (row, position), or (row, value) where values are single elements
##
## Rows below 0 were out of range and are left out. An item is an integer of 64 bits, the row in its lower half; or two of
## them where a value has 64. A bucket's items are kept until they fill 64 bytes, and written past the caches: memory
## need not be read before, and some hundred places that are written in turn do not displace each other.
<%!
    PARAMS = {"buckets": (64, 128, 256, 512),  # at most; a power of two
              "groups_per_unit": (1, 2, 4, 8), "least": (1024, 4096, 16384)}  # chunks, and the rows of one
    DEFAULT = {"wide": {"buckets": 256, "groups_per_unit": 4, "least": 4096}}

    def valid(params, facts):
        return facts.wide_core
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    raw = prelude.TYPES[size]
    PARTS = 1 if size < 8 else 2  # integers of an item
    IN_LINE = 8 // PARTS  # items of 64 bytes
%>
typedef ${index} index_t;
% if function == "count":
kernel void count(global uint *counts, const global int *rows, index_t length, index_t chunk, int shift)
{
    const index_t u = get_global_id(0), k1 = min((u + 1) * chunk, length);
    uint tables[4 * ${buckets + 1}];  // four, so that equal neighbours do not wait for each other; the last is of no bucket
    for (int t = 0; t < ${4 * (buckets + 1)}; ++t) tables[t] = 0;
    index_t k = u * chunk;
    for (; k + 16 <= k1; k += 16) {
        const int16 row = vload16(0, rows + k);
        uint lane[16];  // of a row below 0 a large one
        vstore16(min(as_uint16(row) >> shift, (uint16)(${buckets})), 0, lane);
        % for j in range(16):
        tables[${(buckets + 1) * (j % 4)} + lane[${j}]]++;
        % endfor
    }
    for (; k < k1; ++k) tables[rows[k] < 0 ? ${buckets} : rows[k] >> shift]++;
    for (int b = 0; b < ${buckets}; ++b)
        counts[u * ${buckets} + b] = ${" + ".join(f"tables[{t * (buckets + 1)} + b]" for t in range(4))};
}
% elif function == "starts":
kernel void starts(global uint *counts, int chunks)
{
    uint total = 0;
    for (int b = 0; b < ${buckets}; ++b) {
        for (int c = 0; c < chunks; ++c) {
            const uint own = counts[c * ${buckets} + b];
            counts[c * ${buckets} + b] = total;
            total += own;
        }
        counts[chunks * ${buckets} + b] = total;
    }
}
% else:
${prelude.stream()}
kernel void spread(global ulong *items, const global uint *counts, const global int *rows, const global ${raw} *v,
                   index_t v_offset, index_t length, index_t chunk, int shift)
{
    const index_t u = get_global_id(0), k1 = min((u + 1) * chunk, length);
    const global uint *first = counts + u * ${buckets};
    uint next[${buckets}];
    ulong8 lines[${buckets}];
    for (int b = 0; b < ${buckets}; ++b) next[b] = first[b];
    for (index_t k = u * chunk; k < k1; ++k) {
        const int row = rows[k];
        if (row < 0) continue;
        const int b = row >> shift;
        const uint o = next[b]++, at = o % ${IN_LINE};
        ulong *line = (ulong *)(lines + b);
    % if not values:
        line[at] = ((ulong)k << 32) | (uint)row;
    % elif PARTS == 1:
        line[at] = ((ulong)v[v_offset + k] << 32) | (uint)row;
    % else:
        line[2 * at] = (uint)row;
        line[2 * at + 1] = v[v_offset + k];
    % endif
        if (at == ${IN_LINE - 1}) {
            if (o - first[b] >= ${IN_LINE - 1})
                STREAM(lines[b], (global ulong8 *)(items + (index_t)(o - at) * ${PARTS}));
            else  // the line begins with another chunk's
                for (index_t i = (index_t)first[b] * ${PARTS}; i < (index_t)(o + 1) * ${PARTS}; ++i) items[i] = line[i % 8];
        }
    }
    for (int b = 0; b < ${buckets}; ++b) {
        const ulong *line = (const ulong *)(lines + b);
        const uint begun = max(first[b], next[b] / ${IN_LINE} * ${IN_LINE});
        for (index_t i = (index_t)begun * ${PARTS}; i < (index_t)next[b] * ${PARTS}; ++i) items[i] = line[i % 8];
    }
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // streamed stores are not ordered with others
}
% endif
