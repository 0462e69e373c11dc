## out[i] = start + i * step, and the last element exactly `stop` where `closed`
<%
    prelude = context.lookup.get_template("prelude.mako").module
%>
${prelude.extensions(T, ctype)}
kernel void ${function}(global ${ctype} *out, const ${index} n, const ${scalar} start, const ${scalar} step,
                        const ${scalar} stop)
{
    for (${index} i = get_global_id(0); i < n; i += get_global_size(0)) {
        ${T} value = (${T})start + (${T})i * (${T})step;
        % if closed:
        if (i == n - 1 && i > 0) value = (${T})stop;
        % endif
        ${prelude.store(ctype, T, "out", "i", "value")}
    }
}
