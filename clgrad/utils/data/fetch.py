"""What makes a batch of indices, in a worker process or in the consumer's own: the same code in both."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from ...autograd.mode import no_grad
from ...autograd.variable import Variable, unwrap
from ...ndarray import Array, from_host
from ...ops.index import take
from .collate import collate, convert, host_array
from .dataset import IterableDataset, Subset, TensorDataset, samples

Collate = Callable[[Any], Any]


class Fetcher:
    """Makes batches of a data set. ``collate_fn`` None means the default, whose arrays stay on the host.

    Of a stream, indices only count: a fetch takes the next of them, and StopIteration ends it.
    """

    def __init__(self, dataset: Any, batched: bool, collate_fn: Collate | None, drop_last: bool) -> None:
        self._dataset = dataset
        self._batched = batched
        self._collate = collate_fn
        self._drop_last = drop_last
        self._stream = iter(dataset) if isinstance(dataset, IterableDataset) else None
        self._ended = False

    def __call__(self, indices: Any) -> Any:
        """The batch of a list of indices; without batches, the sample of one."""
        if self._stream is not None:
            return self._next(indices)
        if not self._batched:
            return (self._collate or convert)(self._dataset[indices])
        if self._collate is not None:
            return self._collate(samples(self._dataset, indices))
        columns = rows(self._dataset, indices)
        return collate(samples(self._dataset, indices)) if columns is None else columns

    def _next(self, indices: Any) -> Any:
        if not self._batched:
            return (self._collate or convert)(next(self._stream))
        batch = [] if self._ended else list(islice(self._stream, len(indices)))
        self._ended = len(batch) < len(indices)
        if not batch or (self._drop_last and self._ended):
            raise StopIteration
        return (self._collate or collate)(batch)


def rows(dataset: Any, indices: list[int]) -> list | None:
    """The columns of a batch where they can be had at once: of a TensorDataset, or of a Subset of one."""
    if type(dataset) is TensorDataset:
        return [_rows(t, indices) for t in dataset.tensors]
    if type(dataset) is Subset:
        return rows(dataset.dataset, [dataset.indices[i] for i in indices])
    return None


def _rows(t: Any, indices: list[int]) -> Any:
    """NumPy's by indexing, a device's by an index that is sent there."""
    if not isinstance(t, (Variable, Array)):
        return host_array(t[indices])
    source = unwrap(t)
    with no_grad():
        return Variable(take(source, from_host(np.asarray(indices, np.int64), None, source.device), 0))
