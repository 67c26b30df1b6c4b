"""Predict over gRPC."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from serving.client import messages, retry
from serving.client.answers import DIGITS, checked
from serving.client.endpoint import MAX_ANSWER_BYTES, Endpoint
from serving.client.inputs import PIXELS, Batch
from serving.errors import ServerError

#: What a request has beside the pictures.
_ENVELOPE_BYTES = 64 * 1024


class GrpcTransport:
    """Asks over one channel, which reconnects by itself; for any number of threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = open_channel(grpc, endpoint)
        self._predict = _method(self._channel)

    def predict(self, batch: Batch) -> list[list[float]]:
        try:
            answer = self._predict(_request(self._endpoint, batch), timeout=self._endpoint.timeout)
        except grpc.RpcError as error:
            raise server_error(self._endpoint, error) from error
        return checked(self._endpoint, batch, _probabilities(answer.outputs["probabilities"]))

    def close(self) -> None:
        self._channel.close()


class AsyncGrpcTransport:
    """Asks over one channel, which reconnects by itself; for the event loop that it is made in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = open_channel(grpc.aio, endpoint)
        self._predict = _method(self._channel)

    async def predict(self, batch: Batch) -> list[list[float]]:
        request = _request(self._endpoint, batch)
        try:
            answer = await self._predict(request, timeout=self._endpoint.timeout)
        except grpc.RpcError as error:
            raise server_error(self._endpoint, error) from error
        return checked(self._endpoint, batch, _probabilities(answer.outputs["probabilities"]))

    async def close(self) -> None:
        await self._channel.close()


def open_channel(package: Any, endpoint: Endpoint) -> Any:
    """Opens a channel of the package, grpc or grpc.aio; `Predict` is tried again on it."""
    service_config: dict[str, Any] = {}
    if endpoint.retries:
        service_config["methodConfig"] = [
            {
                "name": [{"service": messages.PREDICT.split("/")[1]}],
                "retryPolicy": retry.grpc_policy(endpoint.retries),
            }
        ]
    if endpoint.round_robin:
        service_config["loadBalancingConfig"] = [{"round_robin": {}}]
    sent = endpoint.max_message_bytes + _ENVELOPE_BYTES
    options = [
        ("grpc.service_config", json.dumps(service_config)),
        ("grpc.max_send_message_length", sent),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        # A request that this does not hold is sent once only; gRPC's default is 256 KiB.
        ("grpc.per_rpc_retry_buffer_size", 2 * sent),
        # Else a retry may come while the channel still waits before it connects again.
        ("grpc.initial_reconnect_backoff_ms", int(retry.INITIAL * 1000)),
        ("grpc.max_reconnect_backoff_ms", int(retry.MAXIMUM * 1000)),
    ]
    if not endpoint.is_secure:
        return package.insecure_channel(endpoint.grpc_target, options)
    tls = endpoint.tls.grpc_credentials() if endpoint.tls else grpc.ssl_channel_credentials()
    return package.secure_channel(endpoint.grpc_target, tls, options)


def _method(channel: Any) -> Any:
    return channel.unary_unary(
        messages.PREDICT,
        request_serializer=messages.PredictRequest.SerializeToString,
        response_deserializer=messages.PredictResponse.FromString,
    )


def _request(endpoint: Endpoint, batch: Batch) -> Any:
    request = messages.PredictRequest(output_filter=["probabilities"])
    spec = request.model_spec
    spec.name = endpoint.model
    spec.signature_name = batch.signature.name
    if endpoint.version is not None:
        spec.version.value = endpoint.version
    if endpoint.label is not None:
        spec.version_label = endpoint.label
    tensor = request.inputs[batch.signature.input]
    shape: Sequence[int] = [len(batch.values)]
    if batch.signature == PIXELS:
        tensor.dtype = messages.DT_UINT8
        tensor.tensor_content = b"".join(batch.values)
        shape = [len(batch.values), 28, 28]
    else:
        tensor.dtype = messages.DT_STRING
        tensor.string_val.extend(batch.values)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return request


def _probabilities(tensor: Any) -> list[list[float]]:
    """Reads a float32 [n, 10], in either of TensorProto's two forms; anything else is empty."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype != messages.DT_FLOAT or shape[1:] != [DIGITS]:
        return []
    count = len(tensor.tensor_content) // 4
    floats = struct.unpack_from(f"<{count}f", tensor.tensor_content) or tuple(tensor.float_val)
    return [list(floats[start : start + DIGITS]) for start in range(0, len(floats), DIGITS)]


def server_error(endpoint: Endpoint, error: grpc.RpcError) -> ServerError:
    """Returns our error for one of gRPC's."""
    # Every RpcError of a unary call, sync or not, is a grpc.Call too.
    return ServerError(endpoint.address, error.code().name, error.details() or "no details")
