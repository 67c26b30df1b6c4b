"""The package that `digits compile` writes."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.utils import import_utils

from pipeline.kubeflow.compile import S3_VARIABLES, compile_pipeline, default_config
from tests.conftest import Outcome
from tests.kubeflow.structure import FILE, structure

IMAGE = "registry.example.com/digits@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.cli import main

    path = tmp_path_factory.mktemp("compile") / "digits_pipeline.yaml"
    options = f"--image {IMAGE} --pipeline-root s3://bucket/root --volume claim:/models"
    assert main(["compile", *options.split(), "--s3-secret", "keys", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def documents(package: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(package.read_text()))


@pytest.fixture(scope="module")
def spec(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


@pytest.fixture(scope="module")
def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    executors = spec["deploymentSpec"]["executors"]
    return {label: executor["container"] for label, executor in executors.items()}


def test_the_structure_is_that_of_the_file(spec):
    assert structure(spec) == yaml.safe_load(FILE.read_text()), (
        "if it should change: python -m tests.kubeflow.structure"
    )


def test_kubeflows_own_loader_takes_it(package, spec):
    from kfp import components

    component = components.load_component_from_file(str(package))
    assert set(component.component_spec.inputs) == set(
        spec["root"]["inputDefinitions"]["parameters"]
    )


def test_the_defaults_are_those_of_a_run(digits: Callable[..., Outcome], spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    usage = " ".join(digits("run", "--help").out.split())
    for name, default in (
        ("min_accuracy", "gate (default: {})"),
        ("min_recall", "gate, each digit (default: {})"),
        ("max_calibration_error", "accuracy (default: {})"),
        ("recipe", "(default: {})"),
        ("seed", "--seed N (default: {:g})"),
    ):
        assert default.format(parameters[name]["defaultValue"]) in usage
    assert parameters["epochs"]["defaultValue"] == 0


def test_every_parameter_says_what_it_is(spec):
    for definition in spec["root"]["inputDefinitions"]["parameters"].values():
        assert definition["description"]


def test_it_asks_nothing_that_the_open_source_backend_lacks(documents, spec):
    # Neither resolvers (argocompiler/dag.go) nor hooks before the cache; a cache that knows no
    # code; output parameters with TFX's name for their producer.
    for executor in spec["deploymentSpec"]["executors"].values():
        assert set(executor) == {"container"}
        assert "lifecycle" not in executor["container"]
    for task in spec["root"]["dag"]["tasks"].values():
        assert "cachingOptions" not in task
        for parameter in task.get("inputs", {}).get("parameters", {}).values():
            assert "taskOutputParameter" not in parameter
    assert spec["schemaVersion"] == "2.1.0"


def test_all_containers_have_the_image_and_our_entry_point(containers):
    for container in containers.values():
        assert container["image"] == IMAGE
        assert container["command"][:2] == ["python", "-m"]
        assert importlib.util.find_spec(container["command"][2])
        executor = container["args"][container["args"].index("--executor_class_path") + 1]
        assert isinstance(import_utils.import_class_by_path(executor), type)


def test_every_artifact_type_has_a_class(spec):
    from pipeline.kubeflow.container import ARTIFACT_TYPES

    classes = compiler_utils.TITLE_TO_CLASS_PATH | ARTIFACT_TYPES
    for component in spec["components"].values():
        for way in ("inputDefinitions", "outputDefinitions"):
            for artifact in component.get(way, {}).get("artifacts", {}).values():
                title = yaml.safe_load(artifact["artifactType"]["instanceSchema"])["title"]
                assert title in classes, (
                    f"{title}: name its class in pipeline/kubeflow/container.py"
                )
    for title, path in ARTIFACT_TYPES.items():
        artifact = import_utils.import_class_by_path(path)
        assert title == artifact.TYPE_NAME


def test_the_pipeline_root_the_volume_and_the_secret(documents, spec):
    assert spec["defaultPipelineRoot"] == "s3://bucket/root"
    platform = json_format.ParseDict(documents[1], pipeline_spec_pb2.PlatformSpec())
    executors = json_format.MessageToDict(platform)["platforms"]["kubernetes"]["deploymentSpec"]
    mounted = executors["executors"]
    assert set(mounted) == {
        f"{component}_executor"
        for component in ("ExampleGen", "LatestPushedModel", "EdgePusher", "Pusher")
    }
    for configuration in mounted.values():
        assert configuration["pvcMount"] == [{"constant": "claim", "mountPath": "/models"}]
        (secret,) = configuration["secretAsEnv"]
        assert secret["secretName"] == "keys"
        variables = {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]}
        assert variables == S3_VARIABLES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "d/span-{SPAN}"], "--data d/span-{SPAN}: Kubeflow runs do not follow spans;"),
        (["--tune", "20"], "--tune: is not for Kubeflow; search with `digits run --tune`, and"),
        (["--volume", "claim"], "--volume claim: expected CLAIM:/PATH"),
        (["--volume", "claim:models"], "--volume claim:models: expected CLAIM:/PATH"),
        (["--pipeline-root", "/models"], "--pipeline-root /models: expected s3://, minio:// or"),
        (["-o", "package.json"], "-o package.json: Kubeflow's client wants a name that ends in"),
        (["-o", "/dev/null/package.yaml"], "-o /dev/null/package.yaml: Not a directory"),
    ],
)
def test_bad_options(digits: Callable[..., Outcome], options, message):
    outcome = digits("compile", *options)
    assert outcome.code == 2
    assert outcome.err.startswith(f"digits: {message}")
    assert outcome.err.count("\n") == 1


def test_the_data_may_be_named_when_it_is_compiled():
    config = default_config("s3://bucket/mnist")
    (document,) = compile_pipeline(config, image="any", models="/models")
    parameters = document["root"]["inputDefinitions"]["parameters"]
    assert parameters["data"]["defaultValue"] == "s3://bucket/mnist"


def test_models_may_go_to_an_object_store():
    (document,) = compile_pipeline(default_config(), image="any", models="s3://bucket/models")
    parameters = document["root"]["inputDefinitions"]["parameters"]
    for name, directory in (("serving_directory", "serving/digits"), ("edge_directory", "edge")):
        assert parameters[name]["defaultValue"] == f"s3://bucket/models/{directory}"


def test_a_recipe_is_a_name_or_json():
    from components.recipes import RECIPES, Recipe
    from serving.errors import InputError

    short = RECIPES["best"].with_epochs(3)
    assert RECIPES["best"].to_text() == "best"
    for recipe in (RECIPES["best"], short):
        parsed = Recipe.parse(recipe.to_text())
        assert json.dumps(parsed.to_dict()) == json.dumps(recipe.to_dict())  # tuples are lists
    with pytest.raises(InputError, match="recipe 'fast': expected one of seed, dense"):
        Recipe.parse("fast")
    with pytest.raises(InputError, match="or a recipe as JSON"):
        Recipe.parse(json.dumps({"name": "mine"}))
