"""Fourier transforms against NumPy's in float64: every way a length is taken, every argument, both kernel forms."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import clgrad
import clgrad.array as xp
from clgrad import Variable
from clgrad.core import dtypes
from clgrad.core.errors import DTypeError, ShapeError
from clgrad.families import fft as family
from clgrad.ndarray import Array, from_host
from clgrad.testing import LAYOUTS, assert_close, gradcheck, on_device

EPS = {"complex64": 2.0**-24, "complex128": 2.0**-53}
# Each small length; powers of two, one launch and several; primes, by a chirp; products of small and of larger primes.
LENGTHS = (*range(1, 41), 97, 1009, 360, 961, 1000, 5040, 64, 128, 256, 512, 1024, 2048, 4096, 1 << 13, 3 * 3691,
           1 << 16)


def _complex(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def _near(actual: Array, expected: np.ndarray, n: int, label: str) -> None:
    """Root mean square error of a few units in the last place, growing with log n (J. Gentleman, G. Sande, 1966)."""
    got = actual.numpy()
    assert got.shape == expected.shape, label
    eps = EPS[dtypes.dtype(got.dtype).complex.name]
    assert got.dtype.kind == expected.dtype.kind, label
    wide = got.astype(expected.dtype)
    assert np.isfinite(wide).all(), label
    size = np.sqrt(np.mean(np.abs(expected) ** 2)) if expected.size else 0
    error = np.sqrt(np.mean(np.abs(wide - expected) ** 2)) if expected.size else 0
    assert error <= 4 * eps * (1 + np.log2(n)) * size, f"{label}: {error / size / eps:.1f} eps"


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_lengths(dtype: str, form, rng) -> None:
    """All six transforms of a line, of a few and of many, of every length."""
    if dtype == "complex128" and not form.facts.fp64:
        pytest.skip("the device has no float64")
    for n in LENGTHS if dtype == "complex64" else LENGTHS[::3]:
        for batch in ((20,),) if n < 30 else ((), (3,), (20,))[:3 if n < 3000 else 1]:
            z = _complex(rng, (*batch, n), dtype)
            half = z[..., :n // 2 + 1].copy()
            w, r, h = z.astype(np.complex128), z.real.astype(np.float64), half.astype(np.complex128)
            x, real, folded = from_host(z), from_host(z.real.copy()), from_host(half)
            for got, want, name in ((clgrad.fft.fft(x), np.fft.fft(w), "fft"),
                                    (clgrad.fft.ifft(x), np.fft.ifft(w), "ifft"),
                                    (clgrad.fft.fft(real), np.fft.fft(r), "fft of reals"),
                                    (clgrad.fft.rfft(real), np.fft.rfft(r), "rfft"),
                                    (clgrad.fft.ihfft(real), np.fft.ihfft(r), "ihfft"),
                                    (clgrad.fft.irfft(folded, n), np.fft.irfft(h, n), "irfft"),
                                    (clgrad.fft.hfft(folded, n), np.fft.hfft(h, n), "hfft")):
                assert got.dtype.complex is dtypes.dtype(dtype)
                _near(got, want, n, f"{name} {batch} x {n}")


def test_more_launches(form, rng, monkeypatch) -> None:
    """Three launches a transform, as the longest lengths take: of short ones, by small kernels."""
    module = family.kernels.template("fft").module
    monkeypatch.setitem(module.DEFAULT, form_name(form), {**module.DEFAULT[form_name(form)], "points": 8})
    for shape, axis in (((512,), 0), ((3, 343), 1), ((3, 392, 2), 1), ((2, 101), 1)):
        z = _complex(rng, shape, "complex64")
        w, n = z.astype(np.complex128), shape[axis]
        for x in (from_host(z), on_device(z, "sliced")):
            fourier = family.Fourier()  # of no plan made before
            _near(fourier("c2c", x, n, axis, True, 1.0), np.fft.ifft(w, axis=axis, norm="forward"), n, f"c2c {shape}")
            _near(fourier("c2r", x, 2 * n, axis, False, 1.0), np.fft.hfft(w, 2 * n, axis), n, f"c2r {shape}")
            _near(fourier("r2c", x.real, n, axis, False, 1.0), np.fft.rfft(w.real, axis=axis), n, f"r2c {shape}")
    with pytest.raises(ShapeError, match="4096 points"):
        fourier("c2c", xp.ones(4096), 4096, 0, True, 1.0)


def test_large_indices(form, rng, monkeypatch) -> None:
    """Kernels that count in 64 bits, as memory of a GiB or more asks for."""
    monkeypatch.setattr(family, "_index", lambda x, n, axis: "long")
    z = _complex(rng, (3, 97), "complex64")
    x = on_device(z, "sliced")
    for n in (64, 97, 4096):
        _near(family.Fourier()("c2c", x, n, 1, False, 1.0), np.fft.fft(z.astype(complex), n), n, f"{n}")


def form_name(device: clgrad.Device) -> str:
    return "wide" if device.wide_core else "many"


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 8, 12, 97, 360, 1009, 65536, 1000003])
def test_roots_are_accurate_to_the_last_place(n: int) -> None:
    """Against cosines and sines in long double, of arguments reduced exactly."""
    k = np.arange(n)
    k = k if n < 100000 else np.concatenate([k[:1000], k[n // 4 - 9:n // 4 + 9], k[-9:]])
    got = family.roots(k, n)
    angle = 2 * np.longdouble("3.14159265358979323846264338327950288") * k.astype(np.longdouble) / n
    error = np.maximum(np.abs(got.real - np.cos(angle)), np.abs(got.imag + np.sin(angle)))
    assert error.max() <= 1.3 * 2.0**-53
    for exact in (0, n // 4 if n % 4 == 0 else 0, n // 2 if n % 2 == 0 else 0):
        assert family.roots(np.array([exact]), n)[0] in (1, -1j, -1)


def test_lengths_taken_apart() -> None:
    for n in range(1, 3000):
        assert np.prod(family.radices(n), dtype=np.int64) == n
        assert family.convenient(n) >= n
        assert family.is_smooth(family.convenient(n))
        assert family.is_smooth(n) == (max(family.radices(n), default=1) <= 31)
    assert family.radices(2 * 1000003) == (2, 1000003)
    assert family.halves(4096, 64) == (64, 64)
    assert family.halves(2 * 29 * 31, 60) == (58, 31)
    assert family.halves(1 << 20, 64) == (1 << 14, 64)


SIZES = ((None, -1), (9, 0), (4, 1), (12, 2), (1, 1))


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])
def test_sizes_axes_and_norms(norm: str | None, device, rng) -> None:
    z = _complex(rng, (5, 6, 7), "complex64")
    for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
        host = z.real.copy() if name in ("rfft", "ihfft") else z
        for n, dim in SIZES:
            want = getattr(np.fft, name)(host.astype(complex if host.dtype.kind == "c" else float), n, dim, norm)
            for layout in LAYOUTS[:3]:
                got = getattr(clgrad.fft, name)(on_device(host, layout), n, dim, norm)
                _near(got, want, 16, f"{name} n={n} dim={dim} {norm} {layout}")


@pytest.mark.filterwarnings("ignore:`axes` should not be `None`")
def test_several_axes(form, rng) -> None:
    z = _complex(rng, (4, 3, 6, 5), "complex64")
    calls = ({}, {"dim": (1,)}, {"dim": (0, 2)}, {"dim": (2, 0), "norm": "ortho"}, {"dim": (-1, 1, 0)},
             {"s": (8, 3), "dim": (0, -1)}, {"s": (2, 4)}, {"s": (-1, 7), "dim": (3, 1), "norm": "forward"})
    for name in ("fftn", "ifftn", "rfftn", "irfftn"):
        host = z.real.copy() if name == "rfftn" else z
        for call in calls:
            named = {"axes" if k == "dim" else k: v for k, v in call.items()}
            if -1 in named.get("s", ()):
                named["s"] = tuple(host.shape[a] if n == -1 else n for n, a in zip(named["s"], named["axes"]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                want = getattr(np.fft, name)(host.astype(complex if host.dtype.kind == "c" else float), **named)
            for layout in ("contiguous", "transposed"):
                _near(getattr(clgrad.fft, name)(on_device(host, layout), **call), want, 64, f"{name} {call} {layout}")
    for name in ("fft2", "ifft2", "rfft2", "irfft2"):
        host = z.real.copy() if name == "rfft2" else z
        _near(getattr(clgrad.fft, name)(from_host(host)), getattr(np.fft, name)(host.astype(complex).real if
              name == "rfft2" else host.astype(complex)), 64, name)


def test_hermitian_over_several_axes(device, rng) -> None:
    fft = pytest.importorskip("scipy.fft")
    z = _complex(rng, (4, 5, 6), "complex64")
    r = z.real.copy()
    for call in ({}, {"dim": (0, 2), "norm": "ortho"}, {"s": (7, 3), "dim": (2, 1)}, {"dim": (1,), "norm": "forward"}):
        named = {"axes" if k == "dim" else k: v for k, v in call.items()}
        _near(clgrad.fft.hfftn(from_host(z), **call), fft.hfftn(z.astype(complex), **named), 64, f"hfftn {call}")
        _near(clgrad.fft.ihfftn(from_host(r), **call), fft.ihfftn(r.astype(float), **named), 64, f"ihfftn {call}")
    _near(clgrad.fft.hfft2(from_host(z)), fft.hfft2(z.astype(complex)), 64, "hfft2")
    _near(clgrad.fft.ihfft2(from_host(r)), fft.ihfft2(r.astype(float)), 64, "ihfft2")


def test_many_batch_axes(form, rng) -> None:
    """More axes than the kernel numbers lines by, in an order that does not merge; steps of zero."""
    z = _complex(rng, (2, 3, 4, 5, 6), "complex64")
    x = from_host(z).permute((3, 1, 4, 0, 2))
    w = z.astype(np.complex128).transpose(3, 1, 4, 0, 2)
    for axis in range(5):
        _near(clgrad.fft.fft(x, dim=axis), np.fft.fft(w, axis=axis), 8, f"axis {axis}")
    wide = from_host(z[:1, 0, 0]).expand((3, 5, 6))
    _near(clgrad.fft.fft(wide, dim=1), np.fft.fft(np.broadcast_to(z[:1, 0, 0], (3, 5, 6)).astype(complex), axis=1), 5,
          "expanded")


def test_dtypes(device) -> None:
    for given, want in (("bool", "complex64"), ("int8", "complex64"), ("int64", "complex64"), ("float16", "complex64"),
                        ("float32", "complex64"), ("float64", "complex128"), ("complex64", "complex64"),
                        ("complex128", "complex128")):
        if dtypes.dtype(given).real is dtypes.float64 and not device.facts.fp64:
            continue
        x = from_host(np.arange(6).astype(given))
        parts = dtypes.dtype(want).real
        assert clgrad.fft.fft(x).dtype is dtypes.dtype(want)
        assert clgrad.fft.irfft(x).dtype is parts
        assert clgrad.fft.hfftn(x).dtype is parts
        assert clgrad.fft.fftn(x, dim=()).dtype is dtypes.dtype(want)
        if dtypes.dtype(given).kind != "c":
            assert clgrad.fft.rfft(x).dtype is dtypes.dtype(want)
            assert_close(clgrad.fft.ifft(x), np.fft.ifft(x.numpy().astype(float)), dtype=want)


def test_empty_and_scalar(device) -> None:
    assert clgrad.fft.fft(xp.zeros((0, 4))).shape == (0, 4)
    assert clgrad.fft.rfft(xp.zeros((3, 0, 4))).shape == (3, 0, 3)
    assert clgrad.fft.irfft(xp.zeros((0, 4))).shape == (0, 6)
    assert_close(clgrad.fft.fft(xp.zeros((2, 0)), n=3), np.zeros((2, 3)), dtype="complex64")
    assert_close(clgrad.fft.irfft(xp.zeros(0), n=3), np.zeros(3), dtype="float32")
    assert_close(clgrad.fft.fftn(xp.asarray(2.0)), np.array(2 + 0j), dtype="complex64")
    assert_close(clgrad.fft.fft(xp.asarray([3.0])), np.array([3 + 0j]), dtype="complex64")


X = np.arange(12, dtype=np.float32).reshape(3, 4)
Z = X.astype(np.complex64)


@pytest.mark.parametrize(("call", "error", "part"), [
    (lambda f, x, z: f.fft(X), DTypeError, "ndarray"),
    (lambda f, x, z: f.fftn([1, 2]), DTypeError, "list"),
    (lambda f, x, z: f.fft(x, n=0), ShapeError, "0 points"),
    (lambda f, x, z: f.fft(x, n=-3), ShapeError, "-3 points"),
    (lambda f, x, z: f.fft(x, n=2.5), ShapeError, "n=2.5"),
    (lambda f, x, z: f.fft(x[:0], dim=0), ShapeError, "0 points"),
    (lambda f, x, z: f.irfft(z[:, :1]), ShapeError, "0 points"),
    (lambda f, x, z: f.irfftn(z, s=(3, 0)), ShapeError, "0 points"),
    (lambda f, x, z: f.fft(x[0, 0]), IndexError, "0-d"),
    (lambda f, x, z: f.fft(x, dim=2), IndexError, "dim=2"),
    (lambda f, x, z: f.fft2(x[0]), IndexError, "dim=-2"),
    (lambda f, x, z: f.fft(x, norm="bad"), ValueError, "norm='bad'"),
    (lambda f, x, z: f.rfft(z), DTypeError, "complex64"),
    (lambda f, x, z: f.ihfftn(z), DTypeError, "complex64"),
    (lambda f, x, z: f.fftn(x, dim=(0, 0)), ShapeError, "each axis once"),
    (lambda f, x, z: f.fftn(x, dim=(0, -2)), ShapeError, "each axis once"),
    (lambda f, x, z: f.fftn(x, s=(2,), dim=(0, 1)), ShapeError, "as many of each"),
    (lambda f, x, z: f.fftn(x, s=(2, 2, 2)), ShapeError, "at most 2"),
    (lambda f, x, z: f.rfftn(x, dim=()), ShapeError, "at least one"),
    (lambda f, x, z: f.irfftn(x[0, 0]), ShapeError, "at least one"),
    (lambda f, x, z: f.fftfreq(0), ShapeError, "n=0"),
    (lambda f, x, z: f.rfftfreq(4, dtype="int32"), DTypeError, "int32"),
])
def test_errors(call, error, part: str, device) -> None:
    with pytest.raises(error, match=part.replace("(", r"\(")) as caught:
        call(clgrad.fft, from_host(X), from_host(Z))
    assert "expected" in str(caught.value)


def test_frequencies_and_shifts(device) -> None:
    for n in (1, 2, 5, 8):
        for d in (1.0, 0.25):
            assert_close(clgrad.fft.fftfreq(n, d), np.fft.fftfreq(n, d), dtype="float32")
            assert_close(clgrad.fft.rfftfreq(n, d), np.fft.rfftfreq(n, d), dtype="float32")
            assert_close(xp.fft.fftfreq(n, d=d), np.fft.fftfreq(n, d), dtype="float32")
            assert_close(xp.fft.rfftfreq(n, d=d, dtype=xp.float32), np.fft.rfftfreq(n, d), dtype="float32")
    assert isinstance(clgrad.fft.fftfreq(4, requires_grad=True), Variable)
    assert clgrad.fft.fftfreq(4, requires_grad=True).requires_grad
    assert clgrad.fft.fftfreq(4, dtype="float16").dtype is clgrad.float16
    x = from_host(np.arange(30).reshape(5, 6))
    for dim in (None, 0, (1,), (0, 1)):
        assert_close(clgrad.fft.fftshift(x, dim), np.fft.fftshift(x.numpy(), dim), dtype="int64")
        assert_close(xp.fft.ifftshift(x, axes=dim), np.fft.ifftshift(x.numpy(), dim), dtype="int64")


def test_standard_namespace(device, rng) -> None:
    """The standard's names and keywords."""
    z = _complex(rng, (4, 6), "complex64")
    for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
        host = z.real.copy() if name in ("rfft", "ihfft") else z
        got = getattr(xp.fft, name)(from_host(host), n=5, axis=0, norm="ortho")
        assert isinstance(got, Array)
        assert_close(got, getattr(np.fft, name)(host, 5, 0, "ortho"), dtype=got.dtype)
    for name in ("fftn", "ifftn", "rfftn", "irfftn"):
        host = z.real.copy() if name == "rfftn" else z
        got = getattr(xp.fft, name)(from_host(host), s=(3, 4), axes=(1, 0), norm="forward")
        assert_close(got, getattr(np.fft, name)(host, (3, 4), (1, 0), "forward"), dtype=got.dtype)


REAL = [("rfft", {"n": 6}), ("rfft", {"n": 9, "dim": 0}), ("ihfft", {"n": 3}), ("fft", {"n": 7}), ("rfftn", {}),
        ("ifftn", {"s": (3, 4)}), ("ihfftn", {})]
COMPLEX = [("fft", {"n": 7, "norm": "ortho"}), ("ifft", {"n": 3, "dim": 0}), ("irfft", {}), ("irfft", {"n": 9}),
           ("irfft", {"n": 4, "dim": 0}), ("hfft", {"n": 5}), ("fftn", {}), ("irfftn", {"s": (3, 7)}), ("hfftn", {})]


@pytest.mark.parametrize(("name", "attrs"), REAL)
def test_gradients_of_reals(name: str, attrs: dict, device, rng) -> None:
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    x = Variable(from_host(rng.standard_normal((4, 5))), requires_grad=True)
    gradcheck(lambda x: clgrad.view_as_real(getattr(clgrad.fft, name)(x, **attrs)) ** 2, [x])


@pytest.mark.parametrize(("name", "attrs"), COMPLEX)
def test_gradients_of_complex(name: str, attrs: dict, device, rng) -> None:
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    x = Variable(from_host(rng.standard_normal((4, 5, 2))), requires_grad=True)

    def run(pairs: Variable) -> Variable:
        y = getattr(clgrad.fft, name)(clgrad.view_as_complex(pairs), **attrs)
        return (clgrad.view_as_real(y) if y.dtype.kind == "c" else y) ** 2

    gradcheck(run, [x])


def test_gradient_against_pytorch(device, rng) -> None:
    torch = pytest.importorskip("torch")
    host = rng.standard_normal((3, 8)).astype(np.float32)
    for name in ("fft", "rfft", "ihfft"):
        x, t = Variable(from_host(host), requires_grad=True), torch.tensor(host, requires_grad=True)
        for f, v in ((clgrad.fft, x), (torch.fft, t)):
            y = getattr(f, name)(v, 10)
            (abs(y) ** 2 * y.real).sum().backward()
        assert_close(x.grad, t.grad.numpy(), dtype="float32", scale=20)


def test_nothing_is_copied_twice(form, rng) -> None:
    """Tables go to the device once; a transform repeated copies and builds nothing, and gives the same bits."""
    x = from_host(_complex(rng, (2, 1009), "complex64"))
    first = clgrad.fft.fft(x).numpy()
    before = form.copies.to_device
    second = clgrad.fft.fft(x).numpy()
    assert form.copies.to_device == before
    assert np.array_equal(first.view(np.float32), second.view(np.float32))


def test_tables_are_let_go(device, monkeypatch) -> None:
    """Plans hold no more tables than a bound."""
    fourier = family.Fourier()
    monkeypatch.setattr(family, "_MOST_TABLE_BYTES", 1000)
    for n in range(40, 60):
        fourier("c2c", xp.ones(n), n, 0, False, 1.0)
    assert len(fourier._plans) < 4


# Frames ------------------------------------------------------------------------------------------------------------


def test_windows(device) -> None:
    signal = pytest.importorskip("scipy.signal")
    for name, args in (("hann", {}), ("hamming", {}), ("blackman", {}), ("bartlett", {}), ("kaiser", {"beta": 5.0})):
        make = getattr(clgrad, f"{name}_window")
        for n in (0, 1, 2, 7, 8):
            for periodic in (True, False):
                want = signal.get_window((name, 5.0) if args else name, n, periodic) if n else np.zeros(0)
                assert_close(make(n, periodic, **args), want, dtype="float32")
        with pytest.raises(ShapeError, match="window_length=-1"):
            make(-1)
        with pytest.raises(DTypeError, match="int32"):
            make(4, dtype="int32")
        assert make(4, dtype="float16", requires_grad=True).requires_grad
    t = np.arange(6) / 6
    assert_close(clgrad.hamming_window(6, True, 0.6, 0.3), 0.6 - 0.3 * np.cos(2 * np.pi * t), dtype="float32")
    assert_close(clgrad.kaiser_window(9, False), np.kaiser(9, 12.0), dtype="float32")


@pytest.mark.parametrize(("n_fft", "hop", "win", "onesided"), [(16, 4, 16, True), (15, 6, 11, False),
                                                            (8, 8, 8, None)])
def test_signal_comes_back(n_fft: int, hop: int, win: int, onesided: bool | None, form, rng) -> None:
    host = rng.standard_normal((2, 70)).astype(np.float32)
    window = np.abs(rng.standard_normal(win)).astype(np.float32) + 0.5
    x, w = from_host(host), from_host(window)
    spectra = clgrad.stft(x, n_fft, hop, win, w, onesided=onesided, return_complex=True, normalized=True)
    back = clgrad.istft(spectra, n_fft, hop, win, w, onesided=onesided, normalized=True, length=64)
    assert_close(back, host[:, :64], dtype="float32", scale=10)
    z = from_host(host + 1j * host[::-1])
    assert z.dtype is clgrad.complex64
    spectra = clgrad.stft(z, n_fft, hop, win, w)
    back = clgrad.istft(spectra, n_fft, hop, win, w, onesided=False, length=64, return_complex=True)
    assert_close(back, z.numpy()[:, :64], dtype="complex64", scale=10)
    if win == n_fft:
        longer = clgrad.istft(spectra, n_fft, hop, win, w, length=90, onesided=False)
        assert longer.shape == (2, 90)
        assert not longer.numpy()[:, 80:].any()


def test_frames_against_pytorch(device, rng) -> None:
    torch = pytest.importorskip("torch")
    host, window = rng.standard_normal((2, 50)).astype(np.float32), rng.random(12).astype(np.float32) + 0.5
    for attrs in ({}, {"center": False, "normalized": True}, {"hop_length": 5, "pad_mode": "replicate"},
                  {"hop_length": 3, "win_length": 12, "onesided": False}):
        attrs = {"win_length": 12, **attrs}
        x, t = Variable(from_host(host), requires_grad=True), torch.tensor(host, requires_grad=True)
        ours = clgrad.stft(x, 16, window=from_host(window), return_complex=True, **attrs)
        theirs = torch.stft(t, 16, window=torch.tensor(window), return_complex=True, **attrs)
        assert_close(ours, theirs.detach().numpy(), dtype="complex64", scale=10)
        (abs(ours) ** 2).sum().backward()
        (abs(theirs) ** 2).sum().backward()
        assert_close(x.grad, t.grad.numpy(), dtype="float32", scale=100)
        attrs.pop("pad_mode", None)
        if attrs.get("center", True):
            got = clgrad.istft(ours, 16, window=from_host(window), **attrs)
            assert_close(got, torch.istft(theirs, 16, window=torch.tensor(window), **attrs).detach().numpy(), scale=20)


def test_gradients_of_frames(device, rng) -> None:
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    x = Variable(from_host(rng.standard_normal((2, 14))), requires_grad=True)
    w = Variable(from_host(rng.random(5) + 0.5), requires_grad=True)
    gradcheck(lambda x, w: clgrad.stft(x, 6, 2, 5, w, return_complex=False) ** 2, [x, w])
    s = Variable(from_host(rng.standard_normal((4, 5, 2))), requires_grad=True)
    gradcheck(lambda s, w: clgrad.istft(clgrad.view_as_complex(s), 6, 2, 5, w) ** 2, [s, w], rtol=1e-4)


S = np.ones(40, np.float32)
F = np.ones((5, 9), np.complex64)


@pytest.mark.parametrize(("call", "error", "part"), [
    (lambda s, f: clgrad.stft(S, 8), DTypeError, "ndarray"),
    (lambda s, f: clgrad.stft(s, 8), ShapeError, "return_complex"),
    (lambda s, f: clgrad.stft(s[:4], 8, return_complex=True), ShapeError, "pad"),
    (lambda s, f: clgrad.stft(s[:4], 8, center=False, return_complex=True), ShapeError, "4 points"),
    (lambda s, f: clgrad.stft(s.reshape(2, 2, 10), 4, return_complex=True), ShapeError, "shape"),
    (lambda s, f: clgrad.stft(s, 8, 0, return_complex=True), ShapeError, "hop_length=0"),
    (lambda s, f: clgrad.stft(s, 8, win_length=9, return_complex=True), ShapeError, "win_length=9"),
    (lambda s, f: clgrad.stft(s, 8, window=s[:7], return_complex=True), ShapeError, "a window of shape"),
    (lambda s, f: clgrad.stft(f[0], 4, onesided=True), DTypeError, "onesided"),
    (lambda s, f: clgrad.stft(s.astype("int32"), 4, return_complex=True), DTypeError, "int32"),
    (lambda s, f: clgrad.istft(s.reshape(5, 8), 8), DTypeError, "float32"),
    (lambda s, f: clgrad.istft(f[:4], 8), ShapeError, "4 frequencies"),
    (lambda s, f: clgrad.istft(f[:, :0], 8), ShapeError, "not empty"),
    (lambda s, f: clgrad.istft(f, 8, 9), ShapeError, "hop_length=9"),
    (lambda s, f: clgrad.istft(f, 8, return_complex=True), DTypeError, "onesided"),
    (lambda s, f: clgrad.istft(f, 8, window=clgrad.hann_window(8).data, center=False), ShapeError, "leave some points"),
])
def test_errors_of_frames(call, error, part: str, device) -> None:
    with pytest.raises(error, match=part) as caught:
        call(from_host(S), from_host(F))
    assert "expected" in str(caught.value)
