"""The digits of a finished run, from where it read them."""

import json

import numpy as np

from components.sources import HEIGHT, WIDTH, Location, locate, open_source
from components.splits import split_batches
from pipeline.config import RunRoot
from serving.errors import InputError


def read_splits(root: RunRoot, data: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads all splits.

    Args:
        root: of the run.
        data: as `digits run --data`; None: what the last run of the root read.

    Returns:
        uint8 [n, 28, 28] and int64 [n] of each split that has digits.

    Raises:
        InputError: the data cannot be read, or the root does not say which.
    """
    if data is not None:
        location = locate(data)
    else:
        try:
            source = json.loads(root.summary.read_text())["data"]["source"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{root.summary}: does not say the data; name it: --data") from error
        location = Location("", source)
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for split, batch in split_batches(open_source(location)):
        parts.setdefault(split, []).append(batch)
    splits = {}
    for split, batches in parts.items():
        images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        splits[split] = images.reshape(-1, HEIGHT, WIDTH), labels
    return splits
