"""Every record against NumPy, over dtypes and memory layouts, and its derivatives against finite differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from clgrad import Variable, ops
from clgrad.core import dtypes
from clgrad.ndarray import Array, from_host
from clgrad.table import OPS, Matrices, Op
from clgrad.testing import LAYOUTS, assert_close, call, domains, expected_of, gradcheck, laid_out, on_device, samples

DTYPES = {d.name: d for d in dtypes.ALL}
PAIRS = [(name, d.name) for name, op in OPS.items() for d in dtypes.ALL if op.takes(d) and op.cases]


READ_OTHERWISE = ("float16", "bfloat16", "float64", "complex64", "int8")


def _layouts(op: Op, dtype: str, number: int) -> tuple[str, ...]:
    """Each layout of each case is a kernel to build: in float32 all of them for the first cases and two for the rest,
    in every dtype the first case's, and with strides where elements are not read one by one as they are."""
    if dtype == "float32":
        whole = isinstance(op.domain, Matrices) or any(isinstance(d, Matrices) for d in op.domain)
        return LAYOUTS[:3 if whole else 4] if number < 3 else ("contiguous", "sliced")
    return () if number else ("contiguous", "sliced") if dtype in READ_OTHERWISE else ("contiguous",)


def _scale(name: str) -> float:
    """Sums of many terms, and powers, lose a little more than one operation does."""
    return 8.0 if OPS[name].family in ("matmul", "reduce", "softmax", "linalg") or "pow" in name else 1.0


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize(("name", "dtype"), PAIRS)
def test_values(name: str, dtype: str, device) -> None:
    op, function = OPS[name], ops.ALL[name]
    if DTYPES[dtype].real is dtypes.float64 and not device.facts.fp64:
        pytest.skip("the device has no float64")
    for number, sample in enumerate(samples(op, DTYPES[dtype])):
        for layout in _layouts(op, dtype, number):
            hosts, arrays = laid_out(sample.inputs, layout)
            out = call(function, arrays, sample.attrs)
            label = f"{name} {[x.shape for x in hosts]} {sample.attrs} {layout}"
            if op.several:
                reference = op.ref(*hosts, **sample.attrs)
                assert len(out) == len(reference), label
                for o, r in zip(out, reference):
                    assert_close(o, r, dtype=r.dtype, scale=_scale(name), message=label)
                continue
            expected, result = expected_of(op, hosts, sample.attrs)
            assert_close(out, expected, dtype=result, scale=_scale(name), message=label)
            for host, array in zip(hosts, arrays):
                assert_close(array, host, message=f"{label}: an input was written")


ANALYTIC = [name for name, op in OPS.items() if op.differentiable and "c" in op.kinds and op.cases]


@pytest.mark.parametrize("name", ANALYTIC)
def test_complex_gradients(name: str, device) -> None:
    """Derivatives along the real and imaginary parts of every complex argument."""
    op, function = OPS[name], ops.ALL[name]
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    sample = next(iter(samples(op, dtypes.complex128)))
    if op.several or sample.attrs.get("dtype") or not isinstance(call(function, map(from_host, sample.inputs),
                                                                      sample.attrs), Array):
        return

    def run(*pairs):
        xs = [ops.ALL["view_as_complex"](p) if p.ndim and p.requires_grad else p for p in pairs]
        out = call(function, _admissible(op, xs), sample.attrs)
        return ops.ALL["view_as_real"](out) if out.dtype.kind == "c" else out

    pairs = [Variable(from_host(np.stack([x.real, x.imag], -1)), requires_grad=True) if x.dtype.kind == "c" else
             Variable(from_host(x)) for x in sample.inputs]
    gradcheck(run, pairs)


DIFFERENTIABLE = [name for name, op in OPS.items() if op.differentiable and "f" in op.kinds and op.cases]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name: str, device) -> None:
    op, function = OPS[name], ops.ALL[name]
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    for sample in samples(op, dtypes.float64):
        if op.several or sample.dtype.kind != "f" or any(x.size > 400 for x in sample.inputs):
            continue
        tensors = [Variable(on_device(x)) for x in sample.inputs]
        for t in tensors:
            if t.dtype.kind == "f":
                t.requires_grad_()
        gradcheck(lambda *xs, s=sample: call(function, _admissible(op, xs), s.attrs), tensors)


def _admissible(op: Op, tensors: Sequence[Variable]) -> list[Variable]:
    """Symmetric where the op takes such matrices only: it may read half of them."""
    symmetric = [isinstance(d, Matrices) and d.kind in ("symmetric", "positive") for d in domains(op, len(tensors))]
    return [(x + x.mH) * 0.5 if s else x for x, s in zip(tensors, symmetric)]


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.5], np.float64)
WITH_SPECIALS = [name for name, op in OPS.items() if op.c is not None and "f" in op.kinds]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", WITH_SPECIALS)
def test_special_values(name: str, dtype: str, device) -> None:
    """NaN, infinities and signed zeros give what NumPy gives, in every combination of arguments."""
    op, function = OPS[name], ops.ALL[name]
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    grids = np.meshgrid(*[SPECIAL.astype(dtype)] * len(op.tensors), indexing="ij")
    inputs = [np.ascontiguousarray(g) for g in grids]
    if name == "where":
        inputs[0] = inputs[0] > 0
    expected, _ = expected_of(op, inputs, {})
    assert_close(function(*map(from_host, inputs)), expected, scale=8, message=name)


@pytest.mark.parametrize("name", [n for n, op in OPS.items() if op.family in ("reduce", "softmax") and op.cases
                                  and not op.several])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_values_reduced(name: str, special: float, device) -> None:
    op, function = OPS[name], ops.ALL[name]
    for sample in samples(op, dtypes.float32):
        inputs = [x.copy() for x in sample.inputs]
        if inputs[0].size:
            inputs[0].reshape(-1)[inputs[0].size // 2] = special
        expected, _ = expected_of(op, inputs, sample.attrs)
        assert_close(call(function, [from_host(x) for x in inputs], sample.attrs), expected, scale=8,
                     message=f"{name} {sample.attrs}")


@pytest.mark.parametrize("name", [n for n, op in OPS.items() if callable(op.inplace) and op.name != "where"])
def test_in_place(name: str, device) -> None:
    """The writing form gives the same values in the same memory, views of its own memory as operands included."""
    op, function = OPS[name], ops.ALL[name]
    dtype = next(d for d in (dtypes.float32, dtypes.int32, dtypes.complex64) if d.kind in op.kinds)
    sample = next(iter(samples(op, dtype)))
    arrays = [from_host(x) for x in sample.inputs]
    numbers = tuple(sample.attrs.values())
    out = function(*arrays, *numbers)
    if out.dtype is not arrays[0].dtype:
        return
    storage, version = arrays[0].storage, arrays[0].storage.version
    op.inplace(*arrays[:1], *arrays, *numbers)
    assert arrays[0].storage is storage
    assert storage.version == version + 1
    assert_close(arrays[0], sample.expected)
    if len(arrays) == 2 and not numbers:
        square = on_device(np.resize(sample.inputs[0], (4, 4)))
        expected, _ = expected_of(op, [square.numpy(), square.numpy().T], {})
        op.inplace(square, square, square.T)
        assert_close(square, expected)
