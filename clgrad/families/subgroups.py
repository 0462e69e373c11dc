"""Sub-groups: whether a device's can be trusted, and by which functions the work-items of a row meet in them.

See kernels/teams.mako. A way is used only where the device lists what it needs and a kernel of all team sizes gives the
right numbers in every work-item, in a context of its own. The verdict is remembered for the driver's version and the
kernel's text; whatever goes wrong, rows meet in local memory.
"""

from __future__ import annotations

import threading

import numpy as np

from ..core import dtypes
from ..core.config import config
from ..ndarray import empty, from_host
from ..runtime import tuned
from ..runtime.device import Device, Verdict, remembered, verdict_folder
from ..runtime.launch import launch
from ..runtime.program import Kernel, kernel

TREE = {"joining": "tree"}
_TRIED = ((8, "float32"), (64, "float64"), (64, "int64"), (256, "float32"))  # work-items of a group, and their numbers
_lock = threading.RLock()
_verdicts: dict[tuple[str, str], Verdict] = {}


def joining(device: Device, layout: str = "group") -> dict[str, str]:
    """How the work-items of a row meet on a device: values for :func:`~clgrad.runtime.program.kernel`. Only those of
    the layout "group" do; complex numbers, which have another one then, are not swapped."""
    if layout != "group" or config.subgroups == "off":
        return TREE
    return next((way for way in _ways(device) if verdict(device, way).ok), TREE)


def _ways(device: Device) -> list[dict[str, str]]:
    """What may work here, best first. OpenCL C has functions for sub-groups by an extension of 2.x, or in 3.0."""
    listed = device._cl.extensions.split()
    standard = "CL3.0" if device.version.startswith("OpenCL 3") else "CL2.0"
    ways = []
    if "cl_khr_subgroup_shuffle" in listed:
        ways.append({"joining": "shuffle", "standard": standard})
    if "cl_intel_subgroups" in listed:
        ways.append({"joining": "intel"})
    if "nvidia" in f"{device.vendor} {device.platform_name}".lower():
        ways.append({"joining": "ptx"})
    if "cl_khr_subgroups" in listed or "cl_khr_subgroup_shuffle" in listed:
        ways.append({"joining": "built_in", "standard": standard})
    return ways


def report(device: Device) -> str:
    """How the work-items of a row meet on a many-core device, and why not otherwise, for people."""
    if config.subgroups == "off":
        return "in local memory (CLGRAD_SUBGROUPS is off)"
    refused = []
    for way in _ways(device):
        found = verdict(device, way)
        if found.ok:
            return f"by {way['joining']}"
        refused.append(f"{way['joining']}: {found.reason}")
    return "in local memory (" + ("; ".join(refused) or "the driver lists no sub-groups") + ")"


def verdict(device: Device, way: dict[str, str]) -> Verdict:
    """Whether one way gives the right numbers on a device."""
    key = (device.fingerprint, way["joining"])
    with _lock:
        if key not in _verdicts:
            path = verdict_folder() / f"{device.fingerprint}-{way['joining']}-{tuned.source_hash('teams')}.json"
            _verdicts[key] = remembered(path, lambda: _validate(device, way))
        return _verdicts[key]


def _validate(device: Device, way: dict[str, str]) -> Verdict:
    """All teams of some work-groups, on a twin of the device. Whole numbers: sums are exact in any order."""
    twin = Device(device._cl, f"{device.key}/{way['joining']}", device.index)
    try:
        for group, name in _TRIED:
            if group <= device.facts.max_work_group_size and (name != "float64" or device.facts.fp64):
                wrong = _wrong(twin, way, group, dtypes.dtype(name))
                if wrong:
                    return Verdict(False, wrong)
    except Exception as error:  # a driver may refuse in any way it likes
        return Verdict(False, " ".join(str(error).split())[:400] or type(error).__name__)
    return Verdict(True)


def _wrong(device: Device, way: dict[str, str], group: int, dtype: dtypes.DType) -> str:
    """What teams of work-items get wrong, in words."""
    k: Kernel = kernel(device, "teams", "teams", "PPPPii", ctype=dtype.c, group=group, **way)
    if k.max_local < group:
        return ""
    n = 3 * group
    a = np.random.default_rng(group).integers(0, 50, n).astype(dtype.np)
    source = from_host(a, None, device)
    for team in (1 << bit for bit in range(group.bit_length())):
        sums, largest, places = (empty((n,), d, device) for d in (dtype, dtype, dtypes.int32))
        launch(k, (2 * group,), (group,), sums.storage.buffer, largest.storage.buffer, places.storage.buffer,
               source.storage.buffer, n, team)
        rows = a.reshape(-1, team)
        first = rows.argmax(1) + np.arange(n // team) * team
        for got, expected in ((sums, rows.sum(1)), (largest, rows.max(1)), (places, first)):
            if not np.array_equal(got.numpy(), np.repeat(expected, team)):
                return f"{team} of {group} work-items that share {dtype} numbers do not agree on the right ones"
    return ""
