"""The command that resumes a run, for users to copy."""

from __future__ import annotations

import argparse
import os
import sys

from util import distributed
from util.errors import command_line


def resume_command(opt: argparse.Namespace) -> str:
    """`python train.py --name NAME --continue_train`, quoted for this system's shell."""
    start = ["python"]
    if distributed.size() > 1:  # for one machine; for several, users must complete it
        start = ["torchrun", f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"]
    words = [*start, sys.argv[0], "--name", opt.name]
    if opt.checkpoints_dir != "./checkpoints":
        words += ["--checkpoints_dir", opt.checkpoints_dir]
    words.append("--continue_train")
    return command_line(words)
