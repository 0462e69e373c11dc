"""Distributions: inversion against float64 references, goodness of fit, one stream on every device, generators."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import io
import math
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

import clgrad
from clgrad import random as r
from clgrad.core import dtypes

_spec = importlib.util.spec_from_file_location("philox", Path(__file__).with_name("philox.py"))
twin = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(twin)

N = 50_000
INF = math.inf


def _generator(seed: int, offset: int = 0) -> clgrad.Generator:
    return clgrad.Generator().set_state((seed, offset))


# name: the draw, SciPy's distribution
CONTINUOUS = {
    "uniform": (lambda n, **k: r.uniform(-2.0, 5.0, n, **k), stats.uniform(-2, 7)),
    "normal": (lambda n, **k: r.normal(3.0, 0.5, n, **k), stats.norm(3, 0.5)),
    "exponential": (lambda n, **k: r.exponential(2.0, n, **k), stats.expon(scale=2)),
    "gumbel": (lambda n, **k: r.gumbel(1.0, 2.0, n, **k), stats.gumbel_r(1, 2)),
    "cauchy": (lambda n, **k: r.cauchy(1.0, 2.0, n, **k), stats.cauchy(1, 2)),
    "log_normal": (lambda n, **k: r.log_normal(0.5, 0.7, n, **k), stats.lognorm(0.7, scale=math.exp(0.5))),
    "truncated": (lambda n, **k: r.truncated_normal(-1.0, 2.0, n, **k), stats.truncnorm(-1, 2)),
    "truncated, to one side": (lambda n, **k: r.truncated_normal(0.99, INF, n, **k), stats.truncnorm(0.99, INF)),
    "truncated, scaled": (lambda n, **k: r.truncated_normal(1.0, 9.0, n, mean=4.0, std=2.0, **k),
                          stats.truncnorm(-1.5, 2.5, 4, 2)),
    "tail": (lambda n, **k: r.truncated_normal(-INF, -6.0, n, **k), stats.truncnorm(-INF, -6)),
    "tail, short": (lambda n, **k: r.truncated_normal(1.5, 1.6, n, **k), stats.truncnorm(1.5, 1.6)),
    "gamma": (lambda n, **k: r.gamma(3.5, size=n, **k), stats.gamma(3.5)),
    "gamma below 1": (lambda n, **k: r.gamma(0.3, 2.0, n, **k), stats.gamma(0.3, scale=2)),
    "gamma, large": (lambda n, **k: r.gamma(1e5, size=n, **k), stats.gamma(1e5)),
    "beta": (lambda n, **k: r.beta(2.0, 3.0, n, **k), stats.beta(2, 3)),
    "beta below 1": (lambda n, **k: r.beta(0.3, 0.6, n, **k), stats.beta(0.3, 0.6)),
}
DISCRETE = {
    "poisson, small": (lambda n, **k: r.poisson(3.5, n, **k), stats.poisson(3.5)),
    "poisson, at 9.99": (lambda n, **k: r.poisson(9.99, n, **k), stats.poisson(9.99)),
    "poisson, at 10": (lambda n, **k: r.poisson(10.0, n, **k), stats.poisson(10)),
    "poisson, large": (lambda n, **k: r.poisson(300.0, n, **k), stats.poisson(300)),
    "geometric": (lambda n, **k: r.geometric(0.3, n, **k), stats.geom(0.3)),
    "geometric, likely": (lambda n, **k: r.geometric(0.9, n, **k), stats.geom(0.9)),
}
DOUBLES = ("uniform", "normal", "exponential", "cauchy", "log_normal", "truncated", "tail", "gamma below 1", "beta",
           "gamma, large", "gumbel")


def _moments_agree(x: np.ndarray, distribution) -> None:
    mean, variance, kurtosis = distribution.stats("mvk")
    if not np.isfinite(mean):
        return
    n = len(x)
    assert abs(x.mean() - mean) < 5 * math.sqrt(variance / n)
    assert abs(x.var() - variance) < 5 * variance * math.sqrt((kurtosis + 2) / n)


@pytest.mark.parametrize(("name", "dtype"), [(name, "float32") for name in CONTINUOUS] +
                         [(name, "float64") for name in DOUBLES])
def test_continuous(name: str, dtype: str, device) -> None:
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    draw, distribution = CONTINUOUS[name]
    out = draw(N, generator=_generator(17), dtype=dtype)
    assert (out.dtype, out.shape) == (dtypes.dtype(dtype), (N,))
    x = out.numpy().astype(np.float64)
    low, high = distribution.support()
    assert low <= x.min()
    assert x.max() <= high
    assert stats.kstest(x, distribution.cdf).pvalue > 1e-3
    _moments_agree(x, distribution)
    assert abs(stats.spearmanr(x[:-1], x[1:]).statistic) * math.sqrt(N) < 5


@pytest.mark.parametrize("name", list(DISCRETE))
def test_discrete(name: str, device) -> None:
    draw, distribution = DISCRETE[name]
    x = draw(N, generator=_generator(18)).numpy().astype(np.int64)
    _moments_agree(x, distribution)
    _chi_square(x, distribution)


def _chi_square(x: np.ndarray, distribution) -> None:
    """Counts of each value with an expectation above 10, the two tails pooled."""
    low, high = (int(distribution.ppf(q)) for q in (20 / len(x), 1 - 20 / len(x)))
    inner = np.arange(low, high + 1)
    counts = np.array([(x < low).sum(), *((x == v).sum() for v in inner), (x > high).sum()])
    expected = len(x) * np.array([distribution.cdf(low - 1), *distribution.pmf(inner), distribution.sf(high)])
    keep = expected > 0
    assert counts[~keep].sum() == 0
    assert stats.chisquare(counts[keep], expected[keep]).pvalue > 1e-3


def test_poisson_of_a_million(device) -> None:
    """Beyond what chi-square bins resolve: moments and the distribution function, in steps of one count."""
    rate = 1e6
    x = r.poisson(rate, N, generator=_generator(4)).numpy().astype(np.float64)
    assert (x == np.floor(x)).all()
    _moments_agree(x, stats.poisson(rate))
    smooth = (x + np.random.default_rng(1).random(N) - 0.5 - rate) / math.sqrt(rate)
    assert stats.kstest(smooth, lambda z: stats.poisson.cdf(np.round(z * math.sqrt(rate) + rate), rate)).pvalue > 1e-3


# One stream ----------------------------------------------------------------------------------------------------------

GOLDEN = {  # sha256 of 3001 draws: what any device must give, in either kernel form, in any release
    ("uniform", "float32"): "17241bc0aeed802d",
    ("normal", "float32"): "6252a7490563a9f5",
    ("exponential", "float32"): "17ee22f342b55809",
    ("gumbel", "float32"): "52f0223232ae28f4",
    ("cauchy", "float32"): "735161ee0e3dbd6f",
    ("log_normal", "float32"): "653b9293f0634921",
    ("truncated", "float32"): "7bc0c5003bb84d42",
    ("truncated, scaled", "float32"): "47c56a2f4a9c8923",
    ("tail", "float32"): "c1df40beea93fc02",
    ("gamma", "float32"): "b0d94fc14e38a70c",
    ("gamma below 1", "float32"): "0a8fbf23dd0bf56a",
    ("gamma, large", "float32"): "1c5c61457e9f38cb",
    ("beta", "float32"): "688f5b08b96329a9",
    ("beta below 1", "float32"): "426fd77fd9eec793",
    ("poisson, small", "float32"): "58874932101c9915",
    ("poisson, at 10", "float32"): "ddd32be4b2e18239",
    ("poisson, large", "float32"): "743bfa4e53d26317",
    ("geometric", "float32"): "d792274968e0ea5f",
    ("exponential", "float64"): "0c6c12f0d78960dd",
    ("cauchy", "float64"): "759ff425c5c9670c",
    ("log_normal", "float64"): "6c6721c45a418342",
    ("truncated", "float64"): "00ee5afe95d14982",
    ("tail", "float64"): "47217f8dacd04463",
    ("gamma below 1", "float64"): "5acb9d21621392d7",
    ("beta", "float64"): "c34469ae35d05c08",
    ("poisson, large", "float64"): "6f0934127a7a9eeb",
    ("geometric", "int64"): "2944d0b2ae8bfff0",
}


def _digest(draw, dtype: str) -> str:
    drawn = draw(3001, generator=_generator(0x0123456789ABCDEF, 2**32 - 3), dtype=dtype).numpy()
    return hashlib.sha256(drawn.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(("name", "dtype"), list(GOLDEN), ids=lambda v: str(v))
def test_streams_never_change(name: str, dtype: str, form: clgrad.Device) -> None:
    if dtype == "float64" and not form.facts.fp64:
        pytest.skip("the device has no float64")
    assert _digest((CONTINUOUS | DISCRETE)[name][0], dtype) == GOLDEN[name, dtype]


def test_choices_never_change(form: clgrad.Device) -> None:
    weights = clgrad.tensor([[0.5, 0.0, 3.0, 1e-3, 7.0, 0.25]] * 50 + [[1.0, 2.0, 1e30, 3e29, 1e-30, 4.0]] * 50)
    drawn = [r.multinomial(weights, 4, generator=_generator(1)),
             r.multinomial(weights, 9, True, generator=_generator(2)),
             r.categorical(weights.clamp(max=8.0), generator=_generator(3)),
             r.multinomial(weights, 1, generator=_generator(4)),
             r.bernoulli(weights / 1e31, generator=_generator(5)).to("int64")]
    digest = hashlib.sha256(b"".join(d.numpy().tobytes() for d in drawn)).hexdigest()[:16]
    assert digest == "10c7b97fe2769c9c"


@pytest.mark.parametrize("name", ["exponential", "gamma", "beta", "poisson, small", "tail"])
def test_draws_go_on_where_the_last_ended(name: str, device) -> None:
    """40 and 60 draws are the 100 of one call: an element's numbers depend on its place in the stream alone."""
    draw = (CONTINUOUS | DISCRETE)[name][0]
    g = _generator(6)
    parts = [draw(n, generator=g).numpy() for n in (40, 60)]
    np.testing.assert_array_equal(np.concatenate(parts), draw(100, generator=_generator(6)).numpy())


@pytest.mark.parametrize("name", ["exponential", "gamma", "poisson, small"])
def test_streams_are_independent(name: str, device) -> None:
    draw = (CONTINUOUS | DISCRETE)[name][0]
    first = draw(N, generator=_generator(1)).numpy()
    for other in (_generator(2), _generator(1, N), _generator(1 << 32)):
        second = draw(N, generator=other).numpy()
        assert abs(stats.spearmanr(first, second).statistic) * math.sqrt(N) < 5


# Against the same numbers computed in float64 from the generator's own words -----------------------------------------


def _words(n: int = 1 << 16) -> tuple[np.ndarray, np.ndarray]:
    """(the lower 31 bits + 1/2) 2^-32, and whether the top bit is set, of seed 5's words."""
    bits = twin.draw32(n, seed=5)
    return ((bits & np.uint32(2**31 - 1)).astype(np.float64) + 0.5) * 2.0**-32, bits >> np.uint32(31) == 1


def _waits() -> np.ndarray:
    p, upper = _words()
    return np.where(upper, -np.log(p), -np.log1p(-p))


@pytest.mark.parametrize(("draw", "want", "tolerance", "floor"), [
    (lambda **k: r.exponential(size=1 << 16, **k), _waits, 3e-7, 0),
    (lambda **k: r.gumbel(size=1 << 16, **k), lambda: -np.log(_waits()), 4e-7, 1),  # a difference near 0
    (lambda **k: r.cauchy(size=1 << 16, **k),
     lambda: np.tan(np.pi * _words()[0]) * np.where(_words()[1], -1, 1), 6e-7, 0),
    (lambda **k: r.log_normal(0.0, 1.0, 1 << 16, **k), lambda: np.exp(np.where(
        _words()[1], -1, 1) * -special.ndtri(_words()[0])), 2e-6, 0),
], ids=["exponential", "gumbel", "cauchy", "log_normal"])
def test_inversion_is_accurate(draw, want, tolerance: float, floor: float, device) -> None:
    got, want = draw(generator=_generator(5)).numpy().astype(np.float64), want()
    assert (np.abs(got - want) / np.maximum(np.abs(want), floor)).max() < tolerance


def test_exponentials_are_positive_and_resolve_small_ones(device) -> None:
    x = r.exponential(size=1 << 20, generator=_generator(8)).numpy()
    assert x.min() > 0
    assert len(np.unique(x[x < 1e-2])) > 0.99 * (x < 1e-2).sum()


def test_log_normal_spans_the_range(device) -> None:
    """exp is computed by hand: its ends are 0 and infinity, and never NaN."""
    x = r.log_normal(0.0, 60.0, 1 << 16, generator=_generator(5)).numpy().astype(np.float64)
    z = r.normal(0.0, 60.0, 1 << 16, generator=_generator(5)).numpy().astype(np.float64)
    assert not np.isnan(x).any()
    assert (x[z > 88.8] == INF).all()
    assert (x[z < -87.4] == 0).all()
    inner = np.abs(z) < 86
    np.testing.assert_allclose(x[inner], np.exp(z[inner]), rtol=1e-6)


@pytest.mark.parametrize("name", ["exponential", "gumbel", "poisson, small", "tail, short", "gamma"])
def test_float16_is_the_float32_stream_rounded(name: str, device) -> None:
    draw = (CONTINUOUS | DISCRETE)[name][0]
    half, single = (draw(1001, generator=_generator(3), dtype=d) for d in ("float16", "float32"))
    assert half.dtype is dtypes.float16
    bounds = (np.float16(1.5), np.float16(1.6)) if name == "tail, short" else (-INF, INF)
    np.testing.assert_array_equal(half.numpy(), np.clip(single.numpy().astype(np.float16), *bounds))


def test_float16_uniform_and_bernoulli(device) -> None:
    x = r.uniform(0.0, 3.0, 20_000, dtype="float16", generator=_generator(3)).numpy()
    assert x.max() < 3
    p = clgrad.full((200_000,), 1e-4, dtype="float16")  # half's uniforms of 11 bits could not tell this from 5e-4
    ones = int(r.bernoulli(p, generator=_generator(4)).float().sum().item())
    assert stats.binomtest(ones, 200_000, float(np.float16(1e-4))).pvalue > 1e-3


@pytest.mark.parametrize("name", ["uniform", "exponential", "poisson, small", "truncated", "tail, short", "gamma"])
def test_bfloat16_is_the_float32_stream_rounded(name: str, device) -> None:
    draw = (CONTINUOUS | DISCRETE)[name][0]
    half, single = (draw(1001, generator=_generator(3), dtype=d) for d in ("bfloat16", "float32"))
    assert half.dtype is dtypes.bfloat16
    within = {"uniform": (-2, 4.96875), "truncated": (-1, 2), "tail, short": (1.5, 1.59375)}.get(name, (-INF, INF))
    want = single.clamp(*within).to("bfloat16").float().numpy()
    np.testing.assert_array_equal(half.float().numpy(), want)
    target = clgrad.zeros(1001, dtype="bfloat16").uniform_(0, 1).float().numpy()
    assert target.max() < 1


def test_complex_parts_are_independent(device) -> None:
    z = clgrad.randn(N, dtype="complex64", generator=_generator(1)).numpy()
    assert stats.kstest(z.real, stats.norm(scale=math.sqrt(0.5)).cdf).pvalue > 1e-3
    assert stats.kstest(z.imag, stats.norm(scale=math.sqrt(0.5)).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(z.real, z.imag)[0, 1]) * math.sqrt(N) < 5
    u = clgrad.rand(1000, dtype="complex64").numpy()
    assert min(u.real.min(), u.imag.min()) >= 0
    assert max(u.real.max(), u.imag.max()) < 1


# Parameters ----------------------------------------------------------------------------------------------------------


def test_array_parameters_broadcast(device) -> None:
    a, b = clgrad.tensor([[0.5], [4.0], [1e4]]), clgrad.tensor([1.0, 2.0])
    x = r.gamma(a.expand(3, 2), b, (20_000, 3, 2), generator=_generator(1)).numpy().astype(np.float64)
    for i, j in np.ndindex(3, 2):
        assert stats.kstest(x[:, i, j], stats.gamma([0.5, 4, 1e4][i], scale=[1, 2][j]).cdf).pvalue > 1e-3
    assert r.beta(a, b).shape == (3, 2)
    assert r.poisson(a[:, 0]).shape == (3,)
    assert r.exponential(b).shape == (2,)


def test_array_parameters_are_the_numbers(device) -> None:
    """The same stream, whether a parameter is a number or an array of it, contiguous or not."""
    for draw in (lambda p, **k: r.gamma(p, size=(4, 5), **k), lambda p, **k: r.poisson(p, (4, 5), **k),
                 lambda p, **k: r.beta(p, 1.5, (4, 5), **k), lambda p, **k: r.normal(0.5, p, (4, 5), **k),
                 lambda p, **k: r.uniform(0.5, p, (4, 5), **k), lambda p, **k: r.cauchy(p, 2.0, (4, 5), **k)):
        want = draw(2.5, generator=_generator(3)).numpy()
        for array in (clgrad.full((4, 5), 2.5), clgrad.full((5, 8), 2.5)[:, ::2].T, clgrad.full((5,), 2.5),
                      clgrad.full((), 2.5).data):
            np.testing.assert_array_equal(draw(array, generator=_generator(3)).numpy(), want)


def test_what_is_no_distribution_gives_nan(device) -> None:
    bad = clgrad.tensor([-1.0, math.nan, 2.0])
    for draw in (r.gamma, r.poisson, r.exponential, lambda p: r.beta(p, 1.0), lambda p: r.beta(1.0, p),
                 lambda p: r.normal(0.0, p), lambda p: r.uniform(0.0, p), lambda p: r.bernoulli(p / 2),
                 lambda p: r.gamma(1.0, p)):
        assert np.isnan(draw(bad).numpy()).tolist() == [True, True, False]
    edges = clgrad.tensor([0.0, INF])
    assert r.gamma(edges).tolist() == [0.0, INF]
    assert r.poisson(edges).tolist() == [0.0, INF]
    assert np.isnan(r.beta(edges, 1.0).numpy()).all()


def test_extreme_parameters(device) -> None:
    tiny = r.gamma(clgrad.full((1000,), 1e-3)).numpy()
    assert (tiny > 0).all()
    assert np.isfinite(np.log(tiny)).all()
    ends = r.beta(clgrad.full((4000,), 1e-20), 1e-20, generator=_generator(1)).numpy()
    assert np.isin(ends, [0, 1]).all()
    assert stats.binomtest(int(ends.sum()), 4000).pvalue > 1e-3
    huge = r.poisson(clgrad.full((1000,), 1e30)).numpy().astype(np.float64)
    np.testing.assert_allclose(huge, 1e30, rtol=1e-6)
    wide = r.gamma(1e30, size=1000).numpy().astype(np.float64)
    np.testing.assert_allclose(wide, 1e30, rtol=1e-6)
    assert r.geometric(1.0, 100).tolist() == [1] * 100
    assert r.uniform(2.0, 2.0, 3).tolist() == [2.0] * 3
    assert r.normal(2.0, 0.0, 3).tolist() == [2.0] * 3


def test_normal_has_every_overload(device) -> None:
    mean, std = clgrad.tensor([[1.0], [1000.0]]), clgrad.tensor([1e-3, 1e-2, 0.0])
    z = clgrad.randn(2, 3, generator=_generator(2)).numpy().astype(np.float64)
    for args, want in [((mean, std), (mean.numpy(), std.numpy())), ((mean.expand(2, 3),), (mean.numpy(), 1.0)),
                       ((mean.expand(2, 3), 2.0), (mean.numpy(), 2.0)), ((0.5, std.expand(2, 3)), (0.5, std.numpy())),
                       ((0.5, 2.0, (2, 3)), (0.5, 2.0))]:
        x = clgrad.normal(*args, generator=_generator(2))
        assert (x.shape, x.dtype) == ((2, 3), dtypes.float32)
        np.testing.assert_allclose(x.numpy(), z * np.float64(want[1]) + want[0], rtol=1e-6)
    assert clgrad.normal(mean.double(), std).dtype is dtypes.float64
    assert clgrad.normal(0.0, 1.0, (2,), dtype="float16", requires_grad=True).requires_grad


def test_no_gradient_reaches_parameters(device) -> None:
    p = clgrad.tensor([0.5, 0.25], requires_grad=True)
    for draw in (r.gamma, r.poisson, r.bernoulli, r.exponential, clgrad.normal, lambda p: r.multinomial(p, 1)):
        assert not draw(p).requires_grad


# Choices -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_multinomial_with_replacement(dtype: str, device) -> None:
    weights = clgrad.tensor([[1.0, 0.0, 2.0, 5.0], [0.1, 0.2, 0.3, 0.4]], dtype=dtype)
    x = clgrad.multinomial(weights, N, replacement=True, generator=_generator(1))
    assert (x.dtype, x.shape) == (dtypes.int64, (2, N))
    for row, w in zip(x.numpy(), weights.numpy().astype(np.float64)):
        counts = np.bincount(row, minlength=4)
        assert (counts[w == 0] == 0).all()
        assert stats.chisquare(counts[w > 0], N * w[w > 0] / w.sum()).pvalue > 1e-3


def test_multinomial_without_replacement(device) -> None:
    """The order drawn, too: P(i, j) = w_i w_j / (1 - w_i)."""
    w = np.array([0.1, 0.2, 0.3, 0.4])
    x = clgrad.multinomial(clgrad.tensor(w.astype(np.float32)).expand(20_000, 4), 2, generator=_generator(1)).numpy()
    assert (x[:, 0] != x[:, 1]).all()
    counts = np.bincount(x[:, 0] * 4 + x[:, 1], minlength=16).reshape(4, 4)
    expected = 20_000 * w[:, None] * w / (1 - w[:, None])
    off = ~np.eye(4, dtype=bool)
    assert stats.chisquare(counts[off], expected[off]).pvalue > 1e-3


def test_multinomial_takes_what_is_left(device) -> None:
    """Weights of zero are never drawn, and vanishing ones before them."""
    w = clgrad.tensor([0.0, 1.0, 0.0, 1e-38, 1e-30])
    for seed in range(5):
        assert clgrad.multinomial(w, 3, generator=_generator(seed)).tolist() == [1, 4, 3]
    assert clgrad.multinomial(w, 1).shape == (1,)
    assert clgrad.multinomial(clgrad.ones(0, 3), 2).shape == (0, 2)
    assert clgrad.multinomial(clgrad.ones(1), 4, True).tolist() == [0] * 4
    big = clgrad.ones(100_003).data
    drawn = clgrad.multinomial(big, 100_003, generator=_generator(1)).numpy()
    assert sorted(drawn.tolist()) == list(range(100_003))
    many = clgrad.multinomial(big, 30_000, True, generator=_generator(2)).numpy()
    assert stats.kstest(many / 100_003, "uniform").pvalue > 1e-3


def test_categorical(device) -> None:
    logits = clgrad.tensor([[0.0, 1.0, -INF], [2.0, -1.0, 0.5]])
    p = special.softmax(logits.numpy().astype(np.float64), axis=1)
    x = r.categorical(logits, size=20_000, generator=_generator(1))
    assert (x.dtype, x.shape) == (dtypes.int64, (20_000, 2))
    for row, q in zip(x.numpy().T, p):
        counts = np.bincount(row, minlength=3)
        assert (counts[q == 0] == 0).all()
        assert stats.chisquare(counts[q > 0], 20_000 * q[q > 0]).pvalue > 1e-3
    assert r.categorical(logits).shape == (2,)
    assert r.categorical(logits, dim=0).shape == (3,)
    assert r.categorical(logits[0], size=(2, 5)).shape == (2, 5)
    assert r.categorical(logits[0]).shape == ()


def test_bernoulli(device) -> None:
    p = clgrad.tensor([0.0, 1.0, 0.3])
    x = clgrad.bernoulli(p.expand(30_000, 3), generator=_generator(1)).numpy()
    assert x.dtype == np.float32
    assert x[:, :2].mean(0).tolist() == [0.0, 1.0]
    assert stats.binomtest(int(x[:, 2].sum()), 30_000, 0.3).pvalue > 1e-3
    assert clgrad.bernoulli(p, 1.0).tolist() == [1.0] * 3


# Writing forms -------------------------------------------------------------------------------------------------------

WRITING = {
    "uniform_": (lambda x, **k: x.uniform_(-2, 5, **k), lambda **k: r.uniform(-2.0, 5.0, (6, 4), **k)),
    "normal_": (lambda x, **k: x.normal_(1, 2, **k), lambda **k: r.normal(1.0, 2.0, (6, 4), **k)),
    "log_normal_": (lambda x, **k: x.log_normal_(**k), lambda **k: r.log_normal(1.0, 2.0, (6, 4), **k)),
    "exponential_": (lambda x, **k: x.exponential_(4, **k), lambda **k: r.exponential(0.25, (6, 4), **k)),
    "cauchy_": (lambda x, **k: x.cauchy_(1, 2, **k), lambda **k: r.cauchy(1.0, 2.0, (6, 4), **k)),
    "geometric_": (lambda x, **k: x.geometric_(0.2, **k), lambda **k: r.geometric(0.2, (6, 4), dtype="float32", **k)),
    "bernoulli_": (lambda x, **k: x.bernoulli_(0.3, **k), lambda **k: clgrad.bernoulli(clgrad.ones(6, 4), 0.3, **k)),
    "random_": (lambda x, **k: x.random_(3, 90, **k),
                lambda **k: clgrad.randint(3, 90, (6, 4), dtype="float32", **k)),
}


@pytest.mark.parametrize("name", list(WRITING))
def test_writing_forms(name: str, device) -> None:
    """The stream of the function, in an array that owns its memory, in a view of another, in an Array."""
    write, draw = WRITING[name]
    want = draw(generator=_generator(2)).numpy()
    for target in (clgrad.zeros(6, 4), clgrad.zeros(4, 6).T, clgrad.zeros(8, 4)[2:], clgrad.zeros(6, 8).data[:, ::2]):
        version = target.storage.version
        assert write(target, generator=_generator(2)) is target
        np.testing.assert_array_equal(target.numpy(), want)
        assert target.storage.version > version
    base = clgrad.zeros(8, 4)
    write(base[2:7])
    assert (base.numpy()[[0, 1, 7]] == 0).all()
    empty = clgrad.zeros(0, 3)
    assert write(empty) is empty
    assert write(clgrad.zeros(())).shape == ()
    with pytest.raises(RuntimeError, match="in-place write to a leaf that requires grad"):
        write(clgrad.zeros(3, requires_grad=True))


def test_random_covers_the_dtype(device) -> None:
    for name in ("bool", "int8", "uint8", "int64", "bfloat16", "float16", "float32"):
        x = clgrad.zeros(50_000, dtype=name).random_(generator=_generator(1))
        x = (x.float() if name == "bfloat16" else x).numpy()
        most = {"bool": 1, "bfloat16": 2**8, "float16": 2**11, "float32": 2**24}.get(name) or np.iinfo(name).max
        assert x.min() >= 0
        assert x.max() <= most
        assert x.astype(np.float64).max() >= 0.999 * most
        assert stats.kstest(x.astype(np.float64) / most, "uniform").statistic < (0.51 if name == "bool" else 0.02)
    assert set(clgrad.zeros(500, dtype="int16").random_(3).tolist()) == {0, 1, 2}


def test_integers_and_bools(device) -> None:
    x = clgrad.zeros(1000, dtype="int8").geometric_(0.001, generator=_generator(1)).numpy()
    assert x.min() >= 1  # saturates rather than wraps
    assert x.max() == 127
    assert clgrad.zeros(4, dtype="bool").bernoulli_(1.0).tolist() == [True] * 4
    p = clgrad.tensor([0.0, 1.0, math.nan])
    assert clgrad.ones(2, 3, dtype="int32").bernoulli_(p).tolist() == [[0, 1, 0]] * 2
    assert np.isnan(clgrad.ones(2, 3).bernoulli_(p).numpy()[:, 2]).all()
    assert clgrad.randint_like(clgrad.zeros(2, 3, dtype="int16"), 5).dtype is dtypes.int16
    assert set(clgrad.randint_like(clgrad.zeros(100), 3, 5).tolist()) == {3.0, 4.0}


@pytest.mark.parametrize("name", list(CONTINUOUS | DISCRETE))
def test_empty_and_zero_dimensions(name: str, device) -> None:
    draw = (CONTINUOUS | DISCRETE)[name][0]
    g = _generator(1)
    before = g.get_state()
    assert draw((3, 0), generator=g).shape == (3, 0)
    np.testing.assert_array_equal(g.get_state(), before)
    assert draw((), generator=g).shape == ()
    assert not np.array_equal(g.get_state(), before)


def test_initialiser(device) -> None:
    x = clgrad.nn.init.trunc_normal_(clgrad.zeros(50, 60, requires_grad=True), 1.0, 2.0, -1.0, 4.0, _generator(3))
    want = r.truncated_normal(-1.0, 4.0, (50, 60), mean=1.0, std=2.0, generator=_generator(3))
    np.testing.assert_array_equal(x.detach().numpy(), want.numpy())


# Generators ----------------------------------------------------------------------------------------------------------


def test_state_round_trips(device, tmp_path: Path) -> None:
    g = clgrad.Generator().manual_seed(2**64 - 1)
    clgrad.randn(101, generator=g)
    state = g.get_state()
    assert (state.dtype, state.shape) == (np.uint8, (24,))
    want = r.gamma(2.0, size=50, generator=g).numpy()
    np.savez(tmp_path / "state.npz", rng=state)
    saved = np.load(tmp_path / "state.npz")["rng"]
    for form in (state, saved, bytes(state), clgrad.from_numpy(state), clgrad.from_numpy(state).data):
        other = clgrad.Generator()
        assert other.set_state(form) is other
        assert other.initial_seed() == 2**64 - 1
        np.testing.assert_array_equal(r.gamma(2.0, size=50, generator=other).numpy(), want)


def test_generators_can_be_copied(device) -> None:
    g = _generator(5, 77)
    copies = [pickle.loads(pickle.dumps(g)), copy.copy(g), copy.deepcopy(g), g.clone_state()]
    want = clgrad.rand(5, generator=g).numpy()
    for other in copies:
        np.testing.assert_array_equal(clgrad.rand(5, generator=other).numpy(), want)
    assert repr(_generator(5, 77)) == "clgrad.Generator(seed=5, offset=77)"


def test_default_generator(device) -> None:
    clgrad.manual_seed(3)
    state = clgrad.get_rng_state()
    first = r.exponential(size=5).numpy()
    with r.fork_rng():
        clgrad.manual_seed(99)
        clgrad.rand(3)
    second = r.exponential(size=5).numpy()
    clgrad.set_rng_state(state)
    np.testing.assert_array_equal(r.exponential(size=5).numpy(), first)
    np.testing.assert_array_equal(r.exponential(size=5).numpy(), second)
    assert clgrad.seed() == clgrad.initial_seed()
    assert clgrad.seed() != clgrad.seed()


def test_threads_share_a_generator(device) -> None:
    g, taken = clgrad.Generator(), []

    def work() -> None:
        taken.extend([g.advance(3)[1] for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == list(range(0, 3 * 500 * 8, 3))


def test_generator_device(device) -> None:
    assert clgrad.Generator(device=device).device is device
    assert clgrad.Generator().device is clgrad.default_device()
    with pytest.raises(clgrad.errors.DeviceError):
        clgrad.Generator(device="no such device")


# Errors --------------------------------------------------------------------------------------------------------------


def _ones(*shape: int) -> clgrad.Variable:
    return clgrad.ones(*shape)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: _ones(2).uniform_(2, 1), ValueError, "uniform_: got low=2, high=1; expected finite low <= high"),
    (lambda: _ones(2).half().uniform_(-6e4, 6e4), ValueError, "float16's largest"),
    (lambda: _ones(2).normal_(0, -1), ValueError, "normal_: got std=-1; expected std >= 0"),
    (lambda: _ones(2).log_normal_(0, 0), ValueError, "log_normal_: got std=0; expected std > 0"),
    (lambda: _ones(2).exponential_(0), ValueError, "exponential_: got lambd=0"),
    (lambda: _ones(2).cauchy_(0, 0), ValueError, "cauchy_: got sigma=0"),
    (lambda: _ones(2).geometric_(0), ValueError, "geometric_: got p=0; expected 0 < p <= 1"),
    (lambda: _ones(2).bool().geometric_(0.5), TypeError, "integer or float dtype"),
    (lambda: _ones(2).bernoulli_(1.5), ValueError, "bernoulli_: got p=1.5; expected 0 <= p <= 1"),
    (lambda: _ones(2).bernoulli_(_ones(3)), ValueError, "shapes that broadcast"),
    (lambda: _ones(1).bernoulli_(_ones(3)), ValueError, r"one that broadcasts to \(1,\)"),
    (lambda: _ones(2).long().exponential_(), TypeError, "exponential_: got clgrad.int64; expected a float dtype"),
    (lambda: _ones(2).long().bernoulli_(_ones(2).long()), TypeError, "expected a float dtype"),
    (lambda: _ones(2).random_(5, 5), ValueError, "random_: got low=5, high=5"),
    (lambda: _ones(2).random_(1, 2, 3), TypeError, "3 bounds"),
    (lambda: _ones(2).char().random_(300), ValueError, "Choose a wider dtype"),
    (lambda: _ones(2).half().random_(5000), ValueError, "Choose a wider dtype"),
    (lambda: _ones(2).to("complex64").random_(), TypeError, "random_: got clgrad.complex64"),
    (lambda: _ones(2).to("complex64").exponential_(), TypeError, "expected a float dtype"),
    (lambda: _ones(2).to("complex64").normal_(1.0), ValueError, "a mean of 0"),
    (lambda: _ones(2).random_(1.5, 7), TypeError, "random_: got a float; expected an int"),
    (lambda: _ones(2).uniform_(_ones(1), 2), TypeError, "uniform_: got a parameter of type Variable; expected numbers"),
    (lambda: _ones(2).exponential_(None), TypeError, "exponential_: got a parameter of type NoneType"),
    (lambda: _ones(2).bernoulli_("a"), TypeError, "bernoulli_: got a parameter of type str"),
    (lambda: r.gamma(-1.0), ValueError, "gamma: got concentration=-1.0; expected a finite concentration >= 0"),
    (lambda: r.gamma(1.0, -1.0), ValueError, "gamma: got scale=-1.0"),
    (lambda: r.gamma([1.0]), TypeError, "a parameter of type list"),
    (lambda: r.gamma(_ones(2).long()), TypeError, "expected a float dtype"),
    (lambda: r.gamma(_ones(2), size=(3,)), ValueError, "broadcast"),
    (lambda: r.gamma(_ones(2), size=(1,)), ValueError, "Leave size out"),
    (lambda: r.gamma(1.0, dtype="int32"), TypeError, "expected a float dtype"),
    (lambda: r.beta(0.0, 1.0), ValueError, "beta: got a=0.0; expected a finite a > 0"),
    (lambda: r.poisson(-1.0), ValueError, "poisson: got rate=-1.0"),
    (lambda: clgrad.normal(0.0, -1.0, (2,)), ValueError, "normal: got std=-1.0"),
    (lambda: r.exponential(math.nan), ValueError, "exponential: got scale=nan"),
    (lambda: r.truncated_normal(1.0, 1.0), ValueError, "low < high"),
    (lambda: r.truncated_normal(_ones(1), 2.0), TypeError, "expected numbers"),
    (lambda: r.geometric(1.5), ValueError, "0 < p <= 1"),
    (lambda: clgrad.bernoulli(0.5), TypeError, "Array or a Variable"),
    (lambda: clgrad.bernoulli(_ones(2).long()), TypeError, "expected a float dtype"),
    (lambda: clgrad.bernoulli(_ones(2), 2.0), ValueError, "0 <= p <= 1"),
    (lambda: clgrad.multinomial(_ones(3), 0), ValueError, "num_samples=0"),
    (lambda: clgrad.multinomial(_ones(3), 4), ValueError, "num_samples=4 of 3 weights"),
    (lambda: clgrad.multinomial(_ones(2, 2, 2), 1), ValueError, "one or two dimensions"),
    (lambda: clgrad.multinomial(_ones(2, 0), 1, True), ValueError, "no weights"),
    (lambda: clgrad.multinomial(_ones(3).long(), 1), TypeError, "expected a float dtype"),
    (lambda: clgrad.multinomial(clgrad.tensor([1.0, -1.0]), 1), ValueError, "negative, infinite or NaN"),
    (lambda: clgrad.multinomial(clgrad.tensor([1.0, math.nan]), 1), ValueError, "negative, infinite or NaN"),
    (lambda: clgrad.multinomial(clgrad.tensor([1.0, INF]), 1, True), ValueError, "negative, infinite or NaN"),
    (lambda: clgrad.multinomial(clgrad.tensor([[1.0, 1.0], [0.0, 0.0]]), 1), ValueError, "a row of zeros"),
    (lambda: clgrad.multinomial(clgrad.tensor([1.0, 0.0, 1.0]), 3), ValueError, "a row of 2 weights above 0"),
    (lambda: r.categorical(_ones(())), ValueError, "one logit or more"),
    (lambda: r.categorical(_ones(2), dim=1), ValueError, "dim"),
    (lambda: clgrad.rand(2, generator=3), TypeError, "rand: got generator=int; expected a clgrad.Generator"),
    (lambda: r.poisson(1.0, generator=np.random.default_rng()), TypeError, "expected a clgrad.Generator"),
    (lambda: clgrad.manual_seed(1.5), TypeError, "Convert the seed with int"),
    (lambda: clgrad.set_rng_state(b"123"), ValueError, "set_state: got 3 bytes; expected the 24 bytes"),
    (lambda: clgrad.set_rng_state(np.zeros(24)), TypeError, "expected uint8"),
    (lambda: clgrad.set_rng_state(np.zeros(24, np.uint8)), ValueError, "clgrad generator's state"),
    (lambda: clgrad.set_rng_state(None), ValueError, "a NoneType"),
])
def test_errors(call, error: type, message: str, device) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_failed_draw_takes_nothing(device) -> None:
    g = _generator(1)
    for call in (lambda: r.gamma(-1.0, generator=g), lambda: _ones(2).normal_(0, -1, generator=g),
                 lambda: clgrad.multinomial(clgrad.zeros(3), 1, generator=g)):
        with pytest.raises(ValueError, match="expected"):
            call()
    np.testing.assert_array_equal(g.get_state(), _generator(1).get_state())


def test_save_loads_as_bytes(device) -> None:
    """Through a pickle stream, as a checkpoint keeps it."""
    stream = io.BytesIO()
    pickle.dump({"rng": clgrad.get_rng_state()}, stream)
    state = pickle.loads(stream.getvalue())["rng"]
    want = clgrad.rand(4).numpy()
    clgrad.set_rng_state(state)
    np.testing.assert_array_equal(clgrad.rand(4).numpy(), want)
