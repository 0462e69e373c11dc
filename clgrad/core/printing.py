"""Text and HTML of arrays, as PyTorch prints them: one width for all numbers, summarised when large.

Works on anything with shape, strides, offset, dtype, ``view`` and ``numpy``; of a large array only the shown parts are
brought to the host.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from . import dtypes


@dataclass(frozen=True)
class Options:
    """How arrays are printed; see :func:`set_printoptions`."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {"default": Options(), "short": Options(precision=2, edgeitems=2), "full": Options(threshold=math.inf)}
_options = Options()
_WHOLE = 1 << 20  # bytes up to which an array is fetched whole


def set_printoptions(precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
                     linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None) -> None:
    """Set how arrays are printed, as PyTorch's function of this name.

    ``precision``: digits after the point (4). ``threshold``: elements above which the print is a summary (1000).
    ``edgeitems``: elements shown at each end of a summarised axis (3). ``linewidth``: characters a line (80).
    ``profile``: "default", "short" or "full", to start from. ``sci_mode``: exponents always (True), never (False), or
    where numbers differ by more than a factor of 1000, exceed 1e8 or fall below 1e-4 (None, also where left out).
    """
    global _options
    if profile is not None and profile not in _PROFILES:
        raise ValueError(f"set_printoptions: got profile={profile!r}; expected one of {', '.join(_PROFILES)}.")
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    base = _options if profile is None else _PROFILES[profile]
    _options = replace(base, sci_mode=sci_mode, **{k: v for k, v in given.items() if v is not None})


def get_printoptions() -> dict[str, Any]:
    """The current options, as :func:`set_printoptions` takes them."""
    return dict(vars(_options))


# Numbers -----------------------------------------------------------------------------------------------------------


def _scientific(finite: np.ndarray, whole: bool) -> bool:
    """Whether exponents are needed to show these magnitudes, zeros left out."""
    if not finite.size:
        return False
    if _options.sci_mode is not None:
        return _options.sci_mode
    high, low = float(finite.max()), float(finite.min())
    return high > 1e8 or high / low > 1000 or (not whole and low < 1e-4)


def _number(values: np.ndarray) -> tuple[Callable[[Any], str], int]:
    """The formatter of real numbers like these, and the width it needs."""
    if values.dtype.kind in "biu":
        width = max((len(str(v)) for v in np.unique(values).tolist()), default=0)
        return lambda v: str(v).rjust(width), width
    real = values.astype(np.float64).ravel()
    shown = real[np.isfinite(real) & (real != 0)]
    magnitudes = np.abs(shown)
    whole = bool((shown == np.ceil(shown)).all())
    digits = _options.precision
    if _scientific(magnitudes, whole):
        text = lambda v: f"{v:.{digits}e}"
    elif whole:
        text = lambda v: f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
    else:
        text = lambda v: f"{v:.{digits}f}"
    width = max((len(text(v)) for v in shown.tolist()), default=1)
    return lambda v: text(v).rjust(width), width


def _formatter(values: np.ndarray) -> tuple[Callable[[Any], str], int]:
    """The formatter of numbers like these, and the characters each takes."""
    if values.dtype.kind != "c":
        return _number(values)
    (real, real_width), (imaginary, imaginary_width) = _number(values.real), _number(values.imag)

    def text(v: complex) -> str:
        second = imaginary(v.imag).lstrip() + "j"
        return real(v.real) + (second if v.imag < 0 else "+" + second)

    return text, real_width + imaginary_width + 1


# Summaries ---------------------------------------------------------------------------------------------------------


def _summarised(shape: Sequence[int]) -> bool:
    return prod(shape) > _options.threshold


def _edges(array: Any) -> np.ndarray:
    """The elements that a summary shows, on the host: of each long axis its first and last ones."""
    edge = _options.edgeitems
    parts = [[(0, edge), (n - edge, edge)] if n > 2 * edge else [(0, n)] for n in array.shape]
    if array.nbytes <= _WHOLE:
        host = array.numpy()
        for axis, ends in enumerate(parts):
            host = host.take([i for first, count in ends for i in range(first, first + count)], axis)
        return host
    blocks = {}
    for at in itertools.product(*map(range, map(len, parts))):
        ends = [parts[axis][i] for axis, i in enumerate(at)]
        offset = array.offset + sum(first * s for (first, _), s in zip(ends, array.strides))
        blocks[at] = array.view(tuple(count for _, count in ends), array.strides, offset).numpy()

    def joined(at: tuple[int, ...]) -> np.ndarray:
        axis = len(at)
        if axis == len(parts):
            return blocks[at]
        return np.concatenate([joined((*at, i)) for i in range(len(parts[axis]))], axis)

    return joined(())


# Text --------------------------------------------------------------------------------------------------------------


def _wrapped(texts: list[str], width: int, indent: int) -> str:
    """One row: as many numbers a line as fit."""
    count = max(1, (_options.linewidth - indent) // (width + 2))
    lines = [", ".join(texts[i:i + count]) for i in range(0, len(texts), count)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(host: np.ndarray, shape: Sequence[int], indent: int, text: Callable, width: int) -> str:
    """The numbers in brackets; axes of ``shape`` that are longer in the array than on the host get an ellipsis."""
    if host.ndim == 0:
        return text(host.item())
    half = host.shape[0] // 2 if shape[0] > host.shape[0] else None
    if host.ndim == 1:
        texts = [text(v) for v in host.tolist()]
        return _wrapped(texts if half is None else [*texts[:half], " ...", *texts[half:]], width, indent)
    rows = [_nested(row, shape[1:], indent + 1, text, width) for row in host]
    rows = rows if half is None else [*rows[:half], "...", *rows[half:]]
    return "[" + ("," + "\n" * (host.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def _with_notes(text: str, notes: Sequence[str], indent: int) -> str:
    """The closing bracket, and before it the notes, on lines of their own where they do not fit."""
    column = len(text) - text.rfind("\n") + 1
    for note in notes:
        if column + len(note) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + note
            column = indent + len(note)
        else:
            text += ", " + note
            column += len(note) + 2
    return text + ")"


def _is_usual(d: Any, empty: bool) -> bool:
    """Whether the values alone say the dtype."""
    default = dtypes.get_default_dtype()
    if empty:
        return d is default
    complex_default = {"float64": "complex128"}.get(default.name, "complex64")
    return d is default or d.name in ("int64", "bool", complex_default)


def _notes(array: Any, elsewhere: bool) -> list[str]:
    notes = [f"device={str(array.device)!r}"] if elsewhere else []
    empty = 0 in array.shape
    if empty and len(array.shape) != 1:
        notes.append(f"size={array.shape}")
    return notes if _is_usual(array.dtype, empty) else [*notes, f"dtype={array.dtype}"]


def _fetched(array: Any) -> np.ndarray:
    """What is shown, on the host, in a dtype that NumPy knows."""
    host = _edges(array) if _summarised(array.shape) else array.numpy()
    return host if host.dtype.kind in "biufc" else host.astype(np.float32)


def describe(array: Any, name: str, suffix: Sequence[str] = (), elsewhere: bool = False) -> str:
    """``name(values, notes)`` as PyTorch prints it: the dtype where the values do not say it, the device where it is
    not the default (``elsewhere``), then ``suffix``."""
    start = name + "("
    if array.device.lost is not None:
        body = "<on a lost device>"
    elif 0 in array.shape:
        body = "[]"
    else:
        host = _fetched(array)
        body = _nested(host, array.shape, len(start), *_formatter(host))
    return _with_notes(start + body, [*_notes(array, elsewhere), *suffix], len(start))


# HTML --------------------------------------------------------------------------------------------------------------


def _cells(texts: Sequence[str], cut: bool) -> str:
    half = len(texts) // 2
    shown = [*texts[:half], "&hellip;", *texts[half:]] if cut else texts
    return "<tr>" + "".join(f"<td style='text-align: right'>{t}</td>" for t in shown) + "</tr>"


def table(array: Any, name: str, suffix: Sequence[str] = (), elsewhere: bool = False) -> str:
    """HTML for notebooks: a table of an array of one or two dimensions, summarised when large, else its text; and a
    line with shape, dtype and device."""
    facts = [name, f"shape {array.shape}", array.dtype.name, f"on {array.device}", *suffix]
    caption = f"<div><small>{html.escape(' · '.join(facts))}</small></div>"
    if array.device.lost is not None or len(array.shape) not in (1, 2) or 0 in array.shape:
        return f"<div><pre>{html.escape(describe(array, name, suffix, elsewhere))}</pre>{caption}</div>"
    host = _fetched(array)
    text, _ = _formatter(host)
    rows = host.reshape(-1, host.shape[-1])
    cut = array.shape[-1] > host.shape[-1]
    lines = [_cells([html.escape(text(v).strip()) for v in row.tolist()], cut) for row in rows]
    if len(array.shape) == 2 and array.shape[0] > host.shape[0]:
        half = len(lines) // 2
        lines.insert(half, _cells(["&#8942;"] * (host.shape[-1] + cut), False))
    return f"<div><table><tbody>{''.join(lines)}</tbody></table>{caption}</div>"
