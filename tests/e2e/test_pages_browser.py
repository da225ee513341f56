"""The training page in a real browser, opened from disk."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from browsing import (
    KEYS,
    ODD_NAME,
    POLL_S,
    add_epoch,
    add_examples,
    add_validation,
    headings,
    is_loaded,
    look_again,
    open_page,
    press,
    reach_all,
    save_pictures,
    texts,
    training_page,
    until,
    webdriver,
    window,
)
from PIL import Image


def move_strip(page, *keys: str) -> None:
    page.execute_script("document.querySelector('#rows .track input').focus()")
    press(page, *keys)


# --- Pictures -------------------------------------------------------------------------------------


def test_the_newest_pictures_are_shown(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in (1, 2, 3):
        add_epoch(run, tmp_path, epoch)
    run.add_pictures(epoch=3, total_images=1300, files=save_pictures(tmp_path, "epoch003"))
    run.end("Finished after 3 epochs")

    open_page(page, tmp_path)
    assert headings(page) == ["Epoch 3"]
    assert "1,300 images" in texts(page, "#rows .detail")[0]
    assert texts(page, "#rows figcaption")[:3] == ["input", "generated", "target"]
    assert page.find_element("id", "status").text.startswith("Finished after 3 epochs")
    alternatives = [img.get_attribute("alt") for img in page.find_elements("css selector", "img")]
    assert alternatives[:3] == ["input, Epoch 3", "generated, Epoch 3", "target, Epoch 3"]
    until(lambda: is_loaded(page, "#rows img"))


def test_pictures_always_shown_stand_below_each_other_and_the_last_batch_apart(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in (1, 2, 3):
        add_examples(run, tmp_path, epoch)
    run.show_batch(save_pictures(tmp_path, "last_batch"))
    open_page(page, tmp_path)
    assert headings(page)[:2] == ["a.png, epoch 3", f"{ODD_NAME}, epoch 3"]
    assert texts(page, "#batch figcaption")[:3] == ["", "", ""]  # folded up
    page.find_element("css selector", "#trained summary").click()
    assert texts(page, "#batch figcaption")[:3] == ["input", "generated", "target"]
    until(lambda: is_loaded(page, "img[src]"))


@pytest.mark.parametrize(
    "pixels, width, expected",
    [
        (1024, 1920, 440),  # four in a line, as wide as the window
        (1024, 1440, 330),
        (320, 1920, 320),  # not larger than their own pixels
        (64, 1440, 128),  # but as wide as --display_winsize
        (1024, 390, 175),  # on a phone, two in a line
    ],
)
def test_pictures_are_as_large_as_the_window_allows(page, tmp_path, pixels, width, expected):
    run = training_page(tmp_path)
    add_examples(run, tmp_path, 1, names=["a.png"], size=(pixels, pixels))
    window(page, width, 900)
    open_page(page, tmp_path)
    image = page.find_element("css selector", "#rows img")
    until(lambda: abs(image.size["width"] - expected) < 12)
    assert page.execute_script("return document.documentElement.scrollWidth") == width


def test_tall_pictures_are_not_higher_than_the_window(page, tmp_path):
    add_examples(training_page(tmp_path), tmp_path, 1, names=["a.png"], size=(800, 2400))
    window(page, 1920, 900)
    open_page(page, tmp_path)
    image = page.find_element("css selector", "#rows img")
    until(lambda: 600 < image.size["height"] < 900)


def test_slider_moves(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    add_epoch(run, tmp_path, 1)
    run.end("Finished")
    open_page(page, tmp_path)
    stage = page.find_element("css selector", "#rows .stage")
    until(lambda: is_loaded(page, "#rows img"))

    def shown_from() -> float:
        style = "return getComputedStyle(arguments[0].querySelector('.above')).clipPath"
        return float(re.search(r"([\d.]+)%", page.execute_script(style, stage)).group(1))

    assert shown_from() == 50
    mouse = webdriver.ActionChains(page)
    mouse.move_to_element(stage).click_and_hold().move_by_offset(-32, 0).release().perform()
    assert shown_from() == pytest.approx(25, abs=1)
    mouse.move_to_element(page.find_element("css selector", "h1")).perform()
    before = shown_from()
    press(page, *[KEYS.ARROW_RIGHT] * 4)
    assert shown_from() == before + 2

    page.find_element("css selector", "#rows select").send_keys("generated | target")
    above = stage.find_element("css selector", ".above img")
    until(lambda: above.get_attribute("alt") == "target, Epoch 1")
    assert above.get_property("src").partition("?")[0].endswith("/epoch001_real_B.png")


def test_the_film_strip_goes_through_the_epochs_of_one_picture(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in (1, 5, 10):
        add_examples(run, tmp_path, epoch)
        add_validation(run, epoch, 0.9, is_best=epoch < 10)
        of_picture = {1: ({"SSIM": epoch / 100}, {"SSIM": 0.07}), 2: ({"SSIM": 0.5}, {})}
        run.judge_pictures(epoch, of_picture)
    open_page(page, tmp_path)
    assert texts(page, "#rows .strip .icon")[:2] == ["1", "10"]  # at its ends
    assert texts(page, "#rows .metrics dd") == ["0.1 +0.03", "0.5"]
    move_strip(page, KEYS.ARROW_LEFT)
    assert headings(page)[:2] == ["a.png, epoch 5", f"{ODD_NAME}, epoch 10"]
    assert texts(page, "#rows .metrics dd")[0] == "0.05 −0.02"
    move_strip(page, KEYS.HOME)
    assert headings(page)[0] == "a.png, epoch 1"
    best = page.find_element("css selector", "#rows .best")
    assert best.get_attribute("title") == "Best epoch: 5"
    best.click()
    assert headings(page)[0] == "a.png, epoch 5"

    add_examples(run, tmp_path, 11)
    look_again(page)
    until(lambda: texts(page, "#rows .strip .icon")[1] == "11")
    assert headings(page)[:2] == ["a.png, epoch 5", f"{ODD_NAME}, epoch 11"]  # only one was moved
    page.find_element("css selector", "#rows [title^=Newest]").click()
    assert headings(page)[0] == "a.png, epoch 11"
    until(lambda: is_loaded(page, "#rows img"))


def test_the_pictures_of_a_run_without_fixed_ones_are_a_strip_too(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in (1, 2):
        add_epoch(run, tmp_path, epoch, points=1)
    open_page(page, tmp_path)
    move_strip(page, KEYS.ARROW_LEFT)
    assert headings(page) == ["Epoch 1"]


def test_the_data_of_earlier_versions_is_shown(page, tmp_path):
    """They told neither numbers nor names of pictures, nor how long an epoch is."""
    run = training_page(tmp_path)
    files = ",".join(f'"{k}":"{v}"' for k, v in save_pictures(tmp_path, "epoch001").items())
    with (tmp_path / "data" / "0001.js").open("a") as data:
        data.write('page.losses(["G"]);\npage.loss(1700000000,1,400,0.0002,[0.5]);\n')
        data.write(f"page.pictures(1700000000,1,400,{{{files}}});\n")
        data.write('page.validation(1700000000,1,400,{"last":{"SSIM":0.5}},{},true);\n')
    add_examples(run, tmp_path, 2, names=["a.png"])
    open_page(page, tmp_path)
    assert headings(page) == ["a.png, epoch 2", "Epoch 1"]
    until(lambda: is_loaded(page, "#rows img"))


def test_pictures_that_became_smaller_files_are_still_shown(page, tmp_path):
    """Also on a page that was open when it happened."""
    run = training_page(tmp_path)
    add_examples(run, tmp_path, 1)
    open_page(page, tmp_path)
    add_examples(run, tmp_path, 2)
    old = [f"epoch001{number}_fake_B.png" for number in ("", "_2")]
    for name in old:
        file = tmp_path / "images" / name
        Image.open(file).save(file.with_suffix(".jpg"))
    run.shrink(old)
    for name in old:
        (tmp_path / "images" / name).unlink()
    look_again(page)
    until(lambda: headings(page)[0] == "a.png, epoch 2")
    for _ in range(2):
        move_strip(page, KEYS.HOME)
        until(lambda: is_loaded(page, "#rows img"))
        generated = page.find_elements("css selector", "#rows img")[1]
        assert ".jpg" in generated.get_attribute("src")
        open_page(page, tmp_path)


# --- How the run goes -----------------------------------------------------------------------------


def test_a_live_page_takes_up_news_in_place_until_the_end(page, tmp_path):
    run = training_page(tmp_path, last_epoch=5)
    for epoch in (1, 2):
        add_epoch(run, tmp_path, epoch)
    open_page(page, tmp_path)
    assert texts(page, "#status")[0].startswith("Live · epoch 2 of 5 · 800 images")
    assert page.title == "40% run"
    assert page.find_element("id", "progress").get_property("value") == pytest.approx(0.4)
    page.execute_script("window.isSamePage = true")
    add_epoch(run, tmp_path, 3)
    until(lambda: headings(page) == ["Epoch 3"])
    assert page.title == "60% run"
    run.end("finished")
    look_again(page)
    until(lambda: page.find_element("id", "status").text.startswith("Finished"))
    assert page.title == "run"
    assert not page.find_element("id", "progress").is_displayed()
    assert not page.find_element("id", "resume").is_displayed()
    add_epoch(run, tmp_path, 4)
    time.sleep(POLL_S + 1)
    assert headings(page) == ["Epoch 3"]  # it no longer polls
    assert page.execute_script("return window.isSamePage")


def test_the_speed_and_the_time_left_are_told(page, tmp_path):
    run = training_page(tmp_path, last_epoch=10)
    now = int(time.time())
    with (tmp_path / "data" / "0001.js").open("a") as data:
        data.write(f"page.open({now - 400});\npage.losses([]);\n")
        for epoch in (1, 2, 3):  # 2 images/s, before and after a rest
            data.write(
                f"page.loss({now - 400 + 200 * (epoch - 1)},{epoch},{400 * epoch},0.1,[]);\n"
            )
    open_page(page, tmp_path)
    told = texts(page, "#status")[0]
    assert "2 images/s · 24 min left" in told
    run.end("stopped")
    look_again(page)
    until(lambda: "left" not in texts(page, "#status")[0])


def set_sign_of_life(folder: Path, ago_s: int) -> None:
    (folder / "data" / "alive.js").write_text(f"page.alive({int(time.time()) - ago_s});\n")


def set_times(folder: Path, ago_s: int) -> None:
    data = folder / "data" / "0001.js"
    data.write_text(re.sub(r"\(\d{10}", f"({int(time.time()) - ago_s}", data.read_text()))


def test_a_run_that_was_killed_is_told_with_what_resumes_it(page, tmp_path):
    run = training_page(tmp_path)
    add_epoch(run, tmp_path, 1)
    set_times(tmp_path, 600)
    set_sign_of_life(tmp_path, 80)  # a step may take long
    open_page(page, tmp_path)
    assert texts(page, "#status")[0].startswith("Live")
    assert not page.find_element("id", "resume").is_displayed()

    set_sign_of_life(tmp_path, 120)
    open_page(page, tmp_path)
    assert texts(page, "#status")[0].startswith("Stopped (killed?) at ")
    assert texts(page, "#command") == ["python train.py"]
    run = training_page(tmp_path)  # it is resumed: seen without a click
    until(lambda: texts(page, "#status")[0].startswith("Live"))
    add_epoch(run, tmp_path, 2)
    look_again(page)
    until(lambda: headings(page) == ["Epoch 2"])


def test_rewound_run_shows_what_is_new(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for epoch in (1, 2, 3, 4):
        add_epoch(run, tmp_path, epoch)
        add_validation(run, epoch, 0.9)
    run.end("Stopped")
    run = training_page(tmp_path)
    run.rewind(800)
    open_page(page, tmp_path)
    assert texts(page, "#status")[0].startswith("Live · epoch 2 of 1,000 · 800 images")
    add_epoch(run, tmp_path, 3, points=0)
    look_again(page)
    until(lambda: texts(page, "#rows .strip .icon") == ["1", "3"])
    assert texts(page, "#status")[0].startswith("Live · epoch 3 of 1,000 · 1,200 images")
    assert "epoch 2" in texts(page, "#scores tr")[0]
    page.execute_script("document.querySelector('#losses canvas').focus()")
    press(page, KEYS.ARROW_RIGHT)  # stays at the last point
    assert texts(page, "#losses .tip p")[0] == "epoch 2 · 800 images"


def test_page_after_a_crash(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    add_epoch(run, tmp_path, 1)
    with (tmp_path / "data" / "0001.js").open("a") as data:
        data.write('page.pictures(1700000000,2,800,{"real_A":"epo')
    add_epoch(training_page(tmp_path), tmp_path, 2)
    open_page(page, tmp_path)
    assert texts(page, "#rows .strip .icon") == ["1", "2"]


def test_the_command_that_resumes_is_copied_or_selected_to_be(page, tmp_path: Path) -> None:
    training_page(tmp_path).end("Stopped")
    open_page(page, tmp_path)
    button = page.find_element("id", "copy")
    button.click()
    selected = "return getSelection().toString()"
    until(lambda: button.text == "Copied" or page.execute_script(selected) == "python train.py")


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_fits_a_phone(page, tmp_path: Path, is_dark: bool) -> None:
    run = training_page(tmp_path, title="t" * 80, resume_hint="python " + "x" * 200)
    for epoch in (1, 2):
        add_examples(run, tmp_path, epoch)
        add_validation(run, epoch, 0.9)
    run.end("stopped")
    window(page, 390, 844, scale=2, is_dark=is_dark)
    open_page(page, tmp_path)
    assert reach_all(page, "#scores")
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = int(re.search(r"\d+", paper).group())
    assert brightness < 60 if is_dark else brightness > 200
