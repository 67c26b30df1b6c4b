"""Drift: features of known digits, the false-alarm rate, and the command on a server's log."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from pipeline.config import RunRoot
from pipeline.drift.comparison import compare, holm
from pipeline.drift.features import picture_features, prediction_features
from pipeline.drift.histograms import histogram
from pipeline.drift.requests import read_requests
from pipeline.run_data import read_splits
from pipeline.saved_model import load_classifier
from serving.pictures import encode_png
from serving.server.metrics import Metrics
from serving.server.request_log import RequestLog


def bar(width: int, *, left: int = 12, shear: int = 0) -> np.ndarray:
    """A vertical bar of 20 pixels, each row `shear` further to the right than the last."""
    image = np.zeros((28, 28), np.uint8)
    for row in range(20):
        start = left + shear * row
        image[4 + row, start : start + width] = 255
    return image


def test_features_of_bars():
    images = np.stack([bar(2), bar(4), bar(4, left=13), bar(2, left=2, shear=1)])
    found = picture_features(images)
    np.testing.assert_allclose(found["ink mass"], [40 / 784, 80 / 784, 80 / 784, 40 / 784])
    np.testing.assert_allclose(found["slant"], [0, 0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(found["horizontal position"], [12.5, 13.5, 14.5, 12])
    np.testing.assert_allclose(found["vertical position"], [13.5] * 4)
    # Area over half the outline: w 20 / (20 + w), but for the corners.
    np.testing.assert_allclose(found["stroke thickness"][:2], [40 / 22, 80 / 24], rtol=0.03)


def test_a_picture_without_ink_has_no_shape():
    found = picture_features(np.zeros((1, 28, 28), np.uint8))
    assert found.pop("ink mass") == 0
    assert all(np.isnan(values).all() for values in found.values())


def test_features_of_predictions():
    probabilities = np.zeros((2, 10), np.float32)
    probabilities[0, 3] = 1
    probabilities[1] = 0.1
    found = prediction_features(probabilities)
    np.testing.assert_allclose(found["entropy"], [0, np.log(10)], atol=1e-6)
    np.testing.assert_allclose(found["confidence"], [1, 0.1])
    assert found["class mix"].tolist() == [3, 0]


def test_holm_as_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_false_alarms_are_as_rare_as_stated():
    generator = np.random.default_rng(1)
    alpha, repetitions = 0.1, 300

    def draw(count: int) -> dict[str, np.ndarray]:
        values = {name: generator.normal(size=count) for name in ("a", "b", "c")}
        return values | {"class mix": generator.integers(0, 10, count)}

    alarms = sum(
        any(found.is_drift for found in compare(draw(1000), draw(300), alpha=alpha))
        for _ in range(repetitions)
    )
    # At most as stated, within chance; nor is it a test that never alarms.
    assert stats.binomtest(alarms, repetitions, alpha, alternative="greater").pvalue > 1e-3
    assert alarms > 0


def test_a_small_shift_of_one_feature_alarms_for_that_one():
    generator = np.random.default_rng(1)
    reference = {name: generator.normal(size=2000) for name in ("a", "b")}
    requests = {"a": generator.normal(size=1000), "b": generator.normal(0.3, size=1000)}
    found = {c.feature: c for c in compare(reference, requests, alpha=0.01)}
    assert (found["a"].is_drift, found["b"].is_drift) == (False, True)
    # The distance of two normal distributions 0.3 apart is 2 Phi(0.15) - 1.
    assert found["b"].distance == pytest.approx(2 * stats.norm.cdf(0.15) - 1, abs=0.04)


@pytest.fixture(scope="module")
def version(pipeline_run) -> str:
    """What the last run pushed: `digits drift` knows the data of that."""
    return json.loads(RunRoot(pipeline_run.root).summary.read_text())["pushed"]["version"]


@pytest.fixture(scope="module")
def test_split(pipeline_run, version) -> tuple[np.ndarray, np.ndarray]:
    """The test split, and what the pushed model says of it."""
    root = RunRoot(pipeline_run.root)
    images = read_splits(root, None)["test"][0]
    return images, load_classifier(root.serving / version)(images)


@pytest.fixture
def write_log(version, tmp_path: Path):
    """Writes a request log as the server does."""

    def write(requests) -> str:
        config = logging_config_pb2.LoggingConfig()
        config.log_collector_config.filename_prefix = str(tmp_path / "requests")
        log = RequestLog("digits", config, Metrics())
        for signature, name, value, probabilities in requests:
            request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            response.model_spec.version.value = int(version)
            if probabilities is not None:
                response.outputs["probabilities"].CopyFrom(tf.make_tensor_proto(probabilities))
            log.write(request, response)
        log.close()
        return log.path

    return write


def by_tens(images: np.ndarray, probabilities: np.ndarray):
    for start in range(0, len(images), 10):
        rows = slice(start, start + 10)
        yield "serving_default", "images", images[rows], probabilities[rows]


def drift(digits, pipeline_run, tmp_path: Path, *logs: str):
    metrics = tmp_path / "digits.prom"
    out = tmp_path / "out"
    arguments = ["--root", pipeline_run.root, "--out", out, "--metrics-file", metrics]
    outcome = digits("drift", "--log", *logs, *arguments)
    found = json.loads((out / "drift.json").read_text()) if out.exists() else None
    return outcome, found, metrics


def test_requests_like_the_training_digits_do_not_alarm(
    digits, pipeline_run, test_split, write_log, tmp_path: Path
):
    images, probabilities = test_split
    outcome, found, metrics = drift(
        digits, pipeline_run, tmp_path, write_log(by_tens(images, probabilities))
    )
    assert outcome.code == 0, outcome.err
    assert (found["digits"], found["drift"], len(found["features"])) == (500, False, 8)
    assert 'digits_drift_alarm{feature="ink_mass",version="' in metrics.read_text()
    assert Image.open(tmp_path / "out" / "drift.png").size[0] == 750
    again, same, _ = drift(digits, pipeline_run, tmp_path, found and str(only_log(tmp_path)))
    assert again.code == 0
    assert same.pop("checked") >= found.pop("checked")
    assert same == found  # from the stored reference


def only_log(directory: Path) -> Path:
    (path,) = directory.glob("requests.*")
    return path


def test_inverted_digits_alarm(digits, pipeline_run, test_split, write_log, tmp_path: Path):
    images, probabilities = test_split
    log = write_log(by_tens(255 - images[:100], probabilities[:100]))
    outcome, found, metrics = drift(digits, pipeline_run, tmp_path, log)
    assert outcome.code == 1
    assert "drift of ink mass" in outcome.err
    drifted = {c["feature"] for c in found["features"] if c["is_drift"]}
    assert {"ink mass", "stroke thickness"} <= drifted
    alarms = [
        line for line in metrics.read_text().splitlines() if line.startswith("digits_drift_a")
    ]
    assert sum(line.endswith(" 1") for line in alarms) == len(drifted)


def test_every_signature_is_read_and_others_are_skipped(
    digits, pipeline_run, test_split, write_log, tmp_path: Path
):
    images, probabilities = test_split
    pictures = np.array([encode_png(image) for image in images[60:80]], object)
    examples = []
    for image in images[80:100]:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()]))
        example = tf.train.Example(features=tf.train.Features(feature={"image": feature}))
        examples.append(example.SerializeToString())
    requests = [
        *by_tens(images[:60], probabilities[:60]),
        ("serve_image_bytes", "image_bytes", pictures, probabilities[60:80]),
        ("serve_examples", "examples", np.array(examples, object), None),
        ("other", "x", np.zeros(3), None),
        ("serving_default", "images", np.zeros((1, 5), np.uint8), None),
    ]
    _, found, _ = drift(digits, pipeline_run, tmp_path, write_log(requests))
    assert (found["digits"], found["skipped_records"]) == (100, 2)


def test_bad_logs_exit_with_2_and_say_why(
    digits, pipeline_run, test_split, write_log, tmp_path: Path
):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"no TFRecord at all")
    few = write_log(by_tens(*(array[:20] for array in test_split)))
    for log, message in (
        (tmp_path / "none", "no such file"),
        (damaged, "damaged, or not a TFRecord"),
        (few, "20 digits of version"),
    ):
        outcome, found, _ = drift(digits, pipeline_run, tmp_path, log)
        assert outcome.code == 2
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
        assert found is None


def test_of_a_large_log_little_is_held_at_a_time(test_split, write_log):
    images, probabilities = test_split
    log = write_log([("", "images", images, probabilities)] * 100)
    tracemalloc.start()
    try:
        found = read_requests([log], None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.digits == 100 * len(images)
    assert len(found.features["slant"]) == len(found.features["entropy"]) == found.digits
    assert peak < 0.5 * 100 * images.nbytes
    for name, values in (picture_features(images) | prediction_features(probabilities)).items():
        np.testing.assert_array_equal(found.features[name][: len(images)], values)


def test_a_log_that_is_being_written_is_read_up_to_its_last_whole_record(test_split, write_log):
    log = Path(write_log(by_tens(*test_split)))
    log.write_bytes(log.read_bytes()[:-100])
    assert read_requests([str(log)], None).digits == len(test_split[0]) - 10


def test_a_record_without_metadata_counts_for_the_version_that_answered(test_split, tmp_path):
    images, probabilities = test_split
    log = prediction_log_pb2.PredictionLog()
    request, response = log.predict_log.request, log.predict_log.response
    # As a client of the protocol may send pixels: a number each, with a last dimension of one.
    request.inputs["images"].dtype = types_pb2.DT_UINT8
    for side in (3, 28, 28, 1):
        request.inputs["images"].tensor_shape.dim.add(size=side)
    request.inputs["images"].int_val.extend(images[:3].ravel().tolist())
    response.model_spec.version.value = 7
    response.model_spec.signature_name = "serving_default"
    response.outputs["probabilities"].CopyFrom(tf.make_tensor_proto(probabilities[:3]))
    path = str(tmp_path / "log")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(log.SerializeToString())
    found = read_requests([path], None)
    assert (found.version, found.digits, found.skipped) == (7, 3, 0)
    np.testing.assert_allclose(found.features["ink mass"], images[:3].mean((1, 2)) / 255)


def test_far_values_stay_in_the_histogram():
    old, new = np.linspace(0, 1, 1000), np.append(np.linspace(0, 1, 999), 1e6)
    found = histogram("slant", old, np.append(new, np.nan))
    assert sum(found.reference) == pytest.approx(1)
    assert sum(found.requests) == pytest.approx(1)
    mix = histogram("class mix", np.array([0, 1, 1, 9]), np.array([9, 9]))
    assert mix.reference == [0.25, 0.5, 0, 0, 0, 0, 0, 0, 0, 0.25]
    assert mix.requests == [0] * 9 + [1]
