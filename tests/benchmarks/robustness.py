"""Accuracy of the pushed model on a disturbed test split, as raw tensors.

    make bench-robustness DATA=DIRECTORY_OF_IDX_FILES [ARGS="--root run"]

The disturbances are SciPy's, not those of the training.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from components.sources import HEIGHT, WIDTH
from export.edge_model import MODEL_FILE, EdgeModel
from pipeline.config import RunRoot
from serving.predict import latest_version
from tests.benchmarks.runs import test_digits

console = Console(width=100)

Disturbance = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _shift(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.shift(image, rng.integers(-4, 5, 2), order=0)


def _rotate(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.rotate(image, rng.uniform(-15, 15), reshape=False, order=1)


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0, 40, image.shape)


def _half(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # Two by two pixels make one; in the middle.
    small = image.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3))
    return np.pad(small, ((HEIGHT // 4, HEIGHT // 4), (WIDTH // 4, WIDTH // 4)))


def _invert(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - image


DISTURBANCES: dict[str, Disturbance] = {
    "clean": lambda image, _: image,
    "shifted by up to 4 pixels": _shift,
    "rotated by up to 15 degrees": _rotate,
    "noise of standard deviation 40": _noise,
    "half the size": _half,
    "inverted": _invert,
}


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

    table = Table(title=f"test split, {len(images):,} digits")
    for heading in ("disturbance", "served model", "edge model"):
        table.add_column(heading, justify="left" if heading == "disturbance" else "right")
    for name, disturb in DISTURBANCES.items():
        rng = np.random.default_rng(0)
        disturbed = [disturb(image.astype(float), rng) for image in images]
        pixels = np.clip(np.round(disturbed), 0, 255).astype(np.uint8)
        answers = [
            served(images=tf.constant(pixels[start : start + 1000]))["label"].numpy()
            for start in range(0, len(pixels), 1000)
        ]
        accuracies = (
            (np.concatenate(answers) == labels).mean(),
            (edge.predict(pixels).argmax(1) == labels).mean(),
        )
        table.add_row(name, *(f"{accuracy:.2%}" for accuracy in accuracies))
    console.print(table)


if __name__ == "__main__":
    main()
