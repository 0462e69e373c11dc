"""Decompositions in the host's LAPACK: QR, singular values, eigenvalues; least squares and pseudo-inverses by them."""

from __future__ import annotations

import builtins
from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np

from ..autograd.variable import unwrap
from ..core import dtypes
from ..core.errors import GraphError, bad
from ..families.lapack import least_squares, on_host
from ..ndarray import Array, full
from ..table import Case
from .complex import adjoint, conj, real
from .declare import composite as _composite
from .declare import driver as _driver
from .elementwise import abs, astype, square, where
from .linalg import (
    _ANY,
    _FAMILY,
    _HOST,
    _SQUARE,
    _STACKS,
    _SYMMETRIC,
    _columns,
    _diagonals,
    _fits,
    _floats,
    _halved,
    _identity,
    _is_vector,
    _matrices,
    _on_diagonal,
    _rows,
    _square,
    composite,
    driver,
    linalg_solve_ex,
    linalg_solve_triangular,
)
from .matmul import matmul
from .reduce import amax, sum
from .shape import cat, narrow, squeeze

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
                     synonyms={"rcond": "rtol"},
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
    A, B, shape = astype(A, d), astype(B, d), B.shape
    B = _rows(B) if vector else B
    _fits(op, A, B, True, shape)
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
                               synonyms={"tol": "atol"},
                               run=_matrix_rank, domain=_ANY, ref=lambda A, hermitian=False: np.linalg.matrix_rank(
                                   A, hermitian=hermitian), cases=(Case(((4, 3),)), Case(((2, 3, 3),))),
                               doc="Number of singular values (of eigenvalues' sizes with ``hermitian``) above "
                                   "max(atol, rtol * the largest), as for pinv (int64)." + _HOST)
