"""Host side of sample.mako: random numbers by rejection, and those whose parameters lie in arrays.

Element i owns a counter of the generator's stream, so n draws advance it by n. Parameters are Arrays of the shape of
the result or of one element, in the precision computed in; what makes no distribution gives NaN.
"""

from __future__ import annotations

from math import prod
from typing import Any

from .. import kernels
from ..core import dtypes
from ..core.dtypes import DType
from ..ndarray import Array, empty
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import kernel
from .generator import Generator, chosen
from .plans import check_device, form, index_type, letter
from .random import Shape, as_real, sizes


def computing(dtype: DType) -> DType:
    """The dtype that parameters are taken in."""
    return dtypes.float64 if dtype is dtypes.float64 else dtypes.float32


def _fill(kind: str, real: DType, shape: Shape, dtype: DType, device: Device, generator: Generator | None,
          arrays: tuple[Array, ...] = (), numbers: str = "", *args: Any, out: Array | None = None, op: str = "",
          counts: bool = True) -> Array:
    """Draws of one kind. ``numbers`` has a letter an argument, n for one of the index type."""
    if dtype is dtypes.bfloat16:
        return _fill(kind, real, shape, dtypes.float32, device, generator, arrays, numbers, *args, op=op).astype(dtype)
    check_device(device, real, dtype)
    stream = chosen(op or kind, generator)
    out = empty(shape, dtype, device) if out is None else out
    n = prod(shape)
    seed, offset = stream.advance(n if counts else 0)
    if n == 0:
        return out
    index = index_type(out.nbytes, *(a.storage.nbytes for a in arrays))
    i = letter(index)
    k = kernel(device, "sample", f"sample_{kind}", "P" + i + "IIL" + ("P" + i + i) * len(arrays) +
               numbers.replace("n", i), op or kind, kind=kind, ctype=dtype.c, real=real.c, index=index,
               form=form(device))
    places = [v for a in arrays for v in (a.storage.buffer, a.offset, int(a.size > 1))]
    gsize, lsize = sizes(device, k, n, kernels.template("sample").module.SIZES[form(device)])
    launch(k, gsize, lsize, out.storage.buffer, n, seed & 0xFFFFFFFF, seed >> 32, offset, *places, *args,
           nbytes=out.nbytes)
    return out


def from_arrays(kind: str, shape: Shape, dtype: DType, device: Device, generator: Generator | None, *arrays: Array,
                out: Array | None = None) -> Array:
    """Kinds gamma, beta and poisson: an element a parameter."""
    return _fill(kind, computing(dtype), shape, dtype, device, generator, arrays, out=out)


def tail(shape: Shape, dtype: DType, device: Device, generator: Generator | None, *args: float,
         out: Array | None = None, op: str) -> Array:
    """Normal beyond one standard deviation: see truncated_normal for the arguments."""
    real = computing(dtype)
    letters = ("d" if real is dtypes.float64 else "f") * len(args)
    return _fill("tail", real, shape, dtype, device, generator, (), letters, *(as_real(a, dtype) for a in args),
                 out=out, op=op)


def race(weights: Array, largest: Array, generator: Generator | None) -> Array:
    """Times of arrival of events with these rates (rows, columns), each divided by the largest of its row (rows,)."""
    real = weights.dtype
    return _fill("race", real, weights.shape, real, weights.device, generator, (weights, largest), "n",
                 weights.shape[1], op="multinomial")


def cumulative_picks(weights: Array, largest: Array, samples: int, generator: Generator | None) -> Array:
    """``samples`` columns a row (int64), drawn with replacement in proportion to the weights (rows, columns).

    The cumulative weights are integers: exact whatever order they are added in, hence the same draws everywhere.
    """
    rows, columns = weights.shape
    bits = 62 - (columns - 1).bit_length()
    whole = _fill("weights", weights.dtype, weights.shape, dtypes.uint64, weights.device, None, (weights, largest),
                  "ni", columns, bits, op="multinomial", counts=False)
    return _fill("pick", dtypes.float32, (rows, samples), dtypes.int64, weights.device, generator,
                 (whole.cumsum(1),), "nn", columns, samples, op="multinomial")
