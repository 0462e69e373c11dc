"""Host side of the softmax family: rows normalised by their exponentials, and the backward passes: one launch each, or
two, where a few long rows are cut into pieces for a many-core device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

from ..core import dtypes, shapes
from ..core.dtypes import check_kind
from ..core.errors import ShapeError, bad
from ..kernels import template
from ..ndarray import Array, Layout, Storage, dense, fresh, layout_of, same_device
from ..runtime.device import Device
from ..runtime.launch import Launch, watch
from ..runtime.program import Kernel, fitted, kernel
from .plans import (
    Plans,
    blocks,
    form,
    group_size,
    index_type,
    letter,
    parameters,
    row_pieces,
    streamed_rows,
    strip_span,
    team_size,
    workers,
)
from .subgroups import joining

_ONE_A_ROW = ("logsumexp", "cross_entropy")  # kinds whose result is a number a row


@dataclass(frozen=True, eq=False)
class _Plan:
    launches: tuple[Launch, ...]  # none where there is nothing to compute, two where rows are cut into pieces
    result: Layout
    parts: int = 0  # bytes of what the first of two keeps for the second

    def run(self, device: Device, *values: Any) -> None:
        if len(self.launches) == 1:
            self.launches[0](*values)
            return
        parts = Storage(device, self.parts)
        for step in self.launches:
            step(*values, parts.buffer)


class Softmax:
    """Callable for one kind of the kernel: ``kind(x, dim)``, or for a backward ``kind(dy, y, dim)``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._plans = Plans()

    def __call__(self, x: Array, *rest: Any) -> Array:
        x, key = dense(x)
        y, other = dense(rest[0]) if len(rest) > 1 else (x, None)
        key = key, other, rest[-1]
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans.put(key, self._paired(x, y, rest[-1]))
        out = fresh(plan.result)
        if plan.launches:
            plan.run(x.storage.device, out.storage.buffer, x.storage.buffer, x.offset, y.storage.buffer, y.offset)
        return out

    def classes(self, x: Array, target: Array, ignored: int, g: Array | None = None) -> Array:
        """The cross-entropy kinds: rows (N, K), their classes (N,), and for the backward the rows' gradients (N,)."""
        x, key = dense(x)
        same = target if target.dtype is dtypes.int64 else target.astype(dtypes.int64)
        same, labels = dense(same)
        key = key, labels, None if g is None else g._layout or layout_of(g), target.dtype
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans.put(key, self._classed(x, target, same, g))
        out = fresh(plan.result)
        if plan.launches:
            more = () if g is None else (g.storage.buffer, g.offset)
            plan.run(x.storage.device, out.storage.buffer, x.storage.buffer, x.offset, same.storage.buffer, same.offset,
                     ignored, watch(x.storage.device, self.kind), *more)
        return out

    def _paired(self, x: Array, y: Array, dim: Any) -> _Plan:
        check_kind(self.kind, "f", x.dtype)
        same_device(self.kind, (x, y))
        if y.shape != x.shape or y.dtype is not x.dtype:
            raise ShapeError(bad(self.kind, f"{x.shape} {x.dtype} and {y.shape} {y.dtype}",
                                 "arrays of one shape and dtype", "Broadcast and convert them first."))
        return self._plan(x, y, dim, ())

    def _classed(self, x: Array, target: Array, same: Array, g: Array | None) -> _Plan:
        """``same`` are the classes ``target`` as int64."""
        check_kind(self.kind, "f", x.dtype)
        same_device(self.kind, (x, target) if g is None else (x, target, g))
        if x.ndim != 2 or target.shape != x.shape[:1] or target.dtype.kind not in "iu":
            raise ShapeError(bad(self.kind, f"scores {x.shape} and classes {target.shape} of {target.dtype}",
                                 "(N, K) and (N,) of an integer dtype", "Reshape them."))
        more = () if g is None else ("g", "g_offset", g.strides[0])
        return self._plan(x, same, 1, ("ignored", "fault", *more))

    def _plan(self, x: Array, y: Array, dim: Any, more: tuple) -> _Plan:
        axis = shapes.axis_index(self.kind, dim, x.ndim)
        shape = x.shape or (1,)
        K, inner = shape[axis], prod(shape[axis + 1:])
        rows = prod(shape[:axis]) * inner
        device, wide = x.device, x.device.wide_core
        result = tuple(n for a, n in enumerate(shape) if a != axis) if self.kind in _ONE_A_ROW else x.shape
        result = Layout.dense(result, x.dtype, device)
        if x.size == 0:
            return _Plan((), result)
        params = parameters(device, "softmax", x.dtype.name, f"{self.kind}/{'rows' if inner == 1 else 'columns'}",
                            (rows, K))
        span = strip_span(device, prod(shape[:axis]), inner, 8 if x.dtype.itemsize == 8 else 16, params["strip"])
        units = rows if inner == 1 or not wide else prod(shape[:axis]) * -(-inner // span)
        layout = ("rows" if inner == 1 else "columns") if wide else "serial" if inner > 1 else "group"
        args = ("out", "x", "x_offset", "y", "y_offset", K, inner)
        pieces = row_pieces(device, rows, K, template("softmax").module.PIECE) if layout == "group" else 1
        if pieces > 1:
            piece = -(-K // pieces // 4) * 4  # vectors, if rows are of such
            pieces = -(-K // piece)
            launches = tuple(self._piecewise(x, y, stage, params, (args, more), rows, pieces, piece)
                             for stage in ("part", "last"))
            return _Plan(launches, result, 2 * rows * pieces * x.dtype.accumulator.itemsize)
        local = group_size(device, rows, K, params["local"]) if layout == "group" else params["local"]
        k, local = fitted(partial(self._build, x, y, layout, K, inner, params), local)
        if wide:
            gsize, lsize = (min(units, workers(device, x.size, 4, 1024)),), (1,)
        elif layout == "group":
            span = team_size(K, local)
            gsize, lsize = (min(-(-units * span // local), device.facts.compute_units * 32) * local,), (local,)
        else:
            gsize, lsize = blocks(device, units, local, 16)
        return _Plan((Launch(k, gsize, lsize, (*args, span, units, *more), 3 * x.nbytes),), result)

    def _piecewise(self, x: Array, y: Array, stage: str, params: dict[str, int], args: tuple[tuple, tuple], rows: int,
                   pieces: int, piece: int) -> Launch:
        """One of the two launches for a few long rows."""
        K = args[0][5]
        k, local = fitted(partial(self._build, x, y, "group", K, 1, params, stage=stage), params["local"])
        units, span = (rows, team_size(pieces, local)) if stage == "last" and self.kind in _ONE_A_ROW else \
            (rows * pieces, local)
        groups = min(-(-units * span // local), x.device.facts.compute_units * 32)
        return Launch(k, (groups * local,), (local,), (*args[0], span, units, *args[1], "parts", piece, pieces),
                      x.nbytes if stage == "part" else 2 * x.nbytes)

    def _build(self, x: Array, y: Array, layout: str, K: int, inner: int, params: dict[str, int],
               local: int, stage: str = "") -> Kernel:
        index = index_type(x.storage.nbytes, y.storage.nbytes)
        i = letter(index)
        more = {"cross_entropy": "lP", "cross_entropy_backward": f"lPP{i}{i}"}.get(self.kind, "")
        more += f"P{i}{i}" if stage else ""
        rows = layout == "rows"
        stream = layout in ("rows", "columns") and self.kind not in _ONE_A_ROW and streamed_rows(
            x.nbytes, K if rows else inner, x.dtype, params["stream"])
        return kernel(x.device, "softmax", "softmax", f"PP{i}P{i}{i}{i}{i}{i}{more}", self.kind, kind=self.kind,
                      layout=layout, form=form(x.device), ctype=x.dtype.c, T=x.dtype.compute, index=index, group=local,
                      strip=params["strip"], kept=params["kept"], short=rows and params["kept"] >= K, stream=stream,
                      stage=stage, quads=layout == "group" and K % 4 == 0, **joining(x.device, layout))
