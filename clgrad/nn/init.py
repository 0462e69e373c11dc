"""Initialisers: each writes over its tensor, outside any graph, and returns it. Formulas and defaults are PyTorch's."""

from __future__ import annotations

from math import ceil, prod, sqrt
from typing import Any

import numpy as np

from ..autograd.variable import unwrap
from ..core.errors import ShapeError, bad
from ..families import random
from ..ndarray import from_host
from ..ops.elementwise import assign, where

_GAINS = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
          "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor that keeps a signal's spread through a nonlinearity; ``param`` is leaky_relu's slope (0.01)."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(bad("calculate_gain", f"param={param!r}", "a number", "It is the negative slope."))
        return sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(bad("calculate_gain", f"nonlinearity={nonlinearity!r}",
                             f"one of {', '.join((*_GAINS, 'leaky_relu'))}", "Pass one of these."))
    return _GAINS[nonlinearity]


def fans(op: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs of one output, and outputs of one input, of a weight (out, in, ...): the rest is the receptive field."""
    if len(shape) < 2:
        raise ShapeError(bad(op, f"shape {shape}", "at least two dimensions", "Use uniform_ or normal_ for vectors."))
    field = prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _fan(op: str, shape: tuple[int, ...], mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(bad(op, f"mode={mode!r}", "'fan_in' or 'fan_out'", "Pass one of these."))
    return fans(op, shape)[mode == "fan_out"]


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Uniform in [a, b)."""
    unwrap(tensor).uniform_(a, b, generator=generator)
    return tensor


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Normal with the given mean and standard deviation."""
    unwrap(tensor).normal_(mean, std, generator=generator)
    return tensor


def trunc_normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Any = None) -> Any:
    """Normal, given that it lies in [a, b]: the stream of :func:`clgrad.random.truncated_normal`."""
    return _write(tensor, random.truncated_normal(tensor.shape, tensor.dtype, tensor.device, generator, mean, std, a, b,
                                                  op="trunc_normal_"))


def constant_(tensor: Any, val: float) -> Any:
    """One value everywhere."""
    return _write(tensor, val)


def ones_(tensor: Any) -> Any:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Any) -> Any:
    """Zeros."""
    return constant_(tensor, 0.0)


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = gain * sqrt(6 / _positive(sum(fans("xavier_uniform_", tensor.shape))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * sqrt(2 / _positive(sum(fans("xavier_normal_", tensor.shape)))), generator)


def kaiming_uniform_(tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Any = None) -> Any:
    """Uniform in +-gain * sqrt(3 / fan) (He et al. 2015); ``a`` is leaky_relu's slope."""
    bound = calculate_gain(nonlinearity, a) * sqrt(3 / _positive(_fan("kaiming_uniform_", tensor.shape, mode)))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Any = None) -> Any:
    """Normal with standard deviation gain / sqrt(fan) (He et al. 2015); ``a`` is leaky_relu's slope."""
    std = calculate_gain(nonlinearity, a) / sqrt(_positive(_fan("kaiming_normal_", tensor.shape, mode)))
    return normal_(tensor, 0.0, std, generator)


def _positive(fan: int) -> int:
    """A fan of zero belongs to a tensor without elements, which nothing is drawn for."""
    return max(fan, 1)


def _write(tensor: Any, value: Any) -> Any:
    assign(unwrap(tensor), value)
    return tensor


def eye_(tensor: Any) -> Any:
    """Ones on the diagonal of a matrix, zeros elsewhere."""
    if tensor.ndim != 2:
        raise ShapeError(bad("eye_", f"shape {tensor.shape}", "two dimensions", "It is a matrix."))
    return _write(tensor, from_host(np.eye(*tensor.shape), tensor.dtype, tensor.device))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """Convolution weights (out, in, ...) that hand channels through: a one in the middle for each of them."""
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(bad("dirac_", f"shape {tensor.shape}", "3, 4 or 5 dimensions", "They are weights of layers."))
    if tensor.shape[0] % groups:
        raise ShapeError(bad("dirac_", f"{tensor.shape[0]} outputs in {groups} groups", "a number that divides them",
                             "Choose another."))
    host = np.zeros(tensor.shape)
    each = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for g in range(groups):
        for d in range(min(each, tensor.shape[1])):
            host[(g * each + d, d, *middle)] = 1
    return _write(tensor, from_host(host, tensor.dtype, tensor.device))


def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None) -> Any:
    """A (semi-)orthogonal matrix times ``gain`` (Saxe et al. 2013); axes but the first count as one.

    From the QR decomposition of a normal matrix, by LAPACK on the host: draws are the device generator's.
    """
    if tensor.ndim < 2:
        raise ShapeError(bad("orthogonal_", f"shape {tensor.shape}", "at least two dimensions", "It is a matrix."))
    if not prod(tensor.shape):
        return tensor
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    draws = random.normal(tensor.shape, tensor.dtype, tensor.device, generator)
    host = draws.numpy().astype(np.float64).reshape(rows, columns)
    q, r = np.linalg.qr(host.T if rows < columns else host)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # by this the distribution is uniform
    q = (q.T if rows < columns else q).reshape(tensor.shape) * gain
    return _write(tensor, from_host(q, tensor.dtype, tensor.device))


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Any:
    """Normal with standard deviation ``std``, of each column the part ``sparsity`` zero, in places drawn at random
    (Martens 2010)."""
    if tensor.ndim != 2:
        raise ShapeError(bad("sparse_", f"shape {tensor.shape}", "two dimensions", "It is a matrix."))
    zeros = ceil(sparsity * tensor.shape[0])
    values = random.normal(tensor.shape, tensor.dtype, tensor.device, generator) * std
    order = random.uniform(tensor.shape, tensor.dtype, tensor.device, generator).numpy().argsort(0)
    keep = np.ones(tensor.shape, bool)
    np.put_along_axis(keep, order[:zeros], False, 0)
    return _write(tensor, where(from_host(keep, None, tensor.device), values, 0.0))
