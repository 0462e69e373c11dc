"""Functions whose names, arguments or results the Python array API standard (2025.12) fixes otherwise than PyTorch.

Each is the record's own function under the standard's signature: ``axis`` for ``dim``, ``keepdims`` for ``keepdim``,
plain results where PyTorch returns pairs. Source: data-apis.org/array-api/latest/API_specification.
"""

from __future__ import annotations

import builtins
import math
from collections import namedtuple
from typing import Any

import numpy as _np

from .. import factories as _factories
from ..autograd.variable import unwrap as _unwrap
from ..core import dtypes as _dtypes
from ..core import shapes as _shapes
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array
from ..ops import FUNCTIONS as _F
from ..ops.sort import sorted_values as _sorted_values
from ..runtime.device import Device

__array_api_version__ = "2025.12"

e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None


def _array(x: Any) -> Array:
    return _unwrap(x)


# Data types --------------------------------------------------------------------------------------------------------

finfo_object = namedtuple("finfo_object", ["bits", "eps", "max", "min", "smallest_normal", "dtype"])
iinfo_object = namedtuple("iinfo_object", ["bits", "max", "min", "dtype"])

_KINDS = {"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
          "complex floating": "c", "numeric": "iufc"}


def _dtype_of(type: Any) -> DType:
    return type.dtype if isinstance(type, Array) else _dtypes.dtype(type)


def finfo(type: Any, /) -> finfo_object:
    """Limits of a float dtype, of the parts of a complex one, or of an array's."""
    info = _dtypes.finfo(_dtype_of(type))
    return finfo_object(info.bits, info.eps, info.max, info.min, info.smallest_normal, info.dtype)


def iinfo(type: Any, /) -> iinfo_object:
    """Limits of an integer dtype, or of an array's."""
    return iinfo_object(*_dtypes.iinfo(_dtype_of(type)))


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is another, or of a kind such as "integral", or of one in a tuple of these."""
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(bad("isdtype", f"kind={kind!r}", f"one of {', '.join(_KINDS)}", "Pass one of these."))
        return dtype.kind in _KINDS[kind]
    return dtype is kind


def result_type(*arrays_and_dtypes: Any) -> DType:
    """Promoted dtype of arrays, dtypes and Python scalars."""
    return _dtypes.result_type(*(a.dtype if isinstance(a, Array) else a for a in arrays_and_dtypes))


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion leads from one dtype to the other."""
    return _dtypes.promote(_dtype_of(from_), _dtypes.dtype(to)) is _dtypes.dtype(to)


def astype(x: Array, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
    """The values in another dtype; a copy also where it has it already, unless ``copy=False``."""
    d = _dtypes.dtype(dtype)
    if x.dtype.kind == "c" and d.kind != "c":
        raise DTypeError(bad("astype", f"{x.dtype} to {d}", "a complex dtype", "Take real(x), imag(x) or abs(x)."))
    x = x if device is None else x.to(device)
    result = _F["astype"](x, dtype)
    return _F["clone"](result) if copy and result is x else result


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Views of the arrays in their common shape."""
    shape = _shapes.broadcast("broadcast_arrays", *(a.shape for a in arrays))
    return tuple(broadcast_to(a, shape) for a in arrays)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to."""
    return _shapes.broadcast("broadcast_shapes", *shapes) if shapes else ()


def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Array:
    """A view of the array in another shape, its axes of size 1 repeated."""
    return _F["expand"](x, tuple(shape))


# Creation ----------------------------------------------------------------------------------------------------------


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Array:
    """start, start + step, ... below ``stop``."""
    return _array(_factories.arange(start, stop, step, dtype=dtype, device=device))


def linspace(start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None,
             endpoint: bool = True) -> Array:
    """``num`` evenly spaced values from ``start`` to ``stop``, which is left out without ``endpoint``."""
    if endpoint:
        return _array(_factories.linspace(start, stop, num, dtype=dtype, device=device))
    return _array(_factories.linspace(start, stop, num + 1, dtype=dtype, device=device))[:num]


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Array:
    """A matrix with ones on its k-th diagonal."""
    columns = n_rows if n_cols is None else n_cols
    result = _array(_factories.zeros(n_rows, columns, dtype=dtype, device=device))
    length = builtins.max(0, builtins.min(n_rows + builtins.min(k, 0), columns - builtins.max(k, 0)))
    if length:
        start = k if k > 0 else -k * columns
        result.view((length,), (columns + 1,), start)[...] = 1
    return result


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of one value, a number or an array of no dimensions."""
    if isinstance(fill_value, Array):  # of no dimensions: its value stays on its device
        made = empty(shape, dtype=fill_value.dtype if dtype is None else dtype, device=device or fill_value.device)
        made[...] = astype(fill_value, made.dtype, copy=False, device=made.device)
        return made
    return _array(_factories.full(shape, fill_value, dtype=dtype, device=device))


def _shaped(name: str) -> Any:
    factory = getattr(_factories, name)

    def make(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
        return _array(factory((shape,) if isinstance(shape, int) else tuple(shape), dtype=dtype, device=device))

    make.__name__, make.__doc__ = name, factory.__doc__.replace("A Variable", "An Array")
    return make


zeros, ones, empty = (_shaped(name) for name in ("zeros", "ones", "empty"))


def full_like(x: Array, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """An array of one value, like another."""
    if isinstance(fill_value, Array):
        return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device)
    return _array(_factories.full_like(x, fill_value, dtype=dtype, device=device))


def _like(name: str) -> Any:
    factory = getattr(_factories, name)

    def make(x: Array, /, *, dtype: Any = None, device: Any = None) -> Array:
        return _array(factory(x, dtype=dtype, device=device))

    make.__name__, make.__doc__ = name, factory.__doc__.replace("A Variable", "An Array")
    return make


zeros_like, ones_like, empty_like = (_like(name) for name in ("zeros_like", "ones_like", "empty_like"))

# Statistics --------------------------------------------------------------------------------------------------------


def _reducer(name: str, record: str, typed: bool = False) -> Any:
    function = _F[record]

    def reduce(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
        return function(x, axis, keepdims)

    def reduce_typed(x: Array, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
        return function(x, axis, keepdims, dtype=dtype)

    chosen = reduce_typed if typed else reduce
    chosen.__name__, chosen.__doc__ = name, function.__doc__.replace("``dim``", "``axis``")
    return chosen


sum, prod = _reducer("sum", "sum", True), _reducer("prod", "prod", True)
mean, any, all = (_reducer(name, name) for name in ("mean", "any", "all"))
max, min = _reducer("max", "amax"), _reducer("min", "amin")


def var(x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Variance over ``axis``, divided by count - ``correction``."""
    return _F["var"](x, axis, keepdim=keepdims, correction=correction)


def std(x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviation over ``axis``."""
    return _F["std"](x, axis, keepdim=keepdims, correction=correction)


def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Position of the first largest element along ``axis``, or in the flattened array."""
    return _F["argmax"](x, axis, keepdims)


def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Position of the first smallest element along ``axis``, or in the flattened array."""
    return _F["argmin"](x, axis, keepdims)


def count_nonzero(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    """How many elements over ``axis`` are nonzero."""
    return _F["sum"](_F["ne"](x, False if x.dtype.kind == "b" else 0), axis, keepdims)


def cumulative_sum(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Sums of the first elements along an axis; with ``include_initial`` the empty sum first."""
    return _cumulative("cumsum", 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Products of the first elements along an axis; with ``include_initial`` the empty product first."""
    return _cumulative("cumprod", 1, x, axis, dtype, include_initial)


def _cumulative(name: str, empty_value: int, x: Array, axis: int | None, dtype: Any, include_initial: bool) -> Array:
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(bad(name, f"axis=None for shape {x.shape}", "an axis", "Name it unless x is 1-d."))
        axis = 0
    out = _F[name](x, axis, dtype=dtype)
    if not include_initial:
        return out
    axis = _shapes.axis_index(name, axis, x.ndim)
    first = full(tuple(1 if a == axis else n for a, n in enumerate(x.shape)), empty_value, dtype=out.dtype,
                 device=x.device)
    return _F["cat"]([first, out], axis)


# Sorting, searching and sets -----------------------------------------------------------------------------------------

UniqueAll = namedtuple("UniqueAll", ["values", "indices", "inverse_indices", "counts"])
UniqueCounts = namedtuple("UniqueCounts", ["values", "counts"])
UniqueInverse = namedtuple("UniqueInverse", ["values", "inverse_indices"])


def sort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Values in order along an axis, NaN last (first when descending)."""
    return _sorted_values(x, axis, descending)


def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Positions that sort an axis, equal elements in their order."""
    return _F["argsort"](x, axis, descending, stable)


def searchsorted(x1: Array, x2: Any, /, *, side: str = "left", sorter: Array | None = None) -> Array:
    """Where in the sorted x1 each element of x2 would go, before ("left") or after its equals."""
    if side not in ("left", "right"):
        raise ValueError(bad("searchsorted", f"side={side!r}", "'left' or 'right'", "Pass one of these."))
    x1 = x1 if sorter is None else _F["take"](x1, sorter, 0)
    return _F["searchsorted"](x1, x2, right=side == "right")


def nonzero(x: Array, /) -> tuple[Array, ...]:
    """Indices of the nonzero elements, an array an axis; their number is copied to the host."""
    if x.ndim == 0:
        raise ShapeError(bad("nonzero", "a 0-d array", "at least one dimension", "Reshape it to (1,)."))
    return _F["nonzero"](x, as_tuple=True)


def unique_values(x: Array, /) -> Array:
    """The different values, sorted."""
    return _F["unique"](x)


def unique_counts(x: Array, /) -> UniqueCounts:
    """The different values, sorted, and how often each occurs."""
    return UniqueCounts(*_F["unique"](x, return_counts=True))


def unique_inverse(x: Array, /) -> UniqueInverse:
    """The different values, sorted, and where among them each element is."""
    return UniqueInverse(*_F["unique"](x, return_inverse=True))


def unique_all(x: Array, /) -> UniqueAll:
    """The different values, sorted, where each occurs first, where each element is among them, and how often."""
    values, inverse, counts = _F["unique"](x, return_inverse=True, return_counts=True)
    order = _F["argsort"](_F["reshape"](inverse, (-1,)))
    starts = _F["cumsum"](counts, 0) - counts
    return UniqueAll(values, _F["take"](order, starts, 0), inverse, counts)


# Manipulation ------------------------------------------------------------------------------------------------------


def concat(arrays: Any, /, *, axis: int | None = 0) -> Array:
    """Arrays joined along an axis, or flattened first with ``axis=None``."""
    if axis is None:
        return _F["cat"]([_F["reshape"](a, (-1,)) for a in arrays], 0)
    return _F["cat"](list(arrays), axis)


def stack(arrays: Any, /, *, axis: int = 0) -> Array:
    """Arrays of one shape joined along a new axis."""
    return _F["stack"](list(arrays), axis)


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The parts along an axis, as views."""
    moved = moveaxis(x, axis, 0)
    return tuple(moved[i] for i in range(moved.shape[0]))


def expand_dims(x: Array, /, axis: Any) -> Array:
    """New axes of size 1 at these positions of the result."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = x.ndim + len(axes)
    places = _shapes.axis_tuple("expand_dims", axes, rank)
    sizes = iter(x.shape)
    return _F["reshape"](x, tuple(1 if a in places else next(sizes) for a in range(rank)))


def squeeze(x: Array, /, axis: Any) -> Array:
    """Without these axes, whose size must be 1."""
    axes = _shapes.axis_tuple("squeeze", axis, x.ndim)
    if builtins.any(x.shape[a] != 1 for a in axes):
        raise ShapeError(bad("squeeze", f"axis {axis} of shape {x.shape}", "axes of size 1", "Index the others."))
    return _F["squeeze"](x, axes)


def permute_dims(x: Array, /, axes: tuple[int, ...]) -> Array:
    """A view with the axes in another order."""
    return _F["permute"](x, tuple(axes))


def matrix_transpose(x: Array, /) -> Array:
    """A view with the last two axes exchanged."""
    if x.ndim < 2:
        raise ShapeError(bad("matrix_transpose", f"shape {x.shape}", "at least two dimensions", "Add an axis."))
    return _F["transpose"](x, -1, -2)


def flip(x: Array, /, *, axis: Any = None) -> Array:
    """A view with axes (all without ``axis``) reversed."""
    return _F["flip"](x, axis if axis is not None else tuple(range(x.ndim)))


def reshape(x: Array, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Array:
    """The elements in another shape: a view where possible, a copy with ``copy=True``, an error with ``copy=False``
    where one is needed."""
    result = _F["reshape"](x, shape)
    if copy is False and result.size and result.storage is not x.storage:
        raise ValueError(bad("reshape", f"copy=False for strides {x.strides}", "memory that the shape can read",
                             "Leave copy out."))
    return _F["clone"](result) if copy and result.storage is x.storage else result


def repeat(x: Array, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Each element ``repeats`` times (an int, or an array of ints, one an element) along an axis."""
    if axis is None:
        x, axis = _F["reshape"](x, (-1,)), 0
    axis = _shapes.axis_index("repeat", axis, x.ndim)
    counts = repeats.numpy() if isinstance(repeats, Array) else repeats
    index = _np.repeat(_np.arange(x.shape[axis]), counts)
    return _F["take"](x, _array(_factories.tensor(index, device=x.device)), axis)


def moveaxis(x: Array, source: Any, destination: Any, /) -> Array:
    """A view with axes moved to new places; the others keep their order."""
    return _F["movedim"](x, source, destination)


def roll(x: Array, /, shift: Any, *, axis: Any = None) -> Array:
    """Elements moved along axes (along the flattened array without ``axis``); what leaves one end enters the other."""
    if isinstance(shift, int) and isinstance(axis, tuple):
        shift = (shift,) * len(axis)
    return _F["roll"](x, shift, axis)


def tile(x: Array, repetitions: tuple[int, ...], /) -> Array:
    """The array laid out ``repetitions`` times along each axis."""
    return _F["tile"](x, tuple(repetitions))


def meshgrid(*arrays: Array, indexing: str = "xy") -> tuple[Array, ...]:
    """Coordinate arrays of a grid, from the coordinates of its axes."""
    return tuple(_F["contiguous"](a) for a in _F["meshgrid"](*arrays, indexing=indexing))


def tril(x: Array, /, *, k: int = 0) -> Array:
    """The lower triangle of each matrix, up to its k-th diagonal; zeros elsewhere."""
    return _F["tril"](x, k)


def triu(x: Array, /, *, k: int = 0) -> Array:
    """The upper triangle of each matrix, from its k-th diagonal on; zeros elsewhere."""
    return _F["triu"](x, k)


def diff(x: Array, /, *, axis: int = -1, n: int = 1, prepend: Array | None = None,
         append: Array | None = None) -> Array:
    """n-th differences of neighbours along an axis."""
    return _F["diff"](x, n, axis, prepend, append)


# Indexing and selection ----------------------------------------------------------------------------------------------


def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """Elements along an axis at the positions of a 1-d integer array."""
    return _F["take"](x, indices, axis)


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """x's elements at an index of the same rank, along an axis."""
    around = [[1 if a == axis % s.ndim else n for a, n in enumerate(s.shape)] for s in (x, indices)]
    shape = list(_shapes.broadcast("take_along_axis", *map(tuple, around)))
    shape[axis] = indices.shape[axis]
    source = list(shape)
    source[axis] = x.shape[axis]
    return _F["take_along"](broadcast_to(x, tuple(source)), broadcast_to(indices, tuple(shape)), axis)


def where(condition: Array, x1: Any, x2: Any, /) -> Array:
    """x1 where the condition holds, else x2."""
    return _F["where"](condition, x1, x2)


def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """x limited to [min, max]; a copy where neither is given."""
    if min is None and max is None:
        return _F["clone"](x)
    result = _F["clamp"](x, min, max)
    return result if result.dtype is x.dtype else _F["astype"](result, x.dtype)


# Elementwise functions that PyTorch names otherwise -------------------------------------------------------------------

bitwise_invert, negative, subtract, multiply, divide = (
    _F[n] for n in ("bitwise_not", "neg", "sub", "mul", "div"))
equal, not_equal, less, less_equal, greater, greater_equal = (_F[n] for n in ("eq", "ne", "lt", "le", "gt", "ge"))


def logical_not(x: Array, /) -> Array:
    """Whether it is zero."""
    return _F["logical_not"](x)


def signbit(x: Array, /) -> Array:
    """Whether the sign bit is set: of negative numbers, -0.0 and negative NaN."""
    if x.dtype.kind != "f":
        raise DTypeError(bad("signbit", x.dtype, "a float dtype", "Compare integers with 0."))
    bits = {2: _dtypes.int16, 4: _dtypes.int32, 8: _dtypes.int64}[x.dtype.itemsize]
    return Array(x.storage, x.shape, x.strides, x.offset, bits) < 0


def copysign(x1: Array, x2: Array, /) -> Array:
    """The magnitude of x1 with the sign of x2."""
    d = result_type(x1, x2)
    magnitude = _F["abs"](x1 if isinstance(x1, Array) else full((), x1, dtype=d))
    sign = x2 if isinstance(x2, Array) else full((), x2, dtype=d)
    magnitude = _F["astype"](magnitude, d)
    return _F["where"](signbit(_F["astype"](sign, d)), -magnitude, magnitude)


def sign(x: Array, /) -> Array:
    """-1, 0 or 1; of a complex number z / abs(z), and 0 at 0."""
    return _F["sgn" if x.dtype.kind == "c" else "sign"](x)


def pow(x1: Any, x2: Any, /) -> Array:
    """x1 to the power x2."""
    return _F["pow"](x1, x2)


# Linear algebra in the main namespace ---------------------------------------------------------------------------------


def matmul(x1: Array, x2: Array, /) -> Array:
    """Matrix product."""
    return _F["matmul"](x1, x2)


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Sum of products along an axis; complex x1 are conjugated."""
    return _F["vecdot"](x1, x2, dim=axis)


def tensordot(x1: Array, x2: Array, /, *, axes: Any = 2) -> Array:
    """Contraction over the last ``axes`` of x1 and the first of x2, or over pairs of axes."""
    return _F["tensordot"](x1, x2, axes)


# Inspection --------------------------------------------------------------------------------------------------------


class __array_namespace_info__:
    """What this namespace can do: capabilities, devices and dtypes, as the standard's inspection API asks."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks and results whose shapes depend on values; the most dimensions."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """The device that arrays are made on."""
        from ..runtime.device import default_device

        return default_device()

    def devices(self) -> tuple[Device, ...]:
        """Devices that arrays can be made on."""
        from ..runtime.device import devices

        return tuple(d for d in devices() if d.verdict().ok)

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """Dtypes that factories choose."""
        default = _dtypes.get_default_dtype()
        return {"real floating": default, "complex floating": default.complex, "integral": _dtypes.int64,
                "indexing": _dtypes.int64}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """Dtypes of a kind, by name."""
        fp64 = (self.default_device() if device is None else device).facts.fp64
        return {d.name: d for d in _dtypes.ALL if d not in (_dtypes.float16, _dtypes.bfloat16)
                and (fp64 or d.real is not _dtypes.float64) and (kind is None or isdtype(d, kind))}
