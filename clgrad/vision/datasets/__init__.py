"""Image data sets in torchvision's names: read from files, fetched where ``download=True``, checked either way."""

from .base import VisionDataset as VisionDataset
from .cifar import CIFAR10 as CIFAR10
from .cifar import CIFAR100 as CIFAR100
from .fake import FakeData as FakeData
from .folder import DatasetFolder as DatasetFolder
from .folder import ImageFolder as ImageFolder
from .mnist import KMNIST as KMNIST
from .mnist import MNIST as MNIST
from .mnist import FashionMNIST as FashionMNIST
