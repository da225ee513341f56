"""Load networks from LABEL_net_NAME.pth and save them there, with advice if they do not fit."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
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
) -> None:
    """Read each network, by name, from LABEL_net_NAME.pth in a folder.

    Raises UserError if a file is missing or does not fit; with `partial`, loads what exists and
    fits, and lists the rest, which stays as it is. With `averages`, reads the EMA weights of the
    generators (--ema).

    Args:
        pretrained: the weights are of another run (--load_pretrain); errors then suggest `partial`.
    """
    misfits, missing = [], []
    offered = pretrained and not partial
    more = "; or pass --load_pretrain_partial to load only what fits" if offered else ""
    for name, net in networks.items():
        file_name = f"{name}_ema" if averages and name.startswith("G") else name
        path = weights_path(folder, label, file_name)
        if not path.is_file():
            missing.append(path)
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
    if missing and (not partial or len(missing) == len(networks)):
        known = f"there is no such checkpoint{available(missing[0])}"
        raise UserError(f"{missing[0]}: {known}{advise_model(missing[0], networks)}{more}")
    for path in missing:
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
    return found, path


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
