"""Pillow, imported when the first image is handled."""

from __future__ import annotations

from typing import Any

from ..core.errors import missing


def pillow() -> Any:
    """The module ``PIL.Image``; ImportError says what to install."""
    try:
        from PIL import Image
    except ImportError:
        raise missing("clgrad.vision, for images", "Pillow", "vision") from None
    return Image


def is_image(value: Any) -> bool:
    """Whether a value is a Pillow image; no import where none can exist."""
    import sys

    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)
