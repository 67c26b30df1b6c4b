"""What TensorFlow Serving answers over gRPC: every case holds for upstream's binary too."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.serving.models import IDENTITY_TYPES
from tests.serving.servers import TIMEOUT, Address, floats, predict_request

NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def predict_text(text: str) -> predict_pb2.PredictRequest:
    return text_format.Parse(text, predict_pb2.PredictRequest())


def refused(call, request, code: grpc.StatusCode, details: str) -> None:
    """Asserts that a call fails, with a code and a text."""
    with pytest.raises(grpc.RpcError) as failure:
        call(request, timeout=TIMEOUT)
    assert (failure.value.code(), failure.value.details()) == (code, details)


def examples(*values: float) -> input_pb2.Input:
    data = input_pb2.Input()
    for value in values:
        data.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return data


# Predict


def test_predict(server: Address) -> None:
    response = server.predict("half_plus_two", x=floats(2, 3, 4))
    assert response == text_format.Parse(
        """
        model_spec {
          name: "half_plus_two" version { value: 123 } signature_name: "serving_default"
        }
        outputs {
          key: "y"
          value {
            dtype: DT_FLOAT tensor_shape { dim { size: 3 } }
            float_val: 3 float_val: 3.5 float_val: 4
          }
        }
        """,
        predict_pb2.PredictResponse(),
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), [1]), ((1,), [1]), ((1, 1), [1, 1]), ((1, 1, 1), [1, 1, 1]), ((0, 1), [0, 1])],
    ids=str,
)
def test_shapes_are_the_models_affair(server: Address, shape, expected) -> None:
    """The signature says [-1, 1], and nobody is held to it."""
    response = server.predict("half_plus_two", x=np.full(shape, 2, np.float32))
    got = response.outputs["y"]
    assert [dim.size for dim in got.tensor_shape.dim] == list(shape)
    assert list(got.float_val) == [3.0] * int(np.prod(shape))


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        ("tensor_shape { dim { size: 3 } } float_val: 2", [3, 3, 3]),
        ("tensor_shape { dim { size: 3 } } float_val: 2 float_val: 4", [3, 4, 4]),
        ("tensor_shape { dim { size: 2 } }", [2, 2]),
        (r'tensor_shape { dim { size: 1 } } tensor_content: "\000\000\000\100"', [3]),
    ],
    ids=["one value fills", "the last value fills", "no value is zero", "content"],
)
def test_forms_of_a_tensor(server: Address, tensor: str, expected: list[float]) -> None:
    request = predict_text(
        'model_spec { name: "half_plus_two" } '
        f'inputs {{ key: "x" value {{ dtype: DT_FLOAT {tensor} }} }}'
    )
    response = server.prediction.Predict(request, timeout=TIMEOUT)
    assert list(response.outputs["y"].float_val) == expected


@pytest.mark.parametrize("dtype", IDENTITY_TYPES)
def test_types(server: Address, dtype: str) -> None:
    values = np.array([0, 1, 100], dtype)
    response = server.predict("half_plus_two", signature=f"identity_{dtype}", x=values)
    output = tf.make_ndarray(response.outputs["y"])
    assert output.dtype == values.dtype
    assert output.tolist() == values.tolist()
    assert not response.outputs["y"].tensor_content


def test_strings(server: Address) -> None:
    words = np.array([b"", b"\xff\x00", "é".encode()], object)
    response = server.predict("half_plus_two", signature="words", words=words)
    assert list(response.outputs["text"].string_val) == words.tolist()
    scalar = server.predict("half_plus_two", signature="words", words=b"\xff").outputs["text"]
    assert (list(scalar.string_val), len(scalar.tensor_shape.dim)) == ([b"\xff"], 0)


def test_version(server: Address) -> None:
    for version in (1, 2):
        response = server.predict("times", version=version, x=floats(3))
        assert list(response.outputs["y"].float_val) == [3.0 * version]
        assert response.model_spec.version.value == version


def test_latest_version(server: Address) -> None:
    assert server.predict("times", x=floats(3)).model_spec.version.value == 2


@pytest.mark.parametrize(("label", "version"), [("stable", 1), ("canary", 2)])
def test_label(server: Address, label: str, version: int) -> None:
    request = predict_request("times", x=floats(3))
    request.model_spec.version_label = label
    response = server.prediction.Predict(request, timeout=TIMEOUT)
    assert response.model_spec.version.value == version


def test_output_filter(server: Address) -> None:
    request = predict_request("half_plus_two", signature="sum", first=floats(3), second=floats(1))
    assert set(server.prediction.Predict(request).outputs) == {"sum", "difference"}
    request.output_filter.append("difference")
    (name,) = server.prediction.Predict(request).outputs
    assert name == "difference"


X = 'inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2 } }'
PREDICT_ERRORS = {
    "no spec": ("", INVALID, "Missing ModelSpec"),
    "no name": ("model_spec { }", INVALID, "ModelSpec has no name specified."),
    "unknown model": (
        'model_spec { name: "nobody" }',
        NOT_FOUND,
        "Servable not found for request: Latest(nobody)",
    ),
    "version of an unknown model": (
        'model_spec { name: "nobody" version { value: 1 } }',
        NOT_FOUND,
        "Servable not found for request: Specific(nobody, 1)",
    ),
    "label of an unknown model": (
        'model_spec { name: "nobody" version_label: "stable" }',
        INVALID,
        "Unrecognized servable version label: stable",
    ),
}
MODEL_ERRORS = {
    "unknown version": (
        'model_spec { name: "half_plus_two" version { value: 50 } }' + X,
        NOT_FOUND,
        "Servable not found for request: Specific(half_plus_two, 50)",
    ),
    "version that the policy leaves out": (
        'model_spec { name: "times" version { value: 3 } }' + X,
        NOT_FOUND,
        "Servable not found for request: Specific(times, 3)",
    ),
    "unknown label": (
        'model_spec { name: "times" version_label: "best" }' + X,
        INVALID,
        "Unrecognized servable version label: best",
    ),
    "unknown signature": (
        'model_spec { name: "half_plus_two" signature_name: "S" }' + X,
        PRECONDITION,
        'Serving signature key "S" not found.',
    ),
    "no inputs": (
        'model_spec { name: "half_plus_two" }',
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
        "Missing but required: {x}.",
    ),
    "too many inputs": (
        'model_spec { name: "half_plus_two" }' + X + X.replace('"x"', '"z"'),
        INVALID,
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
        "Missing but required: {}.",
    ),
    "type": (
        'model_spec { name: "half_plus_two" } '
        + X.replace("DT_FLOAT", "DT_DOUBLE").replace("float_val", "double_val"),
        INVALID,
        "Expects arg[0] to be float but double is provided",
    ),
    "string for a number": (
        'model_spec { name: "half_plus_two" } '
        + X.replace("DT_FLOAT", "DT_STRING").replace("float_val: 2", 'string_val: "2"'),
        INVALID,
        "Expects arg[0] to be float but string is provided",
    ),
    "content of another size": (
        'model_spec { name: "half_plus_two" } ' + X.replace("float_val: 2", 'tensor_content: "1"'),
        INVALID,
        "tensor parsing error: x",
    ),
    "negative dimension": (
        'model_spec { name: "half_plus_two" } ' + X.replace("size: 1", "size: -1"),
        INVALID,
        "tensor parsing error: x",
    ),
    "unknown rank": (
        'model_spec { name: "half_plus_two" } '
        + X.replace("dim { size: 1 }", "unknown_rank: true"),
        INVALID,
        "tensor parsing error: x",
    ),
    "no type": (
        'model_spec { name: "half_plus_two" } ' + X.replace("dtype: DT_FLOAT", ""),
        INVALID,
        "tensor parsing error: x",
    ),
    "unknown output": (
        'model_spec { name: "half_plus_two" } output_filter: "q"' + X,
        INVALID,
        "output tensor alias not found in signature: q Outputs expected to be in the set {y}.",
    ),
    "output twice": (
        'model_spec { name: "half_plus_two" } output_filter: "y" output_filter: "y"' + X,
        INVALID,
        "duplicate output tensor alias: y",
    ),
}


@pytest.mark.parametrize("case", PREDICT_ERRORS)
def test_predict_refuses(any_server: Address, case: str) -> None:
    text, code, details = PREDICT_ERRORS[case]
    refused(any_server.prediction.Predict, predict_text(text), code, details)


@pytest.mark.parametrize("case", MODEL_ERRORS)
def test_predict_of_a_model_refuses(server: Address, case: str) -> None:
    text, code, details = MODEL_ERRORS[case]
    refused(server.prediction.Predict, predict_text(text), code, details)


def test_long_texts_are_cut(any_server: Address) -> None:
    whole = "Servable not found for request: Latest(" + "m" * 2000 + ")"
    refused(
        any_server.prediction.Predict,
        predict_request("m" * 2000),
        NOT_FOUND,
        whole[:1024] + "...TRUNCATED",
    )


# Classify, Regress, MultiInference


def test_classify(server: Address) -> None:
    request = classification_pb2.ClassificationRequest(input=examples(2, 4))
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "classify_labels"
    response = server.prediction.Classify(request, timeout=TIMEOUT)
    assert [
        [(c.label, c.score) for c in row.classes] for row in response.result.classifications
    ] == [[("low", 3.0), ("high", 6.0)], [("low", 4.0), ("high", 8.0)]]
    assert response.model_spec.signature_name == "classify_labels"
    assert response.model_spec.version.value == 123


def test_classify_without_labels(server: Address) -> None:
    request = classification_pb2.ClassificationRequest(input=examples(2))
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "classify"
    (row,) = server.prediction.Classify(request, timeout=TIMEOUT).result.classifications
    assert [(c.label, c.score) for c in row.classes] == [("", 3.0)]


def test_regress(server: Address) -> None:
    request = regression_pb2.RegressionRequest(input=examples(2, 4))
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "regress"
    response = server.prediction.Regress(request, timeout=TIMEOUT)
    assert [r.value for r in response.result.regressions] == [3.0, 4.0]
    assert response.model_spec.version.value == 123


def test_context_is_merged_into_each_example(server: Address) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "regress"
    data = request.input.example_list_with_context
    data.context.features.feature["x"].float_list.value.append(6)
    data.examples.add()
    data.examples.add()
    response = server.prediction.Regress(request, timeout=TIMEOUT)
    assert [r.value for r in response.result.regressions] == [5.0, 5.0]


EXAMPLE_ERRORS = {
    "unknown signature": ("S", (2,), "No signature was found with the name: S"),
    "no examples": ("{method}", (), "Input is empty."),
    "two inputs": ("sum", (2,), "Expected one input Tensor."),
}


@pytest.mark.parametrize("case", EXAMPLE_ERRORS)
@pytest.mark.parametrize("method", ["classify", "regress"])
def test_classify_and_regress_refuse(server: Address, case: str, method: str) -> None:
    signature, values, details = EXAMPLE_ERRORS[case]
    request = (
        classification_pb2.ClassificationRequest(input=examples(*values))
        if method == "classify"
        else regression_pb2.RegressionRequest(input=examples(*values))
    )
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = signature.format(method=method)
    call = getattr(server.prediction, method.capitalize())
    refused(call, request, INVALID, details)


def multi(*tasks: tuple[str, str, str]) -> inference_pb2.MultiInferenceRequest:
    request = inference_pb2.MultiInferenceRequest(input=examples(2))
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return request


def test_multi_inference(server: Address) -> None:
    request = multi(
        ("half_plus_two", "regress", "regress"), ("half_plus_two", "classify", "classify")
    )
    regressed, classified = server.prediction.MultiInference(request, timeout=TIMEOUT).results
    assert [r.value for r in regressed.regression_result.regressions] == [3.0]
    (row,) = classified.classification_result.classifications
    assert [c.score for c in row.classes] == [3.0]
    assert regressed.model_spec.signature_name == "regress"
    assert classified.model_spec.version.value == 123


MULTI_ERRORS = {
    "no task": ((), INVALID, "ModelSpec has no name specified."),
    "two models": (
        (("half_plus_two", "regress", "regress"), ("times", "classify", "classify")),
        INVALID,
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "no name": (
        (("half_plus_two", "regress", "regress"), ("", "classify", "classify")),
        INVALID,
        "Found ModelSpec with an empty model name.",
    ),
    "signature twice": (
        (("half_plus_two", "regress", "regress"), ("half_plus_two", "regress", "regress")),
        INVALID,
        "Duplicate evaluation of signature: regress",
    ),
    "unknown signature": (
        (("half_plus_two", "S", "regress"),),
        INVALID,
        "Requested signature not found in model graph: S",
    ),
    "method": (
        (("half_plus_two", "regress", "guess"),),
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/guess",
    ),
}


@pytest.mark.parametrize("case", MULTI_ERRORS)
def test_multi_inference_refuses(server: Address, case: str) -> None:
    tasks, code, details = MULTI_ERRORS[case]
    refused(server.prediction.MultiInference, multi(*tasks), code, details)


# Metadata and status


def metadata_request(model: str, *fields: str) -> get_model_metadata_pb2.GetModelMetadataRequest:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = model
    return request


def test_metadata(server: Address) -> None:
    response = server.prediction.GetModelMetadata(
        metadata_request("half_plus_two", "signature_def"), timeout=TIMEOUT
    )
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.name == "half_plus_two"
    assert response.model_spec.version.value == 123
    assert not response.model_spec.signature_name
    definition = signatures.signature_def["serving_default"]
    assert definition.method_name == "tensorflow/serving/predict"
    assert [dim.size for dim in definition.inputs["x"].tensor_shape.dim] == [-1, 1]
    assert definition.inputs["x"].dtype == tf.float32.as_datatype_enum


def test_metadata_refuses(any_server: Address) -> None:
    call = any_server.prediction.GetModelMetadata
    refused(call, get_model_metadata_pb2.GetModelMetadataRequest(), INVALID, "Missing ModelSpec")
    refused(
        call,
        metadata_request("nobody"),
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    refused(call, metadata_request("nobody", "q"), INVALID, "Metadata field q is not supported")
    refused(
        call,
        metadata_request("nobody", "signature_def"),
        NOT_FOUND,
        "Servable not found for request: Latest(nobody)",
    )


def status_request(text: str) -> get_model_status_pb2.GetModelStatusRequest:
    return text_format.Parse(text, get_model_status_pb2.GetModelStatusRequest())


def test_status(server: Address) -> None:
    response = server.models.GetModelStatus(
        status_request('model_spec { name: "times" }'), timeout=TIMEOUT
    )
    assert response == text_format.Parse(
        """
        model_version_status { version: 2 state: AVAILABLE status { } }
        model_version_status { version: 1 state: AVAILABLE status { } }
        """,
        get_model_status_pb2.GetModelStatusResponse(),
    )


def test_status_of_a_version(server: Address) -> None:
    response = server.models.GetModelStatus(
        status_request('model_spec { name: "times" version { value: 1 } }'), timeout=TIMEOUT
    )
    assert [status.version for status in response.model_version_status] == [1]


def test_status_by_label_is_of_all_versions(server: Address) -> None:
    response = server.models.GetModelStatus(
        status_request('model_spec { name: "times" version_label: "stable" }'), timeout=TIMEOUT
    )
    assert [status.version for status in response.model_version_status] == [2, 1]


STATUS_ERRORS = {
    "no spec": ("", INVALID, "Missing ModelSpec"),
    "unknown model": (
        'model_spec { name: "nobody" }',
        NOT_FOUND,
        "Could not find any versions of model nobody",
    ),
    "version of an unknown model": (
        'model_spec { name: "nobody" version { value: 7 } }',
        NOT_FOUND,
        "Could not find version 7 of model nobody",
    ),
}


@pytest.mark.parametrize("case", STATUS_ERRORS)
def test_status_refuses(any_server: Address, case: str) -> None:
    text, code, details = STATUS_ERRORS[case]
    refused(any_server.models.GetModelStatus, status_request(text), code, details)


RELOAD_ERRORS = {
    "no list": (
        "",
        INVALID,
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
        "ModelConfigList is currently supported",
    ),
    "a name twice": (
        'config { model_config_list { config { name: "m" base_path: "/m" model_platform: '
        '"tensorflow" } config { name: "m" base_path: "/m" model_platform: "tensorflow" } } }',
        INVALID,
        "Illegal to list model m multiple times in config list",
    ),
    "a relative path": (
        'config { model_config_list { config { name: "m" base_path: "m" model_platform: '
        '"tensorflow" } } }',
        INVALID,
        "Expected model m to have an absolute path or URI; got base_path()=m",
    ),
}


@pytest.mark.parametrize("case", RELOAD_ERRORS)
def test_reload_refuses(any_server: Address, case: str) -> None:
    text, code, details = RELOAD_ERRORS[case]
    request = text_format.Parse(text, model_management_pb2.ReloadConfigRequest())
    refused(any_server.models.HandleReloadConfigRequest, request, code, details)


# Around the services


def test_health(any_server: Address) -> None:
    stub = health_pb2_grpc.HealthStub(any_server.channel)
    response = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection(any_server: Address) -> None:
    """Ours alone: upstream's binary has none."""
    database = ProtoReflectionDescriptorDatabase(any_server.channel)
    try:
        services = database.get_services()
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        pytest.skip("the server has no reflection")
    assert "tensorflow.serving.PredictionService" in services
    file = database.FindFileContainingSymbol("tensorflow.serving.ModelService")
    (service,) = file.service
    assert [method.name for method in service.method] == [
        "GetModelStatus",
        "HandleReloadConfigRequest",
    ]


# Ours alone, and harmful to a server that does not hold.


def test_a_declared_giant_is_refused(server: Address, is_ours: None) -> None:
    """40 bytes must not make a server allocate 4 TB."""
    request = predict_request("half_plus_two")
    tensor = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1])
    tensor.tensor_shape.dim.add().size = 1 << 40
    request.inputs["x"].CopyFrom(tensor)
    refused(server.prediction.Predict, request, INVALID, "tensor parsing error: x")


@pytest.mark.parametrize("signature", ["convolution", "pool"])
@pytest.mark.parametrize("rank", [0, 1, 2, 3, 6])
def test_a_rank_that_aborts_onednn(
    server: Address, is_ours: None, signature: str, rank: int
) -> None:
    request = predict_request(
        "half_plus_two", signature=signature, image=np.zeros([1] * rank, np.float32)
    )
    with pytest.raises(grpc.RpcError) as failure:
        server.prediction.Predict(request, timeout=TIMEOUT)
    assert failure.value.code() is INVALID
    response = server.predict(
        "half_plus_two", signature="convolution", image=np.ones((1, 3, 3, 1), np.float32)
    )
    assert list(response.outputs["y"].float_val) == [4, 6, 4, 6, 9, 6, 4, 6, 4]


def test_bytes_that_tensorflow_quotes_in_its_error(server: Address) -> None:
    request = predict_request(
        "half_plus_two", signature="classify_labels", inputs=np.array([b"\xff"], object)
    )
    with pytest.raises(grpc.RpcError, match="Could not parse example input") as failure:
        server.prediction.Predict(request, timeout=TIMEOUT)
    assert failure.value.code() is INVALID
