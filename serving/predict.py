"""`digits predict`: the label of picture files, from a pushed model."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from serving.errors import InputError
from serving.picture_files import read_picture
from serving.pictures import centre_digit, to_grey
from serving.prediction import Prediction

BATCH = 64


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
    from serving.saved_model import load_signatures

    (signature,) = load_signatures(directory, "serve_image_bytes")
    return lambda pictures: signature(image_bytes=pictures)


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
            predictions.append(Prediction.of(os.fspath(file), row.tolist()))
    return predictions
