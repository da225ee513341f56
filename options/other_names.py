"""Names that flags have in older versions of the well-known program, and in other trainers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from util.errors import UserError, command_line

# A name, or a name and a value -> what to type here; {} stands for the value. From other trainers
# only names that can mean one thing: --save_dir and --output_dir may mean runs or results.
OTHER_NAMES = {
    # Older versions
    "align_data": "--dataset_mode aligned",
    "batchSize": "--batch_size {}",
    "display_single_pane_ncols": "--display_ncols {}",
    "fineSize": "--crop_size {}",
    "how_many": "--num_test {}",
    "identity": "--lambda_identity {}",
    "loadSize": "--load_size {}",
    "lr_policy lambda": "--lr_policy linear",
    "model one_direction_test": "--model test",
    "nThreads": "--num_threads {}",
    "niter": "--n_epochs {}",
    "niter_decay": "--n_epochs_decay {}",
    "no_lsgan": "--gan_mode vanilla",
    "ntest": "--num_test {}",
    "resize_or_crop": "--preprocess {}",
    "use_dropout": "--no_dropout off",
    "which_direction": "--direction {}",
    "which_epoch": "--epoch {}",
    "which_model_netD": "--netD {}",
    "which_model_netG": "--netG {}",
    # Other trainers
    "amp": "--precision auto",
    "batch": "--batch_size {}",
    "bs": "--batch_size {}",
    "cpu": "--device cpu",
    "data": "--dataroot {}",
    "data_dir": "--dataroot {}",
    "data_path": "--dataroot {}",
    "data_root": "--dataroot {}",
    "epochs": "--n_epochs {}",
    "exp_name": "--name {}",
    "experiment_name": "--name {}",
    "fp16": "--precision fp16",
    "gpu": "--gpu_ids {}",
    "gpu_id": "--gpu_ids {}",
    "image_size": "--load_size {} --crop_size {}",
    "img_size": "--load_size {} --crop_size {}",
    "lambda_idt": "--lambda_identity {}",
    "learning_rate": "--lr {}",
    "max_epochs": "--n_epochs {}",
    "num_epochs": "--n_epochs {}",
    "num_workers": "--num_threads {}",
    "resume": "--continue_train",
    "run_name": "--name {}",
    "wandb": "--use_wandb",
    "workers": "--num_threads {}",
}
BY_MODEL = {"pix2pix": {"lambda_A": "--lambda_L1 {}"}}  # names that another model still has
VALUE = re.compile(r"[^-]|-\d")  # how a word that is no flag begins


def current_names(
    argv: Sequence[str], taken: Callable[[str], object]
) -> tuple[list[str], list[str]]:
    """A command line in the names used here, and notes such as "--niter 50 is --n_epochs 50".

    Args:
        taken: whether a plug-in has such a flag, which then keeps its meaning.
    """
    rest, current, notes = list(argv), [], []
    words = [word for given in argv for word in given.split("=", 1)]
    model = dict(pairwise(words)).get("--model", "")
    here = {**OTHER_NAMES, **BY_MODEL.get(model, {})}
    keys = {key.casefold(): key for key in here}
    while rest:
        word = rest.pop(0)
        flag, joined, value = word.partition("=")
        follows = not joined and bool(rest) and VALUE.match(rest[0]) is not None
        value = rest[0] if follows else value
        name = flag.lstrip("-").replace("-", "_")
        written = f"{name} {value}", name.casefold()  # a flag may be typed in any letter case
        key = next((keys[key] for key in written if key in keys), None)
        is_value = not flag.startswith("-")
        if is_value or key is None or (key in OTHER_NAMES and taken(f"--{key}")):
            current.append(word)
            continue
        values = [value] * bool(value) if "{}" in here[key] or " " in key else []
        if follows and values:
            rest.pop(0)
        new = [v for w in here[key].split() for v in (values if w == "{}" else [w])]
        current += new
        notes.append(f"{command_line([flag, *values])} is {command_line(new)}")
    return current, notes


@contextlib.contextmanager
def refusing(notes: Sequence[str]) -> Iterator[None]:
    """Raise UserError at the end if there are notes of `current_names`.

    An error inside, such as an unknown flag, is told in the same line.
    """
    told = f"these flags have other names here: {', '.join(notes)}"
    try:
        yield
    except UserError as error:
        if not notes:
            raise
        raise UserError(f"{told}; {error}") from error
    if notes:
        raise UserError(told)
