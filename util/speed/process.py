"""Settings of the whole process, made before any network: seeds, PyTorch, the C library."""

from __future__ import annotations

import argparse

import torch

from util import runtime
from util.speed.deterministic import be_deterministic
from util.speed.dynamo import skip_dynamo
from util.speed.heap import keep_freed_memory


def begin(opt: argparse.Namespace, *, fast: bool = True) -> None:
    """Set up this process as the options ask; with `fast`, also apply speed-ups without a flag."""
    runtime.show_tracebacks = opt.verbose
    runtime.seed_everything(opt.seed)
    if opt.isTrain and opt.deterministic:
        be_deterministic()
    if fast and not opt.compile:
        skip_dynamo()
    device = runtime.resolve_device(opt.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # otherwise some calls would take memory of the first card
    if fast and device.type == "cpu":
        keep_freed_memory()
