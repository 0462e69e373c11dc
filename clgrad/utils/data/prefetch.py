"""Batches made and put on the device ahead of the consumer, by one background thread."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...autograd.variable import Variable
from ...core import dtypes
from ...ndarray import Array, empty
from ...runtime.device import Device
from ...runtime.staging import Staged, Stager
from .collate import HostArray, map_arrays


class _Place(HostArray):
    """Stands in a batch for the array of that number on its way to the device."""


def _place(index: int) -> _Place:
    return np.asarray(index).view(_Place)


class Ahead:
    """Iterates over ``source`` in a thread that is at most ``count`` batches ahead.

    The thread writes a batch's HostArrays into staging buffers of ``device`` while the device computes; the consumer
    finds them there. Without a device batches come as the source made them. An error of the source is raised where its
    batch would have come. The thread ends with the iteration, also with one that is abandoned.
    """

    def __init__(self, source: Any, device: Device | None, count: int) -> None:
        stager = None if device is None else Stager(device, count)
        self._device = device
        self._room = threading.Semaphore(count)
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._over = False
        stopped = threading.Event()
        thread = threading.Thread(target=_work, args=(source, stager, self._room, self._ready, stopped), daemon=True,
                                  name="clgrad-data")
        self.close = weakref.finalize(self, _stop, source, thread, self._room, stopped)
        thread.start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._over or not self.close.alive:
            raise StopIteration
        kind, value, staged = self._ready.get()
        if kind == "end":
            self._over = True
            self.close()
            raise StopIteration
        try:
            if kind == "error":
                raise value
            return value if staged is None else self._taken(value, staged)
        finally:
            self._room.release()
            del value  # an error's traceback holds this frame

    def _taken(self, batch: Any, staged: Staged) -> Any:
        def take(place: HostArray) -> Variable:
            index = int(place)
            shape, dtype, _ = staged.arrays[index]
            array: Array = empty(shape, dtypes.dtype(dtype), self._device)
            staged.take(index, array.storage.buffer)
            return Variable(array)

        return map_arrays(batch, take)


def _work(source: Any, stager: Stager | None, room: threading.Semaphore, ready: queue.SimpleQueue,
          stopped: threading.Event) -> None:
    while True:
        room.acquire()
        if stopped.is_set():
            return
        try:
            batch = next(source)
            item = ("batch", batch, None) if stager is None else ("batch", *_staged(batch, stager))
        except StopIteration:
            ready.put(("end", None, None))
            return
        except BaseException as error:
            item = ("error", error, None)
        ready.put(item)
        del item


def _staged(batch: Any, stager: Stager) -> tuple[Any, Staged | None]:
    arrays: list[np.ndarray] = []

    def note(array: HostArray) -> _Place:
        dtypes.dtype(array.dtype)  # raises for one that no device has
        arrays.append(array.view(np.ndarray))
        return _place(len(arrays) - 1)

    places = map_arrays(batch, note)
    return (places, stager.stage(arrays)) if arrays else (batch, None)


def _stop(source: Any, thread: threading.Thread, room: threading.Semaphore, stopped: threading.Event) -> None:
    stopped.set()
    room.release()
    interrupt = getattr(source, "stop", None)
    if interrupt is not None:
        interrupt()
    if thread is not threading.current_thread():
        thread.join()
    source.close()
