"""The array namespace: every op on plain Arrays, outside any graph, and factories that make Arrays.

The functions are the records' own: given Arrays they return Arrays. The factories take what their counterparts in
``clgrad`` take, but for ``requires_grad``.
"""

from __future__ import annotations

import functools as _functools
import sys as _sys
from collections.abc import Callable
from typing import Any

from .. import factories as _factories
from ..autograd.variable import unwrap as _unwrap
from ..core.dtypes import (
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from ..core.dtypes import bool_ as bool
from ..interop.dlpack import array_from_dlpack as from_dlpack
from ..interop.opencl import array_from_opencl as from_opencl
from ..ndarray import Array as Array
from ..ops import FUNCTIONS as _FUNCTIONS
from . import fft as _fft
from . import linalg as _linalg
from . import standard as _standard

_NOT_FACTORIES = {"Generator", "manual_seed", "initial_seed", "tensor", "as_tensor"}


def _making_arrays(factory: Callable) -> Callable:
    @_functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Array:
        return _unwrap(factory(*args, **kwargs))

    make.__doc__ = (factory.__doc__ or "").replace("A Variable", "An Array")
    return make


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Array:
    """An Array of host data, an Array or a Variable; ``copy`` True for memory of its own, None where needed.

    Raises ValueError for ``copy=False`` on what must be copied: host data, another dtype or device.
    """
    result = _factories.as_array(obj, dtype, device, copy=copy is True)
    if copy is False and result is not _unwrap(obj):
        raise ValueError("asarray: got copy=False for data that must be copied; expected an array of this dtype on "
                         "this device. Leave copy out.")
    return result


for _name, _function in _FUNCTIONS.items():
    globals().setdefault(_name, _function)
globals().update({name: _making_arrays(getattr(_factories, name)) for name in _factories.__all__
                  if name not in _NOT_FACTORIES})
# What the standard fixes goes last: its own functions and constants, not what the module imports.
globals().update({name: value for name, value in vars(_standard).items()
                  if not name.startswith("_") and not isinstance(value, type(_standard))
                  and getattr(value, "__module__", None) in (None, "clgrad", _standard.__name__)})
linalg = _linalg  # an extension of the standard
fft = _fft  # an extension of the standard
__array_api_version__ = _standard.__array_api_version__
__array_namespace_info__ = _standard.__array_namespace_info__


def _namespace(self: Array, *, api_version: str | None = None) -> Any:
    """The array API namespace whose functions take this array."""
    return _sys.modules[__name__]


Array.__array_namespace__ = _namespace
