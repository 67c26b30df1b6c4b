"""Edge evaluator: the file that ships, run by the runtime that ships, against the served model."""

import json
import os

import numpy as np
import tensorflow as tf
from scipy import stats
from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.edge_exporter import EdgeModelArtifact
from components.examples import read_digits
from components.gates import GateDecision, write_decision
from export.edge_model import MODEL_FILE, EdgeModel, float_compute_ops

METRICS_FILE = "metrics.json"
SIGNIFICANCE = 0.05


@tfx.dsl.components.component
def EdgeEvaluator(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    edge_model: tfx.dsl.components.InputArtifact[EdgeModelArtifact],
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    evaluation: tfx.dsl.components.OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.OutputArtifact[GateDecision],
    min_accuracy: tfx.dsl.components.Parameter[float],
    max_disagreement: tfx.dsl.components.Parameter[float],
) -> None:
    """Scores the test split with LiteRT and with the served model, digit by digit.

    Args:
        min_accuracy: floor of the quantised model's accuracy.
        max_disagreement: highest share of test digits to which the two give different labels.
    """
    path = os.path.join(edge_model.uri, MODEL_FILE)
    edge = EdgeModel(path)
    served = tf.saved_model.load(path_utils.serving_model_path(model.uri))
    signature = served.signatures["serving_default"]
    labels, edge_labels, served_labels = [], [], []
    finite = True
    for images, batch_labels in read_digits(examples, "test"):
        probabilities = edge.predict(images)
        finite = finite and bool(probabilities.any(1).all())
        labels.append(batch_labels)
        edge_labels.append(probabilities.argmax(1))
        served_labels.append(signature(images=tf.constant(images))["label"].numpy())
    metrics = compare(
        np.concatenate(labels), np.concatenate(edge_labels), np.concatenate(served_labels)
    )
    with open(os.path.join(evaluation.uri, METRICS_FILE), "w") as file:
        json.dump(metrics, file, indent=2)

    with open(path, "rb") as file:
        floats = float_compute_ops(file.read())
    refusals = gate(metrics, min_accuracy=min_accuracy, max_disagreement=max_disagreement)
    if floats:
        refusals.append(f"computes in floating point: {', '.join(floats)}")
    if not finite:
        refusals.append("gives some digits no probability at all")
    write_decision(
        blessing,
        refusals,
        f"accuracy {metrics['accuracy']:.4f}; {metrics['disagreements']} of {metrics['examples']} "
        "labels differ from the served model's",
    )


def compare(
    labels: np.ndarray, edge_labels: np.ndarray, served_labels: np.ndarray
) -> dict[str, float]:
    """Compares two models on the same digits, paired.

    Args:
        labels: int64 [n], the truth.
        edge_labels: int64 [n], what the quantised model says.
        served_labels: int64 [n], what the served model says.

    Returns:
        `accuracy` and `served_accuracy`; `lost` and `gained`, the digits that only the served and
        only the quantised model gets right; `disagreements`, all digits with different labels;
        `loss_p_value`, of the exact one-sided McNemar test that `lost` is not by chance the
        larger (McNemar, 1947).
    """
    edge_hits, served_hits = edge_labels == labels, served_labels == labels
    lost = int((served_hits & ~edge_hits).sum())
    gained = int((edge_hits & ~served_hits).sum())
    discordant = lost + gained
    test = stats.binomtest(lost, discordant, 0.5, alternative="greater") if discordant else None
    return {
        "examples": len(labels),
        "accuracy": float(edge_hits.mean()),
        "served_accuracy": float(served_hits.mean()),
        "lost": lost,
        "gained": gained,
        "disagreements": int((edge_labels != served_labels).sum()),
        "loss_p_value": float(test.pvalue) if test else 1.0,
    }


def gate(metrics: dict[str, float], *, min_accuracy: float, max_disagreement: float) -> list[str]:
    """Returns why the gate refuses, a line each."""
    refusals = []
    if metrics["accuracy"] < min_accuracy:
        refusals.append(f"accuracy {metrics['accuracy']:.4f} is below {min_accuracy}")
    if metrics["disagreements"] > max_disagreement * metrics["examples"]:
        refusals.append(
            f"{metrics['disagreements']} of {metrics['examples']} labels differ from the served "
            f"model's; at most {max_disagreement:.2%} may"
        )
    if metrics["loss_p_value"] < SIGNIFICANCE:
        refusals.append(
            f"worse than the served model: {metrics['lost']} digits lost, {metrics['gained']} "
            f"gained, p = {metrics['loss_p_value']:.2g}"
        )
    return refusals
