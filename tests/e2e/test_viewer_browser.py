"""The enlarged view of both pages in a real browser: every control, by mouse, keys and touch."""

from __future__ import annotations

import numpy as np
import pytest
from browsing import (
    KEYS,
    ODD_NAME,
    add_examples,
    is_loaded,
    open_page,
    press,
    results_page,
    save_pictures,
    screen,
    texts,
    training_page,
    until,
    webdriver,
    window,
)
from PIL import Image, ImageColor

GREYS = {"real_A": (100, 120, 140), "fake_B": (110, 90, 140), "real_B": (0, 0, 0)}


def enlarge(page, figure: int) -> None:
    """Opens the view by a click on a figure of the first row; 3 is the comparison."""
    until(lambda: is_loaded(page, "#rows img"))
    selector = "#rows .enlarge, #rows figure [title^=Enlarge]"
    page.find_elements("css selector", selector)[figure].click()
    until(lambda: is_loaded(page, "#viewer img") and texts(page, "#viewer output")[0])


@pytest.fixture
def viewer(page, tmp_path):
    """The view of three epochs of two pictures, with a slider, at 1440 x 900."""
    run = training_page(tmp_path)
    for epoch in (1, 2, 3):
        add_examples(run, tmp_path, epoch, colors=GREYS, size=(60, 40))
    run.show_batch(save_pictures(tmp_path, "last_batch"))
    run.end("finished")
    window(page, 1440, 900)
    open_page(page, tmp_path)
    enlarge(page, 3)
    return page


def colour_at(page, across: float, down: float = 0.5) -> tuple[int, ...]:
    """The colour on the screen at this share of the picture's stage."""
    box = page.find_element("css selector", "#viewer .stage").rect
    x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
    return tuple(int(value) for value in screen(page)[int(y), int(x)])


def title(page) -> str:
    return texts(page, "#viewer h2")[0]


def percent(page) -> int:
    return int(texts(page, "#viewer output")[0].removesuffix("%"))


def button(page, words: str):
    return page.find_element("css selector", f"#viewer [title*='{words}']")


def stage(page):
    return page.find_element("css selector", "#viewer .stage")


def picture_boxes(page) -> list[tuple[float, ...]]:
    script = """return [...document.querySelectorAll("#viewer img")].map((image) => {
      const { x, y, width, height } = image.getBoundingClientRect();
      return [x, y, width, height];
    });"""
    return [tuple(box) for box in page.execute_script(script)]


def test_the_line_parts_two_pictures(viewer):
    assert (colour_at(viewer, 0.3), colour_at(viewer, 0.7)) == (GREYS["real_A"], GREYS["fake_B"])
    mouse = webdriver.ActionChains(viewer)
    mouse.move_to_element(stage(viewer)).click_and_hold().move_by_offset(
        -400, 0
    ).release().perform()
    assert colour_at(viewer, 0.35) == GREYS["fake_B"]
    mouse.move_to_element(stage(viewer)).click_and_hold().move_by_offset(400, 0).release().perform()
    assert colour_at(viewer, 0.65) == GREYS["real_A"]


def test_the_space_bar_shows_the_first_picture(viewer):
    webdriver.ActionChains(viewer).key_down(" ").perform()
    assert colour_at(viewer, 0.7) == GREYS["real_A"]
    webdriver.ActionChains(viewer).key_up(" ").perform()
    assert colour_at(viewer, 0.7) == GREYS["fake_B"]
    button(viewer, "(H)").click()  # also after a click on a button
    webdriver.ActionChains(viewer).key_down(" ").perform()
    assert colour_at(viewer, 0.7) == GREYS["real_A"]
    webdriver.ActionChains(viewer).key_up(" ").perform()


def test_pressing_on_a_held_picture_shows_the_first(viewer):
    press(viewer, "h")
    assert (colour_at(viewer, 0.3), colour_at(viewer, 0.7)) == (GREYS["fake_B"],) * 2
    mouse = webdriver.ActionChains(viewer)
    mouse.move_to_element(stage(viewer)).click_and_hold().perform()
    assert colour_at(viewer, 0.3) == GREYS["real_A"]
    mouse.release().perform()
    assert colour_at(viewer, 0.3) == GREYS["fake_B"]
    press(viewer, "x")
    assert colour_at(viewer, 0.3) == GREYS["real_A"]


def test_the_difference_is_absolute_and_times_4(viewer):
    press(viewer, "d")
    assert colour_at(viewer, 0.5) == (40, 120, 0)
    press(viewer, "x")
    assert colour_at(viewer, 0.5) == (40, 120, 0)
    first, _ = viewer.find_elements("css selector", "#viewer select")
    first.send_keys("target")
    assert colour_at(viewer, 0.5) == (255, 255, 255)  # more than there is room for
    webdriver.ActionChains(viewer).key_down(" ").perform()
    assert colour_at(viewer, 0.5) == GREYS["real_B"]
    webdriver.ActionChains(viewer).key_up(" ").perform()


def test_any_two_pictures_are_compared(viewer):
    first, second = viewer.find_elements("css selector", "#viewer select")
    assert first.text.split("\n") == ["input", "generated", "target"]
    first.send_keys("target")
    second.send_keys("input")
    assert (colour_at(viewer, 0.3), colour_at(viewer, 0.7)) == (GREYS["real_B"], GREYS["real_A"])


def test_a_click_on_a_picture_shows_it_alone(page, tmp_path):
    add_examples(training_page(tmp_path), tmp_path, 1, colors=GREYS)
    open_page(page, tmp_path)
    for figure, label in enumerate(GREYS):
        enlarge(page, figure)
        assert colour_at(page, 0.4) == colour_at(page, 0.6) == GREYS[label]
        press(page, KEYS.ESCAPE)


@pytest.mark.parametrize("scale", [1, 2])
def test_100_percent_is_a_pixel_for_each_of_the_screen_and_all_pixels_stay_sharp(
    page, tmp_path, scale
):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(noise).save(tmp_path / "images" / "noise.png", compress_level=0)
    files = dict.fromkeys(GREYS, "noise.png")
    training_page(tmp_path).add_pictures(epoch=1, total_images=1, files=files)
    window(page, 600, 400, scale=scale)
    open_page(page, tmp_path)
    enlarge(page, 1)
    assert percent(page) < 100 and stage(page).rect["width"] == 600
    press(page, "1")
    assert percent(page) == 100
    shown, box = screen(page), stage(page).rect
    x, y, width, _ = picture_boxes(page)[1]
    assert width * scale == 1600
    left, top = int(box["x"] * scale), int(box["y"] * scale)
    column, line = round(-x * scale) + left, round(-y * scale) + top
    part = shown[top + 20 : top + 80, left + 50 : left + 150]
    assert (part == noise[line + 20 : line + 80, column + 50 : column + 150]).all()

    press(page, "+", "+")
    assert percent(page) == 225
    style = "return getComputedStyle(document.querySelector('#viewer img')).imageRendering"
    assert page.execute_script(style) == "pixelated"
    press(page, "0")
    assert page.execute_script(style) == "auto"


def test_the_wheel_and_buttons_zoom_and_dragging_pans_both_pictures_in_step(viewer):
    fitting = percent(viewer)
    mouse = webdriver.ActionChains(viewer)
    wheel = webdriver.common.actions.wheel_input.ScrollOrigin.from_element(stage(viewer), 100, 50)
    mouse.scroll_from_origin(wheel, 0, -400).perform()
    assert percent(viewer) > 2 * fitting
    button(viewer, "Zoom out").click()
    button(viewer, "Zoom in").click()
    before = picture_boxes(viewer)
    assert before[0] == before[1]
    press(viewer, "h")
    mouse.move_to_element(stage(viewer)).click_and_hold().move_by_offset(
        -30, 20
    ).release().perform()
    after = picture_boxes(viewer)
    assert after[0] == after[1]
    assert np.subtract(after[0], before[0]) == pytest.approx([-30, 20, 0, 0], abs=1)
    button(viewer, "As large as fits").click()
    assert percent(viewer) == fitting
    button(viewer, "A pixel of the picture").click()
    assert percent(viewer) == 100
    press(viewer, "0")
    mouse.double_click(stage(viewer)).perform()
    assert percent(viewer) == 100
    mouse.double_click(stage(viewer)).perform()
    assert percent(viewer) == fitting


def test_what_is_under_the_pointer_stays_there(viewer):
    press(viewer, "+", "+")
    x, _, width, _ = picture_boxes(viewer)[0]
    middle = 1440 / 2
    at = middle + 200
    wheel = webdriver.common.actions.wheel_input.ScrollOrigin.from_element(stage(viewer), 200, 0)
    webdriver.ActionChains(viewer).scroll_from_origin(wheel, 0, -300).perform()
    new_x, _, new_width, _ = picture_boxes(viewer)[0]
    assert new_width > 1.5 * width
    assert (at - new_x) / new_width == pytest.approx((at - x) / width, abs=0.005)


def test_older_pictures_of_fewer_pixels_take_as_much_room(page, tmp_path):
    run = training_page(tmp_path)
    add_examples(run, tmp_path, 1, names=["a.png"], size=(80, 60))
    add_examples(run, tmp_path, 2, names=["a.png"], size=(80, 60))
    file = tmp_path / "images" / "epoch001_fake_B.png"
    Image.open(file).resize((40, 30)).save(file)
    open_page(page, tmp_path)
    enlarge(page, 3)
    press(page, "1")
    before = picture_boxes(page)
    press(page, KEYS.ARROW_LEFT)
    until(lambda: title(page) == "a.png, epoch 1" and is_loaded(page, "#viewer img"))
    assert picture_boxes(page) == before
    assert before[0] == before[1]


def test_keys_go_through_epochs_and_pictures(viewer):
    seen = [title(viewer)]
    for key in (KEYS.ARROW_LEFT, KEYS.HOME, KEYS.ARROW_DOWN, KEYS.ARROW_UP, KEYS.END):
        press(viewer, key)
        seen.append(title(viewer))
    assert seen == [
        "a.png, epoch 3",
        "a.png, epoch 2",
        "a.png, epoch 1",
        f"{ODD_NAME}, epoch 3",  # each picture keeps its own epoch
        "a.png, epoch 1",
        "a.png, epoch 3",
    ]
    assert not button(viewer, "Previous picture").is_enabled()
    button(viewer, "Next picture").click()
    assert title(viewer) == f"{ODD_NAME}, epoch 3"
    assert not button(viewer, "Next picture").is_enabled()
    press(viewer, KEYS.ARROW_LEFT)
    button(viewer, "Close").click()
    assert texts(viewer, ".row h3")[1] == f"{ODD_NAME}, epoch 2"  # and the page shows the same


def test_keys_are_told(viewer):
    hint = viewer.find_element("id", "hint")
    assert not hint.is_displayed()
    press(viewer, "?")
    assert "swap both pictures" in hint.text
    button(viewer, "Keys").click()
    assert not hint.is_displayed()


def test_the_last_batch_stands_alone(viewer):
    press(viewer, KEYS.ESCAPE)
    assert not viewer.find_element("id", "viewer").is_displayed()
    viewer.find_element("css selector", "#trained summary").click()
    viewer.find_element("css selector", "#batch .enlarge").click()
    for key in (KEYS.ARROW_DOWN, KEYS.ARROW_LEFT, KEYS.ARROW_UP):
        press(viewer, key)
        assert title(viewer) == "Last batch"


def touch(page, *paths: list[tuple[float, float]]) -> None:
    """Fingers that go down one after another, each at the start of its path, and move at once."""
    ends = {"type": "touchEnd", "touchPoints": []}
    at = [path[0] for path in paths]
    steps = [("Start", at[:number]) for number in range(1, len(at) + 1)]
    steps += [("Move", points) for points in zip(*(path[1:] for path in paths), strict=True)]
    for kind, points in steps:
        fingers = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        event = {"type": f"touch{kind}", "touchPoints": fingers}
        page.execute_cdp_cmd("Input.dispatchTouchEvent", event)
    page.execute_cdp_cmd("Input.dispatchTouchEvent", ends)


@pytest.fixture
def phone(page, tmp_path):
    """The view of two epochs of two pictures on a phone, with a slider."""
    run = training_page(tmp_path)
    for epoch in (1, 2):
        add_examples(run, tmp_path, epoch, colors=GREYS)
    window(page, 390, 844, scale=2)
    open_page(page, tmp_path)
    enlarge(page, 3)
    return page


def line_at(page) -> float:
    """Where the line between both pictures is, in percent."""
    return float(page.execute_script("return document.querySelector('#viewer input').value"))


def test_touch(phone):
    """The line follows a finger, a finger pans, and buttons zoom; nothing is out of a phone."""
    box = stage(phone).rect
    y = box["y"] + box["height"] / 2
    touch(phone, [(195, y), (140, y), (80, y)])
    assert line_at(phone) == pytest.approx(100 * 80 / 390, abs=2)
    button(phone, "(H)").click()
    button(phone, "Zoom in").click()
    before = picture_boxes(phone)[0]
    touch(phone, [(200, y), (175, y), (150, y)])
    assert picture_boxes(phone)[0][0] == pytest.approx(before[0] - 50, abs=2)
    for each in phone.find_elements("css selector", "#viewer button"):
        assert 0 <= each.rect["x"] <= 390 - each.rect["width"]


@pytest.mark.parametrize("width", [390, 1440])  # some notebooks have such a screen too
@pytest.mark.parametrize("mode", "shd")
def test_two_fingers_zoom_both_pictures_around_what_is_between_them(phone, width, mode):
    window(phone, width, 844, scale=2)
    press(phone, mode)
    box = stage(phone).rect
    x, y = box["width"] / 2, box["y"] + box["height"] / 2
    before = picture_boxes(phone)[0]

    def place(at_x: float, boxes: tuple[float, ...]) -> float:
        return (at_x - boxes[0]) / boxes[2]

    touch(phone, [(x - 20, y), (x - 40, y), (x - 60, y)], [(x + 60, y), (x + 90, y), (x + 120, y)])
    after, other = picture_boxes(phone)
    assert after == other
    assert after[2] == pytest.approx(180 / 80 * before[2], rel=0.02)
    assert place(x + 30, after) == pytest.approx(place(x + 20, before), abs=0.01)
    assert line_at(phone) == 50  # the first finger was close to it
    assert not phone.find_elements("css selector", ".held")

    touch(phone, [(x - 20, y), (x - 40, y)], [(x + 60, y), (x + 40, y)])  # both move, and it does
    moved = picture_boxes(phone)[1]
    assert np.subtract(moved, after) == pytest.approx([-20, 0, 0, 0], abs=1)
    touch(phone, [(x - 60, y), (x - 20, y)], [(x + 120, y), (x + 20, y)])
    assert picture_boxes(phone)[0][2] < 0.3 * moved[2]


def test_a_finger_that_stays_after_a_pinch_moves_the_picture_on(phone):
    box = stage(phone).rect
    x, y = box["width"] / 2, box["y"] + box["height"] / 2
    down, up, rest = {"type": "pointerDown"}, {"type": "pointerUp"}, {"type": "pause"}

    def move(to_x: float) -> dict:
        return {"type": "pointerMove", "x": round(to_x), "y": round(y), "duration": 0}

    def pinch(first: list[dict], second: list[dict]) -> tuple[float, ...]:
        """Where the picture is after two fingers have zoomed, and then done this, in step."""
        first = [move(x - 20), down, rest, move(x - 80), *first]
        second = [move(x + 20), rest, down, move(x + 80), *second]
        kind = {"type": "pointer", "parameters": {"pointerType": "touch"}}
        does = [{**kind, "id": str(n), "actions": each} for n, each in enumerate((first, second))]
        press(phone, "0")
        phone.execute("actions", {"actions": does})
        return picture_boxes(phone)[0]

    before = pinch([up, rest], [rest, up])
    assert before[2] > 3 * 390
    after = pinch([up, rest, rest], [rest, move(x + 50), up])
    assert np.subtract(after, before) == pytest.approx([-30, 0, 0, 0], abs=1)
    assert line_at(phone) == 50


def test_a_finger_on_a_picture_scrolls_the_page(page, tmp_path):
    """On the pictures of a row, and on its slider."""
    run = training_page(tmp_path)
    add_examples(run, tmp_path, 1, colors=GREYS, names=[f"{n}.png" for n in range(6)])
    window(page, 390, 844, scale=2)
    open_page(page, tmp_path)
    for selector in ("#rows .enlarge", "#rows .stage"):
        page.execute_script("scrollTo(0, 0)")
        box = page.find_element("css selector", selector).rect
        touch(page, [(box["x"] + 20, box["y"] + 20 - 10 * step) for step in range(20)])
        until(lambda: page.execute_script("return scrollY") > 100)
        assert not page.find_element("id", "viewer").is_displayed()


def test_results_have_the_same_view(page, tmp_path):
    results = results_page(tmp_path)
    for number in (1, 2):
        colors = {label: ImageColor.getrgb("navy") for label in GREYS} if number == 2 else GREYS
        files = save_pictures(tmp_path, str(number), colors=colors)
        results.add_result(
            name=f"{number}", source="", files=files, metrics={"L1": 5}, nothing={"L1": 3}
        )
    results.end()
    open_page(page, tmp_path)
    enlarge(page, 3)
    assert colour_at(page, 0.7) == GREYS["fake_B"]
    assert texts(page, "#viewer .metrics dd") == ["5 −2"]
    press(page, KEYS.ARROW_RIGHT)
    until(lambda: colour_at(page, 0.7) == (0, 0, 128))
    press(page, KEYS.ARROW_UP)
    assert title(page) == "1"
