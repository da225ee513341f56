"""Colours of a picture with a profile arrive in sRGB, as LittleCMS and the standards have them."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from data.image_io import open_picture, read_picture
from data.reading import notes
from data.reading.picture import Side

RGB = Side("A", 3)


def fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))


def profile_of(primaries: dict[str, tuple[float, float, float]], curve: bytes) -> bytes:
    """A display profile of a matrix and three equal curves."""
    tags = {f"{c}XYZ".encode(): b"XYZ \0\0\0\0" + fixed(*xyz) for c, xyz in primaries.items()}
    tags |= {f"{c}TRC".encode(): curve for c in "rgb"}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0x\0\0\0"
    directory, body, at = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        directory += name + struct.pack(">II", at + len(body), len(content))
        body += content
    header = struct.pack(">II", at + len(body), 0) + b"\x02\x40\0\0" + b"mntrRGB XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += fixed(0.9642, 1, 0.8249) + bytes(48)
    return header + struct.pack(">I", len(tags)) + directory + body


ADOBE = {"r": (0.60974, 0.31111, 0.01947), "g": (0.20528, 0.62567, 0.06087)}
ADOBE["b"] = (0.14919, 0.06322, 0.74457)
GAMMA = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.19921875 * 256))
TABLE = (np.linspace(0, 1, 1024) ** 1.8 * 65535).round().astype(">u2")
CURVES = {
    "gamma": GAMMA,
    "table": b"curv\0\0\0\0" + struct.pack(">I", 1024) + TABLE.tobytes(),
    "linear": b"curv\0\0\0\0" + struct.pack(">I", 0),
    "para 0": b"para\0\0\0\0\0\0\0\0" + fixed(1.8),
    "para 1": b"para\0\0\0\0\0\1\0\0" + fixed(2.0, 1.1, -0.1),
    "para 2": b"para\0\0\0\0\0\2\0\0" + fixed(2.0, 1.1, -0.1, 0.0),
    "para 3": b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "light black": b"para\0\0\0\0\0\1\0\0" + fixed(2.4, 1 / 1.1, 0.1 / 1.1),
    "lighter black": b"para\0\0\0\0\0\2\0\0" + fixed(2.4, 0.9, 0.05, 0.02),
    "para 4": b"para\0\0\0\0\0\4\0\0" + fixed(2.2, 0.9, 0.1, 0.3, 0.04, 0.0, 0.0),
}
ADOBE_RGB = profile_of(ADOBE, GAMMA)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(autouse=True)
def nothing_noticed():
    notes.take()


def colours(bits: int = 8) -> np.ndarray:
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(0).integers(0, 2**bits, (24, 20, 3)).astype(dtype)


def by_lcms(image: Image.Image, profile: bytes) -> np.ndarray:
    """In sRGB, by Pillow alone."""
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    done = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), intent, "RGB", flags=flags
    )
    return np.asarray(done)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp"])
def test_a_profile_is_converted_whatever_the_format(ending, tmp_path):
    image = Image.fromarray(colours())
    image.save(tmp_path / f"x{ending}", icc_profile=ADOBE_RGB)
    stored = Image.open(tmp_path / f"x{ending}").convert("RGB")
    expected = by_lcms(stored, ADOBE_RGB)
    assert np.abs(expected.astype(int) - np.asarray(stored)).mean() > 5
    assert np.array_equal(np.asarray(open_picture(tmp_path / f"x{ending}")), expected)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "CMYK"])
def test_a_profile_is_converted_whatever_the_mode(mode, tmp_path):
    image = Image.fromarray(colours()).convert("RGB")
    grey = mode.startswith("L")
    cmyk = mode == "CMYK"
    if grey:
        curve = ImageCms.ImageCmsProfile(io.BytesIO(ADOBE_RGB))  # an RGB profile does not fit
        assert curve.profile.xcolor_space == "RGB "
    path = tmp_path / ("x.tif" if cmyk else "x.png")
    image.convert(mode).save(path, icc_profile=ADOBE_RGB)
    stored = Image.open(path)
    opened = np.asarray(open_picture(path))
    if grey or cmyk:
        assert np.array_equal(opened, np.asarray(stored.convert("RGB")))
        (line,) = notes.take().lines.values()
        assert str(path) in line and "profile" in line
    else:
        assert np.array_equal(opened, by_lcms(stored.convert("RGB"), ADOBE_RGB))


@pytest.mark.parametrize("file", ["x.png", "deep.tif"])
def test_srgb_keeps_its_pixels(file, tmp_path):
    if file == "x.png":
        Image.fromarray(colours()).save(tmp_path / file, icc_profile=SRGB)
        assert np.array_equal(np.asarray(open_picture(tmp_path / file)), colours())
    else:
        tifffile.imwrite(tmp_path / file, colours(16), photometric="rgb", iccprofile=SRGB)
        unit = read_picture(tmp_path / file).ready(RGB)
        assert np.array_equal(np.rint(unit * 65535), colours(16))
    assert not notes.take().lines


@pytest.mark.parametrize("profile", [b"not a profile", SRGB[:300], b"\0" * 200])
@pytest.mark.parametrize("bits", [8, 16])
def test_an_unusable_profile_is_told_once_and_changes_nothing(bits, profile, tmp_path):
    for name in ("a", "b"):
        if bits == 8:
            Image.fromarray(colours()).save(tmp_path / f"{name}.png", icc_profile=profile)
            opened = np.asarray(open_picture(tmp_path / f"{name}.png"))
        else:
            path = tmp_path / f"{name}.tif"
            tifffile.imwrite(path, colours(16), photometric="rgb", iccprofile=profile)
            opened = np.rint(read_picture(path).ready(RGB) * 65535)
        assert np.array_equal(opened, colours(bits))
    (line,) = notes.take().lines.values()
    assert "a." in line and "\n" not in line


@pytest.mark.parametrize("curve", CURVES)
def test_sixteen_bits_are_converted_without_loss(curve, tmp_path):
    """As LittleCMS converts 16 bits; it rounds the entries of a table, which counts in the dark."""
    profile = profile_of(ADOBE, CURVES[curve])
    fine = colours(16)
    tifffile.imwrite(tmp_path / "x.tif", fine, photometric="rgb", iccprofile=profile)
    png = imagecodecs.png_encode(fine)
    at = png.index(b"IDAT") - 4
    body = b"iCCPx\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "x.png").write_bytes(png[:at] + chunk + png[at:])

    of_tiff, of_png = (read_picture(tmp_path / f"x.{e}").ready(RGB) for e in ("tif", "png"))
    assert np.array_equal(of_tiff, of_png)
    exact = 0x2000 | 0x0100  # black point compensation, and no approximations
    expected = imagecodecs.cms_transform(
        fine, profile, SRGB, colorspace="rgb", intent=1, flags=exact
    )
    assert np.abs(of_tiff * 65535 - expected).max() <= {"table": 12, "lighter black": 2}.get(
        curve, 1
    )


@pytest.mark.parametrize(
    "curve, why",
    [
        (b"para\0\0\0\0\0\1\0\0" + fixed(2.4, 0, 0.1), "damaged"),
        (b"para\0\0\0\0\0\11\0\0" + fixed(2), "damaged"),
        (b"curv\0\0\0\0" + struct.pack(">I", 99), "damaged"),
        (b"para\0\0\0\0\0\0\0\0" + fixed(-1), "not finite"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_curves_that_cannot_be_used_are_told_in_plain_words(curve, why, tmp_path):
    profile = profile_of(ADOBE, curve)
    tifffile.imwrite(tmp_path / "x.tif", colours(16), photometric="rgb", iccprofile=profile)
    unit = read_picture(tmp_path / "x.tif").ready(RGB)
    assert np.array_equal(np.rint(unit * 65535), colours(16))
    (line,) = notes.take().lines.values()
    assert (
        line.startswith(f"{tmp_path / 'x.tif'}: its colour profile is not used: it") and why in line
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_a_jpeg_2000_has_a_profile_too(bits, tmp_path):
    plain = imagecodecs.jpeg2k_encode(colours(bits), level=0, reversible=True)
    header, colr = plain.index(b"jp2h") - 4, plain.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", plain, header)
    (old,) = struct.unpack_from(">I", plain, colr)
    box = struct.pack(">I", 11 + len(ADOBE_RGB)) + b"colr\2\0\0" + ADOBE_RGB
    whole = bytearray(plain[:colr] + box + plain[colr + old :])
    struct.pack_into(">I", whole, header, length - old + len(box))
    (tmp_path / "x.jp2").write_bytes(whole)
    got = np.asarray(read_picture(tmp_path / "x.jp2").ready(RGB))
    if bits == 8:
        assert np.array_equal(got, by_lcms(Image.fromarray(colours()), ADOBE_RGB))
    else:
        tifffile.imwrite(tmp_path / "x.tif", colours(16), photometric="rgb", iccprofile=ADOBE_RGB)
        assert np.array_equal(got, read_picture(tmp_path / "x.tif").ready(RGB))


def test_adobe_rgb_by_its_formula(tmp_path):
    """Adobe RGB (1998), section 4.3: gamma 2.19921875; sRGB by IEC 61966-2-1."""
    value = 0.4
    fine = np.full((4, 4, 3), round(value * 65535), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", fine, photometric="rgb", iccprofile=ADOBE_RGB)
    linear = (round(value * 65535) / 65535) ** 2.19921875
    expected = 1.055 * linear ** (1 / 2.4) - 0.055  # a neutral grey stays one
    assert np.abs(read_picture(tmp_path / "x.tif").ready(RGB) - expected).max() < 3e-4


def test_a_table_profile_of_deep_pictures_is_told(tmp_path):
    tagged = ADOBE_RGB.replace(b"wtpt", b"A2B0")
    tifffile.imwrite(tmp_path / "x.tif", colours(16), photometric="rgb", iccprofile=tagged)
    unit = read_picture(tmp_path / "x.tif").ready(RGB)
    assert np.array_equal(np.rint(unit * 65535), colours(16))
    (line,) = notes.take().lines.values()
    assert "matrix and curves" in line
