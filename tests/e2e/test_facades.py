"""One epoch over the CMP façades, label to photo, where the set has been downloaded."""

import json
from pathlib import Path

import pytest

from util.metrics.scores import gain

ROOT = Path(__file__).resolve().parents[2]
FACADES = ROOT / "datasets" / "facades"


@pytest.mark.slow
@pytest.mark.skipif(
    not (FACADES / "train").is_dir(), reason="datasets/facades is not there (see docs/recipes.md)"
)
def test_an_epoch_of_facades_learns_photos_from_labels(tmp_path, run_cli):
    small = "--netG unet_128 --ngf 16 --load_size 143 --crop_size 128".split()
    data = ("--dataroot", str(FACADES), "--name", "facades", "--model", "pix2pix")
    train = "--direction BtoA --ndf 8 --n_epochs 1 --n_epochs_decay 0 --print_freq 5 --seed 1"
    train += " --lr 0.001"
    trained = run_cli("train.py", *data, *small, *train.split())
    assert trained.status == 0, trained.stderr

    run = tmp_path / "checkpoints" / "facades"
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["total_images"] == 400
    validation = json.loads((run / "validation.jsonl").read_text(encoding="utf-8"))
    for metric in ("L1", "PSNR", "SSIM"):
        assert gain(metric, validation["last"][metric], validation["nothing"][metric]) > 0
    assert (run / "web" / "images" / "epoch001_fake_B.png").is_file()

    tested = run_cli("test.py", *data, "--num_test", "3", "--crop_size", "128")
    assert tested.status == 0, tested.stderr
    assert "direction=BtoA" in tested.stdout, "read from the run"
    assert len(list((tmp_path / "results/facades/test_latest/images").glob("*_fake_B.png"))) == 3
