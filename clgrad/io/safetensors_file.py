"""State dicts as safetensors files: written atomically with a digest of each tensor, read lazily through a memory map.

The format is eight bytes of header length, a JSON header (name -> dtype, shape, offsets), and the tensors' bytes. The
digests lie in the format's own metadata (keys ``sha256:<tensor>``, and ``sha256`` of the rest of the metadata), so that
any reader of safetensors reads these files, and files from elsewhere, without digests, load here.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import CorruptFileError, DTypeError, bad
from ..ndarray import Array, from_host
from .atomic import replacing

_DIGEST = "sha256"
_METADATA = "__metadata__"
_HEADER_LIMIT = 100_000_000  # bytes, as the format's other readers have it
_FRAMEWORKS = ("clgrad", "pt", "pytorch", "torch", "np", "numpy")
_NAMES = {"bool": "BOOL", "bfloat16": "BF16"}
_OURS = {_NAMES.get(d.name, f"{d.kind.upper()}{8 * d.itemsize}"): d for d in dtypes.ALL if d.name != "complex128"}
_FORMATS = {d: name for name, d in _OURS.items()}
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, **{f"F8_{kind}": 8 for kind in ("E5M2", "E4M3", "E8M0", "E4M3FNUZ",
                                                                           "E5M2FNUZ")}}  # dtypes that clgrad lacks


def save(state_dict: Mapping[str, Any], path: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write Variables or Arrays by name to ``path``, as safetensors.

    The file appears whole or not at all: it is written beside its place, flushed to disk, and moved. ``metadata`` are
    strings by name. TypeError names what is no array, nested dicts (an optimiser's state) among it.
    """
    arrays = {name: _array(name, value) for name, value in _items(state_dict)}
    own = _checked_metadata(metadata or {})
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # which aligns each
    hosts = {name: np.ascontiguousarray(arrays[name].numpy()).reshape(arrays[name].shape) for name in order}
    digests = {f"{_DIGEST}:{name}": _digest(arrays[name].dtype, host) for name, host in hosts.items()}
    header: dict[str, Any] = {_METADATA: {**own, **digests, _DIGEST: _metadata_digest(own)}}
    end = 0
    for name, host in hosts.items():
        begin, end = end, end + host.nbytes
        header[name] = {"dtype": _FORMATS[arrays[name].dtype], "shape": list(host.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(Path(path)) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for host in hosts.values():
            file.write(_bytes(host))


def load(path: Any, device: Any = None) -> dict[str, Variable]:
    """Variables by name from a safetensors file, on ``device`` (default: the default device).

    CorruptFileError names the file, and the tensor where one can be told, when the file is damaged.
    """
    with safe_open(path, device=device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def metadata(path: Any) -> dict[str, str]:
    """The strings that were given to :func:`save`; the file's digests are checked as for :func:`load`."""
    with safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118
            file.get_tensor(name)
        return file.metadata()


# Writing -----------------------------------------------------------------------------------------------------------


def _items(state_dict: Any) -> Any:
    if not isinstance(state_dict, Mapping):
        raise TypeError(bad("save", f"a {type(state_dict).__name__}", "a dict of arrays by name",
                            "Pass model.state_dict()."))
    return state_dict.items()


def _array(name: Any, value: Any) -> Array:
    if not isinstance(name, str) or name == _METADATA:
        raise TypeError(bad("save", f"the name {name!r}", f"strings other than {_METADATA!r}",
                            "Name each tensor with a string."))
    if not isinstance(value, (Variable, Array)):
        remedy = ("Nested state, as an optimiser's, has no place in a safetensors file: flatten it first, or choose "
                  "another suffix." if isinstance(value, Mapping) else
                  "Use clgrad.tensor(...), or metadata for strings.")
        raise TypeError(bad("save", f"a {type(value).__name__} as {name!r}", "a Variable or an Array", remedy))
    array = unwrap(value)
    if array.dtype not in _FORMATS:
        raise DTypeError(bad("save", f"{name!r} of {array.dtype}", "a dtype that safetensors has",
                             "Convert it, or save real and imaginary parts."))
    return array


def _checked_metadata(given: Mapping[str, str]) -> dict[str, str]:
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(bad("save", f"metadata {key!r}: {value!r}", "strings", "Encode it, as with json.dumps."))
        if _is_digest(key):
            raise ValueError(bad("save", f"metadata key {key!r}", f"no {_DIGEST!r} or '{_DIGEST}:...'",
                                 "These hold the digests: choose another key."))
    return dict(given)


def _is_digest(key: str) -> bool:
    return key.partition(":")[0] == _DIGEST


def _bytes(host: np.ndarray) -> memoryview:
    return memoryview(host.reshape(-1).view(np.uint8))


def _digest(dtype: DType, host: np.ndarray) -> str:
    """Of dtype, shape and bytes, so that a damaged header shows too."""
    digest = hashlib.sha256(f"{dtype.name}{host.shape}".encode())
    digest.update(_bytes(host))
    return digest.hexdigest()


def _metadata_digest(own: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


# Reading -----------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """What a header says of a tensor: the format's dtype name, shape, and its bytes' place in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Damage(Exception):
    """What is wrong with a header."""


class safe_open:
    """A safetensors file, read lazily through a memory map: ``with safe_open(path) as file: file.get_tensor(name)``.

    ``framework`` is ``"clgrad"`` for Variables on ``device`` (so are ``"pt"``, ``"torch"``), ``"numpy"`` for NumPy
    arrays. The header is checked when the file is opened, a tensor's digest, where the file has one, when the tensor is
    read whole. With ``verify``, it is checked before the first slice of a tensor too, which reads it all once.
    """

    def __init__(self, filename: Any, framework: str = "clgrad", device: Any = None, *, verify: bool = False) -> None:
        if framework not in _FRAMEWORKS:
            raise ValueError(bad("safe_open", f"framework={framework!r}", f"one of {', '.join(_FRAMEWORKS)}",
                                 "'clgrad' gives Variables, 'numpy' arrays of the host."))
        self._path = Path(filename)
        self._numpy = framework in ("np", "numpy")
        self._device = device
        self._verify = verify
        self._checked: set[str] = set()
        with open(self._path, "rb") as file:
            size = file.seek(0, 2)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        try:
            self._entries, noted = _header(self._map, size)
        except _Damage as error:
            self.close()
            raise CorruptFileError(bad("load", f"{self._path}, which is damaged{error}", "a whole safetensors file",
                                       "Restore it from a copy.")) from None
        self._own = {k: v for k, v in noted.items() if not _is_digest(k)}
        self._digests = {k: v for k, v in noted.items() if _is_digest(k)}
        self._check_digests()

    def _check_digests(self) -> None:
        """Every tensor has a digest and every digest a tensor; the metadata's is right. A file without any came from
        elsewhere."""
        if not self._digests:
            return
        for name in self._entries:
            if f"{_DIGEST}:{name}" not in self._digests:
                raise self._mismatch(f"tensor {name!r}")
        for key in self._digests:
            if key != _DIGEST and key.partition(":")[2] not in self._entries:
                raise self._mismatch(f"tensor {key.partition(':')[2]!r}")
        if self._digests.get(_DIGEST) != _metadata_digest(self._own):
            raise self._mismatch("metadata")

    def _mismatch(self, what: str) -> CorruptFileError:
        return CorruptFileError(bad("load", f"{self._path}, whose {what} is damaged",
                                    "content that matches its sha256 digest", "Restore the file from a copy."))

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._entries)

    def offset_keys(self) -> list[str]:
        """The tensors' names in the order in which they lie in the file."""
        return sorted(self._entries, key=lambda name: self._entries[name].begin)

    def metadata(self) -> dict[str, str]:
        """The strings that were saved with the tensors."""
        return dict(self._own)

    def get_tensor(self, name: str) -> Any:
        """A whole tensor; its digest is checked."""
        return self._given(self._whole(name, True))

    def get_slice(self, name: str) -> Slice:
        """A tensor of which only the parts that are indexed will be read."""
        self._entry(name)
        return Slice(self, name)

    def _entry(self, name: str) -> Entry:
        if self._map is None and self._entries:
            raise ValueError(bad("safe_open", f"a read of {self._path}, which is closed", "an open file",
                                 "Read within the with block."))
        if name not in self._entries:
            raise KeyError(f"safe_open: got the name {name!r}; expected one of {', '.join(self.keys())}")
        return self._entries[name]

    def _whole(self, name: str, verify: bool) -> np.ndarray:
        """A read-only view of the file."""
        entry = self._entry(name)
        if entry.dtype not in _OURS:
            raise DTypeError(bad("load", f"{name!r} of {entry.dtype} in {self._path}", "a dtype that clgrad has",
                                 "Convert the file to float32 or float16 first."))
        dtype = _OURS[entry.dtype]
        flat = np.frombuffer(self._map, np.uint8, entry.end - entry.begin, entry.begin) if entry.end > entry.begin \
            else np.empty(0, np.uint8)
        host = flat.view(dtype.np).reshape(entry.shape)
        if verify and self._digests and name not in self._checked:
            if self._digests[f"{_DIGEST}:{name}"] != _digest(dtype, host):
                raise self._mismatch(f"tensor {name!r}")
            self._checked.add(name)
        if dtype is dtypes.bool_ and flat.size and flat.max() > 1:
            raise CorruptFileError(bad("load", f"a bool of value {flat.max()} in {name!r} of {self._path}", "0 or 1",
                                       "Restore the file from a copy."))
        return host

    def _given(self, host: np.ndarray) -> Any:
        return host.copy() if self._numpy else Variable(from_host(host, None, self._device))

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:  # an error's traceback may hold a view; the map ends with it
                pass
            self._map = None

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Slice:
    """One tensor of a file, read in parts: ``file.get_slice(name)[2:5, ::2]``."""

    def __init__(self, file: safe_open, name: str) -> None:
        self._file = file
        self._name = name

    def get_shape(self) -> list[int]:
        """The whole tensor's shape."""
        return list(self._file._entry(self._name).shape)

    def get_dtype(self) -> str:
        """The format's name of its dtype, as ``F32``."""
        return self._file._entry(self._name).dtype

    def __getitem__(self, index: Any) -> Any:
        part = self._file._whole(self._name, self._file._verify)[index]
        return self._file._given(np.ascontiguousarray(part).reshape(part.shape))


def _header(data: Any, size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """The checked header of a file: entries by name, and the metadata."""
    if size < 8:
        raise _Damage(f" (it has {size} bytes, and its header's length alone takes 8)")
    length = int.from_bytes(data[:8], "little")
    if length > _HEADER_LIMIT:
        raise _Damage(f" (a header of {length} bytes, above {_HEADER_LIMIT})")
    if 8 + length > size:
        raise _Damage(f" (a header of {length} bytes in a file of {size})")
    try:
        header = json.loads(data[8:8 + length].decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _Damage(f" (a header that is no JSON: {error})") from None
    if not isinstance(header, dict) or data[8:9] != b"{":
        raise _Damage(" (a header that is no JSON object)")
    noted = header.pop(_METADATA, {})
    if not isinstance(noted, dict) or not all(isinstance(v, str) for v in noted.values()):
        raise _Damage(" (metadata that is no map of strings)")
    entries = {name: _entry(name, described, 8 + length) for name, described in header.items()}
    _check_places(entries, 8 + length, size)
    return entries, noted


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [k for k, _ in pairs]
        raise _Damage(f" (the name {next(k for k in names if names.count(k) > 1)!r} twice)")
    return result


def _entry(name: str, described: Any, start: int) -> Entry:
    if not isinstance(described, dict) or not described.keys() >= {"dtype", "shape", "data_offsets"}:
        raise _Damage(f" ({name!r} has no dtype, shape and data_offsets)")
    dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2 and len(shape) <= 64):
        raise _Damage(f" ({name!r} of shape {str(shape)[:80]} at {str(offsets)[:80]})")
    bits = 8 * _OURS[dtype].itemsize if isinstance(dtype, str) and dtype in _OURS else _BITS.get(str(dtype))
    if bits is None:
        raise _Damage(f" ({name!r} of the unknown dtype {str(dtype)[:40]!r})")
    begin, end = offsets
    if prod(shape) * bits != 8 * (end - begin):
        raise _Damage(f" ({name!r} of shape {shape} and {dtype} in {end - begin} bytes)")
    return Entry(dtype, tuple(shape), start + begin, start + end)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _check_places(entries: dict[str, Entry], start: int, size: int) -> None:
    """Tensors lie one after the other, without overlap or hole, to the end of the file."""
    at = start
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
        if entry.end > size:
            raise _Damage(f": it ends within {name!r} (byte {size} of {entry.end})")
        if entry.begin != at:
            raise _Damage(f" ({name!r} begins at byte {entry.begin} rather than {at})")
        at = entry.end
    if at != size:
        raise _Damage(f" ({size - at} bytes after the last tensor)")


def looks_like(start: bytes) -> bool:
    """Whether a file that begins so may be a safetensors file."""
    return len(start) >= 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _HEADER_LIMIT

