"""Pooling layers, and the folding of columns, with PyTorch's names and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.conv import per_axis
from . import functional as F
from .module import Module


class _Pooling(Module):
    """``function(input, *its attributes)``; ``shown`` are those of its repr."""

    shown: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    function: Callable

    def forward(self, input: Any) -> Any:
        return type(self).function(input, **{name: getattr(self, name) for name in self.passed})

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


class _MaxPool(_Pooling):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    passed = (*shown, "return_indices")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 return_indices: bool = False, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode


class MaxPool1d(_MaxPool):
    """Largest element of each window of (N, C, L) or (C, L); ``stride`` is ``kernel_size`` unless given. Margins count
    as minus infinity; ``return_indices`` adds where each maximum lies."""

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """Largest element of each window of (N, C, H, W) or (C, H, W); see :class:`MaxPool1d`."""

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """Largest element of each window of (N, C, D, H, W) or (C, D, H, W); see :class:`MaxPool1d`."""

    function = staticmethod(F.max_pool3d)


class _AvgPool(_Pooling):
    shown = ("kernel_size", "stride", "padding")
    passed = (*shown, "ceil_mode", "count_include_pad", "divisor_override")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override


class AvgPool1d(_AvgPool):
    """Mean of each window of (N, C, L) or (C, L), margins counted as zeros unless not ``count_include_pad``."""

    function = staticmethod(F.avg_pool1d)
    passed = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        for name in ("kernel_size", "stride", "padding"):
            setattr(self, name, per_axis("AvgPool1d", name, getattr(self, name), 1))


class AvgPool2d(_AvgPool):
    """Mean of each window of (N, C, H, W) or (C, H, W), or its sum divided by ``divisor_override``."""

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """Mean of each window of (N, C, D, H, W) or (C, D, H, W), or its sum divided by ``divisor_override``."""

    function = staticmethod(F.avg_pool3d)


class _AdaptiveAvgPool(_Pooling):
    shown = passed = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of ``output_size`` windows that cover (N, C, L) or (C, L) evenly."""

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of windows that cover (N, C, H, W) or (C, H, W) evenly: an int, or two; None keeps a size."""

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of windows that cover (N, C, D, H, W) or (C, D, H, W) evenly."""

    function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_Pooling):
    shown = ("output_size",)
    passed = ("output_size", "return_indices")

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Largest elements of ``output_size`` windows that cover (N, C, L) or (C, L) evenly."""

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Largest elements of windows that cover (N, C, H, W) or (C, H, W) evenly."""

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Largest elements of windows that cover (N, C, D, H, W) or (C, D, H, W) evenly."""

    function = staticmethod(F.adaptive_max_pool3d)


class _LPPool(_Pooling):
    shown = passed = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode


class LPPool1d(_LPPool):
    """(sum of x**norm_type)**(1 / norm_type) over each window of (N, C, L) or (C, L)."""

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """(sum of x**norm_type)**(1 / norm_type) over each window of (N, C, H, W) or (C, H, W)."""

    function = staticmethod(F.lp_pool2d)


class _MaxUnpool(_Pooling):
    shown = ("kernel_size", "stride", "padding")
    rank = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.rank, 1)
        self.stride = self.kernel_size if stride is None else per_axis(name, "stride", stride, self.rank, 1)
        self.padding = per_axis(name, "padding", padding, self.rank)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool):
    """Zeros, and ``input`` at the ``indices`` that a MaxPool1d returned; ``output_size`` is the size it pooled."""

    rank = 1
    function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """Zeros, and ``input`` at the ``indices`` that a MaxPool2d returned; see :class:`MaxUnpool1d`."""

    rank = 2
    function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """Zeros, and ``input`` at the ``indices`` that a MaxPool3d returned; see :class:`MaxUnpool1d`."""

    rank = 3
    function = staticmethod(F.max_unpool3d)


class Unfold(_Pooling):
    """Sliding blocks of (N, C, H, W) as columns: (N, C * taps, blocks)."""

    shown = passed = ("kernel_size", "dilation", "padding", "stride")
    function = staticmethod(F.unfold)

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride


class Fold(_Pooling):
    """Columns (N, C * taps, blocks) added up where Unfold takes them from: (N, C, *output_size)."""

    shown = passed = ("output_size", "kernel_size", "dilation", "padding", "stride")
    function = staticmethod(F.fold)

    def __init__(self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
                 stride: Any = 1) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
