"""Which NVIDIA cards are there, which build of PyTorch can use them, and how to get it.

With the standard library alone, since scripts/environment.py asks before PyTorch is installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
INDEX = "https://download.pytorch.org/whl"
DRIVERS = "https://www.nvidia.com/drivers"
CONTAINER = "in a container, start it with its cards (docker run --gpus all)"
KERNEL_CARDS = Path("/proc/driver/nvidia/gpus")  # on Linux; containers see it too
ANSWER_S = 20  # a sound nvidia-smi on a server with many cards may take some seconds


class Build(NamedTuple):
    """The oldest driver that runs it, and the compute capabilities that it has code for."""

    driver: int
    oldest: tuple[int, int]
    newest: tuple[int, int]


# The builds of PyTorch 2.13 that INDEX has for Linux and Windows, without the experimental cu132.
# Any driver of the 525 series or newer runs CUDA 12, any of the 580 series or newer CUDA 13 too
# (NVIDIA's "CUDA Compatibility", minor version compatibility). CUDA 13 has left out the cards
# before Turing; CUDA 12.6 is older than Blackwell (PyTorch's RELEASE.md, "CUDA Support Matrix").
PYTORCH = "2.13"
BUILDS = {
    "cu130": Build(driver=580, oldest=(7, 5), newest=(99, 9)),
    "cu126": Build(driver=525, oldest=(5, 0), newest=(9, 0)),
}
# What pip takes without an index: on Linux a build for CUDA, elsewhere one for processors only.
ORDINARY = "cu130" if sys.platform == "linux" else ""


class Card(NamedTuple):
    name: str
    driver: str
    capability: tuple[int, int]

    def runs(self, build: str) -> bool:
        """Whether a build of the table can compute on this card, with the driver that is there."""
        driver, oldest, newest = BUILDS[build]
        return int(self.driver.split(".")[0]) >= driver and oldest <= self.capability <= newest

    def shortcoming(self) -> str:
        """Why it runs none of the builds, and what to do."""
        drivers = [b.driver for b in BUILDS.values() if b.oldest <= self.capability <= b.newest]
        if not drivers:
            return f"PyTorch {PYTORCH} has no code for cards as old as {self.name}"
        return (
            f"the NVIDIA driver {self.driver} is too old for PyTorch {PYTORCH} on {self.name}: "
            f"install {min(drivers)} or newer from {DRIVERS}"
        )


class DriverError(Exception):
    """There is a sign of a card, but its driver does not answer; says why, and what to do."""


def cards() -> list[Card]:
    """The NVIDIA cards of this machine, as nvidia-smi lists them.

    Quick where there is no sign of one: only the program is looked for. Raises DriverError.
    """
    program = find_nvidia_smi()
    if program is None:
        if KERNEL_CARDS.is_dir() and any(KERNEL_CARDS.iterdir()):
            raise DriverError(
                f"{KERNEL_CARDS} lists an NVIDIA card, but there is no nvidia-smi: {CONTAINER}, or "
                "install the driver"
            )
        return []
    query = ["--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        asked = subprocess.Popen(
            [program, *query],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        answer, _ = asked.communicate(timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        asked.kill()  # and not waited for: what hangs in a driver may not end even then
        raise DriverError(
            f"{program} does not answer in {ANSWER_S} s: restart the machine"
        ) from None
    except OSError as error:
        raise DriverError(f"{program} does not start ({error}): {reinstall()}") from error
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if any("No devices were found" in line for line in lines):
        return []
    if any("not a valid field" in line for line in lines):  # compute_cap came with series 510
        oldest = min(build.driver for build in BUILDS.values())
        raise DriverError(
            f"the NVIDIA driver is too old for PyTorch {PYTORCH}, which needs {oldest} or newer: "
            f"{reinstall()}"
        )
    found = [re.fullmatch(r"(.+), (\d+[.\d]*), (\d+)\.(\d+)", line) for line in lines]
    if asked.returncode or not found or None in found:
        reason = lines[0] if lines else f"status {asked.returncode}, without a word"
        raise DriverError(f"{program} fails ({reason}): {reinstall()}")
    return [Card(m[1], m[2], (int(m[3]), int(m[4]))) for m in found if m]


def reinstall() -> str:
    return f"install the current driver from {DRIVERS} and restart the machine"


def find_nvidia_smi() -> str | None:
    """On the PATH, or in the folders where drivers for Windows put it; with .exe also in WSL."""
    folders = [os.environ.get("PATH", "")]
    for variable, below in ("SystemRoot", "System32"), ("ProgramFiles", "NVIDIA Corporation/NVSMI"):
        if root := os.environ.get(variable):
            folders.append(str(Path(root, below)))
    path = os.pathsep.join(folders)
    return shutil.which("nvidia-smi", path=path) or shutil.which("nvidia-smi.exe", path=path)


def best_build(found: list[Card]) -> str:
    """The build that most of the cards can use, of several the newest; '' where none can."""
    best = max(BUILDS, key=lambda build: served(build, found))
    return best if served(best, found) else ""


def served(build: str, found: list[Card]) -> int:
    """How many of the cards can use a build of the table, or '', one for processors only."""
    return sum(card.runs(build) for card in found) if build else 0


def build_of(cuda: str | None) -> str:
    """cu126 for CUDA 12.6, as torch.version.cuda says it; '' for a build without CUDA."""
    return f"cu{cuda.replace('.', '')}" if cuda else ""


def pinned(requirements: Path = REQUIREMENTS) -> list[str]:
    """The lines of a requirements file for torch and torchvision: torch==2.13.0, ..."""
    text = requirements.read_text(encoding="utf-8")
    return re.findall(r"^(?:torch|torchvision)==[^\s+;#]+", text, re.M)


def install_words(build: str) -> list[str]:
    """What `pip install` needs for a build of the torch and torchvision that are pinned.

    The versions end in the build's name, so that no other index can give another build.
    """
    return [*(f"{pin}+{build}" for pin in pinned()), "--index-url", f"{INDEX}/{build}"]


def install_command(build: str, python: str = sys.executable) -> str:
    """The same as a line to be copied, quoted for this system's shell."""
    words = [python, "-m", "pip", "install", *install_words(build)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def why_unused(cuda: str | None) -> str:
    """What keeps PyTorch, built for this CUDA or None, from the cards, and what mends it.

    To be asked only where PyTorch sees no card; '' where there is none.
    """
    try:
        found = cards()
    except DriverError as error:
        return str(error)
    if not found:
        return ""
    best, build = best_build(found), build_of(cuda)
    if not best:
        return found[0].shortcoming()
    has = f"PyTorch is built for CUDA {cuda}" if cuda else "PyTorch is built for processors only"
    card = next(card for card in found if card.runs(best))
    if build in BUILDS and card.runs(build):
        return (
            f"{has}, which suits {card.name} and its driver {card.driver}, but does not reach it: "
            f"restart the machine, or {CONTAINER}"
        )
    return (
        f"{has}, which cannot use {card.name} with driver {card.driver}; to mend it: "
        f"{install_command(best)}"
    )
