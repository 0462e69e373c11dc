"""Normalisation layers."""

from __future__ import annotations

from typing import Any

from .. import factories
from ..core import dtypes
from ..core.errors import ShapeError, bad
from ..ops.shape import squeeze, unsqueeze
from . import functional_norm as F
from . import init
from .module import Module, Parameter


def _affine(module: Module, shape: Any, weight: bool, bias: bool, device: Any, dtype: Any) -> None:
    """Parameters ``weight`` and ``bias``, or None in their places."""
    for name, wanted in (("weight", weight), ("bias", bias)):
        p = Parameter(factories.empty(shape, device=device, dtype=dtype)) if wanted else None
        module.register_parameter(name, p)


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if getattr(module, "bias", None) is not None:
        init.zeros_(module.bias)


class _ByChannel(Module):
    """What batch and instance norm share: affine parameters and running statistics, one a channel."""

    def __init__(self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool,
                 bias: bool, device: Any, dtype: Any) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        _affine(self, (num_features,), affine, affine and bias, device, dtype)
        where = {"device": device, "dtype": dtype}
        tracked = track_running_stats
        self.register_buffer("running_mean", factories.zeros(num_features, **where) if tracked else None)
        self.register_buffer("running_var", factories.ones(num_features, **where) if tracked else None)
        self.register_buffer("num_batches_tracked",
                             factories.zeros((), device=device, dtype=dtypes.int64) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and no running statistics."""
        self.reset_running_stats()
        _reset_affine(self)

    def _check_dims(self, input: Any, allowed: tuple[int, ...]) -> None:
        if input.ndim not in allowed:
            raise ShapeError(bad(type(self).__name__, f"a {input.ndim}-dimensional input {input.shape}",
                                 " or ".join(f"{n} dimensions" for n in allowed), "Reshape it."))

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")


class _BatchNorm(_ByChannel):
    """Normalises each channel by the batch's statistics in training and by the running ones otherwise.

    ``weight`` (1) and ``bias`` (0) are (C,) where ``affine``; running_mean, running_var and num_batches_tracked are
    buffers where ``track_running_stats``. ``momentum`` is the new batch's part; None averages over all batches.
    Running statistics are updated on the device.
    """

    dims: tuple[int, ...]
    _later_buffers = ("num_batches_tracked",)

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, device, dtype)

    def forward(self, input: Any) -> Any:
        self._check_dims(input, self.dims)
        tracked = self.training and self.track_running_stats
        if tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        kept = tracked or not self.training
        return F.batch_norm_counted(input, self.running_mean if kept else None, self.running_var if kept else None,
                                    self.weight, self.bias, by_batch, self.momentum, self.eps,
                                    self.num_batches_tracked)


class BatchNorm1d(_BatchNorm):
    __doc__ = "For (N, C) and (N, C, L). " + _BatchNorm.__doc__
    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = "For (N, C, H, W). " + _BatchNorm.__doc__
    dims = (4,)


class BatchNorm3d(_BatchNorm):
    __doc__ = "For (N, C, D, H, W). " + _BatchNorm.__doc__
    dims = (5,)


class _InstanceNorm(_ByChannel):
    """Normalises each channel of each sample; an input without the axis of samples is one sample.

    By its own statistics, always unless ``track_running_stats``; then by the running ones outside training.
    """

    dims: int

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, device, dtype)

    def forward(self, input: Any) -> Any:
        self._check_dims(input, (self.dims, self.dims + 1))
        batch = input if input.ndim > self.dims else unsqueeze(input, 0)
        if batch.shape[1] != self.num_features:
            raise ShapeError(bad(type(self).__name__, f"input {input.shape}", f"{self.num_features} channels",
                                 "Build the layer for as many channels as there are."))
        out = F.instance_norm(batch, self.running_mean, self.running_var, self.weight, self.bias,
                              self.training or not self.track_running_stats, self.momentum, self.eps)
        return out if batch is input else squeeze(out, 0)


class InstanceNorm1d(_InstanceNorm):
    __doc__ = "For (N, C, L) and (C, L). " + _InstanceNorm.__doc__
    dims = 2


class InstanceNorm2d(_InstanceNorm):
    __doc__ = "For (N, C, H, W) and (C, H, W). " + _InstanceNorm.__doc__
    dims = 3


class InstanceNorm3d(_InstanceNorm):
    __doc__ = "For (N, C, D, H, W) and (C, D, H, W). " + _InstanceNorm.__doc__
    dims = 4


class LayerNorm(Module):
    """Normalises over the last axes, those of ``normalized_shape``; ``weight`` (1) and ``bias`` (0) have that shape."""

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _affine(self, self.normalized_shape, elementwise_affine, elementwise_affine and bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        _reset_affine(self)

    def forward(self, input: Any) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}")


class RMSNorm(Module):
    """Divides by the root of the mean square over the last axes; ``weight`` (1) has ``normalized_shape``. Without
    ``eps``, the dtype's machine epsilon."""

    def __init__(self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", Parameter(factories.empty(self.normalized_shape, device=device, dtype=dtype))
                                if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        _reset_affine(self)

    def forward(self, input: Any) -> Any:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalises each sample's channels in ``num_groups`` groups; ``weight`` (1) and ``bias`` (0) are (C,)."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ShapeError(bad("GroupNorm", f"{num_channels} channels in {num_groups} groups",
                                 "a number of groups that divides the channels", "Choose another."))
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _affine(self, (num_channels,), affine, affine and bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        _reset_affine(self)

    def forward(self, input: Any) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of squares over ``size`` neighbouring channels)^beta, for (N, C, ...)."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Any) -> Any:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
