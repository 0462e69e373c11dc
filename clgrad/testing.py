"""Testing helpers, public: cases from a record, one tolerance table, and gradcheck.

An op added to the table is tested by adding nothing else: its record says what inputs it takes, what NumPy makes of
them, and what its derivatives are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .autograd import Variable, grad
from .core import dtypes
from .core.dtypes import DType
from .ndarray import Array, from_host
from .table import Case, Matrices, Op

# Relative and absolute tolerance by dtype: a few hundred units in the last place, since drivers' functions may be off
# by up to 16 ulp (OpenCL 1.2 specification, section 7.4) and differ in how they round sums.
TOLERANCE = {"float16": (4e-3, 4e-3), "bfloat16": (3e-2, 3e-2), "float32": (2e-5, 2e-5), "float64": (1e-11, 1e-11),
             "complex64": (2e-5, 2e-5), "complex128": (1e-11, 1e-11)}

LAYOUTS = ("contiguous", "transposed", "sliced", "broadcast")


def assert_close(actual: Any, expected: Any, *, dtype: Any = None, scale: float = 1.0, message: str = "") -> None:
    """Compare values, shape and (where ``dtype`` is given) dtype; floats within TOLERANCE times ``scale``, the rest
    exactly. NaN equals NaN."""
    got = actual.detach().numpy() if isinstance(actual, Variable) else (
        actual.numpy() if isinstance(actual, Array) else np.asarray(actual))
    expected = np.asarray(expected)
    if dtype is not None and got.dtype != dtypes.dtype(dtype).np:
        raise AssertionError(f"{message}: dtype {got.dtype}, expected {dtypes.dtype(dtype).name}")
    if got.shape != expected.shape:
        raise AssertionError(f"{message}: shape {got.shape}, expected {expected.shape}")
    kind = dtypes.dtype(got.dtype).kind
    if kind in "fc":
        rtol, atol = TOLERANCE[got.dtype.name]
        wide = np.float64 if kind == "f" else np.complex128
        np.testing.assert_allclose(got.astype(wide), expected.astype(wide), rtol * scale, atol * scale,
                                   equal_nan=True, err_msg=message)
    else:
        np.testing.assert_array_equal(got, expected, err_msg=message)


@dataclass(frozen=True)
class Sample:
    """One call of an op: host inputs, attributes, and what NumPy gives for them."""

    inputs: tuple[np.ndarray, ...]
    attrs: dict[str, Any]
    expected: Any  # None where an op has several results
    dtype: DType


def _rng(*key: Any) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def domains(op: Op, count: int) -> tuple:
    """The domain of each of so many tensors."""
    several = isinstance(op.domain, tuple) and not isinstance(op.domain[0], (int, float))
    return op.domain if several else (op.domain,) * count


def _matrices(kind: str, x: np.ndarray) -> np.ndarray:
    """Matrices of a kind from matrices of numbers between -1 and 1."""
    n = x.shape[-1]
    if kind == "square":
        return x + 2 * np.sqrt(n) * np.eye(n)
    if kind == "symmetric":
        return (x + x.swapaxes(-1, -2).conj()) / 2 + np.diag(np.arange(n))
    return x @ x.swapaxes(-1, -2).conj() + np.eye(n) if kind == "positive" else x


def draw(op: Op, case: Case, dtype: DType) -> tuple[np.ndarray, ...]:
    """Inputs of a case from the op's domain. Arrays in the case (indices) stand for themselves."""
    rng = _rng(op.name, case.shapes if all(isinstance(s, tuple) for s in case.shapes) else len(case.shapes), dtype.name)
    inputs = []
    for shape, domain in zip(case.shapes, domains(op, len(case.shapes))):
        low, high = (-1.0, 1.0) if isinstance(domain, Matrices) else domain
        if isinstance(shape, np.ndarray):
            inputs.append(shape)
        elif isinstance(domain, Matrices) and len(shape) > 1:
            x = rng.uniform(low, high, shape)
            x = x + 1j * rng.uniform(low, high, shape) if dtype.kind == "c" else x
            inputs.append(_matrices(domain.kind, x).astype(dtype.np))
        elif dtype.kind == "b" or (op.name == "where" and not inputs):
            inputs.append(rng.random(shape) < 0.5)
        elif dtype.kind in "iu":
            least = max(low, 0) if dtype.kind == "u" else low
            inputs.append(rng.integers(int(np.ceil(least)), int(np.floor(high)), shape, endpoint=True).astype(dtype.np))
        elif dtype.kind == "c":
            inputs.append((rng.uniform(low, high, shape) + 1j * rng.uniform(low, high, shape)).astype(dtype.np))
        else:
            inputs.append(rng.uniform(low, high, shape).astype(dtype.np))
    return tuple(inputs)


def expected_of(op: Op, inputs: Sequence[np.ndarray], attrs: dict[str, Any]) -> tuple[Any, DType]:
    """The reference's values, floats from float64 inputs, and the dtype it has: NumPy's, but the default float where
    integers meet a float function."""
    def call(values: Sequence[np.ndarray]) -> Any:
        with np.errstate(all="ignore"):
            return op.ref(list(values), **attrs) if op.sequence else op.ref(*values, **attrs)

    given = [dtypes.dtype(x.dtype) for x in inputs]
    floats = [d for d in given if d.kind in "fc"]
    wide = [x.astype(np.complex128 if d.kind == "c" else np.float64) if d.kind in "fc" or not floats else x
            for x, d in zip(inputs, given)]
    # NumPy's functions know its own dtypes only, and what they return for float32 is their answer for bfloat16 too.
    plain = np.asarray(call([x.astype(np.float32) if d is dtypes.bfloat16 else x for x, d in zip(inputs, given)]))
    if plain.dtype.kind not in "fc":
        return plain, dtypes.dtype(plain.dtype)
    values = np.asarray(call(wide))
    values = values.astype(np.complex128 if plain.dtype.kind == "c" else np.float64)
    if op.name == "astype":
        return values, dtypes.dtype(attrs["dtype"])
    result = dtypes.result_type(*floats) if floats else dtypes.get_default_dtype()
    if op.family == "fft" and result.kind == "f":
        result = result.accumulator
    return values, result.real if plain.dtype.kind == "f" else result.complex


def samples(op: Op, dtype: DType) -> Iterator[Sample]:
    """Every case of an op in one dtype, with its expected result."""
    for case in op.cases:
        inputs = draw(op, case, dtype)
        expected, result = (None, dtype) if op.several else expected_of(op, inputs, case.attrs)
        yield Sample(inputs, case.attrs, expected, result)


def on_device(host: np.ndarray, layout: str = "contiguous", device: Any = None) -> Array:
    """The values in device memory, laid out as named: transposed axes, or every second element backwards."""
    if layout == "transposed" and host.ndim > 1:
        return from_host(np.ascontiguousarray(host.T), None, device).T
    if layout == "sliced" and host.ndim:
        spread = np.zeros([2 * n + 1 for n in host.shape], host.dtype)
        spread[tuple(slice(1, None, 2) for _ in host.shape)] = host[(slice(None, None, -1),) * host.ndim]
        return from_host(spread, None, device)[tuple(slice(-2, None, -2) if n else slice(0, 0) for n in host.shape)]
    return from_host(host, None, device)


def laid_out(inputs: Sequence[np.ndarray], layout: str) -> tuple[list[np.ndarray], list[Array]]:
    """Host values and device arrays of a layout. "broadcast" repeats the first entry of an axis without memory."""
    if layout != "broadcast":
        return list(inputs), [on_device(x, layout) for x in inputs]
    hosts, arrays = [], []
    for x in inputs:
        if x.ndim and x.shape[0] and dtypes.dtype(x.dtype).kind in "fc":
            first = np.ascontiguousarray(x[:1])
            hosts.append(np.broadcast_to(first, x.shape))
            arrays.append(from_host(first).expand(x.shape))
        else:
            hosts.append(x)
            arrays.append(from_host(x))
    return hosts, arrays


def call(function: Callable, tensors: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """The op's public function on arrays; index arrays among the attributes go to the device."""
    moved = {function.op.keywords.get(k, k): from_host(v) if isinstance(v, np.ndarray) else v for k, v in attrs.items()}
    return function(list(tensors), **moved) if function.op.sequence else function(*tensors, **moved)


def _inner(f: Callable, inputs: Sequence[Variable], weights: list) -> Variable:
    """Sum over results of <result, fixed random weight>: a scalar function with every derivative of f."""
    results = f(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    rng = _rng("weights")
    while len(weights) < len(results):
        weights.append(rng.uniform(0.5, 1.5, results[len(weights)].shape))
    total = None
    for r, w in zip(results, weights):
        part = (r * Variable(from_host(w, r.dtype, r.device))).sum()
        total = part if total is None else total + part
    return total


def gradcheck(f: Callable, inputs: Sequence[Variable], *, order: int = 2, eps: float = 1e-5, rtol: float = 1e-5,
              atol: float = 1e-6, directions: int = 2) -> None:
    """Compare derivatives of ``f`` along random directions with central differences, to the given order, in float64.

    ``inputs`` that require grad are varied. Raises AssertionError with the two values where they differ. A random
    direction meets every element's derivative at once, so one that is wrong shows (PyTorch's ``fast_mode``).
    """
    _check_order(lambda *xs, weights=[]: _inner(f, xs, weights), list(inputs), order, eps, rtol, atol, directions, "")


def _check_order(scalar: Callable, inputs: list[Variable], order: int, eps: float, rtol: float, atol: float,
                 directions: int, label: str) -> None:
    varied = [i for i, x in enumerate(inputs) if x.requires_grad]
    rng = _rng("directions", order, [inputs[i].shape for i in varied])
    fixed = [rng.standard_normal(inputs[i].shape) for i in varied]
    moved = [Variable(from_host(v, inputs[i].dtype, inputs[i].device)) for i, v in zip(varied, fixed)]

    def leaves(shift: list[np.ndarray] | None = None, step: float = 0.0) -> list[Variable]:
        fresh = list(inputs)
        for n, i in enumerate(varied):
            host = inputs[i].detach().numpy()
            host = host if shift is None else host + step * shift[n]
            fresh[i] = Variable(from_host(host, inputs[i].dtype, inputs[i].device), requires_grad=True)
        return fresh

    def slope(*xs: Variable, create_graph: bool = True) -> Variable | None:
        value = scalar(*xs)
        if not value.requires_grad:
            return None
        gradients = grad(value, [xs[i] for i in varied], create_graph=create_graph, allow_unused=True)
        total = None
        for g, v in zip(gradients, moved):
            if g is not None:
                part = (g * v).sum()
                total = part if total is None else total + part
        return total

    point = leaves()
    for d in range(directions if order else 0):
        shift = fixed if d == 0 else [rng.standard_normal(v.shape) for v in fixed]
        ahead, behind = (float(scalar(*leaves(shift, s)).item()) for s in (eps, -eps))
        numeric = (ahead - behind) / (2 * eps)
        value = scalar(*point)
        exact = 0.0
        if value.requires_grad:
            gradients = grad(value, [point[i] for i in varied], allow_unused=True)
            exact = sum(float((g.numpy() * v).sum()) for g, v in zip(gradients, shift) if g is not None)
        if not np.isclose(exact, numeric, rtol, atol):
            raise AssertionError(f"{label}derivative along direction {d}: {exact!r}, central difference {numeric!r}")
    if order > 1:
        first = slope(*point)
        if first is not None and first.requires_grad:
            _check_order(lambda *xs: slope(*xs), inputs, order - 1, eps, rtol * 10, atol * 10, 1, label + "second ")
