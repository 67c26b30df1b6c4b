"""Checks of requests against a model's signatures, with TensorFlow Serving's texts.

Shapes are left to the model, as upstream leaves them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server import tensors
from serving.server.servable import DEFAULT_SIGNATURE, Inputs, Servable
from serving.server.status import Code, ServingError, invalid


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
    definition: meta_graph_pb2.SignatureDef, protos: Mapping[str, tensor_pb2.TensorProto]
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


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
