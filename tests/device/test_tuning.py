"""The tuner on a device: candidates at fault, every family's reference, rows that plans take, recording, auto."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad.families import matmul as matmul_family
from clgrad.families import plans
from clgrad.ndarray import from_host
from clgrad.runtime import tuned
from clgrad.runtime.guarded import GuardedPool
from clgrad.runtime.tuned import Problem, Row
from clgrad.tuning import auto, cli, database, record, recorded, space
from clgrad.tuning.child import Bench, Wrong, compare, placed, with_nan
from clgrad.tuning.problems import TUNABLES, tunable
from clgrad.tuning.tuner import Options, Tuner, read_trials

FAULTY = f"{Path(__file__).with_name('faulty_tunable.py')}:FAULTY"
SMALL = Problem("matmul", "float32", "nn", (24, 32, 40, 1))
PARAMS = {"wide": {"tile_m": 2, "vectors": 1, "width": 4},
          "many": {"group_m": 4, "group_n": 8, "block_m": 4, "block_n": 4, "tile_k": 8, "buffers": 1}}


@pytest.fixture
def rows_file(tmp_path: Path):
    """The user's file of rows in a folder of its own, and no plan made with other rows."""
    with clgrad.config.override(cache_dir=tmp_path):
        tuned.reload()
        plans.forget()
        yield tuned.user_file()
    tuned.reload()
    plans.forget()


def _row(device: clgrad.Device, params: dict | None, problem: Problem = SMALL) -> Row:
    return Row(tuned.source_hash(problem.family), problem, tuned.place_of(device), params, 1.0, 1.5, 0.0,
               "2026-01-01T00:00:00Z")


# Candidates at fault -------------------------------------------------------------------------------------------------


WHAT_BECOMES = {
    "none": ("ok", ""), "slow": ("ok", ""), "fast": ("ok", ""),
    "wrong": ("wrong", "faulty float32 flat 100: off by"),
    "behind": ("wrong", "behind a block of 400 bytes, 12 from its edge"),
    "before": ("wrong", "before a block of 400 bytes, 4 from its edge"),
    "operand": ("wrong", "operand was written to"),
    "unwritten": ("wrong", "NaN in 1 of 100 places, expected 0"),
    "nan": ("wrong", "faulty float32 flat 1: NaN in 0 of 1 places, expected 1"),
    "odd": ("wrong", "faulty float32 flat 37: off by"),
    "hang": ("hang", "no answer within 5 s"),
    "crash": ("crash", "the process ended with status -11"),
    "refused": ("refused", "BuildError")}


def test_candidates_at_fault_cost_themselves(device: clgrad.Device, rows_file: Path) -> None:
    """Each of the faults of faulty_tunable.py is told as what it is; the search goes on to the end and keeps the right
    candidate; the child is started anew after the one that hung and the one that crashed."""
    module = tunable(FAULTY)
    names = module.run.__globals__["FAULTS"]
    with Tuner(device, Options(seconds=100, limit=5)) as tuner:
        result = tuner.tune(module.common[0], FAULTY)
    trials = {names[t.params["fault"]]: t for t in result.trials}
    assert {name: t.state for name, t in trials.items()} == {name: state for name, (state, _) in WHAT_BECOMES.items()}
    for name, (_, why) in WHAT_BECOMES.items():
        assert why in trials[name].why
    assert tuner._child.started == 3
    assert result.row.params == trials["fast"].params
    assert result.row.speedup > 1.5
    assert 0 < result.share < 0.7
    assert tuned.read(rows_file) == ([replace(result.row, **_rounded(result.row))], [])
    assert read_trials(tuned.text_hash(module.source), module.common[0], tuner.place) == result.trials


def _rounded(row: Row) -> dict:
    return {"rate": round(row.rate, 3), "speedup": round(row.speedup, 4), "spread": round(row.spread, 4)}


def test_a_default_that_fails_is_said(device: clgrad.Device, rows_file: Path) -> None:
    name = FAULTY.replace(":FAULTY", ":BROKEN")
    with Tuner(device, Options(seconds=5)) as tuner:
        result = tuner.tune(tunable(name).common[0], name)
    assert result.row is None
    assert "wrong: faulty float32 flat 100: off by" in result.why
    assert not rows_file.exists()


# The child's parts ---------------------------------------------------------------------------------------------------


def test_borders_show_what_was_written_outside(device: clgrad.Device) -> None:
    import pyopencl as cl

    pool = GuardedPool(device)
    block = pool.allocate(100)
    assert pool.broken() == ""
    whole = pool._blocks[0][0]
    cl.enqueue_copy(device.queue, whole, np.zeros(1, np.uint8), dst_offset=pool._border + 100)
    assert pool.broken() == "wrote 1 bytes behind a block of 100 bytes, 0 from its edge"
    found = np.empty(100, np.uint8)
    cl.enqueue_copy(device.queue, found, block)
    assert (found == 255).all()


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("make", [
    lambda a: a, lambda a: a.T, lambda a: a[:, ::2], lambda a: a[:, :3], lambda a: a.swapaxes(0, 1).copy().T,
    lambda a: a.reshape(2, 3, 8).swapaxes(1, 2), lambda a: a.ravel(), lambda a: a[:1, :1]])
def test_operands_lie_as_their_host_arrays(make, gap: int, device: clgrad.Device) -> None:
    host = make(np.arange(48, dtype=np.float32).reshape(6, 8))
    x = placed(host, device, gap)
    assert np.array_equal(x.numpy(), host)
    assert x.offset == gap
    if not gap:
        assert x.strides == tuple(s // 4 for s in host.strides) or 1 in host.shape
    everything = x.view((x.storage.nbytes // 4,), (1,), 0).numpy()
    assert np.count_nonzero(np.isnan(everything)) == everything.size - host.size


def test_operands_with_offsets_of_backward_passes(device: clgrad.Device) -> None:
    """Statistics that are views: found by the tuner's own checks."""
    for family, layout, sizes in (("norm", "layer/backward", (5, 37)), ("attention", "queries", (2, 5, 6, 4, 4))):
        bench = Bench(device, family, Problem(family, "float32", layout, sizes))
        arrays = [placed(h, device, 3) for h in bench.hosts]
        for found, expected in zip(bench.tunable.run(bench.problem, *arrays), bench.expected):
            compare(str(bench.problem), found.numpy(), expected)


def test_nan_may_spread_where_a_family_says_so() -> None:
    found, expected = np.float32([np.nan, np.nan, 3]), np.float64([1, np.nan, 3])
    compare("conv float32 x 3", found, expected, nan_spreads=True)
    for worse in (np.float64([1, np.nan, 4]), np.float64([1, np.nan, np.nan])):
        with pytest.raises(Wrong):
            compare("conv float32 x 3", found, worse, nan_spreads=True)
    with pytest.raises(Wrong):
        compare("conv float32 x 3", found, np.float64([1, 2, 3]), nan_spreads=True)


@pytest.mark.parametrize(("found", "expected", "message"), [
    (np.float32([1, 2]), np.float64([1, 2.1]), "off by 0.1 at (1,)"),
    (np.float32([1, np.nan]), np.float64([1, 2]), "NaN in 1 of 2"),
    (np.float32([1, 2]), np.float64([1, np.nan]), "NaN in 0 of 2 places, expected 1"),
    (np.float32([1, 2]), np.float64([1, np.inf]), "off by inf"),
    (np.float32([1]), np.float64([1, 2]), "shape"),
    (np.int64([1, 2]), np.int64([1, 3]), "1 of 2 integers differ")])
def test_comparison(found: np.ndarray, expected: np.ndarray, message: str) -> None:
    with pytest.raises(Wrong) as error:
        compare("matmul float32 nn 2", found, expected)
    assert message in str(error.value)


def test_comparison_of_equals() -> None:
    compare("matmul float32 nn 3", np.float32([1, np.nan, np.inf]), np.float64([1 + 1e-7, np.nan, np.inf]))
    spoilt = with_nan(np.zeros((4, 5), np.float32).T)
    assert np.isnan(spoilt).sum() == 3
    assert spoilt.flags.f_contiguous


# Families ------------------------------------------------------------------------------------------------------------

CASES = [(t.family, layout) for t in TUNABLES for layout in t.layouts[:3]]


@pytest.mark.parametrize(("family", "layout"), CASES, ids=lambda v: v)
def test_every_family_is_right_by_its_reference(family: str, layout: str, form: clgrad.Device,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults and one other candidate: on a problem, and where a candidate must be right as well. What the family asks
    for when it plans is the problem."""
    t = tunable(family)
    shape = "wide" if form.wide_core else "many"
    start = space.default(family, shape, "float32")
    if start is None:
        pytest.skip(f"{family} has no {shape} form")
    # shorter lines are sorted, and shorter lists written, in other ways
    most = {"conv": 9, "winograd": 9, "radix": 1100, "bucket": 4200}.get(family, 70)
    problem = Problem(family, "float32", layout, tuple(min(n, most) for n in t.common[-1].sizes))
    bench = Bench(form, family, problem)
    met: list[Problem] = []
    monkeypatch.setattr(tuned, "listeners", [met.append])
    others = [p for p in space.points(family, shape, "float32", form.facts) if p != start][-1:]
    for number, params in enumerate([start, *others]):
        bench.attempt(number, params, [])
        assert problem in met
        bench.validate(number, params)
    assert t.work(problem) > 0
    assert len(bench.time([number], 2)[0]) == 2


def test_matmul_in_other_dtypes_and_shared_batches(device: clgrad.Device) -> None:
    for dtype, layout, batch in (("float16", "nn", 1), ("int32", "tt", 1), ("float32", "nt/a", 3)):
        bench = Bench(device, "matmul", Problem("matmul", dtype, layout, (33, 20, 41, batch)))
        bench.attempt(0, None, [])


# Rows and plans ------------------------------------------------------------------------------------------------------


def _asked(monkeypatch: pytest.MonkeyPatch, device: clgrad.Device, shape: tuple = (24, 32, 40)) -> list:
    """The parameters that planning a product used."""
    used = []
    real = matmul_family.plan_steps
    monkeypatch.setattr(matmul_family, "plan_steps", lambda *a, **k: (used.append(a[4]), real(*a, **k))[1])
    rng = np.random.default_rng(1)
    M, K, N = shape
    a, b = rng.random((M, K), np.float32), rng.random((K, N), np.float32)
    for _ in range(3):
        out = matmul_family.matmul(from_host(a, None, device), from_host(b, None, device))
    assert np.allclose(out.numpy(), a @ b, rtol=1e-5)
    monkeypatch.undo()
    return used


def test_plans_take_the_users_row(form: clgrad.Device, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = PARAMS["wide" if form.wide_core else "many"]
    assert _asked(monkeypatch, form) == [None]
    database.add([_row(form, params)])
    assert _asked(monkeypatch, form) == []  # the plan is kept
    plans.forget()
    assert _asked(monkeypatch, form) == [params]
    assert _asked(monkeypatch, form, (25, 31, 41)) == [params]  # the same bucket
    assert _asked(monkeypatch, form, (24, 32, 80)) == [None]
    plans.forget()
    with clgrad.config.override(tune="off"):
        assert _asked(monkeypatch, form) == [None]


def test_stale_rows_and_rows_that_do_not_fit_are_ignored(device: clgrad.Device, rows_file: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    wide = dict(PARAMS["wide"], tile_m=16, vectors=4, width=16)  # more registers than there are
    database.add([_row(device, wide), replace(_row(device, PARAMS["wide"]), source="of an older kernel")])
    if device.wide_core:
        assert _asked(monkeypatch, device) == [None]


def test_files_are_read_once(device: clgrad.Device, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = tuned.read
    monkeypatch.setattr(tuned, "read", lambda path: (reads.append(path), real(path))[1])
    for n in (3, 5, 7):
        x = from_host(np.ones((n, n), np.float32), None, device)
        (x @ x).numpy()
    assert reads.count(rows_file) == 1


def test_tuning_end_to_end(device: clgrad.Device, rows_file: Path, capsys: pytest.CaptureFixture) -> None:
    """Three candidates in a child; the row is found by look-up, told by --explain, --status; left out by --resume."""
    common = ["--device", device.key]
    problem = Problem("reduce", "float32", "rows", (64, 64))
    assert cli.main([*common, "--op", "reduce", "--sizes", "64x64", "--budget", "20s"]) == 0
    rows, _ = tuned.read(rows_file)
    assert [r.problem for r in rows] == [problem]
    assert tuned.look_up(device, problem).level == "user"
    assert cli.main([*common, "--explain", "reduce", "60x70"]) == 0
    assert cli.main([*common, "--status"]) == 0
    assert cli.main([*common, "--op", "reduce", "--sizes", "64x64", "--resume"]) == 0
    out = capsys.readouterr().out
    assert "the default reaches" in out
    assert "taken: level user" in out
    assert "user     1 fresh, 0 stale" in out
    assert "every problem has a fresh row" in out


# Recording and auto --------------------------------------------------------------------------------------------------


def test_recording_writes_each_problem_once_with_its_calls(device: clgrad.Device, tmp_path: Path) -> None:
    path = tmp_path / "shapes.jsonl"
    x = from_host(np.ones((6, 5), np.float32), None, device)
    sum_of = clgrad.ops.FUNCTIONS["sum"]
    sum_of(x, 1)  # planned before: it is met nonetheless
    with record(path):
        for _ in range(3):
            sum_of(x, 1)
        x + x
    assert dict(recorded(path)) == {Problem("reduce", "float32", "rows", (6, 5)): 3,
                                    Problem("elementwise", "float32", "flat", (30,)): 1}
    with pytest.raises(KeyError), record(path):  # noqa: PT012
        sum_of(x, 1)
        raise KeyError
    assert dict(recorded(path))[Problem("reduce", "float32", "rows", (6, 5))] == 4
    assert tuned.listeners == []
    assert "get" not in vars(plans.Plans)


def test_nothing_is_tuned_unless_asked(device: clgrad.Device, rows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met = []
    monkeypatch.setattr(tuned, "when_missing", lambda d, p: met.append(p))
    x = from_host(np.ones((3, 11), np.float32), None, device)
    (x @ x.T).numpy()
    assert met == []
    with clgrad.config.override(tune="auto"):
        plans.forget()
        tuned.reload()
        for _ in range(2):
            (x @ x.T).numpy()
    assert [p.family for p in met] == ["matmul"]


def test_auto_tunes_a_new_problem_once(device: clgrad.Device, rows_file: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(auto, "SECONDS", 0.5)
    monkeypatch.setattr(auto, "_tried", set())
    x = from_host(np.ones((40, 40), np.float32), None, device)
    sum_of = clgrad.ops.FUNCTIONS["sum"]
    with clgrad.config.override(tune="auto", progress=True):
        for _ in range(3):
            sum_of(x, 1)
    assert capsys.readouterr().err.count("tuning reduce float32 rows 40x40") == 1
    rows, _ = tuned.read(rows_file)
    assert [r.problem for r in rows] == [Problem("reduce", "float32", "rows", (40, 40))]
