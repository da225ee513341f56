"""checkpoints/index.html, the page of all runs, in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from browsing import texts, until

from util.show.html.runs import write_index

pytest.importorskip("selenium", reason="needs selenium")

TINY = "--model pix2pix --netG resnet_6blocks --ngf 2 --ndf 2 --load_size 40 --crop_size 32"
TINY += " --device cpu --seed 3 --num_threads 0 --n_epochs 2 --n_epochs_decay 0 --val_freq 1"
ODD = "a<b>'&한 1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures_in, trainer) -> Path:
    """Two runs with another learning rate; a third one is killed."""
    folder = tmp_path_factory.mktemp("runs")
    pictures = pictures_in(folder)
    for phase, number in (("train", 3), ("val", 2)):
        root = pictures.side_by_side(number, (40, 36), phase)
    for name, more in (("first", ""), ("second", "--lr 0.001 --ngf 3")):
        trainer.run(folder, f"{TINY} --dataroot {root} --name {name} {more}")
    line = f"{TINY} --dataroot {root} --name killed --n_epochs 50"
    trainer.run(folder, line, "End of epoch 2", 9, ends=-9)
    return folder / "checkpoints"


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "checkpoints"))


@pytest.fixture
def page(browser):
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("browser")
    return browser


def open_index(page, runs: Path, number: int) -> None:
    page.get((runs / "index.html").as_uri())
    until(lambda: len(texts(page, ".run h2")) == number)


def tick(page, *names: str) -> None:
    for name in names:
        page.find_element("css selector", f'input[aria-label="Compare {name}"]').click()


def test_every_run_is_listed_with_its_state_and_best(page, runs) -> None:
    open_index(page, runs, 3)
    shown = dict(zip(texts(page, ".run h2"), texts(page, ".run div:last-child"), strict=True))
    assert set(shown) == {"first", "second", "killed"}
    assert "finished · epoch 2 of 2" in shown["first"]
    assert "best, epoch " in shown["first"] and "SSIM" in shown["first"]
    pictures = page.find_elements("css selector", ".run img")
    assert len(pictures) == 3
    for picture in pictures:
        page.execute_script("arguments[0].scrollIntoView()", picture)
        until(lambda picture=picture: picture.get_property("naturalWidth") == 32)


def test_a_killed_run_is_stopped_after_two_minutes(page, runs) -> None:
    file = runs / "killed" / "web" / "summary.js"
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition('"now": ')
    number, comma, rest = rest.partition(",")
    file.write_text(f'{before}"now": {int(number) - 130}{comma}{rest}', encoding="utf-8")
    shutil.rmtree(runs / "killed" / "web" / "data")
    open_index(page, runs, 3)
    states = dict(zip(texts(page, ".run h2"), texts(page, ".run div:last-child"), strict=True))
    assert "\nstopped · epoch 2 of 50" in states["killed"]


def test_ticked_runs_are_compared(page, runs) -> None:
    open_index(page, runs, 3)
    assert not page.find_element("id", "compared").is_displayed()
    tick(page, "first", "second")
    assert texts(page, "#compared .keys span") == ["first", "second", "doing nothing"]
    assert len(page.find_elements("css selector", "#compared polyline")) == 2
    table = [row.split("\t") for row in texts(page, "#differences tr")]
    assert [row[0].strip() for row in table] == ["", "lr", "ngf"]
    assert table[1][1:] == ["0.0002", "0.001"]
    assert texts(page, "#compared figcaption") == ["first", "second"] * 2  # of each picture
    choice = page.find_element("css selector", "#compared select")
    assert choice.get_property("value") == "SSIM"
    page.execute_script("arguments[0].value = 'G_L1'", choice)
    page.execute_script("arguments[0].dispatchEvent(new Event('change'))", choice)
    assert (
        page.find_element("css selector", "#compared svg")
        .get_property("ariaLabel")
        .startswith("G_L1")
    )
    tick(page, "second")
    assert not page.find_element("id", "compared").is_displayed()


def test_moved_and_deleted_runs_do_not_break_it(page, runs) -> None:
    """Also before the page is written again."""
    shutil.rmtree(runs / "second")
    open_index(page, runs, 2)
    (runs / "first").rename(runs / ODD)
    write_index(runs)
    open_index(page, runs, 2)
    assert ODD in texts(page, ".run h2")
    tick(page, "killed")
    page.find_elements("css selector", ".run input")[texts(page, ".run h2").index(ODD)].click()
    assert ODD in texts(page, "#compared .keys span")
    assert page.execute_script("return document.querySelectorAll('b').length") == 0
    errors = [e for e in page.get_log("browser") if e["level"] == "SEVERE"]
    assert not [e for e in errors if "ERR_FILE_NOT_FOUND" not in e["message"]]


@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_the_screen(width, page, runs) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_index(page, runs, 3)
    tick(page, "first", "second")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
