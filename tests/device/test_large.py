"""Arrays whose positions pass what 32 bits count: far strides and far offsets over one huge block, of which only the
pages written are ever real memory, and views that read few elements more than 2**31 times."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import clgrad
import clgrad.array as xp
from clgrad.core import dtypes
from clgrad.families import fancy, reduce
from clgrad.ndarray import Array, from_host
from clgrad.testing import assert_close

MOST = 3 << 30  # bytes of the block, where the device gives as many: PoCL gives 2 GiB, the last index being 2**31 - 1


@pytest.fixture(scope="module")
def blocks(both_forms) -> Iterator[dict[str, Array]]:
    """A block of bytes for each form, as large as the device gives, its contents whatever they are."""
    made = {form: xp.empty((min(d.facts.max_alloc, MOST),), dtype="int8", device=d) for form, d in both_forms.items()}
    assert all(b.size >= 1 << 31 for b in made.values()), "the device's allocations are too small for this test"
    yield made
    made.clear()
    for d in both_forms.values():
        clgrad.empty_cache(d)


@pytest.fixture(params=["wide", "many"])
def block(request: pytest.FixtureRequest, blocks, both_forms) -> Iterator[Array]:
    with both_forms[request.param]:
        yield blocks[request.param]


def _far(block: Array, host: np.ndarray) -> Array:
    """``host`` written into the block with strides as far as they go, the last element at the block's end."""
    dtype = dtypes.dtype(host.dtype)
    count = block.size // dtype.itemsize
    rows, columns = host.shape
    across = 5
    down = (count - 1 - (columns - 1) * across) // (rows - 1)
    offset = count - 1 - (rows - 1) * down - (columns - 1) * across
    view = Array(block.storage, host.shape, (down, across), offset, dtype)
    view[...] = from_host(host, None, block.device)
    return view


def _tail(block: Array, host: np.ndarray) -> Array:
    """``host`` written, contiguous, at the block's end."""
    dtype = dtypes.dtype(host.dtype)
    view = block[block.size - host.nbytes:]
    view = Array(block.storage, (host.size,), (1,), view.offset // dtype.itemsize, dtype).reshape(host.shape)
    view[...] = from_host(host, None, block.device)
    return view


INTS = np.array([[3, -5, 7], [0, 120, -2], [9, 9, -128], [1, 2, 4]], np.int8)
SUM = reduce.Reduction("sum", "a + b", "0", lambda d: (dtypes.int64, dtypes.int64))
FLOATS = np.array([[0.5, -2, 3], [1, 7, -1], [0, 2, 2.5], [4, 4, -6]], np.float32)


def test_elementwise(block: Array) -> None:
    x = _far(block, INTS)
    assert_close(x, INTS)
    assert_close(x + x.T[:3, :3].T[0], INTS + INTS[0])
    assert_close(x.flip(0) * 2, INTS[::-1] * np.int8(2))
    assert_close(x > 2, INTS > 2)
    x += 1
    assert_close(x.T.contiguous(), INTS.T + np.int8(1))
    assert_close(_tail(block, FLOATS).exp(), np.exp(FLOATS))


def test_reductions(block: Array) -> None:
    x = _far(block, INTS)
    for dim in (None, 0, 1):
        assert_close(x.sum(dim), INTS.sum(dim))
        assert_close(x.amax(dim), INTS.max(dim))
        assert_close(x.argmin(dim), INTS.argmin(dim))
    assert_close(_tail(block, FLOATS).mean(0), FLOATS.mean(0))
    assert_close(_tail(block, FLOATS).argmax(1), FLOATS.argmax(1))


def test_indexing(block: Array) -> None:
    x = _far(block, INTS)
    rows, columns = np.array([3, 0, 2, 0]), np.array([-1, 1, 0, 2])
    i, j = from_host(rows), from_host(columns)
    assert_close(x[i, j], INTS[rows, columns])
    assert_close(x[:, j], INTS[:, columns])
    assert_close(x[x > 2], INTS[INTS > 2])
    assert_close(x.take(i, 0), INTS[rows])
    assert_close(x.gather(0, i.reshape(4, 1)), INTS[rows[:, None], [0]])
    host = INTS.copy()
    x[i, j] = -1
    host[rows, columns] = -1
    assert_close(x, host)
    x.index_put_((i, j), from_host(np.array(2, np.int8)), accumulate=True)
    np.add.at(host, (rows, columns), 2)
    assert_close(x, host)
    fancy.put_along("scatter", x, i[:3].reshape(1, 3), from_host(np.array([[5, 6, 7]], np.int8)), 0)
    np.put_along_axis(host, rows[None, :3], np.array([[5, 6, 7]], np.int8), 0)
    assert_close(x, host)
    assert_close(_tail(block, INTS).scatter_add(0, i.reshape(4, 1), xp.ones((4, 1), dtype="int8")),
                 INTS + np.bincount(rows, minlength=4).astype(np.int8)[:, None] * np.array([1, 0, 0], np.int8))


def test_positions_beyond_32_bits(block: Array) -> None:
    """Index arrays that name elements of the whole block, read and written."""
    n = block.size
    at = [0, 1, (1 << 30) + 7, (1 << 31) - 3, n - 1, -2]
    host = np.array([3, 1, 4, 1, 5, 9], np.int8)
    index, values = from_host(np.array(at)), from_host(host)
    block[index] = values
    assert_close(block[index], host)
    assert_close(block.take(index, 0), host)
    assert_close(block.gather(0, index), host)
    assert [block[a].item() for a in at] == host.tolist()
    fancy.put_along("scatter", block, index, values.flip(0), 0)
    assert_close(block[index], host[::-1])
    block.index_put_((index,), values, accumulate=True)
    assert_close(block[index], host + host[::-1])
    pages = block[:n // 4096 * 4096].reshape(-1, 4096)
    page, place = (from_host(part) for part in divmod(np.array(at) % n, 4096))
    assert_close(pages[page, place], host + host[::-1])
    with pytest.raises(IndexError, match=f"got index {n} on axis 0 of size {n}"), clgrad.config.override(check=True):
        block[from_host(np.array([n]))]


def test_scans_sorts_softmax_products_at_a_far_offset(block: Array) -> None:
    ints = _tail(block, INTS)
    assert_close(ints.cumsum(1), INTS.cumsum(1))
    assert_close(ints.cumsum(0), INTS.cumsum(0))
    assert_close(ints.sort(1)[0], np.sort(INTS, 1))
    assert_close(ints.argsort(0), np.argsort(INTS, 0, stable=True))
    assert_close(ints @ ints.T, INTS @ INTS.T)
    line = _tail(block, np.sort(INTS.ravel()))
    assert_close(xp.searchsorted(line, from_host(INTS)), np.searchsorted(np.sort(INTS.ravel()), INTS))
    floats = _tail(block, FLOATS)
    exps = np.exp(FLOATS.astype(np.float64))
    assert_close(floats.softmax(1), (exps / exps.sum(1, keepdims=True)).astype(np.float32))
    assert_close(floats.softmax(0), (exps / exps.sum(0)).astype(np.float32))
    assert_close(floats @ floats.T, FLOATS @ FLOATS.T)
    far = _far(block, FLOATS)
    assert_close(far @ far.T, FLOATS @ FLOATS.T)
    assert_close(far.T @ far, FLOATS.T @ FLOATS)
    assert_close(far @ far[0], FLOATS @ FLOATS[0])
    assert_close(far.softmax(1), (exps / exps.sum(1, keepdims=True)).astype(np.float32))


def test_a_sum_of_more_elements_than_32_bits_count(both_forms) -> None:
    with both_forms["wide"]:
        assert from_host(np.array([3], np.int8)).expand(2**31 + 5).sum().item() == 3 * (2**31 + 5)


@pytest.mark.parametrize("shape", [(2**31 + 5,), (2, 2**30 + 5)])
def test_elements_read_more_often_than_32_bits_count(shape: tuple[int, ...], form) -> None:
    """No element is twice in memory here, but positions in the view are what kernels count."""
    base = from_host(np.array([[1], [3]], np.int8)[:len(shape)])
    view = base.expand(shape) if len(shape) > 1 else base.reshape(1).expand(shape)
    assert view.size > 2**31
    ones = np.array([1, 3])[:len(shape)]
    for plan in (reduce.Reduce(SUM)._plan(view, None, False, None),
                 reduce.ArgReduce("argmax", ">")._plan(view, None, False)):
        assert "l" in plan.stages[0].kernel.signature[:4]  # it would take seconds to run each
    at = np.array([0, shape[-1] - 1, -shape[-1]])
    assert_close(view[..., from_host(at)], np.repeat(ones[:, None] if len(shape) > 1 else ones, 3, -1).astype(np.int8))
    index = from_host(at).expand((*shape[:-1], 3))
    assert view.gather(-1, index).sum().item() == 3 * ones.sum()
    assert view[..., -1].tolist() == (1 if len(shape) == 1 else [1, 3])
    assert view[..., ::2**29].shape == (*shape[:-1], -(-shape[-1] // 2**29))
    assert_close(view[..., ::2**29] + view[..., ::2**29], np.broadcast_to(
        2 * ones[:, None] if len(shape) > 1 else 2 * ones, (*shape[:-1], -(-shape[-1] // 2**29))).astype(np.int8))


def test_more_than_the_device_gives_is_a_clear_error(device) -> None:
    most = device.facts.max_alloc
    for make in (lambda: xp.empty((most + 1,), dtype="int8"), lambda: xp.zeros((most // 4 + 1,)),
                 lambda: xp.ones(1).expand(most).clone()):
        with pytest.raises(MemoryError, match=rf"asked [\d,]+ bytes.*one array may have {most:,} bytes.*parts of it"):
            make()
    assert (xp.ones(2) + 1).tolist() == [2, 2]


def test_the_largest_allocation_is_given(device) -> None:
    """Also where the pool's rounding would go beyond it."""
    before = device.memory_stats()["active"]
    x = xp.empty((device.facts.max_alloc,), dtype="int8")
    assert device.memory_stats()["active"] - before == x.size
    x[-1] = 7
    assert x[-3:].numpy()[-1] == 7
    del x
    assert device.memory_stats()["active"] == before
