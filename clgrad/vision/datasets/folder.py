"""A folder a class: DatasetFolder for files of any kind, ImageFolder for images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import bad
from ..pillow import pillow
from .base import VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def find_classes(directory: Any) -> tuple[list[str], dict[str, int]]:
    """Names of the folders in ``directory``, sorted, and their numbers."""
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(bad("find_classes", f"no folder in {directory}", "one a class",
                                    "Sort the files into folders."))
    return classes, {name: i for i, name in enumerate(classes)}


def make_dataset(directory: Any, class_to_idx: dict[str, int] | None = None, extensions: Any = None,
                 is_valid_file: Callable[[str], bool] | None = None,
                 allow_empty: bool = False) -> list[tuple[str, int]]:
    """(path, class number) of each file below the classes' folders, sorted by class, folder and name."""
    if (extensions is None) == (is_valid_file is None):
        raise ValueError(bad("make_dataset", "both or neither of extensions and is_valid_file", "one of them",
                             "They say which files count."))
    if class_to_idx is None:
        class_to_idx = find_classes(directory)[1]
    if is_valid_file is None:
        endings = (extensions,) if isinstance(extensions, str) else tuple(extensions)
        is_valid_file = lambda path: path.lower().endswith(endings)
    samples, empty = [], []
    for name in sorted(class_to_idx):
        paths = [os.path.join(folder, file) for folder, _, files in
                 sorted(os.walk(os.path.join(directory, name), followlinks=True)) for file in sorted(files)]
        valid = [path for path in paths if is_valid_file(path)]
        samples += [(path, class_to_idx[name]) for path in valid]
        if not valid:
            empty.append(name)
    if empty and not allow_empty:
        kinds = f" of {', '.join((extensions,) if isinstance(extensions, str) else extensions)}" if extensions else ""
        raise FileNotFoundError(bad("make_dataset", f"no file{kinds} for the class {', '.join(empty)} in {directory}",
                                    "at least one a class", "Pass allow_empty=True to accept it."))
    return samples


def pil_loader(path: str) -> Any:
    """An image file as RGB."""
    with open(path, "rb") as file:
        return pillow().open(file).convert("RGB")


class DatasetFolder(VisionDataset):
    """Files in a folder a class, ``root/dog/x.ext``: ``self[i]`` is ``loader(path)`` and the class's number.

    ``extensions`` or ``is_valid_file(path)`` says which files count; a class without any is an error unless
    ``allow_empty``. ``classes``, ``class_to_idx``, ``samples`` and ``targets`` are torchvision's.
    """

    def __init__(self, root: Any, loader: Callable[[str], Any], extensions: Sequence[str] | None = None,
                 transform: Callable | None = None, target_transform: Callable | None = None,
                 is_valid_file: Callable[[str], bool] | None = None, allow_empty: bool = False) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        if not Path(self.root).is_dir():
            raise FileNotFoundError(bad(type(self).__name__, f"no folder {self.root}", "one with a folder a class",
                                        "Check the path."))
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples = make_dataset(self.root, self.class_to_idx, extensions, is_valid_file, allow_empty)
        self.targets = [target for _, target in self.samples]
        self.loader = loader
        self.extensions = extensions

    def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
        """The classes' names and numbers; override it for another layout."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self._transformed(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


class ImageFolder(DatasetFolder):
    """Image files in a folder a class, as RGB."""

    def __init__(self, root: Any, transform: Callable | None = None, target_transform: Callable | None = None,
                 loader: Callable[[str], Any] = pil_loader, is_valid_file: Callable[[str], bool] | None = None,
                 allow_empty: bool = False) -> None:
        super().__init__(root, loader, None if is_valid_file else IMG_EXTENSIONS, transform, target_transform,
                         is_valid_file, allow_empty)
        self.imgs = self.samples
