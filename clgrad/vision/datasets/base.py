"""What image data sets share: transforms of a sample, and files that are fetched and checked."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import CorruptFileError, bad
from ...io.atomic import replacing
from ...utils.data import Dataset

_CHUNK = 1 << 20
_SECONDS = 30  # without a byte from a server


class VisionDataset(Dataset):
    """A data set of images below ``root``. ``transform`` is called with an image, ``target_transform`` with a target;
    or ``transforms`` with both, in place of them."""

    def __init__(self, root: Any = None, transforms: Callable | None = None, transform: Callable | None = None,
                 target_transform: Callable | None = None) -> None:
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError(bad(type(self).__name__, "transforms with transform or target_transform",
                                 "one or the other", "transforms takes the image and the target."))
        self.root = os.path.expanduser(root) if isinstance(root, (str, Path)) else root
        self.transform = transform
        self.target_transform = target_transform
        self.transforms = transforms

    def _transformed(self, image: Any, target: Any) -> tuple[Any, Any]:
        if self.transforms is not None:
            return self.transforms(image, target)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} needs __len__()")

    def extra_repr(self) -> str:
        """A data set's own lines of its repr."""
        return ""

    def __repr__(self) -> str:
        lines = [f"Dataset {type(self).__name__}", f"    Number of datapoints: {len(self)}"]
        if self.root is not None:
            lines.append(f"    Root location: {self.root}")
        lines += [f"    {line}" for line in self.extra_repr().splitlines()]
        for name in ("transforms", "transform", "target_transform"):
            if getattr(self, name) is not None:
                lines.append(f"    {name}: {getattr(self, name)!r}".replace("\n", "\n    "))
        return "\n".join(lines)


# Files -------------------------------------------------------------------------------------------------------------


def md5_of(path: Path) -> str:
    """The MD5 digest of a file, which these data sets' authors publish: it shows damage, not forgery."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_md5(op: str, path: Path, md5: str | None) -> None:
    """CorruptFileError where a file is not the published one."""
    if md5 is None:
        return
    found = md5_of(path)
    if found != md5:
        raise CorruptFileError(bad(op, f"{path} with the MD5 digest {found}", md5,
                                   "Delete it, and pass download=True or fetch it again."))


def absent(op: str, paths: Sequence[Path]) -> FileNotFoundError:
    """The error of files that are not there."""
    return FileNotFoundError(bad(op, f"no file {' nor '.join(str(p) for p in paths)}", "the data set's files",
                                 "Pass download=True, or put them there."))


def fetch(op: str, urls: Sequence[str], path: Path, md5: str | None) -> None:
    """Fetch a file from the first of several addresses that gives it, unless it is there; check it either way."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        problems = []
        for url in urls:
            try:
                _fetch_one(url, path)
                break
            except (urllib.error.URLError, OSError, ValueError) as error:
                problems.append(f"{url}: {getattr(error, 'reason', error)}")
        else:
            raise RuntimeError(bad(op, f"no answer for {path.name} ({'; '.join(problems)})", "a download",
                                   f"Fetch it by hand and put it at {path}."))
    try:
        check_md5(op, path, md5)
    except CorruptFileError:
        path.unlink()
        raise


def _fetch_one(url: str, path: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "clgrad"})
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer, replacing(path) as file:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
