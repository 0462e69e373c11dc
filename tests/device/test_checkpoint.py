"""Checkpoints: the same values and derivatives as without, in less memory, and errors where that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad
from clgrad import nn
from clgrad.autograd import grad
from clgrad.core.errors import GraphError
from clgrad.testing import gradcheck
from clgrad.utils.checkpoint import checkpoint, checkpoint_sequential


def tower(depth: int = 3, width: int = 4) -> nn.Sequential:
    clgrad.manual_seed(3)
    return nn.Sequential(*(m for _ in range(depth) for m in (nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.3))))


def run(model: nn.Module, x: clgrad.Variable, through: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    clgrad.manual_seed(11)
    y = checkpoint(model, x, use_reentrant=False) if through else model(x)
    (y * y).sum().backward()
    return y.detach().numpy(), [p.grad.numpy() for p in model.parameters()]


@pytest.mark.parametrize("requires_grad", [False, True])
def test_values_and_gradients_are_those_without(requires_grad: bool, device) -> None:
    rows = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    found = []
    for through in (False, True):
        x = clgrad.tensor(rows, requires_grad=requires_grad)
        y, gradients = run(tower(), x, through)
        found.append([y, *gradients, *([x.grad.numpy()] if requires_grad else [])])
    for plain, again in zip(*found):
        np.testing.assert_array_equal(plain, again)


def test_random_numbers_go_on_as_without(device) -> None:
    draws = []
    for through in (False, True):
        run(tower(), clgrad.ones(5, 4), through)
        draws.append(clgrad.rand(3).tolist())
    assert draws[0] == draws[1]


def test_to_second_order(device) -> None:
    def f(a: clgrad.Variable, b: clgrad.Variable) -> clgrad.Variable:
        return checkpoint(lambda p, q: clgrad.exp(p @ q).sin() * p.sum(), a, b)

    rng = np.random.default_rng(1)
    gradcheck(f, [clgrad.tensor(rng.uniform(-1, 1, s), requires_grad=True) for s in ((2, 3), (3, 2))])


def test_what_a_function_reads_around_it_gets_gradients(device) -> None:
    w = clgrad.tensor([2.0, 3.0], requires_grad=True)
    v = w * w  # recorded before
    y = checkpoint(lambda x: (x * v).exp() * w, clgrad.ones(2)).sum()
    (g,) = grad(y, w)
    w0 = np.array([2.0, 3.0])
    np.testing.assert_allclose(g.numpy(), np.exp(w0**2) * (1 + 2 * w0**2), rtol=1e-6)


def test_checkpoints_inside_checkpoints(device) -> None:
    x = clgrad.tensor([0.3, -0.7], dtype=clgrad.float64, requires_grad=True)

    def inner(v: clgrad.Variable) -> clgrad.Variable:
        return v.sin() * v.exp()

    def outer(v: clgrad.Variable) -> clgrad.Variable:
        return checkpoint(inner, checkpoint(inner, v).tanh()) * v

    gradcheck(lambda v: checkpoint(outer, v), [x])
    gradcheck(lambda v: checkpoint(lambda u: checkpoint(inner, u), v), [x])


def test_nested_results_and_keywords(device) -> None:
    x = clgrad.tensor([1.0, 2.0], requires_grad=True)
    found = checkpoint(lambda v, *, k: {"a": [v * v, 3], "b": (v.exp(), None)}, x, k=1)
    assert found["a"][1] == 3
    (found["a"][0].sum() + found["b"][0].sum()).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.array([1, 2]) + np.exp([1, 2]), rtol=1e-6)
    with clgrad.no_grad():
        assert not checkpoint(lambda v: v * 2, x).requires_grad


def test_retained_graphs_and_second_times(device) -> None:
    x = clgrad.tensor([1.0, 2.0], requires_grad=True)
    y = checkpoint(lambda v: v * v * v, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [6, 24]
    with pytest.raises(GraphError, match="second time"):
        y.backward()


def test_less_memory_is_held(device) -> None:
    x = clgrad.ones(1 << 16, requires_grad=True)

    def f(v: clgrad.Variable) -> clgrad.Variable:
        for _ in range(8):
            v = v.sin().exp()
        return v

    def held(run) -> int:
        before = clgrad.memory_stats(device)["active"]
        y = run(x)
        return (clgrad.memory_stats(device)["active"] - before) // y.nbytes

    assert held(lambda v: checkpoint(f, v)) <= 1 < 8 <= held(f)


def test_sequential(device) -> None:
    model = tower().eval()
    x = clgrad.ones(2, 4)
    expected = model(x).detach().numpy()
    for segments in (1, 2, 4, 9):
        np.testing.assert_array_equal(checkpoint_sequential(model, segments, x).detach().numpy(), expected)
    checkpoint_sequential(list(model), 3, x, use_reentrant=False).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(ValueError, match="10 segments; expected 1 to 9"):
        checkpoint_sequential(model, 10, x)


def test_what_cannot_be_computed_again(device) -> None:
    x = clgrad.tensor([1.0, 2.0], requires_grad=True)
    calls = []

    def other(v: clgrad.Variable) -> clgrad.Variable:
        calls.append(1)
        return v.exp() if len(calls) == 1 else v.exp().sin()

    with pytest.raises(GraphError, match=r"other ops in the second run \(2 for 1\)"):
        checkpoint(other, x).sum().backward()
    w = clgrad.tensor([1.0, 2.0])
    y = checkpoint(lambda v: v * w, x).sum()
    w += 1
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()
