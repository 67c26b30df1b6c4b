"""Runs a compiled package as Kubeflow Pipelines does, with subprocesses for pods.

It knows nothing about what the tasks are: it plays the parts that kubeflow/pipelines has, file by
file (`backend/src/`, read at version 2.17):

- `apiserver/template/v2_template.go` checks a run's parameters;
- `v2/compiler/argocompiler/dag.go` runs a task when all that it depends on have succeeded, leaves
  out what depends on one that was skipped or has failed, and refuses resolvers;
- `v2/driver/{resolve,container,driver}.go` resolve inputs (artifacts come back from the metadata
  store with an empty type), evaluate the condition, and give each output its URI;
- `v2/component/launcher_v2.go` downloads inputs to local paths, runs the command, merges its output
  file, and uploads outputs.

Each pod has a file system of its own: nothing reaches a task but what was downloaded for it. What
starts with `/` in a pod is below a directory here, which the environment variable tells.

Not covered: caching, retries, time-outs, exit handlers, loops, nested pipelines, importers, output
parameters, and what makes a pod but for its command and secrets in its environment (image, volumes,
resources, user).
"""

import graphlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cel
import yaml
from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from tests.kubeflow.object_store import ObjectStore

PROJECT = Path(__file__).parents[2]
#: Where a pod's `/` is, for the package's entry point.
ROOT_VARIABLE = "DIGITS_KUBEFLOW_ROOT"
PATHS = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}
KINDS = {
    pb.ParameterType.STRING: "string_value",
    pb.ParameterType.NUMBER_INTEGER: "number_value",
    pb.ParameterType.NUMBER_DOUBLE: "number_value",
    pb.ParameterType.BOOLEAN: "bool_value",
    pb.ParameterType.LIST: "list_value",
    pb.ParameterType.STRUCT: "struct_value",
}


@dataclass
class TaskRun:
    """What became of a task.

    Attributes:
        state: `succeeded`, `skipped` by its condition, `omitted` for want of one that succeeded,
            or `failed`.
        seconds: wall time, with download and upload.
        outputs: artifacts as the metadata store has them.
        log: what the command wrote.
    """

    state: str
    seconds: float = 0.0
    outputs: dict[str, pb.RuntimeArtifact] = field(default_factory=dict)
    log: str = ""


class Refused(ValueError):
    """The API server refuses the package or the parameters."""


def load(package: Path) -> tuple[pb.PipelineSpec, Mapping[str, Any]]:
    """Reads a package: its specification, and the Kubernetes configuration of its executors."""
    document, *platforms = yaml.safe_load_all(package.read_text())
    spec = json_format.ParseDict(document, pb.PipelineSpec())
    for platform in platforms:
        return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return spec, {}


class Run:
    """A run of a package.

    Args:
        spec: of the package.
        store: where artifacts are kept.
        pipeline_root: URI below which they are.
        parameters: of the run.
        work: directory for the pods.
        configuration: of the executors, on Kubernetes; of it, secrets in the environment.
        secrets: of the cluster, by name and key.

    Raises:
        Refused: the spec or a parameter is not what Kubeflow accepts.
    """

    def __init__(
        self,
        spec: pb.PipelineSpec,
        store: ObjectStore,
        pipeline_root: str,
        parameters: Mapping[str, Any],
        work: Path,
        configuration: Mapping[str, Any] | None = None,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
    ):
        if spec.schema_version != "2.1.0":
            raise Refused(f"schema version {spec.schema_version}")
        self._spec = spec
        self._store = store
        self._parameters = _check_parameters(spec.root.input_definitions, parameters)
        self._root = f"{pipeline_root}/{spec.pipeline_info.name}/{uuid.uuid4()}"
        self._work = work
        self._configuration = configuration or {}
        self._secrets = secrets or {}
        self._ids = itertools.count(1)
        self.tasks: dict[str, TaskRun] = {}

    def run(self, only: Container[str] | None = None) -> Iterator[tuple[str, TaskRun]]:
        """Runs the tasks, one after another, and yields what became of each.

        Args:
            only: these and no others, for tests of a part.
        """
        tasks = self._spec.root.dag.tasks
        order = graphlib.TopologicalSorter(
            {name: sorted(task.dependent_tasks) for name, task in sorted(tasks.items())}
        )
        for name in order.static_order():
            if only is None or name in only:
                started = time.monotonic()
                self.tasks[name] = self._run_task(name, tasks[name])
                self.tasks[name].seconds = time.monotonic() - started
                yield name, self.tasks[name]

    @property
    def state(self) -> str:
        """The run's, as the API gives it: what was skipped or omitted is no failure."""
        failed = any(task.state == "failed" for task in self.tasks.values())
        return "FAILED" if failed else "SUCCEEDED"

    def _run_task(self, name: str, task: pb.PipelineTaskSpec) -> TaskRun:
        if any(self.tasks[upstream].state != "succeeded" for upstream in task.dependent_tasks):
            return TaskRun("omitted")
        component = self._spec.components[task.component_ref.name]
        executors = self._spec.deployment_spec["executors"]
        executor = json_format.ParseDict(
            json_format.MessageToDict(executors)[component.executor_label],
            pb.PipelineDeploymentConfig.ExecutorSpec(),
        )
        if executor.WhichOneof("spec") != "container":
            raise Refused(f"{name}: {executor.WhichOneof('spec')} executors not implemented")
        executor_input = pb.ExecutorInput(inputs=self._inputs(task, component))
        if not _triggers(task.trigger_policy.condition, executor_input):
            return TaskRun("skipped")
        pod = self._work / name
        self._provision(name, component, executor_input, pod)
        environment = {
            pair["envVar"]: self._secrets[secret["secretName"]][pair["secretKey"]]
            for secret in self._configuration.get(component.executor_label, {}).get(
                "secretAsEnv", []
            )
            for pair in secret["keyToEnv"]
        }
        return self._launch(executor.container, executor_input, pod, environment)

    # The driver.

    def _inputs(
        self, task: pb.PipelineTaskSpec, component: pb.ComponentSpec
    ) -> pb.ExecutorInput.Inputs:
        inputs = pb.ExecutorInput.Inputs()
        for name, parameter in task.inputs.parameters.items():
            match parameter.WhichOneof("kind"):
                case "component_input_parameter":
                    value = self._parameters[parameter.component_input_parameter]
                case "runtime_value":
                    value = parameter.runtime_value.constant
                case kind:
                    raise NotImplementedError(f"{name}: {kind}")
            definition = component.input_definitions.parameters[name]
            inputs.parameter_values[name].CopyFrom(_check_type(name, definition, value))
        for name, source in task.inputs.artifacts.items():
            output = source.task_output_artifact
            artifact = self.tasks[output.producer_task].outputs[output.output_artifact_key]
            inputs.artifacts[name].artifacts.add().CopyFrom(artifact)
        return inputs

    def _provision(
        self, name: str, component: pb.ComponentSpec, executor_input: pb.ExecutorInput, pod: Path
    ) -> None:
        if component.output_definitions.parameters:
            raise NotImplementedError(f"{name}: output parameters")
        task_root = f"{self._root}/{name}/{uuid.uuid4()}"
        for key, definition in component.output_definitions.artifacts.items():
            executor_input.outputs.artifacts[key].artifacts.add(
                name=key,
                uri=f"{task_root}/{key}",
                type=definition.artifact_type,
                metadata=definition.metadata,
            )
        output_file = _local_path(task_root, pod) / "output_metadata.json"
        executor_input.outputs.output_file = str(output_file)

    # The launcher.

    def _launch(
        self,
        container: pb.PipelineDeploymentConfig.PipelineContainerSpec,
        executor_input: pb.ExecutorInput,
        pod: Path,
        environment: Mapping[str, str],
    ) -> TaskRun:
        for artifacts in executor_input.inputs.artifacts.values():
            for artifact in artifacts.artifacts:
                self._store.download(artifact.uri, _local_path(artifact.uri, pod))
        outputs = {
            key: artifacts.artifacts[0]
            for key, artifacts in executor_input.outputs.artifacts.items()
        }
        for artifact in outputs.values():
            _local_path(artifact.uri, pod).parent.mkdir(parents=True, exist_ok=True)
        done = _run_command(container, executor_input, pod, environment)
        if done.returncode:
            return TaskRun("failed", log=done.stdout)
        output_file = Path(executor_input.outputs.output_file)
        if output_file.exists():
            reported = json_format.Parse(output_file.read_text(), pb.ExecutorOutput())
            for key, artifacts in reported.artifacts.items():
                outputs[key].uri = artifacts.artifacts[0].uri or outputs[key].uri
                outputs[key].metadata.MergeFrom(artifacts.artifacts[0].metadata)
        run = TaskRun("succeeded", log=done.stdout)
        for key, artifact in outputs.items():
            if not artifact.uri.startswith(self._root):
                raise Refused(f"{key}: {artifact.uri} is not below {self._root}")
            self._store.upload(_local_path(artifact.uri, pod), artifact.uri)
            run.outputs[key] = self._record(key, artifact)
        shutil.rmtree(pod)
        return run

    def _record(self, key: str, artifact: pb.RuntimeArtifact) -> pb.RuntimeArtifact:
        """What the metadata store gives back: its number for a name, and no type."""
        recorded = pb.RuntimeArtifact(
            name=str(next(self._ids)),
            uri=artifact.uri,
            metadata=artifact.metadata,
            type=pb.ArtifactTypeSchema(instance_schema=""),
        )
        recorded.metadata.update({"display_name": key, "store_session_info": "{}"})
        return recorded


def _check_parameters(
    definitions: pb.ComponentInputsSpec, given: Mapping[str, Any]
) -> dict[str, struct_pb2.Value]:
    if unknown := set(given) - set(definitions.parameters):
        raise Refused(f"parameter(s) not required by the pipeline: {', '.join(sorted(unknown))}")
    values = {}
    for name, definition in definitions.parameters.items():
        if name in given:
            value = json_format.ParseDict(given[name], struct_pb2.Value())
            if value.WhichOneof("kind") != KINDS[definition.parameter_type]:
                raise Refused(f"parameter {name}: wrong type of value {given[name]!r}")
            values[name] = value
        elif definition.HasField("default_value"):
            values[name] = definition.default_value
        else:
            raise Refused(f"parameter {name}: neither a value nor a default")
    return values


def _check_type(
    name: str, definition: pb.ComponentInputsSpec.ParameterSpec, value: struct_pb2.Value
) -> struct_pb2.Value:
    if value.WhichOneof("kind") == KINDS[definition.parameter_type]:
        return value
    if definition.parameter_type != pb.ParameterType.STRING:
        raise Refused(f"parameter {name}: type mismatch")
    return struct_pb2.Value(string_value=json.dumps(json_format.MessageToDict(value)))


def _triggers(condition: str, executor_input: pb.ExecutorInput) -> bool:
    if not condition:
        return True
    context = json_format.MessageToDict(executor_input, preserving_proto_field_name=True)
    for artifacts in context["inputs"].get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:  # JSON's numbers are doubles to protobuf and CEL
            artifact["metadata"] = {
                key: float(value) if isinstance(value, int) else value
                for key, value in artifact.get("metadata", {}).items()
            }
    result = cel.evaluate(condition, context)
    if not isinstance(result, bool):
        raise Refused(f"condition {condition}: {result!r} is not bool")
    return result


def _run_command(
    container: pb.PipelineDeploymentConfig.PipelineContainerSpec,
    executor_input: pb.ExecutorInput,
    pod: Path,
    environment: Mapping[str, str],
) -> subprocess.CompletedProcess[str]:
    replacements = {"{{$}}": json_format.MessageToJson(executor_input, indent=None)}
    for name, value in executor_input.inputs.parameter_values.items():
        text = json_format.MessageToDict(value)
        replacements[f"{{{{$.inputs.parameters['{name}']}}}}"] = (
            text if isinstance(text, str) else json.dumps(text)
        )
    for way in ("inputs", "outputs"):
        for name, artifacts in getattr(executor_input, way).artifacts.items():
            uri = artifacts.artifacts[0].uri
            replacements[f"{{{{$.{way}.artifacts['{name}'].uri}}}}"] = uri
            path = str(_local_path(uri, pod))
            replacements[f"{{{{$.{way}.artifacts['{name}'].path}}}}"] = path
    command = [*container.command, *container.args]
    for placeholder, text in replacements.items():
        command = [argument.replace(placeholder, text) for argument in command]
    home = pod / "home"
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),  # what the image has installed
            "HOME": str(home),
            ROOT_VARIABLE: str(pod),
            **environment,
        },
    )


def _local_path(uri: str, pod: Path) -> Path:
    scheme, _, rest = uri.partition("://")
    return pod / PATHS[f"{scheme}://"] / rest
