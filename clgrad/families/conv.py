"""Host side of convolutions: one Problem, a sum over shifted windows, planned as launches of either kernel form.

Wide-core devices copy X with its margins (where it has any, or a storage type), pack A into panels of lanes, and run
a register-tiled kernel over both; many-core devices run an implicit matrix product that tests margins as it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import gcd, prod
from typing import Any

from .. import kernels
from ..core import shapes
from ..core.dtypes import DType
from ..core.errors import DeviceError, bad
from ..ndarray import INT_BYTES, Array, Layout, fresh, full, layout_of
from ..runtime import tuned
from ..runtime.device import Device, Facts
from ..runtime.launch import Launch
from ..runtime.program import GroupLimitError, kernel
from . import winograd
from .matmul import PLAIN
from .plans import Plans, check_device, form, replay, signature_of, streamed

_ITEM = {"float": 4, "double": 8}
_FEW = {4: 4, 8: 6}  # points along the last axis, and lanes up to which vectors run along so many points
_FEW_OUTPUTS = 8  # of which the gradients by their weights are sums along the last axis
_UNROLLED = 4  # taps along the last axis up to which a kernel of whole vectors is unrolled

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """C[g, m, j] = sum over r of A[g, m, r] * X[g, j[0], r[0], j[1:] * j_step + r[1:] * r_step + low].

    ``j`` and ``r`` are sizes of four axes, the last three in space. Strides and shifts count elements; a position
    outside ``space`` counts as zero.
    """

    groups: int
    M: int
    j: Ints
    r: Ints
    space: Ints  # X's sizes
    j_step: Ints
    r_step: Ints
    low: Ints
    x: Ints  # strides of X: group, j[0], r[0], space
    a: Ints  # strides of A: group, m, r
    a_shift: int
    out: Ints  # strides of C: group, m, j
    out_shift: int
    channels_in_r: bool = True  # whether r[0] counts X's channels, and j[0] its images; else the reverse

    @property
    def J(self) -> int:
        return prod(self.j)

    @property
    def R(self) -> int:
        return prod(self.r)

    @property
    def whole(self) -> bool:
        """Whether C fills its memory, in the order g, m, j."""
        return self.out == shapes.contiguous_strides((self.groups, self.M, *self.j)) and not self.out_shift


@dataclass
class _Steps:
    """Launches in order, and the temporaries that they need, in bytes. In arguments, a string or a pair names what a
    call fills in: "X" "A" "B" "C" buffers, "x" "a" "b" offsets, ("temp", i) a temporary."""

    device: Device
    ctype: str
    acc: str
    index: str
    asked: tuple[str, str, Ints]  # dtype, layout and sizes, by which tuned parameters are found
    facts: Facts
    steps: list[Launch] = field(default_factory=list)
    temporaries: list[int] = field(default_factory=list)
    flops: int = 0

    def params(self, family: str = "conv") -> dict[str, int]:
        """The parameters of a kernel family for what is asked: tuned ones, or the form's default."""
        default = kernels.template(family).module.DEFAULT[form(self.device)][_ITEM[self.acc]]
        return dict(tuned.params(self.device, family, *self.asked, default))

    def temporary(self, size: int) -> tuple[str, int]:
        self.temporaries.append(max(1, size) * _ITEM[self.acc])
        return "temp", len(self.temporaries) - 1

    def add(self, part: str, gsize: int, lsize: int, args: Sequence[Any], *, family: str = "conv",
            out: str | None = None, **values: Any) -> None:
        signature = signature_of(args, ("x", "a", "b"), self.index)
        values = {"ctype": self.ctype, "acc": self.acc, "out": out or self.ctype, **values}
        k = kernel(self.device, family, part, signature, f"conv.{part}", form=form(self.device), index=self.index,
                   part=part, **values)
        self.steps.append(Launch(k, (gsize,), (lsize,), args))

    def clear(self, nbytes: int) -> None:
        """A launch that fills the result with zeros."""
        k = kernel(self.device, "fill", "fill", "PLl", "fill", stream=streamed(self.device, nbytes, 4))
        self.steps.append(Launch(k, (4 * self.device.facts.compute_units,), (1,), ["C", 0, nbytes], nbytes))

    def copy(self, source: str, offset: str, strides: Ints, shape: Ints, space: Ints, low: Ints, target: Any) -> None:
        """A launch that makes a dense array of this shape, of the accumulator's type: of planes of ``space``, from
        ``low`` on, with zeros outside of it."""
        rows = prod(shape[:-1])
        each = max(1, min(_ceil(rows, 4 * self.device.facts.compute_units), _ceil(4096, shape[-1])))
        self.add("pad", _ceil(rows, each), 1,
                 [rows, each, *shape[1:], source, offset, *strides, *space, *low, target], out=self.acc,
                 unit=strides[-1] == 1)

    def add_up(self, partial: Any, splits: int, count: int, width: int = 1, lsize: int = 1) -> None:
        """One more launch where r was split: the partial sums in one order."""
        each = 1024 if width > 1 else 1
        if splits > 1:
            self.add("sum", _ceil(_ceil(count, each), lsize) * lsize, lsize,
                     [count, 1, count, splits, each, partial, "C"], family="matmul", width=width, **PLAIN)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, eq=False)
class _Plan:
    launches: tuple[Launch, ...]
    temporaries: Ints
    result: Layout


_plans = Plans()


def _key(name: str, x: Array, a: Array, bias: Array | None, parameters: tuple) -> tuple:
    """What a plan depends on. Arrays of several dtypes or devices have a key, too, under which none is ever found."""
    return (name, parameters, x._layout or layout_of(x), a._layout or layout_of(a),
            None if bias is None else bias._layout or layout_of(bias))


def repeated(name: str, x: Array, a: Array, bias: Array | None, parameters: tuple) -> Array | None:
    """The result where ``convolve`` met the same shapes, strides, dtypes, devices and parameters before; else None."""
    plan = _plans.get(_key(name, x, a, bias, parameters))
    return None if plan is None else _replayed(plan, x, a, bias)


def convolve(name: str, x: Array, a: Array, bias: Array | None, parameters: tuple, shape: Ints,
             how: Forward | InputGradient | WeightGradient) -> Array:
    """The result, of ``shape``, of the Problems that ``how`` makes of x and a; one dtype, no empty operand."""
    device = x.storage.device
    check_device(device, x.dtype)
    large = max(x.storage.nbytes, a.storage.nbytes, prod(shape) * x.dtype.itemsize) >= INT_BYTES
    deep = _deep(x), _deep(a)
    plan = _plan(device, x.dtype, how(*deep), bias, large, _asked(*deep, (*shape[:2], *how.size), how), shape)
    return _replayed(_plans.put(_key(name, x, a, bias, parameters), plan), x, a, bias)


def _deep(x: Array) -> Array:
    """x with three axes of space, as a view."""
    lead = 5 - x.ndim
    if not lead:
        return x
    return x.view((*x.shape[:2], *(1,) * lead, *x.shape[2:]), (*x.strides[:2], *(0,) * lead, *x.strides[2:]), x.offset)


def _replayed(plan: _Plan, x: Array, a: Array, bias: Array | None) -> Array:
    """Launch a plan over these operands."""
    device = x.storage.device
    out = fresh(plan.result)
    values: dict[Any, Any] = {"X": x.storage.buffer, "x": x.offset, "A": a.storage.buffer, "a": a.offset,
                              "C": out.storage.buffer}
    values["B"], values["b"] = (values["A"], 0) if bias is None else (bias.storage.buffer, bias.offset)
    replay(plan.launches, device, plan.temporaries, values)
    return out


def zeros(shape: Ints, dtype: DType, device: Device) -> Array:
    """What a convolution without a term gives."""
    return full(shape, 0, dtype, device)


def _asked(x: Array, a: Array, shape: Ints, how: Any) -> tuple[str, Ints]:
    """By what tuned parameters are found: direction, taps and geometry; images, channels of the input and of the
    result, and the input's space. The same whichever of the three arrays is computed."""
    q = how.geometry
    kind, image, weight, outs = {"Forward": ("forward", x.shape, a.shape, a.shape[0]),
                                 "InputGradient": ("input", shape, a.shape, a.shape[0]),
                                 "WeightGradient": ("weight", x.shape, shape, a.shape[1])}[type(how).__name__]
    taps, stride, low, dilation = ("x".join(map(str, n)) for n in (weight[2:], q.stride, q.low, q.dilation))
    return f"{kind}/k{taps}/s{stride}/p{low}/d{dilation}/g{q.groups}", (*image[:2], outs, *image[2:])


def _plan(device: Device, dtype: DType, problems: Sequence[Problem], bias: Array | None, large: bool,
          asked: tuple[str, Ints], shape: Ints) -> _Plan:
    stride = None if bias is None else bias.strides[0]
    acc = dtype.accumulator.c
    if bias is None and device.wide_core and any(not p.R for p in problems):  # points that no tap reaches
        cleared, problems = prod(shape) * dtype.itemsize, [p for p in problems if p.R]
    else:
        cleared = 0
    index, facts = "long" if large else "int", device.facts
    while True:
        steps = _Steps(device, dtype.c, acc, index, (dtype.name, *asked), facts)
        if cleared:
            steps.clear(cleared)
        try:
            if problems:
                (_wide if device.wide_core else _many)(steps, problems, stride)
        except GroupLimitError as limit:  # a kernel's own limit may be below the device's
            if limit.most >= facts.max_work_group_size:
                raise
            facts = replace(facts, max_work_group_size=limit.most)
            continue
        if index == "long" or max(steps.temporaries, default=0) < INT_BYTES:
            break
        index = "long"
    for step in steps.steps:
        step.flops = steps.flops
    return _Plan(tuple(steps.steps), tuple(steps.temporaries), Layout.dense(shape, dtype, device))


# Wide-core ---------------------------------------------------------------------------------------------------------


def _tile_of(M: int, most: int) -> tuple[int, int]:
    """Vectors and width of a panel: as few lanes as hold M, though no fewer than four, else the split of least work."""
    width = most
    while width > 4 and width // 2 >= M:
        width //= 2
    if width >= M:
        return 1, width
    return (2 if _ceil(M, 2 * width) * 2 <= _ceil(M, width) * 1.2 else 1), width


def _wide(s: _Steps, problems: Sequence[Problem], bias: int | None) -> None:
    first = problems[0]
    params = s.params("winograd")
    if len(problems) == 1 and winograd.fits(first, params):
        _winograd(s, first, bias, params)
        return
    params = s.params()
    vectors, width = _tile_of(first.M, params["width"])
    vectors = min(vectors, params["vectors"])
    reach = [_reach(p) for p in problems if p.R]
    low = tuple(min(r[0][d] for r in reach) for d in range(3)) if reach else (0, 0, 0)
    high = tuple(max(r[1][d] for r in reach) for d in range(3)) if reach else (0, 0, 0)
    if s.ctype == s.acc and all(lo >= 0 and hi < n for lo, hi, n in zip(low, high, first.space)):
        x_name, x_offset, strides, origin = "X", "x", first.x, (0, 0, 0)
    else:
        x_name, strides = _padded(s, first, low, high)
        x_offset, origin = 0, low
    for p in problems:
        walk = strides[3:]
        x = _Source(x_name, x_offset, strides, sum((lo - o) * n for lo, o, n in zip(p.low, origin, walk)),
                    tuple(a * n for a, n in zip(p.j_step, walk)), tuple(a * n for a, n in zip(p.r_step, walk)))
        most = max((lanes for points, lanes in _FEW.items() if p.j[3] >= points), default=0)
        if not p.channels_in_r and p.M <= _FEW_OUTPUTS and x.r_steps[2] == 1 and p.r[3] >= (4 if p.M == 1 else 8):
            _dots(s, p, x, params)
        elif most >= p.M and x.j_steps[2] == 1 and p.R:
            _strips(s, p, bias, x, params)
        else:
            _tiles(s, p, bias, vectors, width, params, x)
        s.flops += 2 * p.groups * p.M * p.J * p.R


def _winograd(s: _Steps, p: Problem, bias: int | None, params: dict[str, int]) -> None:
    x = "X", "x", p.x
    if s.ctype != s.acc or p.x[5] != 1:
        buffer, strides = _padded(s, p, (0, 0, 0), tuple(n - 1 for n in p.space))
        x = buffer, 0, strides
    winograd.steps(s, p, bias, x, params)
    s.flops += 2 * p.groups * p.M * p.J * p.R


def _reach(p: Problem) -> tuple[Ints, Ints]:
    """The lowest and highest positions in space that a Problem reads."""
    ends = [(p.low[d], p.low[d] + (p.j[d + 1] - 1) * p.j_step[d] + (p.r[d + 1] - 1) * p.r_step[d]) for d in range(3)]
    return tuple(lo for lo, _ in ends), tuple(hi for _, hi in ends)


def _padded(s: _Steps, p: Problem, low: Ints, high: Ints) -> tuple[Any, Ints]:
    """X from ``low`` to ``high`` with zeros outside of it, in the accumulator's type: its buffer and strides."""
    size = tuple(hi - lo + 1 for lo, hi in zip(low, high))
    images, channels = (p.j[0], p.r[0]) if p.channels_in_r else (p.r[0], p.j[0])
    by_image, by_channel = (p.x[1], p.x[2]) if p.channels_in_r else (p.x[2], p.x[1])
    planes = channels * p.groups
    buffer = s.temporary(images * planes * prod(size))
    s.copy("X", "x", (by_image, by_channel, *p.x[3:]), (images, planes, *size), p.space, low, buffer)
    plane = prod(size)
    image = planes * plane
    outer = (image, plane) if p.channels_in_r else (plane, image)
    return buffer, (channels * plane, *outer, size[1] * size[2], size[2], 1)


@dataclass(frozen=True)
class _Source:
    """X as a wide kernel reads it: buffer, offset, strides (group, j[0], r[0], space), where a Problem begins in it,
    and the steps of j and r through it."""

    name: Any
    offset: Any
    strides: Ints
    shift: int
    j_steps: Ints
    r_steps: Ints

    @property
    def args(self) -> list:
        return [self.name, self.offset, self.shift, self.strides[0], self.strides[1], *self.j_steps, self.strides[2],
                *self.r_steps]


def _packed(s: _Steps, p: Problem, bias: int | None, vectors: int, width: int) -> tuple[Any, int]:
    """A in panels of lanes, and how many panels a group has."""
    lanes = vectors * width
    panels = _ceil(p.M, lanes)
    packed = s.temporary(p.groups * panels * (p.R + 1) * lanes)
    each = _ceil(max(8, min(p.R, 8192 // lanes)), 8) * 8
    dense = p.a[3:] == shapes.contiguous_strides(p.r)[1:] and prod(p.r[1:]) >= 8
    s.add("pack", p.groups * panels * max(1, _ceil(p.R, each)), 1,
          [p.M, panels, p.R, each, *p.r[1:], "A", "a", p.a_shift, *p.a, int(bias is not None), "B", "b", bias or 0,
           packed], out=s.acc, vectors=vectors, width=width, points=8, along="r" if dense else "any")
    return packed, panels


def _strips(s: _Steps, p: Problem, bias: int | None, x: _Source, params: dict[str, int]) -> None:
    lanes, rows = min(kernels.template("conv").module.STRIPS,
                      key=lambda each: _ceil(p.M, each[0]) * each[0] * _ceil(p.j[2], each[1]) * each[1])
    packed, panels = _packed(s, p, bias, 1, lanes)
    width = params["width"]
    while width > p.j[3]:
        width //= 2
    units = p.groups * p.j[0] * panels * p.j[1] * _ceil(p.j[2], rows)
    work = p.R * lanes * p.j[3] * rows  # multiply-adds of a unit
    each = max(1, min(_ceil(units, 4 * s.device.facts.compute_units), params["least_work"] // 8 // work))
    head, steps = x.args[:8], x.args[8:]
    s.add("strip", _ceil(units, each), 1,
          [units, each, p.M, *p.j[1:], *p.r, *head[:7], *steps, p.j[0], packed, "C", p.out_shift, *p.out],
          lanes=lanes, rows=rows, width=width, spread=p.out[5] != 1)


def _terms(s: _Steps, p: Problem) -> tuple[Any, Any, Ints]:
    """A of a weight gradient, of the accumulator's type and with neighbours along r3: buffer, offset and strides."""
    if s.ctype == s.acc and p.a[5] == 1:
        return "A", "a", p.a
    planes, plane = p.groups * p.M, p.r[1:]
    buffer = s.temporary(p.r[0] * planes * prod(plane))
    s.copy("A", "a", (p.a[2], p.a[1], *p.a[3:]), (p.r[0], planes, *plane), plane, (0, 0, 0), buffer)
    dense = shapes.contiguous_strides((p.r[0], planes, *plane))
    return buffer, 0, (p.M * dense[1], dense[1], dense[0], *dense[2:])


def _dots(s: _Steps, p: Problem, x: _Source, params: dict[str, int]) -> None:
    a_name, a_offset, a = _terms(s, p)
    widths = [w for w in (16, 8, 4) if w <= min(params["width"], p.r[3])]
    width = min(widths, key=lambda w: _ceil(p.r[3], w) * max(8, w))  # fewer than eight cost what eight do
    panels = _ceil(p.M, 6)
    lanes = _ceil(p.M, panels)
    tiles = _ceil(p.J, params["sums"] // lanes)
    points = _ceil(p.J, tiles)
    works = p.groups * panels * tiles
    splits = _ceil(4 * s.device.facts.compute_units, works)
    if panels * tiles > 1:  # what several pass over should stay in a cache
        splits = max(splits, _ceil((p.M + p.j[0]) * p.R * _ITEM[s.acc], 2**18))
    splits = max(1, min(p.r[0], splits, p.R // 2**10))
    chunk = _ceil(p.r[0], splits)
    splits = _ceil(p.r[0], chunk)
    count = p.groups * p.M * p.J
    target, out = ("C", s.ctype) if splits == 1 else (s.temporary(splits * count), s.acc)
    s.add("dots", works * splits, 1,
          [p.J, p.M, splits, chunk, *p.j[1:], *p.r, *x.args[:11], a_name, a_offset, *a[:5], target, p.out_shift, *p.out,
           count],
          ctype=s.acc, out=out, width=width, points=points, lanes=lanes)
    s.add_up(target, splits, count, 64 // _ITEM[s.acc])


def _tiles(s: _Steps, p: Problem, bias: int | None, vectors: int, width: int, params: dict[str, int],
           x: _Source) -> None:
    points, lanes, units = params["points"], vectors * width, 4 * s.device.facts.compute_units
    packed, panels = _packed(s, p, bias, vectors, width)
    tiles = _ceil(p.J, points)
    splits = 1
    if p.whole and p.groups * panels * tiles < units and p.r[0] > 1:
        splits = max(1, min(p.r[0], _ceil(units, p.groups * panels * tiles), p.R * lanes * points * tiles // 2**17))
    # of a long r, one share of A's panel should stay in the nearest large cache while the tiles pass over it
    if p.whole and p.R * lanes * _ITEM[s.acc] > 2**19 and p.r[0] > 1 and tiles > 8 and p.M * p.J <= 2**22:
        splits = max(splits, min(p.r[0], _ceil(p.R * lanes * _ITEM[s.acc], 2**18)))
    chunk = _ceil(p.r[0], splits) if p.r[0] else 1
    splits = max(1, _ceil(p.r[0], chunk))
    group = max(1, params["least_work"] // max(1, points * lanes * max(1, p.R // splits)))
    group = min(tiles, max(1, min(group, _ceil(p.groups * panels * splits * tiles, units))))
    count = p.groups * p.M * p.J
    target, out = ("C", s.ctype) if splits == 1 else (s.temporary(splits * count), s.acc)
    taps = p.r[3] if p.r[3] <= _UNROLLED and lanes >= 16 else 0
    s.add("tile", p.groups * splits * panels * _ceil(tiles, group), 1,
          [p.J, p.M, panels, group, splits, chunk, *p.j[1:], *p.r, *x.args, packed, target, p.out_shift, *p.out,
           _run(p), count],
          out=out, vectors=vectors, width=width, points=points, taps=taps)
    s.add_up(target, splits, count, 64 // _ITEM[s.acc])


def _run(p: Problem) -> int:
    """How many neighbouring points lie side by side in C; counted from a row's or an image's beginning."""
    run, step = 1, 1
    for n, stride in zip(p.j[:0:-1], p.out[:2:-1]):
        if n != 1 and stride != step:
            break
        run *= n
        step *= n
    return run


# Many-core ---------------------------------------------------------------------------------------------------------


def _many(s: _Steps, problems: Sequence[Problem], bias: int | None) -> None:
    for p in problems:
        _local_tiles(s, p, bias, _fitting(s.facts, s.acc, s.params()))
        s.flops += 2 * p.groups * p.M * p.J * p.R


def _fitting(facts: Facts, acc: str, params: dict[str, int]) -> dict[str, int]:
    """The parameters, with a smaller group until the device takes it."""
    module = kernels.template("conv").module
    while not module.valid(params, facts, _ITEM[acc]):
        key = "group_m" if params["group_m"] >= params["group_n"] else "group_n"
        if params[key] <= params["block_n"]:
            raise DeviceError(bad("conv", f"work-groups of at most {facts.max_work_group_size} and "
                                  f"{facts.local_mem_size} bytes of local memory", "16 work-items and 4 KiB",
                                  "Set CLGRAD_FORM=wide."))
        params[key] //= 2
    return params


def _local_tiles(s: _Steps, p: Problem, bias: int | None, params: dict[str, int]) -> None:
    items = params["group_m"] * params["group_n"]
    blocks = p.groups * _ceil(p.M, params["group_m"] * params["block_m"]) * _ceil(
        p.J, params["group_n"] * params["block_n"])
    splits = 1
    if p.whole:
        splits = max(1, min(_ceil(4 * s.device.facts.compute_units, blocks), p.R // 256))
    chunk = max(1, _ceil(p.R, splits))
    splits = max(1, _ceil(p.R, chunk))
    count = p.groups * p.M * p.J
    target, out = ("C", s.ctype) if splits == 1 else (s.temporary(splits * count), s.acc)
    s.add("tile", blocks * splits * items, items,
          [p.J, p.M, splits, chunk, p.R, *p.j[1:], *p.r[1:], "X", "x", *p.x, *p.space, *p.j_step, *p.r_step, *p.low,
           "A", "a", p.a_shift, *p.a, int(bias is not None), "B", "b", bias or 0, target, p.out_shift, *p.out, count],
          out=out, **params)
    s.add_up(target, splits, count, lsize=items)


# The three readings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Geometry:
    """A convolution's parameters over three axes of space: strides, margins before, dilations; and groups."""

    stride: Ints
    low: Ints
    dilation: Ints
    groups: int


def _strides(a: Array) -> Ints:
    """Strides; an axis of one element may claim any, and is read as if it were dense."""
    dense = shapes.contiguous_strides(a.shape)
    return tuple(d if n <= 1 else s for n, s, d in zip(a.shape, a.strides, dense))


@dataclass(frozen=True)
class Forward:
    """y = x * w: (N, C, D, H, W) with (O, C / groups, KD, KH, KW), to sizes ``size`` of space."""

    geometry: Geometry
    size: Ints

    def __call__(self, x: Array, w: Array) -> tuple[Problem, ...]:
        q, (xs, ws) = self.geometry, (_strides(x), _strides(w))
        outs, C = w.shape[0] // q.groups, w.shape[1]
        out = shapes.contiguous_strides((x.shape[0], w.shape[0], *self.size))
        return (Problem(q.groups, outs, (x.shape[0], *self.size), (C, *w.shape[2:]), x.shape[2:], q.stride, q.dilation,
                        tuple(-p for p in q.low), (C * xs[1], xs[0], xs[1], *xs[2:]), (outs * ws[0], *ws), 0,
                        (outs * out[1], out[1], out[0], *out[2:]), 0),)


@dataclass(frozen=True)
class InputGradient:
    """dx of ``size`` in space from dy, and w: what each point of the input gave to the results.

    A stride makes phases: inputs whose positions agree modulo the stride meet the same taps, every so many of them,
    and each phase by itself is a convolution of stride one.
    """

    geometry: Geometry
    size: Ints

    def __call__(self, dy: Array, w: Array) -> tuple[Problem, ...]:
        axes = [self._phases(d, w.shape[2 + d]) for d in range(3)]
        return tuple(self._problem(dy, w, phase) for phase in (
            (a, b, c) for a in axes[0] for b in axes[1] for c in axes[2]))

    def _phases(self, d: int, taps: int) -> list[tuple]:
        """(first input, number of inputs, first tap, its step, number of taps, offset) of each phase along an axis.

        Input i meets tap k at result (i + low - k * dilation) / stride. Taps run from the last back, so that results
        run forward.
        """
        stride, low, dilation = (q[d] for q in (self.geometry.stride, self.geometry.low, self.geometry.dilation))
        step = stride // gcd(stride, dilation)
        phases = []
        for first in range(min(stride, self.size[d])):
            met = [k for k in range(min(step, taps)) if (first + low - k * dilation) % stride == 0]
            count = _ceil(self.size[d] - first, stride)
            if not met:
                phases.append((first, count, 0, 0, 0, 0))
                continue
            last = met[0] + (taps - 1 - met[0]) // step * step
            phases.append((first, count, last, step, (last - met[0]) // step + 1,
                           (first + low - last * dilation) // stride))
        return phases

    def _problem(self, dy: Array, w: Array, phase: tuple) -> Problem:
        q, (gs, ws) = self.geometry, (_strides(dy), _strides(w))
        outs, C = w.shape[0] // q.groups, w.shape[1]
        out = shapes.contiguous_strides((dy.shape[0], C * q.groups, *self.size))
        firsts, counts, lasts, steps, taps, lows = zip(*phase)
        if 0 in taps:  # no tap reaches these inputs
            taps = (0, 1, 1)
        moves = tuple(q.dilation[d] * steps[d] // q.stride[d] for d in range(3))
        return Problem(
            q.groups, C, (dy.shape[0], *counts), (outs, *taps), dy.shape[2:], (1, 1, 1), moves, lows,
            (outs * gs[1], gs[0], gs[1], *gs[2:]),
            (outs * ws[0], ws[1], ws[0], *(-steps[d] * ws[2 + d] for d in range(3))),
            sum(lasts[d] * ws[2 + d] for d in range(3)),
            (C * out[1], out[1], out[0], *(out[2 + d] * q.stride[d] for d in range(3))),
            sum(firsts[d] * out[2 + d] for d in range(3)))


@dataclass(frozen=True)
class WeightGradient:
    """dw of taps ``size`` from x and dy: sums over the batch and over the results' positions."""

    geometry: Geometry
    size: Ints

    def __call__(self, x: Array, dy: Array) -> tuple[Problem, ...]:
        q, (xs, gs) = self.geometry, (_strides(x), _strides(dy))
        outs, C = dy.shape[1] // q.groups, x.shape[1] // q.groups
        out = shapes.contiguous_strides((dy.shape[1], C, *self.size))
        return (Problem(q.groups, outs, (C, *self.size), (x.shape[0], *dy.shape[2:]), x.shape[2:], q.dilation, q.stride,
                        tuple(-p for p in q.low), (C * xs[1], xs[1], xs[0], *xs[2:]),
                        (outs * gs[1], gs[1], gs[0], *gs[2:]), 0, (outs * out[0], *out), 0, False),)
