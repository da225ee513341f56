"""Which PyTorch build supports which card, with fake nvidia-smi programs."""

from __future__ import annotations

import html
import re
import shlex
import sys
import time

import pytest

from util import nvidia, runtime
from util.errors import UserError

RTX_4090 = "NVIDIA GeForce RTX 4090, {}, 8.9"
GTX_1080 = "NVIDIA GeForce GTX 1080, {}, 6.1"
RTX_5090 = "NVIDIA GeForce RTX 5090, {}, 12.0"
K80 = "Tesla K80, {}, 3.7"


@pytest.mark.parametrize(
    "answer, build",
    [
        (RTX_4090.format("580.88"), "cu130"),
        (RTX_4090.format("595.58.03"), "cu130"),
        (RTX_4090.format("576.02"), "cu126"),
        (RTX_4090.format("525.60.13"), "cu126"),
        (GTX_1080.format("580.88"), "cu126"),  # whose driver runs CUDA 13, which has left it out
        (RTX_5090.format("581.15"), "cu130"),
        (f"{GTX_1080.format('580.88')}\n{RTX_4090.format('580.88')}", "cu126"),  # serves both
        (f"{GTX_1080.format('580.88')}\n{RTX_5090.format('580.88')}", "cu130"),
    ],
)
def test_the_build_fits_card_and_driver(nvidia_smi, answer, build):
    nvidia_smi(answer)
    assert nvidia.best_build(nvidia.cards()) == build
    command = nvidia.why_unused(None).partition("to fix this: ")[2]
    assert shlex.split(command)[:4] == [sys.executable, "-m", "pip", "install"]
    pins = r"torch==2\.13\.0\+{0} torchvision==0\.28\.0\+{0} --index-url \S+/whl/{0}"
    assert re.search(pins.format(build) + "$", command)


@pytest.mark.parametrize(
    "beside",
    [
        "WARNING: infoROM is corrupted at gpu 0000:01:00.0",
        "Unable to determine the device handle for GPU1: 0000:41:00.0: GPU is lost.",
    ],
)
def test_a_warning_does_not_hide_a_card(nvidia_smi, beside):
    nvidia_smi(f"{beside}\n{RTX_4090.format('580.88')}\n{beside}", 14)
    assert [card.name for card in nvidia.cards()] == ["NVIDIA GeForce RTX 4090"]


@pytest.mark.parametrize(
    "capability, architectures, runs",
    [
        ((8, 9), ["sm_75", "sm_80", "sm_86"], True),  # of the same major version, and not later
        ((6, 1), ["sm_75", "sm_80", "compute_80"], False),
        ((8, 0), ["sm_86"], False),
        ((12, 0), ["sm_80", "sm_90a"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # translated when it starts
        ((12, 0), ["sm_120"], True),
        ((9, 0), [], False),
    ],
)
def test_code_that_a_card_runs(capability, architectures, runs):
    assert nvidia.has_code(capability, architectures) is runs


def test_a_card_that_pytorch_sees_but_has_no_code_for(nvidia_smi, monkeypatch, capsys):
    """As one before Turing with the build for CUDA 13: the first step would end the run."""
    nvidia_smi(GTX_1080.format("580.88"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda index: (6, 1))
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_75", "sm_80"])
    assert runtime.resolve_device("auto").type == "cpu"
    assert "whl/cu126" in runtime.warn_of_unused_card("auto")
    assert "WARNING" in capsys.readouterr().out
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UserError, match=r"can use no CUDA GPU: .*whl/cu126"):
        runtime.resolve_device("cuda")

    nvidia_smi("No devices were found")  # as in some containers: still no silent fallback
    assert "has no code for the card that it sees" in runtime.warn_of_unused_card("auto")

    ages = {0: (6, 1), 1: (8, 6), None: (6, 1)}
    monkeypatch.setattr("torch.cuda.get_device_capability", ages.get)
    assert runtime.resolve_device("cuda:1").index == 1  # each is judged by itself
    with pytest.raises(UserError, match="can use no CUDA GPU"):
        runtime.resolve_device("cuda:0")


def test_the_table_is_of_the_pytorch_that_is_pinned():
    """A reminder: when raising the pin, check which builds and Python versions exist."""
    pin = re.search(r"^torch==(\d+\.\d+)", nvidia.REQUIREMENTS.read_text(), re.M)[1]
    assert pin == nvidia.PYTORCH


@pytest.mark.parametrize(
    "answer, status, told",
    [
        (RTX_4090.format("472.12"), 0, "driver 472.12 is too old .* install 525 or newer"),
        (RTX_5090.format("576.02"), 0, "driver 576.02 is too old .* install 580 or newer"),
        (K80.format("470.82"), 0, "does not support cards as old as Tesla K80"),
        ('Field "compute_cap" is not a valid field to query.', 2, "too old.*525 or newer"),
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make "
            "sure that the latest NVIDIA driver is installed and running.",
            9,
            "couldn't communicate.*: install the current driver",
        ),
        ("NVIDIA GeForce RTX 4090, [N/A], [N/A]", 0, r"fails \(NVIDIA GeForce.*: install"),
        ("", 139, "fails .status 139, without a message.: install"),
    ],
)
def test_a_driver_that_will_not_do_is_named_with_what_to_do(nvidia_smi, answer, status, told):
    nvidia_smi(answer, status)
    line = nvidia.why_unused("13.0")
    assert re.search(told, line)
    assert "\n" not in line
    assert "pip install" not in line


def test_a_driver_that_hangs_does_not_hold_up(nvidia_smi, monkeypatch):
    monkeypatch.setattr(nvidia, "ANSWER_S", 0.2)
    nvidia_smi(hangs=True)
    start_s = time.monotonic()
    assert "does not answer" in nvidia.why_unused(None)
    assert time.monotonic() - start_s < 5


def test_without_cards_there_is_nothing_to_say(nvidia_smi, monkeypatch, tmp_path):
    nvidia_smi("No devices were found", 6)
    assert nvidia.why_unused(None) == ""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert nvidia.why_unused(None) == ""
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(nvidia, "KERNEL_CARDS", tmp_path / "gpus")
    assert "--gpus all" in nvidia.why_unused(None)


@pytest.mark.parametrize(
    "variable, below",
    [
        ("PATH", ""),
        ("SystemRoot", "System32"),
        ("ProgramFiles", "NVIDIA Corporation/NVSMI"),
    ],
)
def test_nvidia_smi_is_found_where_windows_has_it(
    nvidia_smi, monkeypatch, tmp_path, variable, below
):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv(variable, str(tmp_path / "root"))
    nvidia_smi(RTX_4090.format("551.86"), file=tmp_path / "root" / below / "nvidia-smi.exe")
    assert nvidia.cards() == [nvidia.Card("NVIDIA GeForce RTX 4090", "551.86", (8, 9))]


def test_a_build_too_new_for_the_driver_is_told_from_one_that_cannot_reach_it(nvidia_smi):
    nvidia_smi(RTX_4090.format("550.54.14"))
    assert "CUDA 13.0, which cannot use" in nvidia.why_unused("13.0")
    assert nvidia.why_unused("13.0").endswith("/whl/cu126")
    assert "CUDA 12.6, which supports" in nvidia.why_unused("12.6")


@pytest.mark.parametrize(
    "device, visible, told",
    [
        ("auto", None, True),
        ("auto", "0", True),
        ("auto", "GPU-5a", True),
        ("auto", "", False),
        ("auto", "-1", False),
        ("auto", "NoDevFiles", False),  # Slurm's word for none
        ("cpu", None, False),
    ],
)
def test_whoever_wants_no_card_hears_nothing(nvidia_smi, monkeypatch, device, visible, told):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvidia_smi(RTX_4090.format("580.88"))
    assert bool(runtime.warn_of_unused_card(device)) == told


def test_both_programs_and_the_training_page_say_what_mends_it(
    nvidia_smi, run_here, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)  # as ordinary builds for Windows
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia_smi(RTX_4090.format("551.86"))
    flags = "--model pix2pix --netG resnet_6blocks --ngf 2 --ndf 2 --load_size 24 --crop_size 24"
    flags = f"{flags} --num_threads 0 --name run --dataroot {pictures.side_by_side(1)}".split()
    run = run_here("train.py", *flags, "--n_epochs", "1", "--n_epochs_decay", "0")
    assert run.status == 0, run
    line = next(line for line in run.stdout.splitlines() if line.startswith("WARNING"))
    assert "NVIDIA GeForce RTX 4090" in line
    assert line.endswith(
        "torchvision==0.28.0+cu126 --index-url https://download.pytorch.org/whl/cu126"
    )
    page = tmp_path / "checkpoints" / "run" / "web" / "index.html"
    assert html.escape(line, quote=False) in page.read_text()

    assert line in run_here("test.py", *flags).stdout
    refused = run_here("test.py", *flags, "--device", "cuda")
    assert refused.status == 2
    assert nvidia.install_command("cu126") in refused.stderr

    on_processor = ["--name", "run", "--continue_train", "--n_epochs", "2", "--gpu_ids", "-1"]
    assert "WARNING" not in run_here("train.py", *on_processor).stdout
    assert "WARNING" not in page.read_text()
