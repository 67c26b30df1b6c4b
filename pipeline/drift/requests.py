"""The digits that a server was asked for, and its answers, from its request log."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import InputError
from serving.server.edge import READERS
from serving.server.status import ServingError


@dataclass(frozen=True)
class Requests:
    """Logged requests of one version.

    Attributes:
        version: that answered them.
        images: uint8 [n, 28, 28], as the network saw them.
        probabilities: float32 [m, 10]; fewer where a client asked for the label only.
        skipped: records of other versions, or of no digits.
    """

    version: int
    images: np.ndarray
    probabilities: np.ndarray
    skipped: int


def read_requests(files: Sequence[str], version: int | None) -> Requests:
    """Reads request logs.

    Args:
        files: TFRecords of `PredictionLog`.
        version: whose records to take; None: the one with the most.

    Raises:
        InputError: a file cannot be read, or there is no request of digits.
    """
    logs = list(_records(files))
    numbers = Counter(log.log_metadata.model_spec.version.value for log in logs)
    if version is None:
        if not numbers:
            raise InputError(f"--log {files[0]}: no request in it yet")
        ((version, _),) = numbers.most_common(1)
    images, probabilities = [np.empty((0, 28, 28), np.uint8)], [np.empty((0, 10), np.float32)]
    skipped = 0
    for log in logs:
        digits = None
        if log.log_metadata.model_spec.version.value == version and log.HasField("predict_log"):
            digits = _digits(log.predict_log.request)
        if digits is None:
            skipped += 1
            continue
        images.append(digits)
        answer = log.predict_log.response.outputs.get("probabilities")
        if answer is not None:
            rows = _array(answer)
            if rows is not None and rows.dtype == np.float32 and rows.shape == (len(digits), 10):
                probabilities.append(rows)
    return Requests(version, np.concatenate(images), np.concatenate(probabilities), skipped)


def _records(files: Sequence[str]) -> Iterator[Any]:
    for file in files:
        try:
            for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
                yield prediction_log_pb2.PredictionLog.FromString(record)
        except tf.errors.NotFoundError as error:
            raise InputError(f"--log {file}: no such file") from error
        except (tf.errors.OpError, DecodeError) as error:
            raise InputError(
                f"--log {file}: damaged, or not a TFRecord of PredictionLog as the server's "
                "logging_config writes it"
            ) from error


def _digits(request: Any) -> np.ndarray | None:
    """The pictures of a request as the network sees them; None for what are none."""
    read = READERS.get(request.model_spec.signature_name or "serving_default")
    if read is None or len(request.inputs) != 1:
        return None
    (tensor,) = request.inputs.values()
    array = _array(tensor)
    if array is None or array.dtype not in (np.uint8, object):
        return None
    try:
        return read(array)
    except ServingError:
        return None


def _array(tensor: Any) -> np.ndarray | None:
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError):
        return None
