"""The guides: what they name exists, links lead somewhere, and both languages say the same."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from test_flags import FLAGS, flags_of_plugins

from options.other_names import OTHER_NAMES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GUIDES = [ROOT / "README.md", *sorted(ROOT.glob("README.*.md")), *sorted(DOCS.glob("*.md"))]
FOLDERS = ("scripts", "datasets", "tests", "models", "data", "options", "util")
SOURCES = [*ROOT.glob("*.py"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*.py"))]
TRANSLATED = [guide for guide in GUIDES if re.search(r"\.\w\w\.md$", guide.name)]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Of pip, git, docker, torchrun, Python and Slurm, and where a guide speaks of another program.
FOREIGN = set(
    """--directory --ipc --max-restarts --nnodes --nproc_per_node --rdzv_backend --rdzv_endpoint
    --shm-size --signal --x""".split()
)
COMPARED = {"coming_from.md", "compatibility.md"}
named = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
translated = pytest.mark.parametrize("guide", TRANSLATED, ids=lambda guide: guide.name)


def text_of(guide: Path) -> str:
    return guide.read_text(encoding="utf-8")


def prose(guide: Path) -> str:
    """A guide without its fenced blocks."""
    return FENCE.sub("", text_of(guide))


def anchors(guide: Path) -> list[str]:
    """Where links into a guide may lead, in order: headings as GitHub names them, or <a id>."""
    found = re.findall(r'^#+ (.+)$|<a id="([^"]+)">', prose(guide), re.MULTILINE)
    return [explicit or slug(heading) for heading, explicit in found]


def slug(heading: str) -> str:
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def first_cells(guide: Path) -> list[list[str]]:
    """What is in code in the first cell of each row."""
    rows = re.findall(r"^\| ((?:[^|\\]|\\.)*?) ?\|", prose(guide), re.MULTILINE)
    return [re.findall(r"`([^`]+)`", cell) for cell in rows]


@cache
def known_flags() -> set[str]:
    """Those of train.py, test.py and the scripts, and older names that are refused with a line."""
    scripts = {flag for file in SOURCES for flag in re.findall(r'"(--[\w-]+)', text_of(file))}
    older = {f"--{name}" for name in OTHER_NAMES}
    return {*FLAGS, *flags_of_plugins(), *scripts, *older, *FOREIGN, "--help"}


@named
def test_links_lead_to_files_and_headings(guide):
    for target in re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', prose(guide)):
        path, _, anchor = "".join(target).partition("#")
        if "://" in path:
            continue
        file = (guide.parent / path).resolve() if path else guide
        assert file.is_file(), path
        assert not anchor or anchor in anchors(file), f"{path}#{anchor}"


@named
def test_files_and_folders_that_are_named_exist(guide):
    roots = "scripts|tests|util|options|models|data|docs|datasets"
    for name in re.findall(rf"(?:^|[\s`(])(?:\./)?((?:{roots})[/\\][\w./\\]*\w)", text_of(guide)):
        path = name.replace("\\", "/")
        downloaded = path.startswith("datasets/") and "." not in path
        yours = re.search(r"(^|/)(foo_|val|test|train[ABW]?$)", path) and not path.startswith("te")
        if not (downloaded or yours):
            assert (ROOT / path).exists(), path


@named
def test_flags_that_are_named_exist(guide):
    if guide.name in COMPARED:
        pytest.skip("names flags of other programs; rows are looked at by test_flags")
    words = set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", text_of(guide)))
    assert words - known_flags() == set()


def test_messages_that_are_named_are_ours():
    """By their longest run of words without numbers, names and places."""
    program = " ".join(map(text_of, SOURCES))
    program = re.sub(r'"\s+f?"', "", program)
    table = text_of(DOCS / "trouble.md").partition("## Messages")[2]
    rows = re.findall(r"^\| `(.+?)`[^|]*\|", table, re.MULTILINE)
    assert len(rows) > 15
    theirs = {"'python' is not recognized ...", "running scripts is disabled on this system"}
    theirs |= {"can't open file ... train.py", "operator torchvision::nms does not exist"}
    for row in set(rows) - theirs:
        runs = re.split(r"\.\.\.|\S*[/\d]\S*|--\w+|[`'(),:;]|\S*[A-Z]\S*|\.\w+\b", row)
        longest = max(runs, key=len).strip()
        assert longest in program, row


def test_the_site_has_each_page_once():
    shown = re.findall(r"(\w+\.md)\n", text_of(ROOT / "mkdocs.yml").partition("\nnav:\n")[2])
    assert sorted(shown) == sorted(g.name for g in DOCS.glob("*.md") if g not in TRANSLATED)


@translated
def test_a_translation_has_the_same_commands_places_and_rows(guide):
    """Commands, anchors (headings in English, or <a id> above them), and first cells of tables."""
    english = guide.with_name(guide.name.replace(guide.suffixes[0], "", 1))
    for part in (FENCE.findall, lambda text: re.findall(r"(?<!`)`(--\w+)", text)):
        assert sorted(set(part(text_of(guide)))) == sorted(set(part(text_of(english))))
    assert set(anchors(english)[1:]) <= set(anchors(guide))
    assert first_cells(guide) == first_cells(english)


def test_every_picture_has_a_function_that_makes_it_and_a_guide_that_shows_it():
    made = re.findall(
        r"^def picture_of_(\w+)", text_of(ROOT / "scripts/make_guide_pictures.py"), re.MULTILINE
    )
    shown = {name for guide in GUIDES for name in re.findall(r"images/(\w+)\.jpg", text_of(guide))}
    assert shown == set(made) == {file.stem for file in (DOCS / "images").glob("*.jpg")}
