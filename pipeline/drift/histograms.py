"""Both distributions of a feature, in the same bins."""

import numpy as np

from components.sources import CLASSES
from export.facts import Histogram

BINS = 40


def histogram(feature: str, reference: np.ndarray, requests: np.ndarray) -> Histogram:
    """Counts both, as shares.

    Args:
        feature: its name.
        reference: its values, [n]; NaN where a picture has none.
        requests: the same, [m].
    """
    old, new = (values[np.isfinite(values)] for values in (reference, requests))
    if feature == "class mix":
        edges = np.arange(CLASSES + 1) - 0.5
    else:
        # Few far values would leave all others in one bin; they go to the outer ones.
        low, high = np.percentile(np.concatenate([old, new]), [0.5, 99.5])
        edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    shares = [
        np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(len(values), 1)
        for values in (old, new)
    ]
    return Histogram(
        edges=edges.tolist(), reference=shares[0].tolist(), requests=shares[1].tolist()
    )
