"""Options that train.py and test.py take from an existing run, so that nobody retypes them."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch

import data
import models
from data.base_dataset import input_name
from models import networks
from models.networks.infer import infer_discriminator, infer_generator
from models.weights import load_networks
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import seed_everything

RECORDS = ["json", "foreign", "weights"]
PROGRAMS = ["test", "continue"]
SMALL = "--netG resnet_6blocks --ngf 2 --ndf 2 --seed 1 --device cpu"


class Workplace:
    """A folder with checkpoints/; flags are given as one line."""

    def __init__(self, folder: Path):
        self.checkpoints = folder / "checkpoints"
        (folder / "photos").mkdir()

    def train(self, flags: str) -> tuple[TrainOptions, Namespace]:
        options = TrainOptions(models.registry, data.registry)
        return options, options.parse(["--dataroot", "photos", *flags.split()])

    def test(self, flags: str) -> Namespace:
        line = ["--dataroot", "photos", "--device", "cpu", *flags.split()]
        return TestOptions(models.registry, data.registry).parse(line)

    def again(self, program: str, flags: str) -> Namespace:
        """Options of test.py, or of train.py --continue_train."""
        if program == "test":
            return self.test(flags)
        return self.train(f"{flags} --continue_train --device cpu")[1]

    def run(self, flags: str, name: str = "run", record: str = "json", label: str = "latest"):
        """A run as training leaves it: its options in a form, and weights; returns the model."""
        options, opt = self.train(f"{SMALL} {flags} --name {name} --overwrite")
        model = models.create_model(opt)
        options.save(opt)
        model.save_networks(label)
        folder = self.checkpoints / name
        if record != "json":
            (folder / "train_options.json").unlink()
            (folder / "train_opt.txt").unlink()
        if record == "foreign":
            lines = [f"{k:>25}: {v!s:<30}\t[default: 64]" for k, v in vars(opt).items()]
            text = "\n".join(["------- Options -------", *lines, "------- End -------", ""])
            (folder / "train_opt.txt").write_text(text, encoding="utf-8")
        return model


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.chdir(tmp_path)
    return Workplace(tmp_path)


def refused(call, *arguments) -> str:
    """The one line that a call is refused with."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- From weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["instance", "batch", "none", "syncbatch"])
@pytest.mark.parametrize("netG", ["resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128"])
def test_generators_are_inferred(netG, norm):
    for dropout, (input_nc, output_nc) in itertools.product((True, False), ((1, 3), (3, 2))):
        with torch.device("meta"):
            net = networks.define_G(input_nc, output_nc, 8, netG, norm, dropout)
        expected = {"netG": netG, "ngf": 8, "input_nc": input_nc, "output_nc": output_nc}
        expected["norm"] = "batch" if norm == "syncbatch" else norm  # which have the same weights
        if netG.startswith("resnet"):
            expected["no_dropout"] = not dropout
        assert infer_generator(net.state_dict()) == expected


@pytest.mark.parametrize(
    "norm, spectral", [("instance", False), ("batch", False), ("none", False), ("instance", True)]
)
@pytest.mark.parametrize(
    "netD, layers", [("basic", 3), ("pixel", 3), *(("n_layers", n) for n in (1, 2, 3, 5))]
)
def test_discriminators_are_inferred(netD, layers, norm, spectral):
    with torch.device("meta"):
        net = networks.define_D(6, 8, netD, layers, norm, spectral_norm=spectral)
    found = infer_discriminator(net.state_dict())
    expected = {"netD": netD, "ndf": 8, "spectral_norm": spectral}
    if netD != "pixel":
        expected["n_layers_D"] = layers
    if layers == 3 and netD == "n_layers":
        expected["netD"] = "basic"  # which is the same network
    assert found == expected


def test_other_weights_tell_nothing():
    state = torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict()
    assert infer_generator(state) == infer_discriminator(state) == {}
    assert infer_generator({}) == infer_discriminator({}) == {}


# --- Restored, contradicted -----------------------------------------------------------------------

TRAINED = "--model pix2pix --norm instance --no_dropout --input_nc 1 --direction BtoA"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("record", RECORDS)
def test_the_architecture_is_restored(record, program, work, capsys):
    work.run(f"{TRAINED} --netD n_layers --n_layers_D 2", record=record)
    capsys.readouterr()
    opt = work.again(program, "--model pix2pix --name run")
    assert (opt.netG, opt.ngf, opt.norm) == ("resnet_6blocks", 2, "instance")
    assert (opt.input_nc, opt.output_nc, opt.no_dropout) == (1, 3, True)
    assert opt.direction == ("AtoB" if record == "weights" else "BtoA")  # which no weight tells
    if program == "continue":
        assert (opt.netD, opt.n_layers_D, opt.ndf) == ("n_layers", 2, 2)
    file = {"json": "train_options.json", "foreign": "train_opt.txt"}.get(record, "latest_net_G")
    if (program, record) == ("test", "json") or record == "weights":
        assert file in capsys.readouterr().out  # and it is said where it comes from
    models.create_model(opt).load_networks("latest")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("record", RECORDS)
def test_whether_generators_are_residual_is_restored(record, program, work, capsys):
    """Weights do not tell; neither do options of programs that have no such networks."""
    made = work.run("--model pix2pix --residual", record=record)
    capsys.readouterr()
    again = work.again(program, "--model pix2pix --name run")
    assert again.residual == (record != "weights")
    told = "has no options beside it: taken as trained without --residual"
    assert (told in capsys.readouterr().out) == (record == "weights")
    typed = work.again(program, "--model pix2pix --name run --residual")
    assert told not in capsys.readouterr().out
    model = models.create_model(typed)
    model.load_networks("latest")
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.netG(picture), picture) and torch.equal(made.netG(picture), picture)
    if record != "weights":
        message = refused(work.again, program, "--model pix2pix --name run --residual off")
        assert "--residual off contradicts" in message


@pytest.mark.parametrize("program", PROGRAMS)
def test_options_without_residual_are_of_plain_generators(program, work):
    work.run("--model pix2pix")
    file = work.checkpoints / "run" / "train_options.json"
    options = json.loads(file.read_text(encoding="utf-8"))
    del options["residual"]
    file.write_text(json.dumps(options), encoding="utf-8")
    assert work.again(program, "--model pix2pix --name run").residual is False
    assert "says off" in refused(work.again, program, "--model pix2pix --name run --residual")


def test_pretrained_generators_of_the_other_kind_are_refused(work, capsys):
    work.run("--model pix2pix --residual", name="change")
    work.run("--model pix2pix", name="whole")
    start = f"{SMALL} --model pix2pix --name new --load_pretrain checkpoints"
    assert "pass --residual" in refused(work.train, f"{start}/change")
    assert "leave out --residual" in refused(work.train, f"{start}/whole --residual")
    for file in ("train_options.json", "train_opt.txt"):
        (work.checkpoints / "change" / file).unlink()
    for flags, told in (("", "without"), ("--residual", "with")):
        capsys.readouterr()
        work.train(f"{start}/change {flags}")
        assert f"taken as trained {told} --residual" in capsys.readouterr().out


@pytest.mark.parametrize("record", ["json", "foreign"])
def test_another_model_is_refused_and_both_ways_are_said(record, work):
    work.run("--model pix2pix", record=record)
    for other in ("cycle_gan", "colorization"):
        message = refused(work.again, "test", f"--model {other} --name run")
        for part in (f"--model {other}", "says pix2pix", "pass --model pix2pix", "--model test"):
            assert part in message
        message = refused(work.again, "continue", f"--model {other} --name run")
        for part in (f"--model {other}", "says pix2pix", "leave the flag out", "another --name"):
            assert part in message
    for program, other in (("test", "test"), ("continue", "pix2pix_with_perceptual")):
        assert work.again(program, f"--model {other} --name run").ngf == 2
    work.run("--model colorization", name="colours", record=record)
    message = refused(work.again, "test", "--model pix2pix --name colours")
    assert "pass --model colorization" in message and "--model test" not in message


def test_a_change_is_not_told_before_it_is_refused(work, capsys):
    work.run("--model pix2pix")
    capsys.readouterr()
    assert "says 2" in refused(work.again, "continue", "--name run --ngf 5 --lr 1")
    assert "->" not in capsys.readouterr().out


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("record", RECORDS)
def test_a_contradiction_names_both_values(record, program, work):
    work.run(TRAINED, record=record)
    wrong = {
        "--ngf": ("4", "2"),
        "--netG": ("unet_256", "resnet_6blocks"),
        "--norm": ("batch", "instance"),
        "--no_dropout": ("off", "on"),
        "--input_nc": ("3", "1"),
        "--output_nc": ("1", "3"),
    }
    if program == "continue":
        wrong["--ndf"] = ("4", "2")
        wrong["--netD"] = ("pixel", "basic")
        wrong["--spectral_norm"] = ("on", "off")
    for flag, (given, trained) in wrong.items():
        message = refused(work.again, program, f"--model pix2pix --name run {flag} {given}")
        assert f"{flag} {given}" in message
        assert f"says {trained}" in message
        assert ("another --name" in message) == (program == "continue")
        work.again(program, f"--model pix2pix --name run {flag} {trained}")


def test_a_range_is_told_as_it_is_typed(work, capsys):
    work.run("--model pix2pix --range_A 0,4095 --range_B -1000,2000")
    capsys.readouterr()
    work.test("--model pix2pix --name run --range_A -0.5,1023")
    told = capsys.readouterr().out
    assert "using --range_A -0.5,1023, although" in told
    assert "says 0,4095\n" in told
    assert "range_B=-1000,2000\n" in told


def test_flags_of_the_discriminator_may_stay_on_the_line_in_testing(work):
    work.run("--model pix2pix")
    opt = work.test("--model pix2pix --name run --ndf 4 --netD pixel --n_layers_D 2")
    assert (opt.ndf, opt.netD) == (4, "pixel")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    "trained, given, option",
    [
        ("--norm batch", "--norm syncbatch", ("norm", "syncbatch")),
        ("--norm syncbatch", "--norm batch", ("norm", "batch")),
        ("--direction BtoA", "--direction AtoB", ("direction", "AtoB")),
        ("--netG unet_128", "--no_dropout", ("no_dropout", True)),
        ("--netG unet_128 --no_dropout", "--no_dropout off", ("no_dropout", False)),
    ],
)
def test_what_weights_fit_all_the_same_is_a_notice(trained, given, option, program, work, capsys):
    work.run(f"--model pix2pix {trained}")
    capsys.readouterr()
    opt = work.again(program, f"--model pix2pix --name run {given}")
    name, value = option
    assert getattr(opt, name) == value
    told = capsys.readouterr().out
    if program == "test":
        typed = {True: "on", False: "off"}.get(value, value)
        assert f"using --{name} {typed}, although" in told
    else:
        assert re.search(rf"^{name} \S+ -> {value}$", told, re.MULTILINE)


def test_options_that_cannot_be_read_are_named(work):
    work.run("--model pix2pix")
    file = work.checkpoints / "run" / "train_options.json"
    file.write_text("{", encoding="utf-8")
    for program in PROGRAMS:
        assert "train_options.json" in refused(work.again, program, "--model pix2pix --name run")
    file.write_text(json.dumps({"netG": "resnet_6blocks", "ngf": "many"}), encoding="utf-8")
    for program in PROGRAMS:
        message = refused(work.again, program, "--model pix2pix --name run")
        assert "ngf" in message
        assert "'many'" in message


PICTURES = ("preprocess", "load_size", "crop_size", "direction")
SCALED = ("scale_width", 96, 64, "AtoB")


@pytest.mark.parametrize("record", ["json", "foreign"])
@pytest.mark.parametrize(
    "trained, typed, expected, differs",
    [
        ("", "", ("resize_and_crop", 64, 64, "AtoB"), ""),
        ("--direction BtoA", "", ("resize_and_crop", 64, 64, "BtoA"), ""),
        ("--preprocess crop", "", ("crop", 64, 64, "AtoB"), ""),
        ("--preprocess scale_width", "", SCALED, ""),
        ("--preprocess none", "", ("none", 96, 64, "AtoB"), ""),
        ("", "--crop_size 128", ("resize_and_crop", 128, 128, "AtoB"), "--crop_size 128"),
        ("", "--load_size 80", ("resize_and_crop", 80, 64, "AtoB"), ""),
        ("", "--crop_size 64 --preprocess resize_and_crop --direction AtoB",
         ("resize_and_crop", 64, 64, "AtoB"), ""),
        ("", "--preprocess scale_width", SCALED, "--preprocess scale_width"),
        ("--preprocess scale_width", "--preprocess crop", ("crop", 64, 64, "AtoB"),
         "--preprocess crop"),
        ("--preprocess scale_width", "--load_size 80", ("scale_width", 80, 64, "AtoB"),
         "--load_size 80"),
        ("", "--direction BtoA", ("resize_and_crop", 64, 64, "BtoA"), "--direction BtoA"),
    ],
)  # fmt: skip
def test_pictures_are_tested_as_they_were_trained(
    trained, typed, expected, differs, record, work, capsys
):
    """Typed flags win, and it is said if they differ; a crop shows the whole scaled picture."""
    work.run(f"--model pix2pix --load_size 96 --crop_size 64 {trained}", record=record)
    capsys.readouterr()
    opt = work.test(f"--model pix2pix --name run {typed}")
    assert tuple(getattr(opt, name) for name in PICTURES) == expected
    notices = [line for line in capsys.readouterr().out.splitlines() if "although" in line]
    assert len(notices) == bool(differs)
    assert all(line.startswith(f"using {differs}, although") for line in notices)


@pytest.mark.parametrize("suffix", ["_A", "_B"])
def test_one_generator_gets_pictures_as_the_run_was_trained(suffix, work):
    work.run("--model cycle_gan --load_size 72 --crop_size 64 --direction BtoA --preprocess crop")
    opt = work.test(f"--model test --name run --model_suffix {suffix}")
    assert tuple(getattr(opt, name) for name in PICTURES) == ("crop", 64, 64, "BtoA")
    assert opt.model_suffix == suffix


def test_weights_alone_tell_no_size(work):
    work.run("--model pix2pix --load_size 72 --crop_size 64", record="weights")
    opt = work.test("--model pix2pix --name run --preprocess scale_width")
    assert (opt.load_size, opt.crop_size) == (256, 256)


def test_a_plugin_does_not_change_how_the_runs_pictures_are_tested(work, monkeypatch):
    def defaults(parser, is_train):
        return parser.set_defaults(crop_size=48, load_size=48, preprocess="none", direction="BtoA")

    work.run("--model pix2pix --load_size 72 --crop_size 64")
    monkeypatch.setattr(data.registry.find("single"), "modify_commandline_options", defaults)
    opt = work.test("--model test --name run")
    assert tuple(getattr(opt, n) for n in PICTURES) == ("resize_and_crop", 64, 64, "AtoB")


@pytest.mark.parametrize("record", ["json", "foreign"])
def test_a_value_of_the_run_that_a_test_cannot_use_is_told(record, work, capsys):
    work.run("--model pix2pix --load_size 72 --crop_size 64", record=record)
    name = {"json": "train_options.json", "foreign": "train_opt.txt"}[record]
    file = work.checkpoints / "run" / name
    text = file.read_text(encoding="utf-8").replace("resize_and_crop", "squeeze")
    file.write_text(text, encoding="utf-8")
    capsys.readouterr()
    opt = work.test("--model pix2pix --name run")
    assert (opt.preprocess, opt.crop_size) == ("resize_and_crop", 64)
    said = capsys.readouterr().out
    assert f"{name}: preprocess: 'squeeze' is not one of" in said
    assert "using --preprocess resize_and_crop" in said
    work.test("--model pix2pix --name run --preprocess crop")
    assert "squeeze" not in capsys.readouterr().out


# --- Two generators -------------------------------------------------------------------------------

WAYS = ["AtoB", "BtoA"]


@pytest.mark.parametrize("given", ["", *WAYS])
@pytest.mark.parametrize("trained", WAYS)
@pytest.mark.parametrize("record", RECORDS)
def test_one_generator_of_a_cycle_gan(record, trained, given, work):
    """G_A maps the way the run was trained, which bare weights cannot tell: AtoB is assumed."""
    channels = "--input_nc 1 --output_nc 3 --lambda_identity 0"
    run = work.run(f"--model cycle_gan {channels} --direction {trained}", record=record)
    way = "AtoB" if record == "weights" else trained
    suffix = "_B" if given and given != way else "_A"
    opt = work.test(f"--model test --name run {f'--direction {given}' if given else ''}")
    assert opt.model_suffix == suffix
    assert (opt.input_nc, opt.output_nc) == ((1, 3) if suffix == "_A" else (3, 1))
    assert input_name(opt) == (given or way)[0]  # so that the range of that side is used
    assert_loads(opt, run, suffix)


@pytest.mark.parametrize("suffix", ["_A", "_B"])
@pytest.mark.parametrize("record", RECORDS)
def test_a_chosen_generator_of_a_cycle_gan(record, suffix, work):
    channels = "--input_nc 1 --output_nc 3 --lambda_identity 0"
    run = work.run(f"--model cycle_gan {channels}", record=record)
    opt = work.test(f"--model test --name run --model_suffix {suffix}")
    assert (opt.input_nc, opt.output_nc) == ((1, 3) if suffix == "_A" else (3, 1))
    assert_loads(opt, run, suffix)


def assert_loads(opt: Namespace, run, suffix: str) -> None:
    model = models.create_model(opt)
    model.setup(opt)
    for key, value in run.networks()[f"G{suffix}"].state_dict().items():
        assert torch.equal(model.netG.state_dict()[key], value)


def test_a_run_with_one_generator_has_no_suffix(work):
    work.run("--model pix2pix")
    assert work.test("--model test --name run").model_suffix == ""
    work.run("--model cycle_gan", name="other")
    both = work.checkpoints / "other" / "latest_net_G_A.pth"
    both.rename(work.checkpoints / "run" / both.name)
    assert work.test("--model test --name run").model_suffix == ""


# --- To go on, to start ---------------------------------------------------------------------------


def test_nothing_to_go_on_from(work):
    for name in ("first", "second"):
        work.run("--model pix2pix", name=name)
    (work.checkpoints / "empty").mkdir()
    for program, name in (("continue", "empty"), ("continue", "none"), ("test", "none")):
        message = refused(work.again, program, f"--model pix2pix --name {name}")
        assert name in message
        assert "first, second" in message


def test_auto_goes_on_or_starts(work):
    line = f"--model pix2pix {SMALL} --name run --continue_train auto"
    options, opt = work.train(line)
    assert opt.continue_train is False
    assert "continue_train: False\t[default: False, given: auto]" in options.text
    work.run("--model pix2pix")
    assert work.train(line)[1].continue_train is True


def test_what_a_start_was_told_does_not_hold_for_the_next_and_all_else_does(work, capsys):
    work.run("--model pix2pix")
    file = work.checkpoints / "run" / "train_options.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    of_one_start = {
        **{"name": "other", "checkpoints_dir": "elsewhere", "suffix": "x", "epoch": "7"},
        **{"load_iter": 5, "epoch_count": 9, "load_pretrain": "photos"},
        **{"load_pretrain_partial": True, "dry_run": True, "verbose": True, "device": "cuda:3"},
        **{"gpu_ids": "(3,)", "isTrain": False, "size_multiple": 3, "size_minimum": 5},
    }
    of_the_run = {
        **{"lr": 0.5, "beta1": 0.25, "n_epochs": 7, "n_epochs_decay": 5, "lr_policy": "step"},
        **{"seed": 77, "batch_size": 3, "lambda_L1": 3.0, "gan_mode": "lsgan", "pool_size": 4},
        **{"no_flip": True, "load_size": 300, "max_dataset_size": 6, "serial_batches": True},
        **{"grad_accum": 2, "ema": 0.5, "precision": "bf16", "print_freq": 12, "cache": "ram"},
        **{"save_by_iter": True, "keep_checkpoints": 3, "use_tensorboard": True, "num_threads": 2},
    }
    assert all(saved[name] != value for name, value in (of_one_start | of_the_run).items())
    file.write_text(json.dumps(saved | of_one_start | of_the_run), encoding="utf-8")

    def proceed(flags: str) -> dict:
        return vars(work.train(f"--name run --continue_train {flags}")[1])

    fresh = vars(work.train("--model pix2pix --name run --overwrite --netG resnet_6blocks")[1])
    capsys.readouterr()
    opt = proceed("")
    assert "ignoring" not in capsys.readouterr().out  # as of a --load_pretrain on the line
    for name in of_one_start:
        assert opt[name] == fresh[name], name
    assert saved["overwrite"] is True  # or the line would be refused
    assert {name: opt[name] for name in of_the_run} == of_the_run
    opt = proceed("--lr 0.125 --cache disk --no_flip off")
    typed = {"lr": 0.125, "cache": "disk", "no_flip": False}
    assert {name: opt[name] for name in of_the_run} == of_the_run | typed


def test_an_existing_run_is_not_overwritten_by_accident(work):
    work.run("--model pix2pix", label="7")
    files = sorted((work.checkpoints / "run").iterdir())
    for flags in ("", "--continue_train off"):
        message = refused(work.train, f"--model pix2pix {SMALL} --name run {flags}")
        assert all(word in message for word in ("run", "7", "--continue_train", "--overwrite"))
    for word in ("on", "auto"):
        both = f"--model pix2pix {SMALL} --name run --continue_train {word} --overwrite"
        assert "pass one of them" in refused(work.train, both)

    options, opt = work.train(f"--model pix2pix {SMALL} --name run --overwrite")
    assert sorted((work.checkpoints / "run").iterdir()) == files  # parsing deletes nothing
    options.save(opt)
    assert not list((work.checkpoints / "run").glob("*.pth"))


def test_a_run_that_another_process_made_meanwhile_is_not_overwritten(work):
    options, opt = work.train(f"--model pix2pix {SMALL} --name run")
    work.run("--model pix2pix")
    with pytest.raises(UserError, match="--overwrite"):
        options.save(opt)
    assert (work.checkpoints / "run" / "latest_net_G.pth").is_file()


# --- From another run's weights -------------------------------------------------------------------


def start(work: Workplace, flags: str):
    """A model as train.py has it before the first step."""
    _, opt = work.train(f"--model pix2pix {SMALL} --seed 2 {flags}")
    seed_everything(opt.seed)
    model = models.create_model(opt)
    model.setup(opt)
    return model


def weights(model) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name, net in model.networks().items()
        for key, value in net.state_dict().items()
    }


def differing(model, other) -> set[str]:
    theirs = weights(other)
    return {k for k, v in weights(model).items() if k not in theirs or not equal(v, theirs[k])}


def equal(these: torch.Tensor, those: torch.Tensor) -> bool:
    return these.shape == those.shape and torch.equal(these, those)


def test_pretrained_weights_are_loaded(work):
    pretrained = work.run("--model pix2pix", name="first")
    other = work.run("--model pix2pix --seed 5", name="kept")
    other.save_dir = work.checkpoints / "first"
    other.save_networks("40")
    assert differing(start(work, "--name new"), pretrained)
    assert not differing(start(work, "--name new --load_pretrain checkpoints/first"), pretrained)
    at_40 = start(work, "--name new --load_pretrain checkpoints/first --epoch 40")
    assert not differing(at_40, other)
    assert differing(at_40, pretrained)
    assert "9_net_" in refused(
        start, work, "--name new --load_pretrain checkpoints/first --epoch 9"
    )
    for place in ("checkpoints/none", "checkpoints/first/latest_net_G.pth"):  # a file is no folder
        message = refused(work.train, f"{SMALL} --name new --load_pretrain {place}")
        assert message == f"--load_pretrain {place}: there is no such folder"


def test_pretrained_weights_that_do_not_fit(work, capsys):
    pretrained = work.run("--model pix2pix", name="first")
    line = "--name new --output_nc 1 --load_pretrain checkpoints/first"
    message = refused(start, work, line)
    for part in ("latest_net_G.pth", "latest_net_D.pth", "model.0.weight (2, 6, 4, 4)"):
        assert part in message
    assert "(2, 4, 4, 4)" in message
    assert "--load_pretrain_partial" in message

    capsys.readouterr()
    model = start(work, f"{line} --load_pretrain_partial")
    last = max(
        (k for k in weights(model) if k.startswith("G.") and k.endswith(".weight")),
        key=lambda k: int(k.split(".")[2]),
    )
    misfits = {last, last.replace("weight", "bias"), "D.model.0.weight"}
    assert differing(model, pretrained) == misfits
    assert not differing(model, start(work, "--name new --output_nc 1")) & misfits
    told = capsys.readouterr().out
    assert all(key.partition(".")[2] in told for key in misfits)


def test_a_run_of_its_own_wins_over_pretrained_weights(work, capsys):
    work.run("--model pix2pix", name="first")
    both = "--load_pretrain checkpoints/first --continue_train"
    for name in ("on", "auto"):
        model = start(work, f"--name new {both} {name}")  # none of its own yet
        assert model.opt.continue_train is False
        assert model.opt.load_pretrain == "checkpoints/first"

    work.run("--model pix2pix --seed 5", name="own")
    for name in ("on", "auto"):
        capsys.readouterr()
        _, opt = work.train(f"--name own {both} {name} --device cpu")
        assert opt.continue_train is True
        assert opt.load_pretrain == ""
        assert "checkpoints/first" in capsys.readouterr().out  # that it is not used is said


def test_pretrained_weights_may_be_gone_once_the_run_has_its_own(work):
    work.run("--model pix2pix", name="own")
    _, opt = work.train("--name own --load_pretrain checkpoints/gone --continue_train --device cpu")
    assert opt.continue_train is True


def test_a_saved_dataroot_that_is_not_there_is_told_as_such(work):
    work.run("--model pix2pix")
    (work.checkpoints.parent / "photos").rmdir()
    options = TrainOptions(models.registry, data.registry)
    message = refused(options.parse, ["--name", "run", "--continue_train", "--device", "cpu"])
    for part in ("--dataroot photos", "saved options", "folder it was started in"):
        assert part in message
    assert "saved options" not in refused(work.train, "--name new")


def test_what_other_programs_saved_and_this_one_does_not_take(work, capsys):
    work.run("--model pix2pix", record="foreign")
    file = work.checkpoints / "run" / "train_opt.txt"
    text = file.read_text(encoding="utf-8")
    for name, value in {"display_id": -1, "init_type": "uniform", "num_threads": "many"}.items():
        lines = [line for line in text.splitlines() if not line.strip().startswith(f"{name}:")]
        text = "\n".join([*lines, f"{name:>25}: {value}"]) + "\n"
    file.write_text(text, encoding="utf-8")
    opt = work.again("continue", "--name run --num_threads 3")
    assert (opt.display_id, opt.init_type, opt.num_threads) == (-1, "normal", 3)
    told = capsys.readouterr().out
    assert "train_opt.txt: init_type: 'uniform'" in told and "using --init_type normal" in told
    assert "many" not in told
    file.write_text(text + f"{'ndf':>25}: many\n", encoding="utf-8")
    assert "ndf" in refused(work.again, "continue", "--name run")


def test_a_generator_alone_can_be_trained_on(work, capsys):
    pretrained = work.run("--model pix2pix", name="first")
    (work.checkpoints / "first" / "latest_net_D.pth").unlink()
    line = "--name new --load_pretrain checkpoints/first"
    message = refused(start, work, line)
    assert "latest_net_D.pth" in message and "--load_pretrain_partial" in message
    capsys.readouterr()
    model = start(work, f"{line} --load_pretrain_partial")
    assert "latest_net_D.pth does not exist" in capsys.readouterr().out
    assert {name[0] for name in differing(model, pretrained)} <= {"D"}
    (work.checkpoints / "first" / "latest_net_G.pth").unlink()
    assert "latest_net_G.pth" in refused(start, work, f"{line} --load_pretrain_partial")


@pytest.mark.parametrize("line", ["", "--name new --load_pretrain checkpoints/run"])
def test_batch_norms_of_files_that_do_not_count_batches(line, work):
    """As PyTorch wrote them before 0.4.1; it still takes them."""
    old = work.run("--model pix2pix")
    for file in (work.checkpoints / "run").glob("*_net_*.pth"):
        state = torch.load(file)
        torch.save({k: v for k, v in state.items() if "num_batches_tracked" not in k}, file)
    if line:
        model = start(work, line)
    else:
        model = models.create_model(work.again("continue", "--name run"))
        model.load_networks("latest")
    assert "D.model.3.num_batches_tracked" in weights(model)
    assert not differing(model, old)

    opt = work.test("--model pix2pix --name run")
    assert_loads(opt, old, "")


@pytest.mark.parametrize("trained, other", [("pix2pix", "cycle_gan"), ("cycle_gan", "pix2pix")])
def test_weights_without_options_and_another_model(trained, other, work):
    work.run(f"--model {trained}", record="weights")
    opt = work.again("continue", f"--name run --model {other}")
    model = models.create_model(opt)
    assert f"pass --model {trained}" in refused(model.load_networks, "latest")


def only_generator(folder: Path, source: Path, name: str) -> None:
    """Puts a generator into an empty folder under a name, as a download does."""
    folder.mkdir(parents=True)
    shutil.copy(source, folder / f"latest_net_{name}.pth")


@pytest.mark.parametrize(
    "trained, network, other, taken, roles",
    [
        ("cycle_gan", "G_B", "cycle_gan", "G", "G_A or G_B"),
        ("pix2pix", "G", "pix2pix", "G_A", "G"),
    ],
    ids=["one for two", "one of two for one"],
)
def test_a_generator_of_another_model(trained, network, other, taken, roles, work, capsys):
    """A download is one generator, of a model with one or with two."""
    source = work.run(f"--model {trained}", name="first")
    folder = work.checkpoints / "downloaded"
    only_generator(folder, work.checkpoints / f"first/latest_net_{network}.pth", taken)

    opt = work.again("continue", f"--name downloaded --model {other}")
    message = refused(models.create_model(opt).load_networks, "latest")
    assert f"latest_net_{taken}.pth can be {roles}: to train from" in message
    assert (
        "--load_pretrain checkpoints/downloaded --load_pretrain_partial under a new --name"
        in message
    )
    assert "pass --model" not in message

    opt = work.test(f"--name downloaded --model {other}")
    message = refused(models.create_model(opt).setup, opt)
    assert f"{roles}: rename it" in message and "or pass --model test without" in message

    line = f"--name new --model {other} --load_pretrain checkpoints/downloaded"
    assert "--load_pretrain_partial" in refused(start, work, line)
    capsys.readouterr()
    model = start(work, f"{line} --load_pretrain_partial")
    first = roles.split()[0]
    told = f"taking checkpoints/downloaded/latest_net_{taken}.pth as {first}"
    assert told in capsys.readouterr().out
    loaded = model.networks()[first].state_dict()
    trained_weights = source.networks()[network].state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in trained_weights.items())


FACES = """
from models.cycle_gan_model import CycleGANModel

class FacesModel(CycleGANModel):
    known_by = "G_face"
"""


@pytest.mark.parametrize(
    "network, told", [("G_face", "faces"), ("G", "pix2pix"), ("G_A", "cycle_gan"), ("H", None)]
)
def test_a_model_says_by_which_network_its_weights_are_known(network, told, work, monkeypatch):
    """One that derives from it says nothing of its own; a file that is broken says nothing."""
    plugins = work.checkpoints.parent / "plugins"
    shutil.copytree(models.registry.folder, plugins)
    (plugins / "faces_model.py").write_text(FACES, encoding="utf-8")
    (plugins / "broken_model.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(plugins)])
    monkeypatch.setattr(models.registry, "folder", plugins)
    file = work.checkpoints / "other" / f"latest_net_{network}.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    missing = file.with_name("latest_net_Q.pth")
    advice = f"; pass --model {told}, or the model they were trained with" if told else ""
    message = refused(load_networks, {"Q": torch.nn.Linear(1, 1)}, file.parent, "latest")
    others = f"; {file.parent} has weights of other networks: {network}.pth"
    assert message == f"{missing}: there is no such checkpoint{others}{advice}"


def test_only_a_file_that_is_there_is_said_to_list_the_flags(work):
    work.run("--model pix2pix", name="first")
    line = "--name new --output_nc 1 --load_pretrain checkpoints/first"
    assert "train_opt.txt lists them" in refused(start, work, line)
    (work.checkpoints / "first" / "train_opt.txt").unlink()
    assert "lists them" not in refused(start, work, line)


def test_networks_are_printed_as_files_for_the_well_known_program_ask_for(work, capsys):
    model = work.run("--model pix2pix")
    capsys.readouterr()
    model.print_networks(False)
    assert capsys.readouterr().out.count("million parameters") == 2
    model.print_networks(True)
    assert "Conv2d" in capsys.readouterr().out


# --- Hints ----------------------------------------------------------------------------------------


def test_a_generator_alone_on_folders_of_pairs_is_told(work, capsys):
    work.run("--model pix2pix")
    for side in "AB":
        Path("photos", f"test{side}").mkdir()
    told = "--model test makes a result of every picture in them; --model pix2pix tests as the run"
    for flags, is_told in (("", True), ("--model test", False), ("--model pix2pix", False)):
        capsys.readouterr()
        work.test(f"--name run {flags}")
        assert (told in capsys.readouterr().out) == is_told


def test_a_size_that_is_too_small_names_another_generator(work):
    line = "--model pix2pix --load_size 128 --crop_size 128"
    message = refused(work.train, line)
    assert message.endswith("need at least 256; --netG unet_128 takes 128")
    assert work.train(f"{line} --netG unet_128")[1].crop_size == 128
    line = "--model pix2pix --load_size 200 --crop_size 200"
    assert refused(work.train, line).endswith("; --netG resnet_9blocks takes 200")
    assert work.train(f"{line} --netG resnet_9blocks")[1].crop_size == 200
