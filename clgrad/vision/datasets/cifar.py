"""CIFAR-10 and CIFAR-100: the binary form, and the Python form without running its pickles."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import CorruptFileError, UnsafeFileError, bad
from ...io.unpickle import Buildable, Damage, Machine, Maker
from ..pillow import pillow
from .base import VisionDataset, absent, check_md5, fetch

_PIXELS = 3 * 32 * 32


class CIFAR10(VisionDataset):
    """Colour images, 32x32, in 10 classes: 50,000 to train, 10,000 to test.

    Read from ``root/cifar-10-batches-bin`` (the binary form, which ``download=True`` fetches) or from
    ``root/cifar-10-batches-py`` (the Python form: its pickles are read by a machine that makes arrays and plain
    containers only). ``self[i]`` is a Pillow image (mode RGB) and an int, after the transforms; ``data`` is uint8,
    N x 32 x 32 x 3, ``targets`` a list of ints.
    """

    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    binary_folder, python_folder = "cifar-10-batches-bin", "cifar-10-batches-py"
    binary_files = (tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",))
    names_files = ("batches.meta.txt", "batches.meta")
    python_files = ((("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                     ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                     ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                     ("data_batch_4", "634d18415352ddfa80567beed471001a"),
                     ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb")),
                    (("test_batch", "40351d587109b95175f43aff81a1287e"),))
    label_bytes, label_keys, names_key, class_count = 1, ("labels",), "label_names", 10
    known_classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(self, root: Any, train: bool = True, transform: Callable | None = None,
                 target_transform: Callable | None = None, download: bool = False) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._has_binary() and self._path(self.python_folder, self.python_files[not train][0][0]).exists():
            parts = [self._read_python(name, md5) for name, md5 in self.python_files[not train]]
            self.classes = self._python_classes()
        else:
            parts = [self._read_binary(name) for name in self.binary_files[not train]]
            self.classes = self._binary_classes()
        pixels = np.concatenate([p for p, _ in parts])
        self.data = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        self.targets = [int(t) for _, labels in parts for t in labels]
        if any(not 0 <= t < self.class_count for t in self.targets):
            raise CorruptFileError(bad(self._name, f"the label {max(self.targets)} in {self.root}",
                                       f"labels from 0 to {self.class_count - 1}", "Fetch the files again."))
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _path(self, *parts: str) -> Path:
        return Path(self.root).joinpath(*parts)

    def _has_binary(self) -> bool:
        return self._path(self.binary_folder, self.binary_files[not self.train][0]).exists()

    # The binary form: rows of labels and 3072 bytes ----------------------------------------------------------------

    def _read_binary(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        path = self._path(self.binary_folder, name)
        if not path.exists():
            raise absent(self._name, (path, self._path(self.python_folder)))
        data, row = np.fromfile(path, np.uint8), self.label_bytes + _PIXELS
        if data.size == 0 or data.size % row:
            raise CorruptFileError(bad(self._name, f"{path} of {data.size} bytes", f"a multiple of {row}",
                                       "Fetch it again."))
        rows = data.reshape(-1, row)
        return rows[:, self.label_bytes:], rows[:, self.label_bytes - 1]

    def _binary_classes(self) -> list[str]:
        path = self._path(self.binary_folder, self.names_files[0])
        if not path.exists():
            return list(self.known_classes)
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]

    def download(self) -> None:
        """Fetch and unpack the binary form, unless one form is there."""
        if self._has_binary() or self._path(self.python_folder, self.python_files[not self.train][0][0]).exists():
            return
        archive = self._path(self.url.rpartition("/")[2])
        fetch(self._name, [self.url], archive, self.archive_md5)
        wanted = {f"{self.binary_folder}/{n}" for n in (*self.binary_files[0], *self.binary_files[1],
                                                       self.names_files[0])}
        self._path(self.binary_folder).mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    if member.name in wanted and member.isfile():  # by name, so that no path of the archive is followed
                        self._path(member.name).write_bytes(tar.extractfile(member).read())  # type: ignore[union-attr]
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CorruptFileError(bad(self._name, f"{archive}, which cannot be unpacked ({error})", "a tar archive",
                                       "Delete it and try again.")) from None

    # The Python form -----------------------------------------------------------------------------------------------

    def _read_python(self, name: str, md5: str) -> tuple[np.ndarray, list]:
        path = self._path(self.python_folder, name)
        if not path.exists():
            raise absent(self._name, (path,))
        check_md5(self._name, path, md5)
        found = read_python(path)
        pixels = found.get("data")
        labels = next((found[k] for k in self.label_keys if k in found), None)
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or not isinstance(
                labels, list) or pixels.shape != (len(labels), _PIXELS) or not all(type(v) is int for v in labels):
            raise CorruptFileError(bad(self._name, f"{path} without N x {_PIXELS} bytes and N labels", "both",
                                       "Fetch it again."))
        return pixels, labels

    def _python_classes(self) -> list[str]:
        path = self._path(self.python_folder, self.names_files[1])
        names = read_python(path).get(self.names_key) if path.exists() else self.known_classes
        return [str(n) for n in names or ()]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(pillow().fromarray(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """Colour images, 32x32, in 100 classes; from ``root/cifar-100-binary`` or ``root/cifar-100-python``."""

    url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    archive_md5 = "03b5dce01913d631647c71ecec9e9cb8"
    binary_folder, python_folder = "cifar-100-binary", "cifar-100-python"
    binary_files = (("train.bin",), ("test.bin",))
    names_files = ("fine_label_names.txt", "meta")
    python_files = ((("train", "16019d7e3df5f24257cddd939b257f8d"),), (("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),))
    label_bytes, label_keys, names_key, class_count = 2, ("fine_labels",), "fine_label_names", 100
    known_classes = tuple(f"class {i}" for i in range(100))


# Arrays in a pickle --------------------------------------------------------------------------------------------------


class _Type(Buildable):
    """A NumPy dtype in the making."""

    def __init__(self, name: str, *_: Any) -> None:
        if name not in ("u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "b1"):
            raise UnsafeFileError(f"the NumPy dtype {str(name)[:20]!r}")
        self.dtype = np.dtype(name)

    def build(self, state: Any) -> Any:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])
        return self


class _Array(Buildable):
    """A NumPy array in the making."""

    def __init__(self, *_: Any) -> None:
        pass

    def build(self, state: Any) -> np.ndarray:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _Type) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
            raise Damage("an array without a dtype or a shape")
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        return np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if fortran else "C")


def _encoded(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise UnsafeFileError(f"bytes in the encoding {str(encoding)[:40]!r}")
    return text.encode("latin1")


_TABLE: dict[str, Any] = {"numpy dtype": Maker("dtype", _Type), "numpy ndarray": "ndarray",
                          "_codecs encode": Maker("encode", _encoded)} | {
    f"numpy.{core}.multiarray _reconstruct": Maker("_reconstruct", _Array) for core in ("core", "_core")}


def _no_persistent_ids(pid: Any) -> Any:
    raise UnsafeFileError("a persistent id")


def read_python(path: Path) -> dict[str, Any]:
    """The dict of a Python-form file, with text for keys. Its pickle is interpreted, never run."""
    try:
        with open(path, "rb") as file:
            found = Machine(file, _TABLE, _no_persistent_ids).load()
    except UnsafeFileError as error:
        raise UnsafeFileError(bad("CIFAR", f"{path}, which asks for {error}", "arrays and plain containers",
                                  "Nothing of it was run. Fetch the file again.")) from None
    except Damage as error:
        raise CorruptFileError(bad("CIFAR", f"{path}, which holds {error}", "a data batch",
                                   "Fetch the file again.")) from None
    if not isinstance(found, dict):
        raise CorruptFileError(bad("CIFAR", f"a {type(found).__name__} in {path}", "a dict", "Fetch the file again."))
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in found.items()}
