"""Random numbers: known answers, bit equality with a NumPy twin in both kernel forms, distributions, generators."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

import clgrad
from clgrad.core import dtypes
from clgrad.families import random

_spec = importlib.util.spec_from_file_location("philox", Path(__file__).with_name("philox.py"))
twin = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(twin)

SEED = 0x0123456789ABCDEF
SIZES = (1, 3, 4, 5, 16, 17, 33, 129, 1000, 20011)
KINDS = [("uniform", d) for d in ("float16", "float32", "float64")] + [
    ("normal", d) for d in ("float16", "float32", "float64")] + [("bernoulli", "uint8"), ("permutation", "int64")] + [
    ("randint", d.name) for d in dtypes.INTEGER]


def _generator(seed: int, offset: int = 0) -> clgrad.Generator:
    return clgrad.Generator().set_state((seed, offset))


def _draw(kind: str, dtype: str, n: int, seed: int, offset: int, device) -> np.ndarray:
    g, d = _generator(seed, offset), dtypes.dtype(dtype)
    if kind == "randint":
        low = 0 if d.kind == "u" else -3
        return random.integers(low, low + 100, (n,), d, device, g).numpy()
    if kind == "permutation":
        return random.permutation(n, d, device, g).numpy()
    if kind == "bernoulli":
        return random.bernoulli((n,), 0.3, device, g).numpy().view(np.uint8)
    return getattr(random, kind)((n,), d, device, g).numpy()


def _expected(kind: str, dtype: str, n: int, **key: int) -> np.ndarray:
    if kind == "randint":
        return twin.randint(n, 0 if dtype.startswith("u") else -3, 100, dtype, **key)
    if kind == "bernoulli":
        return twin.bernoulli(n, 0.3, **key)
    return twin.permutation(n, **key) if kind == "permutation" else getattr(twin, kind)(n, dtype, **key)


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_bits_equal_the_twin(kind: str, dtype: str, form: clgrad.Device) -> None:
    if dtype == "float64" and not form.facts.fp64:
        pytest.skip("the device has no float64")
    for n in SIZES:
        got = _draw(kind, dtype, n, SEED, 2**32 - 3, form)
        want = _expected(kind, dtype, n, seed=SEED, offset=2**32 - 3)
        assert got.tobytes() == want.astype(got.dtype).tobytes(), (kind, dtype, n, form)


@pytest.mark.parametrize(("counter", "seed", "words"), [
    (0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, None),
])
def test_known_answers(counter: int, seed: int, words: str | None, device) -> None:
    """Random123's published vector for counter 0 and key 0; the twin's own philox for the rest of the counter."""
    out = random.fill("randint", (2,), dtypes.uint64, device, _generator(seed, counter), "lL", 0, 0).numpy()
    if words is not None:
        assert [f"{w:08x}" for w in out.view(np.uint32)] == words.split()
    assert out.tolist() == twin.draw64(2, seed=seed, offset=counter).tolist()


@pytest.mark.parametrize(("counter", "key", "words"), [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
])
def test_twin_knows_the_published_answers(counter: str, key: str, words: str) -> None:
    block = tuple(np.array([int(w, 16)], np.uint64) for w in counter.split())
    result = twin.philox4x32(block, [int(k, 16) for k in key.split()])
    assert [f"{int(w[0]):08x}" for w in result] == words.split()


GOLDEN = {  # sha256 of 100,003 draws from seed 42: what any device must give, in any release
    ("uniform", "float32"): "8542fed3b889daf2", ("normal", "float32"): "53b8ad10d7bfb74f",
    ("randint", "int64"): "4ae44318f9d62c7f", ("permutation", "int64"): "7d27a1c8f1623583",
}


@pytest.mark.parametrize(("kind", "dtype"), list(GOLDEN))
def test_streams_never_change(kind: str, dtype: str, device) -> None:
    digest = hashlib.sha256(_draw(kind, dtype, 100_003, 42, 0, device).tobytes()).hexdigest()[:16]
    assert digest == GOLDEN[kind, dtype]


def test_normal_is_accurate_and_symmetric(device) -> None:
    bits = twin.draw32(1 << 18, seed=5)
    got = random.normal((1 << 18,), dtypes.float32, device, _generator(5)).numpy().astype(np.float64)
    m = (bits & np.uint32(2**31 - 1)).astype(np.float64)
    size = -special.ndtri((m + 0.5) * 2.0**-32)
    want = np.where(bits >> np.uint32(31), -size, size)
    far = np.abs(want) > 1e-3  # nearer to zero the reference itself loses digits
    assert np.abs(got[far] / want[far] - 1).max() < 5e-7


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_distribution(kind: str, device) -> None:
    n = 1 << 20
    x = _draw(kind, "float32", n, SEED, 0, device).astype(np.float64)
    moments = {"uniform": (1 / 2, 1 / 3, 1 / 4, 1 / 5), "normal": (0, 1, 0, 3)}[kind]
    spreads = {"uniform": [1 / (2 * k + 1) - 1 / (k + 1) ** 2 for k in range(1, 5)], "normal": (1, 2, 15, 96)}[kind]
    for k, (moment, spread) in enumerate(zip(moments, spreads), 1):
        assert abs((x**k).mean() - moment) < 5 * np.sqrt(spread / n), f"moment {k}"
    assert stats.kstest(x[: 1 << 17], "uniform" if kind == "uniform" else "norm").pvalue > 1e-4
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) * np.sqrt(n) < 5


@pytest.mark.parametrize(("low", "high", "dtype"), [
    (0, 6, "int64"), (-5, 5, "int8"), (0, 256, "uint8"), (-(2**63), 2**63, "int64"), (0, 2**64, "uint64"),
    (2**64 - 3, 2**64, "uint64"), (0, 2, "bool"), (0, 10, "float32")])
def test_randint_ranges(low: int, high: int, dtype: str, form: clgrad.Device) -> None:
    x = clgrad.randint(low, high, (1001,), dtype=dtype, generator=_generator(9))
    assert x.dtype is dtypes.dtype(dtype)
    want = [low + (int(u) * (high - low) >> 64) for u in twin.draw64(1001, seed=9)]
    assert [int(v) for v in x.tolist()] == want


@pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 257, 10_000])
def test_randperm_is_a_permutation(n: int, form: clgrad.Device) -> None:
    assert sorted(clgrad.randperm(n, generator=_generator(n)).tolist()) == list(range(n))


def test_randperm_is_uniform(device) -> None:
    """All 24 orders of four, over consecutive draws of one generator."""
    g = _generator(3)
    rows = np.array([random.permutation(4, dtypes.int64, device, g).numpy() for _ in range(4800)])
    counts = np.unique((rows * 4 ** np.arange(4)).sum(1), return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


def test_generators(device) -> None:
    clgrad.manual_seed(7)
    first, second = clgrad.randn(10).numpy(), clgrad.randn(10).numpy()
    assert not np.array_equal(first, second)
    clgrad.manual_seed(7)
    np.testing.assert_array_equal(clgrad.randn(10).numpy(), first)
    assert clgrad.initial_seed() == 7
    g = clgrad.Generator().manual_seed(7)
    np.testing.assert_array_equal(clgrad.randn(10, generator=g).numpy(), first)
    state = g.get_state()
    again = clgrad.randn(10, generator=g).numpy()
    np.testing.assert_array_equal(again, second)
    np.testing.assert_array_equal(clgrad.randn(10, generator=g.set_state(state)).numpy(), again)
    assert g.seed() == g.initial_seed()
    long = clgrad.randn(100, generator=_generator(1)).numpy()
    g = _generator(1)
    parts = [clgrad.randn(n, generator=g).numpy() for n in (40, 60)]
    np.testing.assert_array_equal(np.concatenate(parts), long)


def test_like_and_bernoulli(device) -> None:
    x = clgrad.tensor([[1, 2], [3, 4]])
    assert clgrad.rand_like(x).dtype is dtypes.float32
    assert clgrad.randn_like(x.double()).dtype is dtypes.float64
    p = clgrad.tensor([0.0, 1.0] * 500)
    assert clgrad.bernoulli(p).tolist() == [0.0, 1.0] * 500
    kept = random.bernoulli((100_000,), 0.25, device, _generator(2)).numpy()
    assert stats.binomtest(int(kept.sum()), kept.size, 0.25).pvalue > 1e-4


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: clgrad.rand(2, dtype="int32"), TypeError, "rand: got clgrad.int32; expected a float dtype"),
    (lambda: clgrad.randint(5, 5, (2,)), ValueError, "low < high"),
    (lambda: clgrad.randint(0, 300, (2,), dtype="uint8"), ValueError, "Choose a wider dtype"),
    (lambda: clgrad.randint(5), TypeError, "Give the shape"),
    (lambda: clgrad.randperm(-1), ValueError, "n >= 0"),
    (lambda: clgrad.rand(-1), ValueError, "sizes of 0 or more"),
    (lambda: clgrad.manual_seed(2**64), ValueError, "seed"),
])
def test_errors(call, error: type, message: str, device) -> None:
    with pytest.raises(error, match=message):
        call()
