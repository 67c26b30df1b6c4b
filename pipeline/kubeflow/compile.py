"""`digits compile`: the pipeline as a package for Kubeflow Pipelines v2."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from components.recipes import RECIPES
from components.sources import Location
from pipeline import defaults
from pipeline.atomic import replace_file
from pipeline.config import Gates, PipelineConfig, RunRoot
from pipeline.graph import create_pipeline
from serving.errors import InputError

#: What each container runs; `--executor_class_path` and more of TFX's arguments follow.
COMMAND = ("python", "-m", "pipeline.kubeflow.container")

#: Where Kubeflow's launcher can keep artifacts.
OBJECT_STORES = ("s3://", "minio://", "gs://")

#: The keys of the secret with the way to an object store, and what S3 clients call them.
S3_VARIABLES = {
    "accesskey": "AWS_ACCESS_KEY_ID",
    "secretkey": "AWS_SECRET_ACCESS_KEY",
    "endpoint": "AWS_ENDPOINT_URL",
}


class Parameter(NamedTuple):
    """A parameter that can be set when a run is submitted.

    Attributes:
        description: for people.
        properties: the (component, execution property) pairs that it sets.
        is_path: it may name a directory on a volume or in an object store.
    """

    description: str
    properties: tuple[tuple[str, str], ...]
    is_path: bool = False


#: Their types and defaults are those of the values that `create_pipeline` gives the properties.
PARAMETERS = {
    "data": Parameter(
        "what `digits run --data` takes, in the containers, or its s3:// URI",
        (("ExampleGen", "input_base"),),
        is_path=True,
    ),
    "recipe": Parameter("how to train: a name, or a recipe as JSON", (("Trainer", "recipe"),)),
    "epochs": Parameter("instead of the recipe's; 0 for those", (("Trainer", "epochs"),)),
    "seed": Parameter("of every random choice", (("Trainer", "seed"),)),
    "min_accuracy": Parameter("gate: of the served model", (("Evaluator", "min_accuracy"),)),
    "min_recall": Parameter("gate: of each digit", (("Evaluator", "min_recall"),)),
    "max_calibration_error": Parameter(
        "gate: mean distance of the served model's confidence from its accuracy",
        (("Evaluator", "max_calibration_error"),),
    ),
    "min_edge_accuracy": Parameter("gate: of the edge model", (("EdgeEvaluator", "min_accuracy"),)),
    "max_edge_disagreement": Parameter(
        "gate: share of digits that the edge model labels unlike the served model",
        (("EdgeEvaluator", "max_disagreement"),),
    ),
    "serving_directory": Parameter(
        "where the versions of the served model go, and the baseline comes from",
        (("Pusher", "base_directory"), ("LatestPushedModel", "base_directory")),
        is_path=True,
    ),
    "edge_directory": Parameter(
        "where the versions of the edge model go",
        (("EdgePusher", "base_directory"),),
        is_path=True,
    ),
}


@dataclass(frozen=True)
class Volume:
    """A persistent volume claim that the components with paths mount.

    Attributes:
        claim: its name.
        path: where it is mounted.
    """

    claim: str
    path: str

    @classmethod
    def parse(cls, text: str) -> "Volume":
        """Returns the volume of `CLAIM:/PATH`.

        Raises:
            InputError: it has another form.
        """
        claim, separator, path = text.partition(":")
        if not (claim and separator and path.startswith("/")):
            raise InputError(f"--volume {text}: expected CLAIM:/PATH, say digits-models:/models")
        return cls(claim, path)


def default_config(data: str = defaults.DATA) -> PipelineConfig:
    """Returns what the parameters are by default: what `digits run` has.

    Args:
        data: what `digits run --data` takes, in the containers, or its s3:// URI.
    """
    return PipelineConfig(
        data=Location(data, ""),
        root=RunRoot(Path()),
        recipe=RECIPES[defaults.RECIPE],
        seed=defaults.SEED,
        gates=Gates(),
        # Kubeflow's metadata store cannot be asked for the latest blessed model.
        baseline="pushed",
        # Kubeflow's cache sees neither a change of the files behind a path nor one of the code
        # behind an image's tag.
        enable_cache=False,
    )


def compile_pipeline(
    config: PipelineConfig,
    *,
    image: str,
    models: str,
    pipeline_root: str | None = None,
    volumes: Sequence[Volume] = (),
    s3_secret: str | None = None,
) -> list[dict[str, Any]]:
    """Compiles the pipeline for the open-source backend of Kubeflow Pipelines.

    Args:
        config: its values are the parameters' defaults.
        image: of all containers.
        models: directory of the pushed models, on a volume or in an object store; below it they
            lie as below a run root.
        pipeline_root: object store URI of the artifacts; None for the cluster's own.
        volumes: to mount.
        s3_secret: the name of a secret with the keys and the address of the object store, for
            data and pushed models; artifacts need none.

    Returns:
        The documents of the package: a PipelineSpec of version 2.1 and, where there is something
        to mount, a PlatformSpec.

    Raises:
        InputError: the pipeline root is not in an object store that Kubeflow knows.
    """
    if pipeline_root and not pipeline_root.startswith(OBJECT_STORES):
        raise InputError(
            f"--pipeline-root {pipeline_root}: expected {', '.join(OBJECT_STORES[:-1])} or "
            f"{OBJECT_STORES[-1]}, where Kubeflow can keep artifacts"
        )
    pipeline = create_pipeline(config)
    components = {component.id: component for component in pipeline.components}
    values = {}
    for name, parameter in PARAMETERS.items():
        for component, key in parameter.properties:
            properties = components[component].exec_properties
            values[name] = properties[key]
            properties[key] = tfx.dsl.experimental.RuntimeParameter(name, type(properties[key]))
    for name in ("serving_directory", "edge_directory"):
        values[name] = os.path.join(models, values[name])
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        )
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    for name, definition in spec["root"]["inputDefinitions"]["parameters"].items():
        definition["defaultValue"] = values[name]
        definition["description"] = PARAMETERS[name].description
    for executor in spec["deploymentSpec"]["executors"].values():
        executor["container"].pop("lifecycle", None)  # hooks, which only Vertex AI runs
    if pipeline_root:
        spec["defaultPipelineRoot"] = pipeline_root
    mounts = _mounts(volumes, s3_secret)
    return [spec, _platform(spec, mounts)] if mounts else [spec]


def write_package(documents: list[dict[str, Any]], path: Path) -> None:
    """Writes a package in one step: whole, or not at all.

    Raises:
        InputError: the file cannot be written, or its name does not end in .yaml.
    """
    if path.suffix not in {".yaml", ".yml"}:
        raise InputError(f"-o {path}: Kubeflow's client wants a name that ends in .yaml")
    try:
        replace_file(path, yaml.safe_dump_all(documents, sort_keys=True))
    except OSError as error:
        raise InputError(f"-o {path}: {error.strerror}") from error


def _mounts(volumes: Sequence[Volume], s3_secret: str | None) -> dict[str, Any]:
    """What is mounted into a container, as KubernetesExecutorConfig has it."""
    mounts: dict[str, Any] = {}
    if volumes:
        mounts["pvcMount"] = [
            {"constant": volume.claim, "mountPath": volume.path} for volume in volumes
        ]
    if s3_secret:
        keys = [{"secretKey": key, "envVar": name} for key, name in S3_VARIABLES.items()]
        mounts["secretAsEnv"] = [{"secretName": s3_secret, "keyToEnv": keys}]
    return mounts


def _platform(spec: dict[str, Any], mounts: dict[str, Any]) -> dict[str, Any]:
    executors = {
        # A copy for each: YAML's references to one are not for everybody.
        spec["components"][component]["executorLabel"]: copy.deepcopy(mounts)
        for parameter in PARAMETERS.values()
        if parameter.is_path
        for component, _ in parameter.properties
    }
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
