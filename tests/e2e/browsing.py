"""Pages with small pictures, and what one sees of them in a browser."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from util.metrics.scores import Scores
from util.show.html import ResultsPage, TrainingPage

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
KEYS = webdriver.Keys
ODD_NAME = "a b#%20<c>'\"한.jpg"
COLORS = {"real_A": "firebrick", "fake_B": "seagreen", "real_B": "steelblue"}
FACTS = {
    "winsize_px": 128,
    "captions": {"real_A": "input", "fake_B": "generated", "real_B": "target"},
    "compare": [("real_A", "fake_B"), ("fake_B", "real_B")],
    "options": "lr: 0.0002",
}
POLL_S = 3


def training_page(folder: Path, **changes: object) -> TrainingPage:
    facts = {
        "title": "run",
        "resume_hint": "python train.py",
        "last_epoch": 1000,
        "images_per_epoch": 400,
    }
    return TrainingPage(folder, **(FACTS | facts | changes))


def results_page(folder: Path, title: str = "test") -> ResultsPage:
    return ResultsPage(folder, title=title, **FACTS)


def save_pictures(
    folder: Path, stem: str, size: tuple[int, int] = (96, 64), colors: dict = COLORS
) -> dict[str, str]:
    files = {label: f"{stem}_{label}.png" for label in colors}
    (folder / "images").mkdir(exist_ok=True)
    for label, name in files.items():
        Image.new("RGB", size, colors[label]).save(folder / "images" / name)
    return files


def add_epoch(page: TrainingPage, folder: Path, epoch: int, points: int = 10) -> None:
    for point in range(points):
        images = (epoch - 1) * 400 + (point + 1) * 400 // points
        losses = {"G_L1": 40 / epoch, "D": 0.5 + 0.01 * point}
        page.add_losses(epoch=epoch, total_images=images, losses=losses, lr=0.0002 / epoch)
    files = save_pictures(folder, f"epoch{epoch:03d}")
    page.add_pictures(epoch=epoch, total_images=epoch * 400, files=files)


def add_examples(
    run: TrainingPage, folder: Path, epoch: int, names=("a.png", ODD_NAME), **pictures: object
) -> None:
    for number, name in enumerate(names, 1):
        stem = f"epoch{epoch:03d}" + (f"_{number}" if number > 1 else "")
        files = save_pictures(folder, stem, **pictures)
        run.add_pictures(
            epoch=epoch, total_images=epoch * 400, files=files, number=number, name=name
        )


def add_validation(run: TrainingPage, epoch: int, ssim: float, *, is_best: bool = True) -> None:
    figures = {"last": {"L1": 9.0, "SSIM": ssim}}
    run.add_validation(
        Scores(epoch, epoch * 400, figures, {"L1": 3.66, "SSIM": 0.922}, {}, "SSIM", is_best)
    )


def open_page(page, folder: Path) -> None:
    page.get((folder / "index.html").as_uri())
    until(lambda: page.find_element("id", "status").text)


def look_again(page) -> None:
    """As if one came back to the page from another tab: it reads the news at once."""
    page.execute_script("document.dispatchEvent(new Event('visibilitychange'))")


def press(page, *keys: str) -> None:
    webdriver.ActionChains(page).send_keys(*keys).perform()


def until(condition: Callable[[], object], limit_s: float = 3 * POLL_S) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.05)


def texts(page, selector: str) -> list[str]:
    words = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
    return page.execute_script(words, selector)


def headings(page) -> list[str]:
    return texts(page, ".row h3")


def is_loaded(page, selector: str) -> bool:
    """Whether all pictures that this finds are there."""
    script = "return [...document.querySelectorAll(arguments[0])].every((i) => i.naturalWidth > 0)"
    return page.execute_script(script, selector)


def window(page, width: int, height: int, *, scale: float = 1, is_dark: bool = False) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def reach_all(page, table: str) -> bool:
    """Whether a table can be moved in its own box so that each of its cells is in the window.

    The box can take the focus, so that arrow keys move it too.
    """
    script = """
      const box = document.querySelector(arguments[0]).parentElement;
      return [...box.querySelectorAll("th, td")].every((cell) => {
        cell.scrollIntoView({ block: "nearest", inline: "end" });
        const { left, right } = cell.getBoundingClientRect();
        return left >= 0 && right <= innerWidth + 1;
      }) && box.tabIndex === 0 && scrollX === 0
         && document.documentElement.scrollWidth <= innerWidth;"""
    return page.execute_script(script, table)


def screen(page) -> np.ndarray:
    """What is on the screen, (H, W, 3)."""
    picture = Image.open(io.BytesIO(base64.b64decode(page.get_screenshot_as_base64())))
    return np.asarray(picture.convert("RGB")).astype(int)
