"""A network gives the same pictures for a batch as for one picture at a time."""

from __future__ import annotations

import pytest
import torch

from models.networks import define_G
from util.speed.per_sample import normalize_each_alone


@pytest.mark.parametrize("norm", ["batch", "syncbatch", "instance"])
def test_a_batch_gives_what_its_pictures_give_alone(norm):
    torch.manual_seed(1)
    net = define_G(3, 3, 4, "resnet_6blocks", norm, False, "normal", 0.2)
    pictures = torch.rand(3, 3, 16, 16) * torch.tensor([1.0, 0.3, 0.1]).view(3, 1, 1, 1)
    with torch.no_grad():
        alone = torch.cat([net(picture[None]) for picture in pictures])
        together = net(pictures)
        normalize_each_alone(net)
        each_alone = net(pictures)
    torch.testing.assert_close(each_alone, alone, rtol=0, atol=1e-4)
    assert (norm == "instance") == torch.allclose(together, alone, atol=1e-2)
