"""What surrounds training: data, and logs for TensorBoard."""

from . import data as data
from . import tensorboard as tensorboard
