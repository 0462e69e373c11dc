"""Fixtures for every test: child processes, and hypothesis without a deadline (a first launch builds kernels)."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile("clgrad", deadline=None, max_examples=50, derandomize=True, database=None)
hypothesis.settings.load_profile("clgrad")

Child = Callable[..., subprocess.CompletedProcess]


def child_environment(**environment: str | None) -> dict[str, str]:
    """This process's environment with the checkout importable; None takes a variable away."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
    for name, value in environment.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env


@pytest.fixture
def child() -> Child:
    """``child(code, **environment)`` runs Python code, or Python with a list of arguments, in a process of its own,
    which must end with ``status``."""
    def run(code: str | list[str], *, status: int | None = 0, timeout: float = 120, **environment: str | None):
        arguments = ["-c", textwrap.dedent(code)] if isinstance(code, str) else code
        done = subprocess.run([sys.executable, *arguments], env=child_environment(**environment), cwd=ROOT,
                              capture_output=True, text=True, timeout=timeout, check=False)
        if status is not None:
            assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def no_driver(tmp_path: Path) -> dict[str, str | None]:
    """Environment of a machine without any OpenCL driver."""
    folder = tmp_path / "no-vendors"
    folder.mkdir()
    return {"OCL_ICD_VENDORS": str(folder), "OCL_ICD_FILENAMES": "", "CLGRAD_DEVICE": None}
