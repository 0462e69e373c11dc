"""Host side of the optimisers' updates: one launch over many parameters, their gradients and flat states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..core import dtypes
from ..core.dtypes import DType
from ..ndarray import Array, from_host, full, move
from ..runtime.device import Device
from ..runtime.launch import Launch
from ..runtime.program import Kernel, kernel
from .plans import INT_BYTES, Plans, check_device, form, index_type, letter, parameters, spread

_MOST_TENSORS = 64  # of one launch: more would cost more in arguments than a second launch does
_PAD = 16  # states start on a vector of their own


@dataclass(frozen=True, eq=False)
class Update:
    """How an optimiser changes one element: C statements over ``p``, ``g``, its states and its scalars.

    ``states`` and ``lines`` are (condition, text) pairs. A condition names options, a leading minus meaning "without":
    ``"momentum -nesterov"``; the empty one always holds. Options select code; ``scalars`` are kernel arguments, so
    that their values never build a kernel, and ``reads`` are 0-d arrays on the device, read there. Statements may
    declare temporaries of type ``REAL``; whole numbers are the only literals that suit every dtype.
    """

    name: str
    scalars: tuple[str, ...]
    states: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, str], ...]
    reads: tuple[str, ...] = ()

    @lru_cache(64)  # noqa: B019 (records live as long as the module)
    def states_of(self, options: frozenset[str]) -> tuple[str, ...]:
        """Names of the states kept under these options."""
        return _chosen(self.states, options)

    def text(self, options: frozenset[str]) -> tuple[str, ...]:
        """The statements under these options."""
        return _chosen(self.lines, options)


def _chosen(pairs: Sequence[tuple[str, str]], options: frozenset[str]) -> tuple[str, ...]:
    def holds(condition: str) -> bool:
        return all(w[1:] not in options if w[0] == "-" else w in options for w in condition.split())

    return tuple(text for condition, text in pairs if holds(condition))


def compute_dtype(dtype: DType) -> DType:
    """What parameters of ``dtype`` are updated in, and their states kept in: float32 for float16 and bfloat16."""
    return dtype.accumulator


@dataclass(frozen=True, eq=False)
class _Part:
    launch: Launch  # of the members' pointers, the states and what is read, the table and the scalars
    members: tuple[int, ...]  # position of each pointer pair's tensor, the last one repeated to fill the signature
    table: Array


@dataclass(eq=False)
class Block:
    """Parameters of one device and dtype whose states lie in common flat buffers.

    ``places`` are where each one's states begin, in elements; ``flats`` holds one buffer a state, in the dtype that
    is computed in (float for parameters of 16 bits), filled with ``starts`` of it or 0.
    """

    device: Device
    dtype: DType
    sizes: tuple[int, ...]
    states: tuple[str, ...] = ()
    starts: dict[str, float] = field(default_factory=dict)
    places: tuple[int, ...] = ()
    flats: dict[str, Array] = field(default_factory=dict)
    plans: Plans = field(default_factory=Plans)

    def __post_init__(self) -> None:
        check_device(self.device, self.dtype)
        padded = [-(-n // _PAD) * _PAD for n in self.sizes]
        self.places = tuple(sum(padded[:j]) for j in range(len(padded)))
        self.flats = {s: full((sum(padded),), self.starts.get(s, 0), self.compute, self.device) for s in self.states}

    @property
    def compute(self) -> DType:
        return compute_dtype(self.dtype)

    def state(self, name: str, member: int, shape: tuple[int, ...]) -> Array:
        """The part of a state that belongs to a parameter, as a view of its shape."""
        flat = self.flats[name]
        return flat[self.places[member]:self.places[member] + self.sizes[member]].reshape(shape)

    def update(self, record: Update, options: frozenset[str], members: tuple[int, ...], params: Sequence[Array],
               grads: Sequence[Array], scalars: Sequence[float], reads: Sequence[Array] = ()) -> None:
        """Update contiguous ``params`` and the states of ``members`` (their positions in the block) in place.

        One launch for as many tensors as the device takes as arguments. ``grads`` are contiguous and of the
        parameters' dtype; ``scalars`` and ``reads`` follow the record's names, the latter of the dtype of the states
        and each at the start of its memory.
        """
        offsets: list[tuple[int, int]] = []
        buffers: list[tuple] = []
        large = False
        for p, g in zip(params, grads):
            mine, other = p.storage, g.storage
            offsets.append((p.offset, g.offset))
            buffers.append((mine.buffer, other.buffer))
            large = large or mine.nbytes >= INT_BYTES or other.nbytes >= INT_BYTES
            mine.version += 1
        key = (record, options, members, tuple(offsets), large)
        plan = self.plans.get(key)
        if plan is None:
            plan = self.plans.put(key, self._plan(record, options, members, offsets, large))
        flats = [self.flats[s].storage.buffer for s in record.states_of(options)]
        flats += [r.storage.buffer for r in reads]
        for step in plan:
            step.launch(*[b for m in step.members for b in buffers[m]], *flats, step.table.storage.buffer, *scalars)
        for a in self.flats.values():
            a.storage.version += 1

    def _plan(self, record: Update, options: frozenset[str], members: tuple[int, ...],
              offsets: Sequence[tuple[int, int]], large: bool) -> tuple[_Part, ...]:
        index = "long" if large else index_type(*(f.nbytes for f in self.flats.values()))
        limit = most_tensors(self.device, len(record.states_of(options)), len(record.scalars) + len(record.reads))
        filled = [m for m, member in enumerate(members) if self.sizes[member]]
        return tuple(self._part(record, options, members, offsets, index, filled[at:at + limit], limit)
                     for at in range(0, len(filled), limit))

    def _part(self, record: Update, options: frozenset[str], members: tuple[int, ...],
              offsets: Sequence[tuple[int, int]], index: str, part: list[int], limit: int) -> _Part:
        sizes = [self.sizes[members[m]] for m in part]
        states = record.states_of(options)
        # Few signatures, so few builds: beyond eight tensors, the count is rounded up and the last one repeated.
        count = len(part) if len(part) <= 8 else min(limit, -(-len(part) // 8) * 8)
        i, real = letter(index), "d" if self.compute is dtypes.float64 else "f"
        signature = "P" * (2 * count + len(states) + len(record.reads) + 1) + i + real * len(record.scalars)
        k = kernel(self.device, "optimize", "optimize", signature, record.name, form=form(self.device), index=index,
                   ctype=self.dtype.c, T=self.compute.c, tensors=count, states=states, scalars=record.scalars,
                   reads=record.reads, lines=record.text(options))
        chunk, gsize, lsize = self._sizes(k, len(sizes), sum(sizes), len(states))
        rows = [(j, offsets[m][0] + at, offsets[m][1] + at, self.places[members[m]] + at, min(chunk, n - at))
                for j, (m, n) in enumerate(zip(part, sizes)) for at in range(0, n, chunk)]
        if not self.device.wide_core:
            gsize = (min(gsize[0], len(rows) * lsize[0]),)
        table = from_host(np.array(rows, np.int32 if index == "int" else np.int64), None, self.device)
        traffic = sum(sizes) * (3 * self.dtype.itemsize + 2 * len(states) * self.compute.itemsize)
        names = [f"a{at}" for at in range(len(signature))]
        names[signature.index(i)] = len(rows)
        return _Part(Launch(k, gsize, lsize, names, traffic), (*part, *part[-1:] * (count - len(part))), table)

    def _sizes(self, k: Kernel, tensors: int, items: int,
               states: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Elements of a unit, global and local size."""
        params = parameters(self.device, "optimize", self.dtype.name, f"states{states}", (tensors, items))
        gsize, lsize = spread(self.device, k, params, items)
        if self.device.wide_core:
            return max(1024, -(-items // gsize[0] // 2 // _PAD) * _PAD), gsize, lsize
        return max(1, min(16, items // gsize[0])) * lsize[0], gsize, lsize


def most_tensors(device: Device, states: int, scalars: int) -> int:
    """Parameters that one launch takes: a pointer each and one for the gradient must fit the device's limit on
    argument bytes beside states, table and scalars."""
    taken = 8 * (states + 2 + scalars)
    return max(1, min(_MOST_TENSORS, (device.facts.max_parameter_size - taken) // 16))


_stateless = Plans()  # blocks of updates without states, which belong to no optimiser


def update_each(record: Update, targets: Sequence[Array], sources: Sequence[Array], scalars: Sequence[float] = (),
                reads: Sequence[Array] = ()) -> None:
    """Update ``targets`` (as ``p``) in place from ``sources`` (as ``g``): one launch for each device and dtype.

    A source has its target's shape, device and dtype. ``record`` keeps no states; ``reads`` lie on one device and are
    moved to where they are read.
    """
    together: dict[tuple, list[int]] = {}
    for n, t in enumerate(targets):
        together.setdefault((t.device, t.dtype), []).append(n)
    for (device, dtype), numbers in together.items():
        rows = [targets[n].contiguous() for n in numbers]
        key = (device, dtype, tuple(r.size for r in rows))
        block = _stateless.get(key)
        if block is None:
            block = _stateless.put(key, Block(*key))
        grads = [row if sources[n] is targets[n] else sources[n].contiguous() for n, row in zip(numbers, rows)]
        block.update(record, frozenset(), tuple(range(len(rows))), rows, grads, scalars,
                     [_alone(move(r, device).astype(block.compute)) for r in reads])
        for n, row in zip(numbers, rows):
            if row is not targets[n]:
                targets[n].copy_(row)


def _alone(a: Array) -> Array:
    """An array that starts its memory: itself or a copy."""
    return a.clone() if a.offset else a
