"""scripts/try_it.py as a process of its own, asked over HTTP by friends and strangers."""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import time
import zlib
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from serving import PORTRAITS, needs_network, started, train

from tests.unit.test_photo import exif

pytest.importorskip("tornado", reason="visdom brings it")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends Ctrl-C by a signal")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, run_in) -> Path:
    return train(run_in, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def server(checkpoints, tmp_path_factory):
    words = ["--no_browser", "--max_upload_mb", "2", "--max_megapixels", "1"]
    with started(checkpoints, tmp_path_factory.mktemp("server"), *words) as server:
        yield server
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert server.process.stderr.read() == ""  # whatever the tests have asked


def picture(size=(90, 70), kind="JPEG", **more) -> bytes:
    file = io.BytesIO()
    photo = Image.open(PORTRAITS / "trainB" / "collins.jpg").resize(size)
    photo.save(file, kind, **more)
    return file.getvalue()


def deep_png() -> bytes:
    """Of 16 bits, which Pillow would read as 8."""
    import imagecodecs

    values = np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    return bytes(imagecodecs.png_encode(values))


def bomb() -> bytes:
    """A PNG of 40 KB that says it has 1600 megapixels."""
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(40_000_000))
    chunks = [(b"IHDR", header), (b"IDAT", content), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


# --- Results --------------------------------------------------------------------------------------


def test_the_download_is_the_file_that_translate_writes(server, checkpoints, tmp_path, run_here):
    files = {
        "a.jpg": picture(exif=exif(), quality=93, dpi=(300, 300)),
        "deep.png": deep_png(),
        "b.TIF": picture(kind="TIFF"),
        "c.webp": picture(kind="WEBP", lossless=True),
        "g.gif": picture(kind="GIF"),
    }
    for way in ("auto", "scaled"):
        folder = tmp_path / way
        folder.mkdir()
        for name, body in files.items():
            (folder / name).write_bytes(body)
        line = f"--name mine --checkpoints_dir {checkpoints} --device cpu --full_size {way}".split()
        assert run_here("scripts/translate.py", str(folder), *line, "--epoch", "1").status == 0
        for name, body in files.items():
            result = server.result(name, body, epoch="1", full_size=way)
            assert result["state"] == "done", result
            wanted = folder / result["name"]
            assert wanted.is_file() and wanted.name not in files
            got = server.ask("GET", f"/{result['file']}")
            assert got.body == wanted.read_bytes()
            told = got.headers["Content-Disposition"]
            assert told == f"attachment; filename*=UTF-8''{wanted.name}"


def test_previews_are_what_browsers_show(server):
    result = server.result("deep.png", deep_png())
    for place in (result["preview"], "photographs/{}/preview".format(result["file"].split("/")[1])):
        shown = server.ask("GET", f"/{place}")
        assert shown.headers["Content-Type"] == "image/png"
        image = Image.open(io.BytesIO(shown.body))
        assert (image.mode, image.size) == ("RGB", (50, 40))


def test_other_checkpoints_and_ways_are_further_results(server):
    number = server.upload("a.png", picture(kind="PNG")).json["number"]
    server.finished(number)
    for epoch, way in (("1", "auto"), ("1", "native"), ("1", "auto")):
        server.ask("POST", f"/photographs/{number}?epoch={epoch}&full_size={way}")
    server.finished(number)
    results = server.told(number)["results"]
    assert [(r["epoch"], r["way"]) for r in results] == [
        ("latest", "transfer"),
        ("1", "transfer"),
        ("1", "native"),
    ]
    files = [server.ask("GET", f"/{r['file']}").body for r in results]
    assert len(set(files)) == 3
    assert server.ask("GET", "/photographs").json["labels"] == ["latest", "2", "1"]


def test_a_checkpoint_that_was_saved_again_is_used(checkpoints, tmp_path):
    with started(checkpoints, tmp_path, "--no_browser") as server:
        number = server.upload("a.png", picture(kind="PNG")).json["number"]
        server.finished(number)
        file = checkpoints / "mine" / "latest_net_G.pth"
        os.utime(file, (time.time() + 10, time.time() + 10))
        server.ask("POST", f"/photographs/{number}?epoch=latest&full_size=auto")
        assert len(server.told(number)["results"]) == 2


def test_two_uploads_at_once_and_the_server_answers_meanwhile(server):
    body = picture((500, 400), "PNG")
    numbers = [server.upload(f"{i}.png", body, full_size="native").json["number"] for i in "ab"]
    assert len(set(numbers)) == 2
    working, states = 0, [""]
    while set(states) != {"done"}:
        told = server.ask("GET", "/photographs").json["photographs"]
        states = [p["results"][0]["state"] for p in told if p["number"] in numbers]
        assert "failed" not in states
        working = max(working, states.count("working"))
        time.sleep(0.01)
    assert working == 1


def test_a_removed_photograph_is_gone_from_the_disk(server):
    number = server.upload("a.png", picture(kind="PNG")).json["number"]
    result = server.finished(number)
    assert list(server.folder.glob(f"try_it_*/{number}/*"))
    assert server.ask("DELETE", f"/photographs/{number}").status == 200
    for path in (result["file"], f"photographs/{number}/preview"):
        assert "removed" in server.ask("GET", f"/{path}").line
    server.result("next.png", picture(kind="PNG"))  # the same thread deletes
    assert not list(server.folder.glob(f"try_it_*/{number}"))


# --- Bad files and names --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, line",
    [
        (picture()[:500], "cannot be read as a picture"),
        (b"no picture", "cannot be read as a picture"),
        (bomb(), "40000x40000 pixels are more than --max_megapixels 1"),
    ],
    ids=["broken", "text", "bomb"],
)
def test_a_bad_file_is_one_line_and_the_server_lives_on(server, body, line):
    result = server.result("bad.png", body)
    assert result["state"] == "failed"
    assert line in result["line"] and "\n" not in result["line"]
    assert str(server.folder) not in result["line"]
    assert server.result("a.jpg", picture())["state"] == "done"


def test_an_empty_or_enormous_file_is_refused_and_not_kept(server):
    before = sorted(server.folder.glob("try_it_*/*"))
    empty = server.upload("a.png", b"")
    assert (empty.status, empty.line) == (400, "the file is empty")
    large = server.upload("a.png", bytes(2_000_001))
    assert large.status == 413
    assert large.line == "the file has more than 2 MB (--max_upload_mb 2)"
    chunked = "POST /photographs?name=a&epoch=1&full_size=auto HTTP/1.1\r\nHost: localhost\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(f"{chunked}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(5):
            raw.sendall(b"80000\r\n" + bytes(0x80000) + b"\r\n")
        raw.sendall(b"0\r\n\r\n")
        assert b" 413 " in raw.recv(100)
    with socket.create_connection(("127.0.0.1", server.port)) as raw:  # and goes away in the middle
        raw.sendall(f"{chunked}Content-Length: 1000\r\n\r\nsome".encode())
        time.sleep(0.2)
    server.result("next.png", picture(kind="PNG"))  # the same thread deletes
    after = sorted(server.folder.glob("try_it_*/*"))
    assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    "given, kept",
    [
        ("../../../etc/passwd.jpg", "passwd.jpg"),
        ("..\\..\\windows\\a.jpg", "a.jpg"),
        ("C:a.jpg", "a.jpg"),
        ("a\0b\r\nSet-Cookie: x.jpg", "a bSet-Cookie: x.jpg"),
        ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
        ('é한 %2F".jpg', 'é한 %2F".jpg'),
        ("x" * 300 + ".jpg", "x" * 180 + ".jpg"),
        ("..", "photograph"),
        ("", "photograph"),
    ],
)
def test_names_are_text_and_never_paths(server, given, kept):
    result = server.result(given, picture())
    number = result["file"].split("/")[1]
    assert server.told(int(number))["name"] == kept
    got = server.ask("GET", f"/{result['file']}")
    stem = kept.removesuffix(".jpg")
    told = unquote(got.headers["Content-Disposition"])
    assert told == f"attachment; filename*=UTF-8''{stem}_mine.jpg"
    assert {p.name for p in server.folder.glob(f"try_it_*/{number}/*")} <= {
        "original", "original.jpg", "preview.png", "result1"
    }  # fmt: skip


def test_a_full_queue_says_so(checkpoints, tmp_path):
    with started(checkpoints, tmp_path, "--no_browser") as server:
        body = picture((700, 700), "PNG")
        answers = [server.upload(f"{i}.png", body, full_size="native") for i in range(40)]
        refused = [answer for answer in answers if answer.status != 200]
        assert refused and {answer.status for answer in refused} == {503}
        assert "photographs are waiting: try again" in refused[0].line
        server.process.send_signal(signal.SIGINT)  # while it works
        assert server.process.wait(10) == 0
        assert server.process.stderr.read() == ""
        assert list(server.folder.iterdir()) == []


# --- Strangers ------------------------------------------------------------------------------------


def test_other_addresses_do_nothing(server):
    some = "/x /photographs/ /../etc/passwd /script.jsx /static/ /page/try_it.js /temporary"
    for path in [*some.split(), "/photographs/999/preview", "/photographs/999/0/file"]:
        assert server.ask("GET", path).status == 404, path
    assert server.ask("PUT", "/photographs").status == 405
    assert "full_size can be" in server.upload("a", b"x", full_size="<b>").line
    assert "no such checkpoint" in server.upload("a", b"x", epoch="../mine/latest").line


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "192.168.1.7"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    ],
    ids=str,
)
def test_pages_of_other_sites_can_neither_post_nor_read(server, headers):
    number = server.upload("a.jpg", picture()).json["number"]
    server.finished(number)
    for method, path in (
        ("GET", "/photographs"),
        ("GET", f"/photographs/{number}/0/file"),
        ("POST", f"/photographs/{number}?epoch=1&full_size=auto"),
        ("DELETE", f"/photographs/{number}"),
        ("OPTIONS", "/photographs"),
    ):
        answer = server.ask(method, path, **headers)
        assert answer.status == 403, (method, path)
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert len(server.told(number)["results"]) == 1


def test_addresses_of_this_machine_and_its_own_page_are_welcome(server):
    for host in ("127.0.0.1", f"localhost:{server.port}", "[::1]:80", "LOCALHOST"):
        own = {"Host": host, "Origin": f"http://{host}", "Sec_Fetch_Site": "same-origin"}
        assert server.ask("GET", "/photographs", **own).status == 200
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    answer = server.ask("GET", "/", **link)
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert (
        "script-src 'self';" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    )
    assert "http://" not in answer.body.decode() and "https://" not in answer.body.decode()


def test_in_the_network_each_request_needs_the_token(checkpoints, tmp_path):
    needs_network()
    with started(checkpoints, tmp_path, "--lan", "--no_browser") as server:
        host, token = server.url.removeprefix("http://").split("/?token=")
        assert len(token) >= 16
        for path in ("/", "/script.js", "/photographs", "/?token=", f"/photographs?token={token}x"):
            assert "token" in server.ask("GET", path, Host="127.0.0.1").line
        first = server.ask("GET", f"/?token={token}", Host="127.0.0.1")
        assert (first.status, first.headers["Location"]) == (302, "/")
        cookie = first.headers["Set-Cookie"].partition(";")[0]
        assert "HttpOnly" in first.headers["Set-Cookie"]
        assert server.ask("GET", "/", Host="localhost", Cookie=cookie).status == 200
        wrong = {"Host": "localhost", "Cookie": f"{cookie}x"}
        assert server.ask("GET", "/", **wrong).status == 403
        foreign = {"Cookie": cookie, "Host": "localhost", "Origin": "http://evil.example"}
        assert server.ask("GET", "/photographs", **foreign).status == 403
        assert server.ask("GET", "/", Host="evil.example", Cookie=cookie).status == 403

        path = f"/photographs?token={token}"
        assert server.ask("GET", path, at=host.rpartition(":")[0]).status == 200


def test_rude_requests_do_no_harm(server):
    start = b"POST /photographs?name=a&epoch=1&full_size=auto HTTP/1.1\r\nHost: localhost\r\n"
    lengths = [b"x", b"-1", b"\xc2\xb2", b"9" * 5000, b"1, 1"]
    rude = [start + b"Content-Length: " + length + b"\r\n\r\nx" for length in lengths]
    rude += [b"GET / HTTP/1.1\r\n\r\n", b"\0\xff\r\n\r\n", b"GET /photographs?%ff=%ff&token=%ff X"]
    for text in rude:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(text)
            raw.shutdown(socket.SHUT_WR)
            assert b" 200 " not in raw.recv(1000)
    assert server.ask("GET", "/photographs").status == 200


def test_a_browser_may_leave_in_the_middle_of_a_download(server):
    """What it would leave in the terminal is looked for at the end of the server."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=50)
    number = server.upload("noise.jpg", file.getvalue(), full_size="scaled").json["number"]
    server.finished(number)
    path = f"/photographs/{number}/preview"
    for part in range(40):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            raw.recv(1 + part * 20_000)
    assert len(server.ask("GET", path).body) > 2e6


# --- Beginning and end ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly_and_leaves_nothing(checkpoints, tmp_path, number):
    with started(checkpoints, tmp_path, "--no_browser") as server:
        server.result("a.jpg", picture())
        assert list(server.folder.iterdir())
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
        assert (server.process.stdout.read(), server.process.stderr.read()) == ("", "")
        assert list(server.folder.iterdir()) == []


def test_the_browser_opens_where_there_is_a_display(checkpoints, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    environment = {"BROWSER": f"{browser} %s", "DISPLAY": ":9"}
    with started(checkpoints, tmp_path, **environment) as server:
        end = time.monotonic() + 10
        while not (tmp_path / "opened").is_file() or not (tmp_path / "opened").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert (tmp_path / "opened").read_text().strip() == server.url


@pytest.mark.parametrize(
    "words, line",
    [
        (["--name", "gone"], "there is no such run"),
        (["--name", "mine", "--epoch", "77"], "77"),
        (["--name", "mine", "--port", "99999"], "--port"),
        (["--name", "mine", "--colour", "x"], "unknown flag --colour"),
        ([], "--name"),
    ],
)
def test_mistakes_end_in_one_line_before_it_starts(words, line, checkpoints, run_here):
    line_words = ["--checkpoints_dir", str(checkpoints), "--device", "cpu", "--port", "0"]
    done = run_here("scripts/try_it.py", *line_words, *words)
    assert done.status == 2
    (told,) = done.stderr.splitlines()
    assert line in told
    assert done.stdout == ""


def test_a_port_in_use_is_one_line(checkpoints, run_here):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        own = ["--name", "mine", "--checkpoints_dir", str(checkpoints), "--device", "cpu"]
        done = run_here("scripts/try_it.py", *own, "--port", port, "--no_browser")
    assert done.status == 2
    assert f"--port {port}: another program uses it" in done.stderr
    assert len(done.stderr.splitlines()) == 1
