"""PyTorch's checkpoints (.pt, .pth), zipped or of the older kind, read as data: no pickle is executed.

A file is read in two steps. The first makes Python objects of its pickle, with a :class:`Block` for each storage, and
checks every tensor's place in its storage; the second gives the blocks' bytes to a device.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import sys
import zipfile
import zlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from math import prod
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from ..autograd.variable import Variable
from ..core import dtypes, shapes
from ..core.dtypes import DType
from ..core.errors import CorruptFileError, DTypeError, UnsafeFileError, bad
from ..ndarray import Array, from_host
from ..nn import Parameter
from . import torch_types
from .unpickle import Damage, Machine, Maker

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_PICKLE = 1 << 30  # bytes of a zip's data.pkl
_RECORD = re.compile(r"^[^/\\]+/(?:[A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]+$")


class Block:
    """A storage: its bytes, in the order of this machine, and the device arrays made of them so far."""

    __slots__ = ("arrays", "key", "location", "nbytes", "raw", "swapped")

    def __init__(self, key: str, location: str, nbytes: int) -> None:
        self.key = key
        self.location = location
        self.nbytes = nbytes
        self.raw: Any = None
        self.swapped = False
        self.arrays: dict[tuple, Array] = {}

    def array(self, dtype: DType, device: Any) -> Array:
        """The bytes as elements on a device: every tensor of this storage shares them."""
        if (dtype, device) not in self.arrays:
            host = np.frombuffer(self.raw, np.uint8, self.nbytes // dtype.itemsize * dtype.itemsize)
            self.arrays[dtype, device] = from_host(self._elements(host, dtype), None, device)
        return self.arrays[dtype, device]

    def _elements(self, host: np.ndarray, dtype: DType) -> np.ndarray:
        if dtype is dtypes.bool_:
            return host != 0  # a byte beyond 0 and 1 is no bool on a device
        if self.swapped and dtype.itemsize > 1:
            width = dtype.real.itemsize
            host = host.reshape(-1, width)[:, ::-1].reshape(-1)
        return np.ascontiguousarray(host).view(dtype.np)


class Typed:
    """A storage as a pickle names it: a block, or a part of one, read as elements of one type."""

    __slots__ = ("block", "count", "dtype", "first")

    def __init__(self, block: Block, dtype: DType | None, first: int, count: int) -> None:
        self.block = block
        self.dtype = dtype  # None where each tensor brings its own
        self.first = first
        self.count = count


class Tensor:
    """A tensor whose place is checked, to be made once the bytes are there."""

    __slots__ = ("dtype", "made", "offset", "parameter", "requires_grad", "shape", "storage", "strides")

    def __init__(self, storage: Typed, offset: Any, shape: Any, strides: Any, requires_grad: Any,
                 dtype: DType | None = None) -> None:
        self.dtype = dtype or storage.dtype or dtypes.uint8
        self.storage = storage
        self.shape, self.strides = _counts("size", shape), _counts("strides", strides)
        (self.offset,) = _counts("offset", (offset,))
        self.requires_grad = bool(requires_grad)
        self.parameter = False
        self.made: Variable | None = None
        if len(self.shape) != len(self.strides):
            raise Damage(f"a tensor of {len(self.shape)} sizes and {len(self.strides)} strides")
        held = storage.count if storage.dtype is not None else storage.block.nbytes // self.dtype.itemsize
        if self.requires_grad and self.dtype.kind not in "fc":
            raise Damage(f"a tensor of {self.dtype} that requires a gradient")
        if prod(self.shape) >= 2**63:
            raise Damage(f"a tensor of shape {self.shape}, too large for any machine")
        reach = shapes.extent(self.shape, self.strides)[1] + 1 if prod(self.shape) else 0
        if self.offset + reach > held:
            raise Damage(f"a tensor of shape {self.shape}, strides {self.strides} and offset {self.offset} beyond its "
                         f"storage {storage.block.key!r} of {held} elements")

    def variable(self, device: Any) -> Variable:
        """The Variable, the same one each time."""
        if self.made is None:
            flat = self.storage.block.array(self.dtype, device)
            array = flat.view(self.shape, self.strides, self.offset + self.storage.first)
            self.made = Parameter(array, False) if self.parameter else Variable(array)
            self.made.requires_grad_(self.requires_grad)
        return self.made


def _counts(what: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > 64 or not all(
            type(v) is int and 0 <= v < 2**63 for v in values):
        raise Damage(f"a tensor whose {what} is {str(values)[:80]}")
    return tuple(values)


# What a checkpoint's pickle may name ---------------------------------------------------------------------------------


class _Storage:
    """The class of a storage; its dtype is None for an untyped one."""

    def __init__(self, dtype: DType | None) -> None:
        self.dtype = dtype


class _Foreign:
    """A type that clgrad has not."""

    def __init__(self, name: str) -> None:
        self.name = name


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, hooks: Any = None,
            *rest: Any) -> Tensor:
    return Tensor(_typed(storage), offset, size, stride, requires_grad)


def _tensor_of_dtype(storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any,
                     *rest: Any) -> Tensor:
    if isinstance(dtype, _Foreign):
        raise DTypeError(bad("load", f"a tensor of PyTorch's {dtype.name}", "a dtype that clgrad has",
                             "Convert the tensor with PyTorch first."))
    return Tensor(_typed(storage), offset, size, stride, requires_grad, dtypes.dtype(dtype))


def _typed(storage: Any) -> Typed:
    if not isinstance(storage, Typed):
        raise Damage(f"a tensor in a {type(storage).__name__}")
    return storage


def _parameter(data: Any, requires_grad: Any = True, hooks: Any = None, *state: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise Damage(f"a parameter of a {type(data).__name__}")
    result = Tensor(data.storage, data.offset, data.shape, data.strides, requires_grad, data.dtype)
    result.parameter = True
    return result


def _pairs(make: Callable[[], dict]) -> Callable[..., dict]:
    def of_pairs(pairs: Any = ()) -> dict:
        result = make()
        for key, value in pairs.items() if isinstance(pairs, dict) else pairs:
            if type(key) not in (str, int, float, bool, type(None)):
                raise UnsafeFileError(f"a {type(key).__name__} as a key")
            result[key] = value
        return result

    return of_pairs


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise UnsafeFileError(f"bytes in the encoding {str(encoding)[:40]!r}")
    return text.encode("latin1")


def _default_dict(factory: Any = None) -> dict:
    if factory is not None and not (isinstance(factory, Maker) and factory.name in ("dict", "list", "set", "int")):
        raise UnsafeFileError("a defaultdict whose default is no plain container")
    return defaultdict({"dict": dict, "list": list, "set": set, "int": int}[factory.name] if factory else None)


def _set(values: Any = ()) -> set:
    if not all(type(v) in (str, int, float, bool, complex, bytes, tuple, type(None)) for v in values):
        raise UnsafeFileError("a set of more than plain values")
    return set(values)


def _table() -> dict[str, Any]:
    makers = {
        "collections OrderedDict": _pairs(OrderedDict), "collections defaultdict": _default_dict,
        "collections Counter": _pairs(Counter), "_codecs encode": _encoded,
        "torch._utils _rebuild_tensor": _tensor, "torch._utils _rebuild_tensor_v2": _tensor,
        "torch._utils _rebuild_tensor_v3": _tensor_of_dtype, "torch._utils _rebuild_parameter": _parameter,
        "torch._utils _rebuild_parameter_with_state": _parameter, "torch Size": lambda sizes=(): tuple(sizes),
        "torch device": lambda kind, index=None: str(kind) if index is None else f"{kind}:{int(index)}",
    }
    for module in ("builtins", "__builtin__"):
        makers |= {f"{module} set": _set, f"{module} dict": _pairs(dict), f"{module} list": list,
                   f"{module} int": int, f"{module} complex": complex,
                   f"{module} bytearray": lambda data=b"": bytearray(data)}
    table: dict[str, Any] = {name: Maker(name.partition(" ")[2], make) for name, make in makers.items()}
    for name, dtype in torch_types.STORAGES.items():
        table[f"torch {name}"] = table[f"torch.cuda {name}"] = table[f"torch.storage {name}"] = _Storage(dtype)
    table["torch.storage UntypedStorage"] = table["torch UntypedStorage"] = _Storage(None)
    table |= {f"torch {name}": dtype for name, dtype in torch_types.DTYPES.items()}
    return table | {f"torch {name}": _Foreign(name) for name in torch_types.FOREIGN}


_TABLE = _table()


# Files -------------------------------------------------------------------------------------------------------------


class Checkpoint:
    """A file's objects, with Tensors that know their place, and the storages they lie in."""

    def __init__(self, name: str, trust: bool) -> None:
        self.name = name
        self.trust = trust
        self.blocks: dict[str, Block] = {}
        self.value: Any = None

    def load(self, file: BinaryIO) -> Any:
        """The object of the pickle that comes next, with Tensors to be made."""
        if self.trust:
            return _Trusted(file, self.storage).load()
        return Machine(file, _TABLE, self.storage).load()

    def on_devices(self, device_of: Callable[[str], Any]) -> Any:
        """The object with its tensors as Variables; ``device_of`` gives the device for a location's name."""
        return _made(self.value, device_of, {}, self.trust)

    def storage(self, pid: Any) -> Typed:
        """The storage of a persistent id: ("storage", class, key, location, elements[, part of another])."""
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise UnsafeFileError(f"the persistent id {str(pid)[:80]!r}")
        _, kind, key, location, count, *view = pid
        if isinstance(kind, _Foreign):
            raise DTypeError(bad("load", f"a tensor in PyTorch's {kind.name}", "a dtype that clgrad has",
                                 "Convert the tensor with PyTorch first."))
        if not isinstance(kind, _Storage) or not isinstance(key, str) or not isinstance(location, str) or (
                type(count) is not int or count < 0):
            raise Damage(f"the storage {str(pid)[:80]}")
        nbytes = count * (kind.dtype.itemsize if kind.dtype else 1)
        block = self.blocks.setdefault(key, Block(key, location, nbytes))
        if block.nbytes != nbytes:
            raise Damage(f"the storage {key!r} with {block.nbytes} and {nbytes} bytes")
        return _part(block, kind.dtype, count, view[0] if view else None)


def _part(block: Block, dtype: DType | None, count: int, view: Any) -> Typed:
    if view is None:
        return Typed(block, dtype, 0, count)
    _, first, length = view
    first, length = _counts("part of a storage", (first, length))
    if dtype is None or first + length > count:
        raise Damage(f"elements {first} to {first + length} of a storage of {count}")
    return Typed(block, dtype, first, length)


class _Trusted(pickle.Unpickler):
    """Python's own unpickler: runs whatever the file asks for. PyTorch's tensors are still made here."""

    def __init__(self, file: BinaryIO, persistent: Callable[[Any], Any]) -> None:
        super().__init__(file, encoding="utf-8")
        self.persistent_load = persistent

    def find_class(self, module: str, name: str) -> Any:
        found = _TABLE.get(f"{module} {name}") if module.startswith("torch") else None
        if found is None:
            return super().find_class(module, name)
        return found.make if isinstance(found, Maker) else found


def _made(value: Any, device_of: Callable[[str], Any], memo: dict[int, Any], trust: bool) -> Any:
    """The value with Variables for Tensors: containers are changed in place, tuples made anew."""
    if isinstance(value, Tensor):
        return value.variable(device_of(value.storage.block.location))
    if isinstance(value, Typed):
        return Tensor(value, 0, (value.count,), (1,), False).variable(device_of(value.block.location))
    if id(value) in memo:
        return memo[id(value)]
    memo[id(value)] = value
    if isinstance(value, dict):
        for key in list(value):
            value[key] = _made(value[key], device_of, memo, trust)
    elif isinstance(value, list):
        value[:] = [_made(v, device_of, memo, trust) for v in value]
    elif type(value) is tuple:
        parts = [_made(v, device_of, memo, trust) for v in value]
        if any(a is not b for a, b in zip(parts, value)):
            memo[id(value)] = tuple(parts)
    elif isinstance(value, (_Storage, _Foreign, Maker)):
        memo[id(value)] = getattr(value, "name", "storage")
    if trust or type(value) is OrderedDict:
        for name, v in list(getattr(value, "__dict__", {}).items()):
            if not isinstance(value, (type, ModuleType)):
                value.__dict__[name] = _made(v, device_of, memo, trust)
    return memo[id(value)]


def read(file: BinaryIO, name: str, trust: bool = False) -> Checkpoint:
    """The objects of a checkpoint. CorruptFileError and UnsafeFileError say what is wrong with ``name``."""
    start = file.read(4)
    file.seek(0)
    try:
        if start[:2] == b"PK":
            return _read_zip(file, Checkpoint(name, trust))
        return _read_legacy(file, Checkpoint(name, trust))
    except Damage as error:
        raise CorruptFileError(bad("load", f"{name}, which holds {error}", "a whole PyTorch checkpoint",
                                   "Restore it from a copy.")) from None
    except UnsafeFileError as error:
        raise UnsafeFileError(bad("load", f"{name}, which asks for {error}", "tensors and plain containers",
                                  "Nothing of it was run. Save model.state_dict() rather than the model; only if you "
                                  "trust whoever made the file: trust=True.")) from None
    except DTypeError as error:
        raise DTypeError(f"{error} (in {name})") from None


# Zipped ------------------------------------------------------------------------------------------------------------


def _read_zip(file: BinaryIO, checkpoint: Checkpoint) -> Checkpoint:
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive, size)
            return _of_records(archive, records, checkpoint)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, (CorruptFileError, UnsafeFileError, DTypeError)):
            raise
        raise Damage(f"a damaged zip archive ({error})") from None


def _records(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's records by their name below its one folder; what is odd about any of them is refused."""
    records: dict[str, zipfile.ZipInfo] = {}
    folders, total = set(), 0
    for info in archive.infolist():
        if info.is_dir():
            continue
        if not _RECORD.match(info.filename) or ".." in info.filename.split("/"):
            raise Damage(f"a record of the odd name {info.filename[:80]!r}")
        folder, _, record = info.filename.partition("/")
        if record in records:
            raise Damage(f"the record {record!r} twice")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise Damage(f"the compressed record {record!r} of {info.file_size} bytes in {info.compress_size}, where "
                         "PyTorch compresses none")
        if info.flag_bits & 0x1:
            raise Damage(f"the encrypted record {record!r}")
        total += info.file_size
        folders.add(folder)
        records[record] = info
    if total > size:
        raise Damage(f"records of {total} bytes in a file of {size}")
    if len(folders) != 1:
        raise Damage(f"records in {len(folders)} folders rather than one")
    return records


def _of_records(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo],
                checkpoint: Checkpoint) -> Checkpoint:
    if "data.pkl" not in records:
        raise Damage("a zip archive without data.pkl")
    if "constants.pkl" in records:
        raise UnsafeFileError("TorchScript code (it is an archive of torch.jit.save)")
    if records["data.pkl"].file_size > _MOST_PICKLE:
        raise Damage(f"a pickle of {records['data.pkl'].file_size} bytes")
    order = archive.read(records["byteorder"]) if "byteorder" in records else b"little"
    if order not in (b"little", b"big"):
        raise Damage(f"the byte order {order[:20]!r}")
    checkpoint.value = checkpoint.load(io.BytesIO(archive.read(records["data.pkl"])))
    for key, block in checkpoint.blocks.items():
        info = records.get(f"data/{key}")
        if info is None:
            raise Damage(f"no bytes of the storage {key!r}")
        if info.file_size != block.nbytes:
            raise Damage(f"{info.file_size} bytes of the storage {key!r}, which should have {block.nbytes}")
        block.raw = archive.read(info)  # which checks its CRC
        block.swapped = order.decode() != sys.byteorder
    return checkpoint


# The older kind ----------------------------------------------------------------------------------------------------


def _refused(pid: Any) -> Any:
    raise UnsafeFileError(f"the persistent id {str(pid)[:80]!r} in its preamble")


def _read_legacy(file: BinaryIO, checkpoint: Checkpoint) -> Checkpoint:
    """Pickles of a magic number, a version, the writer's machine, the objects and the storages' keys; then bytes."""
    def plain() -> Any:
        return Machine(file, {}, _refused).load()

    size = file.seek(0, 2)
    file.seek(0)
    if file.read(263)[257:262] == b"ustar":
        raise Damage("a tar archive of PyTorch before 0.1.10, which is too old to be read")
    file.seek(0)
    if plain() != _MAGIC:
        raise Damage("a pickle that PyTorch did not write")
    if plain() != _PROTOCOL:
        raise Damage("a protocol that is not 1001")
    machine = plain()
    if not isinstance(machine, dict):
        raise Damage("no description of the machine that wrote it")
    checkpoint.value = checkpoint.load(file)
    keys = plain()
    if not isinstance(keys, list) or len(keys) != len(checkpoint.blocks) or set(map(str, keys)) != set(
            checkpoint.blocks):
        raise Damage("a list of storages that are not those of its tensors")
    for key in keys:
        _read_raw(file, checkpoint.blocks[key], size, machine.get("little_endian") is not False)
    return checkpoint


def _read_raw(file: BinaryIO, block: Block, size: int, little: bool) -> None:
    head = file.read(8)
    count = int.from_bytes(head, "little" if little else "big", signed=True)
    if len(head) < 8 or count < 0 or (count and block.nbytes % count) or (not count and block.nbytes):
        raise Damage(f"a storage {block.key!r} of {count} elements, which should have {block.nbytes} bytes")
    if file.tell() + block.nbytes > size:
        raise Damage(f"a file that ends within the storage {block.key!r}")
    block.raw = file.read(block.nbytes)
    block.swapped = little != (sys.byteorder == "little")
