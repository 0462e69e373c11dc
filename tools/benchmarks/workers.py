"""One process a library: what the child does with each command, and the parent's side of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import roofline
from .case import Step
from .catalogue import CASES
from .libraries import OPEN

ROOT = Path(__file__).resolve().parents[2]
COMMAND = str(ROOT / "tools" / "bench.py")
SAMPLE_SECONDS = 0.05


def worker(name: str, device: str | None) -> None:
    """The child's side: read a command a line, answer with a line of JSON."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not mix with the answers
    lib: Any = OPEN[name](device)
    print(json.dumps({"version": lib.version, "device": lib.device}), file=out, flush=True)
    state: dict[str, Any] = {}
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            answer = {"build": _build, "sample": _sample, "roofline": _roofline}[command](lib, state, *arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"}
        print(json.dumps(answer), file=out, flush=True)


def _build(lib: Any, state: dict, index: int) -> dict:
    """Make the step, warm it up, and find how many of them fill a sample."""
    state.clear()
    step = state["step"] = CASES[index].builder(lib.name)(lib)
    for _ in range(3):
        lib.wait(step())
    count = 1
    while _time(lib, step, count) < SAMPLE_SECONDS / 4 and count < 1 << 16:
        count *= 2
    state["count"] = max(1, round(count * SAMPLE_SECONDS / max(_time(lib, step, count), 1e-9)))
    return {"count": state["count"]}


def _sample(lib: Any, state: dict, times: int) -> dict:
    """Seconds a step, ``times`` times; one more run before wakes the threads."""
    _time(lib, state["step"], 1)
    return {"seconds": [_time(lib, state["step"], state["count"]) / state["count"] for _ in range(times)]}


def _roofline(lib: Any, state: dict) -> dict:
    """What clgrad's device can do at most."""
    return roofline.measure(lib.np, lib.np.default_device())


def _time(lib: Any, step: Step, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        out = step()
    lib.wait(out)
    return time.perf_counter() - start


class Worker:
    """A library's process, as the parent sees it."""

    def __init__(self, name: str, device: str | None) -> None:
        self.name = name
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, COMMAND, "--worker", name, *(["--device", device] if device else [])], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
        self.about = self._read()

    def ask(self, *command: Any) -> dict:
        """The answer to a command; ``error`` in it where the library failed or its process ended."""
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            return {"error": "the process ended"}
        return self._read()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=30)
