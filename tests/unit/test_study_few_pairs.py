"""The study of few pairs: its data, and that it can go on another day."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import study_few_pairs

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
    pairs = tmp_path / "work" / "pairs" / "retouch_10_1"
    seen, unseen = ({f.name for f in (pairs / p).iterdir()} for p in ("trainA", "valA"))
    assert (len(seen), len(unseen)) == (10, 30) and not seen & unseen
    for name in seen:
        retouched, original = (
            np.asarray(Image.open(pairs / f"train{s}" / name), float) for s in "AB"
        )
        assert 0.1 < np.abs(retouched - original).mean() < 30
