"""Accuracy of a recipe over several seeds, and whether the pushed model answers like Keras.

    make bench-accuracy DATA=DIR [ARGS="--recipe seed --seeds 1 2 3 --roots DIR"]

Runs the whole pipeline once a seed, each in a run root of its own (below --roots, to keep them;
what is there already is not run again). Then loads the last pushed model as
TF Serving does, through a TF1 session, and sends the whole test split through every signature.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from tests.benchmarks.runs import run_pipeline, test_digits

console = Console(width=100)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--roots", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        runs = {}
        for seed in options.seeds:
            root = (options.roots or Path(directory)) / f"{options.recipe}-{seed}"
            runs[seed] = run_pipeline(options.data, options.recipe, seed, root)
            _print_accuracies(options.recipe, runs)
        _print_components(runs)
        _compare_with_keras(root, options.data)


def _print_accuracies(recipe: str, runs: dict[int, dict[str, Any]]) -> None:
    table = Table(title=f"recipe {recipe}, test split")
    for heading in ("seed", "accuracy", "int8 accuracy", "lost", "gained", "training s", "wall s"):
        table.add_column(heading, justify="right")
    for seed, run in runs.items():
        model, edge = run["model"], run["edge"]
        table.add_row(
            str(seed),
            f"{model['accuracy']:.2%}",
            f"{edge['accuracy']:.2%}",
            str(edge["lost"]),
            str(edge["gained"]),
            f"{model['training_seconds']:.1f}",
            f"{run['wall_seconds']:.1f}",
        )
    table.add_section()
    accuracies = [[run[key]["accuracy"] for run in runs.values()] for key in ("model", "edge")]
    table.add_row("mean", *(f"{statistics.mean(values):.3%}" for values in accuracies))
    if len(runs) > 1:
        table.add_row("95 % interval of the mean", *map(_interval, accuracies))
    console.print(table)


def _interval(values: list[float]) -> str:
    """Student's t interval of the mean over seeds."""
    low, high = stats.t.interval(0.95, len(values) - 1, statistics.mean(values), stats.sem(values))
    return f"{low:.3%} to {high:.3%}"


def _print_components(runs: dict[int, dict[str, Any]]) -> None:
    table = Table(title="components, median over the seeds")
    for heading in ("component", "seconds", "peak MiB of the process"):
        table.add_column(heading, justify="right" if heading != "component" else "left")
    for parts in zip(*(run["components"] for run in runs.values()), strict=True):
        seconds, memory = (
            statistics.median(part[key] for part in parts) for key in ("seconds", "peak_mib")
        )
        table.add_row(parts[0]["name"], f"{seconds:.1f}", f"{memory:,.0f}")
    console.print(table)


def _compare_with_keras(root: Path, data: str) -> None:
    import keras
    import tensorflow as tf

    from components.ingestion import encode
    from serving.pictures import centre_digit, encode_png
    from serving.predict import latest_version

    images, labels = test_digits(data)
    (path,) = root.glob("artifacts/Trainer/model_run/*/model.keras")
    model = keras.saving.load_model(path)
    plain = model.predict(images[..., None] / 255.0, verbose=0)
    centred = np.stack([centre_digit(image) for image in images])
    as_pictures = model.predict(centred[..., None] / 255.0, verbose=0)

    table = Table(title=f"pushed model in a TF1 session against Keras, {len(images):,} digits")
    for heading in ("signature", "labels equal", "largest difference", "accuracy"):
        table.add_column(heading, justify="right" if heading != "signature" else "left")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        directory = latest_version(root / "serving" / "digits")
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(directory))
        for name, requests, expected in (
            ("serving_default", images, plain),
            (
                "serve_examples",
                [encode(*pair) for pair in zip(images, labels.tolist(), strict=True)],
                plain,
            ),
            ("serve_image_bytes", [encode_png(image) for image in images], as_pictures),
        ):
            signature = loaded.signature_def[name]
            (source,) = signature.inputs.values()
            fetches = {key: info.name for key, info in signature.outputs.items()}
            answers = [
                session.run(fetches, {source.name: requests[start : start + 500]})
                for start in range(0, len(images), 500)
            ]
            found = np.concatenate([answer["label"] for answer in answers])
            probabilities = np.concatenate([answer["probabilities"] for answer in answers])
            table.add_row(
                name,
                f"{(found == expected.argmax(1)).sum():,} of {len(images):,}",
                f"{np.abs(probabilities - expected).max():.1e}",
                f"{(found == labels).mean():.2%}",
            )
    console.print(table)


if __name__ == "__main__":
    main()
