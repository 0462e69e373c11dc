"""The figures in words: a line a case while a run goes on, and the Markdown table at its end."""

from __future__ import annotations

from collections.abc import Iterator

from . import roofline
from .case import Case
from .catalogue import BY_NAME
from .memory import COPY
from .results import Key, Row, Run, is_clgrad, yardstick

_ROOFLINE = """\
- of roofline: FLOP beside the peak of the device's multiply-adds (of float64 for float64, else of float32); bytes that
  must be moved at least, beside its best copy, which counts bytes read and bytes written. A step that only reads, that
  writes where it has read, or that finds its data in a cache may exceed 100 %, as may a convolution that saves
  multiplications."""
_COPY = f'- of a copy: the rate of bytes that must be moved at least, beside clgrad\'s "{COPY}" in the same run.'
_FIRST = """\
- first call: the first step in a process that has built nothing, with empty caches on the disk; inputs and parameters
  are in place."""
_KEPT = "- first call: the first step in a process, which finds what earlier processes left in caches on the disk."
_LEGEND = """\
- median: of the time of a step, from many in a row and one synchronisation at their end; beside it the quartiles of
  the samples.
{share}
{first}
- memory: at most in use over inputs and steps; for clgrad what its pool has given out, for the others what their
  process grew by (on CUDA, what PyTorch counts).
- ratio: the library's median over clgrad's, above 1 where clgrad is faster."""


def legend(rooflines: bool, keep_caches: bool = False) -> str:
    """What the columns mean."""
    return _LEGEND.format(share=_ROOFLINE if rooflines else _COPY, first=_KEPT if keep_caches else _FIRST)


def figure(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def duration(microseconds: float) -> str:
    """With the unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def rate(case: Case, microseconds: float) -> str:
    """Work a second, or the time of an op or a sample."""
    if not case.work:
        return ""
    if case.unit in ("ops", "samples"):
        return f"{microseconds / case.work:.2f} µs {'an op' if case.unit == 'ops' else 'a sample'}"
    return f"{case.work / microseconds / 1e3:.3g} G{case.unit}/s"


def _roof_of(run: Run, label: str) -> dict | None:
    """The roofline that a library's rows stand beside: its own device's, or clgrad's first where it computes on one
    of the same kind."""
    if label in run.roofline:
        return run.roofline[label]
    for ours, found in run.roofline.items():
        kinds = [run.about.get(n, {}).get("kind") for n in (ours, label)]
        if kinds[0] == kinds[1] or kinds[1] == "opencl":
            return found
    return None


def part(run: Run, row: Row) -> str:
    """How much of the roofline the row reaches, or of a copy in the run; nothing where that cannot be told."""
    case = BY_NAME.get(row.case)
    if case is None or row.error:
        return ""
    if run.roofline:
        reached = roofline.share(_roof_of(run, row.library), case.work, case.unit, case.dtype, 1e-6 * row.median)
    else:
        copy = next((r for k, r in run.rows.items() if k[0] == COPY and is_clgrad(k[1]) and not r.error), None)
        reached = case.work / row.median * copy.median / BY_NAME[COPY].work if copy and case.unit == "B" else None
    return "" if reached is None else f"{100 * reached:.{0 if reached >= 0.01 else 1}f} %"


def line(run: Run, rows: list[Row]) -> str:
    """A case in one line: clgrad's time, and the others' as ratios to it."""
    ours = yardstick(rows)
    told = []
    for r in rows:
        if r.error:
            told.append(f"{r.library} failed: {r.error}")
        elif is_clgrad(r.library) or r.case not in ours:
            about = ", ".join(filter(None, (rate(BY_NAME[r.case], r.median), part(run, r))))
            first = f", first call {duration(r.first)}" if r.first is not None else ""
            told.append(f"{r.library} {duration(r.median)} ({about or '-'}{first})")
        else:
            told.append(f"{r.library} {r.median / ours[r.case]:.2f}x")
    return f"{rows[0].case}: " + "; ".join(told)


def table(run: Run, rows: list[Row], old: dict[Key, Row] | None = None) -> Iterator[str]:
    """The rows as a Markdown table, line by line; with ``old``, also what was then and how it changed."""
    ours = yardstick(rows)
    share = "of roofline" if run.roofline else "of a copy"
    titles = ["case", "library", "µs, median", "quartiles", "rate", share, "first call, ms", "memory, MB",
              "ratio to clgrad", *(["then", "change"] if old is not None else [])]
    yield "| " + " | ".join(titles) + " |"
    yield "|---|---" + "|--:" * (len(titles) - 2) + "|"
    for r in rows:
        told = [r.case, r.library, *(_failed(r) if r.error else cells(run, r, ours))]
        if old is not None:
            before = old.get(r.key)
            both = before is not None and not before.error and not r.error
            told += [figure(before.median), change(before, r)] if both else ["", ""]
        yield "| " + " | ".join(told) + " |"


def _failed(r: Row) -> list[str]:
    return ["failed", r.error.replace("|", "/"), "", "", "", "", ""]


def cells(run: Run, r: Row, ours: dict[str, float]) -> list[str]:
    """Of a row: median, quartiles, rate, share, first call, memory, ratio."""
    case = BY_NAME.get(r.case)
    return [figure(r.median), f"{figure(r.low)} - {figure(r.high)}", rate(case, r.median) if case else "", part(run, r),
            "" if r.first is None else figure(r.first / 1e3), "" if r.memory is None else figure(r.memory / 1e6),
            f"{r.median / ours[r.case]:.2f}" if r.case in ours else ""]


def change(before: Row, now: Row) -> str:
    """How much longer it takes now; marked where the quartiles do not touch."""
    apart = now.low > before.high or now.high < before.low
    return f"{100 * (now.median / before.median - 1):+.0f} %{' *' if apart else ''}"
