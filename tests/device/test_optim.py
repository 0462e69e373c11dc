"""Optimisers: trajectories against PyTorch's, launches and copies counted, saving, errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, optim
from clgrad.core.errors import DTypeError, ShapeError
from clgrad.families import optimize
from clgrad.ndarray import from_host
from clgrad.testing import assert_close

SHAPES = ((37, 19), (5,), (), (130, 33), (0, 4))
SGD = [{}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"momentum": 0.9, "dampening": 0.3}, {"maximize": True},
       {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
       {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}]
ADAM = [{}, {"weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True}, {"betas": (0.5, 0.9), "eps": 1e-4},
        {"weight_decay": 0.3, "amsgrad": True, "maximize": True}]
ALL = [("SGD", o) for o in SGD] + [(name, o) for name in ("Adam", "AdamW") for o in ADAM]


def _values(seed: int, dtype: str = "float32", shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(s), dtype) for s in shapes]


def _params(values: list[np.ndarray]) -> list[Variable]:
    return [Variable(from_host(v), requires_grad=True) for v in values]


def _set_grads(params: list[Variable], values: list[np.ndarray]) -> None:
    for p, g in zip(params, values):
        p.grad = Variable(from_host(g))


def _train(optimizer: Any, params: list[Variable], steps: range, dtype: str = "float32") -> None:
    for step in steps:
        _set_grads(params, _values(100 + step, dtype, [p.shape for p in params]))
        optimizer.step()


def _torch_train(torch: Any, optimizer: Any, params: list, steps: range) -> None:
    for step in steps:
        for p, g in zip(params, _values(100 + step, shapes=[tuple(p.shape) for p in params])):
            p.grad = torch.tensor(g, dtype=p.dtype)
        optimizer.step()


def _assert_same(params: list[Variable], expected: list) -> None:
    for p, e in zip(params, expected):
        assert_close(p, e.detach().numpy() if hasattr(e, "detach") else e)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), ALL, ids=str)
def test_twenty_steps_follow_pytorch(name: str, options: dict, dtype: str, device) -> None:
    torch = pytest.importorskip("torch")
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    params = _params(_values(0, dtype))
    theirs = [torch.tensor(v, requires_grad=True) for v in _values(0, dtype)]
    ours = getattr(optim, name)(params, lr=0.01, **options)
    other = getattr(torch.optim, name)(theirs, lr=0.01, **options)
    for step in range(20):
        grads = _values(100 + step, dtype)
        _set_grads(params, grads)
        for p, g in zip(theirs, grads):
            p.grad = torch.tensor(g)
        ours.step()
        other.step()
    _assert_same(params, theirs)
    for p, t in zip(params, theirs):
        for key, value in other.state[t].items():
            if key != "step" and value is not None:
                assert_close(ours.state[p][key], value.numpy(), message=key)


def _reference(name: str, p: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    """SGD with momentum 0.9, or Adam, in float64, the parameter rounded to its dtype after each step (lr 0.01)."""
    m = v = np.zeros(p.shape)
    for t, g in enumerate(grads, 1):
        g = g.astype(np.float64)
        if name == "SGD":
            m = 0.9 * m + g
            new = p - 0.01 * m
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            new = p - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        p = np.asarray(new, p.dtype)
    return p


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {})])
def test_values_by_the_formula(name: str, options: dict, dtype: str, device) -> None:
    """float16 parameters are computed in float, with float states; a small one may round the other way now and then."""
    params = _params(_values(0, dtype))
    optimizer = getattr(optim, name)(params, lr=0.01, **options)
    _train(optimizer, params, range(20), dtype)
    grads = [_values(100 + step, dtype) for step in range(20)]
    for j, p in enumerate(params):
        expected = _reference(name, _values(0, dtype)[j], [g[j] for g in grads])
        assert_close(p, expected, dtype=dtype)
    state = optimizer.state[params[0]]
    assert {v.dtype for k, v in state.items() if k != "step"} == {clgrad.float32}


# Launches, copies, memory --------------------------------------------------------------------------------------------


@pytest.fixture
def launches(monkeypatch) -> list[tuple]:
    """Labels and argument counts of the launches that optimisers make."""
    seen: list[tuple] = []
    real = optimize.launch

    def count(kernel: Any, gsize: tuple, lsize: tuple, *args: Any, **kwargs: Any) -> None:
        seen.append((kernel.label, len(args)))
        real(kernel, gsize, lsize, *args, **kwargs)

    monkeypatch.setattr(optimize, "launch", count)
    return seen


@pytest.mark.parametrize(("name", "options"), [("SGD", {}), ("SGD", {"momentum": 0.9}), ("AdamW", {"amsgrad": True})])
def test_a_step_is_one_launch_and_no_copy(name: str, options: dict, launches, device) -> None:
    params = _params(_values(0))
    optimizer = getattr(optim, name)(params, **options)
    _set_grads(params, _values(1))
    optimizer.step()
    launches.clear()
    device.copies.reset()
    before = [p.data.storage.version for p in params if p.numel()]
    allocations = device.memory_stats()["allocations"]
    for lr in (0.1, 0.2, 0.3):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    assert [label for label, _ in launches] == [optimizer.update.name] * 3
    assert (device.copies.to_device, device.copies.to_host) == (0, 0)
    assert device.memory_stats()["allocations"] == allocations
    assert [p.data.storage.version for p in params if p.numel()] == [v + 3 for v in before]


def test_each_dtype_and_group_has_a_launch(launches, device) -> None:
    params = _params(_values(0) + _values(1, "float16"))
    optimizer = optim.Adam([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}])
    _set_grads(params, _values(2) + _values(3, "float16"))
    optimizer.step()
    assert len(launches) == 3  # float32; float32 and float16 in the second group


def test_hyperparameter_values_build_nothing(device) -> None:
    from clgrad.runtime.program import _kernels

    params = _params(_values(0))
    optimizer = optim.SGD(params, lr=0.1, momentum=0.9)
    _set_grads(params, _values(1))
    optimizer.step()
    known = len(_kernels)
    optimizer.param_groups[0].update(lr=0.037, momentum=0.41, dampening=0.2)
    optimizer.step()
    optim.SGD(params, lr=0.77, momentum=0.13).step()
    assert len(_kernels) == known
    optimizer.param_groups[0]["weight_decay"] = 0.1234  # an option that changes code
    optimizer.step()
    assert len(_kernels) == known + 1


@pytest.mark.parametrize("count", [1, 9, 150])
def test_many_tensors_fit_the_argument_limit(count: int, launches, device) -> None:
    values = _values(0, shapes=[(3 + i % 5, 7) for i in range(count)])
    params = _params(values)
    optimizer = optim.SGD(params, lr=0.5)
    grads = _values(1, shapes=[p.shape for p in params])
    _set_grads(params, grads)
    optimizer.step()
    limit = optimize.most_tensors(device, 0, len(optimizer.update.scalars))
    assert len(launches) == -(-count // limit)
    assert all(8 * arguments <= device.facts.max_parameter_size for _, arguments in launches)
    _assert_same(params, [v - np.float32(0.5) * g for v, g in zip(values, grads)])


def test_large_and_small_tensors_share_a_launch(launches, device) -> None:
    """Units of several sizes, ends that fill no vector."""
    shapes = [(300_001,), (17,), (1,), (64, 1025)]
    values, grads = _values(0, shapes=shapes), _values(1, shapes=shapes)
    params = _params(values)
    optimizer = optim.SGD(params, lr=1.0, momentum=0.5)
    for _ in range(2):
        _set_grads(params, grads)
        optimizer.step()
    assert len(launches) == 2
    _assert_same(params, [v - np.float32(2.5) * g for v, g in zip(values, grads)])


# Which parameters ----------------------------------------------------------------------------------------------------


def test_parameters_without_gradient_stay_and_count_their_own_steps(launches, device) -> None:
    torch = pytest.importorskip("torch")
    values = _values(0, shapes=[(4, 5), (7,)])
    params, theirs = _params(values), [torch.tensor(v, requires_grad=True) for v in values]
    ours, other = optim.Adam(params, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    for step in range(6):
        for j, (p, t) in enumerate(zip(params, theirs)):
            g = _values(step, shapes=[p.shape])[0]
            present = j == 0 or step >= 3
            p.grad = Variable(from_host(g)) if present else None
            t.grad = torch.tensor(g) if present else None
        ours.step()
        other.step()
        if step == 2:
            np.testing.assert_array_equal(params[1].data.numpy(), values[1])
    assert [ours.state[p]["step"] for p in params] == [6, 3]
    assert len(launches) == 3 + 3 * 2  # two step counts, so two sets of bias corrections
    _assert_same(params, theirs)


def test_views_and_other_memory_orders_are_written_through(device) -> None:
    base = clgrad.tensor(np.arange(24, dtype=np.float32).reshape(4, 6))
    view = Variable(base.data[1:3], requires_grad=True)
    columns = Variable(base.data[:, 5:].T, requires_grad=True)
    transposed = Variable(from_host(np.ones((3, 2), np.float32)).T, requires_grad=True)
    optimizer = optim.SGD([view, columns, transposed], lr=1.0, momentum=0.9)
    view.grad = Variable(from_host(np.ones((6, 2), np.float32)).T)
    columns.grad = Variable(from_host(np.full((1, 4), 2, np.float32)))
    transposed.grad = Variable(from_host(np.arange(6, dtype=np.float32).reshape(2, 3)))
    optimizer.step()
    expected = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected[1:3, :5] -= 1
    expected[0, 5] -= 2
    expected[3, 5] -= 2
    result = base.numpy()
    np.testing.assert_array_equal(result[:, :5], expected[:, :5])
    np.testing.assert_array_equal(result[[0, 3], 5], expected[[0, 3], 5])
    np.testing.assert_array_equal(transposed.data.numpy(), 1 - np.arange(6, dtype=np.float32).reshape(2, 3))


def test_backward_notices_a_step(device) -> None:
    p = Variable(from_host(np.ones(3, np.float32)), requires_grad=True)
    loss = (p * p).sum()
    p.grad = clgrad.ones(3)
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(clgrad.errors.GraphError, match="changed in place"):
        loss.backward()


def test_step_returns_the_closures_loss_and_zero_grad_clears(device) -> None:
    p = Variable(from_host(np.full(3, 2, np.float32)), requires_grad=True)
    optimizer = optim.SGD([p], lr=0.25)

    def closure() -> Variable:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with clgrad.no_grad():
        assert optimizer.step(closure).item() == 12
    np.testing.assert_array_equal(p.data.numpy(), [1, 1, 1])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0, 0]
    optimizer.zero_grad()
    assert p.grad is None


# Saving --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), [("SGD", {}), ("SGD", {"momentum": 0.9, "dampening": 0.3}),
                                               ("Adam", {"amsgrad": True}), ("AdamW", {})], ids=str)
def test_state_dict_round_trip(name: str, options: dict, device) -> None:
    params = _params(_values(0))
    first = getattr(optim, name)(params, lr=0.1, **options)
    _train(first, params, range(3))
    saved = first.state_dict()
    copies = _params([p.data.numpy() for p in params])
    second = getattr(optim, name)(copies, lr=0.9, **options)
    second.load_state_dict(saved)
    assert second.param_groups[0]["lr"] == 0.1
    _train(first, params, range(3, 6))
    _train(second, copies, range(3, 6))
    for copy, p in zip(copies, params):
        np.testing.assert_array_equal(copy.data.numpy(), p.data.numpy())


@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {"amsgrad": True}), ("AdamW", {})],
                         ids=str)
def test_state_dict_has_pytorchs_structure_and_takes_pytorchs(name: str, options: dict, device) -> None:
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(v, requires_grad=True) for v in _values(0)]
    other = getattr(torch.optim, name)([{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.3}], lr=0.1, **options)
    _torch_train(torch, other, theirs, range(4))
    params = _params([t.detach().numpy() for t in theirs])
    ours = getattr(optim, name)([{"params": params[:2]}, {"params": params[2:]}], **options)
    ours.load_state_dict(other.state_dict())
    assert [g["lr"] for g in ours.param_groups] == [0.1, 0.3]
    back, expected = ours.state_dict(), other.state_dict()
    assert back["state"].keys() == expected["state"].keys()
    assert all(back["state"][k].keys() == expected["state"][k].keys() for k in back["state"])
    assert [g["params"] for g in back["param_groups"]] == [[0, 1], [2, 3, 4]]
    _train(ours, params, range(4, 8))
    _torch_train(torch, other, theirs, range(4, 8))
    _assert_same(params, theirs)


def test_a_model_converted_after_its_first_steps_keeps_its_state(device) -> None:
    p = Variable(from_host(np.ones(4, np.float32)), requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = clgrad.ones(4)
    optimizer.step()
    p.data = p.data.astype("float16")
    p.grad = clgrad.ones(4, dtype=clgrad.float16)
    optimizer.step()
    assert p.data.tolist() == [1 - 1 - 1.5] * 4
    p.data = from_host(np.ones(5, np.float32))
    p.grad = clgrad.ones(5)
    with pytest.raises(ShapeError, match=r"SGD.step: got a parameter of shape \(5,\), once \(4,\)"):
        optimizer.step()


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda p: optim.SGD(p, lr=-1), ValueError, "SGD: got lr=-1; expected Python numbers, 0.0 <= lr < inf. Change lr."),
    (lambda p: optim.SGD(p, lr=float("nan")), ValueError, "SGD: got lr=nan"),
    (lambda p: optim.SGD(p, momentum=-0.1), ValueError, "SGD: got momentum=-0.1"),
    (lambda p: optim.SGD(p, weight_decay=-1), ValueError, "SGD: got weight_decay=-1"),
    (lambda p: optim.SGD(p, nesterov=True), ValueError, "SGD: got nesterov=True with momentum=0 and dampening=0"),
    (lambda p: optim.Adam(p, betas=(0.9, 1.0)), ValueError, "Adam: got betas=1.0; expected Python numbers, 0.0 <="),
    (lambda p: optim.AdamW(p, eps=-1e-8), ValueError, "AdamW: got eps=-1e-08"),
    (lambda p: optim.Adam(p, lr=clgrad.tensor(0.1)), ValueError, "Adam: got lr=a Variable"),
    (lambda p: optim.SGD([]), ValueError, "SGD: got an empty parameter list"),
    (lambda p: optim.SGD(p[0]), TypeError, "SGD: got one Variable; expected an iterable"),
    (lambda p: optim.SGD([1.0]), TypeError, "SGD: got a parameter of type float"),
    (lambda p: optim.SGD([p[0] * 2]), ValueError, "SGD: got the result of an op as a parameter"),
    (lambda p: optim.SGD([clgrad.tensor([1, 2])]), TypeError, "SGD: got a parameter of clgrad.int64"),
    (lambda p: optim.SGD([p[0], p[0]]), ValueError, "SGD: got a parameter twice"),
    (lambda p: optim.SGD([{"params": p}, {"params": p[0]}]), ValueError, "SGD: got a parameter twice"),
    (lambda p: optim.SGD([{"params": set(p)}]), TypeError, "SGD: got a set of parameters"),
    (lambda p: optim.SGD(p).add_param_group(p), TypeError, "SGD.add_param_group: got a list; expected a dict"),
])
def test_errors_of_construction(make: Any, error: type, message: str, device) -> None:
    with pytest.raises(error) as caught:
        make(_params([np.ones(2, np.float32)]))
    assert str(caught.value).startswith(message)


def test_errors_of_use(device) -> None:
    p, = _params([np.ones(2, np.float32)])
    optimizer = optim.Adam([p])
    p.grad = clgrad.ones(3)
    with pytest.raises(ShapeError, match=r"Adam.step: got a gradient of shape \(3,\); expected \(2,\)"):
        optimizer.step()
    with pytest.raises(ValueError, match=r"Adam.load_state_dict: got 2 parameter groups; expected 1"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0]}, {"params": [1]}]})
    with pytest.raises(ValueError, match="got 2 parameters in group 0; expected 1"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]})
    wrong = {"state": {0: {"step": 1, "exp_avg": np.ones(3, np.float32)}}, "param_groups": [{"params": [0]}]}
    with pytest.raises(ShapeError, match=r"Adam.load_state_dict: got exp_avg of shape \(3,\); expected \(2,\)"):
        optimizer.load_state_dict(wrong)
    optimizer.param_groups[0]["lr"] = -2
    with pytest.raises(ValueError, match="Adam: got lr=-2"):
        optimizer.step()


def test_float64_on_a_device_without_it(device, monkeypatch) -> None:
    from dataclasses import replace

    if not device.facts.fp64:
        pytest.skip("the device has no float64 to begin with")
    p, = _params([np.ones(2)])
    p.grad = Variable(from_host(np.ones(2)))
    monkeypatch.setitem(device.__dict__, "facts", replace(device.facts, fp64=False))
    with pytest.raises(DTypeError, match="no double precision"):
        optim.SGD([p]).step()


def test_repr_shows_groups(device) -> None:
    text = repr(optim.SGD(_params([np.ones(2, np.float32)]), lr=0.5))
    assert text.splitlines()[:4] == ["SGD (", "Parameter Group 0", "    dampening: 0", "    lr: 0.5"]
