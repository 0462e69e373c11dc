"""Huge pages under large blocks of a CPU device's memory: fewer page walks, and fewer faults where memory is new.

Linux gives them where they are asked for (`transparent_hugepage/enabled` says "madvise" on most distributions); drivers
do not ask. It is advice: no value depends on it, and where it cannot be given nothing happens.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .device import Device

LEAST = 4 << 20  # bytes of a block from which on it holds huge pages worth the call
_FOLDER = Path("/sys/kernel/mm/transparent_hugepage")
_MADV_HUGEPAGE = 14


@cache
def _advise() -> tuple[Callable[..., int], int] | None:
    """libc's madvise and the size of a huge page; None where they are not to be had, or come unasked."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        if "[madvise]" not in (_FOLDER / "enabled").read_text():
            return None
        size = int((_FOLDER / "hpage_pmd_size").read_text())
        call = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, ValueError, AttributeError):
        return None
    call.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return call, size


def advise(address: int, nbytes: int) -> bool:
    """Ask for huge pages inside these bytes; whether there was anything to ask and the system took it."""
    known = _advise()
    if known is None:
        return False
    call, size = known
    first = -(-address // size) * size
    last = (address + nbytes) // size * size
    return last > first and call(first, last - first, _MADV_HUGEPAGE) == 0


def wanted(device: Device) -> bool:
    """Whether blocks of this device are memory of this machine that the advice is for."""
    return device.type == "cpu" and _advise() is not None


def advise_block(queue: Any, buffer: Any, nbytes: int) -> bool:
    """The same for a buffer just made. ``queue`` has nothing else to do, so that mapping waits for nothing."""
    import pyopencl as cl

    try:
        view, _ = cl.enqueue_map_buffer(queue, buffer, cl.map_flags.READ | cl.map_flags.WRITE, 0, (nbytes,), np.uint8)
    except cl.Error:
        return False
    try:
        return advise(view.ctypes.data, nbytes)
    finally:
        view.base.release(queue)
