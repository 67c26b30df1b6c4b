"""Fits a recipe's network, and tells how far it is."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.recipes import Recipe
from components.training_data import ALONE, READ_BATCH, Share, to_batches, training_batches

progress = logging.getLogger("digits.progress")


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a model is trained on, and how.

    Attributes:
        recipe: that the model was built for.
        seed: of the order and the changes of the digits.
        transform: Transform's output.
        train: what `read_examples` returned for the train split.
        validation: the same for the validation split.
        validation_freq: look at the validation split every so many epochs.
    """

    recipe: Recipe
    seed: int
    transform: tft.TFTransformOutput
    train: tf.data.Dataset
    validation: tf.data.Dataset
    validation_freq: int = 1

    def steps_per_epoch(self, *, whole: bool = False) -> int:
        """Returns the steps of a pass over the train split.

        Args:
            whole: leave out a last batch that is smaller than the others.
        """
        digits, batch_size = len(self.train), self.recipe.batch_size
        return digits // batch_size if whole else math.ceil(digits / batch_size)

    def train_batches(self, share: Share = ALONE) -> tf.data.Dataset:
        """Batches of all epochs, or a worker's share of them."""
        return training_batches(self.train, self.recipe, self.transform, self.seed, share)

    def validation_batches(self) -> tf.data.Dataset:
        """The validation split, once."""
        return to_batches(self.validation, READ_BATCH, self.transform)


def fit(model: keras.Sequential, training: Training) -> dict[str, list[float]]:
    """Trains what `build_model` returned, which is changed.

    Returns:
        Keras's history: metrics by epoch.
    """
    epochs = training.recipe.epochs
    history = model.fit(
        training.train_batches(),
        validation_data=training.validation_batches(),
        validation_freq=training.validation_freq,
        epochs=epochs,
        steps_per_epoch=training.steps_per_epoch(),
        callbacks=[ReportProgress(epochs)],
        shuffle=False,  # the data set does it
        verbose=0,
    )
    return history.history


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
        report_epoch(epoch + 1, self._epochs, logs or {})


def report_epoch(epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
    """Tells how an epoch ended.

    Args:
        epoch: its number, from 1.
        epochs: how many there are.
        logs: Keras's metrics of it.
    """
    message = f"epoch {epoch}/{epochs}: accuracy {logs['accuracy']:.4f}"
    if "val_accuracy" in logs:
        message += f", validation accuracy {logs['val_accuracy']:.4f}"
    progress.info(message)
