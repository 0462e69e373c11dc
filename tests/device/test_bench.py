"""tools/bench.py on a device: its own kernels give the right numbers, and a run goes from cases to a page."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import clgrad
import clgrad.custom

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def roofline():
    sys.path.insert(0, str(TOOLS))
    try:
        yield importlib.import_module("benchmarks.roofline")
    finally:
        sys.path.remove(str(TOOLS))


@pytest.mark.parametrize(("order", "width", "stream"), [("parts", 8, True), ("turns", 4, False)])
def test_copy_kernel(roofline, device, order, width, stream) -> None:
    n = 8 * 37  # vectors that items of neither order share evenly
    a = clgrad.arange(n, dtype=clgrad.float32)
    out = clgrad.zeros(n)
    clgrad.custom.Kernel("copy", roofline.COPY, "wri")((5,), None, out, a, n // width, order=order, width=width,
                                                       stream=stream)
    np.testing.assert_array_equal(out.numpy(), np.arange(n, dtype=np.float32))


def test_measure(roofline, form, monkeypatch) -> None:
    """One form of each kernel, on little: every figure is there, and says which kernel it is of."""
    monkeypatch.setattr(roofline, "PEAK_SECONDS", 1e-4)
    monkeypatch.setattr(roofline, "_FINAL_SECONDS", 1e-3)
    monkeypatch.setattr(roofline, "multiply_add_forms",
                        lambda wide: iter([{"width": 4, "chains": 2, "function": "fma"}]))
    monkeypatch.setattr(roofline, "copy_forms", lambda wide: iter([{"width": 4, "order": "turns", "stream": False}]))
    monkeypatch.setattr(roofline, "copied_bytes", lambda facts, cache: 1 << 16)
    found = roofline.measure(clgrad, form)
    assert list(found) == ["float32", "float64", "copy"]
    assert found["float32"]["rate"] > 0
    assert found["float32"]["chains"] == 2
    assert (found["float64"]["rate"] > 0) == form.facts.fp64
    assert found["copy"]["rate"] > 0
    assert found["copy"]["bytes"] == 1 << 16


def test_wrong_numbers_are_no_roofline(roofline, device, monkeypatch) -> None:
    monkeypatch.setattr(roofline, "multiply_add_forms",
                        lambda wide: iter([{"width": 4, "chains": 2, "function": "fma"}]))
    monkeypatch.setattr(roofline, "_FACTOR", 0.5)
    monkeypatch.setattr(roofline, "expected", lambda turns, chains, width: 1.0)
    with pytest.raises(RuntimeError, match=r"roofline: .* computed .* instead of 1\.0"):
        list(roofline.multiply_adds(clgrad, device, "float"))


def test_a_run_from_case_to_page(child, device, tmp_path) -> None:
    kept, page = tmp_path / "run.json", tmp_path / "page.md"
    command = ["tools/bench.py", "--library", "clgrad", "--library", "numpy", "--only", "matmul 64x64x64", "--rounds",
               "1", "--times", "1", "--json", str(kept), "--markdown", str(page)]
    done = child(command)
    assert "| matmul 64x64x64 | clgrad |" in done.stdout
    assert "matmul 64x64x64: clgrad " in done.stderr
    rows = json.loads(kept.read_text())["rows"]
    assert [(r["case"], r["library"]) for r in rows] == [("matmul 64x64x64", n) for n in ("clgrad", "numpy")]
    assert all(r["median"] > 0 and r["first"] > 0 and len(r["samples"]) == 1 for r in rows)
    assert rows[0]["memory"] >= 3 * 64 * 64 * 4  # two operands and a result
    assert "### Matrix products" in page.read_text()
    again = child([*command, "--resume"])
    assert "matmul 64x64x64: clgrad " not in again.stderr  # there already


def test_device_that_is_not_there(child, device) -> None:
    done = child(["tools/bench.py", "--library", "clgrad", "--device", "no-such-device"], status=2)
    assert "clgrad does not start" in done.stderr
    assert "no library starts" in done.stderr
