"""Kernels: the binary cache and what can go wrong with it, threads, processes, forks, faults, settings, both forms."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad import ops
from clgrad.core.config import config
from clgrad.core.errors import BuildError, DeviceError
from clgrad.families import plans
from clgrad.runtime import binaries, launch, program
from clgrad.runtime.device import Device
from clgrad.table import OPS, Op
from clgrad.testing import assert_close, call, expected_of, on_device, samples

WORK = """
    import clgrad
    from clgrad.runtime import program
    x = clgrad.tensor([1.0, 2.0, 3.0])
    assert ((x * 2 + 1).sum() - x.exp().sum()).item() + 15.192855 < 1e-3
    print(program.counters["built"], program.counters["loaded"])
"""


# The binary cache --------------------------------------------------------------------------------------------------


@pytest.fixture
def work(child, tmp_path: Path):
    """Runs a little work in a process of its own over the cache folder; gives (built, loaded)."""
    def run(**environment: str) -> tuple[int, int]:
        done = child(WORK, **{"CLGRAD_CACHE_DIR": str(tmp_path / "cache"), "CLGRAD_CACHE": "1"} | environment)
        built, loaded = done.stdout.split()
        return int(built), int(loaded)

    return run


def _binaries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "kernels").rglob("*.bin"))


def test_a_second_process_builds_nothing(work, tmp_path: Path, device: Device) -> None:
    built, loaded = work()
    assert built > 0
    assert loaded == 0
    assert len(_binaries(tmp_path)) == built
    assert all(p.parent.name == device.fingerprint for p in _binaries(tmp_path))
    assert work() == (0, built)
    assert list((tmp_path / "cache").rglob("*.partial")) == []


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "not ours", "an old one"])
def test_a_damaged_binary_is_built_anew(work, tmp_path: Path, damage: str) -> None:
    built, _ = work()
    for path in _binaries(tmp_path):
        data = path.read_bytes()
        path.write_bytes({
            "empty": b"", "truncated": data[:len(data) // 2], "flipped": data[:-1] + bytes([data[-1] ^ 1]),
            "not ours": b"#!/bin/sh\nexit 1\n" * 9, "an old one": data[32:]}[damage])
    assert work() == (built, 0)
    assert work() == (0, built), "and kept again"


def test_a_binary_that_the_driver_refuses_is_built_anew(child, device: Device, tmp_path: Path) -> None:
    """Whole, by our digest, but nothing a driver can load."""
    path = tmp_path / "foreign.bin"
    junk = b"\x7fnot a program of any driver" * 40
    path.write_bytes(hashlib.sha256(junk).digest() + junk)
    done = child(f"""
        import pathlib
        import clgrad
        from clgrad.runtime import program
        assert program._load(clgrad.default_device(), pathlib.Path({str(path)!r})) is None
    """, status=None, CLGRAD_DEVICE=device.key)
    if done.returncode < 0:
        pytest.skip("this driver ends the process on a binary that is none; the digest keeps such files from it")
    assert done.returncode == 0, done.stderr


def test_two_processes_start_on_a_cold_cache(tmp_path: Path) -> None:
    environment = {**os.environ, "CLGRAD_CACHE_DIR": str(tmp_path), "CLGRAD_PROGRESS": "0", "CLGRAD_CACHE": "1",
                   "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(clgrad.__file__).parents[1]),
                                                               os.environ.get("PYTHONPATH"))))}
    both = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(WORK)], env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert errors == ""


def test_a_cache_that_cannot_be_written_is_no_error(work, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = str(tmp_path / "file" / "cache")
    built, loaded = work(CLGRAD_CACHE_DIR=folder)
    assert built > 0
    assert loaded == 0
    assert work(CLGRAD_CACHE_DIR=folder) == (built, 0)


def test_the_cache_can_be_switched_off(work, tmp_path: Path) -> None:
    built, _ = work(CLGRAD_CACHE="0")
    assert _binaries(tmp_path) == []
    assert work(CLGRAD_CACHE="0") == (built, 0)


def test_a_driver_with_a_cache_of_its_own_is_left_to_it(work, tmp_path: Path, device: Device) -> None:
    built, loaded = work(CLGRAD_CACHE="auto")
    assert (built > 0, loaded) == (True, 0)
    own = "pocl" in device.key
    assert (_binaries(tmp_path) == []) == own
    assert work(CLGRAD_CACHE="auto") == ((built, 0) if own else (0, built))
    work(CLGRAD_CACHE="auto", POCL_KERNEL_CACHE="0")
    assert len(_binaries(tmp_path)) == built


def test_a_first_run_says_that_it_builds(child, tmp_path: Path, device: Device) -> None:
    cache = {"CLGRAD_CACHE_DIR": str(tmp_path), "CLGRAD_CACHE": "1"}
    first = child(WORK, CLGRAD_PROGRESS=None, **cache)
    assert first.stderr.count(f"clgrad: building kernels for {device} ({device.name})") == 1
    assert child(WORK, CLGRAD_PROGRESS=None, **cache).stderr == ""


@pytest.fixture
def aged(tmp_path: Path) -> Path:
    """A folder of ten binaries of 100 bytes for two drivers, 0.bin unused for longest."""
    for i in range(10):
        path = tmp_path / ("one", "two")[i % 2] / f"{i}.bin"
        binaries.write(path, bytes(68))
        os.utime(path, (0, 1e9 + i))
    return tmp_path


def test_binaries_unused_for_longest_go_beyond_a_limit(aged: Path) -> None:
    binaries.trim(aged, 1000)
    assert len(list(aged.glob("*/*"))) == 10, "nothing at the limit"
    assert binaries.read(aged / "one" / "0.bin") == bytes(68), "which makes it the youngest"
    binaries.trim(aged, 800)
    assert sorted(p.stem for p in aged.glob("*/*")) == ["0", "5", "6", "7", "8", "9"]
    binaries.trim(aged, 0)
    assert list(aged.glob("*/*")) == []
    binaries.trim(aged / "absent", 0)


def test_the_limit_is_looked_at_when_a_process_writes(work, tmp_path: Path) -> None:
    old = tmp_path / "cache" / "kernels" / "a driver of old" / "old.bin"
    old.parent.mkdir(parents=True)
    old.write_bytes(bytes(5000))
    os.utime(old, (0, 1e9))
    work()
    assert old.exists()
    (tmp_path / "cache" / "kernels" / clgrad.default_device().fingerprint).rename(tmp_path / "aside")
    built, _ = work(CLGRAD_CACHE_LIMIT="4K")
    assert not old.exists()
    assert built > 0


# Builds and faults -------------------------------------------------------------------------------------------------


def test_a_refused_kernel_names_driver_and_log(device: Device, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(BuildError) as error:
        program.build(device, "kernel void broken(global float *x) { x[0] = no_such_name; }", "broken")
    text = str(error.value)
    assert text.startswith(f"broken: the driver of {device} ({device.name}) refused the kernel: ")
    assert "no_such_name" in text, "the compiler's log is in the message"
    assert "Set CLGRAD_DEBUG=4 to see its source" in text
    assert clgrad.ones(3).sum().item() == 3


def test_programs_in_memory_have_a_limit(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it all are let go, and with them the plans that hold kernels; what is computed stays right."""
    forgotten = []
    monkeypatch.setattr(program, "_programs", {})
    monkeypatch.setattr(program, "_kernels", {})
    monkeypatch.setattr(program, "_MOST_PROGRAMS", 3)
    assert plans.forget in program.when_dropped
    monkeypatch.setattr(program, "when_dropped", [plans.forget, lambda: forgotten.append(len(program._programs))])
    x = clgrad.arange(5, dtype=clgrad.float32, device=device)
    most = 0
    for i in range(8):
        program.build(device, f"kernel void limited_{i}(global int *a) {{ a[0] = {i}; }}")
        most = max(most, len(program._programs))
        assert (x + x).tolist() == [0, 2, 4, 6, 8]
    assert most == 3
    assert len(forgotten) > 2
    assert set(forgotten) == {0}


def test_options_that_a_driver_refuses_are_left_out(device: Device, tmp_path: Path, capfd) -> None:
    source = "kernel void fine(global float *x) { x[get_global_id(0)] = 1; }"
    with config.override(build_options="-no-such-option", cache_dir=tmp_path):
        assert program.build(device, source, "fine") is not None


@pytest.fixture
def doomed(device: Device) -> Device:
    """A device of its own, to be lost."""
    return Device(device._cl, "doomed:0", 7)


def test_a_lost_device_says_so_from_then_on(doomed: Device) -> None:
    import pyopencl as cl

    x = clgrad.ones(4, device=doomed)
    assert (x + 1).sum().item() == 8
    record = cl.RuntimeError("clEnqueueNDRangeKernel failed: OUT_OF_RESOURCES")
    with pytest.raises(DeviceError, match=r"device doomed:0: lost after add \(.*OUT_OF_RESOURCES.*\)\. "
                                          r"Last launches: .*CLGRAD_SYNC=1\. Restart the process"):
        launch._fault(doomed, "add", record)
    for use in (lambda: x + 1, lambda: x.numpy(), lambda: clgrad.zeros(3, device=doomed),
                lambda: clgrad.synchronize(doomed), lambda: clgrad.tensor([1.0], device=doomed)):
        with pytest.raises(DeviceError, match="device doomed:0: lost after add"):
            use()
    assert "<on a lost device>" in repr(x)
    assert clgrad.ones(3).sum().item() == 3, "other devices go on"


def test_a_fault_that_is_not_fatal_names_the_op(doomed: Device) -> None:
    import pyopencl as cl

    clgrad.ones(4, device=doomed)
    with pytest.raises(DeviceError, match=r"mul: device doomed:0 answered .*INVALID_KERNEL_ARGS.*CLGRAD_DEBUG=3"):
        launch._fault(doomed, "mul", cl.LogicError("clEnqueueNDRangeKernel failed: INVALID_KERNEL_ARGS"))
    assert doomed.lost is None
    with pytest.raises(ZeroDivisionError):
        launch._fault(doomed, "mul", ZeroDivisionError())


# Threads and processes ---------------------------------------------------------------------------------------------


def test_eight_threads_compute_right_results(rng: np.random.Generator, in_threads: Callable) -> None:
    """A kernel object shared by threads mixes up their arguments: each thread has its own."""
    hosts = [rng.standard_normal((7, n)).astype(np.float32) for n in range(40, 48)]

    def run(host: np.ndarray) -> None:
        x = clgrad.tensor(host)
        expected = (host * 3 + host).sum()
        for _ in range(40):
            got = (x * 3 + x).sum().item()
            assert abs(got - expected) <= 1e-3, f"{host.shape}: {got} for {expected}"

    in_threads(run, hosts)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_gets_an_error_and_does_not_hang(child) -> None:
    done = child("""
        import os, warnings
        import clgrad
        warnings.simplefilter("ignore")
        x = clgrad.ones(4)
        assert (x + 1).sum().item() == 8
        pid = os.fork()
        if pid == 0:
            status = 1
            for use in (lambda: x + 1, lambda: x.tolist(), lambda: clgrad.zeros(2), clgrad.synchronize):
                try:
                    use()
                except clgrad.errors.DeviceError as error:
                    print(error, flush=True)
                    status = 0
                else:
                    status = 2
                    break
            os._exit(status)
        _, ended = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(ended) == 0
        assert (x + 1).sum().item() == 8
    """, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all("forked child process; OpenCL does not survive a fork. Start processes with multiprocessing's 'spawn'"
               in line for line in lines)


def test_a_spawned_child_takes_an_array(child, tmp_path: Path) -> None:
    script = tmp_path / "spawning.py"
    script.write_text(textwrap.dedent("""
        import multiprocessing
        import clgrad

        def double(x):
            return (x * 2).tolist()

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(double, (clgrad.tensor([1.0, 2.0]),)))
    """))
    assert child([str(script)]).stdout.strip() == "[2.0, 4.0]"


# Settings ----------------------------------------------------------------------------------------------------------


def test_debug_levels(child, tmp_path: Path) -> None:
    code = "import clgrad; x = clgrad.ones(1000); print((x * 3).sum().item())"
    said = {}
    for level in range(5):
        done = child(code, CLGRAD_DEBUG=str(level), CLGRAD_PROGRESS="0", CLGRAD_CACHE_DIR=str(tmp_path / str(level)))
        assert done.stdout == "3000.0\n"
        said[level] = done.stderr
    marks = {1: ("Pool(", "Copies("), 2: ("mul ", " us ", "GB/s"), 3: (" built in ", "local ("), 4: ("kernel void", )}
    assert said[0] == ""
    for level, text in said.items():
        for least, parts in marks.items():
            for part in parts:
                assert (part in text) == (level >= least), f"{part!r} at CLGRAD_DEBUG={level}"
    kept = {"CLGRAD_DEBUG": "3", "CLGRAD_CACHE_DIR": str(tmp_path / "kept"), "CLGRAD_CACHE": "1"}
    child(code, **kept)
    again = child(code, **kept)
    assert "kernel loaded from" in again.stderr


def test_sync_and_check(child) -> None:
    done = child("""
        import clgrad
        x = clgrad.tensor([1.0, -1.0])
        assert (x * 2).tolist() == [2.0, -2.0]
        (x / 0.5).sum()
        y = clgrad.tensor([float("nan")]) + 1   # a NaN that came in is not the op's
        try:
            x.log()
        except FloatingPointError as error:
            print(error)
    """, CLGRAD_SYNC="1", CLGRAD_CHECK="1")
    assert done.stdout.startswith("log: made a NaN from inputs without one (CLGRAD_CHECK=1). The traceback shows where")


def test_a_setting_that_cannot_be_read(child) -> None:
    done = child("import clgrad", status=1, CLGRAD_FORM="square")
    assert "ValueError: CLGRAD_FORM='square' cannot be read: expected one of auto, wide, many" in done.stderr


# Both kernel shapes --------------------------------------------------------------------------------------------------


@pytest.fixture
def other_form(device: Device, both_forms: dict[str, Device]) -> Iterator[Device]:
    """The same OpenCL device with kernels of the shape that it does not get by itself."""
    with both_forms["many" if device.wide_core else "wide"] as other:
        yield other


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.cases], ids=lambda op: op.name)
def test_the_other_form_computes_the_same(op: Op, other_form: Device) -> None:
    kind = next(k for k in "ficbu" if k in op.kinds or k == "u")
    dtype = {"f": clgrad.float32, "i": clgrad.int32, "c": clgrad.complex64}.get(kind, clgrad.bool)
    for sample in samples(op, dtype):
        if sample.dtype.name == "float64" and not other_form.facts.fp64:
            continue
        tensors = [on_device(x, device=other_form) for x in sample.inputs]
        out = call(ops.ALL[op.name], tensors, sample.attrs)
        if op.several:
            for got, expected in zip(out, op.ref(*sample.inputs, **sample.attrs)):
                assert_close(got, expected, scale=8.0, message=op.name)
            continue
        expected, result = expected_of(op, sample.inputs, sample.attrs)
        assert_close(out, expected, dtype=result, scale=8.0, message=f"{op.name} {sample.attrs}")


ALONG_AXES = [op for op in OPS.values() if op.family in ("reduce", "softmax") and "dim" in op.attrs and not op.several
              and len(op.tensors) == 1 and "f" in op.kinds]


@pytest.mark.parametrize("shape", [(3, 3000), (3000, 3), (40, 700)], ids=str)
@pytest.mark.parametrize("op", ALONG_AXES, ids=lambda op: op.name)
def test_long_axes_in_both_forms(op: Op, shape: tuple[int, int], device: Device, other_form: Device,
                                 rng: np.random.Generator) -> None:
    """The cases of the records are small; these make work-groups share a row."""
    host = rng.uniform(0.9, 1.1, shape).astype(np.float32)
    for dim in (0, 1):
        expected, result = expected_of(op, [host], {"dim": dim})
        for d in (device, other_form):
            out = ops.ALL[op.name](on_device(host, device=d), dim=dim)
            out = out[0] if isinstance(out, tuple) else out  # values, indices
            assert_close(out, expected, dtype=result, scale=8.0, message=f"{op.name} {shape} dim={dim} on {d}")


@pytest.mark.parametrize(("shape", "dims"), [((70, 2100), (0,)), ((6, 5, 3, 90), (0, 2)), ((2, 1030, 40), (1,))],
                         ids=str)
def test_columns_of_rows_that_lie_apart(shape: tuple[int, ...], dims: tuple[int, ...], device: Device,
                                        rng: np.random.Generator) -> None:
    host = rng.integers(-50, 50, shape).astype(np.int32)
    for ours, theirs in ((clgrad.sum, np.sum), (clgrad.amax, np.max)):
        x = on_device(host, device=device)
        np.testing.assert_array_equal(ours(x, dims).numpy(), theirs(host, dims))
        np.testing.assert_array_equal(ours(x[..., 3:-2], dims).numpy(), theirs(host[..., 3:-2], dims))
        np.testing.assert_array_equal(ours(x.flip(0), dims).numpy(), theirs(host[::-1], dims))


@pytest.mark.parametrize("form", ["wide", "many"])
def test_the_form_can_be_forced(child, form: str) -> None:
    done = child("""
        import numpy as np
        import clgrad
        host = np.arange(6000, dtype=np.float32).reshape(60, 100)
        x = clgrad.tensor(host)
        for dim in (None, 0, 1):
            np.testing.assert_allclose(x.sum(dim).numpy(), host.sum(dim), rtol=1e-5)
        np.testing.assert_allclose((x.t() * 2 + 1).numpy(), host.T * 2 + 1)
        print(clgrad.default_device().wide_core)
    """, CLGRAD_FORM=form)
    assert done.stdout.strip() == str(form == "wide")
