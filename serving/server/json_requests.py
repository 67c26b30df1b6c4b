"""Requests of the REST API: from JSON to tensors and examples.

NumPy converts at once where that is exact; else it is done value by value, which finds the value
to blame. All texts are TensorFlow Serving's.
"""

import base64
import binascii
import contextlib
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import input_pb2

from serving.server import tensors
from serving.server.servable import Inputs
from serving.server.status import Code, ServingError, invalid

_DECODER = json.JSONDecoder()
_WHITESPACE = " \t\n\r"
_MAX_DEBUG = 256

#: RapidJSON's words for the errors that Python's parser tells apart.
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or ] after an array element.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character at": "Invalid encoding in string.",
}

_INT32 = (-(1 << 31), (1 << 31) - 1)
#: What each integer type takes; narrower ones wrap, as upstream's do.
_RANGES = {
    types_pb2.DT_INT32: _INT32,
    types_pb2.DT_INT16: _INT32,
    types_pb2.DT_INT8: _INT32,
    types_pb2.DT_UINT8: _INT32,
    types_pb2.DT_INT64: (-(1 << 63), (1 << 63) - 1),
    types_pb2.DT_UINT32: (0, (1 << 32) - 1),
    types_pb2.DT_UINT64: (0, (1 << 64) - 1),
}
_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)


class Document:
    """A request's body: a JSON object. What follows it is not read.

    Attributes:
        members: of the object.
        has_literals: whether `true`, `false` or `null` may occur, which NumPy takes for numbers.
    """

    def __init__(self, body: bytes):
        """Parses a body.

        Raises:
            ServingError: it is no JSON object.
        """
        if not body:
            raise invalid("JSON Parse error: The document is empty")
        try:
            # Five times as quick as Python's parser, but it knows neither NaN nor trailing bytes.
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = _parse(body)
        if not isinstance(value, dict):
            raise _format_error(value, "Is not object")
        self.members: dict[str, Any] = value
        # A picture has neither letter, and finding no letter is ten times as quick as no word.
        self.has_literals = (b"u" in body or b"f" in body) and (
            b"true" in body or b"false" in body or b"null" in body
        )

    def signature_name(self) -> str:
        """Returns the signature's name, empty if there is none.

        Raises:
            ServingError: it is no string.
        """
        name = self.members.get("signature_name", "")
        if not isinstance(name, str):
            raise _format_error(
                self.members,
                "not formatted correctly. 'signature_name' key must be a string value.",
            )
        return name


def _parse(body: bytes) -> Any:
    """Parses the JSON value that bytes begin with, as leniently as upstream.

    Raises:
        ServingError: they begin with none.
    """
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    start = len(text) - len(text.lstrip(_WHITESPACE))
    if start == len(text):
        raise invalid(f"JSON Parse error: The document is empty. at offset: {start}")
    try:
        return _DECODER.raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        reason = _PARSE_ERRORS.get(error.msg, error.msg)
        raise invalid(f"JSON Parse error: {reason} at offset: {error.pos}") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise invalid(f"JSON Parse error: Number too big to be stored: {error}") from error


def read_predict(
    document: Document, definition: meta_graph_pb2.SignatureDef
) -> tuple[Inputs, bool]:
    """Reads the inputs of a predict request.

    Returns:
        The inputs in the order of their aliases, and whether they came row by row.

    Raises:
        ServingError: they do not fit the signature, or each other.
    """
    body = document.members
    types = {alias: definition.inputs[alias].dtype for alias in sorted(definition.inputs)}
    if not types:
        raise invalid(
            f"Failed to get input map for signature: {document.signature_name() or 'DEFAULT'}"
        )
    if "instances" in body and "inputs" in body:
        raise _format_error(
            body,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    plain = not document.has_literals
    if "instances" in body:
        instances = body["instances"]
        if not isinstance(instances, list):
            raise _format_error(body, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _format_error(body, "No values in 'instances' array")
        return _read_rows(instances, types, plain=plain), True
    if "inputs" in body:
        return _read_columns(body["inputs"], types, plain=plain), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _read_rows(instances: list, types: Mapping[str, int], *, plain: bool) -> Inputs:
    if len(types) > 1 and not isinstance(instances[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    rows: dict[str, list] = {alias: [] for alias in types}
    if not _is_object(instances[0]):
        (alias, *_) = types
        for index, item in enumerate(instances):
            if _is_object(item):
                raise invalid(f"Expecting value/list but got object at item {index} of input list")
        rows[alias] = instances
    else:
        for index, item in enumerate(instances):
            if not _is_object(item):
                raise invalid(f"Expecting object but got list at item {index} of input list")
            for alias in item:
                if alias not in types:
                    error = invalid(f"JSON object: does not have named input: {alias}")
                    raise _element_error(index, error, alias)
            if len(item) != len(types):
                raise invalid(
                    f"Failed to process element: {index} of 'instances' list. JSON object: "
                    f"{_debug(item)} keys must be equal to: {','.join(types)}"
                )
            for alias, value in item.items():
                rows[alias].append(value)
    named = _is_object(instances[0])
    return {
        alias: _stack(rows[alias], number, alias if named else None, plain=plain)
        for alias, number in types.items()
    }


def _stack(values: list, number: int, alias: str | None, *, plain: bool) -> np.ndarray:
    """Converts rows, all of one shape."""
    array = _convert(values, number) if plain else None
    if array is not None:
        return array
    arrays: list[np.ndarray] = []
    for index, value in enumerate(values):
        try:
            array = _convert_exactly(value, number)
            if arrays and array.size != arrays[0].size:
                raise invalid(f"Expecting tensor size: {arrays[0].size} but got: {array.size}")
            if arrays and array.shape != arrays[0].shape:
                raise invalid(
                    f"Expecting shape {_shape_text(arrays[0].shape)} but got: "
                    f"{_shape_text(array.shape)}"
                )
        except ServingError as error:
            raise _element_error(index, error, alias) from error
        arrays.append(array)
    try:
        return np.stack(arrays)
    except ValueError as error:  # more dimensions than NumPy has
        raise invalid(str(error)) from error


def _read_columns(value: Any, types: Mapping[str, int], *, plain: bool) -> Inputs:
    if not _is_object(value):
        if len(types) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        (alias,) = types
        value = {alias: value}
    for alias in types:
        if alias not in value:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
    inputs = {}
    for alias, number in types.items():
        array = _convert(value[alias], number) if plain else None
        inputs[alias] = _convert_exactly(value[alias], number) if array is None else array
    return inputs


def _convert(value: Any, number: int) -> np.ndarray | None:
    """Converts numbers at once; returns None where that would not be exact."""
    if number not in _RANGES and number not in _FLOATS:
        return None
    if number == types_pb2.DT_UINT8 and isinstance(value, list):
        with contextlib.suppress(TypeError, ValueError, IndexError):  # and go the general way
            shape = _leading_shape(value)
            return np.frombuffer(_to_bytes(value, shape), np.uint8).reshape(shape)
    try:
        array = np.array(value)
    except ValueError:  # lists of different lengths
        return None
    if array.size and array.dtype.kind not in "iuf":
        return None
    if number in _FLOATS:
        with np.errstate(over="ignore"):
            return array.astype(tensors.numpy_dtype(number))
    if array.size:
        lowest, highest = _RANGES[number]
        if array.dtype.kind == "f" or array.min() < lowest or array.max() > highest:
            return None
    return array.astype(tensors.numpy_dtype(number))


def _leading_shape(value: Any) -> list[int]:
    """Returns the shape as the first value of each list has it."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _to_bytes(value: list, shape: Sequence[int]) -> bytes:
    """Packs integers from 0 to 255, far more quickly than NumPy: pictures are most of the traffic.

    Raises:
        TypeError, ValueError: there is something else, or lists differ in length.
    """
    if 0 in shape:
        raise ValueError("nothing to pack, and an empty object would pass for an empty list")
    rows = [value]
    for size in shape[1:]:
        rows = list(chain.from_iterable(rows))
        if set(map(len, rows)) != {size}:
            raise ValueError("lists of different lengths")
    return b"".join(map(bytes, rows))


def _convert_exactly(value: Any, number: int) -> np.ndarray:
    """Converts value by value.

    Raises:
        ServingError: names the value to blame.
    """
    shape = _leading_shape(value)
    flat: list[Any] = []
    _flatten(value, 0, shape, number, flat)
    dtype = tensors.numpy_dtype(number)
    array = np.empty(len(flat), object)
    array[:] = flat
    try:
        with np.errstate(over="ignore"):
            if number in _RANGES:
                wide = np.uint64 if number == types_pb2.DT_UINT64 else np.int64
                return array.astype(wide).astype(dtype).reshape(shape)
            return array.astype(dtype).reshape(shape)
    except (ValueError, OverflowError) as error:  # more dimensions, or larger, than there are
        raise invalid(f"JSON Value: {_debug(value)} {error}") from error


def _flatten(value: Any, level: int, shape: list[int], number: int, flat: list) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_debug(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        flat.append(_scalar(value, number))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _flatten(item, level + 1, shape, number, flat)


def _scalar(value: Any, number: int) -> Any:
    if number == types_pb2.DT_STRING:
        if isinstance(value, dict):
            return _decode_base64(value)
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
    elif number == types_pb2.DT_BOOL:
        if isinstance(value, bool):
            return value
    elif number in _FLOATS:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    elif number in _RANGES:
        lowest, highest = _RANGES[number]
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
    elif not isinstance(value, dict):
        raise ServingError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_debug(value)} to type: {tensors.dtype_name(number)}",
        )
    raise invalid(
        f"JSON Value: {_debug(value)} Type: {_type_name(value)} is not of expected type: "
        f"{tensors.dtype_name(number)}"
    )


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _decode_base64(value: dict) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_debug(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def read_examples(document: Document) -> input_pb2.Input:
    """Reads the examples of a classify or regress request.

    Raises:
        ServingError: they are none.
    """
    body = document.members
    result = input_pb2.Input()
    target = result.example_list.examples
    if "context" in body:
        _fill_example(body["context"], result.example_list_with_context.context)
        target = result.example_list_with_context.examples
    if "examples" not in body:
        raise _format_error(
            body, "When method is classify, key 'examples' is expected and was not found"
        )
    examples = body["examples"]
    if not isinstance(examples, list):
        raise _format_error(body, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _format_error(body, "'examples' value is an empty array")
    for value in examples:
        _fill_example(value, target.add())
    return result


def _fill_example(value: Any, example: example_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {_type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(item, name, feature)


def _add_to_feature(value: Any, name: str, feature: feature_pb2.Feature) -> None:
    converted: Any
    if isinstance(value, bool):
        kind, converted = "int64_list", int(value)
    elif isinstance(value, int):
        if value >= 1 << 63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        kind, converted = "int64_list", max(value, -(1 << 63))
    elif isinstance(value, float):
        kind, converted = "float_list", value
    elif isinstance(value, str):
        kind, converted = "bytes_list", value.encode("utf-8", "surrogateescape")
    elif _is_base64(value):
        kind, converted = "bytes_list", _decode_base64(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {_type_name(value)}")
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{present.removesuffix('_list')}"
        )
    getattr(feature, kind).value.append(converted)


def _element_error(index: int, error: ServingError, alias: str | None) -> ServingError:
    key = f" key: {alias}" if alias is not None else ""
    return invalid(f"Failed to process element: {index}{key} of 'instances' list. Error: {error}")


def _format_error(value: Any, reason: str) -> ServingError:
    return invalid(f"JSON Value: {_debug(value)} {reason}")


def _debug(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:_MAX_DEBUG]


def _type_name(value: Any) -> str:
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    for kind, name in ((dict, "Object"), (list, "Array"), (str, "String")):
        if isinstance(value, kind):
            return name
    return "Number"


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
