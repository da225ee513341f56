"""Load networks from LABEL_net_NAME.pth and save them there, with advice if they do not fit."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.networks.infer import infer_discriminator, infer_generator
from models.networks.initialize import update_norm_buffers
from util.errors import UserError
from util.files import writing
from util.registry import registry_of
from util.run.checkpoint import available, load_weights, save_weights, weights_path

# Which network of another model can be a generator here: its only one can be either of two, and
# either of two can be the only one.
STAND_INS = {"G_A": ("G",), "G_B": ("G",), "G": ("G_A", "G_B")}


def label_to_load(opt: argparse.Namespace) -> str:
    """The label of the checkpoint that the options ask for."""
    return f"iter_{opt.load_iter}" if opt.load_iter > 0 else opt.epoch


def save_networks(networks: Mapping[str, nn.Module], folder: Path, label: str | int) -> None:
    """Write each network to LABEL_net_NAME.pth, a bare state_dict, in a folder."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, net in networks.items():
        save_weights(net, weights_path(folder, label, name))


def load_networks(
    networks: Mapping[str, nn.Module],
    folder: Path,
    label: str | int,
    *,
    partial: bool = False,
    averages: bool = False,
    pretrained: bool = False,
    may_be_new: Collection[str] = (),
) -> None:
    """Read each network, by name, from LABEL_net_NAME.pth in a folder.

    Raises UserError if a file is missing or does not fit; with `partial`, loads what exists and
    fits, and lists the rest, which stays as it is; if there is only G where the model has G_A and
    G_B, or the reverse, G_A and G stand for each other. With `averages`, reads the EMA weights of
    the generators (--ema).

    Args:
        pretrained: the weights are of another run (--load_pretrain); errors then suggest `partial`.
        may_be_new: networks that may lack a file, and then stay as they are.
    """
    misfits: list[str] = []
    missing: dict[str, Path] = {}
    offered = pretrained and not partial
    more = "; or pass --load_pretrain_partial to load only what fits" if offered else ""
    for name, net in networks.items():
        ending = "_ema" if averages and name.startswith("G") else ""
        path = weights_path(folder, label, name + ending)
        if partial and name != "G_B" and (others := stand_ins(path, name)):
            print(f"{path} does not exist: taking {others[0]} as {name}")
            path = others[0]
        if not path.is_file():
            missing[name] = path
            continue
        state = update_norm_buffers(net, load_weights(path))
        misfit = describe_misfit(net, state)
        if misfit and not partial:
            misfits.append(f"{path} does not fit the network {name}: {misfit}")
            continue
        if misfit:
            own = net.state_dict()
            state = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
            print(f"network {name}: loaded {len(state)} of {len(own)} tensors of {path}; {misfit}")
        else:
            print(f"network {name}: loaded {path}")
        net.load_state_dict(state, strict=not misfit)
    lacking = {name: path for name, path in missing.items() if name not in may_be_new}
    if lacking and (not partial or len(missing) == len(networks)):
        name, path = next(iter(lacking.items()))
        advice = advise_stand_in(path, name, networks)
        advice = advice or f"{advise_model(path, networks)}{more}"
        raise UserError(f"{path}: there is no such checkpoint{available(path)}{advice}")
    for path in missing.values():
        print(f"{path} does not exist: that network keeps its initial weights")
    if misfits:
        raise UserError(f"{'; '.join(misfits)}; {fit_advice(folder)}{more}")


def infer_architecture(
    folder: Path, label: str, suffix: str = "", *, is_train: bool
) -> tuple[dict[str, Any], Path] | None:
    """Infer architecture flags from a run's weights, for weights without saved options.

    Args:
        suffix: which generator to read, such as _A; if it has no file, G or G_A is read.
        is_train: also infer flags of the discriminator.

    Returns the flags and the file they were inferred from, or None if there is no such file or it
    is of an unknown architecture.
    """
    paths = (weights_path(folder, label, name) for name in (f"G{suffix}", "G", "G_A"))
    path = next((path for path in paths if path.is_file()), None)
    found = infer_generator(load_weights(path)) if path else {}
    if not path or not found:
        return None
    discriminator = path.with_name(path.name.replace("_net_G", "_net_D"))
    if is_train and discriminator.is_file():
        found.update(infer_discriminator(load_weights(discriminator)))
        if discriminator.with_stem(f"{discriminator.stem}_2").is_file():
            found["num_D"] = 2
    return found, path


def stand_ins(missing: Path, name: str) -> list[Path]:
    """Weights beside a missing file, of other models, that can be the generator of this name."""
    if missing.is_file():
        return []
    label, _, ending = missing.name.partition(f"_net_{name}")
    paths = [missing.with_name(f"{label}_net_{other}{ending}") for other in STAND_INS.get(name, ())]
    return [path for path in paths if path.is_file()]


def advise_stand_in(missing: Path, name: str, networks: Mapping[str, nn.Module]) -> str:
    """How to use a generator of another model as the missing one, for the end of its error.

    Says nothing if there are discriminators too: they suit only the model they were trained with.
    """
    label = missing.name.partition("_net_")[0]
    found = [path.name for path in stand_ins(missing, name)]
    if not found or any(missing.parent.glob(f"{label}_net_D*.pth")):
        return ""
    roles = [role for role in networks if STAND_INS.get(role) == STAND_INS[name]]
    start = f"; {' or '.join(found)} can be {' or '.join(roles)}: "
    if any(network.startswith("D") for network in networks):
        return (
            f"{start}to train from {found[0]} as {name}, pass --load_pretrain {missing.parent} "
            "--load_pretrain_partial under a new --name; otherwise rename it first"
        )
    rename = "rename it and add the other" if len(roles) > 1 else "rename it"
    return f"{start}{rename}, or pass --model test without --model_suffix to use it one way"


def advise_model(missing: Path, networks: Mapping[str, nn.Module]) -> str:
    """Which --model suits the weights beside a missing file, for the end of its error.

    `networks` are those of the chosen model.
    """
    label = missing.name.partition("_net_")[0]
    classes = registry_of("models").usable().items()
    known = {vars(model).get("known_by", ""): name for name, model in classes}
    for network in sorted(known.keys() - networks.keys() - {""}):
        if weights_path(missing.parent, label, network).is_file():
            return f"; pass --model {known[network]}, or the model they were trained with"
    return ""


def fit_advice(folder: Path) -> str:
    """What to do about weights that do not fit."""
    file = folder / "train_opt.txt"
    listed = f"; {file} lists them" if file.is_file() else ""
    return (
        "pass the flags they were trained with (--netG, --netD, --norm, --ngf, --ndf, "
        f"--no_dropout, --input_nc, --output_nc, --n_layers_D{listed})"
    )


def describe_misfit(net: nn.Module, state: dict[str, torch.Tensor]) -> str:
    """How weights differ from what the network expects; '' if they fit."""
    own = net.state_dict()
    lists = {
        "missing": [k for k in own if k not in state],
        "unexpected": [k for k in state if k not in own],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
            for k in own
            if k in state and own[k].shape != state[k].shape
        ],
    }
    return ", ".join(
        f"{len(keys)} {what} ({', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''})"
        for what, keys in lists.items()
        if keys
    )
