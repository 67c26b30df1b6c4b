import numpy as np
import pytest

from components import stress
from components.disturbances import (
    CLEAN,
    DISTURBANCES,
    INVERTED,
    SHIFTED,
    disturb,
)
from components.examples import every_nth
from serving.pictures import centre_digit

HALF, NOISE = "half the size", "noise of standard deviation 40"
ROTATED, THINNER, THICKER = (
    "rotated by up to 15 degrees",
    "strokes a pixel thinner",
    "strokes a pixel thicker",
)


@pytest.fixture(scope="module")
def images(sample) -> np.ndarray:
    return sample[0][::50]


@pytest.mark.parametrize("name", DISTURBANCES)
def test_disturbed_digits_are_digits_and_always_the_same(images, name):
    disturbed = disturb(name, images)
    assert (disturbed.dtype, disturbed.shape) == (np.uint8, images.shape)
    np.testing.assert_array_equal(disturbed, disturb(name, images))
    assert np.array_equal(disturbed, images) == (name == CLEAN)


def test_shifts_are_whole_pixels_up_to_four_each_way(images):
    far = np.arange(-4, 5)
    seen = set()
    for image, shifted in zip(images, disturb(SHIFTED, images), strict=True):
        padded = np.pad(image, 8)
        (way,) = [
            (down, right)
            for down in far
            for right in far
            if np.array_equal(padded[8 - down :, 8 - right :][:28, :28], shifted)
        ]
        seen |= set(way)
    assert seen == set(far.tolist())


def test_each_disturbance_does_what_its_name_says(images):
    digits = images.astype(int)
    np.testing.assert_array_equal(disturb(INVERTED, images), 255 - images)
    assert disturb(THINNER, images).sum() < images.sum() < disturb(THICKER, images).sum()
    assert (disturb(THINNER, images) <= images).all()
    half = disturb(HALF, images)
    assert half.sum() == pytest.approx(images.sum() / 4, rel=0.01)
    assert not half[:, :7].any() and not half[:, :, 21:].any()
    assert (disturb(NOISE, images) - digits)[(images > 120) & (images < 135)].std() == (
        pytest.approx(40, rel=0.05)
    )
    rotated = disturb(ROTATED, images)
    assert rotated.sum() == pytest.approx(images.sum(), rel=0.02)
    np.testing.assert_array_equal(disturb("brighter by 60", images), np.minimum(digits + 60, 255))
    assert np.ptp(disturb("half the contrast", images)) in (127, 128)


class Nearest:
    """Recognises the digits that it has seen, where it has seen them."""

    def __init__(self, images: np.ndarray):
        self._seen = np.stack([centre_digit(image) for image in images]).reshape(len(images), -1)

    def predict(self, images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), 1, -1).astype(float)
        return -np.square(flat - self._seen).sum(2)


def test_preprocessing_undoes_polarity_and_place(sample):
    images = sample[0][::500]
    measured = stress.measure(Nearest(images), images, np.arange(10))
    assert measured["digits"] == 10
    figures = measured["disturbances"]
    assert set(figures) == set(DISTURBANCES)
    assert figures[INVERTED]["raw_accuracy"] < 0.5
    for name in (CLEAN, INVERTED, SHIFTED):
        assert figures[name]["preprocessed_accuracy"] == 1
        assert figures[name]["lost"] == 0


def test_a_sample_of_a_large_split_is_used(sample, monkeypatch):
    monkeypatch.setattr(stress, "DIGITS", 15)
    images = sample[0][::100]
    assert stress.measure(Nearest(images), images, np.zeros(50, int))["digits"] == 13


def test_a_loss_is_refused_beyond_half_a_point_and_beyond_chance():
    def refusals(digits: int, lost: int, p: float) -> list[str]:
        none = {"lost": 0, "gained": 0, "loss_p_value": 1.0}
        some = {"lost": lost, "gained": 1, "loss_p_value": p}
        figures = {SHIFTED: some, INVERTED: none, HALF: {**some, "lost": digits}}
        return stress.refusals({"digits": digits, "disturbances": figures}, significance=0.05)

    assert refusals(1000, 6, 0.01) == []
    assert refusals(1000, 7, 0.06) == []
    assert refusals(1000, 7, 0.01) == [
        "shifted by up to 4 pixels, digits score 0.60% less through the preprocessing than clean "
        "ones; at most 0.50% may be lost"
    ]


@pytest.mark.parametrize("step", [1, 3, 7, 100])
def test_every_nth_over_batches_of_any_size(step):
    images = np.arange(23)
    batches = [(images[:5], None), (images[5:6], None), (images[6:20], None), (images[20:], None)]
    found = np.concatenate(list(every_nth(batches, step)))
    assert found.tolist() == images[::step].tolist()
