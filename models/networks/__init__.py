"""Networks, adversarial losses and schedules under the name that model files import.

A file in models/ writes `from . import networks` and finds here what training
needs besides the model itself: `networks.define_G`, `networks.GANLoss`, `networks.get_scheduler`.
"""

# ruff: noqa: F401 - to be imported from here

from torch.nn import Identity

from ..losses.gan import GANLoss, cal_gradient_penalty
from ..schedules import get_scheduler
from .discriminators import NLayerDiscriminator, PixelDiscriminator, define_D
from .generators import (
    SIZE_MULTIPLE,
    ResnetBlock,
    ResnetGenerator,
    UnetGenerator,
    UnetSkipConnectionBlock,
    define_G,
)
from .initialize import get_norm_layer, init_net, init_weights, update_norm_buffers
