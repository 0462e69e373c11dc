"""Random numbers on the device: distributions, writing forms (``x.uniform_()``), and the default generator's state.

Each draw is a pure function of the generator's (seed, offset), the element's index and the parameters: one seed gives
one stream, on every device. What is made of integers, products and fma alone is the same bit for bit everywhere:
everything here but sums of the user's own (``categorical`` adds noise to the logits by the device's addition, which
IEEE 754 fixes; a device that flushes denormals may differ in those).

A function takes its distribution's parameters, then ``size`` (an int or a tuple of ints; without it the shape of the
parameters, 0-d for numbers), and by name ``generator`` (the default one without it), ``dtype`` (a float; without it
that of array parameters, else the default float), ``device`` and ``requires_grad``. Numbers as parameters are checked
at the call; what array parameters make no distribution gives NaN in its place. Results are leaves: no gradient flows
to the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isinf, isnan
from typing import Any

import numpy as np

from .autograd.variable import Variable, unwrap
from .core import dtypes, shapes
from .core.dtypes import DType
from .core.errors import DeviceError, DTypeError, ShapeError, bad
from .factories import (
    initial_seed,
    manual_seed,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    shape_of,
)
from .families import random as kinds
from .families import sample
from .families.elementwise import Elementwise, Expression
from .families.generator import Generator, default_generator
from .ndarray import Array, empty, full, same_device
from .ops import FUNCTIONS
from .ops.elementwise import assign
from .ops.methods import refuse_recorded
from .runtime.device import Device
from .runtime.device import device as find_device

# The default generator -----------------------------------------------------------------------------------------------


def seed() -> int:
    """Start the default generator at a seed drawn from the operating system, and return the seed."""
    return default_generator.seed()


def get_rng_state() -> np.ndarray:
    """The default generator's state: :meth:`Generator.get_state`."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Go back to where :func:`get_rng_state` was called: :meth:`Generator.set_state`."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(enabled: bool = True) -> Iterator[None]:
    """Within the ``with`` block the default generator may be used and seeded at will; afterwards it is where it was."""
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)


# Parameters ----------------------------------------------------------------------------------------------------------


def _is_array(value: Any) -> bool:
    return isinstance(value, (Array, Variable))


class _Place:
    """Where draws go: shape, dtype (that computed in: real), device; and the parameters as the kernels want them."""

    def __init__(self, op: str, parameters: tuple, size: Any, dtype: Any, device: Any) -> None:
        self.op = op
        arrays = [unwrap(p) for p in parameters if _is_array(p)]
        for p in parameters:
            if not _is_array(p) and not isinstance(p, (int, float, np.number)):
                raise DTypeError(bad(op, f"a parameter of type {type(p).__name__}", "a number, an Array or a Variable",
                                     "Host data reaches the device by clgrad.tensor()."))
        for a in arrays:
            kinds.need_float(op, a.dtype)
        self.dtype = dtypes.dtype(dtype) if dtype is not None else (
            dtypes.result_type(*(a.dtype for a in arrays)) if arrays else dtypes.get_default_dtype())
        kinds.need_float(op, self.dtype)
        self.device = _common_device(op, arrays, device)
        self.shape = _target_shape(op, arrays, size)
        self.real = sample.computing(self.dtype)
        self.numbers_only = not arrays

    def array(self, parameter: Any) -> Array:
        """A parameter for sample.mako: of one element, or contiguous and of the result's shape."""
        if not _is_array(parameter):
            return full((), kinds.as_real(parameter, self.real), self.real, self.device)
        a = unwrap(parameter).astype(self.real)
        return a.contiguous() if a.size == 1 else a.expand(self.shape).contiguous()

    def operand(self, parameter: Any) -> Any:
        """A parameter for an elementwise expression."""
        return unwrap(parameter).astype(self.real) if _is_array(parameter) else float(parameter)


def _common_device(op: str, arrays: list[Array], device: Any) -> Device:
    if not arrays:
        return find_device(device)
    found = same_device(op, arrays)
    if device is not None and find_device(device) is not found:
        raise DeviceError(bad(op, f"device={find_device(device)} for parameters on {found}", "one device",
                              "Move the parameters with .to(device)."))
    return found


def _target_shape(op: str, arrays: list[Array], size: Any) -> tuple[int, ...]:
    common = shapes.broadcast(op, *(a.shape for a in arrays)) if arrays else ()
    if size is None:
        return common
    shape = shape_of(op, (size,))
    if shapes.broadcast(op, shape, common) != shape:
        raise ShapeError(bad(op, f"parameters of shape {common}", f"a shape that broadcasts to the size {shape}",
                             "Leave size out, or reshape the parameters."))
    return shape


def _result(array: Array, requires_grad: bool = False) -> Variable:
    return Variable(array, requires_grad)


# Location and scale --------------------------------------------------------------------------------------------------


def _transform(name: str, names: str, c: str) -> Elementwise:
    """An elementwise launch in the operands' precision; NaN where the scale is none."""
    return Elementwise(Expression(name, tuple(names.split()), c, lambda op, operands: (operands[0],) * 2))


_SCALED = "(scale >= ZERO) ? fma(z, scale, shift) : (T)(NAN)"
_TRANSFORMS = {
    "uniform": _transform("uniform", "z low high", "(low <= high) ? fmin(fma(z, high - low, low), "
                          "nextafter(high, low)) : (T)(NAN)"),
    "normal": _transform("normal", "z shift scale", _SCALED),
    "gumbel": _transform("gumbel", "z shift scale", _SCALED),
    "cauchy": _transform("cauchy", "z shift scale", _SCALED),
    "exponential": _transform("exponential", "z scale", "(scale >= ZERO) ? z * scale : (T)(NAN)"),
}
_BERNOULLI = _transform("bernoulli", "u p", "((p >= ZERO) && (p <= ONE)) ? ((u < p) ? ONE : ZERO) : (T)(NAN)")


def _scaled(kind: str, parameters: tuple, size: Any, generator: Any, dtype: Any, device: Any,
            requires_grad: bool) -> Variable:
    """Draws of a family of location and scale: in one launch for numbers, in two for arrays."""
    place = _Place(kind, parameters, size, dtype, device)
    draw = getattr(kinds, kind)
    if place.numbers_only:
        return _result(draw(place.shape, place.dtype, place.device, generator, *map(float, parameters), op=kind),
                       requires_grad)
    standard = draw(place.shape, place.real, place.device, generator, op=kind)
    out = empty(place.shape, place.dtype, place.device)
    return _result(_TRANSFORMS[kind](standard, *map(place.operand, parameters), out=out), requires_grad)


def uniform(low: Any = 0.0, high: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None,
            device: Any = None, requires_grad: bool = False) -> Variable:
    """Uniform in [low, high), numbers or arrays; NaN where an array's low is above its high."""
    return _scaled("uniform", (low, high), size, generator, dtype, device, requires_grad)


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None,
           device: Any = None, requires_grad: bool = False) -> Variable:
    """Normal, by inversion (Giles 2010). ``mean`` and ``std`` are numbers or arrays that broadcast; NaN where an
    array's std is negative. The stream is that of :func:`clgrad.randn`: m + s randn(size), rounded once."""
    return _scaled("normal", (mean, std), size, generator, dtype, device, requires_grad)


def exponential(scale: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None, device: Any = None,
                requires_grad: bool = False) -> Variable:
    """Exponential with mean ``scale`` (1 / rate), by inversion: -log of a uniform that keeps its digits near 0 and 1.
    NaN where an array's scale is negative."""
    return _scaled("exponential", (scale,), size, generator, dtype, device, requires_grad)


def gumbel(location: Any = 0.0, scale: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None,
           device: Any = None, requires_grad: bool = False) -> Variable:
    """Gumbel (of largest values): location - scale log(E), E exponential. NaN where an array's scale is negative."""
    return _scaled("gumbel", (location, scale), size, generator, dtype, device, requires_grad)


def cauchy(median: Any = 0.0, sigma: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None,
           device: Any = None, requires_grad: bool = False) -> Variable:
    """Cauchy: median + sigma tan(pi (U - 1/2)), U uniform. NaN where an array's sigma is negative."""
    return _scaled("cauchy", (median, sigma), size, generator, dtype, device, requires_grad)


def _need_numbers(op: str, parameters: tuple, remedy: str = "Call .item() for the value of a 0-d array.") -> None:
    for p in parameters:
        if not isinstance(p, (int, float, np.number)):
            raise TypeError(bad(op, f"a parameter of type {type(p).__name__}", "numbers", remedy))


# Numbers only --------------------------------------------------------------------------------------------------------


def _plain(kind: str, parameters: tuple, size: Any, generator: Any, dtype: Any, device: Any,
           requires_grad: bool = False) -> Variable:
    _need_numbers(kind, parameters, "Transform draws of a standard distribution instead.")
    d = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    shape = () if size is None else shape_of(kind, (size,))
    return _result(getattr(kinds, kind)(shape, d, find_device(device), generator, *map(float, parameters), op=kind),
                   requires_grad)


def log_normal(mean: float = 0.0, std: float = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None,
               device: Any = None, requires_grad: bool = False) -> Variable:
    """exp of a normal with that mean and standard deviation."""
    return _plain("log_normal", (mean, std), size, generator, dtype, device, requires_grad)


def truncated_normal(lower: float = -2.0, upper: float = 2.0, size: Any = None, *, mean: float = 0.0, std: float = 1.0,
                     generator: Any = None, dtype: Any = None, device: Any = None,
                     requires_grad: bool = False) -> Variable:
    """Normal, given that it lies in [lower, upper], either of which may be infinite.

    By inversion where the range comes within one standard deviation of the mean, else by rejection from an exponential
    (Robert 1995), so that ranges far out in a tail are as exact as others.
    """
    return _plain("truncated_normal", (mean, std, lower, upper), size, generator, dtype, device, requires_grad)


def geometric(p: float, size: Any = None, *, generator: Any = None, dtype: Any = dtypes.int64,
              device: Any = None) -> Variable:
    """Trials up to and with the first success of probability ``p`` (0 < p <= 1): 1, 2, ... By inversion, in float32
    (float64 for that dtype): above 2**24 in steps of float32's spacing. int64 unless said otherwise; saturates."""
    return _plain("geometric", (p,), size, generator, dtype, device)


# A parameter an element ----------------------------------------------------------------------------------------------


def _check(op: str, name: str, value: Any, holds: Callable[[float], bool], expected: str) -> None:
    if not _is_array(value) and isinstance(value, (int, float, np.number)) and not holds(float(value)):
        raise ValueError(bad(op, f"{name}={value}", expected, "It is a parameter of the distribution."))


def gamma(concentration: Any, scale: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None,
          device: Any = None, requires_grad: bool = False) -> Variable:
    """Gamma with density x^(concentration - 1) exp(-x / scale): Marsaglia and Tsang's rejection (ACM TOMS 26, 2000).

    At least the dtype's smallest normal number before scaling (as PyTorch), so that its logarithm is finite; 0 for a
    concentration of 0. NaN where an array's concentration or scale is negative.
    """
    _check("gamma", "concentration", concentration, lambda v: v >= 0 and not isinf(v), "a finite concentration >= 0")
    _check("gamma", "scale", scale, lambda v: v >= 0 and not isinf(v), "a finite scale >= 0")
    place = _Place("gamma", (concentration, scale), size, dtype, device)
    plain = not _is_array(scale) and scale == 1
    d = place.dtype if plain else place.real
    draws = sample.from_arrays("gamma", place.shape, d, place.device, generator, place.array(concentration))
    if not plain:
        draws = _TRANSFORMS["exponential"](draws, place.operand(scale),
                                           out=empty(place.shape, place.dtype, place.device))
    return _result(draws, requires_grad)


def beta(a: Any, b: Any, size: Any = None, *, generator: Any = None, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Variable:
    """Beta with density x^(a - 1) (1 - x)^(b - 1): G / (G + H) of two gammas, by the logarithm of H / G, which holds
    for small a and b too. NaN where an array's a or b is not above 0."""
    for name, value in (("a", a), ("b", b)):
        _check("beta", name, value, lambda v: v > 0 and not isinf(v), f"a finite {name} > 0")
    place = _Place("beta", (a, b), size, dtype, device)
    return _result(sample.from_arrays("beta", place.shape, place.dtype, place.device, generator, place.array(a),
                                      place.array(b)), requires_grad)


def poisson(rate: Any, size: Any = None, *, generator: Any = None, dtype: Any = None, device: Any = None) -> Variable:
    """Poisson counts, in the float dtype of ``rate`` as PyTorch's: products of uniforms (Knuth) below a rate of 10,
    from there on Hoermann's transformed rejection PTRS (1993). Integers up to 2**24 (float64: 2**53) are exact.
    NaN where an array's rate is negative."""
    _check("poisson", "rate", rate, lambda v: v >= 0 and not isinf(v), "a finite rate >= 0")
    place = _Place("poisson", (rate,), size, dtype, device)
    return _result(sample.from_arrays("poisson", place.shape, place.dtype, place.device, generator, place.array(rate)))


# Choices -------------------------------------------------------------------------------------------------------------


def bernoulli(input: Any, p: float | None = None, *, generator: Any = None) -> Variable:
    """1 with the probability that each element of ``input`` (a float dtype) gives, else 0, in its dtype; NaN where it
    is none. With ``p``, that probability everywhere, in input's shape, dtype and device. Probabilities are resolved to
    2**-24 (float64: 2**-53)."""
    x = unwrap(input)
    if not isinstance(x, Array):
        raise DTypeError(bad("bernoulli", f"a {type(input).__name__}", "an Array or a Variable of probabilities",
                             "Use clgrad.tensor()."))
    if p is not None:
        return _result(kinds.bernoulli(x.shape, float(p), x.device, generator).astype(x.dtype))
    kinds.need_float("bernoulli", x.dtype)
    return _result(_chances(x, x.shape, generator, empty(x.shape, x.dtype, x.device)))


def _chances(p: Array, shape: tuple[int, ...], generator: Any, out: Array) -> Array:
    real = sample.computing(p.dtype)
    u = kinds.uniform(shape, real, p.device, generator, op="bernoulli")
    return _BERNOULLI(u, p.astype(real), out=out)


def randint_like(input: Any, low: int, high: int | None = None, *, generator: Any = None, dtype: Any = None,
                 device: Any = None, requires_grad: bool = False) -> Variable:
    """Integers low <= i < high (``randint_like(x, high)``: from 0) in x's shape, dtype and device unless said
    otherwise."""
    if high is None:
        low, high = 0, low
    return randint(low, high, input.shape, generator=generator, dtype=dtype or input.dtype,
                   device=device or input.device, requires_grad=requires_grad)


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Variable:
    """``num_samples`` indices (int64) drawn in proportion to the weights of ``input``, which is a vector or a matrix of
    a float dtype; a row a distribution. Weights need not sum to 1.

    With replacement: a uniform integer is looked up among the cumulative weights, scaled to integers, whose sums are
    exact. Without: the order in which exponential clocks of these rates ring (Efraimidis and Spirakis 2006). Both give
    the same indices on every device. Weights below 2**-40 of their row's largest may count as 0 with replacement.
    Waits for the check of the weights, as PyTorch's does.
    """
    x = unwrap(input)
    if not isinstance(x, Array):
        raise DTypeError(bad("multinomial", f"a {type(input).__name__}", "an Array or a Variable of weights",
                             "Use clgrad.tensor()."))
    kinds.need_float("multinomial", x.dtype)
    if x.ndim not in (1, 2):
        raise ShapeError(bad("multinomial", f"shape {x.shape}", "one or two dimensions", "A row is a distribution."))
    _check_samples(num_samples, x.shape[-1], replacement)
    weights = x.astype(sample.computing(x.dtype)).contiguous().reshape((-1, x.shape[-1]) if x.ndim == 1 else x.shape)
    if weights.shape[0] == 0:
        return _result(empty((0, num_samples), dtypes.int64, x.device))
    _check_weights(weights, num_samples, replacement)
    largest = weights.amax(1)
    if replacement or num_samples == 1:
        result = sample.cumulative_picks(weights, largest, num_samples, generator)
    else:
        times = sample.race(weights, largest, generator)
        result = FUNCTIONS["argsort"](times, 1, stable=True)[:, :num_samples].contiguous()
    return _result(result[0] if x.ndim == 1 else result)


def _check_samples(num_samples: Any, columns: int, replacement: bool) -> None:
    if isinstance(num_samples, bool) or not isinstance(num_samples, (int, np.integer)) or num_samples < 1:
        raise ValueError(bad("multinomial", f"num_samples={num_samples!r}", "an int of 1 or more",
                             "Give the number of draws a row."))
    if columns == 0:
        raise ShapeError(bad("multinomial", "no weights", "a row of one weight or more", "Give the weights."))
    if not replacement and num_samples > columns:
        raise ValueError(bad("multinomial", f"num_samples={num_samples} of {columns} weights",
                             "no more than there are", "Pass replacement=True, or draw fewer."))


def _check_weights(weights: Array, num_samples: int, replacement: bool) -> None:
    """ValueError unless every row is a distribution with enough to draw from: one number is read from the device."""
    valid = ((weights >= 0) & (weights < float("inf"))).all(1)
    positive = (weights > 0).sum(1)
    least = FUNCTIONS["where"](valid, positive, -1).amin().item()
    if least < 0:
        raise ValueError(bad("multinomial", "a weight that is negative, infinite or NaN", "finite weights >= 0",
                             "Use exp(logits) or softmax for scores."))
    if least == 0:
        raise ValueError(bad("multinomial", "a row of zeros", "a weight above 0 in every row", "Drop such rows."))
    if not replacement and least < num_samples:
        raise ValueError(bad("multinomial", f"num_samples={num_samples} from a row of {least} weights above 0",
                             "no more than those", "Pass replacement=True, or draw fewer."))


def categorical(logits: Any, dim: int = -1, size: Any = None, *, generator: Any = None) -> Variable:
    """Indices (int64) along ``dim``, drawn with probability softmax(logits): the largest of logits + Gumbel noise.

    ``size`` is put before the remaining axes: ``categorical(logits, size=(5,))`` draws five times from each row. A
    logit of -inf is never drawn; a row should have a finite one.
    """
    x = unwrap(logits)
    if not isinstance(x, Array):
        raise DTypeError(bad("categorical", f"a {type(logits).__name__}", "an Array or a Variable of logits",
                             "Use clgrad.tensor()."))
    kinds.need_float("categorical", x.dtype)
    axis = shapes.axis_index("categorical", dim, x.ndim)
    if x.ndim == 0 or x.shape[axis] == 0:
        raise ShapeError(bad("categorical", f"shape {x.shape}", f"one logit or more along dim {dim}",
                             "Give the logits of a distribution."))
    lead = () if size is None else shape_of("categorical", (size,))
    x = x.astype(sample.computing(x.dtype))
    noise = kinds.gumbel((*lead, *x.shape), x.dtype, x.device, generator, op="categorical")
    return _result((noise + x).argmax(len(lead) + axis))


# Writing forms -------------------------------------------------------------------------------------------------------


def _write(self: Any, op: str, draw: Callable, generator: Any, *parameters: Any) -> Any:
    """Draws written over the array: straight into its memory where that starts a buffer and has no gaps."""
    refuse_recorded(op.removesuffix("_"), self)
    _need_numbers(op, parameters)
    target = unwrap(self)
    direct = target.offset == 0 and target.is_contiguous()
    result = draw(target.shape, target.dtype, target.device, generator, *parameters, out=target if direct else None,
                  op=op)
    if result is target:
        target.storage.version += 1
    else:
        assign(target, result)
    return self


def uniform_(self: Any, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> Any:
    """Write uniform numbers in [a, b) over the array; returns it."""
    return _write(self, "uniform_", kinds.uniform, generator, a, b)


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Write normal numbers over the array; returns it."""
    return _write(self, "normal_", kinds.normal, generator, mean, std)


def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
    """Write exp of normal numbers with that mean and std over the array; returns it."""
    return _write(self, "log_normal_", kinds.log_normal, generator, mean, std)


def exponential_(self: Any, lambd: float = 1.0, *, generator: Any = None) -> Any:
    """Write exponential numbers of rate ``lambd`` (mean 1 / lambd) over the array; returns it."""
    _need_numbers("exponential_", (lambd,))
    kinds.need("exponential_", lambd > 0 and not isnan(lambd), f"lambd={lambd}", "lambd > 0",
               "It is the rate: mean 1 / lambd.")
    return _write(self, "exponential_", kinds.exponential, generator, 1 / lambd)


def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
    """Write Cauchy numbers over the array; returns it."""
    return _write(self, "cauchy_", kinds.cauchy, generator, median, sigma)


def geometric_(self: Any, p: float, *, generator: Any = None) -> Any:
    """Write geometric numbers (1, 2, ...; p the probability of success) over an int or float array; returns it."""
    return _write(self, "geometric_", kinds.geometric, generator, p)


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Write 1 with probability ``p``, else 0, over the array; returns it. ``p`` is a number, or a float array that
    broadcasts; where an element is no probability, NaN is written, into integers 0."""
    refuse_recorded("bernoulli", self)
    target, p = unwrap(self), unwrap(p)
    if not isinstance(p, Array):
        _need_numbers("bernoulli_", (p,))
        assign(target, kinds.bernoulli(target.shape, float(p), target.device, generator, op="bernoulli_"))
        return self
    kinds.need_float("bernoulli_", p.dtype)
    if shapes.broadcast("bernoulli_", target.shape, p.shape) != target.shape:
        raise ShapeError(bad("bernoulli_", f"p of shape {p.shape}", f"one that broadcasts to {target.shape}",
                             "Expand the array first."))
    same_device("bernoulli_", [target, p])
    draws = _chances(p, target.shape, generator, empty(target.shape, sample.computing(p.dtype), target.device))
    assign(target, draws if target.dtype.kind == "f" else draws == 1)
    return self


def random_(self: Any, *bounds: int, generator: Any = None) -> Any:
    """Write uniform integers over the array; returns it. ``random_()`` draws from 0 to the dtype's largest integer (of
    floats, the largest up to which all are exact), ``random_(to)`` 0 <= i < to, ``random_(low, to)`` low <= i < to."""
    if len(bounds) > 2:
        raise TypeError(bad("random_", f"{len(bounds)} bounds", "random_(), random_(to) or random_(low, to)",
                            "Pass two at most."))
    for b in bounds:
        if isinstance(b, bool) or not isinstance(b, (int, np.integer)):
            raise TypeError(bad("random_", f"a {type(b).__name__}", "an int", "Use uniform_ for reals."))
    low, high = {0: lambda: kinds.all_integers(self.dtype), 1: lambda: (0, *bounds), 2: lambda: bounds}[len(bounds)]()

    def draw(shape: tuple, dtype: DType, device: Device, generator: Any, out: Array | None, op: str) -> Array:
        return kinds.integers(int(low), int(high), shape, dtype, device, generator, out=out, op=op)

    return _write(self, "random_", draw, generator)


for _kind in (Array, Variable):
    for _method in (uniform_, normal_, log_normal_, exponential_, cauchy_, geometric_, bernoulli_, random_):
        setattr(_kind, _method.__name__, _method)

__all__ = ["Generator", "bernoulli", "beta", "categorical", "cauchy", "default_generator", "exponential", "fork_rng",
           "gamma", "geometric", "get_rng_state", "gumbel", "initial_seed", "log_normal", "manual_seed", "multinomial",
           "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
           "seed", "set_rng_state", "truncated_normal", "uniform"]
