"""Run a model's generators on a batch without changing a bit of the model."""

from __future__ import annotations

import argparse
import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from models.base_model import BaseModel, Translation
from util.errors import ReportedElsewhere, UserError, described
from util.registry import defines, speaks_for
from util.runtime import isolated_randomness
from util.speed.per_sample import normalize_each_alone
from util.util import cut, to_batch

LAST, EMA = "last", "EMA"  # the sets of weights: those of the last step, and their averages
NONE = "none"  # instead of a set: the networks are not run


class Generators:
    """A model's generators, through `BaseModel.translate`, with each set of weights.

    They are copies that share the weights of the networks in training, but neither their buffers
    nor what speeds up training; norms treat each picture alone, as in test.py.

    Args:
        averages: the networks of --ema by name, or none.

    Attributes:
        tasks: what they do.
        weights: names of the sets of weights; test.py would use the last one.
        copies: the copied networks, to be sped up; see `util.speed.performance.arrange`.
    """

    def __init__(self, model: BaseModel, averages: Mapping[str, nn.Module]):
        self.model, self.tasks = model, model.translations
        names = dict.fromkeys(task.network for task in self.tasks)
        own = model.networks()
        self._sets = {LAST: {name: sharing(own[name]) for name in names}}
        if averages:
            self._sets[EMA] = {name: sharing(averages[f"{name}_ema"]) for name in names}
        self.weights = list(self._sets)
        self.copies = [net for nets in self._sets.values() for net in nets.values()]
        opt = model.opt
        self._sets[NONE] = {
            task.network: Blank(opt.input_nc if task.is_reverse else opt.output_nc)
            for task in self.tasks
        }

    def __call__(self, batch: Any, weights: str, *key: int) -> dict[str, torch.Tensor]:
        """The pictures of the tasks by visual name, each (C, H, W) in [-1, 1], without padding.

        Args:
            batch: a single sample.
            weights: the set of weights; NONE for inputs and targets alone.
            key: seeds dropout and everything else that is random.
        """
        device = self.model.device
        with torch.no_grad(), isolated_randomness(*key, device=device):
            pictures = self.model.translate(self._sets[weights], batch)
        return without_padding(pictures, batch, self.tasks, self.model)


class Blank(nn.Module):
    """Takes the place of a generator whose result nobody looks at."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.num_channels = num_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), self.num_channels, *x.shape[2:])


class CannotRun(UserError):
    """A model file cannot be tested while it trains, or not without changing the training."""


class CannotRunElsewhere(CannotRun, ReportedElsewhere):
    """That is so in another process."""


class OwnTest:
    """The generators of a model file that does not say what they do, through its own `test`.

    A copy with memories of its own takes the input, as if in test.py; see `view_of`. Buffers of its
    networks, such as running statistics, are put back. Raises CannotRun if weights have changed
    nevertheless, after putting them back too.
    """

    def __init__(self, model: BaseModel, averages: Mapping[str, nn.Module], *, is_paired: bool):
        self.model, self.averages = model, averages
        self.weights = [LAST, EMA] if averages else [LAST]
        self.copies: list[nn.Module] = []
        names = set(model.visual_names)
        known = (
            *model.translations,
            Translation("", "real_A", "fake_B", "real_B", is_paired),
        )
        self.tasks = tuple(t for t in known if {t.input, t.result, t.target} <= names)[:1]

    def __call__(self, batch: Any, weights: str, *key: int) -> dict[str, torch.Tensor]:
        """As that of Generators."""
        view = view_in_test(self.model)
        with (
            isolated_randomness(*key, device=self.model.device),
            averaged(self.model, self.averages if weights == EMA else {}),
            unchanged(self.model),
        ):
            try:
                view.set_input(dict(batch))
                view.test()
                view.visual_names = [name for name in view.visual_names if hasattr(view, name)]
                visuals = view.get_current_visuals()
            except Exception as error:  # other people's code may raise anything
                raise CannotRun(
                    f"{type(self.model).__name__} cannot be tested while it trains: "
                    f"{described(error)}"
                ) from error
        pictures = {}
        for label, picture in visuals.items():
            with contextlib.suppress(ValueError):  # what is no picture is told by the loggers
                pictures[label] = to_batch(picture).detach()
        return without_padding(pictures, batch, self.tasks, self.model)


def generators_of(
    model: BaseModel, averages: Mapping[str, nn.Module], *, is_paired: bool
) -> Generators | OwnTest:
    """The generators of a model; prints a line if its file does not say what they do.

    Args:
        is_paired: whether the data are pairs, for such a file.
    """
    if says_what_it_does(type(model)):
        return Generators(model, averages)
    print(
        f"{type(model).__name__} has no `translations`: its pictures come from its own set_input "
        "and test, as long as that changes nothing"
    )
    return OwnTest(model, averages, is_paired=is_paired)


def paths_of(task: Translation, direction: str) -> tuple[str, str]:
    """The keys of a batch under which the files of a task's input and target are."""
    keys = ("A_paths", "B_paths")
    return keys if (direction == "AtoB") != task.is_reverse else keys[::-1]


def file_of(batch: Any, key: str) -> str:
    """The file of a batch of one, under this key; '' if a user's own dataset does not name it."""
    return str(batch.get(key, [""])[0])


def without_padding(
    pictures: Mapping[str, torch.Tensor],
    batch: Any,
    tasks: Sequence[Translation],
    model: BaseModel,
) -> dict[str, torch.Tensor]:
    """The first of each (N, C, H, W), cut to the size of the picture that it was made from.

    All are on the model's device, as are the networks that judge them.
    """
    shares, direction = batch.shares_kept(), model.opt.direction
    of_label: dict[str, tuple[float, float]] = {}
    for task in tasks:
        given, target = (
            shares.get(file_of(batch, key), (1, 1)) for key in paths_of(task, direction)
        )
        of_label |= {task.input: given, task.result: given, task.target: target}
    usual = next(iter(shares.values()), (1, 1))
    return {
        label: cut(x[0], of_label.get(label, usual)).to(model.device, non_blocking=True)
        for label, x in pictures.items()
    }


def says_what_it_does(kind: type[BaseModel]) -> bool:
    """Whether `translations` is about the methods that run the generators."""
    says = defines("translations", "translate")
    return bool(kind.translations) and speaks_for(kind, says, "set_input", "forward")


def sharing(net: nn.Module) -> nn.Module:
    """A copy of a network with the same weights, not equal ones, and buffers of its own."""
    own = copy.deepcopy(net, {id(weight): weight for weight in net.parameters()})
    normalize_each_alone(own)
    return own


def view_of(model: BaseModel) -> BaseModel:
    """A copy of a model with the same networks, optimizers and options, but memories of its own.

    So whatever it notes of its input, in lists or tensors, does not reach the model.
    """
    view = copy.copy(model)
    stays = [model.opt, *model.optimizers, *model.schedulers, *modules_of(model)]
    memo = {id(one): one for one in stays}
    for name, value in vars(model).items():
        # deepcopy refuses tensors that were computed with gradients.
        computed = {id(x): x.detach().clone() for x in tensors_in(value) if not x.is_leaf}
        with contextlib.suppress(Exception):  # what cannot be copied stays shared
            setattr(view, name, copy.deepcopy(value, memo | computed))
    return view


def view_in_test(model: BaseModel) -> BaseModel:
    """`view_of` a model that takes itself for one in test.py, without its last pictures.

    A model may do more in training, such as flip its input at random.
    """
    view = view_of(model)
    view.isTrain, view.opt = False, argparse.Namespace(**{**vars(model.opt), "isTrain": False})
    for name in view.visual_names:
        vars(view).pop(name, None)
    return view


@contextlib.contextmanager
def averaged(model: BaseModel, averages: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside, networks have the weights of their averages (--ema); afterwards their own again."""
    pairs = [
        pair
        for name, net in model.networks().items()
        if f"{name}_ema" in averages
        for pair in zip(net.parameters(), averages[f"{name}_ema"].parameters(), strict=True)
    ]
    kept = [weight.detach().clone() for weight, _ in pairs]
    with torch.no_grad():
        for weight, average in pairs:
            weight.copy_(average)
    try:
        yield
    finally:
        with torch.no_grad():
            for (weight, _), own in zip(pairs, kept, strict=True):
                weight.copy_(own)


def modules_of(model: BaseModel) -> list[nn.Module]:
    """All modules that a model's attributes hold, and those inside, whatever it calls them."""
    top = [module for module in vars(model).values() if isinstance(module, nn.Module)]
    return list(
        dict.fromkeys(m for net in [*top, *model.networks().values()] for m in net.modules())
    )


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of a value, also those inside of lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)


def trained_on(model: BaseModel, seed: int) -> dict[str, Any]:
    """What a model shows of its last step; changes nothing, whatever its file computes for that."""
    if type(model).compute_visuals is BaseModel.compute_visuals:
        return model.get_current_visuals()
    view = view_of(model)
    with torch.no_grad(), isolated_randomness(seed, device=model.device), unchanged(model):
        view.compute_visuals()
        return view.get_current_visuals()


@contextlib.contextmanager
def unchanged(model: BaseModel) -> Iterator[None]:
    """Inside, a model's modules run; afterwards their buffers and other attributes are as before.

    Raises CannotRun if weights have changed, after putting them back.
    """
    modules = modules_of(model)
    weights = [(p, p.detach().clone()) for m in modules for p in m.parameters(recurse=False)]
    others = [(m, attributes(m), kept_tensors(m)) for m in modules]
    try:
        yield
    finally:
        changed = any(not torch.equal(p.detach(), old) for p, old in weights)
        with torch.no_grad():
            for module, before, tensors in others:
                vars(module).clear()
                vars(module).update(before)
                for value, old in tensors:
                    value.copy_(old)
            for weight, old in weights:
                weight.copy_(old)
    if changed:
        raise CannotRun(
            f"{type(model).__name__} changes its weights when it is tested, which would change the "
            "training; add `translations` to the model's file"
        )


def attributes(module: nn.Module) -> dict[str, Any]:
    """What a module keeps by name; lists and the like as copies, but not those of nn.Module."""
    shared = vars(nn.Module()).keys() - {"_buffers"}
    copied = list | dict | set
    return {
        name: copy.copy(value) if isinstance(value, copied) and name not in shared else value
        for name, value in vars(module).items()
    }


def kept_tensors(module: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The buffers of a module itself, and its other tensors but for the weights, with copies."""
    return [
        (x, x.detach().clone())
        for x in tensors_in(list(vars(module).values()))
        if not isinstance(x, nn.Parameter)
    ]
