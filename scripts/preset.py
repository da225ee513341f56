"""Run a recipe by name: python3 scripts/preset.py NAME [more flags]

Each recipe is a command line for train.py or test.py, explained in docs/recipes.md. Without a name,
this prints the list. scripts/NAME.sh (Linux, macOS) and scripts/NAME.cmd (Windows) do the same.
Flags after the name come last on the command line, so they override the recipe's:

    sh scripts/retouch_1024.sh --dataroot /data/my_pairs --name my_pairs

The command runs in the project's folder, wherever you call it from: relative paths start there. It
uses the active Python if that has PyTorch, else the project's .venv, which is created the first
time.
"""

import os
import shlex
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import environment
from util.errors import UserError, command_line, did_you_mean, exit_status

ROOT = Path(__file__).resolve().parent.parent

RETOUCH = "--dataroot ./portrait_retouch --name portrait_retouch_reverse --direction AtoB"
WIDE_1024 = "--preprocess scale_width_and_crop --load_size 1024 --crop_size 1024"
OVERFIT = f"train.py {RETOUCH} --model pix2pix --load_size 512 --crop_size 512"
PERCEPTUAL = (
    f"train.py {RETOUCH} --model pix2pix_with_perceptual {WIDE_1024} --n_epochs 1000 "
    "--n_epochs_decay 1000 --lambda_L1 100.0 --lambda_perceptual 10.0 --use_perceptual --lr 0.0001"
)
# The best of scripts/study_few_pairs.py.
FEW = "--residual --augment auto --lambda_L1 1000 --d_augment translation,cutout --lambda_feat 10"
STAGE = (
    "train.py --dataroot ./portrait_retouch --direction AtoB --model pix2pix "
    "--preprocess scale_width_and_crop --n_epochs 500 --n_epochs_decay 500"
)

PRESETS = {
    # Undoing a portrait retouch: A is the retouched picture, B the original.
    "retouch_1024": f"train.py {RETOUCH} --model pix2pix --batch_size 1 --load_size 1024 "
    "--crop_size 1024 --n_epochs 200 --n_epochs_decay 200",
    "retouch_512_batch4": f"train.py {RETOUCH} --model pix2pix --batch_size 4 --load_size 512 "
    "--crop_size 512 --n_epochs 100 --n_epochs_decay 100 --display_freq 50 --print_freq 10",
    "retouch_few": f"train.py {RETOUCH} --model pix2pix {WIDE_1024} {FEW} --n_epochs 200 "
    "--n_epochs_decay 200",
    "retouch_many": f"train.py {RETOUCH} --model pix2pix {WIDE_1024} --residual --augment auto "
    "--lambda_L1 300 --n_epochs 50 --n_epochs_decay 50",
    "retouch_overfit_800": f"{OVERFIT} --n_epochs 800 --n_epochs_decay 800 --lambda_L1 300.0 "
    "--lr 0.0001 --continue_train auto",
    "retouch_overfit_1000": f"{OVERFIT} --n_epochs 1000 --n_epochs_decay 1000 --lambda_L1 500.0 "
    "--lr 0.0001 --continue_train auto",
    "retouch_overfit_2000": f"{OVERFIT} --n_epochs 2000 --n_epochs_decay 2000 --lambda_L1 1000.0 "
    "--lr 0.00005 --continue_train auto",
    "retouch_perceptual": PERCEPTUAL,
    "retouch_perceptual_lsgan": f"{PERCEPTUAL} --gan_mode lsgan",
    "retouch_sharp": f"train.py {RETOUCH} --model pix2pix {WIDE_1024} --lambda_L1 50.0 "
    "--gan_mode lsgan --n_layers_D 4 --lr 0.0001",
    "retouch_stage1": f"{STAGE} --name portrait_retouch_stage1 --load_size 512 --crop_size 256",
    "retouch_stage2": f"{STAGE} --name portrait_retouch_stage2 --load_size 1024 --crop_size 1024 "
    "--continue_train --epoch_count 501 --load_pretrain ./checkpoints/portrait_retouch_stage1",
    "retouch_test": f"test.py {RETOUCH} --model pix2pix --epoch latest --netG unet_256 "
    "--norm batch",
    "retouch_test_single": "test.py --dataroot ./test_images/test --name portrait_retouch_reverse "
    "--model test --direction AtoB --dataset_mode single --epoch latest --netG unet_256 "
    "--norm batch",
    # pix2pix on facades: from label maps (B) to photographs (A).
    "train_pix2pix": "train.py --dataroot ./datasets/facades --name facades_pix2pix "
    "--model pix2pix --direction BtoA",
    "test_pix2pix": "test.py --dataroot ./datasets/facades --name facades_pix2pix "
    "--model pix2pix --direction BtoA",
    "test_single": "test.py --dataroot ./datasets/facades/testB --name facades_pix2pix "
    "--model test --direction BtoA --dataset_mode single --netG unet_256 --norm batch",
    # pix2pix: from maps (B) to aerial photographs (A).
    "train_pix2pix_maps": "train.py --dataroot ./datasets/maps --name maps_pix2pix "
    "--model pix2pix --direction BtoA",
    "test_pix2pix_maps": "test.py --dataroot ./datasets/maps --name maps_pix2pix "
    "--model pix2pix --direction BtoA",
    # CycleGAN on aerial photographs and maps, horses and zebras, paintings and photographs.
    "train_cyclegan": "train.py --dataroot ./datasets/maps --name maps_cyclegan --model cycle_gan",
    "test_cyclegan": "test.py --dataroot ./datasets/maps --name maps_cyclegan --model cycle_gan",
    "train_horse2zebra": "train.py --dataroot ./datasets/horse2zebra --name horse2zebra "
    "--model cycle_gan",
    "test_horse2zebra": "test.py --dataroot ./datasets/horse2zebra --name horse2zebra "
    "--model cycle_gan",
    "test_single_horse2zebra": "test.py --dataroot ./datasets/horse2zebra/testA "
    "--name horse2zebra --model test --model_suffix _A --dataset_mode single --no_dropout",
    "horse2zebra_cut": "train.py --dataroot ./datasets/horse2zebra --name horse2zebra_cut "
    "--model cut",
    "horse2zebra_fastcut": "train.py --dataroot ./datasets/horse2zebra --name horse2zebra_fastcut "
    "--model cut --CUT_mode FastCUT",
    "monet2photo": "train.py --dataroot ./datasets/monet2photo --name monet2photo "
    "--model cycle_gan --n_epochs 75 --n_epochs_decay 75 --lr 0.0002 --batch_size 1 "
    "--save_epoch_freq 10 --lambda_A 10.0 --lambda_B 10.0 --lambda_identity 0.5",
    # Colouring grey photographs.
    "train_colorization": "train.py --dataroot ./datasets/colorization --name color_pix2pix "
    "--model colorization",
    "test_colorization": "test.py --dataroot ./datasets/colorization --name color_pix2pix "
    "--model colorization",
    "test_single_colorization": "test.py --dataroot ./datasets/colorization/test "
    "--name color_pix2pix --model colorization",
}

# What a command does not tell.
NOTES = {
    "retouch_few": "the best for 3 to 30 pairs in a study at 128 px (docs/few_pairs.md); not "
    "measured at 1024 px",
    "retouch_many": "not measured yet (docs/recipes.md)",
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        for name, line in PRESETS.items():
            print(f"{name}\n    {line}", *filter(None, [NOTES.get(name)]), sep="\n    ")
        return 0
    name, *more = arguments
    if name not in PRESETS:
        raise UserError(
            f"there is no recipe {name!r}{did_you_mean(name, PRESETS)}; available: "
            f"{', '.join(PRESETS)}"
        )
    words = [*shlex.split(PRESETS[name]), *more]
    print(command_line(["python", *words]), flush=True)
    if name in NOTES:
        print(f"{name}: {NOTES[name]}", flush=True)
    python = (
        sys.executable if find_spec("torch") else environment.ensure(ROOT, ["requirements.txt"])
    )
    os.chdir(ROOT)
    if os.name != "nt":
        os.execv(python, [str(python), *words])  # signals then reach the program itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program handles Ctrl-C; we wait for it
    return subprocess.call([python, *words])


if __name__ == "__main__":
    sys.exit(exit_status("scripts/preset.py", lambda: main(sys.argv[1:])))
