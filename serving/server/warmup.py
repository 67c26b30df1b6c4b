"""Runs the requests that a model brings along, so that the first client does not wait."""

import logging
import os
import time

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import input_pb2, model_pb2, prediction_log_pb2

from serving.server import examples, signatures
from serving.server.metrics import Metrics
from serving.server.servable import Servable
from serving.server.status import Code, ServingError, invalid

log = logging.getLogger(__name__)

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


def warm_up(servable: Servable, directory: str, metrics: Metrics, *, iterations: int = 1) -> int:
    """Runs the warm-up requests of a version directory, if there are any.

    Args:
        servable: the loaded version.
        directory: its directory.
        metrics: counts the time.
        iterations: so often each.

    Returns:
        The number of records.

    Raises:
        ServingError: a record is damaged or fails, or there are more than `MAX_RECORDS`; the
            version is not served then, as upstream's would not be.
    """
    path = os.path.join(directory, WARMUP_FILE)
    if not os.path.exists(path):
        return 0
    start = time.perf_counter()
    count = 0
    try:
        for count, record in enumerate(tf.data.TFRecordDataset(path).as_numpy_iterator(), 1):
            if count > MAX_RECORDS:
                raise invalid(
                    f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}"
                )
            entry = prediction_log_pb2.PredictionLog.FromString(record)
            for _ in range(iterations):
                run_record(servable, entry)
    except DecodeError as error:
        raise invalid(f"Failed to parse warmup record {count} from {path}") from error
    except tf.errors.OpError as error:
        raise ServingError(
            Code.DATA_LOSS,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error
    seconds = time.perf_counter() - start
    metrics.warmup_latency.observe(seconds * 1e6, directory, Code.OK.name)
    log.info("warmed up %s with %d records in %.1f s", directory, count, seconds)
    return count


def run_record(servable: Servable, entry: prediction_log_pb2.PredictionLog) -> None:
    """Runs one logged request.

    Raises:
        ServingError: it fails, or is of a kind that cannot be run.
    """
    kind = entry.WhichOneof("log_type")
    if kind == "predict_log":
        request = entry.predict_log.request
        name, definition = signatures.predict_signature(servable, request.model_spec.signature_name)
        inputs = signatures.read_inputs(definition, request.inputs)
        servable.run(name, inputs, signatures.choose_outputs(definition, request.output_filter))
    elif kind == "classify_log":
        _run_examples(
            servable,
            entry.classify_log.request.model_spec,
            entry.classify_log.request.input,
            regress=False,
        )
    elif kind == "regress_log":
        _run_examples(
            servable,
            entry.regress_log.request.model_spec,
            entry.regress_log.request.input,
            regress=True,
        )
    elif kind == "multi_inference_log":
        for task in entry.multi_inference_log.request.tasks:
            _run_examples(
                servable,
                task.model_spec,
                entry.multi_inference_log.request.input,
                regress=task.method_name == examples.REGRESS_METHOD,
            )
    elif kind is not None:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def _run_examples(
    servable: Servable, spec: model_pb2.ModelSpec, data: input_pb2.Input, *, regress: bool
) -> None:
    name, definition = signatures.named_signature(servable, spec.signature_name)
    if regress:
        alias, output = examples.regress_tensors(definition)
        outputs: tuple[str, ...] = (output,)
    else:
        alias, outputs = examples.classify_tensors(definition)
    inputs = examples.example_inputs(definition, alias, examples.read_examples(data))
    servable.run(name, inputs, outputs)
