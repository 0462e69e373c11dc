"""Host side of resampling: one axis, one launch; and its adjoint."""

from __future__ import annotations

from math import prod

from .. import kernels
from ..core import shapes
from ..core.dtypes import check_kind
from ..ndarray import Array, empty
from ..runtime.launch import launch
from ..runtime.program import kernel
from .plans import blocks, check_device, form, index_type, letter, workers

MODES = ("nearest", "nearest-exact", "linear", "cubic")


def resample(op: str, x: Array, dim: int, size: int, scale: float, mode: str, align: bool, back: bool) -> Array:
    """x with ``size`` elements along ``dim``; ``back`` is the adjoint, which takes results to ``size`` sources.

    ``scale`` is the step through the source from one result to the next.
    """
    check_kind(op, "f", x.dtype)
    device, axis = x.device, shapes.axis_index(op, dim, x.ndim)
    check_device(device, x.dtype)
    out = empty((*x.shape[:axis], size, *x.shape[axis + 1:]), x.dtype, device)
    if out.size == 0:
        return out
    x = x.contiguous()
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
    units = out.size // inner
    if way != "each":
        units = lines
        each = max(1, min(8 if inner == 1 else 1, units // (4 * device.facts.compute_units)))
        gsize, lsize = (-(-units // each),), (1,)
    elif device.wide_core:
        taps = kernels.template("resample").module.TAPS[mode]
        each = -(-units // min(units, workers(device, out.size * taps, 4, 4096)))
        gsize, lsize = (-(-units // each),), (1,)
    else:
        each = 1
        local = kernels.template("resample").module.DEFAULT["many"]["local"]
        gsize, lsize = blocks(device, out.size, min(local, k.max_local), 32)
    launch(k, gsize, lsize, out.storage.buffer, x.storage.buffer, x.offset, source, results, inner, scale, units, each,
           nbytes=x.nbytes + out.nbytes)
    return out
