"""Edge evaluator: the files that ship, run by the runtime that ships, against the served model."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats
from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.edge_exporter import EdgeModelArtifact
from components.examples import read_digits
from components.gates import GateDecision, write_decision
from export.edge_model import DEFAULT_VARIANT, DESCRIPTION_FILE, EdgeModel, float_compute_ops

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
    """Scores the test split with each variant, by LiteRT, and with the served model, paired.

    A variant that fails is not pushed; the run is refused if the default variant fails.

    Args:
        min_accuracy: floor of a variant's accuracy.
        max_disagreement: highest share of test digits to which the two give different labels.
    """
    digits = list(read_digits(examples, "test"))
    images, labels = (np.concatenate(parts) for parts in zip(*digits, strict=True))
    served = tf.saved_model.load(path_utils.serving_model_path(model.uri))
    signature = served.signatures["serving_default"]
    answers = [signature(images=tf.constant(batch))["label"].numpy() for batch, _ in digits]
    served_labels = np.concatenate(answers)

    description = json.loads(Path(edge_model.uri, DESCRIPTION_FILE).read_text())
    evaluated: dict[str, dict[str, Any]] = {}
    for variant in description["variants"]:
        path = Path(edge_model.uri, variant["file"])
        probabilities = EdgeModel(path).predict(images)
        metrics = compare(labels, probabilities.argmax(1), served_labels)
        refusals = gate(metrics, min_accuracy=min_accuracy, max_disagreement=max_disagreement)
        if not probabilities.any(1).all() or not np.isfinite(probabilities).all():
            refusals.append("gives some digits no probability at all")
        if variant["input"]["dtype"] != "float32":
            refusals += check_integers(variant, path.read_bytes())
        evaluated[variant["name"]] = {**metrics, "refusals": refusals}
    Path(evaluation.uri, METRICS_FILE).write_text(json.dumps({"variants": evaluated}, indent=2))

    default = evaluated[DEFAULT_VARIANT]
    reason = (
        f"accuracy {default['accuracy']:.4f}; {default['disagreements']} of {default['examples']} "
        "labels differ from the served model's"
    )
    for name, metrics in evaluated.items():
        if metrics["refusals"] and name != DEFAULT_VARIANT:
            reason += f"; {name} not pushed: {', '.join(metrics['refusals'])}"
    write_decision(blessing, default["refusals"], reason)


def check_integers(variant: dict[str, Any], content: bytes) -> list[str]:
    """Returns what keeps a variant from being an integer model that takes bytes for pixels."""
    refusals = []
    if floats := float_compute_ops(content):
        refusals.append(f"computes in floating point: {', '.join(floats)}")
    source = variant["input"]
    zero = np.iinfo(source["dtype"]).min
    if not math.isclose(source["scale"], 1 / 255, rel_tol=1e-6) or source["zero_point"] != zero:
        refusals.append(
            f"takes pixels with scale {source['scale']} and zero point {source['zero_point']}; "
            f"expected 1/255 and {zero}"
        )
    return refusals


def compare(
    labels: np.ndarray, edge_labels: np.ndarray, served_labels: np.ndarray
) -> dict[str, Any]:
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


def gate(metrics: dict[str, Any], *, min_accuracy: float, max_disagreement: float) -> list[str]:
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
