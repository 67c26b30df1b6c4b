"""Edge evaluator: the files that ship, run by the runtime that ships, against the served model."""

import itertools
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components import stress
from components.edge_exporter import EdgeModelArtifact
from components.edge_metrics import compare
from components.examples import every_nth, read_digits
from components.gates import GateDecision, write_decision
from export.description import DESCRIPTION_FILE
from export.edge_model import DEFAULT_VARIANT, MODEL_FILE, EdgeModel, float_compute_ops

METRICS_FILE = "metrics.json"
SIGNIFICANCE = 0.05
#: How much further off than the served model's a variant's confidence may be, on average.
MAX_CALIBRATION_LOSS = 0.02


@tfx.dsl.components.component
def EdgeEvaluator(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    edge_model: tfx.dsl.components.InputArtifact[EdgeModelArtifact],
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    evaluation: tfx.dsl.components.OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.OutputArtifact[GateDecision],
    min_accuracy: tfx.dsl.components.Parameter[float],
    min_recall: tfx.dsl.components.Parameter[float],
    max_disagreement: tfx.dsl.components.Parameter[float],
) -> None:
    """Scores the test split with each variant, by LiteRT, and with the served model, paired.

    A variant that fails is not pushed. The run is refused if the default variant fails, or does
    not stand the stress suite.

    Args:
        min_accuracy: floor of a variant's accuracy.
        min_recall: floor of each digit's recall.
        max_disagreement: highest share of test digits to which the two give different labels.
    """
    served = tf.saved_model.load(path_utils.serving_model_path(model.uri))
    signature = served.signatures["serving_default"]
    description = json.loads(Path(edge_model.uri, DESCRIPTION_FILE).read_text())
    paths = [Path(edge_model.uri, variant["file"]) for variant in description["variants"]]
    models = [EdgeModel(path) for path in paths]
    # What is kept of a digit is its label and its probabilities: a test split may be large.
    batch_labels, served_answers, answers = [], [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # LiteRT does not hold Python's lock
        for images, labels in read_digits(examples, "test"):
            batch_labels.append(labels)
            served_answers.append(signature(images=tf.constant(images))["probabilities"].numpy())
            answers.append(list(pool.map(EdgeModel.predict, models, itertools.repeat(images))))
    labels = np.concatenate(batch_labels)
    served_probabilities = np.concatenate(served_answers)
    found = [np.concatenate(parts) for parts in zip(*answers, strict=True)]
    evaluated: dict[str, dict[str, Any]] = {}
    for variant, path, probabilities in zip(description["variants"], paths, found, strict=True):
        probabilities = np.nan_to_num(probabilities, posinf=0)
        metrics = compare(labels, probabilities, served_probabilities)
        refusals = gate(
            metrics,
            min_accuracy=min_accuracy,
            min_recall=min_recall,
            max_disagreement=max_disagreement,
        )
        if not probabilities.any(1).all():
            refusals.append("gives some digits no probability at all")
        if variant["input"]["dtype"] != "float32":
            refusals += check_integers(variant, path.read_bytes())
        evaluated[variant["name"]] = {**metrics, "refusals": refusals}
    step = -(-len(labels) // stress.DIGITS)
    images = np.concatenate(list(every_nth(read_digits(examples, "test"), step)))
    default_model = EdgeModel(Path(edge_model.uri, MODEL_FILE))
    stressed = stress.measure(default_model, images, labels[::step])
    Path(evaluation.uri, METRICS_FILE).write_text(
        json.dumps({"variants": evaluated, "stress": stressed}, indent=2)
    )

    default = evaluated[DEFAULT_VARIANT]
    reason = (
        f"accuracy {default['accuracy']:.4f}; {default['disagreements']} of {default['examples']} "
        "labels differ from the served model's"
    )
    for name, metrics in evaluated.items():
        if metrics["refusals"] and name != DEFAULT_VARIANT:
            reason += f"; {name} not pushed: {', '.join(metrics['refusals'])}"
    refusals = default["refusals"] + stress.refusals(stressed, significance=SIGNIFICANCE)
    write_decision(blessing, refusals, reason)


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


def gate(
    metrics: dict[str, Any], *, min_accuracy: float, min_recall: float, max_disagreement: float
) -> list[str]:
    """Returns why the gate refuses, a line each."""
    refusals = []
    if metrics["accuracy"] < min_accuracy:
        refusals.append(f"accuracy {metrics['accuracy']:.4f} is below {min_accuracy}")
    for digit, recall in enumerate(metrics["recall"]):
        if recall is not None and recall < min_recall:
            refusals.append(f"recall of digit {digit} {recall:.4f} is below {min_recall}")
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
    error, served = (metrics[f"{of}expected_calibration_error"] for of in ("", "served_"))
    if error > served + MAX_CALIBRATION_LOSS:
        refusals.append(
            f"calibration error {error:.4f}, the served model's {served:.4f}; at most "
            f"{MAX_CALIBRATION_LOSS} more may be"
        )
    return refusals
