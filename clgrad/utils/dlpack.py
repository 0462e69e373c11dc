"""DLPack under PyTorch's names: ``to_dlpack`` gives a capsule, ``from_dlpack`` takes one, or an object that has one."""

from __future__ import annotations

from typing import Any

from ..interop.dlpack import from_dlpack as from_dlpack


def to_dlpack(tensor: Any) -> Any:
    """A DLPack capsule of an Array or a Variable's memory: see :meth:`Array.__dlpack__`. It can be consumed once."""
    return tensor.__dlpack__()


__all__ = ["from_dlpack", "to_dlpack"]
