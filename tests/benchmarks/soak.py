"""The model server over a long time, with all that happens to one.

    make bench-soak [ARGS="--root run --minutes 10 --backend tensorflow"]

Sixteen callers ask without a pause, half of them over REST. Early on the server is killed and
started again; then a new version appears at every interval, the old one goes, and one version is
damaged. Exit code 0: no wrong answer, no failure but during the kill, memory flat.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
import uvloop
from rich.console import Console
from tensorflow_serving.apis import predict_pb2

from pipeline.config import RunRoot
from serving.predict import latest_version
from tests.benchmarks.load import Answers, RestCaller, grpc_caller, keep_asking
from tests.benchmarks.serving import REST_PATH, SERVE, pictures
from tests.ports import free_ports
from tests.serving.servers import Server, predict_request, running, wait_until

console = Console(width=100)

CALLERS = 16
IMAGES = 4
#: Growth of the memory that is held for flat: less than a leaked copy of a model a swap.
MAX_GROWTH = 0.05


def main() -> int:
    """Runs the soak test; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("run"))
    parser.add_argument("--backend", choices=("tensorflow", "litert"), default="tensorflow")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--interval", type=float, default=20.0, help="seconds between versions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        return _soak(Path(directory), options)


def _soak(directory: Path, options: argparse.Namespace) -> int:
    root = RunRoot(options.root)
    source = latest_version(root.serving if options.backend == "tensorflow" else root.edge)
    base = directory / "digits"
    _push(source, base, 1)
    ports = free_ports(2)
    flags = [f"--backend={options.backend}", f"--model_base_path={base}"]
    end = time.monotonic() + options.minutes * 60
    answers = Answers()
    memory: list[float] = []
    with (
        running(directory, *flags, command=SERVE, ports=ports) as first,
        Callers(first, answers) as callers,
    ):
        callers.watch(min(options.interval, (end - time.monotonic()) / 4))
        down_from = time.monotonic()
        first.kill()
        with running(directory, *flags, command=SERVE, ports=ports) as server:
            down_until = time.monotonic() + 1  # for channels that back off
            for version in itertools.count(2):
                if time.monotonic() > end:
                    break
                damaged = version == 4
                _push(source, base, version, damaged=damaged)
                callers.watch(options.interval)
                state, _, reason = server.address.statuses("digits")[version]
                console.print(
                    f"version {version}: {state} {reason[:60]}; {mebibytes(server):,.0f} MiB; "
                    f"{len(answers.seconds):,} right, {answers.wrong} wrong, "
                    f"{len(answers.failures)} failed"
                )
                if state != ("END" if damaged else "AVAILABLE"):
                    console.print("[red]that is the wrong state")
                    return 1
                if damaged:
                    shutil.rmtree(base / str(version))
                else:
                    memory.append(mebibytes(server))
            callers.stop()
            code = server.stop()
    failures = [f for f in answers.failures if not down_from <= f[0] <= down_until]
    growth = _growth(memory)
    console.print(
        f"{len(answers.seconds):,} right answers, p99 {answers.percentile(99) * 1e3:.1f} ms; "
        f"{answers.wrong} wrong; {len(failures)} failed besides "
        f"{len(answers.failures) - len(failures)} during the kill; "
        f"memory {growth:+.1%} over {len(memory)} swaps; exit code {code}"
    )
    for _, reason in failures[:5]:
        console.print(reason)
    return int(bool(answers.wrong or failures or growth > MAX_GROWTH or code))


class Callers:
    """Callers in a thread of their own, until stopped."""

    def __init__(self, server: Server, answers: Answers):
        self._server = server
        self._answers = answers
        self._stop = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Callers":
        self._thread.start()
        wait_until(lambda: self._answers.seconds or self._error)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def watch(self, seconds: float) -> None:
        """Waits while they ask."""
        time.sleep(max(seconds, 0))
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends them."""
        self._stop = True
        self._thread.join()

    def _run(self) -> None:
        try:
            uvloop.run(self._ask())
        except BaseException as error:
            self._error = error

    async def _ask(self) -> None:
        batch = pictures(IMAGES)
        request = predict_request("digits", images=batch)
        body = json.dumps({"instances": batch.tolist()}).encode()
        address = self._server.address
        channel = grpc.aio.insecure_channel(
            address.grpc, options=[("grpc.max_reconnect_backoff_ms", 500)]
        )
        ask = grpc_caller(channel, request.SerializeToString())
        labels = _labels(await ask())

        def is_right(answer: bytes) -> bool:
            return _labels(answer) == labels

        def is_right_rest(answer: bytes) -> bool:
            return [row["label"] for row in json.loads(answer)["predictions"]] == labels

        async def until_stopped(call, check) -> None:
            while not self._stop:
                await keep_asking(call, check, time.monotonic() + 0.2, self._answers)

        asks = [RestCaller(address.rest, REST_PATH, body) for _ in range(CALLERS // 2)]
        await asyncio.gather(
            *(until_stopped(ask, is_right) for _ in range(CALLERS // 2)),
            *(until_stopped(caller, is_right_rest) for caller in asks),
        )


def _labels(answer: bytes) -> list[int]:
    response = predict_pb2.PredictResponse.FromString(answer)
    return tf.make_ndarray(response.outputs["label"]).tolist()


def _push(source: Path, base: Path, version: int, *, damaged: bool = False) -> None:
    hidden = base.parent / "new"
    shutil.copytree(source, hidden)
    if damaged:
        largest = max(hidden.rglob("*"), key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 0xFF
        largest.write_bytes(data)
    base.mkdir(exist_ok=True)
    hidden.rename(base / str(version))
    for old in base.iterdir():
        if int(old.name) < version - 2:
            shutil.rmtree(old)


def mebibytes(server: Server) -> float:
    """Resident memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _growth(memory: list[float]) -> float:
    """From the second quarter of the time to the last one, as a share."""
    quarter = max(1, len(memory) // 4)
    early = np.median(memory[quarter : 2 * quarter] or memory[:1])
    return float(np.median(memory[-quarter:]) / early - 1)


if __name__ == "__main__":
    sys.exit(main())
