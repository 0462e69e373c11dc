"""Host side of attention: tiles of queries over tiles of keys, forward; backward in one pass (wide) or two (many)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from .. import kernels
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array, Layout, dense, empty, fresh, full, layout_of, same_device
from ..runtime.device import Device
from ..runtime.launch import Launch, launch
from ..runtime.program import Kernel, kernel
from .plans import Plans, check_device, form, index_type, letter, parameters, workers
from .reduce import added_up

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
    """Launches of the results' buffers, those of ``held``, and the operands; in the backward ``sums`` come between."""

    launches: tuple[Launch, ...]  # none: the results are constants
    results: tuple[Layout, ...]
    rowwise: bool = True  # whether operands are read as they are
    held: Layout | None = None  # of a number each row, for the launches alone
    sums: Layout | None = None  # of the parts of dq that are added up at the end
    joint: Layout | None = None  # of the array that the gradients of q, k and v are parts of


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


def _launch(kind: str, outs: tuple[Layout, ...], statistics: tuple[str, ...], arrays: tuple[Array, ...],
            mask: Array | None, options: Options, dq: Layout | None = None) -> Launch:
    """A launch that fills ``outs``; ``statistics`` are numbers of each row, ``dq`` (parts, B, H, L, E) sums. What a
    call gives it: buffers and offsets of outs and dq, buffers of statistics, buffers and offsets of arrays and mask,
    and the seed."""
    q, k, v = arrays[:3]
    device = q.device
    B, H, L, E = q.shape
    Hk, S, F = k.shape[1], k.shape[2], v.shape[3]
    D = next(d for d in _DEPTHS if d >= max(E, F))
    check_device(device, q.dtype)
    written = (*outs, *(() if dq is None else (dq,)))
    index = "long" if any(a.large for a in written) else index_type(
        *(a.storage.nbytes for a in arrays), 0 if mask is None else mask.storage.nbytes)
    by_keys = kind in ("keys", "backward")
    count = S if by_keys else L
    params = _parameters(kind, q, k, v, options)
    rows, columns = _tile(device, params, kind, D, 8 if q.dtype.compute == "double" else 4, count)
    i, t = letter(index), "d" if q.dtype.compute == "double" else "f"
    signature = {"forward": f"P{i * 4}P", "queries": f"P{i * 4}PP", "keys": f"P{i * 4}P{i * 4}PP",
                 "backward": f"P{i * 4}P{i * 4}P{i * 7}PP"}[kind]
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
    parts = 0 if dq is None else dq.shape[0]
    units = B * (Hk if by_keys else H) * (parts or tiles)
    work = B * H * L * S * (E + F)
    if device.wide_core:
        gsize, lsize = (min(units, workers(device, work, 8, 1 << 15)),), (1,)
    else:
        gsize, lsize = (min(units, device.facts.compute_units * 32) * items,), (items,)
    args: list[Any] = []
    for o in outs:
        args += ("out", "offset", *o.strides[:3])
    if dq is not None:
        args += ("dq", "offset", *dq.strides[1:4], parts, dq.strides[0], B * H * L)
    args += statistics
    for a in arrays:
        args += ("array", "offset", *a.strides[:3])
    args += ("mask", "offset", *((0,) * 4 if mask is None else mask.strides))
    _, least, factor = options.draws
    args += (float(options.scale), "seed", least, float(factor), H, H // max(Hk, 1), L, S, E, F, tiles, units)
    return Launch(found, gsize, lsize, args, sum(a.nbytes for a in arrays), 2 * work)


def _places(*arrays: Array) -> list[Any]:
    """Their buffers and offsets."""
    given: list[Any] = []
    for a in arrays:
        given += (a.storage.buffer, a.offset)
    return given


def _operands(arrays: tuple[Array, ...], mask: Array | None, options: Options) -> list[Any]:
    """What launches are given of these: buffers and offsets, and the seed."""
    given = _places(*arrays)
    given += (given[0], 0) if mask is None else (mask.storage.buffer, mask.offset)
    given.append(options.seed)
    return given


def _key(arrays: tuple[Array, ...], mask: Array | None, options: Options) -> tuple:
    """What a plan depends on. Arrays of several devices have a key, too, under which none is ever found."""
    return (*[a._layout or layout_of(a) for a in arrays], None if mask is None else mask._layout or layout_of(mask),
            options.causal, options.scale, options.dropout)


def _rowwise(a: Array) -> Array:
    """The array with each row's elements side by side."""
    return a if a.shape[3] < 2 or a.strides[3] == 1 else a.contiguous()


def _same(arrays: tuple[Array, ...], others: tuple[Array, ...]) -> bool:
    return all(a is b for a, b in zip(arrays, others))


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


def _like(a: Array, shape: tuple[int, ...]) -> Layout:
    """That of a new array (B, H, rows, elements) in the order of ``a``'s memory: a row holds all heads where its rows
    do, so that what joins the heads again is a view."""
    _, H, rows, E = shape
    strides = None if a.strides[1] >= a.strides[2] else (rows * H * E, E, H * E, 1)
    return Layout.dense(shape, a.dtype, a.device, strides)


def attention(q: Array, k: Array, v: Array, mask: Array | None, options: Options) -> tuple[Array, Array]:
    """Attention of (B, H, L, E), (B, Hk, S, E), (B, Hk, S, F): (B, H, L, F), and the rows' logsumexp."""
    arrays = q, k, v
    key = _key(arrays, mask, options)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _forward_plan(q, k, v, mask, options))
    out, lse = plan.results
    if not plan.launches:
        return full(out.shape, 0, out.dtype, q.device), full(lse.shape, float("inf"), lse.dtype, q.device)
    arrays = arrays if plan.rowwise else tuple(map(_rowwise, arrays))
    out, lse = fresh(out), fresh(lse)
    plan.launches[0](*_places(out), lse.storage.buffer, *_operands(arrays, mask, options))
    return out, lse


def _forward_plan(q: Array, k: Array, v: Array, mask: Array | None, options: Options) -> _Plan:
    mask = _checked(q, k, v, mask)
    shape, device = (*q.shape[:3], v.shape[3]), q.device
    lse = Layout.dense(shape[:3], q.dtype.accumulator, device)
    if 0 in shape or not k.shape[2] or not q.shape[3]:
        if 0 not in shape and k.shape[2]:
            raise ShapeError(bad("attention", f"q {q.shape}", "heads of one element or more", "Check the sizes."))
        return _Plan((), (Layout.dense(shape, q.dtype, device), lse))
    out, arrays = _like(q, shape), tuple(map(_rowwise, (q, k, v)))
    step = _launch("forward", (out,), ("lse",), arrays, mask, options)
    return _Plan((step,), (out, lse), _same(arrays, (q, k, v)))


def attention_backward(dy: Array, q: Array, k: Array, v: Array, mask: Array | None, out: Array, lse: Array,
                       options: Options) -> tuple[Array, Array, Array]:
    """Gradients of q, k and v."""
    dy = dy if dy.dtype is q.dtype else dy.astype(q.dtype)
    arrays = q, k, v, out, dy
    step = q.shape[1] * q.shape[3]
    joint = q.storage is k.storage is v.storage and step == k.offset - q.offset == v.offset - k.offset
    key = (*_key(arrays, mask, options), joint)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _backward_plan(arrays, mask, options, joint))
    if not plan.launches:
        return tuple([full(a.shape, 0, a.dtype, q.device) for a in plan.results])
    d = plan.held.dtype
    lse, _ = dense(lse if lse.dtype is d else lse.astype(d))
    lse = lse.clone() if lse.offset else lse  # the kernels read it from its beginning
    arrays = arrays if plan.rowwise else tuple(map(_rowwise, arrays))
    if plan.joint is None:
        dq, dk, dv = map(fresh, plan.results)
    else:
        base = fresh(plan.joint)
        dq, dk, dv = [base.view(r.shape, r.strides, i * step) for i, r in enumerate(plan.results)]
    sums = dq if plan.sums is None else fresh(plan.sums)
    rest = lse.storage.buffer, fresh(plan.held).storage.buffer, *_operands(arrays, mask, options)
    if len(plan.launches) == 1:
        plan.launches[0](*_places(dk, dv, sums), *rest)
    else:
        plan.launches[0](*_places(dq), *rest)
        plan.launches[1](*_places(dk, dv), *rest)
    return (dq if plan.sums is None else added_up(sums, 0).astype(q.dtype)), dk, dv


def _joint(q: Array, k: Array, v: Array) -> Layout | None:
    """That of one array (B, L, 3, H, E) for the gradients, whose rows hold all three, as rows of the memory of q, k and
    v do: what joins them again is a view. None where there are no such rows."""
    B, H, L, E = q.shape
    rows = (3 * L * H * E, E, 3 * H * E, 1)
    if q.shape == k.shape == v.shape and all(a.strides == rows for a in (q, k, v)):
        return Layout.dense((B, L, 3, H, E), q.dtype, q.device)
    return None


def _backward_plan(given: tuple[Array, ...], mask: Array | None, options: Options, joint: bool) -> _Plan:
    """``joint``: q, k and v lie in one memory, as far apart as a row of all heads is long."""
    q, k, v = given[:3]
    mask = _checked(q, k, v, mask)
    device, d = q.device, q.dtype.accumulator
    parts = 1
    if device.wide_core:
        parts = _parts(device, q.shape[0] * k.shape[1], k.shape[2], _parameters("backward", q, k, v, options))
    whole = parts == 1 and q.dtype is d
    base = _joint(q, k, v) if joint and (whole or not device.wide_core) else None
    results = dq, dk, dv = tuple(_like(a, a.shape) if base is None else Layout.of(
        a.shape, a.strides, a.dtype, device, base.large) for a in (q, k, v))
    if 0 in (*q.shape, *k.shape, *v.shape):
        return _Plan((), results)
    arrays, statistics = tuple(map(_rowwise, given)), ("lse", "delta")
    if not device.wide_core:
        launches = (_launch("queries", (dq,), statistics, arrays, mask, options),
                    _launch("keys", (dk, dv), statistics, arrays, mask, options))
        return _Plan(launches, results, _same(arrays, given), Layout.dense(q.shape[:3], d, device), joint=base)
    held = Layout.dense((parts, *q.shape[:3]), d, device)
    sums = Layout.of((1, *q.shape), (0, *dq.strides), d, device, dq.large) if whole else Layout.dense(
        (parts, *q.shape), d, device)
    step = _launch("backward", (dk, dv), statistics, arrays, mask, options, sums)
    return _Plan((step,), results, _same(arrays, given), held, None if whole else sums, base)


def _parts(device: Device, heads: int, keys: int, params: dict[str, int]) -> int:
    """Work-items that share the keys of a head in the backward of a wide device: one where there are heads enough."""
    units = device.facts.compute_units
    wanted = params["shares"] * units
    if heads >= wanted or heads % units == 0:
        return 1
    return max(1, min(-(-wanted // heads), keys // params["least_keys"]))


def _parameters(kind: str, q: Array, k: Array, v: Array, options: Options) -> dict[str, int]:
    """What the kernels of a direction take for these sizes."""
    B, H, L, E = q.shape
    layout = ("forward" if kind == "forward" else "backward") + "/causal" * options.causal
    return parameters(q.device, "attention", q.dtype.name, layout, (B * H, L, k.shape[2], E, v.shape[3]))


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
