"""What surrounds training: data, and logs for TensorBoard."""

from . import data as data
from . import tensorboard as tensorboard
"""What surrounds training: data; and PyTorch's names for DLPack."""

from . import data as data
from . import dlpack as dlpack
