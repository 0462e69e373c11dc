"""Fourier transforms under PyTorch's names: ``clgrad.fft.fft`` and the rest, assembled from the records.

Of a signal of n points, fft gives y[q] = sum over p of x[p] exp(-2 pi i p q / n). ``n`` (or ``s``, a size an axis) cuts
the input or extends it by zeros first; -1 in ``s`` keeps an axis. ``norm`` says where the factor 1/n goes: "backward",
the default, into the inverse, "forward" into the other, "ortho" by halves (1/sqrt(n)) into both. float32 gives
complex64 and float64 complex128; integers are taken in the default float, 16-bit floats in float32.
"""

from __future__ import annotations

from typing import Any

from . import factories as _factories
from .autograd.variable import Variable
from .core import dtypes as _dtypes
from .core.errors import ShapeError as _ShapeError
from .core.errors import bad as _bad
from .ops import ALL as _ALL

globals().update({f.op.public_name: f for f in _ALL.values() if f.op.namespace == "fft"})


def _frequencies(op: str, n: int, d: float, real: bool, dtype: Any, device: Any, requires_grad: bool) -> Variable:
    wanted = _dtypes.get_default_dtype() if dtype is None else _dtypes.dtype(dtype)
    _dtypes.check_kind(op, "fc", wanted)
    if n < 1:
        raise _ShapeError(_bad(op, f"n={n}", "at least 1", "Give the number of points."))
    low, high = (0, n // 2 + 1) if real else (-(n // 2), (n + 1) // 2)
    values = _factories.arange(low, high, device=device).astype(wanted.accumulator) * (1.0 / (n * d))
    values = (values if real else _ALL["fft_ifftshift"](values)).astype(wanted)
    return values.requires_grad_() if requires_grad else values


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """Frequencies of fft's entries, in cycles per unit of the sample spacing ``d``: 0, 1, ... and then the negative
    ones, over n d. Raises ShapeError for n below 1."""
    return _frequencies("fftfreq", n, d, False, dtype, device, requires_grad)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Variable:
    """Frequencies of rfft's n // 2 + 1 entries, in cycles per unit of the sample spacing ``d``. Raises ShapeError for
    n below 1."""
    return _frequencies("rfftfreq", n, d, True, dtype, device, requires_grad)
