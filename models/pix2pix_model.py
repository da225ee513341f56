"""pix2pix: paired image-to-image translation (arXiv:1611.07004).

code            paper
real_A, real_B  x, y: input and target
fake_B          G(x, z): the noise z is the generator's dropout
netD(A, B)      D(x, y): conditional discriminator on the concatenated pair
loss_G_GAN      L_cGAN(G, D), eq. 1, for G
loss_G_L1       lambda L_L1(G), eq. 3
"""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

import torch

from models import networks
from models.base_model import BaseModel, Translation
from util.image_pool import ImagePool


class Pix2PixModel(BaseModel):
    """G* = arg min_G max_D L_cGAN(G, D) + lambda L_L1(G)   (eq. 4)."""

    captions: ClassVar = {"real_A": "input", "fake_B": "generated", "real_B": "target"}
    compare: ClassVar = [("real_A", "fake_B"), ("fake_B", "real_B")]
    takes: ClassVar = ("A", "B")
    uses_weight_maps: ClassVar = True
    translations: ClassVar = (Translation("G", "real_A", "fake_B", "real_B"),)
    known_by: ClassVar = "G"

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser.set_defaults(norm="batch", netG="unet_256", dataset_mode="aligned")
        if is_train:
            parser.set_defaults(pool_size=0, gan_mode="vanilla")
            parser.add_argument(
                "--lambda_L1", type=float, default=100.0, metavar="X", help="weight of the L1 loss"
            )
        return parser

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.visual_names = ["real_A", "fake_B", "real_B"]
        self.model_names = ["G", "D"] if self.isTrain else ["G"]
        self.netG = self.define_G(opt.input_nc, opt.output_nc)
        if not self.isTrain:
            return
        self.loss_names = ["G_GAN", "G_L1", "D_real", "D_fake"]
        if opt.gan_mode == "wgangp":
            self.loss_names.append("D_GP")
        self.netD = self.define_D(opt.input_nc + opt.output_nc)
        self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
        self.criterionL1 = torch.nn.L1Loss()
        self.fake_AB_pool = ImagePool(opt.pool_size, opt.seed)
        self.optimizer_G = self.adam(self.netG)
        self.optimizer_D = self.adam(self.netD)
        self.optimizers = [self.optimizer_G, self.optimizer_D]

    def set_input(self, input: dict[str, Any]) -> None:
        """Take a batch of an aligned dataset: A and B, (N, C, H, W) in [-1, 1], and their paths;
        also weight maps W, (N, 1, H, W) in [0, 1], if there are any.
        """
        source, target = ("A", "B") if self.opt.direction == "AtoB" else ("B", "A")
        self.real_A = input[source].to(self.device, non_blocking=True)
        self.real_B = input[target].to(self.device, non_blocking=True)
        self.weights = input["W"].to(self.device, non_blocking=True) if "W" in input else None
        self.image_paths = input[f"{source}_paths"]

    def forward(self) -> None:
        self.fake_B = self.netG(self.real_A)  # (N, output_nc, H, W)

    def backward_D(self) -> None:
        """Gradients of D's objective, halved to slow D relative to G (section 3.3)."""
        fake_AB = self.fake_AB_pool.query(torch.cat((self.real_A, self.fake_B), 1))
        real_AB = torch.cat((self.real_A, self.real_B), 1)
        on_fake, on_real = self.together(self.netD, fake_AB, real_AB)
        self.loss_D_fake = self.criterionGAN(on_fake, False)
        self.loss_D_real = self.criterionGAN(on_real, True)
        loss_D = self.loss_D_fake + self.loss_D_real
        if self.opt.gan_mode == "wgangp":
            self.loss_D_GP, _ = networks.cal_gradient_penalty(
                lambda pair: self.netD(pair).mean(dim=(1, 2, 3)), real_AB, fake_AB
            )
            loss_D = loss_D + self.loss_D_GP
        self.loss_D = loss_D * 0.5
        self.loss_D.backward()

    def backward_G(self) -> None:
        """Gradients of G's objective: fool D, and stay near the target."""
        prediction = self.netD(torch.cat((self.real_A, self.fake_B), 1))
        self.loss_G_GAN = self.criterionGAN(prediction, True)
        self.loss_G = self.loss_G_GAN + self.reconstruction_loss()
        self.loss_G.backward()

    def reconstruction_loss(self) -> torch.Tensor:
        """Weighted distance of the result from the target: the part of G's objective without D."""
        distance = (
            self.criterionL1(self.fake_B, self.real_B)
            if self.weights is None
            else (self.weights * (self.fake_B - self.real_B).abs()).mean()
        )
        self.loss_G_L1 = distance * self.opt.lambda_L1
        return self.loss_G_L1

    def optimize_parameters(self) -> None:
        """Algorithm of section 3.3: one step on D, then one on G with D frozen."""
        self.forward()
        self.set_requires_grad(self.netD, True)
        self.optimizer_D.zero_grad()
        self.backward_D()
        self.optimizer_D.step()

        self.set_requires_grad(self.netD, False)
        self.optimizer_G.zero_grad()
        self.backward_G()
        self.optimizer_G.step()
