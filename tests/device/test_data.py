"""TensorDataset, DataLoader, collation: every sample once, on the device without host copies, threads that end."""

from __future__ import annotations

import threading
import time
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import Variable
from clgrad.core.errors import ShapeError
from clgrad.utils.data import DataLoader, Dataset, TensorDataset, default_collate

Pair = namedtuple("Pair", "x y")


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("clgrad-data")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert _threads() == []


class Squares(Dataset):
    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.count = count
        self.fail_at = fail_at
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple:
        if index == self.fail_at:
            raise KeyError(f"sample {index} is missing")
        self.fetched.append(index)
        return np.full(2, index, np.float32), index**2


def _columns(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3), np.arange(count)


def _dataset(kind: str, count: int) -> TensorDataset:
    """The same samples on the device or on the host."""
    x, y = _columns(count)
    if kind == "device":
        return TensorDataset(clgrad.tensor(x), clgrad.tensor(y).data)
    return TensorDataset(x, y)


@pytest.mark.parametrize("kind", ["device", "host"])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (12, 4), (3, 8), (0, 4)])
def test_batches_of_arrays(kind: str, drop_last: bool, shuffle: bool, count: int, batch_size: int) -> None:
    clgrad.manual_seed(3)
    loader = DataLoader(_dataset(kind, count), batch_size, shuffle, drop_last=drop_last)
    batches = list(loader)
    expected = [batch_size] * (count // batch_size) + ([] if drop_last or count % batch_size == 0 else
                                                       [count % batch_size])
    assert [len(y) for _, y in batches] == expected
    assert len(loader) == len(expected)
    x, y = _columns(count)
    seen = []
    for bx, by in batches:
        assert isinstance(bx, Variable)
        assert (bx.dtype, by.dtype) == (clgrad.float32, clgrad.int64)
        np.testing.assert_array_equal(bx.numpy(), x[by.numpy()])
        seen += by.tolist()
    assert len(set(seen)) == len(seen) == sum(expected)
    if not shuffle:
        assert seen == y.tolist()[:len(seen)]


@pytest.mark.parametrize("kind", ["device", "host"])
def test_shuffling_follows_the_seed_and_changes_each_epoch(kind: str) -> None:
    loader = DataLoader(_dataset(kind, 50), 8, shuffle=True)

    def epoch() -> list[int]:
        return [i for _, y in loader for i in y.tolist()]

    clgrad.manual_seed(5)
    first, second = epoch(), epoch()
    clgrad.manual_seed(5)
    assert epoch() == first
    assert first != second
    assert first != sorted(first)


def test_a_generator_of_its_own() -> None:
    def order(seed: int) -> list[int]:
        generator = clgrad.Generator().manual_seed(seed)
        return [i for _, y in DataLoader(_dataset("device", 50), 8, True, generator=generator) for i in y.tolist()]

    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize("shuffle", [False, True])
def test_data_on_the_device_makes_no_host_copy(shuffle: bool, device) -> None:
    dataset = _dataset("device", 100)
    device.copies.reset()
    batches = list(DataLoader(dataset, 16, shuffle))
    assert (device.copies.to_device, device.copies.to_host) == (0, 0)
    assert len(batches) == 7
    batches[0][0].add_(1000.0)  # a batch is its own memory
    np.testing.assert_array_equal(dataset.tensors[0].numpy(), _columns(100)[0])


def test_host_batches_cost_one_copy_a_tensor(device) -> None:
    loader = DataLoader(_dataset("host", 10), 5)
    device.copies.reset()
    assert len(list(loader)) == 2
    assert (device.copies.to_device, device.copies.to_host) == (4, 0)


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("workers", [0, 3])
def test_any_dataset(prefetch: int, workers: int) -> None:
    loader = DataLoader(Squares(11), 4, num_workers=workers, prefetch=prefetch)
    for _ in range(2):
        batches = list(loader)
        assert [y.tolist() for _, y in batches] == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81, 100]]
        assert batches[2][0].tolist() == [[8, 8], [9, 9], [10, 10]]
        assert batches[0][0].dtype is clgrad.float32


def test_lists_and_single_samples() -> None:
    assert [b.tolist() for b in DataLoader([3, 1, 2], 2)] == [[3, 1], [2]]
    assert [b.item() for b in DataLoader([3, 1, 2], batch_size=None)] == [3, 1, 2]
    assert len(DataLoader([3, 1, 2], batch_size=None)) == 3
    assert list(DataLoader(["a", "b"], 2)) == [["a", "b"]]


@pytest.mark.parametrize("kind", ["device", "host"])
def test_samplers(kind: str) -> None:
    dataset = _dataset(kind, 10)
    loader = DataLoader(dataset, 2, sampler=[7, 1, 1])
    assert [y.tolist() for _, y in loader] == [[7, 1], [1]]
    assert len(loader) == 2
    loader = DataLoader(dataset, batch_sampler=[[1, 2, 3], [9]])
    assert [y.tolist() for _, y in loader] == [[1, 2, 3], [9]]
    assert len(loader) == 2


def test_a_collate_function_of_ones_own_gets_samples_and_is_not_touched() -> None:
    loader = DataLoader(Squares(5), 3, collate_fn=lambda samples: [y for _, y in samples])
    assert list(loader) == [[0, 1, 4], [9, 16]]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_what_a_thread_raises_reaches_the_consumer_in_its_turn(prefetch: int) -> None:
    batches = iter(DataLoader(Squares(20, fail_at=5), 2, prefetch=prefetch))
    assert [next(batches)[1].tolist() for _ in range(2)] == [[0, 1], [4, 9]]
    with pytest.raises(KeyError, match="sample 5 is missing"):
        next(batches)


def test_samples_are_fetched_ahead_but_not_without_bound() -> None:
    dataset = Squares(100)
    batches = iter(DataLoader(dataset, 1, prefetch=3))
    next(batches)
    deadline = time.monotonic() + 5
    while len(dataset.fetched) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert dataset.fetched == [0, 1, 2, 3]
    assert len(_threads()) == 1
    batches.close()


@pytest.mark.parametrize("how", ["break", "close", "drop"])
def test_an_abandoned_iteration_ends_its_thread(how: str) -> None:
    loader = DataLoader(Squares(100), 2)
    if how == "break":
        for _ in loader:
            break
    else:
        batches = iter(loader)
        next(batches)
        assert len(_threads()) == 1
        if how == "close":
            batches.close()
        del batches
    assert _threads() == []


# Collating -----------------------------------------------------------------------------------------------------------


def test_collate_keeps_structure() -> None:
    batch = default_collate([{"a": (1, 2.5), "b": Pair(np.ones(2, np.float16), True), "c": "x", "d": np.float32(3)},
                             {"a": (3, 4.5), "b": Pair(np.zeros(2, np.float16), False), "c": "y", "d": np.float32(4)}])
    assert isinstance(batch["b"], Pair)
    assert [v.tolist() for v in batch["a"]] == [[1, 3], [2.5, 4.5]]
    assert [v.dtype.name for v in (*batch["a"], *batch["b"], batch["d"])] == ["int64", "float32", "float16", "bool",
                                                                           "float32"]
    assert batch["b"].x.tolist() == [[1, 1], [0, 0]]
    assert batch["c"] == ["x", "y"]


def test_collate_stacks_on_the_device(device) -> None:
    samples = [clgrad.tensor([1.0, 2.0]), clgrad.tensor([3.0, 4.0])]
    device.copies.reset()
    batch = default_collate(samples)
    assert (device.copies.to_device, device.copies.to_host) == (0, 0)
    assert batch.tolist() == [[1, 2], [3, 4]]
    assert isinstance(default_collate([s.data for s in samples]), Variable)


@pytest.mark.parametrize(("samples", "error", "message"), [
    ([np.ones(2), np.ones(3)], ShapeError, "default_collate: got samples of shapes (2,) and (3,); expected equal"),
    ([(1, 2), (1,)], ShapeError, "default_collate: got samples of lengths 2 and 1; expected equal lengths"),
    ([object()], TypeError, "default_collate: got a sample of type object; expected arrays, numbers"),
])
def test_errors_of_collating(samples: list, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        default_collate(samples)
    assert str(caught.value).startswith(message)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: TensorDataset(), ValueError, "TensorDataset: got no arrays"),
    (lambda: TensorDataset(clgrad.ones(3), clgrad.ones(4)), ShapeError, "TensorDataset: got arrays of 3, 4 samples"),
    (lambda: TensorDataset(clgrad.tensor(1.0)), ShapeError, "TensorDataset: got a Variable of shape ()"),
    (lambda: TensorDataset([1]), ShapeError, "TensorDataset: got a list of shape None"),
    (lambda: DataLoader([1], 0), ValueError, "DataLoader: got batch_size=0; expected an int, at least 1"),
    (lambda: DataLoader([1], num_workers=-1), ValueError, "DataLoader: got num_workers=-1"),
    (lambda: DataLoader([1], prefetch=-1), ValueError, "DataLoader: got prefetch=-1"),
    (lambda: DataLoader([1], sampler=[0], shuffle=True), ValueError, "DataLoader: got sampler with shuffle=True"),
    (lambda: DataLoader([1], 2, batch_sampler=[[0]]), ValueError, "DataLoader: got batch_sampler with batch_size"),
    (lambda: DataLoader([1], None, drop_last=True), ValueError, "DataLoader: got drop_last=True without batches"),
    (lambda: Dataset()[0], NotImplementedError, "Dataset needs __getitem__(index)"),
])
def test_errors_of_data(call: Any, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_single_samples_of_a_tensor_dataset() -> None:
    x, y = _dataset("device", 4)[2]
    assert (x.tolist(), y.item()) == ([6, 7, 8], 2)
    assert len(_dataset("device", 4)) == 4
