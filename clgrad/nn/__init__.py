"""Layers, losses and initialisers in PyTorch's names, argument order and defaults."""

from . import functional as functional
from . import init as init
from . import utils as utils
from .activation import GELU as GELU
from .activation import LogSoftmax as LogSoftmax
from .activation import ReLU as ReLU
from .activation import Sigmoid as Sigmoid
from .activation import SiLU as SiLU
from .activation import Softmax as Softmax
from .activation import Softplus as Softplus
from .activation import Tanh as Tanh
from .dropout import Dropout as Dropout
from .linear import Flatten as Flatten
from .linear import Identity as Identity
from .linear import Linear as Linear
from .loss import CrossEntropyLoss as CrossEntropyLoss
from .loss import L1Loss as L1Loss
from .loss import MSELoss as MSELoss
from .loss import NLLLoss as NLLLoss
from .module import Module as Module
from .module import Parameter as Parameter
from .module import Sequential as Sequential
