"""Looking at drivers from outside: each one is listed and probed in a child process with a time limit.

A driver that crashes or hangs then costs one child, and its verdict is remembered, so that no later process chooses it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.config import config
from . import drivers
from .device import Device, Verdict, devices, verdict_path, write_json

SECONDS = 60.0  # a first build may take long; a driver that needs more is of no use
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_MARK = "clgrad-doctor:"  # drivers print to stdout too


@dataclass(frozen=True)
class Finding:
    """What is known of one device: its names, its fingerprint, facts as a dict, and the verdict."""

    key: str
    name: str
    platform: str
    type: str
    driver_version: str
    fingerprint: str
    facts: dict[str, Any]
    verdict: Verdict


def finding(device: Device, verdict: Verdict) -> Finding:
    """The record of one device of this process."""
    return Finding(device.key, device.name, f"{device.platform_name}, {device.version}", device.type,
                   device.driver_version, device.fingerprint, asdict(device.facts), verdict)


def findings() -> list[Finding]:
    """Every device as this process sees it, with its remembered verdict (or a new one)."""
    return [finding(d, d.verdict()) for d in devices()]


def examine(seconds: float = SECONDS) -> tuple[list[Finding], list[str]]:
    """Every device, probed anew in a child process each; and complaints about drivers that cannot even be listed."""
    listed, problem = _ask("list", seconds)
    if problem is not None:
        return [], [f"listing the drivers failed: {problem}", *_suspects(seconds)]
    result = []
    for data in listed:
        answer, problem = _ask(f"probe {data['key']}", seconds)
        verdict = Verdict(**answer) if problem is None else Verdict(False, problem)
        if problem is not None:
            write_json(verdict_path(data["fingerprint"]), asdict(verdict))
        result.append(Finding(**data | {"verdict": verdict}))
    return result, []


def _ask(question: str, seconds: float, **environment: str) -> tuple[Any, str | None]:
    """The answer of a child process, or what became of it."""
    env = os.environ | {"CLGRAD_DEBUG": "0"} | environment
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), env.get("PYTHONPATH"))))
    command = [sys.executable, "-c", "from clgrad.runtime import doctor; doctor.answer()", *question.split(" ", 1)]
    try:
        child = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=seconds,
                               check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {seconds:g} s"
    line = next((s for s in child.stdout.splitlines() if s.startswith(_MARK)), None)
    if line is None:
        last = child.stderr.strip().splitlines()[-1:] or [""]
        return None, f"the process ended with status {child.returncode} {last[0]}".strip()
    return json.loads(line.removeprefix(_MARK)), None


def answer() -> None:
    """The child's side: print what the command line asks for as JSON."""
    if sys.argv[1] == "list":
        data: Any = [asdict(finding(d, Verdict(False, "not probed"))) for d in devices()]
    else:
        target = next(d for d in devices() if d.key == sys.argv[2])
        data = asdict(target.verdict(refresh=True))
    print("\n" + _MARK + json.dumps(data), flush=True)


def _suspects(seconds: float) -> list[str]:
    """Where listing all drivers failed, on Linux: each .icd file by itself, to name the one at fault."""
    folder = Path(os.environ.get("OCL_ICD_VENDORS") or "/etc/OpenCL/vendors")
    found = []
    for icd in sorted(folder.glob("*.icd")) if folder.is_dir() else ():
        with tempfile.TemporaryDirectory() as alone:
            (Path(alone) / icd.name).write_text(icd.read_text())
            _, problem = _ask("list", seconds, OCL_ICD_VENDORS=alone)
        if problem is not None:
            found.append(f"{icd}: {problem}; move this file away to use the other drivers")
    return found


def describe(found: list[Finding], default: str | None, notes: Mapping[str, Sequence[str]] | None = None) -> str:
    """The findings as text for people; ``notes`` adds lines to devices by key."""
    lines = []
    for f in found:
        mark = "*" if f.key == default else " "
        lines.append(f"{mark} {f.key:<12} {f.name}")
        lines.append(f"    {f.type}, {f.platform}, driver {f.driver_version}")
        lines.append(f"    {_facts_line(f.facts)}")
        lines.append("    works: a trivial kernel gave the right numbers" if f.verdict.ok
                     else f"    BROKEN: {f.verdict.reason}")
        lines += [f"    {note}" for note in (notes or {}).get(f.key, ())]
    if default is not None:
        lines.append(f"default (*): {default}; choose with CLGRAD_DEVICE or clgrad.set_default_device()")
    return "\n".join(lines)


def _facts_line(facts: dict[str, Any]) -> str:
    form = "wide-core" if facts["wide_core"] else "many-core"
    has = ", ".join(name for name in ("fp64", "fp16", "unified_memory") if facts[name]).replace("_", " ")
    return (f"{facts['compute_units']} units at {facts['max_clock']} MHz, {size(facts['global_mem'])} "
            f"({size(facts['max_alloc'])} an array), {size(facts['local_mem_size'])} local, "
            f"work-groups to {facts['max_work_group_size']}, {form}{', ' + has if has else ''}")


def size(nbytes: int) -> str:
    """Bytes for people: 5.2 GiB."""
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


def places() -> str:
    """Cache folders with what they hold, and what hinders the pip-installed driver."""
    lines = [f"cache: {config.cache_dir} (CLGRAD_CACHE_DIR)"]
    for name in ("kernels", "verdicts", "vendors"):
        files = [p for p in (config.cache_dir / name).rglob("*") if p.is_file()]
        lines.append(f"    {name}: {len(files)} files, {size(sum(p.stat().st_size for p in files))}")
    library, problem = drivers.pip_driver()
    if library is not None:
        lines.append(f"pip-installed driver: {library}")
    for text in filter(None, dict.fromkeys((problem, drivers.prepare()))):
        lines.append(f"pip-installed driver: {text}")
    return "\n".join(lines)
