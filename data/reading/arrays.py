"""Files that Pillow would read with 8 bits or not at all, as arrays with the values of the file.

PNG, TIFF, JPEG 2000 and PPM with more than 8 bits, TIFF with other types or numbers of samples, and
NumPy's .npy and .npz.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.reading.notes import Range
from data.reading.pillow import (
    NO_PIXELS,
    PNG,
    boxes,
    jp2_profile,
    opened,
    orientation,
    png_chunks,
)
from util.packages import needed
from util.util import range_of

NUMBERS = "biuf"  # kinds of types in NumPy
EIGHT_BITS = ".jpg .jpeg .jfif .gif .bmp .webp .avif .heic .heif".split()
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by EXIF orientation
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


class ArrayFile(ABC):
    """The header of a file, and its values.

    Attributes:
        shape: (H, W, C) as stored, before it is turned upright.
        dtype: the type of its values.
        range: the values of black and white as far as the file tells, or None.
        has_alpha: whether the last channel is transparency.
        num_spare: how many of the last channels are no colours, and nobody knows what else.
        premultiplied: whether the colours are multiplied by it.
        orientation: by EXIF.
        profile: a colour profile, or nothing.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    range: Range | None
    has_alpha = False
    num_spare = 0
    premultiplied = False
    orientation = 1
    profile = b""

    def __init__(self, path: Path):
        self.path = path

    def serves(self) -> bool:
        """Whether the file should be read here, and not by Pillow."""
        return True

    @abstractmethod
    def decode(self) -> np.ndarray:
        """(H, W, C), or (H, W) for a single channel, as stored."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        height, width = self.shape[:2]
        return (height, width) if self.orientation >= 5 else (width, height)

    def values(self) -> np.ndarray:
        """(H, W, C), upright."""
        values = self.decode()
        values = values if values.ndim == 3 else values[..., None]
        height, width, *_ = self.shape
        if values.shape[:2] != (height, width):
            raise ValueError(f"its values do not fill the {width}x{height} pixels of its header")
        return TURNS.get(self.orientation, lambda a: a)(values)


class PngFile(ArrayFile):
    """A PNG with 16 bits per channel, of which Pillow keeps 8 in colour."""

    def __init__(self, path: Path):
        super().__init__(path)
        with open(path, "rb") as file:
            header = file.read(26)
        if header[12:16] != b"IHDR":  # libpng would find another one further on
            raise ValueError("its header is damaged")
        width, height, self.bits, colours = struct.unpack(">IIBB", header[16:26])
        self.shape = height, width, {0: 1, 2: 3, 4: 2, 6: 4}.get(colours, 1)
        self.dtype, self.range = np.dtype(np.uint16), (0.0, 65535.0)
        self.has_alpha = colours in (4, 6)
        if self.serves():
            with opened(path) as picture:
                self.profile = picture.info.get("icc_profile") or b""
                self.orientation = orientation(picture, path)

    def serves(self) -> bool:
        return self.bits == 16

    def decode(self) -> np.ndarray:
        # Of other chunks, such as a profile that it dislikes, libpng complains for each file.
        chunks = png_chunks(self.path, b"IHDR", b"tRNS", b"IDAT", b"IEND")
        values = needed("imagecodecs", "a PNG of 16 bits").png_decode(PNG + b"".join(chunks))
        # A colour that stands for transparency may come as a further channel.
        self.has_alpha = self.has_alpha or (values.ndim == 3 and values.shape[2] in (2, 4))
        return values


class TiffFile(ArrayFile):
    """The first page of a TIFF with more than 8 bits, signed or floating-point, or many samples."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.is_simple = False
        with contextlib.suppress(OSError), opened(path) as picture:  # of kinds Pillow knows
            tags = picture.tag_v2  # type: ignore[attr-defined]  # TIFF's own class
            bits, formats = (tags.get(tag, (1,)) for tag in (258, 339))
            # Pillow leaves out samples that it has no mode for.
            is_whole = tags.get(277, 1) == len(picture.getbands())
            self.is_simple = max(bits) <= 8 and set(formats) == {1} and is_whole
        if not self.is_simple:
            self._read_header()

    def serves(self) -> bool:
        return not self.is_simple

    def _read_header(self) -> None:
        path = self.path
        with needed("tifffile", "a TIFF").TiffFile(path) as file:
            page = file.pages[0].aspage()
            self.axes, shape = page.axes, page.shape
            self.bits = page.bitspersample
            self.photometric = getattr(page.photometric, "name", str(page.photometric))
            self.dtype = np.dtype(page.dtype)
            tags = {code: page.tags[code].value for code in (274, 34675) if code in page.tags}
            extra = tuple(page.extrasamples)
        if self.dtype.kind not in NUMBERS:
            raise ValueError(f"its values are {self.dtype}, but a picture holds real numbers")
        sizes = dict(zip(self.axes, shape, strict=True))
        self.shape = sizes.get("Y", 0), sizes.get("X", 0), sizes.get("S", 1)
        self.orientation, self.profile = int(tags.get(274, 1)), bytes(tags.get(34675, b""))
        num_samples, unnamed = self.shape[2], 0 in extra
        self.has_alpha = not unnamed and (num_samples == 4 or (num_samples == 2 and extra != ()))
        self.num_spare = num_samples - 3 if unnamed and self.photometric == "RGB" else 0
        self.premultiplied = 1 in extra
        self.range = range_of(self.dtype)
        if self.dtype.kind == "u" and self.range and self.bits < 8 * self.dtype.itemsize:
            self.range = 0.0, 2.0**self.bits - 1  # such as 12 bits, packed

    def decode(self) -> np.ndarray:
        kind = self.photometric
        if kind not in ("MINISBLACK", "MINISWHITE", "RGB"):
            raise ValueError(
                f"its colours are stored as {kind} with {self.bits} bits, which is not "
                "supported; save it as RGB"
            )
        if not set(self.axes) <= set("YXS"):
            raise ValueError(f"its first page has the axes {self.axes}, but a picture has only YXS")
        with needed("tifffile", "a TIFF").TiffFile(self.path) as file:
            values = file.pages[0].asarray()
        if self.axes.startswith("S"):  # one plane for each channel
            values = np.moveaxis(values, 0, -1)
        if kind == "MINISWHITE" and self.range and self.dtype.kind == "u":
            values = (self.range[1] - values).astype(values.dtype)
        return values


class NumpyFile(ArrayFile):
    """A .npy file, or a .npz with a single array or one named `image`: (H, W) or (H, W, C)."""

    def __init__(self, path: Path):
        super().__init__(path)
        with self._opened() as file:
            version = np.lib.format.read_magic(file)
            reader = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
            self.shape, _, dtype = getattr(np.lib.format, reader)(file)
            self.dtype = dtype.newbyteorder("=")
        if len(self.shape) not in (2, 3):
            raise ValueError(
                f"its array has the shape {self.shape}, but a picture is (H, W) or (H, W, C)"
            )
        if self.dtype.kind not in NUMBERS:
            raise ValueError(f"its values are {self.dtype}, but a picture holds real numbers")
        self.shape = (*self.shape, 1)[:3]
        self.range = range_of(self.dtype)
        self.has_alpha = self.shape[2] == 4

    def _opened(self):
        return open(self.path, "rb")

    def decode(self) -> np.ndarray:
        with self._opened() as file:
            return np.lib.format.read_array(file, allow_pickle=False).astype(self.dtype, copy=False)


class NumpyArchive(NumpyFile):
    def _opened(self):
        archive = zipfile.ZipFile(self.path)
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(names) != 1 and "image" not in names:
            raise ValueError(
                f"it holds {len(names)} arrays ({', '.join(names[:5])}), none of them named image"
            )
        return archive.open(f"{names[0] if len(names) == 1 else 'image'}.npy")


GAP = rb"(?:\s|#[^\n]*\n)"  # a comment lasts until the end of its line
PPM_HEADER = re.compile(rb"(P[2356])" + 3 * (GAP + rb"+(\d+)") + GAP)


class PpmFile(ArrayFile):
    """A PPM or PGM with more than 8 bits: P5 and P6 in big-endian binary, P2 and P3 as text."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.shape, self.dtype = (0, 0, 1), np.dtype(np.uint16)
        with open(path, "rb") as file:
            header = PPM_HEADER.match(file.read(1 << 16))
        if header is None:
            raise ValueError("its header is damaged")
        self.kind, self.start = header[1], header.end()
        width, height, most = map(int, header.groups()[1:])
        self.shape = height, width, 3 if self.kind in (b"P3", b"P6") else 1
        self.range = 0.0, float(most)

    def serves(self) -> bool:
        return self.range is not None and self.range[1] > 255

    def decode(self) -> np.ndarray:
        content, count = self.path.read_bytes(), int(np.prod(self.shape))
        if self.kind in (b"P2", b"P3"):
            words = re.sub(rb"#.*", b"", content[self.start :]).split()
            values = np.array(words[:count], np.uint16)
        else:
            values = np.frombuffer(content, ">u2", count, self.start).astype(np.uint16)
        return values.reshape(self.shape)


class Jpeg2000File(ArrayFile):
    """A JPEG 2000 with more than 8 bits."""

    def __init__(self, path: Path):
        super().__init__(path)
        with open(path, "rb") as file:
            header = file.read(1 << 12)
        at = header.index(b"ihdr") + 4
        height, width, channels, bits = struct.unpack(">IIHB", header[at : at + 11])
        self.bits, self.signed = (bits & 0x7F) + 1, bits >> 7
        self.shape, self.dtype = (height, width, channels), np.dtype(np.uint16)
        self.range = None if self.signed else (0.0, 2.0**self.bits - 1)
        self.has_alpha = channels in (2, 4)
        self.profile = jp2_profile(path)

    def serves(self) -> bool:
        return self.bits > 8

    def decode(self) -> np.ndarray:
        content = self.path.read_bytes()
        pixels = next((body for name, body in boxes(io.BytesIO(content)) if name == b"jp2c"), b"")
        right, bottom, left, top = struct.unpack(">4I", pixels[8:24])
        (channels,) = struct.unpack(">H", pixels[40:42])
        if (bottom - top, right - left, channels) != self.shape:  # a bomb could hide here
            raise ValueError("its header and its pixels tell different sizes")
        if self.profile:  # imagecodecs would apply it, and less exactly: decode the pixels alone
            content = pixels
        return needed("imagecodecs", "a JPEG 2000 of 16 bits").jpeg2k_decode(content)


FORMATS: dict[bytes, type[ArrayFile]] = {  # by the first bytes of a file
    PNG: PngFile,
    b"II*\0": TiffFile,
    b"MM\0*": TiffFile,
    b"II+\0": TiffFile,  # above 4 GB
    b"MM\0+": TiffFile,
    b"\x93NUMPY": NumpyFile,
    b"PK\x03\x04": NumpyArchive,
    **dict.fromkeys((b"P2", b"P3", b"P5", b"P6"), PpmFile),
    b"\0\0\0\x0cjP  ": Jpeg2000File,
}


def array_file(path: str | Path) -> ArrayFile | None:
    """The header of a file that must be read as an array; None for one that Pillow reads.

    What a file is shows in its first bytes, whatever its ending.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(16)
    for magic, kind in FORMATS.items():
        if start.startswith(magic):
            found = kind(path)
            if found.serves() and 0 in found.shape:
                raise ValueError(NO_PIXELS)
            return found if found.serves() else None
    return None
