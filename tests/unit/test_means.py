"""Means whose sums stay on the device."""

import pytest
import torch

from util.step.means import LossMeans, RunningMean


def test_running_mean_weighs_by_images():
    mean = RunningMean()
    assert mean.take() == 0
    mean.add(torch.tensor(2.0, requires_grad=True), 3)
    mean.add(torch.tensor(6.0), 1)
    assert mean.take() == 3
    mean.add(torch.tensor(5.0), 2)
    assert mean.take() == 5  # begun anew


def test_loss_means_weigh_by_images_and_begin_anew():
    means = LossMeans()
    assert means.take() == {}
    means.add(["G", "D"], torch.tensor([2.0, 10.0], requires_grad=True), 3)
    means.add(["G", "D"], torch.tensor([6.0, 20.0]), 1)
    assert means.take() == {"G": 3.0, "D": 12.5}
    means.add(["G", "D"], torch.tensor([5.0, 1.0]), 2)
    assert means.take() == {"G": 5.0, "D": 1.0}


def test_a_loss_that_is_switched_off_leaves_the_means():
    means = LossMeans()
    means.add(["G", "D"], torch.tensor([2.0, 10.0]), 1)
    means.add(["G"], torch.tensor([4.0]), 1)
    assert means.take() == {"G": 4.0}


def test_loss_means_go_on_from_their_state():
    means, again = LossMeans(), LossMeans()
    means.add(["G"], torch.tensor([2.0]), 3)
    again.load_state_dict(means.state_dict())
    again.add(["G"], torch.tensor([6.0]), 1)
    assert again.take() == {"G": 3.0}


def test_another_number_of_processes_takes_the_mean_of_the_sums():
    states = []
    for value in (2.0, 4.0):
        means = LossMeans()
        means.add(["G"], torch.tensor([value]), 4)
        states.append(means.state_dict())
    alone = LossMeans()
    alone.redistribute(states)
    assert alone.take()["G"] == pytest.approx(3.0)
