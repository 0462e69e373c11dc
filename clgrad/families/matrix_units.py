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
from ..runtime.program import kernel

DTYPES = {"half": "float16", "bf16": "bfloat16"}
_lock = threading.RLock()
_verdicts: dict[tuple[str, str, str], Verdict] = {}
_lacks: dict[tuple[str, str], str] = {}

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


def _made_by(*words: str) -> Callable[[Device], str]:
    def lacking(device: Device) -> str:
        names = f"{device.vendor} {device.platform_name}".lower()
        return "" if any(word in names for word in words) else "another vendor's"

    return lacking


def _no_avx512_bf16(device: Device) -> str:
    """Asks the core itself: an instruction that it lacks would end the process."""
    if device.type != "cpu":
        return "a CPU's"
    try:
        found = full((1,), 0, dtypes.int32, device)
        launch(kernel(device, "cpuid", "cpuid", "P"), (1,), (1,), found.storage.buffer)
        return "" if found.numpy()[0] == 1 else "the CPU has none"
    except BuildError:
        return "the driver's compiler takes no inline AVX-512"


UNITS = (Unit("ptx", "many", "matrix_units", ("half", "bf16"), _made_by("nvidia")),
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
        reasons = {u.name: why_not(device, u, ctype, multiply) for u in UNITS if u.form == form}
        used = next((unit for unit, reason in reasons.items() if not reason), None)
        texts.append(f"{name} by {used}" if used else f"no {name} (" + "; ".join(
            f"{unit}: {reason}" for unit, reason in reasons.items()) + ")")
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
        for (M, K, N), swapped in (((64, 64, 64), False), ((131, 613, 137), False), ((129, 70, 72), True)):
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


def tile_for(M: int, N: int, batch: int, facts: Facts) -> dict[str, int] | None:
    """The tile that is done first: rounds of all units, by the results of a group and what each costs: its product, and
    the words of fragments read for it. None where the device takes none of them."""
    module: Any = kernels.template("matrix_units").module

    def cost(t: dict[str, int]) -> float:
        rows, columns, _ = module.tile(t)
        return -(-batch * groups(M, N, t) // facts.compute_units) * rows * columns * (
            1 + 1 / t["fragments_n"] + 2 / t["fragments_m"] / 4)

    return min((t for t in module.TILES if module.valid(t, facts)), key=cost, default=None)


def groups(M: int, N: int, params: dict[str, int]) -> int:
    """Work-groups that one product takes."""
    rows, columns, _ = kernels.template("matrix_units").module.tile(params)
    return -(-M // rows) * -(-N // columns)
