"""Runs a model in TensorFlow Lite Micro, the runtime of microcontrollers, on this machine."""

import subprocess
import sys

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from export.verify import quantize


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
    """Measures the smallest tensor arena in which a model loads, on this machine's 64 bits.

    Returns:
        A multiple of 16, as arenas are aligned.

    Raises:
        ValueError: it has operators or tensors that the runtime does not know.
    """
    done = subprocess.run(
        [sys.executable, "-m", "export.arena"], input=content, capture_output=True, check=False
    )
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").splitlines()[-1])
    return int(done.stdout)
