"""Tensors and JSON, compared with TensorFlow's own conversions and with each other."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server import json_answers, json_requests, tensors
from serving.server.json_requests import Document
from serving.server.status import ServingError

DTYPES = [
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: np_st.arrays(dtype, np_st.array_shapes(min_dims=0, min_side=0, max_side=4))
)


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_tensorflow_reads_what_is_written(array: np.ndarray) -> None:
    for as_content in (False, True):
        proto = tensor_pb2.TensorProto()
        tensors.to_proto(array, proto, as_content=as_content)
        np.testing.assert_array_equal(tf.make_ndarray(proto), array)
        assert tf.make_ndarray(proto).dtype == array.dtype


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_what_tensorflow_writes_is_read(array: np.ndarray) -> None:
    for proto in (tf.make_tensor_proto(array), tf.constant(array).numpy()):
        message = (
            proto if isinstance(proto, tensor_pb2.TensorProto) else tf.make_tensor_proto(proto)
        )
        read = tensors.from_proto(message)
        np.testing.assert_array_equal(read, array)
        assert (read.dtype, read.shape) == (array.dtype, array.shape)


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_a_tensor_or_a_tensor_error(data: bytes) -> None:
    proto = tensor_pb2.TensorProto()
    try:
        proto.ParseFromString(data)
    except Exception:
        return
    try:
        array = tensors.from_proto(proto)
    except tensors.TensorError:
        return
    assert array.nbytes <= tensors.MAX_TENSOR_BYTES


def definition(number: int) -> meta_graph_pb2.SignatureDef:
    result = meta_graph_pb2.SignatureDef()
    result.inputs["x"].dtype = number
    return result


@given(
    np_st.arrays(
        st.sampled_from(["float32", "float64", "int32", "uint8", "int64", "uint64", "bool"]),
        np_st.array_shapes(min_dims=1, max_side=3),
    )
)
@settings(max_examples=300, deadline=None)
def test_json_there_and_back(array: np.ndarray) -> None:
    """What the server writes, it reads as the same bits, by row and by column."""
    for rows, key in ((True, "instances"), (False, "inputs")):
        text = json_answers.write_predict({"x": array}, rows=rows).decode()
        (answer,) = json.loads(text).values()
        document = Document(f'{{"{key}": {json.dumps(answer)}}}'.encode())
        inputs, by_rows = json_requests.read_predict(
            document, definition(tensors.dtype_number(array))
        )
        assert by_rows is rows
        np.testing.assert_array_equal(inputs["x"], array)
        assert inputs["x"].dtype == array.dtype


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "b64", "y"]), children, max_size=2)
    ),
    max_leaves=8,
)


@given(
    values,
    st.sampled_from(["instances", "inputs"]),
    st.sampled_from(
        [
            types_pb2.DT_FLOAT,
            types_pb2.DT_UINT8,
            types_pb2.DT_INT64,
            types_pb2.DT_UINT64,
            types_pb2.DT_BOOL,
            types_pb2.DT_STRING,
            types_pb2.DT_HALF,
        ]
    ),
)
@settings(max_examples=1000, deadline=None)
def test_any_json_is_inputs_or_an_error(value, key: str, number: int) -> None:
    body = json.dumps({key: value}).encode()
    try:
        inputs, _ = json_requests.read_predict(Document(body), definition(number))
    except ServingError:
        return
    assert inputs["x"].dtype == tensors.numpy_dtype(number)


@given(
    values | st.lists(st.lists(st.integers(-1, 256), max_size=3), max_size=3),
    st.sampled_from(["instances", "inputs"]),
    st.sampled_from([types_pb2.DT_FLOAT, types_pb2.DT_UINT8]),
)
@example([[[], [], []], [[], [], {}]], "instances", types_pb2.DT_UINT8)
@settings(max_examples=500, deadline=None)
def test_both_ways_of_reading_numbers_agree(value, key: str, number: int) -> None:
    """A `true` in a key that is not read sends the reader value by value."""
    results = []
    for extra in ({}, {"slowly": True}):
        body = json.dumps({key: value, **extra}).encode()
        try:
            inputs, _ = json_requests.read_predict(Document(body), definition(number))
            results.append((inputs["x"].shape, inputs["x"].tobytes()))
        except ServingError as error:
            results.append(error.message.partition("JSON Value")[0])
    assert results[0] == results[1]


@pytest.mark.parametrize("depth", [30, 65, 500, 100_000])
def test_deep_nesting(depth: int) -> None:
    body = b'{"inputs": ' + b"[" * depth + b"1" + b"]" * depth + b"}"
    try:
        inputs, _ = json_requests.read_predict(Document(body), definition(types_pb2.DT_FLOAT))
    except (ServingError, RecursionError):  # the REST API answers both with 400
        assert depth > 30
        return
    assert inputs["x"].ndim == depth


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1 / 3, "0.33333334"),
        (9e6, "9000000.0"),
        (3e-5, "0.00003"),
        (-0.0, "-0.0"),
        (16777216.0, "16777216.0"),
        (math.inf, "Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_float32_text(value: float, text: str) -> None:
    """As few digits as read back the same."""
    written = json_answers.write_predict({"x": np.float32([value])}, rows=True)
    assert written.replace(b" ", b"") == f'{{"predictions":[{text}]}}'.encode()
