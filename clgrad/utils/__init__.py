"""What surrounds training: data, logs for TensorBoard, and PyTorch's names for DLPack."""

from . import data as data
from . import dlpack as dlpack
from . import tensorboard as tensorboard
