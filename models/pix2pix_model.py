"""pix2pix: paired image-to-image translation (arXiv:1611.07004).

code            paper
real_A, real_B  x, y: input and target
fake_B          G(x, z): the noise z is the generator's dropout
netD(A, B)      D(x, y): conditional discriminator on the concatenated pair
loss_G_GAN      L_cGAN(G, D), eq. 1, for G
loss_G_L1       lambda L_L1(G), eq. 3
augment         T of arXiv:2006.10738 (--d_augment); without it, T(x) = x
loss_G_feat     lambda L_FM(G, D), arXiv:1711.11585, eq. 4 (--lambda_feat)
loss_G_lpips    lambda times LPIPS, arXiv:1801.03924, eq. 1 (--lambda_lpips)
loss_D_GP       the penalty of --gan_mode wgangp, or gamma R_1, arXiv:1801.04406, eq. 9 (--r1)
"""

from __future__ import annotations

import argparse
from inspect import signature
from typing import Any, ClassVar

import torch

from models import networks
from models.adversarial import AdversarialModel, add_flags
from models.base_model import Translation
from models.losses.feature_matching import feature_matching
from models.losses.lpips import LPIPS
from models.networks import d_augment
from util.errors import UserError
from util.image_pool import ImagePool


class Pix2PixModel(AdversarialModel):
    """G* = arg min_G max_D L_cGAN(G, D) + lambda L_L1(G)   (eq. 4)."""

    captions: ClassVar = {"real_A": "input", "fake_B": "generated", "real_B": "target"}
    compare: ClassVar = [("real_A", "fake_B"), ("fake_B", "real_B")]
    takes: ClassVar = ("A", "B")
    uses: ClassVar[tuple[str, ...]] = (
        *("trainW", "--d_augment", "--lambda_feat", "--lambda_lpips"),
        *("--num_D", "--r1"),
    )
    translations = (Translation("G", "real_A", "fake_B", "real_B"),)
    known_by: ClassVar = "G"

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser.set_defaults(norm="batch", netG="unet_256", dataset_mode="aligned")
        if is_train:
            parser.set_defaults(pool_size=0, gan_mode="vanilla")
            parser.add_argument(
                "--lambda_L1", type=float, default=100.0, metavar="X", help="weight of the L1 loss"
            )
            parser.add_argument(
                "--lambda_feat",
                type=float,
                default=0.0,
                metavar="X",
                help="weight of the difference between result and target in the layers of the "
                "discriminator (feature matching), such as 10; 0: not computed",
            )
            parser.add_argument(
                "--lambda_lpips",
                type=float,
                default=0.0,
                metavar="X",
                help="weight of LPIPS between result and target, such as 10; it downloads weights, "
                "unless --vgg_weights and --lpips_weights name files; 0: not computed",
            )
            add_flags(parser)
        return parser

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.visual_names = ["real_A", "fake_B", "real_B"]
        self.model_names = ["G", "D"] if self.isTrain else ["G"]
        self.netG = self.define_G(opt.input_nc, opt.output_nc)
        if not self.isTrain:
            return
        self.loss_names = ["G_GAN", "G_L1", "D_real", "D_fake"]
        # Models built on this one may lack the newer flags, and the part of set_input about maps.
        self.lambda_feat = getattr(opt, "lambda_feat", 0.0)
        self.lambda_lpips = getattr(opt, "lambda_lpips", 0.0)
        self.weights = None
        if self.lambda_feat:
            self.loss_names.insert(1, "G_feat")
        if self.lambda_lpips:
            self.loss_names.insert(-2, "G_lpips")
            self.criterionLPIPS = lpips_of(opt).to(self.device)
        if self.has_penalty:
            self.loss_names.append("D_GP")
        self.netD = self.define_D(opt.input_nc + opt.output_nc)
        self.add_seconds(D=opt.input_nc + opt.output_nc)
        self.augment = d_augment.DiffAugment(d_augment.names_in(opt), (opt.input_nc, opt.output_nc))
        self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
        self.criterionL1 = torch.nn.L1Loss()
        self.fake_AB_pool = ImagePool(opt.pool_size, opt.seed)
        self.optimizer_G = self.adam(self.netG)
        self.optimizer_D = self.adam(self.netD)
        self.optimizers = [self.optimizer_G, self.optimizer_D]

    def setup(self, opt: argparse.Namespace) -> None:
        """As of all models. Also raises UserError if D has no features for --lambda_feat."""
        features = getattr(opt, "lambda_feat", 0.0) if self.isTrain else 0.0
        if features and "with_features" not in signature(self.netD.forward).parameters:
            raise UserError(
                f"--lambda_feat {features:g}: netD of {type(self).__name__}, a "
                f"{type(self.netD).__name__}, does not return features; leave the flag out, or "
                "build netD by self.define_D in the model's file"
            )
        super().setup(opt)

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
        fake_AB, real_AB = self.augment(fake_AB), self.augment(real_AB)
        on_fake, on_real = self.judge_each(self.netD, fake_AB, real_AB)
        self.loss_D_fake = self.gan_loss(on_fake, False)
        self.loss_D_real = self.gan_loss(on_real, True)
        loss_D = self.loss_D_fake + self.loss_D_real
        if self.has_penalty:
            self.loss_D_GP = self.gradient_penalty(
                self.netD, real_AB, fake_AB, num_given=self.opt.input_nc
            )
            loss_D = loss_D + self.loss_D_GP
        self.loss_D = loss_D * 0.5
        self.loss_D.backward()

    def backward_G(self) -> None:
        """Gradients of G's objective: fool D, and stay near the target."""
        self.loss_G = self.adversarial_loss() + self.reconstruction_loss()
        self.loss_G.backward()

    def adversarial_loss(self) -> torch.Tensor:
        """The part of G's objective that D judges."""
        fake_AB = torch.cat((self.real_A, self.fake_B), 1)
        T = self.augment.draw(fake_AB)
        if not self.lambda_feat:
            self.loss_G_GAN = self.gan_loss(self.judge(self.netD, T(fake_AB)), True)
            return self.loss_G_GAN
        on_fake, of_fake = self.judge_with_features(self.netD, T(fake_AB))
        with torch.no_grad():  # through the same T: a shift of the target is no error of G
            real_AB = torch.cat((self.real_A, self.real_B), 1)
            _, of_real = self.judge_with_features(self.netD, T(real_AB))
        self.loss_G_GAN = self.gan_loss(on_fake, True)
        self.loss_G_feat = feature_matching(of_fake, of_real) * self.lambda_feat
        return self.loss_G_GAN + self.loss_G_feat

    def reconstruction_loss(self) -> torch.Tensor:
        """Weighted distance of the result from the target: the part of G's objective without D."""
        if self.weights is None:
            distance = self.criterionL1(self.fake_B, self.real_B)
        else:
            distance = (self.weights * (self.fake_B - self.real_B).abs()).mean()
        self.loss_G_L1 = distance * self.opt.lambda_L1
        if not self.lambda_lpips:
            return self.loss_G_L1
        distance = self.criterionLPIPS(self.fake_B, self.real_B)
        self.loss_G_lpips = distance * self.lambda_lpips
        return self.loss_G_L1 + self.loss_G_lpips

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


def lpips_of(opt: argparse.Namespace) -> LPIPS:
    """What --lambda_lpips weighs; UserError if it cannot compare the model's pictures."""
    if opt.output_nc not in (1, 3):
        raise UserError(
            f"--lambda_lpips {opt.lambda_lpips:g}: LPIPS compares grey or RGB pictures, and what "
            f"--model {opt.model} makes has --output_nc {opt.output_nc}; pass --lambda_lpips 0"
        )
    return LPIPS(opt.vgg_weights, opt.lpips_weights, download=True)
