"""CycleGAN: unpaired image-to-image translation (arXiv:1703.10593).

code              paper
netG_A, netG_B    G: X -> Y and F: Y -> X; real_A is x, real_B is y
netD_A, netD_B    D_Y and D_X: netD_A tells G_A(A) from real B
fake_B, fake_A    G(x), F(y)
rec_A, rec_B      F(G(x)), G(F(y))
loss_G_A, _B      L_GAN, eq. 1
loss_cycle_A, _B  lambda L_cyc, eq. 2
loss_idt_A, _B    L_identity, section 5.2 "Photo generation from paintings"
augment           T of arXiv:2006.10738 (--d_augment); without it, T(x) = x
loss_GP_A, _B     the penalty of --gan_mode wgangp, or gamma R_1, arXiv:1801.04406, eq. 9 (--r1)
"""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

import torch

from models import networks
from models.adversarial import AdversarialModel, add_flags
from models.base_model import Translation
from models.networks import d_augment
from util.errors import UserError
from util.image_pool import ImagePool


class CycleGANModel(AdversarialModel):
    """L(G, F, D_X, D_Y) = L_GAN(G, D_Y) + L_GAN(F, D_X) + lambda L_cyc(G, F)   (eq. 3)."""

    captions: ClassVar = {
        "real_A": "A",
        "fake_B": "A to B",
        "rec_A": "back to A",
        "idt_B": "A to A",
        "real_B": "B",
        "fake_A": "B to A",
        "rec_B": "back to B",
        "idt_A": "B to B",
    }
    takes: ClassVar = ("A", "B")
    compare: ClassVar = [("real_A", "fake_B"), ("real_B", "fake_A")]
    translations = (
        Translation("G_A", "real_A", "fake_B", "real_B", is_paired=False),
        Translation("G_B", "real_B", "fake_A", "real_A", is_paired=False, is_reverse=True),
    )
    uses: ClassVar = ("--d_augment", "--num_D", "--r1")
    known_by: ClassVar = "G_A"

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser.set_defaults(no_dropout=True)
        if is_train:
            parser.add_argument(
                "--lambda_A",
                type=float,
                default=10.0,
                metavar="X",
                help="weight of the cycle loss A -> B -> A",
            )
            parser.add_argument(
                "--lambda_B",
                type=float,
                default=10.0,
                metavar="X",
                help="weight of the cycle loss B -> A -> B",
            )
            parser.add_argument(
                "--lambda_identity",
                type=float,
                default=0.5,
                metavar="X",
                help="weight of the identity loss, relative to the cycle losses: G_A should leave "
                "B unchanged, and G_B leave A unchanged; 0 saves two forward passes",
            )
            add_flags(parser)
        return parser

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.use_identity = self.isTrain and opt.lambda_identity > 0
        if self.use_identity and opt.input_nc != opt.output_nc:
            raise UserError(
                f"--lambda_identity {opt.lambda_identity:g} needs as many output as input channels "
                f"(--input_nc {opt.input_nc}, --output_nc {opt.output_nc}); pass "
                "--lambda_identity 0"
            )
        identity_A, identity_B = (["idt_B"], ["idt_A"]) if self.use_identity else ([], [])
        self.visual_names = ["real_A", "fake_B", "rec_A", *identity_A]
        self.visual_names += ["real_B", "fake_A", "rec_B", *identity_B]
        self.model_names = ["G_A", "G_B", "D_A", "D_B"] if self.isTrain else ["G_A", "G_B"]

        self.netG_A = self.define_G(opt.input_nc, opt.output_nc)
        self.netG_B = self.define_G(opt.output_nc, opt.input_nc)
        if not self.isTrain:
            return
        self.loss_names = [f"{n}_A" for n in self._loss_kinds()]
        self.loss_names += [f"{n}_B" for n in self._loss_kinds()]
        self.netD_A = self.define_D(opt.output_nc)
        self.netD_B = self.define_D(opt.input_nc)
        self.add_seconds(D_A=opt.output_nc, D_B=opt.input_nc)
        self.augment = d_augment.DiffAugment(d_augment.names_in(opt))
        self.fake_A_pool = ImagePool(opt.pool_size, opt.seed)
        self.fake_B_pool = ImagePool(opt.pool_size, opt.seed + 1)
        self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
        self.criterionCycle = torch.nn.L1Loss()
        self.criterionIdt = torch.nn.L1Loss()
        self.optimizer_G = self.adam(self.netG_A, self.netG_B)
        self.optimizer_D = self.adam(self.netD_A, self.netD_B)
        self.optimizers = [self.optimizer_G, self.optimizer_D]

    def set_input(self, input: dict[str, Any]) -> None:
        """Take a batch of A and B, (N, C, H, W) in [-1, 1], and their paths."""
        source, target = ("A", "B") if self.opt.direction == "AtoB" else ("B", "A")
        self.real_A = input[source].to(self.device, non_blocking=True)
        self.real_B = input[target].to(self.device, non_blocking=True)
        self.image_paths = input[f"{source}_paths"]
        self.target_paths = input[f"{target}_paths"]

    def get_visual_paths(self) -> dict[str, list[str]]:
        """Pictures made from real_A are named after A's file, those from real_B after B's."""
        of_B = ("real_B", "fake_A", "rec_B", "idt_A")
        return {n: self.target_paths if n in of_B else self.image_paths for n in self.visual_names}

    def forward(self) -> None:
        if self.use_identity:
            self.fake_B, self.idt_A = self.together(self.netG_A, self.real_A, self.real_B)
            self.fake_A, self.rec_A, self.idt_B = self.together(
                self.netG_B, self.real_B, self.fake_B, self.real_A
            )
        else:
            self.fake_B = self.netG_A(self.real_A)
            self.fake_A, self.rec_A = self.together(self.netG_B, self.real_B, self.fake_B)
        self.rec_B = self.netG_A(self.fake_A)

    def backward_G(self) -> None:
        """Gradients of both generators: fool the discriminators, close the cycles."""
        opt = self.opt
        self.loss_G_A = self.gan_loss(self.judge(self.netD_A, self.augment(self.fake_B)), True)
        self.loss_G_B = self.gan_loss(self.judge(self.netD_B, self.augment(self.fake_A)), True)
        self.loss_cycle_A = self.criterionCycle(self.rec_A, self.real_A) * opt.lambda_A
        self.loss_cycle_B = self.criterionCycle(self.rec_B, self.real_B) * opt.lambda_B
        self.loss_G = self.loss_G_A + self.loss_G_B + self.loss_cycle_A + self.loss_cycle_B
        if self.use_identity:
            self.loss_idt_A = self.criterionIdt(self.idt_A, self.real_B) * opt.lambda_B
            self.loss_idt_B = self.criterionIdt(self.idt_B, self.real_A) * opt.lambda_A
            self.loss_idt_A = self.loss_idt_A * opt.lambda_identity
            self.loss_idt_B = self.loss_idt_B * opt.lambda_identity
            self.loss_G = self.loss_G + self.loss_idt_A + self.loss_idt_B
        self.loss_G.backward()

    def backward_D(self, netD: torch.nn.Module, real: torch.Tensor, fake: torch.Tensor):
        """Gradients of one discriminator, halved; returns (loss, gradient penalty or None)."""
        real, fake = self.augment(real), self.augment(fake)
        on_real, on_fake = self.judge_each(netD, real, fake)
        loss = self.gan_loss(on_real, True) + self.gan_loss(on_fake, False)
        penalty = None
        if self.has_penalty:
            penalty = self.gradient_penalty(netD, real, fake)
            loss = loss + penalty
        loss = loss * 0.5
        loss.backward()
        return loss, penalty

    def optimize_parameters(self) -> None:
        """One step on both generators with D frozen, then one on both discriminators."""
        self.forward()
        self.set_requires_grad([self.netD_A, self.netD_B], False)
        self.optimizer_G.zero_grad()
        self.backward_G()
        self.optimizer_G.step()

        self.set_requires_grad([self.netD_A, self.netD_B], True)
        self.optimizer_D.zero_grad()
        fake_B, fake_A = self.fake_B_pool.query(self.fake_B), self.fake_A_pool.query(self.fake_A)
        self.loss_D_A, self.loss_GP_A = self.backward_D(self.netD_A, self.real_B, fake_B)
        self.loss_D_B, self.loss_GP_B = self.backward_D(self.netD_B, self.real_A, fake_A)
        self.optimizer_D.step()

    def _loss_kinds(self) -> list[str]:
        kinds = ["D", "G", "cycle"]
        kinds += ["idt"] if self.use_identity else []
        return kinds + (["GP"] if self.has_penalty else [])
