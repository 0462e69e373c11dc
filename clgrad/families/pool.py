"""Host side of pooling and folding: windows over the last axes of contiguous arrays, one launch each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .. import kernels
from ..core import dtypes
from ..core.dtypes import check_kind
from ..ndarray import Array, empty, full, same_device
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel
from .plans import Plans, blocks, check_device, form, index_type, letter, workers

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Windows over space: sizes of the input and of the result, taps, strides, margins before, dilations.

    Without taps they are adaptive: as many windows as the result has elements, which cover the input evenly.
    """

    space: Ints
    size: Ints
    taps: Ints | None = None
    stride: Ints | None = None
    low: Ints | None = None
    dilation: Ints | None = None

    def sizes(self) -> list[int]:
        """The kernel's arguments: six numbers for each of three axes, absent ones first."""
        ones = (1,) * len(self.space)
        columns = (self.space, self.size, self.taps or ones, self.stride or ones, self.low or (0,) * len(ones),
                   self.dilation or ones)
        lead = [1, 1, 1, 1, 0, 1] * (3 - len(ones))
        return lead + [n for axis in zip(*columns) for n in axis]


@dataclass(frozen=True, eq=False)
class _Plan:
    kernel: Kernel
    gsize: Ints
    lsize: Ints
    tail: Ints
    shape: Ints


class Pool:
    """Callable for one kind of the kernel."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._plans = Plans()

    def __call__(self, x: Array, windows: Windows, index: Array | None = None, include_pad: bool = True,
                 divisor: int = 0) -> Array:
        check_kind(self.kind, "f", x.dtype)
        device = same_device(self.kind, (x,) if index is None else (x, index))
        x = x.contiguous()
        at = x if index is None else index.contiguous()
        key = (x.shape, x.dtype, device, windows, at.dtype, include_pad, divisor, x.storage.nbytes, at.storage.nbytes)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans.put(key, self._plan(x, at, windows, int(include_pad), divisor))
        dtype = positions(windows) if self.kind == "argmax" else x.dtype
        out = empty(plan.shape, dtype, device)
        if out.size == 0:
            return out
        if x.size == 0:
            return full(plan.shape, 0, dtype, device)
        launch(plan.kernel, plan.gsize, plan.lsize, out.storage.buffer, x.storage.buffer, x.offset, at.storage.buffer,
               at.offset, *plan.tail, nbytes=x.nbytes + out.nbytes)
        return out

    def both(self, x: Array, windows: Windows) -> tuple[Array, Array]:
        """Values and positions of the kind that has both."""
        rank = len(windows.space)
        index = empty((*x.shape[:x.ndim - rank], *windows.size), positions(windows), x.device)
        return self(x, windows, index), index

    def _plan(self, x: Array, at: Array, w: Windows, include_pad: int, divisor: int) -> _Plan:
        device, rank = x.device, len(w.space)
        check_device(device, x.dtype)
        module = kernels.template("pool").module
        back = self.kind in module.GATHERED
        space = w.space if back else w.size
        by_planes = (self.kind == "spread" and device.wide_core and x.dtype.c == x.dtype.compute
                     and prod(x.shape[:x.ndim - rank]) >= 4 * device.facts.compute_units)
        kind = "place" if by_planes else self.kind
        lead = x.shape[:x.ndim - rank]
        if self.kind == "columns":
            lead = (*lead, *w.taps)
        elif self.kind == "fold":
            lead = lead[:-rank]
        shape = (*lead, *space)
        index = index_type(max(x.storage.nbytes, prod(shape) * x.itemsize, at.storage.nbytes),
                           4 * (max(w.space) + 1) * (max(w.size) + 1))
        i = letter(index)
        itype = at.dtype.c if at is not x else positions(w).c
        k = kernel(device, "pool", "pool", f"PP{i}P{i}" + i * 22, kind, kind=kind, form=form(device),
                   ctype=x.dtype.c, T=x.dtype.compute, itype=itype, index=index, adaptive=w.taps is None)
        units, taps = prod(shape), prod(w.taps or (4,))
        if device.wide_core:
            units //= max(1, prod(space) if by_planes else space[-1])
            count = workers(device, prod(shape) * taps, 4, 8192)
            each = -(-units // max(1, min(units, count)))
            gsize, lsize = (-(-units // max(1, each)),), (1,)
        else:
            each = 1
            gsize, lsize = blocks(device, units, min(module.DEFAULT["many"]["local"], k.max_local), 32)
        return _Plan(k, gsize, lsize, (*w.sizes(), include_pad, divisor, units, each), shape)


def positions(windows: Windows) -> dtypes.DType:
    """The dtype that counts elements of a plane."""
    return dtypes.int32 if prod(windows.space) < 2**31 else dtypes.int64
