"""What the families share: bounded plan caches, index types, sizes of launches."""

from __future__ import annotations

from typing import Any

from ..core.dtypes import DType
from ..ndarray import no_float64
from ..runtime.device import Device

_MOST_PLANS = 4096
INT_BYTES = 1 << 30  # below this no index, nor the step beyond it, overflows a 32-bit int


class Plans(dict):
    """Plans by key; emptied when full, so that ever-changing shapes do not grow it without bound."""

    def put(self, key: Any, plan: Any) -> Any:
        if len(self) >= _MOST_PLANS:
            self.clear()
        self[key] = plan
        return plan


def index_type(*nbytes: int) -> str:
    """C type that indexes memory blocks of these sizes in bytes. The element count of a view that reads an element more
    than once is a size of its own."""
    return "int" if max(nbytes, default=0) < INT_BYTES else "long"


def letter(index: str) -> str:
    """Signature letter of an index type."""
    return "i" if index == "int" else "l"


def form(device: Device) -> str:
    """The kernel shape a device gets."""
    return "wide" if device.wide_core else "many"


def check_device(device: Device, *used: DType) -> None:
    """float64 asked of a device without it is an error here, not in the driver's compiler."""
    if not device.facts.fp64 and any(d.real.name == "float64" for d in used):
        raise no_float64(device)


def workers(device: Device, items: int, per_unit: int, least: int) -> int:
    """Work-items for a wide-core launch: enough for every core, none with less than ``least`` items."""
    return max(1, min(device.facts.compute_units * per_unit, -(-items // least)))


def blocks(device: Device, items: int, local: int, per_unit: int) -> tuple[tuple[int], tuple[int]]:
    """Global and local size of a many-core launch over ``items``, capped: kernels walk in grid strides."""
    groups = max(1, min(-(-items // local), device.facts.compute_units * per_unit))
    return (groups * local,), (local,)
