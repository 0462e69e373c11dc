"""Clipping gradients and vectors of parameters: against NumPy and PyTorch, copies and launches counted, errors."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad
from clgrad import Variable
from clgrad.core.errors import ShapeError
from clgrad.ndarray import from_host
from clgrad.nn import utils
from clgrad.testing import assert_close

SHAPES = ((7, 5), (3,), (), (0, 4), (130, 33))
ORDERS = (2.0, 1.0, 3.0, float("inf"), 0.5)


def _grads(rng: np.random.Generator, dtypes: tuple[str, ...]) -> list[np.ndarray]:
    return [np.asarray(rng.standard_normal(s), dtypes[n % len(dtypes)]) for n, s in enumerate(SHAPES)]


def _params(grads: list[np.ndarray]) -> list[Variable]:
    params = [Variable(from_host(np.zeros_like(g)), requires_grad=True) for g in grads]
    for p, g in zip(params, grads):
        p.grad = Variable(from_host(g))
    return params


def _norm(grads: list[np.ndarray], order: float) -> float:
    return float(np.linalg.norm(np.concatenate([g.astype(np.float64).ravel() for g in grads]), order))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bound", [0.5, 1e6])
def test_norms_and_clipping_by_them(order: float, bound: float, rng, device) -> None:
    grads = _grads(rng, ("float32",))
    params = [*_params(grads), Variable(from_host(np.ones(3, np.float32)), requires_grad=True)]
    total, before = _norm(grads, order), [p.grad for p in params]
    got = utils.clip_grad_norm_(iter(params), bound, order)
    assert_close(got, np.float32(total), dtype="float32")
    factor = min(1.0, bound / (total + 1e-6))
    for p, g in zip(params, grads):
        assert_close(p.grad, g * factor, dtype="float32")
    assert all(p.grad is b for p, b in zip(params, before))
    assert params[-1].grad is None


def test_sixteen_bits_and_mixed_dtypes(rng, device) -> None:
    """A norm beyond float16's range is no infinity, so that it does not zero the gradients."""
    dtypes = ("float16", "float32")
    grads = [np.asarray(g * 1000, g.dtype) for g in _grads(rng, dtypes)]
    params = _params(grads)
    total = _norm(grads, 2)
    assert_close(utils.clip_grad_norm_(params, 1000.0), np.float32(total), dtype="float32")
    for n, (p, g) in enumerate(zip(params, grads)):
        assert_close(p.grad, g.astype(np.float64) * (1000 / total), dtype=dtypes[n % 2])
    assert_close(utils.get_total_norm(np_grad.grad for np_grad in params), np.float32(1000.0), scale=100)


@pytest.mark.parametrize("order", ORDERS)
def test_clipping_follows_pytorch(order: float, rng, device) -> None:
    torch = pytest.importorskip("torch")
    grads = _grads(rng, ("float32",))
    params, theirs = _params(grads), [torch.zeros(g.shape, requires_grad=True) for g in grads]
    for t, g in zip(theirs, grads):
        t.grad = torch.tensor(g)
    used = [n for n, g in enumerate(grads) if g.size]  # PyTorch has no largest of nothing
    mine, other = [params[n] for n in used], [theirs[n] for n in used]
    assert_close(utils.clip_grad_norm_(mine, 2.0, order), torch.nn.utils.clip_grad_norm_(other, 2.0, order).numpy())
    utils.clip_grad_value_(mine, 0.01)
    torch.nn.utils.clip_grad_value_(other, 0.01)
    for p, t in zip(mine, other):
        assert_close(p.grad, t.grad.numpy())


def test_clipping_by_value(rng, device) -> None:
    grads = _grads(rng, ("float32", "float16"))
    grads[0][0, :3] = [np.nan, np.inf, -np.inf]
    params = _params(grads)
    utils.clip_grad_value_(params, 0.25)
    for p, g in zip(params, grads):
        assert_close(p.grad, np.clip(g, -0.25, 0.25), dtype=g.dtype.name)
    utils.clip_grad_value_(params[1], 0.125)
    assert np.abs(params[1].grad.numpy()).max() <= 0.125


def test_strided_gradients_are_clipped_in_place(device) -> None:
    base = from_host(np.arange(12, dtype=np.float32).reshape(3, 4))
    p = Variable(from_host(np.zeros((4, 2), np.float32)), requires_grad=True)
    p.grad = Variable(base[:2].T)
    utils.clip_grad_value_([p], 2.0)
    expected = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected[:2] = np.minimum(expected[:2], 2)
    np.testing.assert_array_equal(base.numpy(), expected)
    utils.clip_grad_norm_([p], 1.0)
    assert_close(np.linalg.norm(base.numpy()[:2]), 1.0)
    np.testing.assert_array_equal(base.numpy()[2], expected[2])


def test_clipping_copies_nothing_and_takes_a_launch(rng, device, launches) -> None:
    params = _params(_grads(rng, ("float32",)))
    utils.clip_grad_norm_(params, 1.0)
    utils.clip_grad_value_(params, 1.0)
    launches.clear()
    device.copies.reset()
    utils.clip_grad_norm_(params, 0.5)
    utils.clip_grad_value_(params, 0.1)
    assert (device.copies.to_device, device.copies.to_host) == (0, 0)
    assert [label for label, _ in launches] == ["scale", "bound"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_norms_that_are_not_finite(value: float, device) -> None:
    params = _params([np.array([1, value], np.float32)])
    with pytest.raises(RuntimeError, match=rf"clip_grad_norm_: got gradients whose norm of order 2.0 is {value}"):
        utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert params[0].grad.tolist()[0] == 1
    utils.clip_grad_norm_(params, 1.0)
    np.testing.assert_array_equal(params[0].grad.numpy(), [np.nan if np.isnan(value) else 0, np.nan])


def test_nothing_to_clip(device) -> None:
    assert utils.clip_grad_norm_([], 1.0).item() == 0
    assert utils.clip_grad_norm_(Variable(from_host(np.ones(2, np.float32)), requires_grad=True), 1.0).item() == 0
    utils.clip_grad_value_([], 1.0)
    with pytest.warns(UserWarning, match="the generator of parameters is empty"):
        utils.clip_grad_norm_((p for p in ()), 1.0)


def test_a_norm_known_already(rng, device) -> None:
    grads = _grads(rng, ("float32",))
    params = _params(grads)
    utils.clip_grads_with_norm_(params, 1.0, clgrad.tensor(4.0))
    for p, g in zip(params, grads):
        assert_close(p.grad, g / 4, scale=10)


# Vectors -------------------------------------------------------------------------------------------------------------


def test_parameters_to_a_vector_and_back(rng, device) -> None:
    values = _grads(rng, ("float32",))
    params = [Variable(from_host(v), requires_grad=True) for v in values]
    params[0] = Variable(from_host(values[0].T.copy()).T, requires_grad=True)
    vector = utils.parameters_to_vector(iter(params))
    flat = np.concatenate([v.ravel() for v in values])
    np.testing.assert_array_equal(vector.detach().numpy(), flat)
    (vector * vector).sum().backward()
    for p, v in zip(params, values):
        assert_close(p.grad, 2 * v)
    new = clgrad.tensor(flat + 1)
    utils.vector_to_parameters(new, params)
    for p, v in zip(params, values):
        assert_close(p, v + 1, dtype="float32")
        assert p.requires_grad
    new.data.fill_(3)
    assert params[2].item() == 3  # they are parts of it


def test_errors_of_vectors(device) -> None:
    p = Variable(from_host(np.ones((2, 3), np.float32)), requires_grad=True)
    with pytest.raises(TypeError, match="vector_to_parameters: got a list; expected a Variable"):
        utils.vector_to_parameters([1.0], [p])
    with pytest.raises(ShapeError, match=r"vector_to_parameters: got shape \(5,\); expected \(6,\)"):
        utils.vector_to_parameters(clgrad.ones(5), [p])
    with pytest.raises(ShapeError, match=r"vector_to_parameters: got shape \(2, 3\); expected \(6,\)"):
        utils.vector_to_parameters(clgrad.ones(2, 3), [p])
    with pytest.raises(ValueError, match="parameters_to_vector: got no parameters; expected at least one"):
        utils.parameters_to_vector([])
