"""PyTorch's checkpoints without PyTorch: round trips, whole models, and hostile or damaged files of every kind.

The files are laid byte by byte here, so that what the reader accepts does not rest on what our writer writes.
"""

from __future__ import annotations

import io as stdio
import os
import pickle
import struct
import sys
import types
import zipfile
import zlib
from collections import Counter, OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad import Variable, io, nn, optim
from clgrad.core.errors import CorruptFileError, DTypeError, UnsafeFileError

# Laying pickles ------------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def row(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def storage(key: str = "0", count: int = 4, kind: str = "FloatStorage", *view: bytes) -> bytes:
    module = "torch.storage" if kind == "UntypedStorage" else "torch"
    return row(text("storage"), f"c{module}\n{kind}\n".encode(), text(key), text("cuda:1"), number(count), *view) + b"Q"


def tensor(offset: int = 0, size: tuple = (2, 2), stride: tuple = (2, 1), place: bytes | None = None,
           requires_grad: bytes = b"\x89") -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + row(
        place or storage(), number(offset), row(*map(number, size)), row(*map(number, stride)), requires_grad,
        b"ccollections\nOrderedDict\n)R") + b"R"


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


FOUR = np.arange(4, dtype="<f4").tobytes()


def archive(path: Path, body: bytes, records: dict | None = None, folder: str = "archive", **write: int) -> Path:
    """A checkpoint of one pickle and its records."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/data.pkl", pickled(body))
        for name, data in ({"data/0": FOUR} if records is None else records).items():
            file.writestr(name[1:] if name.startswith("!") else f"{folder}/{name}", data, **write)
    return path


def legacy(path: Path, body: bytes, keys: list | None = None, raw: bytes | None = None, little: bool = True,
           magic: int = 0x1950A86A20F9469CFC6C, protocol: int = 1001) -> Path:
    path.write_bytes(pickle.dumps(magic, 2) + pickle.dumps(protocol, 2)
                     + pickle.dumps({"protocol_version": 1001, "little_endian": little}, 2)
                     + pickled(body) + pickle.dumps(["0"] if keys is None else keys, 2)
                     + (struct.pack("<q", 4) + FOUR if raw is None else raw))
    return path


# What is read --------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.pt"


@pytest.mark.parametrize("make", [archive, legacy])
def test_tensors_share_their_storage(make, path: Path) -> None:
    a, b, c = io.load(make(path, row(tensor(), tensor(1, (3,), (1,), requires_grad=b"\x88"),
                                     tensor(3, (5, 1), (0, 1)))))
    assert (a.tolist(), b.tolist(), c.tolist()) == ([[0, 1], [2, 3]], [1, 2, 3], [[3]] * 5)
    assert a.storage is b.storage is c.storage
    assert (a.requires_grad, b.requires_grad, c.stride()) == (False, True, (0, 1))


KINDS = {"DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2",
         "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?", "ComplexFloatStorage": "<c8"}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_both_byte_orders(kind: str, order: str, path: Path, device) -> None:
    dtype = np.dtype(KINDS[kind])
    if dtype.itemsize == 8 and dtype.kind == "f" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    host = np.array([0, 1, 1, 0]).astype(dtype) if kind == "BoolStorage" else np.array([1, -2, 3, 100]).astype(dtype)
    data = host.astype(dtype.newbyteorder("<" if order == "little" else ">")).tobytes()
    x = io.load(archive(path, tensor(place=storage(kind=kind)), {"data/0": data, "byteorder": order}))
    assert x.dtype.np == dtype.newbyteorder("=")
    np.testing.assert_array_equal(x.numpy(), host.reshape(2, 2))
    if kind == "LongStorage":
        x = io.load(legacy(path, tensor(place=storage(kind=kind)), little=order == "little",
                           raw=struct.pack("<q" if order == "little" else ">q", 4) + data))
        assert x.tolist() == [[1, -2], [3, 100]]


def test_bfloat16_and_storages_without_a_type(path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    x = io.load(archive(path, tensor(place=storage(kind="BFloat16Storage")), {"data/0": np.array(
        [0x3F80, 0xC000, 0x4040, 0], "<u2").tobytes()}))
    assert (x.dtype, x.to(clgrad.float32).tolist()) == (clgrad.bfloat16, [[1, -2], [3, 0]])
    body = b"ctorch._utils\n_rebuild_tensor_v3\n" + row(
        storage(count=16, kind="UntypedStorage"), number(1), row(number(3)), row(number(1)), b"\x89",
        b"ccollections\nOrderedDict\n)R", b"ctorch\nuint32\n") + b"R"
    x = io.load(archive(path, body, {"data/0": np.array([1, 2**32 - 1, 3, 4], "<u4").tobytes()}))
    assert (x.dtype, x.tolist()) == (clgrad.uint32, [2**32 - 1, 3, 4])


def test_a_view_of_a_storage_in_the_older_kind(path: Path) -> None:
    view = row(text("0.1"), number(1), number(3))
    x = io.load(legacy(path, tensor(1, (2,), (1,), storage("0", 4, "FloatStorage", view))))
    assert x.tolist() == [2, 3]


def test_containers_of_a_state_dict(path: Path) -> None:
    body = (b"ccollections\nOrderedDict\n)Rq\x00(" + text("w") + b"ctorch._utils\n_rebuild_parameter\n"
            + row(tensor(), b"\x88", b"ccollections\nOrderedDict\n)R") + b"R" + text("self") + b"h\x00"
            + text("size") + b"ctorch\nSize\n" + row(row(number(2), number(3))) + b"R"
            + text("device") + b"ctorch\ndevice\n" + row(text("cuda"), number(1)) + b"R" + text("dtype")
            + b"ctorch\nfloat16\n" + text("set") + b"c__builtin__\nset\n" + row(b"]" + number(1) + b"a") + b"R"
            + text("bytes") + b"c_codecs\nencode\n" + row(text("ÿ"), text("latin1")) + b"R"
            + b"u}" + text("_metadata") + b"}" + text("version") + number(1) + b"ssb")
    found = io.load(archive(path, body))
    assert type(found) is OrderedDict
    assert found["self"] is found
    assert isinstance(found["w"], nn.Parameter)
    assert (found["size"], found["device"], found["dtype"]) == ((2, 3), "cuda:1", clgrad.float16)
    assert (found["set"], found["bytes"], found._metadata) == ({1}, b"\xff", {"version": 1})


def test_where_tensors_go(path: Path, both_forms, device) -> None:
    archive(path, tensor())
    other = both_forms["many"]
    asked = []
    for given, expected in ((None, device), (str(device), device), ({"cuda:1": other}, other),
                            ({"cuda:0": other}, device),
                            (lambda s, where: asked.append(where) or s, device), (lambda s, where: other, other)):
        assert io.load(path, given).device is expected
    assert asked == ["cuda:1"]
    with path.open("rb") as file:
        assert clgrad.load(file).tolist() == [[0, 1], [2, 3]]


# Hostile and damaged -------------------------------------------------------------------------------------------------


def _refused(path: Path, error: type, *parts: str) -> None:
    with pytest.raises(error) as caught:
        io.load(path)
    for part in (str(path), *parts):
        assert part in str(caught.value)


class Evil:
    """Its pickle runs a function when it is loaded."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(("body", "names"), [
    (pickle.dumps(Evil(os.system, "true"), 2)[2:-1], "the global 'posix.system'"),
    (pickle.dumps(Evil(eval, "1"), 4)[2:-1], "the global 'builtins.eval'"),
    (pickle.dumps(Evil(print, "x"), 0)[:-1], "print"),
    (b"cclgrad.io\nload\n" + row(text("x")) + b"R", "the global 'clgrad.io.load'"),
    (b"ctorch\nload\n" + row(text("x")) + b"R", "the global 'torch.load'"),
    (b"ctorch.nn.modules.linear\nLinear\n)\x81}b", "the global 'torch.nn.modules.linear.Linear'"),
    (b"cbuiltins\ngetattr\n" + row(text("x"), text("y")) + b"R", "the global 'builtins.getattr'"),
    (b"(S'x'\nios\nsystem\n", "the pickle opcode "),
    (b"(ios\nsystem\n", "the pickle opcode INST"),
    (b"(ccollections\nOrderedDict\no", "the pickle opcode OBJ"),
    (b"ccollections\nOrderedDict\n)\x81", "the pickle opcode NEWOBJ"),
    (b"\x82\x01", "the pickle opcode EXT1"),
    (b"Ppid\n", "the pickle opcode PERSID"),
    (b"]}" + text("__class__") + b"Nsb", "state for a list"),
    (b"ccollections\nOrderedDict\n)R}" + text("__class__") + b"Nsb", "state for a OrderedDict"),
    (b"}" + b"]" + b"Ns", "a list as a key"),
    (b"}" + tensor() + b"Ns", "a Tensor as a key"),
    (text("f") + b")R", "a call of a str"),
    (row(text("module"), b"N") + b"Q", "('module', None)"),
    (b"c_codecs\nencode\n" + row(text("x"), text("rot13")) + b"R", "bytes in the encoding 'rot13'"),
])
def test_a_pickle_that_asks_for_more_than_data(body: bytes, names: str, path: Path) -> None:
    for make in (archive, legacy):
        _refused(make(path, body), UnsafeFileError, f"which asks for {names}" if names.startswith("the g") else names,
                 "expected tensors and plain containers. Nothing of it was run.")


@pytest.mark.parametrize(("body", "part"), [
    (tensor(1), "beyond its storage '0' of 4 elements"),
    (tensor(0, (3, 2)), "beyond its storage"),
    (tensor(0, (2, 2), (3, 1)), "beyond its storage"),
    (tensor(2**62), "beyond its storage"),
    (tensor(-1), "whose offset is (-1,)"),
    (tensor(0, (2, 2), (-2, 1)), "whose strides is (-2, 1)"),
    (tensor(0, (-2, 2)), "whose size is (-2, 2)"),
    (tensor(0, (2**40, 2**40), (0, 0)), "too large for any machine"),
    (tensor(0, (1,) * 65, (1,) * 65), "whose size is"),
    (tensor(0, (2**63,), (0,)), "whose size is"),
    (tensor(0, (2,), (1, 1)), "1 sizes and 2 strides"),
    (tensor(2**80), "whose offset is"),
    (b"ctorch._utils\n_rebuild_tensor_v2\n" + row(text("x"), number(0), b")", b")", b"\x89", b"N") + b"R",
     "a tensor in a str"),
    (tensor(place=storage(kind="LongStorage"), requires_grad=b"\x88"), "that requires a gradient"),
    (row(tensor(), tensor(place=storage(count=3))), "the storage '0' with 16 and 12 bytes"),
    (tensor(place=storage(count=-4)), "the storage "),
    (tensor(place=storage("0", 4, "FloatStorage", row(text("v"), number(2), number(3)))), "elements 2 to 5 of a stor"),
    (b"h\x07", "a pickle that cannot be read"),
    (b"", "a pickle that cannot be read"),
    (b"t", "a pickle that cannot be read"),
    (b"(R", "a pickle that cannot be read"),
    (b"X\xff\xff\xff\xffabc", "a pickle that cannot be read"),
    (b"\x8d" + struct.pack("<Q", 2**62) + b"abc", "a pickle that cannot be read"),
    (b"\x8b" + struct.pack("<i", 100) + b"\1" * 100, "an integer of 793 bits"),
    (b"\xff", "a pickle that cannot be read"),
])
def test_a_pickle_that_is_damaged_or_lies(body: bytes, part: str, path: Path) -> None:
    for make in (archive, legacy):
        _refused(make(path, body), CorruptFileError, part, "Restore it from a copy.")


def test_types_that_clgrad_lacks_are_named(path: Path) -> None:
    _refused(archive(path, tensor(place=storage(kind="QInt8Storage"))), DTypeError, "PyTorch's QInt8Storage")
    body = b"ctorch._utils\n_rebuild_tensor_v3\n" + row(
        storage(count=4, kind="UntypedStorage"), number(0), row(number(3)), row(number(1)), b"\x89", b"N",
        b"ctorch\nfloat8_e5m2\n") + b"R"
    _refused(archive(path, body), DTypeError, "PyTorch's float8_e5m2")


def test_a_deep_nest(path: Path) -> None:
    _refused(archive(path, b"]" * 100_000 + b"a" * 99_999, {}), CorruptFileError, "nested too deep")


@pytest.mark.parametrize(("records", "part"), [
    ({}, "no bytes of the storage '0'"),
    ({"data/0": FOUR[:-1]}, "15 bytes of the storage '0', which should have 16"),
    ({"data/0": FOUR, "byteorder": "middle"}, "the byte order b'middle'"),
    ({"data/0": FOUR, "../../evil": b""}, "a record of the odd name 'archive/../../evil'"),
    ({"data/0": FOUR, "!/etc/evil": b""}, "a record of the odd name"),
    ({"data/0": FOUR, "a\\b": b""}, "a record of the odd name"),
    ({"data/0": FOUR, "!other/x": b""}, "records in 2 folders rather than one"),
])
def test_records_that_do_not_fit(records: dict, part: str, path: Path) -> None:
    _refused(archive(path, tensor(), records), CorruptFileError, part)


def test_archives_of_other_shapes(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("word/document.xml", "<x/>")
    _refused(path, CorruptFileError, "a zip archive without data.pkl")
    _refused(archive(path, tensor(), {"data/0": FOUR, "constants.pkl": b""}), UnsafeFileError, "TorchScript")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("second/data.pkl", b"")
    _refused(path, CorruptFileError, "'data.pkl' twice")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_twice(path: Path) -> None:
    archive(path, tensor())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data/0", bytes(16))
    _refused(path, CorruptFileError, "the record 'data/0' twice")


def test_a_zip_bomb(path: Path) -> None:
    archive(path, tensor(place=storage(count=1 << 22)), {"data/0": bytes(1 << 24)},
            compress_type=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    _refused(path, CorruptFileError, f"the compressed record 'data/0' of {1 << 24} bytes")


def test_records_larger_than_the_file(path: Path) -> None:
    """The archive's directory claims sizes that the file does not have."""
    archive(path, tensor(place=storage(count=1 << 28)))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 20:entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(data)
    _refused(path, CorruptFileError, f"in a file of {len(data)}")


def test_every_flipped_bit_of_the_values_is_noticed(path: Path) -> None:
    archive(path, tensor())
    data = bytearray(path.read_bytes())
    at = data.index(FOUR)
    for position in range(at, at + 16):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        _refused(path, CorruptFileError, "a damaged zip archive", "Bad CRC-32")


@pytest.mark.parametrize("make", [archive, legacy])
def test_every_truncation_is_noticed(make, path: Path) -> None:
    whole = make(path, tensor()).read_bytes()
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        _refused(path, CorruptFileError)


def test_noise_in_the_older_kind(path: Path) -> None:
    _refused(legacy(path, tensor(), magic=7), CorruptFileError, "a pickle that PyTorch did not write")
    _refused(legacy(path, tensor(), protocol=7), CorruptFileError, "a protocol that is not 1001")
    _refused(legacy(path, tensor(), keys=["1"]), CorruptFileError, "a list of storages that are not those of its")
    _refused(legacy(path, tensor(), keys=["0", "0"]), CorruptFileError, "a list of storages")
    _refused(legacy(path, tensor(), raw=struct.pack("<q", 3) + FOUR), CorruptFileError, "of 3 elements, which should")
    _refused(legacy(path, tensor(), raw=struct.pack("<q", 4) + FOUR[:-1]), CorruptFileError, "ends within the storage")
    _refused(legacy(path, tensor(place=storage(count=2**40)), raw=struct.pack("<q", 2**40)), CorruptFileError,
             "ends within the storage")
    path.write_bytes(b"\x80" + bytes(256) + b"ustar")
    _refused(path, CorruptFileError, "a tar archive of PyTorch before 0.1.10")


@pytest.mark.parametrize("make", [archive, legacy])
def test_random_damage_gives_values_or_one_of_two_errors(make, path: Path, rng) -> None:
    whole = make(path, row(tensor(), b"}", text("key"), b"Ns")).read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            io.load(path)
        except (CorruptFileError, UnsafeFileError, DTypeError) as error:
            assert str(path) in str(error)  # noqa: PT017


def test_trust_runs_the_pickle(path: Path) -> None:
    body = pickle.dumps(Evil(Counter, "abca"), 2)[2:-1]
    assert io.load(archive(path, body, {}), trust=True) == Counter("abca")
    x, made = io.load(archive(path, row(tensor(), pickle.dumps(Evil(int.__neg__, 5), 4)[2:-1])), trust=True)
    assert (x.tolist(), made) == ([[0, 1], [2, 3]], -5)


# Writing -------------------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")


def _round(value: object) -> object:
    file = stdio.BytesIO()
    clgrad.save(value, file)
    file.seek(0)
    return clgrad.load(file)


def test_plain_values_come_back() -> None:
    value = {"none": None, "bools": [True, False], "ints": [0, -1, 255, 256, 2**31, -(2**40), 2**500], "float": 1e-300,
             "nan": float("inf"), "complex": 1 - 2j, "text": "π\0\n", "bytes": b"\x00\xff", 3: (1,), (1, "a"): (),
             "nest": ((1, [2, {"x": (3, 4, 5, 6)}]),), "set": {1, "x"}, "dtype": clgrad.float16,
             "ordered": OrderedDict(a=1)}
    assert _round(value) == value
    assert type(_round(value)["ordered"]) is OrderedDict
    assert _round([np.float32(0.5), np.int8(3), np.bool_(True), Pair(1, 2), {"a"}]) == [0.5, 3, True, (1, 2), {"a"}]


def test_identity_and_cycles_are_kept() -> None:
    inner = [1]
    outer = {"a": inner, "b": inner}
    outer["self"] = outer
    found = _round(outer)
    assert found["a"] is found["b"]
    assert found["self"] is found


def test_arrays_come_back(device) -> None:
    x = clgrad.arange(24, dtype=clgrad.float32).view(2, 3, 4)
    value = {"x": x, "t": x.permute(2, 0, 1), "part": x[1, :, ::2], "same": x, "flip": x.data[:, ::-1],
             "empty": clgrad.zeros(0, 3), "scalar": clgrad.tensor(2), "grad": clgrad.ones(2, requires_grad=True),
             "p": nn.Parameter(clgrad.ones(2), requires_grad=False), "array": x.data}
    found = _round(value)
    for name, v in value.items():
        got, host = found[name], (v.detach() if isinstance(v, Variable) else v).numpy()
        assert isinstance(got, Variable)
        assert (got.dtype, got.shape) == (v.dtype, v.shape)
        np.testing.assert_array_equal(got.detach().numpy(), host)
    assert found["same"] is found["x"]
    assert found["t"].storage is found["x"].storage is found["part"].storage
    assert found["t"].stride() == value["t"].stride()
    assert found["grad"].requires_grad
    assert isinstance(found["p"], nn.Parameter)
    assert not found["p"].requires_grad


def test_records_lie_at_multiples_of_64(path: Path) -> None:
    io.save({"a": clgrad.ones(3), "b": clgrad.ones(5)}, path)
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            start = info.header_offset + 30 + len(info.filename) + len(info.extra)
            assert start % 64 == 0
            data = path.read_bytes()[start:start + info.file_size]
            assert zlib.crc32(data) == info.CRC


def test_training_goes_on_from_a_checkpoint(path: Path) -> None:
    def make() -> tuple:
        clgrad.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 2))
        return model, optim.Adam(model.parameters(), lr=0.1)

    def step(model, optimizer) -> list:
        optimizer.zero_grad()
        model(clgrad.ones(2, 3)).square().sum().backward()
        optimizer.step()
        return [p.detach().tolist() for p in model.parameters()]

    model, optimizer = make()
    step(model, optimizer)
    io.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, path)
    expected = step(model, optimizer)
    other, its_optimizer = make()
    found = io.load(path, weights_only=True)
    other.load_state_dict(found["model"])
    its_optimizer.load_state_dict(found["optimizer"])
    assert found["epoch"] == 1
    assert step(other, its_optimizer) == expected


@pytest.mark.parametrize(("value", "error", "message"), [
    (object(), TypeError, "save: got a builtins.object; expected arrays, modules, numbers"),
    ({"x": np.ones(2)}, TypeError, "save: got a numpy.ndarray"),
    ([lambda: 0], TypeError, "save: got <function"),
    ({"x": 1 << 600}, ValueError, "save: got an int of 601 bits"),
])
def test_what_has_no_place_in_a_file(value: object, error: type, message: str, path: Path) -> None:
    with pytest.raises(error) as caught:
        io.save(value, path)
    assert str(caught.value).startswith(message)
    assert not path.exists()
    with pytest.raises(TypeError, match="save: got metadata for a PyTorch checkpoint"):
        io.save({}, path, {"a": "b"})


# Whole models --------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A model with everything that a model may hold."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.options = {"rate": 0.5, "names": ["a", "b"]}
        self.first = nn.Linear(size, size)
        self.tied = nn.Linear(size, size)
        self.tied.weight = self.first.weight
        self.again = self.first
        self.act = nn.functional.relu
        self.kind = nn.ReLU
        self.register_buffer("mean", clgrad.ones(size))
        self.register_buffer("scratch", clgrad.zeros(2), persistent=False)
        self.register_parameter("absent", None)
        self.constant = clgrad.tensor([1.0, 2.0])

    def forward(self, x):
        return self.tied(self.act(self.first(x))) * self.mean


@pytest.fixture
def models(monkeypatch) -> types.ModuleType:
    """A module, importable by name, whose classes a file may use."""
    module = types.ModuleType("models_of_the_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Net, "__module__", module.__name__)
    module.Net = Net
    return module


def test_a_whole_model_comes_back(models, path: Path) -> None:
    model = Net(3).eval()
    clgrad.save({"model": model, "first": model.first}, path)
    found = clgrad.load(path)
    net = found["model"]
    assert type(net) is Net
    assert found["first"] is net.first is net.again
    assert net.tied.weight is net.first.weight
    assert (net.size, net.options, net.act, net.kind, net.training) == (3, model.options, nn.functional.relu, nn.ReLU,
                                                                        False)
    assert net.constant.tolist() == [1, 2]
    assert net.absent is None
    assert list(net.state_dict()) == list(model.state_dict())
    x = clgrad.randn(4, 3)
    np.testing.assert_array_equal(net(x).detach().numpy(), model(x).detach().numpy())
    net(x).sum().backward()
    assert net.first.weight.grad is not None
    with pytest.raises(UnsafeFileError, match="which holds a whole model; expected weights only"):
        clgrad.load(path, weights_only=True)


def test_a_class_that_is_not_imported_is_not_imported(models, path: Path, monkeypatch) -> None:
    clgrad.save(Net(2), path)
    del models.Net
    with pytest.raises(UnsafeFileError, match="a model that uses 'models_of_the_test:Net', which is not a"):
        clgrad.load(path)
    monkeypatch.delitem(sys.modules, models.__name__)
    with pytest.raises(UnsafeFileError, match="Import the module that defines it first"):
        clgrad.load(path)


def test_trust_imports(path: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "made_for_trust.py").write_text("from clgrad import nn\nclass Own(nn.Linear):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import made_for_trust

    clgrad.save(made_for_trust.Own(1, 1), path)
    monkeypatch.delitem(sys.modules, "made_for_trust")
    with pytest.raises(UnsafeFileError):
        clgrad.load(path)
    assert "made_for_trust" not in sys.modules
    assert type(clgrad.load(path, trust=True)).__name__ == "Own"


@pytest.mark.parametrize("name", ["os:system", "clgrad.io:load", "clgrad.io.files:Path", "clgrad:nn", "builtins:eval",
                                  "clgrad.nn:Module.__init__", "clgrad.nn.module:np.load", "clgrad.absent:x", "", ":"])
def test_a_file_cannot_name_what_it_likes_as_a_model(name: str, path: Path) -> None:
    clgrad.save({"clgrad.module": name, "attributes": {}, "_parameters": {}, "_buffers": {}, "_modules": {}}, path)
    with pytest.raises(UnsafeFileError, match="a model that uses"):
        clgrad.load(path)


def test_a_model_without_its_parts(path: Path) -> None:
    clgrad.save({"clgrad.module": "clgrad.nn.linear:Linear", "attributes": 3}, path)
    with pytest.raises(UnsafeFileError, match="without its parts"):
        clgrad.load(path)


def test_a_local_class_cannot_be_stored(path: Path) -> None:
    class Local(nn.Module):
        pass

    with pytest.raises(TypeError, match=r"save: got <class .*Local'>, which cannot be found as .*Local; expected"):
        clgrad.save(Local(), path)


# PyTorch -------------------------------------------------------------------------------------------------------------


DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
          "float64", "bfloat16", "complex64", "complex128"]


def _values(name: str) -> np.ndarray:
    host = np.array([[0, 1], [1, 3]])
    return host.astype(bool) if name == "bool" else host


def test_pytorch_reads_what_is_written(device) -> None:
    torch = pytest.importorskip("torch")
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    names = [n for n in DTYPES if device.facts.fp64 or n not in ("float64", "complex128")]
    typed = {n: clgrad.tensor(_values(n)).to(getattr(clgrad, n)) for n in names}
    optimizer = optim.Adam(model.parameters())
    model(clgrad.ones(1, 3)).sum().backward()
    optimizer.step()
    file = stdio.BytesIO()
    clgrad.save({"model": model.state_dict(), "typed": typed, "t": typed["int64"].t(),
                 "optimizer": optimizer.state_dict(), "parameter": model[0].weight,
                 "plain": [1, 2**40, "x", b"y", {1}, 1j, None, (True,)]}, file)
    file.seek(0)
    found = torch.load(file, weights_only=True)
    for name, v in model.state_dict().items():
        np.testing.assert_array_equal(found["model"][name].numpy(), v.numpy())
    for name in names:
        assert str(found["typed"][name].dtype) == f"torch.{name}"
        np.testing.assert_array_equal(found["typed"][name].to(torch.complex64).numpy(), _values(name))
    assert found["t"].stride() == (1, 2)
    assert found["t"].untyped_storage().data_ptr() == found["typed"]["int64"].untyped_storage().data_ptr()
    assert isinstance(found["parameter"], torch.nn.Parameter)
    assert found["plain"] == [1, 2**40, "x", b"y", {1}, 1j, None, (True,)]
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    theirs.load_state_dict(found["model"])
    torch.optim.Adam(theirs.parameters()).load_state_dict(found["optimizer"])


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_writes_is_read(zipped: bool, path: Path, device) -> None:
    torch = pytest.importorskip("torch")
    names = [n for n in DTYPES if device.facts.fp64 or n not in ("float64", "complex128")]
    typed = {n: torch.tensor(_values(n)).to(getattr(torch, n)) for n in names}
    base = torch.arange(12.0).view(3, 4)
    module = torch.nn.BatchNorm1d(3)
    torch.save({"typed": typed, "t": base.t(), "row": base[1], "expanded": base[0].expand(2, 4),
                "module": module.state_dict(), "parameters": list(module.parameters()), "size": base.size(),
                "dtype": base.dtype, "device": base.device,
                "plain": [1, 2**40, "x", b"y", {1}, None, (True,)], "empty": torch.zeros(0, 3),
                "grad": torch.ones(2, requires_grad=True)}, path, _use_new_zipfile_serialization=zipped)
    found = clgrad.load(path)
    for name in names:
        assert found["typed"][name].dtype is getattr(clgrad, name)
        np.testing.assert_array_equal(found["typed"][name].to(clgrad.complex64).numpy(), _values(name))
    for name, v in (("t", base.t()), ("row", base[1]), ("expanded", base[0].expand(2, 4)),
                    ("empty", torch.zeros(0, 3))):
        assert found[name].stride() == v.stride()
        np.testing.assert_array_equal(found[name].numpy(), v.numpy())
    assert found["t"].storage is found["row"].storage
    assert list(found["module"]) == list(module.state_dict())
    assert found["module"]._metadata == module.state_dict()._metadata
    assert [type(p) for p in found["parameters"]] == [nn.Parameter] * 2
    assert (found["size"], found["dtype"], found["device"]) == ((3, 4), clgrad.float32, "cpu")
    assert found["plain"] == [1, 2**40, "x", b"y", {1}, None, (True,)]
    assert found["grad"].requires_grad
    torch.save(module, path, _use_new_zipfile_serialization=zipped)
    _refused(path, UnsafeFileError, "the global 'torch.nn.modules.batchnorm.BatchNorm1d'")
