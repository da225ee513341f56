"""The study of few pairs: its data, and that it can go on another day."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import data
import models
import study_few_pairs
from options.train_options import TrainOptions

TINY = "--netG resnet_6blocks --ngf 2 --ndf 2 --load_size 36 --crop_size 32 --device cpu"


def test_each_call_goes_on_where_the_last_one_ended(tmp_path, pictures, capsys):
    for index in range(45):
        pictures.save(pictures.draw(index), f"photos/{index:02}.png")
    line = ["--photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out.jsonl")]
    line += ["--work", str(tmp_path / "work"), "--images", "20", "--minutes", "0.001"]
    for _ in range(2):
        study_few_pairs.main([*line, "--flags", TINY])
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["pairs"], first["variant"], first["seed"]) == (10, "plain", 1)
    assert (second["pairs"], second["variant"], second["seed"]) == (10, "residual", 1)
    assert first["images"] == second["images"] == 20
    assert first["nothing"] == second["nothing"] and first["last"] != second["last"]
    assert capsys.readouterr().out.count("| retouch | 10 | residual |") == 1
    assert Image.open(tmp_path / "out.png").size[0] > 100
    (pairs,) = (tmp_path / "work" / "pairs").iterdir()
    seen, unseen = ({f.name for f in (pairs / p).iterdir()} for p in ("trainA", "valA"))
    assert (len(seen), len(unseen)) == (10, 30) and not seen & unseen
    for name in seen:
        retouched, original = (
            np.asarray(Image.open(pairs / f"train{s}" / name), float) for s in "AB"
        )
        assert 0.1 < np.abs(retouched - original).mean() < 30


def test_results_of_other_networks_or_lengths_stay_apart(tmp_path):
    """Lines from before they had flags are of the usual ones."""
    opt = study_few_pairs.parse(["--out", str(tmp_path / "out.jsonl")])
    line = {"task": "retouch", "pairs": 3, "variant": "plain", "seed": 1, "images": 1599}
    others = [{**line, "flags": TINY}, {**line, "images": 30}]
    lines = [line, *others, {**line, "flags": study_few_pairs.NETWORKS}]
    opt.out.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    assert study_few_pairs.read(opt) == [lines[0], lines[3]]
    opt.flags = TINY
    assert study_few_pairs.read(opt) == [lines[1]]


@pytest.mark.parametrize("variant", study_few_pairs.VARIANTS)
def test_every_variant_can_be_trained(variant, tmp_path):
    """Also the one with two discriminators, R1 and the batch norm of pix2pix."""
    line = f"{study_few_pairs.NETWORKS} {study_few_pairs.VARIANTS[variant]} --model pix2pix"
    places = ["--dataroot", str(tmp_path), "--checkpoints_dir", str(tmp_path), "--device", "cpu"]
    opt = TrainOptions(models.registry, data.registry).parse([*places, *line.split()])
    model = models.create_model(opt)
    model.setup(opt)
    assert ("D_2" in model.networks()) == ("D_GP" in model.loss_names) == (variant == "all + D")


def test_every_result_in_the_docs_counts():
    opt = study_few_pairs.parse([])
    assert len(study_few_pairs.read(opt)) == len(opt.out.read_text().splitlines()) > 0


def test_pairs_are_complete_and_of_their_photos(tmp_path, pictures, monkeypatch):
    for index in range(40):  # the same names in two folders
        pictures.save(pictures.draw(index), f"photos/{'ab'[index % 2]}/{index // 2:02}.png")
    case, photos = study_few_pairs.Case("retouch", 3, "plain", 1), tmp_path / "photos"
    save, saved = study_few_pairs.save, []

    def fill_the_disk(picture, path):
        saved.append(path)
        if len(saved) == 5:
            raise OSError("no space")
        save(picture, path)

    monkeypatch.setattr(study_few_pairs, "save", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        study_few_pairs.pairs_of(case, photos, tmp_path / "pairs")
    pairs = study_few_pairs.pairs_of(case, photos, tmp_path / "pairs")
    assert len(list(pairs.rglob("valA/**/*.png"))) == len(list(pairs.rglob("valB/**/*.png"))) == 30
    assert len(list(pairs.rglob("trainA/**/*.png"))) == 3
    number = len(saved)
    assert study_few_pairs.pairs_of(case, photos, tmp_path / "pairs") == pairs
    assert len(saved) == number  # not made again
    pictures.save(pictures.draw(99), "photos/c.png")
    assert study_few_pairs.pairs_of(case, photos, tmp_path / "pairs") != pairs
