"""Host side of pooling and folding: windows over the last axes of contiguous arrays, one launch each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .. import kernels
from ..core import dtypes
from ..core.dtypes import check_kind
from ..ndarray import Array, Layout, dense, fresh, full, same_device
from ..runtime.launch import Launch
from ..runtime.program import kernel
from .plans import Plans, blocks, check_device, form, index_type, letter, parameters, streamed_rows, workers

Ints = tuple[int, ...]
_LEAST_ITEMS = 8192  # elements, times taps, that a wide-core work-item should have at least
# Kinds that can be tuned (of windows that are not adaptive), and as what.
_ASKED = {"max": "max", "both": "max", "argmax": "max", "mean": "mean", "spread": "spread", "unmean": "unmean"}


@dataclass(frozen=True, eq=False)
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

    def geometry(self) -> str:
        """Taps, strides, margins and dilations of three axes, for the look-up of tuned parameters."""
        sizes = self.sizes()
        return "/".join(c + "x".join(map(str, sizes[i::6])) for c, i in zip("kspd", range(2, 6)))


@dataclass(frozen=True, eq=False)
class _Plan:
    launch: Launch | None  # None: there is nothing to read, or nothing to write
    result: Layout
    index: Layout  # of the positions, where they are a result, too


class Pool:
    """Callable for one kind of the kernel."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._plans = Plans()

    def __call__(self, x: Array, windows: Windows, index: Array | None = None, include_pad: bool = True,
                 divisor: int = 0) -> Array:
        x, key = dense(x)
        at, other = (x, None) if index is None else dense(index)
        plan = self._planned((key, windows, other, include_pad, divisor), x, index)
        if plan.launch is None:
            return full(plan.result.shape, 0, plan.result.dtype, x.device)
        out = fresh(plan.result)
        plan.launch(out.storage.buffer, x.storage.buffer, x.offset, at.storage.buffer, at.offset)
        return out

    def both(self, x: Array, windows: Windows) -> tuple[Array, Array]:
        """Values and positions of the kind that has both."""
        x, key = dense(x)
        plan = self._planned((key, windows, None, True, 0), x, None)
        out, index = fresh(plan.result), fresh(plan.index)
        if plan.launch is not None:
            plan.launch(out.storage.buffer, x.storage.buffer, x.offset, index.storage.buffer, 0)
        return out, index

    def _planned(self, key: tuple, x: Array, index: Array | None) -> _Plan:
        plan = self._plans.get(key)
        if plan is None:
            _, windows, _, include_pad, divisor = key
            plan = self._plans.put(key, self._plan(x, index, windows, int(include_pad), divisor))
        return plan

    def _plan(self, x: Array, at: Array | None, w: Windows, include_pad: int, divisor: int) -> _Plan:
        check_kind(self.kind, "f", x.dtype)
        device, rank = same_device(self.kind, (x,) if at is None else (x, at)), len(w.space)
        check_device(device, x.dtype)
        module = kernels.template("pool").module
        params = module.DEFAULT[form(device)]
        if w.taps is not None and self.kind in _ASKED:
            params = parameters(device, "pool", x.dtype.name, f"{_ASKED[self.kind]}/{w.geometry()}",
                                (prod(x.shape[:x.ndim - rank]), *w.sizes()[::6]))
        back = self.kind in module.GATHERED
        space = w.space if back else w.size
        itype = positions(w).c if at is None else at.dtype.c
        vector, low, high = self._vectors(w, itype) if device.wide_core and x.dtype.compute == "float" else (0, 0, 0)
        kind, tile = self.kind, 0
        if device.wide_core and not vector and kind in module.TILED:
            kind, tile = module.TILED[kind], params["tile"]
            low, high = max(1, tile // space[-1]), min(tile, space[-1])
        lead = x.shape[:x.ndim - rank]
        if self.kind == "columns":
            lead = (*lead, *w.taps)
        elif self.kind == "fold":
            lead = lead[:-rank]
        shape = (*lead, *space)
        where = Layout.dense(shape, positions(w), device)
        result = where if self.kind == "argmax" else Layout.dense(shape, x.dtype, device)
        if not x.size or not prod(shape):
            return _Plan(None, result, where)
        index = index_type(x.storage.nbytes, result.nbytes, where.nbytes if at is None else at.storage.nbytes,
                           4 * (max(w.space) + 1) * (max(w.size) + 1))
        i = letter(index)
        whole = tile or (vector == 16 and high == space[-1])
        stream = bool(device.wide_core and back and whole and streamed_rows(
            result.nbytes, space[-1], x.dtype, params["stream"]))
        k = kernel(device, "pool", "pool", f"PP{i}P{i}" + i * 24, kind, kind=kind, form=form(device),
                   ctype=x.dtype.c, T=x.dtype.compute, itype=itype, index=index, adaptive=w.taps is None, vector=vector,
                   taps=w.taps[-1] if vector else 0, stride=w.stride[-1] if vector else 0, stream=stream, tile=tile)
        units, taps = prod(shape), prod(w.taps or (4,))
        if device.wide_core:
            units //= space[-1]
            rows = space[-2] if rank > 1 else 1
            if tile:
                units = units // rows * -(-rows // low) * -(-space[-1] // high)
            elif vector and back:
                units = units // rows * -(-rows // (w.taps[-2] if rank > 1 else 1))
            count = workers(device, prod(shape) * taps, params["groups_per_unit"], _LEAST_ITEMS)
            each = -(-units // max(1, min(units, count)))
            gsize, lsize = (-(-units // max(1, each)),), (1,)
        else:
            each = 1
            gsize, lsize = blocks(device, units, min(params["local"], k.max_local), params["groups_per_unit"])
        args = ("out", "x", "x_offset", "at", "at_offset", *w.sizes(), include_pad, divisor, units, each, low, high)
        return _Plan(Launch(k, gsize, lsize, args, x.nbytes + result.nbytes), result, where)

    def _vectors(self, w: Windows, itype: str) -> tuple[int, int, int]:
        """The width of vectors along the last axis, and the places from and up to which the result has them; a width of
        zero where there are none."""
        if w.taps is None or itype != "int":
            return 0, 0, 0
        taps, stride, margin, dilation, n = (a[-1] for a in (w.taps, w.stride, w.low, w.dilation, w.space))
        if self.kind in ("spread", "unmean"):
            side_by_side = w.taps == w.stride and not any(w.low) and set(w.dilation) == {1}
            low, high = 0, min(w.size[-1], n // 2) * 2 if side_by_side and taps == 2 else 0
        elif self.kind in ("max", "argmax", "both", "mean") and dilation == 1 and (
                stride == 1 or (stride == 2 and taps > 1)) and taps <= kernels.template("pool").module.MOST_TAPS:
            low, high = -(-margin // stride), min(w.size[-1], (n + margin - taps) // stride + 1)
        else:
            return 0, 0, 0
        widths = (16,) if self.kind == "spread" else (16, 8, 4)  # for shorter rows, tiles are quicker than comparisons
        return next((v for v in widths if v <= high - low), 0), low, high


def positions(windows: Windows) -> dtypes.DType:
    """The dtype that counts elements of a plane."""
    return dtypes.int32 if prod(windows.space) < 2**31 else dtypes.int64
