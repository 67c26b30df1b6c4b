"""Runs and inspects an exported model with nothing but LiteRT and NumPy."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from serving.errors import InputError

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
DESCRIPTION_FILE = "model.json"

_FLOATS = {
    schema.TensorType.FLOAT16,
    schema.TensorType.FLOAT32,
    schema.TensorType.FLOAT64,
}


@dataclass(frozen=True)
class Quantization:
    """real value = scale * (stored value - zero_point)."""

    scale: float
    zero_point: int


class EdgeModel:
    """A digit classifier in a `.tflite` file with uint8 input and output.

    Attributes:
        input: quantisation of the pixels.
        output: quantisation of the probabilities.
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
        (source,) = self._interpreter.get_input_details()
        (target,) = self._interpreter.get_output_details()
        for detail, shape in ((source, (1, 28, 28, 1)), (target, (1, 10))):
            if detail["dtype"] is not np.uint8 or tuple(detail["shape"]) != shape:
                raise InputError(
                    f"{path}: tensor {detail['name']} is {np.dtype(detail['dtype'])} "
                    f"{detail['shape'].tolist()}; expected uint8 {list(shape)}"
                )
        self._source, self._target = source["index"], target["index"]
        self.input = Quantization(*source["quantization"])
        self.output = Quantization(*target["quantization"])

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Classifies digits one by one.

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
        scores = np.empty((len(images), 10), np.uint8)
        for row, image in enumerate(images):
            self._interpreter.set_tensor(self._source, image[None, :, :, None])
            self._interpreter.invoke()
            scores[row] = self._interpreter.get_tensor(self._target)[0]
        return (scores.astype(np.float32) - self.output.zero_point) * self.output.scale


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
