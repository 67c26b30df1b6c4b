"""The splits train, validation and test: how the digits of a source are dealt out."""

from collections.abc import Iterator

import numpy as np

from components.sources import CLASSES, Batch, Source

SPLITS = ("train", "validation", "test")

# Of each class, every tenth digit is for the test and every tenth for validation; where the
# data set brings its own test split, every thirtieth of the rest (MNIST: 2,000) is for validation.
WITHOUT_TEST = 10
WITH_TEST = 30


def split_batches(source: Source) -> Iterator[tuple[str, Batch]]:
    """Deals the digits of a source out to the splits, stratified by label.

    A digit's split follows from its rank among the digits of its class in the order of the
    source: deterministic, exact to one digit a class, and computed while streaming.

    Yields:
        A split's name with a batch: uint8 [n, 784] pixels and int64 [n] labels.

    Raises:
        InputError: the source is damaged.
    """
    for part in source.parts:
        yield from split_part(source, part)


def split_part(source: Source, part: str) -> Iterator[tuple[str, Batch]]:
    """`split_batches` of one of the source's parts, which share no split."""
    seen = np.zeros(CLASSES, np.int64)
    for images, labels in source.batches(part):
        if part == "test":
            yield "test", (images, labels)
            continue
        ranks = np.empty_like(labels)
        for label in range(CLASSES):
            rows = np.flatnonzero(labels == label)
            ranks[rows] = seen[label] + np.arange(len(rows))
            seen[label] += len(rows)
        period = WITHOUT_TEST if part == "all" else WITH_TEST
        last = ranks % period
        test = (last == period - 1) if part == "all" else np.zeros(len(labels), bool)
        validation = last == (period - 2 if part == "all" else period - 1)
        for split, rows in zip(SPLITS, (~(test | validation), validation, test), strict=True):
            if rows.any():
                yield split, (images[rows], labels[rows])
