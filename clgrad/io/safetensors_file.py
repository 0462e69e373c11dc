"""State dicts as safetensors files, written atomically and with a digest of each tensor, checked on load.

The digests lie in the format's own metadata (keys ``sha256:<tensor>``, and ``sha256`` of the rest of the metadata), so
that any reader of safetensors reads these files, and files from elsewhere, without digests, load here.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes
from ..core.errors import CorruptFileError, DTypeError, bad
from ..ndarray import Array, from_host

_DIGEST = "sha256"
_DTYPES = {"BOOL" if d.kind == "b" else f"{d.kind.upper()}{8 * d.itemsize}" for d in dtypes.ALL}  # the format's names


def save(state_dict: Mapping[str, Any], path: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write Variables or Arrays by name to ``path``, as safetensors.

    The file appears whole or not at all: it is written beside its place, flushed to disk, and moved. ``metadata`` are
    strings by name. TypeError names what is no array, nested dicts (an optimiser's state) among it.
    """
    hosts = {name: _host(name, value) for name, value in _items(state_dict)}
    own = _checked_metadata(metadata or {})
    digests = {f"{_DIGEST}:{name}": _digest(host) for name, host in hosts.items()}
    data = _safetensors().save(hosts, {**own, **digests, _DIGEST: _metadata_digest(own)})
    _write_atomically(Path(path), data)


def load(path: Any, device: Any = None) -> dict[str, Variable]:
    """Variables by name from a safetensors file, on ``device`` (default: the default device).

    CorruptFileError names the file, and the tensor where one can be told, when the file is damaged.
    """
    hosts, _ = _read(Path(path))
    return {name: Variable(from_host(host, None, device)) for name, host in hosts.items()}


def metadata(path: Any) -> dict[str, str]:
    """The strings that were given to :func:`save`; the file's digests are checked as for :func:`load`."""
    return _read(Path(path))[1]


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError("clgrad.io: got no package 'safetensors'; expected it for .safetensors files. "
                          "Install it: pip install 'clgrad[io]'.") from None
    return safetensors.numpy


# Writing -----------------------------------------------------------------------------------------------------------


def _items(state_dict: Any) -> Any:
    if not isinstance(state_dict, Mapping):
        raise TypeError(bad("save", f"a {type(state_dict).__name__}", "a dict of arrays by name",
                            "Pass model.state_dict()."))
    return state_dict.items()


def _host(name: Any, value: Any) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(bad("save", f"the name {name!r}", "strings", "Name each tensor with a string."))
    if not isinstance(value, (Variable, Array)):
        remedy = ("Nested state, as an optimiser's, has no place in a safetensors file: flatten it first."
                  if isinstance(value, Mapping) else "Use clgrad.tensor(...), or metadata for strings.")
        raise TypeError(bad("save", f"a {type(value).__name__} as {name!r}", "a Variable or an Array", remedy))
    return unwrap(value).numpy()


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


def _digest(host: np.ndarray) -> str:
    """Of dtype, shape and bytes, so that a damaged header shows too."""
    digest = hashlib.sha256(f"{host.dtype.name}{host.shape}".encode())
    digest.update(np.ascontiguousarray(host).data if host.size else b"")
    return digest.hexdigest()


def _metadata_digest(own: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _write_atomically(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# Reading -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Checked tensors and metadata of a file."""
    _safetensors()
    import safetensors

    size = path.stat().st_size  # a missing file raises here, as open() does
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            noted = file.metadata() or {}
            hosts = {name: _tensor(file, path, name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        where = _cut_off(path, size)
        raise CorruptFileError(bad("load", f"{path}, which is damaged{where} ({error})", "a whole safetensors file",
                                   "Restore it from a copy.")) from None
    own = {k: v for k, v in noted.items() if not _is_digest(k)}
    _verify(path, hosts, own, {k: v for k, v in noted.items() if _is_digest(k)})
    return hosts, own


def _tensor(file: Any, path: Path, name: str) -> np.ndarray:
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _DTYPES:
        raise DTypeError(bad("load", f"{name!r} of {dtype} in {path}", "a dtype that clgrad has",
                             "Convert the file to float32 or float16 first."))
    return file.get_tensor(name)


def _cut_off(path: Path, size: int) -> str:
    """Name the first tensor that the end of a truncated file has taken, if its header can be read."""
    try:
        with open(path, "rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8)) if start <= size else {}
        lost = [k for k, v in header.items() if k != "__metadata__" and start + v["data_offsets"][1] > size]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return ""
    return f": it ends within {min(lost, key=lambda k: header[k]['data_offsets'][0])!r}" if lost else ""


def _verify(path: Path, hosts: dict[str, np.ndarray], own: dict[str, str], digests: dict[str, str]) -> None:
    """CorruptFileError where a digest does not match; a file without any came from elsewhere."""
    if not digests:
        return
    for what in _mismatches(hosts, own, digests):
        raise CorruptFileError(bad("load", f"{path}, whose {what} is damaged", "content that matches its sha256 digest",
                                   "Restore the file from a copy."))


def _mismatches(hosts: dict[str, np.ndarray], own: dict[str, str], digests: dict[str, str]) -> Iterator[str]:
    for name, host in hosts.items():
        if digests.get(f"{_DIGEST}:{name}") != _digest(host):
            yield f"tensor {name!r}"
    for key in digests.keys() - {f"{_DIGEST}:{name}" for name in hosts} - {_DIGEST}:
        yield f"tensor {key.partition(':')[2]!r}"
    if digests.get(_DIGEST) != _metadata_digest(own):
        yield "metadata"
