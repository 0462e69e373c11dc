"""Copies to a device that overlap its computation: a ring of staging buffers, filled through a queue of its own.

A pool's blocks are safe only on the device's one queue, so the second queue never writes into them: a background thread
writes a batch into a slot of the ring, and the consumer copies from the slot to the pool's memory on the device's own
queue. A slot is written again once that copy has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .device import Device
from .launch import _copy

_ALIGNMENT = 256


class Staged:
    """Host arrays on their way: they lie in a slot, at ``offsets``."""

    __slots__ = ("arrays", "offsets", "slot")

    def __init__(self, slot: Slot, arrays: Sequence[np.ndarray], offsets: Sequence[int]) -> None:
        self.slot = slot
        self.arrays = [(a.shape, a.dtype, a.nbytes) for a in arrays]
        self.offsets = offsets

    def take(self, index: int, buffer: Any) -> None:
        """Copy one of the arrays into a buffer of the pool, on the device's queue. The consumer's thread calls this."""
        nbytes = self.arrays[index][2]
        if nbytes:
            self.slot.read(buffer, self.offsets[index], nbytes)


class Slot:
    """One staging buffer: pinned host memory, and where the device has memory of its own, a buffer there."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._size = 0
        self._host: Any = None
        self._buffer: Any = None
        self._pending: Any = None  # the last copy out of the slot

    def write(self, queue: Any, arrays: Sequence[np.ndarray], offsets: Sequence[int], size: int) -> None:
        """Fill the slot by way of ``queue``; returns when the device has the bytes."""
        _copy(self._device, lambda cl: self._write(cl, queue, arrays, offsets, size), "stage")

    def _write(self, cl: Any, queue: Any, arrays: Sequence[np.ndarray], offsets: Sequence[int], size: int) -> None:
        if self._pending is not None:
            self._pending.wait()
            self._pending = None
        if size == 0:
            return
        if size > self._size:
            self._grow(cl, size)
        view, _ = cl.enqueue_map_buffer(queue, self._host, cl.map_flags.WRITE, 0, (size,), np.dtype(np.uint8))
        for a, offset in zip(arrays, offsets):
            view[offset:offset + a.nbytes].view(a.dtype).reshape(a.shape)[...] = a
        view.base.release(queue)
        if self._buffer is not self._host:
            cl.enqueue_copy(queue, self._buffer, self._host, byte_count=size)
        queue.finish()

    def _grow(self, cl: Any, size: int) -> None:
        flags = cl.mem_flags.READ_WRITE
        self._host = cl.Buffer(self._device.context, flags | cl.mem_flags.ALLOC_HOST_PTR, size)
        shared = self._device.facts.unified_memory
        self._buffer = self._host if shared else cl.Buffer(self._device.context, flags, size)
        self._size = size

    def read(self, buffer: Any, offset: int, nbytes: int) -> None:
        """Enqueue the copy of a part of the slot into ``buffer``."""
        def run(cl: Any) -> None:
            self._pending = cl.enqueue_copy(self._device.queue, buffer, self._buffer, byte_count=nbytes,
                                            src_offset=offset, dst_offset=0)
            self._device.queue.flush()

        self._device.copies.to_device += 1
        self._device.copies.bytes_to_device += nbytes
        _copy(self._device, run, "copy to device")


class Stager:
    """A ring of ``slots`` staging buffers of a device. One thread stages, one takes; a batch that was staged must be
    taken before ``slots`` more are."""

    def __init__(self, device: Device, slots: int) -> None:
        import pyopencl as cl

        self._queue = cl.CommandQueue(device.context, device._cl)
        self._slots = [Slot(device) for _ in range(slots)]
        self._next = 0

    def stage(self, arrays: Sequence[np.ndarray]) -> Staged:
        """Send host arrays to the next slot."""
        offsets, size = [], 0
        for a in arrays:
            offsets.append(size)
            size += -(-a.nbytes // _ALIGNMENT) * _ALIGNMENT
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        slot.write(self._queue, arrays, offsets, size)
        return Staged(slot, arrays, offsets)
