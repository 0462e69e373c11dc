"""One process a library: what the child does with each command, and the parent's side of it.

Where the system can copy a process (Linux), the worker imports its library once and then copies itself for each case:
every case has a process of its own, in which nothing has been built, and a crash costs one case. Elsewhere a worker
is one process for all of them, and a first call finds what earlier cases have built.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from . import roofline
from .case import Step
from .catalogue import BY_NAME
from .libraries import OPEN, Library

ROOT = Path(__file__).resolve().parents[2]
COMMAND = str(ROOT / "tools" / "bench.py")
SAMPLE_SECONDS = 0.05
FORKS = sys.platform == "linux"
_WARM = 3  # steps before a time counts
_SLOW = 0.1  # seconds of a step that is long enough to be a turn by itself


# The child's side --------------------------------------------------------------------------------------------------


class Session:
    """A library that is open, and the case it is at."""

    def __init__(self, name: str, device: str | None, empty: Path | None) -> None:
        self.lib: Library = OPEN[name](device, empty)
        self.step: Step = lambda: None
        self.count = 1
        self.slow = False

    def about(self) -> dict:
        """What the library is and computes on."""
        return {"version": self.lib.version, "device": self.lib.device, "kind": self.lib.kind}

    def roofline(self) -> dict:
        """What clgrad's device can do at most."""
        return roofline.measure(self.lib.np, self.lib.np.default_device())

    def case(self, name: str) -> dict:
        """Make the step, time its first call, warm it up, and find how many of them fill a sample."""
        lib = self.lib
        lib.start_memory()
        builder = BY_NAME[name].builder(lib.name)
        if builder is None:
            raise ValueError(f"the case is not for {lib.name}")
        self.step = builder(lib)
        lib.wait(None)
        lib.inputs_made()
        first = self._time(1)
        for _ in range(_WARM - 1):
            lib.wait(self.step())
        count = 1
        while (seconds := self._time(count)) < SAMPLE_SECONDS / 4 and count < 1 << 16:
            count *= 2
        self.count = max(1, round(count * SAMPLE_SECONDS / max(seconds, 1e-9)))
        self.slow = seconds / count > _SLOW
        return {"count": self.count, "first": first, "memory": lib.peak_memory()}

    def sample(self, times: int) -> dict:
        """Seconds a step, ``times`` times; one more run before wakes the threads. Slow steps need neither."""
        if self.slow:
            return {"seconds": [self._time(1)]}
        self._time(1)
        return {"seconds": [self._time(self.count) / self.count for _ in range(times)]}

    def _time(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            out = self.step()
        self.lib.wait(out)
        return time.perf_counter() - start


def worker(name: str, device: str | None, keep_caches: bool) -> None:
    """Read a numbered command a line, answer with a line of JSON. ``end`` ends a case, the end of input the process.

    An answer carries the number of its command, but for the news that a process has ended."""
    warnings.simplefilter("ignore")  # some libraries warn of every copy of the process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not mix with the answers
    with _folder(keep_caches) as folder:
        if not FORKS:
            return _serve(Session(name, device, folder), None, out, once=False)
        try:
            for module in OPEN[name].modules:
                importlib.import_module(module)
        except Exception as error:
            _answer(out, None, _failure(error))
            return None
        while line := sys.stdin.readline():
            command = json.loads(line)
            number, what = command[:2]
            if what in ("sample", "end"):  # of a case whose process is gone already
                _answer(out, number, {"error": "there is no case"} if what == "sample" else {})
            else:
                _copy(name, device, folder, command, out)
    return None


@contextlib.contextmanager
def _folder(keep_caches: bool) -> Any:
    """A folder for what is built, away again at the end; None where the usual caches are to be used."""
    if keep_caches:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="clgrad-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(name: str, device: str | None, folder: Path | None, command: list, out: Any) -> None:
    """Serve a command, and what follows it until its end, in a copy of this process."""
    out.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            empty = folder and Path(tempfile.mkdtemp(dir=folder))
            try:
                session = Session(name, device, empty)
            except Exception as error:
                _answer(out, command[0], _failure(error))
            else:
                _serve(session, command, out, once=True)
            if empty is not None:
                shutil.rmtree(empty, ignore_errors=True)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        _answer(out, None, {"error": f"the process ended ({how})"})


def _serve(session: Session, command: list | None, out: Any, once: bool) -> None:
    """Answer ``command`` and those that come in; ``once``: until the case's end, or for what is not a case, once."""
    answers = {"about": session.about, "roofline": session.roofline, "case": session.case, "sample": session.sample,
               "end": dict}
    while True:
        if command is not None:
            number, name, *arguments = command
            try:
                answer = answers[name](*arguments)
            except Exception as error:
                answer = _failure(error)
            _answer(out, number, answer)
            if once and name not in ("case", "sample"):
                return
        line = sys.stdin.readline()
        if not line:
            return
        command = json.loads(line)


def _failure(error: Exception) -> dict:
    return {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"}


def _answer(out: Any, number: int | None, answer: dict) -> None:
    print(json.dumps([number, answer]), file=out, flush=True)


# The parent's side -------------------------------------------------------------------------------------------------


class Worker:
    """A library's process, as the parent sees it; ``label`` names it in the tables."""

    def __init__(self, name: str, device: str | None, label: str, keep_caches: bool = False) -> None:
        self.name, self.label = name, label
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        options = [*(["--device", device] if device else []), *(["--keep-caches"] if keep_caches else [])]
        self._process = subprocess.Popen([sys.executable, COMMAND, "--worker", name, *options], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         env={**os.environ, "PYTHONPATH": path})
        self._number = 0
        self.about = self.ask("about")

    def ask(self, *command: Any) -> dict:
        """The answer to a command; ``error`` in it where the library failed or its process ended."""
        self._number += 1
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps([self._number, *command]) + "\n")
            self._process.stdin.flush()
        while not self._process.stdout.closed and (line := self._process.stdout.readline()):
            number, answer = json.loads(line)
            if number in (None, self._number):
                return answer
        return {"error": "the process ended"}

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:  # a step that takes so long is not waited for
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
