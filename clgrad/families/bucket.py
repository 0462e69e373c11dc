"""Host side of listing a long index by buckets of the rows that it names, so that writes stay in a cache."""

from __future__ import annotations

from dataclasses import dataclass

from .. import kernels
from ..core import dtypes
from ..ndarray import Array, empty
from ..runtime.launch import launch
from ..runtime.program import kernel
from .plans import INT_BYTES, index_type, letter, workers

_LEAST = 4096  # rows of a chunk, at least
_LONG = 1 << 12  # rows from which on listing pays


@dataclass(frozen=True, eq=False)
class Buckets:
    """Items by bucket (see the kernel). ``bounds`` says where those of each of the ``number`` buckets begin and, from
    ``ends`` on, where they end."""

    items: Array
    bounds: Array
    ends: int
    number: int


def worth(rows: Array, total: int) -> bool:
    """Whether to list ``rows`` (int32) of ``total`` rows."""
    return (rows.device.wide_core and rows.dtype is dtypes.int32 and _LONG <= rows.size < INT_BYTES and total > 1)


def listed(op: str, rows: Array, total: int, values: Array | None) -> Buckets:
    """Positions of the contiguous ``rows``, which are below ``total``, by bucket; or, where they are given, values:
    one a row, contiguous, of 8 bytes at most."""
    device, length = rows.device, rows.size
    most = kernels.template("bucket").module.BUCKETS
    shift = max(0, (total - 1).bit_length() - (most - 1).bit_length())
    chunks = workers(device, length, 4, _LEAST)
    chunk = -(-length // chunks)
    size = values.itemsize if values is not None else 4
    bounds = empty((chunks + 1, most), dtypes.uint32, device)
    items = empty((length, 2 if size == 8 else 1), dtypes.uint64, device)
    index = index_type(items.nbytes, (length + chunk) * 4, *(() if values is None else (values.storage.nbytes,)))
    i = letter(index)

    def run(function: str, signature: str, units: int, *args: object, nbytes: int = 0) -> None:
        k = kernel(device, "bucket", function, signature.replace("o", i), op, index=index, size=size,
                   values=values is not None)
        launch(k, (units,), (1,), *args, nbytes=nbytes)

    given = (rows if values is None else values).storage.buffer
    run("count", "PPooi", chunks, bounds.storage.buffer, rows.storage.buffer, length, chunk, shift, nbytes=rows.nbytes)
    run("starts", "Pi", 1, bounds.storage.buffer, chunks)
    run("spread", "PPPPoooi", chunks, items.storage.buffer, bounds.storage.buffer, rows.storage.buffer, given,
        0 if values is None else values.offset, length, chunk, shift, nbytes=rows.nbytes + items.nbytes)
    return Buckets(items, bounds, chunks * most, ((total - 1) >> shift) + 1)
