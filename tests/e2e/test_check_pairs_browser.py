"""The page of scripts/check_pairs.py in Chromium: what was found, and choosing by it."""

from __future__ import annotations

import numpy as np
import pytest
from browsing import (
    KEYS,
    headings,
    is_loaded,
    open_page,
    press,
    save_pictures,
    screen,
    texts,
    until,
    window,
)
from selenium.webdriver.support.ui import Select

from util.show.html import ResultsPage

COLORS = {"A": "firebrick", "B": "steelblue"}
PAIRS = {
    "zebra": [("misaligned", "B is off A: 3.5 px right"), ("outlier", "A is dark")],
    "apple": [("misaligned", "B is off A: 1.0 px left"), ("", "A and B: 96x64, RGB")],
    "mouse": [("", "aligned: 0.0 px"), ("", "A and B: 96x64, RGB")],
}


@pytest.fixture
def checked(page, tmp_path):
    shown = ResultsPage(
        tmp_path, title="Pairs of mine", winsize_px=128, captions={}, compare=[("A", "B")],
        options="", order="worst first", thing="pair",
    )  # fmt: skip
    for name, notes in PAIRS.items():
        files = save_pictures(tmp_path, name, colors=COLORS)
        shown.add_notes(name, notes)
        shown.add_result(name=name, source=f"{name}.png", files=files, metrics={"L1": 3.0})
    shown.add_notes("", [("refused", "<b>bad</b>.png: cannot be read")])
    shown.end()
    open_page(page, tmp_path)
    until(lambda: len(headings(page)) == 3)
    return page


def choose(page, name: str, words: str) -> None:
    Select(page.find_element("id", name)).select_by_visible_text(words)


def test_pairs_are_shown_in_the_order_told_and_chosen_by_findings(checked):
    assert headings(checked) == ["zebra", "apple", "mouse"]
    assert "3 pairs" in checked.find_element("id", "status").text
    assert texts(checked, "#about li") == ["refused <b>bad</b>.png: cannot be read"]
    assert texts(checked, ".row:first-child .notes li") == [
        "misaligned B is off A: 3.5 px right",
        "outlier A is dark",
    ]
    offered = [o.text for o in Select(checked.find_element("id", "kind")).options]
    assert offered == ["all (3)", "with findings (2)", "misaligned (2)", "outlier (1)"]
    choose(checked, "kind", "misaligned (2)")
    assert headings(checked) == ["zebra", "apple"]
    choose(checked, "sort", "name")
    assert headings(checked) == ["apple", "zebra"]
    choose(checked, "kind", "outlier (1)")
    assert headings(checked) == ["zebra"]
    choose(checked, "kind", "all (3)")
    choose(checked, "sort", "worst first")
    checked.find_element("id", "direction").click()
    assert headings(checked) == ["mouse", "apple", "zebra"]


def test_a_and_b_can_be_compared_in_the_viewer(checked):
    checked.find_element("css selector", ".enlarge").click()
    press(checked, "d")
    until(lambda: is_loaded(checked, "#viewer img"))
    difference = np.abs(np.array((178, 34, 34)) - np.array((70, 130, 180)))
    seen = screen(checked)
    middle = seen[seen.shape[0] // 2, seen.shape[1] // 2]
    assert np.abs(middle - np.minimum(4 * difference, 255)).max() <= 4
    press(checked, KEYS.ARROW_DOWN)
    until(lambda: texts(checked, "#viewer h2") == ["apple"])


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_fits_a_phone(checked, is_dark):
    window(checked, 390, 844, is_dark=is_dark)
    assert checked.execute_script("return document.documentElement.scrollWidth") <= 390
