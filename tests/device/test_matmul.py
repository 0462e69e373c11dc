"""Matrix products over awkward sizes, strides, batches and dtypes, in both kernel forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special

import clgrad
from clgrad import Variable, kernels
from clgrad.core import dtypes
from clgrad.families import matmul as family
from clgrad.families.matmul import matmul
from clgrad.ndarray import from_host
from clgrad.ops.elementwise import _gelu_erf, relu
from clgrad.ops.matmul import linear_plus, linear_relu, weight_gradients
from clgrad.runtime import launch as launcher
from clgrad.runtime import tuned
from clgrad.testing import assert_close, gradcheck, on_device

AWKWARD = (1, 2, 3, 8, 17, 31, 33, 64, 100)
LONG_K = ((3, 2000, 5), (1, 5000, 3), (4, 4097, 1), (64, 1000, 100), (100, 64, 1000), (130, 600, 260), (1, 1, 1))


def _integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Small integers: every product and sum is exact in every dtype but the narrowest."""
    low = 0 if np.dtype(dtype).kind == "u" else -3
    return rng.integers(low, 4, shape).astype(dtype)


def _exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.int64) @ b.astype(np.int64)).astype(a.dtype)


@pytest.mark.parametrize("shape", ["wide", "many"])
@pytest.mark.parametrize("K", AWKWARD)
def test_grid_of_sizes(K: int, shape: str, rng: np.random.Generator, device) -> None:
    for M, N in itertools.product(AWKWARD, AWKWARD):
        a, b = _integers(rng, (M, K), "float32"), _integers(rng, (K, N), "float32")
        assert_close(matmul(from_host(a), from_host(b), shape), _exact(a, b), dtype="float32", message=f"{M} {K} {N}")


@pytest.mark.parametrize("shape", ["wide", "many"])
@pytest.mark.parametrize("dtype", [d.name for d in dtypes.NUMERIC if d.kind != "c"])
def test_dtypes_and_long_sums(dtype: str, shape: str, rng: np.random.Generator, device) -> None:
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    for M, K, N in LONG_K:
        a, b = (_integers(rng, s, dtypes.dtype(dtype).np) for s in ((M, K), (K, N)))
        if dtype in ("float16", "bfloat16"):  # sums are float32, but must be storable
            a, b = a * a.dtype.type(0.125), b * b.dtype.type(0.125)
            assert_close(matmul(from_host(a), from_host(b), shape), a.astype(np.float64) @ b.astype(np.float64))
        else:
            assert_close(matmul(from_host(a), from_host(b), shape), _exact(a, b), dtype=dtype, message=f"{M} {K} {N}")


@pytest.mark.parametrize("number", range(5))
def test_every_tile_of_work_groups(number: int, rng: np.random.Generator, device) -> None:
    tiles = kernels.template("matmul").module.MANY_TILES[4]
    params = tiles[number] if number < 4 else {**tiles[1], "buffers": 1}
    many = clgrad.Device(device._cl, f"{device.key}/tile{number}", device.index)  # a Device's parameters stay its own
    tuned.force(many, {"matmul": params})
    for (M, K, N), layouts in (((130, 41, 261), ("contiguous", "contiguous")), ((64, 64, 128), ("transposed",) * 2),
                               ((129, 48, 132), ("sliced", "transposed")), ((33, 700, 36), ("transposed", "sliced"))):
        a, b = _integers(rng, (M, K), "float32"), _integers(rng, (K, N), "float32")
        x, y = (on_device(v, layout, many) for v, layout in zip((a, b), layouts))
        assert_close(matmul(x, y, "many"), _exact(a, b), dtype="float32", message=f"{M} {K} {N} {layouts}")


def test_a_kernels_own_limit_of_work_items(rng: np.random.Generator, device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver may grant a kernel fewer work-items than the device has: smaller groups are planned then."""
    many, real, asked = clgrad.Device(device._cl, f"{device.key}/limited", device.index), family.kernel, []

    def limited(*args, **values):
        built = real(*args, **values)
        built.max_local = 32
        asked.append(values.get("group_m", 1) * values.get("group_n", 1))
        return built

    monkeypatch.setattr(family, "kernel", limited)
    a, b = _integers(rng, (33, 20), "float32"), _integers(rng, (20, 70), "float32")
    assert_close(matmul(from_host(a, None, many), from_host(b, None, many), "many"), _exact(a, b), dtype="float32")
    assert asked[0] > 32 >= asked[-1]


def test_integers_wrap(device) -> None:
    a = np.full((3, 40), 100, np.int8)
    assert_close(from_host(a) @ from_host(a).T, (a.astype(np.int64) @ a.T.astype(np.int64)).astype(np.int8))


def test_bools_are_any_of_both(rng: np.random.Generator, device) -> None:
    a, b = rng.random((5, 300)) < 0.5, rng.random((300, 4)) < 0.5
    assert_close(from_host(a) @ from_host(b), a @ b, dtype="bool")


@pytest.mark.parametrize("shape", ["wide", "many"])
@pytest.mark.parametrize("layouts", list(itertools.product(("contiguous", "transposed", "sliced"), repeat=2)))
@pytest.mark.parametrize("size", [(5, 7, 9), (33, 40, 48), (1, 64, 33), (33, 64, 1), (12, 513, 20)])
def test_layouts(size: tuple, layouts: tuple, shape: str, rng: np.random.Generator, device) -> None:
    M, K, N = size
    a, b = _integers(rng, (M, K), "float32"), _integers(rng, (K, N), "float32")
    x, y = on_device(a, layouts[0]), on_device(b, layouts[1])
    assert_close(matmul(x, y, shape), _exact(a, b))


@pytest.mark.parametrize("shape", ["wide", "many"])
@pytest.mark.parametrize(("left", "right"), [
    ((4, 5, 6), (4, 6, 3)), ((4, 5, 6), (6, 3)), ((5, 6), (4, 6, 3)), ((2, 1, 5, 6), (3, 6, 4)),
    ((2, 3, 5, 6), (1, 3, 6, 1)),
    ((0, 5, 6), (0, 6, 3)), ((2, 5, 0), (2, 0, 3)), ((2, 3, 1, 9), (2, 3, 9, 1)), ((7, 64, 64), (7, 64, 64))])
def test_batches(left: tuple, right: tuple, shape: str, rng: np.random.Generator, device) -> None:
    a, b = _integers(rng, left, "float32"), _integers(rng, right, "float32")
    assert_close(matmul(from_host(a), from_host(b), shape), np.matmul(a, b), dtype="float32")
    if a.ndim == 4 and b.ndim == 4:
        assert_close(matmul(on_device(a, "transposed"), on_device(b, "sliced"), shape), np.matmul(a, b))


def _gelu(v: np.ndarray) -> np.ndarray:
    return 0.5 * v * (1 + special.erf(v / 2 ** 0.5))


@pytest.mark.parametrize("shape", ["wide", "many"])
@pytest.mark.parametrize(("left", "right", "before", "after"), [
    ((5, 7), (7, 9), (9,), None),                       # tiles at an edge
    ((64, 1000), (1000, 100), (100,), (64, 100)),       # dot products, vectors of 4
    ((6, 1000), (1000, 50), (6, 1), (1, 50)),           # one value a row
    ((4, 2000), (2000, 5), (), (4, 5)),                 # partial sums
    ((1, 600), (600, 33), (33,), (1, 33)),              # a row, and a column
    ((33, 600), (600, 1), (33, 1), ()),
    ((2, 3, 40, 48), (2, 3, 48, 80), (3, 1, 80), (2, 1, 40, 80)),
    ((3, 20, 48), (48, 70), (70,), (3, 20, 1)),         # a batch of rows is one product
    ((3, 0), (0, 20), (20,), (3, 20)),                  # a sum of nothing
])
def test_results_are_ended_where_they_are_stored(left: tuple, right: tuple, before: tuple, after: tuple | None,
                                                 shape: str, rng: np.random.Generator, device) -> None:
    x, y, b = (rng.standard_normal(s).astype(np.float32) for s in (left, right, before))
    r = None if after is None else rng.standard_normal(after).astype(np.float32)
    x /= max(1, left[-1]) ** 0.5
    total = x.astype(np.float64) @ y.astype(np.float64) + b
    for layout in ("contiguous", "transposed"):
        terms = {"before": on_device(b, layout), "after": None if r is None else on_device(r, layout)}
        got = matmul(from_host(x), on_device(y, layout), shape, **terms, activation=_gelu_erf.op.run.expression)
        expected = _gelu(total) + (0 if r is None else r)
        assert_close(got, expected.astype(np.float32), dtype="float32", message=layout)
        plain = matmul(from_host(x), on_device(y, layout), shape, before=terms["before"])
        assert_close(plain, total.astype(np.float32), dtype="float32", message=layout)


@pytest.mark.parametrize("shape", ["wide", "many"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8"])
def test_endings_in_other_dtypes(dtype: str, shape: str, rng: np.random.Generator, device) -> None:
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    for M, K, N in ((40, 33, 70), (4, 2000, 5)):
        x, y, b, r = (_integers(rng, s, dtypes.dtype(dtype).np) for s in ((M, K), (K, N), (N,), (M, N)))
        scale = x.dtype.type(1 if dtype == "int8" else 0.25)  # sums stay exact, and within 16 bits' precision
        x, y = x * scale, y * scale
        kind = np.int64 if dtype == "int8" else np.float64
        exact = np.maximum(x.astype(kind) @ y.astype(kind) + b.astype(kind), 0) + r.astype(kind)
        if dtype == "int8":
            exact = (x.astype(kind) @ y.astype(kind) + b.astype(kind) + r.astype(kind)).astype(np.int8)
        got = matmul(from_host(x), from_host(y), shape, before=from_host(b), after=from_host(r),
                     activation=None if dtype == "int8" else relu.op.run.expression)
        assert got.dtype.name == dtype
        assert_close(got, exact, message=f"{M} {K} {N}")


def test_linear_is_one_launch(rng: np.random.Generator, device, monkeypatch) -> None:
    launches: list[str] = []
    x, w, b = (Variable(from_host(rng.standard_normal(s).astype(np.float32))) for s in ((8, 64), (16, 64), (16,)))
    expected = clgrad.linear(x, w, b)
    monkeypatch.setattr(launcher, "_recent", launches)
    for run in (lambda: clgrad.linear(x, w, b), lambda: clgrad.linear(x[0], w, b), lambda: clgrad.addmm(b, x, w.T),
                lambda: linear_relu(x, w, b), lambda: linear_plus(x, w, b, expected)):
        launches.clear()
        run()
        assert len(launches) == 1
        assert launches[0].startswith("matmul.")


@pytest.mark.parametrize(("dtype", "layout"), [("float32", "contiguous"), ("float32", "transposed"),
                                               ("float16", "contiguous"), ("float16", "transposed")])
def test_a_bias_gradient_comes_with_the_weights(dtype: str, layout: str, rng: np.random.Generator, device,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of panels of every kind, whole and cut off, in one part and in several, and of a K that is split."""
    launches: list[str] = []
    monkeypatch.setattr(launcher, "_recent", launches)
    for K, M, N in ((70, 37, 33), (33, 6, 70), (600, 8, 9), (1, 5, 4), (2100, 40, 40)):
        dy, x = (_integers(rng, s, dtype) * np.asarray(0.125, dtype) for s in ((K, M), (K, N)))
        for shape in ("wide", "many"):
            y = on_device(dy, layout, device)
            dw, db = family.matmul_and_sums(y.mT, from_host(x), shape)
            assert (db is None) == (shape == "many")
            assert_close(dw, dy.T.astype(np.float64) @ x, message=f"{K} {M} {N}")
            if db is not None:
                assert db.dtype.name == dtype
                assert_close(db, dy.astype(np.float64).sum(0), message=f"{K} {M} {N}")
    if device.wide_core and dtype == "float32":
        y, x = (from_host(_integers(rng, s, dtype)) for s in ((64, 40), (64, 128)))
        weight_gradients(y, x)
        launches.clear()
        weight_gradients(y, x)
        assert launches == ["matmul.pack", "matmul.tile"]


def test_mixed_dtypes_are_promoted(rng: np.random.Generator, device) -> None:
    x, w = (from_host(rng.standard_normal(s).astype(np.float16)) for s in ((3, 5), (4, 5)))
    b = from_host(rng.standard_normal(4).astype(np.float32))
    for op, end in ((clgrad.linear, lambda v: v), (linear_relu, lambda v: np.maximum(v, 0))):
        got = op(x, w, b)
        assert got.dtype.name == "float32"
        exact = (x.numpy().astype(np.float64) @ w.numpy().T.astype(np.float64)).astype(np.float16) + b.numpy()
        assert_close(got, end(exact), dtype="float32", scale=100)


def test_nan_and_infinity_stay_in_their_rows(rng: np.random.Generator, device) -> None:
    a, b = rng.standard_normal((37, 50)).astype(np.float32), rng.standard_normal((50, 29)).astype(np.float32)
    a[5, 7], a[9, 3] = np.nan, np.inf
    for shape in ("wide", "many"):
        out = matmul(from_host(a), from_host(b), shape).numpy()
        assert np.isnan(out[5]).all()
        assert np.isinf(out[9]).all()
        assert np.isfinite(np.delete(out, (5, 9), 0)).all()


def test_a_large_product_is_accurate(rng: np.random.Generator, device) -> None:
    a, b = (rng.standard_normal((300, 300)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs((from_host(a) @ from_host(b)).numpy() - exact).max() < 1e-4


def test_a_long_inner_dimension_is_split(rng: np.random.Generator, device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a right operand read in place, so that all tiles of the left one find a part of it near them."""
    launches: list[str] = []
    monkeypatch.setattr(launcher, "_recent", launches)
    a, b, bias = (_integers(rng, s, "float32") for s in ((2, 100, 3100), (2, 3100, 130), (130,)))
    got = matmul(from_host(a), from_host(b), "wide", before=from_host(bias))
    assert [label for label in launches if label.startswith("matmul")] == ["matmul.tile", "matmul.sum"]
    assert_close(got, _exact(a, b) + bias)


def test_gradients_of_every_shape(rng: np.random.Generator, device) -> None:
    for left, right in (((5,), (5,)), ((3, 5), (5,)), ((5,), (5, 4)), ((2, 3, 5), (5, 4)), ((3, 5), (2, 5, 4)),
                        ((2, 1, 3, 5), (4, 5, 2))):
        tensors = [Variable(from_host(rng.standard_normal(s)), requires_grad=True) for s in (left, right)]
        gradcheck(lambda x, y: x @ y, tensors)


@pytest.mark.parametrize(("call", "message"), [
    (lambda t: t(2, 3) @ t(2, 3), r"got shapes \(2, 3\) and \(2, 3\).*inner sizes 3 and 2"),
    (lambda t: t(2, 3).mm(t(3)), "two matrices"),
    (lambda t: clgrad.matmul(t(2, 3), 2.0), "Use x \\* y"),
    (lambda t: t(2, 2, 3) @ t(3, 3, 2), "broadcast"),
    (lambda t: clgrad.linear(t(2, 3), t(4, 2)), "last axis must equal"),
    (lambda t: clgrad.linear(t(2, 3), t(4, 3), t(3)), "one bias an output"),
])
def test_errors(call, message: str, device) -> None:
    with pytest.raises(ValueError, match=message):
        call(clgrad.ones)
    assert (clgrad.ones(2, 3) @ clgrad.ones(3, 2)).tolist() == [[3, 3], [3, 3]]
