"""The generators of a trained model as functions of pictures, one for each direction."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from tempfile import gettempdir
from typing import NamedTuple

import torch

from models.base_model import BaseModel
from models.strips.run import in_strips, plan
from models.strips.tiles import in_tiles
from models.strips.walk import NotWalkable
from models.validation.generators import says_what_it_does, unchanged, view_of
from util.errors import UserError, described
from util.run.memory import free_memory
from util.runtime import isolated_randomness
from util.show.bars import tqdm
from util.show.estimate import duration_text
from util.speed.performance import resolve_precision
from util.util import to_batch

PROBE_PX = 64  # side of the picture that tells which network makes a model's pictures
LARGE_PX = 4_000_000  # pixels of a picture that --tile auto computes in parts


class Direction(NamedTuple):
    """A generator.

    Attributes:
        result: the visual name of what it makes.
        is_reverse: whether it goes from the output's side of the data to the input's.
        generate: from pictures (1, C, H, W) to pictures (1, C', H, W), both in [-1, 1].
    """

    result: str
    is_reverse: bool
    generate: Callable[[torch.Tensor], torch.Tensor]


def directions_of(model: BaseModel) -> list[Direction]:
    """The directions of a model in testing. If its file does not say what they are: by the network
    that turns out to make its pictures, else through its own set_input and test.

    Raises UserError for a model of other pictures than RGB or grey.
    """
    if model.space != BaseModel.space:
        raise UserError(
            f"{type(model).__name__} makes pictures from {model.space}, and photographs are RGB "
            "or grey; leave --full_size out"
        )
    if not says_what_it_does(type(model)):
        network = sole_maker(model)
        apply = Whole(model) if network is None else Network(network, model)
        return [Direction("fake", False, apply)]
    networks = model.networks()
    return [
        Direction(task.result, task.is_reverse, Network(networks[task.network], model))
        for task in model.translations
    ]


class Applied(ABC):
    """Something that makes pictures from pictures, large ones in parts; see --tile."""

    def __init__(self, model: BaseModel):
        opt, self.device = model.opt, model.device
        self.rows: int | None = None if opt.tile == "auto" else opt.tile
        self.multiple, self.has_told = opt.size_multiple, False
        self.dtype = resolve_precision(opt.precision, self.device, quiet=True)

    @abstractmethod
    def at_once(self, x: torch.Tensor) -> torch.Tensor:
        """The result (1, C', H, W) of a picture (1, C, H, W) that fits into the memory."""

    def in_parts(self, x: torch.Tensor) -> torch.Tensor:
        if not self.has_told:
            self.tell("not made by one network of known layers: in tiles with overlap, approximate")
            self.has_told = True
        with bar(1) as progress:
            return in_tiles(self.at_once, x, self.multiple, progress)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        pixels = x.shape[2] * x.shape[3]
        parts = pixels > LARGE_PX if self.rows is None else self.rows > 0
        return self.in_parts(x) if parts else self.at_once(x)

    @staticmethod
    def tell(line: str) -> None:
        tqdm.write(line)


class Network(Applied):
    """One network of a model."""

    def __init__(self, network: torch.nn.Module, model: BaseModel):
        super().__init__(model)
        self.network = network

    def at_once(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.network(x.to(self.device)).float().cpu()

    def in_parts(self, x: torch.Tensor) -> torch.Tensor:
        try:
            needs = plan(self.network, x, self.multiple)
        except NotWalkable:
            return super().in_parts(x)
        most = free_memory() / 2
        if x.shape[2] * x.shape[3] > LARGE_PX:
            held, rest = min(needs.parked, most) / 1e9, max(0, needs.parked - most) / 1e9
            on_disk = f" and {rest:.1f} GB in {gettempdir()}" if rest else ""
            self.tell(
                f"{x.shape[3]}x{x.shape[2]} pixels in strips: about "
                f"{duration_text(max(1, needs.seconds))}, {held:.1f} GB of memory{on_disk}"
            )
        with bar(needs.num_maps) as progress:
            return in_strips(
                self.network,
                x,
                rows=self.rows or 0,
                most_bytes=most,
                dtype=self.dtype,
                progress=progress,
            )


class Whole(Applied):
    """A model through its own set_input and test."""

    def __init__(self, model: BaseModel):
        super().__init__(model)
        self.model = model

    def at_once(self, x: torch.Tensor) -> torch.Tensor:
        try:
            self.model.set_input({"A": x, "B": x, "A_paths": [""], "B_paths": [""]})
        except Exception as error:  # other people's code may raise anything
            raise UserError(
                f"{type(self.model).__name__} cannot be applied to a photograph alone, as A and B "
                f"of a batch: {described(error)}"
            ) from error
        self.model.test()
        visuals = self.model.get_current_visuals()
        made = [label for label in visuals if "fake" in label] or [*visuals][-1:]
        if not made:
            raise UserError(f"{type(self.model).__name__} has no visual_names that show a result")
        return to_batch(visuals[made[0]]).detach().float().cpu()


def sole_maker(model: BaseModel) -> torch.nn.Module | None:
    """The generator whose result is that of the whole model; found out with a picture of noise."""
    opt = model.opt
    side = -(-max(opt.size_minimum, PROBE_PX) // opt.size_multiple) * opt.size_multiple
    noise = torch.rand(1, opt.input_nc, side, side, generator=torch.Generator().manual_seed(0))

    def result(applied: Whole | Network) -> torch.Tensor:
        with isolated_randomness(0, device=model.device), unchanged(model):
            return applied.at_once(2 * noise - 1)

    with contextlib.suppress(Exception):  # other people's code may raise anything
        wanted = result(Whole(view_of(model)))
        for name, net in model.networks().items():
            with contextlib.suppress(Exception):  # it may take something else than a picture
                if name.startswith("G") and torch.equal(result(Network(net, model)), wanted):
                    return net
    return None


@contextlib.contextmanager
def bar(total: float) -> Iterator[Callable[[float], object]]:
    """A progress bar for one picture, if it is shown to somebody and takes a while."""
    form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    hidden = not sys.stderr.isatty()
    with tqdm(total=total, leave=False, delay=2, disable=hidden, bar_format=form) as shown:
        yield shown.update
