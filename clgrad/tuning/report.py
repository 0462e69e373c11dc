"""What the tuner says: progress, results, status, explanations."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from ..runtime import tuned
from ..runtime.device import Device
from ..runtime.tuned import Choice, Database, Place, Problem, Row
from .problems import TUNABLES, tunable
from .tunable import Tunable
from .tuner import Result, Run

_WIDTH = 24


def bar(share: float, width: int = _WIDTH) -> str:
    """A bar filled to a share."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "#" * full + "." * (width - full)


class Progress:
    """One line on a terminal, written over as it changes; elsewhere nothing until a problem is done."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = 0
        self.number, self.count = 1, 1

    def __call__(self, run: Run) -> None:
        if not self._stream.isatty():
            return
        spent = time.monotonic() - run.started
        best = (f"best {run.rate:.4g} {run.unit} ({run.speedup:.2f}x default) {tuned.describe(run.best)}" if run.tried
                else "building the default")
        text = (f"[{bar(spent / run.seconds)}] {self.number}/{self.count} {run.problem}: {run.tried} tried, "
                f"{run.failed} failed, {best}")[:150]
        self._stream.write("\r" + text.ljust(self._shown))
        self._stream.flush()
        self._shown = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._stream.flush()
            self._shown = 0


def result_line(r: Result) -> str:
    """One problem's outcome."""
    if r.row is None:
        return f"{r.problem}: nothing tuned: {r.why}"
    failed = [t for t in r.trials if t.state != "ok"]
    states = ", ".join(f"{sum(t.state == s for t in failed)} {s}" for s in dict.fromkeys(t.state for t in failed))
    return (f"{r.problem}: {r.row.rate:.4g} {r.unit} with {tuned.describe(r.row.params)}; the default reaches "
            f"{100 * r.share:.0f} % of it ({len(r.trials)} tried{', ' + states if states else ''})")


def summary(results: Sequence[Result]) -> str:
    """How far the defaults are behind, over all problems."""
    done = [r for r in results if r.row is not None]
    if not done:
        return "nothing was tuned"
    worst = min(done, key=lambda r: r.share)
    changed = sum(r.row.params is not None for r in done)
    return (f"{len(done)} problems, {changed} with other parameters than the default. The default reaches at least "
            f"{100 * worst.share:.0f} % of the tuned speed ({worst.problem})")


def _same_device(row: Row, place: Place) -> bool:
    return (row.place.platform, row.place.device, row.place.form) == (place.platform, place.device, place.form)


def status(device: Device) -> str:
    """Fresh, stale and missing rows of a device: its own by driver and kernel text, and the common problems without."""
    place = tuned.place_of(device)
    user, corrupt = tuned.read(tuned.user_file())
    lines = [f"{device} ({place.device}; {place.platform}, driver {place.driver}; {place.form} form)",
             f"user rows: {tuned.user_file()}" + (f", {len(corrupt)} damaged lines" if corrupt else "")]
    database = Database.load()
    for t in TUNABLES:
        source = tuned.source_hash(t.family)
        for origin, rows in (("user", user), ("shipped", tuned.shipped_rows())):
            mine = [r for r in rows if r.problem.family == t.family and _same_device(r, place)]
            fresh = {r.key for r in mine if r.source == source and r.place.exact == place.exact}
            old = {r.key for r in mine if r.source != source}
            other = {r.key for r in mine if r.source == source and r.place.exact != place.exact}
            if mine:
                lines.append(f"  {t.family:12} {origin:8} {len(fresh)} fresh, {len(old)} stale (the kernel has "
                             f"changed), {len(other)} of another driver version")
        levels = [(p, database.find(p, place, source, lambda _: True).level) for p in t.common]
        missing = [str(p) for p, level in levels if level not in ("user", "shipped")]
        lines.append(f"  {t.family:12} missing  {len(missing)} of {len(levels)} common problems"
                     + (f": {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}" if missing else ""))
    return "\n".join(lines)


def explain(device: Device, problem: Problem) -> str:
    """Which row a problem gets on a device, and which rows came after it, level by level."""
    t = tunable(problem.family)
    place = tuned.place_of(device)
    source = tuned.source_hash(problem.family)
    database = Database.load()
    facts, size = device.facts, tuned.accumulator_size(problem.dtype)

    def accepts(params: dict[str, int]) -> bool:
        return tuned.fits(problem.family, params, facts, size)

    found = database.candidates(problem, place, source)
    won = database.find(problem, place, source, accepts)
    named = ", ".join(f"{name} {n}" for name, n in zip(t.names, problem.sizes))
    lines = [f"{problem} on {device}: {named}",
             f"bucket {'x'.join(map(str, problem.bucket))}, kernel text {source}, {place.form} form, class "
             f"{place.type} with {place.vector} floats a vector"]
    for level in tuned.LEVELS[:-1]:
        here = [c for c in found if c.level == level]
        lines.append(f"  {level:8}" + ("no row" if not here else ""))
        lines += [_choice_line(c, c.row is won.row, accepts, t) for c in here]
    lines.append(f"  default {tuned.describe(_default_of(t, place, problem))}")
    lines.append(f"taken: level {won.level}" + ("" if won.row is None else f", {tuned.describe(won.row.params)}"))
    return "\n".join(lines)


def _default_of(t: Tunable, place: Place, problem: Problem) -> Any:
    from . import space

    return None if t.chooses else space.default(t.family, place.form, problem.dtype)


def _choice_line(choice: Choice, won: bool, accepts: Any, t: Tunable) -> str:
    row = choice.row
    fit = row.params is None or accepts(row.params)
    return (f"    {'->' if won else '  '} {tuned.describe(row.params)}: {row.rate:.4g} {t.unit}, {row.speedup:.2f}x "
            f"the default, tuned at {'x'.join(map(str, row.problem.sizes))} on {row.place.device}, {row.when}"
            + ("" if fit else " (does not fit this device)"))
