"""Dropout draws its mask anew in the backward: the numbers of the generator's stream, kept nowhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad.core.errors import ShapeError
from clgrad.families import random
from clgrad.families.generator import default_generator
from clgrad.nn import functional as F
from clgrad.testing import gradcheck


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("n", [1, 30, 1037])
def test_values_are_those_of_the_bernoulli_stream(dtype: str, n: int, form: Any) -> None:
    clgrad.manual_seed(n + 1)
    x = clgrad.randn(2 * n, dtype=getattr(clgrad, dtype))[::2].requires_grad_(True)
    clgrad.manual_seed(n)
    kept = random.bernoulli((n,), 0.7, x.device, None).numpy()
    end = default_generator.get_state()
    clgrad.manual_seed(n)
    out = F.dropout(x, 0.3)
    assert np.array_equal(default_generator.get_state(), end)
    assert out.dtype is x.dtype
    expected = x.detach().astype(clgrad.float64).numpy() * kept / 0.7
    rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(out.detach().astype(clgrad.float64).numpy(), expected, rtol=rtol,
                               atol=1e-7 if dtype == "float16" else 0)  # of its subnormal numbers
    out.backward(clgrad.ones(n, dtype=x.dtype))
    np.testing.assert_allclose(x.grad.astype(clgrad.float64).numpy(), kept / 0.7, rtol=rtol)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_residual_is_added_in_the_same_launch(dtype: str, form: Any) -> None:
    x, residual = (clgrad.randn(*s, dtype=getattr(clgrad, dtype)) for s in ((30, 35), (35, 30)))
    residual = residual.T  # neither contiguous
    place = random.draws(1050)
    got = clgrad.ops.activation.dropped_plus(x, residual, 0.5, 2.0, *place)
    assert got.dtype is x.dtype
    assert np.array_equal(got.numpy(), (clgrad.ops.activation.dropped(x, 0.5, 2.0, *place) + residual).numpy())
    with pytest.raises(ShapeError, match=r"x \(30, 35\) float\d+ and residual \(35, 30\)"):
        clgrad.ops.activation.dropped_plus(x, residual.T, 0.5, 2.0, *place)


def test_derivatives_and_what_is_kept(form: Any) -> None:
    x = clgrad.randn(3, 5, dtype=clgrad.float64, requires_grad=True)
    place = random.draws(15)
    gradcheck(lambda t: clgrad.ops.activation.dropped(t, 0.5, 2.0, *place), [x])
    gradcheck(lambda t: clgrad.ops.activation.dropped_plus(t * t, t, 0.5, 2.0, *place), [x])
    out = F.dropout(x, 0.5)
    assert not list(out.node.saved_arrays())
    assert F.dropout(clgrad.zeros(0, 3), 0.5).shape == (0, 3)


def test_a_place_in_the_stream_is_used_once() -> None:
    x = clgrad.ones(1000)
    first, second = F.dropout(x, 0.5).numpy(), F.dropout(x, 0.5).numpy()
    assert not np.array_equal(first, second)
    assert np.isnan(F.dropout(x * float("inf"), 0.5).numpy()).any()  # 0 * inf, as in PyTorch
