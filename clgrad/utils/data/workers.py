"""The consumer's side of worker processes: starting them, handing out tasks, taking answers in order, ending them."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import secrets
import signal
import sys
import threading
import time
import types
import weakref
from collections import deque
from collections.abc import Iterator
from multiprocessing import connection as mp_connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from ...autograd.variable import Variable
from ...core.errors import ClgradError, bad
from ...ndarray import Array
from ...runtime.device import Device
from . import worker
from .worker import Failure, Setup

_LOOK = 5.0  # seconds between looks at whether a silent worker still lives
_GRACE = 2.0  # seconds a worker has to end by itself
_start_lock = threading.Lock()


class WorkerDied(ClgradError, RuntimeError):
    """A worker process ended before its work did; the message says how."""


class DeviceDataError(ClgradError, TypeError):
    """A data set that holds arrays on a device cannot go to a worker process."""


# What a worker gets --------------------------------------------------------------------------------------------------


def _refuse_device_data(value: Any) -> None:
    if isinstance(value, (Variable, Array, Device)):
        raise DeviceDataError(f"DataLoader: got a data set that holds a {type(value).__name__} on a device; expected "
                              "host data, as NumPy arrays, for worker processes. Keep NumPy arrays in the data set.")


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        _refuse_device_data(value)
        return NotImplemented


def pickled(value: Any) -> tuple[bytes, tuple[str, str] | None]:
    """The bytes of a data set and its functions, and how to import the script they need, if any.

    cloudpickle, where it is installed, serves what pickle cannot name: lambdas, what a function or a notebook defines.
    """
    problem, data = None, b""
    try:
        file = io.BytesIO()
        _Pickler(file, 5).dump(value)
        data = file.getvalue()
    except DeviceDataError:
        raise
    except Exception as error:
        problem = error
    if problem is None and b"__main__" not in data:
        return data, None
    by_value = _cloudpickled(value)
    if by_value is not None:
        return by_value, None
    script = _script()
    if problem is None and script is not None:
        return data, script
    reason = f"({problem})" if problem is not None else "(it is defined in a notebook or an interactive session)"
    raise TypeError(bad("DataLoader", f"a data set, collate_fn or worker_init_fn that cannot be pickled {reason}",
                        "ones that can, for worker processes", "Define classes and functions at the top level of a "
                        "module, install cloudpickle (pip install 'clgrad[data]'), or pass num_workers=0.")
                    ) from problem


def _cloudpickled(value: Any) -> bytes | None:
    try:
        import cloudpickle
    except ImportError:
        return None

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            _refuse_device_data(value)
            return super().reducer_override(value)

    file = io.BytesIO()
    try:
        Pickler(file, 5).dump(value)
    except DeviceDataError:
        raise
    except Exception:
        return None
    return file.getvalue()


def _script() -> tuple[str, str] | None:
    """How a worker can import the program's main module."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return "module", spec.name
    path = getattr(main, "__file__", None)
    return None if path is None else ("file", path)


# Processes -----------------------------------------------------------------------------------------------------------


class Worker:
    """One process: its connection, and the shared memory it has made."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.id = setup.id
        self.streaming = True  # whether its stream may have more
        self.to_release: list[int] = []
        self._name = f"{setup.prefix}-{setup.id}"
        self._blocks: dict[int, SharedMemory] = {}
        self._seen = 0
        self.process = context.Process(target=worker.run, args=(theirs, setup), daemon=True,
                                       name=f"clgrad-data-{setup.id}")
        with _start_lock:  # the child imports the script itself, later, and only where it must
            main = sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            try:
                self.process.start()
            finally:
                sys.modules["__main__"] = main
        theirs.close()

    def send(self, kind: str, epoch: int, task: int = 0, indices: Any = None) -> None:
        """A task; WorkerDied where nobody is there to take it."""
        released, self.to_release = self.to_release, []
        try:
            self.connection.send((kind, epoch, task, indices, released))
        except OSError:
            raise self.death() from None

    def receive(self) -> tuple:
        """The next answer: (epoch, task, kind, block, lengths)."""
        try:
            epoch, task, kind, block, lengths, dropped = self.connection.recv()
        except (EOFError, OSError):
            raise self.death() from None
        self._seen = max(self._seen, block + 1)
        for number in dropped:
            _close(self._blocks.pop(number, None))
        return epoch, task, kind, block, lengths

    def read(self, block: int, lengths: list[int]) -> Any:
        """The object in a block. Its arrays have memory of their own, so the block is free again."""
        if block not in self._blocks:
            self._blocks[block] = SharedMemory(f"{self._name}-{block}")
        own = memoryview(bytearray(self._blocks[block].buf[:sum(lengths)]))
        parts, offset = [], 0
        for n in lengths:
            parts.append(own[offset:offset + n])
            offset += n
        self.to_release.append(block)
        return pickle.loads(parts[0], buffers=parts[1:])

    def death(self) -> WorkerDied:
        """The error that says how the process ended."""
        self.process.join(_GRACE)
        code = self.process.exitcode
        if code is None:
            how = "closed its connection"
        elif code < 0:
            how = f"was killed by signal {_signal_name(-code)}"
        else:
            how = f"ended with exit code {code}"
        return WorkerDied(f"DataLoader: worker {self.id} (pid {self.process.pid}) {how}; expected it to make batches. "
                          "Out of memory kills so (fewer workers or smaller batches help), and so does a crash in "
                          "native code; num_workers=0 shows where.")

    def end(self, deadline: float) -> None:
        """Let the process end, make it end where it does not, and remove its shared memory."""
        self.process.join(max(0.0, deadline - time.monotonic()))
        for force in (self.process.terminate, self.process.kill):
            if self.process.exitcode is None:
                force()
                self.process.join(_GRACE)
        if self.process.exitcode is not None:
            self.process.close()
        for block in self._blocks.values():
            _close(block)
        for number in range(self._seen + 1):  # one more may have been made and not yet announced
            _unlink(f"{self._name}-{number}")


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _close(block: SharedMemory | None) -> None:
    if block is not None:
        block.close()


def _unlink(name: str) -> None:
    try:
        block = SharedMemory(name)
    except (FileNotFoundError, OSError):
        return
    block.close()
    block.unlink()


def _end_all(workers: list[Worker], payload: SharedMemory) -> None:
    for w in workers:
        w.connection.close()  # which the process sees, and ends
    deadline = time.monotonic() + _GRACE
    for w in workers:
        w.end(deadline)
    workers.clear()
    payload.close()
    payload.unlink()


class Workers:
    """The processes of a loader, for one epoch or, when persistent, for many."""

    def __init__(self, count: int, arguments: tuple, worker_init_fn: Any, seed: int, timeout: float) -> None:
        worker.refuse_within_worker()
        data, script = pickled((arguments, worker_init_fn))
        prefix = f"clg{secrets.token_hex(4)}"
        payload = SharedMemory(f"{prefix}-p", create=True, size=max(1, len(data)))
        payload.buf[:len(data)] = data
        self.all: list[Worker] = []
        self.close = weakref.finalize(self, _end_all, self.all, payload)
        self._timeout = timeout
        self._epoch = 0
        self._wake, self.interrupt = multiprocessing.get_context("spawn").Pipe(duplex=False)
        try:
            for i in range(count):
                self.all.append(Worker(Setup(i, count, seed, prefix, payload.name, len(data), script)))
        except BaseException:
            self.close()
            raise

    def start_epoch(self) -> int:
        """Make every worker begin anew; answers of older epochs will be dropped."""
        self._epoch += 1
        for w in self.all:
            w.streaming = True
            w.send("epoch", self._epoch)
        return self._epoch

    def answers(self, epoch: int) -> list[tuple[int, str, Any, Worker]] | None:
        """Wait for answers of an epoch: (task, kind, value, worker); None where :meth:`stop` was called."""
        limit = time.monotonic() + self._timeout if self._timeout else None
        while True:
            wait = _LOOK if limit is None else max(0.0, min(_LOOK, limit - time.monotonic()))
            ready = mp_connection.wait([w.connection for w in self.all] + [self._wake], wait)
            if self._wake in ready:
                return None
            found = [self._read(w, epoch) for w in self.all if w.connection in ready]
            kept = [a for a in found if a is not None]
            if kept:
                return kept
            for w in self.all:
                if w.process.exitcode is not None and not w.connection.poll():
                    raise w.death()
            if limit is not None and time.monotonic() >= limit:
                raise RuntimeError(bad("DataLoader", f"no batch from its workers for {self._timeout} seconds",
                                       "one within `timeout`", "Raise it, or speed up the data set."))

    @staticmethod
    def _read(w: Worker, epoch: int) -> tuple[int, str, Any, Worker] | None:
        its_epoch, task, kind, block, lengths = w.receive()
        if its_epoch != epoch:
            w.to_release.append(block)
            return None
        return task, kind, w.read(block, lengths), w

    def stop(self) -> None:
        """Make a thread that waits in :meth:`answers` come back."""
        self.interrupt.send_bytes(b"x")

    def resume(self) -> None:
        """Forget a :meth:`stop`."""
        while self._wake.poll():
            self._wake.recv_bytes()


class WorkerBatches:
    """One epoch's batches from workers, in the order of their indices."""

    def __init__(self, workers: Workers, indices: Iterator[Any], ahead: int, stream: bool, persistent: bool) -> None:
        workers.resume()
        self._workers = workers
        self._epoch = workers.start_epoch()
        self._indices = indices
        self._stream = stream
        self._persistent = persistent
        self._order: deque[int] = deque()  # tasks sent and not yet given
        self._done: dict[int, tuple[str, Any]] = {}
        self._sent = 0
        self._turn = 0
        self._over = False
        try:
            for _ in range(ahead * len(workers.all)):
                self._send_next()
        except BaseException:
            workers.close()
            raise

    def __iter__(self) -> WorkerBatches:
        return self

    def __next__(self) -> Any:
        try:
            kind, value = self._answer()
        except BaseException:  # a worker died, or gave no answer in time: the others are of no use
            self._persistent = False
            self.close()
            raise
        if kind == "error":
            raise value.error() from None
        if kind == "end":
            self.close()
            raise StopIteration
        return value

    def _answer(self) -> tuple[str, Any]:
        """What the next task gave, a batch or an error; ``end`` where there is none."""
        while self._order and not self._over:
            if self._order[0] not in self._done:
                self._take()
                continue
            kind, value = self._done.pop(self._order.popleft())
            if kind != "end":
                self._send_next()
                return kind, value
        return "end", None

    def _take(self) -> None:
        answers = self._workers.answers(self._epoch)
        if answers is None:
            self._over = True
            return
        for task, kind, value, w in answers:
            self._done[task] = kind, value
            if kind == "end":
                w.streaming = False
                self._send_next()

    def _send_next(self) -> None:
        """Hand the next task to the next worker, in turn, that has room and, of a stream, more to give."""
        workers = self._workers.all
        for step in range(len(workers)):
            w = workers[(self._turn + step) % len(workers)]
            if w.streaming or not self._stream:
                break
        else:
            return
        try:
            indices = next(self._indices)
        except StopIteration:
            return
        self._turn = (w.id + 1) % len(workers)
        self._order.append(self._sent)
        w.send("fetch", self._epoch, self._sent, indices)
        self._sent += 1

    def stop(self) -> None:
        """From another thread: end the iteration, also where it waits."""
        self._over = True
        self._workers.stop()

    def close(self) -> None:
        """End the iteration; the processes too, unless they are persistent."""
        self._over = True
        if not self._persistent:
            self._workers.close()


__all__ = ["DeviceDataError", "Failure", "WorkerBatches", "WorkerDied", "Workers"]
