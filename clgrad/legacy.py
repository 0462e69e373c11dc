"""PyTorch's typed tensors: ``FloatTensor`` and its kin, as targets of ``.type()`` and as makers of tensors."""

from __future__ import annotations

from typing import Any

from . import factories
from .core.dtypes import TENSOR_TYPES, DType


class TensorType:
    """A dtype, and where its tensors lie: on ``"cuda"``, or where nothing else is said.

    Called with data it makes a tensor of it, called with sizes an uninitialised one.
    """

    def __init__(self, name: str, dtype: DType, device: str | None) -> None:
        self.tensor_type = name
        self.dtype = dtype
        self._device = device

    def __call__(self, *data: Any) -> Any:
        if data and all(isinstance(n, int) for n in data):
            return factories.empty(*data, dtype=self.dtype, device=self._device)
        return factories.tensor(data[0] if data else [], dtype=self.dtype, device=self._device)

    def __repr__(self) -> str:
        return f"<class '{self.tensor_type}'>"


def types_on(prefix: str, device: str | None = None) -> dict[str, TensorType]:
    """The typed tensors of a place, by name."""
    return {name: TensorType(prefix + name, dtype, device) for name, dtype in TENSOR_TYPES.items()}


globals().update(types_on("torch."))
__all__ = list(TENSOR_TYPES)
