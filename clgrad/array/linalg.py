"""The ``linalg`` extension of the Python array API standard (2025.12): its names, signatures and named tuples.

Each is the record's own function under the standard's signature; which of them run in the host's LAPACK stands with
the record. Source: data-apis.org/array-api/latest/extensions/linear_algebra_functions.html.
"""

from __future__ import annotations

from collections import namedtuple as _namedtuple
from typing import Any

from ..core.errors import DTypeError as _DTypeError
from ..core.errors import ShapeError as _ShapeError
from ..core.errors import bad as _bad
from ..ndarray import Array
from ..ops import FUNCTIONS as _F
from ..ops import LINALG as _L
from .standard import matmul as matmul
from .standard import matrix_transpose as matrix_transpose
from .standard import tensordot as tensordot
from .standard import vecdot as vecdot

EigResult = _namedtuple("EigResult", ["eigenvalues", "eigenvectors"])
EighResult = _namedtuple("EighResult", ["eigenvalues", "eigenvectors"])
QRResult = _namedtuple("QRResult", ["Q", "R"])
SlogdetResult = _namedtuple("SlogdetResult", ["sign", "logabsdet"])
SVDResult = _namedtuple("SVDResult", ["U", "S", "Vh"])


def _matrices(op: str, x: Array) -> Array:
    if x.ndim < 2:
        raise _ShapeError(_bad(op, f"shape {x.shape}", "matrices, of two dimensions or more", "Reshape it."))
    return x


def cholesky(x: Array, /, *, upper: bool = False) -> Array:
    """The lower triangular L with x = L L^H, or the upper triangular L^H."""
    return _L["cholesky"](x, upper=upper)


def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Vector products along an axis of size 3 in both."""
    if axis >= 0 or -axis > min(x1.ndim, x2.ndim):
        raise _ShapeError(_bad("cross", f"axis={axis} for shapes {x1.shape} and {x2.shape}",
                               "a negative axis that both have", "Count axes from the last."))
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise _ShapeError(_bad("cross", f"shapes {x1.shape} and {x2.shape}", f"size 3 on axis {axis}",
                               "Move the axis."))
    return _L["cross"](x1, x2, dim=axis)


def det(x: Array, /) -> Array:
    """Determinants of square matrices."""
    return _L["det"](x)


def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """The diagonals of matrices, ``offset`` above the main one or below, as views."""
    return _L["diagonal"](_matrices("diagonal", x), offset=offset)


def eig(x: Array, /) -> EigResult:
    """Eigenvalues and eigenvectors (as columns) of square matrices, complex."""
    return EigResult(*_L["eig"](x))


def eigh(x: Array, /) -> EighResult:
    """Eigenvalues, rising, and eigenvectors (as columns) of Hermitian matrices."""
    return EighResult(*_L["eigh"](x))


def eigvals(x: Array, /) -> Array:
    """Eigenvalues of square matrices, complex."""
    return _L["eigvals"](x)


def eigvalsh(x: Array, /) -> Array:
    """Eigenvalues of Hermitian matrices, rising."""
    return _L["eigvalsh"](x)


def inv(x: Array, /) -> Array:
    """Inverses of square matrices."""
    return _L["inv"](x)


def matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """Norms of matrices: "fro", "nuc", 1, 2, inf and their negatives."""
    return _L["matrix_norm"](x, "fro" if ord is None else ord, (-2, -1), keepdims)


def matrix_power(x: Array, n: int, /) -> Array:
    """Square matrices to an integer power."""
    return _L["matrix_power"](x, n)


def matrix_rank(x: Array, /, *, rtol: Any = None) -> Array:
    """Number of singular values above ``rtol`` times the largest."""
    return _L["matrix_rank"](x, rtol=rtol)


def outer(x1: Array, x2: Array, /) -> Array:
    """Products of each element of one vector with each of another."""
    return _F["outer"](x1, x2)


def pinv(x: Array, /, *, rtol: Any = None) -> Array:
    """Moore-Penrose inverses; singular values up to ``rtol`` times the largest count as zero."""
    return _L["pinv"](x, rtol=rtol)


def qr(x: Array, /, *, mode: str = "reduced") -> QRResult:
    """Orthonormal Q and upper triangular R with x = Q R."""
    if mode not in ("reduced", "complete"):
        raise ValueError(_bad("qr", f"mode={mode!r}", "'reduced' or 'complete'", "Pass one of these."))
    return QRResult(*_L["qr"](x, mode))


def slogdet(x: Array, /) -> SlogdetResult:
    """Sign and logarithm of the size of determinants."""
    return SlogdetResult(*_L["slogdet"](x))


def solve(x1: Array, x2: Array, /) -> Array:
    """The solution of x1 @ x = x2; x2 is a vector only where it has one dimension."""
    lead = x1.ndim - x2.ndim
    if x2.ndim > 1 and lead > 0:  # else a stack in the shape of x1's batch would be taken for vectors
        x2 = _F["reshape"](x2, (1,) * lead + x2.shape)
    return _L["solve"](x1, x2)


def svd(x: Array, /, *, full_matrices: bool = True) -> SVDResult:
    """U, the singular values S, falling, and Vh with x = U diag(S) Vh."""
    return SVDResult(*_L["svd"](x, full_matrices))


def svdvals(x: Array, /) -> Array:
    """Singular values, falling."""
    return _L["svdvals"](x)


def trace(x: Array, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """Sums of diagonals; integers are summed in 64 bits unless ``dtype`` says otherwise."""
    if x.dtype.kind == "b":
        raise _DTypeError(_bad("trace", x.dtype, "a numeric dtype", "Convert with .to(int64)."))
    return _F["sum"](diagonal(x, offset=offset), -1, dtype=dtype)


def vector_norm(x: Array, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """(sum |x|**ord)**(1/ord) over ``axis``, or of all elements; inf, -inf and 0 as limits."""
    return _F["vector_norm"](x, ord, axis, keepdims)


__all__ = ["cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul", "matrix_norm",
           "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd",
           "svdvals", "tensordot", "trace", "vecdot", "vector_norm"]
