"""save and load: PyTorch's calls, for PyTorch's checkpoints and for safetensors files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import CorruptFileError, UnsafeFileError, bad
from ..runtime.device import Device
from ..runtime.device import device as find_device
from . import models, safetensors_file, torch_read, torch_write
from .atomic import replacing

_SAFETENSORS = ".safetensors"


def save(obj: Any, f: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``obj`` to a path or a binary file object.

    A path that ends in ``.safetensors`` takes a dict of arrays by name, and ``metadata``, strings by name. Anything
    else becomes a checkpoint that ``torch.load`` reads: arrays, numbers, strings, and dicts, lists, tuples and sets of
    these, as in the state_dicts of models and optimisers. Views of one memory share it in the file too. A Module is
    stored as the import path of its class, its attributes and its arrays, never as code. A path is written beside its
    place and moved there in the end, so that a file appears whole or not at all.
    """
    if isinstance(f, (str, Path)) and Path(f).suffix == _SAFETENSORS:
        safetensors_file.save(obj, f, metadata)
        return
    if metadata:
        raise TypeError(bad("save", "metadata for a PyTorch checkpoint", f"a path that ends in {_SAFETENSORS}",
                            "Put the strings into the dict that is saved."))
    value = models.encode(obj)
    if hasattr(f, "write"):
        torch_write.write(value, f)
        return
    with replacing(Path(f)) as file:
        torch_write.write(value, file)


def load(f: Any, map_location: Any = None, *, weights_only: bool | None = None, trust: bool = False,
         mmap: bool | None = None) -> Any:
    """What a file holds: a dict of Variables from safetensors, the objects of a PyTorch checkpoint (.pt, .pth).

    ``f`` is a path or, of a checkpoint, a binary file object that can seek. Tensors go to ``map_location``: a device,
    a dict from the file's locations (``"cuda:0"``) to devices, or PyTorch's ``lambda storage, location: ...``; by
    default to the default device. No pickle is executed: a reader admits tensors and plain containers, checks every
    tensor's place in its storage, and raises UnsafeFileError at anything else, CorruptFileError where the file is
    damaged, each naming what it met. ``trust=True`` lets Python's own unpickler run whatever the file asks for.

    A model that :func:`save` wrote is made again from its class, which is clgrad's or of a module that is imported
    already (``trust=True`` imports it); ``weights_only=True`` refuses models. ``mmap`` is accepted.
    """
    if hasattr(f, "read"):
        return _objects(f, getattr(f, "name", "the file object"), map_location, weights_only, trust)
    path = Path(f)
    with open(path, "rb") as file:
        start = file.read(16)
        file.seek(0)
        if path.suffix == _SAFETENSORS or safetensors_file.looks_like(start):
            return safetensors_file.load(path, _location(map_location)("cpu"))
        if start[:2] == b"PK" or start[:1] == b"\x80":
            return _objects(file, path, map_location, weights_only, trust)
    raise CorruptFileError(bad("load", f"{path}, which begins with {start[:8]!r}",
                               "a whole safetensors file or PyTorch checkpoint", "Restore it from a copy."))


def _objects(file: Any, name: Any, map_location: Any, weights_only: bool | None, trust: bool) -> Any:
    try:
        found = torch_read.read(file, str(name), trust).on_devices(_location(map_location))
        value = models.decode(found, trust)
    except RecursionError:
        raise CorruptFileError(bad("load", f"{name}, whose containers are nested too deep", "a PyTorch checkpoint",
                                   "Restore it from a copy.")) from None
    if weights_only and value is not found:
        raise UnsafeFileError(bad("load", f"{name}, which holds a whole model", "weights only", "Pass weights_only="
                                  "False, or save model.state_dict()."))
    return value


class _Storage:
    """What PyTorch hands to a callable ``map_location``: it asks the storage for another device, or returns it."""

    def cpu(self) -> str:
        return "cpu"

    def cuda(self, device: int | None = None) -> str:
        return "cuda" if device is None else f"cuda:{device}"


def _location(given: Any) -> Callable[[str], Device]:
    """The device for each location that a file names."""
    if given is None:
        return lambda _: find_device(None)
    if isinstance(given, Mapping):
        return lambda location: find_device(given.get(location))
    if callable(given) and not isinstance(given, Device):
        def asked(location: str) -> Device:
            answer = given(_Storage(), location)
            return find_device(None if isinstance(answer, _Storage) else answer)

        return asked
    target = find_device(given)
    return lambda _: target
