"""Devices for contexts and queues that others made: memory of their context is used where it lies."""

from __future__ import annotations

import threading
from typing import Any

from ..core.errors import DeviceError, DTypeError, bad
from .device import Device, devices, opened_devices

_lock = threading.Lock()
_adopted: dict[tuple[int, int, int], Device] = {}  # context, OpenCL device and queue by their handles


def device_of(buffer: Any, queue: Any = None) -> Device:
    """The device of a pyopencl buffer's context: one of clgrad's own, or one made for that context and ``queue``.

    A device so made is named after the one it is, with a number: ``"pocl:0/1"``. It is kept, and its context with it,
    for the rest of the process, as its kernels are.
    """
    import pyopencl as cl

    if not isinstance(buffer, cl.MemoryObjectHolder) or buffer.type != cl.mem_object_type.BUFFER:
        raise DTypeError(bad("from_opencl", type(buffer).__name__, "a pyopencl.Buffer",
                             "Of a pyopencl array pass .base_data, with .offset in elements."))
    _check_access(cl, buffer)
    context = buffer.context
    if queue is not None:
        _check_queue(cl, queue, context)
    for device in opened_devices():
        if device.context.int_ptr == context.int_ptr and (queue is None or device.queue.int_ptr == queue.int_ptr):
            return device
    cl_device = queue.device if queue is not None else _only_device(context)
    key = (context.int_ptr, cl_device.int_ptr, 0 if queue is None else queue.int_ptr)
    with _lock:
        if key not in _adopted:
            _adopted[key] = _adopt(cl_device, context, queue)
        return _adopted[key]


def size_of(buffer: Any) -> int:
    """Bytes of a pyopencl buffer."""
    return int(buffer.size)


def _check_access(cl: Any, buffer: Any) -> None:
    flags = buffer.flags
    if flags & (cl.mem_flags.READ_ONLY | cl.mem_flags.WRITE_ONLY):
        raise BufferError(bad("from_opencl", "a buffer that kernels may only read, or only write",
                              "one made with mem_flags.READ_WRITE", "Copy it into such a buffer first."))


def _check_queue(cl: Any, queue: Any, context: Any) -> None:
    if queue.context.int_ptr != context.int_ptr:
        raise DeviceError(bad("from_opencl", "a queue of another context", "one of the buffer's context",
                              "Make it with pyopencl.CommandQueue(buffer.context)."))
    if queue.properties & cl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE:
        raise DeviceError(bad("from_opencl", "an out-of-order queue", "an in-order one",
                              "Ops rely on the order they are enqueued in: make a queue without that property."))


def _only_device(context: Any) -> Any:
    if len(context.devices) > 1:
        raise DeviceError(bad("from_opencl", f"a context of {len(context.devices)} devices", "to know which one to use",
                              "Pass queue=, a queue of the device."))
    return context.devices[0]


def _adopt(cl_device: Any, context: Any, queue: Any) -> Device:
    base = next((d for d in devices() if d._cl == cl_device), None)
    if base is None:
        raise DeviceError(bad("from_opencl", f"a buffer on {cl_device.name.strip()}", "a device of clgrad.devices()",
                              "Sub-devices are not supported: make the context of the whole device."))
    device = Device(cl_device, f"{base.key}/{len(_adopted) + 1}", base.index)
    device.open(context, queue)
    return device
