"""Products of vectors, matrices and more axes: PyTorch's names, and einsum, made of matmul."""

from __future__ import annotations

import builtins
import importlib.util
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..core.errors import DTypeError, ShapeError, bad
from ..table import Case
from .complex import conj
from .declare import composite
from .elementwise import (
    astype,
    mul,
)
from .manipulate import _axis, _flat, diagonal
from .matmul import bmm, matmul, product_plus
from .reduce import sum
from .shape import _ints, permute, reshape

_FAMILY = "manipulate"

# Products ------------------------------------------------------------------------------------------------------------


def _vectors(op: str, *given: Any) -> None:
    if builtins.any(x.ndim != 1 for x in given):
        raise ShapeError(bad(op, " and ".join(str(x.shape) for x in given), "vectors", "Flatten them, or use matmul."))


def _outer(x: Any, y: Any) -> Any:
    _vectors("outer", x, y)
    return reshape(x, (-1, 1)) * y


def _dot(x: Any, y: Any) -> Any:
    _vectors("dot", x, y)
    return matmul(x, y)


_PAIR = (Case(((4,), (4,))),)
outer = composite("outer", "x, y", _FAMILY, tensors=("x", "y"), run=_outer, ref=np.outer, aliases=("ger",),
                  keywords={"y": "vec2"}, cases=(Case(((3,), (4,))),),
                  doc="Products of each element of one vector with each of another.")
dot = composite("dot", "x, y", _FAMILY, tensors=("x", "y"), run=_dot, ref=np.dot, cases=_PAIR,
                keywords={"y": "tensor"}, doc="Sum of the products of two vectors' elements.")
vdot = composite("vdot", "x, y", _FAMILY, tensors=("x", "y"), run=lambda x, y: _dot(conj(x), y), cases=_PAIR,
                 ref=np.vdot, doc="dot, with the first conjugated: the two differ for complex numbers only.")


def _inner(x: Any, y: Any) -> Any:
    if not x.ndim or not y.ndim:
        return x * y
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(bad("inner", f"shapes {x.shape} and {y.shape}", "last axes of one size", "Transpose one?"))
    return _tensordot(x, y, ([-1], [-1]))


def _tensordot(x: Any, y: Any, dims: Any = 2) -> Any:
    if isinstance(dims, int):
        first, second = list(range(x.ndim - dims, x.ndim)), list(range(dims))
    else:
        first, second = list(_ints(dims[0])), list(_ints(dims[1]))
    first, second = ([_axis("tensordot", z, d) for d in a] for z, a in ((x, first), (y, second)))
    if [x.shape[a] for a in first] != [y.shape[a] for a in second]:
        raise ShapeError(bad("tensordot", f"shapes {x.shape} and {y.shape}, dims {dims}", "summed axes of equal sizes",
                             "Name the axes in matching order."))
    left, right = ([a for a in range(z.ndim) if a not in axes] for z, axes in ((x, first), (y, second)))
    rows, shared, columns = prod(x.shape[a] for a in left), prod(x.shape[a] for a in first), prod(
        y.shape[a] for a in right)
    product = matmul(reshape(permute(x, left + first), (rows, shared)),
                     reshape(permute(y, second + right), (shared, columns)))
    return reshape(product, (*(x.shape[a] for a in left), *(y.shape[a] for a in right)))


inner = composite("inner", "x, y", _FAMILY, tensors=("x", "y"), run=_inner, ref=np.inner,
                  cases=(Case(((2, 3), (4, 3))), Case(((3,), (3,)))), doc="Sums of products over the last axes.")
tensordot = composite("tensordot", "x, y, dims=2", _FAMILY, tensors=("x", "y"), run=_tensordot, method=False,
                      keywords={"x": "a", "y": "b"},
                      ref=lambda x, y, dims=2: np.tensordot(x, y, dims),
                      cases=(Case(((2, 3, 4), (3, 4, 5))), Case(((2, 3), (4, 2)), {"dims": ([0], [1])}),
                             Case(((2,), (3,)), {"dims": 0})),
                      doc="Sums of products over several axes: the last of x with the first of y, or those named.")


def _kron(x: Any, y: Any) -> Any:
    rank = builtins.max(x.ndim, y.ndim)
    a, b = ((1,) * (rank - z.ndim) + z.shape for z in (x, y))
    product = mul(reshape(x, tuple(k for n in a for k in (n, 1))), reshape(y, tuple(k for n in b for k in (1, n))))
    return reshape(product, tuple(n * m for n, m in zip(a, b)))


kron = composite("kron", "x, y", _FAMILY, tensors=("x", "y"), run=_kron, ref=np.kron,
                 cases=(Case(((2, 3), (3, 2))), Case(((2,), (2, 2)))), doc="Kronecker product.")


def _plus_product(name: str, rank: int, ref: Any, cases: tuple, doc: str, factors: tuple = ("mat1", "mat2"),
                  **fields: Any) -> Any:
    def run(x: Any, y: Any, z: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        _matrices(name, rank, y, z)
        if beta == alpha == 1 and hasattr(x, "storage") and builtins.all(t.dtype.kind in "iuf" for t in (x, y, z)):
            return product_plus(y, z, x)
        result = bmm(y, z)
        result = result if alpha == 1 else result * alpha
        if beta == 0:  # x counts for nothing, NaN included, but for its shape
            return result
        return (x if beta == 1 else x * beta) + result

    return composite(name, "x, y, z, *, beta=1, alpha=1", _FAMILY, tensors=("x", "y", "z"), run=run, cases=cases,
                     inplace=True, keywords=dict(zip("yz", factors)), kinds="iuf", doc=doc,
                     ref=lambda x, y, z, beta=1, alpha=1: beta * x + alpha * ref(y, z), **fields)


def _matrices(op: str, rank: int, y: Any, z: Any) -> None:
    if y.ndim != rank or z.ndim != rank or y.shape[:-2] != z.shape[:-2] or y.shape[-1] != z.shape[-2]:
        raise ShapeError(bad(op, f"shapes {y.shape} and {z.shape}", "matrices to multiply" if rank == 2 else
                             "batches of matrices to multiply", "The inner sizes must be equal; transpose one?"))


addmm = _plus_product("addmm", 2, np.matmul,
                      (Case(((4,), (3, 5), (5, 4))), Case(((3, 4), (3, 5), (5, 4)), {"beta": 2, "alpha": 3})),
                      "beta * x + alpha * (y @ z), for matrices y and z.")
baddbmm = _plus_product("baddbmm", 3, np.matmul,
                        (Case(((2, 3, 4), (2, 3, 5), (2, 5, 4)), {"alpha": 2}),),
                        "beta * x + alpha * (y @ z), for batches of matrices y and z.", ("batch1", "batch2"))

# einsum --------------------------------------------------------------------------------------------------------------


def _terms(equation: str, operands: Sequence[Any]) -> tuple[list[list[Any]], list[Any]]:
    """Each operand's labels and the result's: letters, and ints for the axes an ellipsis stands for, counted from the
    right (-1 is the last), so that they broadcast."""
    def wrong(got: str, expected: str) -> ShapeError:
        return ShapeError(bad("einsum", f"{got} in {equation!r}", expected, "Write it as 'ij,jk->ik'."))

    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise wrong(f"{len(operands)} operands", f"{len(inputs)}")
    labels = []
    for term, x in zip(inputs, operands):
        plain = term.replace("...", "", 1)
        if not (plain.isalpha() or plain == ""):
            raise wrong(f"the subscripts {term!r}", "letters and at most one ellipsis")
        spread = x.ndim - len(plain)
        if spread < 0 or (spread and "..." not in term):
            raise wrong(f"the subscripts {term!r} for shape {x.shape}", "one letter an axis")
        head, dots, tail = term.partition("...")
        labels.append([*head, *(range(-spread, 0) if dots else ()), *tail])
    letters = [c for c in left if c.isalpha()]
    widest = builtins.max((len([n for n in term if isinstance(n, int)]) for term in labels), default=0)
    if not arrow:
        return labels, [*range(-widest, 0), *sorted(c for c in set(letters) if letters.count(c) == 1)]
    head, dots, tail = right.partition("...")
    result = [*head, *(range(-widest, 0) if dots else ()), *tail]
    unknown = [c for c in result if isinstance(c, str) and c not in letters]
    if unknown or len(set(result)) != len(result):
        raise wrong(f"the result {right!r}", "letters of the operands, each once")
    return labels, result


def _sizes(equation: str, labels: list[list[Any]], operands: Sequence[Any]) -> dict[Any, int]:
    sizes: dict[Any, int] = {}
    for term, x in zip(labels, operands):
        for name, n in zip(term, x.shape):
            if sizes.setdefault(name, n) in (1, n):
                sizes[name] = n
            elif n != 1:
                raise ShapeError(bad("einsum", f"sizes {sizes[name]} and {n} for {name!r} in {equation!r}", "one size",
                                     "Axes of one letter are equal, or 1."))
    return sizes


def _simplified(x: Any, term: list[Any], sizes: dict[Any, int], wanted: set) -> tuple[Any, list[Any]]:
    """One operand with each label once: repeated ones become diagonals, those nothing else wants are summed, and an
    axis of size 1 that broadcasts is dropped."""
    term = list(term)
    for name in set(term):
        while term.count(name) > 1:
            first = term.index(name)
            second = term.index(name, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ShapeError(bad("einsum", f"shape {x.shape} with {name!r} twice", "axes of one size", "Check it."))
            x = diagonal(x, 0, first, second)
            term = [n for i, n in enumerate(term) if i not in (first, second)] + [name]
    lone = [i for i, name in enumerate(term) if x.shape[i] == 1 and sizes[name] != 1]
    x = reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in lone))
    term = [name for i, name in enumerate(term) if i not in lone]
    gone = tuple(i for i, name in enumerate(term) if name not in wanted)
    return _summed(x, gone), [name for name in term if name in wanted]


def _summed(x: Any, axes: tuple[int, ...]) -> Any:
    """Sum that keeps the dtype, as products do; of bools, whether any holds."""
    if not axes:
        return x
    return astype(sum(x, axes), x.dtype) if x.dtype.kind == "b" else sum(x, axes, dtype=x.dtype)


def _contract(x: Any, a: list[Any], y: Any, b: list[Any], wanted: set) -> tuple[Any, list[Any]]:
    """Two operands as one: a product of matrices over the labels they share."""
    x, a = _simplified(x, a, dict(zip(a, x.shape)), wanted | set(b))
    y, b = _simplified(y, b, dict(zip(b, y.shape)), wanted | set(a))
    shared = [n for n in a if n in b]
    batch, summed = [n for n in shared if n in wanted], [n for n in shared if n not in wanted]
    left, right = [n for n in a if n not in b], [n for n in b if n not in a]
    size = dict(zip(a, x.shape)) | dict(zip(b, y.shape))

    def laid(z: Any, names: list[Any], groups: list[list[Any]], flat: bool) -> Any:
        z = permute(z, [names.index(n) for g in groups for n in g]) if names else z
        if not flat:
            return z
        return reshape(z, (*(size[n] for n in groups[0]), *(prod(size[n] for n in g) for g in groups[1:])))

    names = [*batch, *left, *right]
    shape = tuple(size[n] for n in names)
    if not summed:
        x = reshape(laid(x, a, [batch, left], False), (*(size[n] for n in batch + left), *(1,) * len(right)))
        y = reshape(laid(y, b, [batch, right], False), (*(size[n] for n in batch), *(1,) * len(left),
                                                        *(size[n] for n in right)))
        return mul(x, y), names
    product = bmm(laid(x, a, [batch, left, summed], True), laid(y, b, [batch, summed, right], True))
    return reshape(product, shape), names


def _path(labels: list[list[Any]], result: list[Any], sizes: dict[Any, int]) -> list[tuple[int, ...]]:
    """Which operands to contract next: opt_einsum's order where it is installed, else from left to right."""
    if len(labels) > 2 and importlib.util.find_spec("opt_einsum") is not None:
        from opt_einsum import contract_path, get_symbol

        symbol = {name: get_symbol(i) for i, name in enumerate(sizes)}
        equation = ",".join("".join(symbol[n] for n in term) for term in labels)
        path, _ = contract_path(f"{equation}->{''.join(symbol[n] for n in result)}",
                                *(tuple(sizes[n] for n in term) for term in labels), shapes=True)
        return list(path)
    return [tuple(range(len(labels)))]


def _einsum(equation: str, operands: Any) -> Any:
    operands = _flat(operands)
    if not isinstance(equation, str) or not operands:
        raise DTypeError(bad("einsum", f"equation {equation!r} and {len(operands)} operands", "a string and arrays",
                             "Write einsum('ij,jk->ik', x, y)."))
    labels, result = _terms(equation, operands)
    sizes = _sizes(equation, labels, operands)
    counts = [set(term) for term in labels]
    terms = []
    for i, (x, term) in enumerate(zip(operands, labels)):
        others = set(result).union(*(c for j, c in enumerate(counts) if j != i))
        terms.append(_simplified(x, term, sizes, others))
    for chosen in _path([t for _, t in terms], result, sizes):
        picked = [terms[i] for i in chosen]
        terms = [t for i, t in enumerate(terms) if i not in chosen]
        while len(picked) > 1:
            wanted = set(result).union(*(t for _, t in picked[2:] + terms))
            picked[:2] = [_contract(*picked[0], *picked[1], wanted)]
        terms += picked
    x, term = terms[0]
    x, term = _simplified(x, term, dict(zip(term, x.shape)), set(result))
    missing = [n for n in result if n not in term]  # every operand had size 1 there
    x = reshape(x, (*x.shape, *(1,) * len(missing)))
    term = term + missing
    return permute(x, [term.index(n) for n in result]) if result else x


einsum = composite("einsum", "equation, *operands", _FAMILY, tensors=(), run=_einsum, method=False, cases=(),
                   ref=lambda equation, *operands: np.einsum(equation, *operands),
                   doc="Sums of products named by subscripts, as 'bij,bjk->bik': letters repeated in an operand are "
                       "diagonals, those missing from the result are summed, an ellipsis broadcasts.")
