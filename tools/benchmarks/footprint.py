"""The memory of this process: what it has, and the most it had."""

from __future__ import annotations

from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _linux(field: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":")), None)


def resident() -> int | None:
    """Bytes in memory now; the most until now where the system tells no more, None where it tells nothing."""
    return _linux("VmRSS") or peak_resident()


def peak_resident() -> int | None:
    """Most bytes in memory since the start, or since ``reset_peak`` where that works."""
    found = _linux("VmHWM")
    if found is None:
        try:
            import resource
            import sys
        except ImportError:
            return None
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return found


def reset_peak() -> bool:
    """Let the peak be what is in memory now; False where the system cannot."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
