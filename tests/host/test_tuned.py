"""The tuner without a device: rows and their files under faults, the order of look-up, search, spaces, commands."""

from __future__ import annotations

import itertools
import math
import random
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import clgrad
from clgrad import kernels
from clgrad.core.errors import DTypeError
from clgrad.runtime import tuned
from clgrad.runtime.tuned import DEFAULT, Database, Place, Problem, Row, bucket
from clgrad.tuning import cli, database, recorded, space
from clgrad.tuning.plot import plot
from clgrad.tuning.problems import TUNABLES, tunable
from clgrad.tuning.report import bar, summary
from clgrad.tuning.search import EXHAUSTIVE, Ranking, Search, frozen
from clgrad.tuning.tuner import Result, Trial, ratio_of

HERE = Place("Portable", "Core 9", "3.1", "Maker", "cpu", "wide", 16, 4)
ASKED = Problem("matmul", "float32", "nn", (500, 512, 70, 1))
FACTS = SimpleNamespace(max_work_group_size=256, local_mem_size=32768, compute_units=4, wide_core=True)


def row(place: Place = HERE, params: dict | None = None, **more) -> Row:
    return replace(Row("abc", ASKED, place, params or {"tile": 4}, 100.0, 1.25, 0.01, "2026-01-01T00:00:00Z"), **more)


def other(i: int) -> Row:
    """A row with a key of its own."""
    return row(problem=replace(ASKED, sizes=(1 << i % 20, 1 << i // 20, 1, 1)))


@pytest.fixture
def rows_file(tmp_path: Path):
    """The user's file of rows in a folder of its own."""
    with clgrad.config.override(cache_dir=tmp_path):
        tuned.reload()
        yield tuned.user_file()
    tuned.reload()


# Rows and files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "expected"), [(0, 0), (1, 1), (2, 2), (3, 4), (5, 4), (6, 8), (64, 64), (90, 64),
                                             (100, 128), (1000, 1024), (1 << 24, 1 << 24)])
def test_bucket(n: int, expected: int) -> None:
    assert bucket(n) == expected


@pytest.mark.parametrize("params", [{"tile_m": 8, "width": 16}, None])
def test_a_line_is_the_row_again(params: dict | None) -> None:
    r = replace(row(), params=params)
    assert tuned.parse(r.line()) == r
    assert "\n" not in r.line()


@pytest.mark.parametrize("damage", [
    lambda s: s[:-1], lambda s: s[:len(s) // 2], lambda s: s.replace('"tile":4', '"tile":5'),
    lambda s: s.replace('"rate"', '"rat"'), lambda s: "[]", lambda s: "7", lambda s: "null", lambda s: '{"sum":1}',
    lambda s: s.replace("{", "", 1), lambda s: "\x00" * 40, lambda s: s.replace("Core", "Cor\xe9")])
def test_damaged_lines_are_left_out_with_one_warning(damage, rows_file: Path) -> None:
    database.append(rows_file, [row().line(), damage(row().line()), other(1).line()])
    with pytest.warns(UserWarning, match="1 damaged line in") as caught:
        loaded = Database.load()
    assert len(caught) == 1
    assert loaded.candidates(ASKED, HERE, "abc")[0].row == row()
    with pytest.warns(UserWarning, match="damaged"):
        assert database.export(rows_file.with_name("out.jsonl")) == 2
    assert tuned.read(rows_file.with_name("out.jsonl")) == ([row(), other(1)], [])


def test_bytes_that_are_no_text(rows_file: Path) -> None:
    database.append(rows_file, [row().line()])
    with open(rows_file, "ab") as file:
        file.write(b"\xff\xfe\x00broken\n")
    database.append(rows_file, [other(1).line()])
    rows, corrupt = tuned.read(rows_file)
    assert (rows, len(corrupt)) == ([row(), other(1)], 1)


def test_killed_in_the_middle_of_a_write(child, rows_file: Path) -> None:
    """The half line that is left spoils itself alone."""
    database.append(rows_file, [other(0).line()])
    half = other(1).line()[:60]
    child(f"""
        import os, signal
        file = os.open({str(rows_file)!r}, os.O_WRONLY | os.O_APPEND)
        os.write(file, {half!r}.encode())
        os.kill(os.getpid(), signal.SIGKILL)
    """, status=-9)
    database.append(rows_file, [other(2).line()])
    rows, corrupt = tuned.read(rows_file)
    assert rows == [other(0), other(2)]
    assert corrupt == [half]
    assert database.compact() == (2, 0, 1)
    assert tuned.read(rows_file) == ([other(0), other(2)], [])
    assert rows_file.with_name("rows.jsonl.damaged").read_text() == half + "\n"


APPEND = """
    import sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    import test_tuned
    from clgrad.tuning import database
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range({first}, {last}):
        database.append(Path({path!r}), [test_tuned.other(i).line()])
        {then}
"""


def _appender(rows_file: Path, first: int, last: int, then: str = ""):
    import subprocess
    import sys
    import textwrap

    code = textwrap.dedent(APPEND).format(tests=str(Path(__file__).parent), path=str(rows_file), first=first, last=last,
                                          then=then)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_tuners_and_a_compaction_at_once_lose_nothing(rows_file: Path) -> None:
    writers = [_appender(rows_file, 0, 80), _appender(rows_file, 80, 160)]
    for w in writers:
        w.stdin.write("go\n")
        w.stdin.flush()
    while any(w.poll() is None for w in writers):
        database.append(rows_file, [row(when=str(random.random())).line()])
        database.compact()
    for w in writers:
        w.communicate()
        assert w.returncode == 0
    rows, corrupt = tuned.read(rows_file)
    assert corrupt == []
    assert {r.key for r in rows} == {other(i).key for i in range(160)} | {row().key}


def test_killed_at_any_moment(rows_file: Path) -> None:
    """A tuner that dies takes at most the line with it that it was writing."""
    writer = _appender(rows_file, 0, 400, "print(i, flush=True)")
    writer.stdin.write("go\n")
    writer.stdin.flush()
    written = -1
    while written < 20:
        written = int(writer.stdout.readline())
    writer.kill()
    writer.communicate()
    database.append(rows_file, [row().line()])
    rows, corrupt = tuned.read(rows_file)
    assert len(corrupt) <= 1
    assert rows[-1] == row()
    assert {r.key for r in rows} >= {other(i).key for i in range(written + 1)}


def test_compaction_keeps_the_last_row_of_every_key(rows_file: Path) -> None:
    """Rows of other kernels, drivers and schemas are kept: they may be of use to another version."""
    kept = [row(params={"tile": 8}), row(source="old"), row(replace(HERE, driver="3.0")), row(schema=0), other(3)]
    database.append(rows_file, [r.line() for r in (row(), row(params={"tile": 2}), *kept)])
    assert database.compact() == (5, 2, 0)
    assert set(map(Row.line, tuned.read(rows_file)[0])) == set(map(Row.line, kept))


def test_a_full_disk_is_an_error(rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short:
        def __init__(self, file) -> None:
            self.file = file

        def __getattr__(self, name: str):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *exc: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            return self.file.write(data[:10])

    real = open
    monkeypatch.setattr(database, "open", lambda p, mode, **k: Short(real(p, mode, **k)) if mode == "a+b" else
                        real(p, mode, **k), raising=False)
    with pytest.raises(OSError, match="in part only"):
        database.append(rows_file, [row().line()])
    monkeypatch.undo()
    database.append(rows_file, [row().line()])
    assert tuned.read(rows_file)[0] == [row()]


# Look-up ------------------------------------------------------------------------------------------------------------

SISTER = replace(HERE, driver="3.0")
COUSIN = replace(HERE, device="Core 7", units=8)
TWIN = replace(HERE, platform="Foreign", vendor="Other", units=4)
LEVELS = [("user", "user", HERE), ("shipped", "shipped", HERE), ("vendor", "user", SISTER),
          ("vendor", "shipped", SISTER), ("vendor", "user", COUSIN), ("vendor", "shipped", COUSIN),
          ("class", "user", TWIN), ("class", "shipped", TWIN)]


def test_look_up_takes_the_most_specific_row_that_is_there() -> None:
    rows = [(level, origin, row(place, {"tile": i})) for i, (level, origin, place) in enumerate(LEVELS)]
    while rows:
        shuffled = random.Random(len(rows)).sample(rows, len(rows))
        found = Database([r for _, o, r in shuffled if o == "user"], [r for _, o, r in shuffled if o == "shipped"])
        choice = found.find(ASKED, HERE, "abc", lambda p: True)
        assert (choice.level, choice.row) == (rows[0][0], rows[0][2])
        rows.pop(0)
    assert Database().find(ASKED, HERE, "abc", lambda p: True) is DEFAULT


@pytest.mark.parametrize("change", [
    {"source": "abd"}, {"schema": 2}, {"problem": replace(ASKED, dtype="float64")},
    {"problem": replace(ASKED, layout="nt")}, {"problem": replace(ASKED, sizes=(500, 512, 130, 1))},
    {"problem": replace(ASKED, family="conv")}, {"place": replace(HERE, form="many")},
    {"place": replace(HERE, vector=8, driver="x")}, {"place": replace(HERE, type="gpu", device="x")}])
def test_rows_of_something_else_are_not_taken(change: dict) -> None:
    assert Database([row(**change)]).find(ASKED, HERE, "abc", lambda p: True) is DEFAULT


def test_the_last_of_ones_own_rows_counts_and_none_is_a_choice() -> None:
    found = Database([row(), row(params={"tile": 8})])
    assert found.find(ASKED, HERE, "abc", lambda p: True).row.params == {"tile": 8}
    kept = replace(row(), params=None)
    choice = Database([row(), kept], [row()]).find(ASKED, HERE, "abc", lambda p: True)
    assert (choice.level, choice.row) == ("user", kept)


def test_rows_that_do_not_fit_are_passed_over() -> None:
    found = Database([row(params={"tile": 64})], [row(TWIN, {"tile": 4})])
    assert found.find(ASKED, HERE, "abc", lambda p: p["tile"] < 10).level == "class"


def test_sizes_share_a_row_by_bucket() -> None:
    found = Database([row()])
    for sizes, level in (((512, 512, 64, 1), "user"), ((370, 700, 90, 1), "user"), ((300, 512, 64, 1), "default")):
        assert found.find(replace(ASKED, sizes=sizes), HERE, "abc", lambda p: True).level == level


def test_comments_and_spaces_do_not_make_rows_stale() -> None:
    text = "<%def name='x()'>\n## a comment\n    // another\nint a;\n"
    assert tuned.text_hash(text) == tuned.text_hash("<%def name='x()'>\n\nint    a;\n")
    assert tuned.text_hash(text) != tuned.text_hash(text.replace("int a", "int b"))


def test_shipped_rows_can_be_read() -> None:
    for path in tuned.SHIPPED.glob("*.jsonl"):
        rows, corrupt = tuned.read(path)
        assert rows, path
        assert corrupt == [], path
        for r in rows:
            assert r.problem.layout in tunable(r.problem.family).layouts or r.problem.family in ("conv", "winograd")
            assert len(r.problem.sizes) == len(tunable(r.problem.family).names)


# Spaces and search ---------------------------------------------------------------------------------------------------

FAMILIES = [t.family for t in TUNABLES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_default_is_a_point_of_its_space(family: str, dtype: str) -> None:
    for form in kernels.template(family).module.DEFAULT:
        start = space.default(family, form, dtype)
        found = space.points(family, form, dtype, FACTS)
        assert start in found, (family, form)
        assert len(set(map(frozen, found))) == len(found)
        assert set(start) <= set(kernels.template(family).module.PARAMS)


def test_a_value_outside_of_its_range_is_fixed() -> None:
    assert space.values("reduce", "wide", "float32")["local"] == (1,)
    assert len(space.values("reduce", "many", "float32")["local"]) > 1


def _points(*sizes: int) -> list[dict]:
    return [dict(zip("abcd", p)) for p in itertools.product(*(range(n) for n in sizes))]


def _speed(p: dict) -> float:
    """One hill with its top at a=5, b=2, c=6."""
    return math.exp(-0.1 * (abs(p["a"] - 5) + abs(p["b"] - 2) + abs(p["c"] - 6)))


def _run(search: Search, count: int, speed) -> list[dict]:
    tried = []
    while len(tried) < count and (p := search.propose()) is not None:
        tried.append(p)
        search.tell(p, speed(p))
    return tried


def test_a_small_space_is_tried_as_a_whole() -> None:
    points = _points(3, 4)
    search = Search(points, points[0])
    tried = _run(search, 100, lambda p: 1.0)
    assert sorted(map(frozen, tried)) == sorted(map(frozen, points))
    assert search.exhaustive
    assert search.propose() is None


def test_a_large_space_is_climbed() -> None:
    points = _points(8, 8, 8)
    assert len(points) > EXHAUSTIVE
    base = _speed({"a": 0, "b": 0, "c": 0})
    tried = _run(Search(points, {"a": 0, "b": 0, "c": 0}), 60, lambda p: _speed(p) / base)
    assert {"a": 5, "b": 2, "c": 6} in tried
    assert len(set(map(frozen, tried))) == len(tried)


def test_the_search_leaves_a_hill_that_is_not_the_highest() -> None:
    def speed(p: dict) -> float:
        return 1.0 - 0.05 * (p["a"] + p["b"]) if p["a"] + p["b"] < 8 else 3.0

    tried = _run(Search(_points(8, 8), {"a": 0, "b": 0}, seed=3), 64, speed)
    assert len(tried) == 64
    assert next(i for i, p in enumerate(tried) if speed(p) == 3.0) < 40


def test_failures_are_not_proposed_again_and_do_not_attract() -> None:
    search = Search(_points(8, 8), {"a": 0, "b": 0})
    tried = _run(search, 64, lambda p: None if p["a"] % 2 else 1 + p["b"] / 10)
    assert len(set(map(frozen, tried))) == 64


def test_the_same_seed_gives_the_same_order() -> None:
    orders = [[frozen(p) for p in _run(Search(_points(8, 8, 8), {"a": 0, "b": 0, "c": 0}, seed), 80, _speed)]
              for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_what_did_well_before_is_tried_first() -> None:
    ranking = Ranking()
    ranking.tell({"a": 2, "b": 1}, 0.5)
    ranking.tell({"a": 0, "b": 1}, -0.5)
    assert Search(_points(3, 2), {"a": 0, "b": 0}, ranking=ranking).propose()["a"] == 2


def test_ratios_by_pairs() -> None:
    """A drift of the clock that both share cancels."""
    middle, spread = ratio_of([1.0, 2.0, 4.0], [0.5, 1.0, 2.0])
    assert (middle, spread) == (2.0, 0.0)


# Commands ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("60s", 60), ("10m", 600), ("1.5h", 5400)])
def test_budgets(text: str, value: float) -> None:
    assert cli.seconds(text) == value


def test_export_import_diff_compact(rows_file: Path, capsys: pytest.CaptureFixture) -> None:
    database.add([row(), other(1)])
    mine, theirs = rows_file.with_name("mine.jsonl"), rows_file.with_name("theirs.jsonl")
    assert cli.main(["export", str(mine)]) == 0
    later = row(params={"tile": 9}, when="2026-02-01T00:00:00Z")
    theirs.write_text("".join(r.line() + "\n" for r in (later, other(2), row(when="2025-01-01T00:00:00Z",
                                                                          problem=other(1).problem))) + "junk\n")
    assert cli.main(["diff", str(mine), str(mine)]) == 0
    assert cli.main(["diff", str(mine), str(theirs)]) == 1
    assert cli.main(["import", str(theirs)]) == 0
    out = capsys.readouterr().out
    assert "2 rows written" in out
    assert "no difference" in out
    assert "! matmul float32 nn 500x512x70x1, Core 9 (Portable 3.1, wide): tile=4, 100 | tile=9, 100" in out
    assert "> matmul float32 nn 4x1x1x1" in out
    assert "2 rows added" in out
    assert "1 damaged line" in out
    assert database.latest(tuned.read(rows_file)[0]) == [later, other(1), other(2)]
    assert cli.main(["compact"]) == 0
    assert "3 rows kept, 1 that later ones replaced dropped" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["import", "nowhere.jsonl"], "not there"), (["diff", "nowhere.jsonl", "nowhere.jsonl"], "not there")])
def test_files_that_are_not_there(arguments: list, message: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("sizes", ["", "0x4", "axb", "1x2x3x4x5", "-3"])
def test_bad_sizes(sizes: str) -> None:
    with pytest.raises(ValueError, match=r"tune: got sizes .*; expected MxKxNxbatch"):
        tunable("matmul").parse(sizes)


def test_unknown_family() -> None:
    with pytest.raises(ValueError, match=r"tune: got family 'mutmal'; expected an op, or one of matmul"):
        tunable("mutmal")
    with pytest.raises(ValueError, match=r"tune: got family 'reshape'"):  # an op of whose family nothing is tuned
        tunable("reshape")


@pytest.mark.parametrize(("op", "family"), [("linear", "matmul"), ("add", "elementwise"), ("conv2d", "conv"),
                                            ("softmax", "softmax"), ("gather", "index"), ("amax", "reduce")])
def test_an_op_stands_for_its_family(op: str, family: str) -> None:
    assert tunable(op).family == family


def test_a_layout_or_dtype_that_there_is_not_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"tune: got layout 'nm' for matmul; expected one of nn, nt"):
        tunable("matmul").problem((1, 2, 3, 1), layout="nm")
    with pytest.raises(DTypeError, match=r"got 'float99'"):
        tunable("matmul").problem((1, 2, 3, 1), dtype="float99")
    assert tunable("conv").knows("weight/k1x5x5/s1x2x2/p0x0x0/d1x1x1/g3")
    assert not tunable("conv").knows("weight/k5x5")


def test_recorded_problems_without_a_reference_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "shapes.jsonl"
    line = '{"family":"random","dtype":"int64","layout":"%s","sizes":[50],"count":1}\n'
    path.write_text(line % "randint" + line % "dropout")
    options = cli.parser().parse_args(["--shapes", str(path)])
    assert [p.layout for _, p in cli._problems(options)] == ["dropout"]
    assert "left out: random randint, which the tuner has no reference for" in capsys.readouterr().err


def test_common_problems_come_by_turns_of_the_families() -> None:
    found = [p.family for _, p in cli._problems(cli.parser().parse_args([]))]
    assert found[:len(TUNABLES)] == [t.family for t in TUNABLES]
    assert len(found) == sum(len(t.common) for t in TUNABLES)


def test_recorded_shapes(tmp_path: Path) -> None:
    path = tmp_path / "shapes.jsonl"
    line = '{"family":"matmul","dtype":"float32","layout":"nn","sizes":[2,3,4,1],"count":%d}\n'
    path.write_text(line % 2 + "\n" + line % 3)
    assert recorded(path) == [(Problem("matmul", "float32", "nn", (2, 3, 4, 1)), 5)]
    path.write_text(line % 2 + "{}\n")
    with pytest.raises(ValueError, match=r"line 2 of .* is no recorded problem"):
        recorded(path)


def _result(params: dict | None, speedup: float) -> Result:
    trials = [Trial({"a": a, "b": b}, "ok", 0.5 + a * b / 8, 1e-3) for a in (1, 2, 4) for b in (1, 3)]
    trials.append(Trial({"a": 8, "b": 1}, "hang", why="no answer within 2 s"))
    r = replace(row(), params=params, speedup=speedup)
    return Result(ASKED, r, speedup * 1e-3, 1e-3, "GFLOP/s", trials)


def test_summary_names_the_worst_default() -> None:
    text = summary([_result(None, 1.0), _result({"a": 4, "b": 3}, 2.0)])
    assert "2 problems, 1 with other parameters" in text
    assert "at least 50 % of the tuned speed" in text


def test_plot_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "searched.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot([_result({"a": 4, "b": 3}, 2.0), _result(None, 1.0)], path) == [path]
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_plot_has_a_picture_for_each_family(tmp_path: Path) -> None:
    """Of a size to be looked at, however many problems a family has; rates far apart on one axis."""
    first = _result({"a": 4, "b": 3}, 2.0)
    conv = replace(first, problem=replace(first.problem, family="conv"))
    slow = replace(first, row=replace(first.row, rate=0.01, params=None))
    failed = replace(first, trials=[*first.trials, Trial({"a": 1, "b": 3}, "crash")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = plot([first, slow, conv, failed, *[first] * 11], tmp_path / "searched.png")
    assert [p.name for p in drawn] == ["searched-matmul.png", "searched-conv.png"]
    for p in drawn:
        width, height = struct.unpack(">II", p.read_bytes()[16:24])  # of a PNG's header
        assert 300 < width < 1500
        assert 300 < height < 1500


def test_nothing_searched_is_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "searched.png"
    with pytest.raises(ValueError, match="nothing was searched"):
        plot([Result(ASKED, None)], path)


@pytest.mark.parametrize(("share", "text"), [(0, "...."), (0.5, "##.."), (1.7, "####")])
def test_bar(share: float, text: str) -> None:
    assert bar(share, 4) == text
