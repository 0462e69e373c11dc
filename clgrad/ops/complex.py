"""Complex numbers: their parts, as views where memory allows, and how they are put together.

Gradients are dL/dRe + i dL/dIm, as in PyTorch: the direction of steepest ascent of a real L.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, shapes
from ..core.dtypes import check_kind
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array, empty
from ..table import Case
from .declare import composite, driver, elementwise
from .elementwise import assign, atan2, cos, mul, sin, where
from .shape import transpose

_FAMILY = "complex"
_CASES = (Case(((3, 5),)), Case(((),)), Case(((0, 4),)))


def parts(x: Array) -> Array:
    """The memory of a complex array read as reals: a last axis of two more, real and imaginary parts."""
    return Array(x.storage, (*x.shape, 2), (*(2 * s for s in x.strides), 1), 2 * x.offset, x.dtype.real)


def _part(x: Array, index: int) -> Array:
    return Array(x.storage, x.shape, tuple(2 * s for s in x.strides), 2 * x.offset + index, x.dtype.real)


def _whole(x: Array) -> Array:
    check_kind("view_as_complex", "f", x.dtype)
    if not x.ndim or x.shape[-1] != 2 or x.dtype.compute != x.dtype.c:
        raise ShapeError(bad("view_as_complex", f"shape {x.shape} of {x.dtype}",
                             "float32 or float64 with a last axis of size 2", "Use complex(real, imag)."))
    if x.strides[-1] != 1 or x.offset % 2 or any(s % 2 for s, n in zip(x.strides[:-1], x.shape) if n > 1):
        raise ShapeError(bad("view_as_complex", f"strides {x.strides} from {x.offset} on",
                             "pairs that lie side by side at even places", "Call .contiguous() first."))
    return Array(x.storage, x.shape[:-1], tuple(s // 2 for s in x.strides[:-1]), x.offset // 2, x.dtype.complex)


view_as_real = driver("view_as_real", "x", _FAMILY, run=lambda x: _checked("view_as_real", x, parts), kinds="c",
                      grad=[lambda g: view_as_complex(g.contiguous())], holomorphic=False, cases=_CASES,
                      ref=lambda x: np.stack([x.real, x.imag], -1),
                      doc="A view of complex numbers as pairs of reals, along a new last axis.")
view_as_complex = driver("view_as_complex", "x", _FAMILY, run=_whole, kinds="f", cases=(), holomorphic=False,
                         grad=[lambda g: view_as_real(g)], ref=lambda x: x[..., 0] + 1j * x[..., 1],
                         doc="A view of reals whose last axis holds pairs, side by side in memory, as complex numbers.")


def _checked(name: str, x: Array, run: Any) -> Array:
    check_kind(name, "c", x.dtype)
    return run(x)


real = driver("real", "x", _FAMILY, run=lambda x: _part(x, 0) if x.dtype.kind == "c" else x, holomorphic=False,
              grad=[lambda g, x_dtype: g.astype(x_dtype)], method=False, ref=np.real, cases=_CASES,
              doc="Real part, as a view; a real array is its own.")
imag = driver("imag", "x", _FAMILY, run=lambda x: _checked("imag", x, lambda z: _part(z, 1)), kinds="c",
              holomorphic=False, grad=[lambda g: g * 1j], method=False, ref=np.imag, cases=_CASES,
              doc="Imaginary part of a complex array, as a view.")
_conjugate = elementwise("conj_physical", "x", c="(T)(x.x, -x.y)", kinds="c", holomorphic=False, ref=np.conj,
                         grad=[lambda g: _conjugate(g)], doc="Complex conjugate, in memory of its own.")
conj = composite("conj", "x", _FAMILY, run=lambda x: _conjugate(x) if x.dtype.kind == "c" else x,
                 ref=lambda x: np.conj(x) if x.dtype.kind == "c" else x, cases=_CASES, aliases=("resolve_conj",),
                 doc="Complex conjugate; a real array is its own.")


def _angle(x: Any) -> Any:
    if x.dtype.kind == "c":
        return atan2(imag(x), real(x))
    x = x if x.dtype.kind == "f" else x.astype(dtypes.floating(x.dtype))
    return where(x < 0, np.pi, x * 0.0)


angle = composite("angle", "x", _FAMILY, run=_angle, ref=np.angle, cases=_CASES[:1],
                  doc="Argument in radians, -pi to pi; of reals 0 or pi.")


def _joined(re: Array, im: Array) -> Array:
    if re.dtype is not im.dtype or re.dtype.kind != "f" or re.dtype.compute != re.dtype.c:
        raise DTypeError(bad("complex", f"{re.dtype} and {im.dtype}", "both float32 or both float64",
                             "Convert with .to(dtype)."))
    if re.shape != im.shape:
        shape = shapes.broadcast("complex", re.shape, im.shape)
        re, im = re.expand(shape), im.expand(shape)
    out = empty(re.shape, re.dtype.complex, re.device)
    assign(_part(out, 0), re)
    assign(_part(out, 1), im)
    out.storage.version = 0
    return out


complex = driver("complex", "real, imag", _FAMILY, tensors=("real", "imag"), run=_joined, kinds="f", method=False,
                 holomorphic=False, grad=[lambda g: real(g), lambda g: imag(g)],
                 ref=lambda real, imag: real + 1j * imag,
                 doc="Complex numbers from real and imaginary parts of one float dtype.")
polar = composite("polar", "abs, angle", _FAMILY, tensors=("abs", "angle"), kinds="f", method=False,
                  run=lambda abs, angle: complex(mul(abs, cos(angle)), mul(abs, sin(angle))),
                  ref=lambda abs, angle: abs * np.exp(1j * angle),
                  doc="Complex numbers from absolute values and angles in radians.")
isreal = composite("isreal", "x", _FAMILY, run=lambda x: imag(x) == 0 if x.dtype.kind == "c" else x == x, ref=np.isreal,
                   cases=_CASES[:1], doc="Whether the imaginary part is zero.")
adjoint = composite("adjoint", "x", _FAMILY, run=lambda x: conj(transpose(x, -1, -2)), cases=_CASES[:1],
                    ref=lambda x: np.swapaxes(np.conj(x) if x.dtype.kind == "c" else x, -1, -2),
                    doc="Each matrix (the last two axes) transposed and conjugated.")


def attach_parts(*kinds: type) -> None:
    """Give arrays ``.real``, ``.imag``, ``.mH`` and ``.H``."""
    def hermitian(self: Any) -> Any:
        if self.ndim not in (0, 2):
            raise ShapeError(bad("H", f"shape {self.shape}", "a matrix", "Use .mH for batches of matrices."))
        return adjoint(self) if self.ndim else conj(self)

    def writer(part: Any) -> Any:
        def write(self: Any, value: Any) -> None:
            view = part(self)
            if view is not value:  # what x.real += 1 has written already
                view[...] = value

        return write

    for kind in kinds:
        kind.real = property(real, writer(real), doc=real.op.doc)
        kind.imag = property(imag, writer(imag), doc=imag.op.doc)
        kind.mH = property(adjoint, doc=adjoint.op.doc)
        kind.H = property(hermitian, doc="A matrix transposed and conjugated.")
