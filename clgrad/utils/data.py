"""Dataset, TensorDataset, DataLoader: PyTorch's shape, with batches of device data taken on the device.

A TensorDataset of Variables or Arrays never meets the host: a shuffled epoch is one randperm, a batch a take each.
Other data is collated on the host by threads while the device works on earlier batches, and uploaded when asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from ..autograd.mode import no_grad
from ..autograd.variable import Variable, unwrap
from ..core.dtypes import get_default_dtype
from ..core.errors import ShapeError, bad
from ..factories import randperm, tensor
from ..ndarray import Array, from_host
from ..ops.index import take
from ..ops.shape import stack


class Dataset:
    """Base of data sets: ``self[i]`` gives sample i, ``len(self)`` their number. Any object with both will do."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} needs __getitem__(index)")


class TensorDataset(Dataset):
    """Samples along the first axis of one or more arrays: Variables and Arrays on a device, or NumPy arrays."""

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError(bad("TensorDataset", "no arrays", "at least one", "Pass the inputs, and the targets."))
        for t in tensors:
            if not isinstance(t, (Variable, Array, np.ndarray)) or t.ndim == 0:
                raise ShapeError(bad("TensorDataset", f"a {type(t).__name__} of shape {getattr(t, 'shape', None)}",
                                     "arrays of at least one dimension", "Use clgrad.tensor(...)."))
        if len({len(t) for t in tensors}) != 1:
            raise ShapeError(bad("TensorDataset", f"arrays of {', '.join(str(len(t)) for t in tensors)} samples",
                                 "as many in each", "Cut them to one length."))
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    @property
    def on_device(self) -> bool:
        """Whether every array lies on a device."""
        return all(isinstance(t, (Variable, Array)) for t in self.tensors)


class DataLoader:
    """Iterates over a data set in batches; ``len(loader)`` is their number.

    ``shuffle`` draws a new order each epoch, from ``generator`` or the default one (``clgrad.manual_seed``).
    ``sampler`` is an iterable of indices, ``batch_sampler`` one of lists of indices; ``batch_size=None`` gives single
    samples. ``collate_fn(samples)`` makes a batch (default: :func:`default_collate`); one of your own runs in a thread
    and its result comes as it is. ``drop_last`` leaves out a last batch that is not full. ``prefetch`` batches are
    collated ahead by ``num_workers`` threads (0 counts as one); ``prefetch=0`` collates when asked, without a thread.
    Threads end with the iteration, also one that is abandoned; what is raised in them is raised to the consumer.
    """

    def __init__(self, dataset: Any, batch_size: int | None = 1, shuffle: bool = False,
                 sampler: Iterable[int] | None = None, batch_sampler: Iterable[Sequence[int]] | None = None,
                 num_workers: int = 0, collate_fn: Callable[[list], Any] | None = None, drop_last: bool = False,
                 generator: Any = None, prefetch: int = 2) -> None:
        for name, value, low in (("num_workers", num_workers, 0), ("prefetch", prefetch, 0),
                                 ("batch_size", batch_size, 1)):
            if value is not None and (not isinstance(value, int) or value < low):
                raise ValueError(bad("DataLoader", f"{name}={value!r}", f"an int, at least {low}", f"Change {name}."))
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError(bad("DataLoader", "batch_sampler with batch_size, shuffle, sampler or drop_last",
                                 "batch_sampler alone", "It decides all of these."))
        if sampler is not None and shuffle:
            raise ValueError(bad("DataLoader", "sampler with shuffle=True", "one of them",
                                 "The sampler sets the order."))
        if batch_size is None and drop_last:
            raise ValueError(bad("DataLoader", "drop_last=True without batches", "a batch_size", "Set one of them."))
        self.dataset = dataset
        self.batch_size = batch_size if batch_sampler is None else None
        self.shuffle = shuffle
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.generator = generator
        self.prefetch = prefetch

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        count = len(self.dataset if self.sampler is None else self.sampler)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        on_device = isinstance(self.dataset, TensorDataset) and self.dataset.on_device and self.collate_fn is None
        if on_device and self.batch_size is not None and self.sampler is None:
            return self._device_batches()
        return self._host_batches()

    # On the device -------------------------------------------------------------------------------------------------

    def _device_batches(self) -> Iterator[list[Variable]]:
        """Batches as takes (or copies of slices, in order); a batch shares no memory with the data set."""
        tensors = self.dataset.tensors
        count = len(self.dataset)
        orders: dict[Any, Array] = {}
        if self.shuffle:
            order = self._permutation(count, tensors[0].device)
            orders = {t.device: order if t.device is order.device else from_host(order.numpy(), None, t.device)
                      for t in tensors}
        for start in range(0, count, self.batch_size):
            stop = min(start + self.batch_size, count)
            if self.drop_last and stop - start < self.batch_size:
                return
            with no_grad():
                batch = [Variable(take(unwrap(t), orders[t.device][start:stop], 0) if self.shuffle else
                                  unwrap(t)[start:stop].clone()) for t in tensors]
            yield batch

    def _permutation(self, count: int, device: Any = None) -> Array:
        return unwrap(randperm(count, generator=self.generator, device=device))

    # On the host ---------------------------------------------------------------------------------------------------

    def _host_batches(self) -> Iterator[Any]:
        on_device = isinstance(self.dataset, TensorDataset) and self.dataset.on_device
        with closing(self._ahead(self._index_batches(), 0 if on_device else self.prefetch)) as batches:
            for batch in batches:
                yield upload(batch) if self.collate_fn is None else batch

    def _index_batches(self) -> Iterator[Any]:
        """Lists of indices, or single ones where ``batch_size`` is None."""
        if self.batch_sampler is not None:
            yield from map(list, self.batch_sampler)
            return
        count = len(self.dataset) if self.sampler is None else 0
        order = iter(self.sampler if self.sampler is not None else
                     self._permutation(count).tolist() if self.shuffle else range(count))
        if self.batch_size is None:
            yield from order
            return
        while indices := list(islice(order, self.batch_size)):
            if len(indices) == self.batch_size or not self.drop_last:
                yield indices

    def _ahead(self, batches: Iterator[Any], prefetch: int) -> Iterator[Any]:
        """Fetch in threads, at most ``prefetch`` batches ahead of the consumer, in order."""
        if not prefetch:
            yield from map(self._fetch, batches)
            return
        pool = ThreadPoolExecutor(max(1, self.num_workers), thread_name_prefix="clgrad-data")
        waiting: deque[Future] = deque()
        try:
            for indices in batches:
                waiting.append(pool.submit(self._fetch, indices))
                if len(waiting) > prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, indices: Any) -> Any:
        """The collated samples; by default still on the host."""
        if self.batch_size is None and self.batch_sampler is None:
            sample = self.dataset[indices]
            return sample if self.collate_fn is None else self.collate_fn(sample)
        if self.collate_fn is not None:
            return self.collate_fn([self.dataset[i] for i in indices])
        if isinstance(self.dataset, TensorDataset):
            return [_rows(t, indices) for t in self.dataset.tensors]
        return collate([self.dataset[i] for i in indices])


def _rows(t: Any, indices: list[int]) -> Any:
    """Several samples at once: NumPy's by indexing, a device's by an index that is sent there."""
    if isinstance(t, np.ndarray):
        return t[indices]
    with no_grad():
        return Variable(take(unwrap(t), from_host(np.asarray(indices, np.int64), None, t.device), 0))


# Collating ---------------------------------------------------------------------------------------------------------


def default_collate(batch: list) -> Any:
    """One batch of a list of samples, in the samples' structure: arrays and numbers gain a leading axis.

    Variables, Arrays and NumPy arrays keep their dtype, ints give int64, floats the default float, bools bool; dicts
    and named tuples stay what they are, other sequences become lists; strings and bytes stay in a list. ShapeError
    where samples differ in shape or length, TypeError for anything else.
    """
    return upload(collate(batch))


def collate(batch: list) -> Any:
    """:func:`default_collate` without the upload: host data is stacked by NumPy."""
    first = batch[0]
    if isinstance(first, (Variable, Array)):
        _same("shapes", [s.shape for s in batch])
        return stack(list(batch))
    if isinstance(first, np.ndarray):
        _same("shapes", [np.shape(s) for s in batch])
        return np.stack(batch)
    if isinstance(first, (bool, int, float)):
        numbers = np.asarray(batch)
        return numbers.astype(get_default_dtype().np) if numbers.dtype.kind == "f" else numbers
    if isinstance(first, np.generic):
        return np.asarray(batch)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return type(first)({k: collate([s[k] for s in batch]) for k in first})
    if isinstance(first, Sequence):
        _same("lengths", [len(s) for s in batch])
        columns = [collate(list(column)) for column in zip(*batch)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(bad("default_collate", f"a sample of type {type(first).__name__}",
                        "arrays, numbers, strings, dicts or sequences of these", "Pass a collate_fn."))


def _same(what: str, values: list) -> None:
    if any(v != values[0] for v in values):
        raise ShapeError(bad("default_collate", f"samples of {what} {values[0]} and "
                             f"{next(v for v in values if v != values[0])}", f"equal {what}",
                             "Pad them in the data set, or pass a collate_fn."))


def upload(batch: Any) -> Any:
    """A batch with its NumPy arrays and numbers as Variables on the default device; structure as it is."""
    if isinstance(batch, (np.ndarray, np.generic, bool, int, float)):
        return tensor(batch)
    if isinstance(batch, Array):
        return Variable(batch)
    if isinstance(batch, Mapping):
        return type(batch)({k: upload(v) for k, v in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(upload, batch))
    if isinstance(batch, (list, tuple)):
        return [upload(v) for v in batch]
    return batch
