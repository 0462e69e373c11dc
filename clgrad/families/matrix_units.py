"""Matrix units: which a device has, whether they can be trusted, and in which tiles they multiply.

A kernel with an instruction of the vendor's own is used only where the device has it, the vendor's driver builds it and
its products of awkward sizes are right to the last bit, in a context of its own, so that a fault stays there. The
verdict is remembered for the driver's version and the kernel's text; whatever goes wrong, the ordinary kernel serves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..core import dtypes
from ..core.config import config
from ..core.dtypes import dtype as dtype_of
from ..core.errors import BuildError
from ..ndarray import Array, from_host, full
from ..runtime import tuned
from ..runtime.device import Device, Facts, Verdict, remembered, verdict_folder
from ..runtime.launch import launch
from ..runtime.program import build, kernel

DTYPES = {"half": "float16", "bf16": "bfloat16"}
_lock = threading.RLock()
_verdicts: dict[tuple[str, str, str], Verdict] = {}
_lacks: dict[tuple[str, str], str] = {}

_MULTIPLY_ACCUMULATE = "cl_intel_subgroup_matrix_multiply_accumulate"
# Sizes that are tried, and whether the operands lie by columns. Each builds kernels, and on a CPU it is the instruction
# alone that is in question, not what local memory and sub-groups make of it.
_PRODUCTS = {"many": (((64, 64, 64), False), ((131, 613, 137), False), ((129, 70, 72), True)),
             "wide": (((131, 612, 137), False),)}
_ELSEWHERE = "of another vendor"
_SUB_GROUP_OF_8 = "__attribute__((intel_reqd_sub_group_size(8))) kernel void sub_group(global int *x) { x[0] = 0; }"

Multiply = Callable[[Array, Array, str, str], Array]  # x @ y in a form by a unit, planned anew


@dataclass(frozen=True)
class Unit:
    """An instruction: its name, the kernel form and template that have it, the types it multiplies; ``lacking`` says
    why a device cannot have it, "" where it may."""

    name: str
    form: str
    template: str
    ctypes: tuple[str, ...]
    lacking: Callable[[Device], str]


def _not_nvidia(device: Device) -> str:
    return "" if "nvidia" in f"{device.vendor} {device.platform_name}".lower() else _ELSEWHERE


def _no_amd_gpu(device: Device) -> str:
    vendor = device.vendor.lower()
    return "" if device.type == "gpu" and ("amd" in vendor or "advanced micro" in vendor) else _ELSEWHERE


def _sub_groups(size: int) -> Callable[[Device], str]:
    """Intel's functions need its extension, and sub-groups of the fewest work-items that a device has: in
    others they may do anything."""

    def lacking(device: Device) -> str:
        if device.type != "gpu" or "intel" not in device.vendor.lower():
            return _ELSEWHERE
        if _MULTIPLY_ACCUMULATE not in device._cl.extensions.split():
            return f"the driver does not list {_MULTIPLY_ACCUMULATE}"
        fewest = 8 if _builds(device, _SUB_GROUP_OF_8) else 16
        return "" if fewest == size else f"sub-groups have {fewest} work-items or more"

    return lacking


def _builds(device: Device, source: str) -> bool:
    try:
        build(device, source, "sub_group")
    except BuildError:
        return False
    return True


def _no_avx512_bf16(device: Device) -> str:
    """Asks the core itself: an instruction that it lacks would end the process."""
    if device.type != "cpu":
        return _ELSEWHERE
    try:
        found = full((1,), 0, dtypes.int32, device)
        launch(kernel(device, "cpuid", "cpuid", "P"), (1,), (1,), found.storage.buffer)
        return {1: "", 0: "the CPU has none"}.get(int(found.numpy()[0]), "the driver builds no code for AVX-512")
    except BuildError:
        return "the driver's compiler takes no inline AVX-512"


_BOTH = ("half", "bf16")
UNITS = (Unit("ptx", "many", "matrix_units", _BOTH, _not_nvidia),
         Unit("wmma", "many", "matrix_units", _BOTH, _no_amd_gpu),
         Unit("mfma", "many", "matrix_units", _BOTH, _no_amd_gpu),
         Unit("dpas8", "many", "matrix_units", _BOTH, _sub_groups(8)),
         Unit("dpas16", "many", "matrix_units", _BOTH, _sub_groups(16)),
         Unit("avx512_bf16", "wide", "matmul", ("bf16",), _no_avx512_bf16))


def unit_of(device: Device, form: str, ctype: str, multiply: Multiply) -> str:
    """The unit that multiplies this type on a device, "" for none; asked once for a driver, then remembered."""
    if config.matrix_units == "off":
        return ""
    return next((u.name for u in UNITS if u.form == form and not why_not(device, u, ctype, multiply)), "")


def why_not(device: Device, unit: Unit, ctype: str, multiply: Multiply) -> str:
    """Why a unit does not multiply this type on a device, "" where it does. What the device has is asked in every
    process: machines of one device's name may differ in it."""
    if ctype not in unit.ctypes:
        return f"multiplies no {DTYPES.get(ctype, ctype)}"
    with _lock:
        key = device.fingerprint, unit.name
        if key not in _lacks:
            _lacks[key] = unit.lacking(device)
        return _lacks[key] or verdict(device, ctype, unit, multiply).reason


def report(device: Device, form: str, multiply: Multiply) -> str:
    """What multiplies each type on a device, and why no unit does, for people."""
    if config.matrix_units == "off":
        return "off (CLGRAD_MATRIX_UNITS)"
    texts = []
    for ctype, name in DTYPES.items():
        reasons = {u.name: why_not(device, u, ctype, multiply) for u in UNITS if u.form == form and ctype in u.ctypes}
        used = next((unit for unit, reason in reasons.items() if not reason), None)
        refused = "; ".join(f"{unit}: {reason}" for unit, reason in reasons.items() if reason != _ELSEWHERE)
        texts.append(f"{name} by {used}" if used else f"none for {name}" + (f" ({refused})" if refused else ""))
    return ", ".join(texts)


def verdict(device: Device, ctype: str, unit: Unit, multiply: Multiply) -> Verdict:
    """Whether a unit gives the right numbers on a device."""
    key = (device.fingerprint, ctype, unit.name)
    with _lock:
        if key not in _verdicts:
            text = tuned.source_hash(unit.template)
            path = verdict_folder() / f"{device.fingerprint}-{unit.name}-{ctype}-{text}.json"
            _verdicts[key] = remembered(path, lambda: _validate(device, ctype, unit, multiply))
        return _verdicts[key]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__


def _validate(device: Device, ctype: str, unit: Unit, multiply: Multiply) -> Verdict:
    """Products on a twin of the device. Whole numbers, whose sums float32 holds and 16 bits do not: a right product,
    rounded once, has the same bits."""
    twin = Device(device._cl, f"{device.key}/{unit.name}-{ctype}", device.index)
    rng = np.random.default_rng(16816)
    kept = dtype_of(DTYPES[ctype]).np
    try:
        for (M, K, N), swapped in _PRODUCTS[unit.form]:
            a, b = (rng.integers(-3, 8, s).astype(kept) for s in ((M, K), (K, N)))
            x, y = ((from_host(np.ascontiguousarray(v.T), None, twin).T if swapped else from_host(v, None, twin))
                    for v in (a, b))
            expected = (a.astype(np.float64) @ b.astype(np.float64)).astype(kept)
            wrong = np.count_nonzero(multiply(x, y, unit.form, unit.name).numpy() != expected)
            if wrong:
                return Verdict(False, f"{wrong} of {M * N} values of a {M}x{K}x{N} product are wrong")
    except Exception as error:  # a driver may refuse in any way it likes
        return Verdict(False, _line(error))
    return Verdict(True)


def tile_for(M: int, N: int, batch: int, unit: str, facts: Facts) -> dict[str, int] | None:
    """The tile that is done first: rounds of all units, by the results of a group and what each costs. None where the
    device takes none of them."""
    module: Any = kernels.template("matrix_units").module

    def cost(t: dict[str, int]) -> float:
        rows, columns, _ = module.tile(t, unit)
        rounds = -(-batch * -(-M // rows) * -(-N // columns) // facts.compute_units)
        return rounds * rows * columns * module.cost(t, unit)

    tiles = module.TILES[unit.removeprefix("emulated ")]
    return min((t for t in tiles if module.valid(t, facts, unit)), key=cost, default=None)


def groups(M: int, N: int, params: dict[str, int], unit: str) -> tuple[int, int]:
    """Work-groups that one product takes, and the work-items of each."""
    rows, columns, items = kernels.template("matrix_units").module.tile(params, unit)
    return -(-M // rows) * -(-N // columns), items
