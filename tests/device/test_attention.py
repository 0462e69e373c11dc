"""Attention: both kernel forms against NumPy, derivatives to second order, layers against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable
from clgrad.core.errors import DTypeError, ShapeError
from clgrad.families.attention import Options, keep_factors
from clgrad.ndarray import from_host
from clgrad.nn import functional as F
from clgrad.ops.attention import CASES, attention, formula
from clgrad.runtime import launch as launcher
from clgrad.table import OPS
from clgrad.testing import assert_close, draw, gradcheck

RNG = np.random.default_rng(9)


def _normal(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape), np.float32)


def _leaf(x: np.ndarray) -> Variable:
    return Variable(from_host(x), requires_grad=x.dtype.kind == "f")


@pytest.mark.parametrize("case", range(len(CASES)))
def test_kernels_of_both_forms(case: int, form: Any) -> None:
    """Values and first order; second order of the small cases."""
    case = CASES[case]
    inputs = draw(OPS["attention"], case, clgrad.float64)
    expected = OPS["attention"].ref(*inputs, **case.attrs)
    for got, wanted in zip(attention(*map(from_host, inputs), **case.attrs), expected):
        assert_close(got, wanted, dtype=wanted.dtype)
    leaves = [_leaf(x) for x in inputs]
    if len(leaves) == 4:
        leaves[3].requires_grad_(False)
    gradcheck(lambda *xs: attention(*xs, **case.attrs)[0], leaves, order=2 if inputs[0].shape[2] < 10 else 1)


@pytest.mark.parametrize("grouped", [False, True])
def test_dropout_is_the_same_forward_and_backward(grouped: bool, form: Any) -> None:
    shapes = [(2, 4, 5, 3), (2, 2 if grouped else 4, 6, 3), (2, 2 if grouped else 4, 6, 3)]
    options = Options(False, 0.7, 0.4, 1234567890123)
    leaves = [_leaf(RNG.standard_normal(s)) for s in shapes]
    got, expected = attention(*leaves, options=options)[0], formula(*leaves, None, options)
    assert_close(got, expected.detach().numpy())
    gradcheck(lambda *xs: attention(*xs, options=options)[0], leaves)
    factors = keep_factors((100, 100), leaves[0].data, options).numpy()
    assert set(np.unique(factors)) == {0, 1 / 0.6}
    assert abs((factors == 0).mean() - 0.4) < 0.02
    other = keep_factors((100, 100), leaves[0].data, Options(False, 0.7, 0.4, 1234567890124)).numpy()
    assert abs(np.corrcoef(factors.ravel(), other.ravel())[0, 1]) < 0.05


def test_dropout_follows_the_generator() -> None:
    q, k, v = (clgrad.tensor(_normal(2, 3, 8, 4)) for _ in range(3))
    clgrad.manual_seed(3)
    first, second = (F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).numpy() for _ in range(2))
    clgrad.manual_seed(3)
    np.testing.assert_array_equal(F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).numpy(), first)
    assert not np.array_equal(first, second)
    assert (F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).numpy() == 0).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits(dtype: str) -> None:
    kind = getattr(clgrad, dtype)
    qkv = [clgrad.tensor(_normal(2, 2, 40, 8)).to(kind) for _ in range(3)]
    exact = [x.to(clgrad.float64).numpy() for x in qkv]
    out = F.scaled_dot_product_attention(*[x.requires_grad_() for x in qkv], is_causal=True)
    assert out.dtype is kind
    expected = OPS["attention"].ref(*exact, options=Options(True, 8 ** -0.5, 0.0, 0))[0]
    assert_close(out.detach().to(clgrad.float64), expected, scale=1e9 if dtype == "float16" else 1e10)
    out.sum().backward()
    assert all(x.grad.dtype is kind for x in qkv)


_SHAPES = [((5, 4), (7, 4), (7, 3)), ((2, 5, 4), (2, 7, 4), (2, 7, 3)), ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 3)),
           ((2, 1, 5, 4), (1, 3, 7, 4), (3, 7, 3)), ((2, 1, 3, 5, 4), (2, 2, 3, 7, 4), (2, 2, 3, 7, 3)),
           ((2, 3, 0, 4), (2, 3, 7, 4), (2, 3, 7, 3)), ((0, 3, 5, 4), (0, 3, 7, 4), (0, 3, 7, 3))]


@pytest.mark.parametrize("masked", ["none", "causal", "bool", "float", "row"])
@pytest.mark.parametrize("shapes", _SHAPES, ids=str)
def test_function_matches_pytorch(shapes: tuple, masked: str) -> None:
    torch = pytest.importorskip("torch")
    xs = [_normal(*s) for s in shapes]
    L, S = xs[0].shape[-2], xs[1].shape[-2]
    options: dict[str, Any] = {"scale": 0.3} if masked == "bool" else {"is_causal": masked == "causal"}
    mask = {"bool": RNG.random((L, S)) < 0.7, "float": _normal(L, S), "row": RNG.random((1, S)) < 0.5}.get(masked)
    if mask is not None and mask.dtype == bool:
        mask[..., 0] = True
    ours, theirs = [_leaf(x) for x in xs], [torch.tensor(x, requires_grad=True) for x in xs]
    a = F.scaled_dot_product_attention(*ours, None if mask is None else clgrad.tensor(mask), **options)
    b = torch.nn.functional.scaled_dot_product_attention(*theirs, None if mask is None else torch.tensor(mask),
                                                         **options)
    assert_close(a, b.detach().numpy(), scale=2)
    a.square().sum().backward()
    b.square().sum().backward()
    for x, t in zip(ours, theirs):
        assert_close(x.grad, t.grad.numpy(), scale=10)


def test_strided_inputs_grouped_heads_and_wide_heads() -> None:
    torch = pytest.importorskip("torch")
    x = _normal(2, 9, 6 * 8)
    for enable_gqa, E in ((True, 8), (False, 8), (False, 300)):
        y = x if E == 8 else _normal(2, 9, 6 * E)
        a, b = _leaf(y), torch.tensor(y, requires_grad=True)

        def heads(z: Any, E: int = E) -> Any:
            return z.reshape(2, 9, 6, E).transpose(1, 2)

        def run(z: Any, f: Any, enable_gqa: bool = enable_gqa) -> Any:
            h = heads(z)
            return f(h, h[:, :2] if enable_gqa else h, h[:, 2:4] if enable_gqa else h, enable_gqa=enable_gqa)

        out = run(a, F.scaled_dot_product_attention)
        expected = run(b, torch.nn.functional.scaled_dot_product_attention)
        assert_close(out, expected.detach().numpy(), scale=4)
        out.square().sum().backward()
        expected.square().sum().backward()
        assert_close(a.grad, b.grad.numpy(), scale=20)


def test_a_mask_may_be_learned() -> None:
    q, k, v = (_leaf(RNG.standard_normal((2, 4, 3))) for _ in range(3))
    mask = _leaf(RNG.standard_normal((4, 4)))
    gradcheck(F.scaled_dot_product_attention, [q, k, v, mask])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda q, f: f(q[0, 0, 0], q, q), ShapeError, "expected two dimensions or more"),
    (lambda q, f: f(q, q.to(clgrad.float64), q), DTypeError, "expected one dtype"),
    (lambda q, f: f(q, q[..., :3], q), ShapeError, r"expected \(\.\.\., L, E\), \(\.\.\., S, E\)"),
    (lambda q, f: f(q, q, q, dropout_p=2), ValueError, "got dropout_p=2"),
    (lambda q, f: f(q, q, q, clgrad.ones(3), is_causal=True), ValueError, "got attn_mask and is_causal"),
    (lambda q, f: f(q, q, q, clgrad.ones(4, 2, 3, 5, 5)), ShapeError, r"got attn_mask of shape \(4, 2, 3, 5, 5\)"),
    (lambda q, f: f(q, q, q, clgrad.tensor([1])), DTypeError, "got attn_mask of clgrad.int64"),
    (lambda q, f: f(q, q[:, :2], q[:, :2], enable_gqa=True), ShapeError, "query heads that are a multiple"),
])
def test_errors(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(clgrad.ones(2, 3, 5, 4), F.scaled_dot_product_attention)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_of_one_projection_lie_side_by_side(dtype: str, form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys and values of one array: their gradients are parts of one, too, and nothing copies them."""
    B, L, H, E = 2, 5, 4, 3
    joint = _leaf(_normal(B, L, 3 * H * E).astype(dtype))
    dy = Variable(from_host(_normal(B, H, L, E).astype(dtype)))

    def gradient(apart: bool) -> Any:
        q, k, v = (x.reshape(B, L, H, E).transpose(1, 2) for x in clgrad.chunk(joint, 3, -1))
        q = q.clone() if apart else q
        return clgrad.autograd.grad(attention(q, k, v, None, Options(False, 0.5, 0.0, 0))[0], [joint], dy)[0]

    wanted, launches = gradient(True), []
    gradient(False)
    monkeypatch.setattr(launcher, "_recent", launches)
    got = gradient(False)
    assert_close(got, wanted.numpy(), dtype=dtype)
    if dtype == "float32":
        assert not [label for label in launches if not label.startswith("attention")]
        assert got.is_contiguous()


@pytest.mark.parametrize("along", [0, 1, -1])
def test_a_split_of_what_was_joined_is_a_view(along: int) -> None:
    x = _leaf(_normal(4, 6, 2))
    whole = Variable(from_host(_normal(4, 6, 2)))
    size = x.shape[along] // 2
    for order in (slice(None), slice(None, None, -1)):
        given = clgrad.split(whole, size, along)[order]
        got, = clgrad.autograd.grad(clgrad.split(x, size, along), [x], given)
        assert_close(got, np.concatenate([p.numpy() for p in given], along), dtype="float32")
        assert (got.data.storage is whole.data.storage) == (order.step is None)
