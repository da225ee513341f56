"""scripts/environment.py with real virtual environments, a real pip, and no network.

What gets installed are wheels of a few hundred bytes, written here. Each start of pip takes seconds
all the same, so the tests beyond the usual course are marked slow.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import environment
from util import nvidia
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def write_wheel(
    folder: Path, name: str, version: str = "1.0", modules: dict[str, str] | None = None
) -> str:
    """A package of modules, by default one empty one; returns the line that requires it."""
    info = f"{name}-{version}.dist-info"
    files = dict(modules or {f"{name}.py": ""})
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return f"{name} @ {wheel.as_uri()}\n"


@pytest.fixture(scope="module")
def installed_project(tmp_path_factory) -> Path:
    """A project whose requirements.txt is installed, after an attempt that was cut short."""
    root = tmp_path_factory.mktemp("a project")  # pip splits some of its settings at spaces
    (root / "requirements.txt").write_text(write_wheel(root, "demo_package"))
    (root / "requirements-test.txt").write_text(
        "-r requirements.txt\n" + write_wheel(root, "test_package")
    )
    # What an attempt leaves that was stopped before the new environment got pip.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / ".venv"], check=True)
    environment.ensure(root, ["requirements.txt"])
    return root


@pytest.fixture
def project(installed_project: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return shutil.copytree(installed_project, tmp_path / "a project", symlinks=True)


def python_of(project: Path) -> Path:
    return project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def imports(python: Path, module: str) -> bool:
    command = [python, "-c", f"import {module}"]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def test_an_attempt_cut_short_is_repaired(project):
    assert imports(python_of(project), "demo_package")
    assert not imports(python_of(project), "test_package")


def test_a_second_run_reuses_what_is_there(project, capsys):
    python = environment.ensure(project, ["requirements.txt"])
    assert imports(python, "demo_package")
    assert capsys.readouterr().out == ""  # neither venv nor pip was run


@pytest.mark.slow
def test_test_requirements_join_the_same_environment(project, capsys):
    python = environment.ensure(project, ["requirements-test.txt"])
    assert imports(python, "demo_package")
    assert imports(python, "test_package")
    assert "Creating" not in capsys.readouterr().out
    environment.ensure(project, ["requirements.txt"])
    environment.ensure(project, ["requirements-test.txt"])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_changed_file_is_installed_again(project):
    with (project / "requirements.txt").open("a") as file:
        file.write(write_wheel(project, "late_package"))
    assert imports(environment.ensure(project, ["requirements-test.txt"]), "late_package")


def test_a_failed_installation_says_so_and_is_made_up_for(project, monkeypatch, capfd):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    good = (project / "requirements.txt").read_text()
    (project / "requirements.txt").write_text(good + "missing-package==1.0\n")
    with pytest.raises(UserError, match=r"could not install requirements.txt") as failure:
        environment.ensure(project, ["requirements.txt"])
    assert "No matching distribution found for missing-package==1.0" in capfd.readouterr().err
    assert len(str(failure.value).splitlines()) == 1
    log = project / ".venv" / "install.log"
    assert str(log) in str(failure.value)
    assert "missing-package" in log.read_text()

    (project / "requirements.txt").write_text(good)
    shutil.rmtree(next((project / ".venv").rglob("demo_package-1.0.dist-info")))
    assert imports(environment.ensure(project, ["requirements.txt"]), "demo_package")
    assert "Successfully installed demo_package" in capfd.readouterr().out
    assert "Successfully installed demo_package" in log.read_text()
    assert "missing-package" not in log.read_text()  # which is of the last attempt alone


@pytest.mark.slow
def test_an_environment_without_its_interpreter_is_made_anew(project, capsys):
    python_of(project).unlink()
    assert imports(environment.ensure(project, ["requirements.txt"]), "demo_package")
    assert "Creating" in capsys.readouterr().out


@pytest.mark.slow
def test_the_users_own_constraints_stay_in_force(project, monkeypatch, tmp_path):
    (tmp_path / "mine.txt").write_text("demo_package==2.0\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "mine.txt"))
    with (project / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(UserError, match="could not install"):
        environment.ensure(project, ["requirements.txt"])
    log = (project / ".venv" / "install.log").read_text()
    assert "demo_package==2.0" in log.replace("-", "_")


def test_a_python_without_ensurepip_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)  # as on Debian without python3-venv
    (tmp_path / "requirements.txt").touch()
    with pytest.raises(UserError, match=r"apt install python3\.\d+-venv"):
        environment.ensure(tmp_path, ["requirements.txt"])


@pytest.mark.parametrize("script", ["demo.py", "test.py"])
@pytest.mark.parametrize(
    "pretend, told",
    [
        ("sys.version_info = (3, 9, 0, 'final', 0)", "Python 3.10 to 3.14 .* is Python 3.9: "),
        ("sys.version_info = (3, 15, 0, 'final', 0)", "Python 3.10 to 3.14 .* is Python 3.15: "),
        ("struct.calcsize = lambda form: 4", "no build for .*64-bit"),
        ("sysconfig.get_platform = lambda: 'win-arm64'", "no build for .* win-arm64 .*64-bit"),
        ("sys.platform = 'darwin'; platform.machine = lambda: 'x86_64'", "no build .* on x86_64"),
    ],
)
def test_a_python_without_pytorch_is_turned_away_with_one_line(tmp_path, script, pretend, told):
    # A copy: if this Python is not rejected, it recreates .venv, which must not be ours.
    for folder in ("scripts", "util"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    code = f"import platform, runpy, struct, sys, sysconfig; {pretend}; "
    code += "sys.path.insert(0, 'scripts'); "
    code += f"runpy.run_path('scripts/{script}', run_name='__main__')"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1
    assert re.search(told, run.stderr)
    assert "install Python 3.13" in run.stderr


def test_old_pythons_can_parse_as_far_as_the_line_that_turns_them_away():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py")]
    first = [s for s in sources if "import environment" in s or "def ensure(" in s]
    assert len(first) >= 2
    for source in first:
        ast.parse(source, feature_version=(3, 6))


# --- NVIDIA cards ---------------------------------------------------------------------------------

RTX_4090 = "NVIDIA GeForce RTX 4090, {}, 8.9"


class Shelf:
    """A folder that pip takes for all indexes, with a made-up PyTorch in some builds."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()

    def add(self, build: str = "", cuda: str | None = None) -> None:
        local = f"+{build}" if build else ""
        version = f"__version__ = '2.13.0{local}'\ncuda = {cuda!r}\n"
        modules = {"torch/__init__.py": "", "torch/version.py": version}
        write_wheel(self.folder, "torch", f"2.13.0{local}", modules)
        write_wheel(self.folder, "torchvision", f"0.28.0{local}")


@pytest.fixture
def shelf(project, tmp_path, monkeypatch) -> Shelf:
    """Has the default wheels for Windows; `project` requires the pair."""
    shelf = Shelf(tmp_path / "shelf")
    shelf.add()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # no index is ever asked
    monkeypatch.setenv("PIP_FIND_LINKS", shelf.folder.as_uri())
    monkeypatch.setattr(nvidia, "ORDINARY", "")
    with (project / "requirements.txt").open("a") as file:
        file.write("torch==2.13.0\ntorchvision==0.28.0\n")
    return shelf


def torch_of(project: Path) -> str:
    """The version that is installed, torchvision's being of the same build."""
    versions = [
        next((project / ".venv").rglob(f"{name}-*.dist-info")).name.split("-")[1][:-5]
        for name in ("torch", "torchvision")
    ]
    assert versions[0].partition("+")[2] == versions[1].partition("+")[2]
    return versions[0]


def test_a_card_gets_a_pytorch_that_can_use_it(project, shelf, nvidia_smi, capsys):
    shelf.add("cu130", "13.0")
    shelf.add("cu126", "12.6")
    nvidia_smi(RTX_4090.format("551.86"))
    environment.ensure(project, ["requirements-test.txt"])
    assert torch_of(project) == "2.13.0+cu126"
    told = capsys.readouterr().out
    assert "NVIDIA GeForce RTX 4090 with driver 551.86" in told
    assert "https://download.pytorch.org/whl/cu126" in told
    environment.ensure(project, ["requirements.txt"])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_without_its_index_the_ordinary_pytorch_is_mended_later(project, shelf, nvidia_smi, capsys):
    nvidia_smi(RTX_4090.format("580.88"))
    environment.ensure(project, ["requirements.txt"])
    first = capsys.readouterr().out
    assert torch_of(project) == "2.13.0"
    environment.ensure(project, ["requirements.txt"])
    second = capsys.readouterr().out
    for told in (first, second):
        assert "on the processor" in told
        assert re.search(r"run again.*-m pip install torch==2.13.0\+cu130 ", told)
    assert "Installing requirements.txt" in first
    assert "Installing requirements.txt" not in second

    shelf.add("cu130", "13.0")  # now it can be reached
    assert imports(environment.ensure(project, ["requirements.txt"]), "demo_package")
    assert torch_of(project) == "2.13.0+cu130"


@pytest.mark.slow
def test_a_card_that_comes_later_is_served_too(project, shelf, nvidia_smi, capsys):
    nvidia_smi("No devices were found", 6)
    environment.ensure(project, ["requirements.txt"])
    assert torch_of(project) == "2.13.0"
    assert "NVIDIA" not in capsys.readouterr().out
    shelf.add("cu130", "13.0")
    nvidia_smi(RTX_4090.format("580.88"))
    environment.ensure(project, ["requirements.txt"])
    assert torch_of(project) == "2.13.0+cu130"


@pytest.mark.slow
def test_where_ordinary_wheels_have_cuda_only_an_old_driver_needs_others(
    project, shelf, nvidia_smi, monkeypatch, capsys
):
    monkeypatch.setattr(nvidia, "ORDINARY", "cu130")  # as on Linux
    shelf.add("", "13.0")
    nvidia_smi(RTX_4090.format("580.88"))
    environment.ensure(project, ["requirements.txt"])
    assert torch_of(project) == "2.13.0"
    assert "NVIDIA" not in capsys.readouterr().out
    shelf.add("cu126", "12.6")
    nvidia_smi(RTX_4090.format("550.54.14"))
    environment.ensure(project, ["requirements.txt"])
    assert torch_of(project) == "2.13.0+cu126"
    nvidia_smi(RTX_4090.format("580.88"))  # a new driver runs old builds, too
    environment.ensure(project, ["requirements.txt"])
    assert torch_of(project) == "2.13.0+cu126"


@pytest.mark.slow
def test_a_build_that_somebody_chose_by_hand_stays(project, shelf, nvidia_smi, capsys):
    shelf.add("cu132", "13.2")
    nvidia_smi("No devices were found", 6)
    with (project / "requirements.txt").open("a") as file:
        file.write("torch==2.13.0+cu132\ntorchvision==0.28.0+cu132\n")
    environment.ensure(project, ["requirements.txt"])
    capsys.readouterr()
    nvidia_smi(RTX_4090.format("580.88"))
    environment.ensure(project, ["requirements.txt"])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_raising_the_pin_of_pytorch_keeps_the_card_in_use(project, shelf, nvidia_smi):
    nvidia_smi(RTX_4090.format("580.88"))
    shelf.add("cu130", "13.0")
    folder = next((project / ".venv").rglob("site-packages"))
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").touch()
    (folder / "torch" / "version.py").write_text("__version__ = '2.12.0+cu128'\ncuda = '12.8'\n")
    environment.ensure(project, ["requirements.txt"])
    assert torch_of(project) == "2.13.0+cu130"


@pytest.mark.slow
def test_a_driver_that_will_not_do_is_told_at_each_run(project, shelf, nvidia_smi, capsys):
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the driver.", 9)
    environment.ensure(project, ["requirements.txt"])
    assert "couldn't communicate" in capsys.readouterr().out
    assert torch_of(project) == "2.13.0"
    nvidia_smi(RTX_4090.format("472.12"))
    environment.ensure(project, ["requirements.txt"])
    assert "driver 472.12 is too old" in capsys.readouterr().out
