"""Servability check: does the exported model answer, as TF Serving runs it, like the trainer's?

TFX's InfraValidator asks a real TF Serving, which needs Docker or Kubernetes and does not
compile for Kubeflow Pipelines v2. This loads the model the way TF Serving does, through a TF1
session, which is where models that only Python can load fail.
"""

import os

import numpy as np
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.gates import write_decision
from components.ingestion import encode
from components.trainer import GOLDEN_FILE
from serving.pictures import encode_png

# Float arithmetic in another order, batch or kernel; far below what changes a label.
TOLERANCE = 1e-4


@tfx.dsl.components.component
def ServabilityCheck(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    model_run: tfx.dsl.components.InputArtifact[standard_artifacts.ModelRun],
    blessing: tfx.dsl.components.OutputArtifact[standard_artifacts.InfraBlessing],
) -> None:
    """Blesses a model whose signatures all give the predictions that the trainer recorded."""
    with np.load(os.path.join(model_run.uri, GOLDEN_FILE), allow_pickle=False) as arrays:
        golden = dict(arrays)
    refusals = check_servable(path_utils.serving_model_path(model.uri), golden)
    count = len(golden["images"])
    write_decision(
        blessing, refusals, f"every signature gives the trainer's answers for {count} digits"
    )


def check_servable(directory: str, golden: dict[str, np.ndarray]) -> list[str]:
    """Sends golden digits through every signature in a TF1 session.

    Args:
        directory: a SavedModel.
        golden: `images` uint8 [n, 28, 28], `labels` int64 [n], `probabilities` and
            `picture_probabilities` float32 [n, 10].

    Returns:
        What is wrong, a line each; empty when nothing is.
    """
    images = golden["images"]
    examples = [encode(*pair) for pair in zip(images, golden["labels"].tolist(), strict=True)]
    pictures = [encode_png(image) for image in images]
    requests = {
        "serving_default": (images, golden["probabilities"]),
        "serve_examples": (examples, golden["probabilities"]),
        "serve_image_bytes": (pictures, golden["picture_probabilities"]),
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        try:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
            return [f"the SavedModel does not load: {_first_line(error)}"]
        refusals = []
        for name, (request, expected) in requests.items():
            if name not in loaded.signature_def:
                refusals.append(f"{name}: no such signature")
                continue
            signature = loaded.signature_def[name]
            (source,) = signature.inputs.values()
            fetches = {key: info.name for key, info in signature.outputs.items()}
            try:
                answer = session.run(fetches, {source.name: request})
            except (ValueError, tf.errors.OpError) as error:
                refusals.append(f"{name}: {_first_line(error)}")
                continue
            refusals += [f"{name}: {fault}" for fault in _compare(answer, expected)]
    return refusals


def _compare(answer: dict[str, np.ndarray], expected: np.ndarray) -> list[str]:
    if set(answer) != {"probabilities", "label"}:
        return [f"outputs {sorted(answer)}; expected label and probabilities"]
    if answer["probabilities"].shape != expected.shape:
        return [f"probabilities {answer['probabilities'].shape}; expected {expected.shape}"]
    faults = []
    difference = np.abs(answer["probabilities"] - expected).max()
    if not difference <= TOLERANCE:  # NaN is a fault too
        faults.append(f"probabilities differ from the trainer's by up to {difference:.2g}")
    labels = expected.argmax(1)
    if not np.array_equal(answer["label"], labels):
        count = (answer["label"] != labels).sum()
        faults.append(f"{count} of {len(labels)} labels differ from the trainer's")
    return faults


def _first_line(error: Exception) -> str:
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return f"{type(error).__name__}: {next(iter(message.splitlines()), '')}"
