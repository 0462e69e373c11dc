"""Tuned parameters: which rows of the database exist, and which of them a plan gets.

A row says what parameters of a kernel family were fastest for one problem on one device. It is found again by what it
depends on: the kernel's source, dtype, layout, sizes (rounded to powers of two) and the device with its driver. Look-up
goes from the most to the least specific level and takes a whole row: ``user`` and ``shipped`` rows of exactly this
device, then rows of the same ``vendor`` and class, then of the same ``class``, then the kernel's own default.

Families ask when they build a plan, and plans are kept, so a call that has a plan looks nothing up. The files are read
at the first question, once.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..core.config import config

if TYPE_CHECKING:
    from .device import Device, Facts

SCHEMA = 1
LEVELS = ("user", "shipped", "vendor", "class", "default")
SHIPPED = Path(kernels.__file__).parent / "tuned"

Params = dict[str, Any]  # whole numbers mostly, and thresholds


def bucket(n: int) -> int:
    """The power of two nearest to a size (by ratio); 0 stays 0."""
    return 1 << round(math.log2(n)) if n > 0 else 0


@dataclass(frozen=True)
class Problem:
    """What a family is asked to do: dtype, layout and sizes, whose meaning is the family's own."""

    family: str
    dtype: str
    layout: str
    sizes: tuple[int, ...]

    @property
    def bucket(self) -> tuple[int, ...]:
        """The sizes that share a row with these."""
        return tuple(map(bucket, self.sizes))

    def __str__(self) -> str:
        return f"{self.family} {self.dtype} {self.layout} {'x'.join(map(str, self.sizes))}"


@dataclass(frozen=True)
class Place:
    """A device as rows know it. ``vector`` is its native width in floats: cores of another width are another class."""

    platform: str
    device: str
    driver: str
    vendor: str
    type: str
    form: str
    vector: int
    units: int

    @property
    def exact(self) -> tuple:
        return self.platform, self.device, self.driver, self.form

    @property
    def kind(self) -> tuple:
        """Its class: what devices must share for one's parameters to be worth trying on the other."""
        return self.type, self.form, self.vector


@dataclass(frozen=True)
class Row:
    """One result. ``params`` is None where the family's own choice stayed the fastest; ``rate`` is in GFLOP/s or GB/s,
    ``speedup`` over the default, ``spread`` that ratio's uncertainty."""

    source: str
    problem: Problem
    place: Place
    params: Params | None
    rate: float
    speedup: float
    spread: float
    when: str
    schema: int = SCHEMA

    @property
    def key(self) -> tuple:
        """Rows of one key replace each other."""
        p = self.problem
        return (self.schema, p.family, self.source, p.dtype, p.layout, p.bucket, *self.place.exact)

    def line(self) -> str:
        """The row as one line of JSON, with a digest that shows damage."""
        p = self.problem
        data = {"schema": self.schema, "family": p.family, "source": self.source, "dtype": p.dtype, "layout": p.layout,
                "sizes": list(p.sizes), **asdict(self.place), "params": self.params, "rate": round(self.rate, 3),
                "speedup": round(self.speedup, 4), "spread": round(self.spread, 4), "when": self.when}
        return _json(data | {"sum": _digest(data)})


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=False)


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(_json(data).encode()).hexdigest()[:8]


_PLACE = {f.name: int if f.type == "int" else str for f in fields(Place)}
_ROW = {"schema": int, "family": str, "source": str, "dtype": str, "layout": str, "sizes": list, "rate": (int, float),
        "speedup": (int, float), "spread": (int, float), "when": str, **_PLACE}


def parse(line: str) -> Row:
    """The row of a line; ValueError where it is damaged."""
    data = json.loads(line)
    if not isinstance(data, dict) or data.pop("sum", None) != _digest(data):
        raise ValueError("the digest does not fit")
    if any(not isinstance(data.get(name), kind) for name, kind in _ROW.items()):
        raise ValueError("a field is missing or of another type")
    params = data["params"]
    if params is not None and not all(isinstance(v, (int, float)) for v in params.values()):
        raise ValueError("params are numbers")
    problem = Problem(data["family"], data["dtype"], data["layout"], tuple(map(int, data["sizes"])))
    return Row(data["source"], problem, Place(**{name: data[name] for name in _PLACE}), params, data["rate"],
               data["speedup"], data["spread"], data["when"], data["schema"])


def read(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of a file in order, and the lines that are none. A file that is not there holds neither."""
    rows, corrupt = [], []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return [], []
    for line in lines:
        try:
            if line.strip():
                rows.append(parse(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            corrupt.append(line)
    return rows, corrupt


def user_file() -> Path:
    """Where a user's rows are kept."""
    return config.cache_dir / "tuning" / "rows.jsonl"


def warn_of(path: Path, corrupt: Sequence[str]) -> None:
    """Say that a file holds damaged lines."""
    if corrupt:
        warnings.warn(f"tuning: {len(corrupt)} damaged line{'s' * (len(corrupt) > 1)} in {path} left out; "
                      "python -m clgrad tune compact moves them aside", stacklevel=3)


@lru_cache(None)
def source_hash(family: str) -> str:
    """Hash of a template's text without its comments: rows of another text are stale."""
    return text_hash(kernels.template(family).source)


def text_hash(text: str) -> str:
    """Hash of a kernel's text; comments that have a line of their own, and spaces, do not count."""
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.split("\n"))
    kept = [line for line in lines if line and not line.startswith(("##", "//", "# "))]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:12]


@lru_cache(None)
def _takes_itemsize(family: str) -> bool:
    return len(inspect.signature(kernels.template(family).module.valid).parameters) > 2


def fits(family: str, params: Params, facts: Facts, itemsize: int) -> bool:
    """Whether a family's parameters can run on a device with these facts; ``itemsize`` is the accumulator's."""
    module = kernels.template(family).module
    return bool(module.valid(params, facts, itemsize) if _takes_itemsize(family) else module.valid(params, facts))


_ACCUMULATOR = {"float64": 8, "int64": 8, "uint64": 8, "complex64": 8, "complex128": 16}


def accumulator_size(dtype: str) -> int:
    """Bytes of what a dtype is summed in."""
    return _ACCUMULATOR.get(dtype, 4)


def place_of(device: Device) -> Place:
    """The device as rows know it."""
    d = device._cl
    vector = int(getattr(d, "native_vector_width_float", 0) or 0)
    return Place(device.platform_name, device.name, f"{device.driver_version} ({device.version})", device.vendor,
                 device.type, "wide" if device.wide_core else "many", vector, device.facts.compute_units)


@dataclass(frozen=True)
class Choice:
    """What a look-up found: the level, and the row, which is None at level ``default``."""

    level: str
    row: Row | None


DEFAULT = Choice("default", None)


class Database:
    """All rows of the user's file and of the package, by what they answer."""

    def __init__(self, user: Iterable[Row] = (), shipped: Iterable[Row] = ()) -> None:
        self._found: dict[tuple, list[tuple[str, Row]]] = {}
        for origin, rows in (("shipped", shipped), ("user", user)):
            for row in rows:
                if row.schema == SCHEMA:
                    self._found.setdefault(self._key(row.source, row.problem, row.place.form), []).append((origin, row))

    @staticmethod
    def _key(source: str, p: Problem, form: str) -> tuple:
        return p.family, source, form, p.dtype, p.layout, p.bucket

    @classmethod
    def load(cls) -> Database:
        """From the files, with a warning where the user's is damaged."""
        rows, corrupt = read(user_file())
        warn_of(user_file(), corrupt)
        return cls(rows, shipped_rows())

    def candidates(self, problem: Problem, place: Place, source: str) -> list[Choice]:
        """Every row that could serve, best first."""
        found = enumerate(self._found.get(self._key(source, problem, place.form), ()))
        ranked = [(self._rank(origin, row, place), -number, row) for number, (origin, row) in found]
        ranked = sorted((r for r in ranked if r[0] is not None), key=lambda r: r[:2])
        return [Choice(LEVELS[rank[0]], row) for rank, _, row in ranked]

    @staticmethod
    def _rank(origin: str, row: Row, place: Place) -> tuple | None:
        """Level first; at one level the same device under another driver, then the user's, then the nearest in size."""
        p = row.place
        if p.exact == place.exact:
            return (LEVELS.index(origin), 0, 0, 0.0)
        if p.kind != place.kind:
            return None
        level = "vendor" if p.vendor == place.vendor else "class"
        return (LEVELS.index(level), (p.platform, p.device) != (place.platform, place.device), origin != "user",
                abs(math.log2(max(p.units, 1) / max(place.units, 1))))

    def find(self, problem: Problem, place: Place, source: str, accepts: Callable[[Params], bool]) -> Choice:
        """The best row whose parameters the device accepts."""
        for choice in self.candidates(problem, place, source):
            if choice.row.params is None or accepts(choice.row.params):
                return choice
        return DEFAULT


@lru_cache(1)
def shipped_rows() -> tuple[Row, ...]:
    """The rows that come with the package."""
    return tuple(row for path in sorted(SHIPPED.glob("*.jsonl")) for row in read(path)[0])


_lock = threading.RLock()
_database: Database | None = None
_choices: dict[tuple, Choice] = {}  # by device and the fields of a Problem
_places: dict[Any, Place] = {}
_forced: dict[Any, dict[str, Params | None]] = {}
listeners: list[Callable[[Problem], None]] = []  # told of every problem that is planned
when_missing: Callable[[Any, Problem], None] | None = None  # tunes a problem, under CLGRAD_TUNE=auto


def params(device: Device, family: str, dtype: str, layout: str, sizes: tuple[int, ...], default: Params | None,
           source: str | None = None) -> Params | None:
    """The parameters that a plan should use: a whole row, or ``default`` (None where the family chooses by itself).
    ``source`` is the kernel's text, for a family whose kernel is none of the package's templates."""
    choice = None if listeners or _forced else _choices.get((device, family, dtype, layout, sizes))
    if choice is None:
        problem = Problem(family, dtype, layout, sizes)
        for listener in listeners:
            listener(problem)
        if device in _forced:
            found = _forced[device].get(family)
            return default if found is None else dict(found)
        choice = DEFAULT if config.tune == "off" else look_up(device, problem, source)
    found = None if choice.row is None or config.tune == "off" else choice.row.params
    return default if found is None else dict(found)


def look_up(device: Device, problem: Problem, source: str | None = None) -> Choice:
    """The row for a problem on a device; under CLGRAD_TUNE=auto it is tuned first where no row is of this device."""
    key = (device, problem.family, problem.dtype, problem.layout, problem.sizes)
    choice = _choices.get(key)
    if choice is not None:
        return choice
    with _lock:
        choice = _find(device, problem, source)
        if config.tune == "auto" and when_missing is not None and choice.level not in ("user", "shipped"):
            when_missing(device, problem)
            choice = _find(device, problem, source)
        if len(_choices) > 65536:
            _choices.clear()
        _choices[key] = choice
    if config.debug >= 3:
        text = "" if choice.row is None else f" {describe(choice.row.params)}"
        print(f"clgrad: {device} {problem}: parameters of level {choice.level}{text}", file=sys.stderr)
    return choice


def _find(device: Device, problem: Problem, source: str | None) -> Choice:
    global _database
    if _database is None:
        _database = Database.load()
    place = _places.get(device)
    if place is None:
        place = _places[device] = place_of(device)
    if source is not None:
        return _database.find(problem, place, text_hash(source), lambda p: True)
    size = accumulator_size(problem.dtype)
    return _database.find(problem, place, source_hash(problem.family),
                          lambda p: fits(problem.family, p, device.facts, size))


def describe(values: Params | None) -> str:
    """Parameters for people."""
    return "the family's own choice" if values is None else " ".join(f"{k}={v}" for k, v in values.items())


def force(device: Device, chosen: dict[str, Params | None]) -> None:
    """Let plans of this Device take these parameters by family, and the defaults of all others."""
    _forced[device] = chosen


def reload() -> None:
    """Forget what was read: the next plan sees the files as they are then. Plans made so far stay."""
    global _database
    with _lock:
        _database = None
        _choices.clear()
        shipped_rows.cache_clear()
