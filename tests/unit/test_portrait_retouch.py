"""The bundled portraits: complete, small, really retouched, and reproduced by their script."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATASETS = Path(__file__).parents[2] / "datasets"
PORTRAITS = DATASETS / "portrait_retouch"
NAMES = {
    phase: sorted(json.loads((PORTRAITS / f"{phase}B" / "faces.json").read_text(encoding="utf-8")))
    for phase in ("train", "test")
}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)


def make(originals: Path, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    script = DATASETS / "make_portrait_retouch.py"
    command = [sys.executable, script, "--originals", originals, "--out", out, *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_at_least_three_pairs_to_train_on_and_one_held_out() -> None:
    for phase, names in NAMES.items():
        for side in "AB":
            paths = sorted((PORTRAITS / f"{phase}{side}").glob("*.jpg"))
            assert [path.stem for path in paths] == names
            assert {Image.open(path).size for path in paths} == {(512, 512)}
    assert len(NAMES["train"]) >= 3
    assert len(NAMES["test"]) >= 1
    assert sum(path.stat().st_size for path in PORTRAITS.rglob("*.*")) < 1.5e6


@pytest.mark.parametrize("phase", NAMES)
def test_the_script_makes_the_bundled_pictures_again(phase: str, tmp_path: Path) -> None:
    done = make(PORTRAITS / f"{phase}B", tmp_path, "--phase", phase)
    assert done.returncode == 0, done.stderr
    for name in NAMES[phase]:
        again = tmp_path / f"{phase}A" / f"{name}.jpg"
        difference = np.abs(pixels(again) - pixels(PORTRAITS / f"{phase}A" / f"{name}.jpg"))
        assert difference.mean() < 0.5  # another JPEG library may round differently
        assert difference.max() < 16
        original = PORTRAITS / f"{phase}B" / f"{name}.jpg"
        assert (tmp_path / f"{phase}B" / f"{name}.jpg").read_bytes() == original.read_bytes()


@pytest.mark.parametrize("phase, name", [(p, n) for p, names in NAMES.items() for n in names])
def test_the_face_is_retouched_and_the_background_is_not(phase: str, name: str) -> None:
    a, b = (pixels(PORTRAITS / f"{phase}{side}" / f"{name}.jpg") for side in "AB")
    face = json.loads((PORTRAITS / f"{phase}B" / "faces.json").read_text(encoding="utf-8"))[name]
    left, right = (
        np.mean([eye, corner], axis=0).astype(int)
        for eye, corner in zip(face["eyes"], face["mouth"], strict=True)
    )

    def texture(image: np.ndarray) -> float:
        patches = (image[y - 12 : y + 12, x - 12 : x + 12].mean(axis=2) for x, y in (left, right))
        return sum(np.abs(np.diff(patch, axis=1)).mean() for patch in patches)

    assert texture(a) < 0.8 * texture(b)  # the cheeks are smoother

    def chin_fit(shift: int) -> float:
        x, y = face["chin"]
        moved = a[y - 20 - shift : y + 10 - shift, x - 30 : x + 30]
        return float(np.abs(moved - b[y - 20 : y + 10, x - 30 : x + 30]).mean())

    assert 5 <= min(range(20), key=chin_fit) <= 14  # the chin is several pixels higher

    border = np.ones(a.shape, dtype=bool)
    border[24:-24, 24:-24] = False
    assert np.abs(a - b)[border].mean() < 2


def test_own_photographs_of_any_size(tmp_path: Path) -> None:
    originals = tmp_path / "mine"
    originals.mkdir()
    Image.open(PORTRAITS / "testB" / "biden.jpg").resize((256, 256)).save(originals / "me.png")
    landmarks = json.loads((PORTRAITS / "testB" / "faces.json").read_text())["biden"]
    halved = {key: (np.array(points) / 2).tolist() for key, points in landmarks.items()}
    (originals / "faces.json").write_text(json.dumps({"me": halved}), encoding="utf-8")
    done = make(originals, tmp_path / "out", "--size", "192")
    assert done.returncode == 0, done.stderr
    for side in "AB":
        assert Image.open(tmp_path / "out" / f"train{side}" / "me.jpg").size == (192, 192)


def test_a_photograph_without_its_face_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "me.png")
    assert "faces.json does not exist" in make(tmp_path, tmp_path / "out").stderr
    (tmp_path / "faces.json").write_text("{}", encoding="utf-8")
    done = make(tmp_path, tmp_path / "out")
    assert done.returncode == 2
    assert "for me" in done.stderr and "Traceback" not in done.stderr
