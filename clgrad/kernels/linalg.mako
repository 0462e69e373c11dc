## Panels of factorisations, in place, on stacks of row-major matrices a[b, i, j]:
##
##            k0     k1      c1
##   k0 +-------+-------+          lu:       a = P L U by columns k0 .. k1, rows k0 and below; rows are exchanged and
##      | \ U   |  U    |                    updated up to column c1 (the whole row, or the panel only)
##   k1 |  L \  |.......|          cholesky: the same for a = L L^H, of the lower half; each column is mirrored into its
##      |  L    | later |                    row, so that updates walk along rows
##      +-------+-------+          swap:     the exchanges of lu, in columns c0 .. c1 of another part
##                                 solve:    x[b, i, :] = (x[b, i, :] - sum over j < i of t[b, i, j] x[b, j, :]) / t[b, i, i]
##
## wide: a matrix (a strip of columns) a work-item. many: a matrix a work-group (swap, solve: a column a work-item).
<%!
    PARAMS = {"group": (32, 64, 128, 256),
              "panel": (16, 32, 64),  # columns of large matrices that one launch factors, or solves for
              "whole": (32, 64, 128, 256),  # matrices up to this size are factored by one launch,
              "triangle": (32, 64, 128, 256)}  # and triangles solved
    DEFAULT = {"wide": {"group": 1, "panel": 64, "whole": 128, "triangle": 64},
               "many": {"group": 64, "panel": 32, "whole": 128, "triangle": 128}}

    def valid(params, facts):
        return params["group"] <= facts.max_work_group_size
%>
<%
    prelude = context.lookup.get_template("prelude.mako").module
    part = prelude.PARTS.get(T)  # of complex matrices
    STRIP = 16 if form == "wide" else 1
    many = form == "many"
    factors = function in ("lu", "cholesky")
    # what runs once a lane or once a column: for (start; below the bound; step)
    first, step = ("lane", group) if many else ("0", 1)
    fence = "barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);" if many else ""
%>
${prelude.extensions(part or T)}
typedef ${index} index_t;
#define T ${T}
% if part:
#define R ${part}
<%include file="complex.mako" args="part=part"/>
#define TIMES(a, b) c_mul(a, b)
#define OVER(a, b) c_div(a, b)
#define SIZE(a) (fabs((a).x) + fabs((a).y))
#define REAL(a) (a).x
#define WHOLE(a) (T)(a, 0)
#define CONJ(a) (T)((a).x, -(a).y)
% else:
#define R T
#define TIMES(a, b) ((a) * (b))
#define OVER(a, b) ((a) / (b))
#define SIZE(a) fabs(a)
#define REAL(a) (a)
#define WHOLE(a) (a)
#define CONJ(a) (a)
% endif

% if factors:
kernel void ${function}(global T *a, global int *pivots, global int *info, index_t rows, index_t columns, index_t k0,
    index_t k1, index_t c1, index_t count, index_t batch)
{
% if many:
    local R largest[${group}];
    local int found[${group}];
    const int lane = get_local_id(0);
    for (index_t b = get_group_id(0); b < batch; b += get_num_groups(0)) {
% else:
    for (index_t b = get_global_id(0); b < batch; b += get_global_size(0)) {
% endif
        global T *m = a + b * rows * columns;
        for (index_t k = k0; k < k1; ++k) {
            global T *top = m + k * columns;
% if function == "lu":
            index_t p = k;
            R best = -1;
            for (index_t i = k + ${first}; i < rows; i += ${step}) {
                const R size = SIZE(m[i * columns + k]);
                if (size > best) { best = size; p = i; }
            }
    % if many:
            largest[lane] = best;
            found[lane] = p;
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int half_way = ${group // 2}; half_way > 0; half_way /= 2) {
                if (lane < half_way) {
                    const R other = largest[lane + half_way];
                    const int at = found[lane + half_way];
                    if (other > largest[lane] || (other == largest[lane] && at < found[lane])) {
                        largest[lane] = other;
                        found[lane] = at;
                    }
                }
                barrier(CLK_LOCAL_MEM_FENCE);
            }
            p = found[0];
    % endif
            const T pivot = m[p * columns + k];
            const int usable = SIZE(pivot) != 0;
            ${fence}
            if (${"lane == 0" if many else "1"}) {
                pivots[b * count + k] = p;
                if (!usable && info[b] == 0) info[b] = k + 1;
            }
            if (p != k)
                for (index_t j = k0 + ${first}; j < c1; j += ${step}) {
                    const T kept = top[j];
                    top[j] = m[p * columns + j];
                    m[p * columns + j] = kept;
                }
            ${fence}
            if (usable)
                for (index_t i = k + 1 + ${first}; i < rows; i += ${step}) 
                    m[i * columns + k] = OVER(m[i * columns + k], pivot);
            ${fence}
% else:
            const R square = REAL(top[k]);
            const R pivot = sqrt(square);
            ${fence}
            if (${"lane == 0" if many else "1"}) {
                if (!(square > 0) && info[b] == 0) info[b] = k + 1;
                top[k] = WHOLE(pivot);
            }
            for (index_t i = k + 1 + ${first}; i < rows; i += ${step}) {
                const T value = m[i * columns + k] / pivot;
                m[i * columns + k] = value;
                if (i < k1) top[i] = CONJ(value);
            }
            ${fence}
% endif
% if many:
            const index_t width = c1 - k - 1;
            const index_t area = (rows - k - 1) * width;
            for (index_t e = lane; e < area; e += ${group}) {
                const index_t i = k + 1 + e / width;
                const index_t j = k + 1 + e % width;
                m[i * columns + j] -= TIMES(m[i * columns + k], top[j]);
            }
            ${fence}
% else:
            for (index_t i = k + 1; i < rows; ++i) {
                global T *row = m + i * columns;
                const T factor = row[k];
                for (index_t j = k + 1; j < c1; ++j) row[j] -= TIMES(factor, top[j]);
            }
% endif
        }
    }
}
% elif function == "swap":
kernel void swap(global T *a, const global int *pivots, index_t rows, index_t columns, index_t k0, index_t k1,
    index_t c0, index_t c1, index_t count, index_t units)
{
    const index_t strips = (c1 - c0 + ${STRIP - 1}) / ${STRIP};
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t b = u / strips;
        const index_t from = c0 + (u - b * strips) * ${STRIP};
        const index_t to = min(from + ${STRIP}, c1);
        global T *m = a + b * rows * columns;
        for (index_t k = k0; k < k1; ++k) {
            const index_t p = pivots[b * count + k];
            if (p != k)
                for (index_t j = from; j < to; ++j) {
                    const T kept = m[k * columns + j];
                    m[k * columns + j] = m[p * columns + j];
                    m[p * columns + j] = kept;
                }
        }
    }
}
% else:
## x has `columns` neighbouring elements a row, `x_row` apart; t is read at t_row, t_column; both may run backwards.
kernel void solve(global T *x, index_t x_offset, index_t x_batch, index_t x_row, const global T *t, index_t t_offset,
    index_t t_batch, index_t t_row, index_t t_column, index_t k0, index_t k1, index_t columns, index_t units)
{
    const index_t strips = (columns + ${STRIP - 1}) / ${STRIP};
    for (index_t u = get_global_id(0); u < units; u += get_global_size(0)) {
        const index_t b = u / strips;
        const index_t from = (u - b * strips) * ${STRIP};
        const index_t width = min((index_t)${STRIP}, columns - from);
        global T *strip = x + x_offset + b * x_batch + from;
        const global T *m = t + t_offset + b * t_batch;
    % for bound, when in ((STRIP, f"width == {STRIP}"), ("width", f"width < {STRIP}"))[:2 if STRIP > 1 else 1]:
        if (${when})
        for (index_t i = k0; i < k1; ++i) {
            T sum[${STRIP}];
            for (index_t c = 0; c < ${bound}; ++c) sum[c] = strip[i * x_row + c];
            for (index_t j = k0; j < i; ++j) {
                const T factor = m[i * t_row + j * t_column];
                for (index_t c = 0; c < ${bound}; ++c) sum[c] -= TIMES(factor, strip[j * x_row + c]);
            }
        % if not unit:
            const T pivot = m[i * t_row + i * t_column];
            for (index_t c = 0; c < ${bound}; ++c) sum[c] = OVER(sum[c], pivot);
        % endif
            for (index_t c = 0; c < ${bound}; ++c) strip[i * x_row + c] = sum[c];
        }
    % endfor
    }
}
% endif
