"""Variable: an Array in a graph. ``.data`` is its Array, ``.grad`` a Variable."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core import printing
from ..core.dtypes import DType
from ..core.errors import DTypeError, GraphError, bad
from ..core.hooks import RemovableHandle
from ..core.shapes import Size
from ..ndarray import Array, Layout, Storage, describe, from_host
from ..runtime.device import Device


class Variable:
    """An array that remembers how it was computed, so that :meth:`backward` can differentiate it.

    ``Variable(data)`` wraps an Array (or another Variable's) without a copy; host data is copied to the default
    device. Only float dtypes can require a gradient. ``node`` and ``index`` say which op's which result it is;
    a leaf has none.
    """

    __slots__ = ("__dict__", "__weakref__", "_data", "_requires_grad", "grad", "index", "node")
    __array_ufunc__ = None
    __hash__ = object.__hash__
    hooks: OrderedDict | None = None  # of a leaf: functions of its gradient
    post_hooks: OrderedDict | None = None  # of a leaf: called when .grad has been added to

    def __init__(self, data: Any, requires_grad: bool = False, node: Any = None, index: int = 0) -> None:
        if type(data) is not Array:
            data = data.data if isinstance(data, Variable) else from_host(data)
        self._data: Array = data
        self._requires_grad = False
        self.grad: Variable | None = None
        self.node = node
        self.index = index
        if node is not None:
            self._requires_grad = True
        elif requires_grad:
            self.requires_grad_(True)

    # The graph -----------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The Array: reads and writes of it are not recorded."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        value = value.data if isinstance(value, Variable) else value
        if not isinstance(value, Array):
            raise DTypeError(bad("data", type(value).__name__, "an Array or a Variable", "Use clgrad.tensor(...)."))
        self._data = value

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Variable:
        """Ask for a gradient (leaves of float or complex dtype only), or stop asking; returns itself."""
        if requires_grad and self._data.dtype.kind not in "fc":
            raise DTypeError(bad("requires_grad", self._data.dtype, "a float or complex dtype",
                                 "Only these have gradients: convert with .to(float32) first."))
        if not requires_grad and self.node is not None:
            raise GraphError(bad("requires_grad", "False on the result of an op", "a leaf",
                                 "Use .detach() to get one outside the graph."))
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the user made it, rather than an op that is recorded."""
        return self.node is None

    @property
    def grad_fn(self) -> Any:
        """The graph node that computed it, or None for a leaf."""
        return self.node

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
                 inputs: Any = None) -> None:
        """Add d(self)/d(leaf) to ``.grad`` of every leaf that requires it, or of ``inputs`` alone.

        ``gradient`` has this shape and is needed unless self has one element. The graph's saved values are freed
        unless ``retain_graph`` (default: ``create_graph``); with ``create_graph`` gradients can be differentiated.
        """
        from .engine import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Variable:
        """The same memory outside the graph."""
        return Variable(self._data)

    def detach_(self) -> Variable:
        """Leave the graph."""
        self.node = None
        self._requires_grad = False
        return self

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(grad)`` with this Variable's whole gradient in backward; what it returns, if anything, takes the
        gradient's place. Returns a handle whose ``remove()`` takes it out."""
        if not self._requires_grad:
            raise GraphError(bad("register_hook", "a Variable that does not require grad", "one that does",
                                 "Set requires_grad=True first."))
        if self.node is None:
            self.hooks = self.hooks if self.hooks is not None else OrderedDict()
            return RemovableHandle.add(self.hooks, hook)
        if self.node.hooks is None:
            self.node.hooks = {}
        return RemovableHandle.add(self.node.hooks.setdefault(self.index, OrderedDict()), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(self)`` after backward has added to this leaf's ``.grad``."""
        if self.node is not None or not self._requires_grad:
            raise GraphError(bad("register_post_accumulate_grad_hook", "the result of an op, or no gradient wanted",
                                 "a leaf that requires grad", "Use register_hook."))
        self.post_hooks = self.post_hooks if self.post_hooks is not None else OrderedDict()
        if not self.hooks:
            self.hooks = OrderedDict({-1: None})  # the engine then waits for the whole gradient
        return RemovableHandle.add(self.post_hooks, hook)

    def retain_grad(self) -> None:
        """Keep ``.grad`` of this result too, not of leaves only."""
        if self.node is not None:
            self.node.retain(self)

    # What it is ----------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self._data.shape)

    @property
    def dtype(self) -> DType:
        return self._data.dtype

    @property
    def device(self) -> Device:
        return self._data.storage.device

    @property
    def storage(self) -> Storage:
        return self._data.storage

    @property
    def _layout(self) -> Layout | None:
        return self._data._layout

    @property
    def ndim(self) -> int:
        return len(self._data.shape)

    @property
    def itemsize(self) -> int:
        return self._data.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._data.nbytes

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self._data.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape as a Size, or the length of one axis."""
        return Size(self._data.shape) if dim is None else self._data.shape[dim]

    def numel(self) -> int:
        """Number of elements."""
        return self._data.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes an element takes."""
        return self._data.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Strides in elements, or that of one axis."""
        return self._data.strides if dim is None else self._data.strides[dim]

    def storage_offset(self) -> int:
        """Position of the first element in its memory block, in elements."""
        return self._data.offset

    def is_contiguous(self) -> bool:
        """Whether elements lie row-major without gaps."""
        return self._data.is_contiguous()

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float."""
        return self._data.dtype.kind == "f"

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self._data.dtype.kind == "c"

    @property
    def _version(self) -> int:
        return self._data.storage.version

    # The door to the host ------------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """A NumPy array with a copy of the contents."""
        if self._requires_grad:
            raise GraphError(bad("numpy", "a Variable that requires grad", "one outside the graph",
                                 "Use .detach().numpy()."))
        return self._data.numpy()

    def item(self) -> bool | int | float | complex:
        """The only element as a Python scalar."""
        return self._data.item()

    def tolist(self) -> Any:
        """The contents as nested lists of Python scalars."""
        return self._data.tolist()

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._data.__array__()

    def __bool__(self) -> bool:
        return bool(self._data)

    def __int__(self) -> int:
        return int(self._data)

    def __float__(self) -> float:
        return float(self._data)

    def __complex__(self) -> complex:
        return complex(self._data)

    def __index__(self) -> int:
        return self._data.__index__()

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Variable]:
        return (self[i] for i in range(len(self._data)))

    def __contains__(self, value: Any) -> bool:
        return value in self._data

    def __repr__(self) -> str:
        return describe(self._data, "tensor", self._notes())

    def _repr_html_(self) -> str:
        return describe(self._data, "tensor", self._notes(), printing.table)

    def _notes(self) -> list[str]:
        if self.node is not None:
            return [f"grad_fn=<{self.node.name}>"]
        return ["requires_grad=True"] if self._requires_grad else []

    # Copies --------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple:
        """A pickle holds the values, the device's name, ``requires_grad`` and attributes; as in PyTorch neither
        ``.grad`` nor the graph: what comes back is a leaf."""
        return _restore, (type(self), self._data, self._requires_grad, self.__dict__)

    def __copy__(self) -> Variable:
        """A leaf that shares this one's memory, as in PyTorch; ``copy.deepcopy`` and ``clone`` give memory of its
        own."""
        return _restore(type(self), self._data, self._requires_grad, dict(self.__dict__))

    def __deepcopy__(self, memo: dict) -> Variable:
        if self.node is not None:
            raise GraphError(bad("deepcopy", "the result of an op", "a leaf", "Use .detach() first."))
        copied = memo[id(self)] = _restore(type(self), copy.deepcopy(self._data, memo), self._requires_grad, {})
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        copied.grad = copy.deepcopy(self.grad, memo)
        return copied


def wrap(array: Array, node: Any = None, index: int = 0) -> Variable:
    """A Variable of an op's result, without the constructor's questions: this runs once an op."""
    result = Variable.__new__(Variable)
    result._data = array
    result._requires_grad = node is not None
    result.grad = None
    result.node = node
    result.index = index
    return result


def _restore(kind: type, data: Array, requires_grad: bool, attributes: dict | None = None) -> Variable:
    result = kind.__new__(kind)
    Variable.__init__(result, data, requires_grad)
    result.__dict__.update(attributes or {})
    return result


def unwrap(value: Any) -> Any:
    """The Array of a Variable; anything else as it is."""
    return value._data if isinstance(value, Variable) else value


