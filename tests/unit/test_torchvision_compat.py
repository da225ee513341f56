"""torchvision imports beside the installed torch, and beside one that its operators do not fit.

Each import runs in a Python of its own, since it cannot be undone.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, *path: Path) -> str:
    """What the code prints, with these folders and the project first on sys.path."""
    prelude = f"import sys; sys.path[:0] = {[str(p) for p in (*path, ROOT)]}\n"
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_transforms_and_models_work_with_the_installed_pair():
    printed = run_python("""
import torch
from util.torchvision_compat import import_torchvision

v2 = import_torchvision("torchvision.transforms.v2")
vgg16 = import_torchvision("torchvision.models").vgg16
import torchvision  # from now on anyone may, in the usual way

assert import_torchvision() is torchvision
with torch.device("meta"):
    print(sum(p.numel() for p in vgg16(weights=None).parameters()))
print(*v2.functional.resize(torch.arange(16.0).view(1, 4, 4), [2, 2]).shape)
""")
    assert printed.splitlines() == ["138357544", "1 2 2"]


# What the real package does where its C++ library does not load, so that the repair is tested on
# machines with a fitting pair too.
MISFIT = {
    "__init__.py": "from . import transforms, _meta",
    "transforms.py": "print('transforms')",
    "_meta.py": """
import torch

for name in ("nms", "qnms"):
    torch.library.register_fake("torchvision::" + name)(lambda dets, scores, iou_threshold: scores)
""",
}


def install_stand_in(folder: Path, files: dict[str, str]) -> Path:
    (folder / "torchvision").mkdir(parents=True)
    for name, code in files.items():
        (folder / "torchvision" / name).write_text(code)
    return folder


def test_a_misfit_imports_whole_after_the_repair(tmp_path):
    printed = run_python(
        """
from util.torchvision_compat import import_torchvision

print(import_torchvision("torchvision.transforms").__name__)
import torch
print(torch.ops.torchvision.nms.default._schema)
""",
        install_stand_in(tmp_path, MISFIT),
    )
    assert printed.splitlines() == [
        "transforms",  # the first import, which fails after this line
        "transforms",  # the second one starts afresh
        "torchvision.transforms",
        "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ]


PRINT_ERROR = """
from util.errors import UserError
from util.torchvision_compat import import_torchvision

try:
    import_torchvision()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    "code",
    [
        "import no_such_dependency",
        MISFIT["_meta.py"] + "import no_such_dependency",
    ],
    ids=["missing", "beyond repair"],
)
def test_where_nothing_helps_the_error_names_the_pinned_pair(tmp_path, code):
    printed = run_python(PRINT_ERROR, install_stand_in(tmp_path, {"__init__.py": code}))
    pair = re.findall(r"^torch(?:vision)?==\S+", (ROOT / "requirements.txt").read_text(), re.M)
    assert len(pair) == 2
    for part in ["UserError", "no_such_dependency", *pair]:
        assert part in printed
    assert len(printed.splitlines()) == 1


def test_other_errors_pass_unchanged(tmp_path):
    misfit = {"__init__.py": "raise RuntimeError('compiled for another CUDA')"}
    printed = run_python(PRINT_ERROR, install_stand_in(tmp_path, misfit))
    assert printed == "RuntimeError compiled for another CUDA"
