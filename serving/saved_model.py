"""A pushed SavedModel, run by TensorFlow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.errors import InputError


def load_signatures(directory: Path, *names: str) -> list[Callable[..., np.ndarray]]:
    """Returns signatures, as functions from their input, by name, to float32 [n, 10] probabilities.

    Raises:
        InputError: the directory holds no model that `digits run` pushed, or a damaged one.
    """
    try:
        model = tf.saved_model.load(str(directory))
        return [_function(model, model.signatures[name]) for name in names]
    except (OSError, LookupError, ValueError, tf.errors.OpError) as error:
        raise InputError(f"{directory}: no whole SavedModel that `digits run` pushed") from error


def _function(model: Any, signature: Any) -> Callable[..., np.ndarray]:
    # The signature keeps no reference to the model, whose variables it needs.
    def run(_keep: object = model, **inputs: Any) -> np.ndarray:
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return signature(**tensors)["probabilities"].numpy()

    return run
