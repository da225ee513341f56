"""The search for sizes that fit in a GPU's memory, on one made of numbers."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from util.errors import UserError
from util.run.trial import failure, largest, try_sizes

CROPS = [64, 128, 192, 256]


class Card:
    """A GPU that holds this many pixels at a time."""

    def __init__(self, pixels: int, batch_size: int, crop_size: int):
        self.pixels, self.default = pixels, (batch_size, crop_size)
        self.tried: list[tuple[int, int]] = []

    def attempt(self, *sizes: int) -> None:
        batch, crop = sizes or self.default
        self.tried.append((batch, crop))
        print("one attempt")
        if batch * crop**2 > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nAnd more")


def advice_for(card: Card) -> str:
    with pytest.raises(UserError) as caught:
        try_sizes(card.attempt, card.default[0], CROPS, "--fewer things")
    assert "\n" not in str(caught.value)
    assert "CUDA out of memory. Tried to allocate 2 GiB." in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("count", range(20))
def test_the_largest_of_any_number(count):
    for fitting in range(count + 1):
        tried = []
        sizes = range(100, 100 + count)
        found = largest(lambda size: tried.append(size) or size < 100 + fitting, sizes)  # noqa: B023
        assert found == (99 + fitting if fitting else None)
        assert len(tried) <= count.bit_length()


def test_what_fits_is_tried_once_and_shown(capsys):
    card = Card(4 * 256**2, 4, 256)
    try_sizes(card.attempt, 4, CROPS, "")
    assert card.tried == [(4, 256)]
    assert capsys.readouterr().out == "one attempt\n"


@pytest.mark.parametrize("fitting", [1, 2, 5, 14, 15])
def test_a_smaller_batch_comes_first(fitting, capsys):
    card = Card(fitting * 256**2, 16, 256)
    assert advice_for(card).endswith(f"is --batch_size {fitting}")
    assert {crop for _, crop in card.tried} == {256}
    assert capsys.readouterr().out.count("one attempt") == 1  # of the sizes that were typed


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("fitting", [64, 128, 192])
def test_smaller_pictures_come_next(fitting, batch):
    card = Card(fitting**2, batch, 256)
    assert advice_for(card).endswith(f"is --batch_size 1 --crop_size {fitting}")


def test_where_nothing_fits_the_advice_is_that_of_training():
    assert advice_for(Card(0, 2, 256)).endswith("try, in this order: --fewer things")


def test_other_errors_are_not_a_lack_of_memory():
    def attempt() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        try_sizes(attempt, 4, CROPS, "")


def test_what_an_attempt_has_made_is_gone_before_the_next():
    """Even what refers to itself; the memory of a GPU is needed at once."""
    made = []

    class Network:
        pass

    def attempt() -> None:
        network = Network()
        network.itself = network
        made.append(weakref.ref(network))
        raise torch.OutOfMemoryError("out of memory")

    gc.disable()
    try:
        assert failure(attempt) == "out of memory"
        assert made[0]() is None
    finally:
        gc.enable()
