## One step of a recurrent cell behind its matrix products, element by element: row n, unit j of H.
##
##   lstm            a = x + h (rows of 4H: input, forget, candidate, output), i f g o = sigmoid sigmoid tanh sigmoid,
##                   c' = f c + i g, h' = o tanh(c'); the four values are kept for the gradient
##   lstm_backward   from dh', dc' and what was kept: the slopes of a, and dc
##   gru             a = x + h (reset, update), n = tanh(x_n + r h_n), h' = (1 - z) n + z h; r z n are kept
##   gru_backward    from dh' and what was kept: the slopes of x and h's products, and dh
##
## Units lie side by side, so vectors run along j (wide) and neighbours read neighbours (many).
<%!
    PARAMS = {"local": (64, 128, 256), "groups_per_unit": (1, 2, 4, 8, 16, 32),
              "least": (256, 1024, 4096)}  # wide: elements of a work-item
    DEFAULT = {"wide": {"groups_per_unit": 4, "least": 1024}, "many": {"local": 128, "groups_per_unit": 16}}

    def valid(params, facts):
        return params.get("local", 1) <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    W = prelude.vector_width(T) if form == "wide" else 1
    # (name, gates of a row) of the arrays read, and of those written
    reads, writes = {
        "lstm": ([("x", 4), ("h", 4), ("c", 1)], [("h_new", 1), ("c_new", 1), ("kept", 4)]),
        "lstm_backward": ([("dh", 1), ("dc", 1), ("kept", 4), ("c", 1), ("c_new", 1)], [("da", 4), ("dc_old", 1)]),
        "gru": ([("x", 3), ("h", 3), ("state", 1)], [("h_new", 1), ("kept", 3)]),
        "gru_backward": ([("dh", 1), ("kept", 3), ("h", 3), ("state", 1)], [("dx", 3), ("dproduct", 3), ("dstate", 1)]),
    }[kind]

    def get(name, gate, w):
        return prelude.load(ctype, T, name, f"{name}_at + {gate} * H" if gate else f"{name}_at", w)

    def put(name, gate, value, w):
        return prelude.store(ctype, T, name, f"n * {dict(writes)[name]} * H + {gate} * H + j", value, w)

    def sigmoid(text):
        return f"1 / (1 + exp(-({text})))"
%>
${prelude.extensions(T, ctype)}
typedef ${index} index_t;
kernel void ${function}(
% for name, _ in writes:
    global ${ctype} *${name},
% endfor
% for name, _ in reads:
    const global ${ctype} *${name}, index_t ${name}_offset, index_t ${name}_row,
% endfor
    index_t H, index_t units)
{
    // A unit is a piece of a row of up to ${W} units.
    const index_t pieces = (H + ${W - 1}) / ${W};
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t n = u / pieces, j0 = (u - n * pieces) * ${W};
        index_t j = j0;
% for w, condition in (((W, f"if (j0 + {W} <= H)"),) if W > 1 else ()) + ((1, f"{'else ' if W > 1 else ''}for (; j < min(j0 + {W}, H); ++j)"),):
<% V = prelude.vec(T, w) %>
        ${condition} {
    % for name, _ in reads:
            const index_t ${name}_at = ${name}_offset + n * ${name}_row + j;
    % endfor
    % if kind == "lstm":
            const ${V} i = ${sigmoid(get("x", 0, w) + " + " + get("h", 0, w))};
            const ${V} f = ${sigmoid(get("x", 1, w) + " + " + get("h", 1, w))};
            const ${V} g = tanh(${get("x", 2, w)} + ${get("h", 2, w)});
            const ${V} o = ${sigmoid(get("x", 3, w) + " + " + get("h", 3, w))};
            const ${V} c_next = f * ${get("c", 0, w)} + i * g;
            ${put("h_new", 0, "o * tanh(c_next)", w)}
            ${put("c_new", 0, "c_next", w)}
            ${put("kept", 0, "i", w)}
            ${put("kept", 1, "f", w)}
            ${put("kept", 2, "g", w)}
            ${put("kept", 3, "o", w)}
    % elif kind == "lstm_backward":
            const ${V} i = ${get("kept", 0, w)}, f = ${get("kept", 1, w)}, g = ${get("kept", 2, w)}, o = ${get("kept", 3, w)};
            const ${V} t = tanh(${get("c_new", 0, w)}), dh_now = ${get("dh", 0, w)};
            const ${V} d = ${get("dc", 0, w)} + dh_now * o * (1 - t * t);
            ${put("da", 0, "d * g * i * (1 - i)", w)}
            ${put("da", 1, f"d * {get('c', 0, w)} * f * (1 - f)", w)}
            ${put("da", 2, "d * i * (1 - g * g)", w)}
            ${put("da", 3, "dh_now * t * o * (1 - o)", w)}
            ${put("dc_old", 0, "d * f", w)}
    % elif kind == "gru":
            const ${V} r = ${sigmoid(get("x", 0, w) + " + " + get("h", 0, w))};
            const ${V} z = ${sigmoid(get("x", 1, w) + " + " + get("h", 1, w))};
            const ${V} c = tanh(${get("x", 2, w)} + r * ${get("h", 2, w)});
            ${put("h_new", 0, f"c + z * ({get('state', 0, w)} - c)", w)}
            ${put("kept", 0, "r", w)}
            ${put("kept", 1, "z", w)}
            ${put("kept", 2, "c", w)}
    % else:
            const ${V} r = ${get("kept", 0, w)}, z = ${get("kept", 1, w)}, c = ${get("kept", 2, w)};
            const ${V} d = ${get("dh", 0, w)};
            const ${V} dn = d * (1 - z) * (1 - c * c), dz = d * (${get("state", 0, w)} - c) * z * (1 - z);
            const ${V} dr = dn * ${get("h", 2, w)} * r * (1 - r);
            ${put("dx", 0, "dr", w)}
            ${put("dx", 1, "dz", w)}
            ${put("dx", 2, "dn", w)}
            ${put("dproduct", 0, "dr", w)}
            ${put("dproduct", 1, "dz", w)}
            ${put("dproduct", 2, "dn * r", w)}
            ${put("dstate", 0, "d * z", w)}
    % endif
        }
% endfor
    }
}
