"""Optimisers: state names and one fused update record each, in PyTorch's names and defaults."""

from .adam import Adam as Adam
from .adam import AdamW as AdamW
from .optimizer import Optimizer as Optimizer
from .sgd import SGD as SGD
