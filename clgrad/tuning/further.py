"""What can be tuned besides: indexing, Fourier transforms, random numbers, updates of optimisers, factorisations,
resampling and recurrent cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2, prod
from statistics import NormalDist
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..core import dtypes
from ..families import fancy, index, linalg
from ..families import random as draws_of
from ..families.fft import fourier
from ..families.generator import Generator
from ..families.optimize import Block, Update
from ..families.resample import MODES
from ..ndarray import Array, Storage, empty
from ..ops.cell import gru_backward, gru_step, lstm_backward, lstm_step
from ..ops.manipulate import tril
from ..ops.resample import resample, resample_back
from ..runtime.tuned import Params, Problem
from .tunable import Hosts, Tunable, problems

Draw = Callable[..., np.ndarray]

# Indexing ------------------------------------------------------------------------------------------------------------


def _positions(p: Problem, shape: tuple[int, ...]) -> np.ndarray:
    """Where an index points: below the number of rows, every one at most as often as chance has it."""
    return np.random.default_rng(p.sizes[1]).integers(0, p.sizes[0], shape, dtype=np.int64)


def _index_operands(p: Problem, draw: Draw) -> Hosts:
    rows, count, beside = p.sizes
    if p.layout == "take":
        return draw((rows, beside)), _positions(p, (count,))
    return draw((beside, rows)), _positions(p, (beside, count))


def _index(p: Problem, *a: Any) -> Any:
    return index.take("take", *a, 0) if p.layout == "take" else index.take_along("gather", *a, 1)


def _index_reference(p: Problem, x: np.ndarray, at: np.ndarray) -> np.ndarray:
    return x[at] if p.layout == "take" else np.take_along_axis(x, at, 1)


def _moved(p: Problem, times: int) -> float:
    """Bytes of what is named, read or written so many times."""
    return float(times * p.sizes[1] * p.sizes[2] * dtypes.dtype(p.dtype).itemsize)


def _few_rows(p: Problem, params: Params) -> Sequence[tuple[int, int, int]]:
    return (1, 1, 1), (31, 613, 1), (613, 37, 17), (5, 3, 67)


INDEX = Tunable(
    "index", ("rows", "count", "beside"), ("take", "along"), _index_operands, run=_index,
    reference=_index_reference, work=lambda p: _moved(p, 2), odd=_few_rows, spoilt=(0,), unit="GB/s",
    common=(*problems("index", "float32", "take", (32768, 8192, 256)),
            *problems("index", "float32", "along", (4096, 4096, 512))))


def _fancy_operands(p: Problem, draw: Draw) -> Hosts:
    rows, count, beside = p.sizes
    if p.layout == "along_add":
        return draw((beside, rows)), _positions(p, (beside, count)), draw((beside, count))
    at = _positions(p, (count,))
    return (draw((rows, beside)), at) if p.layout == "get" else (draw((rows, beside)), at, draw((count, beside)))


def _fancy(p: Problem, x: Array, at: Array, *values: Array) -> Array:
    """Reads are ends in themselves; writes go into zeros, as a gradient's do."""
    if p.layout == "add":
        return fancy.take_add("take_backward", values[0], at, (p.sizes[0], p.sizes[2]), 0)
    if p.layout == "along_add":
        return fancy.written_along("scatter_add", x, at, values[0], 1, True)
    rows = fancy.rows_of("index", x, [(at, p.sizes[0], 0)], (p.sizes[1],))
    return fancy.get("index", x, rows, (0,), 0)


def _fancy_reference(p: Problem, x: np.ndarray, at: np.ndarray, *values: np.ndarray) -> np.ndarray:
    if p.layout == "get":
        return x[at]
    if p.layout == "along_add":
        out = x.copy()
        np.add.at(out, (np.arange(len(out))[:, None], at), values[0])
        return out
    out = np.zeros(x.shape)
    np.add.at(out, at, values[0])
    return out


FANCY = Tunable(
    "fancy", ("rows", "count", "beside"), ("get", "add", "along_add"), _fancy_operands, run=_fancy,
    reference=_fancy_reference, work=lambda p: _moved(p, 2 if p.layout == "get" else 3), odd=lambda p, params: (
        *_few_rows(p, params), (67, params.get("listed", 1024) + 1, 1), (37, 1025, params.get("strip", 128) + 1)),
    spoilt=(), unit="GB/s",
    common=(*problems("fancy", "float32", "get", (32768, 8192, 256), (1 << 20, 1 << 20, 1)),
            *problems("fancy", "float32", "add", (32768, 8192, 256), (1 << 20, 1 << 20, 1), (1024, 2048, 64)),
            *problems("fancy", "float32", "along_add", (4096, 4096, 512))))


def _bucket_operands(p: Problem, draw: Draw) -> Hosts:
    return _positions(p, (p.sizes[1],)), draw((p.sizes[1],))


def _bucket(p: Problem, at: Array, values: Array) -> Array:
    """What the lists are for: a sum by rows."""
    return fancy.take_add("take_backward", values, at, p.sizes[:1], 0)


BUCKET = Tunable(
    "bucket", ("rows", "count"), ("lists",), _bucket_operands, run=_bucket,
    reference=lambda p, at, values: np.bincount(at, values, p.sizes[0]), work=lambda p: 12.0 * p.sizes[1],
    odd=lambda p, params: ((2, 4096), (300, 4097), (70001, 5000)), spoilt=(), unit="GB/s",
    common=problems("bucket", "float32", "lists", (1 << 20, 1 << 20)))

# Fourier transforms --------------------------------------------------------------------------------------------------


def _complex(x: Array) -> Array:
    """Pairs of reals along the last axis as complex numbers, in the same memory."""
    x = x if x.strides[-1] == 1 and not x.offset % 2 and not any(s % 2 for s in x.strides[:-1]) else x.contiguous()
    x = x.clone() if x.offset % 2 else x
    return Array(x.storage, x.shape[:-1], tuple(s // 2 for s in x.strides[:-1]), x.offset // 2, x.dtype.complex)


def _pairs(x: Array) -> Array:
    """The other way: what is compared are reals."""
    return Array(x.storage, (*x.shape, 2), (*(2 * s for s in x.strides), 1), 2 * x.offset, x.dtype.real)


def _fft(p: Problem, x: Array) -> Array:
    n = p.sizes[1]
    found = fourier(p.layout, x if p.layout == "r2c" else _complex(x), n, 1, p.layout == "c2r", 1.0)
    return found if p.layout == "c2r" else _pairs(found)


def _fft_reference(p: Problem, x: np.ndarray) -> np.ndarray:
    n = p.sizes[1]
    if p.layout == "r2c":
        found = np.fft.rfft(x)
    else:
        x = x[..., 0] + 1j * x[..., 1]
        found = np.fft.fft(x) if p.layout == "c2c" else np.fft.irfft(x, n) * n
    return found if p.layout == "c2r" else np.stack([found.real, found.imag], -1)


def _fft_operands(p: Problem, draw: Draw) -> Hosts:
    lines, n = p.sizes
    return (draw((lines, n)) if p.layout == "r2c" else draw((lines, n if p.layout == "c2c" else n // 2 + 1, 2)),)


FFT = Tunable(
    "fft", ("lines", "length"), ("r2c", "c2c", "c2r"), _fft_operands, run=_fft, reference=_fft_reference,
    work=lambda p: 5.0 * prod(p.sizes) * log2(p.sizes[1] + 1) / (1 if p.layout == "c2c" else 2), spoilt=(),
    odd=lambda p, params: ((1, 1), (3, 31), (17, 130), (2, 67), (3, 2 * params["points"])),
    common=(*problems("fft", "float32", "c2c", (512, 512), (1, 1 << 20)),
            *problems("fft", "float32", "r2c", (1024, 1024))))

# Random numbers ------------------------------------------------------------------------------------------------------

_SEED = 2024


def _words(n: int) -> np.ndarray:
    """The first n 32-bit words of the stream (Philox4x32-10; J. K. Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", 2011)."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a = np.arange(-(-n // 4), dtype=np.uint64)
    b = c = d = np.zeros_like(a)
    k0, k1 = np.uint64(_SEED), np.uint64(0)
    for _ in range(10):
        x, y = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (y >> half) ^ b ^ k0, y & low, (x >> half) ^ d ^ k1, x & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([a, b, c, d], 1).ravel()[:n].astype(np.int64)


def _random(p: Problem, *x: Array) -> Array:
    if p.layout == "dropout":
        return draws_of.dropout(x[0], 0.75, 4 / 3, _SEED, 0)
    kind = {"uniform": draws_of.uniform, "normal": draws_of.normal}[p.layout]
    return kind(p.sizes, dtypes.dtype(p.dtype), x[0].device, Generator().manual_seed(_SEED))


def _random_reference(p: Problem, x: np.ndarray) -> np.ndarray:
    bits = _words(p.sizes[0])
    unit = (bits >> 8) * 2.0**-24
    if p.layout == "uniform":
        return unit
    if p.layout == "dropout":
        return np.where(unit < 0.75, 4 / 3, 0) * x
    lower = ((bits & 0x7FFFFFFF) + 0.5) * 2.0**-32
    size = -np.array(list(map(NormalDist().inv_cdf, lower.tolist())))
    return np.where(bits >> 31, -size, size)


RANDOM = Tunable(
    "random", ("elements",), ("uniform", "normal", "dropout"),
    lambda p, draw: (draw(p.sizes if p.layout == "dropout" else (1,)),), run=_random, reference=_random_reference,
    work=lambda p: float(p.sizes[0] * dtypes.dtype(p.dtype).itemsize * (2 if p.layout == "dropout" else 1)),
    odd=lambda p, params: ((1,), (37,), (4099,)), unit="GB/s", spoilt=(),
    common=(*problems("random", "float32", "uniform", (1 << 20,)), *problems("random", "float32", "normal", (1 << 20,)),
            *problems("random", "float32", "dropout", (1 << 22,))))

# Optimisers ----------------------------------------------------------------------------------------------------------

# As much memory as an optimiser's step moves, and a result that does not depend on how often it ran: parameters are
# written only, states are the largest gradient so far.
_UPDATES = {f"states{n}": Update(
    f"tune{n}", ("lr",), tuple(("", f"s{i}") for i in range(n)),
    (*(("", f"s{i} = fmax(s{i}, g);") for i in range(n)), ("", f"p = {'s0' if n else 'g'} * lr;"))) for n in range(3)}
_blocks: WeakKeyDictionary[Storage, Block] = WeakKeyDictionary()


def _optimize(p: Problem, *grads: Array) -> tuple[Array, ...]:
    first = grads[0]
    block, record = _blocks.get(first.storage), _UPDATES[p.layout]
    if block is None:
        sizes = tuple(g.size for g in grads)
        block = _blocks[first.storage] = Block(first.device, first.dtype, sizes, record.states_of(frozenset()))
    params = [empty(g.shape, g.dtype, g.device) for g in grads]
    block.update(record, frozenset(), tuple(range(len(grads))), params, [g.contiguous() for g in grads], [0.5])
    return tuple(params)


def _optimize_operands(p: Problem, draw: Draw) -> Hosts:
    """Tensors of sizes that differ, as a network's do, with so many elements in all."""
    tensors, total = p.sizes
    ends = [round(max(0, total - tensors) * ((i + 1) / tensors) ** 2) for i in range(tensors)]
    return tuple(draw((1 + b - a,)) for a, b in zip([0, *ends], ends))


OPTIMIZE = Tunable(
    "optimize", ("tensors", "elements"), tuple(_UPDATES), _optimize_operands, run=_optimize,
    reference=lambda p, *grads: tuple((np.fmax(g, 0) if p.layout != "states0" else g) * 0.5 for g in grads),
    work=lambda p: float(p.sizes[1] * dtypes.dtype(p.dtype).itemsize * (2 + 2 * int(p.layout[-1]))),
    odd=lambda p, params: ((1, 1), (3, 37), (9, 70001)), unit="GB/s",
    common=(*problems("optimize", "float32", "states2", (32, 1 << 22), (6, 1 << 16)),
            *problems("optimize", "float32", "states1", (32, 1 << 22))))

# Factorisations ------------------------------------------------------------------------------------------------------


def _linalg_operands(p: Problem, draw: Draw) -> Hosts:
    batch, n = p.sizes
    a = draw((batch, n, n))
    if p.layout == "cholesky":
        a = (a.astype(np.float64) @ a.swapaxes(1, 2).astype(np.float64) / n + np.eye(n)).astype(a.dtype)
    elif p.layout == "lu":  # rows go round by one, beyond doubt
        a = np.roll(a + 4 * n * np.eye(n, dtype=a.dtype), 1, 1)
    else:
        a = np.tril(a) / n + 2 * np.eye(n, dtype=a.dtype)
    return (a.astype(draw((1,)).dtype), *((draw((batch, n, n)),) if p.layout == "solve" else ()))


def _linalg(p: Problem, a: Array, *b: Array) -> Any:
    if p.layout == "lu":
        return linalg.lu(a)[0]
    if p.layout == "solve":
        return linalg.triangular(a, linalg.stacked(b[0], b[0].shape[:1]), False, False)
    return tril(linalg.cholesky(a)[0])


def _linalg_reference(p: Problem, a: np.ndarray, *b: np.ndarray) -> np.ndarray:
    if p.layout == "cholesky":
        return np.linalg.cholesky(a)
    if p.layout == "solve":
        return np.linalg.solve(a, b[0])
    out = np.roll(a, -1, 1)
    for k in range(p.sizes[1] - 1):
        out[:, k + 1:, k] /= out[:, k, k, None]
        out[:, k + 1:, k + 1:] -= out[:, k + 1:, k, None] * out[:, k, None, k + 1:]
    return out


LINALG = Tunable(
    "linalg", ("batch", "n"), ("lu", "cholesky", "solve"), _linalg_operands, run=_linalg, reference=_linalg_reference,
    work=lambda p: p.sizes[0] * p.sizes[1] ** 3 * {"lu": 2 / 3, "cholesky": 1 / 3, "solve": 1.0}[p.layout], spoilt=(),
    odd=lambda p, params: ((1, 1), (3, 17), (2, params["panel"] + 1), (1, params["whole"] + 3)),
    common=(*problems("linalg", "float32", "lu", (1, 512), (256, 32)),
            *problems("linalg", "float32", "cholesky", (1, 512)), *problems("linalg", "float32", "solve", (1, 512))))

# Resampling ----------------------------------------------------------------------------------------------------------


def _resample(p: Problem, x: Any, op: Any = None) -> Any:
    _, source, results, _ = p.sizes
    mode, way = p.layout.split("/")
    args = 1, results if way == "forward" else source, source / results, mode, False
    ops = {"forward": resample, "back": resample_back}
    return (ops[way] if op is None else op(ops[way]))(x, *args)


RESAMPLE = Tunable(
    "resample", ("lines", "source", "results", "inner"),
    tuple(f"{mode}/{way}" for way in ("forward", "back") for mode in MODES),
    lambda p, draw: (draw((p.sizes[0], p.sizes[1 if p.layout.endswith("forward") else 2], p.sizes[3])),),
    run=_resample, reference=lambda p, x: _resample(p, x, lambda op: op.op.ref),
    work=lambda p: float(p.sizes[0] * (p.sizes[1] + p.sizes[2]) * p.sizes[3] * dtypes.dtype(p.dtype).itemsize),
    odd=lambda p, params: ((1, 1, 1, 1), (37, 5, 11, 1), (3, 17, 7, 13), (70, 9, 18, 3)), unit="GB/s", spoilt=(),
    common=(*problems("resample", "float32", "linear/forward", (1024, 64, 128, 1), (1024, 64, 128, 64)),
            *problems("resample", "float32", "nearest/forward", (1024, 64, 128, 64))))

# Recurrent cells -----------------------------------------------------------------------------------------------------

# By kind: the record, and how many times H its operands' rows are long.
_CELLS = {"lstm": (lstm_step, (4, 4, 1)), "lstm_backward": (lstm_backward, (1, 1, 4, 1, 1)),
          "gru": (gru_step, (3, 3, 1)), "gru_backward": (gru_backward, (1, 3, 3, 1))}

CELL = Tunable(
    "cell", ("N", "H"), tuple(_CELLS),
    lambda p, draw: tuple(draw((p.sizes[0], gates * p.sizes[1])) for gates in _CELLS[p.layout][1]),
    run=lambda p, *a: _CELLS[p.layout][0](*a), reference=lambda p, *a: _CELLS[p.layout][0].op.ref(*a),
    work=lambda p: float(prod(p.sizes) * 15 * dtypes.dtype(p.dtype).itemsize),
    odd=lambda p, params: ((1, 1), (3, 37), (31, 67)), unit="GB/s", spoilt=(),
    common=(*problems("cell", "float32", "lstm", (64, 256)), *problems("cell", "float32", "gru", (64, 256))))

FURTHER = (INDEX, FANCY, BUCKET, FFT, RANDOM, OPTIMIZE, LINALG, RESAMPLE, CELL)
