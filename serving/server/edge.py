"""The pushed edge model behind the served model's signatures, so that no client can tell."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from export.description import DESCRIPTION_FILE
from export.edge_model import MODEL_FILE, EdgeModel
from serving.errors import InputError
from serving.pictures import SIDE, centre_digit, to_grey
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.server.status import Code, ServingError, invalid

PIXELS = SIDE * SIDE
#: A digit takes 15 to 30 us, a hand-over to another thread 50.
INLINE_ROWS = 8


class EdgeServable(Servable):
    """A pushed edge model: one interpreter for each thread that runs it."""

    def __init__(self, directory: str):
        """Loads `model.tflite`, after its hash has been compared with `model.json`'s.

        Raises:
            ServingError: a file is missing or damaged.
        """
        self._path = os.path.join(directory, MODEL_FILE)
        try:
            with open(os.path.join(directory, DESCRIPTION_FILE), "rb") as file:
                expected = json.load(file)["sha256"]
            with open(self._path, "rb") as file:
                found = hashlib.sha256(file.read()).hexdigest()
        except OSError as error:
            raise ServingError(Code.NOT_FOUND, f"{error.filename}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise invalid(f"{directory}/{DESCRIPTION_FILE}: no sha256 of the model") from error
        if found != expected:
            raise ServingError(
                Code.DATA_LOSS,
                f"{self._path}: sha256 {found}, but {DESCRIPTION_FILE} says {expected}",
            )
        self._idle = [self._new_model()]
        self._lock = threading.Lock()
        self.signatures = {
            DEFAULT_SIGNATURE: _signature("images", types_pb2.DT_UINT8, (-1, SIDE, SIDE)),
            "serve_examples": _signature("examples", types_pb2.DT_STRING, (-1,)),
            "serve_image_bytes": _signature("image_bytes", types_pb2.DT_STRING, (-1,)),
        }

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        (array,) = inputs.values()
        images = READERS[signature](array)
        with self._lock:
            model = self._idle.pop() if self._idle else None
        model = model or self._new_model()
        try:
            probabilities = model.predict(images)
        finally:
            with self._lock:
                self._idle.append(model)
        named = {"probabilities": probabilities, "label": probabilities.argmax(-1)}
        return [named[alias] for alias in outputs]

    def _new_model(self) -> EdgeModel:
        try:
            return EdgeModel(self._path)
        except InputError as error:
            raise invalid(str(error)) from error

    def inline_rows(self, signature: str) -> int:
        return INLINE_ROWS if signature == DEFAULT_SIGNATURE else 0

    def close(self) -> None:
        self._idle.clear()


def _signature(alias: str, dtype: int, shape: Sequence[int]) -> meta_graph_pb2.SignatureDef:
    definition = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    _fill_info(definition.inputs[alias], alias, dtype, shape)
    _fill_info(definition.outputs["probabilities"], "probabilities", types_pb2.DT_FLOAT, (-1, 10))
    _fill_info(definition.outputs["label"], "label", types_pb2.DT_INT64, (-1,))
    return definition


def _fill_info(
    info: meta_graph_pb2.TensorInfo, name: str, dtype: int, shape: Sequence[int]
) -> None:
    info.name, info.dtype = f"{name}:0", dtype
    for size in shape:
        info.tensor_shape.dim.add().size = size


def _reshape(images: np.ndarray) -> np.ndarray:
    """Any shape of n times 784 pixels, as the served model takes it."""
    if not images.ndim:
        raise invalid("slice index 0 of dimension 0 out of bounds.")
    if images.size != len(images) * PIXELS:
        raise invalid(
            f"Input to reshape is a tensor with {images.size} values, but the requested shape has "
            f"{len(images) * PIXELS}"
        )
    return images.reshape(len(images), SIDE, SIDE)


def _parse_examples(examples: np.ndarray) -> np.ndarray:
    images = np.empty((examples.size, SIDE, SIDE), np.uint8)
    for index, data in enumerate(examples.flat):
        try:
            example = example_pb2.Example.FromString(data)
        except DecodeError as error:
            raise invalid(f"Could not parse example input, value: {data[:100]!r}") from error
        feature = example.features.feature.get("image")
        values: Sequence[bytes] = feature.bytes_list.value if feature is not None else ()
        if len(values) != 1:
            raise invalid(
                f"Name: <unknown>, Feature: image (data type: string) is required but could not "
                f"be found, or has {len(values)} values."
            )
        if len(values[0]) != PIXELS:
            raise invalid(f"Feature: image has {len(values[0])} bytes; expected {PIXELS}")
        images[index] = np.frombuffer(values[0], np.uint8).reshape(SIDE, SIDE)
    return images


def _decode_pictures(pictures: np.ndarray) -> np.ndarray:
    try:
        digits = [centre_digit(to_grey(picture)) for picture in pictures.flat]
    except InputError as error:
        raise invalid(str(error)) from error
    return np.stack(digits) if digits else np.empty((0, SIDE, SIDE), np.uint8)


#: From each signature's input to uint8 [n, 28, 28]; they raise `ServingError`.
READERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    DEFAULT_SIGNATURE: _reshape,
    "serve_examples": _parse_examples,
    "serve_image_bytes": _decode_pictures,
}
