"""What can be tuned of pooling: windows over planes, and the gradients."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.errors import bad
from ..families.pool import Windows
from ..ops.pool import pool_columns, pool_fold, pool_max, pool_mean, pool_spread, pool_unmean, pooled_size
from ..runtime.tuned import Params, Problem
from .tunable import Hosts, Tunable, problems

_LAYOUT = re.compile(r"(max|mean|spread|unmean)/k([0-9x]+)/s([0-9x]+)/p([0-9x]+)/d([0-9x]+)")
_RECORDS = {"max": pool_max, "mean": pool_mean, "spread": pool_spread, "unmean": pool_unmean}


def _parsed(p: Problem) -> tuple[str, list[tuple[int, ...]]]:
    """Kind, and taps, strides, margins and dilations of a layout."""
    match = _LAYOUT.fullmatch(p.layout)
    if match is None:
        raise ValueError(bad("tune", f"layout {p.layout!r}", "as max/k1x2x2/s1x2x2/p0x0x0/d1x1x1",
                             "Taps, strides, margins and dilations are of three axes."))
    return match[1], [tuple(map(int, text.split("x"))) for text in match.groups()[1:]]


def _windows(p: Problem) -> Windows:
    space, (_, (taps, strides, margins, dilations)) = tuple(p.sizes[1:]), _parsed(p)
    size = tuple(pooled_size(n, k, s, m, d, False) for n, k, s, m, d in zip(space, taps, strides, margins, dilations))
    return Windows(space, size, taps, strides, margins, dilations)


def _positions(p: Problem, w: Windows) -> np.ndarray:
    """For each window one of the elements that it holds, the same for the same problem."""
    rng = np.random.default_rng(p.sizes[0])
    at: Any = 0
    for a, (n, o, k, s, m, d) in enumerate(zip(w.space, w.size, w.taps, w.stride, w.low, w.dilation)):
        start = (np.arange(o) * s - m).reshape([-1 if b == a else 1 for b in range(3)])
        at = at * n + np.clip(start + d * rng.integers(0, k, (p.sizes[0], *w.size)), 0, n - 1)
    return at.astype(np.int32)


def _operands(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    w, kind = _windows(p), _parsed(p)[0]
    if kind in ("max", "mean"):
        return (draw((p.sizes[0], *w.space)),)
    g = draw((p.sizes[0], *w.size))
    return (g, _positions(p, w)) if kind == "spread" else (g,)


def _run(p: Problem, x: Any, *index: Any) -> Any:
    return _RECORDS[_parsed(p)[0]](x, *index, _windows(p))


def _reference(p: Problem, x: np.ndarray, *index: np.ndarray) -> np.ndarray:
    w, kind = _windows(p), _parsed(p)[0]
    axes = (1, 2, 3)
    if kind == "max":
        inside = pool_columns.op.ref(np.ones((1, *w.space)), w) > 0
        return np.where(inside, pool_columns.op.ref(x, w), -np.inf).max(axes)
    if kind == "mean":
        return pool_columns.op.ref(x, w).sum(axes) / prod(w.taps)
    if kind == "unmean":
        share = (x / prod(w.taps)).reshape(len(x), 1, 1, 1, *w.size)
        return pool_fold.op.ref(np.broadcast_to(share, (len(x), *w.taps, *w.size)), w)
    flat = np.zeros((len(x), prod(w.space)))
    np.add.at(flat, (np.arange(len(x))[:, None], index[0].reshape(len(x), -1)), x.reshape(len(x), -1))
    return flat.reshape(len(x), *w.space)


def _work(p: Problem) -> float:
    """Bytes of planes and windows."""
    return float(p.sizes[0] * (prod(p.sizes[1:]) + prod(_windows(p).size)) * dtypes.dtype(p.dtype).itemsize)


def _odd(p: Problem, params: Params) -> Sequence[tuple[int, ...]]:
    """Planes of one window, of a few, and of more elements than a tile of 1024."""
    _, (taps, _, margins, dilations) = _parsed(p)
    least = [max(1, d * (k - 1) + 1 - 2 * m) for k, m, d in zip(taps, margins, dilations)]
    return ((1, *least), (37, least[0], least[1] + 3, least[2] + 17), (3, least[0], least[1] + 1, least[2] + 1400),
            (2, least[0] + 1, least[1] + 40, least[2] + 36))


def _layer(kind: str, taps: int, stride: int, margin: int) -> str:
    return f"{kind}/k1x{taps}x{taps}/s1x{stride}x{stride}/p0x{margin}x{margin}/d1x1x1"


POOL = Tunable(
    "pool", ("planes", "D", "H", "W"),
    (_layer("max", 3, 2, 1), _layer("spread", 3, 2, 1), _layer("unmean", 3, 2, 1), _layer("mean", 3, 2, 1),
     *(_layer(kind, 2, 2, 0) for kind in _RECORDS)),
    _operands, run=_run, reference=_reference, work=_work, odd=_odd, spoilt=(0,), unit="GB/s",
    common=(*problems("pool", "float32", _layer("spread", 3, 2, 1), (1024, 1, 56, 56)),
            *problems("pool", "float32", _layer("unmean", 3, 2, 1), (1024, 1, 56, 56)),
            *problems("pool", "float32", _layer("spread", 2, 2, 0), (1024, 1, 64, 64)),
            *problems("pool", "float32", _layer("max", 2, 2, 0), (1024, 1, 64, 64))))
