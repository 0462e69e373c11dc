"""Array: a device buffer with shape, strides and dtype; its views; and the two doors between host and device.

A view is (root storage, element offset, strides): it shares memory with its base, and a write through either is seen
by the other. Operators and methods are attached by :mod:`clgrad.ops` from the records.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from .core import dtypes, printing, shapes
from .core.dtypes import DType
from .core.errors import DeviceError, DTypeError, ShapeError, bad
from .runtime import launch
from .runtime.device import Device, default_device
from .runtime.device import device as find_device

Shape = tuple[int, ...]
INT_BYTES = 1 << 30  # below this no index, nor the step beyond it, overflows a 32-bit int
_MOST_LAYOUTS = 1 << 15
_new = object.__new__


class Storage:
    """A block of device memory and the number of writes it has seen since it was made; ``shared`` once a graph has
    saved it or it is some leaf's gradient, so that no leaf takes it for its own."""

    __slots__ = ("__weakref__", "buffer", "device", "nbytes", "shared", "version")

    def __init__(self, device: Device, nbytes: int) -> None:
        self.device = device
        self.nbytes = nbytes
        self.version = 0
        self.shared = False
        self.buffer = device.pool.allocate(nbytes) if nbytes else None

    @classmethod
    def around(cls, device: Device, buffer: Any, nbytes: int) -> Storage:
        """A storage of memory that exists already, outside the pool."""
        storage = cls(device, 0)
        storage.nbytes, storage.buffer = nbytes, buffer
        return storage


class Layout:
    """All that a plan depends on in an operand: its shape, strides, dtype and device, and whether its memory is so
    large that ints cannot index it. Equal ones are the same object, so that a key of layouts is found by identity."""

    __slots__ = ("contiguous", "device", "dtype", "large", "nbytes", "shape", "strides")

    def __init__(self, shape: Shape, strides: Shape, dtype: DType, device: Device, large: bool) -> None:
        self.shape = tuple(map(int, shape))  # NumPy's integers, which are equal to Python's, go no further
        self.strides = tuple(map(int, strides))
        self.dtype = dtype
        self.device = device
        self.large = large
        self.nbytes = prod(shape) * dtype.itemsize
        self.contiguous = shapes.is_contiguous(shape, strides)

    @classmethod
    def of(cls, *key: Any) -> Layout:
        """The layout of these: shape, strides, dtype, device, large."""
        found = _layouts.get(key)
        if found is None:
            if len(_layouts) >= _MOST_LAYOUTS:
                _layouts.clear()  # equal ones may be made anew: then plans are
            found = _layouts.setdefault(key, cls(*key))
        return found

    @classmethod
    def dense(cls, shape: Shape, dtype: DType, device: Device, strides: Shape | None = None) -> Layout:
        """That of a new array, row-major unless strides (of another order, without gaps) are given."""
        strides = shapes.contiguous_strides(shape) if strides is None else strides
        return cls.of(shape, strides, dtype, device, prod(shape) * dtype.itemsize >= INT_BYTES)


_layouts: dict[tuple, Layout] = {}


def layout_of(array: Array) -> Layout:
    """An array's layout, found at its first use."""
    storage = array.storage
    array._layout = Layout.of(array.shape, array.strides, array.dtype, storage.device, storage.nbytes >= INT_BYTES)
    return array._layout


def dense(array: Array) -> tuple[Array, Layout]:
    """The array with its elements row-major, itself or a copy, and its layout."""
    layout = array._layout or layout_of(array)
    if layout.contiguous:
        return array, layout
    array = array.contiguous()
    return array, array._layout or layout_of(array)


class Array:
    """An n-dimensional array in device memory. Strides and offset count elements.

    Made by ``clgrad.array.asarray`` and by every op; never from the constructor, which is internal.
    """

    __slots__ = ("__weakref__", "_layout", "dtype", "offset", "shape", "storage", "strides")
    __array_ufunc__ = None  # a NumPy array on the left of an operator asks us, and is told what to do
    __hash__ = object.__hash__

    def __init__(self, storage: Storage, shape: Shape, strides: Shape, offset: int, dtype: DType) -> None:
        self.storage = storage
        self.shape = shape
        self.strides = strides
        self.offset = offset
        self.dtype = dtype
        self._layout: Layout | None = None  # until layout_of() is asked

    @property
    def device(self) -> Device:
        return self.storage.device

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> Array:
        return self.view(self.shape[::-1], self.strides[::-1], self.offset)

    @property
    def mT(self) -> Array:
        """Each matrix (the last two axes) transposed, as a view."""
        if self.ndim < 2:
            raise ShapeError(bad("mT", f"shape {self.shape}", "at least two dimensions", "Add an axis."))
        shape, strides = self.shape, self.strides
        return self.view((*shape[:-2], shape[-1], shape[-2]), (*strides[:-2], strides[-1], strides[-2]), self.offset)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Array:
        """The array on another device, by way of the host."""
        return self.to(find_device(device))

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float."""
        return self.dtype.kind == "f"

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self.dtype.kind == "c"

    def is_contiguous(self) -> bool:
        """Whether elements lie row-major without gaps."""
        return (self._layout or layout_of(self)).contiguous

    def view(self, shape: Shape, strides: Shape, offset: int) -> Array:
        """Another reading of the same memory; bounds are the caller's business."""
        return Array(self.storage, shape, strides, offset, self.dtype)

    # The door to the host ------------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """A NumPy array with a copy of the contents; waits for the ops that compute them."""
        if self.size == 0:
            return np.empty(self.shape, self.dtype.np)
        low, high = shapes.extent(self.shape, self.strides)
        span = high - low + 1
        if span > 2 * self.size:
            return self.contiguous().numpy()  # a strided view: gather on the device rather than copy the gaps
        item = self.dtype.itemsize
        flat = launch.to_host(self.device, self.storage.buffer, (self.offset + low) * item, (span,), self.dtype.np)
        if self.is_contiguous():
            return flat.reshape(self.shape)
        strided = np.lib.stride_tricks.as_strided(flat[-low:], self.shape, [s * item for s in self.strides])
        return np.ascontiguousarray(strided)

    def item(self) -> bool | int | float | complex:
        """The only element as a Python scalar."""
        if self.size != 1:
            raise ShapeError(bad("item", f"shape {self.shape}", "one element", "Index one element, or use .tolist()."))
        return self.numpy().item()

    def tolist(self) -> Any:
        """The contents as nested lists of Python scalars."""
        return self.numpy().tolist()

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("np.asarray: got a clgrad array, which lies on a device; copies to the host are explicit. "
                        "Call .numpy() on it.")

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(bad("bool", f"shape {self.shape}", "one element",
                                 "Truth of several values is ambiguous: use .any() or .all(), "
                                 "or `is not None` to ask whether there is an array."))
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(bad("index", self.dtype, "an integer array of one element", "Convert with .to(int64)."))
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: got a 0-d array; expected at least one dimension. Use .size for the element count.")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __repr__(self) -> str:
        return describe(self, "array")

    def _repr_html_(self) -> str:
        return describe(self, "array", text=printing.table)

    def __reduce__(self) -> tuple:
        return _restore, (self.numpy(), self.dtype.name, self.device.key)

    def __copy__(self) -> Array:
        return self.clone()

    def __deepcopy__(self, memo: dict) -> Array:
        copied = memo[id(self)] = self.clone()
        return copied


def _restore(host: np.ndarray, name: str, device: str = "") -> Array:
    """A pickled array: on the device it was on where there is a working one of that name, else on the default one."""
    try:
        target = find_device(device)
    except DeviceError:
        target = find_device()
    return from_host(host, dtypes.dtype(name), target)


def empty(shape: Shape, dtype: DType, device: Device) -> Array:
    """An uninitialised contiguous array. Zero-size arrays allocate nothing."""
    if dtype.real is dtypes.float64 and not device.facts.fp64:
        raise no_float64(device)
    storage = Storage(device, prod(shape) * dtype.itemsize)
    return Array(storage, shape, shapes.contiguous_strides(shape), 0, dtype)


def fresh(layout: Layout) -> Array:
    """``empty`` for a plan that knows its result's layout (a dense one), without the constructors: this runs once a
    launch."""
    storage = _new(Storage)
    storage.device = device = layout.device
    storage.nbytes = nbytes = layout.nbytes
    storage.version = 0
    storage.shared = False
    storage.buffer = device.pool.allocate(nbytes) if nbytes else None
    array = _new(Array)
    array.storage = storage
    array.shape = layout.shape
    array.strides = layout.strides
    array.offset = 0
    array.dtype = layout.dtype
    array._layout = layout
    return array


def full(shape: Shape, value: Any, dtype: DType, device: Device) -> Array:
    """A contiguous array of one value, written on the device: no copy from the host."""
    result = empty(shape, dtype, device)
    launch.fill(device, result.storage.buffer, dtype.np.type(value), result.size)
    return result


def no_float64(device: Device) -> DTypeError:
    """The error of a float64 array on a device without doubles."""
    return DTypeError(f"array: got float64 on {device} ({device.name}), which has no double precision; expected "
                      "another dtype. Convert to float32, or choose another device.")


# The door from the host ------------------------------------------------------------------------------------------


def from_host(data: Any, dtype: DType | None = None, device: Any = None) -> Array:
    """Copy host data (scalars, nested sequences, anything NumPy reads) to a device.

    Without ``dtype``, NumPy arrays keep theirs; Python numbers get bool, int64 or the default float.
    """
    target = device if type(device) is Device else find_device(device)
    host = _host_array(data, dtype)
    result = empty(host.shape, dtypes.dtype(host.dtype), target)
    if host.size:
        launch.to_device(target, result.storage.buffer, np.ascontiguousarray(host))
    return result


def move(source: Array, device: Device) -> Array:
    """The array on another device, by way of the host (counted as a copy on both); itself if there."""
    return source if source.device is device else from_host(source.numpy(), source.dtype, device)


def _host_array(data: Any, dtype: DType | None) -> np.ndarray:
    try:
        host = np.asarray(data)
    except ValueError as error:
        raise ShapeError(bad("tensor", f"a {type(data).__name__} that is no array ({error})",
                             "numbers, nested lists of equal lengths, or a NumPy array",
                             "Check the nesting.")) from None
    if dtype is None:
        if isinstance(data, (np.ndarray, np.generic)):
            dtype = dtypes.dtype(host.dtype)
        else:
            dtype = {"b": dtypes.bool_, "i": dtypes.int64, "u": dtypes.uint64}.get(
                host.dtype.kind, dtypes.get_default_dtype())
            if host.dtype.kind == "c":
                dtype = dtype.complex
            elif host.dtype.kind not in "biuf":
                dtype = dtypes.dtype(host.dtype)  # raises, naming what is allowed
    return host.astype(dtype.np, copy=False)


# Basic indexing ----------------------------------------------------------------------------------------------------


def basic_index(shape: Shape, strides: Shape, offset: int, key: Any) -> tuple[Shape, Shape, int]:
    """Shape, strides and offset of ``array[key]`` for ints, slices, ellipsis and None."""
    keys = list(key) if isinstance(key, tuple) else [key]
    used = sum(k is not None and k is not Ellipsis for k in keys)
    if used > len(shape):
        raise IndexError(bad("index", f"{used} indices for shape {shape}", f"at most {len(shape)}", "Remove some."))
    if sum(k is Ellipsis for k in keys) > 1:
        raise IndexError(bad("index", "two ellipses", "one at most", "Write the axes as ':'."))
    if Ellipsis not in [k if k is Ellipsis else None for k in keys]:
        keys.append(Ellipsis)
    out_shape: list[int] = []
    out_strides: list[int] = []
    axis = 0
    for k in keys:
        if k is None:
            out_shape.append(1)
            out_strides.append(0)
        elif k is Ellipsis:
            rest = len(shape) - used
            out_shape += shape[axis:axis + rest]
            out_strides += strides[axis:axis + rest]
            axis += rest
        elif isinstance(k, slice):
            start, stop, step = k.indices(shape[axis])
            n = len(range(start, stop, step))
            out_shape.append(n)
            out_strides.append(strides[axis] * step)
            offset += start * strides[axis] if n else 0
            axis += 1
        else:
            offset += _position(k, axis, shape[axis]) * strides[axis]
            axis += 1
    return tuple(out_shape), tuple(out_strides), offset


def _position(k: Any, axis: int, size: int) -> int:
    try:
        if isinstance(k, bool):
            raise TypeError
        index = operator.index(k)
    except TypeError:
        raise IndexError(bad("index", f"{type(k).__name__} for axis {axis}",
                             "ints, slices, None or an ellipsis", "Use take, gather or where for index arrays."
                             )) from None
    if not -size <= index < size:
        raise IndexError(bad("index", f"{index} for axis {axis}", f"-{size} <= index < {size}",
                             "The axis has that many elements."))
    return index % size


def describe(array: Array, name: str, suffix: Sequence[str] = (), text: Callable = printing.describe) -> str:
    """Text (or HTML) of an array; its device is told where it is not the default one."""
    try:
        elsewhere = array.device is not default_device()
    except DeviceError:  # the default is a device that does not work
        elsewhere = True
    return text(array, name, suffix, elsewhere)


def same_device(op: str, arrays: Sequence[Array]) -> Device:
    """The device all arrays lie on; DeviceError where they differ."""
    device = arrays[0].storage.device
    for a in arrays:
        if a.storage.device is not device:
            raise DeviceError(bad(op, " and ".join(str(x.device) for x in arrays), "arrays on one device",
                                  "Move one with .to(device)."))
    return device
