"""Runs a model in TensorFlow Lite Micro, the runtime of microcontrollers, on this machine."""

import re
import tempfile
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from export.verify import quantize
from serving.quiet import stderr_to

ALIGNMENT = 16


class MicroModel:
    """A model of batch one in TensorFlow Lite Micro's interpreter.

    Raises:
        ValueError: it has operators or tensors that the runtime does not know.
    """

    def __init__(self, content: bytes):
        try:
            self._interpreter = runtime.Interpreter.from_bytes(content)
        except RuntimeError as error:
            raise ValueError(f"TensorFlow Lite Micro cannot run the model: {error}") from error

    def run(self, digits: np.ndarray) -> np.ndarray:
        """Returns the outputs, [n, 10] of the model's own dtype, to uint8 [n, 28, 28]."""
        details = self._interpreter.get_input_details(0)
        if len(details["quantization_parameters"]["scales"]):
            (scale,) = details["quantization_parameters"]["scales"]
            (zero_point,) = details["quantization_parameters"]["zero_points"]
        else:
            scale, zero_point = 0.0, 0
        inputs = quantize(digits, {**details, "quantization": (scale, zero_point)})
        channels = details["shape"][-1]
        outputs = []
        for image in inputs:
            pixels = np.repeat(image[None, :, :, None], channels, -1)
            self._interpreter.set_input(pixels, 0)
            self._interpreter.invoke()
            outputs.append(self._interpreter.get_output(0)[0])
        return np.stack(outputs)


def arena_bytes(content: bytes) -> int:
    """Measures the tensor arena that a model needs, on this machine's 64 bits.

    Returns:
        A multiple of 16, as arenas are aligned, with which the model has been loaded.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        with stderr_to(log):  # where the recording allocator prints it; no function returns it
            runtime.Interpreter.from_bytes(content).print_allocations()
        found = re.search(r"Arena allocation total (\d+) bytes", log.read_text())
    if not found:
        raise RuntimeError("TensorFlow Lite Micro did not print the size of its arena")
    rounded = -(-int(found[1]) // ALIGNMENT) * ALIGNMENT
    runtime.Interpreter.from_bytes(content, arena_size=rounded)
    return rounded
