"""scripts/plot_losses.py: what it reads, where it puts the points, what it draws and refuses."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import plot_losses
from util.errors import UserError
from util.show.loggers.base import Losses
from util.show.loggers.files import FileLogger

HEADER = "================ Training Loss (Mon Jan  1 00:00:00 2024) ================"
NEW = "(epoch: {}, iters: {}, time: 0.123, data: 0.002) , G_GAN: {:.3f}, D: 0.500"
OLD = "(epoch: {}, iters: {}, time: 0.123, data: 0.002) G_GAN: {:.3f} D: 0.500 "
OLDEST = "(epoch: {}, iters: {}, time: 0.123) G_GAN: {:.3f} D: 0.500 "


def log(path: Path, points: Iterable[tuple[int, int, float]], line: str = NEW) -> Path:
    """Append a start of a run with these (epoch, iters, G_GAN) to a loss_log.txt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in [HEADER, *(line.format(*p) for p in points)])
    return path


def steady(size: int, every: int, epochs: Iterable[int], value: float = 1.0) -> list[tuple]:
    """What is logged of epochs of `size` images with a line each `every` images."""
    counts = ((epoch, image) for epoch in epochs for image in range(1, size + 1))
    return [(e, i, value) for e, i in counts if ((e - 1) * size + i) % every == 0]


def curves(run: Path) -> plot_losses.Curves:
    return plot_losses.curves(run.name, plot_losses.read(run))


@pytest.mark.parametrize("line", [NEW, OLD, OLDEST])
def test_lines_of_every_age(line, tmp_path) -> None:
    run = curves(log(tmp_path / "loss_log.txt", [(1, 100, 0.956), (1, 200, -1.5)], line))
    assert {name: list(values) for name, values in run.losses.items()} == {
        "G_GAN": [0.956, -1.5],
        "D": [0.5, 0.5],
    }


def test_our_own_logs_say_the_same(tmp_path) -> None:
    logger = FileLogger(tmp_path, 0)
    for total in range(100, 1000, 100):
        epoch, images = (total - 1) // 450 + 1, (total - 1) % 450 + 1
        logger.losses(Losses(epoch, images, total, 0.1, 0.0, 2e-4, {"G": total / 8, "D": 1.0}))
    by_program, by_people = (curves(tmp_path / name) for name in plot_losses.LOGS)
    np.testing.assert_allclose(by_program.epochs, np.arange(100, 1000, 100) / 450)
    np.testing.assert_allclose(by_people.epochs, by_program.epochs)
    for name in ("G", "D"):
        np.testing.assert_allclose(by_people.losses[name], by_program.losses[name], atol=5e-4)


def test_the_log_for_programs_is_preferred(tmp_path) -> None:
    log(tmp_path / "loss_log.txt", [(1, 100, 0.5)])
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("", encoding="utf-8")
    assert curves(tmp_path).losses["G_GAN"] == [0.5]  # the other one is empty
    record = {"epoch": 1, "epoch_images": 100, "losses": {"G_GAN": 0.25}}
    metrics.write_text(json.dumps(record) + "\n", encoding="utf-8")
    assert curves(tmp_path).losses["G_GAN"] == [0.25]


def test_values_that_are_not_finite_are_gaps(tmp_path) -> None:
    lines = [
        {"epoch": 1, "epoch_images": n, "losses": {"G": value}}
        for n, value in ((1, 1.0), (2, None), (3, 3.0))
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    np.testing.assert_array_equal(curves(tmp_path).losses["G"], [1, math.nan, 3])
    text = log(tmp_path / "loss_log.txt", [(1, 1, 1), (1, 2, math.nan), (1, 3, 3)])
    np.testing.assert_array_equal(curves(text).losses["G_GAN"], [1, math.nan, 3])


def test_lines_that_are_torn_or_of_others_are_passed_over(tmp_path) -> None:
    text = log(tmp_path / "loss_log.txt", [(1, 100, 0.5)])
    with open(text, "a", encoding="utf-8") as file:
        file.write("some words\n(epoch: 1, iters: 150, time: 0.1, data: 0.0) ,\n(epoch: 1, ite")
    assert list(curves(text).losses["G_GAN"]) == [0.5]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"epoch": 1, "epoch_images": 7, "losses": {"G": 2}}\n{"epoch": 1, "epo')
    assert list(curves(metrics).losses["G"]) == [2]


@pytest.mark.parametrize(
    "size, every", [(400, 100), (450, 100), (199, 100), (60, 20), (100, 100), (1000, 7)]
)
def test_counts_that_begin_anew_each_epoch_become_one_axis(size, every, tmp_path) -> None:
    run = curves(log(tmp_path / "loss_log.txt", steady(size, every, range(1, 7))))
    np.testing.assert_allclose(run.epochs, np.arange(every, 6 * size + 1, every) / size)


def test_epochs_shorter_than_the_distance_of_lines(tmp_path) -> None:
    """Three pictures and a line each 100: one each 33 or 34 epochs."""
    run = curves(log(tmp_path / "loss_log.txt", steady(3, 100, range(1, 401))))
    np.testing.assert_allclose(run.epochs, np.arange(100, 1201, 100) / 3)


def test_a_resumed_run_goes_on(tmp_path, capsys) -> None:
    """Saved after epoch 4, lost in epoch 6, continued at epoch 5."""
    text = log(tmp_path / "loss_log.txt", steady(400, 100, range(1, 6), value=1))
    log(text, steady(400, 100, range(5, 9), value=2))
    run = curves(text)
    np.testing.assert_allclose(run.epochs, np.arange(1, 33) / 4)
    assert list(run.losses["G_GAN"]) == [1] * 16 + [2] * 16
    assert "4 points were trained again" in capsys.readouterr().out


def test_a_restarted_run_replaces_the_first_try(tmp_path) -> None:
    text = log(tmp_path / "loss_log.txt", steady(400, 100, range(1, 20), value=1))
    log(text, steady(400, 100, range(1, 3), value=2))
    run = curves(text)
    np.testing.assert_allclose(run.epochs, np.arange(1, 9) / 4)
    assert set(run.losses["G_GAN"]) == {2}


def test_smoothing_keeps_length_level_and_gaps() -> None:
    np.testing.assert_allclose(plot_losses.smoothed(np.full(7, 3.0), 4), np.full(7, 3.0))
    np.testing.assert_allclose(plot_losses.smoothed(np.array([0.0, 3, 6]), 3), [1.5, 3, 4.5])
    np.testing.assert_allclose(
        plot_losses.smoothed(np.array([1.0, math.nan, 3.0]), 3), [1, math.nan, 3]
    )
    assert len(plot_losses.smoothed(np.arange(5.0), 100)) == 5


# --- The picture ----------------------------------------------------------------------------------


@pytest.fixture
def two_runs(tmp_path) -> list[str]:
    """Folders plain and `b $1$`, of 24 points each, with the losses G_GAN and D."""
    for name, value in (("plain", 1), ("b $1$", 2)):
        log(tmp_path / name / "loss_log.txt", steady(400, 100, range(1, 7), value))
    return [str(tmp_path / "plain"), str(tmp_path / "b $1$")]


def texts(svg: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8"))


def test_svg_has_a_panel_per_loss_and_names_the_runs(two_runs, tmp_path) -> None:
    out = tmp_path / "curves.svg"
    plot_losses.main([*two_runs, "--out", str(out)])
    shown = texts(out)
    assert [text for text in shown if text in ("G_GAN", "D")] == ["G_GAN", "D"]
    assert [text for text in shown if text in ("plain", "b $1$")] == ["plain", "b $1$"]


def test_losses_chooses_and_orders_panels(two_runs, tmp_path) -> None:
    out = tmp_path / "curves.svg"
    plot_losses.main([*two_runs, "--losses", "D", "--out", str(out)])
    assert "D" in texts(out)
    assert "G_GAN" not in texts(out)


def test_a_loss_without_finite_values_is_left_out(tmp_path, capsys) -> None:
    values = (None, math.nan, math.inf)
    lines = [
        json.dumps({"epoch": 1, "epoch_images": n, "losses": {"G": value, "D": 1.0}})
        for n, value in enumerate(values, 1)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    out = tmp_path / "curves.svg"
    plot_losses.main([str(tmp_path), "--out", str(out)])
    assert "G" not in texts(out)
    printed = capsys.readouterr().out
    assert printed == f"G has no finite values and is skipped\n{out} shows D\n"
    with pytest.raises(UserError, match=r"^G has no finite values"):
        plot_losses.main([str(tmp_path), "--losses", "G", "--out", str(out)])


def test_the_folder_of_the_picture_is_made(two_runs, tmp_path) -> None:
    out = tmp_path / "new" / "folder" / "curves.png"
    plot_losses.main([*two_runs, "--out", str(out)])
    assert out.is_file()


def test_one_colour_per_run(tmp_path) -> None:
    """A blue and an orange line, in each of two panels."""
    runs = [log(tmp_path / f"{i}" / "loss_log.txt", [(1, 1, i), (1, 2, i + 1)]) for i in range(2)]
    out = tmp_path / "curves.png"
    plot_losses.main([*map(str, runs), "--out", str(out)])
    picture = np.asarray(Image.open(out).convert("RGB")).astype(int)
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (np.abs(picture - colour).max(axis=-1) < 8).sum() > 100


def test_a_single_point_shows(tmp_path) -> None:
    run = log(tmp_path / "run" / "loss_log.txt", [(1, 100, 1.0)])
    out = tmp_path / "curves.png"
    plot_losses.main([str(run), "--out", str(out)])
    picture = np.asarray(Image.open(out).convert("RGB")).astype(int)
    assert (np.abs(picture - (31, 119, 180)).max(axis=-1) < 8).sum() > 10


def test_log_scale_only_where_all_is_above_zero(tmp_path, capsys) -> None:
    lines = [
        {"epoch": 1, "epoch_images": n, "losses": {"up": 10.0**n, "down": 10.0**-n - 0.01}}
        for n in range(1, 6)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "curves.svg"
    plot_losses.main([str(tmp_path), "--log", "--out", str(out)])
    assert {"10", "1000", "100000"} <= set(texts(out))
    assert re.findall(r"^(\w+) is not above 0", capsys.readouterr().out, re.MULTILINE) == ["down"]


def test_names_that_are_the_same_are_told_apart_by_their_paths() -> None:
    assert plot_losses.names_of([Path("a/x"), Path("a/y/loss_log.txt")]) == ["x", "y"]
    assert plot_losses.names_of([Path("a/x"), Path("b/x")]) == [str(Path("a/x")), str(Path("b/x"))]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--losses", "G_GNA"], r"--losses G_GNA: unknown \(did you mean G_GAN\?\).*G_GAN, D"),
        (["--losses", ","], r"--losses names none; available: G_GAN, D"),
        (["--out", "curves.jpg"], r"curves\.jpg.*\.png or \.svg"),
        (["--smooth", "0"], r"--smooth: '0' is not a whole number of at least 1"),
    ],
)
def test_flags_that_cannot_work(flags, message, two_runs) -> None:
    with pytest.raises(UserError, match=message):
        plot_losses.main([*two_runs, *flags])


def test_runs_that_cannot_be_read(two_runs, tmp_path) -> None:
    with pytest.raises(UserError, match=r"plian: there is no such .*did you mean plain\?"):
        plot_losses.main([str(tmp_path / "plian")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no losses"):
        plot_losses.main([*two_runs, str(tmp_path / "empty")])
    noise = tmp_path / "latest_net_G.pth"
    noise.write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=r"latest_net_G\.pth holds no losses"):
        plot_losses.main([str(noise)])


def test_from_any_folder_as_a_program(two_runs, tmp_path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, plot_losses.__file__, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = run("plain")
    assert (done.returncode, done.stdout) == (0, "losses.png shows G_GAN, D\n")
    with Image.open(tmp_path / "losses.png") as picture:
        assert picture.width > 500
    file = "plain/loss_log.txt"
    done = run("plain", "--out", f"{file}/losses.png")
    assert done.returncode == 2
    assert re.fullmatch(r"scripts/plot_losses\.py: error: .*loss_log.*\n", done.stderr)


def validated(folder: Path, epoch: int, ssim: float | None, **more: dict) -> None:
    record = {"epoch": epoch, "nothing": {"SSIM": 0.9}, "last": {"SSIM": ssim, "L1": 9.0}, **more}
    with open(folder / "validation.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def test_metrics_of_validations(tmp_path) -> None:
    """The last time an epoch was validated counts, and EMA weights where there are any."""
    validated(tmp_path, 5, 0.5)
    validated(tmp_path, 10, None)
    validated(tmp_path, 5, 0.7, EMA={"SSIM": 0.8, "L1": 7.0})
    with open(tmp_path / "validation.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": 15, "noth')
    metrics, nothing = plot_losses.validations(tmp_path)
    assert nothing == {"SSIM": 0.9}
    np.testing.assert_array_equal(metrics["SSIM"], ([5, 10], [0.8, math.nan]))
    np.testing.assert_array_equal(metrics["L1"], ([5, 10], [7, 9]))


def test_metrics_have_panels_beside_the_losses(tmp_path, capsys) -> None:
    log(tmp_path / "run" / "loss_log.txt", [(1, 100, 0.5), (2, 100, 0.4)])
    for epoch, ssim in ((1, 0.6), (2, 0.7)):
        validated(tmp_path / "run", epoch, ssim)
    out = tmp_path / "out.svg"
    plot_losses.main([str(tmp_path / "run"), "--out", str(out), "--smooth", "3"])
    assert capsys.readouterr().out == f"{out} shows G_GAN, D, SSIM, L1\n"
    titles = re.findall(r">(G_GAN|D|SSIM|L1)<", out.read_text(encoding="utf-8"))
    assert titles == ["G_GAN", "D", "SSIM", "L1"]
    plot_losses.main([str(tmp_path / "run"), "--out", str(out), "--losses", "SSIM"])
    assert re.findall(r">(G_GAN|D|SSIM|L1)<", out.read_text(encoding="utf-8")) == ["SSIM"]


@pytest.mark.parametrize("size, every", [(450, 100), (3, 100), (1000, 7)])
def test_a_point_at_the_end_of_each_epoch_tells_its_length(size, every, tmp_path) -> None:
    counts = [(e, i, 1.0) for e in range(1, 7) for i in range(1, size + 1)]
    points = [(e, i, v) for e, i, v in counts if ((e - 1) * size + i) % every == 0 or i == size]
    run = curves(log(tmp_path / "loss_log.txt", points))
    np.testing.assert_allclose(run.epochs, [e - 1 + i / size for e, i, _ in points])


def test_the_log_for_programs_tells_the_length_of_an_epoch(tmp_path) -> None:
    lines = [
        {"epoch": e, "epoch_images": i, "total_images": 450 * (e - 1) + i, "losses": {"G": 1}}
        for e, i in ((1, 400), (1, 450), (2, 50))
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    np.testing.assert_allclose(curves(tmp_path).epochs, [400 / 450, 1, 1 + 50 / 450])


def test_a_full_disk_leaves_the_earlier_plot(tmp_path, small_files) -> None:
    log(tmp_path / "loss_log.txt", steady(4, 1, [1, 2]))
    (tmp_path / "losses.png").write_bytes(b"earlier")
    with small_files, pytest.raises(UserError, match=r"losses\.png cannot be written"):
        plot_losses.main([str(tmp_path), "--out", str(tmp_path / "losses.png")])
    assert (tmp_path / "losses.png").read_bytes() == b"earlier"


def test_matplotlib_does_not_tell_of_a_user_without_a_home(tmp_path, run_cli) -> None:
    log(tmp_path / "loss_log.txt", steady(4, 1, [1, 2]))
    done = run_cli("scripts/plot_losses.py", ".", MPLCONFIGDIR=str(tmp_path / "loss_log.txt"))
    assert (done.status, done.stderr) == (0, "")
