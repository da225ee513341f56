"""Photographs keep what a network leaves alone: pixels to the bit, and what their files tell."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image, TiffImagePlugin

from data.image_io import open_picture
from data.photo.files import photoshop, tif
from data.photo.metadata import Metadata
from data.photo.photo import Photo
from data.photo.translate import NATIVE, SCALED, TRANSFER, FreePaths, Translator
from tests.unit.test_profiles import ADOBE as PRIMARIES
from tests.unit.test_profiles import ADOBE_RGB, CURVES, profile_of

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" dc:title="sea"/></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x05hello"
PORTRAIT = Path(__file__).parents[2] / "datasets/portrait_retouch/trainB/collins.jpg"
SIZE = 37, 23  # (width, height) as stored
KINDS = ["rgb.png", "rgba.png", "grey.png", "palette.png", "rgb16.png", "rgba16.png", "grey16.png"]
KINDS += ["rgb.tif", "rgba.tif", "rgb16.tif", "grey16.tif", "float.tif", "lossless.webp"]
WAYS = [NATIVE, SCALED, TRANSFER]


def options(**changed: object) -> argparse.Namespace:
    usual = {
        **dict(preprocess="resize_and_crop", load_size=37, crop_size=37, size_multiple=8),
        **dict(size_minimum=8, max_megapixels=10.0, netG="resnet_6blocks", direction="AtoB"),
        **dict(input_nc=3, output_nc=3, range_A=None, range_B=None, isTrain=False),
    }
    return argparse.Namespace(**{**usual, **changed})


def translator(way: str, generate=lambda x: x.clone(), **changed: object) -> Translator:
    return Translator(options(**changed), generate, way)


def values_for(kind: str) -> np.ndarray:
    stem = kind.partition(".")[0]
    channels = {"rgba": 4, "grey": 1}.get(stem.removesuffix("16"), 3)
    drawn = np.random.default_rng(1).integers(0, 65536, (SIZE[1], SIZE[0], channels))
    if stem == "float":
        return (drawn / 65535).astype(np.float32)
    return drawn.astype(np.uint16) if "16" in stem else (drawn >> 8).astype(np.uint8)


def exif(orientation: int = 1) -> Image.Exif:
    found = Image.Exif()
    found[ExifTags.Base.Orientation], found[ExifTags.Base.Make] = orientation, "Maker"
    found[ExifTags.Base.Copyright] = "A. Photographer"
    found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.005
    found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = SIZE[0]
    found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 1.0, 2.0)
    return found


def write(path: Path, values: np.ndarray) -> Path:
    stored = values[..., 0] if values.shape[2] == 1 else values
    if path.stem == "palette":
        Image.fromarray(stored).quantize(64).save(path)
    elif values.dtype == np.uint8:
        more = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
        Image.fromarray(stored).save(path, **more)
    elif path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(stored))
    else:
        alpha = ["unassalpha"] if values.shape[2] == 4 else None
        photometric = "minisblack" if values.shape[2] == 1 else "rgb"
        tifffile.imwrite(path, stored, extrasamples=alpha, photometric=photometric)
    return path


def read(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        return tifffile.imread(path)
    if path.suffix == ".png" and path.read_bytes()[24] == 16:
        return imagecodecs.png_decode(path.read_bytes())
    return np.asarray(Image.open(path).convert("RGB") if "P" in Image.open(path).mode else
                      Image.open(path))  # fmt: skip


def passed(source: Path, by: Translator, target: Path, kind: str = "keep") -> list[str]:
    """Write what a translator makes of a file; returns the notes."""
    photo, kind = by(by.open(source)).writable_as(kind)
    return photo.write(target, kind, 95)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_network_leaves_alone_stays_to_the_bit(kind, way, tmp_path) -> None:
    source = write(tmp_path / kind, values_for(kind))
    target = tmp_path / f"result{source.suffix}"
    assert passed(source, translator(way), target) == []
    before, after = read(source), read(target)
    assert after.dtype == before.dtype
    assert np.array_equal(after, before)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("profile", [b"", ADOBE_RGB])
def test_a_jpeg_stays_nearly_as_it_is(profile, way, tmp_path) -> None:
    portrait = Image.open(PORTRAIT).crop((150, 100, 250, 180))
    portrait.save(tmp_path / "a.jpg", quality=97, subsampling=0, icc_profile=profile)
    passed(tmp_path / "a.jpg", translator(way, load_size=100), tmp_path / "b.jpg")
    before, after = (np.asarray(Image.open(tmp_path / f"{x}.jpg")).astype(float) for x in "ab")
    assert 10 * np.log10(255**2 / ((before - after) ** 2).mean()) >= 45


@pytest.mark.parametrize("file_format", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_metadata_outlive_the_change(file_format, orientation, tmp_path) -> None:
    source = tmp_path / f"a.{file_format}"
    picture = Image.fromarray(values_for("rgb"))
    told = {"exif": exif(orientation), "icc_profile": ADOBE_RGB, "dpi": (300, 300)}
    if file_format == "tif":
        more = TiffImagePlugin.ImageFileDirectory_v2()
        more[700], more[33723] = XMP, IPTC
        for tag, value in exif(orientation).items():
            more[tag] = value
        more[34665] = dict(exif().get_ifd(ExifTags.IFD.Exif))
        more[34853] = dict(exif().get_ifd(ExifTags.IFD.GPSInfo))
        told = {"icc_profile": ADOBE_RGB, "dpi": (300, 300), "tiffinfo": more}
    elif file_format == "png":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        told["pnginfo"] = text
    else:
        told["xmp"] = XMP
    if file_format == "jpg":
        told["extra"] = photoshop(IPTC)
    picture.save(source, **told)

    passed(source, translator(NATIVE), tmp_path / f"b.{file_format}")
    result = Image.open(tmp_path / f"b.{file_format}")
    turned = SIZE[::-1] if orientation == 6 else SIZE
    assert result.size == turned
    assert result.info["icc_profile"] == ADOBE_RGB
    found = result.getexif()
    assert found.get(ExifTags.Base.Orientation, 1) == 1
    assert (found[ExifTags.Base.Make], found[ExifTags.Base.Copyright]) == (
        "Maker",
        "A. Photographer",
    )
    photograph = found.get_ifd(ExifTags.IFD.Exif)
    assert photograph[ExifTags.Base.ExposureTime] == 0.005
    assert (
        photograph[ExifTags.Base.ExifImageWidth],
        photograph[ExifTags.Base.ExifImageHeight],
    ) == turned
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (48.0, 1.0, 2.0)
    xmp = result.info["xmp"] if file_format != "tif" else result.tag_v2[700]
    assert b'dc:title="sea"' in bytes(xmp) and b'Orientation="6"' not in bytes(xmp)
    if file_format != "webp":  # which has no place for it
        assert [round(x) for x in result.info["dpi"]] == [300, 300]
    if file_format == "jpg":
        assert result.info["photoshop"][0x0404] == IPTC
        assert result.layer[0][1:3] == (1, 1), "its colours are not subsampled"
    if file_format == "tif":
        assert bytes(result.tag_v2[33723]) == IPTC


def test_the_thumbnail_of_the_unchanged_picture_is_dropped(tmp_path) -> None:
    small = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(small, "JPEG")
    # Pillow writes no thumbnails: IFD0 with one tag, and IFD1 that points to the JPEG at its end.
    tags = [(0x0103, 3, 1, 6), (0x0201, 4, 1, 68), (0x0202, 4, 1, len(small.getvalue()))]
    entry = lambda t: b"".join(  # noqa: E731
        n.to_bytes(size, "little") for n, size in zip(t, (2, 2, 4, 4), strict=True)
    )
    head = b"II*\0\x08\0\0\0" + b"\1\0" + entry((0x0112, 3, 1, 1)) + (26).to_bytes(4, "little")
    content = head + b"\3\0" + b"".join(map(entry, tags)) + bytes(4)
    data = b"Exif\0\0" + content + small.getvalue()
    Image.fromarray(values_for("rgb")).save(tmp_path / "a.jpg", exif=data)
    assert Image.open(tmp_path / "a.jpg").getexif().get_ifd(ExifTags.IFD.IFD1)
    passed(tmp_path / "a.jpg", translator(NATIVE), tmp_path / "b.jpg")
    assert not Image.open(tmp_path / "b.jpg").getexif().get_ifd(ExifTags.IFD.IFD1)
    assert small.getvalue() not in (tmp_path / "b.jpg").read_bytes()


@pytest.mark.parametrize("kind", ["rgb.png", "rgb16.tif"])
@pytest.mark.parametrize("curve", ["gamma", "para 3", "light black"])
def test_the_change_is_carried_into_the_colours_of_the_file(curve, kind, tmp_path) -> None:
    """What a network changes looks, in sRGB, as it has made it."""
    profile = profile_of(PRIMARIES, CURVES[curve])
    values = values_for(kind)
    values = values // 8 + values[..., :1] // 4 + np.iinfo(values.dtype).max // 4
    source = write(tmp_path / kind, values)
    if kind.endswith("png"):
        Image.open(source).save(source, icc_profile=profile)
    else:
        tifffile.imwrite(source, values, iccprofile=profile, photometric="rgb")
    half = translator(NATIVE, lambda x: torch.cat([x[..., :20], 0.9 * x[..., 20:]], -1))
    target = tmp_path / f"b{source.suffix}"
    passed(source, half, target)
    assert np.array_equal(read(source)[:, :20], read(target)[:, :20])
    before, after = (half.open(path).seen(half.side) for path in (source, target))
    wanted = 0.9 * before[:, :, 20:]
    assert (after[:, :, 20:] - wanted).abs().max() * 127.5 <= (2.5 if "16" not in kind else 0.3)


def test_cmyk_becomes_srgb_with_a_note(tmp_path) -> None:
    cmyk = Image.fromarray(values_for("rgb")).convert("CMYK")
    cmyk.save(tmp_path / "a.tif")
    assert passed(tmp_path / "a.tif", translator(NATIVE), tmp_path / "b.tif") == [
        "its CMYK colours become sRGB"
    ]
    result = Image.open(tmp_path / "b.tif")
    assert result.mode == "RGB" and result.info["icc_profile"]
    assert np.array_equal(np.asarray(result), np.asarray(open_picture(tmp_path / "a.tif")))


@pytest.mark.parametrize("name, note", [("a.gif", "png"), ("a.bmp", "png")])
def test_other_formats_are_written_as_png_with_a_note(name, note, tmp_path) -> None:
    Image.fromarray(values_for("rgb")).save(tmp_path / name)
    by = translator(NATIVE)
    photo, kind = by(by.open(tmp_path / name)).writable_as("keep")
    assert kind == note and "written as png" in photo.notes[0]


def test_a_grey_photograph_stays_grey_unless_the_network_colours_it(tmp_path) -> None:
    source = write(tmp_path / "grey.png", values_for("grey.png"))
    passed(source, translator(NATIVE, lambda x: 0.8 * x), tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").mode == "L"
    red = torch.tensor([0.3, 0.0, -0.3]).view(1, 3, 1, 1)
    passed(source, translator(NATIVE, lambda x: x + red), tmp_path / "c.png")
    assert Image.open(tmp_path / "c.png").mode == "RGB"


def test_results_with_other_channels_are_all_there_is(tmp_path) -> None:
    source = write(tmp_path / "rgba.png", values_for("rgba.png"))
    by = translator(TRANSFER, lambda x: x.mean(1, keepdim=True), output_nc=1)
    passed(source, by, tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").mode == "LA", "with its transparency"


@pytest.mark.parametrize(
    "kind, wanted", [("rgb16.png", "jpg"), ("float.tif", "png"), ("float.tif", "webp")]
)
def test_a_format_that_holds_less_is_told(kind, wanted, tmp_path) -> None:
    source = write(tmp_path / kind, values_for(kind))
    notes = passed(source, translator(NATIVE), tmp_path / f"b.{wanted}", wanted)
    assert notes and "bits of" in notes[0]
    ours = open_picture(tmp_path / f"b.{wanted}")
    assert ours.size == SIZE


def test_twelve_bits_are_written_as_sixteen(tmp_path) -> None:
    values = values_for("grey16") >> 4
    text = f"P5 {SIZE[0]} {SIZE[1]} 4095\n".encode()
    (tmp_path / "a.ppm").write_bytes(text + values.astype(">u2").tobytes())
    by = translator(NATIVE, input_nc=1, output_nc=1)
    photo, kind = by(by.open(tmp_path / "a.ppm")).writable_as("keep")
    assert (kind, photo.notes[-1]) == ("png", "its 0 to 4095 become 0 to 65535")
    photo.write(tmp_path / "b.png", kind, 95)
    assert np.abs(read(tmp_path / "b.png") - values[..., 0] * (65535 / 4095)).max() <= 0.5


def test_transfer_keeps_grain_where_the_network_changes_nothing(tmp_path) -> None:
    """A network that darkens one half: there all is darker, elsewhere no bit changes."""
    values = np.random.default_rng(0).integers(60, 200, (200, 200, 3)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")

    def darken(x: torch.Tensor) -> torch.Tensor:
        assert x.shape[-2:] == (40, 40), "the network sees the size of its training"
        x = x.clone()
        x[..., :20] -= 0.2
        return x

    for way in (TRANSFER, SCALED):
        passed(tmp_path / "a.png", translator(way, darken, load_size=40), tmp_path / f"{way}.png")
    after = np.asarray(Image.open(tmp_path / "transfer.png")).astype(int)
    assert np.array_equal(after[:, 120:], values[:, 120:])
    assert abs((values[:, :80] - after[:, :80]).mean() - 0.2 * 127.5) < 1
    scaled = np.asarray(Image.open(tmp_path / "scaled.png")).astype(int)
    assert np.abs(scaled[:, 120:] - values[:, 120:]).mean() > 5


@pytest.mark.parametrize(
    "preprocess, size, seen",
    [
        ("resize_and_crop", (600, 400), (37, 25)),
        ("resize_and_crop", (20, 30), (25, 37)),
        ("scale_width", (100, 300), (37, 111)),
        ("scale_width_and_crop", (100, 50), (37, 18)),
        ("crop", (600, 400), (600, 400)),
        ("none", (600, 400), (600, 400)),
    ],
)
def test_the_network_sees_whole_photographs_in_their_shape(preprocess, size, seen) -> None:
    shapes = []

    def look(x: torch.Tensor) -> torch.Tensor:
        shapes.append((x.shape[-1], x.shape[-2]))
        return x

    by = translator(SCALED, look, preprocess=preprocess)
    picture = torch.rand(3, size[1], size[0]) * 2 - 1
    assert by.result(picture).shape == picture.shape
    assert by.seen_size(size) == seen
    assert shapes == [tuple(-(-side // 8) * 8 for side in seen)]


def test_no_two_results_have_one_name(tmp_path) -> None:
    paths = FreePaths(lambda path: path.name == "taken.jpg")
    given = [("x", "a.jpg"), ("x", "b.png"), ("X", "c.jpg"), ("taken", "t.JPG"), ("taken", "t.jpg")]
    kinds = ["jpg", "png", "jpg", "jpg", "jpg"]
    found = [
        paths(tmp_path / stem, kind, Path(source)).name
        for (stem, source), kind in zip(given, kinds, strict=True)
    ]
    assert found == ["x.jpg", "x_2.png", "X_3.jpg", "taken.JPG", "taken_2.jpg"]


def test_an_animation_is_told_of(tmp_path) -> None:
    frames = [Image.fromarray(values_for("rgb")), Image.new("RGB", SIZE, "red")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert Photo.open(tmp_path / "a.webp").notes == ["only the first of its 2 pictures is used"]


def test_texts_of_exif_keep_their_bytes(tmp_path) -> None:
    """Which often are UTF-8, though the standard knows ASCII alone."""
    text = "© 2026 Müller 작가"
    told = Image.Exif()
    told[ExifTags.Base.Copyright] = text
    raw = told.tobytes()
    assert b"?" in raw, "what Pillow makes of it"
    encoded = text.encode()
    head = b"Exif\0\0II*\0\x08\0\0\0\1\0"
    entry = (0x8298).to_bytes(2, "little") + (2).to_bytes(2, "little")
    entry += (len(encoded) + 1).to_bytes(4, "little") + (26).to_bytes(4, "little")
    data = head + entry + bytes(4) + encoded + b"\0"
    for ending in ("jpg", "png", "webp", "tif"):
        source = tmp_path / "a.jpg"
        Image.fromarray(values_for("rgb")).save(source, exif=data)
        target = tmp_path / f"b.{ending}"
        passed(source, translator(NATIVE), target, "keep" if ending == "jpg" else ending)
        assert encoded in target.read_bytes()


def test_the_interoperability_of_exif_is_copied(tmp_path) -> None:
    told = exif()
    told.get_ifd(ExifTags.IFD.Exif)[40965] = {1: "R98", 2: b"0100"}
    Image.fromarray(values_for("rgb")).save(tmp_path / "a.jpg", exif=told)
    assert Image.open(tmp_path / "a.jpg").getexif().get_ifd(40965)[1] == "R98"
    for ending in ("jpg", "png"):
        target = tmp_path / f"b.{ending}"
        passed(tmp_path / "a.jpg", translator(NATIVE), target, ending)
        assert Image.open(target).getexif().get_ifd(40965)[1] == "R98"


def test_premultiplied_colours_look_the_same(tmp_path) -> None:
    values = values_for("rgba16")
    values[..., :3] = values[..., :3].astype(float) * (values[..., 3:] / 65535)
    tifffile.imwrite(tmp_path / "a.tif", values, extrasamples=["assocalpha"], photometric="rgb")
    notes = passed(tmp_path / "a.tif", translator(NATIVE), tmp_path / "b.tif")
    assert notes == ["its colours are no longer multiplied by its transparency"]
    by = translator(NATIVE)
    before, after = (by.open(tmp_path / f"{x}.tif").seen(by.side) for x in "ab")
    assert (before - after).abs().max() < 1e-3


def test_changes_of_what_is_half_transparent_are_seen_in_full(tmp_path) -> None:
    values = np.full((8, 8, 4), (200, 100, 120, 128), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    by = translator(NATIVE, lambda x: x - 0.2)
    passed(tmp_path / "a.png", by, tmp_path / "b.png")
    before, after = (by.open(tmp_path / f"{x}.png").seen(by.side) for x in "ab")
    assert ((before - after) - 0.2).abs().max() * 127.5 <= 1


def test_an_animation_without_loss_stays_without(tmp_path) -> None:
    frames = [Image.fromarray(values_for("rgb")), Image.new("RGB", SIZE, "red")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    passed(tmp_path / "a.webp", translator(NATIVE), tmp_path / "b.webp")
    result = np.asarray(Image.open(tmp_path / "b.webp").convert("RGB"))
    assert np.array_equal(result, np.asarray(Image.open(tmp_path / "a.webp").convert("RGB")))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_black_and_white_comes_out_grey(ending, tmp_path) -> None:
    picture = Image.fromarray(values_for("grey")[..., 0] > 127)
    picture.save(tmp_path / f"a.{ending}")
    passed(tmp_path / f"a.{ending}", translator(NATIVE), tmp_path / f"b.{ending}")
    result = Image.open(tmp_path / f"b.{ending}")
    assert result.mode == "L" and np.array_equal(np.asarray(result), np.asarray(picture) * 255)


def test_any_text_of_the_camera_goes_into_a_tiff() -> None:
    told = exif()
    told[ExifTags.Base.Software], told[ExifTags.Base.Artist] = "Entwickler für Größe", "Žofie"
    content = tif(np.zeros((4, 4, 3), np.uint8), Metadata(told), False)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = file.pages[0].tags
        assert [tags[name].value for name in ("Software", "Artist")] == [told[305], told[315]]
