"""Schedules: fifty steps against PyTorch and against closed forms, resuming, saving, warnings, errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clgrad import Variable, optim
from clgrad.ndarray import from_host
from clgrad.optim import lr_scheduler, swa_utils

STEPS = 50


class Halve:
    """A callable with state, which goes into a state_dict."""

    def __init__(self, period: int) -> None:
        self.period = period

    def __call__(self, epoch: int) -> float:
        return 0.5 ** (epoch // self.period)


def _all(module: Any, o: Any) -> dict[str, Callable[[], Any]]:
    """Makers of schedules of the optimiser ``o``, alike for both libraries."""
    m, swa = module.lr_scheduler, module.swa_utils
    return {
        "lambda": lambda: m.LambdaLR(o, lambda e: 1 / (e + 1)),
        "lambda-list": lambda: m.LambdaLR(o, [lambda e: 0.9**e, Halve(7)]),
        "multiplicative": lambda: m.MultiplicativeLR(o, lambda e: 0.95 if e % 3 else 1.02),
        "step": lambda: m.StepLR(o, 7), "step-gamma": lambda: m.StepLR(o, 3, gamma=0.7),
        "multistep": lambda: m.MultiStepLR(o, [5, 12, 12, 40]),
        "multistep-gamma": lambda: m.MultiStepLR(o, [30, 1], gamma=0.5),
        "constant": lambda: m.ConstantLR(o), "constant-options": lambda: m.ConstantLR(o, 0.25, 20),
        "linear": lambda: m.LinearLR(o), "linear-down": lambda: m.LinearLR(o, 1.0, 0.1, 30),
        "exponential": lambda: m.ExponentialLR(o, 0.9),
        "polynomial": lambda: m.PolynomialLR(o), "polynomial-power": lambda: m.PolynomialLR(o, 40, 2.0),
        "cosine": lambda: m.CosineAnnealingLR(o, 10), "cosine-min": lambda: m.CosineAnnealingLR(o, 60, eta_min=0.001),
        "restarts": lambda: m.CosineAnnealingWarmRestarts(o, 5),
        "restarts-longer": lambda: m.CosineAnnealingWarmRestarts(o, 4, 2, 0.01),
        "one-cycle": lambda: m.OneCycleLR(o, 0.5, total_steps=50),
        "one-cycle-linear": lambda: m.OneCycleLR(o, [0.5, 1.0], epochs=10, steps_per_epoch=6, pct_start=0.4,
                                                 anneal_strategy="linear", div_factor=10.0, final_div_factor=50.0),
        "one-cycle-three": lambda: m.OneCycleLR(o, 0.5, total_steps=50, three_phase=True, base_momentum=0.7,
                                                max_momentum=[0.8, 0.9]),
        "one-cycle-still": lambda: m.OneCycleLR(o, 0.5, total_steps=52, cycle_momentum=False),
        "cyclic": lambda: m.CyclicLR(o, 0.01, 0.1, 6),
        "cyclic-2": lambda: m.CyclicLR(o, [0.01, 0.02], [0.1, 0.2], 4, 9, mode="triangular2", base_momentum=0.5),
        "cyclic-range": lambda: m.CyclicLR(o, 0.01, 0.1, 5, mode="exp_range", gamma=0.97, cycle_momentum=False),
        "cyclic-function": lambda: m.CyclicLR(o, 0.01, 0.1, 5, scale_fn=Halve(3), scale_mode="iterations"),
        "warm-up": lambda: m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=5), m.CosineAnnealingLR(o, 30)], [5]),
        "three-in-a-row": lambda: m.SequentialLR(o, [m.ConstantLR(o, 0.5, 3), m.ExponentialLR(o, 0.9),
                                                     m.StepLR(o, 4, 0.5)], [10, 25]),
        "nested": lambda: m.SequentialLR(o, [m.SequentialLR(o, [m.LinearLR(o), m.ExponentialLR(o, 0.95)], [4]),
                                             m.StepLR(o, 3)], [20]),
        "chained": lambda: m.ChainedScheduler([m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.9)], o),
        "swa": lambda: swa.SWALR(o, 0.5), "swa-linear": lambda: swa.SWALR(o, [0.5, 0.01], 20, "linear"),
        "swa-at-once": lambda: swa.SWALR(o, 0.5, 0),
    }


NAMES = list(_all(optim, None))


def _of_torch(torch: Any, o: Any, name: str) -> Any:
    """PyTorch's schedule; nesting makes it warn of an order that nobody chose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _all(torch.optim, o)[name]()


def _optimizer(kind: str = "SGD") -> Any:
    params = [Variable(from_host(np.ones(2, np.float32)), requires_grad=True) for _ in range(2)]
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.3}]
    return getattr(optim, kind)(groups, lr=0.1, **({"momentum": 0.9} if kind == "SGD" else {}))


def _torch_optimizer(torch: Any, kind: str = "SGD") -> Any:
    params = [torch.ones(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.3}]
    return getattr(torch.optim, kind)(groups, lr=0.1, **({"momentum": 0.9} if kind == "SGD" else {}))


def _numbers(o: Any) -> list[float]:
    return [v for g in o.param_groups for v in (g["lr"], g.get("momentum", 0), g.get("betas", (0,))[0])]


def _walk(o: Any, schedule: Any, steps: int) -> list[list[float]]:
    """The groups' rates and momenta at each step, as the schedule leaves them."""
    seen = [_numbers(o)]
    for _ in range(steps):
        o.step()
        schedule.step()
        seen.append(_numbers(o))
        assert schedule.get_last_lr() == [g["lr"] for g in o.param_groups]
    return seen


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", NAMES)
def test_fifty_steps_follow_pytorch(name: str, kind: str, device) -> None:
    torch = pytest.importorskip("torch")
    o, other = _optimizer(kind), _torch_optimizer(torch, kind)
    ours, theirs = _all(optim, o)[name](), _of_torch(torch, other, name)
    np.testing.assert_allclose(_walk(o, ours, STEPS), _walk(other, theirs, STEPS), rtol=1e-10, atol=1e-15)
    mine, reference = ours.state_dict(), theirs.state_dict()
    assert mine.keys() - reference.keys() == set()
    assert reference.keys() - mine.keys() == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_continues_the_schedule(name: str, device) -> None:
    """In a new optimiser and schedule, both loaded, as after a restart."""
    o = _optimizer()
    schedule = _all(optim, o)[name]()
    _walk(o, schedule, 17)
    saved, rates = schedule.state_dict(), o.state_dict()
    again = _optimizer()
    resumed = _all(optim, again)[name]()
    again.load_state_dict(rates)
    resumed.load_state_dict(saved)
    assert resumed.get_last_lr() == schedule.get_last_lr()
    assert _walk(again, resumed, 20) == _walk(o, schedule, 20)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_comes_from_pytorch(name: str, device) -> None:
    torch = pytest.importorskip("torch")
    o, other = _optimizer(), _torch_optimizer(torch)
    ours, theirs = _all(optim, o)[name](), _of_torch(torch, other, name)
    _walk(other, theirs, 17)
    o.load_state_dict(other.state_dict())
    ours.load_state_dict(theirs.state_dict())
    np.testing.assert_allclose(_walk(o, ours, 20), _walk(other, theirs, 20), rtol=1e-10)


@pytest.mark.parametrize(("make", "rate"), [
    (lambda o: lr_scheduler.StepLR(o, 7, 0.5), lambda e: 0.5 ** (e // 7)),
    (lambda o: lr_scheduler.MultiStepLR(o, [5, 12], 0.5), lambda e: 0.5 ** ((e >= 5) + (e >= 12))),
    (lambda o: lr_scheduler.ConstantLR(o, 0.5, 9), lambda e: 0.5 if e < 9 else 1),
    (lambda o: lr_scheduler.ConstantLR(o, 0, 9), lambda e: 0 if e < 9 else 1),
    (lambda o: lr_scheduler.LinearLR(o, 0.2, 0.8, 10), lambda e: 0.2 + 0.6 * min(e, 10) / 10),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda e: 0.9**e),
    (lambda o: lr_scheduler.PolynomialLR(o, 40, 2.0), lambda e: (1 - min(e, 40) / 40) ** 2),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, 15), lambda e: (1 + math.cos(math.pi * e / 15)) / 2),
    (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 15), lambda e: (1 + math.cos(math.pi * (e % 15) / 15)) / 2),
    (lambda o: lr_scheduler.LambdaLR(o, lambda e: e / 100), lambda e: e / 100),
    (lambda o: lr_scheduler.MultiplicativeLR(o, lambda e: 0.5 + e / 100),
     lambda e: math.prod(0.5 + k / 100 for k in range(1, e + 1))),
])
def test_closed_forms(make: Callable, rate: Callable[[int], float], device) -> None:
    """Without PyTorch: the recursions give what the formulas say, and step(epoch) jumps there."""
    o = _optimizer()
    schedule = make(o)
    seen = np.array(_walk(o, schedule, STEPS))[:, [0, 3]]
    expected = np.array([rate(e) for e in range(STEPS + 1)])[:, None] * [0.1, 0.3]
    np.testing.assert_allclose(seen, expected, rtol=1e-9, atol=1e-12)
    closed = hasattr(schedule, "_get_closed_form_lr")
    if closed or isinstance(schedule, lr_scheduler.CosineAnnealingWarmRestarts):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            schedule.step(8)
        np.testing.assert_allclose(schedule.get_last_lr(), expected[8], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("epoch", [0.0, 0.25, 3.75, 5.5, 11.0, 16.5, 100.25])
@pytest.mark.parametrize("longer", [1, 2])
def test_warm_restarts_take_fractions(epoch: float, longer: int, device) -> None:
    torch = pytest.importorskip("torch")
    o, other = _optimizer(), _torch_optimizer(torch)
    ours = lr_scheduler.CosineAnnealingWarmRestarts(o, 5, longer)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(other, 5, longer)
    for s in (ours, theirs):
        s.step(epoch)
    np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-12)
    for s in (ours, theirs):
        s.step()
    np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-12)


PLATEAU = [{}, {"patience": 2, "factor": 0.5}, {"mode": "max", "patience": 1}, {"patience": 0, "cooldown": 3},
           {"threshold": 0.3, "patience": 1}, {"threshold": 0.3, "threshold_mode": "abs", "patience": 1},
           {"mode": "max", "threshold": 0.3, "threshold_mode": "abs", "patience": 1},
           {"mode": "max", "threshold": 0.3, "patience": 1}, {"min_lr": [0.05, 0.1], "patience": 0},
           {"min_lr": 0.02, "patience": 0}, {"eps": 0.05, "patience": 0}]


@pytest.mark.parametrize("options", PLATEAU, ids=str)
def test_plateaus_follow_pytorch(options: dict, device) -> None:
    torch = pytest.importorskip("torch")
    o, other = _optimizer(), _torch_optimizer(torch)
    ours = lr_scheduler.ReduceLROnPlateau(o, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(other, **options)
    rng = np.random.default_rng(3)
    for step in range(STEPS):
        metric = float(np.exp(-step / 10) + 0.3 * rng.standard_normal())
        ours.step(metric)
        theirs.step(metric)
        assert _numbers(o) == _numbers(other)
        assert ours.get_last_lr() == theirs.get_last_lr()
    assert ours.state_dict() == theirs.state_dict()
    again = lr_scheduler.ReduceLROnPlateau(_optimizer())
    again.load_state_dict(ours.state_dict())
    assert again.state_dict() == ours.state_dict()


def test_a_plateau_by_hand(device) -> None:
    o = _optimizer()
    schedule = lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1)
    rates = []
    for metric in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5):
        schedule.step(Variable(from_host(np.float32(metric))))
        rates.append(round(o.param_groups[0]["lr"] / 0.1, 12))
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    o.add_param_group({"params": [Variable(from_host(np.ones(1, np.float32)), requires_grad=True)]})
    for _ in range(4):
        schedule.step(1.0)
    assert len(schedule.min_lrs) == 3
    listed = lr_scheduler.ReduceLROnPlateau(o, min_lr=[0, 0, 0], patience=0)
    o.param_groups.pop()
    listed.step(1.0)
    with pytest.raises(RuntimeError, match=r"ReduceLROnPlateau.step: got 3 min_lrs; expected 2"):
        listed.step(1.0)


def test_one_cycle_moves_momentum_against_the_rate(device) -> None:
    o = _optimizer()
    schedule = lr_scheduler.OneCycleLR(o, 1.0, total_steps=11, pct_start=0.55, anneal_strategy="linear")
    seen = np.array(_walk(o, schedule, 10))
    peak = seen[:, 0].argmax()
    assert seen[peak, 1] == seen[:, 1].min()
    np.testing.assert_allclose([seen[0, 0], seen[-1, 0], seen[:, 1].max()], [1 / 25, 1 / 25 / 1e4, 0.95])
    schedule.step()
    with pytest.raises(ValueError, match=r"OneCycleLR.step: got step 12; expected at most 11 steps"):
        schedule.step()


def test_resuming_at_an_epoch(device) -> None:
    torch = pytest.importorskip("torch")
    for name, arguments in (("StepLR", (4,)), ("ExponentialLR", (0.9,)), ("CosineAnnealingLR", (20,)),
                            ("LambdaLR", (Halve(3),)), ("LinearLR", (0.1, 1.0, 30)), ("PolynomialLR", (30,))):
        o, other = _optimizer(), _torch_optimizer(torch)
        for group in (*o.param_groups, *other.param_groups):
            group["initial_lr"], group["lr"] = group["lr"], group["lr"] / 2
        ours = getattr(lr_scheduler, name)(o, *arguments, last_epoch=9)
        theirs = getattr(torch.optim.lr_scheduler, name)(other, *arguments, last_epoch=9)
        np.testing.assert_allclose(_walk(o, ours, 12), _walk(other, theirs, 12), rtol=1e-12)


def test_signatures_are_pytorchs(device) -> None:
    import inspect

    torch = pytest.importorskip("torch")
    pairs = [(getattr(lr_scheduler, n), getattr(torch.optim.lr_scheduler, n)) for n in lr_scheduler.__all__]
    pairs += [(getattr(swa_utils, n), getattr(torch.optim.swa_utils, n)) for n in ("SWALR", "AveragedModel")]
    for ours, theirs in pairs:
        shown = [[(p.name, p.default) for p in inspect.signature(c).parameters.values()] for c in (ours, theirs)]
        assert shown[0] == shown[1], ours


# Warnings ------------------------------------------------------------------------------------------------------------


def test_a_schedule_that_steps_first_warns_once(device) -> None:
    o = _optimizer()
    schedule = lr_scheduler.StepLR(o, 2)
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\) before optimizer.step\(\)") as caught:
        schedule.step()
    assert caught[0].filename == __file__
    schedule.step()  # warnings are errors here
    o.step()
    lr_scheduler.StepLR(o, 2).step()  # the optimiser has stepped since its first schedule was made


def test_a_replaced_step_warns(device) -> None:
    o = _optimizer()
    schedule = lr_scheduler.StepLR(o, 2)
    o.step = lambda: None
    with pytest.warns(UserWarning, match=r"optimizer.step was replaced"):
        schedule.step()


def test_get_lr_and_epochs_warn(device) -> None:
    o = _optimizer()
    schedule = lr_scheduler.ExponentialLR(o, 0.5)
    with pytest.warns(UserWarning, match=r"use get_last_lr\(\)"):
        schedule.get_lr()
    o.step()
    with pytest.warns(UserWarning, match=r"step\(epoch\) is deprecated"):
        schedule.step(3)
    assert schedule.get_last_lr() == [0.1 / 8, 0.3 / 8]


def test_a_schedule_of_ones_own(device) -> None:
    class Countdown(lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    o = _optimizer()
    schedule = Countdown(o)
    assert [row[0] for row in _walk(o, schedule, 3)] == [0.1, 0.1 / 2, 0.1 / 3, 0.1 / 4]
    with pytest.raises(NotImplementedError, match="LRScheduler needs get_lr"):
        lr_scheduler.LRScheduler(o)


# Errors --------------------------------------------------------------------------------------------------------------

M = lr_scheduler


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda o: M.StepLR(None, 2), TypeError, "StepLR: got a NoneType; expected an Optimizer"),
    (lambda o: M.CyclicLR(1, 0.1, 0.2), TypeError, "CyclicLR: got a int; expected an Optimizer"),
    (lambda o: M.StepLR(o, 2, last_epoch=3), KeyError, "\"StepLR: got last_epoch=3 and no 'initial_lr' in param_gr"),
    (lambda o: M.LambdaLR(o, [abs]), ValueError, "lr_lambda: got 1 values; expected one, or one for each of the 2"),
    (lambda o: M.LambdaLR(o, 0.5), TypeError, "LambdaLR: got lr_lambda of type float"),
    (lambda o: M.MultiplicativeLR(o, [abs, 1]), TypeError, "MultiplicativeLR: got lr_lambda of type int"),
    (lambda o: M.ConstantLR(o, 1.5), ValueError, "ConstantLR: got factor=1.5; expected 0 <= factor <= 1"),
    (lambda o: M.LinearLR(o, 0), ValueError, "LinearLR: got start_factor=0; expected 0 < start_factor <= 1"),
    (lambda o: M.LinearLR(o, end_factor=-1), ValueError, "LinearLR: got end_factor=-1"),
    (lambda o: M.CosineAnnealingWarmRestarts(o, 0), ValueError, "CosineAnnealingWarmRestarts: got T_0=0"),
    (lambda o: M.CosineAnnealingWarmRestarts(o, 5, 1.5), ValueError, "CosineAnnealingWarmRestarts: got T_mult=1.5"),
    (lambda o: M.CosineAnnealingWarmRestarts(o, 5, eta_min="0"), ValueError, "CosineAnnealingWarmRestarts: got eta_m"),
    (lambda o: M.CosineAnnealingWarmRestarts(o, 5).step(-1), ValueError, "CosineAnnealingWarmRestarts.step: got epo"),
    (lambda o: M.OneCycleLR(o, 1.0), ValueError, "OneCycleLR: got no number of steps; expected total_steps, or epochs"),
    (lambda o: M.OneCycleLR(o, 1.0, total_steps=0), ValueError, "OneCycleLR: got total_steps=0"),
    (lambda o: M.OneCycleLR(o, 1.0, epochs=2, steps_per_epoch=0.5), ValueError, "OneCycleLR: got steps_per_epoch=0.5"),
    (lambda o: M.OneCycleLR(o, 1.0, total_steps=5, pct_start=1), ValueError, "OneCycleLR: got pct_start=1"),
    (lambda o: M.OneCycleLR(o, 1.0, total_steps=5, anneal_strategy="no"), ValueError, "OneCycleLR: got anneal_strateg"),
    (lambda o: M.OneCycleLR(o, [1.0], total_steps=5), ValueError, "max_lr: got 1 values"),
    (lambda o: M.OneCycleLR(_optimizer("Adagrad"), 1.0, total_steps=5), ValueError,
     "OneCycleLR: got cycle_momentum=True with Adagrad; expected an optimiser with momentum or betas"),
    (lambda o: M.CyclicLR(o, 0.1, 0.2, mode="square"), ValueError, "CyclicLR: got mode='square'"),
    (lambda o: M.CyclicLR(_optimizer("Rprop"), 0.1, 0.2), ValueError, "CyclicLR: got cycle_momentum=True with Rprop"),
    (lambda o: M.SequentialLR(o, [], []), ValueError, "SequentialLR: got no scheduler"),
    (lambda o: M.SequentialLR(o, [M.StepLR(o, 2)], [3]), ValueError, "SequentialLR: got 1 milestones for 1 schedulers"),
    (lambda o: M.SequentialLR(o, [M.StepLR(o, 2), 3], [3]), TypeError, "SequentialLR: got a int at index 1"),
    (lambda o: M.SequentialLR(o, [M.ReduceLROnPlateau(o)], []), ValueError, "SequentialLR: got a ReduceLROnPlateau at"),
    (lambda o: M.ChainedScheduler([M.StepLR(o, 2), M.StepLR(_optimizer(), 2)]), ValueError,
     "ChainedScheduler: got another optimizer at index 1"),
    (lambda o: M.ChainedScheduler([]), ValueError, "ChainedScheduler: got no scheduler"),
    (lambda o: M.ReduceLROnPlateau(o, factor=1.0), ValueError, "ReduceLROnPlateau: got factor=1.0; expected"),
    (lambda o: M.ReduceLROnPlateau(o, mode="up"), ValueError, "ReduceLROnPlateau: got mode='up'"),
    (lambda o: M.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "ReduceLROnPlateau: got threshold_mode='x'"),
    (lambda o: M.ReduceLROnPlateau(o, min_lr=[0]), ValueError, "min_lr: got 1 values"),
    (lambda o: swa_utils.SWALR(o, 0.1, anneal_strategy="x"), ValueError, "SWALR: got anneal_strategy='x'"),
    (lambda o: swa_utils.SWALR(o, 0.1, -1), ValueError, "SWALR: got anneal_epochs=-1"),
])
def test_errors(make: Callable, error: type, message: str, device) -> None:
    with pytest.raises(error) as caught:
        make(_optimizer())
    assert str(caught.value).startswith(message)
