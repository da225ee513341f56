"""What tests of every kind share: pictures, the programs, the real browser, the mark for GPUs."""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SMALL = "--name run --seed 3 --ngf 8 --ndf 8 --load_size 72 --crop_size 64 --netG resnet_6blocks"
LPIPS_WIDTHS = (64, 128, 256, 512, 512)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=20,
        metavar="N",
        help="how often fault injection kills training",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch  # imported here, since most runs do not need it

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


class Pictures:
    """Makes folders of small pictures below `root`: smooth like photographs, the same in every run.

    Each method returns its folder as text, ready for --dataroot.
    """

    def __init__(self, root: Path):
        self.root = root

    @staticmethod
    def draw(index: int, width: int = 64, height: int = 48) -> Image.Image:
        """Soft colour waves in RGB, different for each index."""
        random = np.random.default_rng(index)
        y, x = np.mgrid[0:height, 0:width] / 64
        slope_x, slope_y = random.uniform(-4, 4, (2, 3, 4))
        phase = random.uniform(0, 6, (3, 4))
        waves = np.sin(x[..., None, None] * slope_x + y[..., None, None] * slope_y + phase)
        return Image.fromarray(np.uint8(waves.mean(-1) * 127 + 128))

    @classmethod
    def pair(cls, index: int, width: int = 64, height: int = 48) -> tuple[Image.Image, Image.Image]:
        """(A, B): B is a picture, A its negative."""
        b = cls.draw(index, width, height)
        return Image.fromarray(255 - np.asarray(b)), b

    def save(self, picture: Image.Image, file: str) -> Path:
        """Write a picture to a path below `root`, in the format given by its ending."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        return path

    def side_by_side(
        self, number: int = 3, size: tuple[int, int] = (64, 48), phase: str = "train"
    ) -> str:
        """joined/PHASE/p0.png, ...: A left, B right, each of `size`."""
        for index in range(number):
            joined = Image.new("RGB", (2 * size[0], size[1]))
            for column, half in enumerate(self.pair(index, *size)):
                joined.paste(half, (column * size[0], 0))
            self.save(joined, f"joined/{phase}/p{index}.png")
        return str(self.root / "joined")

    def two_folders(
        self, number: int = 3, size: tuple[int, int] = (64, 48), phase: str = "train"
    ) -> str:
        """pairs/PHASEA/p0.png, ... and pairs/PHASEB/p0.png, ..."""
        for index in range(number):
            for side, picture in zip("AB", self.pair(index, *size), strict=True):
                self.save(picture, f"pairs/{phase}{side}/p{index}.png")
        return str(self.root / "pairs")

    def unaligned(
        self, num_a: int = 3, num_b: int = 2, phase: str = "train", size: tuple[int, int] = (64, 48)
    ) -> str:
        """unpaired/PHASEA/a0.png, ... and unpaired/PHASEB/b0.png, ..."""
        for side, number in (("a", num_a), ("b", num_b)):
            for index in range(number):
                picture = self.draw(index + 100 * (side == "b"), *size)
                self.save(picture, f"unpaired/{phase}{side.upper()}/{side}{index}.png")
        return str(self.root / "unpaired")

    def single(self, number: int = 3, size: tuple[int, int] = (64, 48)) -> str:
        """single/s0.png, ..."""
        for index in range(number):
            self.save(self.draw(index, *size), f"single/s{index}.png")
        return str(self.root / "single")


@pytest.fixture(scope="session")
def pictures_in() -> type[Pictures]:
    """`pictures_in(folder)`, for fixtures that outlive a test's tmp_path."""
    return Pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return Pictures(tmp_path)


@pytest.fixture(scope="session")
def every_layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four pictures in every layout, for training and testing."""
    pictures = Pictures(tmp_path_factory.mktemp("photos"))
    for phase in ("train", "test"):
        for index in range(4):
            for folder, picture in zip("AB", pictures.pair(index, 80, 72), strict=True):
                pictures.save(picture, f"{phase}{folder}/p{index}.png")
            pictures.save(pictures.draw(index, 80, 72), f"{phase}/p{index}.png")
    return str(pictures.root)


@pytest.fixture(scope="session")
def flags_of(tmp_path_factory: pytest.TempPathFactory, every_layout: str) -> Callable[[str], str]:
    """`flags_of(model)`: what makes this model small and finds its files."""
    import torch

    from util.torchvision_compat import import_torchvision

    vgg = import_torchvision("torchvision.models.vgg")
    folder = tmp_path_factory.mktemp("vgg")
    torch.manual_seed(0)
    layers = vgg.make_layers(vgg.cfgs["D"]).state_dict()
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(LPIPS_WIDTHS)}
    torch.save({f"features.{key}": value for key, value in layers.items()}, folder / "vgg16.pth")
    torch.save(heads, folder / "lpips.pth")
    perceptual = f"--vgg_weights {folder}/vgg16.pth --lpips_weights {folder}/lpips.pth"

    def flags(model: str) -> str:
        return f"{SMALL} --model {model} --dataroot {every_layout} {perceptual}"

    return flags


class Run(NamedTuple):
    """How a program ended."""

    stdout: str
    stderr: str
    status: int


def run_program(cwd: Path, script: str, *arguments: str, **environment: str) -> Run:
    """Run train.py or test.py as a process of its own; checkpoints and results land in `cwd`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", **environment}
    command = [sys.executable, str(ROOT / script), *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=240
    )
    return Run(done.stdout, done.stderr, done.returncode)


@pytest.fixture(scope="session")
def run_in() -> Callable[..., Run]:
    """`run_in(folder, "train.py", ...)`, for fixtures that outlive a test's tmp_path."""
    return run_program


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., Run]:
    """`run_cli("train.py", "--dataroot", ...)`: a process in tmp_path; keywords go to its env."""
    return partial(run_program, tmp_path)


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., Run]:
    """Like `run_cli`, but in this process: many times faster, and exceptions are raised here."""

    def run(script: str, *arguments: str) -> Run:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        monkeypatch.setattr("util.runtime.show_tracebacks", False)  # as in a new process
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        return Run(*capsys.readouterr(), end.value.code or 0)

    return run


@pytest.fixture
def small_files() -> contextlib.AbstractContextManager[None]:
    """`with small_files:` no file of this process becomes larger than a few bytes, as on a disk
    that is nearly full.
    """
    resource = pytest.importorskip("resource", reason="needs a limit of size for files")

    @contextlib.contextmanager
    def limited() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (99, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited()


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`nvidia_smi(answer, status)`: puts a program of this name first on the PATH.

    With `hangs` it never ends; `file` sets its path instead.
    """

    def write(answer: str = "", status: int = 0, hangs: bool = False, file: Path | None = None):
        program = file or tmp_path / "driver" / "nvidia-smi"
        program.parent.mkdir(parents=True, exist_ok=True)
        (program.parent / "answer").write_text(answer)
        end = "exec sleep 60" if hangs else f"exit {status}"
        program.write_text(f'#!/bin/sh\n/bin/cat "{program.parent}/answer"\n{end}\n')
        program.chmod(0o755)
        if file is None and str(program.parent) not in os.environ["PATH"]:
            monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return write


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """A selenium driver of a headless Chromium: `browser.get(page.as_uri())`.

    `browser.get_log("browser")` returns, once, what the console got since the last call: errors
    of scripts, and pictures that did not load.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("needs chromium and chromedriver on the PATH (Debian: chromium-driver)")

    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",  # the sandbox fails for root and in most containers; the pages are our own
        "--disable-dev-shm-usage",  # too small in many containers
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1280,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()
