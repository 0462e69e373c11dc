"""What surrounds training: data, checkpoints of memory, logs for TensorBoard, and PyTorch's names for DLPack."""

from . import checkpoint as checkpoint
from . import data as data
from . import dlpack as dlpack
from . import tensorboard as tensorboard
