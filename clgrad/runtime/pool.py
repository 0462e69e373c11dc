"""Device memory: one pool a device, its counters, and what happens when there is no room."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import TYPE_CHECKING, Any

from ..core.config import config
from ..core.errors import OutOfMemoryError
from . import pages

if TYPE_CHECKING:
    from .device import Device

_REMEDY = "Use smaller batches, drop references to arrays and graphs, or call clgrad.empty_cache()."
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
        self._large = device.facts.max_alloc // 2
        self._asks = pages.LEAST if pages.wanted(device) else sys.maxsize  # size of blocks that want huge pages
        self._ordinary = min(self._asks, self._large)  # below this a size is nothing but a block of the pool
        self._pages_queue: Any = None
        self._single = 0  # bytes of blocks that the pool cannot hold
        self.allocations = 0
        self.peak = 0

    def allocate(self, nbytes: int) -> Any:
        """A buffer of at least ``nbytes`` bytes; OutOfMemoryError with the figures when there is no room."""
        device = self._device
        if device.lost is not None:
            raise device.lost_error()
        try:
            if nbytes < self._ordinary and config.memory_limit is None:
                buffer = self._pool.allocate(nbytes if nbytes > _SMALLEST else _SMALLEST)
            else:
                buffer = self._special(max(nbytes, _SMALLEST))
        except self._errors:
            buffer = self._retry(max(nbytes, _SMALLEST))
        self.allocations += 1
        active = self._pool.active_bytes + self._single
        if active > self.peak:
            self.peak = active
        return buffer

    def _special(self, size: int) -> Any:
        """A block under a limit, or one large enough to want huge pages or not to fit the pool."""
        asks = size >= self._asks
        before = self._managed() if asks else 0
        if config.memory_limit is not None:
            self._keep_limit(size)
        buffer = self._pool.allocate(size) if size <= self._large else self._allocate_large(size)
        if asks and self._managed() > before:  # a new block
            self._ask_pages(buffer, size)
        return buffer

    def _ask_pages(self, buffer: Any, size: int) -> None:
        import pyopencl as cl

        if self._pages_queue is None:
            self._pages_queue = cl.CommandQueue(self._device.context)
        pages.advise_block(self._pages_queue, buffer, size)

    def _allocate_large(self, size: int) -> Any:
        """A block near the largest that the device allows; one that the pool would round up beyond it stands alone."""
        import pyopencl as cl

        most = self._device.facts.max_alloc
        if size > most:
            raise self._no_room(size, f"one array may have {most:,} bytes there at most",
                                "Work on parts of it, use a smaller dtype, or choose another device.")
        if self._pool.alloc_size(self._pool.bin_number(size)) <= most:
            return self._pool.allocate(size)
        # Of a class of Python's own: weak references to pyopencl's are not possible.
        buffer = type("Single", (cl.Buffer,), {})(self._device.context, cl.mem_flags.READ_WRITE, size)
        self._single += size
        weakref.finalize(buffer, self._forget, size).atexit = False
        return buffer

    def _forget(self, size: int) -> None:
        self._single -= size

    def _keep_limit(self, size: int) -> None:
        """Under a set limit: give held blocks back first, then collect garbage, then refuse."""
        pool, limit = self._pool, config.memory_limit - self._single
        if pool.managed_bytes + size <= limit:
            return
        pool.free_held()
        if pool.managed_bytes + size > limit:
            gc.collect()
            pool.free_held()
        if pool.managed_bytes + size > limit:
            raise self._no_room(size, f"CLGRAD_MEMORY_LIMIT is {config.memory_limit:,} bytes")

    def _retry(self, size: int) -> Any:
        """Release what the pool holds, collect garbage, try once more."""
        gc.collect()
        self._device.queue.finish()
        self._pool.free_held()
        try:
            return self._pool.allocate(size) if size <= self._large else self._allocate_large(size)
        except self._errors as error:
            raise self._no_room(size, f"the driver said: {error}") from error

    def _no_room(self, asked: int, why: str, remedy: str = _REMEDY) -> OutOfMemoryError:
        limit = config.memory_limit or self._device.facts.global_mem
        return OutOfMemoryError(
            f"out of memory on {self._device}: asked {asked:,} bytes, active {self._active():,}, "
            f"held {self._held():,}, limit {limit:,}; {why}. {remedy}")

    def _managed(self) -> int:
        return self._pool.managed_bytes + self._single

    def _active(self) -> int:
        return self._pool.active_bytes + self._single

    def _held(self) -> int:
        return self._pool.managed_bytes - self._pool.active_bytes

    def stats(self) -> dict[str, int]:
        """Bytes in use (``active``), kept for reuse (``held``), most ever in use (``peak``); number of
        ``allocations`` asked for so far."""
        return {"active": self._active(), "held": self._held(), "peak": self.peak,
                "allocations": self.allocations}

    def empty(self) -> None:
        """Give held blocks back to the driver."""
        self._device.queue.finish()
        self._pool.free_held()

    def __repr__(self) -> str:
        return f"Pool({self._device}, " + ", ".join(f"{k}={v:,}" for k, v in self.stats().items()) + ")"
