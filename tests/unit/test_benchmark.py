"""scripts/benchmark.py and its parts, with tiny networks."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from scripts import benchmark
from scripts.benchmarking import measure, rows, table, variants
from util.errors import UserError
from util.show.loggers.background import BackgroundLogger
from util.show.loggers.base import Logger, Outcome
from util.speed import performance

CPU = torch.device("cpu")


@pytest.fixture
def setting(pictures, tmp_path) -> variants.Setting:
    return variants.Setting(
        device=CPU,
        steps=2,
        steps_per_turn=1,
        slow_turns=2,
        size_px=32,
        tiny=True,
        num_pictures=3,
        dataroot=Path(pictures.two_folders(3)),
        folder=tmp_path / "runs",
        compiles=False,
    )


def columns(markdown: str) -> list[list[str]]:
    """The cells of the lines of a table, without its rule."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1  # they line up as plain text
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line
    ]


def test_variants_take_turns():
    asked = []

    def number_of_call(variant: str) -> float:
        asked.append(variant)
        return len(asked)

    samples = measure.in_turns(number_of_call, 2)
    assert asked == ["plain", "default", "best"] * 2
    assert samples == {"plain": [1, 4], "default": [2, 5], "best": [3, 6]}


def test_a_gain_above_one_is_better_for_times_and_for_rates():
    times = {"plain": [9.0, 2.0, 1.0], "default": [1.0], "best": [4.0]}
    both = [table.Row("time", "s", times), table.Row("rate", "x/s", times, rises=True)]
    header, *lines = columns(table.table(both))
    assert header == ["", "unit", "plain", "default", "best", "default gain", "best gain"]
    assert lines[0] == ["time", "s", "2 (1..9)", "1", "4", "2.00", "0.50"]
    assert lines[1] == ["rate", "x/s", "2 (1..9)", "1", "4", "0.50", "2.00"]


@pytest.mark.parametrize(
    "value, text",
    [(0.000123456, "0.000123"), (0.98765, "0.988"), (12.345, "12.3"), (1880, "1,880")],
)
def test_numbers_are_short(value, text):
    assert table.number(value) == text


def test_plain_lacks_the_features_and_does_the_same_maths(setting):
    batch = rows.random_batch(setting)
    losses = {}
    for variant in ("plain", "default"):
        model = variants.build(setting, variant, "cycle_gan", "step").model
        assert model.optimizer_G.param_groups[0]["fused"] is (
            True if variant == "default" else None
        )
        for _ in range(2):
            rows.take_step(model, batch)
        losses[variant] = model.get_current_losses()
    assert losses["plain"] == pytest.approx(losses["default"], rel=1e-3)


def test_plain_waits_for_its_loggers():
    told = threading.Event()

    class Slow(Logger):
        def losses(self, losses: object) -> None:
            told.wait(0.2)
            told.set()

    logger = BackgroundLogger("slow", Slow, lambda clock: False, lossless=True, waits=True)
    logger.losses(None)
    assert told.is_set()
    logger.close(Outcome("finished", "done"))


def test_a_floor_is_below_the_time_that_was_taken(setting):
    step, floor = rows.time_steps(setting, "pix2pix")
    assert floor.title.startswith("pix2pix: direct convolutions at matrix-multiplication speed, ")
    assert len(step.samples["plain"]) == 2
    for variant in variants.VARIANTS:
        assert 0 < floor.samples[variant][0] < min(step.samples[variant])


def test_best_says_fp32_where_there_is_no_bf16(setting, monkeypatch):
    monkeypatch.setattr(performance, "cpu_has", lambda *_: False)
    _, floor = rows.time_steps(setting, "pix2pix")
    assert "fp32" in floor.title and "bf16" not in floor.title
    assert floor.samples["best"] == floor.samples["plain"]
    assert "best is fp32" in table.heading(setting)


def test_one_core_and_one_thread_are_singular(setting, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert "2 logical cores, 1 thread," in table.heading(setting)


def test_a_command_is_timed_until_it_has_printed_something_and_then_stopped():
    script = "print('one'); import time; time.sleep(0.1); print('two'); time.sleep(60)"
    first_s, second_s = measure.seconds_until([sys.executable, "-c", script], ["one", "two"])
    assert 0 < first_s < second_s - 0.09 < 50


def test_a_command_that_fails_is_told_with_its_last_line():
    script = "print('one'); import sys; sys.exit('no such picture')"
    with pytest.raises(UserError, match="no such picture"):
        measure.seconds_until([sys.executable, "-c", script], ["one", "two"])


def test_pictures_of_ones_own(setting, capsys, tmp_path):
    out = tmp_path / "table.md"
    arguments = (
        f"--quick --device cpu --rows loader checkpoint --steps 3 --dataroot {setting.dataroot}"
    )
    benchmark.main([*arguments.split(), "--out", str(out)])
    printed = capsys.readouterr().out
    assert printed == out.read_text(encoding="utf-8")
    assert printed.startswith(table.heading(setting))
    (_, row, other) = columns(printed)
    assert row[:2] == ["data loading alone, in one process", "pairs/s"]
    assert all(".." in cell for cell in row[2:5] + other[2:5])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--rows stepp", "stepp.*step_pix2pix"),
        ("--steps 1", "--steps.*at least 2"),
        ("--quick --rows loader --dataroot nowhere", "nowhere.*no such folder"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        benchmark.main(arguments.split())
    assert "\n" not in str(error.value)


def test_ways_of_a_step_are_compared_and_kept_as_json(setting, capsys, tmp_path):
    files = tmp_path / "ways.md", tmp_path / "ways.json"
    line = f"--quick --device cpu --ways pix2pix --steps 2 --dataroot {setting.dataroot} --out"
    benchmark.main([*line.split(), *map(str, files)])
    header, *lines = columns(capsys.readouterr().out)
    assert header[1] == "pix2pix: one training step, s"
    assert lines[0][0] == "default" and lines[0][2] == "1.00"
    assert {"bf16", "recomputing", "inputs joined"} <= {line[0] for line in lines}
    found = json.loads(files[1].read_text(encoding="utf-8"))
    assert found["machine"]["PyTorch"] == torch.__version__ and found["size_px"] == 32
    assert [way["name"] for way in found["ways"]["pix2pix"]] == [line[0] for line in lines]
    assert all(len(way["seconds"]) == 2 for way in found["ways"]["pix2pix"])


@pytest.mark.slow
def test_all_rows(tmp_path):
    out = tmp_path / "table.md"
    script = Path(benchmark.__file__)
    command = [sys.executable, script, "--quick", "--device", "cpu", "--out", out]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == [out]
    text = out.read_text(encoding="utf-8")
    assert torch.__version__ in text
    assert platform.node() not in text and str(tmp_path) not in text
    _, *lines = columns(text)
    # Two floors, test.py without start-up, validation as a share of three runs, onnxruntime.
    assert len(lines) == len(rows.ROWS) + 7
    assert {line[1] for line in lines} == {"s", "images/s", "pictures/s", "pairs/s", "GiB", "%"}
    assert all(float(gain) > 0 for line in lines for gain in line[5:])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="not measured on Windows")
def test_memory_is_that_of_the_variant_alone(setting):
    held = b"x" * measure.GIB
    (row,) = rows.memory(setting)
    assert len(held) == measure.GIB
    for (peak_gib,) in row.samples.values():  # one turn
        assert 0.1 < peak_gib < 0.9
