"""The figures of a run: taking them in turns, and the table they make."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import roofline
from .case import Case
from .catalogue import CASES
from .memory import COPY
from .workers import Worker


@dataclass
class Row:
    """The figures of one case in one library; microseconds a step."""

    case: str
    library: str
    median: float = 0.0
    low: float = 0.0
    high: float = 0.0
    error: str = ""
    samples: list[float] = field(default_factory=list)

    def take(self, seconds: list[float]) -> None:
        """Add samples and renew median and quartiles."""
        self.samples += [round(1e6 * s, 3) for s in seconds]
        if len(self.samples) > 1:
            self.low, self.median, self.high = statistics.quantiles(self.samples, n=4, method="inclusive")
        else:
            self.low = self.median = self.high = self.samples[0]


def measure(index: int, workers: list[Worker], rounds: int, times: int) -> list[Row]:
    """One case in every library, in turns."""
    case = CASES[index]
    rows = {}
    for w in workers:
        if case.builder(w.name) is not None:
            rows[w] = Row(case.name, w.name, error=w.ask("build", index).get("error", ""))
    for turn in range(rounds):
        order = list(rows)
        for w in order[turn % len(order):] + order[:turn % len(order)]:
            if not rows[w].error:
                answer = w.ask("sample", times)
                if "error" in answer:
                    rows[w].error = answer["error"]
                else:
                    rows[w].take(answer["seconds"])
    return list(rows.values())


def _rate(case: Case, microseconds: float) -> str:
    if not case.work:
        return ""
    if case.unit in ("ops", "samples"):
        return f"{microseconds / case.work:.2f} µs {'an op' if case.unit == 'ops' else 'a sample'}"
    return f"{case.work / microseconds / 1e3:.3g} G{case.unit}/s"


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def table(rows: list[Row], old: dict[tuple[str, str], Row] | None, most: dict | None = None) -> Iterator[str]:
    """The rows as a Markdown table, line by line."""
    cases = {c.name: c for c in CASES}
    ours = {r.case: r.median for r in rows if r.library == "clgrad" and not r.error}
    copy = cases[COPY].work / ours[COPY] if COPY in ours else 0.0
    then = " then | change |" if old is not None else ""
    share = "of roofline" if most else "of a copy"
    yield f"| case | library | µs, median | quartiles | rate | {share} | ratio to clgrad |{then}"
    yield "|---|---|--:|--:|--:|--:|--:|" + ("--:|--:|" if old is not None else "")
    for r in rows:
        if r.error:
            yield f"| {r.case} | {r.library} | failed | {r.error.replace('|', '/')} | | | |" + (" | |" if then else "")
            continue
        ratio = f"{r.median / ours[r.case]:.2f}" if r.case in ours else ""
        case = cases[r.case]
        part = case.work / r.median / copy if case.unit == "B" and copy else None
        if most:
            part = roofline.share(most, case.work, case.unit, case.dtype, 1e-6 * r.median)
        share = "" if part is None else f"{100 * part:.0f} %"
        line = (f"| {r.case} | {r.library} | {_figure(r.median)} | {_figure(r.low)} - {_figure(r.high)} "
                f"| {_rate(case, r.median)} | {share} | {ratio} |")
        if old is not None:
            before = old.get((r.case, r.library))
            line += f" {_figure(before.median)} | {_change(before, r)} |" if before and not before.error else " | |"
        yield line


def _change(before: Row, now: Row) -> str:
    """How much longer it takes now; marked where the quartiles do not touch."""
    apart = now.low > before.high or now.high < before.low
    return f"{100 * (now.median / before.median - 1):+.0f} %{' *' if apart else ''}"
