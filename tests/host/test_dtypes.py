"""Promotion against NumPy, for every pair and every weak scalar."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from clgrad.core import dtypes
from clgrad.core.dtypes import ALL, COMPLEX, FLOAT, DType, dtype, result_type
from clgrad.core.errors import DTypeError


def _id(d: object) -> str:
    return d.name if isinstance(d, DType) else str(d)


@pytest.mark.parametrize("a", ALL, ids=_id)
@pytest.mark.parametrize("b", ALL, ids=_id)
def test_pairs_promote_as_numpy(a: DType, b: DType) -> None:
    if dtypes.bfloat16 not in (a, b):
        assert result_type(a, b).np == np.result_type(a.np, b.np)
    assert dtypes.promote(a, b) is dtypes.promote(b, a) is result_type(a, b)


@pytest.mark.parametrize("d", [d for d in ALL if d is not dtypes.bfloat16], ids=_id)
def test_bfloat16_promotes_as_float16(d: DType) -> None:
    """NumPy has no opinion that holds: its rules for the dtype depend on what other packages register."""
    like = result_type(dtypes.float16, d)
    expected = dtypes.float32 if d is dtypes.float16 else dtypes.bfloat16 if like is dtypes.float16 else like
    assert result_type(dtypes.bfloat16, d) is expected


@pytest.mark.parametrize("d", ALL, ids=_id)
@pytest.mark.parametrize("scalar", [True, 3, 2.5, 1j], ids=["bool", "int", "float", "complex"])
def test_python_scalars_are_weak(d: DType, scalar: bool | int | float | complex) -> None:
    expected = np.result_type(d.np, scalar) if d is not dtypes.bfloat16 else d.np
    if isinstance(scalar, float) and d.kind not in "fc":
        expected = np.dtype(np.float32)  # where NumPy falls back on its default float, clgrad takes its own
    if (isinstance(scalar, complex) and d.itemsize < 8) or (isinstance(scalar, complex) and d.kind in "iu"):
        expected = np.dtype(np.complex64)
    assert result_type(d, scalar).np == expected
    assert result_type(d, type(scalar)) is result_type(d, scalar)
    assert result_type(scalar, d) is result_type(d, scalar)


@pytest.mark.parametrize("d", ALL, ids=_id)
def test_values_never_matter(d: DType) -> None:
    assert result_type(d, 0) is result_type(d, 10**30) is result_type(d, -1)
    assert result_type(d, 0.0) is result_type(d, 1e300)


def test_three_operands_and_scalars_alone() -> None:
    assert result_type(dtypes.int8, 1, dtypes.float16) is dtypes.float16
    assert result_type(True, False) is dtypes.bool_
    assert result_type(True, 1) is dtypes.int64
    assert result_type(1, 1.0) is dtypes.float32


@pytest.mark.parametrize("d", ALL, ids=_id)
def test_sum_and_float_rules(d: DType) -> None:
    assert dtypes.floating(d) is (d if d in FLOAT + COMPLEX else dtypes.float32)
    if d is not dtypes.bfloat16:
        assert dtypes.summing(d).np == np.sum(np.ones(1, d.np)).dtype
    else:
        assert dtypes.summing(d) is d


@pytest.mark.parametrize("d", ALL, ids=_id)
def test_every_spelling(d: DType) -> None:
    for spec in (d, d.name, d.np, d.np.type, *([] if d is dtypes.bfloat16 else [d.np.str])):
        assert dtype(spec) is d
    assert pickle.loads(pickle.dumps(d)) is d
    assert repr(d) == f"clgrad.{d.name}"
    assert d.itemsize == d.np.itemsize
    assert d.is_floating_point == (d.np.kind == "f" or d.name == "bfloat16")
    assert d.is_complex == (d.np.kind == "c")
    assert d.is_signed == (d.kind in "ifc")


def test_python_types_and_aliases() -> None:
    assert (dtype(bool), dtype(int), dtype(float)) == (dtypes.bool_, dtypes.int64, dtypes.float32)
    for name, d in dtypes.ALIASES.items():
        assert dtype(name) is d


@pytest.mark.parametrize("spec", ["complex256x", "float128x", np.dtype("complex256"), object, "M8[s]", 3, [1]], ids=str)
def test_unknown_dtypes_name_the_known(spec: object) -> None:
    with pytest.raises(DTypeError, match=r"dtype: got .*; expected one of bool, int8, .*float64"):
        dtype(spec)


def test_of_scalar() -> None:
    assert [dtypes.of_scalar(v) for v in (True, 1, 1.0, 1j)] == [dtypes.bool_, dtypes.int64, dtypes.float32,
                                                                 dtypes.complex64]
    with pytest.raises(DTypeError, match="got a str; expected bool, int, float or complex"):
        dtypes.of_scalar("1")


def test_parts_and_wholes() -> None:
    assert [d.complex for d in FLOAT] == [dtypes.complex64] * 3 + [dtypes.complex128]
    assert [d.real for d in COMPLEX] == [dtypes.float32, dtypes.float64]
    assert [d.accumulator for d in FLOAT] == [dtypes.float32] * 3 + [dtypes.float64]


@pytest.mark.parametrize("d", [*FLOAT, *COMPLEX], ids=_id)
def test_limits_of_floats(d: DType) -> None:
    import ml_dtypes

    info, expected = dtypes.finfo(d), ml_dtypes.finfo(d.real.np)
    assert info.dtype is d.real
    for name in ("bits", "eps", "max", "min", "smallest_normal", "tiny", "resolution"):
        assert getattr(info, name) == pytest.approx(float(getattr(expected, name)), rel=2e-3), name


def test_limits_of_integers() -> None:
    assert dtypes.iinfo("int8") == (8, 127, -128, dtypes.int8)
    assert dtypes.iinfo(dtypes.uint64).max == 2**64 - 1
    with pytest.raises(DTypeError, match=r"iinfo: got clgrad\.float32; expected an integer dtype"):
        dtypes.iinfo("float32")
    with pytest.raises(DTypeError, match=r"finfo: got clgrad\.int32; expected a float or complex dtype"):
        dtypes.finfo("int32")


def test_default_float_can_be_set() -> None:
    dtypes.set_default_dtype("float64")
    try:
        assert dtypes.get_default_dtype() is dtypes.float64
        assert dtype(float) is dtypes.float64
        assert result_type(dtypes.int32, 0.5) is dtypes.float64
        assert result_type(dtypes.float16, 0.5) is dtypes.float16
        assert dtypes.floating(dtypes.bool_) is dtypes.float64
    finally:
        dtypes.set_default_dtype("float32")
    with pytest.raises(DTypeError, match="set_default_dtype: got int32; expected a float dtype"):
        dtypes.set_default_dtype("int32")
