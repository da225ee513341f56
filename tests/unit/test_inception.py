"""The features of Inception: of both kinds of files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.networks.inception import InceptionFeatures
from util.errors import UserError
from util.torchvision_compat import import_torchvision

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """torchvision's network with random weights that keep values in range."""
    torch.manual_seed(0)
    module = import_torchvision("torchvision.models.inception")
    made = module.Inception3(aux_logits=False, init_weights=False).eval().requires_grad_(False)
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
    return made


@pytest.fixture(scope="module")
def files(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind, which differ in the classes and in what else may be there."""
    folder, state = tmp_path_factory.mktemp("weights"), network.state_dict()
    torch.save({**state, "AuxLogits.fc.bias": torch.ones(1000)}, folder / "torchvision.pth")
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    old |= {"fc.weight": torch.ones(1008, 2048), "fc.bias": torch.ones(1008)}
    torch.save(old, folder / "fid.pth")
    return {kind: folder / f"{kind}.pth" for kind in ("torchvision", "fid")}


def pictures(channels: int = 3, height: int = 299, width: int = 299) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, channels, height, width, generator=generator) * 2 - 1


def of_torchvision(network: nn.Module, picture: torch.Tensor) -> torch.Tensor:
    found = []
    hook = network.fc.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    network(picture)
    hook.remove()
    return found[0]


def of_fid(network: nn.Module, picture: torch.Tensor) -> torch.Tensor:
    """The same with the pooling of the original FID: each block as its branches, one by one."""

    def mean(x: torch.Tensor) -> torch.Tensor:
        inside = F.avg_pool2d(torch.ones_like(x), 3, 1, 1)  # the share of a window inside
        return F.avg_pool2d(x, 3, 1, 1) / inside

    x = picture
    for name, block in network.named_children():
        if name == "avgpool":
            return x.mean((2, 3))
        if not hasattr(block, "branch_pool"):
            x = block(x)
            continue
        pooled = F.max_pool2d(x, 3, 1, 1) if name == "Mixed_7c" else mean(x)
        branches = [block.branch1x1(x)]
        if name.startswith("Mixed_5"):
            branches.append(block.branch5x5_2(block.branch5x5_1(x)))
            branches.append(block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x))))
        elif name.startswith("Mixed_6"):
            branches.append(block.branch7x7_3(block.branch7x7_2(block.branch7x7_1(x))))
            y = x
            for number in range(1, 6):
                y = getattr(block, f"branch7x7dbl_{number}")(y)
            branches.append(y)
        else:
            y = block.branch3x3_1(x)
            branches += [block.branch3x3_2a(y), block.branch3x3_2b(y)]
            y = block.branch3x3dbl_2(block.branch3x3dbl_1(x))
            branches += [block.branch3x3dbl_3a(y), block.branch3x3dbl_3b(y)]
        x = torch.cat([*branches, block.branch_pool(pooled)], 1)
    raise AssertionError


@pytest.mark.parametrize("kind, by_hand", [("torchvision", of_torchvision), ("fid", of_fid)])
def test_features_are_those_of_the_network_in_the_file(network, files, kind, by_hand):
    features = InceptionFeatures(files[kind])
    picture = pictures()
    wanted = by_hand(network, picture)
    assert wanted.shape == (1, 2048) and wanted.std() > 0.01
    torch.testing.assert_close(features(picture), wanted, rtol=1e-3, atol=1e-4)
    other = of_fid if by_hand is of_torchvision else of_torchvision
    assert (features(picture) - other(network, picture)).abs().max() > 0.01
    nn.ModuleList([features]).train()
    assert torch.equal(features(picture.requires_grad_(True)), features(picture))
    assert not features(picture).requires_grad


def test_pictures_of_any_size_and_grey_ones(network, files):
    """Texture too fine for the result is averaged, whatever its phase."""
    features = InceptionFeatures(files["torchvision"])
    grey = pictures(1, 100, 130)
    assert features(grey).shape == (1, 2048)
    torch.testing.assert_close(features(grey), features(grey.repeat(1, 3, 1, 1)))
    stripes = torch.tensor([1.0, -1, -1, 1]).repeat(299).expand(1, 3, 1196, 1196)
    flat = features(torch.zeros(1, 3, 299, 299))
    assert (features(stripes) - flat).abs().mean() < 0.01 * flat.std()


def error_of(file: Path) -> str:
    with pytest.raises(UserError) as error:
        InceptionFeatures(file)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    return line


def test_other_files_are_refused_in_one_line(network, tmp_path):
    line = error_of(tmp_path / "none.pth")
    assert "--inception_weights" in line and "none.pth" in line and "inception_v3" in line
    (tmp_path / "notes.txt").write_text("hello world")
    line = error_of(tmp_path / "notes.txt")
    assert "notes.txt" in line and "--inception_weights" in line and "pt_inception" in line
    state = network.state_dict()
    for key, changed in {
        "Mixed_7c.branch_pool.conv.weight": torch.ones(3),
        "fc.weight": torch.ones(10, 2048),  # trained further, for other classes
    }.items():
        torch.save({**state, key: changed}, tmp_path / "other.pth")
        line = error_of(tmp_path / "other.pth")
        assert "other.pth" in line and key in line
    del state["fc.weight"]
    torch.save(state, tmp_path / "other.pth")
    assert "fc.weight" in error_of(tmp_path / "other.pth")


def test_it_draws_no_random_number(files):
    before = torch.get_rng_state()
    InceptionFeatures(files["fid"])
    assert torch.equal(torch.get_rng_state(), before)
