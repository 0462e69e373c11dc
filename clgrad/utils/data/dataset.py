"""Data sets: by index (Dataset), by iteration (IterableDataset), and those made of others."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ...autograd.variable import Variable
from ...core.errors import ShapeError, bad
from ...ndarray import Array
from .sampler import permutation


class Dataset:
    """Base of data sets: ``self[i]`` gives sample i, ``len(self)`` their number. Any object with both will do.

    A subclass may add ``__getitems__(indices)``, which gives the list of several samples at once.
    """

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} needs __getitem__(index)")

    def __add__(self, other: Any) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Base of data sets that are streams: ``iter(self)`` gives the samples in their order.

    Each worker process iterates over a copy of its own: use :func:`get_worker_info` in ``__iter__`` (or a
    ``worker_init_fn``) to give each its share, or every sample comes once a worker.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} needs __iter__()")

    def __add__(self, other: Any) -> ChainDataset:
        return ChainDataset([self, other])


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


class StackDataset(Dataset):
    """Several data sets of one length side by side: sample i is the tuple (or, of keywords, the dict) of theirs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            what = "both positional data sets and named ones" if args else "no data sets"
            raise ValueError(bad("StackDataset", what, "StackDataset(a, b) or StackDataset(x=a, y=b)",
                                 "A sample is either a tuple or a dict."))
        self.datasets: Any = args or kwargs
        lengths = [len(d) for d in (args or kwargs.values())]
        if len(set(lengths)) != 1:
            raise ValueError(bad("StackDataset", f"data sets of {', '.join(map(str, lengths))} samples",
                                 "as many in each", "Cut them to one length, as with Subset."))
        self._length = lengths[0]

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: d[index] for name, d in self.datasets.items()}
        return tuple(d[index] for d in self.datasets)

    def __getitems__(self, indices: list) -> list:
        if isinstance(self.datasets, dict):
            columns = [samples(d, indices) for d in self.datasets.values()]
            return [dict(zip(self.datasets, row)) for row in zip(*columns)]
        return list(zip(*(samples(d, indices) for d in self.datasets)))

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset):
    """Data sets one after the other, under one index."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError(bad("ConcatDataset", "no data sets", "at least one", "Pass a list of them."))
        for d in self.datasets:
            if isinstance(d, IterableDataset):
                raise TypeError(bad("ConcatDataset", "an IterableDataset", "data sets with an index",
                                    "Use ChainDataset."))
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(bad("ConcatDataset", f"index {index}", f"-{len(self)} <= index < {len(self)}",
                                 "It has that many samples."))
        index = index + len(self) if index < 0 else index
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset):
    """Streams one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise TypeError(bad("ChainDataset", f"a {type(d).__name__}", "IterableDatasets", "Use ConcatDataset."))
            yield from d

    def __len__(self) -> int:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise TypeError(bad("ChainDataset", f"a {type(d).__name__}", "IterableDatasets", "Use ConcatDataset."))
        return sum(len(d) for d in self.datasets)


class Subset(Dataset):
    """The samples of a data set at ``indices``, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list) -> list:
        return samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def samples(dataset: Any, indices: Sequence[int]) -> list:
    """Several samples, at once where the data set offers ``__getitems__``."""
    several = getattr(dataset, "__getitems__", None)
    if several is None:
        return [dataset[i] for i in indices]
    found = several(list(indices))
    if len(found) != len(indices):
        raise ValueError(bad(f"{type(dataset).__name__}.__getitems__", f"{len(found)} samples",
                             f"as many as indices, {len(indices)}", "Return a list with a sample an index."))
    return found


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Any = None) -> list[Subset]:
    """Split into random Subsets of the given lengths, or of fractions that sum to 1, none twice.

    Of fractions each part gets the floor of its share; what is left goes one by one to the parts in turn.
    """
    count = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = _of_fractions(lengths, count)
    if sum(lengths) != count:
        raise ValueError(bad("random_split", f"lengths that sum to {sum(lengths)}", f"{count}, the number of samples, "
                             "or fractions that sum to 1", "Change the lengths."))
    order = permutation(count, generator).tolist()
    return [Subset(dataset, order[end - n:end]) for n, end in zip(lengths, itertools.accumulate(lengths))]


def _of_fractions(fractions: Sequence[float], count: int) -> list[int]:
    for i, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(bad("random_split", f"fraction {fraction} at {i}", "0 <= fraction <= 1", "Change it."))
    lengths = [math.floor(count * f) for f in fractions]
    for i in range(count - sum(lengths)):
        lengths[i % len(lengths)] += 1
    for i, n in enumerate(lengths):
        if n == 0:
            warnings.warn(f"random_split: part {i} is empty: {fractions[i]} of {count} samples", stacklevel=3)
    return lengths
