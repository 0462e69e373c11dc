"""Random images that look like a data set: for tests and for timing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..pillow import pillow
from .base import VisionDataset


class FakeData(VisionDataset):
    """``size`` Pillow images of ``image_size`` (channels, height, width) with labels below ``num_classes``. Sample i is
    the same each time; ``random_offset`` chooses another series."""

    def __init__(self, size: int = 1000, image_size: tuple[int, int, int] = (3, 224, 224), num_classes: int = 10,
                 transform: Callable | None = None, target_transform: Callable | None = None,
                 random_offset: int = 0) -> None:
        super().__init__(transform=transform, target_transform=target_transform)
        self.size = size
        self.image_size = image_size
        self.num_classes = num_classes
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index >= len(self):
            raise IndexError(f"FakeData: got index {index}; expected index < {self.size}. It has that many samples.")
        rng = np.random.default_rng(index + self.random_offset)
        channels, height, width = self.image_size
        pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
        image = pillow().fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        return self._transformed(image, int(rng.integers(0, self.num_classes)))

    def __len__(self) -> int:
        return self.size
