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
from ..runtime.program import Kernel, kernel
from .plans import INT_BYTES, Plans, by_kind, check_device, form, index_type, letter, parameters
from .reduce import identity_of

_LEAST = 4096  # elements of a segment, at least
_STRIP = 1024  # neighbouring lines that a wide-core work-item walks together, at most
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
class _Plan:
    totals: Kernel | None
    scan: Kernel
    gsize: tuple[int]
    lsize: tuple[int]
    tail: tuple[int, ...]
    lines: int
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
        if plan.totals is not None:
            totals = empty((plan.lines,), plan.accumulate, device).storage
            places = empty((plan.lines if self.recurrence.better else 1,), plan.index, device).storage
            totals, places = totals.buffer, places.buffer
            launch(plan.totals, plan.gsize, plan.lsize, totals, places, x.storage.buffer, x.offset, *plan.tail,
                   nbytes=x.nbytes)
        launch(plan.scan, plan.gsize, plan.lsize, out.storage.buffer, totals, places, x.storage.buffer, x.offset,
               *plan.tail, nbytes=x.nbytes + out.nbytes)
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
            if self._by_vectors(device, accumulate):  # long stretches of memory, if every core still has some
                across = max(64, min(inner * outer // (2 * device.facts.compute_units) // 64 * 64, _STRIP))
            layout, strips = "columns", -(-inner // across)
        else:
            layout, strips, across = ("rows" if wide else "group"), 1, 1
        wanted = device.facts.compute_units * (4 if wide else 8 if layout == "group" else 512)
        segments = max(1, min(-(-wanted // max(1, outer * strips)), K // _LEAST))
        segment = max(1, -(-K // segments))
        segments = max(1, -(-K // segment))
        units = outer * strips * segments
        index = index_type(x.storage.nbytes, x.size * result.itemsize, (x.size + segment) * 2)
        size = parameters(device, "scan", accumulate.name, "columns" if inner > 1 else "rows",
                          (outer * inner, K))["group"]
        scan = self._kernel(x, index, layout, accumulate, result, "scan", size)
        while scan.max_local < size:  # the kernel's own limit may be below the device's
            size //= 2
            scan = self._kernel(x, index, layout, accumulate, result, "scan", size)
        totals = self._kernel(x, index, layout, accumulate, result, "totals", size) if segments > 1 else None
        groups = min(units, wanted * 2)
        if not wide and layout == "columns":
            groups = max(1, min(-(-units // size), wanted))
        return _Plan(totals, scan, (groups * size,), (size,), (K, inner, segments, segment, strips, across, units),
                     outer * inner * segments, accumulate, result, dtypes.int32 if index == "int" else dtypes.int64)

    def _by_vectors(self, device: Device, accumulate: DType) -> bool:
        """Whether the combination holds for vectors too, and the device likes them."""
        combine = by_kind(self.recurrence.combine, accumulate)
        return device.wide_core and accumulate.kind != "c" and combine in ("a.v + b.v", "a.v * b.v")

    def _kernel(self, x: Array, index: str, layout: str, accumulate: DType, result: DType, name: str,
                size: int) -> Kernel:
        r, T, i = self.recurrence, accumulate.c, letter(index)
        return kernel(x.device, "scan", name, ("PPPP" if name == "scan" else "PPP") + i * 8, r.name,
                      form=form(x.device), layout=layout, ctype=x.dtype.c, T=T, out=result.c, index=index, group=size,
                      better=r.better, combine=by_kind(r.combine, accumulate), positions=bool(r.better),
                      vector=self._by_vectors(x.device, accumulate), exact=r.exact and accumulate.kind == "f",
                      identity=identity_of(r.identity, accumulate))
