"""Fixtures of tests that need a device. Without one they fail, saying what to install: nothing is skipped silently."""

from __future__ import annotations

import numpy as np
import pytest

import clgrad


@pytest.fixture(scope="session")
def device() -> clgrad.Device:
    """The device under test: the default one, as CLGRAD_DEVICE says."""
    return clgrad.default_device()


@pytest.fixture(autouse=True)
def _device_usable(device: clgrad.Device) -> None:
    """Every test here needs a device, whether it asks for the fixture or not."""
    if device.lost is not None:
        pytest.fail(f"an earlier test lost the device: {device.lost}")


@pytest.fixture
def rng() -> np.random.Generator:
    """Numbers that are the same in every run."""
    return np.random.default_rng(20240229)
