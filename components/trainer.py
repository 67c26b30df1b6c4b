"""Trainer: fits a recipe's network and exports it."""

import json
import logging
import math
import os
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from components.augmentation import augment
from components.model import build_model
from components.preprocessing import IMAGE, LABEL
from components.recipes import Recipe
from components.signatures import export_served_model
from components.sources import HEIGHT, WIDTH
from serving.pictures import centre_digit

progress = logging.getLogger("digits.progress")

KERAS_FILE = "model.keras"
HISTORY_FILE = "history.json"
GOLDEN_FILE = "golden.npz"
GOLDEN_DIGITS = 256

READ_BATCH = 1024
SHUFFLE_BUFFER = 65_536


def run_fn(fn_args: FnArgs) -> None:
    """Trains on the train split, watches the validation split; never sees the test split.

    Writes the served SavedModel, and into the model-run directory: the Keras model, the
    history, and golden predictions that the servability check compares with.

    Args:
        fn_args: `custom_config` holds `recipe` (`Recipe.to_dict()`) and `seed`.
    """
    recipe = Recipe.from_dict(fn_args.custom_config["recipe"])
    seed = fn_args.custom_config["seed"]
    keras.utils.set_random_seed(seed)
    transform = tft.TFTransformOutput(fn_args.transform_output)

    train = _examples(fn_args, fn_args.train_files, transform)
    validation = _examples(fn_args, fn_args.eval_files, transform)
    steps_per_epoch = math.ceil(len(train) / recipe.batch_size)

    compiled = build_model(recipe, steps_per_epoch)
    started = time.monotonic()
    history = compiled.fit(
        _training_batches(train, recipe, transform, seed),
        validation_data=_to_batches(validation, READ_BATCH, transform),
        epochs=recipe.epochs,
        steps_per_epoch=steps_per_epoch,
        callbacks=[ReportProgress(recipe.epochs)],
        shuffle=False,  # the data set does it
        verbose=0,
    )
    seconds = time.monotonic() - started

    # Without the optimizer, of which nothing is served.
    model = keras.models.clone_model(compiled)
    model.set_weights(compiled.get_weights())
    os.makedirs(fn_args.model_run_dir, exist_ok=True)
    model.save(os.path.join(fn_args.model_run_dir, KERAS_FILE))
    _write_golden(model, transform, validation, os.path.join(fn_args.model_run_dir, GOLDEN_FILE))
    with open(os.path.join(fn_args.model_run_dir, HISTORY_FILE), "w") as file:
        json.dump(
            {
                "history": history.history,
                "seconds": seconds,
                "steps": int(compiled.optimizer.iterations),
            },
            file,
        )
    export_served_model(
        model,
        transform,
        fn_args.serving_model_dir,
        {
            "recipe": recipe.to_dict(),
            "seed": seed,
            "parameters": model.count_params(),
        },
    )


class ReportProgress(keras.callbacks.Callback):
    """Tells how far the training is, a few times a second."""

    def __init__(self, epochs: int):
        super().__init__()
        self._epochs = epochs
        self._epoch = 0
        self._next = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.5
            accuracy = (logs or {}).get("accuracy", float("nan"))
            progress.debug(
                "epoch %d/%d, step %d, accuracy %.4f",
                self._epoch,
                self._epochs,
                batch + 1,
                accuracy,
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        progress.info(
            "epoch %d/%d: accuracy %.4f, validation accuracy %.4f",
            epoch + 1,
            self._epochs,
            logs["accuracy"],
            logs["val_accuracy"],
        )


def _examples(
    fn_args: FnArgs, files: list[str], transform: tft.TFTransformOutput
) -> tf.data.Dataset:
    """Single raw examples, in memory: ({`image`: string []}, int64 []).

    Their order does not depend on that of the records, which varies with the threads that wrote
    them: one seed gives one training.
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


def _training_batches(
    examples: tf.data.Dataset, recipe: Recipe, transform: tft.TFTransformOutput, seed: int
) -> tf.data.Dataset:
    """Shuffled, transformed and augmented batches of all epochs, one after another."""
    shuffled = examples.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True)
    batches = _to_batches(shuffled, recipe.batch_size, transform).repeat(recipe.epochs)
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
        .prefetch(tf.data.AUTOTUNE)
    )


def _to_batches(
    examples: tf.data.Dataset, batch_size: int, transform: tft.TFTransformOutput
) -> tf.data.Dataset:
    """Transformed batches: (float32 [n, 28, 28, 1], int64 [n])."""
    layer = transform.transform_features_layer()
    batches = examples.batch(batch_size).map(
        lambda features, label: (layer(features)[IMAGE], label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _write_golden(
    model: keras.Model, transform: tft.TFTransformOutput, examples: tf.data.Dataset, path: str
) -> None:
    """Writes digits with the probabilities that the model gives in this process.

    Arrays: `images` uint8 [n, 28, 28], `labels` int64 [n], `probabilities` float32 [n, 10], and
    `picture_probabilities` float32 [n, 10] for the same digits found as pictures.
    """
    features, labels = next(iter(examples.batch(GOLDEN_DIGITS)))
    raw = features[IMAGE].numpy().tolist()
    images = np.frombuffer(b"".join(raw), np.uint8).reshape(-1, HEIGHT, WIDTH)
    centred = [centre_digit(image).tobytes() for image in images]
    layer = transform.transform_features_layer()
    probabilities, picture_probabilities = (
        model(layer({IMAGE: tf.constant(digits)})[IMAGE], training=False).numpy()
        for digits in (raw, centred)
    )
    np.savez(
        path,
        images=images,
        labels=labels.numpy(),
        probabilities=probabilities,
        picture_probabilities=picture_probabilities,
    )
