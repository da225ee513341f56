"""A generator in strips of rows gives what it gives for the whole picture."""

from __future__ import annotations

import argparse
import gc

import pytest
import torch
from torch import nn

from data.transforms import pad
from models.applied import directions_of
from models.base_model import BaseModel, Translation
from models.networks.generators import SIZE_MULTIPLE, define_G
from models.strips import walk
from models.strips.run import in_strips, plan
from models.strips.tiles import in_tiles
from util.errors import UserError
from util.speed.performance import norm_without_view
from util.speed.winograd import use_winograd


def network(netG: str, norm: str = "instance", ngf: int = 4, **more: bool) -> nn.Module:
    torch.manual_seed(0)
    net = define_G(3, 3, ngf, netG, norm, more.pop("dropout", False), **more)
    for weight in net.parameters():  # of all sizes, as after a training, biases too
        nn.init.normal_(weight, 0, 0.5 if weight.ndim == 1 else 0.2 if norm != "none" else 0.05)
    return net


def whole(net: nn.Module, picture: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(5)
    with torch.no_grad():
        return net(picture)


def stripped(net: nn.Module, picture: torch.Tensor, rows: int, **more) -> torch.Tensor:
    torch.manual_seed(5)
    return in_strips(net, picture, rows=rows, **more)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / ((one - other) ** 2).mean().clamp_min(1e-20)))


SIZES = {"resnet_6blocks": (132, 92), "resnet_9blocks": (68, 100), "unet_128": (384, 128)}
SIZES["unet_256"] = (512, 256)


@pytest.mark.parametrize("rows", [1, 37, 10_000])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("netG", SIZES)
def test_strips_give_the_whole_pictures_result(netG, norm, rows) -> None:
    net = network(netG, norm)
    picture = torch.rand(1, 3, *SIZES[netG]) * 2 - 1
    if netG == "unet_256" and rows == 1:
        rows = 8
    wanted, got = whole(net, picture), stripped(net, picture, rows)
    assert got.shape == wanted.shape
    assert psnr(got, wanted) >= 60
    assert (got - wanted).abs().max() * 127.5 < 1


def trained(netG: str, norm: str) -> nn.Module:
    """After a few steps towards a picture's negative."""
    torch.manual_seed(1)
    net = define_G(3, 3, 8, netG, norm)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(6):
        picture = torch.rand(1, 3, 4, 4)
        picture = nn.functional.interpolate(picture, size=(256, 256), mode="bicubic") * 2 - 1
        optimizer.zero_grad()
        (net(picture) + picture).abs().mean().backward()
        optimizer.step()
    return net


@pytest.mark.parametrize("size", [(1536, 2048), (1531, 2045)], ids="{0[1]}x{0[0]}".format)
@pytest.mark.parametrize(
    "netG, norm",
    [
        ("unet_256", "instance"),
        ("unet_256", "batch"),
        ("resnet_9blocks", "instance"),
        pytest.param("resnet_9blocks", "batch", marks=pytest.mark.slow),
    ],
)
def test_three_megapixels(netG, norm, size) -> None:
    """Random weights on a size that fits the network, trained ones on a size that does not."""
    fits = size == (1536, 2048)
    net = network(netG, norm, ngf=8) if fits else trained(netG, norm)
    small = torch.rand(1, 3, size[0] // 64, size[1] // 64)
    picture = nn.functional.interpolate(small, size=size, mode="bicubic") * 1.6 - 0.8
    picture += torch.randn(picture.shape) * 0.02  # grain
    height, width = (-(-side // SIZE_MULTIPLE[netG]) * SIZE_MULTIPLE[netG] for side in size)
    padded = pad(picture[0], (width, height))[None]
    wanted = whole(net, padded)
    assert wanted.std() > 0.05, "it shows something"
    got = stripped(net, padded, 0)
    assert psnr(got, wanted) >= 60
    assert (got - wanted).abs().max() * 127.5 < 1


@pytest.mark.parametrize("kind", ["dropout", "residual"])
@pytest.mark.parametrize("netG", ["resnet_6blocks", "unet_128"])
def test_dropout_and_residual_networks_too(netG, kind) -> None:
    """The mask of a dropout is the one that the whole picture has."""
    net = network(netG, "batch", **{kind: True})
    picture = torch.rand(1, 3, *SIZES[netG]) * 2 - 1
    wanted = whole(net, picture)
    assert psnr(stripped(net, picture, 40), wanted) >= 60
    if kind == "dropout":
        torch.manual_seed(6)
        with torch.no_grad():
            assert psnr(net(picture), wanted) < 60, "it does something"


def test_running_statistics_in_eval_mode() -> None:
    net = network("unet_128", "batch", dropout=True)
    picture = torch.rand(1, 3, 256, 128) * 2 - 1
    whole(net, picture)  # moves the running statistics
    net.eval()
    assert psnr(stripped(net, picture, 50), whole(net, picture)) >= 60


def test_with_the_speed_ups_of_the_program() -> None:
    net = network("resnet_6blocks", ngf=64)  # wide enough for Winograd's algorithm
    norm_without_view(net)
    use_winograd(net)
    picture = torch.rand(1, 3, 132, 128) * 2 - 1
    assert psnr(stripped(net, picture, 64), whole(net, picture)) >= 60


@pytest.mark.parametrize("netG", ["resnet_6blocks", "unet_128"])
def test_bfloat16(netG) -> None:
    net = network(netG, "batch")
    with torch.autocast("cpu", torch.bfloat16):
        wanted = whole(net, picture := torch.rand(1, 3, *SIZES[netG]) * 2 - 1).float()
    assert psnr(stripped(net, picture, 40, dtype=torch.bfloat16), wanted) >= 40


@pytest.mark.parametrize("netG", ["resnet_6blocks", "unet_128"])
def test_flat_pictures_are_finite(netG) -> None:
    """Whose variance is 0, so that a norm has nothing to divide by."""
    net = network(netG)
    assert stripped(net, torch.full((1, 3, *SIZES[netG]), 0.3), 40).isfinite().all()


@pytest.mark.parametrize("netG", ["resnet_6blocks", "unet_128"])
def test_maps_in_a_file_give_the_same_bits(netG, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    net = network(netG)
    picture = torch.rand(1, 3, *SIZES[netG]) * 2 - 1
    in_memory = stripped(net, picture, 40)
    assert torch.equal(stripped(net, picture, 40, most_bytes=0), in_memory)
    assert not [*tmp_path.iterdir()], "no file is left behind"


def test_a_full_disk_is_told_in_one_line(monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(walk.os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"no room for .* GB .*No space left.*TMPDIR"):
        stripped(network("unet_128"), torch.zeros(1, 3, 128, 128), 40, most_bytes=0)


def test_parked_maps_are_let_go_of() -> None:
    """At full width, both kinds of networks hold about 190 bytes a pixel at most."""
    for netG, multiple in (("resnet_9blocks", 4), ("unet_256", 256)):
        net = define_G(3, 3, 64, netG, "instance")
        found = plan(net, torch.zeros(1, 3, 1024, 768), multiple)
        assert 150 <= found.parked / (1024 * 768) <= 210
    gc.collect()
    held = walk.Walk(torch.device("cpu"), 64)
    held.through(net, walk.Parked(torch.zeros(3, 256, 256), torch.device("cpu")))
    gc.collect()
    assert held.held.now == 0


def test_other_layers_are_refused_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.PixelShuffle(1))
    with pytest.raises(walk.NotWalkable, match="PixelShuffle"):
        in_strips(net, torch.zeros(1, 3, 8, 8))
    with pytest.raises(walk.NotWalkable, match="Conv2d"):
        in_strips(nn.Sequential(nn.Conv2d(3, 3, 3, dilation=2)), torch.zeros(1, 3, 8, 8))


def test_progress_grows_to_the_number_of_maps() -> None:
    done: list[float] = []
    stripped(network("resnet_6blocks"), torch.zeros(1, 3, 64, 64), 20, progress=done.append)
    assert len(done) > 10 and sum(done) == pytest.approx(round(sum(done)))


# --- Models whose layers are not known ------------------------------------------------------------


def test_tiles_of_what_changes_nothing_are_the_picture() -> None:
    picture = torch.rand(1, 3, 40, 3000) * 2 - 1
    assert (in_tiles(lambda x: x, picture, 8) - picture).abs().max() < 1e-6
    shapes: list[torch.Size] = []

    def seen(x: torch.Tensor) -> torch.Tensor:
        shapes.append(x.shape[2:])
        return x[:, :1]

    assert in_tiles(seen, picture, 256).shape == (1, 1, 40, 3000)
    assert {shape[1] for shape in shapes} == {1024}


class Shuffled(BaseModel):
    """Somebody's model with a layer that nobody knows."""

    translations = (Translation("G", "real_A", "fake_B", "real_B"),)

    def __init__(self, opt: argparse.Namespace):
        super().__init__(opt)
        self.model_names = ["G"]
        self.netG = nn.Sequential(nn.Conv2d(3, 12, 1), nn.PixelShuffle(2), nn.AvgPool2d(2))

    def set_input(self, input: dict) -> None: ...
    def forward(self) -> None: ...
    def optimize_parameters(self) -> None: ...


def test_unknown_layers_are_tiled_with_a_line(capsys) -> None:
    opt = argparse.Namespace(isTrain=False, device="cpu", checkpoints_dir=".", name="x", tile=1)
    vars(opt).update(size_multiple=4, precision="fp32")
    (direction,) = directions_of(Shuffled(opt))
    picture = torch.rand(1, 3, 1200, 32) * 2 - 1
    in_tiles_ = direction.generate(picture)
    assert "approximate" in capsys.readouterr().out
    opt.tile = 0
    (direction,) = directions_of(model := Shuffled(opt))
    model.netG.load_state_dict(direction.generate.network.state_dict())
    assert direction.generate(picture).shape == in_tiles_.shape
    assert "approximate" not in capsys.readouterr().out
