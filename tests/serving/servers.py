"""Starts model servers, and asks them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "serving.server.command"]
START_SECONDS = 120
TIMEOUT = 30


@dataclass
class Address:
    """Where a server listens, and clients of it."""

    grpc: str
    rest: str
    channel: grpc.Channel = field(init=False)
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.grpc)
        self.http = httpx.Client(base_url=f"http://{self.rest}", timeout=TIMEOUT)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def statuses(self, model: str) -> dict[int, tuple[str, int, str]]:
        """State, error code and message of each version."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        state = get_model_status_pb2.ModelVersionStatus.State
        return {
            status.version: (
                state.Name(status.state),
                status.status.error_code,
                status.status.error_message,
            )
            for status in self.models.GetModelStatus(request, timeout=TIMEOUT).model_version_status
        }

    def predict(self, model: str, **inputs: Any) -> predict_pb2.PredictResponse:
        """Calls the default signature of the latest version."""
        return self.prediction.Predict(predict_request(model, **inputs), timeout=TIMEOUT)

    def close(self) -> None:
        self.channel.close()
        self.http.close()


def predict_request(
    model: str, *, signature: str = "", version: int | None = None, **inputs: Any
) -> predict_pb2.PredictRequest:
    """A request with NumPy arrays, or what becomes such, as inputs."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    address: Address
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ends it as an orchestrator would; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=TIMEOUT)


def write_warmup(version: Path, *requests: predict_pb2.PredictRequest) -> None:
    """Puts warm-up requests into a version's directory."""
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            record = prediction_log_pb2.PredictionLog()
            record.predict_log.request.CopyFrom(request)
            writer.write(record.SerializeToString())


def read_log(prefix: Path) -> list[prediction_log_pb2.PredictionLog]:
    """Reads the only request log with a prefix."""
    (path,) = prefix.parent.glob(f"{prefix.name}.*.tfrecord")
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]


@contextlib.contextmanager
def running(
    directory: Path,
    *flags: str,
    command: Sequence[str] = COMMAND,
    ports: Sequence[int] | None = None,
) -> Iterator[Server]:
    """A server with the flags, which answers; its log is in the directory."""
    port, rest_port = ports or free_ports(2)
    log = directory / f"server-{port}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, f"--port={port}", f"--rest_api_port={rest_port}", *flags],
            stderr=file,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    address = Address(f"127.0.0.1:{port}", f"127.0.0.1:{rest_port}")
    server = Server(process, address, log)
    try:
        wait_until(lambda: b"REST API at" in log.read_bytes() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield server
    finally:
        address.close()
        if process.poll() is None:
            server.kill()


def wait_until(condition: Any, seconds: float = START_SECONDS) -> None:
    """Waits until a condition holds.

    Raises:
        AssertionError: it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
