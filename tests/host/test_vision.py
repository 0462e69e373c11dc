"""Image data sets from tiny files in the real formats, and transforms against Pillow's and against their formulas."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import struct
import tarfile
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad.core.errors import CorruptFileError, UnsafeFileError
from clgrad.utils.data import HostArray
from clgrad.vision import datasets, transforms
from clgrad.vision.datasets.mnist import read_idx
from clgrad.vision.transforms import InterpolationMode
from clgrad.vision.transforms import functional as F

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# IDX -----------------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    kind = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}[array.dtype.name]
    return (bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            + array.astype(array.dtype.newbyteorder(">")).tobytes())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 5)])
def test_idx_files(dtype: str, shape: tuple, tmp_path: Path) -> None:
    host = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    (tmp_path / "x").write_bytes(idx(host))
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(host)))
    for name in ("x", "x.gz"):
        found = read_idx(tmp_path / name)
        assert found.dtype == host.dtype
        np.testing.assert_array_equal(found, host)


@pytest.mark.parametrize(("data", "part"), [
    (b"", "the first bytes b''"),
    (b"\0\0\x07\x01\0\0\0\x01x", "the first bytes"),
    (b"\1\0\x08\x01\0\0\0\x01x", "the first bytes"),
    (idx(np.zeros((2, 3), np.uint8))[:-1], "17 bytes for an array of shape (2, 3)"),
    (idx(np.zeros((2, 3), np.uint8)) + b"x", "19 bytes for an array of shape (2, 3)"),
    (b"\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "16 bytes for an array of shape (4294967295"),
])
def test_damaged_idx_files(data: bytes, part: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CorruptFileError) as caught:
        read_idx(tmp_path / "x")
    assert part in str(caught.value)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(np.zeros(100, np.uint8)))[:-9])
    with pytest.raises(CorruptFileError, match="damaged compression"):
        read_idx(tmp_path / "x.gz")


def _mnist(folder: Path, counts: tuple[int, int] = (5, 3), packed: bool = False) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    made = {}
    for part, count in zip(("train", "t10k"), counts):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28))
        made[f"{part}-images-idx3-ubyte"] = images.astype(np.uint8)
        made[f"{part}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for name, array in made.items():
        data = idx(array)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return made


@pytest.mark.parametrize("kind", [datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST])
def test_mnist(kind: type, tmp_path: Path) -> None:
    made = _mnist(tmp_path / kind.__name__ / "raw")
    train, test = kind(tmp_path), kind(str(tmp_path), train=False, transform=transforms.ToTensor(),
                                       target_transform=lambda t: -t)
    assert (len(train), len(test), len(train.classes), train.class_to_idx[train.classes[3]]) == (5, 3, 10, 3)
    image, target = train[4]
    assert (image.mode, image.size, target, type(target)) == ("L", (28, 28), 4, int)
    np.testing.assert_array_equal(np.asarray(image), made["train-images-idx3-ubyte"][4])
    x, t = test[2]
    assert (x.shape, x.dtype, t) == ((1, 28, 28), np.float32, -2)
    np.testing.assert_array_equal(x[0], made["t10k-images-idx3-ubyte"][2].astype(np.float32) / 255)
    assert (train.data.shape, train.targets.tolist()) == ((5, 28, 28), [0, 1, 2, 3, 4])
    assert f"Dataset {kind.__name__}\n    Number of datapoints: 3\n    Root location: " in repr(test)
    assert "Split: Test\n    transform: ToTensor()" in repr(test)


def test_gzipped_files_are_checked(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "MNIST" / "raw"
    _mnist(folder, packed=True)
    with pytest.raises(CorruptFileError, match=r"MNIST: got .*train-images-idx3-ubyte.gz with the MD5 digest \w+; "
                                               r"expected f68b3c2dcbeaaa9fbdd348bbdeb94873"):
        datasets.MNIST(tmp_path)
    own = tuple((n, hashlib.md5((folder / n).read_bytes()).hexdigest()) for n, _ in datasets.MNIST.resources)
    monkeypatch.setattr(datasets.MNIST, "resources", own)
    assert len(datasets.MNIST(tmp_path)) == 5


class _Server:
    """Stands for the network: files by address, or an error."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    def __call__(self, request, timeout: float):
        url = request.full_url
        self.asked.append(url)
        if url not in self.files:
            raise urllib.error.URLError("no route to host")
        return io.BytesIO(self.files[url])


def test_download_from_the_mirror_that_answers(tmp_path: Path, monkeypatch) -> None:
    made = _mnist(tmp_path / "source", packed=True)
    files = {f"{n}.gz": (tmp_path / "source" / f"{n}.gz").read_bytes() for n in made}
    monkeypatch.setattr(datasets.MNIST, "resources", tuple(
        (n, hashlib.md5(files[n]).hexdigest()) for n, _ in datasets.MNIST.resources))
    server = _Server({datasets.MNIST.mirrors[1] + n: data for n, data in files.items()})
    monkeypatch.setattr(urllib.request, "urlopen", server)
    assert len(datasets.MNIST(tmp_path, download=True)) == 5
    assert len(server.asked) == 8
    assert len(datasets.MNIST(tmp_path, train=False, download=True)) == 3
    assert len(server.asked) == 8  # nothing is fetched twice
    server.files = {url: data[:-1] + b"x" for url, data in server.files.items()}
    with pytest.raises(CorruptFileError, match="with the MD5 digest"):
        datasets.MNIST(tmp_path / "other", download=True)
    assert not list((tmp_path / "other").rglob("*.gz"))
    server.files = {}
    with pytest.raises(RuntimeError, match=r"MNIST: got no answer for train-images-idx3-ubyte.gz \(https://\S+: no "
                                           r"route to host; http://\S+: no route to host\); expected a download"):
        datasets.MNIST(tmp_path / "none", download=True)


def test_absent_files_and_labels_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"MNIST: got no file .*train-images-idx3-ubyte nor .*ubyte.gz; "
                                                r"expected the data set's files. Pass download=True"):
        datasets.MNIST(tmp_path)
    folder = tmp_path / "MNIST" / "raw"
    _mnist(folder)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(CorruptFileError, match=r"images of shape \(5, 28, 28\) and labels of shape \(4,\)"):
        datasets.MNIST(tmp_path)


# CIFAR ---------------------------------------------------------------------------------------------------------------


def _rows(count: int, label_bytes: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).integers(0, 256, (count, label_bytes + 3072)).astype(np.uint8)
    rows[:, :label_bytes] %= 10
    return rows


@pytest.mark.parametrize(("kind", "label_bytes"), [(datasets.CIFAR10, 1), (datasets.CIFAR100, 2)])
def test_cifar_in_binary_form(kind: type, label_bytes: int, tmp_path: Path) -> None:
    folder = tmp_path / kind.binary_folder
    folder.mkdir()
    parts = {name: _rows(2, label_bytes, i) for i, name in enumerate((*kind.binary_files[0], *kind.binary_files[1]))}
    for name, rows in parts.items():
        (folder / name).write_bytes(rows.tobytes())
    train, test = kind(tmp_path), kind(tmp_path, train=False)
    assert (len(train), len(test)) == (2 * len(kind.binary_files[0]), 2)
    rows = parts[kind.binary_files[1][0]]
    image, target = test[1]
    assert (image.mode, image.size, target) == ("RGB", (32, 32), rows[1, label_bytes - 1])
    np.testing.assert_array_equal(np.asarray(image).transpose(2, 0, 1).reshape(-1), rows[1, label_bytes:])
    assert (test.data.shape, test.targets) == ((2, 32, 32, 3), rows[:, label_bytes - 1].tolist())
    (folder / kind.binary_files[1][0]).write_bytes(rows.tobytes()[:-1])
    with pytest.raises(CorruptFileError, match=f"expected a multiple of {label_bytes + 3072}"):
        kind(tmp_path, train=False)
    (folder / kind.names_files[0]).write_text("\n".join(f"name {i}" for i in range(kind.class_count)) + "\n\n")
    assert kind(tmp_path).class_to_idx["name 7"] == 7
    rows[0, label_bytes - 1] = 200
    (folder / kind.binary_files[1][0]).write_bytes(rows.tobytes())
    with pytest.raises(CorruptFileError, match="the label 200"):
        kind(tmp_path, train=False)


def test_cifar_is_fetched_and_unpacked(tmp_path: Path, monkeypatch) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in (*(f"cifar-10-batches-bin/{n}" for part in datasets.CIFAR10.binary_files for n in part),
                     "../evil", "cifar-10-batches-bin/../evil"):
            member = tarfile.TarInfo(name)
            data = _rows(1, 1, 3).tobytes()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    monkeypatch.setattr(urllib.request, "urlopen", _Server({datasets.CIFAR10.url: buffer.getvalue()}))
    monkeypatch.setattr(datasets.CIFAR10, "archive_md5", hashlib.md5(buffer.getvalue()).hexdigest())
    root = tmp_path / "root"
    root.mkdir()
    assert len(datasets.CIFAR10(root, download=True)) == 5
    assert len(datasets.CIFAR10(root, train=False, download=True)) == 1
    assert not list(tmp_path.rglob("evil"))
    with pytest.raises(FileNotFoundError, match=r"CIFAR10: got no file .*data_batch_1.bin"):
        datasets.CIFAR10(tmp_path)


def _python2_batch(rows: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 pickled it: strings of bytes, an array by NumPy's functions."""
    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    data = rows.tobytes()
    return (b"\x80\x02}(" + short(b"batch_label") + short(b"testing") + short(b"labels") + b"](" +
            b"".join(b"K" + bytes([n]) for n in labels) + b"e" + short(b"data")
            + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
            + b"M" + struct.pack("<H", rows.shape[0]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
            + b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            + b"T" + struct.pack("<i", len(data)) + data + b"tbu.")


def test_cifar_in_python_form(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = _rows(3, 0, 1)
    batches = {"test_batch": _python2_batch(rows, [3, 1, 4])}
    for i in range(1, 6):
        batches[f"data_batch_{i}"] = pickle.dumps({b"data": rows, b"labels": [1, 2, 9]}, 2)
    for name, data in batches.items():
        (folder / name).write_bytes(data)
    with pytest.raises(CorruptFileError, match="40351d587109b95175f43aff81a1287e"):
        datasets.CIFAR10(tmp_path, train=False)
    own = tuple(tuple((n, hashlib.md5(batches[n]).hexdigest()) for n, _ in part)
                for part in datasets.CIFAR10.python_files)
    monkeypatch.setattr(datasets.CIFAR10, "python_files", own)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"n{i}" for i in range(10)]}, 2))
    test, train = datasets.CIFAR10(tmp_path, train=False), datasets.CIFAR10(tmp_path)
    assert (test.targets, len(train), train.targets[:3], test.classes[2]) == ([3, 1, 4], 15, [1, 2, 9], "n2")
    for found in (test, train):
        np.testing.assert_array_equal(found.data[:3].transpose(0, 3, 1, 2).reshape(3, -1), rows)
    for body, error, part in ((pickle.dumps(Counter, 2), UnsafeFileError, "the global 'collections.Counter'"),
                              (batches["test_batch"][:-40], CorruptFileError, "cannot be read"),
                              (pickle.dumps([1], 2), CorruptFileError, "a list"),
                              (pickle.dumps({"data": 1}, 2), CorruptFileError, "without N x 3072 bytes and N labels")):
        (folder / "test_batch").write_bytes(body)
        monkeypatch.setattr(datasets.CIFAR10, "python_files", (own[0], (("test_batch", None),)))
        with pytest.raises(error, match=part.replace("(", r"\(")):
            datasets.CIFAR10(tmp_path, train=False)


# Folders -------------------------------------------------------------------------------------------------------------


def test_image_folder(tmp_path: Path) -> None:
    for name, color in (("cat/b.png", 1), ("cat/sub/c.PNG", 2), ("cat/a.png", 3), ("ant/x.bmp", 4),
                        ("ant/notes.txt", 0)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if color:
            Image.new("L", (3, 2), color).save(path)
        else:
            path.write_text("no image")
    found = datasets.ImageFolder(tmp_path, transform=np.asarray)
    assert (found.classes, found.class_to_idx) == (["ant", "cat"], {"ant": 0, "cat": 1})
    assert [Path(p).name for p, _ in found.samples] == ["x.bmp", "a.png", "b.png", "c.PNG"]
    assert (found.targets, found.imgs) == ([0, 1, 1, 1], found.samples)
    image, target = found[1]
    assert (image.shape, image.max(), target) == ((2, 3, 3), 3, 1)
    texts = datasets.DatasetFolder(tmp_path, lambda p: Path(p).read_text(), (".txt",), allow_empty=True)
    assert [texts[i] for i in range(len(texts))] == [("no image", 0)]
    chosen = datasets.ImageFolder(tmp_path, is_valid_file=lambda p: p.endswith(("a.png", "x.bmp")))
    assert len(chosen) == 2
    with pytest.raises(FileNotFoundError, match=r"got no file of \.txt for the class cat"):
        datasets.DatasetFolder(tmp_path, open, (".txt",))
    with pytest.raises(ValueError, match="both or neither of extensions and is_valid_file"):
        datasets.DatasetFolder(tmp_path, open)
    with pytest.raises(FileNotFoundError, match="got no folder"):
        datasets.ImageFolder(tmp_path / "ant")
    with pytest.raises(FileNotFoundError, match="ImageFolder: got no folder"):
        datasets.ImageFolder(tmp_path / "absent")


def test_fake_data() -> None:
    fake = datasets.FakeData(4, (3, 8, 6), 5)
    (a, t), (b, u) = fake[3], fake[3]
    assert (a.size, a.mode, t) == ((6, 8), "RGB", u)
    assert a.tobytes() == b.tobytes() != datasets.FakeData(4, (3, 8, 6), 5, random_offset=1)[3][0].tobytes()
    with pytest.raises(IndexError, match="index 4; expected index < 4"):
        fake[4]


# To and from arrays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "1", "I", "F", "I;16"])
def test_pillow_images_to_arrays_and_back(mode: str, rng) -> None:
    channels = {"RGB": 3, "RGBA": 4, "LA": 2}.get(mode, 1)
    values = rng.integers(0, 256, (5, 4, channels))
    dtype = {"I": np.int32, "F": np.float32, "I;16": np.uint16}.get(mode, np.uint8)
    host = values.astype(dtype) if channels > 1 else values[:, :, 0].astype(dtype)
    image = Image.fromarray(host) if mode != "1" else Image.fromarray(host).convert("1", dither=0)
    assert image.mode == mode
    x = transforms.ToTensor()(image)
    assert isinstance(x, HostArray)
    assert x.shape == (channels, 5, 4)
    if dtype == np.uint8:
        expected = np.asarray(image).astype(np.uint8).reshape(5, 4, channels) * (255 if mode == "1" else 1)
        np.testing.assert_array_equal(x, np.moveaxis(expected, 2, 0).astype(np.float32) / 255)
    else:
        np.testing.assert_array_equal(x[0], host)
    raw = transforms.PILToTensor()(image)
    np.testing.assert_array_equal(np.moveaxis(raw, 0, 2).squeeze(), np.asarray(image))
    if mode not in ("1", "F"):  # floats are taken to lie from 0 to 1
        assert np.array_equal(np.asarray(transforms.ToPILImage()(raw)), np.asarray(image))
    if mode in ("L", "RGB", "RGBA"):
        again = transforms.ToPILImage()(x)
        assert again.mode == mode
        assert np.abs(np.asarray(again).astype(int) - np.asarray(image)).max() <= 1


def test_arrays_that_are_no_images() -> None:
    assert transforms.ToTensor()(np.zeros((4, 5), np.float64)).dtype == np.float64
    assert transforms.ToTensor()(np.full((4, 5, 2), 255, np.uint8)).max() == 1
    for call, error, part in (
            (lambda: F.to_tensor(np.zeros(3)), ValueError, "two or three dimensions"),
            (lambda: F.to_tensor([1]), TypeError, "a list"),
            (lambda: F.pil_to_tensor(np.zeros((2, 2))), TypeError, "expected a Pillow image"),
            (lambda: F.to_pil_image(np.zeros((1, 2, 3, 3))), ValueError, "one image"),
            (lambda: F.to_pil_image(np.zeros((2, 3, 5), np.uint8)), ValueError, "5 channels"),
            (lambda: F.to_pil_image(np.zeros((2, 3, 3), np.uint8), "L"), ValueError, "mode 'L' for 3 channels"),
            (lambda: F.hflip("x"), TypeError, "hflip: got a str; expected a Pillow image or an array")):
        with pytest.raises(error, match=part):
            call()


@pytest.mark.parametrize(("source", "target", "values", "expected"), [
    ("uint8", "float32", [0, 51, 255], [0, 0.2, 1]),
    ("float32", "uint8", [0, 0.5, 1], [0, 127, 255]),
    ("uint8", "int16", [0, 1, 255], [0, 128, 32640]),
    ("int16", "uint8", [0, 128, 32767], [0, 1, 255]),
    ("float32", "float64", [0.25], [0.25]),
    ("int32", "uint8", [0, 2**31 - 1], [0, 255]),
])
def test_converting_dtypes(source: str, target: str, values: list, expected: list) -> None:
    x = F.convert_image_dtype(np.array([[values]], source), target)
    assert x.dtype == target
    np.testing.assert_allclose(x[0, 0], expected, rtol=1e-6)


def test_converting_to_what_cannot_hold_it() -> None:
    with pytest.raises(ValueError, match=r"convert_image_dtype: got float32 to clgrad.int32"):
        F.convert_image_dtype(np.zeros((1, 2, 2), np.float32), "int32")


def test_normalize(rng) -> None:
    x = rng.random((2, 3, 4, 5)).astype(np.float32)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    y = transforms.Normalize(mean, std)(x)
    np.testing.assert_allclose(y, (x - np.array(mean).reshape(3, 1, 1)) / np.array(std).reshape(3, 1, 1), atol=2e-6)
    z = x.copy()
    assert transforms.Normalize(mean, std, inplace=True)(z) is not None
    np.testing.assert_array_equal(z, y)
    for bad_call, error in ((lambda: F.normalize(x.astype(np.uint8), mean, std), TypeError),
                            (lambda: F.normalize(x[0, 0], mean, std), ValueError),
                            (lambda: F.normalize(x, mean, [0, 1, 1]), ValueError)):
        with pytest.raises(error, match="normalize: got"):
            bad_call()


# Geometry: an array does what Pillow does ----------------------------------------------------------------------------


def _both(rng, height: int = 9, width: int = 7, channels: int = 3) -> tuple:
    values = rng.integers(0, 256, (height, width, channels)).astype(np.uint8)
    image = Image.fromarray(values if channels > 1 else values[:, :, 0])
    return image, F.pil_to_tensor(image)


def _same(image, array, within: int = 0) -> None:
    expected = np.asarray(F.pil_to_tensor(image)).astype(int)
    assert array.shape == expected.shape
    assert np.abs(np.asarray(array).astype(int) - expected).max(initial=0) <= within


@pytest.mark.parametrize("f", [
    F.hflip, F.vflip,
    lambda x: F.crop(x, 2, 1, 4, 3), lambda x: F.crop(x, -2, -3, 20, 20), lambda x: F.crop(x, 7, 5, 5, 5),
    lambda x: F.center_crop(x, 4), lambda x: F.center_crop(x, [5, 2]), lambda x: F.center_crop(x, (20, 3)),
    lambda x: F.center_crop(x, (10, 12)),
    lambda x: F.pad(x, 2), lambda x: F.pad(x, [1, 2], 7), lambda x: F.pad(x, [1, 2, 3, 4], padding_mode="reflect"),
    lambda x: F.pad(x, [3, 0, 1, 2], padding_mode="edge"), lambda x: F.pad(x, 4, padding_mode="symmetric"),
    lambda x: F.pad(x, [-2, 1, -1, -3], 9), lambda x: F.pad(x, 1, fill=(1, 2, 3)),
    lambda x: F.rotate(x, 90), lambda x: F.rotate(x, -90, expand=True), lambda x: F.rotate(x, 180),
    lambda x: F.resize(x, (9, 7)), lambda x: F.resize(x, (3, 14), InterpolationMode.NEAREST_EXACT),
])
def test_geometry_is_exact(f, rng) -> None:
    image, array = _both(rng)
    _same(f(image), f(array))


@pytest.mark.parametrize("mode", [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC])
@pytest.mark.parametrize("size", [4, (5, 13), (20, 3), 30])
def test_resizing(mode: InterpolationMode, size, rng) -> None:
    """Pillow rounds bytes between its two passes, floats it does not."""
    image, array = _both(rng, 12, 8)
    if mode is InterpolationMode.BILINEAR:
        _same(F.resize(image, size, mode), F.resize(array, size, mode), within=1)
    x = rng.random((12, 8)).astype(np.float32)
    np.testing.assert_allclose(F.resize(x[None], size, mode)[0], np.asarray(F.resize(Image.fromarray(x), size, mode)),
                               atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
def test_resizing_as_pytorch_does(mode: str, antialias: bool, rng) -> None:
    torch = pytest.importorskip("torch")
    x = rng.random((1, 2, 13, 9))
    smooth = antialias and mode in ("bilinear", "bicubic")
    for size in ((5, 4), (20, 30), (13, 3), (1, 1)):
        expected = torch.nn.functional.interpolate(torch.tensor(x), size, mode=mode, antialias=smooth)
        np.testing.assert_allclose(F.resize(x, size, InterpolationMode(mode), antialias=antialias), expected.numpy(),
                                   atol=1e-12)


@pytest.mark.parametrize(("size", "max_size", "expected"), [(6, None, (6, 8)), (6, 7, (5, 7)), ([4], None, (4, 5)),
                                                            ((5, 4), None, (5, 4))])
def test_sizes(size, max_size, expected: tuple, rng) -> None:
    for x in _both(rng, 9, 12):
        assert F.get_dimensions(F.resize(x, size, max_size=max_size)) == [3, *expected]
        assert F.get_image_size(x) == [12, 9]


@pytest.mark.parametrize("angle", [30, -75, 200])
@pytest.mark.parametrize("expand", [False, True])
def test_rotation(angle: float, expand: bool, rng) -> None:
    """Within the image, where a pixel may fall to the other side of a rounding: the slope is 7 at most."""
    smooth = np.add.outer(np.arange(40) * 3, np.arange(30) * 4).astype(np.uint8)
    image, array = Image.fromarray(smooth), smooth[None]
    for mode in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR):
        expected = np.asarray(F.rotate(image, angle, mode, expand)).astype(int)
        found = F.rotate(array, angle, mode, expand)[0].astype(int)
        assert found.shape == expected.shape
        within = F.rotate(np.ones((1, 40, 30)), angle, InterpolationMode.BILINEAR, expand)[0] > 0.999
        assert within.mean() > 0.3
        assert np.abs(found - expected)[within].max() <= (8 if mode is InterpolationMode.NEAREST else 2)
    corner = F.rotate(array, 45, fill=9)[0, 0, 0]
    assert corner == 9
    turned = F.rotate(array, 90, center=(0, 0), fill=1)
    assert turned.shape == array.shape


def test_rotation_about_a_point() -> None:
    x = np.zeros((1, 5, 5), np.float32)
    x[0, 0, 1] = 1
    assert np.argwhere(F.rotate(x, 90, center=(2.5, 2.5))[0]).tolist() == [[3, 0]]
    assert np.argwhere(F.rotate(x, 90, center=(1.5, 1.5))[0]).tolist() == [[1, 0]]


def test_erase(rng) -> None:
    x = rng.random((3, 6, 5))
    y = F.erase(x, 1, 2, 3, 2, np.arange(3).reshape(3, 1, 1))
    assert (y[:, 1:4, 2:4] == np.arange(3).reshape(3, 1, 1)).all()
    mask = np.ones((6, 5), bool)
    mask[1:4, 2:4] = False
    np.testing.assert_array_equal(y[:, mask], x[:, mask])
    assert F.erase(x, 0, 0, 1, 1, 5, inplace=True) is x


# Colours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0, 0.5, 1, 1.7])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_blends(name: str, factor: float, rng) -> None:
    image, array = _both(rng)
    adjust = getattr(F, f"adjust_{name}")
    _same(adjust(image, factor), adjust(array, factor), within=2)
    x = rng.random((3, 4, 5)).astype(np.float32)
    grey = 0.2989 * x[0] + 0.587 * x[1] + 0.114 * x[2]
    other = {"brightness": 0, "contrast": grey.mean(), "saturation": grey}[name]
    np.testing.assert_allclose(adjust(x, factor), np.clip(factor * x + (1 - factor) * other, 0, 1), atol=2e-6)
    with pytest.raises(ValueError, match="expected 0 or more"):
        adjust(x, -1)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0, 0.1, 0.5])
def test_hues(turn: float, rng) -> None:
    import colorsys

    x = rng.random((3, 4, 5))
    x[:, 0, 0] = 0.3  # grey has no hue
    expected = np.empty_like(x)
    for i in np.ndindex(4, 5):
        h, s, v = colorsys.rgb_to_hsv(*x[(slice(None), *i)])
        expected[(slice(None), *i)] = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
    np.testing.assert_allclose(F.adjust_hue(x, turn), expected, atol=1e-12)
    image, array = _both(rng)
    difference = np.abs(np.asarray(F.pil_to_tensor(F.adjust_hue(image, turn))).astype(int)
                        - np.asarray(F.adjust_hue(array, turn)).astype(int))
    assert np.quantile(difference, 0.95) <= 12  # Pillow's hue has 256 steps
    with pytest.raises(ValueError, match=r"-0.5 to 0.5"):
        F.adjust_hue(x, 0.6)


def test_grey(rng) -> None:
    image, array = _both(rng)
    for count in (1, 3):
        _same(transforms.Grayscale(count)(image), transforms.Grayscale(count)(array), within=1)
    one = rng.random((1, 2, 2))
    np.testing.assert_array_equal(F.rgb_to_grayscale(one, 3), np.repeat(one, 3, 0))
    with pytest.raises(ValueError, match="expected 1 or 3"):
        F.rgb_to_grayscale(image, 2)
    with pytest.raises(TypeError, match="to_grayscale: got a HostArray; expected a Pillow image"):
        F.to_grayscale(array)


# Random transforms ---------------------------------------------------------------------------------------------------

RANDOM = {
    "crop": transforms.RandomCrop(4), "padded": transforms.RandomCrop((6, 5), padding=2, padding_mode="reflect"),
    "resized": transforms.RandomResizedCrop(5), "hflip": transforms.RandomHorizontalFlip(),
    "vflip": transforms.RandomVerticalFlip(), "jitter": transforms.ColorJitter(0.4, 0.4, 0.4, 0.2),
    "rotation": transforms.RandomRotation(40), "grey": transforms.RandomGrayscale(0.5),
    "apply": transforms.RandomApply([transforms.Grayscale(3)], 0.5),
    "choice": transforms.RandomChoice([F.hflip, F.vflip], [1, 2]), "order": transforms.RandomOrder([F.hflip, F.vflip]),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_transforms_follow_the_seed_and_draw_anew(name: str, rng) -> None:
    transform = pickle.loads(pickle.dumps(RANDOM[name]))
    for x in _both(rng):
        clgrad.manual_seed(3)
        first = [np.asarray(transform(x)) for _ in range(12)]
        clgrad.manual_seed(3)
        for a, b in zip(first, (transform(x) for _ in range(12))):
            np.testing.assert_array_equal(a, np.asarray(b))
        if name != "order":
            assert len({a.tobytes() for a in first}) > 1
    assert type(transform).__name__ in repr(transform)


def test_where_random_crops_lie() -> None:
    clgrad.manual_seed(0)
    x = np.arange(30).reshape(1, 5, 6)
    corners = Counter(int(transforms.RandomCrop(4)(x)[0, 0, 0]) for _ in range(600))
    assert set(corners) == {0, 1, 2, 6, 7, 8}
    assert min(corners.values()) > 60
    assert transforms.RandomCrop(8, pad_if_needed=True)(x).shape == (1, 8, 8)
    with pytest.raises(ValueError, match="RandomCrop: got an image of 5 x 6; expected at least 7 x 4"):
        transforms.RandomCrop((7, 4))(x)
    for _ in range(50):
        top, left, h, w = transforms.RandomResizedCrop.get_params(np.zeros((1, 40, 50)), (0.2, 0.5), (0.5, 2))
        assert 0 <= top <= 40 - h
        assert 0 <= left <= 50 - w
        assert 0.17 < h * w / 2000 < 0.56
        assert 0.45 < w / h < 2.2
    assert transforms.RandomResizedCrop.get_params(np.zeros((1, 4, 400)), (1, 1), (1, 1)) == (0, 198, 4, 4)


def test_erasing() -> None:
    clgrad.manual_seed(0)
    x = np.ones((3, 20, 20), np.float32)
    y = transforms.RandomErasing(1.0, scale=(0.1, 0.2), value=(4, 5, 6))(x)
    assert (x == 1).all()
    places = np.argwhere(y[0] == 4)
    assert 0.08 < len(places) / 400 < 0.24
    assert (y[1][y[0] == 4] == 5).all()
    assert (places.max(0) - places.min(0) + 1).prod() == len(places)
    z = transforms.RandomErasing(1.0, value="random", inplace=True)(x)
    assert z is x
    assert len(np.unique(z)) > 30
    assert transforms.RandomErasing(0)(x) is x


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: transforms.RandomHorizontalFlip(1.5), ValueError, "RandomHorizontalFlip: got p=1.5"),
    (lambda: transforms.ColorJitter(-1), ValueError, "ColorJitter: got brightness=-1; expected 0 or more"),
    (lambda: transforms.ColorJitter(hue=0.7), ValueError, "ColorJitter: got hue=0.7; expected values from -0.5 to 0.5"),
    (lambda: transforms.ColorJitter(contrast="x"), TypeError, "ColorJitter: got contrast='x'"),
    (lambda: transforms.RandomRotation(-1), ValueError, "RandomRotation: got degrees=-1"),
    (lambda: transforms.RandomErasing(value="x"), ValueError, "RandomErasing: got value='x'"),
    (lambda: transforms.RandomErasing(scale=(0.5, 0.1)), ValueError, "RandomErasing: got scale=(0.5, 0.1)"),
    (lambda: transforms.RandomErasing(1, value=[1, 2])(np.ones((3, 9, 9))), ValueError, "RandomErasing: got 2 values"),
    (lambda: transforms.RandomResizedCrop(3, scale=1), TypeError, "RandomResizedCrop: got scale=1"),
    (lambda: transforms.Resize("x"), TypeError, "Resize: got size='x'"),
    (lambda: transforms.CenterCrop((1, 2, 3)), TypeError, "CenterCrop: got size=(1, 2, 3)"),
    (lambda: transforms.Lambda(3), TypeError, "Lambda: got a int"),
    (lambda: F.resize(np.ones((1, 2, 2)), (1, 1), "bilinear"), TypeError, "resize: got interpolation='bilinear'"),
    (lambda: F.resize(np.ones((1, 2, 2)), 1, InterpolationMode.LANCZOS), ValueError, "resize: got lanczos for"),
    (lambda: F.resize(np.ones((1, 2, 2)), 0), ValueError, "resize: got size=0"),
    (lambda: F.resize(np.ones((1, 2, 2)), 4, max_size=3), ValueError, "resize: got max_size=3; expected more than"),
    (lambda: F.rotate(np.ones((1, 2, 2)), 1, InterpolationMode.BICUBIC), ValueError, "rotate: got bicubic for"),
    (lambda: F.pad(np.ones((1, 2, 2)), [1, 2, 3]), ValueError, "pad: got padding=[1, 2, 3]"),
    (lambda: F.pad(np.ones((1, 2, 2)), 1, padding_mode="x"), ValueError, "pad: got padding_mode='x'"),
    (lambda: F.adjust_contrast(np.ones((2, 2, 2)), 1), ValueError, "colours: got an image of 2 channels"),
])
def test_errors_of_transforms(call, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_without_pillow_the_error_says_what_to_install(child, no_driver) -> None:
    child("""
        import sys
        sys.modules["PIL"] = None
        import numpy as np
        from clgrad.vision import transforms
        x = transforms.ToTensor()(np.zeros((4, 4, 3), np.uint8))
        x = transforms.RandomCrop(2)(transforms.RandomHorizontalFlip(1.0)(x))
        try:
            transforms.ToPILImage()(x)
        except ImportError as error:
            assert 'pip install "clgrad[vision]"' in str(error), error
        else:
            raise SystemExit("no error")
    """, **no_driver)
