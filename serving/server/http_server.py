"""HTTP/1.1 for one handler, on httptools' parser and the event loop's transports.

What a general server does between the two, and ASGI's messages, cost as much as the digit: without
them the edge model answers 1.27 times as many requests.
"""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import httptools

from serving.server.json_answers import write_error

#: Connections that the operating system may hold until they are taken.
BACKLOG = 2048
#: Of a request's line and headers, with what arrived in one piece with their beginning.
MAX_HEAD_BYTES = 512 << 10
#: Without a byte, after which a connection is closed.
IDLE_SECONDS = 60.0
#: To read on after a refusal: a reset would take the answer from a client that is still sending.
LINGER_SECONDS = 5.0

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_CONTINUE = _STATUS_LINES[100] + b"\r\n"


@dataclass(slots=True)
class Request:
    """A request, whole.

    Attributes:
        method: GET, POST and so on.
        path: percent-encoded, without the query.
        headers: names, in lower case, and values.
        body: as sent.
    """

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(slots=True)
class Response:
    """An answer.

    Attributes:
        status: of HTTP.
        body: not compressed.
        content_type: of the body.
        headers: others, each line with its end.
    """

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: bytes = b""


#: Answers a request, whatever it is, and does not raise.
Handler = Callable[[Request], Awaitable[Response]]


def too_large(max_body_bytes: int) -> Response:
    """Returns the answer to a request of a larger body."""
    return Response(413, write_error(f"the body has more than {max_body_bytes:,} bytes"))


class HttpServer:
    """Answers all connections of a socket."""

    def __init__(self, handler: Handler, *, max_body_bytes: int):
        """Makes it.

        Args:
            handler: answers.
            max_body_bytes: of a request; one with more is answered with 413 as soon as that shows.
        """
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.draining = False
        self._connections: set[_Connection] = set()
        self._none_left = asyncio.Event()
        self._date = (0, b"")

    async def start(self, listening: socket.socket) -> None:
        """Takes connections from a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, loop), sock=listening, backlog=BACKLOG
        )

    async def stop(self, drain_seconds: float) -> None:
        """Takes no more connections, and answers what has arrived.

        Args:
            drain_seconds: after which it no longer waits for answers.
        """
        self._server.close()
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_seconds):
                    await self._none_left.wait()
        for connection in list(self._connections):
            connection.abort()

    def add(self, connection: "_Connection") -> None:
        """Takes a connection."""
        self._connections.add(connection)

    def remove(self, connection: "_Connection") -> None:
        """Forgets a connection that has ended."""
        self._connections.discard(connection)
        if not self._connections and self.draining:
            self._none_left.set()

    def date(self) -> bytes:
        """Returns the header of the time, to the second."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = now, f"date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self._date[1]


class _Connection(asyncio.Protocol):
    """One client: requests are answered one after the other, in the order in which they came."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop):
        self._server = server
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._answering: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[Request | Response, bool]] = deque()
        self._receiving = False  # part of a request
        self._in_head = False
        self._head_bytes = 0
        self._deaf = False  # what comes is not read any more
        self._writable = asyncio.Event()
        self._writable.set()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(IDLE_SECONDS, self._check_idle)
        self._server.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._deaf = True
        self._timer.cancel()
        self._writable.set()
        self._server.remove(self)

    def eof_received(self) -> bool:
        """Keeps a connection whose client has said all, but waits for answers."""
        self._deaf = True
        return self._answering is not None

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        while data and not self._deaf:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                # There is nothing to upgrade to: the request is read as if it did not ask.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserCallbackError:
                raise
            except httptools.HttpParserError as error:
                self._refuse(Response(400, write_error(f"Malformed HTTP request: {error}")))
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                message = f"the headers have more than {MAX_HEAD_BYTES:,} bytes"
                self._refuse(Response(431, write_error(message)))

    # What the parser calls

    def on_message_begin(self) -> None:
        self._receiving = self._in_head = True
        self._head_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        self._body: bytes | bytearray = b""

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._parser.get_method() == b"CONNECT":
            self._refuse(Response(400, write_error("Malformed HTTP request: CONNECT")))
        is_next = self._answering is None and not self._deaf
        if self._expects_continue and is_next and not self._parser.should_upgrade():
            self._transport.write(_CONTINUE)

    def on_body(self, part: bytes) -> None:
        if len(self._body) + len(part) > self._server.max_body_bytes:
            self._refuse(too_large(self._server.max_body_bytes))
        elif not self._body:
            self._body = part
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += part

    def on_message_complete(self) -> None:
        if self._deaf or self._parser.should_upgrade():  # then the body is still to come
            return
        self._receiving = False
        try:
            path = httptools.parse_url(self._url).path or b""
        except httptools.HttpParserInvalidURLError:
            self._refuse(Response(400, write_error("Malformed HTTP request: invalid URL")))
            return
        request = Request(
            self._parser.get_method().decode("ascii"),
            path.decode("latin-1"),
            self._headers,
            bytes(self._body),
        )
        keep = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        self._deaf = not keep
        self._answer_in_turn(request, keep)

    def _head_without_upgrade(self) -> bytes:
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self._url, version)]
        lines += [b"%b: %b" % item for item in self._headers if item[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    # Answers

    def _refuse(self, response: Response) -> None:
        """Says why a request cannot be read, after which nothing can."""
        if not self._deaf:
            self._deaf = True
            self._answer_in_turn(response, keep=False)

    def _answer_in_turn(self, message: Request | Response, keep: bool) -> None:
        if self._answering is None:
            self._answering = self._loop.create_task(self._answer(message, keep))
        else:
            self._waiting.append((message, keep))
            if len(self._waiting) == 1:
                self._transport.pause_reading()

    async def _answer(self, message: Request | Response, keep: bool) -> None:
        if isinstance(message, Response):
            response, with_body = message, True
        else:
            response, with_body = await self._server.handler(message), message.method != "HEAD"
        if not self._writable.is_set():
            await self._writable.wait()
        if self._transport.is_closing():
            return
        keep = keep and not (self._server.draining and not self._waiting)
        self._transport.write(
            b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b%b\r\n%b"
            % (
                _STATUS_LINES[response.status],
                response.content_type,
                len(response.body),
                self._server.date(),
                response.headers,
                b"" if keep else b"connection: close\r\n",
                response.body if with_body else b"",
            )
        )
        self._answering = None
        if not keep:
            self._close(linger=isinstance(message, Response))
        elif self._waiting:
            self._answer_in_turn(*self._waiting.popleft())
            if not self._waiting:
                self._transport.resume_reading()
        elif self._deaf:  # the client has said all
            self._transport.close()

    # The end

    def drain(self) -> None:
        """Closes the connection now, or after the answers that are due."""
        if self._answering is None and (self._deaf or not self._receiving):
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection, whatever is due."""
        self._transport.abort()

    def _close(self, *, linger: bool) -> None:
        if not linger:
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_SECONDS, self.abort)

    def _check_idle(self) -> None:
        idle = self._loop.time() - self._heard
        if self._answering is None and idle >= IDLE_SECONDS:
            self._transport.close()
        else:
            wait = IDLE_SECONDS if self._answering else IDLE_SECONDS - idle
            self._timer = self._loop.call_later(wait, self._check_idle)
