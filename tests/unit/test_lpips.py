"""LPIPS against its definition with made-up weights, and its sense with the published ones."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny import build
from torch import nn

from models.losses.lpips import LPIPS
from util.errors import UserError
from util.torchvision_compat import import_torchvision

WIDTHS = (64, 128, 256, 512, 512)
ENDS = (3, 8, 15, 22, 29)  # torchvision's numbers of relu1_2, relu2_2, relu3_3, relu4_3, relu5_3

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def vgg() -> nn.Sequential:
    """The layers of a VGG16 with random weights that keep values in range."""
    module = import_torchvision("torchvision.models.vgg")
    layers = module.make_layers(module.cfgs["D"]).requires_grad_(False)
    torch.manual_seed(0)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    return layers


@pytest.fixture(scope="module")
def files(vgg: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, generator = tmp_path_factory.mktemp("weights"), torch.Generator().manual_seed(1)
    heads = {
        f"lin{j}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for j, width in enumerate(WIDTHS)
    }
    torch.save({f"features.{k}": v for k, v in vgg.state_dict().items()}, folder / "vgg.pth")
    torch.save(heads, folder / "heads.pth")
    return folder / "vgg.pth", folder / "heads.pth"


@pytest.fixture(scope="module")
def lpips(files: tuple[Path, Path]) -> LPIPS:
    return LPIPS(*files)


def pictures(channels: int = 3, height: int = 32, width: int = 32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(2, channels, height, width, generator=generator) * 2 - 1 for _ in "ab")


def by_hand(vgg: nn.Sequential, heads_file: Path, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(N,) in float64, with the constants that LPIPS's authors give for values in [-1, 1]."""
    heads = torch.load(heads_file, weights_only=True)
    shift, scale = (
        torch.tensor(values).double()[:, None, None]
        for values in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450])
    )
    x, y = ((p.double().expand(-1, 3, -1, -1) - shift) / scale for p in (a, b))
    total = torch.zeros(len(a), dtype=torch.float64)
    for number, layer in enumerate(copy.deepcopy(vgg[:30]).double()):
        x, y = (layer(p.clone()) for p in (x, y))  # its ReLUs work in place
        if number in ENDS:
            head = heads[f"lin{ENDS.index(number)}.model.1.weight"].double()
            lengths = (p.square().sum(1, keepdim=True).sqrt() + 1e-10 for p in (x, y))
            difference = x / next(lengths) - y / next(lengths)
            total = total + F.conv2d(difference**2, head).mean((1, 2, 3))
    return total


def error_of(vgg_weights: Path | None, heads: Path | None) -> str:
    """The one line that the user sees."""
    with pytest.raises(UserError) as error:
        LPIPS(vgg_weights, heads)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize("channels, height, width", [(3, 32, 48), (1, 33, 46), (3, 16, 16)])
def test_it_is_as_by_hand(lpips, vgg, files, channels, height, width):
    """Odd sides, of which pooling leaves a row over, and grey pictures, too."""
    a, b = pictures(channels, height, width)
    wanted = by_hand(vgg, files[1], a, b)
    assert wanted.min() > 0.1
    found = lpips.distance(lpips.features(a), lpips.features(b))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=0)
    assert lpips(a, b).item() == pytest.approx(wanted.mean().item(), rel=1e-3)
    assert found[0] != found[1]


def test_kept_features_of_a_target_serve_for_each_result(lpips):
    """In half precision too, to the third digit."""
    a, b = pictures()
    kept = lpips.features(b)
    assert lpips.distance(lpips.features(a), kept).mean() == lpips(a, b)
    half = [layer.half() for layer in kept]
    found = lpips.distance(lpips.features(a), half).mean().item()
    assert found == pytest.approx(lpips(a, b).item(), rel=1e-3)
    assert lpips(b, b) == 0


def test_gradients_are_those_by_hand_and_flow_to_the_first_alone(lpips, vgg, files):
    a, b = (picture.requires_grad_(True) for picture in pictures())
    lpips(a, b).backward()
    (wanted,) = torch.autograd.grad(by_hand(vgg, files[1], a, b).mean(), a)
    assert wanted.abs().max() > 1e-5
    torch.testing.assert_close(a.grad, wanted, rtol=0.01, atol=1e-3 * wanted.abs().max().item())
    assert b.grad is None
    assert all(p.grad is None and not p.requires_grad for p in lpips.parameters())


def test_places_without_activations_have_gradients(files, tmp_path):
    """Where all channels of a layer are 0, their direction is undefined."""
    state = torch.load(files[0], weights_only=True)
    for key in ("features.0.bias", "features.28.bias"):
        state[key] = torch.full_like(state[key], -1e3)
    torch.save(state, tmp_path / "dead.pth")
    a, b = pictures()
    a.requires_grad_(True)
    distance = LPIPS(tmp_path / "dead.pth", files[1])(a, b)
    distance.backward()
    assert distance.isfinite() and a.grad.isfinite().all()


def test_small_pictures_are_refused(lpips):
    with pytest.raises(UserError, match=r"at least 16 pixels, .* 40x15; raise --crop_size"):
        lpips(*pictures(height=15, width=40))


def test_files_that_do_not_fit_are_told(files, tmp_path, monkeypatch):
    vgg_file, heads = files
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "vgg16-397923af.pth" in error_of(None, heads)
    assert "lpips_vgg_v0.1.pth" in error_of(vgg_file, None)
    line = error_of(vgg_file, vgg_file)
    assert "vgg.pth" in line and "lin0.model.1.weight" in line and "--lpips_weights FILE" in line
    line = error_of(heads, heads)
    assert "vgg16" in line and "features.0.weight" in line and "--vgg_weights FILE" in line
    state = torch.load(heads, weights_only=True)
    torch.save({**state, "lin4.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "alex.pth")
    assert "lin4.model.1.weight" in error_of(vgg_file, tmp_path / "alex.pth")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth").write_bytes(vgg_file.read_bytes())
    (tmp_path / "hub" / "checkpoints" / "lpips_vgg_v0.1.pth").write_bytes(heads.read_bytes())
    LPIPS()


def test_it_draws_no_random_number(files):
    before = torch.get_rng_state()
    LPIPS(*files)
    assert torch.equal(torch.get_rng_state(), before)


# --- As a loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", ["3", "1"])
def test_it_joins_the_generators_objective(channels, files, tmp_path):
    """Its value, and the gradients of the whole objective, against a computation by hand."""
    flags = ["--vgg_weights", str(files[0]), "--lpips_weights", str(files[1])]
    flags += ["--output_nc", channels, "--gan_mode", "lsgan", "--lambda_L1", "2"]
    plain = build(tmp_path, "pix2pix", *flags, dtype=torch.float32)
    model = build(tmp_path, "pix2pix", *flags, "--lambda_lpips", "5", dtype=torch.float32)
    netG = copy.deepcopy(model.netG)
    for each in (plain, model):
        each.optimize_parameters()

    fake = netG(model.real_A)
    judged = model.netD(torch.cat((model.real_A, fake), 1))  # which the step on G left alone
    expected = {
        "G_GAN": ((judged - 1) ** 2).mean(),
        "G_L1": 2 * F.l1_loss(fake, model.real_B),
        "G_lpips": 5 * LPIPS(*files)(fake, model.real_B),
    }
    losses = model.get_current_losses()
    assert list(losses) == [*expected, "D_real", "D_fake"]
    for name, loss in expected.items():
        assert losses[name] == pytest.approx(loss.item(), rel=1e-5)
    total = sum(expected.values())
    assert model.generator_loss.item() == pytest.approx(total.item(), rel=1e-6)
    total.backward()
    for ours, theirs in zip(model.netG.parameters(), netG.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)

    assert list(plain.get_current_losses()) == ["G_GAN", "G_L1", "D_real", "D_fake"]
    for ours, theirs in zip(model.netD.parameters(), plain.netD.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert set(model.networks()) == {"G", "D"}  # no checkpoint holds a VGG


def test_all_losses_of_pairs_are_listed_in_one_order(files, tmp_path):
    flags = ["--vgg_weights", str(files[0]), "--lpips_weights", str(files[1])]
    flags += "--lambda_lpips 10 --lambda_feat 10 --gan_mode wgangp".split()
    model = build(tmp_path, "pix2pix_with_perceptual", *flags)
    names = "G_GAN G_feat G_L1 G_Perceptual G_lpips D_real D_fake D_GP"
    assert " ".join(model.loss_names) == names


@pytest.mark.parametrize(
    "model, flags, told",
    [
        ("colorization", [], "--output_nc 2; pass --lambda_lpips 0"),
        ("pix2pix", ["--output_nc", "4"], "--output_nc 4; pass --lambda_lpips 0"),
        ("pix2pix", ["--lpips_weights", "nowhere.pth"], "nowhere.pth: there is no such file"),
    ],
)
def test_what_it_cannot_compare_is_refused(model, flags, told, tmp_path):
    with pytest.raises(UserError) as error:
        build(tmp_path, model, *flags, "--lambda_lpips", "3")
    assert told in str(error.value) and "\n" not in str(error.value)


REAL = Path(os.environ.get("LPIPS_WEIGHTS", ""))


@pytest.mark.skipif(
    "LPIPS_WEIGHTS" not in os.environ,
    reason="needs LPIPS_WEIGHTS=FOLDER with vgg16_features.pth and lpips_lin_vgg_v0.1.pth",
)
def test_with_the_published_weights_it_judges_like_people():
    """Blur and noise look worse than a slight shift of brightness; another person, worst."""
    lpips = LPIPS(REAL / "vgg16_features.pth", REAL / "lpips_lin_vgg_v0.1.pth")
    portraits = Path(__file__).resolve().parents[2] / "datasets" / "portrait_retouch" / "trainB"
    loaded = []
    for file in sorted(portraits.glob("*.jpg"))[:2]:
        with Image.open(file) as opened:
            levels = torch.tensor(np.asarray(opened.convert("RGB").resize((128, 128))))
        loaded.append(levels.permute(2, 0, 1)[None] / 127.5 - 1)
    picture, other = loaded
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    changes = [
        picture * 0.98,
        picture + 0.05 * noise,
        F.avg_pool2d(picture, 3, 1, 1),
        F.avg_pool2d(picture, 7, 1, 3),
        other,
    ]
    far = [lpips(changed, picture).item() for changed in changes]
    assert 0 < far[0] < 0.02 < min(far[1], far[2])
    assert far[2] < far[3] < far[4] < 1
    assert all(head.min() >= 0 for head in lpips.heads)
