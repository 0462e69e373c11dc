"""LeNet for small images, as introductions to PyTorch write it."""

from __future__ import annotations

from typing import Any

from ... import nn
from ...nn import functional as F
from .weights import find, loaded


class LeNet(nn.Module):
    """Two convolutions and three linear layers on (N, in_channels, 32, 32), after LeCun et al. 1998: ReLU and maxima
    in place of the paper's squashing and averages. 62,006 parameters for three channels and ten classes."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def lenet(*, weights: Any = None, **kwargs: Any) -> LeNet:
    """A LeNet; ``weights`` is None, a file's path or a state_dict."""
    found = find("lenet", weights)
    return loaded(LeNet(**kwargs), found)
