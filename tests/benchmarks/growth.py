"""How time and memory of each component grow with the data: one epoch at several sizes.

    make bench-growth DATA=DIR [ARGS="--sizes 5000 60000 600000 --roots DIR"]

The digits of DATA, repeated with small shifts where there are too few, are written as IDX files
below a temporary directory (785 bytes a digit, for the largest size and a sixth more for the
test); then the whole pipeline runs on each, in a process and a run root of its own. The gates on
accuracy are off: after one epoch on few digits they would refuse.

Peak memory is the highest resident memory of the process while the component ran: TensorFlow and
TFX themselves, and what earlier components have left, are in it.
"""

import argparse
import itertools
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from components.sources import BATCH, HEIGHT, PIXELS, WIDTH, Batch, locate, open_source
from tests.benchmarks.runs import run_pipeline

console = Console(width=120)

#: As in MNIST: 60,000 digits to train and to validate, 10,000 for the test.
TEST_SHARE = 6
#: Pixels right and down, nearest first: 49 copies of every digit.
SHIFTS = sorted(itertools.product(range(-3, 4), repeat=2), key=lambda shift: np.hypot(*shift))


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 60_000, 600_000])
    parser.add_argument("--recipe", default="seed")
    parser.add_argument("--roots", type=Path, help="keep the runs here, and take finished ones")
    options = parser.parse_args()
    train, test = _read(options.data)
    largest = len(SHIFTS) * len(train[1])
    if max(options.sizes) > largest:
        parser.error(f"--sizes: at most {largest:,} from the {len(train[1]):,} digits of --data")
    with tempfile.TemporaryDirectory() as directory:
        runs = {}
        for size in options.sizes:
            data = Path(directory) / f"digits-{size}"
            data.mkdir()
            _write(data, "train", *train, size)
            _write(data, "t10k", *test, size // TEST_SHARE)
            root = (options.roots or Path(directory)) / f"{options.recipe}-{size}"
            gates = ("--min-accuracy", "0", "--min-recall", "0", "--max-edge-disagreement", "1")
            runs[size] = run_pipeline(str(data), options.recipe, 1, root, ["--epochs", "1", *gates])
            _print(runs)


def _read(data: str) -> tuple[Batch, Batch]:
    """The digits to make train and test files of; none is in both."""
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


def _write(directory: Path, stem: str, images: np.ndarray, labels: np.ndarray, size: int) -> None:
    with (
        (directory / f"{stem}-images-idx3-ubyte").open("wb") as image_file,
        (directory / f"{stem}-labels-idx1-ubyte").open("wb") as label_file,
    ):
        image_file.write(struct.pack(">4I", 0x803, size, HEIGHT, WIDTH))
        label_file.write(struct.pack(">2I", 0x801, size))
        for batch_images, batch_labels in _digits(images, labels, size):
            image_file.write(batch_images.tobytes())
            label_file.write(batch_labels.astype(np.uint8).tobytes())


def _digits(images: np.ndarray, labels: np.ndarray, size: int) -> Iterator[Batch]:
    """So many digits, spread over all there are; then all of them again, shifted."""
    order = np.random.default_rng(0).permutation(len(labels))
    for start in range(0, size, BATCH):
        numbers = np.arange(start, min(start + BATCH, size))
        rows = order[numbers % len(labels)]
        copies = numbers // len(labels)
        shifted = images[rows].reshape(-1, HEIGHT, WIDTH)
        for copy in np.unique(copies):
            shifted[copies == copy] = _shift(shifted[copies == copy], *SHIFTS[copy])
        yield shifted.reshape(-1, PIXELS), labels[rows]


def _shift(images: np.ndarray, right: int, down: int) -> np.ndarray:
    margin = max(abs(right), abs(down))
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
    top, left = margin - down, margin - right
    return padded[:, top : top + HEIGHT, left : left + WIDTH]


def _print(runs: dict[int, dict[str, Any]]) -> None:
    table = Table(title="seconds, and peak MiB of the process, by component")
    table.add_column("digits")
    for size in runs:
        table.add_column(f"{size:,}", justify="right")
    for parts in zip(*(run["components"] for run in runs.values()), strict=True):
        cells = (f"{part['seconds']:.1f} s {part['peak_mib']:>6,}" for part in parts)
        table.add_row(parts[0]["name"], *cells)
    table.add_section()
    peaks = [max(part["peak_mib"] for part in run["components"]) for run in runs.values()]
    walls = [run["wall_seconds"] for run in runs.values()]
    table.add_row("whole run", *(f"{s:.1f} s {p:>6,}" for s, p in zip(walls, peaks, strict=True)))
    accuracies = (f"{run['model']['accuracy']:.2%}" for run in runs.values())
    table.add_row("accuracy after one epoch", *accuracies)
    console.print(table)


if __name__ == "__main__":
    main()
