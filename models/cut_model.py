"""CUT and FastCUT: one-sided unpaired translation by contrasting patches (arXiv:2007.15651).

code            paper
netG            G = G_dec o G_enc; real_A is x, real_B is y, fake_B is G(x), idt_B is G(y)
netD            D
netF            H: a two-layer perceptron for each of the layers l that features are taken from
keys, queries   z, of H_l(G_enc(x)) and H_l(G_enc(G(x))), at the same places s
loss_G_GAN      L_GAN, eq. 1, with least squares
loss_NCE        L_PatchNCE(G, H, X), eq. 4
loss_NCE_Y      L_PatchNCE(G, H, Y), eq. 5: the identity, of CUT alone
flipped         FastCUT's flip equivariance, appendix C.1
loss_D_GP       gamma R_1, arXiv:1801.04406, eq. 9 (--r1)
"""

from __future__ import annotations

import argparse
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from models import networks
from models.adversarial import AdversarialModel, add_flags
from models.base_model import Translation
from models.networks import d_augment
from models.networks.generators import RESNET_BLOCKS
from models.networks.initialize import init_net
from util.errors import UserError

# Of a ResNet's `model`: the padded picture, both halving convolutions, and residual blocks 1 and 5.
LAYERS = (0, 4, 7, 10, 14)
NUM_PATCHES, FEATURES = 256, 256
TEMPERATURE = 0.07
MODES = {"CUT": (200, 200, 1.0), "FastCUT": (150, 50, 10.0)}  # epochs, of decay, lambda_NCE


class CUTModel(AdversarialModel):
    """lambda_GAN L_GAN + lambda_NCE L_PatchNCE(X), in CUT the mean with that of Y   (eq. 6)."""

    captions: ClassVar = {
        "real_A": "input",
        "fake_B": "generated",
        "real_B": "example of the target",
        "idt_B": "generated from the example",
    }
    takes: ClassVar = ("A", "B")
    compare: ClassVar = [("real_A", "fake_B")]
    uses: ClassVar = ("--d_augment", "--num_D", "--r1")
    translations = (Translation("G", "real_A", "fake_B", "real_B", is_paired=False),)

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        parser.set_defaults(no_dropout=True)
        if not is_train:
            return parser
        parser.add_argument(
            "--CUT_mode",
            default="CUT",
            choices=[*MODES],
            help="CUT, or FastCUT: no identity loss, flips, fewer epochs and a larger lambda_NCE",
        )
        epochs, decay, weight = MODES[parser.parse_known_args()[0].CUT_mode]
        parser.add_argument(
            "--lambda_GAN", type=float, default=1.0, metavar="X", help="weight of the GAN loss"
        )
        parser.add_argument(
            "--lambda_NCE",
            type=float,
            default=weight,
            metavar="X",
            help="weight of the loss that holds patches of input and result together",
        )
        parser.set_defaults(n_epochs=epochs, n_epochs_decay=decay, init_type="xavier", pool_size=0)
        add_flags(parser)
        return parser

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.visual_names = ["real_A", "fake_B", "real_B"]
        self.model_names = ["G"]
        self.netG = self.define_G(opt.input_nc, opt.output_nc)
        if not self.isTrain:
            return
        check(opt)
        self.features = Features(self.netG)
        self.is_fast = opt.CUT_mode == "FastCUT"
        self.model_names = ["G", "F", "D"]
        self.loss_names = ["G_GAN", "D_real", "D_fake", "NCE"]
        if not self.is_fast:
            self.visual_names.append("idt_B")
            self.loss_names.append("NCE_Y")
        if self.has_penalty:
            self.loss_names.append("D_GP")
        widths = [opt.input_nc, 2 * opt.ngf, *[4 * opt.ngf] * 3]
        self.netF = init_net(Projections(widths), opt.init_type, opt.init_gain)
        self.netD = self.define_D(opt.output_nc)
        self.add_seconds(D=opt.output_nc)
        self.augment = d_augment.DiffAugment(d_augment.names_in(opt))
        self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
        self.optimizer_G = self.adam(self.netG, self.netF)
        self.optimizer_D = self.adam(self.netD)
        self.optimizers = [self.optimizer_G, self.optimizer_D]

    def set_input(self, input: dict[str, Any]) -> None:
        """Take a batch of A and B, (N, C, H, W) in [-1, 1], and their paths."""
        source, target = ("A", "B") if self.opt.direction == "AtoB" else ("B", "A")
        self.real_A = input[source].to(self.device, non_blocking=True)
        self.real_B = input[target].to(self.device, non_blocking=True)
        self.image_paths = input[f"{source}_paths"]
        self.target_paths = input[f"{target}_paths"]

    def get_visual_paths(self) -> dict[str, list[str]]:
        """Pictures made from real_B are named after its file."""
        of_B = ("real_B", "idt_B")
        return {n: self.target_paths if n in of_B else self.image_paths for n in self.visual_names}

    def get_current_visuals(self) -> OrderedDict[str, Any]:
        """The pictures to show: fake_B as real_A is, not mirrored."""
        visuals = super().get_current_visuals()
        if self.flipped:
            visuals["fake_B"] = visuals["fake_B"].flip(3)
        return visuals

    def forward(self) -> None:
        """fake_B and, in the training of CUT, idt_B, with the features of what they come from."""
        self.flipped = False  # a copy that judges or tests has that of the last step
        if not self.isTrain:
            self.fake_B = self.netG(self.real_A)
            return
        self.flipped = self.is_fast and random.random() < 0.5
        x = self.real_A.flip(3) if self.flipped else self.real_A
        self.fake_B, self.keys = self.with_features(x)
        if self.flipped:  # the features of x, not of its mirror image
            with torch.no_grad():
                _, self.keys = self.with_features(self.real_A)
        if not self.is_fast:
            self.idt_B, self.keys_Y = self.with_features(self.real_B)

    def with_features(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """G(x), and the outputs of LAYERS on the way, each (N, C_l, H_l, W_l)."""
        return self.features.during(lambda: self.netG(x))

    def backward_D(self) -> None:
        """Gradients of D, halved: real_B is real, fake_B is not."""
        real, fake = self.augment(self.real_B), self.augment(self.fake_B.detach())
        on_real, on_fake = self.judge_each(self.netD, real, fake)
        self.loss_D_real = self.gan_loss(on_real, True)
        self.loss_D_fake = self.gan_loss(on_fake, False)
        loss_D = self.loss_D_real + self.loss_D_fake
        if self.has_penalty:
            self.loss_D_GP = self.gradient_penalty(self.netD, real, fake)
            loss_D = loss_D + self.loss_D_GP
        self.loss_D = loss_D * 0.5
        self.loss_D.backward()

    def backward_G(self) -> None:
        """Gradients of G and F: fool D, and keep the content of each patch."""
        opt = self.opt
        on_fake = self.judge(self.netD, self.augment(self.fake_B))
        self.loss_G_GAN = self.gan_loss(on_fake, True) * opt.lambda_GAN
        self.loss_NCE = self.nce(self.fake_B, self.keys, flipped=self.flipped) * opt.lambda_NCE
        contrast = self.loss_NCE
        if not self.is_fast:
            self.loss_NCE_Y = self.nce(self.idt_B, self.keys_Y) * opt.lambda_NCE
            contrast = (self.loss_NCE + self.loss_NCE_Y) * 0.5
        self.loss_G = self.loss_G_GAN + contrast
        self.loss_G.backward()

    def nce(
        self, made: torch.Tensor, keys: Sequence[torch.Tensor], *, flipped: bool = False
    ) -> torch.Tensor:
        """L_PatchNCE, eq. 4: the mean over LAYERS, of a result and the features of its input."""
        _, queries = self.with_features(made)
        if flipped:
            queries = [query.flip(3) for query in queries]
        places = [draw_places(key) for key in keys]
        key_patches = self.netF([key.detach() for key in keys], places)
        losses = [
            patch_nce(query, key.detach())
            for query, key in zip(self.netF(queries, places), key_patches, strict=True)
        ]
        return torch.stack(losses).mean()

    def optimize_parameters(self) -> None:
        """One step on D, then one on G and F together with D frozen."""
        self.forward()
        self.set_requires_grad(self.netD, True)
        self.optimizer_D.zero_grad()
        self.backward_D()
        self.optimizer_D.step()

        self.set_requires_grad(self.netD, False)
        self.optimizer_G.zero_grad()
        self.backward_G()
        self.optimizer_G.step()


class Projections(nn.Module):
    """H: for each layer a perceptron from its channels to FEATURES, normalised to length 1."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, FEATURES), nn.ReLU(), nn.Linear(FEATURES, FEATURES))
            for width in widths
        )

    def forward(
        self, features: Sequence[torch.Tensor], places: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """(N, S, FEATURES) for each layer: at S places (S,) of its features (N, C_l, H_l, W_l)."""
        patches = [x.flatten(2)[:, :, at].mT for x, at in zip(features, places, strict=True)]
        return [
            F.normalize(layer(patch), dim=2)
            for layer, patch in zip(self.layers, patches, strict=True)
        ]


def patch_nce(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Cross entropy of finding each query's key among those of the same picture (eq. 3).

    Args: queries, keys: (N, S, C) of length 1, on the same places.   Returns: scalar, the mean."""
    similarity = queries @ keys.mT / TEMPERATURE  # (N, S, S)
    own = torch.arange(keys.shape[1], device=keys.device).expand(keys.shape[:2])
    return F.cross_entropy(similarity.flatten(0, 1), own.flatten())


def draw_places(features: torch.Tensor) -> torch.Tensor:
    """Up to NUM_PATCHES places among the H * W of (N, C, H, W), without repetition."""
    return torch.randperm(features[0, 0].numel(), device=features.device)[:NUM_PATCHES]


class Features:
    """Hears what LAYERS of a ResNet give while the whole network is called.

    By hooks, so that the call has all that --precision and --compile have made of the network.
    """

    def __init__(self, net: nn.Module):
        self.heard: list[torch.Tensor] = []
        self.is_listening = False
        layers = net.get_submodule("model")
        for index in LAYERS:
            layers.get_submodule(str(index)).register_forward_hook(self.hear)

    def hear(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if self.is_listening:
            self.heard.append(output.float())

    def during(self, call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What a call of the network returns, and what was heard."""
        self.heard, self.is_listening = [], True
        try:
            return call(), self.heard
        finally:
            self.is_listening = False


def check(opt: argparse.Namespace) -> None:
    """Raise UserError for flags that do not suit the model."""
    if opt.netG not in RESNET_BLOCKS:
        raise UserError(
            f"--model cut compares features of a ResNet; pass --netG {' or '.join(RESNET_BLOCKS)} "
            f"instead of {opt.netG}"
        )
    if opt.gan_mode == "wgangp":
        raise UserError("--model cut has no wgangp; pass --gan_mode lsgan or vanilla")
    if opt.CUT_mode == "CUT" and opt.input_nc != opt.output_nc:
        raise UserError(
            f"--CUT_mode CUT also translates examples of the target, so it needs as many output as "
            f"input channels (here {opt.input_nc} and {opt.output_nc}); pass --CUT_mode FastCUT"
        )
