"""The kernel for matrix units, its instruction emulated; and the gate before it, which every failure must close."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad import kernels
from clgrad.core import dtypes
from clgrad.core.errors import BuildError
from clgrad.families import matmul as family
from clgrad.families import matrix_units, plans
from clgrad.ndarray import from_host
from clgrad.ops.elementwise import relu
from clgrad.runtime import launch as launcher
from clgrad.runtime.device import Verdict
from clgrad.testing import assert_close, on_device

MODULE = kernels.template("matrix_units").module
DTYPES = ("float16", "bfloat16")
# Few fragments: each product of two is a barrier's worth of code where it is emulated.
def _tile(*numbers: int) -> dict[str, int]:
    return dict(zip(("warps_m", "warps_n", "fragments_m", "fragments_n", "tile_k"), numbers))


TILES = {"ptx": (_tile(1, 4, 4, 2, 32), _tile(2, 1, 1, 4, 64)), "wmma": (_tile(2, 2, 1, 1, 32), _tile(1, 2, 2, 2, 32)),
         "mfma": (_tile(1, 2, 1, 1, 32), _tile(2, 1, 1, 2, 16)),
         "dpas8": (_tile(4, 4, 1, 2, 32), _tile(2, 4, 2, 1, 32)),
         "dpas16": (_tile(2, 2, 2, 1, 32), _tile(2, 4, 2, 1, 32))}


@pytest.fixture
def emulated(device, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Products go to an emulated unit, NVIDIA's unless a test says another; the labels of what is launched."""
    launched: list[str] = []
    _emulate(monkeypatch, "ptx", 1)
    monkeypatch.setattr(launcher, "_recent", launched)
    yield launched
    plans.forget()


def _emulate(monkeypatch: pytest.MonkeyPatch, unit: str, number: int) -> None:
    monkeypatch.setattr(matrix_units, "unit_of", lambda device, form, *_: f"emulated {unit}" if form == "many" else "")
    monkeypatch.setattr(MODULE, "TILES", {unit: TILES[unit][number:number + 1]})
    plans.forget()


def _exact(rng: np.random.Generator, M: int, K: int, N: int, dtype: str, batch: tuple = ()) -> tuple:
    """Whole numbers and their product, rounded once: float32 sums are exact, sums in 16 bits would not be."""
    kept = dtypes.dtype(dtype).np
    a, b = rng.integers(-3, 8, (*batch, M, K)).astype(kept), rng.integers(-3, 8, (*batch, K, N)).astype(kept)
    return a, b, (a.astype(np.float64) @ b.astype(np.float64)).astype(kept)


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("unit", TILES)
def test_products_to_the_last_bit(unit: str, number: int, rng: np.random.Generator, emulated: list,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    _emulate(monkeypatch, unit, number)
    dtype = DTYPES[number]
    rows, columns, _ = MODULE.tile(TILES[unit][number], unit)
    plain, turned = ("contiguous", "contiguous"), ("transposed", "transposed")
    first, second = (plain, turned) if number else (("sliced", "transposed"), ("contiguous", "sliced"))
    for M, K, N, layouts in ((rows, 64, columns, first), (rows + 3, 49, columns + 5, second), (17, 520, 20, plain)):
        a, b, expected = _exact(rng, M, K, N, dtype)
        got = family.matmul(*(on_device(v, layout) for v, layout in zip((a, b), layouts)), "many").numpy()
        np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64), err_msg=f"{M} {K} {N}")
    assert set(emulated) == {"matmul.matrix", "matmul.sum"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_and_endings(dtype: str, rng: np.random.Generator, emulated: list) -> None:
    a, b, product = _exact(rng, 20, 33, 70, dtype, (3,))
    bias, rest = (rng.integers(-9, 9, s).astype(a.dtype) for s in ((70,), (3, 20, 70)))
    assert_close(family.matmul(from_host(a), from_host(b), "many"), product)
    total = a.astype(np.float64) @ b.astype(np.float64) + bias.astype(np.float64)
    exact = np.maximum(total, 0) + rest.astype(np.float64)
    got = family.matmul(from_host(a), from_host(b), "many", before=from_host(bias), after=from_host(rest),
                        activation=relu.op.run.expression)
    assert got.dtype.name == dtype
    np.testing.assert_array_equal(got.numpy().astype(np.float64), exact.astype(a.dtype).astype(np.float64))
    a[1, 4, 7] = np.nan
    out = family.matmul(from_host(a), from_host(b), "many").numpy().astype(np.float32)
    assert np.isnan(out[1, 4]).all()
    assert np.isnan(out).sum() == 70
    assert set(emulated) == {"matmul.matrix"}


def test_other_products_do_not_go_there(rng: np.random.Generator, emulated: list) -> None:
    for M, K, N, dtype in ((32, 32, 32, "float32"), (8, 64, 64, "float16"), (64, 64, 1, "float16")):
        a, b = (rng.standard_normal(s).astype(dtype) for s in ((M, K), (K, N)))
        family.matmul(from_host(a), from_host(b), "many")
        family.matmul(from_host(a), from_host(b), "wide")
    assert "matmul.matrix" not in emulated


_CALLS = {"ptx": (".f32.f16.f16.f32", ".f32.bf16.bf16.f32"),
          "wmma": ("wmma_f32_16x16x16_f16_w32", "wmma_f32_16x16x16_bf16_w32"),
          "mfma": ("mfma_f32_32x32x8f16", "mfma_f32_32x32x8bf16_1k"),
          "dpas8": ("group_f16_f16_matrix_mad_k16(as_int8", "group_bf16_bf16_matrix_mad_k16(as_int8"),
          "dpas16": ("group_f16_f16_matrix_mad_k16(as_short8", "group_bf16_bf16_matrix_mad_k16(as_short8")}


@pytest.mark.parametrize("unit", MODULE.UNITS)
def test_every_choice_of_parameters_renders(unit: str, both_forms: dict) -> None:
    names, facts = list(MODULE.PARAMS), both_forms["many"].facts
    taken = [p for p in (dict(zip(names, values)) for values in itertools.product(*MODULE.PARAMS.values()))
             if MODULE.valid(p, facts, unit)]
    assert len(taken) > 8
    assert all(t in taken for t in MODULE.TILES[unit])
    for number, params in enumerate(taken[:40]):
        ctype = ("half", "bf16")[number % 2]
        along = (("k", "m"), ("n", "k"), ("k", "k"), ("m", "n"))[number % 4]
        text = kernels.render("matrix_units", **params, function="matrix", form="many", part="matrix", ctype=ctype,
                              acc="float", out=("float", ctype)[number // 2 % 2], index="int", unit=unit,
                              a_along=along[0], b_along=along[1], **family.PLAIN)
        assert text.count("MULTIPLY(x") == params["fragments_m"] * params["fragments_n"]
        assert _CALLS[unit][number % 2] in text
        assert "shown" not in text


# Pairs, on wide cores -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["emulated", "avx512_bf16"])
def pairs(request: pytest.FixtureRequest, device, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Products go two by two, by plain arithmetic and by the instruction where there is one; what is launched."""
    launched: list[str] = []
    unit = next(u for u in matrix_units.UNITS if u.name == "avx512_bf16")
    if request.param == unit.name and matrix_units.why_not(device, unit, "bf16", family._by_unit):
        pytest.skip("neither this CPU nor its driver has AVX-512 BF16")
    monkeypatch.setattr(matrix_units, "unit_of", lambda *_: request.param)
    monkeypatch.setattr(launcher, "_recent", launched)
    plans.forget()
    yield launched
    plans.forget()


@pytest.mark.parametrize("layouts", list(itertools.product(("contiguous", "transposed", "sliced"), repeat=2)))
def test_pairs_to_the_last_bit(layouts: tuple, rng: np.random.Generator, pairs: list) -> None:
    """Odd K has a last value without a neighbour; edges, splits of K, panels packed by their work-item and before."""
    for M, K, N in ((6, 32, 64), (7, 33, 70), (131, 512, 260), (40, 1101, 30)):
        a, b, expected = _exact(rng, M, K, N, "bfloat16")
        got = family.matmul(*(on_device(v, layout) for v, layout in zip((a, b), layouts)), "wide").numpy()
        np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64), err_msg=f"{M} {K} {N}")
    assert {"matmul.tile", "matmul.pack"} <= set(pairs) <= {"matmul.tile", "matmul.pack", "matmul.sum", "matmul.dot"}


def test_pairs_of_rows_along_k(rng: np.random.Generator, pairs: list) -> None:
    """x @ w.T without packing, from even and odd addresses; K ends between words, within one and at a vector's end."""
    for K in (64, 130, 1063):
        a, b, expected = _exact(rng, 9, K, 14, "bfloat16")
        for first in (0, 1):
            lines = [np.full((v.shape[0], K + 3), np.nan).astype(v.dtype) for v in (a, b.T)]
            for line, v in zip(lines, (a, b.T)):
                line[:, first:first + K] = v
            x, w = (from_host(line)[:, first:first + K] for line in lines)
            got = family.matmul(x, w.T, "wide").numpy()
            np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64), err_msg=f"{K} {first}")
    assert set(pairs) == {"matmul.dot"}


def test_pairs_in_batches_with_endings(rng: np.random.Generator, pairs: list) -> None:
    a, b, _ = _exact(rng, 20, 34, 70, "bfloat16", (3,))
    bias, rest = (rng.integers(-9, 9, s).astype(a.dtype) for s in ((70,), (3, 20, 70)))
    total = a.astype(np.float64) @ b.astype(np.float64) + bias.astype(np.float64)
    exact = np.maximum(total, 0) + rest.astype(np.float64)
    got = family.matmul(from_host(a), from_host(b), "wide", before=from_host(bias), after=from_host(rest),
                        activation=relu.op.run.expression)
    assert got.dtype.name == "bfloat16"
    np.testing.assert_array_equal(got.numpy().astype(np.float64), exact.astype(a.dtype).astype(np.float64))


@pytest.mark.parametrize("K", [33, 34])
def test_pairs_read_nothing_beyond_the_last_value(K: int, rng: np.random.Generator, pairs: list) -> None:
    """NaN and infinity stay in the rows and columns that hold them; what lies behind an odd row is not read as it."""
    a, b, _ = _exact(rng, 20, K, 40, "bfloat16")
    a[1], a[4, 7], b[3, 5] = np.nan, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = (a.astype(np.float64) @ b.astype(np.float64)).astype(a.dtype)
    got = family.matmul(from_host(a), from_host(b), "wide").numpy()
    np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64))


def test_gradients_of_a_product_of_pairs(rng: np.random.Generator, pairs: list) -> None:
    a, b, product = _exact(rng, 18, 32, 20, "bfloat16")
    x, y = (clgrad.tensor(v, requires_grad=True) for v in (a, b))
    out = x @ y
    out.backward(clgrad.ones_like(out))
    assert_close(out.detach(), product)
    ones = np.ones((18, 20))
    for v, exact in ((x, ones @ b.astype(np.float64).T), (y, a.astype(np.float64).T @ ones)):
        np.testing.assert_array_equal(v.grad.numpy().astype(np.float64), exact.astype(a.dtype).astype(np.float64))


# The gate ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nvidia(device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> clgrad.Device:
    """A device that says it is NVIDIA's, on which nothing is known of its units."""
    other = clgrad.Device(device._cl, f"{device.key}/{tmp_path.name}", device.index)  # kernels belong to their Device
    other.vendor = "NVIDIA Corporation"
    monkeypatch.setattr(matrix_units, "_verdicts", {})
    monkeypatch.setattr(matrix_units, "_lacks", {})
    monkeypatch.setattr(MODULE, "TILES", {"ptx": TILES["ptx"][1:]})
    with clgrad.config.override(cache_dir=tmp_path, form="many"):
        yield other


def _product(device: clgrad.Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The launches of a right product on a device."""
    plans.forget()
    launched: list[str] = []
    a, b, expected = _exact(rng, 20, 33, 40, "float16")
    x, y = from_host(a, None, device), from_host(b, None, device)
    assert_close(family.matmul(x, y), expected)
    with monkeypatch.context() as patch:
        patch.setattr(launcher, "_recent", launched)
        assert_close(family.matmul(x, y), expected)
    plans.forget()
    return launched


def test_a_driver_that_does_not_know_the_instruction(nvidia, rng: np.random.Generator, monkeypatch) -> None:
    """No CPU driver builds PTX: the real gate, the real kernel, and a refusal that is remembered."""
    assert _product(nvidia, rng, monkeypatch) == ["matmul.tile"]
    (known,) = matrix_units._verdicts.values()
    assert not known.ok
    assert known.reason
    assert nvidia.lost is None
    monkeypatch.setattr(matrix_units, "_verdicts", {})
    monkeypatch.setattr(matrix_units, "_validate", lambda *_: pytest.fail("asked again"))
    assert _product(nvidia, rng, monkeypatch) == ["matmul.tile"]


@pytest.mark.parametrize("multiply", ["right", "wrong", "refused"])
def test_what_a_unit_computes_decides(multiply: str, nvidia, rng: np.random.Generator, monkeypatch) -> None:
    unit = replace(matrix_units.UNITS[0], name="emulated ptx")
    monkeypatch.setattr(matrix_units, "UNITS", (unit,))
    real = family._by_unit

    def by_unit(*args):
        if multiply == "refused":
            raise BuildError("this driver has no such instruction")
        return real(*args) if multiply == "right" else real(*args) + real(*args).eq(12)

    monkeypatch.setattr(family, "_by_unit", by_unit)
    used = _product(nvidia, rng, monkeypatch)
    (known,) = matrix_units._verdicts.values()
    assert used == (["matmul.matrix"] if multiply == "right" else ["matmul.tile"])
    assert known.ok is (multiply == "right")
    assert {"right": "", "wrong": "are wrong", "refused": "no such instruction"}[multiply] in known.reason


def test_who_is_never_asked(nvidia, rng: np.random.Generator, monkeypatch) -> None:
    monkeypatch.setattr(matrix_units, "verdict", lambda *_: pytest.fail("asked"))
    with clgrad.config.override(matrix_units="off"):
        assert _product(nvidia, rng, monkeypatch) == ["matmul.tile"]
    nvidia.vendor = "Another"
    monkeypatch.setattr(matrix_units, "_lacks", {})
    assert _product(nvidia, rng, monkeypatch) == ["matmul.tile"]
    monkeypatch.setattr(matrix_units, "verdict", lambda *_: Verdict(True))
    for form in ("many", "wide"):
        assert matrix_units.unit_of(nvidia, form, "float", None) == ""


def test_a_core_is_asked_before_it_is_trusted(device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without the instruction would end the process: its word counts, not what was remembered of its name."""
    if device.type != "cpu":
        pytest.skip("another kind of device")
    unit = next(u for u in matrix_units.UNITS if u.name == "avx512_bf16")
    said = unit.lacking(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and not said:
        assert "avx512_bf16" in cpuinfo.read_text()
    if cpuinfo.exists() and said == "the CPU has none":
        assert "avx512_bf16" not in cpuinfo.read_text()
    monkeypatch.setattr(matrix_units, "_lacks", {})
    monkeypatch.setattr(matrix_units, "verdict", lambda *_: Verdict(True))
    absent = replace(unit, lacking=lambda _: "the CPU has none")
    monkeypatch.setattr(matrix_units, "UNITS", (absent,))
    assert matrix_units.unit_of(device, "wide", "bf16", family._by_unit) == ""
    assert "the CPU has none" in matrix_units.report(device, "wide", family._by_unit)
