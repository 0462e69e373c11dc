"""Built kernels on disk: written whole, checked by their digest, the longest unused removed beyond a limit."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..core.config import config

_DIGEST = 32       # bytes of SHA-256 before the binary itself
_DAY = 86400.0     # seconds: how exactly a file's last use is known
_TRIM_EVERY = 100  # binaries a process writes from one look at the folder's size to the next
_written = itertools.count()


def path_of(fingerprint: str, digest: str) -> Path:
    """The file of a program: of its device and driver, and of its source and options."""
    return config.cache_dir / "kernels" / fingerprint / f"{digest[:40]}.bin"


def read(path: Path) -> bytes | None:
    """A binary, or None where there is none, or none that is whole. It counts as used, to the day."""
    try:
        data = path.read_bytes()
        if len(data) <= _DIGEST or hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            return None
        if time.time() - path.stat().st_mtime > _DAY:
            os.utime(path)
    except OSError:
        return None
    return data[_DIGEST:]


def write(path: Path, binary: bytes) -> None:
    """Keep a binary; a folder that cannot be written is no error."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(hashlib.sha256(binary).digest() + binary)
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
    if next(_written) % _TRIM_EVERY == 0:
        trim(config.cache_dir / "kernels", config.cache_limit)


def trim(folder: Path, limit: int) -> None:
    """Remove what was not used for the longest time, of all devices and drivers, until three quarters of ``limit``
    bytes are left; nothing below the limit. Other processes may do the same at the same time."""
    files = []
    for path in folder.glob("*/*"):
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    if total <= limit:
        return
    for _, size, path in sorted(files):
        with suppress(OSError):
            path.unlink()
        total -= size
        if total <= limit * 3 // 4:
            return
