"""Data gate: stops the run where ExampleValidator only reports."""

import os

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components.gates import EXAMPLES_PROPERTY, GateDecision, write_decision


@tfx.dsl.components.component
def DataGate(
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    anomalies: tfx.dsl.components.InputArtifact[standard_artifacts.ExampleAnomalies],
    blessing: tfx.dsl.components.OutputArtifact[GateDecision],
) -> None:
    """Blesses data in which no split has an anomaly."""
    found = []
    splits = artifact_utils.decode_split_names(anomalies.split_names)
    for split in splits:
        found += describe(split, os.path.join(anomalies.uri, f"Split-{split}"))
    blessing.set_string_custom_property(EXAMPLES_PROPERTY, examples.uri)
    write_decision(blessing, found, f"no anomaly in {', '.join(splits)}")


def describe(split: str, directory: str) -> list[str]:
    """Returns the anomalies of a split in words.

    Args:
        split: its name.
        directory: where ExampleValidator wrote what it found in the split.
    """
    with fileio.open(os.path.join(directory, "SchemaDiff.pb"), "rb") as file:
        report = anomalies_pb2.Anomalies.FromString(file.read())
    found = [
        f"{split} split, {feature}: {info.short_description} ({info.description})"
        for feature, info in sorted(report.anomaly_info.items())
    ]
    if report.HasField("dataset_anomaly_info"):
        found.append(f"{split} split: {report.dataset_anomaly_info.description}")
    if report.data_missing:
        found.append(f"{split} split: no data")
    return found
