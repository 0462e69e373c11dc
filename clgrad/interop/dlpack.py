"""DLPack: arrays handed to other libraries and taken from them, without a copy where host and device share memory.

Capsules are made and consumed by NumPy, over memory that a device has mapped: its deleters are C, may run in any
thread, with the interpreter's lock or without it, and past the interpreter's end. What NumPy has no dtype for
(bfloat16) travels as unsigned integers of its size, with the code in the capsule changed.

Who shares memory must wait for each other. Exporting waits for everything enqueued; after later ops on the array,
call :func:`clgrad.synchronize` before the other side reads or writes. What the other side writes is seen by ops
called afterwards, but not counted as an in-place write by autograd.
Source of the structures: dmlc.github.io/dlpack/latest/c_api.html.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

from ..autograd.variable import Variable
from ..core import dtypes, shapes
from ..core.dtypes import DType
from ..core.errors import bad
from ..ndarray import Array, Storage, from_host, move
from ..runtime import share
from ..runtime.device import Device
from ..runtime.device import device as find_device

CPU, OPENCL = 1, 4  # kDLCPU, kDLOpenCL
_HOST_KINDS = (CPU, 3, 11)  # and host memory pinned by CUDA or ROCm
_BFLOAT = 4
_COPIED = 2
_HAS_VERSIONS = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                ("byte_offset", ctypes.c_uint64))


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Versioned(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor))


_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi))


def _content(capsule: Any) -> _Managed | _Versioned:
    """The structure inside a capsule that nobody has consumed."""
    for name, kind in ((b"dltensor_versioned", _Versioned), (b"dltensor", _Managed)):
        if _is_valid(capsule, name):
            return kind.from_address(_pointer(capsule, name))
    raise BufferError(bad("from_dlpack", "a capsule that holds no tensor, or whose tensor was taken already",
                          "a fresh one", "Ask its maker for another."))


# Out ---------------------------------------------------------------------------------------------------------------


def device_of(x: Array) -> tuple[int, int]:
    """DLPack's type and number of the device: the CPU where it shares the host's memory, else OpenCL."""
    return (CPU, 0) if x.device.shares_host else (OPENCL, x.device.index)


def host_view(x: Array) -> np.ndarray:
    """A NumPy array of the device's own memory, which stays mapped while the NumPy array lives. float types that
    NumPy lacks are read as unsigned integers."""
    kind = _carrier(x.dtype)
    if x.size == 0 or x.storage.buffer is None:
        return np.empty(x.shape, kind)
    whole = np.asarray(share.mapping(x.storage))
    return np.ndarray(x.shape, kind, whole, x.offset * x.itemsize, tuple(s * x.itemsize for s in x.strides))


def _carrier(d: DType) -> np.dtype:
    return np.dtype(np.uint16) if d.name == "bfloat16" else d.np


def capsule(x: Array, *, stream: Any = None, max_version: tuple[int, int] | None = None,
            dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
    """See :meth:`Array.__dlpack__`."""
    if stream is not None:
        raise BufferError(bad("__dlpack__", f"stream={stream!r}", "None", "Host memory has no streams."))
    own = device_of(x)
    if own[0] == CPU and dl_device in (None, own):
        if copy is None and any(s < 0 for s in x.strides):
            copy = True  # PyTorch 2.13 ends the process on these
        if copy is False and any(s < 0 for s in x.strides):
            raise BufferError(bad("__dlpack__", f"copy=False for strides {x.strides}", "strides of 0 or more",
                                  "Leave copy out, or use .contiguous()."))
        made = _numpy_capsule(host_view(x), max_version, bool(copy))
        if copy:
            x.device.copies.to_host += 1
            x.device.copies.bytes_to_host += x.nbytes
    elif dl_device == (CPU, 0) and copy is not False:
        carrier = dtypes.dtype(_carrier(x.dtype))
        made = _numpy_capsule(Array(x.storage, x.shape, x.strides, x.offset, carrier).numpy(), max_version, False)
        content = _content(made)
        if isinstance(content, _Versioned):
            content.flags |= _COPIED
    else:
        to = "None" if dl_device is None else f"{dl_device}"
        raise BufferError(bad("__dlpack__", f"an array on {x.device}, dl_device={to}, copy={copy}",
                              "a device whose memory the host shares, or a copy to it that is asked for",
                              "Pass dl_device=(1, 0) and copy=True, or use .numpy()."))
    if x.dtype.name == "bfloat16":
        _content(made).tensor.code = _BFLOAT
    return made


def _numpy_capsule(host: np.ndarray, max_version: tuple[int, int] | None, copy: bool) -> Any:
    if _HAS_VERSIONS:
        return host.__dlpack__(max_version=max_version, copy=True if copy else None)
    return (host.copy() if copy else host).__dlpack__()


def _array_dlpack(self: Array, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                  dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
    """A DLPack capsule of the array's memory, which stays mapped to the host until the last consumer lets go.

    Without a copy on devices that share the host's memory; from others a copy, where it is asked for with
    ``dl_device=(1, 0)``. Negative strides are copied too, for consumers do not bear them. BufferError where neither is
    possible. A ``max_version`` of (1, 0) or more gets a versioned
    capsule. Waits for what computes the array; see :mod:`clgrad.interop.dlpack` on later writes.
    """
    return capsule(self, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def _variable_dlpack(self: Variable, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                     dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
    return capsule(_outside_graph("__dlpack__", self), stream=stream, max_version=max_version, dl_device=dl_device,
                   copy=copy)


def _outside_graph(op: str, x: Array | Variable) -> Array:
    if isinstance(x, Variable):
        if x.requires_grad:
            raise BufferError(bad(op, "a Variable that requires grad", "one outside the graph", "Use .detach()."))
        return x.data
    return x


def _dlpack_device(self: Array | Variable) -> tuple[int, int]:
    """DLPack's (type, number) of the array's device: (1, 0) where it shares the host's memory, else (4, index)."""
    return device_of(self)


def attach() -> None:
    """Give Array and Variable the protocol's two methods."""
    _variable_dlpack.__doc__ = _array_dlpack.__doc__
    for kind, method in ((Array, _array_dlpack), (Variable, _variable_dlpack)):
        kind.__dlpack__ = method
        kind.__dlpack_device__ = _dlpack_device


# In ----------------------------------------------------------------------------------------------------------------


def array_from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """An Array of an object that speaks DLPack (NumPy, PyTorch, JAX, ...), with its shape, strides and dtype.

    Host memory is shared, not copied, by a device that shares the host's: each side sees the other's writes, and the
    object lives as long as the Array. ``copy=None`` copies what cannot be shared (read-only or misaligned memory);
    ``copy=False`` raises BufferError there; ``copy=True`` always copies. An object that cannot say whether its memory
    may be written (JAX's arrays may not) is copied too, but shared with ``copy=False``. Where ``device`` (default: the
    default device) has memory of its own, a copy must be asked for: by ``copy=True`` or by naming the device.
    """
    target = find_device(device)
    if isinstance(x, (Array, Variable)):
        return _from_own(_outside_graph("from_dlpack", x), x.device if device is None else target, copy)
    host, dtype, writable = _imported(x, copy)
    obstacle = _obstacle(host, target, dtype, writable)
    if copy is not True and obstacle is None:
        return _shared(host, target, dtype)
    if copy is False or (copy is None and device is None and not target.shares_host):
        raise BufferError(bad("from_dlpack", f"copy={copy} for {obstacle}", f"memory that {target} can share",
                              "Pass copy=True to have it copied."))
    result = from_host(host, None, target)
    return Array(result.storage, result.shape, result.strides, 0, dtype)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Variable:
    """As :func:`clgrad.array.from_dlpack`, but a Variable."""
    return Variable(array_from_dlpack(x, device=device, copy=copy))


def _from_own(x: Array, target: Device, copy: bool | None) -> Array:
    if x.device is not target and copy is False:
        raise BufferError(bad("from_dlpack", f"copy=False from {x.device} to {target}", "one device",
                              "Pass copy=True to have it copied."))
    result = move(x, target)
    return result.clone() if copy and result is x else x.view(x.shape, x.strides, x.offset) if result is x else result


class _Giver:
    """A capsule in the clothes of an array."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **asked: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        tensor = _content(self._capsule).tensor
        return tensor.device_type, tensor.device_id


def _imported(x: Any, copy: bool | None) -> tuple[np.ndarray, DType, bool]:
    """The object's memory as a NumPy array, the dtype it stands for, and whether it may be written."""
    if isinstance(x, np.ndarray):
        return x, dtypes.dtype(x.dtype), x.flags.writeable
    giver = _Giver(x if type(x).__name__ == "PyCapsule" else _capsule_of(x, copy))
    content = _content(giver._capsule)
    tensor = content.tensor
    unsaid = isinstance(content, _Managed) and _may_write_unsaid(x, copy)
    brain = (tensor.code, tensor.bits, tensor.lanes) == (_BFLOAT, 16, 1)
    if brain:
        if "bfloat16" not in dtypes.NAMES:
            raise BufferError(bad("from_dlpack", "bfloat16", "a dtype that clgrad has", "Convert it to float32."))
        tensor.code = 1  # unsigned integer, for NumPy
    try:
        host = np.from_dlpack(giver)
        return host, dtypes.dtype("bfloat16" if brain else host.dtype), unsaid or host.flags.writeable
    except (BufferError, RuntimeError, TypeError) as error:
        what = f"DLPack dtype (code {tensor.code}, {tensor.bits} bits) on device {giver.__dlpack_device__()}"
        raise BufferError(bad("from_dlpack", f"{what}: {error}", "numbers in host memory",
                              "Convert or move it with its own library first.")) from None


def _may_write_unsaid(x: Any, copy: bool | None) -> bool:
    """Whether memory may be written whose capsule is from before DLPack 1.0, which cannot say so. JAX hands out its
    immutable arrays that way, older PyTorch its tensors; a bare capsule, and copy=False, are the user's word."""
    torch = sys.modules.get("torch")
    return copy is False or type(x).__name__ == "PyCapsule" or (torch is not None and isinstance(x, torch.Tensor))


def _capsule_of(x: Any, copy: bool | None) -> Any:
    """A capsule of host memory from an object that speaks the protocol, in this version of it or the one before."""
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(bad("from_dlpack", type(x).__name__, "an object with __dlpack__ and __dlpack_device__",
                            "Use clgrad.tensor() for host data."))
    place = tuple(map(int, x.__dlpack_device__()))
    asked: dict[str, Any] = {"max_version": (1, 0)} if _HAS_VERSIONS else {}
    if place[0] not in _HOST_KINDS:
        if not copy:
            raise BufferError(bad("from_dlpack", f"memory of DLPack device {place}, copy={copy}",
                                  "host memory, or a copy to it", "Pass copy=True, or move it to the CPU first."))
        asked |= {"dl_device": (CPU, 0), "copy": True}
    try:
        return x.__dlpack__(**asked)
    except TypeError:
        if place[0] in _HOST_KINDS:  # from before DLPack 1.0
            return x.__dlpack__()
        raise BufferError(bad("from_dlpack", f"a {type(x).__name__} on DLPack device {place}, which cannot copy itself "
                              "to the host", "host memory", "Move it to the CPU first.")) from None


def _obstacle(host: np.ndarray, target: Device, dtype: DType, writable: bool) -> str | None:
    """Why a device cannot use this memory as it lies; None where it can."""
    if not target.shares_host:
        return f"host memory, which {target} does not share"
    if not writable:
        return "read-only memory"
    if host.ctypes.data % dtype.itemsize or any(s % dtype.itemsize for s in host.strides):
        return f"memory that is not aligned to {dtype.itemsize} bytes"
    if _span(host)[1] > target.facts.max_alloc:
        return f"{_span(host)[1]:,} bytes, more than the {target.facts.max_alloc:,} of one allocation"
    if dtype.name == "float64" and not target.facts.fp64:
        return "float64"
    return None


def _span(host: np.ndarray) -> tuple[int, int]:
    """First address of the elements' memory, and its bytes with some to spare for the buffer's alignment."""
    low, high = np.lib.array_utils.byte_bounds(host)
    return low, high - low + 4096


def _shared(host: np.ndarray, target: Device, dtype: DType) -> Array:
    """An Array in the memory of ``host``, which it keeps alive."""
    item = dtype.itemsize
    steps = shapes.contiguous_strides(host.shape)
    strides = tuple(c if n == 1 else s // item for n, s, c in zip(host.shape, host.strides, steps))
    if host.size == 0:
        return Array(Storage(target, 0), host.shape, steps, 0, dtype)
    low, high = np.lib.array_utils.byte_bounds(host)
    buffer, lead = share.wrap(target, low, high - low)
    storage = Storage.around(target, buffer, lead + high - low)
    share.release_with(storage, host)
    return Array(storage, host.shape, strides, (lead + host.ctypes.data - low) // item, dtype)
