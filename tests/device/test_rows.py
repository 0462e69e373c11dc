"""Rows in the forms that only large arrays take by themselves: written past the caches, longer than what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clgrad import kernels, ops
from clgrad.families.plans import forget
from clgrad.ndarray import from_host
from clgrad.table import OPS
from clgrad.testing import assert_close, call, expected_of

_TARGETS = np.array([31, 0, 3])
_ROWS = [("softmax", 1, (), {"dim": 1}), ("softmax_backward", 2, (), {"dim": 1}), ("log_softmax", 1, (), {"dim": -1}),
         ("log_softmax_backward", 2, (), {"dim": 1}), ("row_logsumexp", 1, (), {"dim": 1}),
         ("cross_entropy_rows", 1, (_TARGETS,), {"ignore_index": 3}),
         ("cross_entropy_backward", 1, (_TARGETS,), {"ignore_index": 3})]


@pytest.fixture(params=[16, 4096], ids=["long", "short"])
def large(request: pytest.FixtureRequest, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide-core kernels as for large results, of rows that do not wait in private memory and of rows that do."""
    for family, more in (("softmax", {"kept": request.param}), ("norm", {})):
        default = kernels.template(family).module.DEFAULT
        monkeypatch.setitem(default, "wide", {**default["wide"], "stream": 64, **more})
    forget()
    yield
    forget()


@pytest.mark.parametrize(("name", "tensors", "more", "attrs"), _ROWS, ids=[row[0] for row in _ROWS])
def test_rows_of_the_softmax_family(name: str, tensors: int, more: tuple, attrs: dict, rng: np.random.Generator,
                                    large: None) -> None:
    for K in (64, 96, 79):
        inputs = [rng.standard_normal((3, K)).astype(np.float32) for _ in range(tensors)]
        if name == "cross_entropy_backward":
            inputs.insert(0, rng.standard_normal(3).astype(np.float32))
        inputs += more
        expected, _ = expected_of(OPS[name], inputs, attrs)
        assert_close(call(ops.ALL[name], [from_host(x) for x in inputs], attrs), expected, scale=4, message=f"{K}")
    if not more:  # columns
        inputs = [rng.standard_normal((19, 32)).astype(np.float32) for _ in range(tensors)]
        expected, _ = expected_of(OPS[name], inputs, {"dim": 0})
        assert_close(call(ops.ALL[name], [from_host(x) for x in inputs], {"dim": 0}), expected, scale=4)


@pytest.mark.parametrize(("shape", "attrs"), [((5, 64), {"scheme": "layer", "size": 1}),
                                              ((5, 79), {"scheme": "layer", "size": 1, "rms": True}),
                                              ((3, 64), {"scheme": "group", "size": 4}),
                                              ((3, 6, 32), {"scheme": "group", "size": 2}),
                                              ((3, 4, 32), {"scheme": "batch", "size": 0}),
                                              ((19, 32), {"scheme": "batch", "size": 0})])
def test_rows_of_the_norm_family(shape: tuple, attrs: dict, norm_calls: Callable, large: None) -> None:
    for name, inputs, more in norm_calls(shape, attrs):
        got = call(ops.ALL[name], [from_host(a) for a in inputs], more)
        for one, expected in zip(got, OPS[name].ref(*inputs, **more), strict=True):
            assert_close(one, expected, scale=4)


def test_soft_exponentials_reach_zero(device: Any) -> None:
    """Scores far below the largest: zero, as what is below float32's least normal number may be."""
    x = np.zeros((2, 32), np.float32)
    x[0, 1:5] = -86, -87.4, -1000, -np.inf
    got = ops.ALL["softmax"](from_host(x), 1).numpy()
    exact = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(got, exact / exact.sum(1, keepdims=True), rtol=1e-6, atol=2.0**-126)
    assert got[0, 2] < 2.0**-126
    assert not got[0, 3:5].any()
