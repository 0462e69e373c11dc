"""What a family needs to be tuned, and what the problems of all families share.

A ``Tunable`` is data and a few short functions. The parameters are not among them: they stand in the kernel's own
file, and the family itself asks :func:`clgrad.runtime.tuned.params` for them when it plans a launch. Operands are NumPy
arrays whose strides are the layout that is meant.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.errors import bad
from ..runtime.tuned import Params, Problem

Hosts = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Tunable:
    """A family that can be tuned.

    ``names`` are the sizes of a problem in order; ``layouts`` what its layout may be, the first being the usual one.
    ``operands(problem, draw)`` makes them, ``draw(shape)`` being random numbers of the problem's dtype;
    ``run(problem, *arrays)`` computes on the device, ``reference(problem, *hosts)`` in float64 on the host.
    ``work`` is in flops or bytes, as ``unit`` says. ``odd`` gives sizes around the edges of a candidate's tiles.
    ``common`` is what is tuned when nothing is asked for by name.
    """

    family: str
    names: tuple[str, ...]
    layouts: tuple[str, ...]
    operands: Callable[[Problem, Callable[..., np.ndarray]], Hosts]
    run: Callable[..., Any]
    reference: Callable[..., Any]
    work: Callable[[Problem], float]
    odd: Callable[[Problem, Params], Sequence[tuple[int, ...]]]
    common: tuple[Problem, ...]
    unit: str = "GFLOP/s"
    chooses: bool = False  # whether the family chooses by the problem where no row is found, rather than by DEFAULT
    space: Callable[[str, str, Any], list[Params]] | None = None  # (form, dtype, facts), where no template has one
    default: Params | None = None  # likewise
    spoilt: tuple[int, ...] | None = None  # operands among which NaN must show in the result; None for all
    nan_spreads: bool = False  # whether NaN may show in more places than in the reference
    source: str = ""  # likewise: the kernel's text
    further: str = ""  # pattern of layouts beside those listed

    def knows(self, layout: str) -> bool:
        """Whether problems of a layout can be made: what a program meets may be of a kind without a reference here."""
        return layout in self.layouts or bool(self.further and re.fullmatch(self.further, layout))

    def problem(self, sizes: tuple[int, ...], dtype: str | None = None, layout: str | None = None) -> Problem:
        """A problem of these sizes; ValueError where the layout is none of the family's, or the dtype no dtype."""
        layout = self.layouts[0] if layout is None else layout
        if not self.knows(layout):
            raise ValueError(bad("tune", f"layout {layout!r} for {self.family}", f"one of {', '.join(self.layouts)}"
                                 + (f", or any as {self.further}" if self.further else ""),
                                 "Leave it out for the first."))
        return Problem(self.family, dtypes.dtype(dtype or "float32").name, layout, sizes)

    def parse(self, sizes: str) -> tuple[int, ...]:
        """Sizes from text as 512x512x64; those that are missing at the end are 1."""
        try:
            given = tuple(int(part) for part in sizes.lower().replace(",", "x").split("x"))
        except ValueError:
            given = ()
        if not 0 < len(given) <= len(self.names) or any(n < 1 for n in given):
            raise ValueError(bad("tune", f"sizes {sizes!r} for {self.family}", "x".join(self.names),
                                 "Give whole numbers with an x between them, as 512x512x64."))
        return given + (1,) * (len(self.names) - len(given))


def problems(family: str, dtype: str, layout: str, *sizes: tuple[int, ...]) -> tuple[Problem, ...]:
    """Problems of one dtype and layout."""
    return tuple(Problem(family, dtype, layout, s) for s in sizes)


def draws(problem: Problem) -> Callable[..., np.ndarray]:
    """Random numbers of a problem's dtype, the same for the same problem."""
    rng = np.random.default_rng(zlib.crc32(str(problem).encode()))
    d = dtypes.dtype(problem.dtype)

    def draw(shape: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> np.ndarray:
        if d.kind in "iu":
            return rng.integers(max(-50, np.iinfo(d.np).min), 50, shape).astype(d.np)
        return rng.uniform(low, high, shape).astype(d.np)

    return draw


def beyond(params: Params) -> int:
    """A size that no tile or strip divides. Thresholds in bytes are parameters, too: hence the limit."""
    return min(max(params.values()), 4096) + 1


def touched(p: Problem, times: int) -> float:
    """Bytes, where each element is read or written so many times."""
    return float(times * prod(p.sizes) * dtypes.dtype(p.dtype).itemsize)


def itself(op: Any) -> Any:
    return op


def reference(op: Any) -> Any:
    return op.op.ref
