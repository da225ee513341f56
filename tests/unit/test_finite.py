"""A run with values that are not finite stops before a checkpoint contains them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from models.pix2pix_model import Pix2PixModel
from util.distributed import Share
from util.errors import UserError
from util.image_pool import ImagePool
from util.step import Steps
from util.step.ema import EMA
from util.step.finite import READ_EVERY, FiniteGuard
from util.util import all_finite

NAN, INF = math.nan, math.inf


WHOLE = Share(0, 1, 1, 1.0)


class Training:
    """Steps of a network of one weight, whose loss is `factor` times that weight.

    What Steps needs of a model. `folder` has a checkpoint 7.
    """

    generator_loss = torch.tensor(0.0)

    def __init__(self, folder: Path, tolerated: int = 0):
        (folder / "7_state.pth").touch()
        self.save_dir = folder
        self.net = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.net.weight)
        self.optimizers = [torch.optim.Adam(self.net.parameters(), lr=0.1)]
        self.num_steps, self.told = 0, {}
        ema = EMA({}, [], 0.0)
        self.steps = Steps(self, ema, [None], tolerated=tolerated)
        self.guard = self.steps.guard

    def networks(self) -> dict[str, nn.Module]:
        return {"G": self.net}

    def losses(self) -> dict[str, torch.Tensor]:
        return self.told

    def memories(self) -> dict[str, object]:
        return {}

    def get_image_paths(self) -> list[str]:
        return [f"photos/{self.num_steps}.png"]

    def step(self, factor: float = 1.0, loss: float | None = None) -> None:
        """One step; `loss` is told to the guard instead of the real one."""
        self.num_steps += 1
        with self.steps.step(WHOLE):
            (optimizer,) = self.optimizers
            optimizer.zero_grad()
            real = (self.net.weight * factor).sum()
            real.backward()
            optimizer.step()
            told = real if loss is None else torch.tensor(loss)
            self.told = {"G_GAN": torch.tensor(0.5), "G_L1": told}

    @property
    def weight(self) -> float:
        return self.net.weight.item()


@pytest.fixture
def training(tmp_path) -> Training:
    return Training(tmp_path)


@pytest.fixture
def tolerant(tmp_path) -> Callable[[int], Training]:
    """A training run that skips up to this many steps."""
    return lambda tolerated: Training(tmp_path, tolerated)


def stopped(act: Callable[[], None]) -> str:
    """The one line that ends it."""
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_loss_that_is_not_finite_names_losses_images_and_checkpoint(value, training):
    for _ in range(2):
        training.step()
    message = stopped(lambda: training.step(loss=value))
    # The step before may have spoilt the weights.
    for part in ("G_GAN 0.5", f"G_L1 {value:g}", "photos/2.png, photos/3.png", "checkpoint is 7"):
        assert part in message
    assert "photos/1.png" not in message
    assert "--skip_nonfinite" in message


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(value, training):
    """If the loss of that step was finite, the weights are still checked before a save."""
    training.step()
    training.guard.check_weights()
    training.step(factor=value, loss=1.0)
    message = stopped(training.guard.check_weights)
    assert "photos/2.png" in message
    assert "checkpoint is 7" in message


class OnGpu(torch.Tensor):
    """Says that it is on a GPU, where reading it would wait."""

    device = torch.device("cuda")


@pytest.mark.parametrize("bad", [1, 3, READ_EVERY - 1])
def test_losses_on_a_gpu_are_read_seldom_and_before_a_save(bad, tolerant):
    """And the first bad one is named, with its images and those of the step before."""

    def steps(count: int) -> Training:
        training = tolerant(0)
        for number in range(1, count + 1):
            loss = torch.tensor(NAN if number == bad else 1.0).as_subclass(OnGpu)
            training.guard.begin([f"photos/{number}.png"])
            training.guard.end({"G": loss})
        return training

    images = ", ".join(f"photos/{number}.png" for number in (bad - 1, bad) if number)
    for notice in (steps(bad).guard.check_weights, lambda: steps(READ_EVERY)):
        assert f"with the images {images} or" in stopped(notice)


def test_a_statistic_that_is_not_finite_never_reaches_a_checkpoint(tmp_path):
    """Batch norm's running averages are part of a checkpoint, and test.py --eval uses them."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    guard = FiniteGuard([net], 0, tmp_path)
    guard.check_weights()
    net[1].running_var.fill_(INF)
    stopped(guard.check_weights)


def test_sound_steps_change_nothing(tolerant):
    guarded, bare = tolerant(1), tolerant(0)
    bare.guard.check_weights = bare.guard.check_losses = lambda: None
    for training in (guarded, bare):
        for _ in range(3 * READ_EVERY):
            training.step()
            training.guard.check_weights()
    assert guarded.weight == bare.weight


def test_steps_are_left_out_up_to_the_number(tolerant):
    training = tolerant(2)
    training.step()
    weight = training.weight
    training.step(factor=NAN)
    assert training.weight == weight
    training.step(factor=INF)
    assert training.weight == weight
    training.guard.check_weights()
    training.step()
    assert training.weight != weight
    message = stopped(lambda: training.step(factor=NAN))
    assert "photos/5.png" in message
    assert math.isfinite(training.weight)


def test_a_step_that_was_left_out_leaves_the_optimizer_alone(tolerant):
    training, other = tolerant(1), tolerant(1)
    training.step()
    training.step(factor=NAN)
    training.step()
    other.step()
    other.step()
    assert training.weight == other.weight


def test_gradients_that_are_large_but_finite_pass(tolerant):
    training = tolerant(1)
    training.step(factor=1e30)
    assert training.guard.skipped == 0


def test_a_step_of_two_optimizers_counts_once(tolerant):
    """As pix2pix and CycleGAN have: one bad picture spoils generator and discriminator alike."""
    training = tolerant(1)
    training.optimizers.append(torch.optim.Adam(nn.Linear(1, 1).parameters()))
    steps = Steps(training, EMA({}, [], 0.0), [None, None], tolerated=1)
    with steps.step(WHOLE):
        for optimizer in training.optimizers:
            (optimizer.param_groups[0]["params"][0] * NAN).sum().backward()
            optimizer.step()
        training.told = {"G": torch.tensor(NAN)}
    steps.guard.check_weights()


def test_a_step_that_was_left_out_leaves_no_trace_in_statistics_and_pools(tolerant):
    """The forward pass has already used those values."""
    training = tolerant(1)
    training.net = net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    training.optimizers = [optimizer] = [torch.optim.Adam(net.parameters())]
    pool, sound = ImagePool(2), torch.ones(1, 1, 4, 4)
    training.memories = lambda: {"pool": pool}
    steps = Steps(training, EMA({}, [], 0.0), [None], tolerated=1)
    for picture in (sound, sound * INF):
        before = {key: value.clone() for key, value in net.state_dict().items()}
        with steps.step(WHOLE):
            optimizer.zero_grad()
            result = net(picture)
            pool.query(result)
            result.sum().backward()
            optimizer.step()
            training.told = {"G": result.sum()}
    steps.guard.check_weights()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert len(pool.images) == 1
    assert pool.images[0].isfinite().all()


def test_the_number_of_steps_left_out_is_remembered(tolerant):
    first, again = tolerant(2), tolerant(2)
    first.step(factor=NAN)
    again.guard.load_state_dict(first.guard.state_dict())
    again.step(factor=NAN)
    stopped(lambda: again.step(factor=NAN))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_all_finite(value):
    assert all_finite([torch.ones(3), torch.zeros(2, 2)])
    assert not all_finite([torch.ones(3), torch.tensor([[1.0, value]])])
    assert all_finite([torch.full((4,), 1e38), torch.full((4,), -1e38)])


# --- Through train.py -----------------------------------------------------------------------------


@pytest.fixture
def flags(pictures) -> list[str]:
    line = f"--dataroot {pictures.side_by_side(4, (24, 24))} --name run --model pix2pix --ngf 2"
    line += " --netG resnet_6blocks --ndf 2 --load_size 24 --crop_size 24 --num_threads 0 --seed 1"
    line += " --device cpu --n_epochs 2 --n_epochs_decay 0 --print_freq 1 --save_epoch_freq 1"
    return line.split()


def whole_and_finite(folder: Path) -> None:
    for file in folder.glob("*_net_*.pth"):
        for key, value in torch.load(file, weights_only=True).items():
            assert value.isfinite().all(), (file, key)


def test_training_that_diverges_stops_and_saves_nothing(flags, tmp_path, run_here):
    done = run_here("train.py", *flags, "--lr", "1e30")
    assert done.status == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no checkpoint was saved yet" in done.stderr
    assert ".png" in done.stderr
    assert not list((tmp_path / "checkpoints" / "run").glob("*.pth*"))


def test_training_that_diverges_later_names_the_last_good_checkpoint(flags, tmp_path, run_here):
    assert run_here("train.py", *flags).status == 0
    done = run_here("train.py", "--name", "run", "--continue_train", "--n_epochs", "9",
                    "--lr", "1e30", "--save_latest_freq", "1")  # fmt: skip
    assert done.status == 2
    assert "the last good checkpoint is" in done.stderr
    whole_and_finite(tmp_path / "checkpoints" / "run")
    assert run_here("train.py", "--name", "run", "--continue_train", "--lr", "0.0002",
                    "--n_epochs", "3").status == 0  # fmt: skip


@pytest.mark.parametrize(
    "when",
    [
        "--save_latest_freq 1",
        "--save_latest_freq 99 --save_latest_minutes 1e-9",
        "--save_latest_freq 99 --max_dataset_size 1",  # at the end of the epoch
    ],
)
def test_weights_that_are_no_numbers_are_never_saved(when, flags, tmp_path, run_here, monkeypatch):
    """An update made them not finite, though all losses of its step were finite."""
    step = Pix2PixModel.optimize_parameters

    def spoil(model: Pix2PixModel) -> None:
        step(model)
        next(model.netD.parameters()).data.view(-1)[-1] = NAN

    monkeypatch.setattr(Pix2PixModel, "optimize_parameters", spoil)
    done = run_here("train.py", *flags, *when.split())
    assert done.status == 2
    assert "a weight or statistic is not finite, with the images" in done.stderr
    assert "no checkpoint was saved yet" in done.stderr
    assert not list((tmp_path / "checkpoints" / "run").glob("*.pth*"))


@pytest.fixture
def without_numbers(monkeypatch) -> None:
    """Training gets no numbers of picture p3.png."""
    whole = Pix2PixModel.set_input

    def set_input(model: Pix2PixModel, batch: dict) -> None:
        whole(model, batch)
        if "p3.png" in model.image_paths[0]:
            model.real_A = model.real_A * NAN

    monkeypatch.setattr(Pix2PixModel, "set_input", set_input)


@pytest.mark.usefixtures("without_numbers")
def test_skip_nonfinite_leaves_out_a_picture_as_if_it_were_not_there(flags, tmp_path, run_here):
    """In weights, moments, statistics, averages, pools and in plateau's mean."""
    flags += "--pool_size 9 --norm batch --ema 0.9 --lr_policy plateau --serial_batches".split()
    done = run_here("train.py", *flags, "--skip_nonfinite", "2")
    assert (done.status, done.stderr) == (0, "")
    run = tmp_path / "checkpoints" / "run"
    whole_and_finite(run)
    state = torch.load(run / "latest_state.pth", weights_only=True)
    model, (process,) = state["model"], state["processes"]
    steps = {int(m["step"]) for o in model["optimizers"] for m in o["state"].values()}
    assert steps == {2 * 3}
    assert all(math.isfinite(schedule["best"]) for schedule in model["schedulers"])
    images = process["model.fake_AB_pool"]["images"]
    assert len(images) == 6
    assert all(image.isfinite().all() for image in images)


@pytest.mark.usefixtures("without_numbers")
@pytest.mark.parametrize("in_pieces", [False, True])
def test_skip_nonfinite_counts_over_the_whole_run(in_pieces, flags, tmp_path, run_here):
    """The picture comes once in each of two epochs."""
    flags += ["--skip_nonfinite", "1"]
    if in_pieces:
        assert run_here("train.py", *flags, "--n_epochs", "1").status == 0
        flags = ["--name", "run", "--continue_train", "--n_epochs", "2", "--device", "cpu"]
    done = run_here("train.py", *flags)
    assert done.status == 2
    assert "a gradient is not finite, time 2, with the images" in done.stderr
    assert "p3.png" in done.stderr
    assert sum(f"p{number}.png" in done.stderr for number in range(4)) == 1
    whole_and_finite(tmp_path / "checkpoints" / "run")


def test_skip_nonfinite_gives_up_after_the_number(flags, tmp_path, run_here):
    done = run_here("train.py", *flags, "--lr", "1e30", "--skip_nonfinite", "3")
    assert done.status == 2
    whole_and_finite(tmp_path / "checkpoints" / "run")
    lines = (tmp_path / "checkpoints" / "run" / "metrics.jsonl").read_text().splitlines()
    for line in lines:
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_model_without_losses_is_watched_by_its_weights(training):
    for images in (["photos/1.png"], ["photos/2.png"]):
        training.guard.begin(images)
        training.guard.end({})
    training.guard.check_weights()
    training.net.weight.data.fill_(NAN)
    assert "photos/2.png" in stopped(training.guard.check_weights)
