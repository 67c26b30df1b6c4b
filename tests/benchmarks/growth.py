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
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from components.sources import BATCH, HEIGHT, PIXELS, WIDTH, Batch
from tests.benchmarks.idx_files import TEST_SHARE, read_parts, write_part
from tests.benchmarks.runs import run_pipeline

console = Console(width=120)

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
    train, test = read_parts(options.data)
    largest = len(SHIFTS) * len(train[1])
    if max(options.sizes) > largest:
        parser.error(f"--sizes: at most {largest:,} from the {len(train[1]):,} digits of --data")
    with tempfile.TemporaryDirectory() as directory:
        runs = {}
        for size in options.sizes:
            data = Path(directory) / f"digits-{size}"
            for stem, digits, count in (
                ("train", train, size),
                ("t10k", test, size // TEST_SHARE),
            ):
                write_part(data, stem, count, _digits(*digits, count))
            root = (options.roots or Path(directory)) / f"{options.recipe}-{size}"
            gates = ("--min-accuracy", "0", "--min-recall", "0", "--max-edge-disagreement", "1")
            runs[size] = run_pipeline(str(data), options.recipe, 1, root, ["--epochs", "1", *gates])
            _print(runs)


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
