"""scripts/environment.py with real virtual environments, a real pip, and no network.

What gets installed are wheels of a few hundred bytes, written here.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from scripts import environment
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def write_wheel(folder: Path, name: str) -> str:
    """A package with one empty module; returns the line that requires it."""
    info = f"{name}-1.0.dist-info"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    return f"{name} @ {wheel.as_uri()}\n"


@pytest.fixture(scope="module")
def installed_project(tmp_path_factory) -> Path:
    """A project whose requirements.txt is installed, after an attempt that was cut short."""
    root = tmp_path_factory.mktemp("a project")  # pip splits some of its settings at spaces
    (root / "requirements.txt").write_text(write_wheel(root, "demo_package"))
    (root / "requirements-test.txt").write_text(
        "-r requirements.txt\n" + write_wheel(root, "test_package")
    )
    # What is left of a first attempt that is stopped before the new environment has its pip.
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
    start_s = time.monotonic()
    python = environment.ensure(project, ["requirements.txt"])
    assert time.monotonic() - start_s < 1
    assert imports(python, "demo_package")
    assert capsys.readouterr().out == ""  # neither venv nor pip was run


def test_test_requirements_join_the_same_environment(project, capsys):
    python = environment.ensure(project, ["requirements-test.txt"])
    assert imports(python, "demo_package")
    assert imports(python, "test_package")
    assert "Making" not in capsys.readouterr().out
    environment.ensure(project, ["requirements.txt"])
    environment.ensure(project, ["requirements-test.txt"])
    assert capsys.readouterr().out == ""


def test_a_changed_file_is_installed_again(project):
    with (project / "requirements.txt").open("a") as file:
        file.write(write_wheel(project, "late_package"))
    assert imports(environment.ensure(project, ["requirements-test.txt"]), "late_package")


def test_a_failed_installation_says_so_and_is_made_up_for(project, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    good = (project / "requirements.txt").read_text()
    (project / "requirements.txt").write_text(good + "missing-package==1.0\n")
    with pytest.raises(UserError, match=r"requirements.txt: .*missing-package==1\.0") as failure:
        environment.ensure(project, ["requirements.txt"])
    assert len(str(failure.value).splitlines()) == 1
    log = project / ".venv" / "install.log"
    assert str(log) in str(failure.value)
    assert "missing-package" in log.read_text()

    (project / "requirements.txt").write_text(good)
    shutil.rmtree(next((project / ".venv").rglob("demo_package-1.0.dist-info")))
    assert imports(environment.ensure(project, ["requirements.txt"]), "demo_package")
    assert "Successfully installed demo_package" in log.read_text()


def test_an_environment_without_its_interpreter_is_made_anew(project, capsys):
    python_of(project).unlink()
    assert imports(environment.ensure(project, ["requirements.txt"]), "demo_package")
    assert "Making" in capsys.readouterr().out


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


def test_old_pythons_can_parse_as_far_as_the_line_that_turns_them_away():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py")]
    first = [s for s in sources if "import environment" in s or "def ensure(" in s]
    assert len(first) >= 2
    for source in first:
        ast.parse(source, feature_version=(3, 6))
