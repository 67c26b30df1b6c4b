"""That the client speaks TF Serving's messages, and starts light."""

import subprocess
import sys
from typing import ClassVar

import pytest
from google.protobuf.descriptor import FieldDescriptor
from PIL import Image
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import messages

#: None of these may a client import; the extra `client` installs none.
HEAVY = {"keras", "numpy", "pandas", "rich", "scipy", "tensorflow", "tensorflow_serving", "tfx"}


def assert_same_fields(ours, real, compared: set[str]) -> None:
    """Every field that our descriptor has is as in the real one, and so down to the leaves."""
    assert ours.full_name == real.full_name
    if ours.full_name in compared:
        return
    compared.add(ours.full_name)
    for field in ours.fields:
        other = real.fields_by_name[field.name]
        kind = FieldDescriptor.TYPE_INT32 if other.type == FieldDescriptor.TYPE_ENUM else other.type
        assert (field.number, field.type) == (other.number, kind), field.full_name
        assert field.is_repeated == other.is_repeated, field.full_name
        if field.message_type:
            assert_same_fields(field.message_type, other.message_type, compared)


@pytest.mark.parametrize("name", ["PredictRequest", "PredictResponse"])
def test_the_messages_are_tf_servings(name):
    compared: set[str] = set()
    ours, real = getattr(messages, name), getattr(predict_pb2, name)
    assert_same_fields(ours.DESCRIPTOR, real.DESCRIPTOR, compared)
    assert "tensorflow.TensorProto" in compared
    assert ours.DESCRIPTOR.file.pool is not real.DESCRIPTOR.file.pool


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (get_model_status_pb2, "GetModelStatusRequest"),
        (get_model_status_pb2, "GetModelStatusResponse"),
        (get_model_metadata_pb2, "GetModelMetadataRequest"),
        (get_model_metadata_pb2, "GetModelMetadataResponse"),
        (model_management_pb2, "ReloadConfigResponse"),
    ],
)
def test_the_messages_of_the_model_service_are_tf_servings(file, name):
    assert_same_fields(getattr(messages, name).DESCRIPTOR, getattr(file, name).DESCRIPTOR, set())


def test_a_configuration_is_on_the_wire_as_tf_serving_has_it():
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="digits").version_labels["stable"] = 7
    ours = messages.ReloadConfigRequest(config=request.config.SerializeToString())
    assert ours.SerializeToString() == request.SerializeToString()


def test_the_states_are_tf_servings():
    state = get_model_status_pb2.ModelVersionStatus.State
    assert (messages.AVAILABLE, messages.END) == (state.AVAILABLE, state.END)


def test_the_methods_are_tf_servings():
    class Recorder:
        methods: ClassVar[dict] = {}

        def unary_unary(self, method, request_serializer, response_deserializer):
            self.methods[method] = (request_serializer, response_deserializer)

    prediction_service_pb2_grpc.PredictionServiceStub(Recorder())
    model_service_pb2_grpc.ModelServiceStub(Recorder())
    for method, request, answer in (
        (messages.PREDICT, predict_pb2.PredictRequest, predict_pb2.PredictResponse),
        (
            messages.GET_MODEL_METADATA,
            get_model_metadata_pb2.GetModelMetadataRequest,
            get_model_metadata_pb2.GetModelMetadataResponse,
        ),
        (
            messages.GET_MODEL_STATUS,
            get_model_status_pb2.GetModelStatusRequest,
            get_model_status_pb2.GetModelStatusResponse,
        ),
        (
            messages.RELOAD_CONFIG,
            model_management_pb2.ReloadConfigRequest,
            model_management_pb2.ReloadConfigResponse,
        ),
    ):
        assert Recorder.methods[method] == (request.SerializeToString, answer.FromString)


def test_the_data_types_are_tensorflows():
    from tensorflow.core.framework import types_pb2

    for name in ("DT_FLOAT", "DT_UINT8", "DT_STRING"):
        assert getattr(messages, name) == types_pb2.DataType.Value(name)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("protocol", "heavy"),
    # httpx imports rich, for a command line of its own, where it finds it.
    [("grpc", HEAVY), ("http", HEAVY - {"rich"})],
)
def test_nothing_heavy_is_imported(protocol, heavy, tmp_path):
    picture = tmp_path / "black.png"
    Image.new("L", (28, 28)).save(picture)
    library = f"serving.client.Client('{protocol}://127.0.0.1:1').close()"
    command = f"main(['predict', '--server', '{protocol}://127.0.0.1:1', '{picture}'])"
    for code in (f"import serving.client; {library}", f"from pipeline.cli import main; {command}"):
        names = run(f"{code}\nimport sys; print(*sys.modules)").split()
        assert "serving.client.client" in names
        assert not heavy & {name.split(".")[0] for name in names}


def test_an_array_needs_numpy_and_no_tensorflow():
    code = (
        "import numpy, sys, serving.client as c\n"
        "try: c.Client('grpc://127.0.0.1:1', retries=0).classify(numpy.zeros((28, 28), 'uint8'))\n"
        "except c.ServerError as error: print(error.code)\n"
        "print('tensorflow' in sys.modules)"
    )
    assert run(code).split() == ["UNAVAILABLE", "False"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_it_starts_in_less_than_half_a_second(protocol):
    """Processor time, which other processes do not lengthen; the least of some disturbs least."""
    code = (
        "import serving.client; "
        f"serving.client.Client('{protocol}://127.0.0.1:1'); "
        "import time; print(time.process_time())"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.5
