"""The files of the tuner: one JSON line a row, appended whole, so that neither a kill nor a second tuner harms them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..io.atomic import replacing
from ..runtime import tuned
from ..runtime.tuned import Row


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone on a file among those who change it. Where the system locks nothing, appending is safe by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "ab") as lock:
        try:
            _lock(lock)
        except OSError:
            pass
        yield


def _lock(file: Any) -> None:
    """Until the file is closed, by whatever end of the process."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        return
    fcntl.flock(file, fcntl.LOCK_EX)


def append(path: Path, lines: Sequence[str]) -> None:
    """Add lines in one write. A line that someone did not finish is ended first, so that it spoils itself alone."""
    if not lines:
        return
    with _locked(path), open(path, "a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
        guard = b"\n" if size and file.read(1) != b"\n" else b""
        data = guard + "".join(line + "\n" for line in lines).encode()
        if file.write(data) != len(data):
            raise OSError(f"{path}: written in part only; is the disk full?")


def add(rows: Iterable[Row], path: Path | None = None) -> None:
    """Append rows to a file (the user's) and let plans to come see them."""
    append(tuned.user_file() if path is None else path, [row.line() for row in rows])
    tuned.reload()


def latest(rows: Iterable[Row]) -> list[Row]:
    """The last row of each key, in the order of their first appearance."""
    found: dict[tuple, Row] = {}
    for row in rows:
        found[row.key] = row
    return list(found.values())


def compact(path: Path | None = None) -> tuple[int, int, int]:
    """Keep the last row of each key; move damaged lines to a file beside it, .damaged. Returns how many rows were kept
    and dropped, and how many lines moved. Tuners that append meanwhile wait."""
    path = tuned.user_file() if path is None else path
    with _locked(path):
        rows, corrupt = tuned.read(path)
        kept = latest(rows)
        if len(kept) < len(rows) or corrupt:
            append(path.with_name(path.name + ".damaged"), corrupt)
            with replacing(path) as file:
                file.write("".join(row.line() + "\n" for row in kept).encode())
    tuned.reload()
    return len(kept), len(rows) - len(kept), len(corrupt)


def export(target: Path, path: Path | None = None) -> int:
    """Write the last row of each key to a file, damaged lines left out; how many."""
    path = tuned.user_file() if path is None else path
    rows, corrupt = tuned.read(path)
    tuned.warn_of(path, corrupt)
    kept = latest(rows)
    with replacing(Path(target)) as file:
        file.write("".join(row.line() + "\n" for row in kept).encode())
    return len(kept)


def bring_in(source: Path, path: Path | None = None) -> tuple[int, int]:
    """Append the rows of a file that are not there yet, in one write; how many were, and how many lines were damaged.
    Where there is a row of the same key, the one measured later stays in force."""
    path = tuned.user_file() if path is None else path
    rows, corrupt = tuned.read(Path(source))
    if not rows and not corrupt and not Path(source).exists():
        raise FileNotFoundError(f"tune import: {source} is not there")
    have = {row.key: row for row in tuned.read(path)[0]}
    new = [row for row in latest(rows) if row.key not in have or row.when > have[row.key].when]
    add(new, path)
    return len(new), len(corrupt)


def diff(left: Path, right: Path) -> list[str]:
    """In words: rows of one file only, and rows whose parameters differ."""
    a, b = ({row.key: row for row in tuned.read(Path(p))[0]} for p in (left, right))
    lines = []
    for key in dict.fromkeys((*a, *b)):
        x, y = a.get(key), b.get(key)
        some = y if x is None else x
        name = f"{some.problem}, {some.place.device} ({some.place.platform} {some.place.driver}, {some.place.form})"
        if x is None or y is None:
            lines.append(f"{'>' if x is None else '<'} {name}: {tuned.describe(some.params)}, {some.rate:.4g}")
        elif x.params != y.params:
            lines.append(f"! {name}: {tuned.describe(x.params)}, {x.rate:.4g} | {tuned.describe(y.params)}, "
                         f"{y.rate:.4g}")
    return lines


def write_json_lines(path: Path, items: Iterable[Any]) -> None:
    """Write a whole file of JSON lines at once."""
    with replacing(path) as file:
        file.write("".join(json.dumps(item) + "\n" for item in items).encode())
