"""What the tests on a GPU share: small runs of every model, built in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import data
import models
import train
from options.train_options import TrainOptions
from util.speed.process import begin

GPU_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if GPU_TESTS in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture
def build(tmp_path, flags_of, monkeypatch) -> Callable[..., train.Run]:
    """`build(model, flags, device)`: a training run, as train.py builds it."""
    monkeypatch.chdir(tmp_path)

    def build(model: str, more: str = "", device: str = "cuda") -> train.Run:
        line = f"{flags_of(model)} --num_threads 0 --device {device} {more}"
        opt = TrainOptions(models.registry, data.registry).parse(line.split())
        begin(opt)
        return train.build(opt)

    return build


@pytest.fixture(autouse=True)
def exact_products() -> None:
    """Without TF32, whose products have ten bits; and with no settings of the test before."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(False)
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.use_deterministic_algorithms(False)
