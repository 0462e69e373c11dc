"""Is it alive? Import, one op of each family against its reference, one backward. Under 20 s from a cold cache."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad
from clgrad import ops
from clgrad.table import OPS, Op
from clgrad.testing import assert_close, call, expected_of, on_device, samples


def _one_of_each_family() -> list[Op]:
    """The first differentiable record of each family that has a case."""
    first: dict[str, Op] = {}
    for op in OPS.values():
        if op.cases and "f" in op.kinds and op.differentiable and not op.several:
            first.setdefault(op.family, op)
    return list(first.values())


@pytest.mark.parametrize("op", _one_of_each_family(), ids=lambda op: f"{op.family}-{op.name}")
def test_one_op_of_each_family(op: Op) -> None:
    sample = next(iter(samples(op, clgrad.float32)))
    expected, dtype = expected_of(op, sample.inputs, sample.attrs)
    out = call(ops.ALL[op.name], [on_device(x) for x in sample.inputs], sample.attrs)
    assert_close(out, expected, dtype=dtype, scale=8.0, message=op.name)


def test_one_backward() -> None:
    x = clgrad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    w = clgrad.tensor([0.5, -1.0], requires_grad=True)
    loss = (clgrad.tanh(x * w) + x / 2).sum()
    loss.backward()
    host, weights = x.detach().numpy(), w.detach().numpy()
    slope = 1 - np.tanh(host * weights) ** 2
    np.testing.assert_allclose(x.grad.numpy(), slope * weights + 0.5, rtol=1e-5)
    np.testing.assert_allclose(w.grad.numpy(), (slope * host).sum(0), rtol=1e-5)
