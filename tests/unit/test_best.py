"""The best validation and patience, on made-up courses of a metric."""

import json

import pytest

from util.metrics.scores import Scores, gain
from util.run.best import Best, best_and_latest


def course(best: Best, values, first_epoch: int = 1) -> list[bool]:
    """Which of these values, one per epoch, were the best so far."""
    found = []
    for epoch, value in enumerate(values, first_epoch):
        figures = {best.metric: value, "PSNR": 10.0}
        found.append(best.add(Scores(epoch, 10 * epoch, {"last": figures}, {})))
    return found


def test_lower_is_better_for_distances_and_higher_for_similarities():
    assert course(Best("LPIPS"), [0.5, 0.6, 0.4, 0.4]) == [True, False, True, False]
    assert course(Best("SSIM"), [0.5, 0.6, 0.4, 0.7]) == [True, True, False, True]
    assert gain("SWD_A", 3, 5) == 2
    assert gain("PSNR", 3, 5) == -2


def test_min_delta_is_measured_from_the_best_not_from_the_last():
    assert course(Best("L1", min_delta=1.0), [9, 8.5, 8.2, 7.9, 7]) == [True] + [False] * 2 + [
        True,
        False,
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_the_best(value):
    assert course(Best("L1"), [value, 5, value]) == [False, True, False]


def test_two_generators_count_with_their_mean():
    best = Best("SWD")
    for epoch, pair in enumerate([(4.0, 4.0), (1.0, 8.0), (1.0, 5.0)], 1):
        figures = dict(zip(("SWD_A", "SWD_B"), pair, strict=True))
        best.add(Scores(epoch, epoch, {"last": figures}, {}))
    assert best.best == [3, 3.0]


def test_the_averaged_weights_decide_where_there_are_any():
    best = Best("L1")
    best.add(Scores(1, 1, {"last": {"L1": 1.0}, "EMA": {"L1": 9.0}}, {}))
    assert best.best == [1, 9.0]


def test_patience_counts_from_the_last_better_one():
    best, out = Best("L1", patience=2), []
    for epoch, value in enumerate([5, 6, float("nan"), 4, 4, 4], 1):
        course(best, [value], epoch)
        out.append(best.is_out_of_patience)
    assert out == [False] * 5 + [True]


def test_without_patience_nothing_is_ever_stuck():
    best = Best("L1")
    course(best, [1, *range(2, 50)])
    assert not best.is_out_of_patience


@pytest.mark.parametrize("cut", range(7))
def test_a_resumed_run_chooses_the_same(cut):
    values = [5.0, 6.0, 4.0, 4.5, 4.2, 3.9, 7.0]
    straight, first = Best("L1", patience=2), Best("L1", patience=2)
    expected = course(straight, values)
    found = course(first, values[:cut])
    resumed = Best("L1", patience=2)
    resumed.load_state_dict(first.state_dict())
    found += course(resumed, values[cut:], cut + 1)
    assert found == expected
    assert resumed.state_dict() == straight.state_dict()


def test_another_metric_is_sought_anew(capsys):
    first, second = Best("SSIM"), Best("LPIPS")
    course(first, [0.9])
    second.load_state_dict(first.state_dict())
    assert "in another way: the best is sought anew" in capsys.readouterr().out
    assert course(second, [0.5]) == [True]


def test_other_pictures_are_sought_anew_too(capsys):
    first, second = Best("SSIM", pictures="a"), Best("SSIM", pictures="b")
    course(first, [0.9])
    second.load_state_dict(first.state_dict())
    assert "validates on other pictures" in capsys.readouterr().out
    assert second.validated == 1
    assert course(second, [0.5], 2) == [True]


def test_a_run_that_does_not_validate_any_more_keeps_what_it_knew():
    first, without, again = Best("SSIM", pictures="a"), Best(""), Best("SSIM", pictures="a")
    course(first, [0.9, 0.8])
    without.load_state_dict(first.state_dict())
    again.load_state_dict(without.state_dict())
    assert again.state_dict() == first.state_dict()


def test_epochs_that_are_trained_again_are_forgotten():
    best = Best("L1", patience=9)
    course(best, [5, 3, 4, 1])
    best.forget_from(3)
    assert (best.history, best.best, best.num_since) == ([[1, 5], [2, 3]], [2, 3], 0)
    assert best.validated == 2


def test_what_was_measured_in_another_way_is_kept_when_epochs_are_trained_again():
    first, second = Best("SSIM"), Best("L1")
    course(first, [0.9, 0.8, 0.7])
    second.load_state_dict(first.state_dict())
    second.forget_from(3)
    assert second.validated == 2


def test_how_best_and_latest_differ(tmp_path):
    def write(*records):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / "validation.jsonl").write_text(lines)

    first = {"epoch": 3, "best": True, "judged_by": "SSIM", "last": {"SSIM": 0.91}}
    last = {"epoch": 9, "best": False, "judged_by": "SSIM", "last": {"SSIM": 0.87}}
    write(first, last)
    assert best_and_latest(tmp_path) == ""  # there is no such checkpoint
    (tmp_path / "best_net_G.pth").touch()
    line = best_and_latest(tmp_path)
    assert all(words in line for words in ("SSIM", "epoch 3", "0.91", "epoch 9", "0.87"))
    write(last, {**first, "epoch": 10})
    assert best_and_latest(tmp_path) == ""  # they are the same
    (tmp_path / "validation.jsonl").write_text('{"epoch": 3, "best"')
    assert best_and_latest(tmp_path) == ""
