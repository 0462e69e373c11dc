"""Decompositions on the host: NumPy's LAPACK, and for complex matrices what kernels do for real ones.

Each call copies its matrices to the host and the results back, through the counted doors; CLGRAD_HOST_LINALG=forbid
makes it an error instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.config import config
from ..core.errors import DeviceError, LinAlgError, bad
from ..ndarray import Array, from_host


def on_host(op: str, function: Callable, *arrays: Array) -> tuple[Array, ...]:
    """The results of a NumPy function of the arrays' values, on their device."""
    if config.host_linalg == "forbid":
        raise DeviceError(bad(op, "CLGRAD_HOST_LINALG=forbid", "a decomposition that runs on the device",
                              "This one runs in the host's LAPACK: set CLGRAD_HOST_LINALG=allow, or use cholesky or "
                              "solve where they do."))
    try:
        with np.errstate(all="ignore"):
            results = function(*(a.numpy() for a in arrays))
    except np.linalg.LinAlgError as error:
        raise LinAlgError(bad(op, f"a matrix on which LAPACK failed ({error})", "finite numbers",
                              "Look for NaN and infinities in it.")) from None
    device = arrays[0].device
    return tuple(from_host(np.ascontiguousarray(r).reshape(r.shape), dtypes.dtype(r.dtype), device)
                 for r in (results if isinstance(results, tuple) else (results,)))


# What families.linalg has kernels for, on stacks (batch, rows, columns) of complex numbers -------------------------


def factor(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LU with partial pivoting: factors in one matrix, rows exchanged (from 0), and the first zero pivot (from 1)."""
    a = a.copy()
    batch, k = np.arange(a.shape[0]), min(a.shape[-2:])
    pivots, info = np.zeros((a.shape[0], k), np.int32), np.zeros(a.shape[0], np.int32)
    for j in range(k):
        chosen = pivots[:, j] = j + np.argmax(np.abs(a[:, j:, j]), 1)
        row = a[batch, chosen].copy()
        a[batch, chosen] = a[:, j]
        a[:, j] = row
        zero = a[:, j, j] == 0
        info[(info == 0) & zero] = j + 1
        a[:, j + 1:, j] /= np.where(zero, 1, a[:, j, j])[:, None]
        a[:, j + 1:, j + 1:] -= a[:, j + 1:, j, None] * a[:, j, None, j + 1:]
    return a, pivots, info


def exchange(x: np.ndarray, pivots: np.ndarray) -> np.ndarray:
    """Rows exchanged as ``factor`` did."""
    x, batch = x.copy(), np.arange(x.shape[0])
    for j in range(pivots.shape[1]):
        row = x[batch, pivots[:, j]].copy()
        x[batch, pivots[:, j]] = x[:, j]
        x[:, j] = row
    return x


def cholesky(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower factor of Hermitian matrices from their lower half, and the first leading minor (from 1) that is not
    positive."""
    lower, info = np.zeros_like(a), np.zeros(a.shape[0], np.int32)
    for j in range(a.shape[-1]):
        left = lower[:, j:, :j]
        column = a[:, j:, j] - (left @ left[:, 0, :, None].conj())[..., 0]
        pivot = column[:, 0].real
        info[(info == 0) & ~(pivot > 0)] = j + 1
        lower[:, j:, j] = column / np.sqrt(pivot)[:, None]
        lower[:, j, j] = np.sqrt(pivot)
    return lower, info


def triangular(t: np.ndarray, b: np.ndarray, unit: bool) -> np.ndarray:
    """x with t x = b, of t what is below the diagonal (and on it, unless ``unit``)."""
    x = b.copy()
    for i in range(t.shape[-1]):
        x[:, i] -= (t[:, i, None, :i] @ x[:, :i])[:, 0]
        if not unit:
            x[:, i] /= t[:, i, i, None]
    return x


def least_squares(a: Any, b: Any, rcond: float) -> Any:
    """The shortest x that minimises |a x - b|, singular values below rcond times the largest counting as zero."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    keep = s > rcond * s.max(-1, keepdims=True, initial=0)
    inverse = np.where(keep, 1 / np.where(keep, s, 1), 0).astype(s.dtype)
    return vh.swapaxes(-1, -2).conj() @ (inverse[..., None] * (u.swapaxes(-1, -2).conj() @ b))
