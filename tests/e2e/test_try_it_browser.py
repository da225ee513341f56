"""The page of scripts/try_it.py in a real browser, with the real program behind it."""

from __future__ import annotations

import base64
import io
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from browsing import KEYS, is_loaded, press, screen, texts, until, window
from PIL import Image
from serving import needs_network, started, train

from tests.unit.test_photo import exif

pytest.importorskip("tornado", reason="visdom brings it")
LIMIT_S = 30


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, run_in) -> Path:
    return train(run_in, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def shared(checkpoints, tmp_path_factory):
    with started(checkpoints, tmp_path_factory.mktemp("server"), "--no_browser") as server:
        yield server


@pytest.fixture
def server(shared):
    """Without photographs."""
    for photo in shared.ask("GET", "/photographs").json["photographs"]:
        shared.ask("DELETE", f"/photographs/{photo['number']}")
    return shared


@pytest.fixture
def photos(tmp_path, pictures) -> list[Path]:
    """A JPEG with EXIF, of 300x200, and a TIFF of 16 bits, which no browser shows."""
    pictures.draw(1, 300, 200).save(tmp_path / "a sea & <b>.jpg", exif=exif(), quality=95)
    import tifffile

    deep = np.asarray(pictures.draw(2, 120, 160)).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    return [tmp_path / "a sea & <b>.jpg", tmp_path / "deep.tif"]


def open_page(page, server) -> None:
    page.get(server.url)
    until(lambda: texts(page, "#status")[0])


def choose(page, *files: Path) -> None:
    page.find_element("id", "files").send_keys("\n".join(map(str, files)))


def wait(page, number: int) -> None:
    """Until this many photographs are there, and all of them are done or have failed."""

    def is_done() -> bool:
        is_idle = "done" not in texts(page, "#status")[0]
        return is_idle and len(texts(page, "#rows .row")) == number

    until(is_done, LIMIT_S)
    until(lambda: is_loaded(page, "#rows figure:not([hidden] *) img"), LIMIT_S)


def states(page) -> list[str]:
    return texts(page, "#rows [role=status]")


def pick(page, row: int, title: str, value: str) -> None:
    """Chooses in one of a row's lists, as a person does."""
    script = """
      const [row, title, value] = arguments;
      const element = document.querySelectorAll("#rows .row")[row];
      const list = element.querySelector(`[title^="${title}"]`);
      list.value = value;
      list.dispatchEvent(new Event("change"));"""
    page.execute_script(script, row, title, value)


def is_narrow(page) -> bool:
    return page.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def colours(page, selector: str) -> np.ndarray:
    """The pixels of a picture on the page, as the browser has decoded it: (H, W, 3)."""
    script = """
      const image = document.querySelector(arguments[0]);
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      canvas.getContext("2d").drawImage(image, 0, 0);
      return canvas.toDataURL("image/png").split(",")[1];"""
    png = base64.b64decode(page.execute_script(script, selector))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_two_photographs_by_the_file_field(page, server, photos):
    window(page, 1440, 900)
    open_page(page, server)
    assert texts(page, "#status") == ["No photographs yet"]
    choose(page, *photos)
    wait(page, 2)
    assert texts(page, "#rows h3") == ["a sea & <b>.jpg", "deep.tif"]
    assert texts(page, "#rows header .detail") == ["300 × 200", "120 × 160"]
    assert all("transfer, since its training pairs differ by" in state for state in states(page))
    assert texts(page, "#status") == ["2 photographs"]
    assert texts(page, "figcaption span") == ["original | latest, transfer"] * 2
    before = colours(page, "#rows .row:last-child .layer img")
    assert np.array_equal(before, np.asarray(Image.open(_shown(server, 2, "preview"))))
    assert before.shape == (160, 120, 3)
    page.refresh()  # what was uploaded is still there
    wait(page, 2)
    assert texts(page, "#rows h3") == ["a sea & <b>.jpg", "deep.tif"]


def _shown(server, at: int, what: str) -> io.BytesIO:
    """What the program answers for the photograph of this place."""
    photo = server.ask("GET", "/photographs").json["photographs"][at - 1]
    return io.BytesIO(server.ask("GET", f"/{photo[what]}").body)


def test_the_slider_and_the_view_at_100_percent(page, server, photos):
    window(page, 1440, 900)
    open_page(page, server)
    choose(page, photos[0])
    wait(page, 1)
    box = page.find_element("css selector", "#rows .stage").rect
    assert (box["width"], box["height"]) == (300, 200)  # never larger than its own pixels
    before, after = (
        colours(page, f"#rows .layer{which} img").astype(int)
        for which in (":not(.above)", ".above")
    )
    assert np.abs(before - after).max() > 2
    y, left = round(box["y"]), round(box["x"])
    for share, wanted, other in ((0, after, before), (100, before, after)):
        page.execute_script(
            """const range = document.querySelector("#rows .stage input");
               range.value = arguments[0]; range.dispatchEvent(new Event("input"));""",
            share,
        )
        shown = screen(page)[y + 2 : y + 80, left + 4 : left + 296]
        far, near = (np.abs(shown - x[2:80, 4:296]).mean() for x in (other, wanted))
        assert near < far / 2

    page.find_element("css selector", "#rows [title^='Enlarge, one']").click()
    until(lambda: texts(page, "#viewer output")[0] == "100%")
    until(lambda: is_loaded(page, "#viewer img"))
    assert texts(page, "#viewer h2") == ["a sea & <b>.jpg"]
    x, y, *size = page.execute_script(
        "const b = document.querySelector('#viewer img').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]"
    )
    assert size == [300, 200] and (x, y) == (int(x), int(y))
    shown = screen(page)[int(y) : int(y) + 60, int(x) : int(x) + 300]
    assert np.array_equal(shown[:, :140], before[:60, :140])
    assert np.array_equal(shown[:, 160:], after[:60, 160:])
    press(page, "+")
    assert texts(page, "#viewer output") == ["150%"]
    press(page, KEYS.ESCAPE)


def test_checkpoint_and_full_size_change_the_result(page, server, photos):
    window(page, 1440, 900)
    open_page(page, server)
    choose(page, photos[0])
    wait(page, 1)
    seen = [colours(page, "#rows .above img")]
    for title, value, label in (
        ("Checkpoint", "1", "original | 1, transfer"),
        ("How the network", "scaled", "original | 1, scaled"),
        ("Checkpoint", "latest", "original | latest, scaled"),
    ):
        pick(page, 0, title, value)
        until(lambda label=label: texts(page, "figcaption span") == [label], LIMIT_S)
        until(lambda: is_loaded(page, "#rows .above img"))
        new = colours(page, "#rows .above img")
        assert all((new != old).any() for old in seen)
        seen.append(new)
    options = texts(page, "#rows select:first-child option")
    assert options == ["latest", "2", "1"]
    # The enlarged view compares any two of them.
    page.find_element("css selector", "#rows [title='Enlarge the comparison']").click()
    offered = texts(page, "#viewer .chosen select:last-child option")
    assert offered == ["original", "latest, transfer", "1, transfer", "1, scaled", "latest, scaled"]
    # The next photograph gets what was chosen last.
    press(page, KEYS.ESCAPE)
    choose(page, photos[1])
    wait(page, 2)
    assert texts(page, "figcaption span")[1] == "original | latest, scaled"


def test_the_download_is_the_whole_file(page, server, photos, tmp_path):
    page.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "out")}
    )
    open_page(page, server)
    choose(page, *photos)
    wait(page, 2)
    for link in page.find_elements("css selector", "#rows a.button"):
        link.click()
    names = {"deep_mine.tif", "a sea & _b__mine.jpg"}  # the browser's own way with < and >
    until(lambda: {p.name for p in (tmp_path / "out").glob("*")} == names, LIMIT_S)
    result = Image.open(tmp_path / "out" / "a sea & _b__mine.jpg")
    assert result.size == (300, 200) and result.getexif()[271] == "Maker"
    import tifffile

    assert tifffile.imread(tmp_path / "out" / "deep_mine.tif").dtype == np.uint16


DROP = """
  const [name, text] = arguments;
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
  for (const type of ["dragover", "drop"]) {
    const event = new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
  }"""


def test_dropped_files_good_bad_and_enormous(page, checkpoints, photos, tmp_path):
    with started(checkpoints, tmp_path, "--no_browser", "--max_upload_mb", "0.1") as server:
        open_page(page, server)
        bodies = {
            "<img src=x onerror=alert(1)>.jpg": photos[0].read_bytes(),
            "broken.jpg": photos[0].read_bytes()[:600],
            "empty.png": b"",
            "large.png": bytes(100_001),
        }
        for name, body in bodies.items():
            page.execute_script(DROP, name, base64.b64encode(body).decode())
        wait(page, 4)
        assert texts(page, "#rows h3") == list(bodies)
        good, broken, empty, large = states(page)
        assert "transfer" in good
        assert "cannot be read as a picture" in broken
        assert empty == "the file is empty"
        assert large == "the file has more than 0.1 MB (--max_upload_mb 0.1)"
        assert len(page.find_elements("css selector", "#rows .worse")) == 3
        for remove in page.find_elements("css selector", "#rows [title=Remove]")[1:]:
            remove.click()
        assert len(states(page)) == 1

        server.process.send_signal(signal.SIGINT)
        until(lambda: "does not answer" in texts(page, "#status")[0], LIMIT_S)
        assert page.find_element("id", "status").get_attribute("class") == "silent"
        entries = page.get_log("browser")  # what the missing answers have left there
        assert all("ERR_CONNECTION" in e["message"] or "400" in e["message"] for e in entries)


def test_a_phone_in_the_network_by_the_address_with_the_token(page, checkpoints, photos, tmp_path):
    needs_network()
    with started(checkpoints, tmp_path, "--no_browser", "--lan") as server:
        window(page, 390, 844)
        page.get(server.url)
        until(lambda: texts(page, "#status")[0] == "No photographs yet")
        assert "token" not in page.current_url
        name = f"{'long_name_without_end' * 6}.jpg"
        shutil.copy(photos[0], tmp_path / name)
        choose(page, photos[1], tmp_path / name)
        wait(page, 2)
        assert is_narrow(page)
        field = page.find_element("id", "files")
        assert field.get_attribute("accept") == "image/*"  # so that phones offer the camera
        page.find_element("css selector", "#rows [title^='Enlarge, one']").click()
        until(lambda: is_loaded(page, "#viewer img"))
        assert is_narrow(page)
        page.delete_all_cookies()
        until(lambda: "with its token" in texts(page, "#status")[0], LIMIT_S)
        assert all("403" in entry["message"] for entry in page.get_log("browser"))


ATTACK = """
  const [url, done] = arguments;
  const form = { method: "POST", body: "x", mode: "no-cors" };
  const send = fetch(`${url}photographs?name=a&epoch=latest&full_size=auto`, form);
  const read = fetch(`${url}photographs`).then((answer) => answer.text());
  const look = new Promise((good, bad) => {
    document.body.append(Object.assign(new Image(), { src: `${url}photographs/1/preview`,
                                                      onload: good, onerror: bad }));
  });
  Promise.allSettled([send, read, look]).then((all) => done(all.map(({ status }) => status)));"""


def test_the_page_of_another_site_can_neither_send_nor_see(page, checkpoints, photos, tmp_path):
    with started(checkpoints, tmp_path, "--no_browser") as server:
        open_page(page, server)
        choose(page, photos[0])
        wait(page, 1)
        page.get("data:text/html,<body>")
        _, read, look = page.execute_async_script(ATTACK, server.url)
        assert (read, look) == ("rejected", "rejected")
        assert len(server.ask("GET", "/photographs").json["photographs"]) == 1
        page.get_log("browser")  # the refusals


@pytest.mark.parametrize("is_dark", [False, True])
def test_it_is_as_dark_as_the_training_page(page, server, photos, is_dark):
    window(page, 800, 600, is_dark=is_dark)
    open_page(page, server)
    assert (screen(page)[5, 5] == (0x17 if is_dark else 0xF5)).all()
    assert is_narrow(page)
