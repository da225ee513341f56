"""Result files: names that never clash, exact pixels, aspect ratio, means."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image

from util.errors import UserError
from util.show.full_depth import Depth
from util.show.results import Results, UniqueNames
from util.util import diagnose_network, print_numpy, save_image, tensor2im, to_batch

PAGE = {"title": "run", "winsize_px": 64, "captions": {}, "compare": [], "options": ""}


def names(*paths: str, label: str = "fake_B") -> list[str]:
    unique = UniqueNames()
    return [unique.of(path, label) for path in paths]


def test_a_name_is_the_stem():
    assert names("photos/a.png", "photos/b.c.JPG") == ["a", "b.c"]


def test_same_stems_in_subfolders_keep_apart():
    assert names("photos/x/1.png", "photos/y/1.png", "photos/z/1.png") == ["1", "y_1", "z_1"]


@pytest.mark.parametrize(
    "paths",
    [
        ["a/1.png", "b/1.png", "b/1.jpg", "c/b/1.png", "d/b/1.png"],
        ["photos/Face.png", "photos/face.png", "photos/FACE.jpg"],
        ["x/1.png", "y/1.png", "z/y_1.png", "z/1.png", "w/z/1.png"],
        [f"{letter}/same/1.png" for letter in "abcdefgh"],
    ],
)
def test_names_differ_even_where_letter_case_does_not_count(paths):
    assert len({name.lower() for name in names(*paths)}) == len(paths)


@pytest.mark.parametrize("name", ["caf\u00e9", "\ud55c"])
def test_a_name_is_composed_and_its_forms_do_not_meet(name):
    parts = unicodedata.normalize("NFD", name)
    assert parts != name
    assert names(f"{parts}.png", f"x/{name}.png") == [name, f"x_{name}"]


def test_a_name_is_the_same_each_time():
    assert names("x/1.png", "y/1.png", "x/1.png", "y/1.png") == ["1", "y_1", "1", "y_1"]


def test_files_of_two_labels_do_not_meet():
    """A CycleGAN folder has 1.png in A and in B: 1_real_A.png and 1_real_B.png."""
    unique = UniqueNames()
    assert unique.of("testA/1.png", "real_A") == unique.of("testB/1.png", "real_B") == "1"


def num_bytes(name: str, label: str = "fake_B") -> int:
    return len(os.fsencode(f"{name}_{label}.png"))


@pytest.mark.parametrize("letter", ["a", "가", "😀", "\udce9"])  # 1, 3, 4 bytes; not Unicode
def test_a_name_too_long_for_the_disk_is_cut(letter):
    width = len(os.fsencode(letter))
    for label in ("fake_B", "a" * 100):
        longest = (255 - len(f"_{label}.png")) // width * letter
        assert names(f"photos/{longest}.png", label=label) == [longest]
        (cut,) = names(f"photos/{longest}{letter}.png", label=label)
        assert longest.startswith(cut.partition("~")[0])
        assert num_bytes(cut, label) <= 255


def test_cut_names_stay_apart_and_do_not_depend_on_each_other():
    long = "가" * 83
    paths = [f"x/{long}1.png", f"x/{long}2.png", f"y/{long}1.png", f"x/{long}1.jpg"]
    paths += [
        f"x/{'a' * 249}.png",
        f"x/{'A' * 249}.png",
        f"{'b' * 249}/1.png",
        f"{'b' * 249}/2/1.png",
    ]
    paths += [f"{'c' * 250}/2/1.png", f"c/{'c' * 250}/1.png"]
    unique = names(*paths)
    assert len({name.lower() for name in unique}) == len(paths)
    assert names(*paths) == unique
    assert all(num_bytes(name) <= 255 for name in unique)
    assert names(paths[1]) == unique[1:2]
    assert len({name.partition("~")[0] for name in unique[:2]}) == 1  # both begin alike


def test_the_page_shows_a_result_whose_name_was_cut(tmp_path):
    source = f"photos/{'가' * 83}.png"
    results = Results(tmp_path, measure=None, **PAGE)
    visuals = {"real": torch.zeros(1, 3, 4, 4), "fake": torch.zeros(1, 3, 4, 4)}
    results.add(visuals, {"real": [source]})
    results.close()
    written = sorted(file.name for file in (tmp_path / "images").iterdir())
    assert len(written) == 2
    data = (tmp_path / "data" / "0001.js").read_text()
    (name, told_source, files) = re.search(
        r'page.result\(\d+,(".*?"),(".*?"),({.*?}),', data
    ).groups()
    assert sorted(unquote(f) for f in json.loads(files).values()) == written
    assert json.loads(told_source) == source
    assert all(file.startswith(json.loads(name)) for file in written)


# --- Pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, pixel",
    [(-1, 0), (1, 255), (0, 128), (-3, 0), (2.5, 255), (0.9999, 255), (-0.997, 0), (0.5, 191)],
)
def test_values_are_rounded_and_clamped(value, pixel):
    assert tensor2im(torch.full((1, 3, 2, 2), float(value))).tolist() == [[[pixel] * 3] * 2] * 2


def test_every_8_bit_value_comes_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 * 2 - 1
    assert np.array_equal(tensor2im(tensor), pixels)


def test_grey_becomes_rgb_and_half_precision_is_fine():
    grey = tensor2im(torch.zeros(1, 1, 4, 5, dtype=torch.float16))
    assert (grey.shape, grey.dtype) == ((4, 5, 3), np.uint8)
    assert (grey == 128).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays_are_pictures_of_0_to_255(dtype):
    rgb = np.arange(48, dtype=dtype).reshape(4, 4, 3) * 5
    batch = to_batch(rgb[:, ::-1])  # a view, as flips make it
    assert batch.shape == (1, 3, 4, 4)
    assert np.array_equal(tensor2im(batch), rgb[:, ::-1])
    assert np.array_equal(tensor2im(to_batch(rgb[..., 0]))[..., 2], rgb[..., 0])  # grey
    assert len(to_batch(np.stack([rgb, rgb]))) == 2
    tensor = torch.rand(2, 3, 4, 4)
    assert to_batch(tensor) is tensor
    assert torch.equal(to_batch(tensor[0]), tensor[:1])
    assert torch.equal(to_batch(tensor[0, 0]), tensor[:1, :1])
    for wrong in (None, [tensor], torch.rand(3), np.zeros(5), "picture"):
        with pytest.raises(ValueError, match="is not a picture"):
            to_batch(wrong)


@pytest.mark.parametrize("channels, shown", [(1, 0), (2, 0), (3, None), (4, None), (6, None)])
def test_any_number_of_channels_is_shown(channels, shown):
    """The first three, or the first as grey."""
    levels = torch.arange(channels) * 10
    tensor = (levels / 127.5 - 1).reshape(1, channels, 1, 1).expand(1, channels, 4, 5)
    picture = tensor2im(tensor)
    assert picture.shape == (4, 5, 3)
    assert picture[0, 0].tolist() == ([0, 0, 0] if shown == 0 else [0, 10, 20])


@pytest.mark.parametrize(
    "ratio, size", [(1.0, (60, 40)), (1.5, (90, 40)), (0.5, (60, 80)), (2.0, (120, 40))]
)
def test_aspect_ratio_stretches_one_side(ratio, size, tmp_path):
    save_image(np.zeros((40, 60, 3), np.uint8), tmp_path / "x.png", ratio)
    assert Image.open(tmp_path / "x.png").size == size


def test_a_stretched_picture_shows_the_same(tmp_path):
    """Nothing is flipped; without a ratio, no pixel changes."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30] = (250, 120, 10)
    for ratio in (1.0, 2.0, 0.5):
        save_image(picture, tmp_path / "x.png", ratio)
        stored = np.asarray(Image.open(tmp_path / "x.png"))
        height, width = stored.shape[:2]
        assert stored[height // 4, width // 4].tolist() == [250, 120, 10]
        for row, column in ((1, 3), (3, 1), (3, 3)):
            assert stored[row * height // 4, column * width // 4].tolist() == [0, 0, 0]
        assert ratio != 1.0 or np.array_equal(stored, picture)


def test_of_a_batch_the_first_picture_is_taken_and_arrays_pass_through():
    batch = torch.stack([torch.full((3, 2, 2), level) for level in (1.0, -1.0)])
    assert (tensor2im(batch) == 255).all()
    array = np.array([[[1.7, 2.0, 3.0]]])
    assert tensor2im(array).tolist() == [[[1, 2, 3]]]
    assert tensor2im(batch, imtype=np.float32).dtype == np.float32


def test_what_is_printed_of_arrays_and_networks(capsys):
    print_numpy(np.array([[0, 1], [2, 9]], np.uint8), val=True, shp=True)
    shape, values = capsys.readouterr().out.splitlines()
    assert shape == "shape (2, 2)"
    assert values == "mean 3.000, min 0.000, max 9.000, median 1.500, standard deviation 3.536"
    net = torch.nn.Linear(2, 1)
    diagnose_network(net, "netG")
    net.weight.grad = torch.tensor([[-1.0, 3.0]])  # of mean 2; the bias has none
    diagnose_network(net, "netG")
    net.bias.grad = torch.tensor([-5.0])
    diagnose_network(net, "netG")
    means = [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert means == ["0", "2", "3.5"]


# --- A folder of results --------------------------------------------------------------------------


def visuals(level: float, batch: int = 1) -> dict[str, torch.Tensor]:
    return {
        "real_A": torch.zeros(batch, 3, 8, 8),
        "fake_B": torch.full((batch, 3, 8, 8), level),
        "real_B": torch.zeros(batch, 3, 8, 8),
    }


def paths(*sources: str) -> dict[str, list[str]]:
    return {label: list(sources) for label in ("real_A", "fake_B", "real_B")}


def test_a_batch_is_written_picture_by_picture(tmp_path):
    results = Results(tmp_path / "out" / "test_latest", measure=None, **PAGE)
    results.add(visuals(1.0, batch=2), paths("x/1.png", "y/1.jpg"))
    results.add(visuals(-1.0), paths("x/2.png"))
    assert results.close() == ({}, {})
    images = tmp_path / "out" / "test_latest" / "images"
    labels = ("real_A", "fake_B", "real_B")
    expected = {f"{stem}_{label}.png" for stem in ("1", "y_1", "2") for label in labels}
    assert {file.name for file in images.iterdir()} == expected
    assert np.asarray(Image.open(images / "y_1_fake_B.png")).min() == 255
    assert np.asarray(Image.open(images / "2_fake_B.png")).max() == 0
    assert (tmp_path / "out" / "test_latest" / "index.html").is_file()


def test_a_picture_of_the_first_input_alone(tmp_path):
    results = Results(tmp_path, measure=None, **PAGE)
    pictures = {"real": torch.zeros(2, 3, 8, 8), "shown": torch.zeros(1, 3, 8, 8)}
    with pytest.raises(UserError, match=r"1 picture of shown for 2 inputs.*--batch_size 1"):
        results.add(pictures, {label: ["1.png", "2.png"] for label in pictures})


def test_what_is_not_among_the_pictures_is_not_measured(tmp_path):
    results = Results(tmp_path, measure=("fake_B", "elsewhere"), **PAGE)
    results.add(visuals(0), paths("1.png"))
    assert results.close() == ({}, {})


def test_the_page_names_every_result(tmp_path):
    results = Results(tmp_path, measure=None, **PAGE)
    results.add(visuals(0, batch=2), paths("x/1.png", "y/1.png"))
    results.close()
    told = "".join(file.read_text() for file in sorted((tmp_path / "data").glob("*.js")))
    for name in ("1_fake_B.png", "y_1_fake_B.png", "x/1.png", "y/1.png"):
        assert name in told


def test_means_of_the_metrics(tmp_path):
    results = Results(tmp_path, measure=("fake_B", "real_B"), **PAGE)
    results.add(visuals(2 * 10 / 255), paths("1.png"))  # 10 grey levels from the target
    results.add(visuals(2 * 30 / 255), paths("2.png"))
    means, _ = results.close()
    assert means["L1"] == pytest.approx(20, abs=0.6)  # the target, 127.5, is rounded
    assert set(means) == {"L1", "PSNR", "SSIM"}
    assert means["PSNR"] == pytest.approx(
        np.mean([20 * np.log10(255 / np.abs(x)) for x in (10, 30)]), abs=0.5
    )


def test_doing_nothing_is_measured_in_the_values_of_the_target(tmp_path):
    """Also where the input has 8 bits and the target 16."""
    depth = Depth(np.dtype(np.uint16), (0, 65535), ".tif")
    labels = {"measure": ("fake_B", "real_B"), "untouched": "real_A"}
    depths = {"fake_B": depth, "real_B": depth}
    results = Results(tmp_path, depths=depths, **labels, **PAGE)
    levels = {"real_A": 0.25, "fake_B": 0.5, "real_B": 0.75}
    shown = {k: torch.full((1, 3, 16, 16), 2 * level - 1) for k, level in levels.items()}
    results.add(shown, paths("1.png"))
    results.close()
    ((_, figures),) = told(tmp_path, "nothing")
    assert figures["L1"] == pytest.approx(0.5 * 65535, rel=1e-4)


def told(folder: Path, function: str) -> list[list]:
    calls = (folder / "data" / "0001.js").read_text()
    return [json.loads(f"[{a}]") for a in re.findall(rf"page\.{function}\((.*)\);", calls)]


def test_the_page_is_told_what_doing_nothing_scores(tmp_path):
    labels = {"measure": ("fake_B", "real_B"), "untouched": "real_A"}
    results = Results(tmp_path, **labels, **PAGE)
    levels = {"real_A": 10, "fake_B": 50, "real_B": 53}
    shown = {k: torch.full((1, 3, 16, 16), level / 127.5 - 1) for k, level in levels.items()}
    results.add(shown, paths("1.png"))
    results.add({**shown, "real_A": shown["real_A"][:, :1]}, paths("grey.png"))
    results.add({**shown, "real_A": shown["real_A"][..., :8]}, paths("small.png"))
    results.close()
    ((name, figures),) = told(tmp_path, "nothing")  # the others cannot be compared
    assert (name, figures["L1"]) == ("1", 43)
    assert [arguments[4]["L1"] for arguments in told(tmp_path, "result")] == [3, 3, 3]


@pytest.mark.parametrize("beside", [True, False])
def test_each_result_has_its_own_pictures_and_metrics(beside, tmp_path):
    """Input, result and target of three inputs, each at a level of its own."""
    results = Results(tmp_path, measure=("fake_B", "real_B"), beside=beside, **PAGE)
    levels = {"real_A": [10, 20, 30], "fake_B": [50, 60, 70], "real_B": [51, 64, 79]}
    values = {
        label: torch.tensor(of, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
        for label, of in levels.items()
    }
    sources = {"real_A": ["a0", "a1", "a2"], "fake_B": ["a0", "a1", "a2"]}
    sources["real_B"] = ["b0", "b1", "b2"]
    for batch in (slice(0, 2), slice(2, 3)):
        shown = {label: value[batch] / 127.5 - 1 for label, value in values.items()}
        results.add(shown, {label: names[batch] for label, names in sources.items()})
        told = (tmp_path / "data" / "0001.js").read_text().count("page.result")
        assert told == (0 if beside else batch.stop)  # three never fill what may be unfinished
    assert results.close()[0]["L1"] == (1 + 4 + 9) / 3

    told = re.findall(r"page\.result\((.*)\);", (tmp_path / "data" / "0001.js").read_text())
    assert len(told) == 3
    for i, arguments in enumerate(told):
        _, name, source, files, metrics = json.loads(f"[{arguments}]")
        assert (name, source) == (f"a{i}", f"a{i}")
        assert metrics["L1"] == (1, 4, 9)[i]
        assert list(files) == list(levels)
        for label, file in files.items():
            assert file == f"{sources[label][i]}_{label}.png"
            assert (np.asarray(Image.open(tmp_path / "images" / file)) == levels[label][i]).all()


def test_a_file_that_cannot_be_written_is_an_error_here(tmp_path):
    """Pictures are written on threads; a full disk or the like ends the program all the same."""
    results = Results(tmp_path, measure=None, **PAGE)
    (tmp_path / "images" / "2_fake_B.png").mkdir()
    told = r"results cannot be written: .*2_fake_B\.png.*another --results_dir"
    with pytest.raises(UserError, match=told):
        results.add(visuals(0, batch=100), paths(*(f"{number}.png" for number in range(100))))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_told_with_the_folder(tmp_path):
    """Such errors name no file."""
    results = Results(tmp_path, measure=None, **PAGE)
    (tmp_path / "images" / "1_fake_B.png").symlink_to("/dev/full")
    results.add(visuals(0), paths("1.png"))
    with pytest.raises(UserError) as error:
        results.close()
    assert str(error.value) == (
        f"{tmp_path}: results cannot be written: [Errno 28] No space left on device; free some "
        "space or choose another --results_dir"
    )


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"out: results cannot be written: .*another --results_dir"):
        Results(tmp_path / "out", measure=None, **PAGE)


def test_results_are_told_in_the_order_of_inputs(tmp_path):
    results = Results(tmp_path, measure=None, **PAGE)
    sizes = [8 if number % 5 else 512 for number in range(40)]  # large ones take longer
    for number, size in enumerate(sizes):
        results.add({"fake": torch.rand(1, 3, size, size)}, {"fake": [f"n{number:02}.png"]})
    results.close()
    told = "".join(file.read_text() for file in sorted((tmp_path / "data").glob("*.js")))
    places = [told.index(f"n{number:02}_fake.png") for number in range(40)]
    assert places == sorted(places)
    for number, size in enumerate(sizes):
        assert Image.open(tmp_path / "images" / f"n{number:02}_fake.png").size == (size, size)


def test_what_is_not_shown_of_a_result_is_said_once(tmp_path, capsys):
    results = Results(tmp_path, measure=("fake", "target"), **PAGE)
    for number in range(2):
        pictures = {"real": torch.zeros(1, 6, 8, 8), "fake": torch.zeros(1, 2, 8, 8)}
        pictures["target"] = torch.full((1, 3, 8, 8), 20 / 127.5)
        results.add(pictures, {label: [f"{number}.png"] for label in pictures})
    assert results.close()[0]["L1"] == 20
    assert Image.open(tmp_path / "images" / "1_real.png").size == (8, 8)
    assert capsys.readouterr().out.splitlines() == [
        "real has 6 channels, of which the first three are shown",
        "fake has 2 channels, of which the first is shown, as grey",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_result_that_is_not_finite_is_an_error_and_those_before_stay(tmp_path, value, dtype):
    batch = {label: tensor.to(dtype) for label, tensor in visuals(0, batch=3).items()}
    batch["fake_B"][1, 2, 3, 4] = value
    results = Results(tmp_path, measure=None, why_not_finite=lambda: "mend it", **PAGE)
    results.add(visuals(0), paths("x/1.png"))
    with pytest.raises(UserError) as error, results:
        results.add(batch, paths("x/2.png", "x/3.png", "x/4.png"))
    for word in ("x/3.png", "fake_B", "not finite", "mend it"):
        assert word in str(error.value)
    assert "real_" not in str(error.value)
    written = {file.name.partition("_")[0] for file in (tmp_path / "images").iterdir()}
    assert written == {"1", "2"}
    told = (tmp_path / "data" / "0001.js").read_text()
    assert told.count("page.result(") == 2
    assert told.rstrip().endswith('"stopped by an error");')


def test_label_order_is_kept(tmp_path):
    results = Results(tmp_path, measure=None, **PAGE)
    results.add(visuals(0), paths("1.png"))
    results.close()
    told = (tmp_path / "data" / "0001.js").read_text()
    places = [told.index(f"1_{label}.png") for label in ("real_A", "fake_B", "real_B")]
    assert places == sorted(places)


def test_results_of_a_folder_with_odd_characters(tmp_path):
    results = Results(tmp_path, measure=None, **PAGE)
    source = "photos/a b#%20'é.png"
    results.add(visuals(0), paths(source))
    results.close()
    assert (tmp_path / "images" / (Path(source).stem + "_real_A.png")).is_file()
