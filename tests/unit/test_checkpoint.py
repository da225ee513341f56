"""Weights on disk: whole or not at all, never code, and errors that say what is there."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import util.run.checkpoint
from models.base_model import BaseModel
from util.errors import UserError
from util.run.checkpoint import Checkpoints, load_weights, save_weights

ONE = torch.ones(1)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


class Attack:
    """Unpickled by a careless program, it would make a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def refused(path: Path) -> str:
    """The one line that refuses a file."""
    with pytest.raises(UserError) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_round_trip_is_exact(tmp_path):
    net = network()
    net(torch.randn(2, 3, 8, 8))  # moves the running statistics
    save_weights(net, tmp_path / "latest_net_G.pth")
    state = load_weights(tmp_path / "latest_net_G.pth")
    assert list(state) == list(net.state_dict())
    for key, value in net.state_dict().items():
        assert torch.equal(state[key], value)
    assert os.listdir(tmp_path) == ["latest_net_G.pth"]


def test_file_is_a_bare_state_dict_that_anyone_can_load(tmp_path):
    save_weights(network(), tmp_path / "x.pth")
    state = torch.load(tmp_path / "x.pth", weights_only=True)
    assert type(state) is dict
    network().load_state_dict(state)
    assert all(v.device.type == "cpu" and not v.requires_grad for v in state.values())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("torn")])
def test_failed_save_leaves_the_old_file(error, tmp_path, monkeypatch):
    path = tmp_path / "latest_net_G.pth"
    save_weights(network(), path)
    before = path.read_bytes()

    def fail_halfway(state, file):
        file.write(b"half a file")
        raise error

    monkeypatch.setattr(util.run.checkpoint.torch, "save", fail_halfway)
    with pytest.raises(UserError) as caught:
        Checkpoints(tmp_path, {"G": network()}, {}, {}).save("latest")
    assert str(tmp_path) in str(caught.value)
    assert str(error) in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_stopped_in_the_middle_leaves_the_old_file(tmp_path, monkeypatch):
    """As Ctrl-C or a power cut does: whatever is left over, the checkpoint itself is whole."""
    path = tmp_path / "latest_net_G.pth"
    save_weights(network(), path)
    before = path.read_bytes()

    def stop(state, file):
        file.write(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(util.run.checkpoint.torch, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        save_weights(network(), path)
    assert path.read_bytes() == before


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "latest_net_G.pth"
    for save in (torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))):
        save({"weight": Attack(tmp_path / "attacked")}, path)
        assert "code" in refused(path)
        assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>404 Not Found</html>", b"\x80\x04N."])
def test_a_file_that_is_no_checkpoint(content, tmp_path, recwarn):
    path = tmp_path / "latest_net_G.pth"
    path.write_bytes(content)
    assert refused(path) == f"{path} is damaged, or is not a file of PyTorch weights"
    assert [str(w.message) for w in recwarn] == []


def test_a_file_that_is_cut_off(tmp_path):
    path = tmp_path / "latest_net_G.pth"
    save_weights(network(), path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in refused(path)


@pytest.mark.parametrize(
    "content",
    [[ONE], ONE, {"epoch": 3}, {"w": ONE, "epoch": 3}, {"model": {"w": ONE}}, {0: ONE}],
)
def test_what_is_no_state_dict_of_one_network(content, tmp_path):
    path = tmp_path / "latest_net_G.pth"
    torch.save(content, path)
    assert "state_dict" in refused(path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(prefix, tmp_path):
    state = network().state_dict()
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "x.pth")
    assert list(load_weights(tmp_path / "x.pth")) == list(state)


def test_a_missing_label_lists_those_that_exist_newest_first(tmp_path):
    for age, label in enumerate(["latest", "10", "5", "iter_400"]):
        path = tmp_path / f"{label}_net_G.pth"
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "99_net_D.pth").touch()
    message = refused(tmp_path / "7_net_G.pth")
    assert "latest, 10, 5, iter_400" in message
    assert "99" not in message
    assert "--epoch" in message


def test_a_missing_network_lists_those_that_exist(tmp_path):
    (tmp_path / "latest_net_G_A.pth").touch()
    (tmp_path / "latest_net_G_B.pth").touch()
    message = refused(tmp_path / "latest_net_G.pth")
    assert "G_A" in message
    assert "G_B" in message


def test_a_folder_without_checkpoints(tmp_path):
    assert "no checkpoints" in refused(tmp_path / "latest_net_G.pth")


# --- Through a model ------------------------------------------------------------------------------


class Loading(BaseModel):
    """Just enough of a model to load one network."""

    def __init__(self, folder: Path, net: nn.Module):
        self.save_dir, self.model_names, self.netG = folder, ["G"], net

    def set_input(self, input):
        raise NotImplementedError

    forward = optimize_parameters = set_input


def test_weights_that_do_not_fit_say_how(tmp_path):
    save_weights(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Identity(), nn.Conv2d(8, 1, 1)),
                 tmp_path / "latest_net_G.pth")  # fmt: skip
    net = network()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError) as caught:
        Loading(tmp_path, net).load_networks("latest")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("latest_net_G.pth", "of another shape", "missing", "unexpected", "--ngf"):
        assert part in message
    for key in ("0.weight", "1.weight", "2.weight"):  # an example of each
        assert key in message
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_unused_buffers_of_old_instance_norm_files_are_dropped(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4))
    state = dict(net.state_dict())
    state["1.running_mean"], state["1.running_var"] = torch.zeros(4), torch.ones(4)
    state["1.num_batches_tracked"] = torch.tensor(7)
    saved = state["0.weight"].clone()
    torch.save(state, tmp_path / "latest_net_G.pth")
    nn.init.zeros_(net[0].weight)
    Loading(tmp_path, net).load_networks("latest")
    assert torch.equal(net[0].weight, saved) and not list(net.buffers())
