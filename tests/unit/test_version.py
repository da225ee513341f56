"""The version: where it is defined, how to print it, and how saved options use it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import data
import models
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util import __version__

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--netG resnet_6blocks --ngf 2 --ndf 2"
SCRIPTS = ["scripts/plot_losses.py", "scripts/benchmark.py", "datasets/combine_A_and_B.py"]


def test_pyproject_takes_it_from_where_it_stands():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in pyproject["project"]["dynamic"]
    setting = pyproject["tool"]["setuptools"]["dynamic"]["version"]
    module, _, name = setting["attr"].rpartition(".")
    assert getattr(sys.modules[module], name) == __version__
    assert pyproject["project"]["requires-python"] == ">=3.10,<3.15"


def test_the_changelog_begins_with_it():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)[0] == __version__


@pytest.mark.parametrize("program", ["train.py", "test.py"])
def test_it_is_told_without_pytorch(program, tmp_path, run_cli):
    (tmp_path / "torch.py").write_text("raise SystemExit('PyTorch was imported')\n")
    done = run_cli(program, "--version", PYTHONPATH=str(tmp_path))
    assert done == (f"{program} {__version__}\n", "", 0)


@pytest.mark.parametrize("program", ["train.py", "test.py", *SCRIPTS])
def test_it_is_told_among_other_flags(program, run_here):
    for line in (["--version"], ["--version", "--verbose"]):
        done = run_here(program, *line)
        assert (done.stdout, done.status) == (f"{Path(program).name} {__version__}\n", 0)


@pytest.fixture
def run_of_another_version(tmp_path, monkeypatch) -> Path:
    """The folder of a run `old`, saved by version 0.1.0 of this program."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    options = TrainOptions(models.registry, data.registry)
    opt = options.parse(["--dataroot", "photos", "--name", "old", *SMALL.split()])
    options.save(opt)
    folder = tmp_path / "checkpoints" / "old"
    for file in (folder / "train_options.json", folder / "train_opt.txt"):
        text = file.read_text(encoding="utf-8")
        assert text.count(__version__) == 1
        file.write_text(text.replace(__version__, "0.1.0"), encoding="utf-8")
    model = models.create_model(opt)
    model.save_networks("latest")
    return folder


@pytest.mark.parametrize("program", ["train.py", "test.py"])
@pytest.mark.parametrize("record", ["train_options.json", "train_opt.txt"])
def test_a_run_of_another_version_goes_on_under_this_one(
    record, program, run_of_another_version, capsys
):
    if record == "train_opt.txt":
        (run_of_another_version / "train_options.json").unlink()
    capsys.readouterr()
    options = (TrainOptions if program == "train.py" else TestOptions)(
        models.registry, data.registry
    )
    again = ["--continue_train"] if program == "train.py" else ["--model", "cycle_gan"]
    opt = options.parse(["--dataroot", "photos", "--name", "old", *again])
    assert (opt.ngf, opt.program_version) == (2, __version__)
    assert "0.1.0" not in capsys.readouterr().out  # it is no option that was changed

    options.save(opt)
    name = "train_opt.txt" if program == "train.py" else "test_opt.txt"
    assert f"program_version: {__version__}\n" in (run_of_another_version / name).read_text()
    if program == "train.py":
        saved = json.loads((run_of_another_version / "train_options.json").read_text())
        assert saved["program_version"] == __version__
