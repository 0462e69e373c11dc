"""Time cases in clgrad, NumPy and, where installed, PyTorch, JAX and tinygrad: in turns, median, quartiles, ratio.

Each library runs in a process of its own, so that their thread pools do not meet, and the processes take turns: what
slows the machine for a while slows all of them. A line a case goes to stderr as a run proceeds; the table comes at its
end, with what its columns mean.

    python tools/bench.py --only matmul                          cases by parts of their names, or by a whole name
    python tools/bench.py --list                                 the cases
    python tools/bench.py --roofline                             also beside what the device can do at most
    python tools/bench.py --json new.json --compare old.json     beside an earlier run
    python tools/bench.py --json run.json --resume --limit 60    in parts: call it until nothing is left
    python tools/bench.py --json run.json --refresh --only conv  take some of its rows anew
    python tools/bench.py --growth alone --plot growth.png       time of a unit of work as sizes grow

All that docs/benchmarks.md holds, in parts of a minute; to be called until nothing is left:

    python tools/bench.py --roofline --growth --json docs/benchmarks.json --resume --limit 60 \\
        --plot docs/benchmarks.png --markdown docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import document, growth, machine, plot, report, roofline
from benchmarks.case import Case
from benchmarks.catalogue import CASES
from benchmarks.libraries import LIBRARIES, installed
from benchmarks.results import Run, measure
from benchmarks.workers import Worker, worker


class Refused(Exception):
    """What is said instead of a run."""


def _arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains one of these, comma-separated")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and do nothing")
    parser.add_argument("--library", action="append", choices=LIBRARIES, help="libraries (default: those installed)")
    parser.add_argument("--device", action="append",
                        help="clgrad's device, as CLGRAD_DEVICE; more than once for several, ratios are to the first")
    parser.add_argument("--rounds", type=int, default=5, help="turns a library gets in each case")
    parser.add_argument("--times", type=int, default=3, help="samples taken in a turn")
    parser.add_argument("--keep-caches", action="store_true",
                        help="let clgrad find kernels built by earlier processes: quicker, but first calls mean little")
    parser.add_argument("--roofline", nargs="?", const="also", choices=("also", "alone"),
                        help="find the FMA peak and copy bandwidth of clgrad's devices, and set each row beside them; "
                             "alone: without any case")
    parser.add_argument("--growth", nargs="?", const="also", choices=("also", "alone"),
                        help="time of a unit of work as matrices, batches and sequences grow; alone: without the rest")
    parser.add_argument("--json", type=Path, help="file to keep the figures in, written after each case")
    parser.add_argument("--resume", action="store_true", help="keep what is in the --json file and measure what is not")
    parser.add_argument("--refresh", action="store_true", help="keep what is in it, but measure the chosen cases anew")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="begin no further case after so long")
    parser.add_argument("--compare", type=Path, help="file of an older run to set beside this one")
    parser.add_argument("--plot", type=Path, metavar="PNG",
                        help="picture of the ratios; that of growth has -growth at the end of its name")
    parser.add_argument("--markdown", type=Path, metavar="MD",
                        help="write machine, versions, roofline, tables and growth to a page; remarks between "
                             "<!-- notes: ... --> and <!-- /notes --> in it stay")
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if (options.resume or options.refresh) and not options.json:
        parser.error("--resume and --refresh are about a file: name it with --json")
    if options.rounds < 1 or options.times < 1:
        parser.error("--rounds and --times are numbers from 1")
    return options


def chosen(only: str, cases: Sequence[Case] = CASES) -> list[Case]:
    """The cases of which a part of ``only`` is the name, or else of whose name it is a part."""
    names = [c.name.lower() for c in cases]
    found: set[int] = set()
    for wanted in (p.strip() for p in only.lower().split(",")):
        hits = {i for i, n in enumerate(names) if n == wanted} or {i for i, n in enumerate(names) if wanted in n}
        if not hits:
            raise Refused(f"no case has {wanted!r} in its name; --list shows them")
        found |= hits
    return [cases[i] for i in sorted(found)]


def _all(options: argparse.Namespace) -> list[Case]:
    """The cases that the options are about, --only aside."""
    alone = "alone" in (options.roofline, options.growth)
    return [*([] if alone else CASES), *(growth.CASES if options.growth else [])]


def _earlier(options: argparse.Namespace) -> Run:
    """The run that this one goes on with."""
    if (options.resume or options.refresh) and options.json.exists():
        return Run.read(options.json)
    return Run()


def _open(options: argparse.Namespace) -> list[Worker]:
    """The libraries' processes; one that cannot start is said and left out."""
    devices = options.device or [None]
    wanted = [(n, d, f"{n} {d}" if len(devices) > 1 else n) for n in options.library or installed()
              for d in (devices if n == "clgrad" else [None])]
    started = []
    for name, device, label in wanted:
        w = Worker(name, device, label, options.keep_caches)
        if "error" in w.about:
            print(f"{label} does not start: {w.about['error']}", file=sys.stderr)
            w.close()
        else:
            started.append(w)
    if not started:
        raise Refused("no library starts")
    return started


def _find_roofline(run: Run, workers: list[Worker]) -> None:
    """Measure clgrad's devices; of what a resumed run knows already the better counts, as others may have been busy."""
    ours = [w for w in workers if w.name == "clgrad"]
    if not ours:
        raise Refused("the roofline is found with clgrad, which is not among the libraries")
    for w in ours:
        found = w.ask("roofline")
        if "error" in found:
            raise Refused(f"no roofline of {w.about['device']}: {found['error']}")
        run.roofline[w.label] = roofline.better(run.roofline.get(w.label, {}), found)
        print(f"roofline of {w.about['device']}: {roofline.summary(found)}", file=sys.stderr, flush=True)


def _measure(options: argparse.Namespace, cases: list[Case], run: Run, workers: list[Worker]) -> int:
    """Take the rows that are asked for; how many cases are left when the time is up."""
    end = time.monotonic() + (options.limit or float("inf"))
    left = [c for c in cases if options.refresh or not run.done(c, workers)]
    while left and time.monotonic() < end:
        rows = measure(left.pop(0), workers, options.rounds, options.times)
        if not rows:
            continue
        run.add(rows)
        print(report.line(run, rows), file=sys.stderr, flush=True)
        if options.json:
            run.write(options.json)
    return len(left)


def _tell(options: argparse.Namespace, cases: list[Case], run: Run, busy: str) -> None:
    """What there is to say on stdout."""
    for label, what in run.about.items():
        print(f"{label} {what['version']} on {what['device']}  ")
    for label, found in run.roofline.items():
        print(f"roofline of {label}: {roofline.summary(found)}  ")
    print(f"{run.machine['processor']}, {run.machine['cores']} cores; {options.rounds * options.times} samples each"
          + (f"; {busy}" if busy else ""))
    rows = run.ordered(c for c in cases if c not in growth.CASES)
    if rows:
        old = Run.read(options.compare).rows if options.compare else None
        print("\n" + report.legend(bool(run.roofline), options.keep_caches) + "\n")
        print("\n".join(report.table(run, rows, old)))
    if options.growth:
        for series in growth.SERIES:
            if series.labels(run):
                print(f"\n{series.name}\n\n" + "\n".join(growth.table(series, run)))


def _run(options: argparse.Namespace) -> None:
    every = _all(options)
    cases = chosen(options.only, every) if every else []
    if options.plot:
        plot.require()  # before the work rather than behind it
    run, busy = _earlier(options), machine.busy()
    workers = _open(options)
    try:
        about, facts = {w.label: w.about for w in workers}, machine.facts()
        if told := run.differences(facts, about):
            raise Refused(f"the rows of {options.json} were taken elsewhere: {'; '.join(told)}. Name another file.")
        run.machine, run.about = facts, {**run.about, **about}
        if options.roofline:
            _find_roofline(run, workers)
            if options.json:
                run.write(options.json)
        left = _measure(options, cases, run, workers)
    finally:
        for w in workers:
            w.close()
    _tell(options, cases, run, busy)
    pictures = plot.draw(run, options.plot) if options.plot else []
    if options.markdown:
        document.write(options.markdown, run, pictures, busy)
    if left:
        print(f"{left} cases are left; run it again with --resume", file=sys.stderr)


def main(given: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    options = _arguments(given)
    if options.worker:
        worker(options.worker, options.device[0] if options.device else None, options.keep_caches)
        return 0
    if options.list:
        print("\n".join(c.name for c in (*CASES, *(growth.CASES if options.growth else []))))
        return 0
    try:
        _run(options)
    except (Refused, ValueError, OSError, ImportError) as refused:
        print(f"bench: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: stopped" + (f"; --resume goes on with {options.json}" if options.json else ""), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
