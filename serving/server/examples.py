"""Classification and regression of `tf.train.Example`s: what goes in, what comes out.

All texts are TensorFlow Serving's.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from serving.server import tensors
from serving.server.servable import Inputs
from serving.server.signatures import check_types
from serving.server.status import invalid

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


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


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _dtype_text(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(tensors.dtype_number(array))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
