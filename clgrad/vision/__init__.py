"""Images: data sets from files, transforms on the host, and models, in torchvision's names."""

from . import datasets as datasets
from . import models as models
from . import transforms as transforms
