"""The figures of a run, gathered from its artifacts."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from scipy import stats
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import artifact
from tfx.utils import path_utils

from components.edge_evaluator import METRICS_FILE
from components.preprocessing import LABEL
from components.pushers import DESTINATION_PROPERTY, VERSION_PROPERTY
from components.signatures import METADATA_FILE
from components.sources import CLASSES
from components.splits import SPLITS
from components.trainer import HISTORY_FILE
from export.edge_model import DEFAULT_VARIANT, DESCRIPTION_FILE
from pipeline.config import PipelineConfig
from pipeline.local_runner import NodeRun

#: The gates in the order in which a run passes them: the component and its output.
GATES = {
    "data": "DataGate",
    "model": "Evaluator",
    "servability": "ServabilityCheck",
    "edge": "EdgeEvaluator",
}


def summarize(config: PipelineConfig, nodes: Mapping[str, NodeRun]) -> dict[str, Any]:
    """Returns the figures of a run as JSON values.

    Args:
        config: what was run.
        nodes: what became of each component.
    """
    gates = {
        name: _gate(nodes[node].outputs["blessing"])
        for name, node in GATES.items()
        if nodes[node].outputs
    }
    return {
        "data": {
            "source": str(Path(config.data.base) / config.data.pattern),
            "splits": _splits(nodes["StatisticsGen"].outputs["statistics"].uri),
        },
        "recipe": config.recipe.to_dict(),
        "seed": config.seed,
        "tuning": _tuning(nodes["Tuner"].outputs) if "Tuner" in nodes else None,
        "model": _model(nodes["Trainer"].outputs, nodes["Evaluator"].outputs),
        "edge": _edge(nodes["TFLiteExporter"].outputs, nodes["EdgeEvaluator"].outputs),
        "gates": gates,
        "pushed": _pushed(nodes["Pusher"].outputs, nodes["EdgePusher"].outputs),
        "components": [
            {
                "name": node.name,
                "state": node.state,
                "seconds": round(node.seconds, 3),
                "peak_mib": node.peak_mib,
            }
            for node in nodes.values()
        ],
    }


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Writes the summary in one step: whole, or not at all."""
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        json.dump(summary, file, indent=2)
    os.replace(beside, path)


def _gate(blessing: artifact.Artifact) -> dict[str, Any]:
    return {
        "blessed": blessing.get_int_custom_property("blessed") == 1,
        "reason": blessing.get_string_custom_property("reason"),
    }


def _splits(statistics: str) -> dict[str, Any]:
    splits = {}
    for split in SPLITS:
        content = Path(statistics, f"Split-{split}", "FeatureStats.pb").read_bytes()
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
        (label,) = [f for f in dataset.features if list(f.path.step) == [LABEL]]
        counts = {entry.value: entry.frequency for entry in label.string_stats.top_values}
        splits[split] = {
            "examples": dataset.num_examples,
            "by_label": [int(counts.get(str(digit), 0)) for digit in range(CLASSES)],
        }
    return splits


def _tuning(tuned: Mapping[str, artifact.Artifact]) -> dict[str, Any] | None:
    if not tuned:
        return None
    best = Path(tuned["best_hyperparameters"].uri, "best_hyperparameters.txt")
    trials = Path(tuned["tuner_results"].uri, "tuner_results.json")
    return {
        "best": json.loads(best.read_text())["values"],
        "trials": json.loads(trials.read_text()),
    }


def _model(
    trained: Mapping[str, artifact.Artifact], evaluated: Mapping[str, artifact.Artifact]
) -> dict[str, Any] | None:
    if not evaluated:
        return None
    saved_model = Path(path_utils.serving_model_path(trained["model"].uri))
    has_baseline = evaluated["blessing"].get_int_custom_property("baseline_model_id")
    result = tfma.load_eval_result(
        evaluated["evaluation"].uri, model_name="candidate" if has_baseline else None
    )
    ((_, by_output),) = result.slicing_metrics
    ((_, plots_by_output),) = result.plots
    metrics, plots = by_output[""], plots_by_output[""]
    total = int(metrics[""]["example_count"]["doubleValue"])
    accuracy = metrics[""]["accuracy"]["doubleValue"]
    by_digit = [metrics[f"classId:{digit}"] for digit in range(CLASSES)]
    interval = stats.binomtest(round(accuracy * total), total).proportion_ci(method="wilson")
    training = json.loads(Path(trained["model_run"].uri, HISTORY_FILE).read_text())
    return {
        "accuracy": accuracy,
        "interval_95": [float(interval.low), float(interval.high)],
        "recall": [values["recall"]["doubleValue"] for values in by_digit],
        "precision": [values["precision"]["doubleValue"] for values in by_digit],
        "confusion_matrix": _confusion_matrix(plots[""]),
        "expected_calibration_error": _calibration_error(plots["topK:1"]),
        "parameters": json.loads((saved_model / METADATA_FILE).read_text())["parameters"],
        "bytes": sum(path.stat().st_size for path in saved_model.rglob("*") if path.is_file()),
        "training_seconds": round(training["seconds"], 3),
        "steps": training["steps"],
        "history": training["history"],
    }


def _confusion_matrix(plots: Mapping[str, Any]) -> list[list[int]]:
    """Counts, by actual digit (row) and predicted digit (column)."""
    counts = [[0] * CLASSES for _ in range(CLASSES)]
    (matrix,) = plots["multiClassConfusionMatrixAtThresholds"]["matrices"]
    for entry in matrix["entries"]:
        actual, predicted = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
        counts[actual][predicted] = int(entry["numWeightedExamples"])
    return counts


def _calibration_error(plots: Mapping[str, Any]) -> float:
    """The mean distance of confidence from accuracy, in ten bins (Naeini et al., AAAI 2015)."""
    distance = total = 0.0
    for bucket in plots["calibrationHistogramBuckets"]["buckets"]:
        if bucket.get("lowerThresholdInclusive") == "-Infinity":  # all but the first choice
            continue
        distance += abs(bucket["totalWeightedLabel"] - bucket["totalWeightedRefinedPrediction"])
        total += bucket["numWeightedExamples"]
    return distance / total


def _edge(
    exported: Mapping[str, artifact.Artifact], evaluated: Mapping[str, artifact.Artifact]
) -> dict[str, Any] | None:
    if not evaluated:
        return None
    description = json.loads(Path(exported["edge_model"].uri, DESCRIPTION_FILE).read_text())
    metrics = json.loads(Path(evaluated["evaluation"].uri, METRICS_FILE).read_text())
    for variant in description["variants"]:
        metrics["variants"][variant["name"]] |= {
            "bytes": variant["bytes"],
            "sha256": variant["sha256"],
        }
    return {**metrics["variants"][DEFAULT_VARIANT], **metrics}


def _pushed(
    served: Mapping[str, artifact.Artifact], edge: Mapping[str, artifact.Artifact]
) -> dict[str, str] | None:
    if not served or not edge:
        return None
    model, edge_model = served["pushed_model"], edge["pushed_model"]
    return {
        "version": model.get_string_custom_property(VERSION_PROPERTY),
        "serving": model.get_string_custom_property(DESTINATION_PROPERTY),
        "edge": edge_model.get_string_custom_property(DESTINATION_PROPERTY),
    }
