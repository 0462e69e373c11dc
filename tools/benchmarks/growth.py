"""How the time of a unit of work changes as the work grows: matrix sizes, batches and sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import training
from .case import Case, backward, call, normal
from .libraries import OTHERS

if TYPE_CHECKING:
    from .results import Run

BEND = 1.5  # a unit of work that takes so many times the least one is worth a word


@dataclass(frozen=True)
class Point:
    """A case of a series: its size, and how many units of work it has."""

    size: int
    units: float
    case: Case


@dataclass(frozen=True)
class Series:
    """Cases of growing size; ``scale`` turns seconds a unit into what ``unit`` says."""

    name: str
    axis: str
    unit: str
    scale: float
    points: tuple[Point, ...]

    def times(self, run: Run, label: str) -> dict[int, float]:
        """By size, the time of a unit of work in a library, where it was measured."""
        found = {}
        for p in self.points:
            row = run.rows.get((p.case.name, label))
            if row is not None and not row.error:
                found[p.size] = 1e-6 * row.median / p.units * self.scale
        return found

    def labels(self, run: Run) -> list[str]:
        """The libraries that have figures, in the run's order."""
        return [label for label in run.about if self.times(run, label)]


def _matmul() -> Iterator[Point]:
    for n in (128, 256, 512, 1024, 2048, 4096):
        flops = 2.0 * n ** 3
        yield Point(n, flops, Case(f"growth: matmul {n}x{n}x{n}", {"*": call(lambda np_, a, b: a @ b, (n, n), (n, n))},
                                   flops, skip=("tinygrad",)))


def _lenet() -> Iterator[Point]:
    for n in (1, 4, 16, 64, 256):
        step = training.train(training.lenet, (n, 3, 32, 32), "SGD", lr=1e-3, momentum=0.9)
        yield Point(n, n, Case(f"growth: LeNet training, batch {n}", {"*": step}, training.lenet_flops(n), skip=OTHERS))


def _attention() -> Iterator[Point]:
    for t in (64, 128, 256, 512, 1024, 2048, 4096):
        flops = 3 * 4.0 * 8 * t * t * 64 / 2
        step = backward(lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                        *(normal(1, 8, t, 64),) * 3)
        yield Point(t, flops, Case(f"growth: causal attention and back, 1x8x{t}x64", {"*": step}, flops, skip=OTHERS))


def _encoder() -> Iterator[Point]:
    for t in (64, 128, 256, 512, 1024, 2048, 4096):
        flops = training.encoder_flops(1, t, 1)
        yield Point(t, flops, Case(f"growth: encoder layer training, {t} tokens",
                                   {"*": training.encoder(1, t, 1)}, flops, skip=OTHERS))


SERIES = (
    Series("matmul of n x n by n x n", "n", "ms a GFLOP", 1e12, tuple(_matmul())),
    Series("LeNet training", "batch", "µs a sample", 1e6, tuple(_lenet())),
    Series("causal attention and its gradients, 8 heads of 64", "sequence", "ms a GFLOP", 1e12, tuple(_attention())),
    Series("training of an encoder layer of width 256", "sequence", "ms a GFLOP", 1e12, tuple(_encoder())),
)
CASES = tuple(p.case for series in SERIES for p in series.points)


def table(series: Series, run: Run) -> Iterator[str]:
    """Time of a unit of work by size and library, and how many times the least of that library it is."""
    labels = series.labels(run)
    times = {label: series.times(run, label) for label in labels}
    yield f"| {series.axis} | " + " | ".join(f"{label}, {series.unit}" for label in labels) + " |"
    yield "|--:" * (len(labels) + 1) + "|"
    for p in series.points:
        if any(p.size in t for t in times.values()):
            yield f"| {p.size} | " + " | ".join(_cell(times[label], p.size) for label in labels) + " |"


def _cell(times: dict[int, float], size: int) -> str:
    if size not in times:
        return ""
    return f"{times[size]:.3g} ({times[size] / min(times.values()):.1f}x)"


def bends(series: Series, run: Run, label: str) -> str:
    """A sentence on where the time of a unit of work is not flat."""
    times = series.times(run, label)
    if not times:
        return ""
    least = min(times, key=times.__getitem__)
    far = [f"{size} ({t / times[least]:.1f}x)" for size, t in times.items() if t > BEND * times[least]]
    if not far:
        return f"{label}: flat within {BEND}x of the least, which is at {least}."
    return f"{label}: least at {least}; more than {BEND}x of that at {', '.join(far)}."
