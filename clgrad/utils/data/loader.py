"""DataLoader: PyTorch's, with batches of device data taken on the device and host data staged onto it ahead of use."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ...autograd.mode import no_grad
from ...autograd.variable import Variable, unwrap
from ...core.errors import NoDeviceError, bad
from ...factories import randperm
from ...ndarray import Array, from_host
from ...ops.index import take
from ...runtime.device import device as find_device
from .collate import HostArray, default_collate, default_convert, map_arrays
from .dataset import IterableDataset, TensorDataset
from .fetch import Fetcher
from .prefetch import Ahead
from .sampler import BatchSampler, RandomSampler, SequentialSampler, host_random
from .workers import DeviceDataError, WorkerBatches, Workers


class DataLoader:
    """Iterates over a data set in batches; ``len(loader)`` is their number. The arguments are PyTorch's.

    ``shuffle`` draws a new order each epoch, from ``generator`` or the default one (``clgrad.manual_seed``).
    ``sampler`` gives indices, ``batch_sampler`` lists of them; ``batch_size=None`` gives single samples.
    ``collate_fn(samples)`` makes a batch (default: :func:`default_collate`); arrays that it marks as
    :class:`HostArray`, as the default does, come as Variables on ``device`` (default: the default device when the
    iteration starts), anything else as it is. ``drop_last`` leaves out a last batch that is not full.

    ``num_workers`` processes make batches, each ``prefetch_factor`` (default 2) ahead. They are spawned, need a data
    set that can be pickled, and cannot use a device: it returns NumPy arrays, numbers and strings. A data set whose
    arrays lie on a device is read in this process instead. What is raised in a worker is raised here with its
    traceback; one that dies or, given ``timeout`` seconds, gives nothing in that time is a RuntimeError.
    ``persistent_workers`` keeps them for the next epoch; ``worker_init_fn(id)`` is called in each first.

    ``prefetch`` batches (default: 2 with workers, else 0) are put on the device ahead by a background thread, while
    the device computes. ``pin_memory`` is accepted: staging buffers are always pinned. A TensorDataset of Variables
    never meets the host: a shuffled epoch is one randperm, a batch a take of each.
    """

    def __init__(self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Iterable[Any] | None = None, batch_sampler: Iterable[Sequence[Any]] | None = None,
                 num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None, pin_memory: bool = False,
                 drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable[[int], Any] | None = None,
                 multiprocessing_context: Any = None, generator: Any = None, *, prefetch_factor: int | None = None,
                 persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True,
                 device: Any = None, prefetch: int | None = None) -> None:
        _check_numbers(num_workers, batch_size, timeout, prefetch_factor, prefetch)
        _check_workers(num_workers, prefetch_factor, persistent_workers, multiprocessing_context)
        _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset = dataset
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.device = device
        self.prefetch = prefetch
        self.drop_last = drop_last
        self.batch_size = None if batch_sampler is not None else batch_size
        self.sampler: Any = self._default_sampler(shuffle) if sampler is None else sampler
        self.batch_sampler: Any = batch_sampler
        if batch_sampler is None and batch_size is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.collate_fn = collate_fn or (default_convert if self.batch_sampler is None else default_collate)
        self._workers: Workers | None = None
        self._running: weakref.ref | None = None

    def _default_sampler(self, shuffle: bool | None) -> Any:
        if isinstance(self.dataset, IterableDataset):
            return itertools.repeat(None)
        if shuffle:
            return RandomSampler(self.dataset, generator=self.generator)
        return SequentialSampler(self.dataset)

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset):
            count = len(self.dataset)
            if self.batch_size is None:
                return count
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        if self._shares_device():
            return self._device_batches()
        # Drawn though nothing may need it: the order of samples, drawn next, is then the same with workers and without
        seed = int(host_random(self.generator).integers(0, 2**62))
        source: Any = self._worker_batches(seed) if self.num_workers else None
        ahead = self.prefetch
        if source is None:
            source, ahead = self._own_batches(), ahead or 0
        ahead = 2 if ahead is None else ahead
        if not ahead:
            return Direct(source, self.device)
        try:
            device = find_device(self.device)
        except NoDeviceError:
            if self.device is not None:
                raise
            device = None  # batches without arrays need none; one with an array will say what is missing
        running = Ahead(source, device, ahead)
        self._running = weakref.ref(running)
        return Direct(running, self.device)

    # In this process -----------------------------------------------------------------------------------------------

    def _index_batches(self) -> Iterator[Any]:
        """Lists of indices, or single ones; of a stream, ranges that say how many samples to take."""
        if not isinstance(self.dataset, IterableDataset):
            return iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
        return itertools.repeat(None if self.batch_size is None else range(self.batch_size))

    def _fetcher_arguments(self) -> tuple:
        default = self.collate_fn in (default_collate, default_convert)
        return self.dataset, self.batch_sampler is not None, None if default else self.collate_fn, self.drop_last

    def _own_batches(self) -> OwnBatches:
        return OwnBatches(Fetcher(*self._fetcher_arguments()), self._index_batches())

    # In workers ----------------------------------------------------------------------------------------------------

    def _worker_batches(self, seed: int) -> WorkerBatches | None:
        """Batches of worker processes; None where the data lies on a device, which they cannot use."""
        running = self._running and self._running()
        if running is not None and self.persistent_workers:
            running.close()  # its workers serve one iteration at a time
        workers = self._workers
        if workers is None or not workers.close.alive:
            try:
                workers = Workers(self.num_workers, self._fetcher_arguments(), self.worker_init_fn, seed, self.timeout)
            except DeviceDataError as error:
                warnings.warn(f"{error} Its batches are made in this process instead.", stacklevel=3)
                return None
        self._workers = workers if self.persistent_workers else None
        return WorkerBatches(workers, self._index_batches(), self.prefetch_factor,
                             isinstance(self.dataset, IterableDataset), self.persistent_workers)

    # On the device -------------------------------------------------------------------------------------------------

    def _shares_device(self) -> bool:
        """Whether batches are takes from device arrays, in an order that needs no host."""
        if not (type(self.dataset) is TensorDataset and self.dataset.on_device and self.device is None):
            return False
        if self.collate_fn is not default_collate or type(self.batch_sampler) is not BatchSampler:
            return False
        sampler = self.batch_sampler.sampler
        if type(sampler) not in (SequentialSampler, RandomSampler) or sampler.data_source is not self.dataset:
            return False
        return type(sampler) is SequentialSampler or sampler.is_permutation

    def _device_batches(self) -> Iterator[list[Variable]]:
        """Batches as takes (or copies of slices, in order); a batch shares no memory with the data set."""
        tensors = self.dataset.tensors
        count, size, sampler = len(self.dataset), self.batch_sampler.batch_size, self.batch_sampler.sampler
        shuffled = type(sampler) is RandomSampler
        orders: dict[Any, Array] = {}
        if shuffled:
            order = unwrap(randperm(count, generator=sampler.generator, device=tensors[0].device))
            orders = {t.device: order if t.device is order.device else from_host(order.numpy(), None, t.device)
                      for t in tensors}
        for start in range(0, count, size):
            stop = min(start + size, count)
            if self.batch_sampler.drop_last and stop - start < size:
                return
            with no_grad():
                batch = [Variable(take(unwrap(t), orders[t.device][start:stop], 0) if shuffled else
                                  unwrap(t)[start:stop].clone()) for t in tensors]
            yield batch


class OwnBatches:
    """Batches made in the consumer's process, when asked for."""

    def __init__(self, fetcher: Fetcher, indices: Iterator[Any]) -> None:
        self._fetcher = fetcher
        self._indices = indices

    def __next__(self) -> Any:
        return self._fetcher(next(self._indices))

    def close(self) -> None:
        """Nothing is held."""


class Direct:
    """The iterator that a loader gives: whatever is still on the host goes to the device."""

    def __init__(self, source: Any, device: Any) -> None:
        self._source = source
        self._device = device

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = next(self._source)
        if self._device is not None:
            return _moved(batch, find_device(self._device))
        return map_arrays(batch, HostArray.to)

    def close(self) -> None:
        """End the iteration, its thread and its processes."""
        self._source.close()


def _moved(batch: Any, device: Any) -> Any:
    """The batch with its arrays on one device, those of the data set's own on others included."""
    return map_arrays(batch, lambda a: a.to(device), (Variable, Array),
                      lambda v: v if v.device is device else v.to(device))


# What may be asked for -----------------------------------------------------------------------------------------------


def _check_numbers(num_workers: Any, batch_size: Any, timeout: Any, prefetch_factor: Any, prefetch: Any) -> None:
    for name, value, low in (("num_workers", num_workers, 0), ("prefetch", prefetch, 0), ("batch_size", batch_size, 1),
                             ("prefetch_factor", prefetch_factor, 1)):
        if value is None and name != "num_workers":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(bad("DataLoader", f"{name}={value!r}", f"an int, at least {low}", f"Change {name}."))
    if not timeout >= 0:
        raise ValueError(bad("DataLoader", f"timeout={timeout!r}", "seconds, 0 or more", "0 means no limit."))


def _check_workers(num_workers: int, prefetch_factor: Any, persistent: bool, context: Any) -> None:
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(bad("DataLoader", "prefetch_factor without workers", "num_workers > 0",
                             "prefetch=... makes batches ahead without worker processes."))
    if num_workers == 0 and persistent:
        raise ValueError(bad("DataLoader", "persistent_workers without workers", "num_workers > 0", "Set one of them."))
    method = context if isinstance(context, str) or context is None else context.get_start_method()
    if method not in (None, "spawn"):
        raise ValueError(bad("DataLoader", f"multiprocessing_context={method!r}", "'spawn'",
                             "OpenCL does not survive a fork."))


def _check_order(dataset: Any, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any,
                 drop_last: bool) -> None:
    if isinstance(dataset, IterableDataset):
        for name, given in (("shuffle", shuffle), ("sampler", sampler is not None),
                            ("batch_sampler", batch_sampler is not None)):
            if given:
                raise ValueError(bad("DataLoader", f"{name} with an IterableDataset", f"no {name}",
                                     "A stream has its own order: shuffle within it."))
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError(bad("DataLoader", "batch_sampler with batch_size, shuffle, sampler or drop_last",
                             "batch_sampler alone", "It decides all of these."))
    if sampler is not None and shuffle:
        raise ValueError(bad("DataLoader", "sampler with shuffle=True", "one of them", "The sampler sets the order."))
    if batch_size is None and drop_last:
        raise ValueError(bad("DataLoader", "drop_last=True without batches", "a batch_size", "Set one of them."))
