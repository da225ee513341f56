"""scripts/export.py: ONNX files that give what test.py gives, checked before they are written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from scripts import export

TINY = "--ngf 2 --ndf 2 --device cpu --seed 1 --n_epochs 1 --n_epochs_decay 0 --num_threads 0"
PLAIN_RESNET = "--model pix2pix --netG resnet_6blocks --load_size 64 --crop_size 64"
KINDS = {
    "unet": "--model pix2pix --netG unet_128 --load_size 128 --crop_size 128",
    "res": f"{PLAIN_RESNET} --residual --no_dropout",
    "dropped": PLAIN_RESNET,
    "sets": "--model cycle_gan --netG resnet_6blocks --load_size 64 --crop_size 64",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, pictures_in, run_in) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    pictures = pictures_in(folder)
    for name, flags in KINDS.items():
        dataroot = pictures.unaligned(1, 1) if name == "sets" else pictures.two_folders(1)
        line = f"{TINY} --no_html --name {name} {flags}".split()
        done = run_in(folder, "train.py", "--dataroot", dataroot, *line)
        assert done.status == 0, done.stderr
    return folder / "checkpoints"


def exported(checkpoints: Path, file: Path, name: str, *flags: str) -> onnxruntime.InferenceSession:
    words = ["--checkpoints_dir", str(checkpoints), "--name", name, "--out", str(file), *flags]
    export.main(words)
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["unet", "res"])
def test_the_file_gives_what_test_py_gives(name, checkpoints, run_here, tmp_path) -> None:
    session = exported(checkpoints, tmp_path / "g.onnx", name)
    drawn = np.random.default_rng(0).integers(0, 256, (256, 128, 3)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(drawn).save(tmp_path / "in" / "a.png")
    line = f"--dataroot in --checkpoints_dir {checkpoints} --name {name} --device cpu --no_dropout"
    done = run_here("test.py", *line.split(), "--preprocess", "none")
    assert done.status == 0, done.stderr
    wanted = np.asarray(Image.open(tmp_path / f"results/{name}/test_latest/images/a_fake.png"))
    (got,) = session.run(None, {"picture": drawn[None]})
    assert got.shape == (1, 256, 128, 3) and got.dtype == np.uint8
    assert np.abs(got[0].astype(int) - wanted).max() <= 1


def test_floats_and_what_the_file_tells_of_itself(checkpoints, tmp_path, capsys) -> None:
    session = exported(checkpoints, tmp_path / "g.onnx", "sets", "--floats", "--reverse")
    assert "multiples of 4; onnxruntime's results differ by" in capsys.readouterr().out
    (got,) = session.run(None, {"picture": np.zeros((1, 3, 100, 64), np.float32)})
    assert got.shape == (1, 3, 100, 64) and got.dtype == np.float32
    model = onnx.load(tmp_path / "g.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["run"] == "sets" and told["size_multiple"] == "4"
    assert '"netG": "resnet_6blocks"' in told["options"]
    assert "dataroot" not in told["options"], "nothing of this machine"
    assert [opset.version for opset in model.opset_import if not opset.domain] == [export.OPSET]


def test_dropout_is_left_out(checkpoints, tmp_path) -> None:
    """Also from a ResNet, whose layers it renumbers."""
    session = exported(checkpoints, tmp_path / "g.onnx", "dropped", "--floats")
    picture = {"picture": np.random.default_rng(0).random((1, 3, 64, 64), np.float32)}
    assert np.array_equal(*(session.run(None, picture)[0] for _ in range(2)))


def test_a_file_that_differs_is_not_written(checkpoints, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export, "by_picture", lambda norm: norm.eval())  # other statistics
    with pytest.raises(export.UserError, match=r"differs by .* so it is not written"):
        exported(checkpoints, tmp_path / "g.onnx", "unet")
    assert not (tmp_path / "g.onnx").exists()


def test_a_missing_package_is_named(checkpoints, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(export.UserError, match=r"pip install -r requirements-export\.txt"):
        exported(checkpoints, tmp_path / "g.onnx", "unet")


def test_a_run_that_is_not_there_ends_in_one_line(run_here) -> None:
    done = run_here("scripts/export.py", "--name", "gone")
    assert done.status == 2
    assert "there is no such run" in done.stderr and "Traceback" not in done.stderr
