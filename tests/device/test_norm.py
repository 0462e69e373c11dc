"""Normalisations: both kernel forms against NumPy, derivatives to second order, layers against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, nn
from clgrad.core.errors import ShapeError
from clgrad.ndarray import from_host
from clgrad.nn import functional as F
from clgrad.ops.norm import _CASES, norm_rows, norm_rows_backward
from clgrad.table import OPS
from clgrad.testing import LAYOUTS, assert_close, draw, gradcheck, on_device

RNG = np.random.default_rng(5)


def _leaf(x: np.ndarray, layout: str = "contiguous") -> Variable:
    return Variable(on_device(x, layout), requires_grad=True)


@pytest.mark.parametrize("case", range(len(_CASES)))
def test_kernels_of_both_forms(case: int, form: Any) -> None:
    """Values, first and second order, in the form that this device does not prefer too."""
    case = _CASES[case]
    inputs = draw(OPS["norm_rows"], case, clgrad.float64)
    expected = OPS["norm_rows"].ref(*inputs, **case.attrs)
    for got, wanted in zip(norm_rows(*map(from_host, inputs), **case.attrs), expected):
        assert_close(got, wanted, dtype=wanted.dtype)
    if inputs[0].size:
        gradcheck(lambda *xs: norm_rows(*xs, **case.attrs)[0], [_leaf(x) for x in inputs])


@pytest.mark.parametrize("scheme", ["layer", "group", "batch"])
def test_a_long_row_far_from_zero(scheme: str, form: Any) -> None:
    """Rows beyond a block, with a mean a thousand times the deviation: float32 keeps the variance's digits."""
    x = (RNG.standard_normal((2, 3, 2500)) + 1000).astype(np.float32)
    size = {"layer": 2, "group": 1, "batch": 0}[scheme]
    got = norm_rows(from_host(x), scheme=scheme, size=size)
    for g, e in zip(got, OPS["norm_rows"].ref(x, scheme=scheme, size=size)):
        assert_close(g, e, scale=200 if g is got[0] else 20)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_with_wider_weights(dtype: str) -> None:
    x, w = RNG.standard_normal((4, 6, 5)).astype(np.float32), RNG.standard_normal(6).astype(np.float32)
    h = clgrad.tensor(x).to(getattr(clgrad, dtype)).requires_grad_()
    weight = _leaf(w)
    out = F.group_norm(h, 3, weight)
    assert out.dtype is h.dtype
    (out.to(clgrad.float32) ** 2).sum().backward()
    assert h.grad.dtype is h.dtype
    assert weight.grad.dtype is clgrad.float32
    exact = h.detach().to(clgrad.float64).numpy()
    expected = OPS["norm_rows"].ref(exact, w, None, "group", 3)[0].astype(np.float32)
    assert_close(out.detach().to(clgrad.float32), expected,
                 scale=500 if dtype == "float16" else 1500)


def _torch_pair(name: str, args: tuple, options: dict) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(RNG.standard_normal(tuple(p.shape))))
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    assert repr(ours) == repr(theirs)
    return ours, theirs


def _compare(ours: Any, theirs: Any, x: np.ndarray, layout: str = "contiguous") -> None:
    """Output, gradients of input and parameters, and buffers afterwards."""
    import torch

    a, b = _leaf(x, layout), torch.tensor(x, requires_grad=True)
    out, expected = ours(a), theirs(b)
    g = RNG.standard_normal(x.shape).astype(x.dtype)
    assert_close(out, expected.detach().numpy(), scale=4)
    out.backward(clgrad.tensor(g))
    expected.backward(torch.tensor(g))
    assert_close(a.grad, b.grad.numpy(), scale=10)
    for p, t in zip(ours.parameters(), theirs.parameters()):
        assert_close(p.grad, t.grad.numpy(), scale=10)
        p.grad = t.grad = None
    for (name, value), t in zip(ours.named_buffers(), theirs.buffers()):
        assert_close(value, t.numpy(), scale=4, message=name)


def _options(**choices: tuple) -> list[dict]:
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


_CHANNEL = _options(affine=(True, False), track_running_stats=(True, False), momentum=(0.1, 0.3), eps=(1e-5, 0.1))
_BATCH = _CHANNEL + _options(affine=(True,), track_running_stats=(True, False), momentum=(None,), bias=(True, False))


@pytest.mark.parametrize("options", _BATCH, ids=str)
@pytest.mark.parametrize(("name", "shape"), [("BatchNorm1d", (6, 5)), ("BatchNorm1d", (3, 5, 7)),
                                             ("BatchNorm2d", (3, 5, 4, 3)), ("BatchNorm3d", (2, 5, 2, 3, 2))], ids=str)
def test_batch_norm_matches_pytorch(name: str, shape: tuple, options: dict) -> None:
    ours, theirs = _torch_pair(name, (5,), options)
    for layout in ("contiguous", "transposed", "sliced"):
        _compare(ours, theirs, RNG.standard_normal(shape).astype(np.float32) * 2 + 1, layout)
    _compare(ours.eval(), theirs.eval(), RNG.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("options", _CHANNEL, ids=str)
@pytest.mark.parametrize(("name", "shape"), [("InstanceNorm1d", (3, 5, 7)), ("InstanceNorm1d", (5, 7)),
                                             ("InstanceNorm2d", (3, 5, 4, 3)), ("InstanceNorm3d", (2, 5, 2, 3, 2))],
                         ids=str)
def test_instance_norm_matches_pytorch(name: str, shape: tuple, options: dict) -> None:
    ours, theirs = _torch_pair(name, (5,), options)
    for layout in ("contiguous", "transposed"):
        _compare(ours, theirs, RNG.standard_normal(shape).astype(np.float32) * 2 + 1, layout)
    _compare(ours.eval(), theirs.eval(), RNG.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(("name", "args", "options", "shape"), [
    *[("LayerNorm", (s,), o, (3, 4, 5)) for s in (5, (4, 5), (3, 4, 5))
      for o in _options(elementwise_affine=(True, False), bias=(True, False), eps=(1e-5, 0.1))],
    *[("RMSNorm", (s,), o, (3, 4, 5)) for s in (5, (4, 5))
      for o in _options(elementwise_affine=(True, False), eps=(None, 0.1))],
    *[("GroupNorm", (g, 6), o, s) for g in (1, 2, 6) for s in ((3, 6), (3, 6, 5), (2, 6, 3, 4))
      for o in _options(affine=(True, False), eps=(1e-5, 0.1)) if (g, s) != (6, (3, 6))],
    *[("LocalResponseNorm", (size,), o, (2, 6, 4)) for size in (1, 2, 5) for o in ({}, {"alpha": 0.5, "k": 2.0})]],
    ids=str)
def test_layers_match_pytorch(name: str, args: tuple, options: dict, shape: tuple) -> None:
    ours, theirs = _torch_pair(name, args, options)
    for layout in ("contiguous", "transposed"):
        _compare(ours, theirs, RNG.standard_normal(shape).astype(np.float32) * 2 + 1, layout)


@pytest.mark.parametrize(("name", "args", "shape"), [
    ("LayerNorm", (5,), (0, 5)), ("RMSNorm", (5,), (0, 5)), ("GroupNorm", (2, 4), (0, 4, 3)),
    ("InstanceNorm1d", (4,), (0, 4, 3)), ("LocalResponseNorm", (2,), (0, 4, 3))])
def test_empty_batches(name: str, args: tuple, shape: tuple) -> None:
    layer = getattr(nn, name)(*args)
    x = _leaf(np.zeros(shape, np.float32))
    out = layer(x)
    assert out.shape == shape
    out.sum().backward()
    assert x.grad.shape == shape
    assert all((p.grad.numpy() == 0).all() for p in layer.parameters())


def test_batch_norm_of_nothing_keeps_its_statistics() -> None:
    layer = nn.BatchNorm1d(3)
    assert layer(clgrad.zeros(0, 3)).shape == (0, 3)
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.eval()(clgrad.zeros(0, 3)).shape == (0, 3)


def test_running_statistics_cost_no_copy_to_the_host(device: Any) -> None:
    layer, x = nn.BatchNorm2d(3, momentum=None), clgrad.randn(4, 3, 5, 5)
    layer(x)
    before = device.copies.to_host
    layer(x)
    assert device.copies.to_host == before
    assert layer.num_batches_tracked.item() == 2


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("p", "dim"), [(2.0, 1), (1.0, -1), (3.0, 0)])
def test_normalize(p: float, dim: int, layout: str) -> None:
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    if layout == "broadcast":
        x = np.broadcast_to(x[:1], x.shape)
    expected = x / np.maximum(np.linalg.norm(x, p, dim, keepdims=True), 1e-12)
    assert_close(F.normalize(_leaf(np.ascontiguousarray(x), layout), p, dim), expected)
    assert_close(F.normalize(clgrad.zeros(2, 2)), np.zeros((2, 2), np.float32))


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: F.layer_norm(x, (4,)), r"layer_norm: got input \(2, 6, 3\) for normalized_shape \(4,\)"),
    (lambda x: F.layer_norm(x, (3,), clgrad.ones(2)),
     r"layer_norm: got weight or bias of shape \(2,\); expected \(3,\)"),
    (lambda x: F.group_norm(x, 4), "group_norm: got 6 channels in 4 groups"),
    (lambda x: F.batch_norm(x, None, None), "batch_norm: got no running statistics outside training"),
    (lambda x: F.batch_norm(x, None, None, clgrad.ones(3), training=True), r"batch_norm: got a vector of shape \(3,\)"),
    (lambda x: F.batch_norm(x[:1, :, :1], None, None, training=True),
     "batch_norm: got one value a channel in training"),
    (lambda x: F.instance_norm(x[:, :, :1]), "instance_norm: got one value a channel in training"),
    (lambda x: nn.BatchNorm2d(6)(x), r"BatchNorm2d: got a 3-dimensional input \(2, 6, 3\); expected 4 dimensions"),
    (lambda x: nn.InstanceNorm1d(5)(x), r"InstanceNorm1d: got input \(2, 6, 3\); expected 5 channels"),
    (lambda x: nn.GroupNorm(4, 6), "GroupNorm: got 6 channels in 4 groups"),
    (lambda x: F.local_response_norm(x[0], 2), "local_response_norm: got input of shape"),
])
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(clgrad.ones(2, 6, 3))


@pytest.mark.parametrize(("shape", "attrs", "dtype"), [
    ((37, 30), {"scheme": "layer", "size": 1}, "float32"), ((21, 16), {"scheme": "layer", "size": 1}, "float16"),
    ((23, 9), {"scheme": "layer", "size": 1, "rms": True}, "float64"),
    ((9, 40), {"scheme": "group", "size": 5}, "float32"), ((11, 15), {"scheme": "group", "size": 3}, "float32")])
def test_short_rows_go_together(shape: tuple, attrs: dict, dtype: str, rng: np.random.Generator, device) -> None:
    """As many rows at a time as a vector has lanes, and what is left over; rows with and without a rest of a vector."""
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    w, b = (rng.standard_normal(shape[1]).astype(dtype) for _ in range(2))
    x[3] += 100  # a mean that would cost digits
    forward, backward = OPS["norm_rows"], OPS["norm_rows_backward"]
    exact = forward.ref(*(a.astype(np.float64) for a in (x, w, b)), **attrs)
    got = norm_rows(*map(from_host, (x, w, b)), **attrs)
    for g, e in zip(got, exact):
        assert_close(g, e.astype(g.numpy().dtype), scale=8)
    statistics = [g.numpy() for g in got[1:]]
    inputs = [dy, x, *statistics, w]
    expected = backward.ref(*inputs, **attrs, wanted=True)
    for g, e in zip(norm_rows_backward(*map(from_host, inputs), **attrs, wanted=True), expected):
        assert_close(g, e, scale=16)
