"""Training steps never wait for the GPU, so that the next step is prepared while it computes."""

from __future__ import annotations

import pytest
import torch
from runs import MODELS, ROWS, take_steps

GPU_ROWS = {**ROWS, "bf16": "--precision bf16", "compile": "--compile"}
ONCE = ("features", "perceptual", "compile")  # of pix2pix; others lack them, or do the same


@pytest.mark.parametrize("row", GPU_ROWS)
@pytest.mark.parametrize("model", MODELS)
def test_no_step_waits(build, model, row):
    if row in ONCE and model != "pix2pix":
        pytest.skip("once is enough")
    run = build(model, f"{GPU_ROWS[row]} --batch_size 2")
    take_steps(run, 4)  # allocate, choose algorithms, fill the pool
    batches = list(run.dataset)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    for batch in batches * 2:
        run.model.set_input(batch)
        with run.steps.step(batch.share):
            run.model.optimize_parameters()
