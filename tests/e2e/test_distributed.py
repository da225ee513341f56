"""Training in several processes: the same as one process with the whole batch, and a clear end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from trainer import Trainer, child, told

from models.base_model import BaseModel

ROOT = Path(__file__).resolve().parents[2]
TINY = "--name run --device cpu --seed 3 --ngf 4 --ndf 4 --load_size 36 --crop_size 32 "
TINY += "--num_threads 0 --no_html --print_freq 1 --netG resnet_6blocks "
PIX2PIX = TINY + "--model pix2pix --norm instance --no_dropout "


def pretend_gpu() -> None:
    """Let torch.distributed see an NVIDIA card, with gloo instead of nccl."""
    torch._C._get_accelerator = lambda *_: torch.device("cuda")
    torch.cuda.is_available = torch.distributed.is_nccl_available = lambda: True
    torch.cuda.device_count, torch.cuda.set_device = lambda: 2, lambda device: None
    torch.distributed.Backend.NCCL = "gloo"


def member(
    folder: Path, flags: str, at: str, number: int, gpu: bool, rank: int, size: int, port: int
):
    """What each of the processes does; it leaves its networks in rankR.pth."""
    if gpu:
        pretend_gpu()
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test")
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    os.environ.update(WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size))
    import models

    made, create_model = [], models.create_model

    def create_other(opt: Namespace) -> BaseModel:
        """As one that draws its weights from a source of its own: the main process's count."""
        made.append(create_model(opt))
        for net in made[-1].networks().values():
            for value in net.state_dict().values():
                value.add_(rank)
        return made[-1]

    models.create_model = create_other
    try:
        child(folder, flags.split(), at, number)
    finally:
        if made:
            networks = made[-1].networks().items()
            states = {name: net.state_dict() for name, net in networks}
            torch.save(states, folder / f"rank{rank}.pth")


def start(
    trainer: Trainer,
    folder: Path,
    flags: str,
    size: int,
    at: str = "",
    number: int = 0,
    gpu: bool = False,
) -> list[BaseProcess]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = folder, flags, at, number, gpu
    processes = [
        trainer.context.Process(target=member, args=(*given, rank, size, port))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    return processes


def run(trainer: Trainer, folder: Path, flags: str, size: int, ends: int = 0, **cut) -> str:
    """Run train.py in `size` processes; returns what the main one has printed."""
    processes = start(trainer, folder, flags, size, **cut)
    for process in processes:
        process.join(90)
        process.kill()
        process.join()
    assert {process.exitcode for process in processes} == {ends}, told(folder)[-3000:]
    return told(folder)


def weights(folder: Path, label: str = "latest") -> dict[str, torch.Tensor]:
    files = sorted((folder / "checkpoints" / "run").glob(f"{label}_net_*.pth"))
    assert files
    states = {file.stem: torch.load(file, weights_only=True) for file in files}
    return {f"{name}.{key}": v for name, state in states.items() for key, v in state.items()}


def state(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "run" / "latest_state.pth", weights_only=True)


def moments(folder: Path, name: str) -> list[torch.Tensor]:
    """Adam's running means of gradients (exp_avg) or of their squares, by optimizer and weight."""
    optimizers = state(folder)["model"]["optimizers"]
    return [moment[name] for optimizer in optimizers for moment in optimizer["state"].values()]


def watched(folder: Path) -> list[float]:
    """The lowest mean loss of an epoch that plateau has seen, by schedule."""
    return [schedule["best"] for schedule in state(folder)["model"]["schedulers"]]


def moves(folder: Path) -> list[torch.Tensor]:
    """By how much each weight has changed since the end of epoch 1.

    Without biases: those before a norm have no gradient, and Adam makes steps of its rounding.
    """
    then, now = weights(folder, "1"), weights(folder)
    return [
        now[key] - value
        for key, value in zip(now, then.values(), strict=True)
        if key.endswith("weight")
    ]


def distance(these: list[torch.Tensor], those: list[torch.Tensor]) -> float:
    """The distance of two lists of tensors, relative to the norm of the second."""
    this, that = (torch.cat([x.flatten() for x in tensors]) for tensors in (these, those))
    return float((this - that).norm() / that.norm())


def losses(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "checkpoints" / "run" / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("time_s", "data_s")}
        for line in lines
    ]


def assert_equal_on_all_ranks(folder: Path, size: int) -> None:
    first, *others = (torch.load(folder / f"rank{rank}.pth") for rank in range(size))
    for other in others:
        for net, state in first.items():
            for key, value in state.items():
                assert torch.equal(value, other[net][key]), (net, key)


def folder_of(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


@pytest.mark.parametrize(
    "flags, size, batch_size, num_pictures",
    [
        (PIX2PIX + "--gan_mode lsgan --lr_policy plateau --grad_accum 2 --augment auto", 2, 2, 7),
        (TINY + "--model pix2pix --norm syncbatch --no_dropout --init_gain 0.1", 2, 1, 4),
        (TINY + "--model cycle_gan --pool_size 0 --no_dropout --ema 0.5", 3, 1, 5),
        (PIX2PIX + "--num_D 2 --netD n_layers --n_layers_D 2 --r1 10 --lr_D 2e-8", 2, 1, 3),
    ],
    ids=["pix2pix", "syncbatch", "cycle_gan", "discriminators"],
)
def test_the_same_as_one_process_with_the_whole_batch(
    flags, size, batch_size, num_pictures, trainer, pictures, tmp_path
):
    """Also the last batch of an epoch, of which processes have different shares, one of them none.

    With syncbatch, see below, they have equal ones.
    """
    many_pictures = pictures.unaligned if "cycle" in flags else pictures.two_folders
    pictures.save(pictures.draw(9).convert("L"), "pairs/trainW/p1.png")
    flags += f" --dataroot {many_pictures(num_pictures)} --n_epochs 1 --n_epochs_decay 1 --lr 1e-8"
    flags += " --save_epoch_freq 1"
    one, many = folder_of(tmp_path, "one"), folder_of(tmp_path, "many")
    in_all = size * batch_size
    trainer.run(one, f"{flags} --batch_size {in_all}")
    printed = run(trainer, many, f"{flags} --batch_size {batch_size}", size)
    assert f"{size} processes: --batch_size {batch_size} each, {in_all} in total" in printed
    assert_equal_on_all_ranks(many, size)
    for alone, together in zip(losses(one), losses(many), strict=True):
        assert together.pop("losses") == pytest.approx(alone.pop("losses"), rel=2e-3)
        assert together == alone
    assert moments(one, "step") == moments(many, "step") != []
    for name in ("exp_avg", "exp_avg_sq"):
        assert distance(moments(many, name), moments(one, name)) < 0.005
    assert distance(moves(many), moves(one)) < 0.05  # a move is about ten rounding errors long
    if "plateau" in flags:
        assert watched(many) == pytest.approx(watched(one), rel=1e-5)


@pytest.mark.parametrize("model", ["pix2pix --norm syncbatch", "cycle_gan --pool_size 2", "cut"])
def test_processes_share_the_validation(model, trainer, pictures, tmp_path):
    """Three pictures for two processes: one process has none of the last batch."""
    for phase, number in (("train", 4), ("val", 3)):
        paired = pictures.two_folders(number, phase=phase)
        unpaired = pictures.unaligned(number, number - 1, phase)
    is_paired = "pix2pix" in model
    flags = f"{TINY} --dataroot {paired if is_paired else unpaired} --model {model} --lr 1e-7"
    flags += " --n_epochs 2 --n_epochs_decay 0 --init_gain 0.1 --no_dropout --best_metric "
    flags += "L1" if is_paired else "SWD"
    one, many, without = (folder_of(tmp_path, name) for name in ("one", "many", "without"))
    trainer.run(one, f"{flags} --val_freq 1 --batch_size 2")
    run(trainer, many, f"{flags} --val_freq 1", 2)
    run(trainer, without, f"{flags.split(' --best_metric')[0]} --val_freq 0", 2)
    found, expected = (
        [json.loads(line) for line in (folder / "checkpoints/run/validation.jsonl").open()]
        for folder in (many, one)
    )
    assert [r["epoch"] for r in found] == [r["epoch"] for r in expected] == [1, 2]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["nothing"] == pytest.approx(theirs["nothing"], rel=1e-6)
        assert ours["last"] == pytest.approx(theirs["last"], rel=0.02)
    judged, unjudged = weights(many), weights(without)
    assert all(torch.equal(judged[key], unjudged[key]) for key in unjudged)
    assert state(many)["best"]["history"] == [[r["epoch"], pytest.approx(mean(r))] for r in found]


def mean(record: dict) -> float:
    """The value by which a validation is judged: the mean over the generators."""
    name = record["judged_by"]
    values = [
        v for key, v in record["last"].items() if key.removesuffix("_A").removesuffix("_B") == name
    ]
    return sum(values) / len(values)


def test_syncbatch_leaves_out_pictures_that_do_not_go_round(trainer, pictures, tmp_path):
    """Each epoch of 5 has 4, in 2 steps; its batches are those of one process, up to there."""
    flags = TINY + "--model pix2pix --norm syncbatch --no_dropout --init_gain 0.1 --lr 1e-5 "
    flags += f"--dataroot {pictures.two_folders(5)} --n_epochs 2 --n_epochs_decay 0"
    one, many = folder_of(tmp_path, "one"), folder_of(tmp_path, "many")
    trainer.run(one, f"{flags} --batch_size 2 --n_epochs 1")
    printed = run(trainer, many, flags, 2)
    assert "dataset [aligned]: 5 images, 4 of them in each epoch: --norm syncbatch" in printed
    for errors in tmp_path.glob("**/err.txt"):
        assert "deprecated" not in errors.read_text(encoding="utf-8")
    assert_equal_on_all_ranks(many, 2)
    steps = losses(many)
    counts = [(line["epoch"], line["epoch_images"], line["total_images"]) for line in steps]
    assert counts == [(1, 2, 2), (1, 4, 4), (2, 2, 6), (2, 4, 8)]
    for alone, together in zip(losses(one)[:2], steps, strict=False):
        assert together["losses"] == pytest.approx(alone["losses"], rel=2e-3)


def test_syncbatch_with_fewer_pictures_than_processes(trainer, pictures, tmp_path):
    flags = f"{TINY} --model pix2pix --norm syncbatch --dataroot {pictures.two_folders(1)}"
    flags += " --n_epochs 1 --n_epochs_decay 0"
    run(trainer, tmp_path, flags, 2, ends=2)
    errors = told(tmp_path)
    assert errors.count("error:") == 1 and "1 image, but --norm syncbatch needs" in errors


@pytest.mark.parametrize(
    "on, off, loss",
    [
        ("--no_dropout off", "--no_dropout on", "G_L1"),
        ("--no_dropout on --d_augment cutout", "--no_dropout on", "D_real"),
    ],
    ids=["dropout", "d_augment"],
)
def test_what_is_random_differs_by_process(on, off, loss, trainer, pictures, tmp_path):
    """Both processes get the same picture, so that all else is as in one process."""
    root = Path(pictures.two_folders(1))
    for side in "AB":
        shutil.copy(root / f"train{side}" / "p0.png", root / f"train{side}" / "p1.png")
    flags = f"{TINY} --model pix2pix --norm instance --dataroot {root} --load_size 32 --no_flip"
    flags += " --n_epochs 1 --n_epochs_decay 0"

    def first_loss(size: int, more: str) -> float:
        folder = folder_of(tmp_path, f"{size} {more}")
        run(trainer, folder, f"{flags} {more} --max_dataset_size {size}", size)
        return losses(folder)[0]["losses"][loss]

    assert first_loss(2, off) == pytest.approx(first_loss(1, off), rel=1e-5)
    assert first_loss(2, on) != pytest.approx(first_loss(1, on), rel=1e-5)


def test_every_feature_at_once_leaves_all_processes_equal(trainer, pictures, tmp_path):
    root = pictures.unaligned(7, 5)
    flags = TINY + f"--model cycle_gan --dataroot {root} --norm batch --gan_mode wgangp "
    flags += "--no_dropout off --pool_size 2 --grad_accum 2 --ema 0.9 --grad_checkpoint "
    flags += "--lr_policy plateau --n_epochs 2 --n_epochs_decay 0 --spectral_norm "
    flags += "--d_augment translation,cutout,color --num_D 2 --netD n_layers --n_layers_D 2"
    run(trainer, tmp_path, flags, 2)
    assert_equal_on_all_ranks(tmp_path, 2)
    saved = weights(tmp_path)
    assert all(value.isfinite().all() for value in saved.values())
    for key, value in saved.items():
        if key.endswith("running_var"):
            assert torch.equal(saved[key.replace("latest_net_G_A.", "latest_net_G_A_ema.")], value)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this signal")
@pytest.mark.parametrize(
    "model", ["pix2pix --no_dropout off --pool_size 2 --lambda_feat 10", "cut"]
)
def test_cut_and_resumed_with_as_many_processes(model, trainer, pictures, tmp_path):
    """2 -> 2 is the same run to the bit."""
    root = pictures.unaligned(6, 4) if model == "cut" else pictures.two_folders(6)
    flags = TINY + f"--dataroot {root} --model {model} --n_epochs 2 --n_epochs_decay 1 "
    flags += "--grad_accum 2 --d_augment translation,cutout,color"
    whole, pieces = folder_of(tmp_path, "whole"), folder_of(tmp_path, "pieces")
    run(trainer, whole, flags, 2)
    again = "--name run --continue_train --device cpu"
    cut = {"number": signal.SIGTERM, "ends": 143}
    run(trainer, pieces, flags, 2, at=r"epoch: 1, iters: 4", **cut)
    run(trainer, pieces, again, 2)
    assert all(torch.equal(v, weights(whole)[k]) for k, v in weights(pieces).items())
    assert losses(pieces) == losses(whole)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this signal")
def test_other_numbers_of_processes_leave_out_half_an_accumulation(trainer, pictures, tmp_path):
    """2 -> 1 -> 2 keeps clock, weights and optimizers."""
    flags = TINY + f"--dataroot {pictures.two_folders(6)} --model pix2pix --no_dropout off "
    flags += "--n_epochs 2 --n_epochs_decay 1 --grad_accum 2"
    again, cut = "--name run --continue_train --device cpu", {"number": signal.SIGTERM, "ends": 143}
    run(trainer, tmp_path, flags, 2, at=r"epoch: 1, iters: 2", **cut)
    run(trainer, tmp_path, again, 1, at=r"epoch: 1, iters: 3", **cut)
    assert moments(tmp_path, "step") == []  # of two steps, each is half of an update
    printed = run(trainer, tmp_path, again, 2)
    assert "processes: 2 -> 1" in printed and "processes: 1 -> 2" in printed
    steps = [line["total_images"] for line in losses(tmp_path)]
    assert steps == [2, 3, 5, 6, 8, 10, 12, 14, 16, 18]
    assert {int(count) for count in moments(tmp_path, "step")} == {4}  # by the eight steps since
    assert_equal_on_all_ranks(tmp_path, 2)
    of_dropout = [process["random"]["torch"] for process in state(tmp_path)["processes"]]
    assert not torch.equal(*of_dropout)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this signal")
def test_plateau_watches_the_mean_of_all_images_whatever_computed_them(trainer, pictures, tmp_path):
    """An epoch of 6, of which two processes did 4; the steps are too small to change the losses."""
    flags = f"{PIX2PIX} --dataroot {pictures.two_folders(6)} --lr_policy plateau --lr 1e-8 "
    flags += "--n_epochs 1 --n_epochs_decay 0"
    whole, pieces = folder_of(tmp_path, "whole"), folder_of(tmp_path, "pieces")
    trainer.run(whole, flags)
    cut = {"number": signal.SIGTERM, "ends": 143}
    run(trainer, pieces, flags, 2, at=r"epoch: 1, iters: 4", **cut)
    run(trainer, pieces, "--name run --continue_train --device cpu", 1)
    assert watched(pieces) == pytest.approx(watched(whole), rel=1e-5)


def test_a_machine_with_a_gpu_has_an_engine_for_numbers_of_the_cpu(trainer, pictures, tmp_path):
    """Processes exchange such numbers whatever device they compute on."""
    flags = f"{PIX2PIX} --dataroot {pictures.two_folders(2)} --n_epochs 1 --n_epochs_decay 0"
    run(trainer, tmp_path, flags, 2, gpu=True)
    assert_equal_on_all_ranks(tmp_path, 2)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_warning_to_one_process_stops_all(trainer, pictures, tmp_path):
    """As Slurm sends it; not the main process has it."""
    flags = f"{PIX2PIX} --dataroot {pictures.two_folders(4)} --n_epochs 999"
    processes = start(trainer, tmp_path, flags, 2)
    while "iters: 2" not in told(tmp_path) and processes[1].is_alive():
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGUSR1)
    for process in processes:
        process.join(60)
        process.kill()
        process.join()
    assert {process.exitcode for process in processes} == {128 + signal.SIGUSR1}, told(tmp_path)
    assert told(tmp_path).count("to resume: ") == 1
    assert weights(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_signal_while_validating_stops_all(trainer, pictures, tmp_path):
    """The main process looks at two of three pictures each time, so it alone gets it."""
    pictures.two_folders(3, phase="val")
    flags = f"{PIX2PIX} --dataroot {pictures.two_folders(2)} --n_epochs 9 --val_freq 1"
    at = "call models.validation.judge:PairedJudge.look 5"
    run(trainer, tmp_path, flags, 2, at=at, number=signal.SIGTERM, ends=128 + signal.SIGTERM)
    assert told(tmp_path).count("to resume: ") == 1
    judged = (tmp_path / "checkpoints/run/validation.jsonl").read_text().splitlines()
    assert len(judged) == 1
    run(trainer, tmp_path, "--name run --continue_train --n_epochs 2 --n_epochs_decay 0", 2)
    judged = (tmp_path / "checkpoints/run/validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in judged] == [1, 2]


@pytest.mark.parametrize("phase", ["train", "val"])
def test_all_pictures_of_one_process_are_bad(phase, trainer, pictures, tmp_path):
    pictures.two_folders(4, phase="val")
    flags = f"{PIX2PIX} --dataroot {pictures.two_folders(4)} --n_epochs 1 --n_epochs_decay 0"
    for place in (1, 3):
        (tmp_path / "pairs" / f"{phase}A" / f"p{place}.png").write_bytes(b"no picture")
    run(trainer, tmp_path, f"{flags} --serial_batches --skip_bad_images --val_freq 1", 2)
    assert "finished after epoch 1" in told(tmp_path)
    for place in (1, 3):
        assert f"{phase}A/p{place}.png" in told(tmp_path)
    assert (tmp_path / "checkpoints/run/validation.jsonl").is_file()


def test_mistakes_are_told_once(trainer, pictures, tmp_path):
    run(trainer, tmp_path, f"{PIX2PIX} --dataroot {tmp_path / 'nowhere'}", 2, ends=2)
    assert told(tmp_path).count("error:") == 1


def test_a_bad_picture_stops_all_and_loses_nothing(trainer, pictures, tmp_path):
    root = pictures.two_folders(4)
    (tmp_path / "pairs" / "trainA" / "p3.png").write_bytes(b"no picture")
    flags = f"{PIX2PIX} --dataroot {root} --serial_batches --n_epochs 1 --n_epochs_decay 0"
    run(trainer, tmp_path, flags, 2, ends=2)
    errors = told(tmp_path)
    assert errors.count("error:") == 1 and "p3.png" in errors
    assert weights(tmp_path)


def test_each_process_tells_of_pictures_that_it_skips(trainer, pictures, tmp_path):
    """The fourth of four is the second process's, of which nothing else is printed."""
    root = pictures.two_folders(4)
    (tmp_path / "pairs" / "trainA" / "p3.png").write_bytes(b"no picture")
    flags = f"{PIX2PIX} --dataroot {root} --serial_batches --n_epochs 2 --n_epochs_decay 0"
    run(trainer, tmp_path, f"{flags} --skip_bad_images", 2)
    (line,) = (line for line in told(tmp_path).splitlines() if line.startswith("skipped"))
    assert "p3.png" in line


def torchrun(folder: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_torchrun_with_one_process(pictures, tmp_path):
    flags = f"{TINY} --model pix2pix --norm syncbatch --dataroot {pictures.two_folders(2)}"
    flags += " --n_epochs 1 --n_epochs_decay 0"
    process = torchrun(tmp_path, "--nproc_per_node=1", str(ROOT / "train.py"), *flags.split())
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "finished after epoch 1" in printed, printed


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_torchrun_ends_all_when_one_dies_or_starts_them_again(pictures, tmp_path):
    """The second process kills itself once; then both go on from the last checkpoint."""
    flags = f"{PIX2PIX} --dataroot {pictures.two_folders(4)} --n_epochs 3 --n_epochs_decay 0"
    flags += " --save_latest_freq 2"
    dies = tmp_path / "dies.py"
    dies.write_text(
        "import os, runpy, signal, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from util.run import clock\n"
        "last = os.environ['TORCHELASTIC_RESTART_COUNT'] == sys.argv[1]\n"
        "class Deadly(clock.Clock):\n"
        "    def due(self, frequency):\n"
        "        if self.total_images == 6 and os.environ['RANK'] == '1' and not last:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().due(frequency)\n"
        "clock.Clock = Deadly\n"
        f"sys.argv = [{str(ROOT / 'train.py')!r}, *sys.argv[2:]]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    common = ["--nproc_per_node=2", "--monitor_interval=0.2"]
    process = torchrun(tmp_path, *common, str(dies), "never", *flags.split())
    printed, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert re.search(r"another process of this run has ended|Signal 9", printed), printed

    again = ["--overwrite", "--max-restarts=1"]
    words = [*common, again[1], str(dies), "1", *flags.split(), again[0]]
    process = torchrun(tmp_path, *words)
    printed, _ = process.communicate(timeout=180)
    assert process.returncode == 0, printed
    assert "resumed from checkpoint latest" in printed, printed
    assert "finished after epoch 3" in printed, printed
    steps = [line["total_images"] for line in losses(tmp_path)]
    assert steps == [2, 4, 6, 8, 10, 12]
