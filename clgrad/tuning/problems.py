"""What can be tuned: matrix products, reductions, norms, attention and convolutions; and the list of all families."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import bad
from ..families.attention import Options
from ..families.matmul import matmul
from ..ops.attention import attention, attention_backward
from ..ops.conv import convolution, convolution_input, convolution_weight, output_size
from ..ops.elementwise import add
from ..ops.norm import norm_rows, norm_rows_backward
from ..ops.reduce import argmax
from ..ops.reduce import sum as total
from ..ops.scan import cumsum
from ..ops.softmax import log_softmax, logsumexp, softmax, softmax_backward
from ..ops.sort import sort
from ..runtime.tuned import Params, Problem
from ..table import OPS
from .further import FURTHER
from .pooling import POOL
from .tunable import Hosts, Tunable, beyond, itself, problems, reference, touched

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
    return (1, 1), (1, 613), (37, 31), (3, beyond(params)), (beyond(params), 5)


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
    run=lambda p, x, y: add(x, y), reference=lambda p, x, y: add.op.ref(x, y), work=lambda p: touched(p, 3),
    odd=lambda p, params: ((1,), (37,), (4097,), (70001,)), unit="GB/s",
    common=(*problems("elementwise", "float32", "flat", (1 << 24,), (1 << 20,), (1 << 16,)),
            *problems("elementwise", "float32", "strided", (1 << 22,))))

REDUCE = Tunable(
    "reduce", ("lines", "length"), ("rows", "columns"), _lines,
    run=lambda p, x: total(x, _dim(p)), reference=lambda p, x: total.op.ref(x, _dim(p)), work=lambda p: touched(p, 1),
    odd=_few_lines, unit="GB/s",
    common=(*problems("reduce", "float32", "rows", (1, 1 << 24), (4096, 4096), (4096, 256)),
            *problems("reduce", "float32", "columns", (4096, 4096), (256, 4096))))

ARG_REDUCE = Tunable(
    "arg_reduce", ("lines", "length"), ("rows", "columns"), _lines, run=lambda p, x: argmax(x, _dim(p)),
    reference=lambda p, x: argmax.op.ref(x, _dim(p)), work=lambda p: touched(p, 1), odd=_few_lines, unit="GB/s",
    common=(*problems("arg_reduce", "float32", "rows", (1, 1 << 22), (4096, 1024)),
            *problems("arg_reduce", "float32", "columns", (1024, 4096))))

SCAN = Tunable(
    "scan", ("lines", "length"), ("rows", "columns"), _lines,
    run=lambda p, x: cumsum(x, _dim(p)), reference=lambda p, x: cumsum.op.ref(x, _dim(p)),
    work=lambda p: touched(p, 2), odd=_few_lines, unit="GB/s",
    common=problems("scan", "float32", "rows", (1, 1 << 22), (1024, 4096)))

# By kind: the record, and how many arrays it takes.
_SOFTMAXES = {"softmax": (softmax, 1), "log_softmax": (log_softmax, 1), "logsumexp": (logsumexp, 1),
              "softmax_backward": (softmax_backward, 2)}


def _softmax_of(p: Problem) -> Any:
    return _SOFTMAXES[p.layout.partition("/")[0]]


def _softmax_operands(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    return sum((_lines(p, draw) for _ in range(_softmax_of(p)[1])), ())


SOFTMAX = Tunable(
    "softmax", ("lines", "length"), tuple(f"{kind}/{along}" for kind in _SOFTMAXES for along in ("rows", "columns")),
    _softmax_operands, run=lambda p, *a: _softmax_of(p)[0](*a, _dim(p)),
    reference=lambda p, *a: _softmax_of(p)[0].op.ref(*a, _dim(p)), work=lambda p: touched(p, 1 + _softmax_of(p)[1]),
    odd=_few_lines, unit="GB/s",
    common=problems("softmax", "float32", "softmax/rows", (4096, 1024), (1024, 128)))

SORT = Tunable(
    "sort", ("lines", "length"), ("lines",), _lines,
    run=lambda p, x: sort(x, 1), reference=lambda p, x: (np.sort(x, 1), np.argsort(x, 1, kind="stable")),
    work=lambda p: touched(p, 2), odd=_few_lines, unit="GB/s",
    common=problems("sort", "float32", "lines", (1 << 14, 256), (1 << 16, 32)))

RADIX = replace(SORT, family="radix",
                common=problems("radix", "float32", "lines", (1, 1 << 22), (4096, 1024), (2048, 2048)))

# Norms and attention -------------------------------------------------------------------------------------------------


def _norm_shape(p: Problem) -> tuple[tuple[int, ...], dict[str, Any], int]:
    """The shape whose rows a norm's layout means, the record's attributes, and the number of weights."""
    rows, length = p.sizes
    scheme = p.layout.partition("/")[0]
    if scheme == "layer":
        return (rows, length), {"scheme": scheme, "size": 1}, length
    if scheme == "group":
        groups = next(g for g in range(min(rows, 32), 0, -1) if rows % g == 0)
        return (rows // groups, groups * length), {"scheme": scheme, "size": groups}, groups * length
    samples, places = (length, 1) if "/columns/" in p.layout else _grid(length)
    return (samples, rows, places), {"scheme": scheme, "size": 0}, rows


def _norm_operands(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    shape, _, weights = _norm_shape(p)
    if p.layout.endswith("/forward"):
        return draw(shape), draw((weights,)), draw((weights,))
    statistic = np.float64 if p.dtype == "float64" else np.float32
    return (draw(shape), draw(shape), draw(p.sizes[:1]).astype(statistic),
            draw(p.sizes[:1], 0.5, 1.0).astype(statistic), draw((weights,)))


def _norm(p: Problem, f: Any, *arrays: Any) -> Any:
    _, attributes, _ = _norm_shape(p)
    if p.layout.endswith("/forward"):
        return f(norm_rows)(*arrays, **attributes)
    return f(norm_rows_backward)(*arrays, **attributes, wanted=True)


_NORMS = ("layer", "group", "batch", "batch/columns")

NORM = Tunable(
    "norm", ("rows", "length"), tuple(f"{n}/{way}" for way in ("forward", "backward") for n in _NORMS), _norm_operands,
    run=lambda p, *a: _norm(p, itself, *a), reference=lambda p, *a: _norm(p, reference, *a),
    work=lambda p: touched(p, 2 if p.layout.endswith("/forward") else 3),
    odd=lambda p, params: ((1, 37), (31, 613), (5, beyond(params))), unit="GB/s",
    common=tuple(q for way in ("forward", "backward") for q in (
        *problems("norm", "float32", f"layer/{way}", (4096, 1024), (1024, 256)),
        *problems("norm", "float32", f"group/{way}", (131072, 32)),
        *problems("norm", "float32", f"batch/{way}", (64, 16384)),
        *problems("norm", "float32", f"batch/columns/{way}", (1024, 4096)))))


def _attention_options(p: Problem) -> Options:
    return Options(p.layout.endswith("/causal"), p.sizes[3] ** -0.5, 0.0, 0)


def _attention_operands(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    heads, L, S, E, F = p.sizes
    q, k, v = draw((1, heads, L, E)), draw((1, heads, S, E)), draw((1, heads, S, F))
    if p.layout.startswith("forward"):
        return q, k, v
    y, lse = attention.op.ref(*(a.astype(np.float64) for a in (q, k, v)), None, _attention_options(p))
    return (draw((1, heads, L, F)), q, k, v, y.astype(q.dtype),
            lse.astype(np.float64 if p.dtype == "float64" else np.float32))


def _attention(p: Problem, f: Any, *arrays: Any) -> Any:
    options = _attention_options(p)
    if p.layout.startswith("forward"):
        return f(attention)(*arrays, None, options)
    return f(attention_backward)(*arrays[:4], None, *arrays[4:], options)


def _attention_work(p: Problem) -> float:
    heads, L, S, E, F = p.sizes
    return 2.0 * heads * L * S * (E + F) * (1 if p.layout.startswith("forward") else 2.5)


ATTENTION = Tunable(
    "attention", ("heads", "L", "S", "E", "F"),
    tuple(kind + causal for kind in ("forward", "backward") for causal in ("", "/causal")), _attention_operands,
    run=lambda p, *a: _attention(p, itself, *a), reference=lambda p, *a: _attention(p, reference, *a),
    work=_attention_work, spoilt=(),
    odd=lambda p, params: ((1, 1, 1, 1, 1), (3, 37, 41, 17, 5), (2, params["rows"] + 1, params["columns"] + 1, 32, 32)),
    common=problems("attention", "float32", "forward", (32, 128, 128, 64, 64), (8, 1024, 1024, 64, 64)))

# Convolutions --------------------------------------------------------------------------------------------------------

_CONV_LAYOUT = re.compile(r"(forward|input|weight)/k([0-9x]+)/s([0-9x]+)/p([0-9x]+)/d([0-9x]+)/g([0-9]+)")


def _geometry(p: Problem) -> tuple[str, tuple, dict[str, Any]]:
    """Direction, taps and parameters of a convolution's layout; margins are alike on both sides."""
    match = _CONV_LAYOUT.fullmatch(p.layout)
    if match is None:
        raise ValueError(bad("tune", f"layout {p.layout!r}", "as forward/k1x3x3/s1x1x1/p0x1x1/d1x1x1/g1",
                             "Taps, strides, margins and dilations are of three axes."))
    taps, stride, margins, dilation = (tuple(map(int, text.split("x"))) for text in match.groups()[1:5])
    return match[1], taps, {"stride": stride, "padding": tuple((m, m) for m in margins), "dilation": dilation,
                            "groups": int(match[6])}


def _conv_operands(p: Problem, draw: Callable[..., np.ndarray]) -> Hosts:
    N, C, outs, *space = p.sizes
    kind, taps, q = _geometry(p)
    x, w = (N, C, *space), (outs, C // q["groups"], *taps)
    out = tuple(output_size(n, k, s, a + b, d) for n, k, s, (a, b), d in zip(
        space, taps, q["stride"], q["padding"], q["dilation"]))
    return {"forward": lambda: (draw(x), draw(w)), "input": lambda: (draw((N, outs, *out)), draw(w)),
            "weight": lambda: (draw((N, outs, *out)), draw(x))}[kind]()


def _conv(p: Problem, f: Any, a: Any, b: Any) -> Any:
    kind, taps, q = _geometry(p)
    if kind == "forward":
        return f(convolution)(a, b, None, **q)
    if kind == "input":
        return f(convolution_input)(a, b, None, size=tuple(p.sizes[3:]), **q)
    return f(convolution_weight)(a, b, size=taps, **q)


def _conv_work(p: Problem) -> float:
    _, taps, q = _geometry(p)
    return 2.0 * p.sizes[0] * p.sizes[1] * p.sizes[2] * prod(p.sizes[3:]) * prod(taps) / prod(q["stride"]) / q["groups"]


def _conv_odd(p: Problem, params: Params) -> Sequence[tuple[int, ...]]:
    _, taps, q = _geometry(p)
    g = q["groups"]
    least = [max(1, d * (k - 1) + 1 - a - b) for k, d, (a, b) in zip(taps, q["dilation"], q["padding"])]
    deep = [n + (3 if k > 1 else 0) for n, k in zip(least, taps)]
    lanes = max(params.get("vectors", 1) * params.get("width", 16), params.get("group_m", 1) * params.get("block_m", 1))
    return ((1, g, g, *least), (2, 3 * g, 5 * g, *deep[:1], deep[1] + 4, deep[2] + 10),
            (3, 17 * g, (lanes + 1) * g, deep[0], deep[1] + 8, deep[2] + 17))


def _layer(kind: str, taps: int, stride: int = 1, groups: int = 1) -> str:
    return f"{kind}/k1x{taps}x{taps}/s1x{stride}x{stride}/p0x{taps // 2}x{taps // 2}/d1x1x1/g{groups}"


CONV = Tunable(
    "conv", ("N", "C", "O", "D", "H", "W"), tuple(_layer(kind, 3) for kind in ("forward", "input", "weight")),
    _conv_operands, run=lambda p, *a: _conv(p, itself, *a), reference=lambda p, *a: _conv(p, reference, *a),
    work=_conv_work, odd=_conv_odd, spoilt=(0,), nan_spreads=True, further=_CONV_LAYOUT.pattern,
    common=tuple(q for kind in ("forward", "input", "weight") for q in problems(
        "conv", "float32", _layer(kind, 3), (16, 64, 64, 1, 32, 32), (16, 256, 256, 1, 8, 8))))

WINOGRAD = replace(CONV, family="winograd", common=tuple(replace(p, family="winograd") for p in CONV.common))

TUNABLES: tuple[Tunable, ...] = (MATMUL, CONV, WINOGRAD, ATTENTION, ELEMENTWISE, REDUCE, ARG_REDUCE, SCAN, SOFTMAX,
                                 NORM, POOL, SORT, RADIX, *FURTHER)


def tunable(name: str) -> Tunable:
    """The Tunable of a family, or of an op's family; ``file.py:NAME`` is one of a Python file of yours."""
    path, _, attribute = name.rpartition(":")
    if path:
        return getattr(_module(path), attribute)
    family = OPS[name].family if name in OPS and not any(t.family == name for t in TUNABLES) else name
    found = next((t for t in TUNABLES if t.family == family), None)
    if found is None:
        raise ValueError(bad("tune", f"family {name!r}", f"an op, or one of {', '.join(t.family for t in TUNABLES)}",
                             "Or name your own as file.py:NAME."))
    return found


def _module(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"clgrad_tunable_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
