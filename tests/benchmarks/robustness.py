"""Accuracy of the pushed models on a disturbed test split, as raw tensors and preprocessed.

    make bench-robustness DATA=DIRECTORY_OF_IDX_FILES [ARGS="--root run"]

The stress suite of `EdgeEvaluator`, on all digits, and for the served model too.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from components.disturbances import DISTURBANCES, disturb
from export.edge_model import MODEL_FILE, EdgeModel
from pipeline.config import RunRoot
from serving.pictures import centre_digit
from serving.predict import latest_version
from tests.benchmarks.runs import test_digits

console = Console(width=120)


def main() -> None:
    """Runs the benchmark."""
    import tensorflow as tf

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--root", type=Path, default=Path("run"))
    options = parser.parse_args()
    root = RunRoot(options.root)
    model = tf.saved_model.load(str(latest_version(root.serving)))
    served = model.signatures["serving_default"]
    edge = EdgeModel(latest_version(root.edge) / MODEL_FILE)
    images, labels = test_digits(options.data)

    def served_labels(pixels: np.ndarray) -> np.ndarray:
        starts = range(0, len(pixels), 1000)
        batches = [tf.constant(pixels[start : start + 1000]) for start in starts]
        return np.concatenate([served(images=batch)["label"].numpy() for batch in batches])

    def edge_labels(pixels: np.ndarray) -> np.ndarray:
        return edge.predict(pixels).argmax(1)

    table = Table(title=f"test split, {len(images):,} digits")
    for heading in (
        *("disturbance", "served model", "edge model"),
        *("served, preprocessed", "edge, preprocessed"),
    ):
        table.add_column(heading, justify="left" if heading == "disturbance" else "right")
    for name in DISTURBANCES:
        disturbed = disturb(name, images)
        centred = np.stack([centre_digit(image) for image in disturbed])
        accuracies = (
            (answer(pixels) == labels).mean()
            for pixels in (disturbed, centred)
            for answer in (served_labels, edge_labels)
        )
        table.add_row(name, *(f"{accuracy:.2%}" for accuracy in accuracies))
    console.print(table)


if __name__ == "__main__":
    main()
