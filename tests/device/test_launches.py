"""Fused ops are one launch forward, and one backward; two where sums over rows follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import clgrad
from clgrad.ndarray import from_host
from clgrad.nn import functional as F
from clgrad.runtime import launch as launcher
from clgrad.testing import assert_close

_CLASSES = np.arange(6) % 5
FUSED = {
    "gelu": (F.gelu, [(6, 40)], 1),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), [(6, 40)], 1),
    "silu": (F.silu, [(6, 40)], 1),
    "mish": (F.mish, [(6, 40)], 1),
    "softmax": (lambda x: F.softmax(x, 1), [(6, 40)], 1),
    "softmax down columns": (lambda x: F.softmax(x, 0), [(6, 40)], 1),
    "log_softmax": (lambda x: F.log_softmax(x, 1), [(6, 40)], 1),
    "cross_entropy": (lambda x: F.cross_entropy(x, from_host(_CLASSES), reduction="none"), [(6, 40)], 1),
    "dropout": (lambda x: F.dropout(x, 0.5), [(6, 40)], 1),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (40,), w, b), [(6, 40), (40,), (40,)], 2),
    "rms_norm": (lambda x, w: F.rms_norm(x, (40,), w), [(6, 40), (40,)], 2),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [(3, 4, 40), (4,), (4,)], 2),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(3, 4, 40), (4,), (4,)], 2),
    "batch_norm of columns": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(6, 40), (40,), (40,)], 2),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [(1, 2, 6, 8)] * 3, 2),
}


@pytest.mark.parametrize("name", list(FUSED))
def test_number_of_launches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    f: Callable
    f, shapes, backward = FUSED[name]
    inputs = [clgrad.randn(*shape, requires_grad=True) for shape in shapes]
    g = clgrad.ones_like(f(*inputs).detach())
    launched: list[str] = []
    monkeypatch.setattr(launcher, "_recent", launched)
    y = f(*inputs)
    assert len(launched) == 1, launched
    launched.clear()
    clgrad.autograd.grad(y, inputs, g)
    assert len(launched) <= backward, launched


def test_threads_share_plans_but_no_arguments(rng: np.random.Generator, in_threads: Callable) -> None:
    """Launches of one plan by several threads at once, with buffers and offsets of their own."""
    def everything(x: clgrad.Variable) -> list[np.ndarray]:
        leaf = x.detach().requires_grad_()
        rows = F.softmax(F.layer_norm(leaf, (8,)), 1) + F.rms_norm(leaf, (8,))
        pooled = F.avg_pool2d(F.max_pool2d(leaf.reshape(1, 6, 8), 2), 2)
        heads = leaf.reshape(1, 2, 3, 8)
        joined = F.scaled_dot_product_attention(heads, heads, heads)
        loss = F.cross_entropy(rows, clgrad.arange(6)) + pooled.sum() + (joined * joined).sum()
        loss.backward()
        return [loss.detach().numpy(), leaf.grad.numpy()]

    blocks = [clgrad.tensor(rng.standard_normal((12, 8)).astype(np.float32)) for _ in range(3)]
    inputs = [block[start:start + 6] for block in blocks for start in (0, 3, 6)]
    expected = [everything(x) for x in inputs]

    def run(i: int) -> None:
        for _ in range(8):
            for got, known in zip(everything(inputs[i]), expected[i]):
                np.testing.assert_array_equal(got, known, err_msg=str(i))

    in_threads(run, range(len(inputs)))


@pytest.mark.parametrize(("rows", "dtype"), [(0, "float32"), (1, "float32"), (300, "float32"), (300, "float16")])
def test_mean_cross_entropy_is_two_launches(rows: int, dtype: str, form, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.standard_normal((rows, 7)).astype(dtype), rng.integers(0, 7, rows)
    kept = target != 3
    exact = np.log(np.exp(scores.astype(np.float64)).sum(1)) - scores[np.arange(rows), target]
    slope = np.exp(scores - np.log(np.exp(scores.astype(np.float64)).sum(1))[:, None])
    slope[np.arange(rows), target] -= 1
    x, t = clgrad.tensor(scores, requires_grad=True), clgrad.tensor(target)
    launched: list[str] = []
    monkeypatch.setattr(launcher, "_recent", launched)
    loss = F.cross_entropy(x, t, ignore_index=3)
    assert launched == ["cross_entropy", "per_counted"][rows == 0:]
    loss.backward()
    with np.errstate(invalid="ignore"):
        assert_close(loss.data, (exact * kept).sum() / np.float64(kept.sum()), dtype=dtype, scale=10)
        assert_close(x.grad.data, slope * kept[:, None] / np.float64(max(kept.sum(), 1)), dtype=dtype, scale=10)
