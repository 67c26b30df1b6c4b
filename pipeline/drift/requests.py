"""The digits that a server was asked for, and its answers, from its request log."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.drift.features import picture_features, prediction_features
from serving.errors import InputError
from serving.server.edge import READERS
from serving.server.status import ServingError

#: Digits whose pictures are held at a time.
CHUNK = 1000


@dataclass(frozen=True)
class Requests:
    """Logged requests of one version.

    Attributes:
        version: that answered them.
        digits: how many.
        features: by name as in `pipeline.drift.features`, of each digit; those of the answers of
            fewer where a client asked for the label only.
        skipped: records of other versions, or of no digits.
    """

    version: int
    digits: int
    features: dict[str, np.ndarray]
    skipped: int


def read_requests(files: Sequence[str], version: int | None) -> Requests:
    """Reads request logs, record by record: of each digit only the features are kept.

    Args:
        files: TFRecords of `PredictionLog`.
        version: whose records to take; None: the one with the most.

    Raises:
        InputError: a file cannot be read, or there is no request.
    """
    if version is None:
        numbers = Counter(map(_version, _records(files)))
        if not numbers:
            raise InputError(f"--log {files[0]}: no request in it yet")
        ((version, _),) = numbers.most_common(1)
    parts: list[dict[str, np.ndarray]] = [picture_features(np.empty((0, 28, 28), np.uint8))]
    answers = [np.empty((0, 10), np.float32)]
    waiting: list[np.ndarray] = []
    digits = skipped = 0
    for log in _records(files):
        images = None
        if _version(log) == version and log.HasField("predict_log"):
            images = _digits(log.predict_log)
        if images is None:
            skipped += 1
            continue
        digits += len(images)
        waiting.append(images)
        if sum(map(len, waiting)) >= CHUNK:
            parts.append(picture_features(np.concatenate(waiting)))
            waiting = []
        rows = _probabilities(log.predict_log, len(images))
        if rows is not None:
            answers.append(rows)
    if waiting:
        parts.append(picture_features(np.concatenate(waiting)))
    features = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Requests(
        version, digits, features | prediction_features(np.concatenate(answers)), skipped
    )


def _version(log: Any) -> int:
    return (
        log.log_metadata.model_spec.version.value
        or log.predict_log.response.model_spec.version.value
    )


def _records(files: Sequence[str]) -> Iterator[Any]:
    for file in files:
        try:
            for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
                yield prediction_log_pb2.PredictionLog.FromString(record)
        except tf.errors.NotFoundError as error:
            raise InputError(f"--log {file}: no such file") from error
        except (tf.errors.OpError, DecodeError) as error:
            if isinstance(error, tf.errors.DataLossError) and "truncated" in error.message:
                continue  # the server is just writing the last record, or was killed at it
            raise InputError(
                f"--log {file}: damaged, or not a TFRecord of PredictionLog as the server's "
                "logging_config writes it"
            ) from error


def _digits(log: Any) -> np.ndarray | None:
    """The pictures of a request as the network sees them; None for what are none."""
    request = log.request
    signature = request.model_spec.signature_name or log.response.model_spec.signature_name
    read = READERS.get(signature or "serving_default")
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


def _probabilities(log: Any, digits: int) -> np.ndarray | None:
    answer = log.response.outputs.get("probabilities")
    rows = None if answer is None else _array(answer)
    if rows is None or rows.dtype != np.float32 or rows.shape != (digits, 10):
        return None
    return rows


def _array(tensor: Any) -> np.ndarray | None:
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError):
        return None
