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


@pytest.mark.parametrize("name", TABLE)
def test_float16_is_computed_in_float_with_float_states(name: str, device) -> None:
    """A parameter is rounded after each step; a small one may round the other way now and then."""
    base = TABLE[name].base
    params = _params(_values(0, "float16"))
    optimizer = getattr(optim, name)(params, **base)
    _train(optimizer, params, range(5), "float16")
    grads = [_values(100 + step, "float16") for step in range(5)]
    for n, p in enumerate(params):
        expected = optim_reference.trajectory(name, _values(0, "float16")[n], [g[n] for g in grads], base, rounded=True)
        assert_close(p, expected, dtype="float16")
    for value in optimizer.state[params[0]].values():
        assert not isinstance(value, Variable) or value.dtype is clgrad.float32


@pytest.mark.parametrize("name", TABLE)
def test_both_kernel_forms(name: str, form, device) -> None:
    """All states at once, in ends that fill no vector."""
    flags = {o: TABLE[name].other[o] for o in ("momentum", "amsgrad", "centered") if o in TABLE[name].other}
    options = {**TABLE[name].base, **flags}
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
