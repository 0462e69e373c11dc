"""PyTorch's names for its GPU: a cuda device is the first OpenCL GPU, of any vendor, or else the default device."""

from __future__ import annotations

from typing import Any

from . import factories
from .legacy import types_on
from .runtime import launch
from .runtime.device import device as find_device
from .runtime.device import gpus


def is_available() -> bool:
    """Whether there is a GPU that works."""
    return bool(gpus())


def device_count() -> int:
    """How many GPUs work."""
    return len(gpus())


def current_device() -> int:
    """The number of the GPU that ``"cuda"`` means: 0. RuntimeError without a GPU."""
    if not gpus():
        raise RuntimeError("cuda.current_device: got no GPU; expected at least one. Use clgrad.default_device().")
    return 0


def get_device_name(device: Any = None) -> str:
    """The device's name, as the driver tells it."""
    return find_device("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device).name


def synchronize(device: Any = None) -> None:
    """Wait until the GPU, or the device given, has finished."""
    launch.synchronize(find_device("cuda" if device is None else device))


def empty_cache() -> None:
    """Give the pool's unused memory back to the driver."""
    launch.empty_cache(find_device("cuda"))


def manual_seed(seed: int) -> None:
    """Start the generator, which all devices share, at ``seed``."""
    factories.manual_seed(seed)


manual_seed_all = manual_seed
globals().update(types_on("torch.cuda.", "cuda"))
