"""Matrix products: batched matmul, and linear (x @ weight.T + bias)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..core.errors import ShapeError, bad
from ..families.matmul import matmul as product
from ..families.matmul import matmul_and_sums
from ..families.random import dropout
from ..ndarray import Array
from ..table import Case
from .complex import complex
from .declare import composite, driver
from .elementwise import _relu_backward, add, astype, kept_backward, relu, sub
from .reduce import sum
from .shape import expand, reshape, squeeze, unsqueeze


def _bmm(x: Array, y: Array) -> Array:
    if x.dtype is dtypes.bool_ and y.dtype is dtypes.bool_:  # a sum of truths must not wrap
        return astype(product(astype(x, dtypes.int32), astype(y, dtypes.int32)), dtypes.bool_)
    if "c" in x.dtype.kind + y.dtype.kind:
        return _complex_product(x, y)
    return product(x, y)


def _complex_product(x: Array, y: Array) -> Array:
    """Four products of the parts, which are read where they lie."""
    result = dtypes.result_type(x.dtype, y.dtype)
    part = result.real
    xs, ys = ([a.real, a.imag] if a.dtype.kind == "c" else [a] for a in (x, y))
    xs, ys = ([astype(p, part) for p in ps] for ps in (xs, ys))
    re, im = product(xs[0], ys[0]), None
    if len(ys) == 2:
        im = product(xs[0], ys[1])
    if len(xs) == 2:
        other = product(xs[1], ys[0])
        im = other if im is None else add.op.run(im, other, out=im)
    if len(xs) == len(ys) == 2:
        re = sub.op.run(re, product(xs[1], ys[1]), out=re)
    return complex.op.run(re, im)


def _right_gradient(g: Any, x: Any, y_shape: tuple[int, ...]) -> Any:
    """x.T @ g; a batch of rows against one matrix is one product of tall matrices, not a sum of many."""
    if len(y_shape) == 2 and x.ndim > 2:
        x, g = reshape(x, (-1, x.shape[-1])), reshape(g, (-1, g.shape[-1]))
    return bmm(x.mT, g)


bmm = driver("bmm", "x, y", "matmul", tensors=("x", "y"), run=_bmm, ref=np.matmul, domain=(-3, 3),
                 keywords={"y": "mat2"},
                 grad=[lambda g, y: bmm(g, y.mT), _right_gradient],
                 cases=(Case(((3, 5), (5, 4))), Case(((2, 3, 5), (2, 5, 4))), Case(((2, 3, 5), (5, 4))),
                        Case(((3, 1, 2, 5), (2, 5, 3))), Case(((0, 3), (3, 2))), Case(((2, 0), (0, 3))),
                        Case(((1, 37), (37, 6))), Case(((40, 33), (33, 1)))),
                 doc="Matrices times matrices, batches broadcast; products are summed in float32 for float16, and wrap "
                     "for integers.")


def _run(x: Any, y: Any) -> Any:
    for z in (x, y):
        if not hasattr(z, "storage") or not z.shape:
            raise ShapeError(bad("matmul", "a number or a 0-d array", "arrays of one dimension or more", "Use x * y."))
    if x.ndim == 1 and y.ndim == 1:
        return reshape(_checked(unsqueeze(x, 0), unsqueeze(y, 1), x, y), ())
    if x.ndim == 1:
        return squeeze(_checked(unsqueeze(x, 0), y, x, y), -2)
    if y.ndim == 1:
        return squeeze(_checked(x, unsqueeze(y, 1), x, y), -1)
    return _checked(x, y, x, y)


def _checked(a: Any, b: Any, x: Any, y: Any) -> Any:
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(bad("matmul", f"shapes {x.shape} and {y.shape}", "(..., M, K) and (..., K, N)",
                             f"The inner sizes {a.shape[-1]} and {b.shape[-2]} must be equal; transpose one?"))
    return bmm(a, b)


matmul = composite("matmul", "x, y", "matmul", tensors=("x", "y"), run=_run, ref=np.matmul, operator="matmul",
                   cases=(Case(((5,), (5,))), Case(((3, 5), (5,))), Case(((5,), (2, 5, 4))), Case(((3, 5), (5, 4)))),
                   doc="Matrix product with NumPy's rules: vectors are rows or columns as needed, batches broadcast.")


def _mm(x: Any, y: Any) -> Any:
    if x.ndim != 2 or y.ndim != 2:
        raise ShapeError(bad("mm", f"shapes {x.shape} and {y.shape}", "two matrices", "Use matmul for the rest."))
    return _checked(x, y, x, y)


mm = composite("mm", "x, y", "matmul", tensors=("x", "y"), run=_mm, ref=np.matmul, cases=(Case(((3, 5), (5, 4))),),
               keywords={"y": "mat2"},
               doc="Matrix product of exactly two matrices.")


def _sizes(op: str, x: Array, weight: Array, bias: Array | None) -> None:
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ShapeError(bad(op, f"input {x.shape} and weight {weight.shape}", "(..., in) and (out, in)",
                             "The input's last axis must equal the weight's second."))
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(bad(op, f"bias {bias.shape} for weight {weight.shape}", f"({weight.shape[0]},)",
                             "Give one bias an output."))


def ended(x: Array, y: Array, before: Array | None = None, activation: Any = None, after: Array | None = None) -> Array:
    """activation(x @ y + before) + after: no launch more than the product where the dtypes agree."""
    dtype = dtypes.result_type(x.dtype, y.dtype)
    if all(t is None or t.dtype is dtype for t in (before, after)):
        return product(x, y, before=before, activation=None if activation is None else activation.op.run.expression,
                       after=after)
    out = product(x, y) if before is None else product(x, y) + before
    out = out if activation is None else activation.op.run(out)
    return out if after is None else out + after


def _on_rows(x: Array, run: Any) -> Array:
    """``run`` of x as rows: a vector is a single one."""
    if x.ndim > 1:
        return run(x)
    out = run(x.view((1, *x.shape), (0, *x.strides), x.offset))
    return out.reshape(out.shape[1:])


def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    _sizes("linear", x, weight, bias)
    return _on_rows(x, lambda rows: ended(rows, weight.T, bias))


def _linear_relu(x: Array, weight: Array, bias: Array | None) -> Array:
    _sizes("linear_relu", x, weight, bias)
    return _on_rows(x, lambda rows: ended(rows, weight.T, bias, relu))


def _linear_relu_dropped(x: Array, weight: Array, bias: Array | None, p: float, factor: float, seed: int,
                         offset: int) -> Array:
    out = _linear_relu(x, weight, bias)
    return dropout(out, p, factor, seed, offset, out=out)


def _linear_plus(x: Array, weight: Array, bias: Array | None, residual: Array) -> Array:
    _sizes("linear_plus", x, weight, bias)
    if residual.shape != (*x.shape[:-1], weight.shape[0]):
        raise ShapeError(bad("linear_plus", f"residual {residual.shape}", f"{(*x.shape[:-1], weight.shape[0])}",
                             "It has the result's shape."))
    return _on_rows(x, lambda rows: ended(rows, weight.T, bias, None, residual))


def _product_plus(x: Array, y: Array, plus: Array) -> Array:
    result = (*shapes.broadcast("product_plus", x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    if shapes.broadcast("product_plus", plus.shape, result) != result:  # the sum is larger than the product
        return product(x, y) + plus
    return ended(x, y, plus)


product_plus = driver("product_plus", "x, y, plus", "matmul", tensors=("x", "y", "plus"), run=_product_plus,
                      grad=[lambda g, y: bmm(g, y.mT), _right_gradient, lambda g: g],
                      ref=lambda x, y, plus: np.matmul(x, y) + plus, kinds="iuf", method=False, public=False,
                      cases=(Case(((3, 5), (5, 4), (4,))), Case(((2, 3, 5), (2, 5, 4), (3, 1)))),
                      doc="x @ y + plus, for matrices or batches of them, where the product is stored.")


def _rows(a: Any) -> Any:
    return a if a.ndim == 2 else reshape(a, (-1, a.shape[-1]))


def _linear_gradients(g: Any, x: Any, weight: Any, needs: tuple) -> tuple:
    """Of input, weight and bias; those that nobody needs are None."""
    dx, rows, dw, db = _run(g, weight) if needs[0] else None, _rows(g), None, None
    if needs[1] and needs[2]:
        dw, db = weight_gradients(rows, _rows(x))
    elif needs[1]:
        dw = bmm(rows.mT, _rows(x))
    elif needs[2]:
        db = sum(rows, 0)
    return dx, dw, db


def _weight_gradients(dy: Array, x: Array) -> tuple[Array, Array]:
    dw, db = matmul_and_sums(dy.mT, x)
    return dw, sum(dy, 0) if db is None else db


def _weight_gradients_backward(g: Any, dy: Any, x: Any, needs: tuple) -> tuple:
    gw, gb = g
    to_dy = expand(gb, dy.shape) if gw is None else linear(x, gw, gb)
    return to_dy if needs[0] else None, bmm(dy, gw) if needs[1] and gw is not None else None


def _weight_gradients_ref(dy: Any, x: Any) -> tuple:
    wide = dy.astype(np.float64)
    return (wide.T @ x.astype(np.float64)).astype(dy.dtype), wide.sum(0).astype(dy.dtype)


weight_gradients = driver(
    "weight_gradients", "dy, x", "matmul", tensors=("dy", "x"), run=_weight_gradients, kinds="f", method=False,
    public=False, several=True, grad=_weight_gradients_backward, ref=_weight_gradients_ref,
    cases=(Case(((3, 5), (3, 4))), Case(((70, 9), (70, 33))), Case(((4, 1), (4, 3))), Case(((0, 5), (0, 2)))),
    doc="dy.T @ x and the sums of dy's columns, which come from the same panels: gradients of a linear layer's weight "
        "and bias.")


def _linear_ref(x: Any, weight: Any, bias: Any = None) -> Any:
    return x @ weight.T + (0 if bias is None else bias)


_LINEAR = (Case(((3, 5), (4, 5), (4,))), Case(((2, 3, 5), (4, 5), (4,))), Case(((5,), (4, 5), (4,))),
           Case(((0, 5), (4, 5), (4,))))

linear = driver("linear", "x, weight, bias=None", "matmul", tensors=("x", "weight", "bias"), run=_linear,
                grad=_linear_gradients, ref=_linear_ref, kinds="f", method=False, cases=_LINEAR,
                doc="x @ weight.T + bias for x of shape (..., in), weight (out, in) and bias (out,) or None.")
linear_relu = driver("linear_relu", "x, weight, bias=None", "matmul", tensors=("x", "weight", "bias"),
                     run=_linear_relu, kinds="f", method=False, public=False, cases=_LINEAR,
                     grad=lambda g, x, weight, out, needs: _linear_gradients(_relu_backward(g, out), x, weight, needs),
                     ref=lambda x, weight, bias=None: np.maximum(_linear_ref(x, weight, bias), 0),
                     doc="relu(x @ weight.T + bias), where the product is stored.")
linear_relu_dropped = driver(
    "linear_relu_dropped", "x, weight, bias, p, factor, seed, offset", "matmul", tensors=("x", "weight", "bias"),
    run=_linear_relu_dropped, kinds="f", method=False, public=False, cases=tuple(
        Case(c.shapes, {"p": p, "factor": 1.25, "seed": 5, "offset": 7}) for c, p in zip(_LINEAR, (1.0, 0.0, 1.0, 1.0))
    ),
    grad=lambda g, x, weight, out, factor, needs: _linear_gradients(kept_backward(g, out, factor), x, weight, needs),
    ref=lambda x, weight, bias, p, factor, seed, offset: np.maximum(_linear_ref(x, weight, bias), 0) * factor * (p > 0),
    doc="dropout(relu(x @ weight.T + bias)), by the random numbers of a place in a generator's stream: the gradient "
        "sees in the result what was kept.")
linear_plus = driver("linear_plus", "x, weight, bias, residual", "matmul",
                     tensors=("x", "weight", "bias", "residual"), run=_linear_plus, kinds="f", method=False,
                     public=False, cases=(Case(((3, 5), (4, 5), (4,), (3, 4))), Case(((5,), (4, 5), (4,), (4,)))),
                     grad=lambda g, x, weight, needs: (*_linear_gradients(g, x, weight, needs[:3]), g),
                     ref=lambda x, weight, bias, residual: _linear_ref(x, weight, bias) + residual,
                     doc="x @ weight.T + bias + residual, where the product is stored.")
