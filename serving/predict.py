"""`digits predict`: the label of picture files, from the latest pushed model."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.errors import InputError
from serving.pictures import centre_digit, read_picture, to_grey

BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """What a model says of a picture.

    Attributes:
        file: the picture.
        label: the most probable digit.
        probability: its probability.
        probabilities: of all ten digits.
    """

    file: str
    label: int
    probability: float
    probabilities: list[float]


Classifier = Callable[[list[bytes]], np.ndarray]


def latest_version(base_directory: Path) -> Path:
    """Returns the directory of the highest version, as TF Serving chooses it.

    Raises:
        InputError: there is none.
    """
    versions = [p for p in base_directory.glob("*") if p.is_dir() and p.name.isdecimal()]
    if not versions:
        raise InputError(f"{base_directory}: no pushed model; run `digits run` first")
    return max(versions, key=lambda path: int(path.name))


def saved_model_classifier(directory: Path) -> Classifier:
    """Returns a function from pictures to float32 [n, 10], run by TensorFlow."""
    import tensorflow as tf

    try:
        # The signature keeps no reference to the model, whose variables it needs.
        model = tf.saved_model.load(str(directory))
        signature = model.signatures["serve_image_bytes"]
    except (OSError, KeyError, tf.errors.OpError) as error:
        raise InputError(f"{directory}: not a SavedModel that `digits run` pushed") from error

    def classify(pictures: list[bytes], _keep: object = model) -> np.ndarray:
        return signature(image_bytes=tf.constant(pictures))["probabilities"].numpy()

    return classify


def edge_classifier(directory: Path) -> Classifier:
    """Returns a function from pictures to float32 [n, 10], run by LiteRT."""
    from export.edge_model import MODEL_FILE, EdgeModel

    model = EdgeModel(directory / MODEL_FILE)
    return lambda pictures: model.predict(
        np.stack([centre_digit(to_grey(picture)) for picture in pictures])
    )


def predict(files: Sequence[str], classifier: Classifier) -> list[Prediction]:
    """Classifies picture files.

    Raises:
        InputError: a file is no readable picture; nothing is classified then.
    """
    pictures = [read_picture(path) for path in files]
    predictions = []
    for start in range(0, len(files), BATCH):
        probabilities = classifier(pictures[start : start + BATCH])
        for file, row in zip(files[start : start + BATCH], probabilities, strict=True):
            label = int(row.argmax())
            predictions.append(Prediction(os.fspath(file), label, float(row[label]), row.tolist()))
    return predictions


def print_predictions(
    predictions: Sequence[Prediction], console: Console, *, as_json: bool
) -> None:
    """Prints a table, or a JSON array with all ten probabilities."""
    if as_json:
        print(json.dumps([asdict(prediction) for prediction in predictions], indent=2))
        return
    table = Table()
    table.add_column("file", overflow="fold")
    table.add_column("digit", justify="right")
    table.add_column("probability", justify="right")
    for prediction in predictions:
        table.add_row(
            escape(prediction.file), str(prediction.label), f"{prediction.probability:.1%}"
        )
    console.print(table)
