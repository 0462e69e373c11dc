"""The one launcher and the one copier: every kernel and every host-device copy of clgrad goes through here.

A plan's kernels go through :class:`Launch`, what is launched once through :func:`launch`.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..core.config import config
from ..core.errors import DeviceError
from .device import device as find_device
from .device import opened_devices
from .program import is_direct

if TYPE_CHECKING:
    from .device import Device
    from .program import Kernel

_FILLED = 1 << 20  # bytes from which on a kernel fills memory
_recent: deque[str] = deque(maxlen=8)  # named when a device is lost: the fault may be older than the call that fails


def launch(kernel: Kernel, gsize: tuple[int, ...], lsize: tuple[int, ...], *args: Any, nbytes: int = 0,
           flops: int = 0) -> None:
    """Enqueue a kernel on its device's queue. ``nbytes`` and ``flops`` are its work, for CLGRAD_DEBUG=2."""
    device = kernel.device
    if device.lost is not None:
        raise device.lost_error()
    try:
        enqueue = kernel.local.enqueue
    except AttributeError:
        enqueue = kernel.bind()
    if config.debug >= 2 or config.sync or config.check:
        _watched(kernel, gsize, lsize, lambda: enqueue(device.queue, gsize, lsize, *args), nbytes, flops)
        return
    _recent.append(kernel.label)
    try:
        enqueue(device.queue, gsize, lsize, *args)
    except Exception as error:
        _fault(device, kernel.label, error)


class Launch:
    """A prepared launch, part of a plan. Among its arguments an int, a float or None is itself; all else, ``names``,
    is what a call fills in, in order.

    A thread that launches it has a kernel object of its own, in which the arguments that stay are set once:
    ``local.fire``, made by :meth:`bind`, takes the values of ``names`` in order. ``nbytes`` and ``flops`` are its work,
    for CLGRAD_DEBUG=2. GroupLimitError says where the kernel takes fewer work-items a group than ``lsize`` has.
    """

    __slots__ = ("args", "flops", "gsize", "kernel", "local", "lsize", "names", "nbytes")

    def __init__(self, kernel: Kernel, gsize: tuple[int, ...], lsize: tuple[int, ...], args: Sequence[Any],
                 nbytes: int = 0, flops: int = 0) -> None:
        kernel.check(lsize)
        self.kernel = kernel
        self.gsize = gsize
        self.lsize = lsize
        # A size that came from NumPy is as fixed as any.
        self.args = tuple([int(a) if isinstance(a, np.integer) else a for a in args])
        self.names = tuple(a for a in self.args if type(a) not in _FIXED)
        self.nbytes = nbytes
        self.flops = flops
        self.local = threading.local()

    def __call__(self, *values: Any) -> None:
        try:
            fire = self.local.fire
        except AttributeError:
            fire = self.bind()
        fire(*values)

    def bind(self) -> Callable[..., None]:
        """The current thread's ``fire``."""
        import pyopencl as cl

        k, signature = self.kernel.new(), self.kernel.signature
        if is_direct(k):
            for i, (a, s) in enumerate(zip(self.args, signature)):
                if type(a) in _FIXED:
                    k._set_arg_multi((i, a)) if s == "P" else k._set_arg_buf_pack_multi((i, s.encode(), a))
            varying = "".join("-" if type(a) in _FIXED else s for a, s in zip(self.args, signature))
            fire = _firing(varying)(self.kernel, k, cl.enqueue_nd_range_kernel, self.gsize, self.lsize, self.nbytes,
                                    self.flops)
        else:
            fire = partial(_by_call, self.kernel, self.gsize, self.lsize, self.args, self.nbytes, self.flops)
        self.local.fire = fire
        return fire


_FIXED = (int, float, type(None))


def _by_call(kernel: Kernel, gsize: tuple, lsize: tuple, args: tuple, nbytes: int, flops: int, *values: Any) -> None:
    """``fire`` where a kernel object takes all arguments at each call."""
    rest = iter(values)
    launch(kernel, gsize, lsize, *(a if type(a) in _FIXED else next(rest) for a in args), nbytes=nbytes, flops=flops)


@lru_cache(1024)
def _firing(varying: str) -> Callable[..., Callable[..., None]]:
    """What makes ``fire`` of a launch whose varying arguments have these letters; "-" stands for one that stays.

    Integers, which are offsets, are set where they differ from those of the last call.
    """
    def listed(letters: str) -> str:
        return "".join(f"{i}, {s.encode()!r}, a{i}, " for i, s in enumerate(varying) if s in letters)

    pointers = "".join(f"{i}, a{i}, " for i, s in enumerate(varying) if s == "P")
    integers = "".join(f"a{i}, " for i, s in enumerate(varying) if s in "iIlL")
    lines = ["def firing(kernel, k, enqueue, gsize, lsize, nbytes, flops):",
             " device, label, queue, placed = kernel.device, kernel.label, kernel.device.queue, None",
             " pointers, numbers = k._set_arg_multi, k._set_arg_buf_pack_multi",
             f" def fire({', '.join(f'a{i}' for i, s in enumerate(varying) if s != '-')}):",
             "  nonlocal placed",
             "  if device.lost is not None: raise device.lost_error()",
             "  try:",
             *([f"   pointers(({pointers}))"] if pointers else ()),
             *([f"   if placed != ({integers}):", "    placed = None", f"    numbers(({listed('iIlL')}))",
                f"    placed = ({integers})"] if integers else ()),
             *([f"   numbers(({listed('fd')}))"] if listed("fd") else ()),
             "   if config.debug >= 2 or config.sync or config.check:",
             "    work = lambda: enqueue(queue, k, gsize, lsize)",
             "    return _watched(kernel, gsize, lsize, work, nbytes, flops)",
             "   _recent.append(label)",
             "   enqueue(queue, k, gsize, lsize)",
             "  except Exception as error: _fault(device, label, error)",
             " return fire"]
    made: dict[str, Any] = {}
    exec("\n".join(lines), globals(), made)
    return made["firing"]


def _watched(kernel: Kernel, gsize: tuple, lsize: tuple, work: Callable[[], Any], nbytes: int, flops: int) -> None:
    """Launch and wait, so that a fault shows at its own call and the time is the kernel's."""
    device = kernel.device
    _recent.append(kernel.label)
    device.queue.finish()
    start = time.perf_counter()
    try:
        work()
        device.queue.finish()
    except Exception as error:
        _fault(device, kernel.label, error)
    if config.check and device.watched:
        _raise_reported(device)
    if config.debug >= 2:
        seconds = time.perf_counter() - start
        line = f"clgrad: {device} {kernel.label:<28} {seconds * 1e6:9.1f} us"
        if nbytes:
            line += f" {nbytes / seconds / 1e9:8.2f} GB/s"
        if flops:
            line += f" {flops / seconds / 1e9:8.1f} GFLOP/s"
        if config.debug >= 3:
            line += f"  global {gsize} local {lsize}"
        print(line, file=sys.stderr)


_FATAL = ("DEVICE_NOT_AVAILABLE", "INVALID_CONTEXT", "INVALID_COMMAND_QUEUE", "OUT_OF_RESOURCES",
          "EXEC_STATUS_ERROR_FOR_EVENTS")


def _fault(device: Device, label: str, error: Exception) -> None:
    """Re-raise a driver's error with the op's name; mark the device lost where its context cannot be used again."""
    import pyopencl as cl

    if not isinstance(error, cl.Error):
        raise error
    text = str(error)
    if any(code in text for code in _FATAL):
        device.lost = (f"lost after {label} ({text}). Last launches: {', '.join(_recent) or label}. A launch's fault "
                       "may show at a later call: run again with CLGRAD_SYNC=1. Restart the process to go on.")
        raise device.lost_error() from error
    raise DeviceError(f"{label}: device {device} answered {text}. "
                      "Run with CLGRAD_DEBUG=3 to see the launch.") from error


def watch(device: Device, op: str) -> Any:
    """The buffer in which kernels of ``device`` report an index out of range; read at the next synchronisation."""
    import pyopencl as cl

    if device.fault is None:
        device.fault = device.pool.allocate(32)
        _copy(device, lambda _: cl.enqueue_fill_buffer(device.queue, device.fault, np.int64(0), 0, 32), "watch")
    if op not in device.watched:
        device.watched.append(op)
    return device.fault


def _raise_reported(device: Device) -> None:
    """Raise the out-of-range index that a kernel reported since the last synchronisation, if any."""
    import pyopencl as cl

    found = np.empty(4, np.int64)
    ops, device.watched = device.watched, []
    _copy(device, lambda _: cl.enqueue_copy(device.queue, found, device.fault), "synchronize")
    if found[0]:
        _copy(device, lambda _: cl.enqueue_fill_buffer(device.queue, device.fault, np.int64(0), 0, 32), "watch")
        index, axis, size = found[1:].tolist()
        raise IndexError(f"{' or '.join(ops)}: got index {index} on axis {axis} of size {size}; expected "
                         f"-{size} <= index < {size}. Found on {device} since the last synchronisation: "
                         "CLGRAD_CHECK=1 raises at the call itself.")


def synchronize(device: Any = None) -> None:
    """Wait until everything enqueued on a device (default: the default device) has finished."""
    target = find_device(device)
    _wait(target)


def _wait(device: Device) -> None:
    if device.lost is not None:
        raise device.lost_error()
    try:
        device.queue.finish()
    except Exception as error:
        _fault(device, "synchronize", error)
    if device.watched:
        _raise_reported(device)


def to_device(device: Device, buffer: Any, host: np.ndarray) -> None:
    """Copy a C-contiguous host array into a buffer; blocks until the host memory may be reused."""
    if host.nbytes == 0:
        return
    device.copies.to_device += 1
    device.copies.bytes_to_device += host.nbytes
    _copy(device, lambda cl: cl.enqueue_copy(device.queue, buffer, host), "copy to device")


def to_host(device: Device, buffer: Any, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new host array with the contents at a byte offset of a buffer; waits for what writes it."""
    if 0 in shape:
        return np.empty(shape, dtype)
    if device.watched:
        _raise_reported(device)
    device.copies.to_host += 1
    result: np.ndarray

    def mapped(cl: Any) -> None:
        # Devices that share the host's memory hand it out at once; a read would copy it page by page.
        nonlocal result
        view, _ = cl.enqueue_map_buffer(device.queue, buffer, cl.map_flags.READ, offset, shape, dtype)
        result = view.copy()
        view.base.release(device.queue)

    def read(cl: Any) -> None:
        nonlocal result
        result = np.empty(shape, dtype)
        cl.enqueue_copy(device.queue, result, buffer, src_offset=offset)

    _copy(device, mapped if device.facts.unified_memory else read, "copy to host")
    device.copies.bytes_to_host += result.nbytes
    return result


def fill(device: Device, buffer: Any, value: np.generic, count: int) -> None:
    """Set the first ``count`` elements of a buffer to a NumPy scalar, on the device."""
    if count:
        pattern = np.asarray(value)
        size = count * pattern.nbytes
        if device.wide_core and size >= _FILLED and pattern.nbytes <= 8:  # drivers do it on one core
            _fill_by_kernel(device, buffer, pattern, size)
        else:
            _copy(device, lambda cl: cl.enqueue_fill_buffer(device.queue, buffer, pattern, 0, size), "fill")


def _fill_by_kernel(device: Device, buffer: Any, pattern: np.ndarray, size: int) -> None:
    from .program import kernel

    stream = size >= kernels.template("elementwise").module.DEFAULT["wide"]["stream"]
    k = kernel(device, "fill", "fill", "PLl", "fill", stream=stream)
    bits = int.from_bytes(pattern.tobytes() * (8 // pattern.nbytes), "little")
    launch(k, (4 * device.facts.compute_units,), (1,), buffer, bits, size, nbytes=size)


def _copy(device: Device, run: Callable[[Any], None], what: str) -> None:
    import pyopencl as cl

    if device.lost is not None:
        raise device.lost_error()
    try:
        run(cl)
    except cl.Error as error:
        _fault(device, what, error)


def memory_stats(device: Any = None) -> dict[str, int]:
    """``active``, ``held`` and ``peak`` bytes of a device's pool and its number of ``allocations``."""
    return find_device(device).memory_stats()


def empty_cache(device: Any = None) -> None:
    """Give the memory that a device's pool holds for reuse back to the driver."""
    find_device(device).pool.empty()


@atexit.register
def _report() -> None:
    if config.debug >= 1:
        for device in opened_devices():
            if device.lost is None:
                print(f"clgrad: {device} ({device.name}): {device.pool!r}, {device.copies!r}", file=sys.stderr)
