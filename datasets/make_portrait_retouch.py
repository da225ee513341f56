"""Make portrait pairs: A is the photograph after a beauty retouch, B the photograph itself.

    python datasets/make_portrait_retouch.py --originals ORIGINALS --out OUT

reads every picture in ORIGINALS and the file ORIGINALS/faces.json, and writes OUT/trainA/NAME.jpg
(retouched) and OUT/trainB/NAME.jpg (original), both --size pixels square. Training with
`--dataroot OUT --direction AtoB` then learns to undo the retouch. faces.json locates each face, in
pixels of the original, with left and right as seen in the picture:

    {"NAME": {"eyes":  [[x, y], [x, y]],     pupils: left, right
              "mouth": [[x, y], [x, y]],     corners: left, right
              "jaw":   [[x, y], [x, y], [x, y], [x, y]],
                                             outline of the face: left at mouth height, left
                                             halfway to the chin, right halfway to the chin, right
                                             at mouth height
              "chin":  [x, y]}}              its lowest point

This script made the bundled set, whose B pictures are the originals. To make its A pictures again:

    python datasets/make_portrait_retouch.py \\
        --originals datasets/portrait_retouch/trainB --out OUT

The same input gives the same output; nothing is random.

The retouch uses common techniques. Skin: frequency separation. An edge-preserving guided filter
(He et al. 2010, doi:10.1007/978-3-642-15549-9_1) evens out the tones, and part of the pores is put
back. A soft mask limits this to skin-coloured areas, without eyes, brows, lips and hair. Shape: a
liquify-style warp slims the jaw, shortens the chin and enlarges the eyes a little.
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage.color import rgb2lab
from skimage.filters import gaussian
from skimage.transform import warp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from util.files import composed, to_path

Array = NDArray[np.float64]

# The strength of the retouch. Lengths are fractions of the width of the jaw.
JAW_INWARDS = 0.034
CHIN_UPWARDS = 0.045
EYE_ENLARGEMENT = 0.06
SMOOTHING = 1.5  # variance that counts as flat, relative to the skin's median variance
KEPT_PORES = 0.25

JPEG_QUALITY = 92


@dataclass(frozen=True)
class Face:
    """Landmarks in pixels of the square picture, one (x, y) per row; see the module docstring."""

    eyes: Array  # (2, 2)
    mouth: Array  # (2, 2)
    jaw: Array  # (4, 2)
    chin: Array  # (2,)

    @property
    def width(self) -> float:
        return float(np.linalg.norm(self.jaw[3] - self.jaw[0]))

    @property
    def upwards(self) -> Array:
        """Unit vector (x, y) from the chin to the middle of the eyes."""
        axis = self.eyes.mean(axis=0) - self.chin
        return axis / np.linalg.norm(axis)


def blob(shape: tuple[int, ...], centre: Array, radii: Array, up: Array) -> Array:
    """Gaussian, 1 at the centre; `radii` are its standard deviations across and along `up`."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    dx, dy = x - centre[0], y - centre[1]
    along = (dx * up[0] + dy * up[1]) / radii[1]
    across = (dx * up[1] - dy * up[0]) / radii[0]
    return np.exp(-0.5 * (along**2 + across**2))


def plateau(shape: tuple[int, ...], centre: Array, radii: Array, up: Array) -> Array:
    """Ellipse with a soft edge: about 1 inside, 0.5 at the given radii, 0 outside."""
    hill = blob(shape, centre, radii, up)
    return 1 / (1 + (np.exp(-0.5) / np.maximum(hill, 1e-9)) ** 6)


def skin_mask(image: Array, face: Face) -> Array:
    """(H, W) in [0, 1]: skin-coloured areas in and around the face, without its features."""
    shape, up, width = image.shape, face.upwards, face.width
    lab = rgb2lab(gaussian(image, sigma=0.012 * width, channel_axis=2))  # wrinkles count as skin
    left, right = 0.45 * face.eyes + 0.55 * face.mouth
    spot = np.full(2, 0.06 * width)
    cheeks = blob(shape, left, spot, up) + blob(shape, right, spot, up)
    tone = np.average(lab, axis=(0, 1), weights=np.repeat(cheeks[..., None], 3, axis=2))
    distance = (lab - tone) / (30, 10, 10)  # L*, a*, b*: light varies over a face more than hue
    colour = np.exp(-0.5 * (distance**2).sum(axis=2) ** 2 / 4)

    height = float(np.linalg.norm(face.eyes.mean(axis=0) - face.chin))
    centre = face.chin + 0.8 * height * up
    mask = colour * plateau(shape, centre, np.array([0.75 * width, 1.2 * height]), up)

    between = float(np.linalg.norm(face.eyes[1] - face.eyes[0]))
    for eye in face.eyes:
        lid = eye + 0.14 * between * up
        mask *= 1 - plateau(shape, lid, between * np.array([0.38, 0.25]), up)
    lips = float(np.linalg.norm(face.mouth[1] - face.mouth[0]))
    mouth = face.mouth.mean(axis=0) - 0.08 * lips * up
    mask *= 1 - plateau(shape, mouth, lips * np.array([0.55, 0.28]), up)
    return gaussian(mask, sigma=0.012 * width)


def smooth(image: Array, mask: Array, width: float) -> Array:
    """Even out skin tones, but keep edges and part of the pores. (H, W, 3) in [0, 1].

    Args:
        mask: (H, W) in [0, 1]: where.
        width: that of a face, in pixels.
    """
    mask = mask[..., None]

    def blur(x: Array, sigma: float) -> Array:
        return gaussian(x, sigma=sigma * width, channel_axis=2)

    # A guided filter of each channel by itself, with Gaussian instead of box windows. The result is
    # the local mean where the variance is far below `flat`, and the picture itself where it is far
    # above. Lined skin varies more than smooth skin, so `flat` is relative to this picture's skin.
    mean = blur(image, 0.05)
    variance = blur(image * image, 0.05) - mean * mean
    flat = SMOOTHING * np.median(variance[mask[..., 0] > 0.5])
    slope = variance / (variance + flat)
    even = blur(slope, 0.02) * image + blur(mean - slope * mean, 0.02)

    pores = image - blur(image, 0.008)
    return image + mask * (even + KEPT_PORES * (1 - blur(slope, 0.02)) * pores - image)


def reshape(image: Array, face: Face) -> Array:
    """Slim the jaw, shorten the chin, enlarge the eyes. (H, W, 3) in [0, 1]."""
    shape, up, width = image.shape, face.upwards, face.width
    right = np.array([-up[1], up[0]])
    # Where each new pixel comes from: old minus new position, along `right` and `up` of the face.
    sideways = np.zeros(shape[:2])
    upwards = np.zeros(shape[:2])

    for point, side in zip(face.jaw, (-1, -1, 1, 1), strict=True):
        push = blob(shape, point, width * np.array([0.13, 0.17]), up)
        sideways += side * JAW_INWARDS * width * push
    upwards -= CHIN_UPWARDS * width * blob(shape, face.chin, width * np.array([0.22, 0.15]), up)

    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    source_x = x + sideways * right[0] + upwards * up[0]
    source_y = y + sideways * right[1] + upwards * up[1]
    between = float(np.linalg.norm(face.eyes[1] - face.eyes[0]))
    for eye in face.eyes:
        grow = EYE_ENLARGEMENT * blob(shape, eye, np.full(2, 0.17 * between), up)
        source_x -= grow * (x - eye[0])
        source_y -= grow * (y - eye[1])
    source = np.stack([source_y, source_x])
    channels = [warp(image[..., c], source, order=3, mode="edge") for c in range(3)]
    return np.clip(np.stack(channels, axis=2), 0, 1)


def retouch(picture: Image.Image, face: Face) -> Image.Image:
    image = np.asarray(picture.convert("RGB"), dtype=np.float64) / 255
    image = smooth(image, skin_mask(image, face), face.width)
    image = reshape(image, face)
    return Image.fromarray(np.round(255 * image).astype(np.uint8))


def square(picture: Image.Image, landmarks: dict, size: int) -> tuple[Image.Image, Face]:
    """The central square of a picture, resized to size x size, and its landmarks."""
    side = min(picture.size)
    corner = (np.array(picture.size) - side) / 2
    scale = size / side

    def place(points: list) -> Array:
        return (np.array(points, dtype=np.float64) - corner) * scale

    face = Face(**{name: place(points) for name, points in landmarks.items()})
    return ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS), face


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--originals", type=to_path, required=True, help="folder of photographs with faces.json"
    )
    parser.add_argument("--out", type=to_path, required=True, help="folder for the pairs")
    parser.add_argument("--phase", default="train", help="pairs go to OUT/PHASEA and OUT/PHASEB")
    parser.add_argument("--size", type=int, default=512, help="side length of the pairs, in pixels")
    options = parser.parse_args(arguments)
    table = options.originals / "faces.json"
    if not table.is_file():
        parser.error(f"--originals: {table} does not exist; it must say where each face is")
    faces = {composed(k): v for k, v in json.loads(table.read_text(encoding="utf-8")).items()}
    known = Image.registered_extensions()
    pictures = (p for p in sorted(table.parent.iterdir()) if p.suffix.lower() in known)
    originals = {composed(p.stem): p for p in pictures}
    if unmatched := sorted(originals.keys() ^ faces.keys()):
        parser.error(f"--originals: no picture, or no entry in {table}, for {', '.join(unmatched)}")
    for name, landmarks in faces.items():
        if missing := sorted({f.name for f in fields(Face)} ^ landmarks.keys()):
            parser.error(f"{table}: {name} lacks, or should not have, {', '.join(missing)}")

    folder_a, folder_b = (options.out / f"{options.phase}{side}" for side in "AB")
    for folder in (folder_a, folder_b):
        folder.mkdir(parents=True, exist_ok=True)
    for name, original in originals.items():
        picture = ImageOps.exif_transpose(Image.open(original)).convert("RGB")
        unchanged = picture.size == (options.size, options.size) and original.suffix == ".jpg"
        picture, face = square(picture, faces[name], options.size)
        path_a, path_b = folder_a / f"{name}.jpg", folder_b / f"{name}.jpg"
        if not unchanged:
            save(picture, path_b)
        elif not (path_b.exists() and path_b.samefile(original)):
            shutil.copyfile(original, path_b)  # compressing again would alter the picture
        save(retouch(picture, face), path_a)
        print(f"{original} -> {path_a}, {path_b}")


def save(picture: Image.Image, path: Path) -> None:
    picture.save(path, quality=JPEG_QUALITY, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
