"""The harness itself, on a package of small scripts; and a task of ours in it."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.kubeflow.harness import Refused, Run
from tests.kubeflow.object_store import ObjectStore

MAKE = """
import json, pathlib, sys
executor_input, path, text, blessed = sys.argv[1:]
pathlib.Path(path).mkdir()
pathlib.Path(path, "text").write_text(text)
report = {"artifacts": {"made": {"artifacts": [{"metadata": {"blessed": float(blessed)}}]}}}
output_file = pathlib.Path(json.loads(executor_input)["outputs"]["outputFile"])
output_file.write_text(json.dumps(report))
"""
USE = """
import pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:])
target.write_text(source.joinpath("text").read_text().upper())
print("used")
"""
FAIL = "print('no luck'); raise SystemExit(3)"

ARTIFACT = {"artifactType": {"instanceSchema": "title: tfx.Model\ntype: object\n"}}
BLESSED = "inputs.artifacts['made'].artifacts[0].metadata['blessed'] == 1.0"


def task(name: str, **fields: Any) -> dict[str, Any]:
    return {"componentRef": {"name": name}, "taskInfo": {"name": name}, **fields}


def container(script: str, *args: str) -> dict[str, Any]:
    return {"container": {"image": "any", "command": ["python", "-c", script], "args": list(args)}}


def made_by(producer: str, key: str) -> dict[str, Any]:
    return {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}}


def package(**executors: Any) -> pipeline_spec_pb2.PipelineSpec:
    """make -> use (if blessed) -> last; fail."""
    scripts = {
        "make": container(
            MAKE,
            "{{$}}",
            "{{$.outputs.artifacts['made'].path}}",
            "{{$.inputs.parameters['text']}}",
            "{{$.inputs.parameters['blessed']}}",
        ),
        "use": container(
            USE, "{{$.inputs.artifacts['made'].path}}", "{{$.outputs.artifacts['used'].path}}"
        ),
        "last": container("pass"),
        "fail": container(FAIL),
    }
    strings = {"text": {"parameterType": "STRING"}, "blessed": {"parameterType": "NUMBER_INTEGER"}}
    spec = {
        "pipelineInfo": {"name": "small"},
        "schemaVersion": "2.1.0",
        "root": {
            "inputDefinitions": {
                "parameters": {
                    "text": {"parameterType": "STRING"},
                    "blessed": {"parameterType": "NUMBER_INTEGER", "defaultValue": 1},
                }
            },
            "dag": {
                "tasks": {
                    "make": task(
                        "make",
                        inputs={
                            "parameters": {
                                name: {"componentInputParameter": name} for name in strings
                            }
                        },
                    ),
                    "use": task(
                        "use",
                        inputs={"artifacts": {"made": made_by("make", "made")}},
                        dependentTasks=["make"],
                        triggerPolicy={"condition": BLESSED},
                    ),
                    "last": task("last", dependentTasks=["use"]),
                    "fail": task("fail"),
                }
            },
        },
        "components": {
            "make": {
                "executorLabel": "make",
                "inputDefinitions": {"parameters": strings},
                "outputDefinitions": {"artifacts": {"made": ARTIFACT}},
            },
            "use": {
                "executorLabel": "use",
                "inputDefinitions": {"artifacts": {"made": ARTIFACT}},
                "outputDefinitions": {"artifacts": {"used": ARTIFACT}},
            },
            "last": {"executorLabel": "last"},
            "fail": {"executorLabel": "fail"},
        },
        "deploymentSpec": {"executors": {**scripts, **executors}},
    }
    return json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())


def run(store: ObjectStore, work: Path, scheme: str = "s3", **parameters: Any) -> Run:
    made = Run(package(), store, f"{scheme}://digits/{work.name}", parameters, work)
    for _ in made.run():
        pass
    return made


@pytest.mark.parametrize("scheme", ["s3", "minio", "gs"])
def test_artifacts_go_through_the_store(store, tmp_path, scheme):
    done = run(store, tmp_path, scheme, text="seven")
    used = done.tasks["use"].outputs["used"]
    assert used.uri.startswith(f"{scheme}://digits/{tmp_path.name}/small/")
    with store.system.open_input_stream(used.uri.partition("://")[2]) as stream:
        assert stream.read() == b"SEVEN"
    assert done.tasks["use"].log == "used\n"
    assert done.tasks["last"].state == "succeeded"


def test_the_metadata_store_forgets_an_artifacts_type(store, tmp_path):
    made = run(store, tmp_path, text="seven").tasks["make"].outputs["made"]
    assert made.type.WhichOneof("kind") == "instance_schema"
    assert not made.type.instance_schema
    assert dict(made.metadata)["blessed"] == 1


def test_a_condition_skips_its_task_and_leaves_out_what_needs_it(store, tmp_path):
    done = run(store, tmp_path, text="seven", blessed=0)
    assert done.tasks["use"].state == "skipped"
    assert done.tasks["last"].state == "omitted"


def test_a_command_that_fails(store, tmp_path):
    done = run(store, tmp_path, text="seven")
    assert done.tasks["fail"].state == "failed"
    assert done.tasks["fail"].log == "no luck\n"
    assert done.state == "FAILED"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameter text: neither a value nor a default"),
        ({"text": 1}, "parameter text: wrong type"),
        ({"text": "seven", "blessed": "1"}, "parameter blessed: wrong type"),
        ({"text": "seven", "speed": 1}, "not required by the pipeline: speed"),
    ],
)
def test_parameters_are_checked(store, tmp_path, parameters, message):
    with pytest.raises(Refused, match=message):
        Run(package(), store, "s3://digits/root", parameters, tmp_path)


def test_resolvers_are_refused(store, tmp_path):
    refused = Run(package(make={"resolver": {}}), store, "s3://digits/r", {"text": "a"}, tmp_path)
    with pytest.raises(Refused, match="make: resolver executors not implemented"):
        list(refused.run(only={"make"}))
