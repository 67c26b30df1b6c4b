"""A pushed SavedModel, on as many digits as there are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from serving.saved_model import load_signatures

BATCH = 1000


def load_classifier(directory: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from uint8 [n, 28, 28] to float32 [n, 10] probabilities.

    Raises:
        InputError: the directory holds no model that `digits run` pushed.
    """
    (signature,) = load_signatures(directory, "serving_default")

    def classify(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH)
        parts = [signature(images=images[start : start + BATCH]) for start in starts]
        return np.concatenate([np.empty((0, 10), np.float32), *parts])

    return classify
