"""Samplers: the order in which a loader asks for samples. They draw on the host, so no device is needed.

Numbers come from a :class:`clgrad.Generator` (default: the one that ``clgrad.manual_seed`` sets): each draw takes the
next counter of its stream as the key of a NumPy Philox generator. They are not the numbers that PyTorch draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ...autograd.variable import Variable
from ...core.errors import bad
from ...families import generator as generators
from ...ndarray import Array


def host_random(generator: Any = None) -> np.random.Generator:
    """A NumPy generator at the next counter of a clgrad Generator (default: the default one)."""
    seed, counter = generators.chosen("host_random", generator).advance(1)
    return np.random.Generator(np.random.Philox(key=[seed, counter]))


def permutation(count: int, generator: Any = None) -> np.ndarray:
    """0 .. count - 1 in random order, on the host."""
    return host_random(generator).permutation(count)


class Sampler:
    """Base of samplers: ``iter(self)`` gives indices of one epoch, ``len(self)`` their number."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} needs __iter__()")


class SequentialSampler(Sampler):
    """0, 1, ... in order."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Indices in random order; with ``replacement``, each drawn on its own.

    ``num_samples`` (default: as many as there are) are given an epoch; without replacement, more than there are means
    one shuffled pass after the other.
    """

    def __init__(self, data_source: Any, replacement: bool = False, num_samples: int | None = None,
                 generator: Any = None) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(bad("RandomSampler", f"replacement={replacement!r}", "a bool", "Pass True or False."))
        if num_samples is not None:
            _positive("RandomSampler", "num_samples", num_samples)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """Indices an epoch."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    @property
    def is_permutation(self) -> bool:
        """Whether an epoch gives every index once."""
        return not self.replacement and self.num_samples == len(self.data_source)

    def __iter__(self) -> Iterator[int]:
        count, wanted = len(self.data_source), self.num_samples
        if count == 0:
            if wanted:
                raise ValueError(bad("RandomSampler", "a data set without samples", "at least one", "Check the data."))
            return
        if self.replacement:
            yield from host_random(self.generator).integers(0, count, wanted).tolist()
            return
        for start in range(0, wanted, count):
            yield from permutation(count, self.generator).tolist()[:wanted - start]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in permutation(len(self.indices), self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """``num_samples`` indices drawn with the given weights, which need not sum to one."""

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None) -> None:
        _positive("WeightedRandomSampler", "num_samples", num_samples)
        if not isinstance(replacement, bool):
            raise TypeError(bad("WeightedRandomSampler", f"replacement={replacement!r}", "a bool",
                                "Pass True or False."))
        host = weights.detach().numpy() if isinstance(weights, Variable) else (
            weights.numpy() if isinstance(weights, Array) else weights)
        self.weights = np.asarray(host, np.float64)
        if self.weights.ndim != 1 or not np.isfinite(self.weights).all() or (self.weights < 0).any() or (
                not self.weights.sum() > 0):
            raise ValueError(bad("WeightedRandomSampler", f"weights of shape {self.weights.shape}",
                                 "one dimension of finite numbers of 0 or more, not all 0", "Change the weights."))
        if not replacement and num_samples > np.count_nonzero(self.weights):
            raise ValueError(bad("WeightedRandomSampler", f"num_samples={num_samples} without replacement",
                                 f"at most {np.count_nonzero(self.weights)}, the number of weights above 0",
                                 "Draw fewer, or with replacement."))
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        probabilities = self.weights / self.weights.sum()
        draws = host_random(self.generator).choice(len(probabilities), self.num_samples, self.replacement,
                                                   probabilities)
        yield from draws.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of ``batch_size`` indices from another sampler; with ``drop_last``, none that is not full."""

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool = False) -> None:
        _positive("BatchSampler", "batch_size", batch_size)
        if not isinstance(drop_last, bool):
            raise ValueError(bad("BatchSampler", f"drop_last={drop_last!r}", "a bool", "Pass True or False."))
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        indices = iter(self.sampler)
        while batch := list(islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        count = len(self.sampler)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


def _positive(op: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(bad(op, f"{name}={value!r}", "an int of at least 1", f"Change {name}."))
