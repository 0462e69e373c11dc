"""A generator: the seed of a counter stream and how many of its counters are used. It lies on the host."""

from __future__ import annotations

import secrets
import threading
from typing import Any

import numpy as np

from ..core.errors import DTypeError, bad
from ..ndarray import Array
from ..runtime.device import Device
from ..runtime.device import device as find_device

DEFAULT_SEED = 67280421310721  # what a fresh default generator starts from, as PyTorch's does
_TAG = b"clgrad\x00\x01"  # of a state: whose, and which layout
_LENGTH = len(_TAG) + 16


class Generator:
    """A place in the stream of numbers that a seed names; the same numbers on every device (Philox4x32-10).

    Each draw takes the next counters of the stream, atomically: threads that share a generator get different numbers.
    ``device`` is accepted for PyTorch's sake: the state lies on the host, and draws go wherever the array goes.
    Generators can be pickled and copied; a copy goes on from the same place.
    """

    def __init__(self, device: Any = None) -> None:
        self._lock = threading.Lock()
        self._device = None if device is None else find_device(device)
        self.manual_seed(DEFAULT_SEED)

    @property
    def device(self) -> Device:
        """The device given to the constructor, else the default device."""
        return find_device() if self._device is None else self._device

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of ``seed`` (0 <= seed < 2**64; negative ones wrap, as in PyTorch); returns itself."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(bad("manual_seed", f"a {type(seed).__name__}", "an int", "Convert the seed with int()."))
        if not -(2**63) <= seed < 2**64:
            raise ValueError(bad("manual_seed", seed, "-2**63 <= seed < 2**64", "Use a smaller seed."))
        with self._lock:
            self._seed, self._offset = int(seed) % 2**64, 0
        return self

    def seed(self) -> int:
        """Start the stream of a seed drawn from the operating system, and return the seed."""
        fresh = secrets.randbits(63)
        self.manual_seed(fresh)
        return fresh

    def initial_seed(self) -> int:
        """The seed of the current stream."""
        return self._seed

    def get_state(self) -> np.ndarray:
        """All there is to know, as 24 bytes (uint8, on the host): a tag, the seed and the number of counters used,
        both little-endian. The same layout on every machine, so that it can be saved with a checkpoint."""
        with self._lock:
            seed, offset = self._seed, self._offset
        return np.frombuffer(_TAG + seed.to_bytes(8, "little") + offset.to_bytes(8, "little"), np.uint8).copy()

    def set_state(self, state: Any) -> Generator:
        """Go back to where :meth:`get_state` was called; returns itself.

        ``state`` is what that returned, as a NumPy or clgrad array of uint8 or as bytes, or a pair (seed, offset).
        """
        seed, offset = state if isinstance(state, tuple) and len(state) == 2 else _read(state)
        with self._lock:
            self._seed, self._offset = int(seed) % 2**64, int(offset) % 2**64
        return self

    def clone_state(self) -> Generator:
        """Another generator at the same place."""
        other = Generator.__new__(Generator)
        other.__setstate__(self.__getstate__())
        other._device = self._device
        return other

    def advance(self, counters: int) -> tuple[int, int]:
        """Take the next ``counters`` counters: the seed and the first of them."""
        with self._lock:
            first = self._offset
            self._offset = (first + counters) % 2**64
            return self._seed, first

    def __getstate__(self) -> np.ndarray:
        return self.get_state()

    def __setstate__(self, state: np.ndarray) -> None:
        self._lock = threading.Lock()
        self._device = None
        self.set_state(state)

    def __repr__(self) -> str:
        return f"clgrad.Generator(seed={self._seed}, offset={self._offset})"


def _read(state: Any) -> tuple[int, int]:
    """Seed and offset of a state's bytes."""
    state = getattr(state, "data", state) if not isinstance(state, (bytes, bytearray, np.ndarray)) else state
    host = state.numpy() if isinstance(state, Array) else state
    if isinstance(host, np.ndarray) and host.dtype != np.uint8:
        raise DTypeError(bad("set_state", f"an array of {host.dtype}", "uint8", "Pass what get_state() returned."))
    raw = host.tobytes() if isinstance(host, np.ndarray) else host
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != _LENGTH or not raw.startswith(_TAG):
        got = f"{len(raw)} bytes" if isinstance(raw, (bytes, bytearray)) else f"a {type(state).__name__}"
        raise ValueError(bad("set_state", got, f"the {_LENGTH} bytes of a clgrad generator's state",
                             "Pass what get_state() returned."))
    return int.from_bytes(raw[-16:-8], "little"), int.from_bytes(raw[-8:], "little")


default_generator = Generator()


def chosen(op: str, generator: Any) -> Generator:
    """The generator to draw from: the default one in place of None."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(bad(op, f"generator={type(generator).__name__}", "a clgrad.Generator",
                            "Make one with clgrad.Generator().manual_seed(seed)."))
    return generator
