"""Predict, Classify, Regress and MultiInference, with TensorFlow Serving's checks and texts.

Nothing here knows gRPC or REST. Shapes are left to the model, as upstream leaves them.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import tensors
from serving.server.manager import LoadedVersion, Manager
from serving.server.servable import Servable
from serving.server.status import Code, ServingError, invalid

DEFAULT_SIGNATURE = "serving_default"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

Inputs = dict[str, np.ndarray]


class Inference:
    """Answers requests with the versions that a manager has loaded."""

    def __init__(self, manager: Manager, *, as_content: bool = False):
        """Makes it.

        Args:
            manager: of the versions.
            as_content: write the tensors of gRPC answers as raw bytes.
        """
        self.manager = manager
        self._as_content = as_content

    async def predict(
        self, request: predict_pb2.PredictRequest, *, deadline: float = float("inf")
    ) -> predict_pb2.PredictResponse:
        """Answers a Predict request.

        Args:
            request: with a model, inputs and perhaps a choice of outputs.
            deadline: of `time.monotonic()`.

        Raises:
            ServingError: as upstream's.
        """
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        with self.manager.version_of(request.model_spec) as version:
            name, definition = predict_signature(
                version.servable, request.model_spec.signature_name
            )
            inputs = read_inputs(definition, request.inputs)
            outputs = choose_outputs(definition, request.output_filter)
            arrays = await self.run(version, name, inputs, outputs, deadline=deadline)
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, request.model_spec, version)
            for alias, array in zip(outputs, arrays, strict=True):
                tensors.to_proto(array, response.outputs[alias], as_content=self._as_content)
            _log(version, request, response)
            return response

    async def run(
        self,
        version: LoadedVersion,
        signature: str,
        inputs: Inputs,
        outputs: tuple[str, ...],
        *,
        deadline: float = float("inf"),
    ) -> list[np.ndarray]:
        """Runs a signature on inputs that have been checked.

        Raises:
            ServingError: the model refuses them, or too many requests wait.
        """
        start = time.perf_counter()
        servable, batcher = version.servable, version.batcher
        if batcher.idle and _rows(inputs) <= servable.inline_rows(signature):
            arrays = servable.run(signature, inputs, outputs)
        else:
            arrays = await batcher.submit(
                signature,
                inputs,
                outputs,
                batch=signature in version.batchable,
                deadline=deadline,
            )
        self.manager.metrics.record_runtime(version.model, time.perf_counter() - start)
        return arrays

    async def classify(
        self, request: classification_pb2.ClassificationRequest, *, deadline: float = float("inf")
    ) -> classification_pb2.ClassificationResponse:
        """Answers a Classify request.

        Raises:
            ServingError: as upstream's.
        """
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        with self.manager.version_of(request.model_spec) as version:
            name, definition = named_signature(version.servable, request.model_spec.signature_name)
            alias, outputs = classify_tensors(definition)
            examples = read_examples(request.input)
            arrays = await self._run_examples(version, name, alias, examples, outputs, deadline)
            response = classification_pb2.ClassificationResponse()
            _fill_spec(response.model_spec, request.model_spec, version)
            fill_classifications(
                response.result, len(examples), dict(zip(outputs, arrays, strict=True))
            )
            self.manager.metrics.record_examples(version.model, len(examples))
            _log(version, request, response)
            return response

    async def regress(
        self, request: regression_pb2.RegressionRequest, *, deadline: float = float("inf")
    ) -> regression_pb2.RegressionResponse:
        """Answers a Regress request.

        Raises:
            ServingError: as upstream's.
        """
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        with self.manager.version_of(request.model_spec) as version:
            name, definition = named_signature(version.servable, request.model_spec.signature_name)
            alias, output = regress_tensors(definition)
            examples = read_examples(request.input)
            arrays = await self._run_examples(version, name, alias, examples, (output,), deadline)
            response = regression_pb2.RegressionResponse()
            _fill_spec(response.model_spec, request.model_spec, version)
            fill_regressions(response.result, len(examples), arrays[0])
            self.manager.metrics.record_examples(version.model, len(examples))
            _log(version, request, response)
            return response

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, *, deadline: float = float("inf")
    ) -> inference_pb2.MultiInferenceResponse:
        """Answers several Classify and Regress tasks on the same examples.

        Raises:
            ServingError: as upstream's.
        """
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with self.manager.version_of(spec) as version:
            tasks = _check_tasks(version, request)
            examples = read_examples(request.input)
            response = inference_pb2.MultiInferenceResponse()
            for task, (name, alias, outputs) in zip(request.tasks, tasks, strict=True):
                arrays = await self._run_examples(version, name, alias, examples, outputs, deadline)
                result = response.results.add()
                _fill_spec(result.model_spec, task.model_spec, version)
                if task.method_name == CLASSIFY_METHOD:
                    fill_classifications(
                        result.classification_result,
                        len(examples),
                        dict(zip(outputs, arrays, strict=True)),
                    )
                else:
                    fill_regressions(result.regression_result, len(examples), arrays[0])
            self.manager.metrics.record_examples(version.model, len(examples))
            _log(version, request, response)
            return response

    async def _run_examples(
        self,
        version: LoadedVersion,
        signature: str,
        alias: str,
        examples: Sequence[bytes],
        outputs: tuple[str, ...],
        deadline: float,
    ) -> list[np.ndarray]:
        inputs = example_inputs(version.servable.signatures[signature], alias, examples)
        return await self.run(version, signature, inputs, outputs, deadline=deadline)


def _log(version: LoadedVersion, request: Any, response: Any) -> None:
    if version.request_log is not None and version.request_log.samples():
        version.request_log.write(request, response)


def _rows(inputs: Inputs) -> int:
    return max((len(array) if array.ndim else 1 for array in inputs.values()), default=1)


def predict_signature(servable: Servable, name: str) -> tuple[str, meta_graph_pb2.SignatureDef]:
    """Returns the name and definition of a signature.

    Raises:
        ServingError: there is none.
    """
    name = name or DEFAULT_SIGNATURE
    definition = servable.signatures.get(name)
    if definition is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return name, definition


def named_signature(servable: Servable, name: str) -> tuple[str, meta_graph_pb2.SignatureDef]:
    """Returns the name and definition of a signature, for Classify and Regress.

    Raises:
        ServingError: there is none.
    """
    name = name or DEFAULT_SIGNATURE
    definition = servable.signatures.get(name)
    if definition is None:
        raise invalid(f"No signature was found with the name: {name}")
    return name, definition


def read_inputs(
    definition: meta_graph_pb2.SignatureDef, protos: Mapping[str, tensors.tensor_pb2.TensorProto]
) -> Inputs:
    """Reads and checks a request's inputs, in the order of their aliases.

    Raises:
        ServingError: missing, extra, damaged or of another type.
    """
    check_aliases(definition, protos)
    inputs = {}
    for alias in sorted(definition.inputs):
        proto = protos[alias] if alias in protos else definition.defaults.get(alias)
        if proto is None:
            raise _unknown_input(alias, definition)
        try:
            inputs[alias] = tensors.from_proto(proto)
        except tensors.TensorError as error:
            raise invalid(f"tensor parsing error: {alias}") from error
    check_types(definition, inputs)
    return inputs


def check_aliases(definition: meta_graph_pb2.SignatureDef, sent: Collection[str]) -> None:
    """Compares the aliases of a request's inputs with the signature's.

    Raises:
        ServingError: they differ.
    """
    wanted = definition.inputs
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not definition.defaults):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_braced(sent)}) != len({_braced(wanted)}). "
            f"Sent extra: {_braced(set(sent) - set(wanted))}. "
            f"Missing but required: {_braced(set(wanted) - set(sent))}."
        )
    for alias in sent:
        if alias not in wanted:
            raise _unknown_input(alias, definition)


def _unknown_input(alias: str, definition: meta_graph_pb2.SignatureDef) -> ServingError:
    return invalid(
        f"input tensor alias not found in signature: {alias}. "
        f"Inputs expected to be in the set {_braced(definition.inputs)}."
    )


def check_types(definition: meta_graph_pb2.SignatureDef, inputs: Inputs) -> None:
    """Compares the types of inputs with the signature's.

    Raises:
        ServingError: they differ.
    """
    for index, (alias, array) in enumerate(inputs.items()):
        wanted = definition.inputs[alias].dtype
        if array.dtype != tensors.numpy_dtype(wanted):
            sent = tensors.dtype_name(tensors.dtype_number(array))
            raise invalid(
                f"Expects arg[{index}] to be {tensors.dtype_name(wanted)} but {sent} is provided"
            )


def choose_outputs(
    definition: meta_graph_pb2.SignatureDef, chosen: Sequence[str]
) -> tuple[str, ...]:
    """Returns the chosen output aliases; all, in order, if none is chosen.

    Raises:
        ServingError: one is unknown or chosen twice.
    """
    if not chosen:
        return tuple(sorted(definition.outputs))
    for index, alias in enumerate(chosen):
        if alias not in definition.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_braced(definition.outputs)}."
            )
        if alias in chosen[:index]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return tuple(chosen)


def classify_tensors(definition: meta_graph_pb2.SignatureDef) -> tuple[str, tuple[str, ...]]:
    """Returns a classification signature's input alias and output aliases.

    Raises:
        ServingError: it is no such signature.
    """
    if len(definition.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(definition.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(definition.outputs)}")
    if "inputs" not in definition.inputs:
        raise invalid(
            "No classification inputs found in SignatureDef: "
            + text_format.MessageToString(definition)
        )
    outputs = tuple(alias for alias in ("classes", "scores") if alias in definition.outputs)
    if not outputs:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or '
            '"scores". Signature was: ' + text_format.MessageToString(definition)
        )
    return "inputs", outputs


def regress_tensors(definition: meta_graph_pb2.SignatureDef) -> tuple[str, str]:
    """Returns a regression signature's input and output alias.

    Raises:
        ServingError: it is no such signature.
    """
    if len(definition.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(definition.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    for kind, aliases in (("inputs", definition.inputs), ("outputs", definition.outputs)):
        if kind not in aliases:
            raise invalid(
                f"No regression {kind} found in SignatureDef: "
                + text_format.MessageToString(definition)
            )
    return "inputs", "outputs"


def read_examples(data: input_pb2.Input) -> list[bytes]:
    """Serialises a request's examples, each with the context merged in.

    Raises:
        ServingError: there are none.
    """
    kind = data.WhichOneof("kind")
    examples = getattr(data, kind).examples if kind else ()
    if not examples:
        raise invalid("Input is empty.")
    context = b""
    if kind == "example_list_with_context":
        context = data.example_list_with_context.context.SerializeToString()
    # Protobuf merges what is concatenated.
    return [context + example.SerializeToString() for example in examples]


def example_inputs(
    definition: meta_graph_pb2.SignatureDef, alias: str, examples: Sequence[bytes]
) -> Inputs:
    """Returns examples as a signature's input, string [n].

    Raises:
        ServingError: the signature takes another type.
    """
    array = np.empty(len(examples), object)
    array[:] = examples
    inputs = {alias: array}
    check_types(definition, inputs)
    return inputs


def fill_classifications(
    result: classification_pb2.ClassificationResult,
    examples: int,
    outputs: Mapping[str, np.ndarray],
) -> None:
    """Writes classes, scores or both, each [examples, classes].

    Raises:
        ServingError: the model's outputs have another type or shape.
    """
    for name, dtype, kind in (
        ("classes", types_pb2.DT_STRING, "DT_STRING"),
        ("scores", types_pb2.DT_FLOAT, "DT_FLOAT"),
    ):
        array = outputs.get(name)
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(
                "Expected Tensor shape: [batch_size num_classes] but got "
                + _shape_text(array.shape)
            )
        if tensors.dtype_number(array) != dtype:
            raise invalid(f"Expected {name} Tensor of {kind}. Got: {_dtype_text(array)}")
        if len(array) != examples:
            raise invalid(f"Expected {name} output batch size of {examples}. Got: {len(array)}")
    classes, scores = outputs.get("classes"), outputs.get("scores")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    for row in range(examples):
        added = result.classifications.add().classes
        labels: Iterable[str] = () if classes is None else (_text(v) for v in classes[row])
        values: Iterable[float] = () if scores is None else scores[row].tolist()
        if classes is None:
            for score in values:
                added.add().score = score
        elif scores is None:
            for label in labels:
                added.add().label = label
        else:
            for label, score in zip(labels, values, strict=True):
                added.add(label=label, score=score)


def fill_regressions(
    result: regression_pb2.RegressionResult, examples: int, output: np.ndarray
) -> None:
    """Writes the values, [examples] or [examples, 1].

    Raises:
        ServingError: the model's output has another type or shape.
    """
    if not (output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + _shape_text(output.shape)
        )
    if len(output) != examples:
        raise invalid(
            f"Input batch size did not match output batch size: {examples} vs. {len(output)}"
        )
    if output.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype_text(output)}")
    for value in output.ravel().tolist():
        result.regressions.add().value = value


def _check_tasks(
    version: LoadedVersion, request: inference_pb2.MultiInferenceRequest
) -> list[tuple[str, str, tuple[str, ...]]]:
    tasks = []
    seen: set[str] = set()
    model = ""
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        model = model or task.model_spec.name
        if task.model_spec.name != model:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        definition = version.servable.signatures.get(name)
        if definition is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY_METHOD:
            alias, outputs = classify_tensors(definition)
        elif task.method_name == REGRESS_METHOD:
            alias, output = regress_tensors(definition)
            outputs = (output,)
        else:
            raise ServingError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
            )
        tasks.append((name, alias, outputs))
    return tasks


def _fill_spec(
    spec: model_pb2.ModelSpec, asked: model_pb2.ModelSpec, version: LoadedVersion
) -> None:
    spec.name = asked.name
    spec.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    spec.version.value = version.number


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _dtype_text(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(tensors.dtype_number(array))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
