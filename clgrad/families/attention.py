"""Host side of attention: tiles of queries over tiles of keys, forward; backward in one pass (wide) or two (many)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from .. import kernels
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array, empty, full, same_device
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel
from .plans import Plans, check_device, form, index_type, letter, parameters, workers
from .reduce import Reduce, Reduction

DEEPEST = 256  # elements of a head: more would not fit the tiles
_DEPTHS = (16, 32, 64, 128, 256)
_added_up = Reduce(Reduction("sum", "a + b", "0", lambda d: (d, d)))


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


def _tile(device: Device, params: dict[str, int], kind: str, depth: int, itemsize: int, count: int) -> tuple[int, int]:
    """Rows and columns of a tile that fits: in the many-core form as many of both, and features for all work-items of
    a row; wide, whole vectors, and no more than there are rows."""
    if device.wide_core:
        rows, width = params["rows"] * 4 // itemsize, 64 // itemsize
        while rows > width and rows // 2 >= count:
            rows //= 2
        return max(rows, width), params["columns"]
    side, facts, module = params["rows"], device.facts, kernels.template("attention").module
    while side > module.BLOCK and (side > depth * module.BLOCK
                                   or side * side > facts.max_work_group_size * module.BLOCK**2
                                   or module.local_bytes(kind, side, depth, itemsize) > facts.local_mem_size):
        side //= 2
    return side, side


def _plan(kind: str, q: Array, k: Array, v: Array, mask: Array | None, options: Options, index: str,
          parts: int) -> _Plan:
    device = q.device
    B, H, L, E = q.shape
    Hk, S, F = k.shape[1], k.shape[2], v.shape[3]
    D = next(d for d in _DEPTHS if d >= max(E, F))
    check_device(device, q.dtype)
    by_keys = kind in ("keys", "backward")
    count = S if by_keys else L
    layout = ("forward" if kind == "forward" else "backward") + "/causal" * options.causal
    params = parameters(device, "attention", q.dtype.name, layout, (B * H, L, S, E, F))
    rows, columns = _tile(device, params, kind, D, 8 if q.dtype.compute == "double" else 4, count)
    i, t = letter(index), "d" if q.dtype.compute == "double" else "f"
    signature = {"forward": f"P{i * 3}P", "queries": f"P{i * 3}PP", "keys": f"P{i * 3}P{i * 3}PP",
                 "backward": f"P{i * 3}P{i * 3}P{i * 6}PP"}[kind]
    signature += ("P" + i * 4) * (3 if kind == "forward" else 5) + "P" + i * 5 + f"{t}LI{t}" + i * 4 + "ii" + i * 2

    def build() -> Kernel:
        return kernel(device, "attention", "attention", signature, f"attention_{kind}", kind=kind, form=form(device),
                      ctype=q.dtype.c, T=q.dtype.compute, mtype=(q if mask is None else mask).dtype.c, index=index,
                      rows=rows, columns=columns, D=D, causal=options.causal, dropout=options.dropout > 0,
                      masked="" if mask is None else "bool" if mask.dtype.kind == "b" else "float")

    found = build()
    items = 1 if device.wide_core else rows * columns // kernels.template("attention").module.BLOCK**2
    while found.max_local < items:
        rows, columns, items = rows // 2, columns // 2, items // 4
        found = build()
    tiles = -(-count // rows)
    units = B * (Hk if by_keys else H) * (parts or tiles)
    work = B * H * L * S * (E + F)
    if device.wide_core:
        gsize, lsize = (min(units, workers(device, work, 8, 1 << 15)),), (1,)
    else:
        gsize, lsize = (min(units, device.facts.compute_units * 32) * items,), (items,)
    return _Plan(found, gsize, lsize, (H, H // max(Hk, 1), L, S, E, F, tiles, units), 2 * work)


def _run(kind: str, outs: tuple[Array, ...], statistics: tuple[Array, ...], arrays: tuple[Array, ...],
         mask: Array | None, options: Options, dq: Array | None = None) -> None:
    """Launch a kernel that fills ``outs``; ``statistics`` are numbers of each row, ``dq`` (parts, B, H, L, E) sums."""
    q, k, v = arrays[:3]
    parts = 0 if dq is None else dq.shape[0]
    index = index_type(*(a.storage.nbytes for a in (*arrays, *outs, *(a for a in (mask, dq) if a is not None))))
    key = (kind, q.shape, k.shape, v.shape, q.dtype, q.device, None if mask is None else mask.dtype, options.causal,
           options.dropout > 0, index, parts)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _plan(kind, q, k, v, mask, options, index, parts))
    args: list[Any] = []
    for o in outs:
        args += (o.storage.buffer, *o.strides[:3])
    if dq is not None:
        args += (dq.storage.buffer, *dq.strides[1:4], parts, dq.strides[0], prod(q.shape[:3]))
    args += (a.storage.buffer for a in statistics)
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


def _like(a: Array, shape: tuple[int, ...]) -> Array:
    """A new array (B, H, rows, elements) in the order of ``a``'s memory: a row holds all heads where its rows do, so
    that what joins the heads again is a view."""
    B, H, rows, E = shape
    if a.strides[1] >= a.strides[2]:
        return empty(shape, a.dtype, a.device)
    return empty((B, rows, H, E), a.dtype, a.device).view(shape, (rows * H * E, E, H * E, 1), 0)


def attention(q: Array, k: Array, v: Array, mask: Array | None, options: Options) -> tuple[Array, Array]:
    """Attention of (B, H, L, E), (B, Hk, S, E), (B, Hk, S, F): (B, H, L, F), and the rows' logsumexp."""
    mask = _checked(q, k, v, mask)
    shape, d = (*q.shape[:3], v.shape[3]), q.dtype.accumulator
    if 0 in shape or not k.shape[2] or not q.shape[3]:
        if 0 not in shape and k.shape[2]:
            raise ShapeError(bad("attention", f"q {q.shape}", "heads of one element or more", "Check the sizes."))
        return full(shape, 0, q.dtype, q.device), full(shape[:3], float("inf"), d, q.device)
    out, lse = _like(q, shape), empty(shape[:3], d, q.device)
    _run("forward", (out,), (lse,), tuple(map(_rowwise, (q, k, v))), mask, options)
    return out, lse


def attention_backward(dy: Array, q: Array, k: Array, v: Array, mask: Array | None, out: Array, lse: Array,
                       options: Options) -> tuple[Array, Array, Array]:
    """Gradients of q, k and v."""
    mask = _checked(q, k, v, mask)
    if 0 in (*q.shape, *k.shape, *v.shape):
        return tuple(full(a.shape, 0, a.dtype, a.device) for a in (q, k, v))
    device, d = q.device, q.dtype.accumulator
    dy = dy.astype(q.dtype)
    arrays = tuple(map(_rowwise, (q, k, v, out, dy)))
    lse = lse.astype(d).contiguous()
    lse = lse.clone() if lse.offset else lse  # the kernels read it from its beginning
    dq, dk, dv = (_like(a, a.shape) for a in (q, k, v))
    if not device.wide_core:
        delta = empty(lse.shape, d, device)
        _run("queries", (dq,), (lse, delta), arrays, mask, options)
        _run("keys", (dk, dv), (lse, delta), arrays, mask, options)
        return dq, dk, dv
    parts = _parts(device, q.shape[0] * k.shape[1], k.shape[2])
    whole = parts == 1 and q.dtype is d
    sums = dq.view((1, *dq.shape), (0, *dq.strides), 0) if whole else empty((parts, *q.shape), d, device)
    _run("backward", (dk, dv), (lse, empty((parts, *lse.shape), d, device)), arrays, mask, options, sums)
    return (dq if whole else _added_up(sums, 0).astype(q.dtype)), dk, dv


def _parts(device: Device, heads: int, keys: int) -> int:
    """Work-items that share the keys of a head in the backward of a wide device: one where there are heads enough."""
    units = device.facts.compute_units
    return 1 if heads >= 4 * units or heads % units == 0 else max(1, min(-(-4 * units // heads), keys // 64))


def keep_factors(shape: tuple[int, ...], like: Array, options: Options) -> Array:
    """The dropout factors of every pair, 0 or 1 / (1 - p)."""
    device, dtype = like.device, like.dtype
    out = empty(shape, dtype, device)
    if out.size:
        t = "d" if dtype.compute == "double" else "f"
        k = kernel(device, "attention", "keep", f"PLLLI{t}", "attention_keep", kind="keep", form=form(device),
                   ctype=dtype.c, T=dtype.compute, index="long", rows=1, columns=1, D=16, mtype="uchar", causal=False,
                   dropout=True, masked="")
        launch(k, (min(prod(shape), device.facts.compute_units * 256),), (1,), out.storage.buffer, out.size, shape[-1],
               *options.draws, nbytes=out.nbytes)
    return out
