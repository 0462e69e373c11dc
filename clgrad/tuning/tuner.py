"""Tuning one problem after the other within a budget: propose, try in a child, time beside the best, remember."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from ..core.config import config
from ..runtime import tuned
from ..runtime.device import Device
from ..runtime.tuned import Params, Place, Problem, Row
from . import database, space
from .problems import tunable
from .process import Child, Failed
from .search import Ranking, Search, frozen
from .tunable import Tunable

MARGIN = 0.03  # a candidate must be faster than the best so far by more than this, beyond the spread
_QUICK, _CAREFUL, _FINAL = 3, 9, 21  # rounds of timing
_REPEATS = 3  # of the careful rounds, while it is not clear whether a candidate is better
_PROMISING = 0.97  # of the best's speed after the quick rounds
_CHILD_TRIES = 250  # candidates after which a child is replaced: drivers keep what they built


@dataclass
class Trial:
    """What became of a candidate: ``state`` is ok, wrong, refused, hang or crash; ``speedup`` is over the default."""

    params: Params | None
    state: str
    speedup: float = 0.0
    seconds: float = 0.0
    why: str = ""


@dataclass
class Result:
    """What tuning a problem gave. Times are seconds a call; ``row`` is None where not even the default could run."""

    problem: Problem
    row: Row | None
    default_seconds: float = 0.0
    tuned_seconds: float = 0.0
    unit: str = ""
    trials: list[Trial] = field(default_factory=list)
    why: str = ""

    @property
    def share(self) -> float:
        """How much of the tuned speed the default reaches."""
        return self.tuned_seconds / self.default_seconds if self.default_seconds else 1.0


@dataclass(frozen=True)
class Options:
    """How to tune. ``seconds`` is the budget of one problem, ``limit`` that of one request to the child, ``start``
    that of a child's start, operands and reference included, ``most`` the number of candidates tried at most."""

    seconds: float = 30.0
    limit: float = 20.0
    start: float = 120.0
    seed: int = 0
    most: int = 10000
    resume: bool = False
    validate: bool = True


Progress = Callable[["Run"], None]


@dataclass
class Run:
    """Where the tuning of a problem stands, for a line of progress."""

    problem: Problem
    unit: str
    started: float
    seconds: float
    tried: int = 0
    failed: int = 0
    left: int = 0
    best: Params | None = None
    speedup: float = 1.0
    rate: float = 0.0


def ratio_of(best: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """How much faster the other is, by pairs of rounds: the median, and two of its standard errors (by the median
    deviation, as if it were normal), so that a few disturbed rounds count little and more rounds help."""
    ratios = [b / o for b, o in zip(best, other)]
    middle = median(ratios)
    return middle, 2 * 1.2533 * 1.4826 * median(abs(r - middle) for r in ratios) / len(ratios) ** 0.5


def trials_file() -> Path:
    """Where every candidate that was tried is kept: for --resume and for plots."""
    return config.cache_dir / "tuning" / "trials.jsonl"


def _trial_key(source: str, problem: Problem, place: Place) -> list:
    return [source, problem.family, problem.dtype, problem.layout, list(problem.sizes), *place.exact]


def read_trials(source: str, problem: Problem, place: Place) -> list[Trial]:
    """The candidates tried before on a problem, by this kernel's text on this device; the last of each."""
    key, found = _trial_key(source, problem, place), {}
    try:
        lines = trials_file().read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    for line in lines:
        try:
            data = json.loads(line)
            if data.pop("key") == key:
                trial = Trial(**data)
                found[frozen(trial.params or {})] = trial
        except (ValueError, KeyError, TypeError, AttributeError):  # a line that was cut short costs its trial
            continue
    return list(found.values())


class Tuner:
    """Tunes problems on one device, with one child process at a time."""

    def __init__(self, device: Device, options: Options, progress: Progress | None = None) -> None:
        self._device = device
        self._options = options
        self._progress = progress or (lambda run: None)
        self._child = Child(device.key)
        self._rankings: dict[tuple[str, str], Ranking] = {}
        self.place = tuned.place_of(device)

    def __enter__(self) -> Tuner:
        return self

    def __exit__(self, *exc: object) -> None:
        self._child.close()

    def tune(self, problem: Problem, name: str | None = None, seconds: float | None = None) -> Result:
        """Find the best parameters of a problem and append a row; ``name`` finds its Tunable, by default by family,
        ``seconds`` is the budget if it is not that of the options."""
        t = tunable(name or problem.family)
        options = self._options if seconds is None else replace(self._options, seconds=seconds)
        job = _Job(self, t, name or problem.family, problem, options)
        try:
            return job.run()
        except Failed as error:  # the default itself
            self._child.close()
            return Result(problem, None, unit=t.unit, trials=job.trials, why=f"the default failed: {error}")

    def ranking(self, problem: Problem) -> Ranking:
        """What is known of the parameters' values of a family and dtype."""
        return self._rankings.setdefault((problem.family, problem.dtype), Ranking())


class _Job:
    """One problem being tuned."""

    def __init__(self, tuner: Tuner, t: Tunable, name: str, problem: Problem, options: Options) -> None:
        self.tuner, self.tunable, self.name, self.problem, self.options = tuner, t, name, problem, options
        self.child = tuner._child
        self.source = tuned.text_hash(t.source) if t.source else tuned.source_hash(t.family)
        self.trials: list[Trial] = []
        self.numbers = 0
        self.best: Params | None = None  # the parameters to beat, None for the default
        self.held: dict[tuple, int] = {}  # candidates that the child holds, by parameters
        self.told = -1  # the child that was told the problem, by its number
        self.speedup = 1.0
        self.started = time.monotonic()
        self.run_state = Run(problem, t.unit, self.started, options.seconds)

    # The child ---------------------------------------------------------------------------------------------------

    def _ask(self, **request: Any) -> Any:
        """The child's answer within the limit."""
        return self.child.ask(self.options.limit, **request)

    def _ready(self) -> None:
        """See that there is a child that knows the problem; a new one holds no candidates."""
        if not self.child.alive or self.told != self.child.started:
            self.held.clear()
            self.child.ask(self.options.start, do="problem", device=self.tuner._device.key, tunable=self.name,
                           problem=asdict(self.problem))
            self.told = self.child.started

    def _hold(self, params: Params | None, keep: Sequence[Params | None] = ()) -> int:
        """The number of a candidate in the child, built and checked there if it is not yet."""
        self._ready()
        key = frozen(params or {})
        if key not in self.held:
            self.numbers += 1
            kept = {k: self.held[k] for k in (frozen(p or {}) for p in keep) if k in self.held}
            self._ask(do="attempt", number=self.numbers, params=params, keep=list(kept.values()))
            self.held = {**kept, key: self.numbers}
        return self.held[key]

    def _times(self, left: Params | None, right: Params | None, rounds: int) -> tuple[list[float], list[float]]:
        """Times of two candidates in turns."""
        first = self._hold(left, [right])
        second = self._hold(right, [left])
        a, b = self._ask(do="time", numbers=[first, second], rounds=rounds)
        return a, b

    # The search --------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Search until the budget is spent or nothing is left, confirm against the default, and append the row."""
        self.tuner._progress(self.run_state)
        self._hold(None)
        self.started = self.run_state.started = time.monotonic()  # a child's start is none of the search
        search = self._search()
        for params in self._first():
            self._try(params, search)
        while not self._spent() and (params := search.propose()) is not None:
            self._try(params, search)
            if self.child.started and self.numbers % _CHILD_TRIES == 0:
                self.child.close()
        if not self.trials:
            return Result(self.problem, None, unit=self.tunable.unit, why="no time was left to try a candidate")
        return self._finish()

    def _search(self) -> Search:
        """The search over the family's space, told what earlier runs found if they count."""
        t, p, facts = self.tunable, self.problem, self.tuner._device.facts
        form = self.tuner.place.form
        if t.space is not None:
            points, start = t.space(form, p.dtype, facts), t.default
        else:
            points, start = space.points(t.family, form, p.dtype, facts), space.default(t.family, form, p.dtype)
        search = Search(points, start or (points[0] if points else {}), self.options.seed, self.tuner.ranking(p))
        if self.options.resume:
            for trial in read_trials(self.source, p, self.tuner.place):
                if trial.params is not None:
                    search.tell(trial.params, trial.speedup if trial.state == "ok" else None)
                    self.trials.append(trial)
        return search

    def _first(self) -> list[Params]:
        """What is tried before the search proposes: the best of earlier runs."""
        known = [t for t in self.trials if t.state == "ok" and t.speedup > 1 + MARGIN]
        first = [t.params for t in sorted(known, key=lambda t: -t.speedup)[:2]]
        rows, _ = tuned.read(tuned.user_file())
        for row in reversed(rows):
            same = (row.source, row.problem.family, row.problem.dtype, row.problem.layout, row.problem.bucket,
                    row.place.exact)
            p = self.problem
            if row.params is not None and same == (self.source, p.family, p.dtype, p.layout, p.bucket,
                                                   self.tuner.place.exact):
                first.append(row.params)
                break
        return list({frozen(p): p for p in first}.values())

    def _spent(self) -> bool:
        return (time.monotonic() - self.started >= self.options.seconds
                or len(self.trials) >= self.options.most)

    def _try(self, params: Params, search: Search) -> None:
        """Try a candidate and tell the search."""
        try:
            trial = self._measure(params)
        except Failed as error:
            trial = Trial(params, error.state, why=error.why)
        search.tell(params, trial.speedup if trial.state == "ok" else None)
        self.trials.append(trial)
        key = _trial_key(self.source, self.problem, self.tuner.place)
        database.append(trials_file(), [json.dumps({"key": key, **asdict(trial)})])
        state = self.run_state
        state.tried, state.left = len(self.trials), search.left
        state.failed = sum(t.state != "ok" for t in self.trials)
        state.best, state.speedup = self.best, self.speedup
        self.tuner._progress(state)

    def _measure(self, params: Params) -> Trial:
        """Time a candidate beside the best so far, which it replaces if it is clearly faster and right everywhere."""
        a, b = self._times(self.best, params, _QUICK)
        middle, spread = ratio_of(a, b)
        for _ in range(_REPEATS):
            if middle < _PROMISING or (len(a) > _CAREFUL and abs(middle - 1 - MARGIN) > spread):
                break
            more = self._times(self.best, params, _CAREFUL)
            a, b = a + more[0], b + more[1]
            middle, spread = ratio_of(a, b)
        if not self.run_state.rate:
            self.run_state.rate = self._rate(median(a))
        seconds = median(b)
        trial = Trial(params, "ok", self.speedup * middle, seconds)
        if middle - spread > 1 + MARGIN:
            if self.options.validate:
                self._ask(do="validate", number=self._hold(params, [self.best]), params=params)
            self.best, self.speedup = params, trial.speedup
            self.run_state.rate = self._rate(seconds)
        return trial

    def _rate(self, seconds: float) -> float:
        return self.tunable.work(self.problem) / seconds / 1e9

    def _finish(self) -> Result:
        """The best against the default once more, with care; the row of the faster one."""
        a, b = self._times(None, self.best, _FINAL) if self.best is not None else (
            self._ask(do="time", numbers=[self._hold(None)], rounds=_CAREFUL)[0],) * 2
        middle, spread = ratio_of(a, b)
        if middle - spread <= 1 + MARGIN:
            self.best, b, middle = None, a, 1.0
        row = Row(self.source, self.problem, self.tuner.place, self.best, self._rate(median(b)), middle, spread,
                  datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
        database.add([row])
        return Result(self.problem, row, median(a), median(b), self.tunable.unit, self.trials)
