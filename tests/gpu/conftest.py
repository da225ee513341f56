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
from util.torchvision_compat import import_torchvision

TINY = "--name run --seed 3 --ngf 8 --ndf 8 --load_size 72 --crop_size 64 --netG resnet_6blocks"

GPU_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if GPU_TESTS in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def photos(tmp_path_factory, pictures_in) -> str:
    """Pictures in every layout, for training and testing."""
    pictures = pictures_in(tmp_path_factory.mktemp("photos"))
    for phase in ("train", "test"):
        for index in range(4):
            for folder, picture in zip("AB", pictures.pair(index, 80, 72), strict=True):
                pictures.save(picture, f"{phase}{folder}/p{index}.png")
            pictures.save(pictures.draw(index, 80, 72), f"{phase}/p{index}.png")
    return str(pictures.root)


@pytest.fixture(scope="session")
def flags_of(tmp_path_factory, photos) -> Callable[[str], str]:
    """`flags_of(model)`: what makes this model small and finds its pictures."""
    vgg = import_torchvision("torchvision.models.vgg")
    torch.manual_seed(0)
    state = vgg.make_layers(vgg.cfgs["D"]).state_dict()
    file = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({f"features.{key}": value for key, value in state.items()}, file)

    def flags(model: str) -> str:
        more = f" --vgg_weights {file}" if model == "pix2pix_with_perceptual" else ""
        return f"{TINY} --model {model} --dataroot {photos}{more}"

    return flags


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
