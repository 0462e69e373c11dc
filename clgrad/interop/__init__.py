"""Meeting other libraries: DLPack, OpenCL memory of one's own making, einops."""

from . import dlpack as dlpack
from . import einops as einops
from . import opencl as opencl

dlpack.attach()
einops.attach()
opencl.attach()
