"""The base class of all models: what they provide, and what they inherit."""

from __future__ import annotations

import argparse
import itertools
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from models import weights
from models.networks.discriminators import define_D, shortest_side
from models.networks.generators import SIZE_MULTIPLE, define_G
from models.schedules import get_scheduler
from util.errors import UserError, first_line
from util.registry import speaks_for
from util.runtime import resolve_device

# What the objective of a model may heed besides its pictures, and where ours do: the weight maps,
# W of a batch, (N, 1, H, W) in [0, 1], and flags.
USED_IN = {
    "trainW": ("set_input", "backward_G", "reconstruction_loss", "optimize_parameters"),
    "--d_augment": ("backward_D", "backward_G", "adversarial_loss", "optimize_parameters"),
    "--num_D": ("backward_D", "backward_G", "adversarial_loss", "optimize_parameters"),
    "--r1": ("backward_D", "optimize_parameters"),
    "--lambda_feat": ("backward_G", "adversarial_loss", "optimize_parameters"),
    "--lambda_lpips": ("backward_G", "reconstruction_loss", "optimize_parameters"),
}


class Translation(NamedTuple):
    """What a generator is trained to do, in visual names: `result` = net(`input`).

    Attributes:
        network: the generator, as in `model_names`.
        target: the picture that the result should equal or, for unpaired data, one of those that it
            should look like.
        is_reverse: whether it leads from the output's side of the data to the input's.
    """

    network: str
    input: str
    result: str
    target: str
    is_paired: bool = True
    is_reverse: bool = False


class BaseModel(ABC):
    """A model chosen by --model: networks, objectives and one optimisation step.

    A sub-class in models/NAME_model.py, named NameModel, calls `super().__init__(opt)` and fills
    these lists, in which each name stands for an attribute:

        model_names    "G" -> netG: a network; saved and loaded
        loss_names     "G_GAN" -> loss_G_GAN: a scalar; printed and logged
        visual_names   "fake_B" -> fake_B: pictures (N, C, H, W) in [-1, 1], or of the first of a
                       batch an array (H, W, C) in 0..255; shown and saved
        optimizers     in training; each gets a learning-rate schedule

    and implements `set_input`, `forward` and `optimize_parameters`.

    Attributes:
        captions: what pages call each visual name, in plain words.
        compare: pairs of visual names for the before/after slider of pages.
        takes: keys of a batch that `set_input` needs; empty: not checked beforehand.
        uses: which names of USED_IN its methods heed. A subclass that replaces one of the methods
            there, and heeds them too, states so again; see `used`.
        space: the colour space of its pictures, which must be that of the dataset.
        translations: what its generators do, for metrics and validation; see `translate`.
        metric: what --lr_policy plateau watches, of the epoch that ends; None if nothing is new.
        known_by: the network whose file identifies weights of this model, such as "G"; with it, an
            error about missing weights can name the right --model. Sub-classes do not inherit it.
    """

    captions: ClassVar[dict[str, str]] = {}
    compare: ClassVar[list[tuple[str, str]]] = []
    uses: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()
    space: ClassVar[str] = "RGB or grey"
    translations: tuple[Translation, ...] = ()
    known_by: ClassVar[str] = ""

    def __init__(self, opt: argparse.Namespace):
        self.opt = opt
        self.isTrain: bool = opt.isTrain
        self.device = resolve_device(opt.device)
        self.gpu_ids = [self.device.index or 0] if self.device.type == "cuda" else []
        # On a CPU inputs are faster one by one, because the output of a layer stays in the cache.
        self.joins_inputs = self.device.type != "cpu"
        # train.py turns this off, since it restores weights with the rest of their checkpoint.
        self.loads_on_resume = True
        self.save_dir = Path(opt.checkpoints_dir) / opt.name
        self.model_names: list[str] = []
        self.loss_names: list[str] = []
        self.visual_names: list[str] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        self.schedulers: list[Any] = []
        self.image_paths: list[str] = []
        self.metric: float | None = 0.0

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        """Add flags or change defaults; returns the parser."""
        return parser

    @classmethod
    def used(cls) -> dict[str, bool]:
        """Whether this class heeds each name that it or a base has in `uses`.

        It may not where a class below the one that says so replaces a method.
        """
        known = dict.fromkeys(name for kind in cls.__mro__ for name in vars(kind).get("uses", ()))

        def says(name: str) -> Callable[[type], bool]:
            return lambda kind: name in vars(kind).get("uses", ())

        return {name: speaks_for(cls, says(name), *USED_IN.get(name, ())) for name in known}

    @staticmethod
    def size_multiple(opt: argparse.Namespace) -> int:
        """Sides of input pictures must be multiples of this; by default what --netG needs."""
        return SIZE_MULTIPLE.get(opt.netG, 1)

    @staticmethod
    def size_minimum(opt: argparse.Namespace) -> int:
        """The shortest side that the networks accept; it leaves a PatchGAN at least one logit."""
        of_D = shortest_side(opt.netD, opt.n_layers_D) if opt.isTrain else 1
        return max(8, SIZE_MULTIPLE.get(opt.netG, 1), of_D)

    @abstractmethod
    def set_input(self, input: dict[str, Any]) -> None:
        """Take a batch of the dataset, move it to the device, remember its paths."""

    @abstractmethod
    def forward(self) -> None:
        """Run the networks on the input; used in training and testing."""

    @abstractmethod
    def optimize_parameters(self) -> None:
        """One training step: losses, gradients, weights."""

    def data_dependent_initialize(self, input: dict[str, Any]) -> None:
        """In training, before `setup`: make the layers whose sizes a batch of the dataset tells."""

    def define_G(self, input_nc: int, output_nc: int) -> nn.Module:
        """Build the generator that the flags describe, for these numbers of channels."""
        o = self.opt
        flags = o.ngf, o.netG, o.norm, not o.no_dropout, o.init_type, o.init_gain
        return define_G(input_nc, output_nc, *flags, residual=o.residual)

    def define_D(self, input_nc: int) -> nn.Module:
        """Build the discriminator that the flags describe."""
        o = self.opt
        flags = o.ndf, o.netD, o.n_layers_D, o.norm, o.init_type, o.init_gain
        return define_D(input_nc, *flags, spectral_norm=o.spectral_norm)

    def adam(self, *nets: nn.Module) -> torch.optim.Optimizer:
        """Build one Adam optimizer for all weights of some networks."""
        parameters = itertools.chain(*(net.parameters() for net in nets))
        return torch.optim.Adam(parameters, lr=self.opt.lr, betas=(self.opt.beta1, 0.999))

    def setup(self, opt: argparse.Namespace) -> None:
        """Finish construction: devices, schedules, and weights to test or to start from.

        Raises UserError if weights are missing or do not fit, or if no generator is residual though
        --residual asks for it, or no optimizer is that of discriminators though --lr_D does.
        """
        nets = self.networks().values()
        if opt.residual and not any(getattr(net, "residual", False) for net in nets):
            raise UserError(
                f"--residual: {type(self).__name__} builds its networks without it; leave the flag "
                "out, or build the generator by self.define_G in the model's file"
            )
        for net in self.networks().values():
            net.to(self.device)
        self.print_networks(opt.verbose)
        if self.isTrain:
            if opt.lr_D:
                give_rate(self, "D", opt.lr_D)
            self.schedulers = [get_scheduler(optimizer, opt) for optimizer in self.optimizers]
            self.optimizers = self.all_optimizers()
        label = weights.label_to_load(opt)
        if not self.isTrain:
            self.load_networks(label, averages=opt.ema > 0)
        elif opt.continue_train and self.loads_on_resume:
            self.load_networks(label)
        elif opt.load_pretrain:
            self.load_networks(label, Path(opt.load_pretrain), partial=opt.load_pretrain_partial)

    def print_networks(self, verbose: bool) -> None:
        """Print the size of each network, and its layers if `verbose`."""
        for name, net in self.networks().items():
            count = sum(p.numel() for p in net.parameters())
            print(f"network {name}: {count / 1e6:.3f} million parameters")
            if verbose:
                print(net)

    def networks(self) -> dict[str, nn.Module]:
        """The networks by name; one that is a list of networks as an nn.ModuleList of them."""
        nets = declared(self, "model_names", "net")
        return {
            n: nn.ModuleList(net) if type(net) in (list, tuple) else net for n, net in nets.items()
        }

    def all_optimizers(self) -> list[torch.optim.Optimizer]:
        """Those in `optimizers`, and then those that are in other attributes only."""
        values = [self.optimizers, *vars(self).values()]
        several = [value if isinstance(value, list | tuple) else [value] for value in values]
        found = [one for some in several for one in some if isinstance(one, torch.optim.Optimizer)]
        return list(dict.fromkeys(found))

    def may_be_new(self) -> list[str]:
        """The networks, by name, that a checkpoint to begin from may lack; they then begin anew."""
        return []

    def eval(self) -> None:
        """Put all networks in eval mode, which affects norms and dropout."""
        for net in self.networks().values():
            net.eval()

    def test(self) -> None:
        """Run the forward pass without gradients, then compute what else is shown."""
        with torch.no_grad():
            self.forward()
            self.compute_visuals()

    def translate(
        self, networks: Mapping[str, nn.Module], input: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """The pictures of `translations`, by visual name, of a batch through these generators.

        Unlike `set_input` and `test`, changes nothing of the model, and runs no other networks.
        """
        source, target = ("A", "B") if self.opt.direction == "AtoB" else ("B", "A")
        pictures = {}
        for task in self.translations:
            first, second = (target, source) if task.is_reverse else (source, target)
            pictures[task.input] = input[first].to(self.device, non_blocking=True)
            pictures[task.result] = networks[task.network](pictures[task.input])
            pictures[task.target] = input[second].to(self.device, non_blocking=True)
        return pictures

    def compute_visuals(self) -> None:
        """Compute more pictures for display; none by default."""

    def get_image_paths(self) -> list[str]:
        """The files that the current input came from, one per sample."""
        return self.image_paths

    def get_visual_paths(self) -> dict[str, list[str]]:
        """For each visual name, the files it was made from; results are named after them."""
        return dict.fromkeys(self.visual_names, self.get_image_paths())

    def get_current_visuals(self) -> OrderedDict[str, Any]:
        """The pictures to show, by name, in the order of `visual_names`; see `util.to_batch`."""
        return OrderedDict(declared(self, "visual_names"))

    def get_current_losses(self) -> OrderedDict[str, float]:
        """The losses of the last step, in the order of `loss_names`; waits for the device."""
        return OrderedDict((name, float(loss.detach())) for name, loss in self.losses().items())

    def losses(self) -> dict[str, torch.Tensor]:
        """The losses of the last step, scalars on the device; does not wait for it."""
        losses = declared(self, "loss_names", "loss_")
        return {name: as_scalar(name, loss, self.device) for name, loss in losses.items()}

    def update_learning_rate(self) -> None:
        """Step the schedules at the end of an epoch."""
        for scheduler in self.schedulers:
            if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step()
            elif self.metric is not None:
                scheduler.step(self.metric)

    @property
    def generator_loss(self) -> torch.Tensor:
        """The total generator loss of the last step, a scalar, for --lr_policy plateau.

        It is `loss_G`, or in a model without one the sum of the losses whose names begin with G.
        """
        if hasattr(self, "loss_G"):
            return as_scalar("G", self.loss_G, self.device)
        parts = [loss for name, loss in self.losses().items() if name.startswith("G")]
        if not parts:
            raise UserError(
                f"--lr_policy plateau watches loss_G, or else losses whose names begin with G, but "
                f"{type(self).__name__} has none; use another --lr_policy"
            )
        return torch.stack(parts).sum()

    @property
    def learning_rate(self) -> float:
        return self.optimizers[0].param_groups[0]["lr"]

    def memories(self) -> dict[str, Any]:
        """What the model remembers of past steps: attributes with a state, such as image pools."""
        kinds = (nn.Module, torch.optim.Optimizer)
        return {
            name: value
            for name, value in vars(self).items()
            if hasattr(value, "load_state_dict") and not isinstance(value, kinds)
        }

    def save_networks(self, label: str | int) -> None:
        """Write each network to LABEL_net_NAME.pth, a bare state_dict, in the run's folder."""
        weights.save_networks(self.networks(), self.save_dir, label)

    def load_networks(
        self,
        label: str | int,
        folder: Path | None = None,
        *,
        partial: bool = False,
        averages: bool = False,
    ) -> None:
        """Read each network from LABEL_net_NAME.pth in the run's or another folder.

        Raises UserError if a file is missing or does not fit; with `partial`, loads what exists and
        fits, and lists the rest, which stays as it is. With `averages`, reads the EMA weights of
        the generators (--ema).
        """
        weights.load_networks(
            self.networks(),
            folder or self.save_dir,
            label,
            partial=partial,
            averages=averages,
            pretrained=folder is not None,
            may_be_new=self.may_be_new(),
        )

    @staticmethod
    def infer_architecture(opt: argparse.Namespace) -> tuple[dict[str, Any], Path] | None:
        """Infer architecture flags from the run's weights, for weights without saved options.

        Returns the flags and the file they were inferred from, or None if there is no such file or
        it is of an unknown architecture.
        """
        folder, label = Path(opt.checkpoints_dir) / opt.name, weights.label_to_load(opt)
        suffix = getattr(opt, "model_suffix", "")
        return weights.infer_architecture(folder, label, suffix, is_train=opt.isTrain)

    def together(self, net: nn.Module, *inputs: torch.Tensor) -> Sequence[torch.Tensor]:
        """net(x) for each input, in one call if that is faster and gives the same results."""
        same_size = all(x.shape[1:] == inputs[0].shape[1:] for x in inputs)
        if not (self.joins_inputs and same_size and treats_samples_alone(net)):
            return [net(x) for x in inputs]
        return net(torch.cat(inputs)).split([len(x) for x in inputs])

    def set_requires_grad(self, nets: nn.Module | Iterable[nn.Module], requires_grad: bool) -> None:
        """Freeze networks, so that no gradients are computed for them, or unfreeze them."""
        for net in [nets] if isinstance(nets, nn.Module) else nets:
            net.requires_grad_(requires_grad)


def declared(model: BaseModel, names: str, prefix: str = "") -> dict[str, Any]:
    """The attributes that a list of names, such as `loss_names`, promises, by name."""
    values = {}
    for name in getattr(model, names):
        attribute = f"{prefix}{name}"
        if not hasattr(model, attribute):
            kind = type(model).__name__
            raise AttributeError(
                f"{kind}.{names} promises an attribute {attribute}, which is not set"
            )
        values[name] = getattr(model, attribute)
    return values


def give_rate(model: BaseModel, kind: str, lr: float) -> None:
    """Give the networks whose names begin with a letter another learning rate.

    Raises UserError if none of them, or not they alone, are in a group of weights of an optimizer,
    or if it already has a schedule, which knows the former rate.
    """
    networks = {n: net for n, net in model.networks().items() if n.startswith(kind)}
    own = {id(weight) for net in networks.values() for weight in net.parameters()}
    groups = [
        group
        for optimizer in model.all_optimizers()
        for group in optimizer.param_groups
        if not own.isdisjoint(map(id, group["params"]))
    ]
    flag, name = f"--lr_{kind} {lr:g}", type(model).__name__
    if not groups or not all(own.issuperset(map(id, group["params"])) for group in groups):
        raise UserError(
            f"{flag}: {name} has no optimizer of the networks alone whose names begin with {kind}; "
            "leave the flag out"
        )
    for group in groups:
        if "initial_lr" in group:
            raise UserError(
                f"{flag}: {name} makes a schedule of its own for its discriminators; leave the "
                "flag out, or set the rate in the model's file"
            )
        group["lr"] = lr


def as_scalar(name: str, loss: Any, device: torch.device) -> torch.Tensor:
    """A loss as a scalar on the device. Models may set it to a number, such as 0 to switch it off.

    Raises UserError if it is neither a number nor a tensor or array with a single element.
    """
    try:
        if isinstance(loss, torch.Tensor):
            return loss.reshape(()).to(device)
        return torch.full((), float(np.asarray(loss).item()), device=device)  # a copy would wait
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"loss_{name} of the model is not a single number ({first_line(error)}); average it in "
            "the model's file, or remove it from loss_names"
        ) from error


def treats_samples_alone(net: nn.Module) -> bool:
    """Whether the output for a sample depends neither on the rest of its batch nor on chance."""
    if net not in alone:  # looking at each layer in each step would take longer than a GPU needs
        mixes = nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd
        alone[net] = not any(isinstance(layer, mixes) for layer in net.modules())
    return alone[net]


alone: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()  # what was found out about networks
