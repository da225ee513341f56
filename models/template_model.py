"""A starting point for your own model: copy this file, rename it and the class, change the rest.

models/foo_model.py with a class FooModel is found as --model foo, and listed in --help. This one
is a plain regression: its generator maps A to B, with only an L1 loss.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from models.base_model import BaseModel, Translation


class TemplateModel(BaseModel):
    # What its generator does, by the names of pictures below: for metrics and validation.
    translations = (Translation("G", "data_A", "output", "data_B"),)

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        """Add flags for the model, and change the defaults of others."""
        parser.set_defaults(dataset_mode="aligned")
        if is_train:
            parser.add_argument(
                "--lambda_regression", type=float, default=1.0, help="weight of the L1 loss"
            )
        return parser

    def __init__(self, opt: argparse.Namespace):
        """Declare what is shown, logged and saved; build networks, losses and optimizers."""
        super().__init__(opt)
        # Each name stands for an attribute: pictures, losses ("loss_" + name), networks ("net" +).
        self.visual_names = ["data_A", "output", "data_B"]
        self.loss_names = ["G"]
        self.model_names = ["G"]
        self.netG = self.define_G(opt.input_nc, opt.output_nc)
        if self.isTrain:
            self.criterionLoss = torch.nn.L1Loss()
            self.optimizer = self.adam(self.netG)
            self.optimizers = [self.optimizer]  # each gets a schedule

    def set_input(self, input: dict[str, Any]) -> None:
        """Take what the model needs from a batch of the dataset."""
        source, target = ("A", "B") if self.opt.direction == "AtoB" else ("B", "A")
        self.data_A = input[source].to(self.device, non_blocking=True)
        self.data_B = input[target].to(self.device, non_blocking=True)
        self.image_paths = input[f"{source}_paths"]

    def forward(self) -> None:
        """Run the networks; in training and in testing."""
        self.output = self.netG(self.data_A)

    def backward(self) -> None:
        """Compute losses and gradients."""
        self.loss_G = self.criterionLoss(self.output, self.data_B) * self.opt.lambda_regression
        self.loss_G.backward()

    def optimize_parameters(self) -> None:
        """One training step."""
        self.forward()
        self.optimizer.zero_grad()
        self.backward()
        self.optimizer.step()
