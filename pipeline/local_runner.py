"""Runs the pipeline on this machine, and tells how each component goes."""

import datetime
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner, runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import artifact

from pipeline.fingerprint import fingerprint
from serving.errors import InputError, input_error_in

CODE_PARAMETER = "code_sha256"


@dataclass
class NodeRun:
    """What became of a component in a run.

    Attributes:
        name: the component's id.
        state: `ran`, `cached`, `skipped` (a gate before it refused) or `failed`.
        seconds: wall time.
        peak_mib: highest resident memory of the process meanwhile, in MiB; 0 where unknown.
        outputs: the component's output artifacts, by key.
        code_sha256: of the sources and libraries that shape them.
        inputs: all its input artifacts, by key.
    """

    name: str
    state: str = "ran"
    seconds: float = 0.0
    peak_mib: int = 0
    outputs: dict[str, artifact.Artifact] = field(default_factory=dict)
    code_sha256: str = ""
    inputs: Mapping[str, Sequence[artifact.Artifact]] = field(default_factory=dict)


class LocalRunner(local_dag_runner.LocalDagRunner):
    """TFX's LocalDagRunner, with a cache that sees code and a report of every component.

    Args:
        on_start: called with a component's id before it runs.
        on_end: called with what became of it.
    """

    def __init__(self, on_start: Callable[[str], None], on_end: Callable[[NodeRun], None]):
        super().__init__()
        self._on_start = on_start
        self._on_end = on_end
        self.nodes: dict[str, NodeRun] = {}

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
    ) -> None:
        """Runs the components one after another.

        Raises:
            InputError: the data is bad.
        """
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline,
            {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()},
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = getattr(
            deployment.metadata_connection_config,
            deployment.metadata_connection_config.WhichOneof("connection_config"),
        )
        store = metadata.Metadata(connection)
        try:
            with store:
                pass
        except RuntimeError as error:
            if "not a database" not in str(error):
                raise
            raise InputError(
                f"{connection.sqlite.filename_uri}: not a store of TFX's metadata, or a damaged "
                "one; move it away: what was pushed stays"
            ) from error
        skipped: set[str] = set()
        for node in pipeline.nodes:
            pipeline_node = node.pipeline_node
            run = NodeRun(pipeline_node.node_info.id)
            self.nodes[run.name] = run
            if skipped.intersection(pipeline_node.upstream_nodes):
                run.state = "skipped"
                self._on_end(run)
            else:
                self._on_start(run.name)
                try:
                    self._run_node(run, pipeline, pipeline_node, deployment, store)
                finally:
                    self._on_end(run)
            if run.state == "skipped":
                skipped.add(run.name)

    def _run_node(
        self,
        run: NodeRun,
        pipeline: pipeline_pb2.Pipeline,
        node: pipeline_pb2.PipelineNode,
        deployment: pipeline_pb2.IntermediateDeploymentConfig,
        store: metadata.Metadata,
    ) -> None:
        executor_spec = runner_utils.extract_executor_spec(deployment, run.name)
        run.code_sha256 = fingerprint(f"{executor_spec} {node.parameters}")
        node.parameters.parameters[CODE_PARAMETER].field_value.string_value = run.code_sha256
        _reset_peak_memory()
        started = time.monotonic()
        component = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=store,
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=executor_spec,
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, run.name),
        )
        try:
            info = component.launch()
        except Exception as error:
            run.state = "failed"
            if message := input_error_in(error):
                raise InputError(message) from error
            raise
        finally:
            run.seconds = time.monotonic() - started
            run.peak_mib = _peak_memory_mib()
        if not info or not info.execution_id:
            run.state = "skipped"
            return
        with store as handle:
            (execution,) = handle.store.get_executions_by_id([info.execution_id])
            if execution.last_known_state == metadata_store_pb2.Execution.FAILED:
                raise RuntimeError(f"{run.name}: its inputs could not be resolved")
            if execution.last_known_state == metadata_store_pb2.Execution.CACHED:
                run.state = "cached"
            run.inputs = execution_lib.get_input_artifacts(handle, info.execution_id)
            outputs = execution_lib.get_output_artifacts(handle, info.execution_id)
            run.outputs = {key: artifacts[0] for key, artifacts in outputs.items() if artifacts}


def _reset_peak_memory() -> None:
    path = Path("/proc/self/clear_refs")  # Linux only
    if path.exists():
        path.write_text("5")


def _peak_memory_mib() -> int:
    path = Path("/proc/self/status")
    if not path.exists():
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", path.read_text())
    return int(found[1]) // 1024 if found else 0
