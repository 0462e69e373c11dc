"""Linear algebra beyond the records' cases: sizes round panel edges, factors and their derivatives, errors, norms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import clgrad
import clgrad.array as xp
from clgrad import Variable, linalg
from clgrad.core import dtypes
from clgrad.core.errors import DeviceError, DTypeError, GraphError, LinAlgError, ShapeError
from clgrad.ndarray import from_host
from clgrad.testing import assert_close, gradcheck


def _apart(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Matrices far from singular, whose singular values are apart."""
    x = rng.standard_normal(shape) * 0.3
    k = min(shape[-2:])
    x[..., range(k), range(k)] += np.arange(1, k + 1)
    return x


def _positive(x: np.ndarray) -> np.ndarray:
    return x @ x.swapaxes(-1, -2).conj() + np.eye(x.shape[-1], dtype=x.dtype)


def _leaf(x: np.ndarray) -> Variable:
    return Variable(from_host(x), requires_grad=True)


@pytest.fixture
def doubles(device: clgrad.Device) -> None:
    """What the test needs of the device."""
    if not device.facts.fp64:
        pytest.skip("the device has no float64")


# Own kernels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 31, 65, 150])
def test_factorisations_round_panel_edges(n: int, form, rng) -> None:
    """One launch up to a size, panels and products above it; every result against its own equation."""
    a, b = rng.standard_normal((2, n, n)).astype(np.float32), rng.standard_normal((2, n, 19)).astype(np.float32)
    A, B = from_host(a), from_host(b)
    wide = a.astype(np.float64)
    scale = np.abs(np.linalg.inv(wide)).sum(-1).max() * 8
    assert_close(linalg.solve(A, B), np.linalg.solve(wide, b), dtype="float32", scale=scale)
    assert_close(linalg.solve(A.mT, B.mT, left=False).mT, np.linalg.solve(wide, b), scale=scale)
    sign, size = linalg.slogdet(A)
    expected = np.linalg.slogdet(wide)
    assert_close(sign, expected[0])
    assert_close(size, expected[1], scale=64)
    p = _positive(a / np.float32(np.sqrt(n)))
    lower = np.linalg.cholesky(p.astype(np.float64))
    assert_close(linalg.cholesky(from_host(p)), lower, dtype="float32", scale=64)
    assert_close(linalg.cholesky(from_host(np.triu(p)), upper=True), lower.swapaxes(-1, -2), scale=64)
    for upper, left, unit in ((False, True, False), (True, True, True), (True, False, False), (False, False, True)):
        t = lower.swapaxes(-1, -2) if upper else lower
        d = np.eye(n) if unit else t * np.eye(n)
        t = (np.triu(t, 1) if upper else np.tril(t, -1)) / n + d
        x = linalg.solve_triangular(from_host(t.astype(np.float32)), B if left else B.mT, upper=upper, left=left,
                                    unitriangular=unit)
        product = t @ x.numpy() if left else x.numpy() @ t
        assert_close(product.astype(np.float32), b if left else b.swapaxes(-1, -2), scale=64)


def test_batches_broadcast_and_memory_order_does_not_matter(form, rng, doubles) -> None:
    a, b = _apart(rng, 3, 1, 4, 4), rng.standard_normal((2, 4, 5))
    A = from_host(np.ascontiguousarray(a.swapaxes(-1, -2))).mT
    B = from_host(np.ascontiguousarray(b[:, ::-1, ::-1]))[:, ::-1, ::-1]
    assert_close(linalg.solve(A, B), np.linalg.solve(a, b))
    assert_close(linalg.solve(A[:, 0], B[0].expand((3, 4, 5))), np.linalg.solve(a[:, 0], b[0]))
    assert_close(linalg.solve_triangular(A, B, upper=True), np.linalg.solve(np.triu(a), b))
    assert_close(linalg.inv(A[::-1]), np.linalg.inv(a[::-1]))
    assert_close(A, a)
    assert_close(B, b)


def test_complex_matrices(form, rng, doubles) -> None:
    a, b = (rng.standard_normal((2, 70, n)) + 1j * rng.standard_normal((2, 70, n)) for n in (70, 5))
    A, B = from_host(a), from_host(b)
    assert_close(linalg.solve(A, B), np.linalg.solve(a, b), dtype="complex128", scale=1e3)
    assert_close(linalg.solve(A.mT, B.mT, left=False).mT, np.linalg.solve(a, b), scale=1e3)
    assert_close(linalg.slogdet(A).sign, np.linalg.slogdet(a)[0], scale=1e3)
    assert_close(linalg.slogdet(A).logabsdet, np.linalg.slogdet(a)[1], dtype="float64", scale=1e3)
    p = _positive(a)
    assert_close(linalg.cholesky(from_host(p)), np.linalg.cholesky(p), scale=1e3)
    assert_close(linalg.cholesky(from_host(np.triu(p)), upper=True), np.linalg.cholesky(p).swapaxes(-1, -2).conj(),
                 scale=1e3)
    assert_close(linalg.solve_triangular(A, A, upper=True), np.linalg.solve(np.triu(a), a), scale=1e9)


def test_nothing_to_do(doubles) -> None:
    """No matrices, or matrices without elements, give what NumPy gives."""
    for shape in ((0, 2, 2), (3, 0, 0), (0, 0)):
        host = np.zeros(shape, np.float32)
        x = from_host(host)
        assert_close(linalg.inv(x), np.linalg.inv(host), dtype="float32")
        assert_close(linalg.det(x), np.linalg.det(host), dtype="float32")
        assert_close(linalg.cholesky(x), host)
        assert_close(linalg.matrix_rank(x), np.linalg.matrix_rank(host), dtype="int64")
        assert_close(linalg.matrix_exp(x), host)
        assert_close(linalg.cond(x), np.zeros(shape[:-2]), dtype="float32")
        for ord in ("fro", "nuc", 1, 2, np.inf):
            assert_close(linalg.matrix_norm(x, ord), np.zeros(shape[:-2]), dtype="float32")
        v = Variable(x, requires_grad=True)
        linalg.det(v).sum().backward()
        assert_close(v.grad, host)
    assert linalg.solve(from_host(np.eye(3)), from_host(np.zeros((3, 0)))).shape == (3, 0)
    assert linalg.solve(from_host(np.zeros((0, 0))), from_host(np.zeros((0, 4)))).shape == (0, 4)
    assert linalg.lstsq(from_host(np.zeros((0, 3))), from_host(np.zeros((0, 2)))).solution.shape == (3, 2)


# Derivatives -------------------------------------------------------------------------------------------------------


def _symmetric(x: Variable) -> Variable:
    return (x + x.mH) * 0.5


# What does not depend on the free signs of vectors: products in which each comes twice, and values.
GRADIENTS: dict[str, tuple[tuple[tuple[int, ...], ...], Callable]] = {
    "slogdet": (((2, 3, 3),), lambda x: linalg.slogdet(x).logabsdet),
    "solve": (((2, 3, 3), (3, 2)), linalg.solve),
    "solve vector": (((2, 3, 3), (2, 3)), linalg.solve),
    "solve right": (((3, 3), (2, 2, 3)), lambda a, b: linalg.solve(a, b, left=False)),
    "inv_ex": (((2, 3, 3),), lambda x: linalg.inv_ex(x).inverse),
    "cholesky upper": (((2, 3, 3),), lambda x: linalg.cholesky(
        _symmetric(x) + 3 * clgrad.eye(3, dtype="float64"), upper=True)),
    "qr tall": (((2, 4, 3),), linalg.qr),
    "qr square": (((3, 3),), lambda x: linalg.qr(x, "complete")),
    "qr wide": (((2, 3, 5),), linalg.qr),
    "qr wide, R": (((3, 5),), lambda x: linalg.qr(x, "complete").R),
    "qr, Q": (((4, 3),), lambda x: linalg.qr(x).Q),
    "svd tall": (((2, 4, 3),), lambda x: _svd_invariants(linalg.svd(x, full_matrices=False))),
    "svd wide": (((3, 4),), lambda x: _svd_invariants(linalg.svd(x, full_matrices=False))),
    "svd square": (((3, 3),), lambda x: _svd_invariants(linalg.svd(x))),
    "svd, Vh": (((2, 3, 4),), lambda x: clgrad.square(abs(linalg.svd(x, False).Vh))),
    "svd, S of full": (((4, 3),), lambda x: linalg.svd(x).S),
    "eigh": (((2, 3, 3),), lambda x: _eigh_invariants(linalg.eigh(_symmetric(x)))),
    "eigh upper, vectors": (((3, 3),), lambda x: clgrad.square(abs(linalg.eigh(_symmetric(x), "U").eigenvectors))),
    "pinv tall": (((2, 4, 3),), linalg.pinv),
    "pinv hermitian": (((3, 3),), lambda x: linalg.pinv(_symmetric(x), hermitian=True)),
    "lstsq": (((2, 4, 3), (2, 4, 2)), lambda a, b: linalg.lstsq(a, b)[:2]),
    "lstsq wide vector": (((3, 4), (3,)), lambda a, b: linalg.lstsq(a, b).solution),
    "cond": (((2, 3, 3),), lambda x: (linalg.cond(x), linalg.cond(x, -2), linalg.cond(x, "nuc"))),
    "eig": (((2, 3, 3),), lambda x: _eig_invariants(linalg.eig(x))),
    "eigvals": (((3, 3),), lambda x: _parts(linalg.eigvals(x))),
    "norm 2": (((3, 4),), lambda x: linalg.norm(x, 2)),
    "matrix_exp": (((2, 3, 3),), lambda x: linalg.matrix_exp(x * 3)),
    "matrix_power": (((3, 3),), lambda x: linalg.matrix_power(x, -3)),
    "tensorinv": (((4, 2, 2),), lambda x: linalg.tensorinv(x, 1)),
    "multi_dot": (((2, 3), (3, 2), (2,)), lambda *xs: linalg.multi_dot(xs)),
}


def _svd_invariants(parts: tuple) -> tuple:
    U, S, Vh = parts
    return U[..., :1] @ Vh[..., :1, :], S, U[..., 1:2] @ U[..., 1:2].mH


def _eigh_invariants(parts: tuple) -> tuple:
    L, V = parts
    return L, V[..., :1] @ V[..., :1].mH


def _eig_invariants(parts: tuple) -> tuple:
    L, V = parts
    return clgrad.real(L), clgrad.imag(L), clgrad.square(abs(V))


def _parts(x: Variable) -> Variable:
    return clgrad.view_as_real(x) if x.dtype.kind == "c" else x


@pytest.mark.parametrize("name", GRADIENTS)
def test_derivatives(name: str, rng, doubles) -> None:
    shapes, function = GRADIENTS[name]
    gradcheck(function, [_leaf(_apart(rng, *s) if len(s) > 1 else rng.standard_normal(s)) for s in shapes])


@pytest.mark.parametrize("name", ["slogdet", "solve right", "inv_ex", "cholesky upper", "qr tall", "qr wide",
                                  "svd tall", "svd wide", "svd square", "eigh", "eig", "pinv tall", "lstsq", "cond",
                                  "matrix_exp"])
def test_complex_derivatives(name: str, rng, doubles) -> None:
    """Along the real and imaginary parts."""
    shapes, function = GRADIENTS[name]

    def run(*pairs):
        out = function(*map(clgrad.view_as_complex, pairs))
        return tuple(map(_parts, out)) if isinstance(out, tuple) else _parts(out)

    hosts = [np.stack([_apart(rng, *s), 0.3 * rng.standard_normal(s)], -1) for s in shapes]
    gradcheck(run, [_leaf(h) for h in hosts])


def test_complex_determinants(rng, doubles) -> None:
    """Signs turn with the matrix; logarithms take the principal branch; slopes of singular matrices are cofactors."""
    pair = np.stack([_apart(rng, 3, 3), rng.standard_normal((3, 3))], -1)
    for function in (linalg.det, clgrad.logdet, lambda x: linalg.slogdet(x).sign):
        gradcheck(lambda p, f=function: _parts(f(clgrad.view_as_complex(p))), [_leaf(pair)])
    gradcheck(lambda p: _parts(linalg.det(clgrad.view_as_complex(p))), [_leaf(np.zeros((3, 3, 2)))], atol=1e-4)
    with pytest.raises(GraphError, match="phases of complex vectors"):
        clgrad.real(linalg.eigh(_symmetric(clgrad.view_as_complex(_leaf(pair))))[1]).sum().backward()


@pytest.mark.parametrize(("n", "rank"), [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2), (3, 3)])
def test_det_of_singular_matrices_has_its_slopes(n: int, rank: int, rng, doubles) -> None:
    """d det = <cofactors, dA>, by minors; and the second derivative where the first may vanish."""
    a = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    minors = np.array([[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)]
                       for i in range(n)])
    x = _leaf(a)
    linalg.det(x).backward()
    assert_close(x.grad, minors, scale=100)
    # whole numbers, whose pivots are exactly zero
    x = _leaf(np.diag(np.arange(n) < rank).astype(np.float64))
    gradcheck(linalg.det, [x], atol=1e-4)


def test_errors_of_derivatives(rng, doubles) -> None:
    x = _leaf(rng.standard_normal((4, 3)))
    with pytest.raises(GraphError, match=r"linalg.qr: got mode='complete' with 4 rows and 3 columns"):
        linalg.qr(x, "complete").R.sum().backward()
    with pytest.raises(GraphError, match=r"linalg.qr: got mode='r'; expected a Q"):
        linalg.qr(x, "r").R.sum().backward()
    singular = _leaf(np.ones((2, 2)))
    with pytest.raises(LinAlgError, match=r"linalg.inv: got a matrix that is singular"):
        linalg.slogdet(singular).logabsdet.backward()
    ranked = linalg.matrix_rank(x)
    assert not isinstance(ranked, Variable) or not ranked.requires_grad


# PyTorch -----------------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_torch(rng, doubles) -> None:
    """Where a derivative is a matter of convention: of factors, of symmetric inputs, of full matrices."""
    torch = pytest.importorskip("torch")
    square, tall = _apart(rng, 3, 3), _apart(rng, 4, 3)
    weights = rng.standard_normal((4, 4))

    def slopes(namespace, wrap, x):
        x = wrap(x)
        calls = {
            "cholesky": lambda: namespace.cholesky(x @ x.mT).sum(),
            "cholesky direct": lambda: namespace.cholesky(x + 0),
            "svd full": lambda: (namespace.svd(x).U[..., :3] ** 2) * wrap(weights)[:x.shape[0], :3].detach(),
            "qr": lambda: namespace.qr(x).R,
            "eigh": lambda: namespace.eigh(x @ x.mT)[1] ** 2 * wrap(weights)[:3, :3].detach(),
            "pinv": lambda: namespace.pinv(x),
            "triangular": lambda: namespace.solve_triangular(x, x, upper=True, unitriangular=True),
            "inf norm": lambda: namespace.matrix_norm(x, np.inf),
        }
        for name, call in calls.items():
            if (x.shape[0] == 4) == (name in ("svd full", "pinv", "qr", "inf norm")):
                if name == "cholesky direct":
                    continue
                x.grad = None
                call().sum().backward()
                yield name, x.grad

    for x in (square, tall):
        theirs = dict(slopes(torch.linalg, lambda h: torch.tensor(h, requires_grad=True), x))
        for name, grad in slopes(linalg, _leaf, x):
            assert_close(grad, theirs[name].numpy(), scale=100, message=name)


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((2, 4, 3), (2, 4)), ((4, 3), (4,)), ((3, 4), (3, 2)),
                                    ((2, 3, 3), (2, 3, 1))])
@pytest.mark.parametrize("driver", [None, "gels", "gelsy", "gelsd", "gelss"])
def test_lstsq_returns_what_torch_returns(shapes, driver, rng, doubles) -> None:
    torch = pytest.importorskip("torch")
    a, b = (rng.standard_normal(s) for s in shapes)
    theirs = torch.linalg.lstsq(torch.tensor(a), torch.tensor(b), driver=driver)
    ours = linalg.lstsq(from_host(a), from_host(b), driver=driver)
    for name in ("solution", "residuals", "rank", "singular_values"):
        if name == "residuals" and driver in (None, "gelsy"):
            continue  # documented there, but left empty by this driver
        assert_close(getattr(ours, name), getattr(theirs, name).numpy(), scale=100, message=name)


# Errors ------------------------------------------------------------------------------------------------------------


def _lower(values: list) -> np.ndarray:
    return np.array(values, np.float32)


def test_singular_and_indefinite_matrices_are_named() -> None:
    ones = _lower([[1, 1], [1, 1]])
    stack = from_host(np.stack([np.eye(2, dtype=np.float32), ones]))
    for call, name in ((lambda: linalg.inv(from_host(ones)), "linalg.inv"),
                       (lambda: linalg.solve(from_host(ones), from_host(ones)), "linalg.solve"),
                       (lambda: linalg.inv_ex(from_host(ones), check_errors=True), "linalg.inv"),
                       (lambda: clgrad.inverse(from_host(ones)), "linalg.inv")):
        with pytest.raises(LinAlgError, match=rf"^{name}: got a matrix that is singular \(pivot 2 is zero\)"):
            call()
    with pytest.raises(np.linalg.LinAlgError, match="matrix 1 of the batch that is singular"):
        linalg.inv(stack)
    with pytest.raises(RuntimeError, match=r"matrix \(1, 0\) of the batch that is singular"):
        linalg.inv(stack.reshape((2, 1, 2, 2)))
    indefinite = _lower([[1, 0, 0], [0, -1, 0], [0, 0, 1]])
    with pytest.raises(LinAlgError, match=r"cholesky: got a matrix that is not positive-definite \(its leading minor "
                                          r"of order 2 is not positive\)"):
        linalg.cholesky(from_host(indefinite))
    with pytest.raises(LinAlgError, match="order 1"):
        linalg.cholesky(from_host(np.full((2, 2), np.nan, np.float32)))
    with pytest.raises(LinAlgError, match=r"linalg.svd: got a matrix on which LAPACK failed"):
        linalg.svd(from_host(np.full((2, 2), np.nan, np.float32)))


def test_ex_forms_do_not_wait(device) -> None:
    ones = from_host(np.ones((2, 2), np.float32))
    before = device.copies.to_host
    inverse = linalg.inv_ex(ones)
    solved = linalg.solve_ex(ones, ones)
    factor = linalg.cholesky_ex(ones * -1)
    assert device.copies.to_host == before
    assert [int(r.info.item()) for r in (inverse, solved, factor)] == [2, 2, 1]
    assert inverse._fields == ("inverse", "info")


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: linalg.inv(x), ShapeError, r"linalg.inv: got shape \(2, 3\); expected square matrices"),
    (lambda x: linalg.det(x[0]), ShapeError, r"linalg.det: got shape \(3,\); expected matrices"),
    (lambda x: linalg.solve(x[:, :2], x.mT), ShapeError, r"got A of shape \(2, 2\) and B of shape \(3, 2\); expected 2 "
                                                         r"rows"),
    (lambda x: linalg.solve(x[:, :2], x[:, 0], left=False), ShapeError, "left=False; expected a vector"),
    (lambda x: linalg.solve(x[:, :2].to("float16"), x), DTypeError, "got clgrad.float16; expected float32"),
    (lambda x: linalg.svd(x.to("int32")), DTypeError, "got clgrad.int32"),
    (lambda x: linalg.svd(3.0), DTypeError, "got a float; expected arrays"),
    (lambda x: linalg.svd(x, driver="magma"), ValueError, "driver='magma'"),
    (lambda x: linalg.qr(x, "economic"), ValueError, "mode='economic'"),
    (lambda x: linalg.eigh(x[:, :2], "X"), ValueError, "UPLO='X'"),
    (lambda x: linalg.matrix_norm(x, 3), ValueError, "ord=3"),
    (lambda x: linalg.matrix_norm(x, dim=(0, 0)), ShapeError, "two different axes"),
    (lambda x: linalg.norm(x, "fro", 0), ShapeError, "one axis and a number"),
    (lambda x: linalg.matrix_power(x[:, :2], 0.5), DTypeError, "n=0.5"),
    (lambda x: linalg.multi_dot([x]), ShapeError, "two or more"),
    (lambda x: linalg.multi_dot([x, x]), ShapeError, "3 columns at place 0 and 2 rows behind"),
    (lambda x: linalg.solve(x[:, :2], x[0]), ShapeError, r"B of shape \(3,\)"),
    (lambda x: linalg.multi_dot([x, x[0], x.mT]), ShapeError, "at place 1"),
    (lambda x: linalg.vecdot(x, x[:, :2]), ShapeError, "equal sizes on axis -1"),
    (lambda x: linalg.tensorinv(x, 1), ShapeError, "ind=1"),
    (lambda x: linalg.tensorsolve(x, x[0]), ShapeError, "as many equations"),
    (lambda x: xp.linalg.cross(x, x, axis=1), ShapeError, "a negative axis"),
    (lambda x: xp.linalg.trace(x > 0), DTypeError, "numeric"),
])
def test_bad_input(call: Callable, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(from_host(np.arange(6, dtype=np.float32).reshape(2, 3)))


def test_host_work_can_be_forbidden(device, rng, doubles) -> None:
    x = from_host(_positive(rng.standard_normal((3, 3))))
    before = device.copies.to_host
    linalg.svd(x)
    assert device.copies.to_host == before + 1
    with clgrad.config.override(host_linalg="forbid"):
        for name in ("svd", "svdvals", "qr", "eigh", "eigvalsh", "pinv", "matrix_rank", "cond", "eig", "eigvals"):
            with pytest.raises(DeviceError, match=r"got CLGRAD_HOST_LINALG=forbid"):
                getattr(linalg, name)(x)
        with pytest.raises(DeviceError, match=r"linalg.lstsq: got CLGRAD_HOST_LINALG"):
            linalg.lstsq(x, x)
        for name in ("inv", "det", "slogdet", "cholesky", "matrix_exp"):
            getattr(linalg, name)(x)
        linalg.solve(x, x)
        linalg.matrix_norm(x, 1)


# Values ------------------------------------------------------------------------------------------------------------


def test_equations_of_decompositions(rng, doubles) -> None:
    for shape in ((4, 3), (2, 3, 5)):
        a = rng.standard_normal(shape)
        m, n = shape[-2:]
        for full in (True, False):
            U, S, Vh = (p.numpy() for p in linalg.svd(from_host(a), full))
            assert U.shape[-1] == (m if full else min(m, n))
            assert_close(U[..., :S.shape[-1]] * S[..., None, :] @ Vh[..., :S.shape[-1], :], a)
        for mode in ("reduced", "complete"):
            Q, R = (p.numpy() for p in linalg.qr(from_host(a), mode))
            assert_close(Q @ R, a)
            assert Q.shape[-1] == (m if mode == "complete" else min(m, n))
        empty, R = linalg.qr(from_host(a), "r")
        assert empty.shape == (0,)
        assert_close(np.abs(R.numpy()), np.abs(np.linalg.qr(a, "r")))
        assert_close(clgrad.svd(from_host(a)).V, linalg.svd(from_host(a), False).Vh.mT.numpy())
    assert linalg.svd(from_host(a))._fields == ("U", "S", "Vh")


def test_tolerances_of_ranks(rng, doubles) -> None:
    a = np.diag([1.0, 1e-3, 1e-9])
    stack = from_host(np.stack([a, a[::-1]]))
    assert linalg.matrix_rank(stack).tolist() == [3, 3]
    assert linalg.matrix_rank(stack, rtol=1e-6).tolist() == [2, 2]
    assert linalg.matrix_rank(stack, atol=1e-2).tolist() == [1, 1]
    assert linalg.matrix_rank(stack, rtol=from_host(np.array([1e-6, 0.5]))).tolist() == [2, 1]
    assert linalg.matrix_rank(stack, atol=from_host(np.array([0.0, 0.5])), rtol=1e-6).tolist() == [2, 1]
    assert int(linalg.matrix_rank(from_host(-a), hermitian=True)) == 3
    for options in ({"rtol": 1e-6}, {"atol": 1e-2}, {"rtol": from_host(np.array([1e-6, 0.5]))}):
        given = options.get("rtol", 1e-2)
        expected = np.linalg.pinv(stack.numpy(), given.numpy() if hasattr(given, "numpy") else given)
        assert_close(linalg.pinv(stack, **options), expected, scale=1e3)
    assert int(linalg.lstsq(from_host(a), from_host(a), rcond=1e-6).rank) == 2


def test_older_names_and_tensors(rng, doubles) -> None:
    a = rng.standard_normal((2, 6, 3, 4))
    b = rng.standard_normal((2, 6))
    assert_close(linalg.tensorsolve(from_host(a), from_host(b)), np.linalg.tensorsolve(a, b), scale=100)
    assert_close(linalg.tensorsolve(from_host(a.transpose(2, 0, 1, 3)), from_host(b), (0, 3)), np.linalg.tensorsolve(
        a.transpose(0, 1, 3, 2).transpose(0, 1, 3, 2), b), scale=100)
    c = rng.standard_normal((4, 6, 8, 3))
    assert_close(linalg.tensorinv(from_host(c)), np.linalg.tensorinv(c), scale=1e3)
    p = _positive(rng.standard_normal((3, 3)))
    x = clgrad.tensor(p)
    assert_close(x.inverse(), np.linalg.inv(p), scale=10)
    assert_close(x.cholesky(True), np.linalg.cholesky(p).T)
    assert_close(x.logdet(), np.linalg.slogdet(p)[1])
    assert_close(clgrad.logdet(from_host(np.diag([1.0, -1.0]))), np.nan)
    assert_close(clgrad.logdet(from_host(np.zeros((2, 2)))), -np.inf)
    assert_close(x.slogdet().sign, 1.0)
    assert clgrad.matrix_power is linalg.matrix_power


# The standard's namespace ------------------------------------------------------------------------------------------

A = np.array([[[4, 1, 2], [1, 5, 3], [2, 3, 6]], [[2, -1, 0], [-1, 2, -1], [0, -1, 2]]], np.float32)
W = np.arange(24, dtype=np.float32).reshape(2, 3, 4) % 7 - 3
CALLS = [
    ("cholesky", (A,), {}), ("cholesky", (A,), {"upper": True}), ("cross", (A, A[0]), {}),
    ("cross", (A, A.mT), {"axis": -2}), ("det", (A,), {}), ("diagonal", (W,), {"offset": 1}),
    ("diagonal", (W,), {"offset": -5}), ("eigvalsh", (A,), {}), ("inv", (A,), {}), ("matmul", (A, W), {}),
    *[("matrix_norm", (W,), {"ord": o, "keepdims": k}) for o, k in (
        ("fro", False), ("nuc", True), (1, False), (2, True), (np.inf, False), (-1, True), (-2, False),
        (-np.inf, False))],
    *[("matrix_power", (A, n), {}) for n in (0, 1, 5, -2)], ("matrix_rank", (W,), {}),
    ("matrix_rank", (W,), {"rtol": 0.5}), ("matrix_transpose", (W,), {}), ("outer", (A[0, 0], W[0, 0]), {}),
    ("pinv", (W,), {}), ("pinv", (W,), {"rtol": 0.2}), ("slogdet", (A,), {}), ("solve", (A, W), {}),
    ("solve", (A, A[0, 0]), {}), ("solve", (A[:, None], A), {}), ("svdvals", (W,), {}),
    ("tensordot", (A, W[0]), {"axes": 1}), ("trace", (W,), {"offset": 1}), ("trace", (W.astype(np.int16),), {}),
    ("trace", (W.astype(np.uint8),), {"dtype": np.float32}), ("vecdot", (W, W[:1]), {}),
    ("vecdot", (A, A), {"axis": -2}),
    *[("vector_norm", (W,), {"ord": o, "axis": axis, "keepdims": k}) for o, axis, k in (
        (2, None, True), (0, 1, False), (np.inf, (0, 2), True), (-np.inf, -1, False), (1, (1, 2), False),
        (3, None, False), (-1, 2, False), (0.5, 0, False))],
]


@pytest.mark.parametrize(("name", "args", "named"), CALLS, ids=[f"{c[0]}-{i}" for i, c in enumerate(CALLS)])
def test_standard_functions(name: str, args: tuple, named: dict) -> None:
    with np.errstate(divide="ignore"):
        expected = getattr(np.linalg, name)(*args, **named)
    moved = [from_host(a) if isinstance(a, np.ndarray) else a for a in args]
    out = getattr(xp.linalg, name)(*moved, **{k: dtypes.dtype(v) if k == "dtype" else v for k, v in named.items()})
    for o, e in zip(out if isinstance(out, tuple) else (out,), expected if isinstance(out, tuple) else (expected,)):
        assert_close(o, e, dtype=np.asarray(e).dtype, scale=16)


def test_standard_results_are_named() -> None:
    x = from_host(A)
    for name, fields in (("eigh", ("eigenvalues", "eigenvectors")), ("qr", ("Q", "R")),
                         ("slogdet", ("sign", "logabsdet")), ("svd", ("U", "S", "Vh"))):
        assert getattr(xp.linalg, name)(x)._fields == fields
    assert set(xp.linalg.__all__) <= set(dir(xp.linalg))
    # a stack of matrices in the shape of the coefficients' batch is no batch of vectors
    a, b = np.stack([A[0]] * 3), A[0]
    assert_close(xp.linalg.solve(from_host(a), from_host(b)), np.linalg.solve(a, b), scale=16)
