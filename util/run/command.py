"""Commands for users to copy, quoted for this system's shell."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from util import distributed
from util.errors import command_line


def resume_command(opt: argparse.Namespace) -> str:
    """`python train.py --name NAME --continue_train`, which resumes a run."""
    start = ["python"]
    if distributed.size() > 1:  # for one machine; for several, users must complete it
        start = ["torchrun", f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"]
    return command_line([*start, *program_for_run(opt), "--continue_train"])


def test_command(opt: argparse.Namespace, dataroot: str, model_suffix: str) -> str:
    """`python test.py --name NAME --model test ...`, which runs one generator on a folder."""
    words = ["python", *program_for_run(opt), "--model", "test", "--dataroot", dataroot]
    return command_line(words + (["--model_suffix", model_suffix] if model_suffix else []))


def result_command(opt: argparse.Namespace, label: str, more: Sequence[str] = ()) -> str:
    """`python test.py --dataroot DIR --name NAME --model MODEL ...`, which tests a trained run."""
    script = os.path.join(os.path.dirname(sys.argv[0]), "test.py")
    words = ["python", script, "--dataroot", opt.dataroot, *program_for_run(opt)[1:]]
    words += ["--model", opt.model, *more]
    return command_line(words + (["--epoch", label] if label != "latest" else []))


def program_for_run(opt: argparse.Namespace) -> list[str]:
    """This program, and the flags that name the run."""
    words = [sys.argv[0], "--name", opt.name]
    if opt.checkpoints_dir != "./checkpoints":
        words += ["--checkpoints_dir", opt.checkpoints_dir]
    return words
