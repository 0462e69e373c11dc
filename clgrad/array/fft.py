"""The ``fft`` extension of the Python array API standard (2025.12): its names and signatures.

Each is the record's own function under the standard's signature: ``axis`` and ``axes`` for ``dim``. Source:
data-apis.org/array-api/latest/extensions/fourier_transform_functions.html.
"""

from __future__ import annotations

from typing import Any

from .. import fft as _fft
from ..autograd.variable import unwrap as _unwrap
from ..ndarray import Array


def _one(name: str) -> Any:
    record = getattr(_fft, name)

    def transform(x: Array, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
        return record(x, n, axis, norm)

    return _named(transform, record)


def _several(name: str) -> Any:
    record = getattr(_fft, name)

    def transform(x: Array, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Array:
        return record(x, s, axes, norm)

    return _named(transform, record)


def _named(function: Any, record: Any) -> Any:
    function.__name__ = function.__qualname__ = record.__name__
    function.__doc__ = record.__doc__.replace("``dim``", "``axes``")
    return function


fft, ifft, rfft, irfft, hfft, ihfft = map(_one, ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"))
fftn, ifftn, rfftn, irfftn = map(_several, ("fftn", "ifftn", "rfftn", "irfftn"))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Frequencies of fft's entries, in cycles per unit of the sample spacing ``d``."""
    return _unwrap(_fft.fftfreq(n, d, dtype=dtype, device=device))


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Frequencies of rfft's n // 2 + 1 entries, in cycles per unit of the sample spacing ``d``."""
    return _unwrap(_fft.rfftfreq(n, d, dtype=dtype, device=device))


def fftshift(x: Array, /, *, axes: Any = None) -> Array:
    """Spectra with the zero frequency in the middle of each axis, or of those named."""
    return _fft.fftshift(x, axes)


def ifftshift(x: Array, /, *, axes: Any = None) -> Array:
    """Inverse of fftshift."""
    return _fft.ifftshift(x, axes)
