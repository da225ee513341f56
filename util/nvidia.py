"""Which NVIDIA cards this machine has, which PyTorch build can use them, and how to install it.

Uses only the standard library, because scripts/environment.py asks before PyTorch is installed.
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
CONTAINER = "if this is a container, start it with access to the cards (docker run --gpus all)"
KERNEL_CARDS = Path("/proc/driver/nvidia/gpus")  # on Linux; visible in containers too
ANSWER_S = 20  # on a server with many cards, even a healthy nvidia-smi may take a few seconds


class Build(NamedTuple):
    """A PyTorch build: the oldest driver that runs it, and the compute capabilities it supports."""

    driver: int
    oldest: tuple[int, int]
    newest: tuple[int, int]


# The builds of PyTorch 2.13 at INDEX for Linux and Windows, without the experimental cu132.
# Drivers of the 525 series and newer run CUDA 12; those of the 580 series and newer also run
# CUDA 13 (NVIDIA's "CUDA Compatibility", minor version compatibility). CUDA 13 has dropped cards
# older than Turing; CUDA 12.6 predates Blackwell (PyTorch's RELEASE.md, "CUDA Support Matrix").
PYTORCH = "2.13"
BUILDS = {
    "cu130": Build(driver=580, oldest=(7, 5), newest=(99, 9)),
    "cu126": Build(driver=525, oldest=(5, 0), newest=(9, 0)),
}
# The build that pip installs without an index: for CUDA on Linux, for the CPU only elsewhere.
ORDINARY = "cu130" if sys.platform == "linux" else ""


class Card(NamedTuple):
    name: str
    driver: str
    capability: tuple[int, int]

    def runs(self, build: str) -> bool:
        """Whether a build of the table can use this card with its present driver."""
        driver, oldest, newest = BUILDS[build]
        return int(self.driver.split(".")[0]) >= driver and oldest <= self.capability <= newest

    def shortcoming(self) -> str:
        """Why no build can use this card, and what to do."""
        drivers = [b.driver for b in BUILDS.values() if b.oldest <= self.capability <= b.newest]
        if not drivers:
            return f"PyTorch {PYTORCH} does not support cards as old as {self.name}"
        return (
            f"the NVIDIA driver {self.driver} is too old for PyTorch {PYTORCH} on {self.name}: "
            f"install {min(drivers)} or newer from {DRIVERS}"
        )


class DriverError(Exception):
    """There seems to be a card, but its driver does not work; says why, and what to do."""


def cards() -> list[Card]:
    """The NVIDIA cards of this machine, as nvidia-smi lists them.

    Quick without a card: then it only looks for nvidia-smi. Raises DriverError.
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
        asked.kill()  # do not wait for it: a process that hangs in a driver may never end
        raise DriverError(
            f"{program} does not answer within {ANSWER_S} s: restart the machine"
        ) from None
    except OSError as error:
        raise DriverError(f"{program} does not start ({error}): {reinstall()}") from error
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if any("No devices were found" in line for line in lines):
        return []
    if any("not a valid field" in line for line in lines):  # drivers have compute_cap since 510
        oldest = min(build.driver for build in BUILDS.values())
        raise DriverError(
            f"the NVIDIA driver is too old for PyTorch {PYTORCH}, which needs {oldest} or newer: "
            f"{reinstall()}"
        )
    found = [re.fullmatch(r"(.+), (\d+[.\d]*), (\d+)\.(\d+)", line) for line in lines]
    if not any(found):  # beside cards that work, others may fail, or a warning may stand
        reason = lines[0] if lines else f"status {asked.returncode}, without a message"
        raise DriverError(f"{program} fails ({reason}): {reinstall()}")
    return [Card(m[1], m[2], (int(m[3]), int(m[4]))) for m in found if m]


def reinstall() -> str:
    return f"install the current driver from {DRIVERS} and restart the machine"


def find_nvidia_smi() -> str | None:
    """Look on the PATH and where Windows drivers install it; WSL has it with the ending .exe."""
    folders = [os.environ.get("PATH", "")]
    for variable, below in ("SystemRoot", "System32"), ("ProgramFiles", "NVIDIA Corporation/NVSMI"):
        if root := os.environ.get(variable):
            folders.append(str(Path(root, below)))
    path = os.pathsep.join(folders)
    return shutil.which("nvidia-smi", path=path) or shutil.which("nvidia-smi.exe", path=path)


def has_code(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a build of PyTorch for these architectures (sm_75, compute_120, ...) runs on a card.

    Machine code runs within one major version; intermediate code (compute_) on all later cards.
    """
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = re.match(r"\d+", digits)
        if not number:
            continue
        major, minor = int(number[0][:-1]), int(number[0][-1])
        if kind == "compute" and (major, minor) <= capability:
            return True
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
    return False


def best_build(found: list[Card]) -> str:
    """The build that most of the cards can use, the newest if several tie; '' if none can."""
    best = max(BUILDS, key=lambda build: served(build, found))
    return best if served(best, found) else ""


def served(build: str, found: list[Card]) -> int:
    """How many of the cards can use a build of the table; '' is the build for the CPU only."""
    return sum(card.runs(build) for card in found) if build else 0


def build_of(cuda: str | None) -> str:
    """The build's name, such as cu126 for torch.version.cuda 12.6; '' for one without CUDA."""
    return f"cu{cuda.replace('.', '')}" if cuda else ""


def pinned(requirements: Path = REQUIREMENTS) -> list[str]:
    """The pins of torch and torchvision in a requirements file: torch==2.13.0, ..."""
    text = requirements.read_text(encoding="utf-8")
    return re.findall(r"^(?:torch|torchvision)==[^\s+;#]+", text, re.M)


def install_words(build: str) -> list[str]:
    """The arguments of `pip install` for a build of the pinned torch and torchvision.

    The versions end in the build's name, so that another index cannot supply a different build.
    """
    return [*(f"{pin}+{build}" for pin in pinned()), "--index-url", f"{INDEX}/{build}"]


def install_command(build: str, python: str = sys.executable) -> str:
    """The same as a command to copy, quoted for this system's shell."""
    words = [python, "-m", "pip", "install", *install_words(build)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def why_unused(cuda: str | None) -> str:
    """Why PyTorch, built for this CUDA or None, cannot use the cards, and how to fix that.

    Call it only if PyTorch sees no card. Returns '' if there is none.
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
    has = f"PyTorch is built for CUDA {cuda}" if cuda else "PyTorch is built for the CPU only"
    card = next(card for card in found if card.runs(best))
    if build in BUILDS and card.runs(build):
        return (
            f"{has}, which supports {card.name} with driver {card.driver}, but it cannot reach the "
            f"card: restart the machine; {CONTAINER}"
        )
    return (
        f"{has}, which cannot use {card.name} with driver {card.driver}; to fix this: "
        f"{install_command(best)}"
    )
