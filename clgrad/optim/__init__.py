"""Optimisers: state names and one fused update record each, in PyTorch's names and defaults; schedules of rates."""

from . import lr_scheduler as lr_scheduler
from . import swa_utils as swa_utils
from .adam import Adam as Adam
from .adam import Adamax as Adamax
from .adam import AdamW as AdamW
from .adam import NAdam as NAdam
from .adam import RAdam as RAdam
from .adaptive import Adadelta as Adadelta
from .adaptive import Adagrad as Adagrad
from .adaptive import RMSprop as RMSprop
from .lbfgs import LBFGS as LBFGS
from .lion import Lion as Lion
from .optimizer import Optimizer as Optimizer
from .rprop import Rprop as Rprop
from .sgd import ASGD as ASGD
from .sgd import SGD as SGD
