"""What a container of Kubeflow Pipelines runs: a TFX executor, on local copies of its artifacts.

The launcher that Kubeflow starts in the container copies each input artifact from its URI to a
local path, and each output from a local path to its URI (`backend/src/v2/component/launcher_v2.go`
in kubeflow/pipelines). TFX's own entry point knows nothing of this and opens the URIs, with a file
system that reads `gs://` only. This one hands it the local paths, so that any object store works
that Kubeflow knows. It also gives back what TFX needs and the backend leaves out: the types of the
inputs, the output directories.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import json_format

from pipeline.tfx_extensions import skip_tfx_extensions

#: Where the launcher's paths begin: `/`, but for tests.
ROOT_VARIABLE = "DIGITS_KUBEFLOW_ROOT"

#: The launcher's path of each scheme (LocalPathForURI).
DIRECTORIES = {"gs://": "gcs/", "minio://": "minio/", "s3://": "s3/"}

#: Our artifact types by the titles that they have in the package; TFX takes titles of types that
#: are not its own for the paths of classes.
ARTIFACT_TYPES = {
    "digits.EdgeModel": "components.edge_exporter.EdgeModelArtifact",
    "digits.GateDecision": "components.gates.GateDecision",
}

skip_tfx_extensions()

from absl import app  # noqa: E402
from kfp.pipeline_spec import pipeline_spec_pb2  # noqa: E402
from tfx.orchestration.kubeflow.v2 import compiler_utils  # noqa: E402
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor  # noqa: E402

from serving.errors import input_error_in  # noqa: E402


def local_path(uri: str, root: str) -> str:
    """Returns where the launcher keeps what a URI names; anything else as it is."""
    for scheme, directory in DIRECTORIES.items():
        if uri.startswith(scheme):
            return os.path.join(root, directory, uri.removeprefix(scheme))
    return uri


def remote_uri(path: str, root: str) -> str:
    """Undoes `local_path`."""
    for scheme, directory in DIRECTORIES.items():
        prefix = os.path.join(root, directory)
        if path.startswith(prefix):
            return scheme + path.removeprefix(prefix)
    return path


def localize(
    executor_input: pipeline_spec_pb2.ExecutorInput,
    inputs_spec: pipeline_spec_pb2.ComponentInputsSpec,
    root: str,
) -> None:
    """Gives artifacts local paths, inputs their types, and outputs their directories.

    Args:
        executor_input: is changed.
        inputs_spec: what the component's inputs are.
        root: where the launcher's paths begin.
    """
    for name, artifacts in executor_input.inputs.artifacts.items():
        for artifact in artifacts.artifacts:
            # The metadata store keeps no schema: resolved inputs come with an empty one.
            artifact.type.CopyFrom(inputs_spec.artifacts[name].artifact_type)
    for artifact in _artifacts(executor_input.inputs.artifacts):
        artifact.uri = local_path(artifact.uri, root)
    for artifact in _artifacts(executor_input.outputs.artifacts):
        artifact.uri = local_path(artifact.uri, root)
        os.makedirs(artifact.uri, exist_ok=True)


def globalize(output_file: Path, root: str) -> None:
    """Gives the artifacts of an executor's output file their URIs back."""
    output = pipeline_spec_pb2.ExecutorOutput()
    json_format.Parse(output_file.read_text(), output)
    for artifact in _artifacts(output.artifacts):
        artifact.uri = remote_uri(artifact.uri, root)
    output_file.write_text(json_format.MessageToJson(output))


def main(parsed: tuple[argparse.Namespace, list[str]]) -> None:
    """Runs TFX's entry point between the two.

    Args:
        parsed: what that makes of the command line: its own options, and Beam's.
    """
    options, _ = parsed
    root = os.environ.get(ROOT_VARIABLE, "/")
    compiler_utils.TITLE_TO_CLASS_PATH.update(ARTIFACT_TYPES)
    executor_input = pipeline_spec_pb2.ExecutorInput()
    json_format.Parse(
        options.json_serialized_invocation_args, executor_input, ignore_unknown_fields=True
    )
    inputs_spec = pipeline_spec_pb2.ComponentInputsSpec()
    json_format.Parse(options.json_serialized_inputs_spec_args, inputs_spec)
    localize(executor_input, inputs_spec, root)
    options.json_serialized_invocation_args = json_format.MessageToJson(executor_input)
    try:
        kubeflow_v2_run_executor.main(parsed)
    except Exception as error:
        if message := input_error_in(error):
            sys.exit(f"digits: {message}")
        raise
    globalize(Path(executor_input.outputs.output_file), root)


def _artifacts(
    lists: Mapping[str, pipeline_spec_pb2.ArtifactList],
) -> Iterable[pipeline_spec_pb2.RuntimeArtifact]:
    return (artifact for artifacts in lists.values() for artifact in artifacts.artifacts)


if __name__ == "__main__":
    app.run(main, flags_parser=kubeflow_v2_run_executor._parse_flags)
