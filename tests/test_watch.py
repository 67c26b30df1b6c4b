"""`digits watch`, with the run of the pipeline replaced at its one seam."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import watch
from pipeline.config import RunRoot
from pipeline.watch import LOCK_FILE, Watcher
from serving.errors import InputError

POLL = 0.2


class Runs:
    """Stands for `digits run`: writes the summary, and notes each span."""

    def __init__(self, root: RunRoot):
        self.spans: list[int] = []
        self.fails = False
        self.meanwhile: Callable[[], object] = lambda: None
        self._root = root

    def __call__(self, span: int) -> int:
        self.spans.append(span)
        self.meanwhile()
        if self.fails:
            return 2
        self._root.path.mkdir(exist_ok=True)
        self._root.summary.write_text(json.dumps({"data": {"span": span}}))
        return 0


@pytest.fixture
def root(tmp_path: Path) -> RunRoot:
    return RunRoot(tmp_path / "run")


@pytest.fixture
def runs(root: RunRoot) -> Runs:
    return Runs(root)


@pytest.fixture
def watcher(tmp_path: Path, root: RunRoot, runs: Runs) -> Watcher:
    return Watcher(f"{tmp_path}/span-{{SPAN}}", root, runs, poll_seconds=POLL)


def arrive(tmp_path: Path, span: int) -> Path:
    file = tmp_path / f"span-{span}" / "digits"
    file.parent.mkdir(exist_ok=True)
    file.write_text("x")
    return file


def test_spans_are_trained_on_once_in_order_when_they_are_whole(tmp_path, watcher, runs):
    for span in (10, 9, 2):
        arrive(tmp_path, span)
    watcher.look()
    assert runs.spans == []  # perhaps still being copied
    time.sleep(POLL)
    watcher.look()
    watcher.look()
    assert runs.spans == [2, 9, 10]
    arrive(tmp_path, 3)  # too late: later spans have been trained on
    arrive(tmp_path, 11)
    time.sleep(POLL)
    watcher.look()
    assert runs.spans == [2, 9, 10, 11]


def test_a_span_that_is_being_copied_is_waited_for_and_so_are_later_ones(tmp_path, watcher, runs):
    growing = arrive(tmp_path, 1)
    time.sleep(POLL)
    arrive(tmp_path, 2)
    for _ in range(3):
        with growing.open("a") as file:
            file.write("x")
        os.utime(growing, (0, 0))  # as `cp --preserve` does
        watcher.look()
        time.sleep(POLL / 2)
    assert runs.spans == []
    time.sleep(POLL)
    watcher.look()
    assert runs.spans == [1, 2]


def test_a_file_can_be_a_span(tmp_path, root, runs):
    watcher = Watcher(f"{tmp_path}/{{SPAN}}.csv", root, runs, poll_seconds=POLL)
    (tmp_path / "1.csv").write_text("x")
    watcher.look()
    assert runs.spans == []
    time.sleep(POLL)
    watcher.look()
    assert runs.spans == [1]


def test_a_failed_span_is_tried_again_when_it_changes_and_holds_up_no_other(
    tmp_path, watcher, runs
):
    arrive(tmp_path, 1)
    time.sleep(POLL)
    runs.fails = True
    watcher.look()
    watcher.look()
    assert runs.spans == [1]
    runs.fails = False
    arrive(tmp_path, 1).write_text("mended")
    time.sleep(POLL)
    watcher.look()
    assert runs.spans == [1, 1]


def test_a_new_watcher_goes_on_where_the_last_one_was(tmp_path, watcher, root, runs):
    arrive(tmp_path, 1)
    time.sleep(POLL)
    watcher.look()
    arrive(tmp_path, 2)
    time.sleep(POLL)
    Watcher(f"{tmp_path}/span-{{SPAN}}", root, runs, poll_seconds=POLL).look()
    assert runs.spans == [1, 2]


def test_a_span_that_arrives_during_a_run_is_next(tmp_path, watcher, runs, capsys):
    arrive(tmp_path, 1)
    time.sleep(POLL)
    runs.meanwhile = lambda: arrive(tmp_path, 2)
    watcher.look()
    assert runs.spans == [1]
    runs.meanwhile = lambda: None
    watcher.look()
    time.sleep(POLL)
    watcher.look()
    assert runs.spans == [1, 2]
    assert capsys.readouterr().out.splitlines() == [
        f"span {span}: {what}" for span in (1, 2) for what in ("training", "pushed")
    ]


def test_a_span_whose_run_was_killed_is_trained_on_again(tmp_path, watcher, root, runs):
    arrive(tmp_path, 1)
    time.sleep(POLL)

    def die() -> None:
        raise SystemExit

    runs.meanwhile = die
    with pytest.raises(SystemExit):
        watcher.look()
    runs.meanwhile = lambda: None
    Watcher(f"{tmp_path}/span-{{SPAN}}", root, runs, poll_seconds=POLL).look()
    assert runs.spans == [1, 1]


def test_a_run_in_the_same_root_is_waited_for(tmp_path, watcher, root, runs):
    arrive(tmp_path, 1)
    time.sleep(POLL)
    root.path.mkdir()
    with root.log.open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        watcher.look()
        assert runs.spans == []
    watcher.look()
    assert runs.spans == [1]


def test_two_watchers_do_not_share_a_root(watcher, root):
    root.path.mkdir()
    with (root.path / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another `digits watch` is using it"):
            watcher.watch()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{SPAN}{SPAN}"], "expected {SPAN} once in it"),
        (["somewhere", "--recipe", "secret"], "invalid choice: 'secret'"),
        (["--poll", "0", "somewhere"], "0: expected a positive integer"),
        (["somewhere"], "somewhere: no such directory"),
        ([".", "--span", "3"], "--data and --span are what `digits watch` finds"),
        ([".", "--data", "sample"], "--data and --span are what `digits watch` finds"),
    ],
)
def test_bad_usage_ends_the_watch_before_it_begins(digits, tmp_path, arguments, message):
    outcome = digits("watch", *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_damaged_summary_is_named(tmp_path, watcher, root, runs):
    root.path.mkdir()
    root.summary.write_text("[]")
    arrive(tmp_path, 1)
    with pytest.raises(InputError, match=r"summary\.json: damaged"):
        watcher.look()
    assert runs.spans == []


def test_ctrl_c_lets_a_run_end_by_itself(tmp_path, monkeypatch):
    """One that the signal did not reach gets it: nothing is killed while it cleans up."""
    run = tmp_path / "run.py"
    run.write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (time.sleep(0.5), open('end', 'w'), sys.exit()))\n"
        "open('begin', 'w')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "RUN", [sys.executable, str(run)])
    monkeypatch.setattr(watch, "INTERRUPT_SECONDS", 0.1)

    def press() -> None:
        while not (tmp_path / "begin").exists():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=press).start()
        with pytest.raises(KeyboardInterrupt):
            watch.run_digits([])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "end").exists()


def test_the_command_runs_the_pipeline_for_what_arrives(tmp_path: Path):
    """The real run, on a span that is no data set: it fails and the watch goes on."""
    root = tmp_path / "run"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.cli", "watch", "--poll", "1"),
            *(str(tmp_path), "--root", str(root)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == f"watching {tmp_path}/span-{{SPAN}}, there: none yet\n"
    arrive(tmp_path, 7)
    assert process.stdout.readline() == "span 7: training\n"
    assert process.stdout.readline() == (
        "span 7: failed (exit code 2); tried again when its files change\n"
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith(f"digits: --data {tmp_path}/span-7: neither IDX files nor class folders")
    assert err.endswith("digits: interrupted\n")
