"""Factories of Variables: from host data, of one value, of ranges. ``clgrad.array`` has the same for Arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import numpy as np

from .autograd.variable import Variable, unwrap
from .core import dtypes
from .core.dtypes import DType
from .core.errors import ShapeError, bad
from .families import generator as generators
from .families import random
from .families.generator import Generator
from .families.ramp import ramp
from .ndarray import Array, from_host, move
from .ndarray import full as full_array
from .ops.elementwise import assign
from .ops.keywords import refuse_out, store
from .runtime.device import device as find_device


def _dtype(dtype: Any, default: DType | None = None) -> DType:
    return (default or dtypes.get_default_dtype()) if dtype is None else dtypes.dtype(dtype)


def shape_of(op: str, size: tuple) -> tuple[int, ...]:
    """The shape meant by ``f(2, 3)`` or ``f((2, 3))``."""
    given = size[0] if len(size) == 1 and isinstance(size[0], Sequence) else size
    shape = tuple(int(n) for n in given)
    if any(n < 0 for n in shape):
        raise ShapeError(bad(op, f"shape {shape}", "sizes of 0 or more", "Give non-negative sizes."))
    return shape


def as_array(data: Any, dtype: Any = None, device: Any = None, copy: bool = False) -> Array:
    """An Array of host data, an Array or a Variable, converted and moved where asked."""
    wanted = None if dtype is None else dtypes.dtype(dtype)
    if isinstance(data, (Array, Variable)):
        source = unwrap(data)
        result = source if device is None else move(source, find_device(device))
        result = result if wanted is None else result.astype(wanted)
        return result.clone() if copy and result is source else result
    return from_host(_on_host(data), wanted, device)


def _on_host(data: Any) -> Any:
    """Arrays within nested lists as NumPy's, which keep their dtypes; other data as it is."""
    first = data
    while isinstance(first, (list, tuple)) and len(first):
        first = first[0]
    if not isinstance(first, (Array, Variable)):
        return data
    if not isinstance(data, (list, tuple)):
        return unwrap(data).numpy()
    parts = [_on_host(d) for d in data]
    try:
        return np.asarray(parts)
    except ValueError:  # no array of any shape: told as of other lists
        return parts


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """A Variable with a copy of ``data``: numbers, nested sequences, NumPy arrays, Arrays, Variables.

    NumPy arrays keep their dtype; Python floats get the default float, ints int64.
    """
    return Variable(as_array(data, dtype, device, copy=True), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Variable:
    """A Variable of ``data``, without a copy where it is on the device already."""
    if isinstance(data, Variable) and dtype is None and device is None:
        return data
    return Variable(as_array(data, dtype, device))


def from_numpy(data: np.ndarray, device: Any = None) -> Variable:
    """A Variable with a *copy* of a NumPy array: device memory is never shared with the host silently."""
    if not isinstance(data, np.ndarray):
        raise TypeError(bad("from_numpy", type(data).__name__, "a numpy.ndarray", "Use clgrad.tensor()."))
    return Variable(from_host(data, None, device))


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """A Variable of one value; without ``dtype``, that of the value."""
    shape = shape_of("full", (size,) if isinstance(size, int) else tuple(size))
    d = _dtype(dtype, dtypes.of_scalar(fill_value))
    return Variable(full_array(shape, fill_value, d, find_device(device)), requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """A Variable of zeros, of the default float unless said otherwise."""
    return Variable(full_array(shape_of("zeros", size), 0, _dtype(dtype), find_device(device)), requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """A Variable of ones, of the default float unless said otherwise."""
    return Variable(full_array(shape_of("ones", size), 1, _dtype(dtype), find_device(device)), requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """A Variable with whatever is in memory."""
    from .ndarray import empty as empty_array

    return Variable(empty_array(shape_of("empty", size), _dtype(dtype), find_device(device)), requires_grad)


def full_like(input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
              requires_grad: bool = False) -> Variable:
    """A Variable of one value with the shape, dtype and device of ``input`` unless said otherwise."""
    target = input.device if device is None else find_device(device)
    return Variable(full_array(input.shape, fill_value, _dtype(dtype, input.dtype), target), requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """Zeros with the shape, dtype and device of ``input`` unless said otherwise."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """Ones with the shape, dtype and device of ``input`` unless said otherwise."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """Uninitialised, with the shape, dtype and device of ``input`` unless said otherwise."""
    return empty(input.shape, dtype=_dtype(dtype, input.dtype), device=input.device if device is None else device,
                 requires_grad=requires_grad)


# Ranges and random numbers -------------------------------------------------------------------------------------------


def arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Variable:
    """start, start + step, ... below ``end``; ``arange(n)`` counts from 0. int64 of ints, else the default float."""
    if end is None:
        start, end = 0, start
    if step == 0 or math.isnan(step):
        raise ValueError(bad("arange", f"step={step}", "a step other than 0", "Choose its sign and size."))
    inferred = dtypes.int64 if all(isinstance(v, int) for v in (start, end, step)) else dtypes.get_default_dtype()
    count = max(0, math.ceil((end - start) / step))
    array = ramp(count, start, step, _dtype(dtype, inferred), find_device(device))
    return Variable(array, requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Variable:
    """``steps`` values from ``start`` to ``end``, both included, evenly spaced."""
    if steps < 0:
        raise ValueError(bad("linspace", f"steps={steps}", "0 or more", "Give the number of values."))
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    array = ramp(steps, start, step, _dtype(dtype), find_device(device), end)
    return Variable(array, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None,
        requires_grad: bool = False) -> Variable:
    """A matrix of n x m (n x n without m) with ones on its diagonal."""
    columns = n if m is None else m
    result = full_array(shape_of("eye", (n, columns)), 0, _dtype(dtype), find_device(device))
    diagonal = min(n, columns)
    if diagonal:
        assign(result.view((diagonal,), (columns + 1,), 0), 1)
    return Variable(result, requires_grad)


def manual_seed(seed: int) -> Generator:
    """Start the default generator at ``seed``: the same numbers follow on every device. Returns the generator."""
    return generators.default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The default generator's seed."""
    return generators.default_generator.initial_seed()


def rand(*size: Any, generator: Any = None, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Variable:
    """Uniform numbers in [0, 1)."""
    array = random.uniform(shape_of("rand", size), _dtype(dtype), find_device(device), generator)
    return Variable(array, requires_grad)


def randn(*size: Any, generator: Any = None, dtype: Any = None, device: Any = None,
          requires_grad: bool = False) -> Variable:
    """Standard normal numbers, by inversion."""
    array = random.normal(shape_of("randn", size), _dtype(dtype), find_device(device), generator)
    return Variable(array, requires_grad)


def randint(low: int = 0, high: Any = None, size: Any = None, *, generator: Any = None, dtype: Any = None,
            device: Any = None, requires_grad: bool = False) -> Variable:
    """Integers low <= i < high, uniform; ``randint(high, size)`` starts at 0. int64 unless said otherwise."""
    if size is None:
        low, high, size = 0, low, high
    if size is None or high is None:
        raise TypeError(bad("randint", "no size", "randint([low,] high, size)", "Give the shape as a tuple."))
    array = random.integers(low, high, shape_of("randint", (size,)), _dtype(dtype, dtypes.int64), find_device(device),
                            generator)
    return Variable(array, requires_grad)


def randperm(n: int, *, generator: Any = None, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Variable:
    """0 .. n - 1 in random order, made on the device. int64 unless said otherwise."""
    array = random.permutation(n, _dtype(dtype, dtypes.int64), find_device(device), generator)
    return Variable(array, requires_grad)


def _float_like(x: Any, dtype: Any) -> DType:
    return dtypes.floating(x.dtype) if dtype is None else dtypes.dtype(dtype)


def rand_like(input: Any, *, generator: Any = None, dtype: Any = None, device: Any = None,
              requires_grad: bool = False) -> Variable:
    """Uniform numbers in [0, 1) with the input's shape; of an integer input, in the default float."""
    return rand(input.shape, generator=generator, dtype=_float_like(input, dtype), device=device or input.device,
                requires_grad=requires_grad)


def randn_like(input: Any, *, generator: Any = None, dtype: Any = None, device: Any = None,
               requires_grad: bool = False) -> Variable:
    """Standard normal numbers with the input's shape; of an integer input, in the default float."""
    return randn(input.shape, generator=generator, dtype=_float_like(input, dtype), device=device or input.device,
                 requires_grad=requires_grad)


# What PyTorch's factories take besides --------------------------------------------------------------------------------


def _complete(make: Callable) -> Callable:
    """The factory with PyTorch's further keywords: ``size``, ``out``, and the hints ``layout``, ``memory_format`` and
    ``pin_memory``, which change nothing here (memory is strided, and copies to a device need no pinned source)."""
    sized = "size" in signature(make).parameters and signature(make).parameters["size"].kind is Parameter.VAR_POSITIONAL

    @wraps(make)
    def factory(*args: Any, **named: Any) -> Variable:
        if named:
            for hint in _HINTS:
                named.pop(hint, None)
            if sized and not args and "size" in named:
                args = (named.pop("size"),)
            out = named.pop("out", None)
            if out is not None:
                refuse_out(make.__name__, out, ())
                return store(make.__name__, out, make(*args, **{"dtype": out.dtype, "device": out.device} | named))
        return make(*args, **named)

    return factory


_HINTS = ("layout", "memory_format", "pin_memory")
__all__ = ["Generator", "arange", "as_tensor", "empty", "empty_like", "eye", "from_numpy", "full",
           "full_like", "initial_seed", "linspace", "manual_seed", "ones", "ones_like", "rand", "rand_like", "randint",
           "randn", "randn_like", "randperm", "tensor", "zeros", "zeros_like"]
globals().update({name: _complete(globals()[name]) for name in __all__
                  if "device" in signature(globals()[name]).parameters and name != "Generator"})
