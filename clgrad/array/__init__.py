"""The array namespace: every op on plain Arrays, outside any graph, and factories that make Arrays.

The functions are the records' own: given Arrays they return Arrays. The factories take what their counterparts in
``clgrad`` take, but for ``requires_grad``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import factories as _factories
from ..autograd.variable import unwrap as _unwrap
from ..core.dtypes import bool_ as bool
from ..core.dtypes import float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64
from ..ndarray import Array as Array
from ..ops import FUNCTIONS as _FUNCTIONS

_NOT_FACTORIES = {"Generator", "manual_seed", "initial_seed", "tensor", "as_tensor"}


def _making_arrays(factory: Callable) -> Callable:
    @functools.wraps(factory)
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


globals().update(_FUNCTIONS)
globals().update({name: _making_arrays(getattr(_factories, name)) for name in _factories.__all__
                  if name not in _NOT_FACTORIES})
