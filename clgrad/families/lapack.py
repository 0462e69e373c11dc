"""Decompositions on the host, by NumPy's LAPACK.

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


def least_squares(a: Any, b: Any, rcond: float) -> Any:
    """The shortest x that minimises |a x - b|, singular values below rcond times the largest counting as zero."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    keep = s > rcond * s.max(-1, keepdims=True, initial=0)
    inverse = np.where(keep, 1 / np.where(keep, s, 1), 0).astype(s.dtype)
    return vh.swapaxes(-1, -2).conj() @ (inverse[..., None] * (u.swapaxes(-1, -2).conj() @ b))
