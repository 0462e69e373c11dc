"""Safetensors files: values, layout of the format, lazy reading, atomic writing, damage of every kind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad import Variable, io, nn
from clgrad.core import dtypes
from clgrad.core.errors import CorruptFileError, DTypeError
from clgrad.ndarray import from_host

stnp = pytest.importorskip("safetensors.numpy")
safetensors = pytest.importorskip("safetensors")


def _some() -> dict:
    return {"weight": clgrad.tensor(np.arange(12, dtype=np.float32).reshape(3, 4)), "steps": clgrad.tensor([1, 2])}


@pytest.mark.parametrize("dtype", [d.name for d in dtypes.ALL if d.name != "complex128"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4)], ids=str)
def test_round_trip(dtype: str, shape: tuple, tmp_path: Path, device) -> None:
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    host = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2).astype(dtypes.dtype(dtype).np)
    io.save({"a": from_host(host), "b": Variable(from_host(host))}, tmp_path / "x.safetensors")
    loaded = io.load(tmp_path / "x.safetensors")
    assert set(loaded) == {"a", "b"}
    for value in loaded.values():
        assert isinstance(value, Variable)
        assert (value.dtype.name, value.shape) == (dtype, shape)
        np.testing.assert_array_equal(value.numpy(), host)


def test_special_values_and_views_are_kept_bit_by_bit(tmp_path: Path) -> None:
    host = np.array([[np.nan, -0.0, np.inf], [1e-42, -np.inf, 3.0]], np.float32)
    base = from_host(host)
    io.save({"t": base.T, "row": base[1], "step": base[:, ::2]}, tmp_path / "x.safetensors")
    loaded = io.load(tmp_path / "x.safetensors")
    for name, expected in (("t", host.T), ("row", host[1]), ("step", host[:, ::2])):
        assert loaded[name].numpy().tobytes() == np.ascontiguousarray(expected).tobytes()


def test_a_model_comes_back(tmp_path: Path) -> None:
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    io.save(model.state_dict(), tmp_path / "m.safetensors", {"format": "pt", "note": "π"})
    other.load_state_dict(io.load(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(other.weight.detach().numpy(), model.weight.detach().numpy())
    assert io.metadata(tmp_path / "m.safetensors") == {"format": "pt", "note": "π"}


def test_other_programs_read_our_files_and_we_theirs(tmp_path: Path) -> None:
    io.save(_some(), tmp_path / "ours.safetensors")
    theirs = stnp.load_file(tmp_path / "ours.safetensors")
    np.testing.assert_array_equal(theirs["weight"], np.arange(12, dtype=np.float32).reshape(3, 4))
    stnp.save_file({"x": np.arange(3)}, tmp_path / "theirs.safetensors", {"from": "elsewhere"})
    assert io.load(tmp_path / "theirs.safetensors")["x"].tolist() == [0, 1, 2]
    assert io.metadata(tmp_path / "theirs.safetensors") == {"from": "elsewhere"}


def test_loading_to_a_device(tmp_path: Path, device) -> None:
    io.save(_some(), tmp_path / "x.safetensors")
    assert io.load(str(tmp_path / "x.safetensors"), map_location=str(device))["weight"].device is device


# Damage --------------------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    """Header, names, shapes, metadata, digests and values alike."""
    path = tmp_path / "x.safetensors"
    io.save(_some(), path, {"note": "hello"})
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises((CorruptFileError, DTypeError)) as caught:
            io.load(path)
        assert str(path) in str(caught.value), position


@pytest.mark.parametrize(("from_end", "name"), [(1, "weight"), (40, "weight")])
def test_a_damaged_value_names_file_and_tensor(from_end: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    io.save(_some(), path)
    damaged = bytearray(path.read_bytes())
    damaged[-from_end] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(CorruptFileError) as caught:
        io.load(path)
    assert str(caught.value) == (f"load: got {path}, whose tensor {name!r} is damaged; expected content that matches "
                                 "its sha256 digest. Restore the file from a copy.")
    with pytest.raises(CorruptFileError):
        io.metadata(path)


def test_a_renamed_or_missing_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    io.save(_some(), path)
    path.write_bytes(path.read_bytes().replace(b'"steps":{', b'"stepz":{'))
    with pytest.raises(CorruptFileError, match="tensor 'stepz' is damaged"):
        io.load(path)


@pytest.mark.parametrize("cut", [0, 7, 20, -1, -45])
def test_truncated_files(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    io.save(_some(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] if cut >= 0 else whole[:len(whole) + cut])
    with pytest.raises(CorruptFileError) as caught:
        io.load(path)
    message = str(caught.value)
    assert message.startswith(f"load: got {path}, which is damaged")
    assert message.endswith("expected a whole safetensors file. Restore it from a copy.")
    assert ("it ends within 'weight'" in message) == (cut < 0)


def test_no_safetensors_file_at_all(tmp_path: Path) -> None:
    for name, begins in (("x", "expected a whole safetensors file or PyTorch checkpoint"),
                         ("x.safetensors", "expected a whole safetensors file. Restore")):
        (tmp_path / name).write_text("hello, this is text")
        with pytest.raises(CorruptFileError, match=begins):
            io.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        io.load(tmp_path / "absent")


def _file(path: Path, header: object, data: bytes = bytes(8)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _entry(shape: object, begin: object, end: object, dtype: object = "F32", **more: object) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


@pytest.mark.parametrize(("header", "part"), [
    ({"x": _entry([2], 0, 9)}, "'x' of shape [2] and F32 in 9 bytes"),
    ({"x": _entry([3], 0, 12)}, "it ends within 'x'"),
    ({"x": _entry([2], 8, 16)}, "it ends within 'x'"),
    ({"x": _entry([1], 4, 8)}, "rather than"),
    ({"x": _entry([1], 0, 4), "y": _entry([2], 0, 8)}, "'y' begins at byte"),
    ({"x": _entry([1], 0, 4)}, "4 bytes after the last tensor"),
    ({"x": _entry([-2], 0, 8)}, "'x' of shape [-2]"),
    ({"x": _entry([2], -8, 0)}, "at [-8, 0]"),
    ({"x": _entry([1 << 40, 1 << 40], 0, 8)}, "in 8 bytes"),
    ({"x": _entry([True, 2], 0, 8)}, "'x' of shape [True, 2]"),
    ({"x": _entry([2.0], 0, 8)}, "'x' of shape [2.0]"),
    ({"x": _entry([2], 0, 8, "F31")}, "unknown dtype 'F31'"),
    ({"x": 3}, "no dtype, shape and data_offsets"),
    ({"x": _entry([2], 0, 8), "__metadata__": {"a": 1}}, "metadata that is no map of strings"),
    (b"[1]", "no JSON object"),
    (b"{" * 50_000, "no JSON"),
    (b'{"x"', "no JSON"),
])
def test_headers_that_lie(header: object, part: str, tmp_path: Path) -> None:
    path = _file(tmp_path / "x.safetensors", header)
    with pytest.raises(CorruptFileError) as caught:
        io.load(path)
    assert part in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(safetensors.SafetensorError):
        stnp.load_file(path)  # the format's own library agrees


def test_a_name_twice(tmp_path: Path) -> None:
    entry = b'"x":' + json.dumps(_entry([1], 0, 4)).encode()
    path = _file(tmp_path / "x.safetensors", b"{" + entry + b"," + entry.replace(b"[0, 4]", b"[4, 8]") + b"}")
    with pytest.raises(CorruptFileError, match="the name 'x' twice"):
        io.load(path)


def test_a_header_longer_than_any_file(tmp_path: Path) -> None:
    for length in (200_000_000, 2**63, 2**64 - 1):
        (tmp_path / "x.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(CorruptFileError, match=f"a header of {length} bytes, above 100000000"):
            io.load(tmp_path / "x.safetensors")


def test_a_bool_is_0_or_1(tmp_path: Path) -> None:
    path = _file(tmp_path / "x.safetensors", {"x": _entry([8], 0, 8, "BOOL")}, bytes([0, 1, 2, 0, 0, 0, 0, 0]))
    with pytest.raises(CorruptFileError, match="got a bool of value 2 in 'x'"):
        io.load(path)


# Lazily --------------------------------------------------------------------------------------------------------------


def test_reading_parts(tmp_path: Path, device) -> None:
    path = tmp_path / "x.safetensors"
    host = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    io.save({"x": from_host(host), "b": clgrad.ones(3, dtype="bfloat16"), "none": clgrad.zeros(0, 2)}, path,
            {"note": "hi"})
    with io.safe_open(path, framework="pt", device=device) as file:
        assert (file.keys(), file.metadata()) == (["b", "none", "x"], {"note": "hi"})
        assert file.offset_keys()[0] in ("x", "none")
        part = file.get_slice("x")
        assert (part.get_shape(), part.get_dtype(), file.get_slice("b").get_dtype()) == ([3, 4, 5], "F32", "BF16")
        device.copies.reset()
        for index in (1, slice(1, 3), (slice(None), 2), (Ellipsis, slice(None, None, 2)), (0, 1, 2), slice(3, 3)):
            got = part[index]
            assert isinstance(got, Variable)
            assert got.shape == host[index].shape
            np.testing.assert_array_equal(got.numpy(), host[index])
        assert device.copies.bytes_to_device == 4 * (20 + 40 + 15 + 36 + 1)
        np.testing.assert_array_equal(file.get_tensor("x").numpy(), host)
        assert file.get_tensor("b").dtype is clgrad.bfloat16
        with pytest.raises(KeyError, match="got the name 'y'; expected one of b, none, x"):
            file.get_tensor("y")
        with pytest.raises(IndexError):
            part[3]
    with pytest.raises(ValueError, match="which is closed"):
        part[0]
    with io.safe_open(path, "numpy") as file:
        assert type(file.get_tensor("x")) is np.ndarray
        file.get_tensor("x")[0] = 1  # memory of its own
    with pytest.raises(ValueError, match="safe_open: got framework='tf'; expected one of clgrad"):
        io.safe_open(path, "tf")


def test_damage_shows_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    io.save({"a": clgrad.ones(4), "b": clgrad.ones(4)}, path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # in b
    path.write_bytes(data)
    with io.safe_open(path) as file:
        assert file.get_tensor("a").tolist() == [1, 1, 1, 1]
        assert file.get_slice("b")[:2].tolist() == [1, 1]
        with pytest.raises(CorruptFileError, match="tensor 'b' is damaged"):
            file.get_tensor("b")
    with io.safe_open(path, verify=True) as file, pytest.raises(CorruptFileError, match="tensor 'b' is damaged"):
        file.get_slice("b")[:2]


# Writing -------------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.safetensors"
    io.save(_some(), path)
    before = path.read_bytes()

    def refuse(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        io.save({"other": clgrad.ones(100)}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(("state", "metadata", "error", "message"), [
    (nn.Identity(), None, TypeError, "save: got a Identity; expected a dict of arrays by name. Pass model."),
    ({"state": {}}, None, TypeError, "save: got a dict as 'state'; expected a Variable or an Array. Nested state"),
    ({"x": 1.0}, None, TypeError, "save: got a float as 'x'; expected a Variable or an Array. Use clgrad.tensor"),
    ({1: None}, None, TypeError, "save: got the name 1; expected strings"),
    ({}, {"a": 1}, TypeError, "save: got metadata 'a': 1; expected strings"),
    ({}, {"sha256:a": "x"}, ValueError, "save: got metadata key 'sha256:a'"),
])
def test_errors_of_saving(state, metadata, error: type, message: str, tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        io.save(state, tmp_path / "x.safetensors", metadata)
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "dtype"), [("F8_E4M3", 1), ("F4", 0)])
def test_a_dtype_that_clgrad_lacks(name: str, dtype: int, tmp_path: Path) -> None:
    path = _file(tmp_path / "x.safetensors", {"x": _entry([2], 0, 2 if dtype else 1, name)}, bytes(2 if dtype else 1))
    with pytest.raises(DTypeError, match=rf"load: got 'x' of {name} in .*; expected a dtype that clgrad has"):
        io.load(path)


def test_a_dtype_that_the_format_lacks(tmp_path: Path, device) -> None:
    if device.facts.fp64:
        with pytest.raises(DTypeError, match=r"save: got 'x' of clgrad.complex128; expected a dtype that safetensors"):
            io.save({"x": clgrad.tensor([1j], dtype="complex128")}, tmp_path / "x.safetensors")
