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
from clgrad.utils import data
from clgrad.utils.data import DataLoader, Dataset, HostArray, TensorDataset, default_collate, default_convert

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


@pytest.mark.parametrize("prefetch", [None, 0, 1, 3])
def test_any_dataset(prefetch: int) -> None:
    loader = DataLoader(Squares(11), 4, prefetch=prefetch)
    for _ in range(2):
        batches = list(loader)
        assert [y.tolist() for _, y in batches] == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81, 100]]
        assert batches[2][0].tolist() == [[8, 8], [9, 9], [10, 10]]
        assert batches[0][0].dtype is clgrad.float32


def test_lists_and_single_samples() -> None:
    assert [b.tolist() for b in DataLoader([3, 1, 2], 2)] == [[3, 1], [2]]
    assert list(DataLoader([3, 1, 2], batch_size=None)) == [3, 1, 2]
    assert [b.tolist() for b in DataLoader([np.ones(1), np.zeros(1)], batch_size=None)] == [[1], [0]]
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
    loader = DataLoader(Squares(100), 2, prefetch=2)
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


def test_sequences_and_mappings_keep_their_kind() -> None:
    class Bag(dict):
        pass

    first = Bag(a=1)
    first.note = "kept"
    batch = default_collate([first, Bag(a=2)])
    assert type(batch) is Bag
    assert batch.note == "kept"
    assert batch["a"].tolist() == [1, 2]
    assert [type(v) for v in default_collate([(1, [2]), (3, [4])])] == [Variable, list]
    assert default_collate([b"x", b"y"]) == [b"x", b"y"]


def test_convert_leaves_all_but_arrays() -> None:
    pair = default_convert(Pair(np.ones(2), {"n": 3, "s": "x", "l": (np.int32(4), None)}))
    assert isinstance(pair, Pair)
    assert (pair.x.tolist(), pair.y["n"], pair.y["s"]) == ([1, 1], 3, "x")
    number, nothing = pair.y["l"]
    assert (number.item(), number.dtype, nothing) == (4, clgrad.int32, None)
    text = np.array(["a"])
    assert default_convert(text) is text


def test_a_host_array_is_numpys_until_it_is_sent() -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3).view(HostArray)
    assert isinstance(a + 1, HostArray)
    assert (a.unsqueeze(0).shape, a.permute(1, 0).shape, type(a.numpy())) == ((1, 2, 3), (3, 2), np.ndarray)
    sent = a.permute(1, 0).to()
    assert isinstance(sent, Variable)
    np.testing.assert_array_equal(sent.numpy(), a.numpy().T)


# Data sets made of others --------------------------------------------------------------------------------------------


def test_concatenated_stacked_and_chained() -> None:
    both = Squares(3) + Squares(2)
    assert [both[i][1] for i in range(-5, 5)] == [0, 1, 4, 0, 1] * 2
    assert len(both) == 5
    stacked = data.StackDataset([1, 2], ["a", "b"])
    assert ([stacked[1], stacked.__getitems__([1, 0])], len(stacked)) == ([(2, "b"), [(2, "b"), (1, "a")]], 2)
    named = data.StackDataset(x=[1, 2], y=[3, 4])
    assert [named[0], *named.__getitems__([1])] == [{"x": 1, "y": 3}, {"x": 2, "y": 4}]

    class Count(data.IterableDataset):
        def __iter__(self):
            return iter(range(3))

        def __len__(self) -> int:
            return 3

    chain = Count() + Count()
    assert (list(chain), len(chain)) == ([0, 1, 2, 0, 1, 2], 6)


def test_streams() -> None:
    class Count(data.IterableDataset):
        def __iter__(self):
            return iter(range(7))

        def __len__(self) -> int:
            return 7

    for drop_last, expected in ((False, [[0, 1, 2], [3, 4, 5], [6]]), (True, [[0, 1, 2], [3, 4, 5]])):
        loader = DataLoader(Count(), 3, drop_last=drop_last)
        assert [b.tolist() for b in loader] == [b.tolist() for b in loader] == expected
        assert len(loader) == len(expected)
    assert list(DataLoader(Count(), None)) == list(range(7))


@pytest.mark.parametrize("kind", ["device", "host"])
def test_parts_of_arrays_are_fetched_at_once(kind: str, device) -> None:
    first, second = data.random_split(_dataset(kind, 10), [7, 3])
    parts = [[i for _, y in DataLoader(part, 4) for i in y.tolist()] for part in (first, second)]
    assert sorted(parts[0] + parts[1]) == list(range(10))
    assert parts[0] == list(first.indices)
    device.copies.reset()
    batches = list(DataLoader(first, 4))
    assert device.copies.to_device == 4  # two batches of two arrays, or of an index for each
    np.testing.assert_array_equal(batches[1][0].numpy(), _columns(10)[0][first.indices[4:]])
    assert data.Subset([5, 6, 7], [2, 0])[1] == 5


def test_getitems_serves_a_batch_and_must_serve_all_of_it() -> None:
    class Several(Squares):
        def __getitems__(self, indices: list) -> list:
            return [self[i] for i in indices[:self.count - 1]]

    assert [y.tolist() for _, y in DataLoader(Several(4), 2)] == [[0, 1], [4, 9]]
    with pytest.raises(ValueError, match=r"Several.__getitems__: got 3 samples; expected as many as indices, 4"):
        list(DataLoader(Several(4), 4))


def test_split_by_fractions() -> None:
    parts = data.random_split(range(10), [0.25, 0.25, 0.5], clgrad.Generator().manual_seed(1))
    assert [len(p) for p in parts] == [3, 2, 5]
    assert sorted(i for p in parts for i in p.indices) == list(range(10))
    again = data.random_split(range(10), [0.25, 0.25, 0.5], clgrad.Generator().manual_seed(1))
    assert [p.indices for p in again] == [p.indices for p in parts]
    with pytest.warns(UserWarning, match="part 1 is empty"):
        data.random_split(range(3), [0.9, 0.1])


# Samplers ------------------------------------------------------------------------------------------------------------


def test_orders_of_samplers() -> None:
    assert list(data.SequentialSampler("abc")) == [0, 1, 2]
    twice = list(data.RandomSampler(range(5), num_samples=13))
    assert [sorted(twice[:5]), sorted(twice[5:10])] == [list(range(5))] * 2
    assert len(twice) == len(data.RandomSampler(range(5), num_samples=13)) == 13
    drawn = list(data.RandomSampler(range(5), replacement=True, num_samples=1000))
    assert set(drawn) == set(range(5))
    assert sorted(data.SubsetRandomSampler([4, 9, 2])) == [2, 4, 9]
    assert list(data.RandomSampler([])) == []
    batches = data.BatchSampler(data.SequentialSampler(range(5)), 2, True)
    assert (list(batches), len(batches)) == ([[0, 1], [2, 3]], 2)
    generator = clgrad.Generator().manual_seed(4)
    first = list(data.RandomSampler(range(50), generator=generator))
    assert first == list(data.RandomSampler(range(50), generator=clgrad.Generator().manual_seed(4)))
    assert first != list(data.RandomSampler(range(50), generator=generator))


def test_weights_give_their_shares() -> None:
    draws = list(data.WeightedRandomSampler(clgrad.tensor([1.0, 0.0, 3.0]), 4000))
    counts = np.bincount(draws, minlength=3)
    assert counts[1] == 0
    assert abs(counts[2] / counts[0] - 3) < 0.4  # five standard deviations
    assert sorted(data.WeightedRandomSampler([1, 2, 3], 3, replacement=False)) == [0, 1, 2]


def test_a_stream_of_any_length_uses_its_sampler_alone() -> None:
    dataset = _dataset("device", 6)
    loader = DataLoader(dataset, 4, sampler=data.RandomSampler(dataset, replacement=True, num_samples=9))
    assert [len(y) for _, y in loader] == [4, 4, 1]


# Staging -------------------------------------------------------------------------------------------------------------


def test_batches_staged_ahead_keep_their_values(device) -> None:
    """Batches of growing size, through a ring of two slots, each held while later ones overwrite the slots."""
    def sample(n: int) -> dict:
        return {"x": np.full((n, 3), n, np.float32), "e": np.zeros((0, 2), np.int8), "b": np.bool_(n % 2),
                "h": np.full(n, n, np.float16), "s": str(n)}

    device.copies.reset()
    batches = list(DataLoader([sample(n) for n in range(1, 40)], 1, prefetch=2))
    assert device.copies.to_host == 0
    for n, batch in enumerate(batches, 1):
        assert batch["s"] == [str(n)]
        for name, host in ((k, v) for k, v in sample(n).items() if k != "s"):
            assert (batch[name].dtype.np, batch[name].shape) == (host.dtype, (1, *host.shape))
            np.testing.assert_array_equal(batch[name].numpy()[0], host)


def test_a_batch_that_no_device_can_hold_is_an_error_of_its_turn() -> None:
    class Dates(Squares):
        def __getitem__(self, index: int) -> Any:
            return np.zeros(2, "M8[s]" if index == 2 else np.float32).view(HostArray)

    batches = iter(DataLoader(Dates(4), None, prefetch=2))
    assert [next(batches).tolist() for _ in range(2)] == [[0, 0]] * 2
    with pytest.raises(clgrad.errors.DTypeError, match="M8"):
        next(batches)
    assert next(batches).tolist() == [0, 0]
    with pytest.raises(StopIteration):
        next(batches)


def test_where_batches_go(both_forms) -> None:
    wide, many = both_forms.values()
    with wide:
        assert next(iter(DataLoader(Squares(2), 2)))[0].device is wide
        batches = iter(DataLoader(Squares(4), 2, prefetch=1))
    assert next(batches)[0].device is wide  # the default when the iteration began
    batches.close()
    for prefetch in (0, 1):
        loader = DataLoader(Squares(2), 2, device=many, prefetch=prefetch)
        assert [v.device for v in next(iter(loader))] == [many, many]
    on_wide = TensorDataset(clgrad.ones(4, device=wide))
    assert next(iter(DataLoader(on_wide, 2, device=many)))[0].device is many


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
    (lambda: DataLoader([1], timeout=-1), ValueError, "DataLoader: got timeout=-1; expected seconds, 0 or more"),
    (lambda: DataLoader([1], prefetch_factor=2), ValueError, "DataLoader: got prefetch_factor without workers"),
    (lambda: DataLoader([1], num_workers=1, prefetch_factor=0), ValueError, "DataLoader: got prefetch_factor=0"),
    (lambda: DataLoader([1], persistent_workers=True), ValueError, "DataLoader: got persistent_workers without"),
    (lambda: DataLoader([1], multiprocessing_context="fork"), ValueError,
     "DataLoader: got multiprocessing_context='fork'; expected 'spawn'. OpenCL does not survive a fork"),
    (lambda: DataLoader(data.IterableDataset(), shuffle=True), ValueError,
     "DataLoader: got shuffle with an IterableDataset"),
    (lambda: DataLoader(data.IterableDataset(), sampler=[1]), ValueError, "DataLoader: got sampler with an Iterable"),
    (lambda: DataLoader(data.IterableDataset(), batch_sampler=[[1]]), ValueError, "DataLoader: got batch_sampler wi"),
    (lambda: iter(data.IterableDataset()), NotImplementedError, "IterableDataset needs __iter__()"),
    (lambda: data.ConcatDataset([]), ValueError, "ConcatDataset: got no data sets"),
    (lambda: data.ConcatDataset([data.IterableDataset()]), TypeError, "ConcatDataset: got an IterableDataset"),
    (lambda: data.ConcatDataset([[1, 2]])[2], IndexError, "ConcatDataset: got index 2; expected -2 <= index < 2"),
    (lambda: list(data.ChainDataset([[1]])), TypeError, "ChainDataset: got a list; expected IterableDatasets"),
    (lambda: data.StackDataset([1], [1, 2]), ValueError, "StackDataset: got data sets of 1, 2 samples"),
    (lambda: data.StackDataset(), ValueError, "StackDataset: got no data sets"),
    (lambda: data.random_split([1, 2], [1, 2]), ValueError, "random_split: got lengths that sum to 3; expected 2"),
    (lambda: data.random_split([1, 2], [-0.5, 1.5]), ValueError, "random_split: got fraction -0.5 at 0"),
    (lambda: data.RandomSampler([1], num_samples=0), ValueError, "RandomSampler: got num_samples=0"),
    (lambda: data.RandomSampler([1], replacement=1), TypeError, "RandomSampler: got replacement=1; expected a bool"),
    (lambda: data.WeightedRandomSampler([1, -1], 1), ValueError, "WeightedRandomSampler: got weights of shape (2,)"),
    (lambda: data.WeightedRandomSampler([1, 0], 2, False), ValueError,
     "WeightedRandomSampler: got num_samples=2 without replacement; expected at most 1"),
    (lambda: data.BatchSampler([1], 0), ValueError, "BatchSampler: got batch_size=0"),
    (lambda: data.Sampler().__iter__(), NotImplementedError, "Sampler needs __iter__()"),
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
