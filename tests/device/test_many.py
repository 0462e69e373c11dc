"""What many-core kernels alone do: rows shared by teams of work-items."""

from __future__ import annotations

import numpy as np
import pytest

from clgrad import ops
from clgrad.families.norm import norm, norm_backward
from clgrad.ndarray import from_host
from clgrad.testing import assert_close


@pytest.mark.parametrize("K", [1, 3, 33, 129, 5000])
def test_teams_of_work_items(K: int, rng: np.random.Generator, both_forms: dict) -> None:
    """Rows of many-core devices: several a work-group, one, and few and long, which take larger groups."""
    x, dy = (rng.standard_normal((5, K)).astype(np.float32) for _ in range(2))
    a, g = (from_host(v, None, both_forms["many"]) for v in (x, dy))
    wide = x.astype(np.float64)
    exact = np.exp(wide - wide.max(1, keepdims=True))
    exact /= exact.sum(1, keepdims=True)
    assert_close(ops.ALL["softmax"](a, 1), exact.astype(np.float32), dtype="float32", scale=4)
    back = exact * (dy - (exact * dy).sum(1, keepdims=True))
    got = ops.ALL["softmax_backward"](g, from_host(exact.astype(np.float32), None, both_forms["many"]), 1)
    assert_close(got, back.astype(np.float32), dtype="float32", scale=4)
    assert_close(ops.ALL["sum"](a, 1), wide.sum(1).astype(np.float32), dtype="float32", scale=4)
    assert_close(ops.ALL["amax"](a, 1), x.max(1), dtype="float32")
    if K > 1:
        centred = wide - wide.mean(1, keepdims=True)
        normal = centred / np.sqrt((centred ** 2).mean(1, keepdims=True) + 1e-5)
        out, mean, rstd = norm(a, None, None, "layer", 1, 1e-5, False, None)
        assert_close(out, normal.astype(np.float32), dtype="float32", scale=4)
        weight = from_host(rng.standard_normal(K).astype(np.float32), None, both_forms["many"])
        dx, dw, db = norm_backward(g, a, mean, rstd, weight, "layer", 1, False, True)
        scaled = dy * weight.numpy().astype(np.float64)
        means = scaled.mean(1, keepdims=True) + normal * (scaled * normal).mean(1, keepdims=True)
        expected = (scaled - means) * rstd.numpy().astype(np.float64)[:, None]
        assert_close(dx, expected.astype(np.float32), dtype="float32", scale=10)
        assert_close(dw, (dy * normal).sum(0).astype(np.float32), dtype="float32", scale=10)
        assert_close(db, dy.astype(np.float64).sum(0).astype(np.float32), dtype="float32", scale=10)
