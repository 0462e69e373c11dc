"""The machine that a run was made on, and the state of the checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def _first(path: str, key: str) -> str:
    """The value of the first line ``key : value`` in a file of the system, or nothing."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


def _processor() -> str:
    """The processor's name, with the numbers of its make where the name says little."""
    name = _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    family, model = (_first("/proc/cpuinfo", k) for k in ("cpu family", "model"))
    flags = _first("/proc/cpuinfo", "flags").split()
    widest = next((told for flag, told in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    about = ", ".join(filter(None, (f"family {family} model {model}" if family else "", widest)))
    return f"{name} ({about})" if about else name


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError, AttributeError):
        return f"{platform.system()} {platform.release()}"


def _commit() -> str:
    try:
        return subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], text=True, timeout=20,
                              capture_output=True, cwd=Path(__file__).parent, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def facts() -> dict[str, Any]:
    """What is told of the machine; ``cores`` are those that this process may use, ``memory`` is in bytes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": cores, "memory": _memory(), "system": _system(),
            "python": platform.python_version(), "commit": _commit()}


def busy() -> str:
    """A remark where others are using the CPUs: libraries that spin at barriers then lose most."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"the machine was busy (load {load:.1f}): figures of CPU libraries mean little" if load > 0.3 else ""
