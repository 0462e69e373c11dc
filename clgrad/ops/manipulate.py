"""Rearranging, padding and combining arrays: PyTorch's names, made of views, joins, products and sums."""

from __future__ import annotations

import builtins
import importlib.util
from collections.abc import Sequence
from math import inf, prod
from typing import Any

import numpy as np

from ..autograd.variable import unwrap
from ..core import dtypes, shapes
from ..core.dtypes import check_kind
from ..core.errors import DTypeError, ShapeError, bad
from ..families.ramp import ramp
from ..ndarray import Array, from_host, full
from ..table import Case
from .complex import conj
from .declare import composite, driver
from .elementwise import (
    abs,
    assign,
    astype,
    eq,
    isfinite,
    isnan,
    le,
    logical_and,
    logical_or,
    logical_xor,
    mul,
    pow,
    sgn,
    sign,
    sqrt,
    square,
    where,
)
from .index import take
from .matmul import bmm, matmul, product_plus
from .reduce import _at_extreme, _kept, all, amax, amin, mean, sum
from .shape import _ints, cat, expand, flip, getitem, narrow, permute, reshape, split, transpose, unsqueeze

_FAMILY = "manipulate"


def _axis(op: str, x: Any, dim: int) -> int:
    return shapes.axis_index(op, dim, x.ndim)


def _zero(x: Any) -> Any:
    """The number zero that leaves x's dtype as it is."""
    return False if x.dtype.kind == "b" else 0


# Moving axes and elements --------------------------------------------------------------------------------------------


def _roll(x: Any, shifts: Any, dims: Any = None) -> Any:
    if dims is None:
        if not isinstance(shifts, int) and len(shifts) != 1:
            raise ShapeError(bad("roll", f"shifts {shifts} without dims", "one shift", "Name an axis a shift."))
        return reshape(_roll(reshape(x, (-1,)), shifts, 0), x.shape)
    shifts, dims = _ints(shifts), _ints(dims)
    if len(shifts) != len(dims):
        raise ShapeError(bad("roll", f"shifts {shifts} and dims {dims}", "as many of each", "Name an axis a shift."))
    for shift, dim in zip(shifts, dims):
        axis = _axis("roll", x, dim)
        n = x.shape[axis] if x.ndim else 0
        cut = n - shift % n if n else 0
        if cut != n:
            x = cat([narrow(x, axis, cut, n - cut), narrow(x, axis, 0, cut)], axis)
    return x


roll = composite("roll", "x, shifts, dims=None", _FAMILY, run=_roll,
                 ref=lambda x, shifts, dims=None: np.roll(x, shifts, dims),
                 cases=(Case(((3, 5),), {"shifts": 2}), Case(((3, 5),), {"shifts": (1, -2), "dims": (0, 1)})),
                 doc="Elements moved along axes, the last ones coming in first; of the flattened array without dims.")


def _movedim(x: Any, source: Any, destination: Any) -> Any:
    source = [_axis("movedim", x, d) for d in _ints(source)]
    destination = [_axis("movedim", x, d) for d in _ints(destination)]
    if len(set(source)) != len(source) or len(source) != len(destination) or len(set(destination)) != len(source):
        raise ShapeError(bad("movedim", f"source {source} and destination {destination}", "as many, each axis once",
                             "Name each axis once."))
    order = [a for a in range(x.ndim) if a not in source]
    for to, a in sorted(zip(destination, source)):
        order.insert(to, a)
    return permute(x, order)


movedim = composite("movedim", "x, source, destination", _FAMILY, run=_movedim, aliases=("moveaxis",),
                    ref=lambda x, source, destination: np.moveaxis(x, source, destination),
                    cases=(Case(((2, 3, 4),), {"source": 0, "destination": -1}),
                           Case(((2, 3, 4),), {"source": (2, 0), "destination": (0, 1)})),
                    doc="A view with some axes at other places; the others keep their order.")


def _rot90(x: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    a, b = (_axis("rot90", x, d) for d in dims)
    if a == b:
        raise ShapeError(bad("rot90", f"dims {dims}", "two different axes", "Name the plane to turn."))
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(x, (a, b))
    return transpose(flip(x, (b,)), a, b) if k % 4 == 1 else flip(transpose(x, a, b), (b,))


rot90 = composite("rot90", "x, k=1, dims=(0, 1)", _FAMILY, run=_rot90,
                  ref=lambda x, k=1, dims=(0, 1): np.rot90(x, k, dims),
                  cases=tuple(Case(((2, 3),), {"k": k}) for k in (1, 2, -1)),
                  doc="Turned by k quarter turns in a plane, from the first axis to the second; a view.")


def _flipped(name: str, dim: int, what: str, ref: Any) -> Any:
    def run(x: Any) -> Any:
        if x.ndim <= dim:
            raise ShapeError(bad(name, f"shape {x.shape}", f"at least {dim + 1} dimensions", "Reshape it."))
        return flip(x, (dim,))

    return composite(name, "x", _FAMILY, run=run, ref=ref, cases=(Case(((2, 3),)),),
                     doc=f"A view with {what} reversed.")


fliplr = _flipped("fliplr", 1, "columns", np.fliplr)
flipud = _flipped("flipud", 0, "rows", np.flipud)
ravel = composite("ravel", "x", _FAMILY, run=lambda x: reshape(x, (-1,)), ref=np.ravel, cases=(Case(((2, 3),)),),
                  doc="The elements, row-major, as one axis; a view where possible.")


def _unflatten(x: Any, dim: int, sizes: Any) -> Any:
    axis, sizes = _axis("unflatten", x, dim), tuple(sizes)
    inner = shapes.resolve("unflatten", x.shape[axis], sizes)
    return reshape(x, (*x.shape[:axis], *inner, *x.shape[axis + 1:]))


unflatten = composite("unflatten", "x, dim, sizes", _FAMILY, run=_unflatten,
                      ref=lambda x, dim, sizes: x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1:]),
                      cases=(Case(((2, 6),), {"dim": 1, "sizes": (2, -1)}),),
                      doc="One axis as several; one size may be -1.")


def _unbind(x: Any, dim: int = 0) -> Any:
    if not x.ndim:
        raise ShapeError(bad("unbind", "a 0-d array", "at least one dimension", "Reshape it to (1,)."))
    axis = _axis("unbind", x, dim)
    return tuple(getitem(x, (slice(None),) * axis + (i,)) for i in range(x.shape[axis]))


unbind = composite("unbind", "x, dim=0", _FAMILY, run=_unbind, several=True, cases=(Case(((2, 3),), {"dim": 1}),),
                   ref=lambda x, dim=0: tuple(np.moveaxis(x, dim, 0)), doc="Views of the slices along an axis.")


def _tensor_split(x: Any, indices_or_sections: Any, dim: int = 0) -> Any:
    axis = _axis("tensor_split", x, dim)
    n = x.shape[axis]
    if isinstance(indices_or_sections, int):
        parts = indices_or_sections
        if parts < 1:
            raise ShapeError(bad("tensor_split", f"{parts} sections", "at least 1", "Give a positive number."))
        return split(x, [n // parts + (i < n % parts) for i in range(parts)], axis)
    ends = [slice(None, i).indices(n)[1] for i in indices_or_sections]
    starts = [0, *ends]
    return tuple(getitem(x, (slice(None),) * axis + (slice(a, builtins.max(a, b)),))
                 for a, b in zip(starts, [*ends, n]))


tensor_split = composite("tensor_split", "x, indices_or_sections, dim=0", _FAMILY, run=_tensor_split, several=True,
                         synonyms={"indices": "indices_or_sections", "sections": "indices_or_sections"},
                         ref=lambda x, indices_or_sections, dim=0: tuple(
                             np.array_split(x, indices_or_sections, dim)),
                         cases=(Case(((7, 2),), {"indices_or_sections": 3}),
                                Case(((2, 7),), {"indices_or_sections": (1, 4), "dim": 1})),
                         doc="Views of parts of an axis: so many nearly equal ones, or those between given indices.")


def _atleast(n: int) -> Any:
    def raised(x: Any) -> Any:
        if x.ndim >= n:
            return x
        if x.ndim == 0:
            return reshape(x, (1,) * n)
        if x.ndim == 1:
            return reshape(x, (1, x.shape[0], 1)[:n])
        return reshape(x, (*x.shape, 1))

    def run(tensors: Any) -> Any:
        if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple)):
            return raised(tensors[0])
        return tuple(map(raised, _flat(tensors)))

    return composite(f"atleast_{n}d", "*tensors", _FAMILY, tensors=("tensors",), run=run, sequence=True, several=True,
                     ref=lambda *tensors: tuple(getattr(np, f"atleast_{n}d")(*tensors)), method=False,
                     cases=(Case(((), (3,))),), doc=f"Each array with at least {n} dimensions; one array gives one.")


def _flat(tensors: Any) -> list:
    """The arrays of ``f(a, b)`` or ``f([a, b])``."""
    return list(tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors)


atleast_1d, atleast_2d, atleast_3d = _atleast(1), _atleast(2), _atleast(3)


def _stacking(name: str, n: int, axis: Any, ref: Any, doc: str, aliases: tuple = ()) -> Any:
    def run(tensors: Any) -> Any:
        raised = [atleast(x) for x in tensors]
        return cat(raised, axis(raised[0].ndim) if raised else 0)

    atleast = (atleast_1d, atleast_2d, atleast_3d)[n - 1]
    return composite(name, "tensors", _FAMILY, tensors=("tensors",), run=run, sequence=True, ref=ref, aliases=aliases,
                     cases=(Case(((3,), (3,))), Case(((2, 3), (2, 3)))), doc=doc)


hstack = _stacking("hstack", 1, lambda ndim: builtins.min(ndim - 1, 1), np.hstack,
                   "Arrays joined along their second axis (vectors along their only one).")
vstack = _stacking("vstack", 2, lambda ndim: 0, np.vstack, "Arrays, vectors as rows, joined along their first axis.",
                   ("row_stack",))
dstack = _stacking("dstack", 3, lambda ndim: 2, np.dstack, "Arrays joined along their third axis.")


def _broadcast_tensors(tensors: Any) -> Any:
    tensors = _flat(tensors)
    shape = shapes.broadcast("broadcast_tensors", *(x.shape for x in tensors))
    return tuple(expand(x, shape) for x in tensors)


broadcast_tensors = composite("broadcast_tensors", "*tensors", _FAMILY, tensors=("tensors",), run=_broadcast_tensors,
                              sequence=True, several=True, method=False, cases=(Case(((3, 1), (4,))),),
                              ref=lambda *tensors: tuple(np.broadcast_arrays(*tensors)),
                              doc="Views of the arrays in their common shape.")


def _meshgrid(tensors: Any, indexing: str = "ij") -> Any:
    tensors = [reshape(x, (-1,)) if x.ndim < 2 else x for x in _flat(tensors)]
    if indexing not in ("ij", "xy") or builtins.any(x.ndim > 1 for x in tensors):
        raise ShapeError(bad("meshgrid", f"indexing={indexing!r}, shapes {[x.shape for x in tensors]}",
                             "'ij' or 'xy', and arrays of at most one dimension", "Flatten them."))
    swap = indexing == "xy" and len(tensors) > 1
    places = [1, 0, *range(2, len(tensors))] if swap else list(range(len(tensors)))
    sizes = [0] * len(tensors)
    for x, place in zip(tensors, places):
        sizes[place] = x.shape[0]
    return tuple(expand(reshape(x, (-1, *(1,) * (len(sizes) - place - 1))), tuple(sizes))
                 for x, place in zip(tensors, places))


meshgrid = composite("meshgrid", "*tensors, indexing='ij'", _FAMILY, tensors=("tensors",), run=_meshgrid, sequence=True,
                     several=True, method=False,
                     ref=lambda *tensors, indexing="ij": tuple(np.meshgrid(*tensors, indexing=indexing)),
                     cases=(Case(((3,), (2,))), Case(((3,), (2,), (4,)), {"indexing": "xy"})),
                     doc="Coordinates of a grid from those of its axes, as views; 'xy' exchanges the first two axes.")

# Diagonals and triangles ---------------------------------------------------------------------------------------------


def _diagonal_view(x: Array, offset: int, dim1: int, dim2: int) -> Array:
    a, b = _axis("diagonal", x, dim1), _axis("diagonal", x, dim2)
    if x.ndim < 2 or a == b:
        raise ShapeError(bad("diagonal", f"dim1={dim1}, dim2={dim2} for shape {x.shape}", "two different axes",
                             "Name the plane."))
    down, right = builtins.max(-offset, 0), builtins.max(offset, 0)
    n = builtins.max(0, builtins.min(x.shape[a] - down, x.shape[b] - right))
    rest = [c for c in range(x.ndim) if c not in (a, b)]
    start = down * x.strides[a] + right * x.strides[b] if n else 0
    return x.view((*(x.shape[c] for c in rest), n), (*(x.strides[c] for c in rest), x.strides[a] + x.strides[b]),
                  x.offset + start)


def _put_diagonal(x: Array, shape: tuple[int, ...], offset: int, dim1: int, dim2: int) -> Array:
    result = full(shape, 0, x.dtype, x.device)
    target = _diagonal_view(result, offset, dim1, dim2)
    if target.size:
        assign(target, x)
    result.storage.version = 0
    return result


def _put_diagonal_ref(x: Any, shape: Any, offset: int, dim1: int, dim2: int) -> Any:
    result = np.zeros(shape, x.dtype)
    view = np.diagonal(result, offset, dim1, dim2)
    view.setflags(write=True)
    view[...] = x
    return result


diagonal = driver("diagonal", "x, offset=0, dim1=0, dim2=1", _FAMILY, run=_diagonal_view,
                  grad=[lambda g, x_shape, offset, dim1, dim2: put_diagonal(g, x_shape, offset, dim1, dim2)],
                  ref=lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
                  cases=(Case(((3, 4),)), Case(((2, 3, 4),), {"offset": -1, "dim1": -1, "dim2": 0})),
                  doc="A view of the diagonal of two axes, as the last axis; ``offset`` above it, or below.")
put_diagonal = driver("put_diagonal", "x, shape, offset, dim1, dim2", _FAMILY, run=_put_diagonal, public=False,
                      method=False, ref=_put_diagonal_ref,
                      grad=[lambda g, offset, dim1, dim2: diagonal(g, offset, dim1, dim2)],
                      cases=(Case(((3,),), {"shape": (3, 4), "offset": 1, "dim1": 0, "dim2": 1}),),
                      doc="Zeros of ``shape`` with x on a diagonal: diagonal in reverse.")


def _diag(x: Any, diagonal: int = 0) -> Any:
    if x.ndim == 1:
        n = x.shape[0] + builtins.abs(diagonal)
        return put_diagonal(x, (n, n), diagonal, 0, 1)
    if x.ndim == 2:
        return _diagonal_record(x, diagonal)
    raise ShapeError(bad("diag", f"{x.ndim} dimensions", "1 or 2", "Use diagonal for more."))


_diagonal_record = diagonal
diag = composite("diag", "x, diagonal=0", _FAMILY, run=_diag, ref=lambda x, diagonal=0: np.diag(x, diagonal),
                 cases=(Case(((3,),), {"diagonal": -1}), Case(((3, 4),), {"diagonal": 1})),
                 doc="A matrix with a vector on its diagonal, or the diagonal (a view) of a matrix.")


def _trace(x: Any) -> Any:
    if x.ndim != 2:
        raise ShapeError(bad("trace", f"shape {x.shape}", "a matrix", "Sum diagonal(x, dim1=..., dim2=...)."))
    return sum(diagonal(x))


trace = composite("trace", "x", _FAMILY, run=_trace, ref=np.trace, cases=(Case(((3, 4),)),),
                  doc="Sum of a matrix's diagonal.")


def _triangle(name: str, keep: Any, ref: Any, doc: str) -> Any:
    def run(x: Any, diagonal: int = 0) -> Any:
        if x.ndim < 2:
            raise ShapeError(bad(name, f"shape {x.shape}", "a matrix, or several", "Reshape it."))
        rows, columns = (ramp(n, 0, 1, dtypes.int32, x.device) for n in x.shape[-2:])
        return where(keep(columns, reshape(rows, (-1, 1)) + diagonal), x, _zero(x))

    return composite(name, "x, diagonal=0", _FAMILY, run=run, doc=doc, inplace=True,
                     ref=lambda x, diagonal=0: ref(x, diagonal),
                     cases=(Case(((3, 4),)), Case(((2, 4, 3),), {"diagonal": -1})))


tril = _triangle("tril", lambda c, r: c <= r, np.tril, "Zero above a diagonal of the last two axes.")
triu = _triangle("triu", lambda c, r: c >= r, np.triu, "Zero below a diagonal of the last two axes.")

# Repeating and padding -----------------------------------------------------------------------------------------------


def _repeat(x: Any, sizes: Any) -> Any:
    sizes = _ints(sizes)
    lead = len(sizes) - x.ndim
    if lead < 0 or builtins.any(r < 0 for r in sizes):
        raise ShapeError(bad("repeat", f"sizes {sizes} for shape {x.shape}", "a size of 0 or more for each axis",
                             "tile takes fewer; repeat_interleave repeats elements."))
    shape = (1,) * lead + x.shape
    apart = reshape(x, tuple(k for n in shape for k in (1, n)))
    spread = expand(apart, tuple(k for r, n in zip(sizes, shape) for k in (r, n)))
    return reshape(spread, tuple(r * n for r, n in zip(sizes, shape)))


def _tile(x: Any, dims: Any) -> Any:
    dims = _ints(dims)
    return _repeat(x, (1,) * (x.ndim - len(dims)) + tuple(dims))


repeat = composite("repeat", "x, sizes", _FAMILY, run=_repeat, variadic=True, ref=lambda x, sizes: np.tile(x, sizes),
                   cases=(Case(((2, 3),), {"sizes": (2, 1)}), Case(((3,),), {"sizes": (2, 2)})),
                   doc="The whole array so many times along each axis, new leading ones included; a copy.")
tile = composite("tile", "x, dims", _FAMILY, run=_tile, variadic=True, ref=lambda x, dims: np.tile(x, dims),
                 cases=(Case(((2, 3),), {"dims": (2,)}), Case(((3,),), {"dims": (2, 2)})),
                 doc="repeat, where missing leading counts are 1.")


def _repeat_interleave(x: Any, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Any:
    if dim is None:
        x, dim = reshape(x, (-1,)), 0
    axis = _axis("repeat_interleave", x, dim)
    n = x.shape[axis]
    counts = repeats if isinstance(repeats, int) else np.atleast_1d(
        unwrap(repeats).numpy() if hasattr(repeats, "storage") else np.asarray(repeats))
    if not isinstance(counts, int) and counts.size == 1:
        counts = int(counts[0])
    if isinstance(counts, int):
        if counts < 0:
            raise ShapeError(bad("repeat_interleave", f"repeats={counts}", "0 or more", "Give a count."))
        apart = unsqueeze(x, axis + 1)
        spread = expand(apart, (*x.shape[:axis + 1], counts, *x.shape[axis + 1:]))
        return reshape(spread, (*x.shape[:axis], n * counts, *x.shape[axis + 1:]))
    if counts.shape != (n,) or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ShapeError(bad("repeat_interleave", f"repeats of shape {counts.shape} and dtype {counts.dtype}",
                             f"one count of 0 or more for each of {n} slices", "Give one, or one a slice."))
    return take(x, from_host(np.repeat(np.arange(n), counts), None, x.device), axis)


repeat_interleave = composite("repeat_interleave", "x, repeats, dim=None, *, output_size=None", _FAMILY,
                              run=_repeat_interleave,
                              ref=lambda x, repeats, dim=None, output_size=None: np.repeat(x, repeats, dim),
                              cases=(Case(((2, 3),), {"repeats": 2}), Case(((2, 3),), {"repeats": 3, "dim": 1}),
                                     Case(((2, 3),), {"repeats": np.array([2, 0, 1]), "dim": -1})),
                              doc="Each element, or slice along ``dim``, so many times. Counts in an array go by way "
                                  "of the host, for they say the result's size.")


def _pad_constant(x: Array, widths: tuple, value: Any) -> Array:
    result = full(tuple(n + a + b for n, (a, b) in zip(x.shape, widths)), value, x.dtype, x.device)
    target = getitem(result, _inside(widths, x.shape))
    if target.size:
        assign(target, x)
    result.storage.version = 0
    return result


def _inside(widths: Any, shape: Any) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for (a, _), n in zip(widths, shape))


pad_constant = driver("pad_constant", "x, widths, value", _FAMILY, run=_pad_constant, public=False, method=False,
                      grad=[lambda g, x_shape, widths: getitem(g, _inside(widths, x_shape))],
                      ref=lambda x, widths, value: np.pad(x, widths, constant_values=value),
                      cases=(Case(((2, 3),), {"widths": ((1, 0), (0, 2)), "value": 1}),),
                      doc="x with margins of one value; ``widths`` has a pair for each axis.")


def _margins(op: str, x: Any, axis: int, before: int, after: int, mode: str) -> Any:
    """x with what its own elements make of the margins of one axis."""
    n = x.shape[axis]
    most = {"reflect": n - 1, "circular": n, "replicate": inf if n else 0}[mode]
    if builtins.max(before, after) > most:
        raise ShapeError(bad(op, f"pad {before}, {after} for axis {axis} of size {n}", f"at most {most}",
                             f"mode={mode!r} takes margins from the axis itself."))
    if mode == "reflect":
        first, last = narrow(x, axis, 1, before), narrow(x, axis, n - 1 - after, after)
        first, last = flip(first, (axis,)), flip(last, (axis,))
    elif mode == "circular":
        first, last = narrow(x, axis, n - before, before), narrow(x, axis, 0, after)
    else:
        first, last = (expand(narrow(x, axis, at, 1), (*x.shape[:axis], w, *x.shape[axis + 1:])) if w else None
                       for at, w in ((0, before), (n - 1, after)))
    return cat([part for part, w in ((first, before), (x, 1), (last, after)) if w], axis)


def _pad(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    pad = _ints(pad)
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(bad("pad", f"{pad} for shape {x.shape}", "a pair for each axis, the last axis first",
                             "Give (left, right), (left, right, top, bottom), and so on."))
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(bad("pad", f"mode={mode!r}", "'constant', 'reflect', 'replicate' or 'circular'",
                             "Pass one of these."))
    if mode != "constant" and value not in (None, 0):
        raise ValueError(bad("pad", f"value={value!r} with mode={mode!r}", "no value", "Only 'constant' takes one."))
    widths = [(0, 0)] * x.ndim
    for i in range(len(pad) // 2):
        widths[-1 - i] = (pad[2 * i], pad[2 * i + 1])
    if builtins.any(n + builtins.min(a, 0) + builtins.min(b, 0) < 0 for n, (a, b) in zip(x.shape, widths)):
        raise ShapeError(bad("pad", f"{pad} for shape {x.shape}", "no more cut off than there is", "Cut less."))
    if builtins.any(w < 0 for pair in widths for w in pair):  # a negative margin cuts
        x = getitem(x, tuple(slice(builtins.max(-a, 0), n - builtins.max(-b, 0)) for n, (a, b) in zip(x.shape, widths)))
        widths = [(builtins.max(a, 0), builtins.max(b, 0)) for a, b in widths]
    if mode == "constant":
        return pad_constant(x, tuple(widths), 0 if value is None else value)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = _margins("pad", x, axis, before, after, mode)
    return x


def _pad_ref(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + [tuple(pad[i:i + 2]) for i in range(len(pad) - 2, -1, -2)]
    if mode == "constant":
        return np.pad(x, widths, constant_values=value or 0)
    return np.pad(x, widths, {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])


pad = composite("pad", "x, pad, mode='constant', value=None", _FAMILY, run=_pad, ref=_pad_ref, method=False,
                cases=(Case(((2, 3),), {"pad": (1, 2), "value": 1}),
                       *(Case(((3, 4),), {"pad": (2, 1, 0, 2), "mode": m})
                         for m in ("reflect", "replicate", "circular"))),
                doc="x with margins, in pairs from the last axis on: of one value, or reflected, replicated or "
                    "circular. A negative margin cuts.")

# Products ------------------------------------------------------------------------------------------------------------


def _vectors(op: str, *given: Any) -> None:
    if builtins.any(x.ndim != 1 for x in given):
        raise ShapeError(bad(op, " and ".join(str(x.shape) for x in given), "vectors", "Flatten them, or use matmul."))


def _outer(x: Any, y: Any) -> Any:
    _vectors("outer", x, y)
    return reshape(x, (-1, 1)) * y


def _dot(x: Any, y: Any) -> Any:
    _vectors("dot", x, y)
    return matmul(x, y)


_PAIR = (Case(((4,), (4,))),)
outer = composite("outer", "x, y", _FAMILY, tensors=("x", "y"), run=_outer, ref=np.outer, aliases=("ger",),
                  keywords={"y": "vec2"}, cases=(Case(((3,), (4,))),),
                  doc="Products of each element of one vector with each of another.")
dot = composite("dot", "x, y", _FAMILY, tensors=("x", "y"), run=_dot, ref=np.dot, cases=_PAIR,
                keywords={"y": "tensor"}, doc="Sum of the products of two vectors' elements.")
vdot = composite("vdot", "x, y", _FAMILY, tensors=("x", "y"), run=lambda x, y: _dot(conj(x), y), cases=_PAIR,
                 ref=np.vdot, doc="dot, with the first conjugated: the two differ for complex numbers only.")


def _inner(x: Any, y: Any) -> Any:
    if not x.ndim or not y.ndim:
        return x * y
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(bad("inner", f"shapes {x.shape} and {y.shape}", "last axes of one size", "Transpose one?"))
    return _tensordot(x, y, ([-1], [-1]))


def _tensordot(x: Any, y: Any, dims: Any = 2) -> Any:
    if isinstance(dims, int):
        first, second = list(range(x.ndim - dims, x.ndim)), list(range(dims))
    else:
        first, second = list(_ints(dims[0])), list(_ints(dims[1]))
    first, second = ([_axis("tensordot", z, d) for d in a] for z, a in ((x, first), (y, second)))
    if [x.shape[a] for a in first] != [y.shape[a] for a in second]:
        raise ShapeError(bad("tensordot", f"shapes {x.shape} and {y.shape}, dims {dims}", "summed axes of equal sizes",
                             "Name the axes in matching order."))
    left, right = ([a for a in range(z.ndim) if a not in axes] for z, axes in ((x, first), (y, second)))
    rows, shared, columns = prod(x.shape[a] for a in left), prod(x.shape[a] for a in first), prod(
        y.shape[a] for a in right)
    product = matmul(reshape(permute(x, left + first), (rows, shared)),
                     reshape(permute(y, second + right), (shared, columns)))
    return reshape(product, (*(x.shape[a] for a in left), *(y.shape[a] for a in right)))


inner = composite("inner", "x, y", _FAMILY, tensors=("x", "y"), run=_inner, ref=np.inner,
                  cases=(Case(((2, 3), (4, 3))), Case(((3,), (3,)))), doc="Sums of products over the last axes.")
tensordot = composite("tensordot", "x, y, dims=2", _FAMILY, tensors=("x", "y"), run=_tensordot, method=False,
                      keywords={"x": "a", "y": "b"},
                      ref=lambda x, y, dims=2: np.tensordot(x, y, dims),
                      cases=(Case(((2, 3, 4), (3, 4, 5))), Case(((2, 3), (4, 2)), {"dims": ([0], [1])}),
                             Case(((2,), (3,)), {"dims": 0})),
                      doc="Sums of products over several axes: the last of x with the first of y, or those named.")


def _kron(x: Any, y: Any) -> Any:
    rank = builtins.max(x.ndim, y.ndim)
    a, b = ((1,) * (rank - z.ndim) + z.shape for z in (x, y))
    product = mul(reshape(x, tuple(k for n in a for k in (n, 1))), reshape(y, tuple(k for n in b for k in (1, n))))
    return reshape(product, tuple(n * m for n, m in zip(a, b)))


kron = composite("kron", "x, y", _FAMILY, tensors=("x", "y"), run=_kron, ref=np.kron,
                 cases=(Case(((2, 3), (3, 2))), Case(((2,), (2, 2)))), doc="Kronecker product.")


def _plus_product(name: str, rank: int, ref: Any, cases: tuple, doc: str, factors: tuple = ("mat1", "mat2"),
                  **fields: Any) -> Any:
    def run(x: Any, y: Any, z: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        _matrices(name, rank, y, z)
        if beta == alpha == 1 and hasattr(x, "storage") and builtins.all(t.dtype.kind in "iuf" for t in (x, y, z)):
            return product_plus(y, z, x)
        result = bmm(y, z)
        result = result if alpha == 1 else result * alpha
        if beta == 0:  # x counts for nothing, NaN included, but for its shape
            return result
        return (x if beta == 1 else x * beta) + result

    return composite(name, "x, y, z, *, beta=1, alpha=1", _FAMILY, tensors=("x", "y", "z"), run=run, cases=cases,
                     inplace=True, keywords=dict(zip("yz", factors)), kinds="iuf", doc=doc,
                     ref=lambda x, y, z, beta=1, alpha=1: beta * x + alpha * ref(y, z), **fields)


def _matrices(op: str, rank: int, y: Any, z: Any) -> None:
    if y.ndim != rank or z.ndim != rank or y.shape[:-2] != z.shape[:-2] or y.shape[-1] != z.shape[-2]:
        raise ShapeError(bad(op, f"shapes {y.shape} and {z.shape}", "matrices to multiply" if rank == 2 else
                             "batches of matrices to multiply", "The inner sizes must be equal; transpose one?"))


addmm = _plus_product("addmm", 2, np.matmul,
                      (Case(((4,), (3, 5), (5, 4))), Case(((3, 4), (3, 5), (5, 4)), {"beta": 2, "alpha": 3})),
                      "beta * x + alpha * (y @ z), for matrices y and z.")
baddbmm = _plus_product("baddbmm", 3, np.matmul,
                        (Case(((2, 3, 4), (2, 3, 5), (2, 5, 4)), {"alpha": 2}),),
                        "beta * x + alpha * (y @ z), for batches of matrices y and z.", ("batch1", "batch2"))

# einsum --------------------------------------------------------------------------------------------------------------


def _terms(equation: str, operands: Sequence[Any]) -> tuple[list[list[Any]], list[Any]]:
    """Each operand's labels and the result's: letters, and ints for the axes an ellipsis stands for, counted from the
    right (-1 is the last), so that they broadcast."""
    def wrong(got: str, expected: str) -> ShapeError:
        return ShapeError(bad("einsum", f"{got} in {equation!r}", expected, "Write it as 'ij,jk->ik'."))

    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise wrong(f"{len(operands)} operands", f"{len(inputs)}")
    labels = []
    for term, x in zip(inputs, operands):
        plain = term.replace("...", "", 1)
        if not (plain.isalpha() or plain == ""):
            raise wrong(f"the subscripts {term!r}", "letters and at most one ellipsis")
        spread = x.ndim - len(plain)
        if spread < 0 or (spread and "..." not in term):
            raise wrong(f"the subscripts {term!r} for shape {x.shape}", "one letter an axis")
        head, dots, tail = term.partition("...")
        labels.append([*head, *(range(-spread, 0) if dots else ()), *tail])
    letters = [c for c in left if c.isalpha()]
    widest = builtins.max((len([n for n in term if isinstance(n, int)]) for term in labels), default=0)
    if not arrow:
        return labels, [*range(-widest, 0), *sorted(c for c in set(letters) if letters.count(c) == 1)]
    head, dots, tail = right.partition("...")
    result = [*head, *(range(-widest, 0) if dots else ()), *tail]
    unknown = [c for c in result if isinstance(c, str) and c not in letters]
    if unknown or len(set(result)) != len(result):
        raise wrong(f"the result {right!r}", "letters of the operands, each once")
    return labels, result


def _sizes(equation: str, labels: list[list[Any]], operands: Sequence[Any]) -> dict[Any, int]:
    sizes: dict[Any, int] = {}
    for term, x in zip(labels, operands):
        for name, n in zip(term, x.shape):
            if sizes.setdefault(name, n) in (1, n):
                sizes[name] = n
            elif n != 1:
                raise ShapeError(bad("einsum", f"sizes {sizes[name]} and {n} for {name!r} in {equation!r}", "one size",
                                     "Axes of one letter are equal, or 1."))
    return sizes


def _simplified(x: Any, term: list[Any], sizes: dict[Any, int], wanted: set) -> tuple[Any, list[Any]]:
    """One operand with each label once: repeated ones become diagonals, those nothing else wants are summed, and an
    axis of size 1 that broadcasts is dropped."""
    term = list(term)
    for name in set(term):
        while term.count(name) > 1:
            first = term.index(name)
            second = term.index(name, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ShapeError(bad("einsum", f"shape {x.shape} with {name!r} twice", "axes of one size", "Check it."))
            x = diagonal(x, 0, first, second)
            term = [n for i, n in enumerate(term) if i not in (first, second)] + [name]
    lone = [i for i, name in enumerate(term) if x.shape[i] == 1 and sizes[name] != 1]
    x = reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in lone))
    term = [name for i, name in enumerate(term) if i not in lone]
    gone = tuple(i for i, name in enumerate(term) if name not in wanted)
    return _summed(x, gone), [name for name in term if name in wanted]


def _summed(x: Any, axes: tuple[int, ...]) -> Any:
    """Sum that keeps the dtype, as products do; of bools, whether any holds."""
    if not axes:
        return x
    return astype(sum(x, axes), x.dtype) if x.dtype.kind == "b" else sum(x, axes, dtype=x.dtype)


def _contract(x: Any, a: list[Any], y: Any, b: list[Any], wanted: set) -> tuple[Any, list[Any]]:
    """Two operands as one: a product of matrices over the labels they share."""
    x, a = _simplified(x, a, dict(zip(a, x.shape)), wanted | set(b))
    y, b = _simplified(y, b, dict(zip(b, y.shape)), wanted | set(a))
    shared = [n for n in a if n in b]
    batch, summed = [n for n in shared if n in wanted], [n for n in shared if n not in wanted]
    left, right = [n for n in a if n not in b], [n for n in b if n not in a]
    size = dict(zip(a, x.shape)) | dict(zip(b, y.shape))

    def laid(z: Any, names: list[Any], groups: list[list[Any]], flat: bool) -> Any:
        z = permute(z, [names.index(n) for g in groups for n in g]) if names else z
        if not flat:
            return z
        return reshape(z, (*(size[n] for n in groups[0]), *(prod(size[n] for n in g) for g in groups[1:])))

    names = [*batch, *left, *right]
    shape = tuple(size[n] for n in names)
    if not summed:
        x = reshape(laid(x, a, [batch, left], False), (*(size[n] for n in batch + left), *(1,) * len(right)))
        y = reshape(laid(y, b, [batch, right], False), (*(size[n] for n in batch), *(1,) * len(left),
                                                        *(size[n] for n in right)))
        return mul(x, y), names
    product = bmm(laid(x, a, [batch, left, summed], True), laid(y, b, [batch, summed, right], True))
    return reshape(product, shape), names


def _path(labels: list[list[Any]], result: list[Any], sizes: dict[Any, int]) -> list[tuple[int, ...]]:
    """Which operands to contract next: opt_einsum's order where it is installed, else from left to right."""
    if len(labels) > 2 and importlib.util.find_spec("opt_einsum") is not None:
        from opt_einsum import contract_path, get_symbol

        symbol = {name: get_symbol(i) for i, name in enumerate(sizes)}
        equation = ",".join("".join(symbol[n] for n in term) for term in labels)
        path, _ = contract_path(f"{equation}->{''.join(symbol[n] for n in result)}",
                                *(tuple(sizes[n] for n in term) for term in labels), shapes=True)
        return list(path)
    return [tuple(range(len(labels)))]


def _einsum(equation: str, operands: Any) -> Any:
    operands = _flat(operands)
    if not isinstance(equation, str) or not operands:
        raise DTypeError(bad("einsum", f"equation {equation!r} and {len(operands)} operands", "a string and arrays",
                             "Write einsum('ij,jk->ik', x, y)."))
    labels, result = _terms(equation, operands)
    sizes = _sizes(equation, labels, operands)
    counts = [set(term) for term in labels]
    terms = []
    for i, (x, term) in enumerate(zip(operands, labels)):
        others = set(result).union(*(c for j, c in enumerate(counts) if j != i))
        terms.append(_simplified(x, term, sizes, others))
    for chosen in _path([t for _, t in terms], result, sizes):
        picked = [terms[i] for i in chosen]
        terms = [t for i, t in enumerate(terms) if i not in chosen]
        while len(picked) > 1:
            wanted = set(result).union(*(t for _, t in picked[2:] + terms))
            picked[:2] = [_contract(*picked[0], *picked[1], wanted)]
        terms += picked
    x, term = terms[0]
    x, term = _simplified(x, term, dict(zip(term, x.shape)), set(result))
    missing = [n for n in result if n not in term]  # every operand had size 1 there
    x = reshape(x, (*x.shape, *(1,) * len(missing)))
    term = term + missing
    return permute(x, [term.index(n) for n in result]) if result else x


einsum = composite("einsum", "equation, *operands", _FAMILY, tensors=(), run=_einsum, method=False, cases=(),
                   ref=lambda equation, *operands: np.einsum(equation, *operands),
                   doc="Sums of products named by subscripts, as 'bij,bjk->bik': letters repeated in an operand are "
                       "diagonals, those missing from the result are summed, an ellipsis broadcasts.")

# Distances and norms -------------------------------------------------------------------------------------------------


def _vector_norm(x: Array, ord: Any, dim: Any, keepdim: bool, dtype: Any) -> Array:
    x = x if dtype is None else astype(x, dtypes.dtype(dtype))
    check_kind("vector_norm", "fc", x.dtype)
    if x.dtype.kind == "c":
        return _norm_of(abs(x), ord, dim, keepdim)
    return astype(_norm_of(astype(x, x.dtype.accumulator), ord, dim, keepdim), x.dtype)


def _norm_of(x: Array, ord: Any, dim: Any, keepdim: bool) -> Array:
    if ord == 2:
        return sqrt(sum(square(x), dim, keepdim))
    if ord == 0:
        return sum(astype(x != 0, x.dtype), dim, keepdim)
    size = abs(x)
    if ord == 1:
        return sum(size, dim, keepdim)
    if ord in (inf, -inf):
        return (amax if ord > 0 else amin)(size, dim, keepdim)
    return pow(sum(pow(size, ord), dim, keepdim), 1 / ord)


def _norm_slope(g: Any, x: Any, out: Any, ord: Any, dim: Any, keepdim: bool) -> Any:
    """d norm / dx, with 0 where the norm is 0, as PyTorch has it. A complex x moves its absolute values."""
    if x.dtype.kind == "c":
        return _norm_slope(g, abs(x), out, ord, dim, keepdim) * sgn(x)
    if ord == 0:
        return x * 0.0
    if ord in (inf, -inf):
        return _at_extreme(g, abs(x), out, dim, keepdim) * sign(x)
    g = _kept(g, x.shape, dim, keepdim)
    if ord == 1:
        return g * sign(x)
    length = _kept(out, x.shape, dim, keepdim)
    length = where(eq(length, 0), 1.0, length)
    if ord == 2:
        return g / length * x
    ratio = abs(x) / length
    return g * sign(x) * (pow(ratio, ord - 1) if ord > 1 else where(eq(ratio, 0), 0.0, pow(
        where(eq(ratio, 0), 1.0, ratio), ord - 1)))


def _norm_ref(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    axes = tuple(range(x.ndim)) if dim is None else dim
    size = np.abs(x)
    if ord == 0:
        return (x != 0).sum(axes, keepdims=keepdim).astype(size.dtype)
    if ord in (inf, -inf):
        return (np.max if ord > 0 else np.min)(size, axes, keepdims=keepdim)
    return (size**ord).sum(axes, keepdims=keepdim) ** (1 / ord)


vector_norm = driver("vector_norm", "x, ord=2, dim=None, keepdim=False, *, dtype=None", _FAMILY, run=_vector_norm,
                     holomorphic=False, grad=[_norm_slope], ref=_norm_ref, method=False, kinds="fc",
                     keywords={"x": "x"},
                     cases=(Case(((3, 4),), {"dim": 1}), Case(((3, 4),), {"ord": 1, "keepdim": True, "dim": 0}),
                            Case(((3, 4),), {"ord": inf, "dim": -1}), Case(((3, 4),), {"ord": 3})),
                     doc="(sum |x|**ord)**(1/ord) over ``dim``; inf and -inf give the largest and smallest |x|, 0 the "
                         "number of nonzeros. The slope at zero is zero.")


def _norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if isinstance(p, str) and p != "fro":
        raise ValueError(bad("norm", f"p={p!r}", "'fro' or a number", "Use linalg.matrix_norm for norms of matrices."))
    x = x if dtype is None else astype(x, dtype)
    return vector_norm(x, 2 if p in ("fro", None) else p, dim, keepdim)


norm = composite("norm", "x, p='fro', dim=None, keepdim=False, dtype=None", _FAMILY, run=_norm, kinds="fc",
                 ref=lambda x, p="fro", dim=None, keepdim=False: _norm_ref(x, 2 if p == "fro" else p, dim, keepdim),
                 cases=(Case(((3, 4),)), Case(((3, 4),), {"p": 1, "dim": 0})),
                 doc="Norm of the elements over ``dim``, of order p ('fro' is 2): vector_norm.")


def _cdist(x: Any, y: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(bad("cdist", f"shapes {x.shape} and {y.shape}", "(..., P, M) and (..., R, M)",
                             "Rows are points of one dimension."))
    return vector_norm(unsqueeze(x, -2) - unsqueeze(y, -3), p, -1)


cdist = composite("cdist", "x, y, p=2.0, compute_mode=None", _FAMILY, tensors=("x", "y"), run=_cdist, kinds="f",
                  keywords={"x": "x1", "y": "x2"},
                  ref=lambda x, y, p=2.0: _norm_ref(x[..., :, None, :] - y[..., None, :, :], p, -1), method=False,
                  cases=(Case(((3, 4), (5, 4))), Case(((2, 3, 4), (2, 2, 4)), {"p": 1.0})),
                  doc="Distance of order p of each row of x to each row of y, from the differences themselves.")


def _cross(x: Any, y: Any, dim: int | None = None) -> Any:
    shape = shapes.broadcast("cross", x.shape, y.shape)
    threes = [a for a, n in enumerate(shape) if n == 3]
    axis = (threes or [None])[0] if dim is None else shapes.axis_index("cross", dim, len(shape))
    if axis is None or shape[axis] != 3:
        raise ShapeError(bad("cross", f"shapes {x.shape} and {y.shape}, dim={dim}", "an axis of size 3", "Name it."))
    x, y = expand(x, shape), expand(y, shape)
    return _roll(x, -1, axis) * _roll(y, -2, axis) - _roll(x, -2, axis) * _roll(y, -1, axis)


cross = composite("cross", "x, y, dim=None", _FAMILY, tensors=("x", "y"), run=_cross, kinds="iuf",
                  ref=lambda x, y, dim=None: np.cross(x, y, axis=-1 if dim is None else dim),
                  cases=(Case(((2, 3), (2, 3))), Case(((3, 2), (3, 2)), {"dim": 0})),
                  doc="Vector product along an axis of size 3 (the first such one unless named).")

# Comparing, cleaning, interpolating ----------------------------------------------------------------------------------


def _isclose(x: Any, y: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    same = eq(x, y)
    if x.dtype.kind == y.dtype.kind == "b":
        return same
    if not {x.dtype.kind, y.dtype.kind} & {"f", "c"}:  # differences of integers wrap
        common = dtypes.result_type(x.dtype, y.dtype)
        common = dtypes.floating(common) if common.itemsize < 4 or not x.device.facts.fp64 else dtypes.float64
        x, y = astype(x, common), astype(y, common)
    close = logical_or(same, logical_and(isfinite(y), le(abs(x - y), abs(y) * rtol + atol)))
    return logical_or(close, logical_and(isnan(x), isnan(y))) if equal_nan else close


_CLOSE = (Case(((3, 5), (5,)), {"rtol": 0.5, "atol": 0.3}), Case(((4,), (4,))))
isclose = composite("isclose", "x, y, rtol=1e-05, atol=1e-08, equal_nan=False", _FAMILY, tensors=("x", "y"),
                    run=_isclose, ref=np.isclose, cases=_CLOSE, kinds="iufc",
                    doc="Whether |x - y| <= atol + rtol * |y|, elementwise; equal infinities are close.")
allclose = composite("allclose", "x, y, rtol=1e-05, atol=1e-08, equal_nan=False", _FAMILY, tensors=("x", "y"),
                     run=lambda *given, **named: bool(all(unwrap(_isclose(*given, **named))).item()), ref=np.allclose,
                     cases=_CLOSE, kinds="iufc",
                     doc="Whether all elements are close, as a Python bool: waits for them.")


def _equal(x: Any, y: Any) -> bool:
    return x.shape == y.shape and bool(all(unwrap(eq(x, y))).item())


equal = composite("equal", "x, y", _FAMILY, tensors=("x", "y"), run=_equal, ref=np.array_equal,
                  cases=(Case(((3, 5), (3, 5))), Case(((3,), (4,)))),
                  doc="Whether shapes and all elements are equal, as a Python bool: waits for them. NaN equals "
                      "nothing. Elementwise: eq.")


def _nan_to_num(x: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    if x.dtype.kind != "f":
        return x
    limits = dtypes.finfo(x.dtype)
    high = limits.max if posinf is None else float(posinf)
    low = limits.min if neginf is None else float(neginf)
    x = where(isnan(x), 0.0 if nan is None else float(nan), x)
    return where(eq(x, inf), high, where(eq(x, -inf), low, x))


nan_to_num = composite("nan_to_num", "x, nan=0.0, posinf=None, neginf=None", _FAMILY, run=_nan_to_num, kinds="iuf",
                       ref=lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(
                           x, nan=nan, posinf=posinf, neginf=neginf),
                       cases=(Case(((3, 5),)),), inplace=True,
                       doc="NaN and infinities replaced: by 0 and the dtype's largest numbers, or those given.")
lerp = composite("lerp", "x, end, weight", _FAMILY, tensors=("x", "end", "weight"), kinds="f",
                 run=lambda x, end, weight: x + (end - x) * weight, inplace=True,
                 ref=lambda x, end, weight: x + (end - x) * weight,
                 cases=(Case(((3, 4), (4,), (3, 1))), Case(((3,), (3,)), {"weight": 0.25})),
                 doc="x + weight * (end - x).")


def _diff(x: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    if not x.ndim:
        raise ShapeError(bad("diff", "a 0-d array", "at least one dimension", "Reshape it to (1,)."))
    axis = _axis("diff", x, dim)
    parts = [p for p in (prepend, x, append) if p is not None]
    x = cat(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        size = builtins.max(x.shape[axis] - 1, 0)
        after, before = narrow(x, axis, x.shape[axis] - size, size), narrow(x, axis, 0, size)
        x = logical_xor(after, before) if x.dtype.kind == "b" else after - before
    return x


diff = composite("diff", "x, n=1, dim=-1, prepend=None, append=None", _FAMILY, run=_diff,
                 ref=lambda x, n=1, dim=-1: np.diff(x, n, dim),
                 cases=(Case(((3, 5),)), Case(((4, 3),), {"n": 2, "dim": 0})),
                 doc="Differences of neighbours along an axis, n times; of bools, whether they differ.")


def _cov(x: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    if x.ndim > 2:
        raise ShapeError(bad("cov", f"shape {x.shape}", "(variables, observations)", "Reshape it."))
    x = reshape(x, (1, -1)) if x.ndim < 2 else x
    x = astype(x, dtypes.floating(x.dtype))
    weight = None
    for given in (fweights, aweights):
        if given is not None:
            given = astype(given, x.dtype)
            weight = given if weight is None else weight * given
    count: Any = x.shape[1]
    if weight is None:
        centred = x - mean(x, 1, True)
        weighted = centred
        divisor: Any = builtins.max(count - correction, 0)
        scale = 1 / divisor if divisor else float("nan")
    else:
        total = sum(weight)
        centred = x - sum(x * weight, 1, True) / total
        weighted = centred * weight
        spread = total if aweights is None else sum(weight * astype(aweights, x.dtype)) / total
        scale = 1 / (total - spread * correction if aweights is not None else total - correction)
    result = matmul(weighted, transpose(centred, 0, 1)) * scale
    return reshape(result, ()) if result.shape == (1, 1) else result


cov = composite("cov", "x, *, correction=1, fweights=None, aweights=None", _FAMILY, run=_cov, kinds="f",
                ref=lambda x, correction=1, fweights=None, aweights=None: np.cov(
                    x, ddof=correction, fweights=fweights, aweights=aweights),
                cases=(Case(((3, 6),)), Case(((5,),), {"correction": 0})),
                doc="Covariances of the rows, whose columns are observations, with how often (``fweights``) and how "
                    "much (``aweights``) each counts.")
