"""Our package in the harness: one task by default, all of them with `make test-kubeflow`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.sources import SAMPLE_FILE, locate
from tests.conftest import Outcome
from tests.kubeflow.fake_api import FakeKubeflow
from tests.kubeflow.harness import Run, TaskRun, load
from tests.kubeflow.object_store import ObjectStore

MODELS = "s3://digits/models"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.cli import main

    path = tmp_path_factory.mktemp("package") / "digits_pipeline.yaml"
    assert main(["compile", "--models", MODELS, "--s3-secret", "keys", "-o", str(path)]) == 0
    return path


def make_run(
    package: Path, store: ObjectStore, root: str, work: Path, parameters: Mapping[str, Any]
) -> Run:
    spec, configuration = load(package)
    return Run(spec, store, root, parameters, work, configuration, {"keys": store.secret})


def succeed(run: Run, only: set[str] | None = None) -> dict[str, TaskRun]:
    for name, task in run.run(only):
        print(f"{name:<20} {task.state:<10} {task.seconds:6.1f} s", flush=True)
        assert task.state == "succeeded", f"{name}: {task.log[-3000:]}"
    return run.tasks


def test_a_task_runs(package, store, tmp_path):
    run = make_run(package, store, f"minio://digits/{tmp_path.name}", tmp_path, {})
    schema = succeed(run, only={"CuratedSchema"})["CuratedSchema"].outputs["schema"]
    store.download(schema.uri, tmp_path / "schema")
    expected = Path(__file__).parents[2] / "components" / "schema.pbtxt"
    assert (tmp_path / "schema" / "schema.pbtxt").read_text() == expected.read_text()


def test_bad_data_ends_the_log_with_one_line(package, store, tmp_path):
    root = f"s3://digits/{tmp_path.name}"
    run = make_run(package, store, root, tmp_path, {"data": "s3://digits/nothing/here"})
    ((_, task),) = run.run(only={"ExampleGen"})
    assert task.state == "failed"
    assert task.log.splitlines()[-1].startswith("digits: s3://digits/nothing/here: nothing there;")
    assert "Traceback" not in task.log


@pytest.mark.slow
def test_the_whole_package_runs_twice(package, store, tmp_path, sample):
    """With data, artifacts, baseline and pushed models in the object store, and nowhere else."""
    from export.edge_model import MODEL_FILE, EdgeModel

    location = locate("sample")
    store.upload(Path(location.base, location.pattern), f"s3://digits/data/{SAMPLE_FILE}")
    parameters = {"data": f"s3://digits/data/{SAMPLE_FILE}"}

    first = succeed(make_run(package, store, "s3://digits/root", tmp_path / "1", parameters))
    evaluated = first["Evaluator"].outputs["blessing"].metadata
    assert "baseline_model_id" not in evaluated
    second = succeed(
        make_run(package, store, "minio://digits/root", tmp_path / "2", {**parameters, "seed": 2})
    )
    evaluated = second["Evaluator"].outputs["blessing"].metadata
    # The first run's model, as Kubeflow's metadata store calls it.
    assert "baseline_model_id" in evaluated

    pushed = [run["Pusher"].outputs["pushed_model"].metadata for run in (first, second)]
    assert [int(one["pushed"]) for one in pushed] == [1, 1]
    store.download(MODELS, tmp_path / "models")
    for directory in ("serving/digits", "edge"):
        found = sorted(path.name for path in (tmp_path / "models" / directory).iterdir())
        assert found == [one["pushed_version"] for one in pushed]

    images, labels = sample
    edge = EdgeModel(str(tmp_path / "models" / "edge" / found[1] / MODEL_FILE))
    edge_labels = edge.predict(images).argmax(1)
    assert (edge_labels == labels).mean() > 0.9
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "models" / "serving" / "digits" / found[1]))
    answer = served.signatures["serving_default"](images=tf.constant(images))
    assert np.mean(answer["label"].numpy() == edge_labels) > 0.99


@pytest.mark.slow
def test_a_gate_that_refuses_is_a_success_to_kubeflow_but_not_to_submit(
    package, store, tmp_path, digits: Callable[..., Outcome], kubeflow: FakeKubeflow
):
    models = f"s3://digits/{tmp_path.name}/models"
    parameters = {
        "epochs": 1,
        "min_accuracy": 0.9999,
        "serving_directory": f"{models}/serving/digits",
        "edge_directory": f"{models}/edge",
    }
    run = make_run(package, store, f"s3://digits/{tmp_path.name}/root", tmp_path, parameters)
    for name, task in run.run():
        print(f"{name:<20} {task.state:<10} {task.seconds:6.1f} s", flush=True)
        assert task.state != "failed", f"{name}: {task.log[-3000:]}"
    behind_the_gate = {"TFLiteExporter", "EdgeEvaluator", "EdgePusher", "Pusher"}
    states = {name: task.state for name, task in run.tasks.items()}
    assert {name for name, state in states.items() if state != "succeeded"} == behind_the_gate
    assert states["TFLiteExporter"] == "skipped"
    assert run.state == "SUCCEEDED"
    assert not store.list(models)

    shown = {name: state.upper() for name, state in states.items() if state != "omitted"}
    kubeflow.progress = [(run.state, shown)]
    outcome = digits("submit", package, "--host", kubeflow.url, "--interval", "0.02", "--wait")
    assert outcome.code == 1
    assert outcome.err.startswith("digits: a gate refused: TFLiteExporter did not run; nothing")
    assert outcome.err.count("\n") == 1
