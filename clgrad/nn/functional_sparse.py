"""Embeddings as functions: PyTorch's names and argument order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..autograd.function import Function
from ..autograd.mode import no_grad
from ..autograd.variable import Variable, unwrap
from ..core import dtypes
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import from_host
from ..ops.count import searchsorted
from ..ops.distance import norm
from ..ops.elementwise import assign, astype, clamp, minimum, ne, where
from ..ops.index import take, take_backward
from ..ops.reduce import amax
from ..ops.reduce import sum as total
from ..ops.shape import reshape, stack, unsqueeze


def _check(op: str, input: Any, weight: Any) -> None:
    if input.dtype.kind not in "iu":
        raise DTypeError(bad(op, f"indices of {input.dtype}", "an integer dtype", "Convert them with .to(int64)."))
    if weight.ndim != 2:
        raise ShapeError(bad(op, f"weight {weight.shape}", "(num_embeddings, embedding_dim)", "Give it two axes."))


def _unsigned(input: Any) -> Any:
    """Read as unsigned, a negative index is out of range and reported, where it would count from the end."""
    return astype(input.detach() if isinstance(input, Variable) else input, dtypes.uint64)


def _renew(weight: Any, input: Any, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are read, and longer than max_norm, down to it, in place. Each one is scaled once however
    often it is read, since rows of the table are scaled, not those read."""
    with no_grad():
        table, index = unwrap(weight), reshape(unwrap(input), (-1,))
        lengths = norm(table, norm_type, 1, True)
        read = take_backward(astype(index, dtypes.float32) * 0 + 1, index, (table.shape[0],), 0)
        scale = minimum(max_norm / (lengths + 1e-7), 1.0)
        # as PyTorch, a row that is within the norm stays to the bit
        assign(table, where(reshape(read > 0, (-1, 1)) & (lengths > max_norm), table * scale, table))


class _Scaled(Function):
    """The table itself; its gradient is scaled row by row on the way back."""

    @staticmethod
    def forward(ctx: Any, weight: Any, factors: Any) -> Any:
        ctx.factors = factors
        return Variable(weight.data)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.factors, None


def _rows(weight: Any, input: Any, padding_idx: int | None, by_frequency: bool) -> Any:
    """The table, with its gradient zero in the padding's row, and divided by how often each row is read."""
    if not isinstance(weight, Variable) or not weight.requires_grad or (padding_idx is None and not by_frequency):
        return weight
    count = weight.shape[0]
    with no_grad():
        if by_frequency:
            index = reshape(unwrap(input), (-1,))
            ones = astype(index, weight.dtype) * 0 + 1
            factors = 1 / clamp(take_backward(ones, index, (count,), 0), min=1)
        else:
            factors = from_host(np.ones(count), weight.dtype, weight.device)
        if padding_idx is not None:
            factors[padding_idx] = 0
    return _Scaled.apply(weight, Variable(reshape(factors, (-1, 1))))


def embedding(input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Any:
    """Rows of ``weight`` at integer indices; see :class:`clgrad.nn.Embedding` for the options. An index out of range is
    reported at the next synchronisation."""
    _check("embedding", input, weight)
    if padding_idx is not None:
        if not -weight.shape[0] <= padding_idx < weight.shape[0]:
            raise ShapeError(bad("embedding", f"padding_idx={padding_idx}", f"within {weight.shape[0]} rows",
                                 "It is a row."))
        padding_idx %= weight.shape[0]
    index = _unsigned(input)
    if max_norm is not None and index.shape and 0 not in index.shape:
        _renew(weight, index, max_norm, norm_type)
    elif max_norm is not None and 0 not in index.shape:
        _renew(weight, reshape(index, (1,)), max_norm, norm_type)
    return take(_rows(weight, index, padding_idx, scale_grad_by_freq), index, 0)


def check_mode(mode: str) -> str:
    """The mode of an embedding bag."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError(bad("embedding_bag", f"mode={mode!r}", "'sum', 'mean' or 'max'", "Pass one of these."))
    return mode


def embedding_bag(input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                  per_sample_weights: Any = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Any:
    """Sums, means or maxima of bags of rows of ``weight``; see :class:`clgrad.nn.EmbeddingBag`.

    ``input`` is (B, N), or flat with ``offsets``, where each bag begins. ``per_sample_weights`` (sum only) scale the
    rows. An empty bag gives zeros.
    """
    op = "embedding_bag"
    _check(op, input, weight)
    check_mode(mode)
    if (input.ndim == 2) != (offsets is None) or input.ndim not in (1, 2):
        raise ShapeError(bad(op, f"input {input.shape} and {'no ' if offsets is None else ''}offsets",
                             "(B, N) without offsets, or (N,) with them", "Reshape, or pass the other."))
    if per_sample_weights is not None and (mode != "sum" or per_sample_weights.shape != input.shape):
        raise ShapeError(bad(op, f"per_sample_weights {per_sample_weights.shape} with mode={mode!r}",
                             "input's shape, with mode='sum'", "Weights scale what is summed."))
    if padding_idx is not None:
        padding_idx %= weight.shape[0]
    index = reshape(_unsigned(input), (-1,))
    if max_norm is not None and index.shape[0]:
        _renew(weight, index, max_norm, norm_type)
    rows = take(_rows(weight, index, padding_idx, scale_grad_by_freq), index, 0)
    counted = None if padding_idx is None else astype(ne(index, padding_idx), rows.dtype)
    if offsets is None:
        return _by_rows(rows, counted, input.shape, mode, per_sample_weights)
    return _by_offsets(rows, counted, offsets, mode, per_sample_weights, include_last_offset)


def _by_rows(rows: Any, counted: Any, shape: tuple[int, ...], mode: str, weights: Any) -> Any:
    rows = reshape(rows, (*shape, rows.shape[1]))
    if counted is not None:
        counted = reshape(counted, (*shape, 1))
    if not shape[1]:
        return total(rows, 1)
    if mode == "max":
        if counted is not None:
            rows = where(counted > 0, rows, -float("inf"))
        out = amax(rows, 1)
        return out if counted is None else where(total(counted, 1) > 0, out, 0.0)
    if weights is not None:
        rows = rows * unsqueeze(weights, 2)
    if counted is not None:
        rows = rows * counted
    out = total(rows, 1)
    if mode == "sum":
        return out
    return out / (shape[1] if counted is None else clamp(total(counted, 1), min=1))


def _by_offsets(rows: Any, counted: Any, offsets: Any, mode: str, weights: Any, closed: bool) -> Any:
    """Bags of different sizes: each row knows its bag from the offsets, and is added there in order."""
    starts = unwrap(offsets)
    starts = astype(starts[:-1] if closed else starts, dtypes.int64)
    bags, n = starts.shape[0], rows.shape[0]
    if mode == "max":  # the bags' bounds are needed on the host
        bounds = [*starts.tolist(), n]
        parts = []
        for first, last in itertools.pairwise(bounds):
            kept = None if counted is None else reshape(counted[first:last], (1, -1))
            empty = first == last
            part = _by_rows(rows[first:last], kept, (1, last - first), "sum" if empty else mode, None)
            parts.append(part[0])
        return stack(parts, 0) if parts else rows[:0]
    from ..families.ramp import ramp

    at = searchsorted(starts, ramp(n, 0, 1, dtypes.int64, starts.device), right=True) - 1
    if weights is not None:
        rows = rows * unsqueeze(weights, 1)
    if counted is not None:
        rows = rows * unsqueeze(counted, 1)
    out = take_backward(rows, at, (bags, rows.shape[1]), 0)
    if mode == "sum":
        return out
    ones = astype(at, rows.dtype) * 0 + 1 if counted is None else unwrap(counted)
    return out / unsqueeze(clamp(take_backward(ones, at, (bags,), 0), min=1), 1)
