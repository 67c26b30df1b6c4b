"""`digits watch`: trains when a span of data arrives.

What was done is read from the run root, so that a watcher that was killed goes on where it was:
a span is done once a summary of it, or of a later one, is there. A run that was killed is run
again, and finds what it had finished in the cache.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from components.spans import find_spans
from pipeline.config import RunRoot
from pipeline.locks import exclusive, take
from serving.errors import InputError
from serving.server.versions import Snapshot

LOCK_FILE = "watch.lock"
RUN = (sys.executable, "-m", "pipeline.cli", "run")
#: So long a run may take to end after Ctrl-C.
INTERRUPT_SECONDS = 5
INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)


def run_digits(arguments: Sequence[str]) -> int:
    """`digits run` in a process of its own, which gives back all its memory; its exit code."""
    process = subprocess.Popen([*RUN, *arguments])
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            process.wait(INTERRUPT_SECONDS)  # a terminal's Ctrl-C reaches it too
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        raise


class Watcher:
    """Polls for spans and runs the pipeline for each.

    Args:
        data: a path with `{SPAN}`.
        root: the run root.
        run: runs the pipeline for a span, and returns its exit code.
        poll_seconds: between two looks; a span that did not change meanwhile is whole.
    """

    def __init__(self, data: str, root: RunRoot, run: Callable[[int], int], *, poll_seconds: float):
        self._data = os.path.abspath(os.path.expanduser(data))
        self._root = root
        self._run = run
        self._poll_seconds = poll_seconds
        self._seen: dict[int, Snapshot] = {}
        self._failed: dict[int, Snapshot] = {}

    def watch(self) -> None:
        """Runs until interrupted.

        Raises:
            InputError: the pattern is wrong, or another watcher uses the run root.
            KeyboardInterrupt: a run was interrupted.
        """
        spans = find_spans(self._data)  # the pattern's faults, before the first wait
        directory = os.path.dirname(self._data.partition("{SPAN")[0])
        if not os.path.isdir(directory):
            raise InputError(f"{directory}: no such directory; make it before spans arrive")
        lock = self._root.path / LOCK_FILE
        with exclusive(
            self._root, lock, "another `digits watch` is using it; end it first", make_root=True
        ):
            there = ", ".join(map(str, spans)) or "none yet"
            print(f"watching {self._data}, there: {there}", flush=True)
            while True:
                self.look()
                time.sleep(self._poll_seconds)

    def look(self) -> None:
        """Runs the pipeline for all spans that are new and whole, lowest first."""
        for span, path in find_spans(self._data).items():
            if span <= self._last_done():
                continue
            try:
                now = Snapshot.take(path)
            except OSError:  # just renamed: the next look finds it
                return
            if self._failed.get(span) == now:
                continue
            before, self._seen[span] = self._seen.get(span), now
            if not now.is_settled(before, self._poll_seconds):
                return  # still being copied: a later span waits for its turn
            if self._is_busy():
                return
            self._train(span, now)

    def _train(self, span: int, files: Snapshot) -> None:
        print(f"span {span}: training", flush=True)
        code = self._run(span)
        if code in INTERRUPTED:
            raise KeyboardInterrupt
        if span <= self._last_done():
            print(f"span {span}: {'pushed' if code == 0 else 'refused by a gate'}", flush=True)
        else:
            self._failed[span] = files
            print(
                f"span {span}: failed (exit code {code}); tried again when its files change",
                flush=True,
            )

    def _last_done(self) -> int:
        if not self._root.summary.exists():
            return 0
        try:
            return json.loads(self._root.summary.read_text())["data"].get("span") or 0
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self._root.summary}: damaged; run the last span again: digits run --span"
            ) from error

    def _is_busy(self) -> bool:
        """Whether a run holds the run root: one by hand, or one that outlived a killed watcher."""
        if not self._root.log.exists():
            return False
        with self._root.log.open("a") as log:
            return not take(log)
