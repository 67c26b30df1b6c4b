"""A pushed SavedModel, run by TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.errors import InputError

BATCH = 1000


def load_classifier(directory: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from uint8 [n, 28, 28] to float32 [n, 10] probabilities.

    Raises:
        InputError: the directory holds no model that `digits run` pushed.
    """
    try:
        model = tf.saved_model.load(str(directory))
        signature = model.signatures["serving_default"]
    except (OSError, KeyError, tf.errors.OpError) as error:
        raise InputError(f"{directory}: not a SavedModel that `digits run` pushed") from error

    # The signature keeps no reference to the model, whose variables it needs.
    def classify(images: np.ndarray, _keep: object = model) -> np.ndarray:
        starts = range(0, len(images), BATCH)
        batches = (tf.constant(images[start : start + BATCH]) for start in starts)
        parts = [signature(images=batch)["probabilities"].numpy() for batch in batches]
        return np.concatenate([np.empty((0, 10), np.float32), *parts])

    return classify
