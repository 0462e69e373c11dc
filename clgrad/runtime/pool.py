"""Device memory: one pool a device, its counters, and what happens when there is no room."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from ..core.config import config
from ..core.errors import OutOfMemoryError

if TYPE_CHECKING:
    from .device import Device

_SMALLEST = 64  # some drivers mishandle buffers of a few bytes


class Pool:
    """pyopencl's MemoryPool with counters, a limit and one retry.

    Freed blocks go back to the pool at once; that is safe while kernels still read them because everything on a
    device runs on one in-order queue.
    """

    def __init__(self, device: Device) -> None:
        import pyopencl as cl
        import pyopencl.tools

        self._device = device
        self._errors = (cl.MemoryError, cl.RuntimeError, cl.LogicError)
        self._pool = pyopencl.tools.MemoryPool(pyopencl.tools.ImmediateAllocator(device.queue))
        self.allocations = 0
        self.peak = 0

    def allocate(self, nbytes: int) -> Any:
        """A buffer of at least ``nbytes`` bytes; OutOfMemoryError with the figures when there is no room."""
        device = self._device
        if device.lost is not None:
            raise device.lost_error()
        if nbytes > device.facts.max_alloc:
            raise self._no_room(nbytes, f"one allocation may have {device.facts.max_alloc:,} bytes at most")
        size = nbytes if nbytes > _SMALLEST else _SMALLEST
        try:
            if config.memory_limit is not None:
                self._keep_limit(size)
            buffer = self._pool.allocate(size)
        except self._errors:
            buffer = self._retry(size)
        self.allocations += 1
        active = self._pool.active_bytes
        if active > self.peak:
            self.peak = active
        return buffer

    def _keep_limit(self, size: int) -> None:
        """Under a set limit: give held blocks back first, then collect garbage, then refuse."""
        pool, limit = self._pool, config.memory_limit
        if pool.managed_bytes + size <= limit:
            return
        pool.free_held()
        if pool.managed_bytes + size > limit:
            gc.collect()
            pool.free_held()
        if pool.managed_bytes + size > limit:
            raise self._no_room(size, f"CLGRAD_MEMORY_LIMIT is {limit:,} bytes")

    def _retry(self, size: int) -> Any:
        """Release what the pool holds, collect garbage, try once more."""
        gc.collect()
        self._device.queue.finish()
        self._pool.free_held()
        try:
            return self._pool.allocate(size)
        except self._errors as error:
            raise self._no_room(size, f"the driver said: {error}") from error

    def _no_room(self, asked: int, why: str) -> OutOfMemoryError:
        limit = config.memory_limit or self._device.facts.global_mem
        return OutOfMemoryError(
            f"out of memory on {self._device}: asked {asked:,} bytes, active {self._pool.active_bytes:,}, "
            f"held {self._held():,}, limit {limit:,}; {why}. Use smaller batches, drop references to arrays and "
            "graphs, or call clgrad.empty_cache().")

    def _held(self) -> int:
        return self._pool.managed_bytes - self._pool.active_bytes

    def stats(self) -> dict[str, int]:
        """Bytes in use (``active``), kept for reuse (``held``), most ever in use (``peak``); number of
        ``allocations`` asked for so far."""
        return {"active": self._pool.active_bytes, "held": self._held(), "peak": self.peak,
                "allocations": self.allocations}

    def empty(self) -> None:
        """Give held blocks back to the driver."""
        self._device.queue.finish()
        self._pool.free_held()

    def __repr__(self) -> str:
        return f"Pool({self._device}, " + ", ".join(f"{k}={v:,}" for k, v in self.stats().items()) + ")"
