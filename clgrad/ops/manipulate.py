"""Rearranging, padding and comparing arrays: PyTorch's names, made of views and joins."""

from __future__ import annotations

import builtins
from math import inf
from typing import Any

import numpy as np

from ..autograd.variable import unwrap
from ..core import dtypes, shapes
from ..core.errors import ShapeError, bad
from ..families.ramp import ramp
from ..ndarray import Array, from_host, full
from ..table import Case
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
    where,
)
from .index import take
from .matmul import matmul
from .reduce import all, mean, sum
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
        if len(_ints(shifts)) != 1:
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
    offset, = _ints(offset)
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
