"""The clients, over gRPC against tensorflow-serving-api's own service, and over REST."""

import asyncio
import contextlib
import json
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stub_server import LABEL, VERSION, Stub, grpc_stub, probabilities_of, rest_stub

from serving.client import (
    AsyncClient,
    Client,
    Prediction,
    ServerError,
    grpc_transport,
    messages,
    rest_transport,
)
from serving.client.answers import checked
from serving.client.endpoint import Endpoint
from serving.client.inputs import BATCH_BYTES, PICTURES, PIXELS, Batch
from serving.pictures import encode_png
from tests.ports import free_port

SERVE = {"grpc": grpc_stub, "http": rest_stub}


@dataclass
class Caller:
    """Both kinds of client as one: calls that return what `Client`'s return."""

    address: str
    asynchronous: bool

    def classify(self, *inputs: Any, **options: Any) -> list[Prediction]:
        """One call after the other, over one client; returns the last one's answer."""
        if not self.asynchronous:
            with Client(self.address, **options) as client:
                return [client.classify(one) for one in inputs][-1]

        async def run() -> list[Prediction]:
            async with AsyncClient(self.address, **options) as client:
                return [await client.classify(one) for one in inputs][-1]

        return asyncio.run(run())

    def classify_many(self, inputs: Any, **options: Any) -> list[Prediction]:
        if not self.asynchronous:
            with Client(self.address, **options) as client:
                return list(client.classify_many(inputs))

        async def run() -> list[Prediction]:
            async with AsyncClient(self.address, **options) as client:
                return [prediction async for prediction in client.classify_many(inputs)]

        return asyncio.run(run())


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture(params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def address(protocol: str, stub: Stub) -> Iterator[str]:
    with SERVE[protocol](stub) as port:
        yield f"{protocol}://127.0.0.1:{port}"


@pytest.fixture(params=["sync", "async"])
def caller(request: pytest.FixtureRequest, address: str) -> Caller:
    return Caller(address, request.param == "async")


def digits(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), np.uint8)


def expected(values: list[bytes], files: list[str]) -> list[Prediction]:
    rows = [probabilities_of(value) for value in values]
    return [
        Prediction(file, row.index(max(row)), max(row), row)
        for file, row in zip(files, rows, strict=True)
    ]


def test_arrays_go_to_serving_default(caller, stub):
    images = digits(3)
    assert caller.classify(images) == expected(
        [image.tobytes() for image in images], ["#0", "#1", "#2"]
    )
    (seen,) = stub.seen
    assert seen["signature"] == "serving_default"
    assert (seen["input"], seen["shape"]) == ("images", (3, 28, 28))
    assert seen.get("dtype", 4) == 4  # DT_UINT8
    assert seen.get("filter", ["probabilities"]) == ["probabilities"]
    assert (seen["model"], seen["version"], seen["label"]) == ("digits", None, None)


def test_pictures_go_to_serve_image_bytes(caller, stub, tmp_path):
    pictures = [encode_png(image) for image in digits(2)]
    path = tmp_path / "a.png"
    path.write_bytes(pictures[0])
    assert caller.classify([path, pictures[1]]) == expected(pictures, [str(path), "#1"])
    (seen,) = stub.seen
    assert (seen["signature"], seen["input"]) == ("serve_image_bytes", "image_bytes")
    assert seen["shape"] == (2,)


def test_mixed_inputs_keep_their_order_in_batches_of_one_kind(caller, stub):
    images = digits(5)
    pictures = [encode_png(image) for image in images]
    values = [images[0].tobytes(), *pictures[:3], images[1].tobytes(), images[2].tobytes()]
    inputs = [images[0], *pictures[:3], images[1:3]]
    answer = expected(values, [f"#{index}" for index in range(6)])
    assert caller.classify(inputs, batch_size=2) == answer
    assert [seen["shape"][0] for seen in stub.seen] == [1, 2, 1, 2]


def test_many_are_streamed_a_batch_at_a_time(caller, stub):
    images = digits(10)
    drawn = []

    def source() -> Iterator[np.ndarray]:
        for image in images:
            drawn.append(len(stub.seen))
            yield image

    answer = caller.classify_many(source(), batch_size=4)
    assert answer == expected(
        [image.tobytes() for image in images], [f"#{index}" for index in range(10)]
    )
    assert [len(seen["values"]) for seen in stub.seen] == [4, 4, 2]
    # One more than a batch is read before it goes, for only then is it known to be full.
    assert drawn == [0] * 5 + [1] * 4 + [2]


def test_a_batch_is_bounded_in_bytes(caller, stub):
    noise = np.random.default_rng(1).integers(0, 256, (600, 1000, 3), np.uint8)
    picture = encode_png(noise)
    assert BATCH_BYTES / 2 < len(picture) < BATCH_BYTES
    assert len(caller.classify([picture, picture])) == 2
    assert [len(seen["values"]) for seen in stub.seen] == [1, 1]


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 28, 28), np.uint8)])
def test_nothing_asks_nothing(caller, stub, nothing):
    assert caller.classify(nothing) == []
    assert not stub.seen


def test_both_forms_of_a_tensor_are_read(stub):
    with grpc_stub(stub) as port, Client(f"grpc://127.0.0.1:{port}") as client:
        for as_fields in (False, True):
            stub.as_fields = as_fields
            for n in (1, 3):
                images = digits(n)
                names = [f"#{index}" for index in range(n)]
                assert client.classify(images) == expected([i.tobytes() for i in images], names)


def test_a_version_or_a_label_is_asked_for(caller, stub):
    caller.classify(digits(1), version=VERSION)
    caller.classify(digits(1), label=LABEL)
    assert [(seen["version"], seen["label"]) for seen in stub.seen] == [(7, None), (None, "stable")]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"model": "nodigits"}, "NOT_FOUND", "Servable not found for request: Latest(nodigits)"),
        ({"version": 8}, "NOT_FOUND", "Servable not found for request: Specific(digits, 8)"),
        ({"label": "x"}, "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
    ],
)
def test_the_servers_errors_are_told_in_one_line(caller, options, code, text):
    with pytest.raises(ServerError) as caught:
        caller.classify(digits(1), **options)
    assert caught.value.code == code
    assert caught.value.detail == text
    assert str(caught.value).startswith(f"{caller.address}: {code}: {text}")


def test_unavailable_is_tried_again(caller, stub):
    stub.failures = ["UNAVAILABLE"] * 2
    images = digits(1)
    start = time.monotonic()
    assert caller.classify(images) == expected([images[0].tobytes()], ["#0"])
    assert time.monotonic() - start > 0.05  # backed off
    assert len(stub.seen) == 3


def test_a_large_request_is_tried_again_too(caller, stub):
    stub.failures = ["UNAVAILABLE"]
    noise = np.random.default_rng(1).integers(0, 256, (600, 1000, 3), np.uint8)
    assert len(caller.classify(encode_png(noise))) == 1
    assert len(stub.seen) == 2


def test_it_gives_up_after_the_last_retry(caller, stub):
    stub.failures = ["UNAVAILABLE"] * 9
    with pytest.raises(ServerError, match="UNAVAILABLE: as told in two lines; check the address"):
        caller.classify(digits(1), retries=2)
    assert len(stub.seen) == 3


def test_without_retries_it_asks_once(caller, stub):
    stub.failures = ["UNAVAILABLE"]
    with pytest.raises(ServerError, match="UNAVAILABLE"):
        caller.classify(digits(1), retries=0)
    assert len(stub.seen) == 1


@pytest.mark.parametrize("code", ["INTERNAL", "NOT_FOUND", "RESOURCE_EXHAUSTED"])
def test_nothing_else_is_tried_again(caller, stub, code):
    stub.failures = [code]
    with pytest.raises(ServerError) as caught:
        caller.classify(digits(1))
    assert caught.value.code == code
    assert len(stub.seen) == 1


def test_a_slow_server_meets_the_deadline(caller, stub):
    stub.delay = 6
    start = time.monotonic()
    with pytest.raises(ServerError, match=r"DEADLINE_EXCEEDED: .*; allow more time"):
        caller.classify(digits(1), timeout=0.5)
    assert time.monotonic() - start < 5
    assert len(stub.seen) == 1


def test_retries_stop_at_the_deadline(caller, stub):
    stub.failures = ["UNAVAILABLE"] * 9
    # Waits of 0.1, 0.2 and 0.4 s, each give or take a fifth; then 0.8, which is too long.
    with pytest.raises(ServerError):
        caller.classify(digits(1), timeout=1)
    assert 1 < len(stub.seen) < 5


def test_grpc_passes_the_deadline_on(stub):
    with grpc_stub(stub) as port, Client(f"grpc://127.0.0.1:{port}", timeout=33) as client:
        client.classify(digits(1))
    # gRPC sends the deadline as three digits and a unit, rounded up.
    assert 20 < stub.seen[0]["remaining"] < 34


def test_the_connection_is_used_again(caller, stub):
    caller.classify(*[digits(1)] * 5)
    assert len(stub.seen) == 5
    assert len(stub.peers) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_server(protocol, asynchronous):
    caller = Caller(f"{protocol}://127.0.0.1:{free_port()}", asynchronous)
    start = time.monotonic()
    with pytest.raises(ServerError, match=r"UNAVAILABLE: .*; check the address") as caught:
        caller.classify(digits(1), timeout=60)
    assert time.monotonic() - start < 20
    assert "\n" not in str(caught.value)


def test_a_client_outlives_its_server(protocol, stub):
    images = digits(1)
    with contextlib.ExitStack() as stack:
        with SERVE[protocol](stub) as port:
            client = stack.enter_context(Client(f"{protocol}://127.0.0.1:{port}"))
            client.classify(images)
        with pytest.raises(ServerError, match="UNAVAILABLE"):
            client.classify(images)
        with SERVE[protocol](stub, port):
            assert client.classify(images) == expected([images[0].tobytes()], ["#0"])
    assert len(stub.seen) == 2


def test_round_robin_spreads_the_requests():
    stubs = [Stub(), Stub()]
    with grpc_stub(stubs[0]) as one, grpc_stub(stubs[1]) as two:
        name = f"ipv4:127.0.0.1:{one},127.0.0.1:{two}"
        with Client(name, round_robin=True) as client:
            until = time.monotonic() + 10
            while not all(stub.seen for stub in stubs) and time.monotonic() < until:
                client.classify(digits(1))  # until both are connected
            before = [len(stub.seen) for stub in stubs]
            for _ in range(10):
                client.classify(digits(1))
        assert [len(stub.seen) - n for stub, n in zip(stubs, before, strict=True)] == [5, 5]
        with Client(name) as client:
            before = [len(stub.seen) for stub in stubs]
            for _ in range(4):
                client.classify(digits(1))
        counts = [len(stub.seen) - n for stub, n in zip(stubs, before, strict=True)]
        assert sorted(counts) == [0, 4]


ROW = [0.1] * 10
STRANGE: dict[str, dict[str, Callable[[], Any]]] = {
    "grpc": {
        "too few": lambda: [ROW],
        "too wide": lambda: [[0.1] * 11] * 2,
        "flat": lambda: [0.1] * 20,
        "not finite": lambda: [[float("nan")] * 10] * 2,
    },
    "http": {
        "too few": lambda: {"outputs": {"probabilities": [ROW]}},
        "too wide": lambda: {"outputs": {"probabilities": [[0.1] * 11] * 2}},
        "not finite": lambda: {"outputs": {"probabilities": [[float("nan")] * 10] * 2}},
        "text": lambda: {"outputs": {"probabilities": [["0.1"] * 10] * 2}},
        "another model's": lambda: {"outputs": [[0.5], [0.5]]},
        "rows": lambda: {"predictions": [{"probabilities": ROW}] * 2},
        "huge": lambda: {"outputs": {"probabilities": [[10**400] * 10] * 2}},
        "no JSON": lambda: b"<html>",
        "no object": lambda: [],
        "deep": lambda: b"[" * 100_000,
    },
}


@pytest.mark.parametrize(
    ("protocol", "answer"), [(p, case) for p, cases in STRANGE.items() for case in cases]
)
def test_a_strange_answer_is_an_error(protocol, answer, stub):
    stub.answer = STRANGE[protocol][answer]()
    with (
        SERVE[protocol](stub) as port,
        Client(f"{protocol}://127.0.0.1:{port}") as client,
        pytest.raises(
            ServerError, match=r"INTERNAL: model digits answered something else"
        ) as caught,
    ):
        client.classify(digits(2))
    assert caught.value.code == "INTERNAL"


def test_an_answer_is_bounded(protocol, stub):
    stub.answer = np.zeros((2**20, 10)) if protocol == "grpc" else b" " * (5 * 2**20)
    with (
        SERVE[protocol](stub) as port,
        Client(f"{protocol}://127.0.0.1:{port}") as client,
        pytest.raises(ServerError, match="RESOURCE_EXHAUSTED"),
    ):
        client.classify(digits(2))


def test_threads_share_a_client(address, stub):
    from concurrent.futures import ThreadPoolExecutor

    with Client(address) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda seed: client.classify(digits(3, seed)), range(24)))
    for seed, answer in enumerate(answers):
        values = [image.tobytes() for image in digits(3, seed)]
        assert answer == expected(values, ["#0", "#1", "#2"])
    assert len(stub.seen) == 24


def test_tasks_share_a_client(address, stub):
    async def run() -> list[list[Prediction]]:
        async with AsyncClient(address) as client:
            return await asyncio.gather(*(client.classify(digits(3, seed)) for seed in range(24)))

    for seed, answer in enumerate(asyncio.run(run())):
        values = [image.tobytes() for image in digits(3, seed)]
        assert answer == expected(values, ["#0", "#1", "#2"])


@pytest.mark.parametrize(
    ("status", "code"), [(404, "NOT_FOUND"), (302, "UNKNOWN"), (502, "UNKNOWN"), (418, "UNKNOWN")]
)
def test_a_page_that_is_not_tf_servings_is_told_by_its_status(stub, status, code):
    stub.status = status
    stub.answer = b"<html>no such page</html>"
    with (
        rest_stub(stub) as port,
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(ServerError, match=f"{code}: HTTP {status} without TF Serving's JSON"),
    ):
        client.classify(digits(1))
    assert len(stub.seen) == 1


def test_an_error_survives_a_process_pool():
    error = ServerError("grpc://h:1", "NOT_FOUND", "Servable\n not found.\x1b[2J")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert str(error) == (
        "grpc://h:1: NOT_FOUND: Servable not found.?[2J; check the model's name and version"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=11)
        | st.dictionaries(
            st.sampled_from(["outputs", "predictions", "probabilities", "error", "x"]), inner
        )
    ),
    max_leaves=40,
)
ENDPOINT = Endpoint(
    address="http://h:1",
    model="digits",
    version=None,
    label=None,
    timeout=1,
    retries=0,
    tls=None,
    round_robin=False,
    max_message_bytes=2**20,
)
BATCHES = [Batch(PIXELS, ["#0"], [bytes(784)]), Batch(PICTURES, ["#0"], [b"picture"])]


@settings(deadline=None)
@given(JSON | JSON.map(lambda value: {"outputs": value, "predictions": value}), st.integers(0, 1))
@example({"outputs": {"probabilities": [[0, 1, *[0.0] * 8]]}}, 0)
@example({"predictions": [{"probabilities": ROW}]}, 1)
@example({"predictions": [ROW]}, 1)
def test_any_json_is_an_answer_or_a_server_error(answer, kind):
    for status in (200, 404):
        try:
            rows = rest_transport._probabilities(
                ENDPOINT, BATCHES[kind], status, json.dumps(answer).encode()
            )
        except ServerError as error:
            assert "\n" not in str(error)
        else:
            assert status == 200
            assert np.isfinite(np.array(rows, float)).all()
            assert np.array(rows).shape == (1, 10)


@settings(deadline=None)
@given(
    st.sampled_from([0, 1, 2]),
    st.lists(st.sampled_from([-1, 0, 1, 2, 10, 2**62]), max_size=3),
    st.binary(max_size=48),
    st.lists(st.floats(width=32), max_size=11),
)
@example(1, [1, 10], bytes(40), [])
@example(1, [1, 10], b"", ROW)
def test_any_tensor_is_an_answer_or_a_server_error(dtype, shape, content, floats):
    tensor = messages.PredictResponse().outputs["probabilities"]
    tensor.dtype, tensor.tensor_content = dtype, content
    tensor.float_val.extend(floats)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    try:
        rows = checked(ENDPOINT, BATCHES[0], grpc_transport._probabilities(tensor))
    except ServerError as error:
        assert error.code == "INTERNAL"
    else:
        assert np.array(rows).shape == (1, 10)
