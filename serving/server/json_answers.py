"""Answers of the REST API, as JSON.

A float is printed as `%g`, or with the digits that it takes to read back the same one, which is
what upstream prints; NaN and the infinities have names that strict JSON lacks.
"""

import base64
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.server import tensors
from serving.server.status import invalid


def write_predict(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """Writes the outputs of a predict request, a single one without its name.

    Args:
        outputs: by alias.
        rows: row by row, else output by output.

    Raises:
        ServingError: rows are asked for, and the outputs differ in their first dimension.
    """
    if not rows:
        texts = [f"{json.dumps(n)}: {_text(n, a)}" for n, a in outputs.items()]
        inner = "{" + ", ".join(texts) + "}" if len(outputs) > 1 else texts[0].partition(": ")[2]
        return _encode(f'{{"outputs": {inner}}}')
    size = -1
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size not in (-1, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)
    columns = [_row_texts(name, array) for name, array in outputs.items()]
    if len(columns) == 1:
        items = columns[0]
    else:
        keys = [json.dumps(name) for name in outputs]
        items = [
            "{" + ", ".join(f"{k}: {v}" for k, v in zip(keys, row, strict=True)) + "}"
            for row in zip(*columns, strict=True)
        ]
    return _encode(f'{{"predictions": [{", ".join(items)}]}}')


def write_classifications(result: classification_pb2.ClassificationResult) -> bytes:
    """Writes a list of [label, score] for each example."""
    items = []
    for classifications in result.classifications:
        scores = _float_texts(np.array([c.score for c in classifications.classes], np.float32))
        labels = [json.dumps(c.label, ensure_ascii=False) for c in classifications.classes]
        pairs = [f"[{label}, {score}]" for label, score in zip(labels, scores, strict=True)]
        items.append(f"[{', '.join(pairs)}]")
    return _encode(f'{{"results": [{", ".join(items)}]}}')


def write_regressions(result: regression_pb2.RegressionResult) -> bytes:
    """Writes the values."""
    texts = _float_texts(np.array([r.value for r in result.regressions], np.float32))
    return _encode(f'{{"results": [{", ".join(texts)}]}}')


def write_error(message: str) -> bytes:
    """Writes an error."""
    return _encode(json.dumps({"error": message}, ensure_ascii=False))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(name: str, array: np.ndarray) -> str:
    return _row_texts(name, array[None])[0]


def _row_texts(name: str, array: np.ndarray) -> list[str]:
    """Returns the JSON text of each row."""
    texts = list(_value_texts(name, array))
    for axis in range(array.ndim - 1, 0, -1):
        size = array.shape[axis]
        groups = math.prod(array.shape[:axis])
        texts = [f"[{', '.join(texts[i * size : (i + 1) * size])}]" for i in range(groups)]
    return texts


def _value_texts(name: str, array: np.ndarray) -> Iterator[str] | Sequence[str]:
    kind = array.dtype.kind
    if array.dtype in (np.float32, np.float64):
        return _float_texts(array.ravel())
    if kind in "iu":
        return map(str, array.ravel().tolist())
    if kind == "b":
        return ("true" if value else "false" for value in array.flat)
    if kind in "OSU":
        return _string_texts(array, as_bytes=name.endswith("_bytes"))
    dtype = tensors.dtype_name(tensors.dtype_number(array))
    raise invalid(f"Failed to write JSON value for tensor type: {dtype}")


def _string_texts(array: np.ndarray, *, as_bytes: bool) -> Iterator[str]:
    for value in array.flat:
        data = value.encode() if isinstance(value, str) else bytes(value)
        if as_bytes:
            yield f'{{"b64": "{base64.b64encode(data).decode()}"}}'
        else:
            yield json.dumps(data.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def _float_texts(values: np.ndarray) -> list[str]:
    """Returns `%g` of each, or enough digits to read back the same; whole numbers keep `.0`."""
    numbers = values.tolist()
    texts = [f"{number:g}" for number in numbers]
    read: Iterable[float] = map(float, texts)
    digits = 17
    if values.dtype == np.float32:
        layout, digits = f"{len(texts)}f", 9
        read = struct.unpack(layout, struct.pack(layout, *read))
    return [
        _with_point(text if value == number else f"{number:.{digits}g}")
        for text, value, number in zip(texts, read, numbers, strict=True)
    ]


def _with_point(text: str) -> str:
    if "." in text or "e" in text:
        return text
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text + ".0")
