"""Published weights: from a file, from torch's cache, or from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from models import pretrained
from models.pretrained import Published
from util.errors import UserError


def saved(state: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


CONTENT = saved({"weight": torch.arange(3.0)})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "hub" / "checkpoints" / "some.pth"


def published(address: str, digest: str = "") -> Published:
    return Published("the weights", "a state_dict", "--weights", address, "some.pth", digest)


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a file on a server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/some.pth" else 404)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/some.pth"
        running.shutdown()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/some.pth"


def error_of(weights: Published, given: Path | None = None, download: bool = True) -> str:
    with pytest.raises(UserError) as error:
        weights.read(given, download)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_download_is_kept_for_the_next_time(server, cache, capsys):
    file, state = published(server).read(None, download=True)
    assert file == cache and state["weight"].tolist() == [0, 1, 2]
    assert f"downloading {server} to {cache}" in capsys.readouterr().out
    _, state = published("http://127.0.0.1:9/nobody").read(None, download=False)
    assert state["weight"].tolist() == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_a_download_of_another_content_is_not_kept(server, cache):
    digest = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert "hash" in error_of(published(server, "0" * 8))
    assert not list(cache.parent.iterdir())
    assert published(server, digest).read(None, download=True)[0] == cache


def test_the_network_is_only_used_if_asked_for(server, cache):
    line = error_of(published(server), download=False)
    for part in ("the weights", server, str(cache), "--weights FILE", "a state_dict"):
        assert part in line
    assert not cache.exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/some.pth", "{server}x"])
def test_a_failed_download_says_both_ways(address, server, cache):
    line = error_of(published(address.format(server=server)))
    for part in ("could not be downloaded", str(cache), "--weights FILE"):
        assert part in line
    assert not list(cache.parent.iterdir())


def test_a_silent_server_is_given_up(silent_server, cache, monkeypatch):
    monkeypatch.setattr(pretrained, "SILENCE_LIMIT_S", 0.2)
    assert "timed out" in error_of(published(silent_server))
    assert not list(cache.parent.iterdir())
    assert socket.getdefaulttimeout() is None


def test_a_given_file_is_read_instead_of_the_cached_one(cache, tmp_path):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(CONTENT)
    (tmp_path / "own.pth").write_bytes(saved({"weight": torch.ones(2)}))
    weights = published("http://127.0.0.1:9/nobody")
    assert weights.read(str(tmp_path / "own.pth"), download=False)[1]["weight"].tolist() == [1, 1]
    assert "--weights" in error_of(weights, tmp_path / "none.pth")
    cache.write_bytes(CONTENT[:100])
    line = error_of(weights)
    assert "some.pth" in line and "download it again" in line and "--weights FILE" in line
