"""The page of results: machine, versions, roofline, tables and growth, with the remarks that people wrote into it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from . import growth, report, roofline
from .catalogue import CASES, SUBJECTS
from .plot import name_of
from .results import Row, Run, is_clgrad, yardstick

COMMAND = """python tools/bench.py --roofline --growth --json docs/benchmarks.json --resume --limit 60 \\
    --plot docs/benchmarks.png --markdown docs/benchmarks.md"""
_NOTES = re.compile(r"<!-- notes: (?P<about>.*?) -->\n(?P<text>.*?)<!-- /notes -->", re.DOTALL)


def notes(text: str) -> dict[str, str]:
    """The remarks in a page, by what they are about."""
    return {m["about"]: m["text"] for m in _NOTES.finditer(text)}


def write(path: Path, run: Run, pictures: list[Path], busy: str = "") -> None:
    """Write the page; remarks that are in it already stay."""
    kept = notes(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(page(run, [_relative(p, path) for p in pictures], kept, busy)) + "\n", encoding="utf-8")


def _relative(picture: Path, page: Path) -> str:
    here = page.resolve().parent
    found = picture.resolve()
    return found.relative_to(here).as_posix() if found.is_relative_to(here) else found.as_posix()


def page(run: Run, pictures: list[str], kept: dict[str, str], busy: str = "") -> Iterator[str]:
    """The page, line by line."""
    yield "# Benchmarks\n"
    yield ("Written by `tools/bench.py`; what stands between `notes` marks is written by hand and stays when the page "
           "is made anew.\n")
    yield from _conditions(run, busy)
    yield from _remarks("summary", kept)
    plain = [p for p in pictures if not p.rsplit(".", 1)[0].endswith("-growth")]
    for picture in plain:
        yield f"![Times of the libraries over clgrad's]({picture})\n"
    yield from _tables(run, kept)
    yield from _grown(run, [p for p in pictures if p not in plain], kept)
    yield from _everything(run)


def _conditions(run: Run, busy: str) -> Iterator[str]:
    m = run.machine
    days = sorted({r.when for r in run.rows.values() if r.when})
    yield "## Machine\n"
    yield "| | |\n|---|---|"
    yield f"| processor | {m.get('processor', '')}, {m.get('cores', '')} cores |"
    yield f"| memory | {m.get('memory', 0) / 2 ** 30:.0f} GiB |"
    yield f"| system | {m.get('system', '')}, Python {m.get('python', '')} |"
    for label, what in run.about.items():
        commit = f" at {m['commit']}" if is_clgrad(label) and m.get("commit") else ""
        yield f"| {name_of(label)} | {what['version']}{commit} on {what['device']} |"
    for label, found in run.roofline.items():
        yield f"| roofline of {label} | {roofline.summary(found)} |"
    yield f"| date | {' to '.join(dict.fromkeys([*days[:1], *days[-1:]]))}{f'; {busy}' if busy else ''} |"
    yield f"\nMade by this command, called until nothing is left:\n\n```\n{COMMAND}\n```\n"


def _remarks(about: str, kept: dict[str, str]) -> Iterator[str]:
    yield f"<!-- notes: {about} -->\n{kept.get(about, '')}<!-- /notes -->\n"


def _tables(run: Run, kept: dict[str, str]) -> Iterator[str]:
    """By subject, a line a case: clgrad's figures, and the others' ratios."""
    yield "## clgrad, and the others' times over its own\n"
    yield f"{report.legend(bool(run.roofline))}\n"
    for subject, cases in SUBJECTS.items():
        rows = run.ordered(cases)
        ours = yardstick(rows)
        if not ours:
            continue
        others = [label for label in run.about if any(r.library == label for r in rows)]
        first = next(label for label in others if is_clgrad(label))
        others.remove(first)
        yield f"### {subject}\n"
        yield (f"| case | {first} | quartiles, µs | rate | of roofline | first call, ms | memory, MB | "
               + " | ".join(name_of(n) for n in others) + " |")
        yield "|---" + "|--:" * (6 + len(others)) + "|"
        for case in cases:
            if case.name in ours:
                yield _line(run, {r.library: r for r in rows if r.case == case.name}, first, others)
        yield ""
        yield from _remarks(subject, kept)


def _line(run: Run, rows: dict[str, Row], first: str, others: list[str]) -> str:
    r = rows.get(first)
    name = next(iter(rows.values())).case
    if r is None or r.error:
        return f"| {name} | {'failed' if r else ''} |" + " |" * (5 + len(others))
    cells = report.cells(run, r, {})
    told = [name, report.duration(r.median), cells[1], cells[2], cells[3], cells[4], cells[5]]
    return "| " + " | ".join([*told, *(_ratio(rows.get(n), r) for n in others)]) + " |"


def _ratio(row: Row | None, ours: Row) -> str:
    if row is None:
        return ""
    return "failed" if row.error else f"{row.median / ours.median:.2f}"


def _grown(run: Run, pictures: list[str], kept: dict[str, str]) -> Iterator[str]:
    shown = [s for s in growth.SERIES if s.labels(run)]
    if not shown:
        return
    yield "## Growth\n"
    yield ("Time of a unit of work as the work grows; in brackets, how many times the least of the library that is. "
           "Flat is good.\n")
    for picture in pictures:
        yield f"![Time of a unit of work]({picture})\n"
    for series in shown:
        yield f"### {series.name[0].upper()}{series.name[1:]}\n"
        yield from growth.table(series, run)
        told = (growth.bends(series, run, label) for label in series.labels(run) if is_clgrad(label))
        yield "\n" + " ".join(told) + "\n"
        yield from _remarks(series.name, kept)


def _everything(run: Run) -> Iterator[str]:
    rows = run.ordered(CASES)
    if rows:
        yield "<details><summary>Every row</summary>\n"
        yield from report.table(run, rows)
        yield "\n</details>"
