"""Shape records: views where memory order allows, copies where not; joining and indexing by slices."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array, basic_index, empty, full, same_device
from ..table import Case
from .declare import composite, driver
from .elementwise import assign, contiguous


def _ints(value: Any) -> tuple[int, ...]:
    """Sizes as a tuple; NumPy's integers become Python's, so that shapes and strides are made of those alone."""
    values = value if isinstance(value, Sequence) else (value,)
    return tuple([int(n) if isinstance(n, np.integer) else n for n in values])


def _reshape(x: Array, shape: Any) -> Array:
    target = shapes.resolve("reshape", x.size, _ints(shape))
    strides = shapes.view_strides(x.shape, x.strides, target)
    if strides is None:
        x = contiguous(x)
        strides = shapes.contiguous_strides(target)
    return x.view(target, strides, x.offset)


def _view(x: Array, shape: Any) -> Array:
    target = shapes.resolve("view", x.size, _ints(shape))
    strides = shapes.view_strides(x.shape, x.strides, target)
    if strides is None:
        raise ShapeError(bad("view", f"strides {x.strides} for shape {target}", "memory that this shape can read",
                             "Use .reshape(), which copies where it must, or .contiguous().view()."))
    return x.view(target, strides, x.offset)


_RESHAPES = (Case(((3, 4),), {"shape": (2, 6)}), Case(((3, 4),), {"shape": (-1,)}), Case(((0, 4),), {"shape": (4, 0)}),
             Case(((),), {"shape": (1, 1)}))
reshape = driver("reshape", "x, shape", "shape", run=_reshape, cases=_RESHAPES, variadic=True,
                 grad=[lambda g, x_shape: reshape(g, x_shape)], ref=lambda x, shape: np.reshape(x, shape),
                 doc="The elements, in row-major order, in another shape; one size may be -1. A view where possible.")
_view_record = driver("view", "x, shape", "shape", run=_view, cases=(), variadic=True, method_only=True,
                 grad=[lambda g, x_shape: reshape(g, x_shape)], ref=lambda x, shape: np.reshape(x, shape),
                 doc="The same memory in another shape; raises where that needs a copy.")


def _permute(x: Array, dims: Any) -> Array:
    shape, strides, dims = x.shape, x.strides, _ints(dims)
    order = [shapes.axis_index("permute", d, len(shape)) for d in dims]
    if len(order) != len(shape) or len(set(order)) != len(order):
        raise ShapeError(bad("permute", f"dims {dims} for shape {shape}", "every axis once", "Name each axis."))
    return x.view(tuple([shape[a] for a in order]), tuple([strides[a] for a in order]), x.offset)


def _inverse(dims: Any, rank: int) -> list[int]:
    order = [d % rank for d in _ints(dims)]
    return [order.index(a) for a in range(rank)]


permute = driver("permute", "x, dims", "shape", run=_permute, variadic=True,
                 grad=[lambda g, x_shape, dims: permute(g, _inverse(dims, len(x_shape))) if x_shape else g],
                 ref=lambda x, dims: np.transpose(x, dims), cases=(Case(((2, 3, 4),), {"dims": (2, 0, 1)}),
                                                                   Case(((2, 3),), {"dims": (-1, 0)})),
                 doc="A view with the axes in another order.")


def _transpose(x: Any, dim0: int, dim1: int) -> Any:
    order = list(range(x.ndim))
    i, j = (shapes.axis_index("transpose", d, x.ndim) for d in (dim0, dim1))
    order[i], order[j] = order[j], order[i]
    return permute(x, order)


transpose = composite("transpose", "x, dim0, dim1", "shape", run=_transpose, aliases=("swapaxes", "swapdims"),
                      synonyms={"axis0": "dim0", "axis1": "dim1"}, inplace="view",
                      ref=lambda x, dim0, dim1: np.swapaxes(x, dim0, dim1),
                      cases=(Case(((2, 3, 4),), {"dim0": 0, "dim1": -1}),), doc="A view with two axes exchanged.")


def _t(x: Any) -> Any:
    if x.ndim > 2:
        raise ShapeError(bad("t", f"{x.ndim} dimensions", "at most 2", "Use transpose(dim0, dim1) or permute."))
    return permute(x, tuple(reversed(range(x.ndim))))


t = composite("t", "x", "shape", run=_t, ref=np.transpose, inplace="view", cases=(Case(((2, 3),)), Case(((4,),))),
              doc="A matrix transposed, as a view.")


def _expand(x: Array, size: Any) -> Array:
    size = _ints(size)
    lead = len(size) - x.ndim
    target = tuple(x.shape[a - lead] if n == -1 and a >= lead else n for a, n in enumerate(size))
    if lead < 0 or any(n < 0 for n in target) or any(
            n not in (1, t) for n, t in zip(x.shape, target[builtins.max(lead, 0):])):
        raise ShapeError(bad("expand", f"size {size} for shape {x.shape}",
                             "the same sizes, any size in place of a 1, and new axes in front",
                             "Use repeat or tile to copy."))
    return x.view(target, shapes.expand_strides(x.shape, x.strides, target), x.offset)


expand = driver("expand", "x, size", "shape", run=_expand, grad=[lambda g: g], variadic=True,
                aliases=("broadcast_to",), ref=lambda x, size: np.broadcast_to(x, size),
                cases=(Case(((3, 1),), {"size": (3, 4)}), Case(((4,),), {"size": (2, 3, 4)}),
                       Case(((),), {"size": (2,)})),
                doc="A view that repeats axes of size 1, and new leading axes, without a copy; -1 keeps a size.")


def _squeeze(x: Any, dim: Any = None) -> Any:
    axes = range(x.ndim) if dim is None else shapes.axis_tuple("squeeze", dim, x.ndim)
    return reshape(x, tuple(n for a, n in enumerate(x.shape) if not (a in axes and n == 1)))


squeeze = composite("squeeze", "x, dim=None", "shape", run=_squeeze, inplace="view",
                    cases=(Case(((1, 3, 1),)), Case(((1, 3),), {"dim": 0})),
                    ref=lambda x, dim=None: np.squeeze(x, dim),
                    doc="Without the axes of size 1, or without those named.")


def _unsqueeze(x: Any, dim: int) -> Any:
    at = shapes.axis_index("unsqueeze", dim, x.ndim + 1)
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


unsqueeze = composite("unsqueeze", "x, dim", "shape", run=_unsqueeze, ref=lambda x, dim: np.expand_dims(x, dim),
                      cases=(Case(((3, 4),), {"dim": 1}), Case(((3,),), {"dim": -1})), inplace="view",
                      doc="With a new axis of size 1.")


def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if not x.ndim:
        return reshape(x, (1,))
    first, last = (shapes.axis_index("flatten", d, x.ndim) for d in (start_dim, end_dim))
    if first > last:
        raise ShapeError(bad("flatten", f"start_dim={start_dim}, end_dim={end_dim}", "start before end", "Swap them."))
    return reshape(x, (*x.shape[:first], prod(x.shape[first:last + 1]), *x.shape[last + 1:]))


flatten = composite("flatten", "x, start_dim=0, end_dim=-1", "shape", run=_flatten,
                    ref=lambda x, start_dim=0, end_dim=-1: x.reshape(
                        (*x.shape[:start_dim], -1)) if end_dim == -1 else NotImplemented,
                    cases=(Case(((2, 3, 4),)), Case(((2, 3, 4),), {"start_dim": 1})),
                    doc="The axes from ``start_dim`` to ``end_dim`` as one.")

# Slices -----------------------------------------------------------------------------------------------------------


def _getitem(x: Array, key: Any) -> Array:
    return x.view(*basic_index(x.shape, x.strides, x.offset, key))


getitem = driver("getitem", "x, key", "shape", run=_getitem, method=False, public=False,
                 grad=[lambda g, x_shape, key: put_slice(g, x_shape, key)], ref=lambda x, key: x[key],
                 cases=(Case(((5, 4),), {"key": (slice(None, None, -2), 1)}), Case(((5, 4),), {"key": (None, ..., 2)}),
                        Case(((5,),), {"key": slice(1, 1)}), Case(((5, 4),), {"key": 3})),
                 doc="x[key] for ints, slices, None and an ellipsis: a view.")


def _put_slice(x: Array, shape: tuple[int, ...], key: Any) -> Array:
    result = full(shape, 0, x.dtype, x.device)
    target = _getitem(result, key)
    if target.size:
        assign(target, x)
    return result


def _put_ref(x: Any, shape: tuple[int, ...], key: Any) -> Any:
    result = np.zeros(shape, x.dtype)
    result[key] = x
    return result


put_slice = driver("put_slice", "x, shape, key", "shape", run=_put_slice, method=False, public=False,
                   grad=[lambda g, key: getitem(g, key)], ref=_put_ref,
                   cases=(Case(((3, 4),), {"shape": (5, 4), "key": slice(None, None, 2)}),),
                   doc="Zeros of ``shape`` with x at ``key``: what reading x[key] is in reverse.")


def _narrow(x: Any, dim: int, start: int, length: int) -> Any:
    axis = shapes.axis_index("narrow", dim, x.ndim)
    start = start + x.shape[axis] if start < 0 else start
    if start < 0 or length < 0 or start + length > x.shape[axis]:
        raise ShapeError(bad("narrow", f"start {start}, length {length} on axis {axis} of shape {x.shape}",
                             "a part of the axis", "Lower them."))
    return getitem(x, (slice(None),) * axis + (slice(start, start + length),))


narrow = composite("narrow", "x, dim, start, length", "shape", run=_narrow,
                   ref=lambda x, dim, start, length: np.take(x, range(start, start + length), dim),
                   cases=(Case(((5, 4),), {"dim": 0, "start": 1, "length": 3}),), doc="A view of a part of one axis.")


def _parts(shape: tuple[int, ...], split_size: Any, dim: int) -> list[tuple[slice, ...]]:
    """The keys of the parts that an axis is split into."""
    axis = shapes.axis_index("split", dim, len(shape))
    size = shape[axis]
    sizes = list(split_size) if isinstance(split_size, Sequence) else [
        builtins.min(split_size, size - start) for start in range(0, size, split_size)]
    if builtins.sum(sizes) != size or builtins.any(n < 0 for n in sizes):
        raise ShapeError(bad("split", f"sizes {sizes}", f"sizes that sum to {size}", "Cover the axis exactly."))
    starts = [builtins.sum(sizes[:i]) for i in range(len(sizes))]
    return [(slice(None),) * axis + (slice(start, start + n),) for start, n in zip(starts, sizes)]


def _split(x: Array, split_size: Any, dim: int = 0) -> tuple[Array, ...]:
    return tuple(_getitem(x, key) for key in _parts(x.shape, split_size, dim))


def _follows(first: Any, part: Any, distance: int) -> bool:
    """Whether an array goes on in the memory of another, so many elements behind its beginning."""
    return type(part) is Array and part.storage is first.storage and part.strides == first.strides and (
        part.offset == first.offset + distance and part.dtype is first.dtype)


def _unsplit(g: Sequence[Any], x_shape: tuple[int, ...], split_size: Any, dim: int) -> tuple:
    """Gradients of the parts side by side: as they lie, or one copy each, and no sum of as many arrays."""
    keys = _parts(x_shape, split_size, dim)
    found = [(part, key) for part, key in zip(g, keys) if part is not None]
    first = found[0][0]
    if len(found) == 1:
        return (put_slice(first, x_shape, found[0][1]),)
    axis = dim % len(x_shape)
    if type(first) is Array and builtins.all(
            _follows(first, part, key[axis].start * first.strides[axis]) for part, key in zip(g, keys)):
        return (first.view(x_shape, first.strides, first.offset),)

    def nothing(key: tuple[slice, ...]) -> Array:
        size = key[axis].stop - key[axis].start
        return full((*x_shape[:axis], size, *x_shape[axis + 1:]), 0, first.dtype, first.device)

    return (cat([nothing(key) if part is None else part for part, key in zip(g, keys)], axis),)


split = driver("split", "x, split_size, dim=0", "shape", run=_split, several=True, grad=_unsplit,
               keywords={"x": "tensor", "split_size": "split_size_or_sections"},
               synonyms={"split_size": "split_size"},
               ref=lambda x, split_size, dim=0: tuple(np.split(x, range(split_size, x.shape[dim], split_size), dim)),
               cases=(Case(((5, 4),), {"split_size": 2}),),
               doc="Views of parts of an axis, of one size or of those given.")


def _chunk(x: Any, chunks: int, dim: int = 0) -> Any:
    return split(x, builtins.max(1, -(-x.shape[dim] // chunks)), dim)


chunk = composite("chunk", "x, chunks, dim=0", "shape", run=_chunk, several=True,
                  ref=lambda x, chunks, dim=0: tuple(np.array_split(x, chunks, dim)),
                  cases=(Case(((6, 4),), {"chunks": 3}),),
                  doc="``chunks`` views of equal parts of an axis (the last shorter).")

# Joining ------------------------------------------------------------------------------------------------------------


def _cat(tensors: Sequence[Array], dim: int) -> Array:
    if not tensors or not builtins.all(isinstance(x, Array) for x in tensors):
        raise DTypeError(bad("cat", f"{[type(x).__name__ for x in tensors]}", "a non-empty list of arrays",
                             "Use clgrad.tensor() on host data."))
    first = tensors[0]
    device = same_device("cat", tensors)
    axis = shapes.axis_index("cat", dim, first.ndim)
    if not first.ndim or builtins.any(
            x.ndim != first.ndim or x.shape[:axis] + x.shape[axis + 1:] != first.shape[:axis] + first.shape[axis + 1:]
            for x in tensors):
        raise ShapeError(bad("cat", ", ".join(str(x.shape) for x in tensors), f"shapes equal but on axis {axis}",
                             "Reshape them; stack joins along a new axis."))
    length = builtins.sum(x.shape[axis] for x in tensors)
    result = empty((*first.shape[:axis], length, *first.shape[axis + 1:]),
                   dtypes.result_type(*(x.dtype for x in tensors)), device)
    start = 0
    for x in tensors:
        if x.size:
            part = _getitem(result, (slice(None),) * axis + (slice(start, start + x.shape[axis]),))
            assign(part, x)
        start += x.shape[axis]
    result.storage.version = 0
    return result


def _uncat(g: Any, tensors_shape: list, dim: int) -> tuple:
    return split(g, [s[dim] for s in tensors_shape], dim)


cat = driver("cat", "tensors, dim=0", "shape", tensors=("tensors",), run=_cat, grad=_uncat, sequence=True,
             aliases=("concat", "concatenate"), ref=lambda tensors, dim=0: np.concatenate(tensors, dim),
             cases=(Case(((2, 3), (4, 3))), Case(((2, 3), (2, 1), (2, 0)), {"dim": -1})),
             doc="Arrays joined along an existing axis; dtypes are promoted.")


def _stack(tensors: Any, dim: int = 0) -> Any:
    tensors = list(tensors)
    if not tensors or builtins.any(x.shape != tensors[0].shape for x in tensors):
        raise ShapeError(bad("stack", ", ".join(str(x.shape) for x in tensors) or "no arrays", "arrays of one shape",
                             "cat joins along an existing axis."))
    return cat([unsqueeze(x, dim) for x in tensors], dim)


stack = composite("stack", "tensors, dim=0", "shape", tensors=("tensors",), run=_stack, sequence=True,
                  ref=lambda tensors, dim=0: np.stack(tensors, dim),
                  cases=(Case(((2, 3), (2, 3)), {"dim": 1}), Case(((), ()))),
                  doc="Arrays of one shape joined along a new axis.")


def _flip(x: Any, dims: Any) -> Any:
    axes = shapes.axis_tuple("flip", dims, x.ndim)
    return getitem(x, tuple(slice(None, None, -1) if a in axes else slice(None) for a in range(x.ndim)))


flip = composite("flip", "x, dims", "shape", run=_flip, variadic=True, ref=lambda x, dims: np.flip(x, dims),
                 cases=(Case(((3, 4),), {"dims": (0,)}), Case(((3, 4),), {"dims": (0, 1)})),
                 doc="A view with axes reversed.")
