"""HTTP/1.1 as clients speak it, well and badly, over sockets of this machine."""

import asyncio
import contextlib
import re
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from serving.server import http_server
from serving.server.http_server import Handler, HttpServer, Request, Response

SECONDS = 20
MAX_BODY = 1_000_000

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def echo(request: Request) -> Response:
    """Answers with the request itself."""
    line = f"{request.method} {request.path} {len(request.body)} ".encode()
    return Response(200, line + request.body[:100], b"text/plain")


def request(path: str = "/", *headers: str, body: bytes = b"", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def serving(handler: Handler = echo) -> AsyncIterator[tuple[HttpServer, Connect]]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(handler, max_body_bytes=MAX_BODY)
    await server.start(listening)
    try:
        yield server, lambda: asyncio.open_connection(*listening.getsockname())
    finally:
        await server.stop(0)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return uvloop.run(asyncio.wait_for(coroutine, SECONDS))


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Reads an answer: its status, its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length
    return int(head.split()[1]), head, await reader.readexactly(int(length[1]))


def talk(data: bytes, handler: Handler = echo) -> bytes:
    """Sends bytes and then the end, and returns all that comes back."""

    async def conversation() -> bytes:
        async with serving(handler) as (_, connect):
            reader, writer = await connect()
            writer.write(data)
            writer.write_eof()
            return await reader.read()

    return run(conversation())


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answers)]


def test_an_answer_has_its_type_length_and_time() -> None:
    answer = talk(request("/a%20b?c=d", body=b"12345"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"POST /a%20b 5 12345"
    assert head.startswith(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n" % len(body)
    )
    assert re.search(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", head)
    assert b"connection" not in head


def test_a_body_in_chunks_and_one_byte_at_a_time() -> None:
    chunked = (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert talk(chunked).endswith(b"POST / 5 abcde")

    async def conversation() -> bytes:
        async with serving() as (_, connect):
            reader, writer = await connect()
            for byte in request(body=b"abcde"):
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            return (await read_answer(reader))[2]

    assert run(conversation()) == b"POST / 5 abcde"


def test_pipelined_requests_are_answered_in_their_order() -> None:
    begun: list[str] = []

    async def slower_first(request: Request) -> Response:
        begun.append(request.path)
        await asyncio.sleep(0.1 if request.path == "/0" else 0)
        return await echo(request)

    paths = [f"/{number}" for number in range(300)]
    answers = talk(b"".join(map(request, paths)), slower_first)
    assert re.findall(rb"POST (\S+) 0", answers) == [path.encode() for path in paths]
    assert begun == paths


def test_requests_of_other_connections_do_not_wait() -> None:
    async def conversation() -> None:
        released = asyncio.Event()

        async def handler(request: Request) -> Response:
            if request.path == "/slow":
                await released.wait()
            return await echo(request)

        async with serving(handler) as (_, connect):
            slow, slow_writer = await connect()
            slow_writer.write(request("/slow"))
            quick, quick_writer = await connect()
            quick_writer.write(request("/quick"))
            assert (await read_answer(quick))[2] == b"POST /quick 0 "
            released.set()
            assert (await read_answer(slow))[2] == b"POST /slow 0 "

    run(conversation())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_too_much_reads_why(chunked: bool) -> None:
    async def conversation() -> None:
        async with serving() as (_, connect):
            reader, writer = await connect()
            size = 20 * MAX_BODY
            if chunked:
                head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % size
            else:
                head = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size
            writer.write(head)
            for _ in range(20):
                writer.write(b" " * MAX_BODY)
                await writer.drain()
            status, head, body = await read_answer(reader)
            assert (status, body) == (413, b'{"error": "the body has more than 1,000,000 bytes"}')
            assert b"connection: close" in head
            assert await reader.read() == b""

    run(conversation())


def test_a_body_as_large_as_allowed() -> None:
    assert b" 1000000 " in talk(request(body=b"x" * MAX_BODY))


def test_a_body_of_tiny_chunks_takes_no_more_memory() -> None:
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    data = head + b"2\r\nab\r\n" * (MAX_BODY // 2) + b"0\r\n\r\n"
    peaks: list[int] = []

    async def measured(request: Request) -> Response:
        peaks.append(tracemalloc.get_traced_memory()[1])
        assert request.body == b"ab" * (MAX_BODY // 2)
        return await echo(request)

    tracemalloc.start()
    try:
        assert b" 1000000 " in talk(data, measured)
    finally:
        tracemalloc.stop()
    assert peaks[0] < len(data) + 5 * MAX_BODY  # a list of the chunks would take 20 MB


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"HELLO\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_ends_the_connection(data: bytes, status: int) -> None:
    answers = talk(request("/first") + data + request("/never"))
    assert statuses(answers) == [200, status]
    assert b"POST /first" in answers
    assert b"/never" not in answers
    assert b'{"error": "Malformed HTTP request: ' in answers
    assert answers.count(b"connection: close") == 1


@pytest.mark.parametrize("part", [b"GET /", b"GET / HTTP/1.1\r\nname: ", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_end_is_refused(part: bytes) -> None:
    async def conversation() -> None:
        async with serving() as (_, connect):
            reader, writer = await connect()
            writer.write(part)
            filling = b"name: value\r\n" if part.endswith(b"\n") else b"x"
            with contextlib.suppress(ConnectionError):
                while len(filling) < 10_000:
                    filling *= 2
                for _ in range(200):
                    writer.write(filling)
                    await writer.drain()
            assert (await read_answer(reader))[0] == 431

    run(conversation())


def test_many_requests_in_one_piece_are_no_long_head() -> None:
    paths = [f"/{number}" for number in range(20_000)]
    answers = talk(b"".join(map(request, paths)))
    assert statuses(answers) == [200] * len(paths)


def test_a_client_that_waits_to_be_told_to_continue() -> None:
    async def conversation() -> bytes:
        async with serving() as (_, connect):
            reader, writer = await connect()
            writer.write(request("/", "Expect: 100-continue", body=b"abc")[:-3])
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
            return (await read_answer(reader))[2]

    assert run(conversation()) == b"POST / 3 abc"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        request("/", "Connection: close"),
        request("/", "Connection: close") + request("/second"),
    ],
)
def test_connections_of_one_request(data: bytes) -> None:
    async def conversation() -> bytes:
        async with serving() as (_, connect):
            reader, writer = await connect()
            writer.write(data)
            return await reader.read()

    answers = run(conversation())
    assert statuses(answers) == [200]
    assert b"connection: close" in answers


def test_head_has_the_length_without_the_body() -> None:
    answers = talk(request(method="HEAD") + request("/second"))
    assert statuses(answers) == [200, 200]
    assert b"HEAD /" not in answers
    assert b"content-length: 9\r\n" in answers


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_an_upgrade_is_passed_over(body: bytes) -> None:
    """Java's client asks for HTTP/2 so."""
    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    answers = talk(request("/up", *headers, body=body) * 2000 + request("/second"))
    assert statuses(answers) == [200] * 2001
    assert answers.count(b"POST /up %d %b" % (len(body), body)) == 2000
    assert answers.endswith(b"POST /second 0 ")


def test_a_client_that_does_not_read_holds_up_itself_only() -> None:
    async def large(request: Request) -> Response:
        return Response(200, b"x" * 5_000_000 if request.path == "/large" else b"y")

    async def conversation() -> None:
        async with serving(large) as (_, connect):
            reader, writer = await connect()
            writer.write(request("/large") * 8)
            await asyncio.sleep(0.2)
            other, other_writer = await connect()
            other_writer.write(request())
            assert (await read_answer(other))[2] == b"y"
            for _ in range(8):
                assert len((await read_answer(reader))[2]) == 5_000_000

    run(conversation())


def test_a_client_that_leaves_before_its_answer() -> None:
    async def conversation() -> None:
        done = asyncio.Event()

        async def slow(request: Request) -> Response:
            if request.path == "/slow":
                await asyncio.sleep(0.1)
                done.set()
            return await echo(request)

        async with serving(slow) as (_, connect):
            _, writer = await connect()
            writer.write(request("/slow") * 3)
            await writer.drain()
            writer.transport.abort()
            await done.wait()
            reader, writer = await connect()
            writer.write(request())
            assert (await read_answer(reader))[0] == 200

    run(conversation())


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.2)

    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.5)
        return await echo(request)

    async def conversation() -> None:
        async with serving(slow) as (_, connect):
            idle, _ = await connect()
            half, half_writer = await connect()
            half_writer.write(request(body=b"abc")[:-1])
            waiting, waiting_writer = await connect()
            waiting_writer.write(request())
            assert await idle.read() == b""
            assert await half.read() == b""
            assert (await read_answer(waiting))[0] == 200
            assert await waiting.read() == b""

    run(conversation())


def test_stopping_answers_what_has_arrived() -> None:
    async def conversation() -> None:
        released = asyncio.Event()

        async def handler(request: Request) -> Response:
            await released.wait()
            return await echo(request)

        async with serving(handler) as (server, connect):
            idle, _ = await connect()
            reader, writer = await connect()
            writer.write(request("/first") + request("/second"))
            half, half_writer = await connect()
            half_writer.write(request("/half", body=b"abc")[:-1])
            await asyncio.sleep(0.1)
            stopping = asyncio.create_task(server.stop(SECONDS))
            assert await idle.read() == b""
            with pytest.raises(OSError):
                await connect()
            assert not stopping.done()
            released.set()
            half_writer.write(b"c")
            answers = await reader.read()
            assert re.findall(rb"POST (\S+)", answers) == [b"/first", b"/second"]
            assert answers.count(b"connection: close") == 1
            assert b"connection: close" in await half.read()
            await stopping

    run(conversation())


def test_stopping_does_not_wait_for_ever() -> None:
    async def never(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def conversation() -> None:
        async with serving(never) as (server, connect):
            reader, writer = await connect()
            writer.write(request())
            await asyncio.sleep(0.1)
            await server.stop(0.1)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""

    run(conversation())
