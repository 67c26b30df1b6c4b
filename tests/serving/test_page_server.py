"""What `digits demo` serves, and what it refuses."""

import http.client
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from stub_server import Stub, grpc_stub, probabilities_of, rest_stub

from export import web_page
from export.edge_model import MODEL_FILE
from export.web_page import PageFile, page_files, write_page
from export.web_server import PageServer
from serving.client import Client
from serving.errors import InputError
from serving.predict import latest_version

FILES = {
    name: PageFile.of(name, name.encode())
    for name in ("index.html", "app.js", "vendor/litert/wasm/a.wasm", "digits.tflite", "icon.svg")
}
OCTETS = {"Content-Type": "application/octet-stream"}
DIGIT = bytes(range(196)) * 4


def ask(server: PageServer, method: str, path: str, body=None, headers=None):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    with PageServer(FILES).running() as server:
        yield server


@pytest.mark.parametrize(
    ("path", "name", "content_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html?from=home", "index.html", "text/html; charset=utf-8"),
        ("/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/vendor/litert/wasm/a.wasm", "vendor/litert/wasm/a.wasm", "application/wasm"),
        ("/digits.tflite", "digits.tflite", "application/octet-stream"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
def test_each_file_has_its_type_and_is_asked_for_anew(server, path, name, content_type):
    status, headers, body = ask(server, "GET", path)
    assert (status, body) == (200, name.encode())
    assert headers["Content-Type"] == content_type
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Content-Type-Options"] == "nosniff"
    known = {"If-None-Match": headers["ETag"]}
    assert ask(server, "GET", path, headers=known)[::2] == (304, b"")
    assert ask(server, "GET", path, headers={"If-None-Match": '"other"'})[0] == 200
    status, head, body = ask(server, "HEAD", path)
    assert (status, head["Content-Length"], body) == (200, str(len(name)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/app.css",
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "//etc/passwd",
        "/vendor/litert/../../app.js",
        "/vendor",
        "/app.js/",
        "/\x00",
        "http://elsewhere/app.js",
    ],
)
def test_nothing_else_is_served(server, path):
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 404 " in answer.splitlines()[0]
    assert answer.endswith(b"\r\n\r\nnot found\n")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_model_server_is_asked(protocol):
    with {"grpc": grpc_stub, "http": rest_stub}[protocol](Stub()) as port:
        client = Client(f"{protocol}://127.0.0.1:{port}")
        with client, PageServer(FILES, client=client).running() as server:
            status, headers, body = ask(server, "POST", "/server", DIGIT, OCTETS)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert headers["Cache-Control"] == "no-store"
    assert json.loads(body) == {"probabilities": probabilities_of(DIGIT)}


def test_a_model_server_that_is_down_is_named():
    client = Client("grpc://127.0.0.1:1", retries=0)
    with client, PageServer(FILES, client=client).running() as server:
        status, _, body = ask(server, "POST", "/server", DIGIT, OCTETS)
    assert status == 502
    assert json.loads(body)["error"].startswith("grpc://127.0.0.1:1: UNAVAILABLE")


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/server", DIGIT[1:], OCTETS, 400),
        ("/server", DIGIT + b"x", OCTETS, 400),
        ("/server", b"", OCTETS, 400),
        ("/server", DIGIT, OCTETS | {"Content-Length": "9" * 30}, 400),
        ("/server", DIGIT, OCTETS | {"Content-Length": "-1"}, 400),
        ("/server", iter([DIGIT]), OCTETS | {"Transfer-Encoding": "chunked"}, 400),
        # What a form of another site can send.
        ("/server", DIGIT, {"Content-Type": "text/plain"}, 400),
        ("/server", DIGIT, {}, 400),
        ("/app.js", DIGIT, OCTETS, 404),
    ],
)
def test_only_a_digit_is_passed_on(path, body, headers, status):
    stub = Stub()
    with (
        grpc_stub(stub) as port,
        Client(f"grpc://127.0.0.1:{port}") as client,
        PageServer(FILES, client=client).running() as server,
    ):
        answer = ask(server, "POST", path, body, headers)
    assert (answer[0], list(json.loads(answer[2]))) == (status, ["error"])
    assert answer[1]["Connection"] == "close"
    assert not stub.seen


def test_without_a_model_server_there_is_none_to_ask(server):
    status, _, body = ask(server, "POST", "/server", DIGIT, OCTETS)
    assert (status, json.loads(body)["error"]) == (
        404,
        "no model server; start with --server ADDRESS",
    )


def test_a_reader_that_goes_away_is_no_error(capfd):
    large = PageFile.of("a.wasm", bytes(32 << 20))
    with PageServer({"a.wasm": large}).running() as server:
        with socket.create_connection(server.server_address[:2], timeout=30) as connection:
            connection.sendall(b"GET /a.wasm HTTP/1.0\r\n\r\n")
            connection.recv(1)
        assert ask(server, "HEAD", "/a.wasm")[0] == 200
    assert capfd.readouterr().err == ""


def test_it_listens_on_loopback_only(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture
def edge(pipeline_run) -> Path:
    return latest_version(pipeline_run.root / "edge")


@pytest.fixture
def sources(tmp_path, monkeypatch) -> Path:
    """The page with packages that hold nothing, so that Node.js need not be here."""
    sources = tmp_path / "web"
    shutil.copytree(web_page.SOURCES, sources, ignore=shutil.ignore_patterns("node_modules"))
    for path in web_page._VENDOR.values():
        file = sources / "node_modules" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(web_page, "SOURCES", sources)
    return sources


def test_every_file_of_the_page_is_served(edge, sources):
    names = {path.name for path in sources.iterdir() if path.is_file()}
    served = page_files(edge, server="grpc://a:1")
    assert names - set(served) == {".npmrc", "package.json", "package-lock.json"}
    assert served["digits.tflite"].content == (edge / MODEL_FILE).read_bytes()
    assert json.loads(served["page.json"].content) == {
        "version": edge.name,
        "bytes": len(served["digits.tflite"].content),
        "output": {
            "shape": [1, 10],
            "dtype": "uint8",
            "scale": pytest.approx(1 / 256),
            "zero_point": 0,
        },
        "server": "grpc://a:1",
    }


def test_the_lock_file_pins_hashes_and_names_no_registry():
    lock = json.loads((web_page.SOURCES / "package-lock.json").read_text())
    packages = {path: package for path, package in lock["packages"].items() if path}
    assert packages
    for package in packages.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package


def test_missing_packages_are_one_line_with_the_remedy(digits, pipeline_run, sources):
    shutil.rmtree(sources / "node_modules")
    outcome = digits("demo", "--root", pipeline_run.root)
    assert outcome.code == 2
    assert outcome.err.startswith(f"digits: {sources}/node_modules/@litertjs/")
    assert "run `make web`" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_broken_model_is_named(digits, sources, tmp_path):
    model = tmp_path / "edge" / "7" / MODEL_FILE
    model.parent.mkdir(parents=True)
    model.write_bytes(b"no model")
    outcome = digits("demo", "--root", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"digits: {model}: ")


def test_bad_usage_is_one_line(digits, pipeline_run, sources, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, message in (
            (["--root", tmp_path / "none"], "no pushed model; run `digits run` first"),
            (["--port", port], f"--host 127.0.0.1 --port {port}: Address already in use; choose"),
            (["--host", "192.0.2.1"], "--host 192.0.2.1 --port 0: Cannot assign requested address"),
            (["--host", "nowhere.invalid"], "--host nowhere.invalid --port 0: "),
            (["--port", 65536], "65536: expected a port"),
            (["--server", "localhost"], "localhost: expected grpc://HOST:PORT"),
            (["--export", sources], f"--export {sources}: Directory not empty; name a new"),
            (["--export", sources / "app.js"], f"--export {sources}/app.js: Not a directory"),
        ):
            outcome = digits("demo", "--root", pipeline_run.root, *arguments)
            assert (outcome.code, outcome.out) == (2, ""), arguments
            assert message in outcome.err


def test_an_export_is_the_files_and_nothing_else(tmp_path):
    site = tmp_path / "site"
    site.mkdir()  # empty: as good as new
    write_page(FILES, site)
    found = {str(p.relative_to(site)): p.read_bytes() for p in site.rglob("*") if p.is_file()}
    assert found == {name: file.content for name, file in FILES.items()}
    with pytest.raises(InputError, match="name a new or an empty directory"):
        write_page(FILES, site)
    assert list(tmp_path.iterdir()) == [site]
