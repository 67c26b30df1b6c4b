"""What a training reads, when it fits into memory and when it does not."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components import training_data
from components.preprocessing import IMAGE
from components.recipes import RECIPES
from components.training import Training
from components.training_data import ALONE, Share, read_examples
from tests.cluster_worker import trainer_arguments
from tests.conftest import PipelineRun


@pytest.fixture(scope="module")
def arguments(pipeline_run: PipelineRun):
    return trainer_arguments(
        str(pipeline_run.artifact("ExampleGen", "examples")),
        str(pipeline_run.artifact("Transform", "transform_graph")),
    )


@pytest.fixture(scope="module")
def transform(pipeline_run: PipelineRun) -> tft.TFTransformOutput:
    return tft.TFTransformOutput(str(pipeline_run.artifact("Transform", "transform_graph")))


@pytest.fixture
def in_memory(arguments, transform) -> tf.data.Dataset:
    return read_examples(arguments, arguments.train_files, transform)


@pytest.fixture
def streamed(arguments, transform, monkeypatch) -> tf.data.Dataset:
    monkeypatch.setattr(training_data, "IN_MEMORY_EXAMPLES", 3000)
    return read_examples(arguments, arguments.train_files, transform)


def digits_of(examples: tf.data.Dataset) -> Iterator[tuple[bytes, int]]:
    for features, label in examples.as_numpy_iterator():
        yield features[IMAGE], int(label)


def test_more_digits_than_fit_are_streamed_and_none_is_lost(in_memory, streamed):
    assert len(in_memory) == len(streamed) == 4000
    assert list(digits_of(in_memory)) != list(digits_of(streamed))
    assert Counter(digits_of(in_memory)) == Counter(digits_of(streamed))
    assert in_memory.element_spec == streamed.element_spec


def test_one_seed_gives_one_order_and_every_epoch_another(streamed, transform):
    recipe = RECIPES["seed"].with_epochs(2)
    training = Training(
        recipe=recipe, seed=7, transform=transform, train=streamed, validation=streamed
    )

    def labels() -> np.ndarray:
        batches = training.train_batches()
        return np.concatenate([labels for _, labels in batches.as_numpy_iterator()])

    first, again = labels(), labels()
    assert len(first) == 8000
    np.testing.assert_array_equal(first, again)
    epochs = np.split(first, 2)
    assert (epochs[0] != epochs[1]).any()
    assert np.bincount(epochs[0]).tolist() == np.bincount(epochs[1]).tolist() == [400] * 10
    assert training.steps_per_epoch() == 63
    assert training.steps_per_epoch(whole=True) == 62


@pytest.mark.parametrize("recipe", ["seed", "best"])
def test_workers_share_the_batches_of_one(in_memory, transform, recipe):
    recipe = RECIPES[recipe].with_epochs(1)
    training = Training(
        recipe=recipe, seed=7, transform=transform, train=in_memory, validation=in_memory
    )

    def batches(share: Share) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(training.train_batches(share).take(3).as_numpy_iterator())

    alone = batches(ALONE)
    shares = [batches(Share(first=first, workers=2)) for first in range(2)]
    for (images, labels), *parts in zip(alone, *shares, strict=True):
        for first, (part_images, part_labels) in enumerate(parts):
            np.testing.assert_array_equal(labels[first::2], part_labels)
            if not recipe.augmentation:
                np.testing.assert_array_equal(images[first::2], part_images)
        if recipe.augmentation:  # each changes its own digits in its own way
            assert (parts[0][0] != parts[1][0]).any()
