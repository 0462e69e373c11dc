## Windows over up to three axes of space, plane by plane; every kind gathers, so that sums have one fixed order.
##
##   max      y[o] = max of x over o's window          argmax   where that is, counted within the plane; both: both
##   pick     y[o] = x[index[o]]                       spread   dx[i] = sum of g[o] over windows whose index is i
##   mean     y[o] = sum of x over o's window / size   unmean   dx[i] = sum of g[o] / size of o over windows that hold i
##   columns  y[k, o] = x at tap k of o's window       fold     dx[i] = sum of g[k, o] over the taps that lie on i
##
##   place, share   the same as spread and unmean, by tiles of rows `down` and columns `across` in private memory: what the
##                  windows that reach into a tile have for it is added in their order, and the tile written in one go
##
## A window starts at o * stride - pad and has taps dilation apart; an adaptive one is [o*N/O, (o+1)*N/O), rounded out.
## wide: a work-item takes rows of the result; of a row, places low .. high - 1 as vectors of `vector`, the last one over
##       some of those before it: windows of `taps` that lie inside and are 1 or 2 apart, or, in gradients, that
##       are 2 long and side by side in all axes. A large gradient is written past the caches (`stream`).
## many: a work-item takes every so many elements.
##
##         x  a b c d e f g h   windows 2 apart: tap 0 is the even lanes of two vectors, tap k the odd ones from k - 1 on
##   tap 0 ->  a   c   e   g
##   tap 1 ->    b   d   f   h
<%!
    PARAMS = {"local": (32, 64, 128, 256), "groups_per_unit": (2, 4, 8, 16, 32, 64),
              "tile": (1024, 2048, 4096, 8192),  # elements at most of a gradient's tile
              "stream": (1 << 22, 1 << 23, 1 << 24, 1 << 25)}  # bytes of a gradient from which on it is streamed
    DEFAULT = {"wide": {"local": 1, "groups_per_unit": 4, "tile": 4096, "stream": 1 << 24},
               "many": {"local": 128, "groups_per_unit": 32}}
    MOST_TAPS = 7  # of windows that are read as vectors

    def valid(params, facts):
        return params["local"] <= facts.max_work_group_size

    AXES = ("d", "h", "w")
    TILED = {"spread": "place", "unmean": "share"}
    GATHERED = ("spread", "place", "unmean", "share", "fold")  # kinds whose result has the input's size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    back = kind in GATHERED
    indexed = kind in ("pick", "spread")

    V, I = prelude.vec(T, vector or 1), prelude.vec("int", vector or 1)

    def x(i, w=1):
        return prelude.load(ctype, T, "x", i, w)

    def tap(i, k):
        """Tap k of the windows whose first begins at x[i]."""
        if stride == 1:
            return x(f"{i} + {k}", vector)
        first, lanes = (0, "even") if k == 0 else (k - 1, "odd")
        if vector == 16:
            return f"({V})({x(f'{i} + {first}', 16)}.{lanes}, {x(f'{i} + {first + 16}', 16)}.{lanes})"
        return f"({x(f'{i} + {first}', 2 * vector)}).{lanes}"

    def twice(v):
        """Each lane of half a vector, twice."""
        return f"({v}).s{''.join(f'{l:x}{l:x}' for l in range(vector // 2))}"

    def put(i, value, w=1):
        if stream and w > 1:
            return f"STREAM(({value}), (global {prelude.vec(T, w)} *)(out + {i}));"
        if kind == "argmax":
            return prelude.store(itype, "int", "out", i, value, w) if w > 1 else f"out[{i}] = {value};"
        return prelude.store(ctype, T, "out", i, value, w)
%>\
${prelude.extensions(T, ctype)}
% if stream:
${prelude.stream()}
% endif
typedef ${index} index_t;
typedef ${T} T;
typedef ${itype} position_t;

// The sizes of one axis: input, result, taps, stride, margin before, dilation.
#define SIZES(a) const index_t N##a, const index_t O##a, const index_t K##a, const index_t S##a, const index_t P##a, const index_t L##a

static inline index_t up(index_t a, index_t b) { return a > 0 ? (a + b - 1) / b : 0; }  // ceil(a / b), at least 0

kernel void ${function}(global ${"position_t" if kind == "argmax" else ctype} *restrict out, const global ${ctype} *restrict x, index_t x_offset,
                        ${"" if kind == "both" else "const "}global position_t *restrict at, index_t at_offset, SIZES(d), SIZES(h), SIZES(w),
                        index_t include_pad, index_t divisor, index_t units, index_t each, index_t low, index_t high)
{
    x += x_offset;
    at += at_offset;
    const index_t N = Nd * Nh * Nw, O = Od * Oh * Ow;
<%
    result = "N" if back else "O"
    planes = "Kd * Kh * Kw * " if kind == "columns" else ""
%>\
% if kind in TILED.values():
<% W = prelude.vector_width(T); V = prelude.vec(T, W) %>\
    const index_t down = low, across = high, first = get_global_id(0) * each, last = min(units, first + each);
    const index_t segments = (Nw + across - 1) / across, bands = (Nh + down - 1) / down;
    T tile[${tile + W}];  // what lies outside goes behind its end
    % if kind == "share":
    T line[${tile}];
    % endif
    for (index_t u = first; u < last; u++) {
        const index_t w0 = u % segments * across, h0 = u / segments % bands * down, d = u / segments / bands % Nd;
        const index_t w1 = min(w0 + across, Nw), h1 = min(h0 + down, Nh), plane = u / segments / bands / Nd;
        // A tile is one stretch of memory: all columns, or one row.
        const index_t start = (d * Nh + h0) * Nw + w0, count = (h1 - h0 - 1) * Nw + w1 - w0;
        ${cleared("tile", "count", V, W)}
${reach("d")}${reach("h", "h0", "(h1 - 1)")}${reach("w", "w0", "(w1 - 1)")}\
        for (index_t i = from_d; i < to_d; i++)
        for (index_t j = from_h; j < to_h; j++) {
            const index_t row = plane * O + (i * Oh + j) * Ow;
    % if kind == "place":
            for (index_t k = from_w; k < to_w; k++) {
                const index_t here = at[row + k] - start;
                tile[(here >= 0) & (here < count) ? here : count] += ${x("row + k")};
            }
    % else:
            ${cleared("line", "w1 - w0", V, W)}
            const T rows = ${extent("d", "i")} * ${extent("h", "j")};
            for (index_t k = from_w; k < to_w; k++) {
                const T part = ${x("row + k")} / (divisor ? (T)divisor : rows * ${extent("w", "k")});
                const index_t begin = max(${begin("w", "k")}, w0), end = min(${end("w", "k")}, w1);
                for (index_t q = begin; q < end; q++) line[q - w0] += part;
            }
            const index_t top = max(${begin("h", "j")}, h0), bottom = min(${end("h", "j")}, h1);
            for (index_t h = top; h < bottom; h++) {
                T *to = tile + (h - h0) * Nw;
                index_t q;
                for (q = 0; q + ${W} <= w1 - w0; q += ${W}) vstore${W}(vload${W}(0, to + q) + vload${W}(0, line + q), 0, to + q);
                for (; q < w1 - w0; q++) to[q] += line[q];
            }
    % endif
        }
        const index_t place = plane * N + start;
        index_t q;
        for (q = 0; q + ${W} <= count; q += ${W}) ${put("place + q", f"vload{W}(0, tile + q)", W)}
        for (; q < count; q++) ${put("place + q", "tile[q]")}
    }
    % if stream:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
% elif vector and back:
    // Windows side by side, 2 long: a unit is the rows of one row of windows, or those past the last.
    const index_t first = get_global_id(0) * each, last = min(units, first + each), bands = (Nh + Kh - 1) / Kh;
    const ${I} lanes = (${I})(${", ".join(map(str, range(vector)))});
    for (index_t u = first; u < last; u++) {
        const index_t oh = u % bands, d = u / bands % Nd, plane = u / bands / Nd, od = d / Kd, rows = min(Kh, Nh - oh * Kh);
        const index_t row = plane * O + (od * Oh + oh) * Ow, self = (d * Nh + oh * Kh) * Nw, place = plane * N + self;
        if (od >= Od || oh >= Oh) {
            for (index_t q = 0; q < rows * Nw; q++) ${put("place + q", "(T)0")}
            continue;
        }
    % if kind == "unmean":
        const T other = divisor ? (T)divisor : (T)(${extent("d", "od")} * ${extent("h", "oh")});
    % endif
        index_t w = 0;
        for (; w + ${vector} <= high; w += ${vector}) {
            ${rows_of_windows("w")}
        }
        if (w < high) {
            ${rows_of_windows(f"(high - {vector})")}
        }
        for (w = high; w < Nw; w++)
            for (index_t r = 0; r < rows; r++) {
                const index_t o = row + min(w / 2, Ow - 1);
    % if kind == "spread":
                const T value = w / 2 < Ow && at[o] == (position_t)(self + r * Nw + w) ? ${x("o")} : (T)0;
    % else:
                const T value = w / 2 < Ow ? ${x("o")} / (divisor ? other : other * ${extent("w", "(w / 2)")}) : (T)0;
    % endif
                ${put("place + r * Nw + w", "value")}
            }
    }
    % if stream:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
% elif form == "wide":
    const index_t first = get_global_id(0) * each, last = min(units, first + each);
    index_t h = first % ${result}h, d = first / ${result}h % ${result}d, plane = first / ${result}h / ${result}d;
    for (index_t u = first; u < last; u++) {
${outer()}
    % if vector:
${vectors()}
        const index_t edges = ${result}w - (high - low);
        for (index_t e = 0; e < edges; e++) {
            const index_t w = e < low ? e : e + (high - low);
    % else:
        for (index_t w = 0; w < ${result}w; w++) {
    % endif
${inner()}
        }
        d += ++h == ${result}h;
        h = h == ${result}h ? 0 : h;
        plane += d == ${result}d;
        d = d == ${result}d ? 0 : d;
    }
    % if stream:
    mem_fence(CLK_GLOBAL_MEM_FENCE);  // such stores are not ordered with others
    % endif
% else:
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t w = u % ${result}w, h = u / ${result}w % ${result}h, d = u / ${result}w / ${result}h % ${result}d;
        const index_t plane = u / ${result}w / ${result}h / ${result}d;
${outer()}
${inner()}
    }
% endif
}

## What an axis says of a position of the result, or of those from one to a last: for windows, the taps that lie inside;
## else the windows that hold it.
<%def name="reach(a, one=None, last=None)">\
<% one = one or a; last = last or one %>\
% if back:
    % if adaptive:
        const index_t from_${a} = ${one} * O${a} / N${a}, to_${a} = up((${last} + 1) * O${a}, N${a});
    % else:
        const index_t from_${a} = up(${one} + P${a} - (K${a} - 1) * L${a}, S${a}), to_${a} = min(O${a}, (${last} + P${a}) / S${a} + 1);
    % endif
% elif adaptive:
        const index_t from_${a} = ${a} * N${a} / O${a}, to_${a} = up((${a} + 1) * N${a}, O${a});
% else:
        const index_t start_${a} = ${a} * S${a} - P${a};
        const index_t from_${a} = start_${a} + up(-start_${a}, L${a}) * L${a};
        const index_t to_${a} = min(N${a}, start_${a} + (K${a} - 1) * L${a} + 1);
% endif
</%def>
## Where window o of a mean begins and ends.
<%def name="begin(a, o)">\
${f"{o} * N{a} / O{a}" if adaptive else f"{o} * S{a} - P{a}"}\
</%def>
<%def name="end(a, o)">\
${f"up(({o} + 1) * N{a}, O{a})" if adaptive else f"{o} * S{a} - P{a} + K{a}"}\
</%def>
<%def name="cleared(name, count, V, W)">\
for (index_t q = 0; q < ${count}; q += ${W}) vstore${W}((${V})(0), 0, ${name} + q);\
</%def>
## The elements a window is divided by, along one axis: those inside, or with the margins those before the far margin's end.
<%def name="extent(a, o)">\
% if adaptive:
(up((${o} + 1) * N${a}, O${a}) - ${o} * N${a} / O${a})\
% else:
(include_pad ? min(${o} * S${a} - P${a} + K${a}, N${a} + P${a}) - (${o} * S${a} - P${a}) : min(${o} * S${a} - P${a} + K${a}, N${a}) - max((index_t)0, ${o} * S${a} - P${a}))\
% endif
</%def>
<%def name="outer()">\
% if kind not in ("pick", "columns"):
${reach("d")}${reach("h")}\
% endif
</%def>
<%def name="inner()">\
<% step = {a: "1" if adaptive or back else f"L{a}" for a in AXES} %>\
            const index_t place = ((plane * ${result}d + d) * ${result}h + h) * ${result}w + w;
% if kind not in ("pick", "columns"):
    ${reach("w")}\
% endif
% if kind == "pick":
            const index_t here = at[place];
            ${put("place", f"here < 0 ? (T)0 : {x('plane * N + max(here, (index_t)0)')}")}
% elif kind == "columns":
            // a plane of the result is one tap of one plane of the input
            const index_t p = plane / (Kd * Kh * Kw);
            const index_t iw = w * Sw - Pw + plane % Kw * Lw, ih = h * Sh - Ph + plane / Kw % Kh * Lh, id = d * Sd - Pd + plane / Kw / Kh % Kd * Ld;
            const bool inside = iw >= 0 && iw < Nw && ih >= 0 && ih < Nh && id >= 0 && id < Nd;
            ${put("place", f"inside ? {x('inside ? ((p * Nd + id) * Nh + ih) * Nw + iw : 0')} : (T)0")}
% elif kind in ("max", "argmax", "both"):
            const bool none = from_d >= to_d || from_h >= to_h || from_w >= to_w;  // wide dilations can miss everything
            index_t best = none ? -1 : (from_d * Nh + from_h) * Nw + from_w;
            T most = none ? (T)-INFINITY : ${x("plane * N + (none ? 0 : best)")};
            for (index_t i = from_d; i < to_d; i += ${step["d"]})
            for (index_t j = from_h; j < to_h; j += ${step["h"]})
            for (index_t k = from_w; k < to_w; k += ${step["w"]}) {
                const index_t here = (i * Nh + j) * Nw + k;
                const T v = ${x("plane * N + here")};
                const bool better = v > most || v != v;  // the last NaN wins
                most = better ? v : most;
    % if kind != "max":
                best = better ? here : best;
    % endif
            }
    % if kind == "both":
            at[place] = best;
    % endif
            ${put("place", "best" if kind == "argmax" else "most")}
% elif kind == "mean":
            T sum = 0;
            for (index_t i = from_d; i < to_d; i++)
            for (index_t j = from_h; j < to_h; j++)
            for (index_t k = from_w; k < to_w; k++) sum += ${x("plane * N + (i * Nh + j) * Nw + k")};
            const T size = divisor ? divisor : ${extent("d", "d")} * ${extent("h", "h")} * ${extent("w", "w")};
            ${put("place", "sum / size")}
% elif kind == "unmean":
            T sum = 0;
            for (index_t i = from_d; i < to_d; i++)
            for (index_t j = from_h; j < to_h; j++)
            for (index_t k = from_w; k < to_w; k++) {
                const T size = divisor ? divisor : ${extent("d", "i")} * ${extent("h", "j")} * ${extent("w", "k")};
                sum += ${x("plane * O + (i * Oh + j) * Ow + k")} / size;
            }
            ${put("place", "sum")}
% elif kind == "spread":
            const position_t self = (d * Nh + h) * Nw + w;
            T sum = 0;
            for (index_t i = from_d; i < to_d; i++)
            for (index_t j = from_h; j < to_h; j++)
            for (index_t k = from_w; k < to_w; k++) {
                const index_t o = plane * O + (i * Oh + j) * Ow + k;
                sum += at[o] == self ? ${x("o")} : (T)0;
            }
            ${put("place", "sum")}
% else:
            T sum = 0;
            for (index_t i = from_d; i < to_d; i++)
            for (index_t j = from_h; j < to_h; j++)
            for (index_t k = from_w; k < to_w; k++) {
                // the tap by which window (i, j, k) sees this element, if it is a whole number
                const index_t td = d + Pd - i * Sd, th = h + Ph - j * Sh, tw = w + Pw - k * Sw;
                const bool seen = td % Ld == 0 && th % Lh == 0 && tw % Lw == 0;
                const index_t tap = (td / Ld * Kh + th / Lh) * Kw + tw / Lw;
                sum += seen ? ${x("((plane * Kd * Kh * Kw + tap) * O) + (i * Oh + j) * Ow + k")} : (T)0;
            }
            ${put("place", "sum")}
% endif
</%def>
<%def name="rows_of_windows(w)">\
<% half = vector // 2; H = prelude.vec(T, half) %>\
    % if kind == "spread":
            const ${H} some = ${x(f"row + {w} / 2", half)};
            const ${V} g = ${twice("some")};
            const ${prelude.vec("int", half)} some_at = ${prelude.load("int", "int", "at", f"row + {w} / 2", half)};
            const ${I} ahead = ${twice("some_at")} - (int)(self + ${w}) - lanes;
            for (index_t r = 0; r < rows; r++) ${put(f"place + r * Nw + {w}", f"ahead == (int)(r * Nw) ? g : ({V})(0)", vector)}
    % else:
            const ${H} some = ${x(f"row + {w} / 2", half)} / (divisor ? other : other * 2);
            const ${V} g = ${twice("some")};
            for (index_t r = 0; r < rows; r++) ${put(f"place + r * Nw + {w}", "g", vector)}
    % endif
</%def>\
<%def name="vectors()">\
        const ${I} lanes = (${I})(${", ".join(str(i * stride) for i in range(vector))});
        for (index_t b = low; b < high; b += ${vector}) {
            const index_t w = min(b, high - ${vector});
            const index_t place = ((plane * ${result}d + d) * ${result}h + h) * ${result}w + w;
            const index_t start = w * ${stride} - Pw;
    % if kind == "mean":
            ${V} sum = (${V})(0);
    % else:
            const bool none = from_d >= to_d || from_h >= to_h;
            ${V} most = (${V})(-INFINITY);
            ${I} best = none ? (${I})(-1) : (int)((from_d * Nh + from_h) * Nw + start) + lanes;
    % endif
            for (index_t i = from_d; i < to_d; i += ${"1" if kind == "mean" else "Ld"})
            for (index_t j = from_h; j < to_h; j += ${"1" if kind == "mean" else "Lh"}) {
                const index_t row = (i * Nh + j) * Nw + start;
    % for k in range(taps):
                {
                    const ${V} v = ${tap("plane * N + row", k)};
        % if kind == "mean":
                    sum += v;
        % else:
                    const ${I} better = (v > most) | (v != v);  // the last NaN wins
                    most = better ? v : most;
            % if kind != "max":
                    best = better ? (int)row + ${k} + lanes : best;
            % endif
        % endif
                }
    % endfor
            }
    % if kind == "mean":
            const T size = divisor ? divisor : ${extent("d", "d")} * ${extent("h", "h")} * ${taps};
            ${put("place", "sum / size", vector)}
    % else:
        % if kind == "both":
            ${prelude.store("int", "int", "at", "place", "best", vector)}
        % endif
            ${put("place", "best" if kind == "argmax" else "most", vector)}
    % endif
        }
</%def>
