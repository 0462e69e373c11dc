"""Determinants, powers, exponentials, norms and products of matrices."""

from __future__ import annotations

import builtins
from collections import namedtuple
from collections.abc import Sequence
from itertools import pairwise
from math import inf, log2, nan
from typing import Any

import numpy as np

from ..autograd.variable import unwrap
from ..core import dtypes, shapes
from ..core.errors import DTypeError, ShapeError, bad
from ..families import linalg as family
from ..families.ramp import ramp
from ..ndarray import Array, full
from ..table import Case
from . import distance, manipulate
from .complex import adjoint, conj, imag
from .declare import composite as _composite
from .declare import driver as _driver
from .decompose import linalg_svd, linalg_svdvals
from .distance import vector_norm
from .elementwise import abs, astype, log, sign, where
from .linalg import (
    _ANY,
    _FAMILY,
    _POSITIVE,
    _SQUARE,
    _STACKS,
    _columns,
    _diagonals,
    _factored,
    _identity,
    _matrices,
    _on_diagonal,
    _per_matrix,
    _rows,
    _square,
    composite,
    driver,
    linalg_inv,
    linalg_inv_ex,
    linalg_solve,
    linalg_solve_ex,
)
from .manipulate import movedim
from .matmul import matmul
from .reduce import amax, amin, prod, sum
from .shape import expand, getitem, permute, reshape, squeeze, transpose

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
    for i, (x, y) in enumerate(pairwise(tensors)):
        if x.shape[1] != y.shape[0]:
            raise ShapeError(bad("linalg.multi_dot", f"{x.shape[1]} columns at place {i} and {y.shape[0]} rows behind",
                                 "equal inner sizes", "Transpose one?"))
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
                           keywords={"x": "x", "y": "y"},
                           aliases=("vecdot",), cases=(Case(((2, 3), (3,))), Case(((3, 2), (3, 1)), {"dim": 0})),
                           doc="Sums of products of vectors along an axis, the first conjugated; batches broadcast.")


def _cross(x: Any, y: Any, *, dim: int = -1) -> Any:
    return distance.cross(x, y, dim)


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
