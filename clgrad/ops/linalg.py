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

from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..core.errors import DTypeError, LinAlgError, ShapeError, bad
from ..families import linalg as family
from ..ndarray import Array, full, same_device
from ..table import Case, Matrices
from . import manipulate
from .complex import adjoint
from .declare import composite as _composite
from .declare import driver as _driver
from .elementwise import astype
from .manipulate import put_diagonal
from .matmul import matmul
from .shape import reshape, squeeze, unsqueeze

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
                                 "Convert with .to(float32)."))


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


def _fits(op: str, A: Any, B: Any, left: bool, shape: Any = None) -> None:
    """Whether A and B belong together; ``shape`` is what B came in."""
    axis = -2 if left else -1
    if B.shape[axis] != A.shape[axis]:
        raise ShapeError(bad(op, f"A of shape {A.shape} and B of shape {shape or B.shape}",
                             f"{A.shape[axis]} {'rows' if left else 'columns'} in B", "Transpose one?"))
    shapes.broadcast(op, A.shape[:-2], B.shape[:-2])


def _solve_ex(A: Array, B: Array, left: bool, check_errors: bool) -> _SolveEx:
    op = "linalg.solve"
    _square(op, A)
    _floats(op, B)
    vector = B.ndim < 2 or _is_vector(A, B)
    if B.ndim == 0 or (vector and not left):
        raise ShapeError(bad(op, f"B of shape {B.shape}, left={left}", "a vector (with left=True) or matrices",
                             "Reshape it."))
    A, B = _promoted(A, B)
    shape, B = B.shape, _rows(B) if vector else B
    _fits(op, A, B, left, shape)
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
    return linalg_solve_ex(A, B, left=left, check_errors=True)[0]


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
    _square("linalg.inv", A)
    LU, pivots, info = family.lu(A)
    if check_errors:
        _check_singular("linalg.inv", info)
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
    return linalg_inv_ex(A, check_errors=True)[0]


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
    _square("linalg.cholesky", A)
    L, info = family.cholesky(adjoint(A) if upper else A)
    if check_errors:
        _check_definite("linalg.cholesky", info)
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
    return linalg_cholesky_ex(A, upper=upper, check_errors=True)[0]


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
                            keywords={"B": "input", "L": "input2"},
                            ref=_cholesky_solve_ref, kinds="fc", half=False, domain=(_ANY, _SQUARE),
                            cases=(Case(((3, 2), (3, 3))), Case(((2, 3, 2), (3, 3)), {"upper": True})),
                            doc="X with A X = B, from the Cholesky factor L of A.")
cholesky_inverse = _composite("cholesky_inverse", "L, upper=False", _FAMILY, tensors=("L",), kinds="fc", half=False,
                              keywords={"L": "input"},
                              run=lambda L, upper=False: _cholesky_solve(_identity(L.shape[-1], L), L, upper),
                              domain=_SQUARE, cases=(Case(((3, 3),)), Case(((2, 3, 3),), {"upper": True})),
                              ref=lambda L, upper=False: _cholesky_solve_ref(
                                  np.broadcast_to(np.eye(L.shape[-1], dtype=L.dtype), L.shape), L, upper),
                              doc="The inverse of A, from its Cholesky factor L.")
