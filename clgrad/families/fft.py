"""Host side of Fourier transforms: which launches make up a transform of any length, and the tables they read.

A length whose prime factors are small is transformed by passes of small radices, in one launch where a line fits, in
two or more where it does not (n = n1 n2: transforms of n1 points, a turn of every element, transforms of n2). Any
other length is a convolution with a chirp, by two transforms of a length with small factors (L. Bluestein, "A linear
filtering approach to the computation of discrete Fourier transform", 1970). Of real signals of even length, pairs are
transformed as complex numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt, log2, prod
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .. import kernels
from ..core import dtypes, shapes
from ..core.dtypes import DType
from ..core.errors import ShapeError, bad
from ..ndarray import Array, Storage, empty, from_host, full
from ..runtime.device import Device
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel
from .plans import INT_BYTES, Plans, check_device, form, index_type, letter, parameters

_LARGEST_PRIME = 31  # factors above it go through a chirp; a radix must fit in six bits
_RADICES = (8, 5, 7, 3, 4, 2)
_PART = 64  # elements of a line in a launch that only moves them
_MOST_TABLE_BYTES = 1 << 28  # tables that plans keep alive, all together


# Lengths -------------------------------------------------------------------------------------------------------------


@lru_cache(4096)
def radices(n: int) -> tuple[int, ...]:
    """Radices whose product is n, the passes in order; () for 1."""
    found = []
    for r in _RADICES:
        while n % r == 0:
            found.append(r)
            n //= r
    p = 11
    while n > 1:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 2
        if p * p > n > 1:
            found.append(n)
            break
    return tuple(found)


def is_smooth(n: int) -> bool:
    """Whether n is a product of radices that the kernel has."""
    return max(radices(n), default=1) <= _LARGEST_PRIME


@lru_cache(4096)
def convenient(n: int) -> int:
    """The least length of n or more that is 1, 3, 5 or 9 times a power of two."""
    return min(k << max(0, (-(-n // k) - 1).bit_length()) for k in (1, 3, 5, 9))


@lru_cache(4096)
def halves(n: int, most: int) -> tuple[int, int]:
    """n as n1 n2: alike where both can be at most ``most``, else n2 as large as that allows."""
    divisors = {d for d in range(1, isqrt(n) + 1) if n % d == 0}
    n2 = max(divisors)
    if n // n2 > most:
        n2 = max(d for d in divisors | {n // d for d in divisors} if d <= most)
    return n // n2, n2


# Tables --------------------------------------------------------------------------------------------------------------


def roots(k: np.ndarray, n: int) -> np.ndarray:
    """exp(-2 pi i k / n) in complex128, from angles below pi / 4 so that no digit is lost. 0 <= k < n."""
    eighth, rest = np.divmod(8 * k.astype(np.int64), n)
    odd = eighth % 2 == 1
    angle = np.where(odd, n - rest, rest) * (np.pi / 4 / n)
    c, s = np.cos(angle), np.sin(angle)
    c, s = np.where(odd, s, c), np.where(odd, c, s)  # within a quarter turn, the upper half mirrors the lower
    re = np.choose(eighth // 2, [c, -s, -c, s])
    im = np.choose(eighth // 2, [-s, -c, s, c])
    return re + 1j * im


def _chirp(n: int) -> np.ndarray:
    """exp(-pi i j^2 / n) for j < n."""
    j = np.arange(n, dtype=np.int64)
    return roots(j * j % (2 * n), 2 * n)


def _chirp_spectrum(n: int, m: int) -> np.ndarray:
    """Transform of the conjugate chirp, wrapped around m points, over m."""
    chirp = _chirp(n).conj()
    wrapped = np.zeros(m, np.complex128)
    wrapped[:n] = chirp
    wrapped[m - n + 1:] = chirp[:0:-1]
    return np.fft.fft(wrapped) / m


_MAKERS = {"roots": lambda n: roots(np.arange(n), n), "chirp": _chirp, "back": lambda n: _chirp(n).conj(),
           "spectrum": _chirp_spectrum}
_tables: WeakValueDictionary[tuple, Array] = WeakValueDictionary()


def table(device: Device, dtype: DType, name: str, *sizes: int) -> Array:
    """A table on the device, rounded from float64; uploaded once, and kept while a plan uses it."""
    key = (device, dtype, name, *sizes)
    found = _tables.get(key)
    if found is None:
        found = _tables[key] = from_host(_MAKERS[name](*sizes).astype(dtype.np), dtype, device)
    return found


# Plans ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    """Where and how a launch reads; strides and places have an entry a batch axis, ``size`` elements exist and
    places from ``end`` on are zero. See the kernel's head."""

    buffer: str
    complex: bool
    strides: tuple[int, ...]
    places: tuple[int, ...]
    step: int
    size: int
    end: int
    along: int = 1
    how: str = "plain"
    signal: int = 0
    flip: int = 1
    factor: Array | None = None
    turning: bool = False


@dataclass(frozen=True)
class _Write:
    """Where and how a launch writes."""

    buffer: str
    complex: bool
    strides: tuple[int, ...]
    step: int
    size: int
    along: int = 1
    beside: int = 0
    how: str = "plain"
    factor: Array | None = None
    scale: float = 1.0
    flip: int = 1


@dataclass(frozen=True)
class _Step:
    kernel: Kernel
    gsize: tuple[int]
    lsize: tuple[int]
    write: str
    read: str
    tables: tuple[Array | None, ...]
    scratch: int
    nbytes: int
    flops: int
    tail: tuple[Any, ...]


@dataclass(frozen=True)
class _Plan:
    steps: tuple[_Step, ...]
    temporaries: tuple[tuple[str, int], ...]  # name and bytes


class _Planner:
    """Collects the launches of one transform."""

    def __init__(self, device: Device, dtype: DType, index: str, params: dict[str, int]) -> None:
        self.device = device
        self.params = params
        self.dtype = dtype  # complex
        self.index = index
        self.steps: list[_Step] = []
        self.temporaries: list[tuple[str, int]] = []
        module = kernels.template("fft").module
        self.points = params["points"]
        if device.wide_core:
            self.lanes = module.LANES[dtype.real.c]
        else:
            while self.points * 2 * dtype.itemsize > min(device.facts.local_mem_size, 1 << 15):
                self.points //= 2

    def table(self, name: str, *sizes: int) -> Array:
        return table(self.device, self.dtype, name, *sizes)

    def temporary(self, size: int) -> str:
        name = f"t{len(self.temporaries)}"
        self.temporaries.append((name, size * self.dtype.itemsize))
        return name

    def split(self, lines: int, n: int) -> bool:
        """Whether lines of n points take more than one launch."""
        if n > self.points:
            return True
        return (self.device.wide_core and n >= self.params["split"] and lines < self.lanes and
                halves(n, n)[1] >= self.lanes)

    def most_axes(self, n: int) -> int:
        """Batch axes that a transform of n points leaves of the kernel's three: each further launch takes one."""
        size = n if is_smooth(n) else convenient(2 * n - 1)
        left = 2
        while size > self.points:
            size = halves(size, self.points)[0]
            left -= size > self.points
        if left < 1:
            raise ShapeError(bad("fft", f"{n} points on {self.device}", "what three launches can transform",
                                 "Transform parts of it."))
        return left

    def transform(self, batch: tuple[int, ...], read: _Read, write: _Write, n: int) -> None:
        """Transforms of n points, whatever n."""
        if is_smooth(n):
            self.smooth(batch, read, write, n)
            return
        m = convenient(2 * n - 1)
        between = self.temporary(prod(batch) * m)
        inner = shapes.contiguous_strides((*batch, m))[:-1]
        self.smooth(batch, replace(read, factor=self.table("chirp", n)),
                    _Write(between, True, inner, 1, m, factor=self.table("spectrum", n, m), flip=-1), m)
        self.smooth(batch, _Read(between, True, inner, (0,) * len(batch), 1, m, m),
                    replace(write, factor=self.table("back", n), flip=-write.flip), m)

    def smooth(self, batch: tuple[int, ...], read: _Read, write: _Write, n: int) -> None:
        """Transforms of n points, n a product of radices."""
        if not self.split(prod(batch), n):
            self.launch(batch, read, write, n)
            return
        n1, n2 = halves(n, self.points if n > self.points else n)
        between = self.temporary(prod(batch) * n)
        inner = shapes.contiguous_strides((*batch, n))[:-1]
        self.smooth((*batch, n2), replace(read, strides=(*read.strides, 0), places=(*read.places, read.along),
                                          along=read.along * n2),
                    _Write(between, True, (*inner, 1), n2, n1), n1)
        self.launch((*batch, n1),
                    _Read(between, True, (*inner, n2), (0,) * (len(batch) + 1), 1, n2, n2, turning=True,
                          factor=self.table("roots", n)),
                    replace(write, strides=(*write.strides, 0), along=n1 * write.along, beside=write.along), n2)

    def spectrum(self, batch: tuple[int, ...], read: _Read, write: _Write, half: int) -> None:
        """Half the spectra of real signals of 2 half points, by transforms of their pairs."""
        if is_smooth(half) and not self.split(prod(batch), half):
            self.launch(batch, read, replace(write, how="unfolded"), half)
            return
        between = self.temporary(prod(batch) * half)
        inner = shapes.contiguous_strides((*batch, half))[:-1]
        self.transform(batch, read, _Write(between, True, inner, 1, half), half)
        part = min(_PART, self.points, half + 1)
        self.launch((*batch, -(-(half + 1) // part)),
                    _Read(between, True, (*inner, 0), (*(0,) * len(batch), part), 1, half, half + 1, how="unfolded",
                          signal=2 * half),
                    replace(write, strides=(*write.strides, 0), beside=part), part, passes=False)

    def launch(self, batch: tuple[int, ...], read: _Read, write: _Write, n: int, passes: bool = True) -> None:
        """One launch; batch axes are filled up to three. Without passes it moves elements, no more."""
        device, real = self.device, self.dtype.real
        module = kernels.template("fft").module
        fill = 3 - len(batch)
        sizes, strides, places, targets = ((value,) * fill + tuple(given) for value, given in (
            (1, batch), (0, read.strides), (0, read.places), (0, write.strides)))
        lines = prod(sizes)
        i = letter(self.index)
        scalar = "f" if real is dtypes.float32 else "d"
        k = kernel(device, "fft", "fft", f"P{i}P{i}" + "PPPPP" + i * 23 + "iiiiii" + "L" + scalar * 3, "fft",
                   form=form(device), index=self.index, R=real.c, ctype=self.dtype.c if read.complex else real.c,
                   out=self.dtype.c if write.complex else real.c, points=self.points)
        if device.wide_core:
            held = self.lanes
            gsize = min(-(-lines // held), device.facts.compute_units * self.params["groups_per_unit"])
            lsize, scratch = 1, gsize * 4 * n * self.lanes * real.itemsize
        else:
            held = max(1, min(self.points // n, -(-lines // device.facts.compute_units)))
            lsize, scratch = min(self.params["group"], k.max_local), 0
            gsize = min(-(-lines // held), device.facts.compute_units * self.params["groups_per_unit"]) * lsize
        packed = sum(r << 6 * place for place, r in enumerate(radices(n) if passes else ()))
        whole = self.table("roots", read.signal) if read.how in ("pairs", "folded", "unfolded") else None
        tail = (n, lines, *sizes[1:], *strides, read.step, *places, read.along, read.end, read.size, read.signal,
                *targets, write.step, write.along, write.beside, write.size, held,
                module.READ[read.how], module.WRITE[write.how],
                0 if read.factor is None else 2 if read.turning else 1, int(write.factor is not None),
                int(abs(strides[2] + places[2] * read.step) < abs(read.along * read.step)),
                int(abs(targets[2] + write.beside * write.step) < abs(write.along * write.step)),
                packed, float(read.flip), write.scale, write.scale * write.flip)
        self.steps.append(_Step(k, (gsize,), (lsize,), write.buffer, read.buffer,
                                (self.table("roots", n if passes else 1), whole, read.factor, write.factor), scratch,
                                2 * lines * n * self.dtype.itemsize, int(5 * lines * n * log2(n)) * passes, tail))


class Fourier:
    """Callable that transforms an Array of floats or complex numbers along one axis.

    ``kind`` is "c2c", "r2c" (half of the spectrum of a real signal) or "c2r" (the signal of such a half); ``n`` the
    signal's length, to which x is cut or extended by zeros; ``inverse`` the sign of the exponent.
    """

    def __init__(self) -> None:
        self._plans = Plans()
        self._held = 0

    def __call__(self, kind: str, x: Array, n: int, axis: int, inverse: bool, scale: float) -> Array:
        device = x.storage.device
        shape = (*x.shape[:axis], n // 2 + 1 if kind == "r2c" else n, *x.shape[axis + 1:])
        dtype = x.dtype.real if kind == "c2r" else x.dtype.complex
        if x.size == 0:
            return full(shape, 0, dtype, device)
        key = (kind, x.shape, x.strides, x.dtype, device, x.storage.nbytes >= INT_BYTES, n, axis, inverse, scale)
        plan = self._plans.get(key)
        if plan is None:
            check_device(device, dtype)
            params = parameters(device, "fft", x.dtype.real.name, kind, (x.size // x.shape[axis], n))
            planner = _Planner(device, x.dtype.complex, _index(x, n, axis), params)
            lines = _lines(x, axis, shape)
            if len(lines[0]) > planner.most_axes(n // 2 if kind != "c2c" and n % 2 == 0 else n):
                return self._rearranged(kind, x, n, axis, inverse, scale)
            plan = self._keep(key, _plan(planner, kind, x, n, axis, inverse, scale, shape, lines))
        out = empty(shape, dtype, device)
        buffers = {name: Storage(device, size) for name, size in plan.temporaries}
        buffers |= {"x": x.storage, "out": out.storage}
        for s in plan.steps:
            scratch = Storage(device, s.scratch)
            tables = [None if t is None else t.storage.buffer for t in s.tables]
            launch(s.kernel, s.gsize, s.lsize, buffers[s.write].buffer, 0, buffers[s.read].buffer,
                   x.offset if s.read == "x" else 0, *tables, scratch.buffer, *s.tail,
                   nbytes=s.nbytes, flops=s.flops)
        return out

    def _rearranged(self, kind: str, x: Array, n: int, axis: int, inverse: bool, scale: float) -> Array:
        """The same where the kernel has too few batch axes: of a copy whose axes collapse to fewer."""
        if not x.is_contiguous():
            return self(kind, x.contiguous(), n, axis, inverse, scale)
        order = (*range(axis), *range(axis + 1, x.ndim), axis)
        out = self(kind, _permuted(x, order).contiguous(), n, x.ndim - 1, inverse, scale)
        return _permuted(out, [order.index(a) for a in range(x.ndim)]).contiguous()

    def _keep(self, key: tuple, plan: _Plan) -> _Plan:
        """Remember a plan, and none but it where the tables of all would take too much memory."""
        self._held += sum(t.nbytes for s in plan.steps for t in s.tables if t is not None)
        if self._held > _MOST_TABLE_BYTES:
            self._plans.clear()
            self._held = 0
        return self._plans.put(key, plan)


def _permuted(x: Array, order: Sequence[int]) -> Array:
    return x.view(tuple(x.shape[a] for a in order), tuple(x.strides[a] for a in order), x.offset)


def _lines(x: Array, axis: int, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
    """Sizes of the axes beside ``axis``, merged where both sides allow, and their strides in the result and in x."""
    targets = shapes.contiguous_strides(shape)
    rest = [a for a in range(x.ndim) if a != axis]
    return shapes.collapse(tuple(shape[a] for a in rest), tuple(targets[a] for a in rest),
                           tuple(x.strides[a] for a in rest))


def _index(x: Array, n: int, axis: int) -> str:
    """Index type for x, the result and what lies between."""
    points = n + 1 if is_smooth(n) else convenient(2 * n - 1)
    return index_type(x.storage.nbytes, x.size // x.shape[axis] * points * x.dtype.complex.itemsize)


def _plan(planner: _Planner, kind: str, x: Array, n: int, axis: int, inverse: bool, scale: float,
          shape: tuple[int, ...], lines: tuple) -> _Plan:
    batch, (targets, strides) = lines
    half, flip = n // 2, -1 if inverse else 1
    stride = shapes.contiguous_strides(shape)[axis]
    read = _Read("x", x.dtype.kind == "c", strides, (0,) * len(batch), x.strides[axis], min(n, x.shape[axis]), n,
                 flip=flip)
    write = _Write("out", kind != "c2r", targets, stride, shape[axis], scale=scale, flip=flip)
    if kind == "c2r":
        write = replace(write, flip=1)
        if n % 2 == 0:
            planner.transform(batch, replace(read, how="folded", signal=n, end=half),
                              replace(write, how="pairs", size=half), half)
        else:
            planner.transform(batch, replace(read, how="hermitian", signal=n), write, n)
    elif kind == "r2c" and n % 2 == 0:
        planner.spectrum(batch, replace(read, how="pairs", signal=n, end=half), write, half)
    else:
        planner.transform(batch, read, write, n)
    return _Plan(tuple(planner.steps), tuple(planner.temporaries))


fourier = Fourier()
