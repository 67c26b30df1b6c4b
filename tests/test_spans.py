"""Spans: how they are found, what a window holds, and what a model is compared with."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_metadata.proto.metadata_store_pb2 import Event
from tfx.types import artifact, standard_artifacts

from components.gates import EXAMPLES_PROPERTY
from components.sources import open_source
from components.span_resolvers import LatestBlessed, LatestBlessedBeforeSpan, RollingWindow
from components.spans import find_spans, locate_span
from serving.errors import InputError
from tests.conftest import write_idx


def write_span(directory: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """An IDX set of which every fifth digit is for the test."""
    directory.mkdir(parents=True)
    test = np.arange(len(labels)) % 5 == 0
    for stem, rows in (("train", ~test), ("t10k", test)):
        write_idx(directory / f"{stem}-images-idx3-ubyte", images[rows])
        write_idx(directory / f"{stem}-labels-idx1-ubyte", labels[rows].astype(np.uint8))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("span-{SPAN}", [2, 10]),
        ("span-{SPAN:3}", [7]),
        ("{SPAN}.npz", [3]),
    ],
)
def test_spans_are_found_by_number(tmp_path: Path, pattern: str, found: list[int]):
    for name in ("span-10", "span-2", "span-007", "span-0", "span-x", "span-3.partial", "3.npz"):
        (tmp_path / name).mkdir()
    assert list(find_spans(f"{tmp_path}/{pattern}")) == found


@pytest.mark.parametrize("pattern", ["span", "{SPAN}-{SPAN}", "{SPAN:0}", "{SPAN:x}"])
def test_a_pattern_without_one_placeholder_is_refused(tmp_path: Path, pattern: str):
    with pytest.raises(InputError, match=r"expected \{SPAN\} once"):
        find_spans(f"{tmp_path}/{pattern}")


def test_a_span_is_located_in_its_format(tmp_path: Path, sample):
    images, labels = (array[::100] for array in sample)
    write_span(tmp_path / "day-03", images, labels)
    np.savez(tmp_path / "4.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for data, span, count in (("day-{SPAN:2}", 3, 40), ("{SPAN}.npz", 4, 50)):
        location, number = locate_span(f"{tmp_path}/{data}", None)
        assert number == span
        # TFX's driver puts the number there.
        resolved = location._replace(pattern=location.pattern.replace("{SPAN:2}", "03"))
        resolved = resolved._replace(pattern=resolved.pattern.replace("{SPAN}", str(span)))
        batches = open_source(resolved).batches("train")
        assert sum(len(labels) for _, labels in batches) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{dir}/span-{SPAN}"], "span-{SPAN}: no such span"),
        (["--data", "{dir}/{SPAN}.csv", "--span", "8"], "--span 8: not in {dir}/{SPAN}.csv; there"),
        (["--data", "{dir}/{SPAN}/{SPAN}"], "expected {SPAN} once in it"),
        (["--window", "3"], "--span and --window go with {SPAN} in --data"),
    ],
)
def test_bad_spans_are_refused_with_one_line(digits, tmp_path: Path, arguments, message):
    (tmp_path / "7.csv").write_text("")
    arguments = [argument.replace("{dir}", str(tmp_path)) for argument in arguments]
    outcome = digits("run", "--root", tmp_path / "run", *arguments)
    assert outcome.code == 2
    assert message.replace("{dir}", str(tmp_path)) in outcome.err
    assert outcome.err.count("\n") == 1


class Artifact:
    """As much of TFX's as the resolvers ask for."""

    def __init__(self, number: int, **properties: int | str):
        self.id, self.uri, self._properties = number, f"/artifact/{number}", properties

    def get_int_custom_property(self, name: str) -> int:
        return self._properties.get(name, 0)

    get_string_custom_property = get_int_custom_property


def test_a_window_holds_the_newest_blessed_spans_once_each():
    examples = [
        Artifact(1, span=1),
        Artifact(2, span=2),
        Artifact(3, span=3),
        Artifact(4, span=2),  # read again
        Artifact(5, span=4),
        Artifact(6),  # of data without spans
    ]
    blessings = [
        Artifact(10 + e.id, blessed=int(e.id != 3), **{EXAMPLES_PROPERTY: e.uri}) for e in examples
    ]

    def window(spans: int) -> list[int]:
        inputs = {"examples": examples, "blessing": blessings}
        return [e.id for e in RollingWindow(spans).resolve_artifacts(None, inputs)["examples"]]

    assert window(1) == [5]
    assert window(2) == [5, 4]
    assert window(9) == [5, 4, 1]


class Store:
    """As much of a metadata store as the resolvers ask for: which execution had what."""

    def __init__(self, executions: list[tuple[list[int], list[int]]]):
        self._events = [
            Event(execution_id=number, artifact_id=artifact, type=kind)
            for number, lists in enumerate(executions, 1)
            for artifacts, kind in zip(lists, (Event.INPUT, Event.OUTPUT), strict=True)
            for artifact in artifacts
        ]

    def get_events_by_artifact_ids(self, ids: list[int]) -> list[Event]:
        return [event for event in self._events if event.artifact_id in ids]

    def get_events_by_execution_ids(self, ids: list[int]) -> list[Event]:
        return [event for event in self._events if event.execution_id in ids]


@pytest.mark.parametrize(
    ("strategy", "pushed", "found"),
    [
        (LatestBlessed(), [31, 32, 33], [3]),
        (LatestBlessedBeforeSpan(), [31, 32, 33], [2]),  # 3 is of the newest span itself
        (LatestBlessed(), [31, 32], [2]),
        (LatestBlessed(), [31], [1]),  # 2 and 3: refused by a later gate than the Evaluator
        (LatestBlessedBeforeSpan(), [31], [1]),
        (LatestBlessed(), [], []),
    ],
)
def test_the_latest_blessed_model_is_one_that_was_pushed(strategy, pushed, found):
    spans = {1: 1, 2: 2, 3: 3, 4: 3}

    def known(number: int, kind: type, **properties: int) -> artifact.Artifact:
        made = kind()
        made.id = number
        for name, value in properties.items():
            made.set_int_custom_property(name, value)
        return made

    inputs = {
        "examples": [Artifact(41, span=2), Artifact(42, span=3)],
        "model": [known(number, standard_artifacts.Model) for number in spans],
        "model_blessing": [
            known(
                20 + number,
                standard_artifacts.ModelBlessing,
                **{"current_model_id": number, "blessed": int(number != 4), "span": span},
            )
            for number, span in spans.items()
        ],
        "pushed_model": [Artifact(number) for number in pushed],
    }
    # Trainings, evaluations and pushes: what goes in, and what comes out.
    store = Store(
        [([], [number]) for number in spans]
        + [([number], [20 + number]) for number in spans]
        + [([number - 30, number - 10], [number]) for number in pushed]
    )
    resolved = strategy.resolve_artifacts(store, inputs)
    assert [model.id for model in resolved["model"]] == found


def test_a_run_resolves_and_compares_and_a_killed_one_is_resumed(digits, tmp_path: Path, sample):
    images, labels = sample
    for span in (1, 2):
        write_span(tmp_path / f"span-{span}", images[span::4], labels[span::4])
    root = tmp_path / "run"
    arguments = [
        *("--data", f"{tmp_path}/span-{{SPAN}}", "--root", str(root), "--window", "2"),
        *("--min-accuracy", "0.3", "--min-recall", "0"),
    ]

    def summary() -> dict:
        return json.loads((root / "summary.json").read_text())

    assert digits("run", *arguments, "--span", 1).code == 0
    first = summary()
    assert first["data"]["span"] == 1
    assert first["data"]["trained_on_spans"] == [1]
    assert not first["model"]["warm_start"]

    # Killed in the middle of the training; seed 2 is for a training that is not cached.
    command = [sys.executable, "-u", "-m", "pipeline.cli", "run", *arguments, "--seed", "2"]
    process = subprocess.Popen(
        [*command, "--epochs", "500"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if "epoch 1/" in line:
            process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert summary() == first

    outcome = digits("run", *arguments)
    assert outcome.code == 0, outcome.err
    second = summary()
    assert second["data"]["span"] == 2
    assert second["data"]["trained_on_spans"] == [1, 2]
    assert second["model"]["warm_start"]
    assert len(second["model"]["history"]["loss"]) < len(first["model"]["history"]["loss"])
    # Where the training goes on, not where one starts.
    assert second["model"]["history"]["loss"][0] < first["model"]["history"]["loss"][1]
    assert re.search(r"= StatisticsGen +cached", outcome.out)  # by the run that was killed
    assert first["model"]["baseline"] is None
    baseline = second["model"]["baseline"]
    assert 0 < baseline["accuracy"] < second["model"]["accuracy"]
    assert f"{baseline['accuracy']:.2%}" in outcome.out
    assert re.search(r"trained on spans +1, 2", outcome.out)

    # Nothing has changed: the model is not compared with itself, and not trained on.
    again = digits("run", *arguments)
    assert again.code == 0, again.err
    shown = re.findall(r"^✓ (\w+) +ran", again.out, re.MULTILINE)
    assert set(shown) == {"LatestBlessedModel", "RollingWindow"}
