"""The digits example, small: it learns, saves, loads, draws, and takes its options."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clgrad import io

for package in ("sklearn", "matplotlib", "tqdm", "safetensors"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def digits() -> Any:
    path = Path(__file__).parents[2] / "examples" / "digits.py"
    spec = importlib.util.spec_from_file_location("digits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_learns_and_leaves_a_picture_and_a_model(digits: Any, tmp_path: Path, device, capsys) -> None:
    output = tmp_path / "digits.png"
    accuracy = digits.main(["--device", str(device), "--epochs", "15", "--batch-size", "64", "--output", str(output)])
    assert accuracy >= 0.97
    assert output.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"device: {device} " in printed
    assert f"{accuracy:.1%} of 360 test scans right" in printed
    model = digits.make_model()
    model.load_state_dict(io.load(tmp_path / "digits.safetensors"))
    *_, x, y = digits.load_data()
    weights = [p.detach().numpy() for p in model.parameters()]
    for w, b in zip(weights[::2], weights[1::2]):
        x = np.maximum(x @ w.T + b, 0) if w.shape[0] > 10 else x @ w.T + b
    assert (x.argmax(1) == y).mean() == pytest.approx(accuracy, abs=1 / 360)


def test_the_picture_of_no_mistake_at_all(digits: Any, tmp_path: Path) -> None:
    x, y = np.zeros((4, 64), np.float32), np.arange(4)
    digits.draw(tmp_path / "none.png", [(1.0, 90.0), (0.5, 100.0)], x, y, y)
    digits.draw(tmp_path / "all.png", [(1.0, 90.0)], np.zeros((13, 64)), np.zeros(13), np.ones(13))
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("none.png", "all.png"))
