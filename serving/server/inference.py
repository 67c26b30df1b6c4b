"""Predict, Classify, Regress and MultiInference, with TensorFlow Serving's checks and texts.

Nothing here knows gRPC or REST.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import tensors
from serving.server.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    classify_tensors,
    example_inputs,
    fill_classifications,
    fill_regressions,
    read_examples,
    regress_tensors,
)
from serving.server.manager import LoadedVersion, Manager
from serving.server.servable import DEFAULT_SIGNATURE, Inputs
from serving.server.signatures import (
    choose_outputs,
    named_signature,
    predict_signature,
    read_inputs,
)
from serving.server.status import Code, ServingError, invalid


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
        gather: bool = False,
        deadline: float = float("inf"),
    ) -> list[np.ndarray]:
        """Runs a signature on inputs that have been checked.

        Args:
            version: of the model.
            signature: one of its signatures.
            inputs: by alias.
            outputs: aliases.
            gather: even what runs inline waits for the others of this turn of the event loop. It
                is 15 % faster where all work is the loop's own; gRPC has threads of its own, which
                send one answer while the next is computed.
            deadline: of `time.monotonic()`.

        Raises:
            ServingError: the model refuses them, or too many requests wait.
        """
        start = time.perf_counter()
        servable, batcher = version.servable, version.batcher
        inline = _rows(inputs) <= servable.inline_rows(signature)
        if inline and batcher.idle and not gather:
            arrays = servable.run(signature, inputs, outputs)
        else:
            arrays = await batcher.submit(
                signature,
                inputs,
                outputs,
                batch=signature in version.batchable,
                inline=inline,
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
