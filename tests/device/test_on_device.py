"""On a device, each model trains and tests without waits, and never mixes it with the CPU."""

from __future__ import annotations

from collections import Counter

import pytest
from runs import ROWS

import models

TINY = "--device cuda --num_threads 0 --ngf 2 --ndf 2 --load_size 36 --crop_size 32"
ROWS = {**ROWS, "skip_nonfinite": "--skip_nonfinite 2"}
MODELS = [name for name in models.registry.names() if name != "test"]  # it cannot train

# Models that share code with pix2pix or cycle_gan have the rows in which they can differ.
ROWS_OF = {
    "pix2pix": [*ROWS],
    "cycle_gan": ["plain", "pool", "ema", "wgangp", "accumulation", "augmented", "two sizes"],
    "cut": ["plain", "ema", "augmented", "two sizes"],
}

# How often the host waits in six steps.
WAITS_IN_SIX_STEPS = {
    # Whether to skip an update has to be known before it; two optimizers.
    "skip_nonfinite": {"util/util.py all_finite": 12},
}

# Where it may wait outside of steps, and why.
MAY_WAIT = {
    "models/base_model.py setup": "networks are moved to the device, once",
    "models/weights.py load_networks": "weights are loaded, once",
    **dict.fromkeys(
        (f"models/{name}_model.py __init__" for name in MODELS), "losses are moved there, once"
    ),
    "models/validation/create.py create_judges": "LPIPS is moved there, once",
    "util/run/checkpoint.py _write": "weights are saved",
    "util/run/checkpoint.py write_flushed": "the state of optimizers is saved",
    "util/util.py all_finite": "weights are checked before they are saved",
    "util/step/means.py take": "losses are printed",
    "util/step/finite.py check_losses": "losses are checked, every 32 steps",
    "util/util.py finite_pictures": "pictures are shown",
    "util/util.py to_array": "pictures are shown",
    "models/colorization_model.py lab_to_rgb": "pictures are shown",
    "models/validation/judge.py look": "pictures are judged",
    "models/validation/judge.py _of_target": "pictures are judged",
    "models/validation/generators.py unchanged": "pictures are shown, and must change no weight",
}


def places(waits: list[list]) -> Counter[str]:
    return Counter(f"{file} {function}" for file, _, function, _ in waits)


@pytest.mark.parametrize("model", MODELS)
def test_models_wait_only_where_they_must(model, flags_of, every_layout, on_device):
    flags = f"{flags_of(model)} {TINY}"
    rows = ROWS_OF.get(model, ["plain"])
    whole = "--val_split 0.25 --val_freq 1 --ema 0.9 --n_epochs 2 --n_epochs_decay 0"
    *steps, training, testing = on_device(
        [
            *(f"steps {flags} --batch_size 2 {ROWS[row]}" for row in rows),
            f"train.py {flags} {whole}",
            f"test.py --name run --model {model} --device cuda --dataroot {every_layout}",
        ]
    )
    found = {row: places(result["waits"]) for row, result in zip(rows, steps, strict=True)}
    assert found == {row: WAITS_IN_SIX_STEPS.get(row, {}) for row in rows}, steps
    for result in (training, testing):
        assert places(result["waits"]).keys() <= MAY_WAIT.keys(), result["waits"]


def test_runs_resumed_on_another_device_are_the_same_runs(flags_of, on_device, tmp_path):
    """With the same bits, since the CPU computes them on both."""
    rows = ("plain", "ema")

    def training(row: str, run: str, epochs: int, device: str) -> str:
        resumes = "--continue_train" if run == "cut" and epochs > 1 else ""
        flags = f"{flags_of('pix2pix')} {TINY} {ROWS[row]} --precision fp32 --n_epochs_decay 0"
        run = f"--checkpoints_dir {row}/{run} --n_epochs {epochs} --device {device}"
        return f"train.py {flags} {run} {resumes}"

    turns = ("cuda", "cpu", "cuda")
    on_device(
        [training(row, "straight", len(turns), "cpu") for row in rows]
        + [training(row, "cut", n, turn) for row in rows for n, turn in enumerate(turns, 1)]
    )
    for row in rows:
        straight, cut = (
            {net.name: net.read_bytes() for net in (tmp_path / row / run).glob("run/latest_net_*")}
            for run in ("straight", "cut")
        )
        assert len(straight) == (3 if row == "ema" else 2) and cut == straight
