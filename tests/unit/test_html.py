"""Pages on disk: what is written, what it costs, and what survives a crash; without a browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from util.show.html import ResultsPage, TrainingPage, pages

ODD_NAME = "a b#%20<c>'\".jpg"
ODD_TEXT = "</script><script>alert(1)</script> & \u2028 ü"
LABELS = ("real_A", "fake_B", "real_B")


def training_page(folder: Path, **changes: object) -> TrainingPage:
    facts = {
        "title": "run",
        "winsize_px": 256,
        "captions": {"real_A": "input"},
        "compare": [("real_A", "fake_B")],
        "options": "lr: 0.0002",
        "resume_hint": "python train.py --continue_train",
        "last_epoch": 1000,
        "images_per_epoch": 400,
    }
    return TrainingPage(folder, **(facts | changes))


def results_page(folder: Path) -> ResultsPage:
    return ResultsPage(
        folder, title="test", winsize_px=256, captions={}, compare=[], options="epoch: latest"
    )


def calls(folder: Path) -> list[tuple[str, list]]:
    """What the page is told: (function, arguments), read in the page's order."""
    told = []
    number = 1
    while True:
        text = (folder / "data" / f"{number:04d}.js").read_bytes().decode("ascii")
        assert text == "" or text.endswith("\n")
        for line in text.splitlines():
            function, arguments = re.fullmatch(r"page\.(\w+)\((.*)\);", line).groups()
            told.append((function, json.loads(f"[{arguments}]")))
        if not told or told[-1][0] != "next":
            return told
        number += 1


def add_epoch(page: TrainingPage, epoch: int) -> None:
    page.add_losses(
        epoch=epoch, total_images=epoch * 400, losses={"G_L1": 12.345678, "D": 0.5}, lr=0.0002
    )
    files = {label: f"epoch{epoch:03d}_{label}.png" for label in LABELS}
    page.add_pictures(epoch=epoch, total_images=epoch * 400, files=files)


def disk_use(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class Texts(HTMLParser):
    """The text in each element of some kinds, in order."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.of: dict[str, list[str]] = {"title": [], "h1": [], "pre": [], "script": []}
        self.inside = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in self.of:
            self.inside = tag
            self.of[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.of[self.inside][-1] += data


def test_texts_stay_texts(tmp_path: Path) -> None:
    options = f"name: {ODD_TEXT}\n  dataroot: <b>"
    captions = {"real_A": ODD_TEXT}
    training_page(
        tmp_path, title=ODD_TEXT, captions=captions, options=options, resume_hint=ODD_TEXT
    )
    texts = Texts((tmp_path / "index.html").read_text(encoding="utf-8")).of
    assert texts["title"] == texts["h1"] == [ODD_TEXT]
    assert texts["pre"] == [ODD_TEXT, options]
    settings, _program = texts["script"]
    assert json.loads(settings)["captions"] == captions


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    training_page(tmp_path / "train")
    results_page(tmp_path / "test")
    for index in tmp_path.glob("*/index.html"):
        document = index.read_text(encoding="utf-8")
        assert not re.search(r"https?:|//\w+\.\w+/|@import|url\(", document)
        assert re.findall(r'(?:src|href)="([^"]*)"', document) == ["data:,", "images/"]


def test_file_names_become_addresses(tmp_path: Path) -> None:
    undecodable = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    page = results_page(tmp_path)
    page.add_result(
        name=ODD_NAME,
        source=f"data/{ODD_NAME}",
        files={"real": f"sub/{ODD_NAME}", "fake": undecodable},
        metrics=None,
    )
    (function, (_, name, source, files, metrics)) = calls(tmp_path)[-1]
    assert function == "result"
    assert (name, source, metrics) == (ODD_NAME, f"data/{ODD_NAME}", {})
    assert files == {"real": "sub/a%20b%23%2520%3Cc%3E%27%22.jpg", "fake": "caf%E9.png"}


@pytest.mark.parametrize("lr", [None, float("nan")])
def test_values_that_are_not_finite_leave_gaps(tmp_path: Path, lr: float | None) -> None:
    page = training_page(tmp_path)
    page.add_losses(
        epoch=1,
        total_images=100,
        losses={"G": float("nan"), "D": float("-inf"), "L1": 0.123456789},
        lr=lr,
    )
    assert calls(tmp_path)[-2:] == [
        ("losses", [["G", "D", "L1"]]),
        ("loss", [pytest.approx(2e9, rel=0.5), 1, 100, None, [None, None, 0.12346]]),
    ]

    results = results_page(tmp_path / "test")
    results.add_result(
        name="1", source="1.jpg", files={}, metrics={"PSNR": float("inf"), "L1": 0.0}
    )
    assert calls(tmp_path / "test")[-1][1][-1] == {"PSNR": None, "L1": 0.0}


def test_names_of_losses_are_told_when_they_change(tmp_path: Path) -> None:
    page = training_page(tmp_path)
    for image, losses in enumerate(({"G": 1.0}, {"G": 2.0}, {"G": 1.0, "F": 2.0})):
        page.add_losses(epoch=1, total_images=image, losses=losses, lr=1e-5)
    names = [arguments[0] for function, arguments in calls(tmp_path) if function == "losses"]
    assert names == [["G"], ["G", "F"]]


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(pages, "DATA_FILE_BYTES", 16 * 1024)
    return pages.DATA_FILE_BYTES


def test_update_costs_the_same_at_epoch_1000(tmp_path: Path, small_files: int) -> None:
    page = training_page(tmp_path)
    grown = {}
    for epoch in range(1, 1001):
        before = disk_use(tmp_path) if epoch in (10, 1000) else 0
        add_epoch(page, epoch)
        if before:
            grown[epoch] = disk_use(tmp_path) - before
    assert grown[1000] <= grown[10] + 20  # longer numbers
    assert grown[10] < 300

    epochs = [arguments[1] for function, arguments in calls(tmp_path) if function == "pictures"]
    assert epochs == list(range(1, 1001))
    sizes = [file.stat().st_size for file in (tmp_path / "data").iterdir()]
    assert len(sizes) > 10
    assert max(sizes) <= small_files + len("page.next();\n")


def test_old_data_is_never_rewritten(tmp_path: Path) -> None:
    page = training_page(tmp_path)
    before = b""
    for epoch in range(1, 20):
        add_epoch(page, epoch)
        now = (tmp_path / "data" / "0001.js").read_bytes()
        assert now.startswith(before)
        before = now


def test_index_is_written_again_only_when_it_differs(tmp_path: Path) -> None:
    index = tmp_path / "index.html"
    training_page(tmp_path)
    first = index.stat().st_mtime_ns, index.stat().st_ino
    training_page(tmp_path)
    assert (index.stat().st_mtime_ns, index.stat().st_ino) == first
    training_page(tmp_path, options="lr: 0.1")
    assert "lr: 0.1" in index.read_text(encoding="utf-8")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "index.html"]


def test_resumed_page_goes_on(tmp_path: Path) -> None:
    add_epoch(training_page(tmp_path), 1)
    page = training_page(tmp_path)
    page.rewind(400)
    add_epoch(page, 2)
    page.end("Finished")
    told = [function for function, _ in calls(tmp_path)]
    run = ["losses", "loss", "pictures"]
    assert told == ["open", *run, "open", "rewind", *run, "end"]


@pytest.mark.parametrize("torn", [b'page.pictures(1700000000,2,800,{"rea', b"\0\0\0", b"p"])
def test_line_torn_by_a_crash_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    add_epoch(training_page(tmp_path), 1)
    data = tmp_path / "data" / "0001.js"
    whole = data.read_bytes()
    data.write_bytes(whole + torn)

    add_epoch(training_page(tmp_path), 2)
    assert data.read_bytes().startswith(whole + b"page.open(")
    assert [a[1] for function, a in calls(tmp_path) if function == "pictures"] == [1, 2]


@pytest.mark.parametrize("is_linked", [True, False])
def test_resumed_page_goes_on_in_the_last_data_file(
    tmp_path: Path, small_files: int, is_linked: bool
) -> None:
    page = training_page(tmp_path)
    first, second = (tmp_path / "data" / f"000{number}.js" for number in (1, 2))
    epochs = 0
    while not second.exists():
        epochs += 1
        add_epoch(page, epochs)
    second.write_bytes(b"")  # a crash right after the file was begun,
    if not is_linked:  # or even before the first one led to it
        first.write_bytes(first.read_bytes().removesuffix(b"page.next();\n"))
    add_epoch(training_page(tmp_path), epochs + 1)
    assert calls(tmp_path)[-1][1][1] == epochs + 1


def test_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    page = training_page(tmp_path)
    add_epoch(page, 1)
    whole = calls(tmp_path)
    size = (tmp_path / "data" / "0001.js").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            page.end("Finished")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert calls(tmp_path) == whole

    page.end("Finished")  # there is room again
    assert [function for function, _ in calls(tmp_path)[len(whole) :]] == ["end"]


def test_results_begin_anew(tmp_path: Path) -> None:
    for name in ("old", "new"):
        page = results_page(tmp_path)
        page.add_result(name=name, source="", files={}, metrics={"L1": 0.5})
        page.end()
    told = calls(tmp_path)
    assert [function for function, _ in told] == ["open", "result", "end"]
    assert told[1][1][1] == "new"
