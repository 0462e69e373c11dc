"""Linear algebra on stacks of matrices: solving, factoring, decomposing, norms. PyTorch's names, under clgrad.linalg.

LU, Cholesky and triangular solves run in kernels of our own. QR, singular values, eigenvalues and least squares run in
the host's LAPACK: their docs say so, the copies are counted, and CLGRAD_HOST_LINALG=forbid turns them into errors. Ops
that raise on a singular matrix wait for the device and copy one number a matrix to the host; their forms with ``_ex``
do not, unless ``check_errors``.

Derivatives: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode automatic
differentiation" (2008); of QR also S. Walter and L. Lehmann, "Algorithmic differentiation of linear algebra functions
with application in optimum experimental design" (2010); of the pseudo-inverse G. Golub and V. Pereyra (1973).
"""

from __future__ import annotations

import builtins
from collections import namedtuple
from collections.abc import Sequence
from functools import partial
from math import inf, log2, nan
from typing import Any

import numpy as np

from ..autograd.variable import unwrap
from ..core import dtypes, shapes
from ..core.errors import DTypeError, GraphError, LinAlgError, ShapeError, bad
from ..families import linalg as family
from ..families.lapack import least_squares, on_host
from ..families.ramp import ramp
from ..ndarray import Array, full, same_device
from ..table import Case, Matrices
from . import manipulate
from .complex import adjoint, conj, imag, real
from .declare import composite as _composite
from .declare import driver as _driver
from .elementwise import abs, astype, log, sign, square, where
from .manipulate import movedim, put_diagonal, vector_norm
from .matmul import matmul
from .reduce import amax, amin, prod, sum
from .shape import cat, expand, getitem, narrow, permute, reshape, squeeze, transpose, unsqueeze

_FAMILY = "linalg"
_ANY, _SQUARE, _SYMMETRIC, _POSITIVE = (Matrices(k) for k in ("general", "square", "symmetric", "positive"))
_HOST = " Runs in the host's LAPACK: the input is copied there and the result back (see CLGRAD_HOST_LINALG)."
_fields = {"family": _FAMILY, "kinds": "fc", "half": False, "namespace": "linalg"}
driver, composite = partial(_driver, holomorphic=False, **_fields), partial(_composite, **_fields)


# What inputs must be, and small parts of formulas ------------------------------------------------------------------


def _floats(op: str, *given: Any) -> None:
    for x in given:
        if not hasattr(x, "storage"):
            raise DTypeError(bad(op, f"a {type(x).__name__}", "arrays", "Use clgrad.tensor() on host data."))
        if x.dtype.kind not in "fc" or x.dtype.itemsize < 4:
            raise DTypeError(bad(op, x.dtype, "float32, float64, complex64 or complex128",
                                 "Convert with .to(float32): fewer bits do not carry a factorisation."))


def _matrices(op: str, *given: Any) -> None:
    _floats(op, *given)
    for x in given:
        if x.ndim < 2:
            raise ShapeError(bad(op, f"shape {x.shape}", "matrices, of two dimensions or more", "Reshape it."))


def _square(op: str, x: Any) -> None:
    _matrices(op, x)
    if x.shape[-1] != x.shape[-2]:
        raise ShapeError(bad(op, f"shape {x.shape}", "square matrices", "The last two sizes must be equal."))


def _diagonals(x: Any) -> Any:
    return manipulate.diagonal(x, 0, -2, -1)


def _on_diagonal(d: Any) -> Any:
    """Matrices with d's last axis on the diagonal."""
    return put_diagonal(d, (*d.shape, d.shape[-1]), 0, -2, -1)


def _identity(n: int, like: Any) -> Array:
    return _on_diagonal(full((n,), 1, like.dtype, like.device))


def _halved(x: Any) -> Any:
    """The lower half, the diagonal counted half."""
    return manipulate.tril(x) - _on_diagonal(_diagonals(x)) * 0.5


def _per_matrix(x: Any) -> Any:
    """Numbers, one a matrix, in a shape that broadcasts against matrices."""
    return reshape(x, (*x.shape, 1, 1))


def _columns(x: Any) -> Any:
    """A factor for each column."""
    return unsqueeze(x, -2)


def _rows(x: Any) -> Any:
    """A factor for each row."""
    return unsqueeze(x, -1)


def _promoted(x: Array, y: Array) -> tuple[Array, Array]:
    same_device("linalg", (x, y))
    d = dtypes.result_type(x.dtype, y.dtype)
    return astype(x, d), astype(y, d)


def _raise(op: str, info: Array, says: Any, remedy: str) -> None:
    """LinAlgError naming the first matrix whose ``info`` is not zero. Waits for the device."""
    host = info.numpy()
    failed = np.argwhere(host)
    if not len(failed):
        return
    at = tuple(map(int, failed[0]))
    where_ = "a matrix" if not at else f"matrix {at[0] if len(at) == 1 else at} of the batch"
    raise LinAlgError(bad(op, f"{where_} {says(int(host[at]))}", says(0), remedy))


def _singular(number: int) -> str:
    return f"that is singular (pivot {number} is zero)" if number else "matrices that have an inverse"


def _indefinite(number: int) -> str:
    if not number:
        return "positive-definite matrices"
    return f"that is not positive-definite (its leading minor of order {number} is not positive)"


_check_singular = partial(_raise, says=_singular, remedy="Use lstsq or pinv, or add a multiple of the identity.")
_check_definite = partial(_raise, says=_indefinite, remedy="Check its symmetry, or add a multiple of the identity.")

# Solving -----------------------------------------------------------------------------------------------------------

_SolveEx = namedtuple("solve_ex", ["result", "info"])
_InvEx = namedtuple("inv_ex", ["inverse", "info"])
_CholeskyEx = namedtuple("cholesky_ex", ["L", "info"])


def _is_vector(A: Any, B: Any) -> bool:
    """PyTorch's rule: one vector, or a batch of them in the very shape of A's batch."""
    return B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])


def _factored(LU: Array, pivots: Array, B: Array) -> Array:
    batch = shapes.broadcast("linalg.solve", LU.shape[:-2], B.shape[:-2])
    x = family.exchanged(B, pivots, batch)
    LU = LU.expand((*batch, *LU.shape[-2:])).reshape((x.shape[0], *LU.shape[-2:]))
    x = family.triangular(LU, family.triangular(LU, x, False, True), True, False)
    return x.reshape((*batch, *x.shape[-2:]))


def _fits(op: str, A: Any, B: Any, left: bool) -> None:
    axis = -2 if left else -1
    if B.shape[axis] != A.shape[axis]:
        raise ShapeError(bad(op, f"A of shape {A.shape} and B of shape {B.shape}",
                             f"{A.shape[axis]} {'rows' if left else 'columns'} in B", "Transpose one?"))
    shapes.broadcast(op, A.shape[:-2], B.shape[:-2])


def _solve_ex(A: Array, B: Array, left: bool, check_errors: bool, op: str = "linalg.solve_ex") -> _SolveEx:
    _square(op, A)
    _floats(op, B)
    vector = B.ndim < 2 or _is_vector(A, B)
    if B.ndim == 0 or (vector and not left):
        raise ShapeError(bad(op, f"B of shape {B.shape}, left={left}", "a vector (with left=True) or matrices",
                             "Reshape it."))
    A, B = _promoted(A, B)
    B = _rows(B) if vector else B
    _fits(op, A, B, left)
    if not left:
        A, B = A.mT, B.mT
    LU, pivots, info = family.lu(A)
    if check_errors:
        _check_singular(op, info)
    X = _factored(LU, pivots, B)
    X = X if left else X.mT
    return _SolveEx(squeeze(X, -1) if vector else X, info)


def _solve_gradient(g: list, A: Any, B_shape: Any, out: list, left: bool) -> tuple:
    if g[0] is None:
        return None, None
    X, gX = out[0], g[0]
    vector = X.ndim < 2 or (len(B_shape) < 2 or (len(B_shape) == A.ndim - 1 and B_shape == A.shape[:-1]))
    X, gX = (_rows(X), _rows(gX)) if vector else (X, gX)
    gB = linalg_solve_ex(adjoint(A), _explicit(gX, A), left=left)[0]
    gA = -matmul(gB, adjoint(X)) if left else -matmul(adjoint(X), gB)
    return gA, squeeze(gB, -1) if vector else gB


def _explicit(B: Any, A: Any) -> Any:
    """Matrices that cannot be taken for a batch of vectors."""
    return B if B.ndim >= A.ndim else reshape(B, ((1,) * (A.ndim - B.ndim)) + B.shape)


linalg_solve_ex = driver("linalg_solve_ex", "A, B, *, left=True, check_errors=False", tensors=("A", "B"), several=True,
                         run=_solve_ex, grad=_solve_gradient, cases=(Case(((3, 3), (3, 2))),), domain=(_SQUARE, _ANY),
                         ref=lambda A, B: (np.linalg.solve(A, B), np.zeros(A.shape[:-2], np.int32)),
                         doc="(result, info) of linalg.solve, without waiting: where A is singular, info is the number "
                             "of the first zero pivot and the result is rubbish.")


def _checked_solve(A: Any, B: Any, *, left: bool = True) -> Any:
    _floats("linalg.solve", A, B)
    X, info = linalg_solve_ex(A, B, left=left)
    _check_singular("linalg.solve", unwrap(info))
    return X


def _solve_ref(A: Any, B: Any, left: bool = True) -> Any:
    return np.linalg.solve(A, B) if left else np.swapaxes(
        np.linalg.solve(np.swapaxes(A, -1, -2), np.swapaxes(B, -1, -2)), -1, -2)


linalg_solve = composite("linalg_solve", "A, B, *, left=True", tensors=("A", "B"), run=_checked_solve, ref=_solve_ref,
                         domain=(_SQUARE, _ANY),
                         cases=(Case(((3, 3), (3,))), Case(((2, 3, 3), (3, 2))),
                                Case(((3, 3), (2, 4, 3)), {"left": False}), Case(((0, 3, 3), (0, 3, 1))),
                                Case(((1, 1), (1, 1)))),
                         doc="X with A X = B (X A = B without ``left``), by LU with partial pivoting; batches "
                             "broadcast. B is a vector where it is 1-d, or a batch of vectors in the shape of A "
                             "without its last axis. LinAlgError where A is singular: waits for the device.")


def _inv_ex(A: Array, check_errors: bool) -> _InvEx:
    _square("linalg.inv_ex", A)
    LU, pivots, info = family.lu(A)
    if check_errors:
        _check_singular("linalg.inv_ex", info)
    return _InvEx(_factored(LU, pivots, _identity(A.shape[-1], A)), info)


def _inv_gradient(g: list, out: list) -> tuple:
    if g[0] is None:
        return (None,)
    back = adjoint(out[0])
    return (-matmul(matmul(back, g[0]), back),)


linalg_inv_ex = driver("linalg_inv_ex", "A, *, check_errors=False", tensors=("A",), several=True, run=_inv_ex,
                       grad=_inv_gradient, domain=_SQUARE, cases=(Case(((3, 3),)),),
                       ref=lambda A: (np.linalg.inv(A), np.zeros(A.shape[:-2], np.int32)),
                       doc="(inverse, info) of linalg.inv, without waiting: where A is singular, info is the number "
                           "of the first zero pivot and the inverse is rubbish.")


def _inv(A: Any) -> Any:
    _square("linalg.inv", A)
    inverse, info = linalg_inv_ex(A)
    _check_singular("linalg.inv", unwrap(info))
    return inverse


_STACKS = (Case(((3, 3),)), Case(((2, 4, 4),)), Case(((0, 3, 3),)), Case(((2, 0, 0),)), Case(((1, 1),)))
linalg_inv = composite("linalg_inv", "A", tensors=("A",), run=_inv, aliases=("inverse",), domain=_SQUARE, cases=_STACKS,
                       ref=np.linalg.inv, doc="Inverses of square matrices, by LU with partial pivoting. LinAlgError "
                                              "where one is singular: waits for the device. solve is more accurate.")


def _solve_triangular(A: Array, B: Array, upper: bool, left: bool, unitriangular: bool) -> Array:
    op = "linalg.solve_triangular"
    _square(op, A)
    _matrices(op, B)
    _fits(op, A, B, left)
    A, B = _promoted(A, B)
    if not left:
        A, B, upper = A.mT, B.mT, not upper
    batch = shapes.broadcast(op, A.shape[:-2], B.shape[:-2])
    x = family.stacked(B, batch)
    A = A.expand((*batch, *A.shape[-2:])).reshape((x.shape[0], *A.shape[-2:]))
    X = family.triangular(A, x, upper, unitriangular).reshape((*batch, *B.shape[-2:]))
    return X if left else X.mT


def _triangular_gradient(g: Any, A: Any, out: Any, upper: bool, left: bool, unitriangular: bool) -> tuple:
    gB = linalg_solve_triangular(adjoint(A), g, upper=not upper, left=left, unitriangular=unitriangular)
    gA = -matmul(gB, adjoint(out)) if left else -matmul(adjoint(out), gB)
    shift = 1 if unitriangular else 0
    return (manipulate.triu(gA, shift) if upper else manipulate.tril(gA, -shift)), gB


def _triangular_ref(A: Any, B: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    A = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        A = A - np.eye(A.shape[-1], dtype=A.dtype) * (A - 1)
    return _solve_ref(A, B, left)


linalg_solve_triangular = driver(
    "linalg_solve_triangular", "A, B, *, upper, left=True, unitriangular=False", tensors=("A", "B"),
    run=_solve_triangular, grad=_triangular_gradient, ref=_triangular_ref, domain=(_SQUARE, _ANY),
    cases=(Case(((3, 3), (3, 2)), {"upper": False}), Case(((2, 3, 3), (3, 2)), {"upper": True}),
           Case(((3, 3), (2, 4, 3)), {"upper": True, "left": False, "unitriangular": True}),
           Case(((0, 0), (0, 2)), {"upper": True})),
    doc="X with A X = B (X A = B without ``left``), of A only its ``upper`` or its lower half, its diagonal taken for "
        "ones with ``unitriangular``; batches broadcast. A zero on the diagonal gives infinities, not an error.")

# Cholesky ----------------------------------------------------------------------------------------------------------


def _cholesky_ex(A: Array, upper: bool, check_errors: bool) -> _CholeskyEx:
    _square("linalg.cholesky_ex", A)
    L, info = family.cholesky(adjoint(A) if upper else A)
    if check_errors:
        _check_definite("linalg.cholesky_ex", info)
    L = manipulate.tril(L)
    return _CholeskyEx(adjoint(L) if upper else L, info)


def _cholesky_gradient(g: list, out: list, upper: bool) -> tuple:
    """L^-H phi(L^H gL) L^-1, its Hermitian part; phi keeps the lower half, the diagonal counted half."""
    if g[0] is None:
        return (None,)
    L, gL = (adjoint(out[0]), adjoint(g[0])) if upper else (out[0], g[0])
    inner = _halved(matmul(adjoint(L), gL))
    inner = linalg_solve_triangular(adjoint(L), inner, upper=True)
    gA = linalg_solve_triangular(L, inner, upper=False, left=False)
    return ((gA + adjoint(gA)) * 0.5,)


def _cholesky_ref(A: Any, upper: bool = False) -> Any:
    L = np.linalg.cholesky(np.swapaxes(A, -1, -2).conj() if upper else A)
    return np.swapaxes(L, -1, -2).conj() if upper else L


linalg_cholesky_ex = driver("linalg_cholesky_ex", "A, *, upper=False, check_errors=False", tensors=("A",), several=True,
                            run=_cholesky_ex, grad=_cholesky_gradient, domain=_POSITIVE, cases=(Case(((3, 3),)),),
                            ref=lambda A: (np.linalg.cholesky(A), np.zeros(A.shape[:-2], np.int32)),
                            doc="(L, info) of linalg.cholesky, without waiting: where A is not positive-definite, info "
                                "is the order of the first leading minor that is not positive and L is rubbish.")


def _cholesky(A: Any, *, upper: bool = False) -> Any:
    _square("linalg.cholesky", A)
    L, info = linalg_cholesky_ex(A, upper=upper)
    _check_definite("linalg.cholesky", unwrap(info))
    return L


linalg_cholesky = composite("linalg_cholesky", "A, *, upper=False", tensors=("A",), run=_cholesky, ref=_cholesky_ref,
                            domain=_POSITIVE, cases=(*_STACKS, Case(((2, 3, 3),), {"upper": True})),
                            doc="The lower triangular L with A = L L^H (with ``upper`` L^H) of positive-definite "
                                "matrices, of which one half is read. LinAlgError naming the leading minor where one "
                                "is not: waits for the device. The derivative is symmetric.")
cholesky = _composite("cholesky", "x, upper=False", _FAMILY, run=lambda x, upper=False: _cholesky(x, upper=upper),
                      ref=_cholesky_ref, kinds="fc", half=False, domain=_POSITIVE, cases=(Case(((3, 3),)),),
                      doc="linalg.cholesky, PyTorch's older name.")


def _cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    _matrices("cholesky_solve", B)
    _square("cholesky_solve", L)
    lower = adjoint(L) if upper else L
    X = linalg_solve_triangular(lower, B, upper=False)
    return linalg_solve_triangular(adjoint(lower), X, upper=True)


def _cholesky_solve_ref(B: Any, L: Any, upper: bool = False) -> Any:
    L = np.swapaxes(np.triu(L), -1, -2).conj() if upper else np.tril(L)
    return np.linalg.solve(L @ np.swapaxes(L, -1, -2).conj(), B)


cholesky_solve = _composite("cholesky_solve", "B, L, upper=False", _FAMILY, tensors=("B", "L"), run=_cholesky_solve,
                            ref=_cholesky_solve_ref, kinds="fc", half=False, domain=(_ANY, _SQUARE),
                            cases=(Case(((3, 2), (3, 3))), Case(((2, 3, 2), (3, 3)), {"upper": True})),
                            doc="X with A X = B, from the Cholesky factor L of A.")
cholesky_inverse = _composite("cholesky_inverse", "L, upper=False", _FAMILY, tensors=("L",), kinds="fc", half=False,
                              run=lambda L, upper=False: _cholesky_solve(_identity(L.shape[-1], L), L, upper),
                              domain=_SQUARE, cases=(Case(((3, 3),)), Case(((2, 3, 3),), {"upper": True})),
                              ref=lambda L, upper=False: _cholesky_solve_ref(
                                  np.broadcast_to(np.eye(L.shape[-1], dtype=L.dtype), L.shape), L, upper),
                              doc="The inverse of A, from its Cholesky factor L.")

# Determinants ------------------------------------------------------------------------------------------------------


def _parity(pivots: Array) -> Array:
    """Whether an odd number of rows was exchanged."""
    moved = pivots != ramp(pivots.shape[-1], 0, 1, dtypes.int32, pivots.device)
    return sum(moved, -1) % 2 == 1


def _signed(value: Array, pivots: Array) -> Array:
    return where(_parity(pivots), -value, value)


def _det(A: Array) -> Array:
    _square("linalg.det", A)
    LU, pivots, _ = family.lu(A)
    return _signed(prod(_diagonals(LU), -1), pivots)


def _cofactor(A: Array) -> Array:
    """det(A) A^-T, from an LU whose zero pivots are replaced by what rounding might have left there: the product is
    then right to rounding, whatever the rank."""
    if not A.size:
        return A
    LU, pivots, _ = family.lu(A)
    d = _diagonals(LU)
    largest = amax(abs(LU), (-2, -1))
    tiny = where(largest == 0, 1.0, largest) * float(np.finfo(A.dtype.np).eps)
    LU = LU + _on_diagonal(where(d == 0, astype(_rows(tiny), d.dtype), 0.0))
    det = _signed(prod(_diagonals(LU), -1), pivots)
    return (_factored(LU, pivots, _identity(A.shape[-1], A)) * _per_matrix(det)).mT


def _cofactor_gradient(g: Any, x: Any, out: Any) -> Any:
    """Where every matrix has an inverse Y: <g, C> Y^T - C g^T Y^T. Else by the products of singular values but two."""
    Y, info = linalg_inv_ex(x)
    if not unwrap(info).numpy().any():
        Y = transpose(Y, -1, -2)
        total = _per_matrix(sum(g * out, (-2, -1)))
        return total * Y - matmul(matmul(out, transpose(g, -1, -2)), Y)
    U, S, Vh = linalg_svd(x, full_matrices=False)
    n = x.shape[-1]
    eye = _identity(n, x) != 0
    left_out = reshape(eye, (n, 1, n)) | reshape(eye, (1, n, n))
    others = prod(where(left_out, 1.0, reshape(S, (*S.shape[:-1], 1, 1, n))), -1)
    others = where(eye, 0.0, others)
    turn = _per_matrix(unwrap(linalg_det(unwrap(U)) * linalg_det(unwrap(Vh))))
    H = matmul(matmul(adjoint(U), g), adjoint(Vh))
    N = _on_diagonal(squeeze(matmul(others, _rows(_diagonals(H))), -1)) - transpose(others * H, -1, -2)
    return matmul(matmul(conj(U), N), conj(Vh)) * turn


cofactor = _driver("cofactor", "x", _FAMILY, run=_cofactor, grad=[_cofactor_gradient], public=False, method=False,
                   kinds="fc", half=False, domain=_SQUARE, cases=_STACKS,
                   ref=lambda x: np.linalg.det(x)[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2),
                   doc="Matrices of cofactors, det(x) x^-T: the slope of det, for singular matrices too.")
linalg_det = driver("linalg_det", "A", tensors=("A",), run=_det, aliases=("det",), ref=np.linalg.det, domain=_SQUARE,
                    cases=_STACKS, grad=[lambda g, A: _per_matrix(g) * cofactor(A)], holomorphic=True,
                    doc="Determinants of square matrices, by LU with partial pivoting. Its first two derivatives hold "
                        "for singular matrices too (the second then by the host's SVD).")
_Slogdet = namedtuple("slogdet", ["sign", "logabsdet"])


def _slogdet(A: Array) -> _Slogdet:
    _square("linalg.slogdet", A)
    LU, pivots, _ = family.lu(A)
    d = _diagonals(LU)
    return _Slogdet(_signed(prod(_signs(d), -1), pivots), sum(log(abs(d)), -1))


def _signs(d: Array) -> Array:
    if d.dtype.kind != "c":
        return sign(d)
    size = abs(d)
    return d / where(size == 0, 1.0, size)


def _slogdet_gradient(g: list, A: Any, out: list) -> tuple:
    """g A^-H; a complex sign turns by the imaginary part of the trace of A^-1 dA."""
    factor = g[1]
    if A.dtype.kind == "c" and g[0] is not None:
        turn = imag(conj(g[0]) * out[0]) * -1j
        factor = turn if factor is None else factor + turn
    return (None if factor is None else _per_matrix(factor) * adjoint(linalg_inv(A)),)


linalg_slogdet = driver("linalg_slogdet", "A", tensors=("A",), several=True, run=_slogdet, grad=_slogdet_gradient,
                        ref=lambda A: tuple(np.linalg.slogdet(A)), domain=_SQUARE, cases=_STACKS, aliases=("slogdet",),
                        doc="(sign, logabsdet) of determinants that would overflow: 0 and -inf of a singular matrix, "
                            "whose derivative raises.")


def _logdet(x: Any) -> Any:
    s, size = linalg_slogdet(x)
    if x.dtype.kind == "c":
        return size + log(s)
    return where(s < 0, nan, size)


logdet = _composite("logdet", "x", _FAMILY, run=_logdet, kinds="fc", half=False, domain=_POSITIVE, cases=_STACKS,
                    ref=lambda x: np.log(np.linalg.det(x)),
                    doc="Logarithm of the determinants: -inf where it is zero, NaN where it is negative; of complex "
                        "ones the principal branch.")

# Decompositions on the host ------------------------------------------------------------------------------------------

_QR = namedtuple("qr", ["Q", "R"])
_SVD = namedtuple("svd", ["U", "S", "Vh"])
_OldSVD = namedtuple("svd", ["U", "S", "V"])
_Eigh = namedtuple("eigh", ["eigenvalues", "eigenvectors"])
_Eig = namedtuple("eig", ["eigenvalues", "eigenvectors"])
_LstSq = namedtuple("lstsq", ["solution", "residuals", "rank", "singular_values"])


def _qr(A: Array, mode: str) -> _QR:
    _matrices("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(bad("linalg.qr", f"mode={mode!r}", "'reduced', 'complete' or 'r'", "Pass one of these."))
    found = on_host("linalg.qr", lambda a: tuple(np.linalg.qr(a, mode)) if mode != "r" else np.linalg.qr(a, mode), A)
    return _QR(*found) if mode != "r" else _QR(full((0,), 0, A.dtype, A.device), found[0])


def _qr_gradient(g: list, A_shape: Any, out: list, mode: str) -> tuple:
    """(gQ + Q M) R^-H with M the lower half of R gR^H - gQ^H Q made Hermitian (Walter and Lehmann). Columns beyond the
    rows are Q^H times those of A, so that what flows into them reaches Q."""
    if mode == "r":
        raise GraphError(bad("linalg.qr", "mode='r'", "a Q to differentiate with", "Use mode='reduced'."))
    m, n = A_shape[-2:]
    if mode == "complete" and m > n:
        raise GraphError(bad("linalg.qr", f"mode='complete' with {m} rows and {n} columns", "no more rows than columns",
                             "The columns of Q beyond A's are arbitrary: use mode='reduced'."))
    (Q, R), (gQ, gR) = out, g
    if gQ is None and gR is None:
        return (None,)
    gQ = Q * 0.0 if gQ is None else gQ
    gR = R * 0.0 if gR is None else gR
    right = None
    if m < n:
        gV = narrow(gR, -1, m, n - m)
        right = matmul(Q, gV)
        gQ = gQ + matmul(matmul(Q, narrow(R, -1, m, n - m)), adjoint(gV))
        R, gR = narrow(R, -1, 0, m), narrow(gR, -1, 0, m)
    M = matmul(R, adjoint(gR)) - matmul(adjoint(gQ), Q)
    M = _halved(M) + adjoint(_halved(M))
    left = linalg_solve_triangular(adjoint(R), gQ + matmul(Q, M), upper=False, left=False)
    return (left if right is None else cat([left, right], -1),)


linalg_qr = driver("linalg_qr", "A, mode='reduced'", tensors=("A",), several=True, run=_qr, grad=_qr_gradient,
                   ref=lambda A, mode="reduced": tuple(np.linalg.qr(A, mode)), domain=_ANY,
                   cases=(Case(((4, 3),)), Case(((2, 3, 4),)), Case(((4, 3),), {"mode": "complete"}),
                          Case(((0, 3),)), Case(((2, 0, 0),))),
                   doc="(Q, R) with A = Q R, the columns of Q orthonormal, R upper triangular: as many columns as the "
                       "smaller size ('reduced') or as rows ('complete', differentiable for no more rows than "
                       "columns), or R alone ('r', not differentiable)." + _HOST)
qr = _composite("qr", "x, some=True", _FAMILY, several=True, kinds="fc", half=False, domain=_ANY,
                run=lambda x, some=True: linalg_qr(x, "reduced" if some else "complete"), cases=(Case(((4, 3),)),),
                ref=lambda x, some=True: tuple(np.linalg.qr(x, "reduced" if some else "complete")),
                doc="linalg.qr, PyTorch's older name.")


def _no_driver(op: str, driver: Any, *allowed: str) -> None:
    if driver is not None and driver not in allowed:
        raise ValueError(bad(op, f"driver={driver!r}", f"None{''.join(f', {a!r}' for a in allowed)}",
                             "Leave it out: there is one implementation."))


def _svd(A: Array, full_matrices: bool, driver: Any) -> _SVD:
    _matrices("linalg.svd", A)
    _no_driver("linalg.svd", driver, "gesvd", "gesvdj", "gesvda")
    return _SVD(*on_host("linalg.svd", lambda a: tuple(np.linalg.svd(a, full_matrices)), A))


def _svd_gradient(g: list, A_shape: Any, out: list) -> tuple:
    """U ((skew(U^H gU) / E) S + S (skew(V^H gV) / E) + diag(gS)) V^H with E_ij = s_j^2 - s_i^2, and what flows out of
    the spans of U and V. Columns of full matrices beyond the singular values are arbitrary and count for nothing."""
    (U, S, Vh), (gU, gS, gVh) = out, g
    if gU is None and gS is None and gVh is None:
        return (None,)
    m, n = A_shape[-2:]
    k = builtins.min(m, n)
    U, Vh = narrow(U, -1, 0, k), narrow(Vh, -2, 0, k)
    core = None if gS is None else _on_diagonal(gS)
    outside = []
    if gU is not None or gVh is not None:
        gU = U * 0.0 if gU is None else narrow(gU, -1, 0, k)
        gVh = Vh * 0.0 if gVh is None else narrow(gVh, -2, 0, k)
        left, right = matmul(adjoint(U), gU), matmul(Vh, adjoint(gVh))
        E = _columns(square(S)) - _rows(square(S)) + _identity(k, S)
        turned = _skew(left) / E * _columns(S) + _rows(S) * (_skew(right) / E)
        if U.dtype.kind == "c":
            _check_phase("linalg.svd", _diagonals(left) + _diagonals(right))
            turned = turned + _on_diagonal(_diagonals(_skew(left)) / (S * 2))
        core = turned if core is None else core + turned
        if m > k:
            flow = gU / _columns(S)
            outside.append(matmul(flow - matmul(U, matmul(adjoint(U), flow)), Vh))
        if n > k:
            flow = gVh / _rows(S)
            outside.append(matmul(U, flow - matmul(matmul(flow, adjoint(Vh)), Vh)))
    gA = matmul(matmul(U, core), Vh)
    for part in outside:
        gA = gA + part
    return (gA,)


def _check_phase(op: str, d: Any) -> None:
    """Complex vectors are given up to factors e^(i phi); a loss that depends on these has no derivative."""
    if np.abs(unwrap(d).numpy().imag).max(initial=0) > 1e-2:
        raise GraphError(bad(op, "a loss that depends on the phases of complex vectors", "one that does not",
                             "The phases are arbitrary: use absolute values, or products in which each vector comes "
                             "twice."))


def _skew(x: Any) -> Any:
    return x - adjoint(x)


_TALL = (Case(((4, 3),)), Case(((2, 3, 4),)), Case(((0, 3),)), Case(((2, 0, 0),)))
linalg_svd = driver("linalg_svd", "A, full_matrices=True, *, driver=None", tensors=("A",), several=True, run=_svd,
                    grad=_svd_gradient, domain=_ANY, cases=(*_TALL, Case(((4, 3),), {"full_matrices": False})),
                    ref=lambda A, full_matrices=True: tuple(np.linalg.svd(A, full_matrices)),
                    doc="(U, S, Vh) with A = U diag(S) Vh, S falling; U and Vh square with ``full_matrices``. Their "
                        "derivatives need distinct singular values, and nonzero ones where A is not square." + _HOST)


def _svdvals(A: Array, driver: Any) -> Array:
    _matrices("linalg.svdvals", A)
    _no_driver("linalg.svdvals", driver, "gesvd", "gesvdj", "gesvda")
    return on_host("linalg.svdvals", lambda a: np.linalg.svd(a, compute_uv=False), A)[0]


def _svdvals_gradient(g: Any, A: Any) -> Any:
    U, _, Vh = linalg_svd(A, full_matrices=False)
    return matmul(U * _columns(g), Vh)


linalg_svdvals = driver("linalg_svdvals", "A, *, driver=None", tensors=("A",), run=_svdvals, grad=[_svdvals_gradient],
                        ref=lambda A: np.linalg.svd(A, compute_uv=False), domain=_ANY, cases=_TALL,
                        doc="Singular values, falling." + _HOST)


def _old_svd(x: Any, some: bool = True, compute_uv: bool = True) -> _OldSVD:
    U, S, Vh = linalg_svd(x, full_matrices=not some)
    return _OldSVD(U, S, adjoint(Vh)) if compute_uv else _OldSVD(U * 0.0, S, adjoint(Vh) * 0.0)


svd = _composite("svd", "x, some=True, compute_uv=True", _FAMILY, run=_old_svd, several=True, kinds="fc", half=False,
                 ref=lambda x, some=True: (lambda u, s, vh: (u, s, np.swapaxes(vh, -1, -2).conj()))(
                     *np.linalg.svd(x, not some)), domain=_ANY, cases=(Case(((4, 3),)),),
                 doc="(U, S, V), V not transposed: PyTorch's older form of linalg.svd.")


def _uplo(op: str, UPLO: Any) -> str:
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise ValueError(bad(op, f"UPLO={UPLO!r}", "'L' or 'U'", "Say which half of the matrix to read."))
    return UPLO.upper()


def _eigh(A: Array, UPLO: str) -> _Eigh:
    _square("linalg.eigh", A)
    UPLO = _uplo("linalg.eigh", UPLO)
    return _Eigh(*on_host("linalg.eigh", lambda a: tuple(np.linalg.eigh(a, UPLO)), A))


def _eigh_gradient(g: list, out: list) -> tuple:
    """V (diag(gL) + V^H gV / E) V^H with E_ij = l_j - l_i."""
    (L, V), (gL, gV) = out, g
    if gL is None and gV is None:
        return (None,)
    if gV is None:
        return (matmul(V * _columns(gL), adjoint(V)),)
    eye = _identity(L.shape[-1], L)
    E = _columns(L) - _rows(L) + eye
    inner = matmul(adjoint(V), gV)
    if V.dtype.kind == "c":
        _check_phase("linalg.eigh", _diagonals(inner))
    core = inner / E * (1.0 - eye)
    core = core if gL is None else core + _on_diagonal(gL)
    return (matmul(matmul(V, core), adjoint(V)),)


_SYM = (*_STACKS, Case(((2, 3, 3),), {"UPLO": "U"}))
linalg_eigh = driver("linalg_eigh", "A, UPLO='L'", tensors=("A",), several=True, run=_eigh, grad=_eigh_gradient,
                     ref=lambda A, UPLO="L": tuple(np.linalg.eigh(A, UPLO)), domain=_SYMMETRIC, cases=_SYM,
                     doc="(eigenvalues, eigenvectors) of Hermitian matrices, of which the lower ('L') or upper half "
                         "is read: eigenvalues rising, eigenvectors as columns, whose derivative needs distinct "
                         "eigenvalues." + _HOST)


def _eigvalsh(A: Array, UPLO: str) -> Array:
    _square("linalg.eigvalsh", A)
    UPLO = _uplo("linalg.eigvalsh", UPLO)
    return on_host("linalg.eigvalsh", lambda a: np.linalg.eigvalsh(a, UPLO), A)[0]


def _eigvalsh_gradient(g: Any, A: Any, UPLO: str) -> Any:
    V = linalg_eigh(A, UPLO)[1]
    return matmul(V * _columns(g), adjoint(V))


linalg_eigvalsh = driver("linalg_eigvalsh", "A, UPLO='L'", tensors=("A",), run=_eigvalsh, grad=[_eigvalsh_gradient],
                         ref=lambda A, UPLO="L": np.linalg.eigvalsh(A, UPLO), domain=_SYMMETRIC, cases=_SYM,
                         doc="Eigenvalues of Hermitian matrices, rising." + _HOST)



def _complex(a: np.ndarray) -> np.ndarray:
    return a.astype(np.result_type(a.dtype, np.complex64))


def _eig(A: Array) -> _Eig:
    _square("linalg.eig", A)
    return _Eig(*on_host("linalg.eig", lambda a: tuple(map(_complex, np.linalg.eig(a))), A))


def _eig_ref(A: Any) -> tuple:
    return tuple(map(_complex, np.linalg.eig(A)))


def _eig_gradient(g: list, out: list) -> tuple:
    """V^-H (diag(gL) + (V^H gV - V^H V diag(Re V^H gV)) / conj(E)) V^H, E_ij = l_j - l_i, for vectors of length 1."""
    (L, V), (gL, gV) = out, g
    if gL is None and gV is None:
        return (None,)
    Vh = adjoint(V)
    core = None if gL is None else _on_diagonal(gL)
    if gV is not None:
        inner, eye = matmul(Vh, gV), _identity(L.shape[-1], L)
        _check_phase("linalg.eig", _diagonals(inner))
        inner = inner - matmul(Vh, V * _columns(real(_diagonals(inner))))
        inner = inner / conj(_columns(L) - _rows(L) + eye) * (1.0 - eye)
        core = inner if core is None else core + inner
    return (linalg_solve_ex(Vh, matmul(core, Vh))[0],)


linalg_eig = driver("linalg_eig", "A", tensors=("A",), several=True, run=_eig, grad=_eig_gradient, ref=_eig_ref,
                    domain=_SQUARE, cases=_STACKS,
                    doc="(eigenvalues, eigenvectors) of square matrices, complex, in no order; eigenvectors are "
                        "columns of length 1. Derivatives need distinct eigenvalues." + _HOST)


def _eigvals(A: Array) -> Array:
    _square("linalg.eigvals", A)
    return on_host("linalg.eigvals", lambda a: _complex(np.linalg.eigvals(a)), A)[0]


linalg_eigvals = driver("linalg_eigvals", "A", tensors=("A",), run=_eigvals, domain=_SQUARE, cases=(),
                        grad=[lambda g, A: _eig_gradient([g, None], linalg_eig(A))[0]],
                        ref=lambda A: _complex(np.linalg.eigvals(A)),
                        doc="Eigenvalues of square matrices, complex, in no order." + _HOST)

# Least squares -----------------------------------------------------------------------------------------------------


def _tolerance(value: Any) -> Any:
    """A number, or an array of one a matrix, on the host."""
    value = unwrap(value)
    return value.numpy()[..., None] if hasattr(value, "storage") else value


def _cutoff(size: Any, shape: Any, atol: Any, rtol: Any, eps: float) -> Any:
    """What counts as zero among singular values of this largest size; PyTorch's defaults."""
    if rtol is None:
        rtol = builtins.max(shape[-2:]) * eps if atol is None else 0.0
    return np.maximum(0.0 if atol is None else _tolerance(atol), _tolerance(rtol) * size)


def _pinv(A: Array, atol: Any, rtol: Any, hermitian: bool) -> Array:
    _matrices("linalg.pinv", A)
    if hermitian:
        _square("linalg.pinv", A)
    eps = float(np.finfo(A.dtype.np).eps)

    def inverse(a: np.ndarray) -> np.ndarray:
        if hermitian:
            s, u = np.linalg.eigh(a)
            vh = u.swapaxes(-1, -2).conj()
        else:
            u, s, vh = np.linalg.svd(a, full_matrices=False)
        size = np.abs(s)
        keep = size > _cutoff(size.max(-1, keepdims=True, initial=0), a.shape, atol, rtol, eps)
        s = np.where(keep, 1 / np.where(keep, s, 1), 0).astype(s.dtype)
        return (vh.swapaxes(-1, -2).conj() * s[..., None, :]) @ u.swapaxes(-1, -2).conj()

    return on_host("linalg.pinv", inverse, A)[0]


def _pinv_slope(g: Any, A: Any, P: Any) -> Any:
    """-P^H g P^H + (I - A P) g^H P P^H + P^H P g^H (I - P A), at constant rank."""
    Ph, gh = adjoint(P), adjoint(g)
    first = matmul(gh - matmul(A, matmul(P, gh)), matmul(P, Ph))
    second = matmul(matmul(Ph, P), gh - matmul(matmul(gh, P), A))
    return first + second - matmul(matmul(Ph, g), Ph)


linalg_pinv = driver("linalg_pinv", "A, *, atol=None, rtol=None, hermitian=False", tensors=("A",), run=_pinv,
                     grad=[lambda g, A, out: _pinv_slope(g, A, out)], domain=_ANY,
                     ref=lambda A, hermitian=False: np.linalg.pinv(A, hermitian=hermitian),
                     cases=(Case(((4, 3),)), Case(((2, 3, 4),)), Case(((0, 3),)), Case(((1, 1),))),
                     doc="Moore-Penrose inverses by singular values (eigenvalues with ``hermitian``); those not above "
                         "max(atol, rtol * the largest) count as zero, rtol being by default the larger size times "
                         "the dtype's eps. The derivative is that at constant rank." + _HOST)
pinverse = _composite("pinverse", "x, rcond=1e-15", _FAMILY, kinds="fc", half=False, domain=_ANY,
                      run=lambda x, rcond=1e-15: linalg_pinv(x, rtol=rcond),
                      ref=lambda x, rcond=1e-15: np.linalg.pinv(x, rcond), cases=(Case(((4, 3),)),),
                      doc="linalg.pinv, PyTorch's older name.")
lstsq_solution = _driver("lstsq_solution", "A, B, rcond", _FAMILY, tensors=("A", "B"), public=False, method=False,
                         run=lambda A, B, rcond: on_host("linalg.lstsq", partial(least_squares, rcond=rcond), A, B)[0],
                         holomorphic=False,
                         grad=[lambda g, A, B: _pinv_slope(matmul(g, adjoint(B)), A, linalg_pinv(A)),
                               lambda g, A: matmul(adjoint(linalg_pinv(A)), g)],
                         ref=lambda A, B, rcond: np.linalg.pinv(A) @ B, kinds="fc", half=False, domain=_ANY,
                         cases=(Case(((5, 3), (5, 2)), {"rcond": 1e-6}), Case(((2, 3, 4), (2, 3, 1)), {"rcond": 1e-6})),
                         doc="Shortest least-squares solutions by singular values.")


def _lstsq(A: Any, B: Any, rcond: Any = None, *, driver: Any = None) -> _LstSq:
    op = "linalg.lstsq"
    _matrices(op, A)
    _floats(op, B)
    _no_driver(op, driver, "gels", "gelsy", "gelsd", "gelss")
    vector = B.ndim < 2 or _is_vector(A, B)
    d = dtypes.result_type(A.dtype, B.dtype)
    A, B = astype(A, d), _rows(astype(B, d)) if vector else astype(B, d)
    _fits(op, A, B, True)
    m, n = A.shape[-2:]
    rcond = builtins.max(m, n) * float(np.finfo(d.np).eps) if rcond is None else float(rcond)
    X = lstsq_solution(A, B, rcond)
    S = linalg_svdvals(unwrap(A))
    rank = _counted(S, full((), 0, S.dtype, S.device), rcond)
    residuals = full((0,), 0, X.dtype, X.device)
    if m > n and not (rank.numpy() < n).any():
        residuals = sum(square(abs(B - matmul(A, X))), -2)
    X = squeeze(X, -1) if vector else X
    nothing = full((0,), 0, S.dtype, S.device)
    return _LstSq(X, residuals, full((0,), 0, dtypes.int64, X.device) if driver == "gels" else rank,
                  S if driver in ("gelsd", "gelss") else nothing)


linalg_lstsq = composite("linalg_lstsq", "A, B, rcond=None, *, driver=None", tensors=("A", "B"), run=_lstsq,
                         several=True, domain=_ANY, cases=(), ref=lambda A, B: np.linalg.lstsq(A, B),
                         doc="(solution, residuals, rank, singular_values): the shortest X that minimises the norm of "
                             "A X - B, by singular values whatever ``driver``, which says what is returned with it: "
                             "residuals (squared, a column) where every A has more rows than columns and full rank, "
                             "the rank unless 'gels', singular values for 'gelsd' and 'gelss'; else these are empty. "
                             "Singular values below ``rcond`` times the largest count as zero." + _HOST)


def _counted(S: Array, atol: Any, rtol: Any) -> Array:
    """How many sizes are above what counts as zero, a matrix (int64)."""
    if not S.shape[-1]:
        return full(S.shape[:-1], 0, dtypes.int64, S.device)
    limit, relative = _per_row(atol), amax(S, -1, True) * _per_row(rtol)
    return sum(where(relative > limit, relative, limit) < S, -1)


def _per_row(value: Any) -> Any:
    return _rows(value) if hasattr(value, "storage") and value.ndim else value


def _matrix_rank(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    _matrices("linalg.matrix_rank", A)
    data, atol, rtol = unwrap(A), unwrap(atol), unwrap(rtol)
    S = abs(linalg_eigvalsh(data)) if hermitian else linalg_svdvals(data)
    if rtol is None:
        rtol = builtins.max(A.shape[-2:]) * float(np.finfo(A.dtype.np).eps) if atol is None else 0.0
    return _counted(S, full((), 0, S.dtype, S.device) if atol is None else atol, rtol)


linalg_matrix_rank = composite("linalg_matrix_rank", "A, *, atol=None, rtol=None, hermitian=False", tensors=("A",),
                               run=_matrix_rank, domain=_ANY, ref=lambda A, hermitian=False: np.linalg.matrix_rank(
                                   A, hermitian=hermitian), cases=(Case(((4, 3),)), Case(((2, 3, 3),))),
                               doc="Number of singular values (of eigenvalues' sizes with ``hermitian``) above "
                                   "max(atol, rtol * the largest), as for pinv (int64)." + _HOST)

# Powers and functions ----------------------------------------------------------------------------------------------


def _matrix_power(A: Any, n: int) -> Any:
    _square("linalg.matrix_power", A)
    if not isinstance(n, int) or isinstance(n, bool):
        raise DTypeError(bad("linalg.matrix_power", f"n={n!r}", "an int", "Use an eigendecomposition."))
    if n == 0:
        return expand(_identity(A.shape[-1], A), A.shape) * 1.0
    A, n = (linalg_inv(A), -n) if n < 0 else (A, n)
    result = None
    while True:
        if n & 1:
            result = A if result is None else matmul(result, A)
        n >>= 1
        if not n:
            return result
        A = matmul(A, A)


linalg_matrix_power = composite("linalg_matrix_power", "A, n", tensors=("A",), run=_matrix_power, domain=_SQUARE,
                                aliases=("matrix_power",), ref=lambda A, n: np.linalg.matrix_power(A, n),
                                cases=(Case(((3, 3),), {"n": 3}), Case(((2, 3, 3),), {"n": -2}),
                                       Case(((3, 3),), {"n": 0}), Case(((0, 2, 2),), {"n": 2})),
                                doc="Square matrices to an integer power, by repeated squaring; of the inverse where "
                                    "it is negative.")
_PADE = tuple(float(c) for c in (64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800,
                                 129060195264000, 10559470521600, 670442572800, 33522128640, 1323241920, 40840800,
                                 960960, 16380, 182, 1))


def _matrix_exp(A: Any) -> Any:
    _square("linalg.matrix_exp", A)
    if not A.size:
        return A
    size = float(amax(sum(abs(unwrap(A)), -2)).item())
    if not size < inf:
        return A * nan
    halvings = builtins.max(0, int(np.ceil(log2(size / 5.37)))) if size > 0 else 0
    A = A * 0.5**halvings
    A2 = matmul(A, A)
    A4 = matmul(A2, A2)
    A6, eye, b = matmul(A4, A2), _identity(A.shape[-1], A), [c / _PADE[0] for c in _PADE]
    U = matmul(A, matmul(A6, A6 * b[13] + A4 * b[11] + A2 * b[9]) + A6 * b[7] + A4 * b[5] + A2 * b[3] + eye * b[1])
    V = matmul(A6, A6 * b[12] + A4 * b[10] + A2 * b[8]) + A6 * b[6] + A4 * b[4] + A2 * b[2] + eye * b[0]
    result = linalg_solve_ex(V - U, V + U)[0]
    for _ in range(halvings):
        result = matmul(result, result)
    return result


def _matrix_exp_ref(A: Any) -> Any:
    import scipy.linalg

    return scipy.linalg.expm(A) if A.size else A


linalg_matrix_exp = composite("linalg_matrix_exp", "A", tensors=("A",), run=_matrix_exp, ref=_matrix_exp_ref,
                              aliases=("matrix_exp",), domain=_ANY, cases=(Case(((3, 3),)), Case(((2, 3, 3),))),
                              doc="Exponentials of square matrices: Pade's approximant of order 13, scaled and squared "
                                  "(N. Higham, 'The scaling and squaring method for the matrix exponential "
                                  "revisited', 2005). Copies the largest norm to the host.")

# Norms -------------------------------------------------------------------------------------------------------------


def _extreme_over(x: Any, largest: bool, axis: int, op: str) -> Any:
    """Largest or smallest along an axis; the largest size of nothing is 0."""
    if x.shape[axis]:
        return (amax if largest else amin)(x, axis)
    if not largest:
        raise ShapeError(bad(op, "an empty matrix", "elements to take the smallest of", "Use another order."))
    return sum(x, axis)


def _matrix_norm(A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Any:
    op = "linalg.matrix_norm"
    A = A if dtype is None else astype(A, dtype)
    _matrices(op, A)
    axes = [shapes.axis_index(op, d, A.ndim) for d in dim]
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ShapeError(bad(op, f"dim={dim}", "two different axes", "Use vector_norm for one."))
    if ord not in ("fro", "nuc", inf, -inf, 1, -1, 2, -2):
        raise ValueError(bad(op, f"ord={ord!r}", "'fro', 'nuc', inf, -inf, 1, -1, 2 or -2", "Pass one of these."))
    if ord == "fro":
        return vector_norm(A, 2, tuple(axes), keepdim)
    x = movedim(A, tuple(axes), (-2, -1))
    if ord in ("nuc", 2, -2):
        S = linalg_svdvals(x)
        result = sum(S, -1) if ord == "nuc" else _extreme_over(S, ord > 0, -1, op)
    else:
        result = _extreme_over(sum(abs(x), -2 if builtins.abs(ord) == 1 else -1), ord > 0, -1, op)
    return reshape(result, shapes.reduced(A.shape, tuple(sorted(axes)), True)) if keepdim else result


linalg_matrix_norm = composite("linalg_matrix_norm", "A, ord='fro', dim=(-2, -1), keepdim=False, *, dtype=None",
                               tensors=("A",), run=_matrix_norm, domain=_ANY,
                               ref=lambda A, ord="fro", dim=(-2, -1), keepdim=False: np.linalg.norm(
                                   A, ord, dim, keepdim),
                               cases=(*(Case(((3, 4),), {"ord": o}) for o in ("fro", "nuc", inf, -inf, 1, -1, 2, -2)),
                                      Case(((3, 2, 4),), {"ord": 1, "dim": (2, 0), "keepdim": True})),
                               doc="Norms of matrices: 'fro', 'nuc' (sum of singular values), inf and 1 (largest sum "
                                   "of sizes over a row, a column), 2 (largest singular value); -inf, -1, -2 the "
                                   "smallest. 'nuc', 2 and -2 run in the host's LAPACK.")


def _linalg_norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    A = A if dtype is None else astype(A, dtype)
    axes = None if dim is None else tuple(dim) if isinstance(dim, Sequence) else (dim,)
    if ord is None:
        return vector_norm(A, 2, axes, keepdim)
    if axes is None:
        if A.ndim not in (1, 2):
            raise ShapeError(bad("linalg.norm", f"ord={ord!r} for shape {A.shape}", "a vector or a matrix",
                                 "Name the axes with dim."))
        axes = tuple(range(A.ndim))
    if len(axes) == 2:
        return _matrix_norm(A, ord, axes, keepdim)
    if len(axes) != 1 or isinstance(ord, str):
        raise ShapeError(bad("linalg.norm", f"ord={ord!r}, dim={dim}", "one axis and a number, or two axes",
                             "Use vector_norm."))
    return vector_norm(A, ord, axes, keepdim)


linalg_norm = composite("linalg_norm", "A, ord=None, dim=None, keepdim=False, *, dtype=None", tensors=("A",),
                        run=_linalg_norm, domain=_ANY, cases=(Case(((2, 3, 4),)), Case(((3, 4),), {"ord": 2}),
                                                              Case(((3, 4),), {"ord": 1, "dim": 0})),
                        ref=lambda A, ord=None, dim=None, keepdim=False: np.linalg.norm(
                            A.reshape(-1) if ord is None and dim is None else A, ord, dim, keepdim),
                        doc="vector_norm of all elements or over one axis, matrix_norm over two axes or of a matrix "
                            "where ``ord`` is given.")


def _cond(A: Any, p: Any = None) -> Any:
    _matrices("linalg.cond", A)
    if p in (None, 2, -2):
        if not A.shape[-1] or not A.shape[-2]:
            return full(A.shape[:-2], 0, dtypes.dtype(unwrap(linalg_svdvals(unwrap(A))).dtype), A.device)
        S = linalg_svdvals(A)
        largest, smallest = getitem(S, (..., 0)), getitem(S, (..., -1))
        return smallest / largest if p == -2 else largest / smallest
    _square("linalg.cond", A)
    inverse, info = linalg_inv_ex(A)
    return where(info != 0, inf, _matrix_norm(A, p) * _matrix_norm(where(_per_matrix(info != 0), 0.0, inverse), p))


linalg_cond = composite("linalg_cond", "A, p=None", tensors=("A",), run=_cond, domain=_SQUARE,
                        ref=lambda A, p=None: np.linalg.cond(A, p),
                        cases=tuple(Case(((2, 3, 3),), {"p": p}) for p in (None, -2, 1, "fro")),
                        doc="Condition numbers: the norm of a matrix times that of its inverse, infinite of singular "
                            "ones; by singular values for p of None, 2 and -2 (in the host's LAPACK).")

# Products ----------------------------------------------------------------------------------------------------------


def _order(sizes: list[int]) -> list[list[int]]:
    """Where to split each chain of products for the fewest multiplications (dynamic programming)."""
    n = len(sizes) - 1
    cost, split = [[0] * n for _ in range(n)], [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], split[i][j] = builtins.min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j))
    return split


def _multi_dot(tensors: Any) -> Any:
    tensors = list(tensors)
    if len(tensors) < 2:
        raise ShapeError(bad("linalg.multi_dot", f"{len(tensors)} arrays", "two or more", "Give several."))
    ends = {0, len(tensors) - 1}
    for i, x in enumerate(tensors):
        if x.ndim != 2 and not (i in ends and x.ndim == 1):
            raise ShapeError(bad("linalg.multi_dot", f"shape {x.shape} at place {i}",
                                 "matrices; the first and last may be vectors", "Use matmul for batches."))
    first, last = tensors[0].ndim == 1, tensors[-1].ndim == 1
    tensors[0] = _columns(tensors[0]) if first else tensors[0]
    tensors[-1] = _rows(tensors[-1]) if last else tensors[-1]
    split = _order([tensors[0].shape[0], *(x.shape[1] for x in tensors)])

    def product(i: int, j: int) -> Any:
        return tensors[i] if i == j else matmul(product(i, split[i][j]), product(split[i][j] + 1, j))

    result = product(0, len(tensors) - 1)
    return reshape(result, result.shape[int(first):2 - int(last)])


linalg_multi_dot = _composite("linalg_multi_dot", "tensors", _FAMILY, tensors=("tensors",), run=_multi_dot,
                              sequence=True, namespace="linalg", ref=lambda tensors: np.linalg.multi_dot(tensors),
                              kinds="fc", cases=(Case(((2, 7), (7, 3), (3, 5))), Case(((3,), (3, 4), (4,)))),
                              doc="A product of several matrices, in the order that takes the fewest "
                                  "multiplications; the first and the last may be vectors.")


def _vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    if not x.ndim or not y.ndim or x.shape[dim] != y.shape[dim]:
        raise ShapeError(bad("linalg.vecdot", f"shapes {x.shape} and {y.shape}", f"equal sizes on axis {dim}",
                             "Reshape one."))
    shapes.axis_index("linalg.vecdot", dim, builtins.min(x.ndim, y.ndim))
    d = dtypes.result_type(x.dtype, y.dtype)
    x, y = _rows_first(astype(conj(x), d), dim), _rows_first(astype(y, d), dim)
    result = matmul(_columns(x), _rows(y))
    return reshape(result, result.shape[:-2])


def _rows_first(x: Any, dim: int) -> Any:
    return x if dim in (-1, x.ndim - 1) else movedim(x, dim, -1)


linalg_vecdot = _composite("linalg_vecdot", "x, y, *, dim=-1", _FAMILY, tensors=("x", "y"), run=_vecdot,
                           namespace="linalg", ref=lambda x, y, dim=-1: np.vecdot(x, y, axis=dim), kinds="iufc",
                           aliases=("vecdot",), cases=(Case(((2, 3), (3,))), Case(((3, 2), (3, 1)), {"dim": 0})),
                           doc="Sums of products of vectors along an axis, the first conjugated; batches broadcast.")


def _cross(x: Any, y: Any, *, dim: int = -1) -> Any:
    return manipulate.cross(x, y, dim)


linalg_cross = _composite("linalg_cross", "x, y, *, dim=-1", _FAMILY, tensors=("x", "y"), run=_cross,
                          namespace="linalg", ref=lambda x, y, dim=-1: np.cross(x, y, axis=dim), kinds="iuf",
                          cases=(Case(((2, 3), (2, 3))), Case(((3, 2), (3, 1)), {"dim": 0})),
                          doc="Vector products along an axis of size 3, the last unless named.")


def _linalg_diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    return manipulate.diagonal(A, offset, dim1, dim2)


linalg_diagonal = _composite("linalg_diagonal", "A, *, offset=0, dim1=-2, dim2=-1", _FAMILY, tensors=("A",),
                             run=_linalg_diagonal, namespace="linalg", cases=(Case(((2, 3, 4),), {"offset": 1}),),
                             ref=lambda A, offset=0, dim1=-2, dim2=-1: np.diagonal(A, offset, dim1, dim2),
                             doc="A view of the diagonals of matrices, the last two axes unless named.")


def _tensorinv(A: Any, ind: int = 2) -> Any:
    head, tail = A.shape[:ind], A.shape[ind:]
    if ind <= 0 or np.prod(head, dtype=int) != np.prod(tail, dtype=int):
        raise ShapeError(bad("linalg.tensorinv", f"shape {A.shape}, ind={ind}", "sizes before and after ind whose "
                             "products are equal", "Reshape it."))
    n = int(np.prod(head, dtype=int))
    return reshape(linalg_inv(reshape(A, (n, n))), (*tail, *head))


linalg_tensorinv = composite("linalg_tensorinv", "A, ind=2", tensors=("A",), run=_tensorinv, cases=(), domain=_ANY,
                             ref=lambda A, ind=2: np.linalg.tensorinv(A, ind),
                             doc="The inverse of A as a matrix from its axes behind ``ind`` to those before: "
                                 "tensordot(tensorinv(A), B, ind) solves tensordot(A, X) = B.")


def _tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    if dims is not None:
        moved = [shapes.axis_index("linalg.tensorsolve", d, A.ndim) for d in dims]
        A = permute(A, [a for a in range(A.ndim) if a not in moved] + moved)
    rest = A.shape[B.ndim:]
    n = int(np.prod(rest, dtype=int))
    if n != int(np.prod(B.shape, dtype=int)) or int(np.prod(A.shape, dtype=int)) != n * n:
        raise ShapeError(bad("linalg.tensorsolve", f"shapes {A.shape} and {B.shape}", "as many equations as unknowns",
                             "A's sizes beyond B's must multiply to B's elements."))
    return reshape(linalg_solve(reshape(A, (n, n)), reshape(B, (n,))), rest)


linalg_tensorsolve = composite("linalg_tensorsolve", "A, B, dims=None", tensors=("A", "B"), run=_tensorsolve, cases=(),
                               domain=_ANY, ref=lambda A, B, dims=None: np.linalg.tensorsolve(A, B, dims),
                               doc="X with tensordot(A, X, X.ndim) = B; ``dims`` of A are moved to its end first.")
