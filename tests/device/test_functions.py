"""The functions of kernels/functions.mako, in both kernel forms and at every position of a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad.ndarray import from_host
from clgrad.nn import functional as F

scipy_special = pytest.importorskip("scipy.special")
_X = np.concatenate([np.linspace(-12, 12, 20001), np.geomspace(1e-30, 80, 999), -np.geomspace(1e-30, 80, 999)])
_REFERENCES = {
    "exp": (clgrad.exp, np.exp, 2), "erf": (clgrad.erf, scipy_special.erf, 2), "tanh": (clgrad.tanh, np.tanh, 3),
    "log1p": (clgrad.log1p, np.log1p, 2), "gelu": (F.gelu, lambda x: x * scipy_special.ndtr(x), 80),
}


@pytest.mark.parametrize("name", list(_REFERENCES))
def test_error_in_units_of_the_last_place(name: str, form: Any) -> None:
    """For gelu the last digits of x * x / 2 count, which grow with x: 80 units at -12, where it is 1e-32. The many-core
    form has the driver's erf, to which OpenCL C allows 16."""
    ours, reference, units = _REFERENCES[name]
    units = 16 if name == "erf" and not form.wide_core else units
    x = _X[_X > -1].astype(np.float32) if name == "log1p" else _X.astype(np.float32)
    expected = reference(x.astype(np.float64))
    got = ours(from_host(x)).numpy()
    sized = np.abs(expected) > 1e-36
    error = np.abs(got - expected) / np.spacing(np.abs(expected).astype(np.float32))
    assert error[sized].max() <= units


@pytest.mark.parametrize("name", ["erf", "tanh", "log1p"])
def test_special_values(name: str, form: Any) -> None:
    x = np.resize(np.array([np.nan, np.inf, 0.0, -0.0, 1e-30, -1e-30] + [-np.inf] * (name != "log1p"), np.float32), 37)
    got, expected = _REFERENCES[name][0](from_host(x)).numpy(), _REFERENCES[name][1](x.astype(np.float64))
    np.testing.assert_allclose(got, expected, rtol=3e-7)
    zero = x == 0
    assert np.array_equal(np.signbit(got[zero]), np.signbit(x[zero]))
