"""Pictures of what was searched: the rate of every candidate by the value of each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import missing
from ..runtime import tuned
from .tuner import Result

_COLUMNS = 4  # panels side by side
_FAR_APART = 20  # ratio of the defaults' rates from which on the axis is logarithmic


def plot(results: Sequence[Result], path: Path) -> list[Path]:
    """Draw a picture a family, a panel a parameter: a colour a problem, a point a candidate, the best of each value
    joined, the default dashed, the winner a star; failed candidates stand at the bottom. One family is drawn to
    ``path``, several to files beside it that have the family at the end of their names. Returns the files."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("tune --plot", "matplotlib", "examples") from None
    path, families = Path(path), dict[str, list[Result]]()
    for r in results:
        if r.row is not None and any(t.params for t in r.trials):
            families.setdefault(r.problem.family, []).append(r)
    if not families:
        raise ValueError("tune --plot: nothing was searched")
    files = []
    for family, drawn in families.items():
        files.append(path if len(families) == 1 else path.with_name(f"{path.stem}-{family}{path.suffix}"))
        _family(Figure, colormaps["tab10" if len(drawn) <= 10 else "tab20"], drawn, files[-1])
    return files


def _family(figure_type: Any, colors: Any, drawn: Sequence[Result], path: Path) -> None:
    names = list(dict.fromkeys(name for r in drawn for name in _names(r)))
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = figure_type(figsize=(3 * columns + 1, 2.5 * rows + 0.9 + 0.18 * len(drawn)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axis in axes[len(names):]:
        axis.set_axis_off()
    rates = [_default(r) for r in drawn]
    apart = min(rates) > 0 and max(rates) / min(rates) > _FAR_APART
    for number, (axis, name) in enumerate(zip(axes, names)):
        values = sorted({t.params[name] for r in drawn for t in r.trials if t.params and name in t.params})
        for i, r in enumerate(drawn):
            _problem(axis, r, name, values, colors(i % 20), min(rates) / 4 if apart else 0.0)
        axis.set_xticks(range(len(values)), [_short(v) for v in values], fontsize=8)
        axis.set_xlim(-0.5, len(values) - 0.5)
        axis.set_yscale("log") if apart else axis.set_ylim(bottom=0)
        axis.tick_params(axis="y", labelsize=8)
        axis.set_xlabel(name, fontsize=9)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        if number % columns == 0:
            axis.set_ylabel(drawn[0].unit, fontsize=9)
    place = drawn[0].row.place
    figure.suptitle(f"{drawn[0].problem.family} · {place.device} · {place.platform} {place.driver.split(' ')[0]} · "
                    f"{place.form} form\npoints: candidates, lines: best of a value, dashed: default, star: chosen, "
                    "x: failed", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def _default(r: Result) -> float:
    """The default's rate."""
    return r.row.rate * r.share


def _short(value: Any) -> str:
    """A value, as a power of two where it is a large one."""
    large = isinstance(value, int) and value >= 4096 and value & (value - 1) == 0
    return f"$2^{{{value.bit_length() - 1}}}$" if large else str(value)


def _names(r: Result) -> list[str]:
    """The parameters that more than one value was tried of."""
    tried: dict[str, set] = {}
    for t in r.trials:
        for name, value in (t.params or {}).items():
            tried.setdefault(name, set()).add(value)
    return [name for name, values in tried.items() if len(values) > 1] or list(tried)[:1]


def _problem(axis: Any, r: Result, name: str, values: Sequence, color: Any, bottom: float) -> None:
    """One problem's candidates in the panel of a parameter."""
    default, place = _default(r), {v: i for i, v in enumerate(values)}
    tried = [t for t in r.trials if t.params and name in t.params]
    good = [(place[t.params[name]], default * t.speedup) for t in tried if t.state == "ok"]
    bad = [place[t.params[name]] for t in tried if t.state != "ok"]
    # points of one value are spread a little, so that they do not hide each other
    spread = [x + 0.22 * ((i * 0.618) % 1 - 0.5) for i, (x, _) in enumerate(good)]
    axis.scatter(spread, [y for _, y in good], s=9, color=color, alpha=0.35, linewidths=0)
    if bad:
        axis.scatter(bad, [bottom] * len(bad), s=20, marker="x", linewidths=1, color=color)
    best = {x: max(y for at, y in good if at == x) for x in {x for x, _ in good}}
    chosen = "the default" if r.row.params is None else tuned.describe(r.row.params)
    label = f"{r.problem.dtype} {r.problem.layout} {'x'.join(map(str, r.problem.sizes))}: {chosen}"
    axis.plot(sorted(best), [best[x] for x in sorted(best)], color=color, linewidth=1.2, label=label[:160])
    axis.axhline(default, color=color, linestyle="--", linewidth=0.8)
    if r.row.params is not None and name in r.row.params:
        axis.scatter([place[r.row.params[name]]], [r.row.rate], s=80, marker="*", color=color, edgecolors="black",
                     linewidths=0.5, zorder=3)
