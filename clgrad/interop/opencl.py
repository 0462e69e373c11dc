"""Sharing memory with pyopencl code: an Array around a buffer of the user's, and the buffer under an Array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..autograd.variable import Variable
from ..core import dtypes, shapes
from ..core.errors import ShapeError, bad
from ..ndarray import Array, Storage, no_float64
from ..runtime import adopt


class Memory(NamedTuple):
    """Where an array's elements lie: a pyopencl buffer, the byte offset of the first element in it, the strides in
    bytes, and the in-order queue that everything on it goes through (``queue.context`` is its context)."""

    buffer: Any
    offset: int
    strides: tuple[int, ...]
    queue: Any


def opencl(self: Array | Variable) -> Memory:
    """The OpenCL memory under the array, for kernels of one's own: buffer, byte offset, byte strides and queue.

    Commands enqueued on that queue run in order with clgrad's. With another queue, wait on both sides:
    ``clgrad.synchronize(x.device)`` before using the memory, ``finish()`` on the other queue before clgrad does.
    The array must live as long as the buffer is used: its memory is given to other arrays afterwards. What is written
    this way is not counted as an in-place write by autograd. ``buffer`` is None for an array without elements.
    """
    if isinstance(self, Variable):
        self = self.data
    if self.device.lost is not None:
        raise self.device.lost_error()
    item = self.itemsize
    return Memory(self.storage.buffer, self.offset * item, tuple(s * item for s in self.strides), self.device.queue)


def array_from_opencl(buffer: Any, dtype: Any, shape: int | Sequence[int], strides: Sequence[int] | None = None,
                      offset: int = 0, *, queue: Any = None) -> Array:
    """An Array in the memory of a ``pyopencl.Buffer`` (or a pyopencl array's ``.data``), without a copy.

    ``strides`` (default: row-major) and ``offset`` count elements, as everywhere in clgrad. The buffer stays alive as
    long as the Array does, and must allow reading and writing. Its context becomes a clgrad device of its own, the
    same one for all its buffers, whose ops run on ``queue`` (in-order) where one is given: then they need no
    synchronisation with other commands on it. Without ``queue`` the device makes a queue: call ``finish()`` on yours
    before, and ``clgrad.synchronize(x.device)`` before using the results.
    """
    d = dtypes.dtype(dtype)
    size = (int(shape),) if isinstance(shape, int) else tuple(int(n) for n in shape)
    steps = shapes.contiguous_strides(size) if strides is None else tuple(int(s) for s in strides)
    if len(steps) != len(size) or any(n < 0 for n in size):
        raise ShapeError(bad("from_opencl", f"shape {size} with strides {steps}",
                             "sizes of 0 or more and a stride for each", "Strides count elements."))
    device = adopt.device_of(buffer, queue)
    if d.name == "float64" and not device.facts.fp64:
        raise no_float64(device)
    available = adopt.size_of(buffer)
    low, high = shapes.extent(size, steps)
    if 0 not in size and (offset + low < 0 or (offset + high + 1) * d.itemsize > available):
        raise ShapeError(bad("from_opencl", f"elements {offset + low} to {offset + high} of {d.itemsize} bytes each",
                             f"elements within the buffer's {available:,} bytes", "Check shape, strides and offset."))
    steps = tuple(c if n == 1 else s for n, s, c in zip(size, steps, shapes.contiguous_strides(size)))
    return Array(Storage.around(device, buffer, available), size, steps, int(offset), d)


def from_opencl(buffer: Any, dtype: Any, shape: int | Sequence[int], strides: Sequence[int] | None = None,
                offset: int = 0, *, queue: Any = None, requires_grad: bool = False) -> Variable:
    """As :func:`clgrad.array.from_opencl`, but a Variable."""
    return Variable(array_from_opencl(buffer, dtype, shape, strides, offset, queue=queue), requires_grad)


def attach() -> None:
    """Give Array and Variable the method ``opencl``."""
    Array.opencl = Variable.opencl = opencl


