"""The results page in a real browser, opened from disk."""

from __future__ import annotations

import time

import pytest
from browsing import (
    FACTS,
    ODD_NAME,
    headings,
    is_loaded,
    look_again,
    open_page,
    reach_all,
    results_page,
    save_pictures,
    texts,
    until,
    window,
)

from util.show.html import ResultsPage


def table(page) -> list[list[str]]:
    rows = [row.split("\t") for row in texts(page, "#scores tr")]
    return [[" ".join(cell.split()) for cell in row] for row in rows]  # a phone wraps them


def test_results_are_found_and_sorted(page, tmp_path):
    results = results_page(tmp_path)
    # L1, and that of the untouched input
    figures = {"2": (0.3, 0.5), "10": (0.1, 0.1), ODD_NAME: (0.2, 0.6), "none": (None, None)}
    for name, (l1, base) in figures.items():
        metrics = None if l1 is None else {"L1": l1, "PSNR": 20 + 10 * l1}
        nothing = None if base is None else {"L1": base, "PSNR": 20}
        results.add_result(
            name=name,
            source=f"data/{name}",
            files=save_pictures(tmp_path, name),
            metrics=metrics,
            nothing=nothing,
        )
    results.end()
    open_page(page, tmp_path)

    until(lambda: is_loaded(page, "#rows img"))
    assert headings(page) == ["2", "10", ODD_NAME, "none"]
    assert texts(page, ".row .detail")[2] == f"data/{ODD_NAME}"
    assert table(page) == [
        ["", "mean of 4", "doing nothing"],
        ["L1", "0.2 +0.2", "0.4"],
        ["PSNR", "22 +2", "20"],
    ]
    assert texts(page, ".row:first-child .metrics dd") == ["0.3 +0.2", "23 +3"]

    sort, direction = page.find_element("id", "sort"), page.find_element("id", "direction")
    sort.send_keys("L1")
    assert headings(page) == ["10", ODD_NAME, "2", "none"]
    direction.click()
    assert headings(page) == ["2", ODD_NAME, "10", "none"]
    sort.send_keys("gain in L1")
    assert headings(page) == [ODD_NAME, "2", "10", "none"]

    find = page.find_element("id", "find")
    find.send_keys("B#%20<")
    assert headings(page) == [ODD_NAME]
    assert table(page)[0] == ["", "mean of 1 of 4", "doing nothing"]
    assert table(page)[1] == ["L1", "0.2 +0.4", "0.6"]
    find.send_keys("x")
    assert headings(page) == []
    assert texts(page, "#found") == ["0 of 4"]
    assert page.find_element("id", "none").is_displayed()


def choose(page, element: str, words: str) -> None:
    page.find_element("id", element).send_keys(words)


@pytest.mark.parametrize("width", [390, 1440])
def test_people_choose_which_metric_stands_below_each_of_several_pictures(page, tmp_path, width):
    """As on the page of scripts/compare_checkpoints.py."""
    captions = {"real_A": "input", "fake_B": "1", "real_B": "<b>best</b>"}
    results = ResultsPage(tmp_path, title="x", **{**FACTS, "captions": captions}, metric="SSIM")
    figures = {"a": (0.3, 0.5, 0.7), "b": (0.6, 0.55, 0.5)}  # SSIM of 1 and best, and doing nothing
    for name, (one, best, base) in figures.items():
        results.add_result(
            name=name,
            source="",
            files=save_pictures(tmp_path, name),
            metrics=None,
            nothing={"SSIM": base, "L1": 9.0},
            measured={"fake_B": {"SSIM": one, "L1": 8.0}, "real_B": {"SSIM": best, "L1": 10 * one}},
        )
    results.end()
    window(page, width, 844)
    open_page(page, tmp_path)

    def below(row: int = 1) -> list[str]:
        return texts(page, f".row:nth-child({row}) figcaption")[:3]

    assert [words.split("\n") for words in below()] == [
        ["input"],
        ["1", "0.3 −0.4"],
        ["<b>best</b>", "0.5 −0.2"],
    ]
    assert texts(page, ".row:first-child .metrics dt") == ["doing nothing"]
    assert texts(page, ".row:first-child .metrics dd") == ["SSIM 0.7"]
    assert table(page) == [
        ["mean of 2", "1", "<b>best</b>", "doing nothing"],
        ["SSIM", "0.45 −0.15", "0.525 −0.075", "0.6"],
        ["L1", "8 +1", "4.5 +4.5", "9"],
    ]
    choose(page, "sort", "gain of 1")
    page.find_element("id", "direction").click()
    assert headings(page) == ["b", "a"]
    choose(page, "sort", "gain of <b>")
    assert headings(page) == ["b", "a"]  # 0.05, -0.2
    choose(page, "metric", "L1")
    assert headings(page) == ["a", "b"]  # 6, 3: the order follows
    assert [words.split("\n")[1:] for words in below()] == [[], ["8 +1"], ["3 +6"]]
    assert reach_all(page, "#scores")

    until(lambda: is_loaded(page, "#rows img"))
    page.find_elements("css selector", "#rows .enlarge")[1].click()  # beside the input
    assert texts(page, "#viewer .metrics div") == ["1\nL1 8 +1", "doing nothing\nL1 9"]


def test_other_results_offer_no_metric_to_choose(page, tmp_path):
    results = results_page(tmp_path)
    files = save_pictures(tmp_path, "a")
    results.add_result(name="a", source="", files=files, metrics={"L1": 5})
    open_page(page, tmp_path)
    assert not page.find_element("id", "metric").is_displayed()


def test_many_results_are_shown_few_at_once(page, tmp_path):
    results = results_page(tmp_path)
    files = save_pictures(tmp_path, "same")
    for number in range(100):
        results.add_result(name=str(number), source="", files=files, metrics=None)
    results.end()
    open_page(page, tmp_path)
    at_first = len(headings(page))
    assert at_first < 40
    page.execute_script("arguments[0].scrollIntoView()", page.find_element("id", "more"))
    until(lambda: len(headings(page)) > at_first)
    assert len(headings(page)) < 100
    assert not page.find_element("id", "scores").is_displayed()


def test_results_begun_anew_replace_those_that_are_shown(page, tmp_path):
    for names in (["1", "2", "3"], ["4"]):
        results = results_page(tmp_path)
        for name in names:
            files = save_pictures(tmp_path, name)
            results.add_result(name=name, source="", files=files, metrics={"L1": 0.5})
        if names == ["1", "2", "3"]:
            open_page(page, tmp_path)
            assert headings(page) == names
        results.end()
    look_again(page)
    until(lambda: headings(page) == ["4"])
    until(lambda: "1 result ·" in texts(page, "#status")[0])
    assert not page.find_element("id", "scores").is_displayed()  # one result needs no means


def test_a_test_that_has_long_been_silent_may_have_stopped(page, tmp_path):
    results_page(tmp_path)
    data = tmp_path / "data" / "0001.js"
    data.write_text(f"page.open({int(time.time()) - 7200});\n")
    open_page(page, tmp_path)
    assert texts(page, "#status")[0].startswith("No updates since")


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_fits_a_phone(page, tmp_path, is_dark):
    results = results_page(tmp_path, title="t" * 80)
    for name in ("n" * 80, "m"):
        results.add_result(
            name=name,
            source="s" * 200,
            files=save_pictures(tmp_path, name),
            metrics={"L1": 0.1, "PSNR": 22.125, "SSIM": 0.123456},
            nothing={"L1": 0.1, "PSNR": 22.125, "SSIM": 0.123456},
        )
    results.end()
    window(page, 390, 844, scale=2, is_dark=is_dark)
    open_page(page, tmp_path)
    assert reach_all(page, "#scores")
