"""What processes exchange: the same in all of them, and nothing if there is only one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from util import distributed
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

PROCESS = """
import json, sys, time, torch
from util import distributed
from util.errors import ReportedElsewhere
from util.step.means import LossMeans

port, rank, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
url = f"tcp://127.0.0.1:{port}"
torch.distributed.init_process_group("gloo", init_method=url, rank=rank, world_size=2)
mine = [torch.tensor([1.0, 2.0]) * (rank + 1), torch.full((2, 1), 10.0 * rank)]
distributed.average(mine)
theirs = torch.full((2,), rank + 5.0), torch.tensor(rank + 7)
distributed.share(theirs)
means = LossMeans()
means.add(["G", "D"], torch.tensor([6.0, 1.0 + rank]) * [1.5, 0.5][rank], 4)
told = {
    "is_main": distributed.is_main(),
    "highest": [distributed.highest(3 + rank), distributed.highest(15 - rank)],
    "add_up": distributed.add_up(0.5, rank),
    "mean losses": means.take(),
    "average": [x.tolist() for x in mine],
    "share": [x.tolist() for x in theirs],
    "gather": distributed.gather(f"of {rank}"),
    "from_main": distributed.from_main(lambda: f"made by {rank}"),
}
with distributed.main_first():
    time.sleep(0.2 * (rank == 0))
    with open(f"{folder}/order.txt", "a") as file:
        file.write(str(rank))
try:
    distributed.from_main(lambda: 1 / 0)
except (ZeroDivisionError, ReportedElsewhere) as error:
    told["error"] = type(error).__name__
print(json.dumps(told))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    """What each of two processes got."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, port, rank, str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    told = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    return [{**facts, "order": (folder / "order.txt").read_text()} for facts in told]


@pytest.mark.parametrize(
    "what, main, other",
    [
        ("is_main", True, False),
        ("highest", [4, 15], [4, 15]),
        ("add_up", [1.0, 1.0], [1.0, 1.0]),
        # Of 3 images of 4 and the fourth: G = (3 * 6 + 6) / 4, D = (3 * 1 + 2) / 4.
        ("mean losses", {"G": 6.0, "D": 1.25}, {"G": 6.0, "D": 1.25}),
        ("average", [[1.5, 3.0], [[5.0], [5.0]]], [[1.5, 3.0], [[5.0], [5.0]]]),
        ("share", [[5.0, 5.0], 7], [[5.0, 5.0], 7]),
        ("gather", ["of 0", "of 1"], []),
        ("from_main", "made by 0", "made by 0"),
        ("error", "ZeroDivisionError", "ReportedElsewhere"),
        ("order", "01", "01"),
    ],
)
def test_two_processes(what, main, other, two):
    assert [facts[what] for facts in two] == [main, other]


def test_one_process_alone():
    tensor = torch.tensor([1.0, 2.0])
    distributed.average([tensor])
    distributed.share([tensor])
    assert tensor.tolist() == [1, 2]
    assert (distributed.rank(), distributed.size(), distributed.is_main()) == (0, 1, True)
    assert distributed.highest(3) == 3 and distributed.add_up(1, 2.5) == [1, 2.5]
    assert distributed.gather("mine") == ["mine"]
    assert distributed.from_main(lambda: "made") == "made"
    with distributed.main_first():
        pass
    with pytest.raises(ZeroDivisionError):
        distributed.from_main(lambda: 1 / 0)


def test_the_testing_program_is_for_one_process(monkeypatch, run_here):
    monkeypatch.setattr("util.distributed.size", lambda: 2)
    done = run_here("test.py", "--dataroot", "photos", "--name", "run")
    assert done.status == 2 and "start it without torchrun" in done.stderr


@pytest.mark.parametrize(
    "message, ended",
    [
        ("Connection closed by peer [127.0.0.1]:4711", True),
        ("Read error: Connection reset by peer", True),
        ("NCCL: remote process exited or there was a network error", True),
        ("shapes (1,) and (2,) do not fit", False),
    ],
)
def test_a_process_that_ended_is_told_from_an_error_of_ours(message, ended, monkeypatch):
    """As each engine says it; in a run that torchrun has started."""
    for name, value in {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "RANK": "0",
        "WORLD_SIZE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))

    def lose() -> None:
        with distributed.joined():
            assert torch.distributed.is_initialized()
            raise RuntimeError(message)

    with pytest.raises(UserError if ended else RuntimeError) as caught:
        lose()
    assert ("another process of this run has ended" in str(caught.value)) is ended
    assert not torch.distributed.is_initialized()
