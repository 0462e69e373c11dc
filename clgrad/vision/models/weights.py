"""Weights of a model from a file: nothing is fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...core.errors import bad
from ...io import load
from ...nn import Module

# The names of the files with torchvision's first ImageNet weights, which are what ``pretrained=True`` means there.
FILES = {"alexnet": "alexnet-owt-7be5be79.pth",
         "vgg11": "vgg11-8a719046.pth", "vgg11_bn": "vgg11_bn-6002323d.pth",
         "vgg13": "vgg13-19584684.pth", "vgg13_bn": "vgg13_bn-abd245e5.pth",
         "vgg16": "vgg16-397923af.pth", "vgg16_bn": "vgg16_bn-6c64b313.pth",
         "vgg19": "vgg19-dcbb9e9d.pth", "vgg19_bn": "vgg19_bn-c79401a0.pth",
         "resnet18": "resnet18-f37072fd.pth", "resnet34": "resnet34-b627a593.pth",
         "resnet50": "resnet50-0676ba61.pth", "resnet101": "resnet101-63fe2227.pth",
         "resnet152": "resnet152-394f9c45.pth"}
_IMAGENET = "IMAGENET1K_V1"  # torchvision's newer word for the same weights


def checkpoints() -> Path:
    """The folder in which PyTorch keeps what it fetched: ``$TORCH_HOME/hub/checkpoints``."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def find(name: str, weights: Any, pretrained: Any = False) -> Any:
    """The path of a file or the state_dict that is meant for the model ``name``; None for the initial values.

    ``weights`` is a path, a state_dict, None or ``"IMAGENET1K_V1"``; ``pretrained=True`` is torchvision's older word
    for the latter. Both mean torchvision's own file where PyTorch keeps it. FileNotFoundError says which file to put
    where; it is raised before a model is made.
    """
    if weights is None and isinstance(pretrained, (str, os.PathLike, dict)):
        weights = pretrained
    if isinstance(weights, dict) or (weights is None and not pretrained):
        return weights
    if isinstance(weights, (str, os.PathLike)) and Path(weights).is_file():
        return weights
    remedy = "Pass weights='path/to/file.pth'"
    if name in FILES and weights in (None, _IMAGENET):
        own = checkpoints() / FILES[name]
        if own.is_file():
            return own
        remedy += f", or fetch https://download.pytorch.org/models/{FILES[name]} yourself and put it at {own}"
    got = "pretrained=True" if weights is None else f"weights={weights!r}"
    raise FileNotFoundError(bad(name, got, "the path of a file that holds a state_dict, or a state_dict, as nothing is "
                                "fetched", remedy + "."))


def loaded(model: Module, found: Any) -> Module:
    """``model`` with the values of what :func:`find` found."""
    if found is not None:
        model.load_state_dict(found if isinstance(found, dict) else load(found))
    return model
