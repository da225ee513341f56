"""What all datasets share: flags, phase folders, and loading pictures."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageOps
from torch.utils import data

from data.cache import Form, Key, PictureCache
from data.image_io import limit_pillow, open_picture, picture_size
from data.transforms import Augment, Resize, to_channels, to_picture, to_pixels, to_tensor
from util.errors import UserError
from util.files import folders_in


class BaseDataset(data.Dataset, ABC):
    """A dataset chosen by --dataset_mode.

    A subclass NameDataset in data/NAME_dataset.py defines `__len__` and `__getitem__`, which
    returns a dict of tensors and paths that the model's `set_input` understands. Random choices may
    use the global generators of Python, NumPy or PyTorch: the loader seeds all three from
    (seed, epoch, index) for each sample.

    Attributes:
        space: the colour space of the pictures, which must match the model's.
        gives: the keys of the tensors in a sample; if empty, they are not checked against the
            model's needs beforehand.
    """

    space: ClassVar[str] = "RGB or grey"
    gives: ClassVar[tuple[str, ...]] = ()

    def __init__(self, opt: argparse.Namespace):
        self.opt = opt
        self.root = opt.dataroot
        self.resize, self.crop_size = geometry(opt)
        self.cache: PictureCache | None = None
        limit_pillow(opt.max_megapixels)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        limit_pillow(self.opt.max_megapixels)  # a spawned worker does not inherit it

    @staticmethod
    def modify_commandline_options(parser: Any, is_train: bool) -> Any:
        """Add flags or change defaults, and return the parser."""
        return parser

    @staticmethod
    def has_phase(opt: argparse.Namespace, phase: str) -> bool:
        """Whether --dataroot has pictures for a phase; test.py looks for a phase that does."""
        return True

    @staticmethod
    def looks_paired(opt: argparse.Namespace) -> bool:
        """Whether a dataset that is not for pairs has found pictures that look like pairs."""
        return False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def draw_augment(self, size: tuple[int, int]) -> Augment:
        """A crop and flip for a resized picture: random in training, centred in testing."""
        return Augment.draw(
            size, self.crop_size, at_random=self.opt.isTrain, flips=not self.opt.no_flip
        )

    def open(self, path: str) -> Image.Image:
        """A picture as RGB, upright; UserError if it is bad or too large."""
        return open_picture(path, self.opt.max_megapixels)

    def load(self, path: str, num_channels: int) -> torch.Tensor:
        """A picture, resized, cropped and flipped: (C, H, W) in [-1, 1]."""
        return to_tensor(self.load_pixels(path, num_channels))

    def load_picture(self, path: str, num_channels: int = 3) -> Image.Image:
        """A picture, resized, cropped and flipped: in RGB, or in grey for one channel."""
        return to_picture(self.load_pixels(path, num_channels))

    def load_pixels(self, path: str, num_channels: int) -> torch.Tensor:
        """A picture, resized, cropped and flipped: (C, H, W) uint8; do not write to it."""

        def make() -> list[torch.Tensor]:
            return [to_pixels(self.resize(to_channels(self.open(path), num_channels)))]

        try:
            pixels = self.cached((path, str(num_channels)), make)[0]
            return self.draw_augment(size_of(pixels))(pixels)
        except UserError as error:
            raise in_file(path, error) from error

    def cached(self, key: Key, make: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
        """The pixels that `make` returns, from the cache if there is one."""
        return make() if self.cache is None else self.cache.get(key, make)

    def cacheable(self) -> dict[Key, list[Form]]:
        """The sizes and channels of the pictures, for each key that `cached` is called with."""
        return {}

    def forms(self, paths: list[str], num_channels: int) -> dict[Key, list[Form]]:
        """The `cacheable` entries for files that `load` or `load_picture` is called with."""
        return {
            (path, str(num_channels)): [(size, num_channels)]
            for path in paths
            if (size := self.resized_size(path)) is not None
        }

    def resized_size(self, path: str, columns: int = 1) -> tuple[int, int] | None:
        """The size to which a file, or one of its columns, is resized; None if the file is bad.

        Reads only the header.
        """
        if self.resize.preprocess == "resize_and_crop":
            return self.resize.load_size, self.resize.load_size
        try:
            width, height = picture_size(path)
            return self.resize.target((width // columns, height))
        except UserError:  # reported when the picture is loaded
            return None

    def announce_rounding(self, paths: list[str], columns: int = 1) -> None:
        """Print once, before training, that sides are rounded to sizes that the generator accepts.

        Each file holds `columns` pictures side by side.
        """
        if self.opt.preprocess not in ("scale_width", "none"):
            return
        for path in paths:
            width, height = picture_size(path)
            size = width // columns, height
            try:
                rounds, target = self.resize.rounds(size), self.resize.target(size)
            except UserError as error:
                raise in_file(path, error) from error
            if rounds:
                print(
                    f"--preprocess {self.opt.preprocess}: sides are rounded to multiples of "
                    f"{self.resize.multiple} for --netG {self.opt.netG}; {path} "
                    f"({size[0]}x{size[1]}) becomes {target[0]}x{target[1]}"
                )
                return


def size_of(pixels: torch.Tensor) -> tuple[int, int]:
    """The (width, height) of a picture (C, H, W)."""
    return pixels.shape[2], pixels.shape[1]


def in_file(path: str, error: UserError) -> UserError:
    """The error with the name of the file, unless it already names one."""
    return error if error.path else UserError(f"{path}: {error}", path)


def geometry(opt: argparse.Namespace) -> tuple[Resize, int | None]:
    """How --preprocess resizes pictures, and the side of its crop, if any."""
    sizes = opt.load_size, opt.crop_size, opt.size_multiple, opt.size_minimum
    resize = Resize(opt.preprocess, *sizes, opt.max_megapixels)
    return resize, opt.crop_size if opt.preprocess.endswith("crop") else None


def get_params(opt: argparse.Namespace, size: tuple[int, int]) -> dict[str, Any]:
    """A random crop and flip for a picture of `size` (width, height) before resizing.

    For `get_transform`; use the same for both pictures of a pair. Returns crop_pos, (left, top) in
    the resized picture, and flip.
    """
    resize, crop_size = geometry(opt)
    augment = Augment.draw(
        resize.target(size), crop_size, at_random=opt.isTrain, flips=not opt.no_flip
    )
    return {"crop_pos": (augment.left, augment.top), "flip": augment.flip}


def get_transform(
    opt: argparse.Namespace,
    params: dict[str, Any] | None = None,
    grayscale: bool = False,
    method: Image.Resampling = Image.Resampling.BICUBIC,
    convert: bool = True,
) -> PictureTransform:
    """The transform that --preprocess and --no_flip ask for, to be called with RGB pictures.

    Args:
        params: from `get_params`; None draws a new crop and flip for each call.
        grayscale: return one channel.
        method: the filter for resizing, from Pillow or from torchvision's InterpolationMode.
        convert: return a tensor (C, H, W) in [-1, 1] instead of a picture.
    """
    name = getattr(method, "name", None)  # the two enumerations share their names
    method = Image.Resampling[name] if name else Image.Resampling(method)
    return PictureTransform(opt, params, grayscale, method, convert)


@dataclass(frozen=True)
class PictureTransform:
    """The transform of `get_transform`; a class, so that it can be pickled to worker processes."""

    opt: argparse.Namespace
    params: dict[str, Any] | None
    grayscale: bool
    method: Image.Resampling
    convert: bool

    def __call__(self, picture: Image.Image) -> torch.Tensor | Image.Image:
        params = self.params or get_params(self.opt, picture.size)
        resize, crop_size = geometry(self.opt)
        picture = to_channels(picture, 1) if self.grayscale else picture
        picture = resize(picture, method=self.method)
        if crop_size is not None:
            left, top = params["crop_pos"]
            picture = picture.crop((left, top, left + crop_size, top + crop_size))
        picture = ImageOps.mirror(picture) if params["flip"] else picture
        return to_tensor(picture) if self.convert else picture


def channels(opt: argparse.Namespace, *, extends: bool = False) -> tuple[int, int]:
    """The number of channels, 3 or 1, of sides A and B; --direction says which is the input.

    A dataset that `extends` one of the program's makes other numbers from RGB pictures itself.
    """
    for flag, count in (("--input_nc", opt.input_nc), ("--output_nc", opt.output_nc)):
        if count not in (1, 3) and not extends:
            raise UserError(f"{flag} {count}: pictures have 3 channels (RGB) or 1 (grey)")
    nc = 1 if opt.input_nc == 1 else 3, 1 if opt.output_nc == 1 else 3
    return nc if opt.direction == "AtoB" else nc[::-1]


def missing_phase(opt: argparse.Namespace, looked_for: str) -> UserError:
    """The error for a --dataroot without pictures for the wanted phase."""
    if Path(opt.dataroot).is_file():
        return UserError(
            f"--dataroot {opt.dataroot} is a file, not a folder: looked for {looked_for}"
        )
    return UserError(
        f"--dataroot {opt.dataroot} has no pictures for --phase {opt.phase}: looked for "
        f"{looked_for}{folders_in(Path(opt.dataroot))}"
    )
