"""The parent's side of a child process: ask, wait no longer than a limit, start anew after a death."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core.config import config

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """A candidate cost itself: ``state`` is wrong, refused, hang or crash."""

    def __init__(self, state: str, why: str) -> None:
        super().__init__(f"{state}: {why}")
        self.state = state
        self.why = why


class Child:
    """A process that answers requests, started at the first one and again after each death."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._process: subprocess.Popen | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._log: Any = None
        self.started = 0

    @property
    def alive(self) -> bool:
        """Whether there is a process that knows what was asked before."""
        return self._process is not None and self._process.poll() is None

    def _start(self) -> None:
        env = dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), env.get("PYTHONPATH"))))
        # Candidates are built once: no file is kept of them. A child looks nothing up and tunes nothing by itself.
        env |= {"CLGRAD_DEVICE": self._device, "CLGRAD_CACHE": "0", "CLGRAD_TUNE": "off", "CLGRAD_PROGRESS": "0",
                "CLGRAD_DEBUG": "0", "CLGRAD_CACHE_DIR": str(config.cache_dir), "CLGRAD_FORM": config.form}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen([sys.executable, "-m", "clgrad.tuning.child"], env=env, text=True,
                                         encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._log)
        self._answers = queue.Queue()
        threading.Thread(target=_pass_on, args=(self._process.stdout, self._answers), daemon=True).start()
        self.started += 1

    def ask(self, seconds: float, **request: Any) -> Any:
        """The answer to a request; Failed where it is an error, does not come in time, or the process dies."""
        if not self.alive:
            self.close()
            self._start()
        try:
            self._process.stdin.write(json.dumps({**request, "seconds": seconds}) + "\n")
            self._process.stdin.flush()
            text = self._answers.get(timeout=seconds)
        except queue.Empty:
            self.close()
            raise Failed("hang", f"no answer within {seconds:g} s") from None
        except OSError:
            text = ""
        if not text:
            raise Failed("crash", self._end())
        answer = json.loads(text)
        for state in ("wrong", "refused"):
            if state in answer:
                raise Failed(state, answer[state])
        return answer["value"]

    def _end(self) -> str:
        """How the process ended, with the last line it wrote."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        status = self._process.returncode
        self._log.seek(0)
        last = self._log.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
        self.close()
        return f"the process ended with status {status}" + "".join(f": {text[:200]}" for text in last)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):
                stream.close()
        self._process = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _pass_on(stream: Any, answers: queue.Queue[str]) -> None:
    """Lines of the child as they come, and an empty one at its end."""
    with suppress(ValueError, OSError):
        for line in stream:
            answers.put(line)
    answers.put("")
