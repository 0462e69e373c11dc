"""The functions of images and sequences in space: convolution, pooling, resampling. Part of nn.functional."""

from __future__ import annotations

from typing import Any

from ..ops.conv import conv1d as conv1d
from ..ops.conv import conv2d as conv2d
from ..ops.conv import conv3d as conv3d
from ..ops.conv import conv_transpose1d as conv_transpose1d
from ..ops.conv import conv_transpose2d as conv_transpose2d
from ..ops.conv import conv_transpose3d as conv_transpose3d
from ..ops.pool import adaptive_avg_pool1d as adaptive_avg_pool1d
from ..ops.pool import adaptive_avg_pool2d as adaptive_avg_pool2d
from ..ops.pool import adaptive_avg_pool3d as adaptive_avg_pool3d
from ..ops.pool import adaptive_max_pool1d as adaptive_max_pool1d
from ..ops.pool import adaptive_max_pool2d as adaptive_max_pool2d
from ..ops.pool import adaptive_max_pool3d as adaptive_max_pool3d
from ..ops.pool import avg_pool1d as avg_pool1d
from ..ops.pool import avg_pool2d as avg_pool2d
from ..ops.pool import avg_pool3d as avg_pool3d
from ..ops.pool import fold as fold
from ..ops.pool import lp_pool1d as lp_pool1d
from ..ops.pool import lp_pool2d as lp_pool2d
from ..ops.pool import max_pool1d as max_pool1d
from ..ops.pool import max_pool2d as max_pool2d
from ..ops.pool import max_pool3d as max_pool3d
from ..ops.pool import max_unpool1d as max_unpool1d
from ..ops.pool import max_unpool2d as max_unpool2d
from ..ops.pool import max_unpool3d as max_unpool3d
from ..ops.pool import unfold as unfold
from ..ops.resample import channel_shuffle as channel_shuffle
from ..ops.resample import interpolate as interpolate
from ..ops.resample import pixel_shuffle as pixel_shuffle
from ..ops.resample import pixel_unshuffle as pixel_unshuffle

upsample = interpolate


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """interpolate in mode ``nearest``."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """interpolate in mode ``bilinear``, corners aligned."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
