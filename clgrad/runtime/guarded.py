"""Buffers with borders: what a kernel writes outside of its arrays shows, and what it leaves unwritten is NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .device import Device

_BORDER = 4096  # bytes on either side
_CANARY, _UNWRITTEN = 0xA5, 0xFF  # of bytes: 0xFF.. is a NaN of every float type, and -1


class GuardedPool:
    """Stands in for a device's pool: every block lies between two borders, which :meth:`broken` looks at."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._border = max(_BORDER, device._cl.mem_base_addr_align // 8)
        self._blocks: list[tuple[Any, int]] = []
        self.allocations = 0
        self.peak = 0

    def allocate(self, nbytes: int) -> Any:
        """A buffer of ``nbytes`` within a larger one."""
        import pyopencl as cl

        device, size = self._device, max(nbytes, 64)
        whole = cl.Buffer(device.context, cl.mem_flags.READ_WRITE, size + 2 * self._border)
        for value, start, length in ((_CANARY, 0, self._border), (_UNWRITTEN, self._border, nbytes),
                                     (_CANARY, self._border + nbytes, self._border + size - nbytes)):
            if length:
                cl.enqueue_fill_buffer(device.queue, whole, np.uint8(value), start, length)
        self._blocks.append((whole, nbytes))
        self.allocations += 1
        return whole.get_sub_region(self._border, size)

    def broken(self) -> str:
        """What was written outside of the blocks handed out so far, in words; empty if nothing was."""
        import pyopencl as cl

        for whole, nbytes in self._blocks:
            for start, length, side in ((0, self._border, "before"),
                                        (self._border + nbytes, whole.size - self._border - nbytes, "behind")):
                found = np.empty(length, np.uint8)
                cl.enqueue_copy(self._device.queue, found, whole, src_offset=start)
                wrong = np.flatnonzero(found != _CANARY)
                if wrong.size:
                    far = wrong[0] if side == "behind" else length - 1 - wrong[-1]
                    return f"wrote {wrong.size} bytes {side} a block of {nbytes:,} bytes, {far} from its edge"
        return ""

    def stats(self) -> dict[str, int]:
        """As of a pool; blocks are not reused."""
        size = sum(n for _, n in self._blocks)
        return {"active": size, "held": 0, "peak": size, "allocations": self.allocations}

    def empty(self) -> None:
        """Let all blocks go."""
        self._device.queue.finish()
        self._blocks.clear()
