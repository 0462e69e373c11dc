"""Moving between devices, and PyTorch's spellings of conversion: ``.to``, ``.float``, ``.type``, ``zero_``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import DTypeError, bad
from ..ndarray import Array, move
from ..runtime.device import Device, devices
from ..runtime.device import device as find_device
from ..table import Case
from .declare import driver
from .elementwise import assign, astype, clone, where
from .methods import refuse_recorded


def _to_device(x: Array, device: Any) -> Array:
    return move(x, find_device(device))


to_device = driver("to_device", "x, device", "convert", run=_to_device,
                   grad=[lambda g, x_device: to_device(g, x_device)],
                   ref=lambda x, device: np.copy(x), cases=(Case(((3, 5),), {"device": None}),),
                   doc="The values on another device, by way of the host (a copy counted on both); itself if there.")


def _target(spec: Any) -> tuple[DType | None, Device | None]:
    """What one argument of ``to`` means: a dtype, a device, or another array's both."""
    if isinstance(spec, (Array, Variable)):
        return spec.dtype, spec.device
    if isinstance(spec, DType) or spec in (bool, int, float, complex) or isinstance(spec, (np.dtype, type)):
        return dtypes.dtype(spec), None
    if isinstance(spec, str) and spec in dtypes.NAMES:
        return dtypes.dtype(spec), None
    return None, find_device(spec)


def to(self: Any, *args: Any, dtype: Any = None, device: Any = None, other: Any = None, non_blocking: bool = False,
       copy: bool = False, memory_format: Any = None) -> Any:
    """The array in another dtype, on another device, or both: ``to(float64)``, ``to("cpu")``, ``to(other)``,
    ``to(device, dtype)``. Itself where nothing changes, unless ``copy``. ``non_blocking`` and ``memory_format`` are
    PyTorch's hints: copies block here, and memory order is no part of an array's meaning."""
    args = args if other is None else (*args, other)
    wanted, target = dtype and dtypes.dtype(dtype), None if device is None else find_device(device)
    for spec in args:
        if isinstance(spec, bool):  # non_blocking, by position
            continue
        d, where = _target(spec)
        wanted, target = d or wanted, where or target
    result = self if target is None or target is self.device else to_device(self, target)
    result = result if wanted is None or wanted is result.dtype else astype(result, wanted)
    return clone(result) if copy and result is self else result


def type_(self: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The array converted to a dtype or a typed tensor (``FloatTensor``, ``"torch.cuda.FloatTensor"``: a cuda name
    also says where); without one, the typed tensor's name, as PyTorch gives it."""
    if dtype is None:
        names = {d: name for name, d in dtypes.TENSOR_TYPES.items()}
        name = names.get(self.dtype, self.dtype.name)
        return f"torch.cuda.{name}" if self.device.type == "gpu" else f"torch.{name}"
    dtype, device = typed(dtype)
    return to(self, dtype, device=device)


def typed(dtype: Any) -> tuple[Any, str | None]:
    """The dtype and the place, if it has one, of a typed tensor or its name; a dtype as it is."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "tensor_type", "")
    *place, last = name.split(".")
    if last in dtypes.TENSOR_TYPES:
        return dtypes.TENSOR_TYPES[last], "cuda" if "cuda" in place else None
    return dtype, None


def cuda(self: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """The array on the first GPU, or on the default device where there is none (said once, as a warning)."""
    return to(self, "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)


def cpu(self: Any, memory_format: Any = None) -> Any:
    """The array on a CPU device; itself where it is there, or where there is no CPU device."""
    if self.device.type == "cpu" or not any(d.type == "cpu" and d.verdict().ok for d in devices()):
        return self
    return to(self, "cpu")


def copy_(self: Any, source: Any, non_blocking: bool = False) -> Any:
    """Write ``source``, broadcast and converted, over the array; returns it."""
    refuse_recorded("copy", self, (source,))
    assign(unwrap(self), to_device(unwrap(source), self.device) if isinstance(source, (Array, Variable)) else source)
    return self


def fill_(self: Any, value: Any) -> Any:
    """Write one value over the array; returns it."""
    refuse_recorded("fill", self)
    if isinstance(value, (Array, Variable)) and value.shape:
        raise DTypeError(bad("fill_", f"a value of shape {value.shape}", "a number or a 0-d array", "Use copy_."))
    assign(unwrap(self), unwrap(value))
    return self


def zero_(self: Any) -> Any:
    """Write zeros over the array; returns it."""
    return fill_(self, 0)


def _named(d: DType) -> Callable:
    def convert(self: Any, memory_format: Any = None) -> Any:
        return self if self.dtype is d else astype(self, d)

    convert.__doc__ = f"The values as {d.name}."
    return convert


def attach_conversions() -> None:
    """Give Array and Variable the methods above."""
    methods = {"to": to, "type": type_, "cuda": cuda, "cpu": cpu, "copy_": copy_, "fill_": fill_, "zero_": zero_}
    methods |= {name: _named(d) for name, d in dtypes.ALIASES.items() if name != "bool_"}
    methods |= {"bfloat16": _named(dtypes.bfloat16), "bool": _named(dtypes.bool_)}
    methods |= {"byte": _named(dtypes.uint8), "char": _named(dtypes.int8)}
    for kind in (Array, Variable):
        for name, function in methods.items():
            setattr(kind, name, function)
    Variable.T = property(lambda self: self.permute(tuple(reversed(range(self.ndim)))), doc="Axes reversed, as a view.")
    Variable.mT = property(lambda self: self.transpose(-1, -2), doc="Each matrix transposed, as a view.")
    Variable.where = Array.where = lambda self, condition, other: where(condition, self, other)
    Variable.type_as = Array.type_as = lambda self, other: astype(self, other.dtype)
    Variable.view_as = Variable.reshape_as = lambda self, other: self.reshape(other.shape)
    Variable.expand_as = lambda self, other: self.expand(other.shape)
