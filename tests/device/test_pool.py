"""Pooling, columns and resampling: both kernel forms against the definition, PyTorch over the options, errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable, kernels
from clgrad.core import dtypes
from clgrad.core.errors import ShapeError
from clgrad.families.plans import forget
from clgrad.families.pool import Windows
from clgrad.ndarray import from_host
from clgrad.nn import functional as F
from clgrad.table import OPS
from clgrad.testing import assert_close, call, expected_of, on_device, samples

HIDDEN = [name for name in OPS if name.startswith("pool_") or name in ("resample", "resample_back")]


@pytest.mark.parametrize("name", HIDDEN)
def test_both_forms(name: str, form) -> None:
    """Every case of the records on which the rest is built, in each kernel form; views too."""
    op = OPS[name]
    for number, sample in enumerate(samples(op, dtypes.float32)):
        arrays = [on_device(x, "sliced" if number == 1 else "contiguous") for x in sample.inputs]
        out, label = call(clgrad.ops.ALL[name], arrays, sample.attrs), f"{name} {sample.attrs}"
        if op.several:
            for got, expected in zip(out, op.ref(*sample.inputs, **sample.attrs)):
                assert_close(got, expected, dtype=expected.dtype, message=label)
            continue
        expected, result = expected_of(op, sample.inputs, sample.attrs)
        assert_close(out, expected, dtype=result, scale=4, message=label)


_LONG = tuple(Windows(*sizes, (1, 1)) for sizes in (
    ((4, 40), (2, 20), (2, 2), (2, 2), (0, 0)), ((5, 37), (3, 19), (2, 2), (2, 2), (0, 0)),
    ((5, 35), (2, 17), (2, 2), (2, 2), (0, 0)), ((6, 40), (3, 20), (3, 3), (2, 2), (1, 1)),
    ((3, 40), (3, 40), (3, 3), (1, 1), (1, 1)),
    ((3, 16), (2, 5), (2, 7), (1, 2), (0, 0)), ((2, 64), (1, 32), (2, 2), (2, 2), (0, 0))))


@pytest.mark.parametrize("windows", _LONG, ids=[f"{w.space[1]} by {w.taps[1]} / {w.stride[1]}" for w in _LONG])
def test_lines_of_vectors(windows: Windows, rng: np.random.Generator, device, monkeypatch) -> None:
    """Windows 1 and 2 apart over lines that hold vectors: whole ones, one over another, edges; NaN among them."""
    module = kernels.template("pool").module
    monkeypatch.setitem(module.DEFAULT, "wide", {**module.DEFAULT["wide"], "stream": 64})
    forget()
    x = rng.integers(-4, 4, (3, *windows.space)).astype(np.float32)
    x[1, 1, 3] = x[2, 0, -1] = np.nan  # never two in a window
    g = rng.standard_normal((3, *windows.size)).astype(np.float32)
    _, index = OPS["pool_both"].ref(x, windows=windows)
    for name, inputs in (("pool_max", [x]), ("pool_both", [x]), ("pool_index", [x]), ("pool_mean", [x]),
                         ("pool_spread", [g, index]), ("pool_unmean", [g])):
        got = call(clgrad.ops.ALL[name], [from_host(a) for a in inputs], {"windows": windows})
        expected = OPS[name].ref(*inputs, windows=windows)
        for one, right in zip(*((got, expected) if OPS[name].several else ((got,), (expected,))), strict=True):
            assert_close(one, right, scale=4, message=name)
    forget()


_TILED = (Windows((5, 6), (3, 3), (2, 3), (2, 2), (1, 1), (1, 1)), Windows((40,), (14,), (5,), (3,), (2,), (1,)),
          Windows((7, 20), (4, 3)), Windows((4, 3, 8), (2, 2, 3), (2, 2, 3), (2, 1, 2), (0, 0, 0), (1, 1, 1)))


@pytest.mark.parametrize("windows", _TILED, ids=[str(w.space) for w in _TILED])
def test_gradients_by_tiles(windows: Windows, rng: np.random.Generator, device, monkeypatch) -> None:
    """Tiles of a few rows, or of a part of one, with windows that reach into several; an index of no element."""
    module = kernels.template("pool").module
    monkeypatch.setitem(module.DEFAULT, "wide", {**module.DEFAULT["wide"], "tile": 16})
    forget()
    g = rng.standard_normal((3, *windows.size)).astype(np.float32)
    index = OPS["pool_index"].ref(rng.standard_normal((3, *windows.space)), windows=windows)
    for name, inputs in (("pool_spread", [g, index]), ("pool_unmean", [g])):
        got = call(clgrad.ops.ALL[name], [from_host(a) for a in inputs], {"windows": windows})
        assert_close(got, OPS[name].ref(*inputs, windows=windows), scale=4, message=name)
    index[0].flat[0] = -1
    g[0].flat[0] = 0
    got = call(clgrad.ops.ALL["pool_spread"], [from_host(a) for a in (g, index)], {"windows": windows})
    index[0].flat[0] = 0
    assert_close(got, OPS["pool_spread"].ref(g, index, windows=windows), scale=4)
    forget()


def test_many_planes_and_lines(form, rng: np.random.Generator) -> None:
    """Enough of them that each has a work-item to itself: gradients are added plane by plane, line by line."""
    v = Variable(from_host(rng.permutation(41 * 3 * 6 * 5).reshape(41, 3, 6, 5).astype(np.float32)), requires_grad=True)
    out = F.max_pool2d(v, 3, 2, 1)
    index = F.max_pool2d(v.detach(), 3, 2, 1, return_indices=True)[1].numpy().reshape(41 * 3, -1)
    out.sum().backward()
    expected = np.zeros((41 * 3, 30), np.float32)
    for row, at in zip(expected, index):
        np.add.at(row, at, 1)
    assert_close(v.grad, expected.reshape(v.shape))
    for mode in ("nearest", "linear", "cubic"):
        x, g = rng.standard_normal((41, 3, 7)).astype(np.float32), rng.standard_normal((41, 3, 12)).astype(np.float32)
        back = {"dim": 2, "size": 7, "scale": 7 / 12, "mode": mode, "align": False}
        for dim, (a, b) in ((2, (x, g)), (1, (x.swapaxes(1, 2), g.swapaxes(1, 2)))):
            op = clgrad.ops.ALL["resample"], clgrad.ops.ALL["resample_back"]
            there, again = {**back, "dim": dim, "size": 12}, {**back, "dim": dim}
            a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
            for function, host, attrs in ((op[0], a, there), (op[1], b, again)):
                assert_close(function(from_host(host), **attrs), function.op.ref(host.astype(np.float64), **attrs),
                             scale=4, message=f"{function.op.name} {attrs}")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_storage_types(dtype: str, form, rng: np.random.Generator) -> None:
    x = rng.integers(-8, 8, (2, 3, 6, 6)).astype(dtypes.dtype(dtype).np)
    v = Variable(from_host(x), requires_grad=True)
    wide = x.astype(np.float32).reshape(2, 3, 3, 2, 3, 2)
    assert_close(F.max_pool2d(v, 2), wide.max((3, 5)), dtype=dtype)
    out = F.avg_pool2d(v, 2)
    assert_close(out, wide.mean((3, 5)), dtype=dtype)
    out.sum().backward()
    assert_close(v.grad, np.full(x.shape, 0.25), dtype=dtype)
    assert_close(F.interpolate(v, scale_factor=2), x.astype(np.float32).repeat(2, 2).repeat(2, 3), dtype=dtype)


def test_nan_and_infinity_as_pytorch(form) -> None:
    x = np.array([[1, np.nan, 0, np.nan, -np.inf, -np.inf]], np.float32)
    values, index = F.max_pool1d(from_host(x), 2, return_indices=True)
    assert_close(values, np.array([[np.nan, np.nan, -np.inf]]))
    assert index.dtype is clgrad.int64
    assert index.tolist() == [[1, 3, 4]]
    assert F.max_pool1d(from_host(x), 4, 2, return_indices=True)[1].tolist() == [[3, 3]]  # the last NaN
    assert_close(F.avg_pool1d(from_host(x), 2), np.array([[np.nan, np.nan, -np.inf]]))


def test_windows_that_dilation_leaves_empty(form) -> None:
    """Taps that reach over the whole input: minus infinity from nowhere, and no gradient."""
    x = clgrad.ones(1, 2, requires_grad=True)
    values, index = F.max_pool1d(x, 2, 1, 3, 5, return_indices=True)
    assert values.tolist() == [[-np.inf] * 3]
    assert index.tolist() == [[-1] * 3]
    values.sum().backward()
    assert x.grad.tolist() == [[0, 0]]


def test_empty_batches(device) -> None:
    x = clgrad.ones(0, 3, 6, 6, requires_grad=True)
    for out, shape in ((F.max_pool2d(x, 2), (0, 3, 3, 3)), (F.avg_pool2d(x, 4), (0, 3, 1, 1)),
                       (F.adaptive_avg_pool2d(x, (2, None)), (0, 3, 2, 6)), (F.interpolate(x, scale_factor=2),
                                                                          (0, 3, 12, 12)),
                       (F.unfold(x, 2), (0, 12, 25)), (F.pixel_unshuffle(x, 2), (0, 12, 3, 3))):
        assert out.shape == shape
        out.sum().backward()
        assert x.grad.shape == x.shape


def test_ties_give_their_gradient_to_the_first(device) -> None:
    x = clgrad.ones(1, 1, 4, requires_grad=True)
    F.max_pool1d(x, 3, 1).sum().backward()
    assert x.grad.tolist() == [[[1, 1, 0, 0]]]


# PyTorch -------------------------------------------------------------------------------------------------------------


def _same(torch: Any, name: str, x: np.ndarray, *args: Any, view: bool = False, **options: Any) -> None:
    """Value and gradient of a function of nn.functional, and of its other results the values."""
    host = np.ascontiguousarray(x.T) if view else x
    ours, theirs = Variable(from_host(host), requires_grad=True), torch.tensor(host, requires_grad=True)
    a, b = (ours.T, theirs.permute(*range(x.ndim)[::-1])) if view else (ours, theirs)
    y, t = getattr(F, name)(a, *args, **options), getattr(torch.nn.functional, name)(b, *args, **options)
    label = f"{name} {x.shape} {args} {options}"
    if isinstance(t, tuple):
        assert_close(y[1], t[1].numpy(), dtype="int64", message=label)
        y, t = y[0], t[0]
    assert_close(y, t.detach().numpy(), message=label, scale=4)
    g = np.random.default_rng(1).standard_normal(tuple(t.shape)).astype(np.float32)
    y.backward(Variable(from_host(g)))
    t.backward(torch.tensor(g))
    assert_close(ours.grad, theirs.grad.numpy(), scale=8, message=f"gradient of {label}")


def test_pooling_is_pytorchs(rng: np.random.Generator, device) -> None:
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 7, 8)).astype(np.float32)
    for kernel, stride, padding, dilation, ceil in itertools.product(
            (2, (3, 2)), (None, 1, (2, 3)), (0, 1), (1, (2, 1)), (False, True)):
        for indices in (False, True):
            _same(torch, "max_pool2d", x, kernel, stride, padding, dilation, ceil, indices)
    for kernel, stride, padding, ceil, include, divisor in itertools.product(
            (2, (3, 2)), (None, (2, 3)), (0, 1), (False, True), (False, True), (None, 3)):
        _same(torch, "avg_pool2d", x, kernel, stride, padding, ceil, include, divisor)
    for size in (1, 3, (None, 2), (9, 5)):
        _same(torch, "adaptive_avg_pool2d", x, size, view=True)
        if size != (None, 2):
            _same(torch, "adaptive_max_pool2d", x, size, return_indices=True)
    for one in (x[0, 0], x[0]):  # (C, L) and (N, C, L)
        _same(torch, "max_pool1d", one, 3, 2, 1, ceil_mode=True, return_indices=True)
        _same(torch, "avg_pool1d", one, 3, 2, 1, True, False)
        _same(torch, "adaptive_avg_pool1d", one, 3)
        _same(torch, "adaptive_max_pool1d", one, 3)
    deep = rng.standard_normal((1, 2, 4, 5, 6)).astype(np.float32)
    _same(torch, "max_pool3d", deep, (2, 3, 2), (1, 2, 2), (1, 1, 0), return_indices=True)
    _same(torch, "avg_pool3d", deep, 2, 2, 1, True, False)
    _same(torch, "adaptive_avg_pool3d", deep, (2, None, 3))
    for p, ceil in ((2, False), (3.0, False), (2, True)):
        _same(torch, "lp_pool2d", np.abs(x) + 0.1, p, 3, 2, ceil)
    _same(torch, "lp_pool1d", np.abs(x[0]) + 0.1, 2, 2)


def test_unpooling_is_pytorchs(rng: np.random.Generator, device) -> None:
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 7, 8)).astype(np.float32)
    values, index = torch.nn.functional.max_pool2d(torch.tensor(x), 2, return_indices=True)
    for size in (None, (7, 8), (2, 3, 7, 8)):
        ours, theirs = Variable(from_host(values.numpy()), requires_grad=True), values.clone().requires_grad_()
        y = F.max_unpool2d(ours, Variable(from_host(index.numpy())), 2, output_size=size)
        t = torch.nn.functional.max_unpool2d(theirs, index, 2, output_size=size)
        assert_close(y, t.detach().numpy())
        (y * y).sum().backward()
        (t * t).sum().backward()
        assert_close(ours.grad, theirs.grad.numpy())


def test_columns_are_pytorchs(rng: np.random.Generator, device) -> None:
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 7, 8)).astype(np.float32)
    for kernel, dilation, padding, stride in itertools.product((2, (3, 2)), (1, (1, 2)), (0, (1, 2)), (1, (2, 3))):
        _same(torch, "unfold", x, kernel, dilation, padding, stride)
        columns = torch.nn.functional.unfold(torch.tensor(x), kernel, dilation, padding, stride).numpy()
        _same(torch, "fold", columns, (7, 8), kernel, dilation, padding, stride)


def test_interpolate_is_pytorchs(rng: np.random.Generator, device) -> None:
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 5, 7)).astype(np.float32)
    targets = [{"size": (8, 3)}, {"size": 5}, {"scale_factor": 2}, {"scale_factor": (1.7, 0.6)},
               {"scale_factor": 2.3, "recompute_scale_factor": True}, {"size": (1, 1)}, {"size": (15, 14)}]
    for target in targets:
        for mode in ("nearest", "nearest-exact", "area"):
            _same(torch, "interpolate", x, mode=mode, **target)
        for mode, align in itertools.product(("bilinear", "bicubic"), (False, True)):
            _same(torch, "interpolate", x, mode=mode, align_corners=align, **target)
    for align in (False, True):
        _same(torch, "interpolate", x[0], size=9, mode="linear", align_corners=align)
        _same(torch, "interpolate", x[None], size=(3, 8, 4), mode="trilinear", align_corners=align)
    _same(torch, "interpolate", x, scale_factor=2, view=True)
    _same(torch, "pixel_shuffle", rng.standard_normal((2, 12, 3, 2)).astype(np.float32), 2)
    _same(torch, "pixel_unshuffle", rng.standard_normal((3, 4, 6)).astype(np.float32), 2)
    _same(torch, "channel_shuffle", rng.standard_normal((2, 6, 3, 2)).astype(np.float32), 3)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("run", "kind", "message"), [
    (lambda t: F.max_pool2d(t(3, 4), 2), ShapeError, r"max_pool2d: got input \(3, 4\); expected 4 dimensions"),
    (lambda t: F.max_pool2d(t(1, 0, 4, 4), 2), ShapeError, "no empty axis but the batch's"),
    (lambda t: F.max_pool2d(t(1, 1, 4, 4), 2, padding=2), ValueError, "at most half of the kernel's reach"),
    (lambda t: F.max_pool2d(t(1, 1, 4, 4), 5), ShapeError, "a result, not one of"),
    (lambda t: F.max_pool2d(t(1, 1, 4, 4), 0), ValueError, "kernel_size=0; expected 1 or more"),
    (lambda t: F.avg_pool2d(t(1, 1, 4, 4), 2, divisor_override=0), ValueError, "divisor_override=0"),
    (lambda t: F.adaptive_avg_pool2d(t(1, 1, 4, 4), (1, 2, 3)), ShapeError, "an int or 2 ints or Nones"),
    (lambda t: F.max_unpool1d(t(1, 1, 4), clgrad.zeros(1, 1, 3, dtype="int64"), 2), ShapeError, "one shape"),
    (lambda t: F.max_unpool1d(t(1, 1, 4), clgrad.zeros(1, 1, 4, dtype="int64"), 2, output_size=(1, 1, 20)), ShapeError,
     "less than the stride"),
    (lambda t: F.interpolate(t(1, 1, 4)), ValueError, "neither size nor scale_factor"),
    (lambda t: F.interpolate(t(1, 1, 4), 3, 2.0), ValueError, "both size and scale_factor"),
    (lambda t: F.interpolate(t(1, 1, 4), 3, mode="cubic"), ValueError, "mode='cubic'"),
    (lambda t: F.interpolate(t(1, 1, 4), 3, mode="bilinear"), ShapeError, "expected 4 dimensions"),
    (lambda t: F.interpolate(t(1, 1, 4), 3, align_corners=True), ValueError, "no align_corners"),
    (lambda t: F.interpolate(t(1, 1, 4), scale_factor=0.1), ShapeError, "sizes of 1 or more"),
    (lambda t: F.pixel_shuffle(t(1, 3, 4, 4), 2), ShapeError, "the factor squared"),
    (lambda t: F.pixel_unshuffle(t(1, 3, 5, 4), 2), ShapeError, "divide by the factor"),
    (lambda t: F.unfold(t(3, 4), 2), ShapeError, r"\(N, C, H, W\)"),
    (lambda t: F.fold(t(1, 8, 5), (3, 4), 2), ShapeError, r"\(N, C \* 4, 6\)"),
])
def test_errors(run: Any, kind: type, message: str, device) -> None:
    with pytest.raises(kind, match=message):
        run(clgrad.ones)
