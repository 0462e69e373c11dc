"""Host side of the normalisations: rows brought to mean 0 and variance 1, and the gradients; one launch each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from .. import kernels
from ..core.dtypes import DType, check_kind
from ..core.errors import ShapeError, bad
from ..ndarray import Array, empty, full, same_device
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel
from .plans import (
    Plans,
    check_device,
    form,
    group_size,
    index_type,
    letter,
    parameters,
    streamed_rows,
    strip_span,
    team_size,
    workers,
)

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
    kernel: Kernel
    gsize: tuple[int, ...]
    lsize: tuple[int, ...]
    rows: Rows
    tail: tuple[int, ...]
    workers: int


_plans = Plans()


def _plan(kind: str, x: Array, weight: Array | None, bias: Array | None, rows: Rows, rms: bool, running: tuple,
          wanted: bool, index: str) -> _Plan:
    device, wide = x.device, x.device.wide_core
    layout = ("columns" if wide else "serial") if rows.across else "rows" if wide else "group"
    some = next((a for a in (weight, bias) if a is not None), x)
    how, rtype = running
    i = letter(index)
    t = "d" if x.dtype.compute == "double" else "f"
    signature = f"PP{i}" + ("" if kind == "forward" else f"P{i}P") + f"P{i}" + (
        f"P{i}{t}" if kind == "forward" else "") + (f"P{i}P{i}{t}P{i}" if how else "") + "PP" + i * 8

    params = parameters(device, "norm", x.dtype.name, f"{rows.scheme}/{kind}", (rows.rows, x.size // rows.rows))

    module = kernels.template("norm").module
    stream = wide and streamed_rows(x.nbytes, rows.rows if rows.across else rows.Q, x.dtype, params["stream"])

    def build(local: int) -> Kernel:
        return kernel(device, "norm", "norm", signature, f"{rows.scheme}_norm_{kind}", kind=kind, layout=layout,
                      form=form(device), ctype=x.dtype.c, wtype=some.dtype.c, rtype=rtype, T=x.dtype.compute,
                      index=index, group=local, affine=rows.affine,
                      grouped=rows.affine == "element" and rows.groups > 1, short=rows.P * rows.Q <= module.SHORT,
                      rms=rms, has_weight=weight is not None, has_bias=bias is not None, running=how,
                      wanted=wanted, stream=stream, segments="lanes" if rows.Q <= _SHORT else "tree",
                      strip=params["strip"])

    check_device(device, x.dtype, some.dtype)
    length = rows.P * rows.Q
    local = group_size(device, rows.rows, length, params["local"]) if layout == "group" else params["local"]
    k = build(local)
    while k.max_local < local:
        local //= 2
        k = build(local)
    span = strip_span(device, 1, rows.rows, 8 if x.dtype.itemsize == 8 else 16, params["strip"])
    units = -(-rows.rows // span) if layout == "columns" else rows.rows
    if wide:
        count = min(units, workers(device, x.size, 4, 1024))
        gsize, lsize = (count,), (1,)
    elif layout == "group":
        span = team_size(length, local)
        most = device.facts.compute_units * 16
        if wanted and rows.affine == "element":  # each team writes sums for all weights
            most = max(1, most * span // local)
        groups = min(-(-units * span // local), most)
        gsize, lsize, count = (groups * local,), (local,), groups * (local // span)
    else:
        count = max(1, min(-(-units // local), device.facts.compute_units * 16))
        gsize, lsize = (count * local,), (local,)
    tail = (rows.P, rows.Q, rows.step, rows.row_step, rows.groups, rows.rows, span, rows.rows)
    return _Plan(k, gsize, lsize, rows, tail, count)


def _checked(op: str, x: Array, others: tuple, rows: Rows) -> Device:
    check_kind(op, "f", x.dtype)
    given = [a for a in others if a is not None]
    for a in given:
        check_kind(op, "f", a.dtype)
    size = prod(rows.weight)
    if any(a.size != size for a in given):
        raise ShapeError(bad(op, f"weight or bias of {[a.shape for a in given]}", f"{size} elements",
                             "Give one for each that is scaled by itself."))
    return same_device(op, (x, *given))


def statistics_dtype(x: Array) -> DType:
    """What means and reciprocal deviations are kept in: float32 for 16-bit floats."""
    return x.dtype.accumulator


def norm(x: Array, weight: Array | None, bias: Array | None, scheme: str, size: int, eps: float, rms: bool,
         running: tuple | None) -> tuple[Array, Array, Array]:
    """Normalised x, and of every row its mean (zero for rms) and reciprocal deviation.

    ``running`` is (mean, var, momentum, count): updated in place by the kernel, by 1 / count where momentum is None.
    """
    rows = rows_of(x.shape, scheme, size)
    device = _checked(f"{scheme}_norm", x, (weight, bias), rows)
    x = x.contiguous()
    weight, bias = (None if a is None else a.contiguous() for a in (weight, bias))
    if weight is not None and bias is not None and bias.dtype is not weight.dtype:
        bias = bias.astype(weight.dtype)
    index = index_type(x.storage.nbytes, *(a.storage.nbytes for a in (weight, bias) if a is not None))
    how = "" if running is None else "cumulative" if running[2] is None else "fixed"
    rtype = x.dtype.compute if running is None else running[0].dtype.c
    key = ("forward", x.shape, x.dtype, device, scheme, size, rms, how, rtype, index,
           None if weight is None else weight.dtype, None if bias is None else bias.dtype)
    plan = _plans.get(key)
    if plan is None and x.size:
        plan = _plans.put(key, _plan("forward", x, weight, bias, rows, rms, (how, rtype), False, index))
    d = statistics_dtype(x)
    out = empty(x.shape, x.dtype, device)
    mean = full((rows.rows,), 0, d, device) if rms or not x.size else empty((rows.rows,), d, device)
    rstd = empty((rows.rows,), d, device) if x.size else full((rows.rows,), 0, d, device)
    if not x.size:
        return out, mean, rstd
    some = x if weight is None else weight
    other = x if bias is None else bias
    args: list[Any] = [out.storage.buffer, x.storage.buffer, x.offset, some.storage.buffer, some.offset,
                       other.storage.buffer, other.offset, eps]
    if running is not None:
        running_mean, running_var, momentum, count = running
        counter = running_mean if count is None else count
        args += [running_mean.storage.buffer, running_mean.offset, running_var.storage.buffer, running_var.offset,
                 0.0 if momentum is None else momentum, counter.storage.buffer, counter.offset]
    launch(plan.kernel, plan.gsize, plan.lsize, *args, mean.storage.buffer, rstd.storage.buffer, *plan.tail,
           nbytes=2 * x.nbytes)
    if running is not None:
        for a in running[:2]:
            a.storage.version += 1
    return out, mean, rstd


def norm_backward(dy: Array, x: Array, mean: Array, rstd: Array, weight: Array | None, scheme: str, size: int,
                  rms: bool, wanted: bool) -> tuple[Array, ...]:
    """Gradients of x and, if ``wanted``, of weight and bias (flat, in the dtype of the statistics)."""
    rows = rows_of(x.shape, scheme, size)
    device = _checked(f"{scheme}_norm_backward", x, (weight,), rows)
    if dy.dtype is not x.dtype:
        dy = dy.astype(x.dtype)
    d = statistics_dtype(x)
    x, dy = x.contiguous(), dy.contiguous()
    mean, rstd = (a.astype(d).contiguous() for a in (mean, rstd))
    mean, rstd = (a.clone() if a.offset else a for a in (mean, rstd))  # the kernel reads them from their beginning
    weight = None if weight is None else weight.contiguous()
    index = index_type(*(a.storage.nbytes for a in (x, dy, weight) if a is not None))
    key = ("backward", x.shape, x.dtype, device, scheme, size, rms, wanted, index,
           None if weight is None else weight.dtype)
    plan = _plans.get(key)
    if plan is None and x.size:
        plan = _plans.put(key, _plan("backward", x, weight, None, rows, rms, ("", x.dtype.compute), wanted, index))
    out = empty(x.shape, x.dtype, device)
    count = prod(rows.weight)
    if not x.size:
        return (out, *(full((count,), 0, d, device) for _ in range(2))) if wanted else (out,)
    partials = {"element": plan.workers, "segment": rows.rows // max(rows.groups, 1), "row": 1}[rows.affine]
    sums = empty((2, partials, count), d, device) if wanted else out
    some = x if weight is None else weight
    launch(plan.kernel, plan.gsize, plan.lsize, out.storage.buffer, x.storage.buffer, x.offset, dy.storage.buffer,
           dy.offset, sums.storage.buffer, some.storage.buffer, some.offset, mean.storage.buffer, rstd.storage.buffer,
           *plan.tail, nbytes=3 * x.nbytes)
    if not wanted:
        return (out,)
    sums = sums.sum(1) if partials > 1 else sums.view((2, count), (count, 1), 0)
    return out, sums[0], sums[1]
