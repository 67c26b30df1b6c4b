"""Descriptors of TensorFlow Serving's two services, for gRPC reflection.

The modules that should hold them, `prediction_service_pb2` and `model_service_pb2`, cannot be
imported under Protobuf 4 or later.
"""

from google.protobuf import descriptor_pb2, descriptor_pool

_PACKAGE = "tensorflow.serving"
_DIRECTORY = "tensorflow_serving/apis"

#: By service: its methods, each with the file of its messages and their names.
_SERVICES = {
    "PredictionService": {
        "Classify": ("classification", "ClassificationRequest", "ClassificationResponse"),
        "Regress": ("regression", "RegressionRequest", "RegressionResponse"),
        "Predict": ("predict", "PredictRequest", "PredictResponse"),
        "MultiInference": ("inference", "MultiInferenceRequest", "MultiInferenceResponse"),
        "GetModelMetadata": (
            "get_model_metadata",
            "GetModelMetadataRequest",
            "GetModelMetadataResponse",
        ),
    },
    "ModelService": {
        "GetModelStatus": ("get_model_status", "GetModelStatusRequest", "GetModelStatusResponse"),
        "HandleReloadConfigRequest": (
            "model_management",
            "ReloadConfigRequest",
            "ReloadConfigResponse",
        ),
    },
}


def register() -> list[str]:
    """Adds the services to Protobuf's pool; returns their full names.

    The files of their messages must have been imported.
    """
    names = []
    for service, methods in _SERVICES.items():
        stem = "prediction_service" if service == "PredictionService" else "model_service"
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{_DIRECTORY}/{stem}.proto", package=_PACKAGE, syntax="proto3"
        )
        file.options.cc_enable_arenas = True
        entry = file.service.add(name=service)
        for method, (messages, request, response) in methods.items():
            file.dependency.append(f"{_DIRECTORY}/{messages}.proto")
            entry.method.add(
                name=method,
                input_type=f".{_PACKAGE}.{request}",
                output_type=f".{_PACKAGE}.{response}",
            )
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
        names.append(f"{_PACKAGE}.{service}")
    return names
