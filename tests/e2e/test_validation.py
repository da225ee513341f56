"""Validation, the best checkpoint and fixed pictures, in real runs that do not notice them."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from trainer import leaves, told

from util.torchvision_compat import import_torchvision

TINY = "--name run --device cpu --seed 3 --ngf 4 --ndf 4 --load_size 40 --crop_size 32"
TINY += " --num_threads 0 --n_epochs 1 --n_epochs_decay 1 --print_freq 2 --netG resnet_6blocks"
JUDGED = "--val_freq 1 --val_pictures 2 --update_html_freq 1"
UNJUDGED = "--val_freq 0 --val_pictures 0 --no_html"


@pytest.fixture(scope="module")
def dataroots(tmp_path_factory, pictures_in) -> dict[str, str]:
    """Pictures to train and to validate on, in both layouts."""
    pictures = pictures_in(tmp_path_factory.mktemp("photos"))
    for phase, number in (("train", 4), ("val", 3)):
        paired = pictures.side_by_side(number, (40, 36), phase)
        unpaired = pictures.unaligned(number, number - 1, phase, (40, 36))
    return {"paired": paired, "unpaired": unpaired}


@pytest.fixture(scope="module")
def vgg_of_noise(tmp_path_factory) -> Path:
    vgg = import_torchvision("torchvision.models.vgg")
    state = vgg.make_layers(vgg.cfgs["D"]).state_dict()
    file = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({f"features.{key}": value for key, value in state.items()}, file)
    return file


def run_folder(folder: Path) -> Path:
    return folder / "checkpoints" / "run"


def records(folder: Path, name: str = "validation.jsonl") -> list[dict[str, Any]]:
    lines = (run_folder(folder) / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def page_calls(folder: Path, function: str) -> list[list[Any]]:
    """The arguments of each call of this function in the data of a page."""
    calls = (folder / "data" / "0001.js").read_text()
    return [json.loads(f"[{a}]") for a in re.findall(rf"page\.{function}\((.*)\);", calls)]


def training(folder: Path) -> dict[str, Any]:
    """All that a run has learnt and would go on with: weights, moments, pools, random states."""
    run = run_folder(folder)
    found: dict[str, Any] = {f.name: f.read_bytes() for f in run.glob("latest_net_*.pth")}
    state = torch.load(run / "latest_state.pth", weights_only=True)
    del state["options"], state["best"]
    found |= dict(leaves(state))
    times = {"time_s", "data_s"}
    found["losses"] = [
        {k: v for k, v in record.items() if k not in times}
        for record in records(folder, "metrics.jsonl")
    ]
    return found


PAIRED = [
    "--model pix2pix --norm batch --batch_size 2 --grad_accum 2 --ema 0.5",
    "--model pix2pix --gan_mode wgangp --pool_size 2 --lr_policy plateau",
    "--model pix2pix --grad_checkpoint --spectral_norm --channels_last on --skip_nonfinite 2",
    "--model pix2pix --netG unet_128 --load_size 128 --crop_size 128 --ngf 2 --norm syncbatch",
    "--model pix2pix --precision bf16 --cache disk --direction BtoA",
    "--model pix2pix --preprocess scale_width --input_nc 1 --output_nc 1",
    "--model pix2pix_with_perceptual --vgg_weights VGG",
    "--model colorization",
    "--model template",
]
UNPAIRED = [
    "--model cycle_gan --pool_size 2 --ema 0.5",
    "--model cycle_gan --batch_size 2 --norm batch --no_dropout off --lambda_identity 0",
]


COMPILED = pytest.param("--model pix2pix --compile", marks=pytest.mark.slow)


@pytest.mark.parametrize("flags", [*PAIRED, *UNPAIRED, COMPILED])
def test_training_is_the_same_with_and_without_validation(
    flags, tmp_path, dataroots, trainer, vgg_of_noise
):
    kind = "unpaired" if flags in UNPAIRED else "paired"
    line = f"{TINY} --dataroot {dataroots[kind]} {flags}".replace("VGG", str(vgg_of_noise))
    found = []
    for name, more in (("with", JUDGED), ("without", UNJUDGED)):
        (tmp_path / name).mkdir()
        trainer.run(tmp_path / name, f"{line} {more}")
        found.append(training(tmp_path / name))
    judged, unjudged = found
    assert [key for key in unjudged if judged.get(key) != unjudged[key]] == []
    assert judged.keys() == unjudged.keys()
    assert [record["epoch"] for record in records(tmp_path / "with")] == [1, 2]
    assert not (run_folder(tmp_path / "without") / "validation.jsonl").exists()


def test_both_sets_of_weights_are_judged_beside_doing_nothing(tmp_path, dataroots, trainer):
    trainer.run(
        tmp_path, f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --ema 0.5 {JUDGED}"
    )
    for record in records(tmp_path):
        assert {"L1", "PSNR", "SSIM"} <= record["nothing"].keys() & record["last"].keys()
        assert record["EMA"].keys() == record["last"].keys()
        assert record["EMA"] != record["last"]
    assert records(tmp_path)[0]["nothing"] == records(tmp_path)[1]["nothing"]
    printed = told(tmp_path)
    assert re.search(
        r"nothing scores L1 [\d.]+ \(lower is better\), PSNR [\d.]+ \(higher\)", printed
    )
    assert re.search(r"End of epoch 1 / 2: SSIM [\d.]+ \([+-][\d.]+\), the best; ", printed)
    log = (run_folder(tmp_path) / "loss_log.txt").read_text(encoding="utf-8")
    assert re.search(r"validation, epoch 1: L1 [\d.]+ \([+-][\d.]+\)", log)


def test_the_figures_are_those_of_test_py(tmp_path, dataroots, trainer, run_in):
    """Without dropout, since its noise differs; the two round norms differently."""
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --no_dropout {JUDGED}"
    trainer.run(tmp_path, line)
    last = records(tmp_path)[-1]["last"]
    words = f"--dataroot {dataroots['paired']} --name run --model pix2pix --phase val"
    done = run_in(tmp_path, "test.py", *words.split(), "--device", "cpu")
    assert done.status == 0, done.stderr
    for name in ("L1", "PSNR", "SSIM"):
        found = re.search(rf"mean {name}: ([\d.]+)", done.stdout)
        assert found is not None and float(found[1]) == pytest.approx(last[name], rel=2e-3)

    trained, (tested,) = run_folder(tmp_path) / "web", tmp_path.glob("results/run/val_*")
    names = {str(number): Path(name).stem for *_, number, name in page_calls(trained, "pictures")}
    results = {name: metrics for _, name, _, _, metrics, *_ in page_calls(tested, "result")}
    inputs = dict(page_calls(tested, "nothing"))
    _, pictures = page_calls(trained, "judged")[-1]
    assert len(pictures) == 2
    for number, (figures, nothing) in pictures.items():
        assert figures == pytest.approx(results[names[number]], rel=2e-3)
        assert nothing == pytest.approx(inputs[names[number]], rel=2e-3)


CUTS = [
    ("call models.validation.validation:Validation.run 1", signal.SIGKILL, -9),
    ("call models.validation.judge:PairedJudge.look 8", signal.SIGKILL, -9),
    ("call util.show.loggers:Loggers.validation 2", signal.SIGTERM, 143),
    ("call util.run.checkpoint:Checkpoints.save 2", signal.SIGKILL, -9),
    ("call util.run.checkpoint:rename_all 2", signal.SIGKILL, -9),
    ("call util.show.html.pages:TrainingPage.shrink 1", signal.SIGKILL, -9),
    ("End of epoch 1", signal.SIGINT, 130),
    ("epoch: 2, iters: 2", signal.SIGKILL, -9),
]


@pytest.mark.parametrize("at, number, ends", CUTS, ids=[cut[0] for cut in CUTS])
def test_cut_before_in_and_after_a_validation(at, number, ends, tmp_path, dataroots, trainer):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix {JUDGED} --n_epochs 3"
    line += " --save_latest_freq 3 --save_epoch_freq 2 --ema 0.5 --patience 2"
    for name in ("straight", "cut"):
        (tmp_path / name).mkdir()
    trainer.run(tmp_path / "straight", line)
    trainer.run(tmp_path / "cut", line, at, number, ends)
    trainer.run(tmp_path / "cut", "--name run --continue_train auto " + line.split("--n_epochs")[0])
    both = []
    for name in ("straight", "cut"):
        run = run_folder(tmp_path / name)
        found = training(tmp_path / name)
        found["validations"] = records(tmp_path / name)
        found |= {f.name: f.read_bytes() for f in run.glob("best_net_*.pth")}
        found |= {f.name: f.read_bytes() for f in (run / "web" / "images").iterdir()}
        found["best"] = torch.load(run / "latest_state.pth", weights_only=True)["best"]
        both.append(found)
    assert [key for key in both[0] if both[1].get(key) != both[0][key]] == []
    assert both[0].keys() == both[1].keys()


def test_held_out_pictures_are_listed_and_not_trained_on(tmp_path, pictures, trainer):
    root = pictures.two_folders(10)
    line = f"{TINY} --dataroot {root} --model pix2pix --val_split 0.25"
    trainer.run(tmp_path, line)
    listed = (run_folder(tmp_path) / "validation.txt").read_text(encoding="utf-8").splitlines()
    assert len(listed) == 4  # two pairs
    stems = {Path(file).stem for file in listed}
    assert len(stems) == 2
    assert "dataset [aligned]: 8 images" in told(tmp_path)
    assert {file.split("/")[0] for file in listed} == {"trainA", "trainB"}
    for file in listed:  # they could not even be opened in training
        (Path(root) / file).write_bytes(b"")
    trainer.run(tmp_path, f"{line} --overwrite --val_freq 0 --val_pictures 0 --no_html")
    for file in listed:
        (Path(root) / file).unlink()
    trainer.run(tmp_path, "--name run --continue_train --n_epochs 2 --val_split 0")
    assert not (run_folder(tmp_path) / "validation.txt").exists()


def test_val_size_takes_some_evenly(tmp_path, pictures, trainer):
    pictures.two_folders(2)
    root = pictures.two_folders(9, phase="val")
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix --val_size 3 --val_pictures 9")
    assert f"validation: 3 of 9 pictures in {root}/valA and {root}/valB" in told(tmp_path)
    images = run_folder(tmp_path) / "web" / "images"
    assert {f.name for f in images.glob("*real_A*") if "fixed" in f.name} == {
        f"fixed_p{i}_real_A.png" for i in (1, 4, 7)
    }


def test_names_on_both_sides_are_held_out_together(tmp_path, pictures, trainer):
    for index in range(8):
        for side in "AB":
            pictures.save(pictures.draw(index), f"same/train{side}/{index}.png")
    line = f"{TINY} --dataroot {tmp_path / 'same'} --model cycle_gan --val_split 0.3 --dry_run"
    trainer.run(tmp_path, line)
    trainer.run(tmp_path, line.replace(" --dry_run", " --n_epochs_decay 0"))
    listed = (run_folder(tmp_path) / "validation.txt").read_text(encoding="utf-8").splitlines()
    by_side = [{Path(f).name for f in listed if f"train{side}" in f} for side in "AB"]
    assert by_side[0] == by_side[1] and len(by_side[0]) == 2


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--val_split 0.9 --max_dataset_size 1", "leaves none to train on"),
        ("--val_split 1", "--val_split"),
        ("--patience 3", "--patience needs validation"),
        ("--lr_policy plateau --plateau_on validation", "--plateau_on validation needs validation"),
        ("--best_metric SSIM", "--best_metric SSIM needs validation"),
        ("--val_split 0.5 --best_metric KID", "--best_metric KID is not measured"),
        ("--val_split 0.5 --patience 1 --lr_policy plateau", "--when_stuck stop"),
    ],
)
def test_what_cannot_be_validated_is_told_at_the_start(flags, words, tmp_path, pictures, trainer):
    line = f"{TINY} --dataroot {pictures.side_by_side(4)} --model pix2pix"
    trainer.run(tmp_path, f"{line} {flags}", ends=2)
    assert words in told(tmp_path)
    assert "Traceback" not in told(tmp_path)
    assert not run_folder(tmp_path).exists()


def test_a_bad_validation_picture_is_told_before_the_first_step(tmp_path, pictures, trainer):
    root = Path(pictures.side_by_side(3))
    pictures.side_by_side(3, phase="val")
    (root / "val" / "p1.png").write_bytes(b"no picture")
    line = f"{TINY} --dataroot {root} --model pix2pix"
    trainer.run(tmp_path, line, ends=2)
    assert "p1.png" in told(tmp_path)
    assert "End of epoch" not in told(tmp_path)
    trainer.run(tmp_path, f"{line} --overwrite --skip_bad_images")
    assert records(tmp_path)


def test_a_bad_validation_picture_costs_no_old_run(tmp_path, pictures, trainer):
    root = Path(pictures.side_by_side(3))
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix")
    before = {f.name for f in run_folder(tmp_path).iterdir()}
    pictures.side_by_side(2, phase="val")
    (root / "val" / "p1.png").write_bytes(b"no picture")
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix --overwrite", ends=2)
    assert {f.name for f in run_folder(tmp_path).iterdir()} == before


def test_pictures_too_small_for_a_metric_leave_it_out_of_its_mean(tmp_path, pictures, trainer):
    pictures.two_folders(2, (48, 48))
    for index, side in enumerate((9, 48, 48)):
        for folder, picture in zip("AB", pictures.pair(index, side, side), strict=True):
            pictures.save(picture, f"pairs/val{folder}/{index}.png")
    line = f"{TINY} --dataroot {tmp_path / 'pairs'} --model pix2pix --preprocess none --val_freq 1"
    trainer.run(tmp_path, line)
    assert all(-1 < record["last"]["SSIM"] < 1 for record in records(tmp_path))
    assert (run_folder(tmp_path) / "best_net_G.pth").is_file()


def test_all_pictures_too_small_for_the_metric(tmp_path, pictures, trainer):
    pictures.two_folders(2, (48, 48))
    for folder, picture in zip("AB", pictures.pair(1, 9, 9), strict=True):
        pictures.save(picture, f"pairs/val{folder}/1.png")
    line = f"{TINY} --dataroot {tmp_path / 'pairs'} --model pix2pix --preprocess none --val_freq 1"
    trainer.run(tmp_path, f"{line} --patience 1 --n_epochs 3")
    assert "no validation picture is large enough for SSIM" in told(tmp_path)
    assert len(records(tmp_path)) == 4 and not any(r["best"] for r in records(tmp_path))


def test_two_folders_for_a_run_of_two_folders(tmp_path, pictures, trainer):
    """Whatever else is called val."""
    root = pictures.two_folders(2)
    pictures.two_folders(3, phase="val")
    pictures.save(pictures.draw(1), "pairs/val/contact sheet.png")
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix")
    assert f"validation: 3 of 3 pictures in {root}/valA and {root}/valB" in told(tmp_path)


def test_one_side_alone_is_not_validated_on(tmp_path, pictures, trainer):
    root = pictures.two_folders(3)
    pictures.save(pictures.draw(1), "pairs/valA/p0.png")
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix")
    assert f"no validation: {root}/valB has no pictures, but the other" in told(tmp_path)


def test_single_pictures_are_not_validated_as_pairs(tmp_path, pictures, trainer):
    root = pictures.side_by_side(3)
    pictures.save(pictures.draw(1), "joined/val/p0.png")
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix")
    assert f"no picture in {root}/val looks like two side by side" in told(tmp_path)
    assert not (run_folder(tmp_path) / "validation.jsonl").exists()


def test_pictures_held_out_later_were_learnt_and_the_best_is_sought_anew(
    tmp_path, pictures, trainer
):
    line = f"{TINY} --dataroot {pictures.two_folders(6)} --model pix2pix --val_freq 1"
    trainer.run(tmp_path, f"{line} --val_split 0.2")
    trainer.run(tmp_path, "--name run --continue_train --n_epochs 2 --val_split 0.5")
    assert "warning: 4 of the 6 files held out were trained on before" in told(tmp_path)
    assert "validates on other pictures, or in another way: the best" in told(tmp_path)
    assert records(tmp_path)[-1]["best"]


def test_other_pictures_of_the_same_name_are_others(tmp_path, pictures, trainer):
    pictures.two_folders(2)
    root = pictures.two_folders(2, phase="val")
    line = f"{TINY} --dataroot {root} --model pix2pix --val_freq 1"
    trainer.run(tmp_path, line)
    trainer.run(tmp_path, "--name run --continue_train --n_epochs 2")
    assert "sought anew" not in told(tmp_path)
    for side in "AB":
        pictures.save(pictures.draw(77), f"pairs/val{side}/p1.png")
    trainer.run(tmp_path, "--name run --continue_train --n_epochs 3")
    assert "the best is sought anew" in told(tmp_path)


def test_other_pictures_of_the_same_name_do_not_replace_what_was_shown(tmp_path, pictures, trainer):
    root = pictures.two_folders(2)
    line = f"{TINY} --dataroot {root} --model pix2pix --val_pictures 1"
    trainer.run(tmp_path, line)
    images = run_folder(tmp_path) / "web" / "images"
    before = (images / "fixed_p1_real_A.png").read_bytes()
    for side in "AB":
        pictures.save(pictures.draw(77), f"pairs/val{side}/p1.png")
    trainer.run(tmp_path, "--name run --continue_train --n_epochs 2 --val_pictures 1")
    assert (images / "fixed_p1_real_A.png").read_bytes() == before
    assert (images / "fixed_p1_2_real_A.png").is_file()


def test_one_bad_picture_does_not_hide_the_others(tmp_path, pictures, trainer):
    root = Path(pictures.two_folders(4))
    (root / "trainA" / "p1.png").write_bytes(b"no picture")
    line = f"{TINY} --dataroot {root} --model pix2pix --skip_bad_images"
    trainer.run(tmp_path, line)
    assert "shown while training: 3 of the training pictures" in told(tmp_path)
    assert re.search(r"not shown: .*p1\.png", told(tmp_path))


def test_a_signal_while_validating_stops_the_run_there(tmp_path, dataroots, trainer):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix {JUDGED}"
    at = "call models.validation.judge:PairedJudge.look 4"  # the first of epoch 1
    trainer.run(tmp_path, line, at, signal.SIGTERM, 143)
    assert not (run_folder(tmp_path) / "validation.jsonl").exists()
    trainer.run(tmp_path, "--name run --continue_train")
    assert [record["epoch"] for record in records(tmp_path)] == [1, 2]


def test_a_run_killed_within_its_first_save_goes_on(tmp_path, dataroots, trainer):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix {JUDGED}"
    trainer.run(tmp_path, line, "call util.run.checkpoint:rename_all 2", signal.SIGKILL, -9)
    for file in run_folder(tmp_path).glob("latest_*"):
        file.unlink()
    trainer.run(tmp_path, "--name run --continue_train auto")
    assert "there is no checkpoint latest; resumed from checkpoint best" in told(tmp_path)


def test_another_metric_or_none_keeps_what_was_measured(tmp_path, dataroots, trainer):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --val_freq 1"
    trainer.run(tmp_path, line)
    again = "--name run --continue_train --n_epochs_decay 1"
    trainer.run(tmp_path, f"{again} --n_epochs 2 --val_freq 0")
    assert [record["epoch"] for record in records(tmp_path)] == [1, 2]
    trainer.run(tmp_path, f"{again} --n_epochs 3 --val_freq 1 --best_metric L1")
    assert [record["epoch"] for record in records(tmp_path)] == [1, 2, 4]
    assert "in another way: the best is sought anew" in told(tmp_path)


def test_without_validation_a_line_says_how_to_get_it(tmp_path, pictures, trainer):
    root = pictures.two_folders(3)
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix")
    assert f"no validation: put pictures in {root}/valA and {root}/valB" in told(tmp_path)
    assert "--val_split 0.1" in told(tmp_path)
    assert "shown while training: 3 of the training pictures" in told(tmp_path)


def test_the_test_set_is_never_validated_on(tmp_path, pictures, trainer):
    pictures.side_by_side(3)
    root = pictures.side_by_side(3, phase="test")
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix")
    assert not (run_folder(tmp_path) / "validation.jsonl").exists()


def test_the_best_checkpoint_is_the_epoch_that_scored_best(tmp_path, dataroots, trainer, run_in):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --val_freq 1 --lr 0.01"
    trainer.run(tmp_path, f"{line} --n_epochs 6 --save_epoch_freq 1 --best_metric L1")
    values = [record["last"]["L1"] for record in records(tmp_path)]
    best = values.index(min(values)) + 1
    run = run_folder(tmp_path)
    assert (run / "best_net_G.pth").read_bytes() == (run / f"{best}_net_G.pth").read_bytes()
    assert [record["best"] for record in records(tmp_path)] == [
        value < min([*values[:i], float("inf")]) for i, value in enumerate(values)
    ]
    words = f"--dataroot {dataroots['paired']} --name run --model pix2pix --phase val --device cpu"
    latest = run_in(tmp_path, "test.py", *words.split())
    assert latest.status == 0, latest.stderr
    if best != len(values):
        assert f"checkpoint best is of epoch {best}" in latest.stdout
        assert "--epoch best" in latest.stdout
    of_best = run_in(tmp_path, "test.py", *words.split(), "--epoch", "best")
    assert of_best.status == 0, of_best.stderr
    assert (tmp_path / "results" / "run" / "val_best" / "index.html").is_file()


def test_without_a_best_checkpoint_the_labels_are_told(tmp_path, pictures, trainer, run_in):
    root = pictures.side_by_side(3)
    trainer.run(tmp_path, f"{TINY} --dataroot {root} --model pix2pix")
    words = f"--dataroot {root} --name run --model pix2pix --epoch best --phase train"
    done = run_in(tmp_path, "test.py", *words.split())
    assert done.status == 2
    assert "best_net_G.pth: there is no such checkpoint; --epoch can be" in done.stderr


@pytest.mark.parametrize("when_stuck, epochs", [("decay", 5), ("stop", 2)])
def test_a_run_that_is_stuck_ends_sooner(when_stuck, epochs, tmp_path, dataroots, trainer):
    """Nothing is ever better by 1000 grey levels."""
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --val_freq 1 --patience 1"
    line += f" --min_delta 1000 --when_stuck {when_stuck} --n_epochs 9 --n_epochs_decay 3"
    for name in ("straight", "cut"):
        (tmp_path / name).mkdir()
    trainer.run(tmp_path / "straight", line)
    rates = {r["epoch"]: r["lr"] for r in records(tmp_path / "straight", "metrics.jsonl")}
    assert max(rates) == epochs
    if when_stuck == "decay":
        expected = [0.0002, 0.0002, 0.00015, 0.0001, 0.00005]
        assert [rates[e] for e in range(1, 6)] == pytest.approx(expected)
    again = "--name run --continue_train"
    if when_stuck == "decay":
        trainer.run(tmp_path / "cut", line, "epoch: 4, iters: 2", signal.SIGTERM, 143)
        trainer.run(tmp_path / "cut", again)
        assert training(tmp_path / "cut") == training(tmp_path / "straight")
    trainer.run(tmp_path / "straight", f"{again} --n_epochs_decay 7")
    assert f"run is finished: {epochs} epochs done" in told(tmp_path / "straight")
    assert "to train on, pass --patience 0" in told(tmp_path / "straight")
    trainer.run(tmp_path / "straight", f"{again} --patience 0 --n_epochs 6 --n_epochs_decay 0")
    rates = {r["epoch"]: r["lr"] for r in records(tmp_path / "straight", "metrics.jsonl")}
    assert rates[6] == pytest.approx(0.0002)


def test_going_back_before_it_was_stuck_starts_over(tmp_path, dataroots, trainer):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --val_freq 1 --patience 2"
    line += " --min_delta 1000 --n_epochs 9 --n_epochs_decay 3"
    trainer.run(tmp_path, line, "call models.validation.validation:Validation.run 5", 9, ends=-9)
    trainer.run(tmp_path, "--name run --continue_train --epoch_count 2 --patience 4")
    rates = {r["epoch"]: r["lr"] for r in records(tmp_path, "metrics.jsonl")}
    assert max(rates.values()) == 0.0002
    assert max(rates) == 8  # stuck after epoch 5, four after the first: counted anew
    assert rates[8] == pytest.approx(0.00005)


def test_a_stuck_run_stays_stuck_by_another_metric(tmp_path, dataroots, trainer):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --val_freq 1 --patience 1"
    line += " --min_delta 1000 --n_epochs 9 --n_epochs_decay 3"
    trainer.run(tmp_path, line, "epoch: 4, iters: 2", signal.SIGTERM, 143)
    trainer.run(tmp_path, "--name run --continue_train --epoch_count 4 --best_metric L1")
    assert "stuck since epoch 2: ends after epoch 5 instead of 12" in told(tmp_path)
    rates = {r["epoch"]: r["lr"] for r in records(tmp_path, "metrics.jsonl")}
    assert rates == pytest.approx({1: 2e-4, 2: 2e-4, 3: 1.5e-4, 4: 1e-4, 5: 5e-5})
    assert [record["epoch"] for record in records(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_longer_run_can_still_get_stuck(tmp_path, dataroots, trainer):
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --val_freq 1 --patience 2"
    trainer.run(tmp_path, f"{line} --min_delta 1000 --n_epochs 3 --n_epochs_decay 1")
    trainer.run(tmp_path, "--name run --continue_train --n_epochs 9")
    assert max(r["epoch"] for r in records(tmp_path, "metrics.jsonl")) == 6  # at 5, and one more


def test_plateau_forgets_what_it_watched_before(tmp_path, dataroots, trainer):
    """The loss of pix2pix is above 1, and 1 - SSIM below."""
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --val_freq 1 --n_epochs 3"
    line += " --lr_policy plateau --plateau_on validation"
    trainer.run(tmp_path, line)
    trainer.run(tmp_path, "--name run --continue_train --n_epochs 12 --plateau_on loss")
    state = torch.load(run_folder(tmp_path) / "latest_state.pth", weights_only=True)
    assert state["model"]["schedulers"][0]["best"] > 1


def test_plateau_can_watch_the_validation(tmp_path, dataroots, trainer):
    """At this rate nothing improves by 1%, so the sixth validation after the first lowers it."""
    line = f"{TINY} --dataroot {dataroots['paired']} --model pix2pix --lr 1e-7 --no_dropout"
    line += " --lr_policy plateau --plateau_on validation --n_epochs 9"
    trainer.run(tmp_path, f"{line} --val_freq 1")
    rates = {r["epoch"]: r["lr"] for r in records(tmp_path, "metrics.jsonl")}
    assert rates[7] == 1e-7 and rates[8] == pytest.approx(2e-8)
    trainer.run(tmp_path, f"{line} --val_freq 2 --overwrite")
    rates = {r["epoch"]: r["lr"] for r in records(tmp_path, "metrics.jsonl")}
    assert rates[10] == 1e-7  # there were only five


def test_fixed_pictures_keep_their_names_and_old_ones_are_small(tmp_path, pictures, trainer):
    root = pictures.two_folders(5, (700, 600))
    line = f"{TINY} --dataroot {root} --model pix2pix --val_pictures 2 --n_epochs_decay 2"
    line += " --preprocess none --ngf 1 --ndf 1 --update_html_freq 5"
    trainer.run(tmp_path, line)
    images = run_folder(tmp_path) / "web" / "images"
    names = {file.name for file in images.iterdir()}
    fixed = {f"fixed_p{i}_{label}.png" for i in (1, 3) for label in ("real_A", "real_B")}
    new = {"epoch003_fake_B.png", "epoch003_2_fake_B.png"}
    old = {f"epoch00{e}_{n}fake_B.jpg" for e in (1, 2) for n in ("", "2_")}
    batch = {f"last_batch_{label}.png" for label in ("real_A", "fake_B", "real_B")}
    assert names == fixed | new | old | batch
    assert Image.open(images / "epoch003_fake_B.png").size == (700, 600)  # not its padding
    assert max(Image.open(images / "epoch001_fake_B.jpg").size) == 512


def test_losses_are_means_and_each_epoch_has_a_point(tmp_path, pictures, trainer):
    root = pictures.side_by_side(4)
    line = f"{TINY} --dataroot {root} --model pix2pix --no_html --val_pictures 0 --no_dropout"
    points: Callable[[], list[dict]] = lambda: records(tmp_path, "metrics.jsonl")  # noqa: E731
    trainer.run(tmp_path, f"{line} --print_freq 1")
    single = [record["losses"]["G_L1"] for record in points()]
    trainer.run(tmp_path, f"{line} --print_freq 3 --overwrite")
    assert [record["total_images"] for record in points()] == [3, 4, 6, 8]
    parts = [single[:3], single[3:4], single[4:6], single[6:]]
    found = [record["losses"]["G_L1"] for record in points()]
    assert found == pytest.approx([sum(part) / len(part) for part in parts], rel=1e-5)


def test_the_console_is_quiet_between_first_and_last_epoch(tmp_path, pictures, trainer):
    root = pictures.side_by_side(2)
    line = f"{TINY} --dataroot {root} --model pix2pix --no_html --val_pictures 0 --n_epochs 5"
    trainer.run(tmp_path, f"{line} --print_freq 8")
    ends = re.findall(r"End of epoch (\d+) / 6.*G_L1", told(tmp_path))
    assert ends == ["1", "4", "5", "6"]  # the first; 8 images; a checkpoint; the last
    assert all(len(line) <= 100 for line in told(tmp_path).splitlines() if "End of" in line)
    assert len(records(tmp_path, "metrics.jsonl")) == 6
