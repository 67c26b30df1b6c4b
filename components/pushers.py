"""Pushers: put a blessed version where servers and apps find it, whole or not at all.

TFX's own Pusher copies into the directory that a server polls, and takes the time of the push
for the version: pushing the same model twice makes two versions.
"""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.types import artifact, standard_artifacts
from tfx.utils import path_utils

from components.edge_evaluator import METRICS_FILE
from components.edge_exporter import EdgeModelArtifact
from components.gates import GateDecision
from export.edge_model import DEFAULT_VARIANT, DESCRIPTION_FILE

VERSION_PROPERTY = "pushed_version"
DESTINATION_PROPERTY = "pushed_destination"


@tfx.dsl.components.component
def EdgePusher(
    edge_model: tfx.dsl.components.InputArtifact[EdgeModelArtifact],
    evaluation: tfx.dsl.components.InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.InputArtifact[GateDecision],
    pushed_model: tfx.dsl.components.OutputArtifact[standard_artifacts.PushedModel],
    base_directory: tfx.dsl.components.Parameter[str],
) -> None:
    """Pushes the variants that passed, with their metrics and a version in the description.

    Gives the run its version: the time, or that of the same models if they are there already.
    """
    _require_blessed(blessing)
    description = json.loads(Path(edge_model.uri, DESCRIPTION_FILE).read_text())
    metrics = json.loads(Path(evaluation.uri, METRICS_FILE).read_text())["variants"]
    bundle = os.path.join(pushed_model.uri, "bundle")
    shutil.copytree(edge_model.uri, bundle)
    kept = []
    for variant in description["variants"]:
        refusals = metrics[variant["name"]].pop("refusals")
        if refusals:
            os.remove(os.path.join(bundle, variant["file"]))
        else:
            kept.append({**variant, "metrics": metrics[variant["name"]]})
    description["variants"] = kept
    description["metrics"] = metrics[DEFAULT_VARIANT]
    description["version"] = _version_of(description, Path(base_directory))
    Path(bundle, DESCRIPTION_FILE).write_text(json.dumps(description, indent=2))
    version = str(description["version"])
    _mark_pushed(pushed_model, version, publish(bundle, base_directory, version))


@tfx.dsl.components.component
def Pusher(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    model_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: tfx.dsl.components.InputArtifact[standard_artifacts.InfraBlessing],
    pushed_edge_model: tfx.dsl.components.InputArtifact[standard_artifacts.PushedModel],
    pushed_model: tfx.dsl.components.OutputArtifact[standard_artifacts.PushedModel],
    base_directory: tfx.dsl.components.Parameter[str],
) -> None:
    """Pushes a blessed served model under the version of its edge model."""
    _require_blessed(model_blessing)
    _require_blessed(infra_blessing)
    version = pushed_edge_model.get_string_custom_property(VERSION_PROPERTY)
    source = path_utils.serving_model_path(model.uri)
    _mark_pushed(pushed_model, version, publish(source, base_directory, version))


def publish(source: str, base_directory: str, version: str) -> str:
    """Makes a version appear in one step: copies it beside, then renames it.

    Args:
        source: the directory to publish.
        base_directory: the directory of all versions, which servers poll.
        version: a positive integer; if it is there already, nothing is done.

    Returns:
        The version's path.
    """
    path = os.path.join(base_directory, version)
    if os.path.exists(path):
        return path
    os.makedirs(base_directory, exist_ok=True)
    # Servers take only directories with numbers for names: a rest of a crash is never one.
    beside = tempfile.mkdtemp(prefix=f".{version}-", dir=base_directory)
    try:
        shutil.copytree(source, beside, dirs_exist_ok=True)
        os.chmod(beside, 0o755)
        os.rename(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return path


def _version_of(description: dict[str, Any], base_directory: Path) -> int:
    versions = [0]
    for path in base_directory.glob(f"[0-9]*/{DESCRIPTION_FILE}"):
        pushed = json.loads(path.read_text())
        if _hashes(pushed) == _hashes(description):
            return pushed["version"]
        versions.append(pushed["version"])
    return max(int(time.time()), max(versions) + 1)


def _hashes(description: dict[str, Any]) -> dict[str, str]:
    """What makes a version: the served model, and the variants made of it."""
    variants = {v["name"]: v["sha256"] for v in description.get("variants", [])}
    return {"served": description["source_saved_model_sha256"], **variants}


def _require_blessed(blessing: artifact.Artifact) -> None:
    # The graph's conditions see to this; a graph edited by mistake must not push.
    if blessing.get_int_custom_property("blessed") != 1:
        raise RuntimeError(f"{blessing.uri}: not blessed; nothing may be pushed")


def _mark_pushed(pushed_model: artifact.Artifact, version: str, path: str) -> None:
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property(VERSION_PROPERTY, version)
    pushed_model.set_string_custom_property(DESTINATION_PROPERTY, path)
