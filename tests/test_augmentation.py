from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from components.augmentation import augment
from components.recipes import RECIPES, Augmentation, Recipe

NOTHING = Augmentation(rotation=0, scale=(1, 1), shear=0, shift=0)


@pytest.fixture(scope="module")
def images(sample) -> tf.Tensor:
    return tf.constant(sample[0][::100, :, :, None] / np.float32(255))


def changed(images: tf.Tensor, seed: int = 1, **ranges: object) -> np.ndarray:
    augmentation = Augmentation(**{**vars(NOTHING), **ranges})
    return augment(images, augmentation, tf.constant([0, seed], tf.int64)).numpy()


def test_nothing_changes_nothing(images):
    np.testing.assert_allclose(changed(images), images, atol=1e-5)


def test_one_seed_gives_one_change_and_another_another(images):
    best = RECIPES["best"].augmentation
    first, again, other = (
        augment(images, best, tf.constant([7, seed], tf.int64)).numpy() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5
    assert first.shape == images.shape
    assert 0 <= first.min() <= first.max() <= 1


def test_scale_is_pillows(images):
    ours = changed(images, scale=(0.5, 0.5))
    for image, half in zip(images.numpy()[..., 0], ours[..., 0], strict=True):
        size, middle = 28, 13.5
        expected = Image.fromarray(image).transform(
            (size, size),
            Image.Transform.AFFINE,
            # Pillow counts from the corner of a pixel, not from its middle.
            (2, 0, -middle * 1 - 0.5, 0, 2, -middle * 1 - 0.5),
            Image.Resampling.BILINEAR,
        )
        assert np.abs(np.asarray(expected) - half)[2:-2, 2:-2].max() < 0.01


def test_digits_stay_within_the_ranges(images):
    ys, xs = np.mgrid[:28, :28]
    before, after = (
        np.stack([(i[..., 0] * axis).sum((1, 2)) / i[..., 0].sum((1, 2)) for axis in (ys, xs)])
        for i in (images.numpy(), changed(images, shift=3))
    )
    distance = after - before
    assert np.abs(distance).max() <= 3.01
    assert distance.max() > 2
    assert distance.min() < -2


def test_rotation_keeps_the_ink(images):
    ink = changed(images, rotation=30).sum((1, 2, 3)) / images.numpy().sum((1, 2, 3))
    assert np.abs(ink - 1).max() < 0.05


def test_only_a_share_gets_noise(images):
    many = tf.tile(images, [8, 1, 1, 1])
    noisy = np.abs(changed(many, noise_share=0.25, noise_sd=50) - many).max((1, 2, 3)) > 1e-3
    assert 0.15 < noisy.mean() < 0.35


def test_a_share_of_strokes_becomes_thicker_or_thinner(images):
    many = tf.tile(images, [8, 1, 1, 1])
    after, before = changed(many, thickness_share=0.5, thickness=0.8), many.numpy()
    ink = after.sum((1, 2, 3)) / before.sum((1, 2, 3))
    assert (ink > 1.1).mean() > 0.1
    assert (ink < 0.9).mean() > 0.1
    assert (np.abs(ink - 1) < 1e-5).mean() == pytest.approx(0.5, abs=0.01)
    for image, thick_or_thin in zip(before[..., 0], after[..., 0], strict=True):
        assert (thick_or_thin <= ndimage.maximum_filter(image, 3) + 1e-6).all()
        assert (thick_or_thin >= ndimage.minimum_filter(image, 3) - 1e-6).all()


def test_contrast_sharpens_and_leaves_black_and_white(images):
    before, after = images.numpy(), changed(images, contrast=(1.5, 2))
    assert (after[before == 0] == 0).all()
    assert (after[before == 1] == 1).all()
    grey = [np.mean((i > 0.1) & (i < 0.9)) for i in (before, after)]
    assert grey[1] < 0.9 * grey[0]


def test_less_contrast_greys_black_and_white(images):
    after = changed(images, contrast=(0.5, 0.5))
    ranges = np.ptp(after, axis=(1, 2, 3)) / np.ptp(images, axis=(1, 2, 3))
    np.testing.assert_allclose(ranges, 0.5, atol=1e-5)
    blackest = after.min((1, 2, 3))
    assert 0.15 <= blackest.min() < 0.2
    assert 0.3 < blackest.max() <= 0.35


def test_a_share_stays_as_it_is_and_every_image_in_its_place(images):
    turned = changed(images, rotation=5, noise_share=0.2, noise_sd=10, unchanged_share=0.3)
    before = images.numpy()
    assert (np.abs(turned - before).max((1, 2, 3)) == 0).sum() == round(0.3 * len(before))
    # After so little, an image is still most like itself.
    distances = np.abs(turned[:, None] - before[None]).sum((2, 3, 4))
    np.testing.assert_array_equal(distances.argmin(1), np.arange(len(before)))


@pytest.mark.parametrize("share", ["thickness_share", "noise_share"])
def test_no_image_both_changes_and_stays(share):
    with pytest.raises(ValueError, match="both"):
        replace(NOTHING, unchanged_share=0.6, **{share: 0.5})


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name):
    import json

    recipe = RECIPES[name]
    restored = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert restored.to_dict() == json.loads(json.dumps(recipe.to_dict())) or restored == recipe
