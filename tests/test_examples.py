"""What components keep of a split that they stream."""

import hashlib
import weakref
from collections.abc import Iterator

import numpy as np

from components.examples import lowest_hashed
from components.sources import Batch


def test_a_sample_is_the_same_in_any_order(sample):
    images, labels = sample
    chosen, their_labels = lowest_hashed([sample], 256)
    assert chosen.shape == (256, 28, 28)
    hashes = [hashlib.sha256(image.tobytes()).digest() for image in images]
    order = sorted(range(len(images)), key=hashes.__getitem__)[:256]
    assert np.array_equal(chosen, images[order])
    assert np.array_equal(their_labels, labels[order])
    # The same picture under two labels, among the chosen: not in the order of coming either.
    twice = np.concatenate([images, chosen[:1]]), np.append(labels, 9 - their_labels[0])
    shuffled = np.random.default_rng(1).permutation(len(labels) + 1)
    parts = np.array_split(shuffled, 7)
    one = lowest_hashed([twice], 256)
    other = lowest_hashed(((twice[0][part], twice[1][part]) for part in parts), 256)
    assert all(map(np.array_equal, one, other))


def test_a_sample_of_few_digits_is_all_of_them(sample):
    images, labels = lowest_hashed([(sample[0][:3], sample[1][:3])], 256)
    assert len(images) == len(labels) == 3
    images, labels = lowest_hashed([], 256)
    assert images.shape == (0, 28, 28)
    assert labels.shape == (0,)


def test_a_sample_holds_no_batch_in_memory():
    random = np.random.default_rng(0)
    alive: list[int] = []

    def batches() -> Iterator[Batch]:
        seen: list[weakref.ref[np.ndarray]] = []
        for _ in range(20):
            alive.append(sum(reference() is not None for reference in seen))
            images = random.integers(0, 256, (100, 28, 28), np.uint8)
            seen.append(weakref.ref(images))
            yield images, np.zeros(100, np.int64)
            del images

    lowest_hashed(batches(), 256)
    assert len(alive) == 20
    assert max(alive) <= 1  # what is read now
