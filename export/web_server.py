"""`digits demo`: serves the web page, and asks a model server on its behalf."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

import numpy as np

from export.web_page import PageFile
from serving.client import Client
from serving.errors import InputError, ServerError

PIXELS = 28 * 28


class PageServer(ThreadingHTTPServer):
    """Serves the files of a page from memory, and nothing else.

    Attributes:
        files: by their path, without the leading slash.
        client: what asks the model server for `POST /server`; None where there is none.
    """

    daemon_threads = True

    def __init__(
        self,
        files: Mapping[str, PageFile],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        client: Client | None = None,
    ) -> None:
        """Binds the address; `serve_forever` answers.

        Raises:
            InputError: the address is in use, or none of this machine's.
        """
        self.files = files
        self.client = client
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"--host {host} --port {port}: {error.strerror}; choose another (0: any free port)"
            ) from error

    @property
    def url(self) -> str:
        """The address of the page."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keeps quiet about readers that go away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Serves in a thread of its own."""
        thread = threading.Thread(target=self.serve_forever)
        with self:
            thread.start()
            try:
                yield self
            finally:
                self.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "digits", ""
    timeout: ClassVar[float] = 30  # seconds that a connection may be idle

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix("/") or "index.html"
        file = self.server.files.get(name)
        if file is None:
            self._answer(HTTPStatus.NOT_FOUND, b"not found\n")
        elif file.tag in self.headers.get("If-None-Match", ""):
            self._answer(HTTPStatus.NOT_MODIFIED, b"", etag=file.tag)
        else:
            self._answer(HTTPStatus.OK, file.content, content_type=file.content_type, etag=file.tag)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """Passes a digit, 784 bytes, to the model server; the answer is JSON."""
        # Another site's page cannot send this type without asking first, which nobody grants.
        is_octets = self.headers.get("Content-Type") == "application/octet-stream"
        if self.path != "/server" or self.server.client is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no model server; start with --server ADDRESS")
        elif not is_octets or self.headers.get("Content-Length") != str(PIXELS):
            self._refuse(HTTPStatus.BAD_REQUEST, f"expected {PIXELS} bytes of octet-stream")
        else:
            self._ask(self.server.client, self.rfile.read(PIXELS))

    def _ask(self, client: Client, pixels: bytes) -> None:
        if len(pixels) < PIXELS:
            self.close_connection = True
            return
        try:
            (prediction,) = client.classify(np.frombuffer(pixels, np.uint8).reshape(28, 28))
        except ServerError as error:
            self._refuse(HTTPStatus.BAD_GATEWAY, str(error))
            return
        answer = json.dumps({"probabilities": prediction.probabilities}).encode()
        self._answer(HTTPStatus.OK, answer, content_type="application/json")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # the body may not have been read
        self._answer(
            status, json.dumps({"error": message}).encode(), content_type="application/json"
        )

    def _answer(
        self,
        status: HTTPStatus,
        content: bytes,
        *,
        content_type: str = "text/plain; charset=utf-8",
        etag: str | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        # With a tag: ask again each time, and be told in a line that nothing has changed.
        self.send_header("Cache-Control", "no-cache" if etag else "no-store")
        if etag:
            self.send_header("ETag", etag)
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the terminal quiet."""


def serve_page(server: PageServer, *, open_browser: bool) -> None:
    """Prints the address, and serves until SIGINT or SIGTERM."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with server:
            print(f"{server.url} (Ctrl-C ends it)", flush=True)
            if open_browser and sys.stdout.isatty() and _has_display():
                webbrowser.open(server.url)
            server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        signal.signal(signal.SIGTERM, before)


def _has_display() -> bool:
    # Without one webbrowser would start a browser for terminals, here.
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
