"""How fast a page of 1,000 epochs with four pictures of 1024 px is; prints what it measures."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from browsing import KEYS, add_validation, press, training_page, until, window
from PIL import Image

EPOCHS, PICTURES = 1000, 4
FIRST_PICTURE_S = 1.5
LATE_S = 0.3
SLACK = 5  # the machine may be busy: what is printed counts

# Notes when pictures come: since the page was asked for, and since they were in view or replaced.
OBSERVE = """
  window.first = null;
  window.late = [];
  const due = new WeakMap();
  const settle = (image) => {
    window.first ??= performance.now();
    if (due.has(image)) window.late.push(performance.now() - due.get(image));
    due.delete(image);
  };
  const isShown = (target) => target.matches?.(".row img");
  document.addEventListener("load", ({ target }) => isShown(target) && settle(target), true);
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.complete) due.set(target, performance.now());
      if (isIntersecting && target.complete) window.late.push(0);
    }
  });
  addEventListener("DOMContentLoaded", () => {
    new MutationObserver((changes) => {
      for (const { type, target, addedNodes } of changes) {
        const now = performance.now();
        if (type === "attributes") due.set(target, now);
        for (const node of addedNodes) {
          for (const image of node.querySelectorAll?.("img") ?? []) seen.observe(image);
        }
      }
    }).observe(document.body, { subtree: true, childList: true, attributeFilter: ["src"] });
  });
"""


def save_pictures(folder: Path, picture: np.ndarray) -> None:
    """Inputs, targets and the newest results as PNG, and all others as JPEG of half the size."""
    folder.mkdir()
    for number in range(1, PICTURES + 1):
        shifted = np.roll(picture, 97 * number, axis=1)
        for name in (f"fixed_{number}_real_A", f"fixed_{number}_real_B", stem(EPOCHS, number)):
            Image.fromarray(shifted).save(folder / f"{name}.png", compress_level=1)
        small = Image.fromarray(shifted).resize((512, 512))
        for epoch in range(1, EPOCHS):
            file = folder / f"{stem(epoch, number)}.jpg"
            if epoch % 10 == 1:
                rolled = np.roll(np.asarray(small), epoch, axis=0)
                Image.fromarray(rolled).save(file, quality=90)
                newest = file
            else:  # the same content in another file costs a browser as much
                shutil.copyfile(newest, file)


def stem(epoch: int, number: int) -> str:
    return f"epoch{epoch:03d}_{number}_fake_B"


def make_page(folder: Path) -> None:
    run = training_page(folder)
    for epoch in range(1, EPOCHS + 1):
        for point in range(1, 5):
            losses = {"G_GAN": 1.0, "G_L1": 40 / epoch, "D_real": 0.5, "D_fake": 0.6}
            images = (epoch - 1) * 400 + 100 * point
            run.add_losses(epoch=epoch, total_images=images, losses=losses, lr=2e-4)
        if epoch % 10 == 0:
            add_validation(run, epoch, epoch / EPOCHS)
        for number in range(1, PICTURES + 1):
            files = {side: f"fixed_{number}_{side}.png" for side in ("real_A", "real_B")}
            files["fake_B"] = f"{stem(epoch, number)}.png"
            facts = {"epoch": epoch, "total_images": epoch * 400, "number": number}
            run.add_pictures(files=files, name=f"{number}.png", **facts)
        if epoch < EPOCHS:
            run.shrink([f"{stem(epoch, number)}.png" for number in range(1, PICTURES + 1)])
    run.end("finished")


@pytest.mark.slow
def test_no_picture_of_a_long_run_comes_late(page, tmp_path, capsys):
    waves = np.add.outer(np.sin(np.arange(1024) / 9), np.cos(np.arange(1024) / 31)) * 60 + 128
    noise = np.random.default_rng(0).normal(0, 8, (1024, 1024, 3))
    save_pictures(tmp_path / "images", np.uint8(np.clip(waves[..., None] + noise, 0, 255)))
    make_page(tmp_path)

    window(page, 1920, 1080)
    added = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": OBSERVE})
    page.get((tmp_path / "index.html").as_uri())
    until(lambda: page.execute_script("return window.first"))
    first_s = page.execute_script("return window.first") / 1000

    def lateness(act) -> float:
        page.execute_script("window.late = []")
        act()
        time.sleep(0.5)
        late = page.execute_script("return window.late")
        assert late, "nothing was measured"
        return max(late) / 1000

    def scroll() -> None:
        for _ in range(40):
            page.execute_script("window.scrollBy(0, 100)")
            time.sleep(0.05)

    def step() -> None:
        page.execute_script("document.querySelector('#rows .track input').focus()")
        for _ in range(40):
            press(page, KEYS.ARROW_LEFT)
            time.sleep(0.03)

    def drag() -> None:
        script = """const range = document.querySelector("#rows .track input");
        range.value = arguments[0];
        range.dispatchEvent(new Event("input"));"""
        for place in range(900, 0, -37):
            page.execute_script(script, place)
            time.sleep(0.05)

    found = {"scrolling": lateness(scroll), "steps": lateness(step), "dragging": lateness(drag)}
    page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    told = ", ".join(f"{what} {late_s:.3f} s" for what, late_s in found.items())
    with capsys.disabled():
        print(f"\nfirst picture after {first_s:.2f} s; latest picture: {told}")
    assert first_s < SLACK * FIRST_PICTURE_S
    assert max(found.values()) < SLACK * LATE_S
