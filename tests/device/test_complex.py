"""Complex numbers: functions near their cuts and at infinity, parts as views, products, casts, gradients."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad
from clgrad import array as xp
from clgrad.core.errors import DTypeError, GraphError, ShapeError
from clgrad.table import OPS
from clgrad.testing import assert_close

ANALYTIC = [name for name, op in OPS.items() if op.family == "elementwise" and "c" in op.kinds and op.args == "x"
            and op.c is not None and isinstance(op.ref, np.ufunc) and op.holomorphic]
PLAIN = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -40.0])


def _grid(values: np.ndarray) -> np.ndarray:
    re, im = np.meshgrid(values, values, indexing="ij")
    out = np.empty(re.shape, np.complex128)
    out.real, out.imag = re, im
    return out


@pytest.fixture
def numbers(rng) -> np.ndarray:
    return rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4))


@pytest.mark.parametrize("name", ANALYTIC)
def test_functions_on_their_cuts(name: str, device) -> None:
    """Signed zeros choose the side of a branch cut, in both parts."""
    if not device.facts.fp64:
        pytest.skip("the device has no float64")
    z = _grid(PLAIN)
    with np.errstate(all="ignore"):
        expected = OPS[name].ref(z)
    got = clgrad.ops.ALL[name](xp.asarray(z)).numpy()
    if got.dtype.kind != "c":
        assert_close(got, expected)
        return
    usual = np.isfinite(expected)
    assert np.isfinite(got[usual]).all()
    assert_close(got[usual], expected[usual])
    for part in ("real", "imag"):  # the same side: the signs of what is not tiny
        a, b = getattr(got[usual], part), getattr(expected[usual], part)
        large = np.abs(b) > 1e-9
        np.testing.assert_array_equal(np.signbit(a[large]), np.signbit(b[large]))


LIMITS = {  # C99, annex G
    "sqrt": [(complex(-np.inf, 1), complex(0, np.inf)), (complex(np.inf, -1), complex(np.inf, -0.0)),
             (complex(np.nan, np.inf), complex(np.inf, np.inf))],
    "exp": [(complex(-np.inf, np.nan), 0j), (complex(0, 0), 1 + 0j), (complex(np.inf, 0), complex(np.inf, 0))],
    "log": [(complex(-0.0, 0.0), complex(-np.inf, np.pi)), (complex(np.inf, np.inf), complex(np.inf, np.pi / 4)),
            (complex(-np.inf, 1), complex(np.inf, np.pi))],
    "acos": [(complex(-np.inf, np.inf), complex(3 * np.pi / 4, -np.inf)), (complex(np.inf, 1), complex(0, -np.inf))],
    "asinh": [(complex(2, np.inf), complex(np.inf, np.pi / 2)), (complex(np.inf, -np.inf),
                                                                 complex(np.inf, -np.pi / 4))],
    "atanh": [(complex(1, 0), complex(np.inf, 0)), (complex(np.inf, 2), complex(0, np.pi / 2)),
              (complex(1e300, 1), complex(0, np.pi / 2))],
    "tanh": [(complex(np.inf, 1), complex(1, 0)), (complex(-500, 3), complex(-1, 0))],
    "sinh": [(complex(np.inf, 0), complex(np.inf, 0))],
    "cosh": [(complex(-np.inf, 0), complex(np.inf, 0))],
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str, device) -> None:
    if not device.facts.fp64:
        pytest.skip("the device has no float64")
    given, expected = map(np.array, zip(*LIMITS[name]))
    got = clgrad.ops.ALL[name](xp.asarray(given)).numpy()
    np.testing.assert_allclose(got.real, expected.real, atol=1e-15)
    np.testing.assert_allclose(got.imag, expected.imag, atol=1e-15)


def test_no_overflow_on_the_way() -> None:
    big = np.array([3e38 + 3e38j, 1e-40 + 1e-40j, 1e30 - 1e-30j], np.complex64)
    x = xp.asarray(big)
    assert_close(xp.sqrt(x), np.sqrt(big.astype(np.complex128)))
    quotient = (x[:1] / x[:1]).numpy()
    assert_close(quotient, np.ones(1, np.complex64))
    assert_close(abs(x[2:]), np.array([1e30], np.float32), scale=1)
    assert np.isfinite(xp.exp(xp.asarray(np.array([89 + 0.785j], np.complex64))).numpy()).all()


def test_parts_are_views(numbers, form) -> None:
    x = xp.asarray(numbers, device=form)
    assert_close(x.real, numbers.real)
    assert_close(x.T.imag[1:, ::2], numbers.T.imag[1:, ::2])
    x.imag[...] = 0
    assert_close(x, numbers.real + 0j)
    x[0].real += 1.0
    assert_close(x[0], numbers[0].real + 1 + 0j)
    pairs = clgrad.view_as_real(x)
    assert pairs.shape == (3, 4, 2)
    assert pairs.storage is x.storage
    assert clgrad.view_as_complex(pairs[1]).storage is x.storage
    assert_close(clgrad.view_as_complex(pairs[1]), x[1].numpy())


def test_parts_that_are_refused() -> None:
    with pytest.raises(DTypeError, match=r"imag: got float32; expected complex"):
        clgrad.imag(clgrad.ones(2))
    with pytest.raises(ShapeError, match=r"view_as_complex: got shape \(3,\)"):
        clgrad.view_as_complex(clgrad.ones(3))
    with pytest.raises(ShapeError, match=r"view_as_complex: got strides .*\.contiguous\(\)"):
        clgrad.view_as_complex(clgrad.ones(2, 4).T)
    with pytest.raises(ShapeError, match=r"view_as_complex: .* even places"):
        clgrad.view_as_complex(clgrad.ones(7)[1:7].reshape(3, 2))
    with pytest.raises(DTypeError, match=r"complex: got clgrad.float32 and clgrad.float64"):
        clgrad.complex(clgrad.ones(1), clgrad.ones(1, dtype=clgrad.float64))
    with pytest.raises(DTypeError, match=r"sign: got complex64"):
        clgrad.sign(clgrad.ones(1, dtype=clgrad.complex64))


@pytest.mark.parametrize("name", ["lt", "ge", "maximum", "floor", "atan2", "relu"])
def test_complex_numbers_have_no_order(name: str) -> None:
    x = clgrad.ones(2, dtype=clgrad.complex64)
    with pytest.raises(DTypeError, match=rf"{name}: got complex64; expected"):
        clgrad.ops.ALL[name](*[x] * len(OPS[name].tensors))


@pytest.mark.parametrize("name", ["amax", "argmin", "sort", "argsort", "topk", "median", "cummax", "softmax", "mode"])
def test_no_order_along_an_axis(name: str) -> None:
    x = clgrad.ones(2, 3, dtype=clgrad.complex64)
    with pytest.raises(DTypeError, match="got complex64; expected"):
        clgrad.ops.ALL[name](x, *([1] if name == "topk" else []), **({} if name == "argsort" else {"dim": 0}))


def test_joining(numbers) -> None:
    re, im = clgrad.tensor(numbers.real), clgrad.tensor(numbers.imag[:1])
    assert_close(clgrad.complex(re, im), numbers.real + 1j * numbers.imag[:1], dtype="complex128")
    assert_close(clgrad.polar(re.abs(), im.expand(3, 4)), np.abs(numbers.real) * np.exp(1j * numbers.imag[:1]))
    assert_close(clgrad.angle(clgrad.tensor(numbers)), np.angle(numbers), dtype="float64")
    assert_close(clgrad.tensor([1 + 2j, 3]), np.array([1 + 2j, 3]), dtype="complex64")
    assert clgrad.tensor(2 - 1j).item() == 2 - 1j
    assert complex(clgrad.tensor(2 - 1j)) == 2 - 1j


@pytest.mark.parametrize("shapes", [((3, 5), (5, 4)), ((2, 3, 5), (5,)), ((5,), (5,)), ((0, 3), (3, 2))])
@pytest.mark.parametrize("real_side", [None, 0, 1])
def test_products(shapes, real_side, form, rng) -> None:
    hosts = [rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in shapes]
    if real_side is not None:
        hosts[real_side] = hosts[real_side].real
    out = xp.matmul(*(xp.asarray(h, device=form) for h in hosts))
    assert_close(out, np.matmul(*hosts), dtype="complex128")


def test_sums_keep_their_digits(form) -> None:
    """A naive float32 sum of as many terms is off by a thousand times the tolerance."""
    host = np.full(300_000, 0.1 - 0.7j, np.complex64)
    x = xp.asarray(host, device=form)
    assert_close(xp.sum(x), host.sum(dtype=np.complex128))
    assert_close(xp.sum(xp.asarray(np.stack([host.real] * 2, 1), device=form), axis=0),
                 np.full(2, host.real.sum(dtype=np.float64)))
    assert_close(xp.mean(x), host.mean(dtype=np.complex128))
    assert_close(xp.cumulative_sum(x)[-1], host.sum(dtype=np.complex128))
    assert_close(xp.prod(x[:9].reshape(3, 3), axis=0), host[:9].reshape(3, 3).prod(0))


def test_casts(numbers) -> None:
    x = clgrad.tensor(numbers)
    with pytest.warns(np.exceptions.ComplexWarning, match="complex128 to float32 discards the imaginary part"):
        assert_close(x.to(clgrad.float32), numbers.real.astype(np.float32), dtype="float32")
    assert_close(x.bool(), numbers != 0)
    with pytest.raises(DTypeError, match=r"astype: got clgrad.complex128 to clgrad.float32"):
        xp.astype(x.data, clgrad.float32)
    target = clgrad.zeros(3, 4, dtype=clgrad.complex64)
    target.copy_(clgrad.ones(3, 4, dtype=clgrad.int32))
    assert_close(target, np.ones((3, 4), np.complex64))
    with pytest.raises(DTypeError, match=r"add_: got a complex64 result; expected one that float32 can hold"):
        clgrad.ones(2).add_(1j)


def test_dtypes_of_mixes() -> None:
    x = clgrad.ones(2)
    assert (x * 1j).dtype is clgrad.complex64
    assert (x.double() + 1j).dtype is clgrad.complex128
    assert (x.to(clgrad.int64) * 1j).dtype is clgrad.complex64
    assert (clgrad.ones(2, dtype=clgrad.complex64) * x.double()).dtype is clgrad.complex128
    assert (clgrad.ones(2, dtype=clgrad.complex64) * 2.0).dtype is clgrad.complex64
    assert abs(clgrad.ones(2, dtype=clgrad.complex64)).dtype is clgrad.float32


def test_indexing_and_movement(numbers, form) -> None:
    x = xp.asarray(numbers, device=form)
    rows = xp.asarray(np.array([2, 0, 2]), device=form)
    assert_close(x[rows, 1:], numbers[[2, 0, 2], 1:])
    assert_close(x[xp.abs(x) > 1], numbers[np.abs(numbers) > 1])
    x[rows] = 1j
    host = numbers.copy()
    host[[2, 0]] = 1j
    assert_close(x, host)
    assert_close(xp.concat([x, x.real]), np.concatenate([host, host.real]))
    assert_close(xp.roll(x.T, 1), np.roll(host.T, 1))


def test_gradients_are_pytorchs(numbers) -> None:
    torch = pytest.importorskip("torch")

    def losses(lib, z, w):
        return [(lib.exp(z) * w.conj()).abs().sum(), (z @ z.mH).real.sum(), lib.angle(z * w).sum(),
                (z / w).imag.sum(), lib.view_as_real(z * z).square().sum(), (z**3).real.sum(), lib.sgn(z).real.sum()]

    ours = [clgrad.Variable(clgrad.tensor(v), requires_grad=True) for v in (numbers, numbers[:1] * 2 - 1)]
    theirs = [torch.tensor(v, requires_grad=True) for v in (numbers, numbers[:1] * 2 - 1)]
    for mine, reference in zip(losses(clgrad, *ours), losses(torch, *theirs)):
        for x in (*ours, *theirs):
            x.grad = None
        mine.backward()
        reference.backward()
        for x, y in zip(ours, theirs):
            assert (x.grad is None) == (y.grad is None)
            if x.grad is not None:
                assert_close(x.grad, y.grad.resolve_conj().numpy(), dtype="complex128")


def test_backward_needs_a_real_root(numbers) -> None:
    z = clgrad.Variable(clgrad.tensor(numbers), requires_grad=True)
    with pytest.raises(GraphError, match=r"backward: got clgrad.complex128 without a gradient; expected a real value"):
        z.sum().backward()
    x = clgrad.tensor(numbers.real).requires_grad_()
    (x * clgrad.tensor(numbers)).abs().sum().backward()
    assert_close(x.grad, np.abs(numbers) * np.sign(numbers.real), dtype="float64")


def test_real_memory_is_not_read_as_complex_numbers() -> None:
    """Reals, conjugates and parts of reals are what NumPy says they are."""
    x = clgrad.tensor([1.0, -2.0])
    assert x.conj() is x
    assert clgrad.real(x).storage is x.storage
    assert_close(clgrad.angle(x), np.array([0, np.pi]), dtype="float32")
    assert_close(clgrad.isreal(clgrad.tensor([1 + 0j, 1j])), np.array([True, False]))
