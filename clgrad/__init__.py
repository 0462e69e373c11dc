"""clgrad: arrays and automatic differentiation on any OpenCL device, in PyTorch's vocabulary.

Importing opens no device and builds nothing; the first op does.
"""

from . import array as array
from . import autograd as autograd
from . import cuda as cuda
from . import custom as custom
from . import fft as fft
from . import interop as interop
from . import io as io
from . import jit as jit
from . import linalg as linalg
from . import nn as nn
from . import optim as optim
from . import random as random
from . import special as special
from . import tuning as tuning
from . import utils as utils
from . import vision as vision
from .autograd import Function as Function
from .autograd import Variable as Tensor
from .autograd import Variable as Variable
from .autograd import enable_grad as enable_grad
from .autograd import inference_mode as inference_mode
from .autograd import is_grad_enabled as is_grad_enabled
from .autograd import no_grad as no_grad
from .autograd import set_grad_enabled as set_grad_enabled
from .core import errors as errors
from .core.config import config as config
from .core.dtypes import DType as DType
from .core.dtypes import (
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .core.dtypes import bool_ as bool
from .core.dtypes import finfo as finfo
from .core.dtypes import get_default_dtype as get_default_dtype
from .core.dtypes import iinfo as iinfo
from .core.dtypes import result_type as result_type
from .core.dtypes import set_default_dtype as set_default_dtype
from .core.errors import OutOfMemoryError as OutOfMemoryError
from .core.printing import get_printoptions as get_printoptions
from .core.printing import set_printoptions as set_printoptions
from .core.shapes import Size as Size
from .factories import *
from .interop.dlpack import from_dlpack as from_dlpack
from .interop.opencl import from_opencl as from_opencl
from .io import load as load
from .io import save as save
from .legacy import *
from .ndarray import Array as Array
from .ops import FUNCTIONS as _FUNCTIONS
from .random import bernoulli as bernoulli
from .random import get_rng_state as get_rng_state
from .random import multinomial as multinomial
from .random import normal as normal
from .random import poisson as poisson
from .random import randint_like as randint_like
from .random import seed as seed
from .random import set_rng_state as set_rng_state
from .runtime.device import Device as Device
from .runtime.device import default_device as default_device
from .runtime.device import device as device
from .runtime.device import devices as devices
from .runtime.device import set_default_device as set_default_device
from .runtime.launch import empty_cache as empty_cache
from .runtime.launch import memory_stats as memory_stats
from .runtime.launch import synchronize as synchronize
from .surface import *
from .windows import *

__version__ = "0.1.0"

half, float, double, short, int, long = float16, float32, float64, int16, int32, int64
cfloat, cdouble = complex64, complex128
globals().update(_FUNCTIONS)
