"""Data sets for worker processes, which import them by name: kept apart from the tests, which need pytest."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from clgrad.utils.data import Dataset, HostArray, IterableDataset, default_collate, get_worker_info


class Squares(Dataset):
    """Sample i is ([i, i], i squared); ``fault`` says what goes wrong at sample 5."""

    def __init__(self, count: int, fault: str | None = None) -> None:
        self.count = count
        self.fault = fault

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple:
        if index == 5 and self.fault is not None:
            getattr(self, self.fault)()
        return np.full(2, index, np.float32), index**2

    def missing(self) -> None:
        raise KeyError("sample 5 is missing")

    def odd_error(self) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "an error that no single text makes")

    def killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self) -> None:
        os._exit(3)

    def sleeps(self) -> None:
        time.sleep(60)

    def device_call(self) -> None:
        import clgrad

        clgrad.zeros(3)


class Told(Dataset):
    """Sample i says which worker made it, and with what seed."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        info = get_worker_info()
        return {"index": index, "id": info.id, "of": info.num_workers, "seed": info.seed % 1000,
                "numpy": np.random.rand(), "same": info.dataset is self, "note": os.environ.get("CLGRAD_NOTE", "")}


class Stream(IterableDataset):
    """0 .. count - 1, shared out among the workers."""

    def __init__(self, count: int, share: bool = True) -> None:
        self.count = count
        self.share = share

    def __iter__(self):
        info = get_worker_info()
        step, first = (info.num_workers, info.id) if info is not None and self.share else (1, 0)
        return iter(range(first, self.count, step))


def note(worker: int) -> None:
    os.environ["CLGRAD_NOTE"] = f"worker {worker}"


def fail(worker: int) -> None:
    raise ValueError(f"no luck in {worker}")


def doubled_columns(samples: list) -> tuple:
    """A collate function of one's own: marked columns, a plain NumPy array, a tuple."""
    x, y = default_collate(samples)
    assert (type(x) is HostArray) == (get_worker_info() is not None)
    return (x * 2, y), np.asarray([s[1] for s in samples]), (1, "text")
