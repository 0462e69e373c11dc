"""The error classes: each is also the built-in that NumPy's or PyTorch's users catch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from clgrad.core import errors
from clgrad.runtime import drivers

BUILT_IN = {
    errors.ShapeError: (ValueError, RuntimeError), errors.DTypeError: (TypeError, RuntimeError),
    errors.DeviceError: (RuntimeError,), errors.NoDeviceError: (errors.DeviceError, RuntimeError),
    errors.BuildError: (errors.DeviceError,), errors.OutOfMemoryError: (errors.DeviceError, MemoryError),
    errors.GraphError: (RuntimeError,), errors.CorruptFileError: (ValueError,), errors.UnsafeFileError: (ValueError,),
    errors.LinAlgError: (RuntimeError, np.linalg.LinAlgError),
}


def test_every_class_is_a_clgrad_error_and_a_built_in() -> None:
    declared = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.ClgradError)}
    assert declared - {errors.ClgradError} == set(BUILT_IN)
    for kind, bases in BUILT_IN.items():
        assert issubclass(kind, errors.ClgradError)
        assert issubclass(kind, bases), kind


def test_wording() -> None:
    assert errors.bad("op", 3, "four", "Add one.") == "op: got 3; expected four. Add one."


@pytest.mark.parametrize(("platform", "part"), [("linux", "pip install 'clgrad[cpu]'"), ("darwin", "conda-forge"),
                                                ("win32", "graphics driver"), ("haiku", "PoCL")])
def test_install_help_of_each_platform(monkeypatch: pytest.MonkeyPatch, platform: str, part: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert part in drivers.install_help()
