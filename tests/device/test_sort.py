"""Scans, sorting and what is made of them, against NumPy: both kernel forms, boundaries, NaN, ties, derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad
import clgrad.array as xp
from clgrad import Variable
from clgrad.core import dtypes
from clgrad.ndarray import from_host
from clgrad.testing import assert_close, gradcheck, on_device

LENGTHS = (0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 1000, 5000)
FLOATS = ("float16", "float32", "float64")
BITS = [d.name for d in dtypes.ALL if d.kind != "c"]


@pytest.fixture(autouse=True)
def _no_warnings():
    with np.errstate(all="ignore"):
        yield


def _need(device, dtype: str) -> None:
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")


def _values(rng: np.random.Generator, shape, dtype: str) -> np.ndarray:
    """Few different values, so many ties; of floats also NaN, infinities and both zeros."""
    d = dtypes.dtype(dtype).np
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if d.kind in "iu":
        info = np.iinfo(d)
        return rng.choice(np.array([info.min, info.min + 1, 0, 1, 5, info.max - 1, info.max], d), shape)
    return rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -1.5, 3.0, 1e-4], d), shape)


# Scans --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [*LENGTHS, 100_003])
def test_cumsum_lengths(n: int, form: str, device, rng) -> None:
    x = rng.integers(-9, 9, n).astype(np.int32)
    assert_close(clgrad.cumsum(from_host(x), 0), np.cumsum(x, dtype=np.int64), dtype="int64")
    y = rng.uniform(-3, 3, n).astype(np.float32)
    assert_close(clgrad.cumsum(from_host(y), 0), np.cumsum(y.astype(np.float64)), dtype="float32")


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 9001, 3), (40, 40), (9001, 17), (3, 9001), (1, 0, 3), (33, 1)])
def test_scans_along_every_axis(shape, form: str, device, rng) -> None:
    x = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    for dim in range(-len(shape), len(shape)):
        assert_close(clgrad.cumsum(from_host(x), dim), np.cumsum(x.astype(np.float64), dim))
        got = clgrad.cummax(from_host(x), dim)
        assert_close(got.values, np.maximum.accumulate(x, dim))
        assert_close(np.take_along_axis(x, got.indices.numpy(), dim), got.values.numpy())


@pytest.mark.parametrize("shape", [(4_194_400,), (2049, 2064), (2049, 2051)], ids=str)
def test_large_scans_are_written_past_the_caches(shape, device, rng) -> None:
    x = rng.integers(-9, 9, shape).astype(np.float32)  # sums are exact
    for dim in range(len(shape)):
        np.testing.assert_array_equal(clgrad.cumsum(from_host(x), dim).numpy(), np.cumsum(x, dim))


@pytest.mark.parametrize("n", [33, 9001])
def test_scans_of_nan_and_infinity(n: int, form: str, device, rng) -> None:
    for where in (0, n // 2, n - 1):
        for special in (np.nan, np.inf, -np.inf):
            x = rng.uniform(0.99, 1.01, n).astype(np.float32)
            x[where] = special
            wide = x.astype(np.float64)
            for ours, theirs in ((clgrad.cumsum, np.cumsum), (clgrad.cumprod, np.cumprod),
                                 (clgrad.logcumsumexp, np.logaddexp.accumulate)):
                assert_close(ours(from_host(x), 0), theirs(wide), scale=200)
            assert_close(clgrad.cummin(from_host(x), 0).values, np.minimum.accumulate(x))


def test_cummax_takes_the_last_of_equals_and_of_nan(form: str, device) -> None:
    x = np.array([1, 1, 0, 2, 2, 1, np.nan, 3, np.nan, np.inf] * 900, np.float32)[:-1]
    assert clgrad.cummax(from_host(x), 0).indices.tolist()[:10] == [0, 1, 1, 3, 4, 4, 6, 6, 8, 8]
    assert clgrad.cummax(from_host(x), 0).indices.tolist()[-1] == np.flatnonzero(np.isnan(x))[-1]


def test_cumsum_does_not_lose_small_terms(form: str, device) -> None:
    x = np.full(1 << 20, 0.1, np.float32)
    expected = np.cumsum(x.astype(np.float64))
    got = clgrad.cumsum(from_host(x), 0).numpy()
    assert np.abs(got / expected - 1).max() < 3e-7
    half = clgrad.cumsum(from_host(np.full(3000, 0.1, np.float16)), 0)
    assert_close(half, np.cumsum(np.full(3000, np.float16(0.1), np.float64)), dtype="float16")


def test_scans_take_dtype_and_repeat_their_bits(form: str, device, rng) -> None:
    x = rng.standard_normal((3, 9001)).astype(np.float32)
    runs = {clgrad.cumsum(from_host(x), 1).numpy().tobytes() for _ in range(3)}
    assert len(runs) == 1
    assert clgrad.cumsum(from_host(x > 0), 1, dtype="int32").dtype is dtypes.int32
    assert clgrad.cumprod(from_host(x), 0, dtype=dtypes.float16).dtype is dtypes.float16


# Sorting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable_with_nan_last(dtype: str, descending: bool, form: str, device, rng) -> None:
    _need(device, dtype)
    for n in LENGTHS if dtype in ("float32", "int64") else (33, 1000):
        x = _values(rng, n, dtype)
        plain = x.astype(np.float32) if dtype == "bfloat16" else x
        at = clgrad.sort.op.ref(plain, -1, descending)[1]
        got = clgrad.sort(from_host(x), descending=descending)
        np.testing.assert_array_equal(got.indices.numpy(), at, err_msg=f"{dtype} {n}")
        assert_close(got.values, x[at], dtype=dtype)
        if dtypes.dtype(dtype).kind == "f":
            zeros = plain[at] == 0
            np.testing.assert_array_equal(np.signbit(got.values.numpy()[zeros]), np.signbit(x[at][zeros]))
        if not descending:
            np.testing.assert_array_equal(at, np.argsort(plain, kind="stable"))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "float16", "float32"])
def test_short_lines(dtype: str, form: str, rng) -> None:
    """Several side by side: fewer, as many and more than vectors have lanes; lengths that powers of two do not meet."""
    for lines, K in ((1, 1), (3, 2), (8, 16), (9, 17), (19, 63), (5, 257), (8, 512), (2, 513)):
        x = _values(rng, (lines + 1, K), dtype)
        rows = from_host(x)[1:]
        for descending in (False, True):
            values, at = clgrad.sort.op.ref(x[1:], -1, descending)
            got = clgrad.sort(rows, descending=descending)
            np.testing.assert_array_equal(got.indices.numpy(), at, err_msg=f"{lines} x {K}")
            assert_close(got.values, values)
            np.testing.assert_array_equal(clgrad.argsort(rows, descending=descending).numpy(), at)
            assert_close(xp.sort(rows, descending=descending), values)
            k = min(K, 3)
            top = clgrad.topk(rows, k, largest=descending)
            assert_close(top.values, values[:, :k])
            np.testing.assert_array_equal(top.indices.numpy(), at[:, :k])
    assert clgrad.topk(rows, 0).values.shape == (2, 0)


@pytest.mark.parametrize("kind", ["random", "sorted", "reversed", "equal", "saw"])
@pytest.mark.parametrize("n", [16384, 40_961])
def test_sort_of_long_lines(kind: str, n: int, form: str, device, rng) -> None:
    x = {"random": rng.standard_normal(n), "sorted": np.arange(n), "reversed": np.arange(n)[::-1],
         "equal": np.zeros(n), "saw": np.arange(n) % 97}[kind].astype(np.float32)
    got = clgrad.sort(from_host(x))
    np.testing.assert_array_equal(got.indices.numpy(), np.argsort(x, kind="stable"))
    if device.facts.fp64:
        np.testing.assert_array_equal(clgrad.argsort(from_host(x.astype(np.float64))).numpy(),
                                      np.argsort(x, kind="stable"))


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "int64"])
def test_sort_and_selection_of_lines_in_chunks(dtype: str, device, rng) -> None:
    """Lines so long that several work-items share one; few values, so that all orders among equals are seen."""
    _need(device, dtype)
    x = _values(rng, (2, 70_001), dtype)
    x[1, 5:] = x[1, 4]  # one digit everywhere
    given = from_host(x)
    for descending in (False, True):
        values, at = clgrad.sort.op.ref(x, -1, descending)
        got = clgrad.sort(given, descending=descending)
        np.testing.assert_array_equal(got.indices.numpy(), at)
        for ours in (got.values, clgrad.array.sort(given, descending=descending)):
            assert ours.numpy().tobytes() == values.tobytes()  # signs of zeros and bits of NaNs too
        for k in (1, 40, 9000):
            top = clgrad.topk(given, k, largest=descending)
            np.testing.assert_array_equal(top.indices.numpy(), at[:, :k])
            assert top.values.numpy().tobytes() == values[:, :k].tobytes()
    for k in (1, 35_000, 70_001):
        kth = clgrad.kthvalue(given, k)
        np.testing.assert_array_equal(kth.indices.numpy(), clgrad.sort.op.ref(x)[1][:, k - 1])
    np.testing.assert_array_equal(clgrad.argsort(given[:, 1:]).numpy(), clgrad.sort.op.ref(x[:, 1:])[1])


@pytest.mark.parametrize("n", [600, 70_001])
def test_medians_of_long_lines(n: int, form: str, device, rng) -> None:
    x = rng.standard_normal((3, n)).astype(np.float32)
    assert_close(clgrad.median(from_host(x), 1).values, np.sort(x, 1)[:, (n - 1) // 2])
    x[1, 7::50] = np.nan
    got = clgrad.median(from_host(x), 1)
    assert np.isnan(got.values.numpy()).tolist() == [False, True, False]
    assert got.indices.tolist()[1] == 7
    numbers = np.sort(x[1][~np.isnan(x[1])])
    assert clgrad.nanmedian(from_host(x), 1).values.tolist()[1] == numbers[(numbers.size - 1) // 2]


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 1000, 3), (40, 70), (2, 0, 3), (5, 1)])
def test_sort_along_every_axis(shape, form: str, device, rng) -> None:
    x = rng.integers(0, 9, shape).astype(np.int16)
    for dim in range(-len(shape), len(shape)):
        for layout in ("contiguous", "transposed", "sliced"):
            values, indices = clgrad.sort(on_device(x, layout), dim)
            assert_close(values, np.sort(x, dim), dtype="int16")
            assert_close(indices, np.argsort(x, dim, kind="stable"))


@pytest.mark.parametrize("k", [16, 128])
def test_a_few_of_lines_in_any_order(k: int, device, rng) -> None:
    """Each chunk brings better ones than all before, or none; most are equal; all are of one sort of NaN."""
    x = rng.standard_normal((6, 40_000)).astype(np.float32)
    x[1], x[2] = np.sort(x[1]), np.sort(x[2])[::-1]
    x[3], x[4] = 2, np.nan
    x[5, :39_900] = 1
    for descending in (False, True):
        top = clgrad.topk(from_host(x), k, largest=descending)
        values, at = clgrad.sort.op.ref(x, -1, descending)
        np.testing.assert_array_equal(top.indices.numpy(), at[:, :k])
        np.testing.assert_array_equal(top.values.numpy(), values[:, :k])


def test_topk_and_kthvalue(form: str, device, rng) -> None:
    x = _values(rng, (6, 1000), "float32")
    values, at = clgrad.topk(from_host(x), 5)
    order = np.flip(np.argsort(x, 1), 1)[:, :5]
    assert_close(values, np.take_along_axis(x, order, 1))
    assert_close(np.take_along_axis(x, at.numpy(), 1), values.numpy())
    assert_close(clgrad.kthvalue(from_host(x), 3, 1).values, np.sort(x, 1)[:, 2])
    assert clgrad.topk(clgrad.tensor(3.0), 1).values.shape == ()
    assert clgrad.topk(from_host(x), 0).indices.shape == (6, 0)


def test_median_and_quantile(form: str, device, rng) -> None:
    x = rng.standard_normal((5, 8)).astype(np.float32)
    values, at = clgrad.median(from_host(x), 1)
    assert_close(values, np.sort(x, 1)[:, 3])
    assert_close(np.take_along_axis(x, at.numpy()[:, None], 1)[:, 0], values.numpy())
    x[2, 3] = np.nan
    assert np.isnan(clgrad.median(from_host(x), 1).values.numpy()).tolist() == [False, False, True, False, False]
    assert clgrad.median(from_host(x), 1).indices.tolist()[2] == 3
    assert np.isnan(clgrad.median(from_host(x)).item())
    for q in (0, 0.1, 0.5, 1, np.array([0.25, 0.75], np.float32)):
        given = from_host(q) if isinstance(q, np.ndarray) else q
        for dim in (None, 0, 1):
            for keepdim in (False, True):
                assert_close(clgrad.quantile(from_host(x), given, dim, keepdim),
                             np.quantile(x.astype(np.float64), q, dim, keepdims=keepdim))
    assert_close(clgrad.median(from_host(np.array([3, 1, 2, 0]))), 1)


@pytest.mark.parametrize("f", [
    lambda x: clgrad.sort(x, 0).values, lambda x: clgrad.sort(x, -1, True).values, lambda x: clgrad.cummax(x, 1).values,
    lambda x: clgrad.cummin(x, 0).values, lambda x: clgrad.topk(x, 2).values, lambda x: clgrad.kthvalue(x, 3, 0).values,
    lambda x: clgrad.median(x, 1).values, lambda x: clgrad.unique(x), lambda x: clgrad.quantile(x, [0.2, 0.8], 1),
    lambda x: clgrad.msort(x)])
def test_gradients_of_values(f, device, rng) -> None:
    _need(device, "float64")
    x = Variable(from_host(rng.permutation(28).reshape(4, 7) * 0.1), requires_grad=True)
    gradcheck(lambda v: f(v) ** 3, [x])


def test_gradients_of_scans_through_zeros(device) -> None:
    _need(device, "float64")
    x = np.array([[1.5, 0.0, 2.0, 0.0, 3.0], [0.0, 1.0, 2.0, -1.0, 0.5], [2.0, 1.0, 3.0, 1.0, 0.0]])
    for dim in (0, 1):
        gradcheck(lambda v, d=dim: clgrad.cumprod(v, d), [Variable(from_host(x), requires_grad=True)], order=1)
    gradcheck(lambda v: clgrad.logcumsumexp(v, 1) ** 2, [Variable(from_host(x), requires_grad=True)])


def test_indices_carry_no_gradient(device) -> None:
    x = clgrad.tensor([2.0, 1.0, 3.0], requires_grad=True)
    for result in (clgrad.sort(x), clgrad.cummax(x, 0), clgrad.topk(x, 2), clgrad.kthvalue(x, 1), clgrad.median(x, 0)):
        assert result.values.requires_grad
        assert isinstance(result.indices, Variable)
        assert not result.indices.requires_grad
        assert result.indices.dtype is dtypes.int64


def test_long_indices(form: str, device, monkeypatch, rng) -> None:
    """The kernels that large arrays get, on small ones."""
    monkeypatch.setattr("clgrad.families.plans.INT_BYTES", 0)
    for x in (rng.integers(0, 9, 8999).astype(np.int16), rng.permutation(8998)):
        assert_close(clgrad.argsort(from_host(x)), np.argsort(x, kind="stable"))
        assert_close(clgrad.cumsum(from_host(x), 0), np.cumsum(x))
        assert_close(clgrad.cummax(from_host(x), 0).values, np.maximum.accumulate(x))
        assert_close(clgrad.nonzero(from_host(x)), np.argwhere(x))
        assert_close(clgrad.searchsorted(from_host(np.sort(x)), from_host(x)), np.searchsorted(np.sort(x), x))


# Searching, compaction, counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(right: bool, form: str, device, rng) -> None:
    side = "right" if right else "left"
    for n in (0, 1, 2, 33, 1000):
        line, x = np.sort(_values(rng, n, "float32")), _values(rng, (7, 5), "float32")
        assert_close(clgrad.searchsorted(from_host(line), from_host(x), right=right), np.searchsorted(line, x, side),
                     dtype="int64")
        assert_close(clgrad.bucketize(from_host(x), from_host(line), right=right), np.searchsorted(line, x, side))
    lines, x = np.sort(rng.integers(0, 9, (4, 30)), 1), rng.integers(0, 9, (4, 6))
    assert_close(clgrad.searchsorted(from_host(lines), from_host(x), right=right, out_int32=True),
                 np.stack([np.searchsorted(a, b, side) for a, b in zip(lines, x)]), dtype="int32")
    assert clgrad.searchsorted(from_host(lines[0]), 4, right=right).item() == np.searchsorted(lines[0], 4, side)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (33,), (5000,), (3, 0, 2), (9, 7), (20, 30, 10)])
def test_nonzero(shape, form: str, device, rng) -> None:
    for x in (rng.integers(0, 2, shape), np.zeros(shape), np.where(rng.random(shape) < 0.3, np.nan, 0)):
        x = np.asarray(x, np.float32)
        got = clgrad.nonzero(from_host(x))
        assert_close(got, np.argwhere(x), dtype="int64")
        assert clgrad.count_nonzero(from_host(x)).item() == np.count_nonzero(x)
        if shape:
            for ours, theirs in zip(clgrad.nonzero(from_host(x), as_tuple=True), np.nonzero(x)):
                assert_close(ours, theirs)


def test_nonzero_copies_one_number(device) -> None:
    x = from_host(np.arange(5000) % 3)
    device.copies.reset()
    clgrad.nonzero(x)
    assert (device.copies.to_device, device.copies.to_host, device.copies.bytes_to_host) == (0, 1, 8)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
def test_unique(dtype: str, form: str, device, rng) -> None:
    for shape in ((0,), (1,), (33,), (50, 100)):
        x = _values(rng, shape, dtype)
        if dtype == "float32":
            x = np.abs(x)  # which zero stands for both is not said
        ours = clgrad.unique(from_host(x), return_inverse=True, return_counts=True)
        theirs = np.unique(x, return_inverse=True, return_counts=True, equal_nan=False)
        assert_close(ours[0], theirs[0], dtype=dtype)
        assert_close(ours[2], theirs[2], dtype="int64")
        np.testing.assert_array_equal(ours[0].numpy()[ours[1].numpy()], x)  # NumPy numbers NaNs in no order
        values, counts = clgrad.unique(from_host(x), return_counts=True)  # without places
        assert_close(values, theirs[0], dtype=dtype)
        assert_close(counts, theirs[2], dtype="int64")
        assert_close(clgrad.unique_consecutive(clgrad.sort(from_host(x).reshape(-1)).values), theirs[0], dtype=dtype)
        columns = from_host(x.reshape(1, -1))
        assert_close(clgrad.unique(columns, dim=1), theirs[0].reshape(1, -1), dtype=dtype)
    assert clgrad.unique(Variable(from_host(x))).shape == values.shape


def test_bincount(form: str, device, rng) -> None:
    for n in (1, 2, 33, 5000):
        x, w = rng.integers(0, 12, n), rng.uniform(0, 1, n).astype(np.float32)
        assert_close(clgrad.bincount(from_host(x)), np.bincount(x), dtype="int64")
        assert_close(clgrad.bincount(from_host(x.astype(np.uint8)), minlength=20), np.bincount(x, minlength=20))
        assert_close(clgrad.bincount(from_host(x), from_host(w)), np.bincount(x, w), dtype="float32", scale=8)
    assert clgrad.bincount(from_host(np.zeros(0, np.int64)), minlength=3).tolist() == [0, 0, 0]
    assert clgrad.bincount(from_host(np.zeros(0, np.int64))).shape == (0,)


def test_histograms(form: str, device, rng) -> None:
    x = rng.standard_normal(5000).astype(np.float32)
    assert_close(clgrad.histc(from_host(x), 10, -1, 1), np.histogram(x, 10, (-1, 1))[0], dtype="float32")
    x = rng.integers(-8, 9, 1000).astype(np.float32)  # on the edges
    assert_close(clgrad.histc(from_host(x), 16), np.histogram(x, 16)[0])
    hist, edges = clgrad.histogram(from_host(x), 16, density=True)
    assert_close(hist, np.histogram(x, 16, density=True)[0])
    assert_close(edges, np.histogram(x, 16)[1])
    uneven = np.array([-8, -1, 0, 5], np.float32)
    assert_close(clgrad.histogram(from_host(x), from_host(uneven)).hist, np.histogram(x, uneven)[0])
    assert clgrad.histc(from_host(np.full(5, 2, np.float32)), 4).tolist() == [0, 0, 5, 0]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: clgrad.topk(x, 4), ValueError, "topk: got k=4 for 3 elements"),
    (lambda x: clgrad.kthvalue(x, 0), ValueError, "1 <= k <= 3"),
    (lambda x: clgrad.quantile(x, 2.0), ValueError, "0 <= q <= 1"),
    (lambda x: clgrad.quantile(x.to("int32"), 0.5), TypeError, "quantile: got int32"),
    (lambda x: clgrad.median(x[:0]), ValueError, "at least one element"),
    (lambda x: clgrad.sort(x, 2), IndexError, "expected -1 <= dim < 1"),
    (lambda x: clgrad.cumsum(x, -3), IndexError, "expected -1 <= dim < 1"),
    (lambda x: clgrad.searchsorted(clgrad.ones(2, 3), x), ValueError, "one sorted line"),
    (lambda x: clgrad.bincount(x), ValueError, "non-negative integers"),
    (lambda x: clgrad.bincount(x.to("int64") - 2), ValueError, "the element -1"),
    (lambda x: clgrad.histc(x * float("nan")), ValueError, "finite"),
])
def test_errors(call, error: type, message: str, device) -> None:
    with pytest.raises(error, match=message):
        call(clgrad.tensor([1.0, 2.0, 3.0]))


# First positions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_first_positions_of_the_best(dtype: str, rng: np.random.Generator, device: clgrad.Device) -> None:
    """Lanes along lines and across them, what is left of both, ties, NaN, pieces, and memory in any order."""
    _need(device, dtype)
    for shape in ((5, 1), (40, 100), (2, 300, 70), (4, 5, 6), (3, 40000), (9000, 3)):
        host = rng.integers(0, 50, shape).astype(dtype)
        if "float" in dtype:
            host.reshape(-1)[rng.integers(0, host.size, 1 + host.size // 99)] = np.nan
        x = on_device(host, device=device)
        for view, expected in ((x, host), (x.flip(0), host[::-1]), (x.transpose(0, -1), host.swapaxes(0, -1)),
                               (x[1:, ..., 1:], host[1:, ..., 1:]), (x[..., ::2], host[..., ::2])):
            for dim in (None, *range(host.ndim)) if expected.size else ():
                np.testing.assert_array_equal(clgrad.argmax(view, dim).numpy(), expected.argmax(dim))
                np.testing.assert_array_equal(clgrad.argmin(view, dim).numpy(), expected.argmin(dim))
