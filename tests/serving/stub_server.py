"""A model of digits without a model, behind tensorflow-serving-api's own gRPC service and REST."""

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

VERSION, LABEL = 7, "stable"
HTTP_CODES = {"NOT_FOUND": 404, "UNAVAILABLE": 503, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500}


class Refusal(Exception):
    """An error that the stub answers with."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


def probabilities_of(value: bytes) -> list[float]:
    """What the stub answers for a picture file, or for the 784 bytes of a digit."""
    row = [0.0625] * 10
    row[sum(value) % 10] = 0.4375  # exact in float32, so that both protocols agree
    return row


@dataclass
class Stub:
    """What the stub has seen, and how it is to behave."""

    seen: list[dict[str, Any]] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    delay: float = 0
    as_fields: bool = False
    status: int = 200
    answer: Any = None

    def predict(self, request: dict[str, Any], values: list[bytes]) -> list[list[float]]:
        self.seen.append(request | {"values": values})
        time.sleep(self.delay)
        if self.failures:
            raise Refusal(self.failures.pop(0), "as told\nin two lines.")
        model, version = request["model"], request["version"]
        if model != "digits":
            raise Refusal("NOT_FOUND", f"Servable not found for request: Latest({model})")
        if version not in (None, VERSION):
            raise Refusal(
                "NOT_FOUND", f"Servable not found for request: Specific(digits, {version})"
            )
        if request["label"] not in (None, LABEL):
            raise Refusal(
                "INVALID_ARGUMENT", f"Unrecognized servable version label: {request['label']}"
            )
        return [probabilities_of(value) for value in values]


class _Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, stub: Stub):
        self._stub = stub

    def Predict(self, request, context):
        stub, spec = self._stub, request.model_spec
        stub.peers.add(context.peer())
        ((name, tensor),) = request.inputs.items()
        array = tf.make_ndarray(tensor)
        values = list(array) if array.dtype == object else [digit.tobytes() for digit in array]
        choice = spec.WhichOneof("version_choice")
        seen = {
            "model": spec.name,
            "version": spec.version.value if choice == "version" else None,
            "label": spec.version_label if choice == "version_label" else None,
            "signature": spec.signature_name,
            "input": name,
            "dtype": tensor.dtype,
            "shape": array.shape,
            "filter": list(request.output_filter),
            "remaining": context.time_remaining(),
        }
        try:
            rows = stub.predict(seen, values)
        except Refusal as refusal:
            context.abort(getattr(grpc.StatusCode, refusal.code), str(refusal))
        answer = tf.make_tensor_proto(
            rows if stub.answer is None else stub.answer, dtype=tf.float32
        )
        if stub.as_fields:  # what TF Serving does by default
            answer.float_val[:] = tf.make_ndarray(answer).ravel().tolist()
            answer.ClearField("tensor_content")
        response = predict_pb2.PredictResponse(model_spec=spec)
        response.outputs["probabilities"].CopyFrom(answer)
        return response


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: Stub

    def do_POST(self):
        stub = self.stub
        stub.peers.add(self.client_address)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, version, models, model, *choice = self.path.removesuffix(":predict").split("/")
        assert (version, models) == ("v1", "models")
        choice = dict(zip(choice[::2], choice[1::2], strict=True))
        columns = "inputs" in body
        if columns:
            ((name, digits),) = body["inputs"].items()
            array = np.array(digits)
            values = [digit.astype(np.uint8).tobytes() for digit in array]
            shape = array.shape
        else:
            ((name,),) = {tuple(row) for row in body["instances"]}
            values = [base64.b64decode(row[name]["b64"]) for row in body["instances"]]
            shape = (len(values),)
        seen = {
            "model": model,
            "version": int(choice["versions"]) if "versions" in choice else None,
            "label": choice.get("labels"),
            "signature": body["signature_name"],
            "input": name,
            "shape": shape,
        }
        try:
            rows = stub.predict(seen, values)
        except Refusal as refusal:
            self._send(HTTP_CODES.get(refusal.code, 400), {"error": str(refusal)})
            return
        if stub.answer is not None:
            self._send(stub.status, stub.answer)
        elif columns:
            labels = [row.index(max(row)) for row in rows]
            self._send(200, {"outputs": {"probabilities": rows, "label": labels}})
        else:
            instances = [{"probabilities": row, "label": row.index(max(row))} for row in rows]
            self._send(200, {"predictions": instances})

    def _send(self, status: int, answer: Any) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    """Cuts its kept-alive connections when it stops, as the end of a process does."""

    def __init__(self, *arguments: Any):
        self.connections: list[socket.socket] = []
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        self.connections.append(request)
        super().process_request(request, client_address)

    def server_close(self):
        super().server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_):
        """Says nothing of callers that hang up."""


@contextlib.contextmanager
def grpc_stub(
    stub: Stub, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> Iterator[int]:
    """Serves gRPC on loopback; yields the port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(4),
        # Else two servers may hold one port.
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 2**26)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Servicer(stub), server)
    address = f"127.0.0.1:{port}"
    port = (
        server.add_secure_port(address, credentials)
        if credentials
        else server.add_insecure_port(address)
    )
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


@contextlib.contextmanager
def rest_stub(stub: Stub, port: int = 0, tls: Any = None) -> Iterator[int]:
    """Serves REST on loopback; yields the port."""
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = _Server(("127.0.0.1", port), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
