"""Weights of a model from a file: nothing is fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...core.errors import bad
from ...io import load
from ...nn import Module


def loaded(model: Module, weights: Any, pretrained: bool = False) -> Module:
    """``model`` with a state_dict loaded: ``weights`` is a path, a state_dict, or None for the initial ones.

    ``pretrained`` is torchvision's older word; as no weights come with clgrad, it asks for a path.
    """
    name = type(model).__name__
    if weights is None and not pretrained:
        return model
    if isinstance(weights, dict):
        state = weights
    elif isinstance(weights, (str, os.PathLike)) and Path(weights).exists():
        state = load(weights)
    else:
        raise FileNotFoundError(bad(name, f"weights={weights!r}" + (", pretrained=True" if pretrained else ""),
                                    "the path of a file that holds a state_dict, or a state_dict",
                                    "Fetch torchvision's file yourself and pass its path."))
    model.load_state_dict(state)
    return model
