"""Transforms of images on the host, in torchvision's names."""

from . import functional as functional
from .augment import ColorJitter as ColorJitter
from .augment import RandomApply as RandomApply
from .augment import RandomChoice as RandomChoice
from .augment import RandomCrop as RandomCrop
from .augment import RandomErasing as RandomErasing
from .augment import RandomGrayscale as RandomGrayscale
from .augment import RandomHorizontalFlip as RandomHorizontalFlip
from .augment import RandomOrder as RandomOrder
from .augment import RandomResizedCrop as RandomResizedCrop
from .augment import RandomRotation as RandomRotation
from .augment import RandomVerticalFlip as RandomVerticalFlip
from .basic import CenterCrop as CenterCrop
from .basic import Compose as Compose
from .basic import ConvertImageDtype as ConvertImageDtype
from .basic import Grayscale as Grayscale
from .basic import Lambda as Lambda
from .basic import Normalize as Normalize
from .basic import Pad as Pad
from .basic import PILToTensor as PILToTensor
from .basic import Resize as Resize
from .basic import ToPILImage as ToPILImage
from .basic import ToTensor as ToTensor
from .functional import InterpolationMode as InterpolationMode
