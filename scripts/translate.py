"""Apply a trained run to photographs: each comes out with its size, format, colours and EXIF.

    python scripts/translate.py portrait.jpg --name my_run
    python scripts/translate.py ./wedding --name my_run --epoch best --out ./done

Results are written beside the photographs as PHOTO_my_run.jpg, or into --out, and never over a
file that is there. Videos, with their sound, need --video. From Python:

    from scripts.translate import load_generator
    generator = load_generator("checkpoints/my_run", epoch="best")
    generator(picture).save("out.jpg")
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from util.startup import begin_imports

    begin_imports()

import argparse
import contextlib
import copy
import io
import re
import time
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

import data
import models
from data.image_folder import make_dataset
from data.photo.photo import Photo, in_image, in_memory
from data.photo.translate import AUTO, WAYS, FreePaths, Translator, chosen_way
from data.photo.video import READ as VIDEOS
from data.photo.video import translate_video
from models.applied import directions_of
from options.parser import OptionParser, RawHelpFormatter, device_name, whole, whole_or_auto
from options.restore import runs_in, saved_options
from options.test_options import TestOptions
from util import runtime
from util.errors import UserError, command_line, first_few
from util.files import to_path
from util.show.bars import tqdm
from util.speed.performance import prepare
from util.util import counted

PictureLike = TypeVar("PictureLike", Image.Image, np.ndarray, torch.Tensor)
SWITCH: dict[str, Any] = {"action": "store_const", "const": True, "default": False}  # no value
OWN_MODELS = ("pix2pix", "pix2pix_with_perceptual", "cycle_gan")  # whose generators `test` runs


class Generator:
    """A trained generator, ready for pictures of any size; see `load_generator`.

    Attributes:
        way: how the network sees them: native, scaled or transfer.
        why: the reason for it, if it was chosen.
    """

    def __init__(self, opt: argparse.Namespace, full_size: str):
        model = models.create_model(opt)
        model.setup(opt)
        if opt.eval:
            model.eval()
        prepare(model.networks(), [], opt, model.device)
        (direction, *_) = directions_of(model)
        self.opt, self.generate = opt, direction.generate
        self.run, self.device = model.save_dir, model.device
        self._see(full_size)

    def seeing(self, full_size: str) -> Generator:
        """The same network, which sees pictures in another way."""
        other = copy.copy(self)
        other._see(full_size)
        return other

    def _see(self, full_size: str) -> None:
        alike = self.opt.input_nc == self.opt.output_nc
        self.way, self.why = chosen_way(full_size, self.run, same_channels=alike)
        self.translator = Translator(self.opt, self.generate, self.way)

    def __call__(self, picture: PictureLike) -> PictureLike:
        """The result of a picture, of the same kind and size.

        Args:
            picture: of Pillow, whose result is RGB, or grey of 8 or 16 bits, and is saved with
                its profile and EXIF; an array (H, W) or (H, W, C) of 8 or 16 bits or in 0..1; or a
                tensor (C, H, W) or (N, C, H, W) in [-1, 1], whose result has its type and device.

        Raises UserError for channels or values that do not suit the network.
        """
        if isinstance(picture, torch.Tensor):
            return self._tensor(picture)
        if isinstance(picture, Image.Image):
            return self.changed(in_image(picture)).to_pillow()
        if not isinstance(picture, np.ndarray):
            kind = type(picture).__name__
            raise UserError(
                f"a {kind} is no picture of Pillow, no array and no tensor; open it first"
            )
        values = self.changed(in_memory(picture)).values
        return values[..., 0] if picture.ndim == 2 and values.shape[2] == 1 else values

    def changed(self, photo: Photo) -> Photo:
        """The result of a photograph; the same each time, whatever dropout draws."""
        with runtime.isolated_randomness(self.opt.seed, device=self.device):
            return self.translator(photo)

    def _tensor(self, pictures: torch.Tensor) -> torch.Tensor:
        if pictures.ndim == 3:
            return self._tensor(pictures[None])[0]
        channels = self.translator.side.num_channels
        if pictures.ndim != 4 or pictures.shape[1] != channels:
            raise UserError(
                f"a tensor {tuple(pictures.shape)} does not suit a network of {channels} "
                f"channels: it should be (N, {channels}, H, W) or ({channels}, H, W) in [-1, 1]"
            )
        values = pictures.detach().float().cpu()
        if not (pictures.is_floating_point() and len(values) and values.abs().max() <= 1):
            raise UserError(
                f"a tensor {tuple(pictures.shape)} of {pictures.dtype} is no picture: its values "
                "should be floating-point numbers in [-1, 1]"
            )
        with runtime.isolated_randomness(self.opt.seed, device=self.device):
            made = [self.translator.result(x) for x in values]
        return torch.stack(made).to(pictures)


def load_generator(
    run: str | Path,
    epoch: str | int = "latest",
    *,
    full_size: str = AUTO,
    reverse: bool = False,
    device: str = "auto",
    flags: tuple[str, ...] = (),
) -> Generator:
    """The generator of a run, with all that it was trained with; reads no command line.

    Args:
        run: its folder, such as checkpoints/my_run; weights from elsewhere suffice.
        epoch: the checkpoint: latest, best, or the number of an epoch.
        full_size: as in test.py: native, scaled, transfer or auto.
        reverse: take the second generator of a CycleGAN, from B to A.
        device: auto, cpu, cuda, cuda:1 or mps.
        flags: more of test.py, such as ("--eval",).

    Raises UserError if there is no such run or checkpoint.
    """
    folder = Path(run).expanduser().absolute()
    if not folder.is_dir():
        runs = first_few(runs_in(folder.parent)) if folder.parent.is_dir() else ""
        raise UserError(f"{run}: there is no such run; {folder.parent} has {runs or 'no runs'}")
    found = saved_options(folder)
    saved = found[0] if found else {}
    words = ["--dataroot", str(folder), "--checkpoints_dir", str(folder.parent)]
    words += ["--name", folder.name, "--epoch", str(epoch), "--device", device, "--seed", "0"]
    model = str(saved.get("model", "test"))
    if model in OWN_MODELS or model == "test":
        words += ["--model", "test"]
    else:
        mode = saved.get("dataset_mode")
        words += ["--model", model, *(["--dataset_mode", str(mode)] if mode else [])]
    has_two = any(folder.glob("*_net_G_B*.pth"))
    if reverse and not has_two:
        raise UserError(f"{run} has one generator only, so none goes from B to A")
    if has_two and "test" in words:
        words += ["--model_suffix", "_B" if reverse else "_A"]
    with contextlib.redirect_stdout(io.StringIO()), runtime.isolated_randomness(0):
        opt = TestOptions(models.registry, data.registry).parse([*words, *flags])
        return Generator(opt, full_size)


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    script = "scripts/translate.py"
    own = parse(words)
    if not (own.photos and own.name):
        lines = [
            ["python", script, "portrait.jpg", "--name", "my_run"],
            ["python", script, "./wedding", "--name", "my_run", "--epoch", "best"],
        ]
        raise UserError(
            "name photographs or a folder, and the run to apply; see --help, or begin with",
            examples=[command_line(line) for line in lines],
        )
    photographs, problems = found_in(own)
    write, kind = (translate_frames, "video") if own.video else (translate, "photograph")
    begun_s = time.perf_counter()
    generator = load_generator(
        own.checkpoints_dir / own.name,
        own.epoch,
        full_size=own.full_size,
        reverse=own.reverse,
        device=own.device,
        flags=(*["--eval"] * own.eval, "--precision", own.precision, "--tile", str(own.tile)),
    )
    because = f", since {generator.why}" if generator.why else ""
    print(f"{own.name}, {own.epoch}: {generator.way}{because}")
    paths, done = FreePaths(Path.exists), 0
    with tqdm(photographs, unit=kind, disable=not sys.stderr.isatty()) as bar:
        for source, place in bar:
            try:
                tqdm.write(write(generator, source, place, paths, own))
                done += 1
            except (UserError, OSError, MemoryError) as error:
                problems += 1
                text = str(error) or "the memory does not suffice"
                tqdm.write(text if str(source) in text else f"{source}: {text}")
    print(f"{counted(done, kind)} in {time.perf_counter() - begun_s:.1f} s")
    if problems:
        raise UserError(f"{counted(problems, kind)} could not be translated, see above")


def parse(words: list[str]) -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = RawHelpFormatter
    parser.add_argument("photos", nargs="*", type=to_path, metavar="PHOTO_OR_FOLDER")
    parser.add_argument("--name", default="", help="the run, a folder in --checkpoints_dir")
    parser.add_argument("--checkpoints_dir", type=to_path, default=Path("checkpoints"))
    parser.add_argument("--epoch", default="latest", help="checkpoint: latest, best or a number")
    parser.add_argument("--full_size", choices=WAYS, default=AUTO,
                        help="how the network sees photographs, as in test.py")  # fmt: skip
    parser.add_argument("--out", type=to_path, metavar="DIR",
                        help="folder for the results")  # fmt: skip
    parser.add_argument("--output_format", choices=("keep", "png", "jpg", "tif"), default="keep")
    parser.add_argument("--video", help="translate videos, with the same sound", **SWITCH)
    parser.add_argument("--tile", type=whole_or_auto, default="auto", metavar="ROWS",
                        help="as in test.py")  # fmt: skip
    parser.add_argument("--jpeg_quality", type=whole(1, 100), default=95, metavar="N")
    parser.add_argument("--reverse", help="from B to A, with a CycleGAN", **SWITCH)
    parser.add_argument("--eval", help="as in test.py", **SWITCH)
    parser.add_argument("--device", type=device_name, default="auto")
    parser.add_argument("--precision", choices=("fp32", "auto", "bf16", "fp16"), default="fp32")
    own = parser.parse_args(words)
    if own.video and own.output_format != "keep":
        raise UserError("--output_format is for photographs: a video keeps its own; leave it out")
    return own


def found_in(own: argparse.Namespace) -> tuple[list[tuple[Path, Path]], int]:
    """Each photograph, and its result's path without ending; and how many paths are none.

    Of folders, pictures in all subfolders but for results of this run. Raises UserError if nothing
    is left.
    """
    tail, found, left_out, problems = f"_{Path(own.name).name}", [], 0, 0
    result = re.compile(rf"{re.escape(tail)}(_\d+)?$")
    together = Path(" ".join(map(str, own.photos)))
    if not any(given.exists() for given in own.photos) and together.exists():
        raise UserError(f'a path that contains spaces needs quotes: "{together}"')
    for given in own.photos:
        try:
            if not given.exists():
                raise UserError(f"{given}: there is no such file or folder")
            inside = files_in(given, own.video) if given.is_dir() else None
        except UserError as error:
            print(error)
            problems += 1
            continue
        for path in [given] if inside is None else inside:
            if inside is not None and result.search(path.stem):
                left_out += 1
                continue
            folder = path.parent
            if own.out is not None:
                folder = own.out / (folder.relative_to(given) if inside is not None else "")
            found.append((path, folder / f"{path.stem}{tail}"))
    if left_out:
        print(f"left out {counted(left_out, 'result')} of {own.name}")
    if not found:
        raise UserError("there is nothing to translate")
    return found, problems


def files_in(folder: Path, video: bool) -> list[Path]:
    """Photographs or videos in all subfolders, in order. Raises UserError if there is none."""
    if not video:
        return [*map(Path, make_dataset(folder))]
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in VIDEOS)
    if not found:
        raise UserError(f"{folder} has no videos ({', '.join(VIDEOS)})")
    return found


def translate_frames(
    generator: Generator, source: Path, place: Path, paths: FreePaths, own: argparse.Namespace
) -> str:
    """Write a video with translated frames; returns a line about it.

    A frame is translated as a photograph, all with the same dropout, which would flicker otherwise.
    """
    begun_s = time.perf_counter()
    target = paths(place, "video", source)

    def change(frame: np.ndarray) -> np.ndarray:
        made = generator(frame)
        return made if made.shape == frame.shape else np.broadcast_to(made, frame.shape)

    form, hidden = "{n_fmt}/{total_fmt} frames |{bar}| {remaining}", not sys.stderr.isatty()
    with tqdm(leave=False, disable=hidden, bar_format=form) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        notes = translate_video(source, target, change, show)
    line = f"{source} -> {target} ({time.perf_counter() - begun_s:.1f} s)"
    return "; ".join([line, *notes])


def translate(
    generator: Generator, source: Path, place: Path, paths: FreePaths, own: argparse.Namespace
) -> str:
    """Write the result of a photograph; returns a line about it."""
    if source.suffix.lower() in VIDEOS:
        raise UserError(f"{source} is a video: pass --video")
    begun_s = time.perf_counter()
    photo = generator.changed(generator.translator.open(source))
    photo, kind = photo.writable_as(own.output_format)
    target = paths(place, kind, source)
    notes = photo.write(target, kind, own.jpeg_quality)
    line = f"{source} -> {target} ({time.perf_counter() - begun_s:.1f} s)"
    return "; ".join([line, *notes])


if __name__ == "__main__":
    sys.exit(runtime.run(main))
