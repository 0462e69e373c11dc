"""Host side of random numbers: a Generator's place in its counter stream, and one launch that fills an array from it.

There is no record here: nothing to differentiate, and the reference is the generator's own definition, of which the
tests keep a NumPy twin.
"""

from __future__ import annotations

import secrets
import threading
from math import isqrt, prod
from typing import Any

from .. import kernels
from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array, empty
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import kernel
from .plans import form, index_type, letter, workers

DEFAULT_SEED = 67280421310721  # what a fresh default generator starts from, as PyTorch's does


class Generator:
    """A place in the stream of numbers that a seed names; the same numbers on every device (Philox4x32-10).

    Each draw takes the next counters of the stream. ``device`` is accepted for PyTorch's sake: the state lies on the
    host, and draws go wherever the array goes.
    """

    def __init__(self, device: Any = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(DEFAULT_SEED)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of ``seed`` (0 <= seed < 2**64; negative ones wrap, as in PyTorch); returns itself."""
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

    def get_state(self) -> tuple[int, int]:
        """Seed and number of counters used: all there is to know."""
        return self._seed, self._offset

    def set_state(self, state: tuple[int, int]) -> Generator:
        """Go back to where :meth:`get_state` was called; returns itself."""
        seed, offset = state
        with self._lock:
            self._seed, self._offset = int(seed), int(offset)
        return self

    def advance(self, counters: int) -> tuple[int, int]:
        """Take the next ``counters`` counters: the seed and the first of them."""
        with self._lock:
            first = self._offset
            self._offset = (first + counters) % 2**64
            return self._seed, first


default_generator = Generator()


def _counters(kind: str, dtype: DType, n: int) -> int:
    """128-bit counters that n draws use: four 32-bit words each, or two of 64."""
    if kind == "permutation":
        return 1
    return -(-n // (2 if kind == "randint" or dtype is dtypes.float64 else 4))


def fill(kind: str, shape: tuple[int, ...], dtype: DType, device: Device, generator: Generator | None,
         signature: str = "", *args: Any) -> Array:
    """A new array of draws of one kind; ``args`` are the kind's own kernel arguments."""
    out = empty(shape, dtype, device)
    n = prod(shape)
    seed, offset = (default_generator if generator is None else generator).advance(_counters(kind, dtype, n))
    if n == 0:
        return out
    index = index_type(out.nbytes)
    params = kernels.template("random").module.DEFAULT[form(device)]
    k = kernel(device, "random", f"random_{kind}", "P" + letter(index) + "IILL" + signature, kind, kind=kind,
               ctype=dtype.c, index=index, form=form(device), **params)
    if device.wide_core:
        gsize, lsize = (workers(device, n, 4, 1024),), (1,)
    else:
        local = min(128, k.max_local)
        gsize, lsize = (local * max(1, min(-(-n // (4 * local)), device.facts.compute_units * 16)),), (local,)
    launch(k, gsize, lsize, out.storage.buffer, n, seed & 0xFFFFFFFF, seed >> 32, offset, 0, *args, nbytes=out.nbytes)
    return out


def uniform(shape: tuple[int, ...], dtype: DType, device: Device, generator: Generator | None) -> Array:
    """Uniform in [0, 1)."""
    _float("rand", dtype)
    return fill("uniform", shape, dtype, device, generator)


def normal(shape: tuple[int, ...], dtype: DType, device: Device, generator: Generator | None) -> Array:
    """Standard normal."""
    _float("randn", dtype)
    return fill("normal", shape, dtype, device, generator)


def _float(op: str, dtype: DType) -> None:
    if dtype.kind != "f":
        raise DTypeError(bad(op, dtype, "a float dtype", "Use randint for integers."))


def integers(low: int, high: int, shape: tuple[int, ...], dtype: DType, device: Device,
             generator: Generator | None) -> Array:
    """Uniform integers, low <= i < high."""
    if low >= high:
        raise ValueError(bad("randint", f"low={low}, high={high}", "low < high", "high is not drawn."))
    drawn = dtype if dtype.kind in "iu" else dtypes.int64
    bits = 8 * drawn.itemsize
    least, most = (0, 2**bits) if drawn.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    if dtype.kind == "b":
        least, most = 0, 2
    if low < least or high > most:
        raise ValueError(bad("randint", f"[{low}, {high})", f"within [{least}, {most}) for {dtype.name}",
                             "Choose a wider dtype."))
    signed_low = low - 2**64 if low >= 2**63 else low
    out = fill("randint", shape, drawn, device, generator, "lL", signed_low, (high - low) % 2**64)
    return out.astype(dtype)


def permutation(n: int, dtype: DType, device: Device, generator: Generator | None) -> Array:
    """0 .. n - 1 in random order."""
    if n < 0:
        raise ShapeError(bad("randperm", f"n={n}", "n >= 0", "Give the number of elements."))
    cells = max(n, 256)
    side = isqrt(cells - 1) + 1
    return fill("permutation", (n,), dtypes.int64, device, generator, "L", side).astype(dtype)


def bernoulli(shape: tuple[int, ...], p: float, device: Device, generator: Generator | None) -> Array:
    """bool: True with probability p."""
    out = fill("bernoulli", shape, dtypes.uint8, device, generator, "f", p)
    return Array(out.storage, out.shape, out.strides, out.offset, dtypes.bool_)
