"""Values of pictures: every type of file, with all its bits, by stated or known ranges."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageFile

from data.image_folder import kind_in
from data.image_io import kind_of, open_picture, picture_size, read_picture
from data.reading import notes
from data.reading.picture import Side
from data.transforms import Resize
from util.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
RANDOM = np.random.default_rng(3)


def sixteen(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 65536, shape).astype(np.uint16)


def unit(path, num_channels: int, **side) -> np.ndarray:
    return np.asarray(read_picture(path).ready(Side("A", num_channels, **side)))


def write(path, values: np.ndarray) -> None:
    ending = path.suffix
    if ending == ".png":
        path.write_bytes(imagecodecs.png_encode(values))
    elif ending == ".jp2":
        path.write_bytes(imagecodecs.jpeg2k_encode(values, level=0, reversible=True))
    elif ending == ".npy":
        np.save(path, values)
    elif ending == ".npz":
        np.savez_compressed(path, anything=values)
    elif ending == ".ppm":
        height, width = values.shape[:2]
        kind = "P6" if values.ndim == 3 else "P5"
        header = f"{kind}\n# a comment\n{width} {height}\n65535\n".encode()
        path.write_bytes(header + values.astype(">u2").tobytes())
    else:
        colour = values.ndim == 3 and values.shape[2] in (3, 4)
        tifffile.imwrite(path, values, photometric="rgb" if colour else "minisblack")


def with_chunk(png: bytes, before: bytes, name: bytes, content: bytes) -> bytes:
    at, body = png.index(before) - 4, name + content
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:at] + chunk + png[at:]


@pytest.mark.parametrize("ending", [".png", ".tif", ".npy", ".npz", ".ppm", ".jp2"])
@pytest.mark.parametrize("num_channels", [1, 3])
def test_sixteen_bits_arrive_whole(ending, num_channels, tmp_path):
    values = sixteen(9, 7, 3) if num_channels == 3 else sixteen(9, 7)
    path = tmp_path / f"x{ending}"
    write(path, values)
    assert picture_size(path) == (7, 9)
    assert kind_of(path) == f"uint16 0,65535 {ending}"
    got = unit(path, num_channels)
    assert got.dtype == np.float32
    assert np.array_equal(np.rint(got * 65535), values.reshape(9, 7, num_channels))
    assert np.abs(np.asarray(open_picture(path)) - values.reshape(9, 7, -1) / 257).max() <= 0.5


@pytest.mark.parametrize("options", [{"compression": "lzw", "predictor": True}, {"bigtiff": True}])
def test_tiffs_as_editors_write_them(options, tmp_path):
    values = sixteen(20, 30, 3)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", **options)
    assert np.array_equal(np.rint(unit(tmp_path / "x.tif", 3) * 65535), values)
    planes = np.moveaxis(values, 2, 0)
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(np.rint(unit(tmp_path / "p.tif", 3) * 65535), values)
    pages = np.stack([values, values // 2])
    tifffile.imwrite(tmp_path / "m.tif", pages, photometric="rgb")
    assert np.array_equal(np.rint(unit(tmp_path / "m.tif", 3) * 65535), values)


@pytest.mark.parametrize("brightest", [255, 256])
def test_the_range_is_that_of_the_type_not_of_the_content(brightest, tmp_path):
    values = np.zeros((4, 4), np.uint16)
    values[0, 0] = brightest
    write(tmp_path / "x.png", values)
    assert unit(tmp_path / "x.png", 1).max() == pytest.approx(brightest / 65535)


def test_twelve_bits_packed_in_a_tiff_tell_their_range(tmp_path):
    values = np.array([[0, 4095], [1365, 2730]], np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, bitspersample=12, photometric="minisblack")
    assert kind_of(tmp_path / "x.tif") == "uint16 0,4095 .tif"
    assert np.allclose(unit(tmp_path / "x.tif", 1)[..., 0], values / 4095)


@pytest.mark.parametrize(
    "values, told",
    [
        (np.array([[-5, 7]], np.int16), "int16 from -5 to 7"),
        (np.array([[0, 70000]], np.int32), "int32 from 0 to 70000"),
        (np.array([[0, 70000]], np.uint32), "uint32 from 0 to 70000"),
        (np.array([[0, 16777215]], np.int32), "int32 from 0 to 16777215"),
        (np.array([[-0.5, 1]], np.float32), "float32 from -0.5 to 1"),
        (np.array([[0, 2.5]], np.float64), "float64 from 0 to 2.5"),
        (np.array([[0, np.nan]], np.float32), "not finite"),
        (np.array([[0, np.inf]], np.float16), "not finite"),
    ],
)
@pytest.mark.parametrize("ending", [".tif", ".npy"])
def test_values_whose_range_nobody_knows_are_refused(values, told, ending, tmp_path):
    if ending == ".tif" and values.dtype.itemsize == 8:
        ending = ".npz"
    path = tmp_path / f"x{ending}"
    write(path, values)
    with pytest.raises(UserError) as caught:
        unit(path, 1)
    assert str(path) in str(caught.value) and told in str(caught.value)
    if "finite" not in told:
        least, greatest = values.min().item(), values.max().item()
        assert f"--range_A LOW,HIGH, such as {least:.10g},{greatest:.10g}" in str(caught.value)
        got = unit(path, 1, range=(float(values.min()), float(values.max())))
        assert got.ravel().tolist() == [0, 1]


def test_values_outside_a_stated_range_are_clipped_and_counted(tmp_path):
    write(tmp_path / "x.npy", np.array([[-2000, -1000, 500, 2000, 3000]], np.int16))
    got = unit(tmp_path / "x.npy", 1, range=(-1000.0, 2000.0))
    assert got.ravel().tolist() == [0, 0, 0.5, 1, 1]
    assert notes.take().summary() == ["--range_A -1000,2000: 2 values outside were clipped"]


def test_a_range_for_eight_bits(tmp_path):
    Image.fromarray(np.array([[10, 20, 30]], np.uint8)).save(tmp_path / "x.png")
    assert unit(tmp_path / "x.png", 1, range=(10.0, 30.0)).ravel().tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_that_fit_and_that_do_not(dtype, tmp_path):
    most = np.iinfo(dtype).max
    colour = np.array([[[most, 0, 0], [0, most, 0]]], dtype)
    write(tmp_path / "x.npy", colour)
    luma = unit(tmp_path / "x.npy", 1).ravel()
    assert luma == pytest.approx([0.299, 0.587], abs=1e-3)
    write(tmp_path / "g.npy", colour[..., 0])
    assert unit(tmp_path / "g.npy", 3).reshape(2, 3).tolist() == [[1] * 3, [0] * 3]
    write(tmp_path / "m.npy", np.zeros((4, 4, 5), dtype))
    assert unit(tmp_path / "m.npy", 5).shape == (4, 4, 5)
    for number, wanted in ((5, 3), (3, 4), (3, 5)):
        write(tmp_path / "w.npy", np.zeros((4, 4, number), dtype))
        with pytest.raises(UserError, match=f"w.npy.* {number} channels.* become the {wanted}"):
            unit(tmp_path / "w.npy", wanted)


@pytest.mark.parametrize("bits", [8, 16])
def test_transparency_is_a_channel_or_lies_on_white(bits, tmp_path):
    most = 2**bits - 1
    values = np.array([[[0, 0, 0, 0], [0, 0, 0, most], [most, 0, 0, most // 2]]])
    values = values.astype(np.uint8 if bits == 8 else np.uint16)
    write(tmp_path / "x.png", values)
    whole = read_picture(tmp_path / "x.png").ready(Side("A", 4))
    scale = 255 if bits == 8 else 1
    assert np.allclose(np.asarray(whole) / scale, values / most, atol=1e-4)
    laid = np.asarray(read_picture(tmp_path / "x.png").ready(Side("A", 3))) / scale
    assert np.allclose(laid[0], [[1, 1, 1], [0, 0, 0], [1, 0.5, 0.5]], atol=4e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_upright(orientation, tmp_path):
    values = sixteen(3, 5)
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="minisblack", extratags=tag)
    flat = (values >> 8).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(flat).save(tmp_path / "flat.png", exif=exif)
    got = np.floor(unit(tmp_path / "deep.tif", 1) * 65535 / 256 + 1e-3)[..., 0]
    assert np.array_equal(got, np.asarray(open_picture(tmp_path / "flat.png"))[..., 0])
    assert picture_size(tmp_path / "deep.tif") == picture_size(tmp_path / "flat.png")


def test_miniswhite_is_inverted(tmp_path):
    tifffile.imwrite(
        tmp_path / "x.tif", np.array([[0, 65535]], np.uint16), photometric="miniswhite"
    )
    assert unit(tmp_path / "x.tif", 1).ravel().tolist() == [1, 0]


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.npy", np.zeros((2, 2, 2, 2))),
        ("x.npy", np.array(["text"])),
        ("x.npy", np.zeros((0, 4))),
        ("x.npy", np.zeros((4, 4), np.complex64)),
    ],
)
def test_arrays_that_are_no_pictures_are_named(name, content, tmp_path):
    np.save(tmp_path / name, content)
    for read in (open_picture, picture_size):
        with pytest.raises(UserError, match=r"x\.npy.*cannot be read") as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_of_several_arrays_the_one_named_image_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", mask=np.ones((2, 2)), image=np.full((2, 2), 0.5))
    assert unit(tmp_path / "x.npz", 1).ravel().tolist() == [0.5] * 4
    np.savez(tmp_path / "y.npz", mask=np.ones((2, 2)), depth=np.ones((2, 2)))
    with pytest.raises(UserError, match=r"y\.npz.*mask, depth.*image"):
        open_picture(tmp_path / "y.npz")


@pytest.mark.parametrize("ending", [".png", ".tif", ".npy", ".npz", ".ppm", ".jp2"])
def test_cut_off_deep_files_are_named(ending, tmp_path):
    path = tmp_path / f"x{ending}"
    write(path, sixteen(40, 40, 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f"x{ending}"):
        open_picture(path)


def test_deep_pictures_respect_the_limit_on_size(tmp_path):
    write(tmp_path / "x.png", sixteen(20, 100))
    with pytest.raises(UserError, match="max_megapixels"):
        open_picture(tmp_path / "x.png", 0.001)


def test_what_a_set_leaves_of_its_range_is_told():
    noticed = notes.Notes()
    noticed.use("B", notes.Use((0, 65535), 0.01, 0.05))
    noticed.use("B", notes.Use((0, 65535), 0.0, 4095 / 65535))
    noticed.use("A", notes.Use((0, 255), 0.0, 1.0))
    (line,) = noticed.summary()
    assert "side B use only 0 to 4095 of 0 to 65535" in line and "--range_B 0,4095" in line


@pytest.mark.parametrize("dtype, low, high", [(np.uint16, 0, 4095), (np.float32, 0, 255)])
@pytest.mark.parametrize("ending", [".npy", ".tif"])
def test_a_stated_range_holds_for_all_four_channels(dtype, low, high, ending, tmp_path):
    values = RANDOM.integers(low, high + 1, (5, 6, 4)).astype(dtype)
    write(tmp_path / f"x{ending}", values)
    got = unit(tmp_path / f"x{ending}", 4, range=(low, high))
    assert np.allclose(got, (values - low) / (high - low), atol=1e-6)


def test_transparency_is_as_finite_and_bounded_as_colours(tmp_path):
    values = np.full((3, 3, 4), 0.5)
    values[0, 0, 3] = np.nan
    write(tmp_path / "x.npy", values)
    for number in (3, 4):
        with pytest.raises(UserError, match="not finite"):
            unit(tmp_path / "x.npy", number)
    write(tmp_path / "x.npy", np.full((3, 3, 4), 100.0))
    with pytest.raises(UserError, match=r"from 100 to 100.*pass --input_nc.* 4"):
        unit(tmp_path / "x.npy", 3, range=(0.0, 255.0))


@pytest.mark.parametrize("colour", [False, True])
def test_a_colour_that_stands_for_transparency(colour, tmp_path):
    values = sixteen(4, 5, 3) if colour else sixteen(4, 5)
    png = imagecodecs.png_encode(values)
    clear = values[1, 2:3].astype(">u2").tobytes()
    (tmp_path / "x.png").write_bytes(with_chunk(png, b"IDAT", b"tRNS", clear))
    got = np.rint(unit(tmp_path / "x.png", values.ndim if colour else 1) * 65535)
    assert (got[1, 2] == 65535).all()
    got[1, 2] = values[1, 2]
    assert np.array_equal(got, values.reshape(got.shape))


@pytest.mark.parametrize("num_extra", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unnamed_channels_of_a_tiff_are_used_where_asked_for(num_extra, dtype, tmp_path):
    values = RANDOM.integers(0, 255, (6, 7, 3 + num_extra)).astype(dtype)
    options = {"photometric": "rgb", "extrasamples": [0] * num_extra}
    tifffile.imwrite(tmp_path / "x.tif", values, **options)
    white = np.iinfo(dtype).max
    notes.take()
    assert np.allclose(unit(tmp_path / "x.tif", 3 + num_extra), values / white)
    assert not notes.take().lines
    assert np.allclose(unit(tmp_path / "x.tif", 3), values[..., :3] / white)
    (line,) = notes.take().lines.values()
    assert f"first 3 of its {3 + num_extra} channels" in line


def test_two_channels_of_eight_bits_stay_two(tmp_path):
    values = RANDOM.integers(0, 255, (6, 7, 2)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack", planarconfig="contig")
    assert np.allclose(unit(tmp_path / "x.tif", 2), values / 255)


def test_a_file_is_what_it_holds_whatever_its_name(tmp_path):
    values = sixteen(5, 6, 3)
    write(tmp_path / "x.png", values)
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert np.array_equal(np.rint(unit(tmp_path / "x.jpg", 3) * 65535), values)


@pytest.mark.parametrize("order", "<>")
def test_the_byte_order_of_an_array_does_not_matter(order, tmp_path):
    values = sixteen(5, 6, 3)
    np.save(tmp_path / "x.npy", values.astype(f"{order}u2"))
    assert kind_of(tmp_path / "x.npy") == "uint16 0,65535 .npy"
    assert np.array_equal(np.rint(unit(tmp_path / "x.npy", 3) * 65535), values)


def test_complex_numbers_in_a_tiff_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((4, 4), np.complex64))
    with pytest.raises(UserError, match=r"x\.tif.*complex64.*real numbers"):
        unit(tmp_path / "x.tif", 1, range=(0.0, 1.0))


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", ["EXIF", "XMP"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_is_turned_upright_wherever_it_says_so(before, kind, dtype, tmp_path):
    values, exif = sixteen(3, 5).astype(dtype), Image.Exif()
    exif[0x0112] = 6
    png = imagecodecs.png_encode(values)
    if kind == "EXIF":
        png = with_chunk(png, before, b"eXIf", exif.tobytes()[6:])
    else:
        text = b"XML:com.adobe.xmp" + bytes(5) + b'<x tiff:Orientation="6"/>'
        png = with_chunk(png, before, b"iTXt", text)
    (tmp_path / "x.png").write_bytes(png)
    assert picture_size(tmp_path / "x.png") == (3, 5)
    got = unit(tmp_path / "x.png", 1).reshape(5, 3)
    scale = 1 if dtype == np.uint8 else 65535
    assert np.array_equal(np.rint(got * scale), np.rot90(values, -1))


def test_the_size_of_a_png_is_read_from_its_header(tmp_path, monkeypatch):
    Image.new("RGB", (5, 3)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image.Image, "load", lambda picture: pytest.fail("decodes the pixels"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", Image.Image.load)
    assert picture_size(tmp_path / "x.png") == (5, 3)


def test_libpng_does_not_write_between_the_progress_bars(tmp_path, caplog):
    png = imagecodecs.png_encode(sixteen(3, 5))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    body = b"x\0\0" + zlib.compress(profile)  # of RGB colours, which libpng refuses in grey
    (tmp_path / "x.png").write_bytes(with_chunk(png, b"IDAT", b"iCCP", body))
    unit(tmp_path / "x.png", 1)
    assert not caplog.records


@pytest.mark.parametrize("gap", [b"\n", b" ", b"\t", b"\n# a comment\n"])
def test_any_white_space_ends_the_header_of_a_ppm(gap, tmp_path):
    values = sixteen(4, 6, 3)
    values[0, 0] = ord("\n")
    header = gap.join([b"P6", b"6", b"4", b"65535"]) + gap[:1]
    (tmp_path / "x.ppm").write_bytes(header + values.astype(">u2").tobytes())
    assert np.array_equal(np.rint(unit(tmp_path / "x.ppm", 3) * 65535), values)
    (tmp_path / "x.ppm").write_bytes(b"P6\n6\n")
    with pytest.raises(UserError, match="header is damaged"):
        open_picture(tmp_path / "x.ppm")


def test_a_set_of_one_value_gets_no_advice_that_no_flag_takes():
    noticed = notes.Notes()
    noticed.use("A", notes.Use((0, 255), 1.0, 1.0))
    assert noticed.summary() == ["all values of the pictures of side A are 255"]


def test_the_type_of_a_folder_is_that_of_its_first_good_picture(tmp_path):
    for name in ("z.png", "y.tif"):
        write(tmp_path / name, sixteen(3, 3))
    for name in "abcdefghijklmnopqrstuvw":
        (tmp_path / f"{name}.png").write_bytes(b"broken")
    assert kind_in(tmp_path) == "uint16 0,65535 .tif"


def test_a_fourth_channel_does_not_darken_colours_in_resizing(tmp_path):
    values = RANDOM.integers(64, 192, (16, 16, 4)).astype(np.uint8)
    values[..., 3] = np.where(RANDOM.random((16, 16)) > 0.5, 255, 0)
    write(tmp_path / "x.png", values)
    halved = Resize("resize_and_crop", 8, 8)
    whole = np.asarray(halved(read_picture(tmp_path / "x.png").ready(Side("A", 4))))
    colours = Image.fromarray(values[..., :3]).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(whole[..., :3], np.asarray(colours))


def with_height(tif: bytes, height: int) -> bytes:
    """A TIFF that claims to be so high."""
    with tifffile.TiffFile(io.BytesIO(tif)) as file:
        at = file.pages[0].tags["ImageLength"].valueoffset
    return tif[:at] + struct.pack("<I", height) + tif[at + 4 :]


def lying(kind: str, path) -> bytes:
    """A file whose header is not that of its pixels."""
    if kind == "late.png":  # libpng would skip this chunk, and find another header
        return b"\x89PNG\r\n\x1a\n\0\0\0\x0daaaa" + struct.pack(">II", 4, 4) + bytes(9)
    write(path, sixteen(8, 8, 3))
    content = path.read_bytes()
    if kind == "other.jp2":
        at = content.index(b"ihdr") + 4
        return content[:at] + struct.pack(">I", 4) + content[at + 4 :]
    return with_height(content, {"none.tif": 0, "more.tif": 99}[kind])


@pytest.mark.parametrize("kind", ["none.tif", "more.tif", "other.jp2", "late.png"])
def test_a_header_that_lies_about_the_size_is_refused(kind, tmp_path):
    path = tmp_path / kind
    path.write_bytes(lying(kind, path))
    with pytest.raises(UserError, match=f"{kind}: cannot be read as a picture"):
        read_picture(path)


def test_no_size_is_none_of_a_picture(tmp_path):
    """train.py looks at sizes before it reads any picture."""
    path = tmp_path / "none.tif"
    path.write_bytes(lying(path.name, path))
    with pytest.raises(UserError, match="no pixels"):
        picture_size(path)


def test_many_channels_count_for_more_pixels(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, 10, 400), np.uint8))
    with pytest.raises(UserError, match=r"10x10 pixels of 400 channels .*max_megapixels"):
        read_picture(tmp_path / "x.npy", 0.005)
    assert read_picture(tmp_path / "x.npy", 0.01).size == (10, 10)


def test_libraries_print_nothing_about_damaged_pictures(tmp_path):
    """In a process of its own: libtiff writes to its standard error, past Python."""
    fax, tif = io.BytesIO(), io.BytesIO()
    Image.fromarray(RANDOM.random((40, 40)) > 0.5).save(fax, "tiff", compression="group4")
    content = fax.getvalue()
    (tmp_path / "fax.tif").write_bytes(content[:20] + bytes(20) + content[40:])
    tifffile.imwrite(tif, sixteen(8, 8), description="x" * 99)
    with tifffile.TiffFile(io.BytesIO(tif.getvalue())) as file:
        at = file.pages[0].tags["ImageDescription"].offset + 4
    content = tif.getvalue()
    (tmp_path / "tags.tif").write_bytes(content[:at] + b"\xff" * 8 + content[at + 8 :])
    code = "import sys\nfrom data.image_io import read_picture\nfrom util.errors import UserError\n"
    code += "for path in sys.argv[1:]:\n    try:\n        read_picture(path)\n"
    code += "    except UserError:\n        pass\nprint('seen', file=sys.stderr)"
    words = [sys.executable, "-c", code, *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "seen\n")


@pytest.mark.skipif(os.name == "nt", reason="has no such shell")
def test_pictures_are_read_without_a_standard_error(tmp_path):
    """As in a window program that calls this one."""
    Image.new("RGB", (5, 3)).save(tmp_path / "x.png")
    code = (
        "import sys; from data.image_io import read_picture; print(read_picture(sys.argv[1]).size)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "x.png")]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "(5, 3)\n")
