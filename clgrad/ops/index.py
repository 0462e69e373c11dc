"""Index records: reading and adding at positions given by integer arrays. Sums are deterministic on every device."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import shapes
from ..core.errors import DTypeError, ShapeError, bad
from ..families import fancy
from ..families import index as family
from ..ndarray import Array
from ..table import ZERO_GRAD, Case
from .declare import composite, driver
from .shape import reshape


def _at(*positions: Any) -> np.ndarray:
    """An index for a test case."""
    return np.array(positions, np.int64)


def _take(x: Array, index: Array, dim: int | None) -> Array:
    if dim is None:
        x, dim = reshape(x, (-1,)), 0
    return family.take("take", x, index, shapes.axis_index("take", dim, x.ndim))


def _take_backward(g: Array, index: Array, shape: tuple[int, ...], dim: int | None) -> Array:
    if dim is None:
        flat = fancy.take_add("take_backward", g, index, (int(np.prod(shape)),), 0)
        return reshape(flat, shape)
    return fancy.take_add("take_backward", g, index, shape, shapes.axis_index("take", dim, len(shape)))


def _take_backward_ref(g: Any, index: Any, shape: tuple[int, ...], dim: int | None) -> Any:
    out = np.zeros(shape, g.dtype)
    if dim is None:
        np.add.at(out.reshape(-1), index, g)
    else:
        np.add.at(np.moveaxis(out, dim, 0), index, np.moveaxis(
            g.reshape(*shape[:dim], index.size, *shape[dim + 1:]), dim, 0).reshape(
                *index.shape, *shape[:dim], *shape[dim + 1:]))
    return out


take = driver("take", "x, index, dim=None", "index", tensors=("x", "index"), run=_take,
              grad=[lambda g, index, x_shape, dim: take_backward(g, index, x_shape, dim), ZERO_GRAD],
              ref=lambda x, index, dim=None: np.take(x, index, dim),
              cases=(Case(((5, 3), _at(4, 0, -1, 0)), {"dim": 0}), Case(((3, 5), _at([1, 2], [2, 2])), {"dim": 1}),
                     Case(((3, 5), _at(14, 3))), Case(((700, 40), np.arange(600) % 7), {"dim": 0})),
              doc="Slices along ``dim`` (of the flattened array without it) at an integer array's positions; negative "
                  "ones count from the end.")
take_backward = driver("take_backward", "g_out, index, shape, dim", "index", tensors=("g_out", "index"),
                       run=_take_backward, ref=_take_backward_ref, public=False, method=False,
                       grad=[lambda g, index, dim: take(g, index, dim), ZERO_GRAD],
                       cases=(Case(((4, 3), _at(1, 0, 1, -1)), {"shape": (5, 3), "dim": 0}),
                              Case(((2, 700), np.arange(700) % 9), {"shape": (2, 9), "dim": 1})),
                       doc="Zeros of ``shape`` with slices added at the index, in its order: take in reverse.")
index_select = composite("index_select", "x, dim, index", "index", run=lambda x, dim, index: take(x, index, dim),
                         ref=lambda x, dim, index: np.take(x, index, dim),
                         cases=(Case(((5, 3),), {"dim": 0, "index": _at(4, 0)}),),
                         doc="take with PyTorch's argument order.")


def _axis(op: str, x: Array, dim: int) -> int:
    if not x.ndim:
        raise ShapeError(bad(op, "a 0-d array", "at least one dimension", "Reshape it to (1,)."))
    return shapes.axis_index(op, dim, x.ndim)


def _along_ref(x: Any, index: Any, dim: int) -> Any:
    region = tuple(slice(None) if a == dim % x.ndim else slice(n) for a, n in enumerate(index.shape))
    return np.take_along_axis(x[region], index, dim)


def _add_along_ref(x: Any, index: Any, src: Any, dim: int) -> Any:
    out = x.copy()
    for at in np.ndindex(index.shape):
        to = list(at)
        to[dim] = index[at]
        out[tuple(to)] += src[at]
    return out


take_along = driver("take_along", "x, index, dim", "index", tensors=("x", "index"), aliases=("take_along_dim",),
                    keywords={"index": "indices"},
                    run=lambda x, index, dim: family.take_along("gather", x, index, _axis("gather", x, dim)),
                    grad=[lambda g, index, x_shape, dim: add_along(_zeros_like(g, x_shape), index, g, dim), ZERO_GRAD],
                    ref=_along_ref, cases=(Case(((3, 4), _at([0, 3], [1, -1], [2, 0])), {"dim": 1}),
                                           Case(((5, 4), _at([0, 4, 1])), {"dim": 0})),
                    doc="out[.., j, ..] = x[.., index[.., j, ..], ..] along ``dim``; the result has index's shape.")
add_along = driver("add_along", "x, index, src, dim", "index", tensors=("x", "index", "src"), method=False,
                   public=False,
                   run=lambda x, index, src, dim: fancy.written_along("scatter_add", x, index, src,
                                                                      _axis("scatter_add", x, dim), True),
                   grad=[lambda g: g, ZERO_GRAD, lambda g, index, src_shape, dim: _padded(take_along(g, index, dim),
                                                                                          src_shape)],
                   ref=_add_along_ref, cases=(Case(((3, 4), _at([0, 3], [1, -1], [2, 2]), (3, 2)), {"dim": 1}),
                                              Case(((9,), np.arange(700) % 9, (700,)), {"dim": 0}),
                                              Case(((5, 4), _at([0, 4, 0]), (2, 4)), {"dim": 0})),
                   doc="A copy of x with src added at an index along ``dim``, in the index's order.")


def _zeros_like(g: Any, shape: tuple[int, ...]) -> Any:
    from ..ndarray import full

    return full(shape, 0, g.dtype, g.device)


def _padded(part: Any, shape: tuple[int, ...]) -> Any:
    """A gradient of the part of src that the index reaches, with zeros for the rest."""
    from .shape import put_slice

    return part if part.shape == shape else put_slice(part, shape, tuple(slice(n) for n in part.shape))


gather = composite("gather", "x, dim, index", "index", run=lambda x, dim, index: take_along(x, index, dim),
                   ref=lambda x, dim, index: _along_ref(x, index, dim),
                   cases=(Case(((3, 4),), {"dim": 1, "index": _at([0, 3], [1, 1], [2, 0])}),),
                   doc="x's elements at an index along ``dim``, in PyTorch's argument order; shaped as the index.")
scatter_add = composite("scatter_add", "x, dim, index, src", "index", method=True,
                        run=lambda x, dim, index, src: add_along(x, index, src, dim),
                        ref=lambda x, dim, index, src: _add_along_ref(x, index, src, dim),
                        cases=(), doc="A copy of x with src added at an index along ``dim``; deterministic.")


def _one_hot(index: Array, num_classes: int) -> Array:
    family.check_index("one_hot", index)
    if num_classes == -1:
        num_classes = int(index.amax().item()) + 1 if index.size else 0
    if num_classes < 1:
        raise DTypeError(bad("one_hot", f"num_classes={num_classes}", "at least 1", "Give the number of classes."))
    return family.one_hot("one_hot", index, num_classes)


one_hot = driver("one_hot", "index, num_classes=-1", "index", tensors=("index",), run=_one_hot, grad=[ZERO_GRAD],
                 keywords={"index": "input"}, synonyms={"tensor": "index"},
                 ref=lambda index, num_classes=-1: np.eye(
                     num_classes if num_classes > 0 else index.max() + 1, dtype=np.int64)[index],
                 cases=(Case((_at([0, 2], [1, 1]),), {"num_classes": 4}), Case((_at(3, 0),))),
                 doc="int64 rows with a one at each index. num_classes=-1 takes the largest plus one, which copies "
                     "that number to the host.")
