"""Predict over REST."""

import asyncio
import base64
import json
import time
from typing import Any

import httpx

from serving.client.answers import checked
from serving.client.endpoint import MAX_ANSWER_BYTES, Endpoint
from serving.client.inputs import PIXELS, Batch
from serving.client.retry import Budget
from serving.errors import InputError, ServerError

#: The status that each HTTP code of TF Serving stands for.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestTransport:
    """Asks over kept-alive connections; for any number of threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._url = _url(endpoint)
        self._http = httpx.Client(verify=_verify(endpoint))

    def predict(self, batch: Batch) -> list[list[float]]:
        body = _body(batch)
        budget = _budget(self._endpoint)
        while True:
            try:
                return _probabilities(self._endpoint, batch, *self._post(body, budget))
            except ServerError as error:
                delay = budget.delay_after(error)
            time.sleep(delay)

    def _post(self, body: bytes, budget: Budget) -> tuple[int, bytes]:
        """Returns the status and body of one attempt."""
        try:
            with self._http.stream(
                "POST",
                self._url,
                content=body,
                timeout=max(budget.seconds, 0.001),  # each to connect, to write and to read
            ) as response:
                answer = bytearray()
                for chunk in response.iter_bytes():
                    _grow(answer, chunk, self._endpoint, budget)
                return response.status_code, bytes(answer)
        except httpx.HTTPError as error:
            raise _server_error(self._endpoint, error) from error

    def close(self) -> None:
        self._http.close()


class AsyncRestTransport:
    """Asks over kept-alive connections; for the event loop that it is first used in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._url = _url(endpoint)
        self._http = httpx.AsyncClient(verify=_verify(endpoint))

    async def predict(self, batch: Batch) -> list[list[float]]:
        body = _body(batch)
        budget = _budget(self._endpoint)
        while True:
            try:
                return _probabilities(self._endpoint, batch, *await self._post(body, budget))
            except ServerError as error:
                delay = budget.delay_after(error)
            await asyncio.sleep(delay)

    async def _post(self, body: bytes, budget: Budget) -> tuple[int, bytes]:
        """Returns the status and body of one attempt."""
        try:
            async with self._http.stream(
                "POST",
                self._url,
                content=body,
                timeout=max(budget.seconds, 0.001),  # each to connect, to write and to read
            ) as response:
                answer = bytearray()
                async for chunk in response.aiter_bytes():
                    _grow(answer, chunk, self._endpoint, budget)
                return response.status_code, bytes(answer)
        except httpx.HTTPError as error:
            raise _server_error(self._endpoint, error) from error

    async def close(self) -> None:
        await self._http.aclose()


def _url(endpoint: Endpoint) -> httpx.URL:
    try:
        return httpx.URL(endpoint.predict_url)
    except httpx.InvalidURL as error:
        raise InputError(f"{endpoint.address}: {error}") from error


def _verify(endpoint: Endpoint) -> Any:
    return endpoint.tls.ssl_context() if endpoint.tls else True


def _budget(endpoint: Endpoint) -> Budget:
    return Budget(timeout=endpoint.timeout, retries=endpoint.retries)


def _body(batch: Batch) -> bytes:
    """Pictures row by row, where base64 may stand; digits as one column, which is shorter."""
    request: dict[str, Any] = {"signature_name": batch.signature.name}
    if batch.signature == PIXELS:
        request["inputs"] = {
            batch.signature.input: [
                [list(value[row : row + 28]) for row in range(0, len(value), 28)]
                for value in batch.values
            ]
        }
    else:
        request["instances"] = [
            {batch.signature.input: {"b64": base64.b64encode(value).decode()}}
            for value in batch.values
        ]
    return json.dumps(request, separators=(",", ":")).encode()


def _probabilities(endpoint: Endpoint, batch: Batch, status: int, body: bytes) -> list[list[float]]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if status != 200:
        reason = fields.get("error") or f"HTTP {status} without TF Serving's JSON"
        raise ServerError(endpoint.address, _CODES.get(status, "UNKNOWN"), str(reason))
    # In either format, TF Serving drops the name of an output that is the only one.
    if batch.signature == PIXELS:
        return checked(endpoint, batch, _probabilities_of(fields.get("outputs")))
    rows = fields.get("predictions")
    rows = [_probabilities_of(row) for row in rows] if isinstance(rows, list) else None
    return checked(endpoint, batch, rows)


def _probabilities_of(outputs: Any) -> Any:
    return outputs.get("probabilities") if isinstance(outputs, dict) else outputs


def _grow(answer: bytearray, chunk: bytes, endpoint: Endpoint, budget: Budget) -> None:
    """Adds a chunk, unless the answer becomes too large or trickles in for too long."""
    answer += chunk
    if len(answer) > MAX_ANSWER_BYTES:
        raise ServerError(
            endpoint.address,
            "RESOURCE_EXHAUSTED",
            f"an answer of more than {MAX_ANSWER_BYTES:,} bytes",
        )
    if budget.seconds < 0:
        raise httpx.ReadTimeout("trickle")  # httpx has a bound for each read, not for all


def _server_error(endpoint: Endpoint, error: httpx.HTTPError) -> ServerError:
    if isinstance(error, httpx.TimeoutException):
        return ServerError(
            endpoint.address, "DEADLINE_EXCEEDED", f"no answer within {endpoint.timeout:g} s"
        )
    # A connection that is refused or breaks is UNAVAILABLE in gRPC.
    broken = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    return ServerError(
        endpoint.address,
        "UNAVAILABLE" if broken else "UNKNOWN",
        str(error) or type(error).__name__,
    )
