"""Indexing by arrays and masks: reading and writing are NumPy's, gradients are right, errors name the place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import clgrad
from clgrad import Variable
from clgrad.ndarray import Array, from_host
from clgrad.testing import assert_close, gradcheck

EXAMPLES = settings(max_examples=60, deadline=None)


def _ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@st.composite
def mixed_keys(draw, shape: tuple[int, ...]) -> tuple:
    """A key of ints, slices, None, an ellipsis and index arrays (or one mask) that broadcast together."""
    target = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    key, axis = [], 0
    stop = draw(st.integers(1, len(shape)))
    while axis < stop:
        kind = draw(st.sampled_from(["array", "array", "int", "slice", "mask"]))
        size = shape[axis]
        if kind == "array":
            part = tuple(draw(st.sampled_from([n, 1])) for n in target[draw(st.integers(0, len(target))):])
            key.append(draw(hnp.arrays(np.int64, part, elements=st.integers(-size, size - 1))))
        elif kind == "mask" and not any(isinstance(k, np.ndarray) for k in key):
            key.append(draw(hnp.arrays(bool, (size,))))
            target = (int(key[-1].sum()),)
        elif kind == "int":
            key.append(draw(st.integers(-size, size - 1)))
        else:
            key.append(draw(st.slices(size)))
        if draw(st.integers(0, 4)) == 0:
            key.append(None)
        axis += 1
    if draw(st.booleans()):  # the rest of the axes, before one of the parts
        at = draw(st.integers(0, len(key)))
        tail = key[at:]
        if stop == len(shape) or not tail:
            key.insert(at, Ellipsis)
    return tuple(key)


def _device_key(key: tuple) -> tuple:
    """The same key with every second array on the device."""
    return tuple(from_host(k) if isinstance(k, np.ndarray) and i % 2 == 0 else k for i, k in enumerate(key))


@given(st.data())
@EXAMPLES
def test_reading_is_numpys(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    key = data.draw(mixed_keys(shape))
    host = _ramp(*shape)
    try:
        expected = host[key]
    except IndexError:  # parts that do not broadcast together
        with pytest.raises((IndexError, ValueError)):
            from_host(host)[_device_key(key)]
        return
    assert_close(from_host(host)[_device_key(key)], expected, message=str(key))
    turned = from_host(np.ascontiguousarray(host.T)).T
    assert_close(turned[_device_key(key)], expected, message=f"{key}, transposed memory")


@given(st.data())
@EXAMPLES
def test_writing_is_numpys(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    key = data.draw(mixed_keys(shape))
    host = _ramp(*shape)
    try:
        part = host[key].shape
    except IndexError:
        return
    values = 100 + _ramp(*(data.draw(st.sampled_from([n, 1])) for n in part[data.draw(st.integers(0, len(part))):]))
    for array in (from_host(host), from_host(np.ascontiguousarray(host.T)).T):
        expected = host.copy()
        expected[key] = values
        array[_device_key(key)] = from_host(values)
        assert_close(array, expected, message=str(key))
        array[_device_key(key)] = 7
        expected[key] = 7
        assert_close(array, expected, message=str(key))


@given(st.data())
@EXAMPLES
def test_integer_arrays_are_numpys(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    key = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(min_dims=0, max_dims=2)))
    host = _ramp(*shape)
    assert_close(from_host(host)[tuple(map(from_host, key))], host[key])
    added = host.copy()
    np.add.at(added, key, 2)
    assert_close(from_host(host).index_put(key, 2, accumulate=True), added)


@given(st.data())
@EXAMPLES
def test_basic_keys_stay_views(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    array = from_host(_ramp(*shape))
    assert array[key].storage is array.storage


@given(st.data())
@EXAMPLES
def test_masks_are_numpys(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    rank = data.draw(st.integers(1, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[:rank]))
    host = _ramp(*shape)
    expected = host[mask]
    for m in (mask, from_host(mask), Variable(from_host(mask))):
        assert_close(from_host(host)[m], expected)
    for values in (-1.0, 100 + _ramp(*expected.shape), 100 + _ramp(*shape[rank:])):
        array, written = from_host(host), host.copy()
        written[mask] = values
        array[from_host(mask)] = from_host(values) if isinstance(values, np.ndarray) else values
        assert_close(array, written)


def test_masks_of_no_dimensions_and_mixtures(device) -> None:
    host = _ramp(3, 4)
    x = clgrad.tensor(host)
    for key in (True, False, np.array([True, False, True]), (np.array([True, False, True]), [1, 2]),
                (slice(None), np.array([True, False, False, True])), (None, [0, 1], ..., 2), ([0, 2], None, [1, 3]),
                (np.int64(1), [2, 0]), [], [[]], range(2), (0, None, [0]), [True, False, True]):
        assert_close(x[key], host[key], message=str(key))
    assert x[clgrad.tensor(1)].tolist() == host[1].tolist()
    assert x[clgrad.tensor(1), clgrad.tensor([0, -1])].tolist() == host[1, [0, -1]].tolist()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_the_last_write_stays_and_sums_are_in_order(dtype: str, device, rng) -> None:
    index = rng.integers(0, 40, 3000)
    values = rng.integers(0, 9, 3000).astype(dtype)
    host = np.zeros(40, dtype)
    for out in (clgrad.tensor(host).index_put((index,), from_host(values)),
                clgrad.tensor(host).index_put_((index,), from_host(values))):
        expected = host.copy()
        expected[index] = values
        assert_close(out, expected, dtype=dtype)
    for out in (clgrad.tensor(host).index_put((index,), from_host(values), accumulate=True),
                clgrad.tensor(host).index_put_((index,), from_host(values), True)):
        expected = host.copy()
        np.add.at(expected, index, values)
        assert_close(out, expected, dtype=dtype)


def test_writing_forms(device) -> None:
    host = _ramp(4, 3)
    index, source = np.array([3, 0]), 50 + _ramp(2, 3)

    def check(name: str, *args: object) -> None:
        expected = getattr(clgrad.tensor(host), name)(*args).numpy()
        x = clgrad.tensor(host)
        assert getattr(x, name + "_")(*args) is x
        assert_close(x, expected, message=name)

    copied, added = host.copy(), host.copy()
    copied[index] = source
    added[index] += 2 * source
    at, rows = clgrad.tensor(index), clgrad.tensor(source)
    assert_close(clgrad.index_copy(clgrad.tensor(host), 0, at, rows), copied)
    assert_close(clgrad.index_add(clgrad.tensor(host), 0, at, rows, alpha=2), added)
    check("index_copy", 0, at, rows)
    check("index_add", 0, at, rows)
    check("index_fill", 1, at.clamp(max=2), 8)
    check("masked_fill", clgrad.tensor(host) > 5, -1)
    check("scatter", 1, clgrad.tensor([[0, 2], [1, 1]]), 9)
    check("scatter", 1, clgrad.tensor([[0, 2], [1, 1]]), clgrad.tensor([[1.0, 2.0], [3.0, 4.0]]))
    check("scatter_add", 1, clgrad.tensor([[0, 2], [1, 1]]), clgrad.tensor([[1.0, 2.0], [3.0, 4.0]]))
    x = clgrad.tensor(host)
    x.scatter_(1, clgrad.tensor([[0, 0]]), clgrad.tensor([[5.0, 6.0]]), reduce="add")
    assert x[0].tolist() == [11, 1, 2]
    x[[0, 1], [1, 2]] += 1
    assert x[0, 1].item() == 2
    assert clgrad.masked_select(clgrad.tensor(host), clgrad.tensor([True, False, True])).tolist() == [
        0, 2, 3, 5, 6, 8, 9, 11]
    overlap = clgrad.tensor(host)
    overlap[[0, 1]] = overlap[1:3]
    written = host.copy()
    written[[0, 1]] = host[1:3]
    assert_close(overlap, written)


@pytest.mark.parametrize("f", [
    lambda x, v: x[[0, 2, 0], :, [1, 1, -1]] * v[:, :2],
    lambda x, v: x[:, clgrad.tensor([1, 1, 0])].sum(-1) * v,
    lambda x, v: x[1, ::-1, [[0, 3], [3, 3]]],
    lambda x, v: x[np.array([True, False, True])],
    lambda x, v: x.index_put(([0, 2, 0], slice(None), [1, 1, 1]), v[:, :2]) ** 2,
    lambda x, v: x.index_put(([0, 2, 0], slice(None), [1, 1, 1]), v[:, :2], accumulate=True) ** 2,
    lambda x, v: x.index_add(2, clgrad.tensor([1, 1, 0]), v.unsqueeze(1).expand(3, 2, 3)) ** 2,
    lambda x, v: x[:, 0].scatter(1, clgrad.tensor([[0, 3, 0], [1, 1, 2]]), v) ** 2,
    lambda x, v: x[:, :, :3].masked_fill(v.unsqueeze(1) > 0, 0.5) ** 2,
    lambda x, v: clgrad.masked_select(x, x > 0) ** 2,
])
def test_gradients(f, device, rng) -> None:
    if not device.facts.fp64:
        pytest.skip("finite differences need float64")
    x = Variable(from_host(rng.uniform(0.1, 1, (3, 2, 4)) * rng.choice([-1, 1], (3, 2, 4))), requires_grad=True)
    gradcheck(f, [x, Variable(from_host(rng.uniform(0.1, 1, (3, 3)) * rng.choice([-1, 1], (3, 3))),
                              requires_grad=True)])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: x[[0, 5]], IndexError, "got 5 for axis 0; expected -4 <= index < 4"),
    (lambda x: x[:, [-4]], IndexError, "got -4 for axis 1; expected -3 <= index < 3"),
    (lambda x: x[[0.5]], IndexError, "array of float64 for axis 0"),
    (lambda x: x[clgrad.tensor([0.5])], TypeError, "integer array"),
    (lambda x: x[[0], [0], [0]], IndexError, "3 indices"),
    (lambda x: x[[0, 1], [0, 1, 2]], ValueError, "broadcast"),
    (lambda x: x[clgrad.tensor([True, False])], IndexError, r"mask of shape \(2,\) for axes of sizes \(4,\)"),
    (lambda x: x[..., [0], ...], IndexError, "two ellipses"),
    (lambda x: x.__setitem__([0, 1], clgrad.ones(5)), ValueError, "broadcast"),
    (lambda x: x.__setitem__([0, 1], np.ones(3)), TypeError, r"clgrad.tensor\(\)"),
    (lambda x: x.index_put((slice(1), [0]), 1.0), TypeError, "slices"),
    (lambda x: x.index_add(0, clgrad.tensor([0]), clgrad.ones(2, 3)), ValueError, "slice an index"),
    (lambda x: x.index_add(0, clgrad.tensor([0]), clgrad.ones(1, 3).double()), TypeError, "dtype"),
    (lambda x: x.scatter(0, clgrad.tensor([[0]])), TypeError, "neither"),
    (lambda x: x.int().masked_fill(x > 0, 0.5), TypeError, "0.5"),
    (lambda x: x.requires_grad_().index_put_(([0],), 1.0), RuntimeError, "no_grad"),
    (lambda x: x.requires_grad_().__setitem__([0], 1.0), RuntimeError, "no_grad"),
    (lambda x: x.requires_grad_().masked_fill_(x > 0, 1.0), RuntimeError, "no_grad"),
])
def test_bad_input_is_refused(call, error: type, message: str, device) -> None:
    with pytest.raises(error, match=message):
        call(clgrad.ones(4, 3))


@pytest.mark.parametrize("call", [
    lambda i: clgrad.ones(2, 3)[:, i], lambda i: clgrad.ones(2, 3)[[0], i], lambda i: clgrad.ones(2, 3)[0, i],
    lambda i: clgrad.ones(2, 3).__setitem__((slice(None), i), 1.0),
    lambda i: clgrad.ones(2, 3).scatter(1, i.reshape(1, 1), 1.0)])
def test_an_index_out_of_range_on_the_device_is_reported(call, device) -> None:
    for wrong in (3, -4):
        call(clgrad.tensor([wrong]))
        with pytest.raises(IndexError, match=rf"got index {wrong} on axis 1 of size 3"):
            clgrad.synchronize()
        with clgrad.config.override(check=True), pytest.raises(IndexError, match=f"got index {wrong}"):
            call(clgrad.tensor([wrong]))


def test_arrays_and_variables_alike(device) -> None:
    x = from_host(_ramp(3, 4))
    assert isinstance(x[[0]], Array)
    assert isinstance(Variable(x)[[0]], Variable)
    assert isinstance(x[Variable(from_host(np.array([0])))], Array)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex128"])
@pytest.mark.parametrize("inner", [1, 5, 40])
def test_rows_move_as_vectors(dtype: str, inner: int, form: str, device, rng) -> None:
    """Rows in groups and vectors, with what is left over; one wrong index among many spoils nothing else."""
    if dtype == "complex128" and not device.facts.fp64:
        pytest.skip("the device has no float64")
    x = rng.integers(0, 99, (50, inner)).astype(dtype)
    at = rng.integers(-50, 50, 4099)
    given, index = from_host(x), from_host(at)
    values = rng.integers(0, 99, (4099, inner)).astype(dtype)
    expected = x.copy()
    expected[at] = values
    np.testing.assert_array_equal(clgrad.take(given, index, 0).numpy(), x[at])
    np.testing.assert_array_equal(given[index, :].numpy(), x[at])
    np.testing.assert_array_equal(clgrad.index_put(given, (index,), from_host(values)).numpy(), expected)
    along = from_host(at.astype(np.int32).reshape(1, -1).repeat(3, 0))
    np.testing.assert_array_equal(clgrad.gather(from_host(x[:, 0].reshape(1, -1).repeat(3, 0)), 1, along).numpy(),
                                  x[at, 0].reshape(1, -1).repeat(3, 0))
    at[2050] = 50
    found = clgrad.take(given, from_host(at), 0)
    with pytest.raises(IndexError, match="index 50 on axis 0 of size 50"):
        clgrad.synchronize()
    at[2050] = 0
    correct = x[at]
    correct[2050] = 0
    np.testing.assert_array_equal(found.numpy(), correct)


@pytest.mark.parametrize(("dtype", "accumulate"), [
    ("uint8", False), ("int16", True), ("float32", True), ("float64", False), ("complex64", True),
    ("complex128", False)])
@pytest.mark.parametrize(("inner", "rows"), [(1, 70001), (1, 3), (5, 700), (40, 9)])
def test_a_long_index_keeps_its_order(dtype: str, accumulate: bool, inner: int, rows: int, device, rng) -> None:
    """Listed by buckets on wide cores: values along with their rows, or positions. A wrong index touches nothing."""
    if dtype in ("float64", "complex128") and not device.facts.fp64:
        pytest.skip("the device has no float64")
    shape = (rows, inner) if inner > 1 else (rows,)
    at = rng.integers(-rows, rows, 20011)
    x, values = rng.standard_normal(shape) * 40, rng.standard_normal((len(at), *shape[1:])) * 40
    x, values = x.astype(np.int8).astype(dtype), values.astype(np.int8).astype(dtype)
    given = from_host(x)
    at[777] = rows
    found = clgrad.index_put(given, (from_host(at),), from_host(values), accumulate)
    with pytest.raises(IndexError, match=f"index {rows} on axis 0 of size {rows}"):
        clgrad.synchronize()
    at, values = np.delete(at, 777), np.delete(values, 777, 0)
    if accumulate:
        np.add.at(x, at, values)
    else:
        x[at] = values
    np.testing.assert_array_equal(found.numpy(), x)


def test_large_rows_are_written_past_the_caches(device, rng) -> None:
    x = rng.standard_normal((4200, 1024), np.float32)
    at = np.append(rng.permutation(4200), [5, 5])
    values = rng.standard_normal((len(at), 1024), np.float32)
    given, index = from_host(x), from_host(at)
    np.testing.assert_array_equal(clgrad.take(given, index, 0).numpy(), x[at])
    np.testing.assert_array_equal(given[index, :].numpy(), x[at])
    for start in (0, 1):  # a part of the rows, which is not aligned
        expected = x.copy()
        expected[at, start:1008 + start] = values[:, start:1008 + start]
        found = given.clone()
        found[:, start:1008 + start][index] = from_host(values[:, start:1008 + start].copy())
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("shape", [(16, 16), (100, 50), (3, 70, 300), (2048, 2064)])
def test_transposed_copies(shape, form: str, device, rng) -> None:
    x = rng.integers(0, 1 << 20, shape).astype(np.float32)
    given, expected = from_host(x), np.swapaxes(x, -1, -2)
    np.testing.assert_array_equal(given.mT.contiguous().numpy(), expected)
    np.testing.assert_array_equal((given.mT + given.mT.contiguous()[..., :1]).numpy(), expected + expected[..., :1])


@pytest.mark.parametrize(("shape", "index_shape", "axis"), [
    ((50000,), (20000,), 0), ((1, 30000), (1, 5000), 1), ((3, 70000), (2, 9000), 1), ((70000, 3), (9000, 2), 0),
    ((2, 1100000), (2, 3000), 1), ((300, 250), (300, 240), 0), ((5, 140, 130), (4, 135, 130), 1)],
    ids=["listed", "one line", "few lines", "few columns", "long lines", "turned", "turned in the middle"])
def test_long_indices_along_an_axis(shape, index_shape, axis, device, rng) -> None:
    """Listed by buckets, or with the axis turned to the end: the last of equals stays, sums take all, errors name the
    axis that was given."""
    x, src = rng.integers(-9, 9, shape).astype(np.float32), rng.integers(-9, 9, index_shape).astype(np.float32)
    index = rng.integers(0, shape[axis] // 2, index_shape)  # some at least come more than once
    grid = [*np.indices(index_shape, sparse=True)]
    grid[axis] = index
    added, put = x.copy(), x.copy()
    np.add.at(added, tuple(grid), src)
    put[tuple(grid)] = src  # NumPy lets the last one stay, too
    signed = np.where(rng.random(index_shape) < 0.5, index, index - shape[axis])
    source = from_host(np.pad(src, 1))[tuple(slice(1, 1 + n) for n in index_shape)]
    for array in (from_host(x), from_host(np.ascontiguousarray(x.T)).T):
        assert_close(array.scatter_add(axis, from_host(signed), source), added)
        assert_close(array.scatter(axis, from_host(signed.astype(np.int32)), source), put)
        assert_close(array.gather(axis, from_host(signed)), x[tuple(grid)])
    assert_close(from_host(x.astype(np.float16)).scatter_add(axis, from_host(index), source.to("float16")),
                 added.astype(np.float16))
    index.reshape(-1)[-1] = shape[axis]
    for f in (lambda i: from_host(x).scatter_add(axis, i, source), lambda i: from_host(x).gather(axis, i)):
        f(from_host(index))
        with pytest.raises(IndexError, match=f"{shape[axis]}.*axis {axis}|axis {axis}.*{shape[axis]}"):
            clgrad.synchronize()


@pytest.mark.parametrize(("shape", "axis"), [((700,), 0), ((700, 19), 0), ((3, 130, 8), 1)],
                         ids=["values", "positions", "in the middle"])
def test_a_gradient_of_rows_is_zero_where_none_is_read(shape: tuple[int, ...], axis: int, form: object) -> None:
    """Also in memory that was in use before, which a long index clears bucket by bucket."""
    rng = np.random.default_rng(3)
    at = 2 * rng.integers(0, shape[axis] // 2, 5000)
    g = rng.standard_normal((*shape[:axis], at.size, *shape[axis + 1:])).astype(np.float32)
    expected = np.zeros(shape)
    np.add.at(expected, (*[slice(None)] * axis, at), g.astype(np.float64))
    x = clgrad.zeros(shape, requires_grad=True)
    out = clgrad.take(x, from_host(at), axis)
    used = clgrad.full(shape, float("nan"))
    del used
    out.backward(from_host(g))
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-4, atol=1e-4)
