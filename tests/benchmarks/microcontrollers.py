"""Networks for microcontrollers: accuracy, size, and memory in TensorFlow Lite Micro.

    make bench-microcontrollers DATA=DIR [ARGS="--recipes best best-25k best-10k --roots DIR"]

Runs the whole pipeline once a recipe, then every test digit through TensorFlow Lite Micro's
interpreter, whose answers must be LiteRT's.
"""

import argparse
import re
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tflite_micro.python.tflite_micro import runtime

from export.edge_model import MODEL_FILE, EdgeModel
from pipeline.config import RunRoot
from pipeline.quiet import stderr_to
from serving.predict import latest_version
from tests.benchmarks.runs import run_pipeline, test_digits

console = Console(width=100)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipes", nargs="+", default=["best", "best-25k", "best-10k"])
    parser.add_argument("--roots", type=Path)
    options = parser.parse_args()
    images, labels = test_digits(options.data)
    table = Table(title=f"seed 1, {len(images):,} test digits")
    for heading in (
        *("recipe", "parameters", "accuracy", "uint8 accuracy", "bytes"),
        *("arena bytes", "scores equal to LiteRT's", "training s"),
    ):
        table.add_column(heading, justify="left" if heading == "recipe" else "right")
    with tempfile.TemporaryDirectory() as directory:
        for recipe in options.recipes:
            root = (options.roots or Path(directory)) / f"{recipe}-1"
            model = run_pipeline(options.data, recipe, 1, root)["model"]
            path = latest_version(RunRoot(root).edge) / MODEL_FILE
            content = path.read_bytes()
            edge = EdgeModel(path)
            scores = edge.predict(images) / edge.output.scale + edge.output.zero_point
            micro = _micro_scores(content, images)
            table.add_row(
                recipe,
                f"{model['parameters']:,}",
                f"{model['accuracy']:.2%}",
                f"{(micro.argmax(1) == labels).mean():.2%}",
                f"{len(content):,}",
                f"{_arena_bytes(content):,}",
                f"{(micro == np.round(scores)).all(1).sum():,}",
                f"{model['training_seconds']:.0f}",
            )
    console.print(table)


def _micro_scores(content: bytes, images: np.ndarray) -> np.ndarray:
    interpreter = runtime.Interpreter.from_bytes(content)
    scores = np.empty((len(images), 10), np.uint8)
    for row, image in enumerate(images):
        interpreter.set_input(image[None, :, :, None], 0)
        interpreter.invoke()
        scores[row] = interpreter.get_output(0)
    return scores


def _arena_bytes(content: bytes) -> int:
    """The tensor arena that a model takes, which the recording allocator prints."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        with stderr_to(log):
            runtime.Interpreter.from_bytes(content).print_allocations()
        found = re.search(r"Arena allocation total (\d+) bytes", log.read_text())
    if not found:
        raise SystemExit("TensorFlow Lite Micro did not print the size of its arena")
    return int(found[1])


if __name__ == "__main__":
    main()
