"""What a training reads: shuffled, transformed and augmented batches, inside `tf.data`."""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from components.augmentation import augment
from components.preprocessing import IMAGE, LABEL
from components.recipes import Recipe

READ_BATCH = 1024
SHUFFLE_BUFFER = 65_536
#: About 250 MB while they are sorted.
IN_MEMORY_EXAMPLES = 100_000
#: Shards that a streamed epoch reads at the same time.
OPEN_SHARDS = 64
PREFETCHED = 4


class Share(NamedTuple):
    """Which digits of every batch a worker trains on: those at `first`, `first + workers`, ..."""

    first: int
    workers: int


ALONE = Share(first=0, workers=1)


def read_examples(
    fn_args: FnArgs, files: list[str], transform: tft.TFTransformOutput
) -> tf.data.Dataset:
    """Single raw examples, of known number: ({`image`: string []}, int64 []).

    Up to `IN_MEMORY_EXAMPLES` are held in memory, in an order that does not depend on that of the
    records; more are read from their files again in every epoch. One seed gives one training.
    """
    batches = fn_args.data_accessor.tf_dataset_factory(
        files,
        tfxio.TensorFlowDatasetOptions(
            batch_size=READ_BATCH, num_epochs=1, shuffle=False, label_key=LABEL
        ),
        transform.raw_metadata.schema,
    )
    images: list[tf.Tensor] = []
    labels: list[tf.Tensor] = []
    count = 0
    for features, label in batches:
        count += len(label)
        if count > IN_MEMORY_EXAMPLES:
            images.clear()
            labels.clear()
        else:
            images.append(features[IMAGE])
            labels.append(label)
    if count > IN_MEMORY_EXAMPLES:
        return _stream(files, count, transform)
    image, label = tf.concat(images, 0), tf.concat(labels, 0)
    order = tf.argsort(tf.strings.to_hash_bucket_fast(image, 2**62), stable=True)
    return tf.data.Dataset.from_tensor_slices(
        ({IMAGE: tf.gather(image, order)}, tf.gather(label, order))
    )


def _stream(files: list[str], count: int, transform: tft.TFTransformOutput) -> tf.data.Dataset:
    """Reads many shards by turns: a source may be sorted, by class for example.

    Args:
        files: patterns of gzipped TFRecords.
        count: of their records.
        transform: Transform's output.
    """
    spec = transform.raw_feature_spec()

    def parse(records: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        features = tf.io.parse_example(records, spec)
        return features, features.pop(LABEL)

    return (
        tf.data.Dataset.list_files(files, seed=0)  # in another order in every epoch
        .interleave(
            lambda file: tf.data.TFRecordDataset(file, compression_type="GZIP"),
            cycle_length=OPEN_SHARDS,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .batch(READ_BATCH)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .unbatch()
        .apply(tf.data.experimental.assert_cardinality(count))
    )


def training_batches(
    examples: tf.data.Dataset,
    recipe: Recipe,
    transform: tft.TFTransformOutput,
    seed: int,
    share: Share = ALONE,
) -> tf.data.Dataset:
    """Batches of all epochs, one after another: (float32 [n, 28, 28, 1], int64 [n]).

    Where several workers share them, n is the worker's part, and all batches are whole.
    """
    shuffled = examples.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True)
    batches = to_batches(shuffled, recipe.batch_size, transform, share).repeat(recipe.epochs)
    augmentation = recipe.augmentation
    if augmentation is None:
        return batches

    def change(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        # A batch's number is its seed: the same changes whatever thread makes them.
        number = step * share.workers + share.first
        return augment(batch[0], augmentation, tf.stack([seed, number])), batch[1]

    changed = batches.enumerate().map(change, num_parallel_calls=tf.data.AUTOTUNE)
    return changed.prefetch(PREFETCHED)


def to_batches(
    examples: tf.data.Dataset,
    batch_size: int,
    transform: tft.TFTransformOutput,
    share: Share = ALONE,
) -> tf.data.Dataset:
    """Transformed batches: (float32 [n, 28, 28, 1], int64 [n])."""
    layer = transform.transform_features_layer()
    options = tf.data.Options()
    # Keras's fit ends with up to seven seconds of waiting for tf.data's tuner to stop.
    options.autotune.enabled = False
    batches = examples.batch(batch_size, drop_remainder=share.workers > 1)
    if share.workers > 1:
        rows = slice(share.first, None, share.workers)
        batches = batches.map(lambda *batch: tf.nest.map_structure(lambda part: part[rows], batch))
    return (
        batches.map(
            lambda features, label: (layer(features)[IMAGE], label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .prefetch(PREFETCHED)
        .with_options(options)
    )
