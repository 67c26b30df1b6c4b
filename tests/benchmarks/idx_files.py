"""Data sets that benchmarks make of others: read whole, written as IDX files."""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from components.sources import HEIGHT, WIDTH, Batch, locate, open_source

#: As in MNIST: 60,000 digits to train and to validate, 10,000 for the test.
TEST_SHARE = 6


def read_parts(data: str) -> tuple[Batch, Batch]:
    """Returns the digits of `--data` to make train and test files of; none is in both."""
    source = open_source(locate(data))
    parts = [
        tuple(np.concatenate(arrays) for arrays in zip(*source.batches(part), strict=True))
        for part in source.parts
    ]
    if len(parts) == 2:
        return parts[0], parts[1]
    ((images, labels),) = parts
    is_test = np.arange(len(labels)) % (1 + TEST_SHARE) == 0
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def write_part(directory: Path, stem: str, size: int, batches: Iterable[Batch]) -> None:
    """Writes a part, `train` or `t10k`, of so many digits as two IDX files."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        (directory / f"{stem}-images-idx3-ubyte").open("wb") as image_file,
        (directory / f"{stem}-labels-idx1-ubyte").open("wb") as label_file,
    ):
        image_file.write(struct.pack(">4I", 0x803, size, HEIGHT, WIDTH))
        label_file.write(struct.pack(">2I", 0x801, size))
        for images, labels in batches:
            image_file.write(images.tobytes())
            label_file.write(labels.astype(np.uint8).tobytes())
