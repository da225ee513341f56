"""Colours for grey photographs: pix2pix in CIE Lab (arXiv:1611.07004, section 4; the space as in
arXiv:1603.08511)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from models.base_model import Translation
from models.networks.d_augment import names_in
from models.pix2pix_model import Pix2PixModel
from util.errors import UserError
from util.packages import needed


class ColorizationModel(Pix2PixModel):
    """real_A is lightness L, real_B and fake_B are colour ab; shown as RGB."""

    captions: ClassVar = {"real_A": "input", "real_B_rgb": "original", "fake_B_rgb": "coloured"}
    compare: ClassVar = [("real_A", "fake_B_rgb"), ("fake_B_rgb", "real_B_rgb")]
    space: ClassVar = "Lab"
    translations = (Translation("G", "real_A", "fake_B_rgb", "real_B_rgb"),)

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        Pix2PixModel.modify_commandline_options(parser, is_train)
        parser.set_defaults(dataset_mode="colorization")
        return parser

    def __init__(self, opt):
        super().__init__(opt)
        self.visual_names = ["real_A", "real_B_rgb", "fake_B_rgb"]
        if self.isTrain and "color" in (names := names_in(opt).split(",")):
            rest = ",".join(name for name in names if name != "color") or "none"
            raise UserError(
                "--d_augment color changes RGB, and the pictures of --model colorization are in "
                f"Lab; pass --d_augment {rest}"
            )

    def translate(
        self, networks: Mapping[str, nn.Module], input: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Colours are shown and judged in RGB."""
        pictures = super().translate(networks, input)
        for label in ("fake_B_rgb", "real_B_rgb"):
            pictures[label] = lab_to_rgb(pictures["real_A"], pictures[label])
        return pictures

    def compute_visuals(self) -> None:
        self.real_B_rgb = lab_to_rgb(self.real_A, self.real_B)
        self.fake_B_rgb = lab_to_rgb(self.real_A, self.fake_B)


def lab_to_rgb(lightness: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """sRGB (N, 3, H, W) in [-1, 1], from L / 50 - 1 (N, 1, H, W) and ab / 110 (N, 2, H, W)."""
    lab2rgb = needed("skimage.color", "--model colorization").lab2rgb
    lab = torch.cat(((lightness + 1.0) * 50.0, colour * 110.0), 1).detach().float().cpu().numpy()
    with warnings.catch_warnings():  # an untrained network makes colours that no screen can show
        warnings.filterwarnings("ignore", message="Conversion from CIE-LAB")
        rgb = np.stack([lab2rgb(picture.transpose(1, 2, 0)) for picture in lab])  # (N, H, W, 3)
    return torch.from_numpy(rgb).permute(0, 3, 1, 2) * 2.0 - 1.0
