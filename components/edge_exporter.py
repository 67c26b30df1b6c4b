"""TFLite exporter: the blessed model as files for devices, one a variant."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx.types import artifact, standard_artifacts
from tfx.utils import path_utils

from components.examples import lowest_hashed, read_digits, sha256_of_examples
from components.preprocessing import IMAGE
from components.signatures import METADATA_FILE
from components.sources import CLASSES
from components.trainer import KERAS_FILE
from export.description import DESCRIPTION_FILE
from export.edge_model import DEFAULT_VARIANT, LABELS_FILE, VARIANT_FILE, EdgeModel
from export.hashes import sha256_of_directory
from export.metadata import LICENCE, embed
from export.tflite import convert
from serving.pictures import BOX, MIDDLE

REPRESENTATIVE_DIGITS = 500
#: What a file says of itself without `model.json`: short, as it takes room on microcontrollers.
METADATA = {
    "licence": LICENCE,
    "input": f"white on black, longer side {BOX} pixels, centre of mass at ({MIDDLE}, {MIDDLE})",
}
LINEAGE_DIGITS = 16  # of the served model's hash


class EdgeModelArtifact(artifact.Artifact):
    """A directory with `models/<variant>.tflite`, `labels.txt` and `model.json`.

    Not TFX's Model: the latest blessed one of those is the Evaluator's baseline.
    """

    TYPE_NAME = "digits.EdgeModel"


@tfx.dsl.components.component
def TFLiteExporter(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    model_run: tfx.dsl.components.InputArtifact[standard_artifacts.ModelRun],
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    transform_graph: tfx.dsl.components.InputArtifact[standard_artifacts.TransformGraph],
    edge_model: tfx.dsl.components.OutputArtifact[EdgeModelArtifact],
) -> None:
    """Converts the served weights to every variant, calibrated on digits of the train split only.

    Raises:
        RuntimeError: the Keras model's weights are not those of the served model.
    """
    saved_model = path_utils.serving_model_path(model.uri)
    network = keras.saving.load_model(Path(model_run.uri, KERAS_FILE))
    _require_same_weights(network, saved_model)

    directory = Path(edge_model.uri)
    contents = convert(network, _representative_dataset(examples, transform_graph.uri))
    labels = [str(label) for label in range(CLASSES)]
    lineage = sha256_of_directory(saved_model)
    metadata = {**METADATA, "saved_model": lineage[:LINEAGE_DIGITS]}
    variants = {
        name: _write(name, embed(content, metadata, labels), directory)
        for name, content in contents.items()
    }
    (directory / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels))

    default = {key: value for key, value in variants[DEFAULT_VARIANT].items() if key != "name"}
    description = {
        "name": "digits",
        **default,  # who does not choose among the variants need not look further
        "preprocessing": {
            "description": (
                "Grey pixels, 0 to 255, white digit on black, row by row, straight into the input "
                "tensor. The digit fills a box of 20x20 pixels, its centre of mass in the middle "
                "of pixel (14, 14) of the 28x28."
            ),
            "width": 28,
            "height": 28,
            "channels": 1,
            "polarity": "white on black",
        },
        "recipe": json.loads(Path(saved_model, METADATA_FILE).read_text())["recipe"],
        "source_saved_model_sha256": lineage,
        "data_sha256": sha256_of_examples(examples),
        "variants": list(variants.values()),
    }
    (directory / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2))


def _write(name: str, content: bytes, directory: Path) -> dict[str, Any]:
    """Writes a variant's file; returns its description."""
    file = VARIANT_FILE.format(name)
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    model = EdgeModel(path)
    return {
        "name": name,
        "file": file,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {"name": "image", **asdict(model.input)},
        "output": {"name": "probabilities", **asdict(model.output)},
    }


def _representative_dataset(examples: artifact.Artifact, transform_graph: str) -> np.ndarray:
    """Transformed digits of the train split: the same whatever the order of the records."""
    digits, _ = lowest_hashed(read_digits(examples, "train"), REPRESENTATIVE_DIGITS)
    layer = tft.TFTransformOutput(transform_graph).transform_features_layer()
    return layer({IMAGE: tf.constant([digit.tobytes() for digit in digits])})[IMAGE].numpy()


def _require_same_weights(network: keras.Model, saved_model: str) -> None:
    served = tf.saved_model.load(saved_model).variables
    kept = [variable.numpy() for variable in network.variables]
    if len(served) != len(kept) or not all(
        np.array_equal(ours.numpy(), theirs) for ours, theirs in zip(served, kept, strict=True)
    ):
        raise RuntimeError(f"{saved_model}: other weights than the Keras model beside it")
