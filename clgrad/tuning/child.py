"""The child process: builds, checks and times candidates, one request a line, and may die of any of them.

A candidate is the same OpenCL device as a new Device, for which the family's parameters are fixed: plans belong to a
Device, so those of two candidates live side by side, and the op runs as users run it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core import dtypes
from ..ndarray import Array, Storage, from_host
from ..runtime import tuned
from ..runtime.device import Device
from ..runtime.device import device as find_device
from ..runtime.guarded import GuardedPool
from ..runtime.tuned import Params, Problem
from ..testing import TOLERANCE
from .problems import tunable
from .tunable import Hosts, Tunable, draws

_BATCH_SECONDS = 4e-3  # of one sample: many times the clock's and the queue's own cost
_MOST_CALLS = 500
_NAN_PLACES = 3


class Wrong(Exception):
    """A candidate computed something else than the reference, or wrote where it may not."""


def outputs_of(result: Any) -> tuple[Array, ...]:
    """What an op returned, as a tuple of its arrays."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def placed(host: np.ndarray, device: Device, gap: int = 0) -> Array:
    """An operand in device memory with the strides of the NumPy array, or those of a view: ``gap`` elements before it
    and ``gap`` more between its lines, all of them NaN (or -1)."""
    order = sorted(range(host.ndim), key=lambda a: -abs(host.strides[a]))
    dense = host.transpose(order)
    step = dense.strides[-1] // host.itemsize if host.ndim and dense.shape[-1] > 1 else 1
    widths = _widths(dense, step)
    if widths:
        widths[-1] += gap
    flat = np.full(int(np.prod(widths)) + gap, -1 if host.dtype.kind in "iu" else np.nan).astype(host.dtype)
    base = flat[gap:].reshape(widths)
    inner = tuple(slice(0, n) for n in dense.shape[:-1]) + ((slice(0, dense.shape[-1] * step, step),) if widths else ())
    base[inner] = dense
    moved = from_host(flat, None, device)
    strides = [0] * host.ndim
    for axis, width in zip(reversed(order), np.cumprod([1, *widths[:0:-1]])):
        strides[axis] = int(width)
    if order:
        strides[order[-1]] *= step
    return moved.view(host.shape, tuple(strides), gap)


def _widths(dense: np.ndarray, step: int) -> list[int]:
    """Elements that each axis of an array in memory order takes, gaps included: those of the last one in memory."""
    widths, unit = [], 1
    for axis in reversed(range(dense.ndim)):
        n = dense.shape[axis] * (step if axis == dense.ndim - 1 else 1)
        pitch = dense.strides[axis - 1] // dense.itemsize if axis and dense.shape[axis - 1] > 1 else 0
        widths.append(max(n, pitch // unit) if pitch % unit == 0 else n)
        unit *= widths[-1]
    return widths[::-1]


class Candidate:
    """One set of parameters on the problem's device."""

    def __init__(self, base: Device, family: str, params: Params | None) -> None:
        self.base = base
        self.device = Device(base._cl, base.key, base.index)
        self.device.open(base.context, base.queue)
        self.device.wide_core = base.wide_core
        tuned.force(self.device, {family: params})
        self.arrays: tuple[Array, ...] = ()

    def adopt(self, arrays: Sequence[Array]) -> None:
        """Take operands that lie on the base device: the same memory, as this Device's."""
        self.arrays = tuple(
            Array(Storage.around(self.device, a.storage.buffer, a.storage.nbytes), a.shape, a.strides, a.offset,
                  a.dtype) for a in arrays)


class Bench:
    """One problem with its operands and expected results, and the candidates tried on it."""

    def __init__(self, base: Device, name: str, problem: Problem) -> None:
        self.base = base
        self.tunable: Tunable = tunable(name)
        self.problem = problem
        self.hosts = self.tunable.operands(problem, draws(problem))
        self.arrays = [placed(h, base) for h in self.hosts]
        self.expected = self._reference(problem, self.hosts)
        self.candidates: dict[int, Candidate] = {}

    def _reference(self, problem: Problem, hosts: Hosts) -> tuple[np.ndarray, ...]:
        wide = [h.astype(np.float64) if dtypes.dtype(h.dtype).kind == "f" else h for h in hosts]
        with np.errstate(all="ignore"):
            found = self.tunable.reference(problem, *wide)
        return tuple(found) if isinstance(found, tuple) else (found,)

    def attempt(self, number: int, params: Params | None, keep: Sequence[int]) -> None:
        """Build a candidate, run it once between borders, and compare with the reference."""
        self.candidates = {n: c for n, c in self.candidates.items() if n in keep}
        candidate = Candidate(self.base, self.tunable.family, params)
        self._checked(candidate, self.problem, self.hosts, self.expected, 0)
        candidate.adopt(self.arrays)
        candidate.device.pool = self.base.pool
        self.candidates[number] = candidate

    def _checked(self, candidate: Candidate, problem: Problem, hosts: Hosts, expected: tuple, gap: int) -> None:
        guard = candidate.device.pool = GuardedPool(candidate.device)
        arrays = [placed(h, candidate.device, gap) for h in hosts]
        results = [a.numpy() for a in outputs_of(self.tunable.run(problem, *arrays))]
        broken = guard.broken()
        if broken:
            raise Wrong(f"{problem}: {broken}")
        for host, array in zip(hosts, arrays):
            if not np.array_equal(_bits(array.numpy()), _bits(host)):
                raise Wrong(f"{problem}: an operand was written to")
        if len(results) != len(expected):
            raise Wrong(f"{problem}: {len(results)} results, expected {len(expected)}")
        for found, value in zip(results, expected):
            compare(str(problem), found, value, self.tunable.nan_spreads)

    def validate(self, number: int, params: Params) -> None:
        """A candidate on odd sizes, on views with offsets and gaps, and with NaN among its operands."""
        candidate = self.candidates[number]
        for i, sizes in enumerate(self.tunable.odd(self.problem, params)):
            problem = replace(self.problem, sizes=tuple(sizes))
            hosts = self.tunable.operands(problem, draws(problem))
            expected = self._reference(problem, hosts)
            self._checked(candidate, problem, hosts, expected, 3 if i % 2 else 0)
            chosen = range(len(hosts)) if self.tunable.spoilt is None else self.tunable.spoilt
            spoilt = tuple(with_nan(h) if j in chosen else h for j, h in enumerate(hosts))
            if any(s is not h for s, h in zip(spoilt, hosts)):
                self._checked(candidate, problem, spoilt, self._reference(problem, spoilt), 0 if i % 2 else 3)
        candidate.device.pool = self.base.pool

    def time(self, numbers: Sequence[int], rounds: int) -> list[list[float]]:
        """Seconds a call of each candidate in turn, round after round, the order reversed every other time."""
        chosen = [self.candidates[n] for n in numbers]
        calls = []
        for c in chosen:
            self._sample(c, 1)
            calls.append(max(1, min(_MOST_CALLS, int(_BATCH_SECONDS / max(self._sample(c, 1), 1e-7)))))
        found: list[list[float]] = [[] for _ in chosen]
        for i in range(rounds):
            for j in range(len(chosen))[::-1 if i % 2 else 1]:
                found[j].append(self._sample(chosen[j], calls[j]))
        return found

    def _sample(self, candidate: Candidate, calls: int) -> float:
        run, problem, arrays, finish = self.tunable.run, self.problem, candidate.arrays, self.base.queue.finish
        start = time.perf_counter()
        for _ in range(calls):
            run(problem, *arrays)
        finish()
        return (time.perf_counter() - start) / calls


def _bits(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a).view(np.uint8)


def with_nan(host: np.ndarray) -> np.ndarray:
    """A copy, in the same memory order, with a few NaNs; what is no float comes back as it is."""
    if dtypes.dtype(host.dtype).kind != "f" or not host.size:
        return host
    spoilt = host.copy(order="K")
    for i in np.linspace(0, host.size - 1, _NAN_PLACES).astype(int):
        spoilt[np.unravel_index(i, host.shape)] = np.nan
    return spoilt


def compare(what: str, found: np.ndarray, expected: np.ndarray, nan_spreads: bool = False) -> None:
    """Raise Wrong where a result is not the reference's: floats within tolerance of the largest, NaN where that is (and
    with ``nan_spreads`` elsewhere too, if there is any)."""
    expected = np.asarray(expected)
    if found.shape != expected.shape:
        raise Wrong(f"{what}: shape {found.shape}, expected {expected.shape}")
    if dtypes.dtype(found.dtype).kind != "f":
        if not np.array_equal(found, expected.astype(found.dtype)):
            raise Wrong(f"{what}: {np.count_nonzero(found != expected)} of {found.size} integers differ")
        return
    found = found.astype(np.float64)
    nan = np.isnan(expected)
    if nan_spreads and nan.any():
        expected = np.where(np.isnan(found), np.nan, expected) if np.isnan(found)[nan].all() else expected
        nan = np.isnan(expected)
    if not np.array_equal(np.isnan(found), nan):
        raise Wrong(f"{what}: NaN in {np.count_nonzero(np.isnan(found))} of {found.size} places, "
                    f"expected {np.count_nonzero(nan)}")
    allowed = 1e-11
    dtype = next((n for n in TOLERANCE if n == what.split()[1]), None)
    if dtype is not None:
        allowed = max(TOLERANCE[dtype])
    finite = np.isfinite(expected)
    with np.errstate(all="ignore"):
        error = np.where(nan | (found == expected), 0.0, np.abs(found - expected))
    scale = max(1.0, np.abs(expected[finite]).max(initial=0.0))
    worst = error.max(initial=0.0)
    if not worst <= allowed * scale:
        at = tuple(map(int, np.unravel_index(int(error.argmax()), error.shape)))
        raise Wrong(f"{what}: off by {worst:.3g} at {at}, "
                    f"allowed {allowed * scale:.3g}")


def _answer(bench: Bench | None, request: dict[str, Any]) -> tuple[Bench | None, Any]:
    """What a request asks for; a new problem makes a new Bench."""
    what = request["do"]
    if what == "problem":
        p = request["problem"]
        problem = Problem(p["family"], p["dtype"], p["layout"], tuple(p["sizes"]))
        return Bench(find_device(request["device"]), request["tunable"], problem), None
    if what == "attempt":
        return bench, bench.attempt(request["number"], request["params"], request["keep"])
    if what == "validate":
        return bench, bench.validate(request["number"], request["params"])
    return bench, bench.time(request["numbers"], request["rounds"])


def main() -> None:
    """Answer requests from stdin on what was stdout; what drivers print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    bench: Bench | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if hasattr(signal, "setitimer"):  # ends the process even where the parent is gone and the driver hangs
            signal.setitimer(signal.ITIMER_REAL, request["seconds"] + 2)
        try:
            bench, value = _answer(bench, request)
            reply = {"value": value}
        except Wrong as error:
            reply = {"wrong": str(error)}
        except Exception as error:
            reply = {"refused": f"{type(error).__name__}: {error}"[:500]}
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
