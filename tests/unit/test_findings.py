"""Which pairs are worth a look, by what was measured of them."""

from __future__ import annotations

import numpy as np
import pytest

from data.file_facts import FileFacts
from data.reading.notes import Notes
from scripts.checking.alignment import Move
from scripts.checking.findings import find_all, settled, worst_first
from scripts.checking.pairs import Half, Pair

PLAIN = FileFacts((512, 512), "RGB", "8 bits", "", False, 1, False)
ADOBE = PLAIN._replace(profile="Adobe RGB (1998)", converts=True)
ALIGNED = Move(0.0, 0.0, 0.0, 1.0, 0.02)


def half(number: int, *, facts=PLAIN, size=(512, 512), brightness=100.0, like=None) -> Half:
    """A picture that differs from those of other numbers, unless it is `like` one of them."""
    small = np.random.default_rng(number if like is None else like).normal(size=1024)
    if like is not None:
        small += np.random.default_rng(number).normal(0, 0.02, 1024)
    small = (small / np.linalg.norm(small)).astype(np.float32)
    return Half(facts, size, brightness, number.to_bytes(8, "big"), small)


def pair(number: int, a: Half | None = None, b: Half | None = None, **facts) -> Pair:
    halves = a or half(2 * number), b or half(2 * number + 1)
    files = f"data/trainA/{number}.jpg", f"data/trainB/{number}.jpg"
    return Pair(files, Notes(), halves=halves, **({"move": ALIGNED, "difference": 9.0} | facts))


def usual(number: int = 12) -> list[Pair]:
    return [pair(i, difference=9 + i / number) for i in range(number)]


def kinds(pairs, others=(), input_place=0) -> dict[int, list[str]]:
    found = find_all(pairs, others, input_place)
    return {place: [finding.kind for finding in found[place]] for place in found}


def test_usual_pairs_have_no_findings():
    assert kinds(usual()) == {}


@pytest.mark.parametrize(
    "odd, kind",
    [
        ({"move": ALIGNED._replace(right=1, mean=1.0)}, "misaligned"),
        ({"move": None}, "wrong partner?"),
        ({"difference": 60.0}, "outlier"),
        ({"a": half(900, brightness=190)}, "outlier"),
        ({"a": half(900), "b": half(901, size=(400, 400))}, "changed"),
        ({"a": half(902, facts=ADOBE)}, "profile"),
        ({"refused": "12.jpg: it has 5 channels"}, "refused"),
        ({"a": half(903), "b": half(903)}, "no change"),
    ],
    ids=str,
)
def test_an_odd_pair_is_found_among_usual_ones(odd, kind):
    assert kinds([*usual(), pair(12, **odd)]) == {12: [kind]}


def test_a_large_picture_may_be_off_as_much_as_its_small_copy_tells():
    large = ALIGNED._replace(mean=0.55, larger=6.0)
    assert kinds([*usual(), pair(12, move=large)]) == {}
    assert kinds([*usual(), pair(12, move=large._replace(mean=0.7))]) == {12: ["misaligned"]}


def test_large_pictures_are_unusual_among_small_ones():
    assert kinds([*usual(), pair(12, half(900, size=(2048, 2048)), half(901, size=(2048, 2048)))])


@pytest.mark.parametrize("number", [2, 3, 10])
def test_targets_that_went_to_the_next_input_are_found(number):
    """As if one file of an export had been left out."""
    targets = [half(100 + i, like=i) for i in range(number)]
    inputs = [half(200 + i, like=i) for i in range(number)]
    pairs = [pair(i, inputs[i], targets[(i + 1) % number], move=None) for i in range(number)]
    found = find_all(settled(pairs), [], 0)
    assert {place: [f.text for f in found[place]] for place in found} == {
        i: [f"A looks like the B of {(i - 1) % number}.jpg"] for i in range(number)
    }


def test_one_of_three_pairs_may_have_the_wrong_partner():
    assert kinds([*usual(2), pair(2, move=None)]) == {2: ["wrong partner?"]}
    assert kinds([*usual(1), pair(1, move=None)]) == {}


def test_few_pairs_have_no_outliers():
    assert kinds([*usual(5), pair(5, difference=90.0)]) == {}


def test_both_sides_in_adobe_rgb_are_right():
    assert kinds([*usual(), pair(12, half(90, facts=ADOBE), half(91, facts=ADOBE))]) == {}


def test_what_seems_alike_by_chance_is_taken_for_not_alike():
    unlike = [each._replace(move=None) for each in usual()]
    moved = pair(12, move=ALIGNED._replace(right=9.0, mean=9.0))
    assert kinds(settled([*unlike, moved])) == {}
    assert kinds(settled([*usual(), moved])) == {12: ["misaligned"]}


def test_copies_are_told_from_each_other():
    pairs = usual()
    a, b = pairs[3].halves
    exact, similar = pair(12, a, b), pair(13, half(950, like=6), half(951, like=7))
    other_target, other_input = pair(14, a), pair(15, b=b)
    assert kinds([*pairs, exact]) == {3: ["duplicate"], 12: ["duplicate"]}
    assert kinds([*pairs, similar]) == {3: ["duplicate"], 12: ["duplicate"]}
    assert kinds([*pairs, other_target]) == {3: ["two answers"], 12: ["two answers"]}
    assert kinds([*pairs, other_input]) == {}  # several retouches of one photograph
    assert kinds([*pairs, other_input], input_place=1) == {3: ["two answers"], 12: ["two answers"]}
    for leaked in (exact, similar, other_target, other_input):
        assert kinds(pairs, [leaked]) == {3: ["leak"]}


def test_flat_pictures_are_not_taken_for_copies():
    flat = [half(i)._replace(small=np.zeros(1024, np.float32)) for i in range(800, 804)]
    assert kinds([*usual(), pair(12, *flat[:2]), pair(13, *flat[2:])]) == {}


def test_the_worst_comes_first():
    off = [ALIGNED._replace(mean=mean) for mean in (2.0, 7.0)]
    pairs = [*usual(), *(pair(12 + i, move=move) for i, move in enumerate(off))]
    pairs.append(pair(14, refused="14.jpg: it has 5 channels"))
    assert worst_first(len(pairs), find_all(pairs, [], 0))[:4] == [14, 13, 12, 0]
