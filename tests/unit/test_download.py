"""datasets/download.py with a real server on this machine, broken transfers, hostile archives."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "datasets"))
import download

from util.errors import UserError

ROOT = Path(__file__).parents[2]
FILES = {"trainA/1.jpg": b"horse" * 999, "trainB/1.jpg": b"zebra" * 999, "testA/2.jpg": b"foal"}
NOISE = {"set/trainA/1.jpg": random.Random(0).randbytes(9000)}  # incompressible: damage hits it


def zip_of(files: dict[str, bytes], **kwargs) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **kwargs) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(files: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in special:
            archive.addfile(member)
    return buffer.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def zip_with_a_nameless_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("set/trainA/1.jpg", b"1")
        archive.infolist()[0].filename = ""  # in the table at the end, which is written now
    return buffer.getvalue()


def inside(folder: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


class Server:
    """Answers with `pages`, and records its requests.

    A page may announce more bytes than it has: `cut` of them are missing in the end.
    """

    def __init__(self):
        self.pages: dict[str, bytes] = {}
        self.cut = 0
        self.asked: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                page = server.pages.get(self.path)
                if page is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(page) + server.cut))
                self.end_headers()
                self.wfile.write(page[: len(page) // 2])
                self.wfile.flush()
                server.go_on.wait(30)
                self.wfile.write(page[len(page) // 2 :])

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path: str, page: bytes) -> str:
        self.pages[path] = page
        return f"http://127.0.0.1:{self.http.server_port}{path}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.go_on.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def fetch(server: Server, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Download what the server has at /archive to tmp_path/here/set; returns the files there."""

    def fetch(archive: bytes, kind: str = "cyclegan_dataset", name: str = "set", *flags: str):
        url = server.url("/archive", archive)
        target = tmp_path / "here" / "set"
        download.main([kind, name, "--url", url, "--output_dir", str(target), *flags])
        return tree(target)

    return fetch


def tree(folder: Path) -> dict[str, bytes]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize(
    "archive",
    [
        zip_of(inside("set"), compression=zipfile.ZIP_DEFLATED),
        tar_of(inside("set")),
        zip_of(inside("another_name")),  # one folder around the data set, whatever it is called
        zip_of(FILES),  # no folder around it
        zip_of(inside("set") | {"__MACOSX/set/._1.jpg": b"", ".DS_Store": b""}),
        zip_of({"set\\": b"", **{f"set\\{n}".replace("/", "\\"): c for n, c in FILES.items()}}),
        zip_of({"set/": b"", "set/trainA/": b"", "empty/": b"", **inside("set")}),
        tar_of(inside("./set"), special("./", tarfile.DIRTYPE), special("empty", tarfile.DIRTYPE)),
    ],
    ids=[
        *("zip", "tar.gz", "renamed", "flat", "from a Mac", "from Windows"),
        *("folders in a zip", "folders in a tar"),
    ],
)
def test_an_archive_becomes_the_folder_of_the_data_set(fetch, tmp_path, capsys, archive) -> None:
    files = fetch(archive)
    assert {name: files[name] for name in FILES} == FILES
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["set"]  # no temporary files
    assert f"{len(archive) / 1e6:.1f} MB" in capsys.readouterr().out


def test_what_an_archive_says_of_rights_does_not_count(fetch, tmp_path) -> None:
    closed = special("set/trainA/2.jpg", tarfile.REGTYPE)
    closed.mode, closed.uid, closed.gid = 0o4000, 12345, 12345
    fetch(tar_of(inside("set"), closed))
    (tmp_path / "ours").touch()
    paths = tmp_path / "ours", tmp_path / "here" / "set" / "trainA" / "2.jpg"
    ours, theirs = ((s.st_mode, s.st_uid, s.st_gid) for s in map(Path.stat, paths))
    assert theirs == ours


def test_a_folder_with_only_one_phase_is_not_taken_for_the_data_set(fetch) -> None:
    assert fetch(zip_of({"testA/1.jpg": b"1"})) == {"testA/1.jpg": b"1"}


def damaged(archive: bytes, at: float) -> bytes:
    """One byte changed, at this fraction of the file."""
    index = int(len(archive) * at)
    return archive[:index] + bytes([archive[index] ^ 0xFF]) + archive[index + 1 :]


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"<!DOCTYPE html><title>Moved</title>",
        zip_of(inside("set"))[:-30],
        tar_of(inside("set"))[:-9],
        tar_of(NOISE)[:5000],
        damaged(zip_of(NOISE), 0.5),
        damaged(tar_of(NOISE), 0.5),
        damaged(tar_of(NOISE), 0.9995),  # in the checksum, the last thing there is
        zip_of({}),
        tar_of({}),
        zip_of({"set/x": b"", "set/x/y": b"both a file and a folder"}),
        zip_with_a_nameless_file(),
    ],
    ids=[
        *("nothing", "web page", "short zip", "short tar", "half a tar", "damaged zip"),
        *("damaged tar", "damaged checksum", "empty zip", "empty tar", "contradiction"),
        "nameless",
    ],
)
def test_a_damaged_archive_leaves_nothing(fetch, tmp_path, archive) -> None:
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1.*nothing was kept"):
        fetch(archive)
    assert list(tmp_path.iterdir()) == []  # not even the folder that it was to go in


def zip_with_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("set/link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive, name",
    [
        (zip_of(inside("set") | {"../evil": b"!"}), "../evil"),
        (tar_of(inside("set") | {"../evil": b"!"}), "../evil"),
        (tar_of(inside("set") | {"set/../../../evil": b"!"}), "set/../../../evil"),
        (zip_of(inside("set") | {"..\\evil": b"!"}), "evil"),
        (zip_of(inside("set") | {"C:\\evil": b"!"}), "evil"),
        (zip_of(inside("set") | {"C:evil": b"!"}), "evil"),
        (tar_of(FILES, special("set/link", tarfile.SYMTYPE, "/etc")), "set/link"),
        (tar_of(FILES, special("set/link", tarfile.LNKTYPE, "/etc/passwd")), "set/link"),
        (tar_of(FILES, special("set/device", tarfile.CHRTYPE)), "set/device"),
        (tar_of(FILES, special("set/pipe", tarfile.FIFOTYPE)), "set/pipe"),
        (zip_with_link(), "set/link"),
    ],
    ids=[
        *("zip up", "tar up", "tar in and up", "backslash", "drive", "relative drive"),
        *("symbolic link", "hard link", "device", "pipe", "link in a zip"),
    ],
)
def test_a_hostile_archive_is_refused_and_writes_nowhere(fetch, tmp_path, archive, name) -> None:
    with pytest.raises(UserError, match="refused") as error:
        fetch(archive)
    assert name in str(error.value)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "archive",
    [
        tar_of(inside("set") | {"../evil": b"!"}),
        tar_of(FILES, special("set/link", tarfile.SYMTYPE, "..")),
        tar_of(FILES, special("set/device", tarfile.CHRTYPE)),
    ],
    ids=["up", "link", "device"],
)
def test_a_python_without_filters_for_tar_refuses_the_same(
    fetch, tmp_path, monkeypatch, archive
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)  # as before Python 3.10.12
    assert fetch(tar_of(inside("set"))) == FILES
    shutil.rmtree(tmp_path / "here")
    with pytest.raises(UserError, match="refused"):
        fetch(archive)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_an_absolute_path_in_an_archive_is_refused(fetch, tmp_path, pack) -> None:
    with pytest.raises(UserError, match="refused"):
        fetch(pack({"set/trainA/1.jpg": b"1", str(tmp_path / "evil"): b"!"}))
    assert list(tmp_path.rglob("*")) == []


def test_a_connection_that_breaks_off_leaves_nothing(fetch, server, tmp_path) -> None:
    server.cut = 1000
    with pytest.raises(UserError, match=r"broke off after \d+ of \d+ bytes"):
        fetch(zip_of(inside("set")))  # which is whole, but not what was announced
    assert list(tmp_path.iterdir()) == []  # not even the folder that it was to go in


def test_addresses_that_do_not_answer_are_named(server, tmp_path) -> None:
    missing = server.url("/x", b"").replace("/x", "/nothing.zip")
    nobody = "http://127.0.0.1:9/set.zip"
    for url, why in ((missing, "404"), (nobody, "refused"), ("horses.zip", "unknown url type")):
        with pytest.raises(UserError, match=why) as error:
            download.main(
                ["cyclegan_dataset", "set", "--url", url, "--output_dir", str(tmp_path / "set")]
            )
        assert url in str(error.value)
        assert "--url" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_not_downloaded_again(fetch, server, tmp_path) -> None:
    fetch(zip_of(inside("set")))
    with pytest.raises(UserError, match="already has trainA and trainB and testA"):
        fetch(zip_of({"set/trainA/1.jpg": b"new"}))
    assert len(server.asked) == 1
    assert tree(tmp_path / "here" / "set") == FILES


def test_the_two_versions_of_one_data_set_share_its_folder(fetch, tmp_path) -> None:
    paired = {"train/1.jpg": b"pair", "val/1.jpg": b"pair"}
    fetch(zip_of(inside("set")))
    assert fetch(tar_of(inside("set", paired)), "pix2pix_dataset") == FILES | paired
    clash = inside("set", {"train/9.jpg": b"", "trainA/1.jpg": b"other"})
    shutil.rmtree(tmp_path / "here" / "set" / "train")
    shutil.rmtree(tmp_path / "here" / "set" / "val")
    with pytest.raises(UserError, match="already has trainA"):
        fetch(tar_of(clash), "pix2pix_dataset")
    assert tree(tmp_path / "here" / "set") == FILES


def test_a_file_downloaded_before_is_unpacked_and_kept(tmp_path) -> None:
    file, files = tmp_path / "facades.tar.gz", {"train/1.jpg": b"pair"}
    file.write_bytes(tar_of(inside("facades", files)))
    target = tmp_path / "facades"
    command = ["pix2pix_dataset", "facades", "--from", str(file), "--output_dir", str(target)]
    download.main(command)
    assert tree(target) == files
    assert file.exists()


@pytest.mark.parametrize(
    "kind, name, archive, why",
    [
        ("cyclegan_dataset", "horse2zebra", zip_of(inside("maps")), "is the data set maps, not"),
        ("pix2pix_dataset", "facades", tar_of(inside("facades")), "no pictures in any of train,"),
        ("cyclegan_dataset", "set", zip_of({"set/trainA/a.txt": b"1"}), "is no cyclegan_dataset"),
        ("cyclegan_dataset", "set", zip_of({"src/main.c": b"1"}), "it has main.c"),
        ("cyclegan_model", "set", zip_of(inside("set")), "PyTorch weights"),
    ],
)
def test_what_is_something_else_leaves_nothing(fetch, tmp_path, kind, name, archive, why) -> None:
    with pytest.raises(UserError, match=f"{why}.*nothing was kept"):
        fetch(archive, kind, name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named_before_anything_is_fetched(server, tmp_path) -> None:
    (tmp_path / "taken").write_text("a file")
    command = ["cyclegan_dataset", "set", "--url", server.url("/x", zip_of(FILES)), "--output_dir"]
    for target in (tmp_path / "taken", tmp_path / "taken" / "set"):
        with pytest.raises(UserError, match=r"since .*taken is a file"):
            download.main([*command, str(target)])
    assert server.asked == []


def test_sources_that_cannot_be(tmp_path) -> None:
    with pytest.raises(UserError, match="pass one of them"):
        download.main(["cyclegan_dataset", "set", "--url", "x", "--from", "y"])
    with pytest.raises(UserError, match=r"--from .*none\.zip: there is no such file"):
        download.main(["cyclegan_dataset", "set", "--from", str(tmp_path / "none.zip")])


@pytest.mark.parametrize("old_format", [False, True])
def test_weights_become_a_run_that_test_py_finds(fetch, old_format) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save({"w": torch.ones(3)}, buffer, _use_new_zipfile_serialization=not old_format)
    files = fetch(buffer.getvalue(), "pix2pix_model")
    assert files == {"latest_net_G.pth": buffer.getvalue()}


@pytest.mark.parametrize(
    "page",
    [b"", b"<html>Moved</html>", zip_of(NOISE)[:-30], damaged(zip_of(NOISE), 0.5)],
    ids=["nothing", "web page", "short", "damaged"],
)
def test_what_is_not_weights_leaves_nothing(fetch, tmp_path, page) -> None:
    with pytest.raises(UserError, match="PyTorch weights"):
        fetch(page, "cyclegan_model")
    assert list(tmp_path.iterdir()) == []  # not even the folder that it was to go in


@pytest.mark.parametrize("kind", download.COLLECTIONS)
def test_an_unknown_name_lists_what_there_is(kind) -> None:
    names = list(download.COLLECTIONS[kind].sizes)
    with pytest.raises(UserError) as error:
        download.main([kind, names[-1] + "x"])
    assert f"did you mean {names[-1]}?" in str(error.value)
    assert all(name in str(error.value) for name in names)


@pytest.mark.parametrize("kind", download.COLLECTIONS)
def test_without_a_name_those_there_are_are_listed_with_their_sizes(kind, capsys) -> None:
    download.main([kind])
    lines = capsys.readouterr().out.splitlines()
    sizes = download.COLLECTIONS[kind].sizes
    assert [line.split()[0] for line in lines] == list(sizes)
    for line, size in zip(lines, sizes.values(), strict=True):
        assert line.endswith(f" {size} MB" if size else "cityscapes-dataset.com")


def test_help_of_a_command_has_its_names_and_no_others(capsys) -> None:
    with pytest.raises(SystemExit):
        download.main(["pix2pix_dataset", "--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: download_pix2pix_dataset [-h]")
    assert "[name]" in text and "{" not in text
    assert "30 MB" in text and "night2day" in text and "zebra2horse" not in text
    assert "checksums" in text and "length" in text
    download.main(["--help"])
    text = capsys.readouterr().out
    assert all(kind in text for kind in download.COLLECTIONS) and "zebra2horse" in text


def test_a_name_cannot_lead_elsewhere(server) -> None:
    for name in ("../x", "a/b", "a\\b", "..", "."):
        with pytest.raises(UserError, match="cannot be the name of a folder"):
            download.main(["cyclegan_dataset", name, "--url", server.url("/x", b"")])
    assert server.asked == []


def test_cityscapes_says_how_to_get_it() -> None:
    for kind in ("pix2pix_dataset", "cyclegan_dataset"):
        with pytest.raises(UserError, match=r"prepare_cityscapes_dataset\.py"):
            download.main([kind, "cityscapes"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_leaves_nothing(server, tmp_path) -> None:
    server.go_on.clear()
    url = server.url("/slow.zip", zip_of(inside("set")))
    script = str(ROOT / "datasets" / "download_cyclegan_dataset.py")
    command = [sys.executable, script, "set", "--url", url, "--output_dir", str(tmp_path / "set")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert url in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith("\nstopped by Ctrl-C; nothing was kept\n")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "script, file",
    [
        ("datasets/download_pix2pix_dataset.sh", "train/1.jpg"),
        ("datasets/download_cyclegan_dataset.sh", "trainA/1.jpg"),
        ("scripts/download_pix2pix_model.sh", "latest_net_G.pth"),
        ("scripts/download_cyclegan_model.sh", "latest_net_G.pth"),
    ],
)
def test_the_shell_commands_of_guides(server, tmp_path, script, file) -> None:
    page = b"\x80\x02 weights" if file.endswith(".pth") else zip_of({f"set/{file}": b"1"})
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(ROOT / script), "set", "--url", server.url("/x", page), "--output_dir", "a b"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tree(tmp_path / "a b")) == [file]
    done = subprocess.run(
        ["sh", str(ROOT / script), "nothing"], env={**os.environ, "PATH": path}, capture_output=True
    )
    assert done.stderr.decode().startswith(f"{Path(script).stem}: error: there is no ")


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_it_needs_nothing_but_python(tmp_path, pack) -> None:
    file = tmp_path / "archive"
    file.write_bytes(pack(inside("set")))
    command = [sys.executable, "-S", str(ROOT / "datasets" / "download.py"), "cyclegan_dataset"]
    command += ["set", "--from", str(file), "--output_dir", str(tmp_path / "set")]
    done = subprocess.run(command, capture_output=True, text=True)  # -S: without site-packages
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert tree(tmp_path / "set") == FILES
