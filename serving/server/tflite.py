"""Any TFLite model, run by LiteRT, with the signatures that TF Serving would read or make."""

import os
import threading
from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server import tensors
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.server.status import Code, ServingError, invalid

TFLITE_FILE = "model.tflite"
SIGNATURES_METADATA = b"signature_defs_metadata"


class TfLiteModel(Servable):
    """A TFLite model. Interpreters serve one run at a time; more are made when more run."""

    def __init__(self, directory: str):
        """Loads `model.tflite`.

        Raises:
            ServingError: it cannot be loaded.
        """
        path = os.path.join(directory, TFLITE_FILE)
        try:
            with open(path, "rb") as file:
                self._content = file.read()
            interpreter = Interpreter(model_content=self._content, num_threads=1)
            self._inputs = {d["name"]: d["index"] for d in interpreter.get_input_details()}
            self._outputs = {d["name"]: d["index"] for d in interpreter.get_output_details()}
            self.signatures = _signatures(self._content, interpreter)
        except OSError as error:
            raise ServingError(Code.NOT_FOUND, f"{path}: {error.strerror}") from error
        except Exception as error:  # a damaged file raises whatever its parser meets
            raise invalid(f"{path}: Cannot build FlatBufferModel from buffer: {error}") from error
        self._idle = [interpreter]
        self._lock = threading.Lock()

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        definition = self.signatures[signature]
        interpreter = self._borrow()
        try:
            for alias, array in inputs.items():
                index = self._inputs[_known_name(definition.inputs[alias].name, self._inputs)]
                details = {d["index"]: d for d in interpreter.get_input_details()}
                if tuple(details[index]["shape"]) != array.shape:
                    interpreter.resize_tensor_input(index, array.shape)
                interpreter.allocate_tensors()
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [
                interpreter.get_tensor(
                    self._outputs[_known_name(definition.outputs[alias].name, self._outputs)]
                )
                for alias in outputs
            ]
        except (ValueError, RuntimeError) as error:
            # The interpreter may have half of a resize behind it: it is not used again.
            interpreter = Interpreter(model_content=self._content, num_threads=1)
            raise ServingError(
                Code.INTERNAL, f"Failed to invoke TfLite interpreter: {error}"
            ) from (error)
        finally:
            with self._lock:
                self._idle.append(interpreter)

    def close(self) -> None:
        self._idle.clear()

    def _borrow(self) -> Interpreter:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Interpreter(model_content=self._content, num_threads=1)


def _signatures(content: bytes, interpreter: Interpreter) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Returns the signatures that the file carries for TF Serving, or one of all tensors."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for entry in model.metadata or ():
        if entry.name == SIGNATURES_METADATA:
            table = flexbuffers.GetRoot(bytes(model.buffers[entry.buffer].data)).AsMap
            return {
                key.AsKey: meta_graph_pb2.SignatureDef.FromString(value.AsStringBytes)
                for key, value in zip(table.Keys, table.Values, strict=True)
            }
    definition = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for infos, details in (
        (definition.inputs, interpreter.get_input_details()),
        (definition.outputs, interpreter.get_output_details()),
    ):
        for detail in details:
            info = infos[detail["name"].partition(":")[0]]
            info.name = detail["name"]
            dtype = np.dtype(detail["dtype"])
            info.dtype = (
                types_pb2.DT_STRING
                if dtype.kind == "S"
                else tensors.dtype_number(np.empty(0, dtype))
            )
            for size in detail["shape"]:
                info.tensor_shape.dim.add().size = int(size)
    return {DEFAULT_SIGNATURE: definition}


def _known_name(name: str, known: Mapping[str, int]) -> str:
    """Returns the tensor's name, or the one without `:0` that old converters wrote."""
    return name if name in known else name.partition(":")[0]
