"""The deployments of TF Serving, checked offline: schemas, references, flags, metric names."""

import copy
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from pipeline.config import PIPELINE_NAME, RunRoot
from serving.client.client import BATCH_SIZE

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "serving" / "deploy"
CONFIG = DEPLOY / "kubernetes" / "base" / "config"
DEPLOYED = ("base", "overlays/canary")
MOUNTED = {"/config/model.config", "/config/batching.config", "/config/monitoring.config"}

#: Flags of tensorflow_model_server 2.20 (tensorflow_serving/model_servers/main.cc).
FLAGS = set(
    re.findall(
        r"\w+",
        """
        allow_version_labels_for_unavailable_models batching_parameters_file
        enable_batching enable_grpc_healthcheck_service enable_model_warmup
        enable_profiler file_system_poll_wait_seconds grpc_channel_arguments
        grpc_max_threads grpc_socket_path load_retry_interval_micros
        max_num_load_retries model_base_path model_config_file
        model_config_file_poll_wait_seconds model_name monitoring_config_file
        num_load_threads num_unload_threads port prefer_tflite_model
        rest_api_enable_cors_support rest_api_num_threads rest_api_port
        rest_api_timeout_in_ms ssl_config_file tensorflow_inter_op_parallelism
        tensorflow_intra_op_parallelism tensorflow_session_parallelism
        """,
    )
)

COUNTER, HISTOGRAM = {""}, {"_bucket", "_sum", "_count"}
#: Metrics that TF Serving exports, with their labels: tensorflow_serving/servables/tensorflow/
#: util.cc, tensorflow_serving/batching/, tensorflow/cc/saved_model/loader.cc.
METRICS = {
    ":tensorflow:serving:request_count": (COUNTER, {"model_name", "status"}),
    ":tensorflow:serving:request_latency": (HISTOGRAM, {"model_name", "API", "entrypoint"}),
    ":tensorflow:serving:runtime_latency": (HISTOGRAM, {"model_name", "API", "runtime"}),
    ":tensorflow:serving:batching_session:queuing_latency": (HISTOGRAM, {"thread_pool_name"}),
    ":tensorflow:serving:batching_session:wrapped_run_count": (COUNTER, set()),
    ":tensorflow:serving:batching_session:input_batch_size": (HISTOGRAM, set()),
    ":tensorflow:serving:batching_session:processed_batch_size": (HISTOGRAM, set()),
    ":tensorflow:cc:saved_model:load_attempt_count": (COUNTER, {"model_path", "status"}),
}


# The resources, by kustomize.


def by_kubectl(directory: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def by_hand(directory: Path) -> list[dict[str, Any]]:
    """As much of kustomize as the files use; what it does not know is an error."""
    spec = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert (spec.pop("apiVersion"), spec.pop("kind")) == (
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
    )
    resources = []
    for name in spec.pop("resources"):
        path = directory / name
        resources += by_hand(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for generator in spec.pop("configMapGenerator", []):
        data = {Path(name).name: (directory / name).read_text() for name in generator["files"]}
        existing = find(resources, "ConfigMap", generator["name"])
        assert bool(existing) == (generator.get("behavior") == "merge")
        if existing:
            existing[0]["data"] |= data
        else:
            meta = {"name": generator["name"]}
            resources.append(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
            )
    if namespace := spec.pop("namespace", None):
        for resource in resources:
            resource["metadata"]["namespace"] = namespace
            for subject in resource.get("subjects", []):
                subject["namespace"] = namespace
    assert not spec
    return resources


@pytest.fixture(scope="module", params=["by hand", "by kubectl"])
def kustomize(request: pytest.FixtureRequest) -> Any:
    if request.param == "by hand":
        return by_hand
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here")
    return by_kubectl


@pytest.fixture(scope="module", params=DEPLOYED)
def resources(kustomize: Any, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return kustomize(DEPLOY / "kubernetes" / request.param)


def find(resources: list[dict[str, Any]], kind: str, name: str | None = None) -> list[Any]:
    return [
        resource
        for resource in resources
        if resource["kind"] == kind and name in (None, resource["metadata"]["name"])
    ]


def one(resources: list[dict[str, Any]], kind: str, name: str | None = None) -> Any:
    (resource,) = find(resources, kind, name)
    return resource


def container(resources: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = one(resources, "Deployment")["spec"]["template"]["spec"]["containers"]
    return found


def flags(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


# Kubernetes.


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_each_resource_meets_its_schema(resources, version):
    kinds = sorted(resource["kind"] for resource in resources)
    assert kinds == sorted(
        ["ConfigMap"] * 3
        + ["Deployment", "HorizontalPodAutoscaler", "PersistentVolumeClaim"]
        + ["PodDisruptionBudget", "Service", "Service"]
    )
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schemas_would_find_a_mistake(resources):
    broken = copy.deepcopy(one(resources, "Deployment"))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.37", strict=True)


def test_selectors_match_the_pods(resources):
    deployment = one(resources, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    selectors = [
        deployment["selector"]["matchLabels"],
        one(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in spread),
        *(service["spec"]["selector"] for service in find(resources, "Service")),
    ]
    assert len(selectors) == 5
    for selector in selectors:
        assert selector
        assert selector.items() <= labels


def test_the_autoscaler_scales_the_deployment(resources):
    target = one(resources, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    deployment = one(resources, "Deployment")
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"]  # else each apply undoes the autoscaler's work
    assert "cpu" in container(resources)["resources"]["requests"]  # what utilisation is of


def test_services_and_probes_name_ports_that_the_server_opens(resources):
    server = container(resources)
    given = flags(server["args"])
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports == {"grpc": int(given["port"]), "rest": int(given["rest_api_port"])}
    services = {s["metadata"]["name"]: s["spec"] for s in find(resources, "Service")}
    assert services.keys() == {"digits", "digits-headless"}
    assert services["digits-headless"]["clusterIP"] == "None"
    for service in services.values():
        for port in service["ports"]:
            assert port["port"] == ports[port["targetPort"]]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"] == {"path": "/v1/models/digits", "port": "rest"}
    assert server["livenessProbe"]["grpc"]["port"] == ports["grpc"]
    assert given["enable_grpc_healthcheck_service"] == "true"


def test_volumes_claims_and_config_maps_exist(resources):
    pod = one(resources, "Deployment")["spec"]["template"]["spec"]
    mounts = {m["name"]: m for m in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert one(resources, "PersistentVolumeClaim", claim)
    assert mounts["models"]["readOnly"]
    projected = set()
    for source in volumes["config"]["projected"]["sources"]:
        data = one(resources, "ConfigMap", source["configMap"]["name"])["data"]
        for item in source["configMap"]["items"]:
            assert item["key"] in data
            projected.add(f"{mounts['config']['mountPath']}/{item['path']}")
    files = {v for v in flags(container(resources)["args"]).values() if v.startswith("/")}
    assert projected == files == MOUNTED


def test_the_pod_has_no_rights_and_bounds(resources):
    pod = one(resources, "Deployment")["spec"]["template"]["spec"]
    server = pod["containers"][0]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert server["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert server["resources"]["limits"].keys() >= {"cpu", "memory"}
    writable = {m["mountPath"] for m in server["volumeMounts"] if not m.get("readOnly")}
    assert {"name": "TMPDIR", "value": "/scratch"} in server["env"]
    assert writable == {"/scratch"}


def test_a_pod_has_time_to_be_forgotten_before_it_is_killed(resources):
    pod = one(resources, "Deployment")["spec"]["template"]["spec"]
    command, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert 0 < int(seconds) < pod["terminationGracePeriodSeconds"]


def test_both_ways_of_kustomize_agree():
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here")
    for name in (*DEPLOYED, "overlays/kserve"):
        directory = DEPLOY / "kubernetes" / name
        hashed = re.sub(
            r"(digits-\w+-config)-[0-9a-z]{10}\b", r"\1", json.dumps(by_kubectl(directory))
        )
        key = json.dumps
        assert sorted(json.loads(hashed), key=key) == sorted(by_hand(directory), key=key)


# KServe.


def test_kserve_serves_the_same_claim(kustomize):
    resources = kustomize(DEPLOY / "kubernetes" / "overlays" / "kserve")
    assert len(resources) == 2
    service = one(resources, "InferenceService")
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["metadata"]["name"] == PIPELINE_NAME  # which becomes the model's name
    (component,) = service["spec"]
    assert component == "predictor"
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"]["name"] == "tensorflow"
    claim = one(resources, "PersistentVolumeClaim")["metadata"]["name"]
    # The directory that holds the versions, as the base's model_config has it below /models.
    assert model["storageUri"] == f"pvc://{claim}/{PIPELINE_NAME}"
    assert f"tensorflow/serving:{model['runtimeVersion']}" == compose()["image"]


# What the server is told.


def messages_of(package: str, **types: list[tuple[str, int, Any]]) -> dict[str, Any]:
    """Messages that tensorflow-serving-api does not ship; a field's type is a number or a name."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="config.proto",
        package=package,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in types.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=1)
            if isinstance(kind, str):
                added.type, added.type_name = 11, kind
            else:
                added.type = kind
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in types
    }


INT64, BOOL, STRING = ".google.protobuf.Int64Value", 8, 9
#: From session_bundle_config.proto and monitoring_config.proto.
CONFIGS = messages_of(
    "tensorflow.serving",
    BatchingParameters=[
        ("max_batch_size", 1, INT64),
        ("batch_timeout_micros", 2, INT64),
        ("max_enqueued_batches", 3, INT64),
        ("num_batch_threads", 4, INT64),
    ],
    PrometheusConfig=[("enable", 1, BOOL), ("path", 2, STRING)],
    MonitoringConfig=[("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")],
)


def model_config(path: Path) -> Any:
    config = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


@pytest.mark.parametrize("path", [CONFIG, DEPLOY / "kubernetes" / "overlays" / "canary"])
def test_the_model_is_where_the_pipeline_pushes_it(path):
    model = model_config(path / "model.config")
    assert model.name == PIPELINE_NAME
    assert model.model_platform == "tensorflow"
    # /models is run/serving, in compose and on the claim.
    serving = RunRoot(Path("run")).serving
    assert Path(model.base_path) == Path("/models") / serving.relative_to("run/serving")


def test_the_base_serves_the_latest_version_and_the_canary_two_by_label():
    base = model_config(CONFIG / "model.config")
    assert base.model_version_policy.latest.num_versions == 1
    assert not base.version_labels
    canary = model_config(DEPLOY / "kubernetes" / "overlays" / "canary" / "model.config")
    assert canary.version_labels.keys() == {"stable", "canary"}
    assert sorted(canary.version_labels.values()) == list(
        canary.model_version_policy.specific.versions
    )


def test_batches_hold_what_our_client_sends(resources):
    batching = text_format.Parse(
        (CONFIG / "batching.config").read_text(), CONFIGS["BatchingParameters"]()
    )
    # A request that is larger than a batch is refused.
    assert batching.max_batch_size.value >= BATCH_SIZE
    assert batching.max_enqueued_batches.value > 0
    cpus = container(resources)["resources"]["limits"]["cpu"]
    assert batching.num_batch_threads.value == int(cpus) == compose()["cpus"]


def test_every_flag_is_one_of_tf_servings(resources):
    given = flags(container(resources)["args"])
    assert given.keys() <= FLAGS
    assert given == flags(compose()["command"])
    real = re.findall(r"--(\w+)=", serve_real_recipe())
    assert set(real) == {"monitoring_config_file", "enable_grpc_healthcheck_service"}
    assert set(real) <= FLAGS


# Compose, and `make serve-real`.


def compose() -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert content.keys() == {"name", "services"}
    return content["services"]["tensorflow-serving"]


def test_the_image_is_one_pinned_version(resources):
    image = compose()["image"]
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", image)
    assert container(resources)["image"] == image


def test_compose_publishes_on_loopback_only():
    given = flags(compose()["command"])
    assert compose()["ports"] == [
        f"127.0.0.1:{port}:{port}" for port in (given["port"], given["rest_api_port"])
    ]


def test_compose_mounts_what_exists_read_only():
    mounts = {mount["target"]: mount for mount in compose()["volumes"]}
    assert mounts.keys() == {"/models", "/config"}
    assert all(mount["read_only"] and mount["type"] == "bind" for mount in mounts.values())
    assert (DEPLOY / mounts["/config"]["source"]).resolve() == CONFIG
    assert {f"/config/{path.name}" for path in CONFIG.iterdir()} == MOUNTED
    default = re.fullmatch(r"\$\{DIGITS_SERVING:-(.+)\}", mounts["/models"]["source"])
    assert (DEPLOY / default[1]).resolve() == PROJECT / RunRoot(Path("run")).serving.parent


def test_compose_has_no_rights_and_bounds():
    service = compose()
    known = {
        "image",
        "entrypoint",
        "command",
        "ports",
        "volumes",
        "user",
        "read_only",
        "tmpfs",
        "environment",
    }
    known |= {"init", "cap_drop", "security_opt", "cpus", "mem_limit", "restart", "healthcheck"}
    assert service.keys() == known
    assert service["user"].split(":")[0] != "0"
    assert service["init"] is True
    assert service["read_only"] is True
    assert service["tmpfs"] == [service["environment"]["TMPDIR"]]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_health_check_tells_up_from_down():
    """Runs it, as the container would, against a server that says what TF Serving says."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Status(BaseHTTPRequestHandler):
        state = "AVAILABLE"

        def do_GET(self):
            assert self.path == "/v1/models/digits"
            body = json.dumps({"model_version_status": [{"state": self.state}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Says nothing."""

    kind, *command = compose()["healthcheck"]["test"]
    assert kind == "CMD"
    with HTTPServer(("127.0.0.1", 0), Status) as server:
        command[-1] = command[-1].replace("/8501", f"/{server.server_port}")
        Thread(target=server.serve_forever).start()
        codes = []
        for Status.state in ("AVAILABLE", "LOADING"):
            codes.append(subprocess.run(command, timeout=20).returncode)
        server.shutdown()
    down = subprocess.run(command, timeout=20, capture_output=True).returncode
    assert codes[0] == 0
    assert codes[1] != 0
    assert down != 0


def make(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("make") or "make", "serve-real", *arguments],
        cwd=PROJECT,
        env={"PATH": path},
        capture_output=True,
        text=True,
    )


def serve_real_recipe() -> str:
    return (PROJECT / "Makefile").read_text().split("\nserve-real:")[1].split("\n\n")[0]


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Path]:
    """A PATH that holds sed, and no docker."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "sed").symlink_to(shutil.which("sed") or "")
    yield directory


def docker(tools: Path, script: str) -> None:
    (tools / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "docker").chmod(0o755)


def test_serve_real_says_what_is_missing(tools, tmp_path):
    nothing = make(path=str(tools))
    assert nothing.returncode == 2
    assert nothing.stderr.startswith("digits: no docker here, which TF Serving needs")
    docker(tools, "exit 1")
    dead = make(path=str(tools))
    assert dead.returncode == 2
    assert dead.stderr.startswith("digits: docker is here, but its daemon does not answer")
    docker(tools, "exit 0")
    empty = make(f"MODELS={tmp_path}", path=str(tools))
    assert empty.returncode == 2
    assert empty.stderr.startswith(f"digits: {tmp_path}/digits: no pushed model")


def test_serve_real_runs_the_container_on_loopback(tools, tmp_path):
    (tmp_path / "digits").mkdir()
    docker(tools, 'for each in "$@"; do echo "got $each"; done')
    done = make(f"MODELS={tmp_path}", "ARGS=--enable_batching=true", path=str(tools))
    assert done.returncode == 0, done.stderr
    given = re.findall(r"^got (.*)$", done.stdout, re.MULTILINE)
    assert given[0] == "run"
    published = [value for flag, value in itertools.pairwise(given) if flag == "--publish"]
    assert published == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    image = given.index(compose()["image"])
    assert "--init" in given[:image]  # else Ctrl-C does nothing
    assert f"{tmp_path}:/models:ro" in given[:image]
    assert f"{CONFIG}:/config:ro" in given[:image]
    assert "MODEL_NAME=digits" in given[:image]
    assert given[-1] == "--enable_batching=true"
    assert "--monitoring_config_file=/config/monitoring.config" in given[image:]


# Monitoring.


def metrics_path() -> str:
    monitoring = text_format.Parse(
        (CONFIG / "monitoring.config").read_text(), CONFIGS["MonitoringConfig"]()
    )
    assert monitoring.prometheus_config.enable
    return monitoring.prometheus_config.path


def job(name: str) -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / "monitoring" / name).read_text())
    (found,) = content["scrape_configs"]
    assert found["metrics_path"] == metrics_path()
    return found


def test_prometheus_finds_the_composed_server():
    (static,) = job("prometheus-compose.yaml")["static_configs"]
    assert static["targets"] == [compose()["ports"][1].rpartition(":")[0]]


def test_prometheus_finds_the_pods(resources):
    found = job("prometheus-kubernetes.yaml")
    assert found["kubernetes_sd_configs"] == [{"role": "pod"}]
    kept = {
        rule["source_labels"][0]: rule["regex"]
        for rule in found["relabel_configs"]
        if rule.get("action") == "keep"
    }
    labels = one(resources, "Deployment")["spec"]["template"]["metadata"]["labels"]
    names = {
        "__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", key): value
        for key, value in labels.items()
    }
    ports = {port["name"] for port in container(resources)["ports"]}
    assert kept.pop("__meta_kubernetes_pod_container_port_name") in ports
    assert kept
    assert kept.items() <= names.items()


def dashboard() -> dict[str, Any]:
    return json.loads((DEPLOY / "monitoring" / "grafana-dashboard.json").read_text())


EXPRESSIONS = [
    (panel["title"], target["expr"])
    for panel in dashboard()["panels"]
    for target in panel["targets"]
]


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_the_dashboard_asks_for_metrics_that_tf_serving_has(title, expression):
    asked = re.findall(
        r"(:tensorflow[:\w]+?)(_bucket|_sum|_count)?(?![:\w])(\{[^}]*\})?", expression
    )
    assert asked
    labels: set[str] = set()
    for name, suffix, selector in asked:
        if name not in METRICS:
            name, suffix = name + suffix, ""
        suffixes, own = METRICS[name]
        assert suffix in suffixes, f"{title}: {name}{suffix}"
        assert set(re.findall(r"(\w+)=", selector)) <= own, f"{title}: {selector}"
        labels |= own
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        wanted = set(grouping.split(", "))
        assert ("le" in wanted) == ("histogram_quantile" in expression)
        assert wanted - {"le"} <= labels, f"{title}: {grouping}"
    assert expression.count("(") == expression.count(")")


def test_every_metric_that_we_know_is_shown():
    shown = " ".join(expression for _, expression in EXPRESSIONS)
    assert all(name in shown for name in METRICS)


def test_the_dashboards_panels_and_variables_fit():
    content = dashboard()
    panels = content["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 0
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    declared = {variable["name"] for variable in content["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(content))) - {"__rate_interval"}
    assert used == declared
    (query,) = (v["query"] for v in content["templating"]["list"] if v["type"] == "query")
    name, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", query).groups()
    assert label in METRICS[name][1]


def test_no_file_is_left_unchecked():
    assert sorted(str(p.relative_to(DEPLOY)) for p in DEPLOY.rglob("*") if p.is_file()) == [
        "compose.yaml",
        *(f"kubernetes/base/config/{name}.config" for name in ("batching", "model", "monitoring")),
        *(
            f"kubernetes/base/{name}.yaml"
            for name in ("deployment", "hpa", "kustomization", "pdb", "services")
        ),
        "kubernetes/overlays/canary/kustomization.yaml",
        "kubernetes/overlays/canary/model.config",
        "kubernetes/overlays/kserve/inference-service.yaml",
        "kubernetes/overlays/kserve/kustomization.yaml",
        "kubernetes/storage/kustomization.yaml",
        "kubernetes/storage/pvc.yaml",
        "monitoring/grafana-dashboard.json",
        "monitoring/prometheus-compose.yaml",
        "monitoring/prometheus-kubernetes.yaml",
    ]
