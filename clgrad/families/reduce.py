"""Host side of reductions over any set of axes, in one or two deterministic launches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from .. import kernels
from ..core import dtypes, shapes
from ..core.dtypes import DType, check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import INT_BYTES, Array, Layout, Storage, fresh, layout_of
from ..runtime.device import Device
from ..runtime.launch import Launch
from ..runtime.program import Kernel, fitted, kernel
from .plans import Plans, blocks, by_kind, check_device, form, index_type, letter, parameters, team_size, workers
from .subgroups import joining

_LEAST_ITEMS = 8192  # elements a wide-core work-item should have at least
_STRIP = 64  # neighbouring columns that a wide-core work-item takes at least

_LOWEST = {"char": "CHAR_MIN", "short": "SHRT_MIN", "int": "INT_MIN", "long": "LONG_MIN", "uchar": "0", "ushort": "0",
           "uint": "0", "ulong": "0", "float": "-INFINITY", "double": "-INFINITY"}
_HIGHEST = {"char": "CHAR_MAX", "short": "SHRT_MAX", "int": "INT_MAX", "long": "LONG_MAX", "uchar": "UCHAR_MAX",
            "ushort": "USHRT_MAX", "uint": "UINT_MAX", "ulong": "ULONG_MAX", "float": "INFINITY", "double": "INFINITY"}


@dataclass(frozen=True, eq=False)
class Reduction:
    """What a reducing record says to its kernel.

    ``combine`` is a C expression over a and b, ``map`` over x, ``final`` over a and count (scalar). ``identity`` is C,
    or "lowest"/"highest" of the type. ``rule(dtype)`` gives the dtype accumulated in and the dtype stored.
    ``empty`` says whether no elements at all have a result.
    """

    name: str
    combine: str | dict[str, str]
    identity: str
    rule: Callable[[DType], tuple[DType, DType]]
    map: str = "x"
    final: str = "a"
    empty: bool = True


@dataclass(frozen=True, eq=False)
class Walk:
    """The kept and the reduced dimensions, collapsed, outermost first, and which of them is innermost in memory."""

    kept: tuple[tuple[int, int], ...]
    reduced: tuple[tuple[int, int], ...]
    outputs: int
    length: int
    columns: bool

    @property
    def integers(self) -> tuple[int, ...]:
        """Sizes and strides as the kernels take them; columns keep the innermost kept dimension for themselves."""
        kept = self.kept[:-1] if self.columns else self.kept
        return tuple(v for pair in (*kept, *self.reduced) for v in pair)


def merged(x: Array, axes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Size and stride of some axes in their order, neighbours that lie as one made one; at least one."""
    return shapes.merged(tuple(x.shape[a] for a in axes), tuple(x.strides[a] for a in axes))


def walk_of(x: Array, axes: tuple[int, ...]) -> Walk:
    """How to walk ``x`` when ``axes`` are reduced."""
    kept = merged(x, [a for a in range(x.ndim) if a not in axes])
    sizes, steps = shapes.collapse(tuple(x.shape[a] for a in axes), tuple(x.strides[a] for a in axes))
    reduced = tuple(zip(sizes, steps[0]))
    columns = kept[-1][1] == 1 and kept[-1][0] > 1 and reduced[-1][1] != 1
    return Walk(kept, reduced, prod(n for n, _ in kept), prod(x.shape[a] for a in axes), columns)


@dataclass(frozen=True, eq=False)
class _Plan:
    stages: tuple[Launch, ...]  # of the result (and what else is written), the source and its offset
    partial: tuple[int, DType] | None
    result: Layout


class Reduce:
    """Callable that reduces an Array over ``dim`` (None: all axes, an int, or several)."""

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = reduction
        self._plans = Plans()

    def __call__(self, x: Array, dim: Any = None, keepdim: bool = False, *, accumulate: DType | None = None) -> Array:
        key = (x._layout or layout_of(x), tuple(dim) if type(dim) is list else dim, keepdim, accumulate)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans.put(key, self._plan(x, dim, keepdim, accumulate))
        out = fresh(plan.result)
        if not plan.stages:
            return out
        source, offset = x.storage.buffer, x.offset
        if plan.partial is not None:
            count, dtype = plan.partial
            partial = Storage(out.storage.device, count * dtype.itemsize)
            plan.stages[0](partial.buffer, source, offset)
            source, offset = partial.buffer, 0
        plan.stages[-1](out.storage.buffer, source, offset)
        return out

    def _plan(self, x: Array, dim: Any, keepdim: bool, accumulate: DType | None) -> _Plan:
        r = self.reduction
        axes = shapes.axis_tuple(r.name, dim, x.ndim)
        compute, result = r.rule(x.dtype)
        if accumulate is not None:
            compute = result = accumulate
        check_device(x.device, compute, result)
        walk = walk_of(x, axes)
        shape = shapes.reduced(x.shape, axes, keepdim)
        if walk.length == 0 and not r.empty and walk.outputs:
            raise ShapeError(bad(r.name, f"shape {x.shape} reduced over dim={dim}", "at least one element to reduce",
                                 "There is no such value of nothing: test .numel() first."))
        layout = Layout.dense(shape, result, x.device)
        if walk.outputs == 0:
            return _Plan((), None, layout)
        index = index_type(x.storage.nbytes, x.size, walk.outputs * 8)
        params = parameters(x.device, "reduce", compute.name, "columns" if walk.columns else "rows",
                            (walk.outputs, walk.length))
        pieces = _pieces(x.device, walk, params)
        args = (r, x.device, params, index, compute, x.nbytes)
        if pieces == 1:
            return _Plan((_stage(*args, x.dtype.c, result, walk, 1, walk.length, True),), None, layout)
        # The partial results are an array of their own: pieces down, outputs across.
        second = Walk(((walk.outputs, 1),), ((pieces, walk.outputs),), walk.outputs, pieces, walk.outputs > 1)
        partial = compute.accumulator
        stages = (_stage(*args, x.dtype.c, partial, walk, pieces, walk.length, False),
                  _stage(*args, partial.c, result, second, 1, walk.length, True, mapped=True))
        return _Plan(stages, (pieces * walk.outputs, partial), layout)


def _pieces(device: Device, walk: Walk, params: dict[str, int]) -> int:
    """Into how many parts the reduced positions are cut, so that every core has work."""
    if device.wide_core:
        wanted = workers(device, walk.outputs * walk.length, params["groups_per_unit"], _LEAST_ITEMS)
        units = walk.outputs // walk.kept[-1][0] if walk.columns else walk.outputs  # rather pieces than narrow strips
    else:
        wanted = device.facts.compute_units * 4
        units = walk.outputs
    pieces = max(1, min(-(-wanted // units), walk.length // 512))
    piece = -(-walk.length // pieces) if pieces else walk.length
    return -(-walk.length // piece) if piece else 1


def _strip(device: Device, walk: Walk, pieces: int, lanes: int, params: dict[str, int]) -> int:
    """Neighbouring columns of a unit: as many as the kernel takes, if every core still has some."""
    columns = walk.kept[-1][0]
    wanted = workers(device, walk.outputs * walk.length, params["groups_per_unit"], _LEAST_ITEMS)
    share = columns * (walk.outputs // columns) * pieces // wanted // _STRIP * _STRIP
    return max(_STRIP, min(share, kernels.template("reduce").module.STRIP * lanes))


def identity_of(value: str, d: DType) -> str:
    """The C text of a combination's identity, in the type computed in."""
    if d.kind == "c":
        return f"{value}, 0"
    return {"lowest": _LOWEST, "highest": _HIGHEST}[value][d.compute] if value in ("lowest", "highest") else value


def _stage(r: Reduction, device: Device, params: dict[str, int], index: str, compute: DType, nbytes: int, ctype: str,
           result: DType, walk: Walk, pieces: int, count: int, last: bool, mapped: bool = False) -> Launch:
    T = compute.compute
    layout = "columns" if walk.columns else "rows"
    shape_of = form(device) if compute.kind != "c" else "many"  # complex numbers are no lanes of a wider vector
    if shape_of == "many":
        serial = compute.kind == "c" or walk.columns
        layout = "serial" if serial else "group"
        walk = Walk(walk.kept, walk.reduced, walk.outputs, walk.length, False)
    piece = max(1, -(-walk.length // pieces))
    quads = layout == "group" and _by_fours(walk)
    if quads:
        piece = -(-piece // 4) * 4
    columns = walk.kept[-1][0]
    strip, units = 1, pieces * walk.outputs
    if layout == "columns":
        strip = _strip(device, walk, pieces, 8 if compute.itemsize == 8 else 16, params)
        units = pieces * (walk.outputs // columns) * -(-columns // strip)
    tail = (*walk.integers, walk.length, pieces, piece, walk.outputs, columns, strip)
    local = params["local"]
    i = letter(index)
    signature = "PP" + i * (len(tail) + 2) + "l"

    def build(size: int) -> Kernel:
        return kernel(device, "reduce", "reduce", signature, r.name, form=shape_of, layout=layout, index=index,
                      ctype=ctype, T=T, out=result.c, out_bool=result.kind == "b" and last,
                      combine=by_kind(r.combine, compute), map="x" if mapped else r.map, final=r.final,
                      identity=identity_of(r.identity, compute), last=last,
                      kept=len(walk.kept) - walk.columns, reduced=len(walk.reduced),
                      unit=walk.reduced[-1][1] == 1, quads=quads, group=size, **joining(device, layout))

    k, local = fitted(build, local)
    if device.wide_core:
        most = workers(device, walk.outputs * walk.length, params["groups_per_unit"], _LEAST_ITEMS)
        gsize, lsize = (min(units, most),), (1,)
    elif layout == "group":
        team = team_size(piece, local)
        tail = (*tail[:-1], team)
        groups = min(-(-units * team // local), device.facts.compute_units * params["groups_per_unit"] * 4)
        gsize, lsize = (groups * local,), (local,)
    else:
        gsize, lsize = blocks(device, units, local, params["groups_per_unit"])
    return Launch(k, gsize, lsize, ("out", "x", "offset", *tail, units, count), nbytes)


def _by_fours(walk: Walk) -> bool:
    """Whether what is reduced is one stretch of memory each, of whole vectors of four, as far apart as such."""
    return (len(walk.reduced) == 1 and walk.reduced[0][1] == 1 and walk.length % 4 == 0
            and all(n == 1 or step % 4 == 0 for n, step in walk.kept))


def _step(axis: tuple[int, int]) -> int:
    """Elements between neighbours along an axis of (size, stride); of one element there are none."""
    size, stride = axis
    return abs(stride) if size > 1 else 1 << 62


added_up = Reduce(Reduction("sum", "a + b", "0", lambda d: (d, d)))  # of any type, in that type


class ArgReduce:
    """Callable that gives the first position of the largest (">") or smallest ("<") element, as int64."""

    def __init__(self, name: str, better: str) -> None:
        self.name = name
        self.better = better
        self._plans = Plans()

    def __call__(self, x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        device = x.storage.device
        key = (x._layout or layout_of(x), dim, keepdim)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans.put(key, self._plan(x, dim, keepdim))
        out = fresh(plan.result)
        if not plan.stages:
            return out
        source, offset, known = x.storage.buffer, x.offset, None
        if plan.partial is not None:
            size, compute = plan.partial
            at, best = Storage(device, 8 * size), Storage(device, size * compute.itemsize)
            plan.stages[0](at.buffer, best.buffer, source, offset, None)
            source, offset, known = best.buffer, 0, at.buffer
        plan.stages[-1](out.storage.buffer, None, source, offset, known)
        return out

    def _plan(self, x: Array, dim: int | None, keepdim: bool) -> _Plan:
        axes = shapes.axis_tuple(self.name, dim, x.ndim)
        shape = shapes.reduced(x.shape, axes, keepdim)
        kept = merged(x, [a for a in range(x.ndim) if a not in axes])
        reduced = merged(x, axes)
        outputs, length = prod(n for n, _ in kept), prod(n for n, _ in reduced)
        if length == 0 and outputs:
            raise ShapeError(bad(self.name, f"shape {x.shape} over dim={dim}", "at least one element to choose from",
                                 "Test .numel() first."))
        layout = Layout.dense(shape, dtypes.int64, x.device)
        if outputs == 0:
            return _Plan((), None, layout)
        index = index_type(x.storage.nbytes, x.size, outputs * 8)
        check_kind(self.name, "biuf", x.dtype)
        compute = x.dtype.accumulator
        across = "columns" if outputs > 1 and min(map(_step, kept)) < min(map(_step, reduced)) else "rows"
        params = parameters(x.device, "arg_reduce", x.dtype.name, across, (outputs, length))
        wanted = x.device.facts.compute_units * params["pieces"]
        layout_of_work = _arg_layout(x.device, compute, kept, reduced)
        if layout_of_work == "group":  # a piece has as many work-items
            wanted = -(-wanted // params["local"])
        units = _strips(outputs, kept, compute) if layout_of_work == "columns" else outputs
        pieces = max(1, min(-(-wanted // units), length // params["piece"]))
        pieces = -(-length // -(-length // pieces))
        first = self._stage(x.device, params, index, compute, x.dtype.c, kept, reduced, pieces, pieces == 1, False)
        if pieces == 1:
            return _Plan((first,), None, layout)
        second = self._stage(x.device, params, index, compute, compute.c, ((outputs, 1),), ((pieces, outputs),), 1,
                             True, True)
        return _Plan((first, second), (pieces * outputs, compute), layout)

    def _stage(self, device: Device, params: dict[str, int], index: str, compute: DType, ctype: str, kept: tuple,
               reduced: tuple, pieces: int, last: bool, paired: bool) -> Launch:
        outputs, length = prod(n for n, _ in kept), prod(n for n, _ in reduced)
        integers = tuple(v for pair in (*kept, *reduced) for v in pair)
        layout = "serial" if paired and device.wide_core else _arg_layout(device, compute, kept, reduced)
        units = pieces * (_strips(outputs, kept, compute) if layout == "columns" else outputs)
        piece = -(-length // pieces)
        tail = (*integers, length, pieces, piece, outputs, units)
        i = letter(index)
        def build(group: int) -> Kernel:
            return kernel(device, "arg_reduce", "arg_reduce", "PPP" + i + "P" + i * len(tail) + "i", self.name,
                          index=index, ctype=ctype, T=compute.compute, better=self.better, kept=len(kept),
                          reduced=len(reduced), paired=paired, last=last, layout=layout, group=group,
                          **joining(device, layout))

        k, local = fitted(build, params["local"])
        team = team_size(piece, local) if layout == "group" else 1
        if device.wide_core:
            most = workers(device, units * length, params["groups_per_unit"], _LEAST_ITEMS)
            gsize, lsize = (min(units, most),), (1,)
        else:
            gsize, lsize = blocks(device, units * team, local, params["groups_per_unit"])
        return Launch(k, gsize, lsize, ("at", "best", "x", "offset", "known", *tail, team))


def _arg_layout(device: Device, compute: DType, kept: tuple, reduced: tuple) -> str:
    """How the kernel walks: see there. Lanes count positions in integers of their own size."""
    if not device.wide_core:
        return "group" if reduced[-1][1] == 1 else "serial"
    if len(reduced) > 1 or compute.itemsize < 4 or reduced[0][0] >= INT_BYTES:
        return "serial"
    if reduced[0][1] == 1:
        return "rows"
    return "columns" if kept[-1][1] == 1 and kept[-1][0] >= 4 else "serial"


def _strips(outputs: int, kept: tuple, compute: DType) -> int:
    """Strips of neighbouring columns that are walked down together."""
    lanes = 8 if compute.itemsize == 8 else 16
    return outputs // kept[-1][0] * -(-kept[-1][0] // (lanes * kernels.template("arg_reduce").module.COLUMNS))
