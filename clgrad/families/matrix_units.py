"""Matrix units: whether a device's can be trusted, and in which tiles they multiply.

A kernel with an instruction of the vendor's own is used only where the vendor's driver builds it and its products of
awkward sizes are right to the last bit, in a context of its own, so that a fault stays there. The verdict is remembered
for the driver's version and the kernel's text; whatever goes wrong, the ordinary kernel serves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..core.config import config
from ..core.dtypes import dtype as dtype_of
from ..ndarray import Array, from_host
from ..runtime import tuned
from ..runtime.device import Device, Facts, Verdict, remembered, verdict_folder

_UNITS = {"nvidia": "ptx"}  # by a word of the vendor's name
DTYPES = {"half": "float16", "bf16": "bfloat16"}
_lock = threading.RLock()
_verdicts: dict[tuple[str, str], Verdict] = {}

Multiply = Callable[[Array, Array, str], Array]  # x @ y by a unit, planned anew


def unit_of(device: Device, ctype: str, multiply: Multiply) -> str:
    """The unit that multiplies this type on a device, "" for none; asked once for a driver, then remembered."""
    unit = next((u for word, u in _UNITS.items() if word in f"{device.vendor} {device.platform_name}".lower()), "")
    if not unit or ctype not in DTYPES or config.matrix_units == "off":
        return ""
    return unit if verdict(device, ctype, unit, multiply).ok else ""


def verdict(device: Device, ctype: str, unit: str, multiply: Multiply) -> Verdict:
    """Whether a unit gives the right numbers on a device."""
    key = (device.fingerprint, ctype)
    with _lock:
        if key not in _verdicts:
            text = tuned.source_hash("matrix_units")
            path = verdict_folder() / f"{device.fingerprint}-{unit}-{ctype}-{text}.json"
            _verdicts[key] = remembered(path, lambda: _validate(device, ctype, unit, multiply))
        return _verdicts[key]


def _validate(device: Device, ctype: str, unit: str, multiply: Multiply) -> Verdict:
    """Products on a twin of the device. Whole numbers, whose sums float32 holds and 16 bits do not: a right product,
    rounded once, has the same bits."""
    twin = Device(device._cl, f"{device.key}/{unit}-{ctype}", device.index)
    rng = np.random.default_rng(16816)
    kept = dtype_of(DTYPES[ctype]).np
    try:
        for (M, K, N), swapped in (((64, 64, 64), False), ((131, 613, 137), False), ((129, 70, 72), True)):
            a, b = (rng.integers(-3, 8, s).astype(kept) for s in ((M, K), (K, N)))
            x, y = ((from_host(np.ascontiguousarray(v.T), None, twin).T if swapped else from_host(v, None, twin))
                    for v in (a, b))
            expected = (a.astype(np.float64) @ b.astype(np.float64)).astype(kept)
            wrong = np.count_nonzero(multiply(x, y, unit).numpy() != expected)
            if wrong:
                return Verdict(False, f"{wrong} of {M * N} values of a {M}x{K}x{N} product are wrong")
    except Exception as error:  # a driver may refuse in any way it likes
        return Verdict(False, " ".join(str(error).split())[:400] or type(error).__name__)
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
