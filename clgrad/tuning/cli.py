"""``python -m clgrad tune``: tune, or look at what is known and share it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from ..core import dtypes
from ..core.errors import ClgradError
from ..runtime import tuned
from ..runtime.device import Device
from ..runtime.device import device as find_device
from ..runtime.tuned import Problem
from . import database, report
from .problems import TUNABLES, tunable
from .recorder import recorded
from .tunable import Tunable
from .tuner import Options, Result, Tuner

_LEAST_SECONDS = 4.0  # of searching one problem
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """A duration: 90, 90s, 10m, 1.5h."""
    match = re.fullmatch(r"([0-9.]+)([smh]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected seconds, or a number with s, m or h, as 60s or 10m")
    return float(match.group(1)) * _UNITS[match.group(2)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m clgrad tune", description="Find the fastest parameters of the kernels "
                                "on a device, check them, and keep them for every later run.")
    p.add_argument("--op", action="append", metavar="OP", help="what to tune, an op or its family: "
                   + ", ".join(t.family for t in TUNABLES) + "; file.py:NAME for a Tunable of your own. Repeatable")
    p.add_argument("--sizes", action="append", metavar="512x512x64", help="sizes to tune, with one --op. Repeatable")
    p.add_argument("--dtype", default=None, help="dtype of --sizes and --explain (float32)")
    p.add_argument("--layout", default=None, help="layout of --sizes and --explain (the family's first)")
    p.add_argument("--shapes", type=Path, metavar="FILE", help="tune what clgrad.tuning.record() wrote")
    p.add_argument("--budget", type=seconds, default=60.0, metavar="60s", help="time for everything (60s; s, m or h)")
    p.add_argument("--device", default=None, help="as everywhere: gpu, cpu, pocl:0, part of a name")
    p.add_argument("--resume", action="store_true", help="leave out what has a fresh row, go on with earlier trials")
    p.add_argument("--seed", type=int, default=0, help="of the search (0)")
    p.add_argument("--limit", type=seconds, default=20.0, help="time for one candidate to build or run (20s)")
    p.add_argument("--plot", type=Path, metavar="PNG",
                   help="draw what was searched, a picture a family (needs matplotlib)")
    p.add_argument("--status", action="store_true", help="fresh, stale and missing rows")
    p.add_argument("--explain", nargs=2, metavar=("FAMILY", "SIZES"), help="which row a problem gets, and why")
    p.add_argument("--ship", action="store_true", help="of a checkout: write the device's fresh rows into the package")
    actions = p.add_subparsers(dest="action", metavar="action")
    for name, files, text in (("export", ["file"], "write the user's rows to a file"),
                              ("import", ["file"], "add the rows of a file to the user's"),
                              ("diff", ["left", "right"], "what differs between two files of rows"),
                              ("compact", [], "drop rows that later ones replaced, move damaged lines aside")):
        action = actions.add_parser(name, help=text)
        for file in files:
            action.add_argument(file, type=Path)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    p = parser()
    options = p.parse_args(arguments)
    try:
        if options.action:
            return _files(options)
        device = find_device(options.device)
        if options.status:
            print(report.status(device))
            return 0
        if options.explain:
            family, sizes = options.explain
            print(report.explain(device, _problem(tunable(family), sizes, options)))
            return 0
        if options.ship:
            print(ship(device))
            return 0
        return _tune(device, options)
    except (ValueError, OSError, ClgradError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2


def _files(options: argparse.Namespace) -> int:
    if options.action == "export":
        print(f"{database.export(options.file)} rows written to {options.file}")
    elif options.action == "import":
        count, damaged = database.bring_in(options.file)
        print(f"{count} rows added to {tuned.user_file()}" + (f"; {damaged} damaged lines left out" if damaged else ""))
    elif options.action == "compact":
        kept, dropped, damaged = database.compact()
        print(f"{kept} rows kept, {dropped} that later ones replaced dropped, {damaged} damaged lines moved aside")
    else:
        for path in (options.left, options.right):
            if not path.exists():
                raise FileNotFoundError(f"tune diff: {path} is not there")
        lines = database.diff(options.left, options.right)
        print("\n".join(lines) if lines else "no difference")
        return int(bool(lines))
    return 0


def _problem(t: Tunable, sizes: str, options: argparse.Namespace) -> Problem:
    return t.problem(t.parse(sizes), options.dtype, options.layout)


def _problems(options: argparse.Namespace) -> list[tuple[str, Problem]]:
    """What to tune, and the name of its Tunable."""
    names = options.op or [t.family for t in TUNABLES]
    chosen = {tunable(name).family: name for name in names}
    if options.shapes is not None:
        return _recorded(options.shapes, chosen)
    if options.sizes:
        if len(names) != 1:
            raise ValueError("tune: --sizes says how large, --op must say what: give one --op")
        return [(names[0], _problem(tunable(names[0]), s, options)) for s in options.sizes]
    # the first of each family before the second of any, so that a short budget reaches all of them
    found = [(name, p) for turn in zip_longest(*([(name, p) for p in tunable(name).common] for name in names))
             for name, p in filter(None, turn)]
    dtype = dtypes.dtype(options.dtype).name if options.dtype else None
    return [(name, replace(p, dtype=dtype) if dtype else p) for name, p in found]


def _recorded(path: Path, chosen: dict[str, str]) -> list[tuple[str, Problem]]:
    """The problems of a file, of the chosen families, that the tuner can make; how many it cannot is said."""
    found = [p for p, _ in recorded(path) if p.family in chosen and all(p.sizes)]
    known = [p for p in found if tunable(chosen[p.family]).knows(p.layout)]
    if len(known) < len(found):
        kinds = sorted({f"{p.family} {p.layout}" for p in found} - {f"{p.family} {p.layout}" for p in known})
        print(f"left out: {', '.join(kinds)}, which the tuner has no reference for", file=sys.stderr)
    return [(chosen[p.family], p) for p in known]


def _tune(device: Device, options: argparse.Namespace) -> int:
    import time

    jobs = _buckets(_problems(options))
    if options.resume:
        place, rows = tuned.place_of(device), tuned.read(tuned.user_file())[0]
        have = {r.key for r in rows if r.place.exact == place.exact}
        jobs = [(name, p) for name, p in jobs if _key(name, p, place) not in have]
    if not jobs:
        print("nothing to tune: every problem has a fresh row" if options.resume else "nothing to tune")
        return 0
    progress, results = report.Progress(), []
    end = time.monotonic() + options.budget
    progress.count = len(jobs)
    with Tuner(device, Options(limit=options.limit, seed=options.seed, resume=options.resume), progress) as tuner:
        for i, (name, problem) in enumerate(jobs):
            left = end - time.monotonic()
            if left < _LEAST_SECONDS and results:
                print(f"the budget is spent: {len(jobs) - i} problems left; --resume goes on with them",
                      file=sys.stderr)
                break
            progress.number = i + 1
            results.append(tuner.tune(problem, name, max(_LEAST_SECONDS, left / (len(jobs) - i))))
            progress.clear()
            print(report.result_line(results[-1]), flush=True)
    print(report.summary(results))
    if options.plot is not None:
        _plot(results, options.plot)
    return 0 if any(r.row for r in results) else 1


def _key(name: str, p: Problem, place: tuned.Place) -> tuple:
    t = tunable(name)
    source = tuned.text_hash(t.source) if t.source else tuned.source_hash(t.family)
    return (tuned.SCHEMA, p.family, source, p.dtype, p.layout, p.bucket, *place.exact)


def _buckets(jobs: list[tuple[str, Problem]]) -> list[tuple[str, Problem]]:
    """The first problem of each bucket: the others would share its row."""
    return list({(p.family, p.dtype, p.layout, p.bucket): (name, p) for name, p in reversed(jobs)}.values())[::-1]


def _plot(results: Sequence[Result], path: Path) -> None:
    from .plot import plot

    print(f"drawn: {', '.join(map(str, plot(results, path)))}")


def ship(device: Device) -> str:
    """Write the user's fresh rows of a device into the package, where they serve everyone who has that device, and
    those of its class. Rows that the package had for it and that are still fresh stay."""
    place = tuned.place_of(device)
    rows = [*(r for r in tuned.shipped_rows() if r.place.exact == place.exact), *tuned.read(tuned.user_file())[0]]
    hashes = {t.family: tuned.source_hash(t.family) for t in TUNABLES}
    fresh = [r for r in database.latest(rows)
             if r.place.exact == place.exact and r.source == hashes.get(r.problem.family)]
    name = re.sub(r"[^a-z0-9]+", "-", f"{place.platform} {place.device} {place.form}".lower()).strip("-")
    path = tuned.SHIPPED / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with database.replacing(path) as file:
        file.write("".join(r.line() + "\n" for r in sorted(fresh, key=lambda r: str(r.problem))).encode())
    tuned.reload()
    return f"{len(fresh)} rows in {path.name}"
