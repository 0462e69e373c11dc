"""From template to kernel: render, build once, keep the binary on disk, one kernel object a thread.

A program is keyed by its source, options, platform, device and driver version. Whatever cannot be loaded from disk is
built again. Drivers that keep what they compile are left to it.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..core.config import config
from ..core.errors import BuildError
from . import binaries
from .drivers import build_quietly, keeps_builds

if TYPE_CHECKING:
    from .device import Device

_SCALARS = {"i": "int32", "I": "uint32", "l": "int64", "L": "uint64", "f": "float32", "d": "float64"}


class GroupLimitError(BuildError):
    """A kernel's work-groups may not be as large as a plan wants them; ``most`` work-items they may have."""

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self.most = most


class Kernel:
    """A built kernel function. ``signature`` has a letter an argument: P buffer, i int, I uint, l long, L ulong,
    f float, d double."""

    __slots__ = ("_program", "device", "function", "label", "local", "max_local", "signature")

    def __init__(self, device: Device, program: Any, function: str, signature: str, label: str) -> None:
        import pyopencl as cl

        self.device = device
        self.function = function
        self.label = label
        self.local = threading.local()
        self._program = program
        self.signature = signature
        k = self.new()
        self.max_local = k.get_work_group_info(cl.kernel_work_group_info.WORK_GROUP_SIZE, device._cl)

    def check(self, lsize: tuple[int, ...]) -> None:
        """Raise GroupLimitError where the kernel, as it was compiled, takes no work-groups of this size: its registers
        may leave room for fewer work-items than the device has."""
        items = prod(lsize)
        if items > self.max_local:
            raise GroupLimitError(f"{self.label}: got work-groups of {items} on {self.device} ({self.device.name}); "
                                  f"expected at most {self.max_local}, as the driver compiled this kernel. Set "
                                  "CLGRAD_TUNE=off, CLGRAD_FORM=wide or another device.", self.max_local)

    def new(self) -> Any:
        """A kernel object. Each thread needs one of its own: setting arguments is not thread-safe in OpenCL."""
        import pyopencl as cl

        return cl.Kernel(self._program, self.function)

    def bind(self) -> Callable[..., Any]:
        """The current thread's ``enqueue(queue, gsize, lsize, *args)``."""
        k = self.new()
        self.local.enqueue = _direct(self.signature)(k) if is_direct(k) else _general(k, self.signature)
        return self.local.enqueue


def _general(k: Any, signature: str) -> Callable[..., Any]:
    """A kernel object to be called, as pyopencl documents it."""
    import numpy as np

    k.set_scalar_arg_dtypes([None if s == "P" else np.dtype(_SCALARS[s]) for s in signature])
    return k


def is_direct(k: Any) -> bool:
    """Whether pyopencl has what :func:`_direct` uses, whose letters are C's: "l" must have 64 bits."""
    return hasattr(k, "_set_arg_multi") and hasattr(k, "_set_arg_buf_pack_multi") and struct.calcsize("l") == 8


@lru_cache(1024)
def _direct(signature: str) -> Callable[[Any], Callable[..., Any]]:
    """What pyopencl does when a kernel object is called, without its way there, which takes as long again."""
    pointers = "".join(f"{i}, a{i}, " for i, s in enumerate(signature) if s == "P")
    numbers = "".join(f"{i}, {s.encode()!r}, a{i}, " for i, s in enumerate(signature) if s != "P")
    arguments = "".join(f", a{i}" for i in range(len(signature)))
    lines = ["def bound(kernel):", " pointers, numbers = kernel._set_arg_multi, kernel._set_arg_buf_pack_multi",
             f" def enqueue(queue, gsize, lsize{arguments}):",
             *([f"  pointers(({pointers}))"] if pointers else ()), *([f"  numbers(({numbers}))"] if numbers else ()),
             "  launch(queue, kernel, gsize, lsize)", " return enqueue"]
    import pyopencl as cl

    scope: dict[str, Any] = {"launch": cl.enqueue_nd_range_kernel}
    exec("\n".join(lines), scope)
    return scope["bound"]


_lock = threading.RLock()
_programs: dict[tuple[str, str], Any] = {}
_kernels: dict[tuple, Kernel] = {}
_MOST_PROGRAMS = 1024  # kept in memory, where CPU drivers take about a megabyte for each
when_dropped: list[Callable[[], None]] = []  # told when programs are let go: who keeps kernels lets go of them, too
_announced = False
_NOT_FOUND = 0.15  # seconds of a build from which on a driver cannot have had it in a cache of its own
counters = {"built": 0, "loaded": 0}


def kernel(device: Device, family: str, function: str, signature: str, label: str | None = None, *,
           standard: str = "", **values: Any) -> Kernel:
    """The kernel ``function`` of template ``family`` for these template values, built at first use.

    ``values`` must be hashable; they and the signature are the key. ``standard`` is the OpenCL C version that the text
    needs, as "CL3.0", where it is not the setting's.
    """
    key = (device.key, family, function, signature, standard, *sorted(values.items()))
    found = _kernels.get(key)
    if found is None:
        source = kernels.render(family, function=function, **values)
        program = build(device, source, label or family, standard)
        with _lock:
            found = _kernels.setdefault(key, Kernel(device, program, function, signature, label or function))
    return found


def fitted(build: Callable[[int], Kernel], size: int) -> tuple[Kernel, int]:
    """``build(size)``, a kernel for work-groups of ``size``, and the size: halved until the kernel as it was compiled
    takes as many, which may be fewer than the device does."""
    k = build(size)
    while size > max(1, k.max_local):
        size //= 2
        k = build(size)
    return k, size


def build(device: Device, source: str, label: str = "kernel", standard: str = "") -> Any:
    """A built pyopencl Program; BuildError, with the compiler's log, when the driver refuses the source."""
    options = config.build_options
    if standard:
        options = " ".join((f"-cl-std={standard}", *(o for o in options.split() if not o.startswith("-cl-std="))))
    digest = hashlib.sha256("\0".join((source, options, device.fingerprint)).encode()).hexdigest()
    key = (device.key, digest)
    with _lock:
        program = _programs.get(key)
        if program is None:
            kept = binaries.path_of(device.fingerprint, digest) if _keeps(device) else None
            program = _load(device, kept) or _compile(device, source, options, label, kept)
            if len(_programs) >= _MOST_PROGRAMS:
                _drop()
            _programs[key] = program
        elif config.debug >= 3:
            print(f"clgrad: {label}: program in memory", file=sys.stderr)
    return program


def _drop() -> None:
    """Let all programs go; those in use stay alive by their users, and others are loaded again when they are needed.
    Without a limit a process whose kernels change for ever would grow for ever."""
    _kernels.clear()
    _programs.clear()
    for forget in when_dropped:
        forget()


def _keeps(device: Device) -> bool:
    """Whether this device's built kernels go to the cache folder."""
    return not keeps_builds(device.platform_name) if config.cache == "auto" else config.cache


def _load(device: Device, path: Path | None) -> Any:
    """The program of a cache file, or None: absent, truncated, from another driver, refused by the driver."""
    import pyopencl as cl

    binary = None if path is None else binaries.read(path)
    if binary is None:
        return None
    try:
        program = build_quietly(cl.Program(device.context, [device._cl], [binary]), [])
    except (cl.Error, RuntimeError):
        return None
    counters["loaded"] += 1
    if config.debug >= 3:
        print(f"clgrad: kernel loaded from {path}", file=sys.stderr)
    return program


def _compile(device: Device, source: str, options: str, label: str, path: Path | None) -> Any:
    import pyopencl as cl

    if path is not None:
        _announce(device, str(config.cache_dir))
    if config.debug >= 4:
        print(source, file=sys.stderr)
    start = time.perf_counter()
    try:
        program = _try_build(device, source, options)
    except (cl.Error, RuntimeError) as error:
        raise BuildError(f"{label}: the driver of {device} ({device.name}) refused the kernel: {error}\n"
                         "Set CLGRAD_DEBUG=4 to see its source, CLGRAD_BUILD_OPTIONS= to build without options."
                         ) from error
    counters["built"] += 1
    seconds = time.perf_counter() - start
    if config.debug >= 3:
        print(f"clgrad: {label} built in {1e3 * seconds:.0f} ms", file=sys.stderr)
    if path is not None:
        _save(program, path)
    elif seconds > _NOT_FOUND:
        _announce(device, "the driver's cache")
    return program


def _try_build(device: Device, source: str, options: str) -> Any:
    """Build; some drivers refuse options they should know, so a refusal is tried again without any."""
    import pyopencl as cl

    try:
        return build_quietly(cl.Program(device.context, source), options.split())
    except (cl.Error, RuntimeError):
        if not options:
            raise
        return build_quietly(cl.Program(device.context, source), [])


def _save(program: Any, path: Path) -> None:
    import pyopencl as cl

    with suppress(cl.Error, IndexError, TypeError):
        binaries.write(path, program.get_info(cl.program_info.BINARIES)[0])


def _announce(device: Device, place: str) -> None:
    """Say once that a first run builds kernels, so that it does not look hung."""
    global _announced
    if config.progress and not _announced:
        _announced = True
        print(f"clgrad: building kernels for {device} ({device.name}); later runs take them from {place}",
              file=sys.stderr, flush=True)
