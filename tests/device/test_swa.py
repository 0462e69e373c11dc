"""Averages of models against NumPy and PyTorch; launches and copies; the statistics of batch norms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, nn
from clgrad.ndarray import from_host
from clgrad.optim import swa_utils
from clgrad.testing import assert_close


class Scaled(nn.Module):
    """A layer with a buffer of floats and one of ints."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("mean", clgrad.zeros(3))
        self.register_buffer("seen", clgrad.tensor([0]))

    def forward(self, x: Any) -> Any:
        return self.linear(x - self.mean)


def _walk(model: nn.Module, averaged: Any, steps: int, rng: np.random.Generator) -> list[list[np.ndarray]]:
    """Give the model's parameters and buffers random values, and average them, ``steps`` times."""
    history = []
    for step in range(steps):
        for v in (*model.parameters(), model.mean):
            v.data.copy_(from_host(rng.standard_normal(v.shape).astype(np.float32)))
        model.seen.data.fill_(10 * step)
        history.append([v.data.numpy() for v in (*model.parameters(), *model.buffers())])
        averaged.update_parameters(model)
    return history


EMA = [0.75**5 if k == 0 else 0.25 * 0.75 ** (5 - k) for k in range(6)]
MAKERS = {
    "mean": (lambda m: swa_utils.AveragedModel(m), [1 / 6] * 6),
    "mean-multi": (lambda m: swa_utils.AveragedModel(m, multi_avg_fn=swa_utils.get_swa_multi_avg_fn()), [1 / 6] * 6),
    "mean-each": (lambda m: swa_utils.AveragedModel(m, avg_fn=swa_utils.get_swa_avg_fn()), [1 / 6] * 6),
    "ema-multi": (lambda m: swa_utils.AveragedModel(m, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.75)), EMA),
    "ema-each": (lambda m: swa_utils.AveragedModel(m, avg_fn=swa_utils.get_ema_avg_fn(0.75)), EMA),
    "own": (lambda m: swa_utils.AveragedModel(m, avg_fn=lambda a, v, n: a + v if n else a), [1] * 6),
}


@pytest.mark.parametrize("name", MAKERS)
def test_averages(name: str, rng, device) -> None:
    make, weights = MAKERS[name]
    model = Scaled()
    averaged = make(model)
    history = _walk(model, averaged, 6, rng)
    parameters = list(averaged.module.parameters())
    for n, p in enumerate(parameters):
        assert_close(p, sum(w * h[n] for w, h in zip(weights, history)))
        assert p.requires_grad
    for b, last in zip(averaged.module.buffers(), history[-1][len(parameters):]):
        np.testing.assert_array_equal(b.numpy(), last)
    assert averaged.n_averaged.item() == 6
    x = clgrad.ones(2, 3)
    assert_close(averaged(x), averaged.module(x).detach().numpy())


def test_buffers_may_be_averaged_too(rng, device) -> None:
    model = Scaled()
    averaged = swa_utils.AveragedModel(model, use_buffers=True)
    history = _walk(model, averaged, 3, rng)
    assert_close(averaged.module.mean, sum(h[2] for h in history) / 3)
    assert averaged.module.seen.dtype is clgrad.int64


def test_an_update_is_a_launch_and_copies_nothing(rng, device, launches) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    averaged = swa_utils.AveragedModel(model)
    for _ in range(2):
        averaged.update_parameters(model)
    launches.clear()
    device.copies.reset()
    for _ in range(3):
        averaged.update_parameters(model)
    assert [label for label, _ in launches] == ["lerp"] * 3
    assert (device.copies.to_device, device.copies.to_host) == (0, 0)


def test_a_state_dict_brings_the_count(rng, device) -> None:
    model = Scaled()
    first = swa_utils.AveragedModel(model)
    history = _walk(model, first, 3, rng)
    assert list(first.state_dict()) == ["n_averaged", *(f"module.{k}" for k in model.state_dict())]
    second = swa_utils.AveragedModel(model)
    second.load_state_dict(first.state_dict())
    history += _walk(model, second, 1, rng)
    assert_close(second.module.linear.weight, sum(h[0] for h in history) / 4)
    assert (first.n_averaged.item(), second.n_averaged.item()) == (3, 4)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages_follow_pytorch(decay: float | None, rng, device) -> None:
    torch = pytest.importorskip("torch")
    model, other = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    make = [{} if decay is None else {"multi_avg_fn": m.get_ema_multi_avg_fn(decay)}
            for m in (swa_utils, torch.optim.swa_utils)]
    ours = swa_utils.AveragedModel(model, **make[0])
    theirs = torch.optim.swa_utils.AveragedModel(other, **make[1])
    for _ in range(5):
        for p, t in zip(model.parameters(), other.parameters()):
            value = rng.standard_normal(p.shape).astype(np.float32)
            p.data.copy_(from_host(value))
            t.data.copy_(torch.from_numpy(value))
        ours.update_parameters(model)
        theirs.update_parameters(other)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (key, mine), reference in zip(ours.state_dict().items(), theirs.state_dict().values()):
        assert_close(mine, reference.numpy(), message=key)


class Norm(nn.Module):
    """What update_bn needs of a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.momentum: float | None = 0.1
        self.batches: list[list[float]] = []

    def reset_running_stats(self) -> None:
        self.batches = []

    def forward(self, x: Variable) -> Variable:
        assert self.momentum is None
        assert self.training
        assert not clgrad.is_grad_enabled()
        self.batches.append(x.tolist())
        return x


def test_update_bn_runs_the_model_over_the_batches(device) -> None:
    model = nn.Sequential(Norm()).eval()
    model[0].batches = [[9.0]]
    swa_utils.update_bn([(clgrad.ones(2), "label"), clgrad.zeros(1)], model, device)
    assert model[0].batches == [[1, 1], [0]]
    assert (model[0].momentum, model.training) == (0.1, False)
    swa_utils.update_bn([1 / 0 for _ in ()], nn.Linear(1, 1))


def test_errors(device) -> None:
    model = nn.Linear(1, 1)
    mean = swa_utils.get_swa_avg_fn()
    with pytest.raises(ValueError, match="AveragedModel: got avg_fn and multi_avg_fn; expected one of them at most"):
        swa_utils.AveragedModel(model, avg_fn=mean, multi_avg_fn=mean)
    for make in (swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match=f"{make.__name__}: got decay=1.5; expected 0 <= decay <= 1"):
            make(1.5)
