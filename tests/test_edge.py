from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.edge_evaluator import compare, gate
from components.model import build_model
from components.recipes import RECIPES
from export.edge_model import EdgeModel, float_compute_ops
from export.tflite import convert_to_uint8
from serving.errors import InputError


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    return build_model(RECIPES["seed"])


@pytest.fixture(scope="module")
def quantised(network, sample) -> bytes:
    return convert_to_uint8(network, sample[0][::50, :, :, None].astype(np.float32) / 255)


@pytest.fixture
def edge_model(quantised, tmp_path: Path) -> EdgeModel:
    (tmp_path / "model.tflite").write_bytes(quantised)
    return EdgeModel(tmp_path / "model.tflite")


def test_a_byte_is_the_quantised_pixel(edge_model):
    assert edge_model.input.scale == pytest.approx(1 / 255, rel=1e-6)
    assert edge_model.input.zero_point == 0


def test_quantised_probabilities_are_near_the_networks(edge_model, network, sample):
    images = sample[0][25::50]
    expected = network.predict(images[..., None] / 255.0, verbose=0)
    assert np.abs(edge_model.predict(images) - expected).max() < 0.05


def test_float_ops_are_found(network, quantised):
    assert float_compute_ops(quantised) == []
    unquantised = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    assert float_compute_ops(unquantised).count("CONV_2D") == 3


@pytest.mark.parametrize(
    "images", [np.zeros((1, 28, 28), np.float32), np.zeros((1, 14, 28), np.uint8)]
)
def test_wrong_images_are_refused(edge_model, images):
    with pytest.raises(InputError, match=r"expected uint8 \[n, 28, 28\]"):
        edge_model.predict(images)


@pytest.mark.parametrize("content", [b"", b"not a flatbuffer" * 9])
def test_damaged_files_are_refused(tmp_path: Path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a TFLite model"):
        EdgeModel(path)


def test_truncated_models_are_refused(tmp_path: Path, quantised):
    path = tmp_path / "model.tflite"
    path.write_bytes(quantised[: len(quantised) // 2])
    with pytest.raises(InputError, match="not a TFLite model"):
        EdgeModel(path)


def test_a_float_model_is_not_taken_for_the_quantised(tmp_path: Path, network):
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    with pytest.raises(InputError, match="float32"):
        EdgeModel(path)


def test_disagreements_are_counted_both_ways():
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    served = np.array([0, 1, 2, 3, 9, 9, 9, 7])  # misses 4, 5, 6
    edge = np.array([0, 1, 9, 9, 4, 9, 8, 7])  # misses 2, 3, 5, 6; 6 otherwise than served
    metrics = compare(labels, edge, served)
    assert metrics["accuracy"] == 4 / 8
    assert metrics["served_accuracy"] == 5 / 8
    assert (metrics["lost"], metrics["gained"], metrics["disagreements"]) == (2, 1, 4)
    # Of 3 discordant digits at least 2 lost by chance: 4 of 8 outcomes.
    assert metrics["loss_p_value"] == pytest.approx(0.5)


def test_the_gate_says_each_thing_that_is_wrong():
    good = compare(np.zeros(1000, int), np.zeros(1000, int), np.zeros(1000, int))
    assert gate(good, min_accuracy=0.9, max_disagreement=0.01) == []
    bad = compare(np.zeros(1000, int), np.repeat([0, 1], [850, 150]), np.zeros(1000, int))
    refusals = gate(bad, min_accuracy=0.9, max_disagreement=0.01)
    assert [refusal.split()[0] for refusal in refusals] == ["accuracy", "150", "worse"]


def test_few_lost_digits_may_be_chance_many_are_not():
    labels = np.zeros(10_000, int)
    for lost, refused in ((4, False), (5, True)):  # 1/16 and 1/32, against 0.05
        edge = np.repeat([1, 0], [lost, 10_000 - lost])
        found = gate(compare(labels, edge, labels), min_accuracy=0.9, max_disagreement=0.01)
        assert bool(found) == refused
