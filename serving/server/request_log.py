"""Samples of requests and answers, as TFRecord of `PredictionLog`."""

import logging
import os
import queue
import random
import threading
import time
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)
from tensorflow_serving.config import logging_config_pb2

from serving.server.metrics import Metrics
from serving.server.model_config import ModelConfig
from serving.server.status import Code, ServingError

log = logging.getLogger(__name__)

#: Records that may wait for the disk; more are dropped, and counted.
MAX_WAITING = 1000

_FIELDS = {
    predict_pb2.PredictRequest: "predict_log",
    classification_pb2.ClassificationRequest: "classify_log",
    regression_pb2.RegressionRequest: "regress_log",
    inference_pb2.MultiInferenceRequest: "multi_inference_log",
}


class RequestLog:
    """Writes samples of one model's requests, in a thread of its own.

    Attributes:
        config: of the model's logging.
        path: of the file, new for each log.
    """

    def __init__(self, model: str, config: logging_config_pb2.LoggingConfig, metrics: Metrics):
        self.config = logging_config_pb2.LoggingConfig()
        self.config.CopyFrom(config)
        prefix = config.log_collector_config.filename_prefix
        self.path = f"{prefix}.{time.strftime('%Y%m%dT%H%M%S')}.{os.getpid()}.tfrecord"
        self._model = model
        self._metrics = metrics
        self._queue: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        try:
            self._writer = tf.io.TFRecordWriter(self.path)
        except tf.errors.OpError as error:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f"logging_config of model {model}: cannot write {self.path}: {error.message}",
            ) from error
        self._thread = threading.Thread(target=self._write, name="request-log", daemon=True)
        self._thread.start()

    @classmethod
    def from_config(cls, config: ModelConfig, metrics: Metrics) -> "RequestLog | None":
        """Returns the log that a model's configuration asks for, if it does.

        Raises:
            ServingError: its file cannot be written.
        """
        if not config.logging_config.log_collector_config.filename_prefix:
            return None
        return cls(config.name, config.logging_config, metrics)

    def samples(self) -> bool:
        """Draws whether a request is to be logged."""
        return random.random() < self.config.sampling_config.sampling_rate

    def write(self, request: Any, response: Any) -> None:
        """Queues a request and its answer, two messages of one kind."""
        record = prediction_log_pb2.PredictionLog()
        spec = (
            response.results[0].model_spec
            if isinstance(response, inference_pb2.MultiInferenceResponse)
            else response.model_spec
        )
        record.log_metadata.model_spec.CopyFrom(spec)
        record.log_metadata.sampling_config.CopyFrom(self.config.sampling_config)
        entry = getattr(record, _FIELDS[type(request)])
        entry.request.CopyFrom(request)
        entry.response.CopyFrom(response)
        try:
            self._queue.put_nowait(record.SerializeToString())
        except queue.Full:
            self._metrics.request_logs.add(self._model, Code.RESOURCE_EXHAUSTED.name)

    def close(self) -> None:
        """Writes what waits, and closes the file."""
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (record := self._queue.get()) is not None:
            try:
                self._writer.write(record)
                self._writer.flush()
            except tf.errors.OpError as error:
                log.error("cannot write %s: %s", self.path, error.message)
                self._metrics.request_logs.add(self._model, Code.INTERNAL.name)
            else:
                self._metrics.request_logs.add(self._model, Code.OK.name)
        self._writer.close()
