"""Properties that hold for any shape, stride, broadcast and index, drawn by hypothesis and told by NumPy.

One dtype and one op a family: what varies here is where elements lie, not what is computed with them.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import clgrad
from clgrad import array as xp
from clgrad.ndarray import Array, from_host

# The same examples in every run: a failure must not depend on when the tests ran.
FIXED = settings(max_examples=80, deadline=None, derandomize=True, database=None,
                 suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.int32).reshape(shape)


@st.composite
def slices(draw, shape: tuple[int, ...]) -> tuple:
    """A basic index: slices of either direction, ints, new axes, an ellipsis."""
    return draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True, max_dims=4))


@st.composite
def views(draw, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, Array]:
    """A NumPy array and the same view of the same numbers on the device: axes permuted, then sliced."""
    shape = draw(SHAPES) if shape is None else shape
    host = _numbers(shape)
    array = from_host(host)
    axes = tuple(draw(st.permutations(range(len(shape)))))
    host, array = host.transpose(axes), xp.permute_dims(array, axes)
    key = draw(slices(host.shape))
    return host[key], array[key]


def _same(actual: Array, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual.numpy(), expected)


@FIXED
@given(views())
def test_a_view_is_numpys(pair) -> None:
    host, array = pair
    _same(array, host)
    _same(xp.asarray(array, copy=True), host)
    assert array.is_contiguous() == (host.flags.c_contiguous or host.size == 0)


@FIXED
@given(st.data())
def test_operands_of_any_strides_broadcast(data) -> None:
    found = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4))
    (a, x), (b, y) = (data.draw(views(s)) for s in found.input_shapes)
    try:
        expected = a * 3 - b
    except ValueError:  # slicing made them unequal
        with np.testing.assert_raises(clgrad.errors.ShapeError):
            x * 3 - y
        return
    _same(x * 3 - y, expected)


@FIXED
@given(st.data())
def test_reductions_over_any_axes(data) -> None:
    host, array = data.draw(views())
    axes = data.draw(st.none() | st.sets(st.integers(0, max(host.ndim - 1, 0)), max_size=host.ndim).map(tuple))
    keep = data.draw(st.booleans())
    _same(xp.sum(array, axis=axes, keepdims=keep), host.sum(axes, keepdims=keep))
    if host.size:
        _same(xp.max(array, axis=axes, keepdims=keep), host.max(axes, keepdims=keep))


@FIXED
@given(st.data())
def test_reshaping_keeps_the_order(data) -> None:
    host, array = data.draw(views())
    flat = xp.reshape(array, (-1,))
    _same(flat, host.reshape(-1))
    divisors = [n for n in range(1, host.size + 1) if host.size % n == 0] or [1]
    n = data.draw(st.sampled_from(divisors))
    if host.size:
        _same(xp.reshape(array, (n, -1)), host.reshape(n, -1))


@st.composite
def advanced(draw, shape: tuple[int, ...]) -> tuple:
    """An index of integer arrays, masks, slices and ints, mixed as NumPy allows."""
    common = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    key: list = []
    axis = 0
    while axis < len(shape):
        kind = draw(st.sampled_from(["rows", "slice", "int", "mask"]))
        n = shape[axis]
        if kind == "mask" and not any(isinstance(k, np.ndarray) for k in key):
            key.append(draw(hnp.arrays(np.bool_, (n,))))
        elif kind == "rows" and n and not any(isinstance(k, np.ndarray) and k.dtype == bool for k in key):
            key.append(draw(hnp.arrays(np.int64, common, elements=st.integers(-n, n - 1))))
        elif kind == "int" and n:
            key.append(draw(st.integers(-n, n - 1)))
        else:
            key.append(draw(st.slices(n)))
        axis += 1
        if draw(st.booleans()) and draw(st.booleans()):
            break
    return tuple(key)


def _on_device(key: tuple) -> tuple:
    return tuple(from_host(k) if isinstance(k, np.ndarray) else k for k in key)


@FIXED
@given(st.data())
def test_reading_at_any_index(data) -> None:
    host, array = data.draw(views())
    key = data.draw(advanced(host.shape))
    _same(array[_on_device(key)], host[key])


@FIXED
@given(st.data())
def test_writing_at_any_index(data) -> None:
    """Every element of the base is compared, so that a write beside its target shows. Of repeated rows the last
    write counts, which NumPy does not promise but does."""
    shape = data.draw(SHAPES)
    base = _numbers(shape)
    whole = from_host(base)
    region = data.draw(slices(shape))
    host, array = base[region], whole[region]
    key = data.draw(advanced(array.shape))
    values = -_numbers(np.broadcast_shapes(np.shape(host[key])))
    if data.draw(st.booleans()):
        values = np.int32(-7)
    if isinstance(host, np.ndarray):
        host[key] = values
        array[_on_device(key)] = from_host(values) if isinstance(values, np.ndarray) else int(values)
    _same(whole, base)


@FIXED
@given(st.data())
def test_overlapping_writes_are_numpys(data) -> None:
    n = data.draw(st.integers(2, 40))
    host = _numbers((n,))
    array = from_host(host)
    length = data.draw(st.integers(1, n // 2))
    step = data.draw(st.sampled_from([1, 2, -1]))
    sources = [slice(a, None, step) for a in range(n)]
    fitting = [s for s in sources if len(range(*s.indices(n))) >= length]
    to, source = data.draw(st.sampled_from(fitting)), data.draw(st.sampled_from(fitting))
    host[to][:length] = host[source][:length].copy() + 100
    target = array[to][:length]
    target[...] = array[source][:length] + 100
    _same(array, host)
    host[to][:length] += host[source][:length].copy()
    target += array[source][:length]
    _same(array, host)


@FIXED
@given(st.data())
def test_sorting_along_any_axis(data) -> None:
    host, array = data.draw(views())
    if host.ndim == 0:
        return
    axis = data.draw(st.integers(-host.ndim, host.ndim - 1))
    _same(xp.cumulative_sum(array, axis=axis), np.cumsum(host, axis, dtype=np.int64))
    _same(xp.sort(array % 3, axis=axis), np.sort(host % 3, axis))
    _same(xp.argsort(array % 3, axis=axis), np.argsort(host % 3, axis, kind="stable"))


@FIXED
@given(st.data())
def test_joining_views(data) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    hosts, arrays = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        own = tuple(data.draw(st.integers(0, 4)) if a == axis else n for a, n in enumerate(shape))
        host = _numbers(own[::-1])
        hosts.append(host.T)
        arrays.append(from_host(host).T)
    _same(xp.concat(arrays, axis=axis), np.concatenate(hosts, axis))
