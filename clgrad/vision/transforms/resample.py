"""Resizing and rotating of arrays: weights that say how much of each input pixel an output pixel takes.

Filters are Pillow's: a triangle (bilinear), Keys' cubic (bicubic; a = -1/2 with antialiasing, -3/4 without, as PyTorch
has them). With antialiasing the filter widens by the scale where an image shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(x), 0, None)


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    def weight(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x < 1, near, np.where(x < 2, far, 0))

    return weight


def weights(size: int, target: int, mode: str, antialias: bool) -> np.ndarray:
    """The (target, size) matrix that resizes one axis."""
    scale = size / target
    result = np.zeros((target, size))
    if mode == "nearest":
        result[np.arange(target), np.minimum((np.arange(target) * scale).astype(int), size - 1)] = 1
        return result
    if mode == "nearest-exact":
        result[np.arange(target), np.minimum(((np.arange(target) + 0.5) * scale).astype(int), size - 1)] = 1
        return result
    kernel = _triangle if mode == "bilinear" else _cubic(-0.5 if antialias else -0.75)
    stretch = max(scale, 1.0) if antialias else 1.0
    centers = (np.arange(target) + 0.5) * scale
    if antialias:
        w = kernel((np.arange(size)[None] + 0.5 - centers[:, None]) / stretch)
        return w / w.sum(1, keepdims=True)
    support = 1 if mode == "bilinear" else 2
    first = np.floor(centers - 0.5).astype(int) - support + 1
    for tap in range(2 * support):  # beyond an edge the edge's pixel counts again
        at = first + tap
        np.add.at(result, (np.arange(target), np.clip(at, 0, size - 1)), kernel(at + 0.5 - centers))
    return result


def resized(image: np.ndarray, height: int, width: int, mode: str, antialias: bool) -> np.ndarray:
    """The last two axes resized; integers are rounded and clipped to their range."""
    down = weights(image.shape[-2], height, mode, antialias)
    across = weights(image.shape[-1], width, mode, antialias)
    exact = np.float64 if image.dtype == np.float64 else np.float32
    result = down.astype(exact) @ (image.astype(exact) @ across.T.astype(exact))
    return restored(result, image.dtype)


def restored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Floats in an image's dtype."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def rotation_size(height: int, width: int, angle: float) -> tuple[int, int]:
    """(height, width) of the smallest image that holds all of a rotated one."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = [(x * c - y * s, x * s + y * c) for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)]
    across, down = ([round(p[i] + n / 2, 4) for p in corners] for i, n in ((0, width), (1, height)))  # as Pillow counts
    return math.ceil(max(down)) - math.floor(min(down)), math.ceil(max(across)) - math.floor(min(across))


def rotated(image: np.ndarray, angle: float, mode: str, expand: bool, center: Sequence[float] | None,
            fill: np.ndarray | float) -> np.ndarray:
    """The image turned counter-clockwise by degrees about ``center`` (x, y; default: the middle)."""
    height, width = image.shape[-2:]
    out_height, out_width = rotation_size(height, width, angle) if expand else (height, width)
    middle = (width / 2, height / 2) if center is None else center
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    shift = (out_width / 2, out_height / 2) if expand else middle
    x = np.arange(out_width)[None] + 0.5 - shift[0]
    y = np.arange(out_height)[:, None] + 0.5 - shift[1]
    from_x, from_y = c * x - s * y + middle[0] - 0.5, s * x + c * y + middle[1] - 0.5
    return sampled(image, from_x, from_y, mode, fill)


def sampled(image: np.ndarray, x: np.ndarray, y: np.ndarray, mode: str, fill: np.ndarray | float) -> np.ndarray:
    """The image at positions (pixel centres at integers); what lies outside is ``fill``."""
    height, width = image.shape[-2:]
    background = np.asarray(fill, np.float64).reshape(-1, 1, 1) if np.ndim(fill) else fill
    if mode == "nearest":
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        values = image[..., np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        return np.where(inside, values, background).astype(image.dtype)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    total, cover = np.zeros((*image.shape[:-2], *x.shape)), np.zeros(x.shape)
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            weight = (1 - np.abs(x - column)) * (1 - np.abs(y - row))
            weight = weight * ((column >= 0) & (column < width) & (row >= 0) & (row < height))
            total += weight * image[..., np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
            cover += weight
    return restored(total + (1 - cover) * background, image.dtype)
