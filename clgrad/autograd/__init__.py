"""Automatic differentiation: Variable, Function, and the engine that records ops and walks back through them."""

from . import functional as functional
from .engine import backward as backward
from .engine import grad as grad
from .function import Function as Function
from .mode import detect_anomaly as detect_anomaly
from .mode import enable_grad as enable_grad
from .mode import inference_mode as inference_mode
from .mode import is_grad_enabled as is_grad_enabled
from .mode import no_grad as no_grad
from .mode import set_detect_anomaly as set_detect_anomaly
from .mode import set_grad_enabled as set_grad_enabled
from .variable import Variable as Variable
