"""Everything that runs the digits' network, each as a function from digits to probabilities."""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from export import verify
from export.bundle import is_quantised
from export.description import read_description
from export.edge_model import DEFAULT_VARIANT
from export.hashes import sha256_of_directory
from pipeline.config import RunRoot
from pipeline.release.current import current_version
from serving.client import Client
from serving.errors import InputError
from serving.pictures import encode_png

BATCH = 500
START_SECONDS = 120
STOP_SECONDS = 30
REQUEST_SECONDS = 60


#: From uint8 [n, 28, 28] to probabilities, float [n, 10]: the real values of what was answered.
Run = Callable[[np.ndarray], np.ndarray]


class Same(NamedTuple):
    """An engine must give the probabilities of another one.

    Attributes:
        engine: the other's name.
        tolerance: the largest difference of a probability; 0: the very bytes.
        differing: share of the digits to which it may give other scores.
    """

    engine: str
    tolerance: float
    differing: float = 1.0


#: Share of the digits to which TensorFlow Lite Micro may give other scores. Up to three of 10,000
#: were so with any model that was tried.
MICRO_DIFFERING = 0.001


@dataclass(frozen=True)
class Engine:
    """Something that runs the network.

    Attributes:
        name: as the table shows it.
        run: runs it.
        quantised: whether weights or activations are.
        pictures: whether it takes pictures, in which it finds the digit first.
        same: what its probabilities must be.
    """

    name: str
    run: Run
    quantised: bool = False
    pictures: bool = False
    same: Same | None = None


@dataclass(frozen=True)
class Missing:
    """An engine that could not take part, and why."""

    name: str
    reason: str


Found = Iterator[Engine | Missing]


def litert_name(variant: str, *, built_in: bool = False) -> str:
    """Returns how the table calls LiteRT running a variant."""
    return f"LiteRT {variant}, built-in kernels" if built_in else f"LiteRT {variant}"


#: Of what runs the default variant with LiteRT's own kernels.
LITERT_SCORES = Same(litert_name(DEFAULT_VARIANT), 0.0, differing=0.0)


def keras_engine(root: RunRoot, edge: Path) -> Found:
    """The trainer's own model, if the run's artifacts are still there."""
    path = _keras_file(root, edge)
    if path is None:
        yield Missing("Keras", f"{root.artifacts}: no trainer's model of this version")
        return
    import keras

    model = keras.saving.load_model(path)
    yield Engine(
        "Keras",
        lambda digits: model.predict(
            digits[..., None].astype(np.float32) / 255, batch_size=BATCH, verbose=0
        ),
    )


def saved_model_engines(directory: Path) -> Found:
    """The served model in this process, a signature an engine."""
    from serving.saved_model import load_signatures

    names = ("serving_default", "serve_examples", "serve_image_bytes")
    signatures = dict(zip(names, load_signatures(directory, *names), strict=True))

    def through(name: str, argument: str, encode: Callable[[np.ndarray], Any]) -> Run:
        def run(digits: np.ndarray) -> np.ndarray:
            parts = [signatures[name](**{argument: encode(batch)}) for batch in _batches(digits)]
            return np.concatenate(parts)

        return run

    def examples(digits: np.ndarray) -> list[bytes]:
        return [_example(digit) for digit in digits]

    def pictures(digits: np.ndarray) -> list[bytes]:
        return [encode_png(digit) for digit in digits]

    yield Engine(
        "SavedModel, serving_default", through("serving_default", "images", lambda digits: digits)
    )
    yield Engine("SavedModel, serve_examples", through("serve_examples", "examples", examples))
    yield Engine(
        "SavedModel, serve_image_bytes",
        through("serve_image_bytes", "image_bytes", pictures),
        pictures=True,
    )


def litert_engines(edge: Path) -> Found:
    """LiteRT in Python, by its default and by its built-in kernels, a variant an engine."""
    for variant in _variants(edge):
        content = (edge / variant["file"]).read_bytes()
        quantised = is_quantised(content)
        reference = litert_name(variant["name"], built_in=True)
        yield Engine(reference, _litert(content, variant, verify.BUILT_IN), quantised)
        yield Engine(
            litert_name(variant["name"]),
            _litert(content, variant, verify.DEFAULT),
            quantised,
            same=Same(reference, variant["kernel_tolerance"]),
        )


def micro_engines(edge: Path) -> Found:
    """TensorFlow Lite Micro: its integer arithmetic is almost that of LiteRT's built-in kernels."""
    name = "TensorFlow Lite Micro"
    try:
        from export.micro import MicroModel
    except ModuleNotFoundError as error:
        yield Missing(name, f"{error.name} is not installed: pip install '.[dev]'")
        return
    for variant in _variants(edge):
        label = f"{name} {variant['name']}"
        content = (edge / variant["file"]).read_bytes()
        try:
            model = MicroModel(content)
        except ValueError as error:
            yield Missing(label, str(error))
            continue
        output = variant["output"]
        yield Engine(
            label,
            _through_micro(model, variant),
            is_quantised(content),
            same=Same(
                litert_name(variant["name"], built_in=True),
                variant["kernel_tolerance"],
                differing=1.0 if output["dtype"] == "float32" else MICRO_DIFFERING,
            ),
        )


@contextlib.contextmanager
def server_engines(root: RunRoot, backend: str) -> Iterator[Found]:
    """`digits serve` on loopback, asked by gRPC and by REST; it ends with the block.

    Args:
        root: has the pushed models.
        backend: "tensorflow" or "litert".

    Raises:
        InputError: the server does not start.
    """
    port, rest_port = _free_port(), _free_port()
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--root", str(root.path)]
    command += ["--backend", backend, "--port", str(port), "--rest_api_port", str(rest_port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for_server(process, port, rest_port, log)
            yield (
                _server_engine(f"server, {backend}, {protocol}", address, backend == "litert")
                for protocol, address in (
                    ("gRPC", f"grpc://127.0.0.1:{port}"),
                    ("REST", f"http://127.0.0.1:{rest_port}"),
                )
            )
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def address_engine(address: str) -> Engine:
    """A model server that runs already, which must answer as the served model."""
    return _server_engine(address, address, litert=False)


@contextlib.contextmanager
def web_engines(edge: Path) -> Iterator[Found]:
    """LiteRT.js on the web page, in headless Chromium; it ends with the block."""
    from export.web_engine import LiteRtJs, chromium

    (variant,) = (v for v in _variants(edge) if v["name"] == DEFAULT_VARIANT)
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
            page = stack.enter_context(LiteRtJs(edge, browser))
        except InputError as error:
            yield iter([Missing(LiteRtJs.name, str(error))])
            return
        yield iter(
            [
                Engine(
                    f"{page.name} {DEFAULT_VARIANT}",
                    lambda digits: verify.probabilities(page.scores(digits), variant["output"]),
                    quantised=True,
                    same=LITERT_SCORES,
                )
            ]
        )


def current_edge(root: RunRoot) -> tuple[Path, Path]:
    """Returns the directories of the current edge model, and of the served model of its version.

    Raises:
        InputError: there is none, or they are not of the same version.
    """
    edge, served = current_version(root, root.edge), current_version(root, root.serving)
    if edge.name != served.name:
        raise InputError(f"{root.path}: edge model {edge.name}, but served model {served.name}")
    return edge, served


def _keras_file(root: RunRoot, edge: Path) -> Path | None:
    """The Keras model that was saved beside the SavedModel of which the edge model was made."""
    expected = read_description(edge)["source_saved_model_sha256"]
    for saved_model in sorted(root.artifacts.glob("Trainer/model/*/Format-Serving")):
        path = root.artifacts / "Trainer" / "model_run" / saved_model.parent.name / "model.keras"
        if path.exists() and sha256_of_directory(str(saved_model)) == expected:
            return path
    return None


def _variants(edge: Path) -> list[dict[str, Any]]:
    return read_description(edge)["variants"]


def _litert(content: bytes, variant: dict[str, Any], kernels: Any) -> Run:
    return lambda digits: verify.probabilities(
        verify.run(content, digits, kernels), variant["output"]
    )


def _through_micro(model: Any, variant: dict[str, Any]) -> Run:
    return lambda digits: verify.probabilities(model.run(digits), variant["output"])


def _server_engine(name: str, address: str, litert: bool) -> Engine:
    def run(digits: np.ndarray) -> np.ndarray:
        with Client(address, timeout=REQUEST_SECONDS) as client:
            return np.array([answer.probabilities for answer in client.classify(digits)])

    return Engine(name, run, quantised=litert, same=LITERT_SCORES if litert else None)


def _wait_for_server(
    process: "subprocess.Popen[bytes]", port: int, rest_port: int, log: IO[bytes]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    waiting = [port, rest_port]
    while waiting:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", waiting[0])):
                waiting.pop(0)
                continue
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            last = [b"(no output)", *log.read().splitlines()][-1]
            raise InputError(f"digits serve did not start: {last.decode(errors='replace')}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _batches(digits: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(digits), BATCH):
        yield digits[start : start + BATCH]


def _example(digit: np.ndarray) -> bytes:
    import tensorflow as tf

    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[digit.tobytes()]))
    return tf.train.Example(
        features=tf.train.Features(feature={"image": image})
    ).SerializeToString()
