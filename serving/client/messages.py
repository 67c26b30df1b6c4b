"""The messages of TF Serving, as it has them on the wire, without TensorFlow.

tensorflow-serving-api imports TensorFlow for two messages, `TensorProto` and `StatusProto`. On the
wire only field numbers and types count: those that a client of this model needs are restated here,
under their own names, from tensorflow/core/framework/tensor.proto and tensorflow_serving/apis/.
A pool of their own keeps them apart from TensorFlow's in a process that imports both.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto

#: The full names of the methods, for `grpc.Channel.unary_unary`.
PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
#: Of the enum tensorflow.DataType, which is as an int32 on the wire.
DT_FLOAT, DT_UINT8, DT_STRING = 1, 4, 7
#: Of the enum ModelVersionStatus.State.
AVAILABLE, END = 30, 50


def _field(name: str, number: int, kind: "int | str", *, repeated: bool = False) -> _Field:
    """A field of a scalar type, or of the message type that `kind` names."""
    field = _Field(
        name=name,
        number=number,
        label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
    )
    if isinstance(kind, str):
        field.type = _Field.TYPE_MESSAGE
        field.type_name = kind
    else:
        field.type = _Field.Type.ValueType(kind)
    return field


def _message(
    name: str, *fields: _Field, nested: tuple[descriptor_pb2.DescriptorProto, ...] = ()
) -> descriptor_pb2.DescriptorProto:
    return descriptor_pb2.DescriptorProto(name=name, field=fields, nested_type=nested)


def _tensor_map(name: str) -> descriptor_pb2.DescriptorProto:
    """The entry type that `map<string, TensorProto>` stands for."""
    entry = _message(
        name, _field("key", 1, _Field.TYPE_STRING), _field("value", 2, ".tensorflow.TensorProto")
    )
    entry.options.map_entry = True
    return entry


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="tensor.proto",
            package="tensorflow",
            syntax="proto3",
            message_type=[
                _message(
                    "TensorShapeProto",
                    _field("dim", 2, ".tensorflow.TensorShapeProto.Dim", repeated=True),
                    nested=(_message("Dim", _field("size", 1, _Field.TYPE_INT64)),),
                ),
                _message(
                    "TensorProto",
                    _field("dtype", 1, _Field.TYPE_INT32),
                    _field("tensor_shape", 2, ".tensorflow.TensorShapeProto"),
                    _field("tensor_content", 4, _Field.TYPE_BYTES),
                    _field("float_val", 5, _Field.TYPE_FLOAT, repeated=True),
                    _field("string_val", 8, _Field.TYPE_BYTES, repeated=True),
                ),
            ],
        )
    )
    pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name="predict.proto",
            package="tensorflow.serving",
            syntax="proto3",
            dependency=["tensor.proto", wrappers_pb2.DESCRIPTOR.name],
            message_type=[
                _message(
                    "ModelSpec",
                    _field("name", 1, _Field.TYPE_STRING),
                    _field("version", 2, ".google.protobuf.Int64Value"),
                    _field("signature_name", 3, _Field.TYPE_STRING),
                    _field("version_label", 4, _Field.TYPE_STRING),
                ),
                _message(
                    "PredictRequest",
                    _field("model_spec", 1, ".tensorflow.serving.ModelSpec"),
                    _field(
                        "inputs", 2, ".tensorflow.serving.PredictRequest.InputsEntry", repeated=True
                    ),
                    _field("output_filter", 3, _Field.TYPE_STRING, repeated=True),
                    nested=(_tensor_map("InputsEntry"),),
                ),
                _message(
                    "PredictResponse",
                    _field(
                        "outputs",
                        1,
                        ".tensorflow.serving.PredictResponse.OutputsEntry",
                        repeated=True,
                    ),
                    _field("model_spec", 2, ".tensorflow.serving.ModelSpec"),
                    nested=(_tensor_map("OutputsEntry"),),
                ),
            ],
        )
    )
    pool.Add(_model_service())
    return pool


def _model_service() -> descriptor_pb2.FileDescriptorProto:
    """What is served, and the change of it: get_model_status.proto, model_management.proto, ..."""
    return descriptor_pb2.FileDescriptorProto(
        name="model_service.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["predict.proto"],
        message_type=[
            _message(
                "StatusProto",
                _field("error_code", 1, _Field.TYPE_INT32),
                _field("error_message", 2, _Field.TYPE_STRING),
            ),
            _message(
                "GetModelStatusRequest",
                _field("model_spec", 1, ".tensorflow.serving.ModelSpec"),
            ),
            _message(
                "ModelVersionStatus",
                _field("version", 1, _Field.TYPE_INT64),
                _field("state", 2, _Field.TYPE_INT32),
                _field("status", 3, ".tensorflow.serving.StatusProto"),
            ),
            _message(
                "GetModelStatusResponse",
                _field(
                    "model_version_status",
                    1,
                    ".tensorflow.serving.ModelVersionStatus",
                    repeated=True,
                ),
            ),
            _message(
                "GetModelMetadataRequest",
                _field("model_spec", 1, ".tensorflow.serving.ModelSpec"),
                _field("metadata_field", 2, _Field.TYPE_STRING, repeated=True),
            ),
            # Without the signatures, which are of no use here.
            _message(
                "GetModelMetadataResponse",
                _field("model_spec", 1, ".tensorflow.serving.ModelSpec"),
            ),
            # Bytes look as a message does: a serialised ModelServerConfig, which
            # tensorflow-serving-api has without TensorFlow.
            _message("ReloadConfigRequest", _field("config", 1, _Field.TYPE_BYTES)),
            _message(
                "ReloadConfigResponse",
                _field("status", 1, ".tensorflow.serving.StatusProto"),
            ),
        ],
    )


_POOL = _pool()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


PredictRequest = _class("tensorflow.serving.PredictRequest")
PredictResponse = _class("tensorflow.serving.PredictResponse")
GetModelMetadataRequest = _class("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _class("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest = _class("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _class("tensorflow.serving.GetModelStatusResponse")
ReloadConfigRequest = _class("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = _class("tensorflow.serving.ReloadConfigResponse")
