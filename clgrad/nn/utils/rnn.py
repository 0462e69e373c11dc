"""Sequences of different lengths: padded into one array, or packed without the padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...autograd.variable import Variable
from ...core.errors import ShapeError, bad
from ...factories import full
from ...ndarray import Array, from_host
from ...ops.index import take
from ...ops.shape import cat, narrow, reshape, stack, transpose


class PackedSequence(NamedTuple):
    """Rows of sequences step by step: ``data`` (total steps, ...), and how many sequences each step has.

    Sequences are sorted by length, longest first; ``sorted_indices`` says how, ``unsorted_indices`` how back. All but
    ``data`` are int64; ``batch_sizes`` is read on the host.
    """

    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with ``data`` converted or moved."""
        return self._replace(data=self.data.to(*args, **kwargs))


def _host(lengths: Any) -> np.ndarray:
    values = lengths.detach().numpy() if isinstance(lengths, Variable) else (
        lengths.numpy() if isinstance(lengths, Array) else np.asarray(lengths))
    return values.astype(np.int64).reshape(-1)


def _device_index(values: np.ndarray, like: Any) -> Any:
    return Variable(from_host(values.astype(np.int64), None, like.device))


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes one; None of None."""
    if permutation is None:
        return None
    host = _host(permutation)
    inverse = np.empty_like(host)
    inverse[host] = np.arange(len(host))
    return _device_index(inverse, permutation)


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Pack (L, N, ...), or (N, L, ...) with ``batch_first``, whose sequences have these ``lengths``.

    With ``enforce_sorted`` the lengths must fall; otherwise the sequences are sorted here.
    """
    lengths = _host(lengths)
    data = input if batch_first else transpose(input, 0, 1)
    if len(lengths) != data.shape[0] or not len(lengths):
        raise ShapeError(bad("pack_padded_sequence", f"{len(lengths)} lengths for a batch of {data.shape[0]}",
                             "one length a sequence, and at least one sequence", "Check batch_first."))
    if lengths.min() < 1 or lengths.max() > data.shape[1]:
        raise ShapeError(bad("pack_padded_sequence", f"lengths from {lengths.min()} to {lengths.max()}",
                             f"1 to {data.shape[1]}", "Leave empty sequences out."))
    order = None
    if not enforce_sorted:
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
    elif (np.diff(lengths) > 0).any():
        raise ShapeError(bad("pack_padded_sequence", "lengths that rise", "lengths from long to short",
                             "Sort the sequences, or pass enforce_sorted=False."))
    sizes = np.array([(lengths > t).sum() for t in range(int(lengths[0]))], np.int64)
    rows = np.arange(len(lengths)) if order is None else order
    places = np.concatenate([rows[:n] * data.shape[1] + t for t, n in enumerate(sizes)])
    flat = reshape(data, (data.shape[0] * data.shape[1], *data.shape[2:]))
    packed = take(flat, _device_index(places, input), 0)
    batch_sizes = _device_index(sizes, input)
    if order is None:
        return PackedSequence(packed, batch_sizes)
    index = _device_index(order, input)
    return PackedSequence(packed, batch_sizes, index, invert_permutation(index))


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Any, Any]:
    """(L, N, ...) padded with ``padding_value``, or (N, L, ...), and the lengths (int64), in the order before packing.
    """
    data, sizes = sequence.data, _host(sequence.batch_sizes)
    longest, batch = len(sizes), int(sizes[0])
    total = longest if total_length is None else total_length
    if total < longest:
        raise ShapeError(bad("pad_packed_sequence", f"total_length={total}", f"{longest} or more",
                             "The longest sequence has that many steps."))
    lengths = np.array([(sizes > n).sum() for n in range(batch)], np.int64)
    order = np.arange(batch) if sequence.unsorted_indices is None else _host(sequence.unsorted_indices)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    places = np.full((total, batch), len(data), np.int64)  # the row behind the last is the padding
    for t, n in enumerate(sizes):
        places[t, :n] = starts[t] + np.arange(n)
    places = places[:, order]
    extra = full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    rows = take(cat([data, extra], 0), _device_index(places.reshape(-1), data), 0)
    padded = reshape(rows, (total, batch, *data.shape[1:]))
    return (transpose(padded, 0, 1) if batch_first else padded), _device_index(lengths[order], data)


def pad_sequence(sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Any:
    """Sequences (L_i, ...) as one array (L, N, ...), or (N, L, ...), padded at their end or, with
    ``padding_side="left"``, before their beginning."""
    if padding_side not in ("left", "right"):
        raise ValueError(bad("pad_sequence", f"padding_side={padding_side!r}", "'left' or 'right'",
                             "Pass one of these."))
    sequences = list(sequences)
    if not sequences:
        raise ShapeError(bad("pad_sequence", "no sequences", "at least one", "Leave empty batches out."))
    longest = max(s.shape[0] for s in sequences)
    rows = []
    for s in sequences:
        missing = longest - s.shape[0]
        if missing:
            extra = full((missing, *s.shape[1:]), padding_value, dtype=s.dtype, device=s.device)
            s = cat([extra, s] if padding_side == "left" else [s, extra], 0)
        rows.append(s)
    return stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list:
    """The sequences of a padded array again."""
    data = padded_sequences if batch_first else transpose(padded_sequences, 0, 1)
    return [narrow(data[n], 0, 0, int(length)) for n, length in enumerate(_host(lengths))]


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (L_i, ...)."""
    sequences = list(sequences)
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences], False, enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list:
    """The sequences of a packed one again."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
           "pad_sequence", "unpack_sequence", "unpad_sequence"]
