"""`digits submit`: runs a compiled package on a cluster, through Kubeflow Pipelines' client."""

import contextlib
import datetime
import io
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kfp.client
import kfp_server_api
import urllib3
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from rich.console import Console

from serving.errors import GateRefused, InputError, RunFailed
from serving.files import read_bounded

TOKEN_VARIABLE = "DIGITS_KUBEFLOW_TOKEN"
#: Where people look at runs, if not at the API's address; kfp reads it too.
UI_VARIABLE = "KF_PIPELINES_UI_ENDPOINT"

MAX_PACKAGE_BYTES = 16 * 2**20
MAX_TOKEN_BYTES = 64 * 2**10
#: Of a request.
TIMEOUT_SECONDS = 30
#: Failed looks at the state, one after another, after which the server is gone.
ATTEMPTS = 5

_MARKS = {"SUCCEEDED": "[green]✓[/]", "SKIPPED": "[yellow]-[/]", "FAILED": "[red]✗[/]"}
_PARSERS = {
    pipeline_spec_pb2.ParameterType.STRING: str,
    pipeline_spec_pb2.ParameterType.NUMBER_INTEGER: int,
    pipeline_spec_pb2.ParameterType.NUMBER_DOUBLE: float,
}


@dataclass(frozen=True)
class Cluster:
    """How to reach Kubeflow Pipelines.

    Attributes:
        host: URL of its API.
        token: what the server takes for a bearer token; None for none.
        namespace: of the user, where there are several; None where not.
        tls_ca: file of the authorities to trust; None for the machine's.
    """

    host: str
    token: str | None = None
    namespace: str | None = None
    tls_ca: str | None = None


@dataclass(frozen=True)
class Wait:
    """How to follow a run.

    Attributes:
        timeout: seconds until it is left to itself; None for never.
        interval: seconds between two looks.
    """

    timeout: float | None
    interval: float


def read_token(token: str | None, file: Path | None) -> str | None:
    """Returns the token that was given, that a file holds, or that the environment has.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    if token or file is None:
        return token or os.environ.get(TOKEN_VARIABLE)
    try:
        text = read_bounded(file, MAX_TOKEN_BYTES, "a token has").decode().strip()
    except InputError as error:
        raise InputError(f"--token-file {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--token-file {file}: {error}") from error
    if not text:
        raise InputError(f"--token-file {file}: empty")
    return text


def submit(
    package: Path,
    cluster: Cluster,
    console: Console,
    *,
    parameters: Sequence[str],
    experiment: str,
    run_name: str | None = None,
    pipeline_root: str | None = None,
    service_account: str | None = None,
    wait: Wait | None = None,
) -> None:
    """Uploads a package as a new version of its pipeline, runs it, and follows the run.

    Args:
        package: what `digits compile` wrote.
        cluster: where to.
        console: gets the run's address and the states.
        parameters: NAME=VALUE each.
        experiment: to which the run belongs; is made if need be.
        run_name: of the run, and of the version; None for the pipeline's name and the time.
        pipeline_root: URI of the artifacts; None for the package's, or else the cluster's.
        service_account: of the pods; None for the cluster's.
        wait: None to leave after the start.

    Raises:
        InputError: the package or a parameter is bad; the server cannot be reached, refuses, or
            has not finished the run in time.
        RunFailed: the run failed, or was stopped.
        GateRefused: the run succeeded, but for tasks that a gate kept from running.
    """
    spec = _read_spec(package)
    values = _parse_parameters(spec, parameters)
    name = run_name or f"{spec.pipeline_info.name} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
    with _errors(cluster), contextlib.redirect_stdout(io.StringIO()):  # where the client talks
        # Kubeflow's backend looks for the root in the run alone, not in the package.
        client = _connect(cluster)
        run = client.run_pipeline(
            experiment_id=client.create_experiment(
                experiment, namespace=cluster.namespace
            ).experiment_id,
            job_name=name,
            params=values,
            pipeline_root=pipeline_root or spec.default_pipeline_root or None,
            service_account=service_account,
            **_upload(client, package, spec.pipeline_info.name, name, cluster.namespace),
        )
    address = f"{os.environ.get(UI_VARIABLE, cluster.host).rstrip('/')}/#/runs/details/{run.run_id}"
    console.print(address, soft_wrap=True, highlight=False)
    if wait:
        with _errors(cluster):
            run = _follow(client, run.run_id, set(spec.root.dag.tasks), console, wait, address)
        _raise_unless_pushed(run, set(spec.root.dag.tasks))


def _read_spec(package: Path) -> pipeline_spec_pb2.PipelineSpec:
    if not package.exists():
        raise InputError(f"{package}: no such file; make it with `digits compile`")
    content = read_bounded(package, MAX_PACKAGE_BYTES, "a package has")
    try:
        document = next(yaml.safe_load_all(content))
        spec = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
        if not spec.root.dag.tasks:
            raise ValueError("no tasks")
        return spec
    except (
        ValueError,
        AttributeError,
        TypeError,
        StopIteration,
        json_format.Error,
        yaml.YAMLError,
    ) as error:
        raise InputError(
            f"{package}: not a compiled pipeline; make it with `digits compile`"
        ) from error


def _parse_parameters(
    spec: pipeline_spec_pb2.PipelineSpec, parameters: Sequence[str]
) -> dict[str, str | int | float]:
    known = spec.root.input_definitions.parameters
    values = {}
    for parameter in parameters:
        name, separator, text = parameter.partition("=")
        if not separator or name not in known:
            names = ", ".join(sorted(known))
            raise InputError(f"--param {parameter}: expected NAME=VALUE with a name of {names}")
        parse = _PARSERS[known[name].parameter_type]
        try:
            values[name] = parse(text)
        except ValueError as error:
            raise InputError(f"--param {parameter}: expected {parse.__name__}") from error
    return values


def _connect(cluster: Cluster) -> kfp.client.Client:
    """Returns a client, after one request that says whether the server takes us.

    kfp's own first request is tried for half a minute, whatever the answer.
    """
    configuration = kfp_server_api.Configuration(host=cluster.host.rstrip("/"))
    configuration.retries = False
    configuration.ssl_ca_cert = cluster.tls_ca
    if cluster.token:
        configuration.api_key["authorization"] = cluster.token
        configuration.api_key_prefix["authorization"] = "Bearer"
    health = kfp_server_api.HealthzServiceApi(kfp_server_api.ApiClient(configuration))
    if health.healthz_service_get_healthz().multi_user and not cluster.namespace:
        raise InputError(f"{cluster.host}: has many users; name yours: --namespace NAMESPACE")
    return kfp.client.Client(
        host=cluster.host,
        existing_token=cluster.token,
        ssl_ca_cert=cluster.tls_ca,
        namespace=cluster.namespace or "kubeflow",
    )


def _upload(
    client: kfp.client.Client, package: Path, pipeline: str, version: str, namespace: str | None
) -> dict[str, str]:
    """Uploads the package; returns the ids of the pipeline and of its new version."""
    named = {"operation": "EQUALS", "key": "display_name", "stringValue": pipeline}
    found = client.list_pipelines(
        namespace=namespace, filter=json.dumps({"predicates": [named]})
    ).pipelines
    if found:
        made = client.upload_pipeline_version(
            str(package), pipeline_version_name=version, pipeline_id=found[0].pipeline_id
        )
    else:
        pipeline_id = client.upload_pipeline(
            str(package), pipeline_name=pipeline, namespace=namespace
        ).pipeline_id
        (made,) = client.list_pipeline_versions(pipeline_id, page_size=1).pipeline_versions
    return {"pipeline_id": made.pipeline_id, "version_id": made.pipeline_version_id}


def _follow(
    client: kfp.client.Client,
    run_id: str,
    names: set[str],
    console: Console,
    wait: Wait,
    address: str,
) -> kfp_server_api.V2beta1Run:
    """Prints each task's state when it changes, until the run is over."""
    started = time.monotonic()
    shown: dict[str, str] = {}
    failures = 0
    while True:
        try:
            run = client.get_run(run_id)
            failures = 0
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
            failures += 1
            if failures == ATTEMPTS or getattr(error, "status", None) in {401, 403, 404}:
                raise
        else:
            for name, state in _states(run, names).items():
                if shown.get(name) != state:
                    shown[name] = state
                    mark = _MARKS.get(state, " ")
                    console.print(f"{mark} {name:<20}{state.lower()}", highlight=False)
            if run.state in {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}:
                return run
        if wait.timeout is not None and time.monotonic() - started > wait.timeout:
            raise InputError(
                f"{address}: not over after {wait.timeout:g} seconds; it runs on, --timeout allows "
                "more"
            )
        time.sleep(wait.interval)


def _states(run: kfp_server_api.V2beta1Run, names: set[str]) -> Mapping[str, str]:
    """The states of the package's tasks; Kubeflow adds tasks of its own to them."""
    tasks = run.run_details.task_details if run.run_details else None
    return {
        task.display_name: task.state
        for task in tasks or []
        if task.display_name in names and task.state
    }


def _raise_unless_pushed(run: kfp_server_api.V2beta1Run, names: set[str]) -> None:
    states = _states(run, names)
    if run.state != "SUCCEEDED":
        failed = sorted(name for name, state in states.items() if state == "FAILED")
        reason = f": {', '.join(failed)}" if failed else ""
        if run.error and run.error.message:
            reason += f": {_one_line(run.error.message)}"
        raise RunFailed(f"the run was {run.state.lower()}{reason}")
    if skipped := sorted(name for name, state in states.items() if state == "SKIPPED"):
        raise GateRefused(f"a gate refused: {', '.join(skipped)} did not run; nothing was pushed")


@contextlib.contextmanager
def _errors(cluster: Cluster) -> Iterator[None]:
    """Turns what the client raises into one line."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)  # the client has no option for it
    try:
        yield
    except kfp_server_api.ApiException as error:
        raise InputError(f"{cluster.host}: {_refusal(error)}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise InputError(
            f"{cluster.host}: cannot be reached ({_one_line(_cause(error))}); check --host, and "
            "that Kubeflow Pipelines is up"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _refusal(error: kfp_server_api.ApiException) -> str:
    try:
        answer = json.loads(error.body or "{}")
        detail = answer.get("message") or answer.get("error") or ""
    except (ValueError, AttributeError):
        detail = ""  # a proxy's page
    said = f"{error.status} {error.reason or ''}".strip() + (
        f": {_one_line(detail)}" if detail else ""
    )
    match error.status:
        case 401:
            return f"the token is bad or missing ({said}); see --token-file"
        case 403:
            return f"refuses ({said}); check the token's rights and --namespace"
        case 404:
            return f"no Kubeflow Pipelines v2 there ({said}); check --host"
    return f"refuses ({said})"


def _cause(error: BaseException) -> str:
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return str(getattr(error, "strerror", None) or error)


def _one_line(text: object) -> str:
    """A stranger's text: one line, nothing that moves a terminal's cursor."""
    words = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "?" for c in words)[:500]
