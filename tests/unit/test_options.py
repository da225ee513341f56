"""The command line: every flag and default, its forms, what is printed, what is refused."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import shlex
import sys
import unicodedata
from pathlib import Path

import pytest

import data
import models
from models.base_model import BaseModel
from options.flags import OF_TESTING, OF_TRAINING
from options.namespace import Options
from options.other_names import OTHER_NAMES
from options.parser import OptionParser
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util import runtime
from util.errors import UserError, command_line
from util.files import path_text
from util.registry import Registry

INF = math.inf

BASE_DEFAULTS = {
    "name": "experiment_name",
    "checkpoints_dir": "./checkpoints",
    "input_nc": 3,
    "output_nc": 3,
    "ngf": 64,
    "ndf": 64,
    "netD": "basic",
    "netG": "resnet_9blocks",
    "n_layers_D": 3,
    "norm": "instance",
    "init_type": "normal",
    "init_gain": 0.02,
    "no_dropout": False,
    "residual": False,
    "dataset_mode": "unaligned",
    "direction": "AtoB",
    "serial_batches": False,
    "num_threads": 4,
    "batch_size": 1,
    "load_size": 286,
    "crop_size": 256,
    "max_dataset_size": INF,
    "preprocess": "resize_and_crop",
    "no_flip": False,
    "display_winsize": 256,
    "epoch": "latest",
    "load_iter": 0,
    "verbose": False,
    "suffix": "",
    "use_wandb": False,
    "wandb_project_name": "CycleGAN-and-pix2pix",
    "device": "auto",
    "dry_run": False,
    "config": None,
    "precision": "fp32",
    "compile": False,
    "channels_last": "auto",
    "ema": 0.0,
    "skip_bad_images": False,
    "max_megapixels": 179.0,
    "range_A": None,
    "range_B": None,
}

ROOT = Path(__file__).resolve().parents[2]
TRAIN_DEFAULTS = BASE_DEFAULTS | {
    "model": "cycle_gan",
    "no_dropout": True,  # which CycleGAN, the default model, changes
    "display_freq": 400,
    "update_html_freq": 1000,
    "print_freq": 100,
    "no_html": False,
    "save_latest_freq": 5000,
    "save_epoch_freq": 5,
    "save_by_iter": False,
    "continue_train": False,
    "epoch_count": 1,
    "phase": "train",
    "augment": "none",
    "n_epochs": 100,
    "n_epochs_decay": 100,
    "beta1": 0.5,
    "lr": 0.0002,
    "lr_D": 0.0,
    "gan_mode": "lsgan",
    "pool_size": 50,
    "lr_policy": "linear",
    "lr_decay_iters": 50,
    "lambda_A": 10.0,  # which CycleGAN adds, as the next five
    "lambda_B": 10.0,
    "lambda_identity": 0.5,
    "d_augment": "none",
    "num_D": 1,
    "r1": 0.0,
    "deterministic": False,
    "spectral_norm": False,
    "cache": "auto",
    "grad_accum": 1,
    "grad_checkpoint": False,
    "vgg_weights": None,
    "lpips_weights": None,
    "inception_weights": None,
    "val_split": 0.0,
    "val_freq": "auto",
    "val_size": 50,
    "val_pictures": 4,
    "best_metric": "auto",
    "min_delta": 0.0,
    "patience": 0,
    "when_stuck": "decay",
    "plateau_on": "loss",
    "update_html_minutes": 1.0,
    "save_latest_minutes": 0.0,
    "keep_checkpoints": 0,
    "keep_states": 0,
    "try_steps": 0,
    "skip_nonfinite": 0,
    "overwrite": False,
    "load_pretrain": "",
    "load_pretrain_partial": False,
    "use_tensorboard": False,
    "use_visdom": False,
    "display_server": "http://localhost",
    "display_port": 8097,
    "display_env": "main",
    "display_id": 1,
    "display_ncols": 4,
}
TEST_DEFAULTS = BASE_DEFAULTS | {
    "model": "test",
    "dataset_mode": "single",  # which the default model, test, changes
    "load_size": 256,
    "no_flip": True,  # results come in order, unflipped
    "serial_batches": True,
    "results_dir": "./results/",
    "aspect_ratio": 1.0,
    "phase": "test",
    "eval": False,
    "num_test": 50,
    "full_size": "off",
    "tile": "auto",
    "jpeg_quality": 95,
    "only_results": False,
    "output_format": "auto",
    "output_name": None,
    "model_suffix": "",  # which the default model adds
}
# What no table can tell: typed, drawn, looked up, or computed from other options.
NO_DEFAULTS = {"dataroot", "seed", "gpu_ids", "isTrain", "size_multiple", "size_minimum"}
NO_DEFAULTS |= {"program_version", "two_folders", "files_A", "files_B", "weight_maps"}
PIX2PIX_DEFAULTS = {"norm": "batch", "netG": "unet_256", "dataset_mode": "aligned"}
PIX2PIX_IN_TRAINING = PIX2PIX_DEFAULTS | {
    "no_dropout": False,
    "pool_size": 0,
    "gan_mode": "vanilla",
    "lambda_L1": 100.0,
    "lambda_feat": 0.0,
    "lambda_lpips": 0.0,
    "d_augment": "none",
    "num_D": 1,
    "r1": 0.0,
}
ALIGNED = {"skip_unmatched": False, "identity_pairs": 0.0}
PLUGIN_DEFAULTS = {  # in training: what differs from TRAIN_DEFAULTS, or is added
    "--model cycle_gan": {},
    "--model pix2pix": PIX2PIX_IN_TRAINING | ALIGNED,
    "--model pix2pix_with_perceptual": {
        **PIX2PIX_IN_TRAINING,
        **ALIGNED,
        "lambda_perceptual": 10.0,
        "use_perceptual": True,
        "vgg": "vgg16",
    },
    "--model colorization": {
        **PIX2PIX_IN_TRAINING,
        "dataset_mode": "colorization",
        "input_nc": 1,
        "output_nc": 2,
    },
    "--model template --dataset_mode template": {
        "dataset_mode": "template",
        "no_dropout": False,
        "lambda_regression": 1.0,
        "blur_factor": 4.0,
    },
}
CHOICES = {
    "netD": ["basic", "n_layers", "pixel"],
    "netG": ["resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128"],
    "norm": ["instance", "batch", "none", "syncbatch"],
    "init_type": ["normal", "xavier", "kaiming", "orthogonal"],
    "direction": ["AtoB", "BtoA"],
    "preprocess": ["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"],
    "gan_mode": ["vanilla", "lsgan", "wgangp"],
    "lr_policy": ["linear", "step", "plateau", "cosine"],
    "precision": ["fp32", "bf16", "fp16", "auto"],
    "cache": ["auto", "ram", "disk", "none"],
    "best_metric": ["auto", "L1", "LPIPS", "SWD", "KID", "PSNR", "SSIM"],
    "when_stuck": ["decay", "stop"],
    "plateau_on": ["loss", "validation"],
}
ON_OFF = [flag for flag, default in TRAIN_DEFAULTS.items() if isinstance(default, bool)]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    """A folder with a --dataroot, `photos`, and two runs, `experiment_name` and `trained`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "checkpoints" / "experiment_name").mkdir(parents=True)
    (tmp_path / "checkpoints" / "trained").mkdir()
    (tmp_path / "checkpoints" / "trained" / "latest_net_G.pth").touch()
    (tmp_path / "checkpoints" / "trained" / "train_options.json").write_text("{}")


def parse_train(*flags: str, dataroot: str = "photos"):
    return TrainOptions(models.registry, data.registry).parse(["--dataroot", dataroot, *flags])


def parse_test(*flags: str, dataroot: str = "photos"):
    return TestOptions(models.registry, data.registry).parse(["--dataroot", dataroot, *flags])


def refused(parse, *flags: str, **keywords) -> str:
    """The one line that refuses these flags."""
    with pytest.raises(UserError) as caught:
        parse(*flags, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_without_a_flag_are_not_taken_for_given():
    parser = OptionParser()
    parser.add_argument("--ngf")
    parser.set_defaults(rounds=2)
    opt, given = parser.parse(["--ngf", "4"])
    assert (opt.rounds, given) == (2, {"ngf"})


def test_an_option_that_is_no_flag_is_explained(monkeypatch):
    monkeypatch.setattr("sys.argv", ["somewhere/train.py"])
    opt = parse_train()
    with pytest.raises(UserError) as caught:
        opt.lambda_style  # noqa: B018
    assert str(caught.value) == (
        f"{__file__} reads opt.lambda_style, which is not a flag of train.py but of the program "
        "that the file was written for; in the file of the --model or --dataset_mode, add to "
        "modify_commandline_options: parser.add_argument('--lambda_style', ...)"
    )
    assert not hasattr(opt, "lambda_style")
    assert getattr(opt, "lambda_style", 3) == 3
    for copied in (copy.copy(opt), copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert copied == opt
        assert not hasattr(copied, "lambda_style")


def test_a_flag_of_train_is_no_option_of_test(monkeypatch):
    monkeypatch.setattr("sys.argv", ["somewhere/test.py"])
    with pytest.raises(UserError, match=r"opt.lr, which is not a flag of test.py but of train.py"):
        Options(ngf=4).lr  # noqa: B018


# --- Flags and defaults ---------------------------------------------------------------------------


@pytest.mark.parametrize("flag", TRAIN_DEFAULTS)
def test_train_default(flag):
    assert getattr(parse_train(), flag) == TRAIN_DEFAULTS[flag]


@pytest.mark.parametrize("flag", TEST_DEFAULTS)
def test_test_default(flag):
    assert getattr(parse_test(), flag) == TEST_DEFAULTS[flag]


def test_the_tables_of_defaults_are_complete():
    assert vars(parse_train()).keys() - NO_DEFAULTS == TRAIN_DEFAULTS.keys()
    assert vars(parse_test()).keys() - NO_DEFAULTS == TEST_DEFAULTS.keys()


@pytest.mark.parametrize("flags", PLUGIN_DEFAULTS)
def test_defaults_that_models_and_datasets_change_or_add(flags):
    opt = vars(parse_train(*flags.split()))
    of_cycle_gan = {"lambda_A", "lambda_B", "lambda_identity", "d_augment", "num_D", "r1"}
    base = {k: v for k, v in TRAIN_DEFAULTS.items() if k not in of_cycle_gan or "cycle" in flags}
    expected = base | PLUGIN_DEFAULTS[flags] | {"model": flags.split()[1]}
    assert {k: v for k, v in opt.items() if k not in NO_DEFAULTS} == expected


def test_pix2pix_changes_defaults_of_testing():
    opt = parse_test("--model", "pix2pix")
    assert PIX2PIX_DEFAULTS.items() <= vars(opt).items()
    assert not hasattr(opt, "lambda_L1")


def test_a_flag_on_the_line_beats_what_a_model_changes():
    opt = parse_train("--norm", "instance", "--pool_size", "7", "--model", "pix2pix")
    assert (opt.norm, opt.pool_size) == ("instance", 7)


def test_models_and_datasets_flags_need_their_model_or_dataset():
    assert "--lambda_L1" in refused(parse_train, "--lambda_L1", "10")
    assert parse_train("--model", "pix2pix", "--lambda_L1", "10").lambda_L1 == 10
    assert "--skip_unmatched" in refused(parse_train, "--skip_unmatched")
    assert parse_train("--dataset_mode", "aligned", "--skip_unmatched").skip_unmatched is True


@pytest.mark.parametrize("script, options", [("train.py", TrainOptions), ("test.py", TestOptions)])
def test_dataroot_is_required_and_examples_are_shown(script, options, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script])
    assert runtime.run(lambda: options(models.registry, data.registry).parse()) == 2
    error, *examples = capsys.readouterr().err.splitlines()
    assert error.startswith(f"{script}: error: --dataroot is required")
    assert len(examples) == 2 and "portrait_retouch" in examples[0]
    for example in examples:
        python, program, *flags = shlex.split(example)
        assert python == "python" and program.endswith(script)
        assert flags[0] == "--dataroot"


@pytest.mark.parametrize(
    "dataroot, model, command",
    [
        ("./datasets/horse2zebra", "cycle_gan", "cyclegan_dataset horse2zebra"),
        ("datasets/facades/", "pix2pix", "pix2pix_dataset facades"),
        ("datasets/facades", "cycle_gan", "cyclegan_dataset facades"),
        ("datasets/edges2shoes", "cycle_gan", "pix2pix_dataset edges2shoes"),
        ("./maps/testB", "pix2pix", "pix2pix_dataset maps"),
    ],
)
def test_a_missing_data_set_of_the_papers_can_be_downloaded(dataroot, model, command, tmp_path):
    message = refused(parse_train, "--model", model, dataroot=dataroot)
    start, _, download = message.partition("; to download it: ")
    assert "there is no such folder" in start
    python, script, *words = shlex.split(download)
    assert python == "python" and script.endswith("download.py")
    *words, folder = words
    assert words == [*command.split(), "--output_dir"]  # the working folder is not the program's
    assert Path(folder) == Path(dataroot.removesuffix("/testB"))


def test_the_command_for_a_data_set_that_is_missing_in_its_usual_place(monkeypatch):
    monkeypatch.chdir(ROOT)
    message = refused(parse_train, dataroot="./datasets/horse2zebra")
    script = os.path.join("datasets", "download.py")
    assert message.endswith(f"; to download it: python {script} cyclegan_dataset horse2zebra")


def test_no_download_is_offered_for_a_folder_of_ones_own():
    assert "to download it" not in refused(parse_train, dataroot="holiday/testA")


def test_pictures_that_look_like_pairs_are_told_where_no_model_is_chosen(pictures, capsys):
    def told(dataroot: str, *flags: str) -> bool:
        parse_train(*flags, dataroot=dataroot)
        return "--model pix2pix learns from pairs" in capsys.readouterr().out

    pairs = pictures.two_folders(3)
    assert told(pairs)
    assert not told(pairs, "--model", "cycle_gan")
    assert not told(pictures.unaligned())
    pictures.save(pictures.draw(9), "pairs/trainA/x.png")
    assert told(pairs)  # most, not all
    for index in range(6):
        pictures.save(pictures.draw(9), f"pairs/trainB/x{index}.png")
    assert not told(pairs)


def test_command_line_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--dataroot", "photos", "--name", "mine"])
    assert TrainOptions(models.registry, data.registry).parse().name == "mine"


# --- Forms of values ------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ON_OFF)
def test_on_off_flag_alone_and_off(flag):
    name = "trained" if flag == "continue_train" else "new"
    assert getattr(parse_train(f"--{flag}", "--name", name), flag) is True
    assert getattr(parse_train(f"--{flag}", "off", "--name", "new"), flag) is False


@pytest.mark.parametrize("word", ["true", "True", "on", "ON", "yes", "1"])
@pytest.mark.parametrize("form", ["{flag} {word}", "{flag}={word}"])
def test_on(word, form):
    flags = form.format(flag="--continue_train", word=word).split()
    assert parse_train(*flags, "--name", "trained").continue_train is True


@pytest.mark.parametrize("word", ["false", "False", "off", "no", "No", "0"])
def test_off(word):
    assert parse_train("--continue_train", word).continue_train is False
    assert parse_test("--no_flip", word).no_flip is False  # on by default in test.py
    assert parse_train("--model", "cycle_gan", "--no_dropout", word).no_dropout is False


def test_on_off_flag_of_a_dataset_takes_a_value():
    assert parse_train("--model", "pix2pix", "--skip_unmatched", "no").skip_unmatched is False


def test_on_off_flag_refuses_other_words():
    message = refused(parse_train, "--no_flip", "maybe")
    for part in ("--no_flip", "'maybe'", "true/false", "on/off", "yes/no", "1/0"):
        assert part in message


@pytest.mark.parametrize("flag, choice", [(f, c) for f, cs in CHOICES.items() for c in cs])
def test_choices(flag, choice):
    sizes = ("--load_size", "512", "--crop_size", "256")  # that every generator takes
    assert getattr(parse_train(f"--{flag}", choice, *sizes), flag) == choice


@pytest.mark.parametrize("flag", CHOICES)
def test_other_values_are_refused_with_what_is_allowed(flag):
    message = refused(parse_train, f"--{flag}", "zzz")
    assert f"--{flag}" in message
    assert "'zzz'" in message
    for choice in CHOICES[flag]:
        assert choice in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    "flag, text, value",
    [
        ("max_dataset_size", "inf", INF),
        ("max_dataset_size", "Inf", INF),
        ("max_dataset_size", "20", 20),
        ("lr", "1e-3", 0.001),
        ("seed", "0", 0),
        ("device", "cuda:1", "cuda:1"),
        ("device", "mps", "mps"),
        ("lambda_L1", "0", 0.0),
        ("pool_size", "0", 0),
        # The last that are taken; those beyond stand below.
        ("seed", "4294967295", 4294967295),
        ("beta1", "0", 0.0),
        ("ema", "0.9999", 0.9999),
        ("num_threads", "1024", 1024),
        ("n_layers_D", "1", 1),
        ("input_nc", "64", 64),
        ("ngf", "4096", 4096),
        ("display_port", "65535", 65535),
        ("display_id", "-1", -1),
        ("grad_accum", "1", 1),
        ("keep_checkpoints", "0", 0),
        ("keep_states", "2", 2),
        ("try_steps", "5", 5),
        ("save_latest_minutes", "0", 0.0),
        ("n_epochs_decay", "0", 0),
        ("channels_last", "AUTO", "auto"),
        ("channels_last", "off", False),
    ],
)
def test_values(flag, text, value):
    assert getattr(parse_train("--model", "pix2pix", f"--{flag}", text), flag) == value


@pytest.mark.parametrize(
    "flag, text",
    [
        ("batch_size", "0"),
        ("batch_size", "-1"),
        ("batch_size", "two"),
        ("batch_size", "1.5"),
        ("crop_size", "0"),
        ("num_threads", "-1"),
        ("max_dataset_size", "0"),
        ("max_dataset_size", "2.5"),
        ("lr", "0"),
        ("lr", "nan"),
        ("lr", "inf"),
        ("beta1", "1"),
        ("beta1", "-0.1"),
        ("init_gain", "0"),
        ("seed", "-1"),
        ("seed", "4294967296"),  # NumPy takes 32 bits
        ("ema", "1"),
        ("ema", "-0.1"),
        ("epoch_count", "0"),
        ("n_epochs", "-1"),
        ("n_epochs_decay", "-1"),
        ("lr_decay_iters", "0"),
        ("print_freq", "0"),
        ("display_freq", "0"),
        ("update_html_freq", "0"),
        ("save_latest_freq", "0"),
        ("save_latest_minutes", "-0.1"),
        ("save_epoch_freq", "0"),
        ("keep_checkpoints", "-1"),
        ("keep_states", "-1"),
        ("try_steps", "-1"),
        ("skip_nonfinite", "-1"),
        ("grad_accum", "0"),
        ("pool_size", "-1"),
        ("load_iter", "-1"),
        ("num_threads", "1025"),
        ("batch_size", "65537"),
        ("load_size", "65537"),
        ("input_nc", "65"),
        ("output_nc", "0"),
        ("ngf", "4097"),
        ("ndf", "0"),
        ("n_layers_D", "11"),
        ("max_megapixels", "0"),
        ("range_A", "5"),
        ("range_A", "5,5"),
        ("range_B", "0,inf"),
        ("display_port", "0"),
        ("display_port", "65536"),
        ("display_id", "-2"),
        ("display_ncols", "0"),
        ("lambda_L1", "-1"),
        ("lambda_L1", "nan"),
        ("lambda_feat", "-1"),
        ("lambda_lpips", "inf"),
        ("d_augment", "flips"),
        ("num_D", "3"),
        ("r1", "-1"),
        ("r1", "inf"),
        ("lr_D", "-0.1"),
        ("channels_last", "maybe"),
        ("device", "gpu"),
        ("device", "cuda:x"),
        ("device", "cuda:²"),
        ("device", "cpu:0"),
    ],
)
def test_values_out_of_range_are_refused(flag, text):
    message = refused(parse_train, "--model", "pix2pix", f"--{flag}", text)
    assert f"--{flag}" in message
    assert text in message


@pytest.mark.parametrize("flag", ["aspect_ratio", "num_test"])
@pytest.mark.parametrize("text", ["0", "-2", "x"])
def test_values_of_test_flags_are_refused(flag, text):
    assert f"--{flag}" in refused(parse_test, f"--{flag}", text)


def test_a_flag_without_its_value():
    assert refused(parse_train, "--batch_size") == "--batch_size expects one argument"


@pytest.mark.parametrize("joined", [True, False])
def test_a_tilde_is_the_home_folder(joined, tmp_path, monkeypatch):
    """Also where no shell replaces it: in quotes, after =, and in cmd."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    def line(**paths: str) -> list[str]:
        words = [
            [f"--{flag}={path}"] if joined else [f"--{flag}", path] for flag, path in paths.items()
        ]
        return [word for group in words for word in group]

    paths = dict.fromkeys(["load_pretrain", "vgg_weights", "checkpoints_dir"], "~/checkpoints")
    model = ["--model", "pix2pix_with_perceptual", "--use_perceptual", "off", "--name", "new"]
    opt = parse_train(*model, *line(**paths, name="~"), dataroot="~/photos")
    home = str(tmp_path)
    assert opt.dataroot == os.path.join(home, "photos")
    assert {getattr(opt, flag) for flag in paths} == {os.path.join(home, "checkpoints")}
    assert opt.name == "~"
    assert parse_test(*line(results_dir="~")).results_dir == home


# --- Wrong flags ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, near",
    [
        (["--load_siez", "3"], "--load_size"),
        (["--n_epoch", "3"], "--n_epochs"),
        (["--lamda_L1=3"], "--lambda_L1"),
        (["--netG", "unet256"], "unet_256"),
        (["--norm", "bacth"], "batch"),
        (["--model", "pix2pox"], "pix2pix"),
        (["--d_augment", "color,cutot"], "cutout"),
        (["--dataset_mode", "alined"], "aligned"),
    ],
)
def test_nearest_spelling_is_offered(flags, near):
    assert f"did you mean {near}?" in refused(parse_train, "--model", "pix2pix", *flags)


def test_unknown_flag_that_is_near_nothing():
    message = refused(parse_train, "--qqqqqqqqq")
    assert "--qqqqqqqqq" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    "flag",
    [
        "--lambda_feat",
        "--save_dir",
        "--nce",
        "--ntest",
        "--which",
        "--load",
        "--no",
        "--output_dir",
        "--e",
        "--hh",
    ],
)
def test_no_flag_is_offered_that_is_not_near(flag):
    assert "did you mean" not in refused(parse_train, flag, "3")


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--niter", "50"], "--niter 50 is --n_epochs 50"),
        (["--niter=50", "--ngf", "8"], "--niter 50 is --n_epochs 50"),
        (["--niter_decay", "5"], "--niter_decay 5 is --n_epochs_decay 5"),
        (["--which_model_netG", "unet_128"], "--which_model_netG unet_128 is --netG unet_128"),
        (["--no_lsgan", "--ngf", "8"], "--no_lsgan is --gan_mode vanilla"),
        (["--no_lsgan"], "--no_lsgan is --gan_mode vanilla"),
        (["--align_data"], "--align_data is --dataset_mode aligned"),
        (["--lr_policy", "lambda"], "--lr_policy lambda is --lr_policy linear"),
        (["--lr_policy=lambda"], "--lr_policy lambda is --lr_policy linear"),
        (["--display_single_pane_ncols", "-1"], "is --display_ncols -1"),
        (["--num-workers", "2"], "--num-workers 2 is --num_threads 2"),
        (["--image_size", "64"], "--image_size 64 is --load_size 64 --crop_size 64"),
        (
            ["--data", "my photos"],
            command_line(["--data", "my photos", "is", "--dataroot", "my photos"]),
        ),
        (["--niter"], "--niter is --n_epochs"),
        (["--finesize", "64"], "--finesize 64 is --crop_size 64"),
        (["--model", "one_direction_test"], "--model one_direction_test is --model test"),
        (["--model", "pix2pix", "--lambda_A", "100"], "--lambda_A 100 is --lambda_L1 100"),
        (["--lambda_A=100", "--model=pix2pix"], "--lambda_A 100 is --lambda_L1 100"),
        (["--ntest", "9"], "--ntest 9 is --num_test 9"),
    ],
)
def test_a_name_used_elsewhere_is_refused_with_the_name_here(flags, told):
    message = refused(parse_train, *flags)
    assert told in message.partition("names here: ")[2]
    assert "did you mean" not in message


def test_all_that_is_wrong_with_the_names_of_a_line_is_told_at_once():
    line = ["--niter", "9", "--qqqqq", "1", "--loadSize", "286", "--identity=0.5", "--ndff", "4"]
    assert refused(parse_train, "--model", "pix2pix", *line) == (
        "these flags have other names here: --niter 9 is --n_epochs 9, --loadSize 286 is "
        "--load_size 286, --identity 0.5 is --lambda_identity 0.5; unknown flag --qqqqq; unknown "
        "flag --lambda_identity: it belongs to --model cycle_gan; unknown flag --ndff "
        "(did you mean --ndf?); see --help"
    )


def test_a_value_is_checked_under_the_name_here():
    message = refused(parse_train, "--batchSize", "0", "--lr_policy", "lambda")
    assert "--batchSize 0 is --batch_size 0, --lr_policy lambda is --lr_policy linear; " in message
    assert message.endswith(
        "--batch_size: '0' is not a whole number of at least 1 and at most 65536"
    )


def test_a_flag_of_the_other_program_is_told_as_such():
    message = refused(parse_test, "--niter", "5")
    assert "--niter 5 is --n_epochs 5; unknown flag --n_epochs: it belongs to train.py" in message
    assert "--num_test: it belongs to test.py" in refused(parse_train, "--num_test", "5")


def test_names_used_elsewhere_are_not_flags_here_and_what_replaces_them_is():
    known = {flag.name.split()[0] for s in OF_TRAINING + OF_TESTING for flag in s.flags}
    for name, new in OTHER_NAMES.items():
        assert " " in name or f"--{name}" not in known
        assert {w for w in new.split() if w.startswith("--")} <= {*known, "--lambda_identity"}, name


@pytest.mark.parametrize("abbreviation", ["--batch", "--n_epo", "--dataro", "--no_h", "--mod"])
def test_abbreviations_are_off(abbreviation):
    assert abbreviation in refused(parse_train, abbreviation, "2")


def test_a_word_too_many_is_named():
    assert "'my'" in refused(parse_train, "--name", "on", "my", "photos")


def test_unknown_model_and_dataset_list_what_exists():
    message = refused(parse_train, "--model", "dream")
    assert all(name in message for name in models.registry.names())
    message = refused(parse_train, "--dataset_mode", "dream")
    assert all(name in message for name in data.registry.names())


# --- Help -----------------------------------------------------------------------------------------


def help_of(options_class, capsys, *flags: str) -> str:
    """The text of --help, its line breaks undone."""
    with pytest.raises(SystemExit) as end:
        options_class(models.registry, data.registry).parse([*flags, "--help"])
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_groups_every_flag_and_says_what_it_does(capsys):
    text = help_of(TrainOptions, capsys)
    for section in ("Experiment:", "Data:", "Networks:", "Checkpoints:", "Logging:"):
        assert section in text
    for flag in TRAIN_DEFAULTS:
        assert f"--{flag} " in text
    assert "one of " + ", ".join(models.registry.names()) in text
    assert "--lambda_L1" not in text


@pytest.mark.parametrize("options_class", [TrainOptions, TestOptions])
def test_every_flag_has_a_help_text(options_class):
    options = options_class(models.registry, data.registry)
    plugins = [models.registry.find(name) for name in models.registry.names()]
    plugins += [data.registry.find(name) for name in data.registry.names()]
    for plugin in plugins:
        if options.is_train and plugin is models.registry.find("test"):
            continue  # which is for testing alone
        parser = OptionParser()
        options.add_flags(parser)
        plugin.modify_commandline_options(parser, options.is_train)
        assert [a.dest for a in parser._actions if len(a.help or "") < 10] == []


def test_help_shows_what_a_model_adds_and_changes(capsys):
    text = help_of(TrainOptions, capsys, "--model", "pix2pix")
    assert "--lambda_L1" in text
    assert "--skip_unmatched" in text  # of the dataset that the model chooses
    for change in ("norm=batch", "netG=unet_256", "dataset_mode=aligned", "gan_mode=vanilla"):
        assert change in text
    assert "pool_size=0" in text


def test_help_shows_what_a_dataset_adds(capsys):
    assert "--skip_unmatched" in help_of(TrainOptions, capsys, "--dataset_mode", "aligned")
    assert "--skip_unmatched" not in help_of(TrainOptions, capsys)


def test_help_shows_defaults(capsys):
    text = help_of(TrainOptions, capsys, "--model", "pix2pix")
    assert "(default: 286)" in text
    assert "(default: 0)" in text[text.index("--pool_size N ") :].split(" --")[0]
    for nothing in ("False", "None", ""):
        assert f"(default: {nothing})" not in text


# --- The printed options --------------------------------------------------------------------------


def test_options_are_printed_one_per_line(capsys):
    options = TrainOptions(models.registry, data.registry)
    opt = options.parse(
        ["--dataroot", "photos", "--batch_size", "4", "--name", "mine", "--verbose"]
    )
    lines = options.text.splitlines()
    assert options.text in capsys.readouterr().out
    assert lines[0] == "----------------- Options ---------------"
    assert lines[-1] == "----------------- End -------------------"
    assert "               batch_size: 4\t[default: 1]" in lines
    assert "                crop_size: 256" in lines
    assert "         max_dataset_size: inf" in lines
    assert "                     name: mine\t[default: experiment_name]" in lines
    for line in lines[1:-1]:
        name = line.split(":")[0]
        assert len(name) == 25  # right-aligned
        value = line.split(": ", 1)[1].split("\t[default: ")[0]
        assert value == str(getattr(opt, name.strip()))
    assert {line.split(":")[0].strip() for line in lines[1:-1]} == set(vars(opt))
    assert sorted(lines[1:-1], key=lambda line: line.split(":")[0].strip()) == lines[1:-1]


def test_what_a_model_changes_is_its_default():
    options = TrainOptions(models.registry, data.registry)
    options.parse(["--dataroot", "photos", "--model", "pix2pix", "--gan_mode", "lsgan"])
    assert "                     norm: batch\n" in options.text
    assert "                 gan_mode: lsgan\t[default: vanilla]\n" in options.text


def test_load_size_of_test_is_no_change_of_a_default():
    options = TestOptions(models.registry, data.registry)
    options.parse(["--dataroot", "photos"])
    assert "                load_size: 256\n" in options.text


def test_options_are_kept_beside_the_run(tmp_path):
    options = TrainOptions(models.registry, data.registry)
    opt = options.parse(["--dataroot", "photos", "--name", "mine", "--suffix", "{ngf}"])
    folder = tmp_path / "checkpoints" / "mine_64"
    assert not folder.exists()  # parsing alone writes nothing
    options.save(opt)
    assert (folder / "train_opt.txt").read_text() == options.text + "\n"
    values = json.loads((folder / "train_options.json").read_text())
    written = {k: "inf" if v == INF else v for k, v in vars(opt).items()}
    assert values == {**written, "gpu_ids": str(opt.gpu_ids)}

    options = TestOptions(models.registry, data.registry)
    options.save(options.parse(["--dataroot", "photos", "--name", "mine_64"]))
    assert (folder / "test_opt.txt").read_text() == options.text + "\n"
    assert json.loads((folder / "train_options.json").read_text()) == values  # left as it was


def test_a_seed_is_drawn_and_printed(capsys):
    seeds = [parse_train().seed, parse_train().seed]
    assert seeds[0] != seeds[1]
    printed = capsys.readouterr().out
    assert all(f"seed: {seed}" in printed for seed in seeds)


# --- What depends on other flags ------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, netD",
    [
        (["--netD", "basic", "--n_layers_D", "4"], "n_layers"),
        (["--n_layers_D", "4"], "n_layers"),
        (["--n_layers_D", "2"], "n_layers"),
        (["--netD", "basic", "--n_layers_D", "3"], "basic"),
        (["--netD", "basic"], "basic"),
        (["--netD", "n_layers", "--n_layers_D", "5"], "n_layers"),
        (["--netD", "pixel", "--n_layers_D", "4"], "pixel"),
    ],
)
def test_explicit_layers_of_the_discriminator_are_honoured(flags, netD, capsys):
    opt = parse_train(*flags)
    assert opt.netD == netD
    said = [line for line in capsys.readouterr().out.splitlines() if ": using --netD" in line]
    assert len(said) == (netD == "n_layers" and "n_layers" not in flags)


def test_load_size_of_test_equals_crop_size():
    assert parse_test("--crop_size", "128").load_size == 128
    assert parse_test("--crop_size", "128", "--load_size", "192").load_size == 192


@pytest.mark.parametrize(
    "suffix, name",
    [
        ("v2", "run_v2"),
        ("{model}_{netG}_size{load_size}", "run_pix2pix_unet_256_size286"),
        ("lr{lr:.0e}", "run_lr2e-04"),
        ("{{x}}", "run_{x}"),
        ("_test", "run_test"),
        ("_{ngf}_", "run_64_"),
        ("__test", "run__test"),
    ],
)
def test_suffix(suffix, name):
    assert parse_train("--model", "pix2pix", "--name", "run", "--suffix", suffix).name == name


def test_a_suffix_with_an_underscore_names_the_same_run_when_it_goes_on(tmp_path):
    (tmp_path / "checkpoints" / "trained").rename(tmp_path / "checkpoints" / "misc_test")
    opt = parse_train("--name", "misc", "--suffix", "_test", "--continue_train")
    assert (opt.name, opt.continue_train) == ("misc_test", True)


@pytest.mark.parametrize("line", ["--netD n_layers --n_layers_D 4", "--n_layers_D 4"])
def test_a_suffix_names_the_same_run_when_it_goes_on(line, tmp_path, pictures):
    start = ["--model", "pix2pix", "--name", "run", "--suffix", "{netD}_{lr}", *line.split()]
    options = TrainOptions(models.registry, data.registry)
    first = options.parse(["--dataroot", "photos", *start])
    assert first.name == "run_n_layers_0.0002"
    options.save(first)
    folder = tmp_path / "checkpoints" / first.name
    (folder / "latest_net_G.pth").touch()
    values = json.loads((folder / "train_options.json").read_text())
    (folder / "train_options.json").write_text(json.dumps({**values, "ndf": 7, "lr": 0.5}))
    again = TrainOptions(models.registry, data.registry).parse([*start, "--continue_train"])
    assert (again.name, again.netD) == (first.name, "n_layers")
    assert (again.ndf, again.lr) == (7, 0.5)


def test_a_number_of_layers_that_is_not_used_is_told(capsys):
    parse_train("--netD", "pixel", "--n_layers_D", "5")
    assert "ignoring --n_layers_D 5" in capsys.readouterr().out
    parse_train("--netD", "pixel")
    assert "ignoring" not in capsys.readouterr().out


def test_suffix_of_test_is_filled_with_what_is_used(tmp_path, pictures):
    dataroot = pictures.two_folders(phase="val")
    (tmp_path / "checkpoints" / "run_size256_val").mkdir()
    flags = ["--model", "pix2pix", "--name", "run", "--suffix", "size{load_size}_{phase}"]
    assert parse_test(*flags, dataroot=dataroot).name == "run_size256_val"


@pytest.mark.parametrize(
    "suffix",
    [
        "{nothing}",
        "{}",
        "{0}",
        "{",
        "}",
        "{lr:q}",
        "{lr!q}",
        "{lr.real}",
        "{lr:{x}}",
        "{lr:{ngf.x}}",
        "{lr:{ngf}}",
        "{ngf:99999999999}",
        "{lr:.99999999999f}",
    ],
)
def test_suffix_that_is_no_format_of_options(suffix):
    message = refused(parse_train, "--suffix", suffix)
    assert "--suffix" in message
    assert suffix in message


@pytest.mark.parametrize("phases, chosen", [(["train", "val"], "val"), (["train"], "train")])
@pytest.mark.parametrize("layout", ["two_folders", "side_by_side"])
def test_phase_falls_back_and_says_so(phases, chosen, layout, pictures, capsys):
    for phase in phases:
        dataroot = getattr(pictures, layout)(phase=phase)
    assert parse_test("--model", "pix2pix", dataroot=dataroot).phase == chosen
    said = capsys.readouterr().out
    assert f"--phase {chosen}" in said.split("-- Options")[0]
    assert f"phase: {chosen}\t[default: test]" in said


def test_phase_does_not_fall_back_where_test_has_pictures(pictures, capsys):
    pictures.two_folders(phase="train")
    dataroot = pictures.two_folders(phase="test")
    assert parse_test("--model", "pix2pix", dataroot=dataroot).phase == "test"
    assert "--phase" not in capsys.readouterr().out


def test_phase_that_was_asked_for_stays(pictures):
    dataroot = pictures.two_folders(phase="train")
    assert parse_test("--model", "pix2pix", "--phase", "test", dataroot=dataroot).phase == "test"


@pytest.mark.parametrize("missing", ["A", "B"])
@pytest.mark.parametrize("dataset", ["aligned", "unaligned"])
def test_phase_does_not_fall_back_where_test_has_one_side(dataset, missing, pictures, tmp_path):
    """The dataset then names the other side: pictures of the training are not what was meant."""
    pictures.two_folders(phase="train")
    dataroot = pictures.two_folders(phase="test")
    (tmp_path / "pairs" / f"test{missing}").rename(tmp_path / "elsewhere")
    flags = ["--model", "cycle_gan", "--dataset_mode", dataset]
    assert parse_test(*flags, dataroot=dataroot).phase == "test"


# --- Combinations that cannot work ----------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, parts",
    [
        (["--crop_size", "30", "--load_size", "40"], ["--crop_size 30", "28", "32", "4"]),
        (["--netG", "unet_256", "--crop_size", "128"], ["--crop_size 128", "256", "unet_256"]),
        (["--netG", "unet_128", "--crop_size", "200"], ["--crop_size 200", "128", "256"]),
        (["--crop_size", "300"], ["--crop_size 300", "--load_size 286"]),
        (["--n_epochs", "2", "--n_epochs_decay", "2", "--epoch_count", "5"], ["--epoch_count 5"]),
        (["--crop_size", "16", "--load_size", "16"], ["--crop_size 16", "24"]),
        (["--crop_size", "4", "--netD", "pixel"], ["--crop_size 4", "8"]),
        (["--n_layers_D", "6", "--crop_size", "128"], ["--crop_size 128", "192"]),
        (["--model", "test"], ["--model test", "test.py"]),
        (["--dataset_mode", "single"], ["--model cycle_gan", "--dataset_mode single", "A and B"]),
        (["--model", "pix2pix", "--dataset_mode", "single"], ["--model pix2pix", "single"]),
        (["--model", "pix2pix", "--dataset_mode", "colorization"], ["RGB or grey", "gives Lab"]),
        (["--model", "colorization", "--dataset_mode", "aligned"], ["works in Lab", "RGB or grey"]),
        (["--epoch", ".."], ["--epoch '..' leads out"]),
        (["--epoch", "../1"], ["--epoch '../1' leads out"]),
        (["--epoch", "group/1"], ["--epoch 'group/1' is not a label"]),
        (["--phase", "../train"], ["--phase '../train' leads out"]),
        (["--phase", os.path.abspath("train")], ["--phase", "leads out"]),
        (["--name", ""], ["--name"]),
        (["--name", "../elsewhere"], ["--name", "--checkpoints_dir"]),
        (["--suffix", "/../../elsewhere"], ["--checkpoints_dir"]),
    ],
)
def test_bad_combination(flags, parts):
    message = refused(parse_train, *flags)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    "flags",
    [
        ["--preprocess", "none", "--crop_size", "30"],  # sides are rounded, nothing is cropped
        ["--preprocess", "crop", "--load_size", "1"],  # nothing is resized
        ["--preprocess", "scale_width", "--load_size", "128"],  # nothing is cropped
        ["--n_epochs", "0", "--n_epochs_decay", "1"],
        ["--n_epochs", "2", "--n_epochs_decay", "2", "--epoch_count", "4"],
        ["--name", "group/run"],
        ["--crop_size", "28", "--load_size", "30", "--netG", "resnet_6blocks"],
        ["--crop_size", "24", "--load_size", "24"],
        ["--crop_size", "8", "--netD", "pixel"],
        ["--model", "pix2pix", "--dataset_mode", "unaligned"],
    ],
)
def test_combination_that_works(flags):
    parse_train(*flags)  # which raises where one does not


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_run_folder_may_be_a_link_to_another_disk(tmp_path):
    (tmp_path / "disk" / "run").mkdir(parents=True)
    (tmp_path / "checkpoints" / "run").symlink_to(tmp_path / "disk" / "run")
    assert parse_train("--name", "run").name == "run"


def test_missing_dataroot_names_the_folders_that_exist(tmp_path):
    message = refused(parse_train, dataroot="fotos")
    assert "--dataroot fotos" in message
    assert "photos" in message
    message = refused(
        parse_train, dataroot=str(tmp_path / "a" / "b" / "c")
    )  # no parent exists either
    assert "photos" in message


@pytest.mark.parametrize("typed, there", [("\u00e9", "e\u0301"), ("e\u0301", "\u00e9")])
def test_a_run_is_found_by_its_name_in_the_other_unicode_form(typed, there, tmp_path, capsys):
    (tmp_path / "checkpoints" / "trained").rename(tmp_path / "checkpoints" / there)
    assert parse_test("--name", typed).name == there
    assert "has checkpoints" in refused(parse_train, "--name", typed)
    assert parse_train("--name", f"{typed}2").name == f"{typed}2"


def test_testing_a_run_that_is_not_there():
    message = refused(parse_test, "--name", "untrained")
    assert "untrained" in message
    assert message.endswith("./checkpoints has trained")  # the only run with weights


@pytest.mark.parametrize(
    "device, ids", [("cpu", ()), ("mps", ()), ("cuda", (0,)), ("cuda:0", (0,)), ("cuda:3", (3,))]
)
def test_gpu_ids_follow_the_device(device, ids):
    """For model files that look there."""
    assert parse_train("--device", device).gpu_ids == ids


@pytest.mark.parametrize(
    "flags, device, ids",
    [
        ("-1", "cpu", ()),
        ("0", "cuda:0", (0,)),
        ("1", "cuda:1", (1,)),
        ("12", "cuda:12", (12,)),
        ("2,3", "cuda:2", (2,)),
    ],
)
def test_gpu_ids_choose_the_device(flags, device, ids, capsys):
    opt = parse_train("--gpu_ids", flags)
    assert (opt.device, opt.gpu_ids) == (device, ids)
    hint = "torchrun --nproc_per_node=2" in capsys.readouterr().out
    assert hint is ("," in flags)


def test_gpu_ids_that_are_wrong():
    assert "neither -1 nor a list of GPUs such as 0,1" in refused(parse_train, "--gpu_ids", "a")
    assert "neither -1 nor a list of GPUs such as 0,1" in refused(parse_train, "--gpu_ids", "0,-1")
    assert "pass one of them" in refused(parse_train, "--gpu_ids", "0", "--device", "cpu")


# --- Plug-ins that define our flags anew ----------------------------------------------------------


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """`plugin(flag)`: dropped in as --model foo, which adds that flag by a line of its code."""
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path / "models")])
    (tmp_path / "models").mkdir()

    def drop_in(definition: str) -> Registry:
        text = (
            "from models.template_model import TemplateModel\n\n\n"
            "class FooModel(TemplateModel):\n"
            "    @staticmethod\n"
            "    def modify_commandline_options(parser, is_train):\n"
            f"        parser.add_argument({definition})\n"
            "        return parser\n"
        )
        (tmp_path / "models" / "foo_model.py").write_text(text)
        registry = Registry("models", "model", BaseModel, "--model")
        registry.folder = tmp_path / "models"
        return registry

    yield drop_in
    sys.modules.pop("models.foo_model", None)


@pytest.mark.parametrize(
    "definition, flags, value",
    [
        ("'--ema', type=float, default=0.9", "", 0.9),
        ("'--ema', type=float, default=0.9", "--ema 0.5", 0.5),
        ("'--spectral_norm', action='store_true'", "--spectral_norm", True),
        ("'--seed', type=int, default=7", "", 7),
        ("'--cache', default='ram'", "", "ram"),
        ("'--version', type=int, default=1", "--version 2", 2),
        ("'--niter', type=int, default=1", "--niter 2", 2),  # not a flag of the program any more
    ],
)
def test_a_plugin_may_define_a_flag_anew(definition, flags, value, plugin):
    options = TrainOptions(plugin(definition), data.registry)
    opt = options.parse(["--dataroot", "photos", "--model", "foo", *flags.split()])
    assert getattr(opt, definition.split("'")[1][2:]) == value


@pytest.mark.parametrize(
    "definition, flags, flag",
    [
        ("'--ema', action='store_true'", "", "--ema"),
        ("'--cache', action='store_true'", "", "--cache"),
        ("'--cache', default='ram'", "--cache somewhere", "--cache"),
        ("'--seed', dest='number', type=int", "", "--seed"),
    ],
)
def test_a_plugin_may_not_give_a_flag_what_the_program_cannot_use(definition, flags, flag, plugin):
    options = TrainOptions(plugin(definition), data.registry)
    line = ["--dataroot", "photos", "--model", "foo", *flags.split()]
    message = refused(lambda *flags: options.parse(list(flags)), *line)
    assert flag in message and "foo_model.py" in message


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_folder_is_found_in_another_unicode_form(forms, tmp_path, monkeypatch):
    """macOS writes names in decomposed form, while people and other systems type the composed."""
    there, typed = (unicodedata.normalize(form, "caf\u00e9/\ud55c") for form in forms)
    (tmp_path / there).mkdir(parents=True)
    if os.path.exists(tmp_path / typed):
        pytest.skip("this disk takes the forms of a name for one")
    monkeypatch.chdir(tmp_path)
    assert path_text(typed) == there
    assert path_text(str(tmp_path / typed / "new")) == str(tmp_path / there / "new")
    assert path_text("./n\u00e9w/") == "./n\u00e9w/"
