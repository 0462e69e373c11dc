"""Arrays: views and writes through them, the doors, indexing, printing, conversion, and what bad input gets."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import clgrad
import clgrad.array as xp
from clgrad import kernels
from clgrad.core import dtypes
from clgrad.families.elementwise import Elementwise, Expression
from clgrad.ndarray import Array, Storage, from_host
from clgrad.testing import assert_close


def _ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@given(st.data())
def test_basic_indexing_is_numpys(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    host = _ramp(*shape)
    assert_close(from_host(host)[key], host[key])


@given(st.data())
def test_writing_through_views_is_numpys(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    key = data.draw(hnp.basic_indices(shape))
    host = _ramp(*shape)
    array = from_host(host)
    array[key] = -1.0
    host[key] = -1.0
    assert_close(array, host)
    view, host_view = array.T, host.T
    view[...] = view * 2
    host_view[...] = host_view * 2
    assert_close(array, host)


@given(st.data())
def test_reshape_after_any_view(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    order = data.draw(st.permutations(range(len(shape))))
    host = np.transpose(_ramp(*shape), order)
    array = from_host(_ramp(*shape)).permute(order)
    assert_close(array.reshape(-1), host.reshape(-1))
    assert_close(array.reshape(host.shape[::-1]), host.reshape(host.shape[::-1]))


def test_overlapping_writes_are_numpys(device) -> None:
    host = _ramp(10)
    array = from_host(host)
    array[1:] = array[:-1]
    host[1:] = host[:-1].copy()
    assert_close(array, host)
    array[...] = array[::-1]
    assert_close(array, host[::-1])
    square = from_host(_ramp(4, 4))
    square += square.T
    assert_close(square, _ramp(4, 4) + _ramp(4, 4).T)


def test_views_share_memory(device) -> None:
    x = clgrad.zeros(4, 3)
    y = x.t()[1]
    assert y.storage is x.storage
    y.fill_(2)
    assert x.tolist() == [[0, 2, 0]] * 4
    assert x.view(12)[4].item() == 2
    with pytest.raises(ValueError, match=r"\.contiguous\(\)\.view\(\)"):
        x.t().view(12)
    assert x.is_contiguous()
    assert not x.t().is_contiguous()
    assert x.t().contiguous().stride() == (4, 1)
    assert x.expand(2, 4, 3).stride() == (0, 3, 1)


def test_masks_and_index_arrays(device) -> None:
    x = clgrad.tensor(_ramp(3, 4))
    x[x > 5] = 0
    host = _ramp(3, 4)
    host[host > 5] = 0
    assert_close(x, host)
    assert_close(x[clgrad.tensor([2, 0])], host[[2, 0]])
    x[clgrad.tensor([True, False, True])] = -1.0
    host[[True, False, True]] = -1
    assert_close(x, host)


@pytest.mark.parametrize("dtype", [d.name for d in dtypes.ALL])
def test_the_doors_keep_values_and_dtype(dtype: str, device) -> None:
    if dtypes.dtype(dtype).real is dtypes.float64 and not device.facts.fp64:
        pytest.skip("the device has no float64")
    kind = dtypes.dtype(dtype).np
    for host in (np.array([[0, 1, 2], [3, 4, 5]]).astype(kind), np.array(1).astype(kind), np.zeros((0, 3), kind)):
        array = clgrad.from_numpy(host)
        assert array.dtype is dtypes.dtype(dtype)
        assert_close(array, host, dtype=dtype)
        assert array.tolist() == host.tolist()
        for restored in (pickle.loads(pickle.dumps(array)), copy.deepcopy(array), copy.deepcopy(array.data)):
            assert restored.storage is not array.storage
            assert_close(restored, host, dtype=dtype)


def test_a_number_is_written_with_the_digits_of_its_target(device) -> None:
    wide = clgrad.zeros(3, dtype=clgrad.int64)
    wide[0] = 2**53 + 1
    wide[1:].fill_(2**62 + 1)
    assert wide.tolist() == [2**53 + 1, 2**62 + 1, 2**62 + 1]
    unsigned = clgrad.zeros(1, dtype=clgrad.uint64)
    unsigned[0] = 2**64 - 1
    assert unsigned.item() == 2**64 - 1
    small = clgrad.zeros(2, dtype=clgrad.int8)
    small[0] = -2.7
    assert small.tolist() == [-2, 0]
    with pytest.raises(OverflowError, match="-128 to 127 for int8"):
        small[0] = 200
    with pytest.raises(clgrad.errors.DTypeError, match="setitem: got complex numbers; expected reals"):
        small[0] = 1j
    if device.facts.fp64:
        double = clgrad.zeros(2, dtype=clgrad.float64)
        double[0] = 16777217.0
        double[1:] = 0.1
        assert double.tolist() == [16777217.0, 0.1]


def test_tensor_infers_dtypes(device) -> None:
    for value, dtype in ((1.5, "float32"), (1, "int64"), (True, "bool"), ([1, 2.5], "float32"), ([], "float32"),
                         (np.float64(1), "float64"), (np.arange(2, dtype=np.int16), "int16")):
        assert clgrad.tensor(value).dtype is dtypes.dtype(dtype), value
    assert clgrad.tensor([clgrad.tensor(1.0), clgrad.tensor(2.0)]).tolist() == [1, 2]
    assert clgrad.tensor([1, 2], dtype=clgrad.float16).dtype is clgrad.float16
    base = clgrad.ones(3)
    assert clgrad.tensor(base).storage is not base.storage
    assert clgrad.as_tensor(base) is base


def test_conversions(device) -> None:
    x = clgrad.tensor([1.7, -2.2])
    assert x.int().tolist() == [1, -2]
    assert x.to("int64").dtype is clgrad.int64
    assert x.to(device, clgrad.float16).dtype is clgrad.float16
    assert x.to(x) is x
    assert x.to(x, copy=True) is not x
    assert x.long().float().dtype is x.dtype
    assert x.bool().tolist() == [True, True]
    assert x.type() in ("torch.FloatTensor", "torch.cuda.FloatTensor")
    assert x.type(clgrad.float64).dtype is clgrad.float64
    assert clgrad.zeros(2).copy_(x).tolist() == x.tolist()


def test_promotion_follows_dtypes_never_values(device) -> None:
    byte, single = clgrad.tensor([1], dtype="uint8"), clgrad.tensor([1.0])
    assert (byte + 1).dtype is clgrad.uint8
    assert (byte + 1.5).dtype is clgrad.float32
    assert (byte + clgrad.tensor(1000)).dtype is clgrad.int64
    assert (single * 10**30).dtype is clgrad.float32
    assert (clgrad.tensor([2]) / 2).dtype is clgrad.float32
    assert (clgrad.tensor([1], dtype="int32") + single).dtype is clgrad.float64
    with pytest.raises(OverflowError, match="add: got the Python integer 300; expected 0 to 255 for uint8"):
        byte + 300
    assert (single * 1e300).tolist() == [float("inf")]


def test_another_default_dtype_is_seen_at_once(device) -> None:
    whole = clgrad.tensor([1, 4])
    results = (lambda: whole / whole, lambda: whole.sqrt(), lambda: whole * 0.5)
    assert [f().dtype for f in results] == [clgrad.float32] * 3
    clgrad.set_default_dtype(clgrad.float64)
    try:
        assert [f().dtype for f in results] == [clgrad.float64] * 3
    finally:
        clgrad.set_default_dtype(clgrad.float32)
    assert [f().dtype for f in results] == [clgrad.float32] * 3


def test_sizes_may_be_numpys(device) -> None:
    """Shapes that NumPy computed end up in plans, strided and flat ones, of ops with and without scalars."""
    three, four = np.int64(3), np.int64(4)
    x = clgrad.arange(12, dtype=clgrad.float32).reshape(three, four)
    expected = np.arange(12, dtype=np.float32).reshape(3, 4)
    rows = x[:, ::np.int64(2)].expand(np.int32(2), three, np.int64(2))
    assert np.array_equal((rows > 1).numpy(), np.broadcast_to(expected[:, ::2] > 1, (2, 3, 2)))
    assert np.array_equal((rows + rows).sum(np.int64(1)).numpy(), np.broadcast_to(2 * expected[:, ::2].sum(0), (2, 2)))
    assert np.array_equal((x.T @ x.as_strided((three, four), (four, np.int64(1)))).numpy(), expected.T @ expected)
    made_so = x.topk(three, 1).values, x.diagonal(np.int64(1)), clgrad.empty_strided((three, four), (four, np.int64(1)))
    for made in made_so:
        assert {type(n) for n in (*made.shape, *made.stride(), made.data.offset)} == {int}
    assert np.array_equal(x.diagonal(np.int64(1)).numpy(), expected.diagonal(1))


def test_factories(device) -> None:
    assert clgrad.zeros(2, 3).tolist() == [[0, 0, 0]] * 2
    assert clgrad.ones((2,), dtype="int32").tolist() == [1, 1]
    assert clgrad.full((2,), 7).dtype is clgrad.int64
    assert clgrad.zeros_like(clgrad.ones(2, dtype="int8")).dtype is clgrad.int8
    assert clgrad.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    for args in ((5,), (2, 9, 3), (0.0, 1.0, 0.3), (5, 0, -2), (3, 3)):
        assert_close(clgrad.arange(*args), np.arange(*args, dtype=clgrad.arange(*args).dtype.np))
    for steps in (0, 1, 2, 7):
        assert_close(clgrad.linspace(-1, 2, steps), np.linspace(-1, 2, steps, dtype=np.float32))
    assert isinstance(xp.zeros((2,)), Array)
    assert isinstance(xp.add(xp.ones(2), 1), Array)
    assert xp.asarray(clgrad.ones(2)).tolist() == [1, 1]
    with pytest.raises(ValueError, match="copy=False"):
        xp.asarray([1.0], copy=False)


def test_printing(device) -> None:
    assert repr(clgrad.tensor([[1.5, -2.25], [0.1, 3]])) == "tensor([[ 1.5000, -2.2500],\n        [ 0.1000,  3.0000]])"
    assert repr(clgrad.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(clgrad.tensor(3)) == "tensor(3)"
    assert repr(clgrad.tensor([1.0], dtype="float64", requires_grad=True)) == (
        "tensor([1.], dtype=clgrad.float64, requires_grad=True)")
    assert "grad_fn=<MulBackward>" in repr(clgrad.ones(2, requires_grad=True) * 2)
    assert repr(clgrad.zeros(0, 3)) == "tensor([], size=(0, 3))"
    assert "..." in repr(clgrad.zeros(2000))
    assert repr(clgrad.tensor([1e-5, 1.0])) == "tensor([1.0000e-05, 1.0000e+00])"
    assert repr(clgrad.tensor([float("nan"), 1.0])) == "tensor([nan, 1.])"
    assert repr(clgrad.tensor([True])) == "tensor([True])"


def test_scalars_and_containers(device) -> None:
    x = clgrad.tensor([[1.0, 2.0]])
    assert len(x) == 1
    assert [row.tolist() for row in x] == [[1, 2]]
    assert float(x[0, 1]) == 2
    assert int(clgrad.tensor(3)) == 3
    assert list(range(5))[clgrad.tensor(2)] == 2
    assert 2.0 in x
    assert 5.0 not in x
    assert bool(clgrad.tensor(1))
    assert x.size() == (1, 2)
    assert x.size(1) == 2
    assert x.numel() == 2
    assert x.dim() == 2


def test_max_and_min_like_pytorch(device) -> None:
    x = clgrad.tensor([[1.0, 5.0, 5.0], [7.0, 2.0, 7.0]], requires_grad=True)
    values, indices = clgrad.max(x, 1)
    assert values.tolist() == [5, 7]
    assert indices.tolist() == [1, 0]
    values.sum().backward()
    assert x.grad.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert x.max().item() == 7
    assert x.min(0).indices.tolist() == [0, 1, 0]
    assert clgrad.max(clgrad.tensor([1.0, 4.0]), clgrad.tensor([3.0, 2.0])).tolist() == [3, 4]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: clgrad.ones(2, 3) + clgrad.ones(2, 4), ValueError, r"add: got \(2, 3\) and \(2, 4\).*Axis -1"),
    (lambda: clgrad.ones(2, 3) + clgrad.ones(2, 4), RuntimeError, "broadcast"),
    (lambda: clgrad.ones(2) + np.ones(2), TypeError, r"numpy.ndarray.*clgrad.tensor\(\)"),
    (lambda: np.ones(2) * clgrad.ones(2), TypeError, "numpy.ndarray"),
    (lambda: np.asarray(clgrad.ones(2)), TypeError, r"\.numpy\(\)"),
    (lambda: bool(clgrad.ones(2)), ValueError, "is not None"),
    (lambda: clgrad.ones(2).item(), ValueError, "one element"),
    (lambda: len(clgrad.tensor(1.0)), TypeError, "0-d"),
    (lambda: clgrad.ones(2, 3)[5], IndexError, "got 5 for axis 0; expected -2 <= index < 2"),
    (lambda: clgrad.ones(2)[0, 0], IndexError, "at most 1"),
    (lambda: clgrad.ones(2)["a"], IndexError, "got str"),
    (lambda: clgrad.ones(2, 3).reshape(4, -1), ValueError, "-1 that can be inferred"),
    (lambda: clgrad.ones(2, 3).reshape(5), ValueError, "6 elements"),
    (lambda: clgrad.ones(2, 3).sum(2), IndexError, "-2 <= dim < 2"),
    (lambda: clgrad.ones(2, 3).sum((0, 0)), ValueError, "each axis once"),
    (lambda: clgrad.ones(2, 3).permute(0, 0), ValueError, "every axis once"),
    (lambda: clgrad.ones(2, 3).expand(3, 3), ValueError, "any size in place of a 1"),
    (lambda: clgrad.cat([clgrad.ones(2, 3), clgrad.ones(2, 4)]), ValueError, "equal but on axis 0"),
    (lambda: clgrad.stack([clgrad.ones(2), clgrad.ones(3)]), ValueError, "arrays of one shape"),
    (lambda: clgrad.zeros(0).amax(), ValueError, "at least one element"),
    (lambda: clgrad.zeros(0).argmax(), ValueError, "at least one element"),
    (lambda: clgrad.ones(2) & 1, TypeError, "bitwise_and: got float32"),
    (lambda: clgrad.tensor([True]) - True, TypeError, "sub: got bool"),
    (lambda: clgrad.tensor([2]) ** -1, TypeError, "no negative powers"),
    (lambda: clgrad.where(clgrad.ones(2), 1, 2), TypeError, "a condition of clgrad.float32"),
    (lambda: clgrad.take(clgrad.ones(2), clgrad.ones(2)), TypeError, "an integer array"),
    (lambda: clgrad.gather(clgrad.ones(2, 3), 0, clgrad.tensor([0])), ValueError, "an index of the array's rank"),
    (lambda: clgrad.clamp(clgrad.ones(2)), TypeError, "neither min nor max"),
    (lambda: clgrad.tensor("text"), TypeError, "expected one of bool"),
    (lambda: clgrad.tensor([[1], [2, 3]]), ValueError, "equal lengths"),
    (lambda: clgrad.zeros(2, dtype="float99"), TypeError, "float99"),
    (lambda: clgrad.softmax(clgrad.tensor([1, 2]), 0), TypeError, "softmax: got int64"),
    (lambda: clgrad.zeros(2).add_(clgrad.ones(3, 2)), ValueError, "result of the target's shape"),
    (lambda: clgrad.zeros(2, dtype="int32").add_(1.5), TypeError, "that int32 can hold"),
    (lambda: clgrad.gelu(clgrad.ones(2), "exact"), ValueError, "'none' or 'tanh'"),
    (lambda: clgrad.one_hot(clgrad.tensor([0]), 0), TypeError, "at least 1"),
    (lambda: clgrad.max(clgrad.ones(2, 2), (0, 1)), TypeError, "use amax"),
])
def test_bad_input_is_refused_at_the_call(call, error: type, message: str, device) -> None:
    with pytest.raises(error, match=message):
        call()
    assert (clgrad.ones(2) + 1).tolist() == [2, 2]


@pytest.mark.parametrize("call", [
    lambda i: clgrad.take(clgrad.ones(3, 2), i, 0), lambda i: clgrad.gather(clgrad.ones(3, 2), 0, i.reshape(1, 1)),
    lambda i: clgrad.one_hot(i, 3), lambda i: clgrad.zeros(3).scatter_add(0, i, clgrad.ones(1)),
    lambda i: clgrad.ones(3, 2)[i]])
def test_an_index_out_of_range_is_reported(call, device) -> None:
    """At the next synchronisation, or at the call itself under CLGRAD_CHECK."""
    for bad in (3, -4):
        out = call(clgrad.tensor([bad]))
        with pytest.raises(IndexError, match=rf"got index {bad} on axis 0 of size 3.*CLGRAD_CHECK=1"):
            clgrad.synchronize()
        out.numpy()
        with clgrad.config.override(check=True), pytest.raises(IndexError, match=f"got index {bad}"):
            call(clgrad.tensor([bad]))
    assert call(clgrad.tensor([-1])).numpy() is not None


def test_float64_on_a_device_without_it(device, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    monkeypatch.setitem(device.__dict__, "facts", dataclasses.replace(device.facts, fp64=False))
    x = clgrad.tensor([1, 2], dtype="int32")
    for call in (lambda: clgrad.zeros(3, dtype="float64"), lambda: x + clgrad.tensor([1.0, 2.0]),
                 lambda: clgrad.tensor(np.ones(2)), lambda: x.double()):
        with pytest.raises(TypeError, match="no double precision"):
            call()
    assert (x * 1.5).tolist() == [1.5, 3]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_large_results_are_written_past_the_caches(dtype: str, rng: np.random.Generator, device, monkeypatch) -> None:
    """Flat ones: whole vectors and what remains, where the target begins at a vector's boundary and where not."""
    module = kernels.template("elementwise").module
    monkeypatch.setitem(module.DEFAULT, "wide", {**module.DEFAULT["wide"], "stream": 64})
    expression = Elementwise(Expression("streamed", ("x", "y"), "x + y", lambda op, xs: (dtypes.dtype(dtype),) * 2))
    for n in (5, 16, 1000, 4096 * 16 + 7):
        x, y = (rng.integers(-99, 99, n + 3).astype(dtype) for _ in range(2))
        a, b = from_host(x), from_host(y)
        assert_close(expression(a, b), x + y)
        assert_close(expression(a[1:], b[:-1]), x[1:] + y[:-1])
        for first in (0, 3):
            target = from_host(np.zeros(n + 3, dtype))
            expression.into(target[first:], a[first:], 2)
            assert_close(target, np.concatenate((np.zeros(first, dtype), x[first:] + np.array(2, dtype))))
        expression.into(a, a, b)
        assert_close(a, x + y)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "float64"])
@pytest.mark.parametrize(("shape", "order"), [((40, 50), (1, 0)), ((17, 33, 20), (2, 1, 0)), ((5, 64, 70), (0, 2, 1)),
                                              ((100, 3, 31), (1, 2, 0)), ((16, 16), (1, 0)), ((300, 17), (1, 0))])
def test_transposed_operands_in_tiles(shape: tuple, order: tuple, dtype: str, rng: np.random.Generator, device) -> None:
    """Copies and sums of what stands on end: whole tiles, edges, reversed lines, beside broadcast operands."""
    if dtype == "float64" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    a = rng.integers(-9, 9, shape).astype(dtype)
    turned, array = a.transpose(order), from_host(a).permute(order)
    assert_close(array.contiguous(), turned, dtype=dtype)
    b = rng.integers(-9, 9, turned.shape).astype(dtype)
    assert_close(array + from_host(b), turned + b)
    assert_close(array.flip(0) + from_host(b)[:1] * 2, turned[::-1] + b[:1] * 2)
    assert_close(array.flip(-1).contiguous(), turned[..., ::-1])
    assert_close(array > 0, turned > 0)


def test_a_plan_for_small_memory_does_not_serve_a_large_target(device) -> None:
    """The index type depends on the memory written into, also where that is no operand."""
    from clgrad.ops import elementwise

    plans = elementwise._COPIES._plans
    target, value = xp.zeros((3, 11)), xp.ones((3, 11))
    elementwise.assign(target, value)
    before = len(plans)
    large = Storage.around(device, target.storage.buffer, 1 << 31)  # what a view of a block of that size would say
    elementwise.assign(Array(large, target.shape, target.strides, 0, target.dtype), value)
    assert len(plans) == before + 1
    assert_close(target, np.ones((3, 11), np.float32))


def test_lists_of_arrays_become_an_array_of_their_dtype(device) -> None:
    x = xp.asarray([[1, 2], [3, 4]], dtype="uint8")
    assert_close(xp.asarray([[x[0, 0], x[0, 1]], [x[1, 0], x[1, 1]]]), x.numpy(), dtype="uint8")
    assert_close(clgrad.tensor([x, x], dtype="float32"), np.stack([x.numpy()] * 2), dtype="float32")
    with pytest.raises(ValueError, match="nested lists of equal lengths"):
        xp.asarray([x, x[0]])
