"""The figures of a run, gathered from its artifacts."""

import datetime
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import artifact
from tfx.utils import path_utils

from components.data_gate import describe
from components.edge_evaluator import METRICS_FILE
from components.preprocessing import LABEL
from components.pushers import DESTINATION_PROPERTY, VERSION_PROPERTY
from components.signatures import METADATA_FILE
from components.sources import CLASSES
from components.span_resolvers import span_of
from components.splits import SPLITS
from components.trainer import HISTORY_FILE
from export.description import DESCRIPTION_FILE, read_description
from export.edge_model import DEFAULT_VARIANT
from export.facts import wilson_interval
from export.hashes import sha256_of_directory
from pipeline.atomic import replace_file
from pipeline.config import PipelineConfig, RunRoot
from pipeline.lineage import lineage
from pipeline.local_runner import NodeRun

#: The gates in the order in which a run passes them: the component and its output.
GATES = {
    "data": "DataGate",
    "model": "Evaluator",
    "servability": "ServabilityCheck",
    "edge": "EdgeEvaluator",
}


def summarize(
    config: PipelineConfig, nodes: Mapping[str, NodeRun], started: datetime.datetime
) -> dict[str, Any]:
    """Returns the figures of a run, which has just ended, as JSON values.

    Args:
        config: what was run.
        nodes: what became of each component.
        started: when the run began, with a time zone.
    """
    gates = {
        name: _gate(nodes[node].outputs["blessing"])
        for name, node in GATES.items()
        if nodes[node].outputs
    }
    ended = datetime.datetime.now(datetime.UTC)
    return {
        "run": {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round((ended - started).total_seconds(), 3),
        },
        "data": {
            "source": str(Path(config.data.base) / config.data.pattern),
            "span": config.span and config.span.number,
            "trained_on_spans": _spans(nodes["Trainer"]) if config.span else None,
            "splits": _splits(
                nodes["StatisticsGen"].outputs["statistics"].uri,
                nodes["ExampleValidator"].outputs["anomalies"].uri,
            ),
        },
        "recipe": config.recipe.to_dict(),
        "seed": config.seed,
        "tuning": _tuning(nodes["Tuner"].outputs) if "Tuner" in nodes else None,
        "model": _model(nodes["Trainer"].outputs, nodes["Evaluator"].outputs, config.root),
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
        "lineage": lineage(nodes, config.root),
    }


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Writes the summary in one step: whole, or not at all."""
    replace_file(path, json.dumps(summary, indent=2))


def _gate(blessing: artifact.Artifact) -> dict[str, Any]:
    return {
        "blessed": blessing.get_int_custom_property("blessed") == 1,
        "reason": blessing.get_string_custom_property("reason"),
    }


def _spans(trainer: NodeRun) -> list[int]:
    return sorted(span_of(examples) for examples in trainer.inputs.get("examples", []))


def _splits(statistics: str, anomalies: str) -> dict[str, Any]:
    splits = {}
    for split in SPLITS:
        content = Path(statistics, f"Split-{split}", "FeatureStats.pb").read_bytes()
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
        (label,) = [f for f in dataset.features if list(f.path.step) == [LABEL]]
        counts = {entry.value: entry.frequency for entry in label.string_stats.top_values}
        splits[split] = {
            "examples": dataset.num_examples,
            "by_label": [int(counts.get(str(digit), 0)) for digit in range(CLASSES)],
            "anomalies": describe(split, os.path.join(anomalies, f"Split-{split}")),
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
    trained: Mapping[str, artifact.Artifact],
    evaluated: Mapping[str, artifact.Artifact],
    root: RunRoot,
) -> dict[str, Any] | None:
    if not evaluated:
        return None
    saved_model = Path(path_utils.serving_model_path(trained["model"].uri))
    sha256 = sha256_of_directory(str(saved_model))
    blessing, evaluation = evaluated["blessing"], evaluated["evaluation"].uri
    has_baseline = blessing.get_int_custom_property("baseline_model_id")
    metrics, plots = _evaluation(evaluation, "candidate" if has_baseline else None)
    by_digit = [metrics[f"classId:{digit}"] for digit in range(CLASSES)]
    first_choice = metrics["topK:1"]
    matrix = _confusion_matrix(plots[""])
    baseline = None
    if has_baseline:
        source = path_utils.serving_model_path(
            blessing.get_string_custom_property("baseline_model")
        )
        baseline_sha256 = sha256_of_directory(source)
        baseline = {
            **_accuracy(_evaluation(evaluation, "baseline")[0]),
            "version": _version_of(baseline_sha256, root.edge),
            "same": baseline_sha256 == sha256,
        }
    training = json.loads(Path(trained["model_run"].uri, HISTORY_FILE).read_text())
    return {
        **_accuracy(metrics),
        "recall": [values["recall"]["doubleValue"] for values in by_digit],
        "recall_interval_95": [
            wilson_interval(row[digit], sum(row)) for digit, row in enumerate(matrix)
        ],
        "precision": [finite(values["precision"]["doubleValue"]) for values in by_digit],
        "confusion_matrix": matrix,
        "expected_calibration_error": first_choice["expected_calibration_error"]["doubleValue"],
        "calibration": _calibration(plots["topK:1"]),
        "baseline": baseline,
        "parameters": json.loads((saved_model / METADATA_FILE).read_text())["parameters"],
        "bytes": sum(path.stat().st_size for path in saved_model.rglob("*") if path.is_file()),
        "sha256": sha256,
        "training_seconds": round(training["seconds"], 3),
        "steps": training["steps"],
        "temperature": training["temperature"],
        "warm_start": training["warm_start"],
        "history": training["history"],
    }


def _evaluation(directory: str, model: str | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Returns TFMA's metrics and plots of a model, by sub-key."""
    result = tfma.load_eval_result(directory, model_name=model)
    ((_, metrics),) = result.slicing_metrics
    ((_, plots),) = result.plots
    return metrics[""], plots[""]


def _accuracy(metrics: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = metrics[""]["accuracy"]["doubleValue"]
    total = int(metrics[""]["example_count"]["doubleValue"])
    return {
        "accuracy": accuracy,
        "interval_95": wilson_interval(round(accuracy * total), total),
    }


def finite(value: float | str) -> float | None:
    """Returns a number of TFMA's, or None for its NaN, a string, which JSON has no number for."""
    number = float(value)
    return number if math.isfinite(number) else None


def _version_of(saved_model_sha256: str, edge: Path) -> str | None:
    """Returns the version that was made of a served model, the last if there are several."""
    paths = edge.glob(f"*/{DESCRIPTION_FILE}")
    descriptions = [read_description(path.parent) for path in paths]
    versions = [
        int(description["version"])
        for description in descriptions
        if description["source_saved_model_sha256"] == saved_model_sha256
    ]
    return str(max(versions)) if versions else None


def _confusion_matrix(plots: Mapping[str, Any]) -> list[list[int]]:
    """Counts, by actual digit (row) and predicted digit (column)."""
    counts = [[0] * CLASSES for _ in range(CLASSES)]
    (matrix,) = plots["multiClassConfusionMatrixAtThresholds"]["matrices"]
    for entry in matrix["entries"]:
        actual, predicted = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
        counts[actual][predicted] = int(entry["numWeightedExamples"])
    return counts


def _calibration(plots: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The test digits by the probability of their first choice, in ten bins that are not empty."""
    *buckets, highest, certain = plots["calibrationHistogramBuckets"]["buckets"]
    sums = ("numWeightedExamples", "totalWeightedRefinedPrediction", "totalWeightedLabel")
    # TFMA counts a probability of one apart from the highest bin.
    buckets.append({**highest, **{key: highest[key] + certain[key] for key in sums}})
    bins = []
    for bucket in buckets:
        count = bucket["numWeightedExamples"]
        lower = bucket.get("lowerThresholdInclusive", 0.0)
        if lower == "-Infinity" or not count:  # all but the first choice
            continue
        bins.append(
            {
                "lower": lower,
                "upper": bucket["upperThresholdExclusive"],
                "count": int(count),
                "confidence": bucket["totalWeightedRefinedPrediction"] / count,
                "accuracy": bucket["totalWeightedLabel"] / count,
            }
        )
    return bins


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
