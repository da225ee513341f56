"""One generator of a trained model, run on pictures in one direction."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from models.base_model import BaseModel, Translation
from util.errors import UserError


class TestModel(BaseModel):
    """real -> fake, with weights EPOCH_net_G.pth, or EPOCH_net_G_A.pth for --model_suffix _A."""

    captions: ClassVar = {"real": "input", "fake": "generated"}
    takes: ClassVar = ("A",)
    compare: ClassVar = [("real", "fake")]
    translations = (Translation("G", "real", "fake", "", is_paired=False),)

    __test__ = False  # not a test, whatever pytest thinks of the name

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        if is_train:
            raise UserError("--model test is for test.py; train with pix2pix or cycle_gan")
        parser.set_defaults(dataset_mode="single")
        parser.add_argument(
            "--model_suffix",
            default="",
            help="which of the run's generators to use: _A or _B for CycleGAN",
        )
        return parser

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        if opt.output_nc == 2:
            raise UserError(
                f"--model test shows RGB and grey pictures, and {opt.name} makes 2 channels, as "
                "colorization does; pass --model colorization, which takes any folder, or the "
                "model that the run was trained with"
            )
        self.visual_names = ["real", "fake"]
        self.model_names = [f"G{opt.model_suffix}"]
        self.translations = (self.translations[0]._replace(network=self.model_names[0]),)
        self.netG = self.define_G(opt.input_nc, opt.output_nc)
        setattr(self, f"netG{opt.model_suffix}", self.netG)

    def set_input(self, input: dict[str, Any]) -> None:
        """Take a batch of a single dataset: A, (N, C, H, W) in [-1, 1], and its paths."""
        self.real = input["A"].to(self.device, non_blocking=True)
        self.image_paths = input["A_paths"]

    def forward(self) -> None:
        self.fake = self.netG(self.real)  # (N, output_nc, H, W)

    def optimize_parameters(self) -> None:
        """Nothing is trained here."""
