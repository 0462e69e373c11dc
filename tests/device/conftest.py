"""Fixtures of tests that need a device. Without one they fail, saying what to install: nothing is skipped silently."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad.ops.norm import rows_of
from clgrad.runtime.launch import Launch


@pytest.fixture(scope="session")
def device() -> clgrad.Device:
    """The device under test: the default one, as CLGRAD_DEVICE says."""
    return clgrad.default_device()


def forced(device: clgrad.Device, form: str) -> clgrad.Device:
    """The same OpenCL device once more, with kernels of the given shape whatever it prefers. Plans and kernels belong
    to a Device, so those of one shape never serve the other."""
    other = clgrad.Device(device._cl, f"{device.key}/{form}", device.index)
    with clgrad.config.override(form=form):
        assert other.wide_core is (form == "wide")
    return other


@pytest.fixture(scope="session")
def both_forms(device: clgrad.Device) -> dict[str, clgrad.Device]:
    return {form: forced(device, form) for form in ("wide", "many")}


@pytest.fixture(params=["wide", "many"])
def form(request: pytest.FixtureRequest, both_forms: dict[str, clgrad.Device]):
    """A device with kernels of each shape in turn; the default device of the test."""
    with both_forms[request.param] as chosen:
        yield chosen


@pytest.fixture(autouse=True)
def _device_usable(device: clgrad.Device) -> None:
    """Every test here needs a device, whether it asks for the fixture or not."""
    if device.lost is not None:
        pytest.fail(f"an earlier test lost the device: {device.lost}")


@pytest.fixture
def rng() -> np.random.Generator:
    """Numbers that are the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def in_threads() -> Callable[[Callable[[Any], None], Iterable], None]:
    """Runs work(item) for all items at once, in threads that take turns as often as they can; fails if any did."""
    def run(work: Callable[[Any], None], items: Iterable) -> None:
        def one(item: Any) -> None:
            try:
                work(item)
            except Exception as error:
                wrong.append(repr(error))

        wrong: list[str] = []
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=one, args=(item,)) for item in items]
            for t in threads:
                t.start()
            for t in threads:
                t.join(120)
        finally:
            sys.setswitchinterval(before)
        assert wrong == []
        assert not any(t.is_alive() for t in threads)

    return run


@pytest.fixture
def norm_calls(rng: np.random.Generator) -> Callable[[tuple, dict], Iterator[tuple]]:
    """Name, host arrays and further attributes of the norm family's records for rows of a shape."""
    def calls(shape: tuple, attrs: dict) -> Iterator[tuple]:
        rows, channels = rows_of(shape, attrs["scheme"], attrs["size"]), shape[1]
        x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
        w, b = (rng.standard_normal(channels).astype(np.float32) for _ in range(2))
        yield "norm_rows", [x, w, b], attrs
        yield ("norm_rows_backward", [dy, x, np.zeros(rows.rows, np.float32) + np.float32(0.1),
                                      np.full(rows.rows, 1.5, np.float32), w], {**attrs, "wanted": True})

    return calls


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Labels and argument counts of the launches of the optimisers' kernel, which also clips and averages."""
    seen: list[tuple] = []
    real = Launch.__call__

    def count(launch: Launch, *values: Any) -> None:
        if launch.kernel.function == "optimize":
            seen.append((launch.kernel.label, len(launch.args)))
        real(launch, *values)

    monkeypatch.setattr(Launch, "__call__", count)
    return seen
