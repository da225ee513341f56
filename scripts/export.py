"""Write a run's generator as an ONNX file that checks itself, for programs without PyTorch.

    python scripts/export.py --name my_run
    python scripts/export.py --name my_run --epoch best --out portrait.onnx

The file takes and gives pictures (1, H, W, C) of 8 bits, of any size that the network takes, or
with --floats (1, C, H, W) in [-1, 1]. It gives what `test.py --no_dropout` gives: batch norms
use the statistics of each picture (with --eval the running ones). onnxruntime runs it on three
pictures of two sizes, and a file that differs by more than 1e-4 is not written.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from util.startup import require_environment

    require_environment()

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from data.reading.quiet import quiet
from options.parser import OptionParser
from options.restore import saved_options
from options.settle import GENERATOR, PICTURES
from scripts.translate import SWITCH, load_generator
from util import __version__, runtime
from util.errors import UserError, first_line
from util.files import to_path, write_whole, writing

DROPOUTS = nn.modules.dropout._DropoutNd
OPSET = 18
MOST_DIFFERENCE = 1e-4  # in [-1, 1]
LARGEST_PX = 16384  # of a side


class Picture(nn.Module):
    """A generator for pictures (1, H, W, C) of 8 bits, normalised as datasets and results are."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        x = picture.permute(0, 3, 1, 2).to(torch.float32) / 255
        y = self.generator((x - 0.5) / 0.5)
        return ((y + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def main(argv: list[str] | None = None) -> None:
    own = parse(argv)
    require_packages()
    flags = ("--eval",) * own.eval
    run = own.checkpoints_dir / own.name
    generator = load_generator(run, own.epoch, device="cpu", reverse=own.reverse, flags=flags)
    apply = generator.translator.generate
    network = getattr(apply, "network", None)
    if network is None:
        raise UserError(
            f"{own.name}: no single network makes the pictures of its model file, so there is none "
            "to export; scripts/translate.py and test.py --full_size apply the whole model"
        )
    opt = generator.opt
    for module in network.modules():
        if isinstance(module, DROPOUTS):
            module.eval()
    plain = as_plain(network)
    whole = plain if own.floats else Picture(plain)
    sizes = sizes_for(opt)
    out = own.out or run / f"{own.epoch}_net_G{'_B' if own.reverse else ''}.onnx"
    with writing(out):  # before all the work
        out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export(whole, example(opt, sizes[0], floats=own.floats), opt.size_multiple, file)
        add_metadata(file, facts_of(opt, run, own))
        difference = check(file, network, opt, sizes, floats=own.floats)
        write_whole(out, file.read_bytes())
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, opset {OPSET}, sides of multiples of "
        f"{opt.size_multiple}; onnxruntime's results differ by {difference:.1e} at most"
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--name", required=True, help="the run, a folder in --checkpoints_dir")
    parser.add_argument("--checkpoints_dir", type=to_path, default=Path("checkpoints"))
    parser.add_argument("--epoch", default="latest", help="checkpoint: latest, best or a number")
    parser.add_argument("--out", type=to_path, metavar="FILE",
                        help="by default EPOCH_net_G.onnx in the run's folder")  # fmt: skip
    parser.add_argument("--floats", help="take and give (1, C, H, W) in [-1, 1]", **SWITCH)
    parser.add_argument("--reverse", help="from B to A, with a CycleGAN", **SWITCH)
    parser.add_argument("--eval", help="as in test.py", **SWITCH)
    return parser.parse_args(argv)


def require_packages() -> None:
    """Raise UserError if a package for exporting is missing."""
    try:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            with quiet():  # onnxruntime warns of a user without a home
                importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"exporting needs {error.name}: pip install -r requirements-export.txt"
        ) from error


def as_plain(network: nn.Module) -> nn.Module:
    """A copy that ONNX can express: without what makes it faster here, or draws random numbers."""
    plain = copy.deepcopy(network)
    for module in plain.modules():
        vars(module).pop("forward", None)
        for name, child in module.named_children():
            if isinstance(child, DROPOUTS):
                setattr(module, name, nn.Identity())
            elif isinstance(child, _BatchNorm) and child.training:
                setattr(module, name, by_picture(child))
    return plain


def by_picture(norm: _BatchNorm) -> nn.InstanceNorm2d:
    """The instance norm that does with one picture what a batch norm does in training."""
    made = nn.InstanceNorm2d(norm.num_features, eps=norm.eps, affine=norm.affine)
    if norm.affine:
        made.load_state_dict({"weight": norm.weight, "bias": norm.bias})
    return made


def sizes_for(opt: argparse.Namespace) -> list[tuple[int, int]]:
    """Two sizes (height, width) that the network takes, the larger one first."""
    least = -(-max(opt.size_minimum, 64) // opt.size_multiple) * opt.size_multiple
    return [(2 * least, 3 * least), (least, 2 * least)]


def example(opt: argparse.Namespace, size: tuple[int, int], *, floats: bool) -> torch.Tensor:
    """A picture of soft noise, as the file takes it."""
    coarse = torch.rand(1, opt.input_nc, 8, 8)
    x = nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    pixels = (x * 255).round()
    return (pixels / 255 - 0.5) / 0.5 if floats else pixels.to(torch.uint8).permute(0, 2, 3, 1)


def export(model: nn.Module, picture: torch.Tensor, multiple: int, file: Path) -> None:
    """Write an ONNX file whose pictures may have any sides that are multiples of this."""
    height, width = (
        multiple * torch.export.Dim(name, min=2, max=LARGEST_PX // multiple)
        if multiple > 1
        else torch.export.Dim(name, min=2, max=LARGEST_PX)
        for name in ("height", "width")
    )
    first = 1 if picture.dtype == torch.uint8 else 2
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (picture,),
                file,
                dynamo=True,
                opset_version=OPSET,
                input_names=["picture"],
                output_names=["result"],
                dynamic_shapes=({first: height, first + 1: width},),
                external_data=False,
            )
    except Exception as error:  # of the exporter, for layers that it does not know
        raise UserError(f"this network cannot be exported: {first_line(error)}") from error


def facts_of(opt: argparse.Namespace, run: Path, own: argparse.Namespace) -> dict[str, str]:
    """What the file tells of itself."""
    found = saved_options(run)
    saved = found[0] if found else {}
    # What makes the network and its pictures; the other options may name folders and accounts.
    told = {name: saved[name] for name in ("model", *GENERATOR, *PICTURES) if name in saved}
    return {
        "program_version": __version__,
        "run": own.name,
        "epoch": str(own.epoch),
        "size_multiple": str(opt.size_multiple),
        "values": "[-1, 1], (1, C, H, W)" if own.floats else "0..255, (1, H, W, C)",
        "size": str(opt.crop_size),
        "options": json.dumps(told, default=str),
    }


def add_metadata(file: Path, facts: dict[str, str]) -> None:
    import onnx

    model: Any = onnx.load(file)
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, file)


def check(
    file: Path,
    network: nn.Module,
    opt: argparse.Namespace,
    sizes: list[tuple[int, int]],
    *,
    floats: bool,
) -> float:
    """The most by which onnxruntime's results differ from the network's, in [-1, 1].

    Of 8 bits, what rounding alone can cause does not count. Raises UserError for too much.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    most = 0.0
    for size in (*sizes, sizes[-1]):
        picture = example(opt, size, floats=floats)
        (got,) = session.run(None, {"picture": picture.numpy()})
        given = picture if floats else (picture.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        with torch.no_grad():
            wanted = network(given).numpy()
        if floats:
            difference = float(np.abs(got - wanted).max())
        else:
            levels = np.abs(got.transpose(0, 3, 1, 2) - (wanted + 1) * 127.5).max()
            difference = max(0.0, float(levels) - 0.5) / 127.5
        most = max(most, difference)
    if not most <= MOST_DIFFERENCE:
        raise UserError(
            f"the exported file differs by {most:.2g} from the network, more than "
            f"{MOST_DIFFERENCE:g}, so it is not written"
        )
    return most


if __name__ == "__main__":
    sys.exit(runtime.run(main))
