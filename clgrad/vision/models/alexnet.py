"""AlexNet (Krizhevsky 2014, "One weird trick"), as torchvision has it."""

from __future__ import annotations

from typing import Any

from ... import nn
from ...nn import functional as F
from .weights import find, loaded


class AlexNet(nn.Module):
    """Classifier of (N, 3, H, W), H and W from 63 on, made for 224; 61,100,840 parameters for 1000 classes."""

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2))
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True),
            nn.Dropout(p=dropout), nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, num_classes))

    def forward(self, x: Any) -> Any:
        return self.classifier(F.flatten(self.avgpool(self.features(x)), 1))


def alexnet(pretrained: Any = False, *, weights: Any = None, progress: bool = True, **kwargs: Any) -> AlexNet:
    """An AlexNet; ``weights`` is None, a file's path or a state_dict."""
    found = find("alexnet", weights, pretrained)
    return loaded(AlexNet(**kwargs), found)
