"""What a training reads: shuffled, transformed and augmented batches, inside `tf.data`."""

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from components.augmentation import augment
from components.preprocessing import IMAGE, LABEL
from components.recipes import Recipe

READ_BATCH = 1024
SHUFFLE_BUFFER = 65_536
PREFETCHED = 4


def read_examples(
    fn_args: FnArgs, files: list[str], transform: tft.TFTransformOutput
) -> tf.data.Dataset:
    """Single raw examples, in memory: ({`image`: string []}, int64 []).

    Their order does not depend on that of the records: one seed gives one training.
    """
    batches = fn_args.data_accessor.tf_dataset_factory(
        files,
        tfxio.TensorFlowDatasetOptions(
            batch_size=READ_BATCH, num_epochs=1, shuffle=False, label_key=LABEL
        ),
        transform.raw_metadata.schema,
    )
    images, labels = zip(*((features[IMAGE], label) for features, label in batches), strict=True)
    image, label = tf.concat(images, 0), tf.concat(labels, 0)
    order = tf.argsort(tf.strings.to_hash_bucket_fast(image, 2**62), stable=True)
    return tf.data.Dataset.from_tensor_slices(
        ({IMAGE: tf.gather(image, order)}, tf.gather(label, order))
    )


def training_batches(
    examples: tf.data.Dataset, recipe: Recipe, transform: tft.TFTransformOutput, seed: int
) -> tf.data.Dataset:
    """Batches of all epochs, one after another: (float32 [n, 28, 28, 1], int64 [n])."""
    shuffled = examples.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True)
    batches = to_batches(shuffled, recipe.batch_size, transform).repeat(recipe.epochs)
    augmentation = recipe.augmentation
    if augmentation is None:
        return batches
    # A batch's number is its seed: the same changes whatever thread makes them.
    return (
        batches.enumerate()
        .map(
            lambda step, batch: (augment(batch[0], augmentation, tf.stack([seed, step])), batch[1]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(PREFETCHED)
    )


def to_batches(
    examples: tf.data.Dataset, batch_size: int, transform: tft.TFTransformOutput
) -> tf.data.Dataset:
    """Transformed batches: (float32 [n, 28, 28, 1], int64 [n])."""
    layer = transform.transform_features_layer()
    options = tf.data.Options()
    # Keras's fit ends with up to seven seconds of waiting for tf.data's tuner to stop.
    options.autotune.enabled = False
    return (
        examples.batch(batch_size)
        .map(
            lambda features, label: (layer(features)[IMAGE], label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(PREFETCHED)
        .with_options(options)
    )
