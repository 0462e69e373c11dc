"""The figures of a run: taking them in turns, and the file they are kept in."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .case import Case
from .workers import Worker

Key = tuple[str, str]  # a case's name and a library's label


@dataclass
class Row:
    """The figures of one case in one library: microseconds a step and of the first one, bytes of memory at most."""

    case: str
    library: str
    median: float = 0.0
    low: float = 0.0
    high: float = 0.0
    error: str = ""
    samples: list[float] = field(default_factory=list)
    first: float | None = None
    memory: int | None = None
    when: str = ""

    @property
    def key(self) -> Key:
        """What the row is about."""
        return self.case, self.library

    def take(self, seconds: list[float]) -> None:
        """Add samples and renew median and quartiles."""
        self.samples += [round(1e6 * s, 3) for s in seconds]
        if len(self.samples) > 1:
            self.low, self.median, self.high = statistics.quantiles(self.samples, n=4, method="inclusive")
        else:
            self.low = self.median = self.high = self.samples[0]


def is_clgrad(label: str) -> bool:
    """Whether the label is that of clgrad, on whichever device."""
    return label.split()[0] == "clgrad"


def yardstick(rows: Iterable[Row]) -> dict[str, float]:
    """By case, the median that ratios are to: clgrad's on the first device that has one."""
    found: dict[str, float] = {}
    for r in rows:
        if is_clgrad(r.library) and not r.error:
            found.setdefault(r.case, r.median)
    return found


def measure(case: Case, workers: list[Worker], rounds: int, times: int) -> list[Row]:
    """One case in every library, in turns."""
    rows: dict[Worker, Row] = {}
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    for w in workers:
        if case.builder(w.name) is not None:
            made = w.ask("case", case.name)
            rows[w] = Row(case.name, w.label, error=made.get("error", ""), memory=made.get("memory"), when=when,
                          first=round(1e6 * made["first"], 1) if "first" in made else None)
    for turn in range(rounds):
        order = list(rows)
        for w in order[turn % len(order):] + order[:turn % len(order)]:
            if not rows[w].error:
                answer = w.ask("sample", times)
                if "error" in answer:
                    rows[w].error = answer["error"]
                else:
                    rows[w].take(answer["seconds"])
    for w in rows:
        w.ask("end")
    return list(rows.values())


@dataclass
class Run:
    """What is kept in a file: the machine, the libraries ``about`` which it is, the roofline, and the rows."""

    machine: dict[str, Any] = field(default_factory=dict)
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    roofline: dict[str, dict] = field(default_factory=dict)  # by clgrad's label
    rows: dict[Key, Row] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Run:
        """The run of a file; ValueError where it is none."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            known = {f.name for f in fields(Row)}
            rows = [Row(**{k: v for k, v in r.items() if k in known}) for r in kept["rows"]]
            return cls(kept.get("machine", {}), kept.get("about", {}), kept.get("roofline") or {},
                       {r.key: r for r in rows})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no file of tools/bench.py --json ({type(error).__name__}: {error}); "
                             "name another, or remove it") from None

    def write(self, path: Path) -> None:
        """Keep the run; the file is the old one or the new one, never a part."""
        kept = {"machine": self.machine, "about": self.about, "roofline": self.roofline,
                "rows": [{k: v for k, v in asdict(r).items() if v not in ("", None)} for r in self.rows.values()]}
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            draft.write_text(json.dumps(kept, indent=0), encoding="utf-8")
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()

    def differences(self, machine: dict[str, Any], about: dict[str, dict[str, str]]) -> list[str]:
        """What is not as when the rows were taken, so that new rows would not belong to them."""
        told = [f"the {k} was {self.machine[k]} and is {v}" for k, v in machine.items()
                if k in ("processor", "cores") and self.machine.get(k, v) != v]
        for label, now in about.items():
            then = self.about.get(label, now)
            told += [f"{label}'s {k} was {then[k]} and is {v}" for k, v in now.items() if then.get(k, v) != v]
        return told

    def done(self, case: Case, workers: Iterable[Worker]) -> bool:
        """Whether there is a row of each library that the case is for."""
        return all((case.name, w.label) in self.rows for w in workers if case.builder(w.name) is not None)

    def add(self, rows: Iterable[Row]) -> None:
        """New rows take the place of older ones."""
        self.rows.update({r.key: r for r in rows})

    def ordered(self, cases: Iterable[Case]) -> list[Row]:
        """The rows of the cases, in their order; in a case, clgrad first and libraries as they came."""
        labels = sorted({label for _, label in self.rows}, key=lambda n: (not is_clgrad(n), self._place(n)))
        return [self.rows[c.name, n] for c in cases for n in labels if (c.name, n) in self.rows]

    def _place(self, label: str) -> int:
        known = list(self.about)
        return known.index(label) if label in known else len(known)
