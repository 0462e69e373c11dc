"""Short-time Fourier transforms: spectra of overlapping frames of a signal, and the signal of such spectra.

A signal is cut into frames of ``n_fft`` points, ``hop_length`` apart (a quarter of that unless given). Each is
multiplied by a window of ``win_length`` points, centred in the frame (all ones unless given), and transformed. With
``center``, frame t is centred on point t hop_length of the signal, which is extended at both ends. The inverse adds the
windowed frames up and divides by the sum of the squared windows (D. Griffin, J. Lim, "Signal estimation from modified
short-time Fourier transform", 1984).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import check_kind
from ..core.errors import DTypeError, ShapeError, bad
from ..ndarray import Array, full
from ..table import Case
from . import fft
from .complex import view_as_real
from .declare import composite, driver
from .elementwise import abs as absolute
from .elementwise import add, assign
from .manipulate import pad, pad_constant
from .reduce import min as least
from .shape import expand, getitem, transpose

_FAMILY = "fft"


def _framed(x: Array, size: int, hop: int) -> Array:
    count = (x.shape[-1] - size) // hop + 1
    return x.view((*x.shape[:-1], count, size), (*x.strides[:-1], x.strides[-1] * hop, x.strides[-1]), x.offset)


def _added(x: Array, hop: int) -> Array:
    """Parts of hop points do not overlap: they are added part by part, in order."""
    *lead, count, size = x.shape
    out = full((*lead, size + hop * (count - 1)), 0, x.dtype, x.device)
    for start in range(0, size, hop):
        width = min(hop, size - start)
        target = out.view((*lead, count, width), (*out.strides[:-1], hop, 1), start)
        part = x.view((*lead, count, width), x.strides, x.offset + start * x.strides[-1])
        if start:
            add.op.inplace(target, target, part)
        else:
            assign(target, part)
    out.storage.version = 0
    return out


def _frames_ref(x: Any, size: int, hop: int) -> Any:
    return np.lib.stride_tricks.sliding_window_view(x, size, -1)[..., ::hop, :]


def _added_ref(x: Any, hop: int) -> Any:
    *lead, count, size = x.shape
    out = np.zeros((*lead, size + hop * (count - 1)), x.dtype)
    for t in range(count):
        out[..., t * hop:t * hop + size] += x[..., t, :]
    return out


_frames = driver("frames", "x, size, hop", _FAMILY, run=_framed, method=False, public=False, kinds="fc", half=False,
                 grad=[lambda g, x_shape, hop: fft._fitted(_overlap_add(g, hop), x_shape, len(x_shape) - 1)],
                 ref=_frames_ref, cases=(Case(((2, 11),), {"size": 4, "hop": 3}),),
                 doc="A view of frames of ``size`` points, ``hop`` apart, of the last axis.")
_overlap_add = driver("overlap_add", "x, hop", _FAMILY, run=_added, method=False, public=False, kinds="fc", half=False,
                      grad=[lambda g, x_shape, hop: _frames(g, x_shape[-1], hop)], ref=_added_ref,
                      cases=(Case(((2, 3, 5),), {"hop": 2}), Case(((3, 4),), {"hop": 4})),
                      doc="Sum of frames that start ``hop`` apart.")


def _lengths(op: str, n_fft: int, hop: int | None, win: int | None) -> tuple[int, int]:
    hop = n_fft // 4 if hop is None else hop
    win = n_fft if win is None else win
    if not 0 < win <= n_fft:
        raise ShapeError(bad(op, f"win_length={win} for n_fft={n_fft}", "0 < win_length <= n_fft", "Change either."))
    if hop < 1:
        raise ShapeError(bad(op, f"hop_length={hop}", "1 or more", "Give the points from frame to frame."))
    return hop, win


def _centred(op: str, window: Any, n_fft: int, win: int, x: Any) -> Any:
    """The window with zeros around it, or None for ones."""
    if window is None:
        if win == n_fft:
            return None
        window = full((win,), 1, x.dtype.real, x.device)
    if window.shape != (win,):
        raise ShapeError(bad(op, f"a window of shape {window.shape}", f"({win},)", "Give win_length its size."))
    left = (n_fft - win) // 2
    return pad_constant(window, ((left, n_fft - win - left),), 0) if win < n_fft else window


def _is_complex(x: Any) -> bool:
    return x is not None and x.dtype.kind == "c"


def _stft(x: Any, n_fft: int, hop_length: Any = None, win_length: Any = None, window: Any = None, center: bool = True,
          pad_mode: str = "reflect", normalized: bool = False, onesided: Any = None, return_complex: Any = None) -> Any:
    check_kind("stft", "fc", fft.checked("stft", x).dtype)
    hop, win = _lengths("stft", n_fft, hop_length, win_length)
    whole = _is_complex(x) or _is_complex(window)
    if return_complex is None and not whole:
        raise ShapeError(bad("stft", "no return_complex for a real input", "True or False",
                             "Pass return_complex=True for complex numbers, False for pairs of reals."))
    if onesided and whole:
        raise DTypeError(bad("stft", "onesided=True for a complex input or window", "onesided=False",
                             "Only spectra of real signals are their own mirror image."))
    if x.ndim not in (1, 2):
        raise ShapeError(bad("stft", f"shape {x.shape}", "(time) or (batch, time)", "Reshape it."))
    window = _centred("stft", window, n_fft, win, x)
    if center:
        x = pad(x, (n_fft // 2, n_fft // 2), pad_mode)
    if x.shape[-1] < n_fft:
        raise ShapeError(bad("stft", f"a signal of {x.shape[-1]} points for n_fft={n_fft}", "a frame or more",
                             "Lower n_fft, or pass center=True."))
    frames = _frames(x, n_fft, hop)
    frames = frames if window is None else frames * window
    onesided = not whole if onesided is None else onesided
    spectra = (fft.rfft if onesided else fft.fft)(frames, norm="ortho" if normalized else "backward")
    spectra = transpose(spectra, -1, -2)
    return view_as_real(spectra) if return_complex is False else spectra


def _istft(x: Any, n_fft: int, hop_length: Any = None, win_length: Any = None, window: Any = None, center: bool = True,
           normalized: bool = False, onesided: Any = None, length: Any = None, return_complex: bool = False) -> Any:
    check_kind("istft", "c", fft.checked("istft", x).dtype)
    hop, win = _lengths("istft", n_fft, hop_length, win_length)
    if hop > win:
        raise ShapeError(bad("istft", f"hop_length={hop} above win_length={win}", "frames without gaps", "Lower it."))
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ShapeError(bad("istft", f"shape {x.shape}",
                             "(frequency, frames) or (batch, frequency, frames), not empty", "Reshape it."))
    onesided = x.shape[-2] != n_fft if onesided is None else onesided
    if x.shape[-2] != (n_fft // 2 + 1 if onesided else n_fft):
        raise ShapeError(bad("istft", f"{x.shape[-2]} frequencies for n_fft={n_fft}", "n_fft, or n_fft // 2 + 1 "
                             "when onesided", "Pass the n_fft that stft had."))
    if onesided and (return_complex or _is_complex(window)):
        raise DTypeError(bad("istft", "onesided spectra for a complex signal", "onesided=False",
                             "Pass return_complex=False and a real window."))
    window = _centred("istft", window, n_fft, win, x)
    norm = "ortho" if normalized else "backward"
    frames = (fft.irfft if onesided else fft.ifft)(transpose(x, -1, -2), n_fft, norm=norm)
    frames = frames if return_complex or onesided else frames.real
    ones = full((n_fft,), 1, x.dtype.real, x.device)
    total = _overlap_add(frames if window is None else frames * window, hop)
    weight = _overlap_add(expand(ones if window is None else window * window, (x.shape[-1], n_fft)), hop)
    start = n_fft // 2 if center else 0
    end = total.shape[-1] - start if length is None else start + length
    inside = slice(start, min(end, total.shape[-1]))
    total, weight = getitem(total, (..., inside)), getitem(weight, inside)
    if weight.size and not least(absolute(weight)).item() > 1e-11:
        raise ShapeError(bad("istft", "windows that leave some points out", "a sum of squared windows above 0",
                             "Lower hop_length, or pass center=True with a window that is 0 at its ends."))
    missing = 0 if length is None else end - start - total.shape[-1]
    y = total / weight
    return pad_constant(y, ((0, 0),) * (y.ndim - 1) + ((0, missing),), 0) if missing > 0 else y


def _stft_ref(input: Any, n_fft: int, hop_length: Any = None, win_length: Any = None, window: Any = None,
              center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: Any = None,
              return_complex: Any = None) -> Any:
    win = win_length or n_fft
    window, left = np.ones(win) if window is None else window, (n_fft - win) // 2
    window = np.pad(window, (left, n_fft - win - left)).astype(input.dtype)
    if center:
        input = np.pad(input, [(0, 0)] * (input.ndim - 1) + [(n_fft // 2,) * 2], pad_mode)
    frames = _frames_ref(input, n_fft, hop_length or n_fft // 4) * window
    half = input.dtype.kind != "c" if onesided is None else onesided
    y = (np.fft.rfft if half else np.fft.fft)(frames, norm="ortho" if normalized else None).swapaxes(-1, -2)
    return np.stack([y.real, y.imag], -1) if return_complex is False else y


def _istft_ref(input: Any, n_fft: int, hop_length: Any = None, window: Any = None, length: Any = None,
               onesided: Any = None) -> Any:
    hop = hop_length or n_fft // 4
    window = np.ones(n_fft) if window is None else window
    onesided = input.shape[-2] != n_fft if onesided is None else onesided
    spectra = input.swapaxes(-1, -2)
    frames = np.fft.irfft(spectra, n_fft) if onesided else np.fft.ifft(spectra).real
    y = _added_ref(frames * window, hop)
    weight = _added_ref(np.broadcast_to(window**2, (input.shape[-1], n_fft)), hop)
    y = y[..., n_fft // 2:y.shape[-1] - n_fft // 2] / weight[n_fft // 2:weight.size - n_fft // 2]
    return y if length is None else y[..., :length]


_HANN = np.sin(np.pi * np.arange(8) / 8).astype(np.float32) ** 2
stft = composite(
    "stft", "input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode='reflect', "
    "normalized=False, onesided=None, return_complex=None", _FAMILY, tensors=("input",), run=_stft, ref=_stft_ref,
    kinds="fc", half=False,
    cases=(Case(((2, 20),), {"n_fft": 8, "onesided": False, "return_complex": True}),
           Case(((19,),), {"n_fft": 6, "hop_length": 4, "win_length": 3, "center": False, "normalized": True,
                           "onesided": False, "return_complex": False}),
           Case(((2, 17),), {"n_fft": 5, "hop_length": 7, "pad_mode": "constant", "onesided": False,
                             "return_complex": True})),
    doc="Spectra of overlapping frames, shaped (batch, frequency, frame): of a real signal the first half, unless "
        "``onesided`` is False.")
istft = composite(
    "istft", "input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False, "
    "onesided=None, length=None, return_complex=False", _FAMILY, tensors=("input",), run=_istft, ref=_istft_ref,
    kinds="c",
    cases=(Case(((2, 5, 6),), {"n_fft": 8}), Case(((4, 7),), {"n_fft": 6, "hop_length": 3, "length": 14}),
           Case(((6, 4),), {"n_fft": 6, "hop_length": 2, "onesided": False})),
    doc="The signal of such spectra, by least squares. Asks the device whether its windows reach every point, which "
        "copies one number to the host.")
