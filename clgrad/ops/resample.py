"""Resampling of the axes of space (interpolate), and the shuffling of channels into space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import ShapeError, bad
from ..families import resample as family
from ..table import Case
from .conv import per_axis
from .declare import composite, driver
from .pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .shape import permute, reshape

_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
_MODES = {"nearest": ("nearest", (1, 2, 3)), "nearest-exact": ("nearest-exact", (1, 2, 3)), "linear": ("linear", (1,)),
          "bilinear": ("linear", (2,)), "trilinear": ("linear", (3,)), "bicubic": ("cubic", (2,)),
          "area": ("area", (1, 2, 3))}


def _matrix(n: int, size: int, scale: float, mode: str, align: bool) -> np.ndarray:
    """Weights (results, sources) of resampling an axis of n elements, from the definition."""
    rows = np.zeros((size, n))
    for o in range(size):
        if mode.startswith("nearest"):
            offset = np.float32(0.5 if mode == "nearest-exact" else 0)
            rows[o, min(int(np.floor((np.float32(o) + offset) * np.float32(scale))), n - 1)] = 1
            continue
        source = o * scale if align else (o + 0.5) * scale - 0.5
        if mode == "linear":
            source = max(source, 0.0)
            first = min(int(source), n - 1)
            part = min(max(source - first, 0.0), 1.0)
            weights = {0: 1 - part, 1: part}
        else:
            first, a = math.floor(source), -0.75
            weights = {}
            for t in range(-1, 3):
                d = abs(source - (first + t))
                weights[t] = (((a + 2) * d - (a + 3)) * d * d + 1 if d <= 1 else
                              ((a * d - 5 * a) * d + 8 * a) * d - 4 * a)
        for t, w in weights.items():
            rows[o, min(max(first + t, 0), n - 1)] += w
    return rows


def _ref(x: Any, dim: int, size: int, scale: float, mode: str, align: bool) -> Any:
    matrix = _matrix(x.shape[dim], size, scale, mode, align).astype(x.dtype)
    return np.moveaxis(np.moveaxis(x, dim, -1) @ matrix.T, -1, dim)


def _back_ref(g_out: Any, dim: int, size: int, scale: float, mode: str, align: bool) -> Any:
    matrix = _matrix(size, g_out.shape[dim], scale, mode, align).astype(g_out.dtype)
    return np.moveaxis(np.moveaxis(g_out, dim, -1) @ matrix, -1, dim)


_CASES = (({"dim": 1, "size": 9, "scale": 4 / 9}, (2, 4)), ({"dim": 0, "size": 3, "scale": 7 / 3}, (7, 3)),
          ({"dim": 1, "size": 5, "scale": 3 / 4}, (2, 4, 3)))


def _cases(back: bool) -> tuple[Case, ...]:
    made = []
    for mode in family.MODES:
        for number, (attrs, shape) in enumerate(_CASES):
            align = number == 2 and mode in ("linear", "cubic")
            size, dim = attrs["size"], attrs["dim"]
            array = (*shape[:dim], size, *shape[dim + 1:]) if back else shape
            made.append(Case((array,), {**attrs, "size": shape[dim] if back else size, "mode": mode, "align": align}))
    return tuple(made)


resample = driver("resample", "x, dim, size, scale, mode, align", "resample", kinds="f", public=False, method=False,
                  run=lambda *args: family.resample("resample", *args, back=False), ref=_ref, cases=_cases(False),
                  grad=[lambda g, x_shape, dim, scale, mode, align: resample_back(
                      g, dim, x_shape[dim], scale, mode, align)],
                  doc="x resampled along one axis to ``size`` positions, ``scale`` apart in x.")
resample_back = driver("resample_back", "g_out, dim, size, scale, mode, align", "resample", tensors=("g_out",),
                       kinds="f", public=False, method=False, ref=_back_ref, cases=_cases(True),
                       run=lambda *args: family.resample("resample_back", *args, back=True),
                       grad=[lambda g, g_out_shape, dim, scale, mode, align: resample(
                           g, dim, g_out_shape[dim], scale, mode, align)],
                       doc="The gradient of resample: each result's share, added where it was read from.")


def _interpolate(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                 align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                 antialias: bool = False) -> Any:
    op, rank = "interpolate", input.ndim - 2
    if mode not in _MODES:
        raise ValueError(bad(op, f"mode={mode!r}", f"one of {', '.join(_MODES)}", "Pass one of these."))
    kernel, ranks = _MODES[mode]
    if rank not in ranks:
        raise ShapeError(bad(op, f"input {input.shape} with mode={mode!r}", " or ".join(
            f"{r + 2} dimensions" for r in ranks), "It is (N, C, space)."))
    if align_corners is not None and kernel not in ("linear", "cubic"):
        raise ValueError(bad(op, f"align_corners={align_corners} with mode={mode!r}", "no align_corners",
                             "Only linear and cubic modes take it."))
    if antialias:
        raise ValueError(bad(op, "antialias=True", "antialias=False", "Use mode='area' to shrink without aliasing."))
    if (size is None) == (scale_factor is None):
        raise ValueError(bad(op, "both size and scale_factor" if size is not None else "neither size nor scale_factor",
                             "one of them", "Pass one."))
    sizes, factors = _target(input.shape[2:], size, scale_factor, recompute_scale_factor)
    if min(sizes) < 1 or 0 in input.shape[1:]:
        raise ShapeError(bad(op, f"input {input.shape} and result of size {sizes}", "sizes of 1 or more",
                             "Give a larger size, or a larger factor."))
    if kernel == "area":
        return _AREA[rank](input, sizes)
    for axis, (new, factor) in enumerate(zip(sizes, factors)):
        scale = _scale(input.shape[2 + axis], new, factor, bool(align_corners))
        if (new, scale) != (input.shape[2 + axis], 1.0):
            input = resample(input, 2 + axis, new, scale, kernel, bool(align_corners))
    return input


def _target(space: tuple, size: Any, scale_factor: Any, recompute: bool | None) -> tuple[tuple, tuple]:
    """The result's sizes, and for each axis the factor that positions come from, or None for the sizes' ratio."""
    rank = len(space)
    if size is not None:
        if recompute:
            raise ValueError(bad("interpolate", "recompute_scale_factor with size", "scale_factor", "Leave one out."))
        return per_axis("interpolate", "size", size, rank), (None,) * rank
    several = isinstance(scale_factor, (tuple, list))
    factors = tuple(map(float, scale_factor)) if several else (float(scale_factor),) * rank
    if len(factors) != rank:
        raise ShapeError(bad("interpolate", f"scale_factor={scale_factor}", f"a number or {rank}",
                             "Give one an axis of space."))
    return tuple(math.floor(n * f) for n, f in zip(space, factors)), (None,) * rank if recompute else factors


def _scale(n: int, size: int, factor: float | None, align: bool) -> float:
    """The step through the source from one result to the next."""
    if align:
        return (n - 1) / (size - 1) if size > 1 else 0.0
    return 1 / factor if factor else n / size


def _interpolate_ref(input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                     align_corners: Any = None, recompute_scale_factor: Any = None) -> Any:
    sizes, factors = _target(input.shape[2:], size, scale_factor, recompute_scale_factor)
    for axis, (new, factor) in enumerate(zip(sizes, factors)):
        scale = _scale(input.shape[2 + axis], new, factor, bool(align_corners))
        input = _ref(input, 2 + axis, new, scale, _MODES[mode][0], bool(align_corners))
    return input


interpolate = composite(
    "interpolate", "input, size=None, scale_factor=None, mode='nearest', align_corners=None, "
    "recompute_scale_factor=None, antialias=False", "resample", tensors=("input",), run=_interpolate,
    ref=_interpolate_ref, kinds="f", method=False, public=False,
    cases=(Case(((1, 2, 3, 4),), {"scale_factor": 2.5, "mode": "bilinear"}), Case(((1, 2, 5),), {"size": 3}),
           Case(((1, 1, 3, 4),), {"size": (5, 7), "mode": "bicubic", "align_corners": True})),
    doc="Resamples (N, C, space) to ``size`` or by ``scale_factor``: nearest, nearest-exact, (bi-, tri-)linear, "
        "bicubic, area.")

# Channels and space -------------------------------------------------------------------------------------------------


def _pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ShapeError(bad("pixel_shuffle", f"input {input.shape} with upscale_factor={r}",
                             "(..., C * r * r, H, W)", "The channels must divide by the factor squared."))
    *lead, C, H, W = input.shape
    n = len(lead)
    x = reshape(input, (*lead, C // (r * r), r, r, H, W))
    x = permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(x, (*lead, C // (r * r), H * r, W * r))


def _pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-1] % r or input.shape[-2] % r:
        raise ShapeError(bad("pixel_unshuffle", f"input {input.shape} with downscale_factor={r}",
                             "(..., C, H * r, W * r)", "Height and width must divide by the factor."))
    *lead, C, H, W = input.shape
    n = len(lead)
    x = reshape(input, (*lead, C, H // r, r, W // r, r))
    x = permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(x, (*lead, C * r * r, H // r, W // r))


def _shuffled(x: Any, r: int) -> Any:
    out = np.zeros((*x.shape[:-3], x.shape[-3] // (r * r), x.shape[-2] * r, x.shape[-1] * r), x.dtype)
    for c in range(x.shape[-3]):
        out[..., c // (r * r), c // r % r::r, c % r::r] = x[..., c, :, :]
    return out


def _unshuffled(x: Any, r: int) -> Any:
    return np.concatenate([x[..., c:c + 1, i::r, j::r] for c in range(x.shape[-3]) for i in range(r)
                           for j in range(r)], -3)


def _channel_shuffle(input: Any, groups: int) -> Any:
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ShapeError(bad("channel_shuffle", f"input {input.shape} with groups={groups}",
                             "(N, C, ...), C a multiple", "Channels are split evenly into groups."))
    N, C, *rest = input.shape
    return reshape(reshape(input, (N, groups, C // groups, -1)).transpose(1, 2), (N, C, *rest))


pixel_shuffle = composite("pixel_shuffle", "input, upscale_factor", "resample", tensors=("input",), run=_pixel_shuffle,
                          ref=lambda input, upscale_factor: _shuffled(input, upscale_factor), method=False,
                          cases=(Case(((2, 8, 3, 2),), {"upscale_factor": 2}),),
                          doc="(..., C * r * r, H, W) to (..., C, H * r, W * r): channels become pixels.")
pixel_unshuffle = composite("pixel_unshuffle", "input, downscale_factor", "resample", tensors=("input",),
                            run=_pixel_unshuffle, method=False, cases=(Case(((2, 4, 6),), {"downscale_factor": 2}),),
                            ref=lambda input, downscale_factor: _unshuffled(input, downscale_factor),
                            doc="(..., C, H * r, W * r) to (..., C * r * r, H, W): pixel_shuffle in reverse.")
channel_shuffle = composite("channel_shuffle", "input, groups", "resample", tensors=("input",), run=_channel_shuffle,
                            ref=lambda input, groups: np.concatenate(
                                [input[:, i::input.shape[1] // groups] for i in range(input.shape[1] // groups)], 1),
                            method=False,
                            cases=(Case(((2, 6, 3),), {"groups": 3}),),
                            doc="(N, C, ...) with the channels of all groups in turn.")
