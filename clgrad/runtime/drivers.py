"""Which OpenCL drivers exist, and how the loader is made to find the pip-installed one.

Intel's CPU runtime from PyPI registers itself under a path that does not exist, so no loader finds it. On Linux, and
only where the user has not chosen vendors by environment, a folder with the system's .icd files and one more that
names the wheel's library is written to the cache, and the loader is pointed at it before the first platform query.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.config import config

_CHOSEN_BY_USER = ("OCL_ICD_VENDORS", "OPENCL_VENDOR_PATH", "OCL_ICD_FILENAMES")
_SYSTEM_VENDORS = Path("/etc/OpenCL/vendors")

INSTALL_HELP = {
    "linux": "x86-64 Linux: pip install 'clgrad[cpu]' (Intel's CPU runtime; runs on AMD CPUs too). "
             "Debian or Ubuntu: apt install pocl-opencl-icd. GPUs: the vendor's driver with its OpenCL part "
             "(nvidia-opencl-icd, rocm-opencl-runtime, intel-opencl-icd).",
    "darwin": "macOS ships OpenCL; if no device shows, install PoCL: conda install -c conda-forge pocl.",
    "win32": "Windows: install the GPU vendor's graphics driver, or pip install 'clgrad[cpu]' for Intel's CPU runtime.",
}


def install_help() -> str:
    """What to install on this platform to get a device."""
    return INSTALL_HELP.get(sys.platform, "Install an OpenCL driver, for example PoCL (https://portablecl.org).")


def pip_driver() -> tuple[Path | None, str | None]:
    """Path of the pip-installed Intel library, and what is wrong with the installation if anything is."""
    from importlib import metadata

    try:
        files = metadata.distribution("intel-opencl-rt").files or ()
    except metadata.PackageNotFoundError:
        return None, None
    library = next((Path(f.locate()).resolve() for f in files if f.name == "libintelocl.so"), None)
    if library is None or not library.exists():
        return None, "intel-opencl-rt is installed without libintelocl.so: reinstall it"
    if not (library.parent / "libsvml.so").exists():
        return None, "intel-opencl-rt lacks its compiler libraries: pip install intel-cmplr-lib-rt"
    return library, None


def _vendor_folder(library: Path) -> Path:
    """A folder of .icd files, named by its contents' hash, written atomically."""
    entries = {"clgrad-intel-pip.icd": str(library) + "\n"}
    if _SYSTEM_VENDORS.is_dir():
        entries |= {f.name: f.read_text() for f in sorted(_SYSTEM_VENDORS.glob("*.icd"))}
    digest = hashlib.sha256(repr(sorted(entries.items())).encode()).hexdigest()[:16]
    folder = config.cache_dir / "vendors" / digest
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in entries.items():
        target = folder / name
        if not target.exists():
            partial = folder / f"{name}.{os.getpid()}.partial"
            partial.write_text(text)
            os.replace(partial, target)
    return folder


@lru_cache(1)
def prepare() -> str | None:
    """Make the pip-installed driver visible, once; returns what hinders it, or None."""
    if sys.platform != "linux" or any(v in os.environ for v in _CHOSEN_BY_USER):
        return None
    library, problem = pip_driver()
    if library is not None:
        try:
            os.environ["OCL_ICD_VENDORS"] = str(_vendor_folder(library))
        except OSError as error:
            return f"the cache folder cannot be written ({error}): set CLGRAD_CACHE_DIR"
    return problem


@contextmanager
def batch_workers() -> Iterator[None]:
    """Threads that a driver starts within are scheduled as batch work, where the system knows it (Linux).

    Each launch wakes a CPU driver's worker threads. An ordinary thread that wakes takes the core of the one that woke
    it, which was about to make the next launch: 10 to 20 µs a launch on PoCL. A batch thread waits for a free core, or
    for the waker to wait, with the same share of the machine otherwise. Threads inherit the policy of their maker.
    """
    changed = hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER
    if changed:
        changed = _set_policy(os.SCHED_BATCH)
    try:
        yield
    finally:
        if changed:
            _set_policy(os.SCHED_OTHER)


def _set_policy(policy: int) -> bool:
    """Whether the current thread could be given a scheduling policy: some containers forbid it."""
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))
        return True
    return False


def build_quietly(program: Any, options: list[str]) -> Any:
    """Build without pyopencl's warning about a compiler that has something to say: a log is no fault."""
    import pyopencl as cl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        return program.build(options, cache_dir=False)


def keeps_builds(platform_name: str) -> bool:
    """Whether a driver has a cache of its own for what it has compiled, which outlives the process.

    PoCL does, and asking it for a binary makes it compile every kernel once more, for any work-group size: half of the
    cost of a first call.
    """
    return platform_name == "Portable Computing Language" and os.environ.get("POCL_KERNEL_CACHE", "1") != "0"


def platforms() -> list:
    """pyopencl's platforms; empty where there is no driver at all."""
    prepare()
    import pyopencl as cl

    try:
        with batch_workers():
            return cl.get_platforms()
    except cl.Error:
        return []
