"""Host side of attention: tiles of queries over tiles of keys, forward and both backward passes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array, empty, full, same_device
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel
from .plans import Plans, check_device, form, index_type, letter, parameters, workers

DEEPEST = 256  # elements of a head: more would not fit the tiles
_DEPTHS = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Options:
    """What one attention is computed with, beside its arrays. ``seed`` picks the dropout's draws."""

    causal: bool
    scale: float
    dropout: float
    seed: int

    @property
    def draws(self) -> tuple[int, int, float]:
        """Seed, the least 32-bit draw that is kept, and the factor of what is kept."""
        p = self.dropout
        return self.seed, min(round(p * 2**32), 2**32 - 1), 0.0 if p == 1 else 1 / (1 - p)


@dataclass(frozen=True, eq=False)
class _Plan:
    kernel: Kernel
    gsize: tuple[int, ...]
    lsize: tuple[int, ...]
    tail: tuple[int, ...]
    flops: int


_plans = Plans()


def _tile(device: Device, params: dict[str, int], depth: int, itemsize: int, count: int) -> tuple[int, int]:
    """Rows and columns of a tile that fits: a lane a pair in the many-core form; wide, whole vectors, and no more than
    there are rows."""
    if device.wide_core:
        rows, width = params["rows"] * 4 // itemsize, 64 // itemsize
        while rows > width and rows // 2 >= count:
            rows //= 2
        return max(rows, width), params["columns"]
    side = params["rows"]
    facts = device.facts
    while side > 1 and (side * side > facts.max_work_group_size or
                        (4 * side * (depth + 1) + 2 * side * (side + 1)) * itemsize > facts.local_mem_size):
        side //= 2
    return side, side


def _plan(kind: str, q: Array, k: Array, v: Array, mask: Array | None, options: Options, index: str) -> _Plan:
    device = q.device
    B, H, L, E = q.shape
    Hk, S, F = k.shape[1], k.shape[2], v.shape[3]
    D = next(d for d in _DEPTHS if d >= max(E, F))
    check_device(device, q.dtype)
    by_keys = kind == "keys"
    count = S if by_keys else L
    params = parameters(device, "attention", q.dtype.name, kind + "/causal" * options.causal, (B * H, L, S, E, F))
    rows, columns = _tile(device, params, D, 8 if q.dtype.compute == "double" else 4, count)
    i, t = letter(index), "d" if q.dtype.compute == "double" else "f"
    outs, arrays = {"forward": (1, 3), "queries": (1, 5), "keys": (2, 5)}[kind]
    signature = "P" * (outs + 1 + (kind != "forward")) + ("P" + i * 4) * arrays + "P" + i * 5 + f"{t}LI{t}" + (
        i * 4 + "ii" + i * 2)

    def build() -> Kernel:
        return kernel(device, "attention", "attention", signature, f"attention_{kind}", kind=kind, form=form(device),
                      ctype=q.dtype.c, T=q.dtype.compute, mtype=(q if mask is None else mask).dtype.c, index=index,
                      rows=rows, columns=columns, D=D, causal=options.causal, dropout=options.dropout > 0,
                      masked="" if mask is None else "bool" if mask.dtype.kind == "b" else "float")

    found = build()
    while not device.wide_core and found.max_local < rows * columns:
        rows = columns = rows // 2
        found = build()
    tiles = -(-count // rows)
    units = B * (Hk if by_keys else H) * tiles
    work = B * H * L * S * (E + F)
    if device.wide_core:
        gsize, lsize = (min(units, workers(device, work, 8, 1 << 15)),), (1,)
    else:
        gsize, lsize = (min(units, device.facts.compute_units * 32) * rows * columns,), (rows * columns,)
    return _Plan(found, gsize, lsize, (H, H // max(Hk, 1), L, S, E, F, tiles, units), 2 * work)


def _run(kind: str, outs: tuple[Array, ...], q: Array, k: Array, v: Array, more: tuple[Array, ...],
         mask: Array | None, options: Options) -> None:
    arrays = (q, k, v, *more)
    index = index_type(*(a.storage.nbytes for a in (*arrays, *outs, *(() if mask is None else (mask,)))))
    key = (kind, q.shape, k.shape, v.shape, q.dtype, q.device, None if mask is None else mask.dtype, options.causal,
           options.dropout > 0, index)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _plan(kind, q, k, v, mask, options, index))
    args: list[Any] = [o.storage.buffer for o in outs]
    for a in arrays:
        args += (a.storage.buffer, a.offset, *a.strides[:3])
    args += (q.storage.buffer, 0, 0, 0, 0, 0) if mask is None else (mask.storage.buffer, mask.offset, *mask.strides)
    launch(plan.kernel, plan.gsize, plan.lsize, *args, options.scale, *options.draws, *plan.tail,
           nbytes=sum(a.nbytes for a in arrays), flops=plan.flops)


def _rowwise(a: Array) -> Array:
    """The array with each row's elements side by side."""
    return a if a.shape[3] < 2 or a.strides[3] == 1 else a.contiguous()


def _checked(q: Array, k: Array, v: Array, mask: Array | None) -> Array | None:
    """The mask spread over (B, H, L, S), or None."""
    check_kind("attention", "f", q.dtype)
    same_device("attention", (q, k, v) if mask is None else (q, k, v, mask))
    if not (q.ndim == k.ndim == v.ndim == 4 and q.shape[0] == k.shape[0] == v.shape[0] and q.shape[3] == k.shape[3]
            and k.shape[1:3] == v.shape[1:3] and q.dtype is k.dtype is v.dtype) or (
            q.shape[1] != k.shape[1] and (not k.shape[1] or q.shape[1] % k.shape[1])):
        raise ShapeError(bad("attention", f"q {q.shape} {q.dtype}, k {k.shape} {k.dtype}, v {v.shape} {v.dtype}",
                             "(B, H, L, E), (B, Hk, S, E), (B, Hk, S, F) of one dtype, H a multiple of Hk",
                             "Reshape or convert them."))
    if mask is not None:
        check_kind("attention", "bf", mask.dtype)
        mask = mask.expand((*q.shape[:3], k.shape[2]))
    return mask


def attention(q: Array, k: Array, v: Array, mask: Array | None, options: Options) -> tuple[Array, Array]:
    """Attention of (B, H, L, E), (B, Hk, S, E), (B, Hk, S, F): (B, H, L, F), and the rows' logsumexp."""
    mask = _checked(q, k, v, mask)
    shape, d = (*q.shape[:3], v.shape[3]), q.dtype.accumulator
    if 0 in shape or not k.shape[2] or not q.shape[3]:
        if 0 not in shape and k.shape[2]:
            raise ShapeError(bad("attention", f"q {q.shape}", "heads of one element or more", "Check the sizes."))
        return full(shape, 0, q.dtype, q.device), full(shape[:3], float("inf"), d, q.device)
    out, lse = empty(shape, q.dtype, q.device), empty(shape[:3], d, q.device)
    _run("forward", (out, lse), *map(_rowwise, (q, k, v)), (), mask, options)
    return out, lse


def attention_backward(dy: Array, q: Array, k: Array, v: Array, mask: Array | None, out: Array, lse: Array,
                       options: Options) -> tuple[Array, Array, Array]:
    """Gradients of q, k and v, in two launches."""
    mask = _checked(q, k, v, mask)
    if 0 in (*q.shape, *k.shape, *v.shape):
        return tuple(full(a.shape, 0, a.dtype, a.device) for a in (q, k, v))
    dy = dy.astype(q.dtype)
    q, k, v, out, dy = map(_rowwise, (q, k, v, out, dy))
    lse = lse.astype(q.dtype.accumulator).contiguous()
    lse = lse.clone() if lse.offset else lse  # the kernels read it from its beginning
    dq, dk, dv = (empty(a.shape, a.dtype, a.device) for a in (q, k, v))
    delta = empty(lse.shape, lse.dtype, lse.device)
    _run("queries", (dq, lse, delta), q, k, v, (out, dy), mask, options)
    _run("keys", (dk, dv, lse, delta), q, k, v, (out, dy), mask, options)
    return dq, dk, dv


def keep_factors(shape: tuple[int, ...], like: Array, options: Options) -> Array:
    """The dropout factors of every pair, 0 or 1 / (1 - p)."""
    device, dtype = like.device, like.dtype
    out = empty(shape, dtype, device)
    if out.size:
        t = "d" if dtype.compute == "double" else "f"
        k = kernel(device, "attention", "keep", f"PLLI{t}", "attention_keep", kind="keep", form=form(device),
                   ctype=dtype.c, T=dtype.compute, index="long", rows=1, columns=1, D=16, mtype="uchar", causal=False,
                   dropout=True, masked="")
        launch(k, (min(prod(shape), device.facts.compute_units * 256),), (1,), out.storage.buffer, out.size,
               *options.draws, nbytes=out.nbytes)
    return out
