"""`digits serve` and the flags."""

import argparse
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from export.edge_model import MODEL_FILE, EdgeModel
from serving.client import Client, ServerError
from serving.pictures import encode_png
from serving.server import command
from tests.conftest import Outcome, PipelineRun
from tests.ports import free_port
from tests.serving.models import write_times
from tests.serving.servers import (
    COMMAND,
    ROOT,
    TIMEOUT,
    Server,
    floats,
    predict_request,
    read_log,
    running,
    wait_until,
    write_warmup,
)

SERVE = [sys.executable, "-m", "pipeline.cli", "serve"]


@pytest.fixture(scope="module", params=["tensorflow", "litert"])
def served(
    request: pytest.FixtureRequest,
    pipeline_run: PipelineRun,
    tmp_path_factory: pytest.TempPathFactory,
):
    """`digits serve` of the pushed model."""
    flags = [f"--root={pipeline_run.root}", f"--backend={request.param}"]
    with running(tmp_path_factory.mktemp("serve"), *flags, command=SERVE) as server:
        yield server


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_our_clients_get_what_is_served(
    served: Server, sample: tuple[np.ndarray, np.ndarray], protocol: str
) -> None:
    images = sample[0][::100]
    response = served.address.predict("digits", images=images)
    expected = tf.make_ndarray(response.outputs["probabilities"])
    address = served.address.grpc if protocol == "grpc" else served.address.rest
    with Client(f"{protocol}://{address}", batch_size=20) as client:
        arrays = client.classify(images)
        pictures = client.classify([encode_png(image) for image in images])
        with pytest.raises(ServerError, match="Servable not found for request: Latest"):
            Client(f"{protocol}://{address}", model="letters").classify(images)
    found = np.array([prediction.probabilities for prediction in arrays])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal([p.label for p in arrays], expected.argmax(1))
    assert np.mean([p.label for p in pictures] == expected.argmax(1)) > 0.9


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_an_ipv6_host_is_served(
    pipeline_run: PipelineRun, sample: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    flags = [f"--root={pipeline_run.root}", "--backend=litert", "--host=::1"]
    with running(tmp_path, *flags, command=SERVE) as server:
        for protocol, address in (("grpc", server.address.grpc), ("http", server.address.rest)):
            port = address.rpartition(":")[2]
            with Client(f"{protocol}://[::1]:{port}") as client:
                assert client.classify(sample[0][:1])[0].probabilities


def test_both_backends_answer_every_signature(
    served: Server, sample: tuple[np.ndarray, np.ndarray], pipeline_run: PipelineRun
) -> None:
    images, labels = (array[::50] for array in sample)
    address = served.address
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[image.tobytes()])
                    )
                }
            )
        ).SerializeToString()
        for image in images
    ]
    inputs = {
        "serving_default": {"images": images},
        "serve_examples": {"examples": examples},
    }
    for signature, values in inputs.items():
        response = address.predict("digits", signature=signature, **values)
        outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
        assert [str(response.model_spec.version.value)] == pipeline_run.versions()["serving"]
        assert outputs["probabilities"].dtype == np.float32
        assert outputs["label"].dtype == np.int64
        np.testing.assert_array_equal(outputs["probabilities"].argmax(1), outputs["label"])
        np.testing.assert_allclose(outputs["probabilities"].sum(1), 1, atol=0.05)
        assert (outputs["label"] == labels).mean() > 0.9
    pictures = [encode_png(image) for image in images[:10]]
    response = address.predict("digits", signature="serve_image_bytes", image_bytes=pictures)
    assert (tf.make_ndarray(response.outputs["label"]) == labels[:10]).mean() >= 0.8


def test_both_backends_take_what_tensorflow_reshapes(
    served: Server, sample: tuple[np.ndarray, np.ndarray]
) -> None:
    image = sample[0][:1]
    labels = {
        served.address.predict("digits", images=image.reshape(shape)).outputs["label"].int64_val[0]
        for shape in ((1, 28, 28), (1, 28, 28, 1), (1, 784))
    }
    assert len(labels) == 1
    for shape in ((), (3,), (1, 27, 28), (2, 28, 14)):
        with pytest.raises(grpc.RpcError) as failure:
            served.address.predict("digits", images=np.zeros(shape, np.uint8))
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("signature", "value"),
    [("serve_examples", b"no example"), ("serve_examples", b""), ("serve_image_bytes", b"GIF89a")],
)
def test_both_backends_refuse_damaged_strings(served: Server, signature: str, value: bytes) -> None:
    name = "examples" if signature == "serve_examples" else "image_bytes"
    with pytest.raises(grpc.RpcError) as failure:
        served.address.predict("digits", signature=signature, **{name: [value]})
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_both_backends_have_the_same_metadata(served: Server, pipeline_run: PipelineRun) -> None:
    answer = served.address.http.get("/v1/models/digits/metadata").json()
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    signatures.pop("__saved_model_init_op", None)
    described = {
        name: (
            {k: (v["dtype"], _sizes(v)) for k, v in definition["inputs"].items()},
            {k: (v["dtype"], _sizes(v)) for k, v in definition["outputs"].items()},
        )
        for name, definition in signatures.items()
    }
    outputs = {"probabilities": ("DT_FLOAT", ["-1", "10"]), "label": ("DT_INT64", ["-1"])}
    assert described == {
        "serving_default": ({"images": ("DT_UINT8", ["-1", "28", "28"])}, outputs),
        "serve_examples": ({"examples": ("DT_STRING", ["-1"])}, outputs),
        "serve_image_bytes": ({"image_bytes": ("DT_STRING", ["-1"])}, outputs),
    }


def test_only_a_saved_model_needs_tensorflow(
    served: Server, request: pytest.FixtureRequest
) -> None:
    mapped = Path(f"/proc/{served.process.pid}/maps").read_text()
    backend = request.node.callspec.params["served"]
    assert ("libtensorflow" in mapped) == (backend == "tensorflow")
    assert "oneDNN" not in served.log.read_text()  # what TensorFlow says when it starts


def test_edge_models_are_warmed_up_and_logged_too(
    pipeline_run: PipelineRun, sample: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    base = tmp_path / "edge"
    version = max((pipeline_run.root / "edge").iterdir(), key=lambda path: int(path.name))
    shutil.copytree(version, base / version.name)
    images = sample[0][:1]
    write_warmup(base / version.name, predict_request("digits", images=images))
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "digits" base_path: "{base}" '
        f'model_platform: "tensorflow" logging_config {{ log_collector_config {{ '
        f'filename_prefix: "{tmp_path}/requests" }} sampling_config {{ sampling_rate: 1 }} }} }} }}'
    )
    flags = ("--backend=litert", f"--model_config_file={config}")
    with running(tmp_path, *flags, command=SERVE) as server:
        assert b"with 1 records" in server.log.read_bytes()
        response = server.address.predict("digits", images=images)
        assert server.stop() == 0
    (record,) = read_log(tmp_path / "requests")
    assert record.predict_log.response.outputs["label"] == response.outputs["label"]


def _sizes(info: dict) -> list[str]:
    return [dim["size"] for dim in info["tensor_shape"]["dim"]]


def test_rest_serves_pictures_as_base64(
    served: Server, sample: tuple[np.ndarray, np.ndarray]
) -> None:
    body = {"instances": sample[0][:2].tolist()}
    answer = served.address.http.post("/v1/models/digits:predict", content=json.dumps(body)).json()
    assert [row["label"] for row in answer["predictions"]] == [0, 0]
    assert [len(row["probabilities"]) for row in answer["predictions"]] == [10, 10]


def test_a_damaged_edge_model_is_not_served(pipeline_run: PipelineRun, tmp_path: Path) -> None:
    edge = tmp_path / "edge"
    shutil.copytree(pipeline_run.root / "edge", edge)
    (version,) = edge.iterdir()
    new = edge / str(int(version.name) + 1)
    with running(
        tmp_path, "--backend=litert", f"--model_base_path={edge}", command=SERVE
    ) as server:
        shutil.copytree(version, new)
        data = bytearray((new / MODEL_FILE).read_bytes())
        data[len(data) // 2] ^= 1
        (new / MODEL_FILE).write_bytes(data)
        number = int(new.name)
        wait_until(lambda: server.address.statuses("digits").get(number, ("",))[0] == "END")
        assert "but model.json says" in server.address.statuses("digits")[number][2]
        response = server.address.predict("digits", images=np.zeros((1, 28, 28), np.uint8))
        assert response.model_spec.version.value == int(version.name)


def test_a_tflite_file_serves_its_own_tensors(
    pipeline_run: PipelineRun, sample: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """As upstream's `--prefer_tflite_model`: the names and types are the file's."""
    (version,) = (pipeline_run.root / "edge").iterdir()
    base = tmp_path / "raw"
    (base / "1").mkdir(parents=True)
    shutil.copy(version / MODEL_FILE, base / "1" / "model.tflite")
    flags = [f"--model_base_path={base}", "--model_name=raw", "--prefer_tflite_model=true"]
    with running(tmp_path, *flags) as server:
        answer = server.address.http.get("/v1/models/raw/metadata").json()
        definition = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
        ((name, info),) = definition["inputs"].items()
        assert (info["dtype"], _sizes(info)) == ("DT_UINT8", ["1", "28", "28", "1"])
        image = sample[0][:1, :, :, None]
        response = server.address.predict("raw", **{name: image})
        (scores,) = response.outputs.values()
        expected = EdgeModel(version / MODEL_FILE).predict(image[..., 0])
        np.testing.assert_allclose(tf.make_ndarray(scores) / 256, expected)
        with pytest.raises(grpc.RpcError):
            server.address.predict("raw", **{name: image[:, :10]})
        assert server.address.predict("raw", **{name: image}) == response


def test_cors(tmp_path: Path) -> None:
    write_times(tmp_path / "times" / "1", 1)
    flags = [f"--model_base_path={tmp_path}/times", "--rest_api_enable_cors_support"]
    with running(tmp_path, *flags) as server:
        path = "/v1/models/default:predict"
        headers = {"origin": "https://example.org"}
        preflight = server.address.http.request("OPTIONS", path, headers=headers)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert server.address.http.request("OPTIONS", path).status_code == 400


def test_without_a_model(digits, tmp_path: Path) -> None:
    outcome: Outcome = digits("serve", "--root", tmp_path)
    assert outcome.code == 2
    assert outcome.err == (
        f"digits: {tmp_path}/serving/digits: no pushed model; run `digits run` first\n"
    )


# Flags of both commands

BASE = "--model_base_path=/models/m"
USAGE = {
    "no model": ([], "name the model: --model_base_path or --model_config_file"),
    "no name": ([BASE, "--model_name="], "--model_name: empty; name the model, as clients will"),
    "no end": (
        ["--model_config_file=/dev/zero"],
        "/dev/zero: too large; expected at most 16,777,216 bytes",
    ),
    "same port": (
        [BASE, "--port=8500", "--rest_api_port=8500"],
        "--rest_api_port 8500: --port has it; choose another",
    ),
    "no port": (
        [BASE, "--port=0"],
        "--port 0: name a --grpc_socket_path, or another port",
    ),
    "refused": (
        [BASE, "--use_alts_credentials=true"],
        "--use_alts_credentials: not supported; use --ssl_config_file",
    ),
    "batching": (
        [BASE, "--enable_batching=false", "--batching_parameters_file=b"],
        "--batching_parameters_file: has no effect without --enable_batching",
    ),
    "no file": (
        ["--model_config_file=/nowhere/models.config"],
        "/nowhere/models.config: No such file or directory",
    ),
    "channel argument": (
        [BASE, "--grpc_channel_arguments=a"],
        "--grpc_channel_arguments: a; expected NAME=VALUE",
    ),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = USAGE[case]
    assert command.main(arguments) == 2
    assert capsys.readouterr().err == f"tensorflow_model_server: {message}\n"


@pytest.mark.parametrize("flag", ["--prot=1", "--port=x", "--port=70000", "--enable_batching=no"])
def test_bad_flags(flag: str) -> None:
    with pytest.raises(SystemExit) as usage:
        command.main([flag, BASE])
    assert usage.value.code == 2


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag in (f"--port={port}", f"--rest_api_port={port}"):
            done = subprocess.run(
                [*COMMAND, f"--model_base_path={tmp_path}", f"--port={free_port()}", flag],
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            assert done.returncode == 2
            name, _ = flag.split("=")
            reason = f"{name} {port} at 127.0.0.1: Address already in use; choose another\n"
            assert done.stderr.endswith(reason)
            assert done.stderr.count("\n") == 1


def test_flags_without_effect_are_named(caplog: pytest.LogCaptureFixture) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.add_flags(parser, model_name="m", rest_api_port=0)
    command.check_flags(parser.parse_args([BASE, "--grpc-max-threads=4", "--enable_batching"]))
    assert [record.getMessage() for record in caplog.records] == [
        "--grpc_max_threads has no effect: one event loop answers gRPC"
    ]


def test_bounds(tmp_path: Path) -> None:
    write_times(tmp_path / "times" / "1", 1)
    flags = [f"--model_base_path={tmp_path}/times", "--model_name=times"]
    with running(tmp_path, *flags, "--max_request_bytes=10000") as server:
        with pytest.raises(grpc.RpcError) as failure:
            server.address.predict("times", x=np.zeros(10_000, np.float32))
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        response = server.address.http.post("/v1/models/times:predict", content=b" " * 10_001)
        assert response.status_code == 413
        assert response.json() == {"error": "the body has more than 10,000 bytes"}
        assert server.address.predict("times", x=floats(1)).outputs["y"].float_val == [1.0]


def test_keys_that_are_none_are_named(tmp_path: Path) -> None:
    config = tmp_path / "ssl.config"
    config.write_text('server_key: "no key" server_cert: "no certificate"')
    flags = [f"--model_base_path={tmp_path}", f"--port={free_port()}"]
    done = subprocess.run(
        [*COMMAND, *flags, f"--ssl_config_file={config}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert f"--ssl_config_file {config}: gRPC refuses the key" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes its certificate with openssl")
def test_tls(tmp_path: Path) -> None:
    write_times(tmp_path / "times" / "1", 1)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", "key", "-out", "cert"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    key, certificate = ((tmp_path / name).read_text() for name in ("key", "cert"))
    config = tmp_path / "ssl.config"
    config.write_text(
        f"server_key: {json.dumps(key)} server_cert: {json.dumps(certificate)} "
        f"custom_ca: {json.dumps(certificate)} client_verify: true"
    )
    flags = [f"--model_base_path={tmp_path}/times", "--model_name=times"]
    with running(tmp_path, *flags, f"--ssl_config_file={config}") as server:
        target = server.address.grpc.replace("127.0.0.1", "localhost")
        mutual = grpc.ssl_channel_credentials(
            certificate.encode(), key.encode(), certificate.encode()
        )
        anonymous = grpc.ssl_channel_credentials(certificate.encode())
        for credentials, is_served in ((mutual, True), (anonymous, False)):
            with grpc.secure_channel(target, credentials) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                request = predict_request("times", x=floats(1))
                if is_served:
                    response = stub.Predict(request, timeout=TIMEOUT)
                    assert response.outputs["y"].float_val == [1.0]
                else:
                    with pytest.raises(grpc.RpcError) as failure:
                        stub.Predict(request, timeout=TIMEOUT)
                    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
