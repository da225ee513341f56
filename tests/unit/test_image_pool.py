"""The history of generated images that discriminators see."""

from __future__ import annotations

import copy

import pytest
import torch

from util.image_pool import ImagePool


def image(*values: float) -> torch.Tensor:
    """A batch of images, each filled with its value."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone()


def values(images: torch.Tensor) -> list[float]:
    assert images.shape[1:] == (3, 2, 2)
    return images[:, 0, 0, 0].tolist()


def test_size_0_returns_what_it_is_given():
    pool = ImagePool(0)
    for number in range(5):
        assert values(pool.query(image(number, number + 10))) == [number, number + 10]


def test_until_full_images_are_stored_and_returned():
    pool = ImagePool(4)
    assert values(pool.query(image(0, 1, 2))) == [0, 1, 2]
    assert values(pool.query(image(3))) == [3]


def test_once_full_half_of_the_queries_return_an_older_image():
    pool = ImagePool(10, seed=3)
    pool.query(image(*range(10)))
    stored = set(range(10))
    old = 0
    for number in range(10, 1010):
        (returned,) = values(pool.query(image(number)))
        if returned != number:
            old += 1
            assert returned in stored  # and the new one took its place
            stored = stored - {returned} | {number}
    assert 440 < old < 560
    assert {v for kept in pool.images for v in values(kept)} == stored
    assert max(stored) > 900


def test_every_slot_is_drawn():
    pool = ImagePool(5, seed=0)
    pool.query(image(0, 1, 2, 3, 4))
    returned = {values(pool.query(image(number)))[0] for number in range(5, 200)}
    assert {0, 1, 2, 3, 4} <= returned


def test_a_batch_returns_as_many_images():
    pool = ImagePool(2, seed=0)
    for number in range(20):
        assert pool.query(image(number, number, number)).shape == (3, 3, 2, 2)


def test_no_gradient_and_no_shared_memory():
    pool = ImagePool(1, seed=0)
    for number in range(1, 9):  # first stored, then some of them swapped in
        given = image(number).requires_grad_() * 1
        returned = pool.query(given)
        assert not returned.requires_grad
        kept = values(pool.images[0])
        with torch.no_grad():  # what a caller does to either must not reach the history
            given.zero_()
            returned.zero_()
        assert values(pool.images[0]) == kept
    assert not ImagePool(0).query(given).requires_grad


def test_history_keeps_no_batch_alive_through_a_part_of_it():
    pool, batch = ImagePool(1, seed=0), image(*range(1, 9))
    pool.query(batch)
    batch.zero_()
    assert values(pool.images[0])[0] > 0
    assert pool.images[0].untyped_storage().nbytes() == 3 * 2 * 2 * 4


def test_draws_from_a_source_of_its_own():
    def returned(pool: ImagePool) -> list[float]:
        return [values(pool.query(image(number)))[0] for number in range(60)]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = returned(ImagePool(4, seed=7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert returned(ImagePool(4, seed=7)) == first
    assert returned(ImagePool(4, seed=8)) != first


@pytest.mark.parametrize("queries", [2, 50])
def test_state_restores_it_exactly(queries):
    pool = ImagePool(4, seed=7)
    for number in range(queries):
        pool.query(image(number))
    twin = ImagePool(4, seed=0)
    twin.load_state_dict(copy.deepcopy(pool.state_dict()))
    for number in range(100, 140):
        assert values(pool.query(image(number))) == values(twin.query(image(number)))
