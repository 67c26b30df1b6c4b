"""Releases on a running server, and what a crash at each step leaves of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from export.hashes import sha256_of_directory
from pipeline.config import RunRoot
from pipeline.release.history import History
from pipeline.release.rollout import Rollout
from pipeline.release.server_config import read_config, with_versions
from serving.client.model_service import ModelService
from serving.errors import ServerError
from serving.server.model_config import ModelServerConfig, read_text_proto
from tests.serving.killing import KILLED
from tests.serving.models import write_times
from tests.serving.servers import ROOT, TIMEOUT, Server, floats, predict_request, running

VERSIONS = (1, 2, 3)
#: More steps than any command has: a test that gets there never let one finish.
TOO_MANY = 200


@dataclass
class Released:
    """A run root whose models multiply by their version, and a server of it."""

    root: RunRoot
    server: Server
    service: ModelService

    def reset(self, **labels: int) -> None:
        """Nothing was ever released, and the server serves the labelled versions."""
        shutil.rmtree(self.root.path / "edge", ignore_errors=True)
        for path in (self.root.releases, self.root.server_config):
            path.unlink(missing_ok=True)
        for number in VERSIONS:
            make_version(self.root, number)
        self.roll_out(labels)

    def roll_out(self, labels: dict[str, int]) -> None:
        config = read_config(
            self.root.server_config, model="digits", default=str(self.root.serving)
        )
        Rollout(
            model="digits",
            config=config,
            config_was=config,
            path=self.root.server_config,
            services=[self.service],
            wait_seconds=TIMEOUT,
            report=lambda _: None,
        ).apply(labels, known_labels={"stable", "canary"})

    def arguments(self, *action: object) -> list[str]:
        options = ["--root", self.root.path, "--server", self.service.address, "--wait", TIMEOUT]
        return [str(argument) for argument in ("release", *action, *options)]

    def available(self) -> set[int]:
        return {n for n, status in self.service.statuses().items() if status.is_available}

    def answer(self, label: str) -> float:
        """By what the version of a label multiplies."""
        request = predict_request("digits", x=floats(1))
        request.model_spec.version_label = label
        response = self.server.address.prediction.Predict(request, timeout=TIMEOUT)
        return response.outputs["y"].float_val[0]


def make_version(root: RunRoot, number: int) -> None:
    served, edge = root.serving / str(number), root.edge / str(number)
    if not served.exists():
        write_times(served, number)
    edge.mkdir(parents=True, exist_ok=True)
    description = {"source_saved_model_sha256": sha256_of_directory(str(served))}
    (edge / "model.json").write_text(json.dumps(description))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    root = RunRoot(tmp_path_factory.mktemp("releases") / "run")
    for number in VERSIONS:
        make_version(root, number)
    flags = ["--model_name=digits", f"--model_base_path={root.serving}"]
    with running(root.path, *flags) as server:
        service = ModelService(f"grpc://{server.address.grpc}", model="digits", timeout=TIMEOUT)
        yield Released(root, server, service)
        service.close()


@pytest.fixture(scope="module")
def run_killed() -> Iterator[Callable[[list[str], int], int]]:
    """Runs a command that dies after a step; returns its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.killing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdin and process.stdout

    def run(arguments: list[str], kill_at: int) -> int:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps({"arguments": arguments, "kill_at": kill_at}) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(timeout=TIMEOUT)


def assert_startable(root: RunRoot) -> None:
    """A server that starts from the files now finds every version that they name."""
    History.read(root.releases)
    if root.server_config.exists():
        config = read_text_proto(str(root.server_config), ModelServerConfig())
        (model,) = config.model_config_list.config
        versions = set(model.model_version_policy.specific.versions)
        assert versions
        assert all((root.serving / str(number) / "saved_model.pb").exists() for number in versions)
        assert set(model.version_labels.values()) <= versions


def test_a_release_from_the_first_to_the_rollback(released: Released, digits):
    released.reset(stable=1)
    first = digits(*released.arguments("promote", 1))
    assert first.code == 0, first.err
    assert "confirmed" in first.out
    canary = digits(*released.arguments("canary", 2))
    assert canary.code == 0, canary.err
    assert "go to 2, the greater" in canary.out
    assert (released.answer("stable"), released.answer("canary")) == (1, 2)
    promoted = digits(*released.arguments("promote", 3))
    assert promoted.code == 0, promoted.err
    assert (released.answer("stable"), released.answer("canary")) == (3, 2)
    assert released.available() == {2, 3}
    listed = digits(*released.arguments("list", "--json"))
    assert [(v["version"], v["served"], v["labels"]) for v in json.loads(listed.out)] == [
        (1, False, []),
        (2, True, ["canary"]),
        (3, True, ["stable"]),
    ]
    assert digits(*released.arguments("rollback")).code == 0
    assert (released.answer("stable"), released.answer("canary")) == (1, 2)
    assert digits(*released.arguments("canary", "--end")).code == 0
    assert released.available() == {1}
    assert released.service.version_of("canary") is None


def test_a_version_that_does_not_load_changes_nothing(released: Released, digits):
    released.reset(stable=1)
    assert digits(*released.arguments("promote", 1)).code == 0
    history, config = released.root.releases.read_text(), released.root.server_config.read_text()
    broken = released.root.serving / "4"
    broken.mkdir()
    try:
        (broken / "saved_model.pb").write_bytes(b"no model")
        make_version(released.root, 4)
        refused = digits(*released.arguments("promote", 4))
        assert refused.code == 1
        assert "cannot load version 4" in refused.err
        assert "Traceback" not in refused.err
        assert released.root.releases.read_text() == history
        assert released.root.server_config.read_text() == config
        assert released.answer("stable") == 1
        assert released.available() == {1}
    finally:
        shutil.rmtree(broken)


def test_a_server_that_finds_the_versions_elsewhere(released: Released, digits):
    released.reset(stable=1)
    assert digits(*released.arguments("promote", 1)).code == 0
    config = released.root.server_config.read_text()
    arguments = released.arguments("promote", 2)
    arguments[arguments.index("--wait") + 1] = "0.5"
    refused = digits(*arguments, "--base-path", str(released.root.path / "elsewhere"))
    assert refused.code == 1
    assert "(--base-path)" in refused.err
    assert released.root.server_config.read_text() == config
    assert released.answer("stable") == 1
    assert digits(*released.arguments("promote", 3)).code == 0  # from where the versions are
    assert released.answer("stable") == 3


def test_servers_that_cannot_be_asked(released: Released, digits):
    released.reset(stable=1)
    for address, message in (
        ("grpc://127.0.0.1:1", "UNAVAILABLE"),
        ("http://127.0.0.1:8501", "configurations are changed over gRPC"),
    ):
        outcome = digits("release", "promote", 2, "--root", released.root.path, "--server", address)
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
    assert released.answer("stable") == 1


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        ([("promote", 1)], ("promote", 2), {"stable": 2}),
        ([("promote", 1), ("promote", 2)], ("rollback", 2), {"stable": 1}),
        ([("promote", 1), ("canary", 3)], ("canary", "--end"), {"stable": 1}),
    ],
    ids=["promote", "rollback", "end of a canary"],
)
def test_killed_after_any_step(released: Released, run_killed, before, action, after):
    kills = 0
    for kill_at in range(1, TOO_MANY):
        released.reset(stable=1)
        for earlier in before:
            assert run_killed(released.arguments(*earlier), 0) == 0
        code = run_killed(released.arguments(*action), kill_at)
        assert_startable(released.root)
        assert released.answer("stable") in (1, 2)
        if code == 0:
            break
        assert code == KILLED
        kills += 1
        assert run_killed(released.arguments(*action), 0) == 0
        history = History.read(released.root.releases)
        assert (history.labels, history.pending) == (after, None)
        assert released.available() == set(after.values())
        assert {label: released.answer(label) for label in after} == after
        assert not list(released.root.path.rglob(".*.new"))
    assert kills > 10
    print(f"killed after each of {kills} steps")


@pytest.mark.parametrize(
    ("before", "action"),
    [
        ([("promote", 1), ("promote", 2)], ("rollback", 2)),
        ([], ("promote", 2)),
        ([("promote", 1)], ("canary", 2)),
        ([("promote", 2)], ("prune", "--keep", 1)),
    ],
    ids=["rollback", "first promotion", "canary", "prune"],
)
def test_killed_after_any_step_without_a_server(tmp_path: Path, run_killed, before, action):
    def run(root: RunRoot, action: tuple, kill_at: int = 0) -> int:
        arguments = ["release", *map(str, action), "--root", str(root.path)]
        return run_killed(arguments, kill_at)

    template, root = RunRoot(tmp_path / "template"), RunRoot(tmp_path / "run")
    for number in VERSIONS:
        make_version(template, number)
    for earlier in before:
        assert run(template, earlier) == 0
    shutil.copytree(template.path, root.path)
    assert run(root, action) == 0
    finished = state(root)
    assert finished != state(template)
    assert run(root, action) == 0  # once more changes nothing
    assert state(root) == finished
    for kill_at in range(1, TOO_MANY):
        shutil.rmtree(root.path)
        shutil.copytree(template.path, root.path)
        code = run(root, action, kill_at)
        assert_startable(root)
        if code == 0:
            break
        assert code == KILLED
        assert run(root, action) == 0
        assert state(root) == finished
    assert state(root) == finished
    assert kill_at > 5
    print(f"killed after each of {kill_at - 1} steps")


def state(root: RunRoot) -> object:
    """What a release leaves: labels, where rollbacks lead, configuration, directories."""
    history = History.read(root.releases)
    config = root.server_config.read_text() if root.server_config.exists() else None
    paths = sorted(str(path.relative_to(root.path)) for path in root.path.rglob("*"))
    return history.labels, history.pending, history.stable_versions, config, paths


@pytest.fixture
def second(released: Released) -> Iterator[ModelService]:
    """A replica: another server of the same versions."""
    flags = ["--model_name=digits", f"--model_base_path={released.root.serving}"]
    with running(released.root.path, *flags) as server:
        service = ModelService(f"grpc://{server.address.grpc}", model="digits", timeout=TIMEOUT)
        yield service
        service.close()


def test_replicas_change_together_or_not_at_all(
    released: Released, digits, second: ModelService, monkeypatch
):
    released.reset(stable=1)
    both = ["--server", second.address]
    assert digits(*released.arguments("promote", 1), *both).code == 0
    promoted = digits(*released.arguments("promote", 2), *both)
    assert promoted.code == 0, promoted.err
    assert promoted.out.count("confirmed") == 2
    assert second.version_of("stable") == released.service.version_of("stable") == 2

    # One cannot be reached: it is found out before anything changes.
    before = released.root.releases.read_text(), released.root.server_config.read_text()
    outcome = digits(*released.arguments("promote", 3), *both, "--server", "grpc://127.0.0.1:1")
    assert outcome.code == 2
    assert "grpc://127.0.0.1:1: UNAVAILABLE" in outcome.err
    assert "then give the same command again" in outcome.err
    assert outcome.err.count("\n") == 1
    assert "unfinished: promote" in digits("release", "list", "--root", released.root.path).out
    assert released.available() == {2}
    assert digits("release", "rollback", "--root", released.root.path).code == 0
    assert (released.root.releases.read_text(), released.root.server_config.read_text()) == before

    # One takes the change, and does not show it: the first has it, and all is said.
    honest = ModelService.reload

    def deaf(service: ModelService, config: bytes) -> None:
        if service.address != second.address:
            honest(service, config)

    with monkeypatch.context() as patch:
        patch.setattr(ModelService, "reload", deaf)
        arguments = released.arguments("promote", 1)
        arguments[arguments.index("--wait") + 1] = "3"
        outcome = digits(*arguments, *both)
    assert outcome.code == 1
    assert f"{second.address} does not serve version 1 after 3 s" in outcome.err
    assert released.answer("stable") == 2  # the server that obeyed is back where it was
    assert released.available() == {2}
    assert History.read(released.root.releases).pending is None


def test_a_server_that_takes_the_change_and_does_not_show_it(
    released: Released, digits, monkeypatch
):
    released.reset(stable=1)
    assert digits(*released.arguments("promote", 1)).code == 0
    honest = ModelService.reload
    reloads: list[bytes] = []

    def deaf_at_last(service: ModelService, config: bytes) -> None:
        reloads.append(config)
        if len(reloads) == 1:  # loads, but the labels never move
            honest(service, config)

    arguments = released.arguments("promote", 2)
    arguments[arguments.index("--wait") + 1] = "3"
    with monkeypatch.context() as patch:
        patch.setattr(ModelService, "reload", deaf_at_last)
        outcome = digits(*arguments)
    assert outcome.code == 2
    assert "does not confirm the change after 3 s: it serves [1, 2]" in outcome.err
    assert outcome.err.count("\n") == 1
    assert len(reloads) == 2
    assert History.read(released.root.releases).pending is not None
    assert released.answer("stable") == 1
    assert_startable(released.root)
    assert digits(*released.arguments("promote", 2)).code == 0  # as it was told to
    assert (released.answer("stable"), released.available()) == (2, {2})


def test_repeated_releases(released: Released, digits):
    released.reset(stable=1)
    for number in (1, 2):
        assert digits(*released.arguments("promote", number)).code == 0
    again = digits(*released.arguments("promote", 2))
    assert again.code == 0
    assert "served as before: stable 2" in again.out
    assert History.read(released.root.releases).stable_versions == [1, 2]
    assert digits(*released.arguments("rollback")).code == 0
    assert released.available() == {1}
    nowhere = digits(*released.arguments("rollback"))
    assert nowhere.code == 2
    assert "no earlier release to go back to" in nowhere.err
    assert released.available() == {1}


def test_a_label_for_a_version_that_is_not_loaded_is_refused_as_upstream_does(
    released: Released,
):
    released.reset(stable=1)
    config = read_config(
        released.root.server_config, model="digits", default=str(released.root.serving)
    )
    unloaded = with_versions(config, "digits", {1, 2}, {"stable": 2})
    with pytest.raises(ServerError) as refused:
        released.service.reload(unloaded.SerializeToString())
    assert refused.value.code == "FAILED_PRECONDITION"
    assert "version 2 of model digits, which is not currently available" in refused.value.detail
    assert released.answer("stable") == 1
