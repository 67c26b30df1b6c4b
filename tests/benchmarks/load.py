"""Callers that keep a model server busy: each asks, waits for the answer, asks again.

They cost as little as Python can: requests are bytes made once, and answers are only compared
with the bytes that are expected.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import numpy as np

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass
class Answers:
    """What callers have seen.

    Attributes:
        seconds: latency of each right answer.
        wrong: answers that differ from the expected ones.
        failures: when, on the clock of `time.monotonic()`, and why requests failed.
    """

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Latency in seconds that so many per cent of the right answers stay under."""
        return float(np.percentile(self.seconds, share))


Ask = Callable[[], Awaitable[bytes]]
Check = Callable[[bytes], bool]


async def keep_asking(ask: Ask, is_right: Check, until: float, answers: Answers) -> None:
    """One caller.

    Args:
        ask: sends a request and returns the answer.
        is_right: judges it.
        until: of `time.monotonic()`.
        answers: gathers what it sees.
    """
    while (start := time.monotonic()) < until:
        try:
            answer = await ask()
        except (grpc.aio.AioRpcError, OSError, EOFError) as error:
            reason = error.details() if isinstance(error, grpc.aio.AioRpcError) else repr(error)
            answers.failures.append((time.monotonic(), reason))
            await asyncio.sleep(0.01)
            continue
        if is_right(answer):
            answers.seconds.append(time.monotonic() - start)
        else:
            answers.wrong += 1


def grpc_caller(channel: grpc.aio.Channel, request: bytes) -> Ask:
    """Returns what asks over gRPC, wire bytes to wire bytes."""
    call = channel.unary_unary(PREDICT)

    async def ask() -> bytes:
        return await call(request, timeout=30)

    return ask


class RestCaller:
    """Asks over one HTTP connection, which it opens again when it breaks."""

    def __init__(self, address: str, path: str, body: bytes):
        host, _, port = address.partition(":")
        self._address = host, int(port)
        self._request = (
            f"POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self) -> bytes:
        """Returns the body of a 200 answer.

        Raises:
            OSError: the connection broke, or the answer is another.
            EOFError: it broke in the middle of an answer.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        try:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(size)
        except (OSError, EOFError):
            self.close()
            raise
        if not head.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"{head[:12]!r}: {body[:200]!r}")
        return body

    def close(self) -> None:
        """Closes the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
