"""L-BFGS: trajectories against PyTorch's in both searches, minima of known functions, saving, errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, optim
from clgrad.ndarray import from_host
from clgrad.testing import assert_close

SEARCHES = (None, "strong_wolfe")
OPTIONS = [{"line_search_fn": s, **{k: v for k, v in (a, b) if k}} for s, a, b in product(
    SEARCHES, ((None, 0), ("max_iter", 3), ("max_iter", 1)), ((None, 0), ("history_size", 2), ("max_eval", 4)))]


def rosenbrock(p: list[Any]) -> Any:
    """A curved valley with its minimum at ones; the parameters are a matrix of points and a pair."""
    x, y = p[0][:, 0], p[0][:, 1]
    u, v = p[1][0], p[1][1]
    return ((1 - x) ** 2 + 10 * (y - x * x) ** 2).sum() + ((1 - u) ** 2 + 10 * (v - u * u) ** 2)


def start(dtype: str = "float64") -> list[np.ndarray]:
    return [np.array([[-1.2, 1.0], [0.5, -0.3], [2.0, 2.5]], dtype), np.array([-0.7, 0.4], dtype)]


def closure_of(optimizer: Any, params: list[Any], loss: Callable[[list[Any]], Any]) -> Callable[[], Any]:
    def closure() -> Any:
        optimizer.zero_grad()
        value = loss(params)
        value.backward()
        closure.calls += 1
        return value

    closure.calls = 0
    return closure


@pytest.fixture
def dtype(device) -> str:
    return "float64" if device.facts.fp64 else "float32"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_follow_pytorch(options: dict, device) -> None:
    torch = pytest.importorskip("torch")
    if not device.facts.fp64:
        pytest.skip("in float32 a search's branches hang on the last bit")
    params = [Variable(from_host(v), requires_grad=True) for v in start()]
    theirs = [torch.tensor(v, requires_grad=True) for v in start()]
    lr = 1.0 if options["line_search_fn"] else 0.02
    ours, other = optim.LBFGS(params, lr=lr, **options), torch.optim.LBFGS(theirs, lr=lr, **options)
    for step in range(max(1, 24 // options.get("max_iter", 20))):  # more would show how rounding errors grow
        one, two = closure_of(ours, params, rosenbrock), closure_of(other, theirs, rosenbrock)
        loss, expected = ours.step(one), other.step(two)
        assert_close(loss, expected.detach().numpy(), scale=1e3)
        assert one.calls == two.calls, step
        for p, t in zip(params, theirs):
            assert_close(p, t.detach().numpy(), scale=1e3)
    mine, reference = ours.state_dict()["state"][0], other.state_dict()["state"][0]
    assert mine.keys() == reference.keys()
    assert (mine["n_iter"], mine["func_evals"]) == (reference["n_iter"], reference["func_evals"])
    assert [len(mine[k]) for k in ("old_dirs", "old_stps", "ro")] == [
        len(reference[k]) for k in ("old_dirs", "old_stps", "ro")]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_quadratic_is_solved(search: str | None, dtype: str, rng) -> None:
    """min |A x - b|² is where NumPy says; without a gradient a parameter stays."""
    a, b = rng.standard_normal((6, 4)).astype(dtype), rng.standard_normal(6).astype(dtype)
    x, other = Variable(from_host(np.zeros(4, dtype)), True), Variable(from_host(np.ones(2, dtype)), True)
    A, B = clgrad.tensor(a), clgrad.tensor(b)
    optimizer = optim.LBFGS([x, other], lr=0.5 if search is None else 1, max_iter=100, line_search_fn=search)
    closure = closure_of(optimizer, [x], lambda p: ((A @ p[0] - B) ** 2).sum())
    for _ in range(3):
        optimizer.step(closure)
    expected = np.linalg.lstsq(a.astype(np.float64), b.astype(np.float64), rcond=None)[0]
    np.testing.assert_allclose(x.data.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert other.data.tolist() == [1, 1]
    calls = closure.calls
    optimizer.step(closure)
    assert closure.calls - calls <= 2  # there is nothing left to do


def test_rosenbrock_is_solved_in_float32(device) -> None:
    params = [Variable(from_host(v), requires_grad=True) for v in start("float32")]
    optimizer = optim.LBFGS(params, max_iter=100, line_search_fn="strong_wolfe")
    first = optimizer.step(closure_of(optimizer, params, rosenbrock))
    assert first.item() > 10
    for p in params:
        np.testing.assert_allclose(p.data.numpy(), 1, atol=2e-2)


def test_float16_parameters_are_searched_in_float(device) -> None:
    p = Variable(from_host(np.array([3, -2], np.float16)), requires_grad=True)
    optimizer = optim.LBFGS([p], line_search_fn="strong_wolfe")
    optimizer.step(closure_of(optimizer, [p], lambda q: ((q[0] - 1) ** 2).sum()))
    np.testing.assert_allclose(p.data.numpy(), [1, 1], atol=1e-2)
    assert p.dtype is clgrad.float16
    assert optimizer.state[p]["d"].dtype is clgrad.float32


@pytest.mark.parametrize("search", SEARCHES)
def test_state_dict_round_trip(search: str | None, dtype: str) -> None:
    params = [Variable(from_host(v), requires_grad=True) for v in start(dtype)]
    first = optim.LBFGS(params, lr=0.02, max_iter=3, line_search_fn=search)
    first.step(closure_of(first, params, rosenbrock))
    copies = [Variable(p.data.clone(), requires_grad=True) for p in params]
    second = optim.LBFGS(copies)
    second.load_state_dict(first.state_dict())
    for optimizer, used in ((first, params), (second, copies)):
        optimizer.step(closure_of(optimizer, used, rosenbrock))
    for p, c in zip(params, copies):
        np.testing.assert_array_equal(p.data.numpy(), c.data.numpy())


@pytest.mark.parametrize("search", SEARCHES)
def test_states_go_to_pytorch_and_come_from_it(search: str | None, device) -> None:
    torch = pytest.importorskip("torch")
    if not device.facts.fp64:
        pytest.skip("in float32 a search's branches hang on the last bit")
    theirs = [torch.tensor(v, requires_grad=True) for v in start()]
    other = torch.optim.LBFGS(theirs, lr=0.02, max_iter=3, line_search_fn=search)
    other.step(closure_of(other, theirs, rosenbrock))
    params = [Variable(from_host(t.detach().numpy().copy()), requires_grad=True) for t in theirs]
    ours = optim.LBFGS(params)
    ours.load_state_dict(other.state_dict())
    ours.step(closure_of(ours, params, rosenbrock))
    other.step(closure_of(other, theirs, rosenbrock))
    saved = ours.state_dict()

    def to_torch(value: Any) -> Any:
        if isinstance(value, list):
            return [to_torch(v) for v in value]
        return torch.from_numpy(value.numpy()) if isinstance(value, Variable) else value

    third = torch.optim.LBFGS(theirs)
    third.load_state_dict({**saved, "state": {0: {k: to_torch(v) for k, v in saved["state"][0].items()}}})
    ours.step(closure_of(ours, params, rosenbrock))
    third.step(closure_of(third, theirs, rosenbrock))
    for p, t in zip(params, theirs):
        assert_close(p, t.detach().numpy(), scale=1e3)


def test_errors(device) -> None:
    p = Variable(from_host(np.ones(2, np.float32)), requires_grad=True)
    with pytest.raises(TypeError, match=r"LBFGS.step: got no closure; expected a function"):
        optim.LBFGS([p]).step()
    with pytest.raises(ValueError, match="LBFGS: got a second parameter group; expected one"):
        optim.LBFGS([{"params": [p]}, {"params": [clgrad.ones(2)]}])
    with pytest.raises(ValueError, match="LBFGS: got line_search_fn='armijo'; expected None or 'strong_wolfe'"):
        optim.LBFGS([p], line_search_fn="armijo")
    with pytest.raises(ValueError, match="LBFGS: got lr=-1"):
        optim.LBFGS([p], lr=-1)
    optimizer = optim.LBFGS([p])

    def wrong() -> float:
        p.grad = clgrad.ones(3)
        return 1.0

    with pytest.raises(clgrad.errors.ShapeError, match=r"LBFGS.step: got a gradient of shape \(3,\); expected \(2,\)"):
        optimizer.step(wrong)
