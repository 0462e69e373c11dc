"""Images: data sets from files and transforms on the host, in torchvision's names. Needs no device."""

from . import datasets as datasets
from . import transforms as transforms
