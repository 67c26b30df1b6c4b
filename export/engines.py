"""The engines that `digits bench-edge` compares, each run in a process of its own, on one thread.

Heavy libraries are imported by the engine that needs them, so that its memory is its own.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

#: Prepares uint8 [1, 28, 28] pixels for an engine, and runs what was prepared to [1, 10].
Prepare = Callable[[np.ndarray], object]
Run = Callable[[object], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """What to measure.

    Attributes:
        name: as the table shows it.
        kind: one of `LOADERS`.
        path: the model's file or directory.
        variant: of the bundle that it runs, if it runs one as it is.
    """

    name: str
    kind: str
    path: Path
    variant: str | None = None


def _load_litert(path: Path) -> tuple[Prepare, Run]:
    from export.edge_model import EdgeModel

    model = EdgeModel(path)
    channels = model.input.shape[-1]

    def prepare(image: np.ndarray) -> np.ndarray:
        pixels = np.repeat(image[..., None], channels, axis=-1).astype(np.float32)
        return model.input.store(pixels / 255)

    return prepare, model.invoke  # type: ignore[return-value]


def _load_signature(path: Path) -> tuple[Prepare, Run]:
    tf = _tensorflow()
    model = tf.saved_model.load(str(path))
    signature = model.signatures["serving_default"]

    def run(image: object, _keep: object = model) -> np.ndarray:
        return signature(images=image)["probabilities"].numpy()

    return tf.constant, run


def _load_function(path: Path) -> tuple[Prepare, Run]:
    """The same graph, called as the `tf.function` that it was before it became a signature."""
    tf = _tensorflow()
    model = tf.saved_model.load(str(path))
    return tf.constant, lambda image: model.serving_default(image)["probabilities"].numpy()


def _tensorflow():  # type: ignore[no-untyped-def]  # a module
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def _load_onnx(path: Path) -> tuple[Prepare, Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()

    return lambda image: image[..., None].astype(np.float32) / 255, lambda image: session.run(
        None, {source.name: image}
    )[0]


LOADERS: dict[str, Callable[[Path], tuple[Prepare, Run]]] = {
    "litert": _load_litert,
    "signature": _load_signature,
    "function": _load_function,
    "onnxruntime": _load_onnx,
}
#: Imported before the loading is timed.
_LIBRARIES = {
    "litert": "export.edge_model",
    "signature": "tensorflow",
    "function": "tensorflow",
    "onnxruntime": "onnxruntime",
}


def convert_to_onnx(tflite: Path, onnx: Path) -> None:
    """Converts a `.tflite` file, so that both runtimes run the same weights.

    Raises:
        RuntimeError: tf2onnx is not installed, or fails.
    """
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(tflite)]
    done = subprocess.run(
        [*command, "--output", str(onnx), "--opset", "17"], capture_output=True, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"tf2onnx ended with {done.returncode}")


def quantise_onnx(onnx: Path, quantised: Path, images: np.ndarray) -> None:
    """Quantises weights and activations to 8 bits by ONNX Runtime's own method, float in and out.

    Args:
        onnx: a float model.
        quantised: where to write.
        images: uint8 [n, 28, 28], from which the ranges are taken.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
    """
    from onnxruntime import InferenceSession, quantization

    (source,) = InferenceSession(onnx, providers=["CPUExecutionProvider"]).get_inputs()

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return (
                None if image is None else {source.name: image[None, ..., None] / np.float32(255)}
            )

    quantization.quantize_static(onnx, quantised, Reader(), per_channel=True)


def serve(connection: Connection, engine: Engine, images: np.ndarray) -> None:
    """Runs an engine in this process at the command of another.

    Sends what loading took and what the engine says, then, for each number of calls that comes,
    the nanoseconds of each call; for None, the peak memory, and ends.

    Args:
        connection: to the process that measures.
        engine: what to run.
        images: uint8 [n, 28, 28].
    """
    try:
        __import__(_LIBRARIES[engine.kind])
        started = time.perf_counter()
        prepare, run = LOADERS[engine.kind](engine.path)
        inputs = [prepare(image[None]) for image in images]
        run(inputs[0])
        loaded = time.perf_counter() - started
        labels = [int(run(value).argmax()) for value in inputs]
    except Exception as error:  # an engine that is missing or cannot run this is left out
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])
        return
    connection.send({"load_seconds": loaded, "labels": labels})
    clock = time.perf_counter_ns
    while (calls := connection.recv()) is not None:
        nanoseconds = np.empty(calls, np.int64)
        for call in range(calls):
            value = inputs[call % len(inputs)]
            started_ns = clock()
            run(value)
            nanoseconds[call] = clock() - started_ns
        connection.send(nanoseconds)
    connection.send(peak_memory_mib())


def peak_memory_mib() -> float:
    """The highest resident memory of this program so far.

    Not `getrusage`'s: a child inherits that from its parent.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if not found:
        raise RuntimeError("/proc/self/status: no VmHWM; this needs Linux")
    return int(found[1]) / 1024
