"""Build what judges a run, from its options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from models.base_model import BaseModel
from models.losses.lpips import LPIPS
from models.networks.inception import InceptionFeatures
from models.schedules import watch
from models.validation.examples import Examples
from models.validation.generators import Generators, OwnTest, generators_of
from models.validation.judge import Judge, PairedJudge, UnpairedJudge
from models.validation.judging import Judging, needs_validation
from models.validation.validation import Batches, Validation, frequency
from util import distributed
from util.errors import UserError
from util.metrics.scores import AUTOMATIC
from util.run.best import Best
from util.show.full_depth import depths_of
from util.speed.performance import arrange


def create_judging(
    model: BaseModel,
    opt: argparse.Namespace,
    averages: Mapping[str, nn.Module],
    pictures: Batches | None,
    shown: Sequence[Any],
    num_training: int,
    key: str = "",
) -> Judging:
    """Build it before the networks are sped up; their copies are sped up here.

    Args:
        averages: the networks of --ema by name, or none.
        pictures: to validate on, or None.
        shown: to show while training, as batches of one.
        num_training: pictures of an epoch.
        key: tells whether a resumed run validates on the same pictures.

    Raises:
        UserError: an option needs validation, or a metric that is not measured.
    """
    generators = generators_of(model, averages, is_paired=opt.dataset_mode != "unaligned")
    # Without their own processes, norms over all processes would wait for them.
    is_joint = opt.norm == "syncbatch" and distributed.size() > 1
    if is_joint and isinstance(generators, OwnTest):
        print("--norm syncbatch: a model file without `translations` is not validated")
        pictures, shown = None, ()
    arrange(generators.copies, opt, model.device)
    examples = Examples(generators, shown, opt.seed)
    every, judges = opt.val_freq, list[Judge]()
    if pictures is not None and every == 0:
        print("--val_freq 0: these pictures are shown, but nothing is measured on them")
    elif pictures is not None and not generators.tasks:
        print(f"no validation: {type(model).__name__} has no pictures real_A, fake_B and real_B")
    elif pictures is not None:
        judges = create_judges(opt, generators)
    names = [name for judge in judges[:1] for name in judge.names]
    best = Best(best_metric(opt, names), opt.min_delta, opt.patience, key)
    watch("loss" if opt.plateau_on == "loss" else f"{best.metric} {key}", model.schedulers)
    if pictures is None or not judges:
        return Judging(model, opt, None, examples, best)
    num_epochs = opt.n_epochs + opt.n_epochs_decay
    if every == "auto":
        num_validated = len(pictures) * len(generators.weights)
        every = frequency(num_epochs, num_training, num_validated)
    often = f"every {every} epochs and " if 1 < every < num_epochs else ""
    when = "after each epoch" if every == 1 else f"{often}at the end"
    print(f"validates {when}; the best checkpoint is that with the best {best.metric}")
    validation = Validation(
        generators,
        pictures,
        judges,
        direction=opt.direction,
        seed=opt.seed,
        every_epochs=every,
    )
    return Judging(model, opt, validation, examples, best)


def create_judges(opt: argparse.Namespace, generators: Generators | OwnTest) -> list[Judge]:
    """One for each task; prints a line for a metric whose weights are not at hand."""
    tasks, device = generators.tasks, generators.model.device
    lpips, inception = None, None
    if any(task.is_paired for task in tasks):
        is_asked_for = opt.best_metric == "LPIPS"
        try:
            lpips = LPIPS(opt.vgg_weights, opt.lpips_weights, is_asked_for).to(device)
        except UserError as error:
            if is_asked_for or opt.lpips_weights:
                raise
            how = "--best_metric LPIPS downloads its weights (528 MB)"
            print(f"LPIPS is not measured: {error if opt.vgg_weights else how}")
    if opt.inception_weights and all(task.is_paired for task in tasks):
        print("--inception_weights is for data without pairs: it is not used")
    elif opt.inception_weights:
        inception = InceptionFeatures(opt.inception_weights).to(device)
    labels = [label for task in tasks for label in (task.result, task.target)]
    depths = depths_of(opt, labels, "A" if opt.direction == "AtoB" else "B")
    return [
        PairedJudge(task, depths, lpips) if task.is_paired else UnpairedJudge(task, inception)
        for task in tasks
    ]


def best_metric(opt: argparse.Namespace, names: Iterable[str]) -> str:
    """The metric by which the best checkpoint is chosen; '' if nothing is measured.

    Raises UserError if the options ask for what is not measured.
    """
    names = list(names)
    if not names and (flag := needs_validation(opt)):
        if opt.val_freq == 0:
            raise UserError(f"{flag} needs validation, which --val_freq 0 turns off")
        raise UserError(
            f"{flag} needs validation: put pictures in valA and valB, or val, under "
            f"{opt.dataroot}, or pass --val_split 0.1"
        )
    if opt.best_metric == "auto":
        return next((name for name in AUTOMATIC if name in names), "")
    if opt.best_metric not in names:
        lacks = opt.best_metric == "KID" and "SWD" in names
        needs = "; KID needs --inception_weights FILE" if lacks else ""
        raise UserError(
            f"--best_metric {opt.best_metric} is not measured in this run, only "
            f"{', '.join(names)}{needs}"
        )
    return opt.best_metric
