"""--config: flags from a file, and from the saved options of a run."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shlex
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data
import models
from models.base_model import BaseModel
from options.config import read_config
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.errors import UserError
from util.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "scripts" / "configs").glob("*.yaml"))
FOREIGN_MODEL = """
import argparse
from models.template_model import TemplateModel

class ForeignModel(TemplateModel):
    @staticmethod
    def modify_commandline_options(parser, is_train):
        parser.add_argument("--sizes", type=int, nargs="+", default=[1])
        parser.add_argument("--style-weight", type=float, default=1.0)
        parser.add_argument("--must", required=True)
        parser.add_argument("--layers", type=int, action="append")
        parser.add_argument("--names", nargs=2)
        parser.add_argument("--count", action="count", default=0)
        parser.add_argument("--level", action="store_const", const=5, default=0)
        parser.add_argument("--no_style", dest="style", action="store_false")
        parser.add_argument("--fast", action=argparse.BooleanOptionalAction)
        parser.add_argument("--none", type=int, nargs="*", default=[])
        parser.add_argument("--more", type=int, action="append", default=[7])
        parser.add_argument("--steps", action="count", default=1)
        parser.add_argument("--couples", type=int, nargs=2, action="append")
        return parser
"""


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    """A folder with a --dataroot, `photos`, and a run without options, `run`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "checkpoints" / "run").mkdir(parents=True)


def config(text: str | bytes, name: str = "c.yaml") -> str:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def parse(program: type, flags: str, **values: object) -> Namespace:
    """The options of a line; values go to the file c.json, which is passed too."""
    words = flags.split()
    if values:
        words += ["--config", config(json.dumps(values), "c.json")]
    options = program(models.registry, data.registry)
    if "--dataroot" not in words and "dataroot" not in values:
        words += ["--dataroot", "photos"]
    return options.parse([*words, "--device", "cpu"])


def parse_train(flags: str = "", **values: object) -> Namespace:
    return parse(TrainOptions, flags, **values)


def parse_test(flags: str = "", **values: object) -> Namespace:
    return parse(TestOptions, flags, **values)


def refused(call, *arguments, **values) -> str:
    """The one line that a call is refused with."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def a_run(name: str, flags: str) -> None:
    options = TrainOptions(models.registry, data.registry)
    line = ["--dataroot", "photos", "--name", name, "--device", "cpu", *flags.split()]
    options.save(options.parse(line))
    Path("checkpoints", name, "latest_net_G.pth").touch()


# --- What is in force -----------------------------------------------------------------------------


def test_a_file_stands_between_the_line_and_the_models_defaults():
    file = config("model: pix2pix\nnorm: instance\nlambda_L1: 30\nlr: 0.01\n")
    opt = parse_train(f"--config {file} --lr 0.02")
    assert (opt.model, opt.norm, opt.lambda_L1, opt.lr) == ("pix2pix", "instance", 30, 0.02)
    assert (opt.netG, opt.config) == ("unet_256", "c.yaml")  # of the model; and where it is from


def test_the_line_may_choose_another_model_than_the_file():
    assert parse_train("--model cycle_gan", model="pix2pix", lr=0.5).netG == "resnet_9blocks"
    opt = parse_train("", dataset_mode="aligned", skip_unmatched=True)
    assert (opt.model, opt.skip_unmatched) == ("cycle_gan", True)


def test_a_model_that_asks_for_its_flags_hears_of_the_file():
    assert parse_train("", model="cut", CUT_mode="FastCUT").n_epochs == 150
    assert parse_train("--CUT_mode CUT", model="cut", CUT_mode="FastCUT").n_epochs == 200


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_values_are_as_they_would_be_typed(form):
    texts = {
        "lr": "1e-4",
        "n_epochs": "007",
        "channels_last": "off",
        "norm": "none",
        "range_A": "[0, 4095]",
        "no_flip": "yes",
        "use_wandb": "No",
        "max_dataset_size": "inf",
        "--beta1": "5e-1",  # with the dashes of the flag
        "name": "2026-11-26",
        "suffix": "no",
    }
    if form == "yaml":
        file = config("".join(f"{key}: {text}\n" for key, text in texts.items()))
    else:
        plain = texts | {"channels_last": False, "no_flip": True, "range_A": [0, 4095]}
        file = config(json.dumps(plain | {"lr": 1e-4, "n_epochs": 7, "--beta1": 0.5}), "c.json")
    opt = parse_train(f"--config {file}")
    assert (opt.lr, opt.n_epochs, opt.norm, opt.range_A) == (1e-4, 7, "none", (0, 4095))
    assert (opt.no_flip, opt.use_wandb, opt.channels_last) == (True, False, False)
    assert (opt.max_dataset_size, opt.beta1) == (float("inf"), 0.5)
    assert opt.name == "2026-11-26_no"


def test_several_values_are_a_list_or_joined_by_commas():
    for value in (["translation", "cutout"], "translation,cutout"):
        assert parse_train("", model="pix2pix", d_augment=value).d_augment == "translation,cutout"


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """The registry of a model written for another program, --model foreign."""
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path / "models")])
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "foreign_model.py").write_text(FOREIGN_MODEL)
    registry = Registry("models", "model", BaseModel, "--model")
    registry.folder = tmp_path / "models"
    yield registry
    sys.modules.pop("models.foreign_model", None)


@pytest.mark.parametrize("typed", ["--must there", ""])
def test_flags_that_a_model_of_others_defines_in_its_way(typed, foreign, capsys):
    lines = "model: foreign\nsizes: [3, 4]\nstyle-weight: 2\n"
    file = config(lines if typed else f"{lines}must: here\n")
    line = ["--dataroot", "photos", "--config", file, *typed.split()]
    opt = TrainOptions(foreign, data.registry).parse(line)
    assert (opt.sizes, opt.style_weight) == ([3, 4], 2.0)
    assert opt.must == ("there" if typed else "here")
    assert "sizes=[3, 4], style_weight=2.0" in capsys.readouterr().out


EVERY_KIND = {
    "sizes": [3, 4],
    "layers": [1, 2],
    "names": ["a b", "c"],
    "count": 2,
    "level": 5,
    "style": False,
    "fast": False,
    "none": [],
    "more": [7, 8],
    "steps": 2,
    "couples": [[1, 2], [3, 4]],
}


@pytest.mark.parametrize("source", ["typed", "keys", "saved options"])
def test_flags_of_others_of_every_kind_are_resumed(source, foreign, capsys):
    line = ["--dataroot", "photos", "--name", "old", "--device", "cpu", "--must", "x"]
    typed = "--sizes 3 4 --layers 1 --layers 2 --count --count --level --no_style --no-fast".split()
    typed += "--more 8 --steps --couples 1 2 --couples 3 4".split()
    if source == "typed":
        line += [*typed, "--model", "foreign", "--names", "a b", "c"]
    elif source == "keys":
        keys = {"model": "foreign", "level": True, "no_style": True, "no-fast": True}
        kept = ("sizes", "layers", "names", "count", "more", "steps")
        line += "--couples 1 2 --couples 3 4 --config".split()  # lists of lists are not for files
        line.append(config(json.dumps({**{k: EVERY_KIND[k] for k in kept}, **keys}), "c.json"))
    else:
        saved = {"isTrain": True, "model": "foreign", **EVERY_KIND}
        line += ["--config", config(json.dumps(saved), "c.json")]
    options = TrainOptions(foreign, data.registry)
    first = options.parse(line)
    assert {name: getattr(first, name) for name in EVERY_KIND} == EVERY_KIND
    assert "although" not in capsys.readouterr().out
    options.save(first)
    Path("checkpoints/old/latest_net_G.pth").touch()
    for file in ("train_options.json", "train_opt.txt"):  # the second as other programs write it
        again = TrainOptions(foreign, data.registry).parse(
            [*line[:8], "--model", "foreign", "--continue_train"]
        )
        assert {name: getattr(again, name) for name in EVERY_KIND} == EVERY_KIND
        Path("checkpoints/old", file).unlink()


def test_what_is_typed_replaces_what_a_file_repeats(foreign, capsys):
    file = config("model: foreign\nmust: x\nlayers: [1, 2]\nsteps: 5\nno-fast: false\n")
    line = ["--dataroot", "photos", "--config", file, "--layers=3", "--steps", "--no_style"]
    opt = TrainOptions(foreign, data.registry).parse(line)
    assert (opt.layers, opt.steps, opt.fast, opt.style) == ([3], 2, True, False)
    told = capsys.readouterr().out.splitlines()
    assert "using --layers [3], although c.yaml says [1, 2]" in told


def test_a_file_names_flags_and_not_what_they_set(foreign):
    line = ["--dataroot", "photos", "--model", "foreign", "--must", "x", "--config"]
    message = refused(TrainOptions(foreign, data.registry).parse, [*line, config("style: false")])
    assert message.startswith("--config c.yaml: unknown flag --style")


@pytest.mark.parametrize("value", ["maybe", 3])
def test_a_flag_of_others_that_takes_no_value_is_there_or_not(value, foreign):
    line = ["--dataroot", "photos", "--model", "foreign", "--must", "x", "--config"]
    options = TrainOptions(foreign, data.registry)
    message = refused(options.parse, [*line, config(json.dumps({"level": value}), "c.json")])
    assert message.startswith(f"--config c.json: --level: '{value}' is neither on nor off")


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
    ],
)
@pytest.mark.parametrize("name, text", [("c.yaml", "name: 사진\nlr: 1\n"), ("C.JSON", None)])
def test_files_that_windows_programs_write(encode, name, text):
    file = config(encode(text or '{\n"name": "사진",\n"lr": 1}\n'), name)
    opt = parse_train(f"--config {file}")
    assert (opt.name, opt.lr) == ("사진", 1)


def test_paths_start_in_the_working_folder_or_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME" if os.name != "nt" else "USERPROFILE", str(tmp_path))
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "c.yaml").write_text("dataroot: photos\nload_pretrain: ~/photos\n")
    opt = parse_train("--config ~/far/c.yaml")
    assert (opt.dataroot, opt.load_pretrain) == ("photos", str(tmp_path / "photos"))


# --- What is said ---------------------------------------------------------------------------------


def test_what_the_file_changes_and_what_is_typed_against_it_is_told(capsys):
    parse_train("--lr 0.02 --ngf 8", lr=0.01, beta1=0.5, n_epochs=3, no_flip=True, ngf=8)
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [
        "using --lr 0.02, although c.json says 0.01",
        "from c.json: n_epochs=3, no_flip=True, ngf=8",
    ]


def test_a_file_that_changes_nothing_says_nothing(capsys):
    parse_train("", lr=0.0002)
    assert not [x for x in capsys.readouterr().out.splitlines() if x.startswith(("from", "using"))]


def test_saved_options_say_the_values():
    options = TrainOptions(models.registry, data.registry)
    config("lr: 0.01\n")
    options.save(options.parse("--dataroot photos --name new --config c.yaml".split()))
    Path("c.yaml").unlink()
    Path("checkpoints/new/latest_net_G.pth").touch()
    assert json.loads(Path("checkpoints/new/train_options.json").read_text())["lr"] == 0.01
    opt = parse_train("--name new --continue_train")
    assert (opt.lr, opt.config) == (0.01, None)


# --- A run that exists ----------------------------------------------------------------------------


def test_a_file_beats_what_a_run_has_saved_and_the_change_is_told(capsys):
    a_run("old", "--model pix2pix --lr 0.5 --no_flip --pool_size 4")
    capsys.readouterr()
    opt = parse_train("--name old --continue_train", lr=0.0002, no_flip=False)
    assert (opt.model, opt.lr, opt.no_flip, opt.pool_size) == ("pix2pix", 0.0002, False, 4)
    assert {"lr 0.5 -> 0.0002", "no_flip True -> False"} <= set(capsys.readouterr().out.split("\n"))
    opt = parse_train("--lr 0.1", name="old", continue_train=True, lr=0.2)
    assert (opt.lr, opt.no_flip) == (0.1, True)
    assert "contradicts" in refused(parse_train, "--name old --continue_train", ngf=32)


def test_a_file_may_have_flags_of_the_model_that_the_run_has_saved():
    a_run("old", "--model pix2pix")
    assert parse_train("--name old --continue_train", lambda_L1=7).lambda_L1 == 7


def test_the_options_of_a_run_without_what_belongs_to_its_start(capsys):
    a_run("old", "--model pix2pix --lr 0.5 --overwrite --seed 3 --max_dataset_size 9")
    capsys.readouterr()
    options = TrainOptions(models.registry, data.registry)
    opt = options.parse(["--name", "new", "--config", "checkpoints/old/train_options.json"])
    assert (opt.dataroot, opt.model, opt.lr) == ("photos", "pix2pix", 0.5)
    assert (opt.seed, opt.max_dataset_size) == (3, 9)
    assert (opt.name, opt.overwrite, opt.device) == ("new", False, "auto")
    assert "print_freq" not in options.chosen  # though the file has its default
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if line.startswith("from")]
    assert told.endswith("dataroot=photos, lr=0.5, max_dataset_size=9, model=pix2pix, seed=3")
    (left_out,) = [line for line in lines if " left out, " in line]
    assert left_out == (
        "checkpoints/old/train_options.json: left out, as it belongs to that start alone: "
        "device=cpu, name=old, overwrite=on"
    )


def test_the_options_of_a_run_beat_those_of_the_run_that_resumes():
    a_run("old", "--model pix2pix --lr 0.5")
    a_run("other", "--model pix2pix")
    file = "checkpoints/other/train_options.json"
    assert parse_train(f"--name old --continue_train --config {file}").lr == 0.0002


def test_testing_takes_from_the_options_of_a_training_what_is_for_both():
    a_run("old", "--model pix2pix --direction BtoA --batch_size 3 --load_size 600 --crop_size 512")
    opt = parse_test(
        "--name run", **json.loads(Path("checkpoints/old/train_options.json").read_text())
    )
    assert (opt.direction, opt.batch_size, opt.crop_size) == ("BtoA", 3, 512)
    assert (opt.phase, opt.no_flip, opt.serial_batches, opt.load_size) == ("test", True, True, 512)


# --- The other program ----------------------------------------------------------------------------

SHARED = {"model": "pix2pix", "name": "run", "direction": "BtoA", "num_test": 7, "lr": 0.1}


def test_one_file_serves_both_programs(capsys):
    assert parse_train("", **SHARED, lambda_L1=3).lr == 0.1
    assert "c.json: left out, not for train.py: num_test\n" in capsys.readouterr().out
    opt = parse_test("", **SHARED, lambda_L1=3)
    assert (opt.num_test, opt.direction) == (7, "BtoA")
    assert "c.json: left out, not for test.py: lambda_L1, lr\n" in capsys.readouterr().out


def test_flags_of_training_are_left_out_whatever_model_tests(capsys):
    assert parse_test("--model test", **SHARED, lambda_L1=3).model == "test"
    assert "lambda_L1, lr" in capsys.readouterr().out
    parse_train("--model pix2pix", model_suffix="_A")
    assert "not for train.py: model_suffix" in capsys.readouterr().out


def test_help_with_a_file_shows_the_flags_of_its_model(capsys):
    with pytest.raises(SystemExit) as end:
        parse_train("--help", model="pix2pix", model_suffix="_A")
    assert end.value.code in (0, None)
    assert "--lambda_L1" in capsys.readouterr().out


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, told",
    [
        ({"lr": "few"}, "--lr: 'few' is not a number above 0"),
        ({"n_epochs": 2.5}, "--n_epochs: '2.5' is not a whole number"),
        ({"lr": [1, 2]}, "--lr: '1,2' is not a number"),
        ({"netG": "unet_265"}, "--netG: 'unet_265' is not one of"),
        ({"no_flip": "maybe"}, "--no_flip: 'maybe' is neither on nor off"),
        ({"model": "pix2pixx"}, "--model pix2pixx: there is no models/pix2pixx_model.py"),
        ({"dataset_mode": "alinged"}, "did you mean aligned?"),
        ({"model": "cut", "CUT_mode": "fast"}, "--CUT_mode: 'fast' is not one of"),
        ({"model": "pix2pix", "lambda_L1": "x", "lr": 1}, "--lambda_L1: 'x' is not"),
        ({"n_epoch": 3}, "unknown flag --n_epoch (did you mean --n_epochs?)"),
        ({"lambda_L1": 3}, "unknown flag --lambda_L1: it belongs to --model"),
        ({"help": True}, "unknown flag --help"),
        ({"niter": 50, "wandb": False}, "other names here: --niter 50 is --n_epochs 50, --wandb"),
        ({"lr": None}, "lr has no value"),
        ({"training": {"lr": 1}}, "training is neither a value nor a list of values"),
        ({"augment": [["scale"]]}, "augment is neither a value nor a list of values"),
        ({"config": "other.yaml"}, "a file cannot name another"),
    ],
)
def test_what_would_be_refused_if_typed_names_the_file(values, told):
    for flags in ("", "--lr 3"):  # whatever is typed
        message = refused(parse_train, flags, **values)
        assert message.startswith("--config c.json: ") and told in message


def test_what_is_typed_wrong_is_not_blamed_on_the_file():
    assert refused(parse_train, "--lr few", n_epochs=3).startswith("--lr: 'few'")
    assert refused(parse_train, "--lrr 3", n_epochs=3).startswith("unknown flag --lrr")
    assert refused(parse_train, "--model nothing", model="pix2pix").startswith("--model nothing")


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("c.yaml", b"", "the file has no flags; write one a line, as in lr: 0.0002"),
        ("c.yaml", b"# lr: 1\n", "the file has no flags"),
        ("c.yaml", b"lr\n", "the file has no flags"),
        ("c.yaml", b"- lr: 1\n", "the file has no flags"),
        ("c.yaml", b"lr: 1\nngf: 2\nlr: 3\n", "lr is there twice"),
        ("c.yaml", b"lr: 1\n--lr: 3\n", "lr is there twice"),
        ("c.yaml", b"ngf: 1\n\tlr: 3\n", "not YAML in UTF-8 (line 2: "),
        ("c.yaml", b"lr: 1\n---\nlr: 3\n", "not YAML in UTF-8 (line 2: "),
        ("c.yaml", b"lr: *there\n", "not YAML in UTF-8 (line 1: "),
        ("c.yaml", b"lr: &a [*a]\n", "lr is neither a value nor a list of values"),
        ("c.yaml", b"training:\n  lr: 1\n", "training is neither a value"),
        ("c.yaml", b"? [a, b]\n: 1\n", "neither a value"),
        ("c.yaml", b"lr:\n", "--lr: '' is not a number above 0"),
        ("c.yaml", b"[" * 5000, "not YAML in UTF-8 ("),
        ("c.yaml", "name: 사진".encode("cp949"), "not YAML in UTF-8 ("),
        ("c.yaml", b"lr: \x00", "not YAML in UTF-8 ("),
        ("c.json", b"", "not JSON in UTF-8 ("),
        ("c.json", b"{}", "the file has no flags"),
        ("c.json", b'[{"lr": 1}]', 'the file has no flags; write them as in {"lr": 0.0002, '),
        ("c.json", b"{'lr': 1}", "not JSON in UTF-8 ("),
        ("c.json", b'{"lr": 1, "lr": 2}', "lr is there twice"),
        ("c.json", b'{"lr": NaN}', "--lr: 'NaN' is not a number above 0"),
        ("c.json", '{"name": "사진"}'.encode("cp949"), "not JSON in UTF-8 ("),
        ("c.json", b"[" * 5000, "not JSON in UTF-8 ("),
        ("train_opt.txt", b"lr: 1", "end in .yaml, .yml, .json; of a run, pass its train_options"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_line(name, content, told):
    message = refused(parse_train, f"--config {config(content, name)}")
    assert message.startswith(f"--config {name}: ") and told in message


def test_of_two_files_none_is_chosen_silently():
    message = refused(parse_train, f"--config {config('lr: 1', 'a.yaml')} --config b.yaml")
    assert message == "--config is there 2 times; pass one file, with all flags"


def test_a_file_that_is_not_there_or_a_folder():
    message = refused(parse_train, "--config no.yaml")
    assert message.startswith("--config no.yaml: No such file or directory; check the path")
    Path("folder.yaml").mkdir()
    assert refused(parse_train, "--config folder.yaml").startswith("--config folder.yaml: ")
    assert "pass its train_options.json" in refused(parse_train, "--config checkpoints/run")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read():
    Path(config("lr: 1")).chmod(0)
    assert refused(parse_train, "--config c.yaml").startswith("--config c.yaml: Permission denied")


def test_without_pyyaml_json_still_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)  # as if it were not installed
    assert parse_train("", lr=3).lr == 3
    message = refused(parse_train, f"--config {config('lr: 3')}")
    assert message.startswith("--config c.yaml: YAML needs PyYAML: pip install PyYAML, or write")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(content=st.binary(max_size=30) | st.text("lr:-[]{}\"'&*!,#? \n\t%@", max_size=30))
@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_any_content_is_read_or_refused(ending, content, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / f"any.{ending}"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with contextlib.suppress(UserError):  # no other error, and no recursion without end
        assert read_config(file, ()).values


# --- Examples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_its_recipe(example, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from preset import PRESETS

    script, *line = shlex.split(PRESETS[example.stem])
    assert script == "train.py"
    shutil.copy(example, "example.yaml")
    for folder in ("portrait_retouch", "datasets/monet2photo"):
        Path(folder).mkdir(parents=True)

    def options(words: list[str]) -> dict:
        opt = TrainOptions(models.registry, data.registry).parse([*words, "--seed", "1"])
        return {name: value for name, value in vars(opt).items() if name != "config"}

    assert options(["--config", "example.yaml"]) == options(line)
