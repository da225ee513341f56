"""Run a trained model on pictures, and write the results and a page that shows them.

    python test.py --dataroot ./datasets/portrait_retouch --name retouch --model pix2pix

Results go to results/NAME/PHASE_EPOCH, with the page index.html.
"""

from util.startup import begin_imports

if __name__ == "__main__":
    begin_imports()

import sys
from pathlib import Path

import torch
from tqdm import tqdm

import data
import models
from data.base_dataset import input_name
from models.weights import label_to_load
from options.test_options import TestOptions
from util import distributed, runtime
from util.errors import first_few
from util.run.best import best_and_latest
from util.show.full_depth import depths_of
from util.show.loggers.wandb import WandbResults
from util.show.results import THREADS, Results
from util.speed.per_sample import normalize_each_alone
from util.speed.performance import prepare
from util.speed.process import begin
from util.step.finite import why_not_finite
from util.util import counted

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
    results = Results(
        folder,
        measure=(task.result, task.target) if task else None,
        untouched=task.input if task else "",
        inputs=Path(opt.dataroot),
        why_not_finite=lambda: why_not_finite(model.networks(), opt.precision),
        beside=fast and model.device.type != "cpu",
        num_threads=THREADS if fast else 1,
        aspect_ratio=opt.aspect_ratio,
        depths=depths_of(opt, model.visual_names, input_name(opt)),
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
            bar.update(len(model.get_image_paths()))
    means, nothing = results.close()
    for name, mean in means.items():
        beside = f" (doing nothing: {nothing[name]:.4g})" if nothing else ""
        print(f"mean {name}: {mean:.4g}{beside}")
    num_skipped = dataset.skipped.total()
    print(f"{counted(len(dataset) - num_skipped, 'result')} in {folder / 'index.html'}")
    if some := data.chosen(dataset):
        print(some)
    if num_skipped:
        of_all = f"{num_skipped} of {counted(len(dataset), 'picture')}"
        were, reasons = "was" if num_skipped == 1 else "were", list(dataset.skipped)
        print(f"{of_all} {were} skipped: {first_few(reasons, 3)}")


if __name__ == "__main__":
    sys.exit(runtime.run(main, MEMORY_FLAGS))
