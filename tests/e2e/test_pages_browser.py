"""The training page and the results page in a real browser, opened from disk."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from util.metrics.scores import Scores
from util.show.html import ResultsPage, TrainingPage

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

ODD_NAME = "a b#%20<c>'\".jpg"
COLORS = {"real_A": "firebrick", "fake_B": "seagreen", "real_B": "steelblue"}
FACTS = {
    "winsize_px": 128,
    "captions": {"real_A": "input", "fake_B": "generated", "real_B": "target"},
    "compare": [("real_A", "fake_B"), ("fake_B", "real_B")],
    "options": "lr: 0.0002",
}
POLL_S = 3
KEYS = webdriver.Keys


def training_page(folder: Path) -> TrainingPage:
    return TrainingPage(
        folder, title="run", resume_hint="python train.py", last_epoch=1000, **FACTS
    )


def save_pictures(folder: Path, stem: str) -> dict[str, str]:
    files = {label: f"{stem}_{label}.png" for label in COLORS}
    (folder / "images").mkdir(exist_ok=True)
    for label, name in files.items():
        Image.new("RGB", (96, 64), COLORS[label]).save(folder / "images" / name)
    return files


def add_epoch(page: TrainingPage, folder: Path, epoch: int, points: int = 10) -> None:
    for point in range(points):
        images = (epoch - 1) * 400 + (point + 1) * 400 // points
        losses = {"G_L1": 40 / epoch, "D": 0.5 + 0.01 * point}
        page.add_losses(epoch=epoch, total_images=images, losses=losses, lr=0.0002 / epoch)
    files = save_pictures(folder, f"epoch{epoch:03d}")
    page.add_pictures(epoch=epoch, total_images=epoch * 400, files=files)


@pytest.fixture
def page(browser):
    """The browser at desktop size; its console must have no errors at the end."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get_log("browser")
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def open_page(page, folder: Path) -> None:
    page.get((folder / "index.html").as_uri())
    until(lambda: page.find_element("id", "status").text)


def until(condition: Callable[[], object], limit_s: float = 3 * POLL_S) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.05)


def texts(page, selector: str) -> list[str]:
    words = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
    return page.execute_script(words, selector)


def headings(page) -> list[str]:
    return texts(page, "h3")


def assert_pictures_are_shown(page) -> None:
    """Brings every picture into view, so that it is loaded, and looks at its size."""
    pictures = page.find_elements("css selector", "main img")
    assert pictures
    for picture in pictures:
        page.execute_script("arguments[0].scrollIntoView()", picture)
        until(lambda picture=picture: picture.get_property("naturalWidth") == 96)


def ink(page, chart: str, color: str) -> int:
    """How many pixels of a chart have this colour, a custom property of the page."""
    return page.execute_script(
        """
        const canvas = document.querySelector(`#${arguments[0]} canvas`);
        const hex = getComputedStyle(canvas).getPropertyValue(arguments[1]).trim();
        const wanted = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let found = 0;
        for (let i = 0; i < data.length; i += 4) {
          found += data[i + 3] > 200 && wanted.every((c, k) => Math.abs(c - data[i + k]) < 12);
        }
        return found;
        """,
        chart,
        color,
    )


def press(page, *keys: str) -> None:
    webdriver.ActionChains(page).send_keys(*keys).perform()


def test_training_page_shows_pictures_newest_first(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for epoch in (1, 2, 3):
        add_epoch(run, tmp_path, epoch)
    run.add_pictures(epoch=3, total_images=1300, files=save_pictures(tmp_path, "epoch003"))
    run.end("Finished after 3 epochs")

    open_page(page, tmp_path)
    assert headings(page) == ["Epoch 3", "Epoch 2", "Epoch 1"]
    assert "1,300 images" in texts(page, "#latest .detail")[0]
    assert texts(page, "#latest figcaption")[:3] == ["input", "generated", "target"]
    assert page.find_element("id", "status").text.startswith("Finished after 3 epochs")
    alternatives = [img.get_attribute("alt") for img in page.find_elements("css selector", "img")]
    assert alternatives[:3] == ["input, Epoch 3", "generated, Epoch 3", "target, Epoch 3"]
    assert_pictures_are_shown(page)
    assert page.find_elements("css selector", ".enlarge")[0].size["width"] == 128


def test_rewound_run_shows_what_is_new(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for epoch in (1, 2, 3, 4):
        add_epoch(run, tmp_path, epoch)
    run.end("Stopped")
    run = training_page(tmp_path)
    run.rewind(800)
    add_epoch(run, tmp_path, 3, points=0)

    open_page(page, tmp_path)
    assert headings(page) == ["Epoch 3", "Epoch 2", "Epoch 1"]
    assert texts(page, "#status")[0].startswith("Live · epoch 3 of 1,000 · 1,200 images")
    page.execute_script("document.querySelector('#losses canvas').focus()")
    press(page, KEYS.ARROW_RIGHT)  # stays at the last point
    assert texts(page, "#losses .tip p")[0] == "epoch 2 · 800 images"


def test_points_trained_again_take_the_place_of_the_old(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for images in (100, 200, 300, 200):
        run.add_losses(epoch=1, total_images=images, losses={"G": 1.0}, lr=None)
    run.end("Finished")
    open_page(page, tmp_path)
    page.execute_script("document.querySelector('#losses canvas').focus()")
    for place in ("200", "100"):  # from the last point to the first
        press(page, KEYS.ARROW_RIGHT if place == "200" else KEYS.ARROW_LEFT)
        assert texts(page, "#losses .tip p")[0] == f"epoch 1 · {place} images"


def test_curves_are_drawn_and_answer(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for epoch in range(1, 6):
        add_epoch(run, tmp_path, epoch)
    run.end("Finished")
    open_page(page, tmp_path)

    first, second = ink(page, "losses", "--c0"), ink(page, "losses", "--c1")
    assert min(first, second, ink(page, "rates", "--c0")) > 300

    legend = page.find_elements("css selector", "#losses .legend button")
    names, latest = zip(*(entry.text.split() for entry in legend), strict=True)
    assert names == ("G_L1", "D")
    assert all(float(value) > 0 for value in latest)
    legend[0].click()
    assert legend[0].get_attribute("aria-pressed") == "false"
    assert ink(page, "losses", "--c0") == 0
    assert ink(page, "losses", "--c1") > 300
    legend[0].click()
    assert ink(page, "losses", "--c0") == first

    canvas = page.find_element("css selector", "#losses canvas")
    mouse = webdriver.ActionChains(page)
    mouse.move_to_element_with_offset(canvas, -canvas.size["width"] // 2 + 50, 0).perform()
    tip = page.find_element("css selector", "#losses .tip")
    assert tip.text.splitlines()[:3] == ["epoch 1 · 40 images", "G_L1", "40"]
    mouse.move_to_element(page.find_element("css selector", "h1")).perform()
    assert not tip.is_displayed()

    picture = "return document.querySelector('#losses canvas').toDataURL()"
    seen = {page.execute_script(picture)}
    page.find_element("css selector", "#losses [type=checkbox]").click()
    seen.add(page.execute_script(picture))
    page.execute_script("document.querySelector('#losses [type=range]').focus()")
    press(page, KEYS.END)
    seen.add(page.execute_script(picture))
    assert len(seen) == 3


def test_gaps_and_unknown_rates_draw_what_there_is(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for images in range(1, 50):
        losses = {"G": float("nan") if images % 5 == 0 else -1.0 * images, "D": float("nan")}
        run.add_losses(epoch=1, total_images=images, losses=losses, lr=None)
    run.end("Finished")
    open_page(page, tmp_path)
    assert ink(page, "losses", "--c0") > 300
    assert not page.find_element("id", "rates").is_displayed()
    assert not page.find_element("css selector", "#losses [type=checkbox]").is_enabled()
    assert page.find_element("id", "none").text == "No pictures yet."


def test_slider_moves(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    add_epoch(run, tmp_path, 1)
    run.end("Finished")
    open_page(page, tmp_path)
    stage = page.find_element("css selector", "#latest .stage")

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

    choice = page.find_element("css selector", "#latest select")
    choice.send_keys("generated | target")
    above = stage.find_element("css selector", ".above")
    until(lambda: above.get_attribute("alt") == "target, Epoch 1")
    assert above.get_property("src").partition("?")[0].endswith("/epoch001_real_B.png")


def test_enlarged_view_goes_through_pictures_and_epochs(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for epoch in (1, 2):
        add_epoch(run, tmp_path, epoch)
    run.end("Finished")
    open_page(page, tmp_path)
    viewer = page.find_element("id", "viewer")
    assert not viewer.is_displayed()
    page.find_elements("css selector", "#latest .enlarge")[1].click()
    title = viewer.find_element("css selector", ".bar span")
    picture = viewer.find_element("css selector", "img")
    assert title.text == "generated · Epoch 2"
    until(lambda: picture.size["width"] > 600)
    press(page, KEYS.ARROW_DOWN)
    assert title.text == "generated · Epoch 1"
    newer, older = (
        viewer.find_element("css selector", f"[title^={w}]") for w in ("Newer", "Older")
    )
    assert (newer.is_enabled(), older.is_enabled()) == (True, False)
    newer.click()
    assert title.text == "generated · Epoch 2"
    assert (newer.is_enabled(), older.is_enabled()) == (False, True)
    press(page, KEYS.ARROW_RIGHT)
    assert title.text == "target · Epoch 2"
    press(page, KEYS.ARROW_RIGHT)
    assert viewer.find_element("css selector", "select").is_displayed()
    press(page, KEYS.ARROW_RIGHT)
    assert title.text == "input · Epoch 2"

    swipe = """
      const at = (type, clientX) => arguments[0].dispatchEvent(new PointerEvent(type, {
        pointerType: "touch", bubbles: true, clientX, clientY: 300 }));
      at("pointerdown", 400);
      at("pointerup", 200);
    """
    page.execute_script(swipe, picture)
    assert title.text == "generated · Epoch 2"
    press(page, KEYS.ESCAPE)
    assert not viewer.is_displayed()


@pytest.mark.slow
def test_live_page_takes_up_news_in_place_until_the_end(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    for epoch in range(1, 31):
        add_epoch(run, tmp_path, epoch)
    open_page(page, tmp_path)
    page.execute_script("window.isSamePage = true")
    third = page.find_element("css selector", "#rows .row:nth-child(3)")
    page.execute_script("arguments[0].scrollIntoView()", third)
    assert third.find_element("css selector", "h3").text == "Epoch 27"
    place = "return arguments[0].getBoundingClientRect().top"
    before = page.execute_script(place, third)

    add_epoch(run, tmp_path, 31)
    add_epoch(run, tmp_path, 32)
    until(lambda: headings(page)[0] == "Epoch 32")
    assert headings(page)[:3] == ["Epoch 32", "Epoch 31", "Epoch 30"]
    assert page.execute_script(place, third) == pytest.approx(before, abs=1)
    assert page.execute_script("return window.scrollY") > 0
    assert page.execute_script("return window.isSamePage")
    assert_pictures_are_shown(page)

    run.end("Finished after 32 epochs")
    until(lambda: page.find_element("id", "status").text.startswith("Finished"))
    add_epoch(run, tmp_path, 33)
    time.sleep(POLL_S + 1)
    assert headings(page)[0] == "Epoch 32"  # it no longer polls
    open_page(page, tmp_path)
    assert headings(page)[0] == "Epoch 33"


def test_silent_run_is_not_watched(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    add_epoch(run, tmp_path, 1)
    data = tmp_path / "data" / "0001.js"
    hours_ago = f"({int(time.time()) - 7200}"
    data.write_text(re.sub(r"\(\d{10}", hours_ago, data.read_text()))
    open_page(page, tmp_path)
    assert texts(page, "#status")[0].startswith("No updates since")
    add_epoch(run, tmp_path, 2)
    time.sleep(POLL_S + 1)
    assert headings(page) == ["Epoch 1"]
    page.find_element("css selector", "#status button").click()
    until(lambda: headings(page) == ["Epoch 2", "Epoch 1"])


def test_page_after_a_crash(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    add_epoch(run, tmp_path, 1)
    with (tmp_path / "data" / "0001.js").open("a") as data:
        data.write('page.pictures(1700000000,2,800,{"real_A":"epo')
    add_epoch(training_page(tmp_path), tmp_path, 2)
    open_page(page, tmp_path)
    assert headings(page) == ["Epoch 2", "Epoch 1"]


def test_run_of_1000_epochs_shows_few_rows_at_once(page, tmp_path: Path) -> None:
    run = training_page(tmp_path)
    files = save_pictures(tmp_path, "same")
    for epoch in range(1, 1001):
        for point in range(20):
            images = epoch * 400 + 20 * point
            losses = {"G_L1": 40 / epoch, "D": 0.5}
            run.add_losses(epoch=epoch, total_images=images, losses=losses, lr=2e-4)
        run.add_pictures(epoch=epoch, total_images=epoch * 400, files=files)
    run.end("Finished")
    open_page(page, tmp_path)
    assert headings(page)[0] == "Epoch 1000"
    assert ink(page, "losses", "--c1") > 300
    at_first = len(headings(page))
    assert at_first < 30
    page.execute_script("arguments[0].scrollIntoView()", page.find_element("id", "more"))
    until(lambda: len(headings(page)) > at_first)
    assert len(headings(page)) < 100


def test_the_command_that_resumes_is_copied_or_selected_to_be(page, tmp_path: Path) -> None:
    training_page(tmp_path).end("Stopped")
    open_page(page, tmp_path)
    page.find_element("css selector", "summary").click()
    button = page.find_element("id", "copy")
    button.click()
    selected = "return getSelection().toString()"
    until(lambda: button.text == "Copied" or page.execute_script(selected) == "python train.py")


def test_results_are_found_and_sorted(page, tmp_path: Path) -> None:
    results = ResultsPage(tmp_path, title="test, epoch latest", **FACTS)
    figures = {"2": 0.3, "10": 0.1, ODD_NAME: 0.2, "none": None}
    for name, l1 in figures.items():
        metrics = None if l1 is None else {"L1": l1, "PSNR": 20 + 10 * l1}
        files = save_pictures(tmp_path, name)
        results.add_result(name=name, source=f"data/{name}", files=files, metrics=metrics)
    results.end()
    open_page(page, tmp_path)

    assert_pictures_are_shown(page)
    assert headings(page) == ["2", "10", ODD_NAME, "none"]
    assert texts(page, ".row .detail")[2] == f"data/{ODD_NAME}"
    assert texts(page, "#means dd") == ["4", "0.2", "22"]
    assert texts(page, ".row:first-child .metrics dd") == ["0.3", "23"]

    page.find_element("id", "sort").send_keys("L1")
    assert headings(page) == ["10", ODD_NAME, "2", "none"]
    page.find_element("id", "direction").click()
    assert headings(page) == ["2", ODD_NAME, "10", "none"]

    find = page.find_element("id", "find")
    find.send_keys("B#%20<")
    assert headings(page) == [ODD_NAME]
    assert texts(page, "#means dd") == ["1 of 4", "0.2", "22"]
    find.send_keys("x")
    assert headings(page) == []
    assert page.find_element("id", "none").is_displayed()


def test_results_begun_anew_replace_those_that_are_shown(page, tmp_path: Path) -> None:
    for names in (["1", "2", "3"], ["4"]):
        results = ResultsPage(tmp_path, title="test", **FACTS)
        for name in names:
            files = save_pictures(tmp_path, name)
            results.add_result(name=name, source="", files=files, metrics={"L1": 0.5})
        if names == ["1", "2", "3"]:
            open_page(page, tmp_path)
            assert headings(page) == names
        results.end()
    until(lambda: headings(page) == ["4"])
    until(lambda: "1 result ·" in texts(page, "#status")[0])
    assert not page.find_element("id", "means").is_displayed()  # one result needs no means


@pytest.mark.parametrize("is_dark", [False, True])
def test_pages_fit_a_phone(page, tmp_path: Path, is_dark: bool) -> None:
    run = training_page(tmp_path / "train")
    for epoch in (1, 2):
        add_epoch(run, tmp_path / "train", epoch)
    run.end("Finished")
    results = ResultsPage(tmp_path / "test", title="t" * 80, **FACTS)
    files = save_pictures(tmp_path / "test", "1")
    results.add_result(name="n" * 80, source="s" * 200, files=files, metrics={"L1": 0.1})
    results.end()

    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    for folder in ("train", "test"):
        open_page(page, tmp_path / folder)
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        brightness = int(re.search(r"\d+", paper).group())
        assert brightness < 60 if is_dark else brightness > 200


# --- The same pictures throughout, and validation -------------------------------------------------


def add_examples(run: TrainingPage, folder: Path, epoch: int, names=("a.png", ODD_NAME)) -> None:
    for number, name in enumerate(names, 1):
        stem = f"epoch{epoch:03d}" + (f"_{number}" if number > 1 else "")
        files = save_pictures(folder, stem)
        run.add_pictures(
            epoch=epoch, total_images=epoch * 400, files=files, number=number, name=name
        )


def test_the_pictures_of_the_newest_epoch_stand_together(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in (1, 2, 3):
        add_examples(run, tmp_path, epoch)
    run.show_batch(save_pictures(tmp_path, "last_batch"))
    open_page(page, tmp_path)
    expected = [f"{name}, epoch {epoch}" for epoch in (3, 2, 1) for name in ("a.png", ODD_NAME)]
    shown = [title for title in headings(page) if title not in ("", "Last batch")]
    assert shown == expected
    assert len(page.find_elements("css selector", "#newest .row")) == 2
    assert texts(page, "#batch figcaption")[:3] == ["", "", ""]  # folded up
    page.find_element("css selector", "#trained summary").click()
    assert texts(page, "#batch figcaption")[:3] == ["input", "generated", "target"]
    assert_pictures_are_shown(page)


def test_the_viewer_goes_from_picture_to_picture_and_the_last_batch_stands_alone(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in (1, 2):
        add_examples(run, tmp_path, epoch)
    run.show_batch(save_pictures(tmp_path, "last_batch"))
    open_page(page, tmp_path)
    page.find_element("css selector", "#newest .enlarge").click()
    seen = []
    for _ in range(4):
        seen += texts(page, "#viewer .bar p span:first-child")
        press(page, KEYS.ARROW_DOWN)
    names = [f"{name}, epoch {epoch}" for epoch in (2, 1) for name in ("a.png", ODD_NAME)]
    assert seen == [f"input · {name}" for name in names]
    press(page, KEYS.ESCAPE)
    page.find_element("css selector", "#trained summary").click()
    page.find_element("css selector", "#batch .enlarge").click()
    before = texts(page, "#viewer .bar p")
    press(page, KEYS.ARROW_DOWN)
    assert texts(page, "#viewer .bar p") == before


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
    until(lambda: len(headings(page)) >= 4)
    assert_pictures_are_shown(page)
    open_page(page, tmp_path)
    assert_pictures_are_shown(page)


def test_the_table_compares_best_newest_and_doing_nothing(page, tmp_path):
    run = training_page(tmp_path)
    nothing = {"L1": 3.66, "SSIM": 0.922}
    for epoch, ssim in enumerate((0.9, 0.95, 0.91), 1):
        figures = {
            "last": {"L1": 9.0 / epoch, "SSIM": ssim - 0.1},
            "EMA": {"L1": 9.0, "SSIM": ssim},
        }
        run.add_validation(Scores(epoch, epoch * 400, figures, nothing, {}, "SSIM", epoch < 3))
    open_page(page, tmp_path)
    table = [row.split("\t") for row in texts(page, "#scores tr")]
    assert [cell.strip() for cell in table[0]] == [
        "",
        "best, epoch 2",
        "newest, epoch 3",
        "newest, without EMA",
        "doing nothing",
    ]
    assert [cell.strip() for cell in table[2]] == ["SSIM", "0.95", "0.91", "0.81", "0.922"]
    run.rewind(400)
    open_page(page, tmp_path)
    assert texts(page, "#scores tr")[0].split("\t")[1].strip() == "best and newest, epoch 1"


def test_without_validation_there_is_no_table(page, tmp_path):
    add_epoch(training_page(tmp_path), tmp_path, 1)
    open_page(page, tmp_path)
    assert not page.find_element("id", "judged").is_displayed()
