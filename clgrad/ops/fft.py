"""Fourier transforms under PyTorch's names, as ``clgrad.fft.fft`` and so on.

Three records reach the kernels, each along one axis; they are linear, so that their derivatives are transforms again.
The public ones go axis by axis. A transform of a real signal gives the first half of its spectrum, n // 2 + 1 entries:
the other half is its mirror image, conjugated.
"""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from ..autograd.variable import Variable
from ..core import dtypes, shapes
from ..core.dtypes import check_kind
from ..core.errors import DTypeError, ShapeError, bad
from ..families.fft import fourier
from ..ndarray import Array
from ..table import Case
from .declare import composite, driver
from .manipulate import roll
from .shape import getitem, put_slice

_FAMILY = "fft"
_NORMS = ("backward", "ortho", "forward")


# Along one axis ------------------------------------------------------------------------------------------------------


def _along(kind: str) -> Any:
    def run(x: Array, n: int, dim: int, inverse: bool, scale: float) -> Array:
        return fourier(kind, x, n, dim, inverse, scale)

    return run


def _axis(rank: int, dim: int, key: slice) -> tuple:
    return (*(slice(None),) * dim, key, *(slice(None),) * (rank - dim - 1))


def _fitted(y: Any, shape: tuple[int, ...], dim: int) -> Any:
    """y with the size that ``shape`` has along ``dim``: cut, or extended by zeros."""
    size, n = shape[dim], y.shape[dim]
    if size == n:
        return y
    key = _axis(len(shape), dim, slice(0, min(size, n)))
    return getitem(y, key) if size < n else put_slice(y, shape, key)


def _c2c_ref(x: Any, n: int, dim: int, inverse: bool, scale: float) -> Any:
    return (np.fft.ifft if inverse else np.fft.fft)(x, n, dim, "forward" if inverse else "backward") * scale


def _r2c_ref(x: Any, n: int, dim: int, inverse: bool, scale: float) -> Any:
    y = np.fft.rfft(x, n, dim) * scale
    return y.conj() if inverse else y


def _c2r_ref(x: Any, n: int, dim: int, inverse: bool, scale: float) -> Any:
    return np.fft.irfft(x if inverse else np.conj(x), n, dim, "forward") * scale


_private = partial(driver, family=_FAMILY, tensors=("x",), method=False, public=False)
_ARGS = "x, n, dim, inverse, scale"


def _case(shape: tuple[int, ...], n: int, inverse: bool = False, dim: int = 0, scale: float = 0.5) -> Case:
    return Case((shape,), {"n": n, "dim": dim, "inverse": inverse, "scale": scale})


_c2c = _private(
    "fft_c2c", _ARGS, run=_along("c2c"), kinds="fc", half=False, ref=_c2c_ref,
    # The matrix of the transform is symmetric: its transpose is itself.
    grad=[lambda g, x_shape, n, dim, inverse, scale: _fitted(_c2c(g, n, dim, inverse, scale), x_shape, dim)],
    cases=(_case((6, 3), 6), _case((5, 3), 8, True), _case((2, 7), 5, dim=1)),
    doc="Transform of ``n`` points along ``dim``, scaled; ``inverse`` is the sign of its exponent.")
_r2c = _private(
    "fft_r2c", _ARGS, run=_along("r2c"), kinds="f", half=False, ref=_r2c_ref, holomorphic=False,
    grad=[lambda g, x_shape, n, dim, inverse, scale: _fitted(_c2c(g, n, dim, not inverse, scale), x_shape, dim)],
    cases=(_case((6, 3), 6), _case((5, 3), 8, True), _case((2, 7), 5, dim=1)),
    doc="The first half of the spectrum of real signals.")


def _c2r_grad(g: Any, x_shape: tuple[int, ...], n: int, dim: int, inverse: bool, scale: float) -> Any:
    """Entries whose mirror image is another entry count twice."""
    y = _r2c(g, n, dim, not inverse, scale)
    inner = _axis(len(x_shape), dim, slice(1, (n + 1) // 2))
    return _fitted(y + put_slice(getitem(y, inner), y.shape, inner), x_shape, dim)


_c2r = _private(
    "fft_c2r", _ARGS, run=_along("c2r"), kinds="c", ref=_c2r_ref, holomorphic=False, grad=[_c2r_grad],
    cases=(_case((4, 3), 6), _case((4, 3), 7, True), _case((2, 3), 9, dim=1), _case((2, 6), 4, True, 1)),
    doc="Real signals from the first half of their spectrum.")


# Arguments -----------------------------------------------------------------------------------------------------------


def _scale(op: str, norm: str | None, inverse: bool, n: int) -> float:
    norm = "backward" if norm is None else norm
    if norm not in _NORMS:
        raise ShapeError(bad(op, f"norm={norm!r}", f"one of {', '.join(_NORMS)}", "Pass one of these."))
    if norm == "ortho":
        return 1 / sqrt(n)
    return 1 / n if (norm == "backward") == inverse else 1.0


def checked(op: str, x: Any) -> Any:
    """x, where it is an array."""
    if not isinstance(x, (Array, Variable)):
        raise DTypeError(bad(op, f"an input of type {type(x).__name__}", "an Array or a Variable",
                             "Host data reaches the device by clgrad.tensor() or clgrad.from_numpy()."))
    return x


def _float(op: str, x: Any, kinds: str = "biufc") -> Any:
    """x in a dtype that is transformed: integers in the default float, 16-bit floats in float32."""
    check_kind(op, kinds, x.dtype)
    d = dtypes.floating(x.dtype)
    d = d if d.kind == "c" else d.accumulator
    return x if x.dtype is d else x.astype(d)


def _complex(op: str, x: Any) -> Any:
    x = _float(op, x)
    return x if x.dtype.kind == "c" else x.astype(x.dtype.complex)


def _points(op: str, n: Any, default: int) -> int:
    n = default if n is None else n
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise ShapeError(bad(op, f"n={n!r}", "an int", "Give the number of points."))
    if n < 1:
        raise ShapeError(bad(op, f"{n} points", "at least 1", "Give n (or s), or an axis that is not empty."))
    return int(n)


def _dim(op: str, x: Any, dim: Any) -> int:
    if not checked(op, x).ndim:
        raise shapes.AxisError(bad(op, "a 0-d array", "at least one dimension", "Reshape it."))
    return shapes.axis_index(op, dim, x.ndim)


def _axes(op: str, x: Any, s: Any, dim: Any, some: bool = False) -> list[tuple[int, int | None]]:
    """(axis, points or None) of an n-d transform: ``dim``, else the last ``len(s)`` axes, else all."""
    x = checked(op, x)
    sizes = None if s is None else [s] if hasattr(s, "__index__") else list(s)
    if dim is None:
        count = x.ndim if sizes is None else len(sizes)
        if count > x.ndim:
            raise ShapeError(bad(op, f"s={s} for shape {x.shape}", f"at most {x.ndim} sizes", "Remove some."))
        dims = list(range(x.ndim - count, x.ndim))
    else:
        dims = [_dim(op, x, d) for d in ([dim] if hasattr(dim, "__index__") else dim)]
    if len(set(dims)) != len(dims):
        raise ShapeError(bad(op, f"dim={dim}", "each axis once", "Remove the repeated axis."))
    if sizes is not None and len(sizes) != len(dims):
        raise ShapeError(bad(op, f"s={s} and dim={dim}", "as many of each", "Name an axis a size; -1 keeps its own."))
    if some and not dims:
        raise ShapeError(bad(op, f"no axis of shape {x.shape}", "at least one", "Name the axes by dim."))
    return list(zip(dims, [None] * len(dims) if sizes is None else [None if n == -1 else n for n in sizes]))


# One axis ------------------------------------------------------------------------------------------------------------


def _plain(op: str, inverse: bool) -> Any:
    def run(x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Any:
        dim = _dim(op, x, dim)
        n = _points(op, n, x.shape[dim])
        return _c2c(_float(op, x), n, dim, inverse, _scale(op, norm, inverse, n))

    return run


def _halved(op: str, inverse: bool) -> Any:
    def run(x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Any:
        dim = _dim(op, x, dim)
        x = _float(op, x, "biuf")
        n = _points(op, n, x.shape[dim])
        return _r2c(x, n, dim, inverse, _scale(op, norm, inverse, n))

    return run


def _mirrored(op: str, inverse: bool) -> Any:
    def run(x: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Any:
        dim = _dim(op, x, dim)
        n = _points(op, n, 2 * (x.shape[dim] - 1))
        return _c2r(_complex(op, x), n, dim, inverse, _scale(op, norm, inverse, n))

    return run


def _one(name: str, run: Any, ref: Any, doc: str, **fields: Any) -> Any:
    """Declare a transform along one axis. ``n`` and ``norm`` are explained once, in the namespace."""
    cases = (Case(((3, 5),)), Case(((6, 2),), {"n": 4, "dim": 0, "norm": "ortho"}),
             Case(((2, 4),), {"n": 7, "norm": "forward"}), Case(((0, 4),), {"dim": 1}))
    return composite(f"fft_{name}", "input, n=None, dim=-1, norm=None", _FAMILY, tensors=("input",), namespace="fft",
                     method=False, run=run, cases=cases, doc=doc,
                     ref=lambda input, n=None, dim=-1, norm=None: ref(input, n, dim, norm), **fields)


fft = _one("fft", _plain("fft", False), np.fft.fft, "Discrete Fourier transform along an axis.")
ifft = _one("ifft", _plain("ifft", True), np.fft.ifft, "Inverse of fft.")
rfft = _one("rfft", _halved("rfft", False), np.fft.rfft, kinds="biuf",
            doc="First half of the spectrum of a real signal: n // 2 + 1 entries.")
irfft = _one("irfft", _mirrored("irfft", True), np.fft.irfft,
             doc="Inverse of rfft: n real values, by default 2 (size - 1); give n where that was odd.")
hfft = _one("hfft", _mirrored("hfft", False), np.fft.hfft,
            doc="Real spectrum of a Hermitian signal, given by its first half.")
ihfft = _one("ihfft", _halved("ihfft", True), np.fft.ihfft, kinds="biuf",
             doc="Inverse of hfft: the first half of the signal of a real spectrum.")


# Several axes --------------------------------------------------------------------------------------------------------


def _several(op: str, inverse: bool) -> Any:
    """fftn and ifftn."""
    each = _plain(op, inverse)

    def run(x: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
        axes = _axes(op, x, s, dim)
        if not axes:
            return _complex(op, x)
        for axis, n in reversed(axes):
            x = each(x, n, axis, norm)
        return x

    return run


def _last_then(op: str, inverse: bool) -> Any:
    """rfftn and ihfftn: the last axis halved, then the others."""
    half, each = _halved(op, inverse), _plain(op, inverse)

    def run(x: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
        *axes, (last, size) = _axes(op, x, s, dim, some=True)
        x = half(x, size, last, norm)
        for axis, n in reversed(axes):
            x = each(x, n, axis, norm)
        return x

    return run


def _then_last(op: str, inverse: bool) -> Any:
    """irfftn and hfftn: the others, then the last axis to real values."""
    each, whole = _plain(op, inverse), _mirrored(op, inverse)

    def run(x: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
        *axes, (last, size) = _axes(op, x, s, dim, some=True)
        _points(op, size, 2 * (x.shape[last] - 1))  # before anything is computed
        for axis, n in axes:
            x = each(x, n, axis, norm)
        return whole(x, size, last, norm)

    return run


def _ref_then_last(each: Any, whole: Any) -> Any:
    def ref(x: Any, s: Any, dim: Any, norm: Any) -> Any:
        dims = list(range(x.ndim)) if dim is None else list(dim)
        sizes = [None] * len(dims) if s is None else list(s)
        for d, n in zip(dims[:-1], sizes[:-1]):
            x = each(x, n, d, norm)
        return whole(x, sizes[-1], dims[-1], norm)

    return ref


def _ref_last_then(half: Any, each: Any) -> Any:
    def ref(x: Any, s: Any, dim: Any, norm: Any) -> Any:
        dims = list(range(x.ndim)) if dim is None else list(dim)
        sizes = [None] * len(dims) if s is None else list(s)
        x = half(x, sizes[-1], dims[-1], norm)
        for d, n in zip(dims[:-1], sizes[:-1]):
            x = each(x, n, d, norm)
        return x

    return ref


def _many(name: str, kind: Any, inverse: bool, ref: Any, what: str, **fields: Any) -> tuple[Any, Any]:
    """Declare the transform over any axes and over two."""
    cases = (Case(((3, 4, 5),)), Case(((3, 4, 2),), {"s": (2, 5), "dim": (2, 0), "norm": "ortho"}),
             Case(((0, 3, 4),), {"dim": (1, 2)}))
    run = partial(composite, family=_FAMILY, tensors=("input",), namespace="fft", method=False,
                  ref=lambda input, s=None, dim=None, norm=None: ref(input, s, dim, norm), **fields)
    over_any = run(f"fft_{name}n", "input, s=None, dim=None, norm=None", run=kind(f"{name}n", inverse), cases=cases,
                   doc=f"{what} over several axes: ``dim``, else the last as many as ``s`` has, else all.")
    over_two = run(f"fft_{name}2", "input, s=None, dim=(-2, -1), norm=None", run=kind(f"{name}2", inverse),
                   cases=(Case(((3, 4),), {"dim": (-2, -1)}),), doc=f"{what} over two axes.")
    return over_any, over_two


fftn, fft2 = _many("fft", _several, False, np.fft.fftn, "Discrete Fourier transform")
ifftn, ifft2 = _many("ifft", _several, True, np.fft.ifftn, "Inverse discrete Fourier transform")
rfftn, rfft2 = _many("rfft", _last_then, False, np.fft.rfftn, "Spectrum of a real signal, half of it along the last,",
                     kinds="biuf")
irfftn, irfft2 = _many("irfft", _then_last, True, np.fft.irfftn, "Inverse of rfftn, real values:")
hfftn, hfft2 = _many("hfft", _then_last, False, _ref_then_last(np.fft.fft, np.fft.hfft),
                     "Real spectrum of a Hermitian signal, given by its first half along the last,")
ihfftn, ihfft2 = _many("ihfft", _last_then, True, _ref_last_then(np.fft.ihfft, np.fft.ifft), "Inverse of hfftn",
                       kinds="biuf")


# Order of frequencies ------------------------------------------------------------------------------------------------


def _shifted(op: str, sign: int) -> Any:
    def run(x: Any, dim: Any = None) -> Any:
        axes = shapes.axis_tuple(op, dim, checked(op, x).ndim)
        if not axes:
            return x
        return roll(x, tuple(x.shape[a] // 2 if sign > 0 else -(x.shape[a] // 2) for a in axes), axes)

    return run


_shift = partial(composite, args="input, dim=None", family="manipulate", tensors=("input",), namespace="fft",
                 method=False, cases=(Case(((3, 4),)), Case(((3, 4, 5),), {"dim": (0, 2)}), Case(((5,),), {"dim": 0})))
fftshift = _shift("fft_fftshift", run=_shifted("fftshift", 1),
                  ref=lambda input, dim=None: np.fft.fftshift(input, dim),
                  doc="Spectra with the zero frequency in the middle of each axis, or of those named.")
ifftshift = _shift("fft_ifftshift", run=_shifted("ifftshift", -1),
                   ref=lambda input, dim=None: np.fft.ifftshift(input, dim), doc="Inverse of fftshift.")
