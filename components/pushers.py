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

from pyarrow import fs
from tfx import v1 as tfx
from tfx.types import artifact, standard_artifacts
from tfx.utils import path_utils

from components.edge_evaluator import METRICS_FILE
from components.edge_exporter import EdgeModelArtifact
from components.gates import GateDecision
from components.object_store import copy_out, is_remote, open_directory
from export.edge_model import DESCRIPTION_FILE

SAVED_MODEL_FILE = "saved_model.pb"
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
    """Pushes a blessed edge model, with its version and its metrics in its description.

    Gives the run its version: the time, or that of the same models if they are there already.
    """
    _require_blessed(blessing)
    description = json.loads(Path(edge_model.uri, DESCRIPTION_FILE).read_text())
    description["version"] = _version_of(description, base_directory)
    description["metrics"] = json.loads(Path(evaluation.uri, METRICS_FILE).read_text())
    bundle = os.path.join(pushed_model.uri, "bundle")
    shutil.copytree(edge_model.uri, bundle)
    Path(bundle, DESCRIPTION_FILE).write_text(json.dumps(description, indent=2))
    version = str(description["version"])
    path = publish(bundle, base_directory, version, last=DESCRIPTION_FILE)
    _mark_pushed(pushed_model, version, path)


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
    path = publish(source, base_directory, version, last=SAVED_MODEL_FILE)
    _mark_pushed(pushed_model, version, path)


def publish(source: str, base_directory: str, version: str, *, last: str) -> str:
    """Makes a version appear in one step: copies it beside, then renames it.

    An object store renames nothing: there, a version is whole when its last file has come.

    Args:
        source: the directory to publish.
        base_directory: the directory of all versions, which servers poll.
        version: a positive integer; if it is there already, nothing is done.
        last: the file without which nobody takes a directory for a version.

    Returns:
        The version's path.
    """
    path = os.path.join(base_directory, version)
    if is_remote(base_directory):
        if int(version) not in versions(base_directory, holding=last):
            copy_out(source, path, last=last)
        return path
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


def versions(base_directory: str, *, holding: str) -> list[int]:
    """Returns the versions that are there, lowest first; none where there is no directory.

    Args:
        base_directory: the directory of all versions.
        holding: the file that makes a directory a version.
    """
    system, path = open_directory(base_directory)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    named = [info.base_name for info in found if info.base_name.isdecimal()]
    files = system.get_file_info([f"{path}/{name}/{holding}" for name in named])
    return sorted(int(name) for name, file in zip(named, files, strict=True) if file.is_file)


def _version_of(description: dict[str, Any], base_directory: str) -> int:
    newest = 0
    system, path = open_directory(base_directory)
    for newest in versions(base_directory, holding=DESCRIPTION_FILE):
        with system.open_input_stream(f"{path}/{newest}/{DESCRIPTION_FILE}") as file:
            pushed = json.loads(file.read())
        if all(pushed[key] == description[key] for key in ("sha256", "source_saved_model_sha256")):
            return newest
    return max(int(time.time()), newest + 1)


def _require_blessed(blessing: artifact.Artifact) -> None:
    # The graph's conditions see to this; a graph edited by mistake must not push.
    if blessing.get_int_custom_property("blessed") != 1:
        raise RuntimeError(f"{blessing.uri}: not blessed; nothing may be pushed")


def _mark_pushed(pushed_model: artifact.Artifact, version: str, path: str) -> None:
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property(VERSION_PROPERTY, version)
    pushed_model.set_string_custom_property(DESTINATION_PROPERTY, path)
