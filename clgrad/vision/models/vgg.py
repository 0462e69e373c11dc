"""VGG (Simonyan and Zisserman 2014): 3 x 3 convolutions in five stages, with or without batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import nn
from ...nn import functional as F
from .weights import find, loaded

_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)


def make_layers(stages: tuple[int, ...], batch_norm: bool = False) -> nn.Sequential:
    """The features: so many convolutions a stage, each stage ended by a maximum over 2 x 2."""
    layers: list[nn.Module] = []
    inputs = 3
    for count, outputs in zip(stages, _CHANNELS):
        for _ in range(count):
            layers.append(nn.Conv2d(inputs, outputs, kernel_size=3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.ReLU(inplace=True))
            inputs = outputs
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """Classifier of (N, 3, H, W), H and W from 32 on, made for 224; VGG16 has 138,357,544 parameters."""

    def __init__(self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True,
                 dropout: float = 0.5) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(p=dropout),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(p=dropout), nn.Linear(4096, num_classes))
        if init_weights:
            self.apply(_initialise)

    def forward(self, x: Any) -> Any:
        return self.classifier(F.flatten(self.avgpool(self.features(x)), 1))


def _initialise(module: nn.Module) -> None:
    """He et al. 2015 for convolutions, a small normal for linear layers, no biases; norms begin as they are."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _maker(depth: int, batch_norm: bool) -> Callable[..., VGG]:
    def make(pretrained: Any = False, *, weights: Any = None, progress: bool = True, **kwargs: Any) -> VGG:
        found = find(name, weights, pretrained)
        if found is not None:
            kwargs.setdefault("init_weights", False)
        return loaded(VGG(make_layers(_STAGES[depth], batch_norm), **kwargs), found)

    make.__name__ = make.__qualname__ = name = f"vgg{depth}" + ("_bn" if batch_norm else "")
    make.__doc__ = (f"VGG with {depth} layers" + (" and batch normalisation" if batch_norm else "") +
                    "; ``weights`` is None, a file's path or a state_dict.")
    return make


vgg11, vgg13, vgg16, vgg19 = (_maker(depth, False) for depth in _STAGES)
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (_maker(depth, True) for depth in _STAGES)
