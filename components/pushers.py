"""Pushers: put a blessed version where servers and apps find it, whole or not at all."""

import json
import os
import shutil
import tempfile
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.pusher import executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.utils import proto_utils

from components.edge_evaluator import METRICS_FILE
from components.edge_exporter import EdgeModelArtifact
from components.gates import GateDecision
from components.signatures import METADATA_FILE
from export.edge_model import DESCRIPTION_FILE


class Executor(executor.Executor):
    """TFX's Pusher, but atomic, and with the version that the trainer gave the model.

    TFX's own copies into the directory that a server polls, and takes the time of the push for
    the version: pushing the same model twice makes two versions.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        source = self.GetModelPath(input_dict)
        version = _version(os.path.join(source, METADATA_FILE))
        path = publish(source, destination.filesystem.base_directory, version)
        self._MarkPushed(pushed, pushed_destination=path, pushed_version=version)


class VersionedPusher(tfx.components.Pusher):
    """`Pusher` with the executor above."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


@tfx.dsl.components.component
def EdgePusher(
    edge_model: tfx.dsl.components.InputArtifact[EdgeModelArtifact],
    evaluation: tfx.dsl.components.InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: tfx.dsl.components.InputArtifact[GateDecision],
    pushed_model: tfx.dsl.components.OutputArtifact[standard_artifacts.PushedModel],
    base_directory: tfx.dsl.components.Parameter[str],
) -> None:
    """Pushes a blessed edge model, with its metrics in its description."""
    if not blessing.get_int_custom_property("blessed"):
        pushed_model.set_int_custom_property("pushed", 0)
        return
    bundle = os.path.join(pushed_model.uri, "bundle")
    shutil.copytree(edge_model.uri, bundle)
    description = os.path.join(bundle, DESCRIPTION_FILE)
    with open(description) as file:
        content = json.load(file)
    with open(os.path.join(evaluation.uri, METRICS_FILE)) as file:
        content["metrics"] = json.load(file)
    with open(description, "w") as file:
        json.dump(content, file, indent=2)
    version = _version(description)
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property(
        "pushed_destination", publish(bundle, base_directory, version)
    )
    pushed_model.set_string_custom_property("pushed_version", version)


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


def _version(path: str) -> str:
    with open(path) as file:
        return str(json.load(file)["version"])
