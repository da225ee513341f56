"""Training steps never wait for the GPU, so that the next step is prepared while it computes."""

from __future__ import annotations

import pytest
import torch
from runs import MODELS, take_steps

ROWS = {
    "plain": "",
    "pool": "--pool_size 2",
    "ema": "--ema 0.9",
    "wgangp": "--gan_mode wgangp --norm instance",
    "plateau": "--lr_policy plateau",
    "accumulation": "--grad_accum 2 --grad_checkpoint",
    "spectral norm": "--spectral_norm",
    "augmented": "--d_augment translation,cutout",
    "features": "--lambda_feat 10 --d_augment color",
    "channels_last": "--channels_last on",
    "bf16": "--precision bf16",
    "compile": "--compile",
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("model", MODELS)
def test_no_step_waits(build, model, row):
    if row in ("compile", "features") and model != "pix2pix":
        pytest.skip("once is enough")
    run = build(model, f"{ROWS[row]} --batch_size 2")
    take_steps(run, 4)  # allocate, choose algorithms, fill the pool
    batches = list(run.dataset)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    for batch in batches * 2:
        run.model.set_input(batch)
        with run.steps.step(batch.share):
            run.model.optimize_parameters()
