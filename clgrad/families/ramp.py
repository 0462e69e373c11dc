"""Host side of evenly spaced values."""

from __future__ import annotations

from typing import Any

from ..core.dtypes import DType
from ..ndarray import Array, empty
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import kernel
from .plans import blocks, index_type, letter, workers

_LETTER = {"float": "f", "double": "d", "ulong": "L"}


def ramp(count: int, start: Any, step: Any, dtype: DType, device: Device, stop: Any = None) -> Array:
    """start + i * step for i = 0 .. count - 1, computed in the dtype; the last one is ``stop`` where given."""
    out = empty((count,), dtype, device)
    if count == 0:
        return out
    index = index_type(out.nbytes)
    T = dtype.compute
    scalar = _LETTER.get(T, "l")
    number = float if dtype.kind == "f" else int
    k = kernel(device, "ramp", "ramp", "P" + letter(index) + scalar * 3, "arange", ctype=dtype.c, T=T, index=index,
               scalar={"f": "float", "d": "double", "L": "ulong", "l": "long"}[scalar], closed=stop is not None)
    sizes = (((workers(device, count, 4, 4096),), (1,)) if device.wide_core
             else blocks(device, count, min(128, k.max_local), 16))
    launch(k, *sizes, out.storage.buffer, count, number(start), number(step), number(stop or 0), nbytes=out.nbytes)
    return out
