"""train.py and test.py as users run them: what they print, write and refuse, flag by flag."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
import models
from models.pix2pix_model import Pix2PixModel
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.run.checkpoint import Checkpoints

TINY = "--model pix2pix --netG resnet_6blocks --ngf 2 --ndf 2 --load_size 36 --crop_size 32"
TINY += " --device cpu --seed 1 --name run"
SHORT = f"{TINY} --num_threads 0 --n_epochs 1 --n_epochs_decay 1 --val_freq 0"
NUM_PAIRS, SIZE = 5, (48, 40)

# Five images in batches of 2, 2 and 1, twice: the counts go 2, 4, 5, 7, 9, 10.
FULL = f"{TINY} --n_epochs 1 --n_epochs_decay 1 --batch_size 2 --print_freq 2"
FULL += " --save_latest_freq 4 --save_by_iter --update_html_freq 3 --lr 0.01"

LINE = re.compile(
    r"\(epoch: (?P<epoch>\d+), iters: (?P<iters>\d+), time: (?P<time>\d+\.\d{3}), "
    r"data: (?P<data>\d+\.\d{3})\) , (?P<losses>\w+: -?\d+\.\d{3}(, \w+: -?\d+\.\d{3})*)"
)


class Done:
    """A run of train.py that several tests look at."""

    def __init__(self, folder: Path, dataroot: str, stdout: str):
        self.folder, self.dataroot, self.stdout = folder, dataroot, stdout
        self.run = folder / "checkpoints" / "run"

    def weights(self, name: str = "G", label: str = "latest") -> dict[str, torch.Tensor]:
        return torch.load(self.run / f"{label}_net_{name}.pth", weights_only=True)

    def loss_lines(self) -> list[re.Match]:
        lines = (self.run / "loss_log.txt").read_text().splitlines()
        return [m for line in lines if (m := LINE.fullmatch(line))]


PAGE_OF_PIX2PIX = {
    "captions": {"real_A": "input", "fake_B": "generated", "real_B": "target"},
    "compare": [["real_A", "fake_B"], ["fake_B", "real_B"]],
    "lowerIsBetter": ["L1", "LPIPS", "SWD", "KID"],
}


def settings(page: str) -> dict:
    """What a page is told about its pictures."""
    return json.loads(re.search(r'<script id="settings"[^>]*>(.*?)</script>', page)[1])


@pytest.fixture(scope="module")
def photos(tmp_path_factory, pictures_in) -> str:
    """Five pairs for training, three others for val, no test."""
    pictures = pictures_in(tmp_path_factory.mktemp("photos"))
    pictures.two_folders(NUM_PAIRS, SIZE)
    for index in range(3):
        for side, picture in zip("AB", pictures.pair(50 + index, *SIZE), strict=True):
            pictures.save(picture, f"pairs/val{side}/v{index}.png")
    return str(pictures.root / "pairs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos, run_in) -> Done:
    """A run of two epochs, by two loader processes."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_in(folder, "train.py", "--dataroot", photos, *FULL.split(), "--num_threads", "2")
    assert (done.status, done.stderr) == (0, "")
    return Done(folder, photos, done.stdout)


@pytest.fixture(scope="module")
def tested(trained, run_in) -> tuple[Path, str]:
    """The folder of results of the run on its val pictures, and what was printed."""
    line = "--name run --model pix2pix --load_size 32 --crop_size 32 --num_test 2 --num_threads 2"
    done = run_in(trained.folder, "test.py", "--dataroot", trained.dataroot, *line.split())
    assert (done.status, done.stderr) == (0, "")
    return trained.folder / "results" / "run" / "val_latest", done.stdout


@pytest.fixture
def train(tmp_path, photos, run_here) -> Callable[..., Done]:
    """`train("--lr 1")`: two short epochs, in this process."""

    def run(flags: str = "", dataroot: str = photos, base: str = SHORT) -> Done:
        done = run_here("train.py", "--dataroot", dataroot, *base.split(), *flags.split())
        assert done.status == 0, done.stderr
        return Done(tmp_path, dataroot, done.stdout)

    return run


@pytest.fixture
def results(trained, tmp_path, run_here) -> Callable[..., dict[str, np.ndarray]]:
    """`results("--eval")`: the pictures that test.py makes, by path below results/run."""

    def run(flags: str = "", dataroot: str = trained.dataroot) -> dict[str, np.ndarray]:
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        line = f"--name run --model pix2pix --load_size 32 --crop_size 32 --seed 1 {flags}"
        line += f" --num_threads 0 --checkpoints_dir {trained.folder / 'checkpoints'}"
        done = run_here("test.py", "--dataroot", dataroot, *line.split())
        assert done.status == 0, done.stderr
        folder = tmp_path / "results" / "run"
        return {
            file.relative_to(folder).as_posix(): np.asarray(Image.open(file))
            for file in sorted(folder.rglob("*.png"))
        }

    return run


def files(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def options_block(text: str) -> str:
    start = text.index("----------------- Options ---------------\n")
    end = "----------------- End -------------------\n"
    return text[start : text.index(end) + len(end)]


# --- What a training run leaves behind ------------------------------------------------------------


def test_options_that_differ_are_printed_and_all_are_in_the_file(trained):
    head, *printed, rest, end = options_block(trained.stdout).splitlines()
    text = (trained.run / "train_opt.txt").read_text()
    assert [head, *[x for x in text.splitlines() if "[default: " in x], end] == [
        head,
        *printed,
        end,
    ]
    assert "                    model: pix2pix\t[default: cycle_gan]" in printed
    assert rest.endswith("as --verbose shows") and 5 < len(printed) < 30 < len(text.splitlines())


@pytest.mark.parametrize("flag", ["--verbose", "--dry_run"])
def test_all_options_are_printed_where_asked_for(flag, train):
    assert "beta1: 0.5\n" in options_block(train(flag).stdout)


def test_options_for_programs(trained):
    values = json.loads((trained.run / "train_options.json").read_text())
    text = (trained.run / "train_opt.txt").read_text()
    printed = re.findall(r"^ *(\w+): (.*?)(?:\t.*)?$", text, re.MULTILINE)
    assert {name: str(value) for name, value in values.items()} == dict(printed)
    assert (values["ngf"], values["netG"], values["save_by_iter"]) == (2, "resnet_6blocks", True)


def test_loss_log(trained):
    first, *lines = (trained.run / "loss_log.txt").read_text().splitlines()
    assert time.strftime("%Y") in first  # a dated header
    assert not LINE.fullmatch(first)
    # Multiples of 2 are crossed at 2, 4, 7, 9 and 10 images in all; `iters` counts in the epoch.
    # Epochs end at 5 and 10, and after the last one the run validates.
    matches = [m for line in lines if (m := LINE.fullmatch(line))]
    counts = [(int(m["epoch"]), int(m["iters"])) for m in matches]
    assert counts == [(1, 2), (1, 4), (1, 5), (2, 2), (2, 4), (2, 5)]
    assert len(lines) == 7 and lines[-1].startswith("validation, epoch 2: L1 ")
    for m in matches:
        names = [part.split(":")[0] for part in m["losses"].split(", ")]
        assert names == ["G_GAN", "G_L1", "D_real", "D_fake"]
        assert 0 <= float(m["data"]) <= float(m["time"]) < 60
    # The console has those within epochs too, without times where a line would be too wide.
    within = [(m["epoch"], m["iters"], m["losses"]) for m in matches if m["iters"] != "5"]
    shown = re.findall(r"\(epoch: (\d+), iters: (\d+)[^)]*\) , (.*)", trained.stdout)
    assert shown == within
    assert max(map(len, trained.stdout.split("End of epoch")[1].splitlines())) <= 100


def test_metrics_for_programs(trained):
    records = [
        json.loads(line) for line in (trained.run / "metrics.jsonl").read_text().split("\n")[:-1]
    ]
    assert [r["total_images"] for r in records] == [2, 4, 5, 7, 9, 10]
    assert [r["lr"] for r in records] == pytest.approx([0.01] * 3 + [0.005] * 3)
    for record, line in zip(records, trained.loss_lines(), strict=True):
        assert (record["epoch"], record["epoch_images"]) == (int(line["epoch"]), int(line["iters"]))
        told = ", ".join(f"{name}: {value:.3f}" for name, value in record["losses"].items())
        assert told == line["losses"]
        assert f"{record['time_s']:.3f}" == line["time"]


def test_checkpoints(trained):
    """Every 4 images (8 is crossed at 9), at the last epoch, latest, and the only one validated."""
    labels = ("iter_4", "iter_9", "2", "latest", "best")
    expected = sorted(f"{label}_net_{net}.pth" for label in labels for net in "GD")
    assert [name for name in files(trained.run) if "_net_" in name] == expected
    assert not [name for name in files(trained.run) if "tmp" in name]
    assert_equal(trained.weights(label="2"), trained.weights(label="latest"))
    assert_equal(trained.weights(label="best"), trained.weights(label="latest"))
    assert digest(trained.weights(label="iter_4")) != digest(trained.weights(label="iter_9"))
    assert digest(trained.weights(label="iter_9")) != digest(trained.weights(label="latest"))


def test_training_page(trained):
    images = trained.run / "web" / "images"
    assert (trained.run / "web" / "index.html").is_file()
    numbers = ("", "_2", "_3")  # of the pictures to validate on
    names = [f"epoch001{n}_fake_B.jpg" for n in numbers]
    names += [f"epoch002{n}_fake_B.png" for n in numbers]
    names += [f"fixed_v{i}_real_{side}.png" for i in range(3) for side in "AB"]
    names += [f"last_batch_{n}.png" for n in ("real_A", "fake_B", "real_B")]
    assert sorted(file.name for file in images.iterdir()) == sorted(names)
    for file in images.iterdir():
        assert Image.open(file).size == (32, 32)
    told = (trained.run / "web" / "data" / "0001.js").read_text()
    linked = set(re.findall(r"(?:epoch|fixed|last)_?\w+\.png", told))
    shrunk = set(re.findall(r"\w+\.png", " ".join(re.findall(r"page\.shrunk\(.*", told))))
    linked = {n.replace("png", "jpg") if n in shrunk else n for n in linked}
    assert sorted(linked) == sorted(names)  # no broken links
    page = (trained.run / "web" / "index.html").read_text()
    assert "lambda_L1" in page  # the options
    assert "<h1>run</h1>" in page and re.search("python .*--name run --continue_train<", page)
    assert settings(page) == {**PAGE_OF_PIX2PIX, "epochs": 2, "imagesPerEpoch": 5}


def test_pictures_on_the_page_belong_together(trained):
    """The input is the negative of the target in these pictures."""
    images = trained.run / "web" / "images"
    real_A, real_B = (
        np.asarray(Image.open(images / f"last_batch_{n}.png")).astype(int)
        for n in ("real_A", "real_B")
    )
    assert np.abs(real_A + real_B - 255).max() <= 2


def test_learning_rates_are_told(trained):
    """Those of the next epoch, where they change."""
    ends = re.findall(r"^End of epoch \d.*lr ([\d.]+)", trained.stdout, re.MULTILINE)
    assert [float(rate) for rate in ends] == [0.005, 0]


def test_nothing_is_written_elsewhere(trained):
    top = {name.split("/")[0] for name in files(trained.folder)}
    assert top - {"results"} == {"checkpoints"}


def test_number_of_loader_processes_changes_nothing(trained, tmp_path, photos, run_in):
    done = run_in(tmp_path, "train.py", "--dataroot", photos, *FULL.split(), "--num_threads", "0")
    assert done.status == 0
    alone = Done(tmp_path, photos, done.stdout)
    for net in "GD":
        for label in ("iter_4", "latest"):
            assert_equal(trained.weights(net, label), alone.weights(net, label))
    losses = [line["losses"] for line in alone.loss_lines()]
    assert losses == [line["losses"] for line in trained.loss_lines()]


# --- Flags ----------------------------------------------------------------------------------------


def digest(weights: dict[str, torch.Tensor]) -> str:
    text = b"".join(key.encode() + value.numpy().tobytes() for key, value in weights.items())
    return hashlib.sha256(text).hexdigest()


def assert_equal(these: dict[str, torch.Tensor], those: dict[str, torch.Tensor]) -> None:
    assert list(these) == list(those)
    assert [key for key in these if not torch.equal(these[key], those[key])] == []


SEEN: dict[str, str] = {}  # flags to the digest of the weights that they train
SEEN_RESULTS: dict[str, dict[str, np.ndarray]] = {}


# Flags that must change the weights; the second column has flags that both runs get.
CHANGES_WEIGHTS = [
    ("--direction BtoA", ""),
    ("--dataset_mode unaligned", ""),
    ("--serial_batches", ""),
    ("--batch_size 2", ""),
    ("--preprocess crop", ""),
    ("--preprocess scale_width", ""),
    ("--preprocess scale_width_and_crop", ""),
    ("--preprocess none", ""),
    ("--load_size 44", ""),
    ("--crop_size 28", ""),
    ("--no_flip", ""),
    ("--augment scale", ""),
    ("--augment gamma", ""),
    ("--augment jpeg", ""),
    ("--max_dataset_size 3", ""),
    ("--phase val", ""),
    ("--input_nc 1", ""),
    ("--output_nc 1", ""),
    ("--ngf 3", ""),
    ("--ndf 3", ""),
    ("--netG resnet_9blocks", ""),
    ("--netG unet_128", "--load_size 128 --crop_size 128 --max_dataset_size 1"),
    ("--netD pixel", ""),
    ("--netD n_layers --n_layers_D 2", ""),
    ("--netD basic --n_layers_D 2", ""),
    ("--n_layers_D 1", "--netD n_layers"),
    ("--norm instance", ""),
    ("--norm none", ""),
    ("--spectral_norm", ""),
    ("--init_type xavier", ""),
    ("--init_type kaiming", ""),
    ("--init_type orthogonal", ""),
    ("--init_gain 0.1", ""),
    ("--no_dropout", ""),
    ("--residual", ""),
    ("--seed 2", ""),
    ("--n_epochs 2", ""),
    ("--n_epochs_decay 2", ""),
    ("--epoch_count 2", ""),
    ("--lr 0.001", ""),
    ("--lr_D 0.001", ""),
    ("--num_D 2", "--netD n_layers --n_layers_D 2"),
    ("--r1 10", ""),
    ("--beta1 0.9", ""),
    ("--lr_policy step", ""),
    ("--lr_policy cosine", "--n_epochs 2"),
    ("--lr_decay_iters 1", "--lr_policy step"),
    ("--gan_mode lsgan", ""),
    ("--gan_mode wgangp", ""),
    ("--pool_size 1", ""),
    ("--lambda_L1 1", ""),
    ("--lambda_feat 10", ""),
    ("--d_augment translation", ""),
    ("--d_augment cutout", ""),
    ("--d_augment color", ""),
    ("--grad_accum 2", ""),
]
# Flags that must not change the weights; each has a test below for what it does.
KEEPS_WEIGHTS = [
    "--num_threads 1",
    "--print_freq 1",
    "--display_freq 1",
    "--display_winsize 100",
    "--update_html_freq 1",
    "--no_html",
    "--save_latest_freq 1",
    "--save_by_iter",
    "--save_epoch_freq 1",
    "--verbose",
    "--suffix other",
    "--checkpoints_dir ./elsewhere",
    "--norm syncbatch",  # the same as batch in one process
    "--continue_train auto",
    "--overwrite",
    "--skip_unmatched",
]


@pytest.mark.parametrize("flags, base", CHANGES_WEIGHTS, ids=[row[0] for row in CHANGES_WEIGHTS])
def test_flag_changes_what_is_learnt(flags, base, train, tmp_path):
    if base not in SEEN:
        SEEN[base] = digest(train(base).weights())
        shutil.rmtree(tmp_path / "checkpoints")
    assert digest(train(f"{base} {flags}").weights()) != SEEN[base]


@pytest.mark.parametrize("flags", KEEPS_WEIGHTS)
def test_flag_changes_nothing_that_is_learnt(flags, train, tmp_path):
    if "" not in SEEN:
        SEEN[""] = digest(train().weights())
        shutil.rmtree(tmp_path / "checkpoints")
    train(flags)
    (file,) = tmp_path.glob("*/*/latest_net_G.pth")
    assert digest(torch.load(file, weights_only=True)) == SEEN[""]


def test_verbose_prints_the_layers(train):
    assert "Conv2d(" in train("--verbose").stdout
    assert "Conv2d(" not in train("--overwrite").stdout


def test_no_html(train):
    assert not (train("--no_html").run / "web").exists()


def test_update_html_freq(train):
    """5 images per epoch: by default, in a minute, after the first and last epoch only."""

    def times(done: Done) -> list[int]:
        told = (done.run / "web" / "data" / "0001.js").read_text()
        return [int(n) for n in re.findall(r"page\.pictures\(\d+,\d+,(\d+),.*,1,", told)]

    assert times(train("--n_epochs 2")) == [5, 15]
    assert times(train("--update_html_freq 4 --overwrite")) == [4, 5, 8, 10]
    assert times(train("--update_html_minutes 1e-9 --overwrite")) == [*range(1, 11)]
    assert times(train("--update_html_minutes 0 --overwrite")) == [5, 10]


def test_display_winsize(train):
    assert "123px" in (train("--display_winsize 123").run / "web" / "index.html").read_text()


def test_print_freq(train):
    assert [int(m["iters"]) for m in train().loss_lines()] == [5, 5]  # the ends of the epochs
    done = train("--print_freq 3 --overwrite")
    counts = [int(m["iters"]) for m in done.loss_lines()]
    assert counts == [3, 5, 1, 4, 5]  # at 3, 6 and 9 images in all, too
    asked = re.findall(r"^\(epoch: (\d), iters: (\d)", done.stdout, re.M)
    assert asked == [("1", "3"), ("2", "1"), ("2", "4")]
    done = train("--continue_train --n_epochs_decay 3")
    assert re.findall(r"^\(epoch: (\d), iters: (\d)", done.stdout, re.M)  # as the run was begun


def test_an_epoch_has_one_line_unless_print_freq_is_given(train):
    done = train("--save_latest_freq 2")
    ends = re.findall(r"^End of epoch (\d) / 2[^:]*: (.*)", done.stdout, re.M)
    assert [epoch for epoch, _ in ends] == ["1", "2"]
    assert ends[0][1].startswith("saved latest; ")
    assert not re.search(r"^(\(epoch|saved)", done.stdout, re.M)


def labels(done: Done) -> set[str]:
    return {file.name.split("_net_")[0] for file in done.run.glob("*_net_G.pth")}


def test_save_epoch_freq_and_the_last_epoch(train):
    assert labels(train()) == {"latest", "2"}
    assert labels(train("--save_epoch_freq 1 --overwrite")) == {"latest", "1", "2"}
    flags = "--save_epoch_freq 2 --n_epochs 4 --overwrite"
    assert labels(train(flags)) == {"latest", "2", "4", "5"}


def test_save_latest_freq_and_save_by_iter(train):
    done = train("--save_latest_freq 4 --save_by_iter")
    assert labels(done) == {"latest", "2", "iter_4", "iter_8"}
    assert re.search(r"saved iter_4\b", done.stdout)
    done = train("--save_latest_freq 4 --print_freq 100 --overwrite")
    assert labels(done) == {"latest", "2"}
    assert re.findall(r"saved latest.*\((\d) images", done.stdout) == ["4", "8"]
    assert re.search(r"End of epoch 2 / 2: saved latest and 2", done.stdout)


def test_suffix_and_checkpoints_dir(train, tmp_path):
    train("--suffix {model}_{netG}_size{load_size} --checkpoints_dir ./mine")
    assert (tmp_path / "mine" / "run_pix2pix_resnet_6blocks_size36" / "latest_net_G.pth").is_file()
    assert not (tmp_path / "checkpoints").exists()


def test_plateau_lowers_the_rate_where_nothing_improves(train):
    """Weights that hardly move cannot improve: after 1 + 6 epochs the rate falls to a fifth."""
    flags = "--lr_policy plateau --n_epochs 8 --n_epochs_decay 0 --lr 1e-6 --lambda_L1 100"
    flags += " --no_flip --load_size 32 --no_dropout --max_dataset_size 1 --print_freq 1"
    done = train(flags)
    records = map(json.loads, (done.run / "metrics.jsonl").read_text().splitlines())
    assert [r["lr"] for r in records] == pytest.approx([1e-6] * 7 + [2e-7])


def test_netD_basic_with_layers_says_what_is_used(train):
    done = train("--netD basic --n_layers_D 2")
    said = [line for line in done.stdout.splitlines() if line.startswith("--netD")]
    assert len(said) == 1
    assert "--n_layers_D 2" in said[0]
    convolutions = [k for k, v in done.weights("D").items() if v.ndim == 4]
    assert len(convolutions) == 4  # two layers between the first and the last, one of stride 1


@pytest.mark.parametrize("gan_mode", ["vanilla", "lsgan", "wgangp"])
def test_gan_modes_train(gan_mode, train):
    done = train(f"--gan_mode {gan_mode} --print_freq 1")
    lines = done.loss_lines()
    assert len(lines) == 10
    assert ("D_GP" in lines[0]["losses"]) == (gan_mode == "wgangp")
    assert all(torch.isfinite(value).all() for value in done.weights().values())


@pytest.mark.parametrize(
    "size, flags",
    [
        *((24, ""), (8, "--netD pixel"), (96, "--n_layers_D 5"), (12, "--n_layers_D 2")),
        *((48, "--num_D 2"), (8, "--netD pixel --num_D 2")),
    ],
)
def test_smallest_sizes_that_are_not_refused(size, flags, train):
    for norm in ("batch", "instance"):
        train(f"{flags} --load_size {size} --crop_size {size} --norm {norm} --overwrite")


def test_few_pairs_are_told_of_what_helps(train):
    hint = "only 3 pairs: where pictures should mostly stay as they are, the preset retouch_few"
    for held_out in ("", "--val_split 0.34"):
        told = train(f"--max_dataset_size 3 --dry_run {held_out}").stdout
        assert hint in told
    for helps in (
        "--residual", "--lambda_feat 1", "--d_augment cutout", "--augment scale",
        "--identity_pairs 0.1",
    ):  # fmt: skip
        assert "retouch_few" not in train(f"--max_dataset_size 3 --dry_run {helps}").stdout
    command = shlex.split(re.search(r"python (.*)", told[told.index(hint) :])[1])
    checked = subprocess.run(
        [sys.executable, *command, "--dry_run"], capture_output=True, encoding="utf-8"
    )
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"residual: True\b", checked.stdout)


def test_learning_happens(train):
    """One pair, memorised."""
    flags = "--max_dataset_size 1 --n_epochs 60 --n_epochs_decay 0 --print_freq 1 --no_flip"
    flags += " --load_size 32 --ngf 8 --ndf 8 --lr 0.002 --no_dropout"
    lines = train(flags).loss_lines()
    l1 = [float(re.search(r"G_L1: (\S+),", m["losses"])[1]) for m in lines]
    assert len(l1) == 60
    assert np.mean(l1[-5:]) < 0.4 * np.mean(l1[:3])


def test_save_latest_minutes(train, monkeypatch):
    """With a clock on which a step takes a minute: counted from the last save of any kind."""
    minutes, step = itertools.count(), Pix2PixModel.optimize_parameters
    monkeypatch.setattr(time, "monotonic", lambda now=[0.0]: now[0])
    now = time.monotonic.__defaults__[0]

    def minute_long(model: Pix2PixModel) -> None:
        now[0] = 60.0 * (1 + next(minutes))
        step(model)

    monkeypatch.setattr(Pix2PixModel, "optimize_parameters", minute_long)

    saves, save = [], Checkpoints.save

    def note(checkpoints: Checkpoints, *labels: str) -> None:
        if "latest" in labels:
            saves.append(checkpoints.shared["clock"].total_images)
        save(checkpoints, *labels)

    monkeypatch.setattr(Checkpoints, "save", note)

    def saved(flags: str) -> list[int]:
        saves.clear()
        train(f"{flags} --overwrite")
        return [*saves]

    assert saved("--save_latest_freq 999") == [10]  # the end
    assert saved("--save_latest_freq 999 --save_latest_minutes 1") == [*range(1, 11), 10]
    assert saved("--save_latest_freq 3 --save_latest_minutes 2") == [2, 3, 5, 6, 8, 9, 10]
    assert saved("--save_latest_freq 3 --save_latest_minutes 2.5") == [3, 6, 9, 10]


def test_a_save_that_lasts_longer_than_save_latest_minutes_is_not_repeated(train):
    said = train("--save_latest_freq 1 --save_latest_minutes 1e-9 --print_freq 100").stdout
    in_epochs = 2 * (NUM_PAIRS - 1)  # steps, each with a line of its own
    assert len(re.findall(r"^saved latest \(", said, re.MULTILINE)) == in_epochs
    assert len(re.findall(r"^End of epoch .*: saved latest", said, re.MULTILINE)) == 2


def test_keep_checkpoints(train):
    assert labels(train("--save_epoch_freq 1 --n_epochs 3 --keep_checkpoints 2")) == {
        *("latest", "3", "4"),
    }


def test_deterministic(train, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which is put back
    try:
        train("--n_epochs_decay 0")
        assert not torch.are_deterministic_algorithms_enabled()
        train("--n_epochs_decay 0 --deterministic --overwrite")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("options", [TrainOptions, TestOptions])
def test_num_threads_load_in_processes_of_their_own(options, trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    for number in (0, 2):
        line = f"--name run --model pix2pix --num_threads {number} --phase train --load_size 36"
        line = ["--dataroot", trained.dataroot, *line.split(), "--crop_size", "32"]
        opt = options(models.registry, data.registry).parse(
            [*line, "--continue_train"] if options is TrainOptions else line
        )
        others = set(multiprocessing.active_children())
        batches = iter(data.create_dataset(opt))
        next(batches)
        assert len(set(multiprocessing.active_children()) - others) == number


def use(program: str, flags: str, train, results) -> str:
    """Run a program with flags and expect success."""
    return train(f"--n_epochs_decay 0 {flags}") if program == "train.py" else results(flags)


@pytest.mark.parametrize("program", ["train.py", "test.py"])
def test_compile(program, train, results, monkeypatch):
    """Each network is handed to PyTorch's compiler, which itself would take a minute here."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda it, **_: compiled.append(it) or it)
    monkeypatch.setattr("util.speed.performance.require_compiler", lambda device: None)
    use(program, "", train, results)
    assert compiled == []
    use(program, "--compile" + " --overwrite" * (program == "train.py"), train, results)
    assert len(compiled) == (2 if program == "train.py" else 1)


@pytest.mark.parametrize("program", ["train.py", "test.py"])
def test_channels_last(program, train, results):
    layouts = set()

    def look(module, _):
        if isinstance(module, torch.nn.Conv2d) and 1 not in module.weight.shape:
            layouts.add(module.weight.is_contiguous(memory_format=torch.channels_last))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        for flags, expected in (("", {False}), ("--channels_last", {True})):
            layouts.clear()
            use(program, flags + " --overwrite" * (program == "train.py"), train, results)
            assert layouts == expected
    finally:
        hook.remove()


def test_grad_checkpoint_keeps_less_for_the_backward_pass(train):
    kept = []
    for flags in ("", "--grad_checkpoint --overwrite"):
        sizes = []

        def note(x: torch.Tensor, sizes: list = sizes) -> torch.Tensor:
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            train(f"--n_epochs_decay 0 --ngf 8 {flags}")
        kept.append(sum(sizes))
    assert kept[1] < 0.7 * kept[0]


def test_precision(train, results):
    """bf16 changes weights and results, or a line says that it is not available."""
    one = "--n_epochs_decay 0"
    plain, half = train(one), train(f"{one} --precision bf16 --overwrite")
    if "no bf16 arithmetic" in half.stdout:
        return
    assert digest(half.weights()) != digest(train(f"{one} --overwrite").weights())
    plain, half = results(), results("--precision bf16")
    assert any(not np.array_equal(plain[name], half[name]) for name in plain)


def test_verbose_of_testing_prints_the_layers(trained, run_here):
    line = f"--name run --dry_run --checkpoints_dir {trained.folder}/checkpoints".split()
    line += ["--dataroot", trained.dataroot, "--model", "pix2pix"]
    assert "Conv2d(" not in run_here("test.py", *line).stdout
    assert "Conv2d(" in run_here("test.py", *line, "--verbose").stdout


def test_suffix_of_testing(train, run_here, photos):
    train("--suffix {ngf}")
    line = ["--dataroot", photos, "--model", "pix2pix", "--crop_size", "32", "--dry_run"]
    assert run_here("test.py", *line, "--name", "run", "--suffix", "{ngf}").status == 2
    assert run_here("test.py", *line, "--name", "run", "--suffix", "2").status == 0


def test_flags_of_the_templates(train, pictures):
    """The weight scales the loss; the factor says how blurry the input is."""
    root = pictures.side_by_side(2, SIZE)
    flags = "--model template --dataset_mode template --print_freq 1 --n_epochs_decay 0"
    flags += " --overwrite --lr 1e-9 --no_flip --load_size 32 --serial_batches"

    def loss(more: str) -> float:
        done = train(f"{flags} {more}", dataroot=root)
        return float(done.loss_lines()[0]["losses"].removeprefix("G: "))

    plain = loss("--lambda_regression 100")
    assert loss("--lambda_regression 300") == pytest.approx(3 * plain, rel=1e-3)
    assert loss("--lambda_regression 100 --blur_factor 16") != pytest.approx(plain, rel=1e-3)


HERE = "e2e/test_train_and_test.py::"
VALIDATION = "e2e/test_validation.py::"
# Where else flags are tested, by program: FILE::TEST below tests/ if the test itself
# uses the flag, or FILE::TEST(FIXTURE) if a fixture of the test does.
TRAINING_ELSEWHERE = {
    "--version": "unit/test_version.py::test_it_is_told_among_other_flags",
    "--dataroot --name": HERE + "test_names_that_are_hard_to_show",
    "--model": HERE + "test_flags_of_the_templates",
    "--device --gpu_ids": HERE + "test_mistakes_in_training",
    "--grad_checkpoint": HERE + "test_grad_checkpoint_keeps_less_for_the_backward_pass",
    "--ema": HERE + "test_averages_are_saved_and_taken_in_testing_unless_refused",
    "--num_threads": HERE + "test_num_threads_load_in_processes_of_their_own",
    "--range_A --range_B": "e2e/test_deep_pictures.py::test_metrics_are_in_units_of_the_range",
    "--print_freq": HERE + "test_print_freq",
    "--display_winsize": HERE + "test_display_winsize",
    "--update_html_freq": HERE + "test_update_html_freq",
    "--update_html_minutes": HERE + "test_update_html_freq",
    "--val_split": VALIDATION + "test_held_out_pictures_are_listed_and_not_trained_on",
    "--val_freq --patience --min_delta --when_stuck": VALIDATION
    + "test_a_run_that_is_stuck_ends_sooner",
    "--val_size": VALIDATION + "test_val_size_takes_some_evenly",
    "--val_pictures": VALIDATION + "test_fixed_pictures_keep_their_names_and_old_ones_are_small",
    "--best_metric": VALIDATION + "test_the_best_checkpoint_is_the_epoch_that_scored_best",
    "--plateau_on": VALIDATION + "test_plateau_can_watch_the_validation",
    "--no_html": HERE + "test_no_html",
    "--save_latest_freq --save_by_iter": HERE + "test_save_latest_freq_and_save_by_iter",
    "--save_epoch_freq": HERE + "test_save_epoch_freq_and_the_last_epoch",
    "--save_latest_minutes": HERE + "test_save_latest_minutes",
    "--keep_checkpoints": HERE + "test_keep_checkpoints",
    "--keep_states": "e2e/test_resume.py::test_states_that_are_gone_and_those_that_are_left",
    "--try_steps": "e2e/test_before_you_wait.py::test_steps_of_a_new_run_leave_nothing_behind",
    "--verbose": HERE + "test_verbose_prints_the_layers",
    "--suffix --checkpoints_dir": HERE + "test_suffix_and_checkpoints_dir",
    "--dry_run": HERE + "test_dry_run_of_training_prints_and_writes_nothing",
    "--continue_train": HERE + "test_continue_train_goes_on_from_the_weights",
    "--config": HERE + "test_a_file_of_flags_serves_training_and_testing",
    "--epoch --load_iter": HERE + "test_continue_train_from_another_label",
    "--deterministic": HERE + "test_deterministic",
    "--precision": HERE + "test_precision",
    "--compile": HERE + "test_compile",
    "--channels_last": HERE + "test_channels_last",
    "--lambda_regression --blur_factor": HERE + "test_flags_of_the_templates",
    "--overwrite": "unit/test_restore.py::test_an_existing_run_is_not_overwritten_by_accident",
    "--load_pretrain": "unit/test_restore.py::test_pretrained_weights_are_loaded",
    "--load_pretrain_partial": "unit/test_restore.py::test_pretrained_weights_that_do_not_fit",
    "--skip_unmatched": "unit/test_aligned_dataset.py"
    "::test_skip_unmatched_uses_the_rest_and_names_what_is_left_out",
    "--identity_pairs": "unit/test_weight_maps.py::test_some_samples_are_a_target_and_itself",
    "--skip_nonfinite": "unit/test_finite.py::test_skip_nonfinite_gives_up_after_the_number",
    "--skip_bad_images": "e2e/test_bad_input.py::test_bad_pictures_are_skipped_and_counted",
    "--max_megapixels": "e2e/test_bad_input.py::test_a_bomb_that_is_let_in_is_still_no_traceback",
    "--cache": "unit/test_cache.py::test_a_disk_cache_is_used_again_until_a_picture_changes",
    "--CUT_mode": "unit/test_cut.py::test_each_mode_has_the_numbers_of_the_paper",
    "--lambda_NCE": "unit/test_cut.py::test_both_losses_of_cut_are_halved_and_reach_all_networks",
    "--lambda_GAN": "unit/test_cut.py::test_keys_get_no_gradient",
    "--lambda_A --lambda_B --lambda_identity": "contract/test_cycle_gan.py"
    "::test_a_weight_scales_its_losses_alone",
    "--lambda_perceptual --vgg_weights": "unit/test_perceptual.py"
    "::test_the_perceptual_loss_joins_the_generators_objective",
    "--lpips_weights --lambda_lpips": "unit/test_lpips.py::test_it_joins_the_generators_objective",
    "--inception_weights": "unit/test_inception.py::test_other_files_are_refused_in_one_line",
    "--use_perceptual": "unit/test_perceptual.py"
    "::test_without_the_perceptual_loss_it_is_pix2pix_bit_for_bit",
    "--vgg": "unit/test_perceptual.py::test_vgg19_and_grey_pictures",
    "--display_freq --use_wandb": "e2e/test_loggers.py::test_wandb_pictures(runs)",
    "--wandb_project_name": "e2e/test_loggers.py::test_wandb_is_one_run_with_its_options(runs)",
    "--use_tensorboard": "e2e/test_loggers.py::test_tensorboard_curves_go_on_after_a_resume(runs)",
    "--use_visdom --display_port --display_env": "e2e/test_loggers.py"
    "::test_visdom_curves_go_on_after_a_resume(runs)",
    "--display_ncols": "e2e/test_loggers.py::test_visdom_pictures(runs)",
    "--display_id": "e2e/test_loggers.py::test_display_id_0_switches_visdom_off",
    "--display_server": "e2e/test_loggers.py::test_a_server_on_another_machine_is_not_started",
}
TESTING_ELSEWHERE = {
    "--version": "unit/test_version.py::test_it_is_told_among_other_flags",
    "--dataroot": HERE + "test_model_test_runs_a_single_picture",
    "--model --netG --norm --ngf --input_nc --output_nc --no_dropout": "unit/test_restore.py"
    "::test_a_contradiction_names_both_values",
    "--residual": "unit/test_restore.py::test_whether_generators_are_residual_is_restored",
    "--name --results_dir --device --gpu_ids --dataset_mode": HERE + "test_mistakes_in_testing",
    "--num_threads": HERE + "test_num_threads_load_in_processes_of_their_own",
    "--checkpoints_dir": HERE + "test_model_test_runs_a_single_picture",
    "--range_A --range_B": "e2e/test_deep_pictures.py::test_metrics_are_in_units_of_the_range",
    "--display_winsize": "e2e/test_loggers.py::test_flags_of_pages_and_viewers_in_testing",
    "--use_wandb --wandb_project_name": "e2e/test_loggers.py"
    "::test_flags_of_pages_and_viewers_in_testing",
    "--verbose": HERE + "test_verbose_of_testing_prints_the_layers",
    "--suffix": HERE + "test_suffix_of_testing",
    "--ema": HERE + "test_averages_are_saved_and_taken_in_testing_unless_refused",
    "--dry_run": HERE + "test_dry_run_of_testing_writes_nothing",
    "--config": HERE + "test_a_file_of_flags_serves_training_and_testing",
    "--precision": HERE + "test_precision",
    "--compile": HERE + "test_compile",
    "--channels_last": HERE + "test_channels_last",
    "--full_size --output_name": "e2e/test_full_size.py"
    "::test_the_next_test_replaces_the_photographs_and_leaves_other_files",
    "--tile": "e2e/test_full_size.py::test_strips_change_nothing_but_the_memory",
    "--only_results --output_format --jpeg_quality": "e2e/test_full_size.py"
    "::test_names_and_formats_of_results",
    "--model_suffix": "unit/test_restore.py::test_a_chosen_generator_of_a_cycle_gan",
    "--max_megapixels": "e2e/test_bad_input.py::test_limit_of_pixels_can_be_raised_and_lowered",
    "--skip_bad_images": "e2e/test_tested_pictures.py::test_bad_pictures_are_left_out_and_counted",
    "--skip_unmatched": "unit/test_aligned_dataset.py"
    "::test_skip_unmatched_uses_the_rest_and_names_what_is_left_out",
    "--blur_factor": HERE + "test_flags_of_the_templates",
}


def texts_in(test: str) -> str:
    """All strings in a test and in its fixture, except docstrings."""
    file, name, fixture = re.fullmatch(r"(.+)::(test_\w+)(?:\((\w+)\))?", test).groups()
    tree = ast.parse((Path(__file__).parents[1] / file).read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert not fixture or fixture in [argument.arg for argument in functions[name].args.args]
    found = []
    for function in (functions[name], *([functions[fixture]] if fixture else [])):
        said = ast.get_docstring(function, clean=False)
        constants = (node.value for node in ast.walk(function) if isinstance(node, ast.Constant))
        found += [value for value in constants if isinstance(value, str) and value != said]
    return "\n".join(found)


@pytest.mark.parametrize("program", ["train.py", "test.py"])
def test_every_flag_is_told_to_do_something(program, run_here, monkeypatch):
    """By a row that changes weights or results, or by a test elsewhere that uses the flag.

    Flags are those that --help shows for any model and dataset.
    """
    monkeypatch.setenv("COLUMNS", "200")
    flags, training = set(), program == "train.py"
    for model in models.registry.names():
        for dataset in data.registry.names():
            done = run_here(program, "--help", "--model", model, "--dataset_mode", dataset)
            shown = re.findall(r"^  (--\w+)\b(.*(?:\n {6,}.*)*)", done.stdout, re.MULTILINE)
            flags |= {flag for flag, text in shown if "no effect in" not in text}
    assert {"--lr", "--lambda_A", "--vgg"} <= flags or not training

    rows = [flag for flag, _ in CHANGES_WEIGHTS] if training else []
    rows += [] if training else [f for f, change in TEST_FLAGS.items() if change != "nothing"]
    told = {word for row in rows for word in row.split() if word.startswith("--")}
    for group, test in (TRAINING_ELSEWHERE if training else TESTING_ELSEWHERE).items():
        texts = texts_in(test)
        for flag in group.split():
            assert re.search(rf"{flag}(?!\w)", texts), (flag, test)
        told |= set(group.split())
    assert flags - told == set()
    assert told - flags == set()


def test_averages_are_saved_and_taken_in_testing_unless_refused(train, tmp_path, run_here):
    done = train("--ema 0.9 --n_epochs_decay 0")
    assert {"latest_net_G_ema.pth", "1_net_G_ema.pth"} <= {f.name for f in done.run.iterdir()}

    def tested(flags: str = "") -> tuple[np.ndarray, str]:
        line = f"--dataroot {done.dataroot} --name run --model pix2pix --phase train {flags}"
        ended = run_here("test.py", *line.split(), *"--load_size 32 --crop_size 32".split())
        assert ended.status == 0, ended.stderr
        picture = next((tmp_path / "results").rglob("*_fake_B.png"))
        return np.asarray(Image.open(picture)), ended.stdout

    averaged, told = tested("--seed 1")
    assert "latest_net_G_ema.pth" in told
    last, told = tested("--seed 1 --ema 0")
    assert "_ema.pth" not in told and "using --ema 0.0" in told
    assert not np.array_equal(averaged, last)
    weights = torch.load(done.run / "latest_net_G_ema.pth", weights_only=True)
    torch.save(weights, done.run / "latest_net_G.pth")
    assert np.array_equal(tested("--seed 1 --ema 0")[0], averaged)


def test_averages_may_begin_when_a_run_goes_on(train):
    train("--n_epochs_decay 0")
    done = train("--continue_train --n_epochs_decay 1 --ema 0.5")
    assert "latest_net_G_ema.pth does not exist, so averaging starts now" in done.stdout
    assert (done.run / "latest_net_G_ema.pth").exists()


# --- Continuing -----------------------------------------------------------------------------------


def test_continue_train_goes_on_from_the_weights(train, tmp_path):
    """With a tiny learning rate, the weights stay as they were loaded."""
    first = train("--n_epochs_decay 0 --print_freq 5")
    log = (first.run / "loss_log.txt").read_text()
    before = first.weights()
    second = train("--print_freq 5 --continue_train --epoch_count 2 --lr 1e-12")
    assert labels(second) == {"latest", "1", "2"}
    after = second.weights()
    learnt = [key for key in before if key.endswith("weight") and before[key].ndim == 4]
    assert learnt
    for key in learnt:
        torch.testing.assert_close(after[key], before[key], rtol=0, atol=1e-8)
    assert [int(m["epoch"]) for m in second.loss_lines()] == [1, 2]
    assert (second.run / "loss_log.txt").read_text().startswith(log)  # appended
    images = {file.name for file in (second.run / "web" / "images").iterdir()}
    assert {"epoch001_fake_B.jpg", "epoch002_fake_B.png"} <= images


@pytest.mark.parametrize("flags, label", [("--epoch 1", "1"), ("--load_iter 5", "iter_5")])
def test_continue_train_from_another_label(flags, label, train):
    done = train("--save_epoch_freq 1 --save_latest_freq 5 --save_by_iter --keep_states 1")
    before = done.weights(label=label)
    if label == "iter_5":  # weights alone, in a folder without any state
        for state in done.run.glob("*_state.pth"):
            state.unlink()
    train(f"{flags} --continue_train --epoch_count 2 --lr 1e-12")
    for key, value in done.weights().items():
        if value.ndim == 4:
            torch.testing.assert_close(value, before[key], rtol=0, atol=1e-8)


def test_a_line_that_began_at_an_epoch_goes_on_where_it_was(train):
    """With --load_pretrain, --epoch_count says where the run starts, not where it resumes."""
    train("--n_epochs_decay 0")
    line = "--name new --load_pretrain checkpoints/run --epoch_count 3 --continue_train auto"
    line += " --print_freq 5 --n_epochs_decay 0"
    for n_epochs in (3, 4):
        folder = train(f"{line} --n_epochs {n_epochs}").folder / "checkpoints" / "new"
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    log = (folder / "loss_log.txt").read_text()
    assert [record["epoch"] for record in records] == [3, 4]
    assert re.findall(r"\(epoch: (\d+)", log) == ["3", "4"]  # none of them twice


def test_what_torchrun_starts_again_goes_on_and_not_back_to_epoch_count(train, monkeypatch):
    """With the command that started the run, including --overwrite."""
    line = "--overwrite --n_epochs 3 --epoch_count 3"
    begun = train(line)
    before = begun.weights()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = train(line)
    assert "run is finished: 4 epochs done" in again.stdout
    assert_equal(again.weights(), before)


# --- Flags from a file ----------------------------------------------------------------------------


def test_a_file_of_flags_serves_training_and_testing(photos, tmp_path, run_in):
    """And the same weights come of it as of the flags typed, and of the file that a run saved."""
    words = iter([*SHORT.split(), "--dataroot", photos, "--num_test", "2", "--device", "cpu"])
    lines = [f"{flag}: {value}\n" for flag, value in zip(words, words, strict=True)]
    (tmp_path / "flags.yaml").write_text("".join(dict.fromkeys(lines)), encoding="utf-8")
    trained = run_in(tmp_path, "train.py", "--config", "flags.yaml")
    assert (trained.status, trained.stderr) == (0, "")
    assert "flags.yaml: left out, not for train.py: num_test\n" in trained.stdout
    tested = run_in(tmp_path, "test.py", "--config", "flags.yaml")
    assert (tested.status, tested.stderr) == (0, "")
    assert "2 results in" in tested.stdout

    typed = run_in(tmp_path, "train.py", "--dataroot", photos, *SHORT.split(), "--name", "typed")
    saved = "checkpoints/run/train_options.json"
    again = run_in(tmp_path, "train.py", "--config", saved, "--name", "again", "--device", "cpu")
    assert (typed.status, again.status) == (0, 0)
    weights, *others = (
        (tmp_path / "checkpoints" / name / "latest_net_G.pth").read_bytes()
        for name in ("run", "typed", "again")
    )
    assert others == [weights, weights]


# --- Dry runs -------------------------------------------------------------------------------------


def test_dry_run_of_training_prints_and_writes_nothing(photos, tmp_path, run_in):
    done = run_in(tmp_path, "train.py", "--dataroot", photos, *SHORT.split(), "--dry_run")
    assert (done.status, done.stderr) == (0, "")
    assert "dry_run: True\t[default: False]" in options_block(done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_testing_writes_nothing(trained, tmp_path, run_here):
    line = f"--name run --model pix2pix --dry_run --checkpoints_dir {trained.folder}/checkpoints"
    before = files(trained.run)
    done = run_here("test.py", "--dataroot", trained.dataroot, *line.split())
    assert done.status == 0
    assert options_block(done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert files(trained.run) == before


def test_dry_run_leaves_an_existing_run_alone(train):
    done = train()
    before = {name: (done.run / name).read_bytes() for name in files(done.run)}
    train("--overwrite --dry_run --ngf 3")
    assert {name: (done.run / name).read_bytes() for name in files(done.run)} == before


@pytest.mark.parametrize("flags", ["--phase nowhere", "--crop_size 30", "--input_nc 5"])
def test_dry_run_checks(flags, photos, tmp_path, run_here):
    line = [*SHORT.split(), "--dry_run", *flags.split()]
    done = run_here("train.py", "--dataroot", photos, *line)
    assert done.status == 2
    assert list(tmp_path.iterdir()) == []


# --- Testing --------------------------------------------------------------------------------------


def test_results(tested):
    folder, stdout = tested
    names = [f"v{i}_{label}.png" for i in (0, 1) for label in ("fake_B", "real_A", "real_B")]
    assert sorted(file.name for file in (folder / "images").iterdir()) == names
    assert (folder / "index.html").is_file()
    assert str(Path("results") / "run" / "val_latest" / "index.html") in stdout


def test_results_page_names_every_picture(tested):
    folder, _ = tested
    told = "".join(file.read_text() for file in (folder / "data").glob("*.js"))
    assert set(re.findall(r'"(v\d_\w+\.png)"', told)) == {
        f.name for f in (folder / "images").iterdir()
    }


def test_results_page_says_what_it_shows(tested):
    page = (tested[0] / "index.html").read_text()
    assert settings(page) == {**PAGE_OF_PIX2PIX, "thing": "result"}
    assert "<h1>run: val, checkpoint latest</h1>" in page
    assert "ngf: 2\t[default: 64]" in page


def test_phase_without_test_pictures_falls_back_to_val(tested):
    _, stdout = tested
    said = stdout.split("----------------- Options")[0]
    assert "val" in said
    assert "phase: val\t[default: test]" in stdout


def test_options_of_the_test_are_kept(tested, trained):
    _, stdout = tested
    lines = (trained.run / "test_opt.txt").read_text().splitlines()
    _, *printed, _, _ = options_block(stdout).splitlines()
    assert [line for line in lines if "[default: " in line] == printed
    assert "ngf: 2\t[default: 64]" in stdout  # the architecture is that of the run


def test_metrics_are_told(tested):
    _, stdout = tested
    folder = tested[0] / "images"
    l1, psnr, nothing = [], [], []
    for i in (0, 1):
        names = ("real_A", "fake_B", "real_B")
        given, fake, real = (np.asarray(Image.open(folder / f"v{i}_{n}.png")) for n in names)
        nothing.append(np.abs(given.astype(float) - real).mean())
        difference = fake.astype(float) - real
        l1.append(np.abs(difference).mean())
        psnr.append(20 * np.log10(255 / np.sqrt((difference**2).mean())))
    told = {name: float(mean) for name, mean in re.findall(r"mean (\w+): (\S+)", stdout)}
    assert list(told) == ["L1", "PSNR", "SSIM"]
    assert told["L1"] == pytest.approx(np.mean(l1), rel=1e-3)
    untouched = re.search(r"^mean L1: \S+ \(doing nothing: (\S+)\)$", stdout, re.MULTILINE)
    assert float(untouched[1]) == pytest.approx(np.mean(nothing), rel=1e-3)
    assert told["PSNR"] == pytest.approx(np.mean(psnr), rel=1e-3)


def test_pictures_come_back_pixel_for_pixel(results, photos):
    made = results("--preprocess none")
    for index in range(3):
        for side in "AB":
            source = np.asarray(Image.open(Path(photos) / f"val{side}" / f"v{index}.png"))
            assert np.array_equal(made[f"val_latest/images/v{index}_real_{side}.png"], source)
        assert made[f"val_latest/images/v{index}_fake_B.png"].shape == (SIZE[1], SIZE[0], 3)


def test_crops_are_centred(results, photos):
    made = results("--preprocess crop")
    source = np.asarray(Image.open(Path(photos) / "valB" / "v0.png"))
    assert np.array_equal(made["val_latest/images/v0_real_B.png"], source[4:36, 8:40])


def test_generator_result_is_rounded(results, trained, photos):
    """The network, applied by hand, gives the picture that was written."""
    from models import networks

    net = networks.define_G(3, 3, 2, "resnet_6blocks", "batch", use_dropout=True)
    net.load_state_dict(trained.weights())
    net.eval()
    picture = Image.open(Path(photos) / "valA" / "v0.png")
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        y = net(x)[0].permute(1, 2, 0).numpy()
    expected = np.clip(np.round((y.astype(float) + 1) * 127.5), 0, 255)
    made = results("--preprocess none --eval")["val_latest/images/v0_fake_B.png"]
    assert np.abs(made - expected).max() <= 1  # a value at the border may round either way
    assert (made == expected).mean() > 0.99


TEST_FLAGS = {  # what changes against the plain results: names of files, or pixels
    "--num_test 1": "names",
    "--max_dataset_size 2": "names",
    "--phase train": "names",
    "--epoch 2": "names",
    "--load_iter 4": "names",
    "--direction BtoA": "pixels",
    "--aspect_ratio 2.0": "pixels",
    "--preprocess none": "pixels",
    "--load_size 40": "pixels",
    "--crop_size 28": "pixels",
    "--serial_batches off": "pixels",  # another order, so each picture gets other dropout
    "--eval": "pixels",
    "--no_flip off": "pixels",
    "--seed 5": "pixels",  # of dropout, which acts in testing by default
    "--batch_size 3": "pixels",  # of dropout, whose masks come in another order
    "": "nothing",
    "--num_threads 1": "nothing",
    "--display_winsize 99": "nothing",
    "--verbose": "nothing",
}


@pytest.mark.parametrize("flags", TEST_FLAGS)
def test_flag_of_testing(flags, results):
    if "plain" not in SEEN_RESULTS:
        SEEN_RESULTS["plain"] = results()
    plain, changed = SEEN_RESULTS["plain"], results(flags)
    if TEST_FLAGS[flags] == "names":
        assert list(plain) != list(changed)
    else:
        assert list(plain) == list(changed)
        same = all(np.array_equal(plain[name], changed[name]) for name in plain)
        assert same == (TEST_FLAGS[flags] == "nothing")


def test_folders_of_results(results, tmp_path):
    assert {n.split("/")[0] for n in results("--epoch 2 --phase train")} == {"train_2"}
    assert {n.split("/")[0] for n in results("--load_iter 4")} == {"val_iter_4"}
    results(f"--results_dir {tmp_path}/shown")
    assert (tmp_path / "shown" / "run" / "val_latest" / "index.html").is_file()


def test_checkpoints_of_other_labels_are_really_loaded(results):
    makes = [
        next(p for n, p in results(f"{flags} --eval").items() if n.endswith("v0_fake_B.png"))
        for flags in ("--load_iter 4", "--load_iter 9", "--epoch latest", "--epoch 2")
    ]
    assert not np.array_equal(makes[0], makes[1])
    assert np.array_equal(makes[2], makes[3])


def test_eval_makes_results_repeatable_whatever_the_seed(results):
    plain, other = results("--eval --seed 1"), results("--eval --seed 9")
    assert all(np.array_equal(plain[name], other[name]) for name in plain)


def test_aspect_ratio_stretches_results(results):
    assert {p.shape for p in results("--aspect_ratio 1.5").values()} == {(32, 48, 3)}
    assert {p.shape for p in results("--aspect_ratio 0.5").values()} == {(64, 32, 3)}


def test_batches_keep_names_and_pictures_together(results):
    single, batched = results("--eval"), results("--eval --batch_size 2")
    assert list(single) == list(batched)
    for name in single:
        assert np.abs(single[name].astype(int) - batched[name]).max() <= 1


def test_a_batch_gives_what_its_pictures_give_alone(train, pictures, run_here, tmp_path):
    """Each picture is normalised by its own statistics, though their brightness differs much."""
    for index, (gain, level) in enumerate(((1.0, 0), (0.2, 200), (0.1, 20), (0.5, 128))):
        picture = np.asarray(pictures.draw(index, 32, 32)) * gain + level * (1 - gain)
        pictures.save(Image.fromarray(picture.astype(np.uint8)), f"varied/{index}.png")
    train("--no_dropout --n_epochs_decay 0 --lr 0.01")

    def made(flags: str) -> np.ndarray:
        line = f"--dataroot {tmp_path}/varied --name run --crop_size 32 --num_threads 0 {flags}"
        done = run_here("test.py", *line.split())
        assert done.status == 0, done.stderr
        folder = tmp_path / "results" / "run" / "test_latest" / "images"
        return np.stack([np.asarray(Image.open(folder / f"{i}_fake.png")) for i in range(4)])

    alone, together = made("").astype(int), made("--batch_size 3").astype(int)  # 3 and 1
    assert np.abs(together - alone).max() <= 1
    assert np.abs(made("--eval --batch_size 3") - alone).mean() > 3  # other statistics matter


def test_dropout_in_a_batch_is_that_of_single_pictures(trained, pictures, run_here, tmp_path):
    """Each picture has its own dropout masks, with the same variation and the same mean."""
    for index in range(64):
        picture = np.asarray(pictures.draw(index % 2, 32, 32)) // (1, 3)[index % 2]
        pictures.save(Image.fromarray(picture), f"twice/{index:02}.png")

    def made(flags: str) -> np.ndarray:
        """(32 copies of one picture and of another, H, W, C)"""
        line = f"--dataroot {tmp_path}/twice --name run --crop_size 32 --num_threads 0 --seed 1"
        line += f" --checkpoints_dir {trained.folder}/checkpoints --num_test inf {flags}"
        done = run_here("test.py", *line.split())
        assert done.status == 0, done.stderr
        files = sorted((tmp_path / "results").rglob("*_fake.png"))
        pictures = np.stack([np.asarray(Image.open(file)).astype(float) for file in files])
        return pictures.reshape(32, 2, *pictures.shape[1:])

    alone, together = made(""), made("--batch_size 24")
    spread, spread_together = alone.std(0).mean(), together.std(0).mean()
    assert spread > 2
    assert spread_together == pytest.approx(spread, rel=0.1)
    assert np.abs(together.mean(0) - alone.mean(0)).mean() < 0.35 * spread  # 0.2 by chance alone


def test_model_test_runs_a_folder_with_subfolders(trained, pictures, run_here, tmp_path):
    for index, folder in enumerate(("", "x/", "y/", "y/deep/")):
        pictures.save(pictures.draw(index, *SIZE), f"photos/{folder}1.png")
    line = f"--name run --checkpoints_dir {trained.folder / 'checkpoints'} --num_threads 0"
    line += " --load_size 32 --crop_size 32"
    done = run_here("test.py", "--dataroot", str(tmp_path / "photos"), *line.split())
    assert done.status == 0, done.stderr
    images = tmp_path / "results" / "run" / "test_latest" / "images"
    assert len(list(images.glob("*_real.png"))) == len(list(images.glob("*_fake.png"))) == 4
    assert (images / "1_real.png").is_file()
    contents = {file.read_bytes() for file in images.glob("*_real.png")}
    assert len(contents) == 4


def test_model_test_runs_a_single_picture(trained, photos, run_here, tmp_path):
    picture = str(Path(photos) / "valA" / "v1.png")
    line = f"--name run --checkpoints_dir {trained.folder / 'checkpoints'} --num_threads 0"
    done = run_here("test.py", "--dataroot", picture, "--preprocess", "none", *line.split())
    assert done.status == 0, done.stderr
    images = tmp_path / "results" / "run" / "test_latest" / "images"
    assert {file.name for file in images.iterdir()} == {"v1_real.png", "v1_fake.png"}


def test_names_that_are_hard_to_show(pictures, run_here, tmp_path):
    """A run and pictures whose names mean something in HTML, in URLs and to a shell."""
    odd = "ü <b>&'#%20"
    for side, picture in zip("AB", pictures.pair(0, *SIZE), strict=True):
        pictures.save(picture, f"pairs/train{side}/{odd}.png")
    line = [*SHORT.replace("--name run", "").split(), "--name", odd]
    done = run_here("train.py", "--dataroot", str(tmp_path / "pairs"), *line)
    assert done.status == 0, done.stderr
    line = ["--model", "pix2pix", "--name", odd, "--num_threads", "0", "--crop_size", "32"]
    done = run_here("test.py", "--dataroot", str(tmp_path / "pairs"), *line)
    assert done.status == 0, done.stderr
    results = tmp_path / "results" / odd / "train_latest"
    assert (results / "images" / f"{odd}_fake_B.png").is_file()
    for page in (tmp_path / "checkpoints" / odd / "web", results):
        text = (page / "index.html").read_text(encoding="utf-8")
        assert "<b>" not in text
        assert "ü &lt;b&gt;&amp;" in text


# --- Mistakes -------------------------------------------------------------------------------------


def assert_one_line(done, script: str) -> str:
    """The program ended with status 2 and one line that says why; returns the line."""
    assert done.status == 2
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{script}: error: ")
    return line


@pytest.mark.parametrize(
    "flags, parts",
    [
        ("--load_siez 3", ["--load_siez", "did you mean --load_size?"]),
        ("--dataroot nowhere", ["--dataroot nowhere", "no such folder"]),
    ],
)
def test_mistakes_in_a_process_of_its_own(flags, parts, photos, run_cli):
    line = assert_one_line(
        run_cli("train.py", "--dataroot", photos, *SHORT.split(), *flags.split()), "train.py"
    )
    assert all(part in line for part in parts), line


def test_a_picture_that_a_worker_cannot_read(photos, tmp_path, run_cli):
    shutil.copytree(photos, tmp_path / "photos")
    bad = tmp_path / "photos" / "trainB" / "p3.png"
    bad.write_bytes(bad.read_bytes()[:700])
    line = [*SHORT.split(), "--num_threads", "2"]
    done = run_cli("train.py", "--dataroot", str(tmp_path / "photos"), *line)
    assert str(bad) in assert_one_line(done, "train.py")


@pytest.mark.parametrize(
    "flags, parts",
    [
        ("--phase holiday", ["--phase holiday", "holidayA", "trainA, trainB, valA, valB"]),
        ("--model dream", ["--model dream", "pix2pix", "cycle_gan"]),
        ("--lambda_B 3", ["--lambda_B", "belongs to --model cycle_gan;"]),
        ("--dataset_mode dream", ["--dataset_mode dream", "aligned"]),
        ("--dataset_mode single", ["--dataset_mode single", "pix2pix"]),
        ("--netG unet256", ["'unet256'", "did you mean unet_256?"]),
        ("--crop_size 34", ["--crop_size 34", "32", "36"]),
        ("--crop_size 4 --load_size 4", ["--crop_size 4"]),
        ("--crop_size 40", ["--crop_size 40", "--load_size"]),
        ("--preprocess crop --crop_size 64", ["p", "48x40", "--crop_size 64"]),
        ("--input_nc 2", ["--input_nc 2"]),
        ("--device cuda:77", ["--device cuda:77"]),
        ("--gpu_ids 77 --device cpu", ["--device cpu", "--gpu_ids 77"]),
        ("--continue_train", ["--continue_train", "checkpoint"]),
        ("--checkpoints_dir taken", ["taken"]),
        ("--name ../../away", ["--name", "--checkpoints_dir"]),
        ("--suffix {foo}", ["--suffix", "{foo}"]),
        ("--seed 99999999999", ["--seed"]),
        ("--n_epochs 0 --n_epochs_decay 0", ["--n_epochs"]),
    ],
)
def test_mistakes_in_training(flags, parts, photos, run_here, tmp_path):
    (tmp_path / "taken").write_text("a file")
    done = run_here("train.py", "--dataroot", photos, *SHORT.split(), *flags.split())
    line = assert_one_line(done, "train.py")
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    "flags, parts",
    [
        ("--name other", ["other", "run"]),
        ("--epoch 77", ["77_net_G.pth", "latest", "2"]),
        ("--load_iter 5", ["iter_5_net_G.pth", "iter_4"]),
        ("--ngf 4", ["ngf 4", "2"]),
        ("--netG unet_128", ["netG", "resnet_6blocks"]),
        ("--phase holiday", ["--phase holiday"]),
        ("--results_dir taken", ["taken"]),
        ("--model cycle_gan", ["--model cycle_gan", "says pix2pix", "--model test"]),
        ("--num_test 0", ["--num_test"]),
        ("--device cuda:77", ["--device cuda:77"]),
        ("--gpu_ids 77 --device cpu", ["--device cpu", "--gpu_ids 77"]),
        ("--dataset_mode single", ["--dataset_mode single", "pix2pix"]),
        ("--lambda_L1 3", ["--lambda_L1", "--model pix2pix", "of train.py"]),
    ],
)
def test_mistakes_in_testing(flags, parts, trained, run_here, tmp_path):
    (tmp_path / "taken").write_text("a file")
    line = f"--name run --model pix2pix --checkpoints_dir {trained.folder / 'checkpoints'}"
    line = [*line.split(), "--num_threads", "0", "--crop_size", "32", *flags.split()]
    done = run_here("test.py", "--dataroot", trained.dataroot, *line)
    line = assert_one_line(done, "test.py")
    assert all(part in line for part in parts), line


def test_verbose_adds_the_traceback_to_the_line(photos, run_here):
    line = [*SHORT.split(), "--verbose", "--preprocess", "crop", "--crop_size", "64"]
    done = run_here("train.py", "--dataroot", photos, *line)
    assert done.status == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("train.py: error: ")


def test_no_arguments_at_all(run_here):
    for script in ("train.py", "test.py"):
        done = run_here(script)
        line, *examples = done.stderr.splitlines()
        assert done.status == 2 and line.startswith(f"{script}: error: --dataroot is required")
        assert [script in example for example in examples] == [True, True]


@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_help(script, run_here):
    done = run_here(script, "--help")
    assert (done.status, done.stderr) == (0, "")
    assert "--dataroot" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_ends_without_a_traceback(photos, tmp_path):
    line = [*TINY.split(), "--num_threads", "2", "--print_freq", "1", "--n_epochs", "5000"]
    command = [sys.executable, str(Path(__file__).parents[2] / "train.py"), "--dataroot", photos]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, *line],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not process.stdout.readline().startswith("(epoch: 1"):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # like a terminal, send it to the workers too
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert len(stderr.splitlines()) <= 3
