"""Devices: what exists, what it can do, which one is the default, and whether it can be trusted.

A device is offered as default only after a trivial kernel was built on it and gave the right numbers. The verdict is
remembered per driver version. It is written as "probing" first, so that a driver that takes the process down with it
is known by the next start.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.config import config
from ..core.errors import DeviceError, NoDeviceError
from . import drivers

_PROBE_VERSION = 1
_SHORT_NAMES = (("portable computing", "pocl"), ("nvidia", "nvidia"), ("amd", "amd"), ("advanced micro", "amd"),
                ("intel", "intel"), ("apple", "apple"), ("rusticl", "rusticl"), ("clover", "clover"),
                ("oclgrind", "oclgrind"))
_TYPE_RANK = {"gpu": 0, "accelerator": 1, "cpu": 2}


@dataclass(frozen=True)
class Facts:
    """What a device says of itself; sizes in bytes, ``max_clock`` in MHz."""

    compute_units: int
    max_clock: int
    max_work_group_size: int
    local_mem_size: int
    max_alloc: int
    global_mem: int
    max_parameter_size: int
    fp64: bool
    fp16: bool
    unified_memory: bool
    wide_core: bool


@dataclass(frozen=True)
class Verdict:
    """Whether a trivial kernel gave the right numbers on a device, and if not, why."""

    ok: bool
    reason: str = ""


class Copies:
    """Host-device traffic of one device: number of copies and bytes, each way."""

    __slots__ = ("bytes_to_device", "bytes_to_host", "to_device", "to_host")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.to_device = self.to_host = self.bytes_to_device = self.bytes_to_host = 0

    def __repr__(self) -> str:
        return (f"Copies(to_device={self.to_device}, to_host={self.to_host}, "
                f"bytes_to_device={self.bytes_to_device:,}, bytes_to_host={self.bytes_to_host:,})")


class _Opened:
    """An attribute that does not exist until someone asks for it, which opens the device. Not ``__getattr__``: with
    one, every look at any attribute of a device takes ten times as long."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, device: Any, owner: type | None = None) -> Any:
        if device is None:
            return self
        device.open()
        return device.__dict__[self._name]


class Device:
    """One OpenCL device with its context, in-order queue and pool, opened at first use.

    ``str(device)`` is its short name, as ``"pocl:0"``. As a context manager it is the default device of the
    current thread: ``with clgrad.device("cpu"): ...``.
    """

    context, queue, pool = _Opened(), _Opened(), _Opened()

    def __init__(self, cl_device: Any, key: str, index: int) -> None:
        self.key = key
        self.index = index
        self.name = cl_device.name.strip()
        self.platform_name = cl_device.platform.name.strip()
        self.vendor = cl_device.vendor.strip()
        self.version = cl_device.version.strip()
        self.driver_version = cl_device.driver_version.strip()
        self.type = _device_type(cl_device)
        self.copies = Copies()
        self.lost: str | None = None
        self.fault: Any = None  # where kernels report an index out of range, once one may
        self.watched: list[str] = []  # ops launched since it was last read
        self._cl = cl_device
        self._lock = threading.RLock()

    def open(self, context: Any = None, queue: Any = None) -> None:
        """Make context, queue and pool, or use what is given; nothing where that was done before."""
        import pyopencl as cl

        from .pool import Pool

        with self._lock:
            if "pool" in self.__dict__:
                return
            if self.lost is not None:
                raise self.lost_error()
            try:
                with drivers.batch_workers():
                    self.context = cl.Context([self._cl]) if context is None else context
                    self.queue = cl.CommandQueue(self.context, self._cl) if queue is None else queue
            except cl.Error as error:
                raise DeviceError(f"device {self}: got {error} on opening; expected a context. "
                                  "Run python -m clgrad doctor.") from error
            self.pool = Pool(self)
            _OPENED.append(self)

    @property
    def is_open(self) -> bool:
        """Whether the context exists already."""
        return "pool" in self.__dict__

    @cached_property
    def facts(self) -> Facts:
        """What the device says of itself."""
        return _facts(self._cl, self.type)

    @cached_property
    def wide_core(self) -> bool:
        """Whether kernels take the wide-core (CPU) form here; CLGRAD_FORM forces either one."""
        return self.facts.wide_core if config.form == "auto" else config.form == "wide"

    @cached_property
    def shares_host(self) -> bool:
        """Whether the host and kernels see each other's writes in the same memory: found out by trying, once."""
        from .share import probe

        return probe(self)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of platform, device and driver version: what a built kernel or a verdict belongs to."""
        text = "|".join((self.platform_name, self._cl.platform.version, self.name, self.vendor, self.version,
                         self.driver_version))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def verdict(self, *, refresh: bool = False) -> Verdict:
        """Whether a trivial kernel gives the right numbers here; remembered per driver version."""
        with self._lock:
            if refresh or "_verdict" not in self.__dict__:
                self._verdict = _judge(self, refresh)
            return self._verdict

    def memory_stats(self) -> dict[str, int]:
        """``active``, ``held`` and ``peak`` bytes of the pool and its number of ``allocations``."""
        return self.pool.stats()

    def lost_error(self) -> DeviceError:
        """The error of any use after the device was lost."""
        return DeviceError(f"device {self}: {self.lost}")

    def __enter__(self) -> Device:
        _scoped().append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _scoped().pop()

    def __repr__(self) -> str:
        return f"<clgrad device {self.key}: {self.name}>"

    def __str__(self) -> str:
        return self.key

    def __reduce__(self) -> tuple:
        return device, (self.key,)


def _device_type(cl_device: Any) -> str:
    import pyopencl as cl

    kinds = ((cl.device_type.GPU, "gpu"), (cl.device_type.CPU, "cpu"))
    return next((name for bit, name in kinds if cl_device.type & bit), "accelerator")


def _facts(d: Any, kind: str) -> Facts:
    extensions = d.extensions.split()
    return Facts(
        compute_units=d.max_compute_units, max_clock=d.max_clock_frequency,
        max_work_group_size=d.max_work_group_size, local_mem_size=d.local_mem_size, max_alloc=d.max_mem_alloc_size,
        global_mem=d.global_mem_size, max_parameter_size=d.max_parameter_size,
        fp64="cl_khr_fp64" in extensions or bool(d.double_fp_config), fp16="cl_khr_fp16" in extensions,
        unified_memory=bool(d.host_unified_memory), wide_core=kind == "cpu")


_PROBE = """
kernel void probe(global int *out, global const int *a, int n)
{
    for (int i = get_global_id(0); i < n; i += get_global_size(0))
        out[i] = a[i] * 3 + i;
}
"""


def _run_probe(device: Device) -> Verdict:
    """Build and run the trivial kernel; never raises for a driver's fault."""
    import numpy as np
    import pyopencl as cl

    n = 257
    a = np.arange(n, dtype=np.int32)[::-1].copy()
    out = np.zeros_like(a)
    try:
        context = cl.Context([device._cl])
        queue = cl.CommandQueue(context)
        program = drivers.build_quietly(cl.Program(context, _PROBE), [])
        source = cl.Buffer(context, cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR, hostbuf=a)
        target = cl.Buffer(context, cl.mem_flags.WRITE_ONLY, out.nbytes)
        cl.Kernel(program, "probe")(queue, (64,), (1,), target, source, np.int32(n))
        cl.enqueue_copy(queue, out, target)
    except (cl.Error, RuntimeError) as error:
        return Verdict(False, " ".join(str(error).split())[:400] or type(error).__name__)
    if not np.array_equal(out, a * 3 + np.arange(n, dtype=np.int32)):
        return Verdict(False, "a trivial kernel gave wrong numbers")
    return Verdict(True)


def verdict_path(fingerprint: str) -> Path:
    """Where the verdict on a device, known by its fingerprint, is remembered."""
    return verdict_folder() / f"{fingerprint}-{_PROBE_VERSION}.json"


def verdict_folder() -> Path:
    """Where verdicts are remembered."""
    return config.cache_dir / "verdicts"


def _alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill(pid, 0) would end the process there; a stale marker is then probed again
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _judge(device: Device, refresh: bool) -> Verdict:
    return remembered(verdict_path(device.fingerprint), lambda: _run_probe(device), refresh)


def remembered(path: Path, probe: Callable[[], Verdict], refresh: bool = False) -> Verdict:
    """The verdict of a file, or that of a probe, kept there. A process that dies in the probe leaves its mark."""
    if not refresh:
        known = _read_verdict(path)
        if known is not None:
            return known
    write_json(path, {"probing": os.getpid()})
    try:
        with drivers.batch_workers():
            verdict = probe()
    except BaseException:  # interrupted by the user, which is no fault of the driver's
        write_json(path, {})
        raise
    write_json(path, asdict(verdict))
    return verdict


def _read_verdict(path: Path) -> Verdict | None:
    try:
        data = json.loads(path.read_text())
        if "probing" not in data:
            return Verdict(bool(data["ok"]), str(data["reason"]))
        if data["probing"] == os.getpid() or _alive(int(data["probing"])):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Verdict(False, "the process died while this driver was probed; python -m clgrad doctor probes it again")


def write_json(path: Path, data: Any) -> None:
    """Write a small JSON file atomically; a cache that cannot be written is no error."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(data))
        os.replace(partial, path)
    except OSError:
        pass


_OPENED: list[Device] = []
_thread = threading.local()
_chosen: Device | None = None
_find_lock = threading.Lock()
_found: tuple[Device, ...] | None = None
_forbidden: str | None = None


def _scoped() -> list[Device]:
    """The current thread's stack of ``with device:`` blocks."""
    try:
        return _thread.stack
    except AttributeError:
        _thread.stack = []
        return _thread.stack


def _short_name(platform_name: str) -> str:
    lower = platform_name.lower()
    return next((short for part, short in _SHORT_NAMES if part in lower), lower.split()[0] if lower else "opencl")


def _find() -> tuple[Device, ...]:
    import pyopencl as cl

    found, seen = [], {}
    for platform in drivers.platforms():
        short = _short_name(platform.name)
        try:
            with drivers.batch_workers():
                cl_devices = platform.get_devices()
        except cl.Error:  # a platform without devices
            continue
        for d in cl_devices:
            number = seen[short] = seen.get(short, -1) + 1
            found.append((d, f"{short}:{number}"))
    found.sort(key=lambda pair: (_TYPE_RANK[_device_type(pair[0])],
                                 -pair[0].max_compute_units * pair[0].max_clock_frequency))
    return tuple(Device(d, key, index) for index, (d, key) in enumerate(found))


def forbid(reason: str) -> None:
    """Let every use of a device in this process raise DeviceError with ``reason``: a data worker's first act."""
    global _forbidden
    _forbidden = reason


def devices() -> list[Device]:
    """Every OpenCL device, broken ones included: GPUs first, then by compute units times clock."""
    global _found
    if _forbidden is not None:
        raise DeviceError(_forbidden)
    with _find_lock:
        if _found is None:
            _found = _find()
    return list(_found)


def device(spec: Any = None) -> Device:
    """The device meant by ``"gpu"``, ``"cpu"``, ``"pocl:0"``, an index into ``devices()``, or part of a name.

    ``"cuda"`` and ``"cuda:1"`` are GPUs by number, and the default device where there is none, with a warning. None
    gives the current default. Raises DeviceError when nothing fits, and when the device that fits is broken.
    """
    if isinstance(spec, Device):
        return spec
    if spec is None:
        return default_device()
    everything = devices()
    if isinstance(spec, str) and spec.strip().lower().partition(":")[0] == "cuda":
        return _cuda(spec)
    matching = _matching(spec, everything)
    if not matching:
        known = ", ".join(f"{d} ({d.name})" for d in everything) or "none"
        text = f"device: got {spec!r}; expected gpu, cpu, an index, or part of a name. Found: {known}. "
        raise DeviceError(text.strip()) if everything else NoDeviceError(text + drivers.install_help())
    working = next((d for d in matching if d.verdict().ok), None)
    if working is None:
        d = matching[0]
        raise DeviceError(f"device: got {spec!r}, which is {d} ({d.name}), whose driver is broken: "
                          f"{d.verdict().reason}. Choose another device (python -m clgrad lists them).")
    return working


def gpus() -> list[Device]:
    """The GPUs that work, best first."""
    return [d for d in devices() if d.type == "gpu" and d.verdict().ok]


def _cuda(spec: str) -> Device:
    """A cuda name means a GPU of any vendor, so that programs written for one run; without any, the default device."""
    number = spec.partition(":")[2].strip() or "0"
    working = gpus()
    if number.isdigit() and int(number) < len(working):
        return working[int(number)]
    if working or not number.isdigit():
        raise DeviceError(f"device: got {spec!r}; expected cuda:0 to cuda:{max(len(working) - 1, 0)}. "
                          f"Found {len(working)} working GPUs (python -m clgrad lists them).")
    chosen = default_device()
    if not _said_no_gpu:
        _said_no_gpu.append(spec)
        warnings.warn(f"device: there is no GPU for {spec!r}; using the default device {chosen} ({chosen.name}), also "
                      "for every cuda name to come", stacklevel=3)
    return chosen


_said_no_gpu: list[str] = []


def _matching(spec: Any, everything: list[Device]) -> list[Device]:
    if isinstance(spec, int) and not isinstance(spec, bool):
        return everything[spec:spec + 1] if spec >= 0 else []
    text = str(spec).strip().lower()
    if text.isdigit():
        return everything[int(text):int(text) + 1]
    if text in _TYPE_RANK:
        return [d for d in everything if d.type == text]
    exact = [d for d in (*everything, *_OPENED) if d.key == text]
    return exact or [d for d in everything if text and text in f"{d.key} {d.name} {d.platform_name}".lower()]


_meant = device


def set_default_device(device: Any) -> None:
    """Make a device the default of every thread; None goes back to the automatic choice."""
    global _chosen
    _chosen = None if device is None else _meant(device)


def default_device() -> Device:
    """The innermost ``with device:`` of this thread, else the one set, else CLGRAD_DEVICE, else the first that works.

    Raises NoDeviceError, saying what to install, where there is none.
    """
    stack = _scoped()
    if stack:
        return stack[-1]
    if _chosen is None:
        set_default_device(config.device if config.device else _first_working())
    return _chosen


def _first_working() -> Device:
    everything = devices()
    for d in everything:
        if d.verdict().ok:
            return d
    problem = drivers.prepare()
    broken = "".join(f"\n  {d} ({d.name}) is broken: {d.verdict().reason}" for d in everything)
    raise NoDeviceError("no usable OpenCL device. " + (f"{problem}. " if problem else "") + drivers.install_help()
                        + broken)


def opened_devices() -> list[Device]:
    """Devices that have a context already."""
    return list(_OPENED)


def _after_fork() -> None:
    for d in _OPENED:
        d.lost = ("got a use in a forked child process; OpenCL does not survive a fork. "
                  "Start processes with multiprocessing's 'spawn' method.")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
