"""A worker process's side: it makes batches on the host and never touches a device.

A worker is spawned, never forked: some OpenCL drivers hang in a forked child. It answers through shared memory, which
it makes and the consumer's process takes away in the end, so that a worker that is killed leaves nothing behind.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
import random
import signal
import sys
import traceback
import types
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from ...families.generator import default_generator
from ...runtime.device import forbid

_MOST_BUFFERS = 256  # more arrays than that in one batch travel within the pickle

NO_DEVICE = ("DataLoader worker: got the use of a device in a worker process; expected host data, as NumPy arrays or "
             "Pillow images. Return these from the data set: the loader puts batches on the device; or pass "
             "num_workers=0.")
GUARD = ("The script's top level runs again in each worker process, up to its first use of a device. Put what is to "
         "run once under `if __name__ == \"__main__\":`, put the data set's class above it or into a module, or pass "
         "num_workers=0.")


class UnguardedMain(RuntimeError):
    """A worker process, importing the program's script, met a loader with workers."""


@dataclass
class WorkerInfo:
    """What :func:`get_worker_info` tells in a worker process: ``dataset`` is the copy that this one has."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None
_in_worker = False


def get_worker_info() -> WorkerInfo | None:
    """In a worker process its ``id``, ``num_workers``, ``seed`` and ``dataset``; elsewhere None."""
    return _info


def refuse_within_worker() -> None:
    """Raise where a worker process would start workers of its own: at the import of a script without a guard."""
    if _in_worker:
        raise UnguardedMain(f"DataLoader: got num_workers > 0 in a worker process; expected 0 there. {GUARD}")


@dataclass(frozen=True)
class Setup:
    """All that a worker gets when it starts. ``payload`` names shared memory of ``size`` bytes with the pickled
    (fetcher's arguments, worker_init_fn); ``script`` is how to import the program's main module, if it must be."""

    id: int
    num_workers: int
    seed: int
    prefix: str
    payload: str
    size: int
    script: tuple[str, str] | None


def run(connection: Connection, setup: Setup) -> None:
    """Answer tasks until the connection closes."""
    global _in_worker
    _in_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the consumer's to handle, which then ends this process
    forbid(NO_DEVICE)
    outbox = Outbox(connection, f"{setup.prefix}-{setup.id}")
    try:
        _answer(connection, setup, outbox)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the consumer's process has closed the connection, or ended
    finally:
        outbox.close()


def _answer(connection: Connection, setup: Setup, outbox: Outbox) -> None:
    fetcher = failure = broken = make_fetcher = None
    try:
        make_fetcher = _prepare(setup)
    except Exception as error:
        failure = described(error, setup.id)
    while True:
        kind, epoch, task, indices, released = connection.recv()
        outbox.release(released)
        if kind == "epoch":
            if failure is None:
                fetcher, broken = _begin(make_fetcher, setup.id)
        elif failure is not None or broken is not None:
            outbox.send(epoch, task, "error", failure or broken)
        else:
            outbox.send(epoch, task, *_batch(fetcher, indices, setup.id))


def _begin(make_fetcher: Any, worker: int) -> tuple[Any, Failure | None]:
    try:
        return make_fetcher(), None
    except Exception as error:
        return None, described(error, worker)


def _batch(fetcher: Any, indices: Any, worker: int) -> tuple[str, Any]:
    try:
        return "batch", fetcher(indices)
    except StopIteration:
        return "end", None
    except Exception as error:
        return "error", described(error, worker)


def _prepare(setup: Setup) -> Any:
    """Unpickle, seed, call ``worker_init_fn``; what makes an epoch's fetcher."""
    global _info
    from .fetch import Fetcher

    arguments, worker_init_fn = _unpickled(setup)
    seed = setup.seed + setup.id
    random.seed(seed)
    np.random.seed(seed % 2**32)
    default_generator.manual_seed(seed)
    _info = WorkerInfo(setup.id, setup.num_workers, seed, arguments[0])
    if worker_init_fn is not None:
        worker_init_fn(setup.id)
    return lambda: Fetcher(*arguments)


def _unpickled(setup: Setup) -> Any:
    stopped = None
    if setup.script is not None:
        stopped = _import_script(*setup.script)
    memory = SharedMemory(setup.payload)
    try:
        return pickle.loads(memory.buf[:setup.size])
    except (AttributeError, ImportError, NameError) as error:
        if stopped is None:
            raise
        raise RuntimeError(f"DataLoader worker: got a script that cannot be imported ({error}); expected one with the "
                           f"data set's class. {GUARD}\nIts import stopped here:\n{stopped}") from None
    finally:
        memory.close()


def _import_script(kind: str, where: str) -> str | None:
    """Run the program's main module as ``__mp_main__``, as multiprocessing does, as far as it goes; a traceback where
    that is not its end. A script without a guard goes as far as its first use of a device."""
    module = types.ModuleType("__mp_main__")
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    try:
        if kind == "module":
            spec = importlib.util.find_spec(where)
            module.__spec__, module.__file__, module.__package__ = spec, spec.origin, spec.parent
            code = spec.loader.get_code(where)  # type: ignore[union-attr]
        else:
            module.__file__ = where
            with io.open_code(where) as file:
                code = compile(file.read(), where, "exec")
        exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return traceback.format_exc()
    return None


# Answers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """An exception of a worker: its class, pickled where that is possible, and its text with the traceback."""

    kind: bytes | None
    text: str

    def error(self) -> Exception:
        """An exception of the same class where one can be made of a text, else a RuntimeError."""
        try:
            cls = pickle.loads(self.kind) if self.kind is not None else RuntimeError
            return cls(_Plain(self.text) if issubclass(cls, KeyError) else self.text)
        except Exception:
            return RuntimeError(self.text)


class _Plain(str):
    """A text whose repr is itself: KeyError shows its message by repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def described(error: Exception, worker: int) -> Failure:
    """What there is to say of an exception, as PyTorch words it."""
    text = (f"Caught {type(error).__name__} in DataLoader worker process {worker}.\nOriginal "
            f"{''.join(traceback.format_exception(error))}")
    try:
        kind = pickle.dumps(type(error))
    except Exception:
        kind = None
    return Failure(kind, text)


def _as_host_array(array: np.ndarray) -> Any:
    from .collate import host_array

    return host_array(array)


class _Pickler(pickle.Pickler):
    """Keeps the mark on arrays while their bytes travel out of band."""

    def reducer_override(self, value: Any) -> Any:
        from .collate import HostArray

        if type(value) is HostArray:
            return _as_host_array, (np.ascontiguousarray(value.view(np.ndarray)).reshape(value.shape),)
        return NotImplemented


def _parts(value: Any) -> list[memoryview]:
    """A pickle, and the arrays' bytes beside it where they are not too many."""
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    _Pickler(file, 5, buffer_callback=buffers.append).dump(value)
    if len(buffers) > _MOST_BUFFERS:
        buffers, file = [], io.BytesIO()
        _Pickler(file, 5).dump(value)
    return [file.getbuffer(), *(b.raw() for b in buffers)]


class Outbox:
    """Sends objects through shared memory: the connection carries the block's number and the lengths of the parts."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._blocks: dict[int, SharedMemory] = {}
        self._free: set[int] = set()
        self._made = 0

    def release(self, numbers: list[int]) -> None:
        """These blocks have been read."""
        self._free.update(numbers)

    def send(self, epoch: int, task: int, kind: str, value: Any) -> None:
        """One answer; whatever its size, the message is short, so that sending it never waits for the reader."""
        parts = _parts(value)
        number, dropped = self._block(sum(p.nbytes for p in parts))
        target, offset = self._blocks[number].buf, 0
        for p in parts:
            target[offset:offset + p.nbytes] = p
            offset += p.nbytes
        self._connection.send((epoch, task, kind, number, [p.nbytes for p in parts], dropped))

    def _block(self, size: int) -> tuple[int, list[int]]:
        """A free block with room, or a new one in place of the free ones, which are too small."""
        for number in self._free:
            if self._blocks[number].size >= size:
                self._free.remove(number)
                return number, []
        dropped = list(self._free)
        for number in dropped:
            block = self._blocks.pop(number)
            block.close()
            block.unlink()
        self._free.clear()
        number = self._made
        self._made += 1
        self._blocks[number] = SharedMemory(f"{self._name}-{number}", create=True, size=max(size + size // 8, 4096))
        return number, dropped

    def close(self) -> None:
        """Unmap; the consumer's process removes the blocks."""
        for block in self._blocks.values():
            block.close()
