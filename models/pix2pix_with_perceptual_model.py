"""pix2pix that also keeps the VGG features of result and target close (arXiv:1603.08155).

code                paper
loss_G_Perceptual   lambda l_feat, eq. 2; see models/losses/perceptual.py
all others          as in pix2pix_model.py
"""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

import torch

from models.losses.perceptual import PerceptualLoss
from models.losses.vgg import VGGS
from models.pix2pix_model import Pix2PixModel


class Pix2PixWithPerceptualModel(Pix2PixModel):
    """G* = arg min_G max_D L_cGAN(G, D) + lambda_L1 L_L1(G) + lambda_perceptual L_feat(G)."""

    uses: ClassVar = ("trainW", "--lambda_lpips")  # by `reconstruction_loss` of its base

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser = Pix2PixModel.modify_commandline_options(parser, is_train)
        if is_train:
            parser.add_argument(
                "--lambda_perceptual",
                type=float,
                default=10.0,
                metavar="X",
                help="weight of the perceptual loss",
            )
            parser.add_argument(
                "--use_perceptual",
                action="store_true",
                default=True,
                help="use the perceptual loss; off: plain pix2pix, without a VGG",
            )
            parser.add_argument(
                "--vgg",
                default="vgg16",
                choices=VGGS,
                help="network whose features the perceptual loss compares",
            )
        return parser

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.use_perceptual = self.isTrain and opt.use_perceptual
        if not self.use_perceptual:
            return
        self.loss_names.insert(self.loss_names.index("G_L1") + 1, "G_Perceptual")
        # Not in model_names: it is not trained, so it is not part of a checkpoint.
        self.criterionPerceptual = PerceptualLoss(opt.vgg, opt.vgg_weights).to(self.device)

    def reconstruction_loss(self) -> torch.Tensor:
        loss = super().reconstruction_loss()
        if self.use_perceptual:
            distance = self.criterionPerceptual(self.fake_B, self.real_B)
            self.loss_G_Perceptual = distance * self.opt.lambda_perceptual
            loss = loss + self.loss_G_Perceptual
        return loss
