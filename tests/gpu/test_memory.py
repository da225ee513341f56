"""Where the GPU's memory goes, and what is said when it runs out."""

from __future__ import annotations

import pytest
import torch
from runs import take_steps


def test_running_out_ends_in_one_line(flags_of, run_cli):
    more = "--ngf 64 --load_size 4096 --crop_size 4096 --batch_size 4"
    done = run_cli("train.py", *f"{flags_of('pix2pix')} --device cuda {more}".split())
    assert done.status == 2, done
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("train.py: error: ") and "memory" in line, done.stderr


@pytest.mark.parametrize("model", ["pix2pix", "cycle_gan"])
def test_a_step_needs_no_more_memory_than_the_one_before(build, model):
    run = build(model, "--pool_size 2")
    take_steps(run, 6)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    take_steps(run, 8)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)


def test_checkpointing_lowers_the_peak(build):
    def peak(flags: str) -> int:
        run = build("pix2pix", f"{flags} --netG resnet_9blocks --ngf 32")
        take_steps(run, 2)
        torch.cuda.reset_peak_memory_stats()
        take_steps(run, 2)
        return torch.cuda.max_memory_allocated()

    assert peak("--grad_checkpoint") < 0.8 * peak("")
