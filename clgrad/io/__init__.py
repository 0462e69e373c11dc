"""Arrays, state_dicts and models in files: PyTorch's checkpoints and safetensors."""

from .files import load as load
from .files import save as save
from .safetensors_file import metadata as metadata
from .safetensors_file import safe_open as safe_open
