"""Windows for spectral analysis, under PyTorch's names.

They are computed on the host in float64 and copied to the device once, rounded. A ``periodic`` window is one for
spectra, the first ``window_length`` of one point more; else it is symmetric, for filters. ``dtype`` is the default
float unless given. Raises ShapeError for a negative length and DTypeError for a dtype other than float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .autograd.variable import Variable
from .core import dtypes
from .core.errors import ShapeError, bad
from .ndarray import from_host


def _places(op: str, length: int, periodic: bool) -> np.ndarray:
    """From 0 at the window's first point to 1 at its last; 1/2 at an only one."""
    if length < 0:
        raise ShapeError(bad(op, f"window_length={length}", "0 or more", "Give the number of points."))
    points = length + 1 if periodic else length
    return np.arange(length) / (points - 1) if length > 1 else np.full(length, 0.5)


def _made(op: str, values: np.ndarray, dtype: Any, device: Any, requires_grad: bool) -> Variable:
    wanted = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    dtypes.check_kind(op, "f", wanted)
    return Variable(from_host(values, wanted, device), requires_grad)


def hann_window(window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
                requires_grad: bool = False) -> Variable:
    """(1 - cos 2 pi t) / 2, for t from 0 to 1."""
    t = _places("hann_window", window_length, periodic)
    return _made("hann_window", np.sin(np.pi * t) ** 2, dtype, device, requires_grad)


def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
                   dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """alpha - beta cos 2 pi t, for t from 0 to 1."""
    t = _places("hamming_window", window_length, periodic)
    values = np.ones(1) if window_length == 1 else alpha - beta * np.cos(2 * np.pi * t)
    return _made("hamming_window", values, dtype, device, requires_grad)


def blackman_window(window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
                    requires_grad: bool = False) -> Variable:
    """0.42 - 0.5 cos 2 pi t + 0.08 cos 4 pi t, for t from 0 to 1."""
    t = _places("blackman_window", window_length, periodic)
    values = 0.42 - 0.5 * np.cos(2 * np.pi * t) + 0.08 * np.cos(4 * np.pi * t)
    return _made("blackman_window", values, dtype, device, requires_grad)


def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
                    requires_grad: bool = False) -> Variable:
    """The triangle 1 - |2 t - 1|, for t from 0 to 1."""
    t = _places("bartlett_window", window_length, periodic)
    return _made("bartlett_window", 1 - np.abs(2 * t - 1), dtype, device, requires_grad)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None,
                  device: Any = None, requires_grad: bool = False) -> Variable:
    """I0(beta sqrt(1 - (2 t - 1)^2)) / I0(beta), for t from 0 to 1, with I0 the modified Bessel function."""
    t = _places("kaiser_window", window_length, periodic)
    values = np.i0(beta * np.sqrt(np.maximum(0, 1 - (2 * t - 1) ** 2))) / np.i0(beta)
    return _made("kaiser_window", values, dtype, device, requires_grad)


__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]
