"""Transforms that draw what they do. Draws follow ``clgrad.manual_seed``; a loader seeds each worker differently."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.errors import bad
from ...utils.data.sampler import host_random
from . import functional as F
from .basic import Compose, Transform, pair
from .functional import InterpolationMode


def _probability(op: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(bad(op, f"p={p}", "a probability from 0 to 1", "Change it."))
    return p


class RandomApply:
    """The transforms, with probability ``p``; else the image as it is."""

    def __init__(self, transforms: Sequence[Callable], p: float = 0.5) -> None:
        self.transforms = transforms
        self.p = _probability("RandomApply", p)

    def __call__(self, img: Any) -> Any:
        return Compose(self.transforms)(img) if host_random().random() < self.p else img

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}(", f"    p={self.p}", *(f"    {t}" for t in self.transforms), ")"])


class RandomOrder(Compose):
    """The transforms in random order."""

    def __call__(self, img: Any) -> Any:
        for i in host_random().permutation(len(self.transforms)):
            img = self.transforms[i](img)
        return img


class RandomChoice(Compose):
    """One of the transforms, with weights ``p``."""

    def __init__(self, transforms: Sequence[Callable], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        self.p = p

    def __call__(self, img: Any) -> Any:
        weights = None if self.p is None else np.asarray(self.p, np.float64) / np.sum(self.p)
        return self.transforms[host_random().choice(len(self.transforms), p=weights)](img)


class RandomHorizontalFlip(Transform):
    """Left and right exchanged with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability(type(self).__name__, p)

    def __call__(self, img: Any) -> Any:
        return F.hflip(img) if host_random().random() < self.p else img


class RandomVerticalFlip(RandomHorizontalFlip):
    """Top and bottom exchanged with probability ``p``."""

    def __call__(self, img: Any) -> Any:
        return F.vflip(img) if host_random().random() < self.p else img


class RandomGrayscale(RandomHorizontalFlip):
    """Grey, in as many channels, with probability ``p``."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def __call__(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, F.get_image_num_channels(img)) if host_random().random() < self.p else img


class RandomCrop(Transform):
    """A part of ``size`` anywhere in the image, after ``padding``, or padded where the image is smaller
    (``pad_if_needed``)."""

    def __init__(self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: Any = 0,
                 padding_mode: str = "constant") -> None:
        self.size = pair("RandomCrop", size)
        self.padding = padding
        self._pad_if_needed = pad_if_needed
        self._fill = fill
        self._padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop."""
        _, height, width = F.get_dimensions(img)
        h, w = output_size
        if h > height or w > width:
            raise ValueError(bad("RandomCrop", f"an image of {height} x {width}", f"at least {h} x {w}",
                                 "Pad it, or pass pad_if_needed=True."))
        rng = host_random()
        return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w

    def __call__(self, img: Any) -> Any:
        if self.padding is not None:
            img = F.pad(img, self.padding, self._fill, self._padding_mode)
        _, height, width = F.get_dimensions(img)
        if self._pad_if_needed and width < self.size[1]:
            img = F.pad(img, [self.size[1] - width, 0], self._fill, self._padding_mode)
        if self._pad_if_needed and height < self.size[0]:
            img = F.pad(img, [0, self.size[0] - height], self._fill, self._padding_mode)
        return F.crop(img, *self.get_params(img, self.size))


class RandomResizedCrop(Transform):
    """A part of random area (``scale``, of the image's) and aspect ratio, resized to ``size``."""

    def __init__(self, size: Any, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3),
                 interpolation: Any = InterpolationMode.BILINEAR, antialias: bool | None = True) -> None:
        self.size = pair("RandomResizedCrop", size)
        for name, bounds in (("scale", scale), ("ratio", ratio)):
            if not isinstance(bounds, Sequence) or len(bounds) != 2:
                raise TypeError(bad("RandomResizedCrop", f"{name}={bounds!r}", "two numbers", "Give (least, most)."))
            if bounds[0] > bounds[1]:
                warnings.warn(f"RandomResizedCrop: {name}={bounds!r} is not (least, most)", stacklevel=2)
        self.scale = scale
        self.ratio = ratio
        self.interpolation = interpolation
        self.antialias = antialias

    @staticmethod
    def get_params(img: Any, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """Top, left, height and width: ten draws of area and ratio, then the middle."""
        _, height, width = F.get_dimensions(img)
        rng, (low, high) = host_random(), F.ratio_bounds(ratio)
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            aspect = math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
        whole = width / height
        w = round(height * max(ratio)) if whole > max(ratio) else width
        h = round(width / min(ratio)) if whole < min(ratio) else height
        return (height - h) // 2, (width - w) // 2, h, w

    def __call__(self, img: Any) -> Any:
        place = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, *place, self.size, self.interpolation, self.antialias)


class RandomRotation(Transform):
    """Turned by an angle between two, in degrees; a number means (-degrees, degrees)."""

    def __init__(self, degrees: Any, interpolation: Any = InterpolationMode.NEAREST, expand: bool = False,
                 center: Sequence[float] | None = None, fill: Any = 0) -> None:
        self.degrees = _range("RandomRotation", "degrees", degrees, center=0.0)
        self.interpolation = interpolation
        self.expand = expand
        self._center = center
        self._fill = fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """An angle."""
        return float(host_random().uniform(degrees[0], degrees[1]))

    def __call__(self, img: Any) -> Any:
        angle = self.get_params(self.degrees)
        return F.rotate(img, angle, self.interpolation, self.expand, self._center, self._fill)


def _range(op: str, name: str, value: Any, center: float, least: float = -math.inf, most: float = math.inf,
           clip: bool = False) -> tuple[float, float]:
    """(low, high) of a number about a centre, or of two numbers."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(bad(op, f"{name}={value}", "0 or more", "Give two numbers for another range."))
        low, high = center - value, center + value
        low = max(low, 0.0) if clip else low
    elif isinstance(value, Sequence) and len(value) == 2:
        low, high = value
    else:
        raise TypeError(bad(op, f"{name}={value!r}", "a number or two", "Change it."))
    if not least <= low <= high <= most:
        raise ValueError(bad(op, f"{name}={value}", f"values from {least} to {most}, in order", "Change it."))
    return float(low), float(high)


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed by random factors, in random order. A number x means
    [max(0, 1 - x), 1 + x], for hue [-x, x]; two numbers mean themselves."""

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        self.brightness = self._of("brightness", brightness)
        self.contrast = self._of("contrast", contrast)
        self.saturation = self._of("saturation", saturation)
        bounds = _range("ColorJitter", "hue", hue, 0.0, -0.5, 0.5)
        self.hue = None if bounds == (0, 0) else bounds

    @staticmethod
    def _of(name: str, value: Any) -> tuple[float, float] | None:
        bounds = _range("ColorJitter", name, value, 1.0, 0.0, clip=True)
        return None if bounds == (1, 1) else bounds

    def __call__(self, img: Any) -> Any:
        rng = host_random()
        steps = ((F.adjust_brightness, self.brightness), (F.adjust_contrast, self.contrast),
                 (F.adjust_saturation, self.saturation), (F.adjust_hue, self.hue))
        for i in rng.permutation(4):
            adjust, bounds = steps[i]
            if bounds is not None:
                img = adjust(img, float(rng.uniform(*bounds)))
        return img


class RandomErasing(Transform):
    """With probability ``p`` a rectangle of an array, of random area and aspect ratio, gets ``value``: a number, one a
    channel, or ``"random"`` for normal draws."""

    def __init__(self, p: float = 0.5, scale: Sequence[float] = (0.02, 0.33), ratio: Sequence[float] = (0.3, 3.3),
                 value: Any = 0, inplace: bool = False) -> None:
        if isinstance(value, str) and value != "random":
            raise ValueError(bad("RandomErasing", f"value={value!r}", "numbers or 'random'", "Change it."))
        if not 0 <= scale[0] <= scale[1] <= 1:
            raise ValueError(bad("RandomErasing", f"scale={scale}", "(least, most) within 0 to 1", "Change it."))
        self.p = _probability("RandomErasing", p)
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    def __call__(self, img: Any) -> Any:
        rng = host_random()
        if rng.random() >= self.p:
            return img
        channels, height, width = F.get_dimensions(img)
        if not isinstance(self.value, str) and np.ndim(self.value) and len(self.value) not in (1, channels):
            raise ValueError(bad("RandomErasing", f"{len(self.value)} values", f"one, or {channels}",
                                 "One a channel."))
        low, high = F.ratio_bounds(self.ratio)
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(low, high))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
                return F.erase(img, top, left, h, w, self._filling(rng, channels, h, w), self.inplace)
        return img

    def _filling(self, rng: np.random.Generator, channels: int, h: int, w: int) -> Any:
        if isinstance(self.value, str):
            return rng.standard_normal((channels, h, w))
        return np.reshape(self.value, (-1, 1, 1)) if np.ndim(self.value) else self.value
