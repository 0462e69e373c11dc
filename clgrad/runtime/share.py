"""Memory that host and device both see: device memory mapped for the host, host memory wrapped in a buffer.

OpenCL promises less than most drivers of CPUs give: that a kernel may run on a buffer while it is mapped, and that a
buffer around host memory is that memory rather than a copy of it. So a device is asked, once, by trying both.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .device import Device

_PROBE = """
kernel void bump(global int *a, int first, int n)
{
    for (int i = get_global_id(0); i < n; i += get_global_size(0))
        a[first + i] += 1;
}
"""
_lock = threading.Lock()
_mapped: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # storage -> weak reference to its Mapping


class Mapping:
    """A storage's memory as the host sees it, read through NumPy's array interface.

    It stays mapped, and the storage stays allocated, as long as a Mapping or an array made of it lives.
    """

    def __init__(self, storage: Any) -> None:
        import pyopencl as cl

        device = storage.device
        flags = cl.map_flags.READ | cl.map_flags.WRITE
        view, _ = cl.enqueue_map_buffer(device.queue, storage.buffer, flags, 0, (storage.nbytes,), np.uint8)
        self.__array_interface__ = view.__array_interface__
        # Holds the storage until the memory is unmapped: a pool must not hand it out before.
        weakref.finalize(self, _unmap, device, view.base, storage).atexit = False


def _unmap(device: Device, mapped: Any, storage: Any) -> None:
    if device.lost is None:
        mapped.release(device.queue)


def mapping(storage: Any) -> Mapping:
    """The one mapping of a storage, made when there is none; waits for what has been enqueued."""
    if storage.device.lost is not None:
        raise storage.device.lost_error()
    with _lock:
        known = _mapped.get(storage)
        found = None if known is None else known()
        if found is None:
            found = Mapping(storage)
            _mapped[storage] = weakref.ref(found)
    storage.device.queue.finish()
    return found


def wrap(device: Device, address: int, nbytes: int) -> tuple[Any, int]:
    """A buffer that is the host memory from ``address`` on, and how many bytes of it stand before the address: it
    begins at a boundary that the device can address."""
    import pyopencl as cl

    lead = address % max(device._cl.mem_base_addr_align // 8, 1)
    region = (ctypes.c_char * (lead + nbytes)).from_address(address - lead)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR
    return cl.Buffer(device.context, flags, hostbuf=region), lead


def release_with(storage: Any, owner: Any) -> None:
    """Let go of ``owner``, whose memory a storage wraps, when the storage dies and no kernel uses it any more."""
    weakref.finalize(storage, _release, storage.device, storage.buffer, owner).atexit = False


def _release(device: Device, buffer: Any, owner: Any) -> None:
    if device.lost is None:
        device.queue.finish()
        buffer.release()


def probe(device: Device) -> bool:
    """Whether kernels and the host see each other's writes in mapped and in wrapped memory. Never raises for a
    driver's fault: then it does not."""
    import pyopencl as cl

    from .program import build

    if not (device.facts.unified_memory or device.type == "cpu"):
        return False
    try:
        bump = cl.Kernel(build(device, _PROBE, "sharing probe"), "bump")
        return _mapped_is_shared(cl, device, bump) and all(_wrapped_is_shared(device, bump, at) for at in (0, 3))
    except (cl.Error, RuntimeError):
        return False


def _mapped_is_shared(cl: Any, device: Device, bump: Any) -> bool:
    n = 257
    buffer = cl.Buffer(device.context, cl.mem_flags.READ_WRITE, 4 * n)
    view, _ = cl.enqueue_map_buffer(device.queue, buffer, cl.map_flags.READ | cl.map_flags.WRITE, 0, (n,), np.int32)
    seen = _sees_writes(device, bump, buffer, 0, view)
    view.base.release(device.queue)
    return seen


def _wrapped_is_shared(device: Device, bump: Any, at: int) -> bool:
    host = np.zeros(300, np.int32)[at:257]
    buffer, lead = wrap(device, host.ctypes.data, host.nbytes)
    return _sees_writes(device, bump, buffer, lead // 4, host)


def _sees_writes(device: Device, bump: Any, buffer: Any, first: int, view: np.ndarray) -> bool:
    for start in (5, 70):
        view[:] = start
        bump(device.queue, (64,), (1,), buffer, np.int32(first), np.int32(view.size))
        device.queue.finish()
        if not (view == start + 1).all():
            return False
    return True
