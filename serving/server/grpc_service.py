"""The gRPC services: prediction, models, health and reflection."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
)

from serving.server import services
from serving.server.inference import Inference
from serving.server.manager import Manager
from serving.server.status import Code, ServingError, invalid

log = logging.getLogger(__name__)

SIGNATURE_DEF = "signature_def"

Context: TypeAlias = grpc.aio.ServicerContext


class PredictionService:
    """`tensorflow.serving.PredictionService`."""

    def __init__(self, inference: Inference):
        self._inference = inference

    async def Predict(self, request: Any, context: Context) -> Any:
        return await self._answer("Predict", self._inference.predict, request, context)

    async def Classify(self, request: Any, context: Context) -> Any:
        return await self._answer("Classify", self._inference.classify, request, context)

    async def Regress(self, request: Any, context: Context) -> Any:
        return await self._answer("Regress", self._inference.regress, request, context)

    async def MultiInference(self, request: Any, context: Context) -> Any:
        return await self._answer(
            "MultiInference", self._inference.multi_inference, request, context
        )

    async def GetModelMetadata(self, request: Any, context: Context) -> Any:
        try:
            return model_metadata(self._inference.manager, request)
        except ServingError as error:
            return await context.abort(error.code.grpc, error.details)

    async def _answer(
        self,
        api: str,
        method: Callable[..., Awaitable[Any]],
        request: Any,
        context: Context,
    ) -> Any:
        start = time.perf_counter()
        remaining = context.time_remaining()
        deadline = float("inf") if remaining is None else time.monotonic() + remaining
        code, failure = Code.OK, None
        try:
            response = await method(request, deadline=deadline)
        except ServingError as error:
            code, failure = error.code, error
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        except Exception as error:
            log.exception("%s failed", api)
            code = Code.INTERNAL
            failure = ServingError(code, f"internal error: {type(error).__name__}")
        finally:
            tasks = [request] if api != "MultiInference" else request.tasks
            model = tasks[0].model_spec.name if tasks else ""
            self._inference.manager.metrics.record_request(
                model, api, "GRPC", code, time.perf_counter() - start
            )
        if failure is not None:
            await context.abort(failure.code.grpc, failure.details)
        return response


class ModelService:
    """`tensorflow.serving.ModelService`."""

    def __init__(self, manager: Manager):
        self._manager = manager

    async def GetModelStatus(self, request: Any, context: Context) -> Any:
        try:
            return model_status(self._manager, request)
        except ServingError as error:
            return await context.abort(error.code.grpc, error.details)

    async def HandleReloadConfigRequest(self, request: Any, context: Context) -> Any:
        metrics = self._manager.metrics
        before = metrics.totals()
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                    "ModelConfigList is currently supported"
                )
            await self._manager.apply(request.config)
        except ServingError as error:
            return await context.abort(error.code.grpc, error.details)
        response = model_management_pb2.ReloadConfigResponse()
        after = metrics.totals()
        for name in request.metric_names:
            response.metric.add(
                name=name, int64_value_increase=after.get(name, 0) - before.get(name, 0)
            )
        response.status.error_code = 0
        return response


def model_status(
    manager: Manager, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """Answers GetModelStatus.

    Raises:
        ServingError: there is no such version.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return get_model_status_pb2.GetModelStatusResponse(
        model_version_status=manager.statuses(request.model_spec)
    )


def model_metadata(
    manager: Manager, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answers GetModelMetadata: the signatures.

    Raises:
        ServingError: the version is not served, or other metadata is asked for.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != SIGNATURE_DEF:
            raise invalid(f"Metadata field {name} is not supported")
    version = manager.version_of(request.model_spec)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in version.servable.signatures.items():
        signatures.signature_def[name].CopyFrom(definition)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = version.model
    response.model_spec.version.value = version.number
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


class GrpcServer:
    """All services on one or more addresses."""

    def __init__(
        self,
        inference: Inference,
        addresses: Sequence[str],
        *,
        credentials: grpc.ServerCredentials | None = None,
        max_message_bytes: int,
        options: Sequence[tuple[str, str | int]] = (),
    ):
        """Binds the addresses.

        Args:
            inference: what answers.
            addresses: `host:port` or `unix:path`; port 0 takes a free one.
            credentials: of TLS; None for plain text.
            max_message_bytes: of a request or an answer.
            options: gRPC channel arguments.

        Raises:
            RuntimeError: an address is in use, or the credentials are no pair.
        """
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.so_reuseport", 0),
                *options,
            ]
        )
        services.add_to_server(
            services.PREDICTION_SERVICE, PredictionService(inference), self._server
        )
        services.add_to_server(
            services.MODEL_SERVICE, ModelService(inference.manager), self._server
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services.register_descriptors()
        names = [services.PREDICTION_SERVICE, services.MODEL_SERVICE]
        reflection.enable_server_reflection(
            [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        # Upstream's health service knows the short names.
        self._health_names = ["", *names, "PredictionService", "ModelService"]
        self.ports = [
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
            for address in addresses
        ]

    async def start(self) -> None:
        """Starts answering."""
        await self._server.start()
        for name in self._health_names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float) -> None:
        """Refuses new requests, and waits up to `grace` seconds for the others."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
