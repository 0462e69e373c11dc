"""The command line: ``python -m clgrad [devices | doctor | tune | bench]``."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from .core.errors import ClgradError
from .families import subgroups
from .families.matmul import units
from .runtime import doctor
from .runtime.device import default_device, devices

_BENCH = Path(__file__).resolve().parents[1] / "tools" / "bench.py"


def _default() -> tuple[str | None, str]:
    """The default device's key, or None and why there is none."""
    try:
        return default_device().key, ""
    except ClgradError as error:
        return None, str(error)


def _notes(found: list[doctor.Finding]) -> dict[str, list[str]]:
    """By device that works: what multiplies float16 and bfloat16 there, and how the work-items of a row meet."""
    working = {f.key for f in found if f.verdict.ok}
    return {d.key: [f"matrix units: {units(d)}",
                    *([] if d.wide_core else [f"rows shared by work-items meet {subgroups.report(d)}"])]
            for d in devices() if d.key in working}


def _show(found: list[doctor.Finding], default: str | None, why: str) -> None:
    for text in (doctor.describe(found, default, _notes(found)), why, doctor.places()):
        if text:
            print(text)


def _devices() -> int:
    """List what this process sees, with remembered verdicts."""
    default, why = _default()
    _show(doctor.findings(), default, why)
    return 0 if default else 1


def _doctor(seconds: float) -> int:
    """Probe every driver anew, each in a child process, and remember the verdicts."""
    found, complaints = doctor.examine(seconds)
    for complaint in complaints:
        print(complaint)
    default, why = (None, "") if complaints else _default()
    _show(found, default, why)
    return 0 if default and all(f.verdict.ok for f in found) else 1


def _bench(arguments: list[str]) -> int:
    """Benchmarks live beside the package in a checkout, not in an installed one."""
    if not _BENCH.exists():
        print("benchmarks are part of the source tree: run tools/bench.py there", file=sys.stderr)
        return 1
    sys.argv = [str(_BENCH), *arguments]
    runpy.run_path(str(_BENCH), run_name="__main__")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and do what it says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m clgrad", description="OpenCL devices as clgrad sees them.")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("devices", help="list devices, facts, verdicts and caches (the default)")
    examine = commands.add_parser("doctor", help="probe every driver in a child process; remember the verdicts")
    examine.add_argument("--seconds", type=float, default=doctor.SECONDS, help="time limit of each probe")
    commands.add_parser("tune", help="find the fastest parameters of the kernels on a device; tune --help says more",
                        add_help=False)
    commands.add_parser("bench", help="run tools/bench.py of a checkout; further arguments go to it", add_help=False)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["tune"]:  # it has a command line of its own, with actions and options in any order
        from .tuning.cli import main as tune

        return tune(given[1:])
    options, rest = parser.parse_known_args(given)
    if options.command == "bench":
        return _bench(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return _doctor(options.seconds) if options.command == "doctor" else _devices()


if __name__ == "__main__":
    sys.exit(main())
