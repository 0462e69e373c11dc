"""Rows whose work-items meet in sub-groups: emulated, real where the driver has them; and the gate before them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import clgrad
from clgrad import kernels, ops
from clgrad.core import dtypes
from clgrad.core.errors import BuildError
from clgrad.families import plans, subgroups
from clgrad.families.norm import norm, norm_backward
from clgrad.ndarray import from_host
from clgrad.runtime.device import Verdict
from clgrad.testing import assert_close

EMULATED = ({"joining": "emulated8"}, {"joining": "emulated12"}, {"joining": "emulated1"})


@pytest.fixture(params=EMULATED, ids=lambda way: way["joining"])
def met(request: pytest.FixtureRequest, both_forms: dict, monkeypatch: pytest.MonkeyPatch) -> clgrad.Device:
    """A many-core device with sub-groups of 8, 12 (4 can be swapped across), or 1, numbered from behind."""
    monkeypatch.setattr(subgroups, "_ways", lambda device: [request.param])
    monkeypatch.setattr(subgroups, "verdict", lambda device, way: Verdict(True))
    plans.forget()
    with both_forms["many"] as chosen:
        yield chosen
    plans.forget()


def _rows(rng: np.random.Generator, K: int) -> np.ndarray:
    return rng.standard_normal((5, K)).astype(np.float32)


@pytest.mark.parametrize("K", [3, 60, 700])
def test_rows(K: int, rng: np.random.Generator, met: clgrad.Device) -> None:
    """Teams within a sub-group, and of several."""
    x, dy = _rows(rng, K), _rows(rng, K)
    a, g = from_host(x), from_host(dy)
    wide = x.astype(np.float64)
    exact = np.exp(wide - wide.max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    assert_close(ops.ALL["softmax"](a, 1), exact.astype(np.float32), dtype="float32", scale=4)
    assert_close(ops.ALL["sum"](a, 1), wide.sum(1).astype(np.float32), dtype="float32", scale=4)
    x[1, K // 2] = np.nan
    assert_close(ops.ALL["amax"](from_host(x), 1), x.max(1), dtype="float32")
    np.testing.assert_array_equal(ops.ALL["argmax"](from_host(np.floor(x)), 1).numpy(), np.floor(x).argmax(1))
    centred = wide - wide.mean(1, keepdims=True)
    normal = centred / np.sqrt((centred ** 2).mean(1, keepdims=True) + 1e-5)
    out, mean, rstd = norm(a, None, None, "layer", 1, 1e-5, False, None)
    assert_close(out, normal.astype(np.float32), dtype="float32", scale=4)
    dx, dw, _ = norm_backward(g, a, mean, rstd, None, "layer", 1, False, True)
    means = dy.mean(1, keepdims=True, dtype=np.float64) + normal * (dy * normal).mean(1, keepdims=True)
    assert_close(dx, ((dy - means) * rstd.numpy().astype(np.float64)[:, None]).astype(np.float32), dtype="float32",
                 scale=10)
    assert_close(dw, (dy * normal).sum(0).astype(np.float32), dtype="float32", scale=10)


def test_other_numbers(rng: np.random.Generator, met: clgrad.Device) -> None:
    """Values of one, two and eight bytes are swapped, too."""
    for dtype in ("int8", "uint16", "int64", "float64", "float16"):
        x = rng.integers(-100, 100, (3, 130)).astype(dtype)
        np.testing.assert_array_equal(ops.ALL["amin"](from_host(x), 1).numpy(), x.min(1))
    np.testing.assert_array_equal(ops.ALL["sum"](from_host(x.astype(np.int64)), 1).numpy(), x.sum(1, dtype=np.int64))


@pytest.mark.parametrize("K", [40, 1300])
def test_scans(K: int, rng: np.random.Generator, met: clgrad.Device) -> None:
    """Sums, and the last largest value with its place; beyond a tile of a work-group, and beyond its end."""
    x = rng.integers(-9, 9, (3, K))
    x[1] = np.iinfo(np.int64).min
    best, at = np.maximum.accumulate(x, 1), np.zeros_like(x)
    for k in range(1, K):
        at[:, k] = np.where(x[:, k] >= best[:, k - 1], k, at[:, k - 1])
    values, places = ops.ALL["cummax"](from_host(x), 1)
    np.testing.assert_array_equal(values.numpy(), best)
    np.testing.assert_array_equal(places.numpy(), at)
    x[1] = 1
    np.testing.assert_array_equal(ops.ALL["cumsum"](from_host(x), 1).numpy(), x.cumsum(1))
    wide = x.astype(np.float32)
    assert_close(ops.ALL["cumsum"](from_host(wide), 1), x.cumsum(1).astype(np.float32), dtype="float32")


# The gate ------------------------------------------------------------------------------------------------------------


def _device(extensions: str, version: str = "OpenCL 3.0 x", vendor: str = "Another") -> SimpleNamespace:
    return SimpleNamespace(_cl=SimpleNamespace(extensions=extensions), version=version, vendor=vendor, platform_name="")


@pytest.mark.parametrize(("lists", "ways"), [
    (_device("cl_khr_fp64"), []),
    (_device("cl_khr_subgroup_shuffle cl_intel_subgroups"), ["shuffle CL3.0", "intel", "built_in CL3.0"]),
    (_device("cl_intel_subgroups", "OpenCL 1.2 x"), ["intel"]),
    (_device("cl_khr_subgroups cl_khr_fp64", "OpenCL 2.0 AMD-APP"), ["built_in CL2.0"]),
    (_device("", vendor="NVIDIA Corporation"), ["ptx"])])
def test_what_may_work(lists: SimpleNamespace, ways: list[str]) -> None:
    assert [" ".join(way.values()) for way in subgroups._ways(lists)] == ways


@pytest.mark.parametrize("way", EMULATED[:2], ids=lambda way: way["joining"])
def test_every_team_of_a_group(way: dict, both_forms: dict) -> None:
    """What judges real sub-groups, with emulated ones."""
    assert subgroups._wrong(both_forms["many"], way, 8, dtypes.float32) == ""
    assert subgroups._wrong(both_forms["many"], way, 32, dtypes.int64) == ""


def test_the_devices_own(device: clgrad.Device, both_forms: dict, tmp_path: Path, monkeypatch) -> None:
    """What the driver lists is either right, or refused with a reason; what it does not know is refused."""
    monkeypatch.setattr(subgroups, "_verdicts", {})
    with clgrad.config.override(cache_dir=tmp_path):
        for way in subgroups._ways(both_forms["many"]):
            assert subgroups.verdict(both_forms["many"], way) == Verdict(True)
        refused = subgroups.verdict(both_forms["many"], {"joining": "ptx"})  # no CPU driver builds it
        assert not refused.ok
        assert refused.reason
        monkeypatch.setattr(subgroups, "_verdicts", {})
        monkeypatch.setattr(subgroups, "_validate", lambda *_: pytest.fail("asked again"))
        assert subgroups.verdict(both_forms["many"], {"joining": "ptx"}) == refused
    assert device.lost is None


@pytest.mark.parametrize("result", ["right", "wrong", "refused"])
def test_what_sub_groups_compute_decides(result: str, both_forms: dict, tmp_path: Path, monkeypatch) -> None:
    def wrong(*_: object) -> str:
        if result == "refused":
            raise BuildError("no such function")
        return "" if result == "right" else "do not agree"

    monkeypatch.setattr(subgroups, "_verdicts", {})
    monkeypatch.setattr(subgroups, "_ways", lambda device: [{"joining": "emulated8"}])
    monkeypatch.setattr(subgroups, "_wrong", wrong)
    with clgrad.config.override(cache_dir=tmp_path):
        way = subgroups.joining(both_forms["many"])
        assert way == ({"joining": "emulated8"} if result == "right" else subgroups.TREE)
        assert subgroups.joining(both_forms["many"], "serial") == subgroups.TREE
        with clgrad.config.override(subgroups="off"):
            assert subgroups.joining(both_forms["many"]) == subgroups.TREE


def test_the_verdict_for_people(both_forms: dict, monkeypatch) -> None:
    many = both_forms["many"]
    verdicts = {"shuffle": Verdict(False, "no such function"), "intel": Verdict(True)}
    monkeypatch.setattr(subgroups, "verdict", lambda device, way: verdicts[way["joining"]])
    monkeypatch.setattr(subgroups, "_ways", lambda device: [{"joining": "shuffle"}, {"joining": "intel"}])
    assert subgroups.report(many) == "by intel"
    verdicts["intel"] = Verdict(False, "wrong")
    assert subgroups.report(many) == "in local memory (shuffle: no such function; intel: wrong)"
    monkeypatch.setattr(subgroups, "_ways", lambda device: [])
    assert subgroups.report(many) == "in local memory (the driver lists no sub-groups)"
    with clgrad.config.override(subgroups="off"):
        assert subgroups.report(many) == "in local memory (CLGRAD_SUBGROUPS is off)"


def test_a_wrong_sum_is_seen(both_forms: dict, monkeypatch) -> None:
    module = kernels.template("teams").module
    real = module.swapped
    monkeypatch.setitem(module.join.__globals__, "swapped", lambda *names: real(*names) + " + 1")
    assert "do not agree" in subgroups._wrong(both_forms["wide"], EMULATED[0], 8, dtypes.int64)


def test_the_instruction_of_nvidia() -> None:
    text = kernels.render("teams", function="teams", ctype="double", group=8, joining="ptx")
    assert "shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xff;" in text
    assert "shown" not in text
    assert "0xffffffff" in kernels.render("teams", function="teams", ctype="float", group=64, joining="ptx")
