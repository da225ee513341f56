"""A run that is interrupted anywhere and resumed is the same run, bit for bit in every file.

Each part is a separate process, ended by a real signal.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer import leaves, told

ROOT = Path(__file__).resolve().parents[2]
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send these signals")

TINY = "--name run --device cpu --seed 3 --ngf 4 --ndf 4 --load_size 36 --crop_size 32"
# Logs everything, and saves in mid-epoch.
OFTEN = "--print_freq 1 --update_html_freq 1 --save_latest_freq 2 --save_epoch_freq 1"
PIX2PIX = f"{TINY} {OFTEN} --model pix2pix --netG resnet_6blocks"
AGAIN = "--name run --continue_train"
CYCLE_GAN = f"{TINY} {OFTEN} --model cycle_gan --netG resnet_6blocks --pool_size 2"
CUT = f"{TINY} {OFTEN} --model cut --netG resnet_6blocks --n_epochs_decay 0"


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that must not depend on interruptions, by file, bit for bit."""
    run = folder / "checkpoints" / "run"
    found: dict[str, Any] = {file.name: file.read_bytes() for file in run.glob("*_net_*.pth")}
    state = torch.load(run / "latest_state.pth", weights_only=True)
    del state["options"]  # hold --continue_train
    found["latest_state.pth"] = dict(leaves(state))
    found |= {file.name: True for file in run.glob("*_state.pth") if file.name not in found}
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    times = {"time_s", "data_s"}
    found["metrics.jsonl"] = [
        {k: v for k, v in json.loads(line).items() if k not in times} for line in lines
    ]
    for file in (run / "web" / "images").iterdir():
        found[f"images/{file.name}"] = file.read_bytes()
    return found


def assert_same(cut: Path, straight: Path) -> None:
    """Compare what two folders hold, and name what differs."""
    expected, got = outcome(straight), outcome(cut)
    assert sorted(got) == sorted(expected)
    assert got["metrics.jsonl"] == expected["metrics.jsonl"]
    assert [name for name in expected if got[name] != expected[name]] == []
    assert list((cut / "checkpoints" / "run").glob("*.tmp")) == []


@pytest.fixture(scope="module")
def dataroots(tmp_path_factory, pictures_in) -> dict[str, str]:
    """Five pairs, and five and three unpaired pictures; with --batch_size 2 the last is alone."""
    pictures = pictures_in(tmp_path_factory.mktemp("photos"))
    size = (40, 40)
    unpaired = pictures.unaligned(5, 3, size=size)
    pictures.save(pictures.draw(9, *size).convert("L"), "joined/trainW/p1.png")
    return {"pix2pix": pictures.side_by_side(5, size), "cycle_gan": unpaired}


@pytest.fixture(scope="module")
def straight(tmp_path_factory, trainer) -> Callable[[str], Path]:
    """The folder of an undisturbed run with these flags; run once."""

    @functools.cache
    def run(flags: str) -> Path:
        folder = tmp_path_factory.mktemp("straight")
        trainer.run(folder, flags)
        return folder

    return run


def metrics(folder: Path) -> list[dict]:
    lines = (folder / "checkpoints" / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def clock(folder: Path, label: str = "latest") -> dict[str, int]:
    """Where a checkpoint stands."""
    path = folder / "checkpoints" / "run" / f"{label}_state.pth"
    counts = torch.load(path, weights_only=True)["clock"]
    return {k: counts[k] for k in ("epoch", "epoch_images", "total_images")}


# Each model with all schedules, both numbers of workers, both batch sizes.
RUNS = [
    f"{PIX2PIX} --num_threads 0 --batch_size 1 --lr_policy linear",
    f"{PIX2PIX} --num_threads 2 --batch_size 2 --lr_policy step --lr_decay_iters 1"
    " --d_augment cutout --lambda_feat 10 --augment auto",
    f"{PIX2PIX} --num_threads 2 --batch_size 1 --lr_policy cosine --grad_accum 2 --ema 0.9"
    " --residual --identity_pairs 0.3 --r1 10",
    f"{PIX2PIX} --num_threads 0 --batch_size 2 --lr_policy plateau --pool_size 2 --gan_mode wgangp"
    " --d_augment color",
    f"{CYCLE_GAN} --num_threads 2 --batch_size 1 --lr_policy linear --augment auto",
    f"{CYCLE_GAN} --num_threads 0 --batch_size 2 --lr_policy step --lr_decay_iters 1",
    f"{CYCLE_GAN} --num_threads 0 --batch_size 1 --lr_policy cosine --serial_batches"
    " --num_D 2 --netD n_layers --n_layers_D 2 --r1 10 --lr_D 0.001",
    f"{CYCLE_GAN} --num_threads 2 --batch_size 2 --lr_policy plateau --grad_checkpoint"
    " --d_augment translation,cutout,color",
    f"{CUT} --num_threads 0 --batch_size 2 --ema 0.9 --grad_accum 2",
    f"{CUT} --num_threads 2 --batch_size 1 --CUT_mode FastCUT --d_augment cutout",
]


@posix_only
@pytest.mark.parametrize("flags", RUNS, ids=[run.split("--model ")[1] for run in RUNS])
def test_a_run_in_pieces_is_the_same_run(flags, tmp_path, dataroots, straight, trainer):
    """Three epochs of five images in six parts; only the first and the last end normally."""
    flags = f"--dataroot {dataroots['pix2pix' if 'pix2pix' in flags else 'cycle_gan']} {flags}"
    trainer.run(tmp_path, f"{flags} --n_epochs 1 --n_epochs_decay 0")
    longer = f"{AGAIN} --n_epochs 2 --n_epochs_decay 1"
    trainer.run(tmp_path, longer, "epoch: 2, iters: [34]", signal.SIGKILL, ends=-signal.SIGKILL)
    assert clock(tmp_path)["epoch"] == 2
    assert 0 < clock(tmp_path)["epoch_images"] < 5
    trainer.run(tmp_path, AGAIN, "epoch: 2, iters: [45]", signal.SIGINT, ends=130)
    trainer.run(tmp_path, AGAIN, "epoch: 3, iters: [12]", signal.SIGTERM, ends=143)
    assert 0 < clock(tmp_path)["epoch_images"] < 5
    trainer.run(tmp_path, AGAIN, "epoch: 3, iters: [45]", signal.SIGKILL, ends=-signal.SIGKILL)
    trainer.run(tmp_path, AGAIN)
    assert_same(tmp_path, straight(f"{flags} --n_epochs 2 --n_epochs_decay 1"))


@posix_only
def test_unet_at_its_smallest_size(tmp_path, dataroots, straight, trainer):
    flags = f"{PIX2PIX} --netG unet_128 --load_size 130 --crop_size 128 --ngf 2 --num_threads 0"
    flags += f" --dataroot {dataroots['pix2pix']} --n_epochs 1 --n_epochs_decay 1"
    trainer.run(tmp_path, flags, "epoch: 1, iters: 3", signal.SIGKILL, ends=-signal.SIGKILL)
    trainer.run(tmp_path, AGAIN, "epoch: 2, iters: 2", signal.SIGINT, ends=130)
    trainer.run(tmp_path, AGAIN)
    assert_same(tmp_path, straight(flags))


@posix_only
def test_plateau_that_falls_remembers_what_it_has_seen(tmp_path, dataroots, straight, trainer):
    """Nothing improves at this rate, so plateau lowers it after epoch 7, interrupted or not."""
    flags = f"{CYCLE_GAN} --num_threads 0 --lr_policy plateau --lr 1e-7 --no_flip --pool_size 0"
    flags += f" --dataroot {dataroots['cycle_gan']} --max_dataset_size 2 --load_size 32"
    flags += " --serial_batches --n_epochs 9 --n_epochs_decay 0"
    rates = [line["lr"] for line in metrics(straight(flags))]
    assert rates[0] == 1e-7
    assert rates[-1] == pytest.approx(2e-8)

    trainer.run(tmp_path, flags, "epoch: 3, iters: 1", signal.SIGINT, ends=130)
    trainer.run(tmp_path, AGAIN, "epoch: 6, iters: 1", signal.SIGTERM, ends=143)
    trainer.run(tmp_path, AGAIN, "epoch: 8, iters: 1", signal.SIGKILL, ends=-9)
    trainer.run(tmp_path, AGAIN)
    assert_same(tmp_path, straight(flags))


@posix_only
@pytest.mark.parametrize(
    "at",
    [
        "call util.show.loggers:Loggers.losses 5",
        "call util.run.checkpoint:Checkpoints.save 3",
        "End of epoch 1",
    ],
)
@pytest.mark.parametrize("number, ends", [(9, -9), (2, 130), (15, 143)])
def test_cut_at_the_end_of_an_epoch(at, number, ends, tmp_path, dataroots, straight, trainer):
    """At the epoch's last image, where the schedule step and the checkpoint coincide."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 1 --n_epochs_decay 1"
    flags += " --num_threads 0"
    trainer.run(tmp_path, flags, at, number, ends)
    trainer.run(tmp_path, AGAIN)
    assert_same(tmp_path, straight(flags))


def test_numbers_of_workers_can_change_between_pieces(tmp_path, dataroots, straight, trainer):
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 2 --n_epochs_decay 0"
    flags += " --num_threads 0"
    trainer.run(tmp_path, f"{flags} --n_epochs 1 --num_threads 2")
    trainer.run(tmp_path, f"{AGAIN} --num_threads 1 --n_epochs 2")
    assert_same(tmp_path, straight(flags))


@posix_only
def test_save_by_iter_keeps_weights_and_the_run_resumes_from_latest(
    tmp_path, dataroots, straight, trainer
):
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 1 --n_epochs_decay 1"
    flags += " --num_threads 0 --save_by_iter"
    trainer.run(tmp_path, flags, "epoch: 2, iters: 4", signal.SIGKILL, ends=-signal.SIGKILL)
    trainer.run(tmp_path, f"{AGAIN} --load_iter 4", ends=2)
    errors = (tmp_path / "err.txt").read_text()
    assert "--load_iter 4: checkpoints/run/iter_4_state.pth does not exist" in errors
    assert "pass --epoch latest or 1;" in errors
    trainer.run(tmp_path, AGAIN)
    assert_same(tmp_path, straight(flags))


@posix_only
def test_states_that_are_gone_and_those_that_are_left(tmp_path, dataroots, trainer):
    """Of a finished run; its error's two ways on both work."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 4 --n_epochs_decay 0"
    trainer.run(tmp_path, f"{flags} --num_threads 0 --keep_states 1")
    run = tmp_path / "checkpoints" / "run"
    found = {file.name.removesuffix("_state.pth") for file in run.glob("*_state.pth")}
    assert found == {"latest", "4", "3"}
    assert len(list(run.glob("[1234]_net_[GD].pth"))) == 8

    trainer.run(tmp_path, f"{AGAIN} --epoch 1", ends=2)
    error = (tmp_path / "err.txt").read_text()
    assert error.count("\n") == 1
    assert "pass --epoch latest or 4 or 3;" in error
    assert "--load_pretrain checkpoints/run --epoch 1 under another --name" in error
    trainer.run(tmp_path, f"{AGAIN} --epoch 3")
    assert "resumed from checkpoint 3" in told(tmp_path)
    other = flags.replace("--name run", "--name other").replace("--n_epochs 4", "--n_epochs 1")
    trainer.run(tmp_path, f"{other} --load_pretrain checkpoints/run --epoch 1")
    assert "loaded checkpoints/run/1_net_G.pth" in told(tmp_path)


def test_a_second_discriminator_and_r1_can_begin_later(tmp_path, dataroots, trainer):
    """In a run that resumes, with what it has learnt; after that they resume as all else."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs_decay 0 --num_threads 0"
    flags += " --grad_accum 3 --netD n_layers --n_layers_D 2"
    trainer.run(tmp_path, f"{flags} --n_epochs 1")  # the second update is half done
    run, out = tmp_path / "checkpoints" / "run", tmp_path / "out.txt"
    stays = "latest_net_D_2.pth does not exist: that network keeps its initial weights"
    assert stays not in out.read_text()
    trainer.run(tmp_path, f"{AGAIN} --n_epochs 2 --num_D 2 --r1 10 --lr_D 0.001")
    told = out.read_text()
    assert told.count(stays) == 1 and "loaded checkpoints/run/latest_net_D.pth" in told
    assert (run / "latest_net_D_2.pth").is_file()
    trainer.run(tmp_path, f"{AGAIN} --num_D 1 --n_epochs 3", ends=2)
    assert "--num_D 1 contradicts" in (tmp_path / "err.txt").read_text()
    trainer.run(tmp_path, f"{AGAIN} --n_epochs 3")
    assert "loaded checkpoints/run/latest_net_D_2.pth" in out.read_text()
    counts = torch.load(run / "latest_state.pth", weights_only=True)["processes"][0]
    assert counts["model.r1_updates"] == {"D": [3, 1]}  # ten batches from where R1 began

    other = flags.replace("--name run", "--name other") + " --n_epochs 1 --num_D 2"
    trainer.run(tmp_path, f"{other} --load_pretrain checkpoints/run --epoch 1")
    assert "checkpoints/run/1_net_D_2.pth does not exist: that network keeps" in out.read_text()
    for file in ("train_options.json", "train_opt.txt", "latest_state.pth"):
        (run / file).unlink()
    for state in run.glob("*_state.pth"):
        state.unlink()
    trainer.run(tmp_path, f"{flags} --continue_train --n_epochs 1")  # weights tell of it
    assert out.read_text().count("loaded checkpoints/run/latest_net_D_2.pth") == 2


@posix_only
def test_a_torn_latest_falls_back_to_the_newest_number(tmp_path, dataroots, straight, trainer):
    """At 13 images: latest is of 12, 2 is of 10; some files of latest are older."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 1 --n_epochs_decay 2"
    flags += " --num_threads 0 --save_latest_freq 4 --save_by_iter --ema 0.9"
    trainer.run(tmp_path, flags, "epoch: 3, iters: 3", signal.SIGKILL, ends=-signal.SIGKILL)
    run = tmp_path / "checkpoints" / "run"
    for name in ("G", "G_ema"):
        (run / f"latest_net_{name}.pth").unlink()  # iter_12 may be another name of this file
        shutil.copy(run / f"iter_8_net_{name}.pth", run / f"latest_net_{name}.pth")
    trainer.run(tmp_path, AGAIN)
    assert "latest do not belong together; resumed from checkpoint 2" in told(tmp_path)
    assert_same(tmp_path, straight(flags))


@posix_only
def test_a_run_that_began_with_other_weights_goes_on_with_its_own(
    tmp_path, dataroots, straight, trainer
):
    """One command starts and resumes the run; after the start, the first weights may be gone."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 1 --n_epochs_decay 2"
    flags += " --num_threads 0"
    first = tmp_path / "first"
    shutil.copytree(straight(f"{flags} --seed 5") / "checkpoints" / "run", first)
    flags += f" --load_pretrain {first} --epoch_count 2 --continue_train auto"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    trainer.run(whole, flags)
    trainer.run(cut, flags, "epoch: 2, iters: 4", signal.SIGKILL, ends=-signal.SIGKILL)
    trainer.run(cut, flags, "epoch: 3, iters: 3", signal.SIGTERM, ends=143)
    assert clock(cut) == {"epoch": 3, "epoch_images": 3, "total_images": 13}
    shutil.rmtree(first)
    trainer.run(cut, flags)
    assert_same(cut, whole)


@posix_only
def test_pictures_that_are_skipped_stay_skipped(tmp_path, dataroots, straight, trainer):
    """Each is replaced by another picture, the same one whether or not the run was interrupted."""
    photos = tmp_path / "photos"
    shutil.copytree(dataroots["pix2pix"], photos)
    (photos / "train" / "p2.png").write_bytes(b"")
    flags = f"{PIX2PIX} --dataroot {photos} --n_epochs 1 --n_epochs_decay 1 --num_threads 2"
    flags += " --skip_bad_images"
    trainer.run(tmp_path, flags, "epoch: 1, iters: 3", signal.SIGINT, ends=130)
    trainer.run(tmp_path, AGAIN, "epoch: 2, iters: 3", signal.SIGKILL, ends=-signal.SIGKILL)
    trainer.run(tmp_path, AGAIN)
    assert_same(tmp_path, straight(flags))


# --- What is said, and who decides ----------------------------------------------------------------


@pytest.fixture
def started(tmp_path, dataroots, trainer) -> Callable[[str], str]:
    """A finished run of one epoch; `started(flags)` continues it and returns what was told."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 1 --n_epochs_decay 0"
    trainer.run(tmp_path, f"{flags} --num_threads 0")

    def proceed(flags: str, ends: int = 0) -> str:
        for file in ("out.txt", "err.txt"):
            (tmp_path / file).unlink()
        trainer.run(tmp_path, f"{AGAIN} {flags}", ends=ends)
        return told(tmp_path)

    return proceed


def test_a_finished_run_says_how_to_extend_it(started, tmp_path):
    before = outcome(tmp_path)
    text = started("")
    assert "run is finished" in text
    assert "--n_epochs" in text
    assert "--n_epochs_decay" in text
    assert outcome(tmp_path) == before


def test_flags_on_the_line_win_and_each_change_is_printed(started, tmp_path):
    text = started("--n_epochs 2 --n_epochs_decay 1 --lr 0.001 --lambda_L1 50")
    for change in ("n_epochs 1 -> 2", "n_epochs_decay 0 -> 1", "lr 0.0002 -> 0.001"):
        assert change in text
    assert "lambda_L1 100.0 -> 50.0" in text
    assert "batch_size" not in [line.split(" ")[0] for line in text.splitlines() if "->" in line]
    assert [line["lr"] for line in metrics(tmp_path)[::5]] == [0.0002, 0.001, 0.001 / 2]


def test_adam_takes_the_beta1_that_is_typed_and_keeps_it(started, tmp_path):
    def betas() -> list[tuple[float, float]]:
        state = torch.load(tmp_path / "checkpoints/run/latest_state.pth", weights_only=True)
        return [tuple(o["param_groups"][0]["betas"]) for o in state["model"]["optimizers"]]

    assert betas() == [(0.5, 0.999)] * 2
    assert "beta1 0.5 -> 0.9" in started("--n_epochs 2 --beta1 0.9")
    assert betas() == [(0.9, 0.999)] * 2
    started("--n_epochs 3")
    assert betas() == [(0.9, 0.999)] * 2


def test_an_accumulation_goes_on_with_another_number_of_batches(started, tmp_path):
    """Of gradients so far, unless they would be enough for the new number already."""

    def updates() -> set[int]:
        state = torch.load(tmp_path / "checkpoints/run/latest_state.pth", weights_only=True)
        optimizers = state["model"]["optimizers"]
        return {int(m["step"]) for o in optimizers for m in o["state"].values()}

    assert updates() == {5}
    started("--n_epochs 2 --grad_accum 4")  # of 5 steps
    assert updates() == {6}
    started("--n_epochs 3 --grad_accum 3")  # one is left, and two make three
    assert updates() == {8}  # 2 + 3 of the 5, none is left
    started("--n_epochs 4 --grad_accum 9")
    assert updates() == {8}
    started("--n_epochs 5 --grad_accum 2")  # the five gradients from before are more than two
    assert updates() == {10}


def test_epoch_count_overrides_the_epoch_and_places_the_schedule(started, tmp_path):
    started("--n_epochs 2 --n_epochs_decay 3 --epoch_count 4")
    lines = metrics(tmp_path)
    assert [line["epoch"] for line in lines[::5]] == [1, 4, 5]
    assert [line["total_images"] for line in lines[::5]] == [1, 16, 21]
    assert [line["lr"] for line in lines[::5]] == pytest.approx([0.0002, 0.0001, 0.00005])


def test_from_another_label(started, tmp_path):
    """Checkpoint 1 is where epoch 2 begins."""
    started("--n_epochs 3 --keep_states 9")
    first = outcome(tmp_path)
    text = started("--epoch 1")
    assert "checkpoint 1" in text
    assert outcome(tmp_path) == first


def test_bare_weights_resume_weights_only_and_say_so(started, tmp_path):
    run = tmp_path / "checkpoints" / "run"
    for file in run.glob("*_state.pth"):
        file.unlink()
    text = started("--epoch 1 --n_epochs 3 --epoch_count 3")
    assert "but no training state" in text
    assert "afresh at epoch 3" in text
    assert metrics(tmp_path)[-1]["epoch"] == 3


def test_logs_are_appended_to(started, tmp_path):
    log = tmp_path / "checkpoints" / "run" / "loss_log.txt"
    before = log.read_text()
    started("--n_epochs 2")
    assert log.read_text().startswith(before)
    assert len(metrics(tmp_path)) == 10


@posix_only
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_stopped_run_saves_and_says_how_to_resume(name, tmp_path, dataroots, trainer):
    number = getattr(signal, name)
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --num_threads 2 --save_latest_freq 999"
    trainer.run(tmp_path, flags, "epoch: 1, iters: 3", number, ends=128 + number)
    assert "python train.py --name run --continue_train" in told(tmp_path)
    assert (tmp_path / "err.txt").read_text() == ""
    assert clock(tmp_path) == {"epoch": 1, "epoch_images": 3, "total_images": 3}


@posix_only
def test_a_second_ctrl_c_stops_at_once(tmp_path, dataroots, trainer):
    """Each of this step's two loss lines sends a signal, so the step is not finished."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --num_threads 0 --save_latest_freq 4"
    trainer.run(tmp_path, f"{flags}", "epoch: 1, iters: 2|saved latest", signal.SIGINT, ends=130)
    assert "stopped by Ctrl-C" in told(tmp_path)
    assert "Traceback" not in told(tmp_path)
    trainer.run(tmp_path, f"{AGAIN} --n_epochs 1 --n_epochs_decay 0")


@posix_only
def test_a_second_sigterm_means_no_hurry(tmp_path, dataroots, trainer):
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --num_threads 0 --save_latest_freq 4"
    trainer.run(tmp_path, flags, "epoch: 1, iters: 2|saved latest", signal.SIGTERM, ends=143)
    assert clock(tmp_path)["total_images"] == 2


@posix_only
def test_latest_is_saved_by_time_as_well(tmp_path, dataroots, trainer):
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --num_threads 0 --save_latest_freq 999"
    flags += " --save_latest_minutes 0.00001"
    trainer.run(tmp_path, flags, "epoch: 1, iters: 3", signal.SIGKILL, ends=-signal.SIGKILL)
    assert clock(tmp_path) == {"epoch": 1, "epoch_images": 2, "total_images": 2}


def test_no_state_is_left_by_a_dry_run(started, tmp_path):
    def contents() -> dict[Path, bytes]:
        files = (tmp_path / "checkpoints").rglob("*")
        return {file: file.read_bytes() for file in files if file.is_file()}

    before = contents()
    started("--n_epochs 9 --dry_run")
    assert before == contents()


def test_a_state_of_an_earlier_version_goes_on(tmp_path, dataroots, trainer):
    """It has neither the means of the losses nor what validation has found."""
    flags = f"{PIX2PIX} --dataroot {dataroots['pix2pix']} --n_epochs 1 --n_epochs_decay 0"
    trainer.run(tmp_path, f"{flags} --num_threads 0")
    file = tmp_path / "checkpoints" / "run" / "latest_state.pth"
    state = torch.load(file, weights_only=True)
    del state["best"], state["processes"][0]["losses"], state["clock"]["ends_after"]
    del state["clock"]["stuck_at"]
    torch.save({**state, "format": 2}, file)
    trainer.run(tmp_path, f"{AGAIN} --n_epochs 2")
    assert clock(tmp_path)["total_images"] == 10
