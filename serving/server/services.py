"""The methods of TensorFlow Serving's two gRPC services, and their descriptors.

The modules that should hold them, `prediction_service_pb2` and `model_service_pb2`, cannot be
imported under Protobuf 4 or later.
"""

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

PACKAGE = "tensorflow.serving"
PREDICTION_SERVICE = f"{PACKAGE}.PredictionService"
MODEL_SERVICE = f"{PACKAGE}.ModelService"

#: By service: its file, and the messages of its methods.
_SERVICES: dict[str, tuple[str, dict[str, tuple[type[Message], type[Message]]]]] = {
    PREDICTION_SERVICE: (
        "tensorflow_serving/apis/prediction_service.proto",
        {
            "Classify": (
                classification_pb2.ClassificationRequest,
                classification_pb2.ClassificationResponse,
            ),
            "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
            "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
            "MultiInference": (
                inference_pb2.MultiInferenceRequest,
                inference_pb2.MultiInferenceResponse,
            ),
            "GetModelMetadata": (
                get_model_metadata_pb2.GetModelMetadataRequest,
                get_model_metadata_pb2.GetModelMetadataResponse,
            ),
        },
    ),
    MODEL_SERVICE: (
        "tensorflow_serving/apis/model_service.proto",
        {
            "GetModelStatus": (
                get_model_status_pb2.GetModelStatusRequest,
                get_model_status_pb2.GetModelStatusResponse,
            ),
            "HandleReloadConfigRequest": (
                model_management_pb2.ReloadConfigRequest,
                model_management_pb2.ReloadConfigResponse,
            ),
        },
    ),
}


def add_to_server(service: str, servicer: Any, server: grpc.aio.Server) -> None:
    """Lets a server answer a service's methods.

    Bytes that are no message are answered with INTERNAL, as upstream's gRPC does; Python's would
    say UNKNOWN.

    Args:
        service: `PREDICTION_SERVICE` or `MODEL_SERVICE`.
        servicer: has a coroutine of each method's name.
        server: to add it to.
    """
    _, methods = _SERVICES[service]
    handlers = {
        name: _handler(getattr(servicer, name), request, response)
        for name, (request, response) in methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


def _handler(method: Any, request: Any, response: Any) -> grpc.RpcMethodHandler:
    async def handle(data: bytes, context: grpc.aio.ServicerContext) -> Any:
        try:
            message = request.FromString(data)
        except DecodeError as error:
            return await context.abort(grpc.StatusCode.INTERNAL, str(error))
        return await method(message, context)

    return grpc.unary_unary_rpc_method_handler(
        handle, response_serializer=response.SerializeToString
    )


def register_descriptors() -> None:
    """Adds the services to Protobuf's pool, for reflection."""
    for full_name, (path, methods) in _SERVICES.items():
        file = descriptor_pb2.FileDescriptorProto(name=path, package=PACKAGE, syntax="proto3")
        file.options.cc_enable_arenas = True
        service = file.service.add(name=full_name.rpartition(".")[2])
        for name, messages in methods.items():
            request, response = (message.DESCRIPTOR for message in messages)
            if request.file.name not in file.dependency:
                file.dependency.append(request.file.name)
            service.method.add(
                name=name,
                input_type=f".{request.full_name}",
                output_type=f".{response.full_name}",
            )
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
