"""Layers that change the size or the shape of space: resampling, shuffling, padding; and Unflatten."""

from __future__ import annotations

from typing import Any

from ..core.errors import ShapeError, bad
from ..ops.manipulate import unflatten
from . import functional as F
from .module import Module


class Upsample(Module):
    """Resamples (N, C, space) to ``size`` or by ``scale_factor`` in a ``mode`` of F.interpolate."""

    def __init__(self, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                 align_corners: bool | None = None, recompute_scale_factor: bool | None = None) -> None:
        super().__init__()
        self.size = size
        self.scale_factor = tuple(map(float, scale_factor)) if isinstance(scale_factor, (tuple, list)) else (
            float(scale_factor) if scale_factor else None)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Any) -> Any:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners,
                             self.recompute_scale_factor)

    def extra_repr(self) -> str:
        what = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{what}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample in mode ``nearest``."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample in mode ``bilinear``, corners aligned."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class PixelShuffle(Module):
    """(..., C * r * r, H, W) to (..., C, H * r, W * r), r = ``upscale_factor`` (Shi et al. 2016)."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., C, H * r, W * r) to (..., C * r * r, H, W), r = ``downscale_factor``."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """(N, C, ...) with the channels of all ``groups`` in turn (Zhang et al. 2018)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Any) -> Any:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Unflatten(Module):
    """Splits the axis ``dim`` into the axes ``unflattened_size``, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)) or not all(isinstance(n, int) for n in unflattened_size):
            raise TypeError(bad("Unflatten", f"unflattened_size={unflattened_size!r}", "a tuple of ints",
                                "Give the sizes of the new axes."))
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Any) -> Any:
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class _Pad(Module):
    """Margins of the last ``rank`` axes: one number for all, or pairs from the last axis on. Negative ones cut."""

    rank = 0
    mode = "constant"
    value: float | None = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        if isinstance(padding, int):
            padding = (padding,) * (2 * self.rank)
        self.padding = tuple(padding)
        if len(self.padding) != 2 * self.rank:
            raise ShapeError(bad(type(self).__name__, f"padding={padding}", f"an int or {2 * self.rank} of them",
                                 "Give (left, right), (left, right, top, bottom), and so on."))

    def forward(self, input: Any) -> Any:
        if input.ndim <= self.rank:
            raise ShapeError(bad(type(self).__name__, f"input {input.shape}", f"{self.rank + 1} dimensions or more",
                                 "It is (N, C, space) or (C, space)."))
        return F.pad(input, self.padding, mode=self.mode, value=self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


def _family(base: type, stem: str, what: str, **fields: Any) -> list[type]:
    """The layers of one kind of margin, for one to three axes."""
    made = []
    for rank, axes in ((1, "axis"), (2, "two axes"), (3, "three axes")):
        doc = f"Margins of {what} around the last {axes}: an int, or pairs from the last axis on."
        made.append(type(f"{stem}{rank}d", (base,), {"rank": rank, "__module__": __name__, "__doc__": doc, **fields}))
    return made


ConstantPad1d, ConstantPad2d, ConstantPad3d = _family(_ConstantPad, "ConstantPad", "one ``value``")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _family(_ZeroPad, "ZeroPad", "zeros")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _family(_Pad, "ReflectionPad", "reflected elements", mode="reflect")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _family(_Pad, "ReplicationPad", "repeated edges",
                                                               mode="replicate")
CircularPad1d, CircularPad2d, CircularPad3d = _family(_Pad, "CircularPad", "the opposite side", mode="circular")
