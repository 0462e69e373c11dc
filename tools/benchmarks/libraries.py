"""What the cases need of each library: its namespace, arrays from the host, and waiting."""

from __future__ import annotations

import importlib
import importlib.util
import platform
from collections.abc import Callable
from typing import Any

import numpy as np

LIBRARIES = ("clgrad", "numpy", "torch", "jax")
EAGER = ("clgrad", "torch")  # those whose cases are written alike, with nn, optim and backward()
OTHERS = tuple(name for name in LIBRARIES if name not in EAGER)


class Library:
    """What the cases need of a library: its namespace ``np``, arrays from the host, and waiting."""

    name = "numpy"

    def __init__(self, device: str | None) -> None:
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

    def module(self, name: str) -> Any:
        """A module of the library, such as ``nn.functional``."""
        return importlib.import_module(f"{self.name}.{name}")


class Clgrad(Library):
    name = "clgrad"

    def __init__(self, device: str | None) -> None:
        import clgrad

        if device is not None:
            clgrad.set_default_device(device)
        chosen = clgrad.default_device()
        self.np = clgrad
        self.version = clgrad.__version__
        self.device = f"{chosen} ({chosen.name}, {chosen.driver_version})"

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        x = self.np.tensor(host)
        return x if dtype is None else x.to(getattr(self.np, dtype))

    def wait(self, out: Any) -> None:
        self.np.synchronize()


class Torch(Library):
    name = "torch"

    def __init__(self, device: str | None) -> None:
        import torch

        self.np = torch
        self.version = torch.__version__
        self.cuda = torch.cuda.is_available()
        self.device = torch.cuda.get_device_name() if self.cuda else f"CPU, {torch.get_num_threads()} threads"
        if self.cuda:
            torch.set_default_device("cuda")

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        x = self.np.asarray(host, device="cuda") if self.cuda else self.np.from_numpy(host)
        return x if dtype is None else x.to(getattr(self.np, dtype))

    def wait(self, out: Any) -> None:
        if self.cuda:
            self.np.cuda.synchronize()


class Jax(Library):
    name = "jax"

    def __init__(self, device: str | None) -> None:
        import jax
        import jax.numpy

        self.jax = jax
        self.np = jax.numpy
        self.version = jax.__version__
        self.device = str(jax.devices()[0])

    def put(self, host: np.ndarray, dtype: str | None = None) -> Any:
        self.jax.config.update("jax_enable_x64", dtype == "float64")  # off, as JAX has it, unless a case needs it
        return self.np.asarray(host, dtype and getattr(self.np, dtype))

    def wait(self, out: Any) -> None:
        self.jax.block_until_ready(out)

    def jit(self, f: Callable) -> Callable:
        return self.jax.jit(f)


OPEN = {"clgrad": Clgrad, "numpy": Library, "torch": Torch, "jax": Jax}


def installed() -> list[str]:
    """The libraries that can be imported here."""
    return [name for name in LIBRARIES if name == "clgrad" or importlib.util.find_spec(name)]
