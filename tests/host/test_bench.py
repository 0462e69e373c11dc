"""tools/bench.py without a device: arguments, choice of cases, percentages, tables, files, pages, pictures, workers."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tool():
    """The command's modules by name, and the command itself as ``bench``."""
    sys.path.insert(0, str(TOOLS))
    try:
        names = ("case", "catalogue", "document", "footprint", "growth", "libraries", "machine", "plot", "report",
                 "results", "roofline", "training", "workers")
        parts = {n: importlib.import_module(f"benchmarks.{n}") for n in names}
        yield SimpleNamespace(bench=importlib.import_module("bench"), **parts)
    finally:
        sys.path.remove(str(TOOLS))


ROOF = {"float32": {"rate": 200e9}, "float64": {"rate": 0.0}, "copy": {"rate": 40e9, "bytes": 1 << 28}}
ADD, COPY, MATMUL = "add 16 M", "copy 16 M", "matmul 512x512x512"


def _row(tool, case: str, library: str, *microseconds: float, **more):
    row = tool.results.Row(case, library, **more)
    row.take([1e-6 * m for m in microseconds])
    return row


@pytest.fixture
def run(tool):
    """A run of three cases: the matmul takes 2 ms here, the addition 10 ms and the copy 5 ms."""
    made = tool.results.Run(
        machine={"processor": "a processor", "cores": 2, "memory": 1 << 34, "system": "a system", "python": "3.12",
                 "commit": "abc"},
        about={n: {"version": "1", "device": "a device", "kind": "cpu"} for n in ("clgrad", "numpy", "torch")})
    made.add([_row(tool, MATMUL, "clgrad", 1900, 2000, 2100, first=1.5e6, memory=4_000_000, when="2026-01-02"),
              _row(tool, MATMUL, "numpy", 3900, 4000, 4100, when="2026-01-03"),
              tool.results.Row(MATMUL, "torch", error="ValueError: a | b"),
              _row(tool, ADD, "clgrad", 10000), _row(tool, ADD, "numpy", 5000), _row(tool, COPY, "clgrad", 5000)])
    return made


# Cases -------------------------------------------------------------------------------------------------------------


def test_each_case_has_a_name_of_its_own_and_a_library(tool) -> None:
    every = (*tool.catalogue.CASES, *tool.growth.CASES)
    assert len({c.name for c in every}) == len(every) == len(tool.catalogue.BY_NAME)
    for case in every:
        assert case.builder("clgrad") is not None, case.name
        assert case.unit in ("FLOP", "B", "ops", "samples"), case.name
        assert case.work > 0, case.name
        assert not any(mark in case.name for mark in "|\n"), case.name


def test_numpy_computes_its_cases(tool) -> None:
    """Those that are small enough; the step of each gives numbers."""
    lib = tool.libraries.OPEN["numpy"](None)
    small = [c for c in tool.catalogue.CASES if c.builder("numpy") and c.unit == "FLOP" and c.work < 2e7]
    assert len(small) >= 5
    for case in small:
        out = case.builder("numpy")(lib)()
        assert np.isfinite(np.asarray(out, np.float64)).all(), case.name


def test_work_of_models(tool) -> None:
    # By hand: 3x3 convolutions 64 to 64 on 32x32 are 75.5 MFLOP an image; the whole is 1.11 GFLOP, as in the paper's
    # count of the same layers, and LeNet's five products are 1.3 MFLOP.
    assert tool.catalogue.BY_NAME["ResNet-18, batch 16, inference"].work == pytest.approx(16 * 1.111e9, rel=0.01)
    assert tool.training.lenet_flops(1) == pytest.approx(3 * 1_303_440 - 705_600)
    assert tool.training.encoder_flops(1, 128, 1, 256) == 3 * 2 * (12 * 128 * 256 ** 2 + 2 * 128 ** 2 * 256)
    shapes = tool.training._parameters()
    assert len(shapes) == 62
    assert sum(int(np.prod(s)) for s in shapes) == 11_173_962


@pytest.mark.parametrize(("only", "expected"), [
    (ADD, [ADD]), ("COPY 16 m", [COPY]), ("matmul 64x1000x100,gelu", 3), ("", None)])
def test_chosen(tool, only, expected) -> None:
    names = [c.name for c in tool.bench.chosen(only)]
    if expected is None:
        assert names == [c.name for c in tool.catalogue.CASES]
    elif isinstance(expected, int):
        assert len(names) == expected
    else:
        assert names == expected


def test_unknown_case(tool, capsys) -> None:
    assert tool.bench.main(["--only", "no such thing"]) == 2
    assert "no case has 'no such thing' in its name; --list shows them" in capsys.readouterr().err


def test_list(tool, capsys) -> None:
    assert tool.bench.main(["--list", "--growth"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "matmul 64x64x64"
    assert lines[-1] == tool.growth.CASES[-1].name


@pytest.mark.parametrize(("given", "message"), [
    (["--resume"], "name it with --json"), (["--refresh"], "name it with --json"), (["--rounds", "0"], "from 1"),
    (["--library", "cupy"], "invalid choice"), (["--roofline", "maybe"], "invalid choice")])
def test_arguments_that_are_refused(tool, capsys, given, message) -> None:
    with pytest.raises(SystemExit) as stopped:
        tool.bench.main(given)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_alone_is_without_the_rest(tool) -> None:
    def cases(*given: str) -> list[str]:
        return [c.name for c in tool.bench._all(tool.bench._arguments(list(given)))]

    assert cases("--roofline", "alone") == []
    assert cases("--growth", "alone") == [c.name for c in tool.growth.CASES]
    assert len(cases("--growth", "--roofline")) == len(tool.catalogue.BY_NAME)


# Figures -----------------------------------------------------------------------------------------------------------


def test_row_takes_samples(tool) -> None:
    row = _row(tool, "x", "clgrad", 4, 1, 3)
    row.take([2e-6, 5e-6])
    assert (row.low, row.median, row.high) == (2, 3, 4)
    assert _row(tool, "x", "clgrad", 7).low == 7


def test_share_of_the_roofline(tool) -> None:
    share = tool.roofline.share
    assert share(ROOF, 1e9, "FLOP", "float32", 0.01) == pytest.approx(0.5)
    assert share(ROOF, 1e9, "B", "float32", 0.05) == pytest.approx(0.5)
    assert share(ROOF, 1e9, "FLOP", "float64", 0.01) is None  # the device has none
    assert share(ROOF, 100, "ops", "float32", 0.01) is None
    assert share(None, 1e9, "FLOP", "float32", 0.01) is None


def test_the_better_of_two_roofs(tool) -> None:
    other = {"float32": {"rate": 100e9}, "float64": {"rate": 1e9}, "copy": {"rate": 50e9, "bytes": 1}}
    best = tool.roofline.better(ROOF, other)
    assert [best[k]["rate"] for k in ("float32", "float64", "copy")] == [200e9, 1e9, 50e9]
    assert tool.roofline.better({}, other) == other
    assert tool.roofline.summary(ROOF) == "200 GFLOP/s float32; copying 256 MiB at 40.0 GB/s (read and written)"


def test_roofline_shapes(tool) -> None:
    facts = SimpleNamespace(compute_units=4, max_work_group_size=128, max_alloc=1 << 30, global_mem=4 << 30, fp64=True)
    assert tool.roofline.multiply_add_sizes(facts, True) == tool.roofline.Sizes(16, 1)
    assert tool.roofline.multiply_add_sizes(facts, False).group == 128
    assert all(s.items % s.group == 0 for s in tool.roofline.copy_sizes(facts, False))
    assert tool.roofline.copied_bytes(facts, 1 << 20) == 256 << 20
    assert tool.roofline.copied_bytes(facts, 100 << 20) == 400 << 20
    assert tool.roofline.copied_bytes(facts, 1 << 30) == 512 << 20  # as much as the device allows
    for wide in (True, False):
        widths = {f["width"] for f in (*tool.roofline.multiply_add_forms(wide), *tool.roofline.copy_forms(wide))}
        assert widths == ({8, 16} if wide else {1, 2, 4})


def test_part_of_the_roofline_or_of_a_copy(tool, run) -> None:
    rows = run.rows
    assert tool.report.part(run, rows[ADD, "clgrad"]) == "75 %"  # 1.5 times the bytes in twice the time
    assert tool.report.part(run, rows[MATMUL, "clgrad"]) == ""
    run.roofline = {"clgrad": ROOF}
    assert tool.report.part(run, rows[MATMUL, "clgrad"]) == "67 %"  # 134 of 200 GFLOP/s
    assert tool.report.part(run, rows[MATMUL, "numpy"]) == "34 %"
    assert tool.report.part(run, rows[MATMUL, "torch"]) == ""  # failed
    run.about["numpy"]["kind"] = "gpu"  # another kind of device has another roof
    assert tool.report.part(run, rows[MATMUL, "numpy"]) == ""


def test_words_for_figures(tool) -> None:
    assert [tool.report.duration(m) for m in (1.234, 12345.0, 2.5e6)] == ["1.23 µs", "12.3 ms", "2.5 s"]
    assert [tool.report.figure(v) for v in (0.1234, 999, 12345.6)] == ["0.123", "999", "12,346"]
    case = tool.catalogue.BY_NAME["overhead: add of 16 elements"]
    assert tool.report.rate(case, 250) == "2.50 µs an op"


def test_table(tool, run) -> None:
    lines = list(tool.report.table(run, run.ordered(tool.catalogue.CASES)))
    assert lines[0].count("|") == lines[1].count("|") == 10
    assert all(line.count("|") == 10 for line in lines)
    assert lines[2] == (f"| {MATMUL} | clgrad | 2,000 | 1,950 - 2,050 | 134 GFLOP/s |  | 1,500 | 4 | 1.00 |")
    assert lines[3].endswith("| 2.00 |")
    assert lines[4] == f"| {MATMUL} | torch | failed | ValueError: a / b |  |  |  |  |  |"
    assert [line.split(" | ")[0] for line in lines[5:]] == [f"| {COPY}", f"| {ADD}", f"| {ADD}"]  # as in the catalogue
    assert "0.50" in lines[-1]


def test_table_beside_an_older_run(tool, run) -> None:
    old = {r.key: r for r in (_row(tool, MATMUL, "clgrad", 3900, 4000, 4100), _row(tool, ADD, "clgrad", 10000))}
    lines = list(tool.report.table(run, run.ordered(tool.catalogue.CASES), old))
    assert all(line.count("|") == 12 for line in lines)
    assert lines[2].endswith("| 4,000 | -50 % * |")  # the quartiles do not touch
    assert lines[3].endswith("|  |  |")
    assert "| +0 % |" in lines[-2]


def test_line_of_a_case(tool, run) -> None:
    text = tool.report.line(run, run.ordered([tool.catalogue.BY_NAME[MATMUL]]))
    assert text == (f"{MATMUL}: clgrad 2 ms (134 GFLOP/s, first call 1.5 s); numpy 2.00x; "
                    "torch failed: ValueError: a | b")


def test_several_devices_stand_beside_the_first(tool) -> None:
    rows = [_row(tool, ADD, "clgrad pocl", 10), _row(tool, ADD, "clgrad intel", 20)]
    assert tool.results.yardstick(rows) == {ADD: 10}
    run = tool.results.Run(about={"clgrad pocl": {}, "clgrad intel": {}})
    run.add(reversed(rows))
    assert [r.library for r in run.ordered(tool.catalogue.CASES)] == ["clgrad pocl", "clgrad intel"]


# Files -------------------------------------------------------------------------------------------------------------


def test_file_keeps_a_run(tool, run, tmp_path) -> None:
    path = tmp_path / "folder" / "run.json"
    run.roofline = {"clgrad": ROOF}
    run.write(path)
    assert tool.results.Run.read(path) == run
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rows": [{"library": "numpy"}]}', '{"rows": 1}'])
def test_file_that_is_no_run(tool, tmp_path, text, capsys) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is no file of tools/bench\.py --json"):
        tool.results.Run.read(path)
    assert tool.bench.main(["--json", str(path), "--resume", "--only", ADD]) == 2
    assert "name another, or remove it" in capsys.readouterr().err
    assert path.read_text() == text


def test_older_file_without_the_new_figures(tool, tmp_path) -> None:
    path = tmp_path / "old.json"
    row = {"case": ADD, "library": "clgrad", "median": 2.0, "low": 1.0, "high": 3.0, "error": "", "samples": [2.0]}
    path.write_text(json.dumps({"about": {}, "rows": [{**row, "gone": 1}]}))
    read = tool.results.Run.read(path).rows[ADD, "clgrad"]
    assert (read.median, read.first, read.memory) == (2.0, None, None)


class FakeWorker:
    """A library that answers at once: a step takes a millisecond."""

    def __init__(self, name: str, fails: str = "") -> None:
        self.name = self.label = name
        self.about = {"version": "1", "device": "d", "kind": "cpu"}
        self.fails = fails
        self.asked: list[tuple] = []

    def ask(self, *command):
        self.asked.append(command)
        if self.fails == command[0]:
            return {"error": "the process ended (signal 11)"}
        return {"case": {"count": 1, "first": 0.5, "memory": 1000}, "sample": {"seconds": [0.001] * command[-1]}
                if command[0] == "sample" else {}, "end": {}, "roofline": ROOF}[command[0]]

    def close(self) -> None:
        pass


def test_measure_takes_turns(tool) -> None:
    workers = [FakeWorker("clgrad"), FakeWorker("numpy"), FakeWorker("torch", fails="sample")]
    rows = tool.results.measure(tool.catalogue.BY_NAME[ADD], workers, rounds=2, times=3)
    assert [(r.library, len(r.samples), r.error) for r in rows] == [
        ("clgrad", 6, ""), ("numpy", 6, ""), ("torch", 0, "the process ended (signal 11)")]
    assert rows[0].first == 500_000.0
    assert [c[0] for c in workers[0].asked] == ["case", "sample", "sample", "end"]
    assert [c[0] for c in workers[2].asked] == ["case", "sample", "end"]
    assert len(rows[0].when) == 10


def _bench(tool, monkeypatch, *given: str):
    """A run of the command with workers that answer at once; what they were asked."""
    workers = [FakeWorker("clgrad"), FakeWorker("numpy")]
    monkeypatch.setattr(tool.bench, "_open", lambda options: workers)
    assert tool.bench.main([*given, "--rounds", "1", "--times", "1"]) == 0
    return [c[1] for c in workers[0].asked if c[0] == "case"]


def test_resume_and_refresh(tool, monkeypatch, tmp_path, capsys) -> None:
    path = tmp_path / "run.json"
    only = ("--only", f"{ADD},{COPY}", "--json", str(path))
    assert _bench(tool, monkeypatch, *only, "--limit", "1e-9") == []
    assert "2 cases are left; run it again with --resume" in capsys.readouterr().err
    assert _bench(tool, monkeypatch, "--only", COPY, "--json", str(path)) == [COPY]
    assert _bench(tool, monkeypatch, *only, "--resume") == [ADD]
    kept = tool.results.Run.read(path)
    assert set(kept.rows) == {(c, n) for c in (ADD, COPY) for n in ("clgrad", "numpy")}
    assert _bench(tool, monkeypatch, *only, "--resume") == []
    assert _bench(tool, monkeypatch, "--only", ADD, "--json", str(path), "--refresh") == [ADD]
    assert set(tool.results.Run.read(path).rows) == set(kept.rows)
    assert "| add 16 M | numpy |" in capsys.readouterr().out
    assert _bench(tool, monkeypatch, *only) == [COPY, ADD]  # without either, anew


def test_rows_of_another_machine_are_not_mixed(tool, monkeypatch, tmp_path, capsys) -> None:
    path = tmp_path / "run.json"
    _bench(tool, monkeypatch, "--only", ADD, "--json", str(path))
    kept = json.loads(path.read_text())
    kept["about"]["numpy"]["version"] = "0.9"
    path.write_text(json.dumps(kept))
    assert tool.bench.main(["--only", COPY, "--json", str(path), "--resume"]) == 2
    assert "numpy's version was 0.9 and is 1. Name another file." in capsys.readouterr().err


def test_roofline_of_a_run(tool, monkeypatch, tmp_path, capsys) -> None:
    path = tmp_path / "run.json"
    _bench(tool, monkeypatch, "--roofline", "alone", "--json", str(path))
    assert tool.results.Run.read(path).roofline == {"clgrad": ROOF}
    assert "200 GFLOP/s float32" in capsys.readouterr().out
    monkeypatch.setattr(tool.bench, "_open", lambda options: [FakeWorker("numpy")])
    assert tool.bench.main(["--roofline", "alone"]) == 2
    assert "clgrad, which is not among the libraries" in capsys.readouterr().err


# Growth, pages, pictures -------------------------------------------------------------------------------------------


@pytest.fixture
def grown(tool, run):
    """The run with the growth of the products: 5 ms a GFLOP, but twice that at 128."""
    for p in tool.growth.SERIES[0].points:
        for label, times in (("clgrad", 1), ("numpy", 3)):
            microseconds = times * p.units * 5e-6 * (2 if p.size == 128 else 1)
            run.add([_row(tool, p.case.name, label, microseconds)])
    return run


def test_growth(tool, grown) -> None:
    series = tool.growth.SERIES[0]
    lines = list(tool.growth.table(series, grown))
    assert lines[0] == "| n | clgrad, ms a GFLOP | numpy, ms a GFLOP |"
    assert lines[2] == "| 128 | 10 (2.0x) | 30 (2.0x) |"
    assert lines[-1] == "| 4096 | 5 (1.0x) | 15 (1.0x) |"
    assert "more than 1.5x of that at 128 (2.0x)." in tool.growth.bends(series, grown, "clgrad")
    assert tool.growth.SERIES[1].labels(grown) == []
    del grown.rows[series.points[0].case.name, "clgrad"]
    assert tool.growth.bends(series, grown, "clgrad").startswith("clgrad: flat within 1.5x")


def test_page_keeps_remarks(tool, grown, tmp_path) -> None:
    path = tmp_path / "docs" / "page.md"
    grown.roofline = {"clgrad": ROOF}
    name = tool.growth.SERIES[0].name
    tool.document.write(path, grown, [path.with_name("a.png"), path.with_name("a-growth.png")])
    text = path.read_text()
    assert "| processor | a processor, 2 cores |" in text
    assert "| date | 2026-01-02 to 2026-01-03 |" in text
    assert "| clgrad | 1 at abc on a device |" in text
    assert f"| {MATMUL} | 2 ms | 1,950 - 2,050 | 134 GFLOP/s | 67 % | 1,500 | 4 | 2.00 | failed |" in text
    assert text.index("(a.png)") < text.index("## Growth") < text.index("(a-growth.png)")
    remark = f"<!-- notes: {name} -->\nThe caches end here.\n<!-- /notes -->"
    path.write_text(text.replace(f"<!-- notes: {name} -->\n<!-- /notes -->", remark))
    tool.document.write(path, grown, [])
    assert remark in path.read_text()


def test_pictures(tool, grown, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    grown.add([_row(tool, COPY, "numpy", 1e6), _row(tool, COPY, "torch", 1e-3)])  # beyond both borders
    made = tool.plot.draw(grown, tmp_path / "new" / "p.png")
    assert [p.name for p in made] == ["p.png", "p-growth.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in made)
    assert tool.plot.draw(tool.results.Run(), tmp_path / "q.png") == []


def test_spread_of_a_ratio(tool) -> None:
    ours, theirs = _row(tool, ADD, "clgrad", 8, 10, 12), _row(tool, ADD, "numpy", 18, 20, 22)
    assert tool.plot.spread(theirs, ours) == (2, 19 / 11, 21 / 9)


def test_columns_of_the_picture(tool) -> None:
    lines = [("heading", None) if i in (0, 24) else (str(i), []) for i in range(50)]
    assert [len(c) for c in tool.plot._columns(lines)] == [24, 26]  # no heading stands alone at the bottom
    assert tool.plot._columns(lines[:39]) == [lines[:39]]


def test_plot_says_what_to_install(tool, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert tool.bench.main(["--plot", "x.png", "--only", ADD]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err


def test_machine(tool) -> None:
    facts = tool.machine.facts()
    assert facts["cores"] >= 1
    assert facts["processor"]
    assert set(facts) == {"processor", "cores", "memory", "system", "python", "commit"}


# Workers -----------------------------------------------------------------------------------------------------------


def test_footprint_grows_with_what_is_held(tool) -> None:
    before = tool.footprint.resident()
    held = np.ones(1 << 23)  # 64 MiB
    assert tool.footprint.peak_resident() >= before + held.nbytes // 2
    if tool.footprint.reset_peak():
        assert tool.footprint.peak_resident() < before + 2 * held.nbytes


def test_a_worker_answers_and_survives_its_cases(tool) -> None:
    worker = tool.workers.Worker("numpy", None, "numpy")
    try:
        assert worker.about == {"version": np.__version__, "device": worker.about["device"], "kind": "cpu"}
        made = worker.ask("case", "matmul 64x64x64")
        assert made["count"] >= 1
        assert made["first"] > 0
        assert made["memory"] >= 0
        assert len(worker.ask("sample", 2)["seconds"]) == 2
        assert worker.ask("end") == {}
        assert worker.ask("case", "gelu 4096x1024") == {"error": "ValueError: the case is not for numpy"}
        worker.ask("end")
        assert "KeyError" in worker.ask("case", "no such case")["error"]
        worker.ask("end")
        assert "count" in worker.ask("case", "matmul 64x64x64")
    finally:
        worker.close()
    assert worker.ask("end") == {"error": "the process ended"}


@pytest.mark.skipif(sys.platform != "linux", reason="only where processes are copied does a crash cost one case")
def test_a_crash_costs_one_case(tool) -> None:
    worker = tool.workers.Worker("numpy", None, "numpy")
    try:
        assert "count" in worker.ask("case", "matmul 64x64x64")
        main = worker._process.pid
        os.kill(int(Path(f"/proc/{main}/task/{main}/children").read_text()), signal.SIGKILL)
        assert worker.ask("sample", 1) == {"error": "the process ended (signal 9)"}
        assert worker.ask("end") == {}
        assert worker.ask("sample", 1) == {"error": "there is no case"}
        assert "count" in worker.ask("case", "matmul 64x64x64")
    finally:
        worker.close()
