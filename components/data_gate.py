"""Data gate: stops the run where ExampleValidator only reports."""

import itertools
import os
from collections.abc import Iterable

import numpy as np
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components.examples import read_digits
from components.gates import EXAMPLES_PROPERTY, GateDecision, write_decision
from components.sources import Batch

#: Batches of a split whose pixels are looked at: ten thousand digits tell as much as all.
LOOKED_AT = 10
#: MNIST's is 13 %, Fashion-MNIST's 29 %; inverted, 87 and 71 %.
HIGHEST_BRIGHTNESS = 0.5


@tfx.dsl.components.component
def DataGate(
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    anomalies: tfx.dsl.components.InputArtifact[standard_artifacts.ExampleAnomalies],
    blessing: tfx.dsl.components.OutputArtifact[GateDecision],
) -> None:
    """Blesses data in which no split has an anomaly, and all are white on black."""
    found = []
    splits = artifact_utils.decode_split_names(anomalies.split_names)
    for split in splits:
        found += describe(split, os.path.join(anomalies.uri, f"Split-{split}")) or check_polarity(
            split, itertools.islice(read_digits(examples, split), LOOKED_AT)
        )
    blessing.set_string_custom_property(EXAMPLES_PROPERTY, examples.uri)
    write_decision(blessing, found, f"no anomaly in {', '.join(splits)}")


def check_polarity(split: str, batches: Iterable[Batch]) -> list[str]:
    """Returns in words whether digits are black on white, which a model can learn and no user has.

    Args:
        split: its name.
        batches: uint8 [n, 28, 28] and int64 [n] each.
    """
    means = [images.mean() for images, _ in batches]
    if not means or (brightness := np.mean(means) / 255) <= HIGHEST_BRIGHTNESS:
        return []
    return [
        f"{split} split, image: {brightness:.0%} bright on average; digits are white on black, "
        "so invert the pixels"
    ]


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
