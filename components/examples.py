"""Digits of an Examples artifact, for the components that look at raw pixels."""

import hashlib
import heapq
import os
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from tfx.types import artifact, artifact_utils

from components.preprocessing import IMAGE, LABEL
from components.sources import HEIGHT, WIDTH, Batch

READ_BATCH = 1000


def _records(examples: artifact.Artifact, split: str) -> tf.data.Dataset:
    directory = artifact_utils.get_split_uri([examples], split)
    files = tf.data.Dataset.list_files(os.path.join(directory, "*.gz"), shuffle=False)
    return tf.data.TFRecordDataset(files, compression_type="GZIP")


def read_digits(examples: artifact.Artifact, split: str) -> Iterator[Batch]:
    """Streams a split: uint8 [n, 28, 28] pixels and int64 [n] labels."""
    spec = {
        IMAGE: tf.io.FixedLenFeature([], tf.string),
        LABEL: tf.io.FixedLenFeature([], tf.int64),
    }
    for records in _records(examples, split).batch(READ_BATCH):
        parsed = tf.io.parse_example(records, spec)
        pixels = tf.io.decode_raw(parsed[IMAGE], tf.uint8)
        yield tf.reshape(pixels, [-1, HEIGHT, WIDTH]).numpy(), parsed[LABEL].numpy()


def every_nth(batches: Iterable[Batch], step: int) -> Iterator[np.ndarray]:
    """Picks the images 0, step, 2 * step, ... of all batches together."""
    start = 0
    for images, _ in batches:
        yield images[-start % step :: step]
        start += len(images)


def lowest_hashed(batches: Iterable[Batch], count: int) -> Batch:
    """Picks the digits whose SHA-256 are the lowest, and holds no others in memory.

    A sample that is the same whatever the order of the digits.

    Args:
        batches: uint8 [n, 28, 28] and int64 [n] each.
        count: how many; all of them, where there are fewer.

    Returns:
        uint8 [count, 28, 28] and int64 [count], lowest hash first.
    """
    digits = (
        (hashlib.sha256(pixels).digest(), label, pixels)
        for images, labels in batches
        for pixels, label in zip(map(np.ndarray.tobytes, images), labels.tolist(), strict=True)
    )
    chosen = heapq.nsmallest(count, digits)
    images = np.frombuffer(b"".join(pixels for *_, pixels in chosen), np.uint8)
    return images.reshape(-1, HEIGHT, WIDTH), np.array([label for _, label, _ in chosen], np.int64)


def sha256_of_examples(examples: artifact.Artifact) -> str:
    """Returns a hash of all records of all splits that does not depend on their order."""
    total = 0
    for split in artifact_utils.decode_split_names(examples.split_names):
        for records in _records(examples, split).batch(READ_BATCH):
            for record in records.numpy():
                digest = hashlib.sha256(split.encode() + record).digest()
                total += int.from_bytes(digest, "big")
    return f"{total % 2**256:064x}"
