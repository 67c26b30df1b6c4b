"""`digits predict --server`."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from stub_server import LABEL, VERSION, Stub, grpc_stub, probabilities_of, rest_stub

from serving.pictures import encode_png

SERVE = {"grpc": grpc_stub, "http": rest_stub}


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture(params=SERVE)
def address(request: pytest.FixtureRequest, stub: Stub) -> Iterator[str]:
    with SERVE[request.param](stub) as port:
        yield f"{request.param}://127.0.0.1:{port}"


@pytest.fixture
def files(tmp_path) -> list[str]:
    images = np.random.default_rng(1).integers(0, 256, (3, 28, 28), np.uint8)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encode_png(image))
    return [str(path) for path in paths]


def test_json_is_as_the_pushed_models(digits, address, stub, files):
    outcome = digits("predict", "--server", address, "--json", *files)
    assert (outcome.code, outcome.err) == (0, "")
    for prediction, file in zip(json.loads(outcome.out), files, strict=True):
        with open(file, "rb") as picture:
            row = probabilities_of(picture.read())
        assert prediction == {
            "file": file,
            "label": row.index(max(row)),
            "probability": max(row),
            "probabilities": row,
        }
    assert len(stub.seen) == 1


def test_the_table_names_each_file(digits, address, files):
    outcome = digits("predict", "--server", address, *files)
    header, *lines = outcome.out.splitlines()
    assert header.split() == ["file", "digit", "probability"]
    for line, file in zip(lines, files, strict=True):
        name, digit, probability = line.split()
        assert (name, probability) == (file, "43.8%")
        assert digit.isdecimal()


@pytest.mark.parametrize(
    ("options", "version", "label"),
    [([], None, None), (["--version", VERSION], VERSION, None), (["--label", LABEL], None, LABEL)],
)
def test_a_version_or_label_is_passed_on(digits, address, stub, files, options, version, label):
    assert digits("predict", "--server", address, *options, *files).code == 0
    (seen,) = stub.seen
    assert (seen["model"], seen["version"], seen["label"]) == ("digits", version, label)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "other"], "NOT_FOUND: Servable not found for request: Latest(other); check"),
        (["--version", "8"], "NOT_FOUND: Servable not found for request: Specific(digits, 8); ch"),
        (["--label", "old"], "INVALID_ARGUMENT: Unrecognized servable version label: old\n"),
    ],
)
def test_the_servers_errors_are_one_line(digits, address, files, options, message):
    outcome = digits("predict", "--server", address, *options, *files)
    assert outcome.code == 2
    assert outcome.err.startswith(f"digits: --server {address}: {message}")
    assert outcome.err.count("\n") == 1
    assert not outcome.out


def test_a_slow_server_meets_the_timeout(digits, address, stub, files):
    stub.delay = 6
    outcome = digits("predict", "--server", address, "--timeout", "0.2", *files)
    assert outcome.code == 2
    assert "DEADLINE_EXCEEDED" in outcome.err
    assert outcome.err.count("\n") == 1


def test_round_robin_is_for_grpc(digits, address, stub, files):
    outcome = digits("predict", "--server", address, "--round-robin", *files)
    if address.startswith("grpc"):
        assert outcome.code == 0
        assert stub.seen
    else:
        assert outcome.code == 2
        assert outcome.err == f"digits: {address}: round_robin is for gRPC\n"
        assert not stub.seen


@pytest.mark.parametrize("protocol", SERVE)
def test_no_server_is_one_line(digits, files, protocol):
    outcome = digits("predict", "--server", f"{protocol}://127.0.0.1:1", *files)
    assert outcome.code == 2
    assert outcome.err.startswith(f"digits: --server {protocol}://127.0.0.1:1: UNAVAILABLE: ")
    assert outcome.err.endswith("; check the address, and that the server is up\n")
    assert outcome.err.count("\n") == 1


def test_a_bad_picture_is_told_before_anything_is_sent(digits, address, stub, files, tmp_path):
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    outcome = digits("predict", "--server", address, *files, empty)
    assert outcome.code == 2
    assert outcome.err == f"digits: {empty}: empty file; expected a PNG or JPEG picture\n"
    assert not stub.seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--server", "host:8500"], "host:8500: expected grpc://HOST:PORT"),
        (["--server", ""], "expected grpc://HOST:PORT"),
        (["--server", "grpc://h:1", "--edge"], "not allowed with argument"),
        (["--server", "grpc://h:1", "--version", "x"], "invalid int value: 'x'"),
        (["--server", "grpc://h:1", "--version", "1", "--label", "a"], "not allowed with argument"),
        (["--server", "grpc://h:1", "--tls-ca", "ca.pem"], "is without TLS; use grpcs://"),
        (["--server", "grpcs://h:1", "--tls-ca", "nowhere.pem"], "nowhere.pem: No such file"),
        (["--model", "digits"], "--model goes with --server ADDRESS"),
        (["--tls-key", "key.pem"], "--tls-key goes with --server ADDRESS"),
    ],
)
def test_bad_usage(digits, files, options, message):
    outcome = digits("predict", *options, *files)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_many_files_on_a_terminal_show_a_bar(digits, address, stub, files, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    shown = digits("predict", "--server", address, "--json", *files * 22)
    assert "classifying" in shown.out
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    piped = digits("predict", "--server", address, "--json", *files * 22)
    assert "classifying" not in piped.out
    assert len(json.loads(piped.out)) == 66
    assert [len(seen["values"]) for seen in stub.seen] == [64, 2] * 2
