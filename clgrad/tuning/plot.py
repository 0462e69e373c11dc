"""A picture of what was searched: the rate of every candidate by the value of each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import missing
from ..runtime import tuned
from .tuner import Result

_FAILED = {"wrong": "x", "refused": "+", "hang": "v", "crash": "v"}


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw a row of panels a problem, a panel a parameter: a point a candidate, the best of each value joined, the
    default as a dashed line, the winner marked. Failed candidates stand at zero."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("tune --plot", "matplotlib", "examples") from None
    drawn = [r for r in results if r.row is not None and any(t.params for t in r.trials)]
    if not drawn:
        raise ValueError("tune --plot: nothing was searched")
    columns = max(len(_names(r)) for r in drawn)
    figure = Figure(figsize=(2.9 * columns + 1.2, 2.5 * len(drawn) + 0.8), layout="constrained")
    axes = figure.subplots(len(drawn), columns, squeeze=False, sharey="row")
    for row, r in zip(axes, drawn):
        _problem(row, r)
    place = drawn[0].row.place
    figure.suptitle(f"{place.device} · {place.platform} {place.driver.split(' ')[0]} · {place.form} form", fontsize=10)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)


def _names(r: Result) -> list[str]:
    """The parameters that more than one value was tried of."""
    tried: dict[str, set] = {}
    for t in r.trials:
        for name, value in (t.params or {}).items():
            tried.setdefault(name, set()).add(value)
    return [name for name, values in tried.items() if len(values) > 1] or list(tried)[:1]


def _problem(row: Any, r: Result) -> None:
    default = r.row.rate * r.share
    for axis in row[len(_names(r)):]:
        axis.set_axis_off()
    for axis, name in zip(row, _names(r)):
        values = sorted({t.params[name] for t in r.trials if t.params and name in t.params})
        place = {v: i for i, v in enumerate(values)}
        good = [(place[t.params[name]], default * t.speedup) for t in r.trials if t.params and t.state == "ok"]
        bad = [place[t.params[name]] for t in r.trials if t.params and t.state != "ok"]
        # points of one value are spread a little, so that they do not hide each other
        spread = [x + 0.22 * ((i * 0.618) % 1 - 0.5) for i, (x, _) in enumerate(good)]
        axis.scatter(spread, [y for _, y in good], s=14, color="#4878a8", alpha=0.6, linewidths=0, label="candidate")
        if bad:
            axis.scatter(bad, [0] * len(bad), s=24, marker="x", color="#c44e52", label="failed")
        best = {x: max(y for at, y in good if at == x) for x in {x for x, _ in good}}
        axis.plot(sorted(best), [best[x] for x in sorted(best)], color="#4878a8", linewidth=1.2, label="best of value")
        axis.axhline(default, color="#555555", linestyle="--", linewidth=1, label="default")
        if r.row.params is not None:
            axis.scatter([place[r.row.params[name]]], [r.row.rate], s=90, marker="*", color="#dd8452",
                         edgecolors="black", linewidths=0.5, zorder=3, label="chosen")
        axis.set_xticks(range(len(values)), [str(v) for v in values], fontsize=8)
        axis.set_xlim(-0.5, len(values) - 0.5)
        axis.set_ylim(bottom=0)
        axis.tick_params(axis="y", labelsize=8)
        axis.set_xlabel(name, fontsize=9)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    row[0].set_ylabel(r.unit, fontsize=9)
    row[0].set_title(str(r.problem), fontsize=9, loc="left")
    if r.row.params is not None:
        row[-1].set_title(tuned.describe(r.row.params), fontsize=8, loc="right")
