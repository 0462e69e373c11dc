"""Host side of LU, Cholesky and triangular solves: one launch for small matrices, panels and products for large ones.

Everything works on stacks (batch, rows, columns), real or complex.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ..core import dtypes, shapes
from ..ndarray import Array, empty, full
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import Kernel, fitted, kernel
from .plans import INT_BYTES, Plans, blocks, check_device, form, letter, parameters, workers

_kernels, _chosen = Plans(), Plans()


def _parameters(kind: str, a: Array) -> dict[str, int]:
    """What a stack of matrices is factored (lu, cholesky) or solved (solve) with."""
    key = (kind, a.dtype, a.device, a.shape[0], a.shape[1])
    return _chosen.get(key) or _chosen.put(key, parameters(a.device, "linalg", a.dtype.name, kind, key[-2:]))


def _kernel(function: str, x: Array, params: dict[str, int], large: bool, unit: bool = False) -> tuple[Kernel, int]:
    """The kernel and its work-group size."""
    device = x.storage.device
    key = (function, x.dtype, device, device.wide_core, params["group"], large, unit)
    return _kernels.get(key) or _kernels.put(
        key, _built(function, device, x.dtype, params["group"], "long" if large else "int", unit))


def _built(function: str, device: Device, dtype: Any, size: int, index: str, unit: bool) -> tuple[Kernel, int]:
    check_device(device, dtype)
    i = letter(index)
    signature = {"lu": "PPP" + i * 7, "cholesky": "PPP" + i * 7, "swap": "PP" + i * 8,
                 "solve": "P" + i * 3 + "P" + i * 8}[function]
    return fitted(lambda group: kernel(device, "linalg", function, signature, f"linalg {function}", form=form(device),
                                       T=dtype.c, index=index, group=group, unit=unit), size)


def _large(*arrays: Array) -> bool:
    return max(a.storage.nbytes for a in arrays) >= INT_BYTES


def _run_factor(function: str, a: Array, pivots: Array, info: Array, params: dict[str, int], k0: int, k1: int,
                c1: int) -> None:
    batch, rows, columns = a.shape
    built, size = _kernel(function, a, params, _large(a))
    device = a.storage.device
    groups = min(batch, device.facts.compute_units * (4 if size == 1 else 64))
    launch(built, (groups * size,), (size,), a.storage.buffer, pivots.storage.buffer, info.storage.buffer, rows,
           columns, k0, k1, c1, pivots.shape[-1], batch, flops=2 * batch * (k1 - k0) * (rows - k0) * (c1 - k0))


def _spread(device: Device, size: int, units: int) -> tuple[tuple[int], tuple[int]]:
    if size == 1:
        return (workers(device, units, 4, 1),), (1,)
    return blocks(device, units, size, 64)


def _run_swap(a: Array, pivots: Array, params: dict[str, int], k0: int, k1: int, c0: int, c1: int) -> None:
    batch, rows, columns = a.shape
    if c1 == c0:
        return
    built, size = _kernel("swap", a, params, _large(a))
    units = batch * -(-(c1 - c0) // (16 if size == 1 else 1))
    launch(built, *_spread(a.storage.device, size, units), a.storage.buffer, pivots.storage.buffer, rows, columns, k0,
           k1, c0, c1, pivots.shape[-1], units)


def _run_solve(t: Array, x: Array, params: dict[str, int], k0: int, k1: int, unit: bool) -> None:
    built, size = _kernel("solve", x, params, _large(t, x), unit)
    batch, _, columns = x.shape
    units = batch * -(-columns // (16 if size == 1 else 1))
    launch(built, *_spread(x.storage.device, size, units), x.storage.buffer, x.offset, *x.strides[:2],
           t.storage.buffer, t.offset, *t.strides, k0, k1, columns, units, flops=batch * columns * (k1 - k0) ** 2)


def stacked(x: Array, batch: shapes.Shape) -> Array:
    """A copy of its own, row-major, as a stack: (batch, rows, columns)."""
    out = empty((*batch, *x.shape[-2:]), x.dtype, x.storage.device)
    if out.size:
        out[...] = x
    out.storage.version = 0
    return out.reshape((prod(batch), *x.shape[-2:]))


def lu(x: Array) -> tuple[Array, Array, Array]:
    """L and U in one matrix, the row (from 0) that each row was exchanged with, and the first zero pivot (from 1, or
    0). All in the shape of x's batch."""
    batch, count = x.shape[:-2], min(x.shape[-2:])
    a = stacked(x, batch)
    pivots = empty((a.shape[0], count), dtypes.int32, x.device)
    info = full((a.shape[0],), 0, dtypes.int32, x.device)
    if a.size:
        _factor_lu(a, pivots, info)
    return a.reshape(x.shape), pivots.reshape((*batch, count)), info.reshape(batch)


def _factor_lu(a: Array, pivots: Array, info: Array) -> None:
    _, rows, columns = a.shape
    count, params = pivots.shape[-1], _parameters("lu", a)
    if count <= params["whole"]:
        return _run_factor("lu", a, pivots, info, params, 0, count, columns)
    for k0 in range(0, count, params["panel"]):
        k1 = min(k0 + params["panel"], count)
        _run_factor("lu", a, pivots, info, params, k0, k1, k1)
        _run_swap(a, pivots, params, k0, k1, 0, k0)
        _run_swap(a, pivots, params, k0, k1, k1, columns)
        if k1 < columns:
            _run_solve(a, a[:, :, k1:], params, k0, k1, True)
            if k1 < rows:
                rest = a[:, k1:, k1:]
                rest -= a[:, k1:, k0:k1] @ a[:, k0:k1, k1:]
    return None


def exchanged(x: Array, pivots: Array, batch: shapes.Shape) -> Array:
    """x broadcast to a batch, as a stack, its rows exchanged as ``lu`` did."""
    a = stacked(x, batch)
    if not a.size or not pivots.size:
        return a
    count = pivots.shape[-1]
    pivots = pivots.expand((*batch, count)).contiguous().reshape((-1, count))
    _run_swap(a, pivots, _parameters("lu", a), 0, count, 0, a.shape[-1])
    return a


def cholesky(x: Array) -> tuple[Array, Array]:
    """The lower factor, from the lower half (above it lies rubbish), and the first leading minor (from 1, or 0) that is
    not positive."""
    batch = x.shape[:-2]
    a = stacked(x, batch)
    info = full((a.shape[0],), 0, dtypes.int32, x.device)
    if a.size:
        _factor_cholesky(a, info)
    return a.reshape(x.shape), info.reshape(batch)


def _factor_cholesky(a: Array, info: Array) -> None:
    n, params = a.shape[-1], _parameters("cholesky", a)
    step = n if n <= params["whole"] else params["panel"]
    unused = info.reshape((-1, 1))
    for k0 in range(0, n, step):
        k1 = min(k0 + step, n)
        _run_factor("cholesky", a, unused, info, params, k0, k1, k1)
        if k1 < n:
            left, rest = a[:, k1:, k0:k1], a[:, k1:, k1:]
            rest -= left @ left.mH


def triangular(t: Array, x: Array, upper: bool, unit: bool) -> Array:
    """t^-1 x, of t its upper or lower half; x is a stack, which is written over, and t of its batch or one to spread.

    Backward substitution is forward substitution on matrices read from their ends.
    """
    if not x.size:
        return x
    t = t.expand((x.shape[0], *t.shape[-2:]))
    lower, solved = (t[:, ::-1, ::-1], x[:, ::-1]) if upper else (t, x)
    n, params = t.shape[-1], _parameters("solve", x)
    step = n if n <= params["triangle"] else min(params["panel"], params["triangle"])
    for k0 in range(0, n, step):
        k1 = min(k0 + step, n)
        _run_solve(lower, solved, params, k0, k1, unit)
        if k1 < n:
            rest = solved[:, k1:]
            rest -= lower[:, k1:, k0:k1] @ solved[:, k0:k1]
    return x
