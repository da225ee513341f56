"""The guides as a site, in a browser."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browsing import until, window

pytestmark = pytest.mark.slow


@pytest.fixture
def address(site, browser):
    files = functools.partial(SimpleHTTPRequestHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        browser.get("about:blank")
        server.shutdown()


@pytest.mark.parametrize("typed", ["--save_by_iter", "과적합"])
def test_the_search_finds_flags_and_korean_words_as_they_are_typed(address, browser, typed) -> None:
    browser.get(address + "ko/first_hour/")
    browser.find_element("css selector", ".md-search__input").send_keys(typed)
    until(lambda: browser.find_elements("css selector", ".md-search-result__link"))


def test_korean_pages_fit_on_a_phone(address, site, browser) -> None:
    window(browser, 390, 844)
    pages = [file.parent.relative_to(site) for file in (site / "ko").rglob("index.html")]
    assert len(pages) > 20
    for page in pages:
        browser.get(address + page.as_posix() + "/")
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390, page
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
