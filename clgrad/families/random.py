"""Host side of random numbers: one launch fills an array from a generator's counter stream.

There is no record here: nothing to differentiate, and the reference is the generator's own definition, of which the
tests keep a NumPy twin. Parameters are numbers, checked here; :mod:`.sample` takes them from arrays. Every function
takes the shape, dtype and device of the result, the generator (None: the default one), its parameters, and ``out``: a
contiguous array at the start of its memory to write over instead.
"""

from __future__ import annotations

from math import erfc, exp, expm1, inf, isfinite, isnan, log1p, nextafter, prod, sqrt
from math import isqrt as integer_root
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError, bad
from ..core.shapes import contiguous_strides
from ..ndarray import Array, empty, layout_of
from ..runtime.device import Device
from ..runtime.launch import Launch
from ..runtime.program import Kernel, kernel
from .generator import Generator, chosen
from .plans import Plans, form, index_type, letter, parameters, spread

Shape = tuple[int, ...]
_MANTISSA = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}  # integers up to 2**these are exact
_LARGEST = {"bfloat16": 255 * 2.0**120, "float16": 65504.0, "float32": (2 - 2.0**-23) * 2.0**127,
            "float64": (2 - 2.0**-52) * 2.0**1023}
_plans = Plans()


def counters(kind: str, dtype: DType, n: int) -> int:
    """128-bit counters that n draws use: four 32-bit words each, or two of 64."""
    if kind == "permutation":
        return 1
    return -(-n // (2 if kind == "randint" or dtype is dtypes.float64 else 4))


def fill(kind: str, shape: Shape, dtype: DType, device: Device, generator: Generator | None, signature: str = "",
         *args: Any, out: Array | None = None, op: str = "") -> Array:
    """Draws of one kind; ``args`` are the kind's own kernel arguments."""
    stream = chosen(op or kind, generator)
    out = empty(shape, dtype, device) if out is None else out
    n = prod(shape)
    seed, offset = stream.advance(counters(kind, dtype, n))
    if n == 0:
        return out
    key = (kind, dtype, device, n, signature)
    step = _plans.get(key)
    if step is None:
        step = _plans.put(key, _plan(kind, dtype, device, n, signature, index_type(out.nbytes)))
    step(out.storage.buffer, seed & 0xFFFFFFFF, seed >> 32, offset, *args)
    return out


def _plan(kind: str, dtype: DType, device: Device, n: int, signature: str, index: str, arrays: int = 1) -> Launch:
    """The launch that fills ``n`` elements. It takes the memory, both halves of the seed, the counter to begin at, and
    the kind's own arguments, which ``signature`` has a letter each for."""
    params = parameters(device, "random", dtype.name, kind, (n,))
    k = kernel(device, "random", f"random_{kind}", "P" + letter(index) + "IILL" + signature, kind, kind=kind,
               ctype=dtype.c, index=index, form=form(device), plus=arrays == 3, lanes=params["lanes"])
    gsize, lsize = sizes(device, k, n, params)
    own = [f"a{i}" for i in range(len(signature))]
    return Launch(k, gsize, lsize, ["out", n, "low", "high", "offset", 0, *own], nbytes=arrays * n * dtype.itemsize)


def sizes(device: Device, k: Kernel, n: int, params: dict[str, int]) -> tuple[tuple[int], tuple[int]]:
    """Global and local size; a many-core work-item makes four elements at least."""
    return spread(device, k, params, n if device.wide_core else -(-n // 4))


def _reals(kind: str, shape: Shape, dtype: DType, device: Device, generator: Generator | None, *args: float,
           out: Array | None, op: str = "") -> Array:
    """A kind whose arguments are reals of the precision computed in; bfloat16 is rounded from float32."""
    if dtype is dtypes.bfloat16:
        return _reals(kind, shape, dtypes.float32, device, generator, *args, out=None, op=op).astype(dtype)
    letters = ("d" if dtype is dtypes.float64 else "f") * len(args)
    return fill(kind, shape, dtype, device, generator, letters, *(as_real(a, dtype) for a in args), out=out, op=op)


def as_real(value: float, dtype: DType) -> float:
    """A number as an argument of the precision computed in: beyond float's range infinite."""
    if dtype is not dtypes.float64 and not isnan(value) and abs(value) > 3.4028235e38:
        return inf if value > 0 else -inf
    return float(value)


# Checks of parameters ------------------------------------------------------------------------------------------------


def need_float(op: str, dtype: DType) -> None:
    """DTypeError unless the dtype is a float."""
    if dtype.kind != "f":
        raise DTypeError(bad(op, dtype, "a float dtype", "Use randint for integers, or convert the result."))


def need(op: str, holds: bool, got: str, expected: str, remedy: str) -> None:
    """ValueError unless a parameter is as expected."""
    if not holds:
        raise ValueError(bad(op, got, expected, remedy))


def _location_scale(op: str, location: float, scale: float, names: tuple[str, str], least: str) -> None:
    location_name, scale_name = names
    need(op, isfinite(location), f"{location_name}={location}", f"a finite {location_name}", "Pass a finite number.")
    need(op, isfinite(scale) and (scale >= 0 if least == ">= 0" else scale > 0), f"{scale_name}={scale}",
         f"{scale_name} {least}", "It is the spread of the distribution.")


# Kinds ---------------------------------------------------------------------------------------------------------------


def uniform(shape: Shape, dtype: DType, device: Device, generator: Generator | None, low: float = 0.0,
            high: float = 1.0, *, out: Array | None = None, op: str = "rand") -> Array:
    """Uniform in [low, high): the upper end is never rounded to. ``low`` where both are equal. Complex numbers have
    such parts."""
    if dtype.kind == "c":
        return _of_parts(uniform((*shape, 2), dtype.real, device, generator, low, high, op=op), dtype)
    need_float(op, dtype)
    need(op, isfinite(low) and isfinite(high) and low <= high, f"low={low}, high={high}", "finite low <= high",
         "The lower end comes first.")
    most = _LARGEST[dtype.name]
    need(op, high - low <= most, f"low={low}, high={high}", f"high - low up to {most:.5g}, {dtype.name}'s largest",
         "Use a wider dtype, or a smaller range.")
    return _reals("uniform", shape, dtype, device, generator, high - low, low, _under(low, high, dtype), out=out, op=op)


def _under(low: float, high: float, dtype: DType) -> float:
    """The largest number of the dtype below ``high``, or ``low`` where there is none between."""
    return max(_floor_to(nextafter(high, -inf), dtype), _ceil_to(low, dtype))


def _floor_to(value: float, dtype: DType) -> float:
    """The largest number of a float dtype that is not above ``value``."""
    if dtype is dtypes.bfloat16:  # the upper half of a float32's bits: away from zero for negative numbers
        bits = np.array(_floor_to(value, dtypes.float32), np.float32).view(np.uint32)
        bits = (bits + (np.uint32(0xFFFF) if value < 0 else np.uint32(0))) & np.uint32(0xFFFF0000)
        return float(bits.view(np.float32))
    with np.errstate(over="ignore"):
        nearest = dtype.np.type(value)
    return float(np.nextafter(nearest, dtype.np.type(-inf)) if float(nearest) > value else nearest)


def _ceil_to(value: float, dtype: DType) -> float:
    return -_floor_to(-value, dtype)


def _of_parts(parts: Array, dtype: DType) -> Array:
    """The complex array whose parts these are, in the same memory."""
    shape = parts.shape[:-1]
    return Array(parts.storage, shape, contiguous_strides(shape), 0, dtype)


def normal(shape: Shape, dtype: DType, device: Device, generator: Generator | None, mean: float = 0.0,
           std: float = 1.0, *, out: Array | None = None, op: str = "randn") -> Array:
    """Normal, by inversion. Complex numbers have independent parts with half of the variance each, as PyTorch's."""
    if dtype.kind == "c":
        need(op, mean == 0, f"mean={mean} for {dtype.name}", "a mean of 0", "Add the mean to the result.")
        return _of_parts(normal((*shape, 2), dtype.real, device, generator, 0.0, std / sqrt(2), op=op), dtype)
    need_float(op, dtype)
    _location_scale(op, mean, std, ("mean", "std"), ">= 0")
    return _reals("normal", shape, dtype, device, generator, std, mean, out=out, op=op)


def log_normal(shape: Shape, dtype: DType, device: Device, generator: Generator | None, mean: float = 1.0,
               std: float = 2.0, *, out: Array | None = None, op: str = "log_normal") -> Array:
    """exp of a normal with that mean and standard deviation; 0 and infinite beyond the dtype's range."""
    need_float(op, dtype)
    _location_scale(op, mean, std, ("mean", "std"), "> 0")
    return _reals("log_normal", shape, dtype, device, generator, std, mean, out=out, op=op)


def exponential(shape: Shape, dtype: DType, device: Device, generator: Generator | None, scale: float = 1.0, *,
                out: Array | None = None, op: str = "exponential") -> Array:
    """Exponential with mean ``scale``, by inversion; never 0 before scaling."""
    need_float(op, dtype)
    need(op, isfinite(scale) and scale >= 0, f"scale={scale}", "a finite scale >= 0", "It is the mean.")
    return _reals("exponential", shape, dtype, device, generator, scale, out=out, op=op)


def gumbel(shape: Shape, dtype: DType, device: Device, generator: Generator | None, location: float = 0.0,
           scale: float = 1.0, *, out: Array | None = None, op: str = "gumbel") -> Array:
    """location - scale log(E), E exponential."""
    need_float(op, dtype)
    _location_scale(op, location, scale, ("location", "scale"), ">= 0")
    return _reals("gumbel", shape, dtype, device, generator, scale, location, out=out, op=op)


def cauchy(shape: Shape, dtype: DType, device: Device, generator: Generator | None, median: float = 0.0,
           sigma: float = 1.0, *, out: Array | None = None, op: str = "cauchy") -> Array:
    """median + sigma tan(pi (U - 1/2)), U uniform."""
    need_float(op, dtype)
    _location_scale(op, median, sigma, ("median", "sigma"), "> 0")
    return _reals("cauchy", shape, dtype, device, generator, sigma, median, out=out, op=op)


def geometric(shape: Shape, dtype: DType, device: Device, generator: Generator | None, p: float, *,
              out: Array | None = None, op: str = "geometric") -> Array:
    """Trials up to the first success of probability p: 1, 2, ...; integers saturate at the dtype's largest."""
    if dtype.kind not in "iuf":
        raise DTypeError(bad(op, dtype, "an integer or float dtype", "Use bernoulli for truth values."))
    need(op, 0 < p <= 1, f"p={p}", "0 < p <= 1", "p is the probability of success in one trial.")
    scale = 0.0 if p == 1 else -1 / log1p(-p)
    return _reals("geometric", shape, dtype, device, generator, scale, out=out, op=op)


def truncated_normal(shape: Shape, dtype: DType, device: Device, generator: Generator | None, mean: float = 0.0,
                     std: float = 1.0, low: float = -2.0, high: float = 2.0, *, out: Array | None = None,
                     op: str = "truncated_normal") -> Array:
    """Normal, given that it lies in [low, high] (either may be infinite).

    By inversion between both ends' quantiles; where the range begins beyond one standard deviation from the mean, by
    rejection from an exponential, so that no tail is too far out.
    """
    need_float(op, dtype)
    _location_scale(op, mean, std, ("mean", "std"), "> 0")
    need(op, low < high, f"low={low}, high={high}", "low < high", "The lower end comes first.")
    a, b = (low - mean) / std, (high - mean) / std
    least, most = _ceil_to(low, dtype), _floor_to(high, dtype)
    if a >= 1 or b <= -1:
        from .sample import tail

        start, end, sign = (a, b, 1) if a >= 1 else (-b, -a, -1)
        mass = -expm1(-start * (end - start)) if isfinite(end) else 1.0
        above = exp(-start * (end - start)) if isfinite(end) else 0.0
        return tail(shape, dtype, device, generator, start, 1 / start, above, mass, sign * std, mean, least, most,
                    out=out, op=op)
    start, above = erfc(-a / sqrt(2)) / 2, erfc(b / sqrt(2)) / 2
    return _reals("truncated", shape, dtype, device, generator, start, above, _between(a, b), above - start, std, mean,
                  least, most, out=out, op=op)


def _between(a: float, b: float) -> float:
    """Probability that a standard normal lies in [a, b], to all digits where the range is short."""
    if b - a < 1e-3:
        middle = (a + b) / 2
        width = b - a
        return exp(-middle * middle / 2) / sqrt(8 * np.arctan(1.0)) * width * (1 + (middle**2 - 1) * width**2 / 24)
    return 1 - erfc(-a / sqrt(2)) / 2 - erfc(b / sqrt(2)) / 2


def integers(low: int, high: int, shape: Shape, dtype: DType, device: Device, generator: Generator | None, *,
             out: Array | None = None, op: str = "randint") -> Array:
    """Uniform integers, low <= i < high."""
    if dtype.kind == "c":
        raise DTypeError(bad(op, dtype, "an integer, bool or float dtype", "Convert the result."))
    need(op, low < high, f"low={low}, high={high}", "low < high", "high is not drawn.")
    drawn = dtype if dtype.kind in "iu" else dtypes.int64
    bits = 8 * drawn.itemsize
    least, most = (0, 2**bits) if drawn.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    if dtype.kind == "b":
        least, most = 0, 2
    elif dtype.kind == "f":
        least, most = -(2 ** _MANTISSA[dtype.name]), 2 ** _MANTISSA[dtype.name] + 1
    need(op, least <= low and high <= most, f"[{low}, {high})", f"within [{least}, {most}) for {dtype.name}",
         "Choose a wider dtype.")
    signed_low = low - 2**64 if low >= 2**63 else low
    result = fill("randint", shape, drawn, device, generator, "lL", signed_low, (high - low) % 2**64,
                  out=out if drawn is dtype else None, op=op)
    return result.astype(dtype)


def all_integers(dtype: DType) -> tuple[int, int]:
    """The range of :meth:`Tensor.random_` without bounds: 0 to the largest integer, or the largest exact in a float."""
    if dtype.kind == "b":
        return 0, 2
    if dtype.kind in "fc":
        return 0, 2 ** _MANTISSA[dtype.real.name] + 1
    return 0, int(np.iinfo(dtype.np).max) + 1


def permutation(n: int, dtype: DType, device: Device, generator: Generator | None) -> Array:
    """0 .. n - 1 in random order."""
    if n < 0:
        raise ShapeError(bad("randperm", f"n={n}", "n >= 0", "Give the number of elements."))
    cells = max(n, 256)
    side = integer_root(cells - 1) + 1
    return fill("permutation", (n,), dtypes.int64, device, generator, "L", side, op="randperm").astype(dtype)


def bernoulli(shape: Shape, p: float, device: Device, generator: Generator | None, *, op: str = "bernoulli") -> Array:
    """bool: True with probability p."""
    need(op, 0 <= p <= 1, f"p={p}", "0 <= p <= 1", "p is the probability of a one.")
    out = fill("bernoulli", shape, dtypes.uint8, device, generator, "f", p, op=op)
    return Array(out.storage, out.shape, out.strides, out.offset, dtypes.bool_)


def draws(n: int, generator: Generator | None = None) -> tuple[int, int]:
    """Seed and first counter of the next n bernoulli draws of a generator, which goes on behind them."""
    return chosen("dropout", generator).advance(counters("bernoulli", dtypes.uint8, n))


def dropout(x: Array, p: float, factor: float, seed: int, offset: int, *, plus: Array | None = None,
            out: Array | None = None) -> Array:
    """x * factor where bernoulli, from this place of the stream on, draws a one of probability p, else x * 0; and
    ``plus``, of x's shape and dtype, added. ``out`` may be x itself, if it is contiguous and begins its memory."""
    need_float("dropout", x.dtype)
    x = x.contiguous()
    out = empty(x.shape, x.dtype, x.device) if out is None else out
    if not x.size:
        return out
    arrays = (x,) if plus is None else (x, plus.contiguous())
    key = ("dropout", *[a._layout or layout_of(a) for a in arrays])
    step = _plans.get(key)
    if step is None:
        index = index_type(*(a.storage.nbytes for a in arrays))
        signature = ("fd" if x.dtype is dtypes.float64 else "ff") + ("P" + letter(index)) * len(arrays)
        step = _plans.put(key, _plan("dropout", x.dtype, x.device, x.size, signature, index, 1 + len(arrays)))
    places = [v for a in arrays for v in (a.storage.buffer, a.offset)]
    step(out.storage.buffer, seed & 0xFFFFFFFF, seed >> 32, offset, p, factor, *places)
    return out
