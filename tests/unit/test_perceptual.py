"""The perceptual loss and the model with it: values, gradients, memory, weights, plain pix2pix."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import data
import models
from models.losses.perceptual import LAYERS, PerceptualLoss
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import seed_everything

CONVOLUTIONS = {  # the first four blocks, by torchvision's numbers
    "vgg16": [(0, 2), (5, 7), (10, 12, 14), (17, 19, 21)],
    "vgg19": [(0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25)],
}
WIDTHS = (64, 128, 256, 512)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights in the shape of each VGG, with spreads that keep values in range."""
    torch.manual_seed(0)
    files = {}
    for vgg, blocks in CONVOLUTIONS.items():
        state, before = {}, 3
        for block, width in zip(blocks, WIDTHS, strict=True):
            for number in block:
                spread = (2 / (9 * before)) ** 0.5
                state[f"features.{number}.weight"] = torch.randn(width, before, 3, 3) * spread
                state[f"features.{number}.bias"] = torch.randn(width) * 0.1
                before = width
        files[vgg] = tmp_path_factory.mktemp("weights") / f"{vgg}.pth"
        torch.save(state, files[vgg])
    return files


@pytest.fixture(scope="module")
def loss16(weights: dict[str, Path]) -> PerceptualLoss:
    return PerceptualLoss("vgg16", weights["vgg16"])


def activations(file: Path, vgg: str, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every reluBLOCK_CONVOLUTION of a picture in [-1, 1], the straightforward way."""
    state = torch.load(file, weights_only=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = picture.repeat(1, 3 // picture.shape[1], 1, 1)
    x = ((x * 0.5 + 0.5) - mean[:, None, None]) / std[:, None, None]
    found = {}
    for b, block in enumerate(CONVOLUTIONS[vgg], 1):
        for c, number in enumerate(block, 1):
            kernel, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
            x = found[f"relu{b}_{c}"] = torch.relu(F.conv2d(x, kernel, bias, padding=1))
        x = F.max_pool2d(x, 2)
    return found


def pictures(channels: int = 3, height: int = 32, width: int = 32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(2, channels, height, width, generator=generator) * 2 - 1 for _ in "ab")


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("vgg", ["vgg16", "vgg19"])
def test_values_and_gradients_are_those_of_plain_layers(weights, vgg, channels):
    fake, real = pictures(channels, 33, 46)  # odd sides: pooling leaves a row over
    fake.requires_grad_(True)
    loss = PerceptualLoss(vgg, weights[vgg])(fake, real)
    (gradient,) = torch.autograd.grad(loss, fake)

    a, b = activations(weights[vgg], vgg, fake), activations(weights[vgg], vgg, real)
    layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    wanted = sum(0.25 * (a[layer] - b[layer]).abs().mean() for layer in layers)
    (wanted_gradient,) = torch.autograd.grad(wanted, fake)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-7)
    assert gradient.abs().max() > 1e-4


def test_the_layers_asked_for_count_by_their_weights(weights):
    fake, real = pictures()
    layers = {"relu2_1": 3.0, "relu1_1": 0.5}
    loss = PerceptualLoss("vgg16", weights["vgg16"], layers)
    a, b = (
        activations(weights["vgg16"], "vgg16", fake),
        activations(weights["vgg16"], "vgg16", real),
    )
    wanted = sum(w * (a[layer] - b[layer]).abs().mean() for layer, w in layers.items())
    torch.testing.assert_close(loss(fake, real), wanted)
    assert len(list(loss.parameters())) == 2 * 3  # nothing after relu2_1 is there


def test_equal_pictures_are_at_no_distance(loss16):
    fake, real = pictures()
    assert loss16(real, real) == 0
    assert loss16(fake, real) > 0.01


def test_gradients_flow_to_the_fake_alone(loss16):
    fake, real = (picture.requires_grad_(True) for picture in pictures())
    loss16(fake, real).backward()
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
    assert all(p.grad is None and not p.requires_grad for p in loss16.parameters())


def test_stays_in_eval_mode_when_its_owner_trains(loss16):
    nn.ModuleList([loss16]).train()
    assert not any(module.training for module in loss16.vgg.modules())


def test_the_graph_keeps_a_fourth_of_what_plain_layers_keep(loss16):
    fake, real = pictures()
    fake.requires_grad_(True)

    def plain() -> torch.Tensor:
        a, b, total = fake, real, 0.0
        for name, layer in zip(loss16.vgg.names, loss16.vgg.features, strict=True):
            a = layer(a)
            with torch.no_grad():
                b = layer(b)
            if name in LAYERS:
                total = total + F.l1_loss(a, b)
        return total

    def kept_bytes(run: Callable[[], torch.Tensor]) -> int:
        kept = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
        ):
            run()
        of_the_vgg = {p.data_ptr() for p in loss16.parameters()}
        return sum(t.nbytes for pointer, t in kept.items() if pointer not in of_the_vgg)

    assert 0 < kept_bytes(lambda: loss16(fake, real)) < 0.3 * kept_bytes(plain)


def test_works_under_autocast(loss16):
    fake, real = pictures()
    exact = loss16(fake, real)
    fake.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss16(fake, real)
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert fake.grad.dtype == torch.float32 and fake.grad.abs().sum() > 0


def error_of(run: Callable[[], object]) -> str:
    """The one line that the user sees."""
    with pytest.raises(UserError) as error:
        run()
    line = str(error.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's cache, empty, on a machine without a network: nobody listens at its proxy."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("vgg", ["vgg16", "vgg19"])
def test_a_failed_download_says_both_ways(cache, vgg):
    line = error_of(lambda: PerceptualLoss(vgg))
    for part in (vgg, "connect", "network", str(cache), "--vgg_weights FILE"):
        assert part in line
    assert not list(cache.iterdir())


def test_torchvisions_cache_is_used(cache, weights, loss16):
    cache.mkdir(parents=True)
    cached = cache / "vgg16-397923af.pth"
    cached.write_bytes(weights["vgg16"].read_bytes())
    assert PerceptualLoss()(*pictures()) == loss16(*pictures())
    cached.write_bytes(cached.read_bytes()[:1000])
    assert "vgg16-397923af.pth is damaged" in error_of(PerceptualLoss)


def test_a_missing_file_says_both_ways(tmp_path):
    line = error_of(lambda: PerceptualLoss("vgg16", tmp_path / "none.pth"))
    for part in ("--vgg_weights", "none.pth", "state_dict", "vgg16", "connect", "network"):
        assert part in line


def test_a_file_of_text_says_both_ways(tmp_path):
    (tmp_path / "notes.txt").write_text("hello world")
    line = error_of(lambda: PerceptualLoss("vgg16", tmp_path / "notes.txt"))
    for part in ("notes.txt", "state_dict", "vgg16", "download it", "--vgg_weights FILE"):
        assert part in line


def test_weights_of_the_other_vgg_are_told_apart(weights):
    line = error_of(lambda: PerceptualLoss("vgg16", weights["vgg19"]))
    assert "vgg19.pth" in line and "features.17.weight" in line and "--vgg vgg19" in line
    line = error_of(lambda: PerceptualLoss("vgg19", weights["vgg16"]))
    assert "vgg16.pth" in line and "features.16.weight" in line and "--vgg vgg16" in line


@pytest.mark.parametrize("fault", ["key", "shape"])
def test_weights_that_fit_no_vgg_are_named(weights, tmp_path, fault):
    state = torch.load(weights["vgg16"], weights_only=True)
    bias = state.pop("features.21.bias")
    if fault == "shape":
        state["features.21.bias"] = bias[1:]
    torch.save(state, tmp_path / "other.pth")
    line = error_of(lambda: PerceptualLoss("vgg16", tmp_path / "other.pth"))
    assert "other.pth" in line and "features.21.bias" in line and "--vgg_weights FILE" in line


def test_weights_may_have_a_classifier_and_half_precision(weights, tmp_path, loss16):
    state = torch.load(weights["vgg16"], weights_only=True)
    state = {key: value.half() for key, value in state.items()}
    torch.save({**state, "classifier.0.bias": torch.zeros(4096)}, tmp_path / "whole.pth")
    loss = PerceptualLoss("vgg16", tmp_path / "whole.pth")(*pictures())
    assert loss.item() == pytest.approx(loss16(*pictures()).item(), rel=0.01)


REAL = Path(
    os.environ.get("VGG16_WEIGHTS")
    or Path(__file__).resolve().parents[3] / "shared" / "weights" / "vgg16_features.pth"
)


@pytest.mark.skipif(not REAL.is_file(), reason="needs ImageNet weights: VGG16_WEIGHTS=FILE")
def test_with_imagenets_weights_the_layers_are_of_like_size_and_blur_counts():
    """Why distances are absolute and weights equal."""
    portraits = Path(__file__).resolve().parents[2] / "datasets" / "portrait_retouch" / "trainB"
    with Image.open(portraits / "obama.jpg") as file:
        levels = torch.tensor(np.asarray(file.convert("RGB"))).permute(2, 0, 1)[None]
    picture = levels[:, :, 128:256, 160:288] / 127.5 - 1
    blurred = {side: F.avg_pool2d(picture, side, 1, side // 2) for side in (3, 7)}
    a, b = activations(REAL, "vgg16", blurred[7]), activations(REAL, "vgg16", picture)
    absolute = [(a[layer] - b[layer]).abs().mean() for layer in LAYERS]
    squared = [((a[layer] - b[layer]) ** 2).mean() for layer in LAYERS]
    assert max(absolute) < 4 * min(absolute)
    assert max(squared) > 10 * min(squared)
    loss = PerceptualLoss("vgg16", REAL)
    assert loss(blurred[7], picture) > loss(blurred[3], picture) > loss(picture, picture)


def train(tmp_path: Path, model: str, *flags: str, steps: int = 2) -> models.BaseModel:
    """A small model of one seed after some steps; the same pictures at each call."""
    flags += ("--dataroot", str(tmp_path), "--checkpoints_dir", str(tmp_path), "--device", "cpu")
    flags += ("--load_size", "32", "--crop_size", "32", "--netG", "resnet_6blocks")
    opt = TrainOptions(models.registry, data.registry).parse(
        ["--model", model, "--name", model, "--ngf", "2", "--ndf", "2", "--seed", "1", *flags]
    )
    seed_everything(opt.seed)
    built = models.create_model(opt)
    built.setup(opt)
    A, B = pictures(opt.output_nc)
    for _ in range(steps):
        built.set_input({"A": A, "B": B, "A_paths": ["a"] * 2, "B_paths": ["b"] * 2})
        built.optimize_parameters()
    return built


def weights_of(model: models.BaseModel) -> dict[str, torch.Tensor]:
    return {
        f"{n}.{k}": v for n, net in model.networks().items() for k, v in net.state_dict().items()
    }


def test_without_the_perceptual_loss_it_is_pix2pix_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)  # importing it is an error
    plain = train(tmp_path, "pix2pix")
    off = train(tmp_path, "pix2pix_with_perceptual", "--use_perceptual", "False")
    assert off.get_current_losses() == plain.get_current_losses()
    wanted, found = weights_of(plain), weights_of(off)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_the_perceptual_loss_joins_the_generators_objective(tmp_path, weights):
    flags = ("pix2pix_with_perceptual", "--vgg_weights", str(weights["vgg16"]))
    plain = train(tmp_path, "pix2pix", steps=0)
    start = weights_of(train(tmp_path, *flags, steps=0))
    assert all(torch.equal(value, start[key]) for key, value in weights_of(plain).items())

    model = train(tmp_path, *flags, "--use_perceptual", steps=1)
    losses = model.get_current_losses()
    assert list(losses) == ["G_GAN", "G_L1", "G_Perceptual", "D_real", "D_fake"]
    total = losses["G_GAN"] + losses["G_L1"] + losses["G_Perceptual"]
    assert model.generator_loss.item() == pytest.approx(total)
    distance = PerceptualLoss("vgg16", weights["vgg16"])(model.fake_B, model.real_B)
    assert losses["G_Perceptual"] == pytest.approx(10 * distance.item())

    other = train(tmp_path, *flags, "--lambda_perceptual", "2.5", steps=1).get_current_losses()
    assert other["G_Perceptual"] == pytest.approx(losses["G_Perceptual"] / 4)
    plain = train(tmp_path, "pix2pix", steps=1)  # of the same losses, but for one
    assert {**losses, **plain.get_current_losses()} == losses
    moved, alone = weights_of(model), weights_of(plain)
    assert any(not torch.equal(moved[key], alone[key]) for key in alone if key.startswith("G."))
    assert all(torch.equal(moved[key], alone[key]) for key in alone if key.startswith("D."))


def test_vgg19_and_grey_pictures(tmp_path, weights):
    grey = ("--input_nc", "1", "--output_nc", "1")
    vgg = ("--vgg", "vgg19", "--vgg_weights", str(weights["vgg19"]))
    model = train(tmp_path, "pix2pix_with_perceptual", *grey, *vgg, steps=1)
    distance = PerceptualLoss("vgg19", weights["vgg19"])(model.fake_B, model.real_B)
    assert model.get_current_losses()["G_Perceptual"] == pytest.approx(10 * distance.item())


def test_checkpoints_hold_no_vgg_and_testing_needs_none(tmp_path, weights, monkeypatch):
    flags = ("--vgg_weights", str(weights["vgg16"]))
    model = train(tmp_path, "pix2pix_with_perceptual", *flags, steps=0)
    model.save_dir.mkdir()
    model.save_networks("latest")
    files = {file.name: file for file in model.save_dir.iterdir()}
    assert sorted(files) == ["latest_net_D.pth", "latest_net_G.pth"]
    assert sum(file.stat().st_size for file in files.values()) < 1e6

    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    flags = ("--dataroot", str(tmp_path), "--checkpoints_dir", str(tmp_path), "--device", "cpu")
    name = "pix2pix_with_perceptual"
    opt = TestOptions(models.registry, data.registry).parse(
        ["--model", name, "--name", name, "--ngf", "2", "--netG", "resnet_6blocks", *flags]
    )
    tested = models.create_model(opt)
    tested.setup(opt)
    assert torch.equal(
        weights_of(tested)["G.model.1.weight"], weights_of(model)["G.model.1.weight"]
    )


def test_pictures_that_a_vgg_does_not_know_are_refused(tmp_path):
    flags = ("--dataset_mode", "colorization", "--input_nc", "1", "--output_nc", "2")
    line = error_of(lambda: train(tmp_path, "pix2pix_with_perceptual", *flags, steps=0))
    assert "--dataset_mode colorization gives Lab" in line
