"""scripts/translate.py on real files, and its generator from Python, as photographers use both."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.translate import load_generator
from tests.unit.test_photo import exif
from tests.unit.test_video import make as make_video
from util.errors import UserError

TINY = "--netG resnet_6blocks --ngf 2 --ndf 2 --load_size 32 --crop_size 32 --device cpu --seed 1"
PORTRAITS = Path(__file__).parents[2] / "datasets" / "portrait_retouch"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, pictures_in, run_in) -> Path:
    """Runs: `still` changes nothing, `pairs` is a U-Net from B to A, `sets` is a CycleGAN."""
    folder = tmp_path_factory.mktemp("trained")
    pictures = pictures_in(folder)
    once = "--n_epochs 1 --n_epochs_decay 0 --num_threads 0 --no_html"
    unet = "--netG unet_128 --load_size 128 --crop_size 128 --direction BtoA"
    for name, flags, dataroot in (
        ("still", "--model pix2pix --residual --lr 1e-30", str(PORTRAITS)),
        ("pairs", f"--model pix2pix {unet}", pictures.two_folders(1)),
        ("sets", "--model cycle_gan", pictures.unaligned(1, 1)),
        ("own", "--model template --dataset_mode template", pictures.side_by_side(1)),
    ):
        line = f"{TINY} {once} --name {name} {flags}".split()
        done = run_in(folder, "train.py", "--dataroot", dataroot, *line)
        assert done.status == 0, done.stderr
    return folder / "checkpoints"


@pytest.fixture
def translate(checkpoints, run_here):
    def run(*words: str, name: str = "still"):
        line = f"--name {name} --checkpoints_dir {checkpoints} --device cpu".split()
        return run_here("scripts/translate.py", *words, *line)

    return run


@pytest.fixture
def portrait(tmp_path) -> Path:
    picture = Image.open(PORTRAITS / "trainB" / "collins.jpg").resize((90, 70))
    picture.save(tmp_path / "portrait.jpg", exif=exif(), quality=95, subsampling=0)
    return tmp_path / "portrait.jpg"


# --- Files ----------------------------------------------------------------------------------------


def test_the_result_lies_beside_the_photograph_and_never_over_a_file(translate, portrait):
    for name in ("portrait_still.jpg", "portrait_still_2.jpg"):
        done = translate(str(portrait))
        assert done.status == 0, done.stderr
        assert name in done.stdout
        result = Image.open(portrait.with_name(name))
        assert result.size == (90, 70) and result.getexif()[271] == "Maker"
    assert "still, latest: transfer, since its training pairs differ by" in done.stdout


def test_a_folder_keeps_its_tree_and_its_results_are_left_out(translate, portrait, tmp_path):
    (tmp_path / "in" / "sea").mkdir(parents=True)
    for place in ("a.jpg", "sea/b.jpg", "sea/b_still.jpg", "sea/b_still_2.jpg"):
        shutil.copy(portrait, tmp_path / "in" / place)
    done = translate("in", "--out", "out", "--output_format", "png")
    assert done.status == 0, done.stderr
    assert "left out 2 results of still" in done.stdout
    found = {p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert found == {"out/a_still.png", "out/sea/b_still.png"}


def test_the_name_of_a_run_may_be_a_path(translate, checkpoints, run_here, portrait):
    words = ["--checkpoints_dir", str(checkpoints.parent), "--device", "cpu"]
    done = run_here("scripts/translate.py", portrait.name, "--name", "checkpoints/still/", *words)
    assert done.status == 0, done.stderr
    assert portrait.with_name("portrait_still.jpg").is_file()


def test_a_problem_is_one_line_and_the_rest_goes_on(translate, portrait, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(portrait.read_bytes()[:500])
    (tmp_path / "text.png").write_text("no picture")
    done = translate("broken.jpg", "gone.jpg", "text.png", "portrait.jpg")
    assert done.status == 2
    assert (tmp_path / "portrait_still.jpg").is_file()
    for name in ("broken.jpg", "gone.jpg", "text.png"):
        assert len([line for line in done.stdout.splitlines() if name in line]) == 1
    assert done.stderr.endswith("3 photographs could not be translated, see above\n")
    assert "Traceback" not in done.stdout + done.stderr


def test_a_path_that_was_typed_without_its_quotes(translate, portrait):
    portrait.rename(portrait.with_name("my own portrait.jpg"))
    done = translate("my", "own", "portrait.jpg")
    assert done.status == 2
    told = 'translate.py: error: a path that contains spaces needs quotes: "my own portrait.jpg"\n'
    assert done.stderr == told


@pytest.mark.parametrize(
    "words, line",
    [
        (["gone.jpg"], "there is nothing to translate"),
        (["portrait.jpg", "--epoch", "77"], "77"),
        (["portrait.jpg", "--reverse"], "has one generator only"),
        (["portrait.jpg", "--name", "gone"], "there is no such run"),
    ],
)
def test_mistakes_end_in_one_line(words, line, checkpoints, run_here, portrait):
    given = [] if "--name" in words else ["--name", "still"]
    done = run_here("scripts/translate.py", *words, *given, "--checkpoints_dir", str(checkpoints))
    assert done.status == 2
    assert line in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_without_words_there_are_two_examples(run_here):
    done = run_here("scripts/translate.py")
    assert done.status == 2
    assert len([line for line in done.stderr.splitlines() if "scripts/translate.py" in line]) == 2


# --- From Python ----------------------------------------------------------------------------------


def test_what_comes_in_comes_out(checkpoints, portrait, tmp_path):
    generator = load_generator(checkpoints / "still", device="cpu")
    picture = Image.open(portrait)
    result = generator(picture)
    assert (result.mode, result.size) == ("RGB", (90, 70))
    assert np.array_equal(result, picture)
    for ending in ("jpg", "png", "webp", "tif"):
        result.save(tmp_path / f"out.{ending}")
        assert Image.open(tmp_path / f"out.{ending}").getexif()[271] == "Maker"

    drawn = np.random.default_rng(0)
    for values in (
        drawn.integers(0, 256, (40, 50, 3)).astype(np.uint8),
        drawn.integers(0, 65536, (40, 50, 3)).astype(np.uint16),
        drawn.integers(0, 65536, (40, 50)).astype(np.uint16),
        drawn.random((40, 50, 4), np.float32),
    ):
        made = generator(values)
        assert made.dtype == values.dtype and np.array_equal(made, values)
    for shape in ((3, 40, 50), (2, 3, 40, 50)):
        for dtype in (torch.float32, torch.float16):
            tensor = (torch.rand(shape) * 2 - 1).to(dtype)
            assert torch.equal(generator(tensor), tensor)


def test_direction_architecture_and_weights_come_from_the_run(checkpoints, run_here, tmp_path):
    """As test.py has it, for a picture of the size that the network was trained for."""
    drawn = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(drawn).save(tmp_path / "in" / "a.png")
    line = f"--dataroot in --checkpoints_dir {checkpoints} --name pairs --device cpu --eval".split()
    assert run_here("test.py", *line).status == 0
    theirs = np.asarray(Image.open(tmp_path / "results/pairs/test_latest/images/a_fake.png"))
    generator = load_generator(checkpoints / "pairs", device="cpu", flags=("--eval",))
    assert np.abs(generator(drawn).astype(int) - theirs).max() <= 1
    assert np.array_equal(generator(drawn), generator(drawn))


def test_weights_from_elsewhere_are_enough(checkpoints, tmp_path):
    (tmp_path / "found").mkdir()
    shutil.copy(checkpoints / "pairs" / "latest_net_G.pth", tmp_path / "found")
    drawn = np.random.default_rng(0).integers(0, 256, (128, 100, 3)).astype(np.uint8)
    assert load_generator(tmp_path / "found", device="cpu")(drawn).shape == (128, 100, 3)


def test_both_generators_of_a_cycle_gan(checkpoints):
    picture = torch.rand(3, 32, 32) * 2 - 1
    forth, back = (
        load_generator(checkpoints / "sets", device="cpu", reverse=r)(picture)
        for r in (False, True)
    )
    assert not torch.equal(forth, back)


def test_a_run_of_an_own_model_file(checkpoints):
    drawn = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)
    assert load_generator(checkpoints / "own", device="cpu")(drawn).shape == (50, 40, 3)


def test_nothing_of_the_callers_is_changed(checkpoints, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["their_program", "--their_flag"])
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    generator = load_generator(checkpoints / "pairs", device="cpu")
    generator(np.zeros((20, 30, 3), np.uint8))
    assert torch.equal(torch.rand(1), wanted)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "picture",
    [
        *(np.zeros((4, 4, 7), np.uint8), np.zeros((4, 4), np.int64), torch.zeros(1, 5, 8, 8)),
        *(torch.zeros(0, 3, 8, 8), torch.full((3, 8, 8), 2.0), torch.full((3, 8, 8), torch.nan)),
        *(torch.zeros(3, 8, 8, dtype=torch.uint8), "photo.jpg", [1, 2]),
    ],
)
def test_what_is_no_picture_is_refused(picture, checkpoints):
    with pytest.raises(UserError, match=r"picture|channels|tensor|array"):
        load_generator(checkpoints / "still", device="cpu")(picture)


# --- Videos ---------------------------------------------------------------------------------------


def test_a_video_is_translated_frame_by_frame(translate, tmp_path):
    av = pytest.importorskip("av")
    films = [make_video(tmp_path / "films" / name) for name in ("a.mp4", "in/b.mkv")]
    done = translate(str(tmp_path / "films"), "--video", "--out", str(tmp_path / "out"))
    assert done.status == 0, done
    assert "2 photographs" not in done.stdout and "2 videos in " in done.stdout
    results = [tmp_path / "out/a_still.mp4", tmp_path / "out/in/b_still.mkv"]
    for film, result in zip(films, results, strict=True):
        with av.open(str(film)) as one, av.open(str(result)) as other:
            pairs = list(zip(one.decode(video=0), other.decode(video=0), strict=True))
        assert len(pairs) == 6
        for before, after in pairs:
            change = before.to_ndarray(format="rgb24") - after.to_ndarray(format="rgb24").astype(
                int
            )
            assert np.abs(change).mean() < 3, "a network that changes nothing"


def test_dropout_does_not_flicker(translate, tmp_path):
    """A still picture stays still, though each frame goes through dropout."""
    av = pytest.importorskip("av")
    film = tmp_path / "still.mkv"
    with av.open(str(film), "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 40, 32, "bgr0"
        rgb = np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8)
        for _ in range(4):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        file.mux(stream.encode())
    assert translate(str(film), "--video", name="pairs").status == 0
    with av.open(str(tmp_path / "still_pairs.mkv")) as file:
        first, *others = (f.to_ndarray(format="rgb24").astype(int) for f in file.decode(video=0))
    assert first.std() > 1 and all(np.abs(first - other).mean() < 1 for other in others)


def test_videos_and_photographs_are_told_apart(translate, portrait, tmp_path):
    film = make_video(tmp_path / "film.mp4")
    done = translate(str(film))
    assert done.status == 2 and "film.mp4 is a video: pass --video" in done.stdout
    done = translate(str(portrait.parent / "empty"), "--video")
    assert done.status == 2 and "no such file" in done.stdout
    (tmp_path / "empty").mkdir()
    done = translate(str(tmp_path / "empty"), "--video")
    assert done.status == 2 and "has no videos" in done.stdout
    done = translate(str(film), "--video", "--output_format", "png")
    assert done.status == 2 and "--output_format is for photographs" in done.stderr
