"""From samples to a batch. Arrays are stacked by NumPy on the host; what becomes a Variable is marked as HostArray.

The mark is what lets worker processes, which have no device, take part: a HostArray that reaches the consumer's process
in a batch is put on the device there, and a plain NumPy array stays what it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from ...autograd.mode import no_grad
from ...autograd.variable import Variable, unwrap
from ...core import dtypes
from ...core.dtypes import get_default_dtype
from ...core.errors import DTypeError, ShapeError, bad
from ...ndarray import Array, from_host
from ...ops.shape import stack
from . import worker


class HostArray(np.ndarray):
    """A NumPy array that a loader turns into a Variable: what collating and ``transforms.ToTensor`` give.

    It is NumPy's in every way; :meth:`to` puts it on a device, and a few of PyTorch's names are there for host code
    that handles single images.
    """

    def to(self, device: Any = None) -> Variable:
        """A Variable on a device (default: the default one)."""
        return Variable(from_host(np.asarray(self), None, device))

    def numpy(self) -> np.ndarray:
        """The plain NumPy array, sharing memory."""
        return self.view(np.ndarray)

    def unsqueeze(self, dim: int) -> HostArray:
        """With a new axis of length 1 at ``dim``."""
        return np.expand_dims(self, dim)

    def permute(self, *dims: Any) -> HostArray:
        """With its axes in another order."""
        return self.transpose(*dims)


def host_array(value: Any) -> HostArray:
    """The mark on an array: it becomes a Variable in the consumer's process."""
    return np.asarray(value).view(HostArray)


# Collating ---------------------------------------------------------------------------------------------------------


def default_collate(batch: list) -> Any:
    """One batch of a list of samples, in the samples' structure: arrays and numbers gain a leading axis.

    Variables, Arrays and NumPy arrays keep their dtype, ints give int64, floats the default float (PyTorch: float64,
    which not every device has), bools bool; mappings, named tuples and sequences stay what they are, tuples become
    lists; strings and bytes stay in a list. ShapeError where samples differ in shape or length, TypeError for anything
    else. In a worker process, which has no device, the arrays stay on the host (:class:`HostArray`).
    """
    return on_device(collate(batch))


def default_convert(data: Any) -> Any:
    """NumPy's arrays and scalars as Variables, in the structure as it is (tuples become lists); all else stays."""
    return on_device(convert(data))


def collate(batch: list) -> Any:
    """:func:`default_collate` on the host."""
    first = batch[0]
    if isinstance(first, (Variable, Array)):
        _same("shapes", [s.shape for s in batch])
        with no_grad():
            return Variable(stack([unwrap(s) for s in batch]))
    if isinstance(first, (np.ndarray, np.generic)) and not isinstance(first, (str, bytes)):
        return _stacked(batch)
    if isinstance(first, (bool, int, float, complex)):
        numbers = np.asarray(batch)
        default = {"f": get_default_dtype(), "c": get_default_dtype().complex}.get(numbers.dtype.kind)
        return host_array(numbers if default is None else numbers.astype(default.np))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return _mapping(first, {k: collate([s[k] for s in batch]) for k in first})
    if isinstance(first, Sequence):
        _same("lengths", [len(s) for s in batch])
        return _sequence(first, [collate(list(column)) for column in zip(*batch)])
    raise TypeError(bad("default_collate", f"a sample of type {type(first).__name__}",
                        "arrays, numbers, strings, dicts or sequences of these", "Pass a collate_fn."))


def _stacked(batch: list) -> HostArray:
    arrays = [np.asarray(s) for s in batch]
    if not _has_dtype(arrays[0]):
        raise TypeError(bad("default_collate", f"a NumPy array of {arrays[0].dtype}", "numbers or bools",
                            "Convert it in the data set, or pass a collate_fn."))
    _same("shapes", [a.shape for a in arrays])
    return host_array(np.stack(arrays))


def _has_dtype(array: np.ndarray) -> bool:
    try:
        dtypes.dtype(array.dtype)
    except DTypeError:
        return False
    return True


def convert(data: Any) -> Any:
    """:func:`default_convert` on the host."""
    if isinstance(data, (np.ndarray, np.generic)) and not isinstance(data, (str, bytes)):
        return host_array(data) if _has_dtype(np.asarray(data)) else data
    if isinstance(data, Array):
        return Variable(data)
    if isinstance(data, Mapping):
        return _mapping(data, {k: convert(v) for k, v in data.items()})
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _sequence(data, [convert(v) for v in data])
    return data


def _mapping(like: Mapping, content: dict) -> Any:
    """A mapping of the same kind (a copy of the first sample's, so that what else it holds stays), or a dict."""
    try:
        if isinstance(like, MutableMapping):
            result = copy.copy(like)
            result.update(content)
            return result
        return type(like)(content)
    except TypeError:
        return content


def _sequence(like: Sequence, content: list) -> Any:
    """A sequence of the same kind; of a tuple, and of what cannot be made so, a list."""
    if isinstance(like, tuple):
        return type(like)(*content) if hasattr(like, "_fields") else content
    if isinstance(like, (list, range)):
        return content
    try:
        if isinstance(like, MutableSequence):
            result = copy.copy(like)
            for i, v in enumerate(content):
                result[i] = v
            return result
        return type(like)(content)
    except TypeError:
        return content


def _same(what: str, values: list) -> None:
    if any(v != values[0] for v in values):
        raise ShapeError(bad("default_collate", f"samples of {what} {values[0]} and "
                             f"{next(v for v in values if v != values[0])}", f"equal {what}",
                             "Pad them in the data set, or pass a collate_fn."))


# To the device -----------------------------------------------------------------------------------------------------


def map_arrays(batch: Any, f: Callable[[HostArray], Any], others: tuple = (),
               g: Callable[[Any], Any] | None = None) -> Any:
    """The batch with ``f`` of each HostArray in its place, and ``g`` of each of the types ``others``; itself where
    there is none."""
    if isinstance(batch, HostArray):
        return f(batch)
    if isinstance(batch, others) and g is not None:
        return g(batch)
    if isinstance(batch, Mapping):
        content = {k: map_arrays(v, f, others, g) for k, v in batch.items()}
        return batch if all(content[k] is v for k, v in batch.items()) else _mapping(batch, content)
    if isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        values = [map_arrays(v, f, others, g) for v in batch]
        if all(a is b for a, b in zip(values, batch)):
            return batch
        return tuple(values) if type(batch) is tuple else _sequence(batch, values)
    return batch


def on_device(batch: Any, device: Any = None) -> Any:
    """The batch with its HostArrays as Variables on a device (default: the default one); unchanged in a worker."""
    if worker.get_worker_info() is not None:
        return batch
    return map_arrays(batch, lambda a: a.to(device))
