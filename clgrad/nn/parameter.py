"""PyTorch's home of Parameter and Buffer, for ``from clgrad.nn.parameter import Parameter``."""

from .module import Buffer as Buffer
from .module import Parameter as Parameter
