"""What can be tuned: for each kernel family how to make a problem's operands, run it, and know the right result.

A ``Tunable`` is data and a few short functions. The parameters are not among them: they stand in the kernel's own
file, and the family itself asks :func:`clgrad.runtime.tuned.params` for them when it plans a launch. Operands are NumPy
arrays whose strides are the layout that is meant.
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.errors import bad
from ..families.matmul import matmul
from ..ops.elementwise import add
from ..ops.reduce import sum as total
from ..ops.softmax import softmax
from ..ops.sort import cumsum, sort
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
    source: str = ""  # likewise: the kernel's text

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


# Matrix products -----------------------------------------------------------------------------------------------------


def _matrix(draw: Callable[..., np.ndarray], batch: int, rows: int, columns: int, along: str) -> np.ndarray:
    """A batch of matrices: n row by row, t column by column, s with gaps between elements."""
    lead = (batch,) if batch > 1 else ()
    if along == "t":
        return draw((*lead, columns, rows)).swapaxes(-1, -2)
    return draw((*lead, rows, columns)) if along == "n" else draw((*lead, rows, 2 * columns))[..., ::2]


def _matmul_operands(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    M, K, N, batch = p.sizes
    along, _, shared = p.layout.partition("/")
    return (_matrix(draw, 1 if "a" in shared else batch, M, K, along[0]),
            _matrix(draw, 1 if "b" in shared else batch, K, N, along[1]))


def _matmul_odd(p: Problem, params: Params) -> Sequence[tuple[int, ...]]:
    rows = params.get("tile_m") or params.get("group_m", 4) * params.get("block_m", 4)
    columns = params.get("vectors", 1) * params.get("width", 16)
    if "group_n" in params:
        columns = params["group_n"] * params.get("block_n", 1)
    batch = 1 if p.sizes[3] == 1 else 3
    return (1, 1, 1, batch), (rows + 1, 37, columns + 1, batch), (31, 613, 2 * columns - 1, batch), (rows, 1, 67, batch)


_MATMUL_LAYOUTS = tuple(a + b + shared for shared in ("", "/a", "/b") for a, b in product("nts", repeat=2))

MATMUL = Tunable(
    "matmul", ("M", "K", "N", "batch"), _MATMUL_LAYOUTS, _matmul_operands,
    run=lambda p, x, y: matmul(x, y), reference=lambda p, x, y: x @ y, work=lambda p: 2.0 * prod(p.sizes),
    odd=_matmul_odd, chooses=True,
    common=(
        *problems("matmul", "float32", "nn", (512, 512, 512, 1), (1024, 1024, 1024, 1), (256, 256, 256, 1),
                  (128, 128, 128, 1), (64, 64, 64, 1), (64, 64, 64, 32), (64, 1024, 128, 1)),
        *problems("matmul", "float32", "nt", (64, 1000, 100, 1), (512, 512, 512, 1)),
        *problems("matmul", "float32", "tn", (1000, 64, 100, 1), (512, 512, 512, 1))))

# Rows and columns of numbers -----------------------------------------------------------------------------------------


def _lines(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    """Lines of a length along the last axis (rows) or the first (columns)."""
    lines, length = p.sizes
    return (draw((length, lines)) if p.layout.endswith("columns") else draw((lines, length)),)


def _dim(p: Problem) -> int:
    return 0 if p.layout.endswith("columns") else 1


def _few_lines(p: Problem, params: Params) -> Sequence[tuple[int, int]]:
    most = max(params.values())
    return (1, 1), (1, 613), (37, 31), (3, min(most, 4096) + 1), (min(most, 4096) + 1, 5)


def _touched(p: Problem, times: int) -> float:
    """Bytes, where each element is read or written so many times."""
    return float(times * prod(p.sizes) * dtypes.dtype(p.dtype).itemsize)


def _softmax_of(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _grid(n: int) -> tuple[int, int]:
    """Rows and columns of n elements, the columns as many as rows or more."""
    rows = next(r for r in range(int(n ** 0.5), 0, -1) if n % r == 0)
    return rows, n // rows


def _elementwise_operands(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    n, = p.sizes
    if p.layout == "flat":
        return draw((n,)), draw((n,))
    rows, columns = _grid(n)
    return draw((rows, columns + 3))[:, :columns], draw((rows, columns))


ELEMENTWISE = Tunable(
    "elementwise", ("elements",), ("flat", "strided"), _elementwise_operands,
    run=lambda p, x, y: add(x, y), reference=lambda p, x, y: x + y, work=lambda p: _touched(p, 3),
    odd=lambda p, params: ((1,), (37,), (4097,), (70001,)), unit="GB/s",
    common=(*problems("elementwise", "float32", "flat", (1 << 24,), (1 << 20,), (1 << 16,)),
            *problems("elementwise", "float32", "strided", (1 << 22,))))

REDUCE = Tunable(
    "reduce", ("lines", "length"), ("rows", "columns"), _lines,
    run=lambda p, x: total(x, _dim(p)), reference=lambda p, x: x.sum(_dim(p)), work=lambda p: _touched(p, 1),
    odd=_few_lines, unit="GB/s",
    common=(*problems("reduce", "float32", "rows", (1, 1 << 24), (4096, 4096), (4096, 256)),
            *problems("reduce", "float32", "columns", (4096, 4096), (256, 4096))))

SCAN = Tunable(
    "scan", ("lines", "length"), ("rows", "columns"), _lines,
    run=lambda p, x: cumsum(x, _dim(p)), reference=lambda p, x: x.cumsum(_dim(p)), work=lambda p: _touched(p, 2),
    odd=_few_lines, unit="GB/s",
    common=problems("scan", "float32", "rows", (1, 1 << 22), (1024, 4096)))

SOFTMAX = Tunable(
    "softmax", ("lines", "length"), ("softmax/rows", "softmax/columns"), _lines,
    run=lambda p, x: softmax(x, _dim(p)), reference=lambda p, x: _softmax_of(x, _dim(p)),
    work=lambda p: _touched(p, 2), odd=_few_lines, unit="GB/s",
    common=problems("softmax", "float32", "softmax/rows", (4096, 1024), (1024, 128)))

SORT = Tunable(
    "sort", ("lines", "length"), ("lines",), _lines,
    run=lambda p, x: sort(x, 1), reference=lambda p, x: (np.sort(x, 1), np.argsort(x, 1, kind="stable")),
    work=lambda p: _touched(p, 2), odd=_few_lines, unit="GB/s",
    common=problems("sort", "float32", "lines", (1 << 14, 256), (1 << 16, 32)))

RADIX = replace(SORT, family="radix",
                common=problems("radix", "float32", "lines", (1, 1 << 22), (2048, 2048), (8192, 512)))

TUNABLES: tuple[Tunable, ...] = (MATMUL, ELEMENTWISE, REDUCE, SCAN, SOFTMAX, SORT, RADIX)


def tunable(name: str) -> Tunable:
    """The Tunable of a family; ``file.py:NAME`` is one of a Python file of yours."""
    path, _, attribute = name.rpartition(":")
    if path:
        return getattr(_module(path), attribute)
    found = next((t for t in TUNABLES if t.family == name), None)
    if found is None:
        raise ValueError(bad("tune", f"family {name!r}", f"one of {', '.join(t.family for t in TUNABLES)}",
                             "Or name your own as file.py:NAME."))
    return found


def _module(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"clgrad_tunable_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
