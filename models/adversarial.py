"""What models with discriminators share: further ones for half the size, and gradient penalties.

code            paper
netD, netD_2    D_1 and D_2 of arXiv:1711.11585, section 3.2: D_2 sees pictures of half the size
gan_loss        sum over k of L_GAN(G, D_k), eq. 3 there
r1_penalty      R_1, eq. 9 of arXiv:1801.04406; as in section 3.1 of arXiv:1912.04958, only in every
                16th update, with 16 times the weight
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from models.base_model import BaseModel
from models.losses.gan import cal_gradient_penalty, r1_penalty
from models.networks import d_augment
from models.networks.discriminators import halved, shortest_side
from util.distributed import size as num_processes
from util.errors import UserError

Maps = Sequence[torch.Tensor]  # of logits, (N, 1, h, w) each: one from each discriminator
EVERY = 16  # updates of a discriminator for one with R1


def add_flags(parser: Any) -> None:
    """Add the flags of discriminators, in training."""
    d_augment.add_flag(parser)
    parser.add_argument(
        "--num_D",
        type=int,
        choices=(1, 2),
        default=1,
        metavar="{1,2}",
        help="discriminators of a picture; 2: another one, netD_2, sees all at half the size, and "
        "so judges what is twice as large; losses are the sums of both",
    )
    parser.add_argument(
        "--r1",
        type=float,
        default=0.0,
        metavar="GAMMA",
        help="weight of the R1 penalty, which keeps discriminators from becoming steep at real "
        f"pictures, in every {EVERY}th update; such as 10; 0: not computed",
    )


class AdversarialModel(BaseModel):
    """A model with discriminators, which heeds --num_D and --r1 where it uses the methods below.

    They take netD, and also ask its second, if there is one. `criterionGAN` is to be set.
    """

    criterionGAN: Callable[[torch.Tensor, bool], torch.Tensor]

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        # Models built on ours may lack the flags, and there are none in testing.
        self.r1_gamma: float = getattr(opt, "r1", 0.0)
        self.second: dict[nn.Module, nn.Module] = {}
        if self.r1_gamma:
            self.r1_updates = DueUpdates(opt.grad_accum)
        self.has_penalty = self.isTrain and (opt.gan_mode == "wgangp" or self.r1_gamma > 0)

    @staticmethod
    def size_minimum(opt: argparse.Namespace) -> int:
        """As of all models; half of the side must leave netD_2 a logit too."""
        of_D = shortest_side(opt.netD, opt.n_layers_D) * getattr(opt, "num_D", 1)
        return max(BaseModel.size_minimum(opt), of_D if opt.isTrain else 1)

    def add_seconds(self, **input_nc: int) -> None:
        """With --num_D 2, build netNAME_2 for each discriminator, named with its channels.

        To be called when all other networks are built, whose initial weights then do not depend on
        the flag, but no optimizer.
        """
        if getattr(self.opt, "num_D", 1) == 1:
            return
        for name, channels in input_nc.items():
            second = self.define_D(channels)
            setattr(self, f"net{name}_2", second)
            self.model_names.append(f"{name}_2")
            self.second[getattr(self, f"net{name}")] = second

    def may_be_new(self) -> list[str]:
        """The seconds: a run can be given them when it resumes."""
        nets = self.second.values()
        return [name for name, net in self.networks().items() if net in nets]

    def adam(self, *nets: nn.Module) -> torch.optim.Optimizer:
        """Build one Adam optimizer for all weights of some networks, and of their seconds."""
        optimizer = super().adam(*nets)
        if seconds := [self.second[net] for net in nets if net in self.second]:
            weights = [weight for net in seconds for weight in net.parameters()]
            # A group of its own, at the end, which runs resumed without it can begin.
            optimizer.add_param_group({"params": weights, "may_be_new": True})
        return optimizer

    def set_requires_grad(self, nets: nn.Module | Iterable[nn.Module], requires_grad: bool) -> None:
        """Freeze networks and their seconds, or unfreeze them."""
        nets = [nets] if isinstance(nets, nn.Module) else list(nets)
        nets += [self.second[net] for net in nets if net in self.second]
        super().set_requires_grad(nets, requires_grad)

    def setup(self, opt: argparse.Namespace) -> None:
        """As of all models. Also raises UserError where --num_D or --r1 cannot work."""
        if self.r1_gamma:
            self._check_r1()
        trained = {
            id(weight)
            for optimizer in self.all_optimizers()
            for group in optimizer.param_groups
            for weight in group["params"]
        }
        nets = self.networks().values()
        for pair in self.second.items():
            weights = [weight for net in pair for weight in net.parameters()]
            if not (all(net in nets for net in pair) and trained.issuperset(map(id, weights))):
                raise UserError(
                    f"--num_D {opt.num_D}: {type(self).__name__} has its own discriminators, "
                    "optimizers or model_names, without netD_2; leave the flag out, or build the "
                    "optimizers by self.adam and keep the names in the model's file"
                )
        super().setup(opt)

    def _check_r1(self) -> None:
        flag = f"--r1 {self.r1_gamma:g}"
        if self.opt.gan_mode == "wgangp":
            raise UserError(
                f"{flag} with --gan_mode wgangp, which has a gradient penalty of its own; leave "
                "out --r1, or pass --gan_mode lsgan or vanilla"
            )
        for name, net in self.networks().items():
            norms = [x for x in net.modules() if isinstance(x, nn.modules.batchnorm._BatchNorm)]
            in_all = any(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
            together = self.opt.batch_size * (num_processes() if in_all else 1)
            if name.startswith("D") and norms and together > 1:
                raise UserError(
                    f"{flag}: network {name} normalises {together} pictures together (--norm "
                    f"{self.opt.norm}), so that none has a slope of its own; pass --norm instance, "
                    "or take one picture at a time"
                )

    def sizes(
        self, netD: nn.Module, *pictures: torch.Tensor
    ) -> Iterator[tuple[nn.Module, Sequence[torch.Tensor]]]:
        """Each discriminator that netD stands for, and pictures, (N, C, H, W), as it sees them."""
        yield netD, pictures
        if netD in self.second:
            yield self.second[netD], [halved(x) for x in pictures]

    def judge(self, netD: nn.Module, picture: torch.Tensor) -> Maps:
        """What netD and its second say of pictures."""
        return [net(x) for net, (x,) in self.sizes(netD, picture)]

    def judge_each(self, netD: nn.Module, *pictures: torch.Tensor) -> list[Maps]:
        """The same for several batches; see `together`."""
        by_size = [self.together(net, *xs) for net, xs in self.sizes(netD, *pictures)]
        return [list(maps) for maps in zip(*by_size, strict=True)]

    def judge_with_features(
        self, netD: nn.Module, picture: torch.Tensor
    ) -> tuple[Maps, list[torch.Tensor]]:
        """What they say, and the features of all their layers."""
        found = [net(x, with_features=True) for net, (x,) in self.sizes(netD, picture)]
        return [maps for maps, _ in found], [layer for _, layers in found for layer in layers]

    def gan_loss(self, maps: Maps, target_is_real: bool) -> torch.Tensor:
        """`criterionGAN`, summed over the discriminators."""
        return total(self.criterionGAN(one, target_is_real) for one in maps)

    def gradient_penalty(
        self, netD: nn.Module, real: torch.Tensor, fake: torch.Tensor, num_given: int = 0
    ) -> torch.Tensor:
        """The penalty of wgangp, or GAMMA times R1: a scalar, summed over the discriminators.

        R1 is 0 but for one update in EVERY, where it counts EVERY-fold. The slope is that of the
        mean of a map, by the pictures at the size that its discriminator sees.

        Args:
            real, fake: what netD judges, (N, C, H, W).
            num_given: how many of the channels are the condition; R1 leaves the slope by it alone.
        """
        if self.opt.gan_mode == "wgangp":
            return total(
                cal_gradient_penalty(mean_of_map(net), x, y)[0]
                for net, (x, y) in self.sizes(netD, real, fake)
            )
        (name,) = (name for name, net in self.networks().items() if net is netD)
        if not self.r1_updates.is_due(name):
            return torch.zeros((), device=real.device)
        penalties = (
            r1_penalty(mean_of_map(net), x, num_given) for net, (x,) in self.sizes(netD, real)
        )
        return total(penalties) * (EVERY * self.r1_gamma)


class DueUpdates:
    """Counts the updates of discriminators, of which one in EVERY is due, from the first on.

    An update takes `num_batches` batches (--grad_accum), which are due together, so that it is as
    of one large batch.
    """

    may_be_new = True  # the flag can be given to a run that resumes

    def __init__(self, num_batches: int = 1):
        self.num_batches = num_batches
        self.counts: dict[str, tuple[int, int]] = {}  # updates, and batches towards the next

    def is_due(self, name: str) -> bool:
        """Count a batch of a network; whether it belongs to an update that is due."""
        updates, taken = self.counts.get(name, (0, 0))
        ends = taken + 1 == self.num_batches
        self.counts[name] = (updates + 1, 0) if ends else (updates, taken + 1)
        return updates % EVERY == 0

    def state_dict(self) -> dict[str, list[int]]:
        return {name: list(counts) for name, counts in self.counts.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[int]]) -> None:
        # As the gradients, half an update begins again if --grad_accum has become too small for it.
        self.counts = {
            name: (updates, taken if taken < self.num_batches else 0)
            for name, (updates, taken) in state.items()
        }

    def redistribute(self, processes: Sequence[Mapping[str, Sequence[int]]]) -> None:
        """Restore from another number of processes, which all begin an update."""
        self.counts = {name: (updates, 0) for name, (updates, _) in processes[0].items()}


def mean_of_map(net: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """What a PatchGAN says of each sample, (N,): GANLoss takes the mean of its map too."""
    return lambda x: net(x).mean(dim=(1, 2, 3))


def total(losses: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum; of one loss, that loss itself."""
    first, *others = losses
    for loss in others:
        first = first + loss
    return first
