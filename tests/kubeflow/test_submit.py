"""`digits submit` against a fake of Kubeflow Pipelines' API."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Outcome
from tests.kubeflow.fake_api import FakeKubeflow

PACKAGE = {
    "pipelineInfo": {"name": "digits"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "tfx-1.21.0",
    "defaultPipelineRoot": "s3://bucket/root",
    "components": {"Trainer": {"executorLabel": "trainer"}, "Pusher": {"executorLabel": "pusher"}},
    "deploymentSpec": {"executors": {}},
    "root": {
        "dag": {
            "tasks": {
                name: {"componentRef": {"name": name}, "taskInfo": {"name": name}}
                for name in ("Trainer", "Pusher")
            }
        },
        "inputDefinitions": {
            "parameters": {
                "data": {"parameterType": "STRING", "defaultValue": "sample"},
                "recipe": {"parameterType": "STRING", "defaultValue": "seed"},
                "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 0},
                "min_accuracy": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.9},
            }
        },
    },
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "package.yaml"
    path.write_text(yaml.safe_dump(PACKAGE))
    return path


@pytest.fixture
def submit(
    digits: Callable[..., Outcome], kubeflow: FakeKubeflow, package: Path
) -> Callable[..., Outcome]:
    def run(*options: object) -> Outcome:
        return digits("submit", package, "--host", kubeflow.url, "--interval", "0.02", *options)

    return run


def said(outcome: Outcome) -> str:
    assert outcome.err.startswith("digits: ")
    assert outcome.err.count("\n") == 1
    return outcome.err


def test_a_run_that_succeeds(submit, kubeflow, package):
    kubeflow.progress = [
        ("PENDING", {}),
        ("RUNNING", {"Trainer": "RUNNING", "Trainer-driver": "SUCCEEDED"}),
        ("RUNNING", {"Trainer": "SUCCEEDED", "Pusher": "RUNNING"}),
        ("SUCCEEDED", {"Trainer": "SUCCEEDED", "Pusher": "SUCCEEDED", "executor": "SKIPPED"}),
    ]
    outcome = submit("--wait", "--run-name", "first")
    assert outcome.code == 0, outcome.err
    assert [" ".join(line.split()) for line in outcome.out.splitlines()] == [
        f"{kubeflow.url}/#/runs/details/run-1",
        "Trainer running",
        "✓ Trainer succeeded",
        "Pusher running",
        "✓ Pusher succeeded",
    ]
    ((name, upload),) = kubeflow.uploads
    assert name == "digits"
    assert package.read_bytes() in upload
    (run,) = kubeflow.runs
    assert run["display_name"] == "first"
    assert run["experiment_id"] == "experiment-1"
    assert run["pipeline_version_reference"] == {
        "pipeline_id": "pipeline-1",
        "pipeline_version_id": "version-1",
    }
    # The backend does not look for it in the package.
    assert run["runtime_config"]["pipeline_root"] == "s3://bucket/root"


def test_a_second_submission_is_a_version_of_the_same_pipeline(submit, kubeflow):
    assert submit("--run-name", "first").code == 0
    assert submit("--run-name", "second", "--experiment", "other").code == 0
    assert [name for name, _ in kubeflow.uploads] == ["digits", "second"]
    versions = [run["pipeline_version_reference"]["pipeline_version_id"] for run in kubeflow.runs]
    assert versions == ["version-1", "version-2"]
    assert [made["display_name"] for made in kubeflow.experiments] == ["digits", "other"]


def test_without_wait_it_leaves_after_the_start(submit, kubeflow):
    kubeflow.progress = [("FAILED", {})]
    outcome = submit()
    assert outcome.code == 0
    assert ("GET", "/runs/run-1", {}) not in kubeflow.requests


def test_parameters_have_the_packages_types(submit, kubeflow):
    options = ("recipe=best", "epochs=3", "min_accuracy=1")
    outcome = submit(*(part for option in options for part in ("--param", option)))
    assert outcome.code == 0
    parameters = kubeflow.runs[0]["runtime_config"]["parameters"]
    assert parameters == {"recipe": "best", "epochs": 3, "min_accuracy": 1.0}


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("epochs=many", "--param epochs=many: expected int"),
        ("min_accuracy=", "--param min_accuracy=: expected float"),
        (
            "speed=1",
            "--param speed=1: expected NAME=VALUE with a name of data, epochs, min_accuracy, "
            "recipe",
        ),
        ("data=d/span-{SPAN}", "--param data=d/span-{SPAN}: Kubeflow runs do not follow spans;"),
        ("recipe", "--param recipe: expected NAME=VALUE"),
    ],
)
def test_a_bad_parameter_is_refused_before_anything_is_sent(submit, kubeflow, parameter, message):
    outcome = submit("--param", parameter)
    assert outcome.code == 2
    assert message in said(outcome)
    assert not kubeflow.requests


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_fails(submit, kubeflow, state):
    kubeflow.progress = [(state, {"Trainer": "FAILED"})]
    outcome = submit("--wait")
    assert outcome.code == 1
    assert f"the run was {state.lower()}: Trainer" in said(outcome)


def test_a_gate_that_refuses_is_no_success(submit, kubeflow):
    kubeflow.progress = [("SUCCEEDED", {"Trainer": "SUCCEEDED", "Pusher": "SKIPPED"})]
    outcome = submit("--wait")
    assert outcome.code == 1
    assert "a gate refused: Pusher did not run; nothing was pushed" in said(outcome)


def test_time_is_up(submit, kubeflow):
    kubeflow.progress = [("RUNNING", {})]
    outcome = submit("--wait", "--timeout", "0.1")
    assert outcome.code == 2
    assert f"{kubeflow.url}/#/runs/details/run-1: not over after 0.1 seconds" in said(outcome)


def test_a_bad_token(submit, kubeflow):
    kubeflow.token = "right"
    outcome = submit("--token", "wrong")
    assert outcome.code == 2
    assert "the token is bad or missing (401 Unauthorized: Request header" in said(outcome)
    assert not kubeflow.runs


def test_the_token_comes_from_a_file_or_the_environment(submit, kubeflow, tmp_path, monkeypatch):
    kubeflow.token = "right"
    (tmp_path / "token").write_text("right\n")
    assert submit("--token-file", tmp_path / "token").code == 0
    monkeypatch.setenv("DIGITS_KUBEFLOW_TOKEN", "right")
    assert submit().code == 0
    (tmp_path / "token").write_text("\n")
    assert "--token-file" in said(submit("--token-file", tmp_path / "token"))


def test_a_token_without_end(submit, kubeflow):
    outcome = submit("--token-file", "/dev/zero")
    assert outcome.code == 2
    assert "--token-file /dev/zero: too large; a token has at most 65,536 bytes" in said(outcome)
    assert not kubeflow.requests


@pytest.mark.parametrize("path", ["/healthz", "/experiments", "/pipelines/upload", "/runs"])
def test_a_server_that_refuses(submit, kubeflow, path):
    kubeflow.refusals[path] = (403, {"message": "User is not authorized\n\x1b[31mat all"})
    outcome = submit()
    assert outcome.code == 2
    assert "refuses (403 Forbidden: User is not authorized ?[31mat all)" in said(outcome)
    assert "--namespace" in outcome.err
    assert not kubeflow.runs


def test_a_server_that_is_something_else(submit, kubeflow):
    kubeflow.refusals["/healthz"] = (404, {})
    assert "no Kubeflow Pipelines v2 there (404 Not Found); check --host" in said(submit())


def test_a_server_that_fails_while_it_is_asked_for_the_state(submit, kubeflow):
    kubeflow.refusals["/runs/run-1"] = (503, {"message": "restarting"})
    outcome = submit("--wait")
    assert outcome.code == 2
    assert "503 Service Unavailable: restarting" in said(outcome)
    assert len([path for _, path, _ in kubeflow.requests if path == "/runs/run-1"]) == 5


def test_many_users_need_a_namespace(submit, kubeflow):
    kubeflow.multi_user = True
    assert "name yours: --namespace NAMESPACE" in said(submit())
    assert submit("--namespace", "ann").code == 0
    assert kubeflow.experiments[0]["namespace"] == "ann"


def test_a_host_that_cannot_be_reached(digits, kubeflow, package):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        outcome = digits("submit", package, "--host", url)
    assert outcome.code == 2
    assert f"{url}: cannot be reached (Connection refused); check --host" in said(outcome)


@pytest.mark.parametrize("content", [None, "", "- 1", "a: b", "{", "root: {}"])
def test_a_package_that_is_none(digits, tmp_path, content):
    path = tmp_path / "package.yaml"
    if content is not None:
        path.write_text(content)
    outcome = digits("submit", path, "--host", "http://127.0.0.1:1")
    assert outcome.code == 2
    assert said(outcome).endswith("make it with `digits compile`\n")


def test_a_package_without_end(digits):
    outcome = digits("submit", "/dev/zero", "--host", "http://127.0.0.1:1")
    assert outcome.code == 2
    assert "/dev/zero: too large; a package has at most" in said(outcome)
