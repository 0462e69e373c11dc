"""Averages of a model's parameters along its training: equal weights (SWA) or exponential ones (EMA)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from ..autograd.mode import no_grad
from ..autograd.variable import Variable, unwrap
from ..core import dtypes
from ..core.errors import bad
from ..families.optimize import Update, update_each
from ..ndarray import Array, full, move
from ..nn.module import Module
from ..ops.elementwise import assign
from .lr_scheduler import _half_cosine, _per_group, _Rates
from .optimizer import Optimizer

__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
           "get_swa_multi_avg_fn", "update_bn"]

_LERP = Update("lerp", ("weight",), (), (("", "p += weight * (g - p);"),))


def _lerp(averages: Sequence[Any], values: Sequence[Any], weight: float) -> None:
    """average += weight * (value - average), in place: one launch for each device and float dtype."""
    pairs = [(unwrap(a), unwrap(v)) for a, v in zip(averages, values, strict=True)]
    floats = [(a, v.astype(a.dtype)) for a, v in pairs if a.dtype.kind == "f"]
    update_each(_LERP, [a for a, _ in floats], [v for _, v in floats], (weight,))
    for average, value in pairs:
        if average.dtype.kind != "f":
            assign(average, average + (value - average) * weight)


def _decay(op: str, decay: float) -> float:
    if not 0 <= decay <= 1:
        raise ValueError(bad(op, f"decay={decay}", "0 <= decay <= 1", "Change decay."))
    return decay


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Sequence, Sequence, Any], None]:
    """A function of (averages, values, count) that makes averages ``decay * average + (1 - decay) * value``."""
    rest = 1 - _decay("get_ema_multi_avg_fn", decay)
    return lambda averages, values, count: _lerp(averages, values, rest)


def get_swa_multi_avg_fn() -> Callable[[Sequence, Sequence, Any], None]:
    """A function of (averages, values, count) that makes averages the mean of ``count + 1`` values."""
    return lambda averages, values, count: _lerp(averages, values, 1 / (int(count) + 1))


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """A function of (average, value, count) that gives ``decay * average + (1 - decay) * value``."""
    _decay("get_ema_avg_fn", decay)
    return lambda average, value, count: decay * average + (1 - decay) * value


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """A function of (average, value, count) that gives the mean of ``count + 1`` values."""
    return lambda average, value, count: average + (value - average) / (count + 1)


class AveragedModel(Module):
    """A copy of ``model``, as ``.module``, whose parameters :meth:`update_parameters` makes averages of the model's.

    The mean, unless ``avg_fn(average, value, count)`` gives each new average, or ``multi_avg_fn(averages, values,
    count)`` changes lists of them in place; the first update copies. ``count`` is an int, the number of updates before,
    which the buffer ``n_averaged`` holds for the state_dict. With ``use_buffers`` buffers are averaged too, else they
    are copied. ``device``: where the copy lies.
    """

    def __init__(self, model: Module, device: Any = None, avg_fn: Callable | None = None,
                 multi_avg_fn: Callable | None = None, use_buffers: bool = False) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError(bad("AveragedModel", "avg_fn and multi_avg_fn", "one of them at most", "Leave one out."))
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        home = next(itertools.chain(self.module.parameters(), self.module.buffers())).device
        self.register_buffer("n_averaged", Variable(full((), 0, dtypes.int64, home)))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers
        self._seen: tuple[Array, int, int] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged copy computes."""
        return self.module(*args, **kwargs)

    def _count(self) -> int:
        """The number of updates; read from the device only after somebody else, as load_state_dict, wrote it."""
        data = self.n_averaged.data
        if self._seen is not None:
            array, version, count = self._seen
            if array is data and version == data.storage.version:
                return count
        return int(data.item())

    def update_parameters(self, model: Module) -> None:
        """Take the present parameters of ``model`` into the averages."""
        count = self._count()
        mine, theirs = self._averaged(self.module), self._averaged(model)
        averages = [a.detach() for a in mine]
        values = [Variable(move(v.data, a.device)) for a, v in zip(mine, theirs, strict=True)]
        with no_grad():
            if count == 0:
                for a, v in zip(averages, values):
                    assign(a.data, v.data)
            elif self.avg_fn is not None:
                for a, v in zip(averages, values):
                    assign(a.data, unwrap(self.avg_fn(a, v, count)))
            elif averages:
                (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, values, count)
            if not self.use_buffers:
                for a, v in zip(self.module.buffers(), model.buffers(), strict=True):
                    assign(a.data, move(v.data, a.device))
        data = self.n_averaged.data
        data += 1
        self._seen = data, data.storage.version, count + 1

    def _averaged(self, model: Module) -> list[Variable]:
        return [*model.parameters(), *(model.buffers() if self.use_buffers else ())]


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of ``model``'s batch norms anew, as means over all batches of ``loader``.

    A batch that is a list or a tuple is called on by its first entry, moved to ``device`` where given.
    """
    norms = [m for m in model.modules() if hasattr(m, "reset_running_stats") and hasattr(m, "momentum")]
    if not norms:
        return
    momenta, training = [m.momentum for m in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    model.train()
    try:
        with no_grad():
            for batch in loader:
                x = batch[0] if isinstance(batch, (list, tuple)) else batch
                model(x if device is None else x.to(device))
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        model.train(training)


class SWALR(_Rates):
    """From the rate that is there to ``swa_lr`` (one, or one a group) in ``anneal_epochs``, and then constant.

    ``anneal_strategy``: "cos" or "linear". The rate to keep while averaging (Izmailov et al. 2018).
    """

    def __init__(self, optimizer: Optimizer, swa_lr: float | list[float], anneal_epochs: int = 10,
                 anneal_strategy: str = "cos", last_epoch: int = -1) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(bad("SWALR", f"anneal_strategy={anneal_strategy!r}", "'cos' or 'linear'",
                                 "Change anneal_strategy."))
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(bad("SWALR", f"anneal_epochs={anneal_epochs}", "an int of 0 or more",
                                 "Change anneal_epochs."))
        for rate, group in zip(_per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How far from the first rate to the last one a step is."""
        share = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return 1 - _half_cosine(share) if self._anneal_strategy == "cos" else share

    def rates(self) -> list[float]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            last = group["swa_lr"]
            first = last if before == 1 else (group["lr"] - before * last) / (1 - before)
            rates.append(last * now + first * (1 - now))
        return rates
