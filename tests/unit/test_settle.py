"""Where the value of an option comes from: typed > saved > the plug-in's > the default."""

from __future__ import annotations

import copy
import pickle
from argparse import Namespace

import pytest

import data
import models
from options.train_options import TrainOptions
from util.errors import UserError


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Parses a line of train.py where `run` is a run with saved options and a checkpoint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    options = TrainOptions(models.registry, data.registry)

    def parse(line: str) -> Namespace:
        return options.parse(["--dataroot", "photos", "--device", "cpu", *line.split()])

    opt = parse("--name run --model pix2pix --pool_size 4 --netG resnet_6blocks --epoch_count 2")
    options.save(opt)
    (tmp_path / "checkpoints" / "run" / "latest_net_G.pth").touch()
    return parse


@pytest.mark.parametrize(
    "line, pool_size, netG",
    [
        ("--name new", 50, "resnet_9blocks"),
        ("--name new --model pix2pix", 0, "unet_256"),
        ("--name run --continue_train", 4, "resnet_6blocks"),
        ("--name run --continue_train --model pix2pix", 4, "resnet_6blocks"),
        ("--name run --continue_train --pool_size 9", 9, "resnet_6blocks"),
        ("--name run --continue_train --pool_size 50", 50, "resnet_6blocks"),  # the default, typed
    ],
)
def test_the_strongest_source_counts(line, pool_size, netG, parse):
    opt = parse(line)
    assert (opt.pool_size, opt.netG) == (pool_size, netG)
    assert opt.model == ("cycle_gan" if line == "--name new" else "pix2pix")


@pytest.fixture
def foreign(parse, tmp_path):
    """Gives `run` the options that another program saved, one a line."""
    run = tmp_path / "checkpoints" / "run"
    (run / "train_options.json").unlink()
    return (run / "train_opt.txt").write_text


def test_what_another_program_saved_and_does_not_fit_gives_way_to_the_next(parse, foreign, capsys):
    foreign("model: pix2pix\nnetG: resnet_6blocks\nlr_policy: strange\npool_size: few\nbeta1: 0.25")
    capsys.readouterr()
    opt = parse("--name run --continue_train --lr_policy step")
    assert (opt.netG, opt.beta1, opt.lr_policy, opt.pool_size) == (
        "resnet_6blocks",
        0.25,
        "step",
        0,
    )
    told = capsys.readouterr().out
    assert "'few' is not a whole number of at least 0; using --pool_size 0" in told
    assert "strange" not in told  # since it is typed anew


def test_of_the_architecture_it_is_refused_since_no_default_can_stand_in(parse, foreign):
    foreign("model: pix2pix\nnetG: unet_512")
    with pytest.raises(UserError, match="netG: 'unet_512' is not one of"):
        parse("--name run --continue_train")


@pytest.mark.parametrize(
    "line, restarts, resume_at",
    [
        ("--name new --epoch_count 3", 0, 0),
        ("--name new --continue_train auto --epoch_count 3", 0, 0),
        ("--name run --overwrite --epoch_count 3", 0, 0),
        ("--name run --continue_train", 0, 0),
        ("--name run --continue_train --epoch_count 3", 0, 3),
        ("--name run --continue_train auto --epoch_count 1", 0, 1),
        ("--name run --continue_train --epoch_count 3", 1, 0),
        ("--name run --continue_train --epoch_count 3 --load_pretrain photos", 0, 0),
        ("--name new --continue_train --epoch_count 3 --load_pretrain photos", 0, 0),
    ],
)
def test_epoch_count_moves_a_run_that_resumes_unless_it_said_where_it_began(
    line, restarts, resume_at, parse, monkeypatch
):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
    opt = parse(line)
    assert opt.resume_at == resume_at
    assert "resume_at" not in vars(opt)  # which are printed and saved
    for copied in (copy.copy(opt), copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert (copied, copied.resume_at) == (opt, resume_at)
