"""Every ``CLGRAD_*`` setting, in one table. This module is the only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _flag(text: str) -> bool:
    return text.strip().lower() not in ("", "0", "false", "no", "off")


def _size(text: str) -> int:
    """Bytes, with an optional K, M or G suffix (powers of 1024): ``"512M"``."""
    text = text.strip().upper().removesuffix("B").removesuffix("I")
    units = {"K": 10, "M": 20, "G": 30}
    if text[-1:] in units:
        return int(float(text[:-1]) * 2 ** units[text[-1]])
    return int(text)


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text

    return parse


def _flag_or_auto(text: str) -> bool | str:
    return "auto" if text.strip().lower() == "auto" else _flag(text)


def _default_cache_dir() -> Path:
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home())
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "clgrad"


@dataclass(frozen=True)
class Setting:
    """One setting: its attribute on ``config``, parser of the environment's text, default, meaning."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    doc: str

    @property
    def variable(self) -> str:
        return "CLGRAD_" + self.name.upper()

    @property
    def text(self) -> str:
        """The default as the environment would say it; empty where there is none."""
        if isinstance(self.default, bool):
            return str(int(self.default))
        if self.parse is _size and self.default:
            return f"{self.default >> 20}M"
        return str(self.default or "")


SETTINGS = (
    Setting("device", str, None, "default device: gpu, cpu, pocl:0, an index, or part of a name"),
    Setting("debug", int, 0, "1 devices and pool at exit, 2 a line a launch, 3 caches and choices, 4 kernel source"),
    Setting("check", _flag, False, "name the op that made a NaN, and finish after each launch"),
    Setting("sync", _flag, False, "finish the queue after each launch, so that a fault shows at its own call"),
    Setting("cache_dir", Path, None, "folder of built kernels, driver verdicts and tuned parameters"),
    Setting("cache", _flag_or_auto, "auto", "keep built kernels on disk; auto: unless the driver does so by itself"),
    Setting("cache_limit", _size, 2 ** 30, "most bytes of built kernels on disk, as 512M or 2G; the longest unused go"),
    Setting("form", _choice("auto", "wide", "many"), "auto", "kernel shape: wide-core (CPU), many-core (GPU)"),
    Setting("memory_limit", _size, None, "most bytes the pool of a device may hold, as 512M or 2G"),
    Setting("build_options", str, "-cl-std=CL1.2 -w", "options of every kernel build; empty for none"),
    Setting("host_linalg", _choice("allow", "forbid"), "allow",
            "forbid: decompositions that run in the host's LAPACK (qr, svd, eigh, ...) raise instead"),
    Setting("tune", _choice("use", "off", "auto"), "use",
            "tuned parameters: use those known, off, or auto: tune each new problem when it is first met"),
    Setting("matrix_units", _choice("auto", "off"), "auto",
            "auto: float16 and bfloat16 products by matrix units of GPUs and CPUs where they were found right"),
    Setting("subgroups", _choice("auto", "off"), "auto",
            "auto: work-items of a GPU's rows meet in sub-groups where that was found right; off: in local memory"),
    Setting("progress", _flag, True, "say on stderr that kernels are being built for the first time"),
)


class Config:
    """The settings' current values as attributes; read once from the environment at import."""

    def __init__(self, environ: Any = os.environ) -> None:
        for setting in SETTINGS:
            text = environ.get(setting.variable)
            setattr(self, setting.name, setting.default if text is None else self._parse(setting, text))
        if self.cache_dir is None:
            self.cache_dir = _default_cache_dir()

    @staticmethod
    def _parse(setting: Setting, text: str) -> Any:
        try:
            return setting.parse(text)
        except ValueError as error:
            raise ValueError(f"{setting.variable}={text!r} cannot be read: {error}; it means: {setting.doc}") from None

    @contextmanager
    def override(self, **values: Any) -> Iterator[None]:
        """Set some settings within a ``with`` block (process-wide: meant for tests and tools)."""
        unknown = values.keys() - {s.name for s in SETTINGS}
        if unknown:
            raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
        old = {name: getattr(self, name) for name in values}
        self.__dict__.update(values)
        try:
            yield
        finally:
            self.__dict__.update(old)


config = Config()
