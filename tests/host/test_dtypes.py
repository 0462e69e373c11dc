"""Promotion against NumPy, for every pair and every weak scalar."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from clgrad.core import dtypes
from clgrad.core.dtypes import ALL, FLOAT, DType, dtype, result_type
from clgrad.core.errors import DTypeError


def _id(d: object) -> str:
    return d.name if isinstance(d, DType) else str(d)


@pytest.mark.parametrize("a", ALL, ids=_id)
@pytest.mark.parametrize("b", ALL, ids=_id)
def test_pairs_promote_as_numpy(a: DType, b: DType) -> None:
    assert result_type(a, b).np == np.result_type(a.np, b.np)
    assert dtypes.promote(a, b) is dtypes.promote(b, a) is result_type(a, b)


@pytest.mark.parametrize("d", ALL, ids=_id)
@pytest.mark.parametrize("scalar", [True, 3, 2.5], ids=["bool", "int", "float"])
def test_python_scalars_are_weak(d: DType, scalar: bool | int | float) -> None:
    expected = np.result_type(d.np, scalar)
    if isinstance(scalar, float) and d.kind != "f":
        expected = np.dtype(np.float32)  # where NumPy falls back on its default float, clgrad takes its own
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
    assert dtypes.floating(d) is (d if d in FLOAT else dtypes.float32)
    if d.kind != "f":
        assert dtypes.summing(d).np == np.sum(np.ones(1, d.np)).dtype
    else:
        assert dtypes.summing(d) is d


@pytest.mark.parametrize("d", ALL, ids=_id)
def test_every_spelling(d: DType) -> None:
    for spec in (d, d.name, d.np, d.np.type, d.np.str):
        assert dtype(spec) is d
    assert pickle.loads(pickle.dumps(d)) is d
    assert repr(d) == f"clgrad.{d.name}"
    assert d.itemsize == d.np.itemsize
    assert d.is_floating_point == (d.np.kind == "f")
    assert d.is_signed == (d.np.kind in "if")


def test_python_types_and_aliases() -> None:
    assert (dtype(bool), dtype(int), dtype(float)) == (dtypes.bool_, dtypes.int64, dtypes.float32)
    for name, d in dtypes.ALIASES.items():
        assert dtype(name) is d


@pytest.mark.parametrize("spec", ["complex64", "float128x", np.dtype("complex64"), object, "M8[s]", 3, [1]], ids=str)
def test_unknown_dtypes_name_the_known(spec: object) -> None:
    with pytest.raises(DTypeError, match=r"dtype: got .*; expected one of bool, int8, .*float64"):
        dtype(spec)


def test_of_scalar() -> None:
    assert [dtypes.of_scalar(v) for v in (True, 1, 1.0)] == [dtypes.bool_, dtypes.int64, dtypes.float32]
    with pytest.raises(DTypeError, match="got a str; expected bool, int or float"):
        dtypes.of_scalar("1")


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
