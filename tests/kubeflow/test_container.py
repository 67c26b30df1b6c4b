"""What a container of ours makes of Kubeflow's executor input, and of TFX's output file."""

from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.kubeflow.container import globalize, local_path, localize, remote_uri

MODEL = "title: tfx.Model\ntype: object\n"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://bucket/a/b", "/gcs/bucket/a/b"),
        ("minio://bucket/a", "/minio/bucket/a"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("/models/a", "/models/a"),
    ],
)
def test_uris_have_the_launchers_paths(uri, path):
    assert local_path(uri, "/") == path
    assert remote_uri(path, "/") == uri
    assert remote_uri(local_path(uri, "/pod"), "/pod") == uri


def test_an_executor_gets_paths_types_and_directories(tmp_path: Path):
    executor_input = json_format.ParseDict(
        {
            "inputs": {
                "artifacts": {
                    "model": {
                        "artifacts": [{"uri": "s3://bucket/model", "type": {"instanceSchema": ""}}]
                    }
                }
            },
            "outputs": {"artifacts": {"blessing": {"artifacts": [{"uri": "minio://bucket/b"}]}}},
        },
        pipeline_spec_pb2.ExecutorInput(),
    )
    spec = pipeline_spec_pb2.ComponentInputsSpec()
    spec.artifacts["model"].artifact_type.instance_schema = MODEL
    localize(executor_input, spec, str(tmp_path))
    (model,) = executor_input.inputs.artifacts["model"].artifacts
    assert model.uri == f"{tmp_path}/s3/bucket/model"
    assert model.type.instance_schema == MODEL
    (blessing,) = executor_input.outputs.artifacts["blessing"].artifacts
    assert blessing.uri == f"{tmp_path}/minio/bucket/b"
    assert Path(blessing.uri).is_dir()


def test_the_launcher_gets_uris(tmp_path: Path):
    output = pipeline_spec_pb2.ExecutorOutput()
    output.artifacts["model"].artifacts.add(uri=f"{tmp_path}/s3/bucket/model", name="model")
    output_file = tmp_path / "output.json"
    output_file.write_text(json_format.MessageToJson(output))
    globalize(output_file, str(tmp_path))
    changed = json_format.Parse(output_file.read_text(), pipeline_spec_pb2.ExecutorOutput())
    (model,) = changed.artifacts["model"].artifacts
    assert (model.uri, model.name) == ("s3://bucket/model", "model")
