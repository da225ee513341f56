"""Run a trained model on pictures, and write the results and a page that shows them.

    python test.py --dataroot ./datasets/portrait_retouch --name retouch --model pix2pix

Results go to results/NAME/PHASE_EPOCH, with the page index.html.
"""

from util.startup import begin_imports

if __name__ == "__main__":
    begin_imports()

import argparse
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

import data
import models
from data.base_dataset import input_name
from data.loader import Loader
from data.photo.translate import FreePaths, Translator, chosen_way
from data.validation import all_files
from models.applied import directions_of
from models.base_model import BaseModel
from models.weights import label_to_load
from options.test_options import TestOptions, filled_name
from util import distributed, runtime
from util.errors import UserError, first_few
from util.run.best import best_and_latest
from util.show.bars import tqdm
from util.show.full_depth import depths_of
from util.show.loggers.wandb import WandbResults
from util.show.photographs import Photographs
from util.show.results import THREADS, Results, Style
from util.speed.per_sample import normalize_each_alone
from util.speed.performance import prepare
from util.speed.process import begin
from util.step.finite import why_not_finite
from util.util import counted, listed

MEMORY_FLAGS = (
    "--batch_size 1, --precision auto, a smaller --crop_size and --load_size, fewer --num_threads, "
    "--device cpu"
)


def main(*, fast: bool = True) -> None:
    """Test. Without `fast`, also turn off the speed-ups that have no flag, for comparison."""
    distributed.refuse_several()
    options = TestOptions(models.registry, data.registry)
    opt = options.parse()
    begin(opt, fast=fast)
    dataset = data.create_dataset(opt, max_images=opt.num_test)
    model = models.create_model(opt)
    model.setup(opt)
    if opt.eval:
        model.eval()
    elif opt.batch_size > 1:
        for net in model.networks().values():
            normalize_each_alone(net)
    if fast:
        prepare(model.networks(), [], opt, model.device)
    runtime.warn_of_unused_card(opt.device)
    if opt.dry_run:
        return
    options.save(opt)

    task = next((task for task in model.translations if task.is_paired), None)
    label = label_to_load(opt)
    if label in ("best", "latest") and (line := best_and_latest(model.save_dir)):
        print(f"{line}{'; to test it: --epoch best' if label == 'latest' else ''}")
    folder = Path(opt.results_dir) / opt.name / f"{opt.phase}_{label}"
    inputs = inputs_to_spare(dataset, folder)
    photographs = None
    if opt.full_size != "off":
        photographs = FullSize(opt, model, dataset, folder, inputs)
    results = Results(
        folder,
        measure=(task.result, task.target) if task else None,
        untouched=task.input if task else "",
        inputs=inputs,
        why_not_finite=lambda: why_not_finite(model.networks(), opt.precision),
        beside=fast and model.device.type != "cpu",
        num_threads=THREADS if fast else 1,
        aspect_ratio=opt.aspect_ratio,
        depths=depths_of(opt, model.visual_names, input_name(opt)),
        left_out=given_labels(model) if opt.only_results else (),
        style=style_of(opt, model, label),
        also=WandbResults(opt, model.save_dir) if opt.use_wandb else None,
        title=f"{opt.name}: {opt.phase}, checkpoint {label}",
        winsize_px=opt.display_winsize,
        captions=model.captions,
        compare=model.compare,
        options=options.text,
    )
    with (
        results,
        tqdm(total=len(dataset), unit="image", disable=not sys.stderr.isatty()) as bar,
        torch.autocast(model.device.type, enabled=False),  # keeps weights cast for --precision
    ):
        for batch in dataset:
            model.set_input(batch)
            model.test()
            results.add(model.get_current_visuals(), model.get_visual_paths(), batch.shares_kept())
            if photographs is not None:
                photographs.add(batch)
            bar.update(len(model.get_image_paths()))
    means, nothing = results.close()
    for name, mean in means.items():
        beside = f" (doing nothing: {nothing[name]:.4g})" if nothing else ""
        print(f"mean {name}: {mean:.4g}{beside}")
    print(f"{counted(len(dataset) - dataset.skipped.total(), 'result')} in {folder / 'index.html'}")
    if photographs is not None:
        print(photographs.files.line())
    tell_of_others(dataset)


def inputs_to_spare(dataset: Loader, folder: Path) -> set[Path]:
    """The files of the inputs, resolved, if some may be results of the last test in the folder."""
    files = all_files(dataset.dataset) if folder.is_dir() else []
    return {Path(file).resolve() for file in files}


def tell_of_others(dataset: Loader) -> None:
    """Print which pictures were not tested, and why."""
    if some := data.chosen(dataset):
        print(some)
    if num_skipped := dataset.skipped.total():
        of_all = f"{num_skipped} of {counted(len(dataset), 'picture')}"
        were, reasons = "was" if num_skipped == 1 else "were", list(dataset.skipped)
        print(f"{of_all} {were} skipped: {first_few(reasons, 3)}")


class FullSize:
    """The full-size results of a test, one for each picture and direction of its model."""

    def __init__(
        self,
        opt: argparse.Namespace,
        model: BaseModel,
        dataset: Loader,
        folder: Path,
        inputs: Collection[Path],
    ):
        way, why = chosen_way(
            opt.full_size, model.save_dir, same_channels=opt.input_nc == opt.output_nc
        )
        if why:
            print(f"--full_size {opt.full_size}: {way}, since {why}")
        self.directions = [
            (d.result, Translator(opt, d.generate, way, is_reverse=d.is_reverse))
            for d in directions_of(model)
        ]
        self.in_pairs = getattr(dataset.dataset, "columns", 1) == 2
        several = len(self.directions) > 1
        pattern = opt.output_name or ("{stem}_{label}" if several else "{stem}")
        fields = {"name": opt.name, "epoch": label_to_load(opt)}
        self.files = Photographs(
            folder,
            Path(opt.dataroot),
            inputs,
            free_path=FreePaths(lambda path: path.resolve() in inputs),
            kind={"auto": "keep"}.get(opt.output_format, opt.output_format),
            name=lambda stem, label: filled_name(pattern, stem=stem, label=label, **fields),
            quality=opt.jpeg_quality,
        )

    def add(self, batch: Mapping[str, Any]) -> None:
        """Write the photographs of a batch; UserError names one that cannot be."""
        for label, translator in self.directions:
            paths = batch.get(f"{translator.side.name}_paths") or batch["A_paths"]
            for path in map(Path, paths):
                photo = translator(translator.open(path, in_pair=self.in_pairs))
                self.files.add(path, label, photo)


def given_labels(model: BaseModel) -> set[str]:
    """The visual names of inputs and targets."""
    of_tasks = {label for task in model.translations for label in (task.input, task.target)}
    return of_tasks | {label for label in model.visual_names if label.startswith("real")}


def style_of(opt: argparse.Namespace, model: BaseModel, epoch: str) -> Style:
    """How the files in images/ are written; flags for names and formats are for those of
    --full_size instead, if there are any.

    Raises UserError for names that two pictures of one input would share.
    """
    if opt.full_size != "off":
        return Style()
    pattern = opt.output_name or "{stem}_{label}"
    results = [label for label in model.visual_names if label not in given_labels(model)]
    if "{label}" not in pattern and not (opt.only_results and len(results) == 1):
        alone = "; pass --only_results too" if len(results) == 1 else ""
        raise UserError(
            f"--output_name {pattern!r} lacks {{label}}, so that {listed(model.visual_names)} of "
            f"one picture would have one name{alone}"
        )
    fields = {"name": opt.name, "epoch": epoch}
    return Style(
        {"auto": "png"}.get(opt.output_format, opt.output_format),
        lambda stem, label: filled_name(pattern, stem=stem, label=label, **fields),
        opt.jpeg_quality,
    )


if __name__ == "__main__":
    sys.exit(runtime.run(main, MEMORY_FLAGS))
