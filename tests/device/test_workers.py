"""Worker processes: order, what travels, who sees a device, every way to fail, and what is left behind (nothing)."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad import Variable
from clgrad.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parent))
import worker_data

sys.path.pop(0)

SHARED = Path("/dev/shm")


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch):
    """No process, thread or shared memory outlives its loader."""
    monkeypatch.syspath_prepend(Path(__file__).parent)  # what workers import from
    yield
    gc.collect()  # an exception that a test caught holds its frames, in a cycle
    assert multiprocessing.active_children() == []
    assert [t.name for t in threading.enumerate() if t.name.startswith("clgrad-data")] == []
    assert [p.name for p in SHARED.glob("clg*") if p.stat().st_uid == os.getuid() and _ours(p)] == []


_before = {p.name for p in SHARED.glob("clg*")} if SHARED.is_dir() else set()


def _ours(path: Path) -> bool:
    """Whether shared memory may be this process's: other tests run beside it."""
    return path.name not in _before and "PYTEST_XDIST_WORKER" not in os.environ


def _all(loader: DataLoader) -> list[list[int]]:
    return [y.tolist() for _, y in loader]


EXPECTED = [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81, 100]]


def test_epochs_of_persistent_workers(device) -> None:
    loader = DataLoader(worker_data.Squares(11), 4, num_workers=2, persistent_workers=True)
    assert _all(loader) == EXPECTED
    processes = {p.pid for p in multiprocessing.active_children()}
    device.copies.reset()
    batches = list(loader)
    assert (device.copies.to_device, device.copies.to_host) == (6, 0)
    assert [y.tolist() for _, y in batches] == EXPECTED
    assert {p.pid for p in multiprocessing.active_children()} == processes
    x = batches[2][0]
    assert isinstance(x, Variable)
    assert (x.tolist(), x.dtype) == ([[8, 8], [9, 9], [10, 10]], clgrad.float32)
    for _ in loader:  # an abandoned epoch leaves the next one whole
        break
    assert _all(loader) == EXPECTED
    older, newer = iter(loader), iter(loader)
    assert next(newer)[1].tolist() == EXPECTED[0]
    assert list(older) == []
    del older, newer, loader


def test_what_workers_know() -> None:
    loader = DataLoader(worker_data.Told(), 2, num_workers=2, worker_init_fn=worker_data.note, prefetch=0,
                        generator=clgrad.Generator().manual_seed(1))
    batches = list(loader)
    assert [b["index"].tolist() for b in batches] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [b["id"].tolist() for b in batches] == [[0, 0], [1, 1]] * 2
    assert all(b["of"].tolist() == [2, 2] and b["same"].tolist() == [True, True] for b in batches)
    assert [b["note"][0] for b in batches] == ["worker 0", "worker 1"] * 2
    seeds = [int(b["seed"][0].item()) for b in batches]
    assert seeds[1] == (seeds[0] + 1) % 1000
    draws = [v for b in batches for v in b["numpy"].tolist()]
    assert len(set(draws)) == 8


def test_streams_are_shared_out() -> None:
    loader = DataLoader(worker_data.Stream(11), 3, num_workers=2)
    assert [b.tolist() for b in loader] == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9]]
    loader = DataLoader(worker_data.Stream(3, share=False), None, num_workers=2)
    assert list(loader) == [0, 0, 1, 1, 2, 2]


def test_a_collate_function_in_a_worker() -> None:
    """What default_collate made comes as Variables, a plain NumPy array as it is, with or without workers."""
    for workers in (0, 1):
        (x, y), plain, (one, text) = next(iter(DataLoader(worker_data.Squares(2), 2, num_workers=workers,
                                                          collate_fn=worker_data.doubled_columns)))
        assert isinstance(x, Variable)
        assert isinstance(y, Variable)
        assert (x.tolist(), y.tolist()) == ([[0, 0], [2, 2]], [0, 1])
        assert type(plain) is np.ndarray
        assert (plain.tolist(), one, text) == ([0, 1], 1, "text")


# Failing -------------------------------------------------------------------------------------------------------------


def test_an_exception_comes_in_its_turn_with_its_traceback_and_the_rest_follows() -> None:
    batches = iter(DataLoader(worker_data.Squares(11, "missing"), 4, num_workers=2))
    assert next(batches)[1].tolist() == EXPECTED[0]
    with pytest.raises(KeyError) as caught:
        next(batches)
    text = str(caught.value)
    assert text.startswith("Caught KeyError in DataLoader worker process 1.\nOriginal Traceback (most recent call")
    assert "worker_data.py" in text
    assert "sample 5 is missing" in text
    assert next(batches)[1].tolist() == EXPECTED[2]
    assert list(batches) == []


@pytest.mark.parametrize(("fault", "error", "parts"), [
    ("odd_error", RuntimeError, ["Caught UnicodeDecodeError in DataLoader worker process 0"]),
    ("device_call", clgrad.errors.DeviceError, ["Caught DeviceError", "got the use of a device in a worker process",
                                                "expected host data", "worker_data.py"]),
    ("killed", RuntimeError, ["DataLoader: worker 0 (pid ", "was killed by signal 9 (SIGKILL)"]),
    ("exits", RuntimeError, ["DataLoader: worker 0 (pid ", "ended with exit code 3"]),
])
def test_faults(fault: str, error: type, parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        list(DataLoader(worker_data.Squares(11, fault), 11, num_workers=1))
    for part in parts:
        assert part in str(caught.value)


def test_a_killed_worker_ends_the_iteration_and_the_next_one_has_new_workers() -> None:
    loader = DataLoader(worker_data.Squares(11), 1, num_workers=1, persistent_workers=True, prefetch=0)
    batches = iter(loader)
    next(batches)
    (process,) = multiprocessing.active_children()
    process.kill()
    with pytest.raises(RuntimeError, match="was killed by signal 9"):
        list(batches)
    assert list(batches) == []
    assert len(_all(loader)) == 11


def test_no_batch_in_time() -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="got no batch from its workers for 2 seconds; expected one within"):
        list(DataLoader(worker_data.Squares(11, "sleeps"), 11, num_workers=1, timeout=2))
    assert time.monotonic() - start < 30


def test_an_abandoned_iteration_ends_a_worker_that_sleeps() -> None:
    batches = iter(DataLoader(worker_data.Squares(11, "sleeps"), 5, num_workers=1))
    next(batches)
    batches.close()


def test_init_function_and_data_that_cannot_go(monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"Caught ValueError in DataLoader worker process 0(.|\n)*no luck in 0"):
        list(DataLoader(worker_data.Squares(2), num_workers=1, worker_init_fn=worker_data.fail))
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(TypeError, match=r"DataLoader: got a data set, collate_fn .* that cannot be pickled .*"
                                        r"install cloudpickle \(pip install 'clgrad\[data\]'\)"):
        iter(DataLoader(worker_data.Squares(2), num_workers=1, collate_fn=lambda samples: samples))


def test_lambdas_by_cloudpickle() -> None:
    pytest.importorskip("cloudpickle")
    loader = DataLoader(worker_data.Squares(3), 3, num_workers=1, collate_fn=lambda samples: len(samples))
    assert list(loader) == [3]


def test_data_on_a_device_is_read_in_this_process() -> None:
    x = clgrad.arange(6)
    loader = DataLoader([x[i] for i in range(6)], 3, num_workers=2)
    with pytest.warns(UserWarning, match="got a data set that holds a Variable on a device; expected host data"):
        assert [b.tolist() for b in loader] == [[0, 1, 2], [3, 4, 5]]
    shared = DataLoader(TensorDataset(x), 3, num_workers=2)  # needs no worker: a batch is a take
    assert [b.tolist() for (b,) in shared] == [[0, 1, 2], [3, 4, 5]]


# Programs ------------------------------------------------------------------------------------------------------------

_PROGRAM = """
    import numpy as np
    import sys
    sys.modules["cloudpickle"] = None
    import clgrad
    from clgrad.utils.data import DataLoader, Dataset

    class Numbers(Dataset):
        def __len__(self):
            return 4
        def __getitem__(self, i):
            return np.float32(i)

    BODY
"""


def _script(tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(_PROGRAM).replace("BODY", textwrap.dedent(body)))
    return [str(path)]


def test_a_script_with_a_guard(child, tmp_path: Path) -> None:
    done = child(_script(tmp_path, """
        if __name__ == "__main__":
            print([b.tolist() for b in DataLoader(Numbers(), 2, num_workers=1)])
    """))
    assert done.stdout == "[[0.0, 1.0], [2.0, 3.0]]\n"
    assert "resource_tracker" not in done.stderr


def test_a_script_without_a_guard_whose_data_set_stands_above(child, tmp_path: Path) -> None:
    done = child(_script(tmp_path, "print([b.tolist() for b in DataLoader(Numbers(), 2, num_workers=1)])"))
    assert done.stdout == "[[0.0, 1.0], [2.0, 3.0]]\n"


def test_a_script_without_a_guard_whose_collate_function_stands_below_a_device_call(child, tmp_path: Path) -> None:
    done = child(_script(tmp_path, """
        clgrad.zeros(1)
        def late(samples):
            return len(samples)
        print(list(DataLoader(Numbers(), 2, num_workers=1, collate_fn=late)))
    """), status=1)
    for part in ("got a script that cannot be imported", 'Put what is to run once under `if __name__ == "__main__":`',
                 "clgrad.zeros(1)"):
        assert part in done.stderr
    assert "leaked" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_workers_end_when_their_consumer_is_killed(child, tmp_path: Path) -> None:
    done = child(_script(tmp_path, """
        if __name__ == "__main__":
            import multiprocessing, os, signal
            batches = iter(DataLoader(Numbers(), 1, num_workers=1, prefetch=0))
            next(batches)
            print(*(p.pid for p in multiprocessing.active_children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """), status=-9)
    deadline = time.monotonic() + 20
    while _alive(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(int(done.stdout))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
