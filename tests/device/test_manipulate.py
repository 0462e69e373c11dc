"""Rearranging, padding and products: einsum in every form, and what the records' cases do not reach."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clgrad
from clgrad import Variable
from clgrad.ndarray import from_host
from clgrad.testing import assert_close, gradcheck


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape)


_SIZES = {"i": 2, "j": 3, "k": 4, "l": 2}


def _operand(term: str, lead: tuple[int, ...] = (3,)) -> np.ndarray:
    shape: tuple[int, ...] = ()
    for part in term.replace("...", ".").strip():
        shape += lead if part == "." else (_SIZES[part],)
    return _numbers(*shape)


EQUATIONS = ["ij,jk->ik", "ij,jk", "ji", "ij->ji", "ij->", "ij->j", "ii->i", "ii", "iij->j", "ijij->ij", "i,j->ij",
             "i,i", "ij,ij->ij", "ij,ij->", "ij,kj->ik", "ij,jk,kl->il", "ij,k->k", "kij,kjl->kil",
             "...ij,...jk->...ik", "...i->...", "i...->...i", "...,...->...", "ij...,j->i...", "ij , jk -> ik",
             "ij,jk,ik->", "i,j,k->kji",
             "iil,jl->ji", "...ii->...i", "ij,jk->..."]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_is_numpys(equation: str, device) -> None:
    if not device.facts.fp64:
        pytest.skip("compared in float64")
    hosts = [_operand(term) for term in equation.replace(" ", "").partition("->")[0].split(",")]
    plain = "ij,jk->" if equation == "ij,jk->..." else equation  # NumPy wants an ellipsis on the left too
    expected = np.einsum(plain, *hosts)
    assert_close(clgrad.einsum(equation, *map(from_host, hosts)), expected)
    leaves = [Variable(from_host(h), requires_grad=True) for h in hosts]
    gradcheck(lambda *xs: clgrad.einsum(equation, *xs), leaves, directions=1)


def test_einsum_broadcasts_and_keeps_dtypes(device) -> None:
    a, b = _numbers(4, 1, 2, 3).astype(np.float32), _numbers(5, 3, 2).astype(np.float32)
    assert_close(clgrad.einsum("...ij,...jk->...ik", from_host(a), from_host(b)), np.einsum("...ij,...jk->...ik", a, b),
                 scale=4)
    one, many = np.ones((2, 1), np.float32), _numbers(3, 4).astype(np.float32)
    assert_close(clgrad.einsum("ij,jk->ik", from_host(one), from_host(many)), np.einsum("ij,jk->ik", one, many),
                 scale=4)
    ints = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert_close(clgrad.einsum("ij,kj->ik", from_host(ints), from_host(ints)), ints @ ints.T, dtype="int32")
    assert_close(clgrad.einsum("ij->i", from_host(ints)), ints.sum(1), dtype="int32")
    assert_close(clgrad.einsum("i,j->ij", [from_host(ints[0]), from_host(ints[1])]), np.outer(ints[0], ints[1]))
    assert_close(clgrad.einsum("ij,jk->ik", from_host(np.zeros((2, 0), np.float32)),
                               from_host(np.zeros((0, 3), np.float32))), np.zeros((2, 3)))


def test_einsum_from_left_to_right_without_opt_einsum(device, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    hosts = [_numbers(2, 3), _numbers(3, 4), _numbers(4, 2)]
    assert_close(clgrad.einsum("ij,jk,kl->il", *(from_host(h.astype(np.float32)) for h in hosts)),
                 hosts[0] @ hosts[1] @ hosts[2], scale=8)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_einsum_of_any_two(data) -> None:
    """Operands of up to three letters each, repeated ones included, and any result."""
    terms = [data.draw(st.text("ijk", min_size=0, max_size=3)) for _ in range(2)]
    letters = sorted(set("".join(terms)))
    result = "".join(data.draw(st.permutations(data.draw(st.lists(st.sampled_from(letters), unique=True)))
                               if letters else st.just([])))
    hosts = [_operand(t).astype(np.float32) for t in terms]
    equation = f"{','.join(terms)}->{result}"
    assert_close(clgrad.einsum(equation, *map(from_host, hosts)), np.einsum(equation, *hosts), scale=8,
                 message=equation)


@pytest.mark.parametrize("f", [
    lambda x: clgrad.roll(x, (1, -1), (0, 1)) * x,
    lambda x: clgrad.repeat_interleave(x, clgrad.tensor([2, 0, 1]), 0) ** 2,
    lambda x: clgrad.cov(x), lambda x: clgrad.cov(x, fweights=clgrad.tensor([1, 2, 1, 3]),
                                                  aweights=clgrad.tensor([0.5, 1.0, 0.2, 2.0]).double()),
    lambda x: clgrad.tensordot(x, x, ([0, 1], [0, 1])), lambda x: clgrad.cdist(x, x[:2] + 3.0, p=3.0),
    lambda x: clgrad.pad(x, (1, 1, 2, 1), mode="circular") ** 2,
    lambda x: clgrad.pad(x, (-1, 1, 0, -1), value=2.0) ** 2,
    lambda x: clgrad.meshgrid(x[0], x[1])[1] * x[2, 0], lambda x: clgrad.vstack(clgrad.unbind(x, 1)) ** 2,
    lambda x: clgrad.diff(x, prepend=x[:, :1] * 2) ** 2, lambda x: clgrad.vector_norm(x, 2.5, (0, 1)),
])
def test_gradients(f, device) -> None:
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    gradcheck(f, [Variable(from_host(_numbers(3, 4)), requires_grad=True)])


@pytest.mark.parametrize("order", [0, 1, 2, 3, float("inf"), -float("inf")])
def test_a_norm_of_zeros_has_slope_zero(order: float, device) -> None:
    x = clgrad.zeros(2, 3, requires_grad=True)
    clgrad.norm(x, order, 1).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0]] * 2
    assert clgrad.norm(clgrad.full((4,), 300.0, dtype="float16")).item() == 600


def test_views_and_copies(device) -> None:
    x = clgrad.arange(12).reshape(3, 4)
    for view in (x.diagonal(1), x.movedim(0, 1), x.swapdims(0, 1), x.unbind()[1], x.tensor_split(2)[1], x.rot90(2),
                 x.fliplr(), x.ravel(), x.unflatten(1, (2, 2)), clgrad.atleast_3d(x), x.diag()):
        assert view.storage is x.storage
    assert x.repeat(2, 1).shape == (6, 4)
    assert x.tile(2).shape == (3, 8)
    assert [p.tolist() for p in clgrad.tensor_split(clgrad.arange(5), (1, -1))] == [[0], [1, 2, 3], [4]]
    assert [p.shape for p in clgrad.atleast_2d(clgrad.ones(2), clgrad.tensor(1.0))] == [(1, 2), (1, 1)]
    assert clgrad.atleast_1d(clgrad.tensor(1.0)).shape == (1,)
    assert clgrad.repeat_interleave(clgrad.tensor([[1, 2]]), 2).tolist() == [1, 1, 2, 2]
    assert clgrad.meshgrid([clgrad.ones(2), clgrad.ones(3)], indexing="xy")[0].shape == (3, 2)
    x.diagonal()[:] = -1
    assert x.trace().item() == -3


def test_closeness_and_cleaning(device) -> None:
    inf, nan = float("inf"), float("nan")
    a, b = np.array([1.0, inf, -inf, nan, 1e10, 0.0]), np.array([1.00001, inf, inf, nan, 1.00001e10, 1e-9])
    for equal_nan in (False, True):
        assert_close(clgrad.isclose(clgrad.tensor(a), clgrad.tensor(b), equal_nan=equal_nan),
                     np.isclose(a, b, equal_nan=equal_nan))
    assert clgrad.allclose(clgrad.ones(3), clgrad.ones(3) + 1e-7) is True
    assert clgrad.allclose(clgrad.ones(3), clgrad.zeros(3)) is False
    small, large = clgrad.tensor([0], dtype="uint8"), clgrad.tensor([255], dtype="uint8")
    assert clgrad.isclose(small, large, atol=1.5).tolist() == [False]
    for dtype in ("float16", "float32"):
        host = np.array([nan, inf, -inf, 2.0], dtype)
        assert_close(clgrad.nan_to_num(clgrad.tensor(host)), np.nan_to_num(host), dtype=dtype)
        assert_close(clgrad.nan_to_num(clgrad.tensor(host), 1.0, 2.0, 3.0), np.array([1, 2, 3, 2], dtype), dtype=dtype)
    x = clgrad.tensor([nan, 1.0], requires_grad=True)
    clgrad.nan_to_num(x).sum().backward()
    assert x.grad.tolist() == [0, 1]
    assert clgrad.addmm(clgrad.full((2, 2), nan), clgrad.eye(2), clgrad.eye(2), beta=0).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: clgrad.einsum("ij,jk->ik", x), ValueError, "1 operands"),
    (lambda x: clgrad.einsum("ijk->i", x), ValueError, "one letter an axis"),
    (lambda x: clgrad.einsum("ij->z", x), ValueError, "letters of the operands"),
    (lambda x: clgrad.einsum("ij,ji->", x, x), ValueError, "sizes"),
    (lambda x: clgrad.einsum("i1->", x), ValueError, "at most one ellipsis"),
    (lambda x: clgrad.einsum("ii->i", x), ValueError, "sizes 2 and 3"),
    (lambda x: clgrad.pad(x, (1,)), ValueError, "a pair for each axis"),
    (lambda x: clgrad.pad(x, (3, 0), mode="reflect"), ValueError, "at most 2"),
    (lambda x: clgrad.pad(x, (1, 1), mode="mirror"), ValueError, "mode='mirror'"),
    (lambda x: x.roll((1, 2), 0), ValueError, "as many of each"),
    (lambda x: x.repeat(2), ValueError, "a size of 0 or more for each axis"),
    (lambda x: x.dot(x), ValueError, "vectors"),
    (lambda x: clgrad.cross(x, clgrad.ones(2, 2)), ValueError, "cross"),
    (lambda x: clgrad.movedim(x, (0, 0), (0, 1)), ValueError, "each axis once"),
    (lambda x: clgrad.meshgrid(x), ValueError, "Flatten"),
    (lambda x: clgrad.norm(x, "nuc"), ValueError, "'fro' or a number"),
    (lambda x: clgrad.norm(x.int()), TypeError, "float"),
    (lambda x: clgrad.tensordot(x, x, 1), ValueError, "equal sizes"),
    (lambda x: clgrad.addmm(x, x, x), ValueError, "transpose one"),
    (lambda x: x.tril().flatten().tril(), ValueError, "a matrix"),
])
def test_bad_input_is_refused(call, error: type, message: str, device) -> None:
    with pytest.raises(error, match=message):
        call(clgrad.ones(2, 3))
