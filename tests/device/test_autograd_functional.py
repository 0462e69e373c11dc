"""torch.autograd's other doors: backward of several, gradients in batches, Jacobians, Hessians, and modes."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad
from clgrad import Variable
from clgrad.autograd import backward, detect_anomaly, functional, grad, inference_mode, set_detect_anomaly
from clgrad.core.errors import DTypeError, GraphError, ShapeError

A, B = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]), np.array([0.3, -0.6, 0.9])


def given(requires_grad: bool = False) -> tuple[Variable, Variable]:
    return tuple(clgrad.tensor(v, dtype=clgrad.float64, requires_grad=requires_grad) for v in (A, B))


def close(got: Variable, wanted: np.ndarray) -> None:
    assert got.dtype is clgrad.float64
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=1e-12, atol=1e-12)


def product(a: Variable, b: Variable) -> Variable:
    return clgrad.sin(a @ b)


def energy(a: Variable, b: Variable) -> Variable:
    return (a * a * b).sum() + (b**3).sum()


def two(a: Variable, b: Variable) -> tuple[Variable, Variable]:
    return a * b, b.exp()


JACOBIAN_A = np.cos(A @ B)[:, None, None] * np.eye(2)[:, :, None] * B
JACOBIAN_B = np.cos(A @ B)[:, None] * A


def test_backward_of_several(device) -> None:
    a, b = given(True)
    start = clgrad.tensor(np.full((2, 3), 2.0))
    backward([a * b, (b * b).sum()], [start, None])
    close(a.grad, np.broadcast_to(2 * B, (2, 3)))
    close(b.grad, 2 * A.sum(0) + 2 * B)
    with pytest.raises(GraphError, match="1 gradients for 2 outputs"):
        backward([a.sum(), b.sum()], [None])


def test_backward_into_chosen_inputs(device) -> None:
    a, b = given(True)
    h = a * b
    backward((h * h).sum(), inputs=[a, h])
    close(a.grad, 2 * A * B * B)
    close(h.grad, 2 * A * B)
    assert b.grad is None
    (a * b).sum().backward(inputs=a)
    close(a.grad, 2 * A * B * B + B)
    assert b.grad is None
    with pytest.raises(GraphError, match="no inputs"):
        a.sum().backward(inputs=[])
    with pytest.raises(GraphError, match="input 0, which does not require grad"):
        a.sum().backward(inputs=[clgrad.ones(2)])


def test_grad_gives_zeros_or_batches(device) -> None:
    a, b = given(True)
    ga, gb = grad(a.sum(), [a, b], materialize_grads=True)
    close(ga, np.ones((2, 3)))
    close(gb, np.zeros(3))
    with pytest.raises(GraphError, match="materialize_grads with allow_unused=False"):
        grad(a.sum(), [a], materialize_grads=True, allow_unused=False)
    with pytest.raises(GraphError, match="only_inputs=False"):
        grad(a.sum(), [a], only_inputs=False)
    y = product(a, b)
    ga, gb = grad(y, [a, b], clgrad.eye(2, dtype=clgrad.float64), is_grads_batched=True)
    close(ga, JACOBIAN_A)
    close(gb, JACOBIAN_B)
    with pytest.raises(ShapeError, match="not batched alike"):
        grad(product(a, b), [a], None, is_grads_batched=True)


def test_products_with_the_jacobian(device) -> None:
    a, b = given()
    v = np.array([2.0, -1.0])
    out, (ga, gb) = functional.vjp(product, (a, b), clgrad.tensor(v))
    close(out, np.sin(A @ B))
    close(ga, np.einsum("i,ijk", v, JACOBIAN_A))
    close(gb, v @ JACOBIAN_B)
    va, vb = np.arange(6.0).reshape(2, 3), np.array([1.0, 0.5, -2.0])
    out, pushed = functional.jvp(product, (a, b), (clgrad.tensor(va), clgrad.tensor(vb)))
    close(out, np.sin(A @ B))
    close(pushed, np.einsum("ijk,jk", JACOBIAN_A, va) + JACOBIAN_B @ vb)
    outs, pushed = functional.jvp(two, (a, b), (clgrad.tensor(va), clgrad.tensor(vb)))
    close(outs[1], np.exp(B))
    close(pushed[0], va * B + A * vb)
    close(pushed[1], np.exp(B) * vb)
    assert not out.requires_grad
    assert not pushed[0].requires_grad


def test_jacobians(device) -> None:
    a, b = given()
    ja, jb = functional.jacobian(product, (a, b))
    close(ja, JACOBIAN_A)
    close(jb, JACOBIAN_B)
    close(functional.jacobian(lambda x: x.exp(), b), np.diag(np.exp(B)))
    rows = functional.jacobian(two, (a, b))
    close(rows[1][0], np.zeros((3, 2, 3)))
    close(rows[0][1], np.einsum("ij,jk->ijk", A, np.eye(3)))
    empty = functional.jacobian(lambda x: x[:0], b)
    assert empty.shape == (0, 3)
    recorded = functional.jacobian(lambda x: x**3, b.requires_grad_(), create_graph=True)
    recorded.sum().backward()
    close(b.grad, 6 * B)


def test_hessians(device) -> None:
    a, b = given()
    blocks = functional.hessian(energy, (a, b))
    close(blocks[0][0], np.einsum("ik,jl,l->ijkl", np.eye(2), np.eye(3), 2 * B))
    close(blocks[0][1], np.einsum("ij,jk->ijk", 2 * A, np.eye(3)))
    close(blocks[1][0], np.einsum("ij,jk->kij", 2 * A, np.eye(3)))
    close(blocks[1][1], np.diag(6 * B))
    close(functional.hessian(lambda x: (x**4).sum(), b), np.diag(12 * B**2))
    v = clgrad.tensor(np.array([1.0, -2.0, 0.5]))
    for product_of in (functional.vhp, functional.hvp):
        value, hv = product_of(lambda x: (x**4).sum(), b, v)
        close(value, np.array((B**4).sum()))
        close(hv, 12 * B**2 * v.numpy())
    with pytest.raises(ShapeError, match="a single element"):
        functional.hessian(lambda x: x * 2, b)


def test_errors_of_products(device) -> None:
    a, b = given()
    with pytest.raises(GraphError, match="no v for results"):
        functional.vjp(product, (a, b))
    with pytest.raises(ShapeError, match=r"v of shapes \[\(3,\)\]"):
        functional.vjp(product, (a, b), clgrad.ones(3))
    with pytest.raises(DTypeError, match="a result of type int"):
        functional.jacobian(lambda x: 3, b)
    with pytest.raises(DTypeError, match="an input of type list"):
        functional.vjp(product, ([1.0], b))
    with pytest.raises(GraphError, match="do not depend on input 0"):
        functional.jacobian(lambda x, y: y * 2, (a, b), strict=True)
    with pytest.raises(ValueError, match="strategy"):
        functional.jacobian(product, (a, b), strategy="sideways")


def test_as_pytorch(device) -> None:
    torch = pytest.importorskip("torch")

    def run(module, xs, make):
        f = module.autograd.functional
        x, y = xs
        def shape(v):
            return [shape(i) for i in v] if isinstance(v, tuple) else (tuple(v.shape), np.asarray(v.tolist()))
        def g(p, q):
            return (p @ q).sum() ** 2, q.exp()[None] * 2
        def h(p, q):
            return ((p @ q) ** 3).sum()
        vs = (make(np.ones((2, 3))), make(np.arange(3.0)))
        return shape((f.jacobian(g, (x, y)), f.hessian(h, (x, y)), f.jvp(g, (x, y), vs), f.hvp(h, (x, y), vs),
                      f.vhp(h, (x, y), vs), f.vjp(g, (x, y), (make(np.array(2.0)), make(np.ones((1, 3)))))))

    def flat(tree):
        return [tree] if isinstance(tree, tuple) else [leaf for branch in tree for leaf in flat(branch)]

    mine = flat(run(clgrad, given(), clgrad.tensor))
    theirs = flat(run(torch, [torch.tensor(A), torch.tensor(B)], torch.tensor))
    assert len(mine) == len(theirs) == 22
    for (shape, got), (expected_shape, expected) in zip(mine, theirs):
        assert shape == expected_shape
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_inference_mode(device) -> None:
    x = clgrad.ones(2, requires_grad=True)
    with inference_mode():
        assert not (x * 2).requires_grad
        with clgrad.enable_grad():
            assert (x * 2).requires_grad
    with inference_mode(False):
        assert (x * 2).requires_grad
    with clgrad.no_grad(), inference_mode(mode=False):
        assert not (x * 2).requires_grad
    assert clgrad.inference_mode()(lambda: (x * 2).requires_grad)() is False
    assert clgrad.inference_mode(lambda: (x * 2).requires_grad)() is False
    assert clgrad.inference_mode(False)(lambda: (x * 2).requires_grad)() is True
    assert clgrad.is_grad_enabled()


def test_anomalies_are_named_where_asked_for(device) -> None:
    x = clgrad.tensor([0.0, 1.0], requires_grad=True)

    def run() -> None:
        (clgrad.sqrt(x) * 0).sum().backward()  # 0 * inf on the way back

    run()
    with detect_anomaly(), pytest.raises(FloatingPointError, match="made a NaN"):
        run()
    with detect_anomaly(check_nan=False):
        run()
    with set_detect_anomaly(True):
        with set_detect_anomaly(False):
            run()
        with pytest.raises(FloatingPointError, match="made a NaN"):
            run()
    run()
    assert clgrad.config.check is False
