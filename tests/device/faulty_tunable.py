"""A Tunable whose candidates are at fault, each in its own way; the tuner's child loads it by path."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from clgrad.ndarray import Array, Storage
from clgrad.runtime import program, tuned
from clgrad.runtime.launch import launch
from clgrad.tuning.tunable import Tunable, problems

FAULTS = ("none", "slow", "wrong", "behind", "before", "operand", "unwritten", "nan", "odd", "hang", "crash", "refused",
          "fast")
CODE = {name: i for i, name in enumerate(FAULTS)}
SOURCE = """
kernel void twice(global float *out, global float *x, int offset, int n, int fault)
{
    for (int i = get_global_id(0); i < n; i += get_global_size(0)) {
        if (fault == 6 && i == n - 1) continue;
        const float v = x[offset + i];
        out[i] = fault == 2 && i == n / 2 ? 0.5f : fault == 7 && v != v ? 0.0f : 2 * v;
        if (fault == 3 && i == 0) out[n + 3] = 1;
        if (fault == 4 && i == 0) out[-2] = 1;
        if (fault == 5 && i == 0) x[offset] = 1;
        if (fault == 8 && n == 37 && i == 30) out[i] = 0;
        while (fault == 9 && *(volatile global float *)x < 1e30f) out[i] += 1;
    }
}
"""


def run(_, x: Array) -> Array:
    """2 x, or what the candidate makes of it."""
    params = tuned.params(x.device, "faulty", x.dtype.name, "flat", x.shape, DEFAULT, SOURCE)
    fault = FAULTS[params["fault"]]
    if fault not in ("fast", "nan", "odd"):
        time.sleep(0.02 if fault == "slow" else 0.004)  # so that those three are clearly faster than the default
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    source = SOURCE + ("syntax error" if fault == "refused" else "")
    kernel = program.Kernel(x.device, program.build(x.device, source), "twice", "PPiii", "twice")
    out = Array(Storage(x.device, 4 * x.size), x.shape, (1,), 0, x.dtype)
    launch(kernel, (1,), (1,), out.storage.buffer, x.storage.buffer, x.offset, x.size, params["fault"])
    return out


def _space(faults: tuple[str, ...]):
    return lambda form, dtype, facts: [{"fault": CODE[name]} for name in faults]


DEFAULT = {"fault": 0}
FAULTY = Tunable("faulty", ("elements",), ("flat",), lambda p, draw: (draw(p.sizes),), run=run,
                 reference=lambda p, x: np.multiply(x, 2), work=lambda p: 8.0 * p.sizes[0],
                 odd=lambda p, params: ((1,), (37,)), common=problems("faulty", "float32", "flat", (100,)), unit="GB/s",
                 space=_space(FAULTS), default=DEFAULT, source=SOURCE)
BROKEN = Tunable("faulty", FAULTY.names, FAULTY.layouts, FAULTY.operands, run, lambda p, x: x * 3, FAULTY.work,
                 FAULTY.odd, FAULTY.common, space=_space(("fast",)), default=DEFAULT, source=SOURCE)
