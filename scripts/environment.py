"""Create and reuse the project's virtual environment, .venv, using only the standard library.

The scripts import this file first, under whatever Python the user typed. It must therefore parse on
Python 3.6 too: newer syntax would hide the one line that says which Python is needed.
"""

import hashlib
import json
import os
import platform
import re
import struct
import subprocess
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path

if not (3, 10) <= sys.version_info[:2] <= (3, 14):  # the versions PyTorch 2.13 has wheels for
    sys.stderr.write(
        f"Python 3.10 to 3.14 is needed, but {sys.executable} is Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}: install Python 3.13 from "
        "https://www.python.org/downloads and run the same command with it (python3.13, or "
        "py -3.13 on Windows)\n"
    )
    sys.exit(2)
if (
    struct.calcsize("P") < 8  # 32-bit
    or sysconfig.get_platform() == "win-arm64"
    or (sys.platform, platform.machine()) == ("darwin", "x86_64")
):
    sys.stderr.write(
        f"PyTorch has no build for {sys.executable}, a Python for {sysconfig.get_platform()} on "
        f"{platform.machine()}: it needs 64-bit Linux, a Mac with an Apple processor, or Windows "
        "with the 64-bit Python for Intel and AMD, which Windows on ARM runs too; install Python "
        "3.13 from https://www.python.org/downloads and run the same command with it\n"
    )
    sys.exit(2)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from util import nvidia
from util.errors import UserError

# Prints the version and the CUDA version of the installed PyTorch, such as "2.13.0 12.6", or
# "2.13.0 None" for a CPU build. It does not import PyTorch, which would take seconds.
PRINT_BUILD = (
    "import importlib.util, pathlib, runpy; init = importlib.util.find_spec('torch').origin; "
    "torch = runpy.run_path(str(pathlib.Path(init).with_name('version.py'))); "
    "print(torch['__version__'].partition('+')[0], torch['cuda'])"
)
BUILD_CONSTRAINTS = Path(__file__).resolve().with_name("build_constraints.txt")


def ensure(root: Path, requirements: list[str]) -> Path:
    """Return the Python of `root`/.venv, with the requirements files (names under root) installed.

    Creates .venv if it is missing, broken, or of another Python version than the running one, and
    installs what is missing. A file that has been installed, directly or through a file that
    includes it, is not installed again until it changes. If the PyTorch in .venv cannot use an
    NVIDIA card of this machine, a build that can is installed from PyTorch's own index.

    Errors: UserError if .venv cannot be created or pip fails; running again repairs it.
    """
    venv = root / ".venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = venv / "installed.json"
    version = "{}.{}".format(*sys.version_info)
    wanted = {"python": version, **_digests(root, requirements)}

    installed = _read_stamp(stamp)
    complete = wanted.items() <= installed.items() and version == _output(
        [python, "-I", "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    )
    start_s = time.monotonic()
    if not complete and f"(python {version})" not in _output(
        [python, "-I", "-m", "pip", "--version"]
    ):
        _create(venv, version)
        installed = {}
    pins = nvidia.pinned(root / "requirements.txt")
    build = _build_for_cards(python, pins) if pins else ""
    if complete and not build:
        return python

    stamp.unlink(missing_ok=True)  # .venv is incomplete until the stamp is written again below
    if build:
        _install_build(python, build, venv / "install_pytorch.log")
    if not complete:
        files = [root / name for name in requirements]
        words = [word for file in files for word in ("-r", str(file))]
        _install(python, words, " and ".join(file.name for file in files), venv / "install.log")
    stamp.with_suffix(".tmp").write_text(json.dumps({**installed, **wanted}, indent=2))
    stamp.with_suffix(".tmp").replace(stamp)
    print(f"Environment ready after {time.monotonic() - start_s:.0f} s.", flush=True)
    return python


def _digests(root: Path, requirements: list[str]) -> dict[str, str]:
    """SHA-256 by name, of these requirements files and those they include with -r."""
    digests: dict[str, str] = {}
    names = list(requirements)
    while names:
        name = names.pop()
        content = (root / name).read_bytes()
        digests[name] = hashlib.sha256(content).hexdigest()
        names += re.findall(r"^-r\s+(\S+)", content.decode(), re.M)
    return digests


def _read_stamp(stamp: Path) -> dict[str, str]:
    try:
        return dict(json.loads(stamp.read_text()))
    except (OSError, ValueError):  # missing or half written: nothing counts as installed
        return {}


def _output(command: list) -> str:
    """What the command prints, or '' if it cannot be run or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _create(venv: Path, version: str) -> None:
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise UserError(
            f"{sys.executable} cannot create {venv}: its venv or ensurepip module is missing; "
            f"on Debian or Ubuntu run: sudo apt install python{version}-venv"
        )
    why = ": the existing one has no working pip for this version" if venv.exists() else ""
    print(f"Creating {venv} with Python {version}{why}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        reason = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{sys.executable} cannot create {venv}: {reason}; delete it and try again")


def _build_for_cards(python: Path, pins: list[str]) -> str:
    """The build of PyTorch to install for the NVIDIA cards of this machine.

    '' if there is no card, if the installed build of the pinned version can use it, or if the build
    that pip installs by default can.
    """
    try:
        cards = nvidia.cards()
    except nvidia.DriverError as error:
        print(f"No NVIDIA card will be used: {error}; then run this again", flush=True)
        return ""
    if not cards:
        return ""
    best = nvidia.best_build(cards)
    if not best:
        print(f"No NVIDIA card will be used: {cards[0].shortcoming()}", flush=True)
        return ""
    installed, _, cuda = _output([python, "-I", "-c", PRINT_BUILD]).partition(" ")
    build = nvidia.ORDINARY  # what pip installs if PyTorch is missing or of another version
    if f"torch=={installed}" in pins:
        build = nvidia.build_of(None if cuda == "None" else cuda)
    chosen_by_hand = build and build not in nvidia.BUILDS
    if chosen_by_hand or nvidia.served(build, cards) == nvidia.served(best, cards):
        return ""
    names = " and ".join(f"{card.name} with driver {card.driver}" for card in cards)
    print(f"Found {names}: it needs the PyTorch from {nvidia.INDEX}/{best}", flush=True)
    return best


def _install_build(python: Path, build: str, log: Path) -> None:
    """Install this build of PyTorch; if that fails, say what it means and how to do it by hand."""
    words = ["--retries", "1", *nvidia.install_words(build)]
    try:
        _install(python, words, f"PyTorch {build}", log)
    except UserError as error:
        print(
            f"{error}. If PyTorch's own index is out of reach, the ordinary PyTorch is used until "
            "then: it runs on the processor, many times slower than on the card. To install by "
            f"hand: {nvidia.install_command(build, str(python))}",
            flush=True,
        )


def _install(python: Path, words: list[str], names: str, log: Path) -> None:
    """Run `pip install` with these words, which shows its progress; messages call them `names`."""
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):  # older pips read only the first
        # As a URI, since pip splits these variables at spaces, and the path may contain some.
        theirs = os.environ.get(name, "")
        environment[name] = f"{theirs} {BUILD_CONSTRAINTS.as_uri()}".strip()

    print(f"Installing {names} (this takes minutes the first time; log: {log})", flush=True)
    log.unlink(missing_ok=True)  # pip appends
    command += ["--log", str(log), *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode:
        raise UserError(
            f"pip could not install {names}, for the reason above (full log: {log}); check the "
            "network and the free disk space, then run again"
        )
