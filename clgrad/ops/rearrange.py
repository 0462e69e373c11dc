"""PyTorch's further names for moving, joining and combining: made of views, joins, products and sums."""

from __future__ import annotations

import builtins
import itertools
from math import prod
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes, shapes
from ..core.errors import DTypeError, ShapeError, bad
from ..families.ramp import ramp
from ..ndarray import Array, from_host, full
from ..table import Case
from .count import nonzero
from .declare import composite, driver
from .distance import vector_norm
from .elementwise import astype, clamp, eq, maximum, minimum, pow, sqrt, where
from .fancy import index_set, put_along, scatter
from .index import scatter_add, take, take_along
from .manipulate import _axis, _flat, cov, diag, diagonal, pad, put_diagonal, tensor_split
from .matmul import bmm, matmul
from .methods import is_recorded
from .products import outer
from .reduce import prod as prod_of
from .reduce import sum
from .scan import cumsum
from .shape import _ints, cat, expand, getitem, narrow, permute, reshape, split, unsqueeze
from .sort import argsort

_FAMILY = "manipulate"

# Diagonals ------------------------------------------------------------------------------------------------------------


def _diag_embed(x: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    rank = x.ndim + 1
    a, b = (shapes.axis_index("diag_embed", d, rank) for d in (dim1, dim2))
    if a == b:
        raise ShapeError(bad("diag_embed", f"dim1={dim1}, dim2={dim2}", "two different axes", "Name the plane."))
    n = x.shape[-1] + builtins.abs(offset)
    rest = iter(x.shape[:-1])
    shape = tuple(n if axis in (a, b) else next(rest) for axis in range(rank))
    return put_diagonal(x, shape, offset, a, b)


def _diag_embed_ref(x: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    n = x.shape[-1] + builtins.abs(offset)
    out = np.zeros((*x.shape[:-1], n, n), x.dtype)
    i = np.arange(x.shape[-1])
    out[..., i + builtins.max(-offset, 0), i + builtins.max(offset, 0)] = x
    return np.moveaxis(out, (-2, -1), (dim1, dim2))


diag_embed = composite("diag_embed", "x, offset=0, dim1=-2, dim2=-1", _FAMILY, run=_diag_embed, ref=_diag_embed_ref,
                       cases=(Case(((2, 3),)), Case(((2, 3),), {"offset": 1, "dim1": 0, "dim2": 2})),
                       doc="Matrices, in the plane of two axes, with x's last axis on a diagonal.")
diagflat = composite("diagflat", "x, offset=0", _FAMILY, run=lambda x, offset=0: diag(reshape(x, (-1,)), offset),
                     ref=lambda x, offset=0: np.diagflat(x, offset), cases=(Case(((2, 2),), {"offset": 1}),),
                     doc="A matrix with all of x's elements on a diagonal.")

# Parts, read and written ----------------------------------------------------------------------------------------------


def _select(x: Any, dim: int, index: int) -> Any:
    if not x.ndim:
        raise ShapeError(bad("select", "a 0-d array", "at least one dimension", "Reshape it to (1,)."))
    return getitem(x, (slice(None),) * _axis("select", x, dim) + (index,))


select = composite("select", "x, dim, index", "shape", run=_select, cases=(Case(((3, 4),), {"dim": 1, "index": -1}),),
                   ref=lambda x, dim, index: np.take(x, index, dim), doc="A view of one slice along an axis.")


def _positions(x: Any) -> Array:
    """The number of each element, row-major, in x's shape."""
    return reshape(ramp(prod(x.shape), 0, 1, dtypes.int64, x.device), tuple(x.shape))


def _with_part(op: str, x: Any, src: Any, part: Any) -> Any:
    """A copy of x with ``src`` where ``part`` (a function that takes a view) reads."""
    at = part(_positions(x))
    if tuple(src.shape) != at.shape:
        raise ShapeError(bad(op, f"src of shape {tuple(src.shape)}", f"{at.shape}, the part's shape", "Expand it."))
    flat = put_along(reshape(x, (-1,)), reshape(at, (-1,)), astype(reshape(src, (-1,)), x.dtype), 0)
    return reshape(flat, tuple(x.shape))


def _part_ref(part: Any) -> Any:
    def ref(x: Any, src: Any, *args: Any, **named: Any) -> Any:
        out = x.copy()
        view = part(out, *args, **named)
        view.setflags(write=True)
        view[...] = src
        return out

    return ref


def _stretch(dim: int, start: Any, end: Any, step: int) -> Any:
    return lambda x: x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]


select_scatter = composite(
    "select_scatter", "x, src, dim, index", _FAMILY, tensors=("x", "src"), cases=(
        Case(((3, 4), (3,)), {"dim": 1, "index": -1}),),
    run=lambda x, src, dim, index: _with_part("select_scatter", x, src, lambda at: _select(at, dim, index)),
    ref=_part_ref(lambda x, dim, index: x[(slice(None),) * dim + (index,)]),
    doc="A copy of x with src in place of select(x, dim, index).")
slice_scatter = composite(
    "slice_scatter", "x, src, dim=0, start=None, end=None, step=1", _FAMILY, tensors=("x", "src"),
    run=lambda x, src, dim=0, start=None, end=None, step=1: _with_part(
        "slice_scatter", x, src, lambda at: getitem(at, (slice(None),) * _axis("slice_scatter", x, dim) + (
            slice(start, end, step),))),
    ref=_part_ref(lambda x, dim=0, start=None, end=None, step=1: _stretch(dim, start, end, step)(x)),
    cases=(Case(((5, 4), (2, 4)), {"start": 1, "end": 5, "step": 2}), Case(((3, 4), (3, 2)), {"dim": 1, "end": 2})),
    doc="A copy of x with src in place of a slice along an axis.")
diagonal_scatter = composite(
    "diagonal_scatter", "x, src, offset=0, dim1=0, dim2=1", _FAMILY, tensors=("x", "src"),
    run=lambda x, src, offset=0, dim1=0, dim2=1: _with_part(
        "diagonal_scatter", x, src, lambda at: diagonal(at, offset, dim1, dim2)),
    ref=_part_ref(lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2)),
    cases=(Case(((3, 4), (3,)), {"offset": 1}),), doc="A copy of x with src on a diagonal.")


def _bounds(op: str, x: Array, size: Any, stride: Any, storage_offset: Any) -> tuple:
    size, stride = _ints(size), _ints(stride)
    offset, = (x.offset,) if storage_offset is None else _ints(storage_offset)
    if len(size) != len(stride) or builtins.any(n < 0 for n in (*size, *stride, offset)):
        raise ShapeError(bad(op, f"size {size}, stride {stride}, storage_offset {offset}",
                             "a stride of 0 or more for each size", "Name both for each axis."))
    last = offset + builtins.sum((n - 1) * s for n, s in zip(size, stride)) if prod(size) else 0
    if (last + 1) * x.itemsize > x.storage.nbytes and prod(size):
        raise ShapeError(bad(op, f"size {size}, stride {stride}, storage_offset {offset}",
                             f"elements within the {x.storage.nbytes // x.itemsize} of its memory", "Lower them."))
    return size, stride, offset


def _as_strided(x: Array, size: Any, stride: Any, storage_offset: Any = None) -> Array:
    return x.view(*_bounds("as_strided", x, size, stride, storage_offset))


def _as_strided_slope(g: Any, x: Any, size: Any, stride: Any, storage_offset: Any) -> Any:
    """Each element of x gathers what was read of it; x must lie row-major, as its positions are counted so."""
    x = unwrap(x)
    if not x.is_contiguous():
        raise ShapeError(bad("as_strided", f"strides {x.strides} of an array that requires grad", "row-major memory",
                             "Use .contiguous() first."))
    size, stride, offset = _bounds("as_strided", x, size, stride, storage_offset)
    at = np.zeros(size, np.int64) + (offset - x.offset)
    for axis, (n, s) in enumerate(zip(size, stride)):
        at += (np.arange(n) * s).reshape((-1, *(1,) * (len(size) - axis - 1)))
    if at.size and (at.min() < 0 or at.max() >= x.size):
        raise ShapeError(bad("as_strided", "elements outside x, which requires grad", "elements of x", "Use its base."))
    zeros = reshape(expand(reshape(g, (-1,))[:1] * 0, (1,)), (1,)) if at.size else None
    if zeros is None:
        return expand(reshape(sum(g), (1,) * x.ndim), x.shape) * 0
    flat = scatter_add(expand(zeros, (x.size,)), 0, from_host(at.reshape(-1), None, x.device), reshape(g, (-1,)))
    return reshape(flat, x.shape)


def _strided_ref(x: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    flat = np.ascontiguousarray(x).reshape(-1)[storage_offset or 0:]
    return np.lib.stride_tricks.as_strided(flat, size, [s * x.itemsize for s in stride])


as_strided = driver("as_strided", "x, size, stride, storage_offset=None", "shape", run=_as_strided, ref=_strided_ref,
                    grad=[_as_strided_slope], inplace="view", cases=(),
                    doc="A view of x's memory by sizes and strides in elements; raises where it would leave it. "
                        "Elements may overlap: their gradients add up.")


def _unfold(x: Any, dimension: int, size: int, step: int) -> Any:
    axis = shapes.axis_index("unfold", dimension, builtins.max(x.ndim, 1))
    n = x.shape[axis] if x.ndim else 1
    if size < 0 or step < 1 or size > n:
        raise ShapeError(bad("unfold", f"size {size}, step {step} on an axis of {n}", "0 <= size <= axis, step >= 1",
                             "Lower the size."))
    x = x if x.ndim else reshape(x, (1,))
    starts = (n - size) // step + 1
    if not unwrap(x).size or not size:
        return reshape(narrow(x, axis, 0, 0), (*x.shape[:axis], starts, *x.shape[axis + 1:], size)) \
            if size == 0 or not unwrap(x).size else x
    index = np.arange(starts)[:, None] * step + np.arange(size)
    rows = take(x, from_host(index.reshape(-1), None, x.device), axis)
    apart = reshape(rows, (*x.shape[:axis], starts, size, *x.shape[axis + 1:]))
    order = [a for a in range(apart.ndim) if a != axis + 1] + [axis + 1]
    return permute(apart, order)


unfold = composite("unfold", "x, dimension, size, step", "shape", run=_unfold, method_only=True,
                   ref=lambda x, dimension, size, step: np.moveaxis(
                       np.lib.stride_tricks.sliding_window_view(x, size, dimension), dimension, 0)[::step].swapaxes(
                           0, dimension) if dimension == 0 else NotImplemented,
                   cases=(Case(((7, 2),), {"dimension": 0, "size": 3, "step": 2}),),
                   doc="Windows of ``size`` along an axis, ``step`` apart, as a new last axis; a copy.")
narrow_copy = composite("narrow_copy", "x, dim, start, length", "shape",
                        run=lambda x, dim, start, length: narrow(x, dim, start, length).clone(),
                        ref=lambda x, dim, start, length: np.take(x, range(start, start + length), dim),
                        cases=(Case(((5, 4),), {"dim": 0, "start": 1, "length": 3}),),
                        doc="A copy of a part of one axis.")
split_with_sizes = composite("split_with_sizes", "x, split_sizes, dim=0", "shape", several=True,
                             run=lambda x, split_sizes, dim=0: split(x, list(split_sizes), dim),
                             ref=lambda x, split_sizes, dim=0: tuple(np.split(x, np.cumsum(split_sizes)[:-1], dim)),
                             cases=(Case(((5, 4),), {"split_sizes": [2, 3]}),), doc="Views of parts of given sizes.")


def _splitting(name: str, axis: Any, least: int, ref: Any, which: str) -> Any:
    def run(x: Any, indices_or_sections: Any) -> Any:
        if x.ndim < least:
            raise ShapeError(bad(name, f"shape {tuple(x.shape)}", f"at least {least} dimension(s)", "Reshape it."))
        dim = axis(x.ndim)
        if isinstance(indices_or_sections, int) and x.shape[dim] % builtins.max(indices_or_sections, 1):
            raise ShapeError(bad(name, f"{indices_or_sections} sections of an axis of {x.shape[dim]}",
                                 "equal sections", "tensor_split takes unequal ones."))
        return tensor_split(x, indices_or_sections, dim)

    return composite(name, "x, indices_or_sections", _FAMILY, run=run, several=True,
                     ref=lambda x, indices_or_sections: tuple(ref(x, indices_or_sections)),
                     synonyms={"indices": "indices_or_sections", "sections": "indices_or_sections"},
                     cases=(Case(((4, 6, 2),), {"indices_or_sections": 2}),
                            Case(((4, 6, 4),), {"indices_or_sections": (1, 3)})),
                     doc=f"Views of parts along the {which} axis: so many equal ones, or between indices.")


hsplit = _splitting("hsplit", lambda rank: builtins.min(rank - 1, 1), 1, np.hsplit, "second (a vector's only)")
vsplit = _splitting("vsplit", lambda rank: 0, 2, np.vsplit, "first")
dsplit = _splitting("dsplit", lambda rank: 2, 3, np.dsplit, "third")

# Joining --------------------------------------------------------------------------------------------------------------


def _column_stack(tensors: Any) -> Any:
    return cat([reshape(x, (-1, 1)) if x.ndim < 2 else x for x in tensors], 1)


column_stack = composite("column_stack", "tensors", _FAMILY, tensors=("tensors",), run=_column_stack, sequence=True,
                         ref=np.column_stack, cases=(Case(((3,), (3, 2))),),
                         doc="Arrays, vectors as columns, joined along their second axis.")


def _block_diag(tensors: Any) -> Any:
    blocks = [reshape(x, (1, -1)) if x.ndim < 2 else x for x in _flat(tensors)]
    if not blocks or builtins.any(x.ndim > 2 for x in blocks):
        raise ShapeError(bad("block_diag", f"shapes {[tuple(x.shape) for x in blocks]}", "matrices", "Reshape them."))
    width, before, rows = builtins.sum(x.shape[1] for x in blocks), 0, []
    for x in blocks:
        rows.append(pad(x, (before, width - before - x.shape[1])))
        before += x.shape[1]
    return cat(rows, 0)


def _block_ref(*tensors: Any) -> Any:
    blocks = [np.atleast_2d(x) for x in tensors]
    out = np.zeros(np.sum([x.shape for x in blocks], 0), np.result_type(*blocks))
    at = np.zeros(2, int)
    for x in blocks:
        out[at[0]:at[0] + x.shape[0], at[1]:at[1] + x.shape[1]] = x
        at += x.shape
    return out


block_diag = composite("block_diag", "*tensors", _FAMILY, tensors=("tensors",), run=_block_diag, sequence=True,
                       method=False, ref=_block_ref, cases=(),
                       doc="A matrix of zeros with the matrices along its diagonal; vectors are rows.")


def _cartesian(tensors: Any) -> Any:
    from .manipulate import meshgrid

    tensors = _flat(tensors)
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors, indexing="ij")
    return cat([reshape(g, (-1, 1)) for g in grids], 1)


cartesian_prod = composite("cartesian_prod", "*tensors", _FAMILY, tensors=("tensors",), run=_cartesian, sequence=True,
                           method=False, cases=(), ref=lambda *tensors: np.array(list(itertools.product(*tensors))),
                           doc="Rows of every combination of one element of each vector.")


def _combinations(x: Any, r: int = 2, with_replacement: bool = False) -> Any:
    if x.ndim != 1 or r < 0:
        raise ShapeError(bad("combinations", f"shape {tuple(x.shape)}, r={r}", "a vector, and r of 0 or more",
                             "Flatten it."))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(builtins.range(x.shape[0]), r)), np.int64).reshape(-1, r)
    return reshape(take(x, from_host(rows.reshape(-1), None, x.device), 0), rows.shape)


combinations = composite("combinations", "x, r=2, with_replacement=False", _FAMILY, run=_combinations, method=False,
                         ref=lambda x, r=2, with_replacement=False: np.array(list((
                             itertools.combinations_with_replacement if with_replacement else
                             itertools.combinations)(x, r)), x.dtype),
                         cases=(Case(((4,),)), Case(((3,),), {"r": 3, "with_replacement": True})),
                         doc="Rows of every choice of r of a vector's elements, in order.")

# Places ---------------------------------------------------------------------------------------------------------------

argwhere = composite("argwhere", "x", "sort", run=nonzero, ref=np.argwhere, domain=(-0.6, 2.4),
                     cases=(Case(((3, 5),)),), doc="Indices (int64, one a row) of the elements that are not zero.")


def _nonzero_static(x: Any, *, size: int, fill_value: int = -1) -> Any:
    rows = nonzero(x)
    if rows.shape[0] >= size:
        return narrow(rows, 0, 0, size)
    return pad(rows, (0, 0, 0, size - rows.shape[0]), value=fill_value)


nonzero_static = composite("nonzero_static", "x, *, size, fill_value=-1", "sort", run=_nonzero_static,
                           ref=lambda x, size, fill_value=-1: np.concatenate(
                               [np.argwhere(x), np.full((size, x.ndim), fill_value)])[:size], domain=(-0.6, 2.4),
                           cases=(Case(((3, 5),), {"size": 4}), Case(((2, 2),), {"size": 7})),
                           doc="The first ``size`` rows of nonzero, or all and rows of ``fill_value``.")


def _masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    shape = shapes.broadcast("masked_scatter", tuple(x.shape), tuple(mask.shape))
    if source.dtype is not x.dtype or mask.dtype is not dtypes.bool_:
        raise DTypeError(bad("masked_scatter", f"a mask of {mask.dtype}, a source of {source.dtype}",
                             f"bool and {x.dtype}", "Convert them."))
    chosen = reshape(expand(mask, shape), (-1,))
    order = cumsum(astype(chosen, dtypes.int64), 0) - 1
    wanted = int(order[-1].item()) + 1 if order.shape[0] else 0
    line = reshape(source, (-1,))
    if wanted > line.shape[0]:
        raise ShapeError(bad("masked_scatter", f"a source of {line.shape[0]} elements", f"at least {wanted}",
                             "The mask has so many elements that hold."))
    if not wanted:
        return expand(x, shape)
    found = reshape(take_along(line, clamp(order, 0), 0), shape)
    return where(reshape(chosen, shape), found, x)


masked_scatter = composite("masked_scatter", "x, mask, source", "index", run=_masked_scatter, inplace=True, cases=(),
                           ref=lambda x, mask, source: _masked_ref(x, mask, source),
                           doc="x with source's elements, in order, where the mask holds. Waits for their number.")


def _masked_ref(x: Any, mask: Any, source: Any) -> Any:
    out = np.broadcast_to(x, np.broadcast_shapes(x.shape, mask.shape)).copy()
    mask = np.broadcast_to(mask, out.shape)
    out[mask] = source.ravel()[:mask.sum()]
    return out


def _put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    if tuple(index.shape) != tuple(source.shape) and prod(index.shape) != prod(source.shape):
        raise ShapeError(bad("put", f"index {tuple(index.shape)} and source {tuple(source.shape)}", "as many of each",
                             "Give one value an index."))
    flat = reshape(x, (-1,))
    out = index_set(flat, reshape(where(index < 0, index + flat.shape[0], index), (-1,)), reshape(source, (-1,)), (0,),
                    0, accumulate)
    return reshape(out, tuple(x.shape))


def _put_ref(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    out = x.copy()
    (np.add.at if accumulate else np.ndarray.__setitem__)(out.reshape(-1), index, source)
    return out


put = composite("put", "x, index, source, accumulate=False", "index", run=_put, ref=_put_ref, inplace=True, cases=(),
                doc="A copy of x with source written, or added, at an index into the flattened array.")

# Reductions at an index -----------------------------------------------------------------------------------------------

_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _part_of(src: Any, shape: Any) -> Any:
    """The leading part of src that an index of this shape names."""
    return src if tuple(src.shape) == tuple(shape) else getitem(src, tuple(slice(0, n) for n in shape))


def _scatter_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    if reduce not in _REDUCTIONS:
        raise ValueError(bad("scatter_reduce", f"reduce={reduce!r}", f"one of {_REDUCTIONS}", "Pass one of these."))
    dim, src = _axis("scatter_reduce", x, dim), _part_of(src, index.shape)
    base = x if include_self else scatter(x, dim, index, value=_neutral(reduce, x.dtype))
    if reduce in ("sum", "mean"):
        total = scatter_add(base, dim, index, src)
        return total if reduce == "sum" else _shared(total, dim, index, include_self)
    return _multiplied(base, dim, index, src) if reduce == "prod" else _best(reduce, base, dim, index, src)


def _neutral(reduce: str, d: Any) -> Any:
    if reduce in ("sum", "mean", "prod"):
        return d.np.type(reduce == "prod").item()
    limits = dtypes.iinfo(d) if d.kind in "iu" else None
    low = reduce == "amax"
    return (limits.min if low else limits.max) if limits else float("-inf" if low else "inf")


def _shared(total: Any, dim: int, index: Any, include_self: bool) -> Any:
    one = full((), 1, dtypes.int64, total.device)
    base = expand(one, tuple(total.shape))
    base = base if include_self else scatter(base, dim, index, value=0)
    count = clamp(scatter_add(base, dim, index, expand(one, tuple(index.shape))), 1)
    return total / astype(count, total.dtype) if total.dtype.kind in "fc" else astype(total // count, total.dtype)


def _best(reduce: str, base: Any, dim: int, index: Any, src: Any) -> Any:
    """Values are written in rising (or falling) order, so that the extreme one of a place stays. Its gradient is shared
    by all that equal it, as in PyTorch."""
    plain, values, at = unwrap(base), unwrap(src), unwrap(index)
    order = argsort(values, dim, reduce == "amin", stable=True)
    found = put_along(plain, take_along(at, order, dim), take_along(values, order, dim), dim)
    found = (maximum if reduce == "amax" else minimum)(plain, found)
    if not (is_recorded(base) or is_recorded(src)):
        return Variable(found) if isinstance(base, Variable) or isinstance(src, Variable) else found
    own, hits = plain == found, values == take_along(found, at, dim)
    count = scatter_add(astype(own, found.dtype), dim, at, astype(hits, found.dtype))
    share = scatter_add(where(own, base / count, 0.0), dim, at, where(hits, src / take_along(count, at, dim), 0.0))
    return share + (Variable(found) - share).detach()


def _multiplied(base: Any, dim: int, index: Any, src: Any) -> Any:
    """Products by one-hot rows: memory goes with the number of places times that of values along ``dim``."""
    last = [*(a for a in range(base.ndim) if a != dim), dim]
    back = [last.index(a) for a in range(base.ndim)]
    base, index, src = (permute(a, last) for a in (base, index, src))
    lead = tuple(slice(0, n) for n in index.shape[:-1])
    places = reshape(ramp(base.shape[-1], 0, 1, index.dtype, base.device), (-1, 1))
    one = _neutral("prod", src.dtype)
    product = prod_of(where(eq(unsqueeze(index, -2), places), unsqueeze(src, -2), one), -1, dtype=src.dtype)
    part = getitem(base, lead) * product
    whole = part if tuple(part.shape) == tuple(base.shape) else _with_part(
        "scatter_reduce", base, part, lambda at: getitem(at, lead))
    return permute(whole, back)


def _index_reduce(x: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    axis = _axis("index_reduce", x, dim)
    spread = expand(reshape(index, (-1, *(1,) * (x.ndim - axis - 1))), tuple(source.shape))
    return _scatter_reduce(x, dim, spread, source, reduce, include_self=include_self)


def _reduce_ref(x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool = True) -> Any:
    out, groups = x.copy(), {}
    for place in np.ndindex(index.shape):
        to = list(place)
        to[dim] = index[place]
        groups.setdefault(tuple(to), []).append(src[place])
    f = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}[reduce]
    for to, values in groups.items():
        out[to] = f(values + [x[to]] * include_self)
    return out


scatter_reduce = composite("scatter_reduce", "x, dim, index, src, reduce, *, include_self=True", "index", inplace=True,
                           run=_scatter_reduce, ref=_reduce_ref, cases=(),
                           doc="A copy of x in which the elements of src of each place of the index along ``dim`` are "
                               "combined: sum, prod, mean, amax or amin, with x's own where ``include_self``.")
index_reduce = composite("index_reduce", "x, dim, index, source, reduce, *, include_self=True", "index", inplace=True,
                         run=_index_reduce, cases=(), ref=lambda x, dim, index, source, reduce, include_self=True:
                         _reduce_ref(x, dim, np.broadcast_to(index.reshape((-1, *(1,) * (x.ndim - dim - 1))),
                                                             source.shape), source, reduce, include_self),
                         doc="scatter_reduce of whole slices: those of source, at the index along ``dim``.")

# Sums and statistics --------------------------------------------------------------------------------------------------


def _sum_to_size(x: Any, size: Any) -> Any:
    size = tuple(_ints(size))
    lead = x.ndim - len(size)
    if lead < 0 or builtins.any(n not in (1, m) for n, m in zip(size, x.shape[builtins.max(lead, 0):])):
        raise ShapeError(bad("sum_to_size", f"size {size} for shape {tuple(x.shape)}", "a shape that broadcasts to it",
                             "Sizes are equal or 1."))
    axes = (*range(lead), *(a for a in range(lead, x.ndim) if size[a - lead] == 1 != x.shape[a]))
    return reshape(sum(x, axes), size) if axes else x


sum_to_size = composite("sum_to_size", "x, size", "reduce", run=_sum_to_size, variadic=True, method_only=True,
                        ref=lambda x, size: x.sum(0, keepdims=True), cases=(Case(((3, 4),), {"size": (1, 4)}),),
                        doc="Sum over the axes that broadcasting from ``size`` would repeat.")


def _renorm(x: Any, p: float, dim: int, maxnorm: float) -> Any:
    axis = _axis("renorm", x, dim)
    axes = tuple(a for a in range(x.ndim) if a != axis)
    if not axes or p <= 0 or maxnorm < 0:
        raise ShapeError(bad("renorm", f"shape {tuple(x.shape)}, p={p}, maxnorm={maxnorm}",
                             "two dimensions or more, p above 0, maxnorm of 0 or more", "Check them."))
    size = vector_norm(x, p, axes, True)
    return x * where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)


def _renorm_ref(x: Any, p: float, dim: int, maxnorm: float) -> Any:
    size = (np.abs(x) ** p).sum(tuple(a for a in range(x.ndim) if a != dim), keepdims=True) ** (1 / p)
    return (x * np.where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)).astype(x.dtype)


renorm = composite("renorm", "x, p, dim, maxnorm", _FAMILY, run=_renorm, ref=_renorm_ref, kinds="f", inplace=True,
                   cases=(Case(((3, 4),), {"p": 2, "dim": 0, "maxnorm": 2}),),
                   doc="x with each slice along ``dim`` scaled down to a norm of order p of at most ``maxnorm``.")


def _corrcoef(x: Any) -> Any:
    c = cov(x)
    if not c.ndim:
        return c / c
    deviation = sqrt(diagonal(c))
    return clamp(c / reshape(deviation, (-1, 1)) / deviation, -1, 1)


corrcoef = composite("corrcoef", "x", _FAMILY, run=_corrcoef, ref=np.corrcoef, kinds="f", cases=(Case(((3, 6),)),),
                     doc="Correlation coefficients of the rows, whose columns are observations.")


def _widths(op: str, y: Any, x: Any, dx: Any, dim: int) -> Any:
    """Half the steps between neighbours along ``dim``, of what broadcasts against them."""
    axis = _axis(op, y, dim)
    if x is None:
        return dx / 2 if not hasattr(dx, "dtype") else dx * 0.5
    n = y.shape[axis]
    if x.ndim == 1:
        x = reshape(x, (-1, *(1,) * (y.ndim - axis - 1)))
        return (narrow(x, 0, 1, n - 1) - narrow(x, 0, 0, n - 1)) * 0.5
    at = axis - (y.ndim - x.ndim)
    return (narrow(x, at, 1, n - 1) - narrow(x, at, 0, n - 1)) * 0.5


def _pieces(op: str, y: Any, x: Any, dx: Any, dim: int) -> Any:
    axis = _axis(op, y, dim)
    n = builtins.max(y.shape[axis] - 1, 0)
    both = narrow(y, axis, y.shape[axis] - n, n) + narrow(y, axis, 0, n)
    return both * _widths(op, y, x, dx, dim)


_TRAPEZOIDS = (Case(((3, 5),)), Case(((4, 3),), {"dx": 2, "dim": 0}))
trapezoid = composite("trapezoid", "y, x=None, *, dx=1, dim=-1", _FAMILY, tensors=("y",), aliases=("trapz",),
                      keywords={"y": "y", "x": "x"}, kinds="f", method=False, cases=_TRAPEZOIDS,
                      run=lambda y, x=None, *, dx=1, dim=-1: sum(_pieces("trapezoid", y, x, dx, dim), dim),
                      ref=lambda y, x=None, dx=1, dim=-1: np.trapezoid(y, x, dx, dim),
                      doc="Integral along an axis by the trapezoidal rule, at places x or ``dx`` apart.")
cumulative_trapezoid = composite(
    "cumulative_trapezoid", "y, x=None, *, dx=1, dim=-1", _FAMILY, tensors=("y",), keywords={"y": "y", "x": "x"},
    kinds="f", method=False, cases=_TRAPEZOIDS,
    run=lambda y, x=None, *, dx=1, dim=-1: cumsum(_pieces("cumulative_trapezoid", y, x, dx, dim), dim),
    ref=lambda y, x=None, dx=1, dim=-1: np.cumsum(dx / 2 * (
        np.delete(y, 0, dim) + np.delete(y, -1, dim)), dim).astype(y.dtype),
    doc="trapezoid up to each place but the first.")


def _gradient(x: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> Any:
    if edge_order not in (1, 2):
        raise ValueError(bad("gradient", f"edge_order={edge_order}", "1 or 2", "Pass one of these."))
    axes = shapes.axis_tuple("gradient", dim, x.ndim)
    given = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(axes)
    if len(given) != len(axes):
        raise ShapeError(bad("gradient", f"{len(given)} spacings for {len(axes)} axes", "one an axis", "Name dim."))
    return tuple(_slope_along(x, axis, h, edge_order) for axis, h in zip(axes, given))


def _slope_along(x: Any, axis: int, h: Any, edge_order: int) -> Any:
    """Second-order differences at places h apart, or at given places (Fornberg's weights of three points)."""
    n = x.shape[axis]
    if n < edge_order + 1:
        raise ShapeError(bad("gradient", f"an axis of {n}", f"at least {edge_order + 1}", "Give more values."))
    steps = unwrap(h).numpy() if hasattr(h, "storage") else np.asarray(h)
    at = np.arange(n) * float(steps) if steps.ndim == 0 else steps.astype(np.float64)
    if at.shape != (n,):
        raise ShapeError(bad("gradient", f"spacing of shape {at.shape}", f"a number or ({n},) places", "Check it."))
    weights = np.zeros((n, n))
    for i in range(n):
        points = [i - 1, i, i + 1] if 0 < i < n - 1 else [0, 1, 2][:edge_order + 1] if i == 0 else [
            n - 3, n - 2, n - 1][-edge_order - 1:]
        system = np.vander(at[points] - at[i], increasing=True).T
        weights[i, points] = np.linalg.solve(system, np.eye(len(points))[1])
    rows = permute(x, [*(a for a in range(x.ndim) if a != axis), axis])
    wanted = dtypes.floating(x.dtype)
    table = from_host(weights.astype(wanted.accumulator.np), None, x.device)
    found = astype(matmul(astype(rows, wanted.accumulator), table.T), wanted)
    return permute(found, [*range(axis), x.ndim - 1, *range(axis, x.ndim - 1)])


gradient = composite("gradient", "x, *, spacing=1, dim=None, edge_order=1", _FAMILY, run=_gradient, several=True,
                     kinds="f", method=False, cases=(Case(((5, 4),)), Case(((6,),), {"spacing": 0.5, "edge_order": 2})),
                     ref=lambda x, spacing=1, dim=None, edge_order=1: _gradient_ref(x, spacing, dim, edge_order),
                     doc="Slopes along each axis by central differences, one-sided at the edges, of values ``spacing`` "
                         "(a number, or places, an axis) apart.")


def _gradient_ref(x: Any, spacing: Any, dim: Any, edge_order: int) -> tuple:
    found = np.gradient(x.astype(np.float64), spacing, axis=dim, edge_order=edge_order)
    return tuple(f.astype(x.dtype) for f in (found if isinstance(found, (tuple, list)) else (found,)))


def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    if x.ndim != 1 or (N is not None and N < 0):
        raise ShapeError(bad("vander", f"shape {tuple(x.shape)}, N={N}", "a vector, and N of 0 or more",
                             "linalg.vander takes batches."))
    return _powers(x, x.shape[0] if N is None else N, increasing)


def _powers(x: Any, n: int, increasing: bool) -> Any:
    exponents = ramp(n, 0 if increasing else n - 1, 1 if increasing else -1, x.dtype, x.device)
    return pow(unsqueeze(x, -1), exponents)


vander = composite("vander", "x, N=None, increasing=False", _FAMILY, run=_vander, keywords={"x": "x"}, method=False,
                   ref=lambda x, N=None, increasing=False: np.vander(x, N, increasing), kinds="f", domain=(0.3, 2),
                   cases=(Case(((3,),)), Case(((3,),), {"N": 4, "increasing": True})),
                   doc="The powers of each element as a row, falling to 0, or rising from it.")
linalg_vander = composite("linalg_vander", "x, *, N=None", _FAMILY, namespace="linalg", keywords={"x": "x"}, kinds="f",
                          run=lambda x, *, N=None: _powers(x, x.shape[-1] if N is None else N, True),
                          ref=lambda x, N=None: x[..., None] ** np.arange(x.shape[-1] if N is None else N).astype(
                              x.dtype), domain=(0.3, 2), cases=(Case(((2, 3),)), Case(((3,),), {"N": 4})),
                          doc="The powers of each element, rising from 0, as a new last axis.")

# Products -------------------------------------------------------------------------------------------------------------


def _mv(x: Any, vec: Any) -> Any:
    if x.ndim != 2 or vec.ndim != 1:
        raise ShapeError(bad("mv", f"shapes {tuple(x.shape)} and {tuple(vec.shape)}", "a matrix and a vector",
                             "Use matmul for the rest."))
    return matmul(x, vec)


mv = composite("mv", "x, vec", "matmul", tensors=("x", "vec"), run=_mv, ref=np.matmul, cases=(Case(((3, 5), (5,))),),
               doc="Product of a matrix and a vector.")


def _plus(name: str, second: str, third: str, product: Any, ref: Any, cases: tuple, doc: str) -> Any:
    def run(x: Any, y: Any, z: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        result = product(y, z)
        result = result if alpha == 1 else result * alpha
        if beta == 0:
            return expand(result, shapes.broadcast(name, tuple(x.shape), tuple(result.shape)))
        return (x if beta == 1 else x * beta) + result

    return composite(name, "x, y, z, *, beta=1, alpha=1", _FAMILY, tensors=("x", "y", "z"), run=run, cases=cases,
                     kinds="iuf", inplace=True, doc=doc, keywords={"y": second, "z": third},
                     ref=lambda x, y, z, beta=1, alpha=1: beta * x + alpha * ref(y, z))


def _added_batches(y: Any, z: Any) -> Any:
    if y.ndim != 3 or z.ndim != 3 or y.shape[0] != z.shape[0] or y.shape[2] != z.shape[1]:
        raise ShapeError(bad("addbmm", f"shapes {tuple(y.shape)} and {tuple(z.shape)}", "batches of matrices",
                             "The inner sizes must be equal; transpose one?"))
    product = bmm(y, z)
    return sum(product, 0, dtype=product.dtype)


addmv = _plus("addmv", "mat", "vec", _mv, np.matmul, (Case(((3,), (3, 5), (5,)), {"alpha": 2}),),
              "beta * x + alpha * (y @ z), for a matrix y and a vector z.")
addr = _plus("addr", "vec1", "vec2", outer, np.outer, (Case(((3, 5), (3,), (5,)), {"beta": 2}),),
             "beta * x + alpha * outer(y, z), for vectors y and z.")
addbmm = _plus("addbmm", "batch1", "batch2", _added_batches, lambda y, z: np.matmul(y, z).sum(0).astype(y.dtype),
               (Case(((3, 4), (2, 3, 5), (2, 5, 4))),),
               "beta * x + alpha * (the sum over batches of y @ z).")


def _chain(tensors: Any) -> Any:
    from .matrix import linalg_multi_dot

    tensors = _flat(tensors)
    return tensors[0] if len(tensors) == 1 else linalg_multi_dot(tensors)


chain_matmul = composite("chain_matmul", "*matrices", "matmul", tensors=("matrices",), run=_chain, sequence=True,
                         method=False, ref=lambda *matrices: np.linalg.multi_dot(matrices), cases=(),
                         doc="Product of several matrices, in the order that multiplies least: linalg.multi_dot.")
