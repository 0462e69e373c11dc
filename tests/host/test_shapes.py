"""Shape arithmetic against NumPy."""

from __future__ import annotations

from math import prod

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given

from clgrad.core import shapes
from clgrad.core.errors import ShapeError

SIZES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    """A NumPy view of an int array: permuted, sliced with steps, with broadcast axes."""
    shape = draw(SIZES)
    x = np.arange(prod(shape)).reshape(shape).transpose(draw(st.permutations(range(len(shape)))))
    keys = [slice(None, None, draw(st.sampled_from([1, 1, 2, -1]))) for _ in x.shape]
    x = x[(*keys, ...)]
    if draw(st.booleans()):
        x = np.broadcast_to(x, (2, *x.shape))
    return x


def strides_of(x: np.ndarray) -> tuple[int, ...]:
    return tuple(s // x.itemsize for s in x.strides)


@given(st.lists(SIZES, min_size=1, max_size=3))
def test_broadcast(operands: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*operands)
    except ValueError:
        with pytest.raises(ShapeError, match=r"op: got .*; expected shapes that broadcast together\. Axis -\d has"):
            shapes.broadcast("op", *operands)
        return
    assert shapes.broadcast("op", *operands) == expected


@given(views(), st.data())
def test_expand_strides(x: np.ndarray, data: st.DataObject) -> None:
    target = data.draw(SIZES) + tuple(n if n != 1 else data.draw(st.integers(1, 3)) for n in x.shape)
    got = shapes.expand_strides(x.shape, strides_of(x), target)
    expected = np.broadcast_to(x, target)
    for axis, n in enumerate(target):
        if n > 1 and expected.size:
            assert got[axis] == strides_of(expected)[axis]


@given(views())
def test_contiguity(x: np.ndarray) -> None:
    assert shapes.is_contiguous(x.shape, strides_of(x)) == x.flags.c_contiguous
    if x.size:
        assert shapes.contiguous_strides(x.shape) == strides_of(np.empty(x.shape))


@given(views())
def test_dense_order(x: np.ndarray) -> None:
    assume(x.size)
    order = shapes.dense_order(x.shape, strides_of(x))
    if order is not None:
        y = x.transpose(order)
        assert y.flags.c_contiguous


@given(views(), st.data())
def test_view_strides(x: np.ndarray, data: st.DataObject) -> None:
    """A view is given exactly where NumPy can make one, and it reads the right elements."""
    sizes = []
    left = x.size
    while left > 1 and len(sizes) < 5:
        n = data.draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0]))
        sizes.append(n)
        left //= n
    target = (*sizes, left) if left != 1 or data.draw(st.booleans()) else tuple(sizes)
    assume(prod(target) == x.size)
    got = shapes.view_strides(x.shape, strides_of(x), target)
    expected = x.reshape(target)
    copied = not np.shares_memory(x, expected) if x.size else False
    assert (got is None) == copied
    if got is not None and x.size:
        read = np.lib.stride_tricks.as_strided(x, target, [s * x.itemsize for s in got])
        np.testing.assert_array_equal(read, expected)


def walk(sizes: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """Positions visited, innermost axis last."""
    return [sum(i * s for i, s in zip(index, strides)) for index in np.ndindex(*sizes)]


@given(views(), views())
def test_collapse_visits_the_same_pairs(x: np.ndarray, y: np.ndarray) -> None:
    try:
        shape = np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return
    assume(0 not in shape)
    operands = [strides_of(np.broadcast_to(a, shape)) for a in (x, y)]
    sizes, steps = shapes.collapse(shape, *operands)
    before = sorted(zip(*(walk(shape, s) for s in operands)))
    after = sorted(zip(*(walk(sizes, s) for s in steps)))
    assert before == after
    assert len(sizes) <= max(1, len(shape))


def test_collapse_merges_what_lies_together() -> None:
    assert shapes.collapse((2, 3, 4), (12, 4, 1)) == ((24,), ((1,),))
    assert shapes.collapse((2, 1, 4), (4, 9, 1), (4, 0, 1)) == ((8,), ((1,), (1,)))
    assert shapes.collapse((), ()) == ((1,), ((0,),))
    assert shapes.collapse((2, 3), (1, 2)) == ((6,), ((1,),))


@given(views())
def test_extent(x: np.ndarray) -> None:
    low, high = shapes.extent(x.shape, strides_of(x))
    visited = walk(x.shape, strides_of(x))
    assert (low, high) == ((min(visited), max(visited)) if x.size else (0, -1))


@given(SIZES, st.data())
def test_resolve(shape: tuple[int, ...], data: st.DataObject) -> None:
    asked = tuple(-1 if data.draw(st.integers(0, 3)) == 0 else n for n in shape)
    size = data.draw(st.sampled_from([prod(shape), prod(shape) + 1]))
    try:
        expected = np.empty(size).reshape(asked).shape
    except ValueError:
        with pytest.raises(ShapeError, match=r"reshape: got .*; expected "):
            shapes.resolve("reshape", size, asked)
        return
    assert shapes.resolve("reshape", size, asked) == expected


@given(SIZES, st.data())
def test_reduced(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1))))) if shape else ()
    for keepdim in (False, True):
        assert shapes.reduced(shape, axes, keepdim) == np.empty(shape).sum(axis=axes, keepdims=keepdim).shape


def test_axes() -> None:
    assert shapes.axis_tuple("sum", None, 3) == (0, 1, 2)
    assert shapes.axis_tuple("sum", -1, 3) == (2,)
    assert shapes.axis_tuple("sum", [2, -3], 3) == (0, 2)
    assert shapes.axis_tuple("sum", 0, 0) == ()
    with pytest.raises(ShapeError, match=r"sum: got dim=\[1, -2\]; expected each axis once"):
        shapes.axis_tuple("sum", [1, -2], 3)
    with pytest.raises(ShapeError, match=r"sum: got dim='x'; expected an int"):
        shapes.axis_index("sum", "x", 3)


@pytest.mark.parametrize("kind", [IndexError, ValueError, RuntimeError])
def test_axis_out_of_range_is_caught_from_either_side(kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"sum: got dim=3; expected -3 <= dim < 3\. The array has 3 dimensions"):
        shapes.axis_index("sum", 3, 3)
