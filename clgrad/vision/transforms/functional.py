"""Transforms as functions, in torchvision's names, of Pillow images and of host arrays (..., channels, height, width).

They run on NumPy and Pillow, so that they work in a loader's worker processes. What torchvision calls a tensor is a
:class:`~clgrad.utils.data.HostArray` here: the loader puts it on a device.
"""

from __future__ import annotations

import enum
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...autograd.variable import Variable
from ...core import dtypes
from ...core.dtypes import DType
from ...core.errors import ShapeError, bad
from ...ndarray import Array
from ...utils.data.collate import host_array
from ..pillow import is_image, pillow
from . import resample


class InterpolationMode(enum.Enum):
    """How pixels between pixels are found; ``box``, ``hamming`` and ``lanczos`` are for Pillow images only."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


_PILLOW_NUMBERS = {0: InterpolationMode.NEAREST, 1: InterpolationMode.LANCZOS, 2: InterpolationMode.BILINEAR,
                   3: InterpolationMode.BICUBIC, 4: InterpolationMode.BOX, 5: InterpolationMode.HAMMING}


def _mode(op: str, interpolation: Any, arrays: bool) -> InterpolationMode:
    mode = _PILLOW_NUMBERS.get(interpolation) if isinstance(interpolation, int) else interpolation
    if not isinstance(mode, InterpolationMode):
        raise TypeError(bad(op, f"interpolation={interpolation!r}", "an InterpolationMode",
                            "Use InterpolationMode.BILINEAR, say."))
    if arrays and mode.name in ("BOX", "HAMMING", "LANCZOS"):
        raise ValueError(bad(op, f"{mode.value} for an array", "nearest, nearest-exact, bilinear or bicubic",
                             "Convert to a Pillow image first."))
    return mode


def _pillow_mode(mode: InterpolationMode) -> Any:
    name = "NEAREST" if mode is InterpolationMode.NEAREST_EXACT else mode.name
    return getattr(pillow().Resampling, name)


def _array(op: str, image: Any) -> np.ndarray:
    """An image that is no Pillow image, as an array of two dimensions or more."""
    if isinstance(image, (Variable, Array)):
        raise TypeError(bad(op, "an array on a device", "a Pillow image or a NumPy array",
                            "Transforms run on the host, before the loader: call .numpy() to get one back."))
    if not isinstance(image, np.ndarray) or image.ndim < 2:
        raise TypeError(bad(op, f"a {type(image).__name__}", "a Pillow image or an array (..., height, width)",
                            "Convert it first."))
    return image


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width] of an image."""
    if is_image(img):
        return [len(img.getbands()), img.height, img.width]
    array = _array("get_dimensions", img)
    return [1 if array.ndim == 2 else array.shape[-3], *array.shape[-2:]]


def get_image_size(img: Any) -> list[int]:
    """[width, height]."""
    return get_dimensions(img)[:0:-1]


def get_image_num_channels(img: Any) -> int:
    """The number of channels."""
    return get_dimensions(img)[0]


# To and from arrays ------------------------------------------------------------------------------------------------


def to_tensor(pic: Any) -> np.ndarray:
    """A Pillow image or an array (H, W[, C]) as a HostArray (C, H, W): of uint8, floats from 0 to 1 in the default
    float; of other dtypes, the values as they are."""
    default = dtypes.get_default_dtype().np
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ShapeError(bad("to_tensor", f"an array of shape {pic.shape}", "two or three dimensions",
                                 "Give height, width and perhaps channels."))
        values = _channels_first(np.asarray(pic))
    elif is_image(pic):
        values = pil_to_tensor(pic).numpy()
        if pic.mode == "1":
            values = values.astype(np.uint8) * 255
    else:
        raise TypeError(bad("to_tensor", f"a {type(pic).__name__}", "a Pillow image or a NumPy array",
                            "Convert it first."))
    return host_array(values.astype(default) / default.type(255) if values.dtype == np.uint8 else values)


def _channels_first(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))


def pil_to_tensor(pic: Any) -> np.ndarray:
    """A Pillow image as a HostArray (C, H, W) of its own dtype."""
    if not is_image(pic):
        raise TypeError(bad("pil_to_tensor", f"a {type(pic).__name__}", "a Pillow image", "Use to_tensor."))
    values = np.array(pic)
    if pic.mode == "I;16":
        values = values.astype(np.int16)
    return host_array(_channels_first(values))


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A Pillow image of an array: a HostArray is (C, H, W) or (H, W), and its floats from 0 to 1 become bytes; a plain
    NumPy array is (H, W[, C]), as torchvision has it. A Variable comes from its device."""
    if isinstance(pic, (Variable, Array)):
        pic = host_array((pic.detach() if isinstance(pic, Variable) else pic).numpy())
    values = _array("to_pil_image", pic)
    if values.ndim > 3:
        raise ShapeError(bad("to_pil_image", f"an array of shape {values.shape}", "one image", "Index the batch."))
    first = type(values) is not np.ndarray
    values = np.asarray(values)
    if first:
        if values.dtype.kind == "f" and mode != "F":
            values = (values * 255).astype(np.int64).astype(np.uint8)
        values = values.transpose(1, 2, 0) if values.ndim == 3 else values
    values = values[:, :, None] if values.ndim == 2 else values
    channels = values.shape[2]
    if channels > 4:
        raise ShapeError(bad("to_pil_image", f"{channels} channels", "one to four", "Choose some of them."))
    expected = _mode_of(values) if mode is None else mode
    if len(pillow().new(expected, (1, 1)).getbands()) != channels:
        raise ValueError(bad("to_pil_image", f"mode {expected!r} for {channels} channels of {values.dtype}",
                             "a mode with as many", "Leave it out."))
    plain = values[:, :, 0] if channels == 1 else values
    image = pillow().fromarray(np.ascontiguousarray(plain))
    if image.mode != expected and channels > 1 and values.dtype == np.uint8:
        image = pillow().frombytes(expected, image.size, np.ascontiguousarray(plain).tobytes())
    return image


def _mode_of(values: np.ndarray) -> str:
    channels = values.shape[2]
    one = {"uint8": "L", "int16": "I;16", "uint16": "I;16", "int32": "I", "float32": "F"}
    if channels == 1 and values.dtype.name in one:
        return one[values.dtype.name]
    if values.dtype != np.uint8:
        raise TypeError(bad("to_pil_image", f"{channels} channels of {values.dtype}", "uint8", "Convert it first."))
    return {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]


def convert_image_dtype(image: Any, dtype: Any = None) -> np.ndarray:
    """An array in another dtype, scaled: floats go from 0 to 1, integers over their range."""
    values = _array("convert_image_dtype", image)
    target = (dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype))
    if target.np == values.dtype:
        return image
    return host_array(_scaled(np.asarray(values), target))


def _scaled(values: np.ndarray, target: DType) -> np.ndarray:
    wide = values.dtype.kind
    if wide == "f":
        if target.kind == "f":
            return values.astype(target.np)
        if (values.dtype.itemsize <= 4 and target.itemsize >= 4) or target.itemsize == 8:
            raise ValueError(bad("convert_image_dtype", f"{values.dtype} to {target}", "a target that it can hold",
                                 "Convert to float64, or to a narrower integer."))
        return (values * (np.iinfo(target.np).max + 1 - 1e-3)).astype(target.np)
    most = int(np.iinfo(values.dtype).max)
    if target.kind == "f":
        return values.astype(target.np) / target.np.type(most)
    wanted = int(np.iinfo(target.np).max)
    if most > wanted:
        return (values // ((most + 1) // (wanted + 1))).astype(target.np)
    return values.astype(target.np) * target.np.type((wanted + 1) // (most + 1))


def normalize(tensor: Any, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> np.ndarray:
    """(x - mean) / std of each channel of a float array (..., C, H, W)."""
    values = _array("normalize", tensor)
    if values.dtype.kind != "f":
        raise TypeError(bad("normalize", f"an array of {values.dtype}", "floats", "Use ToTensor before."))
    if values.ndim < 3:
        raise ShapeError(bad("normalize", f"shape {values.shape}", "(..., C, H, W)", "Add an axis for the channel."))
    m, s = np.asarray(mean, values.dtype), np.asarray(std, values.dtype)
    if (s == 0).any():
        raise ValueError(bad("normalize", f"std={std}", "no 0", "It divides."))
    result = values if inplace else values.copy()
    result -= m.reshape(-1, 1, 1) if m.ndim else m
    result /= s.reshape(-1, 1, 1) if s.ndim else s
    return result if type(result) is not np.ndarray else host_array(result)


# Geometry ------------------------------------------------------------------------------------------------------------


def resize(img: Any, size: Any, interpolation: Any = InterpolationMode.BILINEAR, max_size: int | None = None,
           antialias: bool | None = True) -> Any:
    """The image with ``size`` (height, width); of an int, the shorter edge gets it and the other keeps the ratio, up to
    ``max_size``. Pillow images are always antialiased."""
    mode = _mode("resize", interpolation, not is_image(img))
    _, height, width = get_dimensions(img)
    target = _target(height, width, size, max_size)
    if target == (height, width):
        return img
    if is_image(img):
        return img.resize(target[::-1], _pillow_mode(mode))
    smooth = bool(antialias) and mode in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
    return host_array(resample.resized(np.asarray(img), *target, mode.value, smooth))


def _target(height: int, width: int, size: Any, max_size: int | None) -> tuple[int, int]:
    given = (size,) if isinstance(size, int) else tuple(size)
    if len(given) not in (1, 2) or any(n < 1 for n in given):
        raise ValueError(bad("resize", f"size={size!r}", "an int or (height, width), at least 1", "Change it."))
    if len(given) == 2:
        if max_size is not None:
            raise ValueError(bad("resize", "max_size with height and width", "an int for size", "Leave it out."))
        return given
    short, long = min(height, width), max(height, width)
    new_short, new_long = given[0], int(given[0] * long / short)
    if max_size is not None:
        if max_size <= given[0]:
            raise ValueError(bad("resize", f"max_size={max_size}", f"more than size={given[0]}", "Change it."))
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_long, new_short) if width <= height else (new_short, new_long)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the image; what lies beyond its edges is 0."""
    if is_image(img):
        return img.crop((left, top, left + width, top + height))
    values = _array("crop", img)
    h, w = values.shape[-2:]
    inner = values[..., max(top, 0):max(top + height, 0), max(left, 0):max(left + width, 0)]
    if top >= 0 and left >= 0 and top + height <= h and left + width <= w:
        return inner
    before_y, before_x = max(-top, 0), max(-left, 0)
    edges = ((before_y, height - inner.shape[-2] - before_y), (before_x, width - inner.shape[-1] - before_x))
    edges = tuple((min(max(a, 0), n), min(max(b, 0), n)) for (a, b), n in zip(edges, (height, width)))
    return host_array(np.pad(np.asarray(inner), [(0, 0)] * (values.ndim - 2) + list(edges)))


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle of the image; padded with 0 where it is smaller."""
    target = (output_size, output_size) if isinstance(output_size, numbers.Number) else tuple(output_size)
    crop_height, crop_width = target * 2 if len(target) == 1 else target
    _, height, width = get_dimensions(img)
    if crop_width > width or crop_height > height:
        left, top = max(0, (crop_width - width) // 2), max(0, (crop_height - height) // 2)
        img = pad(img, [left, top, max(0, (crop_width - width + 1) // 2), max(0, (crop_height - height + 1) // 2)])
        _, height, width = get_dimensions(img)
        if (crop_width, crop_height) == (width, height):
            return img
    return crop(img, round((height - crop_height) / 2.0), round((width - crop_width) / 2.0), crop_height, crop_width)


def resized_crop(img: Any, top: int, left: int, height: int, width: int, size: Any,
                 interpolation: Any = InterpolationMode.BILINEAR, antialias: bool | None = True) -> Any:
    """A part of the image, resized."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    if is_image(img):
        return img.transpose(pillow().Transpose.FLIP_LEFT_RIGHT)
    return _array("hflip", img)[..., ::-1]


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    if is_image(img):
        return img.transpose(pillow().Transpose.FLIP_TOP_BOTTOM)
    return _array("vflip", img)[..., ::-1, :]


_PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """The image with margins: one for all, (left and right, top and bottom), or (left, top, right, bottom).

    ``padding_mode`` is constant (``fill``, for Pillow images a number or one a channel), edge, reflect or symmetric.
    """
    given = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(given) not in (1, 2, 4):
        raise ValueError(bad("pad", f"padding={padding!r}", "one, two or four ints", "Change it."))
    if padding_mode not in _PAD_MODES:
        raise ValueError(bad("pad", f"padding_mode={padding_mode!r}", "constant, edge, reflect or symmetric",
                             "Choose one of these."))
    left, top, right, bottom = given * 4 if len(given) == 1 else given * 2 if len(given) == 2 else given
    if is_image(img):
        return _padded_image(img, (left, top, right, bottom), fill, padding_mode)
    return host_array(_padded(np.asarray(_array("pad", img)), left, top, right, bottom, fill, padding_mode))


def _padded(values: np.ndarray, left: int, top: int, right: int, bottom: int, fill: Any, mode: str) -> np.ndarray:
    if min(left, top, right, bottom) < 0:
        height, width = values.shape[-2:]
        values = values[..., max(-top, 0):height - max(-bottom, 0), max(-left, 0):width - max(-right, 0)]
        left, top, right, bottom = (max(n, 0) for n in (left, top, right, bottom))
    edges = [(0, 0)] * (values.ndim - 2) + [(top, bottom), (left, right)]
    if mode != "constant":
        return np.pad(values, edges, mode=_PAD_MODES[mode])  # type: ignore[call-overload]
    if np.ndim(fill) == 0:
        return np.pad(values, edges, constant_values=fill)
    result = np.empty((*values.shape[:-2], values.shape[-2] + top + bottom, values.shape[-1] + left + right),
                      values.dtype)
    result[...] = np.asarray(fill).reshape(-1, 1, 1)
    result[..., top:top + values.shape[-2], left:left + values.shape[-1]] = values
    return result


def _padded_image(img: Any, edges: tuple[int, int, int, int], fill: Any, mode: str) -> Any:
    if img.mode == "P":
        result = pillow().fromarray(_padded(np.asarray(img), *edges, fill if mode == "constant" else 0, mode), "P")
        result.putpalette(img.getpalette())
        return result
    values = np.asarray(img)
    planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    padded = _padded(planes, *edges, _fill_of(img, fill) if mode == "constant" else 0, mode)
    plain = padded[0] if values.ndim == 2 else padded.transpose(1, 2, 0)
    if img.mode == "1":
        return pillow().fromarray(plain.astype(np.uint8) * 255).convert("1")
    result = pillow().fromarray(np.ascontiguousarray(plain))
    return result if result.mode == img.mode else pillow().frombytes(img.mode, result.size, plain.tobytes())


def _fill_of(img: Any, fill: Any) -> Any:
    """A number for all channels, or one for each."""
    bands = len(img.getbands())
    if fill is None or np.ndim(fill) == 0:
        return fill or 0
    if len(fill) != bands and len(fill) != 1:
        raise ValueError(bad("fill", f"{len(fill)} values", f"one, or {bands}", "One a channel."))
    return tuple(fill) * bands if len(fill) == 1 else tuple(fill)


def rotate(img: Any, angle: float, interpolation: Any = InterpolationMode.NEAREST, expand: bool = False,
           center: Sequence[float] | None = None, fill: Any = None) -> Any:
    """The image turned counter-clockwise by ``angle`` degrees about its middle or ``center`` (x, y); with ``expand``,
    large enough to hold all of it."""
    mode = _mode("rotate", interpolation, not is_image(img))
    if is_image(img):
        color = _fill_of(img, fill)
        bands = len(img.getbands())
        color = color if np.ndim(color) or bands == 1 else (color,) * bands
        return img.rotate(angle, _pillow_mode(mode), bool(expand), center, fillcolor=color)
    values = np.asarray(_array("rotate", img))
    if mode not in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR):
        raise ValueError(bad("rotate", f"{mode.value} for an array", "nearest or bilinear", "Choose one of these."))
    return host_array(resample.rotated(values, angle, mode.value, expand, center, 0 if fill is None else fill))


def erase(img: Any, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> np.ndarray:
    """An array with ``v`` in the rectangle of height ``h`` and width ``w`` at row ``i`` and column ``j``."""
    values = _array("erase", img)
    result = values if inplace else values.copy()
    result[..., i:i + h, j:j + w] = v
    return result


# Colours -------------------------------------------------------------------------------------------------------------


def _blend(first: np.ndarray, second: Any, ratio: float) -> np.ndarray:
    bound = 1.0 if first.dtype.kind == "f" else float(np.iinfo(first.dtype).max)
    exact = np.float64 if first.dtype == np.float64 else np.float32
    mixed = exact(ratio) * first.astype(exact) + exact(1 - ratio) * np.asarray(second, exact)
    return host_array(np.clip(mixed, 0, bound).astype(first.dtype))


def _factor(op: str, factor: float) -> None:
    if factor < 0:
        raise ValueError(bad(op, f"factor {factor}", "0 or more", "1 leaves the image as it is."))


def _enhanced(name: str, img: Any, factor: float) -> Any:
    from PIL import ImageEnhance

    return getattr(ImageEnhance, name)(img).enhance(factor)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 gives black, 1 the image, 2 twice its brightness."""
    _factor("adjust_brightness", brightness_factor)
    if is_image(img):
        return _enhanced("Brightness", img, brightness_factor)
    return _blend(np.asarray(_array("adjust_brightness", img)), 0, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 gives a grey image, 1 the image, 2 twice its contrast."""
    _factor("adjust_contrast", contrast_factor)
    if is_image(img):
        return _enhanced("Contrast", img, contrast_factor)
    values = np.asarray(_array("adjust_contrast", img))
    grey = values if _channels(values) == 1 else np.asarray(rgb_to_grayscale(values))
    exact = np.float64 if values.dtype == np.float64 else np.float32
    return _blend(values, grey.astype(exact).mean(axis=(-3, -2, -1), keepdims=True), contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 gives black and white, 1 the image, 2 twice its saturation."""
    _factor("adjust_saturation", saturation_factor)
    if is_image(img):
        return _enhanced("Color", img, saturation_factor)
    values = np.asarray(_array("adjust_saturation", img))
    return values if _channels(values) == 1 else _blend(values, rgb_to_grayscale(values), saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Hues turned by a part of the circle, from -0.5 to 0.5; 0 leaves the image as it is."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(bad("adjust_hue", f"factor {hue_factor}", "-0.5 to 0.5", "0 leaves the image as it is."))
    if is_image(img):
        if img.mode in ("L", "1", "I", "F"):
            return img
        h, s, v = img.convert("HSV").split()
        turned = (np.array(h, np.int64) + int(hue_factor * 255)).astype(np.uint8)
        return pillow().merge("HSV", (pillow().fromarray(turned), s, v)).convert(img.mode)
    values = np.asarray(_array("adjust_hue", img))
    if _channels(values) == 1:
        return values
    if values.dtype.kind == "f":
        return host_array(_hue(values, hue_factor))
    return convert_image_dtype(_hue(_scaled(values, dtypes.float32), hue_factor), dtypes.dtype(values.dtype))


def _channels(values: np.ndarray) -> int:
    count = 1 if values.ndim == 2 else values.shape[-3]
    if count not in (1, 3):
        raise ShapeError(bad("colours", f"an image of {count} channels", "1 or 3", "Choose red, green and blue."))
    return count


def _hue(image: np.ndarray, turn: float) -> np.ndarray:
    """By way of hue, saturation and value."""
    r, g, b = np.moveaxis(image, -3, 0)
    high, low = image.max(-3), image.min(-3)
    spread = high - low
    divisor = np.where(spread == 0, 1, spread)
    hue = np.where(high == r, (g - b) / divisor, np.where(high == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor)) / 6
    hue = (hue + turn) % 1
    saturation = spread / np.where(high == 0, 1, high)
    sector = np.floor(hue * 6)
    f = hue * 6 - sector
    p, q, t = (np.clip(high * (1 - saturation * w), 0, 1) for w in (1, f, 1 - f))
    choices = {0: (high, t, p), 1: (q, high, p), 2: (p, high, t), 3: (p, q, high), 4: (t, p, high), 5: (high, p, q)}
    sector = sector.astype(int) % 6
    result = np.stack([np.choose(sector, [choices[k][channel] for k in range(6)]) for channel in range(3)], -3)
    return result.astype(image.dtype)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """Luma 0.2989 R + 0.587 G + 0.114 B, in one channel or in three alike; an image of one channel keeps its values."""
    if num_output_channels not in (1, 3):
        raise ValueError(bad("rgb_to_grayscale", f"num_output_channels={num_output_channels}", "1 or 3", "Change it."))
    if is_image(img):
        grey = img.convert("L")
        return grey if num_output_channels == 1 else pillow().merge("RGB", (grey, grey, grey))
    values = np.asarray(_array("rgb_to_grayscale", img))
    if values.ndim < 3:
        raise ShapeError(bad("rgb_to_grayscale", f"shape {values.shape}", "(..., C, H, W)", "Add the channel's axis."))
    grey = values
    if _channels(values) == 3:
        exact = np.float64 if values.dtype == np.float64 else np.float32
        r, g, b = (values[..., i, :, :].astype(exact) for i in range(3))
        grey = (exact(0.2989) * r + exact(0.587) * g + exact(0.114) * b).astype(values.dtype)[..., None, :, :]
    return host_array(np.repeat(grey, 3, -3) if num_output_channels == 3 else grey)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """:func:`rgb_to_grayscale` of a Pillow image."""
    if not is_image(img):
        raise TypeError(bad("to_grayscale", f"a {type(img).__name__}", "a Pillow image", "Use rgb_to_grayscale."))
    return rgb_to_grayscale(img, num_output_channels)


def ratio_bounds(ratio: Sequence[float]) -> tuple[float, float]:
    """Logarithms of two aspect ratios, between which one is drawn."""
    return math.log(ratio[0]), math.log(ratio[1])


__all__ = ["InterpolationMode", "adjust_brightness", "adjust_contrast", "adjust_hue", "adjust_saturation",
           "center_crop", "convert_image_dtype", "crop", "erase", "get_dimensions", "get_image_num_channels",
           "get_image_size", "hflip", "normalize", "pad", "pil_to_tensor", "resize", "resized_crop",
           "rgb_to_grayscale", "rotate", "to_grayscale", "to_pil_image", "to_tensor", "vflip"]
