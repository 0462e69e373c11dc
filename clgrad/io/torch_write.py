"""Checkpoints that ``torch.load(weights_only=True)`` reads: a zip of storages and a pickle whose opcodes are laid here.

The stream uses protocol 2 and names only PyTorch's own rebuilding functions and plain containers.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core.dtypes import DType
from ..core.errors import bad
from ..ndarray import Array
from ..nn import Parameter
from ..runtime.device import Device
from . import torch_types

_ALIGNMENT = 64
_VERSION = b"3\n"


class Stream:
    """A pickle as it grows. Containers, tensors and strings that were laid before are named by their number."""

    def __init__(self) -> None:
        self._out = bytearray(b"\x80\x02")
        self._memo: dict[Any, int] = {}
        self._keep: list[Any] = []  # what the memo knows by id must live as long
        self._open: set[int] = set()
        self.storages: dict[tuple[int, DType], tuple[str, Array]] = {}

    def finish(self, value: Any) -> bytes:
        """The pickle of a value."""
        try:
            self.put(value)
        except RecursionError:
            raise ValueError(bad("save", "containers nested too deep", "fewer levels", "Flatten them.")) from None
        return bytes(self._out + b".")

    def put(self, value: Any) -> None:
        """Lay one value; TypeError where the format has no place for its type."""
        kind = type(value)
        writer = _WRITERS.get(kind)
        if writer is None:
            writer = next((w for base, w in _BASES if isinstance(value, base)), None)
        if writer is None:
            raise TypeError(bad("save", f"a {kind.__module__}.{kind.__qualname__}", "arrays, modules, numbers, strings "
                                "and containers of them", "Save its state as these, or leave it out."))
        if kind in _ATOMS or not self._known(id(value)):
            writer(self, value)

    # Memo ------------------------------------------------------------------------------------------------------------

    def _known(self, key: Any) -> bool:
        number = self._memo.get(key)
        if number is None:
            if key in self._open:
                raise ValueError(bad("save", "a tuple that contains itself", "containers without cycles",
                                     "Break the cycle."))
            return False
        self._out += b"h" + bytes([number]) if number < 256 else b"j" + struct.pack("<I", number)
        return True

    def _memoise(self, key: Any, keep: Any = None) -> None:
        number = self._memo[key] = len(self._memo)
        self._keep.append(keep)
        self._out += b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number)

    # Values ----------------------------------------------------------------------------------------------------------

    def raw(self, code: bytes) -> None:
        """Opcodes as they are."""
        self._out += code

    def text(self, value: str) -> None:
        """A string, once."""
        if not self._known(value):
            data = value.encode("utf-8", "surrogatepass")
            self._out += b"X" + struct.pack("<I", len(data)) + data
            self._memoise(value)

    def integer(self, value: int) -> None:
        """An int of any size."""
        if 0 <= value < 256:
            self._out += b"K" + bytes([value])
        elif -(2**31) <= value < 2**31:
            self._out += b"J" + struct.pack("<i", value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            if len(data) > 64:
                raise ValueError(bad("save", f"an int of {value.bit_length()} bits", "at most 511", "Save it as text."))
            self._out += b"\x8a" + bytes([len(data)]) + data

    def name(self, module: str, name: str) -> None:
        """A global, once."""
        if not self._known((module, name)):
            self._out += f"c{module}\n{name}\n".encode()
            self._memoise((module, name))

    def call(self, module: str, name: str, *arguments: Callable[[], None]) -> None:
        """A call of a global; each argument lays itself."""
        self.name(module, name)
        self.laid_tuple(*arguments)
        self._out += b"R"

    def laid_tuple(self, *parts: Callable[[], None]) -> None:
        """A tuple of parts that lay themselves."""
        self._out += b"(" if len(parts) > 3 else b""
        for part in parts:
            part()
        self._out += b")\x85\x86\x87"[len(parts):len(parts) + 1] if len(parts) < 4 else b"t"

    def container(self, value: Any, empty: Callable[[], None], fill: Callable[[], None]) -> None:
        """A container that is known before its contents are, so that it may contain itself."""
        empty()
        self._memoise(id(value), value)
        fill()

    def items(self, value: dict) -> None:
        """Keys and values of a dict that lies on the stack."""
        for k, v in value.items():
            self.put(k)
            self.put(v)
            self._out += b"s"

    def tuple_(self, value: tuple) -> None:
        """A tuple; a torch.Size and a named tuple become plain ones."""
        self._open.add(id(value))
        self.laid_tuple(*[(lambda v=v: self.put(v)) for v in value])
        self._open.discard(id(value))
        if value:
            self._memoise(id(value), value)

    # Tensors ---------------------------------------------------------------------------------------------------------

    def tensor(self, value: Any) -> None:
        """A Variable or an Array; of a Parameter, the call that makes one."""
        array = unwrap(value)
        requires_grad = isinstance(value, Variable) and value.requires_grad and value.is_leaf
        if isinstance(value, Parameter):
            self.call("torch._utils", "_rebuild_parameter", lambda: self._array(array, False),
                      lambda: self.put(requires_grad), self._no_hooks)
        else:
            self._array(array, requires_grad)
        self._memoise(id(value), value)

    def _array(self, array: Array, requires_grad: bool) -> None:
        if any(s < 0 for s in array.strides) and array.size:
            array = array.contiguous()  # PyTorch has no negative strides
        strides = array.strides if array.size else _row_major(array.shape)
        untyped = array.dtype not in torch_types.STORAGE_OF
        parts = [lambda: self._storage(array, untyped), lambda: self.integer(array.offset if array.size else 0),
                 lambda: self.put(tuple(array.shape)), lambda: self.put(tuple(strides)),
                 lambda: self.put(requires_grad), self._no_hooks]
        if untyped:
            self.call("torch._utils", "_rebuild_tensor_v3", *parts, lambda: self.name("torch", array.dtype.name))
        else:
            self.call("torch._utils", "_rebuild_tensor_v2", *parts)

    def _no_hooks(self) -> None:
        self.name("collections", "OrderedDict")
        self._out += b")R"

    def _storage(self, array: Array, untyped: bool) -> None:
        identity = (id(array.storage), array.dtype)
        if identity not in self.storages:
            self.storages[identity] = str(len(self.storages)), array
        key = self.storages[identity][0]
        count = array.storage.nbytes // array.itemsize * (array.itemsize if untyped else 1)
        kind = ("torch.storage", "UntypedStorage") if untyped else ("torch", torch_types.STORAGE_OF[array.dtype])
        self.laid_tuple(lambda: self.text("storage"), lambda: self.name(*kind), lambda: self.text(key),
                        lambda: self.text("cpu"), lambda: self.integer(count))
        self._out += b"Q"


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(strides[::-1])


def _dict(s: Stream, value: dict) -> None:
    s.container(value, lambda: s.raw(b"}"), lambda: s.items(value))


def _ordered(s: Stream, value: OrderedDict) -> None:
    def fill() -> None:
        s.items(value)
        if value.__dict__:
            s.put(dict(value.__dict__))
            s.raw(b"b")

    s.container(value, lambda: (s.name("collections", "OrderedDict"), s.raw(b")R")), fill)


def _list(s: Stream, value: list) -> None:
    def fill() -> None:
        for v in value:
            s.put(v)
            s.raw(b"a")

    s.container(value, lambda: s.raw(b"]"), fill)


def _set(s: Stream, value: Any) -> None:
    s.call("__builtin__", "set", lambda: s.put(list(value)))


def _binary(s: Stream, value: Any) -> None:
    s.call("_codecs", "encode", lambda: s.text(bytes(value).decode("latin1")), lambda: s.text("latin1"))


def _number(s: Stream, value: np.generic) -> None:
    s.put(value.item())


_ATOMS = {type(None), bool, int, float, complex, str, DType, bytes}
_WRITERS: dict[type, Callable[[Stream, Any], None]] = {
    type(None): lambda s, v: s.raw(b"N"),
    bool: lambda s, v: s.raw(b"\x88" if v else b"\x89"),
    int: Stream.integer,
    float: lambda s, v: s.raw(b"G" + struct.pack(">d", v)),
    complex: lambda s, v: s.call("__builtin__", "complex", lambda: s.put(v.real), lambda: s.put(v.imag)),
    str: Stream.text,
    bytes: _binary,
    DType: lambda s, v: s.name("torch", v.name),
    dict: _dict,
    OrderedDict: _ordered,
    list: _list,
    tuple: Stream.tuple_,
    set: _set,
}
_BASES: tuple[tuple[type, Callable[[Stream, Any], None]], ...] = (
    (Variable, Stream.tensor), (Array, Stream.tensor), (np.bool_, _number), (np.number, _number),
    (Device, lambda s, v: s.text(str(v))), (tuple, Stream.tuple_), (OrderedDict, _ordered),
    (dict, _dict), (frozenset, _set), (str, Stream.text), (int, lambda s, v: s.integer(int(v))),
)


# The file ----------------------------------------------------------------------------------------------------------


def write(value: Any, file: BinaryIO) -> None:
    """Write a checkpoint in PyTorch's zip format. Views of one memory share it in the file too."""
    stream = Stream()
    pickled = stream.finish(value)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _record(archive, "data.pkl", pickled)
        _record(archive, "byteorder", sys.byteorder.encode())
        for key, array in stream.storages.values():
            _record(archive, f"data/{key}", _contents(array))
        _record(archive, "version", _VERSION)


def _contents(array: Array) -> Any:
    """The bytes of all the memory that an array lies in, read as its dtype."""
    count = array.storage.nbytes // array.itemsize
    flat = Array(array.storage, (count,), (1,), 0, array.dtype)
    return memoryview(flat.numpy().view(np.uint8))


def _record(archive: zipfile.ZipFile, name: str, data: Any) -> None:
    """A record whose bytes begin at a multiple of 64, as PyTorch's do, by padding in its header."""
    info = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
    start = archive.fp.tell() + 30 + len(info.filename)  # type: ignore[union-attr]
    padding = -(start + 4) % _ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    archive.writestr(info, data)
