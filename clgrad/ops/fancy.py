"""Indexing as NumPy has it: integer arrays and bool masks, mixed with ints, slices, ellipses and None.

Index arrays of one key become *rows*: linear positions over the axes they index. Reading and writing at rows are two
records; everything else here is made of them. Writes and sums are done in the order of the index, on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes, shapes
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError, bad
from ..families import fancy as family
from ..families.index import check_index
from ..families.ramp import ramp
from ..ndarray import Array, from_host, full
from ..table import ZERO_GRAD, Case
from .declare import composite, driver
from .elementwise import assign, astype, where
from .index import add_along, take, take_along
from .methods import refuse_recorded
from .shape import expand, getitem, reshape

_ALL = slice(None)


# The records --------------------------------------------------------------------------------------------------------


def _set(x: Array, rows: Array, values: Array, axes: Any, at: int, accumulate: bool) -> Array:
    wide = _summed_in(x.dtype) if accumulate else x.dtype
    target = astype(x, wide)
    target = target.clone() if target is x else target
    family.put("index_put", target, rows, astype(values, wide), axes, at, accumulate)
    target.storage.version = 0
    return astype(target, x.dtype)


def _summed_in(d: DType) -> DType:
    """What values of a dtype are added up in: a storage type in float32, truths in int32."""
    return dtypes.int32 if d is dtypes.bool_ else d.accumulator


def _apart(x: Any, axes: Any) -> tuple[Any, tuple[int, ...]]:
    """A NumPy array with its indexed axes in front, as one; and the sizes of the others."""
    moved = np.moveaxis(x, axes, range(len(axes)))
    return moved.reshape(-1, *moved.shape[len(axes):]), moved.shape


def _get_ref(x: Any, rows: Any, axes: Any, at: int) -> Any:
    found = _apart(x, axes)[0][rows]
    return np.moveaxis(found, range(rows.ndim), range(at, at + rows.ndim))


def _set_ref(x: Any, rows: Any, values: Any, axes: Any, at: int, accumulate: bool) -> Any:
    flat, shape = _apart(x.copy(), axes)
    flat, values = flat.copy(), np.moveaxis(values, range(at, at + rows.ndim), range(rows.ndim))
    if accumulate:
        np.add.at(flat, rows, values)
    else:
        flat[rows] = values
    return np.moveaxis(flat.reshape(shape), range(len(axes)), axes)


def _zeros(g: Any, shape: tuple[int, ...]) -> Array:
    return full((), 0, g.dtype, g.device).expand(shape)


def _set_x_slope(g: Any, rows: Any, axes: Any, at: int, accumulate: bool) -> Any:
    """What was written over no longer counts."""
    if accumulate:
        return g
    return index_set(g, rows, _zeros(g, family.result_shape(g, rows, axes, at)), axes, at, False)


def _set_values_slope(g: Any, rows: Any, axes: Any, at: int, accumulate: bool) -> Any:
    """The gradient where the value stayed: of several written to one place, only the last one has any."""
    found, rows = index_get(g, rows, axes, at), unwrap(rows)
    if accumulate or rows.size < 2:
        return found
    order = ramp(rows.size, 0, 1, rows.dtype, rows.device).reshape(rows.shape)
    last = full((prod(g.shape[a] for a in axes),), 0, rows.dtype, rows.device)
    family.put("index_put", last, rows, order, (0,), 0, False)
    stayed = family.get("index_put", last, rows, (0,), 0) == order
    return where(stayed.reshape((*rows.shape, *(1,) * (found.ndim - rows.ndim - at))), found, 0.0)


_PAIR = np.array([[5, 0, 5], [11, 2, 3]], np.int64)
index_get = driver("index_get", "x, rows, axes, at", "index", tensors=("x", "rows"), public=False, method=False,
                   run=lambda x, rows, axes, at: family.get("index", x, rows, axes, at), ref=_get_ref,
                   grad=[lambda g, rows, x_shape, axes, at: index_set(_zeros(g, x_shape), rows, g, axes, at, True),
                         ZERO_GRAD],
                   cases=(Case(((3, 5, 4), _PAIR), {"axes": (0, 2), "at": 0}),
                          Case(((2, 12, 3), _PAIR[0]), {"axes": (1,), "at": 1})),
                   doc="x at ``rows``, linear positions over its ``axes``; the rows' shape stands before the ``at``-th "
                       "of the other axes.")
index_set = driver("index_set", "x, rows, values, axes, at, accumulate", "index", tensors=("x", "rows", "values"),
                   public=False, method=False, run=_set, ref=_set_ref,
                   grad=[_set_x_slope, ZERO_GRAD, _set_values_slope],
                   cases=(Case(((3, 5, 4), _PAIR, (2, 3, 5)), {"axes": (0, 2), "at": 0, "accumulate": True}),
                          Case(((2, 12, 3), _PAIR[0], (2, 3, 3)), {"axes": (1,), "at": 1, "accumulate": False}),
                          Case(((90,), np.arange(400) ** 2 % 90, (400,)),
                               {"axes": (0,), "at": 0, "accumulate": True})),
                   doc="A copy of x with values written, or added, at ``rows`` of its ``axes``: of values for one "
                       "place, the last one stays.")


# Keys ----------------------------------------------------------------------------------------------------------------


def _is_array(k: Any) -> bool:
    """Whether part of a key makes it more than a view; a bool is a mask of no dimensions."""
    return isinstance(k, (Array, Variable, list, range, bool, np.bool_)) or (isinstance(k, np.ndarray) and (
        k.ndim > 0 or k.dtype.kind == "b"))


def is_advanced(key: Any) -> bool:
    """Whether a key has index arrays or masks."""
    return any(map(_is_array, key)) if isinstance(key, tuple) else _is_array(key)


def _host_array(k: Any) -> Any:
    """Device arrays as they are; host data as NumPy arrays."""
    if isinstance(k, (Array, Variable)):
        return unwrap(k)
    array = np.asarray(k)
    return array.astype(np.int64) if array.size == 0 and not isinstance(k, np.ndarray) else array


def _mask_rows(mask: Any, sizes: tuple[int, ...], first: int, device: Any) -> Array:
    """Linear positions where a mask holds."""
    if any(m not in (n, 0) for m, n in zip(mask.shape, sizes)):  # of no elements it chooses none, as in NumPy
        raise IndexError(bad("index", f"a mask of shape {mask.shape} for axes of sizes {sizes} from axis {first} on",
                             "the same sizes", "A mask covers whole axes: reshape or index it."))
    if isinstance(mask, np.ndarray):
        return from_host(np.flatnonzero(mask), None, device)
    from .count import nonzero

    return reshape(nonzero(reshape(mask, (-1,))), (-1,))


def _index_rows(index: Any, size: int, axis: int, device: Any) -> Array:
    """An index array on the device. Host data can be checked here, so that the error comes at the call."""
    if not isinstance(index, np.ndarray):
        check_index("index", index)
        return index
    if index.dtype.kind not in "iu":
        raise IndexError(bad("index", f"an array of {index.dtype} for axis {axis}", "integers or bools",
                             "Convert it with astype(int)."))
    wrong = index[(index < -size) | (index >= size)] if index.dtype.kind == "i" else index[index >= size]
    if wrong.size:
        raise IndexError(bad("index", f"{wrong[0]} for axis {axis}", f"-{size} <= index < {size}",
                             "The axis has that many elements."))
    return from_host(index, None, device)


class _Plan:
    """A key taken apart: what makes a view first (``basic``), then rows over ``axes`` of it, placed at ``at``."""

    def __init__(self, x: Any, key: Any) -> None:
        keys = [_host_array(k) if _is_array(k) else k for k in (key if isinstance(key, tuple) else (key,))]
        arrays = [isinstance(k, (Array, np.ndarray)) and (k.ndim > 0 or isinstance(k, Array) or k.dtype.kind == "b")
                  for k in keys]
        takes = [0 if k is None or k is Ellipsis else (k.ndim if k.dtype.kind == "b" else 1) if a else 1
                 for k, a in zip(keys, arrays)]
        rest = x.ndim - sum(takes)
        if rest < 0:
            raise IndexError(bad("index", f"{sum(takes)} indices for shape {x.shape}", f"at most {x.ndim}",
                                 "Remove some."))
        ellipses = sum(k is Ellipsis for k in keys)
        if ellipses > 1:
            raise IndexError(bad("index", "two ellipses", "one at most", "Write the axes as ':'."))
        if not ellipses:
            keys, arrays, takes = [*keys, Ellipsis], [*arrays, False], [*takes, 0]
        self.x, self.basic, self.axes, self.items = x, [], [], []
        seen, axis, column = [], 0, 0  # column: an axis of the view
        self.at = None
        for k, is_array, used in zip(keys, arrays, takes):
            advanced = is_array or not (k is None or k is Ellipsis or isinstance(k, slice))
            seen.append(advanced)
            if advanced and self.at is None:
                self.at = column
            if is_array:
                self._take(k, axis, used, column)
            used = rest if k is Ellipsis else used
            self.basic += [_ALL] * used if is_array or k is Ellipsis else [k]
            column += used if is_array or k is Ellipsis else int(k is None or isinstance(k, slice))
            axis += used
        between = "".join("a" if a else "-" for a in seen).strip("-")
        if "-" in between:  # separated index arrays: NumPy puts their axes first
            self.at = 0
        self.shape = shapes.broadcast("index", (), *(index.shape for index, _, _ in self.items))

    def _take(self, k: Any, axis: int, used: int, column: int) -> None:
        sizes = self.x.shape[axis:axis + used]
        rows = (_mask_rows(k, sizes, axis, self.x.device) if k.dtype.kind == "b" else
                _index_rows(k, sizes[0], axis, self.x.device))
        self.items.append((rows, prod(sizes), axis))
        self.axes += range(column, column + used)

    def view(self, x: Any) -> Any:
        """The part of x that the rows index."""
        return x if all(isinstance(k, slice) and k == _ALL for k in self.basic) else getitem(x, tuple(self.basic))

    def rows(self) -> Array:
        return family.rows_of("index", unwrap(self.x), self.items, self.shape)


def read(x: Any, key: Any) -> Any:
    """x[key], where the key has index arrays or masks."""
    plan = _Plan(x, key)
    view = plan.view(x)
    if len(plan.axes) == len(plan.items) == 1 and plan.axes[0] == plan.at and view is x and unwrap(x).is_contiguous():
        return take(x, plan.items[0][0], plan.at)
    return index_get(view, plan.rows(), tuple(plan.axes), plan.at)


def _values(x: Any, value: Any, shape: tuple[int, ...]) -> Any:
    """What is to be written, in x's dtype and of this shape; surplus leading axes of size 1 are dropped."""
    if isinstance(value, (list, tuple, np.ndarray)):
        raise DTypeError(bad("index", f"a {type(value).__name__} to write", "an Array, a Variable or a number",
                             "Host data reaches the device by clgrad.tensor() or clgrad.from_numpy()."))
    if not isinstance(value, (Array, Variable)):
        value = full((), x.dtype.np.type(value), x.dtype, x.device)
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, value.shape[1:])
    if shapes.broadcast("index", value.shape, shape) != shape:
        raise ShapeError(bad("index", f"a value of shape {value.shape}", f"one that broadcasts to {shape}",
                             "That is the shape x has at the index."))
    return expand(astype(value, x.dtype), shape)


def _is_selection(x: Any, key: Any, value: Any) -> bool:
    """Whether x[mask] = value can be written without knowing how many elements the mask has."""
    if not (isinstance(key, (Array, Variable)) and key.dtype.kind == "b" and key.ndim):
        return False
    if key.shape != x.shape[:key.ndim]:
        return False
    if isinstance(value, (list, tuple, np.ndarray)):
        return False
    given, rest = getattr(value, "shape", ()), x.shape[key.ndim:]
    fits = len(given) <= len(rest) and all(n in (1, m) for n, m in zip(given[::-1], rest[::-1]))
    return fits or given == x.shape or prod(given) == 1


def write(x: Array, key: Any, value: Any, accumulate: bool = False) -> None:
    """x[key] = value, where the key has index arrays or masks."""
    if not accumulate and _is_selection(x, key, value):
        mask = unwrap(key)
        if getattr(value, "ndim", 0) and prod(value.shape) == 1:
            value = reshape(value, ())
        assign(x, where(reshape(mask, (*mask.shape, *(1,) * (x.ndim - mask.ndim))), value, x))
        return
    plan = _Plan(x, key)
    target, rows, axes = plan.view(x), plan.rows(), tuple(plan.axes)
    values = unwrap(_values(x, value, family.result_shape(target, rows, axes, plan.at)))
    if accumulate and _summed_in(x.dtype) is not x.dtype:
        assign(target, _set(target, rows, values, axes, plan.at, True))
    else:
        family.put("index_put", target, rows, values, axes, plan.at, accumulate)


# PyTorch's names -----------------------------------------------------------------------------------------------------


def _key(x: Any, indices: Any) -> tuple:
    """The key that PyTorch's tuple of indices means: None is a full slice, a number an index of no dimensions."""
    if not isinstance(indices, (tuple, list)):
        raise DTypeError(bad("index_put", f"indices of {type(indices).__name__}",
                             "a tuple of index arrays, masks or None", "Write (index,)."))
    key = [_ALL if k is None or (isinstance(k, slice) and k == _ALL) else k for k in indices]
    key = [_index_rows(np.asarray(k), n, a, x.device) if _is_number(k) else k
           for k, n, a in zip(key, x.shape, range(x.ndim))] + key[x.ndim:]
    if not any(map(_is_array, key)) or not all(k is _ALL or _is_array(k) for k in key):
        raise DTypeError(bad("index_put", f"indices {tuple(type(k).__name__ for k in key)}",
                             "index arrays, masks or None", "For slices write x[key] = value."))
    return tuple(key)


def _is_number(k: Any) -> bool:
    return not isinstance(k, bool) and (isinstance(k, (int, np.integer)) or (isinstance(k, np.ndarray) and k.ndim == 0
                                        and k.dtype.kind in "iu"))


def _index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    return _put(x, _key(x, indices), values, accumulate)


def _put(x: Any, key: tuple, values: Any, accumulate: bool) -> Any:
    """A copy of x with values at a key of index arrays and full slices."""
    plan = _Plan(x, key)
    rows, axes = plan.rows(), tuple(plan.axes)
    return index_set(x, rows, _values(x, values, family.result_shape(unwrap(x), rows, axes, plan.at)), axes, plan.at,
                     accumulate)


def _index_put_ref(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    out = x.copy()
    if accumulate:
        np.add.at(out, tuple(indices), values)
    else:
        out[tuple(indices)] = values
    return out


index_put = composite("index_put", "x, indices, values, accumulate=False", "index", run=_index_put,
                      ref=_index_put_ref, cases=(
                          Case(((4, 3),), {"indices": ([0, 3, 0], [1, 2, 1]), "values": 2, "accumulate": True}),
                          Case(((4, 3),), {"indices": ([0, 3],), "values": 1})),
                      doc="A copy of x with x[indices] = values, or += with ``accumulate``; of values for one place "
                          "the last one stays, and sums are in the order of the index.")


def _line(op: str, x: Any, dim: int, index: Any) -> tuple:
    """The key of an index of one dimension along ``dim``."""
    index = index if isinstance(index, (Array, Variable)) else np.asarray(index)
    if index.ndim > 1:
        raise ShapeError(bad(op, f"an index of shape {index.shape}", "one dimension", "Flatten it."))
    index = reshape(index, (-1,)) if isinstance(index, (Array, Variable)) else index.reshape(-1)
    return (*(_ALL,) * shapes.axis_index(op, dim, x.ndim), index)


def _source(op: str, x: Any, dim: int, index: Any, source: Any) -> Any:
    axis = shapes.axis_index(op, dim, x.ndim)
    count = prod(np.shape(index) if not hasattr(index, "storage") else index.shape)
    expected = (*x.shape[:axis], count, *x.shape[axis + 1:])
    if source.shape != expected:
        raise ShapeError(bad(op, f"a source of shape {source.shape}", f"{expected}", "It needs a slice an index."))
    if source.dtype is not x.dtype:
        raise DTypeError(bad(op, f"a source of {source.dtype}", f"{x.dtype}, the array's dtype", "Convert it."))
    return source


def _index_add(x: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    source = _source("index_add", x, dim, index, source)
    return _put(x, _line("index_add", x, dim, index), source if alpha == 1 else source * alpha, True)


def _index_add_ref(x: Any, dim: int, index: Any, source: Any, alpha: Any = 1) -> Any:
    out = x.copy()
    np.add.at(np.moveaxis(out, dim, 0), index, np.moveaxis(alpha * source, dim, 0).astype(x.dtype))
    return out


def _at(*positions: Any) -> np.ndarray:
    """An index for a test case."""
    return np.array(positions, np.int64)


def _along_line(x: Any, dim: int, index: Any, value: Any) -> Any:
    out = x.copy()
    np.moveaxis(out, dim, 0)[index] = value if np.ndim(value) == 0 else np.moveaxis(value, dim, 0)
    return out


index_add = composite("index_add", "x, dim, index, source, *, alpha=1", "index", tensors=("x",), run=_index_add,
                      ref=_index_add_ref, cases=(),
                      doc="A copy of x with alpha * source added to its slices along ``dim`` at the index, in order.")
index_copy = composite("index_copy", "x, dim, index, source", "index", ref=_along_line, cases=(),
                       run=lambda x, dim, index, source: _put(
                           x, _line("index_copy", x, dim, index), _source("index_copy", x, dim, index, source), False),
                       doc="A copy of x with its slices along ``dim`` at the index replaced by those of source.")
index_fill = composite("index_fill", "x, dim, index, value", "index", ref=_along_line,
                       run=lambda x, dim, index, value: _put(x, _line("index_fill", x, dim, index), value, False),
                       cases=(Case(((3, 4),), {"dim": 1, "index": _at(0, 2), "value": 1}),),
                       doc="A copy of x with its slices along ``dim`` at the index filled with one value.")


def _put_along_ref(x: Any, index: Any, src: Any, dim: int) -> Any:
    out = x.copy()
    for place in np.ndindex(index.shape):
        to = list(place)
        to[dim] = index[place]
        out[tuple(to)] = src[place]
    return out


def _run_along(x: Array, index: Array, src: Array, dim: int) -> Array:
    if not x.ndim:
        raise ShapeError(bad("scatter", "a 0-d array", "at least one dimension", "Reshape it to (1,)."))
    return family.written_along("scatter", x, index, src, shapes.axis_index("scatter", dim, x.ndim), False)


def _along_slope(g: Any, index: Any, src_shape: tuple[int, ...], dim: int) -> Any:
    """The gradient of src: where its value stayed, the last one of those written to one place."""
    from .index import _padded

    index, axis = unwrap(index), dim % g.ndim
    order = ramp(index.shape[axis], 0, 1, index.dtype, index.device)
    order = order.reshape((-1, *(1,) * (g.ndim - axis - 1))).expand(index.shape)
    nothing = full(g.shape, 0, index.dtype, index.device)
    last = family.written_along("scatter", nothing, index, order, axis, False)
    return _padded(where(take_along(last, index, axis) == order, take_along(g, index, axis), 0.0), src_shape)


put_along = driver("put_along", "x, index, src, dim", "index", tensors=("x", "index", "src"), public=False,
                   method=False, run=_run_along, ref=_put_along_ref,
                   grad=[lambda g, index, dim: put_along(g, index, _zeros(g, index.shape), dim), ZERO_GRAD,
                         _along_slope],
                   cases=(Case(((3, 4), _at([0, 3], [1, -1], [2, 2]), (3, 3)), {"dim": 1}),
                          Case(((5, 4), _at([0, 4, 0]), (1, 3)), {"dim": 0}),
                          Case(((9,), np.arange(300) % 9, (300,)), {"dim": -1})),
                   doc="A copy of x with src written at an index along ``dim``; the last of several stays.")


def _scattered(op: str, x: Any, index: Any, src: Any, value: Any) -> Any:
    """What scatter writes: src, or a number at every index."""
    given = value if src is None else src
    if given is None:
        raise TypeError(f"{op}: got neither src nor value; expected one of them. Pass an array or a number.")
    return given if isinstance(given, (Array, Variable)) and given.ndim else _values(x, given, index.shape)


def _scatter(x: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: Any = None) -> Any:
    if reduce not in (None, "add"):
        raise ValueError(bad("scatter", f"reduce={reduce!r}", "None or 'add'", "Use scatter_add, or index_put."))
    src = _scattered("scatter", x, index, src, value)
    return add_along(x, index, src, dim) if reduce == "add" else put_along(x, index, src, dim)


scatter = composite("scatter", "x, dim, index, src=None, *, value=None, reduce=None", "index", run=_scatter,
                    ref=lambda x, dim, index, src=None, value=None: _put_along_ref(x, index, np.broadcast_to(
                        np.asarray(value if src is None else src, x.dtype), index.shape), dim),
                    cases=(Case(((3, 4),), {"dim": 1, "index": _at([0, 3], [1, -1]), "src": 2}),
                           Case(((3, 4),), {"dim": 0, "index": _at([0, 2, 0]), "value": 1})),
                    doc="A copy of x with src (an array, or a number) written at an index along ``dim``; of several "
                        "for one place the last stays. ``reduce='add'`` adds.")


def _masked_fill(x: Any, mask: Any, value: Any) -> Any:
    if isinstance(value, float) and x.dtype.kind != "f":
        raise DTypeError(bad("masked_fill", f"the value {value!r} for {x.dtype}", "one that the dtype holds",
                             "Convert the array first."))
    if getattr(value, "ndim", 0):
        raise ShapeError(bad("masked_fill", f"a value of shape {value.shape}", "a number or a 0-d array", "Use where."))
    return astype(where(mask, value, x), x.dtype)


masked_fill = composite("masked_fill", "x, mask, value", "index", run=_masked_fill,
                        ref=lambda x, mask, value: np.where(mask, np.asarray(value).astype(x.dtype), x),
                        cases=(Case(((2, 3),), {"mask": np.array([True, False, True]), "value": 1}),), kinds="iuf",
                        doc="x with ``value`` where the mask, which broadcasts against it, holds.")


def _masked_select(x: Any, mask: Any) -> Any:
    shape = shapes.broadcast("masked_select", x.shape, mask.shape)
    return read(expand(x, shape), unwrap(expand(mask, shape)))


masked_select = composite("masked_select", "x, mask", "index", run=_masked_select, cases=(),
                          ref=lambda x, mask: np.broadcast_to(x, np.broadcast_shapes(x.shape, mask.shape))[
                              np.broadcast_to(mask, np.broadcast_shapes(x.shape, mask.shape))],
                          doc="The elements where the mask holds, as one axis; waits for their number.")


# Forms that write over the array -------------------------------------------------------------------------------------


def _over(function: Callable) -> Callable:
    """The writing form of a function: its result takes the array's place."""
    name = function.op.name

    def write_over(self: Any, *args: Any, **named: Any) -> Any:
        refuse_recorded(name, self, (*args, *named.values()))
        result = function(unwrap(self), *map(unwrap, args), **{k: unwrap(v) for k, v in named.items()})
        if result.shape != self.shape:
            raise ShapeError(bad(f"{name}_", f"a result of shape {result.shape}", f"{self.shape}, the target's",
                                 "Use the op that returns a new array."))
        assign(unwrap(self), result)
        return self

    write_over.__name__ = name + "_"
    write_over.__doc__ = f"{function.op.doc} Writes over the array itself."
    return write_over


def index_put_(self: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """x[indices] = values, or += with ``accumulate``, in the array itself."""
    refuse_recorded("index_put", self, (values,))
    write(unwrap(self), _key(self, indices), unwrap(values), accumulate)
    return self


def writing_methods() -> dict[str, Callable]:
    """Methods that write over the array, by name."""
    from .index import scatter_add

    functions = (index_add, index_copy, index_fill, scatter, scatter_add, masked_fill)
    return {"index_put_": index_put_, **{f.op.name + "_": _over(f) for f in functions}}
