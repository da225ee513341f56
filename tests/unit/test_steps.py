"""What surrounds a step: means over batches and processes, gradient scales, EMA, in order."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from util.distributed import Share
from util.errors import UserError
from util.run.checkpoint import Checkpoints
from util.step import Steps
from util.step.ema import EMA

WHOLE = Share(0, 1, 1, 1.0)
ROOT = Path(__file__).resolve().parents[2]


class Model:
    """The parts of a model that a step needs: an optimizer for each list of weights."""

    save_dir = Path("checkpoints/run")
    generator_loss = torch.tensor(2.0)

    def __init__(self, *optimizers: torch.optim.Optimizer, **networks: torch.nn.Module):
        self.optimizers, self._networks = list(optimizers), networks

    def networks(self) -> dict[str, torch.nn.Module]:
        return self._networks

    def losses(self) -> dict[str, torch.Tensor]:
        return {}

    def get_image_paths(self) -> list[str]:
        return ["photos/1.png"]

    def memories(self) -> dict[str, object]:
        return {}


def steps_of(model: Model, scaler=None, decay: float = 0.0, **settings) -> Steps:
    ema = EMA(model.networks(), model.optimizers, decay)
    return Steps(model, ema, [scaler for _ in model.optimizers], **settings)


def sgd(*weights: torch.nn.Parameter) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, lr=1.0)


def test_an_overflow_in_fp16_leaves_out_the_update_and_lowers_the_scale():
    weight, scaler = torch.nn.Parameter(torch.ones(2)), torch.amp.GradScaler("cpu")
    optimizer = sgd(weight)
    steps = steps_of(Model(optimizer), scaler)
    scaler.scale(weight.sum()).backward()
    weight.grad[0] = torch.inf
    optimizer.step()
    assert weight.tolist() == [1, 1] and scaler.get_scale() == 2.0**15
    optimizer.zero_grad()
    scaler.scale(weight.sum()).backward()
    optimizer.step()
    assert weight.tolist() == [0, 0]

    scaler = torch.amp.GradScaler("cpu")
    restored = steps_of(Model(sgd(weight)), scaler)
    restored.per_process["updates"].load_state_dict(steps.per_process["updates"].state_dict())
    assert scaler.get_scale() == 2.0**15


def test_an_overflow_is_looked_for_once_all_batches_are_there():
    weight, scaler = torch.nn.Parameter(torch.ones(())), torch.amp.GradScaler("cpu")
    optimizer = sgd(weight)
    steps_of(Model(optimizer), scaler, num_batches=2)
    for factor, expected in ((1, 1), (3, -1)):
        optimizer.zero_grad()
        scaler.scale(weight * factor).backward()
        optimizer.step()
        assert weight.item() == expected
    assert scaler.get_scale() == 2.0**16


def test_half_an_accumulation_is_part_of_a_checkpoint():
    def updated(cut: bool) -> float:
        weight = torch.nn.Parameter(torch.zeros(()))
        optimizer = sgd(weight)
        updates = steps_of(Model(optimizer), num_batches=2).updates
        weight.grad = torch.tensor(1.0)
        optimizer.step()
        assert weight == 0
        if cut:
            state, optimizer = updates.state_dict(), sgd(weight)
            steps_of(Model(optimizer), num_batches=2).updates.load_state_dict(state)
        weight.grad = torch.tensor(4.0)
        optimizer.step()
        return weight.item()

    assert updated(cut=True) == updated(cut=False) == -2.5


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("used", ["first", "last"])
def test_a_weight_of_one_batch_alone_counts_as_zero_in_the_other(used, cut):
    """Weights of one shape, since sums of other weights would fit them too."""
    often, seldom, never = (torch.nn.Parameter(torch.zeros(())) for _ in range(3))
    optimizer = sgd(seldom, never, often)
    steps = steps_of(Model(optimizer), num_batches=2)
    for batch in ("first", "last"):
        if cut and batch == "last":
            state, optimizer = steps.updates.state_dict(), sgd(seldom, never, often)
            steps = steps_of(Model(optimizer), num_batches=2)
            steps.updates.load_state_dict(state)
        optimizer.zero_grad()
        (often * 2 + seldom * 8 if batch == used else often * 2).backward()
        optimizer.step()
    assert (often.item(), seldom.item(), never.item()) == (-2, -4, 0)
    assert never.grad is None


def test_gradients_count_by_the_share_of_the_batch():
    """Of 3 images this one process has 2, as one of two processes would."""
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = sgd(weight)
    steps = steps_of(Model(optimizer), watches_loss=True)
    with steps.step(Share(0, 2, 3, 2 / 3)):
        (weight * 3).backward()
        optimizer.step()
    assert weight.item() == pytest.approx(-2)  # 3 times 2/3
    assert steps.generator_loss.take() == pytest.approx(2 * 2 / 3)


PROCESS = """
import sys, torch
from tests.unit.test_steps import Model, sgd, steps_of

port, rank = sys.argv[1:]
url = f"tcp://127.0.0.1:{port}"
torch.distributed.init_process_group("gloo", init_method=url, rank=int(rank), world_size=2)
seldom, never, often = (torch.nn.Parameter(torch.zeros(())) for _ in range(3))
optimizer = sgd(seldom, never, often)
steps = steps_of(Model(optimizer))
(often + seldom * 8 if rank == "0" else often * 2).backward()
optimizer.step()
assert never.grad is None
print([seldom.item(), never.item(), often.item()])
torch.distributed.destroy_process_group()
"""


def test_processes_may_use_different_weights():
    """A weight that one of two does not use has half the gradient of the other there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROCESS, str(port)]
    processes = [
        subprocess.Popen([*command, rank], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    assert [p.communicate(timeout=60)[0].strip() for p in processes] == ["[-4.0, 0.0, -1.5]"] * 2


def lbfgs(weight: torch.nn.Parameter) -> torch.optim.Optimizer:
    return torch.optim.LBFGS([weight], lr=1.0, max_iter=4)


def close_to_three(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight - 3) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)


def test_an_optimizer_with_a_closure_is_left_to_itself(capsys):
    """It computes its gradients itself, so there is nothing to add up before."""
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = lbfgs(weight)
    steps_of(Model(optimizer), num_batches=2)
    for _ in range(2):
        close_to_three(weight, optimizer)
    assert weight.item() == pytest.approx(3)
    assert capsys.readouterr().out.count("--grad_accum: LBFGS") == 1


def test_a_closure_is_refused_where_its_gradients_need_a_scale():
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = lbfgs(weight)
    steps_of(Model(optimizer), torch.amp.GradScaler("cpu"))
    with pytest.raises(UserError, match="LBFGS computes gradients in a closure"):
        close_to_three(weight, optimizer)


@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler")
def test_a_models_own_penalty_on_a_compiled_network_is_one_line():
    net = torch.nn.Linear(1, 1)
    steps, critic = steps_of(Model(sgd(*net.parameters()), G=net)), torch.compile(net)
    x = torch.ones(1, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    with pytest.raises(UserError, match="leave out --compile"), steps.step(WHOLE):
        slope.square().sum().backward()
    with pytest.raises(RuntimeError, match="a bug"), steps.step(WHOLE):
        raise RuntimeError("a bug")


def test_averages_follow_a_generator_of_two_optimizers_and_one_without_weights():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.5) for layer in net]
    ema = steps_of(Model(*optimizers, G=net, G_fixed=torch.nn.Identity()), decay=0.75).ema
    for optimizer, updates in zip(optimizers, (0, 1), strict=True):  # one of each step
        net(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        assert ema.state_dict() == {"G": updates, "G_fixed": 0}


def test_averages_follow_the_formula_and_leave_the_rest_alone():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.BatchNorm2d(1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    model = Model(optimizer, G=net, D=torch.nn.Conv2d(1, 1, 1))
    steps, expected = steps_of(model, decay=0.75), None
    assert list(steps.ema.networks) == ["G_ema"]
    for _ in range(3):
        with steps.step(WHOLE):
            net(torch.randn(1, 1, 2, 2)).square().sum().backward()
            optimizer.step()
        now = net[0].weight.detach().clone()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
    torch.testing.assert_close(steps.ema.networks["G_ema"][0].weight, expected)
    assert torch.equal(steps.ema.networks["G_ema"][1].running_mean, net[1].running_mean)
    assert not EMA({"G": net}, [optimizer], 0.0).networks


def test_an_overflow_in_fp16_is_no_update_of_averages():
    net, scaler = torch.nn.Linear(1, 1), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    ema = steps_of(Model(optimizer, G=net), scaler, decay=0.9).ema
    for value, updates in ((torch.inf, 0), (1.0, 1)):
        optimizer.zero_grad()
        scaler.scale(net(torch.full((1, 1), value)).sum()).backward()
        before = net.weight.detach().clone()
        optimizer.step()
        assert ema.state_dict() == {"G": updates}
        assert torch.equal(net.weight, before) is (updates == 0)


def test_averages_go_on_from_their_files_or_begin_with_the_present_weights(tmp_path, capsys):
    def trained(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer, EMA]:
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        return net, optimizer, steps_of(Model(optimizer, G=net), decay=0.75).ema

    def checkpoints_of(ema: EMA, folder: Path) -> Checkpoints:
        return Checkpoints(folder, {}, {"averages": ema}, {}, averages=ema.networks)

    def step(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        net(torch.randn(2, 1, 2, 2)).pow(3).sum().backward()
        optimizer.step()
        return net[0].weight.detach().clone()

    first, optimizer, ema = trained(1)
    step(first, optimizer)
    step(first, optimizer)
    average = ema.networks["G_ema"][0].weight.clone()
    checkpoints_of(ema, tmp_path).save("latest")

    second, optimizer, resumed = trained(2)
    checkpoints_of(resumed, tmp_path).resume("latest", lambda label: None)
    assert torch.equal(resumed.networks["G_ema"][0].weight, average)
    now = step(second, optimizer)
    expected = 0.75 * average + 0.25 * now
    torch.testing.assert_close(resumed.networks["G_ema"][0].weight, expected)
    assert capsys.readouterr().out == ""

    third, optimizer, begun = trained(3)
    checkpoints_of(begun, tmp_path).resume("1", lambda label: None)  # of which there is nothing
    now = step(third, optimizer)
    assert torch.equal(begun.networks["G_ema"][0].weight, now)
    assert "1_net_G_ema.pth does not exist, so averaging starts now" in capsys.readouterr().out


def test_averages_count_updates_and_not_steps():
    """Of three batches two make an update; an update on a broken gradient is none."""
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    steps = steps_of(Model(optimizer, G=net), decay=0.5, num_batches=2, tolerated=1)
    counts = []
    for factor in (1.0, 1.0, 1.0, torch.nan, 1.0):
        with steps.step(WHOLE):
            optimizer.zero_grad()
            (net(torch.ones(1, 1)) * factor).sum().backward()
            optimizer.step()
        counts.append(steps.ema.state_dict()["G"])
    assert counts == [0, 1, 1, 1, 1]
