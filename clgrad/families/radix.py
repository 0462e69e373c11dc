"""Host side of sorting and selecting by digits, for wide cores: lines along the last axis of contiguous arrays.

Nothing waits for the device: which digit a selection goes on with is decided there.
"""

from __future__ import annotations

from typing import Any

from ..core import dtypes
from ..ndarray import Array, empty
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel
from .index import take_along
from .plans import index_type, letter, parameters, workers

_LEAST = 4096  # elements that a work-item should have at least
_MOST_LISTED = 128  # items of the list that finds a few
_CHUNK = 1 << 14  # elements between two looks at what that list has left to find


def parameter(x: Array, name: str) -> int:
    """A parameter for an array, not empty: ``line``, the shortest worth sorting by digits; ``chunk``, of a line that is
    cut."""
    K = x.shape[-1]
    return parameters(x.device, "radix", x.dtype.name, "lines", (x.size // K, K))[name]


def _kernel(x: Array, function: str, signature: str, index: str, op: str, kind: str, what: str,
            vectors: int = 0) -> Kernel:
    # names of one layout share a kernel, but for floats, whose exponents differ
    d = x.dtype
    return kernel(x.device, "radix", function, signature.replace("o", letter(index)), op, kind=kind, what=what,
                  size=d.itemsize, kind_of="u" if d.kind == "b" else d.kind, ctype=d.c if d.kind == "f" else "",
                  index=index, vectors=vectors)


def _flip(x: Array, descending: bool) -> int:
    return (1 << 8 * x.dtype.itemsize) - 1 if descending else 0


def _chunks(x: Array, lines: int, K: int) -> tuple[int, int]:
    """Into how many chunks lines are cut so that every core has work, and the length of one."""
    count = max(1, min(-(-4 * x.device.facts.compute_units // lines), K // parameter(x, "chunk")))
    chunk = -(-K // count)
    return -(-K // chunk), chunk


def order(op: str, x: Array, descending: bool, values: bool, places: bool) -> tuple[Array | None, Array | None]:
    """x's elements sorted, and their positions (int64); None for what is not wanted. Stable."""
    out = [empty(x.shape, d, x.device) for d, wanted in ((x.dtype, values), (dtypes.int64, places)) if wanted]
    buffers = [a.storage.buffer for a in out]
    what = "both" if values and places else "values" if values else "places"
    item = x.dtype.itemsize if what == "values" else 8 if x.dtype.itemsize < 8 else 16
    K, n = x.shape[-1], x.size
    index = index_type(x.storage.nbytes, n * item)
    chunks, chunk = _chunks(x, n // K, K)
    args = (op, x, _flip(x, descending), what, item, index, buffers)
    if chunks == 1:
        _lines(*args)
    else:
        _passes(*args, chunks, chunk)
    return out[0] if values else None, out[-1] if places else None


def _lines(op: str, x: Array, flip: int, what: str, item: int, index: str, out: list) -> None:
    K, n = x.shape[-1], x.size
    k = _kernel(x, "lines", "P" * len(out) + "PoPoLo", index, op, "lines", what)
    size = min(n // K, workers(x.device, n, 4, _LEAST))
    scratch = empty((size * 2 * K * item,), dtypes.uint8, x.device)
    launch(k, (size,), (1,), *out, x.storage.buffer, x.offset, scratch.storage.buffer, K, flip, n // K,
           nbytes=2 * x.nbytes)


def _passes(op: str, x: Array, flip: int, what: str, item: int, index: str, out: list, chunks: int,
            chunk: int) -> None:
    K, n, device, digits = x.shape[-1], x.size, x.device, x.dtype.itemsize
    units = n // K * chunks
    counts = empty((units * 256,), dtypes.uint32, device).storage.buffer
    here, there = (empty((n * item,), dtypes.uint8, device).storage.buffer if digits > i else None for i in (1, 2))
    source, offset = x.storage.buffer, x.offset
    for p in range(digits):
        name = "next" if p else "first"
        last = p == digits - 1
        tail = (K, chunk, chunks, flip, 8 * p, units)
        count = _kernel(x, f"count_{name}", "PPooooLIo", index, op, "passes", what)
        launch(count, (units,), (1,), counts, source, offset, *tail, nbytes=n * item)
        to = out if last else [here]
        move = _kernel(x, f"scatter_{name}{'_last' * last}", "P" * len(to) + "PoPoooLIo", index, op, "passes", what)
        launch(move, (units,), (1,), *to, source, offset, counts, *tail, nbytes=2 * n * item)
        source, offset, here, there = here, 0, there, here


def are_few(x: Array, k: int) -> bool:
    """Whether the k first of each line of x are found best by keeping a list of them."""
    return x.device.wide_core and x.dtype.itemsize < 8 and 0 < k <= _MOST_LISTED and 4 * k <= x.shape[-1]


def few(op: str, x: Array, k: int, descending: bool) -> tuple[Array, Array]:
    """The k first elements of each line of x as sorting would give them, and their positions (int64)."""
    K, lines, device = x.shape[-1], x.size // x.shape[-1], x.device
    parts = max(1, min(-(-4 * device.facts.compute_units // lines), K // parameter(x, "chunk")))
    part = -(-K // parts)
    parts = -(-K // part)
    units = lines * parts
    values, at = empty((units * k,), x.dtype, device), empty((units * k,), dtypes.int64, device)
    index = index_type(x.storage.nbytes, x.size * 8)
    vectors = next(v for v in (2, 8, 16) if k <= 8 * v)
    kernel_ = _kernel(x, "few", "PPPoooooo" + "Lo", index, op, "few", "values", vectors)
    launch(kernel_, (min(units, workers(device, x.size, 4, _LEAST)),), (1,), values.storage.buffer, at.storage.buffer,
           x.storage.buffer, x.offset, K, k, _CHUNK, part, parts, _flip(x, descending), units, nbytes=x.nbytes)
    shape = (*x.shape[:-1], parts * k)
    values, at = values.reshape(shape), at.reshape(shape)
    if parts == 1:
        return values, at
    values, inner = few(op, values, k, descending)
    return values, take_along(op, at, inner, x.ndim - 1)


class _Selection:
    """Which key the ``need``-th element of each line has: k for all lines, or one more than ``ranks`` says for each."""

    def __init__(self, op: str, x: Array, descending: bool, k: int, ranks: Array | None) -> None:
        device, self.K = x.device, x.shape[-1]
        self.x, self.op, self.lines = x, op, x.size // self.K
        self.flip = _flip(x, descending)
        self.index = index_type(x.storage.nbytes, x.size * 8)
        self.chunks, self.chunk = _chunks(x, self.lines, self.K)
        self.units = self.lines * self.chunks
        self.prefixes = empty((self.lines,), dtypes.uint64, device)
        self.needs = empty((self.lines,), dtypes.int64, device)
        self.less = empty((self.units,), dtypes.uint32, device)
        self.equal = empty((self.units,), dtypes.uint32, device)
        counts = empty((self.units * 256,), dtypes.uint32, device)
        state = [a.storage.buffer for a in (self.prefixes, self.needs, self.less, self.equal, counts)]
        for digit in reversed(range(x.dtype.itemsize)):
            first = digit == x.dtype.itemsize - 1
            if first:
                self.run("tally_top", "PPooooLo", self.units, state[4], *self.source, self.K, *self.cut, self.flip)
            else:
                self.run("tally_rest", "PPPooooLIo", self.units, state[4], state[0], *self.source, self.K, *self.cut,
                         self.flip, 8 * digit)
            self.run("narrow", "PPPPPPooioo", self.lines, *state, ranks.storage.buffer if ranks is not None else None,
                     ranks.offset if ranks is not None else 0, k, int(first), self.chunks)

    @property
    def source(self) -> tuple:
        return self.x.storage.buffer, self.x.offset

    @property
    def cut(self) -> tuple[int, int]:
        return self.chunk, self.chunks

    def run(self, function: str, signature: str, units: int, *args: Any) -> None:
        """Launch a kernel over units that share the elements."""
        k = _kernel(self.x, function, signature, self.index, self.op, "select", "values")
        size = min(units, workers(self.x.device, self.x.size, 4, _LEAST))
        launch(k, (size,), (1,), *args, units, nbytes=self.x.nbytes)


def smallest(op: str, x: Array, k: int, descending: bool) -> tuple[Array, Array]:
    """The k > 0 first elements that sorting would give, in the order in which they lie, and their positions (int64)."""
    s = _Selection(op, x, descending, k, None)
    shape = (*x.shape[:-1], k)
    values, at = empty(shape, x.dtype, x.device), empty(shape, dtypes.int64, x.device)
    s.run("collect", "PPPPPPPoooooLo", s.units, values.storage.buffer, at.storage.buffer, s.prefixes.storage.buffer,
          s.needs.storage.buffer, s.less.storage.buffer, s.equal.storage.buffer, *s.source, s.K, k, *s.cut, s.flip)
    return values, at


def ranked(op: str, x: Array, ranks: int | Array) -> Array:
    """Positions (int64, a last axis of 1) of the elements that sorting would put at ``ranks``: one for all lines, or
    a contiguous int64 array with one a line."""
    given = None if isinstance(ranks, int) else ranks
    s = _Selection(op, x, False, 0 if given is not None else ranks + 1, given)
    at = empty((*x.shape[:-1], 1), dtypes.int64, x.device)
    s.run("find", "PPPPPooooLo", s.lines, at.storage.buffer, s.prefixes.storage.buffer, s.needs.storage.buffer,
          s.equal.storage.buffer, *s.source, s.K, *s.cut, s.flip)
    return at
