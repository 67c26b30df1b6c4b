"""A look at a run's digits themselves: their means, their ink, and those that were mistaken."""

import base64
from typing import Any

import numpy as np
import tensorflow as tf
from tfx.types import artifact
from tfx.utils import path_utils

from components.examples import read_digits
from components.sources import CLASSES, HEIGHT, WIDTH
from components.splits import SPLITS
from serving.pictures import encode_png

MISTAKES = 24
INK_BINS = 30


def look(examples: artifact.Artifact, model: artifact.Artifact | None) -> dict[str, Any]:
    """Returns `export.facts.Pictures` as JSON values.

    Args:
        examples: ExampleGen's.
        model: the Trainer's, if the run came that far: for the mistakes.
    """
    sums, counts = np.zeros((CLASSES, HEIGHT * WIDTH)), np.zeros(CLASSES)
    ink: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for images, labels in read_digits(examples, split):
            pixels = images.reshape(len(images), -1).astype(np.float32)
            ink[split].append(pixels.mean(1) / 255)
            if split == "train":
                counts += np.bincount(labels, minlength=CLASSES)
                sums += np.eye(CLASSES, dtype=np.float32)[labels].T @ pixels
    means = [
        _png((total / count).round().astype(np.uint8).reshape(HEIGHT, WIDTH)) if count else None
        for total, count in zip(sums, counts, strict=True)
    ]
    return {
        "mean_pngs": means,
        "ink": _histogram({split: np.concatenate(parts) for split, parts in ink.items() if parts}),
        "mistakes": _mistakes(examples, path_utils.serving_model_path(model.uri)) if model else [],
    }


def _histogram(ink: dict[str, np.ndarray]) -> dict[str, Any]:
    most = max((part.max() for part in ink.values()), default=1.0)
    edges = np.linspace(0, max(most, 0.01), INK_BINS + 1)
    counts = {split: np.histogram(part, edges)[0].tolist() for split, part in ink.items()}
    return {"edges": edges.tolist(), "counts": counts}


def _mistakes(examples: artifact.Artifact, saved_model: str) -> list[dict[str, Any]]:
    """The test digits that the model mistakes most confidently; none if it takes no pixels."""
    served = tf.saved_model.load(saved_model)
    signature = served.signatures.get("serving_default")
    if signature is None:  # the servability gate has refused it
        return []
    found: list[dict[str, Any]] = []
    for images, labels in read_digits(examples, "test"):
        probabilities = signature(images=tf.constant(images))["probabilities"].numpy()
        predicted = probabilities.argmax(1)
        for index in np.flatnonzero(predicted != labels):
            found.append(
                {
                    "png": _png(images[index]),
                    "label": int(labels[index]),
                    "predicted": int(predicted[index]),
                    "confidence": float(probabilities[index].max()),
                    "label_probability": float(probabilities[index, labels[index]]),
                }
            )
    return sorted(found, key=lambda mistake: -mistake["confidence"])[:MISTAKES]


def _png(image: np.ndarray) -> str:
    return base64.b64encode(encode_png(image)).decode()
