"""Host side of the normalisations: rows brought to mean 0 and variance 1, and the gradients: one launch each, or
two where a few long rows are cut into pieces for a many-core device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

from .. import kernels
from ..core.dtypes import DType, check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array, Layout, Storage, dense, fresh, full, layout_of, same_device
from ..runtime.device import Device
from ..runtime.launch import Launch
from ..runtime.program import Kernel, fitted, kernel
from .plans import (
    Plans,
    check_device,
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
from .reduce import added_up
from .subgroups import joining

_SHORT = 32  # segments up to this length are walked by one lane each


@dataclass(frozen=True)
class Rows:
    """What is normalised together, and what shares a weight: see kernels/norm.mako.

    ``view`` is the array's shape with the row's axes ``axes`` apart, ``weight`` the weights' shape to broadcast
    against it, ``statistic`` that of one number a row.
    """

    scheme: str
    P: int
    Q: int
    step: int
    row_step: int
    groups: int
    rows: int
    view: tuple[int, ...]
    axes: tuple[int, ...]
    weight: tuple[int, ...]
    statistic: tuple[int, ...]

    @property
    def across(self) -> bool:
        """Whether rows lie side by side, an element of each after the other."""
        return self.scheme == "batch" and self.Q == 1

    @property
    def affine(self) -> str:
        """What of a row has a weight of its own: an element, a segment or the row."""
        if self.scheme == "group":
            return "element" if self.view[-1] == 1 else "segment"
        return "element" if self.scheme == "layer" else "row"


@lru_cache(4096)
def rows_of(shape: tuple[int, ...], scheme: str, size: int) -> Rows:
    """``layer`` normalises over the last ``size`` axes, ``group`` over ``size`` groups of channels (axis 1), ``batch``
    over all but the channels."""
    if scheme == "layer":
        K = prod(shape[len(shape) - size:])
        n = prod(shape[:len(shape) - size])
        return Rows(scheme, 1, K, K, K, 1, n, (n, K), (1,), (1, K), (n, 1))
    N, C, S = shape[0], shape[1], prod(shape[2:])
    if scheme == "group":
        P = C // size if size else 0
        view = (N, size, P, S), (2, 3), (1, size, P, 1), (N, size, 1, 1)
        if S == 1:
            return Rows(scheme, 1, P, P, P, size, N * size, *view)
        return Rows(scheme, P, S, S, P * S, size, N * size, *view)
    return Rows(scheme, N, S, C * S, S, C, C, (N, C, S), (0, 2), (1, C, 1), (1, C, 1))


@dataclass(frozen=True, eq=False)
class _Plan:
    launches: tuple[Launch, ...]  # none where there are no elements, two where rows are cut into pieces
    result: Layout
    statistic: Layout  # of the rows' means and reciprocal deviations
    weights: int  # how many share the sums of the backward
    sums: Layout | None = None  # of these, before the last addition
    parts: int = 0  # bytes of what the first of two launches keeps for the second

    def run(self, device: Device, *values: Any) -> None:
        more = (Storage(device, self.parts).buffer,) if self.parts else ()
        for step in self.launches:
            step(*values, *more)


_plans = Plans()


def _plan(kind: str, x: Array, weight: Array | None, bias: Array | None, rows: Rows, rms: bool,
          running: tuple[str, str], wanted: bool, index: str, more: tuple) -> _Plan:
    """``running`` is how running statistics are mixed, and their type; ``more`` the kernel's arguments between bias (or
    weight) and mean."""
    device, wide, count = x.device, x.device.wide_core, prod(rows.weight)
    result = Layout.dense(x.shape, x.dtype, device)
    statistic = Layout.dense((rows.rows,), statistics_dtype(x), device)
    if not x.size:
        return _Plan((), result, statistic, count)
    layout = ("columns" if wide else "serial") if rows.across else "rows" if wide else "group"
    some = next((a for a in (weight, bias) if a is not None), x)
    how, rtype = running
    i = letter(index)
    t = "d" if x.dtype.compute == "double" else "f"
    signature = f"PP{i}" + ("" if kind == "forward" else f"P{i}P") + f"P{i}" + (
        f"P{i}{t}" if kind == "forward" else "") + (f"P{i}P{i}{t}P{i}" if how else "") + "PP" + i * 8

    name = f"{rows.scheme}{'/columns' * rows.across}/{kind}"
    params = parameters(device, "norm", x.dtype.name, name, (rows.rows, x.size // rows.rows))

    module = kernels.template("norm").module
    stream = wide and streamed_rows(x.nbytes, rows.rows if rows.across else rows.Q, x.dtype, params["stream"])

    lanes, several = 0, params.get("several", 0) // (1 if kind == "forward" else 4)
    own = rows.affine == "element" or (weight is None and bias is None)  # no row has a scale and a shift of its own
    if layout == "rows" and own and rows.P == 1 and several >= rows.Q and not how:
        lanes = next((w for w in (16, 8, 4) if w <= rows.Q and w * x.dtype.accumulator.itemsize <= 64), 0)

    quads = layout == "group" and rows.affine != "row" and rows.Q % 4 == 0  # a row is one stretch, of whole vectors

    def build(local: int, stage: str = "") -> Kernel:
        return kernel(device, "norm", "norm", signature + (f"P{i}{i}" if stage else ""), f"{rows.scheme}_norm_{kind}",
                      kind=kind, layout=layout, form=form(device), ctype=x.dtype.c, wtype=some.dtype.c, rtype=rtype,
                      T=x.dtype.compute, index=index, group=local, affine=rows.affine,
                      grouped=rows.affine == "element" and rows.groups > 1, short=rows.P * rows.Q <= module.SHORT,
                      rms=rms, has_weight=weight is not None, has_bias=bias is not None, running=how,
                      wanted=wanted, stream=stream, segments="lanes" if rows.Q <= _SHORT else "tree",
                      strip=params["strip"], lanes=lanes, stage=stage, quads=quads, **joining(device, layout))

    check_device(device, x.dtype, some.dtype)
    length = rows.P * rows.Q
    read = ("x", "x_offset") if kind == "forward" else ("x", "x_offset", "dy", "dy_offset", "sums")
    args = ("out", *read, "weight", "weight_offset", *more, "mean", "rstd", rows.P, rows.Q, rows.step, rows.row_step,
            rows.groups, rows.rows)
    partials = {"element": 1, "segment": rows.rows // max(rows.groups, 1), "row": 1}[rows.affine]
    whole = rows.Q if kind == "backward" and rows.affine == "segment" else 4 if quads else 1  # what has sums of its own
    pieces = row_pieces(device, rows.rows, length, max(module.PIECE, whole)) if layout == "group" else 1
    if pieces > 1:
        piece = -(-length // pieces // whole) * whole
        launches = tuple(_piecewise(partial(build, stage=stage), params["local"], args, rows.rows, length, piece,
                                    x.nbytes) for stage in ("part", "last"))
        if rows.affine == "element":  # each row writes sums for its weights
            partials = rows.rows // rows.groups
        sums = Layout.dense((2, partials, count), statistic.dtype, device) if wanted else None
        kept = 3 * rows.rows * -(-length // piece) * statistic.dtype.itemsize
        return _Plan(launches, result, statistic, count, sums, kept)
    local = group_size(device, rows.rows, length, params["local"]) if layout == "group" else params["local"]
    k, local = fitted(build, local)
    span = strip_span(device, 1, rows.rows, 8 if x.dtype.itemsize == 8 else 16, params["strip"])
    units = -(-rows.rows // span) if layout == "columns" else rows.rows
    if wide:
        teams = min(units, workers(device, x.size, 4, 1024))
        gsize, lsize = (teams,), (1,)
    elif layout == "group":
        span = team_size(length, local)
        most = device.facts.compute_units * 16
        if wanted and rows.affine == "element":  # each team writes sums for all weights
            most = max(1, most * span // local)
        groups = min(-(-units * span // local), most)
        gsize, lsize, teams = (groups * local,), (local,), groups * (local // span)
    else:
        groups = max(1, min(-(-units // local), device.facts.compute_units * 16))
        gsize, lsize, teams = (groups * local,), (local,), 1
    if rows.affine == "element":
        partials = teams
    sums = Layout.dense((2, partials, count), statistic.dtype, device) if wanted else None
    step = Launch(k, gsize, lsize, (*args, span, rows.rows), (2 if kind == "forward" else 3) * x.nbytes)
    return _Plan((step,), result, statistic, count, sums)


def _piecewise(build: Callable[[int], Kernel], local: int, args: tuple, rows: int, length: int, piece: int,
               nbytes: int) -> Launch:
    """One of the two launches for a few long rows: a work-group a piece."""
    k, local = fitted(build, local)
    pieces = -(-length // piece)
    groups = min(rows * pieces, k.device.facts.compute_units * 32)
    return Launch(k, (groups * local,), (local,), (*args, local, rows * pieces, "parts", piece, pieces), 2 * nbytes)


def _checked(op: str, x: Array, others: tuple, rows: Rows) -> None:
    check_kind(op, "f", x.dtype)
    given = [a for a in others if a is not None]
    for a in given:
        check_kind(op, "f", a.dtype)
    size = prod(rows.weight)
    if any(a.size != size for a in given):
        raise ShapeError(bad(op, f"weight or bias of {[a.shape for a in given]}", f"{size} elements",
                             "Give one for each that is scaled by itself."))
    same_device(op, (x, *given))


def statistics_dtype(x: Array) -> DType:
    """What means and reciprocal deviations are kept in: float32 for 16-bit floats."""
    return x.dtype.accumulator


def _given(a: Array | None) -> tuple[Array | None, Layout | None]:
    """``dense``, or nothing of nothing."""
    return (None, None) if a is None else dense(a)


def norm(x: Array, weight: Array | None, bias: Array | None, scheme: str, size: int, eps: float, rms: bool,
         running: tuple | None) -> tuple[Array, Array, Array]:
    """Normalised x, and of every row its mean (zero for rms) and reciprocal deviation.

    ``running`` is (mean, var, momentum, count): updated in place by the kernel, by 1 / count where momentum is None.
    """
    if weight is not None and bias is not None and bias.dtype is not weight.dtype:
        check_kind(f"{scheme}_norm", "f", bias.dtype)
        bias = bias.astype(weight.dtype)
    (x, key), (weight, w_key), (bias, b_key) = dense(x), _given(weight), _given(bias)
    mixed = None if running is None else (running[0]._layout or layout_of(running[0]), running[2])
    key = "forward", key, w_key, b_key, scheme, size, eps, rms, mixed
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _forward_plan(x, weight, bias, scheme, size, eps, rms, running))
    if not plan.launches:
        d, device = plan.statistic.dtype, x.device
        return fresh(plan.result), full(plan.statistic.shape, 0, d, device), full(plan.statistic.shape, 0, d, device)
    out, mean, rstd = fresh(plan.result), fresh(plan.statistic), fresh(plan.statistic)
    scale, shift = x if weight is None else weight, x if bias is None else bias
    more: tuple[Any, ...] = ()
    if running is not None:
        running_mean, running_var, _, count = running
        counter = running_mean if count is None else count
        more = (running_mean.storage.buffer, running_mean.offset, running_var.storage.buffer, running_var.offset,
                counter.storage.buffer, counter.offset)
        running_mean.storage.version += 1
        running_var.storage.version += 1
    plan.run(x.storage.device, out.storage.buffer, x.storage.buffer, x.offset, scale.storage.buffer, scale.offset,
             shift.storage.buffer, shift.offset, *more, mean.storage.buffer, rstd.storage.buffer)
    return out, mean, rstd


def _forward_plan(x: Array, weight: Array | None, bias: Array | None, scheme: str, size: int, eps: float, rms: bool,
                  running: tuple | None) -> _Plan:
    rows = rows_of(x.shape, scheme, size)
    _checked(f"{scheme}_norm", x, (weight, bias), rows)
    index = index_type(x.storage.nbytes, *(a.storage.nbytes for a in (weight, bias) if a is not None))
    how, rtype, mixing = "", x.dtype.compute, ()
    if running is not None:
        momentum = running[2]
        how, rtype = "cumulative" if momentum is None else "fixed", running[0].dtype.c
        mixing = ("running_mean", "running_mean_offset", "running_var", "running_var_offset",
                  0.0 if momentum is None else float(momentum), "count", "count_offset")
    more = ("bias", "bias_offset", float(eps), *mixing)
    return _plan("forward", x, weight, bias, rows, rms, (how, rtype), False, index, more)


def norm_backward(dy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, scheme: str, size: int,
                  rms: bool, wanted: bool) -> tuple[Array, ...]:
    """Gradients of x and, if ``wanted``, of weight and bias (flat, in the dtype of the statistics)."""
    d = statistics_dtype(x)
    dy = dy if dy.dtype is x.dtype else dy.astype(x.dtype)
    mean, rstd = _from_beginning(mean, d), _from_beginning(rstd, d)
    (x, key), (dy, dy_key), (weight, w_key) = dense(x), dense(dy), _given(weight)
    key = "backward", key, dy_key, w_key, scheme, size, rms, wanted
    plan = _plans.get(key)
    if plan is None:
        rows = rows_of(x.shape, scheme, size)
        _checked(f"{scheme}_norm_backward", x, (weight,), rows)
        index = index_type(*(a.storage.nbytes for a in (x, dy, weight) if a is not None))
        plan = _plans.put(key, _plan("backward", x, weight, None, rows, rms, ("", x.dtype.compute), wanted, index, ()))
    out, count = fresh(plan.result), plan.weights
    if not plan.launches:
        return (out, *(full((count,), 0, d, x.device) for _ in range(2))) if wanted else (out,)
    sums = fresh(plan.sums) if wanted else out
    scale = x if weight is None else weight
    plan.run(x.storage.device, out.storage.buffer, x.storage.buffer, x.offset, dy.storage.buffer, dy.offset,
             sums.storage.buffer, scale.storage.buffer, scale.offset, mean.storage.buffer, rstd.storage.buffer)
    if not wanted:
        return (out,)
    if sums.shape[1] > 1:
        sums = added_up(sums, 1)
    return out, sums.view((count,), (1,), 0), sums.view((count,), (1,), count)


def _from_beginning(a: Array, d: DType) -> Array:
    """A statistic as the kernel reads it: of dtype ``d``, row-major, from the beginning of its memory on."""
    a, _ = dense(a if a.dtype is d else a.astype(d))
    return a.clone() if a.offset else a
