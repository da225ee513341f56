"""What every model in models/ and every dataset in data/ must do.

New files are picked up automatically. One folder has pictures in every layout; what
else a model needs is listed in MODEL_FLAGS.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import data
import models
from options.test_options import TestOptions
from options.train_options import TrainOptions
from util.errors import UserError
from util.runtime import isolated_randomness, seed_everything
from util.torchvision_compat import import_torchvision

TINY = ["--netG", "resnet_6blocks", "--ngf", "2", "--ndf", "2", "--load_size", "36"]
TINY += ["--crop_size", "32", "--batch_size", "2", "--num_threads", "0", "--device", "cpu"]
TINY += ["--seed", "1"]
NUM_PICTURES = 4


def vgg_of_noise(folder: Path) -> list[str]:
    vgg = import_torchvision("torchvision.models.vgg")
    state = vgg.make_layers(vgg.cfgs["D"]).state_dict()
    file = folder / "vgg16.pth"
    torch.save({f"features.{key}": value for key, value in state.items()}, file)
    return ["--vgg_weights", str(file)]


MODEL_FLAGS: dict[str, Callable[[Path], list[str]]] = {  # in training; given a folder for files
    "pix2pix_with_perceptual": vgg_of_noise,
}
TEST_ONLY = ("test",)
ONE_WAY = ("colorization",)  # refuse --direction BtoA

CYCLE = "D_A G_A cycle_A idt_A D_B G_B cycle_B idt_B"
LOSSES = {  # in the order in which they are printed
    "pix2pix": "G_GAN G_L1 D_real D_fake",
    "pix2pix_with_perceptual": "G_GAN G_L1 G_Perceptual D_real D_fake",
    "colorization": "G_GAN G_L1 D_real D_fake",
    "cycle_gan": CYCLE,
}
VISUALS = {
    "pix2pix": "real_A fake_B real_B",
    "pix2pix_with_perceptual": "real_A fake_B real_B",
    "colorization": "real_A real_B_rgb fake_B_rgb",
    "cycle_gan": "real_A fake_B rec_A idt_B real_B fake_A rec_B idt_A",
    "test": "real fake",
}
VISUALS_IN_TESTING = VISUALS | {"cycle_gan": "real_A fake_B rec_A real_B fake_A rec_B"}
NETWORKS = {
    "pix2pix": "G D",
    "pix2pix_with_perceptual": "G D",
    "colorization": "G D",
    "cycle_gan": "G_A G_B D_A D_B",
    "test": "G",
}
NETWORKS_IN_TESTING = {name: nets.split(" D")[0] for name, nets in NETWORKS.items()}

MODELS = models.registry.names()
TRAINABLE = [name for name in MODELS if name not in TEST_ONLY]


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory, pictures_in) -> Path:
    """train and test in every layout: PHASE/ side by side, PHASEA/ and PHASEB/."""
    pictures = pictures_in(tmp_path_factory.mktemp("photos"))
    for phase in ("train", "test"):
        pictures.side_by_side(NUM_PICTURES, phase=phase)
        pictures.two_folders(NUM_PICTURES, phase=phase)
        for side in "AB":
            source = pictures.root / "pairs" / f"{phase}{side}"
            source.rename(pictures.root / "joined" / f"{phase}{side}")
    return pictures.root / "joined"


@pytest.fixture(scope="module")
def flags_of(tmp_path_factory) -> Callable[[str], list[str]]:
    """The flags in MODEL_FLAGS; files for them are made once."""
    made: dict[str, list[str]] = {}

    def flags(name: str) -> list[str]:
        if name not in made and name in MODEL_FLAGS:
            made[name] = MODEL_FLAGS[name](tmp_path_factory.mktemp("files"))
        return made.get(name, [])

    return flags


@pytest.fixture
def parse(tmp_path, monkeypatch, dataroot, flags_of) -> Callable[..., Namespace]:
    """`parse("pix2pix", "--lr", "1")`: options for training; testing=True: for testing."""
    monkeypatch.chdir(tmp_path)

    def options(name: str, *flags: str, testing: bool = False) -> Namespace:
        line = ["--dataroot", str(dataroot), "--name", "run", "--model", name, *TINY, *flags]
        if not testing:
            return TrainOptions(models.registry, data.registry).parse([*line, *flags_of(name)])
        (tmp_path / "checkpoints" / "run").mkdir(parents=True, exist_ok=True)
        return TestOptions(models.registry, data.registry).parse(line)

    return options


@pytest.fixture
def build(parse) -> Callable:
    """`build("pix2pix")`: a model that is ready to be trained, and a batch of its dataset."""

    def model_and_batch(name: str, *flags: str):
        opt = parse(name, *flags)
        seed_everything(opt.seed)
        dataset = data.create_dataset(opt)
        model = models.create_model(opt)
        model.setup(opt)
        return model, next(iter(dataset))

    return model_and_batch


def train(model, batch, steps: int = 2) -> None:
    for _ in range(steps):
        model.set_input(batch)
        model.optimize_parameters()


def weights(model) -> dict[str, torch.Tensor]:
    """Every tensor of every network, copied."""
    return {
        f"{name}.{key}": value.clone()
        for name, net in model.networks().items()
        for key, value in net.state_dict().items()
    }


def assert_equal(these: dict[str, torch.Tensor], those: dict[str, torch.Tensor]) -> None:
    assert list(these) == list(those)
    assert [key for key in these if not torch.equal(these[key], those[key])] == []


def assert_shown(model, batch_size: int) -> None:
    """Everything in visual_names exists and can be saved as a picture."""
    visuals = model.get_current_visuals()
    assert list(visuals) == model.visual_names
    for visual in visuals.values():
        assert visual.shape in [(batch_size, channels, 32, 32) for channels in (1, 3)]
        assert torch.isfinite(visual).all()
        assert visual.min() >= -1.001
        assert visual.max() <= 1.001
    assert len(model.get_image_paths()) == batch_size
    paths = model.get_visual_paths()
    assert set(model.visual_names) <= set(paths)
    for sources in paths.values():
        assert len(sources) == batch_size
        assert all(Path(source).is_file() for source in sources)


# --- Models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINABLE)
def test_two_steps_of_training(name, build):
    model, batch = build(name)
    before = weights(model)
    train(model, batch)
    model.compute_visuals()

    losses = model.get_current_losses()
    assert list(losses) == model.loss_names
    assert model.loss_names
    assert all(torch.isfinite(torch.tensor(list(losses.values()))))
    assert torch.isfinite(model.generator_loss)  # what --lr_policy plateau watches
    assert_shown(model, batch_size=2)

    after = weights(model)
    for label, net in model.networks().items():
        learnt = [f"{label}.{key}" for key, _ in net.named_parameters()]  # no running averages
        assert any((after[key] != before[key]).any() for key in learnt), f"{label} did not learn"
    assert all(torch.isfinite(value).all() for value in after.values())


def test_plateau_watches_the_losses_of_G_in_a_model_without_a_total(build):
    model, batch = build("pix2pix")
    train(model, batch)
    total = model.generator_loss.item()
    del model.loss_G
    assert model.generator_loss.item() == pytest.approx(total, rel=1e-6)
    model.loss_names = ["D_real"]
    with pytest.raises(UserError, match="--lr_policy plateau"):
        model.generator_loss  # noqa: B018


@pytest.mark.parametrize("name", TRAINABLE)
def test_names_in_training(name, build):
    model, _ = build(name)
    assert model.isTrain
    assert " ".join(model.loss_names) == LOSSES.get(name, " ".join(model.loss_names))
    assert " ".join(model.visual_names) == VISUALS.get(name, " ".join(model.visual_names))
    assert " ".join(model.model_names) == NETWORKS.get(name, " ".join(model.model_names))


@pytest.mark.parametrize("name", TRAINABLE)
def test_the_same_seed_trains_the_same_weights(name, build):
    trained = []
    for _ in range(2):
        model, batch = build(name)
        train(model, batch)
        trained.append(weights(model))
    assert_equal(*trained)


@pytest.mark.parametrize("name", TRAINABLE)
def test_the_other_direction(name, build):
    if name in ONE_WAY:
        with pytest.raises(UserError, match="--direction"):
            build(name, "--direction", "BtoA")
        return
    for direction, source in (("BtoA", "B"), ("AtoB", "A")):
        model, batch = build(name, "--direction", direction)
        batch |= {"A_paths": ["a0", "a1"], "B_paths": ["b0", "b1"]}  # one file has both halves
        train(model, batch, steps=1)
        assert model.get_image_paths() == batch[f"{source}_paths"]
        assert torch.equal(model.get_current_visuals()[model.visual_names[0]], batch[source])


@pytest.mark.parametrize("name", TRAINABLE)
def test_saved_weights_give_identical_outputs(name, build, tmp_path):
    model, batch = build(name)
    train(model, batch)
    (tmp_path / "checkpoints" / "run").mkdir(parents=True, exist_ok=True)
    model.save_networks("7")
    files = {f"7_net_{net}.pth" for net in model.model_names}
    assert {file.name for file in (tmp_path / "checkpoints" / "run").iterdir()} == files
    for net in model.model_names:
        file = tmp_path / "checkpoints" / "run" / f"7_net_{net}.pth"
        state = torch.load(file, weights_only=True)  # a bare state_dict
        assert list(state) == list(model.networks()[net].state_dict())

    other, _ = build(name, "--seed", "2", "--overwrite")
    other.load_networks("7")
    assert_equal(weights(model), weights(other))
    outputs = []
    for each in (other, model):
        each.eval()
        each.set_input(batch)
        each.test()
        # Some visuals are only made in a training step.
        outputs.append({n: getattr(each, n) for n in each.visual_names if hasattr(other, n)})
    assert_equal(*outputs)
    assert outputs[0]


@pytest.mark.parametrize("name", MODELS)
def test_testing_loads_the_weights_of_the_run(name, parse, tmp_path):
    opt = parse(name, testing=True)
    dataset = data.create_dataset(opt)
    batch = next(iter(dataset))
    trained = models.create_model(opt)  # stands in for a trained model
    trained.save_networks("latest")

    seed_everything(99)
    model = models.create_model(opt)
    model.setup(opt)
    assert not model.isTrain
    assert_equal(weights(model), weights(trained))

    model.eval()
    model.set_input(batch)
    model.test()
    assert_shown(model, batch_size=2)
    assert not any(visual.requires_grad for visual in model.get_current_visuals().values())
    nets, visuals = model.model_names, model.visual_names
    assert " ".join(nets) == NETWORKS_IN_TESTING.get(name, " ".join(nets))
    assert " ".join(visuals) == VISUALS_IN_TESTING.get(name, " ".join(visuals))


@pytest.mark.parametrize("name", MODELS)
def test_eval_makes_the_result_repeatable(name, parse):
    """By default dropout acts, as pix2pix was published; --eval turns it off."""
    opt = parse(name, "--no_dropout", "off", testing=True)
    batch = next(iter(data.create_dataset(opt)))
    model = models.create_model(opt)
    model.eval()
    assert not any(module.training for net in model.networks().values() for module in net.modules())
    results = []
    for _ in range(2):
        model.set_input(batch)
        model.test()
        results.append({k: v.clone() for k, v in model.get_current_visuals().items()})
    assert_equal(*results)


@pytest.mark.parametrize("gan_mode", ["vanilla", "lsgan"])
def test_steps_of_pix2pix_by_hand(gan_mode, build):
    """arXiv:1611.07004, section 3.3: a step on D, its loss halved, then one on G, D untouched."""
    model, batch = build("pix2pix", "--no_dropout", "--gan_mode", gan_mode, "--lambda_L1", "30")
    netG, netD = copy.deepcopy(model.netG), copy.deepcopy(model.netD)
    adam = {"lr": 0.0002, "betas": (0.5, 0.999)}
    optimizer_G = torch.optim.Adam(netG.parameters(), **adam)
    optimizer_D = torch.optim.Adam(netD.parameters(), **adam)
    loss = F.binary_cross_entropy_with_logits if gan_mode == "vanilla" else F.mse_loss

    def distance(prediction: torch.Tensor, target: float) -> torch.Tensor:
        return loss(prediction, torch.full_like(prediction, target))

    A, B = batch["A"], batch["B"]
    for _ in range(2):
        fake = netG(A)
        D_fake = distance(netD(torch.cat((A, fake.detach()), 1)), 0.0)
        D_real = distance(netD(torch.cat((A, B), 1)), 1.0)
        optimizer_D.zero_grad()
        ((D_fake + D_real) / 2).backward()
        gradients_D = [p.grad.clone() for p in netD.parameters()]
        optimizer_D.step()
        G_GAN, G_L1 = distance(netD(torch.cat((A, fake), 1)), 1.0), 30 * F.l1_loss(fake, B)
        optimizer_G.zero_grad()
        (G_GAN + G_L1).backward()
        optimizer_G.step()

        train(model, batch, steps=1)
        expected = [x.item() for x in (G_GAN, G_L1, D_real, D_fake)]
        assert list(model.get_current_losses().values()) == pytest.approx(expected, rel=1e-5)
        for p, gradient in zip(model.netD.parameters(), gradients_D, strict=True):
            torch.testing.assert_close(p.grad, gradient)  # nothing of G's objective is in it
    for ours, by_hand in ((model.netG, netG), (model.netD, netD)):
        for key, value in by_hand.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", TRAINABLE)
def test_discriminators_are_frozen_while_generators_learn(name, build):
    """Otherwise each step would compute discriminator gradients that nobody uses."""
    model, batch = build(name)
    seen = set()
    for label, net in model.networks().items():
        if label.startswith("D"):
            net.register_forward_pre_hook(
                lambda net, inputs: seen.add(
                    (inputs[0].requires_grad, next(net.parameters()).requires_grad)
                )
            )
    train(model, batch)
    judged = any(label.startswith("D") for label in model.networks())
    assert seen == ({(True, False), (False, True)} if judged else set())


@pytest.mark.parametrize("name", MODELS)
def test_what_pages_are_told_fits_the_visuals(name, parse):
    opt = parse(name, testing=True)
    model = models.create_model(opt)
    assert not model.captions or set(model.visual_names) <= set(model.captions)
    assert all(label in model.visual_names for pair in model.compare for label in pair)
    names = set(model.visual_names) | {"G"} | {f"G_{side}" for side in "AB"}
    for task in model.translations:
        assert {task.network, task.input, task.result} <= names
        assert task.target in names or not task.is_paired


@pytest.mark.parametrize("name", TEST_ONLY)
def test_models_for_testing_alone_say_so(name, parse):
    with pytest.raises(UserError, match=r"test\.py"):
        parse(name)


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_checkpoint_is_one_line(name, parse):
    opt = parse(name, "--epoch", "nowhere", testing=True)
    with pytest.raises(UserError, match="nowhere_net_G"):
        models.create_model(opt).setup(opt)


# --- Datasets -------------------------------------------------------------------------------------


def model_for(dataset: str, parse) -> str:
    """A model that chooses this dataset by itself, if there is one."""
    return next((n for n in TRAINABLE if parse(n).dataset_mode == dataset), "")


@pytest.fixture(params=data.registry.names())
def dataset_name(request) -> str:
    return request.param


@pytest.fixture(params=["training", "testing"])
def opt(request, dataset_name, parse) -> Namespace:
    testing = request.param == "testing"
    name = model_for(dataset_name, parse) or ("test" if testing else "template")
    return parse(name, "--dataset_mode", dataset_name, testing=testing)


def test_samples(opt):
    dataset = data.registry.find(opt.dataset_mode)(opt)
    assert len(dataset) >= NUM_PICTURES
    keys = set()
    for index in range(len(dataset)):
        sample = dataset[index]
        tensors = {k: v for k, v in sample.items() if isinstance(v, torch.Tensor)}
        assert tensors
        for key, tensor in tensors.items():
            assert tensor.dtype == torch.float32
            assert tensor.ndim == 3
            assert tensor.shape[1:] == (32, 32)
            assert -1 <= tensor.min() < tensor.max() <= 1
            assert Path(sample[f"{key}_paths"]).is_file()
        keys.add(tuple(sample))
        if index == 0 and type(dataset).gives:
            assert set(type(dataset).gives) == set(tensors)
    assert len(keys) == 1


def test_samples_form_batches(opt):
    loader = data.create_dataset(opt)
    batches = list(loader)
    assert sum(len(batch["A"]) for batch in batches) == len(loader)
    assert all(isinstance(batch["A_paths"], list) for batch in batches)


def test_samples_and_dataset_pickle(opt):
    """Spawned workers, as on Windows and macOS, need this."""
    dataset = data.registry.find(opt.dataset_mode)(opt)
    copy = pickle.loads(pickle.dumps(dataset))
    for index in (0, len(dataset) - 1):
        samples = []
        for each in (dataset, copy):
            with isolated_randomness(3, index):
                samples.append(pickle.loads(pickle.dumps(each[index])))
        assert list(samples[0]) == list(samples[1])
        for key, value in samples[0].items():
            same = torch.equal if isinstance(value, torch.Tensor) else str.__eq__
            assert same(value, samples[1][key])


def test_max_dataset_size_limits(opt):
    opt = Namespace(**{**vars(opt), "max_dataset_size": 3})
    assert len(data.registry.find(opt.dataset_mode)(opt)) == 3


def test_training_augments_and_testing_does_not(opt):
    dataset = data.registry.find(opt.dataset_mode)(opt)
    seen = set()
    for seed in range(8):
        with isolated_randomness(seed):
            seen.add(dataset[0]["A"].numpy().tobytes())
    assert len(seen) > 4 if opt.isTrain else len(seen) == 1


def test_a_folder_without_pictures_is_named(opt, tmp_path):
    (tmp_path / "empty").mkdir()
    opt = Namespace(**{**vars(opt), "dataroot": str(tmp_path / "empty")})
    with pytest.raises(UserError) as caught:
        data.registry.find(opt.dataset_mode)(opt)
    assert "empty" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sample_loads_without_a_warning(opt):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.registry.find(opt.dataset_mode)(opt)[0]
