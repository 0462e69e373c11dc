"""Safetensors files: values, layout of the format, atomic writing, damage of every kind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad import Variable, io, nn
from clgrad.core import dtypes
from clgrad.core.errors import CorruptFileError, DTypeError
from clgrad.ndarray import from_host

stnp = pytest.importorskip("safetensors.numpy")


def _some() -> dict:
    return {"weight": clgrad.tensor(np.arange(12, dtype=np.float32).reshape(3, 4)), "steps": clgrad.tensor([1, 2])}


@pytest.mark.parametrize("dtype", [d.name for d in dtypes.ALL if d.kind != "c" and d is not dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4)], ids=str)
def test_round_trip(dtype: str, shape: tuple, tmp_path: Path, device) -> None:
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    host = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2).astype(dtype)
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
    assert io.load(str(tmp_path / "x.safetensors"), device=str(device))["weight"].device is device


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
    (tmp_path / "x").write_text("hello, this is text")
    with pytest.raises(CorruptFileError, match="expected a whole safetensors file"):
        io.load(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        io.load(tmp_path / "absent")


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
        io.save(state, tmp_path / "x", metadata)
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_error_says_what_to_install(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"clgrad.io: got no package 'safetensors'.*pip install 'clgrad\[io\]'"):
        io.save(_some(), tmp_path / "x")


def test_a_dtype_that_clgrad_lacks(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = b'{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(DTypeError, match=r"load: got 'x' of BF16 in .*; expected a dtype that clgrad has"):
        io.load(path)
