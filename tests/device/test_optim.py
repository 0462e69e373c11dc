"""Optimisers: trajectories against PyTorch's, launches and copies counted, saving, errors."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, optim
from clgrad.core import dtypes
from clgrad.core.errors import DTypeError, ShapeError
from clgrad.families import optimize
from clgrad.ndarray import from_host
from clgrad.testing import assert_close

_spec = importlib.util.spec_from_file_location("optim_reference", Path(__file__).with_name("optim_reference.py"))
optim_reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(optim_reference)

SHAPES = ((37, 19), (5,), (), (13, 33), (0, 4))
STEPS = 20


@dataclass(frozen=True)
class Options:
    """Another value for each option of an optimiser that changes its numbers; ``base`` goes to every run."""

    base: dict[str, Any]
    other: dict[str, Any]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The defaults, each option alone, each pair, and all together."""
        for size in sorted({0, 1, 2, len(self.other)}):
            for names in combinations(self.other, size):
                yield {**self.base, **{n: self.other[n] for n in names}}


MOMENTS = {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}
TABLE = {
    "SGD": Options({"lr": 0.01}, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "nesterov": True,
                                  "maximize": True}),
    "Adam": Options({"lr": 0.01}, {**MOMENTS, "amsgrad": True, "decoupled_weight_decay": True}),
    "AdamW": Options({"lr": 0.01}, {**MOMENTS, "amsgrad": True}),
    "Adamax": Options({"lr": 0.01}, MOMENTS),
    "NAdam": Options({"lr": 0.01}, {**MOMENTS, "momentum_decay": 0.1, "decoupled_weight_decay": True}),
    "RAdam": Options({"lr": 0.01}, {**MOMENTS, "decoupled_weight_decay": True}),
    "Adagrad": Options({"lr": 0.01}, {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5,
                                      "eps": 1e-3, "maximize": True}),
    "Adadelta": Options({"lr": 0.5}, {"rho": 0.5, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    "RMSprop": Options({"lr": 0.01}, {"alpha": 0.5, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9,
                                      "centered": True, "maximize": True}),
    "Rprop": Options({"lr": 0.01}, {"etas": (0.3, 1.5), "step_sizes": (5e-3, 2e-2), "maximize": True}),
    "ASGD": Options({"lr": 0.01}, {"lambd": 0.1, "alpha": 0.5, "t0": 5, "weight_decay": 0.1, "maximize": True}),
    "Lion": Options({"lr": 0.01}, {"betas": (0.5, 0.8), "weight_decay": 0.1, "maximize": True}),
}


def _valid(name: str, options: dict[str, Any]) -> bool:
    return not options.get("nesterov") or ("momentum" in options and "dampening" not in options)


def _stateful(name: str) -> dict[str, Any]:
    """Options of an optimiser with every state that it has."""
    table = TABLE[name]
    return {**table.base, **{o: table.other[o] for o in ("momentum", "amsgrad", "centered") if o in table.other}}


RUNS = [(name, o) for name, table in TABLE.items() for o in table.combinations() if _valid(name, o)]
RUNS.append(("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True, "maximize": True}))
OF_TORCH = [name for name in TABLE if name != "Lion"]


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


@cache
def _gradients(dtype: str) -> list[list[np.ndarray]]:
    """Gradients of every step. The last tensor's come and go, the second one's begin late."""
    return [_values(100 + step, dtype) for step in range(STEPS)]


@cache
def _on_device(dtype: str) -> list[list[Variable]]:
    """Those gradients on the device, sent once: no optimiser writes to them."""
    return [[Variable(from_host(g)) for g in grads] for grads in _gradients(dtype)]


def _give(params: list[Variable], step: int, used: list[str]) -> None:
    """Set the gradients of a step, of parameters of each dtype in turn."""
    for n, (p, g) in enumerate(zip(params, (g for d in used for g in _on_device(d)[step]))):
        p.grad = g if _present(step, n % len(SHAPES)) else None


def _present(step: int, number: int) -> bool:
    return number != 1 or step >= 3


def _dtypes(device: Any) -> list[str]:
    return ["float32", "float64"] if device.facts.fp64 else ["float32"]


@pytest.fixture
def torch_in_double():
    """PyTorch keeps step-dependent factors in its default dtype: in float64 here, so that only the formula counts."""
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("name", "options"), [r for r in RUNS if r[0] != "Lion"], ids=str)
def test_twenty_steps_follow_pytorch(name: str, options: dict, torch_in_double, device) -> None:
    """Parameters and states, in both dtypes in one group, with a parameter whose gradients begin late."""
    torch, used = torch_in_double, _dtypes(device)
    start = [v for d in used for v in _values(0, d)]
    params, theirs = _params(start), [torch.tensor(v, requires_grad=True) for v in start]
    ours, other = getattr(optim, name)(params, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(STEPS):
        _give(params, step, used)
        for n, (t, g) in enumerate(zip(theirs, (g for d in used for g in _gradients(d)[step]))):
            t.grad = torch.from_numpy(g) if _present(step, n % len(SHAPES)) else None
        ours.step()
        other.step()
    _assert_same(params, theirs)
    mine, reference = ours.state_dict(), other.state_dict()
    assert mine["state"].keys() == reference["state"].keys()
    for number, state in reference["state"].items():
        assert mine["state"][number].keys() == state.keys()
        for key, value in state.items():
            assert_close(mine["state"][number][key], value.numpy(), message=key)
    assert mine["param_groups"] == reference["param_groups"]


@pytest.mark.parametrize(("name", "options"), RUNS, ids=str)
def test_twenty_steps_follow_the_formula(name: str, options: dict, device) -> None:
    used = _dtypes(device)
    params = _params([v for d in used for v in _values(0, d)])
    ours = getattr(optim, name)(params, **options)
    for step in range(STEPS):
        _give(params, step, used)
        ours.step()
    for n, p in enumerate(params):
        d, number = used[n // len(SHAPES)], n % len(SHAPES)
        grads = [g[number] for step, g in enumerate(_gradients(d)) if _present(step, number)]
        assert_close(p, optim_reference.trajectory(name, _values(0, d)[number], grads, options), dtype=d)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", TABLE)
def test_sixteen_bits_are_computed_in_float_with_float_states(name: str, dtype: str, device) -> None:
    """A parameter is rounded after each step; a small one may round the other way now and then."""
    kind = dtypes.dtype(dtype).np
    base, start = TABLE[name].base, [v.astype(kind) for v in _values(0)]
    grads = [[g.astype(kind) for g in step] for step in _gradients("float32")[:5]]
    params = _params(start)
    optimizer = getattr(optim, name)(params, **base)
    for step in grads:
        _set_grads(params, step)
        optimizer.step()
    for n, p in enumerate(params):
        expected = optim_reference.trajectory(name, start[n], [g[n] for g in grads], base, rounded=True)
        assert_close(p, expected, dtype=dtype)
    states = [v for v in optimizer.state_dict()["state"].get(0, {}).values() if isinstance(v, Variable)]
    assert all(v.dtype is clgrad.float32 for v in states)
    assert len(states) == len(optimizer.update.states_of(frozenset()))


@pytest.mark.parametrize("name", TABLE)
def test_both_kernel_forms(name: str, form, device) -> None:
    """All states at once, in ends that fill no vector."""
    options = _stateful(name)
    params = _params(_values(0))
    optimizer = getattr(optim, name)(params, **options)
    _train(optimizer, params, range(3))
    for n, p in enumerate(params):
        grads = [_values(100 + step)[n] for step in range(3)]
        assert_close(p, optim_reference.trajectory(name, _values(0)[n], grads, options))


@pytest.mark.parametrize("name", [*OF_TORCH, "LBFGS"])
def test_signatures_defaults_and_repr_are_pytorchs(name: str, device) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(optim, name), getattr(torch.optim, name)
    shown = [[(p.name, p.kind, p.default) for p in inspect.signature(c).parameters.values()] for c in (ours, theirs)]
    assert shown[0] == shown[1]
    mine, other = ours(_params([np.ones(2)])), theirs([torch.ones(2, requires_grad=True)])
    assert mine.defaults == other.defaults
    assert repr(mine) == repr(other)


# Launches, copies, memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_a_step_is_one_launch_and_no_copy(name: str, launches, device) -> None:
    params = _params(_values(0))
    optimizer = getattr(optim, name)(params, **_stateful(name))
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


@pytest.mark.parametrize("name", TABLE)
def test_only_states_build_kernels(name: str, device) -> None:
    """Not values of hyper-parameters, nor options that need no state."""
    from clgrad.runtime.program import _kernels

    options = {k: v for k, v in _stateful(name).items() if k not in TABLE[name].base}
    params = _params(_values(0))
    _set_grads(params, _values(1))
    optimizer = getattr(optim, name)(params, **options)
    optimizer.step()
    known = len(_kernels)
    optimizer.param_groups[0].update({k: v for k, v in TABLE[name].other.items() if k != "nesterov"})
    optimizer.step()
    if name == "SGD":
        optimizer.param_groups[0].update(dampening=0, nesterov=True)
        optimizer.step()
    assert len(_kernels) == known


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


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("way", ["state_dict", "pickle", "deepcopy"])
def test_round_trips_continue_the_trajectory(name: str, way: str, device) -> None:
    params = _params(_values(0))
    first = getattr(optim, name)(params, **_stateful(name))
    _train(first, params, range(3))
    if way == "state_dict":
        copies = _params([p.data.numpy() for p in params])
        second = getattr(optim, name)(copies, lr=0.9)
        second.load_state_dict(first.state_dict())
        assert second.param_groups[0]["lr"] == TABLE[name].base["lr"]
    else:
        second = pickle.loads(pickle.dumps(first)) if way == "pickle" else copy.deepcopy(first)
        copies = second.param_groups[0]["params"]
    assert second.state_dict()["param_groups"] == first.state_dict()["param_groups"]
    _train(first, params, range(3, 6))
    _train(second, copies, range(3, 6))
    for c, p in zip(copies, params):
        np.testing.assert_array_equal(c.data.numpy(), p.data.numpy())


def _to_torch(torch: Any, value: Any) -> Any:
    """A state_dict with PyTorch's tensors for our arrays."""
    if isinstance(value, dict):
        return {k: _to_torch(torch, v) for k, v in value.items()}
    if isinstance(value, list):
        return [_to_torch(torch, v) for v in value]
    return torch.from_numpy(value.numpy()) if isinstance(value, Variable) else value


def _to_numpy(value: Any) -> Any:
    """A state_dict of PyTorch's with NumPy arrays for its tensors."""
    if isinstance(value, dict):
        return {k: _to_numpy(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_to_numpy(v) for v in value]
    return value.numpy() if hasattr(value, "detach") else value


@pytest.mark.parametrize("name", OF_TORCH)
@pytest.mark.parametrize("convert", [lambda s: s, _to_numpy], ids=["tensors", "arrays"])
def test_state_dicts_go_to_pytorch_and_come_from_it(name: str, convert: Any, device) -> None:
    torch = pytest.importorskip("torch")
    options = _stateful(name)
    theirs = [torch.tensor(v, requires_grad=True) for v in _values(0)]
    other = getattr(torch.optim, name)([{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.3}], **options)
    _torch_train(torch, other, theirs, range(4))
    params = _params([t.detach().numpy() for t in theirs])
    ours = getattr(optim, name)([{"params": params[:2]}, {"params": params[2:]}])
    ours.load_state_dict(convert(other.state_dict()))
    assert [g["lr"] for g in ours.param_groups] == [options["lr"], 0.3]
    assert ours.state_dict()["param_groups"] == other.state_dict()["param_groups"]
    _train(ours, params, range(4, 8))
    _torch_train(torch, other, theirs, range(4, 8))
    _assert_same(params, theirs)
    back, expected = ours.state_dict(), other.state_dict()
    assert {k: v.keys() for k, v in back["state"].items()} == {k: v.keys() for k, v in expected["state"].items()}
    third = getattr(torch.optim, name)([{"params": theirs[:2]}, {"params": theirs[2:]}])
    third.load_state_dict(_to_torch(torch, back))
    _train(ours, params, range(8, 12))
    _torch_train(torch, third, theirs, range(8, 12))
    _assert_same(params, theirs)


def test_loaded_state_is_a_copy_and_what_is_missing_takes_its_default(device) -> None:
    p, q = _params([np.ones(3, np.float32)] * 2)
    first, second = optim.Adam([p]), optim.Adam([q], lr=0.5)
    p.grad = clgrad.ones(3)
    first.step()
    saved = first.state_dict()
    saved["param_groups"][0] = {"lr": 0.25, "betas": [0.5, 0.75], "params": [0]}  # as an old or a JSON file has it
    second.load_state_dict(saved)
    assert second.param_groups[0] == {**second.defaults, "lr": 0.25, "betas": (0.5, 0.75), "params": [q]}
    second.state[q]["exp_avg"].data.fill_(7)
    assert first.state[p]["exp_avg"].tolist() != [7, 7, 7]


def test_whoever_changes_the_state_is_heard(device) -> None:
    """An entry put in place of ours, one taken out, all forgotten: as if the optimiser held no memory beside it."""
    p, = _params([np.zeros(3, np.float32)])
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5, dampening=0.25)
    p.grad = clgrad.ones(3)
    optimizer.step()
    assert p.data.tolist() == [-1] * 3
    optimizer.state[p]["momentum_buffer"] = clgrad.full((3,), 4.0)
    optimizer.step()
    assert p.data.tolist() == [-1 - (2 + 0.75)] * 3
    optimizer.state[p]["momentum_buffer"].zero_()
    optimizer.step()
    assert p.data.tolist() == [-3.75 - 0.75] * 3
    optimizer.state.clear()
    optimizer.step()
    assert p.data.tolist() == [-4.5 - 1] * 3
    optimizer.state[p]["momentum_buffer"] = clgrad.ones(2)
    with pytest.raises(ShapeError, match=r"SGD.step: got a parameter of shape \(3,\), once \(2,\)"):
        optimizer.step()


def test_adagrad_begins_at_construction_and_states_only_with_a_gradient(device) -> None:
    p, q = _params([np.ones(3, np.float32), np.ones(2, np.float32)])
    assert optim.Adagrad([p], initial_accumulator_value=0.5).state_dict()["state"][0]["sum"].tolist() == [0.5] * 3
    adam = optim.Adam([p, q])
    assert adam.state_dict()["state"] == {}
    q.grad = clgrad.ones(2)
    adam.step()
    assert list(adam.state_dict()["state"]) == [1]
    plain = optim.SGD([q])
    plain.step()
    assert plain.state_dict()["state"] == {}


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


def test_asgd_averages_its_path_after_t0(device) -> None:
    """The average follows the parameter until the step after t0, then is the mean of the points since."""
    p, = _params([np.zeros(1, np.float32)])
    optimizer = optim.ASGD([p], lr=1.0, lambd=0.0, t0=2)
    path, averages = [], []
    for step in range(6):
        p.grad = clgrad.full((1,), float(step))
        optimizer.step()
        path.append(p.item())
        averages.append(optimizer.state[p]["ax"].item())
    assert path == [0, -1, -3, -6, -10, -15]
    assert averages[:4] == path[:4]
    np.testing.assert_allclose(averages[4:], [np.mean(path[3:5]), np.mean(path[3:6])], rtol=1e-6)
    assert (optimizer.state[p]["step"], optimizer.state[p]["mu"]) == (6, 0.25)


# Groups, names, hooks ------------------------------------------------------------------------------------------------


def test_groups_override_defaults_and_may_be_added(device) -> None:
    values, grads = _values(0, shapes=[(3,), (4,)]), _values(1, shapes=[(3,), (4,)])
    params = _params(values)
    optimizer = optim.SGD([{"params": params[0], "weight_decay": 0.5}], lr=0.25)
    optimizer.add_param_group({"params": [params[1]], "lr": 1.0, "maximize": True})
    _set_grads(params, grads)
    optimizer.step()
    assert_close(params[0], values[0] - 0.25 * (grads[0] + 0.5 * values[0]))
    assert_close(params[1], values[1] + grads[1])


def test_named_parameters(device) -> None:
    model = clgrad.nn.Linear(2, 1)
    optimizer = optim.Adam(model.named_parameters())
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"] == list(model.parameters())
    with pytest.raises(ValueError, match=r"Adam.add_param_group: got groups with and without names"):
        optimizer.add_param_group({"params": _params([np.ones(2)])})
    with pytest.raises(ValueError, match="SGD: got parameters with and without names"):
        optim.SGD([("a", model.weight), model.bias])
    plain = optim.Adam(model.parameters())
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]


def test_step_hooks_run_around_a_step_and_may_change_its_arguments(device) -> None:
    p, = _params([np.ones(2, np.float32)])
    p.grad = clgrad.ones(2)
    optimizer = optim.SGD([p], lr=0.5)
    seen: list[Any] = []

    def before(o: Any, args: tuple, kwargs: dict) -> tuple:
        seen.append(("before", o is optimizer, args == (optimizer,), kwargs, p.data.tolist()))
        return (o, lambda: "other loss"), {}

    def after(o: Any, args: tuple, kwargs: dict) -> None:
        seen.append(("after", o is optimizer, len(args), kwargs, p.data.tolist()))

    handles = [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
    assert optimizer.step() == "other loss"
    assert seen == [("before", True, True, {}, [1, 1]), ("after", True, 2, {}, [0.5, 0.5])]
    for handle in handles:
        handle.remove()
    assert optimizer.step() is None
    assert len(seen) == 2
    with optimizer.register_step_pre_hook(lambda o, args, kwargs: "nonsense"), \
            pytest.raises(RuntimeError, match=r"SGD.step: got 'nonsense' from a pre-hook"):
        optimizer.step()
    from clgrad.optim import optimizer as base
    with base.register_optimizer_step_pre_hook(lambda *_: seen.append("all before")), \
            base.register_optimizer_step_post_hook(lambda *_: seen.append("all after")):
        optim.Adam([p]).step()
    optimizer.step()
    assert seen[2:] == ["all before", "all after"]


def test_state_dict_hooks(device) -> None:
    p, = _params([np.ones(2, np.float32)])
    optimizer = optim.SGD([p], lr=0.5)
    seen: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, d: {**d, "note": 1})
    saved = optimizer.state_dict()
    assert (seen, saved["note"]) == (["first", "second"], 1)
    optimizer.register_load_state_dict_pre_hook(lambda o, d: {k: v for k, v in d.items() if k != "note"})
    optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append(d["note"]), prepend=True)
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    optimizer.load_state_dict(saved)
    assert seen[2:] == [1, "loaded"]
    assert saved["note"] == 1


class _Plain(optim.Optimizer):
    """As people write their own: torch's base, a dict of defaults, a loop."""

    def __init__(self, params: Any, lr: float = 0.5) -> None:
        super().__init__(params, {"lr": lr})

    @clgrad.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                state["last"] = p.grad.clone()
                p -= group["lr"] * p.grad


def test_an_optimizer_of_ones_own(device) -> None:
    p, = _params([np.ones(2, np.float32)])
    p.grad = clgrad.ones(2)
    first, calls = _Plain([p]), []
    first.register_step_post_hook(lambda *_: calls.append(1))
    first.step()
    assert (p.data.tolist(), calls) == ([0.5, 0.5], [1])
    second = _Plain([p])
    second.load_state_dict(first.state_dict())
    assert second.state[p]["step"] == 1
    assert second.state[p]["last"].tolist() == [1, 1]
    with pytest.raises(NotImplementedError, match="Optimizer needs step"):
        optim.Optimizer([p], {}).step()


def test_a_required_option(device) -> None:
    from clgrad.optim.optimizer import required

    p, = _params([np.ones(2)])
    with pytest.raises(ValueError, match=r"Optimizer.add_param_group: got no lr; expected a value for it"):
        optim.Optimizer([p], {"lr": required})
    assert optim.Optimizer([{"params": p, "lr": 2}], {"lr": required}).param_groups[0]["lr"] == 2


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
    (lambda p: optim.NAdam(p, momentum_decay=-1), ValueError, "NAdam: got momentum_decay=-1"),
    (lambda p: optim.RAdam(p, betas=(-0.1, 0.9)), ValueError, "RAdam: got betas=-0.1"),
    (lambda p: optim.Adamax(p, weight_decay=-1), ValueError, "Adamax: got weight_decay=-1"),
    (lambda p: optim.Adagrad(p, lr_decay=-1), ValueError, "Adagrad: got lr_decay=-1"),
    (lambda p: optim.Adagrad(p, initial_accumulator_value=-1), ValueError, "Adagrad: got initial_accumulator_value=-1"),
    (lambda p: optim.Adadelta(p, rho=1.5), ValueError, "Adadelta: got rho=1.5; expected 0 <= rho <= 1"),
    (lambda p: optim.RMSprop(p, alpha=-1), ValueError, "RMSprop: got alpha=-1"),
    (lambda p: optim.Rprop(p, etas=(1.5, 2.0)), ValueError, "Rprop: got etas=(1.5, 2.0); expected 0 < etas[0] < 1 <"),
    (lambda p: optim.ASGD(p, weight_decay=-1), ValueError, "ASGD: got weight_decay=-1"),
    (lambda p: optim.Lion(p, betas=(0.9, 1.0)), ValueError, "Lion: got betas=1.0"),
    (lambda p: optim.Adam(p, differentiable=True), NotImplementedError, "Adam: got differentiable=True; expected"),
    (lambda p: optim.SGD(p, fused=True, foreach=True), RuntimeError, "SGD: got fused=True and foreach=True"),
    (lambda p: optim.SGD([{"lr": 1}]), KeyError, "\"SGD.add_param_group: got the keys ['lr']; expected 'params'"),
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
    p, q = _params([np.ones(2)] * 2)
    text = repr(optim.Lion([{"params": p}, {"params": q, "lr": 2}], lr=0.5))
    lines = text.splitlines()
    assert lines[:3] == ["Lion (", "Parameter Group 0", "    betas: (0.9, 0.99)"]
    assert "    lr: 0.5" in lines[:lines.index("Parameter Group 1")]
    assert "    lr: 2" in lines[lines.index("Parameter Group 1"):]
    assert lines[-1] == ")"
