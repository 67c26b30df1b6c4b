"""Networks for microcontrollers: accuracy, size, and memory in TensorFlow Lite Micro.

    make bench-microcontrollers DATA=DIR [ARGS="--recipes best best-25k best-10k --roots DIR"]

Runs the whole pipeline once a recipe, then every test digit through TensorFlow Lite Micro's
interpreter, whose scores must be those of LiteRT's built-in kernels.
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from export import verify
from export.edge_model import MODEL_FILE
from export.micro import MicroModel, arena_bytes
from pipeline.config import RunRoot
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
            content = (latest_version(RunRoot(root).edge) / MODEL_FILE).read_bytes()
            litert = verify.run(content, images, verify.BUILT_IN)
            micro = MicroModel(content).run(images)
            table.add_row(
                recipe,
                f"{model['parameters']:,}",
                f"{model['accuracy']:.2%}",
                f"{(micro.argmax(1) == labels).mean():.2%}",
                f"{len(content):,}",
                f"{arena_bytes(content):,}",
                f"{(micro == litert).all(1).sum():,}",
                f"{model['training_seconds']:.0f}",
            )
    console.print(table)


if __name__ == "__main__":
    main()
