"""Answers of the REST API, as JSON.

A float is printed with as few digits as read back the same one; NaN and the infinities have names
that strict JSON lacks.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.server import tensors
from serving.server.status import invalid

_FLOATS = (np.float32, np.float64)


def write_predict(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """Writes the outputs of a predict request, a single one without its name.

    Args:
        outputs: by alias.
        rows: row by row, else output by output.

    Raises:
        ServingError: rows are asked for, and the outputs differ in their first dimension; or JSON
            has nothing for a type.
    """
    if rows:
        _check_rows(outputs)
    if all(map(_is_quick, outputs.values())):
        columns = {name: np.ascontiguousarray(array) for name, array in outputs.items()}
        answer = orjson.dumps(_content(columns, rows=rows), option=orjson.OPT_SERIALIZE_NUMPY)
        if b"null" not in answer:  # NaN, or an infinity
            return answer
    return _dump(
        _content({name: _to_python(name, array) for name, array in outputs.items()}, rows=rows)
    )


def _content(columns: Mapping[str, Any], *, rows: bool) -> dict[str, Any]:
    content: Any = columns
    if len(columns) == 1:
        (content,) = columns.values()
    elif rows:
        content = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    return {"predictions" if rows else "outputs": content}


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    size = -1
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size not in (-1, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)


def write_classifications(result: classification_pb2.ClassificationResult) -> bytes:
    """Writes a list of [label, score] for each example."""
    results = []
    for item in result.classifications:
        scores = _shortest(np.array([entry.score for entry in item.classes], np.float32))
        results.append([[e.label, score] for e, score in zip(item.classes, scores, strict=True)])
    return _dump({"results": results})


def write_regressions(result: regression_pb2.RegressionResult) -> bytes:
    """Writes the values."""
    values = np.array([item.value for item in result.regressions], np.float32)
    return _dump({"results": _shortest(values)})


def write_error(message: str) -> bytes:
    """Writes an error."""
    return _dump({"error": message})


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _is_quick(array: np.ndarray) -> bool:
    """Tells what orjson can write, thirty times as quickly as `json`."""
    return bool(array.ndim) and (array.dtype.kind in "iub" or array.dtype in _FLOATS)


def _to_python(name: str, array: np.ndarray) -> Any:
    """Returns nested lists of what `json` writes."""
    if array.dtype in _FLOATS:
        return _shortest(array)
    if array.dtype.kind in "iub":
        return array.tolist()
    if array.dtype.kind in "OSU":
        strings = (_string(value, as_bytes=name.endswith("_bytes")) for value in array.flat)
        return np.fromiter(strings, object, count=array.size).reshape(array.shape).tolist()
    dtype = tensors.dtype_name(tensors.dtype_number(array))
    raise invalid(f"Failed to write JSON value for tensor type: {dtype}")


def _shortest(values: np.ndarray) -> Any:
    """Returns Python's floats that print with no more digits than those of their own type."""
    return values.astype(str).astype(np.float64).tolist()


def _string(value: Any, *, as_bytes: bool) -> str | dict[str, str]:
    data = value.encode() if isinstance(value, str) else bytes(value)
    if as_bytes:
        return {"b64": base64.b64encode(data).decode()}
    return data.decode("utf-8", "surrogateescape")
