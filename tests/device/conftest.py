"""Fixtures of tests that need a device. Without one they fail, saying what to install: nothing is skipped silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clgrad
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
