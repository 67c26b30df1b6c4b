"""The REST API: what each URL answers."""

import json
import logging
import re
import time
import zlib
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import json_answers, json_requests, metrics, tensors
from serving.server.grpc_service import SIGNATURE_DEF, model_metadata, model_status
from serving.server.http_server import Request, Response, too_large
from serving.server.inference import Inference
from serving.server.json_requests import Document
from serving.server.servable import DEFAULT_SIGNATURE
from serving.server.signatures import check_types, choose_outputs
from serving.server.status import Code, ServingError, invalid

log = logging.getLogger(__name__)

_INFER = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
_MODEL = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?",
    re.IGNORECASE | re.ASCII,
)
_CORS = (
    b"access-control-allow-origin: *\r\n"
    b"access-control-allow-methods: POST, GET\r\n"
    b"access-control-allow-headers: Content-Type\r\n"
)
_NOT_FOUND = (
    b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n"
    b"</BODY></HTML>\n"
)


class _TooLarge(Exception):
    """The body has more bytes than are taken."""


class RestApi:
    """Answers requests: `answer` is the handler of an `HttpServer`."""

    def __init__(
        self,
        inference: Inference,
        *,
        max_body_bytes: int,
        timeout: float,
        metrics_path: str | None = None,
        cors: bool = False,
    ):
        """Makes it.

        Args:
            inference: what answers.
            max_body_bytes: of a request, uncompressed.
            timeout: seconds that a request may wait for the model.
            metrics_path: of the Prometheus metrics; None for none.
            cors: let pages of any origin read the answers.
        """
        self._inference = inference
        self._manager = inference.manager
        self._max_body_bytes = max_body_bytes
        self._timeout = timeout
        self._metrics_path = metrics_path
        self._cors = cors

    async def answer(self, request: Request) -> Response:
        """Answers a request."""
        if request.path == self._metrics_path:
            page = self._manager.metrics.page().encode()
            response = Response(200, page, b"text/plain")
        elif request.path[:4].lower() != "/v1/":
            response = Response(404, _NOT_FOUND, b"text/html")
        else:
            try:
                request.body = self._uncompressed(request)
            except _TooLarge:
                response = too_large(self._max_body_bytes)
            else:
                code, answer = await self._answer(request)
                response = Response(code.http, answer)
        if self._cors:
            response.headers = _CORS
        return response

    async def _answer(self, request: Request) -> tuple[Code, bytes]:
        start = time.perf_counter()
        method, path = request.method, request.path
        model, api = "", ""
        code, answer = Code.OK, b""
        try:
            match = (_INFER if method == "POST" else _MODEL).fullmatch(path)
            if method == "OPTIONS":
                answer = _preflight(request)
            elif match is None or method not in ("GET", "POST"):
                raise invalid(f"Malformed request: {method} {path}")
            else:
                model = unquote(match[1] or "")
                api = match[4] or ""
                spec = _model_spec(model, match[2], match[3])
                if method == "POST":
                    answer = await self._infer(api, spec, request.body)
                else:
                    answer = self._describe(spec, metadata=bool(api))
        except ServingError as error:
            code, answer = error.code, json_answers.write_error(error.message)
        except RecursionError:
            code = Code.INVALID_ARGUMENT
            answer = json_answers.write_error("JSON Parse error: nested too deeply")
        except UnicodeEncodeError:  # bytes that are no UTF-8, where Protobuf wants a string
            code = Code.INVALID_ARGUMENT
            answer = json_answers.write_error("JSON Parse error: Invalid encoding in string.")
        except Exception as error:
            log.exception("%s %s failed", method, path)
            code = Code.INTERNAL
            answer = json_answers.write_error(f"internal error: {type(error).__name__}")
        self._manager.metrics.record_request(model, api, "REST", code, time.perf_counter() - start)
        return code, answer

    async def _infer(self, api: str, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
        deadline = time.monotonic() + self._timeout
        document = Document(body)
        spec.signature_name = document.signature_name()
        api = api.lower()
        if api == "predict":
            return await self._predict(document, spec, deadline)
        if api == "classify":
            classify = classification_pb2.ClassificationRequest(
                model_spec=spec, input=json_requests.read_examples(document)
            )
            classified = await self._inference.classify(classify, deadline=deadline)
            return json_answers.write_classifications(classified.result)
        regress = regression_pb2.RegressionRequest(
            model_spec=spec, input=json_requests.read_examples(document)
        )
        regressed = await self._inference.regress(regress, deadline=deadline)
        return json_answers.write_regressions(regressed.result)

    async def _predict(
        self, document: Document, spec: model_pb2.ModelSpec, deadline: float
    ) -> bytes:
        with self._manager.version_of(spec) as version:
            name = spec.signature_name or DEFAULT_SIGNATURE
            definition = version.servable.signatures.get(name)
            if definition is None:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            inputs, rows = json_requests.read_predict(document, definition)
            check_types(definition, inputs)
            outputs = choose_outputs(definition, ())
            arrays = await self._inference.run(
                version, name, inputs, outputs, gather=True, deadline=deadline
            )
            named = dict(zip(outputs, arrays, strict=True))
            if version.request_log is not None and version.request_log.samples():
                request = predict_pb2.PredictRequest(model_spec=spec)
                response = predict_pb2.PredictResponse(model_spec=spec)
                response.model_spec.signature_name = name
                response.model_spec.version.value = version.number
                for message, group in ((request.inputs, inputs), (response.outputs, named)):
                    for alias, array in group.items():
                        tensors.to_proto(array, message[alias])
                version.request_log.write(request, response)
            return json_answers.write_predict(named, rows=rows)

    def _describe(self, spec: model_pb2.ModelSpec, *, metadata: bool) -> bytes:
        if not spec.name:
            raise invalid("Missing model name in request.")
        if not metadata:
            status = model_status(
                self._manager, get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
            )
            return _dump(_to_dict(status))
        answer = model_metadata(
            self._manager,
            get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=[SIGNATURE_DEF]
            ),
        )
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata[SIGNATURE_DEF].Unpack(signatures)
        return _dump(
            {
                "model_spec": _to_dict(answer.model_spec),
                "metadata": {SIGNATURE_DEF: _to_dict(signatures)},
            }
        )

    def _uncompressed(self, request: Request) -> bytes:
        for name, value in request.headers:
            if name == b"content-encoding" and b"gzip" in value.lower():
                return self._gunzip(request.body)
        return request.body

    def _gunzip(self, body: bytes) -> bytes:
        unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            plain = unzip.decompress(body, self._max_body_bytes)
        except zlib.error:
            return b""  # upstream goes on with an empty body too
        if unzip.unconsumed_tail:
            raise _TooLarge
        return plain if unzip.eof else b""


def metrics_path(configured: str) -> str:
    """Returns the path of the metrics: the configured one or upstream's."""
    return configured or metrics.PATH


def _preflight(request: Request) -> bytes:
    origin = next((value for name, value in request.headers if name == b"origin"), b"")
    if not re.search(rb"https?://", origin):
        raise ServingError(Code.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")
    return b""


def _model_spec(name: str, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        if int(version) >= 1 << 63:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    elif label is not None:
        spec.version_label = unquote(label)
    return spec


def _to_dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
