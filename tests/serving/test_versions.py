"""Versions come and go on disk, and no request notices."""

import asyncio
import contextlib
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
)

from serving.server.batching import BatchingOptions
from serving.server.manager import Manager, ManagerOptions, State
from serving.server.metrics import Metrics
from serving.server.model_config import ModelServerConfig
from serving.server.servable import Servable
from serving.server.status import Code, ServingError
from serving.server.versions import VersionPolicy, choose_versions, find_versions
from tests.ports import free_ports
from tests.serving.models import signature, tf1, write_saved_model, write_times
from tests.serving.servers import (
    TIMEOUT,
    Address,
    floats,
    predict_request,
    read_log,
    running,
    wait_until,
    write_warmup,
)

DATA_LOSS = 15


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A directory with version 1, which multiplies by 1."""
    write_times(tmp_path / "times" / "1", 1)
    return tmp_path / "times"


def test_directories_whose_names_are_numbers(tmp_path: Path) -> None:
    for name in ("3", "00000012", "-1", "1.5", "²", "new", str(1 << 63)):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("no directory")
    assert find_versions(str(tmp_path)) == {
        3: str(tmp_path / "3"),
        12: str(tmp_path / "00000012"),
    }


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", [4]),
        ("latest { }", [4]),
        ("latest { num_versions: 2 }", [3, 4]),
        ("latest { num_versions: 9 }", [1, 3, 4]),
        ("all { }", [1, 3, 4]),
        ("specific { versions: 1 versions: 2 }", [1]),
        ("specific { }", []),
    ],
)
def test_policies(policy: str, chosen: list[int]) -> None:
    found = {number: f"/m/{number}" for number in (1, 3, 4)}
    message = text_format.Parse(policy, VersionPolicy())
    assert choose_versions(message, found) == {n: f"/m/{n}" for n in chosen}


def add_version(base: Path, number: int) -> None:
    """Version N multiplies by N; it appears whole, as `digits run` pushes it."""
    write_times(base.parent / f"new-{number}", number)
    (base.parent / f"new-{number}").rename(base / str(number))


def flags(base: Path) -> tuple[str, ...]:
    return "--model_name=times", f"--model_base_path={base}", "--file_system_poll_wait_seconds=0.2"


def answer(address: Address) -> float:
    (value,) = address.predict("times", x=floats(1)).outputs["y"].float_val
    return value


def test_an_unforeseen_error_of_a_loader_ends_only_its_version(base: Path) -> None:
    def loader(directory: str) -> Servable:
        raise ZeroDivisionError("not ours")

    async def status() -> get_model_status_pb2.ModelVersionStatus:
        manager = Manager(
            loader,
            options=ManagerOptions(poll_seconds=0),
            batching=BatchingOptions(),
            metrics=Metrics(),
        )
        config = ModelServerConfig()
        config.model_config_list.config.add(
            name="times", base_path=str(base), model_platform="tensorflow"
        )
        with pytest.raises(ServingError, match="ZeroDivisionError: not ours"):
            await manager.apply(config)
        (only,) = manager.statuses(model_pb2.ModelSpec(name="times"))
        return only

    version = asyncio.run(status())
    assert (version.state, version.status.error_code) == (State.END, Code.INTERNAL.number)


@contextlib.contextmanager
def load(address: Address, callers: int = 4) -> Iterator[Counter]:
    """Clients that ask without a pause; yields what they were answered."""
    answers: Counter = Counter()
    stop = threading.Event()

    def ask() -> None:
        request = predict_request("times", x=floats(1))
        body = '{"instances": [1]}'
        while not stop.is_set():
            try:
                response = address.prediction.Predict(request, timeout=TIMEOUT)
                version = response.model_spec.version.value
                answers[version, response.outputs["y"].float_val[0]] += 1
                rest = address.http.post("/v1/models/times:predict", content=body)
                answers["REST", rest.text if rest.status_code != 200 else 200] += 1
            except grpc.RpcError as error:
                answers[error.code(), error.details()] += 1

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_swap_under_load(base: Path, tmp_path: Path) -> None:
    with running(tmp_path, *flags(base)) as server, load(server.address) as answers:
        for number in (2, 3):
            wait_until(lambda n=number: answers[n - 1, float(n - 1)] > 20)
            add_version(base, number)
        wait_until(lambda: answers[3, 3.0] > 20)
        wait_until(lambda: server.address.statuses("times")[2][0] == "END")
        states = server.address.statuses("times")
    assert {number: state for number, (state, _, _) in states.items()} == {
        3: "AVAILABLE",
        2: "END",
        1: "END",
    }
    # Nothing but right answers of the three versions.
    assert set(answers) == {(1, 1.0), (2, 2.0), (3, 3.0), ("REST", 200)}


def test_rollback(base: Path, tmp_path: Path) -> None:
    add_version(base, 2)
    with running(tmp_path, *flags(base)) as server:
        assert answer(server.address) == 2.0
        shutil.rmtree(base / "2")
        wait_until(lambda: answer(server.address) == 1.0)


def test_a_corrupt_version_leaves_the_old_one(base: Path, tmp_path: Path) -> None:
    with running(tmp_path, *flags(base)) as server:
        broken = base / "2"
        shutil.copytree(base / "1", broken)
        data = broken / "variables" / "variables.data-00000-of-00001"
        data.write_bytes(b"\xff" * data.stat().st_size)
        wait_until(lambda: server.address.statuses("times").get(2, ("",))[0] == "END")
        _, code, message = server.address.statuses("times")[2]
        assert code == DATA_LOSS
        assert "hecksum does not match" in message
        assert answer(server.address) == 1.0
        # Mended, it is served at once: the retry does not wait for its minute.
        shutil.rmtree(broken)
        add_version(base, 2)
        wait_until(lambda: answer(server.address) == 2.0, 20)


def test_a_half_copied_version_is_not_loaded(base: Path, tmp_path: Path) -> None:
    add_version(base, 7)
    source = base / "7"
    source.rename(tmp_path / "source")
    with running(tmp_path, *flags(base), "--file_system_poll_wait_seconds=1") as server:
        files = [p for p in sorted((tmp_path / "source").rglob("*")) if p.is_file()]
        for path in files:  # slowly, file by file and in halves
            target = source / path.relative_to(tmp_path / "source")
            target.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes()
            for end in (len(data) // 2, len(data)):
                target.write_bytes(data[:end])
                time.sleep(0.5)
                assert server.address.statuses("times").get(7, ("START",))[0] == "START"
                assert answer(server.address) == 1.0
        wait_until(lambda: answer(server.address) == 7.0, 20)
        assert b"cannot load" not in server.log.read_bytes()


def test_no_version_yet(tmp_path: Path) -> None:
    base = tmp_path / "times"
    base.mkdir()
    with running(tmp_path, *flags(base)) as server:
        with pytest.raises(grpc.RpcError) as failure:
            answer(server.address)
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
        add_version(base, 1)
        wait_until(lambda: 1 in dict_of_available(server.address))
        assert answer(server.address) == 1.0


def dict_of_available(address: Address) -> dict[int, str]:
    try:
        return {n: s for n, (s, _, _) in address.statuses("times").items() if s == "AVAILABLE"}
    except grpc.RpcError:
        return {}


def reload(address: Address, config: str) -> model_management_pb2.ReloadConfigResponse:
    request = text_format.Parse(
        f"config {{ model_config_list {{ {config} }} }}",
        model_management_pb2.ReloadConfigRequest(),
    )
    return address.models.HandleReloadConfigRequest(request, timeout=TIMEOUT)


def model(base: Path, extra: str = "", name: str = "times") -> str:
    return f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {extra} }}'


def test_reload(base: Path, tmp_path: Path) -> None:
    add_version(base, 2)
    with running(tmp_path, *flags(base)) as server:
        address = server.address
        with pytest.raises(grpc.RpcError) as failure:
            reload(address, model(base, 'version_labels { key: "old" value: 1 }'))
        assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert failure.value.details() == (
            "Request to assign label to version 1 of model times, which is not currently "
            "available for inference"
        )

        policy = "model_version_policy { all { } }"
        reload(address, model(base, policy))
        reload(address, model(base, policy + ' version_labels { key: "old" value: 1 }'))
        request = predict_request("times", x=floats(1))
        request.model_spec.version_label = "old"
        response = address.prediction.Predict(request, timeout=TIMEOUT)
        assert response.outputs["y"].float_val == [1.0]

        reload(address, model(base, name="other"))
        assert address.predict("other", x=floats(1)).outputs["y"].float_val == [2.0]
        with pytest.raises(grpc.RpcError) as failure:
            answer(address)
        assert failure.value.details() == "Servable not found for request: Latest(times)"


def test_a_configuration_file_is_read_again(base: Path, tmp_path: Path) -> None:
    add_version(base, 2)
    config = tmp_path / "models.config"
    config.write_text(f"model_config_list {{ {model(base)} }}")
    with running(
        tmp_path, f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.2"
    ) as server:
        assert answer(server.address) == 2.0
        config.write_text("what is this")
        time.sleep(1)
        assert answer(server.address) == 2.0
        policy = "model_version_policy { specific { versions: 1 } }"
        config.write_text(f"model_config_list {{ {model(base, policy)} }}")
        wait_until(lambda: answer(server.address) == 1.0)


def test_sigterm_drains(tmp_path: Path) -> None:
    base = tmp_path / "times"

    def build() -> dict:
        x = tf1.placeholder(tf.float32, [None], "x")
        # Some seconds of work for x = 1.
        steps = tf.cast(x[0], tf.int32) * 3_000_000
        (_, y) = tf1.while_loop(lambda i, _: i < steps, lambda i, y: (i + 1, y + 1), (0, x))
        return {"serving_default": signature({"x": x}, {"y": y})}

    write_saved_model(base / "1", build)
    with running(tmp_path, *flags(base)) as server:
        address = server.address
        futures = [
            address.prediction.Predict.future(
                predict_request("times", x=floats(1)), timeout=TIMEOUT * 4
            )
        ]
        time.sleep(0.5)
        assert not futures[0].done()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(grpc.RpcError) as failure:
            Address(address.grpc, address.rest).predict("times", x=floats(0))
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        assert futures[0].result().outputs["y"].float_val[0] == pytest.approx(3_000_001)
        assert server.process.wait(TIMEOUT) == 0


def test_killed_and_started_again(base: Path, tmp_path: Path) -> None:
    ports = free_ports(2)
    with running(tmp_path, *flags(base), ports=ports) as server:
        server.kill()
    with running(tmp_path, *flags(base), ports=ports) as server:
        assert answer(server.address) == 1.0


def test_warmup(base: Path, tmp_path: Path) -> None:
    requests = [predict_request("times", x=floats(value)) for value in (1, 2, 3)]
    write_warmup(base / "1", *requests)
    with running(tmp_path, *flags(base)) as server:
        assert b"with 3 records" in server.log.read_bytes()
        bad = base.parent / "bad"
        write_times(bad, 2)
        (bad / "assets.extra").mkdir()
        (bad / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no record" * 9)
        bad.rename(base / "2")
        wait_until(lambda: server.address.statuses("times").get(2, ("",))[0] == "END")
        _, _, message = server.address.statuses("times")[2]
        assert message.endswith("Please verify your warmup data is in TFRecord format.")
        assert answer(server.address) == 1.0


def test_requests_are_logged(base: Path, tmp_path: Path) -> None:
    logging = (
        f'logging_config {{ log_collector_config {{ filename_prefix: "{tmp_path}/requests" }} '
        "sampling_config { sampling_rate: 1 } }"
    )
    config = tmp_path / "models.config"
    config.write_text(f"model_config_list {{ {model(base, logging)} }}")
    with running(tmp_path, f"--model_config_file={config}") as server:
        server.address.predict("times", x=floats(5))
        server.address.http.post("/v1/models/times:predict", content='{"instances": [6]}')
        assert server.stop() == 0
    assert [
        (
            list(record.predict_log.request.inputs["x"].float_val),
            list(record.predict_log.response.outputs["y"].float_val),
            record.log_metadata.model_spec.version.value,
            record.log_metadata.sampling_config.sampling_rate,
        )
        for record in read_log(tmp_path / "requests")
    ] == [([5.0], [5.0], 1, 1.0), ([6.0], [6.0], 1, 1.0)]


def test_a_request_log_that_cannot_be_written(base: Path, tmp_path: Path) -> None:
    logging = 'logging_config { log_collector_config { filename_prefix: "/nowhere/at/all" } }'
    with running(tmp_path, *flags(base)) as server:
        with pytest.raises(grpc.RpcError) as failure:
            reload(server.address, model(base, logging))
        assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert failure.value.details().startswith(
            "logging_config of model times: cannot write /nowhere/at/all."
        )
        assert answer(server.address) == 1.0
