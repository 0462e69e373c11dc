"""Host side of resampling: one axis, one launch; and its adjoint."""

from __future__ import annotations

from math import prod

from .. import kernels
from ..core import shapes
from ..core.dtypes import check_kind
from ..ndarray import Array, Layout, fresh, layout_of
from ..runtime.launch import Launch
from ..runtime.program import kernel
from .plans import Plans, check_device, form, index_type, letter, parameters, spread

MODES = ("nearest", "nearest-exact", "linear", "cubic")
_plans = Plans()


def resample(op: str, x: Array, dim: int, size: int, scale: float, mode: str, align: bool, back: bool) -> Array:
    """x with ``size`` elements along ``dim``; ``back`` is the adjoint, which takes results to ``size`` sources.

    ``scale`` is the step through the source from one result to the next.
    """
    check_kind(op, "f", x.dtype)
    axis = shapes.axis_index(op, dim, x.ndim)
    x = x.contiguous()
    key = (op, x._layout or layout_of(x), axis, size, scale, mode, align, back)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans.put(key, _plan(op, x, axis, size, scale, mode, align, back))
    result, step = plan
    out = fresh(result)
    if step is not None:
        step(out.storage.buffer, x.storage.buffer, x.offset)
    return out


def _plan(op: str, x: Array, axis: int, size: int, scale: float, mode: str, align: bool,
          back: bool) -> tuple[Layout, Launch | None]:
    """The result's layout, and the launch that fills it where it has elements."""
    device = x.device
    check_device(device, x.dtype)
    out = Layout.dense((*x.shape[:axis], size, *x.shape[axis + 1:]), x.dtype, device)
    if out.nbytes == 0:
        return out, None
    inner, n = prod(x.shape[axis + 1:]), x.shape[axis]
    source, results = (size, n) if back else (n, size)
    index = index_type(x.storage.nbytes, out.nbytes)
    i = letter(index)
    T = x.dtype.compute
    real = "f" if T == "float" or mode.startswith("nearest") else "d"
    lines = x.size // (n * inner)
    way = "each"
    if device.wide_core and lines >= 4 * device.facts.compute_units:
        way = "add" if back and x.dtype.c == T else "lines" if inner == 1 and not back else "each"
    k = kernel(device, "resample", "resample", f"PP{i}{i}{i}{i}{real}{i}{i}", op, mode=mode, align=align, back=back,
               way=way, form=form(device), ctype=x.dtype.c, T=T, index=index)
    elements = prod(out.shape)
    units, each = elements // inner, 1
    params = parameters(device, "resample", x.dtype.name, f"{mode}/{'back' if back else 'forward'}",
                        (lines, source, results, inner))
    if way != "each":
        units = lines
        each = max(1, min(params["lines"] if inner == 1 else 1, units // (4 * device.facts.compute_units)))
        gsize, lsize = (-(-units // each),), (1,)
    elif device.wide_core:
        taps = kernels.template("resample").module.TAPS[mode]
        each = -(-units // spread(device, k, params, units, inner * taps)[0][0])
        gsize, lsize = (-(-units // each),), (1,)
    else:
        gsize, lsize = spread(device, k, params, elements)
    return out, Launch(k, gsize, lsize, ["out", "x", "x_offset", source, results, inner, float(scale), units, each],
                       nbytes=x.nbytes + out.nbytes)
