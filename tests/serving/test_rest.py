"""What TensorFlow Serving answers over REST: every case holds for upstream's binary too."""

import base64
import gzip
import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving.servers import Address

MODEL = "/v1/models/half_plus_two"


def ask(address: Address, path: str, body: Any = None) -> httpx.Response:
    """GETs a path, or POSTs text, bytes or a value as JSON to it."""
    if body is None:
        return address.http.get(path)
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return address.http.post(path, content=content)


def error_of(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["error"]
    return answer["error"]


# Predict

PREDICT = {
    "rows": ("", {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
    "columns": ("", {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
    "named rows": ("", {"instances": [{"x": 2}, {"x": 4}]}, {"predictions": [3.0, 4.0]}),
    "named columns": ("", {"inputs": {"x": [[2], [4]]}}, {"outputs": [[3.0], [4.0]]}),
    "a scalar": ("", {"inputs": 2}, {"outputs": 3.0}),
    "nested rows": ("", {"instances": [[[2]], [[4]]]}, {"predictions": [[[3.0]], [[4.0]]]}),
    "several outputs, rows": (
        "sum",
        {"instances": [{"first": 3, "second": 1}, {"first": 1, "second": 1}]},
        {"predictions": [{"sum": 4.0, "difference": 2.0}, {"sum": 2.0, "difference": 0.0}]},
    ),
    "several outputs, columns": (
        "sum",
        {"inputs": {"first": [3, 1], "second": [1, 1]}},
        {"outputs": {"sum": [4.0, 2.0], "difference": [2.0, 0.0]}},
    ),
    "int64": (
        "identity_int64",
        {"instances": [-(1 << 63), 0, (1 << 63) - 1]},
        {"predictions": [-(1 << 63), 0, (1 << 63) - 1]},
    ),
    "uint64": (
        "identity_uint64",
        {"instances": [0, (1 << 64) - 1]},
        {"predictions": [0, (1 << 64) - 1]},
    ),
    "uint8 wraps": (
        "identity_uint8",
        {"instances": [255, 256, -1]},
        {"predictions": [255, 0, 255]},
    ),
    "bool": ("identity_bool", {"instances": [True, False]}, {"predictions": [True, False]}),
    "double": (
        "identity_float64",
        {"instances": [0.1, 1e300, 123456789.125]},
        {"predictions": [0.1, 1e300, 123456789.125]},
    ),
    "unknown keys": ("", {"instances": [2], "comment": {}}, {"predictions": [3.0]}),
}


@pytest.mark.parametrize("case", PREDICT)
def test_predict(server: Address, case: str) -> None:
    signature, body, answer = PREDICT[case]
    if signature:
        body = {"signature_name": signature, **body}
    response = ask(server, f"{MODEL}:predict", body)
    assert (response.status_code, response.json()) == (200, answer)
    assert response.headers["content-type"] == "application/json"


def test_only_names_that_say_so_are_base64(server: Address) -> None:
    body = {"signature_name": "words", "inputs": ["é", {"b64": "/w"}]}
    response = ask(server, f"{MODEL}:predict", body)
    assert '"é"' in response.content.decode("utf-8", "replace")
    assert b"\xff" in response.content  # bytes that are no text come back as they are
    answer = json.loads(response.content.decode("latin-1"))
    coded = [base64.b64decode(item["b64"]) for item in answer["outputs"]["text_bytes"]]
    assert coded == ["é".encode(), b"\xff"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2", "3.0"),
        ("-1.8", "1.1"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("1e30", "5e+29"),
        ("0.66666666", "2.33333325"),
        ("1999996", "1e+06"),
    ],
)
def test_floats_are_short_and_stay_floats(server: Address, value: str, expected: str) -> None:
    response = ask(server, f"{MODEL}:predict", f'{{"instances": [{value}]}}')
    answer = json.loads(response.text, parse_float=str, parse_constant=str)
    (text,) = answer["predictions"]
    assert isinstance(text, str)  # it was no integer
    assert len(text.replace(".", "").partition("e")[0]) <= 9
    np.testing.assert_array_equal(np.float32(text), np.float32(expected))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/times/versions/2:predict",
        "/v1/models/times/labels/canary:predict",
        "/v1/models/times:predict",
        "/v1/models/%74imes:predict",
        "/V1/MODELS/times:PREDICT",
        "/v1/models/times:predict?of=no&use",
    ],
)
def test_paths(server: Address, path: str) -> None:
    assert ask(server, path, {"instances": [3]}).json() == {"predictions": [6.0]}


def test_what_follows_the_object_is_not_read(server: Address) -> None:
    assert ask(server, f"{MODEL}:predict", '{"instances": [2]} and so on').json() == {
        "predictions": [3.0]
    }


def test_gzip(server: Address) -> None:
    body = gzip.compress(b'{"instances": [2]}')
    headers = {"content-encoding": "gzip"}
    response = server.http.post(f"{MODEL}:predict", content=body, headers=headers)
    assert response.json() == {"predictions": [3.0]}
    damaged = server.http.post(f"{MODEL}:predict", content=body[:-9], headers=headers)
    assert damaged.status_code == 400
    assert error_of(damaged) == "JSON Parse error: The document is empty"


ERRORS = {
    "empty": ("predict", b"", 400, "JSON Parse error: The document is empty"),
    "no JSON": ("predict", "hello", 400, "JSON Parse error: Invalid value. at offset: 0"),
    "half": (
        "predict",
        '{"instances"',
        400,
        "JSON Parse error: Missing a colon after a name of object member. at offset: 12",
    ),
    "no object": ("predict", "[1]", 400, "JSON Value: [1] Is not object"),
    "no inputs": ("predict", "{}", 400, "Missing 'inputs' or 'instances' key"),
    "unknown signature": (
        "predict",
        {"signature_name": "S", "instances": [2]},
        400,
        'Serving signature name: "S" not found in signature def',
    ),
    "no such input": (
        "predict",
        {"instances": [{"z": 2}]},
        400,
        "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON "
        "object: does not have named input: z",
    ),
    "missing input": (
        "predict",
        {"signature_name": "sum", "inputs": {"first": [1]}},
        400,
        "Missing named input: second in 'inputs' object.",
    ),
    "plain rows for two inputs": (
        "predict",
        {"signature_name": "sum", "instances": [1]},
        400,
        "instances is a plain list, but expecting list of objects as multiple input tensors "
        "required as per tensorinfo_map",
    ),
    "plain column for two inputs": (
        "predict",
        {"signature_name": "sum", "inputs": [1]},
        400,
        "inputs is a plain value/list, but expecting an object as multiple input tensors required "
        "as per tensorinfo_map",
    ),
    "rows and an object": (
        "predict",
        {"instances": [2, {"x": 2}]},
        400,
        "Expecting value/list but got object at item 1 of input list",
    ),
    "objects and a row": (
        "predict",
        {"instances": [{"x": 2}, 2]},
        400,
        "Expecting object but got list at item 1 of input list",
    ),
    "type": (
        "predict",
        {"inputs": ["2"]},
        400,
        'JSON Value: "2" Type: String is not of expected type: float',
    ),
    "bool is no number": (
        "predict",
        {"inputs": [1, True]},
        400,
        "JSON Value: true Type: True is not of expected type: float",
    ),
    "null": (
        "predict",
        {"inputs": [None]},
        400,
        "JSON Value: null Type: Null is not of expected type: float",
    ),
    "float for an integer": (
        "predict",
        {"signature_name": "identity_int32", "inputs": [1.5]},
        400,
        "JSON Value: 1.5 Type: Number is not of expected type: int32",
    ),
    "integer out of range": (
        "predict",
        {"signature_name": "identity_int32", "inputs": [2147483648]},
        400,
        "JSON Value: 2147483648 Type: Number is not of expected type: int32",
    ),
    "ragged": (
        "predict",
        {"inputs": [[1, 2], [3]]},
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "mixed levels": (
        "predict",
        {"inputs": [1, [2]]},
        400,
        "Encountered list at unexpected level: 1 expected < 1",
    ),
    "rows of different sizes": (
        "predict",
        {"instances": [[1, 2], [3]]},
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting "
        "tensor size: 2 but got: 1",
    ),
    "rows of different shapes": (
        "predict",
        {"instances": [[1], [[3]]]},
        400,
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting "
        "shape [1] but got: [1,1]",
    ),
    "a name that is no text": (
        "predict",
        b'{"signature_name": "\xff", "instances": [1]}',
        400,
        "JSON Parse error: Invalid encoding in string.",
    ),
    "base64": (
        "predict",
        {"signature_name": "words", "inputs": [{"b64": "?"}]},
        400,
        "Unable to base64 decode",
    ),
    "an output without rows": (
        "predict",
        {"signature_name": "constant", "instances": [1]},
        400,
        "Tensor name: one has no shape information ",
    ),
    "unknown label": (
        "labels/best:predict",
        {"instances": [1]},
        400,
        "Unrecognized servable version label: best",
    ),
    "unknown version": (
        "versions/50:predict",
        {"instances": [1]},
        404,
        "Servable not found for request: Specific(half_plus_two, 50)",
    ),
    "version that is no int64": (
        "versions/99999999999999999999:predict",
        {"instances": [1]},
        400,
        "Failed to convert version: 99999999999999999999 to numeric.",
    ),
    "classify without the signature": (
        "classify",
        {"signature_name": "S", "examples": [{"x": 2.0}]},
        400,
        "No signature was found with the name: S",
    ),
    "an example that is none": (
        "regress",
        {"signature_name": "regress", "examples": [2.0]},
        400,
        "Example must be JSON object but got JSON Number",
    ),
    "a feature of two types": (
        "regress",
        {"signature_name": "regress", "examples": [{"x": [2.0, "2"]}]},
        400,
        "Unexpected element type in feature: x expecting type: float",
    ),
    "a feature that is null": (
        "regress",
        {"signature_name": "regress", "examples": [{"x": None}]},
        400,
        "Feature: x has element with unexpected JSON type: Null",
    ),
}
#: The value comes first in these, and how it is laid out is nobody's affair.
ENDINGS = {
    "both keys": (
        "predict",
        {"inputs": [2], "instances": [2]},
        "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    "instances are no list": (
        "predict",
        {"instances": 2},
        "Expecting 'instances' to be an list/array",
    ),
    "no instance": ("predict", {"instances": []}, "No values in 'instances' array"),
    "signature name": (
        "predict",
        {"signature_name": 1, "instances": [2]},
        "not formatted correctly. 'signature_name' key must be a string value.",
    ),
    "missing keys": (
        "predict",
        {"signature_name": "sum", "instances": [{"first": 1}]},
        "keys must be equal to: first,second",
    ),
    "no base64": (
        "predict",
        {"signature_name": "words", "inputs": [{"b64": 1}]},
        "not formatted correctly for base64 data",
    ),
    "no examples": (
        "classify",
        {"signature_name": "classify"},
        "When method is classify, key 'examples' is expected and was not found",
    ),
    "examples are no list": (
        "classify",
        {"signature_name": "classify", "examples": {}},
        "Expecting 'examples' value to be an list/array",
    ),
    "empty examples": (
        "classify",
        {"signature_name": "classify", "examples": []},
        "'examples' value is an empty array",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_refuses(server: Address, case: str) -> None:
    method, body, status, message = ERRORS[case]
    path = f"{MODEL}/{method}" if ":" in method else f"{MODEL}:{method}"
    response = ask(server, path, body)
    assert (response.status_code, error_of(response)) == (status, message)


@pytest.mark.parametrize("case", ENDINGS)
def test_refuses_showing_the_value(server: Address, case: str) -> None:
    method, body, ending = ENDINGS[case]
    response = ask(server, f"{MODEL}:{method}", body)
    message = error_of(response)
    assert response.status_code == 400
    assert message.endswith(ending)
    assert message.startswith(("JSON Value: {", "Failed to process element: 0"))


# Classify and regress


def test_classify(server: Address) -> None:
    body = {"signature_name": "classify_labels", "examples": [{"x": 2.0}, {"x": [4.0]}]}
    assert ask(server, f"{MODEL}:classify", body).json() == {
        "results": [[["low", 3.0], ["high", 6.0]], [["low", 4.0], ["high", 8.0]]]
    }


def test_regress(server: Address) -> None:
    body = {"signature_name": "regress", "context": {"x": 6.0}, "examples": [{}, {"x": 2.0}]}
    assert ask(server, f"{MODEL}:regress", body).json() == {"results": [5.0, 3.0]}


# Status and metadata


def test_status(server: Address) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    versions = [
        {"version": "2", "state": "AVAILABLE", "status": ok},
        {"version": "1", "state": "AVAILABLE", "status": ok},
    ]
    for path, numbers in (("", "21"), ("/versions/1", "1"), ("/labels/stable", "21")):
        assert ask(server, f"/v1/models/times{path}").json() == {
            "model_version_status": [v for v in versions if v["version"] in numbers]
        }


def test_metadata(server: Address) -> None:
    info = {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }
    for path in ("", "/versions/2", "/labels/canary"):
        answer = ask(server, f"/v1/models/times{path}/metadata").json()
        assert answer["model_spec"] == {"name": "times", "signature_name": "", "version": "2"}
        (definition,) = answer["metadata"]["signature_def"]["signature_def"].values()
        assert definition["method_name"] == "tensorflow/serving/predict"
        assert definition["inputs"] == {"x": {**info, "name": "x:0"}}


GETS = {
    "unknown model": ("/v1/models/nobody", 404, "Could not find any versions of model nobody"),
    "unknown version": (
        "/v1/models/nobody/versions/7",
        404,
        "Could not find version 7 of model nobody",
    ),
    "unknown model's metadata": (
        "/v1/models/nobody/metadata",
        404,
        "Servable not found for request: Latest(nobody)",
    ),
    "no model": ("/v1/models", 400, "Missing model name in request."),
    "malformed": ("/v1/foo", 400, "Malformed request: GET /v1/foo"),
    "malformed method": (
        "/v1/models/m:predict",
        400,
        "Malformed request: GET /v1/models/m:predict",
    ),
}


@pytest.mark.parametrize("case", GETS)
def test_get_refuses(any_server: Address, case: str) -> None:
    path, status, message = GETS[case]
    response = ask(any_server, path)
    assert (response.status_code, error_of(response)) == (status, message)


def test_post_refuses(any_server: Address) -> None:
    response = ask(any_server, "/v1/models/nobody:predict", {"instances": [1]})
    assert response.status_code == 404
    assert error_of(response) == "Servable not found for request: Latest(nobody)"
    response = ask(any_server, "/v1/models/nobody", {"instances": [1]})
    assert response.status_code == 400
    assert error_of(response) == "Malformed request: POST /v1/models/nobody"


def test_other_paths(any_server: Address) -> None:
    response = ask(any_server, "/index.html")
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")
    assert "404 Not Found" in response.text


def test_metrics(server: Address) -> None:
    def value_of(status: str, model: str) -> int:
        page = ask(server, "/monitoring/prometheus/metrics").text
        assert "# TYPE :tensorflow:serving:request_count counter" in page
        start = f':tensorflow:serving:request_count{{model_name="{model}",status="{status}"}} '
        return sum(int(line.removeprefix(start)) for line in page.split("\n") if start in line)

    before = value_of("OK", "times"), value_of("INVALID_ARGUMENT", "times")
    ask(server, "/v1/models/times:predict", {"instances": [3]})
    ask(server, "/v1/models/times:predict", {"instances": []})
    server.predict("times", x=[3.0])
    after = value_of("OK", "times"), value_of("INVALID_ARGUMENT", "times")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)
    page = ask(server, "/monitoring/prometheus/metrics").text
    for entrypoint, api in (("GRPC", "Predict"), ("REST", "predict")):
        labels = f'model_name="times",API="{api}",entrypoint="{entrypoint}"'
        assert f":tensorflow:serving:request_latency_count{{{labels}}}" in page
        assert f':tensorflow:serving:request_latency_bucket{{{labels},le="+Inf"}}' in page
