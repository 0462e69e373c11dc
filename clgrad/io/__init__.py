"""Arrays in files."""

from .safetensors_file import load as load
from .safetensors_file import metadata as metadata
from .safetensors_file import save as save
