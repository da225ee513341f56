"""checkpoints/index.html, the page of all runs, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browsing import is_loaded, look_again, reach_all, texts, until, window

from util.show.html.runs import write_index

TINY = "--model pix2pix --netG resnet_6blocks --ngf 2 --ndf 2 --load_size 40 --crop_size 32"
TINY += " --device cpu --seed 3 --num_threads 0 --n_epochs 2 --n_epochs_decay 0 --val_freq 1"
ODD = "a<b>'&한 1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures_in, trainer) -> Path:
    """Two runs with another learning rate; one without a page; and one that was killed."""
    folder = tmp_path_factory.mktemp("runs")
    pictures = pictures_in(folder)
    for phase, number in (("train", 3), ("val", 2)):
        root = pictures.side_by_side(number, (40, 36), phase)
    more = {"quiet": "--no_html --lr 0.01", "first": "", "second": "--lr 0.001 --ngf 3"}
    for name, flags in more.items():
        trainer.run(folder, f"{TINY} --dataroot {root} --name {name} {flags}")
    line = f"{TINY} --dataroot {root} --name killed --n_epochs 50"
    trainer.run(folder, line, "End of epoch 2", 9, ends=-9)
    return folder / "checkpoints"


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "checkpoints"))


def open_index(page, runs: Path, number: int) -> None:
    page.get((runs / "index.html").as_uri())
    until(lambda: len(texts(page, ".run h2")) == number)


def tick(page, *names: str) -> None:
    for name in names:
        page.find_element("css selector", f'input[aria-label="Compare {name}"]').click()


def shown(page) -> dict[str, str]:
    """What stands beside the picture of each run, by name."""
    script = """return [...document.querySelectorAll(".run")].map((run) =>
      [run.querySelector("h2"), run.querySelector("div:last-child")].map((e) =>
        e.innerText.replaceAll("\\u00a0", " ")))"""
    return dict(page.execute_script(script))


def change(file: Path, **values: object) -> None:
    """Write other values into a summary."""
    call = re.fullmatch(r"runs\.add\((.*)\);\n", file.read_text(encoding="utf-8"))
    file.write_text(f"runs.add({json.dumps({**json.loads(call[1]), **values})});\n")


def pass_time(page, time_s: int) -> None:
    page.execute_script(
        "const now = Date.now.bind(Date); Date.now = () => now() + 1000 * arguments[0]", time_s
    )


def test_every_run_is_listed_with_its_state_and_best(page, runs) -> None:
    open_index(page, runs, 4)
    told = shown(page)
    assert set(told) == {"first", "second", "quiet", "killed"}
    assert "finished · epoch 2 of 2" in told["first"]
    assert "best, epoch " in told["first"] and "SSIM" in told["first"]
    images = page.find_elements("css selector", ".run img[src]")
    assert len(images) == 3
    for image in images:
        page.execute_script("arguments[0].scrollIntoView()", image)
        until(lambda image=image: image.get_property("naturalWidth") == 32)
    page.find_element("link text", "first").click()
    until(lambda: page.title.endswith("first"))


def test_a_run_without_a_page_tells_what_its_files_know(page, runs) -> None:
    """One of --no_html, one of an older version, whose page is still there, and bare weights."""
    assert not (runs / "quiet" / "web").exists()
    (runs / "first" / "web" / "summary.js").unlink()
    weights = runs / "group" / "bare" / "20_net_G.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    write_index(runs)
    open_index(page, runs, 5)
    told = shown(page)
    assert "state unknown · epoch 2 of 2 · " in told["quiet"]
    assert "best, epoch " in told["quiet"] and "SSIM" in told["quiet"]
    assert "state unknown · epoch 20 · " in told["group/bare"]
    links = [link.text for link in page.find_elements("css selector", ".run a[href]")]
    assert set(links) == {"first", "second", "killed"}
    tick(page, "quiet", "second")
    assert len(page.find_elements("css selector", "#chart polyline")) == 2
    rates = [row.split("\t") for row in texts(page, "#differences tr")]
    assert ["lr", "0.01", "0.001"] in [[cell.strip() for cell in row] for row in rates]


def test_a_run_continued_without_a_page_does_not_show_what_it_was(runs, trainer) -> None:
    assert (runs / "first" / "web" / "summary.js").exists()
    trainer.run(runs.parent, f"{TINY} --name first --continue_train --n_epochs 3 --no_html")
    facts = {each["name"]: each["facts"] for each in listed(runs)}
    assert facts["second"] is None  # it has a summary of its own
    assert (facts["first"]["epoch"], facts["first"]["epochs"]) == (3, 3)


def test_runs_that_end_together_do_not_disturb_each_other(tmp_path) -> None:
    code = "import sys, pathlib; from util.show.html.runs import write_index as write\n"
    code += "for _ in range(20): write(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert listed(tmp_path) == []
    assert {file.name for file in tmp_path.iterdir()} == {"index.html", "index.js"}


def listed(runs: Path) -> list[dict]:
    call = re.fullmatch(r"runs\.list\([\d.]+,(.*)\);\n", (runs / "index.js").read_text())
    return json.loads(call[1])


def test_what_is_damaged_is_told_and_breaks_nothing(page, runs) -> None:
    (runs / "quiet" / "train_options.json").write_text("{")
    with (runs / "quiet" / "metrics.jsonl").open("ab") as log:
        log.write(b'{"epoch": 1, "losses": [1]}\n{"epoch": 9e999}\n[]\n\xff{"epo')
    (runs / "killed" / "web" / "summary.js").write_text("runs.add({")
    shutil.rmtree(runs / "second" / "web")
    (runs / "second" / "validation.jsonl").unlink()
    (runs / "second" / "validation.jsonl").mkdir()
    write_index(runs)
    open_index(page, runs, 4)
    told = shown(page)
    assert "train_options.json is damaged" in told["quiet"]
    assert "state unknown · epoch 2 · " in told["quiet"]
    assert "validation.jsonl cannot be read: Is a directory" in told["second"]
    assert "web/summary.js is damaged" in told["killed"]
    assert "finished" in told["first"]
    tick(page, "killed", "quiet", "second")
    assert texts(page, "#compared h2") == ["Compared"]
    page.get_log("browser")  # the damaged script


def test_a_missing_list_is_told(page, runs) -> None:
    (runs / "index.js").unlink()
    page.get((runs / "index.html").as_uri())
    until(lambda: texts(page, "#status") == ["index.js, beside this page, cannot be read"])
    page.get_log("browser")


def test_an_open_page_follows_the_runs(page, runs) -> None:
    """Without losing what is ticked, and without new elements for what has not changed."""
    killed = runs / "killed"
    change(killed / "web" / "summary.js", now=int(time.time()))
    open_index(page, runs, 4)
    assert "running · epoch " in shown(page)["killed"]
    tick(page, "killed", "first")
    until(lambda: is_loaded(page, "#sides img"))
    images = page.find_elements("css selector", ".run img[src], #sides img")
    choice = page.find_element("css selector", "#compared select")

    old = next((killed / "web" / "images").glob("epoch*_fake_B.*"))
    shutil.copy(old, old.with_name("epoch077_fake_B.png"))
    names = ["p0.png", "p1.png"]
    pictures = [{"name": name, "files": {"fake_B": "epoch077_fake_B.png"}} for name in names]
    best = [77, {"SSIM": 0.987}]
    news = {"epoch": 77, "pictures": pictures, "best": best, "metrics": {"SSIM": [[77, 0.987]]}}
    change(killed / "web" / "summary.js", **news)
    shutil.copytree(runs / "first", runs / "newest")
    write_index(runs)
    look_again(page)
    until(lambda: "epoch 77 of 50" in shown(page)["killed"])
    assert "best, epoch 77: SSIM 0.987" in shown(page)["killed"]
    assert texts(page, ".run h2")[0] == "newest"
    assert all(image.is_displayed() for image in images)  # the same elements as before
    until(lambda: is_loaded(page, "#sides img"))
    sources = [image.get_attribute("src") for image in images]
    assert sum("epoch077_fake_B.png" in (source or "") for source in sources) == 3
    assert choice.is_displayed()
    ticked = page.find_elements("css selector", ".run input:checked")
    assert [box.get_attribute("aria-label") for box in ticked] == [
        "Compare killed",
        "Compare first",
    ]

    shutil.rmtree(runs / "newest")
    write_index(runs)
    look_again(page)
    until(lambda: "newest" not in shown(page))


def test_an_open_page_polls(page, runs) -> None:
    summary = runs / "killed" / "web" / "summary.js"
    change(summary, now=int(time.time()))
    open_index(page, runs, 4)
    change(summary, epoch=33)
    until(lambda: "epoch 33 of 50" in shown(page)["killed"])


def test_a_run_killed_while_the_page_is_open_is_stopped_within_two_minutes(page, runs) -> None:
    change(runs / "killed" / "web" / "summary.js", now=int(time.time()) - 3600)
    alive = runs / "killed" / "web" / "data" / "alive.js"
    alive.write_text(f"page.alive({int(time.time()) - 10});\n")
    open_index(page, runs, 4)
    assert "running · epoch " in shown(page)["killed"]
    image = page.find_element("css selector", ".run img[src*=killed]")
    address = image.get_attribute("src")
    pass_time(page, 60)
    alive.write_text(f"page.alive({int(time.time()) - 5});\n")  # a sign of life, an old picture
    look_again(page)
    time.sleep(0.5)
    pass_time(page, 90)
    look_again(page)
    time.sleep(0.5)
    assert "running · epoch " in shown(page)["killed"]  # its machine may have a different clock
    pass_time(page, 20)
    until(lambda: "stopped · epoch " in shown(page)["killed"])
    assert image.get_attribute("src") == address  # it was not read again


def test_ticked_runs_are_compared(page, runs) -> None:
    open_index(page, runs, 4)
    assert not page.find_element("id", "compared").is_displayed()
    tick(page, "first", "second")
    assert len(page.find_elements("css selector", "#chart polyline")) == 2
    table = [row.split("\t") for row in texts(page, "#differences tr")]
    assert [row[0].strip() for row in table] == ["", "lr", "ngf"]
    assert table[1][1:] == ["0.0002", "0.001"]
    assert texts(page, "#sides figcaption") == ["first", "second"] * 2  # of each picture
    choice = page.find_element("css selector", "#compared select")
    assert choice.get_property("value") == "SSIM"
    choice.send_keys("G_L1")
    chart = page.find_element("css selector", "#chart svg")
    assert chart.get_property("ariaLabel").startswith("G_L1")
    tick(page, "second")
    assert not page.find_element("id", "compared").is_displayed()


def dashes(page) -> list[tuple[str, str]]:
    """The colour and the explanation of each dashed line."""
    lines = page.find_elements("css selector", "#chart .base")
    return [(line.get_attribute("stroke"), line.get_property("textContent")) for line in lines]


def test_dashed_lines_say_whose_they_are(page, runs) -> None:
    change(runs / "second" / "web" / "summary.js", nothing={"SSIM": 0.25})
    open_index(page, runs, 4)
    tick(page, "first", "second", "quiet")
    assert [words.split("\n")[0] for words in texts(page, "#keys > span")] == [
        "first",
        "second",
        "quiet",
        "doing nothing (first, quiet)",
        "doing nothing (second)",
    ]
    assert texts(page, "#keys > span")[4].endswith("0.25")
    shared = "doing nothing (first, quiet)"  # in turns: the same pictures
    of_second = "doing nothing (second)"
    assert dashes(page) == [("var(--c0)", shared), ("var(--c2)", shared), ("var(--c1)", of_second)]
    colors = "return [...arguments[0].querySelectorAll('i i')].map((i) => i.style.background)"
    keys = page.find_elements("css selector", "#keys > span")
    assert [page.execute_script(colors, key) for key in keys[3:]] == [
        ["var(--c0)", "var(--c2)", "var(--c0)"],
        ["var(--c1)"] * 3,
    ]


def test_moved_and_deleted_runs_do_not_break_it(page, runs) -> None:
    """Also before the page is written again."""
    shutil.rmtree(runs / "second")
    open_index(page, runs, 3)
    (runs / "first").rename(runs / ODD)
    write_index(runs)
    open_index(page, runs, 3)
    assert ODD in texts(page, ".run h2")
    tick(page, "killed")
    page.find_elements("css selector", ".run input")[texts(page, ".run h2").index(ODD)].click()
    assert ODD in [words.split("\n")[0] for words in texts(page, "#keys > span")]
    assert page.execute_script("return document.querySelectorAll('b').length") == 0
    errors = [e for e in page.get_log("browser") if e["level"] == "SEVERE"]
    assert not [e for e in errors if "ERR_FILE_NOT_FOUND" not in e["message"]]


@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_the_screen(width, page, runs) -> None:
    window(page, width, 900)
    open_index(page, runs, 4)
    tick(page, "first", "second", "quiet", "killed")
    assert reach_all(page, "#differences")
    chart = page.find_element("css selector", "#chart svg")
    assert chart.size["height"] == 256
    letters = page.find_element("css selector", "#chart text").size["height"]
    assert letters > 10
