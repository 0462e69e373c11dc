"""MNIST and its likes: images and labels in IDX files, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import CorruptFileError, bad
from ...utils.data.collate import host_array
from ..pillow import pillow
from .base import VisionDataset, absent, check_md5, fetch

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Any) -> np.ndarray:
    """The array of an IDX file (gzipped where the name ends in .gz): two zero bytes, type, number of dimensions, sizes
    as big-endian ints, values. CorruptFileError where the file is not exactly that."""
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _damaged(path, f"damaged compression ({error})") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise _damaged(path, f"the first bytes {data[:4]!r}")
    dtype, start = np.dtype(_TYPES[data[2]]), 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i:i + 4], "big") for i in range(4, start, 4))
    if len(data) != start + prod(shape) * dtype.itemsize:
        raise _damaged(path, f"{len(data)} bytes for an array of shape {shape}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _damaged(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(bad("read_idx", f"{path} with {what}", "an IDX file",
                                "Delete it, and pass download=True or fetch it again."))


class MNIST(VisionDataset):
    """Handwritten digits, 28x28, in 10 classes: 60,000 to train, 10,000 to test.

    Files lie in ``root/MNIST/raw``, as torchvision puts them; ``download=True`` fetches those that are absent.
    ``self[i]`` is a Pillow image (mode L) and an int, after the transforms; ``data`` (uint8, N x 28 x 28) and
    ``targets`` (int64) are host arrays. FileNotFoundError where files are absent, CorruptFileError where they are
    damaged.
    """

    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
    resources = (("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                 ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                 ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                 ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"))
    classes = ("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven",
               "8 - eight", "9 - nine")

    def __init__(self, root: Any, train: bool = True, transform: Callable | None = None,
                 target_transform: Callable | None = None, download: bool = False) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        which = self.resources[:2] if train else self.resources[2:]
        images, labels = (self._read(name, md5) for name, md5 in which)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or images.dtype != np.uint8:
            raise CorruptFileError(bad(self._name, f"images of shape {images.shape} and labels of shape {labels.shape}",
                                       "N x height x width, and N", "Fetch the files again."))
        self.data = host_array(images)
        self.targets = host_array(labels.astype(np.int64))

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def raw_folder(self) -> str:
        """Where the files lie."""
        return str(Path(self.root) / self._name / "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Numbers by class name."""
        return {name: i for i, name in enumerate(self.classes)}

    def _read(self, name: str, md5: str) -> np.ndarray:
        """One array: of the file as it is unpacked, or of the gzipped one, whose digest is checked."""
        packed = Path(self.raw_folder) / name
        plain = packed.with_suffix("")
        if plain.exists():
            return read_idx(plain)
        if not packed.exists():
            raise absent(self._name, (plain, packed))
        check_md5(self._name, packed, md5)
        return read_idx(packed)

    def download(self) -> None:
        """Fetch the files that are absent, from the first mirror that has them."""
        for name, md5 in self.resources:
            packed = Path(self.raw_folder) / name
            if not packed.with_suffix("").exists():
                fetch(self._name, [mirror + name for mirror in self.mirrors], packed, md5)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = pillow().fromarray(np.asarray(self.data[index]))
        return self._transformed(image, int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """Zalando's articles of clothing, in MNIST's format; files lie in ``root/FashionMNIST/raw``."""

    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    resources = (("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
                 ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
                 ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
                 ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"))
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
               "Ankle boot")


class KMNIST(MNIST):
    """Kuzushiji characters, in MNIST's format; files lie in ``root/KMNIST/raw``."""

    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    resources = (("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
                 ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
                 ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
                 ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"))
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
