"""Moving, reducing, indexing, ordering and scanning: what memory's rate bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .case import Case, call, floats, integers, joined, moving, normal, random, shuffled

COPY = "copy 16 M"  # the yardstick of what memory gives
_M16 = 1 << 24
_SQUARE = (4096, 4096)


def _copies() -> Iterator[Case]:
    line = (floats(_M16),)
    yield moving(COPY, 8 * _M16, line, lambda np_, a: a.clone(), numpy=lambda np_, a: a.copy(),
                 jax=lambda np_, a: np_.copy(a))
    yield moving("add 16 M", 12 * _M16, line * 2, lambda np_, a, b: a + b)
    yield moving("lerp 16 M (saxpy's traffic)", 12 * _M16, line * 2, lambda np_, a, b: np_.lerp(a, b, 0.3),
                 numpy=lambda np_, a, b: a + np.float32(0.3) * (b - a), jax=lambda np_, a, b: a + 0.3 * (b - a))
    for n in (4096, 2048):
        m, k = 4096, n
        yield moving(f"transposed copy {m}x{k}", 8 * m * k, (floats(m, k),), lambda np_, a: a.T.contiguous(),
                     numpy=lambda np_, a: np_.ascontiguousarray(a.T), jax=lambda np_, a: np_.transpose(a))


def _reductions() -> Iterator[Case]:
    yield moving("sum 16 M", 4 * _M16, (floats(_M16),), lambda np_, a: a.sum())
    for axis in (0, 1):
        yield moving(f"sum axis {axis} of 4096x4096", 4 * _M16, (floats(*_SQUARE),),
                     lambda np_, a, axis=axis: a.sum(axis))
    for shape in ((64, 512, 512), (4096, 64, 64)):
        yield moving(f"sum axis 1 of {joined(shape)}", 4 * _M16, (floats(*shape),),
                     lambda np_, a: a.sum(1))
    yield moving("max axis 1 of 4096x4096", 4 * _M16, (floats(*_SQUARE),), lambda np_, a: np_.amax(a, 1),
                 tinygrad=lambda np_, a: a.max(1))


def _indexing() -> Iterator[Case]:
    rows, table = shuffled(65536), floats(65536, 256)
    yield moving("take rows of 65536x256", 8 * _M16, (table, rows), lambda np_, a, i: a[i])
    yield moving("take_along axis 1 of 4096x4096", 16 * _M16, (floats(*_SQUARE), integers(4096, *_SQUARE)),
                 lambda np_, a, i: np_.take_along_axis(a, i, 1), clgrad=lambda np_, a, i: np_.gather(a, 1, i),
                 torch=lambda np_, a, i: np_.gather(a, 1, i), tinygrad=lambda np_, a, i: a.gather(1, i))
    yield moving("take 16 M at random", 16 * _M16, (floats(_M16), integers(_M16, _M16)), lambda np_, a, i: a[i])

    def put(np_: Any, a: Any, i: Any, v: Any) -> Any:
        out = a.copy()
        out[i] = v
        return out

    def add(np_: Any, a: Any, i: Any, v: Any) -> Any:
        out = a.copy()
        np.add.at(out, i, v)
        return out

    for name, arrays, work in (("rows of 65536x256", (table, rows, table), 12 * _M16),
                               ("16 M at random", (floats(_M16), integers(_M16, _M16), floats(_M16)), 20 * _M16)):
        yield moving(f"put {name}", work, arrays, lambda np_, a, i, v: a.index_put((i,), v), numpy=put,
                     jax=lambda np_, a, i, v: a.at[i].set(v), tinygrad=None)
        yield moving(f"add {name}", work, arrays, lambda np_, a, i, v: a.index_add(0, i, v), numpy=add,
                     jax=lambda np_, a, i, v: a.at[i].add(v), tinygrad=None)


def _orders() -> Iterator[Case]:
    def chosen(np_: Any, a: Any, k: int) -> Any:
        return np.sort(np.partition(a, -k, -1)[..., -k:], -1)

    line, square = (normal(_M16),), (normal(*_SQUARE),)
    sorts = {"clgrad": lambda np_, a: np_.array.sort(getattr(a, "data", a)), "torch": lambda np_, a: np_.sort(a).values,
             "tinygrad": None}
    for name, arrays in (("16 M", line), ("rows of 4096x4096", square)):
        yield moving(f"sort {name}", 8 * _M16, arrays, lambda np_, a: np_.sort(a), **sorts)
        yield moving(f"argsort {name}", 12 * _M16, arrays, lambda np_, a: np_.argsort(a), tinygrad=None)
    yield moving("sort with indices 16 M", 16 * _M16, line, lambda np_, a: np_.sort(a), numpy=None, jax=None,
                 tinygrad=None)
    yield moving("sort 16 M int32", 8 * _M16, (integers(1 << 31, _M16, dtype=np.int32),), lambda np_, a: np_.sort(a),
                 **sorts)
    for name, k, arrays in (("100 of 16 M", 100, line), ("10 of rows of 4096x4096", 10, square)):
        yield moving(f"topk {name}", 4 * _M16, arrays, lambda np_, a, k=k: np_.topk(a, k),
                     numpy=lambda np_, a, k=k: chosen(np_, a, k), jax=None, tinygrad=None)
    yield moving("median of 16 M", 4 * _M16, line, lambda np_, a: np_.median(a), tinygrad=None)
    yield moving("unique of 16 M int32", 4 * _M16, (integers(1 << 20, _M16, dtype=np.int32),),
                 lambda np_, a: np_.unique(a), jax=None, tinygrad=None)


def _scans() -> Iterator[Case]:
    yield moving("cumsum 16 M", 8 * _M16, (floats(_M16),), lambda np_, a: np_.cumsum(a, 0))
    for axis in (0, 1):
        yield moving(f"cumsum axis {axis} of 4096x4096", 8 * _M16, (floats(*_SQUARE),),
                     lambda np_, a, axis=axis: np_.cumsum(a, axis))
    yield moving("cumprod 16 M", 8 * _M16, (lambda: 1 + 1e-4 * random(_M16),), lambda np_, a: np_.cumprod(a, 0))


CASES = (
    *_copies(), *_reductions(), *_indexing(), *_orders(), *_scans(),
    Case("tanh(exp(a)*b) 16 M", {"*": call(lambda np_, a, b: np_.tanh(np_.exp(a) * b), (_M16,), (_M16,))},
         12.0 * _M16, "B"),
)
