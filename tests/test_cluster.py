"""Training on two workers on loopback, which find each other by `TF_CONFIG`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.cluster import strategy_from_environment
from components.recipes import RECIPES
from components.trainer import HISTORY_FILE, KERAS_FILE
from serving.errors import InputError
from tests.conftest import PipelineRun
from tests.ports import free_ports


def train(run: PipelineRun, outs: list[Path]) -> None:
    """Starts a worker for each of the directories, and waits for all."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(len(outs))]}
    inputs = run.artifact("ExampleGen", "examples"), run.artifact("Transform", "transform_graph")
    processes = []
    for index, out in enumerate(outs):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.cluster_worker", *map(str, inputs), str(out)],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err[-3000:]


def test_two_workers_train_what_one_trains(pipeline_run: PipelineRun, tmp_path: Path):
    outs = [tmp_path / "0", tmp_path / "1"]
    train(pipeline_run, outs)
    history = json.loads((outs[0] / "run" / HISTORY_FILE).read_text())
    alone = pipeline_run.summary["model"]
    # Of 4,000 digits, the last 32 of an epoch are no whole batch, which two workers leave out.
    assert history["steps"] == 5 * 62
    assert alone["steps"] == 5 * 63
    ours, theirs = history["history"], alone["history"]
    assert ours.keys() == theirs.keys()
    # The same digits in the same order: equal, until the order of additions has told.
    assert ours["loss"][0] == pytest.approx(theirs["loss"][0], rel=0.02)
    assert ours["val_accuracy"][-1] > theirs["val_accuracy"][-1] - 0.02
    assert (outs[0] / "run" / KERAS_FILE).exists()
    assert (outs[0] / "Format-Serving" / "saved_model.pb").exists()
    assert not list(outs[1].iterdir())  # the chief alone writes


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "expected JSON with a cluster of workers"),
        ("[]", "expected JSON with a cluster of workers"),
        ('{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}}', r"only a chief and workers"),
        ('{"cluster": {"worker": ["a:1", "b:1", "c:1"]}}', "3 workers cannot share batches of 64"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused(monkeypatch, config: str, message: str):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match=message):
        strategy_from_environment(RECIPES["seed"])


@pytest.mark.parametrize("config", [None, '{"cluster": {"worker": ["a:1"]}}'])
def test_one_worker_is_no_cluster(monkeypatch, config: str | None):
    if config:
        monkeypatch.setenv("TF_CONFIG", config)
    else:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    assert strategy_from_environment(RECIPES["seed"]) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}',
            "describes 2 workers, but a whole pipeline runs on one machine; unset it, or",
        ),
        ("{", "expected JSON with a cluster of workers"),
    ],
)
def test_a_whole_pipeline_joins_no_cluster(digits, monkeypatch, tmp_path: Path, config, message):
    monkeypatch.setenv("TF_CONFIG", config)
    outcome = digits("run", "--root", tmp_path)
    assert outcome.code == 2
    assert outcome.err.startswith(f"digits: TF_CONFIG: {message}")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "artifacts").exists()
