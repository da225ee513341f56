"""Pictures of every kind open upright and in RGB; a bad file is named."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from PIL import Image

import data
import models
from data.image_folder import IMG_EXTENSIONS, default_loader
from data.image_io import limit_pillow, open_picture, picture_size
from data.loader import DataError, Loader
from data.reading.pillow import knows_heif
from data.unaligned_dataset import UnalignedDataset
from options.train_options import TrainOptions
from util.errors import UserError

# Where the pixels of a 2x1 picture (red, blue) lie once it is upright, for each EXIF orientation.
RED, BLUE = (255, 0, 0), (0, 0, 255)
UPRIGHT = {
    1: [[RED, BLUE]],
    2: [[BLUE, RED]],
    3: [[BLUE, RED]],
    4: [[RED, BLUE]],
    5: [[RED], [BLUE]],
    6: [[RED], [BLUE]],
    7: [[BLUE], [RED]],
    8: [[BLUE], [RED]],
}


def rgb(path) -> np.ndarray:
    picture = open_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


OF_PILLOW = [ending for ending in IMG_EXTENSIONS if ending not in (".npy", ".npz")]


@pytest.mark.parametrize("ending", [*OF_PILLOW, ".JPG", ".Png", ".TIFF"])
def test_every_format(ending, pictures):
    if ending in (".heic", ".heif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    picture = pictures.draw(0)
    path = pictures.save(picture, "x" + ending)
    opened = rgb(path)
    assert opened.shape == (48, 64, 3)
    assert np.abs(opened - np.asarray(picture)).mean() < 3  # some formats lose a little
    assert picture_size(path) == (64, 48)


@pytest.mark.parametrize("name", ["x.heic", "x.jpg"])  # phones and chats rename some
def test_a_heic_picture_is_known_by_its_content(name, pictures, tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = pictures.save(pictures.draw(0), "x.heif").rename(tmp_path / name)
    monkeypatch.setattr(Image, "OPEN", {k: v for k, v in Image.OPEN.items() if k != "HEIF"})
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if not installed
    knows_heif.cache_clear()
    for read in (open_picture, picture_size):
        with pytest.raises(UserError, match=r"x\.\w+: reading .* needs: pip install pillow-heif"):
            read(path)
    monkeypatch.delitem(sys.modules, "pillow_heif")
    knows_heif.cache_clear()
    assert open_picture(path).size == picture_size(path) == (64, 48)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(orientation, tmp_path):
    picture = Image.new("RGB", (2, 1))
    picture.putdata([RED, BLUE])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "x.png", exif=exif)
    upright = np.array(UPRIGHT[orientation])
    assert np.array_equal(rgb(tmp_path / "x.png"), upright)
    assert picture_size(tmp_path / "x.png") == (upright.shape[1], upright.shape[0])


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "YCbCr"])
def test_opaque_pictures_of_other_modes(mode, pictures):
    picture = pictures.draw(1).convert(mode)
    ending = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    expected = np.asarray(picture.convert("RGB")).astype(int)
    assert np.array_equal(rgb(pictures.save(picture, "x" + ending)), expected)


def test_transparency_is_laid_on_white(tmp_path):
    picture = Image.new("RGBA", (3, 1))
    picture.putdata([(0, 0, 0, 0), (0, 0, 0, 255), (200, 0, 0, 128)])
    picture.save(tmp_path / "x.png")
    clear, opaque, half = rgb(tmp_path / "x.png")[0]
    assert clear.tolist() == [255, 255, 255]
    assert opaque.tolist() == [0, 0, 0]
    assert np.abs(half - [227, 127, 127]).max() <= 1


def test_transparent_colour_of_a_palette_is_laid_on_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([9, 9, 9, 0, 0, 255])
    picture.putdata([0, 1])
    picture.save(tmp_path / "x.png", transparency=0)
    assert rgb(tmp_path / "x.png")[0].tolist() == [[255, 255, 255], [0, 0, 255]]


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    values = np.array([[*range(0, 65536, 257), 257 * 10 + 128, 257 * 10 + 129]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert rgb(tmp_path / "x.png")[0, :, 0].tolist() == [*range(256), 10, 11]  # to the nearest


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert rgb(tmp_path / "x.webp")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_truncated_file_is_named(ending, pictures):
    path = pictures.save(pictures.draw(0, 96, 96), "cut" + ending)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError) as caught:
        open_picture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("read", [open_picture, picture_size])
def test_unreadable_file_is_named(read, content, tmp_path):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.jpg"):
        read(path)


@pytest.mark.parametrize("read", [open_picture, picture_size])
def test_missing_file_is_named(read, tmp_path):
    with pytest.raises(UserError, match=r"gone\.png"):
        read(tmp_path / "gone.png")


def test_picture_holds_no_open_file(pictures):
    picture = open_picture(pictures.save(pictures.draw(0), "x.png"))
    assert np.array_equal(pickle.loads(pickle.dumps(picture)), picture)


def test_the_limit_holds_for_files_that_open_pictures_themselves(pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # put back after the test
    path = pictures.save(Image.new("RGB", (1500, 1000)), "unpaired/trainA/a0.png")
    pictures.save(Image.new("RGB", (8, 8)), "unpaired/trainB/b0.png")
    line = ["--dataroot", str(pictures.root / "unpaired"), "--max_megapixels", "1.4"]
    dataset = UnalignedDataset(TrainOptions(models.registry, data.registry).parse(line))
    for opened in (Image.open, default_loader):
        with pytest.raises((Image.DecompressionBombError, UserError)):
            opened(path)

    sent = pickle.dumps(dataset)
    limit_pillow(179)
    Image.open(path).close()
    pickle.loads(sent)  # as a loading process gets it
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert open_picture(path, 1.6).size == (1500, 1000)
    assert picture_size(path) == (1500, 1000)

    dataset.load = lambda *_: Image.open(path)
    loader = Loader(dataset, batch_size=1, shuffle=False, num_workers=0, seed=0)
    with pytest.raises(DataError, match="--max_megapixels"):
        next(iter(loader))


@pytest.mark.parametrize(
    "values, pixels",
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 256.0], None),
        ([-1.0, 1.0], None),
    ],
)
def test_floating_point_pictures(values, pixels, tmp_path):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "x.tif")
    if pixels:
        assert rgb(tmp_path / "x.tif")[0, :, 0].tolist() == pixels
        return
    with pytest.raises(UserError, match=r"x\.tif.* float32 from .*--range_A"):
        rgb(tmp_path / "x.tif")
