"""Transforms that do the same to every image. Each is called with an image and can be pickled for worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.errors import bad
from . import functional as F
from .functional import InterpolationMode


class Transform:
    """A transform whose repr names its options."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={_shown(v)}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({shown})"


def _shown(value: Any) -> str:
    return value.value if isinstance(value, InterpolationMode) else repr(value)


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}(", *(f"    {t}" for t in self.transforms), ")"])


class ToTensor:
    """A Pillow image or an array (H, W[, C]) as (C, H, W); bytes become floats from 0 to 1.

    The result lies on the host (a HostArray, a NumPy array), in the program's own process as in a worker, so that the
    transforms after it run there too: a DataLoader puts the batch on the device; ``.to(device)`` does it by hand.
    """

    def __call__(self, pic: Any) -> Any:
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor(ToTensor):
    """A Pillow image as (C, H, W), its values as they are."""

    def __call__(self, pic: Any) -> Any:
        return F.pil_to_tensor(pic)


class ToPILImage:
    """An array as a Pillow image; ``mode`` where its channels do not say."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class ConvertImageDtype(Transform):
    """An array in another dtype, scaled to its range."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def __call__(self, image: Any) -> Any:
        return F.convert_image_dtype(image, self.dtype)


class Normalize(Transform):
    """(x - mean) / std of each channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean = mean
        self.std = std
        self._inplace = inplace

    def __call__(self, tensor: Any) -> Any:
        return F.normalize(tensor, self.mean, self.std, self._inplace)


class Resize(Transform):
    """The image with ``size`` (height, width), or of an int with its shorter edge of that."""

    def __init__(self, size: Any, interpolation: Any = InterpolationMode.BILINEAR, max_size: int | None = None,
                 antialias: bool | None = True) -> None:
        self.size = checked_size("Resize", size, 1)
        self.interpolation = interpolation
        self.max_size = max_size
        self.antialias = antialias

    def __call__(self, img: Any) -> Any:
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)


class CenterCrop(Transform):
    """The middle of the image."""

    def __init__(self, size: Any) -> None:
        self.size = pair("CenterCrop", size)

    def __call__(self, img: Any) -> Any:
        return F.center_crop(img, self.size)


class Pad(Transform):
    """The image with margins."""

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def __call__(self, img: Any) -> Any:
        return F.pad(img, self.padding, self.fill, self.padding_mode)


class Grayscale(Transform):
    """Luma, in one channel or in three alike."""

    def __init__(self, num_output_channels: int = 1) -> None:
        self.num_output_channels = num_output_channels

    def __call__(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, self.num_output_channels)


class Lambda:
    """A function of one's own. One at the top level of a module can go to worker processes."""

    def __init__(self, lambd: Callable) -> None:
        if not callable(lambd):
            raise TypeError(bad("Lambda", f"a {type(lambd).__name__}", "a function", "Pass one."))
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def checked_size(op: str, size: Any, least: int) -> Any:
    """An int or a sequence of one or two."""
    if not isinstance(size, int) and (isinstance(size, str) or not isinstance(size, Sequence)
                                      or not least <= len(size) <= 2):
        raise TypeError(bad(op, f"size={size!r}", "an int or (height, width)", "Change it."))
    return size


def pair(op: str, size: Any) -> tuple[int, int]:
    """(height, width) of an int, a sequence of one, or of two."""
    checked_size(op, size, 1)
    return (size, size) if isinstance(size, int) else (size[0], size[-1])
