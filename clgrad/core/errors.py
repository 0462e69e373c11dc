"""The errors clgrad raises. Each message says op, got, expected, and what to do.

Where PyTorch and NumPy disagree on the class (shape mismatch: RuntimeError there, ValueError here),
ours is both, so that code from either side catches it.
"""

from __future__ import annotations

import numpy as np


class ClgradError(Exception):
    """Base of every error that clgrad raises on purpose."""


class ShapeError(ClgradError, ValueError, RuntimeError):
    """Shapes that do not fit an op, a view that memory order does not allow, an axis out of range."""


class DTypeError(ClgradError, TypeError, RuntimeError):
    """A dtype that an op does not take, or that the device does not have."""


class DeviceError(ClgradError, RuntimeError):
    """Arrays on different devices, an unknown or broken device, a device that was lost."""


class NoDeviceError(DeviceError):
    """No usable OpenCL device was found; the message says what to install."""


class BuildError(DeviceError):
    """A driver refused a kernel; the message holds the compiler's log."""


class OutOfMemoryError(DeviceError, MemoryError):
    """A device had no room: the message gives asked, held, limit and device (bytes)."""


class GraphError(ClgradError, RuntimeError):
    """A backward pass that cannot run: freed graph, non-scalar root, a value changed in place."""


class LinAlgError(ClgradError, np.linalg.LinAlgError, RuntimeError):
    """A matrix that an op of linear algebra cannot take: singular, not positive-definite, or not converging."""


class CorruptFileError(ClgradError, ValueError):
    """A file whose content is damaged; the message names the file and the tensor."""


class UnsafeFileError(ClgradError, ValueError):
    """A file that asks for more than data: for code to run, or classes to be imported. The message names what."""


def bad(op: str, got: object, expected: str, remedy: str) -> str:
    """The one wording of an error message: op, got, expected, remedy."""
    return f"{op}: got {got}; expected {expected}. {remedy}"


def missing(what: str, package: str, extra: str) -> ImportError:
    """The one wording of an absent optional package: what needs it and the command that installs it."""
    return ImportError(f"{what}: needs the package {package}, which is not installed. "
                       f'Install it with: pip install "clgrad[{extra}]"')
