"""What every reader of labelled digits is, and what a digit is."""

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from serving.errors import InputError

HEIGHT = WIDTH = 28
PIXELS = HEIGHT * WIDTH
CLASSES = 10
BATCH = 2000

# uint8 [n, 784] and int64 [n].
Batch: TypeAlias = tuple[np.ndarray, np.ndarray]


class Source(abc.ABC):
    """A labelled set of digits, read in batches."""

    #: `train` and `test` where the data set brings its own test split, else `all`.
    parts: tuple[str, ...] = ("all",)

    def batches(self, part: str) -> Iterator[Batch]:
        """Streams one part in a fixed order.

        Yields:
            Batches of at most `BATCH` digits: uint8 [n, 784] pixels and int64 [n] labels.

        Raises:
            InputError: a file is damaged, has the wrong form or holds no digit.
        """
        total = 0
        for images, labels in self._read(part):
            total += len(labels)
            yield images, labels
        if not total:
            raise InputError(f"{self.name(part)}: holds no digit")

    @abc.abstractmethod
    def name(self, part: str) -> str:
        """Returns the path of a part, for messages."""

    @abc.abstractmethod
    def _read(self, part: str) -> Iterator[Batch]: ...


def checked_labels(labels: np.ndarray, path: Path, start: int) -> np.ndarray:
    """Returns labels, an array of integers, as int64.

    Args:
        labels: what was read.
        path: of the file, for messages.
        start: number of the first digit.

    Raises:
        InputError: a label is not from 0 to 9.
    """
    labels = labels.astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if len(wrong):
        raise InputError(
            f"{path}: label {labels[wrong[0]]} of digit {start + wrong[0]}; "
            f"expected 0 to {CLASSES - 1}"
        )
    return labels
