"""The charts of the training page in a real browser."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from browsing import (
    KEYS,
    add_epoch,
    add_validation,
    open_page,
    press,
    texts,
    training_page,
    until,
    webdriver,
    window,
)

from util.metrics.scores import Scores


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
    assert [cell.strip() for cell in table[2]] == [
        "SSIM",
        "0.95 +0.028",
        "0.91 −0.012",
        "0.81 −0.112",
        "0.922",
    ]
    run.rewind(400)
    open_page(page, tmp_path)
    assert texts(page, "#scores tr")[0].split("\t")[1].strip() == "best and newest, epoch 1"


def test_without_validation_there_is_no_table(page, tmp_path):
    add_epoch(training_page(tmp_path), tmp_path, 1)
    open_page(page, tmp_path)
    assert not page.find_element("id", "judged").is_displayed()


@pytest.fixture
def downloads(page, tmp_path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    settings = {"behavior": "allow", "downloadPath": str(folder)}
    page.execute_cdp_cmd("Browser.setDownloadBehavior", settings)
    return folder


def test_the_numbers_are_saved_as_csv(page, tmp_path, downloads):
    run = training_page(tmp_path, title='run "한" 1')
    run.add_losses(
        epoch=1, total_images=3, losses={"G_L1": 0.5, 'odd, "name"': float("nan")}, lr=0.1
    )
    add_validation(run, 1, 0.9)
    open_page(page, tmp_path)
    for button in page.find_elements("css selector", "[title='Save these numbers']"):
        button.click()
    until(lambda: len(list(downloads.glob("*.csv"))) == 2)
    losses, validation = (
        list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        for file in sorted(downloads.glob("*.csv"))
    )
    assert losses[0].pop("time").startswith("20")
    assert losses == [
        {"epoch": "1", "images": "3", "learning rate": "0.1", "G_L1": "0.5", 'odd, "name"': ""}
    ]
    (row,) = validation
    assert (row["epoch"], row["weights"], row["L1"], row["SSIM"]) == ("1", "last", "9", "0.9")


def test_a_single_point_is_visible(page, tmp_path):
    run = training_page(tmp_path)
    run.add_losses(epoch=1, total_images=400, losses={"G": 0.5}, lr=None)
    add_validation(run, 1, 0.9)
    open_page(page, tmp_path)
    assert ink(page, "losses", "--c0") >= 12
    assert ink(page, "metrics > :last-child", "--c0") >= 12


def test_the_names_of_losses_are_explained(page, tmp_path):
    run = training_page(tmp_path)
    losses = dict.fromkeys(("G_GAN", "cycle_A", "own", "G_feat", "G_lpips"), 0.5)
    run.add_losses(epoch=1, total_images=400, losses=losses, lr=None)
    open_page(page, tmp_path)
    titles = [
        entry.get_attribute("title")
        for entry in page.find_elements("css selector", "#losses .legend button")
    ]
    assert "fools the discriminator" in titles[0]
    assert "there and back" in titles[1]
    assert titles[2] == "Show or hide"
    assert "layers of the discriminator" in titles[3]
    assert "looks to people" in titles[4]


def test_dragging_zooms_all_charts_and_a_double_click_shows_the_whole_run(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in range(1, 11):
        add_epoch(run, tmp_path, epoch, points=4)
        add_validation(run, epoch, epoch / 10)
    open_page(page, tmp_path)
    plot = page.find_element("css selector", "#losses .plot")
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", plot)
    charts = ("losses", "rates", "metrics > :last-child")

    def seen() -> list[str]:
        script = "return document.querySelector(`#${arguments[0]} canvas`).toDataURL()"
        return [page.execute_script(script, chart) for chart in charts]

    whole = seen()
    mouse = webdriver.ActionChains(page)
    mouse.move_to_element(plot).click_and_hold().move_by_offset(200, 0).release().perform()
    assert all(now != before for now, before in zip(seen(), whole, strict=True))
    mouse.move_to_element_with_offset(plot, -plot.size["width"] // 2 + 50, 0).perform()
    assert texts(page, "#losses .tip p")[0].startswith("epoch 5")  # the middle is now at the left
    whole_run = page.find_element("css selector", "#losses .whole")
    assert whole_run.is_displayed()
    mouse.double_click(plot).perform()
    assert not whole_run.is_displayed()
    mouse.move_to_element(page.find_element("css selector", "#losses h2")).perform()
    assert seen() == whole


def marks(page) -> list[tuple[str, float, float]]:
    """Each number below the losses when they are drawn again, with its middle and width."""
    script = """
      const draw = CanvasRenderingContext2D.prototype.fillText;
      const drawn = [];
      CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        if (this.textAlign === "center") drawn.push([text, x, this.measureText(text).width]);
      };
      document.querySelector("#losses [type=checkbox]").dispatchEvent(new Event("input"));
      CanvasRenderingContext2D.prototype.fillText = draw;
      return drawn;"""
    return page.execute_script(script)


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize(
    "sizes, last, ended",
    [
        ([9] * 12, 100, 11),  # --print_freq 100 gives a point soon after the end of an epoch
        ([9] * 12, 108, 12),
        ([9] * 10 + [400] * 8, 3290, 18),  # more pictures from an epoch on
        ([400] * 40 + [9] * 60, 16540, 100),  # fewer
    ],
)
def test_epochs_stand_below_curves_where_they_end(sizes, last, ended, width, page, tmp_path):
    run = training_page(tmp_path, images_per_epoch=sizes[-1])
    ends = list(itertools.accumulate(sizes))
    for epoch, (start, end) in enumerate(itertools.pairwise([0, *ends]), 1):
        for images in range(start + 1, min(end, last) + 1):
            if images % 100 == 0 or images == end:
                run.add_losses(epoch=epoch, total_images=images, losses={"G": 1.0}, lr=None)
    window(page, width, 900)
    open_page(page, tmp_path)
    found = marks(page)
    plot = page.find_element("css selector", "#losses .plot").size["width"]
    first = min(sizes[0], 100)

    def place(images: int) -> float:
        return 48 + (images - first) / (last - first) * (plot - 60)

    assert found and all(int(mark) <= ended for mark, _, _ in found)
    places = [place(ends[int(mark) - 1]) for mark, _, _ in found]
    assert [at for _, at, _ in found] == pytest.approx(places, abs=4)
    for (_, left, its), (_, right, other) in itertools.pairwise(found):
        assert right - other / 2 > left + its / 2 + 4


def test_in_a_stretch_no_epoch_stands_that_ends_outside(page, tmp_path):
    run = training_page(tmp_path)
    for epoch in range(1, 11):
        run.add_losses(epoch=epoch, total_images=epoch * 400, losses={"G": 1.0}, lr=None)
    open_page(page, tmp_path)
    plot = page.find_element("css selector", "#losses .plot")
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", plot)
    width = plot.size["width"]
    step = (width - 60) / 9  # from the end of an epoch to that of the next
    mouse = webdriver.ActionChains(page)
    mouse.move_to_element_with_offset(plot, round(48 + 2.5 * step - width / 2), 0).click_and_hold()
    mouse.move_by_offset(round(4 * step), 0).release().perform()  # from the middle of epoch 4
    assert [mark for mark, _, _ in marks(page)] == ["4", "5", "6", "7"]


def test_each_metric_has_a_chart_with_doing_nothing_and_the_best(page, tmp_path):
    run = training_page(tmp_path)
    for epoch, ssim in enumerate((0.9, 0.95, 0.91), 1):
        figures = {
            "last": {"L1": 9.0 / epoch, "SSIM": ssim - 0.1},
            "EMA": {"L1": 9.0, "SSIM": ssim},
        }
        nothing = {"SSIM": 0.922}
        run.add_validation(Scores(epoch, epoch * 400, figures, nothing, {}, "SSIM", epoch < 3))
    open_page(page, tmp_path)
    assert texts(page, "#metrics h3") == ["L1", "SSIM"]
    entries = texts(page, "#metrics > :last-child .legend > *")
    assert [entry.split("\n") for entry in entries] == [
        ["without EMA", "0.81"],
        ["with EMA", "0.91"],
        ["doing nothing", "0.922"],
    ]
    assert ink(page, "metrics > :last-child", "--soft") > 100
    page.execute_script("document.querySelector('#metrics > :last-child canvas').focus()")
    press(page, KEYS.ARROW_LEFT)
    assert texts(page, "#metrics > :last-child .tip p")[0] == "epoch 2 · 800 images · best"
