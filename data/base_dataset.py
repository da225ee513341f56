"""What all datasets share: flags, phase folders, and loading pictures."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image, ImageOps
from torch.utils import data

from data.augment import Augmentation, Change, choose
from data.cache import Form, Key, PictureCache
from data.image_folder import has_pictures, no_pictures
from data.image_io import is_array, limit_pillow, picture_size, read_picture
from data.reading import notes
from data.reading.notes import Use
from data.reading.picture import BYTES, Picture, Side, to_image
from data.transforms import (
    Augment,
    Resize,
    Size,
    pad,
    size_of,
    to_channels,
    to_picture,
    to_pixels,
    to_tensor,
)
from util.errors import UserError
from util.files import folders_in
from util.registry import defines, speaks_for
from util.run.command import test_command

PHASES = ("train", "val", "test")  # what folders of pictures are called, as in trainA


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
        augments: the kinds of --augment that `__getitem__` applies, through `load`, `load_picture`
            or `draw_augment`; a subclass with a `__getitem__` of its own states them again.
        gives_weights: whether samples also have W where there are weight maps; see `weight_maps`.
            It is stated again in the same way.
    """

    space: ClassVar[str] = "RGB or grey"
    gives: ClassVar[tuple[str, ...]] = ()
    augments: ClassVar[tuple[str, ...]] = ()
    gives_weights: ClassVar[bool] = False

    def __init__(self, opt: argparse.Namespace):
        self.opt = opt
        self.root = opt.dataroot
        self.resize, self.crop_size = geometry(opt)
        self.cache: PictureCache | None = None
        is_own = speaks_for(type(self), defines("augments"), "__getitem__")
        offered = self.augments if is_own else ()
        kinds = choose(opt, offered, self.pictured()) if opt.isTrain else ()
        self.augmentation = Augmentation(kinds, self.resize.scales)
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
    def facts(opt: argparse.Namespace) -> dict[str, Any]:
        """What the folders tell that a run saves with its options; see `options.settle.FACTS`."""
        return {}

    @staticmethod
    def weight_maps(opt: argparse.Namespace) -> Path | None:
        """DATAROOT/PHASEW, if there are maps of where the result matters; see `weight_maps`."""
        folder = Path(opt.dataroot) / f"{opt.phase}W"
        return folder if has_pictures(folder) else None

    @classmethod
    def weighs(cls) -> bool:
        """Whether samples have W where there are weight maps."""
        return cls.gives_weights and speaks_for(cls, defines("gives_weights"), "__getitem__")

    def num_weighted(self) -> int:
        """How many samples have a weight map of their own."""
        return 0

    @staticmethod
    def looks_paired(opt: argparse.Namespace) -> bool:
        """Whether a dataset that is not for pairs has found pictures that look like pairs."""
        return False

    def difference(self, most: int) -> float | None:
        """The mean difference (L1) between input and target in levels of 255, of so many pairs.

        None for datasets without pairs, or whose sides have different channels.
        """
        return None

    def lists(self) -> list[list[Any]]:
        """The lists that samples are made from, for --val_split to take pictures out of them.

        An entry is the file of a picture, or a tuple of the files of a pair.
        """
        return []

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def pictured(self) -> tuple[Side, ...]:
        """The sides that samples are made from, the input first; --augment must suit them."""
        a, b = sides(self.opt)
        return (a, b) if input_name(self.opt) == "A" else (b, a)

    def draw_augment(self, kept: Size) -> Augment | Change:
        """What a picture that `fit` has brought to this size goes through.

        A crop and flip, random in training and centred in testing, and what --augment draws.
        """
        window = Augment.draw(
            self.augmentation.seen(kept),
            self.crop_size,
            at_random=self.opt.isTrain,
            flips=not self.opt.no_flip,
        )
        return self.augmentation.draw(window)

    def open(self, path: str) -> Image.Image:
        """A picture as RGB with 8 bits, upright; UserError if it is bad or too large."""
        return to_image(self.read(path).ready(self.nameless(3)))

    def read(self, path: str) -> Picture:
        """A picture with all its bits and channels, upright; UserError if bad or too large."""
        return read_picture(path, self.opt.max_megapixels)

    def nameless(self, num_channels: int) -> Side:
        """For callers that do not say which side: has the stated range if A and B have the same."""
        same = self.opt.range_A == self.opt.range_B
        return Side("", num_channels, self.opt.range_A if same else None)

    def load(self, path: str, side: Side | int) -> torch.Tensor:
        """A picture, resized, cropped and flipped: (C, H, W) in [-1, 1].

        `side` may be a number of channels.
        """
        return to_tensor(self.load_pixels(path, side))

    def load_picture(self, path: str, side: Side | int = 3) -> Image.Image:
        """A picture of 8 bits, resized, cropped and flipped: in RGB, or in grey for one channel."""
        return to_picture(self.load_pixels(path, side))

    def load_pixels(self, path: str, side: Side | int) -> torch.Tensor:
        """A picture, resized, cropped and flipped: (C, H, W); do not write to it.

        uint8, or float32 in 0..1 for pictures of more than 8 bits.
        """
        side = self.nameless(side) if isinstance(side, int) else side
        try:
            pixels = self.cached(key_of(path, side), lambda: [self.fit(self.read(path), side)])[0]
            return self.draw_augment(size_of(pixels))(pixels)
        except UserError as error:
            raise in_file(path, error) from error

    def fit(self, picture: Picture, side: Side, target: Size | None = None) -> torch.Tensor:
        """The pixels of a picture: its channels and values as the side asks, resized and padded.

        --augment has them twice as fine, where it moves pictures.
        """
        target = target or self.resize.target(picture.size)
        pixels = to_pixels(self.resize(picture.ready(side), self.augmentation.kept(target)))
        if side.name:
            white = 1 if pixels.is_floating_point() else 255
            least, greatest = (float(value) / white for value in pixels.aminmax())
            values = side.range or picture.own_range or BYTES
            notes.noticed.use(side.name, Use(values, least, greatest))
        return pad(pixels, self.augmentation.kept(self.resize.padded(target)))

    def check_channels(self, path: str, side: Side) -> None:
        """Refuse an unusual number of channels that a first picture does not have, before training.

        Raises UserError.
        """
        if side.num_channels not in (1, 3):
            try:
                picture = self.read(path)
            except UserError:  # reported when the picture is loaded
                return
            picture.ready(side)
            notes.take()  # it is read again when its turn comes

    def cached(self, key: Key, make: Callable[[], list[torch.Tensor]]) -> list[torch.Tensor]:
        """The pixels that `make` returns, from the cache if there is one."""
        return make() if self.cache is None else self.cache.get(key, make)

    def cacheable(self) -> dict[Key, list[Form]]:
        """The sizes and channels of the pictures, for each key that `cached` is called with."""
        return {}

    def forms(self, paths: list[str], side: Side) -> dict[Key, list[Form]]:
        """The `cacheable` entries for files that `load` or `load_picture` is called with."""
        found = {path: self.form(path, side) for path in paths}
        return {key_of(path, side): [form] for path, form in found.items() if form is not None}

    def form(self, path: str, side: Side, columns: int = 1) -> Form | None:
        """What the pixels of a file, or of one of its columns, look like; None if it is bad.

        Reads only the header, and nothing where options and the file's ending tell.
        """
        try:
            is_float = side.range not in (None, BYTES) or is_array(path)
            if self.resize.preprocess == "resize_and_crop":
                size = self.resize.load_size, self.resize.load_size
            else:
                width, height = picture_size(path)
                size = self.resize.padded(self.resize.target((width // columns, height)))
        except UserError:  # reported when the picture is loaded
            return None
        return Form(self.augmentation.kept(size), side.num_channels, is_float)

    def unpadded(self, columns: int = 1, **paths: str) -> dict[str, torch.Tensor]:
        """In testing, what `padded` pictures are to be cut back to: "A_size" -> (height, width).

        Empty where nothing is padded. Each file holds `columns` pictures side by side.
        """
        if self.opt.isTrain or self.resize.crops:
            return {}
        sizes = {}
        for name, path in paths.items():
            width, height = picture_size(path)
            width, height = self.resize.target((width // columns, height))
            sizes[f"{name}_size"] = torch.tensor([height, width])
        return sizes

    def announce_padding(self, paths: list[str], columns: int = 1) -> None:
        """Print once, before training, that pictures are padded to what the generator accepts.

        Each file holds `columns` pictures side by side.
        """
        if self.resize.crops:
            return
        for path in paths:
            try:
                width, height = picture_size(path)
                size = self.resize.target((width // columns, height))
            except UserError:  # reported when the picture is loaded
                continue
            padded = self.resize.padded(size)
            if padded != size:
                print(
                    f"--netG {self.opt.netG} needs sides that are multiples of "
                    f"{self.resize.multiple}: pictures are padded by reflection"
                    f"{'' if self.opt.isTrain else ', and results are cut back to their size'}; "
                    f"{path} ({size[0]}x{size[1]}) becomes {padded[0]}x{padded[1]}"
                )
                return


def key_of(path: str, side: Side) -> Key:
    return path, f"{side.name}{side.num_channels}"


def in_file(path: str, error: UserError) -> UserError:
    """The error with the name of the file, unless it already names one."""
    return error if error.path else UserError(f"{path}: {error}", path)


def skip_advice(opt: argparse.Namespace) -> str:
    """The end of an error message about a picture that could be skipped."""
    return f"; --skip_bad_images {'uses another instead' if opt.isTrain else 'leaves it out'}"


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
        picture = to_image(resize(picture, method=self.method))
        if crop_size is not None:
            left, top = params["crop_pos"]
            picture = picture.crop((left, top, left + crop_size, top + crop_size))
        picture = ImageOps.mirror(picture) if params["flip"] else picture
        pixels = pad(to_pixels(picture), resize.padded(picture.size))
        return to_tensor(pixels) if self.convert else to_picture(pixels)


def sides(opt: argparse.Namespace, *, extends: bool = False) -> tuple[Side, Side]:
    """Sides A and B; --direction says which is the input.

    A dataset that `extends` one of the program's makes numbers of channels other than 1 and 3
    from RGB pictures itself.
    """
    flags = [("--input_nc", opt.input_nc), ("--output_nc", opt.output_nc)]
    if extends:
        flags = [(flag, 1 if number == 1 else 3) for flag, number in flags]
    (flag_a, num_a), (flag_b, num_b) = flags if opt.direction == "AtoB" else flags[::-1]
    return Side("A", num_a, opt.range_A, flag_a), Side("B", num_b, opt.range_B, flag_b)


def input_name(opt: argparse.Namespace) -> str:
    """The side, A or B, that the generator takes its pictures from."""
    swaps = (opt.direction == "BtoA") != (getattr(opt, "model_suffix", "") == "_B")
    return "B" if swaps else "A"


def missing_phase(opt: argparse.Namespace, layout: str, folders: Sequence[Path]) -> UserError:
    """The error for a --dataroot without the pictures of the wanted phase.

    Args:
        layout: what the dataset needs, for the end of the message.
        folders: those that should have pictures; if one does, the others are missing too.
    """
    root = Path(opt.dataroot)
    if root.is_file():
        return UserError(f"--dataroot {root} is a file, not a folder; {layout}")
    filled = [folder for folder in folders if has_pictures(folder)]
    lacking = [f for f in folders if f not in filled and (filled or f.is_dir())]
    reason = f"--dataroot {root} has no pictures for --phase {opt.phase}"
    if lacking:
        reason = f"--phase {opt.phase}: {'; '.join(map(no_pictures, lacking))}"
    way_out = one_direction(opt, filled[0]) if filled and not opt.isTrain else ""
    return UserError(f"{reason}; {way_out or layout + folders_in(root)}")


def one_direction(opt: argparse.Namespace, side: Path) -> str:
    """How to test with the pictures of one side alone; '' if no generator of the run takes them."""
    takes_side = side.name.endswith("A") == (opt.direction == "AtoB")
    has_two = any((Path(opt.checkpoints_dir) / opt.name).glob("*_net_G_B.pth"))
    if not (takes_side or has_two):
        return ""
    suffix = ("_A" if takes_side else "_B") if has_two else ""
    return f"for one direction: {test_command(opt, str(side), suffix)}"
