"""A GPU computes what the processor computes, and with --deterministic always the same bits."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import MODELS, take_steps

from models.networks.generators import define_G
from models.strips.run import in_strips


@pytest.mark.parametrize("model", MODELS)
def test_the_losses_are_those_of_the_cpu(build, model):
    """Up to rounding. Adam divides by the size of a gradient, so an update multiplies rounding."""
    runs = [build(model, "--no_dropout", device) for device in ("cpu", "cuda")]
    on_cpu, on_gpu = (take_steps(run, 2) for run in runs)
    for expected, got, tolerance in zip(on_cpu, on_gpu, (1e-4, 5e-3), strict=True):
        assert {loss.device.type for loss in got.values()} == {"cuda"}
        for name, loss in expected.items():
            assert float(got[name]) == pytest.approx(float(loss), rel=tolerance, abs=1e-5), name


@pytest.mark.parametrize("model", ["pix2pix", "cycle_gan"])
@pytest.mark.parametrize(
    "flags",
    [
        "--precision bf16",
        "--precision fp16",
        "--precision bf16 --channels_last on",
        "--channels_last on",
        "--compile",
        "--precision bf16 --compile",
        "--grad_checkpoint",
        "--gan_mode wgangp --norm instance",
    ],
)
def test_faster_ways_give_the_first_losses_of_the_plain_one(build, model, flags):
    """The first step only: later ones drift apart, as adversarial training does."""
    common = "--no_dropout " + ("--gan_mode wgangp --norm instance" if "wgangp" in flags else "")
    (plain,), (fast,) = (take_steps(build(model, f"{common} {f}"), 1) for f in ("", flags))
    tolerance = 0.05 if "16" in flags else 2e-3
    for name, loss in plain.items():
        assert float(fast[name]) == pytest.approx(float(loss), rel=tolerance, abs=0.02), name


def weights(folder: Path, label: str = "latest") -> dict[str, bytes]:
    files = (folder / "checkpoints" / "run").glob(f"{label}_net_*.pth")
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize(
    "flags",
    [
        "--model pix2pix",
        "--model pix2pix --ema 0.9 --grad_accum 3 --precision bf16 --channels_last on",
        "--model pix2pix --precision fp16 --batch_size 2",
        "--model cycle_gan --pool_size 2 --d_augment translation,cutout,color",
        "--model cycle_gan --pool_size 2 --gan_mode wgangp",
        "--model cycle_gan --pool_size 2 --num_D 2 --r1 10 --precision bf16",
        "--model cycle_gan --pool_size 2 --lr_policy plateau --grad_checkpoint",
    ],
)
def test_a_run_cut_and_resumed_on_the_gpu_is_the_same_run(tmp_path, flags_of, run_in, flags):
    common = flags_of(re.search(r"--model (\w+)", flags)[1])
    common = f"{common} {flags} --device cuda --deterministic --n_epochs_decay 0"
    folders = tmp_path / "straight", tmp_path / "cut"
    for folder in folders:
        folder.mkdir()
    straight = run_in(folders[0], "train.py", *f"{common} --n_epochs 2".split())
    assert straight.status == 0, straight
    for more in ("--n_epochs 1", "--n_epochs 2 --continue_train"):
        done = run_in(folders[1], "train.py", *f"{common} {more}".split())
        assert done.status == 0, done
    assert weights(folders[0]) and weights(folders[1]) == weights(folders[0])


@pytest.mark.parametrize("model", ["pix2pix --ema 0.9", "cycle_gan --precision bf16"])
def test_validation_leaves_every_bit_as_it_was(model, flags_of, run_in, tmp_path):
    """With dropout, so that the card's random source is put back too."""
    name, more = model.split(" ", 1)
    flags = f"{flags_of(name)} {more} --deterministic --no_dropout off --val_split 0.25 --seed 3"
    flags += " --n_epochs 2 --n_epochs_decay 0 --device cuda"
    folders = tmp_path / "with", tmp_path / "without"
    looks = "--val_freq 1 --update_html_freq 1", "--val_freq 0 --val_pictures 0 --no_html"
    for folder, look in zip(folders, looks, strict=True):
        folder.mkdir()
        done = run_in(folder, "train.py", *f"{flags} {look}".split())
        assert done.status == 0, done
    assert weights(folders[0]) and weights(folders[1]) == weights(folders[0])


def test_a_run_goes_on_on_another_device_precision_and_layout(flags_of, run_cli, tmp_path):
    turns = [
        "--device cuda --precision bf16 --channels_last on",
        "--device cpu --precision fp32 --channels_last auto --continue_train",
        "--device cuda --precision fp16 --continue_train",
        "--device cuda --precision fp32 --channels_last off --continue_train",
    ]
    for epochs, more in enumerate(turns, 1):
        flags = f"{flags_of('cycle_gan')} --pool_size 2 --ema 0.9 --n_epochs_decay 0"
        done = run_cli("train.py", *f"{flags} --n_epochs {epochs} {more}".split())
        assert done.status == 0 and f"finished after epoch {epochs}" in done.stdout, done


def test_pictures_are_those_of_the_cpu_within_a_level(flags_of, every_layout, run_cli, tmp_path):
    flags = f"{flags_of('pix2pix')} --n_epochs 1 --n_epochs_decay 0"
    assert run_cli("train.py", *flags.split(), "--device", "cuda").status == 0
    results = {}
    for device in ("cpu", "cuda"):
        done = run_cli(
            "test.py",
            *"--name run --model pix2pix --eval --num_test 4 --precision fp32".split(),
            *("--device", device, "--results_dir", device, "--dataroot", every_layout),
        )
        assert done.status == 0, done
        files = sorted((tmp_path / device).rglob("*fake_B.png"))
        results[device] = [np.asarray(Image.open(file), dtype=int) for file in files]
    assert len(results["cpu"]) == 4
    for expected, got in zip(results["cpu"], results["cuda"], strict=True):
        assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize(
    "dtype, least_db", [(torch.float32, 60), (torch.bfloat16, 40), (torch.float16, 40)]
)
@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("netG, side", [("resnet_9blocks", 516), ("unet_256", 512)])
def test_strips_give_the_whole_pictures_result(netG, side, drops, dtype, least_db):
    """With the maps parked in pinned host memory."""
    torch.manual_seed(0)
    net = define_G(3, 3, 16, netG, "batch", drops).cuda()
    picture = torch.rand(1, 3, side, side) * 2 - 1
    mixed = dtype is not torch.float32
    torch.manual_seed(5)
    with torch.no_grad(), torch.autocast("cuda", dtype, enabled=mixed):
        whole = net(picture.cuda()).float().cpu()
    torch.manual_seed(5)
    got = in_strips(net, picture, rows=64, dtype=dtype)
    mse = float(((got - whole) ** 2).mean())
    assert 10 * math.log10(4 / max(mse, 1e-20)) >= least_db


def test_several_processes_begin_with_nccl(flags_of, run_cli, tmp_path):
    """One process under torchrun gives the bits of a run without it."""
    flags = f"{flags_of('pix2pix')} --device cuda --deterministic --n_epochs 1 --n_epochs_decay 0"
    folders = tmp_path / "alone", tmp_path / "launched"
    checkpoints = [f"--checkpoints_dir {folder}/checkpoints" for folder in folders]
    assert run_cli("train.py", *f"{flags} {checkpoints[0]}".split()).status == 0
    program = Path(__file__).resolve().parents[2] / "train.py"
    launcher = f"torch.distributed.run --nproc_per_node=1 {program} {flags} {checkpoints[1]}"
    done = subprocess.run(
        [sys.executable, "-m", *launcher.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done
    assert weights(folders[0]) and weights(folders[1]) == weights(folders[0])
