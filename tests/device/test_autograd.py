"""The graph: accumulation, freeing, second order, user functions, and the errors of what cannot run."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import clgrad
from clgrad import Function, Variable
from clgrad.autograd import grad
from clgrad.core.errors import GraphError
from clgrad.testing import gradcheck


def leaf(*values: float, shape: tuple | None = None) -> Variable:
    data = np.array(values, np.float32)
    return clgrad.tensor(data if shape is None else data.reshape(shape), requires_grad=True)


def test_gradients_accumulate_in_memory_of_their_own(device) -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    (x + y).sum().backward()
    assert x.grad.storage is not y.grad.storage
    x.grad.zero_()
    assert y.grad.tolist() == [1, 1]
    (x * y).sum().backward()
    assert x.grad.tolist() == [3, 4]
    assert y.grad.tolist() == [2, 3]
    seed = clgrad.ones(2)
    (x + 0).backward(seed)
    x.grad.zero_()
    assert seed.tolist() == [1, 1]


def test_backward_frees_what_it_has_used(device) -> None:
    """Gradients of eight weights take the place of the eight activations that were saved for them."""
    size, weights = 1 << 16, [clgrad.ones(1 << 16, requires_grad=True) for _ in range(8)]
    loss = clgrad.ones(size)
    for w in weights:
        loss = loss * w
    loss = loss.sum()
    pool = device.pool
    pool.peak = before = pool.stats()["active"]
    loss.backward()
    assert all(w.grad is not None for w in weights)
    assert pool.peak - before <= 4 * 4 * size


def test_what_no_wanted_gradient_needs_is_not_saved(device) -> None:
    w, factor = clgrad.ones(3, requires_grad=True), clgrad.ones(3)
    activation = w + 1
    held = weakref.ref(activation.storage)
    out = activation * factor  # its gradient needs the factor alone
    del activation
    assert held() is None
    out.sum().backward()
    assert w.grad.tolist() == [1, 1, 1]


def test_a_gradient_that_is_a_saved_value_is_copied(device) -> None:
    x = leaf(2, 3)
    w = clgrad.tensor([5.0, 7.0])
    clgrad.mul(x, w).backward(clgrad.ones(2), retain_graph=True)
    x.grad.zero_()
    assert w.tolist() == [5, 7]


def test_a_value_used_twice(device) -> None:
    x = leaf(3)
    y = x * x
    (y + y * x).sum().backward()
    assert x.grad.tolist() == [2 * 3 + 3 * 9]


def test_a_long_chain_needs_no_recursion(device) -> None:
    x = leaf(1)
    y = x
    for _ in range(10_000):
        y = y + 1.0
    y.backward()
    assert x.grad.tolist() == [1]
    del y  # and neither does letting go of it


def test_nothing_is_kept_alive_by_cycles(device) -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(0.5, 1.5)
        y = clgrad.sigmoid(x)  # saves its own result
        z = (clgrad.tanh(y) * y).sum()
        held = [weakref.ref(v) for v in (y, z, y.storage, y.node, z.node)]
        z.backward()
        del y, z
        assert [r() for r in held] == [None] * len(held)
        z = Cube.apply(x)
        held = [weakref.ref(v) for v in (z, z.storage, z.node)]
        del z
        assert [r() for r in held] == [None] * len(held)
    finally:
        gc.enable()


def test_backward_frees_what_was_saved_unless_retained(device) -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 8]
    with pytest.raises(GraphError, match=r"second time.*retain_graph=True"):
        y.backward()
    (x * x).sum().backward()  # the device and the leaf are usable after


def test_create_graph_gives_higher_orders(device) -> None:
    x = leaf(2)
    (first,) = grad((x**4).sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x, create_graph=True)
    (third,) = grad(second.sum(), x)
    assert [g.tolist() for g in (first, second, third)] == [[32], [48], [48]]
    y = (x * x * x).sum()
    y.backward(create_graph=True)
    assert x.grad.requires_grad
    penalty = (x.grad * x.grad).sum()
    x.grad = None
    penalty.backward()
    assert x.grad.tolist() == [2 * 12 * 12]  # d (3x^2)^2 = 2 * 3x^2 * 6x


def test_grad_of_several(device) -> None:
    x, y, unused = leaf(1, 2), leaf(3, 4), leaf(5)
    h = x * y
    gx, gh = grad([h.sum(), (h * h).sum()], [x, h])
    assert gx.tolist() == [3 + 2 * 3 * 3, 4 + 2 * 8 * 4]
    assert gh.tolist() == [1 + 2 * 3, 1 + 2 * 8]
    assert x.grad is None
    with pytest.raises(GraphError, match="allow_unused=True"):
        grad((x * y).sum(), [x, unused])
    assert grad((x * y).sum(), [x, unused], allow_unused=True)[1] is None
    with pytest.raises(GraphError, match="does not require grad"):
        grad((x * y).sum(), [clgrad.ones(2)])


def test_no_grad_detach_and_leaves(device) -> None:
    x = leaf(1, 2)
    with clgrad.no_grad():
        assert not (x * 2).requires_grad
        with clgrad.enable_grad():
            assert (x * 2).requires_grad
    assert clgrad.no_grad()(lambda: (x * 2).requires_grad)() is False
    assert clgrad.no_grad(lambda: (x * 2).requires_grad)() is False
    y = (x * 2).detach()
    assert y.is_leaf
    assert not y.requires_grad
    assert x.is_leaf
    assert not (x * 2).is_leaf
    assert (x * 2).grad_fn is not None
    assert not (x > 0).requires_grad
    with clgrad.set_grad_enabled(False):
        assert not clgrad.is_grad_enabled()
    assert clgrad.is_grad_enabled()


def test_integers_are_outside_the_graph(device) -> None:
    x = leaf(1.5, 2.5)
    assert not x.to(clgrad.int64).requires_grad
    with pytest.raises(TypeError, match="Only these have gradients"):
        clgrad.tensor([1, 2], requires_grad=True)


def test_retain_grad(device) -> None:
    x = leaf(1, 2)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [6, 12]
    assert x.grad.tolist() == [18, 36]


def test_dtypes_and_shapes_of_gradients_are_the_inputs(device) -> None:
    x = clgrad.tensor(np.ones((3, 1), np.float16), requires_grad=True)
    y = clgrad.tensor(np.ones(4, np.float32), requires_grad=True)
    (x * y).sum().backward()
    assert (x.grad.shape, x.grad.dtype) == ((3, 1), clgrad.float16)
    assert (y.grad.shape, y.grad.dtype) == ((4,), clgrad.float32)
    assert x.grad.tolist() == [[4]] * 3


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x * x * 3


class SumAndProduct(Function):
    @staticmethod
    def forward(ctx, x, y, scale):
        ctx.scale = scale
        product = x * y
        ctx.save_for_backward(x, y, product)
        return (x + y) * scale, product

    @staticmethod
    def backward(ctx, g_sum, g_product):
        x, y, product = ctx.saved_tensors
        assert product.shape == x.shape
        return g_sum * ctx.scale + g_product * y, g_sum * ctx.scale + g_product * x, None


def test_user_functions(rng: np.random.Generator, device) -> None:
    x, y = (clgrad.tensor(rng.standard_normal(4), requires_grad=True) for _ in range(2))
    gradcheck(Cube.apply, [x])
    gradcheck(lambda a, b: SumAndProduct.apply(a, b, 2.0), [x, y])
    _, product = SumAndProduct.apply(x, y, 3.0)
    product.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.detach().numpy())
    assert not Cube.apply(x.detach()).requires_grad


def test_user_function_errors(device) -> None:
    class TooFew(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(GraphError, match="1 gradients; expected 2"):
        TooFew.apply(leaf(1), leaf(2)).sum().backward()
    y = Cube.apply(leaf(1)).sum()
    y.backward()
    with pytest.raises(GraphError, match="second time"):
        y.backward()


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: (x * x).backward(), r"got shape \(2,\) without a gradient"),
    (lambda x: (x * x).backward(clgrad.ones(3)), r"gradient of shape \(3,\)"),
    (lambda x: (x * x).backward(1.0), "gradient of type float"),
    (lambda x: x.detach().sum().backward(), "does not require grad"),
    (lambda x: x.add_(1), "in-place write to a leaf that requires grad.*no_grad"),
    (lambda x: (x * 2).mul_(2), "in-place write to the result of a recorded op"),
    (lambda x: x.__setitem__(0, 1.0), "in-place write to a leaf"),
    (lambda x: clgrad.zeros(2).add_(x), "an operand that requires grad"),
    (lambda x: x.numpy(), r"detach\(\).numpy\(\)"),
    (lambda x: (x * 2).requires_grad_(False), r"\.detach\(\)"),
])
def test_what_cannot_run(call, message: str, device) -> None:
    x = leaf(1, 2)
    with pytest.raises((GraphError, TypeError, ValueError), match=message):
        call(x)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_a_saved_value_changed_in_place_is_noticed(device) -> None:
    x = leaf(1, 2)
    y = x * x
    with clgrad.no_grad():
        x += 1
    with pytest.raises(GraphError, match=r"mul: its [xy] of shape \(2,\).*changed in place"):
        y.sum().backward()
    y = clgrad.exp(x)
    y.data[0:1].fill_(3.0)  # through a view of .data
    with pytest.raises(GraphError, match="exp: its out"):
        y.sum().backward()


def test_updates_under_no_grad(device) -> None:
    w = leaf(1, 2)
    (w * w).sum().backward()
    storage = w.storage
    with clgrad.no_grad():
        w -= 0.5 * w.grad
    assert w.storage is storage
    assert w.requires_grad
    assert w.tolist() == [0, 0]
    w.data -= w.grad.data
    assert w.tolist() == [-2, -4]


def test_check_names_the_op_that_made_a_nan(device) -> None:
    with clgrad.config.override(check=True), pytest.raises(FloatingPointError, match="log: made a NaN"):
        clgrad.log(clgrad.tensor([-1.0]))
