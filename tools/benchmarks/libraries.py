"""What the cases need of each library: its namespace, arrays from the host, and waiting."""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import footprint

LIBRARIES = ("clgrad", "numpy", "torch", "jax", "tinygrad")
EAGER = ("clgrad", "torch")  # those whose cases are written alike, with nn, optim and backward()
OTHERS = tuple(name for name in LIBRARIES if name not in EAGER)
# Caches of drivers, which would make a first call look like a later one: PoCL's folder, and who can be told no.
_DRIVER_CACHES = {"CUDA_CACHE_DISABLE": "1", "NEO_CACHE_PERSISTENT": "0", "AMD_COMGR_CACHE": "0",
                  "MESA_SHADER_CACHE_DISABLE": "true"}


class Library:
    """What the cases need of a library: its namespace ``np``, arrays from the host, and waiting."""

    name = "numpy"
    kind = "cpu"  # of the device it computes on
    modules: tuple[str, ...] = ()  # what can be imported before the process is copied for a case

    def __init__(self, device: str | None, empty: Path | None = None) -> None:
        """Open the ``device``; kernels are built anew and kept in the folder ``empty`` where one is given."""
        self.np: Any = np
        self.version = np.__version__
        self.device = platform.processor() or platform.machine()

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        """The array on the library's device, as another dtype where one is named."""
        return host if dtype is None else host.astype(dtype)

    def wait(self, out: Any) -> None:
        """Return when ``out`` and everything before it has been computed."""

    def jit(self, f: Callable) -> Callable:
        """The function as the library's users run it."""
        return f

    def start_memory(self) -> None:
        """Begin to watch the memory that is used."""
        self._resident = footprint.resident()

    def inputs_made(self) -> None:
        """What making the inputs took on the way counts no more."""
        footprint.reset_peak()

    def peak_memory(self) -> int | None:
        """Bytes used at most since ``start_memory``: here what the process grew by; None where that is not known."""
        peak = footprint.peak_resident()
        return None if peak is None or self._resident is None else max(0, peak - self._resident)

    def module(self, name: str) -> Any:
        """A module of the library, such as ``nn.functional``."""
        return importlib.import_module(f"{self.name}.{name}")


class Clgrad(Library):
    name = "clgrad"
    modules = ("clgrad.nn", "clgrad.optim", "clgrad.custom", "pyopencl", "mako.template")

    def __init__(self, device: str | None, empty: Path | None = None) -> None:
        if empty is not None:
            os.environ.update(_DRIVER_CACHES, POCL_CACHE_DIR=str(empty / "pocl"))
        import clgrad
        from clgrad.core.config import config

        if device is not None:
            clgrad.set_default_device(device)
        chosen = clgrad.default_device()
        chosen.open()
        config.progress = False
        if empty is not None:
            config.cache_dir = empty  # now, so that the verdict on the driver is not sought anew
        self.kind = chosen.type
        self.np = clgrad
        self.version = clgrad.__version__
        self.device = f"{chosen} ({chosen.name}, {chosen.driver_version})"

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        x = self.np.tensor(host)
        return x if dtype is None else x.to(getattr(self.np, dtype))

    def wait(self, out: Any) -> None:
        self.np.synchronize()

    def start_memory(self) -> None:
        """clgrad counts what its pool has given out."""
        self.np.default_device().pool.peak = 0

    def inputs_made(self) -> None:
        """Nothing: the pool's peak is that of the inputs and the steps."""

    def peak_memory(self) -> int | None:
        return self.np.default_device().memory_stats()["peak"]


class Torch(Library):
    name = "torch"
    modules = ("torch",)

    def __init__(self, device: str | None, empty: Path | None = None) -> None:
        import torch

        self.np = torch
        self.version = torch.__version__
        self.cuda = torch.cuda.is_available()
        self.device = torch.cuda.get_device_name() if self.cuda else f"CPU, {torch.get_num_threads()} threads"
        if self.cuda:
            torch.set_default_device("cuda")
            self.kind = "gpu"
        torch.ones(64, 64) @ torch.ones(64, 64)  # what it loads and starts at its first use is not a case's

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        x = self.np.asarray(host, device="cuda") if self.cuda else self.np.from_numpy(host)
        return x if dtype is None else x.to(getattr(self.np, dtype))

    def wait(self, out: Any) -> None:
        if self.cuda:
            self.np.cuda.synchronize()

    def peak_memory(self) -> int | None:
        return self.np.cuda.max_memory_allocated() if self.cuda else super().peak_memory()


class Jax(Library):
    name = "jax"
    modules = ("jax.numpy",)

    def __init__(self, device: str | None, empty: Path | None = None) -> None:
        import jax
        import jax.numpy

        self.jax = jax
        self.np = jax.numpy
        self.version = jax.__version__
        self.device = str(jax.devices()[0])
        self.kind = jax.devices()[0].platform
        jax.block_until_ready(jax.numpy.ones(64))

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        self.jax.config.update("jax_enable_x64", dtype == "float64")  # off, as JAX has it, unless a case needs it
        return self.np.asarray(host, dtype and getattr(self.np, dtype))

    def wait(self, out: Any) -> None:
        self.jax.block_until_ready(out)

    def jit(self, f: Callable) -> Callable:
        return self.jax.jit(f)


def _opencl_library() -> str:
    """A library that tinygrad can load: a driver installed with pip, the system's loader, or pyopencl's own."""
    driver = Path(sys.prefix) / "lib" / "libintelocl.so"  # itself: pyopencl's loader ended in a crash with PoCL 3.1
    spec = importlib.util.find_spec("pyopencl")
    own = sorted(Path(spec.origin).parent.glob(".libs/libOpenCL*")) if spec and spec.origin else []
    if driver.exists():
        return str(driver)
    return "" if ctypes.util.find_library("OpenCL") or not own else str(own[0])


class Methods:
    """The namespace of a library whose functions are methods: ``Methods().tanh(x)`` is ``x.tanh()``."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda x, *rest: getattr(x, name)(*rest)


class Tinygrad(Library):
    """On OpenCL unless DEV says something else, with its jit."""

    name = "tinygrad"

    def __init__(self, device: str | None, empty: Path | None = None) -> None:
        os.environ.setdefault("DEV", "CL")
        if empty is not None:
            os.environ.update(_DRIVER_CACHES, POCL_CACHE_DIR=str(empty / "pocl"), CACHEDB=str(empty / "tinygrad.db"))
        os.environ.setdefault("OPENCL_PATH", _opencl_library())
        import tinygrad

        self.tinygrad = tinygrad
        self.np = Methods()
        self.version = importlib.metadata.version("tinygrad")
        self.opened = tinygrad.Device[tinygrad.Device.DEFAULT]
        self.device = tinygrad.Device.DEFAULT
        self.kind = "cpu" if self.device in ("CPU", "LLVM", "CLANG") else "opencl"

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        x = self.tinygrad.Tensor(host)
        return (x if dtype is None else x.cast(getattr(self.tinygrad.dtypes, dtype))).realize()

    def wait(self, out: Any) -> None:
        if isinstance(out, self.tinygrad.Tensor):
            out.realize()
        self.opened.synchronize()

    def jit(self, f: Callable) -> Callable:
        return self.tinygrad.TinyJit(lambda *xs: f(*xs).realize())


OPEN: dict[str, type[Library]] = {"clgrad": Clgrad, "numpy": Library, "torch": Torch, "jax": Jax, "tinygrad": Tinygrad}


def installed() -> list[str]:
    """The libraries that can be imported here."""
    return [name for name in LIBRARIES if name == "clgrad" or importlib.util.find_spec(name)]
