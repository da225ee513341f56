"""Networks against frozen numbers, and against a second, purely functional computation."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import networks
from models.networks import define_D, define_G
from util.errors import UserError

NORMS = ("instance", "batch", "none", "syncbatch")


def on_meta(define, *args, **kwargs) -> nn.Module:
    """A full-size network without memory for its weights: for counts, keys and shapes."""
    with torch.device("meta"):
        return define(*args, **kwargs)


def num_params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def weight_keys(net: nn.Module) -> list[str]:
    return [k.removesuffix(".weight") for k in net.state_dict() if k.endswith(".weight")]


def randomised(net: nn.Module, std: float = 0.3) -> nn.Module:
    """Every parameter, biases included, is changed enough to matter in the output."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * std)
    return net


# --- the same networks as functions of a state_dict, for the comparison


def conv(w: dict, key: str, x: torch.Tensor, stride: int, padding: int = 0) -> torch.Tensor:
    return F.conv2d(x, w[f"{key}.weight"], w.get(f"{key}.bias"), stride, padding)


def up_conv(w: dict, key: str, x: torch.Tensor, out_padding: int = 0) -> torch.Tensor:
    weight, bias = w[f"{key}.weight"], w.get(f"{key}.bias")
    return F.conv_transpose2d(x, weight, bias, 2, 1, out_padding)


def norm(w: dict, key: str, x: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "none":
        return x
    dims = (2, 3) if kind == "instance" else (0, 2, 3)
    mean, var = x.mean(dims, keepdim=True), x.var(dims, unbiased=False, keepdim=True)
    y = (x - mean) / (var + 1e-5).sqrt()
    if kind == "instance":
        return y
    return y * w[f"{key}.weight"].view(1, -1, 1, 1) + w[f"{key}.bias"].view(1, -1, 1, 1)


def resnet(w: dict, x: torch.Tensor, kind: str, n_blocks: int) -> torch.Tensor:
    def reflect(x: torch.Tensor, by: int) -> torch.Tensor:
        return F.pad(x, (by, by, by, by), mode="reflect")

    x = norm(w, "model.2", conv(w, "model.1", reflect(x, 3), 1), kind).relu()
    x = norm(w, "model.5", conv(w, "model.4", x, 2, 1), kind).relu()
    x = norm(w, "model.8", conv(w, "model.7", x, 2, 1), kind).relu()
    for i in range(10, 10 + n_blocks):
        key = f"model.{i}.conv_block"
        y = norm(w, f"{key}.2", conv(w, f"{key}.1", reflect(x, 1), 1), kind).relu()
        x = x + norm(w, f"{key}.6", conv(w, f"{key}.5", reflect(y, 1), 1), kind)
    i = 10 + n_blocks
    x = norm(w, f"model.{i + 1}", up_conv(w, f"model.{i}", x, 1), kind).relu()
    x = norm(w, f"model.{i + 4}", up_conv(w, f"model.{i + 3}", x, 1), kind).relu()
    return conv(w, f"model.{i + 7}", reflect(x, 3), 1).tanh()


def unet(w: dict, x: torch.Tensor, kind: str, levels: int) -> torch.Tensor:
    def level(key: str, x: torch.Tensor, below: int) -> torch.Tensor:
        y = conv(w, f"{key}.1", F.leaky_relu(x, 0.2), 2, 1)
        if below:
            y = level(f"{key}.3.model", norm(w, f"{key}.2", y, kind), below - 1)
            y = norm(w, f"{key}.6", up_conv(w, f"{key}.5", y.relu()), kind)
        else:
            y = norm(w, f"{key}.4", up_conv(w, f"{key}.3", y.relu()), kind)
        return torch.cat([x, y], 1)

    y = level("model.model.1.model", conv(w, "model.model.0", x, 2, 1), levels - 2)
    return up_conv(w, "model.model.3", y.relu()).tanh()


def patchgan(w: dict, x: torch.Tensor, kind: str, n_layers: int) -> torch.Tensor:
    x = F.leaky_relu(conv(w, "model.0", x, 2, 1), 0.2)
    for n in range(1, n_layers + 1):
        x = conv(w, f"model.{3 * n - 1}", x, 2 if n < n_layers else 1, 1)
        x = F.leaky_relu(norm(w, f"model.{3 * n}", x, kind), 0.2)
    return conv(w, f"model.{3 * n_layers + 2}", x, 1, 1)


def pixelgan(w: dict, x: torch.Tensor, kind: str) -> torch.Tensor:
    x = conv(w, "net.2", F.leaky_relu(conv(w, "net.0", x, 1), 0.2), 1)
    return conv(w, "net.5", F.leaky_relu(norm(w, "net.3", x, kind), 0.2), 1)


def assert_same_function(net: nn.Module, recomputed, x: torch.Tensor) -> None:
    """Equal outputs and equal gradients, so that no in-place activation goes unnoticed.

    In double precision: the gradient of a bias in front of a norm is zero but for rounding.
    """
    net, x = net.double(), x.double()
    weights = {k: v.clone().requires_grad_() for k, v in net.named_parameters()}
    given = x.clone()
    out, expected = net(x), recomputed(weights, x)
    assert torch.equal(x, given)  # the input is left alone
    torch.testing.assert_close(out, expected, rtol=1e-7, atol=1e-9)
    probe = torch.randn(out.shape, dtype=torch.double)
    got = torch.autograd.grad((out * probe).sum(), list(net.parameters()))
    wanted = torch.autograd.grad((expected * probe).sum(), list(weights.values()))
    assert wanted[0].abs().max() > 1e-3  # a saturated output would leave nothing to compare
    for key, a, b in zip(weights, got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7 * (1 + b.abs().max()), msg=key)


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("name, n_blocks", [("resnet_9blocks", 9), ("resnet_6blocks", 6)])
def test_resnet_computes_what_its_keys_say(name, n_blocks, kind):
    torch.manual_seed(0)
    net = randomised(define_G(3, 2, 2, name, kind), 0.1 if kind == "none" else 0.3)
    assert_same_function(net, lambda w, x: resnet(w, x, kind, n_blocks), torch.randn(2, 3, 16, 24))


@pytest.mark.parametrize("kind", NORMS)
def test_unet_computes_what_its_keys_say(kind):
    torch.manual_seed(0)
    net = randomised(define_G(3, 2, 2, "unet_128", kind), 0.1 if kind == "none" else 0.3)
    assert_same_function(net, lambda w, x: unet(w, x, kind, 7), torch.randn(2, 3, 128, 128))


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("n_layers", [1, 3, 5])
def test_patchgan_computes_what_its_keys_say(n_layers, kind):
    torch.manual_seed(0)
    net = randomised(define_D(4, 3, "n_layers", n_layers, kind))
    assert_same_function(
        net, lambda w, x: patchgan(w, x, kind, n_layers), torch.randn(2, 4, 96, 96)
    )


@pytest.mark.parametrize("kind", NORMS)
def test_pixelgan_computes_what_its_keys_say(kind):
    torch.manual_seed(0)
    net = randomised(define_D(4, 3, "pixel", 3, kind))
    assert_same_function(net, lambda w, x: pixelgan(w, x, kind), torch.randn(2, 4, 5, 7))


# --- frozen numbers


@pytest.mark.parametrize(
    "name, kind, count",
    [
        ("resnet_9blocks", "instance", 11_378_179),
        ("resnet_6blocks", "instance", 7_837_699),
        ("unet_256", "batch", 54_413_955),
        ("unet_128", "batch", 41_828_995),
    ],
)
def test_generator_parameter_counts(name, kind, count):
    assert num_params(on_meta(define_G, 3, 3, 64, name, kind)) == count
    assert num_params(on_meta(define_G, 3, 3, 64, name, kind, True)) == count  # dropout has none


@pytest.mark.parametrize(
    "channels, name, kind, count",
    [
        (6, "basic", "batch", 2_768_705),
        (3, "basic", "instance", 2_764_737),
        (3, "pixel", "instance", 8_705),
    ],
)
def test_discriminator_parameter_counts(channels, name, kind, count):
    assert num_params(on_meta(define_D, channels, 64, name, 3, kind)) == count


def test_unet_256_keys():
    keys = list(on_meta(define_G, 3, 3, 64, "unet_256", "batch").state_dict())
    assert len(keys) == 82
    inner = "model.model.1.model.3.model"
    for key in ("model.model.0.weight", "model.model.3.weight", "model.model.3.bias"):
        assert key in keys
    for key in ("1.weight", "2.running_mean", "5.weight", "6.num_batches_tracked"):
        assert f"{inner}.{key}" in keys
    bottleneck = "model.model.1.model" + ".3.model" * 6
    assert [k for k in keys if k.startswith(f"{bottleneck}.") and k.endswith("weight")] == [
        f"{bottleneck}.1.weight",
        f"{bottleneck}.3.weight",
        f"{bottleneck}.4.weight",
    ]


@pytest.mark.parametrize("use_dropout, second", [(False, 5), (True, 6)])
def test_resnet_keys(use_dropout, second):
    net = on_meta(define_G, 3, 3, 64, "resnet_9blocks", "instance", use_dropout)
    blocks = [f"model.{i}.conv_block.{j}" for i in range(10, 19) for j in (1, second)]
    outside = ["model.1", "model.4", "model.7", *blocks, "model.19", "model.22", "model.26"]
    assert weight_keys(net) == outside
    assert len(net.state_dict()) == 2 * len(outside)  # and a bias each, nothing for the norms


@pytest.mark.parametrize(
    "name, n_layers, keys",
    [
        ("basic", 3, [0, 2, 5, 8, 11]),
        ("basic", 5, [0, 2, 5, 8, 11]),  # basic has 3 layers; whoever reads the flags decides
        ("n_layers", 2, [0, 2, 5, 8]),
        ("n_layers", 5, [0, 2, 5, 8, 11, 14, 17]),
    ],
)
def test_patchgan_keys(name, n_layers, keys):
    net = on_meta(define_D, 3, 64, name, n_layers, "instance")
    assert weight_keys(net) == [f"model.{i}" for i in keys]
    *widths, last = [net.model[i].out_channels for i in keys]
    assert widths == [64, 128, 256, 512, 512, 512][: len(widths)] and last == 1


def test_pixelgan_keys():
    net = on_meta(define_D, 3, 64, "pixel", 3, "batch")
    assert weight_keys(net) == ["net.0", "net.2", "net.3", "net.5"]


@pytest.mark.parametrize(
    "define, args, with_bias_always",
    [
        (define_G, (3, 3, 4, "resnet_6blocks"), ["model.23"]),
        (define_G, (3, 3, 4, "unet_128"), ["model.model.3"]),
        (define_D, (3, 4, "basic", 3), ["model.0", "model.11"]),
        (define_D, (3, 4, "pixel", 3), ["net.0"]),
    ],
)
def test_bias_rules(define, args, with_bias_always):
    for kind in NORMS:
        net = on_meta(define, *args, kind)
        convs = {
            n: m for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))
        }
        biased = [n for n, m in convs.items() if m.bias is not None]
        assert biased == (list(convs) if kind == "instance" else with_bias_always)


@pytest.mark.parametrize(
    "define, args",
    [
        (define_G, (3, 3, 4, "resnet_6blocks")),
        (define_G, (3, 3, 4, "unet_128")),
        (define_D, (3, 4, "basic", 3)),
    ],
)
def test_norm_kinds(define, args):
    keys = {kind: on_meta(define, *args, kind).state_dict().keys() for kind in NORMS}
    assert keys["batch"] == keys["syncbatch"] > keys["none"]
    assert any(k.endswith("running_var") for k in keys["batch"])
    assert not any("running" in k for k in keys["instance"])
    assert {k for k in keys["instance"] if "weight" in k} == keys["none"] - {
        k for k in keys["none"] if "bias" in k
    }


@pytest.mark.parametrize(
    "name, num_dropouts", [("resnet_9blocks", 9), ("unet_256", 3), ("unet_128", 2)]
)
def test_dropout_places(name, num_dropouts):
    def dropouts(use_dropout: bool) -> dict[str, float]:
        net = on_meta(define_G, 3, 3, 4, name, "instance", use_dropout)
        return {n: m.p for n, m in net.named_modules() if isinstance(m, nn.Dropout)}

    places = dropouts(True)
    assert list(places.values()) == [0.5] * num_dropouts
    assert not dropouts(False)
    if name.startswith("unet"):  # the levels just above the bottleneck
        levels = {"unet_256": 8, "unet_128": 7}[name]
        depths = [levels - 2 - i for i in range(num_dropouts)]
        wanted = {"model.model.1.model" + ".3.model" * (d - 1) + ".7" for d in depths}
        assert set(places) == wanted
    else:
        assert all(n.endswith("conv_block.4") for n in places)


def test_dropout_works_in_training_mode_only():
    net = define_G(1, 1, 2, "resnet_6blocks", "instance", True)
    x = torch.randn(1, 1, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("name", networks.SIZE_MULTIPLE)
def test_generators_keep_every_size_of_their_multiple(name):
    multiple = networks.SIZE_MULTIPLE[name]
    net = on_meta(define_G, 3, 2, 2, name, "instance")
    for size in ((multiple, 2 * multiple), (3 * multiple, multiple)):
        size = (max(size[0], 8), max(size[1], 8))  # reflection needs some pixels
        assert net(torch.empty(2, 3, *size, device="meta")).shape == (2, 2, *size)


def test_size_multiples():
    assert networks.SIZE_MULTIPLE == {
        "resnet_9blocks": 4,
        "resnet_6blocks": 4,
        "unet_256": 256,
        "unet_128": 128,
    }
    with pytest.raises(RuntimeError):  # a smaller multiple would fail
        on_meta(define_G, 3, 3, 2, "unet_128")(torch.empty(1, 3, 192, 192, device="meta"))


@pytest.mark.parametrize(
    "name, n_layers, out",
    [("basic", 3, 30), ("n_layers", 1, 126), ("n_layers", 4, 14), ("pixel", 3, 256)],
)
def test_discriminator_output_sizes(name, n_layers, out):
    net = on_meta(define_D, 3, 4, name, n_layers, "instance")
    assert net(torch.empty(2, 3, 256, 256, device="meta")).shape == (2, 1, out, out)


def test_one_patch_is_70_pixels():
    net = define_D(1, 2, "basic", 3, "none").eval()
    x = torch.zeros(1, 1, 256, 256, requires_grad=True)
    net(x)[0, 0, 15, 15].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == 70


def test_unet_256_can_be_fed_one_image_of_its_smallest_size():
    """At the bottleneck the image is a single pixel, which cannot be normalised."""
    for kind in ("batch", "instance"):
        out = define_G(3, 3, 1, "unet_256", kind)(torch.randn(1, 3, 256, 256))
        assert out.abs().max() <= 1


# --- weights in and out


@pytest.mark.parametrize(
    "define, args",
    [
        (define_G, (3, 3, 2, "resnet_6blocks", "instance")),
        (define_G, (3, 3, 2, "unet_128", "instance")),
        (define_D, (3, 2, "basic", 3, "instance")),
        (define_D, (3, 2, "pixel", 3, "instance")),
    ],
)
@pytest.mark.parametrize("from_file", [False, True])
def test_old_files_with_instance_norm_statistics_load(define, args, from_file, tmp_path):
    net = define(*args)
    old = net.state_dict()
    del old._metadata  # as written by versions that did not have it
    for name, layer in net.named_modules():
        if isinstance(layer, nn.InstanceNorm2d):
            old[f"{name}.running_mean"] = torch.zeros(layer.num_features)
            old[f"{name}.running_var"] = torch.ones(layer.num_features)
            old[f"{name}.num_batches_tracked"] = torch.tensor(3)
    if from_file:
        torch.save(old, tmp_path / "old.pth")
        old = torch.load(tmp_path / "old.pth", weights_only=True)
    size_before = len(old)
    other = define(*args)
    with pytest.raises(RuntimeError):
        other.load_state_dict(old)
    other.load_state_dict(networks.update_norm_buffers(other, old))
    assert len(old) == size_before  # the caller's own is not touched
    for key, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_buffers_in_use_are_not_dropped():
    net = define_D(3, 2, "basic", 3, "batch")
    state = net.state_dict()
    kept = networks.update_norm_buffers(net, state)
    assert kept.keys() == state.keys()
    tracking = nn.Sequential(nn.InstanceNorm2d(2, track_running_stats=True))
    state = tracking.state_dict()
    kept = networks.update_norm_buffers(tracking, state)
    assert kept.keys() == state.keys()
    assert kept._metadata == state._metadata


# --- the signatures that other people's model files rely on


def test_no_gpu_is_touched_where_none_is_named():
    net = networks.init_net(networks.NLayerDiscriminator(3, 2), "normal", 0.02, [])
    assert isinstance(net, networks.NLayerDiscriminator)
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    define_G(3, 3, 2, "resnet_6blocks", "batch", False, "normal", 0.02, [])
    define_D(3, 2, "basic", 3, "batch", "normal", 0.02, [])


@pytest.mark.gpu
def test_gpu_ids_move_the_net():
    net = define_G(3, 3, 2, "resnet_6blocks", "batch", False, "normal", 0.02, [0])
    assert {str(p.device) for p in net.parameters()} == {"cuda:0"}


def test_norm_layer_may_be_a_partial():
    layer = partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    net = networks.ResnetGenerator(3, 3, 2, layer, False, 1)
    assert net.model[1].bias is not None
    net = networks.UnetGenerator(3, 3, 5, 2, partial(nn.BatchNorm2d, affine=True))
    assert net.model.model[0].bias is None


@pytest.mark.parametrize(
    "build, words",
    [
        (
            lambda: define_G(3, 3, 2, "unet_265"),
            ("--netG", "unet_265", "unet_256", "resnet_9blocks"),
        ),
        (lambda: define_D(3, 2, "basik"), ("--netD", "did you mean basic", "pixel")),
        (lambda: define_D(3, 2, "n_layers", 0), ("--n_layers_D", "0", "1 or more")),
        (lambda: define_G(3, 3, 2, "unet_128", "bath"), ("--norm", "batch", "syncbatch")),
        (
            lambda: define_D(3, 2, "basic", init_type="he"),
            ("--init_type", "he", "kaiming", "orthogonal"),
        ),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(build, words):
    with pytest.raises(UserError) as error:
        build()
    for word in words:
        assert word in str(error.value)


# --- spectral norm


@pytest.mark.parametrize("name", ["basic", "pixel"])
def test_spectral_norm_bounds_every_convolution(name):
    torch.manual_seed(0)
    net = define_D(3, 4, name, 3, "none", init_gain=1.0, spectral_norm=True)
    x = torch.randn(1, 3, 64, 64)
    for _ in range(50):  # each forward in training mode is one step of the power iteration
        net(x)
    net.eval()
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    plain = define_D(3, 4, name, 3, "none", init_gain=1.0)
    assert len(convs) == len([m for m in plain.modules() if isinstance(m, nn.Conv2d)])
    for layer in convs:
        top = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert top == pytest.approx(1.0, abs=0.02)
    assert (
        max(
            torch.linalg.matrix_norm(p.flatten(1), ord=2)
            for p in plain.parameters()
            if p.dim() == 4
        )
        > 1.5
    )


def test_spectral_norm_saves_and_loads_and_is_off_by_default():
    net = define_D(3, 2, "basic", spectral_norm=True)
    other = define_D(3, 2, "basic", spectral_norm=True)
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net.eval()(x), other.eval()(x))
    assert "model.0.weight" in define_D(3, 2, "basic").state_dict()
    assert "model.0.weight" not in net.state_dict()
    assert torch.equal(copy.deepcopy(net)(x), net(x))
