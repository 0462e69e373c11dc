"""Pictures of a run: the others' times as ratios to clgrad's, and how the time of a unit of work grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import growth, report
from .catalogue import SUBJECTS
from .results import Row, Run, is_clgrad, yardstick

_COLOURS = {"numpy": "#8c6bb1", "torch": "#e6550d", "jax": "#31a354", "tinygrad": "#d6a400", "clgrad": "#1f77b4"}
_MARKERS = {"numpy": "s", "torch": "o", "jax": "^", "tinygrad": "v", "clgrad": "D"}
_NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
_LIMITS = (0.05, 20.0)  # a ratio beyond stands at the border, with its number


def require() -> Any:
    """matplotlib's pyplot, without a window."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("--plot: got no matplotlib; expected it to be installed. Run pip install matplotlib "
                          "(or leave --plot away).") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw(run: Run, path: Path) -> list[Path]:
    """Write the pictures that the run has figures for; their paths."""
    pyplot = require()
    path.parent.mkdir(parents=True, exist_ok=True)
    made = []
    if figure := _ratios(pyplot, run):
        made.append(path)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
    if figure := _growth(pyplot, run):
        made.append(path.with_name(f"{path.stem}-growth{path.suffix}"))
        figure.savefig(made[-1], dpi=110)
        pyplot.close(figure)
    return made


def spread(row: Row, ours: Row) -> tuple[float, float, float]:
    """The ratio of medians, and the least and the most that the quartiles of both allow."""
    return row.median / ours.median, row.low / ours.high, row.high / ours.low


Line = tuple[str, Any]  # a heading and None, or a case's name and its rows


def _lines(run: Run) -> list[Line]:
    """What is drawn, from top to bottom: the subjects, and in each the cases that have something to compare."""
    lines: list[Line] = []
    for subject, cases in SUBJECTS.items():
        here: list[Line] = []
        for case in cases:
            rows = run.ordered([case])
            if case.name in yardstick(rows) and sum(not r.error for r in rows) > 1:
                here.append((case.name, rows))
        lines += [(subject, None), *here] if here else []
    return lines


def _columns(lines: list[Line]) -> list[list[Line]]:
    """One column, or two of about the same length that are parted at a case."""
    if len(lines) < 40:
        return [lines]
    half = (len(lines) + 1) // 2
    if lines[half - 1][1] is None:  # a heading is not left alone at the bottom
        half -= 1
    return [lines[:half], lines[half:]]


def _ratios(pyplot: Any, run: Run) -> Any:
    lines = _lines(run)
    if not lines:
        return None
    columns = _columns(lines)
    height = 1.9 + 0.21 * max(len(c) for c in columns)
    figure, axes = pyplot.subplots(1, len(columns), figsize=(9.2 * len(columns), height), squeeze=False,
                                   layout="constrained")
    seen: dict[str, Any] = {}
    for ax, column in zip(axes[0], columns):
        _column(ax, run, column, max(len(c) for c in columns), seen)
    figure.legend(seen.values(), seen.keys(), loc="outside upper center", ncols=len(seen), frameon=False,
                  fontsize=11, title="time of a library over clgrad's: to the right of 1, clgrad is faster "
                  "(bars: quartiles of both)", title_fontsize=12)
    return figure


def _column(ax: Any, run: Run, lines: list[Line], slots: int, seen: dict[str, Any]) -> None:
    low, high = _LIMITS
    ax.set_xscale("log")
    ax.set_xlim(low / 1.25, high * 1.25)
    ax.set_ylim(slots - 0.4, -0.6)
    ax.axvline(1, color="black", linewidth=1)
    for y, (name, rows) in enumerate(lines):
        if rows is None:
            ax.text(-0.01, y, name, transform=ax.get_yaxis_transform(), ha="right", va="center", weight="bold",
                    fontsize=9)
            continue
        if y % 2:
            ax.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", zorder=0)
        ax.text(-0.01, y, name, transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=8)
        ours = next(r for r in rows if is_clgrad(r.library) and not r.error)
        told = "  ".join(filter(None, (report.duration(ours.median), report.part(run, ours))))
        ax.text(1.01, y, told, transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=_COLOURS["clgrad"])
        beyond = 0
        for row in rows:
            if row is not ours and not row.error:
                outside = not low <= row.median / ours.median <= high
                seen.setdefault(name_of(row.library), _mark(ax, row, ours, y, beyond))
                beyond += outside
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    ax.set_xticks(ticks, [f"{t:g}x" for t in ticks], fontsize=8)
    ax.minorticks_off()
    ax.set_yticks([])
    ax.tick_params(top=True, labeltop=True)
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("left", "right"):
        ax.spines[side].set_visible(False)
    ax.text(1.01, -1, "clgrad" + (", of roofline" if run.roofline else ""), transform=ax.get_yaxis_transform(),
            fontsize=8, va="center", color=_COLOURS["clgrad"])


def name_of(label: str) -> str:
    """The library's name as it writes it."""
    return _NAMES.get(label, label)


def _mark(ax: Any, row: Row, ours: Row, y: float, beyond: int) -> Any:
    """A library's ratio and its spread. One outside the borders stands at one with its number, further in by as many
    as are there already."""
    low, high = _LIMITS
    ratio, least, most = spread(row, ours)
    kind = row.library.split()[0]
    colour = _COLOURS.get(kind, "#555555")
    at = min(max(ratio, low), high)
    if at == ratio:
        ax.plot([max(least, low), min(most, high)], [y, y], color=colour, linewidth=1.6, alpha=0.6)
    else:
        at = high / 1.6 ** beyond if ratio > 1 else low * 1.6 ** beyond
        ax.annotate(f"{ratio:.0f}" if ratio > 1 else f"{ratio:.2g}", (at, y), fontsize=6.5, color=colour,
                    xytext=(-5 if ratio > 1 else 5, 0), textcoords="offset points", va="center",
                    ha="right" if ratio > 1 else "left")
    return ax.plot(at, y, _MARKERS.get(kind, "o"), color=colour, markersize=4.5, linestyle="none")[0]


def _growth(pyplot: Any, run: Run) -> Any:
    shown = [s for s in growth.SERIES if s.labels(run)]
    if not shown:
        return None
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(6.2 * columns, 4.2 * rows), squeeze=False,
                                   layout="constrained")
    for ax, series in zip(axes.flat, shown):
        for label in series.labels(run):
            times = series.times(run, label)
            kind = label.split()[0]
            ax.plot(list(times), list(times.values()), marker=_MARKERS.get(kind, "o"), markersize=5,
                    color=_COLOURS.get(kind), label=name_of(label), linestyle="-" if label == kind else "--")
        sizes = [p.size for p in series.points]
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(sizes, [str(n) for n in sizes], fontsize=8)
        ax.yaxis.set_major_formatter(lambda t, _: f"{t:g}")
        ax.yaxis.set_minor_formatter(lambda t, _: f"{t:g}" if f"{t:e}"[0] in "25" else "")
        ax.tick_params(axis="y", which="both", labelsize=8)
        ax.set_xlabel(series.axis)
        ax.set_ylabel(series.unit)
        ax.set_title(series.name, fontsize=10)
        ax.grid(which="both", color="#e5e5e5", linewidth=0.6)
        ax.legend(frameon=False, fontsize=8)
    for ax in list(axes.flat)[len(shown):]:
        ax.set_visible(False)
    figure.suptitle("Time of a unit of work as the work grows: flat is good, low is fast", fontsize=12)
    return figure
