"""Learning rates, epoch by epoch, written out."""

from __future__ import annotations

import math
from argparse import Namespace

import pytest
import torch

from models import networks
from models.schedules import make_scheduler
from util.errors import UserError

LR = 0.0002


def build(policy: str, epoch_count: int = 1, lr: float = LR, **changes):
    """An optimizer with one weight and its schedule: (4 epochs + 3 of decay, a step each 2)."""
    opt = Namespace(
        lr_policy=policy, n_epochs=4, n_epochs_decay=3, epoch_count=epoch_count, lr_decay_iters=2
    )
    vars(opt).update(changes)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    return optimizer, networks.get_scheduler(optimizer, opt)


def rates(optimizer, scheduler, num_epochs: int) -> list[float]:
    """The rate in force during each epoch, relative to LR."""
    seen = []
    for _ in range(num_epochs):
        seen.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        scheduler.step()
    return seen


TABLES = {
    "linear": [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0],
    "step": [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001],
    "cosine": [
        1,
        0.9504844339512095,
        0.8117449009293668,
        0.6112604669781572,
        0.38873953302184283,
        0.18825509907063326,
        0.04951556604879048,
        0,
        0,
    ],
}


@pytest.mark.parametrize("policy", TABLES)
def test_rate_in_each_epoch(policy):
    assert rates(*build(policy), 9) == pytest.approx(TABLES[policy], abs=1e-12)


@pytest.mark.parametrize("first_epoch", [2, 4, 5, 7])
@pytest.mark.parametrize("policy", TABLES)
def test_epoch_count_enters_the_same_table_further_on(policy, first_epoch):
    late = rates(*build(policy, epoch_count=first_epoch), 9 - first_epoch + 1)
    assert late == rates(*build(policy), 9)[first_epoch - 1 :]  # to the last bit


def test_default_run_of_200_epochs():
    seen = rates(*build("linear", n_epochs=100, n_epochs_decay=100), 201)
    assert seen[:100] == pytest.approx([1.0] * 100)
    assert seen[100] == pytest.approx(100 / 101)
    assert seen[149] == pytest.approx(51 / 101)
    assert seen[199] == pytest.approx(1 / 101)
    assert seen[200] == 0
    seen = rates(*build("cosine", n_epochs=100, n_epochs_decay=100), 201)
    assert seen[100] == pytest.approx(0.5)
    assert seen[199] == pytest.approx((1 + math.cos(math.pi * 0.995)) / 2)
    assert seen == sorted(seen, reverse=True)
    seen = rates(*build("step", lr_decay_iters=50), 200)
    assert [seen[e - 1] for e in (1, 50, 51, 100, 101, 151)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.001]
    )


def test_plateau_lowers_the_rate_after_the_sixth_epoch_without_a_gain_of_one_percent():
    optimizer, scheduler = build("plateau")

    def rate_after(metric: float) -> float:
        scheduler.step(metric)
        return optimizer.param_groups[0]["lr"] / LR

    assert [rate_after(m) for m in (10.0, 9.0)] == [1, 1]
    # 8.95 is lower than the best, 9.0, but by less than 1%.
    assert [rate_after(8.95) for _ in range(6)] == pytest.approx([1, 1, 1, 1, 1, 0.2])
    assert rate_after(8.9) == pytest.approx(0.2)  # a gain of more than 1% restarts the count
    assert [rate_after(8.9) for _ in range(6)] == pytest.approx([0.2] * 5 + [0.04])


def test_several_groups_keep_their_own_rates():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 10.0}]
    optimizer = torch.optim.SGD(groups, lr=5.0)
    make_scheduler(
        optimizer, "linear", n_epochs=1, n_epochs_decay=1, lr_decay_iters=1, first_epoch=2
    )
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 5.0]


@pytest.mark.parametrize("policy", [*TABLES, "plateau"])
def test_a_resumed_schedule_goes_on_as_if_never_stopped(policy, tmp_path):
    metrics = [5.0, 4.0, 4.1, 4.2, 4.3, 4.1, 4.0, 4.0, 4.0, 4.0]

    def run(optimizer, scheduler, epochs: range) -> list[float]:
        seen = []
        for epoch in epochs:
            optimizer.step()
            scheduler.step(metrics[epoch]) if policy == "plateau" else scheduler.step()
            seen.append(optimizer.param_groups[0]["lr"])
        return seen

    whole = run(*build(policy), range(10))
    optimizer, scheduler = build(policy)
    run(optimizer, scheduler, range(5))
    state = {"optimizer": optimizer.state_dict(), "schedule": scheduler.state_dict()}
    torch.save(state, tmp_path / "state.pth")

    state = torch.load(tmp_path / "state.pth", weights_only=True)
    optimizer, scheduler = build(policy)
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["schedule"])
    assert run(optimizer, scheduler, range(5, 10)) == whole[5:]


def test_resuming_with_another_rate_and_length_follows_the_new_options():
    optimizer, scheduler = build("linear")
    rates(optimizer, scheduler, 5)  # epoch 6 is next
    saved = optimizer.state_dict(), scheduler.state_dict()
    optimizer, scheduler = build("linear", lr=10 * LR, n_epochs=6)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    assert scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
    assert rates(optimizer, scheduler, 5) == pytest.approx([10, 7.5, 5, 2.5, 0])


def test_unknown_policy_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"--lr_policy cosin.*did you mean cosine.*plateau"):
        build("cosin")
