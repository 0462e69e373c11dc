"""Convolution layers, with PyTorch's parameter names, shapes, defaults and initial distributions."""

from __future__ import annotations

from math import sqrt
from typing import Any

from .. import factories
from ..core.errors import ShapeError, bad
from ..ops.conv import per_axis, same_margins
from . import functional as F
from . import init
from .module import Module, Parameter

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What convolutions of ``rank`` axes and their transposes share."""

    rank = 0
    transposed = False

    def _build(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
               output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any) -> None:
        name, rank = type(self).__name__, self.rank
        if groups < 1:
            raise ValueError(bad(name, f"groups={groups}", "1 or more", "1 connects all channels."))
        for what, n in (("in_channels", in_channels), ("out_channels", out_channels)):
            if n % groups:
                raise ValueError(bad(name, f"{what}={n} with groups={groups}", "a multiple of groups",
                                     "Channels are split evenly into groups."))
        if padding_mode not in _PADDING_MODES[:1 if self.transposed else 4]:
            raise ValueError(bad(name, f"padding_mode={padding_mode!r}", "'zeros'" if self.transposed else
                                 f"one of {', '.join(_PADDING_MODES)}", "Pass one of these."))
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, rank, 1)
        self.stride = per_axis(name, "stride", stride, rank, 1)
        if isinstance(padding, str):
            if self.transposed or padding not in ("same", "valid"):
                raise ValueError(bad(name, f"padding={padding!r}", "numbers" + ("" if self.transposed else
                                     ", 'same' or 'valid'"), "Pass one of these."))
            if padding == "same" and set(self.stride) != {1}:
                raise ValueError(bad(name, f"padding='same' with stride={self.stride}", "a stride of 1",
                                     "Give the margins as numbers."))
            self.padding: Any = padding
        else:
            self.padding = per_axis(name, "padding", padding, rank)
        self.dilation = per_axis(name, "dilation", dilation, rank, 1)
        self.output_padding = per_axis(name, "output_padding", output_padding, rank)
        self.groups = groups
        self.padding_mode = padding_mode
        channels = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(factories.empty(*channels, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(factories.empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew: uniform in +-1/sqrt(fan_in), which is PyTorch's kaiming_uniform, a = sqrt(5)."""
        init.kaiming_uniform_(self.weight, a=sqrt(5))
        if self.bias is not None:
            fan_in, _ = init.fans("reset_parameters", self.weight.shape)
            bound = 1 / sqrt(fan_in) if fan_in else 0.0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        zeros, ones = (0,) * self.rank, (1,) * self.rank
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", zeros), ("dilation", ones), ("output_padding", zeros), ("groups", 1)):
            value = getattr(self, name)
            if value != usual:
                text += f", {name}={value}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Conv(_ConvNd):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self._build(in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode,
                    device, dtype)

    def forward(self, input: Any) -> Any:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._margins(), mode=self.padding_mode), 0
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _margins(self) -> tuple[int, ...]:
        """The margins as F.pad takes them: the last axis first."""
        if self.padding == "valid":
            return (0, 0) * self.rank
        pairs = same_margins(self.kernel_size, self.dilation) if self.padding == "same" else [
            (p, p) for p in self.padding]
        return tuple(n for pair in reversed(pairs) for n in pair)


class Conv1d(_Conv):
    """Convolution of (N, C_in, L) or (C_in, L) to C_out channels: floor((L + 2 padding - dilation (k - 1) - 1) /
    stride + 1) results.

    ``weight`` is (out_channels, in_channels / groups, k) and ``bias`` (out_channels,), both uniform in
    +-1/sqrt(in_channels / groups * k). ``padding`` is a number an axis, ``"same"`` or ``"valid"``; ``padding_mode``
    ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
    """

    rank = 1


class Conv2d(_Conv):
    """Convolution of (N, C_in, H, W) or (C_in, H, W) to C_out channels; see :class:`Conv1d`."""

    rank = 2


class Conv3d(_Conv):
    """Convolution of (N, C_in, D, H, W) or (C_in, D, H, W) to C_out channels; see :class:`Conv1d`."""

    rank = 3


class _ConvTranspose(_ConvNd):
    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self._build(in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
                    padding_mode, device, dtype)

    def forward(self, input: Any, output_size: Any = None) -> Any:
        extra = self.output_padding if output_size is None else self._extra(input, tuple(output_size))
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.rank - 1]
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, input: Any, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives a size, of space or of the whole result."""
        name = type(self).__name__
        if len(wanted) == input.ndim:
            wanted = wanted[-self.rank:]
        least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in zip(
            input.shape[-self.rank:], self.stride, self.padding, self.dilation, self.kernel_size))
        most = tuple(n + s - 1 for n, s in zip(least, self.stride))
        if len(wanted) != self.rank or not all(a <= n <= b for a, n, b in zip(least, wanted, most)):
            raise ShapeError(bad(name, f"output_size={wanted}", f"between {least} and {most}",
                                 "These are the sizes that this input can have come from."))
        return tuple(n - a for n, a in zip(wanted, least))


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of (N, C_in, L) or (C_in, L): (L - 1) stride - 2 padding + dilation (k - 1) +
    output_padding + 1 results. It is the gradient of a Conv1d in its input.

    ``weight`` is (in_channels, out_channels / groups, k) and ``bias`` (out_channels,), both uniform in
    +-1/sqrt(out_channels / groups * k). ``output_size`` of a call chooses among the sizes that a stride leaves open.
    """

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of (N, C_in, H, W) or (C_in, H, W); see :class:`ConvTranspose1d`."""

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of (N, C_in, D, H, W) or (C_in, D, H, W); see :class:`ConvTranspose1d`."""

    rank = 3
