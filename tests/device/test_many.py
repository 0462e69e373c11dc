"""What many-core kernels alone do: rows shared by teams of work-items, long ones cut into pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import clgrad
from clgrad import kernels, ops
from clgrad.core import dtypes
from clgrad.families.norm import norm, norm_backward
from clgrad.ndarray import from_host
from clgrad.nn import functional as F
from clgrad.runtime import launch as launcher
from clgrad.runtime import program
from clgrad.table import OPS
from clgrad.testing import assert_close, call, expected_of

_CLASSES = np.array([31, 0, 3])
ROWS = [("softmax", 1, (), {"dim": 1}), ("softmax_backward", 2, (), {"dim": 1}), ("log_softmax", 1, (), {"dim": -1}),
        ("log_softmax_backward", 2, (), {"dim": 1}), ("row_logsumexp", 1, (), {"dim": 1}),
        ("cross_entropy_rows", 1, (_CLASSES,), {"ignore_index": 3}),
        ("cross_entropy_backward", 1, (_CLASSES,), {"ignore_index": 3})]


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


@pytest.fixture(scope="module")
def eight(both_forms: dict) -> clgrad.Device:
    """A many-core device of 8 units."""
    many = both_forms["many"]
    other = clgrad.Device(many._cl, f"{many.key}/eight", 0)
    other.facts = replace(many.facts, compute_units=8)
    other.wide_core = False
    return other


@pytest.fixture
def cut(eight: clgrad.Device, monkeypatch: pytest.MonkeyPatch) -> clgrad.Device:
    """One on which a few rows are cut into pieces of 64 elements or more."""
    for family in ("softmax", "norm"):
        monkeypatch.setattr(kernels.template(family).module, "PIECE", 64)
    with eight:
        yield eight


@pytest.mark.parametrize(("name", "tensors", "more", "attrs"), ROWS, ids=[row[0] for row in ROWS])
def test_rows_in_pieces(name: str, tensors: int, more: tuple, attrs: dict, rng: np.random.Generator,
                        cut: clgrad.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two launches: pieces' maxima and sums, and what they make together, of as many rows as leave units idle."""
    launched: list[str] = []
    monkeypatch.setattr(launcher, "_recent", launched)
    for K, rows in ((700, 3), (129, 3), (130, 4)):
        inputs = [rng.standard_normal((rows, K)).astype(np.float32) for _ in range(tensors)]
        if name == "cross_entropy_backward":
            inputs.insert(0, rng.standard_normal(rows).astype(np.float32))
        inputs += (np.resize(a, rows) for a in more)
        with np.errstate(all="ignore"):
            expected, _ = expected_of(OPS[name], inputs, attrs)
        launched.clear()
        got = call(ops.ALL[name], [from_host(a) for a in inputs], attrs)
        assert len(launched) == 2
        assert_close(got, expected, scale=4, message=f"{rows} x {K}")


@pytest.mark.parametrize(("shape", "attrs"), [((3, 700), {"scheme": "layer", "size": 1}),
                                              ((3, 130), {"scheme": "layer", "size": 1, "rms": True}),
                                              ((2, 300), {"scheme": "group", "size": 2}),
                                              ((2, 9, 40), {"scheme": "group", "size": 1}),
                                              ((2, 30, 20), {"scheme": "group", "size": 2}),
                                              ((3, 2, 90), {"scheme": "batch", "size": 0})])
def test_normalised_in_pieces(shape: tuple, attrs: dict, norm_calls: Callable, cut: clgrad.Device,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics and sums of pieces; short and long segments are never cut in the backward."""
    launched: list[str] = []
    monkeypatch.setattr(launcher, "_recent", launched)
    for name, inputs, more in norm_calls(shape, attrs):
        launched.clear()
        got = call(ops.ALL[name], [from_host(a) for a in inputs], more)
        assert sum("norm" in label for label in launched) == 2
        for one, expected in zip(got, OPS[name].ref(*inputs, **more), strict=True):
            assert_close(one, expected, scale=4)


def test_running_statistics_of_rows_in_pieces(rng: np.random.Generator, cut: clgrad.Device) -> None:
    """One piece mixes them, once."""
    x = rng.standard_normal((3, 2, 90)).astype(np.float32)
    mean, var = from_host(np.ones(2, np.float32)), from_host(np.zeros(2, np.float32))
    norm(from_host(x), None, None, "batch", 0, 1e-5, False, (mean, var, 0.25, None))
    assert_close(mean, (0.75 + 0.25 * x.mean((0, 2), dtype=np.float64)).astype(np.float32), scale=4)
    assert_close(var, (0.25 * x.var((0, 2), ddof=1, dtype=np.float64)).astype(np.float32), scale=4)


def test_infinities_and_nan_in_pieces(cut: clgrad.Device) -> None:
    x = np.full((4, 200), -np.inf, np.float32)
    x[0, 130:] = -1000  # the first piece adds nothing, and must not set the scale
    x[1, 3] = np.inf
    x[2, 150] = np.nan
    got = ops.ALL["row_logsumexp"](from_host(x), 1).numpy()
    np.testing.assert_allclose(got, [-1000 + np.log(70), np.inf, np.nan, -np.inf], rtol=1e-6)
    got = ops.ALL["softmax"](from_host(x), 1).numpy()
    np.testing.assert_allclose(got[0], np.where(x[0] == -1000, 1 / 70, 0), rtol=1e-6)
    assert np.isnan(got[1:, 3]).all()
    assert np.isnan(got[2:]).all()


def test_a_kernels_own_limit_of_work_items(rng: np.random.Generator, device: clgrad.Device,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver may grant a kernel fewer work-items than the device has: every family plans smaller groups then."""
    limited, launched = clgrad.Device(device._cl, f"{device.key}/32", device.index), []
    real, launch = program.Kernel.__init__, launcher.Launch.__init__

    def grant(k: program.Kernel, *args: object) -> None:
        real(k, *args)
        k.max_local = min(k.max_local, 32)

    def seen(step: launcher.Launch, *args: object, **more: object) -> None:
        launch(step, *args, **more)
        launched.append(step.lsize[0])

    monkeypatch.setattr(program.Kernel, "__init__", grant)
    monkeypatch.setattr(launcher.Launch, "__init__", seen)
    x = rng.standard_normal((3, 700)).astype(np.float32)
    square = rng.standard_normal((2, 40, 8)).astype(np.float32)
    with clgrad.config.override(form="many"), limited:
        a = from_host(x)
        exact = np.exp(x - x.max(1, keepdims=True), dtype=np.float64)
        assert_close(ops.ALL["softmax"](a, 1), (exact / exact.sum(1, keepdims=True)).astype(np.float32), scale=4)
        assert_close(ops.ALL["sum"](a, 1), x.sum(1, dtype=np.float64).astype(np.float32), scale=4)
        assert_close(ops.ALL["cumsum"](a, 1), x.cumsum(1, dtype=np.float64).astype(np.float32), scale=4)
        np.testing.assert_array_equal(ops.ALL["argmax"](a, 1).numpy(), x.argmax(1))
        centred = x - x.mean(1, keepdims=True, dtype=np.float64)
        out, _, _ = norm(a, None, None, "layer", 1, 0.0, False, None)
        assert_close(out, (centred / np.sqrt((centred ** 2).mean(1, keepdims=True))).astype(np.float32), scale=4)
        weight = rng.standard_normal((4, 2, 3)).astype(np.float32)
        got = F.conv1d(clgrad.tensor(square.transpose(0, 2, 1)[:, :2].copy()), clgrad.tensor(weight))
        sides = np.lib.stride_tricks.sliding_window_view(square.transpose(0, 2, 1)[:, :2], 3, -1)
        assert_close(got.data, np.einsum("nclk,ock->nol", sides, weight, dtype=np.float64).astype(np.float32), scale=4)
    assert launched
    assert max(launched) == 32


def test_a_group_that_is_too_large_says_so(device: clgrad.Device) -> None:
    k = program.kernel(device, "fill", "fill", "PLl", "fill", stream=False)
    with pytest.raises(program.GroupLimitError, match=rf"fill: got work-groups of \d+ on .*at most {k.max_local}"):
        launcher.Launch(k, (4 * k.max_local,), (2 * k.max_local,), ("out", 0, 8))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_vectors_where_they_are_aligned(dtype: str, both_forms: dict) -> None:
    """Elementwise, by four where all arrays begin at whole vectors, and what is left one by one."""
    x = (np.arange(103) % 60).astype(dtypes.dtype(dtype).np)
    a = from_host(x, None, both_forms["many"])
    for start in (0, 1, 4):
        own = x[start:].astype(np.float32)
        got = ops.ALL["add"](a[start:], a[start:])
        np.testing.assert_array_equal(got.numpy(), (own + own).astype(x.dtype))
        np.testing.assert_array_equal(ops.ALL["lt"](a[start:], a[50:51]).numpy(), own < 50)


def test_rows_by_vectors_where_they_are_aligned(rng: np.random.Generator, both_forms: dict) -> None:
    flat = rng.standard_normal(3 * 32 + 4).astype(np.float32)
    for start in (0, 1, 4):
        x = flat[start:start + 96].reshape(3, 32)
        a = from_host(flat, None, both_forms["many"])[start:start + 96].reshape((3, 32))
        exact = np.exp(x - x.max(1, keepdims=True), dtype=np.float64)
        exact /= exact.sum(1, keepdims=True)
        assert_close(ops.ALL["softmax"](a, 1), exact.astype(np.float32), scale=4)
        assert_close(ops.ALL["sum"](a, 1), x.sum(1, dtype=np.float64).astype(np.float32), scale=4)
        np.testing.assert_array_equal(ops.ALL["amax"](a, 1).numpy(), x.max(1))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool", "float16", "bfloat16"])
def test_reductions_by_vectors_where_they_are_aligned(dtype: str, rng: np.random.Generator, both_forms: dict) -> None:
    """Rows of whole vectors, and beside them such as begin or lie apart otherwise; sums of whole numbers are exact."""
    many = both_forms["many"]
    if dtype == "float64" and not many.facts.fp64:
        pytest.skip("the device has no float64")
    host = rng.integers(0, 3, (6, 4100))
    x = from_host(host.astype(bool) if dtype == "bool" else host.astype(np.float32 if "16" in dtype else dtype),
                  None, many).astype(dtypes.dtype(dtype))
    numbers = host.astype(bool) if dtype == "bool" else host
    for part in (np.s_[:], np.s_[:, :4096], np.s_[:, 4:4096], np.s_[:, 1:4097], np.s_[1:, :640], np.s_[:, :4098],
                 np.s_[:1, :8], np.s_[::2, :3000:]):
        view, expected = x[part], numbers[part]
        for dim in (1, None):
            if dtype not in ("float16", "bfloat16"):
                np.testing.assert_array_equal(ops.ALL["sum"](view, dim).numpy(), expected.sum(dim))
            if dtype != "bool":
                np.testing.assert_array_equal(ops.ALL["amax"](view, dim).astype(dtypes.float32).numpy(),
                                              expected.max(dim))
            np.testing.assert_array_equal(ops.ALL["any"](view, dim).numpy(), expected.any(dim))
    if "float" in dtype:
        spoilt = host.astype(np.float32)
        spoilt[2, 4099] = np.nan
        got = ops.ALL["amax"](from_host(spoilt, None, many).astype(dtypes.dtype(dtype)), 1).astype(dtypes.float32)
        np.testing.assert_array_equal(np.isnan(got.numpy()), np.arange(6) == 2)


@pytest.mark.parametrize("start", [0, 1, 4])
@pytest.mark.parametrize(("shape", "groups"), [((5, 24), None), ((3, 516), None), ((4, 8, 12), 2), ((4, 16), 4),
                                               ((2, 8, 36), 8)], ids=str)
def test_norms_by_vectors_where_they_are_aligned(shape: tuple, groups: int | None, start: int,
                                                 rng: np.random.Generator, both_forms: dict) -> None:
    """Arrays and weights that begin at a vector of four, and such as do not."""
    def placed(values: np.ndarray) -> clgrad.Variable:
        flat = np.concatenate([np.zeros(start), values.ravel()]).astype(np.float32)
        return clgrad.Variable(from_host(flat, None, many)[start:].reshape(values.shape), requires_grad=True)

    many = both_forms["many"]
    hosts = [rng.standard_normal(s).astype(np.float32) for s in (shape, shape[1:2], shape[1:2], shape)]
    results = []
    for place in (placed, lambda v: clgrad.tensor(v.astype(np.float64), requires_grad=True)):
        x, weight, bias, g = map(place, hosts)
        y = F.group_norm(x, groups, weight, bias) if groups else F.layer_norm(x, shape[1:], weight, bias)
        results.append([y.detach(), *clgrad.autograd.grad(y, (x, weight, bias), g)])
    for got, expected in zip(*results):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=2e-5, atol=2e-5)
