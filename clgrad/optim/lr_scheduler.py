"""Schedules of learning rates, in PyTorch's names, defaults and state_dicts.

A schedule writes ``param_group["lr"]`` of an optimiser: once when it is made, and at each :meth:`~LRScheduler.step`,
which belongs after the optimiser's. Rates are Python floats, so a schedule costs the device nothing. The recursions
that make a schedule "chainable" multiply the rate that is there, so that several act on one optimiser together.
"""

from __future__ import annotations

import math
import types
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.errors import bad
from .optimizer import Optimizer

__all__ = ["ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR",
           "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR",
           "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR"]


def _per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for each parameter group, from one for all or a list of them."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(bad(name, f"{len(value)} values", f"one, or one for each of the {groups} parameter groups",
                             f"Change {name}."))
    return list(value)


def _require_optimizer(name: str, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(bad(name, f"a {type(optimizer).__name__}", "an Optimizer", "Pass the optimiser first."))


def _private(function: Any) -> dict[str, Any] | None:
    """What a state_dict keeps of a callable: the attributes of an object, nothing of a plain function."""
    return None if isinstance(function, types.FunctionType) else dict(function.__dict__)


class LRScheduler:
    """Base of the schedules. A subclass gives ``get_lr()``, a rate for each group at ``self.last_epoch``.

    ``last_epoch=-1`` starts the schedule and notes each group's "initial_lr"; a later epoch resumes one whose groups
    have it (from the optimiser's state_dict). ``step()`` moves to the next epoch.
    """

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _require_optimizer(type(self).__name__, optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(bad(type(self).__name__, f"last_epoch={last_epoch} and no 'initial_lr' in param_groups"
                                   f"[{number}]", "it in each group", "Load the optimiser's state_dict first, or "
                                   "begin with last_epoch=-1."))
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        optimizer._opt_called = bool(optimizer._opt_called)
        self._initial_step()

    def _initial_step(self) -> None:
        """Count from zero and set the first rates."""
        self._step_count = 0
        self._is_initial = True
        stepped, self.optimizer._opt_called = self.optimizer._opt_called, True  # no step of ours is out of order here
        try:
            self.step()
        finally:
            self._is_initial = False
            self.optimizer._opt_called = stepped

    # Rates ---------------------------------------------------------------------------------------------------------

    def get_lr(self) -> list[float]:
        """The rates of ``last_epoch``, for :meth:`step`; see :meth:`get_last_lr` for those in force."""
        raise NotImplementedError(f"{type(self).__name__} needs get_lr()")

    def get_last_lr(self) -> list[float]:
        """Each group's rate as the schedule last set it."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next epoch, or (deprecated) of a given one, by its closed form where there is one."""
        if self._step_count == 1:
            self._warn_order()
        self._step_count += 1
        if epoch is not None:
            _warn_epoch()
        self._update_lr(epoch)

    def _warn_order(self) -> None:
        """At the first step that a user makes: a rate is lost if no optimiser's step came before it."""
        if not hasattr(self.optimizer.step, "hooked"):
            warnings.warn("optimizer.step was replaced after a scheduler was made for it: their order is not checked. "
                          "Call optimizer.step() before lr_scheduler.step().", UserWarning, stacklevel=3)
        elif not self.optimizer._opt_called:
            warnings.warn("lr_scheduler.step() before optimizer.step(): the schedule's first learning rate is skipped. "
                          "Call them in the other order.", UserWarning, stacklevel=3)

    def _update_lr(self, epoch: int | None = None) -> None:
        with self._computing():
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                rates = getattr(self, "_get_closed_form_lr", self.get_lr)()
        self._set(rates)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self._current()

    def _current(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    # Saving --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Every attribute but the optimiser."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; the rates themselves come with the optimiser's state_dict."""
        self.__dict__.update(state_dict)


def _warn_epoch() -> None:
    warnings.warn("lr_scheduler.step(epoch) is deprecated: call it without an epoch.", UserWarning, stacklevel=3)


class _Rates(LRScheduler):
    """A schedule given by ``rates()``; ``get_lr`` warns whoever calls it from outside of a step."""

    def rates(self) -> list[float]:
        raise NotImplementedError(f"{type(self).__name__} needs rates()")

    def get_lr(self) -> list[float]:
        if not self._get_lr_called_within_step:
            warnings.warn("get_lr() computes the next rate: use get_last_lr() for the one in force.", UserWarning,
                          stacklevel=2)
        return self.rates()


class _Factors(_Rates):
    """A chainable schedule: each epoch multiplies the rates that are there by ``factor()``, None for leaving them."""

    def factor(self) -> float | None:
        raise NotImplementedError(f"{type(self).__name__} needs factor()")

    def rates(self) -> list[float]:
        factor = self.factor()
        return self._current() if factor is None else [rate * factor for rate in self._current()]


# By functions of the epoch -------------------------------------------------------------------------------------------


class _ByFunction(_Rates):
    """What LambdaLR and MultiplicativeLR share: ``lr_lambda(epoch)``, one for all groups or a list of one each."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        _require_optimizer(type(self).__name__, optimizer)
        self.lr_lambdas = _per_group("lr_lambda", optimizer, lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(bad(type(self).__name__, f"lr_lambda of type {type(function).__name__}",
                                    "a function of the epoch", "Pass a callable."))
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Every attribute but the optimiser; of the functions only the attributes of callable objects."""
        return {**super().state_dict(), "lr_lambdas": [_private(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"]):
            if attributes is not None:
                function.__dict__.update(attributes)


class LambdaLR(_ByFunction):
    """lr = initial lr * ``lr_lambda(epoch)``; a list holds a function for each group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lr_lambda, last_epoch)

    def rates(self) -> list[float]:
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self.base_lrs)]


class MultiplicativeLR(_ByFunction):
    """lr *= ``lr_lambda(epoch)`` from epoch 1 on; a list holds a function for each group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        super().__init__(optimizer, lr_lambda, last_epoch)

    def rates(self) -> list[float]:
        if self._is_initial:
            return self._current()
        return [rate * f(self.last_epoch) for f, rate in zip(self.lr_lambdas, self._current())]


# Steps and ramps -----------------------------------------------------------------------------------------------------


class StepLR(_Factors):
    """lr *= ``gamma`` every ``step_size`` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self) -> float | None:
        return self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else None

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(_Factors):
    """lr *= ``gamma`` at each of the ``milestones``, which are epochs; a repeated one counts as often."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self) -> float | None:
        times = self.milestones.get(self.last_epoch)
        return None if times is None else self.gamma**times

    def _get_closed_form_lr(self) -> list[float]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma**passed for base in self.base_lrs]


class ConstantLR(_Rates):
    """lr = initial lr * ``factor`` for ``total_iters`` epochs, then the initial one again."""

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5,
                 last_epoch: int = -1) -> None:
        _require_share("ConstantLR", "factor", factor)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        if self.last_epoch == 0:
            return [rate * self.factor for rate in self._current()]
        if self.last_epoch == self.total_iters:
            if self.factor == 0:
                return list(self.base_lrs)
            return [rate * (1.0 / self.factor) for rate in self._current()]
        return self._current()

    def _get_closed_form_lr(self) -> list[float]:
        return [base * (1.0 if self.last_epoch >= self.total_iters else self.factor) for base in self.base_lrs]


class LinearLR(_Factors):
    """lr = initial lr * a factor that goes from ``start_factor`` to ``end_factor`` in ``total_iters`` epochs.

    With the defaults, a warm-up; put before another schedule by :class:`SequentialLR`.
    """

    def __init__(self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0,
                 total_iters: int = 5, last_epoch: int = -1) -> None:
        _require_share("LinearLR", "start_factor", start_factor, above=True)
        _require_share("LinearLR", "end_factor", end_factor)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self) -> float | None:
        if self.last_epoch == 0:
            return self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return None
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)

    def _get_closed_form_lr(self) -> list[float]:
        share = min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * (self.start_factor + (self.end_factor - self.start_factor) * share) for base in self.base_lrs]


def _require_share(op: str, name: str, value: float, above: bool = False) -> None:
    if not 0 <= value <= 1 or (above and value == 0):
        raise ValueError(bad(op, f"{name}={value}", f"0 {'<' if above else '<='} {name} <= 1", f"Change {name}."))


class ExponentialLR(_Factors):
    """lr *= ``gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self) -> float | None:
        return None if self._is_initial else self.gamma

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class PolynomialLR(_Factors):
    """lr = initial lr * (1 - epoch / ``total_iters``) ** ``power``, and 0 from then on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def factor(self) -> float | None:
        if self._is_initial or self.last_epoch > self.total_iters:
            return None
        now, before = (1.0 - e / self.total_iters for e in (self.last_epoch, self.last_epoch - 1))
        return (now / before) ** self.power

    def _get_closed_form_lr(self) -> list[float]:
        rest = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * rest**self.power for base in self.base_lrs]


# Cosines and cycles --------------------------------------------------------------------------------------------------


def _half_cosine(turn: float) -> float:
    """From 1 at turn 0 to 0 at turn 1, and back."""
    return (1 + math.cos(math.pi * turn)) / 2


class CosineAnnealingLR(_Rates):
    """Along half a cosine from the initial lr to ``eta_min`` in ``T_max`` epochs, then back up, and so on.

    Loshchilov and Hutter 2017 without restarts; chainable, so it starts from rates that other schedules set.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        if self._is_initial:
            return self._current()
        if self._step_count == 1 and self.last_epoch > 0:  # begun in the middle: there is no rate to go on from
            return self._get_closed_form_lr()
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the bottom no factor leads up
            rise = 1 - _half_cosine(1 / self.T_max)
            return [rate + (base - self.eta_min) * rise for base, rate in zip(self.base_lrs, self._current())]
        ratio = _half_cosine(self.last_epoch / self.T_max) / _half_cosine((self.last_epoch - 1) / self.T_max)
        return [ratio * (rate - self.eta_min) + self.eta_min for rate in self._current()]

    def _get_closed_form_lr(self) -> list[float]:
        height = _half_cosine(self.last_epoch / self.T_max)
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class CosineAnnealingWarmRestarts(_Rates):
    """Half a cosine from the initial lr to ``eta_min`` in ``T_0`` epochs, then again from the top.

    Each period is ``T_mult`` times as long as the last (Loshchilov and Hutter 2017). ``step(epoch)`` takes fractions
    of an epoch.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
                 last_epoch: int = -1) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(bad("CosineAnnealingWarmRestarts", f"{name}={value}", "an int of at least 1",
                                     f"Change {name}."))
        if not isinstance(eta_min, (int, float)):
            raise ValueError(bad("CosineAnnealingWarmRestarts", f"eta_min of type {type(eta_min).__name__}",
                                 "a float or an int", "Change eta_min."))
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        height = _half_cosine(self.T_cur / self.T_i)
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Set the rates of the next epoch, or of ``epoch``, which may be a fraction: ``i + batch / batches``."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(bad("CosineAnnealingWarmRestarts.step", f"epoch={epoch}", "0 or more", "Change epoch."))
        else:
            self._jump(epoch)
        self.last_epoch = math.floor(epoch)
        with self._computing():
            rates = self.get_lr()
        self._set(rates)

    def _jump(self, epoch: float) -> None:
        """Place within, and length of, the period that holds an epoch."""
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            grown = self.T_mult - 1
            number = int(math.log(epoch / self.T_0 * grown + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**number - 1) / grown
            self.T_i = self.T_0 * self.T_mult**number


class _Cycle(_Rates):
    """What the cyclic schedules share: the momentum (or beta1) that goes against the rate."""

    cycle_momentum: bool
    use_beta1: bool

    def _begin_momentum(self, base: Any, peak: Any, last_epoch: int) -> tuple[list[float], list[float]]:
        """Note the momenta between which the groups cycle; begin at the highest."""
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ValueError(bad(type(self).__name__, f"cycle_momentum=True with {type(self.optimizer).__name__}",
                                 "an optimiser with momentum or betas", "Pass cycle_momentum=False."))
        self.use_beta1 = "betas" in defaults
        lows = _per_group("base_momentum", self.optimizer, base)
        highs = _per_group("max_momentum", self.optimizer, peak)
        if last_epoch == -1:
            for low, high, group in zip(lows, highs, self.optimizer.param_groups):
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return lows, highs

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_Cycle):
    """Up from ``base_lr`` to ``max_lr`` in ``step_size_up`` steps and down in ``step_size_down``, again and again.

    The height of a cycle: ``"triangular"`` all alike, ``"triangular2"`` halved each cycle, ``"exp_range"`` times
    ``gamma ** step``; or ``scale_fn`` of the cycle's or the step's number, as ``scale_mode`` ("cycle" or
    "iterations") says. ``cycle_momentum`` moves momentum (or beta1) the other way. Smith 2017. Step after each batch.
    """

    def __init__(self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float],
                 step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular",
                 gamma: float = 1.0, scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
                 cycle_momentum: bool = True, base_momentum: float = 0.8, max_momentum: float = 0.9,
                 last_epoch: int = -1) -> None:
        _require_optimizer("CyclicLR", optimizer)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(bad("CyclicLR", f"mode={mode!r}", "'triangular', 'triangular2' or 'exp_range'",
                                 "Change mode, or pass scale_fn."))
        self.optimizer = optimizer
        base_lrs = _per_group("base_lr", optimizer, base_lr)
        self.max_lrs = _per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._begin_momentum(base_momentum, max_momentum, last_epoch)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups):
                group["lr"] = lr
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """Height of a cycle, as a share of the first's."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        return {"triangular": lambda: 1.0, "triangular2": lambda: 2.0 ** (1 - x), "exp_range": lambda: self.gamma**x
                }[self.mode]()

    def rates(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        share = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        share *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                self._set_momentum(group, high - (high - low) * share)
        return [low + (high - low) * share for low, high in zip(self.base_lrs, self.max_lrs)]

    def state_dict(self) -> dict[str, Any]:
        """Every attribute but the optimiser; of ``scale_fn`` only the attributes of a callable object."""
        custom = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": None if custom is None else _private(custom)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if state_dict["_scale_fn_custom"] is not None:
            self._scale_fn_custom.__dict__.update(state_dict["_scale_fn_custom"])


class OneCycleLR(_Cycle):
    """One cycle over all steps (Smith and Topin 2018): up from ``max_lr / div_factor`` to ``max_lr`` in the first
    ``pct_start`` of them, then down to the first rate divided by ``final_div_factor``.

    ``three_phase`` goes down to the first rate as fast as up, and to the last one in the rest. ``anneal_strategy``:
    "cos" or "linear". ``cycle_momentum`` moves momentum (or beta1) the other way, between ``max_momentum`` and
    ``base_momentum``. The number of steps is ``total_steps`` or ``epochs * steps_per_epoch``; step after each batch.
    """

    def __init__(self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True,
                 base_momentum: float | list[float] = 0.85, max_momentum: float | list[float] = 0.95,
                 div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
                 last_epoch: int = -1) -> None:
        _require_optimizer("OneCycleLR", optimizer)
        self.optimizer = optimizer
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(bad("OneCycleLR", f"pct_start={pct_start}", "a float, 0 <= pct_start <= 1",
                                 "Change pct_start."))
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(bad("OneCycleLR", f"anneal_strategy={anneal_strategy!r}", "'cos' or 'linear'",
                                 "Change anneal_strategy."))
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self._anneal_func_type = anneal_strategy
        peaks = _per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for peak, group in zip(peaks, optimizer.param_groups):
                group["initial_lr"] = peak / div_factor
                group["max_lr"] = peak
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._begin_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def rates(self) -> list[float]:
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(bad("OneCycleLR.step", f"step {step}", f"at most {self.total_steps} steps",
                                 "Make the schedule for as many steps as you take."))
        start, phase = self._phase(step)
        share = (step - start) / (phase["end_step"] - start)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                self._set_momentum(group, self._between(group[phase["start_momentum"]], group[phase["end_momentum"]],
                                                        share))
        return [self._between(group[phase["start_lr"]], group[phase["end_lr"]], share)
                for group in self.optimizer.param_groups]

    def _phase(self, step: int) -> tuple[float, dict[str, Any]]:
        """Where the phase of a step starts, and the phase."""
        start = 0.0
        for phase in self._schedule_phases[:-1]:
            if step <= phase["end_step"]:
                return start, phase
            start = phase["end_step"]
        return start, self._schedule_phases[-1]

    def _between(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "cos":
            return end + (start - end) * _half_cosine(share)
        return start + (end - start) * share


def _total_steps(total: int | None, epochs: int | None, steps: int | None) -> int:
    """Steps of a whole cycle, from either way to give them."""
    if total is None and (epochs is None or steps is None):
        raise ValueError(bad("OneCycleLR", "no number of steps", "total_steps, or epochs and steps_per_epoch",
                             "Pass one of them."))
    given = {"total_steps": total} if total is not None else {"epochs": epochs, "steps_per_epoch": steps}
    for name, value in given.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(bad("OneCycleLR", f"{name}={value}", "an int above 0", f"Change {name}."))
    return math.prod(given.values())  # type: ignore[arg-type]


def _phases(steps: int, share: float, three: bool) -> list[dict[str, Any]]:
    """Ends of the phases, and the names of the groups' entries between which they lead."""
    ends = [float(share * steps) - 1, *([float(2 * share * steps) - 2] if three else []), steps - 1]
    lrs = ["initial_lr", "max_lr", *(["initial_lr"] if three else []), "min_lr"]
    momenta = ["max_momentum", "base_momentum", "max_momentum", *(["max_momentum"] if three else [])]
    return [{"end_step": end, "start_lr": lrs[n], "end_lr": lrs[n + 1], "start_momentum": momenta[n],
             "end_momentum": momenta[n + 1]} for n, end in enumerate(ends)]


# Of other schedules --------------------------------------------------------------------------------------------------


class _Several(LRScheduler):
    """What SequentialLR and ChainedScheduler share: several schedules of one optimiser."""

    _schedulers: Sequence[LRScheduler]

    def _check(self, schedulers: Sequence[Any], optimizer: Any) -> None:
        name = type(self).__name__
        for number, s in enumerate(schedulers):
            if not hasattr(s, "optimizer"):
                raise TypeError(bad(name, f"a {type(s).__name__} at index {number}", "schedulers with an optimizer",
                                    "Pass schedulers."))
            if isinstance(s, ReduceLROnPlateau):
                raise ValueError(bad(name, f"a ReduceLROnPlateau at index {number}", "schedulers whose step takes "
                                     "nothing", "Step it yourself, with its metric."))
            if s.optimizer is not optimizer:
                raise ValueError(bad(name, f"another optimizer at index {number}", "schedulers of one optimiser",
                                     "Make them for the same one."))

    def state_dict(self) -> dict[str, Any]:
        """Every attribute but the optimiser; the schedules as their own state_dicts."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, saved in zip(self._schedulers, state_dict["_schedulers"]):
            scheduler.load_state_dict(saved)


def _require_some(name: str, schedulers: Sequence[Any]) -> None:
    if not schedulers:
        raise ValueError(bad(name, "no scheduler", "at least one", "Pass a list of schedulers."))


class SequentialLR(_Several):
    """One schedule after the other: the next takes over, from its own start, at each of the ``milestones`` (epochs).

    Warm-up: ``SequentialLR(o, [LinearLR(o, 0.01, total_iters=5), CosineAnnealingLR(o, 95)], milestones=[5])``.
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int],
                 last_epoch: int = -1) -> None:
        _require_some("SequentialLR", schedulers)
        self._check(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(bad("SequentialLR", f"{len(milestones)} milestones for {len(schedulers)} schedulers",
                                 "one fewer than schedulers", "A milestone is where the next one begins."))
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        for group in optimizer.param_groups:  # each schedule began as it was made: all but the first begin later
            group["lr"] = group["initial_lr"]
        self.recursive_undo()
        first = schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def recursive_undo(self, sched: Any = None) -> None:
        """Take back the step that making a schedule took, of all that it holds."""
        holder = self if sched is None else sched
        if hasattr(holder, "_schedulers"):
            for scheduler in holder._schedulers:
                self.recursive_undo(scheduler)
        elif hasattr(holder, "last_epoch"):
            holder.last_epoch -= 1

    def step(self) -> None:  # type: ignore[override]
        """Step the schedule whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Several):
    """All ``schedulers`` at once: each step steps every one, on the rates that the others left."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        _require_some("ChainedScheduler", schedulers)
        optimizer = optimizer or getattr(schedulers[0], "optimizer", None)
        self._check(schedulers, optimizer)
        self._schedulers = schedulers
        self.optimizer = optimizer  # type: ignore[assignment]
        self._last_lr = self._current()

    def step(self) -> None:  # type: ignore[override]
        """Step every schedule."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._current()


class ReduceLROnPlateau(LRScheduler):
    """lr *= ``factor`` when the metric given to ``step(metric)`` has not improved for more than ``patience`` steps.

    ``mode`` "min" or "max" says what is better, by more than ``threshold``, relative ("rel") or "abs"; after a cut,
    ``cooldown`` steps count nothing; no rate falls below ``min_lr`` (a list: one a group), and a cut of less than
    ``eps`` is left out. A metric on a device is read, which waits for it.
    """

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
                 min_lr: float | list[float] = 0, eps: float = 1e-8) -> None:
        if factor >= 1.0:
            raise ValueError(bad("ReduceLROnPlateau", f"factor={factor}", "factor < 1", "Change factor."))
        _require_optimizer("ReduceLROnPlateau", optimizer)
        self.factor = factor
        self.optimizer = optimizer
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = _per_group("min_lr", optimizer, min_lr)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self._last_lr = self._current()
        self._compare_by(mode, threshold, threshold_mode)
        self._reset()

    def _compare_by(self, mode: str, threshold: float, threshold_mode: str) -> None:
        for name, value, allowed in (("mode", mode, ("min", "max")),
                                     ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if value not in allowed:
                raise ValueError(bad("ReduceLROnPlateau", f"{name}={value!r}", " or ".join(map(repr, allowed)),
                                     f"Change {name}."))
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode

    def _reset(self) -> None:
        """Forget the best metric and all counts."""
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Look at a metric, a number or an array of one element, and cut the rates if it is time."""
        current = float(metrics)
        if epoch is None:
            epoch = self.last_epoch + 1
        else:
            _warn_epoch()
        self.last_epoch = epoch
        if self._is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._current()

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):  # groups were added
            if self.default_min_lr is None:
                raise RuntimeError(bad("ReduceLROnPlateau.step", f"{len(self.min_lrs)} min_lrs", f"{len(groups)}, one "
                                       "a parameter group", "Extend .min_lrs after adding a group."))
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs):
            before = float(group["lr"])
            after = max(before * self.factor, least)
            if before - after > self.eps:
                group["lr"] = after

    @property
    def in_cooldown(self) -> bool:
        """Whether a cut is so recent that steps count nothing."""
        return self.cooldown_counter > 0

    def _is_better(self, value: float, best: float) -> bool:
        downward = self.mode == "min"
        if self.threshold_mode == "rel":
            bound = best * (1.0 - self.threshold if downward else 1.0 + self.threshold)
        else:
            bound = best - self.threshold if downward else best + self.threshold
        return value < bound if downward else value > bound

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._compare_by(self.mode, self.threshold, self.threshold_mode)
