"""Makes and reuses the project's virtual environment, .venv, with the standard library alone.

The scripts import this file first, on whatever Python the user typed. So it parses on Python 3.6
too, where it says in one line what is needed; a newer syntax here would hide that line.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

if not (3, 10) <= sys.version_info[:2] <= (3, 14):  # those that PyTorch 2.13 has wheels for
    sys.stderr.write(
        f"Python 3.10 to 3.14 is needed, and {sys.executable} is Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}: install Python 3.13 from "
        "https://www.python.org/downloads and run the same command with it (python3.13, on Windows "
        "py -3.13)\n"
    )
    sys.exit(2)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from util import nvidia
from util.errors import UserError

# Prints "2.13.0 12.6" of the PyTorch that is installed, or "2.13.0 None" of one for processors
# only, without the seconds that it takes to import it.
PRINT_BUILD = (
    "import importlib.util, pathlib, runpy; init = importlib.util.find_spec('torch').origin; "
    "torch = runpy.run_path(str(pathlib.Path(init).with_name('version.py'))); "
    "print(torch['__version__'].partition('+')[0], torch['cuda'])"
)
BUILD_CONSTRAINTS = Path(__file__).resolve().with_name("build_constraints.txt")


def ensure(root: Path, requirements: list[str]) -> Path:
    """The Python of `root`/.venv, in which the requirements files (names under root) are installed.

    Makes .venv where it is missing, broken or of another Python version than the running one, and
    installs what is not there yet. A file that was installed once, by itself or through a file
    that includes it, is not looked at again until it changes. Where there is an NVIDIA card that
    the PyTorch in .venv cannot use, one that can is taken from PyTorch's own index.

    Errors: UserError where .venv cannot be made or pip fails; running again repairs it.
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

    stamp.unlink(missing_ok=True)  # from here to the last line, .venv is not to be trusted
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
    """SHA-256 by name, for these requirements files and those they include with -r."""
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
    except (OSError, ValueError):  # none yet, or half written: then nothing counts as installed
        return {}


def _output(command: list) -> str:
    """What the command prints, or '' where it cannot be run or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _create(venv: Path, version: str) -> None:
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise UserError(
            f"{sys.executable} cannot make {venv}: its venv or ensurepip module is missing; "
            f"on Debian or Ubuntu run: sudo apt install python{version}-venv"
        )
    why = ": the one there has no working pip for this version" if venv.exists() else ""
    print(f"Making {venv} with Python {version}{why}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        reason = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{sys.executable} cannot make {venv}: {reason}; delete it and try again")


def _build_for_cards(python: Path, pins: list[str]) -> str:
    """The build of PyTorch to install for the NVIDIA cards of this machine.

    '' where there is no card, or where the pinned version is there in a build that can use it, or
    where pip's ordinary choice will be one.
    """
    try:
        cards = nvidia.cards()
    except nvidia.DriverError as error:
        print(f"No NVIDIA card is used: {error}; then run this again", flush=True)
        return ""
    if not cards:
        return ""
    best = nvidia.best_build(cards)
    if not best:
        print(f"No NVIDIA card is used: {cards[0].shortcoming()}", flush=True)
        return ""
    installed, _, cuda = _output([python, "-I", "-c", PRINT_BUILD]).partition(" ")
    build = nvidia.ORDINARY  # what pip would put in the place of nothing, or of another version
    if f"torch=={installed}" in pins:
        build = nvidia.build_of(None if cuda == "None" else cuda)
    chosen_by_hand = build and build not in nvidia.BUILDS
    if chosen_by_hand or nvidia.served(build, cards) == nvidia.served(best, cards):
        return ""
    names = " and ".join(f"{card.name} with driver {card.driver}" for card in cards)
    print(f"Found {names}, which wants the PyTorch of {nvidia.INDEX}/{best}", flush=True)
    return best


def _install_build(python: Path, build: str, log: Path) -> None:
    """Install this build of PyTorch, or say what becomes of it where its index is out of reach."""
    words = ["--retries", "1", *nvidia.install_words(build)]
    try:
        _install(python, words, f"PyTorch {build}", log)
    except UserError as error:
        print(
            f"{error}. Until then PyTorch computes on the processor, many times slower than on the "
            f"card. By hand: {nvidia.install_command(build, str(python))}",
            flush=True,
        )


def _install(python: Path, words: list[str], names: str, log: Path) -> None:
    """Run `pip install` with these words, showing how it gets on; `names` says what they mean."""
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += words
    environment = {**os.environ, "PYTHONUTF8": "1"}
    for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):  # older pips read only the first
        # As a URI, since pip splits these variables at spaces, which the path may contain.
        theirs = os.environ.get(name, "")
        environment[name] = f"{theirs} {BUILD_CONSTRAINTS.as_uri()}".strip()

    print(f"Installing {names} (the first time takes minutes; log: {log})", flush=True)
    # On a terminal one line that is written over twice a second, elsewhere a line now and then.
    width = shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else 0
    before, after, wait_s = ("\r", "", 0.5) if width else ("", "\n", 15)
    start_s = time.monotonic()
    with log.open("wb") as sink:
        pip = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    status = None
    try:
        while status is None:
            try:
                status = pip.wait(wait_s)
            except subprocess.TimeoutExpired:
                line = f"{time.monotonic() - start_s:5.0f} s  {_current_step(log)}"
                print(before + line[: width or None].ljust(width), end=after, flush=True)
    finally:
        pip.kill()  # for Ctrl-C; does nothing once pip has ended
        print(before + " " * width, end=before, flush=True)

    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        errors = [line.split("ERROR: ", 1)[1] for line in lines if "ERROR: " in line]
        raise UserError(
            f"pip could not install {names}: {errors[-1] if errors else f'status {status}'} "
            f"(all of it: {log}); check the network and the free disk space, then run again"
        )


def _current_step(log: Path) -> str:
    """What pip is at, from its log; in the long last step also from the packages that are there."""
    text = log.read_text(encoding="utf-8", errors="replace")
    steps = re.findall(r"^ *((?:Collecting|Downloading|Building|Installing) .+)$", text, re.M)
    step = steps[-1].split(" (from ")[0] if steps else "Starting pip"
    start = "Installing collected packages: "
    if not step.startswith(start):
        return step
    names = step[len(start) :].split(", ")
    folders = [*log.parent.glob("lib/python*/site-packages"), log.parent / "Lib" / "site-packages"]
    there = {info.name.split("-")[0] for folder in folders for info in folder.glob("*.dist-info")}
    there = {re.sub(r"[-_.]+", "-", name).lower() for name in there}
    left = [name for name in names if re.sub(r"[-_.]+", "-", name).lower() not in there]
    current = (left or names[-1:])[0]
    return f"Installing {current} ({names.index(current) + 1} of {len(names)})"
