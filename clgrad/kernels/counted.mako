## out = sum(x[i], i < n) / (number of t[j] != ignored, j < m), by one work-group: a mean over few numbers, where a second
## launch would cost more than idle cores do. Of one work-item (wide) lanes of vectors are summed, of several (many) their
## sums meet in local memory; either way in an order that depends on the sizes alone.
<%!
    PARAMS = {"local": (32, 64, 128, 256)}
    DEFAULT = {"wide": {"local": 1}, "many": {"local": 128}}

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    W = prelude.vector_width(T) if group == 1 else 1
    V = prelude.vec(T, W)
%>\
${prelude.extensions(T, ctype)}
typedef ${index} index_t;
typedef ${T} T;
% if group == 1:
${prelude.joined(T, W)}
% endif
kernel void ${function}(global ${ctype} *out, const global ${ctype} *x, index_t x_offset, index_t n,
                        const global long *t, index_t t_offset, index_t m, long ignored)
{
    x += x_offset;
    t += t_offset;
    T sum = 0;
    long count = 0;
% if group == 1:
    ${V} lanes = (${V})(0);
    index_t i = 0;
    for (; i + ${W} <= n; i += ${W}) lanes += ${prelude.load(ctype, T, "x", "i", W)};
    sum = sum_of(lanes);
    for (; i < n; ++i) sum += ${prelude.load(ctype, T, "x", "i")};
    for (index_t j = 0; j < m; ++j) count += t[j] != ignored;
    const T mean = sum / (T)count;
    ${prelude.store(ctype, T, "out", "0", "mean")}
% else:
    const int l = get_local_id(0);
    local T sums[${group}];
    local long counts[${group}];
    for (index_t i = l; i < n; i += ${group}) sum += ${prelude.load(ctype, T, "x", "i")};
    for (index_t j = l; j < m; j += ${group}) count += t[j] != ignored;
    sums[l] = sum;
    counts[l] = count;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_way = ${group // 2}; half_way > 0; half_way /= 2) {
        if (l < half_way) {
            sums[l] += sums[l + half_way];
            counts[l] += counts[l + half_way];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (l == 0) {
        const T mean = sums[0] / (T)counts[0];
        ${prelude.store(ctype, T, "out", "0", "mean")}
    }
% endif
}
