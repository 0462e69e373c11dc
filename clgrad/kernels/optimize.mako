## p[i], state[i], ... = update(p[i], g[i], state[i], ...) for every element i of many parameters, in one launch.
##
##   table row:   (tensor, place in p, place in g, place in the states, count), one a unit of work
##
##   parameters   [----p0----][-p1-][------p2------]     a pointer each: OpenCL 1.2 has no pointers in memory
##   gradients    [----g0----][-g1-][------g2------]     a pointer each
##   states       [ 0            |  1  |  2            ]     one buffer a state, places padded to a vector
##   units        | u0 | u1 |u2||  u3  || u4 | u5 | u6 |     none crosses a tensor
##
## wide: a unit is walked in explicit vectors. many: a work-group takes a unit, its items walk it side by side.
## The update's statements come from its record, in which REAL is the type that a walk computes in, a vector or a scalar;
## parameters stored as half are computed in float, with float states. `reads` are numbers that lie on the device.
<%!
    PARAMS = {"local": (64, 128, 256), "groups_per_unit": (1, 2, 4, 8, 16, 32),
              "least": (1024, 4096, 16384)}  # wide: elements of a work-item
    DEFAULT = {"wide": {"groups_per_unit": 4, "least": 4096}, "many": {"local": 256, "groups_per_unit": 16}}

    def valid(params, facts):
        return params.get("local", 1) <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    W = prelude.vector_width(T) if form == "wide" else 1
    pointers = "".join(f"global {ctype} *p{j}, const global {ctype} *g{j}, " for j in range(tensors))
    buffers = "".join(f"global {T} *{s}_, " for s in states)
    numbers = "".join(f"const global {T} *{r}_, " for r in reads)
    arguments = "".join(f", {T} {s}" for s in scalars)
%>
${prelude.extensions(T, ctype)}
typedef ${index} index_t;

<%def name="element(w)">
<% V = prelude.vec(T, w) %>
            ${V} p = ${prelude.load(ctype, T, "p_", "i", w)};
            ${V} g = ${prelude.load(ctype, T, "g_", "j", w)};
            % for s in states:
            ${V} ${s} = ${prelude.load(T, T, s + "_", "k", w)};
            % endfor
            % for line in lines:
            ${line.replace("REAL", V)}
            % endfor
            ${prelude.store(ctype, T, "p_", "i", "p", w)}
            % for s in states:
            ${prelude.store(T, T, s + "_", "k", s, w)}
            % endfor
</%def>
kernel void ${function}(${pointers}${buffers}${numbers}const global index_t *table, index_t units${arguments})
{
% for r in reads:
    const ${T} ${r} = ${r}_[0];
% endfor
% if form == "wide":
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
% else:
    for (index_t u = get_group_id(0); u < units; u += get_num_groups(0)) {
% endif
        global ${ctype} *p_ = p0;
        const global ${ctype} *g_ = g0;
        switch (table[5 * u]) {
        % for j in range(1, tensors):
        case ${j}: p_ = p${j}; g_ = g${j}; break;
        % endfor
        }
        index_t i = table[5 * u + 1], j = table[5 * u + 2], k = table[5 * u + 3];
        const index_t end = i + table[5 * u + 4];
% if form == "wide":
        % if W > 1:
        for (; i + ${W} <= end; i += ${W}, j += ${W}, k += ${W}) {
            ${element(W)}
        }
        % endif
        for (; i < end; ++i, ++j, ++k) {
            ${element(1)}
        }
% else:
        const index_t step = get_local_size(0), first = get_local_id(0);
        j += first;
        k += first;
        for (i += first; i < end; i += step, j += step, k += step) {
            ${element(1)}
        }
% endif
    }
}
