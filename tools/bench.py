"""Time cases in clgrad, NumPy and, where installed, PyTorch and JAX: in turns, median, quartiles, ratio.

Each library runs in a process of its own, so that their thread pools do not meet, and the processes take turns: what
slows the machine for a while slows all of them. A time is that of one step, from many in a row and one
synchronisation at the end. A ratio is the library's median over clgrad's: above 1, clgrad is faster. Where bytes are
the work, they are those that must be moved at least (each operand read once, the result written once), and stand
beside the rate at which clgrad copies 16 M floats in the same run ("copy 16 M" has to be among the cases). With
``--roofline`` every row stands beside what the device can do at most: FLOP beside the peak of its multiply-adds (that
of float64 for float64, else that of float32), bytes beside the best copy.

    python tools/bench.py --only matmul --json new.json --compare old.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import roofline
from benchmarks.catalogue import CASES
from benchmarks.libraries import LIBRARIES, installed
from benchmarks.results import Row, measure, table
from benchmarks.workers import Worker, worker


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains one of these, comma-separated")
    parser.add_argument("--library", action="append", choices=LIBRARIES, help="libraries (default: those installed)")
    parser.add_argument("--device", help="clgrad's device, as CLGRAD_DEVICE")
    parser.add_argument("--rounds", type=int, default=5, help="turns a library gets in each case")
    parser.add_argument("--times", type=int, default=3, help="samples taken in a turn")
    parser.add_argument("--roofline", nargs="?", const="also", choices=("also", "alone"),
                        help="find the FMA peak and copy bandwidth of clgrad's device, and set each row beside them; "
                             "alone: without any case")
    parser.add_argument("--json", type=Path, help="file to keep the figures in")
    parser.add_argument("--compare", type=Path, help="file of an older run to set beside this one")
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _read(path: Path) -> dict[tuple[str, str], Row]:
    rows = [Row(**r) for r in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    return {(r.case, r.library): r for r in rows}


def _chosen(only: str) -> list[int]:
    """The cases of which a part of ``only`` is the name, or else of whose name it is a part."""
    names = [c.name.lower() for c in CASES]
    found: set[int] = set()
    for part in only.lower().split(","):
        exact = {i for i, n in enumerate(names) if n == part}
        found |= exact or {i for i, n in enumerate(names) if part in n}
    return sorted(found)


def _open(names: list[str], device: str | None) -> list[Worker]:
    """The libraries' processes; one that cannot start is said and left out."""
    started = []
    for name in names:
        w = Worker(name, device)
        if "error" in w.about:
            print(f"{name} does not start", file=sys.stderr)
        else:
            started.append(w)
    return started


def _load() -> str:
    """A remark where others are using the CPUs: libraries that spin at barriers then lose most."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"; the machine was busy (load {busy:.1f}): figures of CPU libraries mean little" if busy > 0.3 else ""


def main() -> int:
    """Run what the command line asks for; the exit status."""
    options = _arguments()
    if options.worker:
        worker(options.worker, options.device)
        return 0
    names = options.library or installed()
    old = _read(options.compare) if options.compare else None
    chosen = [] if options.roofline == "alone" else _chosen(options.only)
    if not chosen and options.roofline != "alone":
        print("no such case; there are: " + "; ".join(c.name for c in CASES), file=sys.stderr)
        return 2
    load = _load()
    workers = _open(names, options.device)
    try:
        rows, most = [], None
        if options.roofline:
            ours = [w for w in workers if w.name == "clgrad"]
            most = ours[0].ask("roofline") if ours else {"error": "clgrad is not among the libraries"}
            if "error" in most:
                print(f"no roofline: {most['error']}", file=sys.stderr)
                return 1
            print(f"roofline: {roofline.summary(most)}", flush=True)
        for i in chosen:
            print(f"{CASES[i].name} ...", file=sys.stderr, flush=True)
            rows += measure(i, workers, options.rounds, options.times)
        about = {w.name: w.about for w in workers}
    finally:
        for w in workers:
            w.close()
    for name, what in about.items():
        print(f"{name} {what['version']} on {what['device']}  ")
    print(f"\n{os.cpu_count()} CPUs; {options.rounds * options.times} samples each{load}")
    if chosen:
        print("\n" + "\n".join(table(rows, old, most)))
    if options.json:
        kept = {"about": about, "roofline": most, "rows": [asdict(r) for r in rows]}
        options.json.write_text(json.dumps(kept), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
