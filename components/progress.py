"""How far a training is, for whoever watches."""

import logging
import time
from typing import Any

import keras

progress = logging.getLogger("digits.progress")


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
        message = f"epoch {epoch + 1}/{self._epochs}: accuracy {logs['accuracy']:.4f}"
        if "val_accuracy" in logs:
            message += f", validation accuracy {logs['val_accuracy']:.4f}"
        progress.info(message)
