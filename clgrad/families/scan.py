"""Host side of scans along one axis: one launch, or two where lines are cut so that every core has work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from ..core import dtypes, shapes
from ..core.dtypes import DType
from ..ndarray import Array, empty
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import Kernel, fitted, kernel
from .plans import INT_BYTES, Plans, by_kind, check_device, form, index_type, letter, parameters, streamed
from .reduce import identity_of
from .subgroups import joining

_LEAST = 4096  # elements of a segment, at least
_STRIP = 8192  # bytes of neighbouring lines that a wide-core work-item walks together, at most: carries stay in L1
_SERIAL = 32  # lines up to this long are walked by one work-item on many-core devices


@dataclass(frozen=True, eq=False)
class Recurrence:
    """What a scanning record says to its kernel.

    ``combine`` is a C expression over a.v and b.v, b the later, one for all dtype kinds or by kinds; or ``better``
    compares, and the result is the position of the best so far, the last among equals. ``identity`` is C, or
    "lowest"/"highest" of the type. ``rule(dtype)`` gives the dtype accumulated in and stored.
    """

    name: str
    identity: str
    rule: Callable[[DType], DType]
    combine: str | dict[str, str] = ""
    better: str = ""
    exact: bool = False


@dataclass(frozen=True, eq=False)
class _Stage:
    kernel: Kernel
    gsize: tuple[int]
    lsize: tuple[int]
    tail: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Plan:
    stages: tuple[_Stage, ...]  # perhaps totals, and the scan
    totals: int
    accumulate: DType
    result: DType
    index: DType


class Scan:
    """Callable that scans an Array along ``dim``; a result of positions is int64."""

    def __init__(self, recurrence: Recurrence) -> None:
        self.recurrence = recurrence
        self._plans = Plans()

    def __call__(self, x: Array, dim: int, dtype: DType | None = None) -> Array:
        axis = shapes.axis_index(self.recurrence.name, dim, max(x.ndim, 1))
        x = x.contiguous()
        device = x.storage.device
        key = (x.shape, x.dtype, device, device.wide_core, x.storage.nbytes >= INT_BYTES, axis, dtype)
        plan = self._plans.get(key) or self._plans.put(key, self._plan(x, axis, dtype))
        out = empty(x.shape, plan.result, device)
        if out.size == 0:
            return out
        totals = places = None
        scan = plan.stages[-1]
        if plan.totals:
            totals = empty((plan.totals,), plan.accumulate, device).storage
            places = empty((plan.totals if self.recurrence.better else 1,), plan.index, device).storage
            totals, places = totals.buffer, places.buffer
            first = plan.stages[0]
            launch(first.kernel, first.gsize, first.lsize, totals, places, x.storage.buffer, x.offset, *first.tail,
                   nbytes=x.nbytes)
        launch(scan.kernel, scan.gsize, scan.lsize, out.storage.buffer, totals, places, x.storage.buffer, x.offset,
               *scan.tail, nbytes=x.nbytes + out.nbytes)
        return out

    def _plan(self, x: Array, axis: int, dtype: DType | None) -> _Plan:
        r, device, wide = self.recurrence, x.device, x.device.wide_core
        shape = x.shape or (1,)
        outer, K, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1:])
        accumulate = dtype or r.rule(x.dtype)
        result = dtypes.int64 if r.better else accumulate
        accumulate = accumulate.accumulator
        check_device(device, accumulate, result)
        if inner > 1 or (not wide and K <= _SERIAL):
            across = 16 if wide else 1
            if self._by_vectors(device, accumulate) and outer:  # long stretches of memory, as many for every core
                share = -(-inner * outer // device.facts.compute_units)
                across = -(-share // -(-share * accumulate.itemsize // _STRIP)) + 63 & -64
            layout, strips = "columns", -(-inner // across)
        else:
            layout, strips, across = ("rows" if wide else "group"), 1, 1
        # Few segments, on wide cores: what comes last needs no total. Their parts are what evens out its work.
        parts = 2 if wide else 1
        wanted = device.facts.compute_units * (1 if wide else 8 if layout == "group" else 512)
        segments = max(1, min(-(-wanted // max(1, outer * strips)), K // _LEAST))
        part = max(1, -(-K // (segments * parts)))
        if segments > 1:
            part = -(-part // 64) * 64  # so that vectors are aligned
        segment = part * parts
        segments = max(1, -(-K // segment))  # perhaps fewer
        index = index_type(x.storage.nbytes, x.size * result.itemsize, (x.size + segment) * 2)
        size = parameters(device, "scan", accumulate.name, "columns" if inner > 1 else "rows",
                          (outer * inner, K))["group"]
        width = 8 if accumulate.itemsize == 8 else 16
        stream = (self._by_vectors(device, accumulate) and result is accumulate and
                  (inner if inner > 1 else K) % width == 0 and
                  streamed(device, x.size * result.itemsize, result.itemsize))
        scan, size = fitted(lambda n: self._kernel(x, index, layout, accumulate, result, "scan", n, stream), size)
        asked = (segments - 1) * parts  # totals of a line
        stages = [self._stage(scan, layout, outer, (K, inner, segments, segment, parts, strips, across), wanted, size)]
        if segments > 1:
            totals = self._kernel(x, index, layout, accumulate, result, "totals", size, False)
            stages.insert(0, self._stage(totals, layout, outer, (K, inner, asked, part, 1, strips, across),
                                         wanted * parts, size))
        return _Plan(tuple(stages), outer * inner * asked, accumulate, result,
                     dtypes.int32 if index == "int" else dtypes.int64)

    def _stage(self, k: Kernel, layout: str, outer: int, tail: tuple[int, ...], wanted: int, size: int) -> _Stage:
        units = outer * tail[5] * tail[2]  # lines' strips, and segments
        groups = min(units, wanted * 2)
        if not k.device.wide_core and layout == "columns":
            groups = max(1, min(-(-units // size), wanted))
        return _Stage(k, (groups * size,), (size,), (*tail, units))

    def _by_vectors(self, device: Device, accumulate: DType) -> bool:
        """Whether the combination holds for vectors too, and the device likes them."""
        combine = by_kind(self.recurrence.combine, accumulate)
        return device.wide_core and accumulate.kind != "c" and combine in ("a.v + b.v", "a.v * b.v")

    def _kernel(self, x: Array, index: str, layout: str, accumulate: DType, result: DType, name: str, size: int,
                stream: bool) -> Kernel:
        r, T, i = self.recurrence, accumulate.c, letter(index)
        return kernel(x.device, "scan", name, ("PPPP" if name == "scan" else "PPP") + i * 9, r.name,
                      form=form(x.device), layout=layout, stream=stream, ctype=x.dtype.c, T=T, out=result.c,
                      index=index, group=size, better=r.better, combine=by_kind(r.combine, accumulate),
                      positions=bool(r.better),
                      vector=self._by_vectors(x.device, accumulate), exact=r.exact and accumulate.kind == "f",
                      identity=identity_of(r.identity, accumulate),
                      **joining(x.device, layout if accumulate.kind != "c" else "tree"))
