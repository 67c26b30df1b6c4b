"""Runs and inspects an exported model with nothing but LiteRT and NumPy."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from serving.errors import InputError

#: Where a variant lies in a bundle.
VARIANT_FILE = "models/{}.tflite"
#: The variant for apps: a byte is the pixel.
DEFAULT_VARIANT = "uint8"
MODEL_FILE = VARIANT_FILE.format(DEFAULT_VARIANT)
LABELS_FILE = "labels.txt"

_FLOATS = {
    schema.TensorType.FLOAT16,
    schema.TensorType.FLOAT32,
    schema.TensorType.FLOAT64,
}


@dataclass(frozen=True)
class Tensor:
    """An input or output: real value = scale * (stored value - zero_point).

    Attributes:
        shape: with the batch first.
        dtype: of the stored values: float32, int8 or uint8.
        scale: 1 of a float tensor.
        zero_point: 0 of a float tensor.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    def store(self, real: np.ndarray) -> np.ndarray:
        """Returns the stored values of real ones: rounded and clipped, or as they are."""
        if self.dtype == "float32":
            return real.astype(np.float32)
        limits = np.iinfo(self.dtype)
        stored = np.round(real / self.scale) + self.zero_point
        return np.clip(stored, limits.min, limits.max).astype(self.dtype)

    def real(self, stored: np.ndarray) -> np.ndarray:
        """Returns the real values, float32, of stored ones."""
        return (stored.astype(np.float32) - self.zero_point) * np.float32(self.scale)


class EdgeModel:
    """A digit classifier in a `.tflite` file, of any variant.

    Attributes:
        input: the pixels, 0 to 1, [batch, 28, 28, channels].
        output: the probabilities, [batch, 10].
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1):
        """Loads a model.

        Raises:
            InputError: the file is missing or no TFLite model with the expected tensors.
        """
        try:
            content = Path(path).read_bytes()
            self._interpreter = Interpreter(model_content=content, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not a TFLite model that LiteRT can run") from error
        self._source, self.input = _only(path, self._interpreter.get_input_details())
        self._target, self.output = _only(path, self._interpreter.get_output_details())
        batch = self.input.shape[:1]
        for tensor, shapes in (
            (self.input, [(*batch, 28, 28, 1), (*batch, 28, 28, 3)]),
            (self.output, [(*batch, 10)]),
        ):
            if tensor.dtype not in {"float32", "int8", "uint8"} or tensor.shape not in shapes:
                raise InputError(
                    f"{path}: a tensor of {tensor.dtype} {list(tensor.shape)}; expected float32, "
                    f"int8 or uint8 {' or '.join(str(list(shape)) for shape in shapes)}"
                )
        # There are only 256 pixels: what is stored for each is computed once.
        self._stored = self.input.store(np.arange(256, dtype=np.float32) / 255)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Classifies digits, as many at a time as the model's batch has.

        Args:
            images: uint8 [n, 28, 28], white on black, 0 to 255.

        Returns:
            float32 [n, 10] probabilities.

        Raises:
            InputError: the images have another dtype or shape.
        """
        if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
            raise InputError(
                f"images: {images.dtype} {list(images.shape)}; expected uint8 [n, 28, 28]"
            )
        batch, *_, channels = self.input.shape
        count = len(images)
        stored = self._stored[images][..., None]
        if channels > 1:
            stored = np.repeat(stored, channels, axis=-1)
        if missing := -count % batch:
            stored = np.concatenate([stored, np.zeros((missing, *stored.shape[1:]), stored.dtype)])
        scores = np.empty((len(stored), 10), self.output.dtype)
        for start in range(0, len(stored), batch):
            scores[start : start + batch] = self.invoke(stored[start : start + batch])
        return self.output.real(scores[:count])

    def invoke(self, stored: np.ndarray) -> np.ndarray:
        """Runs one batch: stored values of the input's shape and dtype, to those of the output."""
        self._interpreter.set_tensor(self._source, stored)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._target)


def _only(path: str | os.PathLike[str], details: list[dict[str, Any]]) -> tuple[int, Tensor]:
    """Returns the index and the description of the only input, or output, that a model has."""
    if len(details) != 1:
        raise InputError(f"{path}: {len(details)} inputs or outputs; expected one of each")
    (detail,) = details
    scale, zero_point = detail["quantization"]
    shape = tuple(int(side) for side in detail["shape"])
    # LiteRT gives a float tensor the scale 0.
    return detail["index"], Tensor(shape, np.dtype(detail["dtype"]).name, scale or 1.0, zero_point)


def float_compute_ops(model: bytes) -> list[str]:
    """Lists the operators of a TFLite model that compute with floating-point tensors.

    QUANTIZE and DEQUANTIZE, which only convert, do not count.
    """
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    found = []
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            code = parsed.operatorCodes[operator.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            tensors = [*operator.inputs, *operator.outputs]
            types = {graph.tensors[index].type for index in tensors if index >= 0}
            if name not in {"QUANTIZE", "DEQUANTIZE"} and types & _FLOATS:
                found.append(name)
    return found
