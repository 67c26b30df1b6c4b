"""Adaptive batching: a run takes all that queued while the last one ran."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from serving.server.status import Code, ServingError

#: Runs a signature: (signature, inputs by alias, output aliases) -> one array an output.
Run = Callable[[str, dict[str, np.ndarray], Sequence[str]], list[np.ndarray]]
Result = list[np.ndarray] | Exception


@dataclass(frozen=True, kw_only=True)
class BatchingOptions:
    """How requests share runs.

    Attributes:
        enabled: whether they do.
        max_batch_size: rows of a run, unless one request alone has more.
        max_enqueued: requests that may wait; more are refused with RESOURCE_EXHAUSTED.
        threads: runs at the same time.
        timeout: seconds that a run waits for more rows. Zero, the default, is best for latency
            and, since a run takes all that queued meanwhile, for throughput.
    """

    enabled: bool = True
    max_batch_size: int = 64
    max_enqueued: int = 1024
    threads: int = 1
    timeout: float = 0.0


@dataclass(slots=True, eq=False)
class _Task:
    signature: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    key: tuple | None  # of requests that may share a run; None shares with none
    rows: int
    deadline: float
    future: asyncio.Future[list[np.ndarray]]


class Batcher:
    """Runs one servable in its own threads, for coroutines of one event loop."""

    def __init__(self, run: Run, options: BatchingOptions, loop: asyncio.AbstractEventLoop):
        self._run = run
        self._options = options
        self._loop = loop
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        # Touched by the loop's thread only:
        self._gathered: list[_Task] = []
        self._waiting = 0
        self._threads = [
            threading.Thread(target=self._work, name="batcher", daemon=True)
            for _ in range(options.threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def idle(self) -> bool:
        """Whether no request waits or runs."""
        return not self._waiting

    def submit(
        self,
        signature: str,
        inputs: dict[str, np.ndarray],
        outputs: tuple[str, ...],
        *,
        batch: bool,
        inline: bool = False,
        deadline: float = float("inf"),
    ) -> asyncio.Future[list[np.ndarray]]:
        """Queues a request.

        Args:
            signature: its signature.
            inputs: by alias.
            outputs: aliases.
            batch: whether its rows, along the first dimension, may share a run with others'.
            inline: run it in the loop's own thread, with what else comes in this turn of the loop:
                readers, model and writers then find their caches warm.
            deadline: of `time.monotonic()`; a request that waits longer is not run.

        Raises:
            ServingError: RESOURCE_EXHAUSTED, too many wait.
        """
        if self._waiting >= self._options.max_enqueued:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                "The batch scheduling queue to which this task was submitted is full",
            )
        key, rows = None, 1
        if batch and self._options.enabled:
            arrays = inputs.values()
            sizes = {len(array) if array.ndim else -1 for array in arrays}
            if len(sizes) == 1 and (rows := sizes.pop()) > 0:
                shapes = tuple((alias, a.dtype, a.shape[1:]) for alias, a in inputs.items())
                key = signature, outputs, shapes
        future: asyncio.Future[list[np.ndarray]] = self._loop.create_future()
        self._waiting += 1
        task = _Task(signature, inputs, outputs, key, rows, deadline, future)
        if inline:
            if not self._gathered:
                self._loop.call_soon(self._run_gathered)
            self._gathered.append(task)
        else:
            self._queue.put(task)
        return future

    def _run_gathered(self) -> None:
        tasks, self._gathered = self._gathered, []
        self._deliver(tasks, self._execute(tasks))

    def close(self) -> None:
        """Ends the threads once the queue is empty."""
        for _ in self._threads:
            self._queue.put(None)

    def _work(self) -> None:
        carried: _Task | None = None
        while (task := carried or self._queue.get()) is not None:
            tasks, carried = self._take(task)
            results = self._execute(tasks)
            try:
                self._loop.call_soon_threadsafe(self._deliver, tasks, results)
            except RuntimeError:  # the loop has been closed, and nobody waits any more
                return

    def _take(self, first: _Task) -> tuple[list[_Task], _Task | None]:
        """Takes what has queued, and the task that did not fit any more."""
        tasks, rows = [first], first.rows
        until = time.monotonic() + self._options.timeout
        while rows < self._options.max_batch_size:
            try:
                if self._options.timeout:
                    task = self._queue.get(timeout=max(until - time.monotonic(), 0.0))
                else:
                    task = self._queue.get_nowait()
            except queue.Empty:
                break
            if task is None:
                self._queue.put(None)
                break
            if rows + task.rows > self._options.max_batch_size:
                return tasks, task
            tasks.append(task)
            rows += task.rows
        return tasks, None

    def _execute(self, tasks: list[_Task]) -> list[Result]:
        results: dict[int, Result] = {}
        groups: dict[tuple, list[_Task]] = {}
        now = time.monotonic()
        for task in tasks:
            if task.future.cancelled():
                results[id(task)] = asyncio.CancelledError()  # type: ignore[assignment]
            elif task.deadline < now:
                results[id(task)] = ServingError(
                    Code.DEADLINE_EXCEEDED, "Deadline expired before operation could complete."
                )
            elif task.key is None:
                results[id(task)] = self._run_one(task)
            else:
                groups.setdefault(task.key, []).append(task)
        for group in groups.values():
            for task, result in zip(group, self._run_group(group), strict=True):
                results[id(task)] = result
        return [results[id(task)] for task in tasks]

    def _run_one(self, task: _Task) -> Result:
        try:
            return self._run(task.signature, task.inputs, task.outputs)
        except Exception as error:
            return error

    def _run_group(self, group: list[_Task]) -> list[Result]:
        if len(group) == 1:
            return [self._run_one(group[0])]
        first = group[0]
        try:
            outputs = self._run(
                first.signature,
                {
                    alias: np.concatenate([task.inputs[alias] for task in group])
                    for alias in first.inputs
                },
                first.outputs,
            )
        except Exception:
            # One of them is to blame, and only that one shall fail.
            return [self._run_one(task) for task in group]
        rows = sum(task.rows for task in group)
        if any(output.ndim == 0 or len(output) != rows for output in outputs):
            return [self._run_one(task) for task in group]
        ends = accumulate(task.rows for task in group)
        return [
            [output[end - task.rows : end] for output in outputs]
            for task, end in zip(group, ends, strict=True)
        ]

    def _deliver(self, tasks: list[_Task], results: list[Result]) -> None:
        self._waiting -= len(tasks)
        for task, result in zip(tasks, results, strict=True):
            if task.future.done():  # its caller has gone
                continue
            if isinstance(result, list):
                task.future.set_result(result)
            else:
                task.future.set_exception(result)
