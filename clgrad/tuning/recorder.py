"""Which problems a program meets: written down for the tuner, or tuned on the spot under CLGRAD_TUNE=auto."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..families import plans
from ..runtime import tuned
from ..runtime.tuned import Problem


@contextmanager
def record(path: str | os.PathLike) -> Iterator[Counter]:
    """Write the problems met within the block to a file, one JSON line each with the number of calls, also when an
    error ends it. A file that exists is added to. ``python -m clgrad tune --shapes FILE`` tunes them, the most frequent
    first.

    Plans made before are forgotten, so that their problems are seen; calls in other threads count too.
    """
    met: Counter = Counter()
    asked = threading.local()
    owners: dict[tuple[int, Any], tuple[Problem, ...]] = {}

    def listen(problem: Problem) -> None:
        asked.problems = (*getattr(asked, "problems", ()), problem)
        met[problem] += 0

    def get(plan_cache: plans.Plans, key: Any, default: Any = None) -> Any:
        plan = dict.get(plan_cache, key, default)
        if plan is not default:
            met.update(owners.get((id(plan_cache), key), ()))
        return plan

    def put(plan_cache: plans.Plans, key: Any, plan: Any) -> Any:
        # a plan of several launches may ask for one problem more than once
        problems, asked.problems = tuple(dict.fromkeys(getattr(asked, "problems", ()))), ()
        owners[id(plan_cache), key] = problems
        met.update(problems)
        return kept(plan_cache, key, plan)

    kept = plans.Plans.put
    plans.forget()
    tuned.listeners.append(listen)
    plans.Plans.get, plans.Plans.put = get, put
    try:
        yield met
    finally:
        tuned.listeners.remove(listen)
        plans.Plans.put = kept
        del plans.Plans.get
        _write(Path(path), met)


def _write(path: Path, met: Counter) -> None:
    from .database import write_json_lines

    total = Counter(dict(recorded(path))) if path.exists() else Counter()
    total.update(met)
    write_json_lines(path, ({"family": p.family, "dtype": p.dtype, "layout": p.layout, "sizes": list(p.sizes),
                             "count": count} for p, count in total.most_common()))


def recorded(path: str | os.PathLike) -> list[tuple[Problem, int]]:
    """The problems of a file that :func:`record` wrote, and how often each was met, most frequent first."""
    found: Counter = Counter()
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                data = json.loads(line)
                problem = Problem(data["family"], data["dtype"], data["layout"], tuple(map(int, data["sizes"])))
                found[problem] += int(data["count"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"tune: line {number} of {path} is no recorded problem: {error!r}") from None
    return found.most_common()
