"""A quick start gives the same training, bit for bit; without packages there is a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from util import startup
from util.speed.dynamo import inside_dynamo_wrapper

ROOT = Path(__file__).resolve().parents[2]
TRAINING = """
import io, sys, torch
from util.speed.dynamo import skip_dynamo

if "skip" in sys.argv:
    skip_dynamo()
torch.manual_seed(1)
torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Tanh(), torch.nn.Conv2d(8, 1, 3))
for fused in (False, True):
    adam = torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.5, 0.999), fused=fused)
    halving = torch.optim.lr_scheduler.StepLR(adam, 2, 0.5)
    for _ in range(5):
        adam.zero_grad()
        net(torch.rand(2, 3, 8, 8)).square().mean().backward()
        adam.step()
        halving.step()
        adam.load_state_dict(adam.state_dict())
state = [p.detach() for p in net.parameters()] + [s["exp_avg_sq"] for s in adam.state.values()]
print(torch.cat([t.flatten() for t in state]).double().numpy().tobytes().hex())
print("torch._dynamo" in sys.modules)
"""


def training(*arguments: str) -> list[str]:
    """The weights after some steps as digits, and whether torch._dynamo was imported."""
    command = [sys.executable, "-c", TRAINING, *arguments]
    return subprocess.check_output(command, cwd=ROOT, text=True).split()


def test_adam_without_dynamo_gives_the_same_bits():
    weights, imported = training("skip")
    stock_weights, stock_imported = training()
    assert weights == stock_weights
    assert (imported, stock_imported) == ("False", "True")


def test_training_does_not_import_dynamo(pictures, run_cli):
    flags = "--model pix2pix --netG resnet_6blocks --ngf 4 --ndf 4 --load_size 64 --crop_size 64"
    flags += " --n_epochs 1 --n_epochs_decay 0 --num_threads 0 --name x --device cpu"
    run = run_cli(
        "train.py",
        *("--dataroot", pictures.side_by_side(1), *flags.split()),
        PYTHONPROFILEIMPORTTIME="1",  # tells on stderr of every import
    )
    assert run.status == 0, run.stderr[-2000:]
    assert "torch.optim.adam" in run.stderr
    assert "torch._dynamo" not in run.stderr


IN_THE_ENVIRONMENT = [
    *("train.py", "test.py", "scripts/translate.py", "scripts/try_it.py", "scripts/check_pairs.py"),
    *("scripts/compare_checkpoints.py", "scripts/export.py", "scripts/plot_losses.py"),
    *("scripts/preview_augmentation.py", "datasets/combine_A_and_B.py"),
    "datasets/prepare_cityscapes_dataset.py",
]


@pytest.mark.parametrize("script", IN_THE_ENVIRONMENT)
def test_without_the_environment_a_line_says_so(script, tmp_path):
    command = [sys.executable, "-S", ROOT / script, "--help"]  # -S: without site-packages
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{Path(script).name}: error: {sys.executable} does not have ")
    assert "NumPy" in line and ".venv" in line


def test_the_line_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(startup, "find_spec", lambda name: None if name == "torch" else name)
    monkeypatch.setattr(startup, "ROOT", tmp_path / "my program")
    ways = []
    for prefix in ("elsewhere", "my program/.venv"):
        monkeypatch.setattr(sys, "prefix", str(tmp_path / prefix))
        for _ in range(2):
            with pytest.raises(SystemExit, match="2"):
                startup.require_environment()
            ways.append(capsys.readouterr().err)
            (tmp_path / "my program" / ".venv").mkdir(parents=True, exist_ok=True)
    assert all(way.count("\n") == 1 and "does not have PyTorch; " in way for way in ways)
    assert "scripts/demo.py makes an environment" in ways[0]
    assert "switch the program's environment on" in ways[1]
    assert f"'{tmp_path}/my program/.venv/bin/activate'" in ways[1] or os.name == "nt"
    assert "pip install -r requirements.txt" in ways[2]


def test_garbage_is_collected_again_after_the_imports():
    """Without it, a long run would keep each graph that refers to itself."""
    program = "import gc; from util.startup import begin_imports; begin_imports(); "
    program += "from util import runtime; runtime.run(lambda: print(gc.isenabled()))"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "True\n"


def test_a_collector_that_the_caller_stopped_stays_so():
    program = "import gc; from util import runtime; gc.disable(); "
    program += "runtime.run(lambda: print(gc.isenabled(), gc.get_freeze_count()))"
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert printed == "False 0\n"


def test_methods_that_do_not_import_dynamo_are_left_alone():
    assert inside_dynamo_wrapper(torch.optim.SGD.__init__) is None
    assert inside_dynamo_wrapper(None) is None
