"""Linear algebra under PyTorch's names: ``clgrad.linalg.solve`` and the rest, assembled from the records."""

from .core.errors import LinAlgError as LinAlgError
from .ops import FUNCTIONS as _FUNCTIONS
from .ops import LINALG as _LINALG

globals().update({name: _FUNCTIONS[name] for name in ("matmul", "vector_norm")} | _LINALG)
